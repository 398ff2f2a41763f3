//! What an HTTP caller of a function gets: a status by what it can do, and the report.

use inlet_core::fault::FaultKind;
use serde_json::Value;

use crate::invocation::Outcome;

/// Status and body.
pub(crate) fn response(outcome: &Outcome) -> (u16, Value) {
    let status = match outcome.fault.as_ref().map(|fault| fault.kind) {
        None => 200,
        Some(FaultKind::Rejected) => 400,
        Some(FaultKind::Again) => 503,
        Some(FaultKind::Setup | FaultKind::Bug) => 500,
    };
    (status, outcome.report.clone())
}
