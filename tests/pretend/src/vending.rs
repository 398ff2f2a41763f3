//! External locations and storage credentials, and the credentials that Unity Catalog hands out for them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock;
use crate::knobs::Vended;
use crate::locations::{clean, is_within};
use crate::pages::page;
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::setup::ADMIN;
use crate::state::{Caller, Location, State, TableKind};

/// How Azure names the identity behind a storage credential.
const CONNECTOR: &str =
    "/subscriptions/0/resourceGroups/segment/providers/Microsoft.Databricks/accessConnectors/segment";

/// Everything below `/external-locations`. Who has no right on one does not see it.
pub(crate) fn locations(state: &State, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    let sees = |name: &str| {
        caller.admin || state.grants.allow_anything(&caller.names, &Securable::new(Kind::ExternalLocation, name))
    };
    let told = |location: &Location| {
        json!({
            "name": location.name, "url": location.url, "credential_name": location.credential,
            "read_only": location.read_only,
            "owner": ADMIN, "metastore_id": state.metastore_id, "isolation_mode": "ISOLATION_MODE_OPEN",
            "fallback": false,
            "browse_only": false, "securable_type": "EXTERNAL_LOCATION",
        })
    };
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let all: Vec<Value> = state.locations.values().filter(|one| sees(&one.name)).map(told).collect();
            Ok(Reply::ok(&page("external_locations", all, state.knobs.page_size, request)))
        }
        ("GET", [name]) => match state.locations.get(*name).filter(|one| sees(&one.name)) {
            Some(location) => Ok(Reply::ok(&told(location))),
            None => Err(Refusal::missing(
                "EXTERNAL_LOCATION_DOES_NOT_EXIST",
                format!("External Location '{name}' does not exist."),
            )),
        },
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

/// Everything below `/storage-credentials`.
pub(crate) fn credentials(state: &State, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    let sees = |name: &str| {
        caller.admin || state.grants.allow_anything(&caller.names, &Securable::new(Kind::StorageCredential, name))
    };
    let told = |name: &String| {
        let mut body =
            json!({"id": name, "name": name, "owner": ADMIN, "read_only": false, "used_for_managed_storage": false});
        let (kind, identity) = match state.setup.cloud.as_str() {
            "AWS" => ("aws_iam_role", json!({"role_arn": "arn:aws:iam::123456789012:role/segment-lake"})),
            _ => ("azure_managed_identity", json!({"access_connector_id": CONNECTOR})),
        };
        body[kind] = identity;
        body
    };
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let all: Vec<Value> = state.setup.credentials.iter().filter(|name| sees(name)).map(told).collect();
            Ok(Reply::ok(&page("storage_credentials", all, state.knobs.page_size, request)))
        }
        ("GET", [name]) => match state.setup.credentials.iter().find(|one| one == name && sees(one)) {
            Some(name) => Ok(Reply::ok(&told(name))),
            None => Err(Refusal::missing(
                "STORAGE_CREDENTIAL_DOES_NOT_EXIST",
                format!("Storage Credential '{name}' does not exist."),
            )),
        },
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

#[derive(Deserialize)]
struct ForTable {
    table_id: String,
    operation: String,
}

/// `POST /temporary-table-credentials`
pub(crate) fn for_table(state: &State, caller: &Caller, request: &Request) -> Answer {
    let body: ForTable = request.json()?;
    let writes = match body.operation.as_str() {
        "READ" => false,
        "READ_WRITE" => true,
        other => return Err(Refusal::invalid(format!("{other} is not a table operation"))),
    };
    require_external_access(state)?;
    let missing = || Refusal::missing("TABLE_DOES_NOT_EXIST", format!("Table '{}' does not exist.", body.table_id));
    let table = state.tables.values().find(|table| table.id == body.table_id).ok_or_else(missing)?;
    let full = table.full_name();
    crate::tables::enter(state, caller, &full)?;
    let (on, schema) = (Securable::new(Kind::Table, &full), Securable::new(Kind::Schema, &table.schema));
    state.require(caller, Privilege::Select, &on)?;
    if writes {
        state.require(caller, Privilege::Modify, &on)?;
    }
    state.require(caller, Privilege::ExternalUseSchema, &schema)?;
    if writes && table.kind == TableKind::Managed {
        return Err(Refusal::denied(format!("Table '{full}' is managed: external writes need catalog commits.")));
    }
    match &table.location {
        Some(location) => Ok(Reply::ok(&vended(state, location))),
        None => Err(Refusal::invalid(format!("'{full}' is a view and has no storage."))),
    }
}

#[derive(Deserialize)]
struct ForPath {
    url: String,
    operation: String,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /temporary-path-credentials`
pub(crate) fn for_path(state: &State, caller: &Caller, request: &Request) -> Answer {
    let body: ForPath = request.json()?;
    let url = clean(&body.url);
    if !["PATH_READ", "PATH_READ_WRITE", "PATH_CREATE_TABLE"].contains(&body.operation.as_str()) {
        return Err(Refusal::invalid(format!("{} is not a path operation", body.operation)));
    }
    require_external_access(state)?;
    let location = state.require_location(&url)?;
    state.require(caller, Privilege::ExternalUseLocation, &Securable::new(Kind::ExternalLocation, &location.name))?;
    if location.read_only && body.operation != "PATH_READ" {
        return Err(Refusal::denied(format!("External Location '{}' is read only.", location.name)));
    }
    for table in state.tables.values() {
        let Some(at) = table.location.as_deref().filter(|at| is_within(&url, at)) else { continue };
        if table.kind == TableKind::Managed {
            return Err(Refusal::denied(format!("Path '{url}' belongs to the managed table at '{at}'.")));
        }
        state.require(caller, Privilege::ExternalUseSchema, &Securable::new(Kind::Schema, &table.schema))?;
    }
    if body.dry_run {
        return Ok(Reply::ok(&json!({})));
    }
    Ok(Reply::ok(&vended(state, &url)))
}

fn require_external_access(state: &State) -> Result<(), Refusal> {
    if state.knobs.external_access {
        return Ok(());
    }
    Err(Refusal::denied(
        "External data access is not enabled on this metastore. A metastore admin can turn on external data access.",
    ))
}

fn vended(state: &State, url: &str) -> Value {
    let expires = clock::epoch_ms() + state.knobs.vended_seconds * 1000;
    let mut body = json!({"expiration_time": expires, "url": url});
    match &state.knobs.vended {
        Vended::Nothing => {}
        Vended::Aws { access_key_id, secret_access_key, session_token } => {
            body["aws_temp_credentials"] = json!({
                "access_key_id": access_key_id, "secret_access_key": secret_access_key, "session_token": session_token,
            });
        }
        Vended::AzureSas(sas) => body["azure_user_delegation_sas"] = json!({"sas_token": sas}),
        Vended::AzureAad(token) => body["azure_aad"] = json!({"aad_token": token}),
    }
    body
}
