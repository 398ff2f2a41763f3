//! `inlet ingest`: finds the uploads, has them landed or planned, and answers in the form that was asked for.

use std::collections::BTreeMap;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use inlet_core::fault::Fault;
use inlet_core::report::{FaultReport, PlanReport, Report};
use inlet_core::route::{Parts, PlanOver};
use inlet_core::upload::Upload;
use url::Url;

use super::arguments::{Form, Ingest};
use super::output::Streams;
use super::watch::Watcher;
use super::words::{self, Context};
use super::{Call, Told, exit_code, exit_code_of_plan, plan, told, workspace};
use crate::home::Home;
use crate::lake;
use crate::landing::{self, Ask, Landing};
use crate::runtime;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Ingest, call: &Call<'_>, streams: &mut Streams) -> u8 {
    if asked.places.iter().any(|place| place == "-") && streams.keyboard {
        streams.err.line("reading events from the keyboard; end with ctrl-d");
    }
    if asked.plan { plan_only(asked, call, streams) } else { land(asked, call, streams) }
}

/// A report as JSON: the whole, or what stands on the last line when each upload has had its own.
pub(super) fn json(report: &Report, form: Form) -> String {
    let json = match form {
        Form::JsonLines => {
            let mut line = serde_json::json!({ "function": report.function, "totals": report.totals });
            if !report.skipped.is_empty() {
                line["skipped"] = serde_json::json!(report.skipped);
            }
            if !report.released.is_empty() {
                line["released"] = serde_json::json!(report.released);
            }
            if let Some(fault) = &report.fault {
                line["fault"] = serde_json::json!(fault);
            }
            serde_json::to_string(&line)
        }
        Form::Words | Form::Json => serde_json::to_string(report),
    };
    json.unwrap_or_default()
}

fn land(asked: &Ingest, call: &Call<'_>, streams: &mut Streams) -> u8 {
    let mut run = Landed { report: Report::new(), lake: None, schemas: BTreeMap::new() };
    if let Err(fault) = run.land(asked, call, streams) {
        run.report.fault = Some(FaultReport::from(&fault));
    }
    let report = &run.report;
    match (call.form, &run.lake) {
        (Form::Words, Some(place)) => {
            let context = Context { place: place.as_ref(), program: &call.program, schemas: &run.schemas };
            streams.out.write(&words::report(report, context));
        }
        (Form::Words, None) => {}
        (Form::Json | Form::JsonLines, _) => {
            streams.out.line(&json(report, call.form));
            for warning in words::warnings_of(report) {
                streams.err.line(&format!("warning: {warning}"));
            }
        }
    }
    streams.err.write(&words::faults(report));
    exit_code(report, asked.strict)
}

/// A run and what its words need.
struct Landed {
    report: Report,
    /// The lake's URL, and as it was named; none of managed tables.
    lake: Option<Option<(Url, String)>>,
    schemas: BTreeMap<String, String>,
}

impl Landed {
    fn land(&mut self, asked: &Ingest, call: &Call<'_>, streams: &mut Streams) -> Result<(), Fault> {
        let runtime = runtime()?;
        let Told { settings, lake } = told(asked.settings.as_deref(), asked.lake.as_deref(), &runtime, streams)?;
        let workspace = workspace(&settings)?;
        let line = asked.line_with_lake(&call.program);
        let home = Home::of(&settings, workspace.as_ref(), || lake::to_write(lake.as_deref(), &line))?;
        let ask =
            Ask { schema: asked.schema.as_deref(), lake: home.lake(), settings: &settings, runtime: runtime.handle() };
        let mut found = gather(asked, &ask, streams)?;
        for upload in &mut found.uploads {
            upload.id = upload.id.for_the_time(asked.again.unwrap_or(1));
        }
        let lake_as_named = lake.unwrap_or_default().to_string_lossy().into_owned();
        let schema_of = |upload: &Upload| (upload.name.clone(), upload.schema.clone());
        self.schemas = found.uploads.iter().map(schema_of).collect();
        // A lake that has nothing to take is not opened, and not made.
        let open = || home.open(&settings, workspace.as_ref(), runtime.handle());
        let lake = (!found.uploads.is_empty()).then(open).transpose()?;
        let lines = (call.form == Form::JsonLines).then_some(&streams.out);
        let watcher = Watcher::new(&found.uploads, streams.progress, lines);
        if let Some(lake) = lake {
            let managed = home.managed();
            let parts = Parts { lake, managed, settings, host: "terminal", allowance: None, kept: None };
            self.report = caught(|| (call.functions.ingest)(&parts, found.uploads, &watcher))?;
        }
        self.lake = Some(home.lake().map(|named| (named.url.clone(), lake_as_named)));
        self.report.totals.skipped += found.skipped;
        for source in found.skipped_sources {
            self.report.totals.skipped += source.uploads;
            self.report.skipped.push(source);
        }
        for upload in found.unreadable {
            self.report.push(upload);
        }
        watcher.end(&self.report.uploads);
        Ok(())
    }
}

