//! Rows of small files written into few large ones: by the append's own writer, so that values, statistics and names of
//! columns come out as if they had landed together.
//!
//! Copying the bytes of row groups would keep them small, and with them most of what a reader pays for. Memory holds a
//! row group, the files that are read ahead, and a part of the file that is written: not the files themselves.

use std::sync::Arc;

use arrow_array::RecordBatch;
use delta_kernel::Engine;
use delta_kernel::scan::Scan;
use delta_kernel::scan::state::ScanFile;
use hashbrown::HashSet;
use inlet_events::{Anew, KnownType, Value};

use super::column_chunk::Encoder;
use super::data_file::{DataFile, FileWriter};
use super::faults::kernel_fault;
use super::features::{feature_beyond, run, sql_name};
use super::layout::FileLayout;
use super::read::{files_of, read_file};
use super::small_files::{Small, groups};
use super::sweep::delete_files;
use super::table::Table;
use super::types::value;
use crate::clock::{Deadline, Micros};
use crate::crew::no_encoder;
use crate::fault::Fault;

/// A compacted file is at most about this large.
pub const FILE_BYTES: u64 = 128 << 20;
/// A file ends here, should its rows take more than they took before: by a part of a row group it may be larger.
const FILE_ENDS_AT: u64 = FILE_BYTES - (4 << 20);
/// Rows of this much memory become a row group: larger than the append's, which has many tables open at once.
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Features of a protocol that a compaction by us keeps whole. What rows were (row tracking), where they lie
/// (clustering) or how other formats read them (Iceberg) would be lost by writing them anew as we do.
const KEPT_FEATURES: [&str; 12] = [
    "allowColumnDefaults",
    "appendOnly",
    "changeDataFeed",
    "columnMapping",
    "deletionVectors",
    "domainMetadata",
    "inCommitTimestamp",
    "invariants",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
];

/// May we write rows of this table anew?
///
/// # Errors
/// Setup, naming what forbids it and the way out.
pub(crate) fn may_compact(table: &Table) -> Result<(), Fault> {
    table.may_append()?;
    let (label, optimize) = (table.label(), format!("OPTIMIZE {}", sql_name(&table.schema, &table.name)));
    if let Some(feature) = feature_beyond(table, &KEPT_FEATURES) {
        return Err(Fault::setup(format!(
            "Inlet does not compact table `{label}`: it has the table feature {feature}"
        ))
        .hint(run(table, &[optimize])));
    }
    if let Some(column) = table.columns().iter().find(|column| column.column_type == KnownType::Foreign) {
        return Err(Fault::setup(format!(
            "Inlet does not compact table `{label}`: column `{}` is of a type Inlet does not write",
            column.name
        ))
        .hint(run(table, &[optimize])));
    }
    Ok(())
}

/// The files that make up a table, in the order in which they were committed.
pub(crate) struct LiveFiles {
    scan: Scan,
    files: Vec<ScanFile>,
}

impl LiveFiles {
    /// As the table was last read.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn of(table: &Table) -> Result<Self, Fault> {
        let list = || {
            let scan = Arc::clone(&table.snapshot).scan_builder().build()?;
            let files = files_of(&scan, table.lake.engine().as_ref())?;
            Ok((scan, files))
        };
        let (scan, mut files) =
            list().map_err(|error| kernel_fault("cannot list the files of the table", table.url(), error))?;
        files.sort_by(|a, b| (a.modification_time, &a.path).cmp(&(b.modification_time, &b.path)));
        Ok(Self { scan, files })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.files.len() as u64
    }

    /// Which small files, written before then, become one file: each group has two or more. Files with deletion vectors
    /// are not among them.
    pub(crate) fn groups(&self, small_file_bytes: u64, before: Micros) -> Vec<Vec<Small>> {
        let small = |(at, file): (usize, &ScanFile)| {
            let bytes = u64::try_from(file.size).ok()?;
            let is_small = bytes < small_file_bytes && file.modification_time < before / 1_000;
            (is_small && !file.dv_info.has_vector()).then_some(Small { at, bytes })
        };
        groups(self.files.iter().enumerate().filter_map(small).collect(), FILE_BYTES)
    }

    /// The paths of a group's files, as the log names them.
    pub(crate) fn paths(&self, group: &[Small]) -> HashSet<String> {
        group.iter().map(|file| self.files[file.at].path.clone()).collect()
    }

    /// Writes the rows of a group's files into new ones; mostly into one.
    ///
    /// # Errors
    /// Again when the deadline passed; Setup for values that would not stand in the new file as they were; what the store
    /// answers. Nothing is left behind then, as far as the store obeys.
    pub(crate) fn rewrite(&self, table: &Table, group: &[Small], deadline: Deadline) -> Result<Vec<DataFile>, Fault> {
        let mut rewriting = Rewriting::of(table)?;
        let done = group.iter().try_for_each(|file| match deadline.is_over() {
            true => Err(Fault::again("no time is left to write the rest of the rows")),
            false => self.read(table, &self.files[file.at], &mut rewriting),
        });
        rewriting.finish(done)
    }

    fn read(&self, table: &Table, file: &ScanFile, rewriting: &mut Rewriting<'_>) -> Result<(), Fault> {
        let engine: &Arc<dyn Engine> = table.lake.engine();
        let fault = |error| kernel_fault("cannot read the rows of the table", table.url(), error);
        read_file(&self.scan, engine, file, &mut |batch| rewriting.take(&batch), &fault)
    }
}

