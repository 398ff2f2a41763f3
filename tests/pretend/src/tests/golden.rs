//! Answers in the shapes that were recorded of Databricks, in `golden/`: ours have the same keys and values, but for ids.

use serde_json::{Value, json};

use super::Bench;
use crate::WAREHOUSE;

/// Puts in the place of every id and of what differs from run to run what the recording has there.
fn as_recorded(mut ours: Value, recorded: &Value, differs: &[&str]) -> Value {
    for pointer in differs {
        if let (Some(place), Some(value)) = (ours.pointer_mut(pointer), recorded.pointer(pointer)) {
            assert_eq!(std::mem::discriminant(place), std::mem::discriminant(value), "{pointer}");
            *place = value.clone();
        }
    }
    ours
}

fn recording(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn rows_are_told_as_recorded() {
    let bench = Bench::new();
    bench.done(&["CREATE SCHEMA segment.web"]);
    let location = bench.at("web/t");
    bench.done(&[&format!("CREATE TABLE segment.web.t (a INT) LOCATION '{location}'")]);
    let recorded = recording(include_str!("../../golden/select.json"));
    let ours = as_recorded(bench.run("SHOW TABLES IN segment.web"), &recorded, &["/statement_id"]);
    assert_eq!(ours, recorded);
}

#[test]
fn ddl_is_told_as_recorded() {
    let bench = Bench::new();
    let recorded = recording(include_str!("../../golden/ddl.json"));
    assert_eq!(as_recorded(bench.run("CREATE SCHEMA segment.web"), &recorded, &["/statement_id"]), recorded);
}

#[test]
fn a_syntax_error_is_told_as_recorded() {
    let bench = Bench::new();
    let recorded = recording(include_str!("../../golden/failed.json"));
    assert_eq!(as_recorded(bench.run("INSER INTO t VALUES (1)"), &recorded, &["/statement_id"]), recorded);
}

#[test]
fn what_runs_is_told_as_recorded() {
    let bench = Bench::with(|setup| setup.knobs(|knobs| knobs.statement_ms = 60_000));
    let recorded = recording(include_str!("../../golden/running.json"));
    let body = json!({"statement": "SELECT 1", "warehouse_id": WAREHOUSE, "wait_timeout": "0s"});
    let id = bench.call("POST", "/api/2.0/sql/statements", &body).body["statement_id"].as_str().unwrap().to_owned();
    let told = loop {
        let told = bench.get(&format!("/api/2.0/sql/statements/{id}")).body;
        if told["status"]["state"] != "PENDING" {
            break told;
        }
    };
    assert_eq!(as_recorded(told, &recorded, &["/statement_id"]), recorded);
}
