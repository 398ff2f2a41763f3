//! The workers of one group and the files that they write: each has its own builders and its own Parquet files, so
//! that they share nothing but the decompressor.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use hashbrown::HashSet;
use inlet_events::table::TablePlan;
use inlet_events::{Buffers, ColumnType, Worker};
use parquet::errors::ParquetError;

use crate::delta::{DataFile, Encoder, FileLayout, FileWriter, Lake, ROW_GROUP_BYTES, SentFile, Table};
use crate::fault::Fault;
use crate::ledger::{REJECTS, RejectRows, rejects_columns};
use crate::registry::Registry;

/// Bytes that uploads in memory and the rows of all tables and workers may hold together.
const READ_BYTES: usize = 80 << 20;
/// Bytes that the rows may hold, at least and at most; over it the largest table is encoded early.
const ROWS_BYTES: std::ops::RangeInclusive<usize> = 28 << 20..=48 << 20;
/// Bytes that may wait in the files of all tables and workers; over it the largest file is sent on, or finished.
const FILES_BYTES: usize = 16 << 20;
/// Files of all workers that may be on their way in parts: on a disk each is an open file.
const FILES_UNDER_WAY: usize = 400;
/// Finished files of one worker that may be on their way at once: a store takes its time to answer for each.
const SENT_AT_ONCE: usize = 16;
/// Bytes of rejected text after which it is encoded.
const REJECT_BYTES: usize = 2 << 20;

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
    encoder: Option<Encoder>,
    sent: VecDeque<(u32, SentFile)>,
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
    /// What uploads in memory are read into.
    pub(crate) buffers: &'a Buffers,
    pub(crate) workers: usize,
}

impl Crewman {
    /// Encodes the tables that have grown large enough, and the largest while all together hold too much; then sees to
    /// it that the files do not hold too much either.
    ///
    /// Rows are held as columns and encoded a row group at a time: a Parquet column that stays open holds a compressor
    /// of hundreds of kilobytes, and hundreds of tables have thousands of columns.
    pub(crate) fn relieve(&mut self, yard: Yard<'_>, plans: &[Arc<TablePlan>]) -> Result<(), Fault> {
        let mut held: Vec<(u32, usize)> = self.worker.held().collect();
        let mut total: usize = held.iter().map(|(_, bytes)| bytes).sum();
        let room = READ_BYTES.saturating_sub(yard.buffers.lent());
        let share = room.clamp(*ROWS_BYTES.start(), *ROWS_BYTES.end()) / yard.workers.max(1);
        if total > share {
            held.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        }
        for (table, bytes) in held {
            let is_over = total > share;
            if bytes < ROW_GROUP_BYTES && !is_over {
                continue;
            }
            self.encode(yard, plans, table)?;
            if is_over {
                self.worker.release(table);
                total -= bytes;
            }
        }
        if self.rejects.bytes() >= REJECT_BYTES {
            self.encode_rejects(yard)?;
        }
        self.relieve_files(yard)
    }

    fn relieve_files(&mut self, yard: Yard<'_>) -> Result<(), Fault> {
        let workers = yard.workers.max(1);
        let files = || self.open.iter().flatten().map(|file| &file.writer);
        let mut total: usize = files().map(FileWriter::buffered_bytes).sum();
        let mut under_way = files().filter(|file| file.is_under_way()).count();
        loop {
            let must_end = under_way > FILES_UNDER_WAY / workers;
            if !must_end && total <= FILES_BYTES / workers {
                return Ok(());
            }
            let open = self.open.iter_mut().enumerate().filter_map(|(at, file)| Some((at, &mut file.as_mut()?.writer)));
            let weight =
                |(_, file): &(usize, &mut FileWriter)| (must_end && file.is_under_way(), file.buffered_bytes());
            let Some((at, file)) = open.max_by_key(weight) else { return Ok(()) };
            let (bytes, was_under_way) = (file.buffered_bytes(), file.is_under_way());
            if !must_end && file.send()? {
                under_way += usize::from(!was_under_way);
                total = total.saturating_sub(bytes.saturating_sub(file.buffered_bytes()));
            } else if let Some(file) = self.open[at].take() {
                self.finished.push((at as u32, file.writer.finish()?));
                under_way -= usize::from(was_under_way);
                total = total.saturating_sub(bytes);
            }
        }
    }

