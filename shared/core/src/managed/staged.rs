//! Uploads that are staged, and uploads that are loaded: what says so.
//!
//! The note of an upload, `_inlet/pending/<schema>/<id>.json`, is put where nothing is: of two deliveries one wins, and
//! its files are the upload. When they are loaded, a marker `_inlet/loaded/<schema>/<id>.json` says so for 30 days, and
//! `_inlet/keys/<schema>/<k>/<key>.<id>.json` for 26 weeks that a form of this key has landed; then the note goes, and its
//! files.

use hashbrown::HashSet;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::at_once::at_once;
use crate::clock::Micros;
use crate::delta::{KeptFile, Lake};
use crate::fault::Fault;
use crate::held::{Restaged, Wanted};
use crate::report::Status;
use crate::state::{self, State};
use crate::upload::key_digest;

/// Notes that one look reads: one for each upload since the last window.
const NOTES: usize = 100_000;
/// Markers that a look lists: those of 30 days, or the forms of the keys in one folder.
const FORMS: usize = 1_000_000;

/// A staged upload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) schema: String,
    /// Its key, by which its other forms are known; standard input has none.
    pub(crate) key: Option<String>,
    pub(crate) upload_id: String,
    /// When it arrived in its landing store.
    pub(crate) modified: Micros,
    pub(crate) staged_at: Micros,
    /// Where the run was that staged it.
    pub(crate) host: String,
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
    /// Files whose rows were written anew; they stand until the upload is loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaced: Vec<KeptFile>,
    /// Values that `_rescued_data` keeps since, beyond those that `_loads` was told of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) rescued: i64,
    /// Rows that an earlier form of the key landed, and that are left out of the files; none: nobody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<u64>,
    /// Rows that stood in the table when the others were written anew for its columns, and that no file holds any more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) standing: u64,
}

impl StagedTable {
    /// All files that were written for it.
    pub(crate) fn all_files(&self) -> impl Iterator<Item = &KeptFile> {
        self.files.iter().chain(&self.replaced)
    }

    /// Takes files in the place of those that it has.
    pub(crate) fn replace(&mut self, anew: Restaged) {
        self.rows = anew.files.iter().map(KeptFile::rows).sum();
        self.rescued += anew.rescued;
        self.replaced.append(&mut self.files);
        self.files = anew.files;
    }
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// A note that lies in the volume.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) place: Path,
    pub(crate) note: Note,
    /// Uploads that landed under its key before; whoever loads it has looked.
    pub(crate) earlier: Vec<String>,
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

/// What became of an upload that is staged or loaded. The note is looked for first: one that is loaded in between has
/// its marker.
///
/// # Errors
/// What the store answers.
pub(crate) fn known(lake: &Lake, schema: &str, upload_id: &str) -> Result<Option<Status>, Fault> {
    let state = State::of(lake);
    if state.look(&pending(&state, schema, upload_id))?.is_some() {
        return Ok(Some(Status::AlreadyStaged));
    }
    Ok(is_loaded(lake, schema, upload_id)?.then_some(Status::AlreadyLanded))
}

/// Whether an upload is loaded: a note of it was left by a delivery that came late.
///
/// # Errors
/// What the store answers.
pub(crate) fn is_loaded(lake: &Lake, schema: &str, upload_id: &str) -> Result<bool, Fault> {
    let state = State::of(lake);
    Ok(state.look(&loaded(&state, schema, upload_id))?.is_some())
}

/// Uploads that were loaded in the last 30 days: their schemas, and when.
///
/// # Errors
/// What the store answers.
pub(crate) fn loaded_lately(lake: &Lake) -> Result<Vec<(String, Micros)>, Fault> {
    let state = State::of(lake);
    let markers = state.list(&state.place(&["loaded"]), FORMS)?;
    let schema = |place: &Path| place.parts().nth_back(1).map(|part| part.as_ref().to_owned());
    Ok(markers.iter().filter_map(|marker| Some((schema(&marker.place)?, marker.modified))).collect())
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
            state::Held::Read(note) => gathered.notes.push(Left { place, note, earlier: Vec::new() }),
            state::Held::Damaged(what) => gathered.damaged.push((place, what)),
        }
    }
    gathered.notes.sort_by(|a, b| (a.note.staged_at, &a.place).cmp(&(b.note.staged_at, &b.place)));
    Ok(gathered)
}

/// Where notes lie now; none is read.
///
/// # Errors
/// What the store answers.
pub(crate) fn places(lake: &Lake) -> Result<HashSet<Path>, Fault> {
    let state = State::of(lake);
    Ok(state.list(&state.place(&["pending"]), NOTES)?.into_iter().map(|file| file.place).collect())
}

/// The ids of uploads that landed under a note's key, and are not its own.
///
/// # Errors
/// What the store answers.
pub(crate) fn earlier_forms(lake: &Lake, note: &Note) -> Result<Vec<String>, Fault> {
    let Some(key) = &note.key else { return Ok(Vec::new()) };
    let (state, key) = (State::of(lake), key_digest(key));
    let listed = state.list(&shelf(&state, &note.schema, &key), FORMS)?;
    let id = |file: &state::Listed| {
        let (of_key, rest) = file.name().split_once('.')?;
        let id = rest.strip_suffix(".json")?;
        (of_key == key && id != note.upload_id).then(|| id.to_owned())
    };
    Ok(listed.iter().filter_map(id).collect())
}

/// The folder of a key's forms, which it shares with one in 256 others: a folder for each key would cost a listing each.
fn shelf(state: &State<'_>, schema: &str, key: &str) -> Path {
    state.place(&["keys", schema, key.get(..2).unwrap_or_default()])
}

/// Says that a note's rows are loaded.
///
/// # Errors
/// What the store answers.
pub(crate) fn mark_loaded(lake: &Lake, note: &Note, loaded_at: Micros) -> Result<(), Fault> {
    let state = State::of(lake);
    if let Some(key) = &note.key {
        let key = key_digest(key);
        let form = shelf(&state, &note.schema, &key).join(format!("{key}.{}.json", note.upload_id));
        state.put(&form, &Loaded { loaded_at })?;
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
    left.note.tables.iter().flat_map(StagedTable::all_files).try_for_each(|file| state.remove(&file.key(lake)))
}

fn pending(state: &State<'_>, schema: &str, upload_id: &str) -> Path {
    state.place(&["pending", schema, &format!("{upload_id}.json")])
}

fn loaded(state: &State<'_>, schema: &str, upload_id: &str) -> Path {
    state.place(&["loaded", schema, &format!("{upload_id}.json")])
}
