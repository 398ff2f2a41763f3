//! Rounds of an evolve: what the notes ask for, compared, run, and looked at again, until no note is new.

mod compare;
mod conclude;
mod gated;

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use hashbrown::{HashMap, HashSet};
use object_store::path::Path;

use super::awake::Awake;
use super::catalog::{FullName, Need, spelled};
use super::notes::{self, Behind, Left};
use super::report::{EvolveReport, HeldRows, TableEvolved, TableStatus};
use super::{Ask, Parts, too_slow};
use crate::clock::Deadline;
use crate::delta::Column;
use crate::fault::{Fault, FaultKind};
use crate::gates::BehindGate;
use crate::held::{self, Copies, Refused};
use crate::lease::Lease;
use crate::report::FaultReport;

/// Rounds of one run: new notes that keep coming are the next run's.
const ROUNDS: usize = 50;
/// Requests and statements under way at once; a small warehouse runs ten.
const AT_ONCE: usize = 8;

/// A table and what it needs.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) name: FullName,
    pub(super) need: Need,
    pub(super) columns: Vec<Column>,
    /// What the table needs, in order.
    table: Vec<String>,
    /// Views that are not there, or show other columns.
    views: Vec<String>,
    /// Rows that wait for it.
    pub(super) held: Vec<held::Left>,
    /// Whether the warehouse copies them, and why; else they are committed.
    pub(super) copies: Option<Copies>,
}

impl Work {
    fn needs_warehouse(&self) -> bool {
        !self.table.is_empty() || !self.views.is_empty() || self.are_copies_due()
    }

    fn are_copies_due(&self) -> bool {
        self.copies.as_ref().is_some_and(|copies| copies.are_due)
    }
}

