//! The connection test against a pretend workspace: each precondition that fails is blamed on its own step and on no
//! other, what the hint says mends it, and nothing of a test survives it.

mod admin;
mod cases;

pub(crate) use self::cases::at_once;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use inlet_core::clock::{self, Deadline};
use inlet_core::connect::{self, Ask, ConnectReport, StepStatus};
use inlet_core::settings::Settings;
use pretend::{CATALOG, CLIENT_SECRET, Fault, StatementFault, WAREHOUSE, Wrong};
use serde_json::{Value, json};
use url::Url;

use crate::process::{Said, inlet, run};
use crate::support::{listing, runtime};
use crate::workspace::Customer;

/// `inlet connect --json` as a customer runs it.
pub(crate) fn tested(customer: &Customer, wake: bool) -> Said {
    let mut command = inlet();
    command.args(["connect", "--json", "--wait", "0"]).arg("--settings").arg(customer.file());
    let said = run(if wake { command.arg("--wake") } else { &mut command });
    for text in [&said.out, &said.err] {
        assert!(!text.contains(CLIENT_SECRET), "{text}");
    }
    said
}

/// The same within this process.
fn tested_here(customer: &Customer, ask: Ask) -> ConnectReport {
    tested_with(customer, customer.settings.clone(), ask)
}

fn tested_with(customer: &Customer, settings: Settings, ask: Ask) -> ConnectReport {
    let lake = Url::from_directory_path(customer.room.lake().canonicalize().expect("it is there")).expect("a URL");
    let parts = connect::Parts {
        settings,
        lake: Some(lake),
        landing: Vec::new(),
        on_function: false,
        handle: runtime().handle().clone(),
    };
    connect::connect(&parts, ask, Deadline::after(Duration::from_secs(60)), &|_| {})
}

/// The same with the settings as they stand in the file now.
fn tested_as(customer: &Customer, ask: Ask) -> ConnectReport {
    let file = customer.file();
    let text = std::fs::read_to_string(&file).expect("the settings are there");
    match Settings::from_file(&file.display().to_string(), &text) {
        Ok(settings) => tested_with(customer, settings, ask),
        Err(fault) => ConnectReport::without_settings(&fault, ask.wake),
    }
}

/// Steps that are not as they should be, with their status.
pub(crate) fn blamed(report: &Value) -> Vec<(String, String)> {
    let steps = report["steps"].as_array().expect("a report has steps");
    let text = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
    let blamed = steps.iter().filter(|step| step["status"] == "failed" || step["status"] == "warning");
    blamed.map(|step| (text(step, "step"), text(step, "status"))).collect()
}

pub(crate) fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().expect("a report has steps");
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no step `{name}`: {report:#}"))
}

/// Everything that a test could leave behind: schemas, tables, files, and other securables. That the warehouse was woken
/// is recorded on purpose.
pub(crate) fn traces(customer: &Customer) -> [Vec<String>; 4] {
    let files = listing(&customer.room.lake()).into_iter().map(|(path, _)| path.display().to_string());
    let files = files.filter(|path| !path.starts_with("_inlet/wakes/")).collect();
    let Customer { pretend, .. } = customer;
    [pretend.schemas(), pretend.tables(), files, admin::securables(pretend)]
}

#[test]
fn a_set_up_after_the_guide_passes_asleep_and_awake() {
    let customer = Customer::new();
    let before = traces(&customer);
    let asleep = tested(&customer, false);
    let report = asleep.json();
    assert_eq!((asleep.code, &report["status"]), (Some(0), &json!("passed")), "{asleep:#?}");
    assert!(customer.pretend.wakes().is_empty(), "nothing wakes a warehouse that nobody asked for");
    assert_eq!(step(&report, "start")["because"], "the warehouse sleeps: --wake starts it");
    assert_eq!(step(&report, "catalog")["setup_step"]["number"], 7);
    assert_eq!(traces(&customer), before);

    let awake = tested(&customer, true);
    let report = awake.json();
    assert_eq!((awake.code, &report["status"]), (Some(0), &json!("passed")), "{report:#}");
    assert_eq!(customer.pretend.wakes().len(), 1);
    let skipped: Vec<&Value> =
        report["steps"].as_array().unwrap().iter().filter(|one| one["status"] == "skipped").collect();
    let names: Vec<&Value> = skipped.iter().map(|one| &one["step"]).collect();
    let wanted = ["staging", "places", "landing", "events"];
    assert_eq!(names, wanted, "a lake needs no volume, and no place of uploads is named");
    assert_eq!(traces(&customer), before);
    let wakes = listing(&customer.room.lake().join("_inlet/wakes"));
    assert_eq!(wakes.len(), 1, "what woke the warehouse is recorded");

    let words = run(inlet().args(["test", "--settings"]).arg(customer.file())).success();
    assert!(words.out.contains("ok  identity"), "{words:#?}");
}

