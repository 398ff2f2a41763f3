//! Compactions that meet appends, other compactions, faults and death.

use std::collections::BTreeMap;
use std::time::Duration;

use inlet_core::fault::FaultKind;
use inlet_core::maintain::MaintainReport;
use inlet_core::upload::Upload;
use serde_json::Value as Json;

use super::{DAY, HOUR, ask_in, maintained_within, of};
use crate::bucket::{Bucket, assert_like_clean};
use crate::events::{lines, track};
use crate::faulty::{ANY, COMMIT, DATA, Fault, Faulty, When, Which};
use crate::lake::Table;
use crate::support::{SCHEMA, assert_landed, lake_over, land_over, settings, upload_of};

/// Who is dead has no patience.
const PATIENCE_OF_THE_DEAD: Duration = Duration::from_millis(20);
const KEPT: Which = COMMIT.of("kept");
const FILLER: &str = r#"{"commitInfo":{"timestamp":1773576000000,"operation":"WRITE"}}"#;

fn upload(name: &str) -> Upload {
    let own = |n: usize| track(&format!("{name}{n}"), "Kept", &format!(r#"{{"a":{n}}}"#));
    upload_of(&format!("{name}.ndjson"), lines(&[own(0), own(1)]))
}

/// A lake where these uploads landed, each by a run of its own.
fn landed(names: &[&str]) -> Bucket {
    let bucket = Bucket::default();
    for name in names {
        assert_landed(&land_over(bucket.store(), &settings(), vec![upload(name)]));
    }
    bucket
}

/// Puts what stands in a bucket in order, two hours from now, over a store with faults.
fn maintained(store: &Faulty, patience: Duration) -> MaintainReport {
    maintained_within(&lake_over(store.store()), &ask_in(2 * HOUR), patience)
}

fn maintained_in(bucket: &Bucket) -> MaintainReport {
    let report = maintained(&Faulty::over(bucket.store()), settings().patience);
    assert_eq!(report.gravest(), None, "{report:#?}");
    report
}

/// The text of the last commit to `kept`.
fn last_commit(bucket: &Bucket) -> String {
    let keys = bucket.keys();
    let commits = keys.iter().filter(|key| key.contains("/kept/_delta_log/") && key.ends_with(".json"));
    String::from_utf8(bucket.bytes(commits.max().expect("a log has commits")).into()).expect("a log is text")
}

/// Parquet files of the tables that no log names as a part of them.
fn unnamed(bucket: &Bucket, tables: &BTreeMap<String, Table>) -> usize {
    let files = bucket.keys().iter().filter(|key| key.ends_with(".parquet") && !key.contains("_delta_log")).count();
    files - tables.values().map(|table| table.files).sum::<usize>()
}

#[test]
fn a_compaction_that_lost_the_race_to_an_append_is_committed_behind_it() {
    let (bucket, clean) = (landed(&["a", "b", "c"]), landed(&["a", "b", "c", "d"]));
    // The append as it would be, from a copy.
    let copy = bucket.copy();
    assert_landed(&land_over(copy.store(), &settings(), vec![upload("d")]));
    for key in copy.keys().iter().filter(|key| key.contains("/kept/part-")) {
        bucket.put(key, copy.bytes(key).into());
    }
    let store = Faulty::over(bucket.store());
    store.play(Fault::Overtaken(last_commit(&copy).leak()), When::Nth(0), KEPT);
    let report = maintained(&store, settings().patience);
    assert_eq!((store.struck().len(), report.gravest()), (1, None), "{report:#?}");
    assert_eq!((of(&report, "kept").compacted.from_files, of(&report, "kept").compacted.dropped), (3, 0));
    let kept = &bucket.tables()["kept"];
    assert_eq!((kept.files, kept.version), (2, 4), "the compacted one, and the append's");
    crate::lake::assert_same_rows("kept", &kept.content(&["uuid_ts"]), &clean.tables()["kept"].content(&["uuid_ts"]));
    // The overtaken append lands its other tables, and finds that this one has its rows.
    assert_landed(&land_over(bucket.store(), &settings(), vec![upload("d")]));
    assert_like_clean("an append first", &bucket.tables(), &clean.tables());
}

#[test]
fn an_append_that_lost_the_race_to_a_compaction_lands_behind_it() {
    let (bucket, clean) = (landed(&["a", "b", "c"]), landed(&["a", "b", "c", "d"]));
    let copy = bucket.copy();
    maintained_in(&copy);
    for key in copy.keys().iter().filter(|key| key.contains("/kept/part-")) {
        bucket.put(key, copy.bytes(key).into());
    }
    let store = Faulty::over(bucket.store());
    store.play(Fault::Overtaken(last_commit(&copy).leak()), When::Nth(0), KEPT);
    let report = land_over(store.store(), &settings(), vec![upload("d")]);
    assert_eq!(store.struck().len(), 1);
    assert_landed(&report);
    let tables = bucket.tables();
    assert_eq!((tables["kept"].files, tables["kept"].version), (2, 4));
    assert_like_clean("a compaction first", &tables, &clean.tables());
}

#[test]
fn appends_and_compactions_that_always_meet_change_nothing() {
    let (before, clean) = (landed(&["a", "b"]), landed(&["a", "b", "c", "d"]));
    for round in 0..20 {
        let bucket = before.copy();
        let gate = Faulty::over(bucket.store());
        gate.hold(3, if round % 2 == 0 { KEPT } else { COMMIT.of("tracks") });
        std::thread::scope(|scope| {
            let land = |name: &'static str| {
                let gate = &gate;
                scope.spawn(move || assert_landed(&land_over(gate.store(), &settings(), vec![upload(name)])))
            };
            let threads = [
                land("c"),
                land("d"),
                scope.spawn(|| {
                    let report = maintained(&gate, settings().patience);
                    assert_eq!(report.gravest(), None, "{report:#?}");
                }),
            ];
            threads.into_iter().for_each(|thread| thread.join().expect("a writer does not panic"));
        });
        assert!(gate.all_held(), "round {round}: they did not meet");
        assert_like_clean(&format!("round {round}"), &bucket.tables(), &clean.tables());
    }
}

#[test]
fn two_compactions_that_meet_are_one() {
    let before = landed(&["a", "b", "c"]);
    for round in 0..6 {
        let bucket = before.copy();
        let gate = Faulty::over(bucket.store());
        gate.hold(2, KEPT);
        let reports: Vec<MaintainReport> = std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(|| maintained(&gate, settings().patience)));
            threads.into_iter().map(|thread| thread.join().expect("a writer does not panic")).collect()
        });
        assert!(gate.all_held(), "round {round}: they did not meet");
        assert!(reports.iter().all(|report| report.gravest().is_none()), "{reports:#?}");
        let of_kept = |count: fn(&inlet_core::maintain::Compacted) -> u64| -> u64 {
            reports
                .iter()
                .flat_map(|report| &report.tables)
                .filter(|table| table.table.ends_with(".kept"))
                .map(|table| count(&table.compacted))
                .sum()
        };
        assert_eq!((of_kept(|one| one.commits), of_kept(|one| one.dropped)), (1, 1), "{reports:#?}");
        assert_like_clean(&format!("round {round}"), &bucket.tables(), &before.tables());
    }
}

