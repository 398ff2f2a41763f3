//! What only the order of an upload can decide: which of two events with one id lands, which occurrence of the same
//! bytes an event without id is, and which tables come first under the limit.
//!
//! Workers read chunks at the same time, but each passes here in its turn.

use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use crate::batch::{Batch, Decision, Event, UploadContext};
use crate::event::{Call, Field};
use crate::ids::Ids;
pub use crate::ids::{Recurring, Sieve};
use crate::json::NodeKind;
use crate::naming::table_name;
use crate::table::TableKind;
use crate::text;

/// The tables of a schema, as far as they are known; finding one may mean looking into the lake.
pub trait Tables {
    /// Why a table could not be looked at.
    type Error;

    /// The number of a table, or nothing when it would be one too many for its schema.
    ///
    /// # Errors
    /// When the lake cannot be read.
    fn find(&mut self, kind: TableKind, name: &str) -> Result<Option<u32>, Self::Error>;

    /// Whether an earlier form of this upload (the same key, another ETag) landed a row of this id in the table.
    fn landed_before(&self, table: u32, id: u128) -> bool;
}

/// Counts of one upload in one table: `events = rows + duplicates`, and filtered events besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Rows to land.
    pub rows: u64,
    /// Rows left out because their id had landed.
    pub duplicates: u64,
    /// Values kept in `_rescued_data`.
    pub rescued: u64,
}

/// Counts of one upload.
#[derive(Clone, Debug, Default)]
pub struct UploadCounts {
    /// Events, rejected ones included.
    pub events: u64,
    /// Rejected events.
    pub rejected: u64,
    /// Events that opted out, and those of which the settings leave every table out.
    pub filtered: u64,
    /// Events whose call-table row was left out because its id had landed; where the settings leave out the call table,
    /// the row of the event table.
    pub duplicates: u64,
    /// Per table number.
    pub tables: Vec<TableCounts>,
    /// Events that have no row in a table they were addressed to, since they opted out or the settings leave it out.
    pub filtered_tables: HashMap<String, u64>,
}

/// How many names of track events, and of tables of filtered events, are remembered.
const NAMES: usize = 10_000;

/// The memory of one upload's order.
#[derive(Debug, Default)]
pub struct Order {
    /// Ids by call table, each with the event table that a track came with; (event table, id) pairs of tracks whose id
    /// came more than once; and bytes of events without an id, each with how often they came.
    ids: Ids,
    /// By chunk.
    decisions: HashMap<usize, Decided>,
    counts: UploadCounts,
    /// Event tables by the raw name of a track event.
    names: HashMap<Box<[u8]>, Target>,
    /// Call tables by call.
    call_tables: [Option<Target>; Call::ALL.len()],
}

/// Where rows for a table go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// Into the table of this number.
    Table(u32),
    /// There is no such table, and none may be made.
    Nowhere,
    /// The settings leave the table out.
    LeftOut,
}

impl Target {
    fn table(self) -> Option<u32> {
        match self {
            Self::Table(table) => Some(table),
            Self::Nowhere | Self::LeftOut => None,
        }
    }
}

/// The targets of an event's rows; only a track has one for its event.
#[derive(Clone, Copy, Debug)]
struct Targets {
    call: Target,
    event: Option<Target>,
}

impl Targets {
    fn event_table(self) -> Option<u32> {
        self.event.and_then(Target::table)
    }

    /// Whether the settings leave the event without any row.
    fn are_left_out(self) -> bool {
        self.call == Target::LeftOut && self.event_table().is_none()
    }

    /// Whether the event table is one too many: the properties are rescued in `tracks`.
    fn is_one_too_many(self) -> bool {
        self.event == Some(Target::Nowhere) && self.call != Target::LeftOut
    }
}

