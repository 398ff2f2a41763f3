//! Which SQL warehouse brings the catalog up to date: one that is there, or one of our own.

use super::destination::Tables;
use super::given::Given;
use super::workspace::{Refusal, workspace_id};
use crate::databricks::WarehouseSpec;

/// Sizes as the API spells them, the smallest first.
const SIZES: [&str; 10] =
    ["2X-Small", "X-Small", "Small", "Medium", "Large", "X-Large", "2X-Large", "3X-Large", "4X-Large", "5X-Large"];
const MIN_CLUSTERS_MOST: u32 = 30;
const MAX_CLUSTERS_MOST: u32 = 40;
/// The least that the API takes when the warehouse is not serverless.
const AUTO_STOP_LEAST_MINUTES: u32 = 10;
/// Names are shorter than 100 characters.
const NAME_CHARACTERS: usize = 99;

const COPY: &str =
    "copy it from SQL Warehouses > the warehouse > Connection details > HTTP Path: /sql/1.0/warehouses/ID";

/// The warehouse of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarehouseChoice {
    /// One that is there, by its id.
    Id(String),
    /// One of our own, made when it is first needed.
    Create(WarehouseSpec),
    /// None: nothing may wake a warehouse, and the catalog is not brought up to date.
    None,
}

/// The id in an HTTP path, and the workspace's number behind `?o=`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HttpPath {
    pub(super) id: String,
    pub(super) workspace_id: Option<String>,
    /// Whether the id looks like one: 16 hexadecimal digits.
    pub(super) is_usual: bool,
}

/// What to do where none is named.
pub(super) fn which() -> String {
    format!("{COPY}; or warehouse = \"create\": Inlet makes one")
}

/// The warehouse that `http_path` or `warehouse` names. That of managed tables loads data too.
pub(super) fn choice(given: &mut Given<'_>, catalog: Option<&str>, tables: Tables) -> WarehouseChoice {
    let wants_own = given.has("warehouse") || given.has_table("warehouse");
    given.choice("warehouse", &[("create", ())]);
    if given.has("http_path") && wants_own {
        let what = "names a warehouse, and `warehouse` asks for one of Inlet's own";
        given.wrong("http_path", what, "keep one of the two");
    }
    if wants_own { WarehouseChoice::Create(spec(given, catalog, tables)) } else { WarehouseChoice::None }
}

fn spec(given: &mut Given<'_>, catalog: Option<&str>, tables: Tables) -> WarehouseSpec {
    let (size, least, most) = match tables {
        Tables::External => ("2X-Small", 1, 1),
        Tables::Managed => ("Small", 2, 6),
    };
    let sizes = SIZES.map(|size| (size, size));
    let cluster_size = given.choice("warehouse.size", &sizes).unwrap_or(size).to_owned();
    let (said_least, said_most) = (given.small("warehouse.min_clusters"), given.small("warehouse.max_clusters"));
    let min_clusters = said_least.unwrap_or_else(|| least.min(said_most.unwrap_or(least)));
    let max_clusters = said_most.unwrap_or_else(|| most.max(min_clusters));
    if min_clusters > MIN_CLUSTERS_MOST {
        given.wrong("warehouse.min_clusters", &format!("must be at most {MIN_CLUSTERS_MOST}"), "");
    }
    if max_clusters > MAX_CLUSTERS_MOST {
        given.wrong("warehouse.max_clusters", &format!("must be at most {MAX_CLUSTERS_MOST}"), "");
    }
    if min_clusters > max_clusters {
        let what = format!("is {max_clusters}, less than `warehouse.min_clusters`, which is {min_clusters}");
        given.wrong("warehouse.max_clusters", &what, "");
    }
    let serverless = given.flag("warehouse.serverless").unwrap_or(true);
    let auto_stop_minutes = given.small("warehouse.auto_stop_minutes").unwrap_or(AUTO_STOP_LEAST_MINUTES);
    if !serverless && auto_stop_minutes < AUTO_STOP_LEAST_MINUTES {
        let what = format!("must be at least {AUTO_STOP_LEAST_MINUTES} for a warehouse that is not serverless");
        given.wrong("warehouse.auto_stop_minutes", &what, "");
    }
    // Not from `name`: renaming the settings must not make a second warehouse.
    let name = format!("inlet-{}", catalog.unwrap_or_default()).chars().take(NAME_CHARACTERS).collect();
    WarehouseSpec { name, cluster_size, min_clusters, max_clusters, serverless, auto_stop_minutes }
}

