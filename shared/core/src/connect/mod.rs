//! The connection test: each precondition of a set-up, tried by the cheapest call that shows it.
//!
//! `STEPS` is the whole test as data: what is tried, in which order, and what each step waits for. All that can be
//! tried is tried, whatever failed before; a step that cannot says for which other one it waits. A right is proved by
//! using it: what the grants say is a hint only. Everything made for that is called `inlet_connect_<8 hex>`, goes at the
//! end, and what a killed test left goes with a later one.

mod catalog;
mod guide;
mod location;
mod next;
mod places;
mod report;
mod route;
mod scratch;
mod staging;
mod storage;
mod tables;
mod to_run;
mod warehouse;
mod workspace;

use std::time::Duration;

use tokio::runtime::Handle;
use url::Url;

pub use guide::{Guide, SetupStep};
pub use next::NextStep;
pub use places::{Landing, LandingSource};
pub use report::{ConnectReport, Progress, StepReport, StepStatus};
pub use to_run::ToRun;

use crate::clock::{self, Deadline};
use crate::databricks::{CatalogInfo, Me, Warehouse, Workspace};
use crate::delta::Lake;
use crate::fault::Fault;
use crate::report::FaultReport;
use crate::settings::{Destination, Settings, Tables};
use guide::Topic;
use report::Finding;
use scratch::Scratch;

/// A host that is silent for so long is taken for none.
const HOST_WITHIN: Duration = Duration::from_secs(5);
/// One step that only asks: it takes milliseconds where all is well.
const STEP_WITHIN: Duration = Duration::from_secs(20);
/// One step that makes, runs or removes things.
const WORK_WITHIN: Duration = Duration::from_secs(120);

/// What is tested.
#[derive(Debug)]
pub struct Parts {
    /// What a run is told.
    pub settings: Settings,
    /// Where the tables live; none: no lake is named.
    pub lake: Option<Url>,
    /// Where uploads come from.
    pub landing: Vec<Landing>,
    /// Whether it is a function that tests itself: there uploads land when they are announced.
    pub on_function: bool,
    /// Drives stores and the workspace.
    pub handle: Handle,
}

impl Parts {
    /// The tables that it is about; none: there is no place for any.
    fn tables(&self) -> Option<Tables> {
        match &self.lake {
            Some(_) => Some(Tables::External),
            None => self.settings.has_managed_tables().then_some(Tables::Managed),
        }
    }
}

/// What is asked of a test.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Start the warehouse, and send a batch all the way.
    pub wake: bool,
    /// How long rights in a cloud's store that are missing are waited for: a new role takes minutes to act.
    pub role_wait: Duration,
    /// What earlier tests left is removed when it is older.
    pub leftovers_after: Duration,
}

impl Default for Ask {
    fn default() -> Self {
        Self { wake: false, role_wait: Duration::from_secs(60), leftovers_after: Duration::from_secs(60 * 60) }
    }
}

/// One step of the test.
struct Step {
    /// Its name, for programs.
    name: &'static str,
    /// What it proves, for people.
    title: &'static str,
    /// What of a set-up guide sees to it.
    topic: Option<Topic>,
    /// The steps that it cannot be tried without.
    needs: &'static [&'static str],
    probe: fn(&mut Run<'_>) -> Result<Finding, Fault>,
    /// The tables to which alone it matters.
    tables: Option<Tables>,
}

impl Step {
    const fn external(self) -> Self {
        Self { tables: Some(Tables::External), ..self }
    }

    const fn managed(self) -> Self {
        Self { tables: Some(Tables::Managed), ..self }
    }

    /// Why it does not matter to these tables.
    fn skipped_for(&self, tables: Option<Tables>) -> Option<&'static str> {
        match (self.tables?, tables) {
            (Tables::External, Some(Tables::Managed)) => Some("the tables are managed"),
            (Tables::External, None) => Some("no lake is named"),
            (Tables::Managed, Some(Tables::External) | None) => Some("rows of external tables are written to the lake"),
            _ => None,
        }
    }
}

