//! Held rows that the warehouse copies: their table takes none from Inlet, for a feature of its protocol or a partition.
//!
//! ```text
//!  note -> rows that stand there left out, the others fit to the columns -> note: these files are to be copied
//!       -> COPY INTO from Inlet's own folder in the lake, each path once -> counts -> `_loads` -> the note goes -> its files go
//! ```
//!
//! No id of theirs comes to stand in the table's log: what stands in the table the rows say themselves, by `_upload_id`.
//! A note says that its files are to be copied before the first of them is. From then on no other way is open to them,
//! even when the table takes rows again: a copy that was begun by a run that died may still be at work, and a path is
//! loaded once, however often it is said.
//!
//! On S3 the warehouse copies behind the table's gate: its commits may overwrite those of others there.

use hashbrown::HashMap;
use inlet_events::KnownType;

use super::anew::{Origin, Rows, write_aside};
use super::commit::{Committed, Landed, left_out, settle};
use super::loads::{Standing, standing};
use super::{Left, Note, Refused};
use crate::clock::Deadline;
use crate::delta::{Column, KeptFile, Lake, Table};
use crate::evolve::{FullName, must_be_ours, spelled};
use crate::fault::{Fault, FaultKind};
use crate::lease::Lease;
use crate::managed::{Speaker, ToCopy, copies, copy_rows, fits};
use crate::settings::WarehouseChoice;
use crate::state::State;
use crate::upload::app_id_of;

/// By upload: what stands in the table.
type AllStanding = HashMap<String, Standing>;

/// Rows of a table that the warehouse copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copies {
    /// Why nobody of Inlet commits them.
    pub(crate) because: Refused,
    /// Whether some do not stand in the table yet; else only the notes are to go.
    pub(crate) are_due: bool,
}

/// Whether the warehouse copies rows into tables that take none from Inlet.
pub(crate) fn may_copy(warehouse: &WarehouseChoice) -> bool {
    !matches!(warehouse, WarehouseChoice::None)
}

impl Copies {
    /// What is to be copied of the rows that are held for a table; nothing when they can be committed.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn of(lake: &Lake, schema: &str, name: &str, notes: &[Left]) -> Result<Option<Self>, Fault> {
        let Some(table) = Table::open(lake, schema, name)? else { return Ok(None) };
        let begun = notes.iter().find(|left| left.note.to_copy);
        let because = match table.may_append() {
            Err(fault) if fault.kind() == FaultKind::Setup => Refused::from(&fault),
            Err(fault) => return Err(fault),
            Ok(()) => match begun {
                None => return Ok(None),
                Some(left) => left.note.refused.clone().unwrap_or_else(|| begun_before(&left.note)),
            },
        };
        let standing = standing(Some(&table), &ids_of(notes))?;
        let are_due = notes.iter().any(|left| !is_whole(&left.note, &table, &standing));
        Ok(Some(Self { because, are_due }))
    }
}

/// The statements that would copy rows into a table with these columns, as far as their files can be named already:
/// what does not fit is written anew first.
pub(crate) fn planned(
    lake: &Lake,
    name: &FullName,
    notes: &[Left],
    columns: &[(String, KnownType)],
) -> Result<Vec<String>, Fault> {
    let files = notes.iter().flat_map(|left| &left.note.files);
    let files: Vec<&KeptFile> = files.filter(|file| is_for_copies(lake, file, columns)).collect();
    copies(name, &folder(lake, name)?, columns, &files)
}

