//! Another engine rewrites tables in between: rows move into other files, checkpoints come, and nothing of it is
//! landed again or lost.

use std::path::Path;
use std::sync::Arc;

use deltalake::kernel::Action;
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::protocol::DeltaOperation;
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use inlet_core::report::Status;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::events::{calls, lines, track};
use crate::lake;
use crate::support::{Chance, Room, SCHEMA, assert_landed, runtime, the_only};

/// Writes all rows of a table into one new file, in one commit that changes no data, as OPTIMIZE does.
fn compact(lake: &Path, name: &str) {
    let table = lake::open(lake, SCHEMA, name);
    let snapshot = table.snapshot().expect("an opened table has a snapshot");
    let mut writer = RecordBatchWriter::for_table(&table).expect("the table can be written");
    let schema = writer.arrow_schema();
    let mut actions = Vec::new();
    runtime().block_on(async {
        for file in snapshot.log_data().iter() {
            let path = lake.join(SCHEMA).join(name).join(file.path().as_ref());
            let file_reader = std::fs::File::open(path).expect("the file is there");
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(file_reader).expect("Parquet").build().expect("a reader");
            for batch in reader {
                let batch = batch.expect("the file can be read");
                // Files from before a column came lack it; the rewritten file has them all.
                let arrays = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
                    Some(array) => Arc::clone(array),
                    None => arrow_array::new_null_array(field.data_type(), batch.num_rows()),
                });
                let full = arrow_array::RecordBatch::try_new(Arc::clone(&schema), arrays.collect())
                    .expect("the table's columns");
                writer.write(full).await.expect("rows can be written");
            }
            actions.push(Action::Remove(file.remove_action(false)));
        }
        for mut add in writer.flush().await.expect("the file can be written") {
            add.data_change = false;
            actions.push(Action::Add(add));
        }
        CommitBuilder::default()
            .with_actions(actions)
            .build(
                Some(snapshot),
                table.log_store(),
                DeltaOperation::Optimize { predicate: None, target_size: 1 << 30 },
            )
            .await
            .expect("the commit lands");
    });
}

pub(crate) fn compact_all(lake: &Path) {
    for name in lake::tables(lake, SCHEMA) {
        let before = lake::read(lake, SCHEMA, &name);
        compact(lake, &name);
        let after = lake::read(lake, SCHEMA, &name);
        assert_eq!((after.version, after.files), (before.version + 1, 1), "{name}");
        lake::assert_same_rows(&name, &after.rows, &before.rows);
    }
}

#[test]
fn tables_that_another_engine_compacted_stay_right() {
    let room = Room::new();
    let mut chance = Chance::of(11);
    let mut first = calls(&mut chance, "first", 120);
    let one = || room.upload("one.ndjson", &lines(&first));
    let second = calls(&mut chance, "second", 80);
    let two = || room.upload("two.ndjson", &lines(&second));
    assert_landed(&room.land(vec![one()]));
    assert_landed(&room.land(vec![two()]));
    compact_all(&room.lake());
    let report = room.land(vec![one(), two()]);
    assert!(report.uploads.iter().all(|upload| upload.status == Status::AlreadyLanded), "{report:#?}");

    let mut third = calls(&mut chance, "third", 60);
    third.push(track("third-late", "Searched", r#"{"query":"q","late":true}"#));
    assert_landed(&room.land(vec![room.upload("three.ndjson", &lines(&third))]));
    compact_all(&room.lake());

    // A new form of the first upload: what it landed is found in the rewritten files.
    first.truncate(100);
    first.extend(calls(&mut chance, "newer", 11));
    let report = room.land(vec![room.upload("one.ndjson", &lines(&first))]);
    let counts = &the_only(&report).counts;
    assert_eq!((counts.landed, counts.duplicates), (11, 100), "{report:#?}");
    lake::assert_ledger(&room.lake(), SCHEMA);

    let clean = room.path("clean");
    let mut all = calls(&mut Chance::of(11), "first", 120);
    all.extend(second);
    all.extend(third);
    all.extend(first.split_off(100));
    let everything = room.upload("everything.ndjson", &lines(&all));
    assert_landed(&crate::support::land(&clean, &crate::support::settings(), vec![everything]));
    lake::assert_same_events("compacted", (&room.lake(), SCHEMA), (&clean, SCHEMA), &["uuid_ts", "_upload_id"]);
}

#[test]
fn a_checkpoint_of_another_engine_keeps_what_has_landed() {
    let room = Room::new();
    let mut chance = Chance::of(12);
    let mut uploads = Vec::new();
    for number in 0..4 {
        uploads.push(room.upload(&format!("{number}.ndjson"), &lines(&calls(&mut chance, &format!("c{number}"), 40))));
        assert_landed(&room.land(vec![uploads[number].clone()]));
    }
    for name in lake::tables(&room.lake(), SCHEMA) {
        let table = lake::open(&room.lake(), SCHEMA, &name);
        runtime().block_on(deltalake::checkpoints::create_checkpoint(&table, None)).expect("a checkpoint");
        // Only the checkpoint is left to know the past by.
        let version = table.version().expect("an opened table has a version");
        for gone in 0..version {
            let commit = room.lake().join(format!("{SCHEMA}/{name}/_delta_log/{gone:020}.json"));
            std::fs::remove_file(commit).expect("an old commit can be removed");
        }
    }
    let before = lake::read_events(&room.lake(), SCHEMA);
    let report = room.land(uploads);
    assert!(report.uploads.iter().all(|upload| upload.status == Status::AlreadyLanded), "{report:#?}");
    let late = room.upload("late.ndjson", &lines(&[track("late", "Searched", r#"{"query":"q","new":1}"#)]));
    assert_landed(&room.land(vec![late]));
    let after = lake::read_events(&room.lake(), SCHEMA);
    assert_eq!(after["tracks"].rows.len(), before["tracks"].rows.len() + 1);
    lake::assert_ledger(&room.lake(), SCHEMA);
}
