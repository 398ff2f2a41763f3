//! What a test makes, and its removal: a schema in the catalog, a folder in the lake, a folder among Inlet's state, all by
//! one name.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use super::report::Finding;
use super::{Run, WORK_WITHIN};
use crate::clock::{self, Deadline, Micros};
use crate::databricks::Workspace;
use crate::delta::{Lake, STATE, store_fault};
use crate::evolve::is_made_by_inlet;
use crate::fault::Fault;
use crate::managed::VOLUME;

const PREFIX: &str = "inlet_connect_";
const DIGITS: usize = 8;

/// What this test has made.
pub(super) struct Scratch {
    /// `inlet_connect_<8 hex>`: the name of all of it.
    pub(super) name: String,
    /// Whether its schema was asked for: it may stand.
    pub(super) has_schema: bool,
    /// Whether its schema is known to stand.
    pub(super) schema_stands: bool,
    /// Whether files may lie in the lake or in its state.
    pub(super) has_files: bool,
    /// What could not be removed.
    pub(super) left: Vec<String>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        let digits: String = uuid::Uuid::new_v4().simple().to_string().chars().take(DIGITS).collect();
        Self {
            name: format!("{PREFIX}{digits}"),
            has_schema: false,
            schema_stands: false,
            has_files: false,
            left: Vec::new(),
        }
    }
}