const fn step(
    name: &'static str,
    title: &'static str,
    topic: Option<Topic>,
    needs: &'static [&'static str],
    probe: fn(&mut Run<'_>) -> Result<Finding, Fault>,
) -> Step {
    Step { name, title, topic, needs, probe, tables: None }
}

const SETTINGS: Step = step("settings", "the settings are right", Some(Topic::Settings), &[], settings);

/// The test.
#[rustfmt::skip]
const STEPS: [Step; 27] = [
    SETTINGS,
    step("host", "the address is a workspace", Some(Topic::WorkspaceUrl), &["settings"], workspace::host),
    step("sign_in", "the principal gets a token", Some(Topic::Principal), &["host"], workspace::sign_in),
    step("identity", "the workspace knows the principal", Some(Topic::Workspace), &["sign_in"], workspace::identity),
    step("entitlements", "it may use SQL", Some(Topic::Entitlements), &["identity"], workspace::entitlements),
    step("unity_catalog", "Unity Catalog is attached", Some(Topic::UnityCatalog), &["identity"], workspace::unity_catalog),
    step("catalog", "the catalog can hold tables", Some(Topic::Catalog), &["unity_catalog"], catalog::catalog),
    step("grants", "a schema can be made", Some(Topic::Catalog), &["catalog"], catalog::grants),
    step("schemas", "schemas that are there can be used", Some(Topic::Catalog), &["catalog"], catalog::schemas),
    step("staging", "rows can be staged in a volume", Some(Topic::Catalog), &["grants"], staging::staging).managed(),
    step("warehouse", "the warehouse can be used", Some(Topic::WarehouseDetails), &["entitlements"], warehouse::warehouse),
    step("warehouse_size", "its size is as recommended", Some(Topic::WarehouseSize), &["warehouse"], warehouse::size),
    step("start", "the warehouse runs", Some(Topic::WarehouseDetails), &["warehouse"], warehouse::start),
    step("statement", "it answers SELECT 1", Some(Topic::WarehouseDetails), &["start"], warehouse::statement),
    step("places", "landing and lake lie apart", Some(Topic::Container), &["settings"], places::apart).external(),
    step("credentials", "there are credentials for the lake", Some(Topic::Container), &["settings"], storage::credentials).external(),
    step("storage", "the lake can be written", Some(Topic::Container), &["credentials"], storage::storage).external(),
    step("versioning", "the lake keeps no old versions", Some(Topic::Container), &["storage"], storage::versioning).external(),
    step("state", "Inlet's state can be written", Some(Topic::Container), &["storage"], storage::state).external(),
    step("tables", "tables that are there take rows", Some(Topic::Catalog), &["storage", "schemas"], tables::tables).external(),
    step("external_location", "the catalog can use the lake", Some(Topic::ExternalLocation), &["catalog"], location::external_location).external(),
    step("land", "a batch lands", Some(Topic::Container), &["storage", "staging"], route::land),
    step("register", "its tables are registered and counted", Some(Topic::ExternalLocation), &["land", "statement", "grants", "external_location"], route::register),
    step("maintain", "they can be changed, vacuumed, dropped", Some(Topic::ExternalLocation), &["register"], route::maintain),
    step("landing", "uploads can be read", None, &["settings"], places::landing),
    step("events", "new uploads are announced", None, &["landing"], places::events),
    step(CLEAN_UP, "nothing is left of this test", None, &["settings"], scratch::clean_up),
];

/// It has a time of its own.
const CLEAN_UP: &str = "clean_up";
const OUT_OF_TIME: &str = "the time of the test is over: INLET_PATIENCE_SECONDS gives it more";

