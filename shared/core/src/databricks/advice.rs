//! From an error to a fault: what it is about, who can mend it, and the line to run.
//!
//! Servers change their wording, so texts are matched loosely: by status, code, class, and the names of privileges.

use super::answer::Meaning;
use super::error::{Denied, Detail, Error, Failure, Subject, Unsaid, Way, Whom};
use super::http::NO_ANSWER;
use crate::fault::Fault;
use words::{denied_on, quoted};

mod sign_in;
mod words;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let Advice { fault, hint } = advice(&error);
        let fault = match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        };
        if fault.to_string().contains(error.message()) { fault.because(Unsaid(error)) } else { fault.because(error) }
    }
}

/// A fault in the making.
struct Advice {
    fault: Fault,
    hint: Option<String>,
}

impl Advice {
    fn setup(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { fault: Fault::setup(message), hint: Some(hint.into()) }
    }

    fn again(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { fault: Fault::again(message), hint: Some(hint.into()) }
    }

    fn bug(message: impl Into<String>) -> Self {
        Self { fault: Fault::bug(message), hint: None }
    }
}

fn advice(error: &Error) -> Advice {
    let Detail { failure, about, whom, said, .. } = &*error.0;
    match failure {
        Failure::NoSuchHost | Failure::NotTrusted | Failure::NoConnection | Failure::NotApi => no_api(error),
        Failure::Lost | Failure::Forgotten => {
            Advice::again(format!("{} got no answer from `{}`", about.what(), whom.host), AGAIN)
        }
        Failure::OutOfTime => Advice::again(
            format!("{} took longer than there was time", about.what()),
            "run it again; INLET_PATIENCE_SECONDS gives it more time",
        ),
        Failure::Unreadable => Advice::setup(
            format!("{} got an answer that is not the documented one from {}", about.what(), whom.host),
            "check that `workspace_url` is a Databricks workspace, with no proxy of another make in front of it",
        ),
        Failure::Cancelled => Advice::again(
            format!("{} was cancelled", about.what()),
            "run it again; if nobody cancelled it, raise STATEMENT_TIMEOUT of the warehouse",
        ),
        Failure::WarehouseStarting => Advice::again(
            format!("{} is still starting: {}", about.what(), said.message),
            "run it again: a serverless warehouse starts in seconds, a pro or classic one in about 4 minutes",
        ),
        Failure::WarehouseFailed => not_running(error),
        Failure::Refused | Failure::StatementFailed => refused(error),
    }
}

const AGAIN: &str = "run it again";

/// What a workspace's URL looks like.
const URL: &str = "check `workspace_url`: https://<name>.cloud.databricks.com or \
                   https://adb-<id>.<n>.azuredatabricks.net, with nothing behind the host";

/// No API came into sight: another host, or something between us and it.
fn no_api(error: &Error) -> Advice {
    let Detail { failure, about, whom, said, asked } = &*error.0;
    let server = server(asked);
    if said.code.as_deref() == Some("PRIVATE_LINK_VALIDATION_ERROR") {
        return network(error);
    }
    let elsewhere = matches!(whom.way, Way::Entra | Way::ManagedIdentity);
    if elsewhere && matches!(about, Subject::SignIn | Subject::StorageSignIn) {
        return sign_in::not_reached(error, server);
    }
    if let Some(advice) = account_console(whom) {
        return advice;
    }
    match failure {
        Failure::NoSuchHost => Advice::setup(format!("there is no host `{server}`"), URL),
        Failure::NotTrusted => Advice::setup(
            format!("`{server}` cannot be trusted with secrets: {}", said.message),
            format!("{URL}; a proxy that opens TLS needs its certificate among this machine's roots"),
        ),
        Failure::NotApi if *about == Subject::Tenant => Advice::setup(
            format!("`{server}` does not say which tenant of Microsoft Entra it trusts"),
            "set `auth.tenant_id`: the tenant of the workspace, not the one of the application",
        ),
        Failure::NotApi => Advice::setup(format!("`{server}` answered with {}, not with JSON", said.message), URL),
        // A port that nobody listens on is mostly dropped by a firewall without a word.
        _ if said.message == NO_ANSWER && port(server).is_some() => Advice::setup(
            format!("nobody takes a connection at `{server}`"),
            "use port 443: Databricks listens on no other",
        ),
        _ => Advice::again(
            format!("no connection to `{server}`"),
            format!("run it again; if it stays so, {URL}, and that this network may reach it"),
        ),
    }
}

