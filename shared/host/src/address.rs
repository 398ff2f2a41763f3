//! A place as people write it: a path, `-`, or the URL of a store. Uploads and lakes are named the same way, so that
//! one comparison tells whether one lies inside the other.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use inlet_core::fault::Fault;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use percent_encoding::percent_decode_str;
use url::Url;

/// Where something is, as far as its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Standard input.
    Stdin,
    /// A file or folder, as it was written.
    Local(PathBuf),
    /// An object, or everything under a prefix.
    Store(StoreAddress),
}

/// A place in an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreAddress {
    /// The URL as it was written.
    pub(crate) url: Url,
    /// `s3` or `azure`.
    pub(crate) store: &'static str,
    /// The bucket, or the container.
    pub(crate) container: String,
    /// The storage account, on Azure.
    pub(crate) account: Option<String>,
    /// The decoded key or prefix, as it was written behind the first slash: `//a` names the key `/a`.
    pub(crate) key: String,
    /// Whether it is empty or ends with a slash: a prefix, never an object.
    pub(crate) prefix: bool,
}

impl Address {
    /// Reads a place from the command line.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, Fault> {
        match text.to_str() {
            Some("-") => Ok(Self::Stdin),
            Some("") => Err(Fault::setup("an empty text names no place").hint("name a file, a folder, `-` or a URL")),
            Some(url) if url.contains("://") => Self::parse_url(url),
            _ => Ok(Self::Local(PathBuf::from(text))),
        }
    }

    fn parse_url(text: &str) -> Result<Self, Fault> {
        let url = Url::parse(text).map_err(|error| bad_url(text, "is no URL").because(error))?;
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| bad_url(text, "names no local file"))?;
            return Ok(Self::Local(path));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad_url(text, "names no bucket"))?;
        let path = decoded(path_of(text)).ok_or_else(|| bad_url(text, "has a key that is no UTF-8"))?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (store, container, account, key) = match url.scheme() {
            "s3" | "s3a" => ("s3", host.to_owned(), None, path),
            "abfs" | "abfss" if !url.username().is_empty() => {
                let container = decoded(url.username()).unwrap_or_default();
                ("azure", container, Some(first_label(host)), path)
            }
            "az" | "azure" | "adl" | "abfs" | "abfss" => ("azure", host.to_owned(), account_of_environment(), path),
            "https" if is_azure(host) => {
                let (container, key) = path.split_once('/').unwrap_or((path, ""));
                ("azure", container.to_owned(), Some(first_label(host)), key)
            }
            _ => return Err(bad_url(text, "is no place that Inlet can read")),
        };
        if container.is_empty() {
            return Err(bad_url(text, "names no container"));
        }
        if store == "azure" && account.is_none() {
            return Err(Fault::setup(format!("`{text}` does not name its storage account")).hint(format!(
                "write abfss://{container}@ACCOUNT.dfs.core.windows.net/… or set AZURE_STORAGE_ACCOUNT_NAME"
            )));
        }
        let prefix = key.is_empty() || key.ends_with('/');
        let key = key.to_owned();
        Ok(Self::Store(StoreAddress { store, container, account, key, prefix, url }))
    }
}

/// The path of a URL as it stands there: a parser would take `a/../b` for `b`, and both are keys.
fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    let whole = behind.split(['?', '#']).next().unwrap_or_default();
    whole.find('/').and_then(|slash| whole.get(slash..)).unwrap_or_default()
}

impl StoreAddress {
    /// The bucket, or `account/container`: what the upload id is computed from.
    pub(crate) fn bucket(&self) -> String {
        match &self.account {
            Some(account) => format!("{account}/{}", self.container),
            None => self.container.clone(),
        }
    }

    /// The object of that key below this place.
    pub(crate) fn below(&self, key: &str) -> Self {
        let mut below = self.clone();
        let folder = self.key.trim_end_matches('/');
        below.key = if folder.is_empty() { key.to_owned() } else { format!("{folder}/{key}") };
        below.prefix = false;
        let folder = self.url.path().trim_end_matches('/');
        below.url.set_path(&format!("{folder}/{key}"));
        below
    }

    /// What an object's key is among all stores: what "was this key here before" asks for.
    pub(crate) fn upload_key(&self, key: &str) -> String {
        format!("{}/{}/{key}", self.store, self.bucket())
    }

    /// Whether the other place is this one or lies under it. Slashes too many count for nothing: that is careful.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        let same_store = self.store == other.store && self.bucket() == other.bucket();
        let [key, other] = [self, other].map(|address| address.key.trim_matches('/'));
        same_store && (key.is_empty() || Path::new(other).starts_with(key))
    }
}

