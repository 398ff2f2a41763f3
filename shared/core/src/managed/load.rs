//! One window: staged rows become part of their tables.
//!
//! The notes are gathered; per table, several at once: CREATE or ALTER for what it lacks, COPY INTO of just the files
//! that notes name, and a look whether all their rows are there. `_rejects` and `_loads` follow for uploads whose event
//! tables have all their rows. Then a marker says that the upload is loaded, and its note goes, and its files.
//! Whatever is killed in between is done again: a path is copied once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::StreamExt;
use hashbrown::{HashMap, HashSet};
use object_store::path::Path;

use super::at_once::at_once;
use super::copy::fits;
use super::corrected::corrected;
use super::job::{Job, Speaker, refuse_another_thing};
use super::staged::{self, Left};
use super::sweep::sweep;
use crate::clock::{self, Deadline};
use crate::databricks::TableInfo;
use crate::delta::KeptFile;
use crate::evolve::notes::{self, ATTEMPTS};
use crate::evolve::{
    Ask, Awake, EvolveReport, FullName, HeldRows, MADE_BY_INLET, Parts, TableEvolved, TableStatus, may_begin,
    take_lease,
};
use crate::fault::{Fault, FaultKind};
use crate::held::{write_for, write_without};
use crate::lease::Lease;
use crate::ledger::{LOADS, REJECTS};
use crate::report::FaultReport;
use crate::state::State;

/// Rounds of one window: one for what is there, one for what came while the warehouse started, and one for each later
/// form of a key.
const ROUNDS: usize = 50;
/// Tables that are loaded at once; a small warehouse runs ten statements.
const AT_ONCE: usize = 8;

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
    if staged::gather(&parts.lake)?.is_empty() {
        return Ok(());
    }
    let lease = if ask.plan { None } else { Some(take_lease(&parts.lake, ask, deadline, told)?) };
    if !ask.plan
        && !ask.by_hand
        && let Some(postponed) = may_begin(&parts.lake, &parts.budget)?
    {
        Awake::ahead(parts, &postponed, deadline)?;
        report.postponed = Some(postponed.to_string());
        return Ok(());
    }
    let mut window =
        Window { parts, ask, deadline, told, lease, seen: HashSet::new(), admitted: None, warehouse: None };
    let done = window.rounds(report).and_then(|()| if ask.plan { Ok(()) } else { sweep(&parts.lake) });
    report.warehouse = window.warehouse.take().map(|awake| awake.end_and_stop(parts, deadline));
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
    /// Notes that lay there when the warehouse had come up. Later ones wait for the next window: uploads that keep coming
    /// would keep this one open.
    admitted: Option<HashSet<Path>>,
    warehouse: Option<Awake>,
}

/// What the catalog shows: by schema, by name.
type Shown = HashMap<String, HashMap<String, TableInfo>>;

