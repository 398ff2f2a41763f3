//! The metastore and its catalogs.

use serde_json::{Value, json};

use crate::names::lower;
use crate::pages::page;
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::schemas::require_catalog;
use crate::setup::ADMIN;
use crate::state::{Caller, Catalog, State};

/// `GET /current-metastore-assignment`
pub(crate) fn assignment(state: &State) -> Answer {
    let workspace: u64 = state.setup.workspace_id.parse().unwrap_or_default();
    let default = state.catalogs.keys().next().map_or("main", String::as_str);
    Ok(Reply::ok(
        &json!({"workspace_id": workspace, "metastore_id": state.metastore_id, "default_catalog_name": default}),
    ))
}

/// `GET /metastore_summary`
pub(crate) fn summary(state: &State) -> Answer {
    let mut body = json!({
        "metastore_id": state.metastore_id, "name": "pretend", "cloud": state.setup.cloud.to_lowercase(),
        "region": "local",
        "global_metastore_id": format!("{}:local:{}", state.setup.cloud.to_lowercase(), state.metastore_id),
        "owner": ADMIN,
        "privilege_model_version": "1.0", "delta_sharing_scope": "INTERNAL",
        "external_access_enabled": state.knobs.external_access,
    });
    if let Some(root) = &state.setup.metastore_root {
        body["storage_root"] = json!(root);
    }
    Ok(Reply::ok(&body))
}

/// Everything below `/catalogs`.
pub(crate) fn handle(state: &State, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    let sees = |catalog: &Catalog| {
        let on = Securable::new(Kind::Catalog, &catalog.name);
        state.may(caller, Privilege::UseCatalog, &on)
            || (request.parameter("include_browse") == Some("true") && state.may(caller, Privilege::Browse, &on))
    };
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let told: Vec<Value> =
                state.catalogs.values().filter(|one| sees(one)).map(|one| told(state, one)).collect();
            Ok(Reply::ok(&page("catalogs", told, state.knobs.page_size, request)))
        }
        ("GET", [name]) => {
            let name = lower(name);
            require_catalog(state, &name)?;
            match state.catalogs.get(&name) {
                Some(catalog) if sees(catalog) => Ok(Reply::ok(&told(state, catalog))),
                _ => Err(Refusal::denied(format!("User does not have USE CATALOG on Catalog '{name}'."))),
            }
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

fn told(state: &State, catalog: &Catalog) -> Value {
    let mut body = json!({
        "name": catalog.name, "full_name": catalog.name, "catalog_type": catalog.kind, "owner": catalog.owner,
        "metastore_id": state.metastore_id, "properties": {}, "options": {},
        "isolation_mode": if catalog.isolated_elsewhere { "ISOLATED" } else { "OPEN" },
        "accessible_in_current_workspace": !catalog.isolated_elsewhere, "browse_only": false,
        "securable_type": "CATALOG", "securable_kind": "CATALOG_STANDARD", "provisioning_info": {"state": "ACTIVE"},
        "created_at": catalog.created_at, "created_by": catalog.owner, "updated_at": catalog.created_at,
    });
    if let Some(root) = &catalog.storage_root {
        (body["storage_root"], body["storage_location"]) = (json!(root), json!(format!("{root}/__unitystorage")));
    }
    body
}
