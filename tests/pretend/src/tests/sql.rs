//! Statements: what they leave in the log, in Unity Catalog, and in the answer.

use serde_json::{Value, json};

use super::Bench;
use crate::knobs::Knobs;
use crate::{CATALOG, WAREHOUSE};

fn create(bench: &Bench) {
    let location = bench.at("web/tracks");
    bench.done(&[
        "CREATE SCHEMA IF NOT EXISTS `segment`.`web` COMMENT 'events'",
        &format!(
            "CREATE TABLE IF NOT EXISTS `segment`.`web`.`tracks` (`id` STRING COMMENT 'message id', `n` BIGINT) \
         USING DELTA LOCATION '{location}'"
        ),
    ]);
}

fn columns(bench: &Bench) -> Vec<String> {
    let answer = bench.get("/api/2.1/unity-catalog/tables/segment.web.tracks");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let text =
        |column: &Value| format!("{} {}", column["name"].as_str().unwrap(), column["type_text"].as_str().unwrap());
    answer.body["columns"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn a_table_is_created_in_a_real_log_and_altered_there() {
    let bench = Bench::new();
    create(&bench);
    assert!(bench.commit("web/tracks", 0).contains(r#""minWriterVersion":7"#));
    assert!(bench.commit("web/tracks", 0).contains("deletionVectors"));
    bench.done(&[
        "-- why\nALTER TABLE segment.web.tracks ADD COLUMNS (`plan` STRING COMMENT 'it\\'s new', price DOUBLE);",
        "ALTER TABLE segment.web.tracks ALTER COLUMN n COMMENT 'how many'",
        "COMMENT ON TABLE segment.web.tracks IS 'all calls'",
        "ALTER TABLE segment.web.tracks SET TBLPROPERTIES ('delta.checkpointInterval' = '20', 'owner' = 'us')",
    ]);
    assert!(bench.commit("web/tracks", 1).contains("it's new"));
    assert_eq!(columns(&bench), ["id string", "n bigint", "plan string", "price double"]);
    let table = bench.pretend.table("segment.web.tracks").unwrap();
    assert_eq!(table.comment.as_deref(), Some("all calls"));
    assert_eq!(table.column_comments["n"], "how many");
    assert_eq!(table.properties["owner"], "us");
    assert!(
        bench.failed("ALTER TABLE segment.web.tracks ADD COLUMNS (PLAN STRING)").starts_with("[FIELD_ALREADY_EXISTS]")
    );
    let counted = bench.run("SELECT count(*) FROM segment.web.tracks");
    assert_eq!(counted["result"]["data_array"], json!([["0"]]));
}

#[test]
fn conservative_properties_make_a_conservative_protocol() {
    let bench = Bench::new();
    let location = bench.at("web/plain");
    bench.done(&[
        "CREATE SCHEMA segment.web",
        &format!(
            "CREATE TABLE segment.web.plain (a STRING) USING DELTA LOCATION '{location}' TBLPROPERTIES \
             ('delta.enableDeletionVectors'='false','delta.enableRowTracking'='false',\
             'delta.checkpointPolicy'='classic',\
             'delta.columnMapping.mode'='none','delta.enableInCommitTimestamps'='false')"
        ),
    ]);
    assert!(bench.commit("web/plain", 0).contains(r#""protocol":{"minReaderVersion":1,"minWriterVersion":2}"#));
}

#[test]
fn columns_lag_the_log_until_a_sync() {
    let bench = Bench::new();
    create(&bench);
    // Somebody who writes by the path adds a column.
    let text = bench.commit("web/tracks", 0);
    let metadata: Value = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line.get("metaData").is_some())
        .unwrap();
    let mut schema: Value = serde_json::from_str(metadata["metaData"]["schemaString"].as_str().unwrap()).unwrap();
    schema["fields"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "late", "type": "timestamp", "nullable": true, "metadata": {}}));
    let mut changed = metadata.clone();
    changed["metaData"]["schemaString"] = schema.to_string().into();
    let path = bench.lake.path().join("web/tracks/_delta_log/00000000000000000001.json");
    std::fs::write(path, format!("{changed}\n")).unwrap();
    assert_eq!(columns(&bench), ["id string", "n bigint"]);
    bench.done(&["MSCK REPAIR TABLE segment.web.tracks SYNC METADATA"]);
    assert_eq!(columns(&bench), ["id string", "n bigint", "late timestamp"]);
}

#[test]
fn a_log_that_stands_is_adopted_and_must_be_what_the_statement_says() {
    let bench = Bench::new();
    create(&bench);
    let location = bench.at("web/tracks");
    bench.done(&[
        "DROP TABLE segment.web.tracks",
        &format!("CREATE TABLE segment.web.tracks USING DELTA LOCATION '{location}'"),
    ]);
    assert_eq!(columns(&bench), ["id string", "n bigint"]);
    let again = format!("CREATE TABLE segment.web.tracks USING DELTA LOCATION '{location}'");
    assert!(bench.failed(&again).starts_with("[TABLE_OR_VIEW_ALREADY_EXISTS]"));
    bench.done(&["DROP TABLE IF EXISTS segment.web.tracks", "DROP TABLE IF EXISTS segment.web.tracks"]);
    let other = format!("CREATE TABLE segment.web.tracks (x STRING) USING DELTA LOCATION '{location}'");
    assert!(bench.failed(&other).starts_with("[DELTA_CREATE_TABLE_SCHEME_MISMATCH]"));
    let property =
        format!("CREATE TABLE segment.web.tracks USING DELTA LOCATION '{location}' TBLPROPERTIES ('a' = 'b')");
    assert!(bench.failed(&property).starts_with("[DELTA_CREATE_TABLE_WITH_DIFFERENT_PROPERTY]"));
}

#[test]
fn places_that_no_table_may_have_are_refused() {
    let bench = Bench::new();
    create(&bench);
    std::fs::create_dir_all(bench.lake.path().join("web/others")).unwrap();
    std::fs::write(bench.lake.path().join("web/others/a.csv"), "a").unwrap();
    let at = |columns: &str, location: &str| {
        bench.failed(&format!("CREATE TABLE segment.web.x {columns} USING DELTA LOCATION '{location}'"))
    };
    assert!(
        at("(a INT)", &bench.at("web/tracks/inner")).contains("ErrorClass=INVALID_PARAMETER_VALUE.LOCATION_OVERLAP]")
    );
    assert!(at("(a INT)", "file:///elsewhere/x").starts_with("[NO_PARENT_EXTERNAL_LOCATION_FOR_PATH]"));
    assert!(at("(a INT)", &bench.at("web/others")).starts_with("[DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION]"));
    assert!(at("", &bench.at("web/others")).starts_with("[DELTA_CREATE_EXTERNAL_TABLE_WITHOUT_TXN_LOG]"));
    assert!(at("", &bench.at("web/nothing")).starts_with("[DELTA_CREATE_EXTERNAL_TABLE_WITHOUT_SCHEMA]"));
    assert!(at("(`a b` INT)", &bench.at("web/n")).starts_with("[DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES]"));
    assert!(at("(a INT, A INT)", &bench.at("web/n")).starts_with("[DELTA_DUPLICATE_COLUMNS_FOUND]"));
    assert!(
        bench
            .failed("CREATE TABLE segment.web.m (a INT)")
            .contains("ErrorClass=INVALID_STATE] Metastore storage root URL")
    );
}

#[test]
fn views_name_what_is_there() {
    let bench = Bench::new();
    create(&bench);
    bench.done(&["CREATE OR REPLACE VIEW segment.web.tracks__unique COMMENT 'each once' AS SELECT * EXCEPT (`__n`) \
     FROM (SELECT *, row_number() OVER (PARTITION BY `id` ORDER BY `n` DESC) AS `__n` FROM `segment`.`web`.`tracks`) \
     WHERE `__n` = 1"]);
    let view = bench.pretend.table("segment.web.tracks__unique").unwrap();
    assert_eq!(view.columns, [("id".to_owned(), "string".to_owned()), ("n".to_owned(), "bigint".to_owned())]);
    assert!(view.view_definition.unwrap().starts_with("SELECT * EXCEPT (`__n`)"));
    bench
        .done(&["CREATE OR REPLACE VIEW segment.web.latest AS SELECT `id` AS `user`, max_by(`n`, struct(`n`, `id`)) \
     FILTER (WHERE `n` IS NOT NULL) AS `n` FROM segment.web.tracks WHERE id IS NOT NULL GROUP BY id"]);
    assert_eq!(bench.pretend.table("segment.web.latest").unwrap().columns[1], ("n".to_owned(), "bigint".to_owned()));
    assert!(
        bench
            .failed("CREATE VIEW segment.web.v AS SELECT missing FROM segment.web.tracks")
            .starts_with("[UNRESOLVED_COLUMN")
    );
    assert!(
        bench
            .failed("CREATE VIEW segment.web.v AS SELECT 1 AS a FROM segment.web.none")
            .starts_with("[TABLE_OR_VIEW_NOT_FOUND]")
    );
    assert!(
        bench
            .failed("CREATE OR REPLACE VIEW segment.web.tracks AS SELECT 1 AS a")
            .starts_with("[EXPECT_VIEW_NOT_TABLE")
    );
}

#[test]
fn what_makes_no_sense_and_what_we_lack_are_told_apart() {
    let bench = Bench::new();
    for text in [
        "INSER INTO t",
        "SELECT 1; SELECT 2",
        "CREATE TABLE t (a STRING",
        "ALTER TABLE t ADD COLUMNS (a)",
        "DROP TABLE t t",
    ] {
        let message = bench.failed(text);
        assert!(message.starts_with("\n[PARSE_SYNTAX_ERROR] Syntax error at or near"), "{text}: {message}");
        assert!(message.contains("SQLSTATE: 42601 (line 1, pos "), "{text}: {message}");
    }
    for text in [
        "INSERT INTO t VALUES (1)",
        "COPY INTO t FROM 'x'",
        "COPY INTO t FROM '/Volumes/c/s/v' FILEFORMAT = JSON",
        "COPY INTO t FROM '/Volumes/c/s/v' FILEFORMAT = PARQUET PATTERN = '*'",
        "COPY INTO t FROM '/Volumes/c/s/v' FILEFORMAT = PARQUET FILES = ('a') COPY_OPTIONS ('other' = 'true')",
        "SELECT count(*) FROM t WHERE a > 'x'",
        "CREATE TABLE t (a ARRAY<INT>)",
        "SELECT a FROM t",
        "VACUUM t RETAIN 1 HOURS",
        "DELETE FROM t",
    ] {
        let body = json!({"statement": text, "warehouse_id": WAREHOUSE});
        let answer = bench.call("POST", "/api/2.0/sql/statements", &body);
        assert_eq!((answer.status, &answer.body["error_code"]), (501, &json!("NOT_IMPLEMENTED")), "{text}");
    }
}

#[test]
fn names_are_stored_in_lower_case_and_completed_from_the_request() {
    let bench = Bench::new();
    create(&bench);
    bench.done(&["DESCRIBE DETAIL SEGMENT.Web.TRACKS"]);
    let body = json!({"statement": "SHOW TABLES", "warehouse_id": WAREHOUSE, "catalog": CATALOG, "schema": "web",
    "wait_timeout": "30s"});
    let answer = bench.call("POST", "/api/2.0/sql/statements", &body);
    assert_eq!(answer.body["result"]["data_array"], json!([["web", "tracks", "false"]]));
    assert!(bench.failed("CREATE TABLE segment.web.`a b` (x INT)").contains("is not a valid name"));
    assert!(bench.failed("CREATE TABLE segment.nope.t (x INT)").starts_with("[SCHEMA_NOT_FOUND]"));
    assert!(bench.failed("CREATE TABLE nope.web.t (x INT)").starts_with("[NO_SUCH_CATALOG_EXCEPTION]"));
    assert!(bench.failed("CREATE SCHEMA segment.web").starts_with("[SCHEMA_ALREADY_EXISTS]"));
    assert!(bench.failed("DROP SCHEMA segment.web").starts_with("[SCHEMA_NOT_EMPTY]"));
    bench.done(&["DROP SCHEMA segment.web CASCADE"]);
    assert!(bench.pretend.schemas().is_empty());
}

#[test]
fn an_unconditional_put_overwrites_somebodys_commit() {
    let bench = Bench::new();
    create(&bench);
    bench.done(&["ALTER TABLE segment.web.tracks ADD COLUMNS (a STRING)"]);
    bench.pretend.knobs(|knobs: &mut Knobs| knobs.unconditional_put = Some(1));
    bench.done(&["ALTER TABLE segment.web.tracks ADD COLUMNS (b STRING)"]);
    assert_eq!(columns(&bench), ["id string", "n bigint", "b string"], "the commit of a is gone");
}

#[test]
fn optimize_is_a_commit_without_a_change_of_data() {
    let bench = Bench::new();
    create(&bench);
    let add = json!({"add": {"path": "one.parquet", "partitionValues": {}, "size": 3, "modificationTime": 1,
    "dataChange": true,
                     "stats": "{\"numRecords\":7}"}});
    let folder = bench.lake.path().join("web/tracks");
    std::fs::write(folder.join("one.parquet"), "abc").unwrap();
    std::fs::write(folder.join("_delta_log/00000000000000000001.json"), format!("{add}\n")).unwrap();
    bench.done(&["OPTIMIZE segment.web.tracks"]);
    let commit = bench.commit("web/tracks", 2);
    assert_eq!(commit.matches(r#""dataChange":false"#).count(), 2, "{commit}");
    let counted = bench.run("SELECT count(*) FROM segment.web.tracks");
    assert_eq!(counted["result"]["data_array"], json!([["7"]]));
}