/// Tests a set-up; never fails as a whole: what is wrong stands in the report.
///
/// Synchronous: call it from a plain thread while the runtime lives. `progress` hears of each step as it begins and ends,
/// and of what takes long.
pub fn connect(parts: &Parts, ask: Ask, deadline: Deadline, progress: &(dyn Fn(Progress<'_>) + Sync)) -> ConnectReport {
    let told = |text: &str| progress(Progress::Says(text));
    Run::new(parts, ask, deadline, &told).all(progress)
}

/// The steps of every test, in their order: name, and what it proves.
pub fn outline() -> impl Iterator<Item = (&'static str, &'static str)> {
    STEPS.iter().map(|step| (step.name, step.title))
}

impl ConnectReport {
    /// The test of settings that cannot be read: all else waits for them.
    pub fn without_settings(fault: &Fault, wake: bool) -> Self {
        let mut report = Self::new(wake, Guide::of(None));
        let failed = reported(&SETTINGS, Ok(Finding::Failed(FaultReport::from(fault))), 0, report.guide, None);
        report.push(failed);
        for step in STEPS.iter().skip(1) {
            let because = waits_for(&report, step, None).unwrap_or_default();
            let skipped = reported(step, Ok(Finding::Skipped(because)), 0, report.guide, None);
            report.push(skipped);
        }
        report
    }
}

/// Why a step cannot be tried. For what matters to other tables alone no step of both waits.
fn waits_for(report: &ConnectReport, step: &Step, tables: Option<Tables>) -> Option<String> {
    let matters = |need: &&&str| {
        let needed = STEPS.iter().find(|step| step.name == **need);
        tables.is_none() || needed.is_none_or(|needed| needed.skipped_for(tables).is_none())
    };
    step.needs.iter().filter(matters).find_map(|need| {
        let before = report.step(need)?;
        match before.status {
            StepStatus::Failed => Some(format!("waits for `{need}`")),
            StepStatus::Skipped => before.because.clone(),
            StepStatus::Passed | StepStatus::Warning => None,
        }
    })
}

fn reported(
    step: &Step,
    finding: Result<Finding, Fault>,
    milliseconds: u64,
    guide: Guide,
    tables: Option<Tables>,
) -> StepReport {
    let (status, found, because, fault) = match finding {
        Ok(Finding::Passed(found)) => (StepStatus::Passed, Some(found), None, None),
        Ok(Finding::Warning(found, fault)) => (StepStatus::Warning, Some(found), None, Some(FaultReport::from(&fault))),
        Ok(Finding::Skipped(because)) => (StepStatus::Skipped, None, Some(because), None),
        Ok(Finding::Failed(fault)) => (StepStatus::Failed, None, None, Some(fault)),
        Err(fault) => (StepStatus::Failed, None, None, Some(FaultReport::from(&fault))),
    };
    let setup_step = step.topic.and_then(|topic| guide.step(topic.of(tables)));
    StepReport {
        step: step.name,
        title: step.title,
        status,
        found,
        because,
        fault,
        to_run: Vec::new(),
        setup_step,
        milliseconds,
    }
}

/// Said of a step that is done only when the warehouse may be woken.
const ONLY_AWAKE: &str = "only with --wake";

/// What the steps of one test have found so far.
struct Run<'a> {
    parts: &'a Parts,
    ask: Ask,
    deadline: Deadline,
    told: &'a (dyn Fn(&str) + Sync),
    workspace: Option<Workspace>,
    /// Whether a token was had.
    signed_in: bool,
    me: Option<Me>,
    catalog: Option<CatalogInfo>,
    warehouse: Option<Warehouse>,
    /// Whether the warehouse answers statements.
    answers: bool,
    lake: Option<Lake>,
    /// Whether the store keeps what is overwritten or deleted.
    is_versioned: bool,
    scratch: Scratch,
}

impl<'a> Run<'a> {
    fn new(parts: &'a Parts, ask: Ask, deadline: Deadline, told: &'a (dyn Fn(&str) + Sync)) -> Self {
        Self {
            parts,
            ask,
            deadline,
            told,
            workspace: None,
            signed_in: false,
            me: None,
            catalog: None,
            warehouse: None,
            answers: false,
            lake: None,
            is_versioned: false,
            scratch: Scratch::new(),
        }
    }

    /// Every step in its turn.
    fn all(mut self, progress: &(dyn Fn(Progress<'_>) + Sync)) -> ConnectReport {
        let mut report = ConnectReport::new(self.ask.wake, Guide::of(Some(&self.parts.settings)));
        let tables = self.parts.tables();
        for step in &STEPS {
            progress(Progress::Begins(step.name));
            let begun = clock::now();
            let no_matter = step.skipped_for(tables).map(str::to_owned);
            let finding = match no_matter.or_else(|| waits_for(&report, step, tables)) {
                Some(because) => Ok(Finding::Skipped(because)),
                None if self.deadline.is_over() && step.name != CLEAN_UP => {
                    Ok(Finding::Skipped(OUT_OF_TIME.to_owned()))
                }
                None => (step.probe)(&mut self),
            };
            let milliseconds = u64::try_from(clock::now() - begun).unwrap_or_default() / 1_000;
            let mut done = reported(step, finding, milliseconds, report.guide, tables);
            if let (Some(me), Some(fault)) = (&self.me, &mut done.fault) {
                // A token and a managed identity do not say whose they are; the workspace has said it since.
                fault.hint =
                    fault.hint.take().map(|hint| hint.replace("`<principal>`", &format!("`{}`", me.user_name)));
            }
            done.to_run =
                done.fault.as_ref().and_then(|fault| fault.hint.as_deref()).map(to_run::of).unwrap_or_default();
            progress(Progress::Done(&done));
            report.push(done);
        }
        report.left = self.scratch.left;
        if report.status < StepStatus::Failed {
            report.next = next::steps(self.parts, self.warehouse.as_ref());
        }
        report
    }

    fn within(&self, at_most: Duration) -> Deadline {
        Deadline::after(at_most.min(self.deadline.left()))
    }

    /// What an earlier step has found; a step that needs it names that one.
    fn workspace(&self) -> Result<&Workspace, Fault> {
        self.workspace.as_ref().ok_or_else(|| Fault::bug("a step was tried before the one it waits for"))
    }

    fn destination(&self) -> Result<&'a Destination, Fault> {
        let destination = self.parts.settings.destination.as_ref();
        destination.ok_or_else(|| Fault::bug("a step of the workspace was tried without one"))
    }

    fn lake(&self) -> Result<&Lake, Fault> {
        self.lake.as_ref().ok_or_else(|| Fault::bug("a step of the lake was tried before it was opened"))
    }

    /// Waits for the workspace on this (plain) thread.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.parts.handle.block_on(answer)
    }
}

/// They were read before anything else.
fn settings(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let settings = &run.parts.settings;
    let workspace = match &settings.destination {
        Some(destination) => format!("catalog `{}`", destination.catalog),
        None => "no workspace".to_owned(),
    };
    let lake = match &run.parts.lake {
        Some(lake) => format!("lake {lake}"),
        None if settings.has_managed_tables() => "managed tables".to_owned(),
        None => "no lake".to_owned(),
    };
    // What may be wrong with a value shows at the step that uses it.
    let warnings = settings.warnings.iter().map(|warning| format!("; {warning}"));
    Ok(Finding::Passed(format!("{workspace}, {lake}{}", warnings.collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_waits_for_steps_before_it() {
        for (at, step) in STEPS.iter().enumerate() {
            for need in step.needs {
                assert!(STEPS[..at].iter().any(|before| before.name == *need), "{} waits for {need}", step.name);
            }
        }
    }

    #[test]
    fn without_settings_every_step_waits_for_them() {
        let report = ConnectReport::without_settings(&Fault::setup("`catalog` is missing"), true);
        assert_eq!(report.steps.len(), STEPS.len());
        assert_eq!(report.steps[0].status, StepStatus::Failed);
        for step in &report.steps[1..] {
            assert_eq!((step.status, step.because.as_deref()), (StepStatus::Skipped, Some("waits for `settings`")));
        }
    }
}
