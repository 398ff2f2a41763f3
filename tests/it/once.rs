//! Each row once: three processes at a time, runs that are killed wherever they are, and twins in one run.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::report::Status;

use crate::events::{calls, gz, lines, track};
use crate::json::Json;
use crate::lake;
use crate::process::{Said, ingest, run, wait};
use crate::support::{Chance, Room, SCHEMA, listing};

/// Uploads of plain calls; each also brings a column of its own and two lines that are rejected. One more upload is
/// rejected whole.
fn uploads(room: &Room, seed: u64, count: usize, events: usize) -> Vec<PathBuf> {
    let mut chance = Chance::of(seed);
    let one = |number: usize| {
        let mut events = calls(&mut chance, &format!("m{number}"), events);
        let own = format!(r#"{{"own{number}":{number},"all":"x"}}"#);
        events.push(track(&format!("m{number}-own"), "Signed Up", &own));
        events.extend(["{}".to_owned(), "[]".to_owned()]);
        room.file(&format!("in/{number:02}.gz"), &gz(&lines(&events)))
    };
    let mut uploads: Vec<_> = (0..count - 1).map(one).collect();
    uploads.push(room.file("in/broken.gz", &gz(&lines(&calls(&mut chance, "broken", 50)))[..300]));
    uploads
}

/// Holds a lake against one that the same uploads landed in undisturbed.
fn assert_like_clean(what: &str, lake: &Path, clean: &Path, uploads: usize) {
    lake::assert_same_events(what, (lake, SCHEMA), (clean, SCHEMA), &["uuid_ts"]);
    lake::assert_ledger(lake, SCHEMA);
    let loads = lake::read(lake, SCHEMA, "_loads");
    let mine = ["version", "started_at", "finished_at", "lag", "new_columns", "bytes"];
    let clean_loads = lake::read(clean, SCHEMA, "_loads");
    lake::assert_same_rows(&format!("{what}: `_loads`"), &loads.content(&mine), &clean_loads.content(&mine));
    let rejects = [lake, clean].map(|lake| lake::read(lake, SCHEMA, "_rejects").content(&["loaded_at"]));
    lake::assert_same_rows(&format!("{what}: `_rejects`"), &rejects[0], &rejects[1]);
    assert_eq!(loads.rows.iter().filter(|row| !row.contains_key("table_name")).count(), uploads, "{what}");
}

/// A run that did its work; 65 says that it was the one to reject the broken upload.
fn finished(said: Said) -> Said {
    assert!(matches!(said.code, Some(0 | 65)), "{said:#?}");
    said
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
        let all = landed(&finished(run(&mut ingest(&uploads, &clean))));
        assert_eq!(all, 5 * 151);
        let sets = [&uploads[..4], &uploads[2..], &uploads[..]];
        let started: Vec<Child> =
            sets.iter().map(|set| ingest(set, &room.lake()).spawn().expect("the executable starts")).collect();
        let said: Vec<Said> = started.into_iter().map(|child| finished(wait(child))).collect();
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
    let mut whole = Duration::from_secs(3_600);
    for lake in [&clean, &room.path("clean again")] {
        let begun = Deadline::after(Duration::from_secs(3_600));
        let before = begun.left();
        finished(run(&mut ingest(&uploads, lake)));
        whole = whole.min(before.saturating_sub(begun.left()));
    }
    let all_commits = commits(&clean);
    let mut chance = Chance::of(seed);
    let (mut killed, mut partly) = (0, 0);
    for round in 0..20 {
        let what = format!("seed {seed}, round {round}");
        println!("{what}");
        let lake = room.path(&format!("lake{round:02}"));
        // Some rounds are killed twice: the second run finds what the first left.
        for _ in 0..=usize::from(chance.is(40)) {
            let mut child = ingest(&uploads, &lake).spawn().expect("the executable starts");
            if round % 2 == 0 {
                let delay = whole.mul_f64(chance.below(1_000) as f64 / 1_000.0);
                clock::sleep(delay, Deadline::after(Duration::from_secs(60)));
            } else {
                // Amid the commits, which take little of a run's time.
                let enough = commits(&lake) + 1 + chance.below(all_commits);
                poll(|| commits(&lake) >= enough || child.try_wait().expect("the process can be asked").is_some());
            }
            killed += usize::from(child.try_wait().expect("the process can be asked").is_none());
            child.kill().expect("the process can be killed");
            wait(child);
        }
        let tables = lake::tables(&lake, SCHEMA);
        partly += usize::from(!tables.is_empty() && !tables.contains(&"_loads".to_owned()));
        finished(run(&mut ingest(&uploads, &lake)));
        assert_like_clean(&what, &lake, &clean, uploads.len());
        let again = run(&mut ingest(&uploads, &lake)).success().json();
        assert_eq!(again["totals"]["events"], 0, "{what}");
    }
    println!("of 20 rounds over {whole:?}, {killed} kills met a run, {partly} left tables without a ledger");
    assert!(killed >= 5, "only {killed} kills met a run that was under way: {whole:?}");
}

/// Commits in all tables of the lake.
fn commits(lake: &Path) -> usize {
    let tables = lake::tables(lake, SCHEMA);
    let log = |table: &String| listing(&lake.join(SCHEMA).join(table).join("_delta_log"));
    let is_commit = |path: &Path| path.extension().is_some_and(|extension| extension == "json");
    tables.iter().flat_map(log).filter(|(path, _)| is_commit(path)).count()
}

/// Waits until something is so, a minute at most.
fn poll(mut is_so: impl FnMut() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(60));
    while !deadline.is_over() && !is_so() {
        clock::sleep(Duration::from_millis(1), deadline);
    }
}

