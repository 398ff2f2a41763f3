//! Nested objects become leaves with a path and a column name.
//!
//! Clients repeat the same keys in the same order, so every key seen is kept in a trie with its column name, and the
//! key behind the last hit is tried first: a known event costs one comparison per key, no hash and no allocation.
//! The trie is bounded: an event with keys beyond the bound (user ids as property names), or with a key repeated in
//! one object, takes the careful walk, which remembers nothing.

use hashbrown::HashMap;

use crate::json::{Node, NodeKind, Tape, key_word, word_of};
use crate::limits::FLATTEN_DEPTH;
use crate::naming::column_name;
use crate::text;

/// Keys that one trie remembers.
const TRIE_KEYS: usize = 16_384;

const NONE: u32 = u32::MAX;

/// A leaf's path as written (segments joined with `_`) and its column.
#[derive(Debug)]
pub(crate) struct LeafName {
    pub(crate) path: String,
    pub(crate) column: String,
    /// Whether the path already is the column's name: such a path wins against others that meet there.
    pub(crate) exact: bool,
}

impl LeafName {
    fn new(path: String) -> Self {
        let column = column_name(&path);
        let exact = path == column;
        Self { path, column, exact }
    }
}

/// One value to store: its name in the trie or among the batch's own, and its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// The trie's leaf, or [`Leaf::OWN`] plus an index into [`Careful::names`].
    pub(crate) name: u32,
    pub(crate) node: u32,
}

impl Leaf {
    /// Marks names that the trie does not remember.
    pub(crate) const OWN: u32 = 1 << 31;
}

/// What the careful walk found besides leaves.
#[derive(Debug, Default)]
pub(crate) struct Careful {
    pub(crate) names: Vec<LeafName>,
    /// Values of repeated keys that lost: path and node.
    pub(crate) losers: Vec<(String, u32)>,
}

/// The fast walk met a repeated key or a full trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeedsCare;

/// All keys seen in one bag (or in `context`), by path.
#[derive(Debug)]
pub(crate) struct KeyTrie {
    objects: Vec<ObjectKeys>,
    entries: Vec<Entry>,
    leaves: Vec<LeafName>,
    /// Tells one walk from the next, to notice a repeated key.
    walk: u64,
}

#[derive(Debug)]
struct ObjectKeys {
    /// The path of the object with a trailing `_`; empty for a bag.
    prefix: String,
    /// Entries in the order in which they were first seen.
    order: Vec<u32>,
    /// Raw key (escapes unresolved) to its place in `order`.
    places: HashMap<Box<[u8]>, u32>,
}

#[derive(Debug)]
struct Entry {
    raw: Box<[u8]>,
    /// The first bytes of `raw` as a number.
    word: u128,
    /// The entry of the same key without escapes; itself if it has none.
    canonical: u32,
    leaf: u32,
    object: u32,
    seen: u64,
}

impl KeyTrie {
    /// A trie whose paths begin with `prefix`: `context_`, or nothing for a bag.
    pub(crate) fn new(prefix: &str) -> Self {
        let root = ObjectKeys { prefix: prefix.to_owned(), order: Vec::new(), places: HashMap::new() };
        Self { objects: vec![root], entries: Vec::new(), leaves: Vec::new(), walk: 0 }
    }

    pub(crate) fn leaf(&self, name: u32) -> &LeafName {
        &self.leaves[name as usize]
    }

    /// How many leaves there are; their names are `0..count`.
    pub(crate) fn leaf_count(&self) -> usize {
        self.leaves.len()
    }

    /// Appends the leaves of an object in document order; on [`NeedsCare`] `out` is as before.
    pub(crate) fn flatten(
        &mut self,
        tape: &Tape,
        chunk: &[u8],
        object: u32,
        out: &mut Vec<Leaf>,
    ) -> Result<(), NeedsCare> {
        self.walk += 1;
        let before = out.len();
        let done = self.walk_object(tape, chunk, object, 0, 1, out);
        if done.is_err() {
            out.truncate(before);
        }
        done
    }

    fn walk_object(
        &mut self,
        tape: &Tape,
        chunk: &[u8],
        object: u32,
        keys: u32,
        depth: usize,
        out: &mut Vec<Leaf>,
    ) -> Result<(), NeedsCare> {
        let mut expected = 0;
        for (key, value) in tape.members(object) {
            let place = self.find(chunk, keys, key, expected)?;
            expected = place + 1;
            let found = self.objects[keys as usize].order[place];
            let entry = self.entries[found as usize].canonical as usize;
            if self.entries[entry].seen == self.walk {
                return Err(NeedsCare);
            }
            self.entries[entry].seen = self.walk;
            let node = tape.node(value);
            match node.kind {
                NodeKind::Null => {}
                NodeKind::Object if node.next == value + 1 => {}
                NodeKind::Object if depth < FLATTEN_DEPTH => {
                    let child = self.child(keys, entry);
                    self.walk_object(tape, chunk, value, child, depth + 1, out)?;
                }
                _ => {
                    let name = self.name(keys, entry);
                    out.push(Leaf { name, node: value });
                }
            }
        }
        Ok(())
    }

