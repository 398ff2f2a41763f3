//! The commit: files, ids and new columns go into a table together or not at all, and each id once.
//!
//! A store's answer to a commit is not believed when it is an error. It may have taken effect and got lost; the
//! store's client may have asked again and lost a race against itself. So after every answer but "committed" the log
//! is read again, and it alone says what happened: our files are named there, or our ids stand there by another hand,
//! or neither, and the commit is tried again, at the version after the one that now is the last.
//!
//! Trying again is safe while an earlier try may still be under way: both want the same version, or that version is
//! taken by somebody else.

use std::sync::Arc;

use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::schema::StructField;
use delta_kernel::transaction::{CommitResult, UpdateTableOperation};
use delta_kernel::{KernelError, KernelResult, SnapshotRef};
use hashbrown::HashMap;
use inlet_events::{ColumnType, KnownType};

use super::create::begin_create;
use super::data_file::DataFile;
use super::faults::{kernel_fault, without_backtrace};
use super::lake::Lake;
use super::layout::{FileColumn, file_columns, write_context};
use super::table::Table;
use super::tail::read_tail;
use super::types::{commented, kernel_field};
use super::{ENGINE_INFO, gate};
use crate::clock::{self, Deadline};
use crate::fault::{Fault, FaultKind};
use crate::gates::{self, Closed};

/// After a lost race the wait stops growing at this step (160 ms): an eager winner never waits, and a loser that waits
/// ever longer gets its turn only when the winner is done.
const LONGEST_RACE_STEP: u32 = 4;

/// Columns' comments, by name.
pub type Comments = HashMap<String, String>;

/// What one commit brings to a table.
#[derive(Debug, Default)]
pub struct Append<'a> {
    /// The `txn` ids: one per upload, plus what else must be known as landed together with it.
    pub app_ids: Vec<String>,
    /// Further `txn` ids that are written but not looked for: they may stand there already.
    pub marks: Vec<String>,
    /// Columns that the table lacked when the files were laid out.
    pub new_columns: Vec<(String, ColumnType)>,
    /// What the log says of columns that this commit brings.
    pub comments: Comments,
    /// Finished files; none is a commit of ids (and columns) alone.
    pub files: &'a [DataFile],
    /// The owner of the table's gate, who may commit while it is closed.
    pub passes: Option<&'a str>,
}

impl Append<'_> {
    pub(super) fn written_ids(&self) -> Vec<String> {
        self.app_ids.iter().chain(&self.marks).cloned().collect()
    }
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It stands in the log. The table is at least at this version, with the ids.
    Committed {
        /// The version of our commit.
        version: u64,
    },
    /// These ids stand in the log already, put there by somebody else: nothing of this append was committed.
    Landed {
        /// The ids of ours that were found.
        app_ids: Vec<String>,
    },
    /// The table changed so that the files no longer fit it: plan anew. Nothing of this append was committed.
    Moved,
    /// The table's gate is closed. Nothing of this append was committed, as far as the log says.
    Gated(Closed),
}

/// What one try came to.
pub(super) enum Tried {
    Committed(u64, Option<SnapshotRef>),
    /// Anything else: the log knows.
    Unknown(Option<KernelError>),
    Moved,
}

