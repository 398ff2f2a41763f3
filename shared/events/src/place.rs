//! Events that a table has no place for, rejected before anything about them is decided: a frozen table lacks a column
//! that they need, or is not there; or a column that is never NULL would be.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::batch::{Batch, Decision, UploadContext};
use crate::contract::OnDrift;
use crate::event::{Call, Reason};
use crate::order::event_table_name;
use crate::table::{TableKind, TablePlan};
use crate::worker::Worker;

/// A table as it stands: its number and plan; nothing when it does not, or not with all that was asked of it.
pub type Standing = Option<(u32, Arc<TablePlan>)>;

impl Worker {
    /// Rejects the events of a batch that was just read which a frozen table has no place for. Which tables there are,
    /// and what they look like, is asked of `find`; the answers must stay the same for a whole upload.
    ///
    /// # Errors
    /// What `find` says.
    pub fn reject_drift<E>(
        &mut self,
        batch: &mut Batch,
        context: &UploadContext,
        mut find: impl FnMut(TableKind, &str) -> Result<Standing, E>,
    ) -> Result<(), E> {
        let mut tables: HashMap<String, Standing> = HashMap::new();
        self.reject_where(batch, context, Reason::SchemaFrozen, |worker, batch, at, kind, name| {
            if context.contracts.of(name).0 != OnDrift::Freeze {
                return Ok(false);
            }
            let found = match tables.get(name) {
                Some(found) => found.clone(),
                None => tables.entry(name.to_owned()).insert(find(kind, name)?).get().clone(),
            };
            Ok(found.is_none_or(|(table, plan)| {
                as_if(batch, at, table, &plan, |batch| worker.lacks_column(batch, at, table, &plan))
            }))
        })
    }

    /// Rejects the events of a batch that would leave a column NULL which no row may. `find` answers a table with such
    /// columns, the same for a whole upload.
    pub fn reject_nulls(&mut self, batch: &mut Batch, context: &UploadContext, find: impl Fn(&str) -> Standing) {
        let Ok(()) = self.reject_where(batch, context, Reason::NotNull, |worker, batch, at, _, name| {
            Ok::<_, std::convert::Infallible>(find(name).is_some_and(|(table, plan)| {
                as_if(batch, at, table, &plan, |batch| worker.lacks_required(batch, at, table, &plan, context))
            }))
        });
    }

    /// Rejects the events that have no place in a table which they go to.
    fn reject_where<E>(
        &mut self,
        batch: &mut Batch,
        context: &UploadContext,
        reason: Reason,
        mut has_no_place: impl FnMut(&mut Self, &mut Batch, usize, TableKind, &str) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut is_rejected = vec![false; batch.events.len()];
        for (at, is_rejected) in is_rejected.iter_mut().enumerate() {
            let event = &batch.events[at];
            if event.filtered {
                continue;
            }
            let mut targets = vec![(TableKind::Call(event.call), event.call.table().to_owned())];
            if event.call == Call::Track {
                targets.push((TableKind::Event, event_table_name(batch, event)));
            }
            for (kind, name) in targets.iter().filter(|(_, name)| context.selection.takes_table(name)) {
                *is_rejected = *is_rejected || has_no_place(self, batch, at, *kind, name)?;
            }
        }
        batch.reject_events(&is_rejected, reason);
        Ok(())
    }
}

/// Looks at an event as if its row in this table landed, and forgets that again.
fn as_if(batch: &mut Batch, at: usize, table: u32, plan: &TablePlan, look: impl FnOnce(&mut Batch) -> bool) -> bool {
    let event = &mut batch.events[at];
    event.decision = match plan.kind {
        TableKind::Call(_) => Decision { call_table: Some(table), ..Decision::default() },
        TableKind::Event => Decision { event_table: Some(table), ..Decision::default() },
    };
    let seen = look(batch);
    let event = &mut batch.events[at];
    let nothing: Range<usize> = 0..0;
    (event.decision, event.context_leaves, event.bag_leaves) = (Decision::default(), nothing.clone(), nothing);
    batch.leaves.clear();
    batch.careful.names.clear();
    batch.losers.clear();
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Contracts, OnTypeChange};
    use crate::kind::ColumnType::{BigInt, String as Text};
    use crate::testing::{Setting, land};

    fn track(id: &str, who: &str, properties: &str) -> String {
        format!(r#"{{"type":"track","messageId":"{id}",{who},"event":"Paid","properties":{properties}}}"#) + "\n"
    }

    #[test]
    fn an_event_that_would_leave_null_what_never_is_is_rejected_and_takes_no_id() {
        let existing = vec![
            (TableKind::Call(Call::Track), "tracks", Vec::new()),
            (TableKind::Event, "paid", vec![("order_id", Text), ("total", BigInt)]),
        ];
        let required = ["id", "user_id", "order_id", "total"].map(|column| ("paid", column)).to_vec();
        let user = r#""userId":"u""#;
        let lines = track("1", user, r#"{"order_id":"a","total":1}"#)
            + &track("2", user, r#"{"total":2}"#)
            + &track("2", user, r#"{"order_id":"b","total":2,"new":"column"}"#)
            + &track("3", user, r#"{"order_id":null,"total":3}"#)
            + &track("4", user, r#"{"order_id":"d","total":"many"}"#)
            + &track("5", r#""anonymousId":"u""#, r#"{"order_id":"e","total":5}"#)
            + &track("6", user, r#"{"order_id":"f","total":6.5}"#)
            + "{\"type\":\"track\",\"userId\":\"u\",\"event\":\"Paid\",\"properties\":{\"order_id\":\"g\",\"total\":7}}\n"
            + "{\"type\":\"page\",\"anonymousId\":\"u\"}\n";
        for on_type_change in [OnTypeChange::Rescue, OnTypeChange::Column] {
            let contracts = Contracts::new(OnDrift::Evolve, on_type_change);
            let found = land(
                &lines,
                &Setting { contracts, existing: existing.clone(), required: required.clone(), ..Setting::default() },
            );
            assert_eq!(found.column("paid", "order_id"), ["a", "b", "f", "g"]);
            assert_eq!(found.column("paid", "total"), ["1", "2", "6", "7"]);
            let reasons: Vec<_> = found.rejects.iter().map(|(reason, _)| *reason).collect();
            assert_eq!(reasons, ["not_null"; 4]);
            assert!(found.rejects[0].1.contains(r#""messageId":"2""#), "{:?}", found.rejects);
            // A row of `tracks` without one of its event would be half an event.
            assert_eq!((found.rows["tracks"].len(), found.rows["pages"].len()), (4, 1));
            assert_eq!(
                (found.counts.events, found.counts.rejected, found.counts.duplicates, found.landed()),
                (9, 4, 0, 5)
            );
        }
    }
}
