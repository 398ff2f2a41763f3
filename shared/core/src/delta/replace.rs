//! Files of a table put in the place of others that hold the same rows: one commit, which changes no data.
//!
//! Whoever appends meanwhile is not in the way, nor are we in theirs: a lost race is followed by the next try, on the
//! newer version, as long as all files that are to go are still there as they were, and the new ones still fit the table.
//! Else nothing happens: the table is right as it is.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::transaction::{Transaction, UpdateTableOperation};
use delta_kernel::{FilteredEngineData, KernelResult};
use hashbrown::HashSet;

use super::append::{Tried, fits, ours, patiently, understood};
use super::data_file::DataFile;
use super::faults::kernel_fault;
use super::layout::{file_columns, write_context};
use super::table::Table;
use super::{ENGINE_INFO, gate};
use crate::clock::{self, Deadline};
use crate::fault::{Fault, FaultKind};
use crate::gates::{self, Closed};

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// It stands in the log.
    Committed {
        /// The version of our commit.
        version: u64,
    },
    /// Somebody else changed the table so that it is none of it any more; nothing was committed.
    Overtaken,
    /// The table's gate is closed. Nothing was committed, as far as the log says.
    Gated(Closed),
}

/// Commits the removal of `old` files, by their paths in the log, and the addition of `new` ones that hold their rows.
///
/// After anything but `Committed` the new files may only be deleted by [`super::sweep_uncommitted`].
///
/// # Errors
/// Setup when the table's protocol refuses; Again when the deadline passed, with what the last try answered.
pub(crate) fn replace(
    table: &mut Table,
    old: &HashSet<String>,
    new: &[DataFile],
    deadline: Deadline,
) -> Result<Replaced, Fault> {
    let paths: Vec<&str> = new.iter().map(DataFile::path).collect();
    table.begin_tries(&paths);
    let lake = table.lake.clone();
    let (schema, name) = (table.schema.clone(), table.name.clone());
    let what = format!("cannot compact table `{schema}.{name}`");
    let mut last_answer: Option<Fault> = None;
    let mut attempt = 0;
    loop {
        if deadline.is_over() {
            let fault = Fault::again(format!("{what} before the deadline ({attempt} tries)"));
            return Err(match last_answer {
                Some(answer) => fault.because(answer),
                None => fault,
            });
        }
        let Some(transaction) = begin(table, old, new)? else { return Ok(Replaced::Overtaken) };
        // Nothing but the try may come between this look and its end: see `commit`.
        if let Some(closed) = gates::look(&lake, &schema, &name, None)? {
            return Ok(Replaced::Gated(closed));
        }
        table.note_try(table.version() + 1);
        let answer = match understood(transaction.commit(lake.engine().as_ref())) {
            Tried::Committed(version, snapshot) => {
                lake.counters().committed();
                match snapshot {
                    Some(snapshot) => table.adopt(snapshot),
                    // Committed is committed, even if the table cannot be read back now.
                    None => drop(table.refresh()),
                }
                return Ok(Replaced::Committed { version });
            }
            Tried::Unknown(answer) => answer,
            Tried::Moved => None,
        };
        let added = patiently(deadline, || table.refresh_watching(&paths))?;
        if let Some(version) = ours(&added, &paths) {
            lake.counters().committed();
            return Ok(Replaced::Committed { version });
        }
        match answer {
            None => lake.counters().lost_race(),
            Some(error) => {
                let fault = kernel_fault(&what, lake.url(), error);
                if fault.kind() != FaultKind::Again {
                    return Err(fault);
                }
                last_answer = Some(fault);
            }
        }
        clock::sleep(clock::jitter(attempt), deadline);
        attempt += 1;
    }
}

/// The commit on the table as last read; none when it is none of that table any more.
fn begin(table: &Table, old: &HashSet<String>, new: &[DataFile]) -> Result<Option<Transaction>, Fault> {
    let engine = table.lake.engine().as_ref();
    let builder = Arc::clone(&table.snapshot).update_table(UpdateTableOperation::Optimize, ENGINE_INFO, false);
    let built = builder.build(engine, Box::new(FileSystemCommitter::new()));
    let mut transaction = gate::refused(table, "Inlet cannot compact", &[], built)?;
    gate::check(table, &transaction)?;
    let fault = |error| kernel_fault("cannot lay out files", table.url(), error);
    let columns = write_context(&transaction).and_then(|context| file_columns(&context)).map_err(fault)?;
    let removals = removals(table, old).map_err(fault)?;
    let found: usize = removals.iter().map(|files| files.selection_vector().iter().filter(|gone| **gone).count()).sum();
    if found < old.len() || !fits(new, &columns) {
        return Ok(None);
    }
    removals.into_iter().for_each(|files| transaction.remove_files(files));
    new.iter().for_each(|file| transaction.add_files(Box::new(ArrowEngineData::new(file.add.clone()))));
    Ok(Some(transaction))
}

/// The files that are to go, as the log names them now. One that has got a deletion vector is another one.
fn removals(table: &Table, old: &HashSet<String>) -> KernelResult<Vec<FilteredEngineData>> {
    let scan = Arc::clone(&table.snapshot).scan_builder().build()?;
    let mut removals = Vec::new();
    for files in scan.scan_metadata(table.lake.engine().as_ref())? {
        let (data, live) = files?.scan_files.into_parts();
        let rows: RecordBatch = data.try_into_record_batch()?;
        let paths = rows.column_by_name("path").and_then(|column| column.as_string_opt::<i32>());
        let vectors = rows.column_by_name("deletionVector").and_then(|column| column.as_struct_opt());
        let is_gone = |row: usize| {
            // Beyond its end all are selected.
            live.get(row).copied().unwrap_or(true)
                && paths.is_some_and(|paths| paths.is_valid(row) && old.contains(paths.value(row)))
                && vectors.is_none_or(|vectors| vectors.is_null(row))
        };
        let gone: Vec<bool> = (0..rows.num_rows()).map(is_gone).collect();
        if gone.contains(&true) {
            removals.push(FilteredEngineData::try_new(Box::new(ArrowEngineData::new(rows)), gone)?);
        }
    }
    Ok(removals)
}
