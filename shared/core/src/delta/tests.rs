//! Tables, files and reading: what is written stands there, by name, and comes back.

use std::time::Duration;

use inlet_events::{ColumnType, KnownType};
use serde_json::Value;

use super::testing::*;
use super::*;
use crate::fault::FaultKind;
use crate::ledger::LOADS;

#[test]
fn a_table_is_created_with_its_first_data_in_one_commit() {
    let test = TestLake::new();
    let mut table = test.open("tracks");
    assert!(table.is_none());
    let first = batch(&[
        ("id", strings(&["a", "b"])),
        ("event", strings(&["x", "y"])),
        ("received_at", times(&[1_700_000_000_000_123, 1_700_000_000_000_999])),
        ("ok", booleans(&[true, false])),
        ("n", numbers(&[1, 2])),
        ("x", doubles(&[0.5, 1.5])),
    ]);
    let done = test.append("tracks", &mut table, "inlet/1", &first).unwrap();
    assert_eq!(done, Appended::Committed { version: 0 });
    let table = table.unwrap();
    assert_eq!((table.version(), table.has("inlet/1"), table.has("inlet/2")), (0, true, false));
    assert_eq!(table.id_retention(), Some(Duration::from_secs(30 * 24 * 60 * 60)));
    let n = Column { name: "n".into(), column_type: KnownType::Ours(ColumnType::BigInt), nullable: true };
    assert_eq!(table.columns()[4], n);
    assert_eq!(
        test.rows(&table, &["id", "event", "received_at", "ok", "n", "x"]),
        ["a|x|1700000000000123|true|1|0.5", "b|y|1700000000000999|false|2|1.5"]
    );
    assert_eq!(test.lake.tables(SCHEMA).unwrap(), ["tracks"]);
    assert_eq!(test.lake.tables("nothing").unwrap(), [""; 0]);
    assert_eq!(test.lake.schemas().unwrap(), [SCHEMA]);

    let log = test.log("tracks", 0);
    let add = log.iter().find_map(|action| action.get("add")).unwrap();
    let statistics: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    assert_eq!(statistics["numRecords"], 2);
    assert_eq!(statistics["minValues"]["event"], "x");
    assert_eq!(statistics["maxValues"]["event"], "y");
    assert!(statistics["minValues"].get("id").is_none(), "statistics are kept on five columns alone: {statistics}");
    let properties = &log.iter().find_map(|action| action.get("metaData")).unwrap()["configuration"];
    assert_eq!(properties["delta.setTransactionRetentionDuration"], "interval 30 days");
    assert_eq!(properties["delta.dataSkippingStatsColumns"], "received_at,event");
    assert_eq!(log[0]["commitInfo"]["engineInfo"], ENGINE_INFO);
    let reopened = test.open("tracks").unwrap();
    assert!(reopened.has("inlet/1"));
    assert_eq!(reopened.id_retention(), Some(Duration::from_secs(30 * 24 * 60 * 60)));
}

#[test]
fn loads_keeps_its_ids_longer_than_other_tables() {
    let test = TestLake::new();
    let mut table = None;
    test.append(LOADS, &mut table, "1", &batch(&[("upload", strings(&["a"]))])).unwrap();
    assert_eq!(table.unwrap().id_retention(), Some(Duration::from_secs(26 * 7 * 24 * 60 * 60)));
}

#[test]
fn a_batch_is_matched_by_name_and_never_by_place() {
    let test = TestLake::new();
    let mut table = None;
    test.append("t", &mut table, "1", &batch(&[("a", strings(&["a1"])), ("b", strings(&["b1"]))])).unwrap();
    test.append("t", &mut table, "2", &batch(&[("b", strings(&["b2"])), ("a", strings(&["a2"]))])).unwrap();
    test.append("t", &mut table, "3", &batch(&[("b", strings(&["b3"]))])).unwrap();
    let table = table.unwrap();
    assert_eq!(test.rows(&table, &["a", "b"]), ["-|b3", "a1|b1", "a2|b2"]);
    let layout = FileLayout::of_existing(&test.lake, &table, &[]).unwrap();
    let mut writer = FileWriter::create(&test.lake, layout).unwrap();
    let unknown = write(&mut writer, &batch(&[("c", strings(&["c"]))])).unwrap_err();
    assert_eq!(unknown.kind(), FaultKind::Bug);
    let wrong_type = write(&mut writer, &batch(&[("a", numbers(&[1]))])).unwrap_err();
    assert_eq!(wrong_type.kind(), FaultKind::Bug);
    assert_eq!(writer.finish().unwrap_err().kind(), FaultKind::Bug);
}

