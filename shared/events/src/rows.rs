//! One worker's rows of one table: leaves find their columns, collisions are settled, values are written.

mod elsewhere;
mod system;

use std::ops::Range;

use hashbrown::{HashMap, HashSet};

use self::system::{SystemSlots, is_named_by};
use crate::batch::{Batch, Event, UploadContext};
use crate::column::{Column, Fit, RowGroup};
use crate::common::Common;
use crate::contract::{OnDrift, OnTypeChange};
use crate::event::Call;
use crate::flatten::{KeyTrie, Leaf, LeafName};
use crate::kind::{ColumnType, KnownType};
use crate::observed::Observed;
use crate::order::event_table_name;
use crate::rescue::Rescue;
use crate::selection::{ColumnRules, Treatment};
use crate::table::{TableKind, TablePlan};

/// A leaf's column is not looked up yet.
const UNRESOLVED: u32 = u32::MAX;
/// The column belongs to the system part of the row: user data never lands there.
const RESERVED: u32 = u32::MAX - 1;
/// The settings leave the column out.
const DENIED: u32 = u32::MAX - 2;
/// The table lacks the column: its type is being observed, or the limits forbid it. The bits below number such columns,
/// so that two leaves that meet in one are noticed.
const UNKNOWN: u32 = 1 << 30;
/// The column holds hashes: such a slot is beyond all columns, so that plain values cannot reach it.
const HASHED: u32 = 1 << 29;
/// An unknown column that is not numbered: its name was met in the careful walk.
const UNKNOWN_UNNUMBERED: u32 = UNKNOWN | (HASHED - 1);

fn is_unknown(slot: u32) -> bool {
    slot & (UNKNOWN | HASHED) == UNKNOWN
}

fn is_hashed(slot: u32) -> bool {
    slot & (UNKNOWN | HASHED) == HASHED
}

/// A leaf on its way into a row.
#[derive(Clone, Copy, Debug)]
struct Cell {
    slot: u32,
    leaf: Leaf,
    from_context: bool,
    lost: bool,
}

/// One worker's rows of one table since the last batch was handed out.
#[derive(Debug)]
pub(crate) struct TableRows {
    system: SystemSlots,
    /// One per column of the plan; none for columns of a foreign type.
    columns: Vec<Option<Column>>,
    pub(crate) bag: KeyTrie,
    context_slots: Vec<u32>,
    bag_slots: Vec<u32>,
    /// The row that last filled a slot, to notice two leaves that meet in one column.
    filled: Vec<u64>,
    /// Columns that the table lacks, numbered, and the row that last filled each.
    unknown: HashMap<String, u32>,
    unknown_filled: Vec<u64>,
    /// Columns beside a column, by its slot and the type of the value.
    variants: HashMap<(u32, ColumnType), Option<u32>>,
    /// Where a value shows whether it fits a column of a type.
    trial: HashMap<ColumnType, Column>,
    row_stamp: u64,
    cells: Vec<Cell>,
    rescue: Rescue,
    pub(crate) rows: usize,
    /// Bytes that the columns held when they were last looked at.
    memory: usize,
    /// Rows have come since then.
    has_grown: bool,
    pub(crate) observed: Observed,
}

impl TableRows {
    pub(crate) fn new(plan: &TablePlan) -> Self {
        let mut rows = Self {
            system: SystemSlots::of(plan),
            columns: Vec::new(),
            bag: KeyTrie::new(""),
            context_slots: Vec::new(),
            bag_slots: Vec::new(),
            filled: Vec::new(),
            unknown: HashMap::new(),
            unknown_filled: Vec::new(),
            variants: HashMap::new(),
            trial: HashMap::new(),
            row_stamp: 0,
            cells: Vec::new(),
            rescue: Rescue::default(),
            rows: 0,
            memory: 0,
            has_grown: false,
            observed: Observed::default(),
        };
        rows.grow(plan);
        rows
    }

    /// Takes up columns that the plan gained.
    pub(crate) fn grow(&mut self, plan: &TablePlan) {
        if self.columns.len() == plan.columns().len() {
            return;
        }
        for (_, known) in &plan.columns()[self.columns.len()..] {
            self.columns.push(match known {
                KnownType::Ours(column_type) => Some(Column::new(*column_type)),
                KnownType::Foreign => None,
            });
        }
        self.filled.resize(self.columns.len(), 0);
        for slot in self.context_slots.iter_mut().chain(&mut self.bag_slots).filter(|slot| is_unknown(**slot)) {
            *slot = UNRESOLVED;
        }
        self.unknown.clear();
        self.unknown_filled.clear();
        self.variants.clear();
    }

