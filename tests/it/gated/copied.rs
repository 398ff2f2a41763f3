//! Rows of a table on S3 that takes none from Inlet: the warehouse copies them behind the table's gate.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::evolve::{Ask, EvolveReport, evolve};
use inlet_core::fault::FaultKind;
use inlet_core::report::{Report, Status};
use inlet_core::upload::Upload;

use super::{BY_HAND, Customer, OF_THE_DEAD, soon, until, upload, uploads};
use crate::databricks_made::{commit, stand};
use crate::events::{lines, track};
use crate::faulty::{COMMIT, DATA, Fault, Faulty, STATE, STATE_REMOVAL, When, Which};
use crate::lake;
use crate::refused::drop_checks;
use crate::support::{SCHEMA, assert_landed, the_only, upload_of};
use crate::verify::assert_proves_uploads;

const TABLE: &str = "order_completed";
/// An evolve that is killed comes to the request by then.
const REACHES_IT: Duration = Duration::from_secs(5);

/// A customer with a table that takes no rows from Inlet, which the catalog shows.
fn shop() -> (Customer, PathBuf) {
    let customer = Customer::with(&uploads(&["a"]));
    let table = stand("legacy_1_3", &customer.folder());
    well(&evolve_as(&customer, Ask { all: true, ..BY_HAND }));
    (customer, table)
}

fn evolve_as(customer: &Customer, ask: Ask) -> EvolveReport {
    evolve(&customer.parts(customer.store()), ask, soon(), &|_| {})
}

fn well(report: &EvolveReport) {
    assert_eq!(report.gravest(), None, "{report:#?}");
}

/// An upload of one order, with a column of its own.
fn order(id: &str) -> Upload {
    let order = track(id, "Order Completed", &format!(r#"{{"order_id":"o","new_{id}":1}}"#));
    upload_of(&format!("{id}.ndjson"), lines(&[order]))
}

/// What held rows of the table wait for.
fn waits_for(report: &Report) -> Option<&'static str> {
    let held = the_only(report).tables.iter().find(|part| part.status == Status::Held).expect("rows are held");
    held.waits_for
}

/// The table has each of these orders once, every upload is proved, and nothing is held or closed.
fn assert_whole(customer: &Customer, ids: &[&str], what: &str) {
    let ids: std::collections::BTreeSet<String> = ids.iter().map(|&id| id.to_owned()).collect();
    customer.assert_each_once(TABLE, &ids, what);
    let landed: Vec<Upload> = uploads(&["a"]).into_iter().chain(ids.iter().map(|id| order(id))).collect();
    assert_proves_uploads(&customer.folder(), &landed);
    let held = crate::support::listing(&customer.folder().join("_inlet/held"));
    assert_eq!((held.len(), is_closed(customer)), (0, false), "{what}");
}

fn is_closed(customer: &Customer) -> bool {
    customer.gate_files().iter().any(|path| {
        let turn: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).expect("a gate is JSON");
        turn["released"] == false
    })
}

/// As Databricks has a table of an old protocol refuse writers that check no constraints.
fn add_checks(table: &Path) {
    let checked = "{\"commitInfo\":{\"timestamp\":1773446500000,\"operation\":\"ADD CONSTRAINT\",\"operationParameters\":{}}}\n\
                   {\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":3}}\n";
    commit(table, checked);
}

#[test]
fn the_warehouse_copies_them_while_nobody_else_commits() {
    let (customer, _) = shop();
    assert_eq!(waits_for(&customer.land(&[order("x")])), Some("load"));
    customer.pretend.knobs(|knobs| knobs.commit_ms = 60_000);
    let report = std::thread::scope(|scope| {
        let copying = scope.spawn(|| evolve_as(&customer, BY_HAND));
        until("the ALTER", || customer.was_said("ALTER TABLE"));
        assert!(is_closed(&customer), "columns come behind the gate too");
        let second = customer.run_sql(customer.store(), "OPTIMIZE events.order_completed");
        let fault = second.fault.expect("the gate is closed");
        assert!(fault.kind == FaultKind::Again && fault.message.contains("COPY INTO"), "{fault:#?}");
        assert_eq!(waits_for(&customer.land(&[order("y")])), Some("load"), "its rows wait for the table, not the gate");
        customer.pretend.knobs(|knobs| knobs.commit_ms = 0);
        copying.join().expect("evolve does not panic")
    });
    well(&report);
    assert!(report.statements.iter().any(|said| said.starts_with("COPY INTO")), "{report:#?}");
    assert_whole(&customer, &["x", "y"], "its rounds take along what came meanwhile");
    assert!(lake::read(&customer.folder(), SCHEMA, TABLE).types().contains_key("new_y"), "with its columns");
}

