//! Tables that were put in order hold what they held, value for value, whoever is at work meanwhile and wherever it stops.

mod files;
mod month;
mod races;
mod warehouse;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::delta::Lake;
use inlet_core::fault::FaultKind;
use inlet_core::maintain::{Ask, MaintainReport, Rules, TableMaintained, maintain};
use inlet_core::report::Status;
use serde_json::Value as Json;
use url::Url;

use crate::databricks_made as made;
use crate::events::{calls, lines, track};
use crate::lake;
use crate::support::{Chance, Room, SCHEMA, assert_landed, listing, runtime};
use crate::verify::assert_proves_uploads;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a person asks so long from now.
pub(crate) fn ask_in(time: Duration) -> Ask {
    Ask {
        plan: false,
        by_hand: true,
        rules: Rules::default(),
        now: clock::after(time),
        patience: Duration::from_secs(60),
    }
}

/// Puts a lake in order, without a workspace.
pub(crate) fn maintained_within(lake: &Lake, ask: &Ask, time: Duration) -> MaintainReport {
    maintain(lake, None, &[SCHEMA.to_owned()], ask, Deadline::after(time), &|_| {})
}

fn maintained(folder: &Path, ask: &Ask) -> MaintainReport {
    let url = Url::from_directory_path(fs::canonicalize(folder).expect("the lake is there")).expect("a path is a URL");
    let lake = Lake::open(&url, runtime().handle().clone()).expect("the lake opens");
    let report = maintained_within(&lake, ask, 10 * HOUR);
    assert_eq!(report.gravest(), None, "{report:#?}");
    report
}

/// What was done to a table.
fn of<'a>(report: &'a MaintainReport, table: &str) -> &'a TableMaintained {
    let found = report.tables.iter().find(|one| one.table == format!("{SCHEMA}.{table}"));
    found.unwrap_or_else(|| panic!("nothing was done to `{table}`: {report:#?}"))
}

/// So many uploads of all kinds of calls, some with rejected lines, each landed by a run of its own.
fn landed(room: &Room, uploads: usize) -> Vec<String> {
    let mut chance = Chance::of(21);
    let name = |number: usize| format!("{number}.ndjson");
    for number in 0..uploads {
        let mut events = calls(&mut chance, &format!("u{number}"), 30);
        events.push("{}".to_owned());
        assert_landed(&room.land(vec![room.upload(&name(number), &lines(&events))]));
    }
    (0..uploads).map(name).collect()
}

#[test]
fn compaction_keeps_each_value_and_whatever_is_known_of_uploads() {
    let room = Room::new();
    let names = landed(&room, 8);
    let before = lake::read_all(&room.lake(), SCHEMA);
    let report = maintained(&room.lake(), &ask_in(2 * HOUR));
    let after = lake::read_all(&room.lake(), SCHEMA);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, table) in &before {
        let now = &after[name];
        lake::assert_same_rows(name, &now.rows, &table.rows);
        assert_eq!(now.columns, table.columns, "{name}");
        let compacted = of(&report, name).compacted;
        assert_eq!((now.files, now.version), (1, table.version + 1), "{name}");
        assert_eq!((compacted.from_files, compacted.to_files), (table.files as u64, 1), "{name}");
        assert_eq!(compacted.rows, table.rows.len() as u64, "{name}");
        assert_one_commit_without_a_change(&room.lake().join(SCHEMA).join(name), now.version);
    }
    assert!(after.contains_key("_loads") && after.contains_key("_rejects"), "{:?}", after.keys());

    let uploads = || names.iter().map(|name| crate::support::upload(&room.path(name))).collect::<Vec<_>>();
    let again = room.land(uploads());
    assert!(again.uploads.iter().all(|upload| upload.status == Status::AlreadyLanded), "{again:#?}");
    assert_proves_uploads(&room.lake(), &uploads());
    lake::assert_ledger(&room.lake(), SCHEMA);
}

