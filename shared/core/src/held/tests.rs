use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use inlet_events::ColumnType;
use sha2::{Digest, Sha256};

use super::*;
use crate::clock;
use crate::delta::testing::{SCHEMA, TestLake, Trick, soon};
use crate::delta::{Append, add_columns_only, commit};
use crate::ledger::LOADS;
use crate::report::{Report, Status, UploadReport};
use crate::route::{Parts, Unwatched, ingest};
use crate::settings::Settings;
use crate::upload::{Place, Upload, UploadId};

const WAREHOUSE: &str = "lake = \"file:///lake/\"\nworkspace_url = \"http://127.0.0.1:9/\"\nallow_host = [\"127.0.0.1\"]\ncatalog = \"segment\"\n\
                         http_path = \"/sql/1.0/warehouses/dd43ee29fedd958d\"\nschema_changes = \"warehouse\"\n\
                         [auth]\ntoken = \"env:TOKEN\"\n";

fn settings() -> Settings {
    let variable = |name: &str| (name == "TOKEN").then(|| "dapi0".to_owned());
    let settings = Settings::load(Some(("inlet.toml", WAREHOUSE)), variable).unwrap();
    Settings { workers: 2, ..settings }
}

fn upload(key: &str, events: &[String]) -> Upload {
    let bytes = events.join("\n").into_bytes();
    Upload {
        name: key.to_owned(),
        id: UploadId::of_content(&Sha256::digest(&bytes).into()),
        key: Some(key.to_owned()),
        size: bytes.len() as u64,
        modified: clock::now(),
        schema: SCHEMA.to_owned(),
        place: Place::Bytes(Arc::new(bytes)),
    }
}

fn page(id: &str, properties: &str) -> String {
    format!(
        r#"{{"type":"page","messageId":"{id}","userId":"u","receivedAt":"2026-03-15T12:00:00Z","properties":{properties}}}"#
    )
}

fn alias(id: &str) -> String {
    format!(
        r#"{{"type":"alias","messageId":"{id}","userId":"u","previousId":"p","receivedAt":"2026-03-15T12:00:00Z"}}"#
    )
}

fn land(test: &TestLake, settings: &Settings, uploads: &[Upload]) -> Report {
    let parts = Parts {
        lake: test.lake.clone(),
        managed: None,
        settings: settings.clone(),
        host: "terminal",
        allowance: None,
        kept: None,
    };
    let report = ingest(&parts, uploads.to_vec(), &Unwatched);
    assert!(report.gravest().is_none(), "{report:#?}");
    assert!(report.uploads.iter().all(|upload| upload.counts.balance()), "{report:#?}");
    report
}

fn status_of(upload: &UploadReport, table: &str) -> Option<Status> {
    upload.tables.iter().find(|one| one.table == format!("{SCHEMA}.{table}")).map(|one| one.status)
}

fn notes(test: &TestLake, table: &str) -> Vec<Left> {
    let gathered = gather(&test.lake, Some(SCHEMA)).unwrap();
    assert_eq!(gathered.damaged, []);
    gathered.notes.into_iter().filter(|left| left.note.table == table).collect()
}

fn commit_all(test: &TestLake, table: &str, notes: &[Left]) -> Committed {
    commit_held(&test.lake, SCHEMA, table, &notes.iter().collect::<Vec<_>>(), Growth::Own, soon()).unwrap()
}

/// What a warehouse would do: the table with the columns that its notes want.
fn change(test: &TestLake, table: &str, retyped: &[(&str, ColumnType)]) {
    let notes = notes(test, table);
    let wanted = wanted(notes.iter().map(|left| &left.note)).into_iter().map(|column| {
        let retyped = retyped.iter().find(|(name, _)| *name == column.name);
        (column.name, retyped.map_or(column.column_type, |(_, column_type)| *column_type))
    });
    let wanted: Vec<(String, ColumnType)> = wanted.collect();
    match test.open(table) {
        Some(mut there) => drop(add_columns_only(&test.lake, &mut there, &wanted, soon()).unwrap()),
        None => {
            commit(&test.lake, SCHEMA, table, &mut None, &wanted, &Append::default(), soon()).unwrap();
        }
    }
}

