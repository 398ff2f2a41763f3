//! A table that takes no rows from Inlet gets them from the warehouse, each once, whatever is lost, killed or changed on
//! the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::delta::Lake;
use inlet_core::evolve::{Ask, EvolveReport, Parts, TableStatus, evolve};
use inlet_core::fault::FaultKind;
use inlet_core::report::{Report, Status};
use inlet_core::settings::WarehouseChoice;
use object_store::local::LocalFileSystem;
use pretend::{CREDENTIAL, Fault, LOCATION, StatementFault, Wrong};

use crate::databricks_made::{commit, log, stand};
use crate::events::{lines, track};
use crate::faulty::{self, COMMIT, DATA, Faulty, STATE, STATE_REMOVAL, When, Which};
use crate::lake::{self, Table};
use crate::process::{inlet, run};
use crate::refused::drop_checks;
use crate::support::{SCHEMA, listing, runtime, upload};
use crate::verify::assert_proves_uploads;
use crate::workspace::{Customer, status};

const ORDERS: &str = "events.order_completed";
const COPY: &str = "COPY INTO `segment`.`events`.`order_completed`";
const BY_HAND: Ask = Ask { plan: false, all: false, retry: false, by_hand: true };
/// An evolve whose store is dead tries again until then; until it dies, it has work to do.
const PATIENCE_OF_THE_DEAD: Duration = Duration::from_secs(12);

/// A customer with a made table in the lake, which the catalog knows.
struct Shop {
    customer: Customer,
    table: PathBuf,
}

impl Shop {
    fn new() -> Self {
        Self::with("legacy_1_3", "")
    }

    fn with(made: &str, more: &str) -> Self {
        let customer = Customer::told(|setup| setup, more);
        let table = stand(made, &customer.room.lake());
        well(&customer.evolve_as(Ask { all: true, ..BY_HAND }));
        Self { customer, table }
    }

