//! What must not matter does not matter: the order of keys, the order of events, how events are cut into files, and how
//! properties are called. The uploads have no repeated ids and no two keys that meet in one column.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use inlet_events::column_name;

use crate::cases::instant;
use crate::events::lines;
use crate::json::Json;
use crate::lake::{self, Row, Table, Value};
use crate::support::{Chance, Room, SCHEMA, assert_landed, land, settings};

const SEEDS: std::ops::Range<u64> = 100..112;
const KEYS: [&str; 8] = ["alpha", "orderId", "Total Price", "isBetaTester", "plan", "x1", "HTTPServer", "seen at"];
const RENAMED: [&str; 8] = ["zulu", "Ref", "amountDue", "f", "tier level", "coord9", "hostName", "last Visit"];

/// A value of any kind; the kinds meet in one column again and again.
fn value(chance: &mut Chance, depth: usize) -> Json {
    match chance.below(if depth < 3 { 14 } else { 11 }) {
        0 => Json::Null,
        1 => Json::Boolean(chance.is(50)),
        2 => Json::number(chance.below(1_000)),
        3 => Json::number(format!("-{}", chance.below(1_000))),
        4 => Json::number(format!("{}.5", chance.below(1_000))),
        5 => Json::number(9_007_199_254_740_993 + chance.below(100)),
        6 => Json::number(format!("123456789012345678{:04}", chance.below(10_000))),
        7 => Json::text(&format!("text {}", chance.below(50))),
        8 => Json::text(chance.pick(&["", "12", "3.5", "true", "2026-03-15"])),
        9 => Json::text(&format!("2026-03-15T12:00:{:02}.250Z", chance.below(60))),
        10 => Json::Array((0..chance.below(3)).map(|_| value(chance, 3)).collect()),
        _ => bag(chance, depth + 1),
    }
}

fn bag(chance: &mut Chance, depth: usize) -> Json {
    let mut keys = KEYS.to_vec();
    chance.shuffle(&mut keys);
    keys.truncate(chance.below(5));
    Json::Object(keys.into_iter().map(|key| (key.to_owned(), value(chance, depth))).collect())
}

fn events(chance: &mut Chance, count: usize) -> Vec<Json> {
    let one = |number: usize| {
        let (kind, own) = chance.pick(&[
            ("track", ("event", "First Event")),
            ("track", ("event", "Second Event")),
            ("identify", ("channel", "server")),
            ("page", ("name", "Home")),
            ("group", ("groupId", "g1")),
        ]);
        let mut entries = vec![
            ("type".to_owned(), Json::text(kind)),
            ("messageId".to_owned(), Json::text(&format!("m{number:03}"))),
            ("userId".to_owned(), Json::text(&format!("u{}", chance.below(5)))),
            ("timestamp".to_owned(), Json::text(&format!("2026-03-15T11:{:02}:00Z", chance.below(60)))),
            ("receivedAt".to_owned(), Json::text("2026-03-15T12:00:00Z")),
            (own.0.to_owned(), Json::text(own.1)),
            ("context".to_owned(), bag(chance, 1)),
        ];
        entries
            .push((if matches!(kind, "track" | "page") { "properties" } else { "traits" }.to_owned(), bag(chance, 0)));
        Json::Object(entries)
    };
    (0..count).map(one).collect()
}

/// The same with keys in another order; what stands in arrays is a value and stays.
fn with_shuffled_keys(json: &Json, chance: &mut Chance) -> Json {
    match json {
        Json::Object(entries) => {
            let mut entries: Vec<_> =
                entries.iter().map(|(key, value)| (key.clone(), with_shuffled_keys(value, chance))).collect();
            chance.shuffle(&mut entries);
            Json::Object(entries)
        }
        other => other.clone(),
    }
}

fn bytes(events: &[Json]) -> Vec<u8> {
    lines(&events.iter().map(Json::to_string).collect::<Vec<_>>())
}

/// Lands one upload in a lake of its own.
fn landed(room: &Room, name: &str, events: &[Json]) -> PathBuf {
    let lake = room.path(&format!("lake of {name}"));
    assert_landed(&land(&lake, &settings(), vec![room.upload(name, &bytes(events))]));
    lake
}

