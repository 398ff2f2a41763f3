//! The texts of one STRING column, laid out as Parquet stores them: a dictionary while that pays, else one behind the
//! other, each with its length before it.
//!
//! Most text columns of events hold few values again and again (a browser, a locale, a campaign), and some a new one in
//! each row (ids). A column starts with a dictionary; one that does not pay is dropped for good.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Texts of a dictionary, each with its length. Small dictionaries were the most valuable setting found: of columns with
/// many values the beginning alone says so.
const DICTIONARY_BYTES: usize = 16 << 10;
/// A dictionary pays when its texts come this often each.
const PAYS: usize = 2;
/// Bytes of the length before each text.
const LENGTH_BYTES: usize = 4;

/// The texts of one column in the order of their rows.
#[derive(Debug, Default)]
pub struct Texts {
    /// Distinct texts, each behind its length (little endian).
    dictionary: Vec<u8>,
    entries: Vec<Entry>,
    /// Texts of the dictionary by their hash.
    places: HashTable<u16>,
    hasher: DefaultHashBuilder,
    /// The first texts, as places in the dictionary.
    indices: Vec<u16>,
    /// The texts behind those, each behind its length.
    plain: Vec<u8>,
    plain_count: usize,
    /// The dictionary takes nothing any more.
    is_full: bool,
    /// A dictionary did not pay in this column: none is begun.
    is_plain: bool,
}

/// A text of the dictionary, and what tells it from others without a look at its bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    /// Where it ends in the dictionary.
    end: u32,
}

/// All of a text up to sixteen bytes; of a longer one its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    length: u32,
    words: [u64; 2],
}

/// The longest text whose key is all of it.
const SHORT_BYTES: usize = 16;

impl Key {
    fn of(text: &[u8], hasher: &DefaultHashBuilder) -> Self {
        let words = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(head), Some(tail)) if text.len() <= SHORT_BYTES => {
                [u64::from_le_bytes(*head), u64::from_le_bytes(*tail)]
            }
            (Some(_), _) => [hasher.hash_one(text), 0],
            _ => {
                let mut bytes = [0; 8];
                bytes[..text.len()].copy_from_slice(text);
                [u64::from_le_bytes(bytes), 0]
            }
        };
        Self { length: text.len() as u32, words }
    }

    fn is_whole(self) -> bool {
        self.length as usize <= SHORT_BYTES
    }

    fn hash(self, hasher: &DefaultHashBuilder) -> u64 {
        if self.is_whole() { hasher.hash_one((self.words, self.length)) } else { self.words[0] }
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
    fn place(&mut self, text: &[u8]) -> Option<u16> {
        if let Some(&last) = self.indices.last()
            && self.entry(last) == text
        {
            return Some(last);
        }
        let key = Key::of(text, &self.hasher);
        let hash = key.hash(&self.hasher);
        let (dictionary, entries, hasher) = (&self.dictionary, &self.entries, &self.hasher);
        let is_it = |&place: &u16| {
            entries[usize::from(place)].key == key && (key.is_whole() || text_at(dictionary, entries, place) == text)
        };
        if let Some(&place) = self.places.find(hash, is_it) {
            return Some(place);
        }
        let place = u16::try_from(self.entries.len()).ok()?;
        if self.dictionary.len() + LENGTH_BYTES + text.len() > DICTIONARY_BYTES {
            return None;
        }
        self.places.insert_unique(hash, place, |&place| entries[usize::from(place)].key.hash(hasher));
        push_with_length(&mut self.dictionary, text);
        self.entries.push(Entry { key, end: self.dictionary.len() as u32 });
        Some(place)
    }

    fn entry(&self, place: u16) -> &[u8] {
        text_at(&self.dictionary, &self.entries, place)
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
        self.indices.len() >= PAYS * self.entries.len()
    }

    /// Writes the texts of the dictionary out; only before plain ones have come.
    fn flatten(&mut self) {
        self.plain_count = self.indices.len();
        if self.indices.len() == self.entries.len() {
            // Each text came once: the dictionary is what is to be written.
            std::mem::swap(&mut self.plain, &mut self.dictionary);
        } else {
            for &place in &self.indices {
                push_with_length(&mut self.plain, text_at(&self.dictionary, &self.entries, place));
            }
        }
        self.forget_dictionary();
    }

    fn forget_dictionary(&mut self) {
        self.dictionary.clear();
        self.entries.clear();
        self.places.clear();
        self.indices.clear();
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
            + self.entries.capacity() * size_of::<Entry>()
            + self.places.capacity() * (size_of::<u16>() + 1)
            + self.indices.capacity() * size_of::<u16>()
            + self.plain.capacity()
    }

    /// The texts of the dictionary, each behind its length in four bytes, little endian.
    pub fn dictionary(&self) -> &[u8] {
        &self.dictionary
    }

    /// How many texts the dictionary holds.
    pub fn dictionary_len(&self) -> usize {
        self.entries.len()
    }

    /// The column's first texts, as places in the dictionary.
    pub fn indices(&self) -> &[u16] {
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

fn text_at<'a>(dictionary: &'a [u8], entries: &[Entry], place: u16) -> &'a [u8] {
    let Entry { key, end } = entries[usize::from(place)];
    &dictionary[(end - key.length) as usize..end as usize]
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