#[test]
fn commits_on_their_way_are_waited_for_once_for_all_tables() {
    let (customer, table) = shop();
    let other = table.with_file_name("other_made");
    fs::create_dir_all(&other).unwrap();
    crate::support::copy_folder(&table, &other);
    well(&evolve_as(&customer, Ask { all: true, ..BY_HAND }));
    assert_eq!(waits_for(&customer.land(&[order("x")])), Some("load"));
    let made = upload_of("made.ndjson", lines(&[track("m", "Other Made", "{}")]));
    assert_eq!(waits_for(&customer.land(std::slice::from_ref(&made))), Some("load"));
    let told = Mutex::new(Vec::new());
    let tell = |what: &str| told.lock().unwrap().push(what.to_owned());
    let report = evolve(&customer.parts(customer.store()), BY_HAND, soon(), &tell);
    well(&report);
    let told = told.into_inner().unwrap();
    let said = |words: &str| told.iter().filter(|one| one.contains(words)).count();
    assert_eq!((said("is closed"), said("waiting 0 s for commits")), (2, 1), "{told:#?}");
    customer.assert_each_once(TABLE, &["x".to_owned()].into(), "one");
    customer.assert_each_once("other_made", &["m".to_owned()].into(), "and the other");
    assert_proves_uploads(&customer.folder(), &[upload("a"), order("x"), made]);
}

#[test]
fn a_gate_that_somebody_else_has_closed_stops_no_other_table() {
    let (customer, _) = shop();
    assert_eq!(waits_for(&customer.land(&[order("x")])), Some("load"));
    let dies = Faulty::over(customer.store());
    dies.play(Fault::Kill, When::Nth(1), STATE.of("gates"));
    customer.run_sql_for(dies.store(), "OPTIMIZE events.order_completed", OF_THE_DEAD);
    assert_landed(&customer.land(&uploads(&["b"])));
    let report = evolve_as(&customer, BY_HAND);
    let fault = |table: &str| report.tables.iter().find(|one| one.table == table).map(|one| one.fault.is_some());
    let both = (fault("events.order_completed"), fault("events.kept"));
    assert_eq!((report.gravest(), both), (Some(FaultKind::Again), (Some(true), Some(false))), "{report:#?}");
    customer.let_an_hour_pass();
    well(&evolve_as(&customer, BY_HAND));
    customer.assert_each_once(TABLE, &["x".to_owned()].into(), "the gate is open");
}

#[test]
fn rows_that_waited_for_a_gate_are_copied_when_their_table_has_come_to_take_none() {
    let customer = Customer::with(&uploads(&["a"]));
    let table = stand("legacy_1_3", &customer.folder());
    drop_checks(&table);
    well(&evolve_as(&customer, Ask { all: true, ..BY_HAND }));
    customer.pretend.knobs(|knobs| knobs.commit_ms = 60_000);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| customer.run_sql(customer.store(), "OPTIMIZE events.order_completed"));
        until("the statement", || customer.was_said("OPTIMIZE"));
        assert_eq!(waits_for(&customer.land(&[order("x")])), Some("gate"));
        add_checks(&table);
        customer.pretend.knobs(|knobs| knobs.commit_ms = 0);
        let ran = running.join().expect("the statement is run");
        assert_eq!(ran.gravest(), Some(FaultKind::Setup), "they stay held: {ran:#?}");
    });
    assert_eq!(waits_for(&customer.land(&[order("y")])), Some("load"));
    well(&evolve_as(&customer, BY_HAND));
    assert_whole(&customer, &["x", "y"], "both");
}

/// An evolve dies at its n-th request of a kind, and another one follows; whether there was such a request.
fn evolve_dies(customer: &Customer, which: Which, number: usize, ids: &mut Vec<String>) -> bool {
    let id = format!("o{}", ids.len());
    assert_eq!(waits_for(&customer.land(&[order(&id)])), Some("load"));
    ids.push(id);
    let dies = Faulty::over(customer.store());
    dies.play(Fault::Kill, When::Nth(number), which);
    let died = evolve(&customer.parts(dies.store()), BY_HAND, Deadline::after(REACHES_IT), &|_| {});
    drop(fs::remove_dir_all(customer.folder().join("_inlet/leases")));
    customer.let_an_hour_pass();
    let again = evolve_as(customer, Ask { retry: true, ..BY_HAND });
    let what = format!("killed at {number} of {which:?}: {died:#?}, then {again:#?}");
    assert_eq!(again.gravest(), None, "{what}");
    customer.assert_each_once(TABLE, &ids.iter().cloned().collect(), &what);
    !dies.struck().is_empty()
}

#[test]
fn an_evolve_that_dies_at_any_request_loses_and_doubles_nothing() {
    let (customer, _) = shop();
    let mut ids = Vec::new();
    let all_of = |which: Which, ids: &mut Vec<String>| {
        (0..).take_while(|number| evolve_dies(&customer, which, *number, ids)).count()
    };
    let deaths = all_of(STATE.of("gates"), &mut ids);
    assert!(deaths >= 8, "the gate is closed, says three times of each statement what it is at, and opens: {deaths}");
    for which in [STATE.of("held"), DATA.of("_loads"), COMMIT.of("_loads"), STATE_REMOVAL.of("held")] {
        assert!(evolve_dies(&customer, which, 0, &mut ids), "a run has such a request: {which:?}");
    }
    let landed: Vec<Upload> = uploads(&["a"]).into_iter().chain(ids.iter().map(|id| order(id))).collect();
    assert_proves_uploads(&customer.folder(), &landed);
}
