//! `/api/2.0/sql/warehouses` and their permissions: who sees and uses which, and how often one was woken.

use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::require_entitlement;
use crate::clock;
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::state::{Caller, State};
use crate::warehouse::{Shape, Warehouse};

/// A warehouse left STOPPED for STARTING.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wake {
    /// Its id.
    pub warehouse: String,
    /// `start`, or `statement` when one found it stopped.
    pub cause: String,
    /// Who.
    pub principal: String,
    /// Milliseconds since 1970.
    pub at: u64,
}

/// What a permission level allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    See,
    Use,
    Manage,
}

impl Need {
    fn is_met_by(self, level: &str) -> bool {
        match self {
            Self::See => true,
            Self::Use => ["CAN_USE", "CAN_MONITOR", "CAN_MANAGE", "IS_OWNER"].contains(&level),
            Self::Manage => ["CAN_MANAGE", "IS_OWNER"].contains(&level),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::See => "CAN_VIEW",
            Self::Use => "CAN_USE",
            Self::Manage => "CAN_MANAGE",
        }
    }
}

impl State {
    /// A warehouse that the caller may see, use or manage.
    ///
    /// # Errors
    /// A malformed id, an unknown one, a missing right.
    pub(crate) fn warehouse(&mut self, caller: &Caller, id: &str, need: Need) -> Result<&mut Warehouse, Refusal> {
        self.advance(clock::now());
        if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(Refusal::invalid(format!("{id} is not a valid endpoint id.")));
        }
        let met = self.may_on_warehouse(caller, id, need);
        let warehouse = self.warehouses.get_mut(id).filter(|warehouse| !warehouse.is_deleted());
        let warehouse = warehouse.ok_or_else(|| {
            Refusal::missing("RESOURCE_DOES_NOT_EXIST", format!("SQL warehouse {id} does not exist."))
        })?;
        if !met {
            let words = need.words();
            return Err(Refusal::denied(format!(
                "{} does not have {words} permission on SQL warehouse {id}.",
                caller.name
            )));
        }
        Ok(warehouse)
    }

    fn may_on_warehouse(&self, caller: &Caller, id: &str, need: Need) -> bool {
        let level = |name: &String| self.warehouse_permissions.get(&(id.to_owned(), name.clone()));
        caller.admin || caller.names.iter().filter_map(level).any(|level| need.is_met_by(level))
    }

    /// Starts a warehouse, and counts the wake if it is one.
    pub(crate) fn wake(&mut self, id: &str, cause: &str, principal: &str) {
        let (fate, late) = (self.knobs.fate.clone(), self.knobs.late_states);
        let Some(warehouse) = self.warehouses.get_mut(id) else { return };
        (warehouse.fate, warehouse.late) = (fate, late);
        if warehouse.start(clock::now()) {
            let (cause, principal) = (cause.to_owned(), principal.to_owned());
            self.wakes.push(Wake { warehouse: id.to_owned(), cause, principal, at: clock::epoch_ms() });
        }
    }
}

/// Everything below `/api/2.0/sql/warehouses`; `rest` is what stands behind.
pub(crate) fn handle(state: &mut State, host: &str, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("GET", []) => list(state, host, caller, request),
        ("POST", []) => create(state, caller, request),
        ("GET", [id]) => Ok(Reply::ok(&state.warehouse(caller, id, Need::See)?.told(host))),
        ("POST", [id, "start"]) => {
            state.warehouse(caller, id, Need::Use)?;
            state.wake(id, "start", &caller.name);
            Ok(Reply::ok(&json!({})))
        }
        ("POST", [id, "stop"]) => {
            state.warehouse(caller, id, Need::Manage)?.stop(clock::now());
            Ok(Reply::ok(&json!({})))
        }
        ("POST", [id, "edit"]) => {
            state.warehouse(caller, id, Need::Manage)?.shape = wanted(request)?;
            Ok(Reply::ok(&json!({})))
        }
        ("DELETE", [id]) => {
            state.warehouse(caller, id, Need::Manage)?.delete();
            Ok(Reply::ok(&json!({})))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

fn list(state: &mut State, host: &str, caller: &Caller, request: &Request) -> Answer {
    state.advance(clock::now());
    let seen = |state: &State, id: &str| state.may_on_warehouse(caller, id, Need::See);
    let ids: Vec<String> = state.warehouses.keys().filter(|id| seen(state, id)).cloned().collect();
    let seen = state.warehouses.iter_mut().filter(|(id, one)| ids.contains(id) && !one.is_deleted());
    let told: Vec<Value> = seen.map(|(_, one)| one.told(host)).collect();
    Ok(Reply::ok(&crate::pages::page("warehouses", told, state.knobs.page_size, request)))
}

fn create(state: &mut State, caller: &Caller, request: &Request) -> Answer {
    if require_entitlement(caller, "allow-cluster-create").is_err() && !caller.admin {
        let message = "You don't have permission to this resource.".to_owned();
        return Err(Refusal { status: 403, code: crate::reply::Code::Missing, message, reason: None });
    }
    let shape = wanted(request)?;
    if state.warehouses.values().any(|one| one.shape.name == shape.name && !one.is_deleted()) {
        return Err(Refusal::invalid(format!("SQL warehouse with name `{}` already exists", shape.name)));
    }
    let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(16).collect();
    state.warehouse_permissions.insert((id.clone(), caller.name.clone()), "IS_OWNER".to_owned());
    state.warehouses.insert(id.clone(), Warehouse::new(id.clone(), shape, caller.name.clone()));
    // As a new warehouse of Databricks does, it starts at once.
    state.wake(&id, "create", &caller.name);
    Ok(Reply::ok(&json!({"id": id})))
}

fn wanted(request: &Request) -> Result<Shape, Refusal> {
    let shape: Shape = request.json()?;
    match shape.fault() {
        Some(fault) => Err(Refusal::invalid(fault)),
        None => Ok(shape),
    }
}

/// `/api/2.0/permissions/warehouses/{id}`
pub(crate) fn permissions(state: &mut State, caller: &Caller, request: &Request, id: &str) -> Answer {
    let need = if request.method == "GET" { Need::See } else { Need::Manage };
    state.warehouse(caller, id, need)?;
    match request.method.as_str() {
        "GET" => {}
        "PUT" | "PATCH" => {
            let body = request.value()?;
            if request.method == "PUT" {
                state.warehouse_permissions.retain(|(warehouse, _), level| warehouse != id || level == "IS_OWNER");
            }
            for entry in body["access_control_list"].as_array().into_iter().flatten() {
                let who =
                    ["service_principal_name", "user_name", "group_name"].iter().find_map(|key| entry[key].as_str());
                let level = entry["permission_level"].as_str();
                let (Some(who), Some(level)) = (who, level) else {
                    return Err(Refusal::invalid("access_control_list needs a principal and permission_level"));
                };
                state.warehouse_permissions.insert((id.to_owned(), who.to_owned()), level.to_owned());
            }
        }
        _ => return Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
    let mine = state.warehouse_permissions.iter().filter(|((warehouse, _), _)| warehouse == id);
    let entries = mine.map(|((_, who), level)| {
        let key = if who.contains('@') { "user_name" } else { "service_principal_name" };
        json!({key: who, "all_permissions": [{"permission_level": level, "inherited": false}]})
    });
    Ok(Reply::ok(&json!({
        "object_id": format!("/sql/warehouses/{id}"), "object_type": "warehouses",
        "access_control_list": entries.collect::<Vec<_>>(),
    })))
}
