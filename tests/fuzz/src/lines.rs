//! Lines of an upload read at once and in odd portions, against a plain split: same lines, same places, nothing lost.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use inlet_events::lines::{Chunks, Position};
use inlet_events::{Batch, Chunk, UploadContext};

use crate::landing::{Setting, context_of};

/// Inputs grow up to this, over many of the chunks that an upload is cut into.
const BYTES: usize = 700_000;

/// The first byte chooses the line limit, the next three how a stream is read; the rest is the text, where each
/// `0xFF` repeats the byte behind it as often as the two bytes behind that say, times 17.
pub fn lines(data: &[u8]) {
    let [limit, reads @ .., _] = data.get(..5).unwrap_or_default() else { return };
    let limit = [16, 300, 70_000, 300_000, 1 << 20][usize::from(limit % 5)];
    let reads: Vec<usize> = reads.iter().map(|read| usize::from(*read) * usize::from(*read) + 61).collect();
    let text = grown(&data[4..]);
    let mut setting = Setting::default();
    setting.limits.line_bytes = limit;
    let context = context_of(&setting);

    let at_once = all(&mut Chunks::of_bytes(Bytes::from(text.clone()), limit));
    let stream = all(&mut streamed(&text, &reads, limit));
    for chunks in [&at_once, &stream] {
        follow_each_other(chunks, &text);
        lines_within_the_limit_are_kept(chunks, &text, limit);
    }
    let (said, in_stream) = (read(&at_once, &context), read(&stream, &context));
    assert_eq!(said, in_stream, "both say the same");
    let mut kept = Chunks::of_bytes(Bytes::from(text.clone()), limit);
    assert!(kept.read_ahead(2 * BYTES, || true).expect("memory can be read"));
    kept.keep(true);
    goes_back(&at_once, kept, None);
    goes_back(&stream, streamed(&text, &reads, limit), Some(&|| streamed(&text, &[7], limit)));
}

fn grown(mut data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some((&byte, rest)) = data.split_first() {
        data = rest;
        match (byte, rest) {
            (0xFF, [byte, high, low, rest @ ..]) => {
                let count = 17 * usize::from(u16::from_be_bytes([*high, *low]));
                text.resize((text.len() + count).min(BYTES), *byte);
                data = rest;
            }
            _ if text.len() < BYTES => text.push(byte),
            _ => {}
        }
    }
    text
}

/// A reader that hands out its bytes in odd portions.
struct Portions<'a> {
    rest: &'a [u8],
    sizes: Vec<usize>,
    at: usize,
}

impl Read for Portions<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.sizes[self.at % self.sizes.len()].min(buffer.len()).min(self.rest.len());
        self.at += 1;
        let (now, later) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}

fn streamed<'a>(text: &'a [u8], sizes: &[usize], limit: usize) -> Chunks<'a> {
    Chunks::of_stream(Box::new(Portions { rest: text, sizes: sizes.to_vec(), at: 0 }), limit, Arc::default())
}

fn all(chunks: &mut Chunks<'_>) -> Vec<Chunk> {
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next_chunk().expect("memory can be read") {
        all.push(chunk);
    }
    all
}

/// Chunks are numbered, begin with a line, at the place and with the number that they say.
fn follow_each_other(chunks: &[Chunk], text: &[u8]) {
    for (at, chunk) in chunks.iter().enumerate() {
        let offset = chunk.offset as usize;
        assert_eq!(chunk.index, at);
        assert!(offset == 0 || text[offset - 1] == b'\n', "a chunk begins with a line");
        assert_eq!(chunk.first_line, 1 + text[..offset].iter().filter(|byte| **byte == b'\n').count() as u64);
    }
}

/// Only bytes of lines beyond the limit may be left out.
fn lines_within_the_limit_are_kept(chunks: &[Chunk], text: &[u8], limit: usize) {
    for (at, chunk) in chunks.iter().enumerate() {
        let end = chunks.get(at + 1).map_or(text.len(), |next| next.offset as usize);
        let source = &text[chunk.offset as usize..end];
        if *chunk.data != *source {
            let lines = source.iter().filter(|byte| **byte == b'\n').count();
            assert!(lines <= 1 && source.len() > limit, "what should be kept was left out");
        }
    }
}

/// What a chunk's lines came to: events, and each rejection with its place and text.
type Said = (usize, Vec<(u64, u64, &'static str, Vec<u8>)>);

fn read(chunks: &[Chunk], context: &UploadContext) -> Said {
    let mut said = (0, Vec::new());
    for chunk in chunks {
        let batch = Batch::read(chunk.clone(), context);
        said.0 += batch.event_count();
        let rejects = batch.rejects().iter();
        said.1.extend(rejects.map(|reject| {
            (reject.line, reject.byte_offset, reject.reason.code(), batch.rejected_bytes(reject).to_vec())
        }));
    }
    said
}

/// From every position the same chunks follow: kept ones by going back, in a stream opened anew by skipping.
fn goes_back<'a>(expected: &[Chunk], mut chunks: Chunks<'a>, reopen: Option<&dyn Fn() -> Chunks<'a>>) {
    let mut positions: Vec<Position> = vec![chunks.position()];
    while chunks.next_chunk().expect("memory can be read").is_some() {
        positions.push(chunks.position());
    }
    let middle = positions.len() / 2;
    for at in [positions.len() - 1, middle, 0] {
        if let Some(reopen) = reopen {
            chunks = reopen();
            chunks.skip_to(positions[at]).expect("memory can be read");
        } else {
            assert!(chunks.rewind(positions[at]));
        }
        assert_eq!(chunks.position().index(), at);
        let next = chunks.next_chunk().expect("memory can be read");
        let place = |chunk: &Chunk| (chunk.index, chunk.first_line, chunk.offset);
        assert_eq!(next.as_ref().map(place), expected.get(at).map(place));
    }
}
