//! Gates of tables in a round: on S3 the warehouse changes a table, and copies rows into it, only behind its closed gate.

use std::sync::Mutex;
use std::time::Duration;

use super::{Rounds, Work};
use crate::evolve::catalog::FullName;
use crate::evolve::report::EvolveReport;
use crate::fault::Fault;
use crate::gates::{BehindGate, wait_for_commits};
use crate::managed::Speaker;
use crate::mend::{Lost, MendReport};
use crate::report::FaultReport;

/// How long it may take to land again what was overwritten: the run's own time may be over.
const MENDED_WITHIN: Duration = Duration::from_secs(5 * 60);

impl<'a> Rounds<'a> {
    /// Closes the gates of the tables that rows are to be copied into, and waits once for all until commits that were on
    /// their way are over. A table whose gate does not close fails alone; the others are answered.
    pub(super) fn close_gates(&mut self, needy: Vec<Work>, report: &mut EvolveReport) -> Result<Vec<Work>, Fault> {
        let (parts, deadline, told) = (self.parts, self.deadline, self.told);
        if !parts.lake.needs_gates() {
            return Ok(needy);
        }
        let mut ready = Vec::new();
        for work in needy {
            if !work.are_copies_due() {
                ready.push(work);
                continue;
            }
            let what = format!("COPY INTO {}", work.name.quoted());
            match BehindGate::close(parts, &work.name, self.warehouse_id()?, &what, deadline, told) {
                Ok(closed) => {
                    self.gates.insert(work.name.clone(), closed);
                    ready.push(work);
                }
                Err(fault) => self.conclude(&work, Err(fault), report)?,
            }
        }
        if !self.gates.is_empty() {
            wait_for_commits(parts, told);
        }
        Ok(ready)
    }

    /// Speaks of one table to the warehouse that was opened, behind the table's gate if that is closed.
    pub(in crate::evolve) fn speaker(&self, name: &FullName) -> Result<Speaker<'_>, Fault> {
        let (workspace, warehouse) = (&self.parts.workspace, self.warehouse_id()?);
        let (said, behind) = (Mutex::default(), self.gates.get(name));
        Ok(Speaker { workspace, warehouse, deadline: self.deadline, said, behind })
    }

    /// Runs the statements that a table needs; whether something that they make was there already.
    pub(super) async fn change(&self, work: &Work) -> Result<bool, Fault> {
        let speaker = self.speaker(&work.name)?;
        let mut was_there = false;
        for statement in &work.table {
            match speaker.try_say(statement).await? {
                Err(error) if error.already_exists() => was_there = true,
                other => drop(other?),
            }
        }
        Ok(was_there)
    }

    /// Opens a table's gate, if it is closed; what had been overwritten has landed again before.
    pub(super) fn open_gate(&mut self, name: &FullName, report: &mut EvolveReport) {
        let Some(closed) = self.gates.remove(name) else { return };
        let Some(MendReport { mended, lost, fault, .. }) = closed.open(MENDED_WITHIN) else { return };
        for again in mended {
            report.warn(format!(
                "commits to `{}` had been overwritten: {} rows of {} uploads landed again",
                again.table, again.rows, again.uploads
            ));
        }
        let lost = lost.iter().map(|Lost { table, upload, rows, why, .. }| {
            let gone = format!("{rows} rows of `{upload}` are gone from `{table}`: {why}");
            FaultReport::from(&Fault::rejected(gone).hint(Lost::HINT))
        });
        report.fault = report.fault.take().or(fault).or_else(|| lost.into_iter().next());
    }

    /// The warehouse that was opened.
    pub(super) fn warehouse_id(&self) -> Result<&str, Fault> {
        self.warehouse.as_ref().map(|awake| awake.id.as_str()).ok_or_else(|| Fault::bug("no warehouse was opened"))
    }
}
