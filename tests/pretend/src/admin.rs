//! What an admin does to mend a set-up, by the calls that their tools make: principals and entitlements, catalogs and
//! their bindings, external locations.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::number;
use crate::clock;
use crate::locations::clean;
use crate::names::lower;
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::state::{Caller, Catalog, Location, State};

/// `/api/2.0/preview/scim/v2/ServicePrincipals`: `POST` adds one of the account to the workspace, `PATCH` of one adds
/// entitlements.
pub(crate) fn principals(state: &mut State, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    require_admin(caller)?;
    let body = request.value()?;
    match (request.method.as_str(), rest) {
        ("POST", []) => {
            let name = body["applicationId"].as_str().unwrap_or_default().to_owned();
            let known = state.setup.principals.iter_mut().find(|principal| principal.name == name);
            let known = known.ok_or_else(|| Refusal::invalid(format!("There is no application {name}.")))?;
            known.in_workspace = true;
            Ok(Reply::json(201, &json!({"applicationId": name})))
        }
        ("PATCH", [id]) => {
            let place = (0..state.setup.principals.len()).find(|place| number(*place) == *id);
            let place = place.ok_or_else(|| Refusal::missing("RESOURCE_DOES_NOT_EXIST", format!("{id} is unknown")))?;
            for operation in body["Operations"].as_array().into_iter().flatten() {
                if operation["op"] != "add" || operation["path"] != "entitlements" {
                    return Err(Refusal::not_implemented("PATCH ServicePrincipals but to add entitlements"));
                }
                let values = operation["value"].as_array().into_iter().flatten();
                let added = values.filter_map(|value| value["value"].as_str().map(str::to_owned));
                let added: Vec<String> = added.collect();
                if let Some(principal) = state.setup.principals.get_mut(place) {
                    principal.entitlements.extend(added);
                }
            }
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

#[derive(Deserialize)]
struct NewCatalog {
    name: String,
    storage_root: Option<String>,
}

/// `POST /catalogs`
pub(crate) fn create_catalog(state: &mut State, caller: &Caller, request: &Request) -> Answer {
    require_admin(caller)?;
    let body: NewCatalog = request.json()?;
    let name = lower(&body.name);
    if state.catalogs.contains_key(&name) {
        return Err(Refusal::new(409, "CATALOG_ALREADY_EXISTS", format!("Catalog '{name}' already exists")));
    }
    let catalog = Catalog {
        name: name.clone(),
        kind: "MANAGED_CATALOG".to_owned(),
        owner: caller.name.clone(),
        storage_root: body.storage_root.as_deref().map(clean),
        isolated_elsewhere: false,
        created_at: clock::epoch_ms(),
    };
    state.catalogs.insert(name.clone(), catalog);
    Ok(Reply::ok(&json!({"name": name, "catalog_type": "MANAGED_CATALOG"})))
}

/// `PATCH /bindings/catalog/{name}`
pub(crate) fn bind(state: &mut State, caller: &Caller, request: &Request, name: &str) -> Answer {
    require_admin(caller)?;
    let body = request.value()?;
    let here = state.setup.workspace_id.clone();
    let is_here = |binding: &Value| {
        let id = &binding["workspace_id"];
        id.as_str() == Some(&here) || id.as_u64().is_some_and(|id| id.to_string() == here)
    };
    let added = body["add"].as_array().is_some_and(|added| added.iter().any(is_here));
    let missing = || Refusal::missing("CATALOG_DOES_NOT_EXIST", format!("Catalog '{name}' does not exist."));
    let catalog = state.catalogs.get_mut(&lower(name)).ok_or_else(missing)?;
    catalog.isolated_elsewhere &= !added;
    Ok(Reply::ok(&json!({"bindings": body["add"]})))
}

#[derive(Deserialize)]
struct NewLocation {
    name: String,
    url: String,
    credential_name: String,
    #[serde(default)]
    read_only: bool,
}

/// `POST /external-locations`
pub(crate) fn create_location(state: &mut State, caller: &Caller, request: &Request) -> Answer {
    require_admin(caller)?;
    let body: NewLocation = request.json()?;
    if !state.setup.credentials.contains(&body.credential_name) {
        let text = format!("Storage Credential '{}' does not exist.", body.credential_name);
        return Err(Refusal::missing("STORAGE_CREDENTIAL_DOES_NOT_EXIST", text));
    }
    let location = Location {
        name: body.name.clone(),
        url: clean(&body.url),
        credential: body.credential_name,
        read_only: body.read_only,
    };
    state.locations.insert(body.name.clone(), location);
    Ok(Reply::ok(&json!({"name": body.name, "url": body.url})))
}

fn require_admin(caller: &Caller) -> Result<(), Refusal> {
    if caller.admin { Ok(()) } else { Err(Refusal::denied("Only an admin may do this.")) }
}
