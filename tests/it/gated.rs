//! Databricks' own commits on S3 overwrite those of others: behind a table's gate nothing of ours comes between, and
//! what was overwritten all the same lands again, each row once.
//!
//! The bucket is a folder, so that the pretend workspace and Inlet see the same objects.

mod copied;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use inlet_core::clock::{self, Deadline};
use inlet_core::databricks::Workspace;
use inlet_core::delta::Lake;
use inlet_core::evolve::{Ask, EvolveReport, Parts, evolve};
use inlet_core::fault::FaultKind;
use inlet_core::mend::{MendReport, mend};
use inlet_core::report::{Report, Status};
use inlet_core::run_sql::{self, SqlReport, run_sql};
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;
use object_store::ObjectStore;
use pretend::{Bucket, CATALOG, CLIENT_ID, CLIENT_SECRET, Pretend, Setup, WAREHOUSE};
use serde_json::Value;

use crate::databricks_made::stand;
use crate::events::{lines, track};
use crate::faulty::{COMMIT, DATA, Fault, Faulty, STATE, When, Which};
use crate::lake;
use crate::refused::drop_checks;
use crate::support::{Room, SCHEMA, assert_landed, lake_over, land_over, runtime, the_only, upload_of};
use crate::verify::{assert_proves_uploads, proof_under};

const LAKE: &str = "s3://bucket/lake";
/// The patience of a run that is killed: nobody answers it any more.
const OF_THE_DEAD: Duration = Duration::from_secs(1);
const OPTIMIZE: &str = "OPTIMIZE events.kept";
const BY_HAND: Ask = Ask { plan: false, all: false, retry: false, by_hand: true };

/// A customer with a lake on S3.
struct Customer {
    room: Room,
    pretend: Pretend,
    settings: Settings,
}

impl Customer {
    fn new() -> Self {
        let room = Room::new();
        let buckets = room.path("buckets");
        std::fs::create_dir_all(buckets.join("bucket/lake")).expect("a bucket can be made");
        let setup = Setup::seeded(LAKE).store("buckets_in", &buckets.display().to_string());
        let setup = setup.knobs(|knobs| (knobs.start_ms, knobs.unconditional_put) = (1, Some(0)));
        let pretend = Pretend::start(setup).expect("a port is free");
        let text = format!(
            "workspace_url = \"{}\"\nallow_host = [\"127.0.0.1\"]\ncatalog = \"{CATALOG}\"\nlake = \"{LAKE}\"\n\
             http_path = \"/sql/1.0/warehouses/{WAREHOUSE}\"\n[auth]\nclient_id = \"{CLIENT_ID}\"\n\
             client_secret = \"env:SECRET\"\n",
            pretend.url()
        );
        let secret = |name: &str| (name == "SECRET").then(|| CLIENT_SECRET.to_owned());
        let settings = Settings::load(Some(("inlet.toml", &text)), secret).expect("the settings are right");
        let settings = Settings { workers: 2, patience: Duration::from_secs(60), ..settings };
        Self { room, pretend, settings }
    }

    /// A lake that knows its tables, and a catalog that shows them.
    fn with(uploads: &[Upload]) -> Self {
        let customer = Self::new();
        assert_landed(&customer.land(uploads));
        let report = customer.evolve();
        assert_eq!(report.gravest(), None, "{report:#?}");
        customer
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(Bucket::at(&self.room.path("buckets/bucket")).expect("the bucket is there"))
    }

    fn lake(&self) -> Lake {
        lake_over(self.store())
    }

    /// Where the lake is on this machine's disk.
    fn folder(&self) -> PathBuf {
        self.room.path("buckets/bucket/lake")
    }

    fn land(&self, uploads: &[Upload]) -> Report {
        land_over(self.store(), &self.settings, uploads.to_vec())
    }

    fn parts(&self, store: Arc<dyn ObjectStore>) -> Parts {
        let destination = self.settings.destination.clone().expect("a workspace is set");
        Parts {
            lake: lake_over(store),
            workspace: Workspace::new(destination.connection).expect("the address is good"),
            catalog: destination.catalog,
            warehouse: destination.warehouse,
            budget: self.settings.budget(),
            schema_changes: self.settings.evolution.schema_changes,
            hold_limit: self.settings.evolution.hold_limit,
            commits_within: Duration::ZERO,
        }
    }

    fn evolve(&self) -> EvolveReport {
        evolve(&self.parts(self.store()), BY_HAND, soon(), &|_| {})
    }

