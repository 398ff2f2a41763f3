//! A key is overwritten: Segment rewrites objects on replays and deletions. Only events that the earlier forms did not
//! land are landed, and all are accounted for.

use std::time::Duration;

use inlet_core::report::{Report, Status};
use inlet_core::settings::Settings;

use crate::events::{calls, lines, nameless, track};
use crate::lake;
use crate::support::{Chance, Room, SCHEMA, assert_landed, land, settings, the_only};

/// (events, landed, rows, duplicates)
fn counts(report: &Report) -> (u64, u64, u64, u64) {
    let counts = &the_only(report).counts;
    assert_eq!((counts.held, counts.filtered, counts.rejected), (0, 0, 0), "{report:#?}");
    (counts.events, counts.landed, counts.rows, counts.duplicates)
}

#[test]
fn only_the_new_events_of_an_overwritten_upload_land() {
    let room = Room::new();
    let mut chance = Chance::of(21);
    let mut events = calls(&mut chance, "old", 200);
    assert_landed(&room.land(vec![room.upload("key.ndjson", &lines(&events))]));
    let before = lake::read_events(&room.lake(), SCHEMA);

    // The second form: 180 old events in another order, 20 new ones among them.
    events.truncate(180);
    let newer = calls(&mut chance, "new", 20);
    events.extend(newer.clone());
    chance.shuffle(&mut events);
    let report = room.land(vec![room.upload("key.ndjson", &lines(&events))]);
    let (all, landed, rows, duplicates) = counts(&report);
    assert_eq!((all, landed, duplicates), (200, 20, 180));
    let after = lake::read_events(&room.lake(), SCHEMA);
    let grown: usize =
        after.iter().map(|(name, table)| table.rows.len() - before.get(name).map_or(0, |old| old.rows.len())).sum();
    assert_eq!(grown as u64, rows);
    for table in after.values() {
        let ids = table.texts("id");
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "an id stands twice in {ids:?}");
    }

    // A third form: new and old of both earlier forms, and five that are newer still.
    let mut events: Vec<String> = events.into_iter().step_by(2).collect();
    events.extend(newer.into_iter().take(5));
    let old = std::collections::BTreeSet::from_iter(&events).len() as u64;
    let repeated = events.len() as u64 - old;
    events.extend(calls(&mut chance, "newest", 5));
    let third = counts(&room.land(vec![room.upload("key.ndjson", &lines(&events))]));
    assert_eq!((third.0, third.1, third.3), (events.len() as u64, 5, old + repeated));
    let again = room.land(vec![room.upload("key.ndjson", &lines(&events))]);
    assert_eq!(the_only(&again).status, Status::AlreadyLanded);
    lake::assert_ledger(&room.lake(), SCHEMA);
    let tables = lake::read_events(&room.lake(), SCHEMA);
    let ids: usize = ["tracks", "identifies", "pages", "screens", "groups", "aliases"]
        .iter()
        .map(|name| tables[*name].rows.len())
        .sum();
    assert_eq!(ids, 200 + 20 + 5);
}