#[test]
fn processes_that_disagree_about_a_type_lose_no_value() {
    for seed in 61..66 {
        let room = Room::new();
        let mut chance = Chance::of(seed);
        let values = [r#"17"#, r#""word""#, "true", "2.5", r#"{"deeper":1}"#];
        let mut start = Vec::new();
        for (number, value) in values.iter().enumerate() {
            let events: Vec<String> = (0..40)
                .map(|at| {
                    track(
                        &format!("{number}-{at}"),
                        "Disputed",
                        &format!(r#"{{"c":{value},"own{}":{at}}}"#, chance.below(6)),
                    )
                })
                .collect();
            start.push(room.file(&format!("in/{number}.ndjson"), &lines(&events)));
        }
        let started: Vec<Child> =
            start.iter().map(|path| ingest(&[path], &room.lake()).spawn().expect("the executable starts")).collect();
        for child in started {
            assert_eq!(landed(&finished(wait(child))), 40, "seed {seed}");
        }
        lake::assert_ledger(&room.lake(), SCHEMA);
        let table = lake::read(&room.lake(), SCHEMA, "disputed");
        assert_eq!(table.rows.len(), 5 * 40, "seed {seed}");
        for row in &table.rows {
            let (number, at) = row["id"].text().split_once('-').expect("ids are numbered");
            let wanted = values[number.parse::<usize>().expect("a number")].trim_matches('"');
            let kept = row.get("_rescued_data").map(|kept| Json::parse(kept.text()));
            let rescued = kept.and_then(|kept| kept.get("c").map(Json::plain));
            let in_column = row.get("c").map(|value| match value {
                lake::Value::Double(bits) => f64::from_bits(*bits).to_string(),
                lake::Value::Text(text) => text.clone(),
                other => format!("{other:?}"),
            });
            let deeper = number == "4" && row.get("c_deeper") == Some(&lake::Value::BigInt(1));
            assert!(deeper || [rescued, in_column].contains(&Some(wanted.to_owned())), "seed {seed}: {row:?}");
            let own =
                (0..6).filter_map(|own| row.get(&format!("own{own}"))).map(lake::Value::number).collect::<Vec<_>>();
            assert_eq!(own, [at.parse::<i64>().expect("a number")], "seed {seed}: {row:?}");
        }
    }
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
