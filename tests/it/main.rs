//! Whole-path tests: uploads in, tables out, read back by another implementation of Delta. Nothing leaves this machine.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on says why"
)]

mod bench;
mod cases;
mod compacted;
mod damaged;
mod events;
mod faces;
mod fixtures;
mod found;
mod giant;
mod json;
mod lake;
mod metamorphic;
mod once;
mod overwrite;
mod process;
mod support;
mod workers;