    /// The command, where nobody else has a commit on its way.
    fn run_sql(&self, store: Arc<dyn ObjectStore>, statement: &str) -> SqlReport {
        self.run_sql_for(store, statement, self.settings.patience)
    }

    fn run_sql_for(&self, store: Arc<dyn ObjectStore>, statement: &str, patience: Duration) -> SqlReport {
        let ask = run_sql::Ask::new(statement, patience);
        run_sql(&self.parts(store), ask, soon(), &|_| {})
    }

    /// What somebody runs in the SQL editor.
    fn by_editor(&self, statement: &str) {
        let workspace = self.parts(self.store()).workspace;
        let ran = runtime().block_on(workspace.run(WAREHOUSE, statement, soon()));
        ran.unwrap_or_else(|error| panic!("{statement}: {}", error.message()));
    }

    /// Databricks has read a table's log before our last commit to it, and puts its own in the same place.
    fn overwrite(&self, table: &str) {
        self.pretend.knobs(|knobs| knobs.unconditional_put = Some(1));
        self.by_editor(&format!("OPTIMIZE {CATALOG}.{SCHEMA}.{table}"));
        self.pretend.knobs(|knobs| knobs.unconditional_put = Some(0));
    }

    fn mend(&self) -> MendReport {
        mend(&self.lake(), &[SCHEMA.to_owned()], soon())
    }

    /// Each id stands once in a table.
    fn assert_each_once(&self, table: &str, wanted: &BTreeSet<String>, what: &str) {
        let table = lake::read(&self.folder(), SCHEMA, table);
        let mut ids: Vec<String> = table.texts("id").into_iter().map(str::to_owned).collect();
        ids.sort();
        assert_eq!(ids, wanted.iter().cloned().collect::<Vec<_>>(), "{what}");
    }

    /// An hour goes by for gates: nobody has renewed them, and whatever runs behind them is over.
    fn let_an_hour_pass(&self) {
        for path in self.gate_files() {
            let text = std::fs::read_to_string(&path).expect("a gate is text");
            let mut turn: Value = serde_json::from_str(&text).expect("a gate is JSON");
            if turn["errand"]["runs_until"].is_i64() {
                turn["errand"]["runs_until"] = 1.into();
            }
            std::fs::write(&path, turn.to_string()).expect("a gate can be written");
        }
        self.let_leases_expire();
    }

    /// Owners of gates are taken for dead; what they left running may still run.
    fn let_leases_expire(&self) {
        let hour_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        for path in self.gate_files() {
            let file = std::fs::File::options().write(true).open(&path).expect("the gate is there");
            file.set_modified(hour_ago).expect("a file's time can be set");
        }
    }

    fn gate_files(&self) -> Vec<PathBuf> {
        let folder = self.folder().join("_inlet/gates");
        crate::support::listing(&folder).into_iter().map(|(path, _)| folder.join(path)).collect()
    }

    /// Whether a statement that begins so was said to the workspace.
    fn was_said(&self, head: &str) -> bool {
        self.pretend.statements().iter().any(|said| said.text.starts_with(head))
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// An upload of two events of the table `kept`, with a column of its own, and a rejection.
fn upload(name: &str) -> Upload {
    let own = |n: usize| track(&format!("{name}{n}"), "Kept", &format!(r#"{{"a":{n},"own_{name}":true}}"#));
    upload_of(&format!("{name}.ndjson"), lines(&[own(0), own(1), "{}".to_owned()]))
}

fn uploads(names: &[&str]) -> Vec<Upload> {
    names.iter().map(|name| upload(name)).collect()
}

fn ids(names: &[&str]) -> BTreeSet<String> {
    names.iter().flat_map(|name| [format!("{name}0"), format!("{name}1")]).collect()
}

/// Waits for something that is about to be.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = soon();
    while !is_so() {
        assert!(!deadline.is_over(), "{what} was waited for in vain");
        clock::sleep(Duration::from_millis(5), deadline);
    }
}

#[test]
fn what_lands_while_a_statement_runs_is_held_and_stands_in_the_table_after_it() {
    let customer = Customer::with(&uploads(&["a"]));
    customer.pretend.knobs(|knobs| knobs.commit_ms = 60_000);
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| customer.run_sql(customer.store(), OPTIMIZE));
        until("the statement", || customer.was_said("OPTIMIZE"));
        let report = customer.land(&uploads(&["b"]));
        let held = the_only(&report);
        assert_eq!((held.status, held.counts.landed, held.counts.rows), (Status::PartlyHeld, 2, 2), "{held:#?}");
        let part = held.tables.iter().find(|part| part.table == "events.kept").expect("it has rows");
        assert_eq!((part.status, part.waits_for, part.rows), (Status::Held, Some("gate"), 2));
        let again = customer.land(&uploads(&["b", "c"]));
        assert_eq!(again.uploads[0].status, Status::AlreadyLanded);
        assert_eq!(again.uploads[1].status, Status::PartlyHeld);
        customer.pretend.knobs(|knobs| knobs.commit_ms = 0);
        running.join().expect("the statement is run")
    });
    assert_eq!(ran.gravest(), None, "{ran:#?}");
    assert!(ran.gated && ran.mended.is_empty(), "{ran:#?}");
    assert_eq!(ran.held.expect("rows were held").rows, 4);
    customer.assert_each_once("kept", &ids(&["a", "b", "c"]), "after the statement");
    assert!(lake::read(&customer.folder(), SCHEMA, "kept").types().contains_key("own_b"), "with its columns");
    assert_proves_uploads(&customer.folder(), &uploads(&["a", "b", "c"]));
}

