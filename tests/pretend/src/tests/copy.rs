//! COPY INTO: what it loads, what it never loads again, what it refuses.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use deltalake::arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use super::Bench;
use super::volumes::bench;
use crate::sql::write_parquet;
use crate::{ADMIN_TOKEN, CATALOG, WAREHOUSE};

const FROM: &str = "/Volumes/segment/web/stage/tracks";

fn stage(bench: &Bench, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let content = write_parquet(&RecordBatch::try_from_iter(columns).unwrap());
    assert_eq!(bench.put(&format!("{FROM}/{name}?overwrite=true"), &content), 204);
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn copy(select: &str, files: &str, options: &str) -> String {
    format!(
        "COPY INTO segment.web.tracks FROM (SELECT {select} FROM '{FROM}') FILEFORMAT = PARQUET FILES = ({files}) {options}"
    )
}

/// What a COPY answers: affected, inserted, skipped.
fn copied(bench: &Bench, select: &str, files: &str, options: &str) -> Value {
    let answer = bench.run(&copy(select, files, options));
    let names: Vec<&Value> = answer["manifest"]["schema"]["columns"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .iter()
        .map(|column| &column["name"])
        .collect();
    assert_eq!(names, ["num_affected_rows", "num_inserted_rows", "num_skipped_corrupt_files"]);
    answer["result"]["data_array"][0].clone()
}

fn count(bench: &Bench, condition: &str) -> Value {
    bench.run(&format!("SELECT count(*) FROM segment.web.tracks {condition}"))["result"]["data_array"][0][0].clone()
}

fn table(bench: &Bench, columns: &str) {
    bench.done(&[&format!("CREATE TABLE IF NOT EXISTS segment.web.tracks ({columns}) USING DELTA TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')")]);
}

#[test]
fn a_path_is_loaded_once_whatever_it_holds_later() {
    let bench = bench();
    table(&bench, "id STRING, n BIGINT");
    stage(&bench, "a.parquet", vec![("id", texts(&["1", "2"])), ("n", numbers(&[1, 2]))]);
    assert_eq!(copied(&bench, "*", "'a.parquet'", ""), json!(["2", "2", "0"]));
    assert_eq!(copied(&bench, "*", "'a.parquet'", ""), json!(["0", "0", "0"]));
    stage(&bench, "a.parquet", vec![("id", texts(&["3"])), ("n", numbers(&[3]))]);
    stage(&bench, "b.parquet", vec![("id", texts(&["4"])), ("n", numbers(&[4]))]);
    assert_eq!(copied(&bench, "*", "'a.parquet', 'b.parquet'", ""), json!(["1", "1", "0"]));
    assert_eq!(copied(&bench, "*", "'a.parquet'", "COPY_OPTIONS ('force' = 'true')"), json!(["1", "1", "0"]));
    assert_eq!(count(&bench, ""), "4");
    assert_eq!(count(&bench, "WHERE `id` IN ('3', '4')"), "2");
    bench.done(&["DROP TABLE segment.web.tracks"]);
    table(&bench, "id STRING, n BIGINT");
    assert_eq!(copied(&bench, "*", "'a.parquet'", ""), json!(["1", "1", "0"]), "a new table has loaded nothing");
}

#[test]
fn a_table_that_is_replaced_has_the_rows_and_types_of_the_query_and_has_loaded_what_it_had() {
    let bench = bench();
    table(&bench, "id STRING, n STRING, other STRING");
    stage(&bench, "a.parquet", vec![("id", texts(&["1", "2"])), ("n", texts(&["7", "8"]))]);
    bench.done(&[&copy("*", "'a.parquet'", "")]);
    let replace =
        |items: &str| format!("CREATE OR REPLACE TABLE segment.web.tracks AS SELECT {items} FROM segment.web.tracks");
    bench.done(&[&replace("id, CAST(n AS BIGINT) AS n"), "ALTER TABLE segment.web.tracks ADD COLUMNS (other BIGINT)"]);
    let columns = bench.pretend.table("segment.web.tracks").unwrap().columns;
    let named = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    assert_eq!(columns, [named("id", "string"), named("n", "bigint"), named("other", "bigint")]);
    assert_eq!(copied(&bench, "id", "'a.parquet'", ""), json!(["0", "0", "0"]));
    stage(&bench, "b.parquet", vec![("id", texts(&["3"])), ("n", numbers(&[9]))]);
    assert_eq!(copied(&bench, "*", "'b.parquet'", ""), json!(["1", "1", "0"]));
    bench.done(&[&replace("id, CAST(n AS STRING) AS n")]);
    assert_eq!(count(&bench, "WHERE n IN ('7', '8', '9')"), "3");
    assert!(bench.failed(&replace("id, CAST(id AS BOOLEAN) AS n")).starts_with("[CAST_INVALID_INPUT]"));
    assert_eq!(count(&bench, ""), "3");
}

#[test]
fn the_history_shows_what_was_copied() {
    let bench = bench();
    table(&bench, "id STRING, n BIGINT");
    stage(&bench, "a.parquet", vec![("id", texts(&["1", "2"])), ("n", numbers(&[1, 2]))]);
    bench.done(&[&copy("*", "'a.parquet'", ""), &copy("*", "'a.parquet'", "")]);
    let history = bench.run("DESCRIBE HISTORY segment.web.tracks");
    let rows = history["result"]["data_array"].as_array().unwrap();
    let operations: Vec<&Value> = rows.iter().map(|row| &row[4]).collect();
    assert_eq!(operations, ["COPY INTO", "CREATE TABLE"], "a COPY of nothing is no commit");
    let metrics: Value = serde_json::from_str(rows[0][12].as_str().unwrap()).unwrap();
    assert_eq!((&metrics["numOutputRows"], &metrics["numFiles"]), (&json!("2"), &json!("1")));
    assert_eq!(bench.run("DESCRIBE HISTORY segment.web.tracks LIMIT 1")["manifest"]["total_row_count"], 1);
}

#[test]
fn types_are_those_of_the_table_or_cast_by_name() {
    let bench = bench();
    table(&bench, "id STRING, n DOUBLE, loaded TIMESTAMP");
    stage(&bench, "a.parquet", vec![("id", numbers(&[1])), ("n", texts(&[" 1.5 "]))]);
    assert!(bench.failed(&copy("*", "'a.parquet'", "")).starts_with("[DELTA_FAILED_TO_MERGE_FIELDS]"));
    let select = "CAST(id AS STRING) AS id, CAST(`n` AS DOUBLE) AS n, current_timestamp() AS loaded";
    assert_eq!(copied(&bench, select, "'a.parquet'", ""), json!(["1", "1", "0"]));
    stage(&bench, "b.parquet", vec![("id", numbers(&[1])), ("n", texts(&["many"]))]);
    assert!(bench.failed(&copy(select, "'b.parquet'", "")).starts_with("[CAST_INVALID_INPUT]"));
    let tries = "CAST(id AS STRING) AS id, TRY_CAST(`n` AS DOUBLE) AS n";
    assert_eq!(copied(&bench, tries, "'b.parquet'", ""), json!(["1", "1", "0"]), "a failed COPY has loaded nothing");
    stage(&bench, "c.parquet", vec![("n", Arc::new(Float64Array::from(vec![1e21])) as ArrayRef)]);
    let refused = copy("CAST(n AS STRING) AS id", "'c.parquet'", "");
    assert!(bench.failed(&refused).starts_with("[NOT_IMPLEMENTED]"), "Spark writes doubles in its own way");
    assert!(bench.failed(&copy("nothing", "'c.parquet'", "")).starts_with("[UNRESOLVED_COLUMN"));
}

#[test]
fn columns_are_added_only_where_that_is_asked_for() {
    let bench = bench();
    table(&bench, "id STRING");
    stage(&bench, "a.parquet", vec![("id", texts(&["1"]))]);
    stage(&bench, "b.parquet", vec![("ID", texts(&["2"])), ("plan", texts(&["free"]))]);
    assert!(bench.failed(&copy("*", "'b.parquet'", "")).starts_with("[COPY_INTO_SCHEMA_MISMATCH_WITH_TARGET_TABLE]"));
    let both = "'a.parquet', 'b.parquet'";
    let merged = "FORMAT_OPTIONS ('mergeSchema' = 'true') COPY_OPTIONS ('mergeSchema' = 'true')";
    assert!(
        bench
            .failed(&copy("id, plan", both, "COPY_OPTIONS ('mergeSchema' = 'true')"))
            .starts_with("[UNRESOLVED_COLUMN"),
        "the first file decides what columns there are"
    );
    assert_eq!(copied(&bench, "*", both, merged), json!(["2", "2", "0"]));
    assert_eq!(bench.pretend.table("segment.web.tracks").unwrap().columns[1], ("plan".to_owned(), "string".to_owned()));
    assert_eq!(count(&bench, "WHERE plan IN ('free')"), "1");
}

#[test]
fn files_that_are_missing_broken_or_too_many_fail_the_statement() {
    let bench = bench();
    table(&bench, "id STRING");
    assert!(bench.failed(&copy("*", "'none.parquet'", "")).starts_with("[PATH_NOT_FOUND]"));
    bench.put(&format!("{FROM}/broken.parquet"), b"PAR1 and no more");
    assert!(bench.failed(&copy("*", "'broken.parquet'", "")).starts_with("[FAILED_READ_FILE"));
    let many: Vec<String> = (0..1_001).map(|n| format!("'{n}'")).collect();
    assert!(bench.failed(&copy("*", &many.join(","), "")).contains("at most 1000"));
}

#[test]
fn rights_on_both_sides_are_asked_for() {
    let bench = bench();
    table(&bench, "id STRING");
    stage(&bench, "a.parquet", vec![("id", texts(&["1"]))]);
    bench.pretend.revoke("ALL PRIVILEGES", "catalog", "segment").unwrap();
    assert!(
        bench.failed(&copy("*", "'a.parquet'", "")).starts_with("PERMISSION_DENIED: User does not have USE CATALOG")
    );
    bench.pretend.grant("USE CATALOG", "catalog", "segment").unwrap();
    assert_eq!(copied(&bench, "*", "'a.parquet'", ""), json!(["1", "1", "0"]), "who made all of it owns it");
    let others = by_another();
    let message = others.failed(&copy("*", "'a.parquet'", ""));
    assert!(message.contains("does not have MODIFY on Table 'segment.web.tracks'"), "{message}");
    others.pretend.grant("MODIFY", "table", "segment.web.tracks").unwrap();
    let message = others.failed(&copy("*", "'a.parquet'", ""));
    assert!(message.contains("does not have READ VOLUME on Volume 'segment.web.stage'"), "{message}");
}

#[test]
fn a_folder_under_an_external_location_is_read_by_who_may_and_a_tables_own_is_not() {
    let bench = bench();
    table(&bench, "id STRING");
    let folder = bench.at("staged");
    let path = bench.lake.path().join("staged");
    std::fs::create_dir_all(&path).unwrap();
    let rows = write_parquet(&RecordBatch::try_from_iter(vec![("id", texts(&["1", "2"]))]).unwrap());
    std::fs::write(path.join("a.parquet"), rows).unwrap();
    let copy = |from: &str, file: &str| {
        format!("COPY INTO segment.web.tracks FROM (SELECT id FROM '{from}') FILEFORMAT = PARQUET FILES = ('{file}')")
    };
    let inserted = |bench: &Bench| bench.run(&copy(&folder, "a.parquet"))["result"]["data_array"][0][1].clone();
    assert_eq!((inserted(&bench), inserted(&bench)), (json!("2"), json!("0")));
    assert!(bench.failed(&copy(&folder, "none.parquet")).starts_with("[PATH_NOT_FOUND]"));
    let elsewhere = bench.failed(&copy("file:///nowhere/at/all", "a.parquet"));
    assert!(elsewhere.contains("No parent external location"), "{elsewhere}");
    let external = bench.at("web/made");
    bench.done(&[&format!("CREATE TABLE segment.web.made (id STRING) USING DELTA LOCATION '{external}'")]);
    let own = bench.failed(&copy(&external, "a.parquet"));
    assert!(own.starts_with("[INVALID_PARAMETER_VALUE.LOCATION_OVERLAP]"), "{own}");
    bench.pretend.revoke("READ FILES", "storage_credential", crate::CREDENTIAL).unwrap();
    let denied = bench.failed(&copy(&folder, "a.parquet"));
    assert!(denied.contains("does not have READ FILES on External Location 'segment_lake'"), "{denied}");
}

/// A workspace whose admin made the table and the volume; the client may only pass.
fn by_another() -> Bench {
    let bench = Bench::with(|setup| {
        let root = setup.locations[0].url.clone();
        let setup =
            setup.managed_storage(&format!("{root}/managed")).without_grant("ALL PRIVILEGES", "catalog", CATALOG);
        setup.grant("USE CATALOG", "catalog", CATALOG).grant("USE SCHEMA", "catalog", CATALOG)
    });
    let admin = format!("authorization: Bearer {ADMIN_TOKEN}");
    let call = |path: &str, body: Value| {
        assert_eq!(bench.send("POST", path, &[&admin], &body.to_string()).unwrap().status, 200, "{path}");
    };
    call("/api/2.1/unity-catalog/schemas", json!({"catalog_name": CATALOG, "name": "web"}));
    let volume = json!({"catalog_name": CATALOG, "schema_name": "web", "name": "stage", "volume_type": "MANAGED"});
    call("/api/2.1/unity-catalog/volumes", volume);
    let statement = "CREATE TABLE segment.web.tracks (id STRING)";
    let body = json!({"statement": statement, "warehouse_id": WAREHOUSE, "wait_timeout": "30s"});
    call("/api/2.0/sql/statements", body);
    bench
}
