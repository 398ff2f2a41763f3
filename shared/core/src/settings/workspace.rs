//! The workspace's address and the catalog's name, as people paste them.

use url::{Host, Url};

use crate::databricks::{Cloud, HOST_SUFFIXES};

/// Catalogs that are no Unity Catalog catalog of one's own.
const NOT_OURS: [(&str, &str); 4] = [
    ("hive_metastore", "the Hive metastore, which Inlet does not support"),
    ("spark_catalog", "the Hive metastore by another name, which Inlet does not support"),
    ("system", "Databricks' own catalog"),
    ("samples", "Databricks' own catalog"),
];

const CATALOG_CHARACTERS: usize = 255;

const EXAMPLES: &str = "copy the beginning of the browser's address inside the workspace: \
                        https://NAME.cloud.databricks.com or https://adb-ID.N.azuredatabricks.net";

/// A workspace's address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `https://host/`, or with a port.
    pub(super) url: Url,
    pub(super) cloud: Cloud,
    /// The digits behind `o=`.
    pub(super) workspace_id: Option<String>,
}

/// What is wrong, as what follows the key's name, and what to do.
pub(super) type Refusal = (String, String);

fn refusal(what: impl Into<String>, advice: &str) -> Refusal {
    (what.into(), advice.to_owned())
}

/// Reads the address: white space, path, query, fragment and port are cut off, a missing scheme is `https`. Only the
/// host is ever repeated: the rest may hold a password. The port of a host that `allowed` lists is kept.
pub(super) fn parse(pasted: &str, allowed: &[String]) -> Result<Address, Refusal> {
    let text = pasted.trim_matches(|character: char| character.is_whitespace() || "\"'<>`".contains(character));
    let lower = text.to_ascii_lowercase();
    let url = match lower.split_once("://") {
        Some(("https" | "http", _)) => Url::parse(text),
        Some(_) => return Err(refusal("does not begin with `https://`", EXAMPLES)),
        None => Url::parse(&format!("https://{}", text.trim_start_matches('/'))),
    };
    let Ok(url) = url else { return Err(refusal("is no web address", EXAMPLES)) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refusal("holds a name or a password before its `@`", "remove it; [auth] says how to sign in"));
    }
    let Some(host) = url.host_str().map(|host| host.trim_end_matches('.').to_owned()).filter(|host| !host.is_empty())
    else {
        return Err(refusal("is no web address", EXAMPLES));
    };
    let cloud = HOST_SUFFIXES.iter().find_map(|(suffix, cloud)| {
        let name = host.strip_suffix(suffix)?;
        (!name.is_empty() && !name.starts_with('.')).then_some((name, *cloud))
    });
    let is_allowed = is_allowed(&host, allowed);
    if let Some(("accounts", _)) = cloud {
        let what = format!("is `{host}`, the account console: it has no catalogs and no warehouses");
        return Err(refusal(what, EXAMPLES));
    }
    if cloud.is_none() && !is_allowed {
        let what = format!("is `{host}`, which is no host of Databricks");
        return Err((what, format!("{EXAMPLES}; if it is yours: allow_host = [\"{host}\"]")));
    }
    if url.scheme() == "http" && !(is_allowed && is_loopback(&url)) {
        return Err(refusal(format!("is `{host}` without encryption"), "write https:// before it"));
    }
    let workspace_id = workspace_id(url.query());
    let mut clean = url;
    clean.set_path("/");
    clean.set_query(None);
    clean.set_fragment(None);
    let mended = clean.set_host(Some(&host)).is_ok() && (is_allowed || clean.set_port(None).is_ok());
    if !mended {
        return Err(refusal("is no web address", EXAMPLES));
    }
    let cloud = cloud.map_or(Cloud::Other, |(_, cloud)| cloud);
    Ok(Address { url: clean, cloud, workspace_id })
}

/// Whether `allow_host` lists a host; an IPv6 address with its brackets or without.
pub(super) fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let bare = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
    allowed.iter().any(|allowed| bare(allowed) == bare(host))
}

