//! A table that does not exist yet. One of the four files that use the kernel's internal API.

use std::sync::Arc;

use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::schema::StructType;
use delta_kernel::transaction::create_table::{CreateTableTransaction, create_table};
use delta_kernel::{Engine, KernelResult};
use inlet_events::ColumnType;
use url::Url;

use super::ENGINE_INFO;
use super::append::Append;
use super::types::{commented, kernel_field};
use crate::ledger::LOADS;

/// Ids expire after this. The kernel understands only `interval <n> <unit>` with units up to weeks and takes anything
/// else as "never": the spelling matters, and a test reads it back.
pub(crate) const IDS_KEPT: &str = "interval 30 days";
/// In `_loads`, where they alone say that a key was here before: an object that is rewritten after its key's id has
/// expired lands all its events again. An id takes 43 bytes of a checkpoint and half a microsecond of a cold start.
const IDS_KEPT_IN_LOADS: &str = "interval 26 weeks";

/// Statistics are kept on these alone, where a table has them: on every column they are most of a checkpoint, and a
/// checkpoint's size is memory.
const STATISTICS_ON: [&str; 5] = ["received_at", "timestamp", "user_id", "event", "_upload_id"];

/// The columns that a table keeps statistics on, of those that it has.
pub(crate) fn statistics_columns(has: impl Fn(&str) -> bool) -> Vec<&'static str> {
    STATISTICS_ON.into_iter().filter(|name| has(name)).collect()
}

/// Begins the creation of a table at `url`. The engine is asked whether a table is there; over an empty store this
/// makes a draft, without a request. `name` is the table's own, without its schema.
///
/// # Errors
/// The kernel's: there is a table, or the columns cannot be a Delta schema.
pub(super) fn begin_create(
    engine: &dyn Engine,
    url: &Url,
    name: &str,
    columns: &[(String, ColumnType)],
    append: &Append<'_>,
) -> KernelResult<CreateTableTransaction> {
    let fields = columns.iter().map(|column| commented(kernel_field(column), &append.comments));
    let schema = Arc::new(StructType::try_new(fields)?);
    let kept = if name == LOADS { IDS_KEPT_IN_LOADS } else { IDS_KEPT };
    let mut builder = create_table(url, schema, ENGINE_INFO, true)
        .with_table_properties([("delta.setTransactionRetentionDuration", kept)]);
    let with_statistics = statistics_columns(|name| columns.iter().any(|(column, _)| column == name));
    if !with_statistics.is_empty() {
        builder = builder.with_table_properties([("delta.dataSkippingStatsColumns", with_statistics.join(","))]);
    }
    for app_id in append.written_ids() {
        builder = builder.with_transaction_id(app_id, 1);
    }
    builder.build(engine, Box::new(FileSystemCommitter::new()))
}
