//! One call of a function, wherever it runs: each message says what is wanted, and what became of it is answered.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use inlet_core::allowance::Allowance;
use inlet_core::clock::Deadline;
use inlet_core::connect::{self, ConnectReport, Progress};
use inlet_core::evolve;
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::maintain;
use inlet_core::report::FaultReport;
use inlet_core::settings::Settings;
use inlet_core::{clock, status, upkeep};
use serde_json::{Value, json};

use crate::delivery::{Delivered, Delivery, Dock};
use crate::functions::Function;
use crate::log::Log;
use crate::told::{self, Landing};
use crate::trigger::{Ask, Backfill, Content, Message, ObjectEvent};
use crate::{backfill, lake, landing, tested};

/// One call of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) dock: Dock<'a>,
    pub(crate) function: Function,
    /// When the place ends it.
    pub(crate) ends: Deadline,
    pub(crate) log: &'a Log,
}

impl Call<'_> {
    fn allowance(&self) -> Allowance {
        Allowance::new(self.ends.left(), self.dock.whole)
    }
}

/// What one message wants.
#[derive(Debug)]
pub(crate) enum Task {
    /// That announced uploads land.
    Land(Delivery),
    /// That Inlet does something.
    Do(Ask),
    /// Event Grid wants a code repeated.
    Repeat(String),
    /// It cannot be understood.
    Refuse(Fault),
}

/// What became of a message.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What a person who called reads.
    pub(crate) report: Value,
    /// Why the message must come again; none: it is acknowledged.
    pub(crate) fault: Option<FaultReport>,
}

impl Task {
    /// What a message wants of a function.
    pub(crate) fn of(call: &Call<'_>, message: Message) -> Self {
        let receives = message.receives;
        match message.content.and_then(|content| Self::of_content(call, content, receives)) {
            Ok(task) => task,
            Err(fault) => Self::Refuse(fault),
        }
    }

    fn of_content(call: &Call<'_>, content: Content, receives: u32) -> Result<Self, Fault> {
        Ok(match content {
            // Whatever changed in the state prefix: the notes say what there is to do.
            Content::Objects { mut refused, .. } if call.function == Function::Evolve => match refused.pop() {
                Some(fault) => return Err(fault),
                None => Self::Do(EVOLVE),
            },
            Content::Objects { events, refused, .. }
                if call.function == Function::Any && refused.is_empty() && are_notes(&events) =>
            {
                Self::Do(EVOLVE)
            }
            Content::Objects { events, skipped, refused } => {
                let refused = refused.iter().map(FaultReport::from).collect();
                Self::Land(Delivery { events, skipped, refused, receives, ends: call.ends, log: call.log.clone() })
            }
            Content::Ask(ask) => Self::Do(ask),
            Content::Tick => Self::Do(usual(call.function)?),
            Content::Handshake { code } => Self::Repeat(code),
            Content::Http(request) => match request.body.as_deref().map(str::trim).filter(|body| !body.is_empty()) {
                None => Self::Do(usual(call.function)?),
                Some(body) => match Content::of_text(body)? {
                    Content::Http(_) => return Err(Fault::rejected("the body of the request is a request")),
                    content => Self::of_content(call, content, receives)?,
                },
            },
        })
    }
}

/// The folder of Inlet's own files in a lake.
const STATE: &str = "_inlet";

const EVOLVE: Ask = Ask::Evolve { all: false, plan: false, retry: false };

/// Whether objects are of a lake's state, whichever lake it is.
fn are_notes(events: &[ObjectEvent]) -> bool {
    let is_state = |event: &ObjectEvent| event.key.split('/').any(|part| part == STATE);
    !events.is_empty() && events.iter().all(is_state)
}

/// What a function does when it is called without a word.
fn usual(function: Function) -> Result<Ask, Fault> {
    match function {
        Function::Evolve => Ok(EVOLVE),
        Function::Backfill => Ok(Ask::Backfill(Backfill::default())),
        Function::Connect => Ok(Ask::Connect { wake: false }),
        Function::Maintain => Ok(Ask::Maintain { plan: false, schema: None }),
        Function::Ingest | Function::Any => Err(Fault::setup("called without a word of what to do").hint(
            "a schedule is to call `evolve`, `backfill` or `maintain`, or with an input: {\"action\": \"evolve\"}",
        )),
    }
}

