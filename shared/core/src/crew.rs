//! The workers of one group and the files that they write: each has its own builders and its own Parquet files, so
//! that they share nothing but the decompressor.

use std::sync::{Arc, Mutex};

use arrow_array::{Array, RecordBatch};
use arrow_schema::ArrowError;
use hashbrown::HashSet;
use inlet_events::table::TablePlan;
use inlet_events::{ColumnType, Worker};

use crate::delta::{DataFile, FileLayout, FileWriter, Lake, ROW_GROUP_BYTES, Table};
use crate::fault::Fault;
use crate::ledger::{REJECTS, RejectRows, rejects_columns};
use crate::registry::Registry;

/// Bytes that the rows of all tables and workers may hold; over it the largest table is encoded early.
const ROWS_BYTES: usize = 48 << 20;
/// Bytes of rejected text after which it is encoded.
const REJECT_BYTES: usize = 4 << 20;

/// A file being written, and the columns that it holds: those that have had a value. A wide table's other columns
/// would each cost a compressor and bytes that say nothing.
#[derive(Debug)]
struct OpenFile {
    columns: HashSet<String>,
    writer: FileWriter,
}

/// One worker: what it reads into, and where that goes.
#[derive(Debug, Default)]
pub(crate) struct Crewman {
    pub(crate) worker: Worker,
    pub(crate) rejects: RejectRows,
    open: Vec<Option<OpenFile>>,
    reject_file: Option<FileWriter>,
    finished: Vec<(u32, DataFile)>,
    finished_rejects: Vec<DataFile>,
}

/// Files of a group, by table.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) tables: Vec<Vec<DataFile>>,
    pub(crate) rejects: Vec<DataFile>,
}

impl Files {
    /// All files.
    pub(crate) fn all(&self) -> Vec<DataFile> {
        self.tables.iter().flatten().chain(&self.rejects).cloned().collect()
    }
}

/// What a crewman needs from outside to write files.
#[derive(Clone, Copy)]
pub(crate) struct Yard<'a> {
    pub(crate) lake: &'a Lake,
    pub(crate) registry: &'a Mutex<Registry>,
    pub(crate) schema: &'a str,
    /// `_rejects`, if it is there.
    pub(crate) rejects: Option<&'a Table>,
    pub(crate) workers: usize,
}

impl Crewman {
    /// Encodes the tables that have grown large enough, and the largest while all together hold too much.
    ///
    /// Rows are held as plain columns and encoded a row group at a time: an open Parquet column holds a compressor of
    /// hundreds of kilobytes, and hundreds of tables have thousands of columns.
    pub(crate) fn relieve(&mut self, yard: Yard<'_>, plans: &[Arc<TablePlan>]) -> Result<(), Fault> {
        let mut held: Vec<(u32, usize)> = self.worker.held().collect();
        held.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let mut total: usize = held.iter().map(|(_, bytes)| bytes).sum();
        for (table, bytes) in held {
            if bytes < ROW_GROUP_BYTES && total <= ROWS_BYTES / yard.workers.max(1) {
                break;
            }
            self.encode(yard, plans, table)?;
            total -= bytes;
        }
        if self.rejects.bytes() >= REJECT_BYTES {
            self.encode_rejects(yard)?;
        }
        Ok(())
    }

    fn encode(&mut self, yard: Yard<'_>, plans: &[Arc<TablePlan>], table: u32) -> Result<(), Fault> {
        let at = table as usize;
        let plan = &plans[at];
        let Some(batch) = self.worker.take(table, plan).map_err(bug)? else { return Ok(()) };
        if self.open.len() <= at {
            self.open.resize_with(at + 1, || None);
        }
        let mut columns = columns_with_values(&batch);
        // A file's columns are settled when it is begun; one more begins another file, which holds the first one's too.
        if let Some(outgrown) = self.open[at].take_if(|file| !columns.is_subset(&file.columns)) {
            self.finished.push((table, outgrown.writer.finish()?));
            columns.extend(outgrown.columns);
        }
        let file = match &mut self.open[at] {
            Some(file) => file,
            none => {
                let names: Vec<&str> = columns.iter().map(String::as_str).collect();
                let layout = lock(yard.registry).layout(table)?.narrowed(&names);
                none.insert(OpenFile { columns, writer: FileWriter::create(yard.lake, layout)? })
            }
        };
        file.writer.write(&only(&batch, &file.columns).map_err(bug)?)?;
        file.writer.close_row_group()
    }

