//! Held rows in an evolve: their notes ask for tables, their rows are committed once those have changed, and by rescue
//! when that takes too long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inlet_events::KnownType;

use super::Parts;
use super::catalog::{self, FullName, Need};
use super::notes::{self, ATTEMPTS};
use super::report::{EvolveReport, HeldRows, TableStatus};
use super::rounds::{Rounds, Work, plain};
use crate::clock::{self, Deadline, Micros};
use crate::crew::lock;
use crate::delta::{Column, Table};
use crate::fault::Fault;
use crate::held::{self, Committed, Copies, Growth, Left, WaitsFor, Wanted, commit_held, copy_held, may_copy};
use crate::lease::Lease;
use crate::report::FaultReport;
use crate::settings::SchemaChanges;

/// How often columns are added of which somebody else adds some meanwhile.
const ALTERATIONS: usize = 3;
/// How long the commits of overdue rows may take: the run's own time may be over.
const RESCUE_WITHIN: Duration = Duration::from_secs(5 * 60);

impl Rounds<'_> {
    /// The tables that new notes of held rows speak of.
    pub(super) fn asked_by_held_rows(
        &mut self,
        report: &mut EvolveReport,
    ) -> Result<BTreeSet<(String, String)>, Fault> {
        let mut asked = self.release_gated(report)?;
        let mut gathered = held::gather(&self.parts.lake, None)?;
        // What is left of those that waited for a gate waits on: no change of their table is theirs to ask for. Unless it
        // has come to take no rows from Inlet: then the warehouse copies them.
        let refusing = self.refusing_gated(&gathered.notes)?;
        let is_asked = |note: &held::Note| {
            note.waits_for != WaitsFor::Gate || refusing.contains(&(note.schema.clone(), note.table.clone()))
        };
        gathered.notes.retain(|left| is_asked(&left.note));
        for left in gathered.notes.iter().filter(|left| self.seen.insert(left.place.clone())) {
            report.notes.read += 1;
            report.notes.held += 1;
            asked.insert((left.note.schema.clone(), left.note.table.clone()));
        }
        self.held = gathered.notes;
        for (place, what) in gathered.damaged {
            if self.seen.insert(place.clone()) {
                let named = format!("`{place}` of the lake is no note of held rows: {what}");
                report.fault.get_or_insert_with(|| FaultReport::from(&damaged(&named)));
                report.notes.damaged.push(named);
            }
        }
        Ok(asked)
    }

    /// Commits rows that waited for gates which are open now; answers their tables, which may have new columns.
    fn release_gated(&mut self, report: &mut EvolveReport) -> Result<BTreeSet<(String, String)>, Fault> {
        let mut asked = BTreeSet::new();
        if self.ask.plan || !self.parts.lake.needs_gates() {
            return Ok(asked);
        }
        for ((schema, table), released) in held::release(&self.parts.lake, None, self.deadline)? {
            match released {
                Ok(Committed { rows, duplicates, rescued, fault: None }) => {
                    report.notes.held += 1;
                    let held = HeldRows { rows, duplicates, rescued };
                    self.released.insert((schema.clone(), table.clone()), held);
                    asked.insert((schema, table));
                }
                Ok(Committed { fault: Some(fault), .. }) | Err(fault) => {
                    report.warn(format!("rows of `{schema}.{table}` stay held: {}", fault.chain()));
                }
            }
        }
        Ok(asked)
    }

    /// Tables that refuse rows which waited for their gates, where the warehouse copies them.
    fn refusing_gated(&self, notes: &[Left]) -> Result<BTreeSet<(String, String)>, Fault> {
        let mut refusing = BTreeSet::new();
        if !may_copy(&self.parts.warehouse) {
            return Ok(refusing);
        }
        let gated = notes.iter().map(|left| &left.note).filter(|note| note.waits_for == WaitsFor::Gate);
        let tables: BTreeSet<_> = gated.map(|note| (note.schema.clone(), note.table.clone())).collect();
        for (schema, name) in tables {
            let table = Table::open(&self.parts.lake, &schema, &name)?;
            if table.is_some_and(|table| table.may_append().is_err()) {
                refusing.insert((schema, name));
            }
        }
        Ok(refusing)
    }

    /// The notes of rows that are held for a table, the oldest first.
    pub(super) fn held_for(&self, name: &FullName) -> Vec<Left> {
        let is_for = |left: &&Left| left.note.schema == name.schema && left.note.table == name.table;
        self.held.iter().filter(is_for).cloned().collect()
    }

    /// What the warehouse is to copy of a table's held rows; nothing when they are committed.
    pub(super) fn copies_of(&self, name: &FullName, held: &[Left]) -> Result<Option<Copies>, Fault> {
        let Parts { lake, warehouse, .. } = self.parts;
        match held.is_empty() || !may_copy(warehouse) {
            true => Ok(None),
            false => Copies::of(lake, &name.schema, &name.table, held),
        }
    }

    /// After the statements: the log must have what held rows want. Of columns of which somebody else has added some
    /// (`was_there`), the warehouse added none: then the others are added, and the catalog is shown all.
    pub(super) fn altered(&self, work: &mut Work, mut was_there: bool, report: &mut EvolveReport) -> Result<(), Fault> {
        if !matches!(work.need, Need::Create(_) | Need::Alter { .. }) {
            return Ok(());
        }
        let (lake, name) = (&self.parts.lake, &work.name);
        let speaker = self.speaker(name)?;
        let mut run = |statement: String| {
            report.statements.push(statement.clone());
            lake.handle().block_on(speaker.try_say(&statement)).map(|answer| answer.map(drop))
        };
        for _ in 0..ALTERATIONS {
            let Some(table) = Table::open(lake, &name.schema, &name.table)? else {
                return Err(Fault::again(format!("{} has no log although the warehouse made it", name.quoted()))
                    .hint("DROP TABLE it if it was made elsewhere, then run `inlet evolve` again"));
            };
            let wanted = held::wanted(work.held.iter().map(|left| &left.note));
            let lacking = catalog::lacking(table.columns(), wanted);
            if lacking.is_empty() {
                if was_there {
                    run(catalog::sync(name))??;
                }
                work.columns = table.columns().to_vec();
                return Ok(());
            }
            match run(catalog::alter(name, &lacking))? {
                Err(error) if error.already_exists() => was_there = true,
                other => other?,
            }
        }
        Err(Fault::again(format!("{} still lacks columns after ALTER TABLE", name.quoted()))
            .hint("run `inlet evolve` again; if it stays so, compare DESCRIBE HISTORY with the statements"))
    }

    /// Lands the rows that waited for a table, now that it is as they want it: they are committed, or copied.
    pub(super) fn land_rows(
        &self,
        work: &Work,
        report: &mut EvolveReport,
    ) -> Result<Option<HeldRows>, (Option<HeldRows>, Fault)> {
        if work.held.is_empty() {
            return Ok(None);
        }
        let landed = match &work.copies {
            Some(_) => self.copy_rows(work, report),
            None => self.commit_rows(work),
        };
        let Committed { rows, duplicates, rescued, fault } = landed.map_err(|fault| (None, fault))?;
        let held = Some(HeldRows { rows, duplicates, rescued });
        fault.map_or(Ok(held), |fault| Err((held, fault)))
    }

    fn commit_rows(&self, work: &Work) -> Result<Committed, Fault> {
        let notes: Vec<&Left> = work.held.iter().collect();
        let FullName { schema, table, .. } = &work.name;
        let growth = if self.adds_columns() { Growth::Wanted } else { Growth::Own };
        commit_held(&self.parts.lake, schema, table, &notes, growth, self.deadline)
    }

    fn copy_rows(&self, work: &Work, report: &mut EvolveReport) -> Result<Committed, Fault> {
        // None was opened for notes whose rows all stand there.
        let speaker = self.speaker(&work.name).ok();
        let copied = copy_held(&self.parts.lake, &work.name, &work.held, speaker.as_ref(), self.lease, self.deadline);
        report.statements.extend(speaker.into_iter().flat_map(|speaker| std::mem::take(&mut *lock(&speaker.said))));
        copied
    }

    /// Whether held rows bring their columns by themselves: Inlet changes tables, and only one that refused is why they
    /// are held.
    pub(super) fn adds_columns(&self) -> bool {
        self.parts.schema_changes == SchemaChanges::Writer
    }

    /// Lands rows whose tables failed too often, or that waited too long: as the tables are, by rescue. Only rows that
    /// this run has tried to land.
    pub(super) fn rescue_overdue(&self, report: &mut EvolveReport) -> Result<(), Fault> {
        let mut tables: BTreeMap<(String, String), Vec<Left>> = BTreeMap::new();
        for left in held::gather(&self.parts.lake, None)?.notes {
            if left.note.waits_for != WaitsFor::Gate && self.seen.contains(&left.place) {
                tables.entry((left.note.schema.clone(), left.note.table.clone())).or_default().push(left);
            }
        }
        for ((schema, table), notes) in tables {
            let name = FullName { catalog: self.parts.catalog.clone(), schema, table };
            // Rows that only the warehouse can land wait for it, however long.
            let is_due = self.is_overdue(&name, &notes)? && self.copies_of(&name, &notes)?.is_none();
            if is_due && self.lease.is_none_or(Lease::is_held) {
                self.rescue(&name, &notes, report);
            }
        }
        Ok(())
    }

    fn is_overdue(&self, name: &FullName, held: &[Left]) -> Result<bool, Fault> {
        let limit = Micros::try_from(self.parts.hold_limit.as_micros()).unwrap_or(Micros::MAX);
        if held.iter().any(|left| clock::now().saturating_sub(left.note.left_at) > limit) {
            return Ok(true);
        }
        let before = notes::attempts(&self.parts.lake, &name.schema, &name.table)?;
        Ok(before.is_some_and(|before| before.failed >= ATTEMPTS))
    }

    fn rescue(&self, name: &FullName, held: &[Left], report: &mut EvolveReport) {
        let done = self.try_rescue(name, held);
        let label = format!("{}.{}", name.schema, name.table);
        if !report.tables.iter().any(|one| one.table == label) {
            report.tables.push(plain(name, TableStatus::Failed, None));
        }
        let Some(one) = report.tables.iter_mut().find(|one| one.table == label) else { return };
        let fault = match done {
            Ok(Committed { rows, duplicates, rescued, fault }) => {
                one.status = TableStatus::Rescued;
                one.held = Some(HeldRows { rows, duplicates, rescued });
                fault
            }
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            one.fault = Some(FaultReport::from(&fault));
        }
        one.fault.get_or_insert_with(|| FaultReport::from(&overdue(name)));
    }

    fn try_rescue(&self, name: &FullName, held: &[Left]) -> Result<Committed, Fault> {
        let held: Vec<&Left> = held.iter().collect();
        let deadline = Deadline::after(RESCUE_WITHIN);
        commit_held(&self.parts.lake, &name.schema, &name.table, &held, Growth::Own, deadline)
    }
}

fn overdue(name: &FullName) -> Fault {
    Fault::again(format!(
        "{} was not changed within `hold_limit`: the held rows landed in it as it is, and values that it has no column \
         for stand in `_rescued_data`",
        name.quoted()
    ))
    .hint("later rows ask for the columns again: see what keeps the warehouse, or raise `hold_limit`")
}

/// Which rows it named nobody knows now; what it named is never removed by Inlet.
fn damaged(named: &str) -> Fault {
    Fault::setup(named).hint(
        "put the file back as it was (the bucket's versions, a backup), then run `inlet evolve`: the Parquet files that it \
         names are where they were, but VACUUM would remove those in the table's folder",
    )
}

/// The columns of a table when its need is met.
pub(super) fn columns_after(need: &Need, log: &[Column]) -> Vec<Column> {
    let brought: &[Wanted] = match need {
        Need::Create(columns) | Need::Alter { columns, .. } => columns,
        Need::Nothing | Need::Register | Need::Sync { .. } => &[],
    };
    let column = |wanted: &Wanted| Column {
        name: wanted.name.clone(),
        column_type: KnownType::Ours(wanted.column_type),
        nullable: true,
    };
    log.iter().cloned().chain(brought.iter().map(column)).collect()
}
