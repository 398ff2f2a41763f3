//! Notes that the catalog is behind the lake: `_inlet/catalog/behind/<schema>/<uuid>.json`, one for all tables that a
//! group of uploads changes.
//!
//! A note is left before the commits that it speaks of: a run that is killed in between leaves a note too many, which
//! is harmless, and never one too few. A table goes from it when the catalog shows what the log has, and the note with
//! its last table. A table whose commit never came goes when the note is old.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Micros};
use crate::delta::{Column, Lake};
use crate::fault::Fault;
use crate::report::FaultReport;
use crate::state::{Held, Listed, State};

/// Notes that one gathering reads; what is over stays for the next.
const NOTES: usize = 10_000;
/// Failures of a table before it is left alone.
pub(crate) const ATTEMPTS: u32 = 3;
/// A commit that has not come after this long will not come.
const COMMIT_COMES_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What a run is about to change in the logs of a schema's tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Behind {
    pub(crate) schema: String,
    /// By table: the columns that it will have and lacks; of a new table those that the uploads bring.
    pub(crate) tables: BTreeMap<String, Vec<String>>,
    pub(crate) left_at: Micros,
}

impl Behind {
    /// Whether nothing more is to be expected of a table's log: it has the columns, or the note is too old.
    pub(crate) fn is_settled(&self, table: &str, log: Option<&[Column]>) -> bool {
        let oldest = clock::now() - Micros::try_from(COMMIT_COMES_WITHIN.as_micros()).unwrap_or(Micros::MAX);
        let stands = |name: &String| log.is_some_and(|log| log.iter().any(|column| column.name == *name));
        let stand = log.is_some() && self.tables.get(table).is_none_or(|columns| columns.iter().all(stands));
        stand || self.left_at < oldest
    }
}

/// A note that lies in the state folder.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) place: Path,
    pub(crate) note: Behind,
}

/// All notes there are.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) notes: Vec<Left>,
    pub(crate) damaged: Vec<Damaged>,
}

/// A file that cannot be read as a note.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) place: Path,
    /// What is wrong with it.
    pub(crate) what: String,
    /// The schema that it was left for, as its place says.
    pub(crate) schema: Option<String>,
    pub(crate) left_at: Micros,
}

impl Gathered {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.damaged.is_empty()
    }
}

/// Leaves a note; none when there is no table to speak of.
///
/// # Errors
/// When it cannot be written: then the commits must not be made.
pub(crate) fn leave(lake: &Lake, schema: &str, tables: BTreeMap<String, Vec<String>>) -> Result<(), Fault> {
    if tables.is_empty() {
        return Ok(());
    }
    let state = State::of(lake);
    let place = behind(&state).join(schema).join(format!("{}.json", uuid::Uuid::new_v4()));
    state.put(&place, &Behind { schema: schema.to_owned(), tables, left_at: clock::now() })
}

/// Reads all notes; a damaged one is named and stops none of the others.
///
/// # Errors
/// What the store answers.
pub(crate) fn gather(lake: &Lake) -> Result<Gathered, Fault> {
    let state = State::of(lake);
    let mut gathered = Gathered::default();
    for file in state.list(&behind(&state), NOTES)? {
        let schema = schema_of(&state, &file);
        let what = match state.read::<Behind>(&file)? {
            Held::Gone => continue,
            Held::Read(note) if Some(&note.schema) == schema.as_ref() => {
                gathered.notes.push(Left { place: file.place, note });
                continue;
            }
            Held::Read(note) => format!("it speaks of schema `{}`", note.schema),
            Held::Damaged(what) => what,
        };
        gathered.damaged.push(Damaged { left_at: file.modified, place: file.place, what, schema });
    }
    Ok(gathered)
}

/// Takes tables from a note that are done; the note goes with the last.
///
/// # Errors
/// What the store answers.
pub(crate) fn keep_only(lake: &Lake, left: &Left) -> Result<(), Fault> {
    let state = State::of(lake);
    if left.note.tables.is_empty() { state.remove(&left.place) } else { state.put(&left.place, &left.note) }
}

/// How often a table failed in a row, and how at last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attempts {
    pub(crate) failed: u32,
    pub(crate) last_at: Micros,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// The attempts at a table that failed since it last went well.
pub(crate) fn attempts(lake: &Lake, schema: &str, table: &str) -> Result<Option<Attempts>, Fault> {
    let state = State::of(lake);
    let Some(file) = state.look(&attempts_of(&state, schema, table))? else { return Ok(None) };
    Ok(match state.read(&file)? {
        Held::Read(attempts) => Some(attempts),
        Held::Gone | Held::Damaged(_) => None,
    })
}

