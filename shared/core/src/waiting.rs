//! What waits in the state folder of a lake: rows that are held, tables that the catalog does not show as they are, and
//! who is at work on them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Micros;
use crate::delta::Lake;
use crate::evolve::notes;
use crate::fault::Fault;
use crate::gates;
pub use crate::held::Refused;
use crate::held::{self, Note, WaitsFor};
use crate::lease;
use crate::ledger::{LOADS, REJECTS};
use crate::managed::staged;

/// What waits of one schema.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Waiting {
    /// Rows that wait for a change of their table, or for its gate, by table.
    pub held: Vec<HeldTable>,
    /// Tables whose new columns the catalog may not show yet.
    pub catalog: Vec<BehindTable>,
}

/// Rows of one table that are written and not yet part of it.
#[derive(Debug, PartialEq, Serialize)]
pub struct HeldTable {
    /// The table, without its schema.
    pub table: String,
    /// How many.
    pub rows: u64,
    /// The oldest note's age in seconds.
    pub seconds: i64,
    /// `change` (of the table), `gate`, or `load` (by the warehouse): what they wait for.
    pub waits_for: &'static str,
    /// Columns that they bring.
    pub columns: Vec<String>,
    /// Why the table takes no rows from Inlet as it is, if that is what they wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Why the last attempts failed, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedAttempts>,
}

/// What waits of one schema whose tables are managed.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Staged {
    /// Uploads whose rows wait for the warehouse.
    pub uploads: u64,
    /// Their rows in event tables.
    pub rows: u64,
    /// How long the oldest of them has waited; absent when none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// Their rows by table, the most first.
    pub tables: Vec<StagedRows>,
    /// Uploads that were loaded in the last 30 days.
    pub loaded: u64,
    /// Since the last of them; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_since_load: Option<i64>,
    /// Notes that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// Staged rows of one table.
#[derive(Debug, PartialEq, Serialize)]
pub struct StagedRows {
    /// The table, without its schema.
    pub table: String,
    /// How many.
    pub rows: u64,
    /// Why the last attempts failed, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedAttempts>,
}

/// A table that a note speaks of.
#[derive(Debug, PartialEq, Serialize)]
pub struct BehindTable {
    /// The table, without its schema.
    pub table: String,
    /// The oldest note's age in seconds.
    pub seconds: i64,
    /// Why the last attempts failed, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedAttempts>,
}

/// Attempts at a table in a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailedAttempts {
    /// How many; after three the table is left alone.
    pub count: u32,
    /// What the last one said.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A lease that somebody holds.
#[derive(Debug, PartialEq, Serialize)]
pub struct HeldLease {
    /// What is done under it.
    pub name: String,
    /// Seconds since its holder renewed it.
    pub seconds: i64,
    /// Whether its holder is taken for dead.
    pub is_expired: bool,
}