/// Commits to a table, or creates it with `columns_if_new`, in this order, together with its first data.
///
/// `table` is `None` when [`Table::open`] found none; it is filled. After anything but `Committed` the files may only
/// be deleted by [`super::sweep_uncommitted`].
///
/// # Errors
/// Setup when the table's protocol refuses; Again when the deadline passed, with what the last try answered.
pub fn commit(
    lake: &Lake,
    schema: &str,
    name: &str,
    table: &mut Option<Table>,
    columns_if_new: &[(String, ColumnType)],
    append: &Append<'_>,
    deadline: Deadline,
) -> Result<Appended, Fault> {
    // Whoever loses the race of creating wants all columns of a table that somebody else has just made.
    let mut wanted = append.new_columns.clone();
    if table.is_none() {
        wanted.retain(|(name, _)| !columns_if_new.iter().any(|(other, _)| other == name));
        wanted.splice(..0, columns_if_new.iter().cloned());
    }
    let paths: Vec<&str> = append.files.iter().map(DataFile::path).collect();
    if let Some(table) = table.as_mut() {
        table.begin_tries(&paths);
    }
    let what = format!("cannot commit to table `{schema}.{name}`");
    let mut last_answer = None;
    let mut attempt = 0;
    loop {
        if let Some(table) = table.as_ref() {
            let landed = landed(table, append);
            if !landed.is_empty() {
                return Ok(Appended::Landed { app_ids: landed });
            }
        }
        if deadline.is_over() {
            let fault = Fault::again(format!("{what} before the deadline ({attempt} tries)"));
            return Err(match last_answer {
                Some(answer) => fault.because(answer),
                None => fault,
            });
        }
        // Nothing but the try may come between this look and its end: it must be over when the gate's owner begins.
        if table.is_some()
            && let Some(closed) = gates::look(lake, schema, name, append.passes)?
        {
            return Ok(Appended::Gated(closed));
        }
        let tried = match table.as_mut() {
            Some(table) => try_append(table, &wanted, append)?,
            None => try_create(lake, schema, name, &wanted, append)?,
        };
        let answer = match tried {
            Tried::Committed(version, snapshot) => {
                lake.counters().committed();
                if let Some(snapshot) = snapshot {
                    let table = table.get_or_insert_with(|| Table::made(lake, schema, name, Arc::clone(&snapshot)));
                    table.adopt(snapshot);
                    append.written_ids().iter().for_each(|app_id| table.ids.insert(app_id));
                } else {
                    // Committed is committed, even if the table cannot be read back now.
                    drop(reload(lake, schema, name, table, &[], deadline));
                }
                return Ok(Appended::Committed { version });
            }
            Tried::Moved => return Ok(Appended::Moved),
            Tried::Unknown(answer) => answer,
        };
        let added = reload(lake, schema, name, table, &paths, deadline)?;
        if let Some(version) = ours(&added, &paths) {
            lake.counters().committed();
            return Ok(Appended::Committed { version });
        }
        if let Some(table) = table.as_ref()
            && paths.is_empty()
            && stands(table, append)
        {
            // Without files there is nothing that only we can have written, and nothing that could be doubled.
            return Ok(Appended::Committed { version: table.version() });
        }
        let lost_race = answer.is_none();
        if lost_race {
            lake.counters().lost_race();
        }
        if let Some(error) = answer {
            let fault = kernel_fault(&what, lake.url(), error);
            // The log says that it did not happen, the answer that it never will.
            if fault.kind() != FaultKind::Again {
                return Err(fault);
            }
            last_answer = Some(fault);
        }
        let step = if lost_race { attempt.min(LONGEST_RACE_STEP) } else { attempt };
        clock::sleep(clock::jitter(step), deadline);
        attempt += 1;
    }
}

/// Adds columns alone, in a commit of their own; answers the version. For tables that [`Table::needs_columns_first`]:
/// under column mapping each transaction draws other physical names, so the commit that adds a column must come before
/// the files that hold it, not with them.
///
/// Columns that somebody else added meanwhile with the same type are fine.
///
/// # Errors
/// Setup when the gate refuses or a column is there with another type; Again when the deadline passed.
pub fn add_columns_only(
    lake: &Lake,
    table: &mut Table,
    new_columns: &[(String, ColumnType)],
    deadline: Deadline,
) -> Result<u64, Fault> {
    let mut attempt = 0;
    loop {
        let label = table.label();
        let Some(missing) = missing_columns(table, new_columns) else {
            return Err(Fault::again(format!("a column of table `{label}` was added with another type meanwhile")));
        };
        if missing.is_empty() {
            return Ok(table.version());
        }
        let mut builder =
            Arc::clone(&table.snapshot).update_table(UpdateTableOperation::AlterTable, ENGINE_INFO, false);
        for column in &missing {
            builder = builder.add_column(column.clone());
        }
        let engine = lake.engine().as_ref();
        let built = builder.build(engine, Box::new(FileSystemCommitter::new()));
        let transaction = gate::refused(table, "Inlet cannot add columns to", &missing, built)?;
        if deadline.is_over() {
            return Err(Fault::again(format!(
                "no new columns in table `{label}` before the deadline ({attempt} tries)"
            )));
        }
        if let Some(closed) = gates::look(lake, &table.schema, &table.name, None)? {
            return Err(closed.fault(&table.schema, &table.name));
        }
        match understood(transaction.commit(engine)) {
            Tried::Committed(_, Some(snapshot)) => {
                table.adopt(snapshot);
                continue;
            }
            Tried::Unknown(Some(error)) => {
                let fault = kernel_fault(&format!("cannot add columns to table `{label}`"), table.url(), error);
                if fault.kind() != FaultKind::Again {
                    return Err(fault);
                }
            }
            _ => {}
        }
        table.refresh()?;
        clock::sleep(clock::jitter(attempt), deadline);
        attempt += 1;
    }
}

