//! The function `ingest`: uploads in, a report out. Whoever calls it has found the uploads and says what came of them.

use inlet_core::delta::Lake;
use inlet_core::report::{PlanReport, Report};
use inlet_core::route::{self, Parts, Watch};
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;

/// Lands the uploads.
pub(crate) fn run(parts: &Parts, uploads: Vec<Upload>, watch: &dyn Watch) -> Report {
    route::ingest(parts, uploads, watch)
}

/// Says what they would become; reads them and writes nothing.
pub(crate) fn plan(lake: Option<&Lake>, settings: &Settings, uploads: Vec<Upload>, watch: &dyn Watch) -> PlanReport {
    route::plan(lake, settings, uploads, watch)
}
