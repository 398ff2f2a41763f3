use std::sync::Mutex;

use super::*;
use crate::databricks::testing::{Server, Step, impatient, nothing, pat, reply, run, soon, workspace};
use crate::fault::{Fault, FaultKind};

const GET: &str = "GET /api/2.0/sql/warehouses/dd43ee29fedd958d";
const START: &str = "POST /api/2.0/sql/warehouses/dd43ee29fedd958d/start";
const LIST: &str = "GET /api/2.0/sql/warehouses";
const MAKE: &str = "POST /api/2.0/sql/warehouses";
const ID: &str = "dd43ee29fedd958d";

fn is(state: &str) -> Step {
    reply(GET, 200, &format!(r#"{{"id":"{ID}","name":"small","state":"{state}"}}"#))
}

fn failing(state: &str, code: &str) -> Step {
    let body = json!({ "id": ID, "name": "small", "state": state, "health": {
        "status": "FAILED", "summary": "No machines.", "details": "The quota is used up.",
        "failure_reason": { "code": code, "type": "CLOUD_FAILURE", "parameters": { "k": "v" } } } });
    reply(GET, 200, &body.to_string())
}

fn started() -> Step {
    reply(START, 200, "{}")
}

fn wake(steps: Vec<Step>, deadline: Deadline) -> (Result<Wake, Error>, Vec<String>) {
    let server = Server::start(steps);
    let heard = Mutex::new(Vec::new());
    let told = |text: &str| heard.lock().unwrap().push(text.to_owned());
    let outcome = run(workspace(&server, pat()).running(ID, deadline, &told));
    server.seen();
    (outcome, heard.into_inner().unwrap())
}

#[test]
fn a_warehouse_is_read_as_it_is() {
    let body = r#"{"id":"dd43ee29fedd958d","name":"small","cluster_size":"2X-Small","min_num_clusters":1,
        "auto_stop_mins":"10","state":"STOPPING","warehouse_type":"PRO","enable_serverless_compute":true,
        "health":{"status":"DEGRADED","summary":"slow"},"channel":{"name":"CHANNEL_NAME_CURRENT"}}"#;
    let server = Server::start(vec![reply(GET, 200, body)]);
    let warehouse = run(workspace(&server, pat()).warehouse(ID, soon())).unwrap();
    server.seen();
    assert_eq!((warehouse.size.as_str(), warehouse.kind.as_str()), ("2X-Small", "PRO"));
    assert_eq!((warehouse.state, warehouse.auto_stop, warehouse.serverless), (State::Stopping, 10, true));
    let health = warehouse.health.unwrap();
    assert_eq!((health.status.as_str(), health.summary.as_str(), health.code()), ("DEGRADED", "slow", None));
}

#[test]
fn a_running_warehouse_is_left_alone() {
    let (outcome, heard) = wake(vec![is("RUNNING")], soon());
    assert!(!outcome.unwrap().started);
    assert!(heard.is_empty());
}

#[test]
fn a_stopped_warehouse_is_started_and_waited_for() {
    // It may still be called stopped right after the start.
    let steps = vec![is("STOPPED"), started(), is("STOPPED"), is("STARTING"), is("STARTING"), is("RUNNING")];
    let (outcome, heard) = wake(steps, soon());
    let wake = outcome.unwrap();
    assert!(wake.started && wake.waited > Duration::ZERO && wake.waited < Duration::from_secs(10));
    assert_eq!(heard[0], "starting warehouse `small`");
    assert_eq!(heard[1], "warehouse `small` is starting (0 s)");
}

#[test]
fn a_warehouse_that_somebody_starts_or_stops_is_waited_for() {
    let (outcome, _) = wake(vec![is("STARTING"), is("RUNNING")], soon());
    assert!(!outcome.unwrap().started);
    let (outcome, _) = wake(vec![is("STOPPING"), is("STOPPED"), started(), is("RUNNING")], soon());
    assert!(outcome.unwrap().started);
    let (outcome, _) = wake(vec![is("NEWER_THAN_US"), is("RUNNING")], soon());
    outcome.unwrap();
}

#[test]
fn an_old_failure_does_not_keep_from_starting() {
    let (outcome, _) = wake(vec![failing("STOPPED", "X"), started(), is("STARTING"), is("RUNNING")], soon());
    assert!(outcome.unwrap().started);
}

#[test]
fn a_warehouse_that_cannot_start_says_why() {
    let code = "AZURE_QUOTA_EXCEEDED_EXCEPTION";
    let (outcome, _) = wake(vec![is("STOPPED"), started(), is("STARTING"), failing("STOPPED", code)], soon());
    let error = outcome.unwrap_err();
    assert!(!error.is_starting() && !error.is_passing());
    assert_eq!(error.code(), Some(code));
    let fault = Fault::from(error);
    assert_eq!(fault.kind(), FaultKind::Setup);
    assert!(fault.to_string().contains("The quota is used up."), "{fault}");
    assert!(fault.hint_text().unwrap().contains("raise the cloud account's quota"), "{fault:?}");
}

#[test]
fn a_warehouse_that_stops_without_a_reason_is_started_once_more() {
    let steps = vec![is("STOPPED"), started(), is("STARTING"), is("STOPPED"), started(), is("STARTING"), is("STOPPED")];
    let (outcome, _) = wake(steps, soon());
    let fault = Fault::from(outcome.unwrap_err());
    assert_eq!(fault.kind(), FaultKind::Again);
    assert!(fault.to_string().contains(ID), "{fault}");
}

#[test]
fn a_warehouse_that_never_leaves_its_stop_is_given_up() {
    let server = Server::start(vec![is("STOPPED"), started(), is("STOPPED"), started(), is("STOPPED")]);
    let error = run(impatient(&server).running(ID, soon(), &|_| ())).unwrap_err();
    server.seen();
    assert!(!error.is_starting() && error.code() == Some("STOPPED"), "{error}");
}

#[test]
fn a_deleted_warehouse_is_not_waited_for() {
    for steps in [vec![is("DELETED")], vec![is("STOPPED"), started(), is("STARTING"), is("DELETING")]] {
        let fault = Fault::from(wake(steps, soon()).0.unwrap_err());
        assert_eq!(fault.kind(), FaultKind::Setup);
        assert!(fault.to_string().contains("was deleted"), "{fault}");
    }
    let gone = reply(GET, 404, r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"does not exist"}"#);
    assert!(wake(vec![is("STOPPED"), started(), gone], soon()).0.unwrap_err().is_missing());
}

#[test]
fn starting_past_the_deadline_is_no_failure() {
    let steps = vec![is("STOPPED"), started(), is("STARTING").repeated()];
    let error = wake(steps, Deadline::after(Duration::from_secs(2))).0.unwrap_err();
    assert!(error.is_starting() && error.is_passing(), "{error}");
    let fault = Fault::from(error);
    assert_eq!(fault.kind(), FaultKind::Again);
    assert!(fault.to_string().contains("still starting"), "{fault}");
}

fn spec() -> WarehouseSpec {
    WarehouseSpec {
        name: "inlet".to_owned(),
        cluster_size: "2X-Small".to_owned(),
        min_clusters: 1,
        max_clusters: 1,
        serverless: true,
        auto_stop_minutes: 5,
    }
}

fn own(steps: Vec<Step>) -> (Result<String, Error>, Vec<Value>) {
    let server = Server::start(steps);
    let outcome = run(workspace(&server, pat()).own_warehouse(&spec(), soon()));
    let seen = server.seen();
    (outcome, seen.iter().filter_map(|seen| serde_json::from_str(&seen.body).ok()).collect())
}

const NONE: &str = r#"{"warehouses":[{"id":"1","name":"other","state":"RUNNING","tags":{}},
    {"id":"2","name":"inlet","state":"DELETED"}]}"#;

