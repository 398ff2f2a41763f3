//! How statements fail, in Databricks' words.

use crate::reply::{Code, Refusal};
use crate::state::{State, uuid};
use crate::statement::Failure;

pub(super) fn require_catalog(state: &State, catalog: &str) -> Result<(), Failure> {
    if state.catalogs.contains_key(catalog) {
        return Ok(());
    }
    if catalog == "hive_metastore" {
        let text = "Insufficient privileges: User does not have permission CREATE,USAGE on CATALOG.";
        return Err(Failure::class("INSUFFICIENT_PERMISSIONS", "42501", text));
    }
    let text = format!(
        "Catalog '{catalog}' was not found. Please verify the catalog name and then retry the query or command again."
    );
    Err(Failure::class("NO_SUCH_CATALOG_EXCEPTION", "42704", text))
}

pub(super) fn missing_table(full: &str) -> Failure {
    let quoted = full.replace('.', "`.`");
    let text = format!(
        "The table or view `{quoted}` cannot be found. Verify the spelling and correctness of the schema and \
         catalog. If you did not qualify the name with a schema, verify the current_schema() output, or qualify the \
         name with the correct schema and catalog. To tolerate the error on drop use DROP VIEW IF EXISTS or DROP \
         TABLE IF EXISTS."
    );
    Failure::class("TABLE_OR_VIEW_NOT_FOUND", "42P01", text)
}

pub(super) fn exists(full: &str) -> Failure {
    let quoted = full.replace('.', "`.`");
    let text = format!(
        "Cannot create table or view `{quoted}` because it already exists. Choose a different name, drop or replace \
         the existing object, or add the IF NOT EXISTS clause to tolerate pre-existing objects."
    );
    Failure::class("TABLE_OR_VIEW_ALREADY_EXISTS", "42P07", text)
}

pub(super) fn not_here(thing: &str) -> Failure {
    Failure::class("NOT_IMPLEMENTED", "0A000", format!("The pretend workspace has no {thing}."))
}

/// A no of Unity Catalog, as a statement tells it.
pub(super) fn failed(refusal: Refusal) -> Failure {
    let message = match refusal.code {
        Code::Word("PERMISSION_DENIED") => format!("PERMISSION_DENIED: {}", refusal.message),
        Code::Word(code @ "NO_PARENT_EXTERNAL_LOCATION_FOR_PATH") => {
            format!("[{code}] {} SQLSTATE: KD00G", refusal.message)
        }
        Code::Word(code @ "SCHEMA_NOT_EMPTY") => format!("[{code}] {} SQLSTATE: 2BP01", refusal.message),
        Code::Word(code) => format!("[RequestId={} ErrorClass={code}] {}", uuid(), refusal.message),
        Code::Number(_) | Code::Missing => refusal.message,
    };
    Failure { error_code: "BAD_REQUEST".to_owned(), message, sql_state: None }
}
