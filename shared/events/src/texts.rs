//! The texts of one STRING column, laid out as Parquet stores them: a dictionary while that pays, else one behind the
//! other, each with its length before it.
//!
//! Most text columns of events hold few values again and again (a browser, a locale, a campaign), and some a new one in
//! each row (ids). A column starts with a dictionary; one that does not pay is dropped for good.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

/// Texts of a dictionary, each with its length. Small dictionaries were the most valuable setting found: of columns with
/// many values the beginning alone says so.
const DICTIONARY_BYTES: usize = 16 << 10;
/// Texts of a dictionary: a byte says which. With more, looking them up waits for memory more often than it saves
/// compressing: 4,095 took a twentieth more time for half a hundredth of size.
const PLACES: usize = 256;
/// A dictionary pays when its texts come this often each.
const PAYS: usize = 2;
/// Bytes of the length before each text.
const LENGTH_BYTES: usize = 4;

/// The texts of one column in the order of their rows.
#[derive(Debug, Default)]
pub struct Texts {
    /// The text that came last, which often comes again.
    last: Option<Last>,
    /// The first texts, as places in the dictionary.
    indices: Vec<u8>,
    /// Where texts of the dictionary are, by their hash: a power of two, at most half full, searched from the hash's
    /// place on. Hundreds of columns are filled in turn: what a slot takes decides how often memory is waited for.
    slots: Vec<Slot>,
    /// Distinct texts, each behind its length (little endian).
    dictionary: Vec<u8>,
    /// Where each text of the dictionary ends.
    ends: Vec<u32>,
    hasher: DefaultHashBuilder,
    /// The texts behind those of the dictionary, each behind its length.
    plain: Vec<u8>,
    plain_count: usize,
    /// The dictionary takes nothing any more.
    is_full: bool,
    /// A dictionary did not pay in this column: none is begun.
    is_plain: bool,
}

/// A text of the dictionary in 32 bits: 14 where it stands, 8 its place, 10 of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u32);

impl Slot {
    /// No text: none begins in the last byte of 16 KiB.
    const EMPTY: Self = Self(u32::MAX);

    fn new(offset: usize, place: u8, hash: u64) -> Self {
        Self(offset as u32 | u32::from(place) << 14 | Self::tag(hash) << 22)
    }

    fn tag(hash: u64) -> u32 {
        (hash >> 54) as u32
    }

    fn may_be(self, hash: u64) -> bool {
        self.0 >> 22 == Self::tag(hash)
    }

    fn offset(self) -> usize {
        (self.0 & 0x3FFF) as usize
    }

    fn place(self) -> u8 {
        (self.0 >> 14) as u8
    }
}

/// Slots of the first table.
const SLOTS: usize = 16;

/// The text that came last.
#[derive(Clone, Copy, Debug)]
struct Last {
    short: Short,
    slot: Slot,
}

/// All of a text up to sixteen bytes; of a longer one its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Short {
    words: [u64; 2],
    length: u32,
}

impl Short {
    fn of(text: &[u8]) -> Self {
        let words = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(head), Some(tail)) => [u64::from_le_bytes(*head), u64::from_le_bytes(*tail)],
            _ => [all_of(text), 0],
        };
        Self { words, length: text.len() as u32 }
    }

    fn is_whole(self) -> bool {
        self.length <= 16
    }
}

/// Fewer than eight bytes as a number, which with their count says all of them.
fn all_of(text: &[u8]) -> u64 {
    match (text.first_chunk::<4>(), text.last_chunk::<4>(), text) {
        (Some(head), Some(tail), _) => {
            u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32
        }
        (.., [first, .., last]) => u64::from(*first) | u64::from(text[text.len() / 2]) << 8 | u64::from(*last) << 16,
        (.., [only]) => u64::from(*only),
        (.., []) => 0,
    }
}

