//! Preconditions that fail, a row each: what is made wrong, which step is blamed, what it says, what mends it.
//!
//! The numbers are those of the table of preconditions that the test was built by: 1-3 address, 4-8 signing in, 9-11
//! entitlements, 12-18 Unity Catalog, 19-25 warehouse, 26-31 external location, 37 lent credentials.

use pretend::{CATALOG, CREDENTIAL, Fate, Fault, Pretend, Setup, StatementFault, TOKEN, WAREHOUSE, Wrong};
use serde_json::json;

use super::{admin, blamed, step, tested};
use crate::workspace::Customer;

/// One precondition that fails.
struct Case {
    row: &'static str,
    /// The step that is blamed, alone.
    step: &'static str,
    status: &'static str,
    /// Part of what is said.
    says: &'static str,
    /// Part of the hint.
    hints: &'static str,
    wake: bool,
    setup: fn(Setup) -> Setup,
    settings: fn(String) -> String,
    fault: fn(&Pretend),
    mend: Mend,
}

/// Who mends it.
enum Mend {
    /// An admin who runs what the hint says.
    Hint,
    /// Whoever writes the settings: they are as they should be again.
    Settings,
    /// Time, or somebody whose work has no line to run.
    Others(fn(&Pretend)),
}

fn case(row: &'static str, step: &'static str, says: &'static str, hints: &'static str) -> Case {
    Case {
        row,
        step,
        status: "failed",
        says,
        hints,
        wake: false,
        setup: |setup| setup,
        settings: |text| text,
        fault: |_| {},
        mend: Mend::Hint,
    }
}

impl Case {
    fn warns(self) -> Self {
        Self { status: "warning", ..self }
    }

    fn awake(self) -> Self {
        Self { wake: true, ..self }
    }

    fn setup(self, setup: fn(Setup) -> Setup) -> Self {
        Self { setup, ..self }
    }

    fn settings(self, settings: fn(String) -> String) -> Self {
        Self { settings, mend: Mend::Settings, ..self }
    }

    fn fault(self, fault: fn(&Pretend)) -> Self {
        Self { fault, mend: Mend::Others(Pretend::clear_faults), ..self }
    }

    fn mend(self, mend: Mend) -> Self {
        Self { mend, ..self }
    }

    /// Exactly its step is blamed, with its cause and its hint; mended, the test passes.
    fn holds(self) {
        let row = self.row;
        let customer = Customer::with(self.setup);
        let right = std::fs::read_to_string(customer.file()).expect("the settings are there");
        let wrong = (self.settings)(right.clone());
        std::fs::write(customer.file(), &wrong).expect("the settings can be written");
        (self.fault)(&customer.pretend);
        let said = tested(&customer, self.wake);
        let report = said.json();
        assert_eq!(blamed(&report), [(self.step.to_owned(), self.status.to_owned())], "row {row}: {report:#}");
        let fault = &step(&report, self.step)["fault"];
        let (message, hint) = (fault["message"].as_str().unwrap(), fault["hint"].as_str().unwrap_or_default());
        assert!(message.contains(self.says), "row {row}: {message}");
        assert!(hint.contains(self.hints), "row {row}: {hint}");
        match self.mend {
            Mend::Hint => assert!(admin::obey(&customer.pretend, hint) > 0, "row {row}: nothing to run: {hint}"),
            Mend::Settings => std::fs::write(customer.file(), &right).expect("the settings can be written"),
            Mend::Others(mend) => mend(&customer.pretend),
        }
        let mended = tested(&customer, self.wake);
        assert_eq!(
            (mended.code, &mended.json()["status"]),
            (Some(0), &json!("passed")),
            "row {row}: {hint}\n{mended:#?}"
        );
    }
}

/// Settings that sign in with Microsoft Entra.
fn entra(text: &str) -> String {
    let (before, _) = text.split_once("[auth]").expect("the settings sign in");
    let url = before.split('"').nth(1).expect("the workspace comes first");
    format!(
        "{before}\n[auth]\nmethod = \"entra\"\nauthority = \"{url}\"\nclient_id = \"{}\"\nclient_secret = \"file:entra\"\n",
        pretend::CLIENT_ID
    )
}

fn without_all(setup: Setup, privileges: &[&str]) -> Setup {
    let setup = setup.without_grant("ALL PRIVILEGES", "catalog", CATALOG);
    privileges.iter().fold(setup, |setup, privilege| setup.grant(privilege, "catalog", CATALOG))
}