    /// Bytes of memory that the rows hold.
    pub(crate) fn memory(&mut self) -> usize {
        if std::mem::take(&mut self.has_grown) {
            self.memory = self.columns.iter().flatten().map(Column::memory).sum();
        }
        self.memory
    }

    /// Whether every leaf that this row will hold has a column (or can have none for good).
    pub(crate) fn knows(
        &mut self,
        plan: &TablePlan,
        trie: &KeyTrie,
        batch: &Batch,
        leaves: Range<usize>,
        is_context: bool,
    ) -> bool {
        if plan.on_drift != OnDrift::Evolve {
            return true;
        }
        let may_vary = plan.on_type_change == OnTypeChange::Column;
        batch.leaves[leaves].iter().all(|leaf| {
            let slot = self.slot(plan, trie, leaf, &batch.careful.names, is_context);
            let cell = || Cell { slot, leaf: *leaf, from_context: is_context, lost: false };
            !is_unknown(slot) && (!may_vary || self.missing_variant(plan, trie, batch, &cell()).is_none())
        })
    }

    /// The leaf's slot; for leaves of the bag, `trie` is not looked at.
    fn slot(&mut self, plan: &TablePlan, context: &KeyTrie, leaf: &Leaf, own: &[LeafName], is_context: bool) -> u32 {
        if leaf.name & Leaf::OWN != 0 {
            let column = &own[(leaf.name & !Leaf::OWN) as usize].column;
            let unknown = || self.unknown.get(column.as_str()).map_or(UNKNOWN_UNNUMBERED, |number| UNKNOWN | number);
            return self.known_slot(plan, column).unwrap_or_else(unknown);
        }
        let (slots, trie) = if is_context { (&self.context_slots, context) } else { (&self.bag_slots, &self.bag) };
        if let Some(&slot) = slots.get(leaf.name as usize)
            && slot != UNRESOLVED
        {
            return slot;
        }
        let column = &trie.leaf(leaf.name).column;
        let slot = match self.known_slot(plan, column) {
            Some(slot) => slot,
            None => {
                let next = self.unknown.len() as u32;
                UNKNOWN | *self.unknown.entry_ref(column.as_str()).or_insert(next)
            }
        };
        self.unknown_filled.resize(self.unknown.len(), 0);
        let count = trie.leaf_count();
        let slots = if is_context { &mut self.context_slots } else { &mut self.bag_slots };
        slots.resize(count.max(slots.len()), UNRESOLVED);
        slots[leaf.name as usize] = slot;
        slot
    }

    /// The slot of a column that events bring; nothing when the table lacks it.
    fn known_slot(&self, plan: &TablePlan, column: &str) -> Option<u32> {
        let treatment = plan.treatment_of_brought(column);
        if treatment == Treatment::Deny {
            return Some(DENIED);
        }
        let slot = plan.slot(column)?;
        Some(match treatment {
            _ if self.system.contains(slot) => RESERVED,
            Treatment::Hash => slot | HASHED,
            _ => slot,
        })
    }

    /// Collects the row's leaves with their slots, and settles which lose.
    fn collect(&mut self, plan: &TablePlan, context: &KeyTrie, batch: &Batch, event: &Event) {
        self.cells.clear();
        self.row_stamp += 1;
        let mut collision = false;
        let is_call_table = matches!(plan.kind, TableKind::Call(Call::Track));
        let bag = if is_call_table { 0..0 } else { event.bag_leaves.clone() };
        for (range, from_context) in [(event.context_leaves.clone(), true), (bag, false)] {
            for leaf in &batch.leaves[range] {
                let slot = self.slot(plan, context, leaf, &batch.careful.names, from_context);
                let filled = if is_unknown(slot) {
                    self.unknown_filled.get_mut((slot & !UNKNOWN) as usize)
                } else {
                    self.filled.get_mut(slot as usize)
                };
                match filled {
                    Some(stamp) => {
                        collision |= *stamp == self.row_stamp;
                        *stamp = self.row_stamp;
                    }
                    None if slot == DENIED => continue,
                    None => match self.filled.get_mut((slot & !HASHED) as usize) {
                        Some(stamp) => {
                            collision |= *stamp == self.row_stamp;
                            *stamp = self.row_stamp;
                        }
                        // Unknown columns without a number are compared by name.
                        None => collision |= slot != RESERVED,
                    },
                }
                self.cells.push(Cell { slot, leaf: *leaf, from_context, lost: slot == RESERVED });
            }
        }
        if collision {
            let lost = self.losers(context, batch);
            for (cell, lost) in self.cells.iter_mut().zip(lost) {
                cell.lost |= lost;
            }
        }
    }

