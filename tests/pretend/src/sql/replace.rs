//! CREATE OR REPLACE TABLE … AS SELECT: rows of a table in the place of those that one has, and their columns with them.

use serde_json::{Value, json};
use sqlparser::ast::SelectItem;

use super::alter::{commit, with};
use super::copy::{add, refuse_foreign};
use super::project::project;
use super::staged::{rows_of, to_fields};
use crate::clock;
use crate::lake::{Log, Operation, Place, schema_string};
use crate::statement::Failure;
use crate::types::field;
use crate::workspace::Workspace;

/// Does it: one commit that takes every file away and brings one.
pub(super) async fn replace(
    workspace: &Workspace,
    place: &Place,
    source: &Place,
    items: &[SelectItem],
) -> Result<Log, Failure> {
    let (before, rows) = (place.read(None).await?, source.read(None).await?);
    for log in [&before, &rows] {
        refuse_foreign("CREATE OR REPLACE TABLE", log)?;
    }
    let columns = project(Some(items), &rows_of(source, &rows).await?)?;
    let fields: Vec<Value> = columns.iter().map(|column| field(&column.name, column.kind, None)).collect();
    let (add, _) = add(place, &to_fields(&columns, &fields)?).await?;
    let parameters = json!({"isManaged": "true", "partitionBy": "[]", "properties": "{}", "statsOnLoad": "false"});
    commit(workspace, place, &Operation::new("CREATE OR REPLACE TABLE AS SELECT", parameters), |log| {
        if log.version != before.version {
            let text = "Files were added by a concurrent update. Please try the operation again.";
            return Err(Failure::class("DELTA_CONCURRENT_APPEND.WITHOUT_HINT", "2D521", text));
        }
        let removed = log.files.iter().map(|file| {
            json!({"remove": {
                "path": file.path, "deletionTimestamp": clock::epoch_ms(), "dataChange": true,
                "extendedFileMetadata": true, "partitionValues": {}, "size": file.size,
            }})
        });
        let metadata = with(log, "schemaString", json!(schema_string(&fields)));
        Ok([metadata].into_iter().chain(removed).chain([add.clone()]).collect())
    })
    .await
}