/// The sums of `_loads` by table: events, rows, held, duplicates, rescued.
fn loads(test: &TestLake) -> BTreeMap<String, [i64; 5]> {
    let mut sums: BTreeMap<String, [i64; 5]> = BTreeMap::new();
    let mut each = |batch: &arrow_array::RecordBatch| {
        for row in 0..batch.num_rows() {
            let table = batch.column(0).as_string::<i32>().iter().nth(row).flatten().unwrap_or("-").to_owned();
            let sum = sums.entry(table).or_default();
            for (at, sum) in sum.iter_mut().enumerate() {
                *sum += batch.column(at + 1).as_primitive::<Int64Type>().value(row);
            }
        }
        Ok(())
    };
    let columns = ["table_name", "events", "rows", "held", "duplicates", "rescued"];
    test.open(LOADS).unwrap().read(&columns, None, &mut each, 1_000).unwrap();
    sums
}

/// Nothing is lost or doubled, as the other implementation of Delta sees it.
fn assert_proved(test: &TestLake, uploads: &[Upload]) {
    #[cfg(feature = "verify")]
    {
        let proof = crate::verify::verify(&test.lake, &settings(), &[SCHEMA.to_owned()], uploads).unwrap();
        assert!(proof.proved, "{:#?}", proof.differences);
    }
    for (table, [events, rows, held, duplicates, _]) in loads(test) {
        assert_eq!(events, rows + held + duplicates, "{table}, of {} uploads", uploads.len());
    }
}

/// As if `_loads` had never been written: its run was killed before.
fn forget_loads(test: &TestLake) {
    std::fs::remove_dir_all(test.path(LOADS)).unwrap();
}

fn ids(test: &TestLake, table: &str) -> Vec<String> {
    test.rows(&test.open(table).unwrap(), &["id"])
}

