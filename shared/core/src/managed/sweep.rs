//! What nobody needs any more goes, once a day: markers of uploads that nobody delivers again, and files that no note
//! names.

use std::time::Duration;

use hashbrown::HashSet;
use object_store::path::Path;

use super::at_once::at_once;
use super::staged::{self, StagedTable};
use crate::clock::{self, Micros};
use crate::delta::Lake;
use crate::fault::Fault;
use crate::state::State;

/// Markers are kept as long as the ids of uploads in a table's log, those of keys as long as theirs in `_loads`.
const KEPT: [(&str, Duration); 2] =
    [("loaded", Duration::from_secs(30 * DAY)), ("keys", Duration::from_secs(26 * 7 * DAY))];
/// A run that writes files has left its note by then, or never will.
const NOTE_COMES_WITHIN: Duration = Duration::from_secs(DAY);
/// How often this is worth the listings.
const EVERY: Duration = Duration::from_secs(DAY);
const DAY: u64 = 24 * 60 * 60;
/// Files that one listing looks at.
const FILES: usize = 1_000_000;

/// Sweeps the volume, if nobody has within a day. Call it under the lease.
///
/// # Errors
/// What the store answers.
pub(super) fn sweep(lake: &Lake) -> Result<(), Fault> {
    let state = State::of(lake);
    let last = state.place(&["swept.json"]);
    let is_older = |modified: Micros, than: Duration| {
        modified < clock::now() - Micros::try_from(than.as_micros()).unwrap_or(Micros::MAX)
    };
    if state.look(&last)?.is_some_and(|swept| !is_older(swept.modified, EVERY)) {
        return Ok(());
    }
    for (markers, kept) in KEPT {
        let listed = state.list(&state.place(&[markers]), FILES)?;
        let expired = listed.iter().filter(|marker| is_older(marker.modified, kept));
        at_once(expired, |marker| state.remove(&marker.place))?;
    }
    // Files first: a note that comes meanwhile names none that is a day old.
    let mut files = Vec::new();
    for schema in lake.schemas()? {
        files.extend(state.list(&lake.root().clone().join(schema.as_str()), FILES)?);
    }
    let notes = staged::gather(lake)?.notes;
    let tables = notes.iter().flat_map(|left| &left.note.tables);
    let named: HashSet<Path> = tables.flat_map(StagedTable::all_files).map(|file| file.key(lake)).collect();
    let orphans =
        files.iter().filter(|file| is_older(file.modified, NOTE_COMES_WITHIN) && !named.contains(&file.place));
    at_once(orphans, |file| state.remove(&file.place))?;
    state.put(&last, &clock::now())
}
