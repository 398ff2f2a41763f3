//! A key is overwritten while the catalog keeps the tables: what its earlier forms landed is left out, as in a lake.

use inlet_core::evolve::{Ask, TableStatus};
use inlet_core::report::Status;
use pretend::{Fault, StatementFault, Wrong};
use serde_json::json;

use super::{Bench, object, well};
use crate::events::{calls, lines, nameless, track};
use crate::lake;
use crate::support::{Chance, Room, SCHEMA, the_only, upload_of};
use crate::workspace::status;

fn orders(ids: &[&str]) -> Vec<u8> {
    let properties = r#"{"total":1,"exact":9007199254740993}"#;
    lines(&ids.iter().map(|id| track(id, "Order Completed", properties)).collect::<Vec<_>>())
}

/// (rows, duplicates) that `_loads` sums up for a key: of the uploads themselves, or of a table.
fn loads(bench: &Bench, table: Option<&str>) -> (i64, i64) {
    let all = bench.read("events._loads");
    let is_of = |row: &&lake::Row| row.get("table_name").map(lake::Value::text) == table;
    let sum = |column: &str| all.rows.iter().filter(is_of).map(|row| row[column].number()).sum();
    (sum("rows"), sum("duplicates"))
}

#[test]
fn only_the_new_events_of_an_overwritten_upload_are_loaded() {
    let bench = Bench::new();
    bench.stage("a.json", &orders(&["a", "b"]));
    well(&bench.evolve());
    bench.stage("a.json", &orders(&["b", "c", "a", "d"]));
    bench.stage("other.json", &orders(&["a"]));
    well(&bench.evolve());
    assert_eq!(bench.ids(), ["a", "a", "b", "c", "d"], "another key is another event");
    assert_eq!(bench.read("events.tracks").texts("id"), ["a", "a", "b", "c", "d"]);
    assert_eq!((loads(&bench, None), loads(&bench, Some("order_completed"))), ((5, 2), (5, 2)));
    // What was written anew kept its values.
    assert_eq!(bench.read("events.order_completed").row("c")["exact"].number(), 9_007_199_254_740_993);
    assert!(bench.files("events/").is_empty() && bench.files("_inlet/pending").is_empty());
    well(&bench.evolve());
    assert_eq!(bench.ids().len(), 5);
}

