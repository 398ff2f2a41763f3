//! The executable `inlet`: one program, several functions, in the place that it finds itself in.

mod connect;
mod evolve;
mod ingest;

use std::process::ExitCode;

use inlet_host::Functions;

fn main() -> ExitCode {
    inlet_host::run(&Functions { ingest: ingest::run, evolve: evolve::run, connect: connect::run, plan: ingest::plan })
}
