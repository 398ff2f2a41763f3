//! Rows that waited for a gate, committed once it is open.

use std::collections::BTreeMap;

use super::{Committed, Growth, Left, WaitsFor, commit_held, gather};
use crate::clock::Deadline;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::gates;

/// Tables, and what came of the rows that were held for them.
pub(crate) type Released = BTreeMap<(String, String), Result<Committed, Fault>>;

/// Commits rows that waited for gates which are open now: all of them, or those of a schema. Whatever else is held for
/// such a table is tried with them: later forms of a key come after the earlier ones. What fails for one table stays
/// held, and stops no other.
///
/// # Errors
/// What the store answers when notes or gates cannot be read.
pub(crate) fn release(lake: &Lake, schema: Option<&str>, deadline: Deadline) -> Result<Released, Fault> {
    let mut tables: BTreeMap<(String, String), Vec<Left>> = BTreeMap::new();
    for left in gather(lake, schema)?.notes {
        tables.entry((left.note.schema.clone(), left.note.table.clone())).or_default().push(left);
    }
    tables.retain(|_, notes| notes.iter().any(|left| left.note.waits_for == WaitsFor::Gate));
    let mut released = Released::new();
    for ((schema, table), notes) in tables {
        if gates::look(lake, &schema, &table, None)?.is_some() {
            continue;
        }
        let notes: Vec<&Left> = notes.iter().collect();
        let committed = commit_held(lake, &schema, &table, &notes, Growth::Wanted, deadline);
        released.insert((schema, table), committed);
    }
    Ok(released)
}
