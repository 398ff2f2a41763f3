//! JSON text to a flat tape of nodes that point back into the text.
//!
//! A node holds no value, only its kind and its place: numbers keep their exact text until a column's type is known,
//! strings are unescaped only when they are written, and an array stays one slice of text. That is why this is our
//! own reader: the tapes of the known SIMD parsers drop the text of numbers.
//!
//! An object's node is followed by its keys and values in turn, to `next`; an array is validated but its inside has
//! no nodes. The reader is iterative, so depth costs no stack.

use crate::number;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// Keys and values follow.
    Object,
    /// An array whose text is compact JSON already.
    Array,
    /// An array with white space or escapes inside: its text must be written anew to be compact.
    LooseArray,
    /// A string without escapes; `start..end` is inside the quotes.
    String,
    /// A string with escapes, valid but not resolved; `start..end` is inside the quotes.
    EscapedString,
    /// A number without fraction or exponent.
    Integer,
    /// Any other number.
    Decimal,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// One value, or one key of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// Where its text starts in the chunk.
    pub(crate) start: u32,
    /// Where its text ends.
    pub(crate) end: u32,
    /// The index of the node behind this one and all that is inside it.
    pub(crate) next: u32,
}

impl Node {
    /// The node's text: inside the quotes for a string, all of it otherwise.
    pub(crate) fn text<'a>(&self, chunk: &'a [u8]) -> &'a [u8] {
        &chunk[self.start as usize..self.end as usize]
    }

    /// The value as it stands in the source, quotes included.
    pub(crate) fn source<'a>(&self, chunk: &'a [u8]) -> &'a [u8] {
        match self.kind {
            NodeKind::String | NodeKind::EscapedString => &chunk[self.start as usize - 1..self.end as usize + 1],
            _ => self.text(chunk),
        }
    }
}

/// The first bytes of a key as one number, zero behind its end: most keys are compared by this alone.
pub(crate) fn key_word(chunk: &[u8], key: Node) -> u128 {
    let (start, length) = (key.start as usize, (key.end - key.start) as usize);
    let mut bytes = [0; 16];
    match chunk.get(start..start + 16) {
        Some(sixteen) => bytes.copy_from_slice(sixteen),
        None => {
            let rest = &chunk[start..key.end as usize];
            bytes[..rest.len()].copy_from_slice(rest);
        }
    }
    let word = u128::from_le_bytes(bytes);
    if length >= 16 { word } else { word & ((1 << (8 * length)) - 1) }
}

/// [`key_word`] of a key that is known beforehand.
pub(crate) const fn word_of(key: &[u8]) -> u128 {
    let mut word = 0;
    let mut at = 0;
    while at < key.len() && at < 16 {
        word |= (key[at] as u128) << (8 * at);
        at += 1;
    }
    word
}

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Nodes of the values of one chunk.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    nodes: Vec<Node>,
    /// Objects that are open while reading.
    open: Vec<u32>,
}