fn bad_url(text: &str, what: &str) -> Fault {
    Fault::setup(format!("`{text}` {what}")).hint(
        "name a file, a folder, `-`, or s3://bucket/key, abfss://container@account.dfs.core.windows.net/key, \
         az://container/key, file:///path",
    )
}

fn is_azure(host: &str) -> bool {
    host.ends_with(".blob.core.windows.net") || host.ends_with(".dfs.core.windows.net")
}

fn first_label(host: &str) -> String {
    host.split('.').next().unwrap_or(host).to_owned()
}

/// `az://container/key` leaves the account to the environment, which the store's own builder reads.
fn account_of_environment() -> Option<String> {
    let account = MicrosoftAzureBuilder::from_env().get_config_value(&AzureConfigKey::AccountName);
    account.filter(|name| !name.is_empty())
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(text: &str) -> StoreAddress {
        match Address::parse(OsStr::new(text)).unwrap() {
            Address::Store(address) => address,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_object_has_one_name_however_it_is_written() {
        let spellings = [
            "abfss://landing@acme.dfs.core.windows.net/a/b%20c.gz",
            "https://acme.blob.core.windows.net/landing/a/b%20c.gz",
            "https://acme.dfs.core.windows.net/landing/a/b c.gz",
        ];
        for text in spellings {
            let address = store(text);
            assert_eq!((address.bucket().as_str(), address.key.as_str()), ("acme/landing", "a/b c.gz"), "{text}");
        }
        let s3 = store("s3a://bucket/segment-logs/");
        assert_eq!((s3.bucket().as_str(), s3.key.as_str(), s3.prefix), ("bucket", "segment-logs/", true));
    }

    #[test]
    fn a_key_is_all_that_stands_behind_the_first_slash() {
        let keys = [
            ("s3://b", ""),
            ("s3://b/", ""),
            ("s3://b//a", "/a"),
            ("s3://b/a//b", "a//b"),
            ("s3://b/a/../b/./c", "a/../b/./c"),
            ("s3://b/%2E%2E/100%25+1", "../100%+1"),
            ("s3://b/a?b#c", "a"),
            ("abfss://c@acme.dfs.core.windows.net//a", "/a"),
            ("https://acme.blob.core.windows.net/c//a", "/a"),
            ("s3://b/a%23b%3Fc", "a#b?c"),
        ];
        for (url, key) in keys {
            assert_eq!(store(url).key, key, "{url}");
        }
    }

    #[test]
    fn a_percent_sign_without_two_digits_stands_for_itself() {
        assert_eq!(store("s3://bucket/100%+5%zz%").key, "100%+5%zz%");
    }

    #[test]
    fn a_store_holds_whole_segments_only() {
        assert!(store("s3://b/a").holds(&store("s3://b/a/x.gz")));
        assert!(store("s3://b").holds(&store("s3://b/a")));
        assert!(store("s3://b/a/").holds(&store("s3://b/a")) && store("s3://b/a").holds(&store("s3://b//a/b")));
        assert!(!store("s3://b/a").holds(&store("s3://b/ab")));
        assert!(!store("s3://b/a").holds(&store("s3://c/a/x")));
    }

    #[test]
    fn a_place_below_is_an_object() {
        let object = store("s3://b/lake/").below("_inlet/inlet.toml");
        assert_eq!((object.key.as_str(), object.prefix), ("lake/_inlet/inlet.toml", false));
        assert_eq!(object.url.as_str(), "s3://b/lake/_inlet/inlet.toml");
        assert_eq!(store("s3://b").below("a").url.as_str(), "s3://b/a");
    }

    #[test]
    fn paths_stay_as_written_and_file_urls_become_paths() {
        assert_eq!(Address::parse(OsStr::new("-")).unwrap(), Address::Stdin);
        assert_eq!(Address::parse(OsStr::new("./a b")).unwrap(), Address::Local("./a b".into()));
        assert_eq!(Address::parse(OsStr::new("file:///a%20b")).unwrap(), Address::Local("/a b".into()));
    }

    #[test]
    fn what_we_cannot_read_is_refused_with_the_forms_we_can() {
        for text in ["gs://bucket/key", "https://example.com/x.gz", "s3://", ""] {
            let fault = Address::parse(OsStr::new(text)).unwrap_err();
            assert!(fault.hint_text().unwrap().contains("a folder"), "{text}: {fault}");
        }
    }
}