#[test]
fn rows_behind_a_gate_that_nobody_opened_land_with_the_next_upload() {
    let customer = Customer::with(&uploads(&["z"]));
    assert_landed(&customer.land(&uploads(&["a"])));
    // Its statement overwrites a commit, and it dies when it lands that again.
    let dies = Faulty::over(customer.store());
    dies.play(Fault::Kill, When::Nth(0), COMMIT);
    customer.pretend.knobs(|knobs| knobs.unconditional_put = Some(1));
    let ran = customer.run_sql_for(dies.store(), OPTIMIZE, OF_THE_DEAD);
    assert_eq!(ran.gravest(), Some(FaultKind::Again), "{ran:#?}");
    let behind = customer.land(&uploads(&["b"]));
    assert_eq!(behind.uploads[0].status, Status::PartlyHeld, "{behind:#?}");
    customer.let_an_hour_pass();
    let after = customer.land(&uploads(&["c"]));
    assert_landed(&after);
    let released = &after.released[..];
    assert!(matches!(released, [one] if one.table == "events.kept" && one.rows == 2), "{released:#?}");
    customer.assert_each_once("kept", &ids(&["b", "c", "z"]), "what was overwritten is still gone");
    let mended = customer.mend();
    assert_eq!((mended.gravest(), mended.mended.len()), (None, 1), "{mended:#?}");
    customer.assert_each_once("kept", &ids(&["a", "b", "c", "z"]), "after mending");
    assert_proves_uploads(&customer.folder(), &uploads(&["a", "b", "c", "z"]));
}

#[test]
fn rows_that_stay_held_behind_an_open_gate_are_told_of() {
    let customer = Customer::with(&uploads(&["z"]));
    assert_landed(&customer.land(&uploads(&["a"])));
    let dies = Faulty::over(customer.store());
    dies.play(Fault::Kill, When::Nth(0), COMMIT);
    customer.pretend.knobs(|knobs| knobs.unconditional_put = Some(1));
    customer.run_sql_for(dies.store(), OPTIMIZE, OF_THE_DEAD);
    assert_eq!(customer.land(&uploads(&["b"])).uploads[0].status, Status::PartlyHeld);
    customer.let_an_hour_pass();
    let held = customer.folder().join("events/kept");
    let files = crate::support::listing(&held).into_iter().map(|(path, _)| held.join(path));
    let newest = files.filter(|path| path.extension().is_some_and(|kind| kind == "parquet"));
    let newest = newest.max_by_key(|path| path.metadata().and_then(|about| about.modified()).expect("it is there"));
    std::fs::remove_file(newest.expect("rows are held in a file")).expect("it can be removed");
    let report = customer.land(&[upload_of("other.ndjson", lines(&[track("o0", "Other", "{}")]))]);
    assert_landed(&report);
    let [told] = &report.released[..] else { panic!("one table: {:#?}", report.released) };
    let fault = told.fault.as_ref().expect("its rows are gone");
    assert_eq!((told.rows, fault.kind), (0, FaultKind::Setup), "{fault:#?}");
}

