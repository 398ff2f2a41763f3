//! `inlet teardown`: lists what Inlet made, and removes it.

use inlet_core::clock::Deadline;
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::teardown::{Ask, Object, ObjectKind, ObjectStatus, TeardownReport, teardown};

use super::arguments::{Form, Teardown};
use super::evolve::{Destined, destined};
use super::output::Streams;
use super::table::{Table, counted, plain};
use super::{Call, runtime, words};

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Teardown, call: &Call<'_>, streams: &Streams) -> u8 {
    let report = torn_down(asked, call, streams).unwrap_or_else(|fault| TeardownReport::failed(&fault));
    match call.form {
        Form::Words => streams.out.write(&said(&report, &call.program)),
        Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&report).unwrap_or_default()),
    }
    for warning in &report.warnings {
        streams.err.line(&format!("warning: {}", plain(warning)));
    }
    for object in &report.objects {
        if let Some(fault) = &object.fault {
            streams.err.write(&words::fault(fault, &format!("{}: {}", object.name, fault.message)));
        }
    }
    if let Some(fault) = &report.fault {
        streams.err.write(&words::fault(fault, &fault.message));
    }
    report.gravest().map_or(0, FaultKind::exit_code)
}

fn torn_down(asked: &Teardown, call: &Call<'_>, streams: &Streams) -> Result<TeardownReport, Fault> {
    let runtime = runtime()?;
    let Destined { parts, patience } =
        destined(asked.settings.as_deref(), asked.lake.as_deref(), call, &runtime, streams)?;
    let ask = Ask { remove: asked.yes, data: asked.data, held: asked.held };
    Ok(teardown(&parts, ask, Deadline::after(patience)))
}

/// The whole answer for standard output.
fn said(report: &TeardownReport, program: &str) -> String {
    if report.objects.is_empty() {
        return if report.fault.is_some() { String::new() } else { "Inlet made nothing here\n".to_owned() };
    }
    let count = |status| report.objects.iter().filter(|object| object.status == status).count() as u64;
    let mut text = if report.plan {
        format!(
            "{} would go, {} stay; nothing was removed\n\n",
            counted(count(ObjectStatus::ToRemove), "object"),
            count(ObjectStatus::Kept)
        )
    } else {
        let (removed, kept, failed) =
            (count(ObjectStatus::Removed), count(ObjectStatus::Kept), count(ObjectStatus::Failed));
        let failed = if failed > 0 { format!(", {failed} could not be removed") } else { String::new() };
        format!("{} removed, {kept} kept{failed}\n\n", counted(removed, "object"))
    };
    let mut table = Table::new(&["", "name", "", "because"], &[]);
    for object in &report.objects {
        table.push(&row(object));
    }
    text.push_str(&table.text(""));
    if report.plan && count(ObjectStatus::ToRemove) > 0 {
        text.push_str(&format!("\nto remove: {program} teardown --yes\n"));
    }
    text
}

fn row(object: &Object) -> [String; 4] {
    let kind = match object.kind {
        ObjectKind::View => "view",
        ObjectKind::Table => "table",
        ObjectKind::Schema => "schema",
        ObjectKind::Warehouse => "warehouse",
        ObjectKind::Volume => "volume",
        ObjectKind::Data => "files",
        ObjectKind::State => "state",
    };
    let status = match object.status {
        ObjectStatus::ToRemove => "goes",
        ObjectStatus::Removed => "removed",
        ObjectStatus::Kept => "stays",
        ObjectStatus::Failed => "failed",
    };
    [kind.to_owned(), object.name.clone(), status.to_owned(), object.because.clone().unwrap_or_default()]
}
