//! Typed columns in the making: JSON values go straight into the bytes that Parquet stores.
//!
//! A column holds its values without gaps, and a bit per row says which rows have one: a row without a value costs
//! nothing. What does not fit the column's type is not an error: the answer says so, and the caller keeps the value in
//! `_rescued_data`.

use crate::json::{Node, NodeKind};
use crate::kind::ColumnType;
use crate::texts::Texts;
use crate::{number, text, timestamp};

/// Whether a value stands in its column as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fit {
    /// It does.
    Exact,
    /// Not, or not exactly: the original belongs into `_rescued_data`.
    Rescue,
}

/// The values of a column, without gaps, in the order of their rows.
#[derive(Debug)]
pub enum Values {
    /// BOOLEAN
    Boolean(Bits),
    /// BIGINT
    BigInt(Vec<i64>),
    /// DOUBLE
    Double(Vec<f64>),
    /// TIMESTAMP: microseconds since 1970, UTC
    Timestamp(Vec<i64>),
    /// STRING
    String(Texts),
}

/// Bits, the first in the lowest place of the first word.
#[derive(Debug, Default)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        self.len += 1;
        if bit {
            self.set(self.len - 1);
        }
    }

    /// Sets the bit at a place; the bits before it that were never set are clear.
    fn set(&mut self, at: usize) {
        let word = at / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (at % 64);
        self.len = self.len.max(at + 1);
    }

    /// The bit at a place; beyond the end they are clear.
    pub fn get(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// How many bits there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// 64 bits from a place on, the first in the lowest place; beyond the end they are clear.
    pub fn word(&self, from: usize) -> u64 {
        let (at, shift) = (from / 64, from % 64);
        let word = |at: usize| self.words.get(at).copied().unwrap_or(0);
        let high = if shift == 0 { 0 } else { word(at + 1) << (64 - shift) };
        word(at) >> shift | high
    }

    fn clear(&mut self) {
        self.words.clear();
        self.len = 0;
    }
}

/// One column of a table: values since the last row group.
#[derive(Debug)]
pub struct Column {
    values: Values,
    /// The rows that have a value.
    valid: Bits,
    /// How many have one.
    count: usize,
    /// Where escapes are resolved.
    resolved: Vec<u8>,
}

impl Column {
    /// A column without values.
    pub fn new(column_type: ColumnType) -> Self {
        let values = match column_type {
            ColumnType::Boolean => Values::Boolean(Bits::default()),
            ColumnType::BigInt => Values::BigInt(Vec::new()),
            ColumnType::Double => Values::Double(Vec::new()),
            ColumnType::Timestamp => Values::Timestamp(Vec::new()),
            ColumnType::String => Values::String(Texts::default()),
        };
        Self { values, valid: Bits::default(), count: 0, resolved: Vec::new() }
    }

    /// Its type.
    pub fn column_type(&self) -> ColumnType {
        match &self.values {
            Values::Boolean(_) => ColumnType::Boolean,
            Values::BigInt(_) => ColumnType::BigInt,
            Values::Double(_) => ColumnType::Double,
            Values::Timestamp(_) => ColumnType::Timestamp,
            Values::String(_) => ColumnType::String,
        }
    }

    /// The values of the rows that have one.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Which rows have a value.
    pub fn valid(&self) -> &Bits {
        &self.valid
    }

