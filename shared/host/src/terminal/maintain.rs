//! `inlet maintain`: puts tables in order, or says what that would take.

use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::evolve::Parts;
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::maintain::{Ask, Compacted, MaintainReport, TableMaintained, maintain};

use super::arguments::{Form, Maintain};
use super::output::Streams;
use super::table::{counted, number, plain};
use super::{Call, Told, mend, needs_lake, runtime, told, words, workspace};
use crate::lake;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Maintain, call: &Call<'_>, streams: &Streams) -> u8 {
    let report = maintained(asked, call, streams).unwrap_or_else(|fault| MaintainReport::failed(&fault, asked.plan));
    match call.form {
        Form::Words => streams.out.write(&said(&report)),
        Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&report).unwrap_or_default()),
    }
    for table in &report.tables {
        if let (Some(skipped), None) = (&table.skipped, &table.statement) {
            let hint = skipped.hint.as_ref().map(|hint| format!("hint: {}\n", plain(hint)));
            streams.err.write(&format!("warning: {}\n{}", plain(&skipped.message), hint.unwrap_or_default()));
        }
        if let Some(fault) = &table.fault {
            streams.err.write(&words::fault(fault, &format!("{}: {}", table.table, fault.message)));
        }
    }
    streams.err.write(&mend::lost(&report.lost));
    if report.unfinished {
        streams.err.line("warning: not all was done; run it again for the rest");
    }
    if let Some(fault) = &report.fault {
        streams.err.write(&words::fault(fault, &fault.message));
    }
    report.gravest().map_or(0, FaultKind::exit_code)
}

fn maintained(asked: &Maintain, call: &Call<'_>, streams: &Streams) -> Result<MaintainReport, Fault> {
    let runtime = runtime()?;
    let Told { settings, lake } = told(asked.settings.as_deref(), asked.lake.as_deref(), &runtime, streams)?;
    needs_lake(
        &settings,
        "Databricks keeps them in order by itself",
        "nothing is to be done; `inlet evolve` removes staged files that it has loaded",
    )?;
    let named = lake::to_read(lake.as_deref(), &format!("{} maintain --lake ./lake", call.program))?;
    let workspace = workspace(&settings)?;
    let lake = lake::open(&named.url, &settings, workspace.as_ref(), runtime.handle())?;
    let mut schemas = lake.schemas()?;
    if !asked.schemas.is_empty() {
        let chosen = asked.schemas.iter().map(|name| lake::chosen(schemas.clone(), Some(name)));
        schemas = chosen.collect::<Result<Vec<_>, _>>()?.concat();
    }
    let parts = workspace.and_then(|workspace| Parts::of(&settings, lake.clone(), workspace));
    let (plan, rules, patience) = (asked.plan, settings.maintenance, settings.patience);
    let ask = Ask { plan, by_hand: true, rules, now: clock::now(), patience };
    let err = &streams.err;
    let told = |text: &str| err.line(&plain(text));
    let deadline = Deadline::after(Duration::from_secs(asked.minutes * 60));
    Ok(maintain(&lake, parts.as_ref(), &schemas, &ask, deadline, &told))
}

/// The whole answer for standard output.
fn said(report: &MaintainReport) -> String {
    let mut text: String = report.tables.iter().map(|table| said_of(table, report.plan)).collect();
    text.push_str(&mend::tables(&report.mended));
    if report.notes > 0 {
        let went = if report.plan { "would go" } else { "went" };
        text.push_str(&format!("{} of uploads that are done {went}\n", counted(report.notes as u64, "note")));
    }
    if let Some(used) = &report.warehouse {
        let woken = if used.woken { "was woken" } else { "was running" };
        text.push_str(&format!("the warehouse {} {woken}: {:.1} s\n", plain(&used.id), used.seconds));
    }
    if text.is_empty() && report.fault.is_none() {
        text = format!("{} in order\n", counted(report.looked_at - report.others, "table"));
    }
    text
}

