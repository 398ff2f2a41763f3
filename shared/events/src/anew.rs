//! Rows that stand in a file are written anew, for the columns that their table has by now.
//!
//! A file was written for columns that the table was to get. Where it got others, a value takes the column that has its
//! name, by the rules that its JSON would be taken by; what does not fit, or has no column, goes to `_rescued_data`
//! under the name of the column that it stood in.

use std::borrow::Cow;

use hashbrown::HashMap;

use crate::column::{Column, Fit, RowGroup};
use crate::kind::{ColumnType, KnownType};
use crate::number;
use crate::rescue::Rescue;
use crate::table::RESCUED_DATA;
use crate::text::write_json_string;
use crate::timestamp;

/// A value that stands in a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// BOOLEAN
    Boolean(bool),
    /// BIGINT
    BigInt(i64),
    /// DOUBLE
    Double(f64),
    /// TIMESTAMP: microseconds since 1970, UTC
    Timestamp(i64),
    /// STRING
    Text(&'a str),
}

impl<'a> Value<'a> {
    /// The type of the column that it stands in.
    fn column_type(self) -> ColumnType {
        match self {
            Self::Boolean(_) => ColumnType::Boolean,
            Self::BigInt(_) => ColumnType::BigInt,
            Self::Double(_) => ColumnType::Double,
            Self::Timestamp(_) => ColumnType::Timestamp,
            Self::Text(_) => ColumnType::String,
        }
    }

    /// As a STRING column shows it.
    fn text(self) -> Cow<'a, str> {
        match self {
            Self::Boolean(value) => value.to_string().into(),
            Self::BigInt(value) => value.to_string().into(),
            Self::Double(value) => format!("{value:?}").into(),
            Self::Timestamp(micros) => timestamp::format(micros).into(),
            Self::Text(text) => text.into(),
        }
    }

    /// As JSON has it.
    fn json(self) -> Vec<u8> {
        let text = self.text();
        match self {
            Self::Boolean(_) | Self::BigInt(_) | Self::Double(_) => text.into_owned().into_bytes(),
            Self::Timestamp(_) | Self::Text(_) => {
                let mut json = Vec::new();
                write_json_string(text.as_bytes(), &mut json);
                json
            }
        }
    }
}

/// Rows of a table since the last [`Anew::clear`].
#[derive(Debug)]
pub struct Anew {
    columns: Vec<(String, Column)>,
    /// By name in lower case: Delta compares so.
    places: HashMap<String, usize>,
    rows: usize,
    rescue: Rescue,
}

impl Anew {
    /// No rows yet, for a table's columns; those of foreign types take no values.
    pub fn new(columns: &[(String, KnownType)]) -> Self {
        let ours = |(name, known): &(String, KnownType)| match known {
            KnownType::Ours(column_type) => Some((name.clone(), Column::new(*column_type))),
            KnownType::Foreign => None,
        };
        let columns: Vec<_> = columns.iter().filter_map(ours).collect();
        let places = columns.iter().enumerate().map(|(at, (name, _))| (name.to_lowercase(), at)).collect();
        Self { columns, places, rows: 0, rescue: Rescue::default() }
    }

