//! The catalog, what may be made in it, and the schemas that are there already.

use super::report::Finding;
use super::workspace::is_number;
use super::{Run, STEP_WITHIN};
use crate::databricks::{Denied, Securable, Workspace};
use crate::evolve::MADE_BY_INLET;
use crate::fault::Fault;

/// It is there, one of Unity Catalog's own, and this workspace's.
pub(super) fn catalog(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let catalog = run.wait(run.workspace()?.catalog(&run.destination()?.catalog, run.within(STEP_WITHIN)))?;
    catalog.may_hold_tables().map_err(|fault| {
        match (catalog.accessible, run.workspace.as_ref().and_then(Workspace::id)) {
            (false, Some(id)) if is_number(id) => fault.hint(bind(&catalog.name, id)),
            _ => fault,
        }
    })?;
    // External tables stand in the lake: storage of the catalog's own is no matter to them.
    let storage = catalog.storage_root.as_ref().map(|root| format!("; managed storage at {root}")).unwrap_or_default();
    let found = format!("`{}`{storage}", catalog.name);
    run.catalog = Some(catalog);
    Ok(Finding::Passed(found))
}

/// The line that lets a workspace use a catalog which is bound to others.
fn bind(catalog: &str, workspace_id: &str) -> String {
    format!(
        "its owner: databricks workspace-bindings update-bindings catalog {catalog} --json \
         '{{\"add\":[{{\"workspace_id\":{workspace_id},\"binding_type\":\"BINDING_TYPE_READ_WRITE\"}}]}}'"
    )
}

/// Makes the schema of this test, by REST: no warehouse is needed to prove `USE CATALOG` and `CREATE SCHEMA`. Who makes
/// a schema owns it, and may do everything else in it.
pub(super) fn grants(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let (workspace, catalog) = (run.workspace()?.clone(), &run.destination()?.catalog);
    let comment = format!("{MADE_BY_INLET}: a connection test");
    // Noted before: an answer may be lost.
    run.scratch.has_schema = true;
    let schema = run.scratch.name.clone();
    run.wait(workspace.create_schema(catalog, &schema, &comment, run.within(STEP_WITHIN)))?;
    run.scratch.schema_stands = true;
    Ok(Finding::Passed(format!("`{catalog}.{schema}` was made")))
}

/// Schemas of connected sources that others may have made.
pub(super) fn schemas(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let (workspace, catalog) = (run.workspace()?, &run.destination()?.catalog);
    let mut names: Vec<&str> = run.parts.settings.sources.iter().map(|source| source.schema.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let (mut there, mut missing) = (0, Vec::new());
    for name in &names {
        let deadline = run.within(STEP_WITHIN);
        let Some(schema) = run.wait(workspace.schema(catalog, name, deadline))? else { continue };
        there += 1;
        let me = run.me.as_ref().map(|me| me.user_name.as_str()).unwrap_or_default();
        if schema.owner == me {
            continue;
        }
        let full_name = format!("{catalog}.{name}");
        let held = run.wait(workspace.effective_privileges(Securable::Schema, &full_name, me, deadline))?;
        missing.extend(lacking(&held, &["CREATE TABLE", "SELECT", "MODIFY"]).map(|privilege| Denied {
            privilege: privilege.to_owned(),
            securable: "SCHEMA".to_owned(),
            name: full_name.clone(),
        }));
    }
    let found = match (names.len(), there) {
        (0, _) => "no source names one: each is made when it is first needed".to_owned(),
        (_, 0) => "none is there yet: each is made when it is first needed".to_owned(),
        (_, there) => format!("{there} of {}", names.len()),
    };
    match missing.is_empty() {
        true => Ok(Finding::Passed(found)),
        false => Ok(Finding::Warning(found, not_granted(workspace, &missing))),
    }
}

/// The privileges, as SQL spells them, that a list as REST spells it does not hold.
pub(super) fn lacking<'a>(held: &[String], wanted: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let all = held.iter().any(|one| one == "ALL_PRIVILEGES");
    wanted.iter().copied().filter(move |wanted| !all && !held.iter().any(|one| one.replace('_', " ") == *wanted))
}

/// What the grants do not show; a group may have it all the same.
pub(super) fn not_granted(workspace: &Workspace, missing: &[Denied]) -> Fault {
    let named: Vec<String> = missing
        .iter()
        .map(|Denied { privilege, securable, name }| {
            format!("{privilege} on {} `{name}`", securable.to_ascii_lowercase())
        })
        .collect();
    let grants: Vec<String> = missing.iter().map(|denied| workspace.grant(denied)).collect();
    Fault::setup(format!("the grants do not show {}", named.join(", "))).hint(grants.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_privileges_are_each_of_them() {
        let held = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let lacks = |names: &[&str]| lacking(&held(names), &["CREATE TABLE", "SELECT"]).collect::<Vec<_>>();
        assert_eq!(lacks(&["CREATE_TABLE"]), ["SELECT"]);
        assert!(lacks(&["ALL_PRIVILEGES"]).is_empty());
        assert_eq!(lacks(&[]).len(), 2);
    }
}
