//! Grants by REST: what stands on a thing, what reaches it, and changes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::names::lower;
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::state::{Caller, State};

#[derive(Deserialize)]
struct Changes {
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    principal: String,
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
}

/// `/permissions/{type}/{name}` and `/effective-permissions/{type}/{name}`
pub(crate) fn handle(
    state: &mut State,
    caller: &Caller,
    request: &Request,
    effective: bool,
    kind: &str,
    name: &str,
) -> Answer {
    let kind: Kind = kind.parse().map_err(Refusal::invalid)?;
    // Locations and credentials keep the case of their names.
    let name = match kind {
        Kind::ExternalLocation | Kind::StorageCredential | Kind::Metastore => name.to_owned(),
        _ => lower(name),
    };
    let on = Securable::new(kind, name);
    require_there(state, &on)?;
    match request.method.as_str() {
        "GET" => {}
        "PATCH" if !effective => change(state, caller, &on, request.json()?)?,
        _ => return Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
    let wanted = request.parameter("principal");
    if let Some(wanted) = wanted.filter(|wanted| !is_known(state, wanted)) {
        return Err(Refusal::missing(
            "PRINCIPAL_DOES_NOT_EXIST",
            format!("Could not find principal with name {wanted}"),
        ));
    }
    let shown = names_of(state, wanted);
    let shows = |principal: &str| shown.as_ref().is_none_or(|names| names.iter().any(|name| name == principal));
    let mut assignments: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    if effective {
        for held in state.grants.effective(&on).into_iter().filter(|held| shows(&held.principal)) {
            let mut told = json!({"privilege": held.privilege.name()});
            if let Some(from) = held.from {
                told["inherited_from_type"] = json!(from.kind.path().to_uppercase());
                told["inherited_from_name"] = json!(from.name);
            }
            assignments.entry(held.principal).or_default().push(told);
        }
    } else {
        for (principal, privileges) in state.grants.direct(&on).into_iter().filter(|(principal, _)| shows(principal)) {
            assignments.insert(principal, privileges.into_iter().map(|privilege| json!(privilege.name())).collect());
        }
    }
    let told = assignments
        .into_iter()
        .map(|(principal, privileges)| json!({"principal": principal, "privileges": privileges}));
    Ok(Reply::ok(&json!({"privilege_assignments": told.collect::<Vec<_>>()})))
}

fn change(state: &mut State, caller: &Caller, on: &Securable, body: Changes) -> Result<(), Refusal> {
    state.require_owner(caller, on)?;
    for change in body.changes {
        if !is_known(state, &change.principal) {
            let text = format!("Could not find principal with name {}", change.principal);
            return Err(Refusal::missing("PRINCIPAL_DOES_NOT_EXIST", text));
        }
        for privilege in &change.add {
            state.grants.add(on.clone(), &change.principal, privilege.parse::<Privilege>().map_err(Refusal::invalid)?);
        }
        for privilege in &change.remove {
            state.grants.remove(on, &change.principal, privilege.parse::<Privilege>().map_err(Refusal::invalid)?);
        }
    }
    Ok(())
}

fn is_known(state: &State, name: &str) -> bool {
    let everybody = ["account users", "users"].contains(&name);
    everybody
        || state.setup.principals.iter().any(|one| one.name == name || one.groups.iter().any(|group| group == name))
}

/// A principal and its groups.
fn names_of(state: &State, wanted: Option<&str>) -> Option<Vec<String>> {
    let wanted = wanted?;
    Some(state.principal(wanted).map_or_else(|| vec![wanted.to_owned()], |principal| state.caller(principal).names))
}

fn require_there(state: &State, on: &Securable) -> Result<(), Refusal> {
    let name = &on.name;
    let (there, code) = match on.kind {
        Kind::Metastore => (true, "METASTORE_DOES_NOT_EXIST"),
        Kind::Catalog => (state.catalogs.contains_key(name), "CATALOG_DOES_NOT_EXIST"),
        Kind::Schema => (state.schemas.contains_key(name), "SCHEMA_DOES_NOT_EXIST"),
        Kind::Table => (state.tables.contains_key(name), "TABLE_DOES_NOT_EXIST"),
        Kind::Volume => (state.volumes.contains_key(name), "VOLUME_DOES_NOT_EXIST"),
        Kind::ExternalLocation => (state.locations.contains_key(name), "EXTERNAL_LOCATION_DOES_NOT_EXIST"),
        Kind::StorageCredential => (state.setup.credentials.contains(name), "STORAGE_CREDENTIAL_DOES_NOT_EXIST"),
    };
    if there { Ok(()) } else { Err(Refusal::missing(code, format!("{on} does not exist."))) }
}
