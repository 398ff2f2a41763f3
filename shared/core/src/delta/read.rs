//! Rows of a table, for the few look-ups that the append itself needs: `_loads`, and ids that landed before.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use delta_kernel::arrow::compute::filter_record_batch;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::expressions::Scalar;
use delta_kernel::scan::Scan;
use delta_kernel::scan::state::{ScanFile, transform_to_logical};
use delta_kernel::{Engine, Expression, FileMeta, FilteredEngineData, KernelError, KernelResult, Predicate};
use hashbrown::HashSet;
use object_store::path::Path;
use url::Url;

use super::faults::kernel_fault;
use super::table::Table;
use crate::fault::Fault;

/// Up to so many values the skipping predicate names each; beyond, it names their range.
const VALUES_IN_PREDICATE: usize = 32;

/// See [`Table::read`].
pub(super) fn read(
    table: &Table,
    columns: &[&str],
    only: Option<(&str, &[String])>,
    each: &mut dyn FnMut(&RecordBatch) -> Result<(), Fault>,
    max_files: usize,
) -> Result<(), Fault> {
    let label = table.label();
    let fault = |error| kernel_fault(&format!("cannot read table `{label}`"), table.url(), error);
    let mut wanted = columns.to_vec();
    if let Some((column, _)) = only.filter(|(column, _)| !columns.contains(column)) {
        wanted.push(column);
    }
    let snapshot = &table.snapshot;
    let schema = snapshot.schema().project(&wanted).map_err(fault)?;
    let predicate = only.and_then(|(column, values)| skipping_predicate(column, values)).map(Arc::new);
    let scan = Arc::clone(snapshot).scan_builder().with_schema(schema).with_predicate(predicate).build();
    let scan = scan.map_err(fault)?;
    let engine = table.lake.engine();
    let files = files_of(&scan, engine.as_ref()).map_err(fault)?;
    if files.len() > max_files {
        let needed = files.len();
        return Err(Fault::setup(format!(
            "{needed} files of table `{label}` would have to be read, the limit is {max_files}"
        ))
        .hint(format!("run: OPTIMIZE {label}, or allow more files")));
    }
    let values: Option<HashSet<&str>> = only.map(|(_, values)| values.iter().map(String::as_str).collect());
    let kept: Vec<usize> = (0..columns.len()).collect();
    for file in files {
        let mut emit = |batch: RecordBatch| -> Result<(), Fault> {
            let batch = match (only, &values) {
                (Some((column, _)), Some(values)) => exactly(&batch, column, values).map_err(fault)?,
                _ => batch,
            };
            if batch.num_rows() == 0 {
                return Ok(());
            }
            let batch = batch.project(&kept).map_err(|error| fault(error.into()))?;
            each(&batch)
        };
        read_file(&scan, engine, &file, &mut emit, &fault)?;
    }
    Ok(())
}

/// See [`Table::data_files`].
pub(super) fn data_files(table: &Table) -> Result<HashSet<Path>, Fault> {
    let fault = |error| kernel_fault(&format!("cannot read table `{}`", table.label()), table.url(), error);
    let scan = Arc::clone(&table.snapshot).scan_builder().build().map_err(fault)?;
    let files = files_of(&scan, table.lake.engine().as_ref()).map_err(fault)?;
    files.iter().map(|file| place_of(scan.table_root(), &file.path).map_err(fault)).collect()
}

/// Where a file lies, as a key of the store, by its path in the log of the table at `root`.
pub(super) fn place_of(root: &Url, path: &str) -> KernelResult<Path> {
    let url = root.join(path).map_err(KernelError::generic_err)?;
    Path::from_url_path(url.path()).map_err(KernelError::generic_err)
}

fn skipping_predicate(column: &str, values: &[String]) -> Option<Predicate> {
    let cell = || Expression::column([column]);
    let literal = |value: &String| Expression::literal(Scalar::String(value.clone()));
    if values.len() <= VALUES_IN_PREDICATE {
        return Some(Predicate::or_from(values.iter().map(|value| cell().eq(literal(value)))));
    }
    let (least, greatest) = (values.iter().min()?, values.iter().max()?);
    Some(Predicate::and(cell().ge(literal(least)), cell().le(literal(greatest))))
}

pub(super) fn files_of(scan: &Scan, engine: &dyn Engine) -> KernelResult<Vec<ScanFile>> {
    let mut files = Vec::new();
    for found in scan.scan_metadata(engine)? {
        files = found?.visit_scan_files(files, Vec::push)?;
    }
    Ok(files)
}

pub(super) fn read_file(
    scan: &Scan,
    engine: &Arc<dyn Engine>,
    file: &ScanFile,
    emit: &mut dyn FnMut(RecordBatch) -> Result<(), Fault>,
    fault: &dyn Fn(KernelError) -> Fault,
) -> Result<(), Fault> {
    let root = scan.table_root();
    let location = root.join(&file.path).map_err(|error| fault(KernelError::generic_err(error)))?;
    let size = u64::try_from(file.size).unwrap_or(0);
    let meta = FileMeta { location, last_modified: file.modification_time, size };
    let mut live = file.dv_info.get_selection_vector(engine.as_ref(), root).map_err(fault)?;
    let physical = scan.physical_schema();
    let batches = engine.parquet_handler().read_parquet_files(&[meta], Arc::clone(physical), None).map_err(fault)?;
    for batch in batches {
        let one = || {
            let transform = file.transform.clone();
            let logical = transform_to_logical(engine.as_ref(), batch?, physical, scan.logical_schema(), transform)?;
            let Some(rows) = live.as_mut() else { return logical.try_into_record_batch() };
            // The vector ends with the last deleted row; rows beyond it live.
            let rest = rows.split_off(rows.len().min(logical.len()));
            let mut of_batch = std::mem::replace(rows, rest);
            of_batch.resize(logical.len(), true);
            FilteredEngineData::try_new(logical, of_batch)?.apply_selection_vector()?.try_into_record_batch()
        };
        emit(one().map_err(fault)?)?;
    }
    Ok(())
}

/// The rows whose `column` is one of the values.
fn exactly(batch: &RecordBatch, column: &str, values: &HashSet<&str>) -> KernelResult<RecordBatch> {
    let texts = batch.column_by_name(column).and_then(|column| column.as_string_opt::<i32>());
    let texts = texts.ok_or_else(|| KernelError::unexpected_column_type(format!("`{column}` is no string column")))?;
    let keep: BooleanArray =
        (0..texts.len()).map(|row| Some(texts.is_valid(row) && values.contains(texts.value(row)))).collect();
    Ok(filter_record_batch(batch, &keep)?)
}
