//! `inlet verify` proves a lake that is as the landing left it, and names what was lost, doubled or changed since.

mod files;
mod rows;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::TryStreamExt;
use inlet_core::delta::Lake;
use inlet_core::report::Status;
use inlet_core::route::{self, Parts, Unwatched};
use inlet_core::settings::Settings;
use inlet_core::status::status;
use inlet_core::upload::Upload;
use inlet_core::verify::{Check, Proof, verify};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::corrupt::Victim;
use crate::events::{calls, lines, nameless, track};
use crate::lake;
use crate::process::{ingest, inlet, run};
use crate::support::{Chance, Room, SCHEMA, assert_landed, copy_folder, land, runtime, settings, tests_folder};

/// Compares schemas of a lake with themselves and with uploads.
fn proof_of(lake: &Path, schemas: &[String], uploads: &[Upload]) -> Proof {
    let url = Url::from_directory_path(fs::canonicalize(lake).expect("the lake is there")).expect("a path is a URL");
    let lake = Lake::open(&url, runtime().handle().clone()).expect("the lake opens");
    verify(&lake, &settings(), schemas, uploads).expect("the lake can be read")
}

/// Compares the usual schema under the settings that uploads landed with.
pub(crate) fn proof_under(lake: &Path, settings: &Settings, uploads: &[Upload]) -> Proof {
    let url = Url::from_directory_path(fs::canonicalize(lake).expect("the lake is there")).expect("a path is a URL");
    let lake = Lake::open(&url, runtime().handle().clone()).expect("the lake opens");
    verify(&lake, settings, &[SCHEMA.to_owned()], uploads).expect("the lake can be read")
}

/// A schema agrees with itself, and with uploads.
pub(crate) fn assert_proves_uploads(lake: &Path, uploads: &[Upload]) {
    assert_proved(SCHEMA, &proof(lake, uploads));
}

fn proof(lake: &Path, uploads: &[Upload]) -> Proof {
    proof_of(lake, &[SCHEMA.to_owned()], uploads)
}

/// A schema agrees with itself.
pub(crate) fn assert_proves(lake: &Path, schema: &str) {
    assert_proved(schema, &proof_of(lake, &[schema.to_owned()], &[]));
}

fn assert_proved(what: &str, proof: &Proof) {
    assert!(proof.proved && proof.differences.is_empty(), "{what}: {:#?}", proof.differences);
}

/// Uploads with all that can become of an event, landed; each test has a copy of the lake.
struct Landed {
    room: Room,
    first: Upload,
    second: Upload,
    /// A later form of a key: most of its events landed with the earlier one.
    later: Upload,
}

