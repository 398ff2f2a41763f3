//! Why the Delta log is written with the kernel and not with `deltalake`: what the latter does with each table that
//! Databricks made. The day it can more, this goes red, and the choice may be looked at again.
//!
//! `deltalake` is built here as `verify` has it, without DataFusion. With it the features `invariants`,
//! `checkConstraints`, `changeDataFeed` and `generatedColumns` leave these lists, at the price of a query engine in the
//! cold start; the others stay.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow_schema::{DataType, Field};
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use url::Url;

use crate::databricks_made::{names, stand};
use crate::support::{Room, runtime};

/// What `deltalake` says to an append of one row; in lists, the features that it lacks.
const ANSWERS: [(&str, &str); 37] = [
    ("catalog_managed", "cannot be opened"),
    ("change_data_feed", "lacks changeDataFeed, invariants"),
    ("check_in_use", "lacks checkConstraints, invariants"),
    ("checkpoint_protection", "lacks invariants"),
    ("checks_listed", "lacks checkConstraints, invariants"),
    ("clustered", "lacks clustering, domainMetadata, invariants"),
    ("clustered_with_ids_of_others", "lacks clustering, domainMetadata, invariants"),
    ("collations", "lacks collations-preview, invariants"),
    ("column_mapping_id", "does not map columns"),
    ("column_mapping_name", "does not map columns"),
    ("conservative_properties", "appends"),
    ("default_in_use", "lacks allowColumnDefaults, invariants"),
    ("defaults_listed", "lacks allowColumnDefaults, invariants"),
    ("deletion_vectors_in_use", "lacks invariants"),
    ("external_by_warehouse", "lacks invariants"),
    ("generated_in_use", "lacks generatedColumns, invariants"),
    ("generated_listed", "lacks generatedColumns, invariants"),
    ("iceberg_compat_v2", "does not map columns"),
    ("identity_in_use", "lacks identityColumns, invariants"),
    ("identity_listed", "lacks identityColumns, invariants"),
    ("in_commit_timestamps", "lacks inCommitTimestamp, invariants"),
    // A row without a total, though the column's invariant says that it is positive: nobody looked.
    ("invariant_in_use", "appends"),
    ("legacy_1_2", "appends"),
    ("legacy_1_3", "lacks checkConstraints, invariants"),
    ("legacy_1_4", "lacks changeDataFeed, checkConstraints, generatedColumns, invariants"),
    (
        "legacy_1_6",
        "lacks changeDataFeed, checkConstraints, columnMapping, generatedColumns, identityColumns, invariants",
    ),
    ("legacy_2_5", "does not map columns"),
    ("managed_of_an_old_schema", "lacks domainMetadata, invariants, rowTracking"),
    // Features that readers must know are asked for first.
    ("managed_today_without_catalog_commits", "lacks vacuumProtocolCheck"),
    ("not_null", "appends"),
    ("not_null_date", "appends"),
    ("not_null_order_id", "appends"),
    ("partitioned", "appends"),
    ("row_tracking", "lacks domainMetadata, invariants, rowTracking"),
    ("type_widening", "lacks typeWidening"),
    ("v2_checkpoint", "lacks invariants"),
    ("variant", "lacks invariants"),
];

#[test]
fn deltalake_refuses_what_databricks_makes_today() {
    assert_eq!(ANSWERS.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>(), names());
    let changed: Vec<_> = ANSWERS
        .iter()
        .filter_map(|(name, expected)| {
            let room = Room::new();
            let answer = append(&stand(name, &room.lake()));
            (answer != *expected).then(|| format!("{name}: {answer} (was: {expected})"))
        })
        .collect();
    assert!(changed.is_empty(), "`deltalake` has changed:\n{}", changed.join("\n"));
}

fn append(table: &Path) -> String {
    let url = Url::from_directory_path(table).expect("a path is a URL");
    let mut table = match runtime().block_on(deltalake::open_table(url)) {
        Ok(table) => table,
        Err(error) if error.to_string().contains("Max catalog version") => return "cannot be opened".to_owned(),
        Err(error) => return error.to_string(),
    };
    let mut writer = match RecordBatchWriter::for_table(&table) {
        Ok(writer) => writer,
        Err(error) if error.to_string().contains("Column mapping is not supported") => {
            return "does not map columns".to_owned();
        }
        Err(error) => return error.to_string(),
    };
    let schema = writer.arrow_schema();
    let row = RecordBatch::try_new(Arc::clone(&schema), schema.fields().iter().map(|field| cell(field)).collect());
    let row = row.expect("a row fits its schema");
    let committed = runtime().block_on(async {
        writer.write(row).await?;
        writer.flush_and_commit(&mut table).await
    });
    match committed {
        Ok(1) => "appends".to_owned(),
        Err(DeltaTableError::Transaction { source: TransactionError::UnsupportedTableFeatures(features) }) => {
            let mut features: Vec<_> = features.iter().map(ToString::to_string).collect();
            features.sort();
            format!("lacks {}", features.join(", "))
        }
        other => format!("{other:?}"),
    }
}

/// NULL where the column takes it.
fn cell(field: &Field) -> ArrayRef {
    match field.data_type() {
        data_type if field.is_nullable() => new_null_array(data_type, 1),
        DataType::Utf8 => Arc::new(StringArray::from(vec!["x"])),
        DataType::Date32 => Arc::new(Date32Array::from(vec![20_000])),
        DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC")),
        other => panic!("no table has a column of {other} that must not be NULL"),
    }
}
