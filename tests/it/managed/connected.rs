//! The connection test where the catalog keeps the tables: its batch is staged in a volume of its own, loaded by a window
//! of its own, and nothing is left of it.

use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::connect::{self, Ask, ConnectReport, StepStatus};
use pretend::{CATALOG, Fault, Wrong};
use serde_json::Value;
use url::Url;

use super::{Bench, order};
use crate::connect::{at_once, blamed, step, tested, traces};
use crate::process::inlet;
use crate::support::runtime;
use crate::workspace::http_path;

/// Steps that only a lake has a use for.
const OF_A_LAKE: [&str; 7] = ["places", "credentials", "storage", "versioning", "state", "tables", "external_location"];

fn tested_here(bench: &Bench, ask: Ask) -> ConnectReport {
    let (settings, handle) = (bench.0.settings.clone(), runtime().handle().clone());
    let parts = connect::Parts { settings, lake: None::<Url>, landing: Vec::new(), on_function: false, handle };
    connect::connect(&parts, ask, Deadline::after(Duration::from_secs(60)), &|_| {})
}

#[test]
fn a_batch_goes_all_the_way_and_nothing_is_left_of_it() {
    let bench = Bench::new();
    // What others have staged stays as it is.
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let others = || [bench.files("events/"), bench.files("_inlet/pending/events/")];
    let (before, staged) = (traces(&bench.0), others());
    assert!(staged.iter().all(|files| !files.is_empty()));
    let said = tested(&bench.0, true);
    let report = said.json();
    assert_eq!((said.code, blamed(&report)), (Some(0), large()), "{report:#}");
    for name in OF_A_LAKE {
        let skipped = step(&report, name);
        assert_eq!((&skipped["status"], &skipped["because"]), (&"skipped".into(), &"the tables are managed".into()));
    }
    let found = |name: &str| step(&report, name)["found"].as_str().unwrap_or_default().to_owned();
    assert_eq!(found("land"), "1 event staged");
    assert_eq!(found("register"), "1 row loaded and counted; a column added; 2 rows counted");
    assert_eq!(found("maintain"), "a row deleted, vacuumed, dropped");
    assert_eq!(step(&report, "land")["setup_step"], step(&report, "staging")["setup_step"]);
    let scratch = format!("/Volumes/{CATALOG}/inlet_connect_");
    let said = bench.pretend().statements();
    let copies: Vec<_> = said.iter().filter(|one| one.text.starts_with("COPY INTO")).collect();
    assert!(!copies.is_empty() && copies.iter().all(|copy| copy.text.contains(&scratch)), "{copies:#?}");
    assert_eq!((traces(&bench.0), others()), (before, staged));
    let next = report["next"].to_string();
    for part in ["inlet evolve", "_inlet.staging", "`every`", "`segment`.`events`.`_loads`"] {
        assert!(next.contains(part), "{part}: {next}");
    }
    assert!(!next.contains("files below"), "{next}");
}

/// The seed's warehouse is as small as external tables need it.
fn large() -> Vec<(String, String)> {
    vec![("warehouse_size".to_owned(), "warning".to_owned())]
}

#[test]
fn the_window_of_a_test_postpones_no_other_and_stops_no_warehouse_between() {
    let bench = Bench::own_warehouse();
    let report = tested_here(&bench, Ask { wake: true, ..Ask::default() });
    assert_eq!(report.gravest(), None, "{report:#?}");
    assert_eq!(bench.pretend().wakes().len(), 1, "the test's windows find it running");
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let lake = bench.managed().volume(runtime().handle().clone()).expect("the volume stands");
    let budget = bench.0.settings.budget();
    assert_eq!(budget.between, inlet_core::evolve::Between::Uses);
    let parts = inlet_core::evolve::Parts { lake, budget, ..bench.parts() };
    let soon = Deadline::after(Duration::from_secs(30));
    let scheduled = inlet_core::evolve::evolve(&parts, inlet_core::evolve::Ask::default(), soon, &|_| {});
    super::well(&scheduled);
    assert_eq!((scheduled.postponed, bench.ids()), (None, vec!["a".to_owned()]));
}

#[test]
fn a_right_that_is_missing_is_blamed_on_its_step_and_the_batch_waits_for_it() {
    for (right, blame) in [("CREATE VOLUME", "staging"), ("CREATE SCHEMA", "grants")] {
        let bench = Bench::new();
        let before = traces(&bench.0);
        let path = if blame == "staging" { "volumes" } else { "schemas" };
        let message = format!("User does not have {right} on Catalog '{CATALOG}'.");
        let denied = serde_json::json!({"error_code": "PERMISSION_DENIED", "message": message});
        bench.pretend().fault(Fault::answer("POST", &format!("/api/2.1/unity-catalog/{path}"), 403, denied).times(9));
        let said = tested(&bench.0, true);
        let report = said.json();
        let failed: Vec<_> = blamed(&report).into_iter().filter(|(_, status)| status == "failed").collect();
        assert_eq!(failed, [(blame.to_owned(), "failed".to_owned())], "{right}: {report:#}");
        assert!(step(&report, blame)["fault"]["message"].as_str().unwrap().contains(right), "{report:#}");
        for name in ["land", "register", "maintain"] {
            let waiting = step(&report, name);
            assert_eq!(waiting["because"], Value::from(format!("waits for `{blame}`")), "{right}, {name}");
        }
        assert_eq!(traces(&bench.0), before, "{right}");
    }
}

#[test]
fn what_a_killed_test_left_goes_with_a_later_one() {
    let bench = Bench::new();
    assert_eq!(tested(&bench.0, true).code, Some(0));
    let requests = bench.pretend().requests().len() as u64;
    assert!(requests > 30, "{requests}");
    at_once((1..=requests).step_by(7).collect(), killed_after);
}

/// Kills a test while it waits for the answer to its n-th request, and tests again.
fn killed_after(last: u64) {
    let bench = Bench::told(&http_path());
    let before = traces(&bench.0);
    bench.pretend().forget_requests();
    bench.pretend().fault(Fault::on("*", "*", Wrong::Delay(60_000)).nth(last));
    let mut command = inlet();
    command.args(["connect", "--wake", "--settings"]).arg(bench.0.file());
    let mut child = command.spawn().expect("the executable starts");
    while (bench.pretend().requests().len() as u64) < last {
        assert!(child.try_wait().expect("it can be asked").is_none(), "it ended before request {last}");
        clock::sleep(Duration::from_millis(5), Deadline::after(Duration::from_secs(1)));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    bench.pretend().clear_faults();
    let again = tested_here(&bench, Ask { leftovers_after: Duration::ZERO, ..Ask::default() });
    assert_eq!(again.gravest(), None, "after request {last}: {again:#?}");
    assert_eq!(again.step("clean_up").map(|step| step.status), Some(StepStatus::Passed));
    assert_eq!(traces(&bench.0), before, "after request {last}");
}
