//! Rows of event tables, of `_rejects` and of `_loads` that were lost, moved or changed; uploads that say otherwise.

use std::fs;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch};
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;
use inlet_core::verify::Check;

use super::{Found, assert_proved, harmed, proof, rows_of};
use crate::corrupt::{Victim, file_of, rows, texts, with};
use crate::events::{calls, lines, track};
use crate::support::{Chance, Room, SCHEMA, assert_landed, land, settings};

/// Whether a row of `_loads` is this upload's row for this table (none: its own).
fn is_load(batch: &RecordBatch, row: usize, upload: &Upload, table: Option<&str>) -> bool {
    let text = |name: &str| {
        let texts = batch.column_by_name(name).expect("a column of `_loads`").as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    text("upload_id") == Some(upload.id.to_string()) && text("table_name").as_deref() == table
}

/// Adds to a count in a row of `_loads`.
fn add_to(batch: &RecordBatch, column: &str, upload: &Upload, table: Option<&str>, more: i64) -> RecordBatch {
    let at = batch.schema().index_of(column).expect("a column of `_loads`");
    let old = batch.column(at).as_primitive::<Int64Type>();
    let new: Int64Array = (0..old.len())
        .map(|row| {
            let is_it = is_load(batch, row, upload, table);
            old.is_valid(row).then(|| old.value(row) + if is_it { more } else { 0 })
        })
        .collect();
    with(batch, at, Arc::new(new))
}

#[test]
fn rows_of_the_ledger_that_are_gone_are_named() {
    let harmed = harmed();
    let (first, second) = (harmed.first, harmed.second);
    harmed.table("_loads").rewrite(|batch| {
        let is_gone = |row| is_load(&batch, row, first, Some("pages")) || is_load(&batch, row, second, None);
        rows(&batch, |row| !is_gone(row))
    });
    let found = harmed.found();
    found.names(Check::Rows, Some("pages"), Some(first), Some((0, rows_of(&harmed.lake(), "pages", first))));
    found.names(Check::Ledger, None, Some(second), Some((1, 0)));
    // The row of a table where all was opted out has no rows to miss.
    let room = Room::new();
    let out = r#"{"integrations":{"Warehouses":{"all":false}},"#;
    let upload = room.upload("out.ndjson", &lines(&[track("o", "Opted Out", "{}").replacen('{', out, 1)]));
    assert_landed(&room.land(vec![upload.clone()]));
    let loads = Victim::of(&room.lake(), SCHEMA, "_loads");
    loads.rewrite(|batch| rows(&batch, |row| !is_load(&batch, row, &upload, Some("opted_out"))));
    Found(proof(&room.lake(), &[])).names(Check::Ledger, None, Some(&upload), Some((1, 0)));
}

#[test]
fn an_upload_that_the_ledger_forgot_is_named() {
    let harmed = harmed();
    let id = harmed.second.id.to_string();
    harmed.table("_loads").rewrite(|batch| {
        let ids = batch.column_by_name("upload_id").expect("the column is there").as_string::<i32>();
        rows(&batch, |row| ids.value(row) != id)
    });
    let found = harmed.found_with_uploads();
    let there = rows_of(&harmed.lake(), "tracks", harmed.second);
    found.names(Check::UnknownUpload, Some("tracks"), Some(harmed.second), Some((0, there)));
    found.names(Check::TxnWithoutRows, Some("_loads"), Some(harmed.second), None);
    found.names(Check::NotLanded, None, Some(harmed.second), None);
}

#[test]
fn counts_of_the_ledger_that_were_changed_are_named() {
    let harmed = harmed();
    let (first, second) = (harmed.first, harmed.second);
    harmed.table("_loads").rewrite(|batch| {
        let batch = add_to(&batch, "duplicates", first, None, 1);
        let batch = add_to(&batch, "rows", second, Some("tracks"), -1);
        add_to(&batch, "events", second, Some("tracks"), -1)
    });
    let found = harmed.found_with_uploads();
    found.names(Check::Equation, None, Some(first), Some((66, 67)));
    let there = rows_of(&harmed.lake(), "tracks", second);
    found.names(Check::Rows, Some("tracks"), Some(second), Some((there - 1, there)));
    found.names(Check::Ledger, None, Some(second), Some((40, 39)));
}

#[test]
fn a_rescued_value_that_was_dropped_is_named() {
    let harmed = harmed();
    harmed
        .table("searched")
        .rewrite(|batch| texts(&batch, "_rescued_data", |_, text| Some(text?.replace(r#","userId":"theirs""#, ""))));
    let found = harmed.found();
    found.names(Check::Rescued, Some("searched"), Some(harmed.first), Some((2, 1))).only(&[Check::Rescued]);
}

#[test]
fn a_rejection_that_is_gone_or_doubled_is_named() {
    let harmed = harmed();
    harmed.table("_rejects").rewrite(|batch| rows(&batch, |row| row > 0));
    let found = harmed.found();
    found.names(Check::Rejected, Some("_rejects"), Some(harmed.first), Some((2, 1))).only(&[Check::Rejected]);
    // One is gone and the other stands there twice: as many, and still not the same.
    let table = harmed.table("_rejects");
    let file = file_of(table.adds().last().expect("it has a file")).to_owned();
    fs::copy(table.path(&file), table.path("copy.parquet")).expect("a file can be copied");
    table.push(&[table.add("copy.parquet", 1)]);
    harmed.found().names(Check::DoubledId, Some("_rejects"), Some(harmed.first), Some((0, 1)));
}

#[test]
fn rows_that_changed_hands_are_named() {
    let harmed = harmed();
    let (first, second) = (harmed.first.id.to_string(), harmed.second.id.to_string());
    let mut moved = 0;
    harmed.table("screens").rewrite(|batch| {
        let ids = batch.column_by_name("_upload_id").expect("the column is there").as_string::<i32>();
        moved += ids.iter().filter(|id| *id == Some(&first)).count() as i64;
        texts(&batch, "_upload_id", |_, id| Some(if id == Some(&first) { second.clone() } else { id?.to_owned() }))
    });
    let found = harmed.found_with_uploads();
    found.names(Check::Rows, Some("screens"), Some(harmed.first), Some((moved, 0)));
    found.names(Check::RowMissing, Some("screens"), Some(harmed.first), Some((moved, 0)));
    found.names(Check::RowExtra, Some("screens"), Some(harmed.second), Some((0, moved)));
}

#[test]
fn rows_of_nobody_are_named() {
    let harmed = harmed();
    harmed
        .table("aliases")
        .rewrite(|batch| texts(&batch, "_upload_id", |row, id| id.filter(|_| row > 0).map(str::to_owned)));
    harmed.table("groups").rewrite(|batch| texts(&batch, "id", |row, id| id.filter(|_| row > 0).map(str::to_owned)));
    harmed.table("screens").rewrite(|batch| texts(&batch, "_upload_id", |_, _| Some("somebody".to_owned())));
    let found = harmed.found();
    found.names(Check::NoUpload, Some("aliases"), None, None);
    found.names(Check::NoId, Some("groups"), None, None);
    found.names(Check::UnknownUpload, Some("screens"), None, None);
}

#[test]
fn an_id_that_was_changed_is_named() {
    let harmed = harmed();
    let (mut lost, mut first) = (None, true);
    harmed.table("signed_up").rewrite(|batch| {
        let changed =
            texts(
                &batch,
                "id",
                |row, id| if row == 0 && first { Some("changed".to_owned()) } else { id.map(str::to_owned) },
            );
        if std::mem::take(&mut first) {
            lost =
                Some(batch.column_by_name("id").expect("the column is there").as_string::<i32>().value(0).to_owned());
        }
        changed
    });
    harmed.found().names(Check::TrackWithoutEvent, Some("signed_up"), None, None).only(&[Check::TrackWithoutEvent]);
    let found = harmed.found_with_uploads();
    let lost = lost.expect("a row was changed");
    let message = |check| {
        let one = found.0.differences.iter().find(|difference| difference.check == check);
        one.unwrap_or_else(|| panic!("no {check:?} in {:#?}", found.0.differences)).message.clone()
    };
    assert!(message(Check::RowMissing).contains(&format!("`{lost}`")), "{}", message(Check::RowMissing));
    assert!(message(Check::RowExtra).contains("`changed`"), "{}", message(Check::RowExtra));
}

#[test]
fn a_value_that_was_changed_is_named() {
    let harmed = harmed();
    harmed.table("pages").rewrite(|batch| texts(&batch, "name", |row, name| Some(format!("{}{row}", name?))));
    harmed.table("_rejects").rewrite(|batch| texts(&batch, "reason", |_, _| Some("unknown_type".to_owned())));
    // The rows are there, each once: only the uploads know what they said.
    assert_proved("without uploads", &proof(&harmed.lake(), &[]));
    let found = harmed.found_with_uploads();
    found.names(Check::Value, Some("pages"), Some(harmed.second), None);
    found.names(Check::Value, Some("_rejects"), Some(harmed.first), Some((0, 2))).only(&[Check::Value]);
    assert!(found.0.differences.iter().any(|difference| difference.message.contains("columns `name`")));
}

#[test]
fn a_rescued_value_that_was_swapped_is_named() {
    let harmed = harmed();
    harmed
        .table("searched")
        .rewrite(|batch| texts(&batch, "_rescued_data", |_, text| Some(text?.replace(r#""mine""#, r#""yours""#))));
    harmed.found_with_uploads().names(Check::Value, Some("searched"), Some(harmed.first), Some((0, 1)));
}

#[test]
fn uploads_that_did_not_land_or_changed_are_named() {
    let harmed = harmed();
    let never = harmed.room.upload("never.ndjson", &lines(&calls(&mut Chance::of(83), "n", 3)));
    let overwritten = Upload { key: harmed.first.key.clone(), ..never.clone() };
    let found = Found(proof(&harmed.lake(), &[never.clone(), overwritten]));
    found.names(Check::NotLanded, None, Some(&never), None).only(&[Check::NotLanded]);
    let messages: Vec<&str> = found.0.differences.iter().map(|difference| difference.message.as_str()).collect();
    assert!(!messages[0].contains("other bytes") && messages[1].contains(&harmed.first.id.to_string()), "{messages:?}");
}

#[test]
fn a_landing_that_judged_otherwise_is_named() {
    let room = Room::new();
    let listed = track("listed", "Searched", "{}").replacen(
        '{',
        r#"{"integrations":{"Warehouses":{"warehouseIds":["us"]}},"#,
        1,
    );
    let upload = room.upload("one.ndjson", &lines(&[listed, track("other", "Searched", "{}")]));
    let ours = Settings { warehouse_id: Some("us".to_owned()), ..settings() };
    assert_landed(&land(&room.lake(), &ours, vec![upload.clone()]));
    let found = Found(proof(&room.lake(), std::slice::from_ref(&upload)));
    found.names(Check::ReadFiltered, None, Some(&upload), Some((0, 1)));
    found.names(Check::RowExtra, Some("tracks"), Some(&upload), Some((0, 1)));
}
