//! `inlet evolve`: brings Unity Catalog up to date with the lake, or says what that would take.

use std::ffi::OsStr;
use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::evolve::{Ask, EvolveReport, Parts, TableEvolved, TableStatus};
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::report::FaultReport;
use tokio::runtime::Runtime;

use super::arguments::{Evolve, Form};
use super::output::Streams;
use super::table::{Table, counted, number, plain};
use super::{Call, Told, told, words, workspace};
use crate::home::Home;
use crate::lake;
use crate::runtime;

/// Tables that are listed; the rest is counted.
const TABLES: usize = 40;
/// New columns that are named; the rest is counted.
const COLUMNS: usize = 4;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Evolve, call: &Call<'_>, streams: &Streams) -> u8 {
    let report = evolved(asked, call, streams).unwrap_or_else(|fault| EvolveReport::failed(FaultReport::from(&fault)));
    if asked.sql && report.fault.is_none() {
        streams.out.write(&script(&report));
    } else {
        match call.form {
            Form::Words => streams.out.write(&said(&report)),
            Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&report).unwrap_or_default()),
        }
    }
    for warning in report.warnings.iter().chain(&report.notes.damaged) {
        streams.err.line(&format!("warning: {}", plain(warning)));
    }
    for fault in report.tables.iter().filter_map(|table| table.fault.as_ref().map(|fault| (table, fault))) {
        let (table, fault) = fault;
        streams.err.write(&words::fault(fault, &format!("{}: {}", table.table, fault.message)));
    }
    if let Some(fault) = &report.fault {
        streams.err.write(&words::fault(fault, &fault.message));
    }
    report.gravest().map_or(0, FaultKind::exit_code)
}

fn evolved(asked: &Evolve, call: &Call<'_>, streams: &Streams) -> Result<EvolveReport, Fault> {
    let runtime = runtime()?;
    let Destined { parts, patience } =
        destined(asked.settings.as_deref(), asked.lake.as_deref(), call, &runtime, streams)?;
    let ask = Ask { plan: asked.plan || asked.sql, all: asked.all, retry: asked.retry, by_hand: true };
    let err = &streams.err;
    let told = |text: &str| err.line(text);
    Ok((call.functions.evolve)(&parts, ask, Deadline::after(patience), &told))
}

/// A lake with its catalog, for the commands that need both.
pub(super) struct Destined {
    pub(super) parts: Parts,
    pub(super) patience: Duration,
}

/// Finds the lake and the workspace that the settings name.
pub(super) fn destined(
    settings: Option<&OsStr>,
    lake: Option<&OsStr>,
    call: &Call<'_>,
    runtime: &Runtime,
    streams: &Streams,
) -> Result<Destined, Fault> {
    let Told { settings, lake } = told(settings, lake, runtime, streams)?;
    let Some(workspace) = workspace(&settings)? else {
        return Err(Fault::setup("the settings name no Databricks workspace: there is no catalog")
            .hint("write workspace_url and catalog into inlet.toml; docs/settings.md has every key"));
    };
    let line = format!("{} evolve --lake DIR", call.program);
    let home = Home::of(&settings, Some(&workspace), || lake::to_read(lake.as_deref(), &line))?;
    let lake = home.look(&settings, Some(&workspace), runtime.handle())?;
    let Some(parts) = Parts::of(&settings, lake, workspace) else {
        return Err(Fault::bug("a workspace without a destination"));
    };
    Ok(Destined { parts, patience: settings.patience })
}

/// The statements alone, for a person to run.
fn script(report: &EvolveReport) -> String {
    let mut text = String::new();
    for schema in &report.schemas_created {
        let quoted: Vec<String> = schema.split('.').map(|name| format!("`{name}`")).collect();
        text.push_str(&format!("CREATE SCHEMA IF NOT EXISTS {};\n", quoted.join(".")));
    }
    for statement in &report.statements {
        text.push_str(&format!("{statement};\n"));
    }
    text
}

/// The whole answer for standard output.
fn said(report: &EvolveReport) -> String {
    if report.tables.is_empty() {
        return if let Some(postponed) = &report.postponed {
            format!("staged rows wait: {postponed}\n")
        } else if report.fault.is_some() {
            String::new()
        } else {
            "nothing to do: no note says that the catalog is behind, or that rows wait (--all compares every table)\n"
                .to_owned()
        };
    }
    let mut text = format!("{}, {}\n", counted(report.notes.read as u64, "note"), statuses(&report.tables));
    for schema in &report.schemas_created {
        let word = if report.plan { "schema to create" } else { "schema created" };
        text.push_str(&format!("{word}: {schema}\n"));
    }
    text.push_str(&match &report.warehouse {
        Some(used) => {
            let woken = if used.woken { "was woken" } else { "was running" };
            let statements = counted(report.statements.len() as u64, "statement");
            format!("the warehouse {} {woken}: {statements} in {:.1} s\n", plain(&used.id), used.seconds)
        }
        None if report.plan => String::new(),
        None => "the warehouse was not needed\n".to_owned(),
    });
    text.push('\n');
    let any_held = report.tables.iter().any(|one| one.held.is_some());
    let mut table = match any_held {
        true => Table::new(&["table", "status", "held rows landed", "new columns"], &[2]),
        false => Table::new(&["table", "status", "new columns"], &[]),
    };
    let mut changed: Vec<&TableEvolved> = report.tables.iter().collect();
    changed.sort_by_key(|one| (one.status == TableStatus::UpToDate, &one.table));
    for one in changed.iter().take(TABLES) {
        let mut cells = vec![one.table.clone(), word(one.status).to_owned()];
        cells.extend(any_held.then(|| one.held.map_or_else(String::new, |held| number(held.rows))));
        cells.push(columns(&one.new_columns));
        table.push(&cells);
    }
    text.push_str(&table.text(""));
    for (one, why) in changed.iter().take(TABLES).filter_map(|one| Some((one, one.loaded_because.as_ref()?))) {
        let way_out = why.hint.as_ref().map(|hint| format!("; for rows without the warehouse {hint}"));
        let way_out = way_out.unwrap_or_default();
        text.push_str(&plain(&format!("{}: the warehouse loads its rows: {}{way_out}", one.table, why.message)));
        text.push('\n');
    }
    if changed.len() > TABLES {
        text.push_str(&format!("… and {}\n", counted((changed.len() - TABLES) as u64, "more table")));
    }
    if report.plan && !report.statements.is_empty() {
        text.push_str(&format!("\n{}", script(report)));
    }
    text
}

