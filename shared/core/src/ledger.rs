//! Inlet's own two tables in each schema: `_rejects` keeps what can never become rows, `_loads` says what became of
//! every upload. Their columns are fixed.

use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Field, Schema};
use inlet_events::{Batch, ColumnType, Reason, arrow_type, mask};

use crate::clock::Micros;
use crate::report::{Counts, NewColumn};

/// The table of rejections.
pub const REJECTS: &str = "_rejects";
/// The table of loads.
pub const LOADS: &str = "_loads";

/// The columns of `_rejects`.
pub fn rejects_columns() -> Vec<(String, ColumnType)> {
    use ColumnType::{BigInt, String, Timestamp};
    named(&[
        ("upload", String),
        ("upload_id", String),
        ("line", BigInt),
        ("item", BigInt),
        ("byte_offset", BigInt),
        ("reason", String),
        ("raw", String),
        ("loaded_at", Timestamp),
    ])
}

/// The columns of `_loads`.
pub fn loads_columns() -> Vec<(String, ColumnType)> {
    use ColumnType::{BigInt, Double, String, Timestamp};
    named(&[
        ("upload", String),
        ("upload_id", String),
        ("table_name", String),
        ("status", String),
        ("events", BigInt),
        ("rows", BigInt),
        ("held", BigInt),
        ("duplicates", BigInt),
        ("filtered", BigInt),
        ("rejected", BigInt),
        ("rescued", BigInt),
        ("bytes", BigInt),
        ("version", BigInt),
        ("new_columns", String),
        ("started_at", Timestamp),
        ("finished_at", Timestamp),
        ("lag", Double),
        ("host", String),
    ])
}

fn named(columns: &[(&str, ColumnType)]) -> Vec<(String, ColumnType)> {
    columns.iter().map(|&(name, column_type)| (name.to_owned(), column_type)).collect()
}

fn batch(columns: &[(String, ColumnType)], arrays: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let fields: Vec<_> =
        columns.iter().map(|(name, column_type)| Field::new(name, arrow_type(*column_type), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

fn timestamps() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

/// Rows of `_rejects`, being collected.
#[derive(Debug)]
pub(crate) struct RejectRows {
    texts: [StringBuilder; 4],
    numbers: [Int64Builder; 3],
    loaded_at: TimestampMicrosecondBuilder,
    bytes: usize,
    rows: usize,
}

impl Default for RejectRows {
    fn default() -> Self {
        Self {
            texts: std::array::from_fn(|_| StringBuilder::new()),
            numbers: std::array::from_fn(|_| Int64Builder::new()),
            loaded_at: timestamps(),
            bytes: 0,
            rows: 0,
        }
    }
}

impl RejectRows {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what a chunk of an upload rejected.
    pub(crate) fn add(&mut self, upload: &str, upload_id: &str, read: &Batch, loaded_at: Micros) {
        for reject in read.rejects() {
            let raw = mask(read.rejected_bytes(reject));
            let place = [Some(reject.line), reject.item.map(u64::from), Some(reject.byte_offset)];
            self.push(upload, upload_id, place, reject.reason, Some(&raw), loaded_at);
        }
    }

    /// Adds an upload that was rejected whole.
    pub(crate) fn add_whole(&mut self, upload: &str, upload_id: &str, reason: Reason, loaded_at: Micros) {
        self.push(upload, upload_id, [None; 3], reason, None, loaded_at);
    }

    fn push(
        &mut self,
        upload: &str,
        upload_id: &str,
        place: [Option<u64>; 3],
        reason: Reason,
        raw: Option<&str>,
        loaded_at: Micros,
    ) {
        for (builder, text) in self.texts.iter_mut().zip([Some(upload), Some(upload_id), Some(reason.code()), raw]) {
            builder.append_option(text);
            self.bytes += text.map_or(0, str::len);
        }
        for (builder, number) in self.numbers.iter_mut().zip(place) {
            builder.append_option(number.map(saturated));
        }
        self.loaded_at.append_value(loaded_at);
        self.bytes += 32;
        self.rows += 1;
    }

    /// Hands out the rows and starts anew.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let Self { mut texts, mut numbers, mut loaded_at, .. } = std::mem::take(self);
        let [upload, upload_id, reason, raw] = &mut texts;
        let [line, item, byte_offset] = &mut numbers;
        batch(
            &rejects_columns(),
            vec![
                Arc::new(upload.finish()),
                Arc::new(upload_id.finish()),
                Arc::new(line.finish()),
                Arc::new(item.finish()),
                Arc::new(byte_offset.finish()),
                Arc::new(reason.finish()),
                Arc::new(raw.finish()),
                Arc::new(loaded_at.finish()),
            ],
        )
    }
}

/// One row of `_loads`: an upload's part in a table, or (without a table) the upload itself.
#[derive(Debug)]
pub(crate) struct LoadRow<'a> {
    pub(crate) upload: &'a str,
    pub(crate) upload_id: String,
    pub(crate) table: Option<&'a str>,
    pub(crate) status: &'static str,
    /// With a table: `landed` is not written, `events = rows + held + duplicates + filtered`. Without one: `rows` is
    /// written as `landed`, so that the whole equation stands in the row.
    pub(crate) counts: Counts,
    pub(crate) bytes: Option<u64>,
    pub(crate) version: Option<u64>,
    pub(crate) new_columns: &'a [NewColumn],
    pub(crate) started_at: Micros,
    pub(crate) finished_at: Micros,
    /// Seconds from the upload's arrival to the end of its load.
    pub(crate) lag_seconds: f64,
    pub(crate) host: &'a str,
}

/// Makes rows of `_loads`.
pub(crate) fn loads_batch(rows: &[LoadRow<'_>]) -> Result<RecordBatch, ArrowError> {
    let text = |value: &dyn Fn(&LoadRow<'_>) -> Option<String>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        rows.iter().for_each(|row| builder.append_option(value(row)));
        Arc::new(builder.finish())
    };
    let number = |value: &dyn Fn(&LoadRow<'_>) -> Option<u64>| -> ArrayRef {
        let mut builder = Int64Builder::new();
        rows.iter().for_each(|row| builder.append_option(value(row).map(saturated)));
        Arc::new(builder.finish())
    };
    let moment = |value: &dyn Fn(&LoadRow<'_>) -> Micros| -> ArrayRef {
        let mut builder = timestamps();
        rows.iter().for_each(|row| builder.append_value(value(row)));
        Arc::new(builder.finish())
    };
    let mut lag = Float64Builder::new();
    rows.iter().for_each(|row| lag.append_value(row.lag_seconds));
    batch(
        &loads_columns(),
        vec![
            text(&|row| Some(row.upload.to_owned())),
            text(&|row| Some(row.upload_id.clone())),
            text(&|row| row.table.map(str::to_owned)),
            text(&|row| Some(row.status.to_owned())),
            number(&|row| Some(row.counts.events)),
            number(&|row| Some(if row.table.is_some() { row.counts.rows } else { row.counts.landed })),
            number(&|row| Some(row.counts.held)),
            number(&|row| Some(row.counts.duplicates)),
            number(&|row| Some(row.counts.filtered)),
            number(&|row| Some(row.counts.rejected)),
            number(&|row| Some(row.counts.rescued)),
            number(&|row| row.bytes),
            number(&|row| row.version),
            text(&|row| (!row.new_columns.is_empty()).then(|| serde_json::json!(row.new_columns).to_string())),
            moment(&|row| row.started_at),
            moment(&|row| row.finished_at),
            Arc::new(lag.finish()),
            text(&|row| Some(row.host.to_owned())),
        ],
    )
}

fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
