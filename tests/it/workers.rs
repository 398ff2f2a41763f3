//! However many workers share an upload, the same comes out: columns and their order, rows, counts, and what the limits
//! leave out.

use std::path::PathBuf;

use inlet_core::report::{Report, TableReport};
use inlet_core::settings::Settings;
use inlet_events::Limits;

use crate::bucket::Bucket;
use crate::events::{calls, gz, lines, nameless, track};
use crate::faulty::{DATA, Faulty};
use crate::json::Json;
use crate::lake::{self, Row, Value};
use crate::support::{Chance, Room, SCHEMA, assert_landed, land, land_over, settings, the_only, upload, upload_of};

const CREWS: [usize; 3] = [1, 2, 4];

/// Lands one file with 1, 2 and 4 workers, each in a lake of its own.
fn with_each_crew(room: &Room, bytes: &[u8], limits: &Limits) -> Vec<(PathBuf, Report)> {
    let path = room.file("upload.gz", &gz(bytes));
    let one = |workers| {
        let lake = room.path(&format!("lake of {workers}"));
        let settings = Settings { workers, limits: limits.clone(), ..settings() };
        let report = land(&lake, &settings, vec![upload(&path)]);
        assert_landed(&report);
        lake::assert_ledger(&lake, SCHEMA);
        (lake, report)
    };
    CREWS.into_iter().map(one).collect()
}

/// All lakes hold what the first does.
fn assert_all_one(landed: &[(PathBuf, Report)]) {
    let (first, report) = &landed[0];
    let tables = lake::read_all(first, SCHEMA);
    for ((lake, other), workers) in landed.iter().zip(CREWS).skip(1) {
        let what = format!("{workers} workers");
        assert_eq!(the_only(other).counts, the_only(report).counts, "{what}");
        let parts = |report: &Report| the_only(report).tables.iter().map(part).collect::<Vec<_>>();
        assert_eq!(parts(other), parts(report), "{what}");
        lake::assert_same_events(&what, (lake, SCHEMA), (first, SCHEMA), &["uuid_ts"]);
        for (name, table) in lake::read_all(lake, SCHEMA) {
            assert_eq!(table.columns, tables[&name].columns, "{what}: columns of `{name}`");
            let own: &[&str] = match name.as_str() {
                "_loads" => &["started_at", "finished_at", "lag"],
                "_rejects" => &["loaded_at"],
                _ => continue,
            };
            lake::assert_same_rows(&format!("{what}: `{name}`"), &table.content(own), &tables[&name].content(own));
        }
    }
}

/// What a table's report says besides the version.
fn part(table: &TableReport) -> (String, u64, u64, Vec<String>) {
    let columns = table.new_columns.iter().map(|column| format!("{} {}", column.name, column.column_type)).collect();
    (table.table.clone(), table.rows, table.rescued, columns)
}