/// Rows by table and id, without what each run says anew; the order of rescued values is nobody's.
fn rows(tables: BTreeMap<String, Table>) -> BTreeMap<(String, String), Row> {
    let mut rows = BTreeMap::new();
    for (name, table) in tables {
        for mut row in table.rows {
            row.remove("uuid_ts");
            row.remove("_upload_id");
            if let Some(Value::Text(text)) = row.get_mut("_rescued_data") {
                let mut entries = Json::parse(text).entries().to_vec();
                entries.sort();
                *text = Json::Object(entries).to_string();
            }
            let id = row["id"].text().to_owned();
            assert!(rows.insert((name.clone(), id), row).is_none(), "an id stands twice in {name}");
        }
    }
    rows
}

fn types(lake: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    lake::read_events(lake, SCHEMA).into_iter().map(|(name, table)| (name, table.types())).collect()
}

fn assert_same(what: &str, left: &Path, right: &Path) {
    assert_eq!(types(left), types(right), "{what}");
    let (left, right) = (rows(lake::read_events(left, SCHEMA)), rows(lake::read_events(right, SCHEMA)));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{what}");
    for (place, row) in &left {
        assert_eq!(row, &right[place], "{what}: {place:?}");
    }
}

#[test]
fn the_order_of_keys_does_not_matter() {
    for seed in SEEDS {
        let room = Room::new();
        let mut chance = Chance::of(seed);
        let events = events(&mut chance, 60);
        let other: Vec<Json> = events.iter().map(|event| with_shuffled_keys(event, &mut chance)).collect();
        assert_same(&format!("seed {seed}"), &landed(&room, "a", &events), &landed(&room, "b", &other));
    }
}

#[test]
fn the_order_of_events_does_not_matter() {
    for seed in SEEDS {
        let room = Room::new();
        let mut chance = Chance::of(seed);
        let mut events = events(&mut chance, 60);
        let lake = landed(&room, "a", &events);
        chance.shuffle(&mut events);
        assert_same(&format!("seed {seed}"), &lake, &landed(&room, "b", &events));
    }
}

#[test]
fn how_properties_are_called_does_not_matter() {
    for seed in SEEDS {
        let room = Room::new();
        let events = events(&mut Chance::of(seed), 60);
        let renamed: Vec<Json> = events.iter().map(renamed_bag).collect();
        let (left, right) = (landed(&room, "a", &events), landed(&room, "b", &renamed));
        let mut columns = BTreeMap::new();
        for event in &events {
            for name in ["properties", "traits"] {
                paths(event.get(name).unwrap_or(&Json::Null), &mut Vec::new(), &mut columns);
            }
        }
        let distinct: BTreeSet<_> = columns.values().collect();
        assert_eq!(distinct.len(), columns.len(), "the new names are distinct");
        let rename = |name: &String| columns.get(name).unwrap_or(name).clone();
        let typed = |types: BTreeMap<String, BTreeMap<String, String>>| -> BTreeMap<_, BTreeMap<_, _>> {
            types
                .into_iter()
                .map(|(table, types)| (table, types.into_iter().map(|(name, kind)| (rename(&name), kind)).collect()))
                .collect()
        };
        assert_eq!(typed(types(&left)), types(&right), "seed {seed}");
        let (left, right) = (rows(lake::read_events(&left, SCHEMA)), rows(lake::read_events(&right, SCHEMA)));
        assert_eq!(left.len(), right.len(), "seed {seed}");
        for (place, row) in left {
            let mut other = right[&place].clone();
            let mut row: Row = row.iter().map(|(name, value)| (rename(name), value.clone())).collect();
            assert_eq!(rescued(&row, rename), rescued(&other, String::clone), "seed {seed}: {place:?}");
            row.remove("_rescued_data");
            other.remove("_rescued_data");
            assert_eq!(row, other, "seed {seed}: {place:?}");
        }
    }
}

