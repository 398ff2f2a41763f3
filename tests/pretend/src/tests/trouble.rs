//! Warehouses that are slow or fail, statements that wait, faults to order.

use serde_json::{Value, json};

use super::Bench;
use crate::{Fate, Fault, StatementFault, TOKEN, WAREHOUSE, Wrong};

const STATEMENTS: &str = "/api/2.0/sql/statements";

fn submit(bench: &Bench, statement: &str, wait: &str) -> Value {
    let body = json!({"statement": statement, "warehouse_id": WAREHOUSE, "wait_timeout": wait});
    bench.call("POST", STATEMENTS, &body).body
}

fn warehouse(path: &str) -> String {
    format!("/api/2.0/sql/warehouses/{WAREHOUSE}{path}")
}

#[test]
fn a_statement_wakes_a_stopped_warehouse_once_and_is_pending_meanwhile() {
    let bench = Bench::new();
    let first = submit(&bench, "SELECT 1", "0s");
    assert_eq!(first["status"], json!({"state": "PENDING"}));
    let ended = bench.poll(first["statement_id"].as_str().unwrap());
    assert_eq!(ended.body["result"]["data_array"], json!([["1"]]));
    assert_eq!(submit(&bench, "SELECT 1", "30s")["status"]["state"], "SUCCEEDED");
    let wakes = bench.pretend.wakes();
    assert_eq!((wakes.len(), wakes[0].cause.as_str()), (1, "statement"));
    bench.pretend.stop_warehouse(WAREHOUSE);
    assert_eq!(bench.call("POST", &warehouse("/start"), &json!({})).status, 200);
    assert_eq!(bench.call("POST", &warehouse("/start"), &json!({})).status, 200);
    assert_eq!(bench.pretend.wakes().len(), 2);
}

#[test]
fn a_warehouse_that_cannot_start_fails_the_statement_and_says_why() {
    let bench = Bench::new();
    let summary = "Your subscription has no machines left.".to_owned();
    let code = "CLOUD_PROVIDER_RESOURCE_STOCKOUT".to_owned();
    bench.pretend.knobs(|knobs| knobs.fate = Fate::Fails { code: code.clone(), summary: summary.clone() });
    assert!(bench.failed("SELECT 1").contains(&summary));
    let health = &bench.get(&warehouse("")).body["health"];
    assert_eq!((&health["status"], &health["failure_reason"]["code"]), (&json!("FAILED"), &json!(code)));
    bench.pretend.knobs(|knobs| knobs.fate = Fate::IsDeleted);
    assert!(bench.failed("SELECT 1").contains("it was deleted"));
    assert_eq!(bench.get(&warehouse("")).status, 404);
}

#[test]
fn warehouse_ids_and_names_are_judged_as_databricks_does() {
    let bench = Bench::new();
    let malformed = bench.get("/api/2.0/sql/warehouses/wh-0001");
    assert_eq!((malformed.status, &malformed.body["message"]), (400, &json!("wh-0001 is not a valid endpoint id.")));
    let unknown = bench.get("/api/2.0/sql/warehouses/0123456789abcdef");
    assert_eq!((unknown.status, &unknown.body["error_code"]), (404, &json!("RESOURCE_DOES_NOT_EXIST")));
    let small = json!({"name": "ours", "cluster_size": "2X-Small", "auto_stop_mins": 10, "warehouse_type": "PRO",
                       "enable_serverless_compute": true, "tags": {"custom_tags": [{"key": "made-by",
                       "value": "us"}]}});
    let made = bench.call("POST", "/api/2.0/sql/warehouses", &small).body["id"].as_str().unwrap().to_owned();
    let again = bench.call("POST", "/api/2.0/sql/warehouses", &small);
    assert_eq!(again.body["message"], "SQL warehouse with name `ours` already exists");
    let listed = bench.get("/api/2.0/sql/warehouses").body;
    assert_eq!(listed["warehouses"].as_array().unwrap().len(), 2);
    assert_eq!(bench.call("DELETE", &format!("/api/2.0/sql/warehouses/{made}"), &json!({})).status, 200);
    assert_eq!(bench.call("DELETE", &warehouse(""), &json!({})).status, 403, "only CAN_USE on that one");
    let poor = Bench::with(|setup| setup.without_entitlement("allow-cluster-create"));
    let refused = poor.call("POST", "/api/2.0/sql/warehouses", &small);
    assert_eq!(
        (refused.status, refused.body),
        (403, json!({"message": "You don't have permission to this resource."}))
    );
}

#[test]
fn a_canceled_statement_takes_no_effect() {
    let bench = Bench::with(|setup| setup.knobs(|knobs| knobs.statement_ms = 60_000));
    let id = submit(&bench, "CREATE SCHEMA segment.web", "0s")["statement_id"].as_str().unwrap().to_owned();
    assert_eq!(bench.call("POST", &format!("{STATEMENTS}/{id}/cancel"), &json!({})).status, 200);
    assert_eq!(bench.poll(&id).body["status"]["state"], "CANCELED");
    assert!(bench.pretend.schemas().is_empty());
    assert_eq!(bench.pretend.statements()[0].state, "CANCELED");
}

