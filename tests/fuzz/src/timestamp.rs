//! Timestamps against a slow reading of their grammar, with `jiff`'s calendar: system fields and columns.

use std::collections::BTreeMap;

use inlet_events::{ColumnType, KnownType};
use jiff::civil::DateTime;

use crate::document::{self, Json};
use crate::landing::{ARRIVED, Cell, Setting, land_plainly};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// The bytes are up to four texts between `|`: `receivedAt`, `sentAt`, `originalTimestamp`, `timestamp`.
pub fn timestamp(data: &[u8]) {
    let is_plain = |byte: &u8| (b' '..0x7F).contains(byte) && !matches!(byte, b'"' | b'\\');
    if !data.iter().all(is_plain) {
        return;
    }
    let text = String::from_utf8_lossy(data);
    let mut texts = text.splitn(4, '|').map(str::to_owned).collect::<Vec<_>>();
    texts.resize(4, String::new());
    let [received, sent, original, own] = texts.as_slice() else { return };
    let line = format!(
        r#"{{"type":"identify","userId":"u","receivedAt":"{received}","sentAt":"{sent}","originalTimestamp":"{original}","timestamp":"{own}","traits":{{"t":"{received}","n":"{received}"}}}}"#
    );
    // `sent_at` as somebody else's BIGINT: the moment stands in `_rescued_data`, as text.
    let existing = [("t", ColumnType::Timestamp), ("sent_at", ColumnType::BigInt)];
    let existing = existing.map(|(name, column_type)| (name.to_owned(), KnownType::Ours(column_type))).to_vec();
    let setting = Setting { existing: [("identifies".to_owned(), existing)].into(), ..Setting::default() };
    let landing = land_plainly(line.as_bytes(), &setting);
    let landed = &landing.tables["identifies"];
    let [row] = landed.rows.as_slice() else { panic!("one event is one row") };
    let micros = |column: &str| match row.get(column) {
        Some(Cell::Micros(micros)) => Some(*micros),
        None => None,
        Some(other) => panic!("{column} is {other:?}"),
    };
    let moment = |text: &str| expected(text.as_bytes());
    let received_at = moment(received).unwrap_or(ARRIVED);
    assert_eq!(micros("received_at"), Some(received_at));
    assert_eq!(micros("original_timestamp"), moment(original));
    assert_eq!(micros("timestamp"), Some(corrected(received_at, moment(sent), moment(original), moment(own))));
    assert_eq!(micros("t"), moment(received));
    match (landed.brought.as_slice(), moment(received)) {
        ([(_, ColumnType::Timestamp)], Some(_)) => assert_eq!(micros("n"), moment(received)),
        ([(_, ColumnType::String)], None) => assert_eq!(row.get("n"), Some(&Cell::Text(received.clone()))),
        (brought, _) => panic!("{received:?} became {brought:?}"),
    }
    let rescued = match row.get("_rescued_data") {
        Some(Cell::Text(json)) => document::parse(json).expect("`_rescued_data` is JSON"),
        _ => Json::Object(Vec::new()),
    };
    let mut invalid = BTreeMap::new();
    let fields = [("receivedAt", received), ("sentAt", sent), ("originalTimestamp", original), ("timestamp", own)];
    for (key, text) in fields {
        if !text.is_empty() && moment(text).is_none() {
            invalid.insert(key, text.clone());
        }
    }
    if moment(received).is_none() {
        invalid.insert("t", received.clone());
    }
    for (key, value) in rescued.entries() {
        match (key.as_str(), moment(sent)) {
            ("sentAt", Some(sent)) => {
                let shown = value.as_text().strip_suffix('Z').expect("a moment is shown in UTC");
                let shown: DateTime = shown.parse().expect("a moment is shown as RFC 3339 has it");
                assert_eq!(shown.duration_since(EPOCH).as_micros(), i128::from(sent));
            }
            (key, _) => assert_eq!(invalid.remove(key).as_deref(), Some(value.as_text()), "{key}"),
        }
    }
    assert!(invalid.is_empty(), "{invalid:?} are neither times nor rescued");
}

/// The row's `timestamp`: the first of its sources that there is.
fn corrected(received: i64, sent: Option<i64>, original: Option<i64>, own: Option<i64>) -> i64 {
    let computed = match (sent, original) {
        (Some(sent), Some(original)) => Some(received - (sent - original)).filter(|micros| is_in_range(*micros)),
        _ => None,
    };
    own.or(computed).or(original).unwrap_or(received)
}

/// Microseconds since the epoch, when the text is a timestamp.
pub(crate) fn expected(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 40 && text.is_ascii())?;
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let (time, zone) = match rest.strip_prefix(['T', ' ']) {
        None if rest.is_empty() => ("00:00", ""),
        None => return None,
        Some(rest) => rest.split_at(rest.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(rest.len())),
    };
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let (clock, fraction) = match time.split_once('.') {
        Some((_, "")) => return None,
        Some((clock, fraction)) => (clock, Some(number(fraction, fraction.len()).map(|_| fraction)?)),
        None => (time, None),
    };
    let clock: Vec<&str> = clock.split(':').collect();
    let (hour, minute, second) = match clock.as_slice() {
        [hour, minute] if fraction.is_none() => (number(hour, 2)?, number(minute, 2)?, 0),
        [hour, minute, second] => (number(hour, 2)?, number(minute, 2)?, number(second, 2)?),
        _ => return None,
    };
    let micros = i64::from(number(&format!("{:0<6}", fraction.unwrap_or_default())[..6], 6)?);
    let offset = offset_minutes(zone)?;
    if year == 0 || date.next().is_some() {
        return None;
    }
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|part| part as i8);
    let local = DateTime::new(year as i16, month, day, hour, minute, second, 0).ok()?;
    let micros = (local.duration_since(EPOCH).as_secs() - offset * 60) * 1_000_000 + micros;
    is_in_range(micros).then_some(micros)
}

fn offset_minutes(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, zone) = zone.split_at_checked(1)?;
    let (hours, minutes) = match zone.len() {
        2 => (zone, "00"),
        4 => zone.split_at(2),
        5 => zone.split_once(':')?,
        _ => return None,
    };
    let (hours, minutes) = (i64::from(number(hours, 2)?), i64::from(number(minutes, 2)?));
    let minutes = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
    match sign {
        "+" => Some(minutes),
        "-" => Some(-minutes),
        _ => None,
    }
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text[..digits.min(6)].parse().ok())?
}

/// The years 0001 to 9999.
fn is_in_range(micros: i64) -> bool {
    (-62_135_596_800_000_000..=253_402_300_799_999_999).contains(&micros)
}
