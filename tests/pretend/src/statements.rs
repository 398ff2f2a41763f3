//! `/api/2.0/sql/statements`: submit, poll, chunks, cancel; and the task that takes a statement to its end.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock;
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::sql::{Refused, Sql, apply::apply, parse::parse};
use crate::state::{Caller, State, uuid};
use crate::statement::{Failure, Progress, Rows, Statement};
use crate::warehouses::Need;
use crate::workspace::Workspace;

/// The longest statement, bytes.
const LONGEST: usize = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Submit {
    statement: Option<String>,
    warehouse_id: Option<String>,
    catalog: Option<String>,
    schema: Option<String>,
    #[serde(default)]
    parameters: Vec<Value>,
    wait_timeout: Option<String>,
    on_wait_timeout: Option<String>,
    disposition: Option<String>,
    format: Option<String>,
    row_limit: Option<u64>,
    byte_limit: Option<u64>,
}

/// Everything below `/api/2.0/sql/statements`.
pub(crate) async fn handle(workspace: &Arc<Workspace>, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("POST", []) => submit(workspace, caller, request.json()?).await,
        ("GET", [id]) => {
            let state = workspace.state();
            let statement = find(&state, caller, id)?;
            Ok(Reply::ok(&statement.told(statement.progress, state.knobs.rows_per_chunk)))
        }
        ("GET", [id, "result", "chunks", index]) => {
            let state = workspace.state();
            let statement = find(&state, caller, id)?;
            let chunk = index.parse().ok().and_then(|index| statement.chunk(index, state.knobs.rows_per_chunk));
            chunk
                .map(|chunk| Reply::ok(&chunk))
                .ok_or_else(|| Refusal::missing("NOT_FOUND", format!("Chunk {index} of statement {id} was not found")))
        }
        ("POST", [id, "cancel"]) => {
            find(&workspace.state(), caller, id)?;
            end(workspace, id, None);
            Ok(Reply::ok(&json!({})))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

fn find<'a>(state: &'a State, caller: &Caller, id: &str) -> Result<&'a Statement, Refusal> {
    let kept = Duration::from_millis(state.knobs.statement_kept_ms);
    let is_known = |one: &&Statement| {
        one.ended.is_none_or(|ended| ended.elapsed() < kept) && (caller.admin || one.caller.name == caller.name)
    };
    let missing = || Refusal::missing("NOT_FOUND", format!("The statement {id} was not found."));
    state.statements.get(id).filter(is_known).ok_or_else(missing)
}

async fn submit(workspace: &Arc<Workspace>, caller: &Caller, body: Submit) -> Answer {
    let text = body
        .statement
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| Refusal::invalid("statement is missing"))?;
    let warehouse = body.warehouse_id.ok_or_else(|| Refusal::invalid("warehouse_id is missing"))?;
    if text.len() > LONGEST {
        return Err(Refusal::invalid("the statement is longer than 16 MiB"));
    }
    let wait = waits(body.wait_timeout.as_deref().unwrap_or("10s"))?;
    let cancels = match body.on_wait_timeout.as_deref() {
        None | Some("CONTINUE") => false,
        Some("CANCEL") if !wait.is_zero() => true,
        Some("CANCEL") => return Err(Refusal::invalid("on_wait_timeout CANCEL needs a wait_timeout")),
        Some(other) => return Err(Refusal::invalid(format!("on_wait_timeout {other} is not CONTINUE or CANCEL"))),
    };
    match (body.disposition.as_deref().unwrap_or("INLINE"), body.format.as_deref().unwrap_or("JSON_ARRAY")) {
        ("INLINE", "JSON_ARRAY") => {}
        ("INLINE", other @ ("ARROW_STREAM" | "CSV")) => {
            return Err(Refusal::invalid(format!("The format {other} is not supported with the INLINE disposition.")));
        }
        ("EXTERNAL_LINKS", _) => return Err(Refusal::not_implemented("disposition EXTERNAL_LINKS")),
        (disposition, format) => return Err(Refusal::invalid(format!("{disposition} with {format} is not supported"))),
    }
    if !body.parameters.is_empty() || body.row_limit.is_some() || body.byte_limit.is_some() {
        return Err(Refusal::not_implemented("parameters, row_limit and byte_limit of statements"));
    }
    workspace.state().warehouse(caller, &warehouse, Need::Use)?;
    let parsed = match parse(&text) {
        Ok(sql) => Ok(sql),
        Err(Refused::Failed(failure)) => Err(failure),
        Err(Refused::NotHere(what)) => return Err(Refusal::not_implemented(what)),
    };
    let id = uuid();
    let statement = Statement {
        id: id.clone(),
        number: 0,
        text,
        warehouse,
        catalog: body.catalog,
        schema: body.schema,
        caller: caller.clone(),
        progress: Progress::Pending,
        outcome: None,
        ended: None,
        at: clock::epoch_ms(),
    };
    {
        let mut state = workspace.state();
        let number = state.statements.len();
        state.statements.insert(id.clone(), Statement { number, ..statement });
    }
    tokio::spawn(run(Arc::clone(workspace), id.clone(), parsed));
    let ended = wait_for(workspace, &id, wait).await;
    if !ended && cancels {
        end(workspace, &id, None);
    }
    let state = workspace.state();
    let statement = find(&state, caller, &id)?;
    // Without a wait even what is done at once is told as PENDING.
    let progress = if wait.is_zero() { Progress::Pending } else { statement.progress };
    Ok(Reply::ok(&statement.told(progress, state.knobs.rows_per_chunk)))
}

