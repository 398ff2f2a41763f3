//! The features of a table's protocol that forbid a write, and the SQL that gets rid of them.
//!
//! One of the four files that use the kernel's internal API: its refusal names the first feature that it meets, and a
//! way out that leaves the next one standing is none. What `DROP FEATURE` can drop is said by Delta itself; the cloud tier
//! runs these lines.

use delta_kernel::KernelError;
use delta_kernel::schema::{ColumnMetadataKey, StructField};
use url::Url;

use super::faults::{kernel_fault, without_backtrace};
use super::lake::Lake;
use super::table::Table;
use crate::fault::Fault;

/// Features whose work is a writer's, even where no column uses them; and the writer version that implies each, in
/// protocols from before features had names.
const WORK: [(&str, u32); 3] = [("checkConstraints", 3), ("generatedColumns", 4), ("identityColumns", 6)];
/// Of these only this one can be dropped.
const CHECKS: &str = "checkConstraints";
/// The table property of a CHECK constraint, before its name.
const CONSTRAINT: &str = "delta.constraints.";
/// The first writer version whose features have names.
const NAMED_FEATURES: u32 = 7;

/// Why the kernel refuses to write to a table, and the way out. `new_columns` are those that were to be added.
pub(super) fn refusal(table: &Table, reason: &str, new_columns: &[StructField]) -> (String, String) {
    let sql_name = sql_name(&table.schema, &table.name);
    let (work, is_implied) = work(table);
    if !work.is_empty() {
        let how = if is_implied { "its old protocol implies" } else { "it has the table feature" };
        let why = format!("{how} {}", work.join(", "));
        let hint = match work.iter().find(|feature| **feature != CHECKS) {
            Some(feature) => format!("no SQL drops {feature}: {}", fresh_table(table)),
            None => {
                let mut statements = drop_constraints(table);
                statements.push(format!("ALTER TABLE {sql_name} DROP FEATURE {CHECKS}"));
                run(table, &statements)
            }
        };
        return (why, hint);
    }
    let invariant = |field: &&StructField| field.get_config_value(&ColumnMetadataKey::Invariants).is_some();
    if let Some(column) = table.snapshot.schema().fields().find(invariant) {
        let why = format!("column `{}` has an invariant (invariants)", column.name());
        return (why, format!("no SQL drops it: {}", fresh_table(table)));
    }
    let hint = if reason.contains("checkpointProtection") {
        let line = run(table, &[format!("ALTER TABLE {sql_name} DROP FEATURE checkpointProtection TRUNCATE HISTORY")]);
        format!("{line} -- a day after the feature was dropped that left it behind, at the earliest")
    } else if !new_columns.is_empty() && ["allowColumnDefaults", "icebergCompat"].iter().any(|f| reason.contains(f)) {
        let column = |field: &StructField| format!("`{}` {}", field.name(), sql_type(field));
        let columns: Vec<String> = new_columns.iter().map(column).collect();
        let line = run(table, &[format!("ALTER TABLE {sql_name} ADD COLUMNS ({})", columns.join(", "))]);
        format!("{line} -- such a table takes rows from Inlet, and columns by SQL")
    } else {
        let feature = quoted(reason).unwrap_or("…");
        let line = run(table, &[format!("ALTER TABLE {sql_name} DROP FEATURE {feature}")]);
        format!("{line} -- where that is refused, {}", fresh_table(table))
    };
    (reason.to_owned(), hint)
}

/// A table that the kernel cannot even read.
pub(super) fn unreadable(schema: &str, name: &str, url: &Url, error: KernelError) -> Fault {
    let what = format!("Inlet cannot read table `{schema}.{name}`");
    let sql_name = sql_name(schema, name);
    match without_backtrace(error) {
        KernelError::MaxCatalogVersion(_) => {
            Fault::setup(format!("{what}: its commits are Unity Catalog's (catalogManaged), its log is not the truth"))
                .hint(format!("run: ALTER TABLE {sql_name} DROP FEATURE catalogManaged -- or land into another schema"))
        }
        KernelError::Unsupported(reason) | KernelError::InvalidProtocol(reason) => {
            let feature = quoted(&reason).unwrap_or("…");
            Fault::setup(format!("{what}: {reason}")).hint(format!(
                "run: ALTER TABLE {sql_name} DROP FEATURE {feature} -- or land into another schema (--schema)"
            ))
        }
        error => kernel_fault("cannot read the table", url, error),
    }
}

