//! Tables that somebody else made: what the gate lets pass, what it refuses, and in which words.

use inlet_events::{ColumnType, KnownType};
use object_store::memory::InMemory;
use serde_json::Value;

use super::testing::*;
use super::*;
use crate::fault::FaultKind;

const PLAIN: &str = r#"{"type":"struct","fields":[
    {"name":"id","type":"string","nullable":true,"metadata":{}},
    {"name":"n","type":"long","nullable":true,"metadata":{}}]}"#;

fn features(reader: &[&str], writer: &[&str]) -> String {
    serde_json::json!({
        "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": reader, "writerFeatures": writer
    })
    .to_string()
}

fn two_rows() -> arrow_array::RecordBatch {
    batch(&[("n", numbers(&[1, 2])), ("id", strings(&["a", "b"]))])
}

fn wider_row() -> arrow_array::RecordBatch {
    batch(&[("id", strings(&["c"])), ("extra", strings(&["e"]))])
}

#[test]
fn a_table_as_databricks_creates_it_today_takes_rows_and_columns() {
    let test = TestLake::new();
    let writer = ["rowTracking", "domainMetadata", "inCommitTimestamp", "appendOnly", "invariants", "deletionVectors"];
    let configuration = r#"{"delta.enableRowTracking":"true","delta.enableInCommitTimestamps":"true",
        "delta.enableDeletionVectors":"true",
        "delta.rowTracking.materializedRowIdColumnName":"_row-id-col-1",
        "delta.rowTracking.materializedRowCommitVersionColumnName":"_row-commit-version-col-1"}"#;
    test.forge("t", &features(&["deletionVectors"], &writer), PLAIN, configuration, "");
    let mut table = test.open("t");
    table.as_ref().unwrap().may_append().unwrap();
    table.as_ref().unwrap().may_add_columns(&named(&[("extra", ColumnType::String)])).unwrap();
    assert_eq!(test.append("t", &mut table, "1", &two_rows()).unwrap(), Appended::Committed { version: 1 });
    assert_eq!(test.append("t", &mut table, "2", &wider_row()).unwrap(), Appended::Committed { version: 2 });
    let log = test.log("t", 1);
    assert!(log[0]["commitInfo"]["inCommitTimestamp"].is_i64(), "{}", log[0]);
    let add = log.iter().find_map(|action| action.get("add")).unwrap();
    assert_eq!(add["baseRowId"], 0);
    assert!(log.iter().any(|action| action["domainMetadata"]["domain"] == "delta.rowTracking"));
    assert_eq!(test.rows(table.as_ref().unwrap(), &["id", "n", "extra"]), ["a|1|-", "b|2|-", "c|-|e"]);
}

#[test]
fn a_table_that_maps_columns_takes_columns_first_and_then_rows() {
    let mapped = r#"{"type":"struct","fields":[
        {"name":"id","type":"string","nullable":true,"metadata":
            {"delta.columnMapping.id":1,"delta.columnMapping.physicalName":"col-1"}},
        {"name":"n","type":"long","nullable":true,"metadata":
            {"delta.columnMapping.id":2,"delta.columnMapping.physicalName":"col-2"}}]}"#;
    for mode in ["name", "id"] {
        let test = TestLake::new();
        let configuration = format!(r#"{{"delta.columnMapping.mode":"{mode}","delta.columnMapping.maxColumnId":"2"}}"#);
        test.forge("t", &features(&["columnMapping"], &["columnMapping"]), mapped, &configuration, "");
        let mut table = test.open("t").unwrap();
        assert!(table.needs_columns_first());
        let new = named(&[("extra", ColumnType::String)]);
        assert_eq!(FileLayout::of_existing(&test.lake, &table, &new).unwrap_err().kind(), FaultKind::Bug);
        test.tricks.play(Trick::LoseAnswer);
        assert_eq!(add_columns_only(&test.lake, &mut table, &new, soon()).unwrap(), 1);
        assert_eq!(add_columns_only(&test.lake, &mut table, &new, soon()).unwrap(), 1, "nothing left to add");
        let mut table = Some(table);
        test.append("t", &mut table, "1", &two_rows()).unwrap();
        test.append("t", &mut table, "2", &wider_row()).unwrap();
        let table = table.unwrap();
        assert_eq!(test.rows(&table, &["id", "n", "extra"]), ["a|1|-", "b|2|-", "c|-|e"], "{mode}");
        let add = test.log("t", 2).into_iter().find_map(|action| action.get("add").cloned()).unwrap();
        let statistics: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        assert_eq!(statistics["minValues"]["col-1"], "a");
        assert_eq!(statistics["maxValues"]["col-2"], 2);
    }
}