fn try_create(
    lake: &Lake,
    schema: &str,
    name: &str,
    columns: &[(String, ColumnType)],
    append: &Append<'_>,
) -> Result<Tried, Fault> {
    let url = lake.table_url(schema, name)?;
    lake.make_folder(&url)?;
    let engine = lake.engine().as_ref();
    let mut transaction = match begin_create(engine, &url, name, columns, append).map_err(without_backtrace) {
        Ok(transaction) => transaction,
        // Somebody was faster: from here on it is an append.
        Err(error @ KernelError::TableAlreadyExistsAtPath(_)) => return Ok(Tried::Unknown(Some(error))),
        Err(error) => return Err(kernel_fault(&format!("cannot create table `{schema}.{name}`"), &url, error)),
    };
    let columns = || file_columns(&transaction.write_state()?.write_context_builder().build()?);
    let columns = columns().map_err(|error| kernel_fault("cannot lay out files", &url, error))?;
    if !fits(append.files, &columns) {
        return Ok(Tried::Moved);
    }
    append.files.iter().for_each(|file| transaction.add_files(Box::new(ArrowEngineData::new(file.add.clone()))));
    Ok(understood(transaction.commit(engine)))
}

fn try_append(table: &mut Table, columns: &[(String, ColumnType)], append: &Append<'_>) -> Result<Tried, Fault> {
    let Some(missing) = missing_columns(table, columns) else { return Ok(Tried::Moved) };
    let missing: Vec<_> = missing.into_iter().map(|column| commented(column, &append.comments)).collect();
    if missing.is_empty() && append.files.is_empty() && append.app_ids.is_empty() {
        return Ok(Tried::Committed(table.version(), Some(Arc::clone(&table.snapshot))));
    }
    // Readers that run a MERGE meanwhile ignore a blind append; anything else fails them. Without a file or with a
    // schema change it is none.
    let blind = missing.is_empty() && !append.files.is_empty();
    let mut transaction = gate::begin_write(table, &missing, blind)?;
    if !append.files.is_empty() {
        let columns = write_context(&transaction).and_then(|context| file_columns(&context));
        let columns = columns.map_err(|error| kernel_fault("cannot lay out files", table.url(), error))?;
        if !fits(append.files, &columns) {
            return Ok(Tried::Moved);
        }
    }
    for app_id in append.written_ids() {
        transaction = transaction.with_transaction_id(app_id.clone(), 1);
    }
    append.files.iter().for_each(|file| transaction.add_files(Box::new(ArrowEngineData::new(file.add.clone()))));
    table.note_try(table.version() + 1);
    Ok(understood(transaction.commit(table.lake.engine().as_ref())))
}

pub(super) fn understood<S>(answer: KernelResult<CommitResult<S>>) -> Tried {
    match answer {
        Ok(CommitResult::Committed(done)) => {
            Tried::Committed(done.commit_version(), done.post_commit_snapshot().cloned())
        }
        Ok(CommitResult::Conflicted(_)) => Tried::Unknown(None),
        Ok(CommitResult::Retryable(lost)) => Tried::Unknown(Some(lost.error)),
        Err(error) => Tried::Unknown(Some(without_backtrace(error))),
    }
}

