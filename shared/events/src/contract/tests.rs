use super::*;
use crate::event::Call;
use crate::kind::ColumnType::{self, BigInt, Boolean, Double, String as Text, Timestamp};
use crate::selection::{Patterns, Selection};
use crate::table::TableKind;
use crate::testing::{Landed, Setting, land};

#[test]
fn a_table_may_have_its_own_contract() {
    let contracts = Contracts::new(OnDrift::Rescue, OnTypeChange::Column)
        .with_table("Orders", Some(OnDrift::Evolve), None)
        .with_table("pages", None, Some(OnTypeChange::Rescue));
    assert_eq!(contracts.of("orders"), (OnDrift::Evolve, OnTypeChange::Column));
    assert_eq!(contracts.of("pages"), (OnDrift::Rescue, OnTypeChange::Rescue));
    assert_eq!(contracts.of("tracks"), (OnDrift::Rescue, OnTypeChange::Column));
    assert!(!contracts.can_freeze());
    assert!(contracts.with_table("users", Some(OnDrift::Freeze), None).can_freeze());
}

#[test]
fn nothing_said_means_that_schemas_grow() {
    assert_eq!(Contracts::default().of("tracks"), (OnDrift::Evolve, OnTypeChange::Rescue));
}

fn track(id: &str, event: &str, properties: &str) -> String {
    format!(r#"{{"type":"track","messageId":"{id}","userId":"u","event":"{event}","properties":{properties}}}"#) + "\n"
}

/// `tracks` and `paid` with these columns, under a contract.
fn paid(contracts: Contracts, columns: &[(&'static str, ColumnType)]) -> Setting {
    let tracks = (TableKind::Call(Call::Track), "tracks", Vec::new());
    Setting { contracts, existing: vec![tracks, (TableKind::Event, "paid", columns.to_vec())], ..Setting::default() }
}

fn reasons(landed: &Landed) -> Vec<&'static str> {
    landed.rejects.iter().map(|(reason, _)| *reason).collect()
}

#[test]
fn under_rescue_no_column_and_no_event_table_comes() {
    let contracts =
        Contracts::new(OnDrift::Rescue, OnTypeChange::Rescue).with_table("open", Some(OnDrift::Evolve), None);
    let lines = track("1", "Paid", r#"{"a":1,"b":"x"}"#)
        + &track("2", "New", r#"{"c":[1]}"#)
        + &track("3", "Open", r#"{"d":2}"#)
        + "{\"type\":\"page\",\"userId\":\"u\",\"properties\":{\"e\":true}}\n";
    let found = land(&lines, &paid(contracts, &[("a", BigInt)]));
    assert_eq!(found.column("paid", "_rescued_data"), [r#"{"b":"x"}"#]);
    assert_eq!(found.column("tracks", "_rescued_data"), ["-", r#"{"c":[1]}"#, "-"]);
    assert_eq!((found.column("open", "d"), found.column("pages", "_rescued_data")), (vec!["2"], vec![r#"{"e":true}"#]));
    assert_eq!(found.added.keys().collect::<Vec<_>>(), ["open"]);
    assert_eq!((found.landed(), found.rescued), (4, 3));
}

#[test]
fn a_frozen_table_rejects_what_needs_a_column() {
    let contracts =
        Contracts::new(OnDrift::Evolve, OnTypeChange::Rescue).with_table("paid", Some(OnDrift::Freeze), None);
    let lines = track("1", "Paid", r#"{"a":1}"#)
        + &track("2", "Paid", r#"{"a":1,"b":null,"c":{}}"#)
        + &track("3", "Paid", r#"{"a":1,"b":"new"}"#)
        + &track("3", "Paid", r#"{"a":"no number"}"#)
        + &track("4", "Other", r#"{"b":1}"#)
        + r#"{"batch":[{"type":"track","messageId":"5","userId":"u","event":"Paid","context":{"ip":"1"}},{"type":"nothing"},{"type":"track","messageId":"6","userId":"u","event":"Paid"}]}"#
        + "\n";
    let found = land(&lines, &paid(contracts, &[("a", BigInt)]));
    assert_eq!(found.column("paid", "id"), ["1", "2", "3", "6"], "the rejected one does not take the id");
    assert_eq!(found.column("paid", "_rescued_data"), ["-", "-", r#"{"a":"no number"}"#, "-"]);
    assert_eq!(found.column("tracks", "id"), ["1", "2", "3", "4", "6"]);
    assert_eq!(reasons(&found), ["schema_frozen", "schema_frozen", "unknown_type"]);
    assert!(
        found.rejects[0].1.contains(r#""b":"new""#)
            && found.rejects[1].1.starts_with(r#"{"type":"track","messageId":"5""#)
    );
    assert_eq!((found.counts.events, found.counts.rejected, found.counts.duplicates), (8, 3, 0));
}

#[test]
fn a_frozen_schema_gets_no_table() {
    let contracts = Contracts::new(OnDrift::Freeze, OnTypeChange::Rescue);
    let lines = track("1", "Paid", "{}") + &track("2", "New", "{}") + "{\"type\":\"page\",\"userId\":\"u\"}\n";
    let found = land(&lines, &paid(contracts, &[]));
    assert_eq!((found.column("paid", "id"), found.column("tracks", "id")), (vec!["1"], vec!["1"]));
    assert_eq!((found.rows.len(), reasons(&found)), (2, vec!["schema_frozen"; 2]));
}

#[test]
fn what_loses_or_is_left_out_needs_no_column_of_a_frozen_table() {
    let contracts = Contracts::new(OnDrift::Freeze, OnTypeChange::Rescue);
    let patterns = Patterns {
        denied_tables: vec!["tracks".to_owned()],
        denied_columns: vec!["b".to_owned()],
        ..Patterns::default()
    };
    let setting = Setting { selection: Selection::new(&patterns, "").unwrap(), ..paid(contracts, &[("a", BigInt)]) };
    let lines = track("1", "Paid", r#"{"a":1,"A":2,"b":3,"a":4,"user id":5}"#)
        + r#"{"type":"track","messageId":"2","userId":"u","event":"New","integrations":{"Warehouses":{"all":false}}}"#
        + "\n";
    let found = land(&lines, &setting);
    assert_eq!(found.column("paid", "_rescued_data"), [r#"{"A":2,"user id":5,"a":1}"#]);
    assert_eq!((reasons(&found).len(), found.counts.filtered), (0, 1));
}

#[test]
fn values_of_another_type_get_a_column_beside() {
    let contracts = Contracts::new(OnDrift::Evolve, OnTypeChange::Column);
    let columns = [("flag", Boolean), ("count", BigInt), ("share", Double), ("at", Timestamp), ("text", Text)];
    let lines = [
        r#"{"flag":true,"count":1,"share":1.5,"at":"2026-01-01","text":"x"}"#,
        r#"{"flag":1,"count":"two","share":9007199254740993,"at":"soon","text":5}"#,
        r#"{"flag":2.5,"count":2.5,"share":"half","at":7,"text":"\ud800"}"#,
        r#"{"flag":"false","count":"3","share":"0.25","fresh":9007199254740993}"#,
        r#"{"fresh":0.5}"#,
    ];
    let lines: String = lines.iter().enumerate().map(|(at, line)| track(&at.to_string(), "Paid", line)).collect();
    let found = land(&lines, &paid(contracts, &columns));
    let added =
        ["flag__double double", "count__string string", "share__string string", "at__string string", "fresh double"];
    assert_eq!(found.added["paid"], added);
    assert_eq!(found.column("paid", "flag"), ["true", "-", "-", "false", "-"]);
    assert_eq!(found.column("paid", "flag__double"), ["-", "1", "2.5", "-", "-"]);
    assert_eq!(found.column("paid", "count"), ["1", "-", "2", "3", "-"]);
    assert_eq!(found.column("paid", "count__string"), ["-", "two", "2.5", "-", "-"]);
    assert_eq!(found.column("paid", "share__string"), ["-", "9007199254740993", "half", "-", "-"]);
    assert_eq!(found.column("paid", "at__string"), ["-", "soon", "7", "-", "-"]);
    let rescued = ["-", "-", r#"{"text":"\ud800"}"#, r#"{"fresh":9007199254740993}"#, "-"];
    assert_eq!(found.column("paid", "_rescued_data"), rescued, "a STRING and a column that comes now rescue as ever");
}

#[test]
fn columns_beside_obey_the_contract_for_drift() {
    let columns = [("count", BigInt), ("count__double", Double)];
    let lines = track("1", "Paid", r#"{"count":2.5}"#) + &track("2", "Paid", r#"{"count":"x"}"#);
    let found = land(&lines, &paid(Contracts::new(OnDrift::Rescue, OnTypeChange::Column), &columns));
    assert_eq!(found.column("paid", "count__double"), ["2.5", "-"]);
    assert_eq!(found.column("paid", "_rescued_data"), ["-", r#"{"count":"x"}"#]);
    let found = land(&lines, &paid(Contracts::new(OnDrift::Freeze, OnTypeChange::Column), &columns));
    assert_eq!((found.column("paid", "id"), reasons(&found)), (vec!["1"], vec!["schema_frozen"]));
}
