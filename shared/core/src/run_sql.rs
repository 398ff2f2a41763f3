//! A statement of a person that changes a table of Inlet's: on S3 behind the table's gate, elsewhere at once.
//!
//! ```text
//!  warehouse runs -> gate closed -> statement -> lost commits landed again -> gate open -> rows that were held land
//! ```

mod statement;

use std::time::Duration;

use serde::Serialize;

use self::statement::Statement;
use crate::clock::Deadline;
use crate::databricks::Answer;
use crate::delta::{Lake, Table};
use crate::evolve::{Awake, FullName, HeldRows, Need, Parts, WarehouseUse, location_of, need};
use crate::fault::{Fault, FaultKind};
use crate::gates::{BehindGate, wait_for_commits};
use crate::held;
use crate::mend::{Lost, MendReport, Mended};
use crate::report::FaultReport;

/// What became of a statement.
#[derive(Debug, Serialize)]
pub struct SqlReport {
    /// The function that reports: `run-sql`.
    pub function: &'static str,
    /// The statement as it was submitted; none when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Databricks' id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_id: Option<String>,
    /// Whether it ran behind a gate.
    pub gated: bool,
    /// Names of its answer's columns.
    pub columns: Vec<String>,
    /// The rows of its answer.
    pub rows: Vec<Vec<Option<String>>>,
    /// How the warehouse was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warehouse: Option<WarehouseUse>,
    /// What had been overwritten and landed again.
    pub mended: Vec<Mended>,
    /// What had been overwritten and could not be landed again.
    pub lost: Vec<Lost>,
    /// Rows that had waited for the gate and landed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldRows>,
    /// Why it did not run to its end, or what did not after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

impl SqlReport {
    fn new() -> Self {
        Self {
            function: "run-sql",
            statement: None,
            statement_id: None,
            gated: false,
            columns: Vec::new(),
            rows: Vec::new(),
            warehouse: None,
            mended: Vec::new(),
            lost: Vec::new(),
            held: None,
            fault: None,
        }
    }

    /// A report of nothing but a fault.
    pub fn failed(fault: &Fault) -> Self {
        Self { fault: Some(FaultReport::from(fault)), ..Self::new() }
    }

    /// The gravest of what it met: what is lost counts as rejected.
    pub fn gravest(&self) -> Option<FaultKind> {
        let lost = (!self.lost.is_empty()).then_some(FaultKind::Rejected);
        self.fault.as_ref().map(|fault| fault.kind).or(lost)
    }

