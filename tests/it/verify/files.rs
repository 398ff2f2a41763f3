//! Logs, files and tables that were lost, doubled or changed.

use std::fs;

use inlet_core::verify::Check;
use serde_json::{Value, json};

use super::{harmed, rows_of};
use crate::corrupt::{change_stats, file_of};
use crate::support::SCHEMA;

#[test]
fn a_file_that_was_added_twice_is_named() {
    let harmed = harmed();
    let table = harmed.table("pages");
    let add = table.adds()[0].clone();
    fs::copy(table.path(file_of(&add)), table.path("copy.parquet")).expect("a file can be copied");
    let mut copy = add;
    copy["add"]["path"] = "copy.parquet".into();
    let rows = rows_of(&harmed.lake(), "pages", harmed.second);
    table.push(&[copy]);
    let found = harmed.found();
    found.names(Check::Rows, Some("pages"), Some(harmed.second), Some((rows, 2 * rows)));
    found.names(Check::DoubledId, Some("pages"), Some(harmed.second), Some((0, rows)));
    found.names(Check::Landed, None, Some(harmed.second), None).only(&[Check::Rows, Check::DoubledId, Check::Landed]);
}

#[test]
fn a_file_that_is_gone_is_named() {
    let harmed = harmed();
    fs::remove_file(harmed.table("order_completed").first_file()).expect("the file is there");
    let found = harmed.found();
    found.names(Check::FileMissing, Some("order_completed"), None, None);
    found.names(Check::Rows, Some("order_completed"), Some(harmed.first), None);
}

#[test]
fn a_file_that_was_removed_by_the_log_is_named() {
    let harmed = harmed();
    let table = harmed.table("identifies");
    let file = file_of(&table.adds()[0]).to_owned();
    let rows = rows_of(&harmed.lake(), "identifies", harmed.first);
    table.push(&[json!({ "remove": { "path": file, "dataChange": true, "deletionTimestamp": 1 } })]);
    let found = harmed.found();
    found.names(Check::Rows, Some("identifies"), Some(harmed.first), Some((rows, 0)));
    found.names(Check::Landed, None, Some(harmed.first), None);
}

#[test]
fn a_file_that_was_cut_short_is_named() {
    let harmed = harmed();
    let file = harmed.table("tracks").first_file();
    let bytes = fs::read(&file).expect("the file is there");
    fs::write(&file, &bytes[..bytes.len() - 100]).expect("the file can be written");
    let found = harmed.found();
    found.names(Check::FileSize, Some("tracks"), None, Some((bytes.len() as i64, bytes.len() as i64 - 100)));
    found.names(Check::FileUnreadable, Some("tracks"), None, None);
    found.names(Check::Landed, None, Some(harmed.first), None);
}

#[test]
fn a_file_with_damaged_pages_is_named() {
    let harmed = harmed();
    let file = harmed.table("tracks").first_file();
    let mut bytes = fs::read(&file).expect("the file is there");
    let middle = bytes.len() / 2;
    bytes[4..middle].fill(0xAA);
    fs::write(&file, &bytes).expect("the file can be written");
    harmed.found().names(Check::FileUnreadable, Some("tracks"), None, None);
}

#[test]
fn an_id_in_the_log_without_rows_is_named() {
    let harmed = harmed();
    let txn = json!({ "txn": { "appId": format!("inlet/{:032x}", 7), "version": 1 } });
    harmed.table("groups").push(std::slice::from_ref(&txn));
    harmed.table("_loads").push(&[txn]);
    let found = harmed.found();
    found.names(Check::TxnWithoutRows, Some("groups"), None, None);
    found.names(Check::TxnWithoutRows, Some("_loads"), None, None).only(&[Check::TxnWithoutRows]);
}

#[test]
fn rows_without_their_id_in_the_log_are_named() {
    let harmed = harmed();
    let id = format!("inlet/{}", harmed.second.id);
    for table in ["tracks", "_loads"] {
        harmed.table(table).change(0, |actions| actions.retain(|action| action["txn"]["appId"] != id.as_str()));
    }
    let found = harmed.found();
    found.names(Check::RowsWithoutTxn, Some("tracks"), Some(harmed.second), None);
    found.names(Check::RowsWithoutTxn, Some("_loads"), Some(harmed.second), None).only(&[Check::RowsWithoutTxn]);
}

#[test]
fn a_commit_that_is_gone_is_named() {
    let harmed = harmed();
    let table = harmed.table("tracks");
    let last = table.version();
    assert!(last > 1, "the table has commits in the middle");
    fs::remove_file(table.commit(1)).expect("the commit is there");
    harmed.found().names(Check::LogGap, Some("tracks"), None, None);
    // The newest leaves no gap: only `_loads` knows that it was there.
    let harmed = self::harmed();
    fs::remove_file(harmed.table("tracks").commit(last)).expect("the commit is there");
    let found = harmed.found();
    found.names(Check::LogBehind, Some("tracks"), None, Some((last as i64, last as i64 - 1)));
    found.names(Check::Rows, Some("tracks"), None, None);
}

#[test]
fn a_log_that_lies_about_its_files_is_named() {
    let harmed = harmed();
    let table = harmed.table("product_viewed");
    let change = |change: fn(&mut Value)| {
        table.change(0, |actions| {
            let add = actions.iter_mut().find(|action| action.get("add").is_some()).expect("a file is added");
            change_stats(add, change);
        });
    };
    change(|stats| stats["numRecords"] = 1_000.into());
    harmed.found().names(Check::FileRows, Some("product_viewed"), None, None).only(&[Check::FileRows]);
    change(|stats| stats["maxValues"]["_upload_id"] = stats["minValues"]["_upload_id"].clone());
    harmed.found().names(Check::FileStatistics, Some("product_viewed"), None, None);
}

#[test]
fn a_table_that_is_gone_is_named() {
    for table in ["aliases", "signed_up", "_rejects", "_loads"] {
        let harmed = harmed();
        fs::remove_dir_all(harmed.lake().join(SCHEMA).join(table)).expect("the table is there");
        harmed.found().names(Check::TableMissing, Some(table), None, None);
    }
}

#[test]
fn a_table_that_cannot_be_read_is_not_passed_over() {
    let harmed = harmed();
    fs::write(harmed.table("groups").commit(0), "no JSON\n").expect("the commit can be written");
    harmed.table("pages").change(0, |actions| {
        let add = actions.iter_mut().find(|action| action.get("add").is_some()).expect("a file is added");
        let vector = json!({ "storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
            "sizeInBytes": 40, "cardinality": 6 });
        add["add"]["deletionVector"] = vector;
        for action in actions.iter_mut().filter(|action| action.get("protocol").is_some()) {
            let features = json!(["deletionVectors"]);
            action["protocol"] = json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features,
                "writerFeatures": features });
        }
    });
    let found = harmed.found();
    found.names(Check::NotProved, Some("groups"), None, None);
    found.names(Check::NotProved, Some("pages"), None, None).only(&[Check::NotProved]);
}