    /// Adds a row; false when something of it had to be rescued and the table has no column for that.
    #[must_use]
    pub fn push<'a>(&mut self, cells: impl IntoIterator<Item = (&'a str, Value<'a>)>) -> bool {
        self.rescue.clear();
        let mut misfits = Vec::new();
        for (name, value) in cells {
            if let (RESCUED_DATA, Value::Text(object)) = (name, value) {
                if !self.rescue.resume(object.as_bytes()) {
                    misfits.push((name, value));
                }
                continue;
            }
            let column = self.places.get(name.to_lowercase().as_str()).map(|&at| &mut self.columns[at].1);
            if column.is_none_or(|column| push(column, self.rows, value) == Fit::Rescue) {
                misfits.push((name, value));
            }
        }
        for (name, value) in misfits {
            self.rescue.add(name, &value.json());
        }
        let column = self.places.get(RESCUED_DATA).map(|&at| &mut self.columns[at].1);
        let is_kept = match (self.rescue.finish(), column) {
            (Some(object), Some(column)) => column.push_text(self.rows, object) == Fit::Exact,
            (Some(_), None) => false,
            (None, _) => true,
        };
        self.rows += 1;
        is_kept
    }

    /// How many values the `_rescued_data` of the row keeps that was added last.
    pub fn rescued(&self) -> u64 {
        self.rescue.len() as u64
    }

    /// Adds cells to one column, each in the row of its number behind the rows that are there; rows come in ascending order.
    /// [`Anew::advance`] makes them rows. False when the table has no such column, or one of another type.
    #[must_use]
    pub fn extend<'a>(&mut self, name: &str, cells: impl IntoIterator<Item = (usize, Value<'a>)>) -> bool {
        let Some((_, column)) = self.columns.iter_mut().find(|(known, _)| known == name) else { return false };
        let rows = self.rows;
        cells.into_iter().all(|(row, value)| {
            value.column_type() == column.column_type() && push(column, rows + row, value) == Fit::Exact
        })
    }

    /// So many rows have their cells: see [`Anew::extend`].
    pub fn advance(&mut self, rows: usize) {
        self.rows += rows;
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory that they hold.
    pub fn memory(&self) -> usize {
        self.columns.iter().map(|(_, column)| column.memory()).sum()
    }

    /// The rows: their columns with values.
    pub fn row_group(&mut self) -> RowGroup<'_> {
        self.columns.iter_mut().for_each(|(_, column)| column.settle());
        let columns = self.columns.iter().filter(|(_, column)| column.count() > 0);
        RowGroup { rows: self.rows, columns: columns.map(|(name, column)| (name.as_str(), column)).collect() }
    }

    /// Forgets the rows and gives their memory back: [`Anew::memory`] is of the next ones then.
    pub fn clear(&mut self) {
        self.columns.iter_mut().for_each(|(_, column)| column.release());
        self.rows = 0;
    }
}

/// How many values a row's `_rescued_data` keeps.
pub fn rescued_values(object: &str) -> u64 {
    let mut rescue = Rescue::default();
    if rescue.resume(object.as_bytes()) { rescue.len() as u64 } else { 0 }
}

