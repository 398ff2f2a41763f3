//! Reports as people read them, to the letter.

use inlet_core::fault::FaultKind;
use inlet_core::report::{NewColumn, ReleasedTable, TableReport, UploadReport};

use super::*;

fn upload(name: &str, status: Status, counts: Counts, tables: Vec<TableReport>) -> UploadReport {
    UploadReport { upload: name.to_owned(), upload_id: "0".repeat(32), status, counts, tables, fault: None }
}

fn part(table: &str, rows: u64, rescued: u64, new: &[&str]) -> TableReport {
    let column = |name: &&str| NewColumn { name: (*name).to_owned(), column_type: "string" };
    TableReport {
        table: table.to_owned(),
        status: Status::Landed,
        rows,
        rescued,
        version: Some(0),
        waits_for: None,
        new_columns: new.iter().map(column).collect(),
        because: None,
    }
}

fn said(uploads: Vec<UploadReport>, skipped: u64) -> String {
    let lake = Url::parse("file:///data/lake/").unwrap();
    said_of(uploads, skipped, Some(&(lake, "./lake".to_owned())))
}

fn said_of(uploads: Vec<UploadReport>, skipped: u64, place: Option<&(Url, String)>) -> String {
    let mut whole = Report::new();
    whole.totals.skipped = skipped;
    let schemas = uploads.iter().map(|upload| (upload.upload.clone(), "events".to_owned())).collect();
    uploads.into_iter().for_each(|upload| whole.push(upload));
    report(&whole, Context { place, program: "inlet", schemas: &schemas })
}

#[test]
fn what_is_staged_is_said_to_wait_for_the_warehouse() {
    let counts = Counts { events: 3, held: 2, rejected: 1, ..Counts::default() };
    let tables = vec![TableReport { status: Status::Staged, version: None, ..part("web.pages", 2, 0, &["url"]) }];
    let text = said_of(vec![upload("a.gz", Status::Staged, counts, tables)], 0, None);
    assert_eq!(
        text,
        "1 upload staged\n\
         3 events: 2 staged, 1 rejected\n\
         \n\
         table      rows  staged  rescued  new columns\n\
         web.pages     0       2        0  1: url\n\
         \n\
         warning: 1 event was rejected: see `_rejects`\n\
         \n\
         next:\n\
         \x20 inlet evolve   # loads what is staged now; else the schedule does\n"
    );
    let again = said_of(vec![upload("a.gz", Status::AlreadyStaged, Counts::default(), Vec::new())], 0, None);
    assert!(again.starts_with("nothing to do: all 1 uploads are already staged\n"), "{again}");
}

#[test]
fn a_run_says_what_landed_and_where_the_rest_is() {
    let counts = Counts {
        events: 1_203,
        landed: 1_200,
        rows: 2_400,
        rejected: 2,
        duplicates: 1,
        rescued: 1,
        ..Counts::default()
    };
    let tables = vec![
        part("events.order_completed", 1_200, 1, &["id", "total"]),
        part("events.tracks", 1_200, 0, &["a", "b", "c", "d", "e"]),
    ];
    let uploads = vec![
        upload("a.gz", Status::Landed, counts, tables),
        upload("b.gz", Status::AlreadyLanded, Counts::default(), Vec::new()),
    ];
    assert_eq!(
        said(uploads, 2),
        r#"1 upload landed, 1 already landed
1,203 events: 1,200 landed, 1 duplicate, 2 rejected
2 files skipped: hidden, empty or `dummy-object.txt`

table                    rows  rescued  new columns
events.order_completed  1,200        1  2: id, total
events.tracks           1,200        0  5: a, b, c, d, …

warning: 2 events were rejected: see `_rejects`:
  duckdb -c "SELECT upload, line, reason, raw FROM delta_scan('/data/lake/events/_rejects') ORDER BY loaded_at DESC"

warning: 1 value did not fit and stands in `_rescued_data`:
  duckdb -c "SELECT id, _rescued_data FROM delta_scan('/data/lake/events/order_completed') WHERE _rescued_data IS NOT NULL"

next:
  duckdb -c "SELECT event, count(*) AS events FROM delta_scan('/data/lake/events/tracks') GROUP BY ALL ORDER BY events DESC"
  inlet sql --lake ./lake   # opens every table and view
"#
    );
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let already = |name| upload(name, Status::AlreadyLanded, Counts::default(), Vec::new());
    assert_eq!(said(vec![already("a"), already("b")], 0), "nothing to do: all 2 uploads are already landed\n");
}