/// Does what messages want; answers in their order. Announced uploads land together, and one evolve serves all that
/// want the same.
pub(crate) fn answer(call: &Call<'_>, tasks: Vec<Task>) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = tasks.iter().map(|_| None).collect();
    let (mut deliveries, mut places) = (Vec::new(), Vec::new());
    let mut done: Vec<(Ask, Value, Option<FaultReport>)> = Vec::new();
    for (place, task) in tasks.into_iter().enumerate() {
        outcomes[place] = match task {
            Task::Land(delivery) => {
                deliveries.push(delivery);
                places.push(place);
                None
            }
            Task::Repeat(code) => Some(Outcome { report: json!({"validationResponse": code}), fault: None }),
            Task::Refuse(fault) => Some(Outcome::refused(call, &fault)),
            Task::Do(ask) => {
                if !done.iter().any(|(before, ..)| *before == ask) {
                    let (report, fault) = perform(call, &ask);
                    done.push((ask.clone(), report, fault));
                }
                done.iter()
                    .find(|(before, ..)| *before == ask)
                    .map(|(_, report, fault)| Outcome { report: report.clone(), fault: fault.clone() })
            }
        };
    }
    if !deliveries.is_empty() {
        for (place, delivered) in places.into_iter().zip(call.dock.land(&deliveries)) {
            outcomes[place] = Some(Outcome::of(delivered));
        }
    }
    let missing = || Outcome::refused(call, &Fault::bug("a message was not answered"));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
}

impl Outcome {
    /// What became of a message that announced uploads.
    pub(crate) fn of(delivered: Delivered) -> Self {
        Self { report: json(&delivered.report), fault: delivered.fault }
    }

    /// The call stopped before it could say what became of the message.
    pub(crate) fn bug() -> Self {
        let fault = FaultReport::from(&Fault::bug("the call stopped by a bug; nothing is acknowledged"));
        Self { report: json!({"fault": fault}), fault: Some(fault) }
    }

    fn refused(call: &Call<'_>, fault: &Fault) -> Self {
        let fault = FaultReport::from(fault);
        call.log.fault(&fault, json!({}));
        Self { report: json!({"fault": fault}), fault: Some(fault) }
    }
}

/// Does one thing; a panic is a bug, and a bug is answered too.
fn perform(call: &Call<'_>, ask: &Ask) -> (Value, Option<FaultReport>) {
    let done = catch_unwind(AssertUnwindSafe(|| try_perform(call, ask)));
    match done.unwrap_or_else(|_| Err(Fault::bug("the function stopped by a bug of its own"))) {
        Ok((report, fault)) => (report, fault),
        Err(fault) => {
            let fault = FaultReport::from(&fault);
            call.log.fault(&fault, json!({}));
            (json!({"fault": fault}), Some(fault))
        }
    }
}

fn try_perform(call: &Call<'_>, ask: &Ask) -> Result<(Value, Option<FaultReport>), Fault> {
    match ask {
        Ask::Evolve { all, plan, retry } => {
            evolve(call, evolve::Ask { plan: *plan, all: *all, retry: *retry, by_hand: false })
        }
        Ask::Ingest { places, schema } => ingest(call, places, schema.as_deref()),
        Ask::Status { schema } => {
            let open = call.dock.installation.current()?;
            call.log.info("status", json!({"schema": schema}));
            if open.home.managed().is_some() {
                return Ok((json(&status::staged_status(&open.lake, schema.as_deref())?), None));
            }
            let schemas = lake::chosen(open.lake.schemas()?, schema.as_deref())?;
            Ok((json(&status::status(&open.lake, &schemas)?), None))
        }
        Ask::Tidy { schema } => {
            let open = call.dock.installation.current()?;
            let schemas = open.schemas_to_keep(schema.as_deref())?;
            let report = upkeep::tidy_all(&open.lake, &schemas, call.allowance().deadline())?;
            let faults = report.tables.iter().filter_map(|table| table.fault.as_ref());
            told::tidied(call.log, &report);
            Ok((json(&report), FaultReport::gravest(faults).cloned()))
        }
        Ask::Backfill(asked) => backfill(call, asked),
        Ask::Connect { wake } => Ok((json(&connect(call, *wake)), None)),
        Ask::Maintain { plan, schema } => maintain(call, *plan, schema.as_deref()),
    }
}

/// Tests the set-up of the function that is asked, with that function's rights. A test that finds something is no call
/// that failed: whoever asks reads the report.
fn connect(call: &Call<'_>, wake: bool) -> ConnectReport {
    let installation = call.dock.installation;
    let parts = installation.settings().and_then(|settings| {
        let lake = settings.lake.clone();
        let lake =
            lake.map(|lake| lake::to_write(Some(lake.as_ref()), "INLET_LAKE=s3://bucket/prefix/")).transpose()?;
        tested::parts(settings, lake, &[], installation.handle())
    });
    let progress = |progress: Progress<'_>| {
        if let Progress::Says(text) = progress {
            call.log.info(text, json!({}));
        }
    };
    let report = match parts {
        Ok(parts) => {
            let ask = connect::Ask { wake, ..connect::Ask::default() };
            let parts = connect::Parts { on_function: true, ..parts };
            (call.dock.functions.connect)(&parts, ask, call.allowance().deadline(), &progress)
        }
        Err(fault) => ConnectReport::without_settings(&fault, wake),
    };
    told::connected(call.log, &report);
    report
}

