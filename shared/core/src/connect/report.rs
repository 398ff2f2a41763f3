//! What a connection test came to: the wire words of `--json`, the same from a terminal and from a function.

use serde::Serialize;

use super::guide::{Guide, SetupStep};
use super::next::NextStep;
use super::to_run::ToRun;
use crate::fault::{Fault, FaultKind};
use crate::report::FaultReport;

/// One connection test.
#[derive(Debug, Serialize)]
pub struct ConnectReport {
    /// The function that reports: `connect`.
    pub function: &'static str,
    /// Whether the warehouse might be woken.
    pub wake: bool,
    /// The whole: failed if any step failed, else a warning if any step has one, else passed.
    pub status: StepStatus,
    /// The set-up guide whose steps are named.
    pub guide: Guide,
    /// Every step, in the order in which it was tried.
    pub steps: Vec<StepReport>,
    /// Scratch objects that could not be removed: tables, schemas, folders.
    pub left: Vec<String>,
    /// What to do with a set-up that is right; empty when a step failed.
    pub next: Vec<NextStep>,
}

/// What a test tells while it runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress<'a> {
    /// A step, by its name, is being tried.
    Begins(&'static str),
    /// What takes long.
    Says(&'a str),
    /// A step is done.
    Done(&'a StepReport),
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It could not be tried, or was not asked for; `because` says why.
    Skipped,
    /// It is as it should be.
    Passed,
    /// It works, and a person should know something; or it is not known yet whether it does.
    Warning,
    /// It is not as it should be; `fault` says what to do.
    Failed,
}

/// One step.
#[derive(Debug, Serialize)]
pub struct StepReport {
    /// Its name, for programs: `host`, `sign_in`, ….
    pub step: &'static str,
    /// What it proves, for people.
    pub title: &'static str,
    /// What became of it.
    pub status: StepStatus,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What is wrong, or may be: kind, message and hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
    /// The lines in the fault's hint, to copy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to_run: Vec<ToRun>,
    /// Where the set-up guide sees to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_step: Option<SetupStep>,
    /// How long it took.
    pub milliseconds: u64,
}

/// What a probe found.
pub(super) enum Finding {
    /// As it should be; in a few words.
    Passed(String),
    /// The same, with what a person should know.
    Warning(String, Fault),
    /// Not to be tried here, and why.
    Skipped(String),
    /// Wrong, as another function reported it.
    Failed(FaultReport),
}

impl ConnectReport {
    pub(super) fn new(wake: bool, guide: Guide) -> Self {
        let (steps, left, next) = (Vec::new(), Vec::new(), Vec::new());
        Self { function: "connect", wake, status: StepStatus::Passed, guide, steps, left, next }
    }

    /// Adds a step, and judges the whole anew.
    pub(super) fn push(&mut self, step: StepReport) {
        self.status = self.status.max(step.status);
        self.steps.push(step);
    }

    /// A step that was tried, by its name.
    pub fn step(&self, name: &str) -> Option<&StepReport> {
        self.steps.iter().find(|step| step.step == name)
    }

    /// The gravest fault met, if any. A warning is none, unless it says that the test must be run again to be finished.
    pub fn gravest(&self) -> Option<FaultKind> {
        let counts = |step: &&StepReport| {
            let unfinished = step.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::Again);
            step.status == StepStatus::Failed || (step.status == StepStatus::Warning && unfinished)
        };
        let faults = self.steps.iter().filter(counts).filter_map(|step| step.fault.as_ref());
        faults.map(|fault| fault.kind).max_by_key(|kind| kind.gravity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(status: StepStatus, fault: Option<&Fault>) -> StepReport {
        let fault = fault.map(FaultReport::from);
        StepReport {
            step: "host",
            title: "",
            status,
            found: None,
            because: None,
            fault,
            to_run: Vec::new(),
            setup_step: None,
            milliseconds: 0,
        }
    }

    #[test]
    fn the_whole_is_its_worst_step_and_a_warning_leaves_the_exit_code() {
        let mut report = ConnectReport::new(false, Guide::Azure);
        report.push(step(StepStatus::Passed, None));
        report.push(step(StepStatus::Skipped, None));
        assert_eq!((report.status, report.gravest()), (StepStatus::Passed, None));
        report.push(step(StepStatus::Warning, Some(&Fault::setup("large"))));
        assert_eq!((report.status, report.gravest()), (StepStatus::Warning, None));
        report.push(step(StepStatus::Warning, Some(&Fault::again("starting"))));
        assert_eq!((report.status, report.gravest()), (StepStatus::Warning, Some(FaultKind::Again)));
        report.push(step(StepStatus::Failed, Some(&Fault::setup("denied"))));
        assert_eq!((report.status, report.gravest()), (StepStatus::Failed, Some(FaultKind::Setup)));
    }
}
