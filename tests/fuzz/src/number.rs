//! Numbers in columns of every type, against `serde_json`'s grammar, the standard library's nearest double, and whole
//! numbers without bound.

use std::collections::BTreeMap;

use inlet_events::{ColumnType, KnownType};
use num_bigint::BigInt;
use num_traits::{FromPrimitive, Pow, ToPrimitive, Zero};

use crate::document::{self, Json};
use crate::landing::{Cell, Setting, land_plainly};
use crate::timestamp;

/// What numbers, and texts that nearly are, consist of.
const ALPHABET: &[u8; 16] = b"0123456789-.eE+5";
/// An exponent beyond is only far away.
const FAR: i64 = 5_000;

/// The columns that a table has; `n` is new.
const COLUMNS: [(&str, ColumnType); 5] = [
    ("b", ColumnType::Boolean),
    ("d", ColumnType::Double),
    ("i", ColumnType::BigInt),
    ("s", ColumnType::String),
    ("t", ColumnType::Timestamp),
];

/// What a column keeps of a value, and whether the value is rescued.
type Kept = (Option<Cell>, bool);

/// The bytes spell a text of digits, signs, points and exponents (as they are, or by their low four bits).
pub fn number(data: &[u8]) {
    let spelled = |byte: &u8| if ALPHABET.contains(byte) { *byte } else { ALPHABET[usize::from(byte % 16)] };
    let text: String = data.iter().map(spelled).map(char::from).collect();
    let is_number = matches!(document::parse(&text), Some(Json::Number(_)));
    if is_number {
        check(&text, &text, |column| of_number(&text, column));
    } else {
        let landing = land_plainly(line(&text).as_bytes(), &setting());
        assert_eq!(landing.rejects.len(), 1, "{text} is no JSON");
    }
    check(&format!("\"{text}\""), &text, |column| of_text(&text, is_number, column));
}

fn line(value: &str) -> String {
    let columns = COLUMNS.map(|(name, _)| format!("\"{name}\":{value}")).join(",");
    format!(r#"{{"type":"identify","userId":"u","traits":{{{columns},"n":{value}}}}}"#)
}

fn setting() -> Setting {
    let columns = COLUMNS.map(|(name, column_type)| (name.to_owned(), KnownType::Ours(column_type)));
    Setting { existing: [("identifies".to_owned(), columns.to_vec())].into(), ..Setting::default() }
}

/// Lands a value in every column and compares with what the rules keep of it.
fn check(value: &str, text: &str, kept: impl Fn(ColumnType) -> Kept) {
    let landing = land_plainly(line(value).as_bytes(), &setting());
    let landed = &landing.tables["identifies"];
    let [row] = landed.rows.as_slice() else { panic!("{value}: one event is one row") };
    let mut rescued = BTreeMap::new();
    if let Some(Cell::Text(json)) = row.get("_rescued_data") {
        let values: BTreeMap<String, &serde_json::value::RawValue> =
            serde_json::from_str(json).expect("`_rescued_data` is JSON");
        rescued.extend(values.into_iter().map(|(key, value)| (key, value.get().to_owned())));
    }
    let new = new_type(text, value.starts_with('"'));
    assert_eq!(landed.brought, [("n".to_owned(), new)], "{value}");
    for (name, column_type) in COLUMNS.into_iter().chain([("n", new)]) {
        let (cell, is_rescued) = kept(column_type);
        assert_eq!(row.get(name), cell.as_ref(), "{value} as {column_type:?}");
        assert_eq!(rescued.get(name).map(String::as_str), is_rescued.then_some(value), "{value} as {column_type:?}");
        assert!(name != "n" || !is_rescued, "the least type that holds {value} does not");
    }
}

/// The least type that holds a value by itself.
fn new_type(text: &str, is_text: bool) -> ColumnType {
    if is_text {
        let is_timestamp = timestamp::expected(text.as_bytes()).is_some();
        return if is_timestamp { ColumnType::Timestamp } else { ColumnType::String };
    }
    match (integer(text), double(text)) {
        (Some(value), _) if value.to_i64().is_some() => ColumnType::BigInt,
        (Some(_), _) | (None, None) => ColumnType::String,
        (None, Some(_)) => ColumnType::Double,
    }
}

fn of_number(text: &str, column: ColumnType) -> Kept {
    match column {
        ColumnType::Boolean | ColumnType::Timestamp => (None, true),
        ColumnType::String => (Some(Cell::Text(text.to_owned())), false),
        ColumnType::BigInt => match truncated(text) {
            Some((value, is_whole)) => (Some(Cell::BigInt(value)), !is_whole),
            None => (None, true),
        },
        ColumnType::Double => match (double(text), integer(text)) {
            (None, _) => (None, true),
            (Some(value), None) => (Some(Cell::Double(value.to_bits())), false),
            (Some(value), Some(exact)) => (Some(Cell::Double(value.to_bits())), BigInt::from_f64(value) != Some(exact)),
        },
    }
}

fn of_text(text: &str, is_number: bool, column: ColumnType) -> Kept {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match column {
        ColumnType::Boolean => (None, true),
        ColumnType::String => (Some(Cell::Text(text.to_owned())), false),
        ColumnType::Timestamp => {
            let micros = timestamp::expected(text.as_bytes());
            (micros.map(Cell::Micros), micros.is_none())
        }
        ColumnType::BigInt if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let value = text.parse::<BigInt>().ok().and_then(|value| value.to_i64());
            (value.map(Cell::BigInt), value.is_none())
        }
        ColumnType::BigInt => (None, true),
        ColumnType::Double if is_number => of_number(text, column),
        ColumnType::Double => (None, true),
    }
}

/// The value of a number without fraction and exponent.
fn integer(text: &str) -> Option<BigInt> {
    if text.contains(['.', 'e', 'E']) { None } else { text.parse().ok() }
}

/// The nearest double, unless that is infinite.
fn double(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A number's integral part within 64 bits, and whether that is all of it.
fn truncated(text: &str) -> Option<(i64, bool)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: BigInt = format!("{whole}{fraction}").parse().expect("a number's digits");
    if digits.is_zero() {
        return Some((0, true));
    }
    let exponent = exponent.parse::<BigInt>().expect("an exponent's digits") - BigInt::from(fraction.len());
    let bound = FAR + text.len() as i64;
    let exponent = exponent.clamp(BigInt::from(-bound), BigInt::from(bound)).to_i64().expect("it is bounded");
    let power = BigInt::from(10).pow(exponent.unsigned_abs());
    let (value, is_whole) =
        if exponent >= 0 { (digits * power, true) } else { (&digits / &power, (&digits % &power).is_zero()) };
    Some((value.to_i64()?, is_whole))
}
