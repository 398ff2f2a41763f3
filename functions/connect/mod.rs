//! The function `connect`: tests a set-up, and says of each step what it found and what to do.

use inlet_core::clock::Deadline;
use inlet_core::connect::{self, Ask, ConnectReport, Parts, Progress};

/// Tests a set-up.
pub(crate) fn run(
    parts: &Parts,
    ask: Ask,
    deadline: Deadline,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> ConnectReport {
    connect::connect(parts, ask, deadline, progress)
}
