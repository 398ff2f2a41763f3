//! One Parquet file, read in batches with only the columns that are asked for, by the Parquet reader alone.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::delta::{Lake, store_fault};
use crate::fault::Fault;

/// Why a file, or a table, could not be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// It is not there.
    Missing,
    /// It is there and damaged, or of a kind that cannot be read; what the reader said.
    Damaged(String),
    /// The store did not answer, or refused: nothing is known about the file.
    Fault(Fault),
}

impl Broken {
    /// An error of the store about a file.
    pub(super) fn of_store(lake: &Lake, path: &Path, error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            // A local disk has no passing errors; what a bucket says may pass.
            error if lake.url().scheme() == "file" => Self::Damaged(error.to_string()),
            error => {
                let mut place = lake.url().clone();
                place.set_path(path.as_ref());
                Self::Fault(store_fault("cannot read", &place, error))
            }
        }
    }

    fn of_parquet(lake: &Lake, path: &Path, error: ParquetError) -> Self {
        match error {
            ParquetError::External(error) => match error.downcast::<object_store::Error>() {
                Ok(error) => Self::of_store(lake, path, *error),
                Err(error) => Self::Damaged(error.to_string()),
            },
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// A file and its size as the store says.
#[derive(Clone, Debug)]
pub(super) struct ParquetFile {
    pub(super) path: Path,
    pub(super) size: u64,
}

impl ParquetFile {
    /// Reads columns (all for `None`; names that the file lacks are left out) and answers how many rows the file has.
    /// Text comes as plain strings, however its writer had it.
    pub(super) fn read(
        &self,
        lake: &Lake,
        columns: Option<&[&str]>,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), Fault>,
    ) -> Result<u64, Broken> {
        let broken = |error| Broken::of_parquet(lake, &self.path, error);
        let reader = Reader { store: Arc::clone(lake.store()), path: self.path.clone(), size: self.size };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options);
        let builder = lake.wait(builder).map_err(broken)?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let mask = match columns {
            Some(columns) => ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied()),
            None => ProjectionMask::all(),
        };
        let mut batches = builder.with_projection(mask).build().map_err(broken)?;
        while let Some(batch) = lake.wait(batches.next()) {
            each(&batch.map_err(broken)?).map_err(Broken::Fault)?;
        }
        Ok(rows)
    }
}

/// What the Parquet reader asks of a store.
struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(|error| ParquetError::External(error.into())).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let bytes = self.store.get_ranges(&self.path, &ranges).await;
            bytes.map_err(|error| ParquetError::External(error.into()))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let size = self.size;
        ParquetMetaDataReader::new().load_and_finish(self, size).map_ok(Arc::new).boxed()
    }
}
