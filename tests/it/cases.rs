//! The worked cases of `tests/fixtures/segment-cases.json`: what events become, said by hand. Each goes the whole path,
//! and every table, column, value, rescued value and rejection is compared.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::delta::{Append, Lake, commit};
use inlet_events::table::TableKind;
use inlet_events::{ColumnType, column_name};
use url::Url;

use crate::json::Json;
use crate::lake::{self, Row, Value};
use crate::support::{Room, SCHEMA, land, runtime, settings, tests_folder, touch, upload};

/// 2026-01-01T00:00:00Z, when nothing else is said.
const ARRIVED: u64 = 1_767_225_600_000_000;

#[test]
fn every_worked_case_becomes_what_it_says() {
    let text = fs::read_to_string(tests_folder("fixtures").join("segment-cases.json")).expect("the cases are there");
    let cases = Json::parse(&text);
    assert!(cases.items().len() >= 26, "{} cases", cases.items().len());
    let mut wrong = Vec::new();
    for case in cases.items() {
        let name = case.get("name").expect("a case has a name").as_text();
        for difference in differences(case) {
            wrong.push(format!("{name}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

fn differences(case: &Json) -> Vec<String> {
    let room = Room::new();
    let lines: String =
        case.get("input").expect("a case has input").items().iter().map(|line| format!("{line}\n")).collect();
    let path = room.file("0000.json", lines.as_bytes());
    let arrived = case.get("batch_received_at").map(|time| instant(time.as_text()));
    touch(&path, arrived.map_or(ARRIVED, |micros| u64::try_from(micros).expect("after 1970")));
    for (table, columns) in case.get("existing").map(Json::entries).unwrap_or_default() {
        create(&room, table, columns.entries());
    }
    let settings = inlet_core::settings::Settings { warehouse_id: Some("wh_1".to_owned()), ..settings() };
    land(&room.lake(), &settings, vec![upload(&path)]);
    lake::assert_ledger(&room.lake(), SCHEMA);

    let mut wrong = Vec::new();
    let tables = lake::read_all(&room.lake(), SCHEMA);
    let expected = case.get("expect").expect("a case has an expectation").entries();
    let wanted: BTreeMap<&str, &Json> = expected.iter().map(|(name, table)| (name.as_str(), table)).collect();
    for (name, table) in &tables {
        if !name.starts_with("_loads") && !name.starts_with("_rejects") && !wanted.contains_key(name.as_str()) {
            wrong.push(format!("table `{name}` with {} rows is one too many", table.rows.len()));
        }
    }
    let mut rescued = Vec::new();
    for (name, expected) in wanted {
        match tables.get(name) {
            Some(table) => compare(name, table, expected, &mut wrong, &mut rescued),
            None => wrong.push(format!("no table `{name}`")),
        }
    }
    let mut discards: Vec<_> =
        case.get("expect_discards").map(Json::items).unwrap_or_default().iter().map(discard).collect();
    discards.sort();
    rescued.sort();
    if rescued != discards {
        wrong.push(format!("rescued {rescued:?}, not {discards:?}"));
    }
    let rejects = tables.get("_rejects").map(|table| table.rows.iter().map(rejected).collect::<Vec<_>>());
    let wanted = case.get("expect_rejects").map(Json::items).unwrap_or_default();
    let wanted: Vec<_> =
        wanted.iter().map(|one| (number(one, "index") + 1, one.get("reason").expect("a reason").plain())).collect();
    let mut rejects = rejects.unwrap_or_default();
    rejects.sort();
    if rejects != wanted {
        wrong.push(format!("rejected {rejects:?}, not {wanted:?}"));
    }
    wrong
}

/// Makes a table that stands there before the upload: the columns that every table has, and some more.
fn create(room: &Room, table: &str, columns: &[(String, Json)]) {
    let path = room.lake();
    fs::create_dir_all(&path).expect("a lake can be made");
    let url = Url::from_directory_path(fs::canonicalize(path).expect("the lake is there")).expect("a path is a URL");
    let lake = Lake::open(&url, runtime().handle().clone()).expect("the lake opens");
    let system =
        TableKind::Event.system_columns().into_iter().map(|(name, column_type)| (name.to_owned(), column_type));
    let own = columns.iter().map(|(name, column_type)| {
        let all =
            [ColumnType::Boolean, ColumnType::BigInt, ColumnType::Double, ColumnType::String, ColumnType::Timestamp];
        let column_type = all.into_iter().find(|known| known.name() == column_type.as_text()).expect("a type of ours");
        (name.clone(), column_type)
    });
    let columns: Vec<_> = system.chain(own).collect();
    let append = Append { app_ids: vec!["before".to_owned()], ..Append::default() };
    let deadline = Deadline::after(Duration::from_secs(60));
    commit(&lake, SCHEMA, table, &mut None, &columns, &append, deadline).expect("the table can be made");
}

fn compare(
    name: &str,
    table: &lake::Table,
    expected: &Json,
    wrong: &mut Vec<String>,
    rescued: &mut Vec<(String, String, String, String)>,
) {
    let types = table.types();
    let columns = expected.get("columns").expect("a table has columns").entries();
    for (column, column_type) in columns {
        if types.get(column).map(String::as_str) != Some(column_type.as_text()) {
            wrong.push(format!("`{name}.{column}` is {:?}, not {column_type}", types.get(column)));
        }
    }
    let rows = expected.get("rows").expect("a table has rows").items();
    if rows.len() != table.rows.len() {
        wrong.push(format!("`{name}` has {} rows, not {}", table.rows.len(), rows.len()));
    }
    for (at, (row, expected)) in table.rows.iter().zip(rows).enumerate() {
        let mut row = row.clone();
        row.remove("uuid_ts");
        if row.remove("_upload_id").is_none() {
            wrong.push(format!("`{name}` row {at} does not say which upload it came from"));
        }
        let id = row.get("id").map(|id| id.text().to_owned()).unwrap_or_default();
        if let Some(kept) = row.remove("_rescued_data") {
            for (key, value) in Json::parse(kept.text()).entries() {
                let path = key.split('#').next().unwrap_or_default();
                rescued.push((name.to_owned(), id.clone(), column_name(path), value.plain()));
            }
        }
        for (column, expected) in expected.entries() {
            let found = row.remove(column);
            if !is_same(found.as_ref(), expected) {
                wrong.push(format!("`{name}.{column}` of `{id}` is {found:?}, not {expected}"));
            }
        }
        for (column, value) in row {
            wrong.push(format!("`{name}.{column}` of `{id}` is {value:?}, not NULL"));
        }
    }
}

fn is_same(found: Option<&Value>, expected: &Json) -> bool {
    match (found, expected) {
        (None, Json::Null) => true,
        (Some(Value::Boolean(found)), Json::Boolean(expected)) => found == expected,
        (Some(Value::BigInt(found)), Json::Number(expected)) => found.to_string() == *expected,
        (Some(Value::Double(bits)), Json::Number(expected)) => {
            expected.parse::<f64>().is_ok_and(|expected| expected.to_bits() == *bits)
        }
        (Some(Value::Time(micros)), Json::Text(expected)) => *micros == instant(expected),
        (Some(Value::Text(found)), Json::Text(expected)) => found == expected,
        (Some(Value::Text(found)), Json::Object(_)) => {
            let pattern = expected.get("$match").expect("an object is a pattern").as_text();
            let start = pattern.strip_prefix('^').expect("patterns begin at the beginning");
            assert!(
                start.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
                "`{pattern}` is more than a beginning"
            );
            found.starts_with(start)
        }
        _ => false,
    }
}

/// Microseconds since 1970 of `YYYY-MM-DDThh:mm:ss[.fraction]Z`, by counting days.
pub(crate) fn instant(text: &str) -> i64 {
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().expect("a time is written in digits");
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = year - 1;
    let mut days = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += months.iter().take(usize::try_from(month - 1).expect("a month")).sum::<i64>() + day - 1;
    let seconds = (days * 24 + part(11, 13)) * 3_600 + part(14, 16) * 60 + part(17, 19);
    let fraction = text[19..].trim_start_matches('.').trim_end_matches('Z');
    seconds * 1_000_000 + format!("{fraction:0<6}").parse::<i64>().expect("at most microseconds")
}

fn discard(one: &Json) -> (String, String, String, String) {
    let part = |name: &str| one.get(name).expect("a discard is complete").plain();
    (part("table"), part("row_id"), part("column"), part("value"))
}

fn rejected(row: &Row) -> (i64, String) {
    (row["line"].number(), row["reason"].text().to_owned())
}

fn number(one: &Json, name: &str) -> i64 {
    one.get(name).expect("it is there").plain().parse().expect("it is a number")
}

#[test]
fn the_clock_of_these_tests_is_right() {
    assert_eq!(instant("1970-01-01T00:00:00Z"), 0);
    assert_eq!(instant("2026-01-01T00:00:00.000Z"), 1_767_225_600_000_000);
    assert_eq!(instant("2024-02-29T12:00:00.000001Z"), 1_709_208_000_000_001);
    assert_eq!(instant("0001-01-01T00:00:00.000Z"), -62_135_596_800_000_000);
}
