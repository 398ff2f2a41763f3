//! The commit of held rows: into a table that has changed as they wanted, or into one that has not, by rescue.
//!
//! The same files are committed where they fit the table. Every step can be done twice: the uploads' ids in the table's
//! log say what landed, ids in that of `_loads` say what was told, and the notes go last.

use std::time::Duration;

use arrow_array::cast::AsArray;
use hashbrown::{HashMap, HashSet};
use inlet_events::order::id_hash;
use inlet_events::table::{RESCUED_DATA, TableKind, TablePlan, UPLOAD_ID};
use inlet_events::{Call, ColumnType};

use super::anew::{LeftOut, Origin, Rows, write_anew};
use super::copied::{begun_before, brings, ids_of, is_whole};
use super::loads::{self, Standing, Told, standing};
use super::{Left, Note, Wanted, wanted};
use crate::clock::{self, Deadline, Micros};
use crate::delta::{Append, Appended, Comments, DataFile, Lake, Table, add_columns_only, commit, sweep_uncommitted};
use crate::evolve::notes;
use crate::fault::Fault;
use crate::gates;
use crate::state::State;
use crate::upload::app_id_of;

/// How often one note's rows are written anew because the table changed under them.
const ATTEMPTS: usize = 20;
/// Files that the look-up of an earlier form's ids may read.
const ANTI_JOIN_FILES: usize = 2_000;
/// An upload that was not called done after this long never will be: its run was killed, and nobody delivers it again.
const DONE_COMES_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// The same where only the note tells a late delivery that the rows stand in the table: as long as a log keeps ids.
const COPIED_IS_KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What came of a table's held rows.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// Rows in the table.
    pub(crate) rows: u64,
    /// Rows that were left out, since an earlier form of the key had landed their ids.
    pub(crate) duplicates: u64,
    /// Values that those rows keep in `_rescued_data`.
    pub(crate) rescued: u64,
    /// Why rows of some notes stay held.
    pub(crate) fault: Option<Fault>,
}

/// Which columns a table gets with its held rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Those that every table has: whoever wants more has the warehouse make them first.
    Own,
    /// Those that the notes want too.
    Wanted,
}

/// Commits the held rows of one table, the oldest first. A table that is not there is made, and one that lacks columns
/// gets them, as far as its growth goes.
///
/// A note that fails stops only those that must come after it.
///
/// # Errors
/// Again when the table's gate is closed; what the store answers when the table or `_loads` cannot be read or written. All
/// of it can be done again.
pub(crate) fn commit_held(
    lake: &Lake,
    schema: &str,
    name: &str,
    notes: &[&Left],
    growth: Growth,
    deadline: Deadline,
) -> Result<Committed, Fault> {
    if let Some(closed) = gates::look(lake, schema, name, None)? {
        return Err(closed.fault(schema, name));
    }
    let due = Due::of(name, notes, growth);
    let mut table = Table::open(lake, schema, name)?;
    let mut committed = Committed::default();
    let mut open: Vec<&Left> = notes.to_vec();
    let mut done: Vec<Landed<'_>> = Vec::new();
    loop {
        let before = open.len();
        for left in std::mem::take(&mut open) {
            let others = || {
                let others = notes.iter().filter(|other| other.place != left.place);
                others.filter(|other| done.iter().all(|done| done.left.place != other.place))
            };
            let is_named =
                |id: &String| others().any(|other| other.note.uploads.iter().any(|upload| upload.upload_id == *id));
            let is_due = |id: &String| table.as_ref().is_none_or(|table| !table.has(&app_id_of(id)));
            let is_copied = |id: &String| others().any(|other| other.note.to_copy && brings(&other.note, id));
            let after = left.note.uploads.iter().flat_map(|upload| &upload.after);
            let own = left.note.uploads.iter().map(|upload| &upload.upload_id);
            if after.into_iter().any(|id| is_due(id) && is_named(id)) || own.into_iter().any(is_copied) {
                open.push(left);
                continue;
            }
            match commit_note(lake, left, &mut table, &due, deadline) {
                Ok(landed) => done.push(landed),
                Err(fault) => {
                    open.push(left);
                    committed.fault.get_or_insert(fault);
                }
            }
        }
        if open.is_empty() || open.len() == before || committed.fault.is_some() {
            break;
        }
    }
    settle(lake, schema, name, done, deadline, &mut committed)?;
    Ok(committed)
}