/// A line of a table.
fn said_of(table: &TableMaintained, plan: bool) -> String {
    let mut done = Vec::new();
    let Compacted { from_files, from_bytes, to_files, to_bytes, dropped, .. } = table.compacted;
    if plan && table.small_files > 0 && table.skipped.is_none() {
        done.push(format!("{} of {} to compact", number(table.small_files), counted(table.files, "file")));
    }
    if from_files > 0 {
        let from = counted(from_files, "file");
        done.push(format!("{from} became {} ({} -> {})", number(to_files), size(from_bytes), size(to_bytes)));
    }
    if dropped > 0 {
        done.push(format!("{} dropped: somebody else changed the table", counted(dropped, "compaction")));
    }
    if let Some(statement) = &table.statement {
        done.push(if plan { format!("to run: {}", plain(statement)) } else { plain(statement) });
    }
    if let Some(version) = table.checkpoint {
        done.push(format!("a checkpoint {} version {version}", if plan { "is due at" } else { "of" }));
    }
    if let Some(bytes) = table.would_take_bytes {
        done.push(format!("a checkpoint is due and would take {} of memory", size(bytes)));
    }
    let go = if plan { "would go" } else { "went" };
    if table.removed_log_files > 0 {
        done.push(format!("{} of the log {go}", counted(table.removed_log_files as u64, "file")));
    }
    if table.removed_files > 0 {
        let files = counted(table.removed_files, "file");
        done.push(format!("{files} that nobody needs {go} ({})", size(table.removed_bytes)));
    }
    if done.is_empty() { String::new() } else { format!("{}: {}\n", plain(&table.table), done.join("; ")) }
}

/// Bytes in the largest unit that leaves a whole number.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let unit = units.iter().enumerate().rfind(|(power, _)| bytes >> (10 * power) >= 10 || *power == 0);
    let (power, unit) = unit.map_or((0, "B"), |(power, unit)| (power, *unit));
    format!("{} {unit}", number(bytes >> (10 * power)))
}

#[cfg(test)]
mod tests {
    use inlet_core::report::FaultReport;

    use super::*;

    fn table() -> TableMaintained {
        TableMaintained { table: "web.tracks".to_owned(), files: 400, small_files: 360, ..TableMaintained::default() }
    }

    #[test]
    fn a_plan_says_what_would_be_done() {
        let table = TableMaintained { checkpoint: Some(700), removed_files: 2, removed_bytes: 20_480, ..table() };
        assert_eq!(
            said_of(&table, true),
            "web.tracks: 360 of 400 files to compact; a checkpoint is due at version 700; \
             2 files that nobody needs would go (20 KiB)\n"
        );
    }

    #[test]
    fn what_was_done_is_said_in_a_line_for_each_table() {
        let skipped = FaultReport::from(&Fault::setup("a feature"));
        let statement = Some("OPTIMIZE `a`".to_owned());
        let optimized = TableMaintained { statement, skipped: Some(skipped), ..table() };
        assert_eq!(said_of(&optimized, true), "web.tracks: to run: OPTIMIZE `a`\n");
        let compacted =
            Compacted { from_files: 360, from_bytes: 11 << 20, to_files: 1, to_bytes: 900, ..Compacted::default() };
        let table = TableMaintained { compacted, removed_log_files: 1, ..table() };
        assert_eq!(
            said_of(&table, false),
            "web.tracks: 360 files became 1 (11 MiB -> 900 B); 1 file of the log went\n"
        );
    }

    #[test]
    fn where_nothing_is_to_be_done_that_is_said() {
        let mut report = MaintainReport::failed(&Fault::again("not now"), false);
        assert_eq!(said(&report), "", "the fault is said elsewhere");
        (report.fault, report.looked_at, report.others) = (None, 5, 2);
        assert_eq!(said(&report), "3 tables in order\n");
    }
}
