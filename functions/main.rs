//! The executable `inlet`: one program, several functions, in the place that it finds itself in.

mod ingest;

use std::process::ExitCode;

use inlet_host::terminal::{self, Functions};

/// Many threads build many small columns: the system's allocator is the slowest part of that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    terminal::run(&Functions { ingest: ingest::run, plan: ingest::plan })
}