#[test]
fn a_statement_that_a_killed_owner_left_running_is_stopped_by_its_id() {
    let customer = Customer::with(&uploads(&["a"]));
    customer.pretend.knobs(|knobs| knobs.commit_ms = 60_000);
    // Nobody hears of the statement again once it has been submitted.
    let deaf = serde_json::json!({"error_code": "PERMISSION_DENIED", "message": "no"});
    for (method, path) in [("GET", "/api/2.0/sql/statements/*"), ("POST", "/api/2.0/sql/statements/*/cancel")] {
        customer.pretend.fault(pretend::Fault::answer(method, path, 403, deaf.clone()).times(1_000));
    }
    let died = customer.run_sql(customer.store(), OPTIMIZE);
    let fault = died.fault.expect("nobody knows what became of it");
    assert!(fault.message.contains("nobody knows whether the statement still runs"), "{fault:#?}");
    let left = died.statement_id.expect("it was submitted");
    customer.pretend.clear_faults();
    let early = customer.run_sql(customer.store(), OPTIMIZE);
    assert_eq!(early.gravest(), Some(FaultKind::Again), "its gate is closed: {early:#?}");
    assert_eq!(customer.land(&uploads(&["b"])).uploads[0].status, Status::PartlyHeld);

    customer.let_leases_expire();
    let state = || customer.pretend.statements().into_iter().find(|one| one.statement_id == left).map(|one| one.state);
    assert_eq!(state().as_deref(), Some("RUNNING"));
    let again = std::thread::scope(|scope| {
        let running = scope.spawn(|| customer.run_sql(customer.store(), OPTIMIZE));
        until("its end", || state().as_deref() == Some("CANCELED"));
        customer.pretend.knobs(|knobs| knobs.commit_ms = 0);
        running.join().expect("the statement is run")
    });
    assert_eq!(again.gravest(), None, "{again:#?}");
    assert_eq!(again.held.expect("rows were held").rows, 2);
    customer.assert_each_once("kept", &ids(&["a", "b"]), "after the second run");
    assert_proves_uploads(&customer.folder(), &uploads(&["a", "b"]));
}

/// A form of one upload, with a column for each of its orders.
fn orders(ids: &[&str]) -> Upload {
    let order = |id: &&str| track(id, "Order Completed", &format!(r#"{{"order_id":"o","new_{id}":1}}"#));
    upload_of("orders.ndjson", lines(&ids.iter().map(order).collect::<Vec<_>>()))
}

#[test]
fn rows_behind_a_gate_come_after_those_of_their_key_that_the_table_refused() {
    let customer = Customer::with(&uploads(&["a"]));
    let table = stand("legacy_1_3", &customer.folder());
    let registered = evolve(&customer.parts(customer.store()), Ask { all: true, ..BY_HAND }, soon(), &|_| {});
    assert_eq!(registered.gravest(), None, "{registered:#?}");
    let report = customer.land(&[orders(&["o1"])]);
    let held = |report: &Report| {
        let part = the_only(report).tables.iter().find(|part| part.status == Status::Held).expect("rows are held");
        (part.waits_for, part.because.as_ref().and_then(|because| because.hint.clone()))
    };
    let (waits_for, hint) = held(&report);
    assert_eq!(waits_for, Some("load"));
    let way_out = "run: inlet run-sql 'ALTER TABLE `events`.`order_completed` DROP FEATURE checkConstraints'";
    assert_eq!(hint.as_deref(), Some(way_out));
    drop_checks(&table);
    customer.pretend.knobs(|knobs| knobs.commit_ms = 60_000);
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| customer.run_sql(customer.store(), "OPTIMIZE events.order_completed"));
        until("the statement", || customer.was_said("OPTIMIZE"));
        assert_eq!(held(&customer.land(&[orders(&["o1", "o2"])])), (Some("gate"), None));
        let tried = customer.evolve();
        assert_eq!(tried.gravest(), Some(FaultKind::Again), "the gate is closed for them too: {tried:#?}");
        customer.pretend.knobs(|knobs| knobs.commit_ms = 0);
        running.join().expect("the statement is run")
    });
    let landed = ran.held.as_ref().map(|held| (held.rows, held.duplicates));
    assert_eq!((ran.gravest(), landed), (None, Some((2, 1))), "{ran:#?}");
    customer.assert_each_once("order_completed", &["o1", "o2"].map(str::to_owned).into(), "after the statement");
    let types = lake::read(&customer.folder(), SCHEMA, "order_completed").types();
    assert!(types.contains_key("new_o1") && types.contains_key("new_o2"), "with the columns of both");
    assert_eq!(customer.evolve().gravest(), None);
}

