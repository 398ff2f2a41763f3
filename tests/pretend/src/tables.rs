//! Tables and views of Unity Catalog by REST: as the last statement or sync saw them, never as their log stands.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock;
use crate::locations::clean;
use crate::names::{checked_name, lower};
use crate::pages::page;
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::schemas::require_catalog;
use crate::state::{Caller, State, Table, TableKind, uuid};
use crate::types::column_info;

#[derive(Deserialize)]
struct Register {
    name: String,
    catalog_name: String,
    schema_name: String,
    table_type: String,
    data_source_format: String,
    storage_location: String,
    #[serde(default)]
    columns: Vec<Value>,
    #[serde(default)]
    properties: std::collections::BTreeMap<String, String>,
    comment: Option<String>,
}

/// Everything below `/tables`.
pub(crate) fn handle(state: &mut State, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("GET", []) => list(state, caller, request),
        ("POST", []) => register(state, caller, request),
        ("GET", [full]) => {
            let table = find(state, caller, &lower(full))?;
            Ok(Reply::ok(&told(state, table, request)))
        }
        ("GET", [full, "exists"]) => {
            let full = lower(full);
            enter(state, caller, &full)?;
            Ok(Reply::ok(&json!({"table_exists": state.tables.contains_key(&full)})))
        }
        ("DELETE", [full]) => {
            let full = lower(full);
            enter(state, caller, &full)?;
            require_table(state, &full)?;
            // What a managed table leaves behind is taken away after days.
            delete(state, caller, &full)?;
            Ok(Reply::ok(&json!({})))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

/// `GET /table-summaries`
pub(crate) fn summaries(state: &State, caller: &Caller, request: &Request) -> Answer {
    let catalog = lower(request.required("catalog_name")?);
    require_catalog(state, &catalog)?;
    state.require(caller, Privilege::UseCatalog, &Securable::new(Kind::Catalog, &catalog))?;
    let schemas = request.parameter("schema_name_pattern").unwrap_or("%");
    let names = request.parameter("table_name_pattern").unwrap_or("%");
    let fits = |table: &&Table| {
        let (of, schema) = table.schema.split_once('.').unwrap_or_default();
        of == catalog && like(schemas, schema) && like(names, &table.name) && is_seen(state, caller, table)
    };
    let told = state.tables.values().filter(fits);
    let told = told.map(|table| json!({"full_name": table.full_name(), "table_type": kind(table)})).collect();
    Ok(Reply::ok(&page("tables", told, state.knobs.page_size, request)))
}

/// SQL's LIKE, `%` and `_`.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('%') => {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| like(&pattern[1..], &text[at..]))
        }
        Some(one) => text.chars().next().is_some_and(|first| {
            (one == '_' || one == first) && like(&pattern[one.len_utf8()..], &text[first.len_utf8()..])
        }),
    }
}

fn list(state: &State, caller: &Caller, request: &Request) -> Answer {
    let catalog = lower(request.required("catalog_name")?);
    let schema = format!("{catalog}.{}", lower(request.required("schema_name")?));
    enter(state, caller, &format!("{schema}.t"))?;
    let mine = state.tables.values().filter(|table| table.schema == schema && is_seen(state, caller, table));
    let told = mine.map(|table| told(state, table, request)).collect();
    Ok(Reply::ok(&page("tables", told, state.knobs.page_size, request)))
}

