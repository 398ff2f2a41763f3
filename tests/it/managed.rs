//! Managed tables: rows are staged without a warehouse, one window makes them part of their tables, and whatever is
//! lost, killed or delivered twice on the way, each stands there once.

mod called;
mod connected;
mod copied;
mod forms;
mod killed;
mod raced;
mod retyped;
mod same;
mod window;

use std::collections::BTreeMap;
use std::path::PathBuf;

use inlet_core::databricks::Workspace;
use inlet_core::evolve::{Ask, EvolveReport, TableStatus};
use inlet_core::fault::FaultKind;
use inlet_core::managed::Managed;
use inlet_core::report::{Report, Status};
use inlet_core::route::{self, Parts, Unwatched};
use inlet_core::upload::Upload;
use pretend::{CATALOG, Fault, Pretend, StatementFault, Wrong};
use serde_json::json;

use crate::events::{lines, track};
use crate::lake;
use crate::support::{runtime, the_only, upload_of};
use crate::workspace::{Customer, http_path, status};

/// A customer without a lake: the catalog has managed storage.
struct Bench(Customer);

impl Bench {
    fn new() -> Self {
        Self::told(&http_path())
    }

    /// With a serverless warehouse of Inlet's own.
    fn own_warehouse() -> Self {
        Self::told("warehouse = \"create\"")
    }

    /// With one that takes minutes to start.
    fn own_pro_warehouse() -> Self {
        Self::told("warehouse.serverless = false")
    }

    /// With further settings.
    fn told(more: &str) -> Self {
        Self(Customer::managed(
            |setup| {
                let beside = format!("{}-managed", setup.locations[0].url);
                setup.managed_storage(&beside)
            },
            more,
        ))
    }

    fn pretend(&self) -> &Pretend {
        &self.0.pretend
    }

    fn parts(&self) -> inlet_core::evolve::Parts {
        self.0.parts()
    }

    fn managed(&self) -> Managed {
        let destination = self.0.settings.destination.clone().expect("a workspace is set");
        let workspace = Workspace::new(destination.connection).expect("the address is good");
        Managed::of(&self.0.settings, Some(&workspace)).expect("the tables are managed")
    }

    /// Stages an upload of an object.
    fn stage(&self, name: &str, bytes: &[u8]) -> Report {
        self.stage_upload(object(name, bytes))
    }

    fn stage_upload(&self, upload: Upload) -> Report {
        self.try_stage(upload).expect("the volume is made")
    }

    fn try_stage(&self, upload: Upload) -> Result<Report, inlet_core::fault::Fault> {
        let managed = self.managed();
        let lake = managed.volume(runtime().handle().clone())?;
        let settings = self.0.settings.clone();
        let parts = Parts { lake, managed: Some(managed), settings, host: "terminal", allowance: None, kept: None };
        let report = route::ingest(&parts, vec![upload], &Unwatched);
        assert!(report.uploads.iter().all(|upload| upload.counts.balance()), "{report:#?}");
        Ok(report)
    }

    fn evolve(&self) -> EvolveReport {
        self.evolve_as(Ask { by_hand: true, ..Ask::default() })
    }

    fn evolve_as(&self, ask: Ask) -> EvolveReport {
        self.try_evolve(ask).expect("the volume is made")
    }

    fn try_evolve(&self, ask: Ask) -> Result<EvolveReport, inlet_core::fault::Fault> {
        let managed = self.managed();
        let lake = managed.volume(runtime().handle().clone())?;
        let parts = inlet_core::evolve::Parts { lake, ..self.0.parts() };
        let deadline = inlet_core::clock::Deadline::after(std::time::Duration::from_secs(30));
        Ok(inlet_core::evolve::evolve(&parts, ask, deadline, &|_| {}))
    }

    /// A table as the log in its managed place says.
    fn read(&self, table: &str) -> lake::Table {
        let seen = self.0.pretend.table(&format!("{CATALOG}.{table}")).unwrap_or_else(|| panic!("no {table}"));
        let place = PathBuf::from(seen.location.unwrap().strip_prefix("file://").unwrap());
        let (tables, id) = (place.parent().unwrap(), place.file_name().unwrap());
        lake::read(tables.parent().unwrap(), "tables", id.to_str().unwrap())
    }

    /// The texts of a column of the event's table.
    fn ids(&self) -> Vec<String> {
        self.read("events.order_completed").texts("id").into_iter().map(str::to_owned).collect()
    }