#[test]
fn uploads_are_read_and_lie_apart_from_the_lake() {
    let customer = Customer::new();
    customer.room.file("landing/segment-logs/a/1.json", b"{}");
    let at = |place: &str| {
        let mut command = inlet();
        command.args(["connect", "--json", "--settings"]).arg(customer.file()).arg(customer.room.path(place));
        run(&mut command).json()
    };
    let report = at("landing");
    assert_eq!(report["status"], "passed", "{report:#}");
    assert!(step(&report, "landing")["found"].as_str().unwrap().contains("1.json"), "{report:#}");
    std::fs::create_dir(customer.room.path("lake/landing")).unwrap();
    let inside = at("lake/landing");
    assert_eq!(blamed(&inside), [("places".to_owned(), "failed".to_owned())], "{inside:#}");
}

#[test]
fn a_schema_that_could_not_be_made_is_not_blamed_on_the_lake() {
    let customer = Customer::with(|setup| {
        let setup = setup.without_grant("ALL PRIVILEGES", "catalog", CATALOG);
        ["USE CATALOG", "USE SCHEMA"].iter().fold(setup, |setup, right| setup.grant(right, "catalog", CATALOG))
    });
    let said = tested(&customer, true);
    assert_eq!(blamed(&said.json()), [("grants".to_owned(), "failed".to_owned())], "{said:#?}");
}

#[test]
fn a_hostile_address_is_refused_before_anything_is_sent() {
    let customer = Customer::new();
    let text = std::fs::read_to_string(customer.file()).unwrap();
    let own = customer.pretend.url().to_owned();
    let not_allowed = text.replace(r#"allow_host = ["127.0.0.1"]"#, "");
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254",
        own.as_str(),
        "https://127.0.0.1",
        "https://ann:pw@adb-1.2.azuredatabricks.net",
        "https://adb-1.2.azuredatabricks.net@evil.example",
        "https://evil.example/adb-1.2.azuredatabricks.net",
        "http://adb-1.2.azuredatabricks.net",
        "https://accounts.azuredatabricks.net",
    ] {
        std::fs::write(customer.file(), not_allowed.replace(&own, url)).unwrap();
        let said = tested(&customer, true);
        assert_eq!(blamed(&said.json()), [("settings".to_owned(), "failed".to_owned())], "{url}: {said:#?}");
        assert_eq!(said.code, Some(78));
    }
    assert!(customer.pretend.requests().is_empty());
}

#[test]
fn a_workspace_that_leads_elsewhere_gets_no_secret() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let place = format!("http://127.0.0.1:{}/", elsewhere.local_addr().unwrap().port());
    let discovery = "/oidc/.well-known/oauth-authorization-server";
    let token_endpoint = json!({ "token_endpoint": format!("{place}oidc/v1/token") });
    for wrong in [
        Fault::on("GET", discovery, Wrong::Redirect(place.clone())).times(10),
        Fault::answer("GET", discovery, 200, token_endpoint).times(10),
    ] {
        let customer = Customer::new();
        customer.pretend.fault(wrong);
        let said = tested(&customer, true);
        assert_eq!(blamed(&said.json()), [("host".to_owned(), "failed".to_owned())], "{said:#?}");
        assert!(customer.pretend.requests().iter().all(|seen| seen.method == "GET"), "nobody signed in");
    }
    assert!(elsewhere.accept().is_err(), "and nobody followed");
}

#[test]
fn a_silent_host_and_a_wrong_secret_are_told_within_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let customer = Customer::new();
    let text = std::fs::read_to_string(customer.file()).unwrap();
    let place = format!("http://127.0.0.1:{}", silent.local_addr().unwrap().port());
    std::fs::write(customer.file(), text.replace(customer.pretend.url(), &place)).unwrap();
    let said = within_seconds(|| tested(&customer, true));
    assert_eq!(
        (said.code, blamed(&said.json())),
        (Some(75), vec![("host".to_owned(), "failed".to_owned())]),
        "{said:#?}"
    );
    assert!(step(&said.json(), "host")["fault"]["hint"].as_str().unwrap().contains("443"), "{said:#?}");

    std::fs::write(customer.file(), &text).unwrap();
    customer.room.file("client-secret", b"doseffffffffffffffffffffffffffffffff");
    let said = within_seconds(|| tested(&customer, true));
    assert_eq!(
        (said.code, blamed(&said.json())),
        (Some(78), vec![("sign_in".to_owned(), "failed".to_owned())]),
        "{said:#?}"
    );
}

#[expect(clippy::disallowed_methods, reason = "what is bounded is time")]
fn within_seconds<T>(work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    done
}

#[test]
fn scratch_goes_whatever_fails() {
    for fault in [
        StatementFault::new("SELECT count(*)", "PERMISSION_DENIED: User does not have SELECT on Table 't'."),
        StatementFault::new("DELETE FROM", "[INTERNAL_ERROR] no"),
        StatementFault::new("VACUUM", "[INTERNAL_ERROR] no"),
        StatementFault::new("MSCK REPAIR", "PERMISSION_DENIED: User does not have MODIFY on Table 't'."),
    ] {
        let customer = Customer::new();
        let before = traces(&customer);
        let part = fault.contains.clone();
        customer.pretend.statement_fault(fault.times(1_000));
        let said = tested(&customer, true);
        assert_ne!(said.code, Some(0), "{part}: {said:#?}");
        assert_eq!(blamed(&said.json()).len(), 1, "{part}: {said:#?}");
        assert_eq!(traces(&customer), before, "{part}");
    }
}

