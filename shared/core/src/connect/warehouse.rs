//! The SQL warehouse: may we use it, is it what is recommended, does it start, does it answer?

use std::time::Duration;

use super::report::Finding;
use super::storage::opened;
use super::workspace::entitled;
use super::{Run, STEP_WITHIN, WORK_WITHIN};
use crate::clock::Deadline;
use crate::databricks::{Error, State, Warehouse};
use crate::evolve::Recorded;
use crate::fault::Fault;
use crate::settings::WarehouseChoice;

/// A serverless warehouse starts in seconds.
const SERVERLESS_WITHIN: Duration = Duration::from_secs(90);
/// A pro or classic one in about four minutes.
const OTHERS_WITHIN: Duration = Duration::from_secs(600);

/// The entitlement to make a warehouse.
const CREATES: &str = "allow-cluster-create";

/// It is there and ours to use. One of our own is made when the warehouse may be woken: a new one starts at once.
pub(super) fn warehouse(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let (workspace, deadline) = (run.workspace()?.clone(), run.within(STEP_WITHIN));
    let id = match &run.destination()?.warehouse {
        WarehouseChoice::Id(id) => id.clone(),
        WarehouseChoice::Create(spec) => match run.wait(workspace.known_warehouse(spec, deadline))? {
            Some(id) => id,
            None if run.ask.wake => {
                run.wait(workspace.own_warehouse(spec, deadline)).map_err(|error| match error.is_denied() {
                    true => entitled(error.into(), run.me.as_ref(), CREATES),
                    false => Fault::from(error),
                })?
            }
            None => return Ok(to_be_made(run, &spec.name)),
        },
        WarehouseChoice::None => {
            let fault = Fault::setup("the settings name no SQL warehouse: nothing brings the catalog up to date").hint(
                "set `http_path` (SQL Warehouses > the warehouse > Connection details), or warehouse = \"create\"",
            );
            return Ok(Finding::Warning("none is named".to_owned(), fault));
        }
    };
    let warehouse = run.wait(workspace.warehouse(&id, deadline))?;
    let found = format!("`{}` ({id}) is {}", warehouse.name, format!("{:?}", warehouse.state).to_lowercase());
    run.warehouse = Some(warehouse);
    Ok(Finding::Passed(found))
}

fn to_be_made(run: &Run<'_>, name: &str) -> Finding {
    let found = format!("`{name}` is made when it is first needed; --wake makes it now");
    let may = run.me.as_ref().is_some_and(|me| me.entitlements.iter().any(|one| one == CREATES));
    if may {
        return Finding::Passed(found);
    }
    let fault = Fault::setup(format!("the principal's own entitlements do not show `{CREATES}`; a group may have it"));
    Finding::Warning(found, entitled(fault, run.me.as_ref(), CREATES))
}

/// What is recommended of a warehouse: it differs by what that does.
struct Recommended {
    /// The tables that it works on.
    tables: &'static str,
    size: &'static str,
    /// The least and the most clusters.
    clusters: (u32, u32),
    /// The clusters in words.
    clusters_said: &'static str,
}

/// It brings the catalog up to date, and no more: the smallest does.
const FOR_EXTERNAL: Recommended =
    Recommended { tables: "external", size: "2X-Small", clusters: (1, 1), clusters_said: "1 cluster" };
/// It loads all rows, several tables at once.
const FOR_MANAGED: Recommended =
    Recommended { tables: "managed", size: "Small", clusters: (2, 6), clusters_said: "2 to 6 clusters" };

