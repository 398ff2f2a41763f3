//! What Azure Storage announces through Event Grid, in either of its schemas: its own, and CloudEvents 1.0.

use std::net::IpAddr;

use inlet_core::fault::Fault;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use super::content::quoted;
use super::object::{Found, ObjectEvent, SkipReason, gathered};
use super::{Content, key, needed, text};

/// Events of Azure Storage about other things than a blob that is there.
const OTHER_EVENTS: [&str; 6] = [
    "AsyncOperationInitiated",
    "BlobInventoryPolicyCompleted",
    "BlobTierChanged",
    "DirectoryCreated",
    "LifecyclePolicyCompleted",
    "StorageTaskCompleted",
];

/// What ends the path of a URL, or is part of its encoding.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');

/// Where a blob is.
#[derive(Debug, PartialEq, Eq)]
struct Blob {
    account: String,
    container: String,
    key: String,
}

/// Whether a value has the form of an event, in either schema.
pub(super) fn is_event(value: &Value) -> bool {
    value.get("eventType").is_some() || value.get("specversion").is_some()
}

/// Reads one or more events.
pub(super) fn read(events: &[Value]) -> Result<Content, Fault> {
    match events {
        [event] if text(event, "/eventType") == Some("Microsoft.EventGrid.SubscriptionValidationEvent") => {
            Ok(Content::Handshake { code: needed(event, "/data/validationCode")?.to_owned() })
        }
        events => gathered(events.iter().map(found)),
    }
}

fn found(event: &Value) -> Result<Found, Fault> {
    let (kind, sender) = match text(event, "/specversion") {
        None => (needed(event, "/eventType")?, text(event, "/topic")),
        Some(version) if version.starts_with("1.") => (needed(event, "/type")?, text(event, "/source")),
        Some(version) => {
            return Err(Fault::rejected(format!("CloudEvents of version {} are not known", quoted(version))));
        }
    };
    let subject = text(event, "/subject").unwrap_or_default();
    match kind.strip_prefix("Microsoft.Storage.") {
        Some("BlobCreated") => created(event, sender),
        Some("DirectoryRenamed") => renamed_folder(event),
        Some("BlobRenamed") => announced(event, "/data/destinationUrl", sender),
        Some("BlobDeleted" | "DirectoryDeleted") => Ok(Found::skipped(SkipReason::Deleted, subject)),
        Some(other) if OTHER_EVENTS.contains(&other) => Ok(Found::skipped(SkipReason::OtherEvent, subject)),
        _ if kind == "Microsoft.EventGrid.SubscriptionDeletedEvent" => {
            Ok(Found::skipped(SkipReason::OtherEvent, subject))
        }
        _ => Err(Fault::rejected(format!("Event Grid announces {}, which Inlet does not know", quoted(kind)))
            .hint("subscribe to Microsoft.Storage.BlobCreated and Microsoft.Storage.BlobRenamed only")),
    }
}

/// A file of a hierarchical account, or one that comes by SFTP, is announced when it is opened and when it is closed.
fn created(event: &Value, sender: Option<&str>) -> Result<Found, Fault> {
    match text(event, "/data/api") {
        Some("CreateFile" | "SftpCreate") => {
            let blob = Blob::parse(needed(event, "/data/url")?)?;
            Ok(Found::skipped(SkipReason::CreateFile, blob.key))
        }
        _ => announced(event, "/data/url", sender),
    }
}

/// Its files come with it and are not announced.
fn renamed_folder(event: &Value) -> Result<Found, Fault> {
    let Blob { account, container, key } = Blob::parse(needed(event, "/data/destinationUrl")?)?;
    let folder = utf8_percent_encode(key.trim_end_matches('/'), ENCODED);
    let url = format!("abfss://{container}@{account}.dfs.core.windows.net/{folder}/");
    Ok(Found::skipped(SkipReason::FolderRenamed, url))
}

fn announced(event: &Value, url: &str, sender: Option<&str>) -> Result<Found, Fault> {
    let blob = Blob::parse(needed(event, url)?)?;
    if let Some(account) = sender.and_then(account_of).filter(|account| !account.eq_ignore_ascii_case(&blob.account)) {
        return Err(Fault::rejected(format!(
            "the storage account {} announces a blob of {}",
            quoted(account),
            quoted(&blob.account)
        )));
    }
    Ok(Found::judged(ObjectEvent {
        store: "azure",
        account: Some(blob.account),
        container: blob.container,
        key: blob.key,
        etag: text(event, "/data/eTag").map(|etag| etag.trim_matches('"').to_owned()),
        size: event.pointer("/data/contentLength").and_then(Value::as_u64),
        version: None,
        owner: None,
        region: None,
    }))
}

