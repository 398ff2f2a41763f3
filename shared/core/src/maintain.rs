//! What many small appends leave behind, put in order: small files become large ones, files that nobody needs any more
//! go, checkpoints are written that are due, logs are cut to their retention, notes go whose uploads are done.
//!
//! ```text
//!  per schema:  on S3: what was overwritten lands again -> notes that are done
//!    per table: small files, in groups -> written anew -> one commit without a change of data
//!               -> checkpoint -> expired log files -> files that neither the log nor a note names
//!  then, where a warehouse is: OPTIMIZE of tables with small files that Inlet does not write anew
//! ```
//!
//! Whatever is in here can be stopped anywhere, done twice, and done by two at once. Only tables of Inlet's are touched.

mod report;
mod table;
mod unneeded;

use std::time::Duration;

pub use self::report::{Compacted, MaintainReport, TableMaintained};
use self::table::maintain_table;
use crate::clock::{Deadline, Micros};
pub use crate::delta::FILE_BYTES as LARGE_FILE_BYTES;
use crate::delta::{Lake, Table};
use crate::evolve::Parts;
use crate::fault::Fault;
use crate::ledger::LOADS;
use crate::mend::{MendReport, mend};
use crate::report::FaultReport;
use crate::run_sql::{self, run_sql};
use crate::underway;
use crate::upload::app_id_of;

/// What is worth doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Files below this are small: several become one.
    pub small_file_bytes: u64,
    /// A file is left alone until it is as old: late rows are still being read from it, by those who follow the table.
    pub compact_after: Duration,
    /// Files that are no part of a table are kept so long for readers of earlier versions, or as long as the table wants.
    pub keep_removed: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self { small_file_bytes: 32 << 20, compact_after: hour, keep_removed: 7 * 24 * hour }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Look, and change nothing.
    pub plan: bool,
    /// A person asks: a warehouse may be woken outside its window.
    pub by_hand: bool,
    /// What is worth doing.
    pub rules: Rules,
    /// When this is, by the store's clock.
    pub now: Micros,
    /// How long the commits are tried that follow a statement on S3.
    pub patience: Duration,
}

impl Ask {
    /// The moment so long ago.
    fn ago(&self, age: Duration) -> Micros {
        self.now.saturating_sub(Micros::try_from(age.as_micros()).unwrap_or(Micros::MAX))
    }
}

/// Puts these schemas in order; never fails as a whole: what went wrong stands in the report. Nothing is begun after the
/// deadline. `catalog` is the workspace that shows the tables, if there is one.
///
/// Synchronous: call it from a plain thread while the lake's runtime lives. `told` hears what takes long.
pub fn maintain(
    lake: &Lake,
    catalog: Option<&Parts>,
    schemas: &[String],
    ask: &Ask,
    deadline: Deadline,
    told: &(dyn Fn(&str) + Sync),
) -> MaintainReport {
    let mut report = MaintainReport::new(ask.plan);
    let mut run = Run { lake, ask, deadline, told, report: &mut report };
    match (schemas.iter().try_for_each(|schema| run.schema(schema)), catalog) {
        (Ok(()), Some(parts)) => run.optimize(parts),
        (Ok(()), None) => {}
        (Err(fault), _) => report.fault = report.fault.take().or(Some(FaultReport::from(&fault))),
    }
    report
}

struct Run<'a> {
    lake: &'a Lake,
    ask: &'a Ask,
    deadline: Deadline,
    told: &'a (dyn Fn(&str) + Sync),
    report: &'a mut MaintainReport,
}

impl Run<'_> {
    fn schema(&mut self, schema: &str) -> Result<(), Fault> {
        let tables = self.lake.tables(schema)?;
        let is_mended = self.is_mended(schema);
        self.notes(schema)?;
        for name in tables {
            if self.deadline.is_over() {
                self.report.unfinished = true;
                return Ok(());
            }
            self.report.looked_at += 1;
            let mut table = match Table::open(self.lake, schema, &name) {
                Ok(Some(table)) => table,
                Ok(None) => continue,
                Err(fault) => {
                    self.report.tables.push(TableMaintained::unread(schema, &name, &fault));
                    continue;
                }
            };
            if !table::is_ours(&table, &name) {
                self.report.others += 1;
                continue;
            }
            let done = maintain_table(self.lake, (schema, &name), &mut table, self.ask, is_mended, self.deadline);
            self.report.unfinished |= done.unfinished;
            if done.is_worth_a_word() {
                self.report.tables.push(done);
            }
        }
        Ok(())
    }

    /// On S3 Databricks' commits may have overwritten ours. Their rows are read from files that nobody names any more, so
    /// these go only when nothing is missing.
    fn is_mended(&mut self, schema: &str) -> bool {
        if self.ask.plan || !self.lake.needs_gates() {
            return true;
        }
        let MendReport { mended, lost, fault, .. } = mend(self.lake, &[schema.to_owned()], self.deadline);
        let is_mended = fault.is_none() && lost.is_empty();
        self.report.mended.extend(mended);
        self.report.lost.extend(lost);
        self.report.fault = self.report.fault.take().or(fault);
        is_mended
    }

    /// Notes of runs that were killed right before they would have removed them.
    fn notes(&mut self, schema: &str) -> Result<(), Fault> {
        let loads = Table::open(self.lake, schema, LOADS)?;
        let is_done = |id: &str| loads.as_ref().is_some_and(|loads| loads.has(&app_id_of(id)));
        self.report.notes += match self.ask.plan {
            true => underway::notes(self.lake, schema)?.iter().filter(|note| note.is_done(is_done)).count(),
            false => underway::sweep(self.lake, schema, is_done)?,
        };
        Ok(())
    }

    /// What Inlet does not write anew, the warehouse does: one wake for all.
    fn optimize(&mut self, parts: &Parts) {
        for table in self.report.tables.iter_mut().filter(|table| table.skipped.is_some() && table.small_files > 0) {
            let (schema, name) = table.table.split_once('.').unwrap_or_default();
            let statement = format!("OPTIMIZE `{schema}`.`{name}`");
            if self.ask.plan {
                table.statement = Some(statement);
                continue;
            }
            if self.deadline.is_over() {
                self.report.unfinished = true;
                break;
            }
            let Ask { by_hand, patience, .. } = *self.ask;
            let asked = run_sql::Ask { statement: &statement, patience, by_hand };
            let ran = run_sql(parts, asked, self.deadline, self.told);
            let has_begun = ran.statement.is_some();
            table.statement = ran.statement;
            table.fault = table.fault.take().or(ran.fault);
            self.report.mended.extend(ran.mended);
            self.report.lost.extend(ran.lost);
            report::add_use(&mut self.report.warehouse, ran.warehouse);
            if table.fault.is_some() && !has_begun {
                // No warehouse for one is none for the others.
                self.report.unfinished = true;
                break;
            }
        }
    }
}
