//! Files that were removed from a table and that readers of an earlier version may still read. One of the four files
//! that use the kernel's internal API.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::schema::{DataType, StructField, StructType};
use delta_kernel::{KernelError, KernelResult};
use hashbrown::HashSet;
use object_store::path::Path;

use super::faults::kernel_fault;
use super::read::place_of;
use super::table::Table;
use crate::clock::Micros;
use crate::fault::Fault;

/// Where the files lie that were removed from a table since then, as far as its log tells: it forgets them after the
/// table's `delta.deletedFileRetentionDuration` (default 7 days).
///
/// # Errors
/// What the store answers.
pub(super) fn removed_since(table: &Table, since: Micros) -> Result<HashSet<Path>, Fault> {
    read(table, since / 1_000)
        .map_err(|error| kernel_fault("cannot read which files were removed from the table", table.url(), error))
}

fn read(table: &Table, since_ms: i64) -> KernelResult<HashSet<Path>> {
    let (path, when) = ("path", "deletionTimestamp");
    let of_file = [StructField::nullable(path, DataType::STRING), StructField::nullable(when, DataType::LONG)];
    let action = StructField::nullable("remove", StructType::try_new(of_file)?);
    let schema = Arc::new(StructType::try_new([action])?);
    let mut places = HashSet::new();
    for batch in table.snapshot.log_segment().read_actions(table.lake.engine().as_ref(), schema)? {
        let batch = batch?.actions.try_into_record_batch()?;
        let action = batch.column_by_name("remove").and_then(|column| column.as_struct_opt());
        let member = |name: &str| action.and_then(|action| action.column_by_name(name));
        let paths = member(path).and_then(|column| column.as_string_opt::<i32>());
        let times = member(when).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(action), Some(paths), Some(times)) = (action, paths, times) else {
            return Err(KernelError::generic("the log's `remove` has no path and no time"));
        };
        for row in (0..batch.num_rows()).filter(|&row| action.is_valid(row) && paths.is_valid(row)) {
            // One that does not say when stays.
            if times.is_null(row) || times.value(row) >= since_ms {
                places.insert(place_of(table.url(), paths.value(row))?);
            }
        }
    }
    Ok(places)
}
