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

#[test]
fn each_refusal_of_the_api_gives_the_line_to_run() {
    let warehouse = format!("GET /api/2.0/sql/warehouses/{WAREHOUSE}");
    let table_credentials = "POST /api/2.0/unity-catalog/temporary-table-credentials";
    let path_credentials = "POST /api/2.0/unity-catalog/temporary-path-credentials";
    let assignment = "GET /api/2.1/unity-catalog/current-metastore-assignment";
    let list = "GET /api/2.0/sql/warehouses";
    let make = "POST /api/2.0/sql/warehouses";
    let denied = |message: &str| body("PERMISSION_DENIED", message);
    let grant = |what: &str| format!("GRANT {what} TO `{CLIENT}`");
    let rows: Vec<(&str, Call, Vec<Step>, Vec<&str>, Vec<String>)> = vec![
        (
            "3: IP access list",
            Call::Me,
            vec![reply(
                ME,
                403,
                &denied("Source IP address: 1.2.3.4 is blocked by Databricks IP ACL for workspace: 7"),
            )],
            vec!["1.2.3.4"],
            vec!["IP access list".to_owned()],
        ),
        (
            "3: Private Link",
            Call::Me,
            vec![reply(ME, 302, "").header("location: /login.html?error=private-link-validation-error:7")],
            vec!["does not admit this network"],
            vec!["private endpoint".to_owned()],
        ),
        (
            "9",
            Call::Warehouse,
            vec![reply(
                &warehouse,
                403,
                &denied("This API is disabled for users without the databricks-sql-access entitlement."),
            )],
            vec![CLIENT, "`databricks-sql-access`"],
            vec!["Databricks SQL access".to_owned(), "set-up step".to_owned()],
        ),
        (
            "10",
            Call::Warehouse,
            vec![reply(
                &warehouse,
                403,
                &denied("This API is disabled for users without the workspace-access entitlement."),
            )],
            vec!["`workspace-access`"],
            vec!["Workspace access".to_owned()],
        ),
        (
            "11",
            Call::OwnWarehouse,
            vec![
                reply(list, 200, "{}"),
                reply(make, 403, r#"{"message":"You don't have permission to this resource."}"#),
            ],
            vec![CLIENT, "`inlet`"],
            vec!["Unrestricted cluster creation".to_owned(), "`http_path`".to_owned()],
        ),
        (
            "12",
            Call::Metastore,
            vec![reply(
                assignment,
                404,
                &body("METASTORE_DOES_NOT_EXIST", "No metastore assigned for the current workspace."),
            )],
            vec!["no Unity Catalog"],
            vec!["assigns a metastore".to_owned(), "Hive metastore does not do".to_owned()],
        ),
        (
            "12: by SQL",
            Call::Run,
            vec![reply(STATEMENTS, 200, &failed("[UC_NOT_ENABLED] Unity Catalog is not enabled. SQLSTATE: 56038"))],
            vec!["no Unity Catalog"],
            vec!["assigns a metastore".to_owned()],
        ),
        (
            "13",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed(
                    "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have permission CREATE on \
                         CATALOG. SQLSTATE: 42501",
                ),
            )],
            vec!["`hive_metastore`"],
            vec!["CREATE CATALOG".to_owned()],
        ),
        (
            "14: missing",
            Call::Catalog,
            vec![reply(CATALOG, 404, &body("CATALOG_DOES_NOT_EXIST", "Catalog 'segment' does not exist."))],
            vec!["`segment` does not exist, or is hidden", CLIENT],
            vec![grant("USE CATALOG ON CATALOG `segment`")],
        ),
        (
            "14: denied",
            Call::Catalog,
            vec![reply(CATALOG, 403, &denied("User does not have USE CATALOG on Catalog 'segment'."))],
            vec!["`segment`", "lacks USE CATALOG"],
            vec![grant("USE CATALOG ON CATALOG `segment`")],
        ),
        (
            "15",
            Call::Catalog,
            vec![reply(CATALOG, 403, &denied("Catalog 'segment' is not accessible in current workspace"))],
            vec!["`segment` is bound to other workspaces"],
            vec!["Assign to workspaces".to_owned()],
        ),
        (
            "16",
            Call::CreateSchema,
            vec![reply(SCHEMAS, 403, &denied("User does not have CREATE SCHEMA on Catalog 'segment'."))],
            vec!["`segment.shop`", "lacks CREATE SCHEMA"],
            vec![grant("CREATE SCHEMA ON CATALOG `segment`")],
        ),
        (
            "16: without words",
            Call::CreateSchema,
            vec![reply(SCHEMAS, 403, &denied("No."))],
            vec!["lacks CREATE SCHEMA on catalog `segment`"],
            vec![grant("CREATE SCHEMA ON CATALOG `segment`")],
        ),
        (
            "16: by SQL",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed("PERMISSION_DENIED: User does not have CREATE SCHEMA on Catalog 'segment'."),
            )],
            vec!["lacks CREATE SCHEMA on catalog `segment`"],
            vec![grant("CREATE SCHEMA ON CATALOG `segment`")],
        ),
        (
            "17: use",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed("PERMISSION_DENIED: User does not have USE SCHEMA on Schema 'segment.shop'."),
            )],
            vec!["`segment.shop`"],
            vec![grant("USE SCHEMA ON SCHEMA `segment`.`shop`")],
        ),
        (
            "17: create",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed("PERMISSION_DENIED: User does not have CREATE TABLE on Schema 'segment.shop'."),
            )],
            vec!["`segment.shop`"],
            vec![grant("CREATE TABLE ON SCHEMA `segment`.`shop`")],
        ),
        (
            "17: modify",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed(
                    "[RequestId=1 ErrorClass=PERMISSION_DENIED] User does not have MODIFY on Table 'segment.shop.tracks'.",
                ),
            )],
            vec!["`segment.shop.tracks`"],
            vec![grant("MODIFY ON TABLE `segment`.`shop`.`tracks`")],
        ),
        (
            "18",
            Call::CreateSchema,
            vec![reply(SCHEMAS, 400, &body("INVALID_STATE", "Metastore storage root URL does not exist."))],
            vec!["`segment.shop`", "storage for managed tables"],
            vec!["with a storage location".to_owned()],
        ),
        (
            "18: by SQL",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed(
                    "[RequestId=1 ErrorClass=DAC_DOES_NOT_EXIST] Root storage credential for metastore m does not exist.",
                ),
            )],
            vec!["storage for managed tables"],
            vec!["with a storage location".to_owned()],
        ),
        (
            "19 and 20",
            Call::Warehouse,
            vec![reply(
                &warehouse,
                400,
                &body("INVALID_PARAMETER_VALUE", "dd43ee29fedd958d is not a valid endpoint id."),
            )],
            vec![WAREHOUSE],
            vec!["Connection details".to_owned(), "path of a cluster does not do".to_owned()],
        ),
        (
            "21: missing",
            Call::Run,
            vec![reply(STATEMENTS, 404, &body("RESOURCE_DOES_NOT_EXIST", "SQL warehouse dd43 does not exist."))],
            vec!["no SQL warehouse", WAREHOUSE],
            vec!["Connection details".to_owned()],
        ),
        (
            "21: deleted",
            Call::Running,
            vec![reply(&warehouse, 200, &format!(r#"{{"id":"{WAREHOUSE}","state":"DELETED"}}"#))],
            vec![WAREHOUSE, "was deleted"],
            vec!["choose another one".to_owned()],
        ),
        (
            "22",
            Call::Warehouse,
            vec![reply(&warehouse, 403, &denied("user does not have CAN_USE permission for warehouse"))],
            vec![WAREHOUSE, CLIENT],
            vec![
                format!("databricks warehouses update-permissions {WAREHOUSE}"),
                format!("\"{CLIENT}\""),
                "CAN_USE".to_owned(),
            ],
        ),
        (
            "22: at a statement",
            Call::Run,
            vec![reply(STATEMENTS, 403, &denied("You do not have permission to use the SQL warehouse."))],
            vec![WAREHOUSE, CLIENT],
            vec!["\"permission_level\":\"CAN_USE\"".to_owned()],
        ),
        (
            "26",
            Call::Run,
            vec![reply(STATEMENTS, 200, &failed("No parent external location found for path 'abfss://c@a/lake'"))],
            vec!["abfss://c@a/lake"],
            vec!["CREATE EXTERNAL LOCATION".to_owned(), "set-up step".to_owned()],
        ),
        (
            "27",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed("PERMISSION_DENIED: User does not have CREATE EXTERNAL TABLE on External Location 'bronze'"),
            )],
            vec!["`bronze`"],
            vec![grant("CREATE EXTERNAL TABLE ON EXTERNAL LOCATION `bronze`")],
        ),
        (
            "28",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed("PERMISSION_DENIED: User does not have READ FILES on External Location 'bronze'."),
            )],
            vec!["`bronze`"],
            vec![grant("READ FILES ON EXTERNAL LOCATION `bronze`")],
        ),
        (
            "29",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed(
                    "[RequestId=1 ErrorClass=INVALID_PARAMETER_VALUE.LOCATION_OVERLAP] Input path url 'abfss://c@a/lake' \
                         overlaps with managed storage",
                ),
            )],
            vec!["abfss://c@a/lake", "overlaps"],
            vec!["folder of its own".to_owned()],
        ),
        (
            "30",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed(
                    "[DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION] Cannot create table ('`a`'). The associated location \
                         ('abfss://c@a/lake') is not empty. SQLSTATE: 42601",
                ),
            )],
            vec!["abfss://c@a/lake"],
            vec!["another folder".to_owned()],
        ),
        (
            "31",
            Call::Run,
            vec![reply(
                STATEMENTS,
                200,
                &failed(
                    "AbfsRestOperationException: Operation failed: \"This request is not authorized to perform this \
                         operation using this permission.\", 403",
                ),
            )],
            vec!["Databricks' own credential"],
            vec!["access connector".to_owned()],
        ),
        (
            "37",
            Call::PathCredentials,
            vec![reply(path_credentials, 403, &denied("External data access is not enabled on the metastore."))],
            vec!["gives no credentials to clients outside"],
            vec!["External data access".to_owned()],
        ),
        (
            "38",
            Call::TableCredentials,
            vec![reply(
                table_credentials,
                403,
                &denied("User does not have EXTERNAL USE SCHEMA on Schema 'segment.shop'"),
            )],
            vec!["`segment.shop`"],
            vec![format!("as the catalog's owner: {}", grant("EXTERNAL USE SCHEMA ON SCHEMA `segment`.`shop`"))],
        ),
        (
            "38: without words",
            Call::PathCredentials,
            vec![reply(path_credentials, 403, &denied("No."))],
            vec!["abfss://c@a/lake"],
            vec!["EXTERNAL USE LOCATION".to_owned()],
        ),
    ];
    for (row, call, steps, said, hinted) in rows {
        let fault = fault_of(oauth(), call, signed_in(steps));
        setup(row, &fault, &said, &hinted.iter().map(String::as_str).collect::<Vec<_>>());
    }
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
        (90_002, 400, "no such tenant", "`tenant_id`"),
        (900_023, 400, "no such tenant", "`tenant_id`"),
        (7_000_112, 400, "disabled", "az ad sp update --id 0a1b2c3d"),
        (500_011, 400, "no Azure Databricks", "`tenant_id`"),
        (50_194, 400, "one tenant only", "AzureADMultipleOrgs"),
        (53_003, 400, "Conditional Access", "exclude the service principal"),
        (700_027, 401, "federated identity", "az ad app federated-credential list"),
        (700_024, 401, "federated identity", "az ad app federated-credential list"),
        (700_213, 401, "federated identity", "az ad app federated-credential list"),
        (123_456, 401, "AADSTS123456", "`client_secret`"),
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
fn what_keeps_a_warehouse_from_starting_is_advised() {
    let advised = |code: &str| {
        let error = super::super::answer::Said { code: Some(code.to_owned()), ..Default::default() };
        let whom = std::sync::Arc::new(crate::databricks::sign_in::whom(&connection(&Server::start(vec![]), pat())));
        let about = Subject::Warehouse(WAREHOUSE.to_owned());
        let fault = Fault::from(Error::unsent(Failure::WarehouseFailed, about, &whom, error));
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