#[test]
fn our_warehouse_is_made_when_there_is_none() {
    let (outcome, bodies) = own(vec![reply(LIST, 200, NONE), reply(MAKE, 200, r#"{"id":"9"}"#)]);
    assert_eq!(outcome.unwrap(), "9");
    assert_eq!(
        bodies,
        [json!({ "name": "inlet", "cluster_size": "2X-Small", "min_num_clusters": 1, "max_num_clusters": 1,
            "auto_stop_mins": 5, "warehouse_type": "PRO", "enable_serverless_compute": true,
            "tags": { "custom_tags": [{ "key": "inlet-warehouse", "value": "inlet" }] } })]
    );
}

#[test]
fn our_warehouse_is_found_by_its_tag_else_by_its_name() {
    let renamed = r#"{"warehouses":[{"id":"8","name":"inlet","state":"STOPPED"},
        {"id":"7","name":"renamed","tags":{"custom_tags":[{"key":"inlet-warehouse","value":"inlet"}]}},
        {"id":"6","name":"of others","tags":{"custom_tags":[{"key":"inlet-warehouse","value":"second"}]}}]}"#;
    assert_eq!(own(vec![reply(LIST, 200, renamed)]).0.unwrap(), "7");
    let named = r#"{"warehouses":[{"id":"8","name":"inlet","state":"STOPPED"}]}"#;
    assert_eq!(own(vec![reply(LIST, 200, named)]).0.unwrap(), "8");
    let paged = reply(LIST, 200, r#"{"warehouses":[],"next_page_token":"p"}"#);
    let next = reply(&format!("{LIST}?page_token=p"), 200, named);
    assert_eq!(own(vec![paged, next]).0.unwrap(), "8");
}

#[test]
fn two_who_make_it_at_once_have_one_warehouse() {
    let taken =
        r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"SQL warehouse with name `inlet` already exists"}"#;
    let theirs = r#"{"warehouses":[{"id":"5","name":"inlet","state":"STARTING"}]}"#;
    let steps = vec![reply(LIST, 200, NONE), reply(MAKE, 400, taken), reply(LIST, 200, theirs)];
    assert_eq!(own(steps).0.unwrap(), "5");
    // Our own request arrived, its answer did not.
    let steps = vec![reply(LIST, 200, NONE), nothing(MAKE), reply(MAKE, 400, taken), reply(LIST, 200, theirs)];
    assert_eq!(own(steps).0.unwrap(), "5");
}

#[test]
fn where_serverless_is_not_to_be_had_it_is_a_pro_warehouse() {
    let no =
        r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"Serverless compute is not enabled for this workspace"}"#;
    let steps = vec![reply(LIST, 200, NONE), reply(MAKE, 400, no), reply(MAKE, 200, r#"{"id":"9"}"#)];
    let (outcome, bodies) = own(steps);
    assert_eq!(outcome.unwrap(), "9");
    assert_eq!((&bodies[1]["enable_serverless_compute"], &bodies[1]["auto_stop_mins"]), (&json!(false), &json!(10)));
}

#[test]
fn stopping_and_deleting_what_is_missing_is_fine() {
    let gone = |line: &str| reply(line, 404, r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no"}"#);
    let (stop, delete) = (format!("{MAKE}/{ID}/stop"), format!("DELETE /api/2.0/sql/warehouses/{ID}"));
    let denied = reply(&delete, 403, r#"{"error_code":"PERMISSION_DENIED","message":"no"}"#);
    let server = Server::start(vec![reply(&stop, 200, "{}"), gone(&stop), gone(&delete), denied]);
    let workspace = workspace(&server, pat());
    run(async {
        workspace.stop_warehouse(ID, soon()).await.unwrap();
        workspace.stop_warehouse(ID, soon()).await.unwrap();
        workspace.delete_warehouse(ID, soon()).await.unwrap();
        assert!(workspace.delete_warehouse(ID, soon()).await.unwrap_err().is_denied());
    });
    server.seen();
}
