//! Whole-path tests: uploads in, tables out, read back by another implementation of Delta. Nothing leaves this machine.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on says why"
)]

mod altered;
mod bench;
mod bucket;
mod cases;
mod chosen;
mod compacted;
mod connect;
mod corrupt;
mod damaged;
mod databricks_made;
mod events;
mod evolve;
mod faces;
mod faults;
mod faulty;
mod fixtures;
mod found;
mod gated;
mod giant;
mod held;
mod json;
mod kept;
mod lake;
mod landing;
mod loaded;
mod maintain;
mod managed;
mod metamorphic;
mod once;
mod overwrite;
mod page;
mod process;
mod races;
mod refused;
mod scale;
mod settings;
mod status;
mod support;
mod verify;
mod why_the_kernel;
mod workers;
mod workspace;
