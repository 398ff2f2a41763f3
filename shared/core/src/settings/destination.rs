//! The workspace that the tables are registered in: address, catalog, warehouse, sign-in.

use super::auth;
use super::given::Given;
use super::warehouse::{self, WarehouseChoice};
use super::workspace;
use crate::databricks::Connection;

const HTTPS_PORT: u16 = 443;

/// A catalog of a workspace, and what brings it up to date.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The workspace, and as whom.
    pub connection: Connection,
    /// The catalog, in small letters.
    pub catalog: String,
    /// What may be woken.
    pub warehouse: WarehouseChoice,
}

/// Reads the keys of the workspace; none of them given is none.
pub(super) fn destination(given: &mut Given<'_>, lake: Option<&str>) -> Option<Destination> {
    let managed = is_managed(given, lake);
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
    let own = warehouse::choice(given, catalog.as_deref(), managed);
    let path = given.text("http_path");
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
    Some(Destination { connection, catalog: catalog?, warehouse })
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

/// Whether tables would be managed ones, which only a warehouse can write.
fn is_managed(given: &mut Given<'_>, lake: Option<&str>) -> bool {
    let said = given.choice("tables", &[("external", false), ("managed", true)]);
    let has_workspace = given.has("workspace_url");
    let managed = said.unwrap_or(lake.is_none() && has_workspace);
    let lake_of_yours = "lake = \"abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER\", and the tables are external";
    match (managed, said.is_some()) {
        (true, true) => given.wrong("tables", "is `managed`: Inlet cannot write managed tables yet", lake_of_yours),
        (true, false) if !given.has("lake") => {
            given.missing("lake", "without it tables are managed, which Inlet cannot write yet", lake_of_yours);
        }
        (false, true) if lake.is_none() && has_workspace => {
            given.missing("lake", "external tables stand in a store of yours", lake_of_yours);
        }
        _ => {}
    }
    managed
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
