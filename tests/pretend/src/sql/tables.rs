//! Statements that write to a table's log: CREATE, ALTER, comments, OPTIMIZE. Each is a real commit.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::ColumnDef;
use crate::clock;
use crate::lake::{Committed, Log, Place, Put, Standing, commit_info, schema_string};
use crate::state::uuid;
use crate::statement::Failure;
use crate::types::field;
use crate::workspace::Workspace;

/// How often a commit is tried again after somebody else took its version.
const TRIES: u32 = 50;
/// What no column may hold unless the table maps columns.
const FORBIDDEN: &str = " ,;{}()\n\t=";
/// Table properties of Delta that need no feature of their own.
const PLAIN: [&str; 18] = [
    "delta.appendOnly",
    "delta.autoOptimize.autoCompact",
    "delta.autoOptimize.optimizeWrite",
    "delta.checkpoint.writeStatsAsJson",
    "delta.checkpoint.writeStatsAsStruct",
    "delta.checkpointInterval",
    "delta.dataSkippingNumIndexedCols",
    "delta.dataSkippingStatsColumns",
    "delta.deletedFileRetentionDuration",
    "delta.enableExpiredLogCleanup",
    "delta.isolationLevel",
    "delta.logRetentionDuration",
    "delta.parquet.compression.codec",
    "delta.randomizeFilePrefixes",
    "delta.randomPrefixLength",
    "delta.setTransactionRetentionDuration",
    "delta.targetFileSize",
    "delta.tuneFileSizesForRewrites",
];
/// Table properties of Delta that need a feature, and their value that needs none.
const SWITCHES: [(&str, &str); 7] = [
    ("delta.enableChangeDataFeed", "false"),
    ("delta.enableRowTracking", "false"),
    ("delta.enableInCommitTimestamps", "false"),
    ("delta.enableTypeWidening", "false"),
    ("delta.checkpointPolicy", "classic"),
    ("delta.columnMapping.mode", "none"),
    ("delta.enableIcebergCompatV2", "false"),
];
const DELETION_VECTORS: &str = "delta.enableDeletionVectors";
/// Features of a table whose schema and properties can be changed by a commit of metadata alone.
const CHANGEABLE: [&str; 9] = [
    "appendOnly",
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
                "Found invalid character(s) among ' ,;{{}}()\\n\\t=' in the column names of your schema. Invalid column names: \
                 {}. Please use other characters and try again. Alternatively, enable Column Mapping to keep using these \
                 characters.",
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

/// Properties that we can set; whether they ask for deletion vectors.
fn checked(properties: &[(String, String)]) -> Result<Option<bool>, Failure> {
    let mut vectors = None;
    for (key, value) in properties {
        if !key.starts_with("delta.") || PLAIN.contains(&key.as_str()) {
            continue;
        }
        if key == DELETION_VECTORS {
            vectors = Some(value.eq_ignore_ascii_case("true"));
            continue;
        }
        match SWITCHES.iter().find(|(switch, _)| switch == key) {
            Some((_, off)) if value.eq_ignore_ascii_case(off) => {}
            Some(_) => return Err(not_here(&format!("table property {key} = {value}"))),
            None if key.starts_with("delta.feature.") => return Err(not_here(&format!("table property {key}"))),
            None => {
                let text = format!("Unknown configuration was specified: {key}.");
                return Err(Failure::class("DELTA_UNKNOWN_CONFIGURATION", "F0000", text));
            }
        }
    }
    Ok(vectors)
}

/// What CREATE TABLE was asked to make.
pub(super) struct Wanted<'a> {
    pub(super) label: &'a str,
    pub(super) location: &'a str,
    pub(super) is_managed: bool,
    pub(super) fields: Vec<Value>,
    pub(super) comment: Option<&'a str>,
    pub(super) properties: &'a [(String, String)],
}

/// Makes the log of a new table, or takes the one that stands at its location.
pub(super) async fn create(workspace: &Workspace, place: &Place, wanted: &Wanted<'_>) -> Result<Log, Failure> {
    let vectors = checked(wanted.properties)?;
    let standing = place.standing().await?;
    let (label, location) = (wanted.label, wanted.location);
    match (standing, wanted.fields.is_empty()) {
        (Standing::Log, _) => return adopt(place, wanted).await,
        (Standing::Others, false) => {
            let text = format!(
                "Cannot create table ('{label}'). The associated location ('{location}') is not empty and also not a Delta table."
            );
            return Err(Failure::class("DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION", "42601", text));
        }
        (Standing::Others, true) => {
            let text = format!(
                "You are trying to create an external table {label} from `{location}` using Delta, but there is no transaction log \
                 present at `{location}/_delta_log`. Check the upstream job to make sure that it is writing using \
                 format(\"delta\") and that the path is the root of the table."
            );
            return Err(Failure::class("DELTA_CREATE_EXTERNAL_TABLE_WITHOUT_TXN_LOG", "42K03", text));
        }
        (Standing::Nothing, true) if wanted.is_managed => {
            let text = format!(
                "You are trying to create a managed table {label} using Delta, but the schema is not specified."
            );
            return Err(Failure::class("DELTA_INVALID_MANAGED_TABLE_SYNTAX_NO_SCHEMA", "42000", text));
        }
        (Standing::Nothing, true) => {
            let text = format!(
                "You are trying to create an external table {label} from {location} using Delta, but the schema is not specified when the input path is empty."
            );
            return Err(Failure::class("DELTA_CREATE_EXTERNAL_TABLE_WITHOUT_SCHEMA", "42601", text));
        }
        (Standing::Nothing, false) => {}
    }
    let mut configuration: BTreeMap<&str, &str> =
        wanted.properties.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    // A warehouse turns them on in what it creates.
    let protocol = if vectors.unwrap_or(true) {
        configuration.insert(DELETION_VECTORS, "true");
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
               "writerFeatures": ["appendOnly", "deletionVectors", "invariants"]})
    } else {
        json!({"minReaderVersion": 1, "minWriterVersion": 2})
    };
    let mut metadata = json!({
        "id": uuid(), "format": {"provider": "parquet", "options": {}}, "schemaString": schema_string(&wanted.fields),
        "partitionColumns": [], "configuration": configuration, "createdTime": clock::epoch_ms(),
    });
    if let Some(comment) = wanted.comment {
        metadata["description"] = json!(comment);
    }
    let parameters = json!({
        "isManaged": wanted.is_managed.to_string(), "description": wanted.comment, "partitionBy": "[]",
        "properties": json!(configuration).to_string(), "statsOnLoad": "false",
    });
    let actions =
        [commit_info("CREATE TABLE", &parameters, None), json!({"protocol": protocol}), json!({"metaData": metadata})];
    let put = if workspace.state().knobs.unconditional_put.is_some() { Put::Unconditional } else { Put::IfAbsent };
    match place.commit(0, &actions, put).await? {
        Committed::Done => place.read(None).await,
        // Somebody made it in between.
        Committed::Lost => adopt(place, wanted).await,
    }
}

