//! The warehouse in use: found, asked of the budget when it sleeps, recorded, started.

use super::Parts;
use super::report::WarehouseUse;
use super::wakes::{self, Postponed, Recorded};
use crate::clock::Deadline;
use crate::databricks::State;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::settings::WarehouseChoice;

/// A warehouse that is not serverless has started after so long.
const AHEAD_SECONDS: u64 = 300;

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
            return Err(postponed.fault(budget.between));
        }
        let recorded = Recorded::begin(lake, woken, causes)?;
        let started = lake.handle().block_on(workspace.running(&id, deadline, told));
        Ok((Self { id, recorded, woken }, started.map(drop).map_err(Fault::from)))
    }

    /// Starts a warehouse that takes minutes for it, when the window opens by then; nobody waits for it.
    ///
    /// # Errors
    /// What the workspace or the store answers.
    pub(crate) fn ahead(parts: &Parts, postponed: &Postponed, deadline: Deadline) -> Result<bool, Fault> {
        let Parts { lake, workspace, warehouse, budget, .. } = parts;
        let is_soon = matches!(postponed, Postponed::Window { for_seconds } if *for_seconds <= AHEAD_SECONDS);
        let id = match warehouse {
            WarehouseChoice::Id(id) if is_soon => Some(id.clone()),
            WarehouseChoice::Create(spec) if is_soon => {
                lake.handle().block_on(workspace.known_warehouse(spec, deadline))?
            }
            _ => None,
        };
        let Some(id) = id else { return Ok(false) };
        let seen = lake.handle().block_on(workspace.warehouse(&id, deadline))?;
        if seen.serverless || seen.state != State::Stopped || wakes::may_spend(lake, budget)?.is_some() {
            return Ok(false);
        }
        drop(Recorded::ahead(lake)?);
        lake.handle().block_on(workspace.start_warehouse(&id, deadline))?;
        Ok(true)
    }

    /// Notes how long it was in use.
    pub(crate) fn end(self, lake: &Lake) -> WarehouseUse {
        WarehouseUse { seconds: self.recorded.end(lake), woken: self.woken, id: self.id }
    }

    /// The same; and one of Inlet's own that nobody else uses is stopped, instead of idling until it stops by itself.
    pub(crate) fn end_and_stop(self, parts: &Parts, deadline: Deadline) -> WarehouseUse {
        let Parts { lake, workspace, .. } = parts;
        if matches!(parts.warehouse, WarehouseChoice::Create(_)) {
            let stopped = lake.handle().block_on(async {
                match workspace.warehouse(&self.id, deadline).await?.sessions {
                    0 => workspace.stop_warehouse(&self.id, deadline).await,
                    _ => Ok(()),
                }
            });
            // Failing that, it stops by itself.
            drop(stopped);
        }
        self.end(lake)
    }
}
