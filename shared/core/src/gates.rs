//! The gate of a table on S3: while it is closed nobody of Inlet commits to the table, and Databricks may.
//!
//! On S3 Databricks' own commits do not coordinate with those of others: it reads the log, works, and puts its commit
//! over whatever stands there by then. A commit of ours that came between is gone, after it was called landed. So
//! whoever has Databricks write to a table (OPTIMIZE, DELETE) closes the table's gate first: the lease
//! `_inlet/gates/<schema>/<table>/<n>.json`, which is renewed, and expires when its owner dies. Everybody else looks at
//! it right before each try of a commit.
//!
//! One race is left: looked, then closed, then committed. A request to the store is over within `COMMIT_WITHIN`,
//! whatever becomes of it, and nothing but the request lies between the look and its end. So the owner waits that long
//! after it has closed the gate: from then on the log stands still. Only a machine that sleeps between its look and
//! its request is later than that; its commit is one that the owner's mending, or a later one, finds gone.
//!
//! What was begun on the warehouse goes on when its owner dies: the gate then stays closed until the statement's own
//! deadline. Whoever closes it next can ask what became of the statement.
//!
//! Other stores need no gate: there Databricks puts its commits where none stands yet, as Inlet does.

mod behind;

use inlet_events::timestamp_text;
use object_store::path::Path;

pub(crate) use self::behind::{BehindGate, wait_for_commits};
use crate::clock::Micros;
use crate::delta::Lake;
pub(crate) use crate::delta::REQUEST_WITHIN as COMMIT_WITHIN;
use crate::fault::Fault;
use crate::lease::{self, Errand, LEASE, Lease, store_time};
use crate::state::State;

/// The folder of gates in the state folder.
const GATES: &str = "gates";

/// Why a table takes no commit now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    place: String,
    owner: String,
    what: String,
    expires_at: Micros,
}

impl Closed {
    /// The same as a fault, for what cannot wait in a note.
    pub(crate) fn fault(&self, schema: &str, table: &str) -> Fault {
        let Self { place, owner, what, expires_at } = self;
        let expires = timestamp_text(*expires_at);
        Fault::again(format!(
            "the gate of table `{schema}.{table}` is closed: {what} (gate `{place}`, owner {owner}, expires {expires})"
        ))
        .hint("run it again when the statement is done; a gate whose owner died opens by itself when it expires")
    }
}

/// Looks whether a table takes commits. `passes` is the owner of a gate, whom it lets pass.
///
/// # Errors
/// What the store answers: a commit must not be made unseen.
pub(crate) fn look(lake: &Lake, schema: &str, table: &str, passes: Option<&str>) -> Result<Option<Closed>, Fault> {
    if !lake.needs_gates() {
        return Ok(None);
    }
    let folder = folder(lake, schema, table);
    let held = lease::holder(lake, &folder)?.filter(|(turn, _)| passes != Some(&turn.holder));
    Ok(held.map(|(turn, renewed_at)| {
        let (what, runs_until) = turn.errand.map_or_else(
            || ("nobody knows why".to_owned(), None),
            |errand| (format!("`{}` is to run, or runs, on the warehouse", errand.what), errand.runs_until),
        );
        let expires_at = (renewed_at + micros(LEASE)).max(runs_until.unwrap_or_default());
        Closed { place: folder.to_string(), owner: turn.holder, what, expires_at }
    }))
}

/// Gates that were closed and not opened: `schema.table`, and when they were renewed last. Behind that of a dead owner
/// nobody has looked yet what was overwritten.
pub(crate) fn closed(lake: &Lake) -> Result<Vec<(String, Micros)>, Fault> {
    if lake.needs_gates() { lease::held(lake, GATES) } else { Ok(Vec::new()) }
}

/// A gate that this process has closed. Dropped, it opens, unless a statement may still run behind it.
#[derive(Debug)]
struct Gate {
    lease: Lease,
    what: String,
    since: Micros,
}

impl Gate {
    /// Closes the gate of a table; `what` is what shall be done behind it, in words.
    ///
    /// # Errors
    /// Again when somebody else has closed it; what the store answers.
    fn close(lake: &Lake, schema: &str, table: &str, what: &str) -> Result<Self, Fault> {
        let since = store_time(&State::of(lake))?;
        let errand = Errand { what: what.to_owned(), since, runs_until: None, statement_id: None };
        match Lease::take_in(lake, folder(lake, schema, table), Some(errand))? {
            Some(lease) => {
                let since = lease.turn().errand.map_or(since, |errand| errand.since);
                Ok(Self { lease, what: what.to_owned(), since })
            }
            None => Err(match look(lake, schema, table, None)? {
                Some(closed) => closed.fault(schema, table),
                None => Fault::again(format!("somebody else has just had the gate of table `{schema}.{table}`"))
                    .hint("run it again"),
            }),
        }
    }

    /// Who may pass it.
    fn owner(&self) -> String {
        self.lease.turn().holder
    }

    /// When it was closed, by the store's clock: by the first owner, if that one and its followers died.
    fn since(&self) -> Micros {
        self.since
    }

    /// A statement that may still run behind it: of an owner that died, or our own.
    fn under_way(&self) -> Option<Errand> {
        self.lease.turn().errand.filter(|errand| errand.runs_until.is_some())
    }

    /// Before a statement is submitted, and again when its id is known: from here on the gate outlives its owner.
    ///
    /// # Errors
    /// Again when somebody has taken the owner for dead; what the store answers.
    fn begins(&self, runs_until: Micros, statement_id: Option<String>) -> Result<(), Fault> {
        self.say(Some(runs_until), statement_id)
    }

