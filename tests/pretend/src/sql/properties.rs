//! Table properties: those that a statement can set, and those that would need a feature which we have not.

use super::failures::not_here;
use crate::statement::Failure;

/// Table properties of Delta that need no feature of their own.
const PLAIN: [&str; 18] = [
    "delta.appendOnly",
    "delta.autoOptimize.autoCompact",
    "delta.autoOptimize.optimizeWrite",
    "delta.checkpoint.writeStatsAsJson",
    "delta.checkpoint.writeStatsAsStruct",
    "delta.checkpointInterval",
    "delta.dataSkippingNumIndexedCols",
    "delta.dataSkippingStatsColumns",
    "delta.deletedFileRetentionDuration",
    "delta.enableExpiredLogCleanup",
    "delta.isolationLevel",
    "delta.logRetentionDuration",
    "delta.parquet.compression.codec",
    "delta.randomizeFilePrefixes",
    "delta.randomPrefixLength",
    "delta.setTransactionRetentionDuration",
    "delta.targetFileSize",
    "delta.tuneFileSizesForRewrites",
];
/// Table properties of Delta that need a feature, and their value that needs none.
const SWITCHES: [(&str, &str); 7] = [
    ("delta.enableChangeDataFeed", "false"),
    ("delta.enableRowTracking", "false"),
    ("delta.enableInCommitTimestamps", "false"),
    ("delta.enableTypeWidening", "false"),
    ("delta.checkpointPolicy", "classic"),
    ("delta.columnMapping.mode", "none"),
    ("delta.enableIcebergCompatV2", "false"),
];
pub(super) const DELETION_VECTORS: &str = "delta.enableDeletionVectors";

/// Properties that we can set; whether they ask for deletion vectors.
pub(super) fn checked(properties: &[(String, String)]) -> Result<Option<bool>, Failure> {
    let mut vectors = None;
    for (key, value) in properties {
        if !key.starts_with("delta.") || PLAIN.contains(&key.as_str()) {
            continue;
        }
        if key == DELETION_VECTORS {
            vectors = Some(value.eq_ignore_ascii_case("true"));
            continue;
        }
        match SWITCHES.iter().find(|(switch, _)| switch == key) {
            Some((_, off)) if value.eq_ignore_ascii_case(off) => {}
            Some(_) => return Err(not_here(&format!("table property {key} = {value}"))),
            None if key.starts_with("delta.feature.") => return Err(not_here(&format!("table property {key}"))),
            None => {
                let text = format!("Unknown configuration was specified: {key}.");
                return Err(Failure::class("DELTA_UNKNOWN_CONFIGURATION", "F0000", text));
            }
        }
    }
    Ok(vectors)
}