/// The first feature of a table's protocol, by name, that is none of these; the features of old protocols have no names.
pub(super) fn feature_beyond(table: &Table, known: &[&str]) -> Option<String> {
    let protocol = table.snapshot.get_protocol_derived_properties();
    let names = protocol.keys().filter_map(|key| key.strip_prefix("delta.feature."));
    names.filter(|name| !known.contains(name)).min().map(str::to_owned)
}

/// The features whose work is a writer's, in a fixed order; and whether the protocol only implies them.
fn work(table: &Table) -> (Vec<&'static str>, bool) {
    let protocol = table.snapshot.get_protocol_derived_properties();
    let version = protocol.get("delta.minWriterVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let is_implied = version < NAMED_FEATURES;
    let has = |(feature, since): &(&str, u32)| {
        if is_implied { version >= *since } else { protocol.contains_key(&format!("delta.feature.{feature}")) }
    };
    (WORK.into_iter().filter(has).map(|(feature, _)| feature).collect(), is_implied)
}

/// The feature cannot be dropped while a constraint stands.
fn drop_constraints(table: &Table) -> Vec<String> {
    let names = table.snapshot.metadata_configuration().keys().filter_map(|key| key.strip_prefix(CONSTRAINT));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let sql_name = sql_name(&table.schema, &table.name);
    names.iter().map(|name| format!("ALTER TABLE {sql_name} DROP CONSTRAINT `{name}`")).collect()
}

/// The line that has Databricks run statements on a table.
pub(super) fn run(table: &Table, statements: &[String]) -> String {
    run_on(&table.lake, statements)
}

/// The line that has Databricks run statements on a table of a lake: on S3 behind the table's gate.
pub(crate) fn run_on(lake: &Lake, statements: &[String]) -> String {
    match lake.needs_gates() {
        true => {
            let gated: Vec<String> = statements.iter().map(|one| format!("inlet run-sql '{one}'")).collect();
            format!("run: {}", gated.join(" && "))
        }
        false => format!("run: {}", statements.join("; ")),
    }
}

/// What is left to do when what forbids writing stays for good.
pub(super) fn fresh_table(table: &Table) -> String {
    let sql_name = sql_name(&table.schema, &table.name);
    format!(
        "keep its rows by CREATE TABLE … AS SELECT * FROM {sql_name}, drop it and move {} away, and Inlet makes a fresh \
         one; or land into another schema (--schema)",
        table.url()
    )
}

/// The name in SQL.
pub(crate) fn sql_name(schema: &str, name: &str) -> String {
    format!("`{schema}`.`{name}`")
}

fn sql_type(field: &StructField) -> String {
    match super::types::known_type(field.data_type()) {
        inlet_events::KnownType::Ours(column_type) => column_type.name().to_uppercase(),
        inlet_events::KnownType::Foreign => field.data_type().to_string(),
    }
}

/// What stands between the first two quotation marks.
fn quoted(reason: &str) -> Option<&str> {
    reason.split('\'').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::{TestLake, Tricks};

    #[test]
    fn on_s3_a_line_to_run_names_the_gate() {
        let statements =
            ["ALTER TABLE `shop`.`tracks` DROP CONSTRAINT `c`", "ALTER TABLE `shop`.`tracks` DROP FEATURE f"];
        let statements = statements.map(str::to_owned);
        let on = |url: &str| {
            run_on(&TestLake::at(url, Tricks::over(object_store::memory::InMemory::new())).lake, &statements)
        };
        let [one, other] = &statements;
        assert_eq!(on("s3://bucket/lake/"), format!("run: inlet run-sql '{one}' && inlet run-sql '{other}'"));
        assert_eq!(on("abfss://c@acme.dfs.core.windows.net/lake/"), format!("run: {one}; {other}"));
    }
}
