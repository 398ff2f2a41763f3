//! What `_loads` says of an upload some of whose rows an earlier form of its key had landed: they are duplicates.
//!
//! Its rows were written before anybody knew, and call them landed. More rows follow, which add no events, take the
//! duplicates from the rows, and so keep every sum right.

use inlet_events::Call;

use super::staged::Note;
use crate::clock;
use crate::crew::{no_encoder, own_layout};
use crate::delta::{Encoder, FileWriter, KeptFile, Lake};
use crate::fault::Fault;
use crate::ledger::{LOADS, LoadCounts, LoadRow, LoadRows, loads_columns};
use crate::report::Status;

/// Writes the rows; none when nothing was left out.
///
/// # Errors
/// What the store answers.
pub(super) fn corrected(lake: &Lake, note: &Note) -> Result<Vec<KeptFile>, Fault> {
    let left_out: Vec<(&str, i64)> = note
        .tables
        .iter()
        .map(|table| (table.table.as_str(), i64::try_from(table.left_out.unwrap_or(0)).unwrap_or(i64::MAX)))
        .filter(|(_, count)| *count > 0)
        .collect();
    if left_out.is_empty() {
        return Ok(Vec::new());
    }
    let is_call = |name: &str| Call::ALL.iter().any(|call| call.table() == name);
    // The upload's own row counts events, each by its call table.
    let events: i64 = left_out.iter().filter(|(table, _)| is_call(table)).map(|(_, count)| count).sum();
    let of_tables = left_out.iter().map(|(table, count)| (Some(*table), *count));
    let finished_at = clock::now();
    let mut rows = LoadRows::new();
    for (table, count) in of_tables.chain([(None, events)]) {
        rows.push(&LoadRow {
            upload: note.key.as_deref().unwrap_or_default(),
            upload_id: note.upload_id.clone(),
            table,
            status: Status::Landed.name(),
            counts: LoadCounts { rows: -count, duplicates: count, ..LoadCounts::default() },
            bytes: None,
            version: None,
            new_columns: &[],
            started_at: note.staged_at,
            finished_at,
            lag_seconds: (finished_at - note.modified) as f64 / 1e6,
            host: &note.host,
        });
    }
    let layout = own_layout(lake, &note.schema, LOADS, None, &loads_columns())?;
    let mut writer = FileWriter::create(lake, layout)?;
    writer.write(&rows.row_group(), &mut Encoder::new().map_err(no_encoder)?)?;
    Ok(vec![writer.finish()?.on_paper(lake)])
}
