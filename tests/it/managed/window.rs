//! When the window opens, and what it costs.

use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::evolve::{Ask, Between, Budget, EvolveReport};
use inlet_core::fault::FaultKind;
use inlet_core::settings::WarehouseChoice;
use pretend::WAREHOUSE;

use super::{Bench, order, well};
use crate::lake::Value;
use crate::process::{inlet, run};
use crate::support::{runtime, upload_of};
use crate::workspace::http_path;

/// An hour of these tests.
const HOUR: Duration = Duration::from_secs(12);

/// What a schedule asks for.
fn called(bench: &Bench, budget: &Budget, warehouse: Option<&WarehouseChoice>) -> EvolveReport {
    let lake = bench.managed().volume(runtime().handle().clone()).unwrap();
    let parts = bench.parts();
    let warehouse = warehouse.unwrap_or(&parts.warehouse).clone();
    let parts = inlet_core::evolve::Parts { lake, budget: budget.clone(), warehouse, ..parts };
    inlet_core::evolve::evolve(&parts, Ask::default(), Deadline::after(Duration::from_secs(60)), &|_| {})
}

fn every(window: Duration) -> Budget {
    Budget { window, between: Between::Uses, ..Budget::default() }
}

#[test]
fn two_hundred_uploads_in_an_hour_cost_a_wake_for_each_window() {
    let bench = Bench::own_warehouse();
    let budget = every(HOUR / 4);
    let parts = bench.parts();
    let begun = clock::now();
    let deadline = Deadline::after(HOUR);
    let mut windows = Vec::new();
    let mut staged = 0;
    std::thread::scope(|scope| {
        let uploads = scope.spawn(|| {
            for number in 0..200u32 {
                let id = format!("{number:03}");
                let due = HOUR / 200 * number;
                let passed = Duration::from_micros(u64::try_from(clock::now() - begun).unwrap());
                clock::sleep(due.saturating_sub(passed), Deadline::after(HOUR));
                bench.stage_upload(upload_of(
                    &format!("{id}.json"),
                    order(&id, &format!(r#"{{"staged_at":{}}}"#, clock::now())),
                ));
            }
            200
        });
        // A schedule that asks far more often than the window opens.
        while !deadline.is_over() || !uploads.is_finished() {
            let report = called(&bench, &budget, Some(&parts.warehouse));
            well(&report);
            windows.extend(report.warehouse);
            clock::sleep(HOUR / 60, Deadline::after(HOUR));
        }
        staged = uploads.join().unwrap();
    });
    clock::sleep(HOUR / 4, Deadline::after(HOUR));
    let last = called(&bench, &budget, Some(&parts.warehouse));
    well(&last);
    windows.extend(last.warehouse);
    assert_eq!(staged, bench.ids().len());
    assert_eq!(bench.pretend().wakes().len(), windows.len(), "a wake for each window, and no other");
    let elapsed = (clock::now() - begun) as f64 / 1e6;
    let most = 2.0 + elapsed / (0.9 * (HOUR / 4).as_secs_f64());
    assert!(windows.len() > 1 && windows.len() as f64 <= most, "{windows:#?}");
    // Nothing waited longer than a window, the wake, and the work of one window.
    let longest = windows.iter().map(|window| window.seconds).fold(0.0, f64::max);
    let most = ((HOUR / 4).as_secs_f64() + 2.0 * longest) * 1.25 + 1.0;
    for row in &bench.read("events.order_completed").rows {
        let (Value::BigInt(staged_at), Value::Time(loaded_at)) = (&row["staged_at"], &row["uuid_ts"]) else { panic!() };
        let age = (loaded_at - staged_at) as f64 / 1e6;
        assert!(age <= most, "{age} s, and at most {most} s are fine");
    }
    // It is not left idling: up for hardly longer than it works.
    let up = bench.pretend().seconds_up();
    let work: f64 = windows.iter().map(|window| window.seconds).sum();
    assert!(up <= work * 1.2, "up {up} s for {work} s of work");
}

#[test]
fn the_fourth_wake_waits_when_three_are_allowed() {
    let bench = Bench::new();
    let budget = Budget { wakes_per_day: Some(3), ..every(Duration::from_millis(1)) };
    for number in 0..4 {
        bench.stage(&format!("{number}.json"), &order(&number.to_string(), "{}"));
        let report = called(&bench, &budget, None);
        match number {
            3 => {
                let fault = report.fault.expect("three are enough");
                assert_eq!(fault.kind, FaultKind::Again);
                assert!(fault.message.contains("`max_wakes_per_day` is reached"), "{fault:?}");
                assert!(fault.hint.is_some_and(|hint| hint.contains("the rows are staged, and wait")));
            }
            _ => well(&report),
        }
        bench.0.stop_warehouse();
    }
    assert_eq!(bench.ids(), ["0", "1", "2"]);
    assert_eq!((bench.pretend().wakes().len(), bench.files("_inlet/pending").len()), (3, 1));
    well(&called(&bench, &every(Duration::from_millis(1)), None));
    assert_eq!(bench.ids().len(), 4);
}

#[test]
fn a_window_opens_once_in_its_time_whether_the_warehouse_runs_or_not() {
    let bench = Bench::new();
    let budget = every(Duration::from_secs(3_600));
    bench.stage("a.json", &order("a", "{}"));
    well(&called(&bench, &budget, None));
    bench.stage("b.json", &order("b", "{}"));
    assert_eq!(bench.pretend().warehouse_state(WAREHOUSE).as_deref(), Some("RUNNING"));
    let statements = bench.pretend().statements().len();
    let report = called(&bench, &budget, None);
    well(&report);
    assert!(report.postponed.is_some_and(|why| why.contains("the next window opens in")));
    assert_eq!(bench.pretend().statements().len(), statements);
    well(&bench.evolve());
    assert_eq!(bench.ids(), ["a", "b"], "who asks by hand does not wait");
}

#[test]
fn a_warehouse_that_takes_minutes_is_started_before_its_window_opens() {
    let bench = Bench::own_pro_warehouse();
    bench.stage("a.json", &order("a", "{}"));
    well(&called(&bench, &every(Duration::from_millis(1)), None));
    let stopped = || bench.pretend().wakes().len();
    assert_eq!(stopped(), 1);
    bench.pretend().warehouses().iter().for_each(|id| bench.pretend().stop_warehouse(id));
    bench.stage("b.json", &order("b", "{}"));
    // Ten minutes before nothing is started, five minutes before it is, and only once.
    let soon = [3_600, 200, 200].map(|seconds| {
        let report = called(&bench, &every(Duration::from_secs(seconds)), None);
        well(&report);
        assert!(report.postponed.is_some() && report.warehouse.is_none());
        stopped()
    });
    assert_eq!(soon, [1, 2, 2]);
    let report = called(&bench, &every(Duration::from_millis(1)), None);
    well(&report);
    assert_eq!((stopped(), report.warehouse.map(|used| used.woken)), (2, Some(false)));
    assert_eq!(bench.ids(), ["a", "b"]);
}

#[test]
fn a_schedule_leaves_rows_alone_in_its_closed_hours_and_a_person_loads_them() {
    let bench = Bench::told(&format!("{}\nnever_between = [\"00:00-24:00\"]", http_path()));
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let report = called(&bench, &bench.0.settings.budget(), None);
    well(&report);
    assert!(report.postponed.is_some_and(|why| why.contains("`never_between`")));
    assert!(bench.pretend().wakes().is_empty() && bench.pretend().statements().is_empty());
    let mut command = inlet();
    run(command.arg("evolve").arg("--settings").arg(bench.0.file())).success();
    assert_eq!((bench.pretend().wakes().len(), bench.ids()), (1, vec!["a".to_owned()]));
}