#[test]
fn a_clustered_table_gets_the_statistics_it_demands() {
    let test = TestLake::new();
    let domain = r#"{"domainMetadata":{"domain":"delta.clustering","configuration":"{\"clusteringColumns\":[[\"n\"]]}","removed":false}}"#;
    let configuration = r#"{"delta.dataSkippingStatsColumns":"id"}"#;
    test.forge("t", &features(&[], &["clustering", "domainMetadata"]), PLAIN, configuration, domain);
    let mut table = test.open("t");
    test.append("t", &mut table, "1", &two_rows()).unwrap();
    test.append("t", &mut table, "2", &wider_row()).unwrap();
    let add = test.log("t", 1).into_iter().find_map(|action| action.get("add").cloned()).unwrap();
    let statistics: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    assert_eq!((&statistics["minValues"]["n"], &statistics["maxValues"]["id"]), (&1.into(), &"b".into()));
}

#[test]
fn columns_of_foreign_types_stay_null() {
    let test = TestLake::new();
    let schema = r#"{"type":"struct","fields":[
        {"name":"d","type":"date","nullable":true,"metadata":{}},
        {"name":"p","type":"decimal(10,2)","nullable":true,"metadata":{}},
        {"name":"id","type":"string","nullable":false,"metadata":{}},
        {"name":"s","type":{"type":"struct","fields":[{"name":"x","type":"long","nullable":false,"metadata":{}}]},
            "nullable":true,"metadata":{}},
        {"name":"l","type":{"type":"array","elementType":"string","containsNull":true},"nullable":true,"metadata":{}},
        {"name":"n","type":"long","nullable":true,"metadata":{}}]}"#;
    test.forge("t", r#"{"minReaderVersion":1,"minWriterVersion":2}"#, schema, "{}", "");
    let mut table = test.open("t");
    let foreign = |name: &str| Column { name: name.into(), column_type: KnownType::Foreign, nullable: true };
    assert_eq!(table.as_ref().unwrap().columns()[0], foreign("d"));
    assert_eq!(table.as_ref().unwrap().columns()[3], foreign("s"));
    test.append("t", &mut table, "1", &two_rows()).unwrap();
    let table = table.unwrap();
    assert_eq!(test.rows(&table, &["id", "n"]), ["a|1", "b|2"]);
    let mut nulls = 0;
    let mut each = |batch: &arrow_array::RecordBatch| {
        nulls += batch.columns().iter().map(|column| column.null_count()).sum::<usize>();
        Ok(())
    };
    table.read(&["d", "p", "s", "l"], None, &mut each, 1).unwrap();
    assert_eq!(nulls, 8);

    let layout = FileLayout::of_existing(&test.lake, &table, &[]).unwrap();
    assert_eq!(
        layout.arrow_schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["id", "n"]
    );
    let mut writer = FileWriter::create(&test.lake, layout).unwrap();
    let null = write(&mut writer, &batch(&[("n", numbers(&[1]))])).unwrap_err();
    assert_eq!(null.kind(), FaultKind::Setup);
    assert!(null.to_string().contains("`id`"), "{null}");
    writer.abort();
}

