//! What the tests here share: a lake in a folder that goes away, batches, a store that plays tricks.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::TimestampMicrosecondArray;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use futures::stream::BoxStream;
use inlet_events::{ColumnType, Fit, RowGroup};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;

use super::listing::Answer;
use super::types::arrow_type;
use super::{Append, Appended, DataFile, Encoder, FileLayout, FileWriter, Lake, Table, commit};
use crate::clock::Deadline;
use crate::fault::Fault;

pub(crate) const SCHEMA: &str = "web";

/// A lake in a temporary folder, over a store that can be told to play tricks.
pub(crate) struct TestLake {
    pub(crate) lake: Lake,
    pub(crate) tricks: Arc<Tricks>,
    pub(crate) folder: TempDir,
    _runtime: Runtime,
}

impl TestLake {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        Self::over(&url, Tricks::over(LocalFileSystem::new()), folder)
    }

    /// A lake at any address over any store.
    pub(super) fn at(url: &str, tricks: Tricks) -> Self {
        Self::over(&Url::parse(url).unwrap(), tricks, tempfile::tempdir().unwrap())
    }

    fn over(url: &Url, tricks: Tricks, folder: TempDir) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tricks = Arc::new(tricks);
        let store = Arc::clone(&tricks) as Arc<dyn ObjectStore>;
        let lake = Lake::with_store(url, store, runtime.handle().clone()).unwrap();
        Self { lake, tricks, folder, _runtime: runtime }
    }

    pub(crate) fn open(&self, name: &str) -> Option<Table> {
        Table::open(&self.lake, SCHEMA, name).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(SCHEMA).join(name)
    }

    /// The actions of one commit, as they stand in the log.
    pub(super) fn log(&self, name: &str, version: u64) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path(name).join(format!("_delta_log/{version:020}.json"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Writes version 0 by hand: a protocol (and, if any, further actions) over the columns `id` and `n`.
    pub(super) fn forge(&self, name: &str, protocol: &str, schema: &str, configuration: &str, further: &str) {
        let folder = self.path(name).join("_delta_log");
        std::fs::create_dir_all(&folder).unwrap();
        let schema = serde_json::to_string(schema).unwrap();
        let text = format!(
            "{{\"commitInfo\":{{\"timestamp\":1,\"inCommitTimestamp\":1,\"operation\":\"CREATE TABLE\"}}}}\n\
             {{\"protocol\":{protocol}}}\n\
             {{\"metaData\":{{\"id\":\"5fba94ed-9794-4965-ba6e-6ee3c0d22af9\",\"format\":{{\"provider\":\"parquet\",\
             \"options\":{{}}}},\"schemaString\":{schema},\"partitionColumns\":[],\"configuration\":{configuration},\
             \"createdTime\":1}}}}\n{further}"
        );
        std::fs::write(folder.join(format!("{:020}.json", 0)), text).unwrap();
    }

    /// One file for a table (or for one that does not exist yet), holding one batch.
    pub(super) fn file(
        &self,
        name: &str,
        table: Option<&Table>,
        new: &[(String, ColumnType)],
        batch: &RecordBatch,
    ) -> DataFile {
        let layout = match table {
            Some(table) => FileLayout::of_existing(&self.lake, table, new).unwrap(),
            None => FileLayout::of_new(&self.lake, SCHEMA, name, new).unwrap(),
        };
        let mut writer = FileWriter::create(&self.lake, layout).unwrap();
        write(&mut writer, batch).unwrap();
        writer.finish().unwrap()
    }

    /// Lays out, writes and commits one batch; new columns are those of the batch that the table lacks.
    pub(super) fn append(
        &self,
        name: &str,
        table: &mut Option<Table>,
        app_id: &str,
        batch: &RecordBatch,
    ) -> std::result::Result<Appended, Fault> {
        let columns = columns_of(batch);
        let new: Vec<_> = match table.as_ref() {
            Some(table) => {
                let known = |name: &String| table.columns().iter().any(|column| column.name == *name);
                columns.iter().filter(|(name, _)| !known(name)).cloned().collect()
            }
            None => columns.clone(),
        };
        let files = [self.file(name, table.as_ref(), &new, batch)];
        let append = Append { app_ids: vec![app_id.to_owned()], new_columns: new, files: &files, ..Append::default() };
        commit(&self.lake, SCHEMA, name, table, &columns, &append, soon())
    }

    /// The rows of a table as text, sorted; one string per row.
    pub(crate) fn rows(&self, table: &Table, columns: &[&str]) -> Vec<String> {
        let mut rows = Vec::new();
        table
            .read(
                columns,
                None,
                &mut |batch| {
                    rows.extend(texts(batch));
                    Ok(())
                },
                1_000,
            )
            .unwrap();
        rows.sort_unstable();
        rows
    }
}

/// Writes a batch as a row group.
pub(super) fn write(writer: &mut FileWriter, batch: &RecordBatch) -> std::result::Result<(), Fault> {
    let types = columns_of(batch);
    let columns: Vec<(String, inlet_events::Column)> = types
        .into_iter()
        .zip(batch.columns())
        .map(|((name, column_type), array)| (name, values_of(column_type, array)))
        .collect();
    let columns = columns.iter().map(|(name, column)| (name.as_str(), column)).collect();
    writer.write(&RowGroup { rows: batch.num_rows(), columns }, &mut Encoder::new().unwrap())
}

/// An array as a column of ours.
fn values_of(column_type: ColumnType, array: &ArrayRef) -> inlet_events::Column {
    let mut column = inlet_events::Column::new(column_type);
    for row in (0..array.len()).filter(|&row| array.is_valid(row)) {
        let fit = match column_type {
            ColumnType::Boolean => column.push_text(row, array.as_boolean().value(row).to_string().as_bytes()),
            ColumnType::BigInt => column.push_bigint(row, array.as_primitive::<Int64Type>().value(row)),
            ColumnType::Double => column.push_double(row, array.as_primitive::<Float64Type>().value(row)),
            ColumnType::String => column.push_text(row, array.as_string::<i32>().value(row).as_bytes()),
            ColumnType::Timestamp => {
                column.push_micros(row, array.as_primitive::<TimestampMicrosecondType>().value(row))
            }
        };
        assert_eq!(fit, Fit::Exact);
    }
    column
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

pub(super) fn named(columns: &[(&str, ColumnType)]) -> Vec<(String, ColumnType)> {
    columns.iter().map(|(name, column_type)| ((*name).to_owned(), *column_type)).collect()
}

pub(super) fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub(super) fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub(super) fn doubles(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

pub(super) fn booleans(values: &[bool]) -> ArrayRef {
    Arc::new(BooleanArray::from(values.to_vec()))
}

pub(super) fn times(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

pub(super) fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.iter().map(|(_, array)| Arc::clone(array)).collect()).unwrap()
}

pub(super) fn columns_of(batch: &RecordBatch) -> Vec<(String, ColumnType)> {
    let all = [ColumnType::Boolean, ColumnType::BigInt, ColumnType::Double, ColumnType::String, ColumnType::Timestamp];
    let schema = batch.schema();
    let column = |field: &Arc<Field>| {
        let column_type = all.into_iter().find(|column_type| arrow_type(*column_type) == *field.data_type());
        (field.name().clone(), column_type.unwrap())
    };
    schema.fields().iter().map(column).collect()
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let cell = |array: &ArrayRef, row: usize| {
        if array.is_null(row) {
            "-".to_owned()
        } else if let Some(texts) = array.as_string_opt::<i32>() {
            texts.value(row).to_owned()
        } else if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
            numbers.value(row).to_string()
        } else if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
            numbers.value(row).to_string()
        } else if let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() {
            times.value(row).to_string()
        } else {
            array.as_boolean().value(row).to_string()
        }
    };
    let row = |row| batch.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

/// What happens to the next put of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trick {
    /// It takes effect, the answer is an error.
    LoseAnswer,
    /// It takes effect, the answer is that the version exists: the client asked again by itself.
    BeatMyself,
    /// It takes no effect, the answer is that the version exists: S3's 409 for two puts in flight.
    Collide,
    /// It takes no effect, the answer is a refusal.
    Refuse,
    /// It takes no effect, the answer is an error.
    Fail,
}

