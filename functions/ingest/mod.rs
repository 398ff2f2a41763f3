//! The function `ingest`: uploads in, a report out. Whoever calls it has found the uploads and says what came of them.

use inlet_core::report::{PlanReport, Report};
use inlet_core::route::{self, Parts, PlanOver, Watch};
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;

/// Lands the uploads, or stages them for managed tables.
pub(crate) fn run(parts: &Parts, uploads: Vec<Upload>, watch: &dyn Watch) -> Report {
    route::ingest(parts, uploads, watch)
}

/// Says what they would become; reads them and writes nothing.
pub(crate) fn plan(over: PlanOver<'_>, settings: &Settings, uploads: Vec<Upload>, watch: &dyn Watch) -> PlanReport {
    route::plan(over, settings, uploads, watch)
}