#[test]
fn what_must_not_be_written_to_is_refused_by_name() {
    let with_default = PLAIN.replace(
        r#""n","type":"long","nullable":true,"metadata":{}"#,
        r#""n","type":"long","nullable":true,"metadata":{"CURRENT_DEFAULT":"1"}"#,
    );
    let with_invariant = PLAIN.replace(
        r#""n","type":"long","nullable":true,"metadata":{}"#,
        r#""n","type":"long","nullable":true,"metadata":{"delta.invariants":"{\"expression\":{\"expression\":\"n > 0\"}}"}"#,
    );
    let foreign_not_null = PLAIN.replace(r#""type":"long","nullable":true"#, r#""type":"date","nullable":false"#);
    let legacy = r#"{"minReaderVersion":1,"minWriterVersion":3}"#.to_owned();
    let plain = r#"{"minReaderVersion":1,"minWriterVersion":2}"#.to_owned();
    let iceberg = r#"{"delta.enableIcebergCompatV2":"true","delta.columnMapping.mode":"name","delta.columnMapping.maxColumnId":"2"}"#;
    let mapped = PLAIN
        .replacen(
            r#""metadata":{}"#,
            r#""metadata":{"delta.columnMapping.id":1,"delta.columnMapping.physicalName":"id"}"#,
            1,
        )
        .replacen(
            r#""metadata":{}"#,
            r#""metadata":{"delta.columnMapping.id":2,"delta.columnMapping.physicalName":"n"}"#,
            1,
        );
    type Case<'a> = (&'a str, String, &'a str, &'a str, Option<&'a str>, &'a str);
    // Name, protocol, schema, properties, what is said to an append (if refused) and to new columns.
    let cases: [Case<'_>; 10] = [
        ("checks", features(&[], &["checkConstraints"]), PLAIN, "{}", Some("checkConstraints"), "checkConstraints"),
        ("generated", features(&[], &["generatedColumns"]), PLAIN, "{}", Some("generatedColumns"), "generatedColumns"),
        ("identity", features(&[], &["identityColumns"]), PLAIN, "{}", Some("identityColumns"), "identityColumns"),
        (
            "protected",
            features(&[], &["checkpointProtection"]),
            PLAIN,
            "{}",
            Some("checkpointProtection"),
            "checkpointProtection",
        ),
        ("unknown", features(&[], &["flyingCarpets"]), PLAIN, "{}", Some("flyingCarpets"), "flyingCarpets"),
        ("legacy", legacy, PLAIN, "{}", Some("checkConstraints"), "checkConstraints"),
        ("defaults", features(&[], &["allowColumnDefaults"]), &with_default, "{}", Some("`n`"), "allowColumnDefaults"),
        ("no_default", features(&[], &["allowColumnDefaults"]), PLAIN, "{}", None, "allowColumnDefaults"),
        ("not_null", plain.clone(), &foreign_not_null, "{}", Some("`n`"), "`n`"),
        (
            "uniform",
            features(&["columnMapping"], &["columnMapping", "icebergCompatV2"]),
            &mapped,
            iceberg,
            None,
            "icebergCompatV2",
        ),
    ];
    let test = TestLake::new();
    for (name, protocol, schema, configuration, append, add) in cases {
        test.forge(name, &protocol, schema, configuration, "");
        let table = test.open(name).unwrap();
        let extra = named(&[("extra", ColumnType::String)]);
        for (answer, said) in [(table.may_append(), append), (table.may_add_columns(&extra), Some(add))] {
            match (answer, said) {
                (Ok(()), None) => {}
                (Err(fault), Some(said)) => {
                    assert_eq!(fault.kind(), FaultKind::Setup, "{name}: {}", fault.chain());
                    assert!(fault.to_string().contains(said), "{name}: {fault}");
                    assert!(fault.to_string().contains(&format!("web.{name}")), "{name}: {fault}");
                    assert!(fault.hint_text().is_some(), "{name}");
                }
                (answer, said) => panic!("{name}: {answer:?}, expected {said:?}"),
            }
        }
    }
    test.forge("invariant", &features(&[], &["invariants"]), &with_invariant, "{}", "");
    let refused = test.open("invariant").unwrap().may_append().unwrap_err();
    assert!(refused.to_string().contains("nvariant"), "{refused}");

    test.forge("partitioned", &plain, PLAIN, "{}", "");
    let log = test.path("partitioned").join("_delta_log/00000000000000000000.json");
    let text =
        std::fs::read_to_string(&log).unwrap().replace(r#""partitionColumns":[]"#, r#""partitionColumns":["n"]"#);
    std::fs::write(&log, text).unwrap();
    let mut table = test.open("partitioned");
    let refused = table.as_ref().unwrap().may_append().unwrap_err();
    assert!(refused.to_string().contains("partitioned by n"), "{refused}");
    // The gate stands before the commit itself, too.
    let ids_alone = Append { app_ids: vec!["1".into()], ..Append::default() };
    let refused = commit(&test.lake, SCHEMA, "partitioned", &mut table, &[], &ids_alone, soon()).unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Setup);
}

