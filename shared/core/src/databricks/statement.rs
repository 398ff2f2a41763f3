//! SQL statements on a warehouse: submitted, polled, read to the last chunk, cancelled at the deadline.
//!
//! There is no key that makes a statement run once. Every statement of ours may run twice, so one whose answer was
//! lost is submitted again.

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

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    statement_id: String,
    status: Status,
    manifest: Option<Manifest>,
    result: Option<Chunk>,
}

#[derive(Deserialize)]
struct Status {
    state: String,
    error: Option<StatementError>,
    sql_state: Option<String>,
}

#[derive(Deserialize)]
struct StatementError {
    error_code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Manifest {
    schema: Option<Columns>,
    #[serde(default)]
    truncated: bool,
}

#[derive(Deserialize)]
struct Columns {
    #[serde(default)]
    columns: Vec<Column>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Default, Deserialize)]
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
        // Answered before the deadline, so that there is an id to cancel by.
        let wait = (deadline.left().as_secs() / 2).clamp(5, WAIT_MAX);
        let body = json!({
            "statement": statement,
            "warehouse_id": warehouse,
            "wait_timeout": format!("{wait}s"),
            "on_wait_timeout": "CONTINUE",
            "disposition": "INLINE",
            "format": "JSON_ARRAY",
        });
        let mut response: Response = self.post("api/2.0/sql/statements", &[], &body, about, deadline).await?;
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
mod tests {
    use super::*;
    use crate::databricks::testing::{PAT, Server, Step, nothing, pat, reply, run, soon, workspace};

