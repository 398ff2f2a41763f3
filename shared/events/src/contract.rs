//! What may change a schema: contracts with the tables of a lake, globally and by table.

use std::sync::Arc;

use hashbrown::HashMap;

/// What becomes of an event that needs a table or a column that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDrift {
    /// The table or column is made.
    #[default]
    Evolve,
    /// No column is added: its values are rescued. A new event table is not made: the track lands in `tracks` only.
    Rescue,
    /// The event is rejected.
    Freeze,
}

impl OnDrift {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Evolve, Self::Rescue, Self::Freeze];

    /// The word in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evolve => "evolve",
            Self::Rescue => "rescue",
            Self::Freeze => "freeze",
        }
    }
}

/// Where a value goes that does not fit its column's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTypeChange {
    /// Into `_rescued_data`.
    #[default]
    Rescue,
    /// Into a column beside it, `<column>__<type>`.
    Column,
}

impl OnTypeChange {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Rescue, Self::Column];

    /// The word in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rescue => "rescue",
            Self::Column => "column",
        }
    }
}

/// One contract for all tables, and others for some. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Contracts {
    on_drift: OnDrift,
    on_type_change: OnTypeChange,
    tables: Arc<HashMap<String, (OnDrift, OnTypeChange)>>,
}

impl Contracts {
    /// The contract of every table.
    pub fn new(on_drift: OnDrift, on_type_change: OnTypeChange) -> Self {
        Self { on_drift, on_type_change, tables: Arc::default() }
    }

    /// Gives one table its own; what it does not say is as for every table. Names are compared without case.
    #[must_use]
    pub fn with_table(mut self, table: &str, on_drift: Option<OnDrift>, on_type_change: Option<OnTypeChange>) -> Self {
        let own = (on_drift.unwrap_or(self.on_drift), on_type_change.unwrap_or(self.on_type_change));
        Arc::make_mut(&mut self.tables).insert(table.to_lowercase(), own);
        self
    }

    /// The contract of a table.
    pub fn of(&self, table: &str) -> (OnDrift, OnTypeChange) {
        self.tables.get(table).copied().unwrap_or((self.on_drift, self.on_type_change))
    }

    /// Whether any table is frozen: then events are looked at before they are decided.
    pub fn can_freeze(&self) -> bool {
        let frozen = |on_drift: OnDrift| on_drift == OnDrift::Freeze;
        frozen(self.on_drift) || self.tables.values().any(|(on_drift, _)| frozen(*on_drift))
    }
}

#[cfg(test)]
mod tests;
