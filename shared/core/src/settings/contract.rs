//! What may land of an event, and what a table may become: `[sync]`, `on_drift`, `on_type_change`, `[[table]]`.

use std::collections::BTreeSet;

use inlet_events::contract::{Contracts, OnDrift, OnTypeChange};
use inlet_events::selection::{Patterns, Selection};

use super::given::Given;
use crate::secret::Secret;

/// Reads `[sync]`.
pub(super) fn selection(given: &mut Given<'_>) -> Selection {
    let hashed_columns = given.list("sync.hash");
    if !hashed_columns.is_empty() && !given.has("sync.hash_salt") {
        let why = "without a salt anybody can guess what was hashed";
        given.missing("sync.hash_salt", why, "sync.hash_salt = \"env:NAME\"");
    }
    let salt = given.secret("sync.hash_salt");
    let patterns = Patterns {
        allowed_tables: given.list("sync.tables.allow"),
        denied_tables: given.list("sync.tables.deny"),
        allowed_columns: given.list("sync.columns.allow"),
        denied_columns: given.list("sync.columns.deny"),
        hashed_columns,
    };
    let lists = [
        ("sync.tables.allow", &patterns.allowed_tables),
        ("sync.tables.deny", &patterns.denied_tables),
        ("sync.columns.allow", &patterns.allowed_columns),
        ("sync.columns.deny", &patterns.denied_columns),
        ("sync.hash", &patterns.hashed_columns),
    ];
    for illegal in patterns.illegal() {
        let key = lists.iter().find(|(_, list)| list.contains(&illegal.pattern)).map_or("sync", |(key, _)| *key);
        given.wrong(key, &format!("has `{}`: {}", illegal.pattern, illegal.reason), "");
    }
    // What is wrong with the patterns was said above, and a missing salt too.
    Selection::new(&patterns, salt.as_ref().map_or("", Secret::expose)).unwrap_or_default()
}

/// Reads `on_drift`, `on_type_change` and all `[[table]]`.
pub(super) fn contracts(given: &mut Given<'_>) -> Contracts {
    let on_drift = on_drift(given, "on_drift").unwrap_or_default();
    let on_type_change = on_type_change(given, "on_type_change").unwrap_or_default();
    let (mut contracts, mut names) = (Contracts::new(on_drift, on_type_change), BTreeSet::new());
    for (place, item) in given.items("table").into_iter().enumerate() {
        let on_drift = self::on_drift(given, &format!("{item}.on_drift"));
        let on_type_change = self::on_type_change(given, &format!("{item}.on_type_change"));
        match given.text(&format!("{item}.name")) {
            None => given.wrong_item("table", place + 1, "has no `name`", "name = \"TABLE\""),
            Some(name) if !names.insert(name.to_lowercase()) => {
                given.wrong_item("table", place + 1, &format!("is a second [[table]] of `{name}`"), "keep one of them");
            }
            Some(name) => contracts = contracts.with_table(&name, on_drift, on_type_change),
        }
    }
    contracts
}

fn on_drift(given: &mut Given<'_>, key: &str) -> Option<OnDrift> {
    given.choice(key, &OnDrift::ALL.map(|word| (word.name(), word)))
}

fn on_type_change(given: &mut Given<'_>, key: &str) -> Option<OnTypeChange> {
    given.choice(key, &OnTypeChange::ALL.map(|word| (word.name(), word)))
}
