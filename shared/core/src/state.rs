//! Inlet's own small files in the lake: `_inlet/…`, JSON, each written whole.
//!
//! Two ways to write: over whatever is there, and only where nothing is. The second decides who is first, on every
//! kind of store, and is the only condition that Inlet asks of one.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Micros;
use crate::delta::{Lake, STATE, fault_within, is_denied, store_fault};
use crate::fault::Fault;

/// Bytes of one file: they are notes. One of held rows names each file with its columns.
const FILE_BYTES: u64 = 64 << 20;

/// The state folder of a lake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State<'a>(&'a Lake);

/// A file that lies in the state folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) place: Path,
    /// By the store's clock.
    pub(crate) modified: Micros,
    bytes: u64,
}

impl Listed {
    /// The last part of its path.
    pub(crate) fn name(&self) -> &str {
        self.place.filename().unwrap_or_default()
    }
}

/// What a file holds.
#[derive(Debug)]
pub(crate) enum Held<T> {
    /// What was asked for.
    Read(T),
    /// It was removed meanwhile.
    Gone,
    /// Something else: damaged, or not of Inlet's making.
    Damaged(String),
}

impl<'a> State<'a> {
    pub(crate) fn of(lake: &'a Lake) -> Self {
        Self(lake)
    }

    /// The place of a file: `_inlet/<parts…>`.
    pub(crate) fn place(&self, parts: &[&str]) -> Path {
        parts.iter().fold(self.0.root().clone().join(STATE), |place, part| place.join(*part))
    }

    /// Writes a file over what is there.
    pub(crate) fn put(&self, place: &Path, value: &impl Serialize) -> Result<(), Fault> {
        let payload = payload(place, value)?;
        self.0.wait(self.0.store().put(place, payload)).map(drop).map_err(|error| self.fault("write", place, error))
    }

    /// Writes a file where none is; false when there is one. What is written must be unlike what anybody else would
    /// write there: a store's client that asked twice may have lost against itself.
    pub(crate) fn put_new(&self, place: &Path, value: &impl Serialize) -> Result<bool, Fault> {
        let payload = payload(place, value)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.0.wait(self.0.store().put_opts(place, payload.clone(), options)) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let there = self.bytes(place)?;
                Ok(there.is_some_and(|there| payload.iter().flatten().eq(there.iter())))
            }
            Err(error) => Err(self.fault("write", place, error)),
        }
    }

    /// Reads a file.
    pub(crate) fn read<T: DeserializeOwned>(&self, file: &Listed) -> Result<Held<T>, Fault> {
        if file.bytes > FILE_BYTES {
            return Ok(Held::Damaged(format!("{} bytes are no note", file.bytes)));
        }
        Ok(match self.bytes(&file.place)? {
            None => Held::Gone,
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => Held::Read(value),
                Err(error) => Held::Damaged(error.to_string()),
            },
        })
    }

    /// The file at a place, if there is one.
    pub(crate) fn look(&self, place: &Path) -> Result<Option<Listed>, Fault> {
        match self.0.wait(self.0.store().head(place)) {
            Ok(meta) => Ok(Some(listed(meta))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fault("read", place, error)),
        }
    }

    /// All files below a place, in the order of their paths; at most `at_most`.
    pub(crate) fn list(&self, below: &Path, at_most: usize) -> Result<Vec<Listed>, Fault> {
        let mut files = Vec::new();
        let found = self.0.wait(async {
            let mut list = self.0.store().list(Some(below));
            while files.len() < at_most
                && let Some(meta) = list.try_next().await?
            {
                files.push(listed(meta));
            }
            Ok(())
        });
        found.map_err(|error| self.fault("list", below, error))?;
        files.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(files)
    }

    /// Removes a file; one that is gone is fine.
    pub(crate) fn remove(&self, place: &Path) -> Result<(), Fault> {
        match self.0.wait(self.0.store().delete(place)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.fault("remove", place, error)),
        }
    }

    fn bytes(&self, place: &Path) -> Result<Option<bytes::Bytes>, Fault> {
        match self.0.wait(async { self.0.store().get(place).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fault("read", place, error)),
        }
    }

    fn fault(&self, what: &str, place: &Path, error: Error) -> Fault {
        let what = format!("cannot {what} `{place}` in the state folder of the lake");
        if fault_within(&error).is_some() || is_denied(&error) {
            return store_fault(&what, self.0.url(), error);
        }
        Fault::again(what)
            .hint("the principal that writes the tables must be able to read, write, list and delete there too")
            .because(error)
    }
}

fn listed(meta: object_store::ObjectMeta) -> Listed {
    Listed { place: meta.location, modified: meta.last_modified.timestamp_micros(), bytes: meta.size }
}

fn payload(place: &Path, value: &impl Serialize) -> Result<PutPayload, Fault> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Fault::bug(format!("what was to be written to `{place}` is no JSON")).because(error))?;
    Ok(PutPayload::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::TestLake;

    #[test]
    fn what_is_written_is_read_listed_and_removed() {
        let lake = TestLake::new();
        let state = State::of(&lake.lake);
        let place = state.place(&["a", "b c.json"]);
        assert!(place.as_ref().ends_with("_inlet/a/b c.json"), "{place}");
        state.put(&place, &[1, 2]).unwrap();
        state.put(&place, &[3]).unwrap();
        let files = state.list(&state.place(&["a"]), 10).unwrap();
        assert_eq!(files.iter().map(Listed::name).collect::<Vec<_>>(), ["b c.json"]);
        assert!(matches!(state.read::<Vec<u8>>(&files[0]).unwrap(), Held::Read(read) if read == [3]));
        assert!(matches!(state.read::<String>(&files[0]).unwrap(), Held::Damaged(_)));
        state.remove(&place).unwrap();
        state.remove(&place).unwrap();
        assert!(matches!(state.read::<Vec<u8>>(&files[0]).unwrap(), Held::Gone));
        assert_eq!(state.list(&state.place(&[]), 10).unwrap(), []);
    }

    #[test]
    fn only_the_first_writes_where_nothing_is() {
        let lake = TestLake::new();
        let state = State::of(&lake.lake);
        let place = state.place(&["lease", "1.json"]);
        assert!(state.put_new(&place, &"mine").unwrap());
        assert!(!state.put_new(&place, &"yours").unwrap());
        assert!(state.put_new(&place, &"mine").unwrap(), "our own first try, answered late");
    }
}
