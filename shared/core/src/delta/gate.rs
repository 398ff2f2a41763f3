//! The two questions to a table's protocol before every commit: may we append, may we add columns?
//!
//! The kernel answers by building a transaction, before anything is written. What it lets pass and must not be
//! written to is refused here. A refusal names the feature and the way out.

use std::sync::Arc;

use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::schema::StructField;
use delta_kernel::transaction::{Transaction, UpdateTableOperation};
use delta_kernel::{KernelError, KernelResult};
use inlet_events::{ColumnType, KnownType};

use super::ENGINE_INFO;
use super::faults::{kernel_fault, without_backtrace};
use super::features::{fresh_table, refusal, run, sql_name};
use super::table::Table;
use super::types::kernel_field;
use crate::fault::Fault;

/// May we append?
pub(super) fn may_append(table: &Table) -> Result<(), Fault> {
    write_transaction(table, &[], true).and_then(|transaction| check(table, &transaction))
}

/// May we add these columns?
pub(super) fn may_add_columns(table: &Table, columns: &[(String, ColumnType)]) -> Result<(), Fault> {
    let columns: Vec<StructField> = columns.iter().map(kernel_field).collect();
    write_transaction(table, &columns, false).and_then(|transaction| check(table, &transaction))
}

/// Begins a write to a table, with new columns, and checks what the kernel does not.
pub(super) fn begin_write(
    table: &Table,
    new_columns: &[StructField],
    blind_append: bool,
) -> Result<Transaction, Fault> {
    let transaction = write_transaction(table, new_columns, blind_append)?;
    check(table, &transaction)?;
    Ok(transaction)
}

fn write_transaction(table: &Table, new_columns: &[StructField], blind_append: bool) -> Result<Transaction, Fault> {
    let operation = UpdateTableOperation::Write;
    let mut builder = Arc::clone(&table.snapshot).update_table(operation, ENGINE_INFO, true);
    if blind_append {
        builder = builder.with_blind_append();
    }
    for column in new_columns {
        builder = builder.add_column(column.clone());
    }
    let what = if new_columns.is_empty() { "Inlet cannot append to" } else { "Inlet cannot add columns to" };
    let built = builder.build(table.lake.engine().as_ref(), Box::new(FileSystemCommitter::new()));
    refused(table, what, new_columns, built)
}

/// Turns the kernel's refusal into a fault with a way out.
pub(super) fn refused<T>(
    table: &Table,
    what: &str,
    new_columns: &[StructField],
    built: KernelResult<T>,
) -> Result<T, Fault> {
    built.map_err(|error| match without_backtrace(error) {
        KernelError::Unsupported(reason) | KernelError::InvalidProtocol(reason) => {
            let (why, way_out) = refusal(table, &reason, new_columns);
            Fault::setup(format!("{what} table `{}`: {why}", table.label())).hint(way_out)
        }
        error @ KernelError::Schema(_) => {
            Fault::setup(format!("{what} table `{}`: {error}", table.label())).hint("rename the column in its source")
        }
        error => kernel_fault(&format!("{what} table `{}`", table.label()), table.url(), error),
    })
}

/// What the kernel would let pass.
pub(super) fn check(table: &Table, transaction: &Transaction) -> Result<(), Fault> {
    let (label, sql_name) = (table.label(), sql_name(&table.schema, &table.name));
    let partitions = transaction.logical_partition_columns();
    if !partitions.is_empty() {
        return Err(Fault::setup(format!("table `{label}` is partitioned by {}", partitions.join(", "))).hint(
            format!("Inlet writes to clustered tables (CLUSTER BY), not to partitioned ones: {}", fresh_table(table)),
        ));
    }
    let defaults = transaction.top_level_column_defaults();
    if let Some(column) = refused(table, "Inlet cannot append to", &[], defaults)?.keys().min() {
        // A writer must fill in defaults itself, by evaluating their SQL; NULL would be wrong rows.
        return Err(Fault::setup(format!("column `{column}` of table `{label}` has a default (allowColumnDefaults)"))
            .hint(run(table, &[format!("ALTER TABLE {sql_name} ALTER COLUMN `{column}` DROP DEFAULT")])));
    }
    let must_fill = |column: &&super::Column| !column.nullable && column.column_type == KnownType::Foreign;
    if let Some(column) = table.columns.iter().find(must_fill) {
        let name = &column.name;
        return Err(Fault::setup(format!(
            "column `{name}` of table `{label}` is NOT NULL and of a type Inlet does not write"
        ))
        .hint(run(table, &[format!("ALTER TABLE {sql_name} ALTER COLUMN `{name}` DROP NOT NULL")])));
    }
    Ok(())
}
