//! One chunk of an upload, read: its events with their judgement, and what was rejected.
//!
//! A chunk holds whole lines. A line is an event, or a `/v1/batch` envelope whose items are events; a line of white
//! space only is nothing.

use bytes::Bytes;

use crate::contract::Contracts;
use crate::event::{Call, Field, Fields, Judgement, Reason, is_absent, judge};
use crate::flatten::{Careful, Leaf};
use crate::hide;
use crate::json::{self, NodeKind, Tape};
use crate::limits::{ENVELOPE_BYTES, REJECTED_LINE_BYTES};
use crate::mask::mask;
use crate::selection::Selection;

/// Whole lines of one upload, decompressed.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Its place among the upload's chunks, from 0.
    pub index: usize,
    /// The number of its first line, from 1.
    pub first_line: u64,
    /// Where it starts in the decompressed upload.
    pub offset: u64,
    /// The lines, each with its line feed (the last may lack one).
    pub data: Bytes,
}

/// A line or an item that can never become rows.
#[derive(Clone, Copy, Debug)]
pub struct Reject {
    /// Its line, from 1.
    pub line: u64,
    /// Its place in a batch envelope, from 0.
    pub item: Option<u32>,
    /// Why.
    pub reason: Reason,
    /// Where its line starts in the decompressed upload.
    pub byte_offset: u64,
    /// Where its text is in the chunk.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What an upload's events have in common.
#[derive(Clone, Debug)]
pub struct UploadContext {
    /// The name that reports show.
    pub name: String,
    /// The id as it stands in `_upload_id`.
    pub upload_id: String,
    /// The key that generated message ids hang on; empty for standard input.
    pub key: String,
    /// The arrival time of events without `receivedAt`, in microseconds.
    pub arrived: i64,
    /// `uuid_ts` of its rows, in microseconds.
    pub processed: i64,
    /// The id by which `integrations.Warehouses.warehouseIds` names us.
    pub warehouse_id: Option<String>,
    /// The longest line that is read.
    pub line_bytes: usize,
    /// Which tables and columns land, and which columns are hashed.
    pub selection: Selection,
    /// What may change the tables.
    pub contracts: Contracts,
}

/// Fields that an envelope gives to its items.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Envelope {
    pub(crate) context: Option<u32>,
    integrations: Option<u32>,
}

/// One event that may land, or that was opted out.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) call: Call,
    pub(crate) line: u64,
    pub(crate) item: Option<u32>,
    pub(crate) object: u32,
    pub(crate) fields: Fields,
    /// The envelope's context and integrations; `None` for an event on a line of its own.
    pub(crate) envelope: Option<Envelope>,
    /// The bytes that say which event it is when it has no id: its line, or its item.
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) filtered: bool,
    /// Its id when `messageId` is no plain string: an index into [`Batch::ids`].
    pub(crate) own_id: Option<u32>,
    /// What was decided about it in the upload's order.
    pub(crate) decision: Decision,
    /// Its leaves in [`Batch::leaves`], once flattened.
    pub(crate) context_leaves: std::ops::Range<usize>,
    pub(crate) bag_leaves: std::ops::Range<usize>,
}

/// What becomes of an event's rows; decided in the order of the upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The table of its row for the call, unless the row is a duplicate.
    pub(crate) call_table: Option<u32>,
    /// The table of its row for the track event, unless the row is a duplicate or the table is over the limit.
    pub(crate) event_table: Option<u32>,
    /// A track whose event table is over the limit: its properties are rescued in `tracks`.
    pub(crate) no_event_table: bool,
    /// The n-th occurrence of its bytes in the upload, for an event without a messageId.
    pub(crate) occurrence: u32,
}

/// A chunk and all that is known about it so far.
#[derive(Debug)]
pub struct Batch {
    pub(crate) chunk: Chunk,
    pub(crate) tape: Tape,
    pub(crate) events: Vec<Event>,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) ids: Vec<String>,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) careful: Careful,
    /// Losers of repeated keys: event, whether from its context, path, node.
    pub(crate) losers: Vec<(usize, bool, String, u32)>,
}

impl Batch {
    /// Reads and judges every line of a chunk.
    pub fn read(chunk: Chunk, context: &UploadContext) -> Self {
        let mut batch = Self {
            chunk,
            tape: Tape::default(),
            events: Vec::new(),
            rejects: Vec::new(),
            ids: Vec::new(),
            leaves: Vec::new(),
            careful: Careful::default(),
            losers: Vec::new(),
        };
        let data = batch.chunk.data.clone();
        // Checked once for the whole chunk; only a chunk with a bad byte is checked line by line.
        let all_utf8 = std::str::from_utf8(&data).is_ok();
        let mut line = batch.chunk.first_line;
        let mut start = 0;
        while start < data.len() {
            let end = memchr::memchr(b'\n', &data[start..]).map_or(data.len(), |at| start + at);
            batch.read_line(&data, line, start, end, all_utf8, context);
            line += 1;
            start = end + 1;
        }
        batch
    }