fn template() -> &'static Landed {
    static LANDED: OnceLock<Landed> = OnceLock::new();
    LANDED.get_or_init(|| {
        let room = Room::new();
        let mut chance = Chance::of(81);
        let mut events = calls(&mut chance, "a", 60);
        events.push(events[3].clone());
        events.push(track("a-rescued", "Searched", r#"{"query":"q","id":"mine","userId":"theirs"}"#));
        events.push(track("a-filtered", "Searched", "{}").replacen(
            '{',
            r#"{"integrations":{"Warehouses":{"all":false}},"#,
            1,
        ));
        events.push(nameless("Searched", r#"{"query":"no id","uploadId":"mine"}"#));
        events.push("no event".to_owned());
        events.push(r#"{"type":"track","userId":"u"}"#.to_owned());
        let first = room.upload("first.ndjson", &lines(&events));
        let second = room.upload("second.ndjson", &lines(&calls(&mut chance, "b", 40)));
        assert_landed(&room.land(vec![first.clone(), second.clone()]));
        // An overwritten upload, in a commit of its own: its earlier form landed most of its events.
        let mut third = calls(&mut chance, "c", 20);
        assert_landed(&room.land(vec![room.upload("third.ndjson", &lines(&third))]));
        third.extend(calls(&mut chance, "d", 10));
        let later = room.upload("third.ndjson", &lines(&third));
        assert_landed(&room.land(vec![later.clone()]));
        Landed { room, first, second, later }
    })
}

/// A copy of the lake to harm.
struct Harmed {
    room: Room,
    first: &'static Upload,
    second: &'static Upload,
    later: &'static Upload,
}

fn harmed() -> Harmed {
    let landed = template();
    let room = Room::new();
    copy_folder(&landed.room.lake(), &room.lake());
    Harmed { room, first: &landed.first, second: &landed.second, later: &landed.later }
}

impl Harmed {
    fn lake(&self) -> PathBuf {
        self.room.lake()
    }

    fn table(&self, name: &str) -> Victim {
        Victim::of(&self.lake(), SCHEMA, name)
    }

    /// Differences of the lake with itself.
    fn found(&self) -> Found {
        Found(proof(&self.lake(), &[]))
    }

    /// Differences of the lake with the first two uploads.
    fn found_with_uploads(&self) -> Found {
        Found(proof(&self.lake(), &[self.first.clone(), self.second.clone()]))
    }
}

struct Found(Proof);

impl Found {
    /// A difference of this kind about this table and upload is named, with these numbers.
    fn names(&self, check: Check, table: Option<&str>, upload: Option<&Upload>, numbers: Option<(i64, i64)>) -> &Self {
        let is_it = |difference: &&inlet_core::verify::Difference| {
            difference.check == check
                && difference.schema == SCHEMA
                && difference.table.as_deref() == table
                && upload.is_none_or(|upload| difference.upload_id == Some(upload.id.to_string()))
                && numbers.is_none_or(|(expected, found)| {
                    (difference.expected, difference.found) == (Some(expected), Some(found))
                })
        };
        let found = self.0.differences.iter().find(is_it);
        let found =
            found.unwrap_or_else(|| panic!("no {check:?} of {table:?} {numbers:?} in {:#?}", self.0.differences));
        assert!(!found.message.is_empty() && !found.hint.is_empty(), "{found:?}");
        assert!(!self.0.proved);
        self
    }

    /// There is no difference of other kinds.
    fn only(&self, checks: &[Check]) {
        let kinds: BTreeSet<Check> = self.0.differences.iter().map(|difference| difference.check).collect();
        assert_eq!(kinds, checks.iter().copied().collect(), "{:#?}", self.0.differences);
    }
}

/// Rows of an upload in a table, as a third reader counts them.
fn rows_of(lake: &Path, table: &str, upload: &Upload) -> i64 {
    let id = upload.id.to_string();
    let rows = lake::read(lake, SCHEMA, table).rows;
    rows.iter().filter(|row| row.get("_upload_id").is_some_and(|value| value.text() == id)).count() as i64
}

#[test]
fn a_lake_as_it_was_landed_is_proved() {
    let harmed = harmed();
    let proof = proof(&harmed.lake(), &[harmed.first, harmed.second, harmed.later].map(Clone::clone));
    assert_proved("landed", &proof);
    let schema = &proof.schemas[0];
    assert_eq!((schema.uploads, schema.events, schema.rejected), (4, 66 + 40 + 20 + 30, 2));
    let rows: usize = lake::read_events(&harmed.lake(), SCHEMA).values().map(|table| table.rows.len()).sum();
    assert_eq!(schema.rows, rows as u64);
    assert_eq!(proof.uploads.iter().map(|upload| upload.events).collect::<Vec<_>>(), [66, 40, 30]);
}

#[test]
fn a_line_that_each_form_of_a_key_rejects_is_proved() {
    let room = Room::new();
    let mut chance = Chance::of(7);
    let mut events = calls(&mut chance, "a", 5);
    events.push("{}".to_owned());
    let first = room.upload("one.ndjson", &lines(&events));
    room.land(vec![first]);
    events.extend(calls(&mut chance, "b", 5));
    let second = room.upload("one.ndjson", &lines(&events));
    let report = room.land(vec![second.clone()]);
    assert_eq!(report.totals.counts.rejected, 1, "{report:#?}");
    assert_proved("a line that is rejected twice", &proof(&room.lake(), &[second]));
}

#[test]
fn a_lake_in_a_bucket_is_proved() {
    let room = Room::new();
    let upload = room.upload("one.ndjson", &lines(&calls(&mut Chance::of(85), "s", 30)));
    for url in ["s3://bucket/some/lake", "abfss://container@account.dfs.core.windows.net/lake"] {
        let store = Arc::new(InMemory::new());
        let url = Url::parse(url).expect("a URL");
        let lake = Lake::with_store(&url, Arc::clone(&store) as Arc<dyn ObjectStore>, runtime().handle().clone());
        let parts = Parts {
            lake: lake.expect("the lake opens"),
            managed: None,
            settings: settings(),
            host: "terminal",
            allowance: None,
            kept: None,
        };
        assert_landed(&route::ingest(&parts, vec![upload.clone()], &Unwatched));
        let schemas = [SCHEMA.to_owned()];
        let proof = verify(&parts.lake, &parts.settings, &schemas, std::slice::from_ref(&upload));
        let proof = proof.expect("the lake can be read");
        assert_proved(url.as_str(), &proof);
        assert_eq!(proof.schemas[0].events, 30);
        let status = status(&parts.lake, &schemas).expect("the lake can be read");
        assert_eq!(status.schemas[0].all.counts.events, 30);
        // What is gone is named there too.
        runtime().block_on(async {
            let files: Vec<_> = store.list(None).try_collect().await.expect("the store lists");
            let of_tracks = |path: &str| path.contains("/tracks/") && path.ends_with(".parquet");
            let gone = files.into_iter().find(|file| of_tracks(file.location.as_ref())).expect("a file of tracks");
            store.delete(&gone.location).await.expect("it can be deleted");
        });
        let proof = verify(&parts.lake, &parts.settings, &schemas, &[]).expect("the lake can be read");
        Found(proof).names(Check::FileMissing, Some("tracks"), None, None);
    }
}

#[test]
fn the_captured_uploads_are_proved_from_any_place() {
    let room = Room::new();
    let fixtures = tests_folder("fixtures/uploads");
    run(&mut ingest(&[&fixtures], &room.lake())).success();
    copy_folder(&fixtures, &room.path("moved"));
    for uploads in [fixtures, room.path("moved")] {
        let mut command = inlet();
        command.arg("verify").arg("--json").arg(&uploads).arg("--lake").arg(room.lake());
        let said = run(&mut command).success().json();
        assert_eq!((&said["proved"], said["uploads"].as_array().map(Vec::len)), (&true.into(), Some(6)), "{said}");
    }
    assert_proved("without uploads", &proof_of(&room.lake(), &lake::schemas(&room.lake()), &[]));
}

#[test]
fn a_lake_that_met_its_limits_is_proved_under_other_limits() {
    let room = Room::new();
    let mut tight = settings();
    tight.limits.tables_per_schema = 2;
    tight.limits.new_columns_per_upload = 2;
    let uploads: Vec<Upload> = (0..3)
        .map(|number| {
            room.upload(&format!("{number}.ndjson"), &lines(&calls(&mut Chance::of(84), &format!("l{number}"), 60)))
        })
        .collect();
    for upload in &uploads {
        assert_landed(&land(&room.lake(), &tight, vec![upload.clone()]));
    }
    // What had no column at first has one now: it stands in `_rescued_data` still.
    assert_eq!(lake::tables(&room.lake(), SCHEMA).len(), 6 + 2 + 1);
    assert_proved("limited", &proof(&room.lake(), &uploads));
}

#[test]
fn an_upload_without_a_key_is_proved_from_a_file() {
    let room = Room::new();
    let bytes = lines(&[nameless("Searched", r#"{"n":1}"#), nameless("Searched", r#"{"n":1}"#)]);
    crate::process::run_with(&mut ingest(&["-"], &room.lake()), &bytes).success();
    let upload = room.upload("copy.ndjson", &bytes);
    assert_proved("standard input", &proof(&room.lake(), &[upload]));
}

#[test]
fn a_lake_that_another_engine_compacted_is_proved() {
    let harmed = harmed();
    crate::compacted::compact_all(&harmed.lake());
    assert_proved("compacted", &proof(&harmed.lake(), std::slice::from_ref(harmed.first)));
    for name in lake::tables(&harmed.lake(), SCHEMA) {
        let table = lake::open(&harmed.lake(), SCHEMA, &name);
        runtime().block_on(deltalake::checkpoints::create_checkpoint(&table, None)).expect("a checkpoint");
        for gone in 0..table.version().expect("a version") {
            fs::remove_file(harmed.table(&name).commit(gone)).expect("an old commit can be removed");
        }
    }
    assert_proved("with a checkpoint alone", &proof(&harmed.lake(), std::slice::from_ref(harmed.first)));
}

#[test]
fn a_run_that_was_killed_is_named_until_it_is_completed() {
    let room = Room::new();
    let events = calls(&mut Chance::of(82), "x", 30);
    assert_landed(&room.land(vec![room.upload("done.ndjson", &lines(&events[..5]))]));
    // A folder where the ledger's next commit belongs: no writer gets past it.
    let obstacle = Victim::of(&room.lake(), SCHEMA, "_loads").commit(1);
    fs::create_dir_all(&obstacle).expect("a folder in the ledger's log");
    let impatient = Settings { patience: Duration::from_secs(2), ..settings() };
    let half = room.upload("half.ndjson", &lines(&events));
    let stopped = land(&room.lake(), &impatient, vec![half.clone()]);
    assert_eq!(stopped.uploads[0].status, Status::Failed);
    fs::remove_dir(&obstacle).expect("the folder is ours");
    let found = Found(proof(&room.lake(), std::slice::from_ref(&half)));
    found.names(Check::HalfLanded, Some("tracks"), Some(&half), None);
    found.names(Check::NotLanded, None, Some(&half), None).only(&[Check::HalfLanded, Check::NotLanded]);
    assert_landed(&room.land(vec![half.clone()]));
    assert_proved("completed", &proof(&room.lake(), &[half]));
}

#[test]
fn the_command_says_differences_and_exits_with_65() {
    let harmed = harmed();
    fs::remove_dir_all(harmed.lake().join(SCHEMA).join("aliases")).expect("the table is there");
    let mut command = inlet();
    let said = run(command.arg("verify").arg("--lake").arg(harmed.lake()));
    assert_eq!(said.code, Some(65), "{said:#?}");
    assert!(
        said.out.contains("\nnot proved: ") && said.out.contains("\ntable_missing: table `events.aliases`"),
        "{}",
        said.out
    );
    let mut nowhere = inlet();
    let said = run(nowhere.args(["verify", "--json", "--lake"]).arg(harmed.room.path("nowhere")));
    assert_eq!((said.code, &said.json()["fault"]["kind"]), (Some(78), &"setup".into()));
}
