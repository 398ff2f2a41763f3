//! Tables that are there already: do they take what Inlet lands?

use std::collections::BTreeSet;

use futures::TryStreamExt;
use inlet_events::ColumnType;

use super::report::Finding;
use super::scratch::is_scratch;
use super::{Run, STEP_WITHIN};
use crate::databricks::TableInfo;
use crate::delta::{Lake, Table, store_fault};
use crate::evolve::{FullName, location_of, refuse_another_thing};
use crate::fault::Fault;

/// The tables that every source gets.
const CALLS: [&str; 6] = ["tracks", "identifies", "pages", "screens", "groups", "aliases"];

/// What stands in the way of rows, and of new columns alone.
#[derive(Default)]
struct Found {
    looked_at: usize,
    refused: Vec<Fault>,
    warned: Vec<Fault>,
}

/// Each table of the lake takes rows and columns by its own log, and nothing else has its name in the catalog.
pub(super) fn tables(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let (lake, deadline) = (run.lake()?.clone(), run.within(STEP_WITHIN));
    let mut schemas: BTreeSet<String> = lake.schemas()?.into_iter().filter(|name| !is_scratch(name)).collect();
    schemas.extend(run.parts.settings.sources.iter().map(|source| source.schema.clone()));
    let mut found = Found::default();
    let mut is_whole = true;
    for schema in &schemas {
        let shown = shown(run, schema)?;
        let folders = lake.table_folders(schema)?;
        let names: BTreeSet<&str> = folders.iter().map(String::as_str).chain(CALLS).collect();
        for there in shown.iter().filter(|there| names.contains(there.name.as_str())) {
            let catalog = run.destination()?.catalog.clone();
            let name = FullName { catalog, schema: schema.clone(), table: there.name.clone() };
            found.refused.extend(refuse_another_thing(&name, &location_of(&lake, &name)?, there).err());
        }
        for name in &folders {
            is_whole &= !deadline.is_over();
            if is_whole {
                look(&lake, schema, name, &mut found)?;
            }
        }
    }
    let Found { looked_at, refused, warned } = found;
    if let Some(fault) = first_of(refused) {
        return Err(fault);
    }
    let so_far = if is_whole { "" } else { "; there was no time for the others" };
    let found = match looked_at {
        0 => "none is there yet".to_owned(),
        count => format!("{count} looked at{so_far}"),
    };
    Ok(match first_of(warned) {
        Some(fault) => Finding::Warning(found, fault),
        None => Finding::Passed(found),
    })
}

/// What the catalog has in a schema; nothing, where it has no such schema.
fn shown(run: &Run<'_>, schema: &str) -> Result<Vec<TableInfo>, Fault> {
    let (workspace, catalog) = (run.workspace()?, &run.destination()?.catalog);
    let deadline = run.within(STEP_WITHIN);
    match run.wait(workspace.schema(catalog, schema, deadline))? {
        Some(_) => Ok(run.wait(workspace.tables(catalog, schema, deadline))?),
        None => Ok(Vec::new()),
    }
}

fn look(lake: &Lake, schema: &str, name: &str, found: &mut Found) -> Result<(), Fault> {
    match Table::open(lake, schema, name) {
        Err(fault) => found.refused.push(fault),
        Ok(Some(table)) => match table.may_append() {
            Err(fault) => found.refused.push(fault),
            Ok(()) => {
                let column = [("inlet_connect".to_owned(), ColumnType::String)];
                found.warned.extend(table.may_add_columns(&column).err());
            }
        },
        Ok(None) => {
            let folder = lake.root().clone().join(schema).join(name);
            let first = lake.wait(lake.store().list(Some(&folder)).try_next());
            if first.map_err(|error| store_fault("cannot list a folder", lake.url(), error))?.is_none() {
                return Ok(());
            }
            found.warned.push(
                Fault::setup(format!(
                    "`{folder}/` holds files and no Delta log: `{schema}.{name}` would be made there"
                ))
                .hint("move away what is not Inlet's: a table's VACUUM deletes files that its log does not name"),
            );
        }
    }
    found.looked_at += 1;
    Ok(())
}

/// The first fault, and how many there are.
fn first_of(faults: Vec<Fault>) -> Option<Fault> {
    let count = faults.len();
    let first = faults.into_iter().next()?;
    Some(if count > 1 { first.within(format!("{count} tables, the first")) } else { first })
}