    /// How many events the chunk holds, rejected ones included.
    pub fn event_count(&self) -> usize {
        self.events.len() + self.rejects.len()
    }

    /// What was rejected.
    pub fn rejects(&self) -> &[Reject] {
        &self.rejects
    }

    /// The raw bytes of a rejection, cut to what `_rejects` keeps of a line that is too long.
    pub fn rejected_bytes(&self, reject: &Reject) -> &[u8] {
        let end = match reject.reason {
            Reason::LineTooLong => reject.end.min(reject.start + REJECTED_LINE_BYTES),
            _ => reject.end,
        };
        &self.chunk.data[reject.start..end]
    }

    /// The text of a rejection as `_rejects` keeps it: without secrets, and without what the selection hides.
    pub fn rejected_text(&self, reject: &Reject, selection: &Selection) -> String {
        let raw = self.rejected_bytes(reject);
        if selection.is_empty() { mask(raw) } else { hide::rejected(raw, reject, selection) }
    }

    /// Rejects the events at these places (line, item) for a reason that hung on the tables, as an earlier reading did.
    pub fn reject_again(&mut self, reason: Reason, is_rejected: impl Fn(u64, Option<u32>) -> bool) {
        let is_rejected: Vec<bool> = self.events.iter().map(|event| is_rejected(event.line, event.item)).collect();
        self.reject_events(&is_rejected, reason);
    }

    /// Takes events back that were read; they are rejections now, in the order of their lines.
    pub(crate) fn reject_events(&mut self, is_rejected: &[bool], reason: Reason) {
        if !is_rejected.contains(&true) {
            return;
        }
        let data = &self.chunk.data;
        for (event, _) in self.events.iter().zip(is_rejected).filter(|(_, is_rejected)| **is_rejected) {
            let line_start = memchr::memrchr(b'\n', &data[..event.start]).map_or(0, |at| at + 1);
            let byte_offset = self.chunk.offset + line_start as u64;
            let Event { line, item, start, end, .. } = *event;
            self.rejects.push(Reject { line, item, reason, byte_offset, start, end });
        }
        let mut is_rejected = is_rejected.iter();
        self.events.retain(|_| is_rejected.next() != Some(&true));
        self.rejects.sort_by_key(|reject| (reject.line, reject.item));
    }

    fn read_line(&mut self, data: &[u8], line: u64, start: usize, end: usize, all_utf8: bool, context: &UploadContext) {
        let line_start = start;
        let mut start = start;
        if self.chunk.offset == 0 && start == 0 && data.starts_with(b"\xEF\xBB\xBF") {
            start = 3;
        }
        let (start, end) = trim(data, start, end);
        if start == end {
            return;
        }
        let place = Place { line, item: None, line_start, start, end };
        if end - start > context.line_bytes {
            return self.reject(place, Reason::LineTooLong);
        }
        if !all_utf8 && std::str::from_utf8(&data[start..end]).is_err() {
            return self.reject(place, Reason::InvalidUtf8);
        }
        let Ok(root) = self.tape.read(data, start, end) else {
            return self.reject(place, Reason::InvalidJson);
        };
        if self.tape.node(root).kind != NodeKind::Object {
            return self.reject(place, Reason::NotAnObject);
        }
        let fields = Fields::of(&self.tape, data, root);
        let batch = fields.raw(Field::Batch).map(|index| self.tape.node(index));
        match batch.filter(|node| matches!(node.kind, NodeKind::Array | NodeKind::LooseArray)) {
            None => self.push_event(data, place, root, fields, None, context),
            Some(items) => {
                let items = json::elements(data, items);
                if items.is_empty() {
                    return self.reject(place, Reason::EmptyBatch);
                }
                let copied = fields.raw(Field::Context).map_or(0, |index| self.tape.node(index).source(data).len());
                if copied.saturating_mul(items.len()) > ENVELOPE_BYTES {
                    return self.reject(place, Reason::LineTooLong);
                }
                for (number, (start, end)) in items.into_iter().enumerate() {
                    let (start, end) = trim(data, start, end);
                    let place = Place { item: Some(number as u32), start, end, ..place };
                    self.read_item(data, place, &fields, context);
                }
            }
        }
    }

    /// Reads one item of an envelope: it has what the envelope says, unless it says otherwise itself.
    fn read_item(&mut self, data: &[u8], place: Place, outer: &Fields, context: &UploadContext) {
        let Ok(object) = self.tape.read(data, place.start, place.end) else {
            return self.reject(place, Reason::InvalidJson);
        };
        if self.tape.node(object).kind != NodeKind::Object {
            return self.reject(place, Reason::NotAnObject);
        }
        let mut fields = Fields::of(&self.tape, data, object);
        for field in [Field::SentAt, Field::ReceivedAt] {
            let own = fields.raw(field).map(|index| self.tape.node(index));
            if let Some(value) = outer.raw(field)
                && own.is_none_or(is_absent)
            {
                fields.set(field, value);
            }
        }
        let object_of = |field| outer.raw(field).filter(|&index| self.tape.node(index).kind == NodeKind::Object);
        let envelope = Envelope { context: object_of(Field::Context), integrations: object_of(Field::Integrations) };
        self.push_event(data, place, object, fields, Some(envelope), context);
    }