impl Texts {
    /// Appends a text.
    pub(crate) fn push(&mut self, text: &[u8]) {
        debug_assert!(std::str::from_utf8(text).is_ok(), "text is checked where it comes in");
        if !self.is_full && !self.is_plain {
            match self.place(text) {
                Some(place) => return self.indices.push(place),
                None => self.close(),
            }
        }
        push_with_length(&mut self.plain, text);
        self.plain_count += 1;
    }

    /// The text's place in the dictionary, where it is put if it is new; none when there is no room for it.
    fn place(&mut self, text: &[u8]) -> Option<u8> {
        let short = Short::of(text);
        if let Some(last) = self.last
            && last.short == short
            && (short.is_whole() || self.is_at(last.slot, text))
        {
            return Some(last.slot.place());
        }
        let hash = self.hash(short, text);
        let slot = match self.find(hash, text) {
            Some(slot) => slot,
            None => self.insert(hash, text)?,
        };
        self.last = Some(Last { short, slot });
        Some(slot.place())
    }

    fn hash(&self, short: Short, text: &[u8]) -> u64 {
        if short.is_whole() {
            self.hasher.hash_one(u128::from(short.words[0]) << 64 | u128::from(short.words[1]))
        } else {
            self.hasher.hash_one(text)
        }
    }

    fn is_at(&self, slot: Slot, text: &[u8]) -> bool {
        let known = &self.dictionary[slot.offset()..];
        known.first_chunk::<LENGTH_BYTES>() == Some(&(text.len() as u32).to_le_bytes())
            && known[LENGTH_BYTES..].starts_with(text)
    }

