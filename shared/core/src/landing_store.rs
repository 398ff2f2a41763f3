//! Where uploads lie that are no local files: a bucket or a container, seen through the questions that landing and the
//! connection test ask of it. Any UTF-8 text is a key: `a//b` and `/a` too.
//!
//! The stores themselves stand in the host, which knows the clouds; here is only what they have to keep.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::clock::Micros;
use crate::fault::Fault;

/// One form of an object: what another form of the same key would differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectForm {
    /// As the store spells it, with or without quotes.
    pub etag: String,
    /// Bytes as stored.
    pub size: u64,
    /// When it was last modified.
    pub modified: Micros,
    /// The version id, where it is known; listings do not carry it.
    pub version: Option<String>,
}

impl ObjectForm {
    /// The ETag as headers want it.
    pub fn quoted_etag(&self) -> String {
        format!("\"{}\"", self.etag.trim_matches('"'))
    }
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its whole key, decoded.
    pub key: String,
    /// The form that it has now.
    pub form: ObjectForm,
}

/// Who is told of new objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// These, by their names; nobody, if there is none.
    Known(Vec<String>),
    /// Whoever asks cannot see it, and why.
    Unseen(String),
}

/// The bytes of an object, in order.
pub type ObjectBytes = BoxStream<'static, Result<Bytes, Fault>>;

/// One bucket or container.
///
/// Its faults name the place and carry the store's own code and request id: Setup when somebody has to change something
/// (no such bucket, no right, no credentials), else Again. Each request has a deadline and a bounded number of tries.
#[async_trait]
pub trait LandingStore: fmt::Debug + Send + Sync {
    /// The form of the object with this key: the one of a version, else the one that it has now. None: there is no such
    /// object.
    async fn head(&self, key: &str, version: Option<&str>) -> Result<Option<ObjectForm>, Fault>;

    /// All objects whose key begins with `prefix`, a page at a time.
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Vec<ListedObject>, Fault>>;

    /// The bytes of this form, and of no other: pinned by its version id, else by its ETag. A connection that breaks is
    /// taken up again where it broke, a few times. [`replaced`] when the form is gone.
    async fn get(&self, key: &str, form: &ObjectForm) -> Result<ObjectBytes, Fault>;

    /// Who is told of new objects below `prefix`.
    async fn listeners(&self, _prefix: &str) -> Result<Listeners, Fault> {
        Ok(Listeners::Unseen("this store does not say who is told of new objects".to_owned()))
    }
}

/// The fault of a form that is gone, as every store says it.
pub fn replaced(key: &str) -> Fault {
    Fault::again(format!("cannot read `{key}`: it was replaced or deleted since it was listed"))
        .hint("run the command again: the object's new form is another upload")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_quoted_once() {
        let form = |etag: &str| ObjectForm { etag: etag.to_owned(), size: 0, modified: 0, version: None };
        assert_eq!(form("0x8D").quoted_etag(), "\"0x8D\"");
        assert_eq!(form("\"0x8D\"").quoted_etag(), "\"0x8D\"");
    }
}
