//! An upload's bytes in chunks of whole lines.

use std::io::{self, Read};

use bytes::Bytes;

use crate::batch::{Chunk, is_space, trim};
use crate::json::{NodeKind, Tape};
use crate::limits::{REJECTED_LINE_BYTES, SNIFF_BYTES};

/// About how large a chunk is: small enough for the cache, large enough that taking it costs nothing.
const CHUNK_BYTES: usize = 256 << 10;

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

/// Looks for a JSON object among the lines that begin in the first MiB. `data` is the upload, or enough of it to hold
/// those lines.
pub fn sniff(data: &[u8], line_bytes: usize) -> Sniff {
    let mut tape = Tape::default();
    let mut seen = Sniff::Nothing;
    let mut start = if data.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    while start < data.len().min(SNIFF_BYTES) {
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
    seen
}

/// Cuts an upload into chunks of whole lines, from memory or from a stream.
pub struct Chunks<'a> {
    source: Source<'a>,
    line_bytes: usize,
    position: Position,
}

/// Where the next chunk starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    index: usize,
    line: u64,
    offset: u64,
}

enum Source<'a> {
    Memory(Bytes),
    Stream { reader: Box<dyn Read + Send + 'a>, carry: Vec<u8>, ended: bool },
}

impl std::fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").field("position", &self.position).finish_non_exhaustive()
    }
}

impl<'a> Chunks<'a> {
    const START: Position = Position { index: 0, line: 1, offset: 0 };

    /// Chunks of an upload that is in memory.
    pub fn of_bytes(data: Bytes, line_bytes: usize) -> Self {
        Self { source: Source::Memory(data), line_bytes, position: Self::START }
    }

    /// Chunks of a stream of decompressed bytes.
    pub fn of_stream(reader: Box<dyn Read + Send + 'a>, line_bytes: usize) -> Self {
        Self { source: Source::Stream { reader, carry: Vec::new(), ended: false }, line_bytes, position: Self::START }
    }

    /// Where the next chunk starts.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The place of the next chunk among the upload's chunks.
    pub fn index(&self) -> usize {
        self.position.index
    }

    /// Goes back to a position in memory; a stream cannot: it is opened anew and skipped to the position.
    pub fn rewind(&mut self, to: Position) -> bool {
        let is_memory = matches!(self.source, Source::Memory(_));
        if is_memory {
            self.position = to;
        }
        is_memory
    }

    /// Reads on in a stream opened anew, up to a position.
    ///
    /// # Errors
    /// What the stream says; also when it ends before the position.
    pub fn skip_to(&mut self, to: Position) -> io::Result<()> {
        if let Source::Stream { reader, carry, .. } = &mut self.source {
            carry.clear();
            let skipped = io::copy(&mut reader.take(to.offset), &mut io::sink())?;
            if skipped != to.offset {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.position = to;
        Ok(())
    }

    /// The next chunk of whole lines; nothing at the end. Of a line beyond the limit in a stream only the beginning is
    /// kept, without the white space before it.
    ///
    /// # Errors
    /// What the stream says: the upload is unreadable, or its source is.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        let (data, length) = match &mut self.source {
            Source::Memory(data) => {
                let start = usize::try_from(self.position.offset).unwrap_or(usize::MAX).min(data.len());
                let rest = &data[start..];
                let length = match rest.get(..CHUNK_BYTES).and_then(|head| memchr::memrchr(b'\n', head)) {
                    Some(at) => at + 1,
                    None => {
                        let head = rest.len().min(CHUNK_BYTES);
                        memchr::memchr(b'\n', &rest[head..]).map_or(rest.len(), |at| head + at + 1)
                    }
                };
                (data.slice(start..start + length), length as u64)
            }
            Source::Stream { reader, carry, ended } => {
                read_chunk(reader, carry, ended, self.line_bytes, self.position.offset == 0)?
            }
        };
        if length == 0 {
            return Ok(None);
        }
        let Position { index, line, offset } = self.position;
        let lines = memchr::memchr_iter(b'\n', &data).count() as u64;
        // A cut line counts by the line feed that was skipped.
        let cut = u64::from(data.len() as u64 != length && data.last() != Some(&b'\n'));
        self.position = Position { index: index + 1, line: line + lines + cut, offset: offset + length };
        Ok(Some(Chunk { index, first_line: line, offset, data }))
    }
}