    fn push_event(
        &mut self,
        data: &[u8],
        place: Place,
        object: u32,
        fields: Fields,
        envelope: Option<Envelope>,
        context: &UploadContext,
    ) {
        let outer = envelope.and_then(|envelope| envelope.integrations);
        let judgement = judge(&self.tape, data, &fields, outer, context.warehouse_id.as_deref());
        let (call, filtered) = match judgement {
            Judgement::Reject(reason) => return self.reject(place, reason),
            Judgement::Land(call) => (call, false),
            Judgement::Filter(call) => (call, true),
        };
        self.events.push(Event {
            call,
            line: place.line,
            item: place.item,
            object,
            fields,
            envelope,
            start: place.start,
            end: place.end,
            filtered,
            own_id: None,
            decision: Decision::default(),
            context_leaves: 0..0,
            bag_leaves: 0..0,
        });
    }

    fn reject(&mut self, place: Place, reason: Reason) {
        let byte_offset = self.chunk.offset + place.line_start as u64;
        let Place { line, item, start, end, .. } = place;
        self.rejects.push(Reject { line, item, reason, byte_offset, start, end });
    }
}

/// Where an event's text is.
#[derive(Clone, Copy)]
struct Place {
    line: u64,
    item: Option<u32>,
    line_start: usize,
    start: usize,
    end: usize,
}

/// JSON's own white space, within a line.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

pub(crate) fn trim(data: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && is_space(data[start]) {
        start += 1;
    }
    while end > start && is_space(data[end - 1]) {
        end -= 1;
    }
    (start, end)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn context_of_tests() -> UploadContext {
        UploadContext {
            name: "upload".into(),
            upload_id: "id".into(),
            key: "key".into(),
            arrived: 0,
            processed: 0,
            warehouse_id: None,
            line_bytes: 100,
            selection: Selection::default(),
            contracts: Contracts::default(),
        }
    }

    fn read(data: &'static [u8]) -> Batch {
        Batch::read(Chunk { index: 0, first_line: 1, offset: 0, data: Bytes::from_static(data) }, &context_of_tests())
    }

    #[test]
    fn lines_items_and_what_is_rejected() {
        let batch = read(
            b"\xEF\xBB\xBF{\"type\":\"page\",\"userId\":1}\r\n\n  \t\n[1]\n{\"batch\":[]}\n\
            {\"batch\":[ {\"type\":\"page\",\"userId\":\"x\"} , 5,{}],\"sentAt\":\"s\"}\n\xFF\n{\"a\":\n{\"type\":\"alias\",\"userId\":\"z\"}",
        );
        let events: Vec<_> = batch.events.iter().map(|event| (event.line, event.item, event.call)).collect();
        assert_eq!(events, [(1, None, Call::Page), (6, Some(0), Call::Page), (9, None, Call::Alias)]);
        let rejects: Vec<_> =
            batch.rejects.iter().map(|reject| (reject.line, reject.item, reject.reason.code())).collect();
        assert_eq!(
            rejects,
            [
                (4, None, "not_an_object"),
                (5, None, "empty_batch"),
                (6, Some(1), "not_an_object"),
                (6, Some(2), "unknown_type"),
                (7, None, "invalid_utf8"),
                (8, None, "invalid_json")
            ]
        );
        assert_eq!(
            batch.events[1].fields.get(&batch.tape, Field::SentAt).map(|node| node.text(&batch.chunk.data)),
            Some(&b"s"[..])
        );
        assert_eq!(batch.rejects[0].byte_offset, 36);
        assert_eq!(batch.event_count(), 9);
    }

    #[test]
    fn an_envelope_that_would_open_too_large_is_rejected() {
        let context = "c".repeat(1 << 20);
        let items = vec![r#"{"type":"page","userId":"u"}"#; 65].join(",");
        let line = format!("{{\"context\":{{\"a\":\"{context}\"}},\"batch\":[{items}]}}");
        let limits = UploadContext { line_bytes: 16 << 20, ..context_of_tests() };
        let batch = Batch::read(Chunk { index: 0, first_line: 1, offset: 0, data: line.into() }, &limits);
        assert_eq!((batch.events.len(), batch.rejects[0].reason), (0, Reason::LineTooLong));
    }

    #[test]
    fn a_line_over_the_limit_is_not_read() {
        let line: &'static [u8] = vec![b'x'; 200].leak();
        let batch = read(line);
        assert_eq!(batch.rejects[0].reason, Reason::LineTooLong);
    }
}
