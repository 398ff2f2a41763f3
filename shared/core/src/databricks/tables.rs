//! Tables and views as Unity Catalog knows them, by REST: no warehouse wakes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::{Error, Subject};
use super::unity::optional;
use super::{Page, Workspace};
use crate::clock::Deadline;

const TABLES: &str = "api/2.1/unity-catalog/tables";

/// What a name in a schema stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A table in a place of the user's.
    External,
    /// A table in a place of Unity Catalog's.
    Managed,
    /// A view.
    View,
    /// A materialized view, a streaming table, a clone, …, in Databricks' words.
    Other(String),
}

/// A table or a view as Unity Catalog knows it; its columns may lag behind the Delta log of an external table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name, in lower case.
    pub name: String,
    /// `catalog.schema.table`.
    pub full_name: String,
    /// Unity Catalog's id: another one after it was dropped and made again.
    pub table_id: String,
    /// What it is.
    pub kind: TableKind,
    /// `DELTA`, `ICEBERG`, …; none for views.
    pub format: Option<String>,
    /// Where its files are.
    pub location: Option<String>,
    /// Its owner.
    pub owner: String,
    /// What people wrote about it.
    pub comment: Option<String>,
    /// Its columns, by position.
    pub columns: Vec<ColumnInfo>,
    /// Its properties; for Delta tables also what the protocol says (`delta.feature.…`).
    pub properties: BTreeMap<String, String>,
    /// Whether rows are filtered or columns masked: then no credentials are vended.
    pub row_filter: bool,
}

/// A column as Unity Catalog knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type as SQL spells it: `bigint`.
    #[serde(default)]
    pub type_text: String,
    /// Its type as the API names it: `LONG`.
    #[serde(default)]
    pub type_name: String,
    /// What people, or evolve, wrote about it.
    pub comment: Option<String>,
    /// Whether it may hold NULL.
    #[serde(default = "yes")]
    pub nullable: bool,
    /// Its place, from 0.
    #[serde(default)]
    pub position: u32,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct RawTable {
    name: String,
    #[serde(default)]
    full_name: String,
    #[serde(default)]
    table_id: String,
    #[serde(default)]
    table_type: String,
    data_source_format: Option<String>,
    storage_location: Option<String>,
    #[serde(default)]
    owner: String,
    comment: Option<String>,
    #[serde(default)]
    columns: Vec<RawColumn>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    row_filter: Option<Value>,
}

#[derive(Deserialize)]
struct RawColumn {
    #[serde(flatten)]
    info: ColumnInfo,
    mask: Option<Value>,
}

#[derive(Deserialize)]
struct RawTables {
    #[serde(default)]
    tables: Vec<RawTable>,
    next_page_token: Option<String>,
}

impl Page for RawTables {
    type Item = RawTable;

    fn take(self) -> (Vec<RawTable>, Option<String>) {
        (self.tables, self.next_page_token)
    }
}

impl From<RawTable> for TableInfo {
    fn from(raw: RawTable) -> Self {
        let kind = match raw.table_type.as_str() {
            "EXTERNAL" => TableKind::External,
            "MANAGED" => TableKind::Managed,
            "VIEW" => TableKind::View,
            _ => TableKind::Other(raw.table_type),
        };
        let row_filter = raw.row_filter.is_some() || raw.columns.iter().any(|column| column.mask.is_some());
        let mut columns: Vec<ColumnInfo> = raw.columns.into_iter().map(|column| column.info).collect();
        columns.sort_by_key(|column| column.position);
        Self {
            name: raw.name,
            full_name: raw.full_name,
            table_id: raw.table_id,
            kind,
            format: raw.data_source_format,
            location: raw.storage_location,
            owner: raw.owner,
            comment: raw.comment,
            columns,
            properties: raw.properties,
            row_filter,
        }
    }
}

impl Workspace {
    /// A table or view with its columns and properties; none: it is not there, or we have no right on it.
    ///
    /// # Errors
    /// It is there and we may not see it, or its catalog is missing.
    pub async fn table(
        &self,
        catalog: &str,
        schema: &str,
        table: &str,
        deadline: Deadline,
    ) -> Result<Option<TableInfo>, Error> {
        let name = format!("{catalog}.{schema}.{table}");
        let about = Subject::Table(name.clone());
        let query = [("include_delta_metadata", "true")];
        let raw = optional(self.get::<RawTable>(TABLES, &[&name], &query, &about, deadline).await)?;
        Ok(raw.map(TableInfo::from))
    }

    /// All tables and views of a schema; a schema that is not there has none.
    ///
    /// # Errors
    /// The schema may not be used, or its catalog is missing.
    pub async fn tables(&self, catalog: &str, schema: &str, deadline: Deadline) -> Result<Vec<TableInfo>, Error> {
        let about = Subject::Schema(format!("{catalog}.{schema}"));
        let query = [("catalog_name", catalog), ("schema_name", schema), ("max_results", "0")];
        let raw = optional(self.pages::<RawTables>(TABLES, &[], &query, &about, deadline).await)?;
        Ok(raw.unwrap_or_default().into_iter().map(TableInfo::from).collect())
    }