/// A note whose rows stand in the table, as far as a commit's answer can say.
#[derive(Debug)]
pub(super) struct Landed<'a> {
    pub(super) left: &'a Left,
    /// The version, when this call committed it.
    pub(super) version: Option<u64>,
    /// Uploads that the table must know, by an id in its log or by their rows: those with rows that no earlier form of
    /// their key had landed.
    pub(super) uploads: HashSet<String>,
}

impl<'a> Landed<'a> {
    /// A note of which the warehouse has copied all rows.
    pub(super) fn copied(left: &'a Left) -> Self {
        Self { left, version: None, uploads: left.note.ids_with_rows().collect() }
    }
}

/// What a freshly read log says is told to `_loads`; then the notes go.
pub(super) fn settle(
    lake: &Lake,
    schema: &str,
    name: &str,
    mut done: Vec<Landed<'_>>,
    deadline: Deadline,
    committed: &mut Committed,
) -> Result<(), Fault> {
    if done.is_empty() {
        return Ok(());
    }
    let fresh = Table::open(lake, schema, name)?;
    let standing = standing(fresh.as_ref(), &ids_of(done.iter().map(|landed| landed.left)))?;
    let has_id = |id: &String| fresh.as_ref().is_some_and(|fresh| fresh.has(&app_id_of(id)));
    done.retain(|Landed { left, uploads, .. }| {
        let is_copied = |id: &String| may_be_copied(left) && standing.contains_key(id);
        uploads.iter().all(|id| has_id(id) || is_copied(id))
    });
    let told = loads::tell(lake, schema, name, (fresh.as_ref(), &standing), &done, deadline)?;
    for Landed { left, .. } in done {
        let is_told = left.note.uploads.iter().all(|upload| told.done.contains(&upload.upload_id));
        let known_for = if left.note.to_copy { COPIED_IS_KNOWN_FOR } else { DONE_COMES_WITHIN };
        let oldest = clock::now() - Micros::try_from(known_for.as_micros()).unwrap_or(Micros::MAX);
        if is_told || left.note.left_at < oldest {
            let state = State::of(lake);
            state.remove(&left.place)?;
            // No log ever names these. The others are the table's, or left to VACUUM.
            for aside in left.note.files.iter().filter_map(|file| file.aside(lake)) {
                state.remove(&aside)?;
            }
        }
    }
    let Told { rows, duplicates, rescued, .. } = told;
    (committed.rows, committed.duplicates, committed.rescued) = (rows, duplicates, rescued);
    Ok(())
}