/// Registers an external Delta table. Its columns are believed.
fn register(state: &mut State, caller: &Caller, request: &Request) -> Answer {
    let body: Register = request.json()?;
    if body.table_type != "EXTERNAL" || body.data_source_format != "DELTA" {
        return Err(Refusal::not_implemented("POST tables but of external Delta tables"));
    }
    let schema = format!("{}.{}", lower(&body.catalog_name), lower(&body.schema_name));
    let (name, location) = (lower(&body.name), clean(&body.storage_location));
    let full = format!("{schema}.{name}");
    enter(state, caller, &full)?;
    let on = Securable::new(Kind::Schema, &schema);
    state.require(caller, Privilege::CreateTable, &on)?;
    state.require(caller, Privilege::ExternalUseSchema, &on)?;
    checked_name(&name)?;
    if state.tables.contains_key(&full) {
        return Err(Refusal::new(409, "TABLE_ALREADY_EXISTS", format!("Table '{full}' already exists")));
    }
    let at = Securable::new(Kind::ExternalLocation, &state.require_location(&location)?.name);
    state.require(caller, Privilege::ExternalUseLocation, &at)?;
    require_external(state, caller, &location)?;
    let field = |column: &Value| column["type_json"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let columns: Option<Vec<Value>> = body.columns.iter().map(field).collect();
    let columns = columns.ok_or_else(|| Refusal::invalid("columns need type_json"))?;
    let now = clock::epoch_ms();
    let table = Table {
        schema,
        name,
        id: uuid(),
        kind: TableKind::External,
        owner: caller.name.clone(),
        location: Some(location),
        columns,
        comment: body.comment,
        properties: body.properties,
        view_definition: None,
        created_at: now,
        updated_at: now,
        copied: std::collections::BTreeSet::new(),
    };
    let answer = told(state, &table, request);
    state.tables.insert(full, table);
    Ok(Reply::ok(&answer))
}

/// Whether the caller may put an external table there: the right may stand on the external location or on its
/// credential, and nothing else may stand there.
pub(crate) fn require_external(state: &State, caller: &Caller, location: &str) -> Result<(), Refusal> {
    let covering = state.require_location(location)?;
    let at = Securable::new(Kind::ExternalLocation, &covering.name);
    let by = Securable::new(Kind::StorageCredential, &covering.credential);
    if !state.may(caller, Privilege::CreateExternalTable, &by) {
        state.require(caller, Privilege::CreateExternalTable, &at)?;
    }
    state.require_free(location)
}

/// Where a new managed thing goes: one of the `tables` or `volumes`.
pub(crate) fn managed_location(state: &State, schema: &str, things: &str, id: &str) -> Result<String, Refusal> {
    let known = state.schemas.get(schema);
    let of_catalog = || state.catalogs.get(schema.split('.').next()?)?.storage_root.clone();
    let root = known
        .and_then(|schema| schema.storage_root.clone())
        .or_else(of_catalog)
        .or_else(|| state.setup.metastore_root.clone());
    let root = root.ok_or_else(|| Refusal::new(400, "INVALID_STATE", "Metastore storage root URL does not exist."))?;
    let schema_id = known.map_or("", |schema| schema.id.as_str());
    Ok(format!("{}/__unitystorage/schemas/{schema_id}/{things}/{id}", clean(&root)))
}

/// Forgets a table. Answers where it had its files, if they were Databricks' own.
pub(crate) fn delete(state: &mut State, caller: &Caller, full: &str) -> Result<Vec<String>, Refusal> {
    let on = Securable::new(Kind::Table, full);
    state.require_owner(caller, &on).or_else(|denied| {
        let schema = full.rsplit_once('.').map_or("", |(schema, _)| schema);
        state.require_owner(caller, &Securable::new(Kind::Schema, schema)).map_err(|_| denied)
    })?;
    let gone = state.tables.remove(full);
    state.grants.forget(&on);
    Ok(gone.filter(|table| table.kind == TableKind::Managed).and_then(|table| table.location).into_iter().collect())
}

/// The way to a table: catalog and schema are there, and may be used.
pub(crate) fn enter(state: &State, caller: &Caller, full: &str) -> Result<(), Refusal> {
    let mut parts = full.split('.');
    let (Some(catalog), Some(schema), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::invalid(format!("'{full}' is not a valid full name: catalog.schema.name")));
    };
    require_catalog(state, catalog)?;
    state.require(caller, Privilege::UseCatalog, &Securable::new(Kind::Catalog, catalog))?;
    if !state.schemas.contains_key(&format!("{catalog}.{schema}")) {
        return Err(Refusal::missing("SCHEMA_DOES_NOT_EXIST", format!("Schema '{catalog}.{schema}' does not exist.")));
    }
    state.require_use(caller, catalog, schema)
}

fn find<'a>(state: &'a State, caller: &Caller, full: &str) -> Result<&'a Table, Refusal> {
    enter(state, caller, full)?;
    let table = require_table(state, full)?;
    state.require(caller, Privilege::Select, &Securable::new(Kind::Table, full))?;
    Ok(table)
}

fn require_table<'a>(state: &'a State, full: &str) -> Result<&'a Table, Refusal> {
    state
        .tables
        .get(full)
        .ok_or_else(|| Refusal::missing("TABLE_DOES_NOT_EXIST", format!("Table '{full}' does not exist.")))
}

fn is_seen(state: &State, caller: &Caller, table: &Table) -> bool {
    state.may(caller, Privilege::Select, &Securable::new(Kind::Table, table.full_name()))
}

fn kind(table: &Table) -> &'static str {
    match table.kind {
        TableKind::Managed => "MANAGED",
        TableKind::External => "EXTERNAL",
        TableKind::View => "VIEW",
    }
}

/// TableInfo.
fn told(state: &State, table: &Table, request: &Request) -> Value {
    let (catalog, schema) = table.schema.split_once('.').unwrap_or_default();
    let omits = |what: &str| request.parameter(what) == Some("true");
    let mut body = json!({
        "name": table.name, "catalog_name": catalog, "schema_name": schema, "full_name": table.full_name(),
        "table_id": table.id, "table_type": kind(table), "owner": table.owner, "metastore_id": state.metastore_id,
        "securable_type": "TABLE", "securable_kind": format!("TABLE_{}", kind(table)), "browse_only": false,
        "created_at": table.created_at, "created_by": table.owner, "updated_at": table.updated_at,
        "updated_by": table.owner,
    });
    if !omits("omit_columns") {
        let columns = table.columns.iter().enumerate().map(|(position, field)| column_info(field, position));
        body["columns"] = columns.collect::<Vec<_>>().into();
    }
    if !omits("omit_properties") {
        body["properties"] = json!(table.properties);
    }
    if table.kind != TableKind::View {
        body["data_source_format"] = json!("DELTA");
        body["delta_runtime_properties_kvpairs"] = json!({"delta_runtime_properties": {}});
    }
    if let Some(location) = &table.location {
        body["storage_location"] = json!(location);
        if let Some(covering) = state.covering(location) {
            body["storage_credential_name"] = json!(covering.credential);
        }
    }
    if let Some(comment) = &table.comment {
        body["comment"] = json!(comment);
    }
    if let Some(definition) = &table.view_definition {
        body["view_definition"] = json!(definition);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_like() {
        assert!(like("%", "tracks"));
        assert!(like("tr%s", "tracks"));
        assert!(like("t_acks", "tracks"));
        assert!(!like("tr", "tracks"));
    }
}