#[test]
fn a_later_form_of_a_key_finds_in_a_compacted_file_what_has_landed() {
    let room = Room::new();
    let form = |count: usize| {
        let events: Vec<_> = (0..count).map(|n| track(&format!("k{n}"), "Kept", &format!(r#"{{"n":{n}}}"#))).collect();
        room.upload("key.ndjson", &lines(&events))
    };
    assert_landed(&room.land(vec![form(5)]));
    landed(&room, 2);
    maintained(&room.lake(), &ask_in(2 * HOUR));
    let report = room.land(vec![form(8)]);
    assert_eq!((report.totals.counts.landed, report.totals.counts.duplicates), (3, 5), "{report:#?}");
    maintained(&room.lake(), &ask_in(4 * HOUR));
    lake::assert_ledger(&room.lake(), SCHEMA);
}

/// The last commit of a table removes and adds, and says that no row is another.
fn assert_one_commit_without_a_change(table: &Path, version: u64) {
    let commit = fs::read_to_string(table.join(format!("_delta_log/{version:020}.json"))).expect("the commit is there");
    let actions: Vec<Json> = commit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: BTreeSet<&str> =
        actions.iter().flat_map(|action| action.as_object().expect("an action").keys()).map(String::as_str).collect();
    assert_eq!(kinds, BTreeSet::from(["add", "commitInfo", "remove"]));
    for action in &actions {
        if let Some(info) = action.get("commitInfo") {
            assert_eq!((&info["operation"], info.get("isBlindAppend")), (&"OPTIMIZE".into(), None), "{info}");
            continue;
        }
        let file = action.get("add").unwrap_or(&action["remove"]);
        assert_eq!(file["dataChange"], false, "{action}");
    }
}

/// What the log says of a column of the live files: nulls, least and greatest.
fn statistics(table: &Path, column: &str) -> (u64, u64, String, String) {
    let log = made::log(table);
    let actions = |kind: &'static str| log.iter().flatten().filter_map(move |action| action.get(kind));
    let removed: Vec<&Json> = actions("remove").map(|action| &action["path"]).collect();
    let (mut rows, mut nulls) = (0, 0);
    let (mut least, mut greatest): (Option<String>, Option<String>) = (None, None);
    for add in actions("add").filter(|add| !removed.contains(&&add["path"])) {
        let known: Json = serde_json::from_str(add["stats"].as_str().expect("statistics")).expect("JSON");
        rows += known["numRecords"].as_u64().expect("a number");
        nulls += known["nullCount"][column].as_u64().expect("a number");
        let text = |bound: &str| known[bound][column].as_str().map(str::to_owned);
        least = least.into_iter().chain(text("minValues")).min();
        greatest = greatest.into_iter().chain(text("maxValues")).max();
    }
    (rows, nulls, least.unwrap_or_default(), greatest.unwrap_or_default())
}

#[test]
fn compaction_keeps_what_the_log_knows_of_columns() {
    let room = Room::new();
    landed(&room, 5);
    let table = room.lake().join(SCHEMA).join("tracks");
    let columns = ["_upload_id", "received_at", "timestamp", "user_id", "event"];
    let before = columns.map(|column| statistics(&table, column));
    maintained(&room.lake(), &ask_in(2 * HOUR));
    assert_eq!(columns.map(|column| statistics(&table, column)), before);
}

#[test]
fn a_plan_says_what_would_be_done_and_changes_nothing() {
    let room = Room::new();
    landed(&room, 3);
    let before = listing(&room.lake());
    let plan = maintained(&room.lake(), &Ask { plan: true, ..ask_in(2 * HOUR) });
    assert_eq!(listing(&room.lake()), before);
    let done = maintained(&room.lake(), &ask_in(2 * HOUR));
    let said = |report: &MaintainReport| -> Vec<(String, u64)> {
        report.tables.iter().map(|table| (table.table.clone(), table.small_files)).collect()
    };
    assert_eq!(said(&plan), said(&done));
    assert!(plan.tables.iter().all(|table| table.compacted.commits == 0));
}

#[test]
fn what_is_in_order_is_left_alone() {
    let room = Room::new();
    landed(&room, 3);
    let before = listing(&room.lake());
    assert_eq!(maintained(&room.lake(), &ask_in(HOUR / 2)).tables.len(), 0, "the files are young");
    assert_eq!(listing(&room.lake()), before);
    maintained(&room.lake(), &ask_in(2 * HOUR));
    let before = listing(&room.lake());
    assert_eq!(maintained(&room.lake(), &ask_in(4 * HOUR)).tables.len(), 0, "one file is as few as can be");
    assert_eq!(listing(&room.lake()), before);
}

#[test]
fn what_no_time_is_left_for_is_left_to_the_next_run() {
    let room = Room::new();
    landed(&room, 3);
    let before = listing(&room.lake());
    let url = Url::from_directory_path(fs::canonicalize(room.lake()).expect("the lake is there")).expect("a URL");
    let lake = Lake::open(&url, runtime().handle().clone()).expect("the lake opens");
    let report = maintained_within(&lake, &ask_in(2 * HOUR), Duration::ZERO);
    assert!(report.unfinished && report.gravest().is_none_or(|kind| kind == FaultKind::Again), "{report:#?}");
    assert_eq!(listing(&room.lake()), before);
}

#[test]
fn a_made_table_is_compacted_whole_or_skipped_by_name() {
    let mut skipped = Vec::new();
    for name in made::open_to_rows() {
        let room = Room::new();
        let table = made::stand(name, &room.lake());
        for id in ["a", "b", "c", "d"] {
            assert_landed(&room.land(vec![room.upload(&format!("{id}.ndjson"), &lines(&[made::order(id, "")]))]));
        }
        let before = made::log(&table);
        let rows = made::read(&table, &before);
        let report = maintained(&room.lake(), &ask_in(2 * HOUR));
        let after = made::log(&table);
        let maintained = of(&report, "order_completed");
        match &maintained.skipped {
            Some(why) => {
                assert_eq!(after, before, "{name}");
                let hint = why.hint.as_deref().unwrap_or_default();
                assert!(hint.starts_with("run: OPTIMIZE `events`.`order_completed`"), "{name}: {hint}");
                skipped.push((name, why.message.rsplit(": ").next().unwrap_or_default().to_owned()));
            }
            None => {
                assert_eq!(after.len(), before.len() + 1, "{name}");
                assert!(maintained.compacted.from_files >= 4, "{name}: {maintained:#?}");
                // Files from before Inlet's first commit are read apart from the others.
                let now = made::read(&table, &after);
                let ids = |table: &lake::Table| table.texts("id").into_iter().map(str::to_owned).collect::<Vec<_>>();
                assert_eq!(ids(&now), ids(&rows), "{name}");
                for id in ids(&rows) {
                    assert_eq!(now.row(&id), rows.row(&id), "{name}");
                }
            }
        }
        for id in ["a", "b", "c", "d"] {
            let again = room.land(vec![crate::support::upload(&room.path(&format!("{id}.ndjson")))]);
            assert_eq!(again.uploads[0].status, Status::AlreadyLanded, "{name}");
        }
    }
    let skipped: Vec<(&str, &str)> = skipped.iter().map(|(name, why)| (*name, why.as_str())).collect();
    let wanted = [
        ("clustered", "it has the table feature clustering"),
        ("clustered_with_ids_of_others", "it has the table feature clustering"),
        ("iceberg_compat_v2", "it has the table feature icebergCompatV2"),
        ("managed_of_an_old_schema", "it has the table feature rowTracking"),
        ("managed_today_without_catalog_commits", "it has the table feature clustering"),
        ("row_tracking", "it has the table feature rowTracking"),
        ("type_widening", "it has the table feature typeWidening"),
        ("variant", "column `payload` is of a type Inlet does not write"),
    ];
    assert_eq!(skipped, wanted);
}
