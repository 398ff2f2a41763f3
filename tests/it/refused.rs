//! A table that takes no rows from Inlet, or not their columns, holds up nothing else where a workspace is: its rows are
//! held, the reason and the way out are said, and they land once the table can take them. Where a warehouse is, it loads
//! what a table takes none of ([`crate::loaded`]).

use std::fs;
use std::path::Path;
use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::evolve::{Ask, EvolveReport, Parts, TableStatus, evolve};
use inlet_core::fault::FaultKind;
use inlet_core::report::{Report, Status};
use inlet_core::settings::WarehouseChoice;

use crate::databricks_made::{commit, stand};
use crate::events::{lines, track};
use crate::lake::{self, Table};
use crate::process::{inlet, run};
use crate::support::{SCHEMA, listing, upload};
use crate::verify::assert_proves_uploads;
use crate::workspace::{Customer, status};

const ORDERS: &str = "events.order_completed";
const BY_HAND: Ask = Ask { plan: false, all: false, retry: false, by_hand: true };

/// An order and another event.
fn land(customer: &Customer, id: &str, more: &str) -> Report {
    let order = track(id, "Order Completed", &format!(r#"{{"order_id":"o-{id}","total":1.5{more}}}"#));
    let other = track(&format!("{id}-other"), "Signed Up", "{}");
    customer.land(&format!("in/{id}.ndjson"), &lines(&[order, other]))
}

/// Only the order's row in its own table is held, and why.
fn assert_held(report: &Report, why: &str, way_out: &str) {
    let upload = &report.uploads[0];
    assert_eq!((upload.status, upload.counts.landed, upload.counts.held), (Status::PartlyHeld, 2, 0), "{upload:#?}");
    let held: Vec<_> = upload.tables.iter().filter(|table| table.status == Status::Held).collect();
    assert_eq!(held.iter().map(|table| table.table.as_str()).collect::<Vec<_>>(), [ORDERS]);
    let because = held[0].because.as_ref().expect("it says why");
    assert!(because.message.contains(why), "{because:?}");
    assert!(because.hint.as_ref().is_some_and(|hint| hint.contains(way_out)), "{because:?}");
}

fn assert_refused(report: &EvolveReport, why: &str) {
    let table = report.tables.iter().find(|table| table.table == ORDERS).expect("its rows were tried");
    assert_eq!(report.gravest(), Some(FaultKind::Setup), "{report:#?}");
    assert!(table.fault.as_ref().is_some_and(|fault| fault.message.contains(why)), "{table:#?}");
}

fn well(report: &EvolveReport) {
    assert_eq!(report.gravest(), None, "{report:#?}");
}

/// The table of the orders, with each of these ids once.
fn orders(customer: &Customer, ids: &[&str]) -> Table {
    let table = lake::read(&customer.room.lake(), SCHEMA, "order_completed");
    let mut there = table.texts("id");
    there.sort_unstable();
    assert_eq!(there, ids);
    table
}

fn assert_proved(customer: &Customer) {
    let files = listing(&customer.room.path("in")).into_iter().map(|(name, _)| customer.room.path("in").join(name));
    assert_proves_uploads(&customer.room.lake(), &files.map(|file| upload(&file)).collect::<Vec<_>>());
}

/// As Delta commits DROP FEATURE checkConstraints.
pub(crate) fn drop_checks(table: &Path) {
    let dropped = "{\"commitInfo\":{\"timestamp\":1773446500000,\"operation\":\"DROP FEATURE\",\"operationParameters\":\
                   {\"featureName\":\"checkConstraints\",\"truncateHistory\":false}}}\n\
                   {\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n";
    commit(table, dropped);
}

/// An evolve of settings that name no warehouse.
fn evolve_without_warehouse(customer: &Customer) -> EvolveReport {
    let parts = Parts { warehouse: WarehouseChoice::None, ..customer.parts() };
    evolve(&parts, BY_HAND, Deadline::after(Duration::from_secs(30)), &|_| {})
}

#[test]
fn without_a_warehouse_rows_that_a_table_refuses_are_held_alone_and_land_once_it_was_mended() {
    let customer = Customer::new();
    let table = stand("legacy_1_3", &customer.room.lake());
    // What is no matter of that table is in the catalog.
    customer.land("in/first.ndjson", &lines(&[track("first", "Signed Up", "{}")]));
    well(&customer.evolve_as(Ask { all: true, ..BY_HAND }));
    let made = listing(&table);
    let why = "its old protocol implies checkConstraints";
    assert_held(&land(&customer, "a", ""), why, "DROP FEATURE checkConstraints");
    assert_held(&land(&customer, "b", r#","coupon":"c""#), why, "DROP FEATURE checkConstraints");
    assert_eq!(lake::read(&customer.room.lake(), SCHEMA, "tracks").rows.len(), 5);
    assert_eq!(listing(&table), made, "nothing was written there");
    for _ in 0..2 {
        assert_refused(&evolve_without_warehouse(&customer), why);
        assert_eq!(lake::read(&customer.room.lake(), SCHEMA, "tracks").rows.len(), 5, "the others stand");
    }
    drop_checks(&table);
    well(&customer.evolve());
    let orders = orders(&customer, &["a", "b"]);
    assert_eq!((orders.row("b")["order_id"].text(), orders.row("b")["coupon"].text()), ("o-b", "c"));
    assert_proved(&customer);
    assert!(customer.shown(ORDERS).is_some_and(|columns| columns.contains(&"coupon".to_owned())));
    assert!(customer.evolve().tables.is_empty(), "nothing is left to do");
}

#[test]
fn what_refuses_rows_is_said_by_ingest_and_status() {
    let customer = Customer::without_warehouse();
    stand("check_in_use", &customer.room.lake());
    let file = customer.room.file("in/a.ndjson", &lines(&[track("a", "Order Completed", r#"{"order_id":"o"}"#)]));
    let command = |words: &[&str]| {
        let mut command = inlet();
        command.args(words).arg("--settings").arg(customer.file());
        command
    };
    let said = run(command(&["ingest"]).arg(file)).success();
    for words in ["checkConstraints", "its rows are held: run: ALTER TABLE", "then inlet evolve"] {
        assert!(said.out.contains(words), "{words}: {said:#?}");
    }
    assert!(!said.out.contains("inlet evolve has that done"), "{said:#?}");
    let said = run(&mut command(&["status"])).success().out;
    assert!(
        said.contains("1 row of `order_completed` wait") && said.contains("DROP FEATURE checkConstraints"),
        "{said}"
    );
}

#[test]
fn a_table_that_was_moved_away_is_made_anew_with_the_columns_that_it_had() {
    let customer = Customer::new();
    let table = stand("partitioned", &customer.room.lake());
    assert_held(&land(&customer, "a", r#","coupon":"c""#), "is partitioned by day", "CLUSTER BY");
    fs::rename(&table, customer.room.path("moved")).expect("a folder can be moved");
    well(&customer.evolve());
    let row = orders(&customer, &["a"]).row("a").clone();
    assert_eq!((row["order_id"].text(), row["coupon"].text()), ("o-a", "c"));
    assert!(!row.contains_key("_rescued_data"), "{row:?}");
    assert!(customer.shown(ORDERS).is_some());
    assert_proved(&customer);
}

#[test]
fn rows_whose_columns_a_table_refuses_land_by_rescue_in_the_end() {
    let customer = Customer::new();
    let table = stand("defaults_listed", &customer.room.lake());
    let report = land(&customer, "a", "");
    assert_eq!(report.uploads[0].status, Status::Landed, "{report:#?}");
    assert_held(&land(&customer, "b", r#","coupon":"c""#), "allowColumnDefaults", "ADD COLUMNS (`coupon` STRING)");
    let report = customer.evolve();
    assert_refused(&report, "allowColumnDefaults");
    assert!(report.notes.read < 4, "a refusal leaves no note: {report:#?}");
    let overdue = Parts { hold_limit: Duration::ZERO, ..customer.parts() };
    let report = evolve(&overdue, BY_HAND, Deadline::after(Duration::from_secs(30)), &|_| {});
    assert_eq!(status(&report, ORDERS), Some(TableStatus::Rescued), "{report:#?}");
    let log: String = (1..=2)
        .map(|version| fs::read_to_string(table.join(format!("_delta_log/{version:020}.json"))).expect("a commit"))
        .collect();
    assert_eq!(log.matches("\"add\":{").count(), 2, "{log}");
    assert!(lake::read(&customer.room.lake(), SCHEMA, "_loads").rows.len() > 3);
}
