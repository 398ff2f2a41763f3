//! Every key there is: its place in the file, its variable, and the shape of its value.

use crate::nearest;

/// One key of the settings.
#[derive(Debug)]
pub(super) struct Key {
    /// Its path in the file; that of a key of a list of tables is written without the place in the list.
    pub(super) path: &'static str,
    /// Its variable, which wins over the file.
    pub(super) variable: Option<&'static str>,
    /// What its value looks like.
    pub(super) shape: Shape,
}

/// What a value looks like. In a variable all of them are text, the names of a list with commas between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A text.
    Text,
    /// A whole number above 0.
    Number,
    /// `true` or `false`.
    Flag,
    /// A whole number and its unit: `90s`, `15m`, `1h`, `2d`.
    Duration,
    /// A list of texts.
    List,
    /// A secret, or where it stands: `env:NAME`, `file:PATH`, or a store of the cloud. The file may only say where.
    Secret,
}

use Shape::{Duration, Flag, List, Number, Secret, Text};

/// Tables that may stand in the file more than once, as `[[source]]`.
pub(super) const LISTS: [&str; 2] = ["source", "table"];

/// All keys, in the order of the settings page.
pub(super) const KEYS: &[Key] = &[
    key("name", "INLET_NAME", Text),
    key("workspace_url", "INLET_WORKSPACE_URL", Text),
    key("catalog", "INLET_CATALOG", Text),
    key("http_path", "INLET_HTTP_PATH", Text),
    key("port", "INLET_PORT", Number),
    key("allow_host", "INLET_ALLOW_HOST", List),
    key("lake", "INLET_LAKE", Text),
    key("landing_owner", "INLET_LANDING_OWNER", Text),
    key("tables", "INLET_TABLES", Text),
    key("warehouse", "INLET_WAREHOUSE", Text),
    key("warehouse.size", "INLET_WAREHOUSE_SIZE", Text),
    key("warehouse.min_clusters", "INLET_WAREHOUSE_MIN_CLUSTERS", Number),
    key("warehouse.max_clusters", "INLET_WAREHOUSE_MAX_CLUSTERS", Number),
    key("warehouse.serverless", "INLET_WAREHOUSE_SERVERLESS", Flag),
    key("warehouse.auto_stop_minutes", "INLET_WAREHOUSE_AUTO_STOP_MINUTES", Number),
    key("auth.method", "INLET_AUTH_METHOD", Text),
    key("auth.client_id", "INLET_AUTH_CLIENT_ID", Text),
    key("auth.client_secret", "INLET_AUTH_CLIENT_SECRET", Secret),
    key("auth.tenant_id", "INLET_AUTH_TENANT_ID", Text),
    key("auth.authority", "INLET_AUTH_AUTHORITY", Text),
    key("auth.token", "INLET_AUTH_TOKEN", Secret),
    key("storage.method", "INLET_STORAGE_METHOD", Text),
    key("storage.client_id", "INLET_STORAGE_CLIENT_ID", Text),
    key("storage.client_secret", "INLET_STORAGE_CLIENT_SECRET", Secret),
    key("storage.tenant_id", "INLET_STORAGE_TENANT_ID", Text),
    key("schema_changes", "INLET_SCHEMA_CHANGES", Text),
    key("on_drift", "INLET_ON_DRIFT", Text),
    key("on_type_change", "INLET_ON_TYPE_CHANGE", Text),
    key("window", "INLET_WINDOW", Duration),
    key("every", "INLET_EVERY", Duration),
    key("never_between", "INLET_NEVER_BETWEEN", List),
    key("hold_limit", "INLET_HOLD_LIMIT", Duration),
    key("max_wakes_per_day", "INLET_MAX_WAKES_PER_DAY", Number),
    key("max_warehouse_seconds_per_day", "INLET_MAX_WAREHOUSE_SECONDS_PER_DAY", Number),
    file_only("source.id", Text),
    file_only("source.prefix", Text),
    file_only("source.schema", Text),
    file_only("source.name", Text),
    file_only("sync.tables.allow", List),
    file_only("sync.tables.deny", List),
    file_only("sync.columns.allow", List),
    file_only("sync.columns.deny", List),
    file_only("sync.hash", List),
    key("sync.hash_salt", "INLET_SYNC_HASH_SALT", Secret),
    file_only("table.name", Text),
    file_only("table.on_drift", Text),
    file_only("table.on_type_change", Text),
    key("maintain.compact_after", "INLET_MAINTAIN_COMPACT_AFTER", Duration),
    key("maintain.small_file_bytes", "INLET_MAINTAIN_SMALL_FILE_BYTES", Number),
    key("landing", "INLET_LANDING", List),
    key("function_timeout", "INLET_FUNCTION_TIMEOUT", Duration),
    key("warehouse_id", "INLET_WAREHOUSE_ID", Text),
    key("workers", "INLET_WORKERS", Number),
    key("patience_seconds", "INLET_PATIENCE_SECONDS", Number),
    key("limits.max_tables", "INLET_MAX_TABLES", Number),
    key("limits.max_columns", "INLET_MAX_COLUMNS", Number),
    key("limits.max_new_columns", "INLET_MAX_NEW_COLUMNS", Number),
    key("limits.max_line_bytes", "INLET_MAX_LINE_BYTES", Number),
    key("limits.max_upload_bytes", "INLET_MAX_UPLOAD_BYTES", Number),
    key("limits.max_expansion", "INLET_MAX_EXPANSION", Number),
];

