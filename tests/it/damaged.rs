//! Damaged and hostile input: an upload that cannot be read is rejected whole, a line that cannot is rejected alone, and
//! all the others land.

use std::fs;

use inlet_core::report::{Status, UploadReport};
use inlet_core::settings::Settings;
use inlet_events::Limits;
use serde_json::Value as Counts;

use crate::events::{TIMES, calls, gz, lines, track};
use crate::lake::{self, Row, Value};
use crate::process::{ingest, run};
use crate::support::{Chance, Room, SCHEMA, land, settings, tests_folder, the_only, upload};

/// Reasons for which an upload is rejected whole.
const WHOLE: [&str; 3] = ["unreadable", "not_ndjson", "too_large"];

fn rejects_of(room: &Room, report: &UploadReport) -> Vec<Row> {
    if !lake::tables(&room.lake(), SCHEMA).contains(&"_rejects".to_owned()) {
        return Vec::new();
    }
    let mut rejects = lake::read(&room.lake(), SCHEMA, "_rejects").rows;
    rejects.retain(|row| row["upload_id"].text() == report.upload_id);
    rejects.sort_by_key(|row| row.get("line").map(Value::number));
    rejects
}

/// Nothing of the upload stands in an event table; its name and reason stand in `_rejects`, once.
fn assert_rejected_whole(room: &Room, report: &UploadReport, reason: &str) {
    assert_eq!(report.status, Status::Rejected, "{report:#?}");
    assert_eq!((report.counts.events, report.counts.rejected, report.counts.rows), (1, 1, 0), "{report:#?}");
    for (name, table) in lake::read_events(&room.lake(), SCHEMA) {
        assert!(
            !table.texts("_upload_id").contains(&report.upload_id.as_str()),
            "{} has rows in {name}",
            report.upload
        );
    }
    let rejects = rejects_of(room, report);
    let [row] = rejects.as_slice() else { panic!("{}: {rejects:?}", report.upload) };
    assert_eq!(row["reason"].text(), reason);
    for empty in ["line", "item", "byte_offset"] {
        assert_eq!(row.get(empty), None, "{}: {empty}", report.upload);
    }
    let loads = lake::read(&room.lake(), SCHEMA, "_loads").rows;
    let whole: Vec<_> = loads.iter().filter(|row| row["upload_id"].text() == report.upload_id).collect();
    assert_eq!(whole.len(), 1, "{}", report.upload);
    assert_eq!((whole[0].get("table_name"), whole[0]["status"].text()), (None, "rejected"));
}

#[test]
fn every_damaged_fixture_becomes_what_was_counted() {
    let room = Room::new();
    let text = fs::read_to_string(tests_folder("fixtures/counts.json")).expect("the counts are there");
    let counts: Counts = serde_json::from_str(&text).expect("the counts are JSON");
    let damaged = counts["damaged"].as_object().expect("a map of files");
    let folder = tests_folder("fixtures/damaged");
    let uploads = || {
        let mut uploads: Vec<_> = damaged.keys().map(|name| upload(&folder.join(name))).collect();
        uploads.push(room.upload("good.ndjson", &lines(&calls(&mut Chance::of(31), "good", 25))));
        uploads
    };
    let report = room.land(uploads());
    for (name, wanted) in damaged {
        let found = report.uploads.iter().find(|one| one.upload.ends_with(name)).expect("it is reported");
        let count = |field: &str| wanted[field].as_u64().expect("a count");
        let have = &found.counts;
        assert_eq!((have.events, have.landed, have.rows), (count("events"), count("landed"), count("rows")), "{name}");
        assert_eq!((have.duplicates, have.filtered), (count("duplicates"), count("filtered")), "{name}");
        let reasons = wanted["rejected"].as_object().expect("a map of reasons");
        match reasons.keys().next() {
            Some(reason) if WHOLE.contains(&reason.as_str()) => assert_rejected_whole(&room, found, reason),
            _ => {
                assert_eq!(found.status, Status::Landed, "{name}");
                for (reason, count) in reasons {
                    let rows = rejects_of(&room, found);
                    let with_reason = rows.iter().filter(|row| row["reason"].text() == reason).count();
                    assert_eq!(Some(with_reason as u64), count.as_u64(), "{name}: {reason}");
                }
            }
        }
    }
    let good = report.uploads.iter().find(|one| one.upload.ends_with("good.ndjson")).expect("it is reported");
    assert_eq!((good.status, good.counts.landed), (Status::Landed, 25));
    lake::assert_ledger(&room.lake(), SCHEMA);
    let again = room.land(uploads());
    for upload in &again.uploads {
        assert_eq!((upload.status, upload.counts.events), (Status::AlreadyLanded, 0), "{upload:#?}");
    }
}