/// The account in a resource id, `/subscriptions/…/providers/Microsoft.Storage/storageAccounts/NAME`. Names are
/// unique among all accounts, so the name alone says which it is.
fn account_of(resource: &str) -> Option<&str> {
    let (place, name) = resource.rsplit_once('/')?;
    place.rsplit_once('/').filter(|(_, kind)| kind.eq_ignore_ascii_case("storageAccounts")).map(|_| name)
}

impl Blob {
    /// Reads a blob's URL. Not by a URL parser: that resolves `..` and turns backslashes, which are parts of names here.
    fn parse(url: &str) -> Result<Self, Fault> {
        let parts = || {
            let (scheme, rest) = url.split_once("://")?;
            let (authority, path) = rest.split_once('/')?;
            let path = path.split(['?', '#']).next()?;
            let host = authority.rsplit_once(':').map_or(authority, |(host, _port)| host);
            let (account, path) = match host.parse::<IpAddr>() {
                // An emulator names the account in the path.
                Ok(_) => path.split_once('/')?,
                Err(_) => (account_of_host(host)?, path),
            };
            let (container, key) = path.split_once('/')?;
            let is_named = is_account(account) && !container.is_empty() && !key.is_empty();
            (matches!(scheme, "https" | "http") && is_named).then_some((account, container, key))
        };
        let (account, container, key) =
            parts().ok_or_else(|| Fault::rejected(format!("{} is no URL of a blob", quoted(url))))?;
        Ok(Self { account: account.to_ascii_lowercase(), container: key::of_path(container)?, key: key::of_path(key)? })
    }
}

/// `ACCOUNT.blob.core.windows.net`, `.dfs.`, the same in other clouds, and with a zone: `ACCOUNT.z01.blob.…`.
fn account_of_host(host: &str) -> Option<&str> {
    let (account, rest) = host.split_once('.')?;
    rest.split('.').any(|label| matches!(label, "blob" | "dfs")).then_some(account)
}