fn push(column: &mut Column, row: usize, value: Value<'_>) -> Fit {
    match (column.column_type(), value) {
        (ColumnType::BigInt, Value::BigInt(value)) => column.push_bigint(row, value),
        (ColumnType::Double, Value::Double(value)) => column.push_double(row, value),
        (ColumnType::Timestamp, Value::Timestamp(micros)) => column.push_micros(row, micros),
        (ColumnType::BigInt, Value::Double(_)) => match number::truncated(&value.text()) {
            Some((whole, is_all)) => {
                let fit = column.push_bigint(row, whole);
                if is_all { fit } else { Fit::Rescue }
            }
            None => Fit::Rescue,
        },
        (ColumnType::String, _)
        | (ColumnType::Boolean, Value::Boolean(_))
        | (ColumnType::Double, Value::BigInt(_))
        | (_, Value::Text(_)) => column.push_text(row, value.text().as_bytes()),
        _ => Fit::Rescue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: i64 = 1_768_471_200_500_000;

    /// Writes each value into the column `a` of a row of its own; what stands there and what was rescued.
    fn written(column_type: ColumnType, values: &[Value<'_>]) -> Vec<(bool, Option<String>)> {
        let known = |name: &str, column_type| (name.to_owned(), KnownType::Ours(column_type));
        let mut anew = Anew::new(&[known("a", column_type), known(RESCUED_DATA, ColumnType::String)]);
        for value in values {
            assert!(anew.push([("A", *value)]));
        }
        let group = anew.row_group();
        let rescued: HashMap<usize, &str> = group.column(RESCUED_DATA).into_iter().flat_map(Column::texts).collect();
        let stands = |row: usize| group.column("a").is_some_and(|column| column.valid().get(row));
        (0..values.len()).map(|row| (stands(row), rescued.get(&row).map(|&text| text.to_owned()))).collect()
    }

    #[test]
    fn a_value_that_fits_its_new_column_stands_there_alone() {
        let all =
            [Value::Boolean(true), Value::BigInt(7), Value::Double(2.5), Value::Timestamp(MOMENT), Value::Text("x")];
        assert_eq!(written(ColumnType::String, &all), vec![(true, None); 5]);
        let as_text = [Value::Text("true"), Value::Boolean(false)];
        assert_eq!(written(ColumnType::Boolean, &as_text), vec![(true, None); 2]);
        assert_eq!(written(ColumnType::Double, &[Value::BigInt(7), Value::Text("7.5")]), vec![(true, None); 2]);
        assert_eq!(written(ColumnType::BigInt, &[Value::Double(3.0), Value::Text("7")]), vec![(true, None); 2]);
        let moments = [Value::Text("2026-01-15T10:00:00.5Z"), Value::Timestamp(MOMENT)];
        assert_eq!(written(ColumnType::Timestamp, &moments), vec![(true, None); 2]);
    }

    #[test]
    fn columns_are_filled_one_after_another_over_several_batches() {
        let known = |name: &str, column_type| (name.to_owned(), KnownType::Ours(column_type));
        let mut anew = Anew::new(&[known("n", ColumnType::BigInt), known("s", ColumnType::String)]);
        for batch in 0..3 {
            assert!(anew.extend("n", [(0, Value::BigInt(batch)), (1, Value::BigInt(-batch))]));
            assert!(anew.extend("s", [(1, Value::Text("x"))]));
            anew.advance(2);
        }
        assert!(!anew.extend("n", [(0, Value::Text("7"))]), "a copy casts nothing");
        assert!(!anew.extend("other", []));
        let group = anew.row_group();
        assert_eq!(group.rows, 6);
        let numbers: Vec<_> = group.column("n").unwrap().integers().collect();
        assert_eq!(numbers, [(0, 0), (1, 0), (2, 1), (3, -1), (4, 2), (5, -2)]);
        assert_eq!(group.column("s").unwrap().texts().map(|(row, _)| row).collect::<Vec<_>>(), [1, 3, 5]);
    }

    #[test]
    fn rows_that_were_forgotten_take_no_memory() {
        let mut anew = Anew::new(&[("s".to_owned(), KnownType::Ours(ColumnType::String))]);
        assert!(anew.push([("s", Value::Text(&"x".repeat(1 << 20)))]));
        assert!(anew.memory() >= 1 << 20);
        anew.clear();
        assert_eq!((anew.rows(), anew.memory()), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_kept_as_json() {
        let kept = |text: &str| Some(text.to_owned());
        assert_eq!(
            written(ColumnType::BigInt, &[Value::Double(2.5), Value::Text("q\""), Value::Timestamp(MOMENT)]),
            [
                (true, kept(r#"{"A":2.5}"#)),
                (false, kept(r#"{"A":"q\""}"#)),
                (false, kept(r#"{"A":"2026-01-15T10:00:00.500000Z"}"#)),
            ]
        );
        assert_eq!(written(ColumnType::Timestamp, &[Value::BigInt(1)]), [(false, kept(r#"{"A":1}"#))]);
        assert_eq!(
            written(ColumnType::Double, &[Value::BigInt(9_007_199_254_740_993)]),
            [(true, kept(r#"{"A":9007199254740993}"#))]
        );
    }

    #[test]
    fn what_was_rescued_before_stays_as_it_stood() {
        let columns = [(RESCUED_DATA.to_owned(), KnownType::Ours(ColumnType::String))];
        let mut anew = Anew::new(&columns);
        let before = r#"{"a":"\ud83d","b":{"c":1.50},"a#2":0}"#;
        assert!(anew.push([(RESCUED_DATA, Value::Text(before)), ("a", Value::BigInt(1)), ("d", Value::Boolean(true))]));
        assert!(anew.push([(RESCUED_DATA, Value::Text("{}")), ("a", Value::BigInt(1))]));
        assert!(anew.push([(RESCUED_DATA, Value::Text("no object"))]));
        assert!(anew.push([]));
        let group = anew.row_group();
        let kept: Vec<_> = group.column(RESCUED_DATA).unwrap().texts().map(|(_, text)| text.to_owned()).collect();
        assert_eq!(
            kept,
            [
                r#"{"a":"\ud83d","b":{"c":1.50},"a#2":0,"a#3":1,"d":true}"#,
                r#"{"a":1}"#,
                r#"{"_rescued_data":"no object"}"#
            ]
        );
        assert_eq!(rescued_values(&kept[0]), 5);
        assert_eq!((rescued_values("{}"), rescued_values("no object")), (0, 0));
    }

    #[test]
    fn nothing_is_lost_unsaid() {
        let mut anew = Anew::new(&[("a".to_owned(), KnownType::Foreign)]);
        assert!(!anew.push([("a", Value::BigInt(1))]));
        assert!(anew.push([]));
        assert_eq!(anew.rows(), 2);
        anew.clear();
        assert_eq!(anew.rows(), 0);
    }
}