    /// Files of the volume below a folder.
    fn files(&self, folder: &str) -> Vec<String> {
        let root = self.0.room.path("lake-managed/__unitystorage/schemas");
        let listed = crate::support::listing(&root).into_iter().map(|(path, _)| path.display().to_string());
        let inside =
            |path: String| path.split_once("/volumes/").and_then(|(_, rest)| Some(rest.split_once('/')?.1.to_owned()));
        listed.filter_map(inside).filter(|path| path.starts_with(folder)).collect()
    }

    /// First words of the statements, since the last look.
    fn said(&self) -> BTreeMap<String, usize> {
        let mut said = BTreeMap::new();
        for statement in self.0.pretend.statements() {
            let words: Vec<&str> = statement.text.split_whitespace().take(2).collect();
            *said.entry(words.join(" ")).or_default() += 1;
        }
        said
    }
}

fn object(name: &str, bytes: &[u8]) -> Upload {
    upload_of(name, bytes.to_vec())
}

fn order(id: &str, properties: &str) -> Vec<u8> {
    lines(&[track(id, "Order Completed", properties)])
}

fn well(report: &EvolveReport) {
    assert_eq!(report.gravest(), None, "{report:#?}");
}

#[test]
fn rows_are_staged_without_a_warehouse_and_one_window_loads_them() {
    let bench = Bench::new();
    let report = bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let upload = the_only(&report);
    assert_eq!((upload.status, upload.counts.held, upload.counts.landed), (Status::Staged, 1, 0), "{upload:#?}");
    bench.stage("b.json", b"{\"type\":\"track\"}\n");
    assert!(bench.0.pretend.wakes().is_empty() && bench.0.pretend.statements().is_empty());
    let report = bench.evolve();
    well(&report);
    assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Created));
    assert_eq!((report.notes.settled, bench.0.pretend.wakes().len()), (2, 1));
    assert_eq!(bench.ids(), ["a"]);
    assert_eq!(bench.read("events.tracks").texts("id"), ["a"]);
    assert_eq!(bench.read("events._rejects").texts("upload"), ["b.json"]);
    let loads = bench.read("events._loads");
    let of_a = loads.rows.iter().find(|row| row["upload"].text() == "a.json" && !row.contains_key("table_name"));
    let of_a = of_a.unwrap();
    assert_eq!((of_a["status"].text(), of_a["rows"].number(), of_a["held"].number()), ("landed", 1, 0));
    assert!(bench.files("events/").is_empty() && bench.files("_inlet/pending").is_empty());
    assert_eq!(bench.files("_inlet/loaded").len(), 2);
}