/// The same event with other keys in its bag.
fn renamed_bag(event: &Json) -> Json {
    fn renamed(json: &Json) -> Json {
        let name =
            |key: &String| RENAMED[KEYS.iter().position(|known| known == key).expect("a key of ours")].to_owned();
        match json {
            Json::Object(entries) => {
                Json::Object(entries.iter().map(|(key, value)| (name(key), renamed(value))).collect())
            }
            other => other.clone(),
        }
    }
    let entries = event.entries().iter().map(|(key, value)| match key.as_str() {
        "properties" | "traits" => (key.clone(), renamed(value)),
        _ => (key.clone(), value.clone()),
    });
    Json::Object(entries.collect())
}

/// The column of each path in a bag, and what it is called after the renaming.
fn paths(json: &Json, above: &mut Vec<usize>, columns: &mut BTreeMap<String, String>) {
    for (key, value) in json.entries() {
        above.push(KEYS.iter().position(|known| known == key).expect("a key of ours"));
        let joined = |names: &[&str]| column_name(&above.iter().map(|at| names[*at]).collect::<Vec<_>>().join("_"));
        columns.insert(joined(&KEYS), joined(&RENAMED));
        paths(value, above, columns);
        above.pop();
    }
}

/// A row's rescued values by column.
fn rescued(row: &Row, rename: impl Fn(&String) -> String) -> BTreeMap<String, Json> {
    let Some(text) = row.get("_rescued_data") else { return BTreeMap::new() };
    let entries = Json::parse(text.text());
    entries.entries().iter().map(|(key, value)| (rename(&column_name(key)), value.clone())).collect()
}

#[test]
fn how_events_are_cut_into_files_does_not_matter() {
    for seed in SEEDS {
        let room = Room::new();
        let mut chance = Chance::of(seed);
        let events = events(&mut chance, 60);
        let whole = landed(&room, "a", &events);
        let parts = 2 + chance.below(4);
        let cut: Vec<_> = events.chunks(60_usize.div_ceil(parts)).enumerate().collect();
        let cut = cut.into_iter().map(|(at, part)| room.upload(&format!("part{at}"), &bytes(part))).collect();
        let lake = room.path("lake of parts");
        assert_landed(&land(&lake, &settings(), cut));
        lake::assert_ledger(&lake, SCHEMA);
        let columns = |lake: &Path| -> BTreeMap<String, BTreeSet<String>> {
            types(lake).into_iter().map(|(name, types)| (name, types.into_keys().collect())).collect()
        };
        assert_eq!(columns(&whole), columns(&lake), "seed {seed}: tables and columns");
        let (left, right) = (rows(lake::read_events(&whole, SCHEMA)), rows(lake::read_events(&lake, SCHEMA)));
        assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "seed {seed}");
        for (place, row) in &left {
            let other = &right[place];
            let names: BTreeSet<_> = row.keys().chain(other.keys()).filter(|name| *name != "_rescued_data").collect();
            for name in names {
                let found = (said(row, name), said(other, name));
                assert!(
                    found.0.iter().any(|left| found.1.iter().any(|right| is_one(left, right))),
                    "seed {seed}: {place:?} {name}: {found:?}"
                );
            }
        }
    }
}

/// What a row says in a column: the value, and the one that was rescued because it did not fit.
fn said(row: &Row, name: &str) -> Vec<Value> {
    let kept = rescued(row, String::clone).remove(name).map(|value| Value::Text(value.plain()));
    // A rescued value is the whole truth; what stands in the column is the nearest that fits.
    kept.or_else(|| row.get(name).cloned()).into_iter().collect()
}

/// Whether two values are one, written in columns of two types.
fn is_one(left: &Value, right: &Value) -> bool {
    let exact = |value: &Value| match value {
        Value::Boolean(value) => value.to_string(),
        Value::BigInt(value) => value.to_string(),
        Value::Double(bits) => format!("{}", f64::from_bits(*bits)),
        Value::Time(micros) => format!("{micros}µs"),
        Value::Text(text) if text.len() == 24 && text.starts_with("2026-") => format!("{}µs", instant(text)),
        Value::Text(text) if text == "2026-03-15" => format!("{}µs", instant("2026-03-15T00:00:00Z")),
        Value::Text(text) => text.clone(),
    };
    exact(left) == exact(right)
}
