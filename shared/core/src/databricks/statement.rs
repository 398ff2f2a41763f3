//! SQL statements on a warehouse: submitted, polled, read to the last chunk, cancelled at the deadline.
//!
//! There is no key that makes a statement run once. Every statement of ours may run twice, so one whose answer was
//! lost is submitted again. Those of people are submitted by themselves, and followed by their id: whoever must know
//! that a statement is over can ask for it even when the one who submitted it is gone.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Workspace;
use super::answer::Said;
use super::error::{Error, Failure, Subject};
use crate::clock::{self, Deadline};

/// How long a submission waits for its end on the server's side; more is not allowed.
const WAIT_MAX: u64 = 50;
/// How often a statement is submitted at most.
const SUBMISSIONS: u32 = 4;
/// How many looks at a running statement may fail in a row.
const LOOKS_LOST: u32 = 5;
/// How long a cancellation may take, past the deadline.
const CANCEL_WITHIN: Duration = Duration::from_secs(3);
/// As many rows as are taken; our statements answer with a few.
const CELLS_MAX: usize = 10_000_000;

/// What a statement answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names of the columns, in order; none for DDL.
    pub columns: Vec<String>,
    /// The rows: each value as text, or NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// Databricks' id of the statement, for its query history.
    pub statement_id: String,
}

/// A statement that the warehouse has taken.
#[derive(Debug)]
pub(crate) struct Submitted {
    about: Subject,
    response: Response,
}

impl Submitted {
    /// Databricks' id of it.
    pub(crate) fn id(&self) -> &str {
        &self.response.statement_id
    }
}

#[derive(Debug, Deserialize)]
struct Response {
    #[serde(default)]
    statement_id: String,
    status: Status,
    manifest: Option<Manifest>,
    result: Option<Chunk>,
}

#[derive(Debug, Deserialize)]
struct Status {
    state: String,
    error: Option<StatementError>,
    sql_state: Option<String>,
}

#[derive(Debug, Deserialize)]
struct StatementError {
    error_code: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    schema: Option<Columns>,
    #[serde(default)]
    truncated: bool,
}

