//! The workspace that the tables are registered in: address, catalog, warehouse, sign-in.

use super::auth;
use super::given::Given;
use super::warehouse::{self, WarehouseChoice};
use super::workspace;
use crate::databricks::Connection;

const HTTPS_PORT: u16 = 443;

/// Where the tables of a workspace live, and so who writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tables {
    /// In the lake: Inlet writes them, and the catalog shows them.
    #[default]
    External,
    /// In the catalog's own storage: the SQL warehouse writes them, from a volume in which Inlet stages their rows.
    Managed,
}

/// A catalog of a workspace, and what brings it up to date.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Where its tables live.
    pub tables: Tables,
    /// The workspace, and as whom.
    pub connection: Connection,
    /// The catalog, in small letters.
    pub catalog: String,
    /// What may be woken.
    pub warehouse: WarehouseChoice,
}

/// Reads the keys of the workspace; none of them given is none.
pub(super) fn destination(given: &mut Given<'_>, lake: Option<&str>) -> Option<Destination> {
    let tables = tables(given, lake);
    let Some(pasted) = given.text("workspace_url") else {
        refuse_parts_without_workspace(given);
        return None;
    };
    let allowed = given.list("allow_host");
    let address = refusable(given, "workspace_url", workspace::parse(&pasted, &allowed));
    let catalog = given.text("catalog");
    if catalog.is_none() {
        given.missing("catalog", "a workspace has several", "catalog = \"NAME\" of the Unity Catalog catalog");
    }
    let catalog = catalog.and_then(|pasted| refusable(given, "catalog", workspace::catalog(&pasted)));
    let own = warehouse::choice(given, catalog.as_deref(), tables);
    let path = given.text("http_path");
    if tables == Tables::Managed && path.is_none() && own == WarehouseChoice::None {
        given.missing("http_path", "only a SQL warehouse writes managed tables", &warehouse::which());
    }
    let path = path.and_then(|pasted| refusable(given, "http_path", warehouse::http_path(&pasted)));
    if path.as_ref().is_some_and(|path| !path.is_usual) {
        given.warn("http_path", "ends with an id that is not 16 hexadecimal digits, as those of warehouses are");
    }
    let port = port(given);
    let auth = auth::auth(given, address.as_ref().map(|address| address.cloud));
    let entra_authority = auth::authority(given, &allowed);

    let mut address = address?;
    if let Some(port) = port
        && address.url.set_port(Some(port)).is_err()
    {
        given.wrong("port", "cannot stand behind `workspace_url`", "");
    }
    let workspace_id = match (address.workspace_id, path.as_ref().and_then(|path| path.workspace_id.clone())) {
        (Some(one), Some(other)) if one != other => {
            let what = format!("belongs to the workspace {other}, `workspace_url` to {one}");
            given.wrong("http_path", &what, "copy both from one workspace");
            None
        }
        (one, other) => one.or(other),
    };
    let warehouse = path.map_or(own, |path| WarehouseChoice::Id(path.id));
    let connection = Connection { url: address.url, cloud: address.cloud, workspace_id, auth: auth?, entra_authority };
    Some(Destination { tables, connection, catalog: catalog?, warehouse })
}

fn refusable<T>(given: &mut Given<'_>, key: &str, read: Result<T, workspace::Refusal>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err((what, advice)) => {
            given.wrong(key, &what, &advice);
            None
        }
    }
}

/// Keys that only external tables have a use for, and why managed ones have none.
const OF_EXTERNAL: [(&str, &str); 4] = [
    ("lake", "goes with external tables: managed ones stand in the catalog's own storage"),
    ("schema_changes", "goes with external tables: managed ones are changed by the SQL warehouse alone"),
    ("window", "goes with external tables: `every` says when the warehouse loads managed ones"),
    ("hold_limit", "goes with external tables: rows of managed ones land when the warehouse has loaded them"),
];
const OF_STORAGE: [&str; 4] = ["storage.method", "storage.client_id", "storage.client_secret", "storage.tenant_id"];

/// Where tables live: where `tables` says, else in the lake, else in the catalog's own storage.
fn tables(given: &mut Given<'_>, lake: Option<&str>) -> Tables {
    let said = given.choice("tables", &[("external", Tables::External), ("managed", Tables::Managed)]);
    let has_workspace = given.has("workspace_url");
    let usual = if has_workspace && !given.was_told("lake") { Tables::Managed } else { Tables::External };
    let tables = said.unwrap_or(usual);
    match tables {
        Tables::Managed if !has_workspace => {
            given.missing("workspace_url", "managed tables stand in a catalog of a workspace", "give it");
        }
        Tables::Managed => {
            for (key, what) in OF_EXTERNAL.into_iter().filter(|(key, _)| given.has(key)).collect::<Vec<_>>() {
                given.wrong(key, what, "remove it, or name a lake and say tables = \"external\"");
            }
            for key in OF_STORAGE.into_iter().filter(|key| given.has(key)).collect::<Vec<_>>() {
                given.wrong(key, "signs in at a lake's store, and managed tables need none", "remove it");
            }
        }
        Tables::External => {
            if lake.is_none() && has_workspace {
                let yours = "lake = \"abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER\"";
                given.missing("lake", "external tables stand in a store of yours", yours);
            }
            if given.has("every") {
                let what = "goes with managed tables: `window` says how often the warehouse is woken for external ones";
                given.wrong("every", what, "remove it");
            }
        }
    }
    tables
}

fn refuse_parts_without_workspace(given: &mut Given<'_>) {
    let keys = ["catalog", "http_path", "port", "warehouse"];
    let parts = keys.iter().filter(|key| given.has(key)).map(|key| format!("`{key}`"));
    let mut parts: Vec<String> = parts.collect();
    for table in ["auth", "warehouse"] {
        if given.has_table(table) {
            parts.push(format!("[{table}]"));
        }
    }
    if !parts.is_empty() {
        let why = format!("{} needs it", parts.join(", "));
        given.missing("workspace_url", &why, "give it, or remove what belongs to a workspace");
    }
}

/// Another port than that of https; the settings may name it, and Databricks does not listen there.
fn port(given: &mut Given<'_>) -> Option<u16> {
    let number = given.number("port")?;
    let Ok(port) = u16::try_from(number) else {
        given.wrong("port", &format!("must be at most {}, not `{number}`", u16::MAX), "Databricks listens on 443");
        return None;
    };
    if port != HTTPS_PORT {
        given.warn("port", &format!("is {port}: it is used, and Databricks itself listens on {HTTPS_PORT} only"));
    }
    Some(port)
}
