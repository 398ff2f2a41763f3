//! An upload's bytes: from a file, from standard input or from a store, decompressed, within the limits.
//!
//! Up to the typing window an upload is held in memory and checked to its end before any of it is used; a larger one
//! streams. A damaged stream rejects the upload; a store or disk that does not answer is a fault.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use inlet_events::limits::TYPING_WINDOW_BYTES;
use inlet_events::lines::{Chunks, Sniff, sniff};
use inlet_events::unpack::{foreign_format, is_tar, unpack};
use inlet_events::{Buffers, Limits, Reason};
use tokio::runtime::Handle;

use crate::allowance::too_large;
use crate::clock::micros;
use crate::fault::Fault;
use crate::landing_store::ObjectBytes;
use crate::upload::{Place, Upload};

/// Stored bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Why an upload cannot be used as a whole.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It can never land: reason and what it looks like.
    Rejected(Reason, Option<String>),
    /// Its bytes could not be had now.
    Fault(Fault),
}

impl Refusal {
    /// Sorts an error of reading: what the source or the limits said, else the packing is damaged.
    pub(crate) fn of(error: io::Error) -> Self {
        match error.downcast::<Carried>() {
            Ok(Carried::Fault(fault)) => Self::Fault(fault),
            Ok(Carried::TooLarge(what)) => Self::Rejected(Reason::TooLarge, Some(what)),
            Err(error) => Self::Rejected(Reason::Unreadable, Some(error.to_string())),
        }
    }
}

/// An error that must keep its meaning on its way through a decoder.
#[derive(Debug)]
enum Carried {
    Fault(Fault),
    TooLarge(String),
}

impl std::fmt::Display for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::TooLarge(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Carried {}

/// An upload that can be read.
#[derive(Debug)]
pub(crate) struct Opened {
    /// All of it, or its beginning with the rest to follow.
    pub(crate) chunks: Chunks<'static>,
    /// It was read and checked to its end.
    pub(crate) is_whole: bool,
}

/// How to read one upload.
#[derive(Clone)]
pub(crate) struct Source<'a> {
    pub(crate) upload: &'a Upload,
    pub(crate) limits: &'a Limits,
    /// Decompressed bytes that one call of a function can land, and the lake as a terminal names it; beyond, the upload
    /// is neither rejected nor landed.
    pub(crate) admits: Option<(u64, &'a str)>,
    pub(crate) handle: &'a Handle,
    pub(crate) buffers: &'a Arc<Buffers>,
}

impl Source<'_> {
    /// Opens the upload and looks at its beginning.
    pub(crate) fn open(&self) -> Result<Opened, Refusal> {
        self.open_while(|| true)
    }

    /// Opens the upload as long as `go_on` says yes; it is asked before each chunk, and may wait. Whoever says no has no
    /// use for the answer.
    pub(crate) fn open_while(&self, go_on: impl FnMut() -> bool) -> Result<Opened, Refusal> {
        let mut chunks = self.reopen()?;
        let is_whole = chunks.read_ahead(TYPING_WINDOW_BYTES, go_on).map_err(Refusal::of)?;
        let first = chunks.held().next().map_or(&[][..], |chunk| &chunk.data);
        if sniff(chunks.held(), self.limits.line_bytes) == Sniff::NotNdjson || is_tar(first) {
            return Err(Refusal::Rejected(Reason::NotNdjson, foreign_format(first).map(str::to_owned)));
        }
        Ok(Opened { chunks, is_whole })
    }

    /// The upload's chunks from the beginning.
    pub(crate) fn reopen(&self) -> Result<Chunks<'static>, Refusal> {
        Ok(Chunks::of_stream(self.unpacked()?, self.limits.line_bytes, Arc::clone(self.buffers)))
    }

    fn unpacked(&self) -> Result<Box<dyn Read + Send + 'static>, Refusal> {
        let packed = self.packed().map_err(Refusal::Fault)?;
        let reader = unpack(packed).map_err(Refusal::of)?;
        Ok(Box::new(Bounded {
            reader,
            stored: self.upload.size.max(1),
            read: 0,
            upload_bytes: self.limits.upload_bytes,
            expansion: self.limits.expansion,
            admits: self.admits.map(|(bytes, lake)| (bytes, too_large(self.upload, bytes, lake))),
        }))
    }

    fn packed(&self) -> Result<Box<dyn BufRead + Send + 'static>, Fault> {
        if let Some((bytes, lake)) = self.admits.filter(|(bytes, _)| self.upload.size > *bytes) {
            return Err(too_large(self.upload, bytes, lake));
        }
        match &self.upload.place {
            Place::Bytes(bytes) => Ok(Box::new(Cursor::new(SharedBytes(Arc::clone(bytes))))),
            Place::File(path) => {
                let fault = |error: io::Error| {
                    let fault = Fault::again(format!("cannot read `{}`", path.display())).because(error);
                    fault.hint("check that the file is still there and readable")
                };
                let file = File::open(path).map_err(fault)?;
                let now = file.metadata().map_err(fault)?;
                // The id is a hash of the content; a file that grew since is another upload.
                if now.len() != self.upload.size
                    || now.modified().is_ok_and(|time| micros(time) != self.upload.modified)
                {
                    return Err(Fault::again(format!("`{}` changed while it was being read", path.display()))
                        .hint("run the command again once the file is complete"));
                }
                Ok(Box::new(BufReader::with_capacity(READ_BYTES, file)))
            }
            Place::Object { store, key, form } => {
                let stream = self.handle.block_on(store.get(key, form))?;
                let reader = ObjectReader { handle: self.handle.clone(), stream, bytes: Bytes::new() };
                Ok(Box::new(BufReader::with_capacity(READ_BYTES, reader)))
            }
        }
    }
}

