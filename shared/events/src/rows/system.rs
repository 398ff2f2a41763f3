//! The system part of a row: ids, times, names, and where it came from.

use super::{DENIED, HASHED, RESERVED, TableRows, is_hashed};
use crate::batch::{Batch, Event, UploadContext};
use crate::column::Fit;
use crate::common::Common;
use crate::event::{Call, Field, is_absent};
use crate::flatten::LeafName;
use crate::json::{Node, NodeKind};
use crate::naming::table_name;
use crate::rescue::hash_of;
use crate::selection::Treatment;
use crate::table::{RESCUED_DATA, TableKind, TablePlan, UPLOAD_ID, UUID_TS};
use crate::{text, timestamp};

/// The slots of the system columns of one table.
#[derive(Debug)]
pub(super) struct SystemSlots {
    id: u32,
    received_at: u32,
    timestamp: u32,
    user_id: u32,
    anonymous_id: u32,
    original_timestamp: u32,
    sent_at: u32,
    uuid_ts: u32,
    pub(super) rescued_data: u32,
    upload_id: u32,
    /// `event` and `event_text`, `name` and `category`, `group_id`, `previous_id`.
    first: u32,
    second: u32,
}

impl SystemSlots {
    pub(super) fn of(plan: &TablePlan) -> Self {
        let slot = |name: &str| match (plan.treatment_of_system(name), plan.slot(name)) {
            (Treatment::Deny, _) => DENIED,
            (Treatment::Hash, Some(slot)) => slot | HASHED,
            (_, slot) => slot.unwrap_or(RESERVED),
        };
        let (first, second) = match plan.kind {
            TableKind::Event | TableKind::Call(Call::Track) => ("event", "event_text"),
            TableKind::Call(Call::Page | Call::Screen) => ("name", "category"),
            TableKind::Call(Call::Group) => ("group_id", ""),
            TableKind::Call(Call::Alias) => ("previous_id", ""),
            TableKind::Call(Call::Identify) => ("", ""),
        };
        Self {
            id: slot("id"),
            received_at: slot("received_at"),
            timestamp: slot("timestamp"),
            user_id: slot("user_id"),
            anonymous_id: slot("anonymous_id"),
            original_timestamp: slot("original_timestamp"),
            sent_at: slot("sent_at"),
            uuid_ts: slot(UUID_TS),
            rescued_data: slot(RESCUED_DATA),
            upload_id: slot(UPLOAD_ID),
            first: slot(first),
            second: slot(second),
        }
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        [
            self.id,
            self.received_at,
            self.timestamp,
            self.user_id,
            self.anonymous_id,
            self.original_timestamp,
            self.sent_at,
            self.uuid_ts,
            self.rescued_data,
            self.upload_id,
            self.first,
            self.second,
        ]
        .iter()
        .any(|own| own & !HASHED == slot)
    }
}

impl TableRows {
    pub(super) fn append_system(
        &mut self,
        plan: &TablePlan,
        batch: &Batch,
        event: &Event,
        common: &Common,
        context: &UploadContext,
    ) {
        let system = &self.system;
        let row = self.rows;
        let moments = [
            (system.received_at, "receivedAt", Some(common.received_at)),
            (system.timestamp, "timestamp", Some(common.timestamp)),
            (system.original_timestamp, "originalTimestamp", common.original_timestamp),
            (system.sent_at, "sentAt", common.sent_at),
            (system.uuid_ts, UUID_TS, Some(context.processed)),
        ];
        for (slot, key, micros) in moments {
            let Some(micros) = micros else { continue };
            let column = self.columns.get_mut(slot as usize).and_then(Option::as_mut);
            if column.is_none_or(|column| column.push_micros(row, micros) == Fit::Rescue) && slot != DENIED {
                // Somebody else's table has another type there.
                self.rescue.add(key, format!("\"{}\"", timestamp::format(micros)).as_bytes());
            }
        }
        let (upload_id, id, first, second) = (system.upload_id, system.id, system.first, system.second);
        let (user_id, anonymous_id) = (system.user_id, system.anonymous_id);
        self.put_text(upload_id, UPLOAD_ID, context.upload_id.as_bytes());
        match event.own_id {
            Some(own) => self.put_text(id, "messageId", batch.ids[own as usize].as_bytes()),
            None => self.put_field(id, plan, batch, event, Field::MessageId),
        }
        self.put_field(user_id, plan, batch, event, Field::UserId);
        self.put_field(anonymous_id, plan, batch, event, Field::AnonymousId);
        match event.call {
            Call::Track => {
                self.put_field(second, plan, batch, event, Field::Event);
                match plan.kind {
                    TableKind::Event => self.put_text(first, "event", plan.name.as_bytes()),
                    TableKind::Call(_) => {
                        let name = event.fields.get(&batch.tape, Field::Event);
                        let name = name.map(|node| text::to_string(&batch.chunk.data, node)).unwrap_or_default();
                        self.put_text(first, "event", table_name(&name).as_bytes());
                    }
                }
            }
            Call::Page | Call::Screen => {
                self.put_named(first, plan, batch, event, Field::Name);
                self.put_named(second, plan, batch, event, Field::Category);
            }
            Call::Group => self.put_field(first, plan, batch, event, Field::GroupId),
            Call::Alias => self.put_field(first, plan, batch, event, Field::PreviousId),
            Call::Identify => {}
        }
    }

