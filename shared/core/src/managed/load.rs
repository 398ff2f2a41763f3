//! One window: staged rows become part of their tables.
//!
//! The notes are gathered; per table, several at once: CREATE or ALTER for what it lacks, COPY INTO of just the files
//! that notes name, and a look whether all their rows are there. `_rejects` and `_loads` follow for uploads whose event
//! tables have all their rows. Then a marker says that the upload is loaded, and its note goes, and its files.
//! Whatever is killed in between is done again: a path is copied once.

mod anew;
mod tables;

use hashbrown::{HashMap, HashSet};
use object_store::path::Path;

use self::tables::label;
use super::at_once::at_once;
use super::job::Job;
use super::staged::{self, Left};
use super::sweep::sweep;
use crate::clock::{self, Deadline};
use crate::databricks::TableInfo;
use crate::evolve::{Ask, Awake, EvolveReport, MADE_BY_INLET, Parts, may_begin, must_be_ours, take_lease};
use crate::fault::Fault;
use crate::lease::Lease;

/// Rounds of one window: one for what is there, one for what came while the warehouse started, and one for each later
/// form of a key.
const ROUNDS: usize = 50;

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

    fn must_be_ours(&self) -> Result<(), Fault> {
        must_be_ours(self.lease.as_ref())
    }
}

/// Notes in the order in which they were left.
fn in_order(mut notes: Vec<Left>) -> Vec<Left> {
    notes.sort_by(|a, b| (a.note.staged_at, &a.place).cmp(&(b.note.staged_at, &b.place)));
    notes
}