/// Puts tables in order, as long as there is time; the next tick does the rest.
fn maintain(call: &Call<'_>, plan: bool, schema: Option<&str>) -> Result<(Value, Option<FaultReport>), Fault> {
    let open = call.dock.installation.current()?;
    let schemas = open.schemas_to_keep(schema)?;
    let Settings { maintenance: rules, patience, .. } = open.settings;
    let ask = maintain::Ask { plan, by_hand: false, rules, now: clock::now(), patience };
    let says = |text: &str| call.log.info(text, json!({}));
    let (parts, began) = (open.evolve_parts(), clock::now());
    let report = maintain::maintain(&open.lake, parts.as_ref(), &schemas, &ask, call.allowance().deadline(), &says);
    told::maintained(call.log, &report, &open.lake, began);
    let faults = report.tables.iter().filter_map(|table| table.fault.as_ref()).chain(&report.fault);
    Ok((json(&report), FaultReport::gravest(faults).cloned()))
}

fn evolve(call: &Call<'_>, ask: evolve::Ask) -> Result<(Value, Option<FaultReport>), Fault> {
    let open = call.dock.installation.current()?;
    let Some(parts) = open.evolve_parts() else {
        return Err(Fault::setup("the settings name no Databricks workspace: there is no catalog")
            .hint("give the function INLET_WORKSPACE_URL and INLET_CATALOG, or the settings object"));
    };
    let says = |text: &str| call.log.info(text, json!({}));
    let began = clock::now();
    let report = (call.dock.functions.evolve)(&parts, ask, call.allowance().deadline(), &says);
    told::evolved(call.log, &report, &open.lake, began);
    let faults = report.tables.iter().filter_map(|table| table.fault.as_ref()).chain(&report.fault);
    Ok((json(&report), FaultReport::gravest(faults).cloned()))
}

/// Lands what no event announced.
fn backfill(call: &Call<'_>, asked: &Backfill) -> Result<(Value, Option<FaultReport>), Fault> {
    let open = call.dock.installation.current()?;
    call.log.info(
        "backfill",
        json!({"prefix": asked.prefix, "again": asked.again, "scheduled_time": asked.scheduled_time}),
    );
    let (began, landing) = (clock::now(), RefCell::new(Landing::default()));
    let land = |uploads| {
        let report = call.dock.ingest(uploads, &open, call.allowance());
        landing.borrow_mut().add(&report);
        told::uploads(call.log, &report);
        report
    };
    let done = backfill::backfill(&open, asked, &land);
    let mut landing = landing.into_inner();
    if let Ok(report) = &done {
        told::backfilled(call.log, report);
        landing.skipped = report.skipped();
    }
    told::landed(call.log, &landing, &open.lake, began);
    let report = done?;
    Ok((json(&report), report.gravest()))
}

/// Lands uploads that somebody names, as on a terminal.
fn ingest(call: &Call<'_>, places: &[String], schema: Option<&str>) -> Result<(Value, Option<FaultReport>), Fault> {
    let open = call.dock.installation.current()?;
    for place in places {
        open.admits(place)?;
    }
    let places: Vec<_> = places.iter().map(Into::into).collect();
    let (settings, lake) = (&open.settings, open.home.lake());
    let ask = landing::Ask { schema, lake, settings, runtime: call.dock.installation.handle() };
    let found = landing::gather(&places, &ask, &mut std::io::empty())?;
    let began = clock::now();
    let mut report = call.dock.ingest(found.uploads, &open, call.allowance());
    report.totals.skipped += found.skipped;
    for source in found.skipped_sources {
        report.totals.skipped += source.uploads;
        report.skipped.push(source);
    }
    let mut landing = Landing::default();
    landing.add(&report);
    told::uploads(call.log, &report);
    told::landed(call.log, &landing, &open.lake, began);
    let faults = report.uploads.iter().filter_map(|upload| upload.fault.as_ref()).chain(&report.fault);
    let fails = |fault: &&FaultReport| fault.kind != FaultKind::Rejected;
    Ok((json(&report), FaultReport::gravest(faults.filter(fails)).cloned()))
}

fn json(report: &impl serde::Serialize) -> Value {
    serde_json::to_value(report).unwrap_or_default()
}

#[cfg(test)]
mod tests;
