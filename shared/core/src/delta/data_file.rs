//! Our own Parquet writer beside the kernel.
//!
//! The kernel's matches columns by position, writes uncompressed and asks for every file's size again. This one is
//! handed batches by name, compresses, bounds its memory and keeps what the commit needs, so that a file survives
//! lost races.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, SchemaRef};
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::{FileMeta, KernelError};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use url::Url;
use uuid::Uuid;

use super::ENGINE_INFO;
use super::faults::{kernel_fault, store_fault};
use super::lake::Lake;
use super::layout::{FileColumn, FileLayout, has_statistics};
use super::upload_sink::UploadSink;
use crate::clock;
use crate::fault::Fault;

/// A row group is closed at this size: memory is a function of open columns, not of the upload's size. Smaller groups
/// cost 4-15 % in size and speed, larger ones only memory.
pub const ROW_GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Each open column holds a dictionary up to this size; columns with many values fall back to plain early. The most
/// valuable setting found: the default of 1 MiB cost 40 % more time and twice the memory.
const DICTIONARY_BYTES: usize = 16 * 1024;
/// Each open column holds a page up to this size; a quarter of the default, which few columns reach within a group.
const PAGE_BYTES: usize = 256 * 1024;
/// What each open column takes beyond what the writer counts (its compressor, mostly): measured 19 KB for a column
/// without a value.
const OPEN_COLUMN_BYTES: usize = 20 * 1024;
/// Higher levels cost a third more time for 2 % less.
const ZSTD_LEVEL: i32 = 1;

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
}

