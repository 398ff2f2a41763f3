//! The JSON reader against `serde_json`: what is refused, and what every value, key and number says.

use std::collections::BTreeMap;

use crate::document::{self, Json, has_exponent, is_comparable, is_nothing};
use crate::judge;
use crate::landing::{Cell, Landing, Setting, land_plainly};

/// Objects are followed to a path of so many segments.
const DEPTH: usize = 16;

/// The bytes are a JSON text: as a line, as an array's item, and as the bag of an event.
pub fn json(data: &[u8]) {
    let line: Vec<u8> = data.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
    line_is_refused_as_the_rules_say(&line);
    let Ok(text) = std::str::from_utf8(&line) else { return };
    if !is_comparable(text) {
        return;
    }
    // Alone, so that a text cannot close the array or the object around it.
    let mended = document::mended(text);
    if let Some(items) = document::parse(&format!("[{mended}]")) {
        array_says_the_same(text, &items, mended == text);
        if let ([bag @ Json::Object(_)], true) = (items.items(), mended == text) {
            bag_says_the_same(text, bag);
        }
    }
}

fn line_is_refused_as_the_rules_say(line: &[u8]) {
    let setting = Setting::default();
    let landing = land_plainly(line, &setting);
    if let Some(expected) = judge::verdicts(line, &setting) {
        let expected: Vec<_> = expected
            .into_iter()
            .filter_map(|(line, item, offset, verdict)| match verdict {
                judge::Verdict::Rejected(reason) => Some((line, item, offset, reason)),
                _ => None,
            })
            .collect();
        let refused: Vec<_> =
            landing.rejects.iter().map(|&(line, item, offset, reason, _)| (line, item, offset, reason)).collect();
        assert_eq!(refused, expected);
    }
}

/// An array is one column of compact JSON.
fn array_says_the_same(text: &str, items: &Json, is_exact: bool) {
    let landing = land_identify(&format!(r#"{{"v":[{text}]}}"#), &Setting::default());
    let row = only_row(&landing);
    let Some(Cell::Text(column)) = row.get("v") else { panic!("{row:?}") };
    if !is_exact {
        assert_eq!(document::parse(&document::mended(column)).as_ref(), Some(items));
    } else if has_exponent(items) {
        assert_eq!(document::parse(column).as_ref(), Some(items));
    } else {
        assert_eq!(*column, items.to_string());
    }
}

/// Without room for columns every leaf of a bag stands in `_rescued_data`, under its path.
fn bag_says_the_same(text: &str, bag: &Json) {
    let mut setting = Setting::default();
    setting.limits.new_columns_per_upload = 0;
    let landing = land_identify(text, &setting);
    let mut expected: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    leaves(bag, "", 1, &mut expected);
    let mut rescued: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    if let Some(Cell::Text(json)) = only_row(&landing).get("_rescued_data") {
        let object = document::parse(json).expect("`_rescued_data` is JSON");
        for (key, value) in object.entries() {
            rescued.entry(unnumbered(key).to_owned()).or_default().push(value.clone());
        }
    }
    for values in expected.values_mut().chain(rescued.values_mut()) {
        values.sort();
    }
    assert_eq!(rescued, expected);
}

/// All leaves of an object by path, and what repeated keys lost: whole values.
fn leaves(object: &Json, path: &str, depth: usize, found: &mut BTreeMap<String, Vec<Json>>) {
    let entries = object.entries();
    for (at, (key, value)) in entries.iter().enumerate() {
        let path = if depth == 1 { key.clone() } else { format!("{path}_{key}") };
        let is_last = entries[at + 1..].iter().all(|(later, _)| later != key);
        match value {
            value if is_nothing(value) => {}
            Json::Object(_) if is_last && depth < DEPTH => leaves(value, &path, depth + 1, found),
            value => found.entry(unnumbered(&path).to_owned()).or_default().push(value.clone()),
        }
    }
}

/// A rescued key without the numbers that tell it from others of its path (`#2`, …).
fn unnumbered(mut key: &str) -> &str {
    while let Some((path, number)) = key.rsplit_once('#')
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        key = path;
    }
    key
}

fn land_identify(traits: &str, setting: &Setting) -> Landing {
    let line = format!(r#"{{"type":"identify","userId":"u","traits":{traits}}}"#);
    let landing = land_plainly(line.as_bytes(), setting);
    assert_eq!(landing.rejects, []);
    landing
}

fn only_row(landing: &Landing) -> &crate::landing::Row {
    let [row] = landing.rows("identifies") else { panic!("one event is one row") };
    row
}
