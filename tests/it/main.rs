//! Whole-path tests: uploads in, tables out, read back by another implementation of Delta. Nothing leaves this machine.

mod cases;
mod compacted;
//D mod damaged;
mod events;
//D mod faces;
mod fixtures;
//D mod found;
mod json;
mod lake;
//D mod metamorphic;
mod once;
mod overwrite;
mod process;
mod support;
//D mod workers;
