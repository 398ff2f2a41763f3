//! Which files go: those that nobody may name any more, of tables that are Inlet's, and no others.

use std::fs;
use std::path::{Path, PathBuf};

use inlet_core::maintain::Rules;

use super::{DAY, HOUR, ask_in, landed, maintained, of};
use crate::databricks_made as made;
use crate::lake;
use crate::support::{Room, SCHEMA, copy_folder, listing};

/// Files of a table that are rows, or look like it.
fn parquet(table: &Path) -> Vec<PathBuf> {
    let is_data =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "parquet") && !path.starts_with("_delta_log");
    listing(table).into_iter().map(|(path, _)| path).filter(is_data).collect()
}

#[test]
fn files_that_were_compacted_stay_for_readers_of_earlier_versions_and_go_after_a_week() {
    let room = Room::new();
    landed(&room, 4);
    let table = room.lake().join(SCHEMA).join("tracks");
    let before = lake::read(&room.lake(), SCHEMA, "tracks");
    maintained(&room.lake(), &ask_in(2 * HOUR));
    assert_eq!(parquet(&table).len(), 5, "the four, and what they became");
    assert_eq!(maintained(&room.lake(), &ask_in(6 * DAY)).tables.len(), 0);
    assert_eq!(parquet(&table).len(), 5);
    let report = maintained(&room.lake(), &ask_in(8 * DAY));
    assert_eq!(of(&report, "tracks").removed_files, 4, "{report:#?}");
    assert_eq!(parquet(&table).len(), 1);
    let after = lake::read(&room.lake(), SCHEMA, "tracks");
    lake::assert_same_rows("tracks", &after.rows, &before.rows);
    lake::assert_ledger(&room.lake(), SCHEMA);
}

#[test]
fn a_file_that_was_removed_lately_stays_however_old_it_is() {
    let room = Room::new();
    landed(&room, 3);
    let table = room.lake().join(SCHEMA).join("tracks");
    for path in parquet(&table) {
        crate::support::touch(&table.join(path), 1_000_000);
    }
    maintained(&room.lake(), &ask_in(2 * HOUR));
    assert_eq!(parquet(&table).len(), 4, "each is of 1970, and was removed just now");
}

#[test]
fn what_a_killed_run_left_goes_and_what_is_no_file_of_rows_stays() {
    let room = Room::new();
    landed(&room, 1);
    let table = room.lake().join(SCHEMA).join("tracks");
    let own = parquet(&table);
    let stray = |name: &str| {
        let path = table.join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
        fs::copy(table.join(&own[0]), path).expect("a file can be copied");
    };
    ["part-stray.zstd.parquet", "x7/stray.parquet"].into_iter().for_each(stray);
    let kept = ["_change_data/c.parquet", ".hidden/h.parquet", "notes.txt", "_delta_log/sidecars/s.parquet"];
    kept.into_iter().for_each(stray);
    assert_eq!(maintained(&room.lake(), &ask_in(6 * DAY)).tables.len(), 0);
    let report = maintained(&room.lake(), &ask_in(8 * DAY));
    assert_eq!(of(&report, "tracks").removed_files, 2, "{report:#?}");
    assert!(own.iter().all(|path| table.join(path).exists()));
    assert!(kept.iter().all(|name| table.join(name).exists()));
    assert!(!table.join("part-stray.zstd.parquet").exists() && !table.join("x7/stray.parquet").exists());
}

#[test]
fn a_table_that_inlet_did_not_make_is_not_touched() {
    let room = Room::new();
    landed(&room, 2);
    let theirs = room.lake().join(SCHEMA).join("theirs");
    copy_folder(&crate::support::tests_folder("fixtures/tables").join("external_by_warehouse"), &theirs);
    let log = theirs.join(format!("_delta_log/{:020}.json", 0));
    let text = fs::read_to_string(&log).expect("it is there").replace("_upload_id", "their_id");
    fs::write(log, text).expect("the log can be written");
    let stray = theirs.join("part-stray.parquet");
    fs::write(&stray, "of somebody else").expect("a file can be written");
    let before = listing(&theirs);
    let report = maintained(&room.lake(), &ask_in(8 * DAY));
    assert_eq!((report.others, report.looked_at), (1, lake::tables(&room.lake(), SCHEMA).len() as u64), "{report:#?}");
    assert_eq!(listing(&theirs), before);
    assert!(made::log(&theirs).len() == 1);
}

#[test]
fn a_longer_retention_of_the_table_is_kept() {
    let room = Room::new();
    landed(&room, 2);
    let table = room.lake().join(SCHEMA).join("tracks");
    let log = made::log(&table);
    let mut metadata = log.iter().flatten().find_map(|action| action.get("metaData")).expect("it is made").clone();
    metadata["configuration"]["delta.deletedFileRetentionDuration"] = "interval 30 days".into();
    made::commit(&table, &serde_json::json!({"metaData": metadata}).to_string());
    maintained(&room.lake(), &ask_in(2 * HOUR));
    maintained(&room.lake(), &ask_in(29 * DAY));
    assert_eq!(parquet(&table).len(), 3);
    maintained(&room.lake(), &ask_in(31 * DAY));
    assert_eq!(parquet(&table).len(), 1);
}

#[test]
fn files_beyond_the_bound_are_large_enough() {
    let room = Room::new();
    landed(&room, 4);
    let rules = Rules { small_file_bytes: 1, ..Rules::default() };
    let before = listing(&room.lake());
    let report = maintained(&room.lake(), &inlet_core::maintain::Ask { rules, ..ask_in(2 * HOUR) });
    assert_eq!((report.tables.len(), listing(&room.lake())), (0, before), "{report:#?}");
}
