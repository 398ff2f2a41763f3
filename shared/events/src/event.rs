//! One event: which fields a call has, and whether it can land.
//!
//! An event is judged in a fixed order and the first hit wins: rejection by Segment's own codes, then opt-out. Whether
//! it is a duplicate is judged later, in the order of the upload.

use crate::json::{self, Node, NodeKind, Tape, key_word, word_of};
use crate::text;

/// The six calls of the Segment spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `track`
    Track,
    /// `identify`
    Identify,
    /// `page`
    Page,
    /// `screen`
    Screen,
    /// `group`
    Group,
    /// `alias`
    Alias,
}

impl Call {
    /// All calls.
    pub const ALL: [Self; 6] = [Self::Track, Self::Identify, Self::Page, Self::Screen, Self::Group, Self::Alias];

    /// The call table: every landed event has a row there.
    pub fn table(self) -> &'static str {
        match self {
            Self::Track => "tracks",
            Self::Identify => "identifies",
            Self::Page => "pages",
            Self::Screen => "screens",
            Self::Group => "groups",
            Self::Alias => "aliases",
        }
    }

    /// Compared without case: clients write `Track` as well.
    fn of(name: &[u8]) -> Option<Self> {
        let names: [(&[u8], Self); 6] = [
            (b"track", Self::Track),
            (b"identify", Self::Identify),
            (b"page", Self::Page),
            (b"screen", Self::Screen),
            (b"group", Self::Group),
            (b"alias", Self::Alias),
        ];
        names.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|&(_, call)| call)
    }

    /// The bag whose keys become columns: properties or traits. A bag of the other kind is left out by rule.
    pub(crate) fn bag(self) -> Field {
        match self {
            Self::Track | Self::Page | Self::Screen => Field::Properties,
            Self::Identify | Self::Group | Self::Alias => Field::Traits,
        }
    }
}

/// Why a line, an item of an envelope or a whole upload can never become rows: Segment's codes, then ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `type` is missing or none of the six calls.
    UnknownType,
    /// Neither `userId` nor `anonymousId`.
    NoUserAnonId,
    /// A track without `event`.
    EventNotDefined,
    /// A track whose `event` is no string.
    EventNotString,
    /// `properties` is no object.
    PropertiesNotObject,
    /// `traits` is no object.
    TraitsNotObject,
    /// The line is no UTF-8.
    InvalidUtf8,
    /// The line is no JSON.
    InvalidJson,
    /// The line, or an envelope's item, is JSON but no object.
    NotAnObject,
    /// The line is longer than the limit, or an envelope would be once its items have its context.
    LineTooLong,
    /// An envelope without items.
    EmptyBatch,
    /// A frozen table lacks a column that it needs, or is not there.
    SchemaFrozen,
    /// It has no value for a column that its table says is never NULL.
    NotNull,
    /// Upload: the gzip or zstd stream is damaged or cut.
    Unreadable,
    /// Upload: no line of the first MiB is a JSON object.
    NotNdjson,
    /// Upload: larger than the limits allow, or a decompression bomb.
    TooLarge,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 16] = [
        Self::UnknownType,
        Self::NoUserAnonId,
        Self::EventNotDefined,
        Self::EventNotString,
        Self::PropertiesNotObject,
        Self::TraitsNotObject,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::NotAnObject,
        Self::LineTooLong,
        Self::EmptyBatch,
        Self::SchemaFrozen,
        Self::NotNull,
        Self::Unreadable,
        Self::NotNdjson,
        Self::TooLarge,
    ];

    /// Reasons that hang on what the tables were like: the bytes alone do not say them again.
    pub const OF_TABLES: [Self; 2] = [Self::SchemaFrozen, Self::NotNull];

    /// The code in `_rejects`.
    pub fn code(self) -> &'static str {
        match self {
            Self::UnknownType => "unknown_type",
            Self::NoUserAnonId => "no_user_anon_id",
            Self::EventNotDefined => "event_not_defined",
            Self::EventNotString => "event_not_string",
            Self::PropertiesNotObject => "properties_not_object",
            Self::TraitsNotObject => "traits_not_object",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::LineTooLong => "line_too_long",
            Self::EmptyBatch => "empty_batch",
            Self::SchemaFrozen => "schema_frozen",
            Self::NotNull => "not_null",
            Self::Unreadable => "unreadable",
            Self::NotNdjson => "not_ndjson",
            Self::TooLarge => "too_large",
        }
    }
}

