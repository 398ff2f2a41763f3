//! What files and variables together become, and what is said of those that are wrong.

mod workspace;

use std::collections::BTreeMap;

use inlet_events::contract::{OnDrift, OnTypeChange};
use proptest::prelude::*;

use super::*;
use crate::databricks::WarehouseSpec;
use crate::databricks::{Auth, Cloud};
use crate::fault::FaultKind;
use crate::settings::keys::{KEYS, Shape};

const GUID: &str = "fffa5b05-1da5-4599-8360-cc2684bcdefb";

/// A file and variables, `NAME=value` each.
fn load(text: &str, variables: &[&str]) -> Result<Settings, Fault> {
    let variables: BTreeMap<&str, &str> = variables.iter().filter_map(|pair| pair.split_once('=')).collect();
    Settings::load(Some(("inlet.toml", text)), |name| variables.get(name).map(|value| (*value).to_owned()))
}

/// The messages and the hint.
fn refusal(text: &str, variables: &[&str]) -> String {
    let fault = load(text, variables).unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Setup);
    format!("{fault}; {}", fault.hint_text().unwrap_or_default())
}

#[test]
fn every_bad_variable_is_named_at_once() {
    let many = |name: &str| name.starts_with("INLET_MAX_").then(|| "many".to_owned());
    let fault = Settings::load(None, many).unwrap_err();
    assert!(fault.to_string().contains("`INLET_MAX_TABLES`") && fault.to_string().contains("`INLET_MAX_EXPANSION`"));
}

#[test]
fn empty_means_unset() {
    let settings = Settings::load(None, |_| Some(String::new())).unwrap();
    assert_eq!(settings.warehouse_id, None);
    assert_eq!(settings.limits.tables_per_schema, Limits::default().tables_per_schema);
    assert!(load("name = ''\ncatalog = ' '\nauth.client_id = ''", &[]).unwrap().destination.is_none());
}

#[test]
fn all_faults_are_said_at_once_each_with_its_key_and_line() {
    let text = "\
workspace_url = 'accounts.azuredatabricks.net'
catalog = 'hive_metastore'
catalogue = 'x'
port = 'https'
window = '15 parsecs'
on_drift = 'evolv'

[auth]
client_id = 'x'
warehouse_id = 'wh'

[limits]
max_tables = 0
";
    let fault = load(text, &["INLET_WORKERS=many", "INLET_TABLES=external"]).unwrap_err();
    let said = fault.to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "11 settings are wrong:", "{said}");
    for wanted in [
        "`workspace_url` (inlet.toml, line 1) is `accounts.azuredatabricks.net`, the account console",
        "`catalog` (inlet.toml, line 2) is `hive_metastore`: the Hive metastore",
        "`catalogue` (inlet.toml, line 3) is no key of the settings; did you mean `catalog`?",
        "`port` (inlet.toml, line 4) must be a whole number above 0, not a text",
        "`window` (inlet.toml, line 5) must be a whole number above 0 and its unit, not `15 parsecs`",
        "`on_drift` (inlet.toml, line 6) must be `evolve` or `rescue` or `freeze`, not `evolv`; did you mean `evolve`?",
        "`auth.warehouse_id` (inlet.toml, line 10) is no key of the settings; did you mean `warehouse_id`? it stands above",
        "`limits.max_tables` (inlet.toml, line 13) must be a whole number above 0, not `0`",
        "`auth.client_secret` is missing: `auth.client_id` is given; auth.client_secret = \"env:NAME\"",
        "`lake` is missing",
        "`INLET_WORKERS` must be a whole number above 0, not `many`",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(wanted)), "{wanted}\n{said}");
    }
    assert_eq!(lines.len(), 12, "{said}");
}

