//! `inlet status` says what landed lately, what was put aside, and what was left half done.

use std::fs;
use std::time::Duration;

use inlet_core::settings::Settings;

use crate::corrupt::Victim;
use crate::events::{calls, lines, track};
use crate::process::{Said, inlet, run};
use crate::support::{Chance, Room, SCHEMA, assert_landed, land, settings};

fn status(room: &Room, more: &[&str]) -> Said {
    let mut command = inlet();
    run(command.arg("status").arg("--lake").arg(room.lake()).args(more))
}

#[test]
fn what_landed_lately_is_said() {
    let room = Room::new();
    let mut events = calls(&mut Chance::of(91), "a", 30);
    events.extend(["no event", "nor this", "[]"].map(str::to_owned));
    events.push(track("rescued", "Searched", r#"{"id":"mine"}"#));
    let report = room.land(vec![room.upload("one.ndjson", &lines(&events))]);
    assert_landed(&report);
    assert_landed(&room.land(vec![room.upload("two.ndjson", &lines(&calls(&mut Chance::of(92), "b", 10)))]));
    let said = status(&room, &["--json"]).success().json();
    let schema = &said["schemas"][0];
    assert_eq!(schema["schema"], SCHEMA);
    for window in ["lately", "all"] {
        let sums = &schema[window];
        let numbers = ["uploads", "events", "landed", "rejected", "rescued", "held"].map(|name| sums[name].as_i64());
        assert_eq!(numbers, [2, 44, 41, 3, 1, 0].map(Some), "{window}: {sums}");
    }
    assert!(schema["last"]["upload"].as_str().is_some_and(|upload| upload.ends_with("two.ndjson")), "{schema}");
    assert!(schema["lag"]["median"].as_f64() <= schema["lag"]["greatest"].as_f64(), "{schema}");
    let reasons: Vec<_> = schema["reasons"].as_array().expect("a list").iter().map(ToString::to_string).collect();
    assert_eq!(reasons, [r#"{"count":2,"reason":"invalid_json"}"#, r#"{"count":1,"reason":"not_an_object"}"#]);
    assert_eq!(schema["underway"], serde_json::json!([]));
    let words = status(&room, &[]).success().out;
    assert!(words.starts_with("events\n  last load ") && words.contains("\n  held      none\n"), "{words}");
    assert!(words.contains("\n  rejected  lately: 2 invalid_json, 1 not_an_object\n"), "{words}");
}

#[test]
fn uploads_under_way_are_said() {
    let room = Room::new();
    let events = calls(&mut Chance::of(93), "a", 10);
    // A folder where the ledger's first commit belongs: no writer gets past it.
    let obstacle = Victim::of(&room.lake(), SCHEMA, "_loads").commit(0);
    fs::create_dir_all(&obstacle).expect("a folder in the ledger's log");
    let impatient = Settings { patience: Duration::from_secs(2), ..settings() };
    land(&room.lake(), &impatient, vec![room.upload("half.ndjson", &lines(&events))]);
    fs::remove_dir(&obstacle).expect("the folder is ours");
    let said = status(&room, &["--json"]).success().json();
    let note = &said["schemas"][0]["underway"][0];
    assert!(note["uploads"][0].as_str().is_some_and(|upload| upload.ends_with("half.ndjson")), "{said}");
    assert_eq!(said["schemas"][0]["last"], serde_json::Value::Null);
    assert_landed(&room.land(vec![room.upload("half.ndjson", &lines(&events))]));
    let said = status(&room, &["--json"]).success().json();
    assert_eq!(
        (&said["schemas"][0]["underway"], &said["schemas"][0]["all"]["uploads"]),
        (&serde_json::json!([]), &1.into())
    );
}

#[test]
fn a_lake_without_loads_or_without_the_schema_is_a_fault() {
    let room = Room::new();
    fs::create_dir_all(room.lake()).expect("a folder can be made");
    let said = status(&room, &["--json"]);
    assert_eq!((said.code, &said.json()["fault"]["kind"]), (Some(78), &"setup".into()));
    assert_landed(&room.land(vec![room.upload("one.ndjson", &lines(&calls(&mut Chance::of(94), "a", 3)))]));
    assert_eq!(status(&room, &["--schema", "other"]).code, Some(78));
}
