//! `inlet mend`: lands again what somebody else's commits have overwritten.

use inlet_core::clock::Deadline;
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::mend::{Lost, MendReport, Mended, mend};

use super::arguments::{Form, Mend};
use super::output::Streams;
use super::table::{counted, plain};
use super::{Call, needs_lake, opened, runtime, told, words};
use crate::lake;

/// Lost uploads that are named; the rest is counted.
const LINES: usize = 20;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Mend, call: &Call<'_>, streams: &Streams) -> u8 {
    let report = mended(asked, call, streams).unwrap_or_else(|fault| MendReport::failed(&fault));
    match call.form {
        Form::Words if report.fault.is_none() || !report.mended.is_empty() => streams.out.write(&said(&report)),
        Form::Words => {}
        Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&report).unwrap_or_default()),
    }
    streams.err.write(&lost(&report.lost));
    if let Some(fault) = &report.fault {
        streams.err.write(&words::fault(fault, &fault.message));
    }
    report.gravest().map_or(0, FaultKind::exit_code)
}

fn mended(asked: &Mend, call: &Call<'_>, streams: &Streams) -> Result<MendReport, Fault> {
    let runtime = runtime()?;
    let told = told(asked.settings.as_deref(), asked.lake.as_deref(), &runtime, streams)?;
    needs_lake(
        &told.settings,
        "Databricks alone writes them, and overwrites no commit of its own",
        "nothing is to be mended; `inlet status` says what is staged",
    )?;
    let named = lake::to_read(told.lake.as_deref(), &format!("{} mend --lake ./lake", call.program))?;
    let lake = opened(&named.url, &told.settings, &runtime)?;
    let schemas = lake::chosen(lake.schemas()?, asked.schema.as_deref())?;
    Ok(mend(&lake, &schemas, Deadline::after(told.settings.patience)))
}

fn said(report: &MendReport) -> String {
    match report.mended.is_empty() && report.lost.is_empty() {
        true => "nothing to mend: every upload that `_loads` says landed stands in the logs of its tables\n".to_owned(),
        false => tables(&report.mended),
    }
}

/// A line for each table that got something again.
pub(super) fn tables(mended: &[Mended]) -> String {
    let line = |one: &Mended| {
        let (uploads, rows) = (counted(one.uploads as u64, "upload"), counted(one.rows, "row"));
        format!("{}: {uploads} had been overwritten, {rows} landed again, version {}\n", plain(&one.table), one.version)
    };
    mended.iter().map(line).collect()
}

/// What is gone, for standard error.
pub(super) fn lost(lost: &[Lost]) -> String {
    let mut text = String::new();
    for one in lost.iter().take(LINES) {
        let (rows, upload, table) = (counted(one.rows, "row"), plain(&one.upload), plain(&one.table));
        text.push_str(&format!("lost: {rows} of `{upload}` in {table}: {}\n", one.why));
    }
    if lost.len() > LINES {
        let more = (lost.len() - LINES) as u64;
        text.push_str(&format!("… and {}; --json has them all\n", counted(more, "more upload")));
    }
    if !lost.is_empty() {
        text.push_str(&format!("hint: {}\n", Lost::HINT));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mended_and_what_is_lost_is_said() {
        let mended = Mended { table: "web.tracks".to_owned(), uploads: 2, rows: 1_200, version: 7 };
        assert_eq!(
            tables(&[mended]),
            "web.tracks: 2 uploads had been overwritten, 1,200 rows landed again, version 7\n"
        );
        let gone = Lost {
            table: "web.tracks".to_owned(),
            upload: "a.gz".to_owned(),
            upload_id: "00".to_owned(),
            rows: 1,
            why: "its files are not there any more".to_owned(),
        };
        let said = lost(&[gone]);
        assert!(
            said.starts_with("lost: 1 row of `a.gz` in web.tracks: its files are not there any more\nhint: "),
            "{said}"
        );
        assert_eq!(lost(&[]), "");
    }
}