#[test]
fn a_value_that_cannot_be_read_is_not_said_to_be_missing_too() {
    for key in ["workspace_url", "catalog", "lake", "auth.client_secret", "auth.client_id", "sync.hash_salt"] {
        let mut lines = vec![
            "workspace_url = 'acme.cloud.databricks.com'",
            "catalog = 'main'",
            "lake = 's3://acme/bronze'",
            "auth.client_id = 'a'",
            "auth.client_secret = 'env:S'",
            "sync.hash = ['user_id']",
            "sync.hash_salt = 'env:S'",
        ];
        lines.retain(|line| !line.starts_with(&format!("{key} =")));
        let five = format!("{key} = 5");
        lines.push(&five);
        let said = refusal(&lines.join("\n"), &["S=dose1"]);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("must be a text, not a number"), "{said}");
    }
}

#[test]
fn lines_that_are_no_toml_are_all_named_and_never_repeated() {
    let text = "catalog = dose1\nworkspace_url = 'acme.cloud.databricks.com'\nhttp_path = 'dose2\nx y = 1\n[auth\n";
    let said = refusal(text, &[]);
    for line in ["line 1", "line 3", "line 4", "line 5"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("dose"), "{said}");
    assert!(!said.contains("missing: "), "what is missing may stand in a line that could not be read: {said}");
}

#[test]
fn a_variable_wins_over_the_file_and_the_file_over_the_default() {
    let text = "workers = 3\nname = 'file'\n[limits]\nmax_tables = 7\nmax_columns = 9\n";
    let settings = load(text, &["INLET_MAX_TABLES=8", "INLET_NAME=variable"]).unwrap();
    assert_eq!((settings.workers, settings.name.as_deref()), (3, Some("variable")));
    assert_eq!((settings.limits.tables_per_schema, settings.limits.columns_per_table), (8, 9));
    assert_eq!(settings.limits.new_columns_per_upload, Limits::default().new_columns_per_upload);
    assert_eq!(load("workers = 3", &["INLET_WORKERS=5"]).unwrap().workers, 5);
    assert_eq!(load("workers = 1_000", &[]).unwrap().workers, 64);
}

#[test]
fn every_variable_is_read() {
    for key in KEYS {
        let Some(variable) = key.variable else { continue };
        // A number that is none, a choice that is none, a port of another service: each value is looked at.
        let value = if key.shape == Shape::List { "a.example" } else { "§" };
        let given =
            Given::read(None, &|name| (name == variable).then(|| value.to_owned()), &StoredSecrets::new()).finish();
        let whole = Settings::load(None, |name| (name == variable).then(|| value.to_owned()));
        let accepts_any = ["name", "warehouse_id", "allow_host", "sync.hash_salt", "lake"].contains(&key.path);
        assert_eq!(whole.is_ok(), accepts_any, "{variable}: {:?}", whole.map(|_| ()));
        assert_eq!(given.is_err(), matches!(key.shape, Shape::Number | Shape::Flag), "{variable}");
    }
}

