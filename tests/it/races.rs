//! Writers that meet: each is held at its commit until all are there, so that all but one lose, every time.

use std::collections::BTreeMap;

use inlet_core::fault::FaultKind;
use inlet_core::report::Report;
use inlet_core::upload::Upload;
use serde_json::{Value, json};

use crate::bucket::{Bucket, assert_like_clean};
use crate::events::{lines, track};
use crate::faulty::{COMMIT, Fault, Faulty, When, Which};
use crate::lake::Table;
use crate::support::{SCHEMA, assert_landed, land_over, settings, upload_of};

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

const FILLER: &str = r#"{"commitInfo":{"timestamp":1773576000000,"operation":"WRITE"}}"#;

/// One upload lands in a lake that knows its tables, while somebody else commits these texts to `kept` first, one after
/// another.
fn overtaken(by: &[&'static str]) -> (Bucket, Report) {
    let bucket = Bucket::default();
    assert_landed(&land_over(bucket.store(), &settings(), uploads("z")));
    let store = Faulty::over(bucket.store());
    by.iter().enumerate().for_each(|(number, text)| store.play(Fault::Overtaken(text), When::Nth(number), KEPT));
    let report = land_over(store.store(), &settings(), uploads("a"));
    assert_eq!(store.struck().len(), by.len(), "{report:#?}");
    (bucket, report)
}

#[test]
fn a_writer_that_is_overtaken_thirty_times_lands() {
    let (bucket, report) = overtaken(&[FILLER; 30]);
    assert_landed(&report);
    let tables = bucket.tables();
    assert_eq!((tables["kept"].version, tables["kept"].rows.len(), tables["tracks"].rows.len()), (31, 6, 6));
}

#[test]
fn a_column_that_somebody_else_adds_first_with_another_type_takes_no_value() {
    let mut action: Value = serde_json::from_str(&made_kept()).expect("an action is JSON");
    let schema = action["metaData"]["schemaString"].as_str().expect("the schema is text");
    let mut schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let column = json!({"name": "own_a", "type": "long", "nullable": true, "metadata": {}});
    schema["fields"].as_array_mut().expect("fields").push(column);
    action["metaData"]["schemaString"] = schema.to_string().into();
    let (bucket, report) = overtaken(&[action.to_string().leak()]);
    assert_landed(&report);
    let tables = bucket.tables();
    assert_eq!(tables["kept"].types()["own_a"], "bigint");
    for number in 0..3 {
        let row = tables["kept"].row(&format!("a{number}"));
        assert_eq!((row.get("own_a"), row["_rescued_data"].text()), (None, r#"{"own_a":true}"#));
    }
    assert_eq!(tables["tracks"].rows.len(), 6);
}

#[test]
fn a_table_that_somebody_else_upgrades_beyond_us_is_left_alone() {
    let upgrade = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":[],"writerFeatures":["checkConstraints"]}}"#;
    let (bucket, report) = overtaken(&[upgrade]);
    assert_eq!(report.gravest(), Some(FaultKind::Setup), "{report:#?}");
    let said = &report.fault.as_ref().expect("the run was stopped").message;
    assert!(said.contains("events.kept") && said.contains("checkConstraints"), "{said}");
    assert_eq!(bucket.tables()["kept"].rows.len(), 3, "nothing was added");
    assert_eq!(bucket.done().len(), 1, "and nothing is said to be done");
}

/// The action that makes `kept` what its first upload needs.
fn made_kept() -> String {
    let bucket = Bucket::default();
    assert_landed(&land_over(bucket.store(), &settings(), uploads("z")));
    let log = bucket.bytes(&format!("lake/{SCHEMA}/kept/_delta_log/{:020}.json", 0));
    String::from_utf8(log.into())
        .expect("a log is text")
        .lines()
        .find(|line| line.contains("metaData"))
        .expect("the first commit has it")
        .to_owned()
}