    /// Writes text of ours; into a column that somebody else gave another type it may not fit.
    fn put_text(&mut self, slot: u32, key: &str, value: &[u8]) {
        let column = self.columns.get_mut(slot as usize).and_then(Option::as_mut);
        if column.is_none_or(|column| column.push_text(self.rows, value) == Fit::Rescue) {
            let mut json = Vec::new();
            text::write_json_string(value, &mut json);
            self.rescue.add(key, &json);
        }
    }

    fn put_field(&mut self, slot: u32, plan: &TablePlan, batch: &Batch, event: &Event, field: Field) {
        if let Some(node) = event.fields.get(&batch.tape, field) {
            self.put_node(slot, plan, batch, node, field);
        }
    }

    fn put_node(&mut self, slot: u32, plan: &TablePlan, batch: &Batch, node: Node, field: Field) {
        let row = self.rows;
        let data = &batch.chunk.data;
        let rules = plan.selection.as_deref();
        let fits = match (self.columns.get_mut(slot as usize), rules) {
            (Some(column), _) => column.as_mut().is_some_and(|column| column.push(row, data, node) == Fit::Exact),
            (None, Some(rules)) if is_hashed(slot) => self.push_hash(slot & !HASHED, &hash_of(rules, data, node)),
            (None, _) => return,
        };
        if !fits {
            self.rescue.keep_field(rules, field, data, node);
        }
    }

    /// `name` and `category` come from the call, else from the property of just that key when that is no object.
    fn put_named(&mut self, slot: u32, plan: &TablePlan, batch: &Batch, event: &Event, field: Field) {
        let node = event.fields.get(&batch.tape, field).or_else(|| property(batch, event, field.key()));
        if let Some(node) = node {
            self.put_node(slot, plan, batch, node, field);
        }
    }
}

/// The value of a bag's own key (not a path), when it is no object and not absent.
fn property(batch: &Batch, event: &Event, key: &str) -> Option<Node> {
    let bag = event.fields.raw(event.call.bag())?;
    let data = &batch.chunk.data;
    let found = batch.tape.members(bag).filter(|(name, _)| match name.kind {
        NodeKind::EscapedString => text::to_string(data, *name) == key,
        _ => name.text(data) == key.as_bytes(),
    });
    let node = batch.tape.node(found.last()?.1);
    (node.kind != NodeKind::Object && !is_absent(node)).then_some(node)
}

/// Whether a page's property that meets `name` or `category` needs no rescue: it gave the column its value, it says
/// the same as the call, or it is `""`, which counts as absent.
pub(super) fn is_named_by(batch: &Batch, event: &Event, name: &LeafName, node: Node) -> bool {
    let field = match name.column.as_str() {
        "name" => Field::Name,
        "category" => Field::Category,
        _ => return false,
    };
    let data = &batch.chunk.data;
    match event.fields.get(&batch.tape, field) {
        None => name.exact && property(batch, event, field.key()).is_none_or(|used| used.start == node.start),
        Some(named) => text::to_string(data, named) == text::to_string(data, node),
    }
}