/// A local store that plays tricks on puts into a Delta log.
#[derive(Debug)]
pub(crate) struct Tricks {
    inner: Box<dyn ObjectStore>,
    /// For the next commits, the last of them first.
    next: Mutex<Vec<Option<Trick>>>,
    /// Listings from an offset are empty, as OneLake's are.
    hides_offsets: bool,
}

impl Tricks {
    pub(super) fn over(store: impl ObjectStore) -> Self {
        Self { inner: Box::new(store), next: Mutex::default(), hides_offsets: false }
    }

    pub(super) fn hiding_offsets(store: impl ObjectStore) -> Self {
        Self { hides_offsets: true, ..Self::over(store) }
    }

    pub(crate) fn play(&self, trick: Trick) {
        self.next.lock().unwrap().push(Some(trick));
    }

    /// Plays a trick on the commit after so many others.
    pub(crate) fn play_at(&self, after: usize, trick: Trick) {
        let mut next = vec![Some(trick)];
        next.resize(after + 1, None);
        *self.next.lock().unwrap() = next;
    }
}

impl fmt::Display for Tricks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tricks")
    }
}

impl ObjectStore for Tricks {
    fn put_opts<'s, 'p, 'a>(&'s self, path: &'p Path, payload: PutPayload, options: PutOptions) -> Answer<'a, PutResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        let is_commit = options.mode == PutMode::Create && path.as_ref().contains("/_delta_log/");
        let trick = if is_commit { self.next.lock().unwrap().pop().flatten() } else { None };
        Box::pin(async move {
            let lost = || Error::Generic { store: "Tricks", source: "connection reset".into() };
            let exists = || Error::AlreadyExists { path: path.to_string(), source: "412".into() };
            match trick {
                None => self.inner.put_opts(path, payload, options).await,
                Some(Trick::LoseAnswer) => self.inner.put_opts(path, payload, options).await.and(Err(lost())),
                Some(Trick::BeatMyself) => self.inner.put_opts(path, payload, options).await.and(Err(exists())),
                Some(Trick::Collide) => Err(exists()),
                Some(Trick::Fail) => Err(lost()),
                Some(Trick::Refuse) => Err(Error::PermissionDenied { path: path.to_string(), source: "403".into() }),
            }
        })
    }

    fn put_multipart_opts<'s, 'p, 'a>(
        &'s self,
        path: &'p Path,
        options: PutMultipartOptions,
    ) -> Answer<'a, Box<dyn MultipartUpload>>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        self.inner.put_multipart_opts(path, options)
    }

    fn get_opts<'s, 'p, 'a>(&'s self, path: &'p Path, options: GetOptions) -> Answer<'a, GetResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        self.inner.get_opts(path, options)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.hides_offsets {
            return Box::pin(futures::stream::empty());
        }
        self.inner.list_with_offset(prefix, offset)
    }

    fn list_with_delimiter<'s, 'p, 'a>(&'s self, prefix: Option<&'p Path>) -> Answer<'a, ListResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        self.inner.list_with_delimiter(prefix)
    }

    fn copy_opts<'s, 'f, 't, 'a>(&'s self, from: &'f Path, to: &'t Path, options: CopyOptions) -> Answer<'a, ()>
    where
        's: 'a,
        'f: 'a,
        't: 'a,
        Self: 'a,
    {
        self.inner.copy_opts(from, to, options)
    }
}
