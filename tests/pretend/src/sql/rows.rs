//! Answers that have rows.

use serde_json::{Value, json};

use crate::clock;
use crate::lake::Log;
use crate::statement::{Failure, Rows};
use crate::types::SqlType;

/// One row of named values.
fn one(columns: Vec<(&str, SqlType, Option<String>)>) -> Rows {
    let (columns, row) = columns.into_iter().map(|(name, kind, value)| ((name.to_owned(), kind), value)).unzip();
    Rows { columns, rows: vec![row] }
}

/// `SELECT 1`
pub(super) fn literal(number: i64) -> Rows {
    one(vec![(number.to_string().as_str(), SqlType::Int, Some(number.to_string()))])
}

/// `SELECT count(*)`: by the log, which must say how many rows each file has.
pub(super) fn count(log: &Log) -> Result<Rows, Failure> {
    let mut rows = 0;
    for file in &log.files {
        match file.rows.filter(|_| !file.has_deletion_vector) {
            Some(of_file) => rows += of_file,
            None => {
                let text = format!("The pretend workspace has no count of rows of the file {}.", file.path);
                return Err(Failure::class("NOT_IMPLEMENTED", "0A000", text));
            }
        }
    }
    Ok(counted(rows))
}

/// The answer of `SELECT count(*)`.
pub(super) fn counted(rows: u64) -> Rows {
    one(vec![("count(1)", SqlType::Long, Some(rows.to_string()))])
}

/// `SELECT column`, of texts.
pub(super) fn texts(column: &str, texts: Vec<Option<String>>) -> Rows {
    let columns = vec![(column.to_owned(), SqlType::String)];
    Rows { columns, rows: texts.into_iter().map(|text| vec![text]).collect() }
}

/// `COPY INTO`
pub(super) fn copied(rows: u64) -> Rows {
    let number = |rows: u64| Some(rows.to_string());
    one(vec![
        ("num_affected_rows", SqlType::Long, number(rows)),
        ("num_inserted_rows", SqlType::Long, number(rows)),
        ("num_skipped_corrupt_files", SqlType::Long, number(0)),
    ])
}

/// `DESCRIBE HISTORY`: each commit by its version and what it says of itself, the newest first.
pub(super) fn history(commits: &[(u64, Value)]) -> Rows {
    let columns = [
        ("version", SqlType::Long),
        ("timestamp", SqlType::Timestamp),
        ("userId", SqlType::String),
        ("userName", SqlType::String),
        ("operation", SqlType::String),
        ("operationParameters", SqlType::String),
        ("job", SqlType::String),
        ("notebook", SqlType::String),
        ("clusterId", SqlType::String),
        ("readVersion", SqlType::Long),
        ("isolationLevel", SqlType::String),
        ("isBlindAppend", SqlType::Boolean),
        ("operationMetrics", SqlType::String),
        ("userMetadata", SqlType::String),
        ("engineInfo", SqlType::String),
    ];
    let row = |(version, info): &(u64, Value)| {
        let cell = |(name, kind): &(&str, SqlType)| match (*name, &info[*name]) {
            ("version", _) => Some(version.to_string()),
            (_, Value::Null) => None,
            (_, Value::String(text)) => Some(text.clone()),
            (_, value) if *kind == SqlType::Timestamp => value.as_u64().map(clock::iso),
            (_, value) => Some(value.to_string()),
        };
        columns.iter().map(cell).collect()
    };
    Rows {
        columns: columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec(),
        rows: commits.iter().map(row).collect(),
    }
}

/// How many rows a statement changed.
pub(super) fn affected(rows: u64) -> Rows {
    one(vec![("num_affected_rows", SqlType::Long, Some(rows.to_string()))])
}

/// `VACUUM`
pub(super) fn vacuumed(location: &str) -> Rows {
    one(vec![("path", SqlType::String, Some(location.to_owned()))])
}

/// `DESCRIBE DETAIL`
pub(super) fn detail(log: &Log, full_name: &str, location: &str) -> Rows {
    let text = |value: &Value| Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let created = log.metadata["createdTime"].as_u64().map(clock::iso);
    let size: i64 = log.files.iter().map(|file| file.size).sum();
    one(vec![
        ("format", SqlType::String, Some("delta".to_owned())),
        ("id", SqlType::String, text(&log.metadata["id"])),
        ("name", SqlType::String, Some(full_name.to_owned())),
        ("description", SqlType::String, log.description()),
        ("location", SqlType::String, Some(location.to_owned())),
        ("createdAt", SqlType::Timestamp, created),
        ("lastModified", SqlType::Timestamp, Some(clock::iso(log.modified))),
        ("partitionColumns", SqlType::String, text(&log.metadata["partitionColumns"])),
        ("clusteringColumns", SqlType::String, Some("[]".to_owned())),
        ("numFiles", SqlType::Long, Some(log.files.len().to_string())),
        ("sizeInBytes", SqlType::Long, Some(size.to_string())),
        ("properties", SqlType::String, text(&json!(log.configuration()))),
        ("minReaderVersion", SqlType::Int, text(&log.protocol["minReaderVersion"])),
        ("minWriterVersion", SqlType::Int, text(&log.protocol["minWriterVersion"])),
        ("tableFeatures", SqlType::String, text(&json!(log.features()))),
        ("statistics", SqlType::String, text(&json!({"numRowsDeletedByDeletionVectors": 0}))),
    ])
}

/// `OPTIMIZE`
pub(super) fn optimized(location: &str, files: usize) -> Rows {
    let metrics = json!({"numFilesAdded": files, "numFilesRemoved": files});
    one(vec![
        ("path", SqlType::String, Some(location.to_owned())),
        ("metrics", SqlType::String, Some(metrics.to_string())),
    ])
}

/// `SHOW TABLES`
pub(super) fn tables(schema: &str, names: Vec<String>) -> Rows {
    let columns = [("database", SqlType::String), ("tableName", SqlType::String), ("isTemporary", SqlType::Boolean)];
    Rows {
        columns: columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec(),
        rows: names
            .into_iter()
            .map(|name| vec![Some(schema.to_owned()), Some(name), Some("false".to_owned())])
            .collect(),
    }
}
