//! Where uploads come from: apart from the lake, and readable.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;

use super::report::Finding;
use super::{Run, STEP_WITHIN};
use crate::clock;
use crate::fault::Fault;
use crate::landing_store::LandingStore;
use crate::report::FaultReport;

/// A place that uploads come from.
#[derive(Debug)]
pub struct Landing {
    /// As people know it.
    pub name: String,
    /// Where it is; a fault when nobody can be found to read there.
    pub source: Result<LandingSource, FaultReport>,
    /// That it lies in the lake, or the lake in it.
    pub overlap: Option<FaultReport>,
}

/// Where uploads lie.
#[derive(Debug)]
pub enum LandingSource {
    /// In a folder.
    Folder(PathBuf),
    /// In a store, below a prefix.
    Store(Arc<dyn LandingStore>, String),
}

const NONE_NAMED: &str = "no place that uploads come from is named: `landing` in the settings, or inlet connect PLACE";

/// Neither lies in the other: what Inlet writes would be uploads, or uploads would lie among tables.
pub(super) fn apart(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if run.parts.landing.is_empty() {
        return Ok(Finding::Skipped(NONE_NAMED.to_owned()));
    }
    match run.parts.landing.iter().find_map(|landing| landing.overlap.clone()) {
        Some(overlap) => Ok(Finding::Failed(overlap)),
        None => Ok(Finding::Passed("each in a place of its own".to_owned())),
    }
}

/// Lists each place, and reads the beginning of the first upload.
pub(super) fn landing(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if run.parts.landing.is_empty() {
        return Ok(Finding::Skipped(NONE_NAMED.to_owned()));
    }
    let mut found = Vec::new();
    for Landing { name, source, .. } in &run.parts.landing {
        let first = match source {
            Err(fault) => return Ok(Finding::Failed(fault.clone())),
            Ok(LandingSource::Folder(folder)) => first_file(folder).map_err(|error| unreadable(name, error))?,
            Ok(LandingSource::Store(store, prefix)) => {
                let read = run.wait(clock::within(run.within(STEP_WITHIN), first_object(store.as_ref(), prefix)));
                read.ok_or_else(|| silent(name))??
            }
        };
        let first = first.map_or_else(|| "nothing there yet".to_owned(), |first| format!("read `{first}`"));
        found.push(format!("{name}: {first}"));
    }
    Ok(Finding::Passed(found.join("; ")))
}

async fn first_object(store: &dyn LandingStore, prefix: &str) -> Result<Option<String>, Fault> {
    let mut pages = store.list(prefix);
    while let Some(page) = pages.try_next().await? {
        if let Some(object) = page.into_iter().find(|object| object.form.size > 0) {
            store.get(&object.key, &object.form).await?.try_next().await?;
            return Ok(Some(object.key));
        }
    }
    Ok(None)
}

fn first_file(folder: &Path) -> io::Result<Option<String>> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            io::copy(&mut File::open(entry.path())?.take(1), &mut io::sink())?;
            return Ok(Some(entry.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn unreadable(place: &str, error: io::Error) -> Fault {
    Fault::setup(format!("cannot read uploads in {place}"))
        .hint("make the folder readable for this user")
        .because(error)
}

fn silent(place: &str) -> Fault {
    Fault::again(format!("{place} does not answer"))
        .hint("run it again; if it stays so, let this network reach the store")
}
