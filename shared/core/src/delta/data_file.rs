//! Our own Parquet writer beside the kernel.
//!
//! The kernel's matches columns by position, writes uncompressed and asks for every file's size again. This one is
//! handed columns by name, compresses, bounds its memory and keeps what the commit needs, so that a file survives
//! lost races.

use std::fmt;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow_schema::{Field, Schema};
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::{FileMeta, KernelError, KernelResult};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use hashbrown::{HashMap, HashSet};
use inlet_events::{Column, RowGroup};
use object_store::path::Path;
use parquet::arrow::ArrowSchemaConverter;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use url::Url;
use uuid::Uuid;

use super::ENGINE_INFO;
use super::column_chunk::{Bounds, Encoder};
use super::faults::{kernel_fault, store_fault};
use super::features::run_on;
use super::lake::Lake;
use super::layout::{FileColumn, FileLayout, has_statistics};
use super::table::Table;
use super::types::arrow_type;
use super::upload_sink::UploadSink;
use crate::clock;
use crate::fault::Fault;

/// Rows of a table are written once their columns hold this much: memory is a function of open columns, not of the
/// upload's size. Smaller row groups cost size and speed, larger ones only memory.
pub const ROW_GROUP_BYTES: usize = 4 * 1024 * 1024;

/// What the footer keeps of a column chunk until the file is finished: measured with small row groups.
const CHUNK_METADATA_BYTES: usize = 700;

/// A finished, uploaded file that no commit names yet.
#[derive(Clone, Debug)]
pub struct DataFile {
    pub(super) path: String,
    pub(super) key: Path,
    pub(super) size: u64,
    pub(super) rows: u64,
    /// What the kernel writes into the log's `add`; kept, since a transaction that lost its race gives nothing back.
    pub(super) add: RecordBatch,
    pub(super) columns: Arc<Vec<FileColumn>>,
    /// Per column: what the log says of it.
    pub(super) tallies: Arc<Vec<Option<Tally>>>,
    /// Names of columns with integers that no double holds exactly.
    pub(super) wide: Arc<HashSet<String>>,
}

impl DataFile {
    /// Its path relative to the table, as the log names it. Unique to this attempt.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The columns it was written with.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Whether it lies in the table's own folder.
    pub(crate) fn lies_in(&self, table: &Table) -> bool {
        Path::from_url_path(table.url().path()).is_ok_and(|folder| self.key.prefix_matches(&folder))
    }

    /// A file that stands in the lake, as the log will speak of it.
    pub(super) fn described(
        layout: &FileLayout,
        url: &Url,
        key: Path,
        size: u64,
        rows: u64,
        tallies: Vec<Option<Tally>>,
    ) -> Result<Self, Fault> {
        let describe = || {
            let meta = FileMeta::new(url.clone(), clock::now() / 1_000, size);
            let statistics = statistics(layout, &tallies, rows)?;
            let add = build_add_file_metadata(DataFileMetadata::new(meta, statistics), &layout.context)?;
            Ok((layout.context.resolve_file_path(url)?, add.try_into_record_batch()?))
        };
        let (path, add) = describe().map_err(|error| kernel_fault("cannot describe a data file", url, error))?;
        let columns = Arc::new(layout.columns.clone());
        let wide = Arc::default();
        Ok(Self { path, key, size, rows, add, columns, tallies: Arc::new(tallies), wide })
    }
}

/// Writes one file. A writer that is not finished must be aborted.
pub struct FileWriter {
    layout: Arc<FileLayout>,
    writer: SerializedFileWriter<Vec<u8>>,
    /// Per column of the layout: what the log will say of it, where tables keep statistics on it.
    tallies: Vec<Option<Tally>>,
    /// Names of columns with integers that no double holds exactly.
    wide: HashSet<String>,
    sink: UploadSink,
    url: Url,
    key: Path,
    rows: u64,
}

