//! The warehouse of a run: found, woken if the budget allows it, and its use recorded.

use super::Parts;
use super::wakes::{self, Recorded};
use crate::clock::Deadline;
use crate::databricks::State;
use crate::fault::Fault;
use crate::settings::WarehouseChoice;

/// A warehouse whose use is recorded from here on.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: String,
    /// Whether it slept.
    pub(crate) woken: bool,
    pub(crate) recorded: Recorded,
    /// Whether it runs now.
    pub(crate) started: Result<(), Fault>,
}

/// Finds the warehouse, asks the budget if it sleeps, and has it running. `causes` say what it is needed for.
///
/// # Errors
/// Setup when there is none; Again when the budget is spent; what store and workspace answer.
pub(crate) fn open(
    parts: &Parts,
    causes: &[String],
    by_hand: bool,
    deadline: Deadline,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Opened, Fault> {
    let Parts { lake, workspace, warehouse, budget, .. } = parts;
    let id = match warehouse {
        WarehouseChoice::Id(id) => id.clone(),
        WarehouseChoice::Create(spec) => lake.handle().block_on(workspace.own_warehouse(spec, deadline))?,
        WarehouseChoice::None => {
            return Err(Fault::setup("a SQL warehouse is needed, and the settings name none")
                .hint("set http_path (the warehouse's Connection details), or warehouse = \"create\""));
        }
    };
    let seen = lake.handle().block_on(workspace.warehouse(&id, deadline))?;
    let woken = matches!(seen.state, State::Stopped | State::Stopping);
    if woken && let Some(postponed) = wakes::may_wake(lake, budget, by_hand)? {
        return Err(postponed.fault());
    }
    let recorded = Recorded::begin(lake, woken, causes)?;
    let started = lake.handle().block_on(workspace.running(&id, deadline, told));
    Ok(Opened { id, woken, recorded, started: started.map(drop).map_err(Fault::from) })
}
