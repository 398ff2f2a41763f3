//! Rows that waited for a gate, committed once it is open.

use std::collections::BTreeMap;

use super::{Committed, Left, WaitsFor, commit_held, gather};
use crate::clock::Deadline;
use crate::delta::{Lake, Table};
use crate::evolve::notes;
use crate::fault::Fault;
use crate::gates;

/// Tables, and what came of the rows that were held for them.
pub(crate) type Released = BTreeMap<(String, String), Result<Committed, Fault>>;

/// Commits rows that waited for gates which are open now: all of them, or those of a schema. What fails for one table
/// stays held, and stops no other.
///
/// # Errors
/// What the store answers when notes or gates cannot be read.
pub(crate) fn release(
    lake: &Lake,
    schema: Option<&str>,
    has_catalog: bool,
    deadline: Deadline,
) -> Result<Released, Fault> {
    let mut tables: BTreeMap<(String, String), Vec<Left>> = BTreeMap::new();
    for left in gather(lake, schema)?.notes {
        if left.note.waits_for == WaitsFor::Gate {
            tables.entry((left.note.schema.clone(), left.note.table.clone())).or_default().push(left);
        }
    }
    let mut released = Released::new();
    for ((schema, table), notes) in tables {
        if gates::look(lake, &schema, &table, None)?.is_some() {
            continue;
        }
        let committed = release_table(lake, &schema, &table, &notes, has_catalog, deadline);
        released.insert((schema, table), committed);
    }
    Ok(released)
}

fn release_table(
    lake: &Lake,
    schema: &str,
    table: &str,
    notes: &[Left],
    has_catalog: bool,
    deadline: Deadline,
) -> Result<Committed, Fault> {
    if has_catalog {
        leave_note(lake, schema, table, notes)?;
    }
    commit_held(lake, schema, table, &notes.iter().collect::<Vec<_>>(), deadline)
}

/// The note that the catalog will be behind: that of the run which held the rows may be gone.
fn leave_note(lake: &Lake, schema: &str, table: &str, held: &[Left]) -> Result<(), Fault> {
    let columns = Table::columns_in_log(lake, schema, table)?.unwrap_or_default();
    let is_there = |name: &str| columns.iter().any(|column| column.name == name);
    let wanted = super::wanted(held.iter().map(|left| &left.note)).into_iter().map(|column| column.name);
    let missing: Vec<String> = wanted.filter(|name| !is_there(name)).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => notes::leave(lake, schema, [(table.to_owned(), missing)].into()),
    }
}