/// What the log says of one column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) nulls: u64,
    pub(super) bounds: Option<Bounds>,
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter").field("url", &self.url.as_str()).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl FileWriter {
    /// Begins a file under a name that no other attempt has; sends nothing yet.
    ///
    /// # Errors
    /// A bug when the layout cannot be Parquet.
    pub fn create(lake: &Lake, layout: Arc<FileLayout>) -> Result<Self, Fault> {
        let name = format!("part-{}.zstd.parquet", Uuid::new_v4());
        Self::named(lake, layout, &name, false)
    }

    /// Begins a file under a name that whoever does the same work chooses too, and writes the same to. So it is never
    /// removed: somebody may count on it.
    ///
    /// # Errors
    /// As [`FileWriter::create`].
    pub(crate) fn shared(lake: &Lake, layout: Arc<FileLayout>, name: &str) -> Result<Self, Fault> {
        Self::named(lake, layout, name, true)
    }

    fn named(lake: &Lake, layout: Arc<FileLayout>, name: &str, is_shared: bool) -> Result<Self, Fault> {
        // Asked once per file: under column mapping each call draws another folder.
        let folder = layout.context.write_dir();
        let bad_name = || Fault::bug(format!("no file name under {folder}"));
        let url = folder.join(name).map_err(|_| bad_name())?;
        let key = Path::from_url_path(url.path()).map_err(|_| bad_name())?;
        let properties =
            WriterProperties::builder().set_offset_index_disabled(true).set_created_by(ENGINE_INFO.to_owned()).build();
        let writer = ArrowSchemaConverter::new()
            .convert(&layout.physical)
            .and_then(|schema| SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), Arc::new(properties)))
            .map_err(|error| {
                Fault::bug(format!("the columns of table `{}` cannot be Parquet", layout.label)).because(error)
            })?;
        let tally = |column: &FileColumn| has_statistics(&layout.context, column.physical.name()).then(Tally::default);
        let tallies = layout.columns.iter().map(tally).collect();
        let sink = UploadSink::new(lake, key.clone(), is_shared);
        Ok(Self { layout, writer, tallies, wide: HashSet::new(), sink, url, key, rows: 0 })
    }

    /// Writes a row group, its columns matched by name: a missing column is NULL, an unknown one a bug.
    ///
    /// # Errors
    /// Setup for a NULL in a NOT NULL column; a bug for a column that the layout does not have in this name and type;
    /// what the store answers.
    pub fn write(&mut self, group: &RowGroup<'_>, encoder: &mut Encoder) -> Result<(), Fault> {
        if group.rows == 0 {
            return Ok(());
        }
        let columns = self.in_file_order(group)?;
        self.encode(group.rows, &columns, encoder).map_err(|error| unwritten(&self.layout, error))?;
        self.rows += group.rows as u64;
        // The writer only ever appends to the buffer and counts by itself: what is finished can be taken away.
        self.sink
            .send_if_large(self.writer.inner_mut())
            .map_err(|error| store_fault("cannot write a data file", &self.url, error))
    }

    fn encode(&mut self, rows: usize, columns: &[Option<&Column>], encoder: &mut Encoder) -> Result<(), ParquetError> {
        let schema = self.writer.schema_descr().clone();
        let mut row_group = self.writer.next_row_group()?;
        for (at, (column, tally)) in columns.iter().zip(&mut self.tallies).enumerate() {
            let field = &self.layout.columns[at].physical;
            // The least and the greatest text cost a comparison per value and skip nothing, but where tables keep
            // statistics because rows are looked up by it.
            let is_text = *field.data_type() == arrow_schema::DataType::Utf8;
            let bounds = column.filter(|_| !is_text || tally.is_some()).and_then(Bounds::of);
            let (bytes, close) = encoder.encode(*column, rows, &schema.column(at), bounds.as_ref(), field)?;
            row_group.append_column(&bytes, close)?;
            let is_integer = *field.data_type() == arrow_schema::DataType::Int64;
            if is_integer && bounds.as_ref().is_some_and(Bounds::is_wide) {
                self.wide.insert(self.layout.columns[at].name.clone());
            }
            if let Some(tally) = tally {
                tally.nulls += (rows - column.map_or(0, Column::count)) as u64;
                tally.bounds = match (tally.bounds.take(), bounds) {
                    (Some(known), Some(more)) => Some(known.join(more)),
                    (known, more) => known.or(more),
                };
            }
        }
        row_group.close()?;
        Ok(())
    }

    /// Bytes held in memory: finished bytes that the store has not got yet, and what the footer will say.
    pub fn buffered_bytes(&self) -> usize {
        let chunks = self.writer.flushed_row_groups().len() * self.layout.columns.len();
        self.writer.inner().capacity() + self.sink.buffered_bytes() + chunks * CHUNK_METADATA_BYTES
    }

    /// Whether a part of it has gone to the store.
    pub fn is_under_way(&self) -> bool {
        self.sink.is_under_way()
    }

    /// Sends what is held in memory; false when that would not help, since most of it is what the footer will say, or
    /// the store takes no part as small as that.
    ///
    /// # Errors
    /// What the store answers.
    pub fn send(&mut self) -> Result<bool, Fault> {
        if self.writer.inner().capacity() < self.buffered_bytes() / 2 {
            return Ok(false);
        }
        let sent = self.sink.send_if_allowed(self.writer.inner_mut());
        sent.map_err(|error| store_fault("cannot write a data file", &self.url, error))
    }

    /// Bytes of the file so far, whether the store has them or not; its footer comes to them.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Finishes the file and uploads what is left of it.
    ///
    /// # Errors
    /// What the store answers; a bug for a file without rows. Nothing is left behind then, as far as the store obeys.
    pub fn finish(self) -> Result<DataFile, Fault> {
        self.send_rest()?.finish()
    }

    /// Writes the footer and lets what is left go to the store, without waiting for it.
    ///
    /// # Errors
    /// As [`FileWriter::finish`].
    pub fn send_rest(mut self) -> Result<SentFile, Fault> {
        let mut send = || {
            if self.rows == 0 {
                return Err(Fault::bug(format!("a file without rows for table `{}`", self.layout.label)));
            }
            self.writer.finish().map_err(|error| unwritten(&self.layout, error))?;
            let rest = std::mem::take(self.writer.inner_mut());
            self.sink.send_rest(rest).map_err(|error| store_fault("cannot write a data file", &self.url, error))
        };
        match send() {
            Ok(()) => Ok(SentFile(self)),
            Err(fault) => {
                self.abort();
                Err(fault)
            }
        }
    }

    /// Gives up on the file: what was uploaded of it is removed, as far as the store obeys.
    pub fn abort(mut self) {
        self.sink.abort();
    }

    /// The group's columns in the order of the layout's.
    fn in_file_order<'g>(&self, group: &RowGroup<'g>) -> Result<Vec<Option<&'g Column>>, Fault> {
        let label = &self.layout.label;
        let fits = |column: &FileColumn, values: &Column| {
            column.ours && arrow_type(values.column_type()) == *column.physical.data_type()
        };
        let given: HashMap<&str, &Column> = group.columns.iter().copied().collect();
        let mut columns = Vec::with_capacity(self.layout.columns.len());
        for column in &self.layout.columns {
            let name = &column.name;
            let values = given.get(name.as_str()).copied().filter(|values| fits(column, values));
            if !column.physical.is_nullable() && values.map_or(0, Column::count) < group.rows {
                return Err(Fault::setup(format!(
                    "column `{name}` of table `{label}` is NOT NULL, a row has no value for it"
                ))
                .hint(run_on(
                    self.sink.lake(),
                    &[format!("ALTER TABLE {label} ALTER COLUMN `{name}` DROP NOT NULL")],
                )));
            }
            columns.push(values);
        }
        if columns.iter().flatten().count() < given.len() {
            let has_place = |name: &str, values: &Column| {
                self.layout.columns.iter().any(|column| column.name == name && fits(column, values))
            };
            let odd = group.columns.iter().find(|(name, values)| !has_place(name, values));
            let (name, column_type) = odd.map_or(("?", "?"), |(name, values)| (*name, values.column_type().name()));
            return Err(Fault::bug(format!("table `{label}` has no column `{name}` of type {column_type}")));
        }
        Ok(columns)
    }
}