/// The rounds of one run.
pub(super) struct Rounds<'a> {
    pub(super) parts: &'a Parts,
    pub(super) ask: Ask,
    pub(super) deadline: Deadline,
    told: &'a (dyn Fn(&str) + Sync),
    /// None for a plan.
    pub(super) lease: Option<&'a Lease>,
    /// The notes at hand; a table that is done leaves its notes.
    notes: Vec<Left>,
    /// The notes of held rows.
    pub(super) held: Vec<held::Left>,
    /// Rows that waited for a gate and were committed, by schema and table.
    pub(super) released: HashMap<(String, String), HeldRows>,
    /// Notes that a round has seen: only a new one brings its tables up again.
    pub(super) seen: HashSet<Path>,
    schemas_there: HashSet<String>,
    /// By schema: the tables of the lake.
    in_lake: HashMap<String, BTreeSet<String>>,
    pub(super) warehouse: Option<Awake>,
    /// Gates that this run has closed.
    pub(super) gates: HashMap<FullName, BehindGate<'a>>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(
        parts: &'a Parts,
        ask: Ask,
        deadline: Deadline,
        told: &'a (dyn Fn(&str) + Sync),
        lease: Option<&'a Lease>,
    ) -> Self {
        Self {
            parts,
            ask,
            deadline,
            told,
            lease,
            notes: Vec::new(),
            held: Vec::new(),
            released: HashMap::new(),
            seen: HashSet::new(),
            schemas_there: HashSet::new(),
            in_lake: HashMap::new(),
            warehouse: None,
            gates: HashMap::new(),
        }
    }

    /// Says what a run would do.
    pub(super) fn plan(mut self, report: &mut EvolveReport) -> Result<(), Fault> {
        let asked = self.asked(true, report)?;
        self.check_catalog()?;
        let works = self.compare(asked, report)?;
        report.statements.extend(works.iter().flat_map(|work| &work.table).cloned());
        report.statements.extend(works.iter().flat_map(|work| &work.views).cloned());
        for work in works.iter().filter(|work| work.are_copies_due()) {
            let columns: Vec<_> = work.columns.iter().map(Column::named).collect();
            report.statements.extend(held::copied::planned(&self.parts.lake, &work.name, &work.held, &columns)?);
        }
        for work in works {
            let status = match work.need {
                Need::Nothing if work.views.is_empty() => TableStatus::UpToDate,
                Need::Register => TableStatus::ToRegister,
                Need::Create(_) => TableStatus::ToCreate,
                Need::Alter { .. } => TableStatus::ToAlter,
                Need::Nothing | Need::Sync { .. } => TableStatus::ToSync,
            };
            report.tables.push(evolved(&work, status, None));
        }
        Ok(())
    }

    /// Does it, until no note is new.
    pub(super) fn run(mut self, report: &mut EvolveReport) -> Result<(), Fault> {
        let done = self.rounds(report);
        self.gates.clear();
        report.warehouse = self.warehouse.take().map(|awake| awake.end(&self.parts.lake));
        // Whatever went wrong: rows do not wait for ever.
        let rescued = self.rescue_overdue(report);
        done.and(rescued)
    }

    fn rounds(&mut self, report: &mut EvolveReport) -> Result<(), Fault> {
        for round in 0..ROUNDS {
            let asked = self.asked(round == 0, report)?;
            if asked.is_empty() {
                return Ok(());
            }
            if round == 0 {
                self.check_catalog()?;
            }
            let work = self.compare(asked, report)?;
            let (needy, fine): (Vec<_>, Vec<_>) = work.into_iter().partition(Work::needs_warehouse);
            for work in fine {
                self.conclude(&work, Ok(None), report)?;
            }
            if needy.is_empty() {
                continue;
            }
            if let Err(fault) = self.open_warehouse(&needy) {
                let postponed = fault.kind() == FaultKind::Again;
                let status = if postponed { TableStatus::Postponed } else { TableStatus::Failed };
                report.tables.extend(needy.iter().map(|work| evolved(work, status, None)));
                return Err(fault);
            }
            self.execute(needy, report)?;
        }
        Ok(())
    }

    /// The tables that new notes speak of; at first all tables of the lake, when that was asked.
    fn asked(&mut self, at_first: bool, report: &mut EvolveReport) -> Result<BTreeSet<(String, String)>, Fault> {
        let gathered = notes::gather(&self.parts.lake)?;
        let mut asked = BTreeSet::new();
        for left in gathered.notes.iter().filter(|left| self.seen.insert(left.place.clone())) {
            report.notes.read += 1;
            asked.extend(left.note.tables.keys().map(|table| (left.note.schema.clone(), table.clone())));
        }
        self.notes = gathered.notes;
        asked.extend(self.asked_by_held_rows(report)?);
        for damaged in gathered.damaged {
            if !self.seen.insert(damaged.place.clone()) {
                continue;
            }
            report.notes.damaged.push(format!("`{}` of the lake is no note: {}", damaged.place, damaged.what));
            // What it said is lost, but not which schema it spoke of: each of its tables is looked at.
            if let Some(schema) = damaged.schema {
                let tables: BTreeMap<_, _> =
                    self.tables_of(&schema)?.iter().map(|table| (table.clone(), Vec::new())).collect();
                asked.extend(tables.keys().map(|table| (schema.clone(), table.clone())));
                let note = Behind { schema, tables, left_at: damaged.left_at };
                self.notes.push(Left { place: damaged.place, note });
            }
        }
        if self.ask.all && at_first {
            for schema in self.parts.lake.schemas()? {
                asked.extend(self.tables_of(&schema)?.iter().map(|table| (schema.clone(), table.clone())));
            }
        }
        // What a round before this one said of them is no longer the last word.
        report.tables.retain(|done| !asked.iter().any(|(schema, table)| done.table == format!("{schema}.{table}")));
        Ok(asked)
    }

    fn tables_of(&mut self, schema: &str) -> Result<&BTreeSet<String>, Fault> {
        if !self.in_lake.contains_key(schema) {
            let tables = self.parts.lake.tables(schema)?.into_iter().collect();
            self.in_lake.insert(schema.to_owned(), tables);
        }
        Ok(self.in_lake.entry(schema.to_owned()).or_default())
    }

    /// Finds the warehouse, asks the budget if it sleeps, and has it running; once a run.
    fn open_warehouse(&mut self, needy: &[Work]) -> Result<(), Fault> {
        if self.warehouse.is_some() {
            return Ok(());
        }
        let causes: Vec<String> =
            needy.iter().map(|work| format!("{}.{}", work.name.schema, work.name.table)).collect();
        let (awake, started) = Awake::begin(self.parts, self.ask.by_hand, self.deadline, self.told, &causes)?;
        self.warehouse = Some(awake);
        started
    }

    /// Runs the statements, looks whether the catalog now shows what it should, and lets the notes go. A table's views
    /// come after all that is done to the table, since they name its columns.
    fn execute(&mut self, needy: Vec<Work>, report: &mut EvolveReport) -> Result<(), Fault> {
        let needy = self.close_gates(needy, report)?;
        let (this, lake, workspace, deadline) = (&*self, &self.parts.lake, &self.parts.workspace, self.deadline);
        let warehouse = this.warehouse_id()?;
        let change = |work: Work| async move {
            let changed = this.change(&work).await;
            (work, changed)
        };
        let show = |(work, changed): (Work, Result<(), Fault>)| async move {
            if changed.is_err() {
                return (work, changed.map(|()| None), None);
            }
            // A view that cannot be made is no reason to call its table failed.
            let mut view_fault = None;
            for text in &work.views {
                let made = workspace.run(warehouse, text, deadline).await;
                view_fault = made.err().filter(|error| !error.already_exists()).or(view_fault);
            }
            let full = &work.name;
            let seen = workspace.table(&full.catalog, &full.schema, &full.table, deadline).await;
            (work, seen.map_err(Fault::from), view_fault.map(Fault::from))
        };
        report.statements.extend(needy.iter().flat_map(|work| &work.table).cloned());
        let ran: Vec<_> = lake.handle().block_on(futures::stream::iter(needy).map(change).buffered(AT_ONCE).collect());
        let mut changed = Vec::new();
        for (mut work, ran) in ran {
            self.must_hold_lease()?;
            let altered = ran.and_then(|was_there| self.altered(&mut work, was_there, report));
            if altered.is_ok() {
                report.statements.extend(work.views.iter().cloned());
            }
            changed.push((work, altered));
        }
        let shown: Vec<_> =
            lake.handle().block_on(futures::stream::iter(changed).map(show).buffered(AT_ONCE).collect());
        for (work, seen, view_fault) in shown {
            self.must_hold_lease()?;
            let seen = match view_fault {
                // Its note stays, and the next run makes the view.
                Some(fault) if fault.kind() == FaultKind::Again => seen.and(Err(fault)),
                Some(fault) => {
                    report.warn(format!("a view over {} is not made: {}", work.name.quoted(), fault.chain()));
                    seen
                }
                None => seen,
            };
            self.conclude(&work, seen.map(Some), report)?;
            self.open_gate(&work.name, report);
        }
        Ok(())
    }

    fn must_hold_lease(&self) -> Result<(), Fault> {
        match self.lease.is_none_or(Lease::is_held) {
            true => Ok(()),
            false => Err(too_slow()),
        }
    }
}

fn new_columns(work: &Work) -> Vec<String> {
    work.need.new_columns(&work.columns)
}

fn evolved(work: &Work, status: TableStatus, fault: Option<FaultReport>) -> TableEvolved {
    let loaded_because = loaded_because(work);
    TableEvolved { new_columns: new_columns(work), loaded_because, ..plain(&work.name, status, fault) }
}

/// Why its held rows are the warehouse's to load.
fn loaded_because(work: &Work) -> Option<Refused> {
    work.copies.as_ref().map(|copies| copies.because.clone())
}

pub(super) fn plain(name: &FullName, status: TableStatus, fault: Option<FaultReport>) -> TableEvolved {
    let table = format!("{}.{}", name.schema, name.table);
    TableEvolved { table, status, new_columns: Vec::new(), held: None, loaded_because: None, fault }
}

/// A table's place as SQL and the catalog spell it.
pub(crate) fn location_of(lake: &crate::delta::Lake, name: &FullName) -> Result<String, Fault> {
    Ok(spelled(&lake.table_url(&name.schema, &name.table)?))
}
