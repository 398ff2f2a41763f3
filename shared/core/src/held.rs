//! Rows that are held: written as Parquet, but part of no table yet, since the warehouse is to change the table first,
//! since the table takes none from Inlet as it is, or since its gate is closed.
//!
//! A note in the state folder, `_inlet/held/<schema>/<table>/<uuid>.json`, names the files of exactly one group's rows
//! for one table, the columns that they want, and the uploads that they came from. It is written before `_loads` says
//! that the uploads are done, and goes after their rows are part of the table and `_loads` says so.
//!
//! An upload's rows may be named by two notes, when two deliveries ran at once or one was killed: its id in the table's
//! log lets one of them in.
//!
//! Rows of a key that was overwritten must know which ids the earlier form landed. While that is held, nobody knows: so
//! the later form is held as well, and committed after it.
//!
//! Rows of a table that takes none from Inlet are copied into it by the warehouse, where there is one: see [`copied`].
//!
//! Rows behind a gate need no warehouse: whoever finds the gate open commits them, with the columns that they bring. That
//! is the gate's owner, the next run that lands in the schema, or evolve.

mod anew;
mod commit;
pub(crate) mod copied;
mod loads;
mod release;

use hashbrown::{HashMap, HashSet};
use inlet_events::ColumnType;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

pub(crate) use self::anew::{Lineage, Origin, Restaged, Rows, origin, write_anew, write_for, write_without};
pub(crate) use self::commit::{Committed, Growth, commit_held};
pub(crate) use self::copied::{Copies, copy_held, may_copy};
pub(crate) use self::release::release;
use crate::clock::Micros;
use crate::delta::{KeptFile, Lake, by_name};
use crate::fault::Fault;
use crate::state::{self, State};

/// Notes that one look reads: one for each table and group that is held.
const NOTES: usize = 10_000;

/// Rows of one group of uploads for one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) left_at: Micros,
    /// Where the rows were written: `terminal`, `lambda`, `azure`.
    pub(crate) host: String,
    #[serde(default, skip_serializing_if = "WaitsFor::is_change")]
    pub(crate) waits_for: WaitsFor,
    /// Columns that the table lacks, in the order of their creation; all of them when it takes no rows: it may be made
    /// anew.
    pub(crate) columns: Vec<Wanted>,
    /// Why the table takes no rows, or not these columns, from Inlet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refused>,
    pub(crate) files: Vec<KeptFile>,
    pub(crate) uploads: Vec<HeldUpload>,
    /// Whether the warehouse is to copy these files, or has: said before the first is, and for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) to_copy: bool,
}

impl Note {
    /// The ids of the uploads of which it has rows.
    fn ids_with_rows(&self) -> impl Iterator<Item = String> {
        let with_rows = self.uploads.iter().filter(|upload| upload.rows > 0);
        with_rows.map(|upload| upload.upload_id.clone())
    }
}

/// What held rows wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WaitsFor {
    /// Their table is made or altered: by the warehouse, or by its owner where it refuses them.
    #[default]
    Change,
    /// The gate of their table opens.
    Gate,
    /// The warehouse copies them into their table, which takes none from Inlet.
    Load,
}

impl WaitsFor {
    /// The word used in reports and notes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Gate => "gate",
            Self::Load => "load",
        }
    }

    fn is_change(&self) -> bool {
        *self == Self::Change
    }
}

/// Why a table takes no rows, or no columns, from Inlet, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What the table has that Inlet cannot write to.
    pub message: String,
    /// The SQL that gets rid of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Fault> for Refused {
    fn from(fault: &Fault) -> Self {
        Self { message: fault.chain(), hint: fault.hint_text().map(str::to_owned) }
    }
}

/// A column that a table is to get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    #[serde(rename = "type", with = "by_name")]
    pub(crate) column_type: ColumnType,
    /// Which upload brought it; none for a column that every table has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
}

/// An upload's part in the rows of a note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldUpload {
    /// Its key, or its name when it has none: as in `_loads`.
    pub(crate) upload: String,
    pub(crate) upload_id: String,
    pub(crate) modified: Micros,
    /// Its rows in the files.
    pub(crate) rows: u64,
    /// Ids of earlier forms of its key whose rows for this table are held too: what they land, this one does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<String>,
}

/// A note that lies in the state folder.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) place: Path,
    pub(crate) note: Note,
}

/// All notes there are, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) notes: Vec<Left>,
    /// Files that cannot be read as notes: their places, and what is wrong.
    pub(crate) damaged: Vec<(Path, String)>,
}