#[test]
fn every_crew_lands_the_same() {
    let room = Room::new();
    let mut chance = Chance::of(41);
    let mut events = calls(&mut chance, "m", 6_500);
    // Columns that change their type on the way, and come late.
    for (at, value) in [(10, "1"), (3_000, "2.5"), (6_400, r#""three""#)] {
        events.insert(
            at,
            track(&format!("typed-{at}"), "Searched", &format!(r#"{{"typed":{value},"late{at}":{value}}}"#)),
        );
    }
    events.push(track("the-last", "Seen At The End", r#"{"only":"here"}"#));
    // Repeated ids, near and far: the first wins. Lines without an id, some with the same bytes.
    for number in 0..300 {
        let (from, to) = (chance.below(events.len()), chance.below(events.len()));
        let again = events[from].clone();
        events.insert(
            to,
            if number % 2 == 0 { again } else { nameless("Searched", &format!(r#"{{"hits":{}}}"#, number / 4)) },
        );
    }
    for _ in 0..200 {
        let at = chance.below(events.len());
        events.insert(at, chance.pick(&["{}", "[]", "{\"type\":\"track\"", "", "null"]).to_owned());
    }
    let bytes = lines(&events);
    assert!(bytes.len() > 3 << 20, "{} bytes", bytes.len());
    let landed = with_each_crew(&room, &bytes, &Limits::default());
    assert_all_one(&landed);
    let counts = &the_only(&landed[0].1).counts;
    assert!(counts.duplicates > 100 && counts.rejected > 100, "{counts:?}");
    let searched = lake::read(&landed[0].0, SCHEMA, "searched");
    assert_eq!(searched.types()["typed"], "string");
    assert_eq!(searched.row("typed-3000")["typed"], Value::Text("2.5".to_owned()));
    assert_eq!(searched.types()["late3000"], "double");
}

/// Tracks of one event in many chunks; each 100th brings a column that none before had.
fn widening(count: usize) -> Vec<String> {
    let pad = "x".repeat(900);
    let event = |number: usize| {
        let column = number / 100;
        track(&format!("w{number:05}"), "Widening", &format!(r#"{{"pad":"{pad}","column{column}":{number}}}"#))
    };
    (0..count).map(event).collect()
}

#[test]
fn under_the_column_limit_the_first_columns_are_chosen_by_every_crew() {
    let room = Room::new();
    let limits = Limits { new_columns_per_upload: 11, ..Limits::default() };
    let landed = with_each_crew(&room, &lines(&widening(3_500)), &limits);
    assert_all_one(&landed);
    let table = lake::read(&landed[0].0, SCHEMA, "widening");
    let types = table.types();
    for column in 0..35 {
        assert_eq!(types.contains_key(&format!("column{column}")), column < 10, "the pad and ten more: {types:?}");
    }
    for row in &table.rows {
        let number: usize = row["id"].text()[1..].parse().expect("ids are numbered");
        let column = format!("column{}", number / 100);
        if number < 1_000 {
            assert_eq!((row[&column].number(), row.get("_rescued_data")), (number as i64, None));
        } else {
            assert_eq!(row["_rescued_data"].text(), format!(r#"{{"{column}":{number}}}"#));
        }
    }
    // The next upload may bring as many again.
    let next: Vec<String> =
        (0..20).map(|n| track(&format!("n{n}"), "Widening", &format!(r#"{{"more{n}":true}}"#))).collect();
    let next = room.upload("next.ndjson", &lines(&next));
    let report = land(&landed[1].0, &Settings { limits, ..settings() }, vec![next]);
    assert_eq!(the_only(&report).counts.rescued, 20 - 11);
}

#[test]
fn the_limit_of_a_whole_table_holds_across_uploads() {
    let room = Room::new();
    let limits = Limits { columns_per_table: 20, ..Limits::default() };
    let landed = with_each_crew(&room, &lines(&widening(1_500)), &limits);
    assert_all_one(&landed);
    let table = lake::read(&landed[0].0, SCHEMA, "widening");
    assert_eq!(table.columns.len(), 20);
    let next: Vec<String> =
        (0..5).map(|n| track(&format!("n{n}"), "Widening", &format!(r#"{{"more{n}":true}}"#))).collect();
    let report =
        land(&landed[0].0, &Settings { limits, ..settings() }, vec![room.upload("next.ndjson", &lines(&next))]);
    assert_eq!((the_only(&report).counts.landed, the_only(&report).counts.rescued), (5, 5));
    assert_eq!(lake::read(&landed[0].0, SCHEMA, "widening").columns.len(), 20);
}

#[test]
fn the_limit_of_a_table_holds_that_an_upload_meets_late() {
    let room = Room::new();
    let limits = Limits { columns_per_table: 14, ..Limits::default() };
    let landed = with_each_crew(&room, &lines(&widening(10)), &limits);
    assert_eq!(lake::read(&landed[0].0, SCHEMA, "widening").columns.len(), 14);
    // Fewer new columns than a new table had room for, behind more than a chunk of another table, whose new column sends the upload into observing.
    let pad = "y".repeat(900);
    let mut next: Vec<String> =
        (0..700).map(|n| track(&format!("o{n}"), "Other", &format!(r#"{{"pad":"{pad}"}}"#))).collect();
    next.extend((0..2).map(|n| track(&format!("n{n}"), "Widening", &format!(r#"{{"more{n}":true}}"#))));
    let next = room.upload("next.ndjson", &lines(&next));
    for (lake, _) in landed {
        let report = land(&lake, &Settings { limits: limits.clone(), ..settings() }, vec![next.clone()]);
        assert_eq!(the_only(&report).counts.rescued, 2);
        assert_eq!(lake::read(&lake, SCHEMA, "widening").columns.len(), 14);
    }
}

#[test]
fn beyond_the_table_limit_a_track_lands_in_tracks_alone() {
    let room = Room::new();
    let limits = Limits { tables_per_schema: 3, ..Limits::default() };
    let pad = "y".repeat(900);
    let event = |number: usize| {
        // Names come in this order: a, b, c and then the others.
        let name = if number < 30 { number / 10 } else { number % 9 };
        track(&format!("t{number:04}"), &format!("Event {name}"), &format!(r#"{{"pad":"{pad}","n":{{"n":{number}}}}}"#))
    };
    let events: Vec<String> = (0..3_500).map(event).collect();
    let landed = with_each_crew(&room, &lines(&events), &limits);
    assert_all_one(&landed);
    let tables = lake::read_events(&landed[0].0, SCHEMA);
    assert_eq!(tables.keys().collect::<Vec<_>>(), ["event_0", "event_1", "event_2", "tracks"]);
    assert_eq!(tables["tracks"].rows.len(), 3_500);
    for row in &tables["tracks"].rows {
        let number: usize = row["id"].text()[1..].parse().expect("ids are numbered");
        let has_table = number < 30 || number % 9 < 3;
        let in_table = |table: &str| tables[table].rows.iter().any(|other| other["id"] == row["id"]);
        assert_eq!(rescued(row).is_none(), has_table, "{row:?}");
        match rescued(row) {
            None => assert!(in_table(row["event"].text()), "{row:?}"),
            Some(kept) => {
                assert_eq!(kept.get("pad"), Some(&Json::text(&pad)));
                assert!(kept.to_string().contains(&number.to_string()), "{kept}");
            }
        }
    }
    // An event of a table that exists goes on; a new one is still too many.
    let next = [track("known", "Event 1", r#"{"n":{"n":1}}"#), track("unknown", "Event 77", r#"{"a":1}"#)];
    let report =
        land(&landed[2].0, &Settings { limits, ..settings() }, vec![room.upload("next.ndjson", &lines(&next))]);
    assert_eq!((the_only(&report).counts.landed, the_only(&report).counts.rows), (2, 3));
}

fn rescued(row: &Row) -> Option<Json> {
    row.get("_rescued_data").map(|text| Json::parse(text.text()))
}

#[test]
fn one_worker_lets_its_files_go_to_the_store_together() {
    let bucket = Bucket::default();
    let gate = Faulty::over(bucket.store());
    let events = ["One", "Two", "Three"].map(|event| track(event, event, "{}"));
    gate.hold(events.len() + 1, DATA);
    let settings = Settings { workers: 1, ..settings() };
    assert_landed(&land_over(gate.store(), &settings, vec![upload_of("tracks.ndjson", lines(&events))]));
    assert!(gate.all_held());
}
