//! Inlet's own two tables in each schema: `_rejects` keeps what can never become rows, `_loads` says what became of
//! every upload. Their columns are fixed.

use inlet_events::{Batch, Column, ColumnType, Fit, Reason, RowGroup, UploadContext};

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

/// A cell of a row.
enum Cell<'a> {
    Null,
    Text(&'a str),
    Number(i64),
    Moment(Micros),
    Seconds(f64),
}

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl From<Option<u64>> for Cell<'_> {
    fn from(count: Option<u64>) -> Self {
        count.map_or(Self::Null, |count| Self::Number(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

/// Rows of one of the two tables, being collected.
#[derive(Debug)]
struct OwnRows {
    columns: Vec<(String, Column)>,
    rows: usize,
}

impl OwnRows {
    fn new(columns: Vec<(String, ColumnType)>) -> Self {
        let column = |(name, column_type)| (name, Column::new(column_type));
        Self { columns: columns.into_iter().map(column).collect(), rows: 0 }
    }

    fn push<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        for ((_, column), cell) in self.columns.iter_mut().zip(cells) {
            let fit = match cell {
                Cell::Null => continue,
                Cell::Text(text) => column.push_text(self.rows, text.as_bytes()),
                Cell::Number(number) => column.push_bigint(self.rows, number),
                Cell::Moment(micros) => column.push_micros(self.rows, micros),
                Cell::Seconds(seconds) => column.push_double(self.rows, seconds),
            };
            debug_assert_eq!(fit, Fit::Exact, "cells are in the order of the columns");
        }
        self.rows += 1;
    }

    fn row_group(&self) -> RowGroup<'_> {
        RowGroup {
            rows: self.rows,
            columns: self.columns.iter().map(|(name, column)| (name.as_str(), column)).collect(),
        }
    }
}

/// Rows of `_rejects`, being collected.
#[derive(Debug)]
pub(crate) struct RejectRows {
    rows: OwnRows,
    bytes: usize,
}

impl Default for RejectRows {
    fn default() -> Self {
        Self { rows: OwnRows::new(rejects_columns()), bytes: 0 }
    }
}

impl RejectRows {
    pub(crate) fn rows(&self) -> usize {
        self.rows.rows
    }

    /// Bytes of text held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what a chunk of an upload rejected.
    pub(crate) fn add(&mut self, upload: &UploadContext, read: &Batch, loaded_at: Micros) {
        for reject in read.rejects() {
            let raw = read.rejected_text(reject, &upload.selection);
            let place = [Some(reject.line), reject.item.map(u64::from), Some(reject.byte_offset)];
            self.push(&upload.name, &upload.upload_id, place, reject.reason, Some(&raw), loaded_at);
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
        [line, item, byte_offset]: [Option<u64>; 3],
        reason: Reason,
        raw: Option<&str>,
        loaded_at: Micros,
    ) {
        self.rows.push([
            Cell::Text(upload),
            Cell::Text(upload_id),
            line.into(),
            item.into(),
            byte_offset.into(),
            Cell::Text(reason.code()),
            raw.into(),
            Cell::Moment(loaded_at),
        ]);
        self.bytes += raw.map_or(0, str::len) + 64;
    }

    /// What was collected.
    pub(crate) fn row_group(&self) -> RowGroup<'_> {
        self.rows.row_group()
    }
}

/// The numbers of a row of `_loads`. Rows that were held and then committed are told by a further row: it takes them
/// from `held` and adds no events, so that the rows of an upload still add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadCounts {
    pub(crate) events: i64,
    pub(crate) rows: i64,
    pub(crate) held: i64,
    pub(crate) duplicates: i64,
    pub(crate) filtered: i64,
    pub(crate) rejected: i64,
    pub(crate) rescued: i64,
}

impl LoadCounts {
    /// An upload's part in a table: `events = rows + held + duplicates + filtered`.
    pub(crate) fn of_table(counts: &Counts) -> Self {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            events: number(counts.events),
            rows: number(counts.rows),
            held: number(counts.held),
            duplicates: number(counts.duplicates),
            filtered: number(counts.filtered),
            rejected: number(counts.rejected),
            rescued: number(counts.rescued),
        }
    }

    /// Adds another's numbers to these.
    pub(crate) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.rows += other.rows;
        self.held += other.held;
        self.duplicates += other.duplicates;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.rescued += other.rescued;
    }

    /// An upload itself: `rows` are the events that landed, so that the whole equation stands in the row.
    pub(crate) fn of_upload(counts: &Counts) -> Self {
        Self { rows: i64::try_from(counts.landed).unwrap_or(i64::MAX), ..Self::of_table(counts) }
    }
}

/// One row of `_loads`: an upload's part in a table, or (without a table) the upload itself.
#[derive(Debug)]
pub(crate) struct LoadRow<'a> {
    pub(crate) upload: &'a str,
    pub(crate) upload_id: String,
    pub(crate) table: Option<&'a str>,
    pub(crate) status: &'static str,
    pub(crate) counts: LoadCounts,
    pub(crate) bytes: Option<u64>,
    pub(crate) version: Option<u64>,
    pub(crate) new_columns: &'a [NewColumn],
    pub(crate) started_at: Micros,
    pub(crate) finished_at: Micros,
    /// Seconds from the upload's arrival to the end of its load.
    pub(crate) lag_seconds: f64,
    pub(crate) host: &'a str,
}

/// Rows of `_loads`, being collected.
#[derive(Debug)]
pub(crate) struct LoadRows(OwnRows);

impl LoadRows {
    pub(crate) fn new() -> Self {
        Self(OwnRows::new(loads_columns()))
    }

    pub(crate) fn push(&mut self, row: &LoadRow<'_>) {
        let new_columns = (!row.new_columns.is_empty()).then(|| serde_json::json!(row.new_columns).to_string());
        let counts = &row.counts;
        self.0.push([
            Cell::Text(row.upload),
            Cell::Text(&row.upload_id),
            row.table.into(),
            Cell::Text(row.status),
            Cell::Number(counts.events),
            Cell::Number(counts.rows),
            Cell::Number(counts.held),
            Cell::Number(counts.duplicates),
            Cell::Number(counts.filtered),
            Cell::Number(counts.rejected),
            Cell::Number(counts.rescued),
            row.bytes.into(),
            row.version.into(),
            new_columns.as_deref().into(),
            Cell::Moment(row.started_at),
            Cell::Moment(row.finished_at),
            Cell::Seconds(row.lag_seconds),
            Cell::Text(row.host),
        ]);
    }

    /// What was collected.
    pub(crate) fn row_group(&self) -> RowGroup<'_> {
        self.0.row_group()
    }
}
