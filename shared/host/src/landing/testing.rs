//! A landing store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use inlet_core::fault::Fault;
use inlet_core::landing_store::{LandingStore, ListedObject, ObjectBytes, ObjectForm, replaced};

/// Its objects; clones are the same store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    odd: Arc<Mutex<BTreeMap<String, Odd>>>,
}

/// What is odd about an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Odd {
    /// Nothing is answered about it.
    Silent,
    /// It is deleted when somebody begins to read it.
    Vanishing,
    /// It says that it has so many bytes.
    Bytes(u64),
}

impl Held {
    /// A store with these objects.
    pub(crate) fn of<'a>(objects: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let held = Self::default();
        for (key, text) in objects {
            held.put(key, text);
        }
        held
    }

    /// Writes an object over.
    pub(crate) fn put(&self, key: &str, text: &str) {
        self.objects.lock().unwrap().insert(key.to_owned(), Bytes::from(text.to_owned()));
    }

    /// An object is odd from now on, or no longer.
    pub(crate) fn set_odd(&self, key: &str, odd: Option<Odd>) {
        let mut all = self.odd.lock().unwrap();
        all.remove(key);
        all.extend(odd.map(|odd| (key.to_owned(), odd)));
    }

    fn odd(&self, key: &str) -> Option<Odd> {
        self.odd.lock().unwrap().get(key).copied()
    }

    /// Takes an object away.
    pub(crate) fn remove(&self, key: &str) {
        self.objects.lock().unwrap().remove(key);
    }

    fn form(&self, key: &str) -> Option<ObjectForm> {
        let objects = self.objects.lock().unwrap();
        let bytes = objects.get(key)?;
        let etag = format!("\"{:x}\"", fingerprint(bytes));
        let size = match self.odd(key) {
            Some(Odd::Bytes(size)) => size,
            _ => bytes.len() as u64,
        };
        Some(ObjectForm { etag, size, modified: 0, version: None })
    }
}

fn fingerprint(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[async_trait]
impl LandingStore for Held {
    async fn head(&self, key: &str, _: Option<&str>) -> Result<Option<ObjectForm>, Fault> {
        match self.odd(key) {
            Some(Odd::Silent) => Err(Fault::again("the store does not answer")),
            _ => Ok(self.form(key)),
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Vec<ListedObject>, Fault>> {
        let keys: Vec<String> =
            self.objects.lock().unwrap().keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        let page = keys.into_iter().filter_map(|key| self.form(&key).map(|form| ListedObject { key, form })).collect();
        stream::iter([Ok(page)]).boxed()
    }

    async fn get(&self, key: &str, form: &ObjectForm) -> Result<ObjectBytes, Fault> {
        if matches!(self.odd(key), Some(Odd::Vanishing)) {
            self.remove(key);
        }
        if self.form(key).as_ref() != Some(form) {
            return Err(replaced(key));
        }
        let bytes = self.objects.lock().unwrap()[key].clone();
        Ok(stream::iter([Ok(bytes)]).boxed())
    }
}
