//! An upload's bytes in chunks of whole lines.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Chunk, is_space, trim};
use crate::buffers::{BUFFER_BYTES, Buffers};
use crate::json::{NodeKind, Tape};
use crate::limits::{REJECTED_LINE_BYTES, SNIFF_BYTES};

/// Skipped at the very start of an upload.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What an upload's first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// A line that begins in the first MiB is a JSON object.
    Events,
    /// Nothing but white space so far.
    Nothing,
    /// Lines, but no JSON object among them.
    NotNdjson,
}

/// Looks for a JSON object among the lines that begin in the first MiB. `chunks` are the upload's first ones.
pub fn sniff<'c>(chunks: impl IntoIterator<Item = &'c Chunk>, line_bytes: usize) -> Sniff {
    let mut tape = Tape::default();
    let mut seen = Sniff::Nothing;
    for chunk in chunks {
        let data = &chunk.data;
        let is_first = chunk.offset == 0;
        let mut start = if is_first && data.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        while start < data.len() {
            if chunk.offset + start as u64 >= SNIFF_BYTES as u64 {
                return seen;
            }
            let end = memchr::memchr(b'\n', &data[start..]).map_or(data.len(), |at| start + at);
            let (from, to) = trim(data, start, end);
            let line = &data[from..to];
            if !line.is_empty() {
                seen = Sniff::NotNdjson;
                tape.clear();
                let is_object = line.len() <= line_bytes
                    && std::str::from_utf8(line).is_ok()
                    && tape.read(line, 0, line.len()).is_ok_and(|root| tape.node(root).kind == NodeKind::Object);
                if is_object {
                    return Sniff::Events;
                }
            }
            start = end + 1;
        }
    }
    seen
}

/// Cuts an upload into chunks of whole lines. Chunks that were read ahead are held; once the upload was read to its
/// end they can be read again, as long as they are kept.
pub struct Chunks<'a> {
    reader: Reader<'a>,
    buffers: Arc<Buffers>,
    line_bytes: usize,
    /// Where the reader stands.
    read: Position,
    /// There is nothing more to read.
    is_read: bool,
    /// Chunks read and not yet handed out for good.
    held: VecDeque<Chunk>,
    /// How many of those were handed out and are kept.
    at: usize,
    keeps: bool,
}

/// Where a chunk starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    index: usize,
    line: u64,
    offset: u64,
}

impl Position {
    const START: Self = Self { index: 0, line: 1, offset: 0 };

    /// Where a chunk starts.
    pub fn of(chunk: &Chunk) -> Self {
        Self { index: chunk.index, line: chunk.first_line, offset: chunk.offset }
    }

    /// The place of the chunk among the upload's chunks.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl std::fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl<'a> Chunks<'a> {
    /// Chunks of a stream of decompressed bytes, in memory of `buffers`.
    pub fn of_stream(source: Box<dyn Read + Send + 'a>, line_bytes: usize, buffers: Arc<Buffers>) -> Self {
        let reader = Reader { source, carry: Vec::new(), ended: false };
        Self {
            reader,
            buffers,
            line_bytes,
            read: Position::START,
            is_read: false,
            held: VecDeque::new(),
            at: 0,
            keeps: false,
        }
    }

    /// Chunks of bytes in memory.
    pub fn of_bytes(data: Bytes, line_bytes: usize) -> Self {
        Self::of_stream(Box::new(io::Cursor::new(data)), line_bytes, Arc::default())
    }

