//! When and how schemas change, and what a warehouse may cost.

use std::time::Duration;

use super::given::Given;
use super::storage::is_s3;
use crate::evolve::Budget;

/// Who changes a table's log when its schema must change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaChanges {
    /// Inlet, in the data's own commit; the catalog follows.
    #[default]
    Writer,
    /// The SQL warehouse; the rows that need the change are held until then.
    Warehouse,
}

/// How the catalog is brought up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evolution {
    /// Who changes the log.
    pub schema_changes: SchemaChanges,
    /// At most one wake of the warehouse in this time; the first after quiet comes at once.
    pub window: Duration,
    /// At most so many wakes in a day.
    pub max_wakes_per_day: Option<u32>,
    /// At most so many seconds of a running warehouse in a day.
    pub max_warehouse_seconds_per_day: Option<u64>,
    /// How long rows are held before they land without the change.
    pub hold_limit: Duration,
}

impl Default for Evolution {
    fn default() -> Self {
        Self {
            schema_changes: SchemaChanges::Writer,
            window: Duration::from_secs(15 * 60),
            max_wakes_per_day: None,
            max_warehouse_seconds_per_day: None,
            hold_limit: Duration::from_secs(60 * 60),
        }
    }
}

impl Evolution {
    /// What the warehouse may cost.
    pub fn budget(&self) -> Budget {
        Budget {
            window: self.window,
            wakes_per_day: self.max_wakes_per_day,
            seconds_per_day: self.max_warehouse_seconds_per_day,
        }
    }
}

/// Reads the keys of evolution.
pub(super) fn evolution(given: &mut Given<'_>, lake: Option<&str>) -> Evolution {
    let usual = Evolution::default();
    let words = [("writer", SchemaChanges::Writer), ("warehouse", SchemaChanges::Warehouse)];
    let schema_changes = given.choice("schema_changes", &words).unwrap_or_default();
    let on_s3 = lake.is_some_and(is_s3);
    if schema_changes == SchemaChanges::Warehouse && on_s3 {
        // https://docs.databricks.com/delta/s3-limitations: commits from outside a workspace are not coordinated with its own.
        let what = "is `warehouse`, and the lake is on S3: there commits of Databricks do not coordinate with those of \
                    other writers, and one could overwrite the other";
        given.wrong("schema_changes", what, "schema_changes = \"writer\": Inlet alone writes the tables' logs");
    }
    if schema_changes == SchemaChanges::Warehouse && !given.has("workspace_url") {
        given.missing(
            "workspace_url",
            "`schema_changes` asks for a warehouse",
            "give it, or schema_changes = \"writer\"",
        );
    }
    Evolution {
        schema_changes,
        window: given.duration("window").unwrap_or(usual.window),
        max_wakes_per_day: given.small("max_wakes_per_day"),
        max_warehouse_seconds_per_day: given.number("max_warehouse_seconds_per_day"),
        hold_limit: given.duration("hold_limit").unwrap_or(usual.hold_limit),
    }
}
