//! What a run may be told, and where it was told: the only module that reads the environment.

use std::time::Duration;

use inlet_events::Limits;
use inlet_events::contract::Contracts;
use inlet_events::limits::LINE_BYTES_MAX;
use inlet_events::selection::Selection;

use crate::fault::Fault;

/// Settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The id by which `integrations.Warehouses.warehouseIds` names us (`INLET_WAREHOUSE_ID`).
    pub warehouse_id: Option<String>,
    /// Worker threads that parse and encode (`INLET_WORKERS`; default: the machine's cores, at most 8).
    pub workers: usize,
    /// Bounds on what landing accepts, since landing is a trust boundary.
    pub limits: Limits,
    /// When a run gives up on lost races and dead stores.
    pub patience: Duration,
    /// Which tables and columns land, and which columns are hashed.
    pub selection: Selection,
    /// What may change the tables, globally and by table.
    pub contracts: Contracts,
}

impl Settings {
    /// Reads the environment; every bad value is named, with its variable, in one fault.
    ///
    /// # Errors
    /// A Setup fault that lists all variables with unusable values.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
    pub fn from_environment() -> Result<Self, Fault> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let mut wrong = Vec::new();
        let mut number = |name: &str, default: u64| match variable(name).filter(|text| !text.is_empty()) {
            None => default,
            Some(text) => match text.parse::<u64>() {
                Ok(value) if value > 0 => value,
                _ => {
                    wrong.push(format!("`{name}` must be a whole number above 0, not `{text}`"));
                    default
                }
            },
        };
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let bounds = Limits::default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let limits = Limits {
            tables_per_schema: size(number("INLET_MAX_TABLES", bounds.tables_per_schema as u64)),
            columns_per_table: size(number("INLET_MAX_COLUMNS", bounds.columns_per_table as u64)),
            new_columns_per_upload: size(number("INLET_MAX_NEW_COLUMNS", bounds.new_columns_per_upload as u64)),
            line_bytes: size(number("INLET_MAX_LINE_BYTES", bounds.line_bytes as u64)),
            upload_bytes: number("INLET_MAX_UPLOAD_BYTES", bounds.upload_bytes),
            expansion: number("INLET_MAX_EXPANSION", bounds.expansion),
        };
        let workers = size(number("INLET_WORKERS", cores as u64)).min(64);
        let patience = Duration::from_secs(number("INLET_PATIENCE_SECONDS", 900));
        if limits.line_bytes > LINE_BYTES_MAX {
            wrong.push(format!("`INLET_MAX_LINE_BYTES` must be at most {LINE_BYTES_MAX}, not `{}`", limits.line_bytes));
        }
        if !wrong.is_empty() {
            return Err(Fault::setup(wrong.join("; ")).hint("unset the variable or give it a number"));
        }
        let warehouse_id = variable("INLET_WAREHOUSE_ID").filter(|id| !id.is_empty());
        let (selection, contracts) = (Selection::default(), Contracts::default());
        Ok(Self { warehouse_id, workers, limits, patience, selection, contracts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_variable_is_named_at_once() {
        let fault = Settings::read(|name| name.starts_with("INLET_MAX_").then(|| "many".to_owned())).unwrap_err();
        assert!(
            fault.to_string().contains("`INLET_MAX_TABLES`") && fault.to_string().contains("`INLET_MAX_EXPANSION`")
        );
    }

    #[test]
    fn empty_means_unset() {
        let settings = Settings::read(|_| Some(String::new())).unwrap();
        assert_eq!(settings.warehouse_id, None);
        assert_eq!(settings.limits.tables_per_schema, Limits::default().tables_per_schema);
    }
}