    fn encode_rejects(&mut self, yard: Yard<'_>) -> Result<(), Fault> {
        if self.rejects.rows() == 0 {
            return Ok(());
        }
        let batch = self.rejects.finish().map_err(bug)?;
        let file = match &mut self.reject_file {
            Some(file) => file,
            none => {
                let layout = own_layout(yard.lake, yard.schema, REJECTS, yard.rejects, &rejects_columns())?;
                none.insert(FileWriter::create(yard.lake, layout)?)
            }
        };
        file.write(&batch)?;
        file.close_row_group()
    }

    /// Encodes all that is left and finishes the files.
    pub(crate) fn finish(&mut self, yard: Yard<'_>, plans: &[Arc<TablePlan>], files: &mut Files) -> Result<(), Fault> {
        let held: Vec<u32> = self.worker.held().map(|(table, _)| table).collect();
        for table in held {
            self.encode(yard, plans, table)?;
        }
        self.encode_rejects(yard)?;
        for (table, file) in self.open.iter_mut().enumerate() {
            if let Some(file) = file.take() {
                self.finished.push((table as u32, file.writer.finish()?));
            }
        }
        if let Some(file) = self.reject_file.take() {
            self.finished_rejects.push(file.finish()?);
        }
        for (table, file) in self.finished.drain(..) {
            let at = table as usize;
            if files.tables.len() <= at {
                files.tables.resize_with(at + 1, Vec::new);
            }
            files.tables[at].push(file);
        }
        files.rejects.append(&mut self.finished_rejects);
        Ok(())
    }

    /// Gives up all that was read and written; answers the files that stand in the lake already.
    pub(crate) fn abandon(&mut self) -> Vec<DataFile> {
        let abandoned = std::mem::take(self);
        abandoned.open.into_iter().flatten().for_each(|file| file.writer.abort());
        if let Some(file) = abandoned.reject_file {
            file.abort();
        }
        abandoned.finished.into_iter().map(|(_, file)| file).chain(abandoned.finished_rejects).collect()
    }
}

fn columns_with_values(batch: &RecordBatch) -> HashSet<String> {
    let fields = batch.schema_ref().fields().iter().zip(batch.columns());
    fields.filter(|(_, column)| column.null_count() < column.len()).map(|(field, _)| field.name().clone()).collect()
}

fn only(batch: &RecordBatch, columns: &HashSet<String>) -> Result<RecordBatch, ArrowError> {
    let fields = batch.schema_ref().fields().iter().enumerate();
    let places: Vec<usize> = fields.filter(|(_, field)| columns.contains(field.name())).map(|(at, _)| at).collect();
    batch.project(&places)
}

/// The layout of new files of a table whose columns are fixed: `_rejects` or `_loads`.
pub(crate) fn own_layout(
    lake: &Lake,
    schema: &str,
    name: &str,
    table: Option<&Table>,
    columns: &[(String, ColumnType)],
) -> Result<Arc<FileLayout>, Fault> {
    match table {
        Some(table) => FileLayout::of_existing(lake, table, &[]),
        None => FileLayout::of_new(lake, schema, name, columns),
    }
}

pub(crate) fn worker_panicked() -> Fault {
    Fault::bug("a worker panicked").hint("please report this with the upload")
}

pub(crate) fn bug(error: ArrowError) -> Fault {
    Fault::bug("columns do not make a batch").because(error)
}

/// A panic in one thread must not hide the state from the others: they fail by their own means.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