/// Bytes of a line, and what becomes of it: nothing at all, a row, or a rejection for a reason.
enum Becomes {
    Nothing,
    Row(&'static str),
    Rejected(&'static str),
}

#[test]
fn every_odd_line_is_judged_by_itself() {
    use Becomes::{Nothing, Rejected, Row};
    let with = |id: &str, properties: &str| track(id, "Odd", properties).into_bytes();
    let deep = format!(r#"{{"deep":{}1{}}}"#, r#"{"k":"#.repeat(499), "}".repeat(499));
    let invalid_utf8 = [with("u1", r#"{"a":""#), vec![0xC3, 0x28], br#""}}"#.to_vec()].concat();
    let cut = with("cut", r#"{"a":1}"#);
    let odd: Vec<(Vec<u8>, Becomes)> = vec![
        ([b"\xEF\xBB\xBF".to_vec(), with("bom", r#"{"a":"after a BOM"}"#)].concat(), Row("bom")),
        (Vec::new(), Nothing),
        (b" \t ".to_vec(), Nothing),
        ([with("crlf", r#"{"a":"crlf"}"#), b"\r".to_vec()].concat(), Row("crlf")),
        (b"\r".to_vec(), Nothing),
        (b"{}".to_vec(), Rejected("unknown_type")),
        (b"[1,2]".to_vec(), Rejected("not_an_object")),
        (b"\"text\"".to_vec(), Rejected("not_an_object")),
        (b"17".to_vec(), Rejected("not_an_object")),
        (b"null".to_vec(), Rejected("not_an_object")),
        (cut[..cut.len() - 4].to_vec(), Rejected("invalid_json")),
        (invalid_utf8, Rejected("invalid_utf8")),
        (with("raw-nul", "{\"a\":\"\0\"}"), Rejected("invalid_json")),
        (b"\0\0\0".to_vec(), Rejected("invalid_json")),
        (with("escaped-nul", r#"{"a":"x\u0000y"}"#), Row("escaped-nul")),
        (with("huge", r#"{"huge":1e400}"#), Row("huge")),
        (with("surrogates", r#"{"a":"\ud800 and \udc00"}"#), Row("surrogates")),
        (with("repeated", r#"{"a":"first","b":1,"a":"second"}"#), Row("repeated")),
        (with("deep", &deep), Row("deep")),
        (b"{\"batch\":[]}".to_vec(), Rejected("empty_batch")),
        (format!(r#"{{"type":"track","event":"Odd",{TIMES}}}"#).into_bytes(), Rejected("no_user_anon_id")),
        ([b"  ".to_vec(), with("spaces", r#"{"a":"between spaces"}"#), b"  ".to_vec()].concat(), Row("spaces")),
        (with("last", r#"{"a":"no line end"}"#), Row("last")),
    ];
    let room = Room::new();
    let bytes = odd.iter().map(|(line, _)| line.as_slice()).collect::<Vec<_>>().join(&b'\n');
    let report = room.land(vec![room.upload("odd.ndjson", &bytes)]);
    lake::assert_ledger(&room.lake(), SCHEMA);
    let rejects = rejects_of(&room, the_only(&report));
    let table = lake::read(&room.lake(), SCHEMA, "odd");
    let (mut offset, mut rejected, mut rows) = (0, Vec::new(), Vec::new());
    for (at, (line, becomes)) in odd.iter().enumerate() {
        match becomes {
            Nothing => {}
            Row(id) => rows.push((*id).to_owned()),
            Rejected(reason) => rejected.push((at as i64 + 1, offset, (*reason).to_owned())),
        }
        offset += line.len() as i64 + 1;
    }
    let found = |row: &lake::Row| (row["line"].number(), row["byte_offset"].number(), row["reason"].text().to_owned());
    assert_eq!(rejects.iter().map(found).collect::<Vec<_>>(), rejected);
    rows.sort();
    assert_eq!(table.texts("id"), rows);

    let text = |id: &str, column: &str| table.row(id).get(column).map(|value| value.text().to_owned());
    assert_eq!(text("bom", "a").as_deref(), Some("after a BOM"));
    assert_eq!(text("crlf", "a").as_deref(), Some("crlf"));
    assert_eq!(text("escaped-nul", "a").as_deref(), Some("x\0y"));
    assert_eq!(text("surrogates", "a").as_deref(), Some("\u{FFFD} and \u{FFFD}"));
    assert_eq!(text("surrogates", "_rescued_data").as_deref(), Some(r#"{"a":"\ud800 and \udc00"}"#));
    assert_eq!(text("repeated", "a").as_deref(), Some("second"));
    assert_eq!(text("repeated", "_rescued_data").as_deref(), Some(r#"{"a":"first"}"#));
    let huge = text("huge", "huge").or_else(|| text("huge", "_rescued_data")).expect("it stands somewhere");
    assert!(huge.contains("1e400"), "{huge}");
    let deep =
        table.row("deep").values().find(|value| matches!(value, Value::Text(text) if text.starts_with(r#"{"k":"#)));
    assert!(deep.is_some(), "what is nested too deep is kept as JSON: {:?}", table.row("deep"));
    // Bytes that are no text are kept as such.
    let raw =
        |line: i64| rejects.iter().find(|row| row["line"].number() == line).expect("rejected")["raw"].text().to_owned();
    assert!(raw(12).starts_with("base64:"), "{}", raw(12));
    assert_eq!(raw(11).as_bytes(), &cut[..cut.len() - 4]);
}

#[test]
fn a_line_of_ten_megabytes_lands() {
    let room = Room::new();
    let long = "ä".repeat(5 << 20);
    let bytes =
        lines(&[track("before", "Long", r#"{"a":"x"}"#), track("long", "Long", &format!(r#"{{"a":"{long}"}}"#))]);
    let report = room.land(vec![room.upload("long.gz", &gz(&bytes))]);
    assert_eq!(the_only(&report).counts.landed, 2);
    let table = lake::read(&room.lake(), SCHEMA, "long");
    assert!(table.row("long")["a"].text() == long);
}

#[test]
fn a_line_over_the_limit_is_rejected_in_its_place() {
    let room = Room::new();
    let line = |id: &str, length: usize| track(id, "Cut", &format!(r#"{{"a":"{}"}}"#, "x".repeat(length)));
    let all = [
        line("one", 10),
        line("long", 3_000),
        line("two", 10),
        line("longer", 200_000),
        line("longest", 900_000),
        line("three", 10),
    ];
    let limits = Limits { line_bytes: 2_000, ..Limits::default() };
    let report = land(&room.lake(), &Settings { limits, ..settings() }, vec![room.upload("cut.ndjson", &lines(&all))]);
    let counts = &the_only(&report).counts;
    assert_eq!((counts.events, counts.landed, counts.rejected), (6, 3, 3));
    lake::assert_ledger(&room.lake(), SCHEMA);
    assert_eq!(lake::read(&room.lake(), SCHEMA, "cut").texts("id"), ["one", "three", "two"]);
    let offset_of = |at: usize| all[..at].iter().map(|line| line.len() as i64 + 1).sum::<i64>();
    let rejects = rejects_of(&room, the_only(&report));
    let found: Vec<_> = rejects.iter().map(|row| (row["line"].number(), row["byte_offset"].number())).collect();
    assert_eq!(found, [(2, offset_of(1)), (4, offset_of(3)), (5, offset_of(4))]);
    for (row, line) in rejects.iter().zip([&all[1], &all[3], &all[4]]) {
        let raw = row["raw"].text();
        assert_eq!(row["reason"].text(), "line_too_long");
        assert!(line.starts_with(raw), "the line's beginning is kept");
        assert_eq!(raw.len(), line.len().min(64 << 10));
    }
}

#[test]
fn a_bomb_is_refused_and_its_neighbours_land() {
    let room = Room::new();
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    let mut write = |bytes: &[u8]| std::io::Write::write_all(&mut bomb, bytes).expect("memory can be written");
    write(&lines(&[track("bomb", "Bomb", r#"{"a":1}"#)]));
    for _ in 0..80 {
        write(&vec![b' '; 1 << 20]);
    }
    let bomb = bomb.finish().expect("memory can be written");
    assert!(bomb.len() < 100 << 10, "{} bytes", bomb.len());
    let uploads = || {
        let good = |name: &str| room.upload(name, &lines(&[track(name, "Good", r#"{"a":1}"#)]));
        vec![good("a.ndjson"), room.upload("bomb.zst", &bomb), good("c.ndjson")]
    };
    let report = room.land(uploads());
    let statuses: Vec<_> = report.uploads.iter().map(|upload| upload.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == Status::Landed).count(), 2, "{report:#?}");
    let refused = report.uploads.iter().find(|one| one.upload.ends_with("bomb.zst")).expect("it is reported");
    assert_rejected_whole(&room, refused, "too_large");
    assert!(!lake::tables(&room.lake(), SCHEMA).contains(&"bomb".to_owned()));
    lake::assert_ledger(&room.lake(), SCHEMA);
    assert!(room.land(uploads()).uploads.iter().all(|upload| upload.status == Status::AlreadyLanded));
}

#[test]
fn the_exit_code_says_how_grave_it_was() {
    let room = Room::new();
    let good = room.file("good.ndjson", &lines(&[track("a", "Good", r#"{"a":1}"#)]));
    let line = room.file("line.ndjson", &lines(&[track("b", "Good", r#"{"a":1}"#), "{}".to_owned()]));
    let value = room.file("value.ndjson", &lines(&[track("c", "Good", r#"{"a":"no number"}"#)]));
    let whole = room.file("whole.gz", &gz(&lines(&[track("d", "Good", r#"{"a":1}"#)]))[..60]);
    let code = |places: &[&std::path::PathBuf], strict: bool, lake: &str| {
        let mut command = ingest(places, &room.path(lake));
        run(if strict { command.arg("--strict") } else { &mut command }).code
    };
    assert_eq!(code(&[&good], true, "l1"), Some(0), "nothing is wrong");
    assert_eq!(code(&[&line], false, "l2"), Some(0), "a rejected line is a warning");
    assert_eq!(code(&[&line], true, "l3"), Some(65), "to the strict it is an error");
    assert_eq!(code(&[&good], false, "l1"), Some(0));
    assert_eq!(code(&[&value], false, "l1"), Some(0), "a rescued value is a warning");
    assert_eq!(code(&[&good, &value], true, "l4"), Some(65), "to the strict it is an error");
    assert_eq!(code(&[&whole, &good], false, "l5"), Some(65), "an upload was rejected whole");
    assert_eq!(code(&[&whole, &good], false, "l5"), Some(0), "and then it is known");
    assert_eq!(code(&[&room.path("nowhere")], false, "l6"), Some(78));
    assert_eq!(run(crate::process::inlet().args(["ingest", "-", "--lake"])).code, Some(64));
    let lake = room.path("l5");
    assert_eq!(lake::read(&lake, SCHEMA, "good").texts("id"), ["a"]);
}

#[test]
fn what_cannot_be_read_fails_alone() {
    let room = Room::new();
    let good = room.upload("good.ndjson", &lines(&[track("a", "Good", r#"{"a":1}"#)]));
    let gone = room.upload("gone.ndjson", &lines(&[track("b", "Good", r#"{"a":2}"#)]));
    fs::remove_file(room.path("gone.ndjson")).expect("it can be removed");
    let report = room.land(vec![good, gone]);
    let statuses: Vec<_> = report.uploads.iter().map(|upload| upload.status).collect();
    assert!(statuses.contains(&Status::Landed) && statuses.contains(&Status::Failed), "{report:#?}");
    // What was not acknowledged is landed when it is there again.
    let back = room.upload("gone.ndjson", &lines(&[track("b", "Good", r#"{"a":2}"#)]));
    assert_eq!(the_only(&room.land(vec![back])).counts.landed, 1);
    lake::assert_ledger(&room.lake(), SCHEMA);
}
