//! One worker's rows of one table: leaves find their columns, collisions are settled, values are written.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Field as ArrowField, Schema};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

use crate::batch::{Batch, Event, UploadContext};
use crate::column::{ColumnBuilder, Fit, arrow_type, type_of};
use crate::event::{Call, Field, is_absent, repeated_fields};
use crate::flatten::{KeyTrie, Leaf, LeafName};
use crate::json::{Node, NodeKind};
use crate::kind::{ColumnType, KnownType};
use crate::rescue::Rescue;
use crate::table::{RESCUED_DATA, TableKind, TablePlan, UPLOAD_ID, UUID_TS};
use crate::{text, timestamp};

/// A leaf's column is not looked up yet.
const UNRESOLVED: u32 = u32::MAX;
/// The column belongs to the system part of the row: user data never lands there.
const RESERVED: u32 = u32::MAX - 1;
/// The table lacks the column: its type is being observed, or the limits forbid it. The bits below number such columns,
/// so that two leaves that meet in one are noticed.
const UNKNOWN: u32 = 1 << 30;
/// An unknown column that is not numbered: its name was met in the careful walk.
const UNKNOWN_UNNUMBERED: u32 = UNKNOWN | (UNKNOWN - 1);

fn is_unknown(slot: u32) -> bool {
    slot & UNKNOWN != 0 && slot < RESERVED
}

/// A column that a table lacks.
#[derive(Clone, Debug)]
pub struct ObservedColumn {
    /// Its name.
    pub name: String,
    /// The least type that holds all values observed.
    pub column_type: ColumnType,
    /// Where it was first seen: line, item, place in the row.
    pub first: (u64, u32, u32),
}

/// Columns that a table lacks, as one worker observed them.
#[derive(Debug, Default)]
pub struct Observed {
    columns: Vec<ObservedColumn>,
    places: HashMap<String, usize>,
    /// Whether there were more names than may be added: then only the first names count, and a second look at just
    /// those gives their types.
    pub overflow: bool,
}

impl Observed {
    /// The columns in the order in which this worker met them.
    pub fn columns(&self) -> &[ObservedColumn] {
        &self.columns
    }

    fn see(
        &mut self,
        name: &str,
        column_type: ColumnType,
        at: (u64, u32, u32),
        room: usize,
        only: Option<&HashSet<String>>,
    ) {
        if only.is_some_and(|only| !only.contains(name)) {
            return;
        }
        match self.places.get(name) {
            Some(&place) => {
                let column = &mut self.columns[place];
                column.column_type = column.column_type.join(column_type);
            }
            None if self.columns.len() < room => {
                self.places.insert(name.to_owned(), self.columns.len());
                self.columns.push(ObservedColumn { name: name.to_owned(), column_type, first: at });
            }
            None => self.overflow = true,
        }
    }
}

/// What is written of one event: times and ids that both of a track's rows share.
#[derive(Debug)]
pub(crate) struct Common {
    received_at: i64,
    timestamp: i64,
    original_timestamp: Option<i64>,
    sent_at: Option<i64>,
    /// System values that are not what they should be, and repeated system fields: key and node.
    rescued: Vec<(Field, u32)>,
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

/// A leaf on its way into a row.
#[derive(Clone, Copy)]
struct Cell {
    slot: u32,
    leaf: Leaf,
    from_context: bool,
    lost: bool,
}

/// The slots of the system columns of one table.
#[derive(Debug)]
struct SystemSlots {
    id: u32,
    received_at: u32,
    timestamp: u32,
    user_id: u32,
    anonymous_id: u32,
    original_timestamp: u32,
    sent_at: u32,
    uuid_ts: u32,
    rescued_data: u32,
    upload_id: u32,
    /// `event` and `event_text`, `name` and `category`, `group_id`, `previous_id`.
    first: u32,
    second: u32,
}

impl SystemSlots {
    fn of(plan: &TablePlan) -> Self {
        let slot = |name: &str| plan.slot(name).unwrap_or(RESERVED);
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

    fn contains(&self, slot: u32) -> bool {
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
        .contains(&slot)
    }
}

/// One worker's rows of one table since the last batch was handed out.
#[derive(Debug)]
pub(crate) struct TableRows {
    system: SystemSlots,
    /// One per column of the plan; none for columns of a foreign type.
    builders: Vec<Option<ColumnBuilder>>,
    pub(crate) bag: KeyTrie,
    context_slots: Vec<u32>,
    bag_slots: Vec<u32>,
    /// The row that last filled a slot, to notice two leaves that meet in one column.
    filled: Vec<u64>,
    /// Columns that the table lacks, numbered, and the row that last filled each.
    unknown: HashMap<String, u32>,
    unknown_filled: Vec<u64>,
    row_stamp: u64,
    cells: Vec<Cell>,
    rescue: Rescue,
    pub(crate) rows: usize,
    pub(crate) observed: Observed,
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}->{}", self.leaf.name, self.slot)
    }
}

