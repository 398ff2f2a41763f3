//! A settings file, from its text to rows: where the lake is, which sources land and where, and what is refused.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::events::{lines, track};
use crate::lake;
use crate::process::{Said, inlet, run, run_with};
use crate::support::{Room, listing};

/// `inlet ingest` of the room's uploads, told the rest by settings.
fn ingest(room: &Room, settings: &Path) -> Command {
    let mut command = inlet();
    command.arg("ingest").arg(room.path("segment-logs")).arg("--settings").arg(settings).arg("--json");
    command
}

/// Uploads of three sources, one event each.
fn three_sources() -> Room {
    let room = Room::new();
    for source in ["web", "ios", "old"] {
        let name = format!("segment-logs/{source}/1773446400000/a.ndjson");
        room.file(&name, &lines(&[track(source, "Said", r#"{"n":1}"#)]));
    }
    room
}

fn fault(said: &Said) -> String {
    assert_eq!(said.code, Some(78), "{said:#?}");
    said.json()["fault"]["message"].as_str().expect("a fault has a message").to_owned()
}

#[test]
fn the_lake_of_the_settings_is_used_by_every_command() {
    let room = three_sources();
    let settings = room.file("conf/inlet.toml", b"lake = '../lake'\nworkers = 1\n");
    let landed = run(&mut ingest(&room, &settings)).success().json();
    assert_eq!(landed["totals"]["landed"], 3);
    assert_eq!(lake::schemas(&room.lake()), ["ios", "old", "web"]);
    for command in ["sql", "status", "verify"] {
        let said = run(inlet().arg(command).arg("--settings").arg(&settings)).success();
        assert!(said.out.contains("web"), "{said:#?}");
    }
    // The same by a variable, and by the file where the command runs.
    let again = run(inlet().args(["status", "--json"]).env("INLET_SETTINGS", &settings)).success().json();
    assert_eq!(again["schemas"].as_array().map(Vec::len), Some(3));
    let here = run(inlet().args(["status", "--json"]).current_dir(room.path("conf"))).success().json();
    assert_eq!(here["schemas"].as_array().map(Vec::len), Some(3));
    // Without a workspace the line wins.
    let other = run(ingest(&room, &settings).arg("--lake").arg(room.path("other"))).success().json();
    assert_eq!(other["totals"]["landed"], 3);
    assert_eq!(lake::schemas(&room.path("other")).len(), 3);
}

#[test]
fn only_connected_sources_land_each_in_its_schema() {
    let room = three_sources();
    let text = "lake = 'lake'\n[[source]]\nid = 'web'\nschema = 'shop'\n[[source]]\nid = 'ios'\n";
    let settings = room.file("inlet.toml", text.as_bytes());
    let said = run(&mut ingest(&room, &settings)).success();
    let report = said.json();
    let skipped = json!([{ "reason": "source_not_connected", "source": "old", "uploads": 1 }]);
    assert_eq!(report["skipped"], skipped);
    assert_eq!((&report["totals"]["uploads"], &report["totals"]["skipped"]), (&2.into(), &1.into()));
    assert!(said.err.contains("note: 1 upload is skipped") && said.err.contains("`old`"), "{}", said.err);
    assert_eq!(lake::schemas(&room.lake()), ["ios", "shop"]);
    assert_eq!(lake::read(&room.lake(), "shop", "said").rows.len(), 1);
    lake::assert_ledger(&room.lake(), "shop");

    // A plan, and lines of JSON, name it too.
    let plan = run(ingest(&room, &settings).arg("--plan")).success().json();
    assert_eq!(plan["skipped"], skipped);
    let mut by_line = inlet();
    by_line.arg("ingest").arg(room.path("segment-logs")).arg("--settings").arg(&settings).arg("--json-lines");
    let last = run(&mut by_line).success().out.lines().last().map(str::to_owned).expect("the totals");
    assert_eq!(serde_json::from_str::<Value>(&last).expect("JSON")["skipped"], skipped);

    // Standard input belongs to no source; a schema that is named on the line takes everything.
    let event = lines(&[track("stdin", "Said", r#"{"n":2}"#)]);
    let mut from_stdin = inlet();
    from_stdin.args(["ingest", "-", "--json", "--settings"]).arg(&settings);
    let none = run_with(&mut from_stdin, &event).success().json();
    assert_eq!(none["skipped"], json!([{ "reason": "source_not_connected", "source": null, "uploads": 1 }]));
    assert_eq!(none["totals"]["landed"], 0);
    let all = run(ingest(&room, &settings).args(["--schema", "all"])).success().json();
    assert_eq!((&all["totals"]["landed"], all.get("skipped")), (&3.into(), None));

    // Once connected and named again, it lands; the others are already there.
    let more = format!("{text}[[source]]\nprefix = 'segment-logs/old'\nschema = 'shop_old'\n");
    let connected = run(&mut ingest(&room, &room.file("inlet.toml", more.as_bytes()))).success().json();
    let statuses: Vec<&Value> =
        connected["uploads"].as_array().expect("uploads").iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["already landed", "landed", "already landed"]);
    assert_eq!(lake::schemas(&room.lake()), ["all", "ios", "shop", "shop_old"]);
}

#[test]
fn verify_does_not_prove_what_was_skipped() {
    let room = three_sources();
    let settings = room.file("inlet.toml", b"lake = 'lake'\n[[source]]\nid = 'web'\n");
    run(&mut ingest(&room, &settings)).success();
    let verify = |name: &str| {
        let mut command = inlet();
        run(command.arg("verify").arg(room.path(name)).args(["--json", "--settings"]).arg(&settings))
    };
    assert_eq!(verify("segment-logs").success().json()["uploads"].as_array().map(Vec::len), Some(1));
    assert!(fault(&verify("segment-logs/old")).contains("no upload to compare"));
}

#[test]
fn wrong_settings_are_refused_at_once_before_anything_lands() {
    let room = three_sources();
    let settings = room.file("inlet.toml", b"lake = 'lake'\nlimit = 3\nport = 'x'\n[auth]\ntoken = 'dapi0123'\n");
    let said = run(ingest(&room, &settings).env("INLET_WORKERS", "many"));
    let message = fault(&said);
    for wanted in ["`limit`", "`port`", "`INLET_WORKERS`", "did you mean `limits`?"] {
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
    assert!(!format!("{said:?}").contains("dapi0123"));
    let mut words = inlet();
    let words = run(words.args(["status", "--settings"]).arg(&settings));
    assert!(words.err.contains(" settings are wrong:\n  `limit` ("), "{}", words.err);
    assert!(fault(&run(&mut ingest(&room, &room.path("inlte.toml")))).contains("no settings file at"));
    assert!(!room.lake().exists());
}

#[test]
fn with_a_workspace_the_line_and_the_settings_name_one_lake() {
    let room = three_sources();
    let text = "lake = 'lake'\nworkspace_url = 'acme.cloud.databricks.com'\ncatalog = 'main'\nport = 8443\n\
                [auth]\ntoken = 'env:TOKEN'\n";
    let settings = room.file("inlet.toml", text.as_bytes());
    let with_lake = |name: &str| run(ingest(&room, &settings).arg("--lake").arg(room.path(name)).env("TOKEN", "dapi0"));
    assert!(fault(&with_lake("other")).contains("is not the lake of the settings"));
    assert_eq!(listing(&room.path("other")), []);
    let same = with_lake("segment-logs/../lake").success();
    assert_eq!(same.json()["totals"]["landed"], 3);
    assert!(same.err.contains("warning: `port` is 8443"), "{}", same.err);
}