#[test]
fn what_is_rescued_is_counted_of_rows_that_land_alone() {
    let bench = Bench::new();
    // A key that stands there twice is rescued once, in the row of its event's table.
    let twice = |id: &str| track(id, "Order Completed", r#"{"total":1,"total":2}"#);
    let rescued = |table: Option<&str>| {
        let all = bench.read("events._loads");
        let is_of = |row: &&lake::Row| row.get("table_name").map(lake::Value::text) == table;
        all.rows.iter().filter(is_of).map(|row| row["rescued"].number()).sum::<i64>()
    };
    bench.stage("a.json", &lines(&[twice("a"), twice("b")]));
    well(&bench.evolve());
    assert_eq!((rescued(None), rescued(Some("order_completed"))), (2, 2));
    bench.stage("a.json", &lines(&[twice("b"), twice("c"), twice("a")]));
    well(&bench.evolve());
    assert_eq!((rescued(None), rescued(Some("order_completed"))), (3, 3), "of three rows, of which two are duplicates");
    let kept = bench.read("events.order_completed").texts("_rescued_data").len() as i64;
    assert_eq!((kept, rescued(Some("tracks"))), (3, 0));
    // In a window an integer meets doubles, and is wider than they are.
    bench.stage("b.json", &lines(&[track("d", "Order Completed", r#"{"wide":1.5}"#)]));
    bench.stage("c.json", &lines(&[track("e", "Order Completed", r#"{"wide":9007199254740993}"#)]));
    well(&bench.evolve());
    assert_eq!((rescued(None), rescued(Some("order_completed"))), (4, 4));
    assert_eq!((loads(&bench, None), loads(&bench, Some("order_completed"))), ((5, 2), (5, 2)));
}

#[test]
fn forms_that_are_staged_together_are_loaded_one_after_another() {
    let bench = Bench::new();
    for ids in [&["a"][..], &["a", "b"], &["b", "a"], &["c", "a"]] {
        assert_eq!(the_only(&bench.stage("a.json", &orders(ids))).status, Status::Staged);
    }
    well(&bench.evolve());
    assert_eq!(bench.0.pretend.wakes().len(), 1);
    assert_eq!(bench.ids(), ["a", "b", "c"]);
    assert_eq!(loads(&bench, None), (3, 4));
    assert!(bench.files("_inlet/pending").is_empty());
}

#[test]
fn a_later_form_waits_for_an_earlier_one_that_failed() {
    let bench = Bench::new();
    bench.stage("a.json", &orders(&["a"]));
    bench.stage("a.json", &orders(&["a", "b"]));
    let denied = "PERMISSION_DENIED: User does not have CREATE TABLE on Schema 'segment.events'.";
    bench.0.pretend.statement_fault(StatementFault::new("`order_completed` (", denied));
    let report = bench.evolve();
    assert_eq!(status(&report, "events.order_completed"), Some(TableStatus::Failed));
    assert_eq!(bench.files("_inlet/pending").len(), 2);
    well(&bench.evolve());
    assert_eq!(bench.ids(), ["a", "b"]);
}

#[test]
fn overwritten_uploads_say_the_same_in_a_volume_as_in_a_lake() {
    let (bench, room) = (Bench::new(), Room::new());
    let mut chance = Chance::of(31);
    let mut events = calls(&mut chance, "old", 60);
    events.extend((0..20).map(|n| nameless("Nameless", &format!(r#"{{"n":{}}}"#, n / 2))));
    for form in 0..3 {
        let uploads = || vec![upload_of("key.ndjson", lines(&events))];
        room.land(uploads());
        bench.stage_upload(uploads().remove(0));
        well(&bench.evolve());
        events.truncate(70 - form * 10);
        events.extend(calls(&mut chance, &format!("new{form}"), 7));
        chance.shuffle(&mut events);
    }
    let external = lake::read_events(&room.lake(), SCHEMA);
    for (name, table) in &external {
        let managed = bench.read(&format!("{SCHEMA}.{name}"));
        assert_eq!(managed.content(&["uuid_ts"]), table.content(&["uuid_ts"]), "{name}");
    }
    let sums = |table: &lake::Table| {
        let own = table.rows.iter().filter(|row| !row.contains_key("table_name"));
        own.fold((0, 0, 0), |(events, rows, duplicates), row| {
            (events + row["events"].number(), rows + row["rows"].number(), duplicates + row["duplicates"].number())
        })
    };
    assert_eq!(sums(&bench.read("events._loads")), sums(&lake::read(&room.lake(), SCHEMA, "_loads")));
}

#[test]
fn whichever_request_is_refused_or_lost_an_overwritten_upload_lands_once() {
    let bench = Bench::new();
    let by_hand = Ask { by_hand: true, retry: true, ..Ask::default() };
    let done = |name: &str| {
        let loaded = |_: &usize| bench.try_evolve(by_hand).is_ok_and(|report| report.gravest().is_none());
        assert!((0..5).any(|attempt| loaded(&attempt)), "{name} is not loaded");
    };
    let prepare = |name: &str| {
        bench.stage_upload(object(name, &orders(&[&format!("{name}-old")])));
        done(name);
        bench.stage_upload(object(name, &orders(&[&format!("{name}-old"), &format!("{name}-new")])));
    };
    prepare("first");
    bench.0.pretend.forget_requests();
    done("first");
    let requests = bench.0.pretend.requests().len() as u64;
    let mut wanted = vec!["first-new".to_owned(), "first-old".to_owned()];
    for nth in (1..=requests).step_by(9) {
        let name = format!("{nth:03}");
        prepare(&name);
        let refused = Wrong::Answer { status: 400, body: json!({"error_code": "BAD_REQUEST"}), headers: vec![] };
        let wrong = if nth % 18 == 1 { Wrong::Lost } else { refused };
        bench.0.pretend.fault(Fault::on("*", "*", wrong).nth(nth));
        done(&name);
        bench.0.pretend.clear_faults();
        wanted.extend([format!("{name}-new"), format!("{name}-old")]);
    }
    wanted.sort();
    assert_eq!(bench.ids(), wanted);
    let uploads = wanted.len() as i64;
    assert_eq!((loads(&bench, None), loads(&bench, Some("tracks"))), ((uploads, uploads / 2), (uploads, uploads / 2)));
}
