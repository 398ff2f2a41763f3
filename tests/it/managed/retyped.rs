//! Somebody changes a column's type after COPY INTO has loaded staged rows, and before anybody has said that they are
//! loaded: the files do not fit any more, and no row is loaded again for the new type.

use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::evolve::{EvolveReport, TableStatus};
use pretend::{CATALOG, Fault, StatementFault, WAREHOUSE};
use serde_json::{Value, json};

use super::raced::{BY_HAND, assert_each_once};
use super::{Bench, order, well};
use crate::connect::at_once;
use crate::events::{lines, track};
use crate::support::runtime;
use crate::workspace::status;

const ORDERS: &str = "events.order_completed";

/// What a person does to a column.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// It gets another type, and its values with it.
    Cast(&'static str),
    /// It is dropped, and added with another type.
    Anew(&'static str),
}

/// Changes a column of a table, of which all rows are kept.
fn change(bench: &Bench, table: &str, column: &str, change: Change) {
    let seen = bench.pretend().table(&format!("{CATALOG}.{table}")).expect("it is there");
    let selected = seen.columns.iter().filter_map(|(name, _)| match change {
        _ if name != column => Some(format!("`{name}`")),
        Change::Cast(to) => Some(format!("CAST(`{name}` AS {to}) AS `{name}`")),
        Change::Anew(_) => None,
    });
    let name = format!("`{CATALOG}`.`{}`", table.replace('.', "`.`"));
    let selected = selected.collect::<Vec<_>>().join(", ");
    let mut statements = vec![format!("CREATE OR REPLACE TABLE {name} AS SELECT {selected} FROM {name}")];
    if let Change::Anew(to) = change {
        statements.push(format!("ALTER TABLE {name} ADD COLUMNS (`{column}` {to})"));
    }
    let workspace = bench.managed().workspace;
    for statement in statements {
        let soon = Deadline::after(Duration::from_secs(30));
        runtime().block_on(workspace.run(WAREHOUSE, &statement, soon)).unwrap();
    }
}

/// A window that loads what is staged, and dies before it has said so.
fn load_and_die(bench: &Bench) {
    let marker = "/api/2.0/fs/files/Volumes/segment/_inlet/staging/_inlet/loaded/*";
    bench.pretend().fault(Fault::answer("PUT", marker, 400, json!({"error_code": "BAD_REQUEST", "message": "no"})));
    let died = bench.evolve();
    assert!(died.fault.is_some(), "{died:#?}");
    bench.pretend().clear_faults();
}

/// Statements with this in their text fail for good.
fn failing(text: &str) -> StatementFault {
    StatementFault::new(text, "[INTERNAL_ERROR] The statement failed. SQLSTATE: XX000")
}

/// Rows of a table that a report calls loaded.
fn loaded(report: &EvolveReport, table: &str) -> Option<u64> {
    report.tables.iter().find(|one| one.table == table)?.held.map(|held| held.rows)
}

/// Values that `_loads` calls rescued are those that the rows keep.
fn assert_rescued(bench: &Bench, wanted: i64) {
    let loads = bench.read("events._loads");
    let own = loads.rows.iter().filter(|row| !row.contains_key("table_name"));
    let kept = bench.read(ORDERS).texts("_rescued_data").len() as i64;
    assert_eq!((own.map(|row| row["rescued"].number()).sum::<i64>(), kept), (wanted, wanted));
}

#[test]
fn rows_that_stand_are_not_loaded_again_for_another_type() {
    for (what, size) in [(Change::Cast("BIGINT"), Some(7)), (Change::Anew("BOOLEAN"), None)] {
        let bench = Bench::new();
        bench.stage("a.json", &order("a", r#"{"size":"7"}"#));
        load_and_die(&bench);
        change(&bench, ORDERS, "size", what);
        // The note says so, and this window dies too.
        load_and_die(&bench);
        let report = bench.evolve();
        well(&report);
        assert_eq!((loaded(&report, ORDERS), loaded(&report, "events.tracks")), (Some(1), Some(1)), "{what:?}");
        let row = bench.read(ORDERS).row("a").clone();
        assert_eq!(row.get("size").map(crate::lake::Value::number), size, "{what:?}");
        assert_rescued(&bench, 0);
        assert_each_once(&bench, vec!["a".to_owned()], 0);
    }
}

/// The files of a staged upload for the event's table: for each, whether it has the column.
fn files_with(bench: &Bench, note: &str, column: &str) -> Vec<bool> {
    let root = bench.0.room.path("lake-managed");
    let place = crate::support::listing(&root).into_iter().find(|(path, _)| path.display().to_string().ends_with(note));
    let text = std::fs::read(root.join(place.expect("the note is there").0)).unwrap();
    let note: Value = serde_json::from_slice(&text).unwrap();
    let tables = note["tables"].as_array().unwrap();
    let table = tables.iter().find(|table| table["table"] == "order_completed").unwrap();
    let has = |file: &Value| file["columns"].as_array().unwrap().iter().any(|own| own["name"] == column);
    table["files"].as_array().unwrap().iter().map(has).collect()
}

/// Stages an upload of which one file has a column and another has not: those of two workers, unless one has done all.
fn stage_two_files(bench: &Bench, ids: &mut Vec<String>) {
    let long = "x".repeat(300_000);
    for attempt in 0..50 {
        let names: Vec<String> = (0..6).map(|number| format!("{attempt}-{number}")).collect();
        let event = |(number, id): (usize, &String)| match number {
            5 => track(id, "Order Completed", r#"{"size":5}"#),
            _ => track(id, "Order Completed", &format!(r#"{{"long":"{long}"}}"#)),
        };
        let events: Vec<String> = names.iter().enumerate().map(event).collect();
        let before = bench.files("_inlet/pending");
        bench.stage(&format!("{attempt}.json"), &lines(&events));
        ids.extend(names);
        let note = bench.files("_inlet/pending").into_iter().find(|note| !before.contains(note)).unwrap();
        let mut files = files_with(bench, &note, "size");
        files.sort_unstable();
        if files == [false, true] {
            return;
        }
    }
    panic!("the workers never share an upload");
}

#[test]
fn of_files_of_which_one_was_loaded_the_rows_of_the_other_are_written_anew() {
    let copy = "COPY INTO `segment`.`events`.`order_completed`";
    // What becomes of the first window that writes rows anew.
    let cases = vec![None, Some(failing(copy)), Some(failing(copy).after_the_effect())];
    at_once(cases, |then| {
        let bench = Bench::new();
        let mut ids = vec!["text".to_owned()];
        stage_two_files(&bench, &mut ids);
        bench.stage("text.json", &order("text", r#"{"size":"x"}"#));
        bench.pretend().statement_fault(failing("CAST(`size` AS STRING)"));
        assert_eq!(status(&bench.evolve(), ORDERS), Some(TableStatus::Failed));
        let stand = bench.ids();
        assert!(stand.contains(&"text".to_owned()) && stand.len() < ids.len(), "{stand:?}");
        change(&bench, ORDERS, "size", Change::Anew("BOOLEAN"));
        if let Some(failure) = then {
            bench.pretend().statement_fault(failure);
            assert_eq!(status(&bench.evolve(), ORDERS), Some(TableStatus::Failed));
            change(&bench, ORDERS, "size", Change::Anew("TIMESTAMP"));
        }
        let report = bench.evolve();
        well(&report);
        assert_eq!(loaded(&report, ORDERS), Some(ids.len() as u64));
        ids.sort();
        assert_eq!(bench.ids(), ids);
        assert_eq!(bench.read("events.tracks").texts("id"), ids);
        let table = bench.read(ORDERS);
        let sized: Vec<&String> = ids.iter().filter(|id| id.ends_with("-5")).collect();
        for id in &sized {
            assert_eq!(table.row(id)["_rescued_data"].text(), r#"{"size":5}"#, "{id}");
        }
        assert!(!table.row("text").contains_key("size"), "whoever dropped the column took it");
        assert_rescued(&bench, sized.len() as i64);
        assert!(bench.files("events/").is_empty() && bench.files("_inlet/pending").is_empty());
    });
}

#[test]
fn rows_of_inlets_own_tables_are_not_loaded_again_for_another_type() {
    let bench = Bench::new();
    let upload = |id: &str| lines(&[track(id, "Order Completed", "{}"), r#"{"type":"alias"}"#.to_owned()]);
    bench.stage("a.json", &upload("a"));
    load_and_die(&bench);
    for (table, column) in [("events._loads", "started_at"), ("events._rejects", "loaded_at")] {
        change(&bench, table, column, Change::Cast("STRING"));
    }
    well(&bench.evolve());
    // One that nobody has loaded is written for the column as it is.
    bench.stage("b.json", &upload("b"));
    well(&bench.evolve());
    let (loads, rejects) = (bench.read("events._loads"), bench.read("events._rejects"));
    assert_eq!((loads.texts("started_at").len(), rejects.texts("loaded_at").len()), (6, 2));
    assert_eq!((loads.rows.len(), rejects.rows.len()), (6, 2));
    assert_each_once(&bench, vec!["a".to_owned(), "b".to_owned()], 0);
}

#[test]
fn whichever_statement_is_lost_before_a_column_changes_each_row_stands_once() {
    let bench = Bench::new();
    let mut ids = vec!["0".to_owned()];
    bench.stage("0.json", &order("0", "{}"));
    well(&bench.evolve());
    for nth in 1.. {
        let column = format!("size{nth}");
        for (kind, value) in [("text", r#""7""#), ("number", "7")] {
            let id = format!("{nth}-{kind}");
            bench.stage(&id, &order(&id, &format!(r#"{{"{column}":{value}}}"#)));
            ids.push(id);
        }
        let failed = || bench.pretend().statements().iter().filter(|said| said.error.is_some()).count();
        let before = failed();
        for to in ["BIGINT", "STRING"] {
            bench.pretend().statement_fault(failing("").after_the_effect().nth(nth));
            drop(bench.try_evolve(BY_HAND).unwrap());
            bench.pretend().clear_faults();
            if bench.0.shown(ORDERS).is_some_and(|columns| columns.contains(&column)) {
                change(&bench, ORDERS, &column, Change::Cast(to));
            }
        }
        well(&bench.try_evolve(BY_HAND).unwrap());
        if failed() == before {
            assert!(nth > 5, "only {nth} statements");
            break;
        }
    }
    let table = bench.read(ORDERS);
    let mut rescued = 0;
    for id in &ids[1..] {
        let (row, column) = (table.row(id), format!("size{}", id.split('-').next().unwrap()));
        let kept = format!(r#"{{"{column}":"7"}}"#);
        match row.get(&column) {
            Some(size) => assert_eq!((size.text(), row.get("_rescued_data")), ("7", None), "{id}"),
            None => assert_eq!(row["_rescued_data"].text(), kept, "{id}"),
        }
        rescued += i64::from(!row.contains_key(&column));
    }
    assert_rescued(&bench, rescued);
    assert_each_once(&bench, ids, 0);
}