/// Reads an HTTP path as people paste it: with or without scheme and host, slashes around it, `?o=` behind it; or the
/// id alone.
pub(super) fn http_path(pasted: &str) -> Result<HttpPath, Refusal> {
    let (path, query) = match pasted.trim().split_once('?') {
        Some((path, query)) => (path, Some(query.split('#').next().unwrap_or(query))),
        None => (pasted.trim(), None),
    };
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => path,
    };
    let parts: Vec<String> = path.trim_matches('/').split('/').map(str::to_ascii_lowercase).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let id = match parts.as_slice() {
        [.., "protocolv1", "o", _, _] | ["cliservice", ..] | [.., "cliservice"] => {
            let what = "is that of an all-purpose cluster, which is no SQL warehouse";
            return Err((what.to_owned(), COPY.to_owned()));
        }
        ["sql", "1.0", "warehouses" | "endpoints", id] | ["sql", "warehouses" | "endpoints", id] | [id] => *id,
        // Not repeated: a whole JDBC URL may have been pasted, with its password.
        _ => return Err(("names no SQL warehouse".to_owned(), COPY.to_owned())),
    };
    let is_legal = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_legal || ["sql", "warehouses", "endpoints"].contains(&id) {
        return Err(("holds no warehouse's id".to_owned(), COPY.to_owned()));
    }
    let is_usual = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(HttpPath { id: id.to_owned(), workspace_id: workspace_id(query), is_usual })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_path_is_read_however_it_was_pasted() {
        for (pasted, workspace_id) in [
            ("/sql/1.0/warehouses/dd43ee29fedd958d", None),
            ("sql/1.0/warehouses/dd43ee29fedd958d", None),
            (" /sql/1.0/warehouses/dd43ee29fedd958d/ ", None),
            ("/sql/1.0/endpoints/dd43ee29fedd958d", None),
            ("dd43ee29fedd958d", None),
            ("DD43EE29FEDD958D", None),
            ("/sql/1.0/warehouses/dd43ee29fedd958d?o=7405", Some("7405")),
            ("https://adb-1.2.azuredatabricks.net/sql/1.0/warehouses/dd43ee29fedd958d", None),
            ("https://adb-1.2.azuredatabricks.net/sql/warehouses/dd43ee29fedd958d?o=7405#x", Some("7405")),
        ] {
            let expected = HttpPath {
                id: "dd43ee29fedd958d".to_owned(),
                workspace_id: workspace_id.map(str::to_owned),
                is_usual: true,
            };
            assert_eq!(http_path(pasted), Ok(expected), "{pasted}");
        }
        assert!(!http_path("/sql/1.0/warehouses/wh-0001").unwrap().is_usual);
    }

    #[test]
    fn what_is_no_warehouse_is_refused_with_the_reason() {
        for (pasted, says) in [
            ("/sql/protocolv1/o/7405/0101-120000-abcd123", "all-purpose cluster"),
            ("sql/protocolv1/o/7405/0101-120000-abcd123", "all-purpose cluster"),
            ("/cliservice", "all-purpose cluster"),
            ("https://host/cliservice/x", "all-purpose cluster"),
            ("/sql/1.0/warehouses/", "names no SQL warehouse"),
            ("/sql/1.0/warehouses", "names no SQL warehouse"),
            ("/sql/1.0/clusters/dd43ee29fedd958d", "names no SQL warehouse"),
            ("/sql/1.0/warehouses/dd43 ee29", "no warehouse's id"),
            ("/sql/1.0/warehouses/../x", "names no SQL warehouse"),
            ("jdbc:databricks://host:443/default;httpPath=/sql/1.0/warehouses/x;PWD=dose1", "names no SQL warehouse"),
            ("/", "no warehouse's id"),
            ("https://me:dose1@host", "no warehouse's id"),
            ("warehouses", "no warehouse's id"),
        ] {
            let (what, advice) = http_path(pasted).unwrap_err();
            assert!(what.contains(says), "{pasted}: {what}");
            assert!(advice.contains("Connection details") && !what.contains("dose1"), "{what}");
        }
    }
}
