//! What a table looks like: the columns that Inlet gives every table, and those that its events brought.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::contract::{Contracts, OnDrift, OnTypeChange};
use crate::event::Call;
use crate::kind::{ColumnType, KnownType};
use crate::selection::{ColumnRules, Selection, Treatment};

/// Values that fit no column of their row: one JSON object `{key: original value}`, Databricks' own word and shape.
pub const RESCUED_DATA: &str = "_rescued_data";
/// The upload that a row came from.
pub const UPLOAD_ID: &str = "_upload_id";
/// When Inlet processed a row; the same for all rows of one run.
pub const UUID_TS: &str = "uuid_ts";

/// A call table, or the table of one track event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// `tracks`, `identifies`, `pages`, `screens`, `groups`, `aliases`.
    Call(Call),
    /// One per name of a track event.
    Event,
}

impl TableKind {
    /// Columns that every table of this kind has from its creation, in order: names and types never inferred.
    pub fn system_columns(self) -> Vec<(&'static str, ColumnType)> {
        use ColumnType::{String, Timestamp};
        let mut columns = vec![
            ("id", String),
            ("received_at", Timestamp),
            ("timestamp", Timestamp),
            ("user_id", String),
            ("anonymous_id", String),
        ];
        columns.extend_from_slice(match self {
            Self::Event | Self::Call(Call::Track) => &[("event", String), ("event_text", String)],
            Self::Call(Call::Page | Call::Screen) => &[("name", String), ("category", String)],
            Self::Call(Call::Group) => &[("group_id", String)],
            Self::Call(Call::Alias) => &[("previous_id", String)],
            Self::Call(Call::Identify) => &[],
        });
        columns.extend_from_slice(&[
            ("original_timestamp", Timestamp),
            ("sent_at", Timestamp),
            (UUID_TS, Timestamp),
            (RESCUED_DATA, String),
            (UPLOAD_ID, String),
        ]);
        columns
    }
}

/// The columns that rows of a table are written with: what stands in the lake and what uploads planned so far add.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// The table's name in its schema.
    pub name: String,
    /// Which system columns it has.
    pub kind: TableKind,
    columns: Vec<(String, KnownType)>,
    slots: HashMap<String, u32>,
    /// How many of `columns` are in the lake.
    existing: usize,
    /// How many of `columns` came before user columns: the lake's and the system's.
    system: usize,
    /// Slots of columns that no row may leave NULL.
    required: Vec<u32>,
    /// Which columns land, and which are hashed; none: all, as they are.
    pub(crate) selection: Option<Arc<ColumnRules>>,
    /// What becomes of values whose column it lacks.
    pub on_drift: OnDrift,
    /// What becomes of values that do not fit their column.
    pub on_type_change: OnTypeChange,
}

impl TablePlan {
    /// A plan over the columns that the table has; system columns that it lacks are added. Everything lands, and columns
    /// may come.
    pub fn new(name: &str, kind: TableKind, existing: &[(String, KnownType)]) -> Self {
        Self::under(name, kind, existing, &Selection::default(), &Contracts::default())
    }

    /// A plan of what the settings let land. A system column that is denied is not added.
    pub fn under(
        name: &str,
        kind: TableKind,
        existing: &[(String, KnownType)],
        selection: &Selection,
        contracts: &Contracts,
    ) -> Self {
        let (on_drift, on_type_change) = contracts.of(name);
        let mut plan = Self {
            name: name.to_owned(),
            kind,
            columns: Vec::new(),
            slots: HashMap::new(),
            existing: existing.len(),
            system: 0,
            required: Vec::new(),
            selection: selection.columns_of(name).map(Arc::new),
            on_drift,
            on_type_change,
        };
        for (name, known) in existing {
            plan.push(name, *known);
        }
        for (name, column_type) in kind.system_columns() {
            if plan.treatment_of_system(name) != Treatment::Deny {
                plan.add(name, column_type);
            }
        }
        plan.system = plan.columns.len();
        plan
    }

    fn push(&mut self, name: &str, known: KnownType) {
        self.slots.insert(name.to_lowercase(), self.columns.len() as u32);
        self.columns.push((name.to_owned(), known));
    }

