//! The external location: does Unity Catalog let us put tables into the lake, and can Databricks reach it?

use url::Url;

use super::catalog::{lacking, not_granted};
use super::report::Finding;
use super::storage::account;
use super::warehouse::said;
use super::{Run, STEP_WITHIN, WORK_WITHIN};
use crate::databricks::{Denied, Securable};
use crate::evolve::{FullName, is_within, literal, refuse_overlap, spelled};
use crate::fault::Fault;

/// What the set-up guide grants. External tables need the first; the others are for reading and writing by path.
const GRANTED: [&str; 3] = ["CREATE EXTERNAL TABLE", "READ FILES", "WRITE FILES"];

/// A storage credential, as SQL calls it.
const CREDENTIAL: &str = "STORAGE CREDENTIAL";

/// The lake lies outside managed storage, the grants on the location or its credential show what they should, and, with
/// the warehouse awake, a table is made there: that alone proves it.
pub(super) fn external_location(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let (Some(lake), Some(catalog)) = (&run.parts.lake, &run.catalog) else {
        return Err(Fault::bug("a location was looked for without a lake or a catalog"));
    };
    let lake = spelled(lake);
    let managed = (catalog.storage_root.as_deref(), catalog.storage_location.as_deref());
    refuse_overlap(&lake, &format!("catalog `{}`", catalog.name), managed)?;
    let shown = shown(run, &lake)?;
    let made = make_table(run, &lake, &shown)?;
    let found = match (&shown.on, made) {
        (Some(on), true) => format!("{on}; a table was made there"),
        (None, true) => "a table was made there".to_owned(),
        (Some(on), false) => format!("{on}; --wake proves it"),
        (None, false) => "no location or credential is visible; --wake proves it".to_owned(),
    };
    // What was done needs no further proof.
    let missing: Vec<Denied> =
        shown.missing.into_iter().filter(|denied| !made || denied.privilege != GRANTED[0]).collect();
    if !missing.is_empty() {
        return Ok(Finding::Warning(found, not_granted(run.workspace()?, &missing)));
    }
    if run.ask.wake && !made {
        let step = if run.answers { "grants" } else { "statement" };
        return Ok(Finding::Skipped(format!("waits for `{step}`")));
    }
    if shown.on.is_none() && !made {
        let fault = Fault::setup(format!("no external location over {lake} is visible to the principal"));
        let wanted = "GRANT CREATE EXTERNAL TABLE, READ FILES, WRITE FILES ON EXTERNAL LOCATION `<its name>`";
        let principal = run.me.as_ref().map(|me| me.user_name.as_str()).unwrap_or_default();
        return Ok(Finding::Warning(found, fault.hint(format!("{wanted} TO `{principal}`; --wake proves it"))));
    }
    Ok(Finding::Passed(found))
}

/// What the grants say.
struct Shown {
    /// Where they were found, in words.
    on: Option<String>,
    /// A credential that we may use, if exactly one is.
    credential: Option<String>,
    missing: Vec<Denied>,
}

/// Looks at the location over the lake, and at credentials: the guide grants on the credential, and who has no right on a
/// location does not see it.
fn shown(run: &Run<'_>, lake: &str) -> Result<Shown, Fault> {
    let (workspace, deadline) = (run.workspace()?, run.within(STEP_WITHIN));
    let me = run.me.as_ref().map(|me| me.user_name.as_str()).unwrap_or_default();
    let locations = run.wait(workspace.external_locations(deadline))?;
    let location = locations.into_iter().filter(|one| is_within(lake, &one.url)).max_by_key(|one| one.url.len());
    if let Some(location) = location.as_ref().filter(|location| location.read_only) {
        return Err(Fault::setup(format!("the external location `{}` over the lake is read-only", location.name))
            .hint(format!("its owner: Catalog > External data > {} > Edit: switch Read-only off", location.name)));
    }
    let mut held = Vec::new();
    let mut places = Vec::new();
    let mut look = |kind, securable: &str, name: &str| -> Result<(), Fault> {
        held.extend(run.wait(workspace.effective_privileges(kind, name, me, deadline))?);
        places.push((securable.to_owned(), name.to_owned()));
        Ok(())
    };
    match &location {
        Some(location) => {
            look(Securable::ExternalLocation, "EXTERNAL LOCATION", &location.name)?;
            let credentials = run.wait(workspace.storage_credentials(deadline))?;
            if credentials.contains(&location.credential_name) {
                look(Securable::StorageCredential, CREDENTIAL, &location.credential_name)?;
            }
        }
        None => {
            for credential in run.wait(workspace.storage_credentials(deadline))? {
                look(Securable::StorageCredential, CREDENTIAL, &credential)?;
            }
        }
    }
    let Some((securable, name)) = places.first().cloned() else {
        return Ok(Shown { on: None, credential: None, missing: Vec::new() });
    };
    let on = places.iter().map(|(kind, name)| format!("{} `{name}`", kind.to_ascii_lowercase()));
    let missing = lacking(&held, &GRANTED).map(|privilege| Denied {
        privilege: privilege.to_owned(),
        securable: securable.clone(),
        name: name.clone(),
    });
    let mut credentials = places.iter().filter(|(kind, _)| kind == CREDENTIAL).map(|(_, name)| name.clone());
    let credential = credentials.next().filter(|_| credentials.next().is_none());
    Ok(Shown { on: Some(on.collect::<Vec<_>>().join(", ")), credential, missing: missing.collect() })
}

/// Makes an empty table in the folder of this test, if a warehouse and a schema are there for it.
fn make_table(run: &mut Run<'_>, lake: &str, shown: &Shown) -> Result<bool, Fault> {
    if !run.answers || !run.ask.wake || !run.scratch.schema_stands {
        return Ok(false);
    }
    let (catalog, schema) = (run.destination()?.catalog.clone(), run.scratch.name.clone());
    let place = format!("{lake}/{schema}/empty");
    run.scratch.has_files = true;
    let name = FullName { catalog, schema, table: "empty".to_owned() };
    let sql =
        format!("CREATE TABLE IF NOT EXISTS {} (`id` STRING) USING DELTA LOCATION {}", name.quoted(), literal(&place));
    said(run, &sql, run.within(WORK_WITHIN)).map_err(|fault| filled_in(fault, lake, shown))?;
    Ok(true)
}

/// The hint for a lake that no location covers, with what is known in place of its blanks.
fn filled_in(fault: Fault, lake: &str, shown: &Shown) -> Fault {
    let account = Url::parse(lake).ok().map(|lake| account(&lake).to_owned()).filter(|account| !account.is_empty());
    let known = |hint: &str| {
        let hint = hint.replace("<the lake>", lake);
        account.iter().fold(hint, |hint, account| hint.replace("<account>", account))
    };
    let Some(hint) = fault.hint_text().map(known) else { return fault };
    match &shown.credential {
        Some(credential) => fault.hint(hint.replace("<credential>", credential)),
        None => fault.hint(hint),
    }
}
