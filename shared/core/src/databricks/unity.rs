//! Unity Catalog by REST, no warehouse awake: the metastore, catalogs, schemas and tables.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::advice;
use super::error::{Error, Subject};
use super::{Page, Workspace};
use crate::clock::Deadline;
use crate::fault::Fault;

/// The metastore of a workspace: that Unity Catalog is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metastore {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it is, as its cloud names regions.
    pub region: String,
    /// The catalog that names without one mean.
    pub default_catalog: String,
    /// Whether credentials may be vended to those outside.
    pub external_access_enabled: bool,
    /// Where managed tables of catalogs without storage go; none: they cannot be made.
    pub storage_root: Option<String>,
}

impl Metastore {
    /// Whether credentials may be vended.
    ///
    /// # Errors
    /// A Setup fault: the metastore's administrator has not switched it on.
    pub fn may_vend(&self) -> Result<(), Fault> {
        if self.external_access_enabled { Ok(()) } else { Err(advice::external_access_off(&self.name)) }
    }
}

/// Whose catalog it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// Unity Catalog's own: tables can be made in it.
    Managed,
    /// Foreign, shared, internal or the system's, in Databricks' words.
    Other(String),
}

/// A catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogInfo {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub kind: CatalogKind,
    /// Whether only workspaces that it is bound to may use it.
    pub isolated: bool,
    /// Whether this workspace may use it.
    pub accessible: bool,
    /// Where managed tables go, as its owner wrote it.
    pub storage_root: Option<String>,
    /// The same, with what Unity Catalog added.
    pub storage_location: Option<String>,
}

impl CatalogInfo {
    /// Whether Inlet's tables can stand in it.
    ///
    /// # Errors
    /// A Setup fault: it is no managed catalog, or another workspace's.
    pub fn may_hold_tables(&self) -> Result<(), Fault> {
        match &self.kind {
            CatalogKind::Other(kind) => Err(advice::not_managed(&self.name, kind)),
            CatalogKind::Managed if !self.accessible => Err(advice::not_bound(&self.name)),
            CatalogKind::Managed => Ok(()),
        }
    }
}

/// A schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SchemaInfo {
    /// Its name, in lower case.
    pub name: String,
    /// `catalog.schema`.
    pub full_name: String,
    /// Its owner.
    pub owner: String,
    /// What people wrote about it.
    pub comment: Option<String>,
    /// Where managed tables go, as its owner wrote it.
    pub storage_root: Option<String>,
    /// The same, with what Unity Catalog added.
    pub storage_location: Option<String>,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
}

#[derive(Deserialize)]
struct RawAssignment {
    metastore_id: String,
    #[serde(default)]
    default_catalog_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSummary {
    name: String,
    region: String,
    external_access_enabled: bool,
    storage_root: Option<String>,
}

#[derive(Deserialize)]
struct RawCatalog {
    name: String,
    #[serde(default)]
    catalog_type: String,
    isolation_mode: Option<String>,
    accessible_in_current_workspace: Option<bool>,
    storage_root: Option<String>,
    storage_location: Option<String>,
}

#[derive(Deserialize)]
struct RawSchemas {
    #[serde(default)]
    schemas: Vec<SchemaInfo>,
    next_page_token: Option<String>,
}

impl Page for RawSchemas {
    type Item = SchemaInfo;

    fn take(self) -> (Vec<SchemaInfo>, Option<String>) {
        (self.schemas, self.next_page_token)
    }
}

const CATALOGS: &str = "api/2.1/unity-catalog/catalogs";
const SCHEMAS: &str = "api/2.1/unity-catalog/schemas";

impl Workspace {
    /// The metastore of this workspace.
    ///
    /// # Errors
    /// There is none: Unity Catalog is not enabled for the workspace.
    pub async fn metastore(&self, deadline: Deadline) -> Result<Metastore, Error> {
        let about = Subject::Metastore;
        let assignment = "api/2.1/unity-catalog/current-metastore-assignment";
        let assignment: RawAssignment = self.get(assignment, &[], &[], &about, deadline).await?;
        let summary: RawSummary =
            self.get("api/2.1/unity-catalog/metastore_summary", &[], &[], &about, deadline).await?;
        Ok(Metastore {
            id: assignment.metastore_id,
            name: summary.name,
            region: summary.region,
            default_catalog: assignment.default_catalog_name,
            external_access_enabled: summary.external_access_enabled,
            storage_root: summary.storage_root,
        })
    }

