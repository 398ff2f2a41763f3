//! Where a workspace is: what Inlet does not write anew the warehouse compacts, when it may be woken.

use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::fault::FaultKind;
use inlet_core::maintain::{Ask, MaintainReport, maintain};
use pretend::{CATALOG, WAREHOUSE};

use super::{HOUR, ask_in, of};
use crate::events::{lines, track};
use crate::lake;
use crate::support::{SCHEMA, assert_landed, runtime};
use crate::workspace::Customer;

/// A customer whose `kept` has got a column that Inlet does not write, and small files.
fn customer() -> Customer {
    let customer = Customer::new();
    let land = |number: usize| {
        let event = track(&format!("m{number}"), "Kept", &format!(r#"{{"n":{number}}}"#));
        assert_landed(&customer.land(&format!("{number}.ndjson"), &lines(&[event])));
    };
    (0..3).for_each(land);
    assert_eq!(customer.evolve().gravest(), None);
    let alter = format!("ALTER TABLE {CATALOG}.{SCHEMA}.kept ADD COLUMNS (day DATE)");
    let ran = runtime().block_on(customer.parts().workspace.run(WAREHOUSE, &alter, Deadline::after(HOUR)));
    ran.unwrap_or_else(|error| panic!("{alter}: {}", error.message()));
    (3..5).for_each(land);
    customer
}

fn maintained(customer: &Customer, ask: &Ask) -> MaintainReport {
    let parts = customer.parts();
    maintain(&parts.lake, Some(&parts), &[SCHEMA.to_owned()], ask, Deadline::after(HOUR), &|_| {})
}

fn said(customer: &Customer) -> Vec<String> {
    let statements = customer.pretend.statements().into_iter().map(|said| said.text);
    statements.filter(|text| text.starts_with("OPTIMIZE") || text.starts_with("VACUUM")).collect()
}

#[test]
fn what_inlet_does_not_write_anew_the_warehouse_compacts_and_nothing_else() {
    let customer = customer();
    let before = lake::read(&customer.room.lake(), SCHEMA, "kept");
    let optimize = format!("OPTIMIZE `{CATALOG}`.`{SCHEMA}`.`kept`");
    let plan = maintained(&customer, &Ask { plan: true, ..ask_in(2 * HOUR) });
    assert_eq!(of(&plan, "kept").statement.as_deref(), Some(format!("OPTIMIZE `{SCHEMA}`.`kept`").as_str()));
    assert_eq!(said(&customer), [""; 0]);

    let report = maintained(&customer, &ask_in(2 * HOUR));
    assert_eq!(report.gravest(), None, "{report:#?}");
    assert_eq!(said(&customer), std::slice::from_ref(&optimize));
    assert_eq!(of(&report, "kept").statement.as_deref(), Some(optimize.as_str()));
    assert!(of(&report, "kept").skipped.is_some() && report.warehouse.is_some(), "{report:#?}");
    assert!(of(&report, "tracks").statement.is_none() && of(&report, "tracks").compacted.to_files == 1, "{report:#?}");
    let after = lake::read(&customer.room.lake(), SCHEMA, "kept");
    lake::assert_same_rows("kept", &after.rows, &before.rows);
}

#[test]
fn a_schedule_does_not_wake_the_warehouse_more_often_than_it_may_be() {
    let customer = customer();
    customer.stop_warehouse();
    let report = maintained(&customer, &Ask { by_hand: false, patience: Duration::from_secs(1), ..ask_in(2 * HOUR) });
    assert_eq!((report.gravest(), report.unfinished), (Some(FaultKind::Again), true), "{report:#?}");
    assert_eq!(said(&customer), [""; 0]);
    assert_eq!(of(&report, "tracks").compacted.to_files, 1, "what needs no warehouse is done");
    // A person's word goes before the window.
    let report = maintained(&customer, &ask_in(2 * HOUR));
    assert_eq!((report.gravest(), said(&customer).len()), (None, 1), "{report:#?}");
    assert!(report.warehouse.is_some_and(|used| used.woken));
}