#[test]
fn rows_are_held_until_their_table_is_there_and_then_committed_once() {
    let test = TestLake::new();
    let one = upload("one", &[page("1", r#"{"a":1}"#), page("2", r#"{"a":2.5,"b":"x"}"#), alias("3")]);
    let report = land(&test, &settings(), std::slice::from_ref(&one));
    let upload = &report.uploads[0];
    assert_eq!(
        (upload.status, upload.counts.landed, upload.counts.held, upload.counts.rows),
        (Status::PartlyHeld, 0, 3, 0)
    );
    assert!(test.open("pages").is_none() && test.open("aliases").is_none(), "no table is made");
    let left = notes(&test, "pages");
    let note = &left[0].note;
    assert_eq!((left.len(), note.uploads.len(), note.uploads[0].rows, note.host.as_str()), (1, 1, 2, "terminal"));
    let wanted: BTreeMap<&str, &Wanted> = note.columns.iter().map(|column| (column.name.as_str(), column)).collect();
    assert_eq!((wanted["a"].column_type, wanted["id"].column_type), (ColumnType::Double, ColumnType::String));
    assert_eq!((wanted["b"].comment.as_deref(), &wanted["id"].comment), (Some("first seen in one"), &None));
    assert!(!test.path("pages").exists(), "a warehouse makes no table where files lie");
    assert_proved(&test, std::slice::from_ref(&one));

    change(&test, "pages", &[]);
    let committed = commit_all(&test, "pages", &left);
    assert_eq!((committed.rows, committed.duplicates, committed.rescued), (2, 0, 0));
    assert_eq!(test.rows(&test.open("pages").unwrap(), &["id", "a", "b"]), ["1|1|-", "2|2.5|x"]);
    assert_eq!(loads(&test)["pages"], [2, 2, 0, 0, 0]);
    assert_eq!((loads(&test)["-"], notes(&test, "pages").len()), ([3, 2, 1, 0, 0], 0));
    assert_proved(&test, std::slice::from_ref(&one));

    let aside = std::fs::read_dir(test.path("../_inlet/held-rows/web/pages")).unwrap();
    assert_eq!(aside.count(), 0, "files that no log names go with their note");

    // The same notes again, as after a run that was killed before they went.
    commit_all(&test, "pages", &left);
    assert_eq!((ids(&test, "pages").len(), loads(&test)["-"]), (2, [3, 2, 1, 0, 0]));
    let again = land(&test, &settings(), std::slice::from_ref(&one));
    assert_eq!(again.uploads[0].status, Status::AlreadyLanded);
    assert_proved(&test, &[one]);
}

#[test]
fn tables_without_drift_land_beside_those_with_it() {
    let test = TestLake::new();
    let first = upload("one", &[page("1", r#"{"a":1}"#), alias("2")]);
    land(&test, &Settings { destination: None, ..settings() }, std::slice::from_ref(&first));
    let second = upload("two", &[page("3", r#"{"a":2,"b":true}"#), alias("4")]);
    let report = land(&test, &settings(), std::slice::from_ref(&second));
    let upload = &report.uploads[0];
    assert_eq!((status_of(upload, "pages"), status_of(upload, "aliases")), (Some(Status::Held), Some(Status::Landed)));
    assert_eq!((upload.counts.landed, upload.counts.held, upload.counts.rows), (1, 1, 1));
    // What lacks nothing lands, and does not ask for the columns that others wait for.
    let third = land(&test, &settings(), &[self::upload("three", &[page("5", r#"{"a":3}"#)])]);
    assert_eq!(third.uploads[0].status, Status::Landed);
    assert_eq!(test.rows(&test.open("pages").unwrap(), &["id", "a"]), ["1|1", "5|3"]);
    assert!(test.open("pages").unwrap().columns().iter().all(|column| column.name != "b"));
    assert_proved(&test, &[first.clone(), second.clone()]);

    let left = notes(&test, "pages");
    let files = std::fs::read_dir(test.path("pages")).unwrap().count();
    change(&test, "pages", &[]);
    commit_all(&test, "pages", &left);
    assert_eq!(std::fs::read_dir(test.path("pages")).unwrap().count(), files, "the same files are committed");
    assert_eq!(test.rows(&test.open("pages").unwrap(), &["id", "b"]), ["1|-", "3|true", "5|-"]);
    assert_proved(&test, &[first, second]);
}

#[test]
fn a_delivery_after_a_kill_before_the_ledger_holds_nothing_twice() {
    let test = TestLake::new();
    let one = upload("one", &[page("1", r#"{"a":1}"#), page("1", r#"{"a":1}"#)]);
    land(&test, &settings(), std::slice::from_ref(&one));
    forget_loads(&test);
    let again = land(&test, &settings(), std::slice::from_ref(&one));
    assert_eq!((again.uploads[0].status, again.uploads[0].counts.held), (Status::PartlyHeld, 1));
    assert_eq!(notes(&test, "pages").len(), 1);
    assert_proved(&test, std::slice::from_ref(&one));

    // Evolve comes between the kill and the next delivery: the rows land, and the note waits for the upload to be done.
    forget_loads(&test);
    change(&test, "pages", &[]);
    let left = notes(&test, "pages");
    commit_all(&test, "pages", &left);
    assert_eq!((ids(&test, "pages").len(), notes(&test, "pages").len()), (1, 1));
    let report = land(&test, &settings(), std::slice::from_ref(&one));
    assert_eq!((report.uploads[0].status, report.uploads[0].counts.landed), (Status::Landed, 1));
    commit_all(&test, "pages", &left);
    assert_eq!((loads(&test)["pages"], notes(&test, "pages").len()), ([2, 1, 0, 1, 0], 0));
    assert_proved(&test, &[one]);
}

#[test]
fn an_upload_that_two_notes_name_lands_once() {
    let test = TestLake::new();
    let (one, two) = (upload("one", &[page("1", r#"{"a":1}"#)]), upload("two", &[page("2", r#"{"a":2}"#)]));
    land(&test, &settings(), std::slice::from_ref(&one));
    let first = notes(&test, "pages").remove(0);
    // Another delivery that has not seen the first one's note, in a group with another upload.
    State::of(&test.lake).remove(&first.place).unwrap();
    forget_loads(&test);
    land(&test, &settings(), &[one.clone(), two.clone()]);
    State::of(&test.lake).put(&first.place, &first.note).unwrap();
    let left = notes(&test, "pages");
    assert_eq!(left.iter().map(|left| left.note.uploads.len()).collect::<Vec<_>>(), [1, 2]);
    change(&test, "pages", &[]);
    commit_all(&test, "pages", &left);
    assert_eq!(ids(&test, "pages"), ["1", "2"]);
    assert_eq!((loads(&test)["pages"], notes(&test, "pages").len()), ([2, 2, 0, 0, 0], 0));
    assert_proved(&test, &[one, two]);
}

#[test]
fn a_later_form_of_a_held_key_waits_for_it_and_lands_only_what_is_new() {
    let test = TestLake::new();
    land(&test, &Settings { destination: None, ..settings() }, &[upload("zero", &[page("0", r#"{"a":0}"#)])]);
    let earlier = upload("key", &[page("1", r#"{"a":1,"b":1}"#), page("2", r#"{"a":2}"#)]);
    land(&test, &settings(), std::slice::from_ref(&earlier));
    // Its columns are all there; but which of its ids the earlier form brings is not known yet.
    let later = upload("key", &[page("2", r#"{"a":2}"#), page("3", r#"{"a":3}"#)]);
    let report = land(&test, &settings(), std::slice::from_ref(&later));
    assert_eq!((report.uploads[0].status, report.uploads[0].counts.held), (Status::PartlyHeld, 2));
    assert_proved(&test, std::slice::from_ref(&earlier));
    let left = notes(&test, "pages");
    assert_eq!(left[1].note.uploads[0].after, [earlier.id.to_string()]);

    change(&test, "pages", &[]);
    let newest_first: Vec<&Left> = left.iter().rev().collect();
    let committed = commit_held(&test.lake, SCHEMA, "pages", &newest_first, Growth::Own, soon()).unwrap();
    assert!(committed.fault.is_none(), "{committed:?}");
    assert_eq!((committed.rows, committed.duplicates), (3, 1));
    assert_eq!(test.rows(&test.open("pages").unwrap(), &["id", "a", "b"]), ["0|0|-", "1|1|1", "2|2|-", "3|3|-"]);
    assert_eq!(loads(&test)["pages"], [5, 4, 0, 1, 0]);
    assert_proved(&test, &[earlier, later]);
}

#[test]
fn what_cannot_be_read_back_stops_only_what_must_come_after_it() {
    let test = TestLake::new();
    let earlier = upload("key", &[page("1", r#"{"a":1}"#)]);
    let later = upload("key", &[page("1", r#"{"a":1}"#), page("2", r#"{"a":2}"#)]);
    let other = upload("other", &[page("3", r#"{"a":3}"#)]);
    for one in [&earlier, &later, &other] {
        land(&test, &settings(), std::slice::from_ref(one));
    }
    let left = notes(&test, "pages");
    let aside = test.path("../_inlet/held-rows/web/pages");
    let mut files: Vec<_> = std::fs::read_dir(&aside).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort_by_key(|file| std::fs::metadata(file).unwrap().modified().unwrap());
    let hidden = aside.join("hidden");
    std::fs::rename(&files[0], &hidden).unwrap();
    change(&test, "pages", &[]);
    let committed = commit_all(&test, "pages", &left);
    let fault = committed.fault.unwrap();
    assert!(fault.to_string().ends_with("of held rows is gone"), "{fault}");
    assert_eq!((ids(&test, "pages"), notes(&test, "pages").len()), (vec!["3".to_owned()], 2));
    assert_proved(&test, std::slice::from_ref(&other));
    std::fs::rename(&hidden, &files[0]).unwrap();
    let committed = commit_all(&test, "pages", &notes(&test, "pages"));
    assert!(committed.fault.is_none(), "{committed:?}");
    assert_eq!((ids(&test, "pages").len(), loads(&test)["pages"]), (3, [4, 3, 0, 1, 0]));
    assert_proved(&test, &[earlier, later, other]);
}

#[test]
fn rows_are_written_anew_when_a_column_came_as_another_type() {
    let test = TestLake::new();
    let one =
        upload("one", &[page("1", r#"{"a":1.50,"b":7,"c":"x"}"#), page("2", r#"{"a":2,"b":8,"c":"9","id":"mine"}"#)]);
    land(&test, &settings(), std::slice::from_ref(&one));
    change(&test, "pages", &[("a", ColumnType::String), ("b", ColumnType::Timestamp), ("c", ColumnType::BigInt)]);
    let committed = commit_all(&test, "pages", &notes(&test, "pages"));
    assert_eq!((committed.rows, committed.rescued), (2, 4));
    assert_eq!(
        test.rows(&test.open("pages").unwrap(), &["id", "a", "b", "c", "_rescued_data"]),
        [r#"1|1.5|-|-|{"b":7,"c":"x"}"#, r#"2|2.0|-|9|{"id":"mine","b":8}"#]
    );
    assert_eq!(loads(&test)["pages"], [2, 2, 0, 0, 4]);
    assert_proved(&test, &[one]);
}

#[test]
fn what_the_table_has_no_column_for_is_rescued() {
    let test = TestLake::new();
    let one = upload("one", &[page("1", r#"{"Total Price":1.50,"ok":true}"#)]);
    land(&test, &settings(), std::slice::from_ref(&one));
    let committed = commit_all(&test, "pages", &notes(&test, "pages"));
    assert_eq!((committed.rows, committed.rescued), (1, 2));
    let table = test.open("pages").unwrap();
    assert_eq!(test.rows(&table, &["id", "user_id", "_rescued_data"]), [r#"1|u|{"total_price":1.5,"ok":true}"#]);
    assert!(table.columns().iter().all(|column| column.name != "ok"), "only the columns that every table has");
    assert_eq!(loads(&test)["pages"], [1, 1, 0, 0, 2]);
    assert_proved(&test, &[one]);
}

#[test]
fn whatever_becomes_of_a_commit_the_next_evolve_completes_it() {
    for trick in [Trick::LoseAnswer, Trick::BeatMyself, Trick::Collide, Trick::Fail, Trick::Refuse] {
        // The first commit is the table's, the second that of `_loads`.
        for which in 0..2 {
            let test = TestLake::new();
            let one = upload("one", &[page("1", r#"{"a":1}"#), page("2", r#"{"a":2}"#)]);
            land(&test, &settings(), std::slice::from_ref(&one));
            change(&test, "pages", &[]);
            let left = notes(&test, "pages");
            test.tricks.play_at(which, trick);
            let refs: Vec<&Left> = left.iter().collect();
            let what = format!("{trick:?} of commit {which}");
            let first = commit_held(&test.lake, SCHEMA, "pages", &refs, Growth::Own, soon());
            let is_whole = first.is_ok_and(|committed| committed.fault.is_none());
            assert_eq!(is_whole, !matches!(trick, Trick::Refuse), "{what}");
            if !is_whole {
                assert_eq!((loads(&test)["pages"], notes(&test, "pages").len()), ([2, 0, 2, 0, 0], 1), "{what}");
                assert_eq!(ids(&test, "pages").len(), 2 * which, "{what}");
            }
            commit_all(&test, "pages", &left);
            assert_eq!(ids(&test, "pages"), ["1", "2"], "{what}");
            assert_eq!((loads(&test)["pages"], notes(&test, "pages").len()), ([2, 2, 0, 0, 0], 0), "{what}");
            assert_proved(&test, &[one]);
        }
    }
}

#[test]
fn notes_that_cannot_be_read_are_named() {
    let test = TestLake::new();
    land(&test, &settings(), &[upload("one", &[page("1", "{}")])]);
    let mut left = notes(&test, "pages").remove(0);
    let state = State::of(&test.lake);
    let place = |table: &str, name: &str| folder(&state).join(SCHEMA).join(table).join(name);
    state.put(&place("pages", "half.json"), &"half a note").unwrap();
    left.note.table = "screens".to_owned();
    state.put(&place("pages", "astray.json"), &left.note).unwrap();
    let gathered = gather(&test.lake, None).unwrap();
    assert_eq!((gathered.notes.len(), gathered.damaged.len()), (1, 2));
    assert!(gathered.damaged.iter().any(|(_, what)| what == "it speaks of table `web.screens`"));
}
