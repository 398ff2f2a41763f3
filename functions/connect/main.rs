//! The function `connect` alone.

#[path = "mod.rs"]
mod connect;

use std::process::ExitCode;

use inlet_host::Functions;

fn main() -> ExitCode {
    inlet_host::run_alone("connect", &Functions { connect: connect::run, ..Functions::NONE })
}
