//! Logs kept short where no run does it: tables that many small appends grew, and that nobody has landed in since.

use serde::Serialize;

use crate::clock::Deadline;
use crate::delta::{Lake, Table, Tidied, tidy};
use crate::fault::Fault;
use crate::report::FaultReport;

/// What writing a checkpoint may use.
const CHECKPOINT_BYTES: u64 = 256 << 20;

/// What was done to the tables of a lake.
#[derive(Debug, Serialize)]
pub struct UpkeepReport {
    /// The function that reports: `tidy`.
    pub function: &'static str,
    /// Tables that were looked at.
    pub looked_at: u64,
    /// Tables that something was done to, or could not be done to.
    pub tables: Vec<TableKept>,
    /// Whether time was over before all were looked at; the next run does the rest.
    pub unfinished: bool,
}

/// One table.
#[derive(Debug, Serialize)]
pub struct TableKept {
    /// `<schema>.<table>`.
    pub table: String,
    /// The version of the checkpoint that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// Files of the log that had expired and were removed.
    pub removed_log_files: usize,
    /// The memory that a due checkpoint would take, when that is more than was allowed: it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_take_bytes: Option<u64>,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

/// Writes the checkpoints that are due, and removes what has expired of these logs.
///
/// # Errors
/// What the store answers to a listing; a table's own fault stands in the report.
pub fn tidy_all(lake: &Lake, schemas: &[String], deadline: Deadline) -> Result<UpkeepReport, Fault> {
    let mut report = UpkeepReport { function: "tidy", looked_at: 0, tables: Vec::new(), unfinished: false };
    for schema in schemas {
        for name in lake.tables(schema)? {
            if deadline.is_over() {
                report.unfinished = true;
                return Ok(report);
            }
            report.looked_at += 1;
            let tidied = match Table::open(lake, schema, &name) {
                Ok(Some(mut table)) => tidy(lake, &mut table, CHECKPOINT_BYTES),
                Ok(None) => continue,
                Err(fault) => Err(fault),
            };
            let (tidied, fault) = match tidied {
                Ok(tidied) => (tidied, None),
                Err(fault) => (Tidied::default(), Some(FaultReport::from(&fault))),
            };
            let Tidied { checkpoint, would_take_bytes, removed_log_files, .. } = tidied;
            if checkpoint.is_some() || would_take_bytes.is_some() || fault.is_some() {
                let table = format!("{schema}.{name}");
                report.tables.push(TableKept { table, checkpoint, removed_log_files, would_take_bytes, fault });
            }
        }
    }
    Ok(report)
}
