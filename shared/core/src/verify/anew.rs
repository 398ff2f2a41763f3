//! An upload's bytes, read anew by the first ring as if nothing had landed: the rows that they give for each table and
//! for `_rejects`, a chunk at a time.
//!
//! Rows are built with the columns that the tables have today: what has none is rescued, as it was when it landed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{ArrowError, Schema};
use hashbrown::{HashMap, HashSet};
use inlet_events::order::{Order, Tables, UploadCounts};
use inlet_events::table::{TableKind, TablePlan};
use inlet_events::{Batch, Bits, Call, Column, Reason, RowGroup, UploadContext, Values, Worker};

use super::counted::Counted;
use super::ledger::KnownUpload;
use super::refused::RefusedEvents;
use super::stored::Stored;
use crate::delta::{Lake, arrow_field};
use crate::fault::Fault;
use crate::group::upload_context;
use crate::ledger::{REJECTS, RejectRows};
use crate::settings::Settings;
use crate::source::{Opened, Refusal, Source};
use crate::upload::Upload;

/// Reads uploads anew.
#[derive(Clone, Copy)]
pub(super) struct Anew<'a> {
    pub(super) lake: &'a Lake,
    pub(super) settings: &'a Settings,
    pub(super) tables: &'a BTreeMap<String, Option<(Stored, Counted)>>,
    pub(super) refused: &'a RefusedEvents,
}

/// An upload, and how it landed.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) upload: &'a Upload,
    /// Its number in the ledger.
    pub(super) at: u32,
    pub(super) known: &'a KnownUpload,
    pub(super) is_keyed: bool,
}

/// What an upload's bytes came to.
#[derive(Debug, Default)]
pub(super) struct Reread {
    pub(super) events: u64,
    pub(super) rejected: u64,
    pub(super) filtered: u64,
    /// Rows for all tables, whichever form of its key landed them.
    pub(super) rows: u64,
}

impl From<UploadCounts> for Reread {
    fn from(counts: UploadCounts) -> Self {
        let rows = counts.tables.iter().map(|table| table.rows).sum();
        Self { events: counts.events, rejected: counts.rejected, filtered: counts.filtered, rows }
    }
}

impl Anew<'_> {
    /// Reads an upload under the name, key and time that it landed with, and hands on the rows of each table.
    ///
    /// # Errors
    /// When its bytes cannot be had.
    pub(super) fn read(&self, given: Given<'_>, each: &mut dyn FnMut(&str, &RecordBatch)) -> Result<Reread, Fault> {
        let context = context(given, self.settings);
        let buffers = Arc::default();
        let (upload, limits) = (given.upload, &self.settings.limits);
        let source = Source { upload, limits, admits: None, handle: self.lake.handle(), buffers: &buffers };
        let read = source.open().and_then(|opened| self.read_opened(opened, given, &context, each));
        match read {
            Ok(counts) => Ok(counts.into()),
            // One event, one rejection.
            Err(Refusal::Rejected(reason, _)) => {
                let mut rejects = RejectRows::default();
                rejects.add_whole(&context.name, &context.upload_id, reason, 0);
                each(REJECTS, &batch_of(&rejects.row_group()).map_err(bug)?);
                Ok(Reread { events: 1, rejected: 1, ..Reread::default() })
            }
            Err(Refusal::Fault(fault)) => Err(fault),
        }
    }

    fn read_opened(
        &self,
        opened: Opened,
        given: Given<'_>,
        context: &UploadContext,
        each: &mut dyn FnMut(&str, &RecordBatch),
    ) -> Result<UploadCounts, Refusal> {
        let mut chunks = opened.chunks;
        let mut tables = TablesToday { anew: *self, given, plans: Vec::new(), numbers: HashMap::new() };
        let (mut order, mut worker, mut rejects) = (Order::default(), Worker::default(), RejectRows::default());
        let mut rescued = Vec::new();
        let broken = |error| Refusal::Fault(bug(error));
        while let Some(chunk) = chunks.next_chunk().map_err(Refusal::of)? {
            let mut batch = Batch::read(chunk, context);
            for reason in Reason::OF_TABLES {
                batch.reject_again(reason, |line, item| self.refused.has(&given.known.id, reason, line, item));
            }
            let Ok(()) = order.decide(&mut batch, context, &mut tables, false);
            worker.flatten(&mut batch, &tables.plans);
            worker.append(&batch, &tables.plans, context, &HashSet::new(), &mut rescued);
            for (number, plan) in tables.plans.iter().enumerate() {
                if let Some(rows) = worker.row_group(number as u32, plan) {
                    each(&plan.name, &batch_of(&rows).map_err(broken)?);
                }
                worker.clear(number as u32);
            }
            rejects.add(context, &batch, 0);
            each(REJECTS, &batch_of(&std::mem::take(&mut rejects).row_group()).map_err(broken)?);
        }
        Ok(order.into_counts())
    }
}