    /// A catalog. One that is not there and one that we may not use look alike.
    ///
    /// # Errors
    /// It is missing, or `USE CATALOG` is.
    pub async fn catalog(&self, name: &str, deadline: Deadline) -> Result<CatalogInfo, Error> {
        let about = Subject::Catalog(name.to_owned());
        let raw: RawCatalog = self.get(CATALOGS, &[name], &[("include_browse", "true")], &about, deadline).await?;
        let kind = match raw.catalog_type.as_str() {
            "MANAGED_CATALOG" => CatalogKind::Managed,
            _ => CatalogKind::Other(raw.catalog_type),
        };
        Ok(CatalogInfo {
            name: raw.name,
            kind,
            isolated: raw.isolation_mode.as_deref() == Some("ISOLATED"),
            accessible: raw.accessible_in_current_workspace.unwrap_or(true),
            storage_root: raw.storage_root,
            storage_location: raw.storage_location,
        })
    }

    /// A schema; none: it is not there, or we have no right on it.
    ///
    /// # Errors
    /// It is there and we may not use it, or its catalog is missing.
    pub async fn schema(&self, catalog: &str, schema: &str, deadline: Deadline) -> Result<Option<SchemaInfo>, Error> {
        let name = format!("{catalog}.{schema}");
        let about = Subject::Schema(name.clone());
        optional(self.get(SCHEMAS, &[&name], &[], &about, deadline).await)
    }

    /// The schemas of a catalog that we may see.
    ///
    /// # Errors
    /// The catalog is missing, or `USE CATALOG` is.
    pub async fn schemas(&self, catalog: &str, deadline: Deadline) -> Result<Vec<SchemaInfo>, Error> {
        let query = [("catalog_name", catalog), ("max_results", "0")];
        self.pages::<RawSchemas>(SCHEMAS, &[], &query, &Subject::Catalog(catalog.to_owned()), deadline).await
    }

    /// Makes a schema; one that is there already is fine. No warehouse is needed for it.
    ///
    /// # Errors
    /// `CREATE SCHEMA` is missing on the catalog, or the catalog itself.
    pub async fn create_schema(
        &self,
        catalog: &str,
        schema: &str,
        comment: &str,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let about = Subject::NewSchema(format!("{catalog}.{schema}"));
        let body = json!({ "name": schema, "catalog_name": catalog, "comment": comment });
        match self.post::<Value>(SCHEMAS, &[], &body, &about, deadline).await {
            Err(error) if !error.already_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes an empty schema. A missing one is fine.
    ///
    /// # Errors
    /// It is not empty, or not ours to delete.
    pub async fn delete_schema(&self, catalog: &str, schema: &str, deadline: Deadline) -> Result<(), Error> {
        let name = format!("{catalog}.{schema}");
        self.delete(SCHEMAS, &[&name], &Subject::Schema(name.clone()), deadline).await
    }
}

/// What is missing as none; but a missing catalog or metastore is no matter of one object.
pub(super) fn optional<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_missing() && !error.is_of_the_whole() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databricks::testing::{Server, Step, pat, reply, run, soon, workspace};
    use crate::fault::FaultKind;

    const CATALOG: &str = "GET /api/2.1/unity-catalog/catalogs/segment?include_browse=true";
    const MAKE: &str = "POST /api/2.1/unity-catalog/schemas";

    fn missing(line: &str, code: &str) -> Step {
        reply(line, 404, &json!({ "error_code": code, "message": "It does not exist." }).to_string())
    }

    #[test]
    fn a_metastore_is_its_assignment_and_its_summary() {
        let server = Server::start(vec![
            reply(
                "GET /api/2.1/unity-catalog/current-metastore-assignment",
                200,
                r#"{"workspace_id":123,"metastore_id":"m-1","default_catalog_name":"main"}"#,
            ),
            reply(
                "GET /api/2.1/unity-catalog/metastore_summary",
                200,
                r#"{"metastore_id":"m-1","name":"metastore_westeurope","region":"westeurope","external_access_enabled":true,
                    "privilege_model_version":"1.0"}"#,
            ),
        ]);
        let metastore = run(workspace(&server, pat()).metastore(soon())).unwrap();
        server.seen();
        assert_eq!(
            metastore,
            Metastore {
                id: "m-1".to_owned(),
                name: "metastore_westeurope".to_owned(),
                region: "westeurope".to_owned(),
                default_catalog: "main".to_owned(),
                external_access_enabled: true,
                storage_root: None,
            }
        );
        metastore.may_vend().unwrap();
        let fault = Metastore { external_access_enabled: false, ..metastore }.may_vend().unwrap_err();
        assert_eq!(fault.kind(), FaultKind::Setup);
        assert!(fault.to_string().contains("`metastore_westeurope`"), "{fault}");
    }

