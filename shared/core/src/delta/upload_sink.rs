//! Bytes on their way to one object: a single put when they are few, a multipart upload when they are many.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, Result};
use tokio::task::JoinHandle;

use super::lake::Lake;

/// From this size on a file goes up in parts of this size: above S3's least part (5 MiB), and small enough that a
/// part and its successor may wait in memory for each open file.
pub(super) const PART_BYTES: usize = 8 * 1024 * 1024;

/// One object being written. Nothing is visible before [`UploadSink::finish`].
pub(super) struct UploadSink {
    lake: Lake,
    path: Path,
    parts: Option<Box<dyn MultipartUpload>>,
    /// At most one part is under way, or the whole: the next is encoded meanwhile.
    under_way: Option<(usize, JoinHandle<Result<()>>)>,
    sent: u64,
    /// A single put was tried: whatever it answered, the object may be there.
    put: bool,
    /// Others write the same object: it is not ours to remove.
    is_shared: bool,
}

impl UploadSink {
    /// The lake that the object lies in.
    pub(super) fn lake(&self) -> &Lake {
        &self.lake
    }

    pub(super) fn new(lake: &Lake, path: Path, is_shared: bool) -> Self {
        Self { lake: lake.clone(), path, parts: None, under_way: None, sent: 0, put: false, is_shared }
    }

    /// Sends what stands in the buffer once it is a part's worth.
    pub(super) fn send_if_large(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        // A volume takes files whole: whoever holds too much ends one instead.
        if buffer.len() < PART_BYTES || self.lake.is_volume() {
            return Ok(());
        }
        self.send_part(std::mem::take(buffer))
    }

    /// Sends what stands in the buffer, however little it is, where the store allows that: S3 wants parts of 5 MiB.
    pub(super) fn send_if_allowed(&mut self, buffer: &mut Vec<u8>) -> Result<bool> {
        let is_allowed = self.lake.url().scheme() == "file";
        if is_allowed && !buffer.is_empty() {
            self.send_part(std::mem::take(buffer))?;
        }
        Ok(is_allowed)
    }

    /// Whether a part was sent.
    pub(super) fn is_under_way(&self) -> bool {
        self.parts.is_some()
    }

    /// Lets the rest go; what the store answers is asked for by [`UploadSink::finish`].
    pub(super) fn send_rest(&mut self, rest: Vec<u8>) -> Result<()> {
        if self.parts.is_some() {
            return if rest.is_empty() { Ok(()) } else { self.send_part(rest) };
        }
        let size = rest.len();
        self.sent += size as u64;
        self.put = true;
        let (store, path) = (Arc::clone(self.lake.store()), self.path.clone());
        // Overwriting is safe to retry, and the name is ours alone.
        let put = async move { store.put(&path, PutPayload::from(rest)).await.map(drop) };
        self.under_way = Some((size, self.lake.handle().spawn(put)));
        Ok(())
    }

    /// Waits until all is there, and makes the object visible; answers its size.
    pub(super) fn finish(&mut self) -> Result<u64> {
        self.await_part()?;
        if let Some(mut parts) = self.parts.take() {
            let completed = self.lake.wait(parts.complete());
            if completed.is_err() {
                self.parts = Some(parts);
            }
            completed?;
        }
        Ok(self.sent)
    }

    /// Gives up: what was sent is removed, as far as the store obeys.
    pub(super) fn abort(&mut self) {
        if let Some((_, part)) = self.under_way.take() {
            drop(self.lake.wait(part));
        }
        if let Some(mut parts) = self.parts.take() {
            drop(self.lake.wait(parts.abort()));
        }
        if self.put && !self.is_shared {
            drop(self.lake.wait(self.lake.store().delete(&self.path)));
        }
    }

    /// Bytes that wait in memory for the store.
    pub(super) fn buffered_bytes(&self) -> usize {
        match &self.under_way {
            Some((bytes, part)) if !part.is_finished() => *bytes,
            _ => 0,
        }
    }

    fn send_part(&mut self, part: Vec<u8>) -> Result<()> {
        self.await_part()?;
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => {
                let store = Arc::clone(self.lake.store());
                self.lake.wait(store.put_multipart(&self.path))?
            }
        };
        let size = part.len();
        self.sent += size as u64;
        // `put_part` may start work on the runtime (a local file's does).
        let _runtime = self.lake.handle().enter();
        let upload = parts.put_part(PutPayload::from(part));
        self.under_way = Some((size, self.lake.handle().spawn(upload)));
        self.parts = Some(parts);
        Ok(())
    }

    fn await_part(&mut self) -> Result<()> {
        match self.under_way.take() {
            Some((_, part)) => self.lake.wait(part)?,
            None => Ok(()),
        }
    }
}
