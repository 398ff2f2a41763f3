//! Tables that Databricks made, with each feature that it gives or has given its tables (`tests/fixtures/tables`): what
//! of an upload they take, and in which words the others are refused.
//!
//! They are read back by the log's own JSON and the Parquet reader alone, since few of them can be read by `deltalake`
//! (`why_the_kernel`); where it can, it must see the same.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use inlet_core::fault::FaultKind;
use inlet_core::report::{FaultReport, Status};
use serde_json::Value as Json;

use crate::events::{lines, track};
use crate::lake::{self, Row, Table};
use crate::support::{Room, SCHEMA, assert_landed, copy_folder, listing, runtime, tests_folder};
use crate::verify::assert_proves_uploads;

/// The table that stands in the lake before anything lands.
const TABLE: &str = "order_completed";
/// Its name in SQL.
const SQL: &str = "`events`.`order_completed`";

/// What a table takes.
enum Takes {
    RowsAndColumns,
    /// Rows; new columns are refused in these words, with this way out.
    Rows(&'static str, String),
    /// Nothing: these words, this way out.
    Nothing(&'static str, String),
}

use Takes::{Nothing, Rows, RowsAndColumns};

fn cases() -> Vec<(&'static str, Takes)> {
    let alter = |what: &str| format!("run: ALTER TABLE {SQL} {what}");
    let fresh = |feature: &str| format!("no SQL drops {feature}: keep its rows by CREATE TABLE");
    let by_sql = || alter("ADD COLUMNS (`coupon` STRING, `items` BIGINT)");
    let checks = || alter("DROP FEATURE checkConstraints");
    let has = |what: &'static str, way_out: String| Nothing(what, way_out);
    vec![
        ("catalog_managed", has("catalogManaged", alter("DROP FEATURE catalogManaged"))),
        ("change_data_feed", RowsAndColumns),
        (
            "check_in_use",
            has(
                "it has the table feature checkConstraints",
                format!(
                    "{}; ALTER TABLE {SQL} DROP FEATURE checkConstraints",
                    alter("DROP CONSTRAINT `total_is_positive`")
                ),
            ),
        ),
        (
            "checkpoint_protection",
            has("checkpointProtection", alter("DROP FEATURE checkpointProtection TRUNCATE HISTORY")),
        ),
        ("checks_listed", has("it has the table feature checkConstraints", checks())),
        ("clustered", RowsAndColumns),
        ("clustered_with_ids_of_others", RowsAndColumns),
        ("collations", has("collations-preview", alter("DROP FEATURE collations-preview"))),
        ("column_mapping_id", RowsAndColumns),
        ("column_mapping_name", RowsAndColumns),
        ("conservative_properties", RowsAndColumns),
        ("default_in_use", has("column `total`", alter("ALTER COLUMN `total` DROP DEFAULT"))),
        ("defaults_listed", Rows("allowColumnDefaults", by_sql())),
        ("deletion_vectors_in_use", RowsAndColumns),
        ("external_by_warehouse", RowsAndColumns),
        ("generated_in_use", has("generatedColumns", fresh("generatedColumns"))),
        ("generated_listed", has("generatedColumns", fresh("generatedColumns"))),
        ("iceberg_compat_v2", Rows("icebergCompatV2", by_sql())),
        ("identity_in_use", has("identityColumns", fresh("identityColumns"))),
        ("identity_listed", has("identityColumns", fresh("identityColumns"))),
        ("in_commit_timestamps", RowsAndColumns),
        ("invariant_in_use", has("column `total` has an invariant", "no SQL drops it".to_owned())),
        ("legacy_1_2", RowsAndColumns),
        ("legacy_1_3", has("its old protocol implies checkConstraints", checks())),
        ("legacy_1_4", has("its old protocol implies checkConstraints, generatedColumns", fresh("generatedColumns"))),
        (
            "legacy_1_6",
            has(
                "its old protocol implies checkConstraints, generatedColumns, identityColumns",
                fresh("generatedColumns"),
            ),
        ),
        ("legacy_2_5", has("its old protocol implies checkConstraints, generatedColumns", fresh("generatedColumns"))),
        ("managed_of_an_old_schema", RowsAndColumns),
        ("managed_today_without_catalog_commits", RowsAndColumns),
        ("not_null", RowsAndColumns),
        ("not_null_date", has("column `day`", alter("ALTER COLUMN `day` DROP NOT NULL"))),
        ("not_null_order_id", RowsAndColumns),
        ("partitioned", has("is partitioned by day", "CLUSTER BY".to_owned())),
        ("row_tracking", RowsAndColumns),
        ("type_widening", RowsAndColumns),
        ("v2_checkpoint", RowsAndColumns),
        ("variant", RowsAndColumns),
    ]
}

/// Made tables that take rows.
pub(crate) fn open_to_rows() -> Vec<&'static str> {
    let takes_rows = |(name, takes): (&'static str, Takes)| (!matches!(takes, Nothing(..))).then_some(name);
    cases().into_iter().filter_map(takes_rows).collect()
}

/// The made tables' names.
pub(crate) fn names() -> BTreeSet<String> {
    let entries = fs::read_dir(tests_folder("fixtures/tables")).expect("the tables are there");
    entries.map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned()).collect()
}

/// Puts a made table into a lake; answers its folder.
pub(crate) fn stand(made: &str, lake: &Path) -> PathBuf {
    let folder = lake.join(SCHEMA).join(TABLE);
    copy_folder(&tests_folder("fixtures/tables").join(made), &folder);
    folder
}

pub(crate) fn order(id: &str, more: &str) -> String {
    track(id, "Order Completed", &format!(r#"{{"order_id":"o-{id}","total":1.5{more}}}"#))
}

/// One event for the made table and one for another.
fn rows_of(id: &str) -> Vec<u8> {
    lines(&[order(id, ""), track(&format!("{id}-other"), "Signed Up", "{}")])
}

/// The same with two columns that the made table lacks.
fn columns_of(id: &str) -> Vec<u8> {
    lines(&[order(id, r#","coupon":"c","items":3"#), track(&format!("{id}-other"), "Signed Up", "{}")])
}

/// All actions of a log, commit by commit.
pub(crate) fn log(table: &Path) -> Vec<Vec<Json>> {
    let commits = listing(&table.join("_delta_log"));
    let commits = commits.iter().filter(|(name, _)| name.extension().is_some_and(|extension| extension == "json"));
    let actions = |(name, _): &(PathBuf, u64)| {
        let text = fs::read_to_string(table.join("_delta_log").join(name)).expect("a commit can be read");
        text.lines().map(|line| serde_json::from_str(line).expect("an action is JSON")).collect()
    };
    commits.map(actions).collect()
}

/// Commits actions, a line each, as somebody else does.
pub(crate) fn commit(table: &Path, actions: &str) {
    let next = log(table).len();
    fs::write(table.join(format!("_delta_log/{next:020}.json")), actions).expect("the log can be written");
}

/// The last action of a kind.
fn last<'a>(log: &'a [Vec<Json>], kind: &str) -> &'a Json {
    let found = log.iter().flatten().filter_map(|action| action.get(kind)).next_back();
    found.unwrap_or_else(|| panic!("the log has no {kind}"))
}

/// The rows of the files that were added since version 0 and not removed, as the schema of the log names their columns.
pub(crate) fn read(table: &Path, log: &[Vec<Json>]) -> Table {
    let schema = last(log, "metaData")["schemaString"].as_str().expect("a schema");
    let schema: Json = serde_json::from_str(schema).expect("a schema is JSON");
    let fields = schema["fields"].as_array().expect("a list of fields");
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let named = |field: &Json| (text(&field["name"]), lake::type_of(&text(&field["type"])));
    // In the files columns have their physical names, where the table maps them.
    let physical = |field: &Json| match &field["metadata"]["delta.columnMapping.physicalName"] {
        Json::String(name) => (name.clone(), named(field).1),
        _ => named(field),
    };
    let physical: Vec<_> = fields.iter().map(physical).collect();
    let logical: BTreeMap<_, _> =
        physical.iter().map(|(name, _)| name).zip(fields.iter().map(|f| named(f).0)).collect();
    let of_kind = |kind: &'static str| log[1..].iter().flatten().filter_map(move |action| action.get(kind));
    let removed: HashSet<&Json> = of_kind("remove").map(|action| &action["path"]).collect();
    let adds: Vec<&Json> = of_kind("add").filter(|action| !removed.contains(&action["path"])).collect();
    let mut rows: Vec<Row> = Vec::new();
    for add in &adds {
        let path = table.join(add["path"].as_str().expect("a path"));
        let before = rows.len();
        lake::read_parquet(File::open(path).expect("the file is there"), &physical, &mut rows);
        let statistics: Json = serde_json::from_str(add["stats"].as_str().expect("statistics")).expect("JSON");
        assert_eq!(statistics["numRecords"], rows.len() - before, "{add}");
    }
    let renamed = |row: Row| row.into_iter().map(|(name, value)| (logical[&name].clone(), value)).collect();
    Table {
        version: log.len() as u64 - 1,
        columns: fields.iter().map(named).collect(),
        rows: rows.into_iter().map(renamed).collect(),
        files: adds.len(),
    }
}

#[test]
fn each_made_table_is_tried() {
    assert_eq!(cases().iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>(), names());
}

#[test]
fn what_a_made_table_can_take_lands_in_it_once() {
    for (name, takes) in cases() {
        if matches!(takes, Nothing(..)) {
            continue;
        }
        let room = Room::new();
        let table = stand(name, &room.lake());
        let made = log(&table);
        let first = || room.upload("first.ndjson", &rows_of("first"));
        assert_landed(&room.land(vec![first()]));
        let mut ids = vec!["first"];
        let second = || room.upload("second.ndjson", &columns_of("second"));
        let report = room.land(vec![second()]);
        match takes {
            Rows(says, way_out) => {
                assert_refused(name, report.uploads[0].fault.as_ref(), says, &way_out);
                // What the table takes lands on.
                assert_landed(&room.land(vec![room.upload("third.ndjson", &rows_of("third"))]));
                ids.push("third");
            }
            _ => {
                assert_landed(&report);
                ids.push("second");
                assert_eq!(room.land(vec![second()]).uploads[0].status, Status::AlreadyLanded, "{name}");
            }
        }
        assert_eq!(room.land(vec![first()]).uploads[0].status, Status::AlreadyLanded, "{name}");

        let log = log(&table);
        assert_eq!(&log[..made.len()], &made[..], "{name}: what stood there stands there");
        assert!(log.iter().flatten().all(|action| action.get("remove").is_none()), "{name}");
        assert_eq!(last(&log, "protocol"), last(&made, "protocol"), "{name}");
        let rows = read(&table, &log);
        assert_eq!(rows.texts("id"), ids, "{name}");
        assert_eq!(rows.row("first")["total"], lake::Value::Double(1.5_f64.to_bits()), "{name}");
        assert_eq!(rows.row("first")["order_id"].text(), "o-first", "{name}");
        if ids.contains(&"second") {
            assert_eq!(rows.row("second")["coupon"].text(), "c", "{name}");
            assert_eq!(rows.row("second")["items"].number(), 3, "{name}");
        }
        let opened = url::Url::from_directory_path(&table).expect("a path is a URL");
        runtime().block_on(deltalake::open_table(opened)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let is_mapped = last(&log, "metaData")["configuration"]["delta.columnMapping.mode"].as_str() == Some("name")
            || name == "column_mapping_id";
        // The second implementation leaves names mapped and deleted rows in place.
        if !is_mapped && name != "deletion_vectors_in_use" {
            let theirs = lake::read(&room.lake(), SCHEMA, TABLE);
            assert_eq!(theirs.columns, rows.columns, "{name}");
            lake::assert_same_rows(name, &rows.rows, &theirs.rows);
            lake::assert_ledger(&room.lake(), SCHEMA);
        }
    }
}

#[test]
fn a_made_table_that_can_take_nothing_is_refused_by_name_with_the_way_out() {
    for (name, takes) in cases() {
        let Nothing(says, way_out) = takes else { continue };
        let room = Room::new();
        let table = stand(name, &room.lake());
        let made = listing(&table);
        let uploads = vec![
            room.upload("a.ndjson", &rows_of("a")),
            room.upload("b.ndjson", &lines(&[track("b", "Signed Up", "{}")])),
            room.upload("c.ndjson", &rows_of("c")),
        ];
        let report = room.land(uploads);
        for upload in &report.uploads {
            let is_free = upload.upload.ends_with("b.ndjson");
            let wanted = if is_free { Status::Landed } else { Status::Failed };
            assert_eq!(upload.status, wanted, "{name}: {upload:#?}");
            if !is_free {
                assert_refused(name, upload.fault.as_ref(), says, &way_out);
                assert_eq!(
                    (upload.counts.events, upload.tables.len()),
                    (0, 0),
                    "{name}: nothing of it is acknowledged"
                );
            }
        }
        assert_eq!(listing(&table), made, "{name}: nothing was written there");
        // Only the upload that needs nothing of the table stands anywhere, and nothing says that the others are done.
        for other in ["tracks", "signed_up"] {
            assert_eq!(lake::read(&room.lake(), SCHEMA, other).texts("id"), ["b"], "{name}: {other}");
        }
        let loads = lake::read(&room.lake(), SCHEMA, "_loads");
        assert!(loads.texts("upload").iter().all(|upload| upload.ends_with("b.ndjson")), "{name}");
    }
}

#[test]
fn uploads_that_a_table_refused_land_whole_when_it_was_mended() {
    let room = Room::new();
    let table = stand("legacy_1_3", &room.lake());
    let upload = || room.upload("a.ndjson", &rows_of("a"));
    assert_eq!(room.land(vec![upload()]).uploads[0].status, Status::Failed);
    // As Delta commits DROP FEATURE checkConstraints.
    let dropped = "{\"commitInfo\":{\"timestamp\":1773446500000,\"operation\":\"DROP FEATURE\",\"operationParameters\":\
                   {\"featureName\":\"checkConstraints\",\"truncateHistory\":false}}}\n\
                   {\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n";
    fs::write(table.join(format!("_delta_log/{:020}.json", 1)), dropped).expect("the log can be written");
    let report = room.land(vec![upload()]);
    assert_landed(&report);
    assert_eq!(lake::read(&room.lake(), SCHEMA, TABLE).texts("id"), ["a"]);
    assert_eq!(lake::read(&room.lake(), SCHEMA, "tracks").texts("id"), ["a", "a-other"]);
    lake::assert_ledger(&room.lake(), SCHEMA);
}

fn assert_refused(name: &str, fault: Option<&FaultReport>, says: &str, way_out: &str) {
    let fault = fault.unwrap_or_else(|| panic!("{name} was not refused"));
    assert_eq!(fault.kind, FaultKind::Setup, "{name}: {fault:?}");
    assert!(fault.message.contains("`events.order_completed`"), "{name}: {}", fault.message);
    assert!(fault.message.contains(says), "{name}: {}", fault.message);
    let hint = fault.hint.as_deref().unwrap_or_default();
    assert!(hint.contains(way_out), "{name}: {hint}");
}

#[test]
fn a_commit_keeps_what_a_feature_asks_of_writers() {
    let land = |name: &str| {
        let room = Room::new();
        let table = stand(name, &room.lake());
        assert_landed(&room.land(vec![room.upload("first.ndjson", &rows_of("first"))]));
        assert_landed(&room.land(vec![room.upload("second.ndjson", &columns_of("second"))]));
        log(&table)
    };
    let added = |log: &[Vec<Json>]| -> Vec<Json> {
        log.iter().flatten().filter_map(|action| action.get("add")).cloned().collect()
    };
    let statistics = |add: &Json| -> Json {
        serde_json::from_str(add["stats"].as_str().expect("statistics")).expect("statistics are JSON")
    };

    for name in ["row_tracking", "managed_of_an_old_schema", "managed_today_without_catalog_commits"] {
        let log = land(name);
        let row_ids: Vec<_> = added(&log).iter().map(|add| add["baseRowId"].as_i64()).collect();
        let versions: Vec<_> = added(&log).iter().map(|add| add["defaultRowCommitVersion"].as_i64()).collect();
        assert_eq!((row_ids, versions), (vec![Some(0), Some(1)], vec![Some(1), Some(2)]), "{name}");
        let mut domains = log.iter().flatten().filter_map(|action| action.get("domainMetadata"));
        let mark = domains.rfind(|domain| domain["domain"] == "delta.rowTracking").expect("a high-water mark");
        let mark: Json = serde_json::from_str(mark["configuration"].as_str().expect("text")).expect("JSON");
        assert_eq!(mark["rowIdHighWaterMark"], 1, "{name}");
    }

    for name in ["in_commit_timestamps", "managed_today_without_catalog_commits"] {
        let log = land(name);
        let times = log.iter().map(|commit| commit[0]["commitInfo"]["inCommitTimestamp"].as_i64().expect("a time"));
        assert!(times.is_sorted_by(|earlier, later| earlier < later), "{name}");
    }

    for (name, columns) in
        [("clustered", ["event", "received_at"]), ("clustered_with_ids_of_others", ["order_id", "id"])]
    {
        let log = land(name);
        for add in added(&log) {
            assert!(!statistics(&add)["minValues"][columns[0]].is_null(), "{name}: {add}");
            assert!(!statistics(&add)["maxValues"][columns[1]].is_null(), "{name}: {add}");
        }
    }
    let log = land("clustered_with_ids_of_others");
    let ids: Vec<_> = log.iter().flatten().filter_map(|action| action["txn"]["appId"].as_str()).collect();
    assert_eq!(ids.iter().filter(|id| id.starts_with("inlet/")).count(), 2, "{ids:?}");
    assert_eq!(ids.len(), 3, "the other writer's id stands there too: {ids:?}");

    for name in ["column_mapping_name", "column_mapping_id"] {
        let log = land(name);
        let metadata = last(&log, "metaData");
        assert_eq!(metadata["configuration"]["delta.columnMapping.maxColumnId"], "16", "{name}");
        let made: Json =
            serde_json::from_str(log[0][1]["metaData"]["schemaString"].as_str().expect("text")).expect("JSON");
        let now: Json = serde_json::from_str(metadata["schemaString"].as_str().expect("text")).expect("JSON");
        let (made, now) = (made["fields"].as_array().expect("fields"), now["fields"].as_array().expect("fields"));
        assert_eq!(&now[..made.len()], &made[..], "{name}: columns keep their ids and physical names");
        let ids: Vec<_> =
            now[made.len()..].iter().map(|field| field["metadata"]["delta.columnMapping.id"].as_i64()).collect();
        assert_eq!(ids, [Some(15), Some(16)], "{name}");
    }

    // An append is blind, so that a MERGE that runs meanwhile lands; with new columns it is none.
    let log = land("external_by_warehouse");
    let blind: Vec<_> = log[1..].iter().map(|commit| commit[0]["commitInfo"]["isBlindAppend"].as_bool()).collect();
    assert_eq!(blind, [Some(true), None]);
    let metadata = last(&log, "metaData");
    assert!(metadata["schemaString"].as_str().is_some_and(|schema| schema.contains("The shop's number")), "{metadata}");
    assert_eq!(metadata["configuration"], log[0][1]["metaData"]["configuration"]);
}

#[test]
fn an_event_without_a_column_that_must_not_be_null_is_rejected_and_all_others_land() {
    let room = Room::new();
    stand("not_null_order_id", &room.lake());
    let mixed = lines(&[
        order("a", ""),
        track("bare", "Order Completed", r#"{"total":1}"#),
        track("bare", "Order Completed", r#"{"total":1,"order_id":"o","coupon":"new"}"#),
        track("other", "Signed Up", "{}"),
    ]);
    let mixed = || room.upload("mixed.ndjson", &mixed);
    let all_bare = || room.upload("bare.ndjson", &lines(&[track("c", "Order Completed", r#"{"order_id":null}"#)]));
    let report = room.land(vec![mixed(), all_bare()]);
    assert_landed(&report);
    let counts = |upload: &inlet_core::report::UploadReport| (upload.counts.landed, upload.counts.rejected);
    let (bare, mixed_report) = (&report.uploads[0], &report.uploads[1]);
    assert_eq!((counts(mixed_report), counts(bare)), ((3, 1), (0, 1)));
    let lake = room.lake();
    assert_eq!(lake::read(&lake, SCHEMA, TABLE).texts("id"), ["a", "bare"]);
    assert_eq!(lake::read(&lake, SCHEMA, "tracks").texts("id"), ["a", "bare", "other"]);
    let rejects = lake::read(&lake, SCHEMA, "_rejects");
    assert_eq!(rejects.texts("reason"), ["not_null", "not_null"]);
    assert!(rejects.texts("raw").iter().any(|raw| raw.contains(r#"{"total":1}"#)), "{rejects:#?}");
    assert_proves_uploads(&lake, &[mixed(), all_bare()]);
    let again = room.land(vec![mixed(), all_bare()]);
    assert!(again.uploads.iter().all(|upload| upload.status == Status::AlreadyLanded), "{again:#?}");
}
