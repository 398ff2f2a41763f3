//! Writers that meet: each is held at its commit until all are there, so that all but one lose, every time.

use std::collections::BTreeMap;

use inlet_core::report::Report;
use inlet_core::upload::Upload;

use crate::bucket::{Bucket, assert_like_clean};
use crate::events::{lines, track};
use crate::faulty::{COMMIT, Fault, Faulty, When, Which};
use crate::lake::Table;
use crate::support::{land_over, settings, upload_of};

/// An upload with a column of its own in a table that all share, and a rejection.
fn upload(name: &str) -> Upload {
    let own = |n: usize| track(&format!("{name}{n}"), "Kept", &format!(r#"{{"a":{n},"own_{name}":true}}"#));
    upload_of(&format!("{name}.ndjson"), lines(&[own(0), own(1), own(2), "{}".to_owned()]))
}

fn uploads(names: &str) -> Vec<Upload> {
    names.split(' ').map(upload).collect()
}

/// What a race begins from, and how it must end.
struct Race {
    before: Bucket,
    /// Each writer's uploads.
    writers: Vec<Vec<Upload>>,
    clean: BTreeMap<String, Table>,
    landed: u64,
}

impl Race {
    /// `before` names the uploads that stand in the lake, the rest each writer's.
    fn of(before: Option<&str>, writers: &[&str]) -> Self {
        let bucket = Bucket::default();
        let mut known: Vec<String> = Vec::new();
        if let Some(names) = before {
            land_over(bucket.store(), &settings(), uploads(names));
            known.extend(names.split(' ').map(str::to_owned));
        }
        let clean = bucket.copy();
        let mut all: Vec<String> = writers.iter().flat_map(|names| names.split(' ')).map(str::to_owned).collect();
        all.retain(|name| !known.contains(name));
        all.sort();
        all.dedup();
        let report = land_over(clean.store(), &settings(), all.iter().map(|name| upload(name)).collect());
        assert!(report.gravest().is_none(), "{report:#?}");
        let writers = writers.iter().map(|names| uploads(names)).collect();
        Self { before: bucket, writers, clean: clean.tables(), landed: report.totals.counts.landed }
    }

    /// All writers at once, each with faults of its own; every event must stand there once, said by one of them.
    fn run(&self, what: &str, held: &[Which], faults: &[(Fault, Which)]) {
        let bucket = self.before.copy();
        let gate = Faulty::over(bucket.store());
        held.iter().for_each(|which| gate.hold(self.writers.len(), *which));
        let reports: Vec<Report> = std::thread::scope(|scope| {
            let start = |(number, uploads): (usize, &Vec<Upload>)| {
                let (store, uploads) = (Faulty::over(gate.store()), uploads.clone());
                if let Some((fault, which)) = faults.get(number) {
                    store.play(*fault, When::Nth(0), *which);
                }
                scope.spawn(move || land_over(store.store(), &settings(), uploads))
            };
            let threads: Vec<_> = self.writers.iter().enumerate().map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("a writer does not panic")).collect()
        });
        assert!(gate.all_held(), "{what}: the writers did not meet");
        for report in &reports {
            assert!(report.gravest().is_none(), "{what}: {report:#?}");
        }
        let landed: u64 = reports.iter().map(|report| report.totals.counts.landed).sum();
        assert_eq!(landed, self.landed, "{what}: each upload is landed by one of them: {reports:#?}");
        assert_like_clean(what, &bucket.tables(), &self.clean);
    }
}

const TRACKS: Which = COMMIT.of("tracks");
const KEPT: Which = COMMIT.of("kept");

#[test]
fn two_writers_that_always_meet_land_each_event_once() {
    let races = [
        Race::of(None, &["a", "a"]),
        Race::of(None, &["a b", "b c"]),
        Race::of(Some("z"), &["a", "a"]),
        Race::of(Some("z"), &["a", "b"]),
        Race::of(Some("a"), &["a b c", "c b a"]),
    ];
    for round in 0..200 {
        let held = if round % 2 == 0 { &[TRACKS][..] } else { &[TRACKS, KEPT] };
        races[round % races.len()].run(&format!("round {round}"), held, &[]);
    }
}

#[test]
fn three_writers_that_always_meet_land_each_event_once() {
    let races = [Race::of(None, &["a b", "b c", "c a"]), Race::of(Some("z"), &["a", "a", "b"])];
    for round in 0..24 {
        races[round % races.len()].run(&format!("round {round}"), &[TRACKS, KEPT], &[]);
    }
}

#[test]
fn writers_that_meet_and_get_unclear_answers_land_each_event_once() {
    let races = [Race::of(None, &["a", "a"]), Race::of(Some("z"), &["a", "a b"])];
    let unclear = [Fault::DropAnswer, Fault::BeatItself, Fault::Reset, Fault::Answer(409), Fault::Answer(503)];
    for race in &races {
        for fault in unclear {
            for which in [TRACKS, KEPT, COMMIT.of("_rejects"), COMMIT.of("_loads")] {
                race.run(&format!("{fault:?} at {which:?}"), &[TRACKS], &[(fault, which)]);
                race.run(&format!("{fault:?} at {which:?} of both"), &[TRACKS], &[(fault, which), (fault, which)]);
            }
        }
    }
}
