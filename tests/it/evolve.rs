//! The catalog follows the lake: what lands asks nothing of a warehouse, one wake registers and syncs all that changed,
//! and whatever is missing, refused, lost or killed on the way is said, and mended by the next run.

use std::time::Duration;

use inlet_core::clock;
use inlet_core::evolve::{Ask, EvolveReport, TableStatus};
use inlet_core::fault::FaultKind;
use inlet_core::report::Status;
use pretend::{CATALOG, CREDENTIAL, Fate, Fault, StatementFault, WAREHOUSE, Wrong};
use serde_json::json;

use crate::events::{lines, track};
use crate::lake;
use crate::process::{inlet, run};
use crate::support::assert_landed;
use crate::workspace::{Customer, status};

fn first() -> Vec<u8> {
    lines(&[track("a", "Order Completed", r#"{"total":1}"#)])
}

fn same(id: &str) -> Vec<u8> {
    lines(&[track(id, "Order Completed", r#"{"total":2}"#)])
}

fn with_column(id: &str, column: &str) -> Vec<u8> {
    lines(&[track(id, "Order Completed", &format!(r#"{{"total":3,"{column}":"x"}}"#))])
}

fn well(report: &EvolveReport) {
    assert_eq!(report.gravest(), None, "{report:#?}");
}

/// How often each id stands in the table of the event.
fn ids(customer: &Customer) -> Vec<String> {
    let table = lake::read(&customer.room.lake(), "events", "order_completed");
    let mut ids: Vec<String> = table.rows.iter().map(|row| row["id"].text().to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_new_table_is_registered_a_same_shape_asks_nothing_and_a_new_column_is_synced() {
    let customer = Customer::new();
    assert_landed(&customer.land("1.json", &first()));
    assert!(customer.pretend.requests().is_empty(), "the rows land without the workspace");
    let report = customer.evolve();
    well(&report);
    assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Registered));
    assert_eq!(report.schemas_created, ["segment.events"]);
    assert_eq!(customer.pretend.wakes().len(), 1);
    assert!(customer.shown("events.order_completed").is_some_and(|columns| columns.contains(&"total".to_owned())));

    customer.pretend.forget_requests();
    assert_landed(&customer.land("2.json", &same("b")));
    let report = customer.evolve();
    well(&report);
    assert!(report.tables.is_empty(), "{report:#?}");
    assert!(customer.pretend.requests().is_empty(), "{:#?}", customer.pretend.requests());

    customer.stop_warehouse();
    assert_landed(&customer.land("3.json", &with_column("c", "coupon")));
    assert!(customer.pretend.requests().is_empty());
    assert!(!customer.shown("events.order_completed").unwrap().contains(&"coupon".to_owned()), "the catalog lags");
    let report = customer.evolve();
    well(&report);
    assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Synced));
    assert!(customer.shown("events.order_completed").unwrap().contains(&"coupon".to_owned()));
    let seen = customer.pretend.table("segment.events.order_completed").unwrap();
    assert!(seen.column_comments["coupon"].starts_with("first seen in "), "{seen:#?}");
    assert!(customer.shown("events.order_completed__unique").unwrap().contains(&"coupon".to_owned()));
    assert_eq!(customer.pretend.wakes().len(), 2);
    assert_eq!(ids(&customer), ["a", "b", "c"]);
}

#[test]
fn fifty_uploads_with_drift_are_one_wake_also_when_more_arrive_meanwhile() {
    let customer = Customer::with(|setup| setup.knobs(|knobs| knobs.start_ms = 1_500));
    for n in 0..50 {
        assert_landed(&customer.land(&format!("{n}.json"), &with_column(&format!("a{n:02}"), &format!("column_{n}"))));
    }
    let report = std::thread::scope(|scope| {
        let evolving = scope.spawn(|| customer.evolve());
        while customer.pretend.wakes().is_empty() {
            clock::sleep(Duration::from_millis(10), clock::Deadline::after(Duration::from_secs(1)));
        }
        for n in 50..75 {
            let name = format!("{n}.json");
            assert_landed(&customer.land(&name, &with_column(&format!("a{n:02}"), &format!("column_{n}"))));
        }
        evolving.join().unwrap()
    });
    well(&report);
    well(&customer.evolve());
    assert_eq!(customer.pretend.wakes().len(), 1);
    let shown = customer.shown("events.order_completed").unwrap();
    assert!((0..75).all(|n| shown.contains(&format!("column_{n}"))), "{shown:?}");
    assert_eq!(ids(&customer).len(), 75);
}

#[test]
fn two_at_once_wake_once() {
    let customer = Customer::with(|setup| setup.knobs(|knobs| knobs.start_ms = 1_000));
    assert_landed(&customer.land("1.json", &first()));
    let reports: Vec<_> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| customer.evolve())).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    reports.iter().for_each(well);
    assert_eq!(customer.pretend.wakes().len(), 1);
    assert_eq!(reports.iter().filter(|report| report.warehouse.is_some()).count(), 1, "the other finds nothing to do");
    let by_trigger = Ask::default();
    assert!(customer.evolve_as(by_trigger).tables.is_empty());
}

#[test]
fn a_damaged_note_is_named_and_stops_nothing() {
    let customer = Customer::new();
    assert_landed(&customer.land("1.json", &first()));
    let notes = customer.room.lake().join("_inlet/catalog/behind/events");
    let note = std::fs::read_dir(&notes).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&note, "{\"schema\": \"eve").unwrap();
    let report = customer.evolve();
    well(&report);
    assert_eq!(report.notes.damaged.len(), 1, "{report:#?}");
    assert!(report.notes.damaged[0].contains(note.file_name().unwrap().to_str().unwrap()), "{report:#?}");
    assert_eq!(
        status(&report, "events.order_completed"),
        Some(TableStatus::Registered),
        "its schema is looked at whole"
    );
    assert!(customer.evolve().notes.damaged.is_empty(), "and it is gone");
}

#[test]
fn nothing_is_done_by_a_plan_and_it_says_what_would_be() {
    let customer = Customer::new();
    assert_landed(&customer.land("1.json", &first()));
    let plan = customer.evolve_as(Ask { plan: true, ..Ask::default() });
    well(&plan);
    assert_eq!(status(&plan, "events.order_completed"), Some(TableStatus::ToRegister));
    assert!(customer.pretend.wakes().is_empty() && customer.pretend.schemas().is_empty());
    assert!(customer.pretend.requests().iter().all(|seen| !seen.path.contains("/sql/")));
    let done = customer.evolve();
    assert_eq!(plan.statements, done.statements, "it does what the plan said");
}

/// Takes one right away: exactly the step that needs it fails, its fault says so with the line to run, and once it is
/// granted again everything is right.
#[test]
fn each_missing_right_fails_its_own_step() {
    let rights = [
        ("ALL PRIVILEGES", "catalog", CATALOG, "USE CATALOG"),
        ("CREATE EXTERNAL TABLE", "storage_credential", CREDENTIAL, "CREATE EXTERNAL TABLE"),
    ];
    for (privilege, kind, on, named) in rights {
        let customer = Customer::with(|setup| setup.without_grant(privilege, kind, on));
        assert_landed(&customer.land("1.json", &first()));
        let report = customer.evolve();
        assert_eq!(report.gravest(), Some(FaultKind::Setup), "{privilege}: {report:#?}");
        let mut faults = report.tables.iter().filter_map(|table| table.fault.as_ref()).chain(&report.fault);
        let hinted = faults.any(|fault| fault.hint.as_deref().is_some_and(|hint| hint.contains(named)));
        assert!(hinted, "{privilege}: {report:#?}");
        customer.pretend.grant(privilege, kind, on).unwrap();
        well(&customer.evolve_as(Ask { by_hand: true, retry: true, ..Ask::default() }));
        assert!(customer.shown("events.order_completed").is_some());
    }
}

#[test]
fn the_rights_of_the_catalog_are_told_apart() {
    let setup = |privileges: &'static [&'static str]| {
        Customer::with(|setup| {
            let setup = setup.without_grant("ALL PRIVILEGES", "catalog", CATALOG);
            privileges.iter().fold(setup, |setup, privilege| setup.grant(privilege, "catalog", CATALOG))
        })
    };
    for (granted, named) in [
        (&["USE CATALOG", "USE SCHEMA"][..], "CREATE SCHEMA"),
        (&["USE SCHEMA", "CREATE SCHEMA", "CREATE TABLE"], "USE CATALOG"),
    ] {
        let customer = setup(granted);
        assert_landed(&customer.land("1.json", &first()));
        let report = customer.evolve();
        let mut faults = report.tables.iter().filter_map(|table| table.fault.as_ref()).chain(&report.fault);
        assert!(
            faults.any(|fault| fault.hint.as_deref().is_some_and(|hint| hint.contains(named))),
            "{named}: {report:#?}"
        );
        assert!(customer.pretend.wakes().is_empty(), "{named}: nothing is woken for what cannot be done");
    }
    let enough = setup(&["USE CATALOG", "USE SCHEMA", "CREATE SCHEMA", "CREATE TABLE", "SELECT", "MODIFY"]);
    assert_landed(&enough.land("1.json", &first()));
    well(&enough.evolve());
}

type Change = fn(pretend::Setup) -> pretend::Setup;

#[test]
fn who_cannot_sign_in_or_use_the_warehouse_is_told_the_step() {
    let cases: [(&str, Change, &str); 5] = [
        ("workspace", pretend::Setup::not_in_workspace, "workspace"),
        ("entitlement", |setup| setup.without_entitlement("databricks-sql-access"), "Databricks SQL access"),
        ("use", pretend::Setup::without_use_of_the_warehouse, "CAN_USE"),
        ("warehouse", pretend::Setup::without_warehouse, "http_path"),
        ("metastore", pretend::Setup::without_unity_catalog, "Unity Catalog"),
    ];
    for (what, change, hint) in cases {
        let customer = Customer::with(change);
        assert_landed(&customer.land("1.json", &first()));
        let report = customer.evolve();
        let mut faults = report.tables.iter().filter_map(|table| table.fault.as_ref()).chain(&report.fault);
        assert!(
            faults.any(|fault| fault.kind == FaultKind::Setup
                && fault.hint.as_deref().is_some_and(|said| said.to_lowercase().contains(&hint.to_lowercase()))),
            "{what}: {report:#?}"
        );
    }
}

#[test]
fn a_table_that_is_refused_for_ever_is_parked_and_wakes_nothing_more() {
    let customer = Customer::new();
    let denied = "PERMISSION_DENIED: User does not have CREATE TABLE on Schema 'segment.events'.";
    customer.pretend.statement_fault(StatementFault::new("order_completed", denied).times(1_000));
    assert_landed(&customer.land("1.json", &first()));
    for attempt in 1..=6 {
        customer.stop_warehouse();
        let report = customer.evolve();
        let expected = if attempt <= 3 { TableStatus::Failed } else { TableStatus::Parked };
        assert_eq!(status(&report, "events.order_completed"), Some(expected), "{attempt}: {report:#?}");
        assert_eq!(report.gravest(), Some(FaultKind::Setup));
        let registered = customer.shown("events.tracks").is_some();
        assert!(registered, "the others are not held up");
    }
    assert_eq!(customer.pretend.wakes().len(), 3);
    customer.pretend.clear_faults();
    let report = customer.evolve_as(Ask { by_hand: true, retry: true, ..Ask::default() });
    well(&report);
    assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Registered));
}

#[test]
fn a_lost_answer_to_any_statement_does_no_harm() {
    let customer = Customer::new();
    assert_landed(&customer.land("1.json", &first()));
    let statements = customer.evolve_as(Ask { plan: true, ..Ask::default() }).statements.len() as u64;
    for nth in 1..=statements {
        let customer = Customer::new();
        assert_landed(&customer.land("1.json", &first()));
        let lost = Fault::on("POST", "/api/2.0/sql/statements*", Wrong::Lost).nth(nth);
        customer.pretend.fault(lost);
        well(&customer.evolve());
        assert!(customer.shown("events.order_completed").is_some());
    }
}

#[test]
fn a_warehouse_that_fails_hangs_or_is_deleted_is_said_and_costs_no_rows() {
    let failing = Fate::Fails { code: "CLOUD_PROVIDER_RESOURCE_STOCKOUT".into(), summary: "no machines".into() };
    for (fate, kind, said) in [
        (failing, FaultKind::Setup, "no machines"),
        (Fate::IsDeleted, FaultKind::Setup, WAREHOUSE),
        (Fate::Hangs, FaultKind::Again, "starting"),
    ] {
        let customer = Customer::with(|setup| setup.knobs(|knobs| knobs.fate = fate.clone()));
        assert_landed(&customer.land("1.json", &first()));
        let parts = customer.parts();
        let deadline = clock::Deadline::after(Duration::from_secs(14));
        let ask = Ask { by_hand: true, ..Ask::default() };
        let report = inlet_core::evolve::evolve(&parts, ask, deadline, &|_| {});
        let fault = report.fault.as_ref().expect("it cannot go well");
        assert!(fault.message.contains(said), "{fate:?}: {report:#?}");
        assert_eq!(fault.kind, kind, "{fate:?}: {report:#?}");
        assert_eq!(ids(&customer), ["a"]);
        customer.pretend.knobs(|knobs| knobs.fate = Fate::Runs);
        if fate != Fate::IsDeleted {
            customer.stop_warehouse();
            well(&customer.evolve());
        }
    }
}

#[test]
fn a_kill_between_any_two_requests_is_mended_by_the_next_run() {
    // The requests of one whole run are counted; then each in turn is the last one that is answered.
    let customer = Customer::new();
    assert_landed(&customer.land("1.json", &first()));
    customer.pretend.forget_requests();
    well(&customer.evolve());
    let requests = customer.pretend.requests().len() as u64;
    assert!(requests > 8, "{requests}");
    for last in (1..requests).step_by(2) {
        let customer = Customer::new();
        assert_landed(&customer.land("1.json", &first()));
        customer.pretend.fault(Fault::on("*", "*", Wrong::Delay(60_000)).nth(last + 1).times(1));
        let mut evolve = inlet();
        evolve.arg("evolve").arg("--settings").arg(customer.file());
        let mut child = evolve.spawn().expect("the executable starts");
        while (customer.pretend.requests().len() as u64) < last + 1 {
            assert!(child.try_wait().expect("it can be asked").is_none(), "it ended before request {}", last + 1);
            clock::sleep(Duration::from_millis(5), clock::Deadline::after(Duration::from_secs(1)));
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        customer.pretend.clear_faults();
        release_lease(&customer);
        let report = customer.evolve();
        well(&report);
        let shown = customer.shown("events.order_completed").expect("it is registered");
        assert!(shown.contains(&"total".to_owned()));
        assert!(customer.shown("events.order_completed__unique").is_some(), "after request {last}: {report:#?}");
    }
}

/// A killed run's lease expires after a minute; the test does not wait for it.
fn release_lease(customer: &Customer) {
    drop(std::fs::remove_dir_all(customer.room.lake().join("_inlet/leases")));
}

#[test]
fn what_others_did_to_a_table_is_told_or_mended() {
    let customer = Customer::new();
    assert_landed(&customer.land("1.json", &first()));
    well(&customer.evolve());
    // Dropped in the catalog: the log stands, and is registered again.
    let parts = customer.parts();
    let deadline = clock::Deadline::after(Duration::from_secs(10));
    let drop_table = parts.workspace.delete_table(CATALOG, "events", "order_completed", deadline);
    parts.lake.handle().block_on(drop_table).unwrap();
    assert!(customer.shown("events.order_completed").is_none());
    let report = customer.evolve_as(Ask { by_hand: true, all: true, ..Ask::default() });
    well(&report);
    assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Registered));
    assert_eq!(status(&report, "events.tracks"), Some(TableStatus::UpToDate));
}

#[test]
fn a_lake_in_managed_storage_is_refused_before_anything_is_made() {
    let refused = Customer::with(|setup| {
        let own = setup.locations[0].url.clone();
        setup.managed_storage(&own)
    });
    assert_landed(&refused.land("1.json", &first()));
    let report = refused.evolve();
    let fault = report.fault.as_ref().expect("it is refused");
    assert!(fault.message.contains("managed storage"), "{fault:?}");
    assert!(refused.pretend.schemas().is_empty() && refused.pretend.wakes().is_empty());
}

#[test]
fn a_lake_in_the_managed_storage_of_a_schema_is_refused() {
    let customer = Customer::new();
    assert_landed(&customer.land("1.json", &first()));
    let root = crate::workspace::place(&customer.room);
    let schema = json!({"name": "events", "full_name": "segment.events", "storage_root": root,
                        "storage_location": format!("{root}/__unitystorage/schemas/1")});
    customer.pretend.fault(Fault::answer("GET", "/api/2.1/unity-catalog/schemas/segment.events", 200, schema));
    let report = customer.evolve();
    assert_eq!(report.gravest(), Some(FaultKind::Setup));
    let faults = report.tables.iter().filter_map(|table| table.fault.as_ref());
    assert!(faults.into_iter().all(|fault| fault.message.contains("managed storage of schema `segment.events`")));
    assert!(customer.pretend.wakes().is_empty() && customer.pretend.tables().is_empty());
}

#[test]
fn secrets_stand_in_nothing_that_is_said_or_written() {
    let customer = Customer::new();
    assert_landed(&customer.land("1.json", &first()));
    let echo = json!({"error_code": "BAD_REQUEST", "message": format!("Bearer {}", pretend::CLIENT_SECRET)});
    customer.pretend.fault(Fault::answer("GET", "/api/2.1/unity-catalog/catalogs/*", 400, echo));
    let mut evolve = inlet();
    let said = run(evolve.arg("evolve").arg("--settings").arg(customer.file()).arg("--json"));
    assert_ne!(said.code, Some(0));
    for text in [&said.out, &said.err, &format!("{:?}", customer.settings)] {
        assert!(!text.contains(pretend::CLIENT_SECRET), "{text}");
    }
    for (file, _) in crate::support::listing(&customer.room.lake()) {
        let bytes = std::fs::read(customer.room.lake().join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(pretend::CLIENT_SECRET));
    }
}

#[test]
fn the_terminal_lands_evolves_lists_and_removes() {
    let customer = Customer::new();
    let upload = customer.room.file("in/1.json", &first());
    let settings = customer.file();
    let command = |line: &[&str]| {
        let mut command = inlet();
        command.args(line).arg("--settings").arg(&settings);
        command
    };
    run(command(&["ingest"]).arg(&upload)).success();
    let waiting =
        || run(&mut command(&["status", "--json"])).success().json()["schemas"][0]["waiting"]["catalog"].clone();
    let tables: Vec<_> = waiting().as_array().unwrap().iter().map(|table| table["table"].clone()).collect();
    assert_eq!(tables, ["_loads", "order_completed", "tracks"]);
    let plan = run(&mut command(&["evolve", "--sql"])).success();
    assert!(plan.out.contains("CREATE TABLE IF NOT EXISTS `segment`.`events`.`order_completed` USING DELTA LOCATION"));
    let evolved = run(&mut command(&["evolve"])).success();
    assert!(evolved.out.contains("events.order_completed  registered"), "{evolved:#?}");
    assert!(run(&mut command(&["evolve"])).success().out.starts_with("nothing to do"));
    assert_eq!(waiting(), json!([]));
    let listed = run(&mut command(&["teardown", "--json"])).success().json();
    assert_eq!(listed["plan"], true);
    let goes = listed["objects"].as_array().unwrap().iter().filter(|object| object["status"] == "to_remove").count();
    assert_eq!(goes, customer.pretend.tables().len() + 1, "views, tables and the schema: {listed:#}");
    run(&mut command(&["teardown", "--yes"])).success();
    assert!(customer.pretend.tables().is_empty() && customer.pretend.schemas().is_empty());
    assert_eq!(ids(&customer), ["a"], "the files stay");
    run(&mut command(&["teardown", "--yes", "--data"])).success();
    assert!(crate::support::listing(&customer.room.lake()).is_empty());
}

#[test]
fn values_of_another_type_are_joined_in_the_view() {
    let customer = Customer::told(|setup| setup, "on_type_change = \"column\"");
    assert_landed(&customer.land("1.json", &first()));
    assert_landed(&customer.land("2.json", &lines(&[track("b", "Order Completed", r#"{"total":"many"}"#)])));
    well(&customer.evolve());
    let shown = customer.shown("events.order_completed__unique").unwrap();
    assert!(["total", "total__string", "total__any"].iter().all(|&name| shown.contains(&name.to_owned())), "{shown:?}");
}

/// The seed's own wording, on a store where both sides put-if-absent: the warehouse changes the table, then the rows come.
#[test]
fn a_warehouse_that_changes_tables_holds_drift_and_lands_the_rest() {
    let customer = Customer::told(|setup| setup, "schema_changes = \"warehouse\"");
    let report = customer.land("1.json", &first());
    assert_eq!(report.totals.counts.held, 1, "{report:#?}");
    assert!(customer.pretend.requests().is_empty());
    std::fs::remove_file(customer.room.path("1.json")).unwrap();
    well(&customer.evolve());
    assert_eq!(ids(&customer), ["a"], "the upload is gone, and nothing of it is lost");
    let created = customer.pretend.statements().iter().filter(|said| said.text.starts_with("CREATE TABLE")).count();
    assert!(created >= 2, "tracks and the event's table: {created}");

    customer.pretend.forget_requests();
    assert_landed(&customer.land("2.json", &same("b")));
    assert!(customer.pretend.requests().is_empty());
    customer.stop_warehouse();
    let both = lines(&[track("c", "Order Completed", r#"{"total":3,"coupon":"x"}"#), track("d", "Signed Up", "{}")]);
    let report = customer.land("3.json", &both);
    assert_eq!(report.uploads[0].status, Status::PartlyHeld, "{report:#?}");
    let table = |name: &str| report.uploads[0].tables.iter().find(|table| table.table == name).unwrap().status;
    assert_eq!(table("events.order_completed"), Status::Held);
    assert_eq!(table("events.tracks"), Status::Landed);
    well(&customer.evolve());
    assert_eq!(ids(&customer), ["a", "b", "c"]);
    let alters = customer.pretend.statements().iter().filter(|said| said.text.starts_with("ALTER TABLE")).count();
    assert_eq!(alters, 1, "{:#?}", customer.pretend.statements());
    assert_eq!(customer.pretend.wakes().len(), 2);
    assert!(customer.shown("events.order_completed").unwrap().contains(&"coupon".to_owned()));
    assert!(customer.evolve().tables.is_empty());
    assert_landed_again(&customer, "3.json", &both);
}

/// The same bytes once more bring nothing.
fn assert_landed_again(customer: &Customer, name: &str, bytes: &[u8]) {
    let again = customer.land(name, bytes);
    assert_eq!(again.uploads[0].status, Status::AlreadyLanded, "{again:#?}");
    let mut verify = inlet();
    let said = run(verify.args(["verify", "--settings"]).arg(customer.file()));
    assert_eq!(said.code, Some(0), "{said:#?}");
}
