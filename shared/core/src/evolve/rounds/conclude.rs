//! The end of one table in a round: its rows landed, the catalog looked at again, its notes let go; or why not.

use super::{Rounds, Work, evolved, loaded_because, location_of, new_columns, plain};
use crate::databricks::TableInfo;
use crate::delta::Column;
use crate::evolve::catalog::{self, FullName, Need};
use crate::evolve::notes::{self, ATTEMPTS};
use crate::evolve::report::{EvolveReport, HeldRows, TableEvolved, TableStatus};
use crate::fault::{Fault, FaultKind};
use crate::report::FaultReport;

impl Rounds<'_> {
    /// Lands the rows that waited for a table, looks whether the catalog shows it (if it was asked), and lets the notes
    /// go.
    pub(super) fn conclude(
        &mut self,
        work: &Work,
        seen: Result<Option<Option<TableInfo>>, Fault>,
        report: &mut EvolveReport,
    ) -> Result<(), Fault> {
        let (held, done) = match seen {
            Err(fault) => (None, Err(fault)),
            Ok(seen) => match self.land_rows(work, report) {
                Err((held, fault)) => (held, Err(fault)),
                Ok(held) => (held, seen.map_or(Ok(()), |seen| self.shows(work, seen.as_ref()))),
            },
        };
        match done {
            Ok(()) => self.settle(work, held, report),
            Err(fault) => {
                self.failed(&work.name, new_columns(work), &fault, report)?;
                if let Some(one) = report.tables.last_mut() {
                    one.held = held;
                    one.loaded_because = loaded_because(work);
                }
                Ok(())
            }
        }
    }

    /// After the statements: the catalog must show what the log had.
    fn shows(&self, work: &Work, seen: Option<&TableInfo>) -> Result<(), Fault> {
        let location = location_of(&self.parts.lake, &work.name)?;
        match catalog::need(&work.name, &location, &work.columns, seen)? {
            Need::Nothing => Ok(()),
            Need::Register => Err(Fault::again(format!("{} is still not in the catalog", work.name.quoted()))
                .hint("run `inlet evolve` again")),
            // Columns that came meanwhile have notes of their own.
            Need::Sync { new_columns } if new_columns.is_empty() => Ok(()),
            Need::Create(_) | Need::Alter { .. } => Err(Fault::bug("a comparison with the log wants no other log")),
            Need::Sync { new_columns } => Err(Fault::again(format!(
                "{} still lacks {} in the catalog after SYNC METADATA",
                work.name.quoted(),
                new_columns.join(", ")
            ))
            .hint("run `inlet evolve` again; if it stays so, run the statement in the SQL editor and read its answer")),
        }
    }

    fn settle(&mut self, work: &Work, held: Option<HeldRows>, report: &mut EvolveReport) -> Result<(), Fault> {
        let status = match work.need {
            Need::Nothing => TableStatus::UpToDate,
            Need::Register => TableStatus::Registered,
            Need::Sync { .. } => TableStatus::Synced,
            Need::Create(_) => TableStatus::Created,
            Need::Alter { .. } => TableStatus::Altered,
        };
        let released = self.released.remove(&(work.name.schema.clone(), work.name.table.clone()));
        let held = held.or(released);
        report.notes.settled += self.leave_notes(&work.name, Some(&work.columns))?;
        if status != TableStatus::UpToDate || held.is_some() {
            notes::succeeded(&self.parts.lake, &work.name.schema, &work.name.table)?;
        }
        report.tables.push(TableEvolved { held, ..evolved(work, status, None) });
        Ok(())
    }

    /// Takes a table from its notes, as far as its log has what they speak of; answers how many notes went whole.
    pub(super) fn leave_notes(&mut self, name: &FullName, log: Option<&[Column]>) -> Result<usize, Fault> {
        if self.ask.plan {
            return Ok(0);
        }
        let mut gone = 0;
        for left in self.notes.iter_mut().filter(|left| left.note.schema == name.schema) {
            if left.note.tables.contains_key(&name.table) && left.note.is_settled(&name.table, log) {
                left.note.tables.remove(&name.table);
                notes::keep_only(&self.parts.lake, left)?;
                gone += usize::from(left.note.tables.is_empty());
            }
        }
        self.notes.retain(|left| !left.note.tables.is_empty());
        Ok(gone)
    }

    pub(super) fn failed(
        &mut self,
        name: &FullName,
        new_columns: Vec<String>,
        fault: &Fault,
        report: &mut EvolveReport,
    ) -> Result<(), Fault> {
        let lake = &self.parts.lake;
        let fault = FaultReport::from(fault);
        if self.ask.plan {
            report.tables.push(TableEvolved { new_columns, ..plain(name, TableStatus::Failed, Some(fault)) });
            return Ok(());
        }
        let before = notes::attempts(lake, &name.schema, &name.table)?.map_or(0, |before| before.failed);
        let is_parked = before >= ATTEMPTS && !self.ask.retry;
        // What is only not there yet will be: it is no reason to give a table up.
        if fault.kind != FaultKind::Again && !is_parked {
            notes::failed(lake, &name.schema, &name.table, before, &fault)?;
        }
        let status = if is_parked { TableStatus::Parked } else { TableStatus::Failed };
        report.tables.push(TableEvolved { new_columns, ..plain(name, status, Some(fault)) });
        Ok(())
    }
}