#[test]
fn a_clean_up_that_fails_is_a_warning_that_names_what_is_left() {
    let customer = Customer::new();
    let denied = json!({"error_code": "PERMISSION_DENIED", "message": "User does not have MANAGE on Schema 's'."});
    customer.pretend.fault(Fault::answer("DELETE", "/api/2.1/unity-catalog/schemas/*", 403, denied));
    let said = tested(&customer, false);
    let report = said.json();
    assert_eq!(
        (said.code, blamed(&report)),
        (Some(0), vec![("clean_up".to_owned(), "warning".to_owned())]),
        "{said:#?}"
    );
    let left = customer.pretend.schemas();
    assert_eq!(left.len(), 1);
    assert_eq!(report["left"], json!([format!("schema {}", left[0])]));
    let young = tested_here(&customer, Ask::default());
    assert_eq!(young.status, StepStatus::Passed, "{young:#?}");
    assert_eq!(customer.pretend.schemas(), left, "what is not an hour old may be another test's");
    tested_here(&customer, Ask { leftovers_after: Duration::ZERO, ..Ask::default() });
    assert!(customer.pretend.schemas().is_empty());
}

#[test]
fn what_a_killed_test_left_goes_with_a_later_one() {
    let customer = Customer::new();
    assert_eq!(tested(&customer, true).code, Some(0));
    let requests = customer.pretend.requests().len() as u64;
    assert!(requests > 30, "{requests}");
    at_once((1..=requests).collect(), killed_after);
}

/// Kills a test while it waits for the answer to its n-th request, and tests again.
fn killed_after(last: u64) {
    let customer = Customer::new();
    let before = traces(&customer);
    customer.pretend.forget_requests();
    customer.pretend.fault(Fault::on("*", "*", Wrong::Delay(60_000)).nth(last));
    let mut command = inlet();
    command.args(["connect", "--wake", "--settings"]).arg(customer.file());
    let mut child = command.spawn().expect("the executable starts");
    while (customer.pretend.requests().len() as u64) < last {
        assert!(child.try_wait().expect("it can be asked").is_none(), "it ended before request {last}");
        clock::sleep(Duration::from_millis(5), Deadline::after(Duration::from_secs(1)));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    customer.pretend.clear_faults();
    let again = tested_here(&customer, Ask { leftovers_after: Duration::ZERO, ..Ask::default() });
    assert_eq!(again.gravest(), None, "after request {last}: {again:#?}");
    assert_eq!(traces(&customer), before, "after request {last}");
}

#[test]
fn a_warehouse_larger_than_it_must_be_is_warned_of() {
    let customer = Customer::new();
    let large = json!({
        "name": "starter", "cluster_size": "X-Large", "min_num_clusters": 1, "max_num_clusters": 4,
        "auto_stop_mins": 0, "warehouse_type": "CLASSIC",
    });
    admin::call(&customer.pretend, "POST", &format!("/api/2.0/sql/warehouses/{WAREHOUSE}/edit"), &large);
    let said = tested(&customer, false);
    assert_eq!((said.code, blamed(&said.json())), (Some(0), vec![("warehouse_size".to_owned(), "warning".to_owned())]));
    let fault = step(&said.json(), "warehouse_size")["fault"]["message"].clone();
    for wish in ["for external tables", "size 2X-Small", "Serverless", "1 cluster", "auto stop"] {
        assert!(fault.as_str().unwrap().contains(wish), "{fault}");
    }
}

#[test]
fn a_warehouse_that_loads_managed_tables_is_to_be_larger() {
    let customer = Customer::new();
    let without_lake = || {
        let (settings, handle) = (customer.settings.clone(), runtime().handle().clone());
        let parts = connect::Parts { settings, lake: None, landing: Vec::new(), on_function: false, handle };
        connect::connect(&parts, Ask::default(), Deadline::after(Duration::from_secs(60)), &|_| {})
    };
    let report = without_lake();
    let step = report.step("warehouse_size").expect("it is looked at");
    let fault = step.fault.as_ref().expect("the smallest is not enough");
    assert_eq!(step.status, StepStatus::Warning);
    assert!(fault.message.ends_with("for managed tables: size Small, 2 to 6 clusters"), "{fault:?}");
    let small = json!({
        "name": "starter", "cluster_size": "Small", "min_num_clusters": 2, "max_num_clusters": 6, "auto_stop_mins": 10,
        "warehouse_type": "PRO",
    });
    admin::call(&customer.pretend, "POST", &format!("/api/2.0/sql/warehouses/{WAREHOUSE}/edit"), &small);
    let report = without_lake();
    assert_eq!(report.step("warehouse_size").map(|step| step.status), Some(StepStatus::Passed), "{report:#?}");
}