    /// Takes a table or view out of Unity Catalog; an external table's files stay. A missing one is fine.
    ///
    /// # Errors
    /// It is not ours to delete.
    pub async fn delete_table(
        &self,
        catalog: &str,
        schema: &str,
        table: &str,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let name = format!("{catalog}.{schema}.{table}");
        self.delete(TABLES, &[&name], &Subject::Table(name.clone()), deadline).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::databricks::testing::{Server, Step, pat, reply, run, soon, workspace};

    const SCHEMA: &str = "GET /api/2.1/unity-catalog/schemas/segment.shop";
    const TABLE: &str = "GET /api/2.1/unity-catalog/tables/segment.shop.tracks?include_delta_metadata=true";

    fn missing(line: &str, code: &str) -> Step {
        reply(line, 404, &json!({ "error_code": code, "message": "It does not exist." }).to_string())
    }

    #[test]
    fn a_table_comes_with_its_columns_in_order() {
        let body = r#"{"name":"tracks","catalog_name":"segment","schema_name":"shop","full_name":"segment.shop.tracks",
            "table_id":"t-1","table_type":"EXTERNAL","data_source_format":"DELTA","owner":"app-1",
            "storage_location":"abfss://c@a.dfs.core.windows.net/lake/shop/tracks",
            "columns":[{"name":"n","type_text":"bigint","type_name":"LONG","position":1,"nullable":false,"comment":"c"},
                {"name":"id","type_text":"string","type_json":"{}","type_name":"STRING","position":0,"nullable":true}],
            "properties":{"delta.minReaderVersion":"1","delta.feature.appendOnly":"supported"}}"#;
        let server = Server::start(vec![reply(TABLE, 200, body)]);
        let table = run(workspace(&server, pat()).table("segment", "shop", "tracks", soon())).unwrap().unwrap();
        server.seen();
        assert_eq!((table.kind, table.format.as_deref()), (TableKind::External, Some("DELTA")));
        let columns: Vec<_> =
            table.columns.iter().map(|c| (c.name.as_str(), c.type_name.as_str(), c.nullable)).collect();
        assert_eq!(columns, [("id", "STRING", true), ("n", "LONG", false)]);
        assert_eq!(table.columns[1].comment.as_deref(), Some("c"));
        assert_eq!(table.properties["delta.feature.appendOnly"], "supported");
        assert!(!table.row_filter);
    }

    #[test]
    fn filters_and_masks_are_seen() {
        let kind = |body: &str| TableInfo::from(serde_json::from_str::<RawTable>(body).unwrap());
        assert!(kind(r#"{"name":"t","row_filter":{"function_name":"f"}}"#).row_filter);
        assert!(kind(r#"{"name":"t","columns":[{"name":"c","mask":{"function_name":"f"}}]}"#).row_filter);
        let view = kind(r#"{"name":"t","table_type":"VIEW","row_filter":null,"columns":[{"name":"c","mask":null}]}"#);
        assert_eq!((view.kind, view.row_filter), (TableKind::View, false));
        let other = kind(r#"{"name":"t","table_type":"STREAMING_TABLE"}"#);
        assert_eq!(other.kind, TableKind::Other("STREAMING_TABLE".to_owned()));
    }

    #[test]
    fn all_tables_of_a_schema_are_listed() {
        let line = "GET /api/2.1/unity-catalog/tables?catalog_name=segment&schema_name=shop&max_results=0";
        let server = Server::start(vec![
            reply(line, 200, r#"{"tables":[{"name":"a"}],"next_page_token":"x"}"#),
            reply(&format!("{line}&page_token=x"), 200, r#"{"tables":[{"name":"b"}]}"#),
            missing(line, "SCHEMA_DOES_NOT_EXIST"),
        ]);
        let workspace = workspace(&server, pat());
        let tables = run(workspace.tables("segment", "shop", soon())).unwrap();
        assert_eq!(tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(run(workspace.tables("segment", "shop", soon())).unwrap().is_empty());
        server.seen();
    }

    #[test]
    fn deleting_what_is_missing_is_fine() {
        let (table, schema) = (TABLE.replace("GET", "DELETE"), SCHEMA.replace("GET", "DELETE"));
        let table = table.split('?').next().unwrap();
        let full = r#"{"error_code":"INVALID_STATE","message":"Schema is not empty"}"#;
        let server = Server::start(vec![
            reply(table, 200, "{}"),
            missing(table, "TABLE_DOES_NOT_EXIST"),
            reply(&schema, 400, full),
            missing(&schema, "SCHEMA_DOES_NOT_EXIST"),
        ]);
        let workspace = workspace(&server, pat());
        run(async {
            workspace.delete_table("segment", "shop", "tracks", soon()).await.unwrap();
            workspace.delete_table("segment", "shop", "tracks", soon()).await.unwrap();
            assert!(workspace.delete_schema("segment", "shop", soon()).await.is_err());
            workspace.delete_schema("segment", "shop", soon()).await.unwrap();
        });
        server.seen();
    }

    #[test]
    fn what_is_missing_is_none_and_a_missing_catalog_is_an_error() {
        let server = Server::start(vec![
            missing(SCHEMA, "SCHEMA_DOES_NOT_EXIST"),
            missing(TABLE, "TABLE_DOES_NOT_EXIST"),
            missing(TABLE, "SCHEMA_DOES_NOT_EXIST"),
            missing(TABLE, "CATALOG_DOES_NOT_EXIST"),
            missing(SCHEMA, "ENDPOINT_NOT_FOUND"),
            reply(SCHEMA, 403, r#"{"error_code":"PERMISSION_DENIED","message":"no"}"#),
        ]);
        let workspace = workspace(&server, pat());
        run(async {
            assert_eq!(workspace.schema("segment", "shop", soon()).await.unwrap(), None);
            assert_eq!(workspace.table("segment", "shop", "tracks", soon()).await.unwrap(), None);
            assert_eq!(workspace.table("segment", "shop", "tracks", soon()).await.unwrap(), None);
            assert!(workspace.table("segment", "shop", "tracks", soon()).await.unwrap_err().is_missing());
            assert!(!workspace.schema("segment", "shop", soon()).await.unwrap_err().is_missing());
            assert!(workspace.schema("segment", "shop", soon()).await.unwrap_err().is_denied());
        });
        server.seen();
    }
}