#[test]
fn events_without_an_id_are_known_by_their_bytes() {
    let room = Room::new();
    let old: Vec<String> = (0..90).map(|n| nameless("Nameless", &format!(r#"{{"n":{}}}"#, n / 2))).collect();
    // Each line stands there twice: two events.
    assert_eq!(counts(&room.land(vec![room.upload("key.ndjson", &lines(&old))])), (90, 90, 180, 0));
    let mut events = old.clone();
    events.extend((0..10).map(|n| nameless("Nameless", &format!(r#"{{"n":{},"new":true}}"#, 1_000 + n))));
    // A third occurrence of bytes that stood there twice is new.
    events.push(old[0].clone());
    Chance::of(22).shuffle(&mut events);
    assert_eq!(counts(&room.land(vec![room.upload("key.ndjson", &lines(&events))])), (101, 11, 22, 90));
    events.truncate(50);
    events.push(nameless("Nameless", r#"{"n":-1}"#));
    let third = counts(&room.land(vec![room.upload("key.ndjson", &lines(&events))]));
    assert_eq!((third.0, third.1, third.3), (51, 1, 50));
    // The same lines under another key are other events (the same bytes would be the same upload).
    events.push(nameless("Nameless", r#"{"n":-2}"#));
    assert_eq!(counts(&room.land(vec![room.upload("other.ndjson", &lines(&events))])), (52, 52, 104, 0));
    lake::assert_ledger(&room.lake(), SCHEMA);
    let tracks = lake::read(&room.lake(), SCHEMA, "tracks");
    assert_eq!(tracks.rows.len(), 90 + 11 + 1 + 52);
    assert!(tracks.texts("id").iter().all(|id| id.starts_with("auto-")));
}

#[test]
fn each_event_table_is_judged_by_itself() {
    let room = Room::new();
    let old: Vec<String> = (0..20).map(|n| track(&format!("m{n}"), "Kept", r#"{"a":1}"#)).collect();
    assert_landed(&room.land(vec![room.upload("key.ndjson", &lines(&old))]));
    // Ten ids come again under another event name: their call rows are duplicates, their event rows are new.
    let mut events: Vec<String> = (0..10).map(|n| track(&format!("m{n}"), "Renamed", r#"{"a":1}"#)).collect();
    events.extend_from_slice(&old[10..]);
    events.push(track("m20", "Kept", r#"{"a":2}"#));
    assert_eq!(counts(&room.land(vec![room.upload("key.ndjson", &lines(&events))])), (21, 1, 12, 20));
    let tables = lake::read_events(&room.lake(), SCHEMA);
    let rows = |name: &str| tables[name].rows.len();
    assert_eq!((rows("tracks"), rows("kept"), rows("renamed")), (21, 21, 10));
    lake::assert_ledger(&room.lake(), SCHEMA);
}

#[test]
fn types_of_new_columns_come_from_what_lands() {
    let room = Room::new();
    let old = [track("m1", "Typed", r#"{"a":1}"#), track("m2", "Typed", r#"{"a":2}"#)];
    assert_landed(&room.land(vec![room.upload("key.ndjson", &lines(&old))]));
    // The old event says `b` is text, but it does not land again: `b` is what the new one says.
    let events = [track("m1", "Typed", r#"{"a":1,"b":"text"}"#), track("m3", "Typed", r#"{"a":3,"b":7}"#)];
    assert_eq!(counts(&room.land(vec![room.upload("key.ndjson", &lines(&events))])), (2, 1, 2, 1));
    let table = lake::read(&room.lake(), SCHEMA, "typed");
    assert_eq!(table.types()["b"], "bigint");
    assert_eq!(table.row("m3")["b"], lake::Value::BigInt(7));
}

#[test]
fn both_forms_in_two_folders_are_two_keys() {
    let room = Room::new();
    let mut events = calls(&mut Chance::of(23), "x", 30);
    assert_landed(&room.land(vec![room.upload("a/key.ndjson", &lines(&events))]));
    events.extend(calls(&mut Chance::of(24), "y", 1));
    // Bronze keeps what two uploads of two keys say, even about one id.
    assert_eq!(counts(&room.land(vec![room.upload("b/key.ndjson", &lines(&events))])).1, 31);
    lake::assert_ledger(&room.lake(), SCHEMA);
}

#[test]
fn a_form_that_a_stopped_run_left_half_landed_is_known_to_the_next_form() {
    // Stopped between the tables' commits and the ledger's: the first form of a key, or a later one.
    for is_first in [true, false] {
        let room = Room::new();
        let mut chance = Chance::of(25);
        let mut events = calls(&mut chance, "first", 40);
        if !is_first {
            assert_landed(&room.land(vec![room.upload("key.ndjson", &lines(&events))]));
        }
        events.extend(calls(&mut chance, "second", 10));
        // A folder where the ledger's next commit belongs: no writer gets past it.
        let log = room.lake().join(format!("{SCHEMA}/_loads/_delta_log"));
        let obstacle = log.join(format!("{:020}.json", u8::from(!is_first)));
        std::fs::create_dir_all(&obstacle).expect("a folder in the ledger's log");
        let impatient = Settings { patience: Duration::from_secs(2), ..settings() };
        let stopped = land(&room.lake(), &impatient, vec![room.upload("key.ndjson", &lines(&events))]);
        assert_eq!(stopped.uploads[0].status, Status::Failed);
        let committed = room.lake().join(format!("{SCHEMA}/tracks/_delta_log")).is_dir();
        assert!(committed, "the tables stand without the ledger");
        std::fs::remove_dir(&obstacle).expect("the folder is ours");
        // Before it ran again the object was rewritten once more.
        events.extend(calls(&mut chance, "third", 5));
        let report = room.land(vec![room.upload("key.ndjson", &lines(&events))]);
        for (name, table) in &lake::read_events(&room.lake(), SCHEMA) {
            let ids = table.texts("id");
            let twice: Vec<_> = ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
            assert!(twice.is_empty(), "`{name}` has rows of one key twice: {twice:?}");
        }
        assert_eq!(counts(&report).1, 5);
    }
}
