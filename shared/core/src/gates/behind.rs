//! What the warehouse does behind a table's gate.
//!
//! ```text
//!  gate closed -> what an owner before us left running has ended -> commits that are on their way are over
//!    -> statements, of each of which the gate says that it runs -> what they overwrote lands again -> gate open
//! ```
//!
//! Whatever dies, dying anywhere: the gate expires, once a statement is over at the latest. Nothing is lost by doing it
//! again: what a statement overwrites is found by the next owner, or by `inlet mend`, back to when the gate was closed.

use std::sync::Arc;
use std::time::Duration;

use super::{Gate, store_time_in};
use crate::clock::{self, Deadline, Micros};
use crate::databricks::{Answer, Error};
use crate::delta::Lake;
use crate::evolve::{FullName, Parts};
use crate::fault::Fault;
use crate::mend::{MendReport, Span, mend_schema};
use crate::report::FaultReport;

/// How long after its deadline a statement that was cancelled may still be at work.
const CANCELLED_WITHIN: Duration = Duration::from_secs(120);
/// How much earlier than the closing of a gate an upload may have been done whose commit is looked for.
const LOOK_BACK: Micros = 60 * 60 * 1_000_000;

/// A table whose gate is closed, so that the warehouse may change it. Dropped before it is opened, it stays closed until
/// it expires: nobody has looked then what was overwritten.
#[derive(Debug)]
pub(crate) struct BehindGate<'a> {
    parts: &'a Parts,
    name: FullName,
    warehouse: String,
    /// Shared with the threads that write what it says.
    gate: Arc<Gate>,
    is_opened: bool,
}

impl<'a> BehindGate<'a> {
    /// Closes the gate of a table for `what` shall be done, in words; a statement that an owner before us left running is
    /// stopped. Commits may still be on their way: see [`wait_for_commits`].
    ///
    /// # Errors
    /// Again when somebody else has closed it, or nobody knows what runs; what the store or the workspace answers.
    pub(crate) fn close(
        parts: &'a Parts,
        name: &FullName,
        warehouse: &str,
        what: &str,
        deadline: Deadline,
        told: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, Fault> {
        let FullName { schema, table, .. } = name;
        let gate = Arc::new(Gate::close(&parts.lake, schema, table, what)?);
        told(&format!("the gate of `{schema}.{table}` is closed: its new rows are held until it opens"));
        let closed = Self { parts, name: name.clone(), warehouse: warehouse.to_owned(), gate, is_opened: false };
        closed.end_what_was_left(deadline, told)?;
        Ok(closed)
    }

    /// A statement that an owner before us left running: it is stopped, and waited for.
    fn end_what_was_left(&self, deadline: Deadline, told: &(dyn Fn(&str) + Sync)) -> Result<(), Fault> {
        let Parts { lake, workspace, .. } = self.parts;
        let Some(left) = self.gate.under_way() else { return Ok(()) };
        let now = store_time_in(lake, Duration::ZERO)?;
        if left.runs_until.is_none_or(|until| until <= now) {
            return self.gate.is_over();
        }
        let Some(id) = &left.statement_id else {
            return Err(Fault::again(format!(
                "a run before this one died while it submitted `{}`: nobody knows whether that runs",
                left.what
            ))
            .hint("wait until the gate expires (`inlet status` says when), then run it again"));
        };
        told(&format!("stopping statement {id}, which a run before this one left"));
        lake.handle().block_on(workspace.stop(&self.warehouse, id, deadline))?;
        self.gate.is_over()
    }

    /// Fails when somebody has taken the owner for dead.
    ///
    /// # Errors
    /// Again.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.gate.check()
    }

    /// Runs a statement; the gate says so before, and says when it is over. `id` becomes Databricks' id of it as soon as
    /// there is one. The inner answer is the warehouse's: a statement that failed is over.
    ///
    /// # Errors
    /// Again when nobody knows whether it still runs, or the gate is not ours any more; what the store answers.
    pub(crate) async fn run(
        &self,
        sql: &str,
        deadline: Deadline,
        id: &mut Option<String>,
    ) -> Result<Result<Answer, Error>, Fault> {
        let workspace = &self.parts.workspace;
        let within = deadline.left() + CANCELLED_WITHIN;
        let runs_until = self
            .say(move |lake, gate| {
                let runs_until = store_time_in(lake, within)?;
                gate.begins(runs_until, None)?;
                Ok(runs_until)
            })
            .await?;
        let submitted = match workspace.submit(&self.warehouse, sql, deadline).await {
            Ok(submitted) => submitted,
            Err(error) if error.never_began() => {
                self.say(|_, gate| gate.is_over()).await?;
                return Ok(Err(error));
            }
            Err(error) => return Err(unknown(&error.into())),
        };
        let submitted_id = submitted.id().to_owned();
        *id = Some(submitted_id.clone());
        let named = submitted_id.clone();
        self.say(move |_, gate| gate.begins(runs_until, Some(named))).await?;
        let answer = workspace.follow(submitted, deadline).await;
        if let Err(error) = &answer
            && !error.has_ended()
        {
            let stopping = Deadline::after(CANCELLED_WITHIN);
            if workspace.stop(&self.warehouse, &submitted_id, stopping).await.is_err() {
                return answer.map_err(|error| unknown(&error.into())).map(Ok);
            }
        }
        self.say(|_, gate| gate.is_over()).await?;
        Ok(answer)
    }

    /// The gate's files are written by a thread of their own: the state folder is not asked from within async code.
    async fn say<T: Send + 'static>(
        &self,
        say: impl FnOnce(&Lake, &Gate) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (lake, gate) = (self.parts.lake.clone(), Arc::clone(&self.gate));
        let said = self.parts.lake.handle().spawn_blocking(move || say(&lake, &gate)).await;
        said.unwrap_or_else(|error| Err(Fault::bug("the thread that writes a gate broke off").because(error)))
    }

    /// Lands again what was overwritten while the gate was closed, or right before, and opens it. Nothing when a
    /// statement may still run: under that nothing can be mended, and the gate stays closed.
    ///
    /// What cannot be mended leaves the gate to expire: the next owner looks again.
    pub(crate) fn open(mut self, patience: Duration) -> Option<MendReport> {
        if self.gate.under_way().is_some() {
            return None;
        }
        let mut report = MendReport::new();
        let owner = self.gate.owner();
        let FullName { schema, table, .. } = &self.name;
        let span = Span { since: self.gate.since() - LOOK_BACK, table: Some(table), passes: Some(&owner) };
        let mended = mend_schema(&self.parts.lake, schema, &span, Deadline::after(patience), &mut report);
        match mended.and_then(|()| self.gate.check()) {
            Ok(()) => self.is_opened = true,
            Err(fault) => report.fault = Some(FaultReport::from(&fault)),
        }
        Some(report)
    }
}

impl Drop for BehindGate<'_> {
    fn drop(&mut self) {
        if !self.is_opened {
            self.gate.leave();
        }
    }
}

/// Waits until no request of a commit is under way that was begun before gates closed, which are closed now.
pub(crate) fn wait_for_commits(parts: &Parts, told: &(dyn Fn(&str) + Sync)) {
    let within = parts.commits_within;
    told(&format!("waiting {} s for commits that are on their way", within.as_secs()));
    clock::sleep(within, Deadline::after(within));
}

fn unknown(fault: &Fault) -> Fault {
    Fault::again(format!("nobody knows whether the statement still runs: {}", fault.chain()))
        .hint("the gate stays closed until the statement is over at the latest; run it again, which stops it first")
}