impl Tape {
    /// Forgets all nodes, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
    }

    /// The node at an index.
    pub(crate) fn node(&self, index: u32) -> Node {
        self.nodes[index as usize]
    }

    /// Keys and values of an object, in document order.
    pub(crate) fn members(&self, object: u32) -> Members<'_> {
        let node = self.node(object);
        let at = if node.kind == NodeKind::Object { object + 1 } else { node.next };
        Members { nodes: &self.nodes, at, end: node.next }
    }

    /// Reads one value that fills `chunk[start..end]` but for white space; returns its node's index.
    ///
    /// The bytes must be valid UTF-8: that is checked once for a whole chunk.
    ///
    /// # Errors
    /// [`Invalid`] when it is no JSON text; the tape is as before.
    pub(crate) fn read(&mut self, chunk: &[u8], start: usize, end: usize) -> Result<u32, Invalid> {
        let root = self.nodes.len();
        let text = &chunk[..end];
        self.open.clear();
        match self.value(text, start) {
            Some(at) if skip_space(text, at) == end => Ok(root as u32),
            _ => {
                self.nodes.truncate(root);
                Err(Invalid)
            }
        }
    }

    fn push(&mut self, kind: NodeKind, start: usize, end: usize) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { kind, start: start as u32, end: end as u32, next });
    }

    /// Reads a value and all that is inside it; returns where it ends.
    fn value(&mut self, text: &[u8], at: usize) -> Option<usize> {
        let mut at = skip_space(text, at);
        loop {
            // Here a value starts.
            match *text.get(at)? {
                b'{' => {
                    self.open.push(self.nodes.len() as u32);
                    self.push(NodeKind::Object, at, at);
                    at = skip_space(text, at + 1);
                    if text.get(at) != Some(&b'}') {
                        at = self.key(text, at)?;
                        continue;
                    }
                }
                b'"' => {
                    let (end, escaped) = string(text, at + 1)?;
                    self.push(if escaped { NodeKind::EscapedString } else { NodeKind::String }, at + 1, end);
                    at = end + 1;
                }
                b'[' => {
                    let (end, loose) = container(text, at)?;
                    self.push(if loose { NodeKind::LooseArray } else { NodeKind::Array }, at, end);
                    at = end;
                }
                b't' if text[at..].starts_with(b"true") => {
                    self.push(NodeKind::True, at, at + 4);
                    at += 4;
                }
                b'f' if text[at..].starts_with(b"false") => {
                    self.push(NodeKind::False, at, at + 5);
                    at += 5;
                }
                b'n' if text[at..].starts_with(b"null") => {
                    self.push(NodeKind::Null, at, at + 4);
                    at += 4;
                }
                _ => {
                    let (end, integer) = number::scan(text, at)?;
                    self.push(if integer { NodeKind::Integer } else { NodeKind::Decimal }, at, end);
                    at = end;
                }
            }
            // Here a value ended; close what ends with it.
            loop {
                let Some(&object) = self.open.last() else { return Some(at) };
                at = skip_space(text, at);
                match *text.get(at)? {
                    b',' => {
                        at = skip_space(text, at + 1);
                        at = self.key(text, at)?;
                        break;
                    }
                    b'}' => {
                        at += 1;
                        let next = self.nodes.len() as u32;
                        let node = &mut self.nodes[object as usize];
                        (node.end, node.next) = (at as u32, next);
                        self.open.pop();
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Reads a key and its colon; returns where its value starts.
    fn key(&mut self, text: &[u8], at: usize) -> Option<usize> {
        if *text.get(at)? != b'"' {
            return None;
        }
        let (end, escaped) = string(text, at + 1)?;
        self.push(if escaped { NodeKind::EscapedString } else { NodeKind::String }, at + 1, end);
        let colon = skip_space(text, end + 1);
        (*text.get(colon)? == b':').then(|| skip_space(text, colon + 1))
    }
}

/// Iterates over an object's keys and the indices of their values.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    nodes: &'a [Node],
    at: u32,
    end: u32,
}

impl Iterator for Members<'_> {
    type Item = (Node, u32);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at + 1 >= self.end {
            return None;
        }
        let (key, value) = (self.at, self.at + 1);
        self.at = self.nodes[value as usize].next;
        Some((self.nodes[key as usize], value))
    }
}

/// The places of an array's elements in the chunk; the array must have been read before.
pub(crate) fn elements(chunk: &[u8], array: Node) -> Vec<(usize, usize)> {
    let (mut at, close) = (array.start as usize + 1, array.end as usize - 1);
    let mut places = Vec::new();
    let mut depth = 0usize;
    let mut start = at;
    while at < close {
        match chunk[at] {
            b'"' => at = string(&chunk[..close], at + 1).map_or(close, |(end, _)| end),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                places.push((start, at));
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if skip_space(&chunk[..close], start) < close {
        places.push((start, close));
    }
    places
}

pub(crate) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = text.get(at) {
        at += 1;
    }
    at
}

/// Scans a string whose first byte inside the quotes is at `at`: where its closing quote is, and whether it holds
/// escapes. Control characters end it in failure.
pub(crate) fn string(text: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    loop {
        at = plain_run(text, at);
        match *text.get(at)? {
            b'"' => return Some((at, escaped)),
            b'\\' => {
                escaped = true;
                match *text.get(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                    b'u' => {
                        if !text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) {
                            return None;
                        }
                        at += 6;
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

/// The first byte from `at` on that is a quote, a backslash or a control character; eight bytes at a time.
fn plain_run(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    while let Some(eight) = text.get(at..at + 8) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(eight);
        let word = u64::from_le_bytes(bytes);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // A byte's high bit is set where it is zero (quote, backslash) or below 0x20; only the lowest hit is exact,
        // since a borrow can reach the bytes above it.
        let hits = ((quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word))
            & HIGHS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while text.get(at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at
}

/// Validates the array or object that opens at `at`: where it ends, and whether its text is not compact as it stands.
pub(crate) fn container(text: &[u8], mut at: usize) -> Option<(usize, bool)> {
    // One entry per open container: whether it is an object.
    let mut open = vec![text.get(at) == Some(&b'{')];
    let mut loose = false;
    let mut fresh = true;
    let space = |at: usize, loose: &mut bool| {
        let next = skip_space(text, at);
        *loose |= next != at;
        next
    };
    at = space(at + 1, &mut loose);
    loop {
        let Some(&in_object) = open.last() else { return Some((at, loose)) };
        let close = if in_object { b'}' } else { b']' };
        let byte = *text.get(at)?;
        if byte == close && fresh {
            open.pop();
            at += 1;
        } else {
            if in_object {
                if byte != b'"' {
                    return None;
                }
                let (end, escaped) = string(text, at + 1)?;
                loose |= escaped;
                at = space(end + 1, &mut loose);
                if *text.get(at)? != b':' {
                    return None;
                }
                at = space(at + 1, &mut loose);
            }
            match *text.get(at)? {
                opener @ (b'{' | b'[') => {
                    open.push(opener == b'{');
                    fresh = true;
                    at = space(at + 1, &mut loose);
                    continue;
                }
                b'"' => {
                    let (end, escaped) = string(text, at + 1)?;
                    loose |= escaped;
                    at = end + 1;
                }
                b't' if text[at..].starts_with(b"true") => at += 4,
                b'f' if text[at..].starts_with(b"false") => at += 5,
                b'n' if text[at..].starts_with(b"null") => at += 4,
                _ => at = number::scan(text, at)?.0,
            }
        }
        // A value ended: a comma, or the ends of what is open.
        loop {
            let Some(&in_object) = open.last() else { return Some((at, loose)) };
            at = space(at, &mut loose);
            match *text.get(at)? {
                b',' => {
                    at = space(at + 1, &mut loose);
                    fresh = false;
                    break;
                }
                b'}' if in_object => at += 1,
                b']' if !in_object => at += 1,
                _ => return None,
            }
            open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Tape, Invalid> {
        let mut tape = Tape::default();
        tape.read(text.as_bytes(), 0, text.len()).map(|_| tape)
    }

    #[test]
    fn members_in_document_order_with_their_text() {
        let text = r#" {"a":1.50,"b":{"c":"x","d":[1, 2],"e":{}},"f\n":null,"a":true} "#;
        let tape = read(text).unwrap();
        let root: Vec<_> = tape
            .members(0)
            .map(|(key, value)| {
                let value = tape.node(value);
                (
                    std::str::from_utf8(key.text(text.as_bytes())).unwrap(),
                    value.kind,
                    std::str::from_utf8(value.source(text.as_bytes())).unwrap(),
                )
            })
            .collect();
        assert_eq!(
            root,
            [
                ("a", NodeKind::Decimal, "1.50"),
                ("b", NodeKind::Object, r#"{"c":"x","d":[1, 2],"e":{}}"#),
                ("f\\n", NodeKind::Null, "null"),
                ("a", NodeKind::True, "true"),
            ]
        );
    }

    #[test]
    fn arrays_know_whether_they_are_compact() {
        for (text, kind) in [
            ("[]", NodeKind::Array),
            ("[1,2.5,[true],{\"a\":[null]}]", NodeKind::Array),
            ("[ ]", NodeKind::LooseArray),
            ("[1, 2]", NodeKind::LooseArray),
            ("[\"\\u00e9\"]", NodeKind::LooseArray),
            ("[{\"a\" :1}]", NodeKind::LooseArray),
        ] {
            assert_eq!(read(text).unwrap().node(0).kind, kind, "{text}");
        }
    }

    #[test]
    fn elements_of_an_array() {
        let text = r#"[{"a":"],["}, [1,2] ,"x\"",3]"#;
        let array = read(text).unwrap().node(0);
        let found: Vec<_> =
            elements(text.as_bytes(), array).iter().map(|&(start, end)| text[start..end].trim()).collect();
        assert_eq!(found, [r#"{"a":"],["}"#, "[1,2]", r#""x\"""#, "3"]);
        assert_eq!(elements(b"[ ]", read("[ ]").unwrap().node(0)), []);
    }

    #[test]
    fn key_words_are_the_same_from_anywhere() {
        let text = br#"{"a":1,"0123456789abcdef":2,"0123456789abcdefg":3,"z":4}"#;
        let mut tape = Tape::default();
        tape.read(text, 0, text.len()).unwrap();
        let words: Vec<_> = tape.members(0).map(|(key, _)| (key_word(text, key), word_of(key.text(text)))).collect();
        assert!(words.iter().all(|(loaded, computed)| loaded == computed));
        assert_eq!((words[0].0, words[1].0 == words[2].0), (u128::from(b'a'), true));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = 200_000;
        assert!(read(&format!("{}{}", "[".repeat(deep), "]".repeat(deep))).is_ok());
        assert!(read(&format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep))).is_ok());
        assert!(read(&"[".repeat(deep)).is_err());
    }

    /// serde_json is the judge, but for its own refusals of lone surrogates and of numbers beyond a double.
    fn serde_agrees(text: &str) -> bool {
        let serde = serde_json::from_str::<serde_json::Value>(text).is_ok();
        serde == read(text).is_ok()
    }

    #[test]
    fn hand_made_texts_agree_with_serde() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "{}",
            "{ }",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "[,]",
            "[1,]",
            "[1 2]",
            "[}",
            "{]",
            "[{]}",
            "[[]",
            "[]]",
            "{}{}",
            "tru",
            "true",
            "truefalse",
            "nul",
            "\"\u{7f}\"",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u1234\"",
            "01",
            "-",
            "1.",
            "1e5",
            "{\"a\":[{}]}",
            "{\"a\":[{},{\"b\":[]}],\"c\":{}}",
            "[{\"a\":}]",
            "[{\"a\" 1}]",
            "[{a:1}]",
            "\"tab\there\"",
            "\"0123456\u{1}\"",
            "\"é01234567\"",
        ] {
            assert!(serde_agrees(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn random_texts_agree_with_serde(text in "[\\[\\]{}:,\"a1\\\\ .e-]{0,14}") {
            prop_assert!(serde_agrees(&text), "{}", text);
        }

        #[test]
        fn strings_end_where_serde_ends_them(inner in "\\PC{0,40}") {
            let text = serde_json::to_string(&inner).unwrap();
            prop_assert!(serde_agrees(&text));
            let nested = format!("{{{text}:[{text},{text}]}}");
            prop_assert!(serde_agrees(&nested));
        }
    }
}
