//! The face for people and scripts: arguments in, words or JSON and an exit code out.
//!
//! Standard output holds the answer alone; everything said besides goes to standard error.

mod arguments;
mod connect;
#[cfg(feature = "demo")]
mod demo;
#[cfg(not(feature = "demo"))]
#[path = "terminal/no_demo.rs"]
mod demo;
mod evolve;
mod ingest;
mod maintain;
mod mend;
mod output;
mod plan;
mod query;
mod run_sql;
mod sql;
mod status;
mod table;
mod teardown;
#[cfg(feature = "verify")]
mod verify;
#[cfg(not(feature = "verify"))]
#[path = "terminal/no_verify.rs"]
mod verify;
mod watch;
mod words;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use inlet_core::databricks::Workspace;
use inlet_core::delta::Lake;
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::report::{FaultReport, PlanReport, Report, Status};
use inlet_core::settings::Settings;
use tokio::runtime::Runtime;
use url::Url;

use crate::functions::Functions;
use crate::{lake, runtime, settings};
use arguments::{Arguments, Command, Form};
use output::Streams;

/// One call: what was asked besides the command's own arguments.
#[derive(Clone, Debug)]
struct Call<'a> {
    /// The executable as it was called, for lines to copy: after `cargo run` there is no `inlet` on the path.
    program: String,
    form: Form,
    functions: &'a Functions,
}

/// Runs the command line of this process.
pub fn run(functions: &Functions) -> ExitCode {
    ExitCode::from(answer(&std::env::args_os().collect::<Vec<_>>(), functions, Streams::of_process()))
}

/// The process cannot tell where it is.
pub(crate) fn refused(fault: &Fault) -> ExitCode {
    Streams::of_process().err.write(&words::fault(&FaultReport::from(fault), &fault.chain()));
    ExitCode::from(fault.kind().exit_code())
}

/// EX_USAGE: the line itself is wrong.
const USAGE: u8 = 64;

fn answer(arguments: &[OsString], functions: &Functions, mut streams: Streams) -> u8 {
    let program = arguments.first().map_or_else(|| "inlet".into(), |program| program.to_string_lossy());
    let call = Call { program: query::shell_word(&program), form: Form::asked(arguments), functions };
    let code = match Arguments::try_parse_from(arguments) {
        Ok(Arguments { command: Command::Ingest(asked) }) => ingest::run(&asked, &call, &mut streams),
        Ok(Arguments { command: Command::Sql(asked) }) => sql::run(&asked, &call, &streams),
        Ok(Arguments { command: Command::Verify(asked) }) => verify::run(&asked, &call, &mut streams),
        Ok(Arguments { command: Command::Status(asked) }) => status::run(&asked, &call, &streams),
        Ok(Arguments { command: Command::Evolve(asked) }) => evolve::run(&asked, &call, &streams),
        Ok(Arguments { command: Command::RunSql(asked) }) => run_sql::run(&asked, &call, &streams),
        Ok(Arguments { command: Command::Mend(asked) }) => mend::run(&asked, &call, &streams),
        Ok(Arguments { command: Command::Maintain(asked) }) => maintain::run(&asked, &call, &streams),
        Ok(Arguments { command: Command::Connect(asked) }) => connect::run(&asked, &call, &streams),
        Ok(Arguments { command: Command::Demo(asked) }) => demo::run(&asked, &call, &streams),
        Ok(Arguments { command: Command::Teardown(asked) }) => teardown::run(&asked, &call, &streams),
        Err(error) => misread(&error, &call, &streams),
    };
    match streams.out.failure() {
        Some(error) => {
            streams.err.line(&format!("setup: cannot write the answer: {error}"));
            code.max(FaultKind::Setup.exit_code())
        }
        None => code,
    }
}

/// Help and version are answers; what the parser refused is said in the form that was asked for.
fn misread(error: &clap::Error, call: &Call<'_>, streams: &Streams) -> u8 {
    let text = error.to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        streams.out.write(&text);
        return 0;
    }
    streams.err.write(&text);
    if call.form != Form::Words {
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let fault = Fault::setup(message).hint(format!("{} --help", call.program));
        streams.out.line(&ingest::json(&Report { fault: Some(FaultReport::from(&fault)), ..Report::new() }, call.form));
    }
    USAGE
}

/// What a command is told besides its line.
struct Told {
    settings: Settings,
    /// The lake as it was written, on the line or in the settings.
    lake: Option<OsString>,
}

/// Reads the settings, says their warnings, and finds the lake.
fn told(settings: Option<&OsStr>, lake: Option<&OsStr>, runtime: &Runtime, streams: &Streams) -> Result<Told, Fault> {
    let settings = settings::load(settings, runtime.handle())?;
    for warning in &settings.warnings {
        streams.err.line(&format!("warning: {}", table::plain(warning)));
    }
    let lake = lake::meant(lake, &settings)?;
    Ok(Told { settings, lake })
}

/// The workspace of the settings, if they name one; nothing is connected to yet.
fn workspace(settings: &Settings) -> Result<Option<Workspace>, Fault> {
    let Some(destination) = &settings.destination else { return Ok(None) };
    Workspace::with_identity_endpoint(destination.connection.clone(), settings.identity_endpoint()).map(Some)
}

/// Opens a lake as the settings say.
fn opened(url: &Url, settings: &Settings, runtime: &Runtime) -> Result<Lake, Fault> {
    lake::open(url, settings, workspace(settings)?.as_ref(), runtime.handle())
}

/// Refuses what only a lake can be asked for, where Unity Catalog keeps the tables.
fn needs_lake(settings: &Settings, what: &str, instead: &str) -> Result<(), Fault> {
    match settings.has_managed_tables() {
        true => Err(Fault::setup(format!("the tables are managed: {what}")).hint(instead)),
        false => Ok(()),
    }
}

/// The gravest fault decides; an upload that was rejected whole is one even without a fault. Rejected lines, rescued
/// values and held rows alone are no failure, unless somebody is strict.
fn exit_code(report: &Report, strict: bool) -> u8 {
    let any = |status| report.uploads.iter().any(|upload| upload.status == status);
    let unexplained = any(Status::Failed).then_some(FaultKind::Bug);
    let rejected = any(Status::Rejected).then_some(FaultKind::Rejected);
    match report.gravest().or(unexplained).or(rejected) {
        Some(kind) => kind.exit_code(),
        None if strict && !words::warnings_of(report).is_empty() => FaultKind::Rejected.exit_code(),
        None => 0,
    }
}

fn exit_code_of_plan(plan: &PlanReport, strict: bool) -> u8 {
    let whole = plan.rejections.iter().any(|rejection| rejection.line.is_none()).then_some(FaultKind::Rejected);
    match plan.fault.as_ref().map(|fault| fault.kind).or(whole) {
        Some(kind) => kind.exit_code(),
        None if strict && !words::warnings(&plan.totals.counts).is_empty() => FaultKind::Rejected.exit_code(),
        None => 0,
    }
}

#[cfg(test)]
mod tests;
