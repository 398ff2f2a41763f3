//! One worker's state: its key tries and column builders, kept over all chunks and uploads of a group.
//!
//! The order of work on a chunk: [`Batch::read`], [`Order::decide`](crate::order::Order::decide) in the upload's
//! order, [`Worker::flatten`]; then [`Worker::append`] when every column is known, else [`Worker::observe`].

use std::sync::Arc;

use hashbrown::HashSet;

use crate::batch::{Batch, Event, UploadContext};
use crate::column::RowGroup;
use crate::common::Common;
use crate::event::Call;
use crate::flatten::{KeyTrie, flatten_carefully};
use crate::observed::Observed;
use crate::order::TableCounts;
use crate::rows::TableRows;
use crate::table::TablePlan;

/// Rows of many tables, being built by one worker.
#[derive(Debug)]
pub struct Worker {
    context: KeyTrie,
    tables: Vec<Option<TableRows>>,
    /// Rows that stand in their table already (an earlier, killed run): built only to count what they rescue.
    shadows: Vec<Option<TableRows>>,
}

/// How many columns an upload may add to each table.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// By table number, for tables known when the upload began to be observed.
    pub known: Vec<usize>,
    /// For every table that it brings.
    pub new_table: usize,
}

impl Rooms {
    /// The room of one table.
    pub fn of(&self, table: u32) -> usize {
        self.known.get(table as usize).copied().unwrap_or(self.new_table)
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self { context: KeyTrie::new("context_"), tables: Vec::new(), shadows: Vec::new() }
    }
}

impl Worker {
    /// Flattens every event that has a row to land; answers whether all their columns are in the plans.
    pub fn flatten(&mut self, batch: &mut Batch, plans: &[Arc<TablePlan>]) -> bool {
        let mut known = true;
        batch.leaves.clear();
        batch.careful.names.clear();
        batch.losers.clear();
        for at in 0..batch.events.len() {
            let decision = batch.events[at].decision;
            let targets = [decision.call_table, decision.event_table];
            if targets == [None, None] {
                continue;
            }
            self.flatten_context(batch, at);
            self.flatten_bag(batch, at, bag_table(&batch.events[at]).map(|table| &*plans[table as usize]));
            let event = &batch.events[at];
            for table in targets.into_iter().flatten() {
                let plan = &plans[table as usize];
                let rows = rows_of(&mut self.tables, table, plan);
                let (context, bag) = (event.context_leaves.clone(), event.bag_leaves.clone());
                known &= rows.knows(plan, &self.context, batch, context, true);
                let has_bag = decision.event_table == Some(table) || event.call != Call::Track;
                known &= !has_bag || rows.knows(plan, &self.context, batch, bag, false);
            }
        }
        known
    }

    fn flatten_context(&mut self, batch: &mut Batch, at: usize) {
        use crate::event::Field::Context;
        use crate::json::NodeKind::Object;
        let start = batch.leaves.len();
        let event = &batch.events[at];
        let own = event.fields.raw(Context).filter(|&index| batch.tape.node(index).kind == Object);
        let outer = event.envelope.and_then(|envelope| envelope.context);
        let (tape, data) = (&batch.tape, &batch.chunk.data);
        let objects: Vec<u32> = outer.into_iter().chain(own).collect();
        let fast = match objects.as_slice() {
            [] => true,
            [object] => self.context.flatten(tape, data, *object, &mut batch.leaves).is_ok(),
            _ => false,
        };
        if !fast {
            flatten_carefully(tape, data, &objects, "context_", &mut batch.leaves, &mut batch.careful);
            batch.losers.extend(batch.careful.losers.drain(..).map(|(path, node)| (at, true, path, node)));
        }
        batch.events[at].context_leaves = start..batch.leaves.len();
    }

    /// `plan` is that of the table which the bag's keys are columns of.
    fn flatten_bag(&mut self, batch: &mut Batch, at: usize, plan: Option<&TablePlan>) {
        let start = batch.leaves.len();
        let event = &batch.events[at];
        let decision = event.decision;
        let table = bag_table(event).zip(plan);
        let bag = event.fields.raw(event.call.bag());
        let bag = bag.filter(|&index| batch.tape.node(index).kind == crate::json::NodeKind::Object);
        if let Some(bag) = bag
            && (table.is_some() || decision.no_event_table)
        {
            let (tape, data) = (&batch.tape, &batch.chunk.data);
            let fast = table.is_some_and(|(table, plan)| {
                let rows = rows_of(&mut self.tables, table, plan);
                rows.bag.flatten(tape, data, bag, &mut batch.leaves).is_ok()
            });
            if !fast {
                flatten_carefully(tape, data, &[bag], "", &mut batch.leaves, &mut batch.careful);
                let from_context = decision.no_event_table;
                batch.losers.extend(batch.careful.losers.drain(..).map(|(path, node)| (at, from_context, path, node)));
            }
        }
        batch.events[at].bag_leaves = start..batch.leaves.len();
    }

    /// Whether the row of an event in one table, its only target, needs a column that the table lacks.
    pub(crate) fn lacks_column(&mut self, batch: &mut Batch, at: usize, table: u32, plan: &TablePlan) -> bool {
        self.flatten_context(batch, at);
        self.flatten_bag(batch, at, bag_table(&batch.events[at]).map(|_| plan));
        rows_of(&mut self.tables, table, plan).lacks_column(plan, &self.context, batch, &batch.events[at])
    }

