//! With `schema_changes = "warehouse"` the warehouse changes tables and held rows follow. Whoever denies, postpones,
//! kills or overtakes the change: every row lands once, at last by rescue, and the warehouse is woken no oftener than it
//! must be.

use std::path::PathBuf;
use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::delta::Lake;
use inlet_core::evolve::{Ask, EvolveReport, Parts, TableStatus, evolve};
use inlet_core::fault::FaultKind;
use inlet_core::report::{Report, Status};
use object_store::local::LocalFileSystem;
use pretend::{Fault, StatementFault, Wrong};

use crate::events::{lines, track};
use crate::faulty::{self, COMMIT, Faulty, STATE_REMOVAL, When, Which};
use crate::lake::{self, Table};
use crate::process::{inlet, run};
use crate::support::{SCHEMA, assert_landed, land, listing, runtime, settings, upload};
use crate::verify::assert_proves_uploads;
use crate::workspace::{Customer, status};

const ORDERS: &str = "events.order_completed";
const BY_HAND: Ask = Ask { plan: false, all: false, retry: false, by_hand: true };
/// An evolve whose store is dead tries again until then.
const PATIENCE_OF_THE_DEAD: Duration = Duration::from_secs(3);

/// A customer whose warehouse has made the tables of one order.
fn customer() -> Customer {
    let customer = Customer::told(|setup| setup, "schema_changes = \"warehouse\"\nwindow = \"1h\"");
    let report = order(&customer, "a", r#"{"total":1}"#);
    assert_eq!(report.uploads[0].status, Status::PartlyHeld, "{report:#?}");
    well(&customer.evolve());
    customer
}

/// Lands an order as an upload of its own.
fn order(customer: &Customer, id: &str, properties: &str) -> Report {
    customer.land(&file_of(id), &lines(&[track(id, "Order Completed", properties)]))
}

fn file_of(id: &str) -> String {
    format!("in/{id}.ndjson")
}

/// Lands an order whose row for the event's table is held.
fn hold(customer: &Customer, id: &str, properties: &str) {
    let report = order(customer, id, properties);
    let held: Vec<_> = report.uploads[0].tables.iter().filter(|table| table.status == Status::Held).collect();
    assert_eq!(held.iter().map(|table| table.table.as_str()).collect::<Vec<_>>(), [ORDERS], "{report:#?}");
}

/// Lands an order as a writer does that knows nothing of the workspace, and adds columns by itself.
fn order_by_somebody_else(customer: &Customer, id: &str, properties: &str) {
    let upload = customer.room.upload(&file_of(id), &lines(&[track(id, "Order Completed", properties)]));
    assert_landed(&land(&customer.room.lake(), &settings(), vec![upload]));
}

fn well(report: &EvolveReport) {
    assert_eq!(report.gravest(), None, "{report:#?}");
}

/// Evolves with a warehouse that starts when `meanwhile` is done.
fn evolve_while(customer: &Customer, meanwhile: impl FnOnce()) -> EvolveReport {
    customer.stop_warehouse();
    customer.pretend.knobs(|knobs| knobs.start_ms = 600_000);
    let wakes = customer.pretend.wakes().len();
    std::thread::scope(|scope| {
        let evolving = scope.spawn(|| customer.evolve());
        while customer.pretend.wakes().len() == wakes {
            assert!(!evolving.is_finished(), "it ended without the warehouse");
            clock::sleep(Duration::from_millis(5), Deadline::after(Duration::from_secs(1)));
        }
        meanwhile();
        customer.pretend.knobs(|knobs| knobs.start_ms = 0);
        evolving.join().expect("evolve does not panic")
    })
}

/// The event's table, with each of these ids once; all uploads are proved.
fn orders(customer: &Customer, ids: &[&str]) -> Table {
    let lake = customer.room.lake();
    let table = lake::read(&lake, SCHEMA, "order_completed");
    let mut there = table.texts("id");
    there.sort_unstable();
    assert_eq!(there, ids);
    let files = listing(&customer.room.path("in")).into_iter().map(|(name, _)| customer.room.path("in").join(name));
    assert_proves_uploads(&lake, &files.map(|file| upload(&file)).collect::<Vec<_>>());
    table
}

/// The statements that alter the event's table.
fn alterations(customer: &Customer) -> Vec<String> {
    let said = customer.pretend.statements().into_iter().map(|said| said.text);
    said.filter(|text| text.starts_with("ALTER TABLE") && text.contains("order_completed")).collect()
}

/// The catalog shows these columns in the event's table and in the view over it.
fn assert_shown(customer: &Customer, columns: &[&str]) {
    for name in [ORDERS, "events.order_completed__unique"] {
        let shown = customer.shown(name).expect("it is in the catalog");
        assert!(columns.iter().all(|&column| shown.iter().any(|one| one == column)), "{name}: {shown:?}");
    }
}

/// A killed run's lease expires after a minute; the test does not wait for it.
fn release_lease(customer: &Customer) {
    drop(std::fs::remove_dir_all(customer.room.lake().join("_inlet/leases")));
}

/// The notes of rows that are held for the event's table.
fn notes(customer: &Customer) -> Vec<PathBuf> {
    let folder = customer.room.lake().join("_inlet/held/events/order_completed");
    listing(&folder).into_iter().map(|(name, _)| folder.join(name)).collect()
}

#[test]
fn rows_land_by_rescue_after_three_denials_and_only_a_person_wakes_the_warehouse_a_fourth_time() {
    let customer = customer();
    let wakes = || customer.pretend.wakes().len() - 1;
    let denied = "PERMISSION_DENIED: User does not have MODIFY on Table 'segment.events.order_completed'.";
    customer.pretend.statement_fault(StatementFault::new("ALTER TABLE", denied).times(1_000));
    hold(&customer, "b", r#"{"total":2,"coupon":"x"}"#);
    for expected in [TableStatus::Failed, TableStatus::Failed, TableStatus::Rescued] {
        assert_eq!(notes(&customer).len(), 1);
        customer.stop_warehouse();
        let report = customer.evolve();
        assert_eq!(status(&report, ORDERS), Some(expected), "{report:#?}");
        assert_eq!(report.gravest(), Some(FaultKind::Setup));
    }
    assert_eq!((wakes(), notes(&customer).len()), (3, 0));
    assert_eq!(orders(&customer, &["a", "b"]).row("b")["_rescued_data"].text(), r#"{"coupon":"x"}"#);

    hold(&customer, "c", r#"{"total":3,"coupon":"y"}"#);
    customer.stop_warehouse();
    let report = customer.evolve();
    assert_eq!(status(&report, ORDERS), Some(TableStatus::Rescued), "{report:#?}");
    assert_eq!(orders(&customer, &["a", "b", "c"]).row("c")["_rescued_data"].text(), r#"{"coupon":"y"}"#);
    assert_eq!(wakes(), 3, "later rows do not wait, and wake nobody");

    customer.pretend.clear_faults();
    hold(&customer, "d", r#"{"total":4,"coupon":"z"}"#);
    let report = customer.evolve_as(Ask { retry: true, ..BY_HAND });
    well(&report);
    assert_eq!(status(&report, ORDERS), Some(TableStatus::Altered));
    assert_eq!(orders(&customer, &["a", "b", "c", "d"]).row("d")["coupon"].text(), "z");
    assert_eq!(wakes(), 4);
}

#[test]
fn rows_that_the_window_postpones_are_held_until_they_land_by_rescue() {
    let customer = customer();
    let by_trigger = |hold_limit: Duration| {
        let parts = Parts { hold_limit, ..customer.parts() };
        customer.stop_warehouse();
        evolve(&parts, Ask::default(), Deadline::after(Duration::from_secs(30)), &|_| {})
    };
    hold(&customer, "b", r#"{"total":2,"coupon":"x"}"#);
    let report = by_trigger(Duration::from_secs(3_600));
    assert_eq!((status(&report, ORDERS), report.gravest()), (Some(TableStatus::Postponed), Some(FaultKind::Again)));
    assert_eq!(notes(&customer).len(), 1);
    let report = by_trigger(Duration::ZERO);
    assert_eq!(status(&report, ORDERS), Some(TableStatus::Rescued), "{report:#?}");
    assert_eq!(orders(&customer, &["a", "b"]).row("b")["_rescued_data"].text(), r#"{"coupon":"x"}"#);
    assert_eq!((customer.pretend.wakes().len(), notes(&customer).len()), (1, 0));
}

#[test]
fn a_kill_between_the_change_and_the_rows_loses_and_doubles_nothing() {
    let customer = customer();
    hold(&customer, "b", r#"{"total":2,"coupon":"x"}"#);
    customer.pretend.forget_requests();
    let look = "/api/2.1/unity-catalog/tables/segment.events.order_completed";
    customer.pretend.fault(Fault::on("GET", look, Wrong::Delay(60_000)));
    let mut evolve = inlet();
    let mut child = evolve.arg("evolve").arg("--settings").arg(customer.file()).spawn().expect("the executable starts");
    while !customer.pretend.requests().iter().any(|seen| seen.path == look) {
        assert!(child.try_wait().expect("it can be asked").is_none(), "it ended before it looked at the table");
        clock::sleep(Duration::from_millis(5), Deadline::after(Duration::from_secs(1)));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    customer.pretend.clear_faults();
    release_lease(&customer);
    orders(&customer, &["a"]);
    assert!(customer.shown(ORDERS).is_some_and(|columns| columns.contains(&"coupon".to_owned())), "it was altered");
    well(&customer.evolve());
    assert_eq!(orders(&customer, &["a", "b"]).row("b")["coupon"].text(), "x");
    assert_eq!((alterations(&customer).len(), notes(&customer).len()), (1, 0));
}

/// Evolves until the n-th such request to the lake's store, which like all later ones never arrives.
fn killed_at(customer: &Customer, which: Which, nth: usize) -> Vec<String> {
    let faulty = Faulty::over(std::sync::Arc::new(LocalFileSystem::new()));
    faulty.play(faulty::Fault::Kill, When::Nth(nth), which);
    let parts = customer.parts();
    let url = parts.lake.url().clone();
    let lake = Lake::with_store(&url, faulty.store(), runtime().handle().clone()).expect("the lake opens");
    evolve(&Parts { lake, ..parts }, BY_HAND, Deadline::after(PATIENCE_OF_THE_DEAD), &|_| {});
    faulty.struck()
}

#[test]
fn a_kill_at_any_commit_or_before_a_note_goes_loses_and_doubles_nothing() {
    // The commits: the table's, and that of `_loads`. Then the note goes.
    for (which, nth, rows) in [(COMMIT, 0, 1), (COMMIT, 1, 2), (STATE_REMOVAL.of("held"), 0, 2)] {
        let customer = customer();
        hold(&customer, "b", r#"{"total":2,"coupon":"x"}"#);
        let struck = killed_at(&customer, which, nth);
        assert_eq!(struck.len(), 1, "{which:?} {nth}");
        assert_eq!(lake::read(&customer.room.lake(), SCHEMA, "order_completed").rows.len(), rows, "{struck:?}");
        release_lease(&customer);
        well(&customer.evolve());
        assert_eq!(orders(&customer, &["a", "b"]).row("b")["coupon"].text(), "x", "{struck:?}");
        assert_eq!((alterations(&customer).len(), notes(&customer).len()), (1, 0), "{struck:?}");
    }
}

#[test]
fn columns_that_somebody_else_adds_meanwhile_are_left_out_of_the_change() {
    let customer = customer();
    hold(&customer, "b", r#"{"total":2,"coupon":"x","gift":true}"#);
    let report = evolve_while(&customer, || order_by_somebody_else(&customer, "c", r#"{"total":3,"coupon":"y"}"#));
    well(&report);
    assert_eq!(status(&report, ORDERS), Some(TableStatus::Altered));
    let alterations = alterations(&customer);
    assert_eq!(alterations.len(), 2, "{alterations:#?}");
    assert!(alterations[0].contains("`coupon` STRING") && alterations[0].contains("`gift` BOOLEAN"));
    assert!(!alterations[1].contains("coupon") && alterations[1].contains("`gift` BOOLEAN"), "{alterations:#?}");
    let orders = orders(&customer, &["a", "b", "c"]);
    assert_eq!((orders.row("b")["coupon"].text(), orders.row("c")["coupon"].text()), ("x", "y"));
    assert!(orders.rows.iter().all(|row| !row.contains_key("_rescued_data")), "{orders:#?}");
    assert_shown(&customer, &["coupon", "gift"]);
}

#[test]
fn a_column_that_is_there_with_another_type_takes_what_it_can_and_the_rest_is_rescued() {
    let other = |customer: &Customer| order_by_somebody_else(customer, "c", r#"{"total":3,"size":"large","weight":3}"#);
    for is_late in [false, true] {
        let customer = customer();
        hold(&customer, "b", r#"{"total":2,"size":7,"weight":"heavy"}"#);
        let report = match is_late {
            true => evolve_while(&customer, || other(&customer)),
            false => {
                other(&customer);
                customer.evolve()
            }
        };
        well(&report);
        let orders = orders(&customer, &["a", "b", "c"]);
        assert_eq!(orders.row("b")["size"].text(), "7", "{is_late}");
        assert_eq!(orders.row("b")["_rescued_data"].text(), r#"{"weight":"heavy"}"#, "{is_late}");
        assert_eq!(alterations(&customer).len(), usize::from(is_late), "what is there is not asked for");
        assert_shown(&customer, &["size", "weight"]);
    }
}

#[test]
fn a_damaged_note_is_named_alone_and_its_rows_land_once_it_is_whole() {
    let customer = customer();
    hold(&customer, "b", r#"{"total":2,"coupon":"x"}"#);
    let note = notes(&customer).remove(0);
    let whole = std::fs::read(&note).expect("the note is there");
    std::fs::write(&note, &whole[..whole.len() / 2]).expect("the note can be written");
    hold(&customer, "c", r#"{"total":3,"gift":true}"#);
    for _ in 0..2 {
        let report = customer.evolve();
        let name = note.file_name().expect("a file has a name").to_string_lossy();
        assert!(matches!(&report.notes.damaged[..], [damaged] if damaged.contains(&*name)), "{report:#?}");
        let fault = report.fault.as_ref().expect("a person must mend it");
        assert_eq!((fault.kind, fault.message.contains(&*name)), (FaultKind::Setup, true), "{fault:?}");
        assert!(report.tables.iter().all(|table| table.fault.is_none()), "{report:#?}");
    }
    assert_eq!(orders(&customer, &["a", "c"]).row("c")["gift"], lake::Value::Boolean(true), "the others land");
    std::fs::write(&note, whole).expect("the note can be written");
    well(&customer.evolve());
    assert_eq!(orders(&customer, &["a", "b", "c"]).row("b")["coupon"].text(), "x");
    assert_eq!(notes(&customer).len(), 0);
}

#[test]
fn a_teardown_says_what_is_held_and_removes_it_only_when_told_so() {
    let customer = customer();
    hold(&customer, "b", r#"{"total":2,"coupon":"x"}"#);
    let before = listing(&customer.room.lake());
    let teardown = |more: &[&str]| {
        let mut command = inlet();
        command.args(["teardown", "--settings"]).arg(customer.file()).args(more);
        run(&mut command)
    };
    let what = "held rows that no table has yet: 1, of `events.order_completed`";
    let said = teardown(&[]).success();
    assert!(said.err.contains(&format!("{what}; they stay in the lake")), "{said:#?}");
    let said = teardown(&["--yes", "--data"]);
    assert_eq!(said.code, Some(78));
    assert!(said.err.contains(&format!("{what}; nothing was removed")) && said.err.contains("--held"), "{said:#?}");
    assert_eq!(listing(&customer.room.lake()), before);
    assert!(customer.shown(ORDERS).is_some());
    teardown(&["--yes", "--data", "--held"]).success();
    assert!(listing(&customer.room.lake()).is_empty());
}

#[test]
fn notes_that_arrive_while_the_warehouse_starts_are_one_wake() {
    let customer = customer();
    let name = |n: usize| format!("n{n:02}");
    let hold_nth = |n: usize| hold(&customer, &name(n), &format!(r#"{{"total":3,"column_{n}":"x"}}"#));
    (0..5).for_each(hold_nth);
    well(&evolve_while(&customer, || (5..30).for_each(hold_nth)));
    well(&customer.evolve());
    assert_eq!((customer.pretend.wakes().len(), notes(&customer).len()), (2, 0));
    let ids: Vec<String> = std::iter::once("a".to_owned()).chain((0..30).map(name)).collect();
    let orders = orders(&customer, &ids.iter().map(String::as_str).collect::<Vec<_>>());
    assert!((0..30).all(|n| orders.row(&name(n))[&format!("column_{n}")].text() == "x"));
    let shown = customer.shown(ORDERS).expect("it is in the catalog");
    assert!((0..30).all(|n| shown.contains(&format!("column_{n}"))), "{shown:?}");
}