impl Gathered {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.damaged.is_empty()
    }
}

/// Leaves a note.
///
/// # Errors
/// When it cannot be written: then its uploads must not be called done. It may stand there nevertheless.
pub(crate) fn leave(lake: &Lake, note: &Note) -> Result<(), Fault> {
    let state = State::of(lake);
    let place = folder(&state).join(note.schema.as_str()).join(note.table.as_str());
    let place = place.join(format!("{}.json", uuid::Uuid::new_v4()));
    match state.put_new(&place, note)? {
        true => Ok(()),
        false => Err(Fault::bug(format!("the name of `{place}` was drawn twice"))),
    }
}

/// Reads all notes, or those of a schema.
///
/// # Errors
/// What the store answers; Setup when there are more than are ever left.
pub(crate) fn gather(lake: &Lake, schema: Option<&str>) -> Result<Gathered, Fault> {
    let state = State::of(lake);
    let below = schema.map_or_else(|| folder(&state), |schema| folder(&state).join(schema));
    let files = state.list(&below, NOTES + 1)?;
    if files.len() > NOTES {
        return Err(Fault::setup(format!("more than {NOTES} notes of held rows lie in `{below}` of the lake"))
            .hint("run `inlet evolve`: it has the tables changed and commits their rows"));
    }
    let mut gathered = Gathered::default();
    for file in files {
        let what = match state.read::<Note>(&file)? {
            state::Held::Gone => continue,
            state::Held::Read(note) if file.place.as_ref().starts_with(place_of(&state, &note).as_ref()) => {
                gathered.notes.push(Left { place: file.place, note });
                continue;
            }
            state::Held::Read(note) => format!("it speaks of table `{}.{}`", note.schema, note.table),
            state::Held::Damaged(what) => what,
        };
        gathered.damaged.push((file.place, what));
    }
    gathered.notes.sort_by(|a, b| (a.note.left_at, &a.place).cmp(&(b.note.left_at, &b.place)));
    Ok(gathered)
}

/// Columns that notes want, each once, with the least type that holds the values of all.
pub(crate) fn wanted<'a>(notes: impl IntoIterator<Item = &'a Note>) -> Vec<Wanted> {
    joined(notes.into_iter().flat_map(|note| &note.columns))
}

/// Columns, each once, with the least type that holds the values of all.
pub(crate) fn joined<'a>(columns: impl IntoIterator<Item = &'a Wanted>) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for column in columns {
        match all.iter_mut().find(|known| known.name == column.name) {
            Some(known) => known.column_type = known.column_type.join(column.column_type),
            None => all.push(column.clone()),
        }
    }
    all
}

/// What is held in a schema, as a run that lands must know it.
#[derive(Debug, Default)]
pub(crate) struct Pending(HashMap<String, PendingTable>);

#[derive(Debug, Default)]
struct PendingTable {
    uploads: HashSet<String>,
    columns: Vec<(String, ColumnType)>,
}

impl Pending {
    /// Reads a schema's notes. Damaged ones say nothing: whose rows they hold lands again, and evolve names them.
    ///
    /// # Errors
    /// As [`gather`].
    pub(crate) fn read(lake: &Lake, schema: &str) -> Result<Self, Fault> {
        let mut pending = Self::default();
        gather(lake, Some(schema))?.notes.iter().for_each(|left| pending.add(&left.note));
        Ok(pending)
    }

    /// Takes up a note.
    pub(crate) fn add(&mut self, note: &Note) {
        let table = self.0.entry_ref(note.table.as_str()).or_default();
        table.uploads.extend(note.uploads.iter().map(|upload| upload.upload_id.clone()));
        for column in &note.columns {
            match table.columns.iter_mut().find(|(name, _)| *name == column.name) {
                Some((_, known)) => *known = known.join(column.column_type),
                None => table.columns.push((column.name.clone(), column.column_type)),
            }
        }
    }

    /// Tables with held rows.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether an upload's rows for a table are held.
    pub(crate) fn has(&self, table: &str, upload_id: &str) -> bool {
        self.0.get(table).is_some_and(|table| table.uploads.contains(upload_id))
    }

    /// Columns that a table is to get.
    pub(crate) fn columns(&self, table: &str) -> &[(String, ColumnType)] {
        self.0.get(table).map_or(&[], |table| &table.columns)
    }
}

fn folder(state: &State<'_>) -> Path {
    state.place(&["held"])
}

fn place_of(state: &State<'_>, note: &Note) -> Path {
    folder(state).join(note.schema.as_str()).join(note.table.as_str())
}

#[cfg(test)]
mod tests;
