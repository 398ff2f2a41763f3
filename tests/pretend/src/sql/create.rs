//! CREATE TABLE: a new log, or the one that stands at the location.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::properties::{DELETION_VECTORS, checked};
use crate::clock;
use crate::lake::{Committed, Log, Operation, Place, Put, Standing, commit_info, schema_string};
use crate::state::uuid;
use crate::statement::Failure;
use crate::workspace::Workspace;

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
                "Cannot create table ('{label}'). The associated location ('{location}') is not empty and also not a \
                 Delta table."
            );
            return Err(Failure::class("DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION", "42601", text));
        }
        (Standing::Others, true) => {
            let text = format!(
                "You are trying to create an external table {label} from `{location}` using Delta, but there is no \
                 transaction log present at `{location}/_delta_log`. Check the upstream job to make sure that it is \
                 writing using format(\"delta\") and that the path is the root of the table."
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
                "You are trying to create an external table {label} from {location} using Delta, but the schema is \
                 not specified when the input path is empty."
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
    let operation = Operation::new("CREATE TABLE", parameters);
    let actions = [commit_info(&operation, None), json!({"protocol": protocol}), json!({"metaData": metadata})];
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
            "The specified schema does not match the existing schema at {location}.\n\n== Specified ==\n{}\n\n== \
             Existing ==\n{}\n",
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
            "The specified properties do not match the existing properties at {location}.\n\n== Specified \
             ==\n{}\n\n== Existing ==\n{}\n",
            list(&given),
            list(&log.configuration())
        );
        return Err(Failure::class("DELTA_CREATE_TABLE_WITH_DIFFERENT_PROPERTY", "42KD7", text));
    }
    Ok(log)
}
