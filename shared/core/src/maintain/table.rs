//! One table put in order.

use inlet_events::table::UPLOAD_ID;

use super::report::TableMaintained;
use super::{Ask, unneeded};
use crate::clock::Deadline;
use crate::delta::{
    COMMITS_PER_CHECKPOINT, DataFile, Lake, LiveFiles, Replaced, Small, Table, Tidied, clean_log, may_compact, replace,
    sweep_uncommitted, tidy_beyond,
};
use crate::fault::Fault;
use crate::ledger::{LOADS, REJECTS};
use crate::report::FaultReport;

/// What writing a checkpoint may use.
const CHECKPOINT_BYTES: u64 = 256 << 20;

/// Whether a table is one that Inlet writes to.
pub(super) fn is_ours(table: &Table, name: &str) -> bool {
    let has_lineage = table.columns().iter().any(|column| column.name == UPLOAD_ID);
    has_lineage || name == LOADS || name == REJECTS
}

/// Compacts a table, then its log, then removes what is not needed. `may_remove` says whether nothing in the schema is
/// gone that could be read from files that nobody names.
pub(super) fn maintain_table(
    lake: &Lake,
    (schema, name): (&str, &str),
    table: &mut Table,
    ask: &Ask,
    may_remove: bool,
    deadline: Deadline,
) -> TableMaintained {
    let mut done = TableMaintained::new(schema, name);
    let work = compact(lake, table, ask, deadline, &mut done)
        .and_then(|()| shorten(lake, table, ask, &mut done))
        .and_then(|()| match may_remove && !deadline.is_over() {
            true => unneeded::remove(lake, (schema, name), table, ask, &mut done),
            false => Ok(()),
        });
    done.unfinished |= deadline.is_over();
    if let Err(fault) = work {
        done.fault = Some(FaultReport::from(&fault));
    }
    done
}

fn compact(
    lake: &Lake,
    table: &mut Table,
    ask: &Ask,
    deadline: Deadline,
    done: &mut TableMaintained,
) -> Result<(), Fault> {
    let live = LiveFiles::of(table)?;
    let groups = live.groups(ask.rules.small_file_bytes, ask.ago(ask.rules.compact_after));
    done.files = live.count();
    done.small_files = groups.iter().map(|group| group.len() as u64).sum();
    if let Err(fault) = may_compact(table) {
        done.skipped = Some(FaultReport::from(&fault));
        return Ok(());
    }
    if ask.plan {
        return Ok(());
    }
    for group in &groups {
        if deadline.is_over() {
            done.unfinished = true;
            break;
        }
        let files = live.rewrite(table, group, deadline)?;
        match replace(table, &live.paths(group), &files, deadline) {
            Ok(Replaced::Committed { .. }) => count(done, group, &files),
            Ok(Replaced::Overtaken) => {
                done.compacted.dropped += 1;
                sweep_uncommitted(lake, table, &files)?;
            }
            Ok(Replaced::Gated(closed)) => {
                let fault = closed.fault(table.schema(), table.name());
                sweep_uncommitted(lake, table, &files)?;
                return Err(fault);
            }
            Err(fault) => {
                // What cannot be swept now is swept as what nobody names, later.
                drop(sweep_uncommitted(lake, table, &files));
                return Err(fault);
            }
        }
    }
    Ok(())
}

fn count(done: &mut TableMaintained, group: &[Small], files: &[DataFile]) {
    let compacted = &mut done.compacted;
    compacted.from_files += group.len() as u64;
    compacted.from_bytes += group.iter().map(|file| file.bytes).sum::<u64>();
    compacted.to_files += files.len() as u64;
    compacted.to_bytes += files.iter().map(DataFile::size).sum::<u64>();
    compacted.rows += files.iter().map(DataFile::rows).sum::<u64>();
    compacted.commits += 1;
}

/// A checkpoint when it is due, and the log cut to its retention. Not of tables that Inlet may not write to.
fn shorten(lake: &Lake, table: &mut Table, ask: &Ask, done: &mut TableMaintained) -> Result<(), Fault> {
    if table.may_append().is_err() {
        return Ok(());
    }
    if ask.plan {
        done.checkpoint = (table.commits_behind() > COMMITS_PER_CHECKPOINT).then_some(table.version());
    } else {
        // Behind a compaction one is small, and whoever opens the table reads it instead of all that came before.
        let may_be_behind = if done.compacted.commits > 0 { 0 } else { COMMITS_PER_CHECKPOINT };
        let Tidied { checkpoint, would_take_bytes, removed_log_files, .. } =
            tidy_beyond(may_be_behind, lake, table, CHECKPOINT_BYTES)?;
        (done.checkpoint, done.would_take_bytes, done.removed_log_files) =
            (checkpoint, would_take_bytes, removed_log_files);
    }
    done.removed_log_files += clean_log(lake, table, ask.now, ask.plan)?;
    Ok(())
}
