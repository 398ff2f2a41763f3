//! What the settings leave out or hash is nowhere in the lake, and contracts keep tables as they are: whole uploads, read
//! back.

use std::fs;
use std::path::Path;

use inlet_core::route::{self, PlanOver, Unwatched};
use inlet_core::settings::Settings;
use inlet_core::verify::Check;
use inlet_events::contract::{Contracts, OnDrift, OnTypeChange};
use inlet_events::selection::{Patterns, Selection};
use sha2::{Digest, Sha256};

use crate::events::{calls, lines, track};
use crate::lake::{self, Value};
use crate::support::{Chance, Room, SCHEMA, assert_landed, land, listing, settings, the_only};
use crate::verify::proof_under;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn selecting(patterns: &Patterns) -> Settings {
    Settings { selection: Selection::new(patterns, "pepper").expect("patterns are legal"), ..settings() }
}

fn under(contracts: Contracts) -> Settings {
    Settings { contracts, ..settings() }
}

/// SHA-256 of salt and text, in hexadecimal digits.
fn hash(text: &str) -> String {
    Sha256::digest(format!("pepper{text}")).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every value of the lake, and every byte of its logs and notes.
fn all_that_is_written(path: &Path) -> String {
    let mut text = format!("{:?}", lake::read_all(path, SCHEMA));
    for (name, _) in listing(path).iter().filter(|(name, _)| name.extension().is_none_or(|kind| kind != "parquet")) {
        text.push_str(&String::from_utf8_lossy(&fs::read(path.join(name)).expect("a file can be read")));
    }
    text
}

#[test]
fn what_is_left_out_or_hashed_is_nowhere_in_the_lake() {
    let room = Room::new();
    let mut events = calls(&mut Chance::of(91), "c", 400);
    let mark = |text: String| {
        text.replace("\"userId\":\"u", "\"userId\":\"PLAIN-u")
            .replace("10.0.", "PLAIN.")
            .replace("@example", "PLAIN@example")
    };
    let secret = track("s1", "Product Viewed", r#"{"a":"PLAIN"}"#);
    let broken = [
        r#"{"type":"identify","messageId":"r1","traits":{"email":"PLAIN","plan":"pro"},"context":{"ip":"PLAIN"}}"#,
        r#"{"type":"identify","userId":"PLAIN","traits":{"email":"PLAIN"},"context":{"ip":"PLAIN"}"#,
        r#"{"type":"track","event":"Product Viewed","properties":{"a":"PLAIN"}}"#,
        r#"{"type":"unheard of","properties":{"a":"PLAIN"}}"#,
    ];
    events.extend([secret.clone(), secret.replace("s1", "s2")]);
    events = events.into_iter().map(mark).collect();
    events.extend(broken.map(str::to_owned));
    let chosen = selecting(&Patterns {
        denied_tables: texts(&["product_*", "aliases"]),
        denied_columns: texts(&["context_ip"]),
        hashed_columns: texts(&["user_id", "identifies.email"]),
        ..Patterns::default()
    });
    let upload = room.upload("a.ndjson", &lines(&events));
    let report = land(&room.lake(), &chosen, vec![upload.clone()]);
    assert_landed(&report);
    let counts = &the_only(&report).counts;
    assert!(counts.filtered > 10 && counts.rejected == 4 && counts.landed > 300, "{counts:?}");
    lake::assert_ledger(&room.lake(), SCHEMA);
    let written = all_that_is_written(&room.lake());
    assert!(!written.contains("PLAIN"), "{}", written.split("PLAIN").next().unwrap_or_default());

    let tables = lake::read_all(&room.lake(), SCHEMA);
    assert!(!tables.contains_key("product_viewed") && !tables.contains_key("aliases"));
    assert!(tables.values().all(|table| !table.types().contains_key("context_ip")));
    let users: Vec<String> = (0..50).map(|number| hash(&format!("PLAIN-u{number}"))).collect();
    let of_users = |table: &str| tables[table].texts("user_id").iter().all(|user| users.contains(&(*user).to_owned()));
    assert!(of_users("tracks") && of_users("pages") && of_users("searched"));
    let raws = tables["_rejects"].texts("raw");
    let email = hash("PLAIN");
    assert!(
        raws.iter().any(
            |raw| raw.contains(&format!(r#""traits":{{"email":"{email}","plan":"pro"}},"context":{{"ip":"***"}}"#))
        ),
        "{raws:?}"
    );
    assert_eq!(raws.iter().filter(|raw| raw.starts_with("withheld: ")).count(), 3, "{raws:?}");

    let proof = proof_under(&room.lake(), &chosen, std::slice::from_ref(&upload));
    assert!(proof.proved, "{:#?}", proof.differences);
    let otherwise = proof_under(&room.lake(), &settings(), &[upload]);
    let checks: Vec<Check> = otherwise.differences.iter().map(|difference| difference.check).collect();
    assert!(checks.contains(&Check::ReadFiltered) && checks.contains(&Check::Value), "{checks:?}");
}

#[test]
fn without_tracks_events_land_in_their_own_tables() {
    let room = Room::new();
    let chosen = selecting(&Patterns { denied_tables: texts(&["tracks", "searched"]), ..Patterns::default() });
    let mut events = calls(&mut Chance::of(92), "c", 200);
    events.extend(events.clone());
    let upload = room.upload("a.ndjson", &lines(&events));
    let report = land(&room.lake(), &chosen, vec![upload.clone()]);
    lake::assert_ledger(&room.lake(), SCHEMA);
    let counts = &the_only(&report).counts;
    assert_eq!((counts.landed, counts.landed + counts.filtered / 2), (counts.rows, 200));
    assert_eq!(counts.duplicates, counts.landed);
    assert!(!lake::tables(&room.lake(), SCHEMA).contains(&"tracks".to_owned()));
    // The next upload brings a new event, which is one table too many: it has no table at all.
    let full = Settings { contracts: Contracts::new(OnDrift::Rescue, OnTypeChange::Rescue), ..chosen };
    let next = room.upload("b.ndjson", &lines(&[track("n1", "New", r#"{"a":1}"#), track("n2", "Signed Up", "{}")]));
    let report = land(&room.lake(), &full, vec![next.clone()]);
    assert_eq!((the_only(&report).counts.landed, the_only(&report).counts.filtered), (1, 1));
    lake::assert_ledger(&room.lake(), SCHEMA);
    let proof = proof_under(&room.lake(), &full, &[upload, next]);
    assert!(proof.proved, "{:#?}", proof.differences);
}

/// Tracks of one event: the columns `a` and `b`, and now and then one more.
fn drifting(prefix: &str, count: usize) -> Vec<String> {
    let pad = "x".repeat(300);
    let event = |number: usize| {
        let more = if number % 10 == 3 { format!(r#","more{}":{number}"#, number % 3) } else { String::new() };
        track(&format!("{prefix}{number:05}"), "Paid", &format!(r#"{{"a":{number},"b":"{pad}"{more}}}"#))
    };
    (0..count).map(event).collect()
}

#[test]
fn a_frozen_table_stays_and_what_it_had_no_place_for_is_proved_later() {
    let room = Room::new();
    let first = room.upload("a.ndjson", &lines(&drifting("a", 3)));
    assert_landed(&room.land(vec![first]));
    let columns = lake::read(&room.lake(), SCHEMA, "paid").columns;
    let frozen = under(Contracts::default().with_table("paid", Some(OnDrift::Freeze), None));
    let second = room.upload("b.ndjson", &lines(&drifting("b", 6_000)));
    for workers in [1, 3] {
        let lake = room.path(&format!("lake of {workers}"));
        crate::support::copy_folder(&room.lake(), &lake);
        let settings = Settings { workers, ..frozen.clone() };
        let report = land(&lake, &settings, vec![second.clone()]);
        let counts = &the_only(&report).counts;
        assert_eq!((counts.events, counts.landed, counts.rejected), (6_000, 5_400, 600));
        lake::assert_ledger(&lake, SCHEMA);
        assert_eq!(lake::read(&lake, SCHEMA, "paid").columns, columns);
        let rejects = lake::read(&lake, SCHEMA, "_rejects");
        assert!(rejects.rows.iter().all(|row| row["reason"] == Value::Text("schema_frozen".to_owned())));
        let first = rejects.rows.iter().min_by_key(|row| row["line"].number()).expect("there are some");
        assert_eq!((first["line"].number(), first["raw"].text()), (4, drifting("b", 4)[3].as_str()));
        // Whatever becomes of the table: the rejections are what they were.
        let third = room.upload("c.ndjson", &lines(&drifting("c", 4)));
        assert_landed(&land(&lake, &settings_as_ever(workers), vec![third.clone()]));
        assert!(lake::read(&lake, SCHEMA, "paid").types().contains_key("more0"));
        for settings in [&settings, &settings_as_ever(workers)] {
            let proof = proof_under(&lake, settings, &[second.clone(), third.clone()]);
            assert!(proof.proved, "{:#?}", proof.differences);
        }
    }
}

fn settings_as_ever(workers: usize) -> Settings {
    Settings { workers, ..settings() }
}

#[test]
fn a_plan_says_what_a_frozen_schema_rejects() {
    let frozen = under(Contracts::new(OnDrift::Freeze, OnTypeChange::Rescue));
    let room = Room::new();
    let upload = room.upload("a.ndjson", &lines(&drifting("a", 2)));
    let plan = route::plan(PlanOver::Nothing, &frozen, vec![upload], &Unwatched);
    let reasons: Vec<_> = plan.rejections.iter().map(|one| (one.line, one.reason)).collect();
    assert_eq!(reasons, [(Some(1), "schema_frozen"), (Some(2), "schema_frozen")]);
    assert!(plan.tables.is_empty() && plan.fault.is_none(), "{plan:?}");
}

#[test]
fn under_rescue_tables_keep_their_columns_and_none_comes() {
    let room = Room::new();
    assert_landed(&room.land(vec![room.upload("a.ndjson", &lines(&drifting("a", 3)))]));
    let fixed = under(Contracts::new(OnDrift::Rescue, OnTypeChange::Rescue));
    let mut events = drifting("b", 20);
    events.push(track("new", "New", r#"{"x":1}"#));
    let upload = room.upload("b.ndjson", &lines(&events));
    let report = land(&room.lake(), &fixed, vec![upload.clone()]);
    assert_eq!((the_only(&report).counts.landed, the_only(&report).counts.rescued), (21, 3));
    lake::assert_ledger(&room.lake(), SCHEMA);
    assert_eq!(
        lake::read(&room.lake(), SCHEMA, "tracks").row("new")["_rescued_data"],
        Value::Text(r#"{"x":1}"#.to_owned())
    );
    assert!(!lake::tables(&room.lake(), SCHEMA).contains(&"new".to_owned()));
    for settings in [&fixed, &settings()] {
        let proof = proof_under(&room.lake(), settings, std::slice::from_ref(&upload));
        assert!(proof.proved, "{:#?}", proof.differences);
    }
}

#[test]
fn values_of_another_type_land_beside_and_stay_proved() {
    let room = Room::new();
    let beside = under(Contracts::new(OnDrift::Evolve, OnTypeChange::Column));
    let mut uploads = Vec::new();
    for (name, values) in [
        ("a", ["1", "2", "3"]),
        ("b", ["true", "4.5", "5"]),
        ("c", ["6.5", "7", "false"]),
        ("d", ["8", "\"nine\"", "10.5"]),
    ] {
        let events: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(at, value)| track(&format!("{name}{at}"), "Paid", &format!(r#"{{"a":{value}}}"#)))
            .collect();
        uploads.push(room.upload(&format!("{name}.ndjson"), &lines(&events)));
        // Together as one after another: the same columns.
        assert_landed(&land(&room.lake(), &beside, vec![uploads.last().expect("one").clone()]));
    }
    assert_landed(&land(&room.path("at once"), &beside, uploads.clone()));
    for lake in [room.lake(), room.path("at once")] {
        lake::assert_ledger(&lake, SCHEMA);
        let paid = lake::read(&lake, SCHEMA, "paid");
        let types = paid.types();
        assert_eq!((types["a"].as_str(), types["a__string"].as_str()), ("bigint", "string"));
        assert_eq!(types.keys().filter(|name| name.starts_with("a__")).count(), 1, "{types:?}");
        assert_eq!(paid.texts("a__string"), ["10.5", "4.5", "6.5", "false", "nine", "true"]);
        assert!(paid.rows.iter().all(|row| !row.contains_key("_rescued_data")));
        let proof = proof_under(&lake, &beside, &uploads);
        assert!(proof.proved, "{:#?}", proof.differences);
    }
}
