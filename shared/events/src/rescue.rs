//! The JSON object that keeps what fits no column of its row.

use hashbrown::HashMap;

use crate::event::Field;
use crate::hide;
use crate::json::{Node, NodeKind, Tape};
use crate::naming::column_name;
use crate::selection::{ColumnRules, Treatment};
use crate::text::{unescape, write_json_string, write_text};

/// One row's `_rescued_data`, built as values are met.
#[derive(Debug, Default)]
pub(crate) struct Rescue {
    json: Vec<u8>,
    /// Every key in the object, and the last number that a repetition of it got: a line can repeat one key a million
    /// times.
    keys: HashMap<String, usize>,
}

impl Rescue {
    pub(crate) fn clear(&mut self) {
        self.json.clear();
        self.keys.clear();
    }

    /// Adds a value as it stands in the source. A second value of a key is `<key>#2`.
    pub(crate) fn add(&mut self, key: &str, source: &[u8]) {
        let mut unique = key.to_owned();
        if let Some(&last) = self.keys.get(key) {
            let mut number = last;
            while self.keys.contains_key(&unique) {
                number += 1;
                unique = format!("{key}#{number}");
            }
            self.keys.insert(key.to_owned(), number);
        }
        self.json.push(if self.keys.is_empty() { b'{' } else { b',' });
        write_json_string(unique.as_bytes(), &mut self.json);
        self.json.push(b':');
        self.json.extend_from_slice(source);
        self.keys.insert(unique, 1);
    }

    /// Adds a value of a column that events bring, as far as the rules let it be seen.
    pub(crate) fn keep(&mut self, rules: Option<&ColumnRules>, path: &str, chunk: &[u8], node: Node) {
        let Some(rules) = rules else { return self.add(path, node.source(chunk)) };
        let column = column_name(path);
        let treatment = match node.kind {
            // Not this, but what is inside would be columns that have to be allowed.
            NodeKind::Object => rules.lists(&column),
            _ => rules.of_brought(&column),
        };
        self.keep_treated(rules, treatment, path, path, chunk, node);
    }

    /// Adds a field of a call, as far as the rules let it be seen.
    pub(crate) fn keep_field(&mut self, rules: Option<&ColumnRules>, field: Field, chunk: &[u8], node: Node) {
        let (Some(rules), key) = (rules, field.key()) else { return self.add(field.key(), node.source(chunk)) };
        let is_bag = matches!(field, Field::Properties | Field::Traits | Field::Context);
        match node.kind {
            // Text that is no object can hold anything.
            kind if is_bag && kind != NodeKind::Object => self.add(key, hide::HIDDEN.as_bytes()),
            _ if field == Field::Context => self.keep_treated(rules, Treatment::Keep, key, key, chunk, node),
            _ => self.keep_treated(rules, rules.of_field(field), key, "", chunk, node),
        }
    }

    /// `path` is what stands before the names of columns inside the value.
    fn keep_treated(
        &mut self,
        rules: &ColumnRules,
        treatment: Treatment,
        key: &str,
        path: &str,
        chunk: &[u8],
        node: Node,
    ) {
        match treatment {
            Treatment::Deny => {}
            Treatment::Hash => self.add(key, format!("\"{}\"", hash_of(rules, chunk, node)).as_bytes()),
            Treatment::Keep if node.kind == NodeKind::Object => {
                self.add(key, &hide::object(node.source(chunk), path, rules));
            }
            Treatment::Keep => self.add(key, node.source(chunk)),
        }
    }

    /// Takes up an object that was finished before, in the place of what is kept now; false when the text is none.
    pub(crate) fn resume(&mut self, object: &[u8]) -> bool {
        self.clear();
        let mut tape = Tape::default();
        let Ok(root) = tape.read(object, 0, object.len()) else { return false };
        let node = tape.node(root);
        if node.kind != NodeKind::Object {
            return false;
        }
        for (key, _) in tape.members(root) {
            let mut name = Vec::new();
            unescape(key.text(object), &mut name);
            self.keys.insert(String::from_utf8_lossy(&name).into_owned(), 1);
        }
        if !self.keys.is_empty() {
            self.json.extend_from_slice(&object[node.start as usize..node.end as usize - 1]);
        }
        true
    }

    /// How many values it keeps.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The object, when there is anything in it.
    pub(crate) fn finish(&mut self) -> Option<&[u8]> {
        if self.keys.is_empty() {
            return None;
        }
        self.json.push(b'}');
        Some(&self.json)
    }
}

/// The hash of a value: of the text that a STRING column would hold.
pub(crate) fn hash_of(rules: &ColumnRules, chunk: &[u8], node: Node) -> String {
    let mut text = Vec::new();
    write_text(chunk, node, &mut text);
    rules.hash(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_loser_gets_a_number() {
        let mut rescue = Rescue::default();
        assert_eq!(rescue.finish(), None);
        for (key, source) in [("a", "1.50"), ("a#2", "0"), ("a", "\"\\ud83d\""), ("q\"", "[1]")] {
            rescue.add(key, source.as_bytes());
        }
        assert_eq!(rescue.len(), 4);
        assert_eq!(String::from_utf8_lossy(rescue.finish().unwrap()), r#"{"a":1.50,"a#2":0,"a#3":"\ud83d","q\"":[1]}"#);
    }

    #[test]
    fn a_key_repeated_without_end_takes_its_time_once() {
        let mut rescue = Rescue::default();
        for _ in 0..200_000 {
            rescue.add("a", b"1");
        }
        assert_eq!(rescue.len(), 200_000);
        assert!(rescue.finish().unwrap().ends_with(br#""a#200000":1}"#));
    }
}