impl Window<'_> {
    fn rounds(&mut self, report: &mut EvolveReport) -> Result<(), Fault> {
        for round in 0..ROUNDS {
            let mut notes = self.new_notes(report)?;
            if notes.is_empty() {
                return Ok(());
            }
            if round == 0 {
                let catalog = self.parts.workspace.catalog(&self.parts.catalog, self.deadline);
                self.parts.lake.handle().block_on(catalog)?.may_hold_tables()?;
            }
            self.load(&mut notes, report)?;
        }
        Ok(())
    }

    /// Notes that no round has seen; without those that a late delivery has left, and those that must not be loaded.
    fn new_notes(&mut self, report: &mut EvolveReport) -> Result<Vec<Left>, Fault> {
        let lake = &self.parts.lake;
        let gathered = staged::gather(lake)?;
        for (place, what) in gathered.damaged {
            if self.seen.insert(place.clone()) {
                report.notes.damaged.push(format!("`{place}` is no note of staged rows: {what}"));
            }
        }
        let loaded = gathered.notes.iter().filter(|left| !self.seen.contains(&left.place));
        let loaded = at_once(loaded, |left| {
            let is_loaded = staged::is_loaded(lake, &left.note.schema, &left.note.upload_id)?;
            Ok(is_loaded.then(|| left.place.clone()))
        })?;
        let loaded: HashSet<Path> = loaded.into_iter().flatten().collect();
        let mut keys = HashSet::new();
        let mut notes = Vec::new();
        for left in gathered.notes {
            let key = left.note.key.clone().map(|key| (left.note.schema.clone(), key));
            let is_first = key.is_none_or(|key| keys.insert(key));
            let is_late = self.admitted.as_ref().is_some_and(|admitted| !admitted.contains(&left.place));
            // A later form of a key waits for the round after the one that loads the earlier.
            if is_late || !is_first || !self.seen.insert(left.place.clone()) {
                continue;
            }
            report.notes.read += 1;
            report.notes.held += 1;
            match loaded.contains(&left.place) {
                false => notes.push(left),
                true if self.ask.plan => {}
                true => staged::clear(lake, &left)?,
            }
        }
        at_once(notes, |left| {
            let earlier = staged::earlier_forms(lake, &left.note)?;
            Ok(Left { earlier, ..left })
        })
        .map(in_order)
    }

    /// Loads notes: their event tables, then Inlet's own two for those that are whole, then nothing is left of them.
    fn load(&mut self, notes: &mut [Left], report: &mut EvolveReport) -> Result<(), Fault> {
        let mut shown = Shown::new();
        for left in &*notes {
            let schema = &left.note.schema;
            if !shown.contains_key(schema) {
                shown.insert(schema.clone(), self.shown(schema, report)?);
            }
        }
        let mut failed: HashSet<usize> = HashSet::new();
        for is_own in [false, true] {
            let jobs = self.jobs(notes, is_own, &shown, &mut failed, report)?;
            match self.ask.plan {
                true => self.plan(&jobs, notes, report)?,
                false if jobs.is_empty() => {}
                false => self.run(jobs, notes, &shown, &mut failed, report)?,
            }
        }
        if self.ask.plan {
            return Ok(());
        }
        let lake = &self.parts.lake;
        let whole = notes.iter().enumerate().filter(|(number, _)| !failed.contains(number));
        let settled = at_once(whole, |(_, left)| {
            staged::mark_loaded(lake, &left.note, clock::now())?;
            staged::clear(lake, left)
        })?;
        report.notes.settled += settled.len();
        Ok(())
    }

    /// The tables of notes that have not failed. One that failed too often is left alone, and so are its notes: their
    /// other tables are not asked for again and again.
    fn jobs(
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
    fn plan(&self, jobs: &[Job], notes: &[Left], report: &mut EvolveReport) -> Result<(), Fault> {
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
    fn run(
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
        let speaker = &Speaker { workspace, warehouse, deadline, said };
        let make = |mut job: Job| async move {
            let made = job.make(speaker).await;
            (job, made)
        };
        let made: Vec<_> = handle.block_on(futures::stream::iter(jobs).map(make).buffered(AT_ONCE).collect());
        let mut due = Vec::new();
        let mut done = Vec::new();
        for (job, made) in made {
            let made = made.and_then(|()| self.leave_out(&job, notes, speaker)).and_then(|()| self.fit(&job, notes));
            match made {
                Ok(()) => due.push((job.rows(notes), job)),
                Err(fault) => done.push((job, Err(fault), Vec::new())),
            }
        }
        let load = |(rows, job): (_, Job)| async move {
            let loaded = job.load(&rows, speaker).await.map(|()| rows.rows);
            let views =
                shown.get(&job.name.schema).filter(|_| !is_inlets(&job.name.table)).map(|shown| job.views(shown));
            let warnings = job.show(&views.unwrap_or_default(), speaker).await;
            (job, loaded, warnings)
        };
        let loaded = futures::stream::iter(due).map(load).buffered(AT_ONCE).collect::<Vec<_>>();
        done.extend(handle.block_on(loaded));
        report.statements.append(&mut crate::crew::lock(&speaker.said));
        if !self.is_ours() {
            return Err(too_slow());
        }
        for (job, loaded, warnings) in done {
            report.warnings.extend(warnings);
            self.conclude(&job, loaded, failed, report)?;
        }
        Ok(())
    }

    /// Rows that an earlier form of their upload's key landed are left out of its files, and `_loads` is told of them.
    /// The note says so before any file is copied.
    fn leave_out(&self, job: &Job, notes: &mut [Left], speaker: &Speaker<'_>) -> Result<(), Fault> {
        let lake = &self.parts.lake;
        for &(number, at) in &job.parts {
            let left = &mut notes[number];
            if left.earlier.is_empty() || left.note.tables[at].left_out.is_some() || job.name.table == REJECTS {
                continue;
            }
            if !self.is_ours() {
                return Err(too_slow());
            }
            let mut old = Vec::new();
            if job.name.table == LOADS {
                let more = corrected(lake, &left.note)?;
                let table = &mut left.note.tables[at];
                (table.left_out, table.rows) = (Some(0), table.rows + more.iter().map(KeptFile::rows).sum::<u64>());
                table.files.extend(more);
            } else {
                let ids = lake.handle().block_on(job.ids(&left.earlier, speaker))?;
                let table = &mut left.note.tables[at];
                let before = table.rows;
                if !ids.is_empty() {
                    let anew = write_without(lake, (&job.name.schema, &job.name.table), &table.files, &ids)?;
                    (table.rows, old) =
                        (anew.iter().map(KeptFile::rows).sum(), std::mem::replace(&mut table.files, anew));
                }
                table.left_out = Some(before - table.rows);
            }
            let state = State::of(lake);
            state.put(&left.place, &left.note)?;
            old.iter().try_for_each(|file| state.remove(&file.key(lake)))?;
        }
        Ok(())
    }

    /// Rows whose types are not those of the columns that the table came to have are written anew; what no column takes
    /// goes to `_rescued_data`. The note names the new files before any of them is copied.
    fn fit(&self, job: &Job, notes: &mut [Left]) -> Result<(), Fault> {
        let lake = &self.parts.lake;
        for &(number, at) in &job.parts {
            let left = &mut notes[number];
            let table = &left.note.tables[at];
            if table.files.iter().all(|file| fits(&job.columns, file)) {
                continue;
            }
            if !self.is_ours() {
                return Err(too_slow());
            }
            let anew = write_for(lake, (&job.name.schema, &job.name.table), &table.files, &job.columns)?;
            let old = std::mem::replace(&mut left.note.tables[at].files, anew);
            let state = State::of(lake);
            state.put(&left.place, &left.note)?;
            old.iter().try_for_each(|file| state.remove(&file.key(lake)))?;
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

    fn open_warehouse(&mut self, jobs: &[Job]) -> Result<(), Fault> {
        if self.warehouse.is_some() {
            return Ok(());
        }
        let causes: Vec<String> = jobs.iter().map(|job| label(&job.name)).collect();
        let (awake, started) = Awake::begin(self.parts, self.ask.by_hand, self.deadline, self.told, &causes)?;
        self.warehouse = Some(awake);
        started?;
        self.admitted = Some(staged::places(&self.parts.lake)?);
        Ok(())
    }

    fn is_ours(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::is_held)
    }
}

/// Notes in the order in which they were left.
fn in_order(mut notes: Vec<Left>) -> Vec<Left> {
    notes.sort_by(|a, b| (a.note.staged_at, &a.place).cmp(&(b.note.staged_at, &b.place)));
    notes
}

/// Whether it is one of Inlet's own two tables.
fn is_inlets(table: &str) -> bool {
    [LOADS, REJECTS].contains(&table)
}

fn there<'a>(shown: &'a Shown, name: &FullName) -> Option<&'a TableInfo> {
    shown.get(&name.schema)?.get(&name.table)
}

fn label(name: &FullName) -> String {
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

fn too_slow() -> Fault {
    Fault::again("this evolve was too slow, and another one has taken its place")
        .hint("run `inlet evolve` again: everything it does can be done twice")
}