/// Commits one note's rows.
fn commit_note<'a>(
    lake: &Lake,
    left: &'a Left,
    table: &mut Option<Table>,
    due: &Due,
    deadline: Deadline,
) -> Result<Landed<'a>, Fault> {
    let note = &left.note;
    for _ in 0..ATTEMPTS {
        if let Some(table) = table.as_mut() {
            table.refresh()?;
            table.may_append()?;
            let own = lacking(lake, note, table, due.own.clone())?;
            add_columns_only(lake, table, &own, deadline)?;
        }
        let copied = match may_be_copied(&left) {
            true => standing(table.as_ref(), &ids_of([left]))?,
            false => HashMap::new(),
        };
        if let (true, Some(table)) = (note.to_copy, table.as_ref()) {
            return landed_by_copy(left, table, &copied);
        }
        let left_out = left_out(note, table.as_ref(), &copied)?;
        if note.uploads.iter().all(|upload| left_out.uploads.contains(&upload.upload_id)) {
            return Ok(Landed { left, version: None, uploads: left_out.uploads });
        }
        let brought = match table.as_mut() {
            Some(table) => bring_columns(lake, note, table, due, deadline)?,
            None => Vec::new(),
        };
        let as_they_are = match table.as_ref() {
            Some(table) if left_out.is_empty() => files_for(note, table, &brought)?,
            _ => None,
        };
        let is_anew = as_they_are.is_none();
        let (files, uploads): (Vec<DataFile>, HashSet<String>) = match as_they_are {
            Some(files) => (files, note.uploads.iter().map(|upload| upload.upload_id.clone()).collect()),
            None => {
                let is_left_out = |origin: &Origin<'_>| left_out.has(origin.upload, origin.id);
                let rows = Rows::of_held(note, &is_left_out);
                let columns = if table.is_some() { &brought } else { &due.if_new };
                let written = write_anew(lake, &rows, table.as_ref(), columns)?;
                (written.files, written.uploads.into_keys().collect())
            }
        };
        if files.is_empty() {
            return Ok(Landed { left, version: None, uploads: left_out.uploads });
        }
        if table.is_none() {
            notes::leave(lake, &note.schema, [(note.table.clone(), Vec::new())].into())?;
        }
        let named = note.uploads.iter().filter(|upload| uploads.contains(&upload.upload_id));
        let app_ids = named.map(|upload| app_id_of(&upload.upload_id)).collect();
        let (comments, new_columns) = (due.comments(), brought);
        let append = Append { app_ids, new_columns, comments, files: &files, ..Append::default() };
        match commit(lake, &note.schema, &note.table, table, &due.if_new, &append, deadline)? {
            Appended::Committed { version } => {
                let uploads = uploads.into_iter().chain(left_out.uploads).collect();
                return Ok(Landed { left, version: Some(version), uploads });
            }
            Appended::Gated(closed) => {
                if let (true, Some(table)) = (is_anew, table.as_mut()) {
                    drop(sweep_uncommitted(lake, table, &files));
                }
                return Err(closed.fault(&note.schema, &note.table));
            }
            Appended::Landed { .. } | Appended::Moved => {
                // The note's own files stay until the log has all its uploads.
                if let (true, Some(table)) = (is_anew, table.as_mut()) {
                    drop(sweep_uncommitted(lake, table, &files));
                }
            }
        }
    }
    let Note { schema, table: name, .. } = note;
    Err(Fault::again(format!("table `{schema}.{name}` kept changing while held rows were committed to it"))
        .hint("run `inlet evolve` again when fewer writers are at work"))
}

/// The columns that a table gets with its held rows.
struct Due {
    /// When it is made.
    if_new: Vec<(String, ColumnType)>,
    /// Before its rows: without these no row says where it came from, and nothing that fits no column can be kept.
    own: Vec<(String, ColumnType)>,
    /// With the rows of the notes that want them.
    wanted: Vec<Wanted>,
}

impl Due {
    fn of(name: &str, notes: &[&Left], growth: Growth) -> Self {
        let call = Call::ALL.into_iter().find(|call| call.table() == name);
        let mut plan = TablePlan::new(name, call.map_or(TableKind::Event, TableKind::Call), &[]);
        let mut own = plan.new_columns();
        own.retain(|(name, _)| [RESCUED_DATA, UPLOAD_ID].contains(&&**name));
        let wanted = match growth {
            Growth::Own => Vec::new(),
            Growth::Wanted => wanted(notes.iter().map(|left| &left.note)),
        };
        wanted.iter().for_each(|column| plan.add(&column.name, column.column_type));
        Self { if_new: plan.new_columns(), own, wanted }
    }

