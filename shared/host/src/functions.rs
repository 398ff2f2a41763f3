//! What the executable can do. A face finds the arguments of a function, and says what came of it in its place's words.

use inlet_core::clock::Deadline;
use inlet_core::connect::{ConnectReport, Progress};
use inlet_core::evolve::{Ask, EvolveReport};
use inlet_core::fault::Fault;
use inlet_core::report::{FaultReport, PlanReport, Report};
use inlet_core::route::{Parts, PlanOver, Watch};
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;

/// The function `evolve`: it is told how long it may take, and tells what takes long.
pub type EvolveFunction = fn(&inlet_core::evolve::Parts, Ask, Deadline, &(dyn Fn(&str) + Sync)) -> EvolveReport;

/// The function `connect`: it is told how long it may take, and tells how it goes on.
pub type ConnectFunction = fn(
    &inlet_core::connect::Parts,
    inlet_core::connect::Ask,
    Deadline,
    &(dyn Fn(Progress<'_>) + Sync),
) -> ConnectReport;

/// What the executable can do.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    /// Lands uploads.
    pub ingest: fn(&Parts, Vec<Upload>, &dyn Watch) -> Report,
    /// Brings Unity Catalog up to date with the lake.
    pub evolve: EvolveFunction,
    /// Tests a set-up.
    pub connect: ConnectFunction,
    /// Says what uploads would become.
    pub plan: fn(PlanOver<'_>, &Settings, Vec<Upload>, &dyn Watch) -> PlanReport,
}

impl Functions {
    /// None of them: what an executable with one function alone answers for the others.
    pub const NONE: Self = Self {
        ingest: |_, _, _| Report { fault: Some(missing("ingest")), ..Report::new() },
        evolve: |_, _, _, _| EvolveReport::failed(missing("evolve")),
        connect: |_, ask, _, _| ConnectReport::without_settings(&not_built_in("connect"), ask.wake),
        plan: |_, _, _, _| PlanReport { fault: Some(missing("ingest")), ..PlanReport::new() },
    };
}

fn missing(name: &str) -> FaultReport {
    FaultReport::from(&not_built_in(name))
}

fn not_built_in(name: &str) -> Fault {
    Fault::setup(format!("this executable is built without the function `{name}`"))
        .hint("ask the function that has it, or deploy the package with all functions")
}

/// A function that is called by its name: `_HANDLER` on Lambda, the path on Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// Lands uploads that events announce.
    Ingest,
    /// Brings the catalog up to date.
    Evolve,
    /// Lands what no event announced.
    Backfill,
    /// Tests its own set-up.
    Connect,
    /// Puts tables in order.
    Maintain,
    /// Any of them: what it is called with tells which.
    Any,
}

impl Function {
    /// The function of a handler's or a folder's name. Folders may be named for their trigger too: `ingest_eventgrid`.
    pub(crate) fn named(name: &str) -> Self {
        let name = name.rsplit(['.', '/']).next().unwrap_or(name);
        match name.split('_').next().unwrap_or(name) {
            "ingest" => Self::Ingest,
            "evolve" => Self::Evolve,
            "backfill" => Self::Backfill,
            "connect" => Self::Connect,
            "maintain" => Self::Maintain,
            _ => Self::Any,
        }
    }

    /// Its name in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Evolve => "evolve",
            Self::Backfill => "backfill",
            Self::Connect => "connect",
            Self::Maintain => "maintain",
            Self::Any => "inlet",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_by_its_name_and_by_its_triggers() {
        assert_eq!(Function::named("ingest"), Function::Ingest);
        assert_eq!(Function::named("ingest_eventgrid"), Function::Ingest);
        assert_eq!(Function::named("bin/evolve"), Function::Evolve);
        assert_eq!(Function::named("backfill"), Function::Backfill);
        assert_eq!(Function::named("maintain"), Function::Maintain);
        for any in ["bootstrap", "", "hello.handler", "ingestion"] {
            assert_eq!(Function::named(any), Function::Any, "{any}");
        }
    }
}
