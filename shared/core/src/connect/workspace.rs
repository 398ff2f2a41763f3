//! From the address to the metastore: is it a workspace, do we get in, who are we there?

use super::report::Finding;
use super::{HOST_WITHIN, Run, STEP_WITHIN};
use crate::databricks::{Auth, Me, Workspace};
use crate::fault::Fault;
use crate::settings::StorageAccess;

/// DNS, TLS, and an answer that only a workspace gives.
pub(super) fn host(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let settings = &run.parts.settings;
    let Some(destination) = &settings.destination else {
        return Ok(Finding::Skipped("the settings name no workspace".to_owned()));
    };
    let workspace = Workspace::with_identity_endpoint(destination.connection.clone(), settings.identity_endpoint())?;
    match run.wait(workspace.reach(run.within(HOST_WITHIN))) {
        Ok(()) => {}
        Err(error) if error.is_out_of_time() => {
            let seconds = HOST_WITHIN.as_secs();
            return Err(Fault::again(format!("`{}` does not answer within {seconds} s", workspace.host())).hint(
                "check `workspace_url` and `port` (Databricks listens on 443 only), and that this network may reach it",
            ));
        }
        Err(error) => return Err(error.into()),
    }
    let found = workspace.host().to_owned();
    run.workspace = Some(workspace);
    Ok(Finding::Passed(found))
}

/// A token, from Databricks or from Entra.
pub(super) fn sign_in(run: &mut Run<'_>) -> Result<Finding, Fault> {
    run.wait(run.workspace()?.sign_in(run.within(STEP_WITHIN)))?;
    run.signed_in = true;
    let by = match &run.destination()?.connection.auth {
        Auth::Databricks { .. } => "an OAuth secret of Databricks",
        Auth::Entra { .. } => "a secret of Microsoft Entra",
        Auth::Token(_) => "a personal access token, not yet shown to the workspace",
        Auth::ManagedIdentity { .. } => "a managed identity",
    };
    Ok(Finding::Passed(by.to_owned()))
}

/// The cheapest call that takes a token.
pub(super) fn identity(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let me = run.wait(run.workspace()?.me(run.within(STEP_WITHIN)))?;
    let found = format!("{} `{}`", me.display_name, me.user_name).trim_start().to_owned();
    run.me = Some(me);
    Ok(Finding::Passed(found))
}

/// *Databricks SQL access*, proved by a call that needs it: entitlements of groups are not listed.
pub(super) fn entitlements(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let warehouses = run.wait(run.workspace()?.warehouses(run.within(STEP_WITHIN))).map_err(|error| {
        match error.entitlement().map(str::to_owned) {
            Some(entitlement) => entitled(error.into(), run.me.as_ref(), &entitlement),
            None => Fault::from(error),
        }
    })?;
    let seen = match warehouses.len() {
        1 => "1 warehouse is".to_owned(),
        count => format!("{count} warehouses are"),
    };
    Ok(Finding::Passed(format!("Databricks SQL access; {seen} visible")))
}

/// A fault with the line that gives an entitlement. What an answer says becomes part of a line to copy only if it looks
/// as it should.
pub(super) fn entitled(fault: Fault, me: Option<&Me>, entitlement: &str) -> Fault {
    let id = me.map(|me| me.id.as_str()).unwrap_or_default();
    let is_plain = entitlement.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if !is_number(id) || !is_plain {
        return fault;
    }
    fault.hint(format!(
        "a workspace admin: databricks service-principals patch {id} --json \
         '{{\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:PatchOp\"],\"Operations\":[{{\"op\":\"add\",\
         \"path\":\"entitlements\",\"value\":[{{\"value\":\"{entitlement}\"}}]}}]}}' (set-up step: enable entitlements)"
    ))
}

/// Whether an id is what Databricks' own are.
pub(super) fn is_number(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// A metastore, which lends credentials where the settings want that.
pub(super) fn unity_catalog(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let metastore = run.wait(run.workspace()?.metastore(run.within(STEP_WITHIN)))?;
    if run.parts.settings.storage == StorageAccess::Vended {
        metastore.may_vend()?;
    }
    Ok(Finding::Passed(format!("metastore `{}` in {}", metastore.name, metastore.region)))
}
