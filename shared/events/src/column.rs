//! Typed column builders: JSON values go straight into Arrow buffers.
//!
//! A builder is sparse: it is only touched by rows that have a value, and catches up with nulls. What does not fit its
//! type is not an error: the answer says so, and the caller keeps the value in `_rescued_data`.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, TimeUnit};

use crate::json::{Node, NodeKind};
use crate::kind::ColumnType;
use crate::{number, text, timestamp};

/// The Arrow type of a column.
pub fn arrow_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::BigInt => DataType::Int64,
        ColumnType::Double => DataType::Float64,
        ColumnType::String => DataType::Utf8,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// Whether a value stands in its column as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fit {
    /// It does.
    Exact,
    /// Not, or not exactly: the original belongs into `_rescued_data`.
    Rescue,
}

/// The values of one column since the last batch.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    values: Values,
    nulls: NullBufferBuilder,
    /// Rows written, nulls included.
    len: usize,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    BigInt(Vec<i64>),
    Double(Vec<f64>),
    Timestamp(Vec<i64>),
    String { offsets: Vec<i32>, bytes: Vec<u8> },
}

impl ColumnBuilder {
    pub(crate) fn new(column_type: ColumnType) -> Self {
        let values = match column_type {
            ColumnType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            ColumnType::BigInt => Values::BigInt(Vec::new()),
            ColumnType::Double => Values::Double(Vec::new()),
            ColumnType::Timestamp => Values::Timestamp(Vec::new()),
            ColumnType::String => Values::String { offsets: vec![0], bytes: Vec::new() },
        };
        Self { values, nulls: NullBufferBuilder::new(0), len: 0 }
    }

    /// Bytes of values held.
    pub(crate) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Boolean(bits) => bits.len() / 8,
            Values::BigInt(values) | Values::Timestamp(values) => values.len() * 8,
            Values::Double(values) => values.len() * 8,
            Values::String { offsets, bytes } => offsets.len() * 4 + bytes.len(),
        };
        values + self.nulls.allocated_size()
    }

    /// Fills up with nulls to `rows`.
    fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len);
        if missing == 0 {
            return;
        }
        match &mut self.values {
            Values::Boolean(bits) => bits.append_n(missing, false),
            Values::BigInt(values) | Values::Timestamp(values) => values.resize(rows, 0),
            Values::Double(values) => values.resize(rows, 0.0),
            Values::String { offsets, bytes } => offsets.resize(rows + 1, bytes.len() as i32),
        }
        self.nulls.append_n_nulls(missing);
        self.len = rows;
    }

    fn filled(&mut self) {
        self.nulls.append_non_null();
        self.len += 1;
    }

    /// Writes a moment into row `row` of a TIMESTAMP column.
    pub(crate) fn push_micros(&mut self, row: usize, micros: i64) -> Fit {
        self.pad(row);
        match &mut self.values {
            Values::Timestamp(values) => values.push(micros),
            _ => return Fit::Rescue,
        }
        self.filled();
        Fit::Exact
    }

    /// Writes text into row `row` of a STRING column; other columns take it as they take a JSON string.
    pub(crate) fn push_text(&mut self, row: usize, value: &[u8]) -> Fit {
        self.pad(row);
        let fit = match &mut self.values {
            Values::String { offsets, bytes } => {
                bytes.extend_from_slice(value);
                offsets.push(bytes.len() as i32);
                Some(Fit::Exact)
            }
            values => cast_text(values, value),
        };
        self.conclude(fit)
    }

    /// Writes a JSON value into row `row`.
    pub(crate) fn push(&mut self, row: usize, chunk: &[u8], node: Node) -> Fit {
        use NodeKind::{Decimal, EscapedString, False, Integer, String, True};
        self.pad(row);
        let source = node.text(chunk);
        let fit = match (&mut self.values, node.kind) {
            (Values::String { offsets, bytes }, _) => {
                let exact = text::write_text(chunk, node, bytes);
                offsets.push(bytes.len() as i32);
                Some(if exact { Fit::Exact } else { Fit::Rescue })
            }
            (Values::Boolean(bits), True | False) => {
                bits.append(node.kind == True);
                Some(Fit::Exact)
            }
            (Values::BigInt(values), Integer) => number::bigint(ascii(source)).map(|value| {
                values.push(value);
                Fit::Exact
            }),
            (Values::BigInt(values), Decimal) => push_truncated(values, ascii(source)),
            (Values::Double(values), Integer) => push_double(values, ascii(source), true),
            (Values::Double(values), Decimal) => push_double(values, ascii(source), false),
            (values, String) => cast_text(values, source),
            (values, EscapedString) => {
                let mut resolved = Vec::new();
                text::unescape(source, &mut resolved);
                cast_text(values, &resolved)
            }
            _ => None,
        };
        self.conclude(fit)
    }

    fn conclude(&mut self, fit: Option<Fit>) -> Fit {
        match fit {
            Some(fit) => {
                self.filled();
                fit
            }
            None => Fit::Rescue,
        }
    }

    /// Hands out the column of `rows` rows and starts anew.
    ///
    /// # Errors
    /// When the text is no UTF-8, which would be a bug of ours.
    pub(crate) fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        self.len = 0;
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Boolean(bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::BigInt(values) => Arc::new(Int64Array::new(ScalarBuffer::from(std::mem::take(values)), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(ScalarBuffer::from(std::mem::take(values)), nulls)),
            Values::Timestamp(values) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone("UTC"))
            }
            Values::String { offsets, bytes } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])));
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                // Checked again for UTF-8 here: the bytes were cut and pasted by us.
                Arc::new(StringArray::try_new(offsets, bytes, nulls)?)
            }
        })
    }
}