    const SUBMIT: &str = "POST /api/2.0/sql/statements";
    const POLL: &str = "GET /api/2.0/sql/statements/s-1";
    const CANCEL: &str = "POST /api/2.0/sql/statements/s-1/cancel";
    const RUNNING: &str = r#"{"statement_id":"s-1","status":{"state":"RUNNING"}}"#;
    const PENDING: &str = r#"{"statement_id":"s-1","status":{"state":"PENDING"}}"#;
    /// As Databricks answers DDL.
    const DONE: &str = r#"{"statement_id":"s-1","status":{"state":"SUCCEEDED"},"manifest":{"format":"JSON_ARRAY",
        "schema":{"column_count":0},"total_chunk_count":0,"total_row_count":0,"truncated":false},"result":{}}"#;

    fn failed(message: &str) -> String {
        let error = json!({ "error_code": "BAD_REQUEST", "message": message });
        json!({ "statement_id": "s-1", "status": { "state": "FAILED", "error": error } }).to_string()
    }

    fn outcome(steps: Vec<Step>, deadline: Deadline) -> Result<Answer, Error> {
        let server = Server::start(steps);
        let outcome = run(workspace(&server, pat()).run("w-1", "CREATE TABLE `a`\n  USING DELTA", deadline));
        server.seen();
        outcome
    }

    #[test]
    fn a_statement_is_submitted_to_be_waited_for() {
        let server = Server::start(vec![reply(SUBMIT, 200, DONE), reply(SUBMIT, 200, DONE)]);
        let workspace = workspace(&server, pat());
        run(workspace.run("w-1", "SELECT 1", soon())).unwrap();
        run(workspace.run("w-1", "SELECT 1", Deadline::after(Duration::from_secs(600)))).unwrap();
        let seen = server.seen();
        let body: Value = serde_json::from_str(&seen[1].body).unwrap();
        assert_eq!(
            body,
            json!({ "statement": "SELECT 1", "warehouse_id": "w-1", "wait_timeout": "50s",
                "on_wait_timeout": "CONTINUE", "disposition": "INLINE", "format": "JSON_ARRAY" })
        );
        let body: Value = serde_json::from_str(&seen[0].body).unwrap();
        assert_eq!(body["wait_timeout"], "14s", "answered before the deadline");
        assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {PAT}").as_str()));
    }

    #[test]
    fn rows_are_texts_and_nulls() {
        let body = r#"{"statement_id":"s-1","status":{"state":"SUCCEEDED"},"manifest":{"schema":{"column_count":2,
            "columns":[{"name":"id","type_text":"INT","position":0},{"name":"t","position":1}]},"truncated":false},
            "result":{"chunk_index":0,"row_count":2,"data_array":[["1","x"],["5",null]]}}"#;
        let answer = outcome(vec![reply(SUBMIT, 200, body)], soon()).unwrap();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(answer.columns, ["id", "t"]);
        assert_eq!(answer.rows, [vec![some("1"), some("x")], vec![some("5"), None]]);
        assert_eq!(answer.statement_id, "s-1");
    }

    #[test]
    fn a_statement_is_polled_to_its_end() {
        let steps = vec![
            reply(SUBMIT, 200, PENDING),
            reply(POLL, 200, PENDING),
            reply(POLL, 200, RUNNING),
            reply(POLL, 503, ""),
            nothing(POLL),
            reply(POLL, 200, DONE),
        ];
        assert_eq!(outcome(steps, soon()).unwrap(), Answer { statement_id: "s-1".to_owned(), ..Answer::default() });
        let closed = r#"{"statement_id":"s-1","status":{"state":"CLOSED"}}"#;
        outcome(vec![reply(SUBMIT, 200, RUNNING), reply(POLL, 200, closed)], soon()).unwrap();
    }

    #[test]
    fn all_chunks_are_read() {
        let first = r#"{"statement_id":"s-1","status":{"state":"SUCCEEDED"},"manifest":{"schema":{"columns":[
            {"name":"c"}]}},"result":{"data_array":[["1"]],"next_chunk_index":1,
            "next_chunk_internal_link":"/api/2.0/sql/statements/s-1/result/chunks/1?row_offset=1"}}"#;
        let chunk = |index: u32| format!("GET /api/2.0/sql/statements/s-1/result/chunks/{index}");
        let steps = vec![
            reply(SUBMIT, 200, first),
            reply(&chunk(1), 200, r#"{"data_array":[["2"],["3"]],"next_chunk_index":2}"#),
            reply(&chunk(2), 200, r#"{"data_array":[["4"]]}"#),
        ];
        let rows = outcome(steps, soon()).unwrap().rows;
        assert_eq!(rows.concat().into_iter().flatten().collect::<String>(), "1234");
        let backwards = reply(&chunk(1), 200, r#"{"data_array":[["2"]],"next_chunk_index":1}"#);
        let error = outcome(vec![reply(SUBMIT, 200, first), backwards], soon()).unwrap_err();
        assert!(error.message().contains("do not go forward"), "{error}");
        let truncated = DONE.replace(r#""truncated":false"#, r#""truncated":true"#);
        assert!(outcome(vec![reply(SUBMIT, 200, &truncated)], soon()).is_err());
    }

    #[test]
    fn a_failure_inside_a_good_status_is_an_error() {
        let denied = "PERMISSION_DENIED: User does not have CREATE TABLE on Schema 'c.s'.";
        let error = outcome(vec![reply(SUBMIT, 200, &failed(denied))], soon()).unwrap_err();
        assert!(error.is_denied() && !error.is_passing() && !error.already_exists());
        assert_eq!(error.privilege().unwrap().privilege, "CREATE TABLE");
        assert_eq!(error.request_id(), Some("statement s-1"));

        let taken =
            "[FIELDS_ALREADY_EXISTS] Cannot add column, because `x` already exists in \"STRUCT<>\". SQLSTATE: 42710";
        let error = outcome(vec![reply(SUBMIT, 200, RUNNING), reply(POLL, 200, &failed(taken))], soon()).unwrap_err();
        assert!(error.already_exists());
        assert_eq!((error.class(), error.sql_state()), (Some("FIELDS_ALREADY_EXISTS"), Some("42710")));

        let gone = outcome(vec![reply(SUBMIT, 200, &failed("[TABLE_OR_VIEW_NOT_FOUND] no"))], soon()).unwrap_err();
        assert!(gone.is_missing() && !gone.is_denied());
    }

    #[test]
    fn what_passes_is_submitted_again_a_few_times() {
        let busy = json!({ "statement_id": "s-1", "status": { "state": "FAILED", "error":
            { "error_code": "TEMPORARILY_UNAVAILABLE", "message": "later" } } });
        let steps = vec![
            reply(SUBMIT, 200, &busy.to_string()),
            reply(SUBMIT, 200, &failed("[DELTA_METADATA_CHANGED] The metadata was changed. SQLSTATE: 2D521")),
            reply(SUBMIT, 200, DONE),
        ];
        outcome(steps, soon()).unwrap();
        let steps = (0..SUBMISSIONS).map(|_| reply(SUBMIT, 200, &busy.to_string())).collect();
        assert!(outcome(steps, soon()).unwrap_err().is_passing());
        let cancelled = r#"{"statement_id":"s-1","status":{"state":"CANCELED"}}"#;
        let error = outcome(vec![reply(SUBMIT, 200, cancelled)], soon()).unwrap_err();
        assert!(error.is_passing(), "but not at once: somebody meant it");
    }

    #[test]
    fn a_lost_or_forgotten_statement_is_submitted_again() {
        outcome(vec![nothing(SUBMIT), reply(SUBMIT, 200, DONE)], soon()).unwrap();
        let forgotten = reply(POLL, 404, r#"{"error_code":"NOT_FOUND","message":"The statement s-1 was not found."}"#);
        outcome(vec![reply(SUBMIT, 200, RUNNING), forgotten, reply(SUBMIT, 200, DONE)], soon()).unwrap();
        let unknown = r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"SQL warehouse w-1 does not exist"}"#;
        assert!(outcome(vec![reply(SUBMIT, 404, unknown)], soon()).unwrap_err().is_missing(), "not asked again");
    }

    #[test]
    fn at_the_deadline_a_statement_is_cancelled() {
        // What the cancellation says does not matter.
        for cancelled in [reply(CANCEL, 200, "{}"), reply(CANCEL, 500, "")] {
            let steps = vec![reply(SUBMIT, 200, RUNNING), reply(POLL, 200, RUNNING).repeated(), cancelled];
            let error = outcome(steps, Deadline::after(Duration::from_secs(1))).unwrap_err();
            assert!(error.is_out_of_time() && error.is_passing(), "{error}");
        }
    }

    #[test]
    fn a_statement_that_cannot_be_watched_is_cancelled() {
        let later = reply(POLL, 429, "").header("retry-after: 60");
        let mut steps = vec![reply(SUBMIT, 200, RUNNING)];
        steps.extend((0..=LOOKS_LOST).map(|_| later.clone()));
        steps.push(reply(CANCEL, 200, "{}"));
        let error = outcome(steps, soon()).unwrap_err();
        assert!(error.is_passing(), "{error}");
    }

    #[test]
    fn a_statement_is_known_again_by_its_begin() {
        assert_eq!(head("  CREATE\n TABLE x"), "CREATE TABLE x");
        let long = head(&"é".repeat(500));
        assert_eq!(long.chars().count(), 101);
    }

    #[test]
    fn calls_can_be_made_from_any_thread() {
        fn sendable<T: Send>(_: T) {}
        let server = Server::start(vec![]);
        let workspace = workspace(&server, pat());
        sendable(workspace.run("w-1", "SELECT 1", soon()));
        sendable(workspace.running("w-1", soon(), &|_: &str| ()));
        sendable(workspace.tables("a", "b", soon()));
    }
}