/// Has the warehouse copy the held rows of one table, the oldest first, and tells `_loads`; under `lease`, if this run has
/// one.
///
/// # Errors
/// Again when the table is gone; what the store answers. All of it can be done again.
pub(crate) fn copy_held(
    lake: &Lake,
    name: &FullName,
    notes: &[Left],
    speaker: Option<&Speaker<'_>>,
    lease: Option<&Lease>,
    deadline: Deadline,
) -> Result<Committed, Fault> {
    let FullName { schema, table, .. } = name;
    let Some(mut table) = Table::open(lake, schema, table)? else {
        return Err(Fault::again(format!("table `{schema}.{table}` is gone")).hint("run `inlet evolve` again"));
    };
    let mut committed = Committed::default();
    let mut open = notes.to_vec();
    let mut done: Vec<Left> = Vec::new();
    while !open.is_empty() {
        let (ready, later) = in_turn(open);
        if ready.is_empty() {
            break;
        }
        open = later;
        match (Copying { lake, name, speaker, lease }).copy(&mut table, ready) {
            Ok(copied) => done.extend(copied),
            Err(fault) => {
                committed.fault = Some(fault);
                break;
            }
        }
    }
    settle(lake, schema, &name.table, done.iter().map(Landed::copied).collect(), deadline, &mut committed)?;
    Ok(committed)
}

/// Parts notes into those that wait for no other, and the rest: later forms of a key come after the earlier ones, and of
/// two notes with one upload the first alone brings it.
fn in_turn(notes: Vec<Left>) -> (Vec<Left>, Vec<Left>) {
    let waits = |at: usize| {
        let note = &notes[at].note;
        let is_before = |(other_at, other): (usize, &Left)| {
            let other = &other.note;
            let is_first = if other.to_copy == note.to_copy { other_at < at } else { other.to_copy };
            let after = note.uploads.iter().flat_map(|upload| &upload.after);
            let own = note.uploads.iter().map(|upload| &upload.upload_id);
            after.into_iter().any(|id| brings(other, id)) || is_first && own.into_iter().any(|id| brings(other, id))
        };
        notes.iter().enumerate().filter(|(other_at, _)| *other_at != at).any(is_before)
    };
    let waiting: Vec<bool> = (0..notes.len()).map(waits).collect();
    let (later, ready): (Vec<_>, Vec<_>) = notes.into_iter().zip(waiting).partition(|(_, waits)| *waits);
    let lefts = |all: Vec<(Left, bool)>| all.into_iter().map(|(left, _)| left).collect();
    (lefts(ready), lefts(later))
}

/// Whether a note brings rows of an upload.
pub(super) fn brings(note: &Note, id: &str) -> bool {
    note.uploads.iter().any(|upload| upload.upload_id == id && upload.rows > 0)
}

/// Whether all rows of a note stand in the table: copied from its own files, or, of one whose files nobody copies yet,
/// brought by another note or delivery.
pub(super) fn is_whole(note: &Note, table: &Table, standing: &AllStanding) -> bool {
    note.uploads.iter().all(|upload| {
        let rows = standing.get(&upload.upload_id).map_or(0, |standing| standing.rows.unsigned_abs());
        if note.to_copy { rows >= upload.rows } else { rows > 0 || table.has(&app_id_of(&upload.upload_id)) }
    })
}

/// Why a note whose files are to be copied is not committed.
pub(super) fn begun_before(note: &Note) -> Refused {
    Refused {
        message: format!("the warehouse has begun to copy held rows into table `{}.{}`", note.schema, note.table),
        hint: None,
    }
}

/// Some rows of a file that is to be copied stand in the table, and the others fit it no more.
fn changed_meanwhile(name: &FullName) -> Fault {
    let name = name.quoted();
    Fault::setup(format!(
        "columns of {name} have changed while held rows were copied into it: some stand there already"
    ))
    .hint(format!(
        "give the columns their types back (DESCRIBE HISTORY {name} has them), then run: inlet evolve --retry"
    ))
}

/// The ids of the uploads that notes name.
pub(super) fn ids_of<'a>(notes: impl IntoIterator<Item = &'a Left>) -> Vec<String> {
    let uploads = notes.into_iter().flat_map(|left| &left.note.uploads);
    uploads.map(|upload| upload.upload_id.clone()).collect()
}