fn bug(error: ArrowError) -> Fault {
    Fault::bug("columns do not make a batch").because(error)
}

/// Our columns as the second implementation reads them.
fn batch_of(rows: &RowGroup<'_>) -> Result<RecordBatch, ArrowError> {
    let field = |&(name, column): &(&str, &Column)| arrow_field(name, column.column_type(), true);
    let schema = Schema::new(rows.columns.iter().map(field).collect::<Vec<_>>());
    let arrays = rows.columns.iter().map(|(_, column)| array_of(column, rows.rows)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.rows));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
}

fn array_of(column: &Column, rows: usize) -> ArrayRef {
    let valid = column.valid();
    match column.values() {
        Values::Boolean(bits) => {
            Arc::new(spread(valid, rows, (0..bits.len()).map(|at| bits.get(at))).collect::<BooleanArray>())
        }
        Values::BigInt(values) => Arc::new(spread(valid, rows, values.iter().copied()).collect::<Int64Array>()),
        Values::Double(values) => Arc::new(spread(valid, rows, values.iter().copied()).collect::<Float64Array>()),
        Values::Timestamp(values) => {
            let moments = spread(valid, rows, values.iter().copied()).collect::<TimestampMicrosecondArray>();
            Arc::new(moments.with_timezone("UTC"))
        }
        Values::String(_) => {
            Arc::new(spread(valid, rows, column.texts().map(|(_, text)| text)).collect::<StringArray>())
        }
    }
}

/// A value or none for each row.
fn spread<T>(valid: &Bits, rows: usize, values: impl Iterator<Item = T>) -> impl Iterator<Item = Option<T>> {
    let mut values = values;
    (0..rows).map(move |row| if valid.get(row) { values.next() } else { None })
}

/// Generated ids hang on the key that the upload had, and times that events lack on its last modification; a copy has
/// another key and time.
fn context(given: Given<'_>, settings: &Settings) -> UploadContext {
    let Given { upload, known, is_keyed, .. } = given;
    let mut context = upload_context(upload, 0, settings);
    context.key = if is_keyed { known.name.clone() } else { String::new() };
    if let [whole] = known.whole.as_slice() {
        context.arrived = whole.finished_at - (whole.lag * 1e6).round() as i64;
    }
    context
}

/// The tables that an upload names, with the columns that they have today. Nothing landed before.
struct TablesToday<'a> {
    anew: Anew<'a>,
    given: Given<'a>,
    plans: Vec<Arc<TablePlan>>,
    numbers: HashMap<String, u32>,
}

impl TablesToday<'_> {
    /// Whether the upload landed when the schema had as many tables as it may, or might make none: then its tracks of
    /// this event stand in `tracks` only, as they themselves say. Where `tracks` is left out, `_loads` says it.
    fn is_beyond_limit(&self, name: &str) -> bool {
        if !self.anew.settings.selection.takes_table(Call::Track.table()) {
            let loads = self.given.known.parts.get(name).into_iter().flatten();
            return loads.map(|load| load.rows + load.duplicates).sum::<i64>() == 0;
        }
        let counted = |table: &str| self.anew.tables.get(table)?.as_ref().map(|(_, counted)| counted);
        let in_tracks = counted("tracks").and_then(|tracks| tracks.tallies.get(&self.given.at));
        let is_in_tracks = in_tracks.is_some_and(|tally| tally.events.contains_key(name));
        let has_rows = counted(name).is_some_and(|counted| counted.rows_of(self.given.at) > 0);
        is_in_tracks && !has_rows && !self.given.known.parts.contains_key(name)
    }
}

impl Tables for TablesToday<'_> {
    type Error = Infallible;

    fn find(&mut self, kind: TableKind, name: &str) -> Result<Option<u32>, Infallible> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(Some(number));
        }
        if kind == TableKind::Event && self.is_beyond_limit(name) {
            return Ok(None);
        }
        let number = self.plans.len() as u32;
        let columns = self.anew.tables.get(name).and_then(Option::as_ref).map(|(stored, _)| stored.columns.as_slice());
        let Settings { selection, contracts, .. } = self.anew.settings;
        let plan = TablePlan::under(name, kind, columns.unwrap_or_default(), selection, contracts);
        self.plans.push(Arc::new(plan));
        self.numbers.insert(name.to_owned(), number);
        Ok(Some(number))
    }

    fn landed_before(&self, _table: u32, _id: u128) -> bool {
        false
    }
}