    /// The key's place in its object's order; the expected one first.
    fn find(&mut self, chunk: &[u8], keys: u32, key: Node, expected: usize) -> Result<usize, NeedsCare> {
        let raw = key.text(chunk);
        let object = &self.objects[keys as usize];
        if let Some(&entry) = object.order.get(expected) {
            let entry = &self.entries[entry as usize];
            let is_it = entry.word == key_word(chunk, key)
                && entry.raw.len() == raw.len()
                && (raw.len() <= 16 || entry.raw[16..] == raw[16..]);
            if is_it {
                return Ok(expected);
            }
        }
        match object.places.get(raw) {
            Some(&place) => Ok(place as usize),
            None => self.insert(chunk, keys, key),
        }
    }

    fn insert(&mut self, chunk: &[u8], keys: u32, key: Node) -> Result<usize, NeedsCare> {
        if self.entries.len() + 2 > TRIE_KEYS {
            return Err(NeedsCare);
        }
        if key.kind != NodeKind::EscapedString {
            return Ok(self.push_entry(keys, key.text(chunk).into(), None));
        }
        // `{"a\u0062":1}` and `{"ab":1}` are one key: both spellings share one canonical entry. A literal key cannot
        // hold a backslash, so the two name spaces do not meet.
        let resolved = text::to_string(chunk, key).into_bytes();
        let literal = match self.objects[keys as usize].places.get(resolved.as_slice()) {
            Some(&place) => place as usize,
            None => self.push_entry(keys, resolved.into(), None),
        };
        let canonical = self.objects[keys as usize].order[literal];
        Ok(self.push_entry(keys, key.text(chunk).into(), Some(canonical)))
    }

    fn push_entry(&mut self, keys: u32, raw: Box<[u8]>, canonical: Option<u32>) -> usize {
        let entry = self.entries.len() as u32;
        let object = &mut self.objects[keys as usize];
        let place = object.order.len();
        object.order.push(entry);
        object.places.insert(raw.clone(), place as u32);
        let canonical = canonical.unwrap_or(entry);
        let word = word_of(&raw);
        self.entries.push(Entry { raw, word, canonical, leaf: NONE, object: NONE, seen: 0 });
        place
    }

    fn path(&self, keys: u32, entry: usize) -> String {
        format!("{}{}", self.objects[keys as usize].prefix, String::from_utf8_lossy(&self.entries[entry].raw))
    }

    fn child(&mut self, keys: u32, entry: usize) -> u32 {
        if self.entries[entry].object == NONE {
            let prefix = format!("{}_", self.path(keys, entry));
            self.entries[entry].object = self.objects.len() as u32;
            self.objects.push(ObjectKeys { prefix, order: Vec::new(), places: HashMap::new() });
        }
        self.entries[entry].object
    }

    fn name(&mut self, keys: u32, entry: usize) -> u32 {
        if self.entries[entry].leaf == NONE {
            let path = self.path(keys, entry);
            self.entries[entry].leaf = self.leaves.len() as u32;
            self.leaves.push(LeafName::new(path));
        }
        self.entries[entry].leaf
    }
}

/// Flattens objects whose members count as one object's (an envelope's context, then the item's own: a later one of
/// the same key wins silently, as the merge demands); keys repeated within one object lose aloud.
pub(crate) fn flatten_carefully(
    tape: &Tape,
    chunk: &[u8],
    objects: &[u32],
    prefix: &str,
    out: &mut Vec<Leaf>,
    careful: &mut Careful,
) {
    let mut members: Vec<(String, u32, usize)> = Vec::new();
    for (source, &object) in objects.iter().enumerate() {
        members.extend(tape.members(object).map(|(key, value)| (text::to_string(chunk, key), value, source)));
    }
    walk_carefully(tape, chunk, &members, prefix, 1, out, careful);
}

