//! Each row once: three processes at a time, runs that are killed wherever they are, and twins in one run.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::report::Status;

use crate::events::{calls, gz, lines};
use crate::lake;
use crate::process::{Said, ingest, run, wait};
use crate::support::{Chance, Room, SCHEMA};

/// Uploads of plain calls; each also brings a column of its own.
fn uploads(room: &Room, seed: u64, count: usize, events: usize) -> Vec<PathBuf> {
    let mut chance = Chance::of(seed);
    let one = |number: usize| {
        let mut events = calls(&mut chance, &format!("m{number}"), events);
        let own = format!(r#"{{"own{number}":{number},"all":"x"}}"#);
        events.push(crate::events::track(&format!("m{number}-own"), "Signed Up", &own));
        room.file(&format!("in/{number:02}.gz"), &gz(&lines(&events)))
    };
    (0..count).map(one).collect()
}

/// Holds a lake against one that the same uploads landed in undisturbed.
fn assert_like_clean(what: &str, lake: &Path, clean: &Path, uploads: usize) {
    lake::assert_same_events(what, (lake, SCHEMA), (clean, SCHEMA), &["uuid_ts"]);
    lake::assert_ledger(lake, SCHEMA);
    let loads = lake::read(lake, SCHEMA, "_loads");
    let mine = ["version", "started_at", "finished_at", "lag", "new_columns", "bytes"];
    let clean = lake::read(clean, SCHEMA, "_loads");
    lake::assert_same_rows(&format!("{what}: `_loads`"), &loads.content(&mine), &clean.content(&mine));
    assert_eq!(loads.rows.iter().filter(|row| !row.contains_key("table_name")).count(), uploads, "{what}");
}

fn landed(said: &Said) -> u64 {
    said.json()["totals"]["landed"].as_u64().expect("a count")
}

#[test]
fn three_processes_with_overlapping_uploads_land_each_row_once() {
    for seed in 1..=3 {
        let room = Room::new();
        let uploads = uploads(&room, seed, 6, 150);
        let clean = room.path("clean");
        let all = landed(&run(&mut ingest(&uploads, &clean)).success());
        assert_eq!(all, 6 * 151);
        let sets = [&uploads[..4], &uploads[2..], &uploads[..]];
        let started: Vec<Child> =
            sets.iter().map(|set| ingest(set, &room.lake()).spawn().expect("the executable starts")).collect();
        let said: Vec<Said> = started.into_iter().map(|child| wait(child).success()).collect();
        let sum: u64 = said.iter().map(landed).sum();
        assert_eq!(sum, all, "seed {seed}: each upload is landed by one of them, and the others say so: {said:#?}");
        assert_like_clean(&format!("seed {seed}"), &room.lake(), &clean, uploads.len());
        let again = run(&mut ingest(&uploads, &room.lake())).success().json();
        assert_eq!(again["totals"]["events"], 0, "seed {seed}");
    }
}

#[test]
fn a_run_that_is_killed_anywhere_is_completed_by_the_next() {
    let seed = 20_260_315;
    let room = Room::new();
    let uploads = uploads(&room, seed, 5, 500);
    let clean = room.path("clean");
    // How long a run takes here, so that kills are spread over all of it.
    let begun = Deadline::after(Duration::from_secs(3_600));
    let before = begun.left();
    run(&mut ingest(&uploads, &clean)).success();
    let whole = before.saturating_sub(begun.left());
    let mut chance = Chance::of(seed);
    let mut killed = 0;
    let mut partly = 0;
    for round in 0..16 {
        let lake = room.path(&format!("lake{round:02}"));
        // Some rounds are killed twice: the second run finds what the first left.
        for _ in 0..=usize::from(chance.is(40)) {
            let delay = whole.mul_f64(chance.below(1_000) as f64 / 1_000.0);
            let mut child = ingest(&uploads, &lake).spawn().expect("the executable starts");
            clock::sleep(delay, Deadline::after(Duration::from_secs(60)));
            killed += usize::from(child.try_wait().expect("the process can be asked").is_none());
            child.kill().expect("the process can be killed");
            wait(child);
        }
        let tables = lake::tables(&lake, SCHEMA);
        partly += usize::from(!tables.is_empty() && !tables.contains(&"_loads".to_owned()));
        let what = format!("seed {seed}, round {round}");
        let said = run(&mut ingest(&uploads, &lake));
        assert_eq!(said.code, Some(0), "{what}: {said:#?}");
        assert_like_clean(&what, &lake, &clean, uploads.len());
        let again = run(&mut ingest(&uploads, &lake)).success().json();
        assert_eq!(again["totals"]["events"], 0, "{what}");
    }
    println!("of 16 rounds over {whole:?}, {killed} kills met a run, {partly} left tables without a ledger");
    assert!(killed >= 8, "only {killed} kills met a run that was under way: {whole:?}");
}

#[test]
fn two_files_of_one_content_are_one_upload() {
    let room = Room::new();
    let bytes = lines(&calls(&mut Chance::of(5), "twin", 20));
    let report = room.land(vec![room.upload("a.ndjson", &bytes), room.upload("b.ndjson", &bytes)]);
    let statuses: Vec<_> = report.uploads.iter().map(|upload| (upload.status, upload.counts.landed)).collect();
    assert_eq!(statuses, [(Status::Landed, 20), (Status::AlreadyLanded, 0)]);
    lake::assert_ledger(&room.lake(), SCHEMA);
    // The same bytes packed are other bytes: another upload, of another key, and so it lands.
    let packed = room.land(vec![room.upload("a.gz", &gz(&bytes))]);
    assert_eq!(packed.totals.counts.landed, 20);
}

#[test]
fn an_upload_on_standard_input_is_known_by_its_content() {
    let room = Room::new();
    let bytes = lines(&calls(&mut Chance::of(6), "piped", 20));
    let first = crate::process::run_with(&mut ingest(&["-"], &room.lake()), &bytes).success();
    assert_eq!(landed(&first), 20);
    let report = room.land(vec![room.upload("a.ndjson", &bytes)]);
    assert_eq!(report.uploads[0].status, Status::AlreadyLanded);
}