    /// Whether the row of an event in one table, its only target, would be NULL where it must not be.
    pub(crate) fn lacks_required(
        &mut self,
        batch: &mut Batch,
        at: usize,
        table: u32,
        plan: &TablePlan,
        context: &UploadContext,
    ) -> bool {
        self.flatten_context(batch, at);
        self.flatten_bag(batch, at, bag_table(&batch.events[at]).map(|_| plan));
        // The trie that named the leaves belongs to the table's rows.
        rows_of(&mut self.tables, table, plan);
        let common = Common::of(batch, &batch.events[at], context);
        self.append_shadow(batch, at, plan, table, &common, context);
        let shadow = rows_of(&mut self.shadows, table, plan);
        let lacks = shadow.lacks_required(plan);
        shadow.clear();
        lacks
    }

    /// Notes the types of values whose columns the plans lack. `only` limits the look to names settled before, by table
    /// number.
    pub fn observe(
        &mut self,
        batch: &Batch,
        plans: &[Arc<TablePlan>],
        rooms: &Rooms,
        only: Option<&[HashSet<String>]>,
    ) {
        for event in &batch.events {
            for table in [event.decision.call_table, event.decision.event_table].into_iter().flatten() {
                let at = table as usize;
                let rows = rows_of(&mut self.tables, table, &plans[at]);
                let only = only.and_then(|only| only.get(at));
                rows.observe(&plans[at], &self.context, batch, event, rooms.of(table), only);
            }
        }
    }

    /// Hands out what was observed, per table number.
    pub fn take_observed(&mut self) -> Vec<(u32, Observed)> {
        let tables = self.tables.iter_mut().enumerate();
        let observed = tables.filter_map(|(at, rows)| Some((at as u32, std::mem::take(&mut rows.as_mut()?.observed))));
        observed.filter(|(_, observed)| observed.overflow || !observed.columns().is_empty()).collect()
    }

    /// Writes the rows of a flattened batch. `landed` are tables that hold this upload's rows already: theirs are
    /// counted and dropped. Adds the rescued values to `counts`, by table number.
    pub fn append(
        &mut self,
        batch: &Batch,
        plans: &[Arc<TablePlan>],
        context: &UploadContext,
        landed: &HashSet<u32>,
        counts: &mut Vec<TableCounts>,
    ) {
        for (at, event) in batch.events.iter().enumerate() {
            let targets = [event.decision.call_table, event.decision.event_table];
            if targets == [None, None] {
                continue;
            }
            let common = Common::of(batch, event, context);
            for table in targets.into_iter().flatten() {
                let plan = &plans[table as usize];
                let rescued = if landed.contains(&table) {
                    self.append_shadow(batch, at, plan, table, &common, context)
                } else {
                    let rows = rows_of(&mut self.tables, table, plan);
                    rows.append(plan, &self.context, batch, at, &common, context)
                };
                if counts.len() <= table as usize {
                    counts.resize(table as usize + 1, TableCounts::default());
                }
                counts[table as usize].rescued += rescued;
            }
        }
        self.shadows.iter_mut().flatten().for_each(TableRows::clear);
    }

    /// A shadow shares the trie of its table while it writes: the leaves were named by that.
    fn append_shadow(
        &mut self,
        batch: &Batch,
        at: usize,
        plan: &TablePlan,
        table: u32,
        common: &Common,
        context: &UploadContext,
    ) -> u64 {
        rows_of(&mut self.shadows, table, plan);
        let (Some(Some(real)), Some(Some(shadow))) =
            (self.tables.get_mut(table as usize), self.shadows.get_mut(table as usize))
        else {
            return 0;
        };
        std::mem::swap(&mut real.bag, &mut shadow.bag);
        let rescued = shadow.append(plan, &self.context, batch, at, common, context);
        std::mem::swap(&mut real.bag, &mut shadow.bag);
        rescued
    }

    /// Bytes of memory held by each table, those kept for rows to come included.
    pub fn held(&mut self) -> impl Iterator<Item = (u32, usize)> + '_ {
        let tables = self.tables.iter_mut().enumerate();
        tables.filter_map(|(at, rows)| Some((at as u32, rows.as_mut()?.memory())))
    }

    /// A table's rows since they were last cleared, if there are any.
    pub fn row_group<'a>(&'a mut self, table: u32, plan: &'a TablePlan) -> Option<RowGroup<'a>> {
        let rows = self.tables.get_mut(table as usize)?.as_mut().filter(|rows| rows.rows > 0)?;
        rows.grow(plan);
        Some(rows.row_group(plan))
    }

    /// Forgets a table's rows; keeps their memory for the next ones.
    pub fn clear(&mut self, table: u32) {
        if let Some(Some(rows)) = self.tables.get_mut(table as usize) {
            rows.clear();
        }
    }

    /// Forgets a table's rows and gives their memory back.
    pub fn release(&mut self, table: u32) {
        if let Some(Some(rows)) = self.tables.get_mut(table as usize) {
            rows.release();
        }
    }
}

/// The table whose columns the keys of an event's bag are.
fn bag_table(event: &Event) -> Option<u32> {
    if event.call == Call::Track { event.decision.event_table } else { event.decision.call_table }
}

fn rows_of<'a>(tables: &'a mut Vec<Option<TableRows>>, table: u32, plan: &TablePlan) -> &'a mut TableRows {
    let at = table as usize;
    if tables.len() <= at {
        tables.resize_with(at + 1, || None);
    }
    let rows = tables[at].get_or_insert_with(|| TableRows::new(plan));
    rows.grow(plan);
    rows
}
