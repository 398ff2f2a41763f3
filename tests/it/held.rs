//! With `schema_changes = "warehouse"` rows wait for the warehouse to change their tables: they are held, nothing else
//! is, nobody is called, and no row is lost or doubled whatever becomes of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::databricks::Workspace;
use inlet_core::delta::Lake;
use inlet_core::evolve::{self, Ask, EvolveReport, TableStatus};
use inlet_core::report::Status;
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;
use url::Url;

use crate::events::{calls, lines, track};
use crate::lake;
use crate::process::{inlet, run};
use crate::support::{Chance, Room, SCHEMA, assert_landed, land, runtime, settings, the_only};
use crate::verify::{assert_proves, assert_proves_uploads};

/// A workspace that is there and never called: whoever connects is found out.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can be asked without waiting");
        Self(listener)
    }

    fn settings_text(&self, lake: &str) -> String {
        let port = self.0.local_addr().expect("it is bound").port();
        format!(
            "lake = \"{lake}\"\nworkspace_url = \"http://127.0.0.1:{port}/\"\nallow_host = [\"127.0.0.1\"]\n\
             catalog = \"segment\"\nhttp_path = \"/sql/1.0/warehouses/dd43ee29fedd958d\"\n\
             schema_changes = \"warehouse\"\n[auth]\ntoken = \"env:DATABRICKS_TOKEN\"\n"
        )
    }

    fn settings(&self) -> Settings {
        let variable = |name: &str| (name == "DATABRICKS_TOKEN").then(|| "dapi0".to_owned());
        let text = self.settings_text("file:///lake/");
        let held = Settings::load(Some(("inlet.toml", &text)), variable).expect("the settings are right");
        Settings { workers: 2, patience: settings().patience, ..held }
    }

    fn assert_never_called(&self) {
        let called = self.0.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(called, Err(ErrorKind::WouldBlock), "somebody called the workspace");
    }
}

/// An evolve whose workspace does not answer, and whose patience with held rows is over.
fn evolve_in_vain(room: &Room, silent: &Silent) -> EvolveReport {
    let url = Url::from_directory_path(fs::canonicalize(room.lake()).expect("the lake is there")).expect("a URL");
    let settings = silent.settings();
    let destination = settings.destination.clone().expect("the settings name a workspace");
    let parts = evolve::Parts {
        lake: Lake::open(&url, runtime().handle().clone()).expect("the lake opens"),
        workspace: Workspace::new(destination.connection).expect("a workspace"),
        catalog: destination.catalog,
        warehouse: destination.warehouse,
        budget: settings.budget(),
        schema_changes: settings.evolution.schema_changes,
        hold_limit: Duration::ZERO,
        commits_within: Duration::ZERO,
    };
    let ask = Ask { by_hand: true, ..Ask::default() };
    evolve::evolve(&parts, ask, Deadline::after(Duration::from_millis(200)), &|_| {})
}

/// The ids of every event table.
fn ids(room: &Room) -> BTreeSet<(String, String)> {
    let tables = lake::read_events(&room.lake(), SCHEMA);
    let ids = tables.iter().flat_map(|(name, table)| table.texts("id").into_iter().map(move |id| (name, id)));
    let all: Vec<_> = ids.map(|(name, id)| (name.clone(), id.to_owned())).collect();
    let distinct: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(all.len(), distinct.len(), "an id stands twice");
    distinct
}

