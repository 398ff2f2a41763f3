//! A batch on the real route: landed, registered, counted, changed. It goes into a lake of its own in the folder of this
//! test, or, where the catalog keeps the tables, into the volume of the test's schema: there it is staged, and a window
//! that sees nothing else loads it.

use std::sync::Arc;

use inlet_events::contract::Contracts;
use inlet_events::selection::Selection;
use sha2::{Digest, Sha256};

use super::report::Finding;
use super::warehouse::said;
use super::{ONLY_AWAKE, Run, WORK_WITHIN};
use crate::clock;
use crate::delta::Lake;
use crate::evolve::{self, Budget, FullName};
use crate::fault::Fault;
use crate::managed::Managed;
use crate::report::FaultReport;
use crate::route::{self, Unwatched};
use crate::settings::{Settings, Tables, WarehouseChoice};
use crate::upload::{Place, Upload, UploadId};

/// The table of the test's event, `Connection Test`.
const TABLE: &str = "connection_test";

/// Lands a batch by the route of every upload.
pub(super) fn land(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if !run.ask.wake {
        return Ok(Finding::Skipped(ONLY_AWAKE.to_owned()));
    }
    let lake = lake(run)?;
    match landed(run, &lake, r#""step":1"#) {
        None if lake.is_volume() => Ok(Finding::Passed("1 event staged".to_owned())),
        None => Ok(Finding::Passed("1 event".to_owned())),
        Some(fault) => Ok(Finding::Failed(fault)),
    }
}

/// Registers its tables as every evolve does, counts them through the warehouse; then the same with a new column.
pub(super) fn register(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let lake = lake(run)?;
    for (rows, properties) in [(1, None), (2, Some(r#""step":2,"column":"new""#))] {
        if let Some(fault) = properties.and_then(|properties| landed(run, &lake, properties)) {
            return Ok(Finding::Failed(fault));
        }
        if let Some(fault) = evolved(run, &lake)? {
            return Ok(Finding::Failed(fault));
        }
        counted(run, rows)?;
    }
    let found = match lake.is_volume() {
        true => "1 row loaded and counted; a column added; 2 rows counted",
        false => "1 row counted; a column added and synced; 2 rows counted",
    };
    Ok(Finding::Passed(found.to_owned()))
}

/// What Databricks does to tables: a row is deleted, the table vacuumed and dropped.
pub(super) fn maintain(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let table = name(run)?.quoted();
    let deadline = run.within(WORK_WITHIN);
    let first = upload_id(&batch(run, r#""step":1"#));
    said(run, &format!("DELETE FROM {table} WHERE `_upload_id` = '{first}'"), deadline)?;
    counted(run, 1)?;
    said(run, &format!("VACUUM {table}"), deadline)?;
    said(run, &format!("DROP TABLE {table}"), deadline)?;
    Ok(Finding::Passed("a row deleted, vacuumed, dropped".to_owned()))
}

/// The lake of this test, or its volume: notes, leases and rows there are nobody else's.
fn lake(run: &Run<'_>) -> Result<Lake, Fault> {
    match managed(run) {
        Some(managed) => managed.volume_in(&run.scratch.name, run.parts.handle.clone()),
        None => run.lake()?.folder(&run.scratch.name),
    }
}

fn managed(run: &Run<'_>) -> Option<Managed> {
    Managed::of(&run.parts.settings, run.workspace.as_ref()).filter(|_| run.parts.tables() == Some(Tables::Managed))
}

fn name(run: &Run<'_>) -> Result<FullName, Fault> {
    let catalog = run.destination()?.catalog.clone();
    Ok(FullName { catalog, schema: run.scratch.name.clone(), table: TABLE.to_owned() })
}

/// One event, with these properties.
fn batch(run: &Run<'_>, properties: &str) -> Vec<u8> {
    let scratch = &run.scratch.name;
    format!(r#"{{"type":"track","event":"Connection Test","anonymousId":"{scratch}","properties":{{{properties}}}}}"#)
        .into_bytes()
}

fn upload_id(bytes: &[u8]) -> UploadId {
    UploadId::of_content(&Sha256::digest(bytes).into())
}

/// Lands one event; a fault if it did not.
fn landed(run: &mut Run<'_>, lake: &Lake, properties: &str) -> Option<FaultReport> {
    let bytes = batch(run, properties);
    let upload = Upload {
        name: run.scratch.name.clone(),
        id: upload_id(&bytes),
        key: None,
        size: bytes.len() as u64,
        modified: clock::now(),
        schema: run.scratch.name.clone(),
        place: Place::Bytes(Arc::new(bytes)),
    };
    // What may land is a matter of the customer's events, not of this one.
    let settings =
        Settings { contracts: Contracts::default(), selection: Selection::default(), ..run.parts.settings.clone() };
    let report = route::ingest(
        &route::Parts {
            lake: lake.clone(),
            managed: managed(run),
            settings,
            host: "connect",
            allowance: None,
            kept: None,
        },
        vec![upload],
        &Unwatched,
    );
    let faults = report.uploads.iter().filter_map(|upload| upload.fault.as_ref()).chain(&report.fault);
    FaultReport::gravest(faults).cloned()
}

/// Brings the catalog up to date with the lake of this test; a fault if it is not.
fn evolved(run: &Run<'_>, lake: &Lake) -> Result<Option<FaultReport>, Fault> {
    let Some(warehouse) = &run.warehouse else { return Err(Fault::bug("an evolve without a warehouse")) };
    let parts = evolve::Parts::of(&run.parts.settings, lake.clone(), run.workspace()?.clone());
    let Some(parts) = parts else { return Err(Fault::bug("an evolve without a destination")) };
    // By its id: one of Inlet's own would be stopped after each window.
    let warehouse = WarehouseChoice::Id(warehouse.id.clone());
    let parts = evolve::Parts { warehouse, budget: Budget::default(), ..parts };
    let ask = evolve::Ask { by_hand: true, ..evolve::Ask::default() };
    let report = evolve::evolve(&parts, ask, run.within(WORK_WITHIN), run.told);
    let faults = report.tables.iter().filter_map(|table| table.fault.as_ref()).chain(&report.fault);
    Ok(FaultReport::gravest(faults).cloned())
}

/// Counts the rows through the warehouse: Databricks itself can read the lake.
fn counted(run: &Run<'_>, rows: u64) -> Result<(), Fault> {
    let table = name(run)?.quoted();
    let count = said(run, &format!("SELECT count(*) FROM {table}"), run.within(WORK_WITHIN))?;
    match count.as_deref() {
        Some(count) if count == rows.to_string() => Ok(()),
        count if managed(run).is_some() => Err(Fault::setup(format!(
            "{rows} rows were to be in {table}, and the warehouse counts {}",
            count.unwrap_or("nothing")
        ))
        .hint("see what else writes to tables of this catalog")),
        count => Err(Fault::setup(format!(
            "{rows} rows stand in the lake, and the warehouse counts {}",
            count.unwrap_or("nothing")
        ))
        .hint("see that the external location leads to the lake's own store, with no cache or copy between")),
    }
}