    fn name<'a>(&'a self, context: &'a KeyTrie, batch: &'a Batch, cell: &Cell) -> &'a LeafName {
        if cell.leaf.name & Leaf::OWN != 0 {
            &batch.careful.names[(cell.leaf.name & !Leaf::OWN) as usize]
        } else if cell.from_context {
            context.leaf(cell.leaf.name)
        } else {
            self.bag.leaf(cell.leaf.name)
        }
    }

    /// Of leaves that meet in one column, context beats user data, then the path that already is the column's name
    /// wins, then the last in document order.
    fn losers(&self, context: &KeyTrie, batch: &Batch) -> Vec<bool> {
        let mut winners: HashMap<&str, (bool, bool, usize)> = HashMap::new();
        let mut lost = vec![false; self.cells.len()];
        for (at, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.slot != RESERVED) {
            let name = self.name(context, batch, cell);
            let rank = (cell.from_context, name.exact, at);
            match winners.entry(name.column.as_str()) {
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    entry.insert(rank);
                }
                hashbrown::hash_map::Entry::Occupied(mut entry) => {
                    lost[(*entry.get()).min(rank).2] = true;
                    let winner = (*entry.get()).max(rank);
                    entry.insert(winner);
                }
            }
        }
        lost
    }

    /// Notes the types of the row's values whose columns the table lacks.
    pub(crate) fn observe(
        &mut self,
        plan: &TablePlan,
        context: &KeyTrie,
        batch: &Batch,
        event: &Event,
        room: usize,
        only: Option<&HashSet<String>>,
    ) {
        if plan.on_drift != OnDrift::Evolve {
            return;
        }
        self.collect(plan, context, batch, event);
        let mut observed = std::mem::take(&mut self.observed);
        let may_vary = plan.on_type_change == OnTypeChange::Column;
        for at in 0..self.cells.len() {
            let cell = self.cells[at];
            if !may_vary && !is_unknown(cell.slot) {
                continue;
            }
            if let Some((name, column_type)) = self.missing_column(plan, context, batch, &cell) {
                let first = (event.line, event.item.unwrap_or_default(), at as u32);
                observed.see(&name, column_type, first, room, only);
            }
        }
        self.observed = observed;
    }

    /// Whether the row needs a column that the table lacks.
    pub(crate) fn lacks_column(&mut self, plan: &TablePlan, context: &KeyTrie, batch: &Batch, event: &Event) -> bool {
        self.collect(plan, context, batch, event);
        (0..self.cells.len()).any(|at| {
            let cell = self.cells[at];
            self.missing_column(plan, context, batch, &cell).is_some()
        })
    }

    /// Writes one row; answers how many values were rescued.
    pub(crate) fn append(
        &mut self,
        plan: &TablePlan,
        trie: &KeyTrie,
        batch: &Batch,
        at: usize,
        common: &Common,
        context: &UploadContext,
    ) -> u64 {
        let event = &batch.events[at];
        self.collect(plan, trie, batch, event);
        self.rescue.clear();
        let rules_of_both = rules_beyond_limit(plan, batch, event, context);
        let rules = rules_of_both.as_ref().or(plan.selection.as_deref());
        // `tracks` has no bag, so a bag's losers stand in the event table alone.
        let has_bag = plan.kind != TableKind::Call(Call::Track) || event.decision.no_event_table;
        for (field, node) in common.rescued.iter().filter(|(field, _)| has_bag || *field != event.call.bag()) {
            self.rescue.keep_field(rules, *field, &batch.chunk.data, batch.tape.node(*node));
        }
        self.append_system(plan, batch, event, common, context);
        self.append_cells(plan, trie, batch, event);
        // Losers stand in the order of their events.
        let first = batch.losers.partition_point(|(loser, ..)| *loser < at);
        for (_, from_context, path, node) in batch.losers[first..].iter().take_while(|(loser, ..)| *loser == at) {
            if *from_context || !matches!(plan.kind, TableKind::Call(Call::Track)) {
                self.rescue.keep(rules, path, &batch.chunk.data, batch.tape.node(*node));
            }
        }
        if event.decision.no_event_table {
            // One table too many: the event lands in `tracks` only, its properties beside it.
            for leaf in &batch.leaves[event.bag_leaves.clone()] {
                let name = &batch.careful.names[(leaf.name & !Leaf::OWN) as usize];
                self.rescue.keep(rules, &name.path, &batch.chunk.data, batch.tape.node(leaf.node));
            }
        }
        let rescued = self.rescue.len() as u64;
        if let Some(json) = self.rescue.finish()
            && let Some(Some(column)) = self.columns.get_mut(self.system.rescued_data as usize)
        {
            // A table whose `_rescued_data` is no STRING is refused before its first row.
            let fit = column.push_text(self.rows, json);
            debug_assert_eq!(fit, Fit::Exact);
        }
        self.rows += 1;
        self.has_grown = true;
        rescued
    }

    fn append_cells(&mut self, plan: &TablePlan, trie: &KeyTrie, batch: &Batch, event: &Event) {
        let row = self.rows;
        let data = &batch.chunk.data;
        let is_page = matches!(plan.kind, TableKind::Call(Call::Page | Call::Screen));
        for at in 0..self.cells.len() {
            let cell = self.cells[at];
            let node = batch.tape.node(cell.leaf.node);
            let fits = !cell.lost
                && self
                    .columns
                    .get_mut(cell.slot as usize)
                    .and_then(Option::as_mut)
                    .is_some_and(|column| column.push(row, data, node) == Fit::Exact);
            if fits || (!cell.lost && self.push_elsewhere(plan, trie, batch, &cell)) {
                continue;
            }
            let name = self.name(trie, batch, &cell);
            if is_page && cell.slot == RESERVED && !cell.from_context && is_named_by(batch, event, name, node) {
                continue;
            }
            let path = name.path.clone();
            self.rescue.keep(plan.selection.as_deref(), &path, data, node);
        }
    }

    /// Whether a column that must not be NULL has fewer values than there are rows.
    pub(crate) fn lacks_required(&self, plan: &TablePlan) -> bool {
        let count = |slot: u32| self.columns.get(slot as usize).and_then(Option::as_ref).map_or(0, Column::count);
        plan.required().iter().any(|&slot| count(slot) < self.rows)
    }

    /// The rows since the last [`TableRows::clear`]: their columns with values, named as in the plan.
    pub(crate) fn row_group<'a>(&'a mut self, plan: &'a TablePlan) -> RowGroup<'a> {
        self.columns.iter_mut().flatten().for_each(Column::settle);
        let names = plan.columns().iter().map(|(name, _)| name.as_str());
        let columns = names.zip(&self.columns).filter_map(|(name, column)| Some((name, column.as_ref()?)));
        RowGroup { rows: self.rows, columns: columns.filter(|(_, column)| column.count() > 0).collect() }
    }

    /// Forgets the rows and keeps their memory for the next ones.
    pub(crate) fn clear(&mut self) {
        self.columns.iter_mut().flatten().for_each(Column::clear);
        self.rows = 0;
    }

    /// Forgets the rows and gives their memory back.
    pub(crate) fn release(&mut self) {
        self.columns.iter_mut().flatten().for_each(Column::release);
        (self.rows, self.memory, self.has_grown) = (0, 0, false);
    }
}

/// A track whose event table is one too many has its properties in `tracks`: what either table hides is hidden.
fn rules_beyond_limit(plan: &TablePlan, batch: &Batch, event: &Event, context: &UploadContext) -> Option<ColumnRules> {
    if !event.decision.no_event_table || context.selection.is_empty() {
        return None;
    }
    let of_event = context.selection.columns_of(&event_table_name(batch, event));
    [of_event, plan.selection.as_deref().cloned()].into_iter().flatten().reduce(ColumnRules::and)
}