    /// How many rows have a value.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        let values = match &self.values {
            Values::Boolean(bits) => bits.words.capacity() * size_of::<u64>(),
            Values::BigInt(values) | Values::Timestamp(values) => values.capacity() * size_of::<i64>(),
            Values::Double(values) => values.capacity() * size_of::<f64>(),
            Values::String(texts) => texts.memory(),
        };
        values + self.valid.words.capacity() * size_of::<u64>() + self.resolved.capacity()
    }

    /// Forgets the values and keeps the memory for the next ones.
    pub(crate) fn clear(&mut self) {
        match &mut self.values {
            Values::Boolean(bits) => bits.clear(),
            Values::BigInt(values) | Values::Timestamp(values) => values.clear(),
            Values::Double(values) => values.clear(),
            Values::String(texts) => texts.clear(),
        }
        self.valid.clear();
        self.count = 0;
    }

    /// Forgets the values and gives the memory back.
    pub(crate) fn release(&mut self) {
        match &mut self.values {
            Values::String(texts) => {
                texts.release();
                (self.valid, self.resolved, self.count) = (Bits::default(), Vec::new(), 0);
            }
            _ => *self = Self::new(self.column_type()),
        }
    }

    /// Makes the values ready to be encoded.
    pub(crate) fn settle(&mut self) {
        if let Values::String(texts) = &mut self.values {
            texts.settle();
        }
    }

    /// Writes a moment into row `row` of a TIMESTAMP column; rows come in ascending order, each once.
    pub fn push_micros(&mut self, row: usize, micros: i64) -> Fit {
        match &mut self.values {
            Values::Timestamp(values) => values.push(micros),
            _ => return Fit::Rescue,
        }
        self.filled(row);
        Fit::Exact
    }

    /// Writes a number into row `row` of a BIGINT column.
    pub fn push_bigint(&mut self, row: usize, value: i64) -> Fit {
        match &mut self.values {
            Values::BigInt(values) => values.push(value),
            _ => return Fit::Rescue,
        }
        self.filled(row);
        Fit::Exact
    }

    /// Writes a number into row `row` of a DOUBLE column.
    pub fn push_double(&mut self, row: usize, value: f64) -> Fit {
        match &mut self.values {
            Values::Double(values) => values.push(value),
            _ => return Fit::Rescue,
        }
        self.filled(row);
        Fit::Exact
    }

    /// Writes text (UTF-8) into row `row` of a STRING column; other columns take it as they take a JSON string.
    pub fn push_text(&mut self, row: usize, value: &[u8]) -> Fit {
        let fit = match &mut self.values {
            Values::String(texts) => {
                texts.push(value);
                Some(Fit::Exact)
            }
            values => cast_text(values, value),
        };
        self.conclude(row, fit)
    }

    /// Writes a JSON value into row `row`.
    pub(crate) fn push(&mut self, row: usize, chunk: &[u8], node: Node) -> Fit {
        use NodeKind::{Array, Decimal, EscapedString, False, Integer, LooseArray, Null, Object, String, True};
        let source = node.text(chunk);
        let fit = match (&mut self.values, node.kind) {
            (Values::String(texts), String | Integer | Decimal | Array | True | False | Null) => {
                texts.push(source);
                Some(Fit::Exact)
            }
            (Values::String(texts), EscapedString | LooseArray | Object) => {
                self.resolved.clear();
                let exact = text::write_text(chunk, node, &mut self.resolved);
                texts.push(&self.resolved);
                Some(if exact { Fit::Exact } else { Fit::Rescue })
            }
            (Values::Boolean(bits), True | False) => {
                bits.push(node.kind == True);
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
                self.resolved.clear();
                text::unescape(source, &mut self.resolved);
                cast_text(values, &self.resolved)
            }
            _ => None,
        };
        self.conclude(row, fit)
    }

    fn conclude(&mut self, row: usize, fit: Option<Fit>) -> Fit {
        if fit.is_some() {
            self.filled(row);
        }
        fit.unwrap_or(Fit::Rescue)
    }

    fn filled(&mut self, row: usize) {
        self.valid.set(row);
        self.count += 1;
    }
}

/// Rows of one table as columns by name: what becomes a row group.
#[derive(Debug)]
pub struct RowGroup<'a> {
    /// How many rows; a column that ends earlier is NULL in the rest.
    pub rows: usize,
    /// Names as in the table's plan; columns without a value may be left out.
    pub columns: Vec<(&'a str, &'a Column)>,
}

impl<'a> RowGroup<'a> {
    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&'a Column> {
        self.columns.iter().find(|(known, _)| *known == name).map(|(_, column)| *column)
    }
}