#[test]
fn an_append_is_blind_unless_it_changes_the_schema() {
    let test = TestLake::new();
    let mut table = None;
    test.append("t", &mut table, "1", &batch(&[("a", strings(&["a1"]))])).unwrap();
    test.append("t", &mut table, "2", &batch(&[("a", strings(&["a2"]))])).unwrap();
    test.append("t", &mut table, "3", &batch(&[("a", strings(&["a3"])), ("n", numbers(&[3]))])).unwrap();
    let ids_alone = Append { app_ids: vec!["4".into()], ..Append::default() };
    let done = commit(&test.lake, SCHEMA, "t", &mut table, &[], &ids_alone, soon()).unwrap();
    assert_eq!(done, Appended::Committed { version: 3 });
    let blind = |version| {
        let info = test.log("t", version).into_iter().find_map(|action| action.get("commitInfo").cloned()).unwrap();
        info.get("isBlindAppend").and_then(Value::as_bool)
    };
    assert_eq!((1..4).map(blind).collect::<Vec<_>>(), [Some(true), None, None]);
    let table = table.unwrap();
    assert_eq!(table.columns().len(), 2);
    assert_eq!(test.rows(&table, &["a", "n"]), ["a1|-", "a2|-", "a3|3"]);
    assert!(!test.path("t").join("_delta_log").join(format!("{:020}.crc", 0)).exists());
}

#[test]
fn a_warm_table_learns_new_ids_and_columns_by_refresh() {
    let test = TestLake::new();
    let mut ours = None;
    test.append("t", &mut ours, "1", &batch(&[("a", strings(&["a1"]))])).unwrap();
    let mut theirs = test.open("t");
    test.append("t", &mut theirs, "2", &batch(&[("b", strings(&["b2"]))])).unwrap();
    test.append("t", &mut theirs, "3", &batch(&[("b", strings(&["b3"]))])).unwrap();
    let mut ours = ours.unwrap();
    assert!(!ours.has("3"));
    assert!(ours.refresh().unwrap());
    assert!(ours.has("1") && ours.has("2") && ours.has("3") && !ours.has("4"));
    assert_eq!((ours.version(), ours.columns().len()), (2, 2));
    assert!(!ours.refresh().unwrap());
}