#[test]
fn rows_that_had_waited_for_a_gate_are_said_whatever_else_there_was_to_do() {
    let mut whole = Report::new();
    whole.push(upload("a.gz", Status::AlreadyLanded, Counts::default(), Vec::new()));
    let one =
        |table: &str, rows, fault| ReleasedTable { table: table.to_owned(), rows, duplicates: 0, rescued: 0, fault };
    let gone = FaultReport { kind: FaultKind::Setup, message: "its files are gone".to_owned(), hint: None };
    whole.released = vec![one("events.tracks", 2, None), one("events.pages", 0, Some(gone))];
    let lake = Url::parse("s3://acme/lake/").unwrap();
    let schemas = BTreeMap::new();
    let place = (lake, "s3://acme/lake".to_owned());
    let context = Context { place: Some(&place), program: "inlet", schemas: &schemas };
    let lines = "2 rows held before landed in events.tracks\n\
                 rows stay held for events.pages, whose gate is open: its files are gone\n";
    assert_eq!(report(&whole, context), format!("nothing to do: all 1 uploads are already landed\n{lines}"));
}

#[test]
fn skipped_files_alone_are_nothing_to_land() {
    assert_eq!(said(Vec::new(), 1), "nothing to land\n1 file skipped: hidden, empty or `dummy-object.txt`\n");
}

#[test]
fn without_tracks_the_largest_table_is_looked_at() {
    let counts = Counts { events: 3, landed: 3, rows: 3, ..Counts::default() };
    let tables = vec![part("web.groups", 1, 0, &[]), part("web.pages", 2, 0, &[])];
    let text = said(vec![upload("a", Status::Landed, counts, tables)], 0);
    assert!(text.contains("duckdb -c \"SELECT * FROM delta_scan('/data/lake/web/pages') LIMIT 10\""), "{text}");
}

#[test]
fn held_rows_have_a_column_of_their_own() {
    let counts = Counts { events: 3, landed: 1, held: 2, rows: 1, ..Counts::default() };
    let held = TableReport { status: Status::Held, ..part("web.groups", 2, 0, &[]) };
    let text = said(vec![upload("a", Status::PartlyHeld, counts, vec![held, part("web.pages", 1, 0, &[])])], 0);
    assert!(text.contains("table       rows  held  rescued  new columns\nweb.groups     0     2        0\n"), "{text}");
    let warning = |what: &str| format!("warning: {what} are held until the tables' columns have changed: inlet evolve");
    assert!(text.contains(&warning("2 events")), "{text}");
    let counts = Counts { events: 3, landed: 3, rows: 3, ..Counts::default() };
    let event = TableReport { status: Status::Held, ..part("web.order", 3, 0, &[]) };
    let text = said(vec![upload("a", Status::PartlyHeld, counts, vec![event, part("web.tracks", 3, 0, &[])])], 0);
    assert!(text.contains(&warning("3 rows")), "{text}");
    let counts = Counts { events: 3, landed: 3, rows: 3, ..Counts::default() };
    let gated = TableReport { status: Status::Held, waits_for: Some("gate"), ..part("web.order", 3, 0, &[]) };
    let text = said(vec![upload("a", Status::PartlyHeld, counts, vec![gated, part("web.tracks", 3, 0, &[])])], 0);
    assert!(text.contains("warning: 3 rows are held until the gates of their tables open"), "{text}");
}

#[test]
fn faults_name_their_upload_and_keep_the_hint_on_its_own_line() {
    let fault = |message: &str, hint: Option<&str>| {
        Some(FaultReport { kind: FaultKind::Rejected, message: message.to_owned(), hint: hint.map(str::to_owned) })
    };
    let mut whole = Report::new();
    for name in ["a.tar", "b"] {
        let mut one = upload(name, Status::Rejected, Counts::default(), Vec::new());
        one.fault = fault("this is a tar archive", Some("unpack it: tar -xf a.tar -C uploads"));
        whole.push(one);
    }
    whole.fault = fault("all of it\u{1b}", None);
    assert_eq!(
        faults(&whole),
        "rejected: `a.tar`: this is a tar archive\nhint: unpack it: tar -xf a.tar -C uploads\n\
         rejected: `b`: this is a tar archive\nhint: unpack it: tar -xf a.tar -C uploads\n\
         rejected: all of it\\u{1b}\n"
    );
}

#[test]
fn a_failed_upload_is_said_not_to_be_acknowledged() {
    let counts = Counts { events: 1, landed: 1, rows: 1, ..Counts::default() };
    let landed = upload("a.gz", Status::Landed, counts, vec![part("events.tracks", 1, 0, &[])]);
    let failed = upload("b.gz", Status::Failed, Counts::default(), Vec::new());
    let said = said(vec![landed, failed], 0);
    let first: Vec<&str> = said.lines().take(3).collect();
    assert_eq!(
        first,
        [
            "1 upload landed, 1 failed",
            "1 event: 1 landed",
            "nothing is acknowledged of what failed: mend it and run the command again"
        ]
    );
}
