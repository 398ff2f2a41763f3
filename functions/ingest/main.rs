//! The function `ingest` alone.

#[path = "mod.rs"]
mod ingest;

use std::process::ExitCode;

use inlet_host::Functions;

fn main() -> ExitCode {
    inlet_host::run_alone("ingest", &Functions { ingest: ingest::run, plan: ingest::plan, ..Functions::NONE })
}