/// What was decided about the events of a chunk, for when it is read again.
#[derive(Debug, Default)]
struct Decided {
    /// Per event: whether its rows land in its call table and in its event table.
    lands: Vec<(bool, bool)>,
    /// Occurrences above 0, by event.
    occurrences: Vec<(u32, u32)>,
}

/// Told apart in one memory: ids by call, pairs with an event table, bytes.
fn salted(hash: u128, salt: u128) -> u128 {
    hash ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

fn call_salt(call: Call) -> u128 {
    call as u128 + 1
}

const BYTES_SALT: u128 = 8;

fn pair_salt(event_table: u32) -> u128 {
    u128::from(event_table) + 16
}

impl Order {
    /// What was counted; ids and decisions are forgotten.
    pub fn into_counts(self) -> UploadCounts {
        self.counts
    }

    /// Whether so many ids are remembered that the rest of the upload, from this chunk on, has to be sifted before it is
    /// decided: [`Order::sift`], then [`Order::settle`].
    pub fn is_full(&self, chunk: usize) -> bool {
        self.ids.is_full() && !self.decisions.contains_key(&chunk)
    }

    /// Looks at the ids of a chunk behind those decided so far; in any order, by any worker.
    pub fn sift(&self, batch: &Batch, sieve: &Sieve, recurring: &mut Recurring) {
        for event in batch.events.iter().filter(|event| !event.filtered) {
            let hash = match id_of(batch, event) {
                Some(id) => salted(id, call_salt(event.call)),
                // The ids that such events are given differ from all others.
                None => salted(bytes_of(batch, event), BYTES_SALT),
            };
            self.ids.sift(hash, sieve, recurring);
        }
    }

    /// Ends the sifting: only these ids can come again.
    pub fn settle(&mut self, recurring: Recurring) {
        self.ids.settle(recurring);
    }

    /// Finds the tables that the events of a batch go to, before anything about them is decided.
    ///
    /// # Errors
    /// What [`Tables::find`] says.
    pub fn meet<T: Tables>(&mut self, batch: &Batch, context: &UploadContext, tables: &mut T) -> Result<(), T::Error> {
        for event in batch.events.iter().filter(|event| !event.filtered) {
            self.targets(batch, event, context, tables)?;
        }
        Ok(())
    }

    /// Decides about every event of a batch, which must be the next one of the upload. With `will_return` the decisions
    /// are kept: the batch is read again once new columns have a type, and then gets the same ones.
    ///
    /// # Errors
    /// What [`Tables::find`] says.
    pub fn decide<T: Tables>(
        &mut self,
        batch: &mut Batch,
        context: &UploadContext,
        tables: &mut T,
        will_return: bool,
    ) -> Result<(), T::Error> {
        let mut events = std::mem::take(&mut batch.events);
        let index = batch.chunk.index;
        if let Some(decided) = self.decisions.remove(&index) {
            for (event, lands) in events.iter_mut().zip(&decided.lands) {
                event.decision = self.decide_again(batch, event, context, tables, *lands)?;
            }
            for (at, occurrence) in &decided.occurrences {
                events[*at as usize].decision.occurrence = *occurrence;
            }
            if will_return {
                self.decisions.insert(index, decided);
            }
        } else {
            self.counts.events += (events.len() + batch.rejects.len()) as u64;
            self.counts.rejected += batch.rejects.len() as u64;
            for event in &mut events {
                event.decision = self.decide_one(batch, event, context, tables)?;
            }
            if will_return {
                self.decisions.insert(index, Decided::of(&events));
            }
        }
        batch.events = events;
        for at in 0..batch.events.len() {
            set_own_id(batch, at, context);
        }
        Ok(())
    }

    /// The decision as it was; which tables there are cannot have changed since.
    fn decide_again<T: Tables>(
        &mut self,
        batch: &Batch,
        event: &Event,
        context: &UploadContext,
        tables: &mut T,
        (call_lands, event_lands): (bool, bool),
    ) -> Result<Decision, T::Error> {
        if event.filtered {
            return Ok(Decision::default());
        }
        let targets = self.targets(batch, event, context, tables)?;
        Ok(Decision {
            call_table: targets.call.table().filter(|_| call_lands),
            event_table: targets.event_table().filter(|_| event_lands),
            no_event_table: targets.is_one_too_many(),
            occurrence: 0,
        })
    }

    fn decide_one<T: Tables>(
        &mut self,
        batch: &Batch,
        event: &Event,
        context: &UploadContext,
        tables: &mut T,
    ) -> Result<Decision, T::Error> {
        let mut decision = Decision::default();
        if event.filtered {
            self.count_left_out(batch, event, true, true);
            return Ok(decision);
        }
        let targets = self.targets(batch, event, context, tables)?;
        if targets.are_left_out() {
            self.count_left_out(batch, event, true, true);
            return Ok(decision);
        }
        let id = match id_of(batch, event) {
            Some(id) => id,
            None => {
                if let Some(seen) = self.ids.see(salted(bytes_of(batch, event), BYTES_SALT), 0) {
                    *seen += 1;
                    decision.occurrence = *seen;
                }
                let bytes = &batch.chunk.data[event.start..event.end];
                xxh3_128(generated_id(context, bytes, decision.occurrence).as_bytes())
            }
        };
        let event_table = targets.event_table();
        decision.no_event_table = targets.is_one_too_many();
        let (call_is_new, event_is_new) = self.remember(event.call, id, event_table);
        if let Some(table) = targets.call.table() {
            let lands = call_is_new && !tables.landed_before(table, id);
            self.count(table, lands);
            self.counts.duplicates += u64::from(!lands);
            decision.call_table = lands.then_some(table);
        }
        if let Some(table) = event_table {
            let lands = event_is_new && !tables.landed_before(table, id);
            self.count(table, lands);
            self.counts.duplicates += u64::from(!lands && targets.call == Target::LeftOut);
            decision.event_table = lands.then_some(table);
        }
        let (is_call, is_event) = (targets.call == Target::LeftOut, targets.event == Some(Target::LeftOut));
        if is_call || is_event {
            self.count_left_out(batch, event, is_call, is_event);
        }
        Ok(decision)
    }

    /// Notes an id; whether it is new to its call table, and to its event table.
    fn remember(&mut self, call: Call, id: u128, event_table: Option<u32>) -> (bool, bool) {
        let event_table = event_table.unwrap_or(u32::MAX);
        match self.ids.see(salted(id, call_salt(call)), event_table) {
            None => (true, true),
            Some(first) if *first == event_table => (false, false),
            Some(_) => (false, self.ids.insert(salted(id, pair_salt(event_table)))),
        }
    }

    fn targets<T: Tables>(
        &mut self,
        batch: &Batch,
        event: &Event,
        context: &UploadContext,
        tables: &mut T,
    ) -> Result<Targets, T::Error> {
        let call = match self.call_tables[event.call as usize] {
            Some(known) => known,
            None => {
                let found = target(TableKind::Call(event.call), event.call.table(), context, tables)?;
                *self.call_tables[event.call as usize].insert(found)
            }
        };
        let event = if event.call == Call::Track { self.event_target(batch, event, context, tables)? } else { None };
        Ok(Targets { call, event })
    }

    fn event_target<T: Tables>(
        &mut self,
        batch: &Batch,
        event: &Event,
        context: &UploadContext,
        tables: &mut T,
    ) -> Result<Option<Target>, T::Error> {
        let Some(node) = event.fields.get(&batch.tape, Field::Event) else { return Ok(None) };
        let raw = node.text(&batch.chunk.data);
        if let Some(&known) = self.names.get(raw) {
            return Ok(Some(known));
        }
        let found = target(TableKind::Event, &event_table_name(batch, event), context, tables)?;
        if self.names.len() >= NAMES {
            self.names.clear();
        }
        self.names.insert(raw.into(), found);
        Ok(Some(found))
    }

    fn count(&mut self, table: u32, lands: bool) {
        let table = table as usize;
        if self.counts.tables.len() <= table {
            self.counts.tables.resize(table + 1, TableCounts::default());
        }
        let counts = &mut self.counts.tables[table];
        if lands {
            counts.rows += 1;
        } else {
            counts.duplicates += 1;
        }
    }

    /// Counts an event for tables that it has no row in; when there is no other, as filtered itself.
    fn count_left_out(&mut self, batch: &Batch, event: &Event, of_call: bool, of_event: bool) {
        let is_track = event.call == Call::Track;
        self.counts.filtered += u64::from(of_call && (of_event || !is_track));
        if of_call {
            self.count_filtered(event.call.table());
        }
        if of_event && is_track {
            self.count_filtered(&event_table_name(batch, event));
        }
    }

    fn count_filtered(&mut self, name: &str) {
        if let Some(count) = self.counts.filtered_tables.get_mut(name) {
            *count += 1;
        } else if self.counts.filtered_tables.len() < NAMES {
            self.counts.filtered_tables.insert(name.to_owned(), 1);
        }
    }
}

impl Decided {
    fn of(events: &[Event]) -> Self {
        let lands = |event: &Event| (event.decision.call_table.is_some(), event.decision.event_table.is_some());
        let repeated = events.iter().enumerate().filter(|(_, event)| event.decision.occurrence > 0);
        Self {
            lands: events.iter().map(lands).collect(),
            occurrences: repeated.map(|(at, event)| (at as u32, event.decision.occurrence)).collect(),
        }
    }
}

/// The hash of an event's id, when it has one.
fn id_of(batch: &Batch, event: &Event) -> Option<u128> {
    let node = event.fields.get(&batch.tape, Field::MessageId)?;
    let data = &batch.chunk.data;
    Some(match node.kind {
        NodeKind::String => xxh3_128(node.text(data)),
        _ => xxh3_128(text::to_string(data, node).as_bytes()),
    })
}

fn bytes_of(batch: &Batch, event: &Event) -> u128 {
    xxh3_128(&batch.chunk.data[event.start..event.end])
}

fn target<T: Tables>(kind: TableKind, name: &str, context: &UploadContext, tables: &mut T) -> Result<Target, T::Error> {
    if !context.selection.takes_table(name) {
        return Ok(Target::LeftOut);
    }
    Ok(tables.find(kind, name)?.map_or(Target::Nowhere, Target::Table))
}

pub(crate) fn event_table_name(batch: &Batch, event: &Event) -> String {
    let node = event.fields.get(&batch.tape, Field::Event);
    table_name(&node.map(|node| text::to_string(&batch.chunk.data, node)).unwrap_or_default())
}

/// Gives an event its id as text, where that is not simply the text of a JSON string.
fn set_own_id(batch: &mut Batch, at: usize, context: &UploadContext) {
    let event = &batch.events[at];
    if event.filtered || event.fields.get(&batch.tape, Field::MessageId).is_some() {
        return;
    }
    let id = generated_id(context, &batch.chunk.data[event.start..event.end], event.decision.occurrence);
    batch.events[at].own_id = Some(batch.ids.len() as u32);
    batch.ids.push(id);
}

/// The id of an event without one: a second delivery of the same upload, or of the same line under the same key, says
/// the same.
fn generated_id(context: &UploadContext, bytes: &[u8], occurrence: u32) -> String {
    let mut hasher = Sha256::new();
    hasher.update((context.key.len() as u64).to_le_bytes());
    hasher.update(context.key.as_bytes());
    hasher.update(occurrence.to_le_bytes());
    hasher.update(bytes);
    let digest = hasher.finalize();
    digest.iter().take(16).fold("auto-".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

/// The hash by which ids are remembered.
pub fn id_hash(id: &str) -> u128 {
    xxh3_128(id.as_bytes())
}