    /// Reads ahead until more than `bytes` are held; answers whether the upload ended before that. `go_on` is
    /// asked before each chunk; it may wait.
    ///
    /// # Errors
    /// What the stream says: the upload is unreadable, or its source is. Or `go_on` said no.
    pub fn read_ahead(&mut self, bytes: usize, mut go_on: impl FnMut() -> bool) -> io::Result<bool> {
        let mut held: usize = self.held.iter().map(|chunk| chunk.data.len()).sum();
        while held <= bytes {
            if !go_on() {
                return Err(io::Error::other("given up"));
            }
            match self.read_chunk()? {
                Some(chunk) => {
                    held += chunk.data.len();
                    self.held.push_back(chunk);
                }
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// What was read ahead.
    pub fn held(&self) -> impl Iterator<Item = &Chunk> {
        self.held.iter()
    }

    /// How many chunks are still to be handed out; none while nobody knows, since the stream was not read to its end.
    pub fn left(&self) -> Option<usize> {
        self.is_read.then(|| self.held.len() - self.at)
    }

    /// Whether chunks that are handed out from now on stay here to be read again; a stream that goes on cannot keep them.
    pub fn keep(&mut self, keeps: bool) {
        self.keeps = keeps && self.is_read;
    }

    /// Where the next chunk starts.
    pub fn position(&self) -> Position {
        self.held.get(self.at).map_or(self.read, Position::of)
    }

    /// Goes back to a chunk that was kept, or to the next one; false when it is not here any more: then the upload is
    /// opened anew and skipped to the position.
    pub fn rewind(&mut self, to: Position) -> bool {
        if self.position() == to {
            return true;
        }
        let kept = self.held.iter().take(self.at).position(|chunk| chunk.index == to.index);
        self.at = kept.unwrap_or(self.at);
        kept.is_some()
    }

    /// Reads on in a stream opened anew, up to a position.
    ///
    /// # Errors
    /// What the stream says; also when it ends before the position.
    pub fn skip_to(&mut self, to: Position) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.reader.source).take(to.offset), &mut io::sink())?;
        if skipped != to.offset {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read = to;
        Ok(())
    }

    /// The next chunk of whole lines; nothing at the end. Of a line beyond the limit only the beginning is kept,
    /// without the white space before it.
    ///
    /// # Errors
    /// What the stream says: the upload is unreadable, or its source is.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        if self.keeps {
            let chunk = self.held.get(self.at).cloned();
            self.at += usize::from(chunk.is_some());
            return Ok(chunk);
        }
        // What was kept until now is not read again.
        self.held.drain(..std::mem::take(&mut self.at));
        match self.held.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None => self.read_chunk(),
        }
    }

    fn read_chunk(&mut self) -> io::Result<Option<Chunk>> {
        let Position { index, line, offset } = self.read;
        let (data, length) = self.reader.chunk(self.line_bytes, offset == 0, &self.buffers)?;
        if length == 0 {
            self.is_read = true;
            return Ok(None);
        }
        let lines = memchr::memchr_iter(b'\n', &data).count() as u64;
        // A cut line counts by the line feed that was skipped.
        let cut = u64::from(data.len() as u64 != length && data.last() != Some(&b'\n'));
        self.read = Position { index: index + 1, line: line + lines + cut, offset: offset + length };
        Ok(Some(Chunk { index, first_line: line, offset, data }))
    }
}

/// A stream, and what was read of it beyond the last whole line.
struct Reader<'a> {
    source: Box<dyn Read + Send + 'a>,
    carry: Vec<u8>,
    ended: bool,
}