const fn key(path: &'static str, variable: &'static str, shape: Shape) -> Key {
    Key { path, variable: Some(variable), shape }
}

const fn file_only(path: &'static str, shape: Shape) -> Key {
    Key { path, variable: None, shape }
}

/// The key of a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether keys stand below this path.
pub(super) fn is_table(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|below| below.starts_with('.')))
}

/// What somebody most likely meant by a path that is no key: the same name at another place, else the nearest name
/// beside it.
pub(super) fn meant(path: &str) -> Option<&'static str> {
    let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let elsewhere = KEYS.iter().map(|key| key.path).find(|path| last(path) == name);
    elsewhere.or_else(|| {
        let beside = |path: &'static str| {
            let below = if table.is_empty() { Some(path) } else { path.strip_prefix(table)?.strip_prefix('.') };
            below.and_then(|below| below.split('.').next())
        };
        let near = nearest::among(name, KEYS.iter().filter_map(|key| beside(key.path)))?;
        let whole = if table.is_empty() { near.to_owned() } else { format!("{table}.{near}") };
        KEYS.iter().map(|key| key.path).find(|path| path.strip_prefix(whole.as_str()).is_some()).map(|path| {
            // A table is offered by its own name, not by that of its first key.
            path.get(..whole.len()).unwrap_or(path)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_path_and_each_variable_stands_once() {
        assert_eq!(KEYS.iter().map(|key| key.path).collect::<BTreeSet<_>>().len(), KEYS.len());
        let variables: Vec<_> = KEYS.iter().filter_map(|key| key.variable).collect();
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
    }

    #[test]
    fn a_variable_is_named_like_its_key() {
        for Key { path, variable, .. } in KEYS {
            let Some(variable) = variable else { continue };
            let path = path.strip_prefix("limits.").unwrap_or(path);
            assert_eq!(*variable, format!("INLET_{}", path.replace('.', "_").to_uppercase()));
        }
    }

    #[test]
    fn what_was_meant_is_found_beside_and_elsewhere() {
        assert_eq!(meant("catalogue"), Some("catalog"));
        assert_eq!(meant("auth.catalog"), Some("catalog"));
        assert_eq!(meant("client_id"), Some("auth.client_id"));
        assert_eq!(meant("auth.tenantid"), Some("auth.tenant_id"));
        assert_eq!(meant("sources"), Some("source"));
        assert_eq!(meant("limit"), Some("limits"));
        assert_eq!(meant("limits.max_table"), Some("limits.max_tables"));
        assert_eq!(meant("nonsense"), None);
    }
}
