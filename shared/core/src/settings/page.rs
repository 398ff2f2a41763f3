//! Keeps `docs/settings.md` true: each key stands there once, with its variable and its default, and its examples are
//! right.

use std::collections::BTreeMap;

use super::*;
use crate::settings::keys::KEYS;

const PAGE: &str = include_str!("../../../../docs/settings.md");

/// The rows of all tables of keys: key to variable and default.
fn rows() -> BTreeMap<String, (String, String)> {
    let mut rows = BTreeMap::new();
    for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" |").map(str::trim).collect();
        let [key, variable, default, _label, meaning] = cells.as_slice() else { panic!("five cells: {line}") };
        assert!(!meaning.is_empty(), "{line}");
        let bare = |cell: &str| cell.trim_matches('`').to_owned();
        let before = rows.insert(bare(key), (bare(variable), bare(default)));
        assert!(before.is_none(), "`{key}` stands twice");
    }
    rows
}

/// The blocks of TOML in the page.
fn examples() -> Vec<&'static str> {
    PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn each_key_stands_in_the_page_with_its_variable_and_no_other_does() {
    let rows = rows();
    for key in KEYS {
        let (variable, _) = rows.get(key.path).unwrap_or_else(|| panic!("`{}` is not in the page", key.path));
        assert_eq!(variable, key.variable.unwrap_or_default(), "{}", key.path);
    }
    assert_eq!(rows.len(), KEYS.len(), "{:?}", rows.keys().collect::<Vec<_>>());
}

#[test]
fn the_defaults_in_the_page_are_those_of_a_run_without_settings() {
    let (rows, usual) = (rows(), Settings::load(None, |_| None).unwrap());
    let limits = &usual.limits;
    for (key, default) in [
        ("patience_seconds", usual.patience.as_secs()),
        ("window", usual.evolution.window.as_secs()),
        ("every", usual.evolution.every.as_secs()),
        ("hold_limit", usual.evolution.hold_limit.as_secs()),
        ("function_timeout", usual.function_timeout.as_secs()),
        ("maintain.compact_after", usual.maintenance.compact_after.as_secs()),
        ("maintain.small_file_bytes", usual.maintenance.small_file_bytes),
        ("limits.max_tables", limits.tables_per_schema as u64),
        ("limits.max_columns", limits.columns_per_table as u64),
        ("limits.max_new_columns", limits.new_columns_per_upload as u64),
        ("limits.max_line_bytes", limits.line_bytes as u64),
        ("limits.max_upload_bytes", limits.upload_bytes),
        ("limits.max_expansion", limits.expansion),
    ] {
        let said = rows[key].1.split(' ').next().unwrap_or_default();
        let said = match said {
            "15m" => 900,
            "30m" => 1_800,
            "1h" => 3_600,
            number => number.parse().unwrap(),
        };
        assert_eq!(said, default, "{key}");
    }
    // What the page calls the default, said aloud, changes nothing.
    let aloud = ["schema_changes", "on_drift", "on_type_change"];
    let text: String = aloud.iter().map(|key| format!("{key} = '{}'\n", rows[*key].1)).collect();
    let settings = Settings::load(Some(("inlet.toml", &text)), |_| None).unwrap();
    assert_eq!(settings.evolution, usual.evolution);
    assert_eq!(settings.contracts.of("any"), usual.contracts.of("any"));
}

#[test]
fn the_examples_are_right_and_their_faults_are_said_as_shown() {
    let secrets = |name: &str| ["DATABRICKS_CLIENT_SECRET", "INLET_SALT"].contains(&name).then(|| "secret".to_owned());
    assert_eq!(examples().len(), 5);
    for text in examples() {
        let settings = Settings::load(Some(("inlet.toml", text)), secrets);
        let settings = settings.unwrap_or_else(|fault| panic!("{fault}: {text}"));
        assert_eq!(settings.warnings, [] as [&str; 0], "{text}");
    }
    let wrong = examples()[0]
        .replace("client_secret", "# client_secret")
        .replace("workspace_url ", "catalogue = ''\nworkspace_url ");
    let many = |name: &str| (name == "INLET_WORKERS").then(|| "many".to_owned());
    let fault = Settings::load(Some(("inlet.toml", &wrong)), many).unwrap_err();
    let mut said = "setup: ".to_owned() + &fault.to_string().lines().collect::<Vec<_>>().join("\n  ");
    said += &format!("\nhint: {}\n", fault.hint_text().unwrap());
    assert!(PAGE.contains(&said), "{said}");
}