fn is_account(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOPIC: &str = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Storage/storageAccounts/acmelake";

    fn event(kind: &str, api: &str) -> Value {
        let url = "https://acmelake.dfs.core.windows.net/landing/a%20b+c.gz";
        json!({
            "topic": TOPIC, "subject": "/blobServices/default/containers/landing/blobs/a b+c.gz",
            "eventType": format!("Microsoft.Storage.{kind}"), "id": "831e1650",
            "data": {"api": api, "url": url, "destinationUrl": url, "contentLength": 5, "eTag": "\"0x8D4\""},
        })
    }

    fn reason(event: &Value) -> Option<SkipReason> {
        match found(event) {
            Ok(Found::Skipped(skipped)) => Some(skipped.reason),
            _ => None,
        }
    }

    fn said(event: &Value) -> String {
        found(event).unwrap_err().to_string()
    }

    #[test]
    fn a_blob_is_an_upload_when_it_is_complete() {
        for api in ["PutBlob", "PutBlockList", "FlushWithClose", "CopyBlob", "SftpCommit"] {
            let Ok(Found::Object(object)) = found(&event("BlobCreated", api)) else { panic!("{api}") };
            let place = (object.account.as_deref(), object.container.as_str(), object.key.as_str());
            assert_eq!(place, (Some("acmelake"), "landing", "a b+c.gz"));
            assert_eq!((object.etag.as_deref(), object.size), (Some("0x8D4"), Some(5)));
        }
        for api in ["CreateFile", "SftpCreate"] {
            assert_eq!(reason(&event("BlobCreated", api)), Some(SkipReason::CreateFile));
        }
    }

    #[test]
    fn a_renamed_blob_is_an_upload_under_its_new_name() {
        let mut renamed = event("BlobRenamed", "RenameFile");
        renamed["data"] = json!({
            "api": "RenameFile",
            "sourceUrl": "https://acmelake.dfs.core.windows.net/landing/_temporary/0.gz",
            "destinationUrl": "https://acmelake.dfs.core.windows.net/landing/final.gz",
        });
        let Ok(Found::Object(object)) = found(&renamed) else { panic!() };
        assert_eq!((object.key.as_str(), object.etag, object.size), ("final.gz", None, None));
    }

    #[test]
    fn a_renamed_folder_is_told_by_the_name_that_it_has_now() {
        let mut renamed = event("DirectoryRenamed", "RenameDirectory");
        renamed["data"] = json!({
            "api": "RenameDirectory",
            "sourceUrl": "https://acmelake.dfs.core.windows.net/landing/_temporary",
            "destinationUrl": "https://acmelake.dfs.core.windows.net/landing/day%201",
        });
        let Ok(Found::Skipped(skipped)) = found(&renamed) else { panic!() };
        assert_eq!(skipped.reason, SkipReason::FolderRenamed);
        assert_eq!(skipped.key, "abfss://landing@acmelake.dfs.core.windows.net/day%201/");
        renamed["data"] = json!({});
        assert_eq!(said(&renamed), "the event has no `data.destinationUrl`");
    }

    #[test]
    fn other_events_of_a_storage_account_are_skipped_and_strangers_refused() {
        assert_eq!(reason(&event("BlobDeleted", "DeleteBlob")), Some(SkipReason::Deleted));
        assert_eq!(reason(&event("BlobTierChanged", "SetBlobTier")), Some(SkipReason::OtherEvent));
        assert!(said(&event("BlobPainted", "Paint")).contains("`Microsoft.Storage.BlobPainted`"));
        assert!(
            said(&json!({"eventType": "Microsoft.Resources.ResourceWriteSuccess"})).contains("Microsoft.Resources")
        );
        assert!(said(&json!({"specversion": "0.3", "type": "Microsoft.Storage.BlobCreated"})).contains("`0.3`"));
        assert_eq!(said(&json!({"specversion": "1.0"})), "the event has no `type`");
    }

    #[test]
    fn an_account_announces_its_own_blobs_only() {
        let mut stranger = event("BlobCreated", "PutBlob");
        stranger["data"]["url"] = json!("https://other.blob.core.windows.net/landing/a.gz");
        assert_eq!(said(&stranger), "the storage account `acmelake` announces a blob of `other`");
        stranger["topic"] = json!("/subscriptions/S/resourceGroups/RG/providers/Microsoft.EventGrid/topics/custom");
        assert!(matches!(found(&stranger), Ok(Found::Object(_))), "a topic that is no account says nothing");
    }

    #[test]
    fn a_blob_has_one_name_however_its_url_is_written() {
        let blob = |url: &str| Blob::parse(url).unwrap();
        let expected =
            Blob { account: "acmelake".to_owned(), container: "landing".to_owned(), key: "a/b=c.gz".to_owned() };
        for url in [
            "https://acmelake.blob.core.windows.net/landing/a/b=c.gz",
            "https://AcmeLake.dfs.core.windows.net:443/landing/a/b%3Dc.gz",
            "https://acmelake.z01.blob.storage.azure.net/landing/a%2Fb=c.gz",
            "https://acmelake.blob.core.chinacloudapi.cn/landing/a/b=c.gz?snapshot=x",
            "http://127.0.0.1:10000/acmelake/landing/a/b=c.gz",
        ] {
            assert_eq!(blob(url), expected, "{url}");
        }
        for (url, key) in [("a/../b", "a/../b"), ("a\\b", "a\\b"), ("a//b", "a//b"), ("%E2%82%AC%3F", "€?")] {
            assert_eq!(blob(&format!("https://acme.blob.core.windows.net/c/{url}")).key, key);
        }
    }

    #[test]
    fn a_url_that_names_no_blob_is_refused() {
        for url in [
            "acme.blob.core.windows.net/c/k",
            "ftp://acme.blob.core.windows.net/c/k",
            "https://acme.blob.core.windows.net/c",
            "https://acme.blob.core.windows.net/c/",
            "https://acme.blob.core.windows.net//k",
            "https://blob.core.windows.net/c/k",
            "https://www.example.com/c/k",
            "https://user@acme.blob.core.windows.net/c/k",
            "https:///c/k",
            "",
        ] {
            assert!(Blob::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_handshake_comes_alone() {
        let handshake = json!({
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "512d38b6"},
        });
        assert!(
            matches!(read(std::slice::from_ref(&handshake)), Ok(Content::Handshake { code }) if code == "512d38b6")
        );
        assert!(read(&[handshake.clone(), handshake]).is_err());
        assert!(read(&[json!({"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"})]).is_err());
    }
}