/// The top-level fields that a row, a judgement or an opt-out needs. Every other top-level field (`channel`,
/// `version`, `projectId`, `writeKey`, `_metadata` …) is left out by rule: Segment's warehouses do not store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Type,
    MessageId,
    AnonymousId,
    UserId,
    Event,
    Name,
    Category,
    GroupId,
    PreviousId,
    Properties,
    Traits,
    Context,
    Integrations,
    Timestamp,
    SentAt,
    OriginalTimestamp,
    ReceivedAt,
    Batch,
}

impl Field {
    pub(crate) const COUNT: usize = 18;

    /// The field's key as clients write it.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::MessageId => "messageId",
            Self::AnonymousId => "anonymousId",
            Self::UserId => "userId",
            Self::Event => "event",
            Self::Name => "name",
            Self::Category => "category",
            Self::GroupId => "groupId",
            Self::PreviousId => "previousId",
            Self::Properties => "properties",
            Self::Traits => "traits",
            Self::Context => "context",
            Self::Integrations => "integrations",
            Self::Timestamp => "timestamp",
            Self::SentAt => "sentAt",
            Self::OriginalTimestamp => "originalTimestamp",
            Self::ReceivedAt => "receivedAt",
            Self::Batch => "batch",
        }
    }

    const ALL: [Self; Self::COUNT] = [
        Self::Type,
        Self::MessageId,
        Self::AnonymousId,
        Self::UserId,
        Self::Event,
        Self::Name,
        Self::Category,
        Self::GroupId,
        Self::PreviousId,
        Self::Properties,
        Self::Traits,
        Self::Context,
        Self::Integrations,
        Self::Timestamp,
        Self::SentAt,
        Self::OriginalTimestamp,
        Self::ReceivedAt,
        Self::Batch,
    ];

    /// Every field's key as a number, in the order of [`Field::ALL`].
    const WORDS: [u128; Self::COUNT] = {
        let mut words = [0; Self::COUNT];
        let mut at = 0;
        while at < Self::COUNT {
            words[at] = word_of(Self::ALL[at].key().as_bytes());
            at += 1;
        }
        words
    };

    /// Where each field is found by its word, and the multiplier with which no two share a place: a key is compared
    /// once, in whatever order keys come.
    const PLACES: &([u8; 64], u64) = &{
        let mut multiplier: u64 = 0x9E37_79B9_7F4A_7C15;
        'next: loop {
            let mut places = [u8::MAX; 64];
            let mut at = 0;
            while at < Self::COUNT {
                let place = Self::place(Self::WORDS[at], multiplier);
                if places[place] != u8::MAX {
                    multiplier = multiplier.wrapping_mul(0x5851_F42D_4C95_7F2D) | 1;
                    continue 'next;
                }
                places[place] = at as u8;
                at += 1;
            }
            break (places, multiplier);
        }
    };

    const fn place(word: u128, multiplier: u64) -> usize {
        (((word >> 64) as u64 ^ word as u64).wrapping_mul(multiplier) >> 58) as usize
    }

    /// The field of a key in plain text.
    pub(crate) fn named(key: &[u8]) -> Option<Self> {
        Self::of(key, word_of(key))
    }

    /// The field of a key without escapes; `word` is its beginning as a number.
    fn of(key: &[u8], word: u128) -> Option<Self> {
        let (places, multiplier) = Self::PLACES;
        let at = usize::from(places[Self::place(word, *multiplier)]);
        if Self::WORDS.get(at) != Some(&word) {
            return None;
        }
        let field = Self::ALL[at];
        (field.key().len() == key.len() && field.key().as_bytes().ends_with(&key[key.len().min(16)..])).then_some(field)
    }
}

/// Where an event's fields stand on the tape; 0 means absent (a value is never the tape's first node).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields {
    at: [u32; Field::COUNT],
    /// Whether a known key was repeated: the last wins, the others are found again by [`repeated_fields`].
    pub(crate) repeated: bool,
}

impl Fields {
    pub(crate) fn of(tape: &Tape, chunk: &[u8], object: u32) -> Self {
        let mut fields = Self::default();
        for (key, value) in tape.members(object) {
            if let Some(field) = field_of(chunk, key) {
                fields.repeated |= fields.at[field as usize] != 0;
                fields.at[field as usize] = value;
            }
        }
        fields
    }

