//! Unity Catalog's volumes; only managed ones. Their files stand in the schema's managed storage: see `files`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock;
use crate::names::{checked_name, lower};
use crate::pages::page;
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::state::{Caller, State, Volume, uuid};
use crate::tables::{enter, managed_location};

#[derive(Deserialize)]
struct Create {
    catalog_name: String,
    schema_name: String,
    name: String,
    volume_type: String,
    storage_location: Option<String>,
    comment: Option<String>,
}

/// Everything below `/volumes`.
pub(crate) fn handle(state: &mut State, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("POST", []) => create(state, caller, request.json()?),
        ("GET", []) => {
            let catalog = lower(request.required("catalog_name")?);
            let schema = format!("{catalog}.{}", lower(request.required("schema_name")?));
            enter(state, caller, &format!("{schema}.v"))?;
            let mine = state.volumes.values().filter(|volume| volume.schema == schema);
            let seen = mine.filter(|volume| state.may(caller, Privilege::ReadVolume, &securable(&volume.full_name())));
            let told = seen.map(|volume| told(state, volume)).collect();
            Ok(Reply::ok(&page("volumes", told, state.knobs.page_size, request)))
        }
        ("GET", [full]) => {
            let full = lower(full);
            Ok(Reply::ok(&told(state, find(state, caller, &full, Privilege::ReadVolume)?)))
        }
        ("DELETE", [full]) => {
            let full = lower(full);
            enter(state, caller, &full)?;
            state.volumes.get(&full).ok_or_else(|| missing(&full))?;
            state.require_owner(caller, &securable(&full))?;
            // Its files are taken away after days.
            state.volumes.remove(&full);
            state.grants.forget(&securable(&full));
            Ok(Reply::ok(&json!({})))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

fn create(state: &mut State, caller: &Caller, body: Create) -> Answer {
    if body.volume_type != "MANAGED" || body.storage_location.is_some() {
        return Err(Refusal::not_implemented("external volumes"));
    }
    let schema = format!("{}.{}", lower(&body.catalog_name), lower(&body.schema_name));
    let name = lower(&body.name);
    let full = format!("{schema}.{name}");
    enter(state, caller, &full)?;
    state.require(caller, Privilege::CreateVolume, &Securable::new(Kind::Schema, &schema))?;
    checked_name(&name)?;
    if state.volumes.contains_key(&full) {
        return Err(Refusal::new(409, "VOLUME_ALREADY_EXISTS", format!("Volume '{full}' already exists")));
    }
    let id = uuid();
    let volume = Volume {
        location: managed_location(state, &schema, "volumes", &id)?,
        id,
        schema,
        name,
        owner: caller.name.clone(),
        comment: body.comment,
        created_at: clock::epoch_ms(),
        folders: BTreeSet::new(),
    };
    let answer = told(state, &volume);
    state.volumes.insert(full, volume);
    Ok(Reply::ok(&answer))
}

/// A volume on which the caller has a right.
///
/// # Errors
/// The way to it is denied, it is not there, or the right is missing.
pub(crate) fn find<'a>(
    state: &'a State,
    caller: &Caller,
    full: &str,
    privilege: Privilege,
) -> Result<&'a Volume, Refusal> {
    enter(state, caller, full)?;
    let volume = state.volumes.get(full).ok_or_else(|| missing(full))?;
    state.require(caller, privilege, &securable(full))?;
    Ok(volume)
}

fn securable(full: &str) -> Securable {
    Securable::new(Kind::Volume, full)
}

fn told(state: &State, volume: &Volume) -> Value {
    let (catalog, schema) = volume.schema.split_once('.').unwrap_or_default();
    json!({
        "volume_id": volume.id, "name": volume.name, "catalog_name": catalog, "schema_name": schema,
        "full_name": volume.full_name(), "volume_type": "MANAGED", "owner": volume.owner,
        "storage_location": volume.location, "comment": volume.comment, "metastore_id": state.metastore_id,
        "created_at": volume.created_at, "created_by": volume.owner, "updated_at": volume.created_at,
        "updated_by": volume.owner,
    })
}

fn missing(full: &str) -> Refusal {
    Refusal::missing("NOT_FOUND", format!("Volume '{full}' does not exist.")).reason("FILES_API_RESOURCE_NOT_FOUND")
}
