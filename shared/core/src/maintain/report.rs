//! What was put in order, or would be.

use serde::Serialize;

use crate::evolve::WarehouseUse;
use crate::fault::{Fault, FaultKind};
use crate::mend::{Lost, Mended};
use crate::report::FaultReport;

/// One run of `maintain`.
#[derive(Debug, Serialize)]
pub struct MaintainReport {
    /// The function that reports: `maintain`.
    pub function: &'static str,
    /// Whether nothing was changed: what would be done is said.
    pub plan: bool,
    /// Tables that were looked at.
    pub looked_at: u64,
    /// Tables among them that Inlet did not make: nothing was done to them.
    pub others: u64,
    /// Tables that something was done to, or could not be done to.
    pub tables: Vec<TableMaintained>,
    /// Notes of uploads under way that were done, and went.
    pub notes: usize,
    /// On S3: what had been overwritten and landed again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<Mended>,
    /// On S3: what had been overwritten and could not be landed again. Files of these schemas were kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
    /// How the warehouse was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warehouse: Option<WarehouseUse>,
    /// Whether time was over, or the warehouse not to be had, before all was done; the next run does the rest.
    pub unfinished: bool,
    /// What stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

/// One table.
#[derive(Debug, Default, Serialize)]
pub struct TableMaintained {
    /// `<schema>.<table>`.
    pub table: String,
    /// The files that made up the table, as found.
    pub files: u64,
    /// Small ones among them that are worth compacting.
    pub small_files: u64,
    /// What they became.
    pub compacted: Compacted,
    /// Files that neither the log nor a note named any more, and that went.
    pub removed_files: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// The version of the checkpoint that was written, or is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// The memory that a due checkpoint would take, when that is more than was allowed: it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_take_bytes: Option<u64>,
    /// Files of the log that had expired and went.
    pub removed_log_files: usize,
    /// Why its small files were not compacted by Inlet, and what compacts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<FaultReport>,
    /// The statement that compacted them, or would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// What did not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
    /// Whether time was over before all was done.
    pub unfinished: bool,
}

/// Small files of a table that became large ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Files that are no part of the table any more.
    pub from_files: u64,
    /// Their bytes.
    pub from_bytes: u64,
    /// Files that hold their rows now.
    pub to_files: u64,
    /// Their bytes.
    pub to_bytes: u64,
    /// The rows.
    pub rows: u64,
    /// Commits; each is of at most 128 MiB.
    pub commits: u64,
    /// Compactions that were dropped, since somebody else changed the table under them.
    pub dropped: u64,
}

impl MaintainReport {
    pub(super) fn new(plan: bool) -> Self {
        Self {
            function: "maintain",
            plan,
            looked_at: 0,
            others: 0,
            tables: Vec::new(),
            notes: 0,
            mended: Vec::new(),
            lost: Vec::new(),
            warehouse: None,
            unfinished: false,
            fault: None,
        }
    }

    /// A report of nothing but a fault.
    pub fn failed(fault: &Fault, plan: bool) -> Self {
        Self { fault: Some(FaultReport::from(fault)), ..Self::new(plan) }
    }

    /// The gravest fault met, if any; what is lost counts as rejected.
    pub fn gravest(&self) -> Option<FaultKind> {
        let faults = self.tables.iter().filter_map(|table| table.fault.as_ref()).chain(&self.fault);
        let lost = (!self.lost.is_empty()).then_some(FaultKind::Rejected);
        faults.map(|fault| fault.kind).chain(lost).max_by_key(|kind| kind.gravity())
    }
}

impl TableMaintained {
    pub(super) fn new(schema: &str, name: &str) -> Self {
        Self { table: format!("{schema}.{name}"), ..Self::default() }
    }

    /// A table that cannot be read. Where somebody would have to change it, it is one that takes no rows either, or none
    /// of Inlet's.
    pub(super) fn unread(schema: &str, name: &str, fault: &Fault) -> Self {
        let (kind, fault) = (fault.kind(), Some(FaultReport::from(fault)));
        let (skipped, fault) = if kind == FaultKind::Setup { (fault, None) } else { (None, fault) };
        Self { skipped, fault, ..Self::new(schema, name) }
    }

    /// Whether something was done, is to be done, or could not be done. A table that is skipped and has nothing to compact
    /// is in order.
    pub(super) fn is_worth_a_word(&self) -> bool {
        self.small_files + self.removed_files > 0
            || self.checkpoint.is_some()
            || self.would_take_bytes.is_some()
            || self.removed_log_files > 0
            || self.fault.is_some()
    }
}

/// The warehouse's uses together.
pub(super) fn add_use(all: &mut Option<WarehouseUse>, more: Option<WarehouseUse>) {
    match (all.as_mut(), more) {
        (Some(all), Some(more)) => {
            all.seconds += more.seconds;
            all.woken |= more.woken;
        }
        (None, more) => *all = more,
        (Some(_), None) => {}
    }
}
