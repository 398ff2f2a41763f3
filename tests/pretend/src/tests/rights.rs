//! Every step with the set-up guide's rights, and without each of them.

use serde_json::{Value, json};

use super::Bench;
use crate::{CATALOG, CLIENT_ID, CREDENTIAL, LOCATION, Setup, WAREHOUSE};

const UNITY: &str = "/api/2.1/unity-catalog";

/// What an evolution does, one step after the other; the first that fails, and why.
fn steps(bench: &Bench) -> Result<(), (&'static str, String)> {
    let rest = |step, method: &str, path: &str, body: &Value| {
        let answer = bench.call(method, path, body);
        if answer.status < 300 {
            Ok(answer.body)
        } else {
            Err((step, answer.body["message"].as_str().unwrap_or_default().to_owned()))
        }
    };
    let location = bench.at("web/tracks");
    rest("catalog", "GET", &format!("{UNITY}/catalogs/{CATALOG}"), &json!({}))?;
    rest("schema", "POST", &format!("{UNITY}/schemas"), &json!({"name": "Web", "catalog_name": CATALOG}))?;
    for (step, statement) in [
        ("select", "SELECT 1".to_owned()),
        ("create", format!("CREATE TABLE segment.web.tracks (a STRING) LOCATION '{location}'")),
        ("alter", "ALTER TABLE segment.web.tracks ADD COLUMNS (b STRING)".to_owned()),
        ("sync", "REPAIR TABLE segment.web.tracks SYNC METADATA".to_owned()),
    ] {
        let body = json!({"statement": statement, "warehouse_id": WAREHOUSE, "wait_timeout": "30s"});
        let answer = rest(step, "POST", "/api/2.0/sql/statements", &body)?;
        if answer["status"]["state"] != "SUCCEEDED" {
            return Err((step, answer["status"]["error"]["message"].as_str().unwrap_or_default().to_owned()));
        }
    }
    let table = rest("table", "GET", &format!("{UNITY}/tables/segment.web.tracks"), &json!({}))?;
    let vend = json!({"table_id": table["table_id"], "operation": "READ_WRITE"});
    rest("vend", "POST", "/api/2.0/unity-catalog/temporary-table-credentials", &vend)?;
    Ok(())
}

#[test]
fn the_guides_rights_are_enough_but_for_vended_credentials() {
    let bench = Bench::new();
    let refused = "User does not have EXTERNAL USE SCHEMA on Schema 'segment.web'.";
    assert_eq!(steps(&bench), Err(("vend", refused.to_owned())));
    let bench = Bench::with(|setup| setup.grant("EXTERNAL USE SCHEMA", "catalog", CATALOG));
    assert_eq!(steps(&bench), Ok(()));
}

#[test]
fn without_each_right_just_the_step_that_needs_it_fails() {
    type Change = fn(Setup) -> Setup;
    let all: [(Change, &str, &str); 7] = [
        (
            |setup| setup.without_grant("ALL PRIVILEGES", "catalog", CATALOG),
            "catalog",
            "USE CATALOG on Catalog 'segment'",
        ),
        (
            |setup| setup.without_grant("ALL PRIVILEGES", "catalog", CATALOG).grant("USE CATALOG", "catalog", CATALOG),
            "schema",
            "CREATE SCHEMA on Catalog 'segment'",
        ),
        (|setup| setup.without_entitlement("databricks-sql-access"), "select", "databricks-sql-access entitlement"),
        (Setup::without_use_of_the_warehouse, "select", "does not have CAN_USE permission"),
        (
            |setup| setup.without_grant("CREATE EXTERNAL TABLE", "storage_credential", CREDENTIAL),
            "create",
            "CREATE EXTERNAL TABLE on External Location 'segment_lake'",
        ),
        (Setup::without_unity_catalog, "catalog", "No metastore assigned"),
        (Setup::without_warehouse, "select", "does not exist"),
    ];
    for (change, step, why) in all {
        let (failed, message) = steps(&Bench::with(change)).unwrap_err();
        assert_eq!(failed, step, "{message}");
        assert!(message.contains(why), "{step}: {message}");
    }
}