#[test]
fn rows_of_the_address_and_of_signing_in() {
    let forbidden = |pretend: &Pretend| {
        let body =
            json!({"error_code": 403, "message": "Source IP address: 192.0.2.7 is blocked by Databricks IP ACL"});
        pretend.fault(Fault::answer("GET", "/api/*", 403, body).times(1_000));
    };
    let private = |pretend: &Pretend| {
        let to = format!("{}/login.html?error=private-link-validation-error:1", pretend.url());
        pretend.fault(Fault::on("GET", "/oidc/*", Wrong::Redirect(to)).times(1_000));
    };
    for case in [
        case("1", "host", "no connection to", "workspace_url").settings(|text| {
            let url = text.split('"').nth(1).unwrap().to_owned();
            text.replace(&url, "http://127.0.0.1:9")
        }),
        case("1", "host", "is no Databricks workspace", "workspace_url").fault(|pretend| {
            let page = json!({"error": "Bad Target"});
            pretend.fault(Fault::answer("GET", "/oidc/*", 404, page).times(1_000));
        }),
        case("2", "settings", "account console", "inside the workspace").settings(|text| {
            let url = text.split('"').nth(1).unwrap().to_owned();
            text.replace(&url, "https://accounts.azuredatabricks.net")
        }),
        case("3", "identity", "does not admit this network", "IP access list").fault(forbidden),
        case("3", "host", "does not admit this network", "private endpoint").fault(private),
        case("4, 5", "sign_in", "does not accept the client id", "OAuth secret")
            .settings(|text| text.replace("file:client-secret", "file:inlet.toml")),
        case("7", "sign_in", "does not accept the client id", "assigned to the workspace")
            .setup(Setup::not_in_workspace)
            .mend(Mend::Others(|pretend| {
                let body = json!({"applicationId": pretend::CLIENT_ID});
                admin::call(pretend, "POST", "/api/2.0/preview/scim/v2/ServicePrincipals", &body);
            })),
        case("8", "identity", "does not accept the personal access token", "Access tokens").settings(|text| {
            let (before, _) = text.split_once("[auth]").unwrap();
            format!("{before}[auth]\ntoken = \"file:client-secret\"\n")
        }),
    ] {
        case.holds();
    }
}

#[test]
fn rows_of_microsoft_entra() {
    for (code, says, hints) in [
        (7_000_215, "does not accept the client secret", "auth.client_secret"),
        (700_016, "is unknown in the tenant", "az ad sp create --id 5b8a1b1e"),
        (90_002, "no such tenant", "auth.tenant_id"),
    ] {
        let customer = Customer::with(|setup| setup.knobs(|knobs| knobs.entra_error = Some(code)));
        signed_in_with_entra(&customer);
        let report = tested(&customer, false).json();
        assert_eq!(blamed(&report), [("sign_in".to_owned(), "failed".to_owned())], "row 6, {code}: {report:#}");
        let fault = &step(&report, "sign_in")["fault"];
        assert!(fault["message"].as_str().unwrap().contains(says), "{fault}");
        assert!(fault["hint"].as_str().unwrap().contains(hints), "{fault}");
        customer.pretend.knobs(|knobs| knobs.entra_error = None);
        assert_eq!(tested(&customer, false).json()["status"], "passed", "row 6, {code}");
    }
    let customer = Customer::with(Setup::not_in_workspace);
    signed_in_with_entra(&customer);
    let report = tested(&customer, false).json();
    assert_eq!(blamed(&report), [("identity".to_owned(), "failed".to_owned())], "row 7: {report:#}");
    let hint = step(&report, "identity")["fault"]["hint"].as_str().unwrap().to_owned();
    assert_eq!(admin::obey(&customer.pretend, &hint), 1, "{hint}");
    assert_eq!(tested(&customer, false).json()["status"], "passed", "row 7");
}

fn signed_in_with_entra(customer: &Customer) {
    customer.room.file("entra", pretend::ENTRA_SECRET.as_bytes());
    let text = std::fs::read_to_string(customer.file()).expect("the settings are there");
    std::fs::write(customer.file(), entra(&text)).expect("the settings can be written");
}

