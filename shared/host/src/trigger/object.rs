//! An object of a store that something happened to, and which of these are no uploads.

use inlet_core::fault::Fault;

use super::Content;
use crate::landing::skip;

/// Objects that one message may name; stores name one, webhooks of Event Grid up to 5,000.
const OBJECTS: usize = 10_000;

/// An object that was made or replaced, as its store announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// `s3` or `azure`.
    pub store: &'static str,
    /// The storage account, on Azure: of the object's URL, and of the announcement itself where that names one.
    pub account: Option<String>,
    /// The bucket, or the container.
    pub container: String,
    /// The key, decoded.
    pub key: String,
    /// Without quotation marks. A renamed blob's is not announced.
    pub etag: Option<String>,
    /// Bytes as stored.
    pub size: Option<u64>,
    /// The version, of a bucket that keeps versions.
    pub version: Option<String>,
    /// The AWS account of the bucket; only EventBridge tells it.
    pub owner: Option<String>,
    /// The AWS region of the bucket.
    pub region: Option<String>,
}

/// Something that happened in a store and is no upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Why it is none.
    pub reason: SkipReason,
    /// The object's key; of a test event, the bucket; of a renamed folder, the URL that it has now; of an
    /// event about something else, what it is about, if it says.
    pub key: String,
}

/// Why something is no upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// `s3:TestEvent`, which S3 sends when notifications are set up.
    TestEvent,
    /// `dummy-object.txt`, which Segment writes when somebody presses "Validate".
    Placeholder,
    /// An object of no bytes.
    Empty,
    /// A key that ends with a slash: the marker of a folder.
    Folder,
    /// A file that was opened for writing; its end is announced by itself.
    CreateFile,
    /// An object that is gone.
    Deleted,
    /// A folder of a hierarchical account that has another name now. Its files have no events of their own.
    FolderRenamed,
    /// Anything else that stores announce: tags, tiers, restores, folders.
    OtherEvent,
}

impl SkipReason {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::TestEvent => "test_event",
            Self::Placeholder => "placeholder",
            Self::Empty => "empty",
            Self::Folder => "folder",
            Self::CreateFile => "create_file",
            Self::Deleted => "deleted",
            Self::FolderRenamed => "folder_renamed",
            Self::OtherEvent => "other_event",
        }
    }

    /// Whether a key or a size alone says that an object is no upload.
    fn of(key: &str, size: Option<u64>) -> Option<Self> {
        let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
        if name == skip::PLACEHOLDER {
            Some(Self::Placeholder)
        } else if name.is_empty() {
            Some(Self::Folder)
        } else {
            (size == Some(0)).then_some(Self::Empty)
        }
    }
}

/// What one event of a store comes to.
#[derive(Debug)]
pub(super) enum Found {
    /// It may be an upload.
    Object(ObjectEvent),
    /// It is none.
    Skipped(Skipped),
}

impl Found {
    /// An object, if neither its key nor its size says that it is no upload.
    pub(super) fn judged(event: ObjectEvent) -> Self {
        match SkipReason::of(&event.key, event.size) {
            Some(reason) => Self::skipped(reason, event.key),
            None => Self::Object(event),
        }
    }

    /// No upload.
    pub(super) fn skipped(reason: SkipReason, key: impl Into<String>) -> Self {
        Self::Skipped(Skipped { reason, key: key.into() })
    }
}

/// All that one message says of objects.
///
/// # Errors
/// When nothing of it can be understood. Of some events among others the content says it.
pub(super) fn gathered(found: impl ExactSizeIterator<Item = Result<Found, Fault>>) -> Result<Content, Fault> {
    if found.len() == 0 {
        return Err(Fault::rejected("the message names no object: its list of events is empty"));
    }
    if found.len() > OBJECTS {
        return Err(Fault::rejected(format!("the message has {} events, more than {OBJECTS}", found.len())));
    }
    let (mut events, mut skipped, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for found in found {
        match found {
            Ok(Found::Object(event)) => events.push(event),
            Ok(Found::Skipped(one)) => skipped.push(one),
            Err(fault) => refused.push(fault),
        }
    }
    match refused.pop() {
        Some(fault) if events.is_empty() && skipped.is_empty() => return Err(fault),
        fault => refused.extend(fault),
    }
    Ok(Content::Objects { events, skipped, refused })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_sizes_tell_what_is_no_upload() {
        let cases = [
            ("segment-logs/dummy-object.txt", None, Some(SkipReason::Placeholder)),
            ("dummy-object.txt", Some(0), Some(SkipReason::Placeholder)),
            ("segment-logs/", Some(0), Some(SkipReason::Folder)),
            ("segment-logs/a.gz", Some(0), Some(SkipReason::Empty)),
            ("segment-logs/a.gz", Some(1), None),
            ("segment-logs/my-dummy-object.txt", None, None),
        ];
        for (key, size, reason) in cases {
            assert_eq!(SkipReason::of(key, size), reason, "{key}");
        }
    }

    #[test]
    fn an_event_that_cannot_be_understood_leaves_the_others() {
        let broken = || Err(Fault::rejected("the event has no `url`"));
        let deleted = || Ok(Found::skipped(SkipReason::Deleted, "a"));
        let Ok(Content::Objects { skipped, refused, .. }) = gathered([broken(), deleted(), broken()].into_iter())
        else {
            panic!()
        };
        assert_eq!((skipped.len(), refused.len()), (1, 2));
        assert!(gathered([broken(), broken()].into_iter()).is_err());
    }

    #[test]
    fn a_message_names_some_objects_and_not_too_many() {
        let found = |count: usize| gathered((0..count).map(|_| Ok(Found::skipped(SkipReason::Deleted, "a"))));
        assert!(found(0).is_err() && found(OBJECTS + 1).is_err());
        assert!(matches!(found(OBJECTS), Ok(Content::Objects { skipped, .. }) if skipped.len() == OBJECTS));
    }
}
