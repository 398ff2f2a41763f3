use proptest::prelude::*;

use super::*;
use crate::contract::{Contracts, OnDrift, OnTypeChange};
use crate::event::Call;
use crate::kind::ColumnType::{BigInt, String as Text};
use crate::table::TableKind;
use crate::testing::{Landed, Setting, land};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A selection of columns: allowed, denied, hashed.
pub(crate) fn columns(allowed: &[&str], denied: &[&str], hashed: &[&str]) -> Selection {
    let patterns = Patterns {
        allowed_columns: texts(allowed),
        denied_columns: texts(denied),
        hashed_columns: texts(hashed),
        ..Patterns::default()
    };
    Selection::new(&patterns, "salt").unwrap()
}

/// A selection of tables: allowed, denied.
pub(crate) fn tables(allowed: &[&str], denied: &[&str]) -> Selection {
    let patterns = Patterns { allowed_tables: texts(allowed), denied_tables: texts(denied), ..Patterns::default() };
    Selection::new(&patterns, "").unwrap()
}

#[test]
fn a_star_stands_for_any_characters() {
    for (pattern, name, matches) in [
        ("email", "email", true),
        ("Email", "email", true),
        ("email", "email_2", false),
        ("*", "", true),
        ("context_*", "context_ip", true),
        ("context_*", "contextual", false),
        ("*email*", "work_email_hash", true),
        ("*_id", "user_id", true),
        ("*_id", "user_id_2", false),
        ("a*b*a", "aba", true),
        ("a*b*a", "ab", false),
        ("a*a", "a", false),
        ("**", "x", true),
    ] {
        assert_eq!(Pattern::new(pattern).matches(name), matches, "{pattern} {name}");
    }
}

#[test]
fn tables_are_allowed_unless_denied() {
    let selection = tables(&["order_*", "tracks"], &["*_test"]);
    let taken = ["order_paid", "tracks", "order_test", "pages"].map(|name| selection.takes_table(name));
    assert_eq!(taken, [true, true, false, false]);
    assert!(selection.columns_of("tracks").is_none());
}

#[test]
fn a_pattern_with_a_table_speaks_of_that_table_alone() {
    let selection = columns(&["orders.total", "orders.currency"], &["pages.url", "*secret*"], &["email"]);
    let orders = selection.columns_of("orders").unwrap();
    let pages = selection.columns_of("pages").unwrap();
    assert_eq!(orders.of_brought("total"), Treatment::Keep);
    assert_eq!(orders.of_brought("email"), Treatment::Deny);
    assert_eq!(orders.of_system("user_id"), Treatment::Keep);
    assert_eq!(pages.of_brought("url"), Treatment::Deny);
    assert_eq!(pages.of_brought("total"), Treatment::Keep);
    assert_eq!(pages.of_brought("email"), Treatment::Hash);
    assert_eq!(pages.of_brought("my_secret_key"), Treatment::Deny);
    let any = selection.columns_of_any().unwrap();
    assert_eq!([any.of_brought("total"), any.of_brought("url")], [Treatment::Deny; 2]);
}

#[test]
fn what_inlet_needs_stays_as_it_is() {
    let rules = columns(&[], &["*"], &[]).columns_of("tracks").unwrap();
    assert_eq!(rules.of_system("id"), Treatment::Keep);
    assert_eq!(rules.of_brought("id"), Treatment::Deny, "a property of that name is no system value");
    assert_eq!(rules.of_system("user_id"), Treatment::Deny);
    let rules = columns(&[], &[], &["*"]).columns_of("tracks").unwrap();
    assert_eq!(rules.of_system("timestamp"), Treatment::Keep);
    assert_eq!(rules.of_field(Field::UserId), Treatment::Hash);
}

#[test]
fn every_pattern_that_cannot_be_followed_is_named() {
    let patterns = Patterns {
        allowed_tables: texts(&["Order Completed", "ok"]),
        denied_tables: texts(&["_loads"]),
        denied_columns: texts(&["id", "tracks.RECEIVED_AT", "*_at", ".x", "context.page.url"]),
        hashed_columns: texts(&["sent_at", "user_id"]),
        ..Patterns::default()
    };
    let illegal = Selection::new(&patterns, "").unwrap_err();
    let named: Vec<&str> = illegal.iter().map(|illegal| illegal.pattern.as_str()).collect();
    let expected = ["Order Completed", "_loads", "id", "tracks.RECEIVED_AT", ".x", "context.page.url", "sent_at", ""];
    assert_eq!(named, expected);
    assert!(illegal[2].to_string().starts_with("`id`: Inlet needs"), "{}", illegal[2]);
}