    /// Writes a table's rows as a row group; their memory is kept for the next ones.
    fn encode(&mut self, yard: Yard<'_>, plans: &[Arc<TablePlan>], table: u32) -> Result<(), Fault> {
        let at = table as usize;
        let Some(rows) = self.worker.row_group(table, &plans[at]) else { return Ok(()) };
        if self.open.len() <= at {
            self.open.resize_with(at + 1, || None);
        }
        let names = || rows.columns.iter().map(|(name, _)| *name);
        // A file's columns are settled when it is begun; one more begins another file, which holds the first one's too.
        let outgrown = self.open[at].take_if(|file| !names().all(|name| file.columns.contains(name)));
        let file = match &mut self.open[at] {
            Some(file) => file,
            none => {
                let mut columns: HashSet<String> = names().map(str::to_owned).collect();
                if let Some(outgrown) = outgrown {
                    self.finished.push((table, outgrown.writer.finish()?));
                    columns.extend(outgrown.columns);
                }
                let kept: Vec<&str> = columns.iter().map(String::as_str).collect();
                let layout = lock(yard.registry).layout(table)?.narrowed(&kept);
                none.insert(OpenFile { columns, writer: FileWriter::create(yard.lake, layout)? })
            }
        };
        file.writer.write(&rows, encoder(&mut self.encoder)?)?;
        self.worker.clear(table);
        Ok(())
    }

    fn encode_rejects(&mut self, yard: Yard<'_>) -> Result<(), Fault> {
        if self.rejects.rows() == 0 {
            return Ok(());
        }
        let file = match &mut self.reject_file {
            Some(file) => file,
            none => {
                let layout = own_layout(yard.lake, yard.schema, REJECTS, yard.rejects, &rejects_columns())?;
                none.insert(FileWriter::create(yard.lake, layout)?)
            }
        };
        file.write(&self.rejects.row_group(), encoder(&mut self.encoder)?)?;
        self.rejects = RejectRows::default();
        Ok(())
    }

    /// Encodes all that is left and finishes the files.
    pub(crate) fn finish(&mut self, yard: Yard<'_>, plans: &[Arc<TablePlan>], files: &mut Files) -> Result<(), Fault> {
        let held: Vec<u32> = self.worker.held().map(|(table, _)| table).collect();
        for table in held {
            self.encode(yard, plans, table)?;
            self.worker.release(table);
            self.send(table)?;
        }
        self.encode_rejects(yard)?;
        (0..self.open.len()).try_for_each(|table| self.send(table as u32))?;
        self.await_sent(0)?;
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

    /// Lets a table's file go, while the next one is encoded.
    fn send(&mut self, table: u32) -> Result<(), Fault> {
        let Some(file) = self.open.get_mut(table as usize).and_then(Option::take) else { return Ok(()) };
        self.sent.push_back((table, file.writer.send_rest()?));
        self.await_sent(SENT_AT_ONCE)
    }

    /// Waits until no more files than that are on their way.
    fn await_sent(&mut self, at_once: usize) -> Result<(), Fault> {
        while self.sent.len() > at_once {
            let Some((table, file)) = self.sent.pop_front() else { break };
            self.finished.push((table, file.finish()?));
        }
        Ok(())
    }

    /// Gives up all that was read and written; answers the files that stand in the lake already.
    pub(crate) fn abandon(&mut self) -> Vec<DataFile> {
        let abandoned = std::mem::take(self);
        abandoned.open.into_iter().flatten().for_each(|file| file.writer.abort());
        abandoned.sent.into_iter().for_each(|(_, file)| file.abort());
        if let Some(file) = abandoned.reject_file {
            file.abort();
        }
        abandoned.finished.into_iter().map(|(_, file)| file).chain(abandoned.finished_rejects).collect()
    }
}

fn encoder(encoder: &mut Option<Encoder>) -> Result<&mut Encoder, Fault> {
    Ok(match encoder {
        Some(encoder) => encoder,
        none => none.insert(Encoder::new().map_err(no_encoder)?),
    })
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

/// Does work on as many threads as there are workers, this one among them; nothing for one that panicked.
pub(crate) fn together<W: Send, T: Send>(workers: &mut [W], work: impl Fn(&mut W) -> T + Sync) -> Vec<Option<T>> {
    let Some((first, others)) = workers.split_first_mut() else { return Vec::new() };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = others.iter_mut().map(|worker| scope.spawn(move || work(worker))).collect();
        let first = catch_unwind(AssertUnwindSafe(|| work(first))).ok();
        let others = threads.into_iter().map(|thread| thread.join().ok());
        std::iter::once(first).chain(others).collect()
    })
}

pub(crate) fn worker_panicked() -> Fault {
    Fault::bug("a worker panicked").hint("please report this with the upload")
}

pub(crate) fn no_encoder(error: ParquetError) -> Fault {
    Fault::again("there is no memory for a compressor").because(error)
}

/// A panic in one thread must not hide the state from the others: they fail by their own means.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