#[test]
fn what_is_staged_or_loaded_is_not_taken_again() {
    let bench = Bench::new();
    let bytes = order("a", r#"{"total":1}"#);
    bench.stage("a.json", &bytes);
    assert_eq!(the_only(&bench.stage("a.json", &bytes)).status, Status::AlreadyStaged);
    well(&bench.evolve());
    bench.0.pretend.forget_requests();
    assert_eq!(the_only(&bench.stage("a.json", &bytes)).status, Status::AlreadyLanded);
    well(&bench.evolve());
    let statements = |request: &pretend::Seen| request.path.contains("/sql/");
    assert!(!bench.0.pretend.requests().iter().any(statements), "nobody asks the warehouse");
    assert_eq!(bench.ids(), ["a"]);
}

#[test]
fn a_column_is_added_once_and_rows_of_the_same_shape_are_only_copied() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    well(&bench.evolve());
    bench.stage("b.json", &order("b", r#"{"total":2,"coupon":"x"}"#));
    bench.stage("c.json", &order("c", r#"{"total":3}"#));
    let report = bench.evolve();
    well(&report);
    assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Altered));
    assert_eq!(status(&report, "events.tracks"), Some(TableStatus::UpToDate));
    let before = bench.said();
    bench.stage("d.json", &order("d", r#"{"total":4,"coupon":"y"}"#));
    well(&bench.evolve());
    let mut after = bench.said();
    after.retain(|words, count| before.get(words) != Some(count));
    assert_eq!(after.keys().collect::<Vec<_>>(), ["COPY INTO"]);
    let table = bench.read("events.order_completed");
    assert_eq!(table.texts("coupon"), ["x", "y"]);
    assert_eq!(table.rows.len(), 4);
    let times = table.rows.iter().filter(|row| row.contains_key("uuid_ts")).count();
    assert_eq!(times, 4, "the COPY says when");
}

#[test]
fn uploads_that_saw_other_types_share_a_column_that_holds_both() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"size":42}"#));
    bench.stage("b.json", &order("b", r#"{"size":"large"}"#));
    well(&bench.evolve());
    assert_eq!(bench.read("events.order_completed").texts("size"), ["42", "large"]);
}

#[test]
fn integers_and_doubles_meet_in_a_double_and_nothing_is_rounded_unseen() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    bench.stage("b.json", &order("b", r#"{"total":1.5}"#));
    bench.stage("c.json", &order("c", r#"{"total":9007199254740993}"#));
    well(&bench.evolve());
    let table = bench.read("events.order_completed");
    assert_eq!(table.types()["total"], "double");
    assert_eq!(table.row("a")["total"], lake::Value::Double(1f64.to_bits()));
    let wide = table.row("c");
    assert_eq!(wide["total"], lake::Value::Double(9_007_199_254_740_992f64.to_bits()));
    assert_eq!(wide["_rescued_data"].text(), r#"{"total":9007199254740993}"#);
    assert!(!table.row("a").contains_key("_rescued_data"));
}

#[test]
fn rows_are_written_anew_for_a_column_that_came_to_be_of_another_type() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"size":1.5}"#));
    bench.stage("b.json", &order("b", r#"{"size":true}"#));
    well(&bench.evolve());
    let table = bench.read("events.order_completed");
    assert_eq!(table.types()["size"], "string");
    assert_eq!(table.texts("size"), ["1.5", "true"]);
    assert!(bench.files("events/").is_empty(), "neither the first files stay nor those written anew");
    assert!(!bench.said().contains_key("SELECT count(*)"), "nothing stands in a table that was just made");
}

#[test]
fn views_stand_over_managed_tables_too() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    well(&bench.evolve());
    let view = bench.0.shown("events.order_completed__unique").expect("the view is made");
    assert!(view.contains(&"total".to_owned()));
    let before = bench.said()["CREATE OR"];
    bench.stage("b.json", &order("b", r#"{"total":1}"#));
    well(&bench.evolve());
    assert_eq!(bench.said()["CREATE OR"], before, "it shows all columns already");
}

#[test]
fn a_plan_says_what_would_be_done_and_wakes_nobody() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let plan = bench.evolve_as(Ask { plan: true, ..Ask::default() });
    well(&plan);
    assert_eq!(status(&plan, "events.order_completed"), Some(TableStatus::ToCreate));
    assert!(plan.statements.iter().any(|statement| statement.starts_with("COPY INTO")), "{plan:#?}");
    assert!(bench.0.pretend.wakes().is_empty() && bench.0.pretend.statements().is_empty());
    assert_eq!(bench.files("_inlet/pending").len(), 1);
}

#[test]
fn a_table_that_failed_three_times_is_left_alone_until_somebody_says_retry() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let denied = "PERMISSION_DENIED: User does not have CREATE TABLE on Schema 'segment.events'.";
    bench.0.pretend.statement_fault(StatementFault::new("`order_completed` (", denied).times(3));
    for _ in 0..3 {
        assert_eq!(status(&bench.evolve(), "events.order_completed"), Some(TableStatus::Failed));
    }
    let wakes = bench.0.pretend.statements().len();
    assert_eq!(status(&bench.evolve(), "events.order_completed"), Some(TableStatus::Parked));
    assert_eq!(bench.0.pretend.statements().len(), wakes, "nothing is asked for the upload");
    well(&bench.evolve_as(Ask { by_hand: true, retry: true, ..Ask::default() }));
    assert_eq!(bench.ids(), ["a"]);
}

#[test]
fn a_copy_whose_answer_was_lost_is_said_again_and_loads_nothing_twice() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let copy = "COPY INTO `segment`.`events`.`order_completed`";
    bench.0.pretend.statement_fault(StatementFault {
        error_code: "TEMPORARILY_UNAVAILABLE".to_owned(),
        ..StatementFault::new(copy, "[TEMPORARILY_UNAVAILABLE] try again").after_the_effect()
    });
    well(&bench.evolve());
    assert_eq!(bench.said()["COPY INTO"], 4, "tracks, order_completed twice, _loads");
    assert_eq!(bench.said()["SELECT count(*)"], 1);
    assert_eq!(bench.ids(), ["a"]);
}

#[test]
fn a_window_that_dies_before_it_says_so_is_done_again() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let marker = "/api/2.0/fs/files/Volumes/segment/_inlet/staging/_inlet/loaded/*";
    let broken =
        Wrong::Answer { status: 400, body: json!({"error_code": "BAD_REQUEST", "message": "no"}), headers: vec![] };
    bench.0.pretend.fault(Fault::on("PUT", marker, broken));
    assert!(bench.evolve().gravest().is_some());
    assert_eq!(bench.files("_inlet/pending").len(), 1, "the note stays");
    well(&bench.evolve());
    assert_eq!(bench.ids(), ["a"]);
    assert_eq!(bench.read("events._loads").rows.len(), 3, "tracks, order_completed, and the upload");
    assert!(bench.files("events/").is_empty());
}

#[test]
fn whatever_request_is_refused_or_lost_each_row_stands_once() {
    let bench = Bench::new();
    let cycle = |name: &str| {
        let bytes = lines(&[track(name, "Order Completed", r#"{"total":1}"#), r#"{"type":"alias"}"#.to_owned()]);
        let is_staged = |_: &usize| {
            let staged = bench.try_stage(object(name, &bytes));
            staged.is_ok_and(|report| report.gravest().is_none())
        };
        assert!((0..5).any(|attempt| is_staged(&attempt)), "{name} is not staged");
        let by_hand = Ask { by_hand: true, retry: true, ..Ask::default() };
        let is_loaded = |_: &usize| bench.try_evolve(by_hand).is_ok_and(|report| report.gravest().is_none());
        assert!((0..5).any(|attempt| is_loaded(&attempt)), "{name} is not loaded");
    };
    cycle("first");
    bench.0.pretend.forget_requests();
    cycle("second");
    let requests = bench.0.pretend.requests().len() as u64;
    let mut names = vec!["first".to_owned(), "second".to_owned()];
    for nth in (1..=requests).step_by(6) {
        let refused = Wrong::Answer { status: 400, body: json!({"error_code": "BAD_REQUEST"}), headers: vec![] };
        let wrong = if nth % 12 == 1 { Wrong::Lost } else { refused };
        bench.0.pretend.fault(Fault::on("*", "*", wrong).nth(nth));
        let name = format!("{nth:03}");
        cycle(&name);
        bench.0.pretend.clear_faults();
        names.push(name);
    }
    names.sort();
    assert_eq!(bench.ids(), names);
    for table in ["events.tracks", "events._rejects", "events._loads"] {
        let per_upload = if table.ends_with("_loads") { 3 } else { 1 };
        assert_eq!(bench.read(table).rows.len(), names.len() * per_upload, "{table}");
    }
    assert!(bench.files("_inlet/pending").is_empty());
}

#[test]
fn a_note_of_a_delivery_that_came_late_goes_with_its_files() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    let root = bench.0.room.path("lake-managed");
    let aside = bench.0.room.path("aside");
    crate::support::copy_folder(&root, &aside);
    well(&bench.evolve());
    // Its note and its files stand there again, and the marker too.
    for (name, _) in crate::support::listing(&aside) {
        if name.display().to_string().contains("/volumes/") {
            std::fs::create_dir_all(root.join(&name).parent().unwrap()).unwrap();
            std::fs::copy(aside.join(&name), root.join(&name)).unwrap();
        }
    }
    assert_eq!(bench.files("_inlet/pending").len(), 1);
    well(&bench.evolve());
    assert!(bench.files("_inlet/pending").is_empty() && bench.files("events/").is_empty());
    assert_eq!(bench.ids(), ["a"]);
}

#[test]
fn of_two_deliveries_at_once_one_is_staged() {
    let bench = Bench::new();
    let bytes = order("a", r#"{"total":1}"#);
    bench.managed().volume(runtime().handle().clone()).unwrap();
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| bench.stage("a.json", &bytes))).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut statuses: Vec<Status> = reports.iter().map(|report| the_only(report).status).collect();
    statuses.sort_by_key(|status| status.name());
    assert_eq!(statuses, [Status::AlreadyStaged, Status::Staged]);
    assert_eq!(bench.files("events/order_completed").len(), 1, "the loser has taken its files away");
    well(&bench.evolve());
    assert_eq!(bench.ids(), ["a"]);
}

#[test]
fn markers_go_after_thirty_days_and_files_without_a_note_after_one() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        bench.stage(&format!("{name}.json"), &order(name, r#"{"total":1}"#));
    }
    well(&bench.evolve());
    // The staged files of a run that was killed, and of one that is at work.
    bench.stage("c.json", &order("c", r#"{"total":1}"#));
    let root = bench.0.room.path("lake-managed");
    let find = |part: &str, at: usize| {
        let all = crate::support::listing(&root);
        let mut found = all.iter().filter(|(path, _)| path.display().to_string().contains(part));
        root.join(&found.nth(at).unwrap_or_else(|| panic!("no {part}")).0)
    };
    let killed = find("/events/tracks/", 0).with_file_name("part-killed.zstd.parquet");
    let young = killed.with_file_name("part-young.zstd.parquet");
    for file in [&killed, &young] {
        std::fs::write(file, b"rows").unwrap();
    }
    let days_ago = |days: i64| u64::try_from(inlet_core::clock::now() - days * 86_400_000_000).unwrap();
    for (file, days) in [(find("/loaded/", 0), 31), (find("/loaded/", 1), 29), (killed, 2), (find("swept.json", 0), 2)]
    {
        crate::support::touch(&file, days_ago(days));
    }
    well(&bench.evolve());
    assert_eq!(bench.files("_inlet/loaded").len(), 2, "one of the first two, and the new one");
    assert_eq!(bench.files("events/"), ["events/tracks/part-young.zstd.parquet"]);
    assert_eq!(bench.ids(), ["a", "b", "c"]);
}

#[test]
fn a_table_that_was_dropped_since_is_made_anew_with_all_columns_of_what_is_staged() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1,"coupon":"x"}"#));
    well(&bench.evolve());
    bench.stage("b.json", &order("b", r#"{"total":2}"#));
    let managed = bench.managed();
    let soon = inlet_core::clock::Deadline::after(std::time::Duration::from_secs(30));
    runtime().block_on(managed.workspace.delete_table(CATALOG, "events", "order_completed", soon)).unwrap();
    let report = bench.evolve();
    well(&report);
    assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Created));
    assert_eq!(bench.ids(), ["b"]);
    assert_eq!(bench.read("events.order_completed").row("b")["total"].number(), 2);
    assert_eq!(bench.read("events.tracks").texts("id"), ["a", "b"]);
}

#[test]
fn a_table_that_fails_keeps_back_its_own_uploads_alone() {
    let bench = Bench::new();
    bench.stage("a.json", &order("a", r#"{"total":1}"#));
    bench.stage("b.json", &lines(&[track("b", "Signed Up", "{}")]));
    bench.0.pretend.statement_fault(StatementFault::new(
        "CREATE TABLE IF NOT EXISTS `segment`.`events`.`signed_up`",
        "PERMISSION_DENIED: User does not have CREATE TABLE on Schema 'segment.events'.",
    ));
    let report = bench.evolve();
    assert_eq!(status(&report, "events.signed_up"), Some(TableStatus::Failed));
    let uploads = |bench: &Bench| -> usize {
        bench.read("events._loads").rows.iter().filter(|row| !row.contains_key("table_name")).count()
    };
    assert_eq!((uploads(&bench), bench.files("_inlet/pending").len()), (1, 1));
    well(&bench.evolve());
    assert_eq!((uploads(&bench), bench.files("_inlet/pending").len()), (2, 0));
    assert_eq!(bench.read("events.tracks").texts("id"), ["a", "b"], "tracks had b before, and has it once");
}

#[test]
fn a_missing_right_on_the_volume_is_named() {
    let bench = Bench::new();
    bench.managed().volume(runtime().handle().clone()).unwrap();
    let denied = json!({"error_code": "PERMISSION_DENIED",
                        "message": "User does not have WRITE VOLUME on Volume 'segment._inlet.staging'."});
    let denied = Wrong::Answer { status: 403, body: denied, headers: vec![] };
    for method in ["PUT", "HEAD"] {
        bench.0.pretend.fault(Fault::on(method, "/api/2.0/fs/files/*", denied.clone()));
        let report = bench.stage("a.json", &order("a", "{}"));
        assert_eq!(report.gravest(), Some(FaultKind::Setup), "{report:#?}");
        let text = format!("{report:?}");
        assert!(text.contains("WRITE VOLUME"), "{text}");
    }
}