/// Writes one file. A writer that is not finished must be aborted.
pub struct FileWriter {
    layout: Arc<FileLayout>,
    writer: ArrowWriter<Vec<u8>>,
    statistics: FileStatsAccumulator,
    sink: UploadSink,
    url: Url,
    key: Path,
    rows: u64,
    /// Where the layout's columns stand in batches of the schema met last.
    places: Option<(SchemaRef, Vec<Option<usize>>)>,
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
        let unwritable = |error: ParquetError| {
            Fault::bug(format!("the columns of table `{}` cannot be Parquet", layout.label)).because(error)
        };
        // Asked once per file: under column mapping each call draws another folder.
        let folder = layout.context.write_dir();
        let bad_name = || Fault::bug(format!("no file name under {folder}"));
        let url = folder.join(&format!("part-{}.zstd.parquet", Uuid::new_v4())).map_err(|_| bad_name())?;
        let key = Path::from_url_path(url.path()).map_err(|_| bad_name())?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).map_err(unwritable)?))
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .set_created_by(ENGINE_INFO.to_owned());
        // Least and greatest of a text column cost a comparison per value and skip nothing, but where tables keep
        // statistics because rows are looked up by it.
        for field in layout.physical.fields() {
            if *field.data_type() != DataType::Utf8 || has_statistics(&layout.context, field.name()) {
                let path = ColumnPath::new(vec![field.name().clone()]);
                properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Chunk);
            }
        }
        // Readers take types from the Delta schema; Arrow's copy of it would be dead weight in every file.
        let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&layout.physical), options).map_err(unwritable)?;
        let statistics =
            FileStatsAccumulator::new(layout.context.stats_columns(), layout.context.physical_data_schema());
        let sink = UploadSink::new(lake, key.clone());
        Ok(Self { layout, writer, statistics, sink, url, key, rows: 0, places: None })
    }

    /// Writes a batch, matched by name: a missing column is NULL, an unknown one a bug.
    ///
    /// # Errors
    /// Setup for a NULL in a NOT NULL column; a bug for a column that the layout does not have in this name and type;
    /// what the store answers.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.in_file_order(batch)?;
        self.statistics
            .merge(&batch)
            .map_err(|error| kernel_fault("cannot keep statistics for a file", &self.url, error))?;
        self.writer.write(&batch).map_err(|error| unwritten(&self.layout, error))?;
        self.rows += batch.num_rows() as u64;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.close_row_group()?;
        }
        Ok(())
    }

    /// Bytes held in memory: open column writers, and finished bytes that the store has not got yet.
    pub fn buffered_bytes(&self) -> usize {
        let open_columns = if self.writer.in_progress_rows() > 0 { self.layout.columns.len() } else { 0 };
        let encoding = self.writer.memory_size() + open_columns * OPEN_COLUMN_BYTES;
        encoding + self.writer.inner().capacity() + self.sink.buffered_bytes()
    }

    /// Closes the open row group, which frees most of the writer's memory.
    ///
    /// # Errors
    /// What the store answers.
    pub fn close_row_group(&mut self) -> Result<(), Fault> {
        self.writer.flush().map_err(|error| unwritten(&self.layout, error))?;
        // The writer only ever appends to the buffer and counts by itself: what is finished can be taken away.
        self.sink
            .send_if_large(self.writer.inner_mut())
            .map_err(|error| store_fault("cannot write a data file", &self.url, error))
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
        let Self { layout, mut writer, statistics, mut sink, url, key, rows, .. } = self;
        let mut upload = || {
            if rows == 0 {
                return Err(Fault::bug(format!("a file without rows for table `{}`", layout.label)));
            }
            writer.finish().map_err(|error| unwritten(&layout, error))?;
            let rest = std::mem::take(writer.inner_mut());
            sink.finish(rest).map_err(|error| store_fault("cannot write a data file", &url, error))
        };
        let size = upload().inspect_err(|_| sink.abort())?;
        let describe = || {
            let statistics = statistics.finish()?.ok_or_else(|| KernelError::generic("no rows, no statistics"))?;
            let meta = FileMeta::new(url.clone(), clock::now() / 1_000, size);
            let add = build_add_file_metadata(DataFileMetadata::new(meta, statistics), &layout.context)?;
            Ok((layout.context.resolve_file_path(&url)?, add.try_into_record_batch()?))
        };
        let (path, add) = describe().map_err(|error| kernel_fault("cannot describe a data file", &url, error))?;
        Ok(DataFile { path, key, size, rows, add, columns: Arc::new(layout.columns.clone()) })
    }

    /// Gives up on the file: what was uploaded of it is removed, as far as the store obeys.
    pub fn abort(mut self) {
        self.sink.abort();
    }

    fn in_file_order(&mut self, batch: &RecordBatch) -> Result<RecordBatch, Fault> {
        let known = self.places.as_ref().is_some_and(|(schema, _)| Arc::ptr_eq(schema, batch.schema_ref()));
        if !known {
            self.places = Some((batch.schema(), self.find_places(batch.schema_ref())?));
        }
        let places = self.places.as_ref().map_or(&[][..], |(_, places)| places);
        let label = &self.layout.label;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(places.len());
        for (column, place) in self.layout.columns.iter().zip(places) {
            let array = match place {
                Some(place) => Arc::clone(batch.column(*place)),
                None => new_null_array(column.physical.data_type(), batch.num_rows()),
            };
            if !column.physical.is_nullable() && array.null_count() > 0 {
                let name = &column.name;
                return Err(Fault::setup(format!(
                    "column `{name}` of table `{label}` is NOT NULL, a row has no value for it"
                ))
                .hint(format!("run: ALTER TABLE {label} ALTER COLUMN {name} DROP NOT NULL")));
            }
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::clone(&self.layout.physical), arrays)
            .map_err(|error| Fault::bug(format!("a batch does not fit table `{label}`")).because(error))
    }

    fn find_places(&self, schema: &SchemaRef) -> Result<Vec<Option<usize>>, Fault> {
        let label = &self.layout.label;
        for field in schema.fields() {
            let fits = |column: &&FileColumn| {
                column.ours && column.name == *field.name() && column.physical.data_type() == field.data_type()
            };
            if !self.layout.columns.iter().any(|column| fits(&column)) {
                let (name, data_type) = (field.name(), field.data_type());
                return Err(Fault::bug(format!("table `{label}` has no column `{name}` of Arrow type {data_type}")));
            }
        }
        Ok(self.layout.columns.iter().map(|column| schema.index_of(&column.name).ok()).collect())
    }
}

fn unwritten(layout: &FileLayout, error: ParquetError) -> Fault {
    Fault::bug(format!("cannot encode a file for table `{}`", layout.label)).because(error)
}
