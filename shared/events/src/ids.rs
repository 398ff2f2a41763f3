//! The ids of one upload: exactly while they are few; once they are many, only those that may come twice.
//!
//! Every event's id has to be known until the upload's end, and an upload can be larger than any memory. So when there
//! are too many, the rest of the upload is read once for its ids alone: through a [`Sieve`], which lets an id pass
//! for certain when it came before, and rarely when it did not. What passed is remembered exactly from then on, and all
//! others are known to come once.

use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// How many ids are remembered before the rest of the upload is sifted: 18 MB of them, and half as much again while
/// their table grows. An upload has this many in about a gigabyte.
const IDS: usize = 7 << 17;
/// Bytes of a sieve: of four million ids in 16 MiB one in a thousand passes for nothing.
const SIEVE_BYTES: std::ops::Range<u64> = 8 << 20..128 << 20;
/// Stored bytes of an upload for each byte of its sieve.
const STORED_BYTES: u64 = 32;

/// What tells an id from others: 96 bits of its hash. Among a hundred million ids two meet by chance once in ten trillion
/// uploads.
type Key = [u32; 3];

fn key(hash: u128) -> Key {
    [hash as u32, (hash >> 32) as u32, (hash >> 64) as u32]
}

fn bucket([low, middle, _]: Key) -> u64 {
    u64::from(middle) << 32 | u64::from(low)
}

/// Ids and a number that each came with.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    seen: HashTable<(Key, u32)>,
    /// Once sifted: the ids that may come again.
    recurring: Option<Recurring>,
}

/// Ids that may come twice.
#[derive(Debug, Default)]
pub struct Recurring(HashTable<Key>);

impl Recurring {
    fn contains(&self, key: Key) -> bool {
        self.0.find(bucket(key), |known| *known == key).is_some()
    }

    fn insert(&mut self, key: Key) {
        self.0.entry(bucket(key), |known| *known == key, |known| bucket(*known)).or_insert(key);
    }

    /// Takes over what another worker found.
    pub fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|key| self.insert(key));
    }
}

impl Ids {
    /// Whether there are so many that the rest of the upload has to be sifted.
    pub(crate) fn is_full(&self) -> bool {
        self.recurring.is_none() && self.seen.len() >= IDS
    }

    fn entry(&mut self, key: Key) -> Entry<'_, (Key, u32)> {
        self.seen.entry(bucket(key), |(known, _)| *known == key, |(known, _)| bucket(*known))
    }

    /// The number that the id came with first: the caller may change it. None when it is new, and then it is noted
    /// with `number` if it may come again.
    pub(crate) fn see(&mut self, hash: u128, number: u32) -> Option<&mut u32> {
        let key = key(hash);
        if self.recurring.as_ref().is_some_and(|recurring| !recurring.contains(key)) {
            return None;
        }
        match self.entry(key) {
            Entry::Occupied(entry) => Some(&mut entry.into_mut().1),
            Entry::Vacant(entry) => {
                entry.insert((key, number));
                None
            }
        }
    }

    /// Notes an id for certain; false when it was noted before.
    pub(crate) fn insert(&mut self, hash: u128) -> bool {
        let key = key(hash);
        let entry = self.entry(key);
        let is_new = matches!(entry, Entry::Vacant(_));
        entry.or_insert((key, 0));
        is_new
    }

    /// Looks at an id of the rest of the upload: notes it in `recurring` when it may have come before.
    pub(crate) fn sift(&self, hash: u128, sieve: &Sieve, recurring: &mut Recurring) {
        let key = key(hash);
        let is_seen = || self.seen.find(bucket(key), |(known, _)| *known == key).is_some();
        if sieve.passes(key) || is_seen() {
            recurring.insert(key);
        }
    }

    /// From here on only these ids can come again.
    pub(crate) fn settle(&mut self, recurring: Recurring) {
        self.seen.retain(|(key, _)| recurring.contains(*key));
        self.seen.shrink_to_fit(|(known, _)| bucket(*known));
        self.recurring = Some(recurring);
    }
}

/// A Bloom filter whose bits of one id lie in one word, so that of two workers who show it the same id at the same time
/// one sees the other's.
#[derive(Debug)]
pub struct Sieve(Vec<AtomicU64>);

impl Sieve {
    /// A sieve for an upload of this size as it is stored.
    pub fn new(stored: u64) -> Self {
        let bytes = (stored / STORED_BYTES).clamp(SIEVE_BYTES.start, SIEVE_BYTES.end);
        Self((0..bytes / size_of::<u64>() as u64).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether an id may have been shown before; for certain when it was.
    fn passes(&self, [low, middle, high]: Key) -> bool {
        let bits = [low, low >> 6, low >> 12, low >> 18].iter().fold(0, |bits, place| bits | 1 << (place & 63));
        let place = (u64::from(middle) << 32 | u64::from(high)) % self.0.len() as u64;
        self.0[place as usize].fetch_or(bits, Ordering::Relaxed) & bits == bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look like hashes.
    fn hash(number: u128) -> u128 {
        (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
    }

    #[test]
    fn what_comes_again_is_known_before_and_after_the_sifting() {
        let mut ids = Ids::default();
        for number in 0..1000 {
            assert_eq!(ids.see(hash(number), number as u32), None);
        }
        assert_eq!(ids.see(hash(7), 0).copied(), Some(7));
        // The rest: some of the first, and new ones of which every tenth comes twice.
        let rest: Vec<u128> = (900..100_000).chain((10_000..100_000).step_by(10)).collect();
        let (sieve, mut recurring) = (Sieve::new(0), Recurring::default());
        for &number in &rest {
            ids.sift(hash(number), &sieve, &mut recurring);
        }
        ids.settle(recurring);
        assert!(ids.seen.len() < 200, "{} of the first come again", ids.seen.len());
        let again = rest.iter().filter(|&&number| ids.see(hash(number), 1).is_some()).count();
        assert_eq!(again, 100 + 9_000);
        assert!(ids.seen.len() < 12_000, "the others are not remembered");
    }

    #[test]
    fn one_of_two_workers_sees_the_other() {
        let sieve = Sieve::new(0);
        let passed = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let seen = (0..50_000).filter(|&number| sieve.passes(key(hash(number)))).count();
                    passed.fetch_add(seen, Ordering::Relaxed);
                });
            }
        });
        assert!(passed.into_inner() >= 50_000);
    }
}