/// Reads the log anew; tells which of our paths were added since the version that `table` stood at.
fn reload(
    lake: &Lake,
    schema: &str,
    name: &str,
    table: &mut Option<Table>,
    paths: &[&str],
    deadline: Deadline,
) -> Result<Vec<(u64, String)>, Fault> {
    patiently(deadline, || match table.as_mut() {
        Some(table) => table.refresh_watching(paths),
        None => open_watching(lake, schema, name, table, paths),
    })
}

/// Asks again while that may help.
pub(super) fn patiently<T>(deadline: Deadline, mut ask: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let mut attempt = 0;
    loop {
        match ask() {
            Err(fault) if fault.kind() == FaultKind::Again && !deadline.is_over() => {
                clock::sleep(clock::jitter(attempt), deadline);
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

/// Reads a table that we tried to create, whoever made it.
fn open_watching(
    lake: &Lake,
    schema: &str,
    name: &str,
    table: &mut Option<Table>,
    paths: &[&str],
) -> Result<Vec<(u64, String)>, Fault> {
    let Some(mut opened) = Table::open(lake, schema, name)? else { return Ok(Vec::new()) };
    opened.begin_tries(paths);
    opened.note_try(0);
    // A table that was made long ago may have lost its first commits; then its version 0 was not ours.
    let added = match paths {
        [] => Vec::new(),
        paths => read_tail(lake.engine(), &opened.snapshot, 0, paths).map(|tail| tail.added).or_else(|error| {
            let gone = matches!(error, KernelError::StartVersionNotFound { .. });
            if gone { Ok(Vec::new()) } else { Err(kernel_fault("cannot read the first commits", opened.url(), error)) }
        })?,
    };
    *table = Some(opened);
    Ok(added)
}

/// The version that adds all our files; a commit is whole or not there.
pub(super) fn ours(added: &[(u64, String)], paths: &[&str]) -> Option<u64> {
    let (version, _) = added.first()?;
    paths.iter().all(|path| added.iter().any(|(at, added)| at == version && added == path)).then_some(*version)
}

fn landed(table: &Table, append: &Append<'_>) -> Vec<String> {
    append.app_ids.iter().filter(|app_id| table.has(app_id)).cloned().collect()
}

/// Whether all ids and columns of an append without files stand in the table.
fn stands(table: &Table, append: &Append<'_>) -> bool {
    let named = !append.app_ids.is_empty() || !append.new_columns.is_empty();
    named
        && append.app_ids.iter().all(|app_id| table.has(app_id))
        && missing_columns(table, &append.new_columns).is_some_and(|missing| missing.is_empty())
}

/// The wanted columns that the table lacks; `None` when it has one of them with another type or in other letters (two
/// names that differ in case are one column to Delta, two in Parquet).
fn missing_columns(table: &Table, wanted: &[(String, ColumnType)]) -> Option<Vec<StructField>> {
    let mut missing = Vec::new();
    for wanted in wanted {
        let (name, column_type) = wanted;
        match table.columns().iter().find(|column| column.name.to_lowercase() == name.to_lowercase()) {
            None => missing.push(kernel_field(wanted)),
            Some(there) if there.name == *name && there.column_type == KnownType::Ours(*column_type) => {}
            Some(_) => return None,
        }
    }
    Some(missing)
}

/// Whether every file can be read as the table's: its columns are the table's, and what must not be NULL is in it.
pub(super) fn fits(files: &[DataFile], table: &[FileColumn]) -> bool {
    let same = |in_file: &FileColumn, in_table: &FileColumn| {
        in_file.name == in_table.name
            && in_file.physical.name() == in_table.physical.name()
            && in_file.physical.data_type() == in_table.physical.data_type()
            && in_file.physical.metadata() == in_table.physical.metadata()
            && (in_table.physical.is_nullable() || !in_file.physical.is_nullable())
    };
    files.iter().all(|file| {
        let known = |column: &FileColumn| !column.ours || table.iter().any(|other| same(column, other));
        let filled =
            |column: &FileColumn| column.physical.is_nullable() || file.columns.iter().any(|other| same(other, column));
        file.columns.iter().all(known) && table.iter().all(filled)
    })
}