/// Whether a name is one that a test gave.
pub(super) fn is_scratch(name: &str) -> bool {
    let digits = name.strip_prefix(PREFIX);
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Removes what this test made, and what an earlier one left behind. What cannot be removed is named: it does no harm.
pub(super) fn clean_up(run: &mut Run<'_>) -> Result<Finding, Fault> {
    // The end of the test's time is no reason to leave things behind.
    let deadline = Deadline::after(WORK_WITHIN);
    let mut faults = Vec::new();
    let mut removed = 0;
    if let (Some(workspace), true) = (run.workspace.clone(), run.catalog.is_some()) {
        match schemas(run, &workspace, deadline) {
            Ok(schemas) => {
                for schema in schemas {
                    let outcome = run.wait(remove_schema(&workspace, &run.destination()?.catalog, &schema, deadline));
                    removed += usize::from(outcome.is_ok());
                    note(run, &mut faults, format!("schema {}.{schema}", run.destination()?.catalog), outcome);
                }
            }
            Err(fault) if run.scratch.has_schema => {
                note(
                    run,
                    &mut faults,
                    format!("schema {}.{}", run.destination()?.catalog, run.scratch.name),
                    Err(fault),
                );
            }
            Err(fault) => faults.push(fault),
        }
    }
    // A store that was not even listed has nothing of this test, and says nothing of earlier ones.
    if let (Some(lake), true) = (run.lake.clone(), run.scratch.has_files) {
        match folders(run, &lake) {
            Ok(folders) => {
                for folder in folders {
                    let outcome = remove(&lake, &folder);
                    removed += usize::from(outcome.is_ok());
                    note(run, &mut faults, format!("{folder} in the lake's store"), outcome);
                }
            }
            Err(fault) => note(run, &mut faults, format!("{}{}/", lake.url(), run.scratch.name), Err(fault)),
        }
    }
    let mut faults = faults.into_iter();
    match faults.next() {
        None if removed == 0 => Ok(Finding::Passed("nothing was made".to_owned())),
        None => Ok(Finding::Passed(format!("{removed} removed"))),
        Some(fault) => {
            let left = match run.scratch.left.as_slice() {
                [] => "what earlier tests left cannot be looked for".to_owned(),
                left => format!("left behind: {}", left.join(", ")),
            };
            let warning = Fault::setup(format!("{left}: {}", fault.chain()));
            let hint = fault.hint_text().unwrap_or("remove it by hand; a later test tries again");
            Ok(Finding::Warning(left, warning.hint(hint)))
        }
    }
}

fn note(run: &mut Run<'_>, faults: &mut Vec<Fault>, what: String, outcome: Result<(), Fault>) {
    if let Err(fault) = outcome {
        run.scratch.left.push(what);
        faults.push(fault);
    }
}

/// The schema of this test, and those that others left long ago. Only what says that Inlet made it.
fn schemas(run: &Run<'_>, workspace: &Workspace, deadline: Deadline) -> Result<Vec<String>, Fault> {
    let all = run.wait(workspace.schemas(&run.destination()?.catalog, deadline))?;
    let mut names: Vec<String> = all
        .into_iter()
        .filter(|schema| is_scratch(&schema.name) && is_made_by_inlet(schema.comment.as_deref()))
        .filter(|schema| schema.name == run.scratch.name || is_old(schema.created_at.saturating_mul(1_000), run))
        .map(|schema| schema.name)
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn is_old(made: Micros, run: &Run<'_>) -> bool {
    let age = Duration::from_micros(u64::try_from(clock::now() - made).unwrap_or_default());
    age >= run.ask.leftovers_after
}

async fn remove_schema(workspace: &Workspace, catalog: &str, schema: &str, deadline: Deadline) -> Result<(), Fault> {
    workspace.delete_volume(catalog, schema, VOLUME, deadline).await?;
    for table in workspace.tables(catalog, schema, deadline).await? {
        workspace.delete_table(catalog, schema, &table.name, deadline).await?;
    }
    Ok(workspace.delete_schema(catalog, schema, deadline).await?)
}

/// The folders of this test in the lake, and those that others left long ago: their newest object is old.
fn folders(run: &Run<'_>, lake: &Lake) -> Result<Vec<Path>, Fault> {
    let mut folders = Vec::new();
    for below in [lake.root().clone(), lake.root().clone().join(STATE).join("connect")] {
        let listed = lake.wait(lake.store().list_with_delimiter(Some(&below)));
        let listed = listed.map_err(|error| store_fault("cannot look for what tests left", lake.url(), error))?;
        for place in listed.common_prefixes {
            let name = place.filename().unwrap_or_default();
            let is_own = name == run.scratch.name;
            if is_scratch(name) && (is_own || newest(lake, &place)?.is_none_or(|modified| is_old(modified, run))) {
                folders.push(place);
            }
        }
    }
    Ok(folders)
}

fn newest(lake: &Lake, folder: &Path) -> Result<Option<Micros>, Fault> {
    let newest = lake
        .store()
        .list(Some(folder))
        .try_fold(None, |newest, file| std::future::ready(Ok(newest.max(Some(file.last_modified.timestamp_micros())))));
    lake.wait(newest).map_err(|error| store_fault("cannot look for what tests left", lake.url(), error))
}

/// Removes all that lies in a folder.
fn remove(lake: &Lake, place: &Path) -> Result<(), Fault> {
    let fault = |error| store_fault("cannot remove what a test made", lake.url(), error);
    let files = lake.wait(lake.store().list(Some(place)).try_collect::<Vec<_>>()).map_err(fault)?;
    lake.remove(files.into_iter().map(|file| file.location).collect()).map_err(fault)?;
    // A store has no folders; a disk keeps the empty ones.
    let folder = std::path::Path::new("/").join(place.as_ref());
    if lake.url().scheme() == "file" && folder.is_dir() {
        let gone = std::fs::remove_dir_all(&folder);
        return gone.map_err(|error| Fault::again(format!("cannot remove `{}`", folder.display())).because(error));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_test_gave_are_scratch() {
        assert!(is_scratch(&Scratch::new().name));
        assert!(is_scratch("inlet_connect_0123abcd"));
        for other in
            ["inlet_connect_", "inlet_connect_0123abc", "inlet_connect_0123abcde", "inlet_connect_shop_web", "x"]
        {
            assert!(!is_scratch(other), "{other}");
        }
    }
}