/// A file that is on its way to the store as a whole. It must be finished or aborted.
#[derive(Debug)]
pub struct SentFile(FileWriter);

impl SentFile {
    /// Waits until it is there.
    ///
    /// # Errors
    /// What the store answers. Nothing is left behind then, as far as the store obeys.
    pub fn finish(self) -> Result<DataFile, Fault> {
        let FileWriter { layout, tallies, wide, mut sink, url, key, rows, .. } = self.0;
        let sent = sink.finish().inspect_err(|_| sink.abort());
        let size = sent.map_err(|error| store_fault("cannot write a data file", &url, error))?;
        let file = DataFile::described(&layout, &url, key, size, rows, tallies)?;
        Ok(DataFile { wide: Arc::new(wide), ..file })
    }

    /// Gives up on the file: it is removed, as far as the store obeys.
    pub fn abort(self) {
        self.0.abort();
    }
}

/// The file's statistics as the kernel wants them. Its own accumulator cuts long texts and names the fields; it is
/// shown two rows, the least and the greatest values, and the counts are put right afterwards.
fn statistics(layout: &FileLayout, tallies: &[Option<Tally>], rows: u64) -> KernelResult<StructArray> {
    let kept = || layout.columns.iter().zip(tallies).filter_map(|(column, tally)| Some((column, tally.as_ref()?)));
    let field = |column: &FileColumn| column.physical.clone().with_nullable(true);
    let fields: Vec<Field> = kept().map(|(column, _)| field(column)).collect();
    let arrays = kept().map(|(column, tally)| two_rows(column, tally.bounds.as_ref())).collect();
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(2));
    let bounds = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
    let context = &layout.context;
    let mut accumulator = FileStatsAccumulator::new(context.stats_columns(), context.physical_data_schema());
    accumulator.merge(&bounds)?;
    let shown = accumulator.finish()?.ok_or_else(|| KernelError::generic("no rows, no statistics"))?;
    let count = |count: u64| Arc::new(Int64Array::from(vec![i64::try_from(count).unwrap_or(i64::MAX)])) as ArrayRef;
    let mut columns = Vec::new();
    for (field, column) in shown.fields().iter().zip(shown.columns()) {
        columns.push(match (field.name().as_str(), column.as_any().downcast_ref::<StructArray>()) {
            ("numRecords", _) => count(rows),
            ("nullCount", Some(nulls)) => {
                let of = |name: &str| kept().find(|(column, _)| column.physical.name() == name);
                let counts =
                    nulls.fields().iter().map(|field| count(of(field.name()).map_or(0, |(_, tally)| tally.nulls)));
                Arc::new(StructArray::try_new(nulls.fields().clone(), counts.collect(), None)?)
            }
            _ => Arc::clone(column),
        });
    }
    Ok(StructArray::try_new(shown.fields().clone(), columns, None)?)
}

/// The least and the greatest value of a column as an array; NULLs where there are none.
fn two_rows(column: &FileColumn, bounds: Option<&Bounds>) -> ArrayRef {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    match (bounds, column.physical.data_type()) {
        (Some(&Bounds::Int(least, greatest)), arrow_schema::DataType::Timestamp(..)) => {
            Arc::new(TimestampMicrosecondArray::from(vec![least, greatest]).with_timezone("UTC"))
        }
        (Some(&Bounds::Int(least, greatest)), _) => Arc::new(Int64Array::from(vec![least, greatest])),
        (Some(&Bounds::Double(least, greatest)), _) => Arc::new(Float64Array::from(vec![least, greatest])),
        (Some(Bounds::Text(least, greatest)), _) => Arc::new(StringArray::from(vec![text(least), text(greatest)])),
        (None, data_type) => new_null_array(data_type, 2),
    }
}

fn unwritten(layout: &FileLayout, error: ParquetError) -> Fault {
    Fault::bug(format!("cannot encode a file for table `{}`", layout.label)).because(error)
}