impl TableRows {
    pub(crate) fn new(plan: &TablePlan) -> Self {
        let mut rows = Self {
            system: SystemSlots::of(plan),
            builders: Vec::new(),
            bag: KeyTrie::new(""),
            context_slots: Vec::new(),
            bag_slots: Vec::new(),
            filled: Vec::new(),
            unknown: HashMap::new(),
            unknown_filled: Vec::new(),
            row_stamp: 0,
            cells: Vec::new(),
            rescue: Rescue::default(),
            rows: 0,
            observed: Observed::default(),
        };
        rows.grow(plan);
        rows
    }

    /// Takes up columns that the plan gained.
    pub(crate) fn grow(&mut self, plan: &TablePlan) {
        if self.builders.len() == plan.columns().len() {
            return;
        }
        for (_, known) in &plan.columns()[self.builders.len()..] {
            self.builders.push(match known {
                KnownType::Ours(column_type) => Some(ColumnBuilder::new(*column_type)),
                KnownType::Foreign => None,
            });
        }
        self.filled.resize(self.builders.len(), 0);
        for slot in self.context_slots.iter_mut().chain(&mut self.bag_slots).filter(|slot| is_unknown(**slot)) {
            *slot = UNRESOLVED;
        }
        self.unknown.clear();
        self.unknown_filled.clear();
    }

    /// Bytes of the values held.
    pub(crate) fn bytes(&self) -> usize {
        self.builders.iter().flatten().map(ColumnBuilder::bytes).sum()
    }

    /// Whether every leaf that this row will hold has a column (or can have none for good).
    pub(crate) fn knows(
        &mut self,
        plan: &TablePlan,
        trie: &KeyTrie,
        leaves: &[Leaf],
        own: &[LeafName],
        is_context: bool,
    ) -> bool {
        leaves.iter().all(|leaf| !is_unknown(self.slot(plan, trie, leaf, own, is_context)))
    }

    /// The leaf's slot; for leaves of the bag, `trie` is not looked at.
    fn slot(&mut self, plan: &TablePlan, context: &KeyTrie, leaf: &Leaf, own: &[LeafName], is_context: bool) -> u32 {
        let reserved = |slot: u32| if self.system.contains(slot) { RESERVED } else { slot };
        if leaf.name & Leaf::OWN != 0 {
            let column = &own[(leaf.name & !Leaf::OWN) as usize].column;
            let unknown = || self.unknown.get(column.as_str()).map_or(UNKNOWN_UNNUMBERED, |number| UNKNOWN | number);
            return plan.slot(column).map_or_else(unknown, reserved);
        }
        let (slots, trie) = if is_context { (&self.context_slots, context) } else { (&self.bag_slots, &self.bag) };
        if let Some(&slot) = slots.get(leaf.name as usize)
            && slot != UNRESOLVED
        {
            return slot;
        }
        let column = &trie.leaf(leaf.name).column;
        let slot = match plan.slot(column) {
            Some(slot) => reserved(slot),
            None => {
                let next = self.unknown.len() as u32;
                UNKNOWN | *self.unknown.entry_ref(column.as_str()).or_insert(next)
            }
        };
        self.unknown_filled.resize(self.unknown.len(), 0);
        let count = trie.leaf_count();
        let slots = if is_context { &mut self.context_slots } else { &mut self.bag_slots };
        slots.resize(count.max(slots.len()), UNRESOLVED);
        slots[leaf.name as usize] = slot;
        slot
    }

    /// Collects the row's leaves with their slots, and settles which lose.
    fn collect(&mut self, plan: &TablePlan, context: &KeyTrie, batch: &Batch, event: &Event) {
        self.cells.clear();
        self.row_stamp += 1;
        let mut collision = false;
        let is_call_table = matches!(plan.kind, TableKind::Call(Call::Track));
        let bag = if is_call_table { 0..0 } else { event.bag_leaves.clone() };
        for (range, from_context) in [(event.context_leaves.clone(), true), (bag, false)] {
            for leaf in &batch.leaves[range] {
                let slot = self.slot(plan, context, leaf, &batch.careful.names, from_context);
                let filled = if is_unknown(slot) {
                    self.unknown_filled.get_mut((slot & !UNKNOWN) as usize)
                } else {
                    self.filled.get_mut(slot as usize)
                };
                match filled {
                    Some(stamp) => {
                        collision |= *stamp == self.row_stamp;
                        *stamp = self.row_stamp;
                    }
                    // Unknown columns without a number are compared by name.
                    None => collision |= slot != RESERVED,
                }
                self.cells.push(Cell { slot, leaf: *leaf, from_context, lost: slot == RESERVED });
            }
        }
        if collision {
            let lost = self.losers(context, batch);
            for (cell, lost) in self.cells.iter_mut().zip(lost) {
                cell.lost |= lost;
            }
        }
    }

