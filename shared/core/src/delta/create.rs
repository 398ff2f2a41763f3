//! A table that does not exist yet. One of the three files that use the kernel's internal API.

use std::sync::Arc;

use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::schema::StructType;
use delta_kernel::transaction::create_table::{CreateTableTransaction, create_table};
use delta_kernel::{Engine, KernelResult};
use inlet_events::ColumnType;
use url::Url;

use super::ENGINE_INFO;
use super::types::kernel_field;

/// Ids expire after this. The kernel understands only `interval <n> <unit>` with units up to weeks and takes anything
/// else as "never": the spelling matters, and a test reads it back.
const ID_RETENTION: (&str, &str) = ("delta.setTransactionRetentionDuration", "interval 30 days");

/// Statistics are kept on these alone, where a table has them: on every column they are most of a checkpoint, and a
/// checkpoint's size is memory.
const STATISTICS_ON: [&str; 5] = ["received_at", "timestamp", "user_id", "event", "_upload_id"];

/// Begins the creation of a table at `url`. The engine is asked whether a table is there; over an empty store this
/// makes a draft, without a request.
///
/// # Errors
/// The kernel's: there is a table, or the columns cannot be a Delta schema.
pub(super) fn begin_create(
    engine: &dyn Engine,
    url: &Url,
    columns: &[(String, ColumnType)],
    app_ids: &[String],
) -> KernelResult<CreateTableTransaction> {
    let schema = Arc::new(StructType::try_new(columns.iter().map(kernel_field))?);
    let mut builder = create_table(url, schema, ENGINE_INFO, true).with_table_properties([ID_RETENTION]);
    let with_statistics: Vec<&str> =
        STATISTICS_ON.into_iter().filter(|name| columns.iter().any(|(column, _)| column == name)).collect();
    if !with_statistics.is_empty() {
        builder = builder.with_table_properties([("delta.dataSkippingStatsColumns", with_statistics.join(","))]);
    }
    for app_id in app_ids {
        builder = builder.with_transaction_id(app_id, 1);
    }
    builder.build(engine, Box::new(FileSystemCommitter::new()))
}