fn columns(names: &[String]) -> String {
    let named = names.iter().take(COLUMNS).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => String::new(),
        count if count > COLUMNS => format!("{count}: {named}, …"),
        count => format!("{count}: {named}"),
    }
}

/// `3 tables registered, 1 synced`: only what happened.
fn statuses(tables: &[TableEvolved]) -> String {
    let mut parts = Vec::new();
    for status in [
        TableStatus::Created,
        TableStatus::Altered,
        TableStatus::Registered,
        TableStatus::Synced,
        TableStatus::ToCreate,
        TableStatus::ToAlter,
        TableStatus::ToRegister,
        TableStatus::ToSync,
        TableStatus::UpToDate,
        TableStatus::Waiting,
        TableStatus::Postponed,
        TableStatus::Rescued,
        TableStatus::Parked,
        TableStatus::Failed,
    ] {
        let count = tables.iter().filter(|table| table.status == status).count() as u64;
        if count > 0 {
            let tables = if parts.is_empty() { counted(count, "table") } else { count.to_string() };
            parts.push(format!("{tables} {}", word(status)));
        }
    }
    parts.join(", ")
}

fn word(status: TableStatus) -> &'static str {
    match status {
        TableStatus::UpToDate => "up to date",
        TableStatus::Registered => "registered",
        TableStatus::Synced => "synced",
        TableStatus::Created => "created",
        TableStatus::Altered => "altered",
        TableStatus::Rescued => "rescued",
        TableStatus::ToCreate => "to create",
        TableStatus::ToAlter => "to alter",
        TableStatus::ToRegister => "to register",
        TableStatus::ToSync => "to sync",
        TableStatus::Waiting => "waiting",
        TableStatus::Postponed => "postponed",
        TableStatus::Parked => "parked",
        TableStatus::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use inlet_core::evolve::{HeldRows, WarehouseUse};
    use inlet_core::waiting::Refused;

    use super::*;

    fn table(name: &str, status: TableStatus, new_columns: &[&str]) -> TableEvolved {
        let new_columns = new_columns.iter().map(|&name| name.to_owned()).collect();
        TableEvolved { table: name.to_owned(), status, new_columns, held: None, loaded_because: None, fault: None }
    }

    #[test]
    fn what_was_done_is_said_in_a_few_lines() {
        let mut report = EvolveReport::failed(FaultReport::from(&Fault::again("not now")));
        assert_eq!(said(&report), "", "the fault is said elsewhere");
        report.fault = None;
        assert!(said(&report).starts_with("nothing to do"));
        report.notes.read = 2;
        report.tables = vec![
            table("web.pages", TableStatus::UpToDate, &[]),
            table("web.tracks", TableStatus::Synced, &["a", "b", "c", "d", "e"]),
        ];
        report.statements = vec!["MSCK REPAIR TABLE `c`.`web`.`tracks` SYNC METADATA".to_owned()];
        report.warehouse = Some(WarehouseUse { id: "dd43ee29fedd958d".to_owned(), woken: true, seconds: 4.25 });
        assert_eq!(
            said(&report),
            "2 notes, 1 table synced, 1 up to date\n\
             the warehouse dd43ee29fedd958d was woken: 1 statement in 4.2 s\n\n\
             table       status      new columns\n\
             web.tracks  synced      5: a, b, c, d, …\n\
             web.pages   up to date\n"
        );
    }

    #[test]
    fn rows_that_the_warehouse_loaded_are_said_with_the_reason() {
        let mut report = EvolveReport::failed(FaultReport::from(&Fault::again("")));
        (report.fault, report.notes.read) = (None, 1);
        let because = Refused { message: "it has checks".to_owned(), hint: Some("run: ALTER TABLE".to_owned()) };
        report.tables = vec![TableEvolved {
            held: Some(HeldRows { rows: 2, duplicates: 0, rescued: 0 }),
            loaded_because: Some(because),
            ..table("web.orders", TableStatus::UpToDate, &[])
        }];
        assert!(
            said(&report).ends_with(
                "table       status      held rows landed  new columns\n\
                 web.orders  up to date                 2\n\
                 web.orders: the warehouse loads its rows: it has checks; for rows without the warehouse run: ALTER \
                 TABLE\n"
            ),
            "{}",
            said(&report)
        );
    }

    #[test]
    fn a_plan_is_a_script_too() {
        let mut report = EvolveReport::failed(FaultReport::from(&Fault::again("")));
        report.schemas_created = vec!["segment.web".to_owned()];
        report.statements = vec!["SELECT 1".to_owned()];
        assert_eq!(script(&report), "CREATE SCHEMA IF NOT EXISTS `segment`.`web`;\nSELECT 1;\n");
    }
}
