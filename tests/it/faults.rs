//! Every request of a run may be the one that fails. Whatever happens to it: nothing is reported that is not in the
//! lake, the next run completes what is missing, and the lake is the same as one without faults.

use std::collections::BTreeMap;
use std::time::Duration;

use inlet_core::fault::FaultKind;
use inlet_core::report::{Counts, Report, Status, UploadReport};
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;

use crate::bucket::{Bucket, assert_like_clean};
use crate::events::{calls, gz, lines, track};
use crate::faulty::{ANY, COMMIT, CONDITIONAL, Fault, Faulty, NOTE, NOTE_REMOVAL, When, Which};
use crate::lake::Table;
use crate::support::{Chance, land_over, settings, upload_of};

/// A run that is dead need not try for long.
const PATIENCE_OF_THE_DEAD: Duration = Duration::from_millis(20);

/// A lake as it stands, uploads that come to it, and what becomes of them without faults.
struct Scene {
    before: Bucket,
    uploads: Vec<Upload>,
    clean: BTreeMap<String, Table>,
    counts: BTreeMap<String, Counts>,
}

impl Scene {
    /// The first uploads of all: every table is created.
    fn fresh() -> Self {
        Self::of(Bucket::default(), 3)
    }

    /// The tables are there: a column is new in one, one more table is new, and a key comes in its second form.
    fn grown() -> Self {
        let before = Bucket::default();
        let other = upload_of("other.ndjson", lines(&[track("o1", "Kept", r#"{"a":9}"#), "{}".to_owned()]));
        let report = land_over(before.store(), &settings(), vec![form(5), other]);
        assert!(report.gravest().is_none(), "{report:#?}");
        Self::of(before, 9)
    }

    fn of(before: Bucket, events_of_key: usize) -> Self {
        let wide = [
            track("w1", "Kept", r#"{"a":1,"wide":true}"#),
            track("w2", "Fresh", r#"{"b":"x","c":1.5}"#),
            "{}".to_owned(),
            "no json".to_owned(),
        ];
        let mut broken = gz(&lines(&calls(&mut Chance::of(1), "broken", 20)));
        broken.truncate(200);
        let uploads = vec![form(events_of_key), upload_of("wide.ndjson", lines(&wide)), upload_of("broken.gz", broken)];
        let bucket = before.copy();
        let report = land_over(bucket.store(), &settings(), uploads.clone());
        assert_eq!(report.gravest(), Some(FaultKind::Rejected), "{report:#?}");
        let counts = report.uploads.iter().map(|upload| (upload.upload_id.clone(), upload.counts.clone())).collect();
        Self { before, uploads, clean: bucket.tables(), counts }
    }

    /// A run whose requests meet faults; answers what it said, and what it left.
    fn run(&self, what: &str, patience: Duration, play: impl FnOnce(&Faulty)) -> (Faulty, Bucket, Report) {
        let bucket = self.before.copy();
        let (faulty, report) = self.run_on(&bucket, what, patience, play);
        (faulty, bucket, report)
    }

    fn run_on(&self, bucket: &Bucket, what: &str, patience: Duration, play: impl FnOnce(&Faulty)) -> (Faulty, Report) {
        let faulty = Faulty::over(bucket.store());
        play(&faulty);
        let report = land_over(faulty.store(), &Settings { patience, ..settings() }, self.uploads.clone());
        self.assert_honest(&format!("{what}: {:?}", faulty.struck()), bucket, &report);
        (faulty, report)
    }

    /// Lets each request of a run meet a fault in turn, until a run has no more requests.
    fn each_request(&self, which: Which, fault: impl Fn(usize) -> Fault) {
        for number in 0.. {
            let fault = fault(number);
            let patience = if fault == Fault::Kill { PATIENCE_OF_THE_DEAD } else { settings().patience };
            let what = format!("request {number}");
            let (faulty, bucket, _) = self.run(&what, patience, |faulty| faulty.play(fault, When::Nth(number), which));
            if faulty.struck().is_empty() {
                // A busy machine may take longer for a whole run than the dead are given.
                let (_, _, whole) = self.run("no fault", settings().patience, |_| {});
                assert_eq!(whole.gravest(), Some(FaultKind::Rejected), "{whole:#?}");
                assert!(number > 4, "only {number} requests met {fault:?}");
                return;
            }
            self.assert_completed(&format!("{what}: {:?}", faulty.struck()), &bucket);
        }
    }

    /// What a run says: its faults are such that the next run mends them, and what it says has landed stands in the
    /// lake, with the counts of a lake without faults.
    fn assert_honest(&self, what: &str, bucket: &Bucket, report: &Report) {
        let is_mended = matches!(report.gravest(), None | Some(FaultKind::Again | FaultKind::Rejected));
        assert!(is_mended, "{what}: {report:#?}");
        let done = bucket.done();
        for upload in &report.uploads {
            let counts = match upload.status {
                Status::Landed | Status::Rejected => self.counts[&upload.upload_id].clone(),
                _ => Counts::default(),
            };
            assert_eq!(upload.counts, counts, "{what}: {upload:#?}");
            assert!(upload.status == Status::Failed || done.contains(&upload.upload_id), "{what}: {upload:#?}");
        }
    }

    /// The next run completes the lake, and the one after it has nothing to do.
    fn assert_completed(&self, what: &str, bucket: &Bucket) {
        let done = bucket.done();
        let report = land_over(bucket.store(), &settings(), self.uploads.clone());
        self.assert_honest(what, bucket, &report);
        for upload in &report.uploads {
            assert_ne!(upload.status, Status::Failed, "{what}: {upload:#?}");
            let was_done = upload.status == Status::AlreadyLanded;
            assert_eq!(was_done, done.contains(&upload.upload_id), "{what}: {upload:#?}");
        }
        let again = land_over(bucket.store(), &settings(), self.uploads.clone());
        assert!(again.uploads.iter().all(|upload| upload.status == Status::AlreadyLanded), "{what}: {again:#?}");
        let notes: Vec<_> = bucket.keys().into_iter().filter(|key| key.contains("/underway/")).collect();
        assert!(notes.is_empty(), "{what}: notes of uploads that are done: {notes:?}");
        assert_like_clean(what, &bucket.tables(), &self.clean);
    }
}

/// A key with so many events: a form with more holds those of one with less.
fn form(events: usize) -> Upload {
    let events: Vec<_> = (0..events).map(|n| track(&format!("k{n}"), "Kept", &format!(r#"{{"a":{n}}}"#))).collect();
    upload_of("key.ndjson", lines(&events))
}

fn each_request_of_each_scene(which: Which, fault: impl Fn(usize) -> Fault) {
    for scene in [Scene::fresh(), Scene::grown()] {
        scene.each_request(which, &fault);
    }
}

#[test]
fn a_run_that_dies_at_any_request_is_completed_by_the_next() {
    each_request_of_each_scene(ANY, |_| Fault::Kill);
}

#[test]
fn an_answer_that_is_lost_at_any_request_changes_nothing() {
    each_request_of_each_scene(ANY, |_| Fault::DropAnswer);
}

#[test]
fn a_request_that_breaks_or_is_refused_anywhere_changes_nothing() {
    let faults = [Fault::Reset, Fault::Answer(500), Fault::Answer(503), Fault::Answer(429)];
    each_request_of_each_scene(ANY, |number| faults[number % faults.len()]);
}

#[test]
fn a_conditional_put_that_is_refused_or_beats_itself_changes_nothing() {
    for fault in [Fault::BeatItself, Fault::Answer(412), Fault::Answer(409)] {
        each_request_of_each_scene(CONDITIONAL, |_| fault);
    }
}

#[test]
fn an_unclear_answer_to_a_commit_is_cleared_up_by_the_run_itself() {
    let unclear = [Fault::Reset, Fault::DropAnswer, Fault::BeatItself, Fault::Answer(409), Fault::Answer(503)];
    for scene in [Scene::fresh(), Scene::grown()] {
        for which in [COMMIT.of("tracks"), COMMIT.of("kept"), COMMIT.of("_rejects"), COMMIT.of("_loads"), NOTE_REMOVAL]
        {
            for fault in unclear {
                let what = format!("{which:?}");
                let (faulty, bucket, report) =
                    scene.run(&what, settings().patience, |faulty| faulty.play(fault, When::Nth(0), which));
                assert_eq!(faulty.struck().len(), 1, "{what}");
                let is_landed = |upload: &UploadReport| matches!(upload.status, Status::Landed | Status::Rejected);
                assert!(report.uploads.iter().all(is_landed), "{what}: {report:#?}");
                scene.assert_completed(&what, &bucket);
            }
        }
    }
}

#[test]
fn a_commit_that_fails_every_time_ends_with_the_patience() {
    for fault in [Fault::Reset, Fault::Answer(409), Fault::Answer(503)] {
        for table in ["tracks", "_rejects", "_loads"] {
            let scene = Scene::grown();
            let what = format!("{fault:?} at every commit of `{table}`");
            let (_, bucket, report) = scene.run(&what, Duration::from_millis(200), |faulty| {
                faulty.play(fault, When::Always, COMMIT.of(table));
            });
            assert_eq!(report.gravest(), Some(FaultKind::Again), "{what}: {report:#?}");
            scene.assert_completed(&what, &bucket);
        }
    }
}

#[test]
fn nothing_is_committed_without_its_note() {
    let scene = Scene::grown();
    for fault in [Fault::Reset, Fault::DropAnswer, Fault::Answer(503)] {
        let what = format!("{fault:?} at every note");
        let (faulty, bucket, report) =
            scene.run(&what, settings().patience, |faulty| faulty.play(fault, When::Always, NOTE));
        assert_eq!(report.gravest(), Some(FaultKind::Again), "{what}: {report:#?}");
        assert_eq!(faulty.count(COMMIT), 0, "{what}");
        scene.assert_completed(&what, &bucket);
    }
}

#[test]
fn storms_change_nothing() {
    let all = [Fault::Reset, Fault::DropAnswer, Fault::Answer(503), Fault::Answer(429)];
    let scenes = [Scene::fresh(), Scene::grown()];
    let mut struck = 0;
    for seed in 0..60 {
        let scene = &scenes[seed as usize % 2];
        let mut chance = Chance::of(seed);
        let bucket = scene.before.copy();
        // Two runs in a storm, of which the second finds what the first left.
        for _ in 0..2 {
            let (faulty, _) = scene.run_on(&bucket, &format!("seed {seed}"), Duration::from_secs(5), |faulty| {
                for number in (0..400).filter(|_| chance.is(4)).collect::<Vec<_>>() {
                    faulty.play(chance.pick(&all), When::Nth(number), ANY);
                }
                if chance.is(30) {
                    faulty.play(Fault::BeatItself, When::Nth(chance.below(6)), CONDITIONAL);
                }
            });
            struck += faulty.struck().len();
        }
        scene.assert_completed(&format!("seed {seed}"), &bucket);
    }
    assert!(struck > 100, "only {struck} requests met a fault");
}

#[test]
fn the_next_form_of_a_key_lands_only_what_is_new_wherever_the_last_died() {
    for scene in [Scene::fresh(), Scene::grown()] {
        for number in 0.. {
            let what = format!("request {number}");
            let (faulty, bucket, _) = scene.run(&what, PATIENCE_OF_THE_DEAD, |faulty| {
                faulty.play(Fault::Kill, When::Nth(number), ANY);
            });
            // The object was rewritten before it was delivered again: the form that died never comes back.
            let report = land_over(bucket.store(), &settings(), vec![form(12)]);
            assert!(report.gravest().is_none(), "{what}: {report:#?}");
            let tables = bucket.tables();
            for name in ["tracks", "kept"] {
                let ids: Vec<_> = tables[name].texts("id").into_iter().filter(|id| id.starts_with('k')).collect();
                let mut wanted: Vec<_> = (0..12).map(|n| format!("k{n}")).collect();
                wanted.sort();
                assert_eq!(ids, wanted, "{what}: {:?}: `{name}`", faulty.struck());
            }
            if faulty.struck().is_empty() {
                break;
            }
        }
    }
}
