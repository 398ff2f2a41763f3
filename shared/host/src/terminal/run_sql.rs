//! `inlet run-sql`: a statement of a person, run by the warehouse on a table of Inlet's.

use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::run_sql::{Ask, SqlReport, run_sql};

use super::arguments::{Form, RunSql};
use super::evolve::{Destined, destined};
use super::output::Streams;
use super::table::{Table, counted, plain};
use super::{Call, mend, runtime, words};

/// Rows of an answer that are shown.
const ROWS: usize = 20;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &RunSql, call: &Call<'_>, streams: &Streams) -> u8 {
    let report = ran(asked, call, streams).unwrap_or_else(|fault| SqlReport::failed(&fault));
    match call.form {
        Form::Words => streams.out.write(&said(&report)),
        Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&report).unwrap_or_default()),
    }
    streams.err.write(&mend::lost(&report.lost));
    if let Some(fault) = &report.fault {
        streams.err.write(&words::fault(fault, &fault.message));
    }
    report.gravest().map_or(0, FaultKind::exit_code)
}

fn ran(asked: &RunSql, call: &Call<'_>, streams: &Streams) -> Result<SqlReport, Fault> {
    let runtime = runtime()?;
    let Destined { parts, patience } =
        destined(asked.settings.as_deref(), asked.lake.as_deref(), call, &runtime, streams)?;
    if parts.lake.is_volume() {
        return Err(Fault::setup(
            "the tables are managed: they need no gate, and Databricks runs any statement on them",
        )
        .hint("run it in Databricks, in the SQL editor or a job"));
    }
    let within = Duration::from_secs(asked.minutes * 60);
    let err = &streams.err;
    let told = |text: &str| err.line(&plain(text));
    Ok(run_sql(&parts, Ask::new(&asked.statement, patience), Deadline::after(within), &told))
}

/// The whole answer for standard output.
fn said(report: &SqlReport) -> String {
    let mut text = String::new();
    if let (Some(statement), None) = (&report.statement, &report.fault) {
        let gate = if report.gated { ", behind its gate" } else { "" };
        text.push_str(&format!("done{gate}: {}\n", plain(statement)));
    }
    if let Some(used) = &report.warehouse {
        let woken = if used.woken { "was woken" } else { "was running" };
        text.push_str(&format!("the warehouse {} {woken}: {:.1} s\n", plain(&used.id), used.seconds));
    }
    text.push_str(&mend::tables(&report.mended));
    if let Some(held) = &report.held {
        text.push_str(&format!("{} that had waited for the gate landed\n", counted(held.rows, "row")));
    }
    if !report.rows.is_empty() {
        let headings: Vec<&str> = report.columns.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings, &[]);
        for row in report.rows.iter().take(ROWS) {
            let cells: Vec<String> = row.iter().map(|cell| cell.clone().unwrap_or_else(|| "NULL".to_owned())).collect();
            table.push(&cells);
        }
        text.push_str(&format!("\n{}", table.text("")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_with_the_answer() {
        let mut report = SqlReport::failed(&Fault::again("not now"));
        assert_eq!(said(&report), "", "the fault is said elsewhere");
        report.fault = None;
        (report.statement, report.gated) = (Some("OPTIMIZE `c`.`web`.`tracks`".to_owned()), true);
        report.columns = vec!["path".to_owned(), "metrics".to_owned()];
        report.rows = vec![vec![Some("s3://lake/web/tracks".to_owned()), None]];
        assert_eq!(
            said(&report),
            "done, behind its gate: OPTIMIZE `c`.`web`.`tracks`\n\n\
             path                  metrics\n\
             s3://lake/web/tracks  NULL\n"
        );
    }
}
