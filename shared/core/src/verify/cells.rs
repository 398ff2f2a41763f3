//! Rows as cells: one number per row, to compare every row cheaply, and the cells themselves for the few that differ.
//!
//! NULLs say nothing: a file lacks columns that came later, or that have no value in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use inlet_events::table::{RESCUED_DATA, UPLOAD_ID, UUID_TS};
use inlet_events::timestamp_micros;

use crate::ledger::REJECTS;

/// One row: its cells by column, as text that tells types apart.
pub(super) type Cells = BTreeMap<String, String>;

/// Whether a column of a table is compared: not those that say when and by which upload a row came.
pub(super) fn is_compared(table: &str, column: &str) -> bool {
    match table {
        REJECTS => !["upload", "upload_id", "loaded_at"].contains(&column),
        _ => ![UPLOAD_ID, UUID_TS].contains(&column),
    }
}

/// One number per row: the same for the same cells, in whatever order their columns are.
pub(super) fn prints(batch: &RecordBatch, is_compared: &dyn Fn(&str) -> bool) -> Vec<u64> {
    let mut prints = vec![0_u64; batch.num_rows()];
    let mut text = String::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        if !is_compared(field.name()) {
            continue;
        }
        for (row, print) in prints.iter_mut().enumerate() {
            if write_cell(array, row, &mut text) {
                let mut hasher = DefaultHasher::new();
                hasher.write(field.name().as_bytes());
                hasher.write_u8(0);
                hasher.write(text.as_bytes());
                *print = print.wrapping_add(hasher.finish());
            }
        }
    }
    prints
}

/// The cells of one row.
pub(super) fn cells(batch: &RecordBatch, row: usize, is_compared: &dyn Fn(&str) -> bool) -> Cells {
    let mut text = String::new();
    let mut cells = Cells::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        if is_compared(field.name()) && write_cell(array, row, &mut text) {
            cells.insert(field.name().clone(), text.clone());
        }
    }
    cells
}

/// Writes a cell; false when it is NULL, or of a type that Inlet does not write.
fn write_cell(array: &dyn Array, row: usize, text: &mut String) -> bool {
    text.clear();
    if array.is_null(row) {
        return false;
    }
    let written = match array.data_type() {
        DataType::Utf8 => {
            text.push_str(array.as_string::<i32>().value(row));
            return true;
        }
        DataType::Boolean => write!(text, "boolean {}", array.as_boolean().value(row)),
        DataType::Int64 => write!(text, "bigint {}", array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => write!(text, "double {:x}", array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Timestamp(unit, _) => {
            let micros = match unit {
                TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000),
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
                TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row) * 1_000,
                TimeUnit::Second => return false,
            };
            write!(text, "timestamp {micros}")
        }
        _ => return false,
    };
    written.is_ok()
}

/// The columns in which a stored row says something else than the bytes read anew. A value that a limit kept out of its
/// column when it landed, and that would have one today, is no difference: it stands in `_rescued_data`.
pub(super) fn differing(stored: &Cells, anew: &Cells) -> Vec<String> {
    let all: BTreeSet<&String> = stored.keys().chain(anew.keys()).collect();
    let mut columns: Vec<String> =
        all.into_iter().filter(|column| stored.get(*column) != anew.get(*column)).cloned().collect();
    let (kept_then, kept_now) = (kept(stored), kept(anew));
    let (absent, others): (Vec<&String>, Vec<&String>) =
        columns.iter().partition(|column| !stored.contains_key(*column));
    let stands_aside = others == [RESCUED_DATA]
        && kept_now.iter().all(|(key, value)| kept_then.get(key) == Some(value))
        && absent.len() <= kept_then.len() - kept_now.len();
    if stands_aside {
        columns.clear();
    }
    columns
}

/// Whether a column says the same in other words: of a row that was held in a column of one type and then committed to
/// one of another, or to `_rescued_data`, the original spelling is not known any more.
pub(super) fn says_the_same(column: &str, stored: &Cells, anew: &Cells) -> bool {
    if column == RESCUED_DATA {
        return kept(stored).len() == kept(anew).len();
    }
    let (Some(stored), Some(anew)) = (stored.get(column), anew.get(column)) else { return false };
    let number = |text: &str| text.parse::<f64>().ok();
    let moment = |text: &str| timestamp_micros(text.as_bytes());
    number(stored).is_some_and(|stored| number(anew) == Some(stored))
        || moment(stored).is_some_and(|stored| moment(anew) == Some(stored))
}

/// What a row's `_rescued_data` keeps.
fn kept(cells: &Cells) -> BTreeMap<String, serde_json::Value> {
    cells.get(RESCUED_DATA).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn a_value_that_was_held_in_another_type_says_the_same_in_other_words() {
        let cells = |text: &str| Cells::from([("a".to_owned(), text.to_owned())]);
        let same = |stored: &str, anew: &str| says_the_same("a", &cells(stored), &cells(anew));
        assert!(same("2.5", "2.50") && same("2026-01-15T10:00:00.500000Z", "2026-01-15T10:00:00.5Z"));
        assert!(!same("2.5", "2.51") && !same("x", "y") && !same("2026-01-15", "2026-01-16"));
        let kept = |text: &str| Cells::from([(RESCUED_DATA.to_owned(), text.to_owned())]);
        assert!(says_the_same(RESCUED_DATA, &kept(r#"{"total":2.5}"#), &kept(r#"{"Total":2.50}"#)));
        assert!(!says_the_same(RESCUED_DATA, &kept("{}"), &kept(r#"{"Total":2.50}"#)));
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    fn row(cells: &[(&str, &str)]) -> Cells {
        cells.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn rows_of_the_same_cells_have_the_same_print() {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5, 6]).with_timezone("UTC"));
        let nothing: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>, None]));
        let upload: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
        let compared = |column: &str| is_compared("pages", column);
        let left = prints(&batch(vec![("a", Arc::clone(&number)), ("t", Arc::clone(&time))]), &compared);
        let right = prints(&batch(vec![("t", time), ("n", nothing), (UPLOAD_ID, upload), ("a", number)]), &compared);
        assert_eq!(left, right);
        let double: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None]));
        assert_ne!(prints(&batch(vec![("a", double)]), &compared)[0], left[0]);
    }

    #[test]
    fn a_value_that_has_a_column_today_may_stand_in_rescued_data() {
        let anew = row(&[("a", "bigint 1"), ("b", "bigint 2"), (RESCUED_DATA, r#"{"id":"x"}"#)]);
        assert_eq!(differing(&anew, &anew), [""; 0]);
        let stored = row(&[("a", "bigint 1"), (RESCUED_DATA, r#"{"id":"x","b":2}"#)]);
        assert_eq!(differing(&stored, &anew), [""; 0]);
        assert_eq!(differing(&row(&[("a", "bigint 1"), (RESCUED_DATA, r#"{"id":"x"}"#)]), &anew), ["b"]);
        assert_eq!(differing(&row(&[("a", "bigint 1"), ("b", "bigint 2")]), &anew), [RESCUED_DATA]);
        let changed = row(&[("a", "bigint 7"), (RESCUED_DATA, r#"{"id":"x","b":2}"#)]);
        assert_eq!(differing(&changed, &anew), [RESCUED_DATA, "a", "b"]);
    }
}
