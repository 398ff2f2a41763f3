//! The function `backfill` alone: it finds what no event announced, and lands it as `ingest` does.

#[path = "../ingest/mod.rs"]
mod ingest;

use std::process::ExitCode;

use inlet_host::Functions;

fn main() -> ExitCode {
    inlet_host::run_alone("backfill", &Functions { ingest: ingest::run, plan: ingest::plan, ..Functions::NONE })
}