    fn find(&self, hash: u64, text: &[u8]) -> Option<Slot> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        // At least half of the slots are empty.
        while self.slots[at] != Slot::EMPTY {
            let slot = self.slots[at];
            if slot.may_be(hash) && self.is_at(slot, text) {
                return Some(slot);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn insert(&mut self, hash: u64, text: &[u8]) -> Option<Slot> {
        let offset = self.dictionary.len();
        if offset + LENGTH_BYTES + text.len() > DICTIONARY_BYTES || self.ends.len() >= PLACES {
            return None;
        }
        let slot = Slot::new(offset, self.ends.len() as u8, hash);
        push_with_length(&mut self.dictionary, text);
        self.ends.push(self.dictionary.len() as u32);
        if self.ends.len() * 2 > self.slots.len() {
            let larger = vec![Slot::EMPTY; (self.slots.len() * 2).max(SLOTS)];
            let slots = std::mem::replace(&mut self.slots, larger);
            for slot in slots.into_iter().filter(|slot| *slot != Slot::EMPTY) {
                let text = self.entry(slot.place());
                self.occupy(slot, self.hash(Short::of(text), text));
            }
        }
        self.occupy(slot, hash);
        Some(slot)
    }

    fn occupy(&mut self, slot: Slot, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != Slot::EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn entry(&self, place: u8) -> &[u8] {
        text_at(&self.dictionary, &self.ends, place)
    }

    /// The dictionary is full: keeps it when it pays, else does without from here on.
    fn close(&mut self) {
        self.is_full = true;
        if !self.pays() {
            self.is_plain = true;
            self.flatten();
        }
    }

    fn pays(&self) -> bool {
        self.indices.len() >= PAYS * self.ends.len()
    }

    /// Writes the texts of the dictionary out; only before plain ones have come.
    fn flatten(&mut self) {
        self.plain_count = self.indices.len();
        if self.indices.len() == self.ends.len() {
            // Each text came once: the dictionary is what is to be written.
            std::mem::swap(&mut self.plain, &mut self.dictionary);
        } else {
            for &place in &self.indices {
                push_with_length(&mut self.plain, text_at(&self.dictionary, &self.ends, place));
            }
        }
        self.forget_dictionary();
    }

    fn forget_dictionary(&mut self) {
        self.dictionary.clear();
        self.ends.clear();
        self.slots.fill(Slot::EMPTY);
        self.indices.clear();
        self.last = None;
    }

    /// Does away with a dictionary that does not pay; before the texts are encoded.
    pub(crate) fn settle(&mut self) {
        if !self.indices.is_empty() && self.plain_count == 0 && !self.pays() {
            self.flatten();
        }
    }

    /// Forgets all texts; what was learned about the column and the memory stay.
    pub(crate) fn clear(&mut self) {
        self.forget_dictionary();
        self.plain.clear();
        self.plain_count = 0;
        self.is_full = false;
    }

    /// Gives the memory back too.
    pub(crate) fn release(&mut self) {
        *self = Self { is_plain: self.is_plain, ..Self::default() };
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        self.dictionary.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.indices.capacity()
            + self.plain.capacity()
    }

    /// The texts of the dictionary, each behind its length in four bytes, little endian.
    pub fn dictionary(&self) -> &[u8] {
        &self.dictionary
    }

    /// How many texts the dictionary holds.
    pub fn dictionary_len(&self) -> usize {
        self.ends.len()
    }

    /// The column's first texts, as places in the dictionary.
    pub fn indices(&self) -> &[u8] {
        &self.indices
    }

    /// The texts behind those of [`Texts::indices`], each behind its length in four bytes, little endian.
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Each distinct text of the dictionary, then each plain text.
    pub fn distinct(&self) -> impl Iterator<Item = &[u8]> {
        with_lengths(&self.dictionary).chain(with_lengths(&self.plain))
    }

    /// All texts in the order of their rows.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.indices.iter().map(|&place| self.entry(place)).chain(with_lengths(&self.plain))
    }
}

fn push_with_length(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(LENGTH_BYTES + text.len());
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

fn text_at<'a>(dictionary: &'a [u8], ends: &[u32], place: u8) -> &'a [u8] {
    let place = usize::from(place);
    let start = if place == 0 { 0 } else { ends[place - 1] as usize };
    &dictionary[start + LENGTH_BYTES..ends[place] as usize]
}

fn with_lengths(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = behind;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(texts: &[String]) -> Texts {
        let mut column = Texts::default();
        texts.iter().for_each(|text| column.push(text.as_bytes()));
        column.settle();
        column
    }

    fn read(column: &Texts) -> Vec<String> {
        column.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    }

    #[test]
    fn few_values_are_a_dictionary() {
        let texts: Vec<String> = (0..1000).map(|row| format!("value {}", row % 7)).collect();
        let column = filled(&texts);
        assert_eq!((column.dictionary_len(), column.indices().len(), column.plain().len()), (7, 1000, 0));
        assert_eq!(read(&column), texts);
    }

    #[test]
    fn ids_are_plain_and_stay_so() {
        let texts: Vec<String> = (0..5000).map(|row| format!("id {row}")).collect();
        let mut column = filled(&texts);
        assert_eq!((column.dictionary_len(), column.indices().len()), (0, 0));
        assert_eq!(read(&column), texts);
        column.clear();
        column.push(b"one");
        assert!(column.is_plain && column.indices().is_empty());
        column.release();
        assert!(column.is_plain && column.memory() == 0);
    }

    #[test]
    fn a_full_dictionary_that_pays_is_kept() {
        let often = (0..20_000).map(|row| format!("often {}", row % 100));
        let texts: Vec<String> = often.chain((0..5000).map(|row| format!("rare {row}"))).collect();
        let column = filled(&texts);
        assert!(column.indices().len() >= 20_000 && !column.plain().is_empty());
        assert_eq!(read(&column), texts);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(texts in prop::collection::vec(("[ab]{0,3}|\\PC{0,20}", 0usize..20), 0..200)) {
            // A twentieth is so long that few of them fill a dictionary.
            let long = |(text, long)| if long == 0 { format!("{text}{}", "x".repeat(4000)) } else { text };
            let texts: Vec<String> = texts.into_iter().map(long).collect();
            let mut column = filled(&texts);
            prop_assert_eq!(read(&column), texts.clone());
            column.clear();
            for text in &texts { column.push(text.as_bytes()); }
            column.settle();
            prop_assert_eq!(read(&column), texts);
        }
    }
}
