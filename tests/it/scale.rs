//! What a run asks of its store: counted to the request, and no more of it as tables grow.

use std::collections::BTreeMap;
use std::fmt::Write;

use inlet_core::clock;
use inlet_core::delta::{COMMITS_PER_CHECKPOINT, Table};
use inlet_core::report::{Report, Status};
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;

use crate::bucket::{Bucket, assert_like_clean};
use crate::events::{lines, track};
use crate::faulty::{CHECKPOINT, Fault, Faulty, Kind, Method, Object, When};
use crate::json::Json;
use crate::kept::process;
use crate::support::{SCHEMA, assert_landed, lake_over, land_by, land_over, settings, the_only, upload_of};

/// The tables of [`upload`].
const TABLES: [&str; 3] = ["_loads", "kept", "tracks"];

/// An upload of one event for the tables `tracks` and `kept`.
fn upload(number: usize) -> Upload {
    upload_of(&format!("{number:05}.ndjson"), lines(&[track(&format!("m{number}"), "Kept", r#"{"a":1}"#)]))
}

/// Lands uploads by one worker, whose files are as few as can be; answers what that took.
fn requests(bucket: &Bucket, uploads: Vec<Upload>) -> (Report, BTreeMap<Kind, usize>) {
    let faulty = Faulty::over(bucket.store());
    let report = land_over(faulty.store(), &Settings { workers: 1, ..settings() }, uploads);
    assert_landed(&report);
    (report, faulty.counts())
}

/// A lake that one upload made.
fn made() -> Bucket {
    let bucket = Bucket::default();
    requests(&bucket, vec![upload(0)]);
    bucket
}

fn log_file(table: &str, version: usize, kind: &str) -> String {
    format!("lake/events/{table}/_delta_log/{version:020}.{kind}")
}

/// Lengthens a table's log up to a version, by commits with an id each: what so many runs would have left.
fn lengthen(bucket: &Bucket, table: &str, versions: std::ops::RangeInclusive<usize>) {
    for version in versions {
        bucket.put(&log_file(table, version, "json"), commit(&[version]));
    }
}

fn commit(ids: &[usize]) -> Vec<u8> {
    let mut commit = r#"{"commitInfo":{"timestamp":1773576000000,"operation":"WRITE"}}"#.to_owned();
    // An id that has expired would not outlive a checkpoint.
    let now_ms = clock::now() / 1_000;
    for id in ids {
        let txn = format!(r#"{{"appId":"inlet/{id:032x}","version":1,"lastUpdated":{now_ms}}}"#);
        write!(commit, "\n{{\"txn\":{txn}}}").expect("memory can be written");
    }
    commit.into_bytes()
}

/// A lake whose tables all are at a version just above a checkpoint, with so many more ids.
fn at_version(version: usize, ids: usize) -> Bucket {
    let bucket = made();
    let last = COMMITS_PER_CHECKPOINT as usize + 1;
    for table in TABLES {
        lengthen(&bucket, table, 1..=last);
        let ids: Vec<usize> = (0..ids).map(|id| 1_000_000 + id).collect();
        bucket.put(&log_file(table, 1, "json"), commit(&ids));
    }
    requests(&bucket, vec![upload(1)]);
    // What stands in a checkpoint does not depend on its version: the log begins at it from now on.
    for table in TABLES {
        let checkpoint = bucket.take(&log_file(table, last + 1, "checkpoint.parquet"));
        bucket.put(&log_file(table, version, "checkpoint.parquet"), checkpoint.to_vec());
        bucket.put(&log_file(table, version, "json"), commit(&[]));
        let hint = format!("lake/events/{table}/_delta_log/_last_checkpoint");
        bucket.put(&hint, format!(r#"{{"version":{version},"size":{}}}"#, 105 + ids).into_bytes());
        for old in 0..=last + 1 {
            if old != version {
                bucket.take(&log_file(table, old, "json"));
            }
        }
    }
    bucket
}

fn expected(counts: &[(Method, Object, usize)]) -> BTreeMap<Kind, usize> {
    counts.iter().map(|&(method, object, count)| ((method, object), count)).collect()
}

/// What a run of one upload asks, when so many commits stand behind the last checkpoint of each table (`None` while
/// there is none).
fn of_one_upload(checkpoint: bool, commits: usize) -> BTreeMap<Kind, usize> {
    use Method::{Delete, Get, List, Put};
    use Object::{Commit, Data, Folder, Log, Note, State};
    let tables = TABLES.len();
    // A commit is read twice: for the table's columns and for its ids.
    let mut counts = expected(&[
        (Put, Data, tables),
        (Put, Commit, tables),
        (Get, Commit, 2 * tables * commits),
        // The hint that leads to the last checkpoint, `_rejects` included, which is not there; and the checkpoint.
        (Get, Log, tables + 1 + if checkpoint { 6 * tables } else { 0 }),
        // Each log once, twice when nothing is found; the folders of the schema, the notes of others, those of held rows
        // (for rows that waited for a gate, and for what the plans must know), and the gate of each table.
        (List, Folder, tables + 2 + 2 + 2 + tables),
        (Put, Note, 1),
        (Delete, Note, 1),
        // The store's clock.
        (Put, State, 1),
        (Get, State, 1),
    ]);
    counts.retain(|_, count| *count > 0);
    counts
}

#[test]
fn a_run_asks_as_much_at_version_ten_thousand_as_at_ten() {
    let bucket = made();
    for table in TABLES {
        lengthen(&bucket, table, 1..=10);
    }
    assert_eq!(requests(&bucket, vec![upload(1)]).1, of_one_upload(false, 11), "version 10");
    for version in [1_000, 10_000] {
        let bucket = at_version(version, 0);
        for behind in 0..3 {
            let (report, counts) = requests(&bucket, vec![upload(2 + behind)]);
            assert_eq!(counts, of_one_upload(true, behind), "version {version}, {behind} commits behind");
            let committed = the_only(&report).tables.iter().map(|table| table.version);
            assert!(committed.eq([Some((version + behind) as u64 + 1); 2]), "{report:#?}");
        }
    }
}

#[test]
fn a_run_asks_as_much_with_twenty_thousand_upload_ids_as_with_none() {
    let bucket = at_version(10_000, 20_000);
    assert_eq!(requests(&bucket, vec![upload(2)]).1, of_one_upload(true, 0));
    // All of them are known, the first and the last.
    for id in [1_000_000, 1_019_999] {
        let table = Table::open(&lake_over(bucket.store()), SCHEMA, "tracks");
        let table = table.expect("memory can be read").expect("the table is there");
        assert!(table.has(&format!("inlet/{id:032x}")) && !table.has("inlet/"), "{id}");
    }
}

#[test]
fn a_warm_call_asks_of_each_log_what_is_new() {
    use Method::{Delete, Get, List, Put};
    use Object::{Commit, Data, Folder, Log, Note, State};
    let tables = TABLES.len();
    let bucket = at_version(300, 20_000);
    for (number, table) in TABLES.iter().enumerate() {
        lengthen(&bucket, table, 301..=330 + number);
    }
    let faulty = Faulty::over(bucket.store());
    let mut parts = process(lake_over(faulty.store()));
    parts.settings.workers = 1;
    let mut counts = Vec::new();
    for number in 2..5 {
        let before = faulty.counts();
        assert_landed(&land_by(&parts, vec![upload(number)]));
        let mut asked = faulty.counts();
        asked.iter_mut().for_each(|(kind, count)| *count -= before.get(kind).copied().unwrap_or(0));
        asked.retain(|_, count| *count > 0);
        counts.push(asked);
    }
    let warm = expected(&[
        (Put, Data, tables),
        (Put, Commit, tables),
        // Whether the log still is the same: two looks before, one at the end.
        (Get, Commit, 3 * tables),
        // `_rejects`, which is not there.
        (Get, Log, 1),
        // As every run: each log, what others left, held rows, gates.
        (List, Folder, tables + 2 + 2 + 2 + tables),
        (Put, Note, 1),
        (Delete, Note, 1),
        (Put, State, 1),
        (Get, State, 1),
    ]);
    assert_eq!(counts[1..], [warm.clone(), warm]);
    // What the process had to read once.
    let read = |counts: &BTreeMap<Kind, usize>| counts[&(Get, Commit)] + counts[&(Get, Log)];
    assert!(read(&counts[0]) > 200, "{:?}", counts[0]);
}

#[test]
fn after_every_checkpoint_runs_ask_as_much_as_after_the_last() {
    let bucket = made();
    let (mut number, mut version) = (0, 0);
    for _ in 0..3 {
        // Most of the commits to the next checkpoint are made at once.
        let behind = COMMITS_PER_CHECKPOINT as usize;
        TABLES.iter().for_each(|table| lengthen(&bucket, table, version + 1..=version + behind));
        version += behind;
        let mut next = || {
            (number, version) = (number + 1, version + 1);
            requests(&bucket, vec![upload(number)]).1
        };
        assert_eq!(next()[&(Method::Put, Object::Log)], 2 * TABLES.len(), "a checkpoint of each table, and its hint");
        for behind in 0..3 {
            assert_eq!(next(), of_one_upload(true, behind), "{behind} commits behind");
        }
    }
}

#[test]
fn uploads_of_one_run_share_its_requests() {
    let one = requests(&made(), vec![upload(1)]).1;
    assert_eq!(one, of_one_upload(false, 1));
    let (report, thousand) = requests(&made(), (1..=1_000).map(upload).collect());
    assert_eq!(report.totals.counts.landed, 1_000);
    assert_eq!(thousand, one);
}

#[test]
fn tables_that_a_run_does_not_write_to_cost_it_nothing() {
    let bucket = made();
    for number in 0..40 {
        let table = format!("other_{number}");
        bucket.put(&log_file(&table, 0, "json"), bucket.bytes(&log_file("kept", 0, "json")).to_vec());
    }
    assert_eq!(requests(&bucket, vec![upload(1)]).1, of_one_upload(false, 1));
}

#[test]
fn five_thousand_properties_cost_no_request_and_lose_no_value() {
    let bucket = made();
    let properties: Vec<_> = (0..5_000).map(|n| format!(r#""p{n:04}":{n}"#)).collect();
    let event = track("wide", "Kept", &format!("{{{}}}", properties.join(",")));
    let (report, counts) = requests(&bucket, vec![upload_of("wide.ndjson", lines(&[event]))]);
    assert_eq!(counts, of_one_upload(false, 1));
    let limits = settings().limits;
    assert_eq!(the_only(&report).counts.rescued as usize, 5_000 - limits.new_columns_per_upload);
    let tables = bucket.tables();
    let row = tables["kept"].row("wide");
    let rescued = Json::parse(row["_rescued_data"].text());
    for n in 0..5_000 {
        let name = format!("p{n:04}");
        let kept = row.get(&name).map(|value| value.number().to_string());
        let rescued = rescued.get(&name).map(Json::plain);
        assert_eq!(kept.or(rescued), Some(n.to_string()), "{name}");
    }
}

#[test]
fn a_run_that_dies_while_it_tidies_has_landed() {
    let clean = made();
    requests(&clean, vec![upload(1)]);
    requests(&clean, vec![upload(2)]);
    for fault in [Fault::Kill, Fault::DropAnswer, Fault::BeatItself, Fault::Answer(503)] {
        // The checkpoint, then the hint that leads to it.
        for number in 0..2 {
            let what = format!("{fault:?} at {number}");
            let bucket = made();
            lengthen(&bucket, "tracks", 1..=COMMITS_PER_CHECKPOINT as usize);
            let faulty = Faulty::over(bucket.store());
            faulty.play(fault, When::Nth(number), CHECKPOINT);
            assert_landed(&land_over(faulty.store(), &settings(), vec![upload(1)]));
            assert_eq!(faulty.struck().len(), 1, "{what}");
            let next = land_over(bucket.store(), &settings(), vec![upload(1), upload(2)]);
            let statuses: Vec<_> = next.uploads.iter().map(|upload| upload.status).collect();
            assert_eq!(statuses, [Status::AlreadyLanded, Status::Landed], "{what}");
            assert_like_clean(&what, &bucket.tables(), &clean.tables());
        }
    }
}
