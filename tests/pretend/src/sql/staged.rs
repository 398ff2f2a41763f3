//! Staged Parquet as columns, and columns as Parquet.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use deltalake::arrow::compute::concat_batches;
use deltalake::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::arrow::record_batch::RecordBatch;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::Only;
use super::failures::not_here;
use super::project::Column;
use crate::lake::{DataFile, Log, Place};
use crate::statement::Failure;
use crate::types::SqlType;

/// A file of a volume.
pub(super) struct Staged {
    /// `/Volumes/…`
    pub(super) path: String,
    pub(super) bytes: Bytes,
}

/// Each file's rows, all with the same columns: those of the first file, or, merged, those of any.
pub(super) fn read_all(staged: Vec<Staged>, merges: bool) -> Result<Vec<RecordBatch>, Failure> {
    let files = staged.into_iter().map(|file| Ok((read(&file)?, file.path))).collect::<Result<Vec<_>, Failure>>()?;
    let mut fields: Vec<Arc<Field>> = Vec::new();
    for (index, (batch, _)) in files.iter().enumerate() {
        for field in batch.schema_ref().fields() {
            match fields.iter().find(|known| known.name().eq_ignore_ascii_case(field.name())) {
                None if merges || index == 0 => fields.push(Arc::clone(field)),
                None => {}
                Some(known) if known.data_type() == field.data_type() => {}
                Some(known) if merges => {
                    let text = format!(
                        "Failed merging schemas: the column `{}` is {} and {}.",
                        field.name(),
                        known.data_type(),
                        field.data_type()
                    );
                    return Err(Failure::class("CANNOT_MERGE_SCHEMAS", "42KD9", text));
                }
                Some(_) => {
                    let text = format!("Data type mismatches when reading Parquet column <{}>.", field.name());
                    let class = "FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH";
                    return Err(Failure::class(class, "KD001", text));
                }
            }
        }
    }
    let schema = Arc::new(Schema::new(fields));
    files.iter().map(|(batch, path)| under(batch, &schema, path)).collect()
}

fn read(file: &Staged) -> Result<RecordBatch, Failure> {
    let unreadable = |why: String| {
        let text = format!("Error while reading file dbfs:{}: {why}.", file.path);
        Failure::class("FAILED_READ_FILE.CANNOT_READ_FILE_FOOTER", "KD001", text)
    };
    // As any reader sees it: a writer's own notes on its types are Arrow's business.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.bytes.clone(), options);
    let builder = builder.map_err(|error| unreadable(error.to_string()))?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.build().map_err(|error| unreadable(error.to_string()))?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().map_err(|error| unreadable(error.to_string()))?;
    concat_batches(&schema, &batches).map_err(|error| unreadable(error.to_string()))
}

/// A file's rows with these columns; what it lacks is null.
fn under(batch: &RecordBatch, schema: &SchemaRef, path: &str) -> Result<RecordBatch, Failure> {
    let column = |field: &Arc<Field>| {
        let names = batch.schema_ref().fields();
        let at = names.iter().position(|own| own.name().eq_ignore_ascii_case(field.name()));
        at.map_or_else(|| new_null_array(field.data_type(), batch.num_rows()), |at| Arc::clone(batch.column(at)))
    };
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    assemble(fields, schema.fields().iter().map(column).collect())
        .map_err(|failure| Failure { message: format!("{path}: {}", failure.message), ..failure })
}

/// Columns in the order and with the names of a table; what it has and they lack is null.
pub(super) fn to_fields(columns: &[Column], fields: &[Value]) -> Result<RecordBatch, Failure> {
    let rows = columns.first().map_or(0, |column| column.values.len());
    let mut arrays = Vec::new();
    let mut schema = Vec::new();
    for field in fields {
        let name = field["name"].as_str().unwrap_or_default();
        let kind = field["type"].as_str().and_then(SqlType::of_delta);
        let kind =
            kind.ok_or_else(|| not_here(&format!("COPY INTO a table with a column of type {}", field["type"])))?;
        let data_type = arrow_of(kind);
        let own = columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        arrays.push(own.map_or_else(|| new_null_array(&data_type, rows), |own| Arc::clone(&own.values)));
        schema.push(Field::new(name, data_type, true));
    }
    assemble(schema, arrays)
}

fn assemble(fields: Vec<Field>, arrays: Vec<ArrayRef>) -> Result<RecordBatch, Failure> {
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| io(&error))
}