fn plan_only(asked: &Ingest, call: &Call<'_>, streams: &mut Streams) -> u8 {
    let report = planned(asked, call, streams);
    let report =
        report.unwrap_or_else(|fault| PlanReport { fault: Some(FaultReport::from(&fault)), ..PlanReport::new() });
    match call.form {
        Form::Words => streams.out.write(&plan::plan(&report)),
        Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&report).unwrap_or_default()),
    }
    if let Some(fault) = &report.fault {
        streams.err.write(&words::fault(fault, &fault.message));
    }
    exit_code_of_plan(&report, asked.strict)
}

fn planned(asked: &Ingest, call: &Call<'_>, streams: &mut Streams) -> Result<PlanReport, Fault> {
    let runtime = runtime()?;
    let Told { settings, lake } = told(asked.settings.as_deref(), asked.lake.as_deref(), &runtime, streams)?;
    let workspace = workspace(&settings)?;
    let line = asked.line_with_lake(&call.program);
    let home = match (&lake, settings.has_managed_tables()) {
        (None, false) => None,
        _ => Some(Home::of(&settings, workspace.as_ref(), || lake::to_write(lake.as_deref(), &line))?),
    };
    let named = home.as_ref().and_then(Home::lake);
    let ask = Ask { schema: asked.schema.as_deref(), lake: named, settings: &settings, runtime: runtime.handle() };
    let found = gather(asked, &ask, streams)?;
    // Opening makes a missing folder, and a plan writes nothing: such a lake is empty all the same.
    let standing = home.as_ref().map(|home| home.standing_lake(&settings, workspace.as_ref(), runtime.handle()));
    let standing = standing.transpose()?.flatten();
    let over = home.as_ref().map(|home| home.plan_over(standing.as_ref(), runtime.handle()));
    let watcher = Watcher::new(&found.uploads, streams.progress, None);
    let mut report =
        caught(|| (call.functions.plan)(over.unwrap_or(PlanOver::Nothing), &settings, found.uploads, &watcher))?;
    watcher.end(&[]);
    report.totals.skipped += found.skipped;
    for source in found.skipped_sources {
        report.totals.skipped += source.uploads;
        report.skipped.push(source);
    }
    if report.fault.is_none() {
        report.fault = found.unreadable.into_iter().find_map(|upload| upload.fault);
    }
    Ok(report)
}

fn gather(asked: &Ingest, ask: &Ask<'_>, streams: &mut Streams) -> Result<Landing, Fault> {
    let input: &mut dyn Read = &mut streams.input;
    let found = landing::gather(&asked.places, ask, input)?;
    for note in &found.notes {
        streams.err.line(&format!("note: {note}"));
    }
    Ok(found)
}

/// A panic is a bug, and a bug is answered too: whoever reads the JSON must not find half an object.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        Fault::bug("ingest stopped by a bug of its own; nothing that was not reported is acknowledged")
            .hint("run it again: what has landed stays; and report the lines above")
    })
}
