//! What `_loads` says of an upload whose rows were not loaded as they were staged: an earlier form of its key had landed
//! some, which are duplicates; or values are rescued that had a column, by then.
//!
//! Its rows were written before anybody knew. More rows follow, which add no events, take the duplicates from the rows,
//! and so keep every sum right.

use inlet_events::Call;

use super::staged::{Note, StagedTable};
use crate::clock;
use crate::crew::{no_encoder, own_layout};
use crate::delta::{Encoder, FileWriter, KeptFile, Lake};
use crate::fault::Fault;
use crate::ledger::{LOADS, LoadCounts, LoadRow, LoadRows, loads_columns};
use crate::report::Status;

/// Writes the rows beside those that are staged, under a name that follows from theirs; none when there is nothing to say.
///
/// # Errors
/// What the store answers.
pub(super) fn corrected(lake: &Lake, note: &Note, staged: &[KeptFile]) -> Result<Vec<KeptFile>, Fault> {
    let mut changed = Vec::new();
    let mut own = LoadCounts::default();
    for table in &note.tables {
        let counts = counts_of(table);
        if counts == LoadCounts::default() {
            continue;
        }
        let is_call = Call::ALL.iter().any(|call| call.table() == table.table);
        // The upload's own row counts events, each by its call table.
        own.add(if is_call { counts } else { LoadCounts { rescued: counts.rescued, ..LoadCounts::default() } });
        changed.push((Some(table.table.as_str()), counts));
    }
    let (Some(first), false) = (staged.first(), changed.is_empty()) else { return Ok(Vec::new()) };
    let finished_at = clock::now();
    let mut rows = LoadRows::new();
    for (table, counts) in changed.into_iter().chain([(None, own)]) {
        rows.push(&LoadRow {
            upload: note.key.as_deref().unwrap_or_default(),
            upload_id: note.upload_id.clone(),
            table,
            status: Status::Landed.name(),
            counts,
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
    let mut writer = FileWriter::shared(lake, layout, &first.successor())?;
    writer.write(&rows.row_group(), &mut Encoder::new().map_err(no_encoder)?)?;
    Ok(vec![writer.finish()?.on_paper(lake)])
}

/// What a table's rows came to beyond what was said when they were staged.
fn counts_of(table: &StagedTable) -> LoadCounts {
    let left_out = i64::try_from(table.left_out.unwrap_or(0)).unwrap_or(i64::MAX);
    LoadCounts { rows: -left_out, duplicates: left_out, rescued: table.rescued, ..LoadCounts::default() }
}