    fn name<'a>(&'a self, context: &'a KeyTrie, batch: &'a Batch, cell: &Cell) -> &'a LeafName {
        if cell.leaf.name & Leaf::OWN != 0 {
            &batch.careful.names[(cell.leaf.name & !Leaf::OWN) as usize]
        } else if cell.from_context {
            context.leaf(cell.leaf.name)
        } else {
            self.bag.leaf(cell.leaf.name)
        }
    }

    /// Of leaves that meet in one column, context beats user data, then the path that already is the column's name
    /// wins, then the last in document order.
    fn losers(&self, context: &KeyTrie, batch: &Batch) -> Vec<bool> {
        let mut winners: HashMap<&str, (bool, bool, usize)> = HashMap::new();
        let mut lost = vec![false; self.cells.len()];
        for (at, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.slot != RESERVED) {
            let name = self.name(context, batch, cell);
            let rank = (cell.from_context, name.exact, at);
            match winners.entry(name.column.as_str()) {
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    entry.insert(rank);
                }
                hashbrown::hash_map::Entry::Occupied(mut entry) => {
                    lost[(*entry.get()).min(rank).2] = true;
                    let winner = (*entry.get()).max(rank);
                    entry.insert(winner);
                }
            }
        }
        lost
    }

    /// Notes the types of the row's values whose columns the table lacks.
    pub(crate) fn observe(
        &mut self,
        plan: &TablePlan,
        context: &KeyTrie,
        batch: &Batch,
        event: &Event,
        room: usize,
        only: Option<&HashSet<String>>,
    ) {
        self.collect(plan, context, batch, event);
        let mut observed = std::mem::take(&mut self.observed);
        for (at, cell) in self.cells.iter().enumerate().filter(|(_, cell)| is_unknown(cell.slot) && !cell.lost) {
            let column = &self.name(context, batch, cell).column;
            let column_type = type_of(&batch.chunk.data, batch.tape.node(cell.leaf.node));
            let first = (event.line, event.item.unwrap_or_default(), at as u32);
            observed.see(column, column_type, first, room, only);
        }
        self.observed = observed;
    }

    /// Writes one row; answers how many values were rescued.
    pub(crate) fn append(
        &mut self,
        plan: &TablePlan,
        trie: &KeyTrie,
        batch: &Batch,
        at: usize,
        common: &Common,
        context: &UploadContext,
    ) -> u64 {
        let event = &batch.events[at];
        self.collect(plan, trie, batch, event);
        self.rescue.clear();
        // `tracks` has no bag, so a bag's losers stand in the event table alone.
        let has_bag = plan.kind != TableKind::Call(Call::Track) || event.decision.no_event_table;
        for (field, node) in common.rescued.iter().filter(|(field, _)| has_bag || *field != event.call.bag()) {
            self.rescue.add(field.key(), batch.tape.node(*node).source(&batch.chunk.data));
        }
        self.append_system(plan, batch, event, common, context);
        self.append_cells(plan, trie, batch, event);
        for (loser, from_context, path, node) in &batch.losers {
            let is_ours = *loser == at && (*from_context || !matches!(plan.kind, TableKind::Call(Call::Track)));
            if is_ours {
                self.rescue.add(path, batch.tape.node(*node).source(&batch.chunk.data));
            }
        }
        if event.decision.no_event_table {
            // One table too many: the event lands in `tracks` only, its properties beside it.
            for leaf in &batch.leaves[event.bag_leaves.clone()] {
                let name = &batch.careful.names[(leaf.name & !Leaf::OWN) as usize];
                self.rescue.add(&name.path, batch.tape.node(leaf.node).source(&batch.chunk.data));
            }
        }
        let rescued = self.rescue.len() as u64;
        if let Some(json) = self.rescue.finish()
            && let Some(Some(builder)) = self.builders.get_mut(self.system.rescued_data as usize)
        {
            // A table whose `_rescued_data` is no STRING is refused before its first row.
            let fit = builder.push_text(self.rows, json);
            debug_assert_eq!(fit, Fit::Exact);
        }
        self.rows += 1;
        rescued
    }

    fn append_cells(&mut self, plan: &TablePlan, trie: &KeyTrie, batch: &Batch, event: &Event) {
        let row = self.rows;
        let data = &batch.chunk.data;
        let is_page = matches!(plan.kind, TableKind::Call(Call::Page | Call::Screen));
        for at in 0..self.cells.len() {
            let cell = self.cells[at];
            let node = batch.tape.node(cell.leaf.node);
            let fits = !cell.lost
                && self
                    .builders
                    .get_mut(cell.slot as usize)
                    .and_then(Option::as_mut)
                    .is_some_and(|builder| builder.push(row, data, node) == Fit::Exact);
            if fits {
                continue;
            }
            let name = self.name(trie, batch, &cell);
            if is_page && cell.slot == RESERVED && !cell.from_context && is_named_by(batch, event, name, node) {
                continue;
            }
            let path = name.path.clone();
            self.rescue.add(&path, node.source(data));
        }
    }

    fn append_system(
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
            let builder = self.builders.get_mut(slot as usize).and_then(Option::as_mut);
            if builder.is_none_or(|builder| builder.push_micros(row, micros) == Fit::Rescue) {
                // Somebody else's table has another type there.
                self.rescue.add(key, format!("\"{}\"", timestamp::format(micros)).as_bytes());
            }
        }
        let (upload_id, id, first, second) = (system.upload_id, system.id, system.first, system.second);
        let (user_id, anonymous_id) = (system.user_id, system.anonymous_id);
        self.put_text(upload_id, UPLOAD_ID, context.upload_id.as_bytes());
        match event.own_id {
            Some(own) => self.put_text(id, "messageId", batch.ids[own as usize].as_bytes()),
            None => self.put_field(id, batch, event, Field::MessageId),
        }
        self.put_field(user_id, batch, event, Field::UserId);
        self.put_field(anonymous_id, batch, event, Field::AnonymousId);
        match event.call {
            Call::Track => {
                self.put_field(second, batch, event, Field::Event);
                match plan.kind {
                    TableKind::Event => self.put_text(first, "event", plan.name.as_bytes()),
                    TableKind::Call(_) => {
                        let name = event.fields.get(&batch.tape, Field::Event);
                        let name = name.map(|node| text::to_string(&batch.chunk.data, node)).unwrap_or_default();
                        self.put_text(first, "event", crate::naming::table_name(&name).as_bytes());
                    }
                }
            }
            Call::Page | Call::Screen => {
                self.put_named(first, batch, event, Field::Name);
                self.put_named(second, batch, event, Field::Category);
            }
            Call::Group => self.put_field(first, batch, event, Field::GroupId),
            Call::Alias => self.put_field(first, batch, event, Field::PreviousId),
            Call::Identify => {}
        }
    }

    /// Writes text of ours; into a column that somebody else gave another type it may not fit.
    fn put_text(&mut self, slot: u32, key: &str, value: &[u8]) {
        let builder = self.builders.get_mut(slot as usize).and_then(Option::as_mut);
        if builder.is_none_or(|builder| builder.push_text(self.rows, value) == Fit::Rescue) {
            let mut json = Vec::new();
            text::write_json_string(value, &mut json);
            self.rescue.add(key, &json);
        }
    }

    fn put_field(&mut self, slot: u32, batch: &Batch, event: &Event, field: Field) {
        if let Some(node) = event.fields.get(&batch.tape, field) {
            self.put_node(slot, batch, node, field.key());
        }
    }

    fn put_node(&mut self, slot: u32, batch: &Batch, node: Node, key: &str) {
        let row = self.rows;
        let data = &batch.chunk.data;
        if let Some(builder) = self.builders.get_mut(slot as usize) {
            let fits = builder.as_mut().is_some_and(|builder| builder.push(row, data, node) == Fit::Exact);
            if !fits {
                self.rescue.add(key, node.source(data));
            }
        }
    }

    /// `name` and `category` come from the call, else from the property of just that key when that is no object.
    fn put_named(&mut self, slot: u32, batch: &Batch, event: &Event, field: Field) {
        let node = event.fields.get(&batch.tape, field).or_else(|| property(batch, event, field.key()));
        if let Some(node) = node {
            self.put_node(slot, batch, node, field.key());
        }
    }

    /// Hands out the rows as a batch whose columns are named as in the plan (foreign columns left out) and starts anew.
    ///
    /// # Errors
    /// When the columns do not make a batch, which would be a bug of ours.
    pub(crate) fn finish(&mut self, plan: &TablePlan) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        let mut fields = Vec::with_capacity(self.builders.len());
        let mut arrays = Vec::with_capacity(self.builders.len());
        for (slot, (builder, (name, _))) in self.builders.iter_mut().zip(plan.columns()).enumerate() {
            if let (Some(builder), Some(column_type)) = (builder, plan.column_type(slot as u32)) {
                fields.push(ArrowField::new(name, arrow_type(column_type), true));
                arrays.push(builder.finish(rows)?);
            }
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
    }

    /// Forgets the rows.
    pub(crate) fn discard(&mut self, plan: &TablePlan) -> Result<(), ArrowError> {
        self.finish(plan).map(|_| ())
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
fn is_named_by(batch: &Batch, event: &Event, name: &LeafName, node: Node) -> bool {
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
