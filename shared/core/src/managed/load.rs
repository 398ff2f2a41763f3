//! One window: staged rows become part of their tables.
//!
//! The notes are gathered; per table, several at once: CREATE or ALTER for what it lacks, COPY INTO of just the files
//! that notes name, and a look whether all their rows are there. `_rejects` and `_loads` follow for uploads whose event
//! tables have all their rows. Then a marker says that the upload is loaded, and its note goes, and its files.
//! Whatever is killed in between is done again: a path is copied once.

use std::collections::BTreeMap;

use futures::StreamExt;
use hashbrown::{HashMap, HashSet};
use inlet_events::KnownType;
use object_store::path::Path;

use super::copy::{copies, count, counted, loaded};
use super::staged::{self, Left, StagedTable};
use super::{SCHEMA, VOLUME, columns_of};
use crate::clock::{self, Deadline};
use crate::databricks::{TableInfo, TableKind};
use crate::delta::KeptFile;
use crate::evolve::{
    Ask, Awake, EvolveReport, FullName, HeldRows, MADE_BY_INLET, Parts, TableEvolved, TableStatus, alter,
    create_managed, take_lease,
};
use crate::fault::Fault;
use crate::held::{Wanted, joined};
use crate::lease::Lease;
use crate::ledger::{LOADS, REJECTS};
use crate::report::FaultReport;

/// Rounds of one window: notes that keep coming are the next one's.
const ROUNDS: usize = 50;
/// Tables that are loaded at once; a small warehouse runs ten statements.
const AT_ONCE: usize = 8;
/// Uploads whose rows one statement counts.
const UPLOADS_COUNTED: usize = 1_000;

/// Loads what is staged.
///
/// # Errors
/// What stops more than one table.
pub(crate) fn load(
    parts: &Parts,
    ask: Ask,
    deadline: Deadline,
    told: &(dyn Fn(&str) + Sync),
    report: &mut EvolveReport,
) -> Result<(), Fault> {
    if staged::gather(&parts.lake)?.notes.is_empty() {
        return Ok(());
    }
    let lease = if ask.plan { None } else { Some(take_lease(&parts.lake, ask, deadline, told)?) };
    let mut window = Window { parts, ask, deadline, told, lease, seen: HashSet::new(), warehouse: None };
    let done = window.rounds(report);
    report.warehouse = window.warehouse.take().map(|awake| awake.end(&parts.lake));
    done
}

struct Window<'a> {
    parts: &'a Parts,
    ask: Ask,
    deadline: Deadline,
    told: &'a (dyn Fn(&str) + Sync),
    /// None for a plan.
    lease: Option<Lease>,
    /// Notes that a round has seen.
    seen: HashSet<Path>,
    warehouse: Option<Awake>,
}

/// One table's staged rows, and what the table needs for them.
struct Job {
    name: FullName,
    /// CREATE or ALTER, when its columns are not all there.
    change: Option<String>,
    status: TableStatus,
    wanted: Vec<Wanted>,
    /// As the catalog showed them before the change.
    columns: Vec<(String, KnownType)>,
    files: Vec<KeptFile>,
    rows: u64,
    upload_ids: Vec<String>,
}

/// By schema: what the catalog shows, by name.
type Shown = HashMap<String, HashMap<String, TableInfo>>;

