//! An upload: one object in a landing store, a local file, or standard input; and its id.
//!
//! The id decides exactly-once, so one function computes it: by event, listing, HEAD, GET or terminal the same object
//! has the same id. It never holds the version id, which listings do not carry.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::clock::Micros;
use crate::landing_store::{LandingStore, ObjectForm};

/// 128 bits that name an upload; printed as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId([u8; 16]);

impl UploadId {
    /// The id of an object in a store: a hash of store, bucket (or `account/container`), decoded key and ETag.
    /// Quotes around the ETag are stripped: listings and events spell it differently.
    pub fn of_object(store: &str, bucket: &str, key: &str, etag: &str) -> Self {
        Self::hash(&["object", store, bucket, key, etag.trim_matches('"')].map(str::as_bytes))
    }

    /// The id of a local file or of standard input: a hash of its content alone, so that a copy is the same upload.
    pub fn of_content(content_sha256: &[u8; 32]) -> Self {
        Self::hash(&[b"content", content_sha256])
    }

    /// The id under which the same upload lands for the second, third, … time: what has been deleted, truncated or
    /// restored away since, while the log still knows the first id. The key stays, so rows that still stand are
    /// recognised as those of an earlier form and left out.
    #[must_use]
    pub fn for_the_time(self, time: u64) -> Self {
        if time < 2 { self } else { Self::hash(&[b"again", &self.0, &time.to_le_bytes()]) }
    }

    fn hash(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize()[..16]);
        Self(id)
    }

    /// The Delta `txn` application id of this upload.
    pub fn app_id(self) -> String {
        app_id_of(&self.to_string())
    }
}

/// The Delta `txn` application id of an upload id as text.
pub(crate) fn app_id_of(upload_id: &str) -> String {
    format!("inlet/{upload_id}")
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where an upload's bytes are.
#[derive(Clone, Debug)]
pub enum Place {
    /// A local file.
    File(PathBuf),
    /// Bytes that were read already: standard input.
    Bytes(Arc<Vec<u8>>),
    /// An object; reads are pinned to its form.
    Object {
        /// The landing store.
        store: Arc<dyn LandingStore>,
        /// The key within it.
        key: String,
        /// The form that the id was computed from.
        form: ObjectForm,
    },
}

/// One upload, known by name but not read yet.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its path or key as the user knows it; stands in reports, `_loads` and `_rejects`.
    pub name: String,
    /// Its id.
    pub id: UploadId,
    /// Its key, for "was this key here before" and for generated message ids: the object's store, bucket and key, a
    /// file's canonical absolute path; standard input has none.
    pub key: Option<String>,
    /// Bytes as stored (compressed).
    pub size: u64,
    /// When it was last modified: the arrival time of events without `receivedAt`.
    pub modified: Micros,
    /// The schema that its tables live in.
    pub schema: String,
    /// Its bytes.
    pub place: Place,
}

impl Upload {
    /// Its URL, when it is an object of a store.
    pub fn url(&self) -> Option<String> {
        let (store, rest) = self.key.as_deref()?.split_once('/')?;
        match (store, &self.place) {
            (_, Place::File(_) | Place::Bytes(_)) => None,
            ("azure", _) => {
                let (account, rest) = rest.split_once('/')?;
                let (container, key) = rest.split_once('/')?;
                Some(format!("abfss://{container}@{account}.dfs.core.windows.net/{key}"))
            }
            (store, _) => Some(format!("{store}://{rest}")),
        }
    }

    /// The Delta `txn` application id of the upload's key, if it has one.
    pub fn key_app_id(&self) -> Option<String> {
        self.key.as_deref().map(key_app_id_of)
    }
}

/// The Delta `txn` application id of a key.
pub(crate) fn key_app_id_of(key: &str) -> String {
    format!("inlet/key/{}", key_digest(key))
}

/// A key as 32 hexadecimal digits.
pub(crate) fn key_digest(key: &str) -> String {
    UploadId::hash(&[b"key", key.as_bytes()]).to_string()
}

/// The id in the log of `_loads` which says that rows of an upload that were held for a table have been told of.
pub(crate) fn released_app_id_of(upload_id: &str, table: &str) -> String {
    format!("inlet/released/{}", UploadId::hash(&[b"released", upload_id.as_bytes(), table.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_with_and_without_quotes_is_one_id() {
        let bare = UploadId::of_object("s3", "bucket", "a/b c.gz", "abc");
        assert_eq!(bare, UploadId::of_object("s3", "bucket", "a/b c.gz", "\"abc\""));
        assert_ne!(bare, UploadId::of_object("s3", "bucket", "a/b c.gz", "abd"));
        assert_eq!(bare.to_string().len(), 32);
    }

    #[test]
    fn each_time_has_an_id_of_its_own() {
        let first = UploadId::of_object("s3", "bucket", "a", "abc");
        assert_eq!(first.for_the_time(1), first);
        assert_eq!(first.for_the_time(2), first.for_the_time(2));
        let other = UploadId::of_object("s3", "bucket", "b", "abc");
        for id in [first, first.for_the_time(3), other.for_the_time(2)] {
            assert_ne!(id, first.for_the_time(2));
        }
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(UploadId::of_object("s3", "ab", "c", "d"), UploadId::of_object("s3", "a", "bc", "d"));
    }
}