/// Rows on their way into new files.
struct Rewriting<'a> {
    table: &'a Table,
    layout: Arc<FileLayout>,
    anew: Anew,
    encoder: Encoder,
    writer: Option<FileWriter>,
    done: Vec<DataFile>,
}

impl<'a> Rewriting<'a> {
    fn of(table: &'a Table) -> Result<Self, Fault> {
        Ok(Self {
            layout: FileLayout::of_existing(&table.lake, table, &[])?,
            anew: Anew::new(&table.columns().iter().map(super::Column::named).collect::<Vec<_>>()),
            encoder: Encoder::new().map_err(no_encoder)?,
            writer: None,
            done: Vec::new(),
            table,
        })
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        let rows = batch.num_rows();
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let known = self.table.columns().iter().find(|column| column.name == *field.name());
            let Some(KnownType::Ours(column_type)) = known.map(|column| column.column_type) else {
                return Err(self.inexact(field.name()));
            };
            let cells = (0..rows).filter_map(|row| Some((row, value(column_type, array, row)?)));
            // Least and greatest of a column with one would leave it out, and rows would be skipped.
            let is_number = |cell: &Value<'_>| !matches!(cell, Value::Double(number) if number.is_nan());
            let mut all_numbers = true;
            let cells = cells.inspect(|(_, cell)| all_numbers &= is_number(cell));
            if !self.anew.extend(field.name(), cells) || !all_numbers {
                return Err(self.inexact(field.name()));
            }
        }
        self.anew.advance(rows);
        if self.anew.memory() >= ROW_GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes a row group, and ends a file that is large enough.
    fn flush(&mut self) -> Result<(), Fault> {
        if self.anew.rows() == 0 {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(FileWriter::create(&self.table.lake, Arc::clone(&self.layout))?),
        };
        writer.write(&self.anew.row_group(), &mut self.encoder)?;
        self.anew.clear();
        if writer.bytes() >= FILE_ENDS_AT { self.end_file() } else { Ok(()) }
    }

    fn end_file(&mut self) -> Result<(), Fault> {
        if let Some(writer) = self.writer.take() {
            self.done.push(writer.finish()?);
        }
        Ok(())
    }

    fn finish(mut self, read: Result<(), Fault>) -> Result<Vec<DataFile>, Fault> {
        match read.and_then(|()| self.flush()).and_then(|()| self.end_file()) {
            Ok(()) => Ok(self.done),
            Err(fault) => {
                if let Some(writer) = self.writer {
                    writer.abort();
                }
                delete_files(&self.table.lake, &self.done);
                Err(fault)
            }
        }
    }

    fn inexact(&self, column: &str) -> Fault {
        Fault::setup(format!(
            "Inlet does not compact table `{}`: column `{column}` holds a value that Inlet does not write",
            self.table.label()
        ))
        .hint(run(self.table, &[format!("OPTIMIZE {}", sql_name(&self.table.schema, &self.table.name))]))
    }
}