#[test]
fn a_store_that_hides_the_log_is_named_as_the_fault_and_on_azure_cannot_hide_it() {
    let test = TestLake::at("s3://bucket/lake", Tricks::hiding_offsets(InMemory::new()));
    test.append("t", &mut None, "1", &two_rows()).unwrap();
    let fault = Table::open(&test.lake, SCHEMA, "t").unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Setup, "{}", fault.chain());
    assert!(fault.to_string().contains("listing from an offset"), "{fault}");
    let fault = test.append("t", &mut None, "2", &two_rows()).unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Setup, "{}", fault.chain());

    let azure = "abfss://container@account.dfs.core.windows.net/a/lake/";
    let test = TestLake::at(azure, Tricks::hiding_offsets(InMemory::new()));
    let mut table = None;
    test.append("t", &mut table, "1", &two_rows()).unwrap();
    let mut theirs = test.open("t");
    test.append("t", &mut theirs, "2", &wider_row()).unwrap();
    assert_eq!(test.append("t", &mut table, "3", &two_rows()).unwrap(), Appended::Committed { version: 2 });
    assert_eq!(test.rows(&table.unwrap(), &["id"]).len(), 5);
    assert_eq!(test.lake.tables(SCHEMA).unwrap(), ["t"]);
    assert_eq!(test.lake.schemas().unwrap(), [SCHEMA]);
}

#[test]
fn rows_that_a_deletion_vector_removed_are_not_read() {
    let test = TestLake::new();
    let configuration = r#"{"delta.enableDeletionVectors":"true"}"#;
    test.forge("t", &features(&["deletionVectors"], &["deletionVectors"]), PLAIN, configuration, "");
    let mut table = test.open("t");
    let all: Vec<i64> = (0..40).collect();
    test.append("t", &mut table, "1", &batch(&[("n", numbers(&all))])).unwrap();
    let mut add = test.log("t", 1).into_iter().find_map(|action| action.get("add").cloned()).unwrap();
    let remove = serde_json::json!({"remove": {"path": add["path"], "dataChange": true, "deletionTimestamp": 1}});
    // A roaring bitmap of 3, 4, 7, 11, 18 and 29, in Z85.
    add["deletionVector"] = serde_json::json!({
        "storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 44, "cardinality": 6
    });
    let text = format!("{remove}\n{}\n", serde_json::json!({ "add": add }));
    std::fs::write(test.path("t").join(format!("_delta_log/{:020}.json", 2)), text).unwrap();
    let mut table = table.unwrap();
    table.refresh().unwrap();
    let mut expected: Vec<String> =
        all.iter().filter(|n| ![3, 4, 7, 11, 18, 29].contains(*n)).map(ToString::to_string).collect();
    expected.sort_unstable();
    assert_eq!(test.rows(&table, &["n"]), expected);
    test.append("t", &mut Some(table), "2", &batch(&[("n", numbers(&[41]))])).unwrap();
}

#[test]
fn a_narrowed_file_holds_what_was_asked_for_and_what_is_due() {
    let test = TestLake::new();
    let schema =
        PLAIN.replace(r#""n","type":"long","nullable":true"#, r#""n","type":"long","nullable":false"#).replace(
            r#"{"name":"id""#,
            r#"{"name":"event","type":"string","nullable":true,"metadata":{}},
           {"name":"wide","type":"string","nullable":true,"metadata":{}},{"name":"id""#,
        );
    let configuration = r#"{"delta.dataSkippingStatsColumns":"event"}"#;
    test.forge("t", r#"{"minReaderVersion":1,"minWriterVersion":2}"#, &schema, configuration, "");
    let mut table = test.open("t");
    let layout = FileLayout::of_existing(&test.lake, table.as_ref().unwrap(), &[]).unwrap().narrowed(&["id"]);
    let names: Vec<&str> = layout.arrow_schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["event", "id", "n"]);
    let mut writer = FileWriter::create(&test.lake, std::sync::Arc::clone(&layout)).unwrap();
    write(&mut writer, &two_rows()).unwrap();
    let files = [writer.finish().unwrap()];
    assert_eq!(files[0].columns().collect::<Vec<_>>(), names);
    let append = Append { app_ids: vec!["1".into()], files: &files, ..Append::default() };
    commit(&test.lake, SCHEMA, "t", &mut table, &[], &append, soon()).unwrap();
    assert_eq!(test.rows(&table.unwrap(), &["id", "n", "wide"]), ["a|1|-", "b|2|-"]);
}