fn ascii(source: &[u8]) -> &str {
    std::str::from_utf8(source).unwrap_or_default()
}

/// Text into a column that is no STRING: Segment's best effort.
fn cast_text(values: &mut Values, value: &[u8]) -> Option<Fit> {
    match values {
        Values::Boolean(bits) => {
            let truth = value.eq_ignore_ascii_case(b"true");
            (truth || value.eq_ignore_ascii_case(b"false")).then(|| bits.append(truth))?;
        }
        Values::BigInt(values) => {
            let text = ascii(value);
            values.push(number::is_integer_text(text).then(|| number::bigint(text)).flatten()?);
        }
        Values::Double(values) => {
            let text = ascii(value);
            return if number::is_number_text(text) {
                push_double(values, text, number::is_integer_text(text))
            } else {
                None
            };
        }
        Values::Timestamp(values) => values.push(timestamp::parse(value)?),
        Values::String { .. } => return None,
    }
    Some(Fit::Exact)
}

fn push_double(values: &mut Vec<f64>, text: &str, integer: bool) -> Option<Fit> {
    let value = number::double(text)?;
    values.push(value);
    Some(if integer && !number::is_exact(text, value) { Fit::Rescue } else { Fit::Exact })
}

fn push_truncated(values: &mut Vec<i64>, text: &str) -> Option<Fit> {
    let (value, is_whole) = number::truncated(text)?;
    values.push(value);
    Some(if is_whole { Fit::Exact } else { Fit::Rescue })
}