/// Its size, type and clusters against what is recommended for the tables of the settings.
pub(super) fn size(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let Some(warehouse) = &run.warehouse else { return Ok(Finding::Skipped("there is no warehouse yet".to_owned())) };
    let Warehouse { size, kind, serverless, min_clusters, max_clusters, auto_stop, .. } = warehouse;
    let kind = if *serverless { "serverless" } else { kind };
    let found = format!("{size}, {kind}, {min_clusters} to {max_clusters} clusters, stops after {auto_stop} min");
    // Without a lake of ours the tables are managed.
    let recommended = if run.parts.lake.is_some() { FOR_EXTERNAL } else { FOR_MANAGED };
    let mut wishes = Vec::new();
    if size != recommended.size {
        wishes.push(format!("size {}", recommended.size));
    }
    if !serverless && kind != "PRO" {
        wishes.push("type Serverless, otherwise Pro".to_owned());
    }
    if (*min_clusters, *max_clusters) != recommended.clusters {
        wishes.push(recommended.clusters_said.to_owned());
    }
    if *auto_stop == 0 {
        wishes.push("auto stop after 10 minutes".to_owned());
    }
    if wishes.is_empty() {
        return Ok(Finding::Passed(found));
    }
    let (tables, wishes) = (recommended.tables, wishes.join(", "));
    let fault = Fault::setup(format!("the warehouse is not as recommended for {tables} tables: {wishes}"))
        .hint(format!("SQL Warehouses > {} > Edit", warehouse.name));
    Ok(Finding::Warning(found, fault))
}

/// Starts it when that is asked. One that is still starting at the end of the time is not one that failed; half of the
/// test's time is kept for what needs no warehouse.
pub(super) fn start(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let Some(warehouse) = &run.warehouse else { return Ok(Finding::Skipped("there is no warehouse yet".to_owned())) };
    if !run.ask.wake {
        if warehouse.state != State::Running {
            return Ok(Finding::Skipped("the warehouse sleeps: --wake starts it".to_owned()));
        }
        run.answers = true;
        return Ok(Finding::Passed("it is running".to_owned()));
    }
    let at_most = if warehouse.serverless { SERVERLESS_WITHIN } else { OTHERS_WITHIN };
    let sleeps = matches!(warehouse.state, State::Stopped | State::Stopping);
    let id = warehouse.id.clone();
    // A lake that does not open says so in a step of its own.
    let lake = opened(run).ok();
    let causes = ["inlet connect".to_owned()];
    let recorded = lake.as_ref().map(|lake| Recorded::begin(lake, sleeps, &causes)).transpose()?;
    let started = run.wait(run.workspace()?.running(&id, run.within(at_most.min(run.deadline.left() / 2)), run.told));
    if let (Some(recorded), Some(lake)) = (recorded, &lake) {
        recorded.end(lake);
    }
    match started {
        Ok(wake) if wake.started => {
            run.answers = true;
            Ok(Finding::Passed(format!("started in {:.1} s", wake.waited.as_secs_f64())))
        }
        Ok(_) => {
            run.answers = true;
            Ok(Finding::Passed("it is running".to_owned()))
        }
        Err(error) if error.is_starting() => Ok(Finding::Warning("it is starting".to_owned(), error.into())),
        Err(error) => Err(error.into()),
    }
}

/// The way of every statement.
pub(super) fn statement(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if !run.answers {
        return Ok(Finding::Skipped("the warehouse is still starting: run the test again".to_owned()));
    }
    let answer = said(run, "SELECT 1", run.within(WORK_WITHIN))?;
    match answer.as_deref() {
        Some("1") => Ok(Finding::Passed("1".to_owned())),
        other => Err(Fault::setup(format!("the warehouse answers SELECT 1 with {other:?}"))
            .hint("check that `workspace_url` is a Databricks workspace, with nothing in front of it")),
    }
}

/// Runs a statement; answers its first cell.
pub(super) fn said(run: &Run<'_>, sql: &str, deadline: Deadline) -> Result<Option<String>, Fault> {
    let Some(warehouse) = &run.warehouse else { return Err(Fault::bug("a statement without a warehouse")) };
    let answer: Result<_, Error> = run.wait(run.workspace()?.run(&warehouse.id, sql, deadline));
    Ok(answer?.rows.into_iter().flatten().next().flatten())
}
