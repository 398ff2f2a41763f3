//! Who we are in a workspace, and what we may do there.

use serde::Deserialize;

use super::error::{Error, Subject};
use super::{Page, Workspace};
use crate::clock::Deadline;

/// The user or service principal that we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Me {
    /// Its number in the workspace.
    pub id: String,
    /// For a service principal its application id: what grants are made to.
    pub user_name: String,
    /// As people see it.
    pub display_name: String,
    /// Its own entitlements (`databricks-sql-access`); those of its groups may be missing.
    pub entitlements: Vec<String>,
    /// The names of its groups.
    pub groups: Vec<String>,
}

/// A kind of object that privileges are granted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Securable {
    /// The metastore.
    Metastore,
    /// A catalog.
    Catalog,
    /// A schema.
    Schema,
    /// A table or a view.
    Table,
    /// An external location.
    ExternalLocation,
    /// A storage credential.
    StorageCredential,
}

impl Securable {
    /// As paths spell it.
    fn word(self) -> &'static str {
        match self {
            Self::Metastore => "metastore",
            Self::Catalog => "catalog",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::ExternalLocation => "external_location",
            Self::StorageCredential => "storage_credential",
        }
    }

    fn subject(self, full_name: &str) -> Subject {
        let name = full_name.to_owned();
        match self {
            Self::Metastore => Subject::Metastore,
            Self::Catalog => Subject::Catalog(name),
            Self::Schema => Subject::Schema(name),
            Self::Table => Subject::Table(name),
            Self::ExternalLocation | Self::StorageCredential => Subject::Workspace,
        }
    }
}

/// A place in storage that Unity Catalog governs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExternalLocation {
    /// Its name.
    pub name: String,
    /// `s3://…` or `abfss://…`.
    pub url: String,
    /// The storage credential that Databricks reaches it with.
    pub credential_name: String,
    /// Whether nothing may be written there.
    pub read_only: bool,
}

#[derive(Deserialize)]
struct ScimMe {
    #[serde(default)]
    id: String,
    #[serde(default, rename = "userName")]
    user_name: String,
    #[serde(default, rename = "displayName")]
    display_name: String,
    #[serde(default)]
    entitlements: Vec<ScimValue>,
    #[serde(default)]
    groups: Vec<ScimValue>,
}

#[derive(Deserialize)]
struct ScimValue {
    #[serde(default)]
    value: String,
    display: Option<String>,
}

#[derive(Deserialize)]
struct Assignments {
    #[serde(default)]
    privilege_assignments: Vec<Assignment>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Assignment {
    #[serde(default)]
    privileges: Vec<Privilege>,
}

#[derive(Deserialize)]
struct Privilege {
    privilege: String,
}

impl Page for Assignments {
    type Item = Assignment;

    fn take(self) -> (Vec<Assignment>, Option<String>) {
        (self.privilege_assignments, self.next_page_token)
    }
}

#[derive(Deserialize)]
struct Locations {
    #[serde(default)]
    external_locations: Vec<ExternalLocation>,
    next_page_token: Option<String>,
}

impl Page for Locations {
    type Item = ExternalLocation;

    fn take(self) -> (Vec<ExternalLocation>, Option<String>) {
        (self.external_locations, self.next_page_token)
    }
}

#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    storage_credentials: Vec<StorageCredential>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct StorageCredential {
    name: String,
}

impl Page for Credentials {
    type Item = StorageCredential;

    fn take(self) -> (Vec<StorageCredential>, Option<String>) {
        (self.storage_credentials, self.next_page_token)
    }
}

impl Workspace {
    /// Who we are: the cheapest proof of a token and of a place in the workspace.
    ///
    /// # Errors
    /// We cannot sign in, or are not in this workspace.
    pub async fn me(&self, deadline: Deadline) -> Result<Me, Error> {
        let me: ScimMe = self.get("api/2.0/preview/scim/v2/Me", &[], &[], &Subject::Workspace, deadline).await?;
        let entitlements = me.entitlements.into_iter().map(|one| one.value).collect();
        let groups = me.groups.into_iter().map(|one| one.display.unwrap_or(one.value)).collect();
        Ok(Me { id: me.id, user_name: me.user_name, display_name: me.display_name, entitlements, groups })
    }