impl Window<'_> {
    fn rounds(&mut self, report: &mut EvolveReport) -> Result<(), Fault> {
        for round in 0..ROUNDS {
            let notes = self.new_notes(report)?;
            if notes.is_empty() {
                return Ok(());
            }
            if round == 0 {
                let catalog = self.parts.workspace.catalog(&self.parts.catalog, self.deadline);
                self.parts.lake.handle().block_on(catalog)?.may_hold_tables()?;
            }
            self.load(&notes, report)?;
        }
        Ok(())
    }

    /// Notes that no round has seen; without those that a late delivery has left, and those that must not be loaded.
    fn new_notes(&mut self, report: &mut EvolveReport) -> Result<Vec<Left>, Fault> {
        let lake = &self.parts.lake;
        let gathered = staged::gather(lake)?;
        for (place, what) in gathered.damaged {
            if self.seen.insert(place.clone()) {
                report.notes.damaged.push(format!("`{place}` of the volume is no note: {what}"));
            }
        }
        let mut keys = HashSet::new();
        let mut notes = Vec::new();
        for left in gathered.notes {
            let is_first =
                left.note.key.as_ref().is_none_or(|key| keys.insert((left.note.schema.clone(), key.clone())));
            if !self.seen.insert(left.place.clone()) {
                continue;
            }
            report.notes.read += 1;
            report.notes.held += 1;
            if staged::is_loaded(lake, &left.note.schema, &left.note.upload_id)? {
                if !self.ask.plan {
                    staged::clear(lake, &left)?;
                }
            } else if !is_first || staged::has_another_form(lake, &left.note)? {
                report.fault.get_or_insert_with(|| FaultReport::from(&another_form(&left)));
            } else {
                notes.push(left);
            }
        }
        Ok(notes)
    }

    fn load(&mut self, notes: &[Left], report: &mut EvolveReport) -> Result<(), Fault> {
        let mut shown = Shown::new();
        for left in notes {
            let schema = &left.note.schema;
            if !shown.contains_key(schema) {
                shown.insert(schema.clone(), self.shown(schema, report)?);
            }
        }
        let mut failed: HashSet<Path> = HashSet::new();
        for is_own in [false, true] {
            let due = notes.iter().filter(|left| !failed.contains(&left.place));
            let tables = due.flat_map(|left| left.note.tables.iter().map(move |table| (left, table)));
            let mut by_table: BTreeMap<FullName, Vec<(&Left, &StagedTable)>> = BTreeMap::new();
            for (left, table) in tables.filter(|(_, table)| is_inlets(&table.table) == is_own) {
                by_table.entry(self.full_name(&left.note.schema, &table.table)).or_default().push((left, table));
            }
            let mut jobs = Vec::new();
            for (name, staged) in &by_table {
                let there = shown.get(&name.schema).and_then(|tables| tables.get(&name.table));
                match job(name.clone(), there, staged) {
                    Ok(job) => jobs.push(job),
                    Err(fault) => {
                        failed.extend(staged.iter().map(|(left, _)| left.place.clone()));
                        report.tables.push(evolved(name, TableStatus::Failed, &[], None, Some(&fault)));
                    }
                }
            }
            if self.ask.plan {
                self.plan(jobs, report)?;
                continue;
            }
            for (job, done) in self.run(jobs, report)? {
                if !self.lease.as_ref().is_none_or(Lease::is_held) {
                    return Err(Fault::again("this evolve was too slow, and another one has taken its place")
                        .hint("run `inlet evolve` again: everything it does can be done twice"));
                }
                let (status, rows, fault) = match &done {
                    Ok(()) => (job.status, Some(job.rows), None),
                    Err(fault) => (TableStatus::Failed, None, Some(fault)),
                };
                if done.is_err() {
                    failed.extend(by_table[&job.name].iter().map(|(left, _)| left.place.clone()));
                }
                report.tables.push(evolved(&job.name, status, &job.wanted, rows, fault));
            }
        }
        if self.ask.plan {
            return Ok(());
        }
        for left in notes.iter().filter(|left| !failed.contains(&left.place)) {
            staged::mark_loaded(&self.parts.lake, &left.note, clock::now())?;
            staged::clear(&self.parts.lake, left)?;
            report.notes.settled += 1;
        }
        Ok(())
    }

    /// What the catalog shows of a schema, which is made when it is missing.
    fn shown(&self, schema: &str, report: &mut EvolveReport) -> Result<HashMap<String, TableInfo>, Fault> {
        let Parts { lake, workspace, catalog, .. } = self.parts;
        if lake.handle().block_on(workspace.schema(catalog, schema, self.deadline))?.is_none() {
            report.schemas_created.push(format!("{catalog}.{schema}"));
            if self.ask.plan {
                return Ok(HashMap::new());
            }
            let comment = format!("{MADE_BY_INLET}: the events of `{schema}`");
            lake.handle().block_on(workspace.create_schema(catalog, schema, &comment, self.deadline))?;
        }
        let tables = lake.handle().block_on(workspace.tables(catalog, schema, self.deadline))?;
        Ok(tables.into_iter().map(|table| (table.name.to_lowercase(), table)).collect())
    }

    /// Says what would be done.
    fn plan(&self, jobs: Vec<Job>, report: &mut EvolveReport) -> Result<(), Fault> {
        for job in jobs {
            report.statements.extend(job.change.clone());
            let lacking = job.wanted.iter().map(|column| (column.name.clone(), KnownType::Ours(column.column_type)));
            let columns: Vec<_> = job.columns.iter().cloned().chain(lacking).collect();
            report.statements.extend(self.copies(&job, &columns)?);
            let status = match job.status {
                TableStatus::Created => TableStatus::ToCreate,
                TableStatus::Altered => TableStatus::ToAlter,
                other => other,
            };
            report.tables.push(evolved(&job.name, status, &job.wanted, Some(job.rows), None));
        }
        Ok(())
    }

    /// Runs the statements of several tables at once.
    fn run(&mut self, jobs: Vec<Job>, report: &mut EvolveReport) -> Result<Vec<(Job, Result<(), Fault>)>, Fault> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.open_warehouse(&jobs)?;
        let said = std::sync::Mutex::new(Vec::new());
        let this = &*self;
        let run = |job: Job| {
            let said = &said;
            async move {
                let done = this.run_one(&job, said).await;
                (job, done)
            }
        };
        let all = futures::stream::iter(jobs).map(run).buffered(AT_ONCE).collect();
        let done = this.parts.lake.handle().block_on(all);
        report.statements.extend(said.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        Ok(done)
    }

    fn open_warehouse(&mut self, jobs: &[Job]) -> Result<(), Fault> {
        if self.warehouse.is_some() {
            return Ok(());
        }
        let causes: Vec<String> = jobs.iter().map(|job| label(&job.name)).collect();
        let (awake, started) = Awake::begin(self.parts, self.ask, self.deadline, self.told, &causes)?;
        self.warehouse = Some(awake);
        started
    }

    /// One table: its change, the copies, the proof.
    async fn run_one(&self, job: &Job, said: &std::sync::Mutex<Vec<String>>) -> Result<(), Fault> {
        let Some(Awake { id: warehouse, .. }) = &self.warehouse else {
            return Err(Fault::bug("no warehouse was opened"));
        };
        let (workspace, deadline) = (&self.parts.workspace, self.deadline);
        let say = |statement: String| async move {
            crate::crew::lock(said).push(statement.clone());
            workspace.run(warehouse, &statement, deadline).await
        };
        let mut columns = job.columns.clone();
        if let Some(change) = &job.change {
            match say(change.clone()).await {
                Err(error) if !error.already_exists() => return Err(error.into()),
                _ => {}
            }
            let FullName { catalog, schema, table } = &job.name;
            let Some(seen) = workspace.table(catalog, schema, table, deadline).await? else {
                return Err(Fault::again(format!("{} is still not in the catalog", job.name.quoted()))
                    .hint("run `inlet evolve` again"));
            };
            columns = columns_of(&seen);
        }
        let mut inserted = Some(0);
        for statement in self.copies(job, &columns)? {
            let answer = say(statement).await?;
            inserted = inserted.zip(loaded(&answer)).map(|(sum, more)| sum + more);
        }
        if inserted == Some(job.rows) {
            return Ok(());
        }
        // Some paths were loaded before, and the answer was lost then: the rows themselves say which upload they are of.
        let mut found = 0;
        for ids in job.upload_ids.chunks(UPLOADS_COUNTED) {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let answer = say(count(&job.name, &ids)).await?;
            found += counted(&answer).ok_or_else(|| Fault::again("a count of rows was answered without a number"))?;
        }
        match found == job.rows {
            true => Ok(()),
            false => Err(Fault::setup(format!(
                "{} holds {found} rows of uploads that staged {}",
                job.name.quoted(),
                job.rows
            ))
            .hint("compare DESCRIBE HISTORY with what else writes to the table; the staged files are kept")),
        }
    }

    fn copies(&self, job: &Job, columns: &[(String, KnownType)]) -> Result<Vec<String>, Fault> {
        let FullName { catalog, schema, table } = &job.name;
        let from = format!("/Volumes/{catalog}/{SCHEMA}/{VOLUME}/{schema}/{table}");
        copies(&job.name, &from, columns, &job.files.iter().collect::<Vec<_>>())
    }

    fn full_name(&self, schema: &str, table: &str) -> FullName {
        FullName { catalog: self.parts.catalog.clone(), schema: schema.to_owned(), table: table.to_owned() }
    }
}