#[derive(Debug)]
struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A store's answer as a blocking reader; used on plain threads only.
struct ObjectReader {
    handle: Handle,
    stream: ObjectBytes,
    bytes: Bytes,
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.bytes.is_empty() {
            match self.handle.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(Ok(bytes)) => self.bytes = bytes,
                Some(Err(fault)) => return Err(io::Error::other(Carried::Fault(fault))),
            }
        }
        let count = self.bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.bytes.split_to(count));
        Ok(count)
    }
}

/// Stops a decompression bomb: by size always, by ratio once the upload is larger than the typing window.
struct Bounded<R> {
    reader: R,
    stored: u64,
    read: u64,
    upload_bytes: u64,
    expansion: u64,
    admits: Option<(u64, Fault)>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.read += count as u64;
        let window = TYPING_WINDOW_BYTES as u64;
        let is_bomb = self.read > window && self.read / self.stored > self.expansion;
        if is_bomb || self.read > self.upload_bytes {
            let what = format!("{} stored bytes open to more than {} bytes", self.stored, self.read);
            return Err(io::Error::other(Carried::TooLarge(what)));
        }
        if let Some((_, fault)) = self.admits.take_if(|(bytes, _)| self.read > *bytes) {
            return Err(io::Error::other(Carried::Fault(fault)));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::upload::UploadId;

    fn upload(bytes: Vec<u8>) -> Upload {
        Upload {
            name: "-".into(),
            id: UploadId::of_content(&[0; 32]),
            key: None,
            size: bytes.len() as u64,
            modified: 0,
            schema: "events".into(),
            place: Place::Bytes(Arc::new(bytes)),
        }
    }

    fn open(bytes: Vec<u8>) -> Result<Opened, Refusal> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let upload = upload(bytes);
        Source {
            upload: &upload,
            limits: &Limits::default(),
            admits: None,
            handle: runtime.handle(),
            buffers: &Arc::default(),
        }
        .open()
    }

    fn reason(opened: Result<Opened, Refusal>) -> &'static str {
        match opened {
            Err(Refusal::Rejected(reason, _)) => reason.code(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whole_uploads_are_checked_to_their_end() {
        assert!(matches!(open(b"{}\n".to_vec()), Ok(opened) if opened.is_whole && opened.chunks.held().count() == 1));
        let packed = zstd::encode_all(&b"{\"a\":1}\n".repeat(1000)[..], 1).unwrap();
        assert_eq!(reason(open(packed[..packed.len() - 3].to_vec())), "unreadable");
        assert_eq!(reason(open(b"PK\x03\x04 what".to_vec())), "not_ndjson");
    }

    #[test]
    fn a_bomb_is_refused_by_its_ratio() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(b"{}\n").unwrap();
        for _ in 0..80 {
            encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
        }
        let packed = encoder.finish().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let upload = upload(packed);
        let source = Source {
            upload: &upload,
            limits: &Limits::default(),
            admits: None,
            handle: runtime.handle(),
            buffers: &Arc::default(),
        };
        let refused = match source.open() {
            Ok(mut opened) => loop {
                match opened.chunks.next_chunk() {
                    Err(error) => break Refusal::of(error),
                    Ok(chunk) => assert!(chunk.is_some(), "the bomb went off"),
                }
            },
            Err(refused) => refused,
        };
        assert!(matches!(refused, Refusal::Rejected(Reason::TooLarge, _)));
    }
}