    /// Adds a column unless one of that name (in any case: Delta compares so) is there.
    pub fn add(&mut self, name: &str, column_type: ColumnType) {
        if self.slot(name).is_none() {
            self.push(name, KnownType::Ours(column_type));
        }
    }

    /// Says of a column that the lake has that no row may leave it NULL. An `id` of text never is.
    pub fn require(&mut self, name: &str) {
        let is_id = |slot: &u32| self.columns[*slot as usize] == ("id".to_owned(), KnownType::Ours(ColumnType::String));
        let slot = self.slot(name).filter(|slot| !is_id(slot));
        self.required.extend(slot);
    }

    /// Slots of columns that no row may leave NULL.
    pub(crate) fn required(&self) -> &[u32] {
        &self.required
    }

    /// Whether a row may be one that the table forbids.
    pub fn is_strict(&self) -> bool {
        !self.required.is_empty()
    }

    /// All columns: the lake's first, in the lake's order.
    pub fn columns(&self) -> &[(String, KnownType)] {
        &self.columns
    }

    /// A column's place; names are lower case but for tables that others made.
    pub(crate) fn slot(&self, name: &str) -> Option<u32> {
        self.slots.get(name).copied()
    }

    /// What lands of a system column.
    pub(crate) fn treatment_of_system(&self, column: &str) -> Treatment {
        self.selection.as_ref().map_or(Treatment::Keep, |rules| rules.of_system(column))
    }

    /// What lands of a column that events bring.
    pub(crate) fn treatment_of_brought(&self, column: &str) -> Treatment {
        self.selection.as_ref().map_or(Treatment::Keep, |rules| rules.of_brought(column))
    }

    /// Columns that the lake lacks, in the order of their creation: the system's, then `context_*` and user columns,
    /// each sorted by name.
    pub fn new_columns(&self) -> Vec<(String, ColumnType)> {
        let ours = |(name, known): &(String, KnownType)| match known {
            KnownType::Ours(column_type) => Some((name.clone(), *column_type)),
            KnownType::Foreign => None,
        };
        let mut columns: Vec<_> = self.columns[self.existing..self.system].iter().filter_map(ours).collect();
        let mut brought: Vec<_> = self.columns[self.system..].iter().filter_map(ours).collect();
        brought.sort_by(|(a, _), (b, _)| (!a.starts_with("context_"), a).cmp(&(!b.starts_with("context_"), b)));
        columns.append(&mut brought);
        columns
    }

    /// The columns planned so far stand in the lake now.
    pub fn committed(&mut self) {
        self.existing = self.columns.len();
        self.system = self.system.max(self.existing);
    }

    /// How many columns one more upload may add.
    pub fn room(&self, columns_per_table: usize, new_columns_per_upload: usize) -> usize {
        columns_per_table.saturating_sub(self.columns.len()).min(new_columns_per_upload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_columns_come_in_creation_order() {
        let mut plan = TablePlan::new("groups", TableKind::Call(Call::Group), &[]);
        for name in ["zeta", "context_b", "alpha", "context_a", "id"] {
            plan.add(name, ColumnType::BigInt);
        }
        let names: Vec<_> = plan.new_columns().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "id",
                "received_at",
                "timestamp",
                "user_id",
                "anonymous_id",
                "group_id",
                "original_timestamp",
                "sent_at",
                "uuid_ts",
                "_rescued_data",
                "_upload_id",
                "context_a",
                "context_b",
                "alpha",
                "zeta"
            ]
        );
    }

    #[test]
    fn what_the_lake_has_is_kept_and_completed() {
        let existing =
            [("Price".to_owned(), KnownType::Foreign), ("id".to_owned(), KnownType::Ours(ColumnType::String))];
        let mut plan = TablePlan::new("priced", TableKind::Event, &existing);
        plan.add("price", ColumnType::Double);
        assert_eq!(plan.slot("price"), Some(0));
        assert_eq!(plan.columns()[0].1, KnownType::Foreign);
        assert_eq!(plan.new_columns()[0].0, "received_at");
        assert_eq!(plan.room(13, 300), 0);
        assert_eq!(plan.room(14, 300), 1);
    }
}