/// Counts a failure.
pub(crate) fn failed(lake: &Lake, schema: &str, table: &str, before: u32, fault: &FaultReport) -> Result<(), Fault> {
    let state = State::of(lake);
    let attempts = Attempts {
        failed: before + 1,
        last_at: clock::now(),
        message: fault.message.clone(),
        hint: fault.hint.clone(),
    };
    state.put(&attempts_of(&state, schema, table), &attempts)
}

/// Forgets failures.
pub(crate) fn succeeded(lake: &Lake, schema: &str, table: &str) -> Result<(), Fault> {
    let state = State::of(lake);
    state.remove(&attempts_of(&state, schema, table))
}

fn behind(state: &State<'_>) -> Path {
    state.place(&["catalog", "behind"])
}

fn attempts_of(state: &State<'_>, schema: &str, table: &str) -> Path {
    state.place(&["catalog", "attempts", schema, &format!("{table}.json")])
}

fn schema_of(state: &State<'_>, file: &Listed) -> Option<String> {
    let folder = behind(state);
    let mut rest = file.place.prefix_match(&folder)?;
    let schema = rest.next()?.as_ref().to_owned();
    (rest.count() == 1).then_some(schema)
}

#[cfg(test)]
mod tests {
    use inlet_events::{ColumnType, KnownType};

    use super::*;
    use crate::delta::testing::TestLake;

    fn columns(names: &[&str]) -> Vec<Column> {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            column_type: KnownType::Ours(ColumnType::String),
            nullable: true,
        };
        names.iter().map(column).collect()
    }

    fn tables(tables: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let columns = |columns: &[&str]| columns.iter().map(|&column| column.to_owned()).collect();
        tables.iter().map(|(table, names)| ((*table).to_owned(), columns(names))).collect()
    }

    #[test]
    fn notes_are_gathered_and_a_damaged_one_is_named_with_its_schema() {
        let test = TestLake::new();
        let lake = &test.lake;
        assert!(gather(lake).unwrap().is_empty());
        leave(lake, "web", tables(&[("tracks", &["a"]), ("pages", &[])])).unwrap();
        leave(lake, "app", tables(&[("pages", &[])])).unwrap();
        leave(lake, "app", BTreeMap::new()).unwrap();
        let state = State::of(lake);
        state.put(&behind(&state).join("web").join("x.json"), &"half a note").unwrap();
        let astray = Behind { schema: "other".into(), tables: BTreeMap::new(), left_at: 0 };
        state.put(&behind(&state).join("web").join("y.json"), &astray).unwrap();
        let gathered = gather(lake).unwrap();
        assert_eq!((gathered.notes.len(), gathered.damaged.len()), (2, 2));
        assert!(gathered.damaged.iter().all(|damaged| damaged.schema.as_deref() == Some("web")));
        assert!(gathered.damaged.iter().any(|damaged| damaged.what == "it speaks of schema `other`"));
    }

    #[test]
    fn a_note_goes_with_its_last_table() {
        let test = TestLake::new();
        leave(&test.lake, "web", tables(&[("tracks", &["a"]), ("pages", &[])])).unwrap();
        let mut left = gather(&test.lake).unwrap().notes.remove(0);
        left.note.tables.remove("pages");
        keep_only(&test.lake, &left).unwrap();
        let again = gather(&test.lake).unwrap().notes;
        assert_eq!(again[0].note, left.note);
        left.note.tables.clear();
        keep_only(&test.lake, &left).unwrap();
        assert!(gather(&test.lake).unwrap().is_empty());
    }

    #[test]
    fn a_note_waits_for_its_commit() {
        let mut note = Behind { schema: "web".into(), tables: tables(&[("tracks", &["a"])]), left_at: clock::now() };
        assert!(!note.is_settled("tracks", None), "no table yet");
        assert!(!note.is_settled("tracks", Some(&columns(&["id"]))), "no such column yet");
        assert!(note.is_settled("tracks", Some(&columns(&["id", "a"]))));
        note.left_at = 0;
        assert!(note.is_settled("tracks", None), "its commit never came");
    }

    #[test]
    fn failures_are_counted_until_it_goes_well() {
        let test = TestLake::new();
        let lake = &test.lake;
        let fault = FaultReport::from(&Fault::setup("denied").hint("GRANT"));
        failed(lake, "web", "tracks", 0, &fault).unwrap();
        failed(lake, "web", "tracks", 1, &fault).unwrap();
        let counted = attempts(lake, "web", "tracks").unwrap().unwrap();
        assert_eq!((counted.failed, counted.message.as_str(), counted.hint.as_deref()), (2, "denied", Some("GRANT")));
        succeeded(lake, "web", "tracks").unwrap();
        assert!(attempts(lake, "web", "tracks").unwrap().is_none());
    }
}
