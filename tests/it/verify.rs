//! `inlet verify` proves a lake that is as the landing left it, and names what was lost, doubled or changed since.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch};
use inlet_core::delta::Lake;
use inlet_core::report::Status;
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;
use inlet_core::verify::{Check, Proof, verify};
use serde_json::{Value, json};
use url::Url;

use crate::corrupt::{Victim, change_stats, file_of, rows, texts, with};
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

fn proof(lake: &Path, uploads: &[Upload]) -> Proof {
    proof_of(lake, &[SCHEMA.to_owned()], uploads)
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

/// Whether a row of `_loads` is this upload's row for this table (none: its own).
fn is_load(batch: &RecordBatch, row: usize, upload: &Upload, table: Option<&str>) -> bool {
    let text = |name: &str| {
        let texts = batch.column_by_name(name).expect("a column of `_loads`").as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    text("upload_id") == Some(upload.id.to_string()) && text("table_name").as_deref() == table
}

/// Adds to a count in a row of `_loads`.
fn add_to(batch: &RecordBatch, column: &str, upload: &Upload, table: Option<&str>, more: i64) -> RecordBatch {
    let at = batch.schema().index_of(column).expect("a column of `_loads`");
    let old = batch.column(at).as_primitive::<Int64Type>();
    let new: Int64Array = (0..old.len())
        .map(|row| {
            let is_it = is_load(batch, row, upload, table);
            old.is_valid(row).then(|| old.value(row) + if is_it { more } else { 0 })
        })
        .collect();
    with(batch, at, Arc::new(new))
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
    assert_proved("compacted", &proof(&harmed.lake(), &[harmed.first.clone()]));
    for name in lake::tables(&harmed.lake(), SCHEMA) {
        let table = lake::open(&harmed.lake(), SCHEMA, &name);
        runtime().block_on(deltalake::checkpoints::create_checkpoint(&table, None)).expect("a checkpoint");
        for gone in 0..table.version().expect("a version") {
            fs::remove_file(harmed.table(&name).commit(gone)).expect("an old commit can be removed");
        }
    }
    assert_proved("with a checkpoint alone", &proof(&harmed.lake(), &[harmed.first.clone()]));
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
    let found = Found(proof(&room.lake(), &[half.clone()]));
    found.names(Check::HalfLanded, Some("tracks"), Some(&half), None);
    found.names(Check::NotLanded, None, Some(&half), None).only(&[Check::HalfLanded, Check::NotLanded]);
    assert_landed(&room.land(vec![half.clone()]));
    assert_proved("completed", &proof(&room.lake(), &[half]));
}

#[test]
fn a_file_that_was_added_twice_is_named() {
    let harmed = harmed();
    let table = harmed.table("pages");
    let add = table.adds()[0].clone();
    fs::copy(table.path(file_of(&add)), table.path("copy.parquet")).expect("a file can be copied");
    let mut copy = add;
    copy["add"]["path"] = "copy.parquet".into();
    let rows = rows_of(&harmed.lake(), "pages", harmed.second);
    table.push(&[copy]);
    let found = harmed.found();
    found.names(Check::Rows, Some("pages"), Some(harmed.second), Some((rows, 2 * rows)));
    found.names(Check::DoubledId, Some("pages"), Some(harmed.second), Some((0, rows)));
    found.names(Check::Landed, None, Some(harmed.second), None).only(&[Check::Rows, Check::DoubledId, Check::Landed]);
}

#[test]
fn a_file_that_is_gone_is_named() {
    let harmed = harmed();
    fs::remove_file(harmed.table("order_completed").first_file()).expect("the file is there");
    let found = harmed.found();
    found.names(Check::FileMissing, Some("order_completed"), None, None);
    found.names(Check::Rows, Some("order_completed"), Some(harmed.first), None);
}

#[test]
fn a_file_that_was_removed_by_the_log_is_named() {
    let harmed = harmed();
    let table = harmed.table("identifies");
    let file = file_of(&table.adds()[0]).to_owned();
    let rows = rows_of(&harmed.lake(), "identifies", harmed.first);
    table.push(&[json!({ "remove": { "path": file, "dataChange": true, "deletionTimestamp": 1 } })]);
    let found = harmed.found();
    found.names(Check::Rows, Some("identifies"), Some(harmed.first), Some((rows, 0)));
    found.names(Check::TxnWithoutRows, Some("identifies"), Some(harmed.first), None);
    found.names(Check::Landed, None, Some(harmed.first), None);
}

#[test]
fn a_file_that_was_cut_short_is_named() {
    let harmed = harmed();
    let file = harmed.table("tracks").first_file();
    let bytes = fs::read(&file).expect("the file is there");
    fs::write(&file, &bytes[..bytes.len() - 100]).expect("the file can be written");
    let found = harmed.found();
    found.names(Check::FileSize, Some("tracks"), None, Some((bytes.len() as i64, bytes.len() as i64 - 100)));
    found.names(Check::FileUnreadable, Some("tracks"), None, None);
    found.names(Check::Landed, None, Some(harmed.first), None);
}

#[test]
fn a_file_with_damaged_pages_is_named() {
    let harmed = harmed();
    let file = harmed.table("tracks").first_file();
    let mut bytes = fs::read(&file).expect("the file is there");
    let middle = bytes.len() / 2;
    bytes[4..middle].fill(0xAA);
    fs::write(&file, &bytes).expect("the file can be written");
    harmed.found().names(Check::FileUnreadable, Some("tracks"), None, None);
}

#[test]
fn rows_of_the_ledger_that_are_gone_are_named() {
    let harmed = harmed();
    let (first, second) = (harmed.first, harmed.second);
    harmed.table("_loads").rewrite(|batch| {
        let is_gone = |row| is_load(&batch, row, first, Some("pages")) || is_load(&batch, row, second, None);
        rows(&batch, |row| !is_gone(row))
    });
    let found = harmed.found();
    found.names(Check::Rows, Some("pages"), Some(first), Some((0, rows_of(&harmed.lake(), "pages", first))));
    found.names(Check::Ledger, None, Some(second), Some((1, 0)));
    // The row of a table where all was opted out has no rows to miss.
    let room = Room::new();
    let out = r#"{"integrations":{"Warehouses":{"all":false}},"#;
    let upload = room.upload("out.ndjson", &lines(&[track("o", "Opted Out", "{}").replacen('{', out, 1)]));
    assert_landed(&room.land(vec![upload.clone()]));
    let loads = Victim::of(&room.lake(), SCHEMA, "_loads");
    loads.rewrite(|batch| rows(&batch, |row| !is_load(&batch, row, &upload, Some("opted_out"))));
    Found(proof(&room.lake(), &[])).names(Check::Ledger, None, Some(&upload), Some((1, 0)));
}

#[test]
fn an_upload_that_the_ledger_forgot_is_named() {
    let harmed = harmed();
    let id = harmed.second.id.to_string();
    harmed.table("_loads").rewrite(|batch| {
        let ids = batch.column_by_name("upload_id").expect("the column is there").as_string::<i32>();
        rows(&batch, |row| ids.value(row) != id)
    });
    let found = harmed.found_with_uploads();
    let there = rows_of(&harmed.lake(), "tracks", harmed.second);
    found.names(Check::UnknownUpload, Some("tracks"), Some(harmed.second), Some((0, there)));
    found.names(Check::TxnWithoutRows, Some("_loads"), Some(harmed.second), None);
    found.names(Check::NotLanded, None, Some(harmed.second), None);
}

#[test]
fn counts_of_the_ledger_that_were_changed_are_named() {
    let harmed = harmed();
    let (first, second) = (harmed.first, harmed.second);
    harmed.table("_loads").rewrite(|batch| {
        let batch = add_to(&batch, "duplicates", first, None, 1);
        let batch = add_to(&batch, "rows", second, Some("tracks"), -1);
        add_to(&batch, "events", second, Some("tracks"), -1)
    });
    let found = harmed.found_with_uploads();
    found.names(Check::Equation, None, Some(first), Some((66, 67)));
    let there = rows_of(&harmed.lake(), "tracks", second);
    found.names(Check::Rows, Some("tracks"), Some(second), Some((there - 1, there)));
    found.names(Check::Ledger, None, Some(second), Some((40, 39)));
}

#[test]
fn an_id_in_the_log_without_rows_is_named() {
    let harmed = harmed();
    let txn = json!({ "txn": { "appId": format!("inlet/{:032x}", 7), "version": 1 } });
    harmed.table("groups").push(std::slice::from_ref(&txn));
    harmed.table("_loads").push(&[txn]);
    let found = harmed.found();
    found.names(Check::TxnWithoutRows, Some("groups"), None, None);
    found.names(Check::TxnWithoutRows, Some("_loads"), None, None).only(&[Check::TxnWithoutRows]);
}

#[test]
fn rows_without_their_id_in_the_log_are_named() {
    let harmed = harmed();
    let id = format!("inlet/{}", harmed.second.id);
    for table in ["tracks", "_loads"] {
        harmed.table(table).change(0, |actions| actions.retain(|action| action["txn"]["appId"] != id.as_str()));
    }
    let found = harmed.found();
    found.names(Check::RowsWithoutTxn, Some("tracks"), Some(harmed.second), None);
    found.names(Check::RowsWithoutTxn, Some("_loads"), Some(harmed.second), None).only(&[Check::RowsWithoutTxn]);
}

#[test]
fn a_rescued_value_that_was_dropped_is_named() {
    let harmed = harmed();
    harmed
        .table("searched")
        .rewrite(|batch| texts(&batch, "_rescued_data", |_, text| Some(text?.replace(r#","userId":"theirs""#, ""))));
    let found = harmed.found();
    found.names(Check::Rescued, Some("searched"), Some(harmed.first), Some((2, 1))).only(&[Check::Rescued]);
}

#[test]
fn a_rejection_that_is_gone_or_doubled_is_named() {
    let harmed = harmed();
    harmed.table("_rejects").rewrite(|batch| rows(&batch, |row| row > 0));
    let found = harmed.found();
    found.names(Check::Rejected, Some("_rejects"), Some(harmed.first), Some((2, 1))).only(&[Check::Rejected]);
    // One is gone and the other stands there twice: as many, and still not the same.
    let table = harmed.table("_rejects");
    let file = file_of(table.adds().last().expect("it has a file")).to_owned();
    fs::copy(table.path(&file), table.path("copy.parquet")).expect("a file can be copied");
    table.push(&[table.add("copy.parquet", 1)]);
    harmed.found().names(Check::DoubledId, Some("_rejects"), Some(harmed.first), Some((0, 1)));
}

#[test]
fn rows_that_changed_hands_are_named() {
    let harmed = harmed();
    let (first, second) = (harmed.first.id.to_string(), harmed.second.id.to_string());
    let mut moved = 0;
    harmed.table("screens").rewrite(|batch| {
        let ids = batch.column_by_name("_upload_id").expect("the column is there").as_string::<i32>();
        moved += ids.iter().filter(|id| *id == Some(&first)).count() as i64;
        texts(&batch, "_upload_id", |_, id| Some(if id == Some(&first) { second.clone() } else { id?.to_owned() }))
    });
    let found = harmed.found_with_uploads();
    found.names(Check::Rows, Some("screens"), Some(harmed.first), Some((moved, 0)));
    found.names(Check::TxnWithoutRows, Some("screens"), Some(harmed.first), None);
    found.names(Check::RowMissing, Some("screens"), Some(harmed.first), Some((moved, 0)));
    found.names(Check::RowExtra, Some("screens"), Some(harmed.second), Some((0, moved)));
}

#[test]
fn a_commit_that_is_gone_is_named() {
    let harmed = harmed();
    let table = harmed.table("tracks");
    let last = table.version();
    assert!(last > 1, "the table has commits in the middle");
    fs::remove_file(table.commit(1)).expect("the commit is there");
    harmed.found().names(Check::LogGap, Some("tracks"), None, None);
    // The newest leaves no gap: only `_loads` knows that it was there.
    let harmed = self::harmed();
    fs::remove_file(harmed.table("tracks").commit(last)).expect("the commit is there");
    let found = harmed.found();
    found.names(Check::LogBehind, Some("tracks"), None, Some((last as i64, last as i64 - 1)));
    found.names(Check::Rows, Some("tracks"), None, None);
}

#[test]
fn a_log_that_lies_about_its_files_is_named() {
    let harmed = harmed();
    let table = harmed.table("product_viewed");
    let change = |change: fn(&mut Value)| {
        table.change(0, |actions| {
            let add = actions.iter_mut().find(|action| action.get("add").is_some()).expect("a file is added");
            change_stats(add, change);
        });
    };
    change(|stats| stats["numRecords"] = 1_000.into());
    harmed.found().names(Check::FileRows, Some("product_viewed"), None, None).only(&[Check::FileRows]);
    change(|stats| stats["maxValues"]["_upload_id"] = stats["minValues"]["_upload_id"].clone());
    harmed.found().names(Check::FileStatistics, Some("product_viewed"), None, None);
}

#[test]
fn a_table_that_is_gone_is_named() {
    for table in ["aliases", "signed_up", "_rejects", "_loads"] {
        let harmed = harmed();
        fs::remove_dir_all(harmed.lake().join(SCHEMA).join(table)).expect("the table is there");
        harmed.found().names(Check::TableMissing, Some(table), None, None);
    }
}

#[test]
fn a_table_that_cannot_be_read_is_not_passed_over() {
    let harmed = harmed();
    fs::write(harmed.table("groups").commit(0), "no JSON\n").expect("the commit can be written");
    harmed.table("pages").change(0, |actions| {
        let add = actions.iter_mut().find(|action| action.get("add").is_some()).expect("a file is added");
        let vector = json!({ "storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
            "sizeInBytes": 40, "cardinality": 6 });
        add["add"]["deletionVector"] = vector;
        for action in actions.iter_mut().filter(|action| action.get("protocol").is_some()) {
            let features = json!(["deletionVectors"]);
            action["protocol"] = json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features,
                "writerFeatures": features });
        }
    });
    let found = harmed.found();
    found.names(Check::NotProved, Some("groups"), None, None);
    found.names(Check::NotProved, Some("pages"), None, None).only(&[Check::NotProved]);
}

#[test]
fn rows_of_nobody_are_named() {
    let harmed = harmed();
    harmed
        .table("aliases")
        .rewrite(|batch| texts(&batch, "_upload_id", |row, id| id.filter(|_| row > 0).map(str::to_owned)));
    harmed.table("groups").rewrite(|batch| texts(&batch, "id", |row, id| id.filter(|_| row > 0).map(str::to_owned)));
    harmed.table("screens").rewrite(|batch| texts(&batch, "_upload_id", |_, _| Some("somebody".to_owned())));
    let found = harmed.found();
    found.names(Check::NoUpload, Some("aliases"), None, None);
    found.names(Check::NoId, Some("groups"), None, None);
    found.names(Check::UnknownUpload, Some("screens"), None, None);
}

#[test]
fn an_id_that_was_changed_is_named() {
    let harmed = harmed();
    let (mut lost, mut first) = (None, true);
    harmed.table("signed_up").rewrite(|batch| {
        let changed =
            texts(
                &batch,
                "id",
                |row, id| if row == 0 && first { Some("changed".to_owned()) } else { id.map(str::to_owned) },
            );
        if std::mem::take(&mut first) {
            lost =
                Some(batch.column_by_name("id").expect("the column is there").as_string::<i32>().value(0).to_owned());
        }
        changed
    });
    harmed.found().names(Check::TrackWithoutEvent, Some("signed_up"), None, None).only(&[Check::TrackWithoutEvent]);
    let found = harmed.found_with_uploads();
    let lost = lost.expect("a row was changed");
    let message = |check| {
        let one = found.0.differences.iter().find(|difference| difference.check == check);
        one.unwrap_or_else(|| panic!("no {check:?} in {:#?}", found.0.differences)).message.clone()
    };
    assert!(message(Check::RowMissing).contains(&format!("`{lost}`")), "{}", message(Check::RowMissing));
    assert!(message(Check::RowExtra).contains("`changed`"), "{}", message(Check::RowExtra));
}

#[test]
fn a_value_that_was_changed_is_named() {
    let harmed = harmed();
    harmed.table("pages").rewrite(|batch| texts(&batch, "name", |row, name| Some(format!("{}{row}", name?))));
    harmed.table("_rejects").rewrite(|batch| texts(&batch, "reason", |_, _| Some("unknown_type".to_owned())));
    // The rows are there, each once: only the uploads know what they said.
    assert_proved("without uploads", &proof(&harmed.lake(), &[]));
    let found = harmed.found_with_uploads();
    found.names(Check::Value, Some("pages"), Some(harmed.second), None);
    found.names(Check::Value, Some("_rejects"), Some(harmed.first), Some((0, 2))).only(&[Check::Value]);
    assert!(found.0.differences.iter().any(|difference| difference.message.contains("columns `name`")));
}

#[test]
fn a_rescued_value_that_was_swapped_is_named() {
    let harmed = harmed();
    harmed
        .table("searched")
        .rewrite(|batch| texts(&batch, "_rescued_data", |_, text| Some(text?.replace(r#""mine""#, r#""yours""#))));
    harmed.found_with_uploads().names(Check::Value, Some("searched"), Some(harmed.first), Some((0, 1)));
}

#[test]
fn uploads_that_did_not_land_or_changed_are_named() {
    let harmed = harmed();
    let never = harmed.room.upload("never.ndjson", &lines(&calls(&mut Chance::of(83), "n", 3)));
    let overwritten = Upload { key: harmed.first.key.clone(), ..never.clone() };
    let found = Found(proof(&harmed.lake(), &[never.clone(), overwritten]));
    found.names(Check::NotLanded, None, Some(&never), None).only(&[Check::NotLanded]);
    let messages: Vec<&str> = found.0.differences.iter().map(|difference| difference.message.as_str()).collect();
    assert!(!messages[0].contains("other bytes") && messages[1].contains(&harmed.first.id.to_string()), "{messages:?}");
}

#[test]
fn a_landing_that_judged_otherwise_is_named() {
    let room = Room::new();
    let listed = track("listed", "Searched", "{}").replacen(
        '{',
        r#"{"integrations":{"Warehouses":{"warehouseIds":["us"]}},"#,
        1,
    );
    let upload = room.upload("one.ndjson", &lines(&[listed, track("other", "Searched", "{}")]));
    let ours = Settings { warehouse_id: Some("us".to_owned()), ..settings() };
    assert_landed(&land(&room.lake(), &ours, vec![upload.clone()]));
    let found = Found(proof(&room.lake(), &[upload.clone()]));
    found.names(Check::ReadFiltered, None, Some(&upload), Some((0, 1)));
    found.names(Check::RowExtra, Some("tracks"), Some(&upload), Some((0, 1)));
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
