//! The warehouse in use: found, asked of the budget when it sleeps, recorded, started.

use super::Parts;
use super::report::WarehouseUse;
use super::wakes::{self, Recorded};
use crate::clock::Deadline;
use crate::databricks::State;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::settings::WarehouseChoice;

/// A warehouse in use.
#[derive(Debug)]
pub(crate) struct Awake {
    /// Its id.
    pub(crate) id: String,
    recorded: Recorded,
    woken: bool,
}

impl Awake {
    /// Finds the warehouse and has it running. What is told first is a use that counts, even if it does not start; its
    /// own outcome comes second.
    ///
    /// # Errors
    /// There is none, or the budget lets it sleep.
    pub(crate) fn begin(
        parts: &Parts,
        by_hand: bool,
        deadline: Deadline,
        told: &(dyn Fn(&str) + Sync),
        causes: &[String],
    ) -> Result<(Self, Result<(), Fault>), Fault> {
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
        Ok((Self { id, recorded, woken }, started.map(drop).map_err(Fault::from)))
    }

    /// Notes how long it was in use.
    pub(crate) fn end(self, lake: &Lake) -> WarehouseUse {
        WarehouseUse { seconds: self.recorded.end(lake), woken: self.woken, id: self.id }
    }
}