/// The number of a workspace behind `o=`.
pub(super) fn workspace_id(query: Option<&str>) -> Option<String> {
    let id = query?.split('&').find_map(|pair| pair.strip_prefix("o="))?;
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then(|| id.to_owned())
}

/// Whether an address is on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A catalog's name as Unity Catalog stores it: in small letters.
pub(super) fn catalog(pasted: &str) -> Result<String, Refusal> {
    let name = pasted.trim().trim_matches('`').to_lowercase();
    let create = "name a catalog of Unity Catalog that was made for these events";
    if let Some((_, what)) = NOT_OURS.iter().find(|(taken, _)| *taken == name) {
        return Err(refusal(format!("is `{name}`: {what}"), create));
    }
    if name.is_empty() || name.chars().count() > CATALOG_CHARACTERS {
        return Err(refusal(format!("must have 1 to {CATALOG_CHARACTERS} characters"), create));
    }
    let is_illegal =
        |character: &char| ['.', '/', '`'].contains(character) || character.is_whitespace() || character.is_control();
    match name.chars().find(is_illegal) {
        Some('.') => Err(refusal(
            format!("holds `.`: {}", super::given::shown(&name)),
            "name the catalog alone; schemas come from the sources",
        )),
        Some(character) => {
            let what = format!("holds `{}`: {}", character.escape_debug(), super::given::shown(&name));
            Err(refusal(what, "no `.`, `/`, back-tick, white space or control character may stand in it"))
        }
        None => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Cloud, Option<String>), String> {
        let allowed = ["127.0.0.1", "localhost", "::1", "inlet.corp.example"].map(str::to_owned);
        match parse(text, &allowed) {
            Ok(address) => Ok((address.url.to_string(), address.cloud, address.workspace_id)),
            Err((what, advice)) => Err(format!("{what}; {advice}")),
        }
    }

    #[test]
    fn an_address_is_read_however_it_was_pasted() {
        use Cloud::{Aws, Azure, Gcp, Other};
        let aws = "https://acme.cloud.databricks.com/";
        let azure = "https://adb-7405.17.azuredatabricks.net/";
        let loopback = "http://127.0.0.1:8443/";
        for (pasted, url, cloud, workspace_id) in [
            ("https://acme.cloud.databricks.com", aws, Aws, None),
            ("https://acme.cloud.databricks.com/", aws, Aws, None),
            ("  https://acme.cloud.databricks.com/\n", aws, Aws, None),
            ("acme.cloud.databricks.com", aws, Aws, None),
            ("//acme.cloud.databricks.com/sql", aws, Aws, None),
            ("HTTPS://ACME.Cloud.Databricks.COM", aws, Aws, None),
            ("https://acme.cloud.databricks.com.", aws, Aws, None),
            ("https://acme.cloud.databricks.com:443", aws, Aws, None),
            ("https://acme.cloud.databricks.com:8443/x", aws, Aws, None),
            ("acme.cloud.databricks.com:443/login.html", aws, Aws, None),
            ("\"https://acme.cloud.databricks.com\"", aws, Aws, None),
            ("<https://acme.cloud.databricks.com>", aws, Aws, None),
            ("https://dbc-1a2b.cloud.databricks.us/", "https://dbc-1a2b.cloud.databricks.us/", Aws, None),
            ("https://adb-7405.17.azuredatabricks.net/?o=7405#job/1", azure, Azure, Some("7405")),
            ("adb-7405.17.azuredatabricks.net/?x=1&o=7405", azure, Azure, Some("7405")),
            ("https://adb-7405.17.azuredatabricks.net/explore/data?o=7405", azure, Azure, Some("7405")),
            ("https://adb-7405.17.azuredatabricks.net/?o=", azure, Azure, None),
            ("https://adb-7405.17.azuredatabricks.net/?o=75%0a", azure, Azure, None),
            ("https://a.databricks.azure.us", "https://a.databricks.azure.us/", Azure, None),
            ("https://a.databricks.azure.cn", "https://a.databricks.azure.cn/", Azure, None),
            ("https://123.4.gcp.databricks.com/?o=9", "https://123.4.gcp.databricks.com/", Gcp, Some("9")),
            ("http://127.0.0.1:8443/api", loopback, Other, None),
            ("http://[::1]:9/", "http://[::1]:9/", Other, None),
            ("http://localhost", "http://localhost/", Other, None),
            ("inlet.corp.example/x", "https://inlet.corp.example/", Other, None),
        ] {
            let expected = Ok((url.to_owned(), cloud, workspace_id.map(str::to_owned)));
            assert_eq!(read(pasted), expected, "{pasted}");
        }
    }

    #[test]
    fn what_is_no_workspace_is_refused_with_the_reason() {
        for (pasted, says) in [
            ("https://accounts.cloud.databricks.com/login?account_id=1", "the account console"),
            ("accounts.azuredatabricks.net", "the account console"),
            ("https://accounts.gcp.databricks.com", "the account console"),
            ("https://databricks.com", "`databricks.com`, which is no host of Databricks"),
            ("https://docs.databricks.com/x", "no host of Databricks"),
            ("https://cloud.databricks.com", "no host of Databricks"),
            ("https://.azuredatabricks.net", "no"),
            ("https://acme.cloud.databricks.com.evil.example", "no host of Databricks"),
            ("https://evilazuredatabricks.net", "no host of Databricks"),
            ("https://10.0.0.7", "allow_host = [\"10.0.0.7\"]"),
            ("https://::1", "no web address"),
            ("http://acme.cloud.databricks.com", "without encryption"),
            ("http://inlet.corp.example", "without encryption"),
            ("jdbc:databricks://acme.cloud.databricks.com:443;PWD=dose1", "does not begin with `https://`"),
            ("ftp://acme.cloud.databricks.com", "does not begin with `https://`"),
            ("https://<workspace-deployment-name>.azuredatabricks.net", "no web address"),
            ("https://", "no web address"),
            ("my workspace", "no web address"),
            ("https://me:dose1@acme.cloud.databricks.com", "before its `@`"),
            ("me:dose1@acme.cloud.databricks.com", "before its `@`"),
            ("https://dose1@elsewhere.example/", "before its `@`"),
            ("https://acme.cloud.databricks.com@evil.example", "before its `@`"),
        ] {
            let refusal = read(pasted).unwrap_err();
            assert!(refusal.contains(says), "{pasted}: {refusal}");
            assert!(!refusal.contains("dose1"), "{refusal}");
        }
    }

    #[test]
    fn http_needs_a_host_of_this_machine_that_is_allowed() {
        assert!(parse("http://127.0.0.1:1", &[]).is_err());
        assert!(parse("http://10.0.0.1:1", &["10.0.0.1".to_owned()]).is_err());
        assert!(parse("http://127.0.0.1:1", &["127.0.0.1".to_owned()]).is_ok());
    }

    #[test]
    fn a_catalog_is_lower_case_and_a_name_of_its_own() {
        for (pasted, name) in [("Segment", "segment"), (" main ", "main"), ("`Über-events`", "über-events")] {
            assert_eq!(catalog(pasted).unwrap(), name);
        }
        let long = "x".repeat(256);
        for (pasted, says) in [
            ("hive_metastore", "Hive metastore"),
            ("HIVE_METASTORE", "Hive metastore"),
            ("spark_catalog", "Hive metastore"),
            ("system", "Databricks' own"),
            ("samples", "Databricks' own"),
            ("main.events", "holds `.`"),
            ("a b", "holds ` `"),
            ("a/b", "holds `/`"),
            ("a\u{7}b", "holds `\\u{7}`"),
            ("a`b", "holds ```"),
            ("``", "1 to 255"),
            (long.as_str(), "1 to 255"),
        ] {
            let (what, _) = catalog(pasted).unwrap_err();
            assert!(what.contains(says), "{pasted}: {what}");
        }
    }
}