impl Reader<'_> {
    /// Fills a chunk: its bytes, and how many of the stream's bytes it stands for.
    fn chunk(&mut self, line_bytes: usize, is_first: bool, buffers: &Arc<Buffers>) -> io::Result<(Bytes, u64)> {
        let mut buffer = buffers.take();
        let mut length = self.carry.len();
        if length >= BUFFER_BYTES {
            return self.long_chunk(line_bytes, is_first);
        }
        buffer[..length].copy_from_slice(&self.carry);
        while length < BUFFER_BYTES && !self.ended {
            match self.source.read(&mut buffer[length..]) {
                Ok(count) => {
                    self.ended = count == 0;
                    length += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let end = match memchr::memrchr(b'\n', &buffer[..length]) {
            Some(at) => at + 1,
            None if self.ended => length,
            None => {
                self.carry.clear();
                self.carry.extend_from_slice(&buffer);
                return self.long_chunk(line_bytes, is_first);
            }
        };
        self.carry.clear();
        self.carry.extend_from_slice(&buffer[end..length]);
        Ok((buffers.lend(buffer, end), end as u64))
    }

    /// A chunk that begins with a line longer than a buffer. A line is judged without the white space around it, so
    /// that is what may go unread, and the text beyond the limit.
    fn long_chunk(&mut self, line_bytes: usize, is_first: bool) -> io::Result<(Bytes, u64)> {
        let Self { source, carry, ended } = self;
        let mut data = std::mem::take(carry);
        // What is judged or kept of a line, a byte order mark and one white space before it, and one byte beyond.
        let kept = line_bytes.max(REJECTED_LINE_BYTES) + 5;
        let mut dropped = 0;
        let mut searched = 0;
        loop {
            let rest = &data[searched..];
            // Behind dropped bytes a second line would not stand where the chunk says.
            let found = if dropped == 0 { memchr::memrchr(b'\n', rest) } else { memchr::memchr(b'\n', rest) };
            if let Some(at) = found {
                carry.extend_from_slice(&data[searched + at + 1..]);
                data.truncate(searched + at + 1);
                break;
            }
            if *ended {
                break;
            }
            if data.len() > kept {
                let start = if is_first && data.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
                let blank = data[start..].iter().take_while(|&&byte| is_space(byte)).count();
                if blank > 1 {
                    // One stays: a byte order mark behind white space is none.
                    dropped += blank - 1;
                    data.drain(start..start + blank - 1);
                } else {
                    let length = dropped + skip_line(source, &mut data, kept, carry, ended)?;
                    return Ok((data.into(), length as u64));
                }
            }
            searched = data.len();
            let wanted = BUFFER_BYTES as u64;
            *ended = source.take(wanted).read_to_end(&mut data)? < wanted as usize;
        }
        let length = (dropped + data.len()) as u64;
        Ok((data.into(), length))
    }
}

/// Reads a long line to its end and keeps its first bytes; answers its length. Text behind those stands in the last
/// one's place: the line is too long then, and else as long as without the white space at its end.
fn skip_line(
    reader: &mut (dyn Read + Send),
    data: &mut Vec<u8>,
    kept: usize,
    carry: &mut Vec<u8>,
    ended: &mut bool,
) -> io::Result<usize> {
    let text_of = |bytes: &[u8]| bytes.iter().copied().find(|&byte| !is_space(byte));
    let mut text = text_of(&data[kept..]);
    let mut length = data.len();
    data.truncate(kept);
    let mut buffer = vec![0; BUFFER_BYTES];
    while !*ended {
        let count = reader.read(&mut buffer)?;
        *ended = count == 0;
        let end = memchr::memchr(b'\n', &buffer[..count]);
        let line = &buffer[..end.unwrap_or(count)];
        text = text.or_else(|| text_of(line));
        length += line.len();
        if let Some(at) = end {
            carry.extend_from_slice(&buffer[at + 1..count]);
            length += 1;
            break;
        }
    }
    if let (Some(last), Some(text)) = (data.last_mut(), text) {
        *last = text;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::tests::context_of_tests;
    use crate::batch::{Batch, UploadContext};

    type Seen = Vec<(u64, u64, Vec<u8>)>;

    fn stream<'a>(source: Box<dyn Read + Send + 'a>, line_bytes: usize) -> Chunks<'a> {
        Chunks::of_stream(source, line_bytes, Arc::default())
    }

    /// Line number, offset and bytes of every line, as the chunks tell them.
    fn lines(mut chunks: Chunks<'_>) -> Seen {
        let mut seen = Vec::new();
        while let Some(chunk) = chunks.next_chunk().unwrap() {
            let (mut line, mut offset) = (chunk.first_line, chunk.offset);
            for text in chunk.data.split_inclusive(|&byte| byte == b'\n') {
                seen.push((line, offset, text.to_vec()));
                (line, offset) = (line + 1, offset + text.len() as u64);
            }
        }
        seen
    }

    #[test]
    fn how_much_is_left_is_known_once_all_was_read() {
        let text = b"{}      \n".repeat(2 * BUFFER_BYTES / 9 + 9);
        let mut chunks = Chunks::of_bytes(text.into(), 1 << 20);
        assert_eq!(chunks.left(), None);
        assert!(chunks.read_ahead(64 << 20, || true).unwrap());
        for left in [3, 2, 1, 0] {
            assert_eq!(chunks.left(), Some(left));
            assert_eq!(chunks.next_chunk().unwrap().is_some(), left > 0);
        }
    }

    #[test]
    fn sniffing() {
        let sniffed = |data: &[u8]| {
            let mut chunks = Chunks::of_bytes(Bytes::copy_from_slice(data), 100);
            chunks.read_ahead(8 << 20, || true).unwrap();
            sniff(chunks.held(), 100)
        };
        assert_eq!(sniffed(b""), Sniff::Nothing);
        assert_eq!(sniffed(b" \n\t\r\n"), Sniff::Nothing);
        assert_eq!(sniffed(b"bad\n[1]\n{}"), Sniff::Events);
        assert_eq!(sniffed(b"bad\n[1]\n{\"a\":"), Sniff::NotNdjson);
        assert_eq!(sniffed(&[vec![b'x'; SNIFF_BYTES], b"\n{}".to_vec()].concat()), Sniff::NotNdjson);
        assert_eq!(sniffed(&[b"bad\n".repeat(SNIFF_BYTES / 4 - 1), b"{}".to_vec()].concat()), Sniff::Events);
    }

    #[test]
    fn a_line_beyond_the_limit_keeps_its_place() {
        let data = [b"a\n".to_vec(), vec![b'x'; 3 << 20], b"\nb\nc".to_vec()].concat();
        let seen = lines(stream(Box::new(data.as_slice()), 1 << 20));
        let places: Vec<_> = seen.iter().map(|(line, offset, text)| (*line, *offset, text.len())).collect();
        assert_eq!(places, [(1, 0, 2), (2, 2, (1 << 20) + 5), (3, (3 << 20) + 3, 2), (4, (3 << 20) + 5, 1)]);
    }

    #[test]
    fn white_space_around_a_line_is_not_its_length() {
        const LIMIT: usize = 100;
        let blank = " ".repeat(600_000);
        let event = format!("{{\"a\":\"{}\"}}", "x".repeat(LIMIT - 8));
        let context = UploadContext { line_bytes: LIMIT, ..context_of_tests() };
        // An event (without a type) behind and before white space; two that are too long; a byte order mark too late.
        let lines = [
            format!("\u{feff}{blank}{event}"),
            format!("{blank}{event}"),
            format!("{event}{blank}"),
            format!(" {event}{blank}x"),
            format!("{blank}{event}x"),
            format!("{blank}\u{feff}{{}}"),
            blank.clone(),
            "{}".to_owned(),
        ];
        let data = Bytes::from(lines.join("\n"));
        let said = |mut chunks: Chunks<'_>| {
            let mut said = Vec::new();
            while let Some(chunk) = chunks.next_chunk().unwrap() {
                let batch = Batch::read(chunk, &context);
                for reject in batch.rejects() {
                    let raw = batch.rejected_bytes(reject).to_vec();
                    said.push((reject.line, reject.byte_offset, reject.reason.code(), raw));
                }
            }
            said
        };
        let in_stream = said(stream(Box::new(&data[..]), LIMIT));
        let reasons: Vec<_> = in_stream.iter().map(|(line, _, reason, _)| (*line, *reason)).collect();
        assert_eq!(
            reasons,
            [
                (1, "unknown_type"),
                (2, "unknown_type"),
                (3, "unknown_type"),
                (4, "line_too_long"),
                (5, "line_too_long"),
                (6, "invalid_json"),
                (8, "unknown_type"),
            ]
        );
        assert_eq!(in_stream, said(Chunks::of_bytes(data.clone(), LIMIT)));
    }

    #[test]
    fn positions_lead_back() {
        let data = Bytes::from("{\"some\":\"event\"}\n".repeat(100_000));
        let mut kept = Chunks::of_bytes(data.clone(), 1000);
        assert!(kept.read_ahead(8 << 20, || true).unwrap());
        kept.next_chunk().unwrap();
        let position = kept.position();
        kept.keep(true);
        let second = kept.next_chunk().unwrap().unwrap();
        while kept.next_chunk().unwrap().is_some() {}
        assert!(kept.rewind(position));
        kept.keep(false);
        assert_eq!(kept.next_chunk().unwrap().unwrap().offset, second.offset);
        let mut opened = stream(Box::new(&data[..]), 1000);
        assert!(!opened.read_ahead(1, || true).unwrap(), "it goes on");
        opened.keep(true);
        opened.next_chunk().unwrap();
        opened.next_chunk().unwrap();
        assert!(!opened.rewind(position), "what a stream handed out is gone");
        let mut opened = stream(Box::new(&data[..]), 1000);
        opened.skip_to(position).unwrap();
        let again = opened.next_chunk().unwrap().unwrap();
        assert_eq!((again.index, again.first_line, again.offset), (second.index, second.first_line, second.offset));
        assert_eq!(again.data[..20], second.data[..20]);
    }

    proptest! {
        #[test]
        fn memory_and_stream_agree(lengths in prop::collection::vec(0usize..200_000, 0..12), last in any::<bool>()) {
            let mut data: Vec<u8> = lengths.iter().flat_map(|&length| [vec![b'x'; length], b"\n".to_vec()].concat()).collect();
            if last { data.extend_from_slice(b"last"); }
            let from_memory = lines(Chunks::of_bytes(Bytes::from(data.clone()), 1 << 20));
            let from_stream = lines(stream(Box::new(data.as_slice()), 1 << 20));
            prop_assert_eq!(&from_memory, &from_stream);
            let joined: Vec<u8> = from_memory.iter().flat_map(|(.., text)| text.clone()).collect();
            prop_assert_eq!(joined, data);
            prop_assert!(from_memory.iter().enumerate().all(|(at, (line, ..))| *line == at as u64 + 1));
        }
    }
}
