//! What both rows of a track share: its times, and the system values that are not what they should be.

use crate::batch::{Batch, Event, UploadContext};
use crate::event::{Call, Field, is_absent, repeated_fields};
use crate::json::NodeKind;
use crate::{text, timestamp};

/// What is written of one event: times and ids that both of a track's rows share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) received_at: i64,
    pub(crate) timestamp: i64,
    pub(crate) original_timestamp: Option<i64>,
    pub(crate) sent_at: Option<i64>,
    /// System values that are not what they should be, and repeated system fields: key and node.
    pub(crate) rescued: Vec<(Field, u32)>,
}

impl Common {
    pub(crate) fn of(batch: &Batch, event: &Event, context: &UploadContext) -> Self {
        let (tape, data) = (&batch.tape, &batch.chunk.data);
        let mut rescued = Vec::new();
        let mut moment = |field: Field| {
            let node = event.fields.get(tape, field)?;
            let parsed = match node.kind {
                NodeKind::String => timestamp::parse(node.text(data)),
                NodeKind::EscapedString => timestamp::parse(text::to_string(data, node).as_bytes()),
                _ => None,
            };
            if let (None, Some(index)) = (parsed, event.fields.raw(field)) {
                rescued.push((field, index));
            }
            parsed
        };
        let received_at = moment(Field::ReceivedAt).unwrap_or(context.arrived);
        let sent_at = moment(Field::SentAt);
        let mut original_timestamp = moment(Field::OriginalTimestamp);
        let mut timestamp = moment(Field::Timestamp);
        if event.envelope.is_some() {
            // An envelope is what a client sent: without an `originalTimestamp`, `timestamp` is the client's clock.
            if event.fields.get(tape, Field::OriginalTimestamp).is_none() {
                original_timestamp = timestamp.take();
            }
        }
        let computed = || match (sent_at, original_timestamp) {
            (Some(sent), Some(original)) => timestamp::corrected(received_at, sent, original).unwrap_or(original),
            _ => original_timestamp.unwrap_or(received_at),
        };
        let timestamp = timestamp.unwrap_or_else(computed);
        if event.fields.repeated {
            let is_lost = |&(field, index): &(Field, u32)| {
                let node = tape.node(index);
                let is_kept = field != Field::Context || node.kind == NodeKind::Object;
                is_stored(event.call, field) && is_kept && !is_absent(node) && has_value(batch, index)
            };
            let losers = repeated_fields(tape, data, event.object, &event.fields);
            rescued.extend(losers.into_iter().filter(is_lost));
        }
        Self { received_at, timestamp, original_timestamp, sent_at, rescued }
    }
}

/// Whether a top-level field of this call ends up in its row.
fn is_stored(call: Call, field: Field) -> bool {
    match field {
        Field::MessageId
        | Field::AnonymousId
        | Field::UserId
        | Field::Context
        | Field::Timestamp
        | Field::SentAt
        | Field::OriginalTimestamp
        | Field::ReceivedAt => true,
        Field::Event => call == Call::Track,
        Field::Name | Field::Category => matches!(call, Call::Page | Call::Screen),
        Field::GroupId => call == Call::Group,
        Field::PreviousId => call == Call::Alias,
        Field::Properties | Field::Traits => field == call.bag(),
        Field::Type | Field::Integrations | Field::Batch => false,
    }
}

fn has_value(batch: &Batch, index: u32) -> bool {
    let node = batch.tape.node(index);
    node.kind != NodeKind::Null && !(node.kind == NodeKind::Object && node.next == index + 1)
}