impl Column {
    /// Rows and values of a STRING column, in order.
    pub fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        let texts = match &self.values {
            Values::String(texts) => Some(texts.iter()),
            _ => None,
        };
        let texts = texts.into_iter().flatten().map(|text| std::str::from_utf8(text).unwrap_or_default());
        self.filled_rows().zip(texts)
    }

    /// Rows and values of a BIGINT or TIMESTAMP column, in order.
    pub fn integers(&self) -> impl Iterator<Item = (usize, i64)> {
        let values = match &self.values {
            Values::BigInt(values) | Values::Timestamp(values) => values.as_slice(),
            _ => &[],
        };
        self.filled_rows().zip(values.iter().copied())
    }

    fn filled_rows(&self) -> impl Iterator<Item = usize> {
        (0..self.valid.len()).filter(|&row| self.valid.get(row))
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
            (truth || value.eq_ignore_ascii_case(b"false")).then(|| bits.push(truth))?;
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
        Values::String(_) => return None,
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
    use super::*;
    use crate::json::Tape;

    /// Writes each value into a row of its own; answers whether each fits.
    fn push_all(column_type: ColumnType, values: &[&str]) -> (Column, Vec<bool>) {
        let mut column = Column::new(column_type);
        let mut fits = Vec::new();
        for (row, value) in values.iter().enumerate() {
            let mut tape = Tape::default();
            let root = tape.read(value.as_bytes(), 0, value.len()).unwrap();
            fits.push(column.push(row, value.as_bytes(), tape.node(root)) == Fit::Exact);
        }
        (column, fits)
    }

    /// A value per row, as text.
    fn shown(column: &Column, rows: usize) -> Vec<Option<String>> {
        let values: Vec<String> = match column.values() {
            Values::Boolean(bits) => (0..bits.len()).map(|at| bits.get(at).to_string()).collect(),
            Values::BigInt(values) | Values::Timestamp(values) => values.iter().map(i64::to_string).collect(),
            Values::Double(values) => values.iter().map(f64::to_string).collect(),
            Values::String(texts) => texts.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect(),
        };
        assert_eq!(values.len(), column.count());
        let mut values = values.into_iter();
        (0..rows).map(|row| column.valid().get(row).then(|| values.next().unwrap())).collect()
    }

    fn texts(expected: &[&str]) -> Vec<Option<String>> {
        expected.iter().map(|text| (*text != "-").then(|| (*text).to_owned())).collect()
    }

    #[test]
    fn bigint_takes_what_it_can() {
        let (column, fits) = push_all(
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
        assert_eq!(shown(&column, 11), texts(&["1", "12", "1", "-1", "4", "-", "-", "-", "-", "-", "-"]));
        assert_eq!(fits, [true, true, false, false, true, false, false, false, false, false, false]);
    }

    #[test]
    fn double_keeps_the_nearest_and_says_so() {
        let (column, fits) =
            push_all(ColumnType::Double, &["1", "9007199254740993", "2.5", "\"3.5\"", "1e400", "true", "\"NaN\""]);
        assert_eq!(shown(&column, 7), texts(&["1", "9007199254740992", "2.5", "3.5", "-", "-", "-"]));
        assert_eq!(fits, [true, false, true, true, false, false, false]);
    }

    #[test]
    fn string_takes_anything_verbatim() {
        let (column, fits) =
            push_all(ColumnType::String, &["2.50", "true", "\"a\\u00e9\"", "[ 1 ]", "{\"a\": 1}", "\"\\ud83d\""]);
        assert_eq!(shown(&column, 6), texts(&["2.50", "true", "aé", "[1]", "{\"a\":1}", "\u{fffd}"]));
        assert_eq!(fits, [true, true, true, true, true, false]);
    }

    #[test]
    fn booleans_and_timestamps() {
        let (column, fits) = push_all(ColumnType::Boolean, &["true", "\"FALSE\"", "1", "\"yes\""]);
        assert_eq!(shown(&column, 4), texts(&["true", "false", "-", "-"]));
        assert_eq!(fits, [true, true, false, false]);
        let (column, fits) =
            push_all(ColumnType::Timestamp, &["\"1970-01-01T00:00:01Z\"", "\"1970\\u002d01-01\"", "5"]);
        assert_eq!(shown(&column, 3), texts(&["1000000", "0", "-"]));
        assert_eq!(fits, [true, true, false]);
    }

    #[test]
    fn rows_without_a_value_are_null() {
        let mut column = Column::new(ColumnType::String);
        assert_eq!(column.push_text(2, b"x"), Fit::Exact);
        assert_eq!(column.push_text(130, b"y"), Fit::Exact);
        assert_eq!((column.count(), column.valid().len()), (2, 131));
        assert_eq!(column.texts().collect::<Vec<_>>(), [(2, "x"), (130, "y")]);
        assert_eq!(column.valid().word(129), 0b10);
        column.clear();
        assert_eq!((column.count(), column.valid().word(0)), (0, 0));
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
