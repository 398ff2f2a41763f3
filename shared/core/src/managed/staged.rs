//! Uploads that are staged, and uploads that are loaded: what says so.
//!
//! The note of an upload, `_inlet/pending/<schema>/<id>.json`, is put where nothing is: of two deliveries one wins, and
//! its files are the upload. When they are loaded, a marker `_inlet/loaded/<schema>/<id>.json` says so for 30 days, and
//! `_inlet/keys/<schema>/<key>.<id>.json` that a form of this key has landed; then the note goes, and its files.

use hashbrown::HashSet;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::at_once::at_once;
use crate::clock::Micros;
use crate::delta::{KeptFile, Lake};
use crate::fault::Fault;
use crate::held::Wanted;
use crate::state::{self, State};
use crate::upload::key_digest;

/// Notes that one look reads: one for each upload since the last window.
const NOTES: usize = 100_000;
/// Forms of keys that a look lists: those of 30 days.
const FORMS: usize = 1_000_000;

/// A staged upload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) schema: String,
    /// Its key, by which its other forms are known; standard input has none.
    pub(crate) key: Option<String>,
    pub(crate) upload_id: String,
    pub(crate) staged_at: Micros,
    /// Event tables first, then `_rejects` and `_loads`.
    pub(crate) tables: Vec<StagedTable>,
}

/// An upload's rows for one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StagedTable {
    pub(crate) table: String,
    pub(crate) rows: u64,
    /// Columns that the table lacked, in the order of their creation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns: Vec<Wanted>,
    pub(crate) files: Vec<KeptFile>,
}

/// A note that lies in the volume.
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

/// What a marker holds.
#[derive(Debug, Serialize, Deserialize)]
struct Loaded {
    loaded_at: Micros,
}

/// Whether an upload is staged or loaded. The note is looked for first: one that is loaded in between has its marker.
///
/// # Errors
/// What the store answers.
pub(crate) fn is_known(lake: &Lake, schema: &str, upload_id: &str) -> Result<bool, Fault> {
    let state = State::of(lake);
    let is_staged = state.look(&pending(&state, schema, upload_id))?.is_some();
    Ok(is_staged || is_loaded(lake, schema, upload_id)?)
}

/// Whether an upload is loaded: a note of it was left by a delivery that came late.
///
/// # Errors
/// What the store answers.
pub(crate) fn is_loaded(lake: &Lake, schema: &str, upload_id: &str) -> Result<bool, Fault> {
    let state = State::of(lake);
    Ok(state.look(&loaded(&state, schema, upload_id))?.is_some())
}

/// Leaves the note of an upload; false when another delivery has left one.
///
/// # Errors
/// When it cannot be written: then the upload must not be called staged. It may stand there nevertheless.
pub(crate) fn leave(lake: &Lake, note: &Note) -> Result<bool, Fault> {
    let state = State::of(lake);
    state.put_new(&pending(&state, &note.schema, &note.upload_id), note)
}

/// All notes there are.
///
/// # Errors
/// What the store answers.
pub(crate) fn gather(lake: &Lake) -> Result<Gathered, Fault> {
    let state = State::of(lake);
    let mut gathered = Gathered::default();
    let files = state.list(&state.place(&["pending"]), NOTES)?;
    for (place, read) in at_once(files, |file| Ok((file.place.clone(), state.read::<Note>(&file)?)))? {
        match read {
            state::Held::Gone => {}
            state::Held::Read(note) => gathered.notes.push(Left { place, note }),
            state::Held::Damaged(what) => gathered.damaged.push((place, what)),
        }
    }
    gathered.notes.sort_by(|a, b| (a.note.staged_at, &a.place).cmp(&(b.note.staged_at, &b.place)));
    Ok(gathered)
}

/// The forms of keys that have landed in a schema.
#[derive(Debug)]
pub(crate) struct Forms(HashSet<String>);

impl Forms {
    /// Lists them; reads none.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn list(lake: &Lake, schema: &str) -> Result<Self, Fault> {
        let state = State::of(lake);
        let listed = state.list(&state.place(&["keys", schema]), FORMS)?;
        Ok(Self(listed.iter().map(|file| file.name().to_owned()).collect()))
    }

    /// Whether another form of a note's key is among them.
    pub(crate) fn have_another(&self, note: &Note) -> bool {
        let (Some(key), own) = (&note.key, form_of(note)) else { return false };
        let key = key_digest(key);
        self.0.iter().any(|form| form.split('.').next() == Some(&key) && Some(form) != own.as_ref())
    }
}

/// `<key>.<id>.json`
fn form_of(note: &Note) -> Option<String> {
    note.key.as_ref().map(|key| format!("{}.{}.json", key_digest(key), note.upload_id))
}

/// Says that a note's rows are loaded.
///
/// # Errors
/// What the store answers.
pub(crate) fn mark_loaded(lake: &Lake, note: &Note, loaded_at: Micros) -> Result<(), Fault> {
    let state = State::of(lake);
    if let Some(form) = form_of(note) {
        state.put(&state.place(&["keys", &note.schema, &form]), &Loaded { loaded_at })?;
    }
    state.put(&loaded(&state, &note.schema, &note.upload_id), &Loaded { loaded_at })
}

/// Removes a note, and then its files.
///
/// # Errors
/// What the store answers.
pub(crate) fn clear(lake: &Lake, left: &Left) -> Result<(), Fault> {
    let state = State::of(lake);
    state.remove(&left.place)?;
    left.note.tables.iter().flat_map(|table| &table.files).try_for_each(|file| state.remove(&file.key(lake)))
}

fn pending(state: &State<'_>, schema: &str, upload_id: &str) -> Path {
    state.place(&["pending", schema, &format!("{upload_id}.json")])
}

fn loaded(state: &State<'_>, schema: &str, upload_id: &str) -> Path {
    state.place(&["loaded", schema, &format!("{upload_id}.json")])
}
