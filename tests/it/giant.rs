//! Uploads larger than the typing window (64 MiB): they stream, and are read twice when a column is new.

use std::path::Path;

use inlet_core::report::Status;
use inlet_core::settings::Settings;

use crate::events::{gz, lines, track};
use crate::lake::{self, Value};
use crate::support::{Chance, Room, SCHEMA, assert_landed, land, settings, the_only, upload};

/// White space within a line: it costs bytes and says nothing.
const PAD: usize = 64 << 10;
/// 70 MiB of them.
const COUNT: usize = 1_120;

fn write(path: &Path, event: impl Fn(usize) -> String) {
    std::fs::write(path, packed(event)).expect("the upload can be written");
}

/// A gzip of many members: each event is cut by one that holds nothing but white space.
pub(crate) fn packed(event: impl Fn(usize) -> String) -> Vec<u8> {
    let mut chance = Chance::of(51);
    let pad: Vec<u8> = (0..PAD).map(|_| if chance.is(50) { b' ' } else { b'\t' }).collect();
    let pad = gz(&pad);
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        let line = event(number);
        let (head, tail) = line.split_at(1);
        bytes.extend(gz(head.as_bytes()));
        bytes.extend(&pad);
        bytes.extend(gz(format!("{tail}\n").as_bytes()));
    }
    bytes
}

fn event(number: usize) -> String {
    let properties = match number {
        // What the beginning says is contradicted at the end.
        _ if number < 10 => format!(r#"{{"n":{number},"early":{number},"stays":{number}}}"#),
        _ if number == COUNT - 5 => r#"{"n":0,"early":"word","late":true,"both":1}"#.to_owned(),
        _ if number == COUNT - 4 => r#"{"n":0.5,"late":"2026-03-15","both":2.5}"#.to_owned(),
        _ => format!(r#"{{"n":{number}}}"#),
    };
    track(&format!("g{number:05}"), if number.is_multiple_of(2) { "Even" } else { "Odd" }, &properties)
}

#[test]
fn types_come_from_all_of_a_giant() {
    let room = Room::new();
    let path = room.path("giant.gz");
    write(&path, event);
    let lake = room.lake();
    let report = land(&lake, &Settings { workers: 3, ..settings() }, vec![upload(&path)]);
    assert_landed(&report);
    let counts = &the_only(&report).counts;
    assert_eq!((counts.landed, counts.rows, counts.rescued), (COUNT as u64, 2 * COUNT as u64, 0));
    lake::assert_ledger(&lake, SCHEMA);
    let (even, odd) = (lake::read(&lake, SCHEMA, "even"), lake::read(&lake, SCHEMA, "odd"));
    let late = COUNT - 5;
    let (text, mixed) = if late.is_multiple_of(2) { (&even, &odd) } else { (&odd, &even) };
    let types = |table: &lake::Table| ["n", "early", "late", "both"].map(|name| table.types()[name].clone());
    assert_eq!(types(text), ["bigint", "string", "boolean", "bigint"]);
    assert_eq!(types(mixed), ["double", "bigint", "timestamp", "double"]);
    let early = format!("g{:05}", late % 2);
    assert_eq!(text.row(&early)["early"], Value::Text((late % 2).to_string()), "its own digits, as text");
    assert_eq!(lake::read(&lake, SCHEMA, "tracks").rows.len(), COUNT);
    let again = land(&lake, &settings(), vec![upload(&path)]);
    assert_eq!(the_only(&again).status, Status::AlreadyLanded);
}

#[test]
fn a_giant_that_is_damaged_at_its_end_leaves_no_row() {
    let room = Room::new();
    let path = room.path("giant.gz");
    write(&path, |number| track(&format!("g{number:05}"), "Damaged", &format!(r#"{{"n":{number}}}"#)));
    let bytes = std::fs::read(&path).expect("the upload can be read");
    std::fs::write(&path, &bytes[..bytes.len() - 3]).expect("the upload can be cut");
    let good = |name: &str| room.upload(name, &lines(&[track(name, "Good", r#"{"a":1}"#)]));
    let uploads = || vec![good("a.ndjson"), upload(&path), good("z.ndjson")];
    let report = room.land(uploads());
    let landed = report.uploads.iter().filter(|upload| upload.status == Status::Landed).count();
    assert_eq!(landed, 2, "{report:#?}");
    let giant = report.uploads.iter().find(|upload| upload.upload.ends_with("giant.gz")).expect("it is reported");
    assert_eq!((giant.status, giant.counts.events, giant.counts.rejected), (Status::Rejected, 1, 1), "{giant:#?}");
    lake::assert_ledger(&room.lake(), SCHEMA);
    let tables = lake::read_all(&room.lake(), SCHEMA);
    assert!(!tables.contains_key("damaged"), "nothing of it landed");
    assert_eq!(tables["tracks"].texts("id"), ["a.ndjson", "z.ndjson"]);
    assert_eq!(tables["_rejects"].texts("reason"), ["unreadable"]);
    let left = crate::support::listing(&room.lake());
    let data = |path: &Path| path.extension().is_some_and(|extension| extension == "parquet");
    let files: usize = tables.values().map(|table| table.files).sum();
    assert_eq!(left.iter().filter(|(path, _)| data(path)).count(), files, "no file of it is left: {left:#?}");
    assert!(room.land(uploads()).uploads.iter().all(|upload| upload.status == Status::AlreadyLanded));
}