/// `0s`, or `5s` to `50s`.
fn waits(text: &str) -> Result<Duration, Refusal> {
    let seconds = text.strip_suffix('s').and_then(|digits| digits.parse::<u64>().ok());
    match seconds {
        Some(seconds @ (0 | 5..=50)) => Ok(Duration::from_secs(seconds)),
        _ => Err(Refusal::invalid(format!("wait_timeout {text} must be 0s, or between 5s and 50s."))),
    }
}

/// Waits until a statement has ended; whether it has.
async fn wait_for(workspace: &Workspace, id: &str, at_most: Duration) -> bool {
    let ended = async {
        loop {
            let mut told = std::pin::pin!(workspace.progress.notified());
            told.as_mut().enable();
            if workspace.state().statements.get(id).is_none_or(|one| one.progress.is_terminal()) {
                return;
            }
            told.await;
        }
    };
    tokio::select! {
        () = ended => true,
        () = clock::sleep(at_most) => false,
    }
}

/// Takes a statement to its end.
async fn run(workspace: Arc<Workspace>, id: String, parsed: Result<Sql, Failure>) {
    let Some(statement) = workspace.state().statements.get(&id).cloned() else { return };
    if let Err(failure) = warehouse_is_up(&workspace, &statement).await {
        return end(&workspace, &id, Some(Err(failure)));
    }
    let pause = {
        let mut state = workspace.state();
        match state.statements.get_mut(&id) {
            Some(one) if one.progress == Progress::Pending => one.progress = Progress::Running,
            _ => return,
        }
        if let Some(warehouse) = state.warehouses.get_mut(&statement.warehouse) {
            warehouse.occupy();
        }
        state.knobs.statement_ms
    };
    workspace.progress.notify_waiters();
    clock::sleep(Duration::from_millis(pause)).await;
    let is_canceled = workspace.state().statements.get(&id).is_none_or(|one| one.progress.is_terminal());
    if !is_canceled {
        let fault = workspace.faults().judge_statement(&statement.text);
        let outcome = match (parsed, fault) {
            (Ok(sql), None) => apply(&workspace, &statement, &sql).await,
            (Ok(sql), Some((failure, true))) => apply(&workspace, &statement, &sql).await.and(Err(failure)),
            (Ok(_), Some((failure, false))) | (Err(failure), _) => Err(failure),
        };
        end(&workspace, &id, Some(outcome));
    }
    if let Some(warehouse) = workspace.state().warehouses.get_mut(&statement.warehouse) {
        warehouse.release(clock::now());
    }
}

/// Waits for the statement's warehouse; a stopped one is started, once.
async fn warehouse_is_up(workspace: &Workspace, statement: &Statement) -> Result<(), Failure> {
    let mut was_started = false;
    loop {
        let (state, until) = {
            let mut state = workspace.state();
            state.advance(clock::now());
            let pace = state.knobs.pace();
            let is_over = state.statements.get(&statement.id).is_none_or(|one| one.progress.is_terminal());
            let Some(warehouse) = state.warehouses.get(&statement.warehouse) else { return Err(gone(statement, None)) };
            if is_over {
                return Ok(());
            }
            let (name, until) = (warehouse.state(), warehouse.next_change(&pace));
            if name == "STOPPED" && was_started {
                return Err(gone(statement, warehouse.failure()));
            }
            if name == "STOPPED" || name == "STOPPING" {
                state.wake(&statement.warehouse, "statement", &statement.caller.name);
                was_started = true;
                continue;
            }
            // A start of somebody else that fails is this statement's failure too.
            was_started |= name == "STARTING";
            (name, until)
        };
        match state {
            "RUNNING" => return Ok(()),
            "DELETED" => return Err(gone(statement, Some("it was deleted"))),
            _ => {}
        }
        // One that hangs is looked at now and then: it can be deleted.
        let wait = until.map_or(Duration::from_millis(50), |until| until.saturating_duration_since(clock::now()));
        clock::sleep(wait.max(Duration::from_millis(1))).await;
    }
}

fn gone(statement: &Statement, why: Option<&str>) -> Failure {
    let why = why.unwrap_or("it is stopped");
    let message = format!("Cannot use SQL warehouse {}: {why}", statement.warehouse);
    Failure { error_code: "BAD_REQUEST".to_owned(), message, sql_state: None }
}

/// Notes how a statement ended; None: canceled. What has ended stays as it is.
fn end(workspace: &Workspace, id: &str, outcome: Option<Result<Rows, Failure>>) {
    if let Some(one) = workspace.state().statements.get_mut(id).filter(|one| !one.progress.is_terminal()) {
        one.progress = match &outcome {
            None => Progress::Canceled,
            Some(Ok(_)) => Progress::Succeeded,
            Some(Err(_)) => Progress::Failed,
        };
        one.outcome = outcome;
        one.ended = Some(clock::now());
    }
    workspace.progress.notify_waiters();
}
