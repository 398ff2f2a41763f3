//! The captured uploads of `tests/fixtures/uploads` land with the counts of `counts.json`, once, with no secret in the
//! lake; and again they are found to have landed, from wherever they are named.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lake;
use crate::process::{Said, ingest, run};
use crate::support::{Room, copy_folder, listing, tests_folder};

const COUNTS: [&str; 4] = ["events", "landed", "duplicates", "filtered"];

fn counts() -> Value {
    let text = fs::read_to_string(tests_folder("fixtures").join("counts.json")).expect("the counts are there");
    serde_json::from_str(&text).expect("the counts are JSON")
}

fn land_fixtures(lake: &Path) -> Said {
    run(&mut ingest(&[tests_folder("fixtures/uploads")], lake)).success()
}

fn balance(counts: &Value) {
    let count = |name: &str| counts[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {counts}"));
    let parts = ["landed", "held", "duplicates", "rejected", "filtered"].map(count);
    assert_eq!(count("events"), parts.iter().sum::<u64>(), "{counts}");
}

/// The sum of a map of counts.
fn sum(counts: &Value) -> u64 {
    counts.as_object().expect("a map of counts").values().filter_map(Value::as_u64).sum()
}

/// Rows by table, as `counts.json` has them: call tables and event tables in two maps.
fn rows_by_table(counts: &Value) -> Vec<(String, u64)> {
    let maps = [&counts["calls"], &counts["event_tables"]];
    let entries = maps.into_iter().flat_map(|map| map.as_object().expect("a map of counts"));
    let mut rows: Vec<_> = entries.map(|(name, count)| (name.clone(), count.as_u64().expect("a count"))).collect();
    rows.sort();
    rows
}

#[test]
fn the_captured_uploads_land_with_the_counts_that_were_counted() {
    let room = Room::new();
    let report = land_fixtures(&room.lake()).json();
    let counts = counts();
    let uploads = counts["uploads"].as_object().expect("a map of uploads");
    let reported = report["uploads"].as_array().expect("a list of uploads");
    assert_eq!(reported.len(), uploads.len());
    for (path, wanted) in uploads {
        let found = reported.iter().find(|one| one["upload"].as_str().is_some_and(|name| name.ends_with(path)));
        let found = found.unwrap_or_else(|| panic!("{path} is not reported"));
        assert_eq!(found["status"], "landed", "{path}");
        balance(found);
        for name in COUNTS {
            assert_eq!(found[name], wanted[name], "{path}: {name}");
        }
        assert_eq!(found["rows"], wanted["rows"], "{path}: rows");
        assert_eq!(found["rejected"].as_u64(), Some(sum(&wanted["rejected"])), "{path}: rejected");
        let source = path.split('/').nth(1).expect("segment-logs/<source>/…");
        let tables = found["tables"].as_array().expect("a list of tables").iter();
        let mut tables: Vec<_> = tables
            .map(|table| {
                let (schema, name) =
                    table["table"].as_str().and_then(|name| name.split_once('.')).expect("schema.table");
                assert_eq!(schema, source);
                (name.to_owned(), table["rows"].as_u64().expect("a count"))
            })
            .collect();
        tables.sort();
        assert_eq!(tables, rows_by_table(wanted), "{path}: rows by table");
    }
    balance(&report["totals"]);
    for name in COUNTS {
        assert_eq!(report["totals"][name], counts["total"][name], "totals: {name}");
    }
    let skipped = listing(&tests_folder("fixtures/uploads")).len() - uploads.len();
    assert_eq!(report["totals"]["skipped"].as_u64(), Some(skipped as u64));
}

#[test]
fn the_tables_of_the_captured_uploads_hold_what_was_counted() {
    let room = Room::new();
    land_fixtures(&room.lake());
    let counts = counts();
    let sources = counts["sources"].as_object().expect("a map of sources");
    assert_eq!(lake::schemas(&room.lake()), sources.keys().cloned().collect::<Vec<_>>());
    for (source, wanted) in sources {
        lake::assert_ledger(&room.lake(), source);
        let tables = lake::read_events(&room.lake(), source);
        let rows: Vec<_> = tables.iter().map(|(name, table)| (name.clone(), table.rows.len() as u64)).collect();
        assert_eq!(rows, rows_by_table(wanted), "{source}");
        let rejects = lake::tables(&room.lake(), source).contains(&"_rejects".to_owned());
        let mut reasons = serde_json::Map::new();
        if rejects {
            for reason in lake::read(&room.lake(), source, "_rejects").texts("reason") {
                let count = reasons.get(reason).and_then(Value::as_u64).unwrap_or_default();
                reasons.insert(reason.to_owned(), (count + 1).into());
            }
        }
        assert_eq!(Value::Object(reasons), wanted["rejected"], "{source}: reasons");
    }
}

#[test]
fn no_write_key_stands_anywhere_in_the_lake() {
    let room = Room::new();
    land_fixtures(&room.lake());
    let secret = "nastysecret";
    let mut texts = 0;
    for schema in lake::schemas(&room.lake()) {
        for (name, table) in lake::read_all(&room.lake(), &schema) {
            assert!(table.columns.iter().all(|(column, _)| !column.to_lowercase().contains(secret)), "{schema}.{name}");
            for row in &table.rows {
                for (column, value) in row {
                    if let lake::Value::Text(text) = value {
                        texts += 1;
                        assert!(!text.to_lowercase().contains(secret), "{schema}.{name}.{column}: {text}");
                    }
                }
            }
        }
    }
    assert!(texts > 5_000, "{texts} texts were looked at");
    // Logs, statistics and whatever else is not packed.
    for (name, _) in listing(&room.lake()) {
        let bytes = fs::read(room.lake().join(&name)).expect("the file can be read").to_ascii_lowercase();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", name.display());
    }
}

#[test]
fn what_has_landed_is_known_again_from_wherever_it_is_named() {
    let room = Room::new();
    let uploads = tests_folder("fixtures/uploads");
    land_fixtures(&room.lake());
    let before = listing(&room.lake());
    copy_folder(&uploads, &room.path("moved/and renamed"));
    let mut relative = ingest(&["./uploads"], &room.lake());
    relative.current_dir(tests_folder("fixtures"));
    let mut below = ingest(&["segment-logs"], &room.lake());
    below.current_dir(&uploads);
    let again = [
        ("the same line", ingest(&[&uploads], &room.lake())),
        ("another directory", relative),
        ("a folder below", below),
        ("a copy of another name", ingest(&[room.path("moved/and renamed")], &room.lake())),
    ];
    for (what, mut command) in again {
        let report = run(&mut command).success().json();
        let uploads = report["uploads"].as_array().expect("a list of uploads");
        assert_eq!(uploads.len(), 6, "{what}");
        for upload in uploads.iter().chain([&report["totals"]]) {
            for name in ["events", "landed", "rows", "held", "duplicates", "filtered", "rejected", "rescued"] {
                assert_eq!(upload[name], 0, "{what}: {name} of {upload}");
            }
        }
        assert!(uploads.iter().all(|upload| upload["status"] == "already landed"), "{what}: {report}");
        assert_eq!(listing(&room.lake()), before, "{what}: something was written");
    }
}
