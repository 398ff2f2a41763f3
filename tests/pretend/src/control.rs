//! `/_pretend/…`: what the library's methods do, for scripts in other languages. Nobody has to sign in, and nothing of
//! it is noted.

use serde_json::{Value, json};

use crate::clock;
use crate::faults::{Fault, StatementFault};
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::setup::Grant;
use crate::state::State;
use crate::workspace::Workspace;

/// Answers a request behind `/_pretend/`.
pub(crate) fn handle(workspace: &Workspace, request: &Request, rest: &[&str]) -> Answer {
    let done = || Ok(Reply::ok(&json!({})));
    match (request.method.as_str(), rest) {
        ("GET", ["requests"]) => Ok(Reply::ok(&json!(workspace.log().all()))),
        ("DELETE", ["requests"]) => {
            workspace.log().clear();
            done()
        }
        ("GET", ["statements"]) => Ok(Reply::ok(&json!(said(&workspace.state())))),
        ("GET", ["wakes"]) => Ok(Reply::ok(&json!(workspace.state().wakes))),
        ("POST", ["faults"]) => {
            workspace.faults().add(request.json::<Fault>()?);
            done()
        }
        ("POST", ["statement-faults"]) => {
            workspace.faults().add_to_statements(request.json::<StatementFault>()?);
            done()
        }
        ("DELETE", ["faults"]) => {
            workspace.faults().clear();
            done()
        }
        ("POST", ["grants"]) => {
            grant(&mut workspace.state(), &request.json()?, true).map_err(Refusal::invalid)?;
            done()
        }
        ("DELETE", ["grants"]) => {
            grant(&mut workspace.state(), &request.json()?, false).map_err(Refusal::invalid)?;
            done()
        }
        ("GET", ["knobs"]) => Ok(Reply::ok(&json!(workspace.state().knobs))),
        ("PATCH", ["knobs"]) => {
            let changes = request.value()?;
            let mut state = workspace.state();
            let mut knobs = json!(state.knobs);
            for (key, value) in changes.as_object().into_iter().flatten() {
                knobs[key] = value.clone();
            }
            state.knobs = serde_json::from_value(knobs).map_err(|error| Refusal::invalid(error.to_string()))?;
            done()
        }
        ("GET", ["warehouses"]) => {
            let mut state = workspace.state();
            state.advance(clock::now());
            let states: Vec<Value> =
                state.warehouses.values().map(|one| json!({"id": one.id, "state": one.state()})).collect();
            Ok(Reply::ok(&json!(states)))
        }
        ("POST", ["warehouses", id, "stop"]) => {
            stop(&mut workspace.state(), id);
            done()
        }
        ("POST", ["tokens", "expire"]) => {
            workspace.state().tokens.clear();
            done()
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

/// All statements in the order in which they came.
pub(crate) fn said(state: &State) -> Vec<crate::statement::Said> {
    let mut all: Vec<_> = state.statements.values().collect();
    all.sort_by_key(|one| one.number);
    all.into_iter().map(crate::statement::Statement::said).collect()
}

/// Adds or takes away a grant.
pub(crate) fn grant(state: &mut State, grant: &Grant, add: bool) -> Result<(), String> {
    let on = Securable::new(grant.kind.parse::<Kind>()?, &grant.on);
    let privilege: Privilege = grant.privilege.parse()?;
    if add {
        state.grants.add(on, &grant.to, privilege);
    } else {
        state.grants.remove(&on, &grant.to, privilege);
    }
    Ok(())
}

/// Stops a warehouse at once.
pub(crate) fn stop(state: &mut State, id: &str) {
    let now = clock::now();
    let stopping = state.knobs.pace().stop;
    if let Some(warehouse) = state.warehouses.get_mut(id) {
        warehouse.stop(now);
        let instant = crate::warehouse::Pace { stop: std::time::Duration::ZERO, start: stopping, minute: stopping };
        warehouse.advance(now, &instant);
    }
}