fn walk_carefully(
    tape: &Tape,
    chunk: &[u8],
    members: &[(String, u32, usize)],
    prefix: &str,
    depth: usize,
    out: &mut Vec<Leaf>,
    careful: &mut Careful,
) {
    let last: HashMap<&str, usize> = members.iter().enumerate().map(|(at, (key, ..))| (key.as_str(), at)).collect();
    for (at, (key, value, source)) in members.iter().enumerate() {
        let node = tape.node(*value);
        if node.kind == NodeKind::Null || (node.kind == NodeKind::Object && node.next == value + 1) {
            continue;
        }
        let path = format!("{prefix}{key}");
        let winner = last.get(key.as_str()).copied().unwrap_or(at);
        if winner != at {
            let is_merge = members[winner].2 != *source;
            if !is_merge {
                careful.losers.push((path, *value));
            }
        } else if node.kind == NodeKind::Object && depth < FLATTEN_DEPTH {
            let inner: Vec<_> =
                tape.members(*value).map(|(key, value)| (text::to_string(chunk, key), value, 0)).collect();
            walk_carefully(tape, chunk, &inner, &format!("{path}_"), depth + 1, out, careful);
        } else {
            let name = Leaf::OWN | careful.names.len() as u32;
            careful.names.push(LeafName::new(path));
            out.push(Leaf { name, node: *value });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Path, column and source of every leaf by the fast walk; `None` when it needs care.
    fn fast(trie: &mut KeyTrie, text: &str) -> Option<Vec<(String, String, String)>> {
        let mut tape = Tape::default();
        let root = tape.read(text.as_bytes(), 0, text.len()).unwrap();
        let mut leaves = Vec::new();
        trie.flatten(&tape, text.as_bytes(), root, &mut leaves).ok()?;
        let show = |leaf: &Leaf| {
            let name = trie.leaf(leaf.name);
            let source = tape.node(leaf.node).source(text.as_bytes());
            (name.path.clone(), name.column.clone(), String::from_utf8(source.to_vec()).unwrap())
        };
        Some(leaves.iter().map(show).collect())
    }

    /// Path, column and source of every leaf; path and source of every loser.
    type Walked = (Vec<(String, String, String)>, Vec<(String, String)>);

    fn careful(text: &str) -> Walked {
        let mut tape = Tape::default();
        let root = tape.read(text.as_bytes(), 0, text.len()).unwrap();
        let (mut leaves, mut found) = (Vec::new(), Careful::default());
        flatten_carefully(&tape, text.as_bytes(), &[root], "", &mut leaves, &mut found);
        let source = |node: u32| String::from_utf8(tape.node(node).source(text.as_bytes()).to_vec()).unwrap();
        let show = |leaf: &Leaf| {
            let name = &found.names[(leaf.name & !Leaf::OWN) as usize];
            (name.path.clone(), name.column.clone(), source(leaf.node))
        };
        let losers = found.losers.iter().map(|(path, node)| (path.clone(), source(*node))).collect();
        (leaves.iter().map(show).collect(), losers)
    }

    #[test]
    fn paths_and_columns() {
        let mut trie = KeyTrie::new("context_");
        let found = fast(&mut trie, r#"{"page":{"URL":"x","n":null,"e":{}},"userAgent":[1]}"#).unwrap();
        let expected =
            [("context_page_URL", "context_page_url", "\"x\""), ("context_userAgent", "context_user_agent", "[1]")];
        let expected: Vec<_> = expected.iter().map(|&(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).collect();
        assert_eq!(found, expected);
        assert_eq!(fast(&mut trie, r#"{"userAgent":[1],"page":{"URL":"x"}}"#).unwrap().len(), 2);
    }

    #[test]
    fn depth_sixteen_is_text() {
        let text = format!("{}{{\"x\":1}}{}", "{\"a\":".repeat(16), "}".repeat(16));
        let found = fast(&mut KeyTrie::new(""), &text).unwrap();
        assert_eq!(found, [(["a"; 16].join("_"), ["a"; 16].join("_"), "{\"x\":1}".to_owned())]);
        assert_eq!(careful(&text).0, found);
    }

    #[test]
    fn a_repeated_key_needs_care_in_any_spelling() {
        let mut trie = KeyTrie::new("");
        for text in [r#"{"a":{"x":1},"a":{"y":2}}"#, r#"{"ab":1,"a\u0062":2}"#, r#"{"a\u0062":2,"ab":1}"#] {
            assert_eq!(fast(&mut trie, text), None, "{text}");
        }
        let (leaves, losers) = careful(r#"{"a":{"x":1},"a":{"y":2}}"#);
        assert_eq!((leaves[0].0.as_str(), losers[0].0.as_str(), losers[0].1.as_str()), ("a_y", "a", "{\"x\":1}"));
    }

    #[test]
    fn the_trie_is_bounded() {
        let mut trie = KeyTrie::new("");
        let full = (0..TRIE_KEYS).find(|key| fast(&mut trie, &format!("{{\"user {key}\":1}}")).is_none());
        assert!(full.is_some() && trie.entries.len() <= TRIE_KEYS);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::json!(null)),
            any::<i32>().prop_map(Into::into),
            "[a-z]{0,3}".prop_map(Into::into)
        ];
        leaf.prop_recursive(5, 32, 4, |inner| {
            prop::collection::hash_map("[a-cA-C_]{0,3}", inner, 0..4).prop_map(|map| map.into_iter().collect())
        })
    }

    proptest! {
        #[test]
        fn both_walks_agree(events in prop::collection::vec(prop::collection::hash_map("[a-c]{1,2}", json(), 0..5), 1..6)) {
            let mut trie = KeyTrie::new("");
            for event in events {
                let text = serde_json::to_string(&event).unwrap();
                prop_assert_eq!(fast(&mut trie, &text).unwrap(), careful(&text).0);
            }
        }
    }
}