#[derive(Debug, Deserialize)]
struct Columns {
    #[serde(default)]
    columns: Vec<Column>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct Chunk {
    data_array: Option<Vec<Vec<Value>>>,
    next_chunk_index: Option<u64>,
}

impl Workspace {
    /// Runs one statement and waits for its end. A warehouse that is stopped starts for it.
    ///
    /// # Errors
    /// The warehouse cannot be used, or the statement failed: then the error has a class or a denial. At the deadline
    /// the statement is cancelled, and the error is a passing one.
    pub async fn run(&self, warehouse: &str, statement: &str, deadline: Deadline) -> Result<Answer, Error> {
        let about = Subject::Statement(warehouse.to_owned(), head(statement));
        let mut submitted = 0;
        loop {
            let outcome = self.run_once(warehouse, statement, &about, deadline).await;
            submitted += 1;
            match outcome {
                Err(error) if error.may_run_again() && submitted < SUBMISSIONS => {
                    clock::pause(self.pace().poll(submitted), deadline).await;
                    if deadline.is_over() {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    async fn run_once(
        &self,
        warehouse: &str,
        statement: &str,
        about: &Subject,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        // Answered before the deadline, so that there is an id to cancel by. Between nothing and 5 s is not allowed.
        let wait = match deadline.left().as_secs() / 2 {
            0..5 => 0,
            half => half.min(WAIT_MAX),
        };
        let response = self.submitted(warehouse, statement, wait, about, deadline).await?;
        self.followed(response, about, deadline).await
    }

    /// Submits one statement and waits for nothing but its id. An answer that was lost is asked for again: then it runs
    /// twice.
    ///
    /// # Errors
    /// The warehouse did not take it, or nobody knows whether it did.
    pub(crate) async fn submit(
        &self,
        warehouse: &str,
        statement: &str,
        deadline: Deadline,
    ) -> Result<Submitted, Error> {
        let about = Subject::Statement(warehouse.to_owned(), head(statement));
        let response = self.submitted(warehouse, statement, 0, &about, deadline).await?;
        Ok(Submitted { about, response })
    }

    /// Waits for a statement's end; at the deadline it is cancelled.
    ///
    /// # Errors
    /// As [`Workspace::run`].
    pub(crate) async fn follow(&self, submitted: Submitted, deadline: Deadline) -> Result<Answer, Error> {
        let Submitted { about, response } = submitted;
        self.followed(response, &about, deadline).await
    }

    /// Has a statement come to its end, by cancelling it; nothing is said of how it ended. One that the workspace has
    /// forgotten is long over.
    ///
    /// # Errors
    /// The workspace does not answer, or it goes on past the deadline.
    pub(crate) async fn stop(&self, warehouse: &str, id: &str, deadline: Deadline) -> Result<(), Error> {
        let about = Subject::Statement(warehouse.to_owned(), id.to_owned());
        self.cancel(id, &about).await;
        let mut polls = 0;
        loop {
            match self.get::<Response>("api/2.0/sql/statements", &[id], &[], &about, deadline).await {
                Ok(response) if matches!(response.status.state.as_str(), "PENDING" | "RUNNING") => {}
                Err(error) if error.status() != Some(404) => return Err(error),
                _ => return Ok(()),
            }
            clock::pause(self.pace().poll(polls), deadline).await;
            polls += 1;
            if deadline.is_over() {
                return Err(self.failed(Failure::OutOfTime, &about, Said::of("the statement was cancelled")));
            }
        }
    }

    async fn submitted(
        &self,
        warehouse: &str,
        statement: &str,
        wait: u64,
        about: &Subject,
        deadline: Deadline,
    ) -> Result<Response, Error> {
        let body = json!({
            "statement": statement,
            "warehouse_id": warehouse,
            "wait_timeout": format!("{wait}s"),
            "on_wait_timeout": "CONTINUE",
            "disposition": "INLINE",
            "format": "JSON_ARRAY",
        });
        self.post("api/2.0/sql/statements", &[], &body, about, deadline).await
    }

    async fn followed(&self, mut response: Response, about: &Subject, deadline: Deadline) -> Result<Answer, Error> {
        let id = response.statement_id.clone();
        let (mut polls, mut lost) = (0, 0);
        while matches!(response.status.state.as_str(), "PENDING" | "RUNNING") {
            clock::pause(self.pace().poll(polls), deadline).await;
            polls += 1;
            let polled = match deadline.is_over() {
                true => Err(self.failed(Failure::OutOfTime, about, Said::of("the statement was cancelled"))),
                false => self.get("api/2.0/sql/statements", &[&id], &[], about, deadline).await,
            };
            match polled {
                Ok(polled) => (response, lost) = (polled, 0),
                Err(error) if error.status() == Some(404) => {
                    return Err(self.failed(Failure::Forgotten, about, Said::of(error.message())));
                }
                // The statement goes on, whatever becomes of our questions.
                Err(error) if error.is_passing() && !error.is_out_of_time() && lost < LOOKS_LOST => lost += 1,
                Err(error) => {
                    self.cancel(&id, about).await;
                    return Err(error);
                }
            }
        }
        self.finished(id, response, about, deadline).await
    }

    /// Best effort: a statement that ends all the same is one that may run twice.
    async fn cancel(&self, id: &str, about: &Subject) {
        let deadline = Deadline::after(CANCEL_WITHIN);
        let cancelled: Result<Value, Error> =
            self.post("api/2.0/sql/statements", &[id, "cancel"], &json!({}), about, deadline).await;
        drop(cancelled);
    }

    async fn finished(
        &self,
        id: String,
        response: Response,
        about: &Subject,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let Response { status, manifest, result, .. } = response;
        match status.state.as_str() {
            "SUCCEEDED" => {}
            // Succeeded, and its rows are gone: only who came back too late sees it.
            "CLOSED" => return Ok(Answer { statement_id: id, ..Answer::default() }),
            // By a person, or by the warehouse's own timeout.
            "CANCELED" => return Err(self.failed(Failure::Cancelled, about, Said::default())),
            state => {
                let error = status.error.unwrap_or(StatementError { error_code: None, message: None });
                let code = error.error_code.unwrap_or_else(|| state.to_owned());
                let message = error.message.unwrap_or_else(|| format!("the statement's state is {state}"));
                let mut said = Said::of_statement(Some(code), &message, status.sql_state);
                said.request_id = Some(format!("statement {id}"));
                return Err(self.failed(Failure::StatementFailed, about, said));
            }
        }
        let unreadable = |message: &str| self.failed(Failure::Unreadable, about, Said::of(message));
        let mut columns = Vec::new();
        if let Some(manifest) = manifest {
            if manifest.truncated {
                return Err(unreadable("the result was truncated"));
            }
            columns = manifest.schema.map(|schema| schema.columns).unwrap_or_default();
        }
        let columns: Vec<String> = columns.into_iter().map(|column| column.name).collect();
        let mut rows = Vec::new();
        let mut chunk = result.unwrap_or_default();
        let mut at = 0;
        loop {
            for row in chunk.data_array.unwrap_or_default() {
                rows.push(row.into_iter().map(text).collect());
            }
            if rows.len().saturating_mul(columns.len().max(1)) > CELLS_MAX {
                return Err(unreadable("the result is too large"));
            }
            match chunk.next_chunk_index {
                None => return Ok(Answer { columns, rows, statement_id: id }),
                Some(next) if next <= at => return Err(unreadable("the result's chunks do not go forward")),
                Some(next) => at = next,
            }
            let segments = [id.as_str(), "result", "chunks", &at.to_string()];
            chunk = self.get("api/2.0/sql/statements", &segments, &[], about, deadline).await?;
        }
    }
}

/// A value as text; every value is a text or null, other JSON is kept as it stands.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// How a statement begins: enough to know it again.
fn head(statement: &str) -> String {
    const SHOWN: usize = 100;
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests;