#[test]
fn rows_of_entitlements_and_unity_catalog() {
    let own_warehouse = |text: String| {
        text.replace(&format!("http_path = \"/sql/1.0/warehouses/{WAREHOUSE}\""), "warehouse = \"create\"")
    };
    for case in [
        case(
            "9",
            "entitlements",
            "lacks the entitlement `databricks-sql-access`",
            "databricks service-principals patch",
        )
        .setup(|setup| setup.without_entitlement("databricks-sql-access")),
        case("10", "entitlements", "`workspace-access`", "workspace-access").fault(|pretend| {
            let message = "This API is disabled for users without the workspace-access entitlement.";
            let body = json!({"error_code": "PERMISSION_DENIED", "message": message});
            pretend.fault(Fault::answer("GET", "/api/2.0/sql/warehouses", 403, body).times(1_000));
        }),
        case("11", "warehouse", "may not make the warehouse", "allow-cluster-create")
            .awake()
            .setup(|setup| setup.without_entitlement("allow-cluster-create"))
            .settings(own_warehouse)
            .mend(Mend::Hint),
        case("11", "warehouse", "do not show `allow-cluster-create`", "allow-cluster-create")
            .warns()
            .setup(|setup| setup.without_entitlement("allow-cluster-create"))
            .settings(own_warehouse)
            .mend(Mend::Hint),
        case("12", "unity_catalog", "has no Unity Catalog", "assigns a metastore").fault(|pretend| {
            let message = "No metastore assigned for the current workspace.";
            let body = json!({"error_code": "METASTORE_DOES_NOT_EXIST", "message": message});
            pretend.fault(Fault::answer("*", "/api/2.1/unity-catalog/*", 404, body).times(1_000));
        }),
        case("13", "settings", "Hive metastore", "catalog")
            .settings(|text| text.replace("catalog = \"segment\"", "catalog = \"hive_metastore\"")),
        case("13", "catalog", "is FOREIGN_CATALOG", "CREATE CATALOG")
            .setup(|mut setup| {
                setup
                    .catalogs
                    .push(serde_json::from_value(json!({"name": "mysql", "kind": "FOREIGN_CATALOG"})).unwrap());
                setup.grant("ALL PRIVILEGES", "catalog", "mysql")
            })
            .settings(|text| text.replace("catalog = \"segment\"", "catalog = \"mysql\"")),
        case("14", "catalog", "does not exist, or is hidden", "CREATE CATALOG `bronze`")
            .settings(|text| text.replace("catalog = \"segment\"", "catalog = \"bronze\""))
            .mend(Mend::Hint),
        case("14", "catalog", "lacks USE CATALOG", "GRANT USE CATALOG ON CATALOG `segment`")
            .setup(|setup| without_all(setup, &["CREATE SCHEMA"])),
        case(
            "15",
            "catalog",
            "is bound to other workspaces",
            "databricks workspace-bindings update-bindings catalog segment",
        )
        .setup(|mut setup| {
            setup.catalogs[0].isolated_elsewhere = true;
            setup
        }),
        case("16", "grants", "lacks CREATE SCHEMA", "GRANT CREATE SCHEMA ON CATALOG `segment`")
            .setup(|setup| without_all(setup, &["USE CATALOG", "USE SCHEMA"])),
        case("17", "schemas", "lacks USE SCHEMA", "GRANT USE SCHEMA ON SCHEMA `segment`.`shop`")
            .setup(|mut setup| {
                setup.schemas.push("segment.shop".to_owned());
                without_all(setup, &["USE CATALOG", "CREATE SCHEMA", "CREATE TABLE", "SELECT", "MODIFY"])
            })
            .settings(|text| format!("{text}\n[[source]]\nid = \"shop\"\n"))
            .mend(Mend::Hint),
        case("17", "schemas", "CREATE TABLE on schema `segment.shop`, MODIFY on", "GRANT CREATE TABLE ON SCHEMA")
            .warns()
            .setup(|mut setup| {
                setup.schemas.push("segment.shop".to_owned());
                without_all(setup, &["USE CATALOG", "CREATE SCHEMA", "USE SCHEMA", "SELECT"])
            })
            .settings(|text| format!("{text}\n[[source]]\nid = \"shop\"\n"))
            .mend(Mend::Hint),
        case("18", "grants", "has storage for managed tables", "with a storage location").fault(|pretend| {
            let body = json!({"error_code": "INVALID_STATE", "message": "Metastore storage root URL does not exist."});
            pretend.fault(Fault::answer("POST", "/api/2.1/unity-catalog/schemas", 400, body).times(1_000));
        }),
        case("37", "unity_catalog", "gives no credentials to clients outside", "External data access")
            .setup(|setup| setup.knobs(|knobs| knobs.external_access = false))
            .settings(|text| format!("{text}\n[storage]\nmethod = \"vended\"\n"))
            .mend(Mend::Others(|pretend| pretend.knobs(|knobs| knobs.external_access = true))),
    ] {
        case.holds();
    }
}