#[test]
fn long_answers_come_in_chunks_and_are_forgotten_in_time() {
    let bench = Bench::with(|setup| setup.knobs(|knobs| knobs.rows_per_chunk = 2));
    bench.done(&["CREATE SCHEMA segment.web"]);
    for name in ["a", "b", "c"] {
        bench.done(&[&format!("CREATE TABLE segment.web.{name} (x INT) LOCATION '{}'", bench.at(name))]);
    }
    let first = submit(&bench, "SHOW TABLES IN segment.web", "30s");
    assert_eq!(first["manifest"]["total_chunk_count"], 2);
    assert_eq!(first["result"]["data_array"].as_array().unwrap().len(), 2);
    let next = bench.get(first["result"]["next_chunk_internal_link"].as_str().unwrap()).body;
    assert_eq!(next["data_array"], json!([["web", "c", "false"]]));
    assert!(next.get("next_chunk_index").is_none());
    bench.pretend.knobs(|knobs| knobs.statement_kept_ms = 0);
    assert_eq!(bench.get(&format!("{STATEMENTS}/{}", first["statement_id"].as_str().unwrap())).status, 404);
}

#[test]
fn submits_that_databricks_refuses_are_refused() {
    let bench = Bench::new();
    for (key, value) in
        [("wait_timeout", "3s"), ("wait_timeout", "51s"), ("format", "CSV"), ("warehouse_id", "x"), ("statement", " ")]
    {
        let mut body = json!({"statement": "SELECT 1", "warehouse_id": WAREHOUSE});
        body[key] = json!(value);
        let answer = bench.call("POST", STATEMENTS, &body);
        assert_eq!((answer.status, &answer.body["error_code"]), (400, &json!("INVALID_PARAMETER_VALUE")), "{key}");
    }
}

#[test]
fn faults_come_before_after_or_instead_of_the_effect() {
    let bench = Bench::new();
    let create = json!({"name": "web", "catalog_name": "segment"}).to_string();
    let path = "/api/2.1/unity-catalog/schemas";
    let authorization = format!("authorization: Bearer {TOKEN}");
    let post = || bench.send("POST", path, &[&authorization], &create);
    bench.pretend.fault(Fault::on("POST", path, Wrong::Reset));
    assert!(post().is_err());
    assert!(bench.pretend.schemas().is_empty(), "nothing happened");
    bench.pretend.clear_faults();
    bench.pretend.fault(Fault::on("POST", path, Wrong::Lost));
    assert!(post().is_err());
    assert_eq!(bench.pretend.schemas(), ["segment.web"], "it happened");
    bench.pretend.fault(
        Fault::answer("GET", "/api/2.1/*", 429, json!({"error_code": "REQUEST_LIMIT_EXCEEDED"}))
            .header("retry-after", "1"),
    );
    let limited = bench.get(&format!("{path}/segment.web"));
    assert_eq!(limited.status, 429);
    assert!(limited.headers.contains("retry-after: 1"));
    assert_eq!(bench.get(&format!("{path}/segment.web")).status, 200);
    bench.pretend.fault(Fault::on(
        "GET",
        "/api/*",
        Wrong::Redirect("/login.html?error=private-link-validation-error".to_owned()),
    ));
    assert_eq!(bench.get(path).status, 302);
    let cut: Vec<u16> = bench.pretend.requests().iter().map(|seen| seen.status).collect();
    assert_eq!(cut, [0, 0, 429, 200, 302]);
}

#[test]
fn statements_fail_to_order_with_and_without_their_effect() {
    let bench = Bench::new();
    bench.pretend.statement_fault(StatementFault::new("create schema", "PERMISSION_DENIED: no"));
    assert_eq!(bench.failed("CREATE SCHEMA segment.web"), "PERMISSION_DENIED: no");
    assert!(bench.pretend.schemas().is_empty());
    let after =
        StatementFault { after_the_effect: true, ..StatementFault::new("create schema", "[INTERNAL_ERROR] lost") };
    bench.pretend.statement_fault(after);
    bench.failed("CREATE SCHEMA segment.web");
    assert_eq!(bench.pretend.schemas(), ["segment.web"]);
}

#[test]
fn lists_come_in_pages_when_asked() {
    let bench = Bench::with(|setup| setup.knobs(|knobs| knobs.page_size = 1));
    let path = "/api/2.1/unity-catalog/catalogs?max_results=0";
    let first = bench.get(path).body;
    assert_eq!(first["catalogs"], json!([]));
    let next = bench.get(&format!("{path}&page_token={}", first["next_page_token"].as_str().unwrap())).body;
    assert_eq!(next["catalogs"][0]["name"], "segment");
}

#[test]
fn scripts_can_steer_it() {
    let bench = Bench::new();
    let control = |method: &str, path: &str, body: Value| {
        bench.send(method, &format!("/_pretend/{path}"), &[], &body.to_string()).unwrap()
    };
    assert_eq!(control("PATCH", "knobs", json!({"page_size": 5})).status, 200);
    assert_eq!(control("PATCH", "knobs", json!({"no_such_knob": 5})).status, 400);
    assert_eq!(control("GET", "knobs", json!({})).body["page_size"], 5);
    let fault = json!({"method": "GET", "path": "/api/*", "wrong": {"answer": {"status": 503, "body": "busy"}}});
    assert_eq!(control("POST", "faults", fault).status, 200);
    assert_eq!(bench.get("/api/2.0/preview/scim/v2/Me").status, 503);
    assert_eq!(control("GET", "requests", json!({})).body.as_array().unwrap().len(), 1);
    assert_eq!(control("GET", "warehouses", json!({})).body[0]["state"], "STOPPED");
}
