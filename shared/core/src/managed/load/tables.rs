//! The tables of one round, several at once: made or altered, their rows fitted, copied and counted.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::StreamExt;
use hashbrown::HashSet;

use super::{Shown, Window};
use crate::databricks::TableInfo;
use crate::evolve::notes::{self, ATTEMPTS};
use crate::evolve::{Awake, EvolveReport, FullName, HeldRows, TableEvolved, TableStatus};
use crate::fault::{Fault, FaultKind};
use crate::ledger::{LOADS, REJECTS};
use crate::managed::job::{Job, Speaker, refuse_another_thing};
use crate::managed::staged::Left;
use crate::report::FaultReport;

/// Tables that are loaded at once; a small warehouse runs ten statements.
const AT_ONCE: usize = 8;

impl Window<'_> {
    /// The tables of notes that have not failed. One that failed too often is left alone, and so are its notes: their
    /// other tables are not asked for again and again.
    pub(super) fn jobs(
        &self,
        notes: &[Left],
        is_own: bool,
        shown: &Shown,
        failed: &mut HashSet<usize>,
        report: &mut EvolveReport,
    ) -> Result<Vec<Job>, Fault> {
        let mut by_table: BTreeMap<FullName, Vec<(usize, usize)>> = BTreeMap::new();
        for (number, left) in notes.iter().enumerate().filter(|(number, _)| !failed.contains(number)) {
            for (at, staged) in left.note.tables.iter().enumerate().filter(|(_, one)| is_inlets(&one.table) == is_own) {
                let (schema, table) = (left.note.schema.clone(), staged.table.clone());
                let name = FullName { catalog: self.parts.catalog.clone(), schema, table };
                by_table.entry(name).or_default().push((number, at));
            }
        }
        for (name, parts) in &by_table {
            let there = there(shown, name);
            let (status, fault) = match (self.parked(name)?, refuse_another_thing(name, there)) {
                (Some(fault), _) => (TableStatus::Parked, fault),
                (None, Err(fault)) => (TableStatus::Failed, fault),
                (None, Ok(())) => continue,
            };
            failed.extend(parts.iter().map(|(number, _)| *number));
            report.tables.push(evolved(name, status, Some(&fault)));
        }
        let whole = |(name, mut parts): (FullName, Vec<(usize, usize)>)| {
            parts.retain(|(number, _)| !failed.contains(number));
            (!parts.is_empty()).then(|| Job::of(&name, self.parts.lake.root(), there(shown, &name), notes, &parts))
        };
        Ok(by_table.into_iter().filter_map(whole).collect())
    }

    /// Why a table is left alone; whoever says `--retry` tries again.
    fn parked(&self, name: &FullName) -> Result<Option<Fault>, Fault> {
        if self.ask.retry || self.ask.plan {
            return Ok(None);
        }
        let before = notes::attempts(&self.parts.lake, &name.schema, &name.table)?;
        let before = before.filter(|before| before.failed >= ATTEMPTS);
        Ok(before.map(|before| {
            Fault::setup(format!("left alone after {ATTEMPTS} attempts: {}", before.message))
                .hint("mend what it says, then run: inlet evolve --retry")
        }))
    }

    /// Says what would be done.
    pub(super) fn plan(&self, jobs: &[Job], notes: &[Left], report: &mut EvolveReport) -> Result<(), Fault> {
        for job in jobs {
            report.statements.extend(job.change.clone());
            report.statements.extend(job.copies(&job.rows(notes), &job.columns_after())?);
            let status = match job.status {
                TableStatus::Created => TableStatus::ToCreate,
                TableStatus::Altered => TableStatus::ToAlter,
                other => other,
            };
            report.tables.push(TableEvolved { new_columns: new_columns(job), ..evolved(&job.name, status, None) });
        }
        Ok(())
    }

    /// Makes tables, fits rows to what they came to be, and copies; several tables at once.
    pub(super) fn run(
        &mut self,
        jobs: Vec<Job>,
        notes: &mut [Left],
        shown: &Shown,
        failed: &mut HashSet<usize>,
        report: &mut EvolveReport,
    ) -> Result<(), Fault> {
        self.open_warehouse(&jobs)?;
        let Some(Awake { id: warehouse, .. }) = &self.warehouse else {
            return Err(Fault::bug("no warehouse was opened"));
        };
        let handle = self.parts.lake.handle();
        let (workspace, deadline, said) = (&self.parts.workspace, self.deadline, Mutex::default());
        let speaker = &Speaker { workspace, warehouse, deadline, said, behind: None };
        let make = |mut job: Job| async move {
            let made = job.make(speaker).await;
            (job, made)
        };
        let made: Vec<_> = handle.block_on(futures::stream::iter(jobs).map(make).buffered(AT_ONCE).collect());
        let mut due = Vec::new();
        let mut done = Vec::new();
        for (job, made) in made {
            let made = made.and_then(|()| self.write_anew(&job, notes, speaker));
            match made {
                Ok(()) => due.push((job.rows(notes), job)),
                Err(fault) => done.push((job, Err(fault), Vec::new())),
            }
        }
        let load = |(rows, job): (_, Job)| async move {
            let loaded = job.load(&rows, speaker).await.map(|()| rows.rows + rows.standing);
            let views =
                shown.get(&job.name.schema).filter(|_| !is_inlets(&job.name.table)).map(|shown| job.views(shown));
            let warnings = job.show(&views.unwrap_or_default(), speaker).await;
            (job, loaded, warnings)
        };
        let loaded = futures::stream::iter(due).map(load).buffered(AT_ONCE).collect::<Vec<_>>();
        done.extend(handle.block_on(loaded));
        report.statements.append(&mut crate::crew::lock(&speaker.said));
        // What failed may have failed since another window has loaded it.
        self.must_be_ours()?;
        for (job, loaded, warnings) in done {
            report.warnings.extend(warnings);
            self.conclude(&job, loaded, failed, report)?;
        }
        Ok(())
    }

    fn conclude(
        &self,
        job: &Job,
        loaded: Result<u64, Fault>,
        failed: &mut HashSet<usize>,
        report: &mut EvolveReport,
    ) -> Result<(), Fault> {
        let (lake, FullName { schema, table, .. }) = (&self.parts.lake, &job.name);
        let (status, held, fault) = match loaded {
            Ok(rows) => {
                notes::succeeded(lake, schema, table)?;
                (job.status, Some(HeldRows { rows, duplicates: 0, rescued: 0 }), None)
            }
            Err(fault) => {
                failed.extend(job.parts.iter().map(|(number, _)| *number));
                // What is only not there yet will be: it is no reason to give a table up.
                if fault.kind() != FaultKind::Again {
                    let before = notes::attempts(lake, schema, table)?.map_or(0, |before| before.failed);
                    notes::failed(lake, schema, table, before, &FaultReport::from(&fault))?;
                }
                (TableStatus::Failed, None, Some(fault))
            }
        };
        let new_columns = new_columns(job);
        report.tables.push(TableEvolved { new_columns, held, ..evolved(&job.name, status, fault.as_ref()) });
        Ok(())
    }
}

/// Whether it is one of Inlet's own two tables.
pub(super) fn is_inlets(table: &str) -> bool {
    [LOADS, REJECTS].contains(&table)
}

fn there<'a>(shown: &'a Shown, name: &FullName) -> Option<&'a TableInfo> {
    shown.get(&name.schema)?.get(&name.table)
}

pub(super) fn label(name: &FullName) -> String {
    format!("{}.{}", name.schema, name.table)
}

fn new_columns(job: &Job) -> Vec<String> {
    job.lacking.iter().map(|column| column.name.clone()).collect()
}

fn evolved(name: &FullName, status: TableStatus, fault: Option<&Fault>) -> TableEvolved {
    TableEvolved {
        table: label(name),
        status,
        new_columns: Vec::new(),
        held: None,
        loaded_because: None,
        fault: fault.map(FaultReport::from),
    }
}
