//! What Amazon S3 announces: notifications, and the events that it sends to EventBridge.

use inlet_core::fault::Fault;
use serde_json::Value;

use super::content::quoted;
use super::object::{Found, ObjectEvent, SkipReason, Skipped, gathered};
use super::{Content, key, needed, text};

/// Families of notifications about objects that were there before.
const OTHER_NOTIFICATIONS: [&str; 7] = [
    "IntelligentTiering",
    "LifecycleTransition",
    "ObjectAcl",
    "ObjectRestore",
    "ObjectTagging",
    "ReducedRedundancyLostObject",
    "Replication",
];

/// The same in EventBridge.
const OTHER_EVENTS: [&str; 8] = [
    "Object ACL Updated",
    "Object Access Tier Changed",
    "Object Restore Completed",
    "Object Restore Expired",
    "Object Restore Initiated",
    "Object Storage Class Changed",
    "Object Tags Added",
    "Object Tags Deleted",
];

/// Reads the records of a notification.
pub(super) fn notification(records: &[Value]) -> Result<Content, Fault> {
    gathered(records.iter().map(record))
}

/// Reads the message by which S3 tries a new notification.
pub(super) fn test_event(event: &Value) -> Content {
    let key = text(event, "/Bucket").unwrap_or_default().to_owned();
    Content::Objects {
        events: Vec::new(),
        skipped: vec![Skipped { reason: SkipReason::TestEvent, key }],
        refused: Vec::new(),
    }
}

/// Reads an event of the source `aws.s3`.
pub(super) fn event_bridge(kind: &str, event: &Value) -> Result<Content, Fault> {
    gathered(std::iter::once(detail(kind, event)))
}

fn record(record: &Value) -> Result<Found, Fault> {
    let source = text(record, "/eventSource").unwrap_or_default();
    if source != "aws:s3" {
        return Err(Fault::rejected(format!("a record from {} is no notification of S3", quoted(source))));
    }
    // Members are only added within a major version.
    if let Some(version) = text(record, "/eventVersion").filter(|version| !version.starts_with("2.")) {
        return Err(Fault::rejected(format!("notifications of version {} are not known", quoted(version))));
    }
    let key = key::of_form(needed(record, "/s3/object/key")?)?;
    let name = needed(record, "/eventName")?;
    match name.split_once(':').map_or(name, |(family, _)| family) {
        "ObjectCreated" => Ok(Found::judged(ObjectEvent {
            store: "s3",
            account: None,
            container: needed(record, "/s3/bucket/name")?.to_owned(),
            key,
            etag: text(record, "/s3/object/eTag").map(unquoted),
            size: record.pointer("/s3/object/size").and_then(Value::as_u64),
            version: text(record, "/s3/object/versionId").map(str::to_owned),
            owner: None,
            region: text(record, "/awsRegion").map(str::to_owned),
        })),
        "ObjectRemoved" | "LifecycleExpiration" => Ok(Found::skipped(SkipReason::Deleted, key)),
        family if OTHER_NOTIFICATIONS.contains(&family) => Ok(Found::skipped(SkipReason::OtherEvent, key)),
        _ => Err(unknown(name)),
    }
}

/// Here the key stands as it is.
fn detail(kind: &str, event: &Value) -> Result<Found, Fault> {
    let key = needed(event, "/detail/object/key")?.to_owned();
    match kind {
        "Object Created" => Ok(Found::judged(ObjectEvent {
            store: "s3",
            account: None,
            container: needed(event, "/detail/bucket/name")?.to_owned(),
            key,
            etag: text(event, "/detail/object/etag").map(unquoted),
            size: event.pointer("/detail/object/size").and_then(Value::as_u64),
            version: text(event, "/detail/object/version-id").map(str::to_owned),
            owner: text(event, "/account").map(str::to_owned),
            region: text(event, "/region").map(str::to_owned),
        })),
        "Object Deleted" => Ok(Found::skipped(SkipReason::Deleted, key)),
        kind if OTHER_EVENTS.contains(&kind) => Ok(Found::skipped(SkipReason::OtherEvent, key)),
        _ => Err(unknown(kind)),
    }
}

fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

fn unknown(name: &str) -> Fault {
    Fault::rejected(format!("S3 announces {}, which Inlet does not know", quoted(name)))
        .hint("notify of s3:ObjectCreated:* only")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(event_name: &str, change: impl FnOnce(&mut Value)) -> Result<Found, Fault> {
        let mut event = json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1", "eventName": event_name,
            "s3": {"bucket": {"name": "acme-landing"}, "object": {"key": "a+b.gz", "size": 5, "eTag": "\"e\""}},
        });
        change(&mut event);
        record(&event)
    }

    fn reason(found: &Result<Found, Fault>) -> Option<SkipReason> {
        match found {
            Ok(Found::Skipped(skipped)) => Some(skipped.reason),
            _ => None,
        }
    }

    #[test]
    fn every_way_to_create_an_object_is_an_upload() {
        for way in ["Put", "Post", "Copy", "CompleteMultipartUpload"] {
            let Ok(Found::Object(event)) = found(&format!("ObjectCreated:{way}"), |_| {}) else { panic!("{way}") };
            assert_eq!((event.key.as_str(), event.etag.as_deref(), event.size), ("a b.gz", Some("e"), Some(5)));
        }
    }

    #[test]
    fn what_happens_to_objects_later_is_skipped_and_told_apart() {
        for name in ["ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated", "LifecycleExpiration:Delete"] {
            assert_eq!(reason(&found(name, |_| {})), Some(SkipReason::Deleted), "{name}");
        }
        for name in ["ObjectTagging:Put", "ReducedRedundancyLostObject", "Replication:OperationFailedReplication"] {
            assert_eq!(reason(&found(name, |_| {})), Some(SkipReason::OtherEvent), "{name}");
        }
        let event = json!({"detail": {"bucket": {"name": "b"}, "object": {"key": "a"}}});
        assert_eq!(reason(&detail("Object Deleted", &event)), Some(SkipReason::Deleted));
        assert_eq!(reason(&detail("Object Tags Added", &event)), Some(SkipReason::OtherEvent));
    }

    #[test]
    fn what_is_not_understood_is_a_fault_that_says_so() {
        let said = |found: Result<Found, Fault>| found.unwrap_err().to_string();
        assert!(said(found("ObjectTeleported:Put", |_| {})).contains("`ObjectTeleported:Put`"));
        assert!(
            said(found("ObjectCreated:Put", |event| event["eventSource"] = json!("aws:sqs"))).contains("`aws:sqs`")
        );
        assert!(said(found("ObjectCreated:Put", |event| event["eventVersion"] = json!("3.0"))).contains("`3.0`"));
        for (pointer, member) in [("/s3/object/key", "s3.object.key"), ("/s3/bucket/name", "s3.bucket.name")] {
            for missing in [json!(""), json!(null), json!(7)] {
                let fault = found("ObjectCreated:Put", |event| *event.pointer_mut(pointer).unwrap() = missing);
                assert_eq!(said(fault), format!("the event has no `{member}`"));
            }
        }
        let event = json!({"detail": {"bucket": {"name": "b"}, "object": {"key": "a"}}});
        assert!(said(detail("Bucket Created", &event)).contains("`Bucket Created`"));
    }

    #[test]
    fn an_etag_loses_its_quotation_marks_in_either_announcement() {
        let object = json!({"key": "a", "etag": "\"e\""});
        let event = json!({"detail": {"bucket": {"name": "b"}, "object": object}});
        for found in [detail("Object Created", &event), found("ObjectCreated:Put", |_| {})] {
            let Ok(Found::Object(event)) = found else { panic!("{found:?}") };
            assert_eq!(event.etag.as_deref(), Some("e"));
        }
    }

    #[test]
    fn a_missing_size_or_etag_is_no_reason_to_leave_an_object_out() {
        let bare = |event: &mut Value| event["s3"]["object"] = json!({"key": "a"});
        let Ok(Found::Object(event)) = found("ObjectCreated:Copy", bare) else { panic!() };
        assert_eq!((event.size, event.etag, event.version), (None, None, None));
    }
}
