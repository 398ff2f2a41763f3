//! A statement of a person that changes a table of Inlet's: on S3 behind the table's gate, elsewhere at once.
//!
//! ```text
//!  warehouse runs -> gate closed -> what an owner before us left running has ended -> a commit's deadline waited out
//!    -> statement -> lost commits landed again -> gate open -> rows that were held land
//! ```
//!
//! Whatever dies, dying anywhere: the gate expires, once the statement is over at the latest. Nothing is lost by running
//! it again: what a statement overwrites is found by the next one, or by `inlet mend`, back to when the gate was closed.

mod statement;

use std::time::Duration;

use serde::Serialize;

use self::statement::Statement;
use crate::clock::{self, Deadline, Micros};
use crate::databricks::Answer;
use crate::delta::{Lake, Table};
use crate::evolve::{Awake, FullName, HeldRows, Need, Parts, WarehouseUse, location_of, need};
use crate::fault::{Fault, FaultKind};
use crate::gates::{COMMIT_WITHIN, Gate, store_time_in};
use crate::held;
use crate::mend::{Lost, MendReport, Mended, Span, mend_schema};
use crate::report::FaultReport;

/// How long after its deadline a statement that was cancelled may still be at work.
const CANCELLED_WITHIN: Duration = Duration::from_secs(120);
/// How much earlier than the closing of a gate an upload may have been done whose commit is looked for.
const LOOK_BACK: Micros = 60 * 60 * 1_000_000;

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
    /// How long commits may be on their way when the gate closes. Less than the default is for those who know that
    /// nobody else is at work.
    pub commits_within: Duration,
    /// How long commits are tried that land what was overwritten or held, once the statement is over.
    pub patience: Duration,
    /// A person asks: the warehouse may be woken outside its window.
    pub by_hand: bool,
}

impl<'a> Ask<'a> {
    /// A statement of a person, beside others' work.
    pub fn new(statement: &'a str, patience: Duration) -> Self {
        Self { statement, commits_within: COMMIT_WITHIN, patience, by_hand: true }
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

    fn behind_gate(&self, ask: Ask<'_>, report: &mut SqlReport) -> Result<(), Fault> {
        let Ask { commits_within, patience, .. } = ask;
        let Parts { lake, .. } = self.parts;
        let FullName { schema, table, .. } = self.name;
        let gate = Gate::close(lake, schema, table, self.sql)?;
        report.gated = true;
        (self.told)(&format!("the gate of `{schema}.{table}` is closed: its new rows are held until it opens"));
        self.end_what_was_left(&gate)?;
        (self.told)(&format!("waiting {} s for commits that are on their way", commits_within.as_secs()));
        clock::sleep(commits_within, Deadline::after(commits_within));
        gate.check()?;
        let done = self.statement(&gate, report);
        if gate.under_way().is_some() {
            // Under a statement that may still run nothing can be mended.
            return done;
        }
        let mended = mend_behind(lake, schema, table, &gate, Deadline::after(patience));
        report.mended = mended.mended;
        report.lost = mended.lost;
        gate.check()?;
        if let Some(fault) = mended.fault {
            gate.leave();
            report.fault = Some(fault);
            return done;
        }
        drop(gate);
        done?;
        report.held = release(lake, schema, table, Deadline::after(patience))?;
        Ok(())
    }

    /// A statement that an owner before us left running: it is stopped, and waited for.
    fn end_what_was_left(&self, gate: &Gate) -> Result<(), Fault> {
        let Parts { lake, workspace, .. } = self.parts;
        let Some(left) = gate.under_way() else { return Ok(()) };
        let now = store_time_in(lake, Duration::ZERO)?;
        if left.runs_until.is_none_or(|until| until <= now) {
            return gate.is_over();
        }
        let Some(id) = &left.statement_id else {
            return Err(Fault::again(format!(
                "a run before this one died while it submitted `{}`: nobody knows whether that runs",
                left.what
            ))
            .hint("wait until the gate expires (`inlet status` says when), then run it again"));
        };
        (self.told)(&format!("stopping statement {id}, which a run before this one left"));
        lake.handle().block_on(workspace.stop(self.warehouse, id, self.deadline))?;
        gate.is_over()
    }

    /// Runs the statement; the gate says so before, and says when it is over.
    fn statement(&self, gate: &Gate, report: &mut SqlReport) -> Result<(), Fault> {
        let Parts { lake, workspace, .. } = self.parts;
        let runs_until = store_time_in(lake, self.deadline.left() + CANCELLED_WITHIN)?;
        gate.begins(runs_until, None)?;
        report.statement = Some(self.sql.to_owned());
        (self.told)("running the statement");
        let submitted = match lake.handle().block_on(workspace.submit(self.warehouse, self.sql, self.deadline)) {
            Ok(submitted) => submitted,
            Err(error) if error.never_began() => {
                gate.is_over()?;
                return Err(error.into());
            }
            Err(error) => return Err(unknown(&error.into())),
        };
        let id = submitted.id().to_owned();
        report.statement_id = Some(id.clone());
        gate.begins(runs_until, Some(id.clone()))?;
        let done = match lake.handle().block_on(workspace.follow(submitted, self.deadline)) {
            Ok(answer) => {
                report.answered(answer);
                Ok(())
            }
            Err(error) if error.has_ended() => Err(error.into()),
            Err(error) => {
                let stopping = workspace.stop(self.warehouse, &id, Deadline::after(CANCELLED_WITHIN));
                match lake.handle().block_on(stopping) {
                    Ok(()) => Err(error.into()),
                    Err(_) => return Err(unknown(&error.into())),
                }
            }
        };
        gate.is_over()?;
        done
    }
}

fn unknown(fault: &Fault) -> Fault {
    Fault::again(format!("nobody knows whether the statement still runs: {}", fault.chain()))
        .hint("the gate stays closed until the statement is over at the latest; run it again, which stops it first")
}

/// Lands again what was overwritten while a gate was closed, or right before.
fn mend_behind(lake: &Lake, schema: &str, table: &str, gate: &Gate, deadline: Deadline) -> MendReport {
    let mut report = MendReport::new();
    let owner = gate.owner();
    let span = Span { since: gate.since() - LOOK_BACK, table: Some(table), passes: Some(&owner) };
    if let Err(fault) = mend_schema(lake, schema, &span, deadline, &mut report) {
        report.fault = Some(FaultReport::from(&fault));
    }
    report
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
