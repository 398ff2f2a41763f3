//! The same uploads through a lake and through a volume: the same tables, value for value.

use inlet_core::upload::Upload;

use super::{Bench, well};
use crate::events::{calls, lines, nameless, track};
use crate::lake;
use crate::support::{Chance, Room, listing, tests_folder, upload, upload_of};

/// What only one of the two ways can know: when a row was loaded.
const ITS_OWN: [&str; 2] = ["uuid_ts", "loaded_at"];

/// Lands all in a lake and, each in a window of its own, in managed tables. Uploads that share a window share the types of
/// new columns too, which those of a lake do not.
fn assert_same(uploads: impl Fn() -> Vec<Upload>) {
    let (room, bench) = (Room::new(), Bench::new());
    room.land(uploads());
    for upload in uploads() {
        bench.stage_upload(upload);
        well(&bench.evolve());
    }
    for schema in lake::schemas(&room.lake()) {
        let tables = lake::tables(&room.lake(), &schema);
        assert!(tables.len() > 2, "{schema}: {tables:?}");
        for name in tables.iter().filter(|name| *name != "_loads") {
            let external = lake::read(&room.lake(), &schema, name);
            let managed = bench.read(&format!("{schema}.{name}"));
            assert_eq!(managed.types(), external.types(), "{schema}.{name}");
            assert_eq!(managed.content(&ITS_OWN), external.content(&ITS_OWN), "{schema}.{name}");
        }
    }
}

/// The captured uploads, with their sources' schemas and keys that name no folder of this machine.
fn captured() -> Vec<Upload> {
    let root = tests_folder("fixtures/uploads");
    let named = |(path, _): (std::path::PathBuf, u64)| {
        let key = path.display().to_string();
        let schema = key.split('/').nth(1).unwrap().to_lowercase().replace('-', "_");
        Upload { key: Some(key.clone()), name: key, schema, ..upload(&root.join(&path)) }
    };
    let is_upload =
        |(path, _): &(std::path::PathBuf, u64)| path.components().count() > 3 && !path.ends_with("dummy-object.txt");
    let mut uploads: Vec<Upload> = listing(&root).into_iter().filter(is_upload).map(named).collect();
    uploads.sort_by(|a, b| a.key.cmp(&b.key));
    uploads
}

#[test]
fn captured_uploads_are_the_same_in_both() {
    assert_same(captured);
}

/// Values that change their type, keys that collide, duplicates, and lines that are none.
fn nasty(seed: u64) -> Vec<Upload> {
    let mut chance = Chance::of(seed);
    let values = [
        "1",
        "1.5",
        "true",
        "\"text\"",
        "9007199254740993",
        "null",
        "[1,\"x\"]",
        "\"2026-01-02T03:04:05Z\"",
        "18446744073709551616",
        "-0.0",
        "1e308",
        "{\"inner\":{\"deep\":1}}",
        "\"\u{00e9}\u{1F600}\\u0000\"",
    ];
    let upload = |number: usize| {
        let mut events = calls(&mut chance, &format!("u{number}"), 12);
        for event in 0..12 {
            let value = |chance: &mut Chance| chance.pick(&values);
            let (a, b, c) = (value(&mut chance), value(&mut chance), value(&mut chance));
            let properties = format!(r#"{{"Mixed Case":{a},"mixed_case":{b},"n{}":{c}}}"#, chance.below(4));
            events.push(match chance.is(30) {
                true => nameless("Order Completed", &properties),
                false => track(&format!("{number}-{}", event / 2), "Order Completed", &properties),
            });
        }
        events.extend(["{", "[]", r#"{"type":"unknown"}"#, r#"{"type":"track","event":7}"#].map(str::to_owned));
        chance.shuffle(&mut events);
        upload_of(&format!("nasty-{number}.ndjson"), lines(&events))
    };
    (0..3).map(upload).collect()
}

#[test]
fn nasty_uploads_that_land_one_after_another_are_the_same_in_both() {
    let uploads = nasty(41);
    let again = |one: &Upload| Upload {
        modified: 1_767_225_600_000_000,
        ..upload_of(one.key.as_deref().unwrap_or_default(), bytes(one))
    };
    assert_same(|| uploads.iter().map(again).collect());
}

fn bytes(upload: &Upload) -> Vec<u8> {
    match &upload.place {
        inlet_core::upload::Place::Bytes(bytes) => bytes.to_vec(),
        _ => unreachable!("these uploads are bytes"),
    }
}
