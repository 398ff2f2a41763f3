//! Preconditions that fail, a row each: what is made wrong, which step is blamed, what it says, what mends it.
//!
//! The numbers are those of the table of preconditions that the test was built by: 1-3 address, 4-8 signing in, 9-11
//! entitlements, 12-18 Unity Catalog, 19-25 warehouse, 26-31 and 36 external location, 32-35 the lake's store, 37 and 38
//! lent credentials, 39-42 tables that are there. `ELSEWHERE` says of each row without a case here what becomes of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use inlet_core::connect::{Ask, ConnectReport, StepStatus};
use pretend::{CATALOG, CREDENTIAL, Fate, Fault, Pretend, Setup, StatementFault, TOKEN, WAREHOUSE, Wrong};
use serde_json::json;

use super::{admin, blamed, step, tested, tested_as};
use crate::databricks_made::stand;
use crate::refused::drop_checks;
use crate::workspace::{Customer, place};

/// Rows without a case in `cases`: where they are tried, or why they cannot fail.
#[rustfmt::skip]
const ELSEWHERE: [(u8, &str); 11] = [
    (5, "a secret that is over is answered as a wrong one: row 4"),
    (6, "rows_of_microsoft_entra"),
    (24, "a_warehouse_that_is_starting_has_not_failed"),
    (25, "a_silent_host_and_a_wrong_secret_are_told_within_seconds"),
    (32, "beside the code of the step; the cloud tier, on both stores"),
    (33, "beside the code of the step; the cloud tier, on Azure"),
    (34, "beside the code of the step; the cloud tier, on both stores"),
    (35, "beside the code of the step; the cloud tier, on Azure"),
    (38, "credentials are lent for a path, never for a table: the cloud tier takes EXTERNAL USE LOCATION away instead"),
    (41, "appends go to the store, below filters and masks: they hide rows from people and stop none of ours"),
    (42, "no fault: what does not fit a column's type is rescued, or stands in a column beside"),
];

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
    stand: fn(&Customer),
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
    /// Whoever may write to the lake.
    InLake(fn(&Customer)),
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
        stand: |_| {},
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

    /// Something stands in the lake or in the catalog before the test.
    fn stand(self, stand: fn(&Customer)) -> Self {
        Self { stand, ..self }
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
        (self.stand)(&customer);
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
            Mend::InLake(mend) => mend(&customer),
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

/// What `ALL PRIVILEGES` on the catalog comes to here.
const PRIVILEGES: [&str; 6] = ["USE CATALOG", "USE SCHEMA", "CREATE SCHEMA", "CREATE TABLE", "SELECT", "MODIFY"];

/// All privileges on the catalog but these.
fn lacking(mut setup: Setup, privileges: &[&str]) -> Setup {
    if setup.grants.iter().any(|one| one.privilege == "ALL PRIVILEGES" && one.on == CATALOG) {
        setup = setup.without_grant("ALL PRIVILEGES", "catalog", CATALOG);
        setup = PRIVILEGES.iter().fold(setup, |setup, privilege| setup.grant(privilege, "catalog", CATALOG));
    }
    privileges.iter().fold(setup, |setup, privilege| setup.without_grant(privilege, "catalog", CATALOG))
}

fn of_the_address_and_of_signing_in() -> Vec<Case> {
    let forbidden = |pretend: &Pretend| {
        let body =
            json!({"error_code": 403, "message": "Source IP address: 192.0.2.7 is blocked by Databricks IP ACL"});
        pretend.fault(Fault::answer("GET", "/api/*", 403, body).times(1_000));
    };
    let private = |pretend: &Pretend| {
        let to = format!("{}/login.html?error=private-link-validation-error:1", pretend.url());
        pretend.fault(Fault::on("GET", "/oidc/*", Wrong::Redirect(to)).times(1_000));
    };
    vec![
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
    ]
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

fn of_entitlements_and_unity_catalog() -> Vec<Case> {
    let own_warehouse = |text: String| {
        text.replace(&format!("http_path = \"/sql/1.0/warehouses/{WAREHOUSE}\""), "warehouse = \"create\"")
    };
    vec![
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
            .setup(|setup| lacking(setup, &["USE CATALOG"])),
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
            .awake()
            .setup(|setup| lacking(setup, &["CREATE SCHEMA"])),
        case("16", "grants", "lacks CREATE SCHEMA", "GRANT CREATE SCHEMA ON CATALOG `segment`")
            .setup(|setup| lacking(setup, &["CREATE SCHEMA"])),
        case("17", "schemas", "lacks USE SCHEMA", "GRANT USE SCHEMA ON SCHEMA `segment`.`shop`")
            .setup(|mut setup| {
                setup.schemas.push("segment.shop".to_owned());
                lacking(setup, &["USE SCHEMA"])
            })
            .settings(|text| format!("{text}\n[[source]]\nid = \"shop\"\n"))
            .mend(Mend::Hint),
        case("17", "schemas", "CREATE TABLE on schema `segment.shop`, MODIFY on", "GRANT CREATE TABLE ON SCHEMA")
            .warns()
            .setup(|mut setup| {
                setup.schemas.push("segment.shop".to_owned());
                lacking(setup, &["CREATE TABLE", "MODIFY"])
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
    ]
}

fn of_the_warehouse() -> Vec<Case> {
    vec![
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
    ]
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

fn of_the_external_location() -> Vec<Case> {
    vec![
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
        case("30", "external_location", "other files than a Delta table", "move them away").awake().fault(|pretend| {
            let text = "[DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION] Cannot create table. SQLSTATE: 42601";
            pretend.statement_fault(StatementFault::new("CREATE TABLE", text).times(1_000));
        }),
        // Inlet itself asks the blob endpoint, which does without.
        case("36", "external_location", "has no hierarchical namespace", "hns-migration start --type upgrade")
            .awake()
            .fault(|pretend| {
                let text = "Operation failed: Hierarchical namespace is not enabled for this account, 409";
                pretend.statement_fault(StatementFault::new("CREATE TABLE", text).times(1_000));
            }),
        case("31", "external_location", "Databricks' own credential", "access connector").awake().fault(|pretend| {
            let text = "AbfsRestOperationException: This request is not authorized to perform this operation.";
            pretend.statement_fault(StatementFault::new("CREATE TABLE", text).times(1_000));
        }),
    ]
}

fn of_tables_that_are_there() -> Vec<Case> {
    let shop = |text: String| format!("{text}\n[[source]]\nid = \"shop\"\n");
    vec![
        case("30", "tables", "holds files and no Delta log", "move away what is not Inlet's")
            .warns()
            .stand(|customer| {
                stand("clustered", &customer.room.lake());
                customer.room.file("lake/shop/tracks/part-0.csv", b"a,b");
            })
            .mend(Mend::InLake(|customer| {
                std::fs::remove_file(customer.room.path("lake/shop/tracks/part-0.csv")).expect("it can be removed");
            })),
        case("39", "tables", "implies checkConstraints", "DROP FEATURE checkConstraints")
            .stand(|customer| drop(stand("legacy_1_3", &customer.room.lake())))
            .mend(Mend::InLake(|customer| drop_checks(&customer.room.lake().join("events/order_completed")))),
        case("39", "tables", "Inlet cannot read table", "DROP FEATURE catalogManaged")
            .stand(|customer| drop(stand("catalog_managed", &customer.room.lake())))
            .mend(Mend::InLake(|customer| {
                std::fs::remove_dir_all(customer.room.lake().join("events")).expect("it can be removed");
            })),
        case("40", "tables", "in the catalog is a table at", "DROP TABLE `segment`.`shop`.`tracks`")
            .setup(|mut setup| {
                setup.schemas.push("segment.shop".to_owned());
                setup
            })
            .settings(shop)
            .stand(|customer| {
                let other = format!("{}/aside/tracks", place(&customer.room));
                let sql = format!("CREATE TABLE segment.shop.tracks (`id` STRING) USING DELTA LOCATION '{other}'");
                admin::run(&customer.pretend, &sql);
            })
            .mend(Mend::Hint),
        case("40", "tables", "is taken in the catalog by another object: STREAMING_TABLE", "rename or drop it")
            .setup(|mut setup| {
                setup.schemas.push("segment.shop".to_owned());
                setup
            })
            .settings(shop)
            .fault(|pretend| {
                let tables = json!({"tables": [{"name": "tracks", "table_type": "STREAMING_TABLE"}]});
                pretend.fault(Fault::answer("GET", "/api/2.1/unity-catalog/tables", 200, tables));
            }),
    ]
}

fn cases() -> Vec<Case> {
    let parts = [
        of_the_address_and_of_signing_in(),
        of_entitlements_and_unity_catalog(),
        of_the_warehouse(),
        of_the_external_location(),
        of_tables_that_are_there(),
    ];
    parts.into_iter().flatten().collect()
}

#[test]
fn each_fault_is_blamed_on_its_step_alone_and_its_hint_mends_it() {
    at_once(cases(), Case::holds);
}

#[test]
fn no_row_is_forgotten() {
    let all = cases();
    let rows = all.iter().flat_map(|case| case.row.split(", ")).map(|row| row.parse().expect("rows are numbers"));
    let named: BTreeSet<u8> = rows.chain(ELSEWHERE.map(|(row, _)| row)).collect();
    assert_eq!(named, (1..=42).collect());
}

/// Does work for each of many things, some at once.
pub(crate) fn at_once<T: Send>(things: Vec<T>, work: impl Fn(T) + Sync) {
    let things: Vec<_> = things.into_iter().map(|thing| std::sync::Mutex::new(Some(thing))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(thing) = things.get(next.fetch_add(1, Ordering::SeqCst)) {
                    work(thing.lock().expect("nobody panics with it").take().expect("each is taken once"));
                }
            });
        }
    });
}

/// One case for each step and status: what needs no warehouse first.
fn one_for_each_step() -> Vec<Case> {
    let (mut seen, mut all) = (BTreeSet::new(), cases());
    all.sort_by_key(|case| case.wake);
    all.retain(|case| seen.insert((case.step, case.status)));
    all
}

#[test]
fn every_two_faults_in_different_steps_are_two() {
    let cases = one_for_each_step();
    let pairs = cases.iter().enumerate().flat_map(|(at, one)| cases[at + 1..].iter().map(move |other| (one, other)));
    let pairs: Vec<(&Case, &Case)> = pairs.filter(|(one, other)| one.step != other.step).collect();
    assert!(pairs.len() > 90, "{}", pairs.len());
    at_once(pairs, |(one, other)| two(one, other));
}

/// Whether a step says that it waits for another one, itself or through those between.
fn waits_for(report: &ConnectReport, step: &str, before: &str) -> bool {
    let because = report.step(step).expect("every step is reported").because.as_deref();
    match because.and_then(|because| because.strip_prefix("waits for `")?.strip_suffix('`')) {
        Some(next) => next == before || waits_for(report, next, before),
        None => false,
    }
}

/// Both are blamed, and nobody else; one that cannot be tried waits for the other.
fn two(one: &Case, other: &Case) {
    let what = format!("row {} at `{}`, row {} at `{}`", one.row, one.step, other.row, other.step);
    let customer = Customer::with(|setup| (other.setup)((one.setup)(setup)));
    let text = std::fs::read_to_string(customer.file()).expect("the settings are there");
    std::fs::write(customer.file(), (other.settings)((one.settings)(text))).expect("the settings can be written");
    for case in [one, other] {
        (case.stand)(&customer);
        (case.fault)(&customer.pretend);
    }
    let report = tested_as(&customer, Ask { wake: one.wake || other.wake, ..Ask::default() });
    let blamed: Vec<&str> =
        report.steps.iter().filter(|step| step.status >= StepStatus::Warning).map(|step| step.step).collect();
    for (case, before) in [(one, other), (other, one)] {
        let waits = waits_for(&report, case.step, before.step);
        assert!(waits || blamed.contains(&case.step), "{what}: nothing of `{}`: {report:#?}", case.step);
    }
    let others: Vec<_> = blamed.into_iter().filter(|step| ![one.step, other.step].contains(step)).collect();
    assert!(others.is_empty(), "{what}: {others:?} are blamed too: {report:#?}");
}

#[test]
fn a_token_in_place_of_a_secret_does_as_well_and_hints_name_its_owner() {
    let customer = Customer::with(|setup| lacking(setup, &["CREATE SCHEMA"]));
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