    /// The field's value, whatever it is.
    pub(crate) fn raw(&self, field: Field) -> Option<u32> {
        Some(self.at[field as usize]).filter(|&index| index != 0)
    }

    /// The field's value, where `null` and `""` count as absent.
    pub(crate) fn get(&self, tape: &Tape, field: Field) -> Option<Node> {
        self.raw(field).map(|index| tape.node(index)).filter(|node| !is_absent(*node))
    }

    /// Gives a field its envelope's value.
    pub(crate) fn set(&mut self, field: Field, value: u32) {
        self.at[field as usize] = value;
    }
}

/// The values of repeated top-level fields that lost to a later one, in document order.
pub(crate) fn repeated_fields(tape: &Tape, chunk: &[u8], object: u32, fields: &Fields) -> Vec<(Field, u32)> {
    let known = tape.members(object).filter_map(|(key, value)| Some((field_of(chunk, key)?, value)));
    known.filter(|&(field, value)| fields.raw(field) != Some(value)).collect()
}

fn field_of(chunk: &[u8], key: Node) -> Option<Field> {
    match key.kind {
        NodeKind::EscapedString => Field::named(text::to_string(chunk, key).as_bytes()),
        _ => Field::of(key.text(chunk), key_word(chunk, key)),
    }
}

/// Whether a system field's value counts as absent.
pub(crate) fn is_absent(node: Node) -> bool {
    match node.kind {
        NodeKind::Null => true,
        NodeKind::String => node.start == node.end,
        _ => false,
    }
}

/// What becomes of an event before duplicates are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Land(Call),
    Reject(Reason),
    /// Opted out by `integrations.Warehouses`.
    Filter(Call),
}

/// Which call an event is, by its `type`.
pub(crate) fn call_of(tape: &Tape, chunk: &[u8], fields: &Fields) -> Option<Call> {
    fields.raw(Field::Type).map(|index| tape.node(index)).and_then(|node| match node.kind {
        NodeKind::String => Call::of(node.text(chunk)),
        NodeKind::EscapedString => Call::of(text::to_string(chunk, node).as_bytes()),
        _ => None,
    })
}

/// Judges an event; `integrations` are the objects that apply, the event's own last.
pub(crate) fn judge(
    tape: &Tape,
    chunk: &[u8],
    fields: &Fields,
    envelope_integrations: Option<u32>,
    warehouse_id: Option<&str>,
) -> Judgement {
    let Some(call) = call_of(tape, chunk, fields) else { return Judgement::Reject(Reason::UnknownType) };
    let present = |field| fields.get(tape, field);
    if present(Field::UserId).is_none() && present(Field::AnonymousId).is_none() {
        return Judgement::Reject(Reason::NoUserAnonId);
    }
    if call == Call::Track {
        match present(Field::Event).map(|node| node.kind) {
            None => return Judgement::Reject(Reason::EventNotDefined),
            Some(NodeKind::String | NodeKind::EscapedString) => {}
            Some(_) => return Judgement::Reject(Reason::EventNotString),
        }
    }
    let is_no_bag = |field| present(field).is_some_and(|node| node.kind != NodeKind::Object);
    if is_no_bag(Field::Properties) {
        return Judgement::Reject(Reason::PropertiesNotObject);
    }
    if is_no_bag(Field::Traits) {
        return Judgement::Reject(Reason::TraitsNotObject);
    }
    if is_opted_out(tape, chunk, fields, envelope_integrations, warehouse_id) {
        return Judgement::Filter(call);
    }
    Judgement::Land(call)
}

/// `integrations.Warehouses.all = false`, or `warehouseIds` that do not name us. `All` alone says nothing about
/// warehouses.
fn is_opted_out(
    tape: &Tape,
    chunk: &[u8],
    fields: &Fields,
    envelope_integrations: Option<u32>,
    warehouse_id: Option<&str>,
) -> bool {
    let own = fields.raw(Field::Integrations).and_then(|index| member(tape, chunk, index, b"Warehouses"));
    let envelope = envelope_integrations.and_then(|index| member(tape, chunk, index, b"Warehouses"));
    let Some(warehouses) = own.or(envelope) else { return false };
    if member(tape, chunk, warehouses, b"all").is_some_and(|all| tape.node(all).kind == NodeKind::False) {
        return true;
    }
    let Some(ids) = member(tape, chunk, warehouses, b"warehouseIds").map(|index| tape.node(index)) else {
        return false;
    };
    if !matches!(ids.kind, NodeKind::Array | NodeKind::LooseArray) {
        return false;
    }
    let ours = |(start, end): (usize, usize)| {
        let mut element = Tape::default();
        element.read(chunk, start, end).is_ok_and(|root| {
            let node = element.node(root);
            let is_string = matches!(node.kind, NodeKind::String | NodeKind::EscapedString);
            is_string && warehouse_id == Some(text::to_string(chunk, node).as_str())
        })
    };
    !json::elements(chunk, ids).into_iter().any(ours)
}

