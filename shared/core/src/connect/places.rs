//! Where uploads come from: apart from the lake, and readable.

use futures::TryStreamExt;
use object_store::GetOptions;
use url::Url;

use super::report::Finding;
use super::{Landing, Run, STEP_WITHIN};
use crate::clock;
use crate::delta::store_fault;
use crate::evolve::is_within;
use crate::fault::Fault;

const NONE_NAMED: &str = "no place that uploads come from is named: inlet connect PLACE";

/// Neither lies in the other: what Inlet writes would be uploads, or uploads would lie among tables.
pub(super) fn apart(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let Some(lake) = &run.parts.lake else { return Ok(Finding::Skipped("no lake is named".to_owned())) };
    if run.parts.landing.is_empty() {
        return Ok(Finding::Skipped(NONE_NAMED.to_owned()));
    }
    for landing in &run.parts.landing {
        let (from, to) = (landing.url.as_str(), lake.as_str());
        if is_within(from, to) || is_within(to, from) {
            return Err(Fault::setup(format!("uploads come from {from}, and the lake is {to}: one lies in the other"))
                .hint("give the lake a folder, or a bucket, of its own: `lake` in the settings"));
        }
    }
    Ok(Finding::Passed("each in a folder of its own".to_owned()))
}

/// Lists each place, and reads the beginning of the first object.
pub(super) fn landing(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if run.parts.landing.is_empty() {
        return Ok(Finding::Skipped(NONE_NAMED.to_owned()));
    }
    let mut found = Vec::new();
    for landing in &run.parts.landing {
        let read = run.wait(clock::within(run.within(STEP_WITHIN), first(landing)));
        let read = read.ok_or_else(|| silent(&landing.url))?;
        let read = read.map_err(|error| store_fault("cannot read uploads", &landing.url, error))?;
        let first = read.unwrap_or_else(|| "nothing there yet".to_owned());
        found.push(format!("{}: {first}", landing.url));
    }
    Ok(Finding::Passed(found.join("; ")))
}

async fn first(landing: &Landing) -> object_store::Result<Option<String>> {
    let Some(object) = landing.store.list(Some(&landing.prefix)).try_next().await? else { return Ok(None) };
    if object.size > 0 {
        let beginning = GetOptions { range: Some((0..1).into()), ..GetOptions::default() };
        landing.store.get_opts(&object.location, beginning).await?.bytes().await?;
    }
    Ok(Some(format!("read `{}`", object.location)))
}

fn silent(place: &Url) -> Fault {
    Fault::again(format!("{place} does not answer"))
        .hint("run it again; if it stays so, let this network reach the store")
}