/// Rows as one Parquet file.
pub(super) fn write(batch: &RecordBatch) -> Result<Vec<u8>, Failure> {
    let level = ZstdLevel::default();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let mut content = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut content, batch.schema(), Some(properties)).map_err(|error| io(&error))?;
    writer.write(batch).map_err(|error| io(&error))?;
    writer.close().map_err(|error| io(&error))?;
    Ok(content)
}

/// All rows of a table.
pub(super) async fn rows_of(place: &Place, log: &Log) -> Result<RecordBatch, Failure> {
    let nothing: Vec<Column> = Vec::new();
    let schema = to_fields(&nothing, &log.fields())?.schema();
    let mut batches = Vec::new();
    for file in &log.files {
        batches.push(under(&read_file(place, file).await?, &schema, &file.path)?);
    }
    concat_batches(&schema, &batches).map_err(|error| io(&error))
}

/// The rows of one of its files.
async fn read_file(place: &Place, file: &DataFile) -> Result<RecordBatch, Failure> {
    if file.has_deletion_vector {
        return Err(not_here("a query of the rows of a table with deletion vectors in use"));
    }
    let path = Path::parse(&file.path).map_err(|error| io(&error))?;
    let object = place.store().get(&path).await.map_err(|error| io(&error))?;
    let bytes = object.bytes().await.map_err(|error| io(&error))?;
    read(&Staged { path: file.path.clone(), bytes })
}

/// How many rows of a table hold one of these texts in a column.
pub(super) async fn count_only(place: &Place, log: &Log, only: &Only) -> Result<u64, Failure> {
    Ok(texts_of(place, log, &only.column, only).await?.len() as u64)
}

/// The texts of a column in the rows that hold one of these texts in another.
pub(super) async fn texts_of(
    place: &Place,
    log: &Log,
    column: &str,
    only: &Only,
) -> Result<Vec<Option<String>>, Failure> {
    let mut found = Vec::new();
    for name in [column, &only.column] {
        if !log.fields().iter().any(|field| field["name"] == name) {
            let text = format!("A column, variable, or function parameter with name `{name}` cannot be resolved.");
            return Err(Failure::class("UNRESOLVED_COLUMN.WITH_SUGGESTION", "42703", text));
        }
    }
    for file in &log.files {
        let batch = read_file(place, file).await?;
        let texts = |name: &str| match batch.column_by_name(name).map(|column| column.as_string_opt::<i32>()) {
            // Written before the column was added.
            None => Ok(None),
            Some(Some(texts)) => Ok(Some(texts)),
            Some(None) => Err(not_here(&format!("a query with `{name}`, which is no text"))),
        };
        let Some(told) = texts(&only.column)? else { continue };
        let wanted = texts(column)?;
        for row in 0..batch.num_rows() {
            if told.is_valid(row) && only.values.iter().any(|value| value == told.value(row)) {
                found.push(wanted.filter(|wanted| wanted.is_valid(row)).map(|wanted| wanted.value(row).to_owned()));
            }
        }
    }
    Ok(found)
}

/// A type's form in memory.
pub(super) fn arrow_of(kind: SqlType) -> DataType {
    match kind {
        SqlType::Boolean => DataType::Boolean,
        SqlType::Byte => DataType::Int8,
        SqlType::Short => DataType::Int16,
        SqlType::Int => DataType::Int32,
        SqlType::Long => DataType::Int64,
        SqlType::Float => DataType::Float32,
        SqlType::Double => DataType::Float64,
        SqlType::Decimal(precision, scale) => DataType::Decimal128(precision, scale.cast_signed()),
        SqlType::String => DataType::Utf8,
        SqlType::Binary => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        SqlType::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// The type of a column of a file.
pub(super) fn kind_of(data_type: &DataType) -> Option<SqlType> {
    Some(match data_type {
        DataType::Boolean => SqlType::Boolean,
        DataType::Int8 => SqlType::Byte,
        DataType::Int16 => SqlType::Short,
        DataType::Int32 => SqlType::Int,
        DataType::Int64 => SqlType::Long,
        DataType::Float32 => SqlType::Float,
        DataType::Float64 => SqlType::Double,
        DataType::Utf8 => SqlType::String,
        DataType::Binary => SqlType::Binary,
        DataType::Date32 => SqlType::Date,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => SqlType::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, None) => SqlType::TimestampNtz,
        _ => return None,
    })
}

/// What went wrong beside what was asked.
pub(super) fn io(error: &dyn std::fmt::Display) -> Failure {
    Failure::class("FAILED_EXECUTE", "KD001", format!("{error}."))
}