    /// The privileges of a principal on an object, inherited ones too, as REST spells them (`CREATE_SCHEMA`), sorted.
    /// What a group of the principal was granted may be missing here: only doing it proves a right.
    ///
    /// # Errors
    /// The object is not there, or its grants may not be seen.
    pub async fn effective_privileges(
        &self,
        kind: Securable,
        full_name: &str,
        principal: &str,
        deadline: Deadline,
    ) -> Result<Vec<String>, Error> {
        let segments = [kind.word(), full_name];
        let query = [("principal", principal), ("max_results", "0")];
        let base = "api/2.1/unity-catalog/effective-permissions";
        let assignments =
            self.pages::<Assignments>(base, &segments, &query, &kind.subject(full_name), deadline).await?;
        let privileges = assignments.into_iter().flat_map(|one| one.privileges);
        let mut names: Vec<String> = privileges.map(|one| one.privilege).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The external locations on which we have some privilege.
    ///
    /// # Errors
    /// The list may not be read.
    pub async fn external_locations(&self, deadline: Deadline) -> Result<Vec<ExternalLocation>, Error> {
        let base = "api/2.1/unity-catalog/external-locations";
        self.pages::<Locations>(base, &[], &[("max_results", "0")], &Subject::Workspace, deadline).await
    }

    /// The names of the storage credentials on which we have some privilege.
    ///
    /// # Errors
    /// The list may not be read.
    pub async fn storage_credentials(&self, deadline: Deadline) -> Result<Vec<String>, Error> {
        let base = "api/2.1/unity-catalog/storage-credentials";
        let all = self.pages::<Credentials>(base, &[], &[("max_results", "0")], &Subject::Workspace, deadline).await?;
        Ok(all.into_iter().map(|one| one.name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databricks::testing::{Server, pat, reply, run, soon, workspace};

    #[test]
    fn we_are_told_who_we_are() {
        let body = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"7001","userName":"app-1",
            "displayName":"Segment Storage Destinations","active":true,
            "entitlements":[{"value":"databricks-sql-access"},{"value":"allow-cluster-create"}],
            "groups":[{"display":"users","value":"9","type":"direct"},{"value":"10"}]}"#;
        let server = Server::start(vec![reply("GET /api/2.0/preview/scim/v2/Me", 200, body)]);
        let me = run(workspace(&server, pat()).me(soon())).unwrap();
        server.seen();
        assert_eq!([me.id, me.user_name, me.display_name], ["7001", "app-1", "Segment Storage Destinations"]);
        assert_eq!(me.entitlements, ["databricks-sql-access", "allow-cluster-create"]);
        assert_eq!(me.groups, ["users", "10"]);
    }

    #[test]
    fn privileges_of_all_assignments_are_joined() {
        let line = "GET /api/2.1/unity-catalog/effective-permissions/catalog/segment?principal=app-1&max_results=0";
        let body = r#"{"privilege_assignments":[{"principal":"app-1","privileges":[
            {"privilege":"USE_CATALOG","inherited_from_type":"METASTORE","inherited_from_name":"m"},
            {"privilege":"CREATE_SCHEMA"}]}],"next_page_token":"t"}"#;
        let more = r#"{"privilege_assignments":[{"principal":"users","privileges":[{"privilege":"USE_CATALOG"}]}]}"#;
        let next = format!("{line}&page_token=t");
        let server = Server::start(vec![reply(line, 200, body), reply(&next, 200, more)]);
        let workspace = workspace(&server, pat());
        let privileges = workspace.effective_privileges(Securable::Catalog, "segment", "app-1", soon());
        assert_eq!(run(privileges).unwrap(), ["CREATE_SCHEMA", "USE_CATALOG"]);
        server.seen();
    }

    #[test]
    fn external_locations_are_listed_through_empty_pages() {
        let line = "GET /api/2.1/unity-catalog/external-locations?max_results=0";
        let location = r#"{"external_locations":[{"name":"bronze","url":"abfss://c@a.dfs.core.windows.net/lake",
            "credential_name":"cred","read_only":false,"isolation_mode":"ISOLATION_MODE_OPEN"}],"next_page_token":""}"#;
        let server = Server::start(vec![
            reply(line, 200, r#"{"next_page_token":"a b"}"#),
            reply(&format!("{line}&page_token=a+b"), 200, r#"{"external_locations":[],"next_page_token":"c"}"#),
            reply(&format!("{line}&page_token=c"), 200, location),
        ]);
        let locations = run(workspace(&server, pat()).external_locations(soon())).unwrap();
        server.seen();
        assert_eq!(locations.len(), 1);
        assert_eq!((locations[0].name.as_str(), locations[0].credential_name.as_str()), ("bronze", "cred"));
    }

    #[test]
    fn pages_that_lead_to_themselves_end() {
        let line = "GET /api/2.1/unity-catalog/external-locations?max_results=0";
        let again = r#"{"external_locations":[],"next_page_token":"a"}"#;
        let next = format!("{line}&page_token=a");
        let server = Server::start(vec![reply(line, 200, again), reply(&next, 200, again)]);
        let error = run(workspace(&server, pat()).external_locations(soon())).unwrap_err();
        server.seen();
        assert!(error.message().contains("do not end"), "{error}");
    }
}
