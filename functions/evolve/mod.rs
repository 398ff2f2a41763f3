//! The function `evolve`: brings Unity Catalog up to date with the lake.

use inlet_core::clock::Deadline;
use inlet_core::evolve::{self, Ask, EvolveReport, Parts};

/// Brings the catalog up to date, or says what that would take.
pub(crate) fn run(parts: &Parts, ask: Ask, deadline: Deadline, told: &(dyn Fn(&str) + Sync)) -> EvolveReport {
    evolve::evolve(parts, ask, deadline, told)
}
