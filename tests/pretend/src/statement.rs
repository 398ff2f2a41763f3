//! One statement: its text, where it stands, and what came of it.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use crate::state::Caller;
use crate::types::SqlType;

/// Where a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Progress {
    Pending,
    Running,
    Succeeded,
    Failed,
    Canceled,
}

impl Progress {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }

    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

/// Rows, all as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<(String, SqlType)>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error_code: String,
    pub(crate) message: String,
    pub(crate) sql_state: Option<String>,
}

impl Failure {
    /// An error with its class, as `[TABLE_OR_VIEW_NOT_FOUND] … SQLSTATE: 42P01`.
    pub(crate) fn class(class: &str, sql_state: &str, message: impl AsRef<str>) -> Self {
        Self {
            error_code: "BAD_REQUEST".to_owned(),
            message: format!("[{class}] {} SQLSTATE: {sql_state}", message.as_ref()),
            sql_state: Some(sql_state.to_owned()),
        }
    }
}

/// One statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) id: String,
    /// Its place among all statements.
    pub(crate) number: usize,
    pub(crate) text: String,
    pub(crate) warehouse: String,
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) caller: Caller,
    pub(crate) progress: Progress,
    pub(crate) outcome: Option<Result<Rows, Failure>>,
    pub(crate) ended: Option<Instant>,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
}

/// One statement, to assert on.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// Its id.
    pub statement_id: String,
    /// Its text.
    pub text: String,
    /// The warehouse's id.
    pub warehouse: String,
    /// Who.
    pub principal: String,
    /// `PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED`, `CANCELED`
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Milliseconds since 1970.
    pub at: u64,
}

impl Statement {
    pub(crate) fn said(&self) -> Said {
        let error = self.outcome.as_ref().and_then(|outcome| outcome.as_ref().err());
        Said {
            statement_id: self.id.clone(),
            text: self.text.clone(),
            warehouse: self.warehouse.clone(),
            principal: self.caller.name.clone(),
            state: self.progress.name().to_owned(),
            error: error.map(|failure| failure.message.clone()),
            at: self.at,
        }
    }

    /// The answer to a submit or a poll.
    pub(crate) fn told(&self, progress: Progress, rows_per_chunk: usize) -> Value {
        let mut body = json!({"statement_id": self.id, "status": {"state": progress.name()}});
        if !progress.is_terminal() {
            return body;
        }
        match &self.outcome {
            Some(Ok(rows)) if progress == Progress::Succeeded => {
                body["manifest"] = manifest(rows, rows_per_chunk);
                body["result"] = match rows.columns.is_empty() {
                    true => json!({}),
                    false => self.chunk(0, rows_per_chunk).unwrap_or(Value::Null),
                };
            }
            Some(Err(failure)) if progress == Progress::Failed => {
                body["status"]["error"] = json!({"error_code": failure.error_code, "message": failure.message});
                if let Some(sql_state) = &failure.sql_state {
                    body["status"]["sql_state"] = json!(sql_state);
                }
            }
            _ => {}
        }
        body
    }

    /// One chunk of the rows; nothing when there is no such chunk.
    pub(crate) fn chunk(&self, index: usize, rows_per_chunk: usize) -> Option<Value> {
        let Some(Ok(rows)) = &self.outcome else { return None };
        let chunks: Vec<&[Vec<Option<String>>]> = rows.rows.chunks(rows_per_chunk.max(1)).collect();
        let mine = match chunks.get(index) {
            Some(mine) => mine,
            None if index == 0 && !rows.columns.is_empty() => &[][..],
            None => return None,
        };
        let mut chunk = json!({
            "chunk_index": index, "row_offset": index * rows_per_chunk.max(1), "row_count": mine.len(),
            "data_array": mine,
        });
        if index + 1 < chunks.len() {
            chunk["next_chunk_index"] = json!(index + 1);
            let link = format!("/api/2.0/sql/statements/{}/result/chunks/{}", self.id, index + 1);
            chunk["next_chunk_internal_link"] = json!(link);
        }
        Some(chunk)
    }
}

fn manifest(rows: &Rows, rows_per_chunk: usize) -> Value {
    if rows.columns.is_empty() {
        return json!({
            "format": "JSON_ARRAY", "schema": {"column_count": 0}, "total_chunk_count": 0, "total_row_count": 0,
            "truncated": false,
        });
    }
    let columns: Vec<Value> = rows.columns.iter().enumerate().map(|(position, (name, kind))| {
        json!({"name": name, "type_text": kind.text().to_uppercase(), "type_name": kind.name(), "position": position})
    }).collect();
    let per = rows_per_chunk.max(1);
    let mut chunks: Vec<Value> = rows
        .rows
        .chunks(per)
        .enumerate()
        .map(|(index, mine)| json!({"chunk_index": index, "row_offset": index * per, "row_count": mine.len()}))
        .collect();
    if chunks.is_empty() {
        chunks.push(json!({"chunk_index": 0, "row_offset": 0, "row_count": 0}));
    }
    json!({
        "format": "JSON_ARRAY", "schema": {"column_count": columns.len(), "columns": columns},
        "total_chunk_count": chunks.len(), "chunks": chunks, "total_row_count": rows.rows.len(), "truncated": false,
    })
}
