//! `inlet connect`: tests a set-up step by step, and says of each what it found and what to do.

use std::mem::ManuallyDrop;
use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::connect::{Ask, ConnectReport, Progress, StepReport, StepStatus};
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::report::FaultReport;

use super::arguments::{Connect, Form};
use super::output::Streams;
use super::table::{Table, counted, number, plain};
use super::{Call, Told, told, words};
use crate::{lake, page, runtime, tested};

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Connect, call: &Call<'_>, streams: &Streams) -> u8 {
    if asked.open {
        return on_page(asked, call, streams);
    }
    let report =
        tested(asked, call, streams).unwrap_or_else(|fault| ConnectReport::without_settings(&fault, asked.wake));
    match call.form {
        Form::Words => streams.out.write(&said(&report)),
        Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&report).unwrap_or_default()),
    }
    for step in &report.steps {
        if let Some(fault) = &step.fault {
            streams.err.write(&words::fault(fault, &format!("{}: {}", step.step, fault.message)));
        }
    }
    report.gravest().map_or(0, FaultKind::exit_code)
}

/// Serves the page; the exit code is that of its last test.
fn on_page(asked: &Connect, call: &Call<'_>, streams: &Streams) -> u8 {
    let told = page::Told {
        settings: asked.settings.clone(),
        lake: asked.lake.clone(),
        places: asked.places.clone(),
        ask: ask(asked),
        program: call.program.clone(),
    };
    let served = runtime().and_then(|runtime| {
        // A test that nobody waits for any more still uses it: it ends with the process, not under the test's feet.
        let runtime = ManuallyDrop::new(runtime);
        page::serve(told, call.functions, &runtime, &|line| streams.out.line(line))
    });
    match served {
        Ok(gravest) => gravest.map_or(0, FaultKind::exit_code),
        Err(fault) => {
            streams.err.write(&words::fault(&FaultReport::from(&fault), &fault.chain()));
            fault.kind().exit_code()
        }
    }
}

fn ask(asked: &Connect) -> Ask {
    let usual = Ask::default();
    let role_wait = asked.wait.map_or(usual.role_wait, Duration::from_secs);
    Ask { wake: asked.wake, role_wait, ..usual }
}

fn tested(asked: &Connect, call: &Call<'_>, streams: &Streams) -> Result<ConnectReport, Fault> {
    let runtime = runtime()?;
    let Told { settings, lake } = told(asked.settings.as_deref(), asked.lake.as_deref(), &runtime, streams)?;
    let lake = match lake {
        Some(lake) => Some(lake::to_write(Some(&lake), &format!("{} connect --lake DIR", call.program))?),
        None => None,
    };
    let patience = settings.patience;
    let parts = tested::parts(settings, lake, &asked.places, runtime.handle())?;
    let err = &streams.err;
    let progress = |progress: Progress<'_>| {
        if let Progress::Says(text) = progress {
            err.line(text);
        }
    };
    Ok((call.functions.connect)(&parts, ask(asked), Deadline::after(patience), &progress))
}

/// The whole answer for standard output.
fn said(report: &ConnectReport) -> String {
    let mut table = Table::new(&["", "step", "what it proves", "found", "ms"], &[4]);
    for step in &report.steps {
        table.push(&row(step));
    }
    let mut text = table.text("");
    let count = |status| report.steps.iter().filter(|step| step.status == status).count() as u64;
    let counts = [
        (StepStatus::Passed, "passed"),
        (StepStatus::Warning, "with a warning"),
        (StepStatus::Failed, "failed"),
        (StepStatus::Skipped, "skipped"),
    ];
    let counts = counts.iter().filter(|(status, _)| count(*status) > 0);
    let counts: Vec<String> = counts.map(|(status, word)| format!("{} {word}", number(count(*status)))).collect();
    text.push_str(&format!("\n{}: {}\n", counted(report.steps.len() as u64, "step"), counts.join(", ")));
    for left in &report.left {
        text.push_str(&format!("left behind: {}\n", plain(left)));
    }
    for next in &report.next {
        text.push_str(&format!("\n{}: {}\n", next.title, plain(&next.text)));
        text.push_str(&next.to_run.as_ref().map(|line| format!("  {}\n", plain(&line.text))).unwrap_or_default());
    }
    text
}

fn row(step: &StepReport) -> [String; 5] {
    let mark = match step.status {
        StepStatus::Passed => "ok",
        StepStatus::Warning => "WARN",
        StepStatus::Failed => "FAIL",
        StepStatus::Skipped => "-",
    };
    let found = match step.status {
        StepStatus::Failed => step.setup_step.map(|setup| match setup.number {
            Some(number) => format!("set-up step {number}: {}", setup.name),
            None => format!("set-up: {}", setup.name),
        }),
        StepStatus::Skipped => step.because.clone(),
        StepStatus::Passed | StepStatus::Warning => step.found.clone(),
    };
    let milliseconds = if step.status == StepStatus::Skipped { String::new() } else { number(step.milliseconds) };
    [mark.to_owned(), step.step.to_owned(), step.title.to_owned(), found.unwrap_or_default(), milliseconds]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_a_table_and_a_count() {
        let report = ConnectReport::without_settings(&Fault::setup("`catalog` is missing"), false);
        let text = said(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("FAIL  settings"), "{text}");
        assert!(lines[1].contains("set-up step 8: Setup the Databricks Delta Lake destination"), "{text}");
        assert!(lines[2].starts_with("-     host") && lines[2].ends_with("waits for `settings`"), "{text}");
        assert!(text.ends_with(&format!(
            "{} steps: 1 failed, {} skipped\n",
            report.steps.len(),
            report.steps.len() - 1
        )));
    }
}