#[test]
fn an_upload_whose_ledger_is_behind_a_gate_is_to_be_delivered_again() {
    let customer = Customer::with(&uploads(&["a"]));
    customer.pretend.knobs(|knobs| knobs.commit_ms = 60_000);
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| customer.run_sql(customer.store(), "OPTIMIZE events._loads"));
        until("the statement", || customer.was_said("OPTIMIZE"));
        let report = customer.land(&uploads(&["b"]));
        let fault = report.fault.expect("it is not done");
        assert_eq!(fault.kind, FaultKind::Again);
        for word in ["events._loads", "OPTIMIZE", "_inlet/gates/events/_loads", "owner", "expires"] {
            assert!(fault.message.contains(word), "{word}: {}", fault.message);
        }
        customer.pretend.knobs(|knobs| knobs.commit_ms = 0);
        running.join().expect("the statement is run")
    });
    assert_eq!(ran.gravest(), None, "{ran:#?}");
    assert_landed(&customer.land(&uploads(&["b"])));
    assert_proves_uploads(&customer.folder(), &uploads(&["a", "b"]));
}

#[test]
fn what_was_overwritten_lands_again_with_its_columns_and_rejections() {
    let customer = Customer::with(&uploads(&["a"]));
    let all = uploads(&["a", "b", "c"]);
    assert_landed(&customer.land(&all[1..]));
    customer.overwrite("kept");
    customer.overwrite("_rejects");
    customer.assert_each_once("kept", &ids(&["a"]), "the evidence");
    let proof = proof_under(&customer.folder(), &customer.settings, &all);
    assert!(!proof.proved);
    let mended = customer.mend();
    assert_eq!(mended.gravest(), None, "{mended:#?}");
    let said: Vec<_> = mended.mended.iter().map(|one| (one.table.as_str(), one.uploads, one.rows)).collect();
    assert_eq!(said, [("events._rejects", 2, 2), ("events.kept", 2, 4)]);
    customer.assert_each_once("kept", &ids(&["a", "b", "c"]), "after mending");
    assert!(lake::read(&customer.folder(), SCHEMA, "kept").types().contains_key("own_c"));
    assert_proves_uploads(&customer.folder(), &all);
    let again = customer.mend();
    assert_eq!((again.mended.len(), again.lost.len()), (0, 0), "{again:#?}");
}

#[test]
fn files_of_attempts_that_failed_double_nothing() {
    let customer = Customer::with(&uploads(&["a"]));
    // Two runs die at their first commit, with all files written.
    for _ in 0..2 {
        let dies = Faulty::over(customer.store());
        dies.play(Fault::Kill, When::Nth(0), COMMIT);
        let settings = Settings { patience: OF_THE_DEAD, ..customer.settings.clone() };
        assert_eq!(land_over(dies.store(), &settings, uploads(&["b"])).uploads[0].status, Status::Failed);
    }
    assert_landed(&customer.land(&uploads(&["b"])));
    customer.overwrite("kept");
    let mended = customer.mend();
    assert_eq!((mended.gravest(), mended.mended[0].rows), (None, 2), "{mended:#?}");
    customer.assert_each_once("kept", &ids(&["a", "b"]), "after mending");
    assert_proves_uploads(&customer.folder(), &uploads(&["a", "b"]));
}

#[test]
fn rows_whose_files_are_gone_are_named_and_the_upload_brings_them_back() {
    let customer = Customer::with(&uploads(&["a"]));
    let before: BTreeSet<_> = crate::support::listing(&customer.folder().join("events/kept")).into_iter().collect();
    assert_landed(&customer.land(&uploads(&["b"])));
    let folder = customer.folder().join("events/kept");
    let written = crate::support::listing(&folder).into_iter().filter(|file| !before.contains(file));
    let written: Vec<_> = written.filter(|(path, _)| path.extension().is_some_and(|kind| kind == "parquet")).collect();
    customer.overwrite("kept");
    written.iter().for_each(|(path, _)| std::fs::remove_file(folder.join(path)).expect("the file is there"));
    let mended = customer.mend();
    assert_eq!((mended.gravest(), mended.mended.len()), (Some(FaultKind::Rejected), 0), "{mended:#?}");
    let lost = &mended.lost[0];
    assert_eq!((lost.table.as_str(), lost.upload.as_str(), lost.rows), ("events.kept", "b.ndjson", 2));
    // What its hint says: the same key in other bytes.
    let mut bytes = match upload("b").place {
        inlet_core::upload::Place::Bytes(bytes) => bytes.to_vec(),
        place => panic!("{place:?}"),
    };
    bytes.push(b'\n');
    let report = customer.land(&[upload_of("b.ndjson", bytes)]);
    let counts = &the_only(&report).counts;
    assert_eq!((counts.landed, counts.duplicates, counts.rows), (0, 2, 2), "{report:#?}");
    customer.assert_each_once("kept", &ids(&["a", "b"]), "after the upload came again");
    customer.assert_each_once("tracks", &ids(&["a", "b"]), "which has them already");
}