    /// Lands orders as one upload.
    fn order(&self, name: &str, orders: &[(&str, &str)]) -> Report {
        let order = |(id, more): &(&str, &str)| {
            track(id, "Order Completed", &format!(r#"{{"order_id":"o-{id}","total":1.5{more}}}"#))
        };
        self.customer.land(&format!("in/{name}.ndjson"), &lines(&orders.iter().map(order).collect::<Vec<_>>()))
    }

    fn evolve(&self) -> EvolveReport {
        self.customer.evolve()
    }

    /// An evolve of settings that name no warehouse.
    fn evolve_without_warehouse(&self) -> EvolveReport {
        let parts = Parts { warehouse: WarehouseChoice::None, ..self.customer.parts() };
        evolve(&parts, BY_HAND, Deadline::after(Duration::from_secs(30)), &|_| {})
    }

    /// The COPY INTO statements since the beginning.
    fn copies(&self) -> Vec<String> {
        let said = self.customer.pretend.statements().into_iter().map(|said| said.text);
        said.filter(|text| text.starts_with("COPY INTO")).collect()
    }

    /// The notes of rows that are held for the table.
    fn notes(&self) -> Vec<PathBuf> {
        self.state("held")
    }

    /// Files of the table's below a folder of the state folder.
    fn state(&self, folder: &str) -> Vec<PathBuf> {
        let folder = self.customer.room.lake().join("_inlet").join(folder).join("events/order_completed");
        listing(&folder).into_iter().map(|(name, _)| folder.join(name)).collect()
    }

    /// The table, with each of these ids once; all uploads are proved, and nothing is left of them.
    fn assert_whole(&self, ids: &[&str], when: &str) -> Table {
        let lake = self.customer.room.lake();
        let table = lake::read(&lake, SCHEMA, "order_completed");
        let mut there = table.texts("id");
        there.sort_unstable();
        assert_eq!(there, ids, "{when}");
        let files = listing(&self.customer.room.path("in")).into_iter();
        let files = files.map(|(name, _)| upload(&self.customer.room.path("in").join(name)));
        assert_proves_uploads(&lake, &files.collect::<Vec<_>>());
        assert_eq!((self.notes().len(), self.state("held-rows").len()), (0, 0), "{when}");
        table
    }

    /// Evolves until the first such request to the lake's store, which like all later ones never arrives.
    fn killed_at(&self, which: Which) -> Vec<String> {
        let faulty = Faulty::over(std::sync::Arc::new(LocalFileSystem::new()));
        faulty.play(faulty::Fault::Kill, When::Nth(0), which);
        let parts = self.customer.parts();
        let url = parts.lake.url().clone();
        let lake = Lake::with_store(&url, faulty.store(), runtime().handle().clone()).expect("the lake opens");
        evolve(&Parts { lake, ..parts }, BY_HAND, Deadline::after(PATIENCE_OF_THE_DEAD), &|_| {});
        // A killed run's lease expires after a minute; the test does not wait for it.
        drop(fs::remove_dir_all(self.customer.room.lake().join("_inlet/leases")));
        faulty.struck()
    }
}

fn well(report: &EvolveReport) {
    assert_eq!(report.gravest(), None, "{report:#?}");
}

/// The rows of `_loads` for the table: their statuses, rows and held rows.
fn told(lake: &Path) -> Vec<(String, i64, i64)> {
    let loads = lake::read(lake, SCHEMA, "_loads");
    let of_table =
        loads.rows.iter().filter(|row| row.get("table_name").is_some_and(|name| name.text() == "order_completed"));
    let mut told: Vec<_> =
        of_table.map(|row| (row["status"].text().to_owned(), row["rows"].number(), row["held"].number())).collect();
    told.sort();
    told
}

#[test]
fn the_warehouse_loads_what_a_table_refuses_once_and_every_report_says_so() {
    for (made, more) in [("legacy_1_3", ""), ("checks_listed", "schema_changes = \"warehouse\"")] {
        let shop = Shop::with(made, more);
        let why = "checkConstraints";
        for (name, more) in [("a", ""), ("b", r#","coupon":"c""#)] {
            let report = shop.order(name, &[(name, more)]);
            let part = report.uploads[0].tables.iter().find(|part| part.table == ORDERS).expect("it has a part");
            assert_eq!((part.status, part.waits_for), (Status::Held, Some("load")), "{report:#?}");
            assert!(part.because.as_ref().is_some_and(|because| because.message.contains(why)), "{part:#?}");
        }
        assert_eq!(told(&shop.customer.room.lake()), [("held".into(), 0, 1), ("held".into(), 0, 1)]);
        assert!(shop.copies().is_empty(), "ingest asks for no warehouse");

        let report = shop.evolve();
        well(&report);
        let one = report.tables.iter().find(|one| one.table == ORDERS).expect("it was evolved");
        assert_eq!((one.status, one.held.map(|held| held.rows)), (TableStatus::Altered, Some(2)), "{one:#?}");
        assert!(one.loaded_because.as_ref().is_some_and(|because| because.message.contains(why)), "{one:#?}");
        let said = shop.copies();
        assert!(said.len() == 1 && said[0].matches(".parquet'").count() == 2, "one statement: {said:#?}");
        assert!(said[0].contains("current_timestamp() AS `uuid_ts`"), "{said:#?}");
        assert!(report.statements.contains(&said[0]), "{report:#?}");

        let table = shop.assert_whole(&["a", "b"], made);
        assert_eq!((table.row("b")["coupon"].text(), table.row("a")["order_id"].text()), ("c", "o-a"));
        assert!(table.rows.iter().all(|row| row.contains_key("uuid_ts")), "{table:#?}");
        assert!(shop.customer.shown(ORDERS).is_some_and(|columns| columns.contains(&"coupon".to_owned())));
        let loaded = ("loaded".to_owned(), 1, -1);
        let held = ("held".to_owned(), 0, 1);
        assert_eq!(told(&shop.customer.room.lake()), [held.clone(), held, loaded.clone(), loaded]);
        assert!(shop.evolve().tables.is_empty(), "nothing is left to do");
        let again = shop.order("a", &[("a", "")]);
        assert_eq!(again.uploads[0].status, Status::AlreadyLanded);
    }
}

#[test]
fn the_terminal_says_what_the_warehouse_loads_and_why() {
    let shop = Shop::new();
    let command = |words: &[&str]| {
        let mut command = inlet();
        command.args(words).arg("--settings").arg(shop.customer.file());
        command
    };
    let file = shop.customer.room.file("in/a.ndjson", &lines(&[track("a", "Order Completed", r#"{"order_id":"o"}"#)]));
    let said = run(command(&["ingest"]).arg(file)).success().out;
    let why = "its old protocol implies checkConstraints";
    assert!(said.contains(why) && said.contains("inlet evolve has the warehouse load its rows"), "{said}");
    let said = run(&mut command(&["status"])).success().out;
    let line = "1 row of `order_completed` wait for the warehouse to load them: run inlet evolve; ";
    assert!(said.contains(line) && said.contains(why), "{said}");
    let planned = run(&mut command(&["evolve", "--plan"])).success().out;
    assert!(planned.contains(COPY), "{planned}");
    assert!(shop.copies().is_empty(), "a plan runs nothing");
    let said = run(&mut command(&["evolve"])).success().out;
    assert!(said.contains(&format!("{ORDERS}: the warehouse loads its rows: ")) && said.contains(why), "{said}");
    let said = run(&mut command(&["status"])).success().out;
    assert!(!said.contains("wait for"), "{said}");
    let said = run(&mut command(&["verify"])).success().out;
    assert!(said.contains("proved"), "{said}");
}

#[test]
fn a_column_that_came_to_be_of_another_type_takes_what_it_can_and_the_rest_is_rescued() {
    let shop = Shop::new();
    shop.order("a", &[("a", r#","size":7"#)]);
    shop.order("b", &[("b", r#","size":8,"weight":"heavy""#)]);
    let parts = shop.customer.parts();
    let alter = "ALTER TABLE segment.events.order_completed ADD COLUMNS (size STRING, weight BIGINT)";
    let WarehouseChoice::Id(warehouse) = &parts.warehouse else { panic!("the settings name a warehouse") };
    let soon = Deadline::after(Duration::from_secs(30));
    runtime().block_on(parts.workspace.run(warehouse, alter, soon)).expect("it is altered");
    well(&shop.evolve());
    let table = shop.assert_whole(&["a", "b"], "altered by somebody else");
    assert_eq!((table.row("a")["size"].text(), table.row("b")["size"].text()), ("7", "8"));
    assert_eq!(table.row("b")["_rescued_data"].text(), r#"{"weight":"heavy"}"#);
    assert!(shop.copies().iter().any(|copy| copy.contains("CAST(`size` AS STRING)")), "{:#?}", shop.copies());
}

#[test]
fn a_later_form_of_a_key_lands_what_the_earlier_did_not() {
    let shop = Shop::new();
    shop.order("x", &[("1", ""), ("2", "")]);
    shop.order("x", &[("1", ""), ("2", ""), ("3", "")]);
    let report = shop.evolve();
    well(&report);
    let held = report.tables.iter().find(|one| one.table == ORDERS).and_then(|one| one.held).expect("rows were held");
    assert_eq!((held.rows, held.duplicates), (3, 2), "{report:#?}");
    shop.assert_whole(&["1", "2", "3"], "both forms were held");
    shop.order("x", &[("1", ""), ("3", ""), ("4", "")]);
    well(&shop.evolve());
    shop.assert_whole(&["1", "2", "3", "4"], "the earlier forms stood there");
}

#[test]
fn a_kill_at_any_step_loses_and_doubles_nothing() {
    let shop = Shop::new();
    // The note that says what is to be copied; the rows of `_loads`; the note goes; its files go.
    let steps = [
        (STATE.of("held"), "a", 0),
        (DATA.of("_loads"), "b", 1),
        (COMMIT.of("_loads"), "c", 1),
        (STATE_REMOVAL.of("held"), "d", 1),
        (STATE_REMOVAL.of("held-rows"), "e", 1),
    ];
    let mut ids = Vec::new();
    for (which, id, copied) in steps {
        shop.order(id, &[(id, "")]);
        let struck = shop.killed_at(which);
        assert_eq!(struck.len(), 1, "{which:?}");
        let rows = lake::read(&shop.customer.room.lake(), SCHEMA, "order_completed").rows.len();
        assert_eq!(rows, ids.len() + copied, "{struck:?}");
        well(&shop.evolve());
        // Nobody names it any more.
        shop.state("held-rows").iter().for_each(|orphan| fs::remove_file(orphan).expect("it can be removed"));
        ids.push(id);
        shop.assert_whole(&ids, &format!("{struck:?}"));
        assert_eq!(shop.copies().len(), ids.len(), "what stands there is not copied again: {struck:?}");
    }
}

#[test]
fn whatever_request_to_the_workspace_is_refused_or_lost_each_row_stands_once() {
    let shop = Shop::new();
    let cycle = |name: &str| {
        shop.order(name, &[(name, "")]);
        let retry = Ask { retry: true, ..BY_HAND };
        let is_done = |_: &usize| shop.customer.evolve_as(retry).gravest().is_none();
        assert!((0..5).any(|attempt| is_done(&attempt)), "{name} is not loaded");
        name.to_owned()
    };
    let mut ids = vec![cycle("first")];
    shop.customer.pretend.forget_requests();
    ids.push(cycle("second"));
    let requests = shop.customer.pretend.requests().len() as u64;
    for nth in (1..=requests).step_by(2) {
        let body = serde_json::json!({"error_code": "BAD_REQUEST"});
        let refused = Wrong::Answer { status: 400, body, headers: vec![] };
        let wrong = if nth % 4 == 1 { Wrong::Lost } else { refused };
        shop.customer.pretend.fault(Fault::on("*", "*", wrong).nth(nth));
        ids.push(cycle(&format!("n{nth:03}")));
        shop.customer.pretend.clear_faults();
    }
    // Each statement that copies, both ways.
    for after_the_effect in [false, true] {
        let failed = StatementFault { after_the_effect, ..StatementFault::new(COPY, "[INTERNAL_ERROR] no answer") };
        shop.customer.pretend.statement_fault(failed);
        ids.push(cycle(&format!("statement{after_the_effect}")));
    }
    ids.sort();
    shop.assert_whole(&ids.iter().map(String::as_str).collect::<Vec<_>>(), "after all faults");
}

/// The copy takes effect, and its answer says that it failed.
fn lose_the_answer(shop: &Shop) {
    let lost = StatementFault { after_the_effect: true, ..StatementFault::new(COPY, "[INTERNAL_ERROR] no answer") };
    shop.customer.pretend.statement_fault(lost);
    assert!(shop.evolve().gravest().is_some());
    assert_eq!((shop.copies().len(), shop.notes().len()), (1, 1));
}

#[test]
fn rows_that_stand_in_the_table_wake_no_warehouse() {
    let shop = Shop::new();
    shop.order("a", &[("a", "")]);
    lose_the_answer(&shop);
    shop.customer.stop_warehouse();
    let wakes = shop.customer.pretend.wakes().len();
    well(&shop.evolve());
    shop.assert_whole(&["a"], "after an answer was lost");
    assert_eq!((shop.copies().len(), shop.customer.pretend.wakes().len()), (1, wakes));
}

#[test]
fn a_table_that_takes_rows_again_gets_none_by_both_ways() {
    // The copy was made, and nobody heard of it.
    let shop = Shop::new();
    shop.order("a", &[("a", "")]);
    lose_the_answer(&shop);
    drop_checks(&shop.table);
    shop.order("b", &[("b", "")]);
    well(&shop.evolve());
    shop.assert_whole(&["a", "b"], "a was copied, b was not held");
    assert_eq!(shop.copies().len(), 1);

    // It was begun and may still run: it is said again, and nobody commits the rows.
    let shop = Shop::new();
    shop.order("a", &[("a", "")]);
    shop.customer.pretend.statement_fault(StatementFault::new(COPY, "[INTERNAL_ERROR] no answer"));
    assert!(shop.evolve().gravest().is_some());
    drop_checks(&shop.table);
    let report = shop.evolve_without_warehouse();
    assert_eq!(report.gravest(), Some(FaultKind::Again), "{report:#?}");
    assert!(lake::read(&shop.customer.room.lake(), SCHEMA, "order_completed").rows.is_empty());
    well(&shop.evolve());
    shop.assert_whole(&["a"], "begun before");
    assert_eq!(shop.copies().len(), 2);

    // Nothing of it was ever copied: then it is committed.
    let shop = Shop::new();
    shop.order("a", &[("a", "")]);
    drop_checks(&shop.table);
    well(&shop.evolve());
    shop.assert_whole(&["a"], "never begun");
    assert!(shop.copies().is_empty());
}

/// Somebody changes the type of a BIGINT column in a table's log.
fn retype(table: &Path, column: &str, to: &str) {
    let mut actions = log(table).into_iter().flatten();
    let metadata = actions.rfind(|action| action.get("metaData").is_some()).expect("a log has metadata");
    let metadata = metadata.to_string();
    let field = |kind: &str| format!(r#"\"name\":\"{column}\",\"nullable\":true,\"type\":\"{kind}\""#);
    assert!(metadata.contains(&field("long")), "{metadata}");
    commit(table, &(metadata.replace(&field("long"), &field(to)) + "\n"));
}

#[test]
fn a_column_that_changed_in_the_middle_of_a_copy_is_named_and_nothing_is_copied_twice() {
    let shop = Shop::new();
    shop.order("a", &[("1", r#","size":7"#), ("2", "")]);
    lose_the_answer(&shop);
    // As if there were a second file, which was not copied.
    let note = &shop.notes()[0];
    let text = fs::read_to_string(note).expect("the note is there");
    fs::write(note, text.replace(r#""rows":2"#, r#""rows":3"#)).expect("it can be written");
    retype(&shop.table, "size", "boolean");
    let report = shop.customer.evolve_as(Ask { retry: true, ..BY_HAND });
    let one = report.tables.iter().find(|one| one.table == ORDERS).expect("it was tried");
    let fault = one.fault.as_ref().expect("its rows do not fit");
    assert_eq!(fault.kind, FaultKind::Setup, "{fault:#?}");
    assert!(fault.message.contains("have changed while held rows were copied"), "{fault:#?}");
    assert_eq!((shop.copies().len(), shop.notes().len()), (1, 1));
}

#[test]
fn a_note_of_a_delivery_that_came_late_doubles_nothing() {
    for is_mended in [false, true] {
        let shop = Shop::new();
        shop.order("a", &[("a", "")]);
        let late: Vec<_> = shop.notes().into_iter().chain(shop.state("held-rows")).collect();
        let bytes: Vec<_> = late.iter().map(|file| fs::read(file).expect("it lies there")).collect();
        well(&shop.evolve());
        shop.assert_whole(&["a"], "first");
        late.iter().zip(bytes).for_each(|(file, bytes)| {
            fs::create_dir_all(file.parent().expect("it has a folder")).expect("the folder can be made");
            fs::write(file, bytes).expect("it can be written");
        });
        if is_mended {
            drop_checks(&shop.table);
        }
        shop.order("b", &[("b", "")]);
        well(&shop.evolve());
        shop.assert_whole(&["a", "b"], &format!("{is_mended}"));
        assert_eq!(shop.copies().len(), if is_mended { 1 } else { 2 });
    }
}

#[test]
fn of_two_evolves_at_once_one_copies() {
    let shop = Shop::new();
    shop.order("a", &[("a", "")]);
    let reports: Vec<EvolveReport> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| shop.evolve())).collect();
        both.into_iter().map(|one| one.join().expect("evolve does not panic")).collect()
    });
    reports.iter().for_each(well);
    shop.assert_whole(&["a"], "two at once");
    assert_eq!(shop.copies().len(), 1);
}

#[test]
fn an_evolve_killed_while_the_copy_runs_is_followed_by_one_that_doubles_nothing() {
    let shop = Shop::new();
    shop.order("a", &[("a", "")]);
    let begun = shop.customer.pretend.statements().len();
    shop.customer.pretend.knobs(|knobs| knobs.commit_ms = 1_000);
    let mut child =
        inlet().arg("evolve").arg("--settings").arg(shop.customer.file()).spawn().expect("the executable starts");
    while shop.customer.pretend.statements().len() == begun {
        assert!(child.try_wait().expect("it can be asked").is_none(), "it ended before it copied");
        clock::sleep(Duration::from_millis(5), Deadline::after(Duration::from_secs(1)));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    drop(fs::remove_dir_all(shop.customer.room.lake().join("_inlet/leases")));
    drop_checks(&shop.table);
    well(&shop.evolve());
    shop.assert_whole(&["a"], "killed");
}

#[test]
fn a_right_that_is_missing_is_named_and_the_table_is_left_alone_after_three_attempts() {
    let shop = Shop::new();
    shop.customer.pretend.revoke("READ FILES", "storage_credential", CREDENTIAL).expect("it was granted");
    shop.order("a", &[("a", "")]);
    for expected in [TableStatus::Failed, TableStatus::Failed, TableStatus::Failed, TableStatus::Parked] {
        let copies = shop.copies().len();
        let report = shop.evolve();
        assert_eq!(
            (status(&report, ORDERS), report.gravest()),
            (Some(expected), Some(FaultKind::Setup)),
            "{report:#?}"
        );
        let one = report.tables.iter().find(|one| one.table == ORDERS).expect("it was tried");
        let fault = one.fault.as_ref().expect("it says why");
        let is_tried = expected == TableStatus::Failed;
        assert!(fault.message.contains("READ FILES"), "{fault:#?}");
        assert_eq!(shop.copies().len() - copies, usize::from(is_tried));
        if is_tried {
            let way_out = format!("READ FILES ON EXTERNAL LOCATION `{LOCATION}`");
            assert!(fault.hint.as_ref().is_some_and(|hint| hint.contains(&way_out)), "{fault:#?}");
        }
    }
    assert_eq!(shop.notes().len(), 1);
    shop.customer.pretend.grant("READ FILES", "external_location", LOCATION).expect("it can be granted");
    well(&shop.customer.evolve_as(Ask { retry: true, ..BY_HAND }));
    shop.assert_whole(&["a"], "granted");
}

#[test]
fn rows_wait_for_the_warehouse_longer_than_the_hold_limit() {
    let shop = Shop::with("legacy_1_3", "window = \"1h\"");
    shop.order("a", &[("a", "")]);
    shop.customer.stop_warehouse();
    let parts = Parts { hold_limit: Duration::ZERO, ..shop.customer.parts() };
    let report = evolve(&parts, Ask::default(), Deadline::after(Duration::from_secs(30)), &|_| {});
    assert_eq!((status(&report, ORDERS), report.gravest()), (Some(TableStatus::Postponed), Some(FaultKind::Again)));
    assert_eq!(shop.notes().len(), 1);
    well(&shop.evolve());
    shop.assert_whole(&["a"], "the window opened");
}
