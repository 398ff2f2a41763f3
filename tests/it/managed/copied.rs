//! COPY INTO whose answer nobody hears: it ran, or it runs still while the next window says it again. And tables that
//! are not the ones any more into which it was said.

use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::evolve::{EvolveReport, TableStatus, evolve};
use inlet_core::fault::FaultKind;
use pretend::{CATALOG, Fault, StatementFault, WAREHOUSE, Wrong};
use serde_json::json;

use super::raced::{BY_HAND, assert_each_once};
use super::{Bench, order, well};
use crate::connect::at_once;
use crate::support::runtime;
use crate::workspace::status;

const STATEMENTS: &str = "/api/2.0/sql/statements/*";

/// A bench whose tables stand: the next windows say nothing but COPY INTO.
fn with_tables() -> Bench {
    let bench = Bench::new();
    bench.stage("first.json", &order("0", r#"{"total":1}"#));
    well(&bench.evolve());
    bench
}

/// A window that has so little time that each statement is asked for until it has ended.
fn hurried(bench: &Bench, time: Duration) -> EvolveReport {
    let lake = bench.managed().volume(runtime().handle().clone()).unwrap();
    evolve(&inlet_core::evolve::Parts { lake, ..bench.parts() }, BY_HAND, Deadline::after(time), &|_| {})
}

fn answer(status: u16) -> Wrong {
    Wrong::Answer { status, body: json!({"error_code": "x", "message": "no"}), headers: vec![] }
}

/// Waits until something is so, a minute at most.
fn until(what: impl Fn() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(60));
    while !what() {
        assert!(!deadline.is_over(), "a minute is over");
        clock::sleep(Duration::from_millis(5), deadline);
    }
}

fn none_runs(bench: &Bench) -> bool {
    let runs = |state: &str| ["PENDING", "RUNNING"].contains(&state);
    !bench.pretend().statements().iter().any(|said| runs(&said.state))
}

#[test]
fn a_copy_that_ran_and_whose_end_nobody_heard_loads_once() {
    let unheard = |(wrong, is_over)| {
        let bench = with_tables();
        bench.stage("a.json", &order("a", r#"{"total":1}"#));
        // Taken, and running longer than anybody listens; a cancellation is lost too.
        bench.pretend().knobs(|knobs| knobs.statement_ms = 400);
        bench.pretend().fault(Fault::on("GET", STATEMENTS, wrong).times(u64::MAX));
        bench.pretend().fault(Fault::on("POST", STATEMENTS, Wrong::Reset).times(u64::MAX));
        let report = hurried(&bench, Duration::from_secs(4));
        assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Failed), "{report:#?}");
        bench.pretend().clear_faults();
        bench.pretend().knobs(|knobs| knobs.statement_ms = 0);
        if is_over {
            until(|| none_runs(&bench));
        }
        well(&bench.evolve());
        until(|| none_runs(&bench));
        assert_each_once(&bench, vec!["0".to_owned(), "a".to_owned()], 0);
    };
    at_once(vec![(answer(404), true), (answer(410), false), (Wrong::Reset, false)], unheard);
}

#[test]
fn a_copy_that_is_at_work_when_the_next_window_says_it_again_loads_once() {
    let bench = with_tables();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    bench.pretend().knobs(|knobs| knobs.commit_ms = 60_000);
    let report = hurried(&bench, Duration::from_secs(2));
    assert_eq!(report.gravest(), Some(FaultKind::Again), "{report:#?}");
    let said = bench.pretend().statements().len();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| bench.evolve());
        until(|| bench.pretend().statements().len() > said + 1);
        assert_eq!(bench.ids(), ["0"], "the first is still at work");
        bench.pretend().knobs(|knobs| knobs.commit_ms = 0);
        well(&second.join().unwrap());
    });
    until(|| none_runs(&bench));
    assert_each_once(&bench, vec!["0".to_owned(), "a".to_owned()], 0);
}

#[test]
fn a_copy_that_meets_another_of_the_same_files_is_said_again() {
    let bench = with_tables();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let conflict = "[DELTA_CONCURRENT_APPEND.WITHOUT_HINT] Files were added by a concurrent update. SQLSTATE: 2D521";
    let met = StatementFault { after_the_effect: true, ..StatementFault::new("COPY INTO", conflict) };
    bench.pretend().statement_fault(met.times(3));
    well(&bench.evolve());
    assert_each_once(&bench, vec!["0".to_owned(), "a".to_owned()], 0);
}

/// Drops the event's table; `made` makes it again, as somebody else would.
fn drop_table(bench: &Bench, made: Option<&str>) {
    let workspace = bench.managed().workspace;
    let soon = Deadline::after(Duration::from_secs(30));
    runtime().block_on(workspace.delete_table(CATALOG, "events", "order_completed", soon)).unwrap();
    if let Some(columns) = made {
        let statement = format!("CREATE TABLE `{CATALOG}`.`events`.`order_completed` ({columns}) USING DELTA");
        runtime().block_on(workspace.run(WAREHOUSE, &statement, soon)).unwrap();
    }
}

#[test]
fn a_table_that_was_made_again_takes_what_is_staged_and_what_it_does_not_hold_any_more() {
    for made in
        [None, Some("`id` STRING, `total` STRING"), Some("`id` STRING, `total` BOOLEAN, `_rescued_data` STRING")]
    {
        let bench = with_tables();
        bench.stage("a.json", &order("a", r#"{"total":7}"#));
        drop_table(&bench, made);
        // A window loads it, and dies before it has said so.
        let marker = "/api/2.0/fs/files/Volumes/segment/_inlet/staging/_inlet/loaded/*";
        bench.pretend().fault(Fault::on("PUT", marker, answer(400)));
        let died = bench.evolve();
        assert!(died.fault.is_some(), "{died:#?}");
        assert_eq!(bench.ids(), ["a"], "{made:?}: {died:#?}");
        bench.pretend().clear_faults();
        drop_table(&bench, made);
        let report = bench.evolve();
        well(&report);
        assert_eq!(bench.ids(), ["a"], "{made:?}");
        assert_eq!(
            bench.read("events.tracks").texts("id"),
            ["0", "a"],
            "{made:?}: the other tables keep what they had"
        );
        let row = bench.read("events.order_completed").row("a").clone();
        match made {
            None => assert_eq!(row["total"].number(), 7),
            Some(columns) if columns.contains("BOOLEAN") => assert_eq!(row["_rescued_data"].text(), r#"{"total":7}"#),
            Some(_) => assert_eq!(row["total"].text(), "7"),
        }
        assert!(bench.files("events/").is_empty() && bench.files("_inlet/pending").is_empty());
    }
}