/// What waits of a schema, oldest first.
///
/// # Errors
/// When the state folder cannot be read.
pub(crate) fn of_schema(lake: &Lake, schema: &str, now: Micros) -> Result<Waiting, Fault> {
    let seconds = |since: Micros| (now - since).max(0) / 1_000_000;
    let failed = |table: &str| failed_attempts(lake, schema, table);
    let mut waiting = Waiting::default();
    for left in held::gather(lake, Some(schema))?.notes {
        let (rows, age) = (left.note.uploads.iter().map(|upload| upload.rows).sum::<u64>(), seconds(left.note.left_at));
        let columns: Vec<String> = left.note.columns.iter().map(|column| column.name.clone()).collect();
        match waiting.held.iter_mut().find(|one| one.table == left.note.table) {
            Some(known) => {
                known.rows += rows;
                // What needs somebody is named before what only waits.
                if left.note.waits_for == WaitsFor::Change || known.waits_for == WaitsFor::Gate.name() {
                    known.waits_for = left.note.waits_for.name();
                }
                known.refused = left.note.refused.or(known.refused.take());
                known.seconds = known.seconds.max(age);
                let new: Vec<String> = columns.into_iter().filter(|name| !known.columns.contains(name)).collect();
                known.columns.extend(new);
            }
            None => {
                let failed = failed(&left.note.table)?;
                let Note { table, waits_for, refused, .. } = left.note;
                let waits_for = waits_for.name();
                waiting.held.push(HeldTable { table, rows, seconds: age, waits_for, columns, refused, failed });
            }
        }
    }
    for left in notes::gather(lake)?.notes.into_iter().filter(|left| left.note.schema == schema) {
        let age = seconds(left.note.left_at);
        for table in left.note.tables.into_keys() {
            match waiting.catalog.iter_mut().find(|one| one.table == table) {
                Some(known) => known.seconds = known.seconds.max(age),
                None => {
                    let failed = failed(&table)?;
                    waiting.catalog.push(BehindTable { table, seconds: age, failed });
                }
            }
        }
    }
    waiting.held.sort_by(|a, b| b.seconds.cmp(&a.seconds).then_with(|| a.table.cmp(&b.table)));
    waiting.catalog.sort_by(|a, b| b.seconds.cmp(&a.seconds).then_with(|| a.table.cmp(&b.table)));
    Ok(waiting)
}

fn failed_attempts(lake: &Lake, schema: &str, table: &str) -> Result<Option<FailedAttempts>, Fault> {
    let attempts = notes::attempts(lake, schema, table)?;
    Ok(attempts.map(|one| FailedAttempts { count: one.failed, message: one.message, hint: one.hint }))
}

/// What is staged, and what was loaded lately, by schema.
///
/// # Errors
/// When the volume cannot be read.
pub(crate) fn staged(volume: &Lake, now: Micros) -> Result<BTreeMap<String, Staged>, Fault> {
    let mut schemas: BTreeMap<String, Staged> = BTreeMap::new();
    let seconds = |since: Micros| (now - since).max(0) / 1_000_000;
    for (schema, loaded_at) in staged::loaded_lately(volume)? {
        let schema = schemas.entry(schema).or_default();
        schema.loaded += 1;
        schema.seconds_since_load = schema.seconds_since_load.into_iter().chain([seconds(loaded_at)]).min();
    }
    let gathered = staged::gather(volume)?;
    for (place, what) in gathered.damaged {
        let schema = place.parts().nth_back(1).map(|part| part.as_ref().to_owned()).unwrap_or_default();
        let damaged = format!("`{place}` is no note of staged rows: {what}");
        schemas.entry(schema).or_default().damaged.push(damaged);
    }
    for note in gathered.notes.into_iter().map(|left| left.note) {
        let schema = schemas.entry(note.schema.clone()).or_default();
        schema.uploads += 1;
        schema.seconds = schema.seconds.max(Some(seconds(note.staged_at)));
        for part in note.tables.into_iter().filter(|part| ![LOADS, REJECTS].contains(&part.table.as_str())) {
            schema.rows += part.rows;
            match schema.tables.iter_mut().find(|known| known.table == part.table) {
                Some(known) => known.rows += part.rows,
                None => {
                    let failed = failed_attempts(volume, &note.schema, &part.table)?;
                    schema.tables.push(StagedRows { table: part.table, rows: part.rows, failed });
                }
            }
        }
        schema.tables.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.table.cmp(&b.table)));
    }
    Ok(schemas)
}

/// Leases of the lake that somebody holds, or held until death.
///
/// # Errors
/// When the state folder cannot be read.
pub(crate) fn leases(lake: &Lake, now: Micros) -> Result<Vec<HeldLease>, Fault> {
    let gates = gates::closed(lake)?.into_iter();
    let gates = gates.map(|(table, renewed_at)| (format!("what closed the gate of {table}"), renewed_at));
    let held = lease::held(lake, "leases")?.into_iter().chain(gates).map(|(name, renewed_at)| {
        let age = (now - renewed_at).max(0);
        HeldLease { name, seconds: age / 1_000_000, is_expired: lease::is_expired(age) }
    });
    Ok(held.collect())
}