    /// Nothing runs behind it any more.
    ///
    /// # Errors
    /// As [`Gate::begins`].
    fn is_over(&self) -> Result<(), Fault> {
        self.say(None, None)
    }

    /// Lets it expire instead of opening it: the next owner looks for what was overwritten since this one closed it.
    fn leave(&self) {
        self.lease.leave();
    }

    /// Fails when somebody has taken the owner for dead.
    ///
    /// # Errors
    /// Again.
    fn check(&self) -> Result<(), Fault> {
        if self.lease.is_held() { Ok(()) } else { Err(taken()) }
    }

    fn say(&self, runs_until: Option<Micros>, statement_id: Option<String>) -> Result<(), Fault> {
        let errand = Errand { what: self.what.clone(), since: self.since, runs_until, statement_id };
        if self.lease.say(errand)? { Ok(()) } else { Err(taken()) }
    }
}

/// The moment `within` from now, by the store's clock: what [`Gate::begins`] wants.
fn store_time_in(lake: &Lake, within: std::time::Duration) -> Result<Micros, Fault> {
    Ok(store_time(&State::of(lake))?.saturating_add(micros(within)))
}

fn taken() -> Fault {
    Fault::again("the gate could not be renewed in time, and somebody else has taken it")
        .hint("run it again: it looks what became of the statement, and mends what was overwritten")
}

fn folder(lake: &Lake, schema: &str, table: &str) -> Path {
    State::of(lake).place(&[GATES, schema, table])
}

fn micros(duration: std::time::Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::memory::InMemory;
    use tokio::runtime::Runtime;
    use url::Url;

    use super::*;
    use crate::delta::testing::TestLake;
    use crate::fault::FaultKind;

    const OPTIMIZE: &str = "OPTIMIZE `acme`.`shop`.`tracks`";

    /// A lake on S3, in memory.
    fn on_s3() -> (Runtime, Lake) {
        let runtime = Runtime::new().unwrap();
        let url = Url::parse("s3://bucket/lake/").unwrap();
        let lake = Lake::with_store(&url, Arc::new(InMemory::new()), runtime.handle().clone()).unwrap();
        (runtime, lake)
    }

    fn closed_for(lake: &Lake, passes: Option<&str>) -> Option<Closed> {
        look(lake, "shop", "tracks", passes).unwrap()
    }

    #[test]
    fn only_its_owner_passes_a_closed_gate() {
        let (_runtime, lake) = on_s3();
        assert_eq!(closed_for(&lake, None), None);
        let gate = Gate::close(&lake, "shop", "tracks", OPTIMIZE).unwrap();
        let seen = closed_for(&lake, None).expect("it is closed");
        assert_eq!((seen.owner.clone(), seen.place.as_str()), (gate.owner(), "lake/_inlet/gates/shop/tracks"));
        let fault = seen.fault("shop", "tracks");
        assert!(fault.kind() == FaultKind::Again && fault.to_string().contains(OPTIMIZE), "{fault}");
        assert_eq!(closed_for(&lake, Some(&gate.owner())), None);
        assert_eq!(look(&lake, "shop", "pages", None).unwrap(), None, "another table's gate");
        let second = Gate::close(&lake, "shop", "tracks", "DELETE").unwrap_err();
        assert!(second.to_string().contains(OPTIMIZE), "it says who is there: {second}");
        assert_eq!(closed(&lake).unwrap().len(), 1);
        drop(gate);
        assert_eq!((closed_for(&lake, None), closed(&lake).unwrap().len()), (None, 0));
    }

    #[test]
    fn a_gate_outlives_its_owner_while_a_statement_may_run() {
        let (_runtime, lake) = on_s3();
        let gate = Gate::close(&lake, "shop", "tracks", OPTIMIZE).unwrap();
        let until = store_time_in(&lake, Duration::from_secs(600)).unwrap();
        gate.begins(until, None).unwrap();
        gate.begins(until, Some("01f0".to_owned())).unwrap();
        let left = gate.under_way().expect("it runs");
        assert_eq!((left.runs_until, left.statement_id.as_deref()), (Some(until), Some("01f0")));
        drop(gate);
        let seen = closed_for(&lake, None).expect("nobody opens it");
        assert_eq!(seen.expires_at, until);
        assert_eq!(closed(&lake).unwrap().len(), 1);
    }

    #[test]
    fn a_gate_opens_with_its_owner_once_the_statement_is_over() {
        let (_runtime, lake) = on_s3();
        let gate = Gate::close(&lake, "shop", "tracks", OPTIMIZE).unwrap();
        gate.begins(Micros::MAX, Some("01f0".to_owned())).unwrap();
        gate.is_over().unwrap();
        assert!(gate.under_way().is_none() && gate.check().is_ok());
        drop(gate);
        assert_eq!(closed_for(&lake, None), None);
    }

    #[test]
    fn one_that_is_left_stays_closed_until_it_expires() {
        let (_runtime, lake) = on_s3();
        let gate = Gate::close(&lake, "shop", "tracks", OPTIMIZE).unwrap();
        let since = gate.since();
        gate.leave();
        drop(gate);
        let seen = closed_for(&lake, None).expect("nobody opened it");
        assert!(seen.expires_at >= since + micros(LEASE), "{} {since}", seen.expires_at);
    }

    #[test]
    fn a_lake_that_is_not_on_s3_has_none() {
        let test = TestLake::new();
        let _gate = Gate::close(&test.lake, "shop", "tracks", OPTIMIZE).unwrap();
        assert_eq!(look(&test.lake, "shop", "tracks", None).unwrap(), None);
        assert!(closed(&test.lake).unwrap().is_empty());
    }
}