    fn answered(&mut self, answer: Answer) {
        let Answer { columns, rows, statement_id } = answer;
        (self.columns, self.rows, self.statement_id) = (columns, rows, Some(statement_id));
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The statement, as it was written.
    pub statement: &'a str,
    /// How long commits are tried that land what was overwritten or held, once the statement is over.
    pub patience: Duration,
    /// A person asks: the warehouse may be woken outside its window.
    pub by_hand: bool,
}

impl<'a> Ask<'a> {
    /// A statement of a person.
    pub fn new(statement: &'a str, patience: Duration) -> Self {
        Self { statement, patience, by_hand: true }
    }
}

/// Runs a statement; never fails as a whole. At the deadline it is cancelled.
///
/// Synchronous: call it from a plain thread while the lake's runtime lives. `told` hears what takes long.
pub fn run_sql(parts: &Parts, ask: Ask<'_>, deadline: Deadline, told: &(dyn Fn(&str) + Sync)) -> SqlReport {
    let mut report = SqlReport::new();
    if let Err(fault) = try_run(parts, ask, deadline, told, &mut report) {
        report.fault = Some(FaultReport::from(&fault));
    }
    report
}

fn try_run(
    parts: &Parts,
    ask: Ask<'_>,
    deadline: Deadline,
    told: &(dyn Fn(&str) + Sync),
    report: &mut SqlReport,
) -> Result<(), Fault> {
    let statement = Statement::read(ask.statement, &parts.catalog)?;
    let name = table_of(parts, &statement, deadline)?;
    let sql = statement.sql(&name.quoted());
    let label = format!("{}.{}", name.schema, name.table);
    let (awake, started) = Awake::begin(parts, ask.by_hand, deadline, told, std::slice::from_ref(&label))?;
    let run = Run { parts, name: &name, sql: &sql, warehouse: &awake.id, deadline, told };
    let done = started.and_then(|()| match parts.lake.needs_gates() {
        true => run.behind_gate(ask, report),
        false => {
            told(&format!(
                "no gate is needed on {}: Databricks' commits and Inlet's coordinate there",
                parts.lake.url()
            ));
            run.at_once(report)
        }
    });
    report.warehouse = Some(awake.end(&parts.lake));
    done
}

/// The table that a statement is about: one of the lake's, and the one that the catalog has under its name.
fn table_of(parts: &Parts, statement: &Statement, deadline: Deadline) -> Result<FullName, Fault> {
    let Statement { schema, table, .. } = statement;
    let name = FullName { catalog: parts.catalog.clone(), schema: schema.clone(), table: table.clone() };
    let lake = &parts.lake;
    let Some(columns) = Table::columns_in_log(lake, schema, table)? else {
        return Err(Fault::setup(format!("the lake {} has no table `{schema}.{table}`", lake.url()))
            .hint("name a table that Inlet lands in, as schema.table; others need no gate of Inlet's"));
    };
    let shown = lake.handle().block_on(parts.workspace.table(&name.catalog, schema, table, deadline))?;
    match need(&name, &location_of(lake, &name)?, &columns, shown.as_ref())? {
        Need::Register => Err(Fault::setup(format!("{} is not in the catalog yet", name.quoted()))
            .hint("run: inlet evolve, which registers it")),
        _ => Ok(name),
    }
}

/// One statement on its way.
struct Run<'a> {
    parts: &'a Parts,
    name: &'a FullName,
    sql: &'a str,
    warehouse: &'a str,
    deadline: Deadline,
    told: &'a (dyn Fn(&str) + Sync),
}

impl Run<'_> {
    fn at_once(&self, report: &mut SqlReport) -> Result<(), Fault> {
        let Parts { lake, workspace, .. } = self.parts;
        report.statement = Some(self.sql.to_owned());
        let submitted = lake.handle().block_on(workspace.submit(self.warehouse, self.sql, self.deadline))?;
        report.answered(lake.handle().block_on(workspace.follow(submitted, self.deadline))?);
        Ok(())
    }

    /// BehindGate the gate, which opens when what was overwritten has landed again.
    fn behind_gate(&self, ask: Ask<'_>, report: &mut SqlReport) -> Result<(), Fault> {
        let Self { parts, name, sql, warehouse, deadline, told } = *self;
        let closed = BehindGate::close(parts, name, warehouse, sql, deadline, told)?;
        report.gated = true;
        wait_for_commits(parts, told);
        closed.check()?;
        report.statement = Some(sql.to_owned());
        told("running the statement");
        let ran = parts.lake.handle().block_on(closed.run(sql, deadline, &mut report.statement_id));
        let done = ran.and_then(|answer| Ok(answer?)).map(|answer| report.answered(answer));
        let Some(MendReport { mended, lost, fault, .. }) = closed.open(ask.patience) else { return done };
        (report.mended, report.lost) = (mended, lost);
        if fault.is_some() {
            report.fault = fault;
            return done;
        }
        done?;
        report.held = release(&parts.lake, &name.schema, &name.table, Deadline::after(ask.patience))?;
        Ok(())
    }
}

/// Commits the rows that waited for a gate.
fn release(lake: &Lake, schema: &str, table: &str, deadline: Deadline) -> Result<Option<HeldRows>, Fault> {
    let mut released = held::release(lake, Some(schema), deadline)?;
    match released.remove(&(schema.to_owned(), table.to_owned())) {
        None => Ok(None),
        Some(committed) => {
            let committed = committed?;
            let rows = HeldRows { rows: committed.rows, duplicates: committed.duplicates, rescued: committed.rescued };
            committed.fault.map_or(Ok(Some(rows)), Err)
        }
    }
}
