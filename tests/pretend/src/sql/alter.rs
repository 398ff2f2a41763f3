//! Statements that write to the log of a table that is there: ALTER, comments, OPTIMIZE. Each is a real commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::ColumnDef;
use super::failures::not_here;
use super::properties::checked;
use crate::clock;
use crate::lake::{Committed, Log, Operation, Place, Put, commit_info, schema_string};
use crate::statement::Failure;
use crate::types::field;
use crate::workspace::Workspace;

/// How often a commit is tried again after somebody else took its version.
const TRIES: u32 = 50;
/// How often a statement that works looks whether it may go on.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What no column may hold unless the table maps columns.
const FORBIDDEN: &str = " ,;{}()\n\t=";
/// Features of a table whose schema and properties can be changed by a commit of metadata alone.
const CHANGEABLE: [&str; 10] = [
    "appendOnly",
    "checkConstraints",
    "invariants",
    "deletionVectors",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "domainMetadata",
    "clustering",
    "rowTracking",
];

/// Columns as fields, with what Delta refuses.
pub(super) fn fields_of(columns: &[ColumnDef], before: &[Value]) -> Result<Vec<Value>, Failure> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for column in columns {
        if column.name.contains(|c| FORBIDDEN.contains(c)) {
            let text = format!(
                "Found invalid character(s) among ' ,;{{}}()\\n\\t=' in the column names of your schema. Invalid \
                 column names: {}. Please use other characters and try again. Alternatively, enable Column Mapping \
                 to keep using these characters.",
                column.name
            );
            return Err(Failure::class("DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES", "42K05", text));
        }
        if before.iter().any(|field| field["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(&column.name)))
        {
            let all: Vec<String> = before
                .iter()
                .map(|field| {
                    format!(
                        "{}: {}",
                        field["name"].as_str().unwrap_or_default(),
                        crate::types::type_text(&field["type"]).to_uppercase()
                    )
                })
                .collect();
            let text = format!(
                "Cannot add column, because `{}` already exists in \"STRUCT<{}>\".",
                column.name,
                all.join(", ")
            );
            return Err(Failure::class("FIELD_ALREADY_EXISTS", "42710", text));
        }
        if !names.insert(column.name.to_lowercase()) {
            let text = format!("Found duplicate column(s) in the table definition: {}.", column.name.to_lowercase());
            return Err(Failure::class("DELTA_DUPLICATE_COLUMNS_FOUND", "42711", text));
        }
    }
    Ok(columns.iter().map(|column| field(&column.name, column.kind, column.comment.as_deref())).collect())
}

/// Commits what `actions` makes of the newest log, behind a line that says what was done.
pub(super) async fn commit(
    workspace: &Workspace,
    place: &Place,
    operation: &Operation,
    actions: impl Fn(&Log) -> Result<Vec<Value>, Failure>,
) -> Result<Log, Failure> {
    let base = read_before(workspace, place).await?;
    commit_over(workspace, place, base, operation, actions).await
}

/// The log as a statement reads it, which works on that for a while.
async fn read_before(workspace: &Workspace, place: &Place) -> Result<Log, Failure> {
    let behind = workspace.state().knobs.unconditional_put;
    let mut base = place.read(None).await?;
    if let Some(behind) = behind.filter(|behind| *behind > 0) {
        base = place.read(Some(base.version.saturating_sub(behind))).await?;
    }
    let began = clock::now();
    while began.elapsed() < Duration::from_millis(workspace.state().knobs.commit_ms) {
        clock::sleep(LOOK_AGAIN).await;
    }
    Ok(base)
}

/// Commits what `actions` makes of a log, or of the newest one after a lost race.
async fn commit_over(
    workspace: &Workspace,
    place: &Place,
    mut base: Log,
    operation: &Operation,
    actions: impl Fn(&Log) -> Result<Vec<Value>, Failure>,
) -> Result<Log, Failure> {
    let behind = workspace.state().knobs.unconditional_put;
    let first = base.metadata.clone();
    for _ in 0..TRIES {
        let features = base.features();
        if let Some(other) = features.iter().find(|feature| !CHANGEABLE.contains(&feature.as_str())) {
            return Err(not_here(&format!("{} of a table with the feature {other}", operation.name)));
        }
        let mut all = vec![commit_info(operation, Some(base.version))];
        all.extend(actions(&base)?);
        if all.len() == 1 {
            return Ok(base);
        }
        let put = if behind.is_some() { Put::Unconditional } else { Put::IfAbsent };
        if place.commit(base.version + 1, &all, put).await? == Committed::Done {
            return place.read(None).await;
        }
        base = place.read(None).await?;
        if base.metadata != first {
            let text = "MetadataChangedException: The metadata of the Delta table has been changed by a concurrent \
                        update. Please try the operation again.";
            return Err(Failure::class("DELTA_METADATA_CHANGED", "2D521", text));
        }
    }
    let text = "This commit has failed as it has been tried too often.";
    Err(Failure::class("DELTA_MAX_COMMIT_RETRIES_EXCEEDED", "40000", text))
}

/// ADD COLUMNS.
pub(super) async fn add_columns(workspace: &Workspace, place: &Place, columns: &[ColumnDef]) -> Result<Log, Failure> {
    let told: Vec<Value> = fields_of(columns, &[])?.into_iter().map(|column| json!({"column": column})).collect();
    let parameters = json!({"columns": json!(told).to_string()});
    commit(workspace, place, &Operation::new("ADD COLUMNS", parameters), |log| {
        let mut fields = log.fields();
        fields.extend(fields_of(columns, &fields)?);
        Ok(vec![with(log, "schemaString", json!(schema_string(&fields)))])
    })
    .await
}

/// SET TBLPROPERTIES.
pub(super) async fn set_properties(
    workspace: &Workspace,
    place: &Place,
    properties: &[(String, String)],
) -> Result<Log, Failure> {
    let vectors = checked(properties)?;
    let given: BTreeMap<&str, &str> = properties.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let parameters = json!({"properties": json!(given).to_string()});
    commit(workspace, place, &Operation::new("SET TBLPROPERTIES", parameters), |log| {
        if vectors == Some(true) && !log.features().iter().any(|feature| feature == "deletionVectors") {
            return Err(not_here("ALTER TABLE … SET TBLPROPERTIES that adds the feature deletionVectors"));
        }
        let mut configuration = log.configuration();
        configuration.extend(properties.iter().cloned());
        Ok(vec![with(log, "configuration", json!(configuration))])
    })
    .await
}

/// COMMENT ON TABLE: it stands in the log.
pub(super) async fn comment(workspace: &Workspace, place: &Place, comment: Option<&str>) -> Result<Log, Failure> {
    let parameters = json!({"properties": json!({"comment": comment}).to_string()});
    commit(workspace, place, &Operation::new("SET TBLPROPERTIES", parameters), |log| {
        Ok(vec![with(log, "description", json!(comment))])
    })
    .await
}

/// ALTER COLUMN … COMMENT: it stands in the log.
pub(super) async fn column_comment(
    workspace: &Workspace,
    place: &Place,
    column: &str,
    comment: &str,
) -> Result<Log, Failure> {
    let parameters = json!({"column": json!({"name": column, "metadata": {"comment": comment}}).to_string()});
    commit(workspace, place, &Operation::new("CHANGE COLUMN", parameters), |log| {
        let mut fields = log.fields();
        let named = |field: &&mut Value| field["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(column));
        match fields.iter_mut().find(named) {
            Some(field) => field["metadata"]["comment"] = json!(comment),
            None => {
                let text =
                    format!("A column, variable, or function parameter with name `{column}` cannot be resolved.");
                return Err(Failure::class("UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", "42703", text));
            }
        }
        Ok(vec![with(log, "schemaString", json!(schema_string(&fields)))])
    })
    .await
}

/// OPTIMIZE: every file is written again under a new name, without a change of data. How many.
pub(super) async fn optimize(workspace: &Workspace, place: &Place) -> Result<usize, Failure> {
    let log = read_before(workspace, place).await?;
    if log.files.iter().any(|file| file.has_deletion_vector) {
        return Err(not_here("OPTIMIZE of a table with deletion vectors in use"));
    }
    if log.features().iter().any(|feature| ["rowTracking", "clustering"].contains(&feature.as_str())) {
        return Err(not_here("OPTIMIZE of a table with row tracking or clustering"));
    }
    if log.metadata["partitionColumns"].as_array().is_some_and(|columns| !columns.is_empty()) {
        return Err(not_here("OPTIMIZE of a partitioned table"));
    }
    let mut actions = Vec::new();
    for file in &log.files {
        let path = place.copy(&file.path).await?;
        let now = clock::epoch_ms();
        actions.push(json!({"remove": {
            "path": file.path, "deletionTimestamp": now, "dataChange": false, "extendedFileMetadata": true,
            "partitionValues": {}, "size": file.size,
        }}));
        let mut add = json!({"path": path, "partitionValues": {}, "size": file.size, "modificationTime": now,
        "dataChange": false});
        if let Some(stats) = &file.stats {
            add["stats"] = json!(stats);
        }
        actions.push(json!({"add": add}));
    }
    let parameters = json!({"predicate": "[]", "zOrderBy": "[]", "clusterBy": "[]", "auto": "false"});
    let files = log.files.len();
    commit_over(workspace, place, log, &Operation::new("OPTIMIZE", parameters), |_| Ok(actions.clone())).await?;
    Ok(files)
}

/// DELETE of whole files: those whose statistics say that every row has the value. How many rows went.
pub(super) async fn delete(workspace: &Workspace, place: &Place, column: &str, value: &str) -> Result<u64, Failure> {
    let log = place.read(None).await?;
    let (mut actions, mut rows) = (Vec::new(), 0);
    for file in &log.files {
        let stats: Value = file.stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let (least, greatest) = (stats["minValues"][column].as_str(), stats["maxValues"][column].as_str());
        match (least, greatest) {
            (Some(least), Some(greatest)) if least == value && greatest == value && !file.has_deletion_vector => {}
            (Some(least), Some(greatest)) if value < least || greatest < value => continue,
            _ => return Err(not_here("DELETE of some rows of a file")),
        }
        rows += file.rows.unwrap_or_default();
        actions.push(json!({"remove": {
            "path": file.path, "deletionTimestamp": clock::epoch_ms(), "dataChange": true,
            "extendedFileMetadata": true, "partitionValues": {}, "size": file.size,
        }}));
    }
    let parameters = json!({"predicate": json!([format!("({column} = {value})")]).to_string()});
    if !actions.is_empty() {
        commit(workspace, place, &Operation::new("DELETE", parameters), |_| Ok(actions.clone())).await?;
    }
    Ok(rows)
}

/// The action `metaData` with one thing changed.
pub(super) fn with(log: &Log, key: &str, value: Value) -> Value {
    let mut metadata = log.metadata.clone();
    if let Some(map) = metadata.as_object_mut() {
        map.retain(|_, value| !value.is_null());
        if !value.is_null() {
            map.insert(key.to_owned(), value);
        } else {
            map.remove(key);
        }
    }
    json!({"metaData": metadata})
}
