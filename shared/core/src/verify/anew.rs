//! An upload's bytes, read anew by the first ring as if nothing had landed: what it gives for each table, a chunk at a
//! time.

use std::convert::Infallible;
use std::sync::Arc;

use arrow_array::RecordBatch;
use hashbrown::{HashMap, HashSet};
use inlet_events::lines::Chunks;
use inlet_events::order::{Order, Tables, UploadCounts};
use inlet_events::table::{TableKind, TablePlan};
use inlet_events::{Batch, UploadContext, Worker};

use super::ledger::KnownUpload;
use crate::crew::bug;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::group::upload_context;
use crate::settings::Settings;
use crate::source::{Buffers, Opened, Refusal, Source, Window};
use crate::upload::Upload;

/// Reads uploads anew.
#[derive(Clone, Copy)]
pub(super) struct Anew<'a> {
    pub(super) lake: &'a Lake,
    pub(super) settings: &'a Settings,
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
    pub(super) fn read(
        &self,
        upload: &Upload,
        known: &KnownUpload,
        is_keyed: bool,
        each: &mut dyn FnMut(&str, &RecordBatch),
    ) -> Result<Reread, Fault> {
        let context = self.context(upload, known, is_keyed);
        let buffers = Buffers::default();
        let source = Source { upload, limits: &self.settings.limits, handle: self.lake.handle(), buffers: &buffers };
        let read = source.open(&|_| {}).and_then(|opened| read_opened(opened, &context, each));
        match read {
            Ok(counts) => Ok(counts.into()),
            // One event, one rejection.
            Err(Refusal::Rejected(..)) => Ok(Reread { events: 1, rejected: 1, ..Reread::default() }),
            Err(Refusal::Fault(fault)) => Err(fault),
        }
    }

    /// Generated ids hang on the key that the upload had, and times that events lack on its last modification; a copy
    /// has another key and time.
    fn context(&self, upload: &Upload, known: &KnownUpload, is_keyed: bool) -> UploadContext {
        let mut context = upload_context(upload, 0, self.settings);
        context.key = if is_keyed { known.name.clone() } else { String::new() };
        if let [whole] = known.whole.as_slice() {
            context.arrived = whole.finished_at - (whole.lag * 1e6).round() as i64;
        }
        context
    }
}

fn read_opened(
    opened: Opened,
    context: &UploadContext,
    each: &mut dyn FnMut(&str, &RecordBatch),
) -> Result<UploadCounts, Refusal> {
    let mut chunks = match opened {
        Opened::Whole(Window { buffer, length }) => Chunks::of_bytes(buffer.slice(..length), context.line_bytes),
        Opened::Stream(chunks) => chunks,
    };
    let (mut order, mut tables, mut worker) = (Order::default(), AllTables::default(), Worker::default());
    let mut rescued = Vec::new();
    while let Some(chunk) = chunks.next_chunk().map_err(Refusal::of)? {
        let mut batch = Batch::read(chunk, context);
        let Ok(()) = order.decide(&mut batch, context, &mut tables, false);
        worker.flatten(&mut batch, &tables.plans);
        let written = worker.append(&batch, &tables.plans, context, &HashSet::new(), &mut rescued);
        written.map_err(|error| Refusal::Fault(bug(error)))?;
        for (number, plan) in tables.plans.iter().enumerate() {
            if let Some(rows) = worker.take(number as u32, plan).map_err(|error| Refusal::Fault(bug(error)))? {
                each(&plan.name, &rows);
            }
        }
    }
    Ok(order.into_counts())
}

/// Every table that an upload names: nothing is too many, and nothing landed before.
#[derive(Debug, Default)]
struct AllTables {
    plans: Vec<Arc<TablePlan>>,
    numbers: HashMap<String, u32>,
}

impl Tables for AllTables {
    type Error = Infallible;

    fn find(&mut self, kind: TableKind, name: &str) -> Result<Option<u32>, Infallible> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(Some(number));
        }
        let number = self.plans.len() as u32;
        self.plans.push(Arc::new(TablePlan::new(name, kind, &[])));
        self.numbers.insert(name.to_owned(), number);
        Ok(Some(number))
    }

    fn landed_before(&self, _table: u32, _id: u128) -> bool {
        false
    }
}
