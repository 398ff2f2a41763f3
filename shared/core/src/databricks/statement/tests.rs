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
    let server = Server::start(vec![reply(SUBMIT, 200, DONE); 3]);
    let workspace = workspace(&server, pat());
    run(workspace.run("w-1", "SELECT 1", soon())).unwrap();
    run(workspace.run("w-1", "SELECT 1", Deadline::after(Duration::from_secs(600)))).unwrap();
    run(workspace.run("w-1", "SELECT 1", Deadline::after(Duration::from_secs(9)))).unwrap();
    let seen = server.seen();
    let body: Value = serde_json::from_str(&seen[1].body).unwrap();
    assert_eq!(
        body,
        json!({ "statement": "SELECT 1", "warehouse_id": "w-1", "wait_timeout": "50s",
            "on_wait_timeout": "CONTINUE", "disposition": "INLINE", "format": "JSON_ARRAY" })
    );
    let body: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(body["wait_timeout"], "14s", "answered before the deadline");
    let body: Value = serde_json::from_str(&seen[2].body).unwrap();
    assert_eq!(body["wait_timeout"], "0s", "the least that is allowed is 5");
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
    let cancelled = reply(CANCEL, 500, "");
    let steps = vec![reply(SUBMIT, 200, RUNNING), reply(POLL, 200, RUNNING).repeated(), cancelled];
    let error = outcome(steps, Deadline::after(Duration::from_secs(2))).unwrap_err();
    assert!(error.is_out_of_time() && error.is_passing(), "{error}");
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