#[test]
fn rows_of_the_warehouse() {
    for case in [
        case("19", "warehouse", "is not the id of a SQL warehouse", "Connection details")
            .settings(|text| text.replace(WAREHOUSE, "dd43ee29fedd958")),
        case("20", "settings", "all-purpose cluster", "Connection details").settings(|text| {
            text.replace(&format!("/sql/1.0/warehouses/{WAREHOUSE}"), "/sql/protocolv1/o/7405/0101-120000-abcd123")
        }),
        case("21", "warehouse", "there is no SQL warehouse `0123456789abcdef`", "Connection details")
            .settings(|text| text.replace(WAREHOUSE, "0123456789abcdef")),
        case("22", "warehouse", "may not use warehouse", "databricks warehouses update-permissions dd43ee29fedd958d")
            .setup(Setup::without_use_of_the_warehouse),
        case("23", "start", "no machines", "no such machines just now")
            .awake()
            .setup(|setup| {
                let fate =
                    Fate::Fails { code: "CLOUD_PROVIDER_RESOURCE_STOCKOUT".into(), summary: "no machines".into() };
                setup.knobs(|knobs| knobs.fate = fate)
            })
            .mend(Mend::Others(|pretend| pretend.knobs(|knobs| knobs.fate = Fate::Runs))),
    ] {
        case.holds();
    }
}

#[test]
fn a_warehouse_that_is_starting_has_not_failed() {
    let customer = Customer::with(|setup| setup.knobs(|knobs| knobs.fate = Fate::Hangs));
    let text = std::fs::read_to_string(customer.file()).unwrap();
    std::fs::write(customer.file(), format!("patience_seconds = 3\n{text}")).unwrap();
    let said = tested(&customer, true);
    assert_eq!(blamed(&said.json()), [("start".to_owned(), "warning".to_owned())], "row 24: {said:#?}");
    assert_eq!(said.code, Some(75), "the test is not finished: it is to be run again");
    let because = step(&said.json(), "statement")["because"].clone();
    assert!(because.as_str().unwrap().contains("still starting"), "{because}");
}

#[test]
fn rows_of_the_external_location() {
    for case in [
        case("26", "external_location", "no external location covers the lake", "CREATE EXTERNAL LOCATION")
            .awake()
            .setup(|mut setup| {
                setup.locations.clear();
                setup
            }),
        case(
            "27",
            "external_location",
            "CREATE EXTERNAL TABLE",
            "GRANT CREATE EXTERNAL TABLE ON EXTERNAL LOCATION `segment_lake`",
        )
        .awake()
        .setup(|setup| setup.without_grant("CREATE EXTERNAL TABLE", "storage_credential", CREDENTIAL)),
        case(
            "27",
            "external_location",
            "do not show CREATE EXTERNAL TABLE",
            "GRANT CREATE EXTERNAL TABLE ON STORAGE CREDENTIAL",
        )
        .warns()
        .setup(|setup| setup.without_grant("CREATE EXTERNAL TABLE", "storage_credential", CREDENTIAL)),
        case("28", "external_location", "READ FILES on", "GRANT READ FILES ON STORAGE CREDENTIAL `segment_storage`")
            .warns()
            .setup(|setup| setup.without_grant("READ FILES", "storage_credential", CREDENTIAL)),
        case("28", "external_location", "WRITE FILES on", "GRANT WRITE FILES ON STORAGE CREDENTIAL `segment_storage`")
            .warns()
            .awake()
            .setup(|setup| setup.without_grant("WRITE FILES", "storage_credential", CREDENTIAL)),
        case("29", "external_location", "overlaps another table's", "a folder of its own").awake().fault(|pretend| {
            let text = "[RequestId=1 ErrorClass=INVALID_PARAMETER_VALUE.LOCATION_OVERLAP] LOCATION_OVERLAP: no.";
            pretend.statement_fault(StatementFault::new("CREATE TABLE", text).times(1_000));
        }),
        case("31", "external_location", "Databricks' own credential", "access connector").awake().fault(|pretend| {
            let text = "AbfsRestOperationException: This request is not authorized to perform this operation.";
            pretend.statement_fault(StatementFault::new("CREATE TABLE", text).times(1_000));
        }),
    ] {
        case.holds();
    }
}

#[test]
fn a_token_in_place_of_a_secret_does_as_well_and_hints_name_its_owner() {
    let customer = Customer::with(|setup| without_all(setup, &["USE CATALOG", "USE SCHEMA"]));
    customer.room.file("token", TOKEN.as_bytes());
    let text = std::fs::read_to_string(customer.file()).unwrap();
    let (before, _) = text.split_once("[auth]").unwrap();
    std::fs::write(customer.file(), format!("{before}[auth]\ntoken = \"file:token\"\n")).unwrap();
    let report = tested(&customer, false).json();
    assert_eq!(blamed(&report), [("grants".to_owned(), "failed".to_owned())], "{report:#}");
    let hint = step(&report, "grants")["fault"]["hint"].as_str().unwrap().to_owned();
    assert!(hint.ends_with(&format!("TO `{}`", pretend::CLIENT_ID)), "{hint}");
    admin::obey(&customer.pretend, &hint);
    assert_eq!(tested(&customer, false).json()["status"], "passed");
}
