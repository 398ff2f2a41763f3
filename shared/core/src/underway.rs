//! Notes of uploads that are being committed, in the state folder: `_inlet/underway/<schema>/<uuid>.json`.
//!
//! A run that is killed between its tables and `_loads` leaves rows behind that only the upload's own id leads to. If
//! the object is overwritten before it is delivered again, that id never comes back; its note says which key the rows
//! belong to, so that the next form lands only what is new. One note per group: one small put before the first commit,
//! one delete after the last.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::clock::Micros;
use crate::delta::{Lake, STATE};
use crate::fault::Fault;
use crate::upload::Upload;

/// Notes that a run reads; each is left by a killed run or by one that is at work, so there are few.
const NOTES: usize = 10_000;

/// An upload under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Underway {
    pub(crate) key: String,
    pub(crate) upload_id: String,
}

#[derive(Serialize, Deserialize)]
struct Note {
    uploads: Vec<Underway>,
}

fn folder(lake: &Lake, schema: &str) -> Path {
    lake.root().clone().join(STATE).join("underway").join(schema)
}

/// Leaves a note of uploads with a key; answers where it is, or nothing when there is none to leave.
///
/// # Errors
/// When it cannot be written: then nothing may be committed.
pub(crate) fn leave<'a>(
    lake: &Lake,
    schema: &str,
    uploads: impl Iterator<Item = &'a Upload>,
) -> Result<Option<Path>, Fault> {
    let uploads: Vec<_> = uploads
        .filter_map(|upload| Some(Underway { key: upload.key.clone()?, upload_id: upload.id.to_string() }))
        .collect();
    if uploads.is_empty() {
        return Ok(None);
    }
    let path = folder(lake, schema).join(format!("{}.json", uuid::Uuid::new_v4()));
    let fault = |error: Box<dyn std::error::Error + Send + Sync>| {
        Fault::again(format!("cannot leave a note in the state folder `{STATE}` of the lake")).because(error)
    };
    let payload = serde_json::to_vec(&Note { uploads }).map_err(|error| fault(error.into()))?;
    // The name is ours alone. A conditional put that the store's client sends twice would lose against itself.
    let put = lake.handle().block_on(lake.store().put(&path, PutPayload::from(payload)));
    put.map_err(|error| fault(error.into()))?;
    Ok(Some(path))
}

/// Removes notes whose uploads are done. What stays behind is removed by a later run.
pub(crate) fn remove(lake: &Lake, notes: &[Path]) {
    for note in notes {
        drop(lake.handle().block_on(lake.store().delete(note)));
    }
}

/// A note that lies in the state folder.
#[derive(Debug)]
pub(crate) struct Left {
    place: Path,
    pub(crate) left_at: Micros,
    pub(crate) uploads: Vec<Underway>,
}

/// All notes of a schema.
///
/// # Errors
/// When the state folder cannot be read.
pub(crate) fn notes(lake: &Lake, schema: &str) -> Result<Vec<Left>, Fault> {
    let fault = |error: object_store::Error| {
        Fault::again(format!("cannot read the state folder `{STATE}` of the lake")).because(error)
    };
    let prefix = folder(lake, schema);
    let listed: Vec<_> = lake.handle().block_on(lake.store().list(Some(&prefix)).try_collect()).map_err(fault)?;
    if listed.len() > NOTES {
        return Err(Fault::setup(format!("{} notes of stopped runs lie in `{prefix}` of the lake", listed.len()))
            .hint("land the uploads that they name once more; then delete the notes"));
    }
    let mut notes = Vec::new();
    for meta in listed {
        let read = lake.handle().block_on(async { lake.store().get(&meta.location).await?.bytes().await });
        let bytes = match read {
            Ok(bytes) => bytes,
            // Its run has just finished.
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(error) => return Err(fault(error)),
        };
        let Ok(Note { uploads }) = serde_json::from_slice(&bytes) else {
            return Err(Fault::setup(format!("`{}` is no note of Inlet's", meta.location))
                .hint("move it out of the state folder; it names uploads that a killed run left half landed"));
        };
        notes.push(Left { place: meta.location, left_at: meta.last_modified.timestamp_micros(), uploads });
    }
    Ok(notes)
}

impl Left {
    /// Whether all its uploads are done.
    pub(crate) fn is_done(&self, is_done: impl Fn(&str) -> bool) -> bool {
        self.uploads.iter().all(|upload| is_done(&upload.upload_id))
    }
}

/// Uploads that other runs had, or have, under way. Notes of which `is_done` says that all uploads are done go.
///
/// # Errors
/// When the state folder cannot be read.
pub(crate) fn left_behind(lake: &Lake, schema: &str, is_done: impl Fn(&str) -> bool) -> Result<Vec<Underway>, Fault> {
    let (done, open): (Vec<Left>, Vec<Left>) =
        notes(lake, schema)?.into_iter().partition(|note| note.is_done(&is_done));
    remove(lake, &done.into_iter().map(|note| note.place).collect::<Vec<_>>());
    Ok(open.into_iter().flat_map(|note| note.uploads).collect())
}

/// Removes the notes of which `is_done` says that all uploads are done; answers how many.
///
/// # Errors
/// When the state folder cannot be read.
pub(crate) fn sweep(lake: &Lake, schema: &str, is_done: impl Fn(&str) -> bool) -> Result<usize, Fault> {
    let notes = notes(lake, schema)?.into_iter().filter(|note| note.is_done(&is_done));
    let places: Vec<Path> = notes.map(|note| note.place).collect();
    remove(lake, &places);
    Ok(places.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::upload::{Place, UploadId};

    fn upload(key: Option<&str>, content: u8) -> Upload {
        Upload {
            name: "name".into(),
            id: UploadId::of_content(&[content; 32]),
            key: key.map(str::to_owned),
            size: 0,
            modified: 0,
            schema: "events".into(),
            place: Place::Bytes(Arc::default()),
        }
    }

    #[test]
    fn a_note_is_found_until_its_uploads_are_done() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let lake = Lake::open(&url, runtime.handle().clone()).unwrap();
        let uploads = [upload(Some("a"), 1), upload(None, 2)];
        assert_eq!(leave(&lake, "events", uploads[1..].iter()).unwrap(), None);
        leave(&lake, "events", uploads.iter()).unwrap();
        let id = uploads[0].id.to_string();
        let expected = Underway { key: "a".into(), upload_id: id.clone() };
        assert_eq!(left_behind(&lake, "events", |_| false).unwrap(), [expected]);
        assert_eq!(left_behind(&lake, "others", |_| false).unwrap(), []);
        assert_eq!(left_behind(&lake, "events", |done| done == id).unwrap(), []);
        assert_eq!(left_behind(&lake, "events", |_| false).unwrap(), []);
    }
}