/// An owner dies at its n-th write of a kind, and somebody does the same again; whether there was such a write.
fn owner_dies(customer: &Customer, which: Which, number: usize, names: &mut Vec<String>) -> bool {
    let mut land = |kind: &str| {
        let name = format!("{kind}{}", names.len());
        let report = customer.land(&[upload(&name)]);
        assert!(report.gravest().is_none(), "{report:#?}");
        names.push(name);
    };
    land("before");
    let dies = Faulty::over(customer.store());
    dies.play(Fault::Kill, When::Nth(number), which);
    let died = customer.run_sql_for(dies.store(), OPTIMIZE, OF_THE_DEAD);
    land("behind");
    customer.let_an_hour_pass();
    let mut again = customer.run_sql(customer.store(), OPTIMIZE);
    if again.fault.as_ref().is_some_and(|fault| fault.message.contains("died while it submitted")) {
        // Nobody knows its statement: it is waited for.
        customer.let_an_hour_pass();
        again = customer.run_sql(customer.store(), OPTIMIZE);
    }
    let what = format!("killed at {number} of {which:?}: {died:#?}, then {again:#?}");
    assert_eq!(again.gravest(), None, "{what}");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    customer.assert_each_once("kept", &ids(&names), &what);
    !dies.struck().is_empty()
}

#[test]
fn an_owner_that_dies_at_any_write_loses_and_doubles_nothing() {
    for which in [STATE, DATA, COMMIT] {
        let customer = Customer::with(&uploads(&["first"]));
        let mut names = vec!["first".to_owned()];
        // Each statement overwrites the newest commit, as one that read the log too early would.
        customer.pretend.knobs(|knobs| knobs.unconditional_put = Some(1));
        let deaths = (0..).take_while(|number| owner_dies(&customer, which, *number, &mut names)).count();
        assert!(deaths > 0, "a run writes such things: {which:?}");
        let all: Vec<Upload> = names.iter().map(|name| upload(name)).collect();
        assert_proves_uploads(&customer.folder(), &all);
    }
}

#[test]
fn only_statements_on_tables_of_the_lake_run() {
    let customer = Customer::with(&uploads(&["a"]));
    for (statement, says) in [
        ("OPTIMIZE events.nowhere", "has no table `events.nowhere`"),
        ("MERGE INTO events.kept USING x ON true", "MERGE does not run"),
        ("OPTIMIZE other.events.kept", "is not the catalog"),
    ] {
        let report = customer.run_sql(customer.store(), statement);
        assert_eq!(report.gravest(), Some(FaultKind::Setup), "{report:#?}");
        let said = report.fault.expect("it was refused").message;
        assert!(said.contains(says), "{said}");
    }
    assert!(!customer.was_said("OPTIMIZE") && !customer.was_said("MERGE"));
    assert_eq!(customer.gate_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_lake_that_is_not_on_s3_needs_no_gate() {
    let customer = crate::workspace::Customer::new();
    assert_landed(&customer.land_all(uploads(&["a"])));
    assert_eq!(customer.evolve().gravest(), None);
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |text: &str| told.lock().expect("nobody panics").push(text.to_owned());
    let report = run_sql(&customer.parts(), run_sql::Ask::new(OPTIMIZE, Duration::from_secs(60)), soon(), &tell);
    assert_eq!((report.gravest(), report.gated), (None, false), "{report:#?}");
    assert!(told.lock().expect("nobody panics").iter().any(|said| said.starts_with("no gate is needed")));
    assert_eq!(report.rows.len(), 1, "the answer of OPTIMIZE");
    assert!(!customer.room.lake().join("_inlet/gates").exists());
}