#[test]
fn what_is_read_from_a_whole_file_is_what_was_written() {
    let text = "\
\u{feff}name = 'Production'
workspace_url = 'https://adb-1.2.azuredatabricks.net/?o=12'\r
catalog = 'Segment'
http_path = '/sql/1.0/warehouses/dd43ee29fedd958d'
port = 443
lake = 'abfss://events@acme.dfs.core.windows.net/bronze'
schema_changes = 'warehouse'
on_drift = 'rescue'
on_type_change = 'column'
window = '5m'
hold_limit = '2h'
max_wakes_per_day = 10
max_warehouse_seconds_per_day = 3_600
warehouse_id = 'wh_1'
patience_seconds = 60

[auth]
tenant_id = 'FFFA5B05-1DA5-4599-8360-CC2684BCDEFB'

[sync]
tables = { allow = ['*'], deny = ['debug_*'] }
columns = { deny = ['users.email'] }
hash = ['user_id', 'context_ip']
hash_salt = 'env:SALT'

[[table]]
name = 'orders'
on_drift = 'freeze'

[[source]]
id = 'web1'
schema = 'shop'

[[source]]
prefix = '/ios/uploads/'
schema = 'app'
name = 'iOS'
";
    let variables = ["SALT=salt", "INLET_PRINCIPAL_CLIENT_ID=ours", "INLET_PRINCIPAL_CLIENT_SECRET=dose1"];
    let settings = load(text, &variables).unwrap();
    let destination = settings.destination.as_ref().unwrap();
    assert_eq!(destination.connection.url.as_str(), "https://adb-1.2.azuredatabricks.net/");
    assert_eq!(destination.connection.workspace_id.as_deref(), Some("12"));
    assert_eq!((destination.connection.cloud, destination.catalog.as_str()), (Cloud::Azure, "segment"));
    assert_eq!(destination.warehouse, WarehouseChoice::Id("dd43ee29fedd958d".to_owned()));
    let Auth::Entra { tenant_id, client_id, client_secret } = &destination.connection.auth else { panic!() };
    assert_eq!((tenant_id.as_deref(), client_id.as_str(), client_secret.expose()), (Some(GUID), "ours", "dose1"));
    let same = StorageAccess::Principal {
        tenant_id: Some(GUID.to_owned()),
        client_id: "ours".to_owned(),
        client_secret: crate::secret::Secret::new("dose1"),
    };
    assert_eq!(settings.storage, same, "API and storage sign in as one principal");
    let evolution = Evolution {
        schema_changes: SchemaChanges::Warehouse,
        window: Duration::from_secs(300),
        max_wakes_per_day: Some(10),
        max_warehouse_seconds_per_day: Some(3_600),
        hold_limit: Duration::from_secs(7_200),
        ..Evolution::default()
    };
    assert_eq!(settings.evolution, evolution);
    let contracts = &settings.contracts;
    assert_eq!(contracts.of("orders"), (OnDrift::Freeze, OnTypeChange::Column));
    assert_eq!(contracts.of("pages"), (OnDrift::Rescue, OnTypeChange::Column));
    let selection = &settings.selection;
    assert!(selection.takes_table("orders") && !selection.takes_table("debug_clicks"));
    let printed = format!("{selection:?}");
    assert!(printed.contains("user_id") && printed.contains("context_ip"), "{printed}");
    let sources = [
        Source { of: SourceOf::Id("web1".to_owned()), schema: "shop".to_owned(), name: None },
        Source {
            of: SourceOf::Prefix("ios/uploads".to_owned()),
            schema: "app".to_owned(),
            name: Some("iOS".to_owned()),
        },
    ];
    assert_eq!(settings.sources, sources);
    assert_eq!(settings.patience, Duration::from_secs(60));
    assert_eq!(settings.warehouse_id.as_deref(), Some("wh_1"));
    assert_eq!(settings.warnings, [] as [&str; 0]);
    let shown = format!("{settings:?}");
    assert!(!shown.contains("dose1") && !shown.contains("salt\""), "{shown}");
}

#[test]
fn paths_in_a_file_begin_at_its_folder() {
    let load = |name: &str, text: &str| Settings::load(Some((name, text)), |_| None);
    assert_eq!(load("inlet.toml", "lake = 'lake'").unwrap().lake.as_deref(), Some("lake"));
    assert_eq!(load("conf/inlet.toml", "lake = 'lake'").unwrap().lake.as_deref(), Some("conf/lake"));
    assert_eq!(load("conf/inlet.toml", "lake = '/lake'").unwrap().lake.as_deref(), Some("/lake"));
    assert_eq!(load("conf/inlet.toml", "lake = 's3://b/lake'").unwrap().lake.as_deref(), Some("s3://b/lake"));
    let fault = load("s3://bucket/_inlet/inlet.toml", "lake = './lake'").unwrap_err();
    assert!(fault.to_string().contains("come from a store"), "{fault}");
    let by_variable = |name: &str| (name == "INLET_LAKE").then(|| "lake".to_owned());
    let settings = Settings::load(Some(("conf/inlet.toml", "")), by_variable).unwrap();
    assert_eq!(settings.lake.as_deref(), Some("lake"));
}