/// Fills a chunk from a stream: its bytes, and how many of the stream's bytes it stands for. A line is judged without
/// the white space around it, so that is what may go unread, and the text beyond the limit.
fn read_chunk(
    reader: &mut (dyn Read + Send),
    carry: &mut Vec<u8>,
    ended: &mut bool,
    line_bytes: usize,
    is_first: bool,
) -> io::Result<(Bytes, u64)> {
    let mut data = std::mem::take(carry);
    // What is judged or kept of a line, a byte order mark and one white space before it, and one byte beyond.
    let kept = line_bytes.max(REJECTED_LINE_BYTES) + 5;
    let mut dropped = 0;
    let mut searched = 0;
    loop {
        let target = data.len().max(CHUNK_BYTES / 2) + CHUNK_BYTES / 2;
        if !*ended {
            let wanted = (target - data.len()) as u64;
            *ended = (&mut *reader).take(wanted).read_to_end(&mut data)? < wanted as usize;
        }
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
                let length = dropped + skip_line(reader, &mut data, kept, carry, ended)?;
                return Ok((data.into(), length as u64));
            }
        }
        searched = data.len();
    }
    let length = (dropped + data.len()) as u64;
    Ok((data.into(), length))
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
    let mut buffer = vec![0; CHUNK_BYTES];
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
    use crate::batch::{Batch, UploadContext};

    type Seen = Vec<(u64, u64, Vec<u8>)>;

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
    fn sniffing() {
        assert_eq!(sniff(b"", 100), Sniff::Nothing);
        assert_eq!(sniff(b" \n\t\r\n", 100), Sniff::Nothing);
        assert_eq!(sniff(b"bad\n[1]\n{}", 100), Sniff::Events);
        assert_eq!(sniff(b"bad\n[1]\n{\"a\":", 100), Sniff::NotNdjson);
        let late = [vec![b'x'; SNIFF_BYTES], b"\n{}".to_vec()].concat();
        assert_eq!(sniff(&late, 100), Sniff::NotNdjson);
    }

    #[test]
    fn a_line_beyond_the_limit_keeps_its_place() {
        let data = [b"a\n".to_vec(), vec![b'x'; 3 << 20], b"\nb\nc".to_vec()].concat();
        let seen = lines(Chunks::of_stream(Box::new(data.as_slice()), 1 << 20));
        let places: Vec<_> = seen.iter().map(|(line, offset, text)| (*line, *offset, text.len())).collect();
        assert_eq!(places, [(1, 0, 2), (2, 2, (1 << 20) + 5), (3, (3 << 20) + 3, 2), (4, (3 << 20) + 5, 1)]);
    }

    #[test]
    fn white_space_around_a_line_is_not_its_length() {
        const LIMIT: usize = 100;
        let blank = " ".repeat(600_000);
        let event = format!("{{\"a\":\"{}\"}}", "x".repeat(LIMIT - 8));
        let context = UploadContext {
            name: "upload".into(),
            upload_id: "id".into(),
            key: "key".into(),
            arrived: 0,
            processed: 0,
            warehouse_id: None,
            line_bytes: LIMIT,
        };
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
        let in_stream = said(Chunks::of_stream(Box::new(&data[..]), LIMIT));
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
        let mut memory = Chunks::of_bytes(data.clone(), 1000);
        memory.next_chunk().unwrap();
        let position = memory.position();
        let second = memory.next_chunk().unwrap().unwrap();
        assert!(memory.rewind(position));
        assert_eq!(memory.next_chunk().unwrap().unwrap().offset, second.offset);
        let mut stream = Chunks::of_stream(Box::new(&data[..]), 1000);
        assert!(!stream.rewind(position));
        stream.skip_to(position).unwrap();
        let again = stream.next_chunk().unwrap().unwrap();
        assert_eq!((again.index, again.first_line, again.offset), (second.index, second.first_line, second.offset));
        assert_eq!(again.data[..20], second.data[..20]);
    }

    proptest! {
        #[test]
        fn memory_and_stream_agree(lengths in prop::collection::vec(0usize..200_000, 0..12), last in any::<bool>()) {
            let mut data: Vec<u8> = lengths.iter().flat_map(|&length| [vec![b'x'; length], b"\n".to_vec()].concat()).collect();
            if last { data.extend_from_slice(b"last"); }
            let from_memory = lines(Chunks::of_bytes(Bytes::from(data.clone()), 1 << 20));
            let from_stream = lines(Chunks::of_stream(Box::new(data.as_slice()), 1 << 20));
            prop_assert_eq!(&from_memory, &from_stream);
            let joined: Vec<u8> = from_memory.iter().flat_map(|(.., text)| text.clone()).collect();
            prop_assert_eq!(joined, data);
            prop_assert!(from_memory.iter().enumerate().all(|(at, (line, ..))| *line == at as u64 + 1));
        }
    }
}
