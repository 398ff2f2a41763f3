//! The function `evolve` alone.

#[path = "mod.rs"]
mod evolve;

use std::process::ExitCode;

use inlet_host::Functions;

fn main() -> ExitCode {
    inlet_host::run_alone("evolve", &Functions { evolve: evolve::run, ..Functions::NONE })
}