/// Scheme, host and port of what was asked.
fn server(asked: &str) -> &str {
    let url = asked.split(' ').next_back().unwrap_or_default();
    let end = url.find("://").map_or(0, |at| at + 3);
    let host = url.get(end..).unwrap_or_default().find('/').map_or(url.len(), |at| end + at);
    url.get(..host).unwrap_or(url)
}

fn port(server: &str) -> Option<&str> {
    server.rsplit_once(':').map(|(_, port)| port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn account_console(whom: &Whom) -> Option<Advice> {
    whom.host.starts_with("https://accounts.").then(|| {
        Advice::setup(
            format!("`{}` is the account console, not a workspace", whom.host),
            "open the workspace in a browser and copy its URL, up to the end of the host, into `workspace_url`",
        )
    })
}

/// Somebody answers there, and it is no workspace.
fn no_workspace(whom: &Whom) -> Advice {
    account_console(whom).unwrap_or_else(|| Advice::setup(format!("`{}` is no Databricks workspace", whom.host), URL))
}

/// An answer that says no.
fn refused(error: &Error) -> Advice {
    let Detail { about, whom, said, .. } = &*error.0;
    if matches!(about, Subject::SignIn | Subject::StorageSignIn | Subject::Tenant) {
        return sign_in::refused(error);
    }
    if let Some(advice) = known(error) {
        return advice;
    }
    match said.meaning() {
        _ if error.is_passing() => {
            Advice::again(format!("{} cannot be had just now: {}", about.what(), said.message), AGAIN)
        }
        _ if *about == Subject::Host => no_workspace(whom),
        _ if error.is_denied() => denied(error),
        Meaning::Unauthenticated => sign_in::token_refused(error),
        Meaning::NoSuchCall => account_console(whom)
            .unwrap_or_else(|| Advice::setup(format!("`{}` has no such API: {}", whom.host, said.message), URL)),
        _ if error.is_missing() => missing(error),
        Meaning::Invalid if error.class() == Some("PARSE_SYNTAX_ERROR") => {
            Advice::bug(format!("{} is no SQL to Databricks: {}", about.what(), said.message))
        }
        Meaning::Invalid if matches!(about, Subject::Warehouse(_) | Subject::Statement(..)) && no_id(error) => {
            Advice::setup(format!("{} is not the id of a SQL warehouse", about.warehouse()), HTTP_PATH)
        }
        _ => Advice::setup(
            format!("{} was refused: {}", about.what(), said.message),
            "see what it says; Databricks' support can look the request up by its id",
        ),
    }
}

const HTTP_PATH: &str = "copy HTTP path from SQL Warehouses > the warehouse > Connection details into `http_path`; \
                         the path of a cluster does not do";

fn no_id(error: &Error) -> bool {
    error.0.said.says("is not a valid endpoint id") || error.0.said.says("not a valid warehouse id")
}

/// What is told by its words or its code, whatever was asked.
fn known(error: &Error) -> Option<Advice> {
    let Detail { about, whom, said, .. } = &*error.0;
    let what = about.what();
    let coded = |codes: &[&str]| {
        [&said.code, &said.class].into_iter().flatten().any(|code| codes.iter().any(|known| code == known))
    };
    if let Some(entitlement) = error.entitlement() {
        return Some(not_entitled(whom, entitlement));
    }
    let advice = if coded(&["PRIVATE_LINK_VALIDATION_ERROR"]) || said.says("ip acl") || said.says("ip access list") {
        network(error)
    } else if let Subject::Catalog(name) = about
        && (said.says("not accessible in") || said.says("not bound"))
    {
        return Some(from(not_bound(name)));
    } else if said.status == Some(403) && said.says("user not authorized") {
        sign_in::not_a_member(whom)
    } else if coded(&["PRINCIPAL_DOES_NOT_EXIST"]) {
        Advice::setup(
            format!("{what}: the account knows no such principal: {}", said.message),
            "grants are made to a service principal's Application ID: check `auth.client_id`",
        )
    } else if coded(&["METASTORE_DOES_NOT_EXIST", "OPERATION_REQUIRES_UNITY_CATALOG", "UC_NOT_ENABLED"]) {
        Advice::setup(
            format!("`{}` has no Unity Catalog: {}", whom.host, said.message),
            "an account admin assigns a metastore to the workspace (set-up step: enable Unity Catalog); \
             the Hive metastore does not do",
        )
    } else if said.says("storage root url does not exist") || said.says("root storage credential") {
        Advice::setup(
            format!("{what}: neither the catalog nor the metastore has storage for managed tables"),
            "make the catalog anew with a storage location (set-up step: create a catalog)",
        )
    } else if coded(&["INVALID_PARAMETER_VALUE.LOCATION_OVERLAP"]) || said.says("location_overlap") {
        Advice::setup(
            format!("{what}: its place overlaps another table's, a volume's or managed storage: {}", said.message),
            "give the lake a folder of its own, beside what the catalog manages: `lake` in the settings",
        )
    } else if coded(&["NO_PARENT_EXTERNAL_LOCATION_FOR_PATH", "EXTERNAL_LOCATION_DOES_NOT_EXIST"])
        || said.says("no parent external location")
    {
        Advice::setup(
            format!("{what}: no external location covers the lake: {}", said.message),
            "create an external location over the container or bucket (set-up step: create an external location): \
             CREATE EXTERNAL LOCATION `inlet` URL '<the lake>' WITH (STORAGE CREDENTIAL `<credential>`)",
        )
    } else if coded(&["DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION"]) {
        Advice::setup(
            format!("{what}: other files than a Delta table stand in its place: {}", said.message),
            "move them away, or give the lake another folder: `lake` in the settings",
        )
    } else if matches!(about, Subject::TableCredentials(_) | Subject::PathCredentials(_))
        && said.says("external")
        && ["not enabled", "disabled"].iter().any(|words| said.says(words))
    {
        return Some(from(external_access_off("")));
    } else if ["hierarchical namespace", "endpointunsupportedaccountfeatures"].iter().any(|words| said.says(words)) {
        Advice::setup(
            format!("{what}: the lake's storage account has no hierarchical namespace: {}", said.message),
            "Unity Catalog needs ADLS Gen2: az storage account hns-migration start --type upgrade --name <account> \
             --resource-group <group>, or a lake in another account",
        )
    } else if ["abfsrestoperationexception", "accessdenied", "unauthorized_access", "access denied to storage"]
        .iter()
        .any(|words| said.says(words))
    {
        Advice::setup(
            format!("{what}: Databricks' own credential may not use the storage: {}", said.message),
            "give the access connector, or the IAM role, of the storage credential read and write on the container \
             or bucket, and let its firewall admit Databricks (set-up step: create storage credentials)",
        )
    } else {
        return None;
    };
    Some(advice)
}

fn network(error: &Error) -> Advice {
    let Detail { whom, said, .. } = &*error.0;
    Advice::setup(
        format!("`{}` does not admit this network: {}", whom.host, said.message),
        "a workspace admin adds this machine's outgoing address to the IP access list, or the workspace is reached \
         by its private endpoint",
    )
}

fn not_entitled(whom: &Whom, entitlement: &str) -> Advice {
    let label = match entitlement {
        "databricks-sql-access" => "Databricks SQL access",
        "workspace-access" => "Workspace access",
        "allow-cluster-create" => "Unrestricted cluster creation",
        other => other,
    };
    let principal = whom.principal();
    Advice::setup(
        format!("{principal} lacks the entitlement `{entitlement}`"),
        format!(
            "a workspace admin: Settings > Identity and access > Service principals > {principal} > {label} \
             (set-up step: enable entitlements)"
        ),
    )
}

/// A right is missing: the line that grants it.
fn denied(error: &Error) -> Advice {
    let Detail { about, whom, said, .. } = &*error.0;
    if said.says("create on catalog") && error.class() == Some("INSUFFICIENT_PERMISSIONS") {
        return from(not_managed("hive_metastore", "the Hive metastore's"));
    }
    let principal = whom.principal();
    if let Some(missing) = error.privilege().or_else(|| about.privilege()) {
        let Denied { privilege, securable, name } = &missing;
        let owner = if privilege.starts_with("EXTERNAL USE") { "as the catalog's owner: " } else { "" };
        return Advice::setup(
            format!("{}: {principal} lacks {privilege} on {} `{name}`", about.what(), securable.to_ascii_lowercase()),
            format!("{owner}{}", missing.grant(whom)),
        );
    }
    match about {
        Subject::NewWarehouse(name) => Advice::setup(
            format!("{principal} may not make the warehouse `{name}`"),
            format!(
                "a workspace admin: Settings > Identity and access > Service principals > {principal} > Unrestricted \
                 cluster creation (set-up step: enable entitlements), or set `http_path` to a warehouse that is there"
            ),
        ),
        Subject::Warehouse(id) | Subject::Statement(id, _) => {
            Advice::setup(format!("{principal} may not use warehouse `{id}`: {}", said.message), can_use(id, whom))
        }
        Subject::TableCredentials(id) => Advice::setup(
            format!("{principal} gets no credentials for the table with id `{id}`: {}", said.message),
            format!(
                "as the catalog's owner: GRANT EXTERNAL USE SCHEMA ON SCHEMA <catalog>.<schema> TO {}",
                whom.grantee()
            ),
        ),
        Subject::PathCredentials(url) => Advice::setup(
            format!("{principal} gets no credentials for `{url}`: {}", said.message),
            format!("GRANT EXTERNAL USE LOCATION ON EXTERNAL LOCATION <its name> TO {}", whom.grantee()),
        ),
        _ => Advice::setup(
            format!("{} was refused to {principal}: {}", about.what(), said.message),
            "grant what the message names",
        ),
    }
}

fn can_use(id: &str, whom: &Whom) -> String {
    match &whom.client_id {
        Some(client_id) => format!(
            "databricks warehouses update-permissions {id} --json '{{\"access_control_list\":[\
             {{\"service_principal_name\":\"{client_id}\",\"permission_level\":\"CAN_USE\"}}]}}'"
        ),
        None => format!("SQL Warehouses > {id} > Permissions: grant Can use to the owner of this token"),
    }
}

/// Not there, or hidden from us: both look alike.
fn missing(error: &Error) -> Advice {
    let Detail { about, whom, said, .. } = &*error.0;
    let principal = whom.principal();
    let hidden = |what: String, make: &str| {
        let grant = about.privilege().map(|privilege| privilege.grant(whom)).unwrap_or_default();
        Advice::setup(format!("{what} does not exist, or is hidden from {principal}"), format!("{make}, or: {grant}"))
    };
    match about {
        Subject::Catalog(name) => {
            let all = denied_on("ALL PRIVILEGES", "CATALOG", name).grant(whom);
            let make = format!("create it (set-up step: create a catalog): CREATE CATALOG {}; {all}", quoted(name));
            hidden(format!("catalog `{name}`"), &make)
        }
        Subject::NewSchema(name) => {
            let catalog = name.split('.').next().unwrap_or_default();
            let denied = denied_on("USE CATALOG", "CATALOG", catalog);
            Advice::setup(
                format!("catalog `{catalog}` does not exist, or is hidden from {principal}"),
                format!("create it (set-up step: create a catalog), or: {}", denied.grant(whom)),
            )
        }
        Subject::Schema(name) => hidden(format!("schema `{name}`, or its catalog,"), "check its name"),
        Subject::Table(name) => hidden(format!("table `{name}`, or its catalog,"), "check its name"),
        Subject::Warehouse(_) | Subject::Statement(..) if error.class().is_none() => Advice::setup(
            format!("there is no SQL warehouse {} in `{}`", about.warehouse(), whom.host),
            format!("it was deleted, or is another workspace's: {HTTP_PATH}"),
        ),
        _ => Advice::setup(
            format!("{}: {}", about.what(), said.message),
            format!("check that it exists and that {principal} may see it"),
        ),
    }
}

/// A warehouse that does not start, or is gone.
fn not_running(error: &Error) -> Advice {
    let Detail { about, said, whom, .. } = &*error.0;
    let code = said.code.as_deref().unwrap_or_default();
    let hint = match code {
        "DELETED" | "DELETING" => {
            return Advice::setup(
                format!("{} was deleted from `{}`", about.what(), whom.host),
                format!("choose another one: {HTTP_PATH}"),
            );
        }
        code if code.contains("QUOTA") || code.contains("LIMIT_ENFORCEMENT") => {
            "raise the cloud account's quota for these machines, or choose a smaller or a serverless warehouse"
        }
        code if code.contains("STOCKOUT") || code.contains("INSUFFICIENT") || code.contains("LAUNCH_FAILURE") => {
            "the cloud has no such machines just now: run it again later, or choose another size or a serverless one"
        }
        code if code.contains("NETWORK") || code.contains("SUBNET") || code.contains("NPIP") => {
            "mend the workspace's network (free addresses in its subnets, routes to the control plane), or choose a \
             serverless warehouse"
        }
        code if code.contains("AUTHORIZATION") || code.contains("CONFIGURATION") => {
            "Databricks may not start machines in the cloud account: mend the workspace's cross-account credential"
        }
        "TRIAL_EXPIRED" => "the workspace's trial is over: add a way of payment",
        "MAINTENANCE_MODE" | "RATE_LIMITED" | "TEMPORARILY_UNAVAILABLE" | "INACTIVITY" | "USER_REQUEST" | "STOPPED" => {
            return Advice::again(
                format!("{} stopped while it was started: {}", about.what(), said.message),
                "run it again; if it stays so, start it by hand under SQL Warehouses and see what it says",
            );
        }
        _ => "start it by hand under SQL Warehouses and see what it says",
    };
    Advice::setup(format!("{} cannot start ({code}): {}", about.what(), said.message), hint)
}

/// The fault of a metastore that vends nothing.
pub(super) fn external_access_off(metastore: &str) -> Fault {
    let name = if metastore.is_empty() { String::new() } else { format!(" `{metastore}`") };
    Fault::setup(format!("the metastore{name} gives no credentials to clients outside Databricks"))
        .hint("a metastore admin: Catalog > the gear > Metastore > External data access, switch it on")
}

/// The fault of a catalog that is none of Unity Catalog's own.
pub(super) fn not_managed(catalog: &str, kind: &str) -> Fault {
    Fault::setup(format!("catalog `{catalog}` is {kind}, not one of Unity Catalog's own"))
        .hint("create one, and name it in `catalog` (set-up step: create a catalog): CREATE CATALOG `segment`")
}

/// The fault of a catalog that is bound to other workspaces.
pub(super) fn not_bound(catalog: &str) -> Fault {
    Fault::setup(format!("catalog `{catalog}` is bound to other workspaces than this one")).hint(format!(
        "its owner: Catalog > {catalog} > Workspaces > Assign to workspaces, this one with read and write"
    ))
}

fn from(fault: Fault) -> Advice {
    let hint = fault.hint_text().map(str::to_owned);
    Advice { fault, hint }
}

#[cfg(test)]
mod tests;
