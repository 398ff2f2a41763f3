//! Every precondition that can fail, as a server shows it: its fault, with the object's name and the line to run.

use serde_json::json;
use url::Url;

use super::*;
use crate::databricks::testing::{
    CLIENT, Server, Step, at, connection, entra, oauth, pat, reply, run, soon, workspace,
};
use crate::databricks::{Auth, IdentityEndpoint, WarehouseSpec, Workspace};
use crate::fault::FaultKind;

const TENANT: &str = "7f5e0a3c-0000-4000-8000-000000000001";
const WAREHOUSE: &str = "dd43ee29fedd958d";
const GET_WAREHOUSE: &str = "GET /api/2.0/sql/warehouses/dd43ee29fedd958d";
const LIST_WAREHOUSES: &str = "GET /api/2.0/sql/warehouses";
const MAKE_WAREHOUSE: &str = "POST /api/2.0/sql/warehouses";
const ASSIGNMENT: &str = "GET /api/2.1/unity-catalog/current-metastore-assignment";
const TABLE_CREDENTIALS: &str = "POST /api/2.0/unity-catalog/temporary-table-credentials";
const PATH_CREDENTIALS: &str = "POST /api/2.0/unity-catalog/temporary-path-credentials";

const CONFIG: &str = "GET /.well-known/databricks-config";
const OIDC: &str = "GET /oidc/.well-known/oauth-authorization-server";
const ME: &str = "GET /api/2.0/preview/scim/v2/Me";
const CATALOG: &str = "GET /api/2.1/unity-catalog/catalogs/segment?include_browse=true";
const SCHEMAS: &str = "POST /api/2.1/unity-catalog/schemas";
const STATEMENTS: &str = "POST /api/2.0/sql/statements";

/// What is called.
#[derive(Clone, Copy)]
enum Call {
    Me,
    Metastore,
    Catalog,
    CreateSchema,
    Warehouse,
    OwnWarehouse,
    Running,
    Run,
    TableCredentials,
    PathCredentials,
}

/// Calls a server that answers so, and gives the fault that comes of it.
fn fault_of(auth: Auth, call: Call, steps: Vec<Step>) -> Fault {
    let server = Server::start(steps);
    let fault = called(&workspace(&server, auth), call);
    server.seen();
    fault
}

fn called(workspace: &Workspace, call: Call) -> Fault {
    let spec = WarehouseSpec {
        name: "inlet".to_owned(),
        cluster_size: "2X-Small".to_owned(),
        min_clusters: 1,
        max_clusters: 1,
        serverless: true,
        auto_stop_minutes: 10,
    };
    let statement = "CREATE TABLE IF NOT EXISTS `segment`.`shop`.`tracks` USING DELTA LOCATION 'abfss://c@a/lake'";
    let error = run(async {
        match call {
            Call::Me => workspace.me(soon()).await.map(drop),
            Call::Metastore => workspace.metastore(soon()).await.map(drop),
            Call::Catalog => workspace.catalog("segment", soon()).await.map(drop),
            Call::CreateSchema => workspace.create_schema("segment", "shop", "", soon()).await,
            Call::Warehouse => workspace.warehouse(WAREHOUSE, soon()).await.map(drop),
            Call::OwnWarehouse => workspace.own_warehouse(&spec, soon()).await.map(drop),
            Call::Running => workspace.running(WAREHOUSE, soon(), &|_| ()).await.map(drop),
            Call::Run => workspace.run(WAREHOUSE, statement, soon()).await.map(drop),
            Call::TableCredentials => workspace.table_credentials("t-1", soon()).await.map(drop),
            Call::PathCredentials => workspace.path_credentials("abfss://c@a/lake", soon()).await.map(drop),
        }
    });
    Fault::from(error.unwrap_err())
}

/// Asserts a Setup fault that says and hints all of these.
#[track_caller]
fn setup(row: &str, fault: &Fault, said: &[&str], hinted: &[&str]) {
    assert_eq!(fault.kind(), FaultKind::Setup, "row {row}: {fault:?}");
    let hint = fault.hint_text().unwrap_or_default();
    for part in said {
        assert!(fault.to_string().contains(part), "row {row}: `{fault}` does not say `{part}`");
    }
    for part in hinted {
        assert!(hint.contains(part), "row {row}: `{hint}` does not say `{part}`");
    }
}

fn body(code: &str, message: &str) -> String {
    json!({ "error_code": code, "message": message }).to_string()
}