fn uploads(room: &Room) -> Vec<Upload> {
    let mut chance = Chance::of(71);
    let first = room.upload("1.ndjson", &lines(&calls(&mut chance, "a", 60)));
    let mut wide = calls(&mut chance, "b", 30);
    wide.push(track("wide", "Searched", r#"{"query":7,"brandNew":true}"#));
    vec![first, room.upload("2.ndjson", &lines(&wide))]
}

#[test]
fn only_rows_that_need_a_change_are_held_and_nobody_is_called() {
    let (room, silent) = (Room::new(), Silent::new());
    let uploads = uploads(&room);
    assert_landed(&room.land(vec![uploads[0].clone()]));
    let report = land(&room.lake(), &silent.settings(), vec![uploads[1].clone()]);
    let upload = the_only(&report);
    assert_eq!((upload.status, upload.counts.held, upload.counts.landed), (Status::PartlyHeld, 0, 31), "{upload:#?}");
    let held: Vec<_> = upload.tables.iter().filter(|table| table.status == Status::Held).collect();
    assert_eq!(held.iter().map(|table| table.table.as_str()).collect::<Vec<_>>(), [format!("{SCHEMA}.searched")]);
    assert_eq!(held[0].new_columns[0].name, "brand_new");
    assert!(!lake::read(&room.lake(), SCHEMA, "searched").types().contains_key("brand_new"));
    assert_proves_uploads(&room.lake(), &uploads);
    let again = land(&room.lake(), &silent.settings(), vec![uploads[1].clone()]);
    assert_eq!(the_only(&again).status, Status::AlreadyLanded);
    silent.assert_never_called();
}

#[test]
fn rows_that_waited_too_long_land_by_rescue_whatever_the_workspace_does() {
    let (room, direct, silent) = (Room::new(), Room::new(), Silent::new());
    let uploads = uploads(&room);
    let report = land(&room.lake(), &silent.settings(), uploads.clone());
    assert_eq!((report.totals.counts.landed, report.totals.counts.held), (0, 91));
    assert_eq!(lake::read_events(&room.lake(), SCHEMA).len(), 0, "ingest makes no event table");
    assert_proves(&room.lake(), SCHEMA);

    let evolved = evolve_in_vain(&room, &silent);
    assert!(evolved.fault.is_some() && evolved.notes.held > 0, "{evolved:#?}");
    for table in &evolved.tables {
        assert_eq!(table.status, TableStatus::Rescued, "{table:#?}");
        assert!(table.held.is_some() && table.fault.is_some(), "{table:#?}");
    }
    land(&direct.lake(), &settings(), uploads.clone());
    assert_eq!(ids(&room), ids(&direct));
    let rescued = lake::read(&room.lake(), SCHEMA, "searched");
    let row = rescued.row("wide");
    assert_eq!(row["_rescued_data"].text(), r#"{"query":"7","brand_new":true}"#);
    assert_proves_uploads(&room.lake(), &uploads);
    // What was done is done once.
    let again = evolve_in_vain(&room, &silent);
    assert!(again.tables.iter().all(|table| table.held.is_none()), "{again:#?}");
    assert_proves_uploads(&room.lake(), &uploads);
}

#[test]
fn the_terminal_says_what_is_held_and_only_the_strict_fail() {
    let (room, silent) = (Room::new(), Silent::new());
    let lake = Url::from_directory_path(room.path("lake")).expect("a path is a URL");
    room.file("inlet.toml", silent.settings_text(lake.as_str()).as_bytes());
    let ingest = |name: &str, more: &[&str]| {
        room.file(name, &lines(&calls(&mut Chance::of(72), name, 20)));
        let mut command = inlet();
        command.env("DATABRICKS_TOKEN", "dapi0").arg("ingest").arg(room.path(name));
        run(command.arg("--settings").arg(room.path("inlet.toml")).args(more))
    };
    let said = ingest("a.ndjson", &[]).success().out;
    assert!(said.contains("1 upload partly held") && said.contains("20 events: 20 held"), "{said}");
    assert!(said.contains("are held until the tables' columns have changed: inlet evolve"), "{said}");
    assert_eq!(ingest("b.ndjson", &["--strict"]).code, Some(65));
    silent.assert_never_called();
    let said = run(inlet().arg("status").arg("--lake").arg(room.lake()));
    assert!(said.success().out.contains("held      40 events"));
}
