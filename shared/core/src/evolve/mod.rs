//! Brings Unity Catalog up to date with the lake: gather notes, compare, wake the warehouse once, look again.
//!
//! Rows do not wait for this: they land in the log, with their new columns, and a note says that the catalog is behind.
//! Unless the settings want the warehouse to change tables: then rows that need a change are held, their notes are
//! gathered here too, and they are committed when the warehouse has made or altered their table.
//! Everything here can be done twice. A run that dies leaves its notes, and the next one finds them.

mod awake;
mod catalog;
mod holding;
mod managed;
pub(crate) mod notes;
mod report;
mod rounds;
mod wakes;

pub(crate) use self::awake::Awake;
pub(crate) use self::catalog::{
    FullName, MADE_BY_INLET, Need, alter, create_managed, is_made_by_inlet, is_within, literal, need, quoted,
    refuse_another_thing, spelled, view,
};
pub(crate) use self::managed::refuse_overlap;
pub use self::report::{EvolveReport, HeldRows, NoteCounts, TableEvolved, TableStatus, WarehouseUse};
pub(crate) use self::rounds::location_of;
pub use self::wakes::{Between, Budget};
pub(crate) use self::wakes::{Recorded, may_begin};

use std::time::Duration;

use crate::clock::{self, Deadline};
use crate::databricks::Workspace;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::gates::COMMIT_WITHIN;
use crate::held;
use crate::lease::Lease;
use crate::report::FaultReport;
use crate::settings::{SchemaChanges, Settings, WarehouseChoice};
use rounds::Rounds;

/// The lease under which a lake is evolved.
const LEASE: &str = "evolve";
/// How often a waiting run looks whether the lease is free.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What an evolve works with.
#[derive(Debug)]
pub struct Parts {
    /// Where the tables are.
    pub lake: Lake,
    /// Where the catalog is.
    pub workspace: Workspace,
    /// The catalog that the tables stand in.
    pub catalog: String,
    /// What runs the statements.
    pub warehouse: WarehouseChoice,
    /// What waking it may cost.
    pub budget: Budget,
    /// Who gives tables the columns that held rows want.
    pub schema_changes: SchemaChanges,
    /// How long rows may be held for a change of their table.
    pub hold_limit: Duration,
    /// How long commits may be on their way when a gate closes. Less than a request may take is for those who know that
    /// nobody else is at work.
    pub commits_within: Duration,
}

impl Parts {
    /// As the settings have it; none if they name no workspace: there is no catalog.
    pub fn of(settings: &Settings, lake: Lake, workspace: Workspace) -> Option<Self> {
        let destination = settings.destination.as_ref()?;
        Some(Self {
            lake,
            workspace,
            catalog: destination.catalog.clone(),
            warehouse: destination.warehouse.clone(),
            budget: settings.budget(),
            schema_changes: settings.evolution.schema_changes,
            hold_limit: settings.evolution.hold_limit,
            commits_within: COMMIT_WITHIN,
        })
    }
}

/// What is asked of an evolve.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// Look, and do nothing.
    pub plan: bool,
    /// Every table of the lake, not only those that notes speak of.
    pub all: bool,
    /// Tables that failed too often too.
    pub retry: bool,
    /// A person asks: the window is not waited for, and another evolve is.
    pub by_hand: bool,
}

/// Brings the catalog up to date; never fails as a whole: what went wrong stands in the report.
///
/// Synchronous: call it from a plain thread while the lake's runtime lives. `told` hears what takes long.
pub fn evolve(parts: &Parts, ask: Ask, deadline: Deadline, told: &(dyn Fn(&str) + Sync)) -> EvolveReport {
    let mut report = EvolveReport::new(ask.plan);
    if let Err(fault) = try_evolve(parts, ask, deadline, told, &mut report) {
        report.fault = Some(FaultReport::from(&fault));
    }
    report
}

fn try_evolve(
    parts: &Parts,
    ask: Ask,
    deadline: Deadline,
    told: &(dyn Fn(&str) + Sync),
    report: &mut EvolveReport,
) -> Result<(), Fault> {
    if parts.lake.is_volume() {
        return crate::managed::load(parts, ask, deadline, told, report);
    }
    if ask.plan {
        return Rounds::new(parts, ask, deadline, told, None).plan(report);
    }
    if !ask.all && notes::gather(&parts.lake)?.is_empty() && held::gather(&parts.lake, None)?.is_empty() {
        return Ok(());
    }
    let lease = take_lease(&parts.lake, ask, deadline, told)?;
    Rounds::new(parts, ask, deadline, told, Some(&lease)).run(report)
}

/// Takes the lease; whoever asks by hand waits for it.
///
/// # Errors
/// Again while somebody else holds it; what the store answers.
pub(crate) fn take_lease(
    lake: &Lake,
    ask: Ask,
    deadline: Deadline,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Lease, Fault> {
    match Lease::take(lake, LEASE)? {
        Some(lease) => Ok(lease),
        None if !ask.by_hand => Err(somebody_else()),
        None => {
            told("another evolve is at work; waiting for it");
            wait_for_lease(lake, deadline)
        }
    }
}

fn wait_for_lease(lake: &Lake, deadline: Deadline) -> Result<Lease, Fault> {
    while !deadline.is_over() {
        clock::sleep(LOOK_AGAIN, deadline);
        if let Some(lease) = Lease::take(lake, LEASE)? {
            return Ok(lease);
        }
    }
    Err(somebody_else())
}

/// Looks at the files of a lease, if there is one: what is said to a warehouse next must be ours to say.
///
/// # Errors
/// Again when somebody else has taken our place; what the store answers.
pub(crate) fn must_be_ours(lease: Option<&Lease>) -> Result<(), Fault> {
    match lease.map_or(Ok(true), Lease::confirm)? {
        true => Ok(()),
        false => Err(too_slow()),
    }
}

fn too_slow() -> Fault {
    Fault::again("this evolve was too slow, and another one has taken its place")
        .hint("run `inlet evolve` again: everything it does can be done twice")
}

fn somebody_else() -> Fault {
    Fault::again("another evolve is at work on this lake")
        .hint("it takes these notes too; run `inlet evolve` again later")
}
