//! What may land of an event, and what a table may become: `[sync]`, `on_drift`, `on_type_change`, `[[table]]`.

use std::collections::BTreeSet;

use super::given::Given;
use crate::secret::Secret;

/// What becomes of tables and columns that are new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDrift {
    /// They are made.
    #[default]
    Evolve,
    /// Values without a column are rescued.
    Rescue,
    /// The event is rejected.
    Freeze,
}

/// What becomes of a value that does not fit its column's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTypeChange {
    /// It is rescued.
    #[default]
    Rescue,
    /// It stands in a column `<column>__<type>` beside.
    Column,
}

/// What may change of tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriftSettings {
    /// Of tables that say nothing else.
    pub on_drift: OnDrift,
    /// Of tables that say nothing else.
    pub on_type_change: OnTypeChange,
    /// Tables with a word of their own.
    pub tables: Vec<TableContract>,
}

/// The contract of one table; none: as for all tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableContract {
    /// The table.
    pub name: String,
    /// What becomes of its new columns.
    pub on_drift: Option<OnDrift>,
    /// What becomes of its values of another type.
    pub on_type_change: Option<OnTypeChange>,
}

/// What of the events may land, by patterns: names, `*` for any letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncSettings {
    /// Only these tables; none given: all.
    pub tables_allow: Vec<String>,
    /// Not these tables.
    pub tables_deny: Vec<String>,
    /// Only these columns; none given: all.
    pub columns_allow: Vec<String>,
    /// Not these columns.
    pub columns_deny: Vec<String>,
    /// Columns whose values are replaced by their salted SHA-256.
    pub hash: Vec<String>,
    /// The salt; there is one when columns are hashed.
    pub hash_salt: Option<Secret>,
}

/// Reads `[sync]`.
pub(super) fn sync(given: &mut Given<'_>) -> SyncSettings {
    let hash = given.list("sync.hash");
    if !hash.is_empty() && !given.has("sync.hash_salt") {
        let why = "without a salt anybody can guess what was hashed";
        given.missing("sync.hash_salt", why, "sync.hash_salt = \"env:NAME\"");
    }
    SyncSettings {
        tables_allow: given.list("sync.tables.allow"),
        tables_deny: given.list("sync.tables.deny"),
        columns_allow: given.list("sync.columns.allow"),
        columns_deny: given.list("sync.columns.deny"),
        hash,
        hash_salt: given.secret("sync.hash_salt"),
    }
}

/// Reads `on_drift`, `on_type_change` and all `[[table]]`.
pub(super) fn drift(given: &mut Given<'_>) -> DriftSettings {
    let on_drift = on_drift(given, "on_drift").unwrap_or_default();
    let on_type_change = on_type_change(given, "on_type_change").unwrap_or_default();
    let (mut tables, mut names) = (Vec::new(), BTreeSet::new());
    for (place, item) in given.items("table").into_iter().enumerate() {
        let on_drift = self::on_drift(given, &format!("{item}.on_drift"));
        let on_type_change = self::on_type_change(given, &format!("{item}.on_type_change"));
        match given.text(&format!("{item}.name")) {
            None => given.wrong_item("table", place + 1, "has no `name`", "name = \"TABLE\""),
            Some(name) if !names.insert(name.to_lowercase()) => {
                given.wrong_item("table", place + 1, &format!("is a second [[table]] of `{name}`"), "keep one of them");
            }
            Some(name) => tables.push(TableContract { name, on_drift, on_type_change }),
        }
    }
    DriftSettings { on_drift, on_type_change, tables }
}

fn on_drift(given: &mut Given<'_>, key: &str) -> Option<OnDrift> {
    let words = [("evolve", OnDrift::Evolve), ("rescue", OnDrift::Rescue), ("freeze", OnDrift::Freeze)];
    given.choice(key, &words)
}

fn on_type_change(given: &mut Given<'_>, key: &str) -> Option<OnTypeChange> {
    given.choice(key, &[("rescue", OnTypeChange::Rescue), ("column", OnTypeChange::Column)])
}
