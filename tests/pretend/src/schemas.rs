//! Schemas of Unity Catalog.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::locations::clean;
use crate::names::{checked_name, lower};
use crate::pages::page;
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::state::{Caller, Schema, State, TableKind};

#[derive(Deserialize)]
struct Create {
    name: String,
    catalog_name: String,
    comment: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    storage_root: Option<String>,
}

/// Everything below `/schemas`.
pub(crate) fn handle(state: &mut State, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let catalog = lower(request.required("catalog_name")?);
            require_catalog(state, &catalog)?;
            state.require(caller, Privilege::UseCatalog, &Securable::new(Kind::Catalog, &catalog))?;
            let sees = |full: &str| state.may(caller, Privilege::UseSchema, &Securable::new(Kind::Schema, full));
            let mine = state.schemas.iter().filter(|(full, schema)| schema.catalog == catalog && sees(full));
            let told: Vec<Value> = mine.map(|(_, schema)| told(state, schema)).collect();
            Ok(Reply::ok(&page("schemas", told, state.knobs.page_size, request)))
        }
        ("POST", []) => {
            let body: Create = request.json()?;
            let (catalog, name) = (lower(&body.catalog_name), lower(&body.name));
            create(state, caller, &catalog, &name, body.comment, body.properties, body.storage_root.as_deref())?;
            Ok(Reply::ok(&told(state, find(state, &format!("{catalog}.{name}"))?)))
        }
        ("GET", [full]) => {
            let full = lower(full);
            let catalog = full.split('.').next().unwrap_or_default().to_owned();
            require_catalog(state, &catalog)?;
            state.require(caller, Privilege::UseCatalog, &Securable::new(Kind::Catalog, &catalog))?;
            let schema = find(state, &full)?;
            state.require(caller, Privilege::UseSchema, &Securable::new(Kind::Schema, &full))?;
            Ok(Reply::ok(&told(state, schema)))
        }
        ("DELETE", [full]) => {
            let force = request.parameter("force") == Some("true");
            if force {
                return Err(Refusal::not_implemented("DELETE schemas with force"));
            }
            delete(state, caller, &lower(full), false)?;
            Ok(Reply::ok(&json!({})))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

/// Makes a schema.
pub(crate) fn create(
    state: &mut State,
    caller: &Caller,
    catalog: &str,
    name: &str,
    comment: Option<String>,
    properties: BTreeMap<String, String>,
    storage_root: Option<&str>,
) -> Result<(), Refusal> {
    require_catalog(state, catalog)?;
    let on = Securable::new(Kind::Catalog, catalog);
    state.require(caller, Privilege::UseCatalog, &on)?;
    state.require(caller, Privilege::CreateSchema, &on)?;
    if state.catalogs.get(catalog).is_some_and(|catalog| catalog.kind != "MANAGED_CATALOG") {
        return Err(Refusal::invalid(format!("Catalog '{catalog}' is not a managed catalog.")));
    }
    checked_name(name)?;
    if state.schemas.contains_key(&format!("{catalog}.{name}")) {
        return Err(Refusal::new(400, "SCHEMA_ALREADY_EXISTS", format!("Schema '{catalog}.{name}' already exists")));
    }
    let storage_root = storage_root.map(clean);
    if let Some(root) = &storage_root {
        let location = Securable::new(Kind::ExternalLocation, &state.require_location(root)?.name);
        state.require(caller, Privilege::CreateManagedStorage, &location)?;
        state.require_free(root)?;
    }
    state.add_schema(catalog, name, &caller.name, comment, properties, storage_root);
    Ok(())
}

/// Removes a schema, and with `cascade` what stands in it. Answers where managed tables had their files.
pub(crate) fn delete(state: &mut State, caller: &Caller, full: &str, cascade: bool) -> Result<Vec<String>, Refusal> {
    find(state, full)?;
    let on = Securable::new(Kind::Schema, full);
    let catalog = full.split('.').next().unwrap_or_default();
    state.require(caller, Privilege::UseCatalog, &Securable::new(Kind::Catalog, catalog))?;
    state.require_owner(caller, &on)?;
    let tables: Vec<String> =
        state.tables.iter().filter(|(_, table)| table.schema == full).map(|(name, _)| name.clone()).collect();
    let has_volumes = state.volumes.values().any(|volume| volume.schema == full);
    if !cascade && (!tables.is_empty() || has_volumes) {
        return Err(Refusal::new(400, "SCHEMA_NOT_EMPTY", format!("Cannot delete non-empty schema '{full}'.")));
    }
    let mut managed = Vec::new();
    for name in tables {
        if let Some(table) = state.tables.remove(&name) {
            managed.extend(table.location.filter(|_| table.kind == TableKind::Managed));
        }
        state.grants.forget(&Securable::new(Kind::Table, name));
    }
    state.volumes.retain(|_, volume| volume.schema != full);
    state.schemas.remove(full);
    state.grants.forget(&on);
    Ok(managed)
}

/// # Errors
/// There is no such catalog.
pub(crate) fn require_catalog(state: &State, catalog: &str) -> Result<(), Refusal> {
    if state.catalogs.contains_key(catalog) {
        return Ok(());
    }
    Err(Refusal::missing("CATALOG_DOES_NOT_EXIST", format!("Catalog '{catalog}' does not exist.")))
}

fn find<'a>(state: &'a State, full: &str) -> Result<&'a Schema, Refusal> {
    let schema = state.schemas.get(full);
    schema.ok_or_else(|| Refusal::missing("SCHEMA_DOES_NOT_EXIST", format!("Schema '{full}' does not exist.")))
}

fn told(state: &State, schema: &Schema) -> Value {
    let mut body = json!({
        "name": schema.name, "catalog_name": schema.catalog, "full_name": format!("{}.{}", schema.catalog, schema.name),
        "schema_id": schema.id, "catalog_type": state.catalogs.get(&schema.catalog).map(|catalog| catalog.kind.clone()),
        "owner": schema.owner, "metastore_id": state.metastore_id, "properties": schema.properties,
        "created_at": schema.created_at, "created_by": schema.owner, "updated_at": schema.created_at,
        "updated_by": schema.owner, "securable_type": "SCHEMA", "securable_kind": "SCHEMA_STANDARD",
        "browse_only": false, "effective_predictive_optimization_flag": {"value": "DISABLE"},
    });
    if let Some(comment) = &schema.comment {
        body["comment"] = json!(comment);
    }
    if let Some(root) = &schema.storage_root {
        (body["storage_root"], body["storage_location"]) =
            (json!(root), json!(format!("{root}/__unitystorage/schemas/{}", schema.id)));
    }
    body
}