/// Takes the log that stands there; what the statement says must be what it says.
async fn adopt(place: &Place, wanted: &Wanted<'_>) -> Result<Log, Failure> {
    let log = place.read(None).await?;
    let location = wanted.location;
    let shape = |fields: &[Value]| {
        fields.iter().map(|field| (field["name"].clone(), field["type"].clone())).collect::<Vec<_>>()
    };
    if !wanted.fields.is_empty() && shape(&wanted.fields) != shape(&log.fields()) {
        let tree = |fields: &[Value]| {
            let lines = fields.iter().map(|field| {
                format!(
                    " |-- {}: {}",
                    field["name"].as_str().unwrap_or_default(),
                    crate::types::type_text(&field["type"])
                )
            });
            format!("root\n{}", lines.collect::<Vec<_>>().join("\n"))
        };
        let text = format!(
            "The specified schema does not match the existing schema at {location}.\n\n== Specified ==\n{}\n\n== Existing ==\n{}\n",
            tree(&wanted.fields),
            tree(&log.fields())
        );
        return Err(Failure::class("DELTA_CREATE_TABLE_SCHEME_MISMATCH", "42KD7", text));
    }
    let given: BTreeMap<String, String> = wanted.properties.iter().cloned().collect();
    if !given.is_empty() && given != log.configuration() {
        let list = |all: &BTreeMap<String, String>| {
            all.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n")
        };
        let text = format!(
            "The specified properties do not match the existing properties at {location}.\n\n== Specified ==\n{}\n\n== Existing ==\n{}\n",
            list(&given),
            list(&log.configuration())
        );
        return Err(Failure::class("DELTA_CREATE_TABLE_WITH_DIFFERENT_PROPERTY", "42KD7", text));
    }
    Ok(log)
}

/// Commits what `actions` makes of the newest log, behind a line that says what was done.
pub(super) async fn commit(
    workspace: &Workspace,
    place: &Place,
    operation: &str,
    parameters: &Value,
    actions: impl Fn(&Log) -> Result<Vec<Value>, Failure>,
) -> Result<Log, Failure> {
    let behind = workspace.state().knobs.unconditional_put;
    let mut base = place.read(None).await?;
    if let Some(behind) = behind.filter(|behind| *behind > 0) {
        base = place.read(Some(base.version.saturating_sub(behind))).await?;
    }
    let first = base.metadata.clone();
    for _ in 0..TRIES {
        let features = base.features();
        if let Some(other) = features.iter().find(|feature| !CHANGEABLE.contains(&feature.as_str())) {
            return Err(not_here(&format!("{operation} of a table with the feature {other}")));
        }
        let mut all = vec![commit_info(operation, parameters, Some(base.version))];
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
            let text = "MetadataChangedException: The metadata of the Delta table has been changed by a concurrent update. Please try the operation again.";
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
    commit(workspace, place, "ADD COLUMNS", &parameters, |log| {
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
    commit(workspace, place, "SET TBLPROPERTIES", &parameters, |log| {
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
    commit(workspace, place, "SET TBLPROPERTIES", &parameters, |log| Ok(vec![with(log, "description", json!(comment))]))
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
    commit(workspace, place, "CHANGE COLUMN", &parameters, |log| {
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
    let log = place.read(None).await?;
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
        let mut add = json!({"path": path, "partitionValues": {}, "size": file.size, "modificationTime": now, "dataChange": false});
        if let Some(stats) = &file.stats {
            add["stats"] = json!(stats);
        }
        actions.push(json!({"add": add}));
    }
    let parameters = json!({"predicate": "[]", "zOrderBy": "[]", "clusterBy": "[]", "auto": "false"});
    commit(workspace, place, "OPTIMIZE", &parameters, |_| Ok(actions.clone())).await?;
    Ok(log.files.len())
}

/// The action `metaData` with one thing changed.
fn with(log: &Log, key: &str, value: Value) -> Value {
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

fn not_here(thing: &str) -> Failure {
    Failure::class("NOT_IMPLEMENTED", "0A000", format!("The pretend workspace has no {thing}."))
}