/// The value of a key in an object; the last of repeated ones.
fn member(tape: &Tape, chunk: &[u8], object: u32, name: &[u8]) -> Option<u32> {
    let is_it = |key: Node| match key.kind {
        NodeKind::EscapedString => text::to_string(chunk, key).as_bytes() == name,
        _ => key.text(chunk) == name,
    };
    tape.members(object).filter(|(key, _)| is_it(*key)).last().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str) -> Judgement {
        let mut tape = Tape::default();
        let root = tape.read(line.as_bytes(), 0, line.len()).unwrap();
        let fields = Fields::of(&tape, line.as_bytes(), root);
        judge(&tape, line.as_bytes(), &fields, None, Some("wh_1"))
    }

    #[test]
    fn the_first_hit_wins() {
        use Judgement::{Filter, Land, Reject};
        for (line, expected) in [
            ("{}", Reject(Reason::UnknownType)),
            (r#"{"type":7,"userId":"u"}"#, Reject(Reason::UnknownType)),
            (r#"{"type":"track","event":5,"userId":"","anonymousId":null}"#, Reject(Reason::NoUserAnonId)),
            (r#"{"type":"track","userId":"u","event":""}"#, Reject(Reason::EventNotDefined)),
            (r#"{"type":"track","userId":"u","event":[]}"#, Reject(Reason::EventNotString)),
            (
                r#"{"type":"track","userId":"u","event":"a","properties":[],"traits":1}"#,
                Reject(Reason::PropertiesNotObject),
            ),
            (
                r#"{"type":"track","userId":"u","event":"a","properties":"","traits":1}"#,
                Reject(Reason::TraitsNotObject),
            ),
            (r#"{"type":"page","userId":"u","integrations":{"All":false}}"#, Land(Call::Page)),
            (r#"{"type":"page","userId":"u","integrations":{"Warehouses":{"all":false}}}"#, Filter(Call::Page)),
            (
                r#"{"type":"page","userId":"u","integrations":{"Warehouses":{"warehouseIds":["x"]}}}"#,
                Filter(Call::Page),
            ),
            (
                r#"{"type":"page","userId":"u","integrations":{"Warehouses":{"warehouseIds":["x","wh_1"]}}}"#,
                Land(Call::Page),
            ),
            (r#"{"type":"TRACK","userId":0,"event":" "}"#, Land(Call::Track)),
            (r#"{"typ\u0065":"alias","userId":{}}"#, Land(Call::Alias)),
        ] {
            assert_eq!(judged(line), expected, "{line}");
        }
    }

    #[test]
    fn every_field_is_found_by_its_key_alone() {
        for field in Field::ALL {
            let key = field.key().as_bytes();
            assert_eq!(Field::of(key, word_of(key)), Some(field));
            for other in [key[1..].to_vec(), [key, b"s"].concat()] {
                assert_eq!(Field::of(&other, word_of(&other)), None);
            }
        }
        assert_eq!(Field::of(b"", word_of(b"")), None);
        assert_eq!(Field::of(b"originalTimestamq", word_of(b"originalTimestamq")), None);
    }

    #[test]
    fn the_last_of_a_repeated_field_wins() {
        let line = br#"{"userId":"a","type":"page","userId":"b"}"#;
        let mut tape = Tape::default();
        let root = tape.read(line, 0, line.len()).unwrap();
        let fields = Fields::of(&tape, line, root);
        assert_eq!(fields.get(&tape, Field::UserId).unwrap().text(line), b"b");
        let losers = repeated_fields(&tape, line, root, &fields);
        assert_eq!(losers.len(), 1);
        assert_eq!(tape.node(losers[0].1).text(line), b"a");
    }
}