#[test]
fn reading_keeps_exactly_the_rows_asked_for_within_its_bound() {
    let test = TestLake::new();
    let mut table = None;
    for (id, user) in [("1", ["u1", "u2"]), ("2", ["u2", "u3"]), ("3", ["u8", "u9"])] {
        let rows = batch(&[("user_id", strings(&user)), ("id", strings(&[&format!("{id}a"), &format!("{id}b")]))]);
        test.append("t", &mut table, id, &rows).unwrap();
    }
    let table = table.unwrap();
    let read = |only: &[&str], max_files| {
        let only: Vec<String> = only.iter().map(|value| (*value).to_owned()).collect();
        let mut rows = Vec::new();
        let mut each = |batch: &arrow_array::RecordBatch| {
            assert_eq!(batch.num_columns(), 1);
            rows.extend(
                arrow_array::cast::AsArray::as_string::<i32>(batch.column(0)).iter().map(|id| id.unwrap().to_owned()),
            );
            Ok(())
        };
        table.read(&["id"], Some(("user_id", &only)), &mut each, max_files).map(|()| {
            rows.sort_unstable();
            rows
        })
    };
    assert_eq!(read(&["u2"], 2).unwrap(), ["1b", "2a"]);
    assert_eq!(read(&["u9", "u1"], 2).unwrap(), ["1a", "3b"]);
    assert_eq!(read(&["u5"], 0).unwrap(), [""; 0], "no file can hold it");
    let too_many = read(&["u2", "u8"], 2).unwrap_err();
    assert_eq!(too_many.kind(), FaultKind::Setup);
    assert!(too_many.to_string().starts_with("3 files"), "{too_many}");
    let many: Vec<String> = (0..200).map(|n| format!("u2{n:03}")).chain(["u8".to_owned()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(read(&many, 3).unwrap(), ["3a"]);
}

#[test]
fn a_large_file_goes_up_in_parts_and_comes_back_whole() {
    let test = TestLake::new();
    let columns = named(&[("id", ColumnType::String), ("n", ColumnType::BigInt)]);
    let layout = FileLayout::of_new(&test.lake, SCHEMA, "t", &columns).unwrap();
    let mut writer = FileWriter::create(&test.lake, layout).unwrap();
    let mut seed = 1u64;
    let mut most_buffered = 0;
    for round in 0..30 {
        let ids: Vec<String> = (0..20_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{seed:016x}{:016x}", seed.rotate_left(17))
            })
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        write(&mut writer, &batch(&[("id", strings(&ids)), ("n", numbers(&[round; 20_000]))])).unwrap();
        most_buffered = most_buffered.max(writer.buffered_bytes());
    }
    assert!(most_buffered < 40 * 1024 * 1024, "{most_buffered}");
    let files = [writer.finish().unwrap()];
    assert_eq!(files[0].rows(), 600_000);
    assert!(files[0].size() > upload_sink::PART_BYTES as u64, "{}", files[0].size());
    assert_eq!(std::fs::metadata(test.path("t").join(files[0].path())).unwrap().len(), files[0].size());
    let append = Append { app_ids: vec!["1".into()], files: &files, ..Append::default() };
    let mut table = None;
    commit(&test.lake, SCHEMA, "t", &mut table, &columns, &append, soon()).unwrap();
    let mut sum = 0;
    let mut each = |batch: &arrow_array::RecordBatch| {
        let numbers = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(batch.column(0));
        sum += numbers.values().iter().sum::<i64>();
        Ok(())
    };
    table.unwrap().read(&["n"], None, &mut each, 1).unwrap();
    assert_eq!(sum, (0..30).sum::<i64>() * 20_000);
}

#[test]
fn files_without_a_commit_leave_nothing_behind() {
    let test = TestLake::new();
    let rows = batch(&[("a", strings(&["a"]))]);
    let file = test.file("t", None, &columns_of(&rows), &rows);
    let on_disk = test.path("t").join(file.path());
    assert!(on_disk.exists());
    assert!(test.open("t").is_none(), "a folder with data and no log is no table");
    delete_files(&test.lake, &[file]);
    assert!(!on_disk.exists());
    let layout = FileLayout::of_new(&test.lake, SCHEMA, "t", &columns_of(&rows)).unwrap();
    let mut writer = FileWriter::create(&test.lake, layout).unwrap();
    write(&mut writer, &rows).unwrap();
    writer.abort();
    assert_eq!(std::fs::read_dir(test.path("t")).unwrap().count(), 0);
}

#[test]
fn a_checkpoint_keeps_ids_and_expired_commits_go() {
    let test = TestLake::new();
    let mut table = None;
    for n in 0..105 {
        test.append("t", &mut table, &format!("id-{n}"), &batch(&[("n", numbers(&[n]))])).unwrap();
    }
    let mut table = table.unwrap();
    assert_eq!(tidy(&test.lake, &mut table, 1).unwrap().checkpoint, None, "no memory for it");
    let age = |from: u64, to: u64| {
        for entry in std::fs::read_dir(test.path("t").join("_delta_log")).unwrap() {
            let entry = entry.unwrap();
            let version = entry.file_name().to_str().unwrap().split('.').next().unwrap().parse::<u64>();
            if version.is_ok_and(|version| (from..=to).contains(&version)) {
                let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
                std::fs::File::options().append(true).open(entry.path()).unwrap().set_modified(old).unwrap();
            }
        }
    };
    let first = tidy(&test.lake, &mut table, 1 << 30).unwrap();
    assert_eq!((first.commits_behind, first.checkpoint, first.removed_log_files), (104, Some(104), 0));
    assert_eq!(tidy(&test.lake, &mut table, 1 << 30).unwrap().commits_behind, 0);
    let mut asleep = test.open("t").unwrap();
    let mut table = test.open("t");
    assert!((0..105).all(|n| table.as_ref().unwrap().has(&format!("id-{n}"))));
    for n in 105..210 {
        test.append("t", &mut table, &format!("id-{n}"), &batch(&[("n", numbers(&[n]))])).unwrap();
    }
    age(0, 150);
    let mut table = table.unwrap();
    let second = tidy(&test.lake, &mut table, 1 << 30).unwrap();
    assert_eq!((second.checkpoint, second.removed_log_files), (Some(209), 104), "0 … 103; the checkpoint at 104 stays");
    assert!(!test.path("t").join("_delta_log/00000000000000000103.json").exists());
    assert!(test.path("t").join("_delta_log/00000000000000000104.json").exists());
    assert!(test.path("t").join("_delta_log/00000000000000000104.checkpoint.parquet").exists());
    // Whoever slept through the clean-up finds the commits between gone, and no id missing.
    for version in 105..160 {
        std::fs::remove_file(test.path("t").join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    assert!(asleep.refresh().unwrap());
    assert!((0..210).all(|n| asleep.has(&format!("id-{n}"))) && asleep.version() == 209);
    let table = test.open("t").unwrap();
    assert!((0..210).all(|n| table.has(&format!("id-{n}"))) && !table.has("id-210"));
    assert_eq!(test.rows(&table, &["n"]).len(), 210);
}

#[test]
fn a_lake_that_cannot_be_one_is_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for url in ["ftp://host/lake/", "abfss://container/"] {
        let refused = Lake::open(&url::Url::parse(url).unwrap(), runtime.handle().clone()).unwrap_err();
        assert_eq!(refused.kind(), FaultKind::Setup, "{url}: {refused}");
        assert!(refused.hint_text().is_some());
    }
    for url in ["s3://bucket/lake", "abfss://container@account.dfs.core.windows.net/lake/"] {
        let lake = Lake::open(&url::Url::parse(url).unwrap(), runtime.handle().clone()).unwrap();
        assert!(lake.url().path().ends_with("/lake/"));
    }
    let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = url::Url::from_directory_path(folder.path()).unwrap();
    assert_eq!(Lake::open(&url, single.handle().clone()).unwrap_err().kind(), FaultKind::Bug);
    let spaced = url::Url::from_directory_path(folder.path().join("a lake")).unwrap();
    let lake = Lake::open(&spaced, runtime.handle().clone()).unwrap();
    assert!(folder.path().join("a lake").is_dir());
    assert_eq!(lake.schemas().unwrap(), [""; 0]);
}