fn failed(message: &str) -> String {
    let error = json!({ "error_code": "BAD_REQUEST", "message": message });
    json!({ "statement_id": "s-1", "status": { "state": "FAILED", "error": error } }).to_string()
}

/// Signed in by OAuth, then these.
fn signed_in(mut steps: Vec<Step>) -> Vec<Step> {
    let mut all = vec![
        reply(CONFIG, 200, r#"{"oidc_endpoint":"{host}/oidc"}"#),
        reply(OIDC, 200, r#"{"token_endpoint":"{host}/oidc/v1/token"}"#),
        reply("POST /oidc/v1/token", 200, r#"{"access_token":"jwt","expires_in":3600}"#),
    ];
    all.append(&mut steps);
    all
}

/// One call that is refused, and what is said and hinted.
#[track_caller]
fn check(row: &str, call: Call, answer: Step, said: &[&str], hinted: &[&str]) {
    setup(row, &fault_of(oauth(), call, signed_in(vec![answer])), said, hinted);
}

/// One statement that fails with this message.
#[track_caller]
fn check_statement(row: &str, message: &str, said: &[&str], hinted: &[&str]) {
    check(row, Call::Run, reply(STATEMENTS, 200, &failed(message)), said, hinted);
}

fn denied(line: &str, message: &str) -> Step {
    reply(line, 403, &body("PERMISSION_DENIED", message))
}

fn grant(what: &str) -> String {
    format!("GRANT {what} TO `{CLIENT}`")
}

#[test]
fn what_keeps_us_out_of_the_workspace_is_told() {
    let blocked = "Source IP address: 1.2.3.4 is blocked by Databricks IP ACL for workspace: 7";
    check("3", Call::Me, denied(ME, blocked), &["1.2.3.4"], &["IP access list"]);
    let redirect = reply(ME, 302, "").header("location: /login.html?error=private-link-validation-error:7");
    check("3", Call::Me, redirect, &["does not admit this network"], &["private endpoint"]);
    let disabled = |entitlement| format!("This API is disabled for users without the {entitlement} entitlement.");
    let sql = denied(GET_WAREHOUSE, &disabled("databricks-sql-access"));
    check("9", Call::Warehouse, sql, &[CLIENT, "`databricks-sql-access`"], &["Databricks SQL access", "set-up step"]);
    let workspace = denied(GET_WAREHOUSE, &disabled("workspace-access"));
    check("10", Call::Warehouse, workspace, &["`workspace-access`"], &["Workspace access"]);
}

#[test]
fn what_is_wrong_with_catalog_and_schema_is_told() {
    let none = body("METASTORE_DOES_NOT_EXIST", "No metastore assigned for the current workspace.");
    let hinted = &["assigns a metastore", "Hive metastore does not do"];
    check("12", Call::Metastore, reply(ASSIGNMENT, 404, &none), &["no Unity Catalog"], hinted);
    check_statement("12", "[UC_NOT_ENABLED] Not enabled. SQLSTATE: 56038", &["no Unity Catalog"], hinted);
    let hive = "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have permission CREATE on CATALOG. \
                SQLSTATE: 42501";
    check_statement("13", hive, &["`hive_metastore`"], &["CREATE CATALOG"]);

    let missing = reply(CATALOG, 404, &body("CATALOG_DOES_NOT_EXIST", "Catalog 'segment' does not exist."));
    let usage = grant("USE CATALOG ON CATALOG `segment`");
    check("14", Call::Catalog, missing, &["`segment` does not exist, or is hidden", CLIENT], &[&usage]);
    let hidden = denied(CATALOG, "User does not have USE CATALOG on Catalog 'segment'.");
    check("14", Call::Catalog, hidden, &["`segment`", "lacks USE CATALOG"], &[&usage]);
    let elsewhere = denied(CATALOG, "Catalog 'segment' is not accessible in current workspace");
    check("15", Call::Catalog, elsewhere, &["`segment` is bound to other workspaces"], &["Assign to workspaces"]);

    let create = grant("CREATE SCHEMA ON CATALOG `segment`");
    for message in ["User does not have CREATE SCHEMA on Catalog 'segment'.", "No."] {
        let said = &["`segment.shop`", "lacks CREATE SCHEMA on catalog `segment`"];
        check("16", Call::CreateSchema, denied(SCHEMAS, message), said, &[&create]);
    }
    let message = "PERMISSION_DENIED: User does not have CREATE SCHEMA on Catalog 'segment'.";
    check_statement("16", message, &["lacks CREATE SCHEMA on catalog `segment`"], &[&create]);

    let no_root = reply(SCHEMAS, 400, &body("INVALID_STATE", "Metastore storage root URL does not exist."));
    let said = &["`segment.shop`", "storage for managed tables"];
    check("18", Call::CreateSchema, no_root, said, &["with a storage location"]);
    let no_root = "[RequestId=1 ErrorClass=DAC_DOES_NOT_EXIST] Root storage credential for metastore m does not exist.";
    check_statement("18", no_root, &["storage for managed tables"], &["with a storage location"]);
}

#[test]
fn each_denied_statement_gives_its_grant() {
    for (row, denial, object, what) in [
        ("17", "USE SCHEMA on Schema 'segment.shop'", "`segment.shop`", "USE SCHEMA ON SCHEMA `segment`.`shop`"),
        ("17", "CREATE TABLE on Schema 'segment.shop'", "`segment.shop`", "CREATE TABLE ON SCHEMA `segment`.`shop`"),
        ("17", "MODIFY on Table 'segment.shop.t'", "`segment.shop.t`", "MODIFY ON TABLE `segment`.`shop`.`t`"),
        (
            "27",
            "CREATE EXTERNAL TABLE on External Location 'bronze'",
            "`bronze`",
            "CREATE EXTERNAL TABLE ON EXTERNAL LOCATION `bronze`",
        ),
        ("28", "READ FILES on External Location 'bronze'", "`bronze`", "READ FILES ON EXTERNAL LOCATION `bronze`"),
        ("28", "WRITE FILES on Storage Credential 'cred'", "`cred`", "WRITE FILES ON STORAGE CREDENTIAL `cred`"),
    ] {
        for prefix in
            ["PERMISSION_DENIED: ", "[RequestId=1 ErrorClass=PERMISSION_DENIED] ", "[INSUFFICIENT_PERMISSIONS] "]
        {
            check_statement(row, &format!("{prefix}User does not have {denial}."), &[object, CLIENT], &[&grant(what)]);
        }
    }
}

#[test]
fn what_is_wrong_with_the_lakes_place_is_told() {
    let place = "abfss://c@a/lake";
    let uncovered = format!("No parent external location found for path '{place}'");
    check_statement("26", &uncovered, &[place], &["CREATE EXTERNAL LOCATION", "set-up step"]);
    let overlap = format!(
        "[RequestId=1 ErrorClass=INVALID_PARAMETER_VALUE.LOCATION_OVERLAP] Input path url '{place}' \
                           overlaps with managed storage"
    );
    check_statement("29", &overlap, &[place, "overlaps"], &["folder of its own"]);
    let full = format!(
        "[DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION] Cannot create table ('`a`'). The associated \
                        location ('{place}') is not empty. SQLSTATE: 42601"
    );
    check_statement("30", &full, &[place], &["another folder"]);
    let storage = "AbfsRestOperationException: Operation failed: \"This request is not authorized to perform this \
                   operation using this permission.\", 403";
    check_statement("31", storage, &["Databricks' own credential"], &["access connector"]);

    let switched_off = denied(PATH_CREDENTIALS, "External data access is not enabled on the metastore.");
    let said = &["gives no credentials to clients outside"];
    check("37", Call::PathCredentials, switched_off, said, &["External data access"]);
    let lacking = denied(TABLE_CREDENTIALS, "User does not have EXTERNAL USE SCHEMA on Schema 'segment.shop'");
    let owner = format!("as the catalog's owner: {}", grant("EXTERNAL USE SCHEMA ON SCHEMA `segment`.`shop`"));
    check("38", Call::TableCredentials, lacking, &["`segment.shop`"], &[&owner]);
    let hinted = &["as the catalog's owner: GRANT EXTERNAL USE SCHEMA"];
    check("38", Call::TableCredentials, denied(TABLE_CREDENTIALS, "No."), &["`t-1`"], hinted);
    check("38", Call::PathCredentials, denied(PATH_CREDENTIALS, "No."), &[place], &["GRANT EXTERNAL USE LOCATION"]);
}

#[test]
fn what_is_wrong_with_the_warehouse_is_told() {
    let denial = reply(MAKE_WAREHOUSE, 403, r#"{"message":"You don't have permission to this resource."}"#);
    let fault = fault_of(oauth(), Call::OwnWarehouse, signed_in(vec![reply(LIST_WAREHOUSES, 200, "{}"), denial]));
    setup("11", &fault, &[CLIENT, "`inlet`"], &["Unrestricted cluster creation", "`http_path`"]);

    let malformed = body("INVALID_PARAMETER_VALUE", "dd43ee29fedd958d is not a valid endpoint id.");
    let hinted = &["Connection details", "path of a cluster does not do"];
    check("19, 20", Call::Warehouse, reply(GET_WAREHOUSE, 400, &malformed), &[WAREHOUSE], hinted);
    let unknown = body("RESOURCE_DOES_NOT_EXIST", "SQL warehouse dd43ee29fedd958d does not exist.");
    let said = &["no SQL warehouse", WAREHOUSE];
    check("21", Call::Run, reply(STATEMENTS, 404, &unknown), said, &["Connection details"]);
    check("21", Call::Warehouse, reply(GET_WAREHOUSE, 404, &unknown), said, &["Connection details"]);
    let deleted = reply(GET_WAREHOUSE, 200, r#"{"id":"dd43ee29fedd958d","state":"DELETED"}"#);
    check("21", Call::Running, deleted, &[WAREHOUSE, "was deleted"], &["choose another one"]);

    let line = format!("databricks warehouses update-permissions {WAREHOUSE}");
    let hinted = &[line.as_str(), CLIENT, "\"permission_level\":\"CAN_USE\""];
    let denial = denied(GET_WAREHOUSE, "user does not have CAN_USE permission for warehouse");
    check("22", Call::Warehouse, denial, &[WAREHOUSE, CLIENT], hinted);
    let denial = denied(STATEMENTS, "You do not have permission to use the SQL warehouse.");
    check("22", Call::Run, denial, &[WAREHOUSE, CLIENT], hinted);
}

#[test]
fn a_url_that_is_no_workspace_is_told() {
    let row = "1: a page";
    for answer in [reply(OIDC, 404, ""), reply(OIDC, 200, "<html>"), reply(OIDC, 301, ""), reply(OIDC, 200, "{}")] {
        let fault = fault_of(oauth(), Call::Me, vec![reply(CONFIG, 404, ""), answer]);
        setup(row, &fault, &["http://127.0.0.1:"], &["`workspace_url`"]);
    }
    let fault = fault_of(pat(), Call::Me, vec![reply(ME, 404, r#"{"error":"Bad Target: /api/2.0/preview"}"#)]);
    setup("1: no such call", &fault, &["no such API"], &["nothing behind the host"]);
}

/// A fault of what never reached a server.
fn unreached(url: &str, failure: Failure, said: &str) -> Fault {
    let mut other = connection(&Server::start(vec![]), pat());
    other.url = Url::parse(url).unwrap();
    let whom = std::sync::Arc::new(crate::databricks::sign_in::whom(&other));
    let request = crate::databricks::http::Request::get(other.url, Subject::Workspace, &whom);
    Fault::from(request.error(failure, crate::databricks::answer::Said::of(said)))
}

#[test]
fn hosts_that_are_not_reached_are_told() {
    let fault = unreached("https://adb-1.2.azuredatabricks.net/x", Failure::NoSuchHost, "dns error");
    setup("1: no host", &fault, &["no host `https://adb-1.2.azuredatabricks.net`"], &["`workspace_url`"]);
    let fault = unreached("https://adb-1.2.azuredatabricks.net/", Failure::NotTrusted, "NotValidForName");
    setup("1: TLS", &fault, &["NotValidForName"], &["this machine's roots"]);
    let fault = unreached("https://accounts.azuredatabricks.net/", Failure::NotApi, "a web page");
    setup("2", &fault, &["account console"], &["`workspace_url`"]);
    let fault = unreached("https://adb-1.2.azuredatabricks.net:8443/", Failure::NoConnection, NO_ANSWER);
    setup("25", &fault, &["https://adb-1.2.azuredatabricks.net:8443"], &["port 443"]);
    let fault = unreached("https://adb-1.2.azuredatabricks.net/", Failure::NoConnection, NO_ANSWER);
    assert!(fault.to_string().contains("`https://adb-1.2.azuredatabricks.net`"), "{fault}");
    assert_eq!(fault.kind(), FaultKind::Again, "it may be the network");
    assert!(fault.hint_text().unwrap().contains("`workspace_url`"), "{fault:?}");
}

#[test]
fn a_wrong_client_id_or_secret_is_told() {
    let refusal = r#"{"error":"invalid_client","error_id":"e-1","error_description":"Client authentication failed"}"#;
    let mut steps = signed_in(vec![]);
    steps.truncate(2);
    steps.push(reply("POST /oidc/v1/token", 401, refusal));
    let fault = fault_of(oauth(), Call::Me, steps);
    setup("4 and 5", &fault, &[CLIENT, "Client authentication failed"], &["new OAuth secret", "active and assigned"]);
    assert!(fault.chain().contains("e-1"), "{}", fault.chain());
}

#[test]
fn each_code_of_entra_names_the_step_that_was_missed() {
    let token = format!("POST /{TENANT}/oauth2/v2.0/token");
    for (code, status, said, hinted) in [
        (7_000_215, 401, CLIENT, "the secret's value, not its id"),
        (7_000_222, 401, "expired", "az ad app credential reset --id 0a1b2c3d"),
        (700_016, 400, CLIENT, "az ad sp create --id 0a1b2c3d"),
        (7_000_229, 401, CLIENT, "az ad sp create --id 0a1b2c3d"),
        (90_002, 400, "no such tenant", "`auth.tenant_id`"),
        (900_023, 400, "no such tenant", "`auth.tenant_id`"),
        (7_000_112, 400, "disabled", "az ad sp update --id 0a1b2c3d"),
        (500_011, 400, "no Azure Databricks", "`auth.tenant_id`"),
        (50_194, 400, "one tenant only", "AzureADMultipleOrgs"),
        (53_003, 400, "Conditional Access", "exclude the service principal"),
        (700_027, 401, "federated identity", "az ad app federated-credential list"),
        (700_024, 401, "federated identity", "az ad app federated-credential list"),
        (700_213, 401, "federated identity", "az ad app federated-credential list"),
        (123_456, 401, "AADSTS123456", "`auth.client_secret`"),
    ] {
        let body = json!({ "error": "invalid_client", "error_codes": [code], "trace_id": "t-1",
            "error_description": format!("AADSTS{code}: What happened.\r\nTrace ID: t-1") });
        let fault = fault_of(entra(Some(TENANT)), Call::Me, vec![reply(&token, status, &body.to_string())]);
        setup(&format!("6: {code}"), &fault, &[said], &[hinted]);
        assert!(fault.chain().contains("(request t-1)"), "{}", fault.chain());
    }
    let kind = |code: u32, status: u16| {
        let body = json!({ "error": "x", "error_codes": [code], "error_description": "d" });
        fault_of(entra(Some(TENANT)), Call::Me, vec![reply(&token, status, &body.to_string())]).kind()
    };
    assert_eq!([kind(90_033, 400), kind(70_011, 400)], [FaultKind::Again, FaultKind::Bug]);
}

#[test]
fn a_principal_that_is_not_in_the_workspace_is_told() {
    let token =
        reply(&format!("POST /{TENANT}/oauth2/v2.0/token"), 200, r#"{"access_token":"entra-token","expires_in":3599}"#);
    let page = "<html><head><title>Error 403 User not authorized.</title></head><body>Reason:<pre> User not authorized.\
                </pre></body></html>";
    let fault = fault_of(entra(Some(TENANT)), Call::Me, vec![token.clone(), reply(ME, 403, page)]);
    setup("7", &fault, &[CLIENT, "not assigned"], &["Service principals > Add", CLIENT, "set-up step"]);
    let refusal = reply(ME, 403, r#"{"error_code":403,"message":"Invalid access token."}"#);
    let fault = fault_of(entra(Some(TENANT)), Call::Me, vec![token.clone(), refusal.clone(), token, refusal]);
    setup("7: refused", &fault, &[CLIENT, "not assigned"], &["Service principals > Add"]);
}

#[test]
fn a_wrong_personal_token_is_told() {
    for (status, message) in
        [(401, "Credential was not sent or was of an unsupported type for this API."), (403, "Invalid access token.")]
    {
        let body = json!({ "error_code": status, "message": message }).to_string();
        let fault = fault_of(pat(), Call::Me, vec![reply(ME, status, &body)]);
        setup("8", &fault, &[message], &["new token", "OAuth"]);
    }
}

#[test]
fn without_an_application_id_the_grant_has_a_blank() {
    let body = body("PERMISSION_DENIED", "User does not have USE CATALOG on Catalog 'a`b'.");
    let fault = fault_of(pat(), Call::Catalog, vec![reply(CATALOG, 403, &body)]);
    setup("14", &fault, &["the owner of this token"], &["GRANT USE CATALOG ON CATALOG `a``b` TO `<principal>`"]);
}

#[test]
fn a_machine_without_an_identity_is_told() {
    let line = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=\
                2ff814a6-3304-4ab8-85cb-cd0e6f879c1d";
    let refusal = r#"{"error":"invalid_request","error_description":"Identity not found"}"#;
    let server = Server::start(vec![reply(line, 400, refusal)]);
    let endpoint = IdentityEndpoint::Machine(server.url.as_str().trim_end_matches('/').to_owned());
    let auth = Auth::ManagedIdentity { client_id: None };
    let fault = called(&at(connection(&server, auth), endpoint), Call::Me);
    server.seen();
    setup("managed identity", &fault, &["Identity not found"], &["identity assign"]);
}

#[test]
fn sign_in_hosts_that_are_not_reached_are_told() {
    let nobody = "http://127.0.0.1:1";
    let auth = Auth::ManagedIdentity { client_id: None };
    let endpoint = IdentityEndpoint::Machine(nobody.to_owned());
    let fault = called(&at(connection(&Server::start(vec![]), auth), endpoint), Call::Me);
    setup("managed identity", &fault, &[nobody], &["`auth.method`"]);

    let mut other = connection(&Server::start(vec![]), entra(Some(TENANT)));
    other.entra_authority = Some(Url::parse(nobody).unwrap());
    let fault = called(&at(other, IdentityEndpoint::default()), Call::Me);
    assert_eq!(fault.kind(), FaultKind::Again);
    assert!(fault.to_string().contains(nobody) && !fault.hint_text().unwrap().contains("workspace_url"), "{fault:?}");
}

#[test]
fn what_keeps_a_warehouse_from_starting_is_advised() {
    let advised = |code: &str| {
        let error = super::super::answer::Said { code: Some(code.to_owned()), ..Default::default() };
        let whom = std::sync::Arc::new(crate::databricks::sign_in::whom(&connection(&Server::start(vec![]), pat())));
        let about = Subject::Warehouse(WAREHOUSE.to_owned());
        let fault = Fault::from(Error::of(Failure::WarehouseFailed, about, &whom, error));
        assert!(fault.to_string().contains(WAREHOUSE), "{fault}");
        (fault.kind(), fault.hint_text().unwrap().to_owned())
    };
    for (code, hint) in [
        ("AZURE_QUOTA_EXCEEDED_EXCEPTION", "quota"),
        ("AWS_RESOURCE_QUOTA_EXCEEDED", "quota"),
        ("CLOUD_PROVIDER_RESOURCE_STOCKOUT", "no such machines"),
        ("AWS_INSUFFICIENT_INSTANCE_CAPACITY_FAILURE", "no such machines"),
        ("NPIP_TUNNEL_SETUP_FAILURE", "network"),
        ("SUBNET_EXHAUSTED_FAILURE", "subnets"),
        ("AWS_AUTHORIZATION_FAILURE", "cross-account"),
        ("TRIAL_EXPIRED", "payment"),
        ("NEWER_THAN_US", "by hand"),
    ] {
        let (kind, advice) = advised(code);
        assert_eq!(kind, FaultKind::Setup, "{code}");
        assert!(advice.contains(hint), "{code}: {advice}");
    }
    assert_eq!(advised("TEMPORARILY_UNAVAILABLE").0, FaultKind::Again);
}

#[test]
fn what_passes_is_delivered_again_and_our_own_sql_is_a_bug() {
    let fault = fault_of(pat(), Call::Catalog, vec![reply(CATALOG, 429, "{}").header("retry-after: 999")]);
    assert_eq!(fault.kind(), FaultKind::Again);
    assert!(fault.to_string().contains("`segment`"), "{fault}");
    let fault = fault_of(pat(), Call::Run, vec![reply(STATEMENTS, 500, "")]);
    assert_eq!(fault.kind(), FaultKind::Again);
    let parse = failed("[PARSE_SYNTAX_ERROR] Syntax error at or near 'USIN'. SQLSTATE: 42601");
    let fault = fault_of(pat(), Call::Run, vec![reply(STATEMENTS, 200, &parse)]);
    assert_eq!(fault.kind(), FaultKind::Bug);
    assert!(fault.to_string().contains("CREATE TABLE IF NOT EXISTS `segment`.`shop`.`tracks`"), "{fault}");
    let unknown = failed("[NEWER_THAN_US] Something. SQLSTATE: XXKST");
    let fault = fault_of(pat(), Call::Run, vec![reply(STATEMENTS, 200, &unknown)]);
    setup("unknown", &fault, &["[NEWER_THAN_US] Something."], &[]);
    assert!(fault.chain().contains("(request statement s-1)"), "{}", fault.chain());
}