/// Whether the warehouse can read a file as it is: Databricks reads no Parquet out of the folder of a table.
fn is_for_copies(lake: &Lake, file: &KeptFile, columns: &[(String, KnownType)]) -> bool {
    file.aside(lake).is_some() && fits(columns, file)
}

/// The folder in which the files of a table lie aside, as the warehouse is told.
fn folder(lake: &Lake, name: &FullName) -> Result<String, Fault> {
    Ok(spelled(&lake.aside_url(&name.schema, &name.table)?))
}

/// One table, while its held rows are copied.
struct Copying<'a> {
    lake: &'a Lake,
    name: &'a FullName,
    speaker: Option<&'a Speaker<'a>>,
    lease: Option<&'a Lease>,
}

impl Copying<'_> {
    /// Copies the rows of notes that wait for no other, and answers the notes as they now are.
    fn copy(&self, table: &mut Table, mut notes: Vec<Left>) -> Result<Vec<Left>, Fault> {
        table.refresh()?;
        let columns: Vec<_> = table.columns().iter().map(Column::named).collect();
        let standing = standing(Some(table), &ids_of(&notes))?;
        let mut due = ToCopy::default();
        for left in &mut notes {
            if is_whole(&left.note, table, &standing) {
                continue;
            }
            // Of a note that somebody decided on, nothing may have been copied before its table changed again.
            let is_untouched = left.note.uploads.iter().all(|upload| !standing.contains_key(&upload.upload_id));
            let fits = left.note.files.iter().all(|file| is_for_copies(self.lake, file, &columns));
            match (left.note.to_copy, fits, is_untouched) {
                (true, true, _) => {}
                (true, false, false) => return Err(changed_meanwhile(self.name)),
                _ => self.decide(left, table, &columns, &standing)?,
            }
            due.rows += left.note.files.iter().map(KeptFile::rows).sum::<u64>();
            due.files.extend(left.note.files.iter().cloned());
            due.upload_ids.extend(left.note.ids_with_rows());
        }
        if due.files.is_empty() {
            return Ok(notes);
        }
        let Some(speaker) = self.speaker else { return Err(Fault::bug("no warehouse was opened")) };
        must_be_ours(self.lease)?;
        let folder = folder(self.lake, self.name)?;
        self.lake.handle().block_on(copy_rows(self.name, &folder, &columns, &due, speaker))?;
        Ok(notes)
    }

    /// Decides on the files that are copied, and says so in the note before any of them is.
    fn decide(
        &self,
        left: &mut Left,
        table: &Table,
        columns: &[(String, KnownType)],
        standing: &AllStanding,
    ) -> Result<(), Fault> {
        let Left { place, note } = left;
        let left_out = left_out(note, Some(table), standing)?;
        let rows = |files: &[KeptFile]| files.iter().map(KeptFile::rows).sum::<u64>();
        let is_exact = rows(&note.files) == note.uploads.iter().map(|upload| upload.rows).sum::<u64>();
        let fits = note.files.iter().all(|file| is_for_copies(self.lake, file, columns));
        let mut old = Vec::new();
        if !(left_out.is_empty() && is_exact && fits) {
            let is_left_out = |origin: &Origin<'_>| left_out.has(origin.upload, origin.id);
            let written = write_aside(self.lake, &Rows::of_held(note, &is_left_out), columns)?;
            let files = written.files.iter().map(|file| file.on_paper(self.lake)).collect();
            old = std::mem::replace(&mut note.files, files);
            for upload in &mut note.uploads {
                upload.rows = written.uploads.get(&upload.upload_id).copied().unwrap_or(0);
            }
        }
        note.to_copy = true;
        must_be_ours(self.lease)?;
        let state = State::of(self.lake);
        state.put(place, note)?;
        // Those in the table's folder are left to VACUUM.
        old.iter().filter_map(|file| file.aside(self.lake)).try_for_each(|file| state.remove(&file))
    }
}