/// What a table's staged rows need.
fn job(name: FullName, there: Option<&TableInfo>, staged: &[(&Left, &StagedTable)]) -> Result<Job, Fault> {
    if let Some(there) = there {
        refuse_another_thing(&name, there)?;
    }
    let columns = there.map(columns_of).unwrap_or_default();
    let is_there = |column: &Wanted| columns.iter().any(|(known, _)| known.eq_ignore_ascii_case(&column.name));
    let lacking: Vec<Wanted> =
        joined(staged.iter().flat_map(|(_, table)| &table.columns)).into_iter().filter(|one| !is_there(one)).collect();
    let (change, status) = match there {
        None => (Some(create_managed(&name, &lacking)), TableStatus::Created),
        Some(_) if !lacking.is_empty() => (Some(alter(&name, &lacking)), TableStatus::Altered),
        Some(_) => (None, TableStatus::UpToDate),
    };
    Ok(Job {
        name,
        change,
        status,
        wanted: lacking,
        columns,
        files: staged.iter().flat_map(|(_, table)| table.files.iter().cloned()).collect(),
        rows: staged.iter().map(|(_, table)| table.rows).sum(),
        upload_ids: staged.iter().map(|(left, _)| left.note.upload_id.clone()).collect(),
    })
}

fn refuse_another_thing(name: &FullName, there: &TableInfo) -> Result<(), Fault> {
    let other = match &there.kind {
        TableKind::Managed => there.format.as_deref().filter(|format| *format != "DELTA"),
        TableKind::External => Some("an external table"),
        TableKind::View => Some("a view"),
        TableKind::Other(kind) => Some(kind.as_str()),
    };
    match other {
        None => Ok(()),
        Some(other) => {
            Err(Fault::setup(format!("{} is taken in the catalog by another object: {other}", name.quoted()))
                .hint("rename or drop it; the rows wait in the volume"))
        }
    }
}

/// Whether it is one of Inlet's own two tables.
fn is_inlets(table: &str) -> bool {
    [LOADS, REJECTS].contains(&table)
}

fn label(name: &FullName) -> String {
    format!("{}.{}", name.schema, name.table)
}

fn evolved(
    name: &FullName,
    status: TableStatus,
    new_columns: &[Wanted],
    rows: Option<u64>,
    fault: Option<&Fault>,
) -> TableEvolved {
    TableEvolved {
        table: label(name),
        status,
        new_columns: new_columns.iter().map(|column| column.name.clone()).collect(),
        held: rows.map(|rows| HeldRows { rows, duplicates: 0, rescued: 0 }),
        fault: fault.map(FaultReport::from),
    }
}

fn another_form(left: &Left) -> Fault {
    let key = left.note.key.as_deref().unwrap_or_default();
    Fault::setup(format!("another form of `{key}` has landed, and this one waits: its events could land twice"))
        .hint(format!("its rows are kept: note `{}`", left.place))
}
