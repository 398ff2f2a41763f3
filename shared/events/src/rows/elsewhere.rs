//! Values that their column cannot take as they are: those that are hashed, and those that go to a column beside it.

use std::borrow::Cow;

use super::{Cell, HASHED, TableRows, is_hashed, is_unknown};
use crate::batch::Batch;
use crate::column::{Column, Fit, type_of};
use crate::contract::OnTypeChange;
use crate::flatten::KeyTrie;
use crate::json::Node;
use crate::kind::{ColumnType, KnownType};
use crate::rescue::hash_of;
use crate::selection::Treatment;
use crate::table::TablePlan;
use crate::variant::{can_vary, open_name, slot_for};

impl TableRows {
    /// The column that a cell needs and the table lacks: its name, and the type for this value alone.
    pub(super) fn missing_column<'a>(
        &'a mut self,
        plan: &TablePlan,
        context: &'a KeyTrie,
        batch: &'a Batch,
        cell: &Cell,
    ) -> Option<(Cow<'a, str>, ColumnType)> {
        if cell.lost {
            return None;
        }
        if is_unknown(cell.slot) {
            let column = &self.name(context, batch, cell).column;
            let is_hashed = plan.selection.is_some() && plan.treatment_of_brought(column) == Treatment::Hash;
            let node = batch.tape.node(cell.leaf.node);
            let column_type = if is_hashed { ColumnType::String } else { type_of(&batch.chunk.data, node) };
            return Some((Cow::Borrowed(column), column_type));
        }
        match plan.on_type_change {
            OnTypeChange::Rescue => None,
            OnTypeChange::Column => self.missing_variant(plan, context, batch, cell),
        }
    }

    /// Writes what its column cannot take as it is: the hash of a value, or a value into the column beside.
    pub(super) fn push_elsewhere(&mut self, plan: &TablePlan, trie: &KeyTrie, batch: &Batch, cell: &Cell) -> bool {
        let node = batch.tape.node(cell.leaf.node);
        if let (true, Some(rules)) = (is_hashed(cell.slot), plan.selection.as_deref()) {
            let hash = hash_of(rules, &batch.chunk.data, node);
            if self.push_hash(cell.slot & !HASHED, &hash) {
                return true;
            }
            let beside = self.variant_of(plan, trie, batch, cell, ColumnType::String);
            return beside.is_some_and(|slot| self.push_hash(slot, &hash));
        }
        if plan.on_type_change == OnTypeChange::Rescue || cell.slot as usize >= self.columns.len() {
            return false;
        }
        let value = type_of(&batch.chunk.data, node);
        let Some(slot) = self.variant_of(plan, trie, batch, cell, value) else { return false };
        let column = self.columns.get_mut(slot as usize).and_then(Option::as_mut);
        column.is_some_and(|column| column.push(self.rows, &batch.chunk.data, node) == Fit::Exact)
    }

    /// Writes a hash, if the column is a STRING.
    pub(super) fn push_hash(&mut self, slot: u32, hash: &str) -> bool {
        let column = self.columns.get_mut(slot as usize).and_then(Option::as_mut);
        let column = column.filter(|column| column.column_type() == ColumnType::String);
        column.is_some_and(|column| column.push_text(self.rows, hash.as_bytes()) == Fit::Exact)
    }

    /// The column beside a cell's column that the table has for values of a type.
    fn variant_of(
        &mut self,
        plan: &TablePlan,
        trie: &KeyTrie,
        batch: &Batch,
        cell: &Cell,
        value: ColumnType,
    ) -> Option<u32> {
        let at = cell.slot & !HASHED;
        if plan.on_type_change == OnTypeChange::Rescue {
            return None;
        }
        if let Some(&known) = self.variants.get(&(at, value)) {
            return known;
        }
        let column = &self.name(trie, batch, cell).column;
        let can_vary = can_vary(column, plan.columns()[at as usize].1);
        let slot = can_vary.then(|| slot_for(plan, column, value)).flatten();
        self.variants.insert((at, value), slot);
        slot
    }

    /// The column beside a cell's column that its value needs and the table lacks: the beginning of its name, and the
    /// type for this value alone.
    pub(super) fn missing_variant<'a>(
        &'a mut self,
        plan: &TablePlan,
        trie: &'a KeyTrie,
        batch: &'a Batch,
        cell: &Cell,
    ) -> Option<(Cow<'a, str>, ColumnType)> {
        let known = plan.columns().get((cell.slot & !HASHED) as usize)?.1;
        let node = batch.tape.node(cell.leaf.node);
        let value = match known {
            KnownType::Ours(ColumnType::String) => return None,
            _ if is_hashed(cell.slot) => ColumnType::String,
            KnownType::Ours(column_type) if self.fits(column_type, &batch.chunk.data, node) => return None,
            _ => type_of(&batch.chunk.data, node),
        };
        if self.variant_of(plan, trie, batch, cell, value).is_some() {
            return None;
        }
        let column = &self.name(trie, batch, cell).column;
        can_vary(column, known).then(|| (Cow::Owned(open_name(column)), value))
    }

    fn fits(&mut self, column_type: ColumnType, chunk: &[u8], node: Node) -> bool {
        let column = self.trial.entry(column_type).or_insert_with(|| Column::new(column_type));
        let fit = column.push(0, chunk, node);
        column.clear();
        fit == Fit::Exact
    }
}
