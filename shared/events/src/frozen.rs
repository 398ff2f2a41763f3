//! Frozen tables: an event that would need a table or a column which is not there is rejected, before anything about
//! it is decided.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::batch::{Batch, Decision, Event, UploadContext};
use crate::contract::OnDrift;
use crate::event::{Call, Reason};
use crate::order::event_table_name;
use crate::table::{TableKind, TablePlan};
use crate::worker::Worker;

/// A frozen table that is there with all that every table has: its number and plan.
pub type Frozen = Option<(u32, Arc<TablePlan>)>;

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
        mut find: impl FnMut(TableKind, &str) -> Result<Frozen, E>,
    ) -> Result<(), E> {
        let mut tables: HashMap<String, Frozen> = HashMap::new();
        let mut is_rejected = vec![false; batch.events.len()];
        for (at, is_rejected) in is_rejected.iter_mut().enumerate() {
            let Event { call, filtered, .. } = batch.events[at];
            if filtered {
                continue;
            }
            let mut targets = vec![(TableKind::Call(call), call.table().to_owned())];
            if call == Call::Track {
                targets.push((TableKind::Event, event_table_name(batch, &batch.events[at])));
            }
            let is_concerned =
                |name: &str| context.contracts.of(name).0 == OnDrift::Freeze && context.selection.takes_table(name);
            for (kind, name) in targets.into_iter().filter(|(_, name)| is_concerned(name)) {
                let found = match tables.get(&name) {
                    Some(found) => found.clone(),
                    None => tables.entry(name.clone()).insert(find(kind, &name)?).get().clone(),
                };
                *is_rejected |= found.is_none_or(|(table, plan)| self.would_lack(batch, at, table, &plan));
            }
        }
        if is_rejected.contains(&true) {
            batch.reject_events(&is_rejected, Reason::SchemaFrozen);
        }
        Ok(())
    }

    /// Flattens an event as if its row in this table landed, looks, and forgets that again.
    fn would_lack(&mut self, batch: &mut Batch, at: usize, table: u32, plan: &TablePlan) -> bool {
        let event = &mut batch.events[at];
        event.decision = match plan.kind {
            TableKind::Call(_) => Decision { call_table: Some(table), ..Decision::default() },
            TableKind::Event => Decision { event_table: Some(table), ..Decision::default() },
        };
        let lacks = self.lacks_column(batch, at, table, plan);
        let event = &mut batch.events[at];
        let nothing: Range<usize> = 0..0;
        (event.decision, event.context_leaves, event.bag_leaves) = (Decision::default(), nothing.clone(), nothing);
        batch.leaves.clear();
        batch.careful.names.clear();
        batch.losers.clear();
        lacks
    }
}