    /// Those that a note's rows bring.
    fn brought_by(&self, note: &Note) -> Vec<(String, ColumnType)> {
        let wants = |column: &&Wanted| note.columns.iter().any(|other| other.name == column.name);
        self.wanted.iter().filter(wants).map(|column| (column.name.clone(), column.column_type)).collect()
    }

    /// Which uploads brought them first.
    fn comments(&self) -> Comments {
        self.wanted.iter().filter_map(|column| Some((column.name.clone(), column.comment.clone()?))).collect()
    }
}

/// Those of some columns that a table lacks, and may get; says that the catalog is behind. Delta compares names without
/// case.
fn lacking(
    lake: &Lake,
    Note { schema, table: name, .. }: &Note,
    table: &Table,
    mut columns: Vec<(String, ColumnType)>,
) -> Result<Vec<(String, ColumnType)>, Fault> {
    let is_there = |name: &str| table.columns().iter().any(|column| column.name.to_lowercase() == name.to_lowercase());
    columns.retain(|(name, _)| !is_there(name));
    if !columns.is_empty() {
        table.may_add_columns(&columns)?;
        let names = columns.iter().map(|(name, _)| name.clone()).collect();
        notes::leave(lake, schema, [(name.to_owned(), names)].into())?;
    }
    Ok(columns)
}

/// The columns that a note's rows bring to a table, to be added with them. Where a column must be there before its files
/// are written, it is added now.
fn bring_columns(
    lake: &Lake,
    note: &Note,
    table: &mut Table,
    due: &Due,
    deadline: Deadline,
) -> Result<Vec<(String, ColumnType)>, Fault> {
    let brought = lacking(lake, note, table, due.brought_by(note))?;
    if table.needs_columns_first() {
        add_columns_only(lake, table, &brought, deadline)?;
        return Ok(Vec::new());
    }
    Ok(brought)
}

/// Whether rows of a note may stand in the table without their uploads' ids: its table took none from Inlet once.
fn may_be_copied(left: &&Left) -> bool {
    left.note.to_copy || left.note.refused.is_some()
}

/// A note whose files only the warehouse copies: whether it has.
fn landed_by_copy<'a>(left: &'a Left, table: &Table, copied: &HashMap<String, Standing>) -> Result<Landed<'a>, Fault> {
    if is_whole(&left.note, table, copied) {
        return Ok(Landed::copied(left));
    }
    Err(Fault::again(format!("{}, and not all of them stand there", begun_before(&left.note).message))
        .hint("run `inlet evolve`, with the warehouse in the settings: only what it began can be ended safely"))
}

/// Rows of a note that stand in the table already: of their own upload, by its id in the log or as rows that were copied,
/// or of an earlier form of its key.
pub(super) fn left_out(
    note: &Note,
    table: Option<&Table>,
    copied: &HashMap<String, Standing>,
) -> Result<LeftOut, Fault> {
    let mut left_out = LeftOut::default();
    let Some(table) = table else { return Ok(left_out) };
    for upload in &note.uploads {
        if table.has(&app_id_of(&upload.upload_id)) || copied.contains_key(&upload.upload_id) {
            left_out.uploads.insert(upload.upload_id.clone());
        } else if !upload.after.is_empty() {
            let mut ids = HashSet::new();
            let mut each = |batch: &arrow_array::RecordBatch| {
                ids.extend(batch.column(0).as_string_opt::<i32>().into_iter().flatten().flatten().map(id_hash));
                Ok(())
            };
            table.read(&["id"], Some((UPLOAD_ID, &upload.after)), &mut each, ANTI_JOIN_FILES)?;
            left_out.ids.insert(upload.upload_id.clone(), ids);
        }
    }
    Ok(left_out)
}

/// The note's files as the table's, with the columns that they bring, if all of them are.
fn files_for(note: &Note, table: &Table, brought: &[(String, ColumnType)]) -> Result<Option<Vec<DataFile>>, Fault> {
    note.files.iter().map(|file| file.for_table(table, brought)).collect()
}