#[test]
fn sources_share_a_schema_only_when_both_name_it() {
    let source = |lines: &str| format!("[[source]]\n{lines}\n");
    let both = [source("id = 'web'\nschema = 'shop'"), source("id = 'ios'\nschema = 'shop'")].concat();
    assert_eq!(load(&both, &[]).unwrap().sources.len(), 2);
    assert_eq!(load(&source("id = 'My-Shop'"), &[]).unwrap().sources[0].schema, "my_shop");
    for (text, says) in [
        (
            [source("id = 'shop'"), source("id = 'ios'\nschema = 'shop'")].concat(),
            "would share the schema `shop` with source[1]",
        ),
        ([source("id = 'my-shop'"), source("id = 'my_shop'")].concat(), "would share the schema `my_shop`"),
        (
            [source("id = 'web'"), source("id = 'web'\nschema = 'x'")].concat(),
            "`source[2]` (inlet.toml, line 3) is the same source",
        ),
        (source("schema = 'x'"), "has no `id` and no `prefix`"),
        (source("id = 'a'\nprefix = 'b'\nschema = 'x'"), "has an `id` and a `prefix`"),
        (source("prefix = 'b'"), "has no `schema`"),
        (source("prefix = 's3://b/x'\nschema = 'x'"), "without scheme and bucket"),
        (source("id = 'a'\nschema = 'My-Shop'"), "schema = \"my_shop\""),
        (
            source("id = 'a'\nsheema = 'x'"),
            "`source[1].sheema` (inlet.toml, line 3) is no key of the settings; did you mean `source.schema`?",
        ),
        ("[source]\nid = 'a'".to_owned(), "write [[source]]"),
        ("source = ['a']".to_owned(), "`source[1]` (inlet.toml, line 1) must be a table, not a text"),
        ("[[table]]\non_drift = 'freeze'".to_owned(), "`table[1]` (inlet.toml, line 1) has no `name`"),
        ("[[table]]\nname = 'a'\n[[table]]\nname = 'a'".to_owned(), "is a second [[table]] of `a`"),
        ("sync.hash = ['user_id']".to_owned(), "`sync.hash_salt` is missing"),
        ("sync.hash = ['']".to_owned(), "must be a list of texts"),
        ("sync = 'all'".to_owned(), "`sync` (inlet.toml, line 1) must be a table, not a text"),
        ("sync.tables = ['a']".to_owned(), "`sync.tables` (inlet.toml, line 1) must be a table, not a list"),
        ("sync.hash_salt = 'dose1'".to_owned(), "in the clear"),
    ] {
        let said = refusal(&text, &[]);
        assert!(said.contains(says), "{text}: {said}");
        assert!(!said.contains("dose"), "{said}");
    }
}

fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        8 => prop::sample::select(KEYS.iter().map(|key| key.path.to_owned()).collect::<Vec<_>>()),
        2 => prop::sample::select(vec!["[auth]", "[[source]]", "[[table]]", "[sync]", "[warehouse]", "[limits]", "["])
            .prop_map(str::to_owned),
        1 => "[a-z_.]{0,12}",
    ];
    let value = prop_oneof![
        prop::sample::select(vec![
            "1",
            "0",
            "-1",
            "18446744073709551616",
            "0x1f",
            "1.5",
            "true",
            "[]",
            "['a', 1]",
            "{ allow = ['*'] }",
            "[[source]]",
            "''",
            "'create'",
            "'https://adb-1.2.azuredatabricks.net'",
            "'15m'",
            "'env:A'",
            "'file:'",
            "1979-05-27",
            "\"\\u00e9\"",
            "'''\n'''",
        ])
        .prop_map(str::to_owned),
        "'[^']{0,20}'",
        ".{0,20}",
    ];
    (key, value).prop_map(|(key, value)| if key.starts_with('[') { key } else { format!("{key} = {value}") })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn no_text_stops_the_parser(lines in prop::collection::vec(line(), 0..12), any in ".{0,200}") {
        for text in [lines.join("\n"), any] {
            for secret in [None, Some("dose1".to_owned())] {
                let _outcome = Settings::load(Some(("inlet.toml", &text)), |_| secret.clone());
            }
        }
    }
}
