//! Rounds of an evolve: what the notes ask for, compared, run, and looked at again, until no note is new.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use hashbrown::{HashMap, HashSet};
use object_store::path::Path;

use super::awake::Awake;
use super::catalog::{self, FullName, MADE_BY_INLET, Need, is_made_by_inlet};
use super::holding::columns_after;
use super::managed::refuse_overlap;
use super::notes::{self, ATTEMPTS, Attempts, Behind, Left};
use super::report::{EvolveReport, HeldRows, TableEvolved, TableStatus};
use super::{Ask, Parts};
use crate::clock::Deadline;
use crate::databricks::{SchemaInfo, TableInfo, TableKind};
use crate::delta::{Column, Table};
use crate::fault::{Fault, FaultKind};
use crate::held::{self, Copies, Refused};
use crate::lease::Lease;
use crate::report::FaultReport;
use crate::sql::{TableColumns, unity_views};

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

/// What the catalog shows of a schema, by name.
type Shown = HashMap<String, TableInfo>;

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
            let columns: Vec<_> = work.columns.iter().map(|one| (one.name.clone(), one.column_type)).collect();
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

    /// The catalog is there, ours to use, and its own managed files are not where the lake is.
    fn check_catalog(&self) -> Result<(), Fault> {
        let Parts { lake, workspace, catalog, .. } = self.parts;
        let info = lake.handle().block_on(workspace.catalog(catalog, self.deadline))?;
        info.may_hold_tables()?;
        let managed = (info.storage_root.as_deref(), info.storage_location.as_deref());
        refuse_overlap(&location_of_lake(lake), &format!("catalog `{catalog}`"), managed)
    }

    /// Compares logs and catalog; what fails for one table stands in the report and stops no other.
    fn compare(&mut self, asked: BTreeSet<(String, String)>, report: &mut EvolveReport) -> Result<Vec<Work>, Fault> {
        let mut works = Vec::new();
        let mut catalog: HashMap<String, Result<Shown, Fault>> = HashMap::new();
        for (schema, table) in asked {
            let name = FullName { catalog: self.parts.catalog.clone(), schema, table };
            if !catalog.contains_key(&name.schema) {
                catalog.insert(name.schema.clone(), self.shown(&name.schema, report));
            }
            let compared = match &catalog[&name.schema] {
                Ok(shown) => self.compare_one(&name, shown, report),
                Err(fault) => Err(fault.repeated()),
            };
            match compared {
                Ok(Some(work)) => works.push(work),
                Ok(None) => report.tables.push(plain(&name, TableStatus::Waiting, None)),
                Err(fault) => self.failed(&name, Vec::new(), &fault, report)?,
            }
        }
        Ok(works)
    }

    /// What one table needs; nothing when its commit has not come yet.
    fn compare_one(
        &mut self,
        name: &FullName,
        shown: &Shown,
        report: &mut EvolveReport,
    ) -> Result<Option<Work>, Fault> {
        let lake = &self.parts.lake;
        let log = Table::columns_in_log(lake, &name.schema, &name.table)?;
        let log = log.as_deref();
        let (held, shown_as) = (self.held_for(name), shown.get(&name.table));
        let location = location_of(lake, name)?;
        let copies = self.copies_of(name, &held)?;
        let are_copies_due = copies.as_ref().is_some_and(|copies| copies.are_due);
        let is_changed_for_rows = match copies {
            Some(_) => are_copies_due,
            None => !held.is_empty() && !self.adds_columns(),
        };
        let wanted = match is_changed_for_rows {
            false => None,
            true => {
                let wanted = held::wanted(held.iter().map(|left| &left.note));
                catalog::need_of_held(name, &location, log, shown_as, wanted)?
            }
        };
        let need = match (wanted, log) {
            (Some(need), _) => need,
            (None, Some(log)) => catalog::need(name, &location, log, shown_as)?,
            // Its held rows make it, and leave a note.
            (None, None) if !held.is_empty() => {
                return Ok(Some(Work {
                    name: name.clone(),
                    need: Need::Nothing,
                    columns: Vec::new(),
                    table: Vec::new(),
                    views: Vec::new(),
                    held,
                    copies,
                }));
            }
            (None, None) => {
                self.leave_notes(name, None)?;
                return Ok(None);
            }
        };
        let columns = columns_after(&need, log.unwrap_or_default());
        if (need != Need::Nothing || are_copies_due)
            && let Some(before) = self.parked(name)?
        {
            let why = before.message;
            return Err(Fault::setup(format!("left alone after {ATTEMPTS} attempts: {why}")).hint(PARKED_HINT));
        }
        let table = need.statements(name, &location);
        let views = self.views(name, &columns, shown, report)?;
        Ok(Some(Work { name: name.clone(), need, columns, table, views, held, copies }))
    }

    /// The attempts at a table that failed too often; whoever says `--retry` tries again.
    fn parked(&self, name: &FullName) -> Result<Option<Attempts>, Fault> {
        if self.ask.retry || self.ask.plan {
            return Ok(None);
        }
        let before = notes::attempts(&self.parts.lake, &name.schema, &name.table)?;
        Ok(before.filter(|before| before.failed >= ATTEMPTS))
    }

    /// What the catalog shows of a schema, in one listing; a schema that is missing is made, but for a plan.
    fn shown(&mut self, schema: &str, report: &mut EvolveReport) -> Result<Shown, Fault> {
        let Parts { lake, workspace, catalog, .. } = self.parts;
        let handle = lake.handle();
        if !self.schemas_there.contains(schema) {
            let named = format!("{catalog}.{schema}");
            let there = handle.block_on(workspace.schema(catalog, schema, self.deadline))?;
            if let Some(SchemaInfo { storage_root, storage_location, .. }) = &there {
                let managed = (storage_root.as_deref(), storage_location.as_deref());
                refuse_overlap(&location_of_lake(lake), &format!("schema `{named}`"), managed)?;
            } else {
                if !report.schemas_created.contains(&named) {
                    report.schemas_created.push(named);
                }
                if self.ask.plan {
                    return Ok(Shown::default());
                }
                let comment = format!("{MADE_BY_INLET}: the events of `{schema}`");
                handle.block_on(workspace.create_schema(catalog, schema, &comment, self.deadline))?;
            }
            self.schemas_there.insert(schema.to_owned());
        }
        let tables = handle.block_on(workspace.tables(catalog, schema, self.deadline))?;
        Ok(tables.into_iter().map(|table| (table.name.to_lowercase(), table)).collect())
    }

    /// The statements of views that are missing or show other columns than they should. A name that somebody else has
    /// taken stays theirs.
    fn views(
        &mut self,
        name: &FullName,
        columns: &[Column],
        shown: &Shown,
        report: &mut EvolveReport,
    ) -> Result<Vec<String>, Fault> {
        let known = self.tables_of(&name.schema)?;
        let table = TableColumns {
            schema: name.schema.clone(),
            table: name.table.clone(),
            columns: columns.iter().map(|column| (column.name.clone(), column.column_type)).collect(),
        };
        let mut statements = Vec::new();
        for view in unity_views(&name.catalog, &table, &|other| known.contains(other)) {
            let full = FullName { table: view.name.clone(), ..name.clone() };
            match shown.get(&view.name) {
                Some(there) if !is_our_view(there) => {
                    let taken =
                        format!("view {} is not made: the catalog has another object of that name", full.quoted());
                    report.warn(taken);
                }
                Some(there) if there.columns.iter().map(|column| &column.name).eq(&view.columns) => {}
                _ => statements.push(catalog::view(&full, &view.body)),
            }
        }
        Ok(statements)
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
        let Some(Awake { id: warehouse, .. }) = &self.warehouse else {
            return Err(Fault::bug("no warehouse was opened"));
        };
        let (lake, workspace, deadline) = (&self.parts.lake, &self.parts.workspace, self.deadline);
        let statement = |text: String| async move { workspace.run(warehouse, &text, deadline).await };
        let change = |work: Work| async move {
            let mut was_there = false;
            for text in work.table.clone() {
                match statement(text).await {
                    Ok(_) => {}
                    Err(error) if error.already_exists() => was_there = true,
                    Err(error) => return (work, Err(Fault::from(error))),
                }
            }
            (work, Ok(was_there))
        };
        let show = |(work, changed): (Work, Result<(), Fault>)| async move {
            if changed.is_err() {
                return (work, changed.map(|()| None), None);
            }
            // A view that cannot be made is no reason to call its table failed.
            let mut view_fault = None;
            for text in work.views.clone() {
                view_fault = statement(text).await.err().filter(|error| !error.already_exists()).or(view_fault);
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
        }
        Ok(())
    }

    fn must_hold_lease(&self) -> Result<(), Fault> {
        match self.lease.is_none_or(Lease::is_held) {
            true => Ok(()),
            false => Err(Fault::again("this evolve was too slow, and another one has taken its place")
                .hint("run `inlet evolve` again: everything it does can be done twice")),
        }
    }

    /// Lands the rows that waited for a table, looks whether the catalog shows it (if it was asked), and lets the notes
    /// go.
    fn conclude(
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
    fn leave_notes(&mut self, name: &FullName, log: Option<&[Column]>) -> Result<usize, Fault> {
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

    fn failed(
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

const PARKED_HINT: &str = "mend what it says, then run: inlet evolve --retry";

/// Whether a view is one that Inlet may replace.
fn is_our_view(there: &TableInfo) -> bool {
    there.kind == TableKind::View && is_made_by_inlet(there.comment.as_deref())
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
    let url = lake.table_url(&name.schema, &name.table)?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn location_of_lake(lake: &crate::delta::Lake) -> String {
    lake.url().as_str().trim_end_matches('/').to_owned()
}
