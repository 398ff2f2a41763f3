//! Calls of one process that leave their tables to each other: the lake becomes what it becomes without that, beside
//! other writers, with tables that are made anew between calls, and whichever request fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use inlet_core::delta::Lake;
use inlet_core::route::Parts;
use inlet_core::upload::Upload;

use crate::bucket::{Bucket, assert_like_clean};
use crate::events::{lines, track};
use crate::faulty::{ANY, Fault, Faulty, When};
use crate::lake::{self, Table};
use crate::support::{Chance, assert_landed, lake_over, land_by, land_over, settings, upload_of};

/// A process that keeps tables.
pub(crate) fn process(lake: Lake) -> Parts {
    Parts { lake, managed: None, settings: settings(), host: "terminal", allowance: None, kept: Some(Arc::default()) }
}

/// What happens to a lake.
enum Step {
    /// The process that is looked at lands uploads.
    Ours(Vec<Upload>),
    /// Another one does.
    Theirs(Vec<Upload>),
    /// A table goes, with its log.
    Drop(&'static str),
}

/// Uploads of few keys, with columns of their own: some are delivered again, some are overwritten, some reject a line.
fn history(seed: u64, length: usize) -> Vec<Step> {
    let mut chance = Chance::of(seed);
    let mut made: Vec<Upload> = Vec::new();
    let mut next = |chance: &mut Chance, number: usize| {
        if chance.is(20) && !made.is_empty() {
            return made[chance.below(made.len())].clone();
        }
        let event = |at: usize| track(&format!("n{number}-{at}"), "Kept", &format!(r#"{{"p{}":1}}"#, number % 5));
        let mut events: Vec<String> = (0..3).map(event).collect();
        if chance.is(40) {
            events.push("{}".to_owned());
        }
        let upload = upload_of(&format!("key {}", chance.below(8)), lines(&events));
        made.push(upload.clone());
        upload
    };
    let step = |number: usize| match chance.below(10) {
        0..5 => Step::Ours(vec![next(&mut chance, number)]),
        5..7 => Step::Theirs(vec![next(&mut chance, number)]),
        7 => Step::Ours(vec![next(&mut chance, number), next(&mut chance, number + length)]),
        _ => Step::Drop(chance.pick(&["tracks", "kept", "_rejects", "_loads"])),
    };
    (0..length).map(step).collect()
}

/// The tables after a history.
fn after(history: &[Step], keeps: bool) -> BTreeMap<String, Table> {
    let bucket = Bucket::default();
    let mut ours = process(lake_over(bucket.store()));
    if !keeps {
        ours.kept = None;
    }
    for step in history {
        match step {
            Step::Ours(uploads) => drop(land_by(&ours, uploads.clone())),
            Step::Theirs(uploads) => drop(land_over(bucket.store(), &settings(), uploads.clone())),
            Step::Drop(table) => {
                let folder = format!("/{table}/");
                bucket.keys().iter().filter(|key| key.contains(&folder)).for_each(|key| drop(bucket.take(key)));
            }
        }
    }
    bucket.tables()
}

#[test]
fn a_lake_does_not_tell_whether_its_writer_kept_tables() {
    let of_run: [&str; 5] = ["uuid_ts", "loaded_at", "started_at", "finished_at", "lag"];
    for seed in 0..4 {
        let history = history(seed, 12);
        lake::assert_same_tables(&format!("seed {seed}"), &after(&history, true), &after(&history, false), &of_run);
    }
}

fn upload(number: usize) -> Upload {
    upload_of(&format!("{number}.ndjson"), lines(&[track(&format!("m{number}"), "Kept", r#"{"a":1}"#)]))
}

#[test]
fn whichever_request_of_a_call_fails_the_next_makes_it_good() {
    let made = Bucket::default();
    assert_landed(&land_over(made.store(), &settings(), vec![upload(0)]));
    let clean = made.copy();
    for number in 1..4 {
        assert_landed(&land_over(clean.store(), &settings(), vec![upload(number)]));
    }
    let clean = clean.tables();
    for fault in [Fault::Reset, Fault::DropAnswer] {
        for number in 0.. {
            let bucket = made.copy();
            let faulty = Faulty::over(bucket.store());
            let parts = process(lake_over(faulty.store()));
            assert_landed(&land_by(&parts, vec![upload(1)]));
            faulty.play(fault, When::Nth(number), ANY);
            let report = land_by(&parts, vec![upload(2)]);
            let struck = faulty.struck();
            if struck.is_empty() {
                assert!(number > 20, "a call asks more than {number} times");
                break;
            }
            // What failed for once is delivered again.
            let again = if report.fault.is_some() { vec![upload(2), upload(3)] } else { vec![upload(3)] };
            let next = land_by(&parts, again);
            assert!(next.fault.is_none(), "{fault:?} at {struck:?}: {next:#?}");
            assert_like_clean(&format!("{fault:?} at {struck:?}"), &bucket.tables(), &clean);
        }
    }
}