/// The type that a new column needs for this value alone.
pub(crate) fn type_of(chunk: &[u8], node: Node) -> ColumnType {
    let source = node.text(chunk);
    match node.kind {
        NodeKind::True | NodeKind::False => ColumnType::Boolean,
        NodeKind::Integer if number::bigint(ascii(source)).is_some() => ColumnType::BigInt,
        NodeKind::Decimal if number::double(ascii(source)).is_some() => ColumnType::Double,
        NodeKind::String if timestamp::parse(source).is_some() => ColumnType::Timestamp,
        NodeKind::EscapedString => {
            let mut resolved = Vec::new();
            text::unescape(source, &mut resolved);
            match timestamp::parse(&resolved) {
                Some(_) => ColumnType::Timestamp,
                None => ColumnType::String,
            }
        }
        _ => ColumnType::String,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};

    use super::*;
    use crate::json::Tape;

    /// Writes each value into a row of its own; answers whether each fits.
    fn push_all(column_type: ColumnType, values: &[&str]) -> (ArrayRef, Vec<bool>) {
        let mut column = ColumnBuilder::new(column_type);
        let mut fits = Vec::new();
        for (row, value) in values.iter().enumerate() {
            let mut tape = Tape::default();
            let root = tape.read(value.as_bytes(), 0, value.len()).unwrap();
            fits.push(column.push(row, value.as_bytes(), tape.node(root)) == Fit::Exact);
        }
        (column.finish(values.len()).unwrap(), fits)
    }

    #[test]
    fn bigint_takes_what_it_can() {
        let (array, fits) = push_all(
            ColumnType::BigInt,
            &[
                "1",
                "\"12\"",
                "1.501",
                "-1.9",
                "4.0",
                "\"a dozen\"",
                "true",
                "[1]",
                "9223372036854775808",
                "1e30",
                "\"3.5\"",
            ],
        );
        let array = array.as_primitive::<Int64Type>();
        assert_eq!(
            array.iter().collect::<Vec<_>>(),
            [Some(1), Some(12), Some(1), Some(-1), Some(4), None, None, None, None, None, None]
        );
        assert_eq!(fits, [true, true, false, false, true, false, false, false, false, false, false]);
    }

    #[test]
    fn double_keeps_the_nearest_and_says_so() {
        let (array, fits) =
            push_all(ColumnType::Double, &["1", "9007199254740993", "2.5", "\"3.5\"", "1e400", "true", "\"NaN\""]);
        let array = array.as_primitive::<Float64Type>();
        assert_eq!(
            array.iter().collect::<Vec<_>>(),
            [Some(1.0), Some(9_007_199_254_740_992.0), Some(2.5), Some(3.5), None, None, None]
        );
        assert_eq!(fits, [true, false, true, true, false, false, false]);
    }

    #[test]
    fn string_takes_anything_verbatim() {
        let (array, fits) =
            push_all(ColumnType::String, &["2.50", "true", "\"a\\u00e9\"", "[ 1 ]", "{\"a\": 1}", "\"\\ud83d\""]);
        let array = array.as_string::<i32>();
        assert_eq!(array.iter().flatten().collect::<Vec<_>>(), ["2.50", "true", "aé", "[1]", "{\"a\":1}", "\u{fffd}"]);
        assert_eq!(fits, [true, true, true, true, true, false]);
    }

    #[test]
    fn booleans_and_timestamps() {
        let (array, fits) = push_all(ColumnType::Boolean, &["true", "\"FALSE\"", "1", "\"yes\""]);
        assert_eq!(array.as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false), None, None]);
        assert_eq!(fits, [true, true, false, false]);
        let (array, fits) = push_all(ColumnType::Timestamp, &["\"1970-01-01T00:00:01Z\"", "\"1970\\u002d01-01\"", "5"]);
        assert_eq!(
            array.as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>(),
            [Some(1_000_000), Some(0), None]
        );
        assert_eq!(fits, [true, true, false]);
    }

    #[test]
    fn rows_without_a_value_are_null() {
        let mut column = ColumnBuilder::new(ColumnType::String);
        assert_eq!(column.push_text(2, b"x"), Fit::Exact);
        let array = column.finish(5).unwrap();
        assert_eq!((array.len(), array.null_count()), (5, 4));
        assert_eq!(column.finish(1).unwrap().len(), 1);
    }

    #[test]
    fn types_of_single_values() {
        for (value, column_type) in [
            ("1", ColumnType::BigInt),
            ("9223372036854775808", ColumnType::String),
            ("5.0", ColumnType::Double),
            ("1e400", ColumnType::String),
            ("\"12\"", ColumnType::String),
            ("\"2024-01-02\"", ColumnType::Timestamp),
            ("\"2024\\u002d01-02\"", ColumnType::Timestamp),
            ("[]", ColumnType::String),
        ] {
            let mut tape = Tape::default();
            let root = tape.read(value.as_bytes(), 0, value.len()).unwrap();
            assert_eq!(type_of(value.as_bytes(), tape.node(root)), column_type, "{value}");
        }
    }
}