#[test]
fn a_schema_of_somebody_else_needs_its_own_rights() {
    let bench = Bench::with(|mut setup| {
        setup.schemas.push("segment.theirs".to_owned());
        setup.without_grant("ALL PRIVILEGES", "catalog", CATALOG).grant("USE CATALOG", "catalog", CATALOG)
    });
    let create = format!("CREATE TABLE segment.theirs.t (a STRING) LOCATION '{}'", bench.at("theirs/t"));
    assert_eq!(bench.failed(&create), "PERMISSION_DENIED: User does not have USE SCHEMA on Schema 'segment.theirs'.");
    bench.pretend.grant("USE SCHEMA", "schema", "segment.theirs").unwrap();
    assert_eq!(bench.failed(&create), "PERMISSION_DENIED: User does not have CREATE TABLE on Schema 'segment.theirs'.");
    bench.pretend.grant("CREATE TABLE", "schema", "segment.theirs").unwrap();
    bench.done(&[&create, "ALTER TABLE segment.theirs.t ADD COLUMNS (b STRING)"]);
    bench.pretend.revoke("USE SCHEMA", "schema", "segment.theirs").unwrap();
    let alter = "ALTER TABLE segment.theirs.t ADD COLUMNS (c STRING)";
    assert_eq!(bench.failed(alter), "PERMISSION_DENIED: User does not have USE SCHEMA on Schema 'segment.theirs'.");
}

#[test]
fn effective_permissions_say_where_a_right_comes_from() {
    let bench = Bench::with(|mut setup| {
        setup.schemas.push("segment.web".to_owned());
        setup.grant("EXTERNAL USE SCHEMA", "schema", "segment.web")
    });
    let path = format!("{UNITY}/effective-permissions/schema/segment.web?principal={CLIENT_ID}");
    assert_eq!(
        bench.get(&path).body["privilege_assignments"][0]["privileges"],
        json!([
            {"privilege": "EXTERNAL_USE_SCHEMA"},
            {"privilege": "ALL_PRIVILEGES", "inherited_from_type": "CATALOG", "inherited_from_name": "segment"},
        ])
    );
    assert_eq!(bench.get(&format!("{path}0")).status, 404);
}

#[test]
fn locations_and_credentials_show_to_those_who_have_a_right_on_them() {
    let bench = Bench::new();
    let listed =
        |path: &str, key: &str| bench.get(&format!("{UNITY}/{path}?max_results=0")).body[key].as_array().unwrap().len();
    assert_eq!(listed("storage-credentials", "storage_credentials"), 1);
    assert_eq!(listed("external-locations", "external_locations"), 0);
    bench.pretend.grant("BROWSE", "external_location", LOCATION).unwrap();
    assert_eq!(listed("external-locations", "external_locations"), 1);
}

#[test]
fn paths_are_vended_with_the_right_on_their_location() {
    let bench = Bench::new();
    let ask = json!({"url": bench.at("web"), "operation": "PATH_READ_WRITE"});
    let vend = || bench.call("POST", "/api/2.0/unity-catalog/temporary-path-credentials", &ask);
    assert_eq!(vend().body["message"], "User does not have EXTERNAL USE LOCATION on External Location 'segment_lake'.");
    bench.pretend.grant("EXTERNAL USE LOCATION", "external_location", LOCATION).unwrap();
    bench.pretend.knobs(|knobs| knobs.vended = crate::Vended::AzureSas("sv=1&sig=x".to_owned()));
    assert_eq!(vend().body["azure_user_delegation_sas"]["sas_token"], "sv=1&sig=x");
    bench.pretend.knobs(|knobs| knobs.external_access = false);
    assert_eq!(vend().status, 403);
}