#[test]
fn hashes_are_those_of_salt_and_text() {
    let rules = columns(&[], &[], &["email"]).columns_of("tracks").unwrap();
    // printf 'saltbob@example.org' | sha256sum
    assert_eq!(rules.hash(b"bob@example.org"), "76fb2862d2f134463cebaf18949e8213111be9c7d80aafe4f1b913690429a81e");
    let shown = format!("{rules:?}");
    assert!(shown.contains("***") && !shown.contains("115, 97"), "{shown}");
}

#[test]
fn nothing_said_is_nothing() {
    let selection = Selection::new(&Patterns::default(), "salt").unwrap();
    assert!(selection.is_empty() && selection.columns_of("tracks").is_none() && selection.takes_table("x"));
}

fn with(selection: &Selection) -> Setting {
    Setting { selection: selection.clone(), ..Setting::default() }
}

fn hash(text: &str) -> String {
    columns(&[], &[], &["x"]).columns_of("x").unwrap().hash(text.as_bytes())
}

fn track(id: &str, event: &str, rest: &str) -> String {
    format!(r#"{{"type":"track","messageId":"{id}","userId":"u","event":"{event}"{rest}}}"#) + "\n"
}

/// Everything that was written, as one text.
fn written(landed: &Landed) -> String {
    format!("{:?} {:?} {:?}", landed.rows, landed.added, landed.rejects)
}

#[test]
fn a_track_has_the_rows_that_its_tables_may_have() {
    let lines = track("1", "Paid", "")
        + &track("1", "Paid", "")
        + &track("2", "Secret", "")
        + "{\"type\":\"page\",\"userId\":\"u\"}\n";
    for (selection, rows, landed, filtered, duplicates) in [
        (tables(&[], &["secret"]), ["tracks 2", "paid 1", "pages 1"].as_slice(), 3, 0, 1),
        (tables(&[], &["tracks"]), &["paid 1", "secret 1", "pages 1"], 3, 0, 1),
        (tables(&[], &["tracks", "secret"]), &["paid 1", "pages 1"], 2, 1, 1),
        (tables(&["paid"], &[]), &["paid 1"], 1, 2, 1),
        (tables(&["p*"], &["pages"]), &["paid 1"], 1, 2, 1),
        (tables(&["nothing"], &[]), &[], 0, 4, 0),
    ] {
        let found = land(&lines, &with(&selection));
        let mut expected = texts(rows);
        expected.sort();
        let counted: Vec<String> = found.rows.iter().map(|(name, rows)| format!("{name} {}", rows.len())).collect();
        assert_eq!(counted, expected, "{selection:?}");
        assert_eq!((found.landed(), found.counts.filtered, found.counts.duplicates), (landed, filtered, duplicates));
    }
    let counts = land(&lines, &with(&tables(&[], &["tracks", "secret"]))).counts;
    let filtered = |table: &str| counts.filtered_tables.get(table).copied();
    assert_eq!([filtered("tracks"), filtered("secret"), filtered("paid")], [Some(3), Some(1), None]);
}

#[test]
fn a_track_whose_only_table_is_one_too_many_is_filtered() {
    let contracts = Contracts::new(OnDrift::Rescue, OnTypeChange::Rescue);
    let setting = Setting { selection: tables(&[], &["tracks"]), contracts, ..Setting::default() };
    let found = land(&track("1", "New", ""), &setting);
    assert_eq!((found.rows.len(), found.counts.filtered, found.landed()), (0, 1, 0));
    assert_eq!(found.counts.filtered_tables.len(), 2);
}

#[test]
fn a_denied_column_leaves_no_trace() {
    let lines = track(
        "1",
        "Paid",
        r#","context":{"ip":"1.1.1.1","page":{"url":"/"}},"properties":{"Email":"secret","a":1,"user_id":"mine"}"#,
    ) + &track("2", "Paid", r#","properties":{"email":{"deep":true},"a":2,"a":3}"#)
        + &track("3", "Paid", r#","properties":{"email":4,"email":"secret"},"properties":{"email":"secret","kept":1}"#);
    let found = land(&lines, &with(&columns(&[], &["email", "context_*", "user_id"], &[])));
    assert!(!written(&found).contains("secret") && !written(&found).contains("mine"), "{}", written(&found));
    assert_eq!(found.added["paid"], ["a bigint", "email_deep boolean", "kept bigint"]);
    assert_eq!(found.added.get("tracks"), None);
    assert_eq!(
        found.column("paid", "_rescued_data"),
        ["-", r#"{"a":2}"#, r#"{"properties":{"email":"***","email":"***"}}"#]
    );
    assert_eq!(found.column("tracks", "user_id"), ["-"; 3]);
}

#[test]
fn only_columns_that_are_allowed_come() {
    let lines = track("1", "Paid", r#","context":{"ip":"1.1.1.1"},"properties":{"email":"e","total":1,"id":"mine"}"#);
    let found = land(&lines, &with(&columns(&["total", "tracks.context_ip"], &[], &[])));
    assert_eq!(found.added["paid"], ["total bigint"]);
    assert_eq!(found.added["tracks"], ["context_ip string"]);
    assert_eq!((found.column("paid", "user_id"), found.column("paid", "_rescued_data")), (vec!["u"], vec!["-"]));
    let lines = track("1", "Paid", r#","properties":{"a":{"total":1,"x":2},"a":3,"b":{"x":4},"b":{"total":5}}"#);
    let found = land(&lines, &with(&columns(&["*total"], &[], &[])));
    assert_eq!(found.added["paid"], ["b_total bigint"]);
    assert_eq!(found.column("paid", "_rescued_data"), [r#"{"a":{"total":1,"x":"***"},"b":{"x":"***"}}"#]);
}

#[test]
fn hashed_columns_hold_hashes_of_the_text() {
    let setting = Setting {
        existing: vec![(TableKind::Event, "paid", vec![("age", BigInt), ("phone", Text)])],
        ..with(&columns(&[], &[], &["user_id", "age", "phone", "context_ip", "list", "number", "event_text"]))
    };
    let lines = track(
        "1",
        "Paid",
        r#","context":{"ip":"1.1.1.1"},"properties":{"age":7,"phone":"+1","list":[1, 2],"number":1.50}"#,
    ) + &track(
        "2",
        "Paid",
        r#","properties":{"age":null,"phone":"\u002b1","userId":"mine","number":true,"number":[]}"#,
    );
    let found = land(&lines, &setting);
    let quoted = |key: &str, text: &str| format!("\"{key}\":\"{}\"", hash(text));
    assert_eq!(found.column("paid", "user_id"), [hash("u").as_str(); 2]);
    assert_eq!(found.column("tracks", "event_text"), [hash("Paid").as_str(); 2]);
    assert_eq!(found.column("tracks", "context_ip"), [hash("1.1.1.1").as_str(), "-"]);
    assert_eq!(found.column("paid", "phone"), [hash("+1").as_str(); 2]);
    assert_eq!(found.column("paid", "list"), [hash("[1,2]").as_str(), "-"]);
    assert_eq!(found.column("paid", "number"), [hash("1.50").as_str(), hash("[]").as_str()]);
    assert_eq!(found.column("paid", "age"), ["-"; 2]);
    let rescued = [quoted("age", "7"), format!("{},{}", quoted("userId", "mine"), quoted("number", "true"))];
    assert_eq!(found.column("paid", "_rescued_data"), rescued.map(|inner| format!("{{{inner}}}")));
    assert_eq!(found.added["paid"], ["context_ip string", "list string", "number string"]);
}

#[test]
fn a_hash_that_does_not_fit_goes_beside_where_values_do() {
    let setting = Setting {
        existing: vec![(TableKind::Event, "paid", vec![("age", BigInt)])],
        contracts: Contracts::new(OnDrift::Evolve, OnTypeChange::Column),
        ..with(&columns(&[], &[], &["age"]))
    };
    let found = land(&track("1", "Paid", r#","properties":{"age":7}"#), &setting);
    assert_eq!(found.added["paid"], ["age__string string"]);
    assert_eq!(found.column("paid", "age__string"), [hash("7")]);
}

#[test]
fn properties_rescued_in_tracks_obey_both_tables() {
    let contracts = Contracts::new(OnDrift::Rescue, OnTypeChange::Rescue);
    let setting =
        Setting { contracts, ..with(&columns(&[], &["paid.email", "tracks.phone"], &["paid.age", "other.name"])) };
    let lines = track(
        "1",
        "Paid",
        r#","properties":{"email":"secret","phone":"secret","age":7,"name":"n","a":{"age":8},"email":"secret"}"#,
    );
    let found = land(&lines, &setting);
    let expected = format!(r#"{{"age":"{}","name":"n","a_age":8}}"#, hash("7"));
    assert_eq!(found.column("tracks", "_rescued_data"), [expected]);
}

#[test]
fn repeated_fields_are_rescued_without_what_is_hidden() {
    let lines = "{\"type\":\"identify\",\"userId\":\"secret\",\"userId\":\"u\",\"context\":{\"ip\":\"secret\",\"os\":{\"name\":\"x\"}},\"context\":{},\
        \"traits\":\"email=secret\",\"traits\":{},\"anonymousId\":\"secret\",\"anonymousId\":\"a\"}\n";
    let found = land(lines, &with(&columns(&[], &["context_ip", "anonymous_id"], &["user_id"])));
    let rescued = &found.column("identifies", "_rescued_data")[0];
    assert!(!written(&found).contains("\"secret\"") && !rescued.contains("secret"), "{rescued}");
    let expected =
        format!(r#"{{"userId":"{}","context":{{"ip":"***","os":{{"name":"x"}}}},"traits":"***"}}"#, hash("secret"));
    assert_eq!(*rescued, expected);
}

#[test]
fn what_matches_nothing_changes_nothing() {
    let lines = LINES.iter().map(|line| format!("{line}\n")).collect::<String>();
    let plain = land(&lines, &Setting::default());
    let selection = columns(&["*"], &["no_such_column"], &["none_like_it"]);
    let same = land(&lines, &with(&selection));
    assert_eq!((&plain.rows, &plain.added, plain.rescued), (&same.rows, &same.added, same.rescued));
    assert_eq!(plain.rejects[..2], same.rejects[..2]);
}

const LINES: [&str; 6] = [
    r#"{"type":"track","event":"e"}"#,
    r#"{"type":"nothing","properties":{"a":[1,{"b":2}]}}"#,
    r#"{"type":"track","messageId":"1","userId":"u","event":"Paid","properties":{"a":1,"a":{"b":[{"c":1}]},"userId":5,"B c":{"d":"x"}},"context":{"ip":"1.1.1.1"}}"#,
    r#"{"batch":[{"type":"page","messageId":"2","userId":"u","properties":{"name":"n","x":"2026-01-01"}},{}],"context":{"os":{"name":"n"}}}"#,
    r#"{"type":"group","messageId":"3","anonymousId":{"x":1},"traits":{"id":"g","deep":{"deep":{"deep":null}}},"timestamp":"no"}"#,
    "no json",
];

/// A JSON value; what stands at a hidden key says so.
fn value(depth: u32) -> BoxedStrategy<String> {
    let scalar = prop_oneof![
        "[a-z ]{0,6}".prop_map(|text| format!("\"{text}\"")),
        (0..99_i32).prop_map(|number| number.to_string()),
        Just("null".to_owned()),
        Just("[1, \"x\"]".to_owned()),
    ];
    if depth == 0 { scalar.boxed() } else { prop_oneof![3 => scalar, 1 => bag(depth - 1)].boxed() }
}

fn hidden() -> BoxedStrategy<String> {
    prop_oneof![
        Just("\"HIDDEN\"".to_owned()),
        Just("\"HID\\u0044EN\"".to_owned()),
        Just("777777".to_owned()),
        Just("-777777.5e0".to_owned()),
        Just("[\"HIDDEN\", {\"email\": \"HIDDEN\"}]".to_owned()),
        Just("\"{\\\"email\\\":\\\"HIDDEN\\\"}\"".to_owned()),
    ]
    .boxed()
}

/// An object whose keys are sometimes hidden ones, in any spelling, and repeated.
fn bag(depth: u32) -> BoxedStrategy<String> {
    let member = prop_oneof![
        3 => ("(a|B c|d_e|name|id|plan)", value(depth)).prop_map(|(key, value)| format!("\"{key}\":{value}")),
        2 => ("(email|Email|workEmail|e\\\\u006dail|my phone|phone)", hidden())
            .prop_map(|(key, value)| format!("\"{key}\" : {value}")),
    ];
    prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))).boxed()
}

fn event() -> BoxedStrategy<String> {
    let call = prop::sample::select(vec!["track", "identify", "page", "screen", "group", "alias", "nonsense"]);
    let bags = prop::sample::select(vec!["properties", "traits"]);
    let context = (hidden(), bag(1)).prop_map(|(ip, rest)| format!("{{\"ip\":{ip},\"device\":{rest}}}"));
    let ids =
        prop::sample::select(vec!["\"userId\":\"HIDDEN\"", "\"userId\":777777", "\"anonymousId\":\"a\"", "\"x\":1"]);
    (call, ids, bags, bag(2), context, any::<bool>())
        .prop_map(|(call, ids, name, bag, context, again)| {
            let again = if again { format!(",\"{name}\":{bag},\"context\":{context}") } else { String::new() };
            format!("{{\"type\":\"{call}\",\"event\":\"e\",{ids},\"{name}\":{bag},\"context\":{context}{again}}}")
        })
        .boxed()
}

/// A line as it may come: whole, in an envelope, wrapped, or with one byte too few or too many.
fn line() -> BoxedStrategy<String> {
    let broken = |text: String, at: prop::sample::Index, how: usize| {
        let places: Vec<usize> = text.match_indices(['{', '}', '"', ':', ',', '[', ']']).map(|(at, _)| at).collect();
        let at = places[at.index(places.len())];
        match how {
            0 => text[..at].to_owned(),
            1 => format!("{}{}", &text[..at], &text[at + 1..]),
            2 => format!("{}'{}", &text[..at], &text[at..]),
            _ => text.replace('"', "'"),
        }
    };
    prop_oneof![
        4 => event(),
        1 => (event(), event()).prop_map(|(a, b)| format!("{{\"batch\":[{a},{b}]}}")),
        1 => event().prop_map(|event| format!("{{\"event\":{event}}}")),
        1 => event().prop_map(|event| format!("[{event}]")),
        1 => event().prop_map(|event| serde_json::to_string(&event).unwrap()),
        1 => event().prop_map(|event| format!("{{\"type\":\"page\",\"userId\":\"u\",\"properties\":{}}}", serde_json::to_string(&event).unwrap())),
        1 => event().prop_map(|event| event.replace("\"properties\":{", "\"properties\":[{").replace("\"context\":{", "\"context\":[{")),
        4 => (event(), any::<prop::sample::Index>(), 0..4_usize).prop_map(move |(event, at, how)| broken(event, at, how)),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_is_hidden_is_written(lines in prop::collection::vec(line(), 1..8), hashes in any::<bool>(), column in any::<bool>()) {
        let hidden = ["*email*", "*phone", "context_ip", "user_id"];
        let selection = if hashes { columns(&[], &[], &hidden) } else { columns(&[], &hidden, &[]) };
        let on_type_change = if column { OnTypeChange::Column } else { OnTypeChange::Rescue };
        let existing = vec![(TableKind::Call(Call::Page), "pages", vec![("email", BigInt), ("a", BigInt), ("context_ip", BigInt)])];
        for on_drift in OnDrift::ALL {
            let contracts = Contracts::new(on_drift, on_type_change);
            let found = land(&(lines.join("\n") + "\n"), &Setting { selection: selection.clone(), contracts, existing: existing.clone(), ..Setting::default() });
            let text = written(&found);
            prop_assert!(!["HIDDEN", "HID\\\\u0044EN", "777777"].iter().any(|hidden| text.contains(hidden)), "{}", text);
            let rows: u64 = found.counts.tables.iter().map(|counts| counts.rows).sum();
            prop_assert_eq!(found.rows.values().map(Vec::len).sum::<usize>() as u64, rows);
        }
    }
}