#[test]
fn a_compaction_of_files_that_somebody_removed_is_dropped() {
    let bucket = landed(&["a", "b", "c"]);
    let before = bucket.tables();
    let first = bucket.bytes(&format!("lake/{SCHEMA}/kept/_delta_log/{:020}.json", 0));
    let add = String::from_utf8(first.into()).expect("a log is text");
    let add = add.lines().find(|line| line.contains(r#""add""#)).expect("it has a file");
    let add: Json = serde_json::from_str(add).expect("JSON");
    let remove = serde_json::json!({"remove": {"path": add["add"]["path"], "deletionTimestamp": 1773576000000_i64, "dataChange": false}});
    let store = Faulty::over(bucket.store());
    store.play(Fault::Overtaken(remove.to_string().leak()), When::Nth(0), KEPT);
    let report = maintained(&store, settings().patience);
    assert_eq!((of(&report, "kept").compacted.commits, of(&report, "kept").compacted.dropped), (0, 1), "{report:#?}");
    let tables = bucket.tables();
    assert_eq!((tables["kept"].files, tables["kept"].version), (2, 3), "as somebody else left it");
    let of_table = |bucket: &Bucket| bucket.keys().iter().filter(|key| key.contains("/kept/part-")).count();
    assert_eq!(of_table(&bucket), before["kept"].files, "what was written for it is gone");
}

#[test]
fn a_compaction_that_is_overtaken_ten_times_is_committed() {
    let bucket = landed(&["a", "b"]);
    let store = Faulty::over(bucket.store());
    (0..10).for_each(|number| store.play(Fault::Overtaken(FILLER), When::Nth(number), KEPT));
    let report = maintained(&store, settings().patience);
    assert_eq!((store.struck().len(), report.gravest()), (10, None), "{report:#?}");
    assert_eq!((bucket.tables()["kept"].files, bucket.tables()["kept"].version), (1, 12));
}

/// Lets each request of a run meet a fault in turn, until a run has no more requests; the next run puts in order what is
/// left.
fn each_request(which: Which, fault: Fault) {
    let before = landed(&["a", "b"]);
    let clean = before.tables();
    for number in 0.. {
        let bucket = before.copy();
        let store = Faulty::over(bucket.store());
        store.play(fault, When::Nth(number), which);
        let patience = if fault == Fault::Kill { PATIENCE_OF_THE_DEAD } else { settings().patience };
        let report = maintained(&store, patience);
        let what = format!("{:?}", store.struck());
        assert!(matches!(report.gravest(), None | Some(FaultKind::Again)), "{what}: {report:#?}");
        assert_like_clean(&what, &bucket.tables(), &clean);
        if store.struck().is_empty() {
            assert!(number > 10, "only {number} requests met {fault:?}");
            return;
        }
        maintained_in(&bucket);
        let tables = bucket.tables();
        assert!(tables.values().all(|table| table.files == 1), "{what}: {tables:#?}");
        assert_like_clean(&what, &tables, &clean);
        // Whatever the dead left is nobody's after a while.
        let later = maintained_within(&lake_over(bucket.store()), &ask_in(8 * DAY), settings().patience);
        assert_eq!(later.gravest(), None, "{what}: {later:#?}");
        assert_eq!(unnamed(&bucket, &tables), 0, "{what}");
        assert_like_clean(&what, &bucket.tables(), &clean);
    }
}

#[test]
fn a_run_that_dies_at_any_request_leaves_the_tables_right_and_is_completed_by_the_next() {
    each_request(ANY, Fault::Kill);
}

#[test]
fn a_lost_answer_to_a_commit_or_a_file_is_cleared_up() {
    for which in [COMMIT, DATA] {
        for fault in [Fault::DropAnswer, Fault::Reset] {
            let bucket = landed(&["a", "b", "c"]);
            let clean = bucket.tables();
            let store = Faulty::over(bucket.store());
            (0..4).for_each(|number| store.play(fault, When::Nth(2 * number), which));
            let report = maintained(&store, settings().patience);
            assert!(matches!(report.gravest(), None | Some(FaultKind::Again)), "{which:?}: {report:#?}");
            assert_like_clean(&format!("{fault:?} at {which:?}"), &bucket.tables(), &clean);
            maintained_in(&bucket);
            assert_like_clean(&format!("{fault:?} at {which:?}"), &bucket.tables(), &clean);
        }
    }
}