    #[test]
    fn only_an_own_catalog_of_this_workspace_may_hold_tables() {
        let of = |body: &str| {
            let server = Server::start(vec![reply(CATALOG, 200, body)]);
            let catalog = run(workspace(&server, pat()).catalog("segment", soon())).unwrap();
            server.seen();
            catalog
        };
        let catalog = of(r#"{"name":"segment","catalog_type":"MANAGED_CATALOG","isolation_mode":"OPEN",
            "storage_root":"abfss://c@a.dfs.core.windows.net/m","storage_location":"abfss://c@a.dfs.core.windows.net/m/1"}"#);
        catalog.may_hold_tables().unwrap();
        assert_eq!(catalog.storage_location.as_deref(), Some("abfss://c@a.dfs.core.windows.net/m/1"));
        let foreign = of(r#"{"name":"segment","catalog_type":"FOREIGN_CATALOG"}"#).may_hold_tables().unwrap_err();
        assert!(foreign.to_string().contains("`segment` is FOREIGN_CATALOG"), "{foreign}");
        let elsewhere = of(r#"{"name":"segment","catalog_type":"MANAGED_CATALOG","isolation_mode":"ISOLATED",
            "accessible_in_current_workspace":false}"#);
        assert!(elsewhere.isolated);
        let elsewhere = elsewhere.may_hold_tables().unwrap_err();
        assert!(elsewhere.hint_text().unwrap().contains("Assign to workspaces"), "{elsewhere:?}");
    }

    #[test]
    fn a_schema_is_made_once() {
        let taken = r#"{"error_code":"SCHEMA_ALREADY_EXISTS","message":"Schema 'segment.shop' already exists"}"#;
        let denied = r#"{"error_code":"PERMISSION_DENIED","message":"no"}"#;
        let server = Server::start(vec![
            reply(MAKE, 200, r#"{"name":"shop","full_name":"segment.shop"}"#),
            reply(MAKE, 400, taken),
            reply(MAKE, 409, taken),
            reply(MAKE, 403, denied),
        ]);
        let workspace = workspace(&server, pat());
        run(async {
            for _ in 0..3 {
                workspace.create_schema("segment", "shop", "events", soon()).await.unwrap();
            }
            assert!(workspace.create_schema("segment", "shop", "events", soon()).await.unwrap_err().is_denied());
        });
        let body: Value = serde_json::from_str(&server.seen()[0].body).unwrap();
        assert_eq!(body, json!({ "name": "shop", "catalog_name": "segment", "comment": "events" }));
    }

    #[test]
    fn names_are_one_segment_of_the_path() {
        let server =
            Server::start(vec![missing("GET /api/2.1/unity-catalog/schemas/a%2Fb.c%3Fd%23%20e", "X_DOES_NOT_EXIST")]);
        assert_eq!(run(workspace(&server, pat()).schema("a/b", "c?d# e", soon())).unwrap(), None);
        server.seen();
    }
}
