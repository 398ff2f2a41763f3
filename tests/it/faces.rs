//! What the terminal says: the words, the one JSON object, the lines of JSON, a plan that writes nothing, and the SQL
//! that opens the lake elsewhere.

use serde_json::Value;

use crate::events::{lines, track};
use crate::lake;
use crate::process::{ingest, inlet, run, run_with};
use crate::support::{Room, SCHEMA, listing, tests_folder};

const COUNTS: [&str; 8] = ["events", "landed", "rows", "held", "duplicates", "filtered", "rejected", "rescued"];

/// A file with a row, a rescued value, a duplicate, a rejected and a filtered event.
fn mixed(room: &Room) -> std::path::PathBuf {
    let filtered =
        r#"{"type":"track","messageId":"f","userId":"u","event":"Said","integrations":{"Warehouses":{"all":false}}}"#;
    let events = [
        track("a", "Said", r#"{"n":1,"n":2,"when":"2026-03-15","ok":true,"half":0.5,"word":"w"}"#),
        track("a", "Said", r#"{"n":1}"#),
        filtered.to_owned(),
        "{}".to_owned(),
    ];
    room.file("in/mixed.ndjson", &lines(&events))
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> =
        value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn sorted<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    let mut all = parts.concat();
    all.sort_unstable();
    all
}

#[test]
fn json_is_one_object_of_the_documented_shape() {
    let room = Room::new();
    let said = run(&mut ingest(&[mixed(&room)], &room.lake())).success();
    let report = said.json();
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    assert_eq!(keys(&report), ["function", "totals", "uploads"]);
    assert_eq!(report["function"], "ingest");
    assert_eq!(keys(&report["totals"]), sorted(&[&["uploads", "skipped"], &COUNTS]));
    let upload = &report["uploads"][0];
    assert_eq!(keys(upload), sorted(&[&["upload", "upload_id", "status", "tables"], &COUNTS]));
    assert_eq!(upload["upload_id"].as_str().map(str::len), Some(32));
    for name in COUNTS {
        assert_eq!(upload[name], report["totals"][name], "{name}");
    }
    let counted: Vec<_> = COUNTS.iter().map(|name| upload[name].as_u64().expect("a count")).collect();
    assert_eq!(counted, [4, 1, 2, 0, 1, 1, 1, 1]);
    let tables = upload["tables"].as_array().expect("a list of tables");
    assert_eq!(tables.iter().map(|table| &table["table"]).collect::<Vec<_>>(), ["events.said", "events.tracks"]);
    for table in tables {
        assert_eq!(keys(table), sorted(&[&["table", "status", "rows", "rescued", "version", "new_columns"]]));
        assert_eq!((&table["status"], &table["rows"], &table["version"]), (&"landed".into(), &1.into(), &0.into()));
    }
    let columns = tables[0]["new_columns"].as_array().expect("a list of columns");
    let columns: Vec<_> = columns.iter().map(|column| (column["name"].as_str(), column["type"].as_str())).collect();
    let wanted = [("n", "bigint"), ("when", "timestamp"), ("ok", "boolean"), ("half", "double"), ("word", "string")];
    assert_eq!(columns, wanted.map(|(name, column_type)| (Some(name), Some(column_type))));
    assert!(
        said.err.contains("_rejects") && said.err.contains("_rescued_data"),
        "warnings go to the other stream: {}",
        said.err
    );
}

#[test]
fn json_lines_are_one_object_per_upload_and_the_totals_last() {
    let room = Room::new();
    for number in 0..3 {
        room.file(&format!("in/{number}.ndjson"), &lines(&[track(&format!("m{number}"), "Said", r#"{"n":1}"#)]));
    }
    room.file("in/broken.gz", &[0x1f, 0x8b, 8, 0, 0]);
    let mut command = inlet();
    command.arg("ingest").arg(room.path("in")).arg("--lake").arg(room.lake()).arg("--json-lines");
    let said = run(&mut command);
    assert_eq!(said.code, Some(65), "{said:#?}");
    let objects: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(objects.len(), 5);
    let (totals, uploads) = objects.split_last().expect("there are some");
    assert_eq!(keys(totals), ["function", "totals"]);
    assert_eq!((&totals["totals"]["uploads"], &totals["totals"]["landed"]), (&4.into(), &3.into()));
    for upload in uploads {
        let is_broken = upload["upload"].as_str().is_some_and(|name| name.ends_with("broken.gz"));
        assert_eq!(upload["status"], if is_broken { "rejected" } else { "landed" });
        assert_eq!(upload.get("fault").is_some(), is_broken);
    }
}

#[test]
fn a_set_up_fault_is_answered_in_json_too() {
    let room = Room::new();
    let report = |said: &crate::process::Said| {
        assert_eq!(said.code, Some(78), "{said:#?}");
        let report = said.json();
        assert_eq!(keys(&report), ["fault", "function", "totals", "uploads"]);
        assert_eq!(keys(&report["fault"]), ["hint", "kind", "message"]);
        assert_eq!(report["fault"]["kind"], "setup");
        assert_eq!(report["uploads"], Value::Array(Vec::new()));
        report
    };
    room.file("uploads/a.ndjson", b"{}\n");
    let nearly = report(&run(&mut ingest(&[room.path("uplaods")], &room.lake())));
    assert!(nearly["fault"]["hint"].as_str().is_some_and(|hint| hint.contains("uploads")), "{nearly}");
    std::fs::create_dir(room.path("empty")).expect("a folder can be made");
    report(&run(&mut ingest(&[room.path("empty")], &room.lake())));
    report(&run(&mut ingest(&[room.path("uploads")], &room.path("uploads/lake"))));
    room.file("code/main.rs", b"fn main() {}");
    report(&run(&mut ingest(&[room.path("uploads")], &room.path("code"))));
    let mut no_lake = inlet();
    report(&run(no_lake.arg("ingest").arg(room.path("uploads")).arg("--json")));
    assert!(!room.lake().exists(), "nothing was made");
    assert_eq!(listing(&room.path("code")).len(), 1);
}

#[test]
fn two_sources_of_one_schema_are_refused_before_anything_lands() {
    let room = Room::new();
    for source in ["My-Shop", "my_shop"] {
        let name = format!("segment-logs/{source}/1773446400000/a.ndjson");
        room.file(&name, &lines(&[track(source, "Said", r#"{"n":1}"#)]));
    }
    let refused = run(&mut ingest(&[room.path("segment-logs")], &room.lake()));
    assert_eq!(refused.code, Some(78), "{refused:#?}");
    assert!(refused.json()["fault"]["hint"].as_str().is_some_and(|hint| hint.contains("--schema")), "{refused:#?}");
    assert!(!room.lake().exists());
    let told = run(ingest(&[room.path("segment-logs")], &room.lake()).args(["--schema", "shop"])).success();
    assert_eq!(told.json()["totals"]["landed"], 2);
    assert_eq!(lake::schemas(&room.lake()), ["shop"]);
}

#[test]
fn a_plan_writes_nothing_and_says_what_would_be() {
    let room = Room::new();
    let mixed = mixed(&room);
    let plan = |json: bool| {
        let mut command = inlet();
        command.arg("ingest").arg(&mixed).arg("--lake").arg(room.lake()).arg("--plan");
        if json {
            command.arg("--json");
        }
        run(&mut command).success()
    };
    let report = plan(true).json();
    assert!(!room.lake().exists(), "a plan makes no lake");
    assert_eq!(report["plan"], true);
    let said = &report["tables"][0];
    assert_eq!((&said["table"], &said["exists"], &said["rows"]), (&"events.said".into(), &false.into(), &1.into()));
    let planned: Vec<_> = said["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| (column["name"].clone(), column["type"].clone()))
        .collect();
    assert_eq!(said["conflicts"][0]["rescued_data"], r#"{"n":1}"#);
    assert_eq!(
        (&report["rejections"][0]["line"], &report["rejections"][0]["reason"]),
        (&4.into(), &"unknown_type".into())
    );

    // What was planned is what comes.
    let landed = run(&mut ingest(&[&mixed], &room.lake())).success().json();
    for name in COUNTS {
        assert_eq!(report["totals"][name], landed["totals"][name], "{name}");
    }
    let columns = lake::read(&room.lake(), SCHEMA, "said").columns;
    let columns: Vec<_> =
        columns.into_iter().map(|(name, column_type)| (Value::from(name), Value::from(column_type))).collect();
    assert_eq!(planned, columns);

    let before = listing(&room.lake());
    let words = plan(false).out;
    assert!(words.contains("nothing was written") && words.contains("bigint"), "{words}");
    assert_eq!(listing(&room.lake()), before, "a plan adds nothing to a lake");
}

#[test]
fn an_event_on_standard_input_says_what_it_would_become() {
    let event = r#"{"type":"track","userId":"u","event":"Order Completed","properties":{"Total Price":12.5}}"#;
    let mut command = inlet();
    let said = run_with(command.args(["ingest", "-", "--plan"]), event.as_bytes()).success();
    for wanted in ["events.order_completed", "events.tracks", "total_price", "double"] {
        assert!(said.out.contains(wanted), "{wanted}: {}", said.out);
    }
}

#[test]
fn standard_input_lands() {
    let room = Room::new();
    let bytes = crate::events::gz(&lines(&[track("a", "Said", r#"{"n":1}"#)]));
    let report = run_with(&mut ingest(&["-"], &room.lake()), &bytes).success().json();
    assert_eq!((&report["uploads"][0]["upload"], &report["totals"]["landed"]), (&"-".into(), &1.into()));
    let again = run_with(&mut ingest(&["-"], &room.lake()), &bytes).success().json();
    assert_eq!(again["uploads"][0]["status"], "already landed");
    lake::assert_ledger(&room.lake(), SCHEMA);
}

#[test]
fn the_words_say_what_landed_and_then_that_there_is_nothing_to_do() {
    let room = Room::new();
    let words = || {
        let mut command = inlet();
        run(command.arg("ingest").arg(tests_folder("fixtures/uploads")).arg("--lake").arg(room.lake())).success().out
    };
    let first = words();
    for wanted in ["6 uploads landed", "338 events: 283 landed", "webshop2go.tracks", "_rejects", "_rescued_data"] {
        assert!(first.contains(wanted), "{wanted}: {first}");
    }
    assert!(words().contains("nothing to do: all 6 uploads are already landed"));
}

#[test]
fn the_warehouse_id_of_the_environment_opts_in() {
    let room = Room::new();
    let event = |id: &str, of: &str| {
        format!(
            r#"{{"type":"track","messageId":"{id}","userId":"u","event":"Routed","integrations":{{"Warehouses":{{"warehouseIds":["{of}"]}}}}}}"#
        )
    };
    let path = room.file("routed.ndjson", &lines(&[event("ours", "wh_1"), event("theirs", "wh_2")]));
    let count = |command: &mut std::process::Command| {
        let totals = run(command).success().json()["totals"].clone();
        (totals["landed"].as_u64(), totals["filtered"].as_u64())
    };
    assert_eq!(count(ingest(&[&path], &room.path("one")).env("INLET_WAREHOUSE_ID", "wh_1")), (Some(1), Some(1)));
    assert_eq!(count(&mut ingest(&[&path], &room.path("two"))), (Some(0), Some(2)));
    lake::assert_ledger(&room.path("one"), SCHEMA);
    lake::assert_ledger(&room.path("two"), SCHEMA);
}

#[test]
fn sql_opens_every_table_and_makes_the_views() {
    let room = Room::new();
    run(&mut ingest(&[tests_folder("fixtures/uploads")], &room.lake())).success();
    let sql = |words: &[&str]| run(inlet().arg("sql").arg("--lake").arg(room.lake()).args(words));
    let (duckdb, spark) = (sql(&[]).success().out, sql(&["--spark"]).success().out);
    assert_eq!(sql(&["--duckdb"]).success().out, duckdb, "DuckDB's is what is printed unless told otherwise");
    for schema in lake::schemas(&room.lake()) {
        for table in lake::tables(&room.lake(), &schema) {
            let folder = room.lake().join(&schema).join(&table).canonicalize().expect("it is there");
            assert!(duckdb.contains(&format!("delta_scan('{}')", folder.display())), "{schema}.{table}");
            assert!(spark.contains(&format!("`{schema}`.`{table}`")), "{schema}.{table}");
            let is_own = table == "_loads" || table == "_rejects";
            assert_eq!(duckdb.contains(&format!("\"{schema}\".\"{table}__unique\"")), !is_own, "{schema}.{table}");
        }
        for view in ["users", "accounts"] {
            assert!(duckdb.contains(&format!("VIEW \"{schema}\".\"{view}\"")), "{schema}.{view}");
            assert!(spark.contains(&format!("VIEW `{schema}`.`{view}`")), "{schema}.{view}");
        }
    }
    let one = sql(&["--schema", "webshop2go"]).success().out;
    assert!(one.contains("webshop2go") && !one.contains("subscriptionsbackend01"));
    assert_eq!(sql(&["--schema", "webshop"]).code, Some(78));
    assert_eq!(run(inlet().args(["sql", "--lake"]).arg(room.path("nowhere"))).code, Some(78));
}
