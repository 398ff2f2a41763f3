//! Strings and JSON text as they are written: escapes resolved, arrays compact.

use crate::json::{Node, NodeKind};

/// Appends the text inside a JSON string's quotes with its escapes resolved. A lone surrogate, which UTF-8 cannot
/// hold, becomes U+FFFD; the answer says whether the text is exact.
pub(crate) fn unescape(inner: &[u8], out: &mut Vec<u8>) -> bool {
    let mut exact = true;
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (escape, tail) = (rest.get(at + 1).copied().unwrap_or(b'\\'), rest.get(at + 2..).unwrap_or_default());
        rest = tail;
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (scalar, tail) = code_point(rest);
                rest = tail;
                exact &= scalar.is_some();
                let scalar = scalar.unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(scalar.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
    exact
}

/// The character of the four digits behind `\u`, with its second half when it is a surrogate pair; what is left.
fn code_point(text: &[u8]) -> (Option<char>, &[u8]) {
    let Some(first) = hex(text) else { return (None, text) };
    let rest = text.get(4..).unwrap_or_default();
    if !(0xD800..0xDC00).contains(&first) {
        return (char::from_u32(first), rest);
    }
    let second = rest.strip_prefix(b"\\u").and_then(hex).filter(|second| (0xDC00..0xE000).contains(second));
    match second {
        Some(second) => (char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)), &rest[6..]),
        None => (None, rest),
    }
}

fn hex(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// Appends `text` as a JSON string with the least escapes: quotes, backslashes and control characters only.
pub(crate) fn write_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..=0x1F => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

/// Appends the text inside a JSON string's quotes with the least escapes. A lone surrogate keeps its escape: nothing
/// else can say it.
fn write_least_escaped(inner: &[u8], out: &mut Vec<u8>) {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (scalar, tail) = match rest.get(1) {
            Some(b'u') => code_point(rest.get(2..).unwrap_or_default()),
            _ => (None, rest.get(2..).unwrap_or_default()),
        };
        let escape = &rest[..rest.len() - tail.len()];
        match (escape.get(1), scalar) {
            (Some(b'u'), None) | (Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't'), _) => {
                out.extend_from_slice(escape);
            }
            (Some(b'u'), Some(scalar)) => write_escaped(scalar.encode_utf8(&mut [0; 4]).as_bytes(), out),
            (other, _) => out.extend(other),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
}

/// Appends valid JSON text without its white space, each string with the least escapes. Numbers stay verbatim.
pub(crate) fn compact(source: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = source.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'"' => {
                let end = string_end(source, at + 1);
                out.push(b'"');
                write_least_escaped(source.get(at + 1..end).unwrap_or_default(), out);
                out.push(b'"');
                at = end + 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn string_end(source: &[u8], mut at: usize) -> usize {
    while let Some(found) = source.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if source[at] == b'"' {
            return at;
        }
        at += 2;
    }
    source.len()
}

/// Appends a value as a STRING column shows it: strings resolved, numbers and literals verbatim, arrays and objects as
/// compact JSON. The answer says whether the text is exact (a lone surrogate is not).
pub(crate) fn write_text(chunk: &[u8], node: Node, out: &mut Vec<u8>) -> bool {
    match node.kind {
        NodeKind::EscapedString => return unescape(node.text(chunk), out),
        NodeKind::LooseArray | NodeKind::Object => compact(node.text(chunk), out),
        _ => out.extend_from_slice(node.text(chunk)),
    }
    true
}

/// A key or string as text.
pub(crate) fn to_string(chunk: &[u8], node: Node) -> String {
    let mut out = Vec::new();
    write_text(chunk, node, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unescaped(inner: &str) -> (String, bool) {
        let mut out = Vec::new();
        let exact = unescape(inner.as_bytes(), &mut out);
        (String::from_utf8(out).unwrap(), exact)
    }

    #[test]
    fn escapes_and_surrogates() {
        assert_eq!(unescaped(r#"a\"\\\/\b\f\n\r\t\u00e9"#), ("a\"\\/\u{8}\u{c}\n\r\té".into(), true));
        assert_eq!(unescaped(r"\ud83d\ude00!"), ("😀!".into(), true));
        assert_eq!(unescaped(r"cut \ud83d"), ("cut \u{fffd}".into(), false));
        assert_eq!(unescaped(r"\ud83d\u0041\ude00"), ("\u{fffd}A\u{fffd}".into(), false));
        assert_eq!(unescaped(r"\u0000"), ("\0".into(), true));
    }

    #[test]
    fn compact_json() {
        let mut out = Vec::new();
        compact(br#"[ {"a\u00e9" : 1.50 , "b":"x \"y\" \/ \u0001"} , "\ud83d\ud83d\ude00" ]"#, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#"[{"aé":1.50,"b":"x \"y\" / \u0001"},"\ud83d😀"]"#);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in any::<String>()) {
            let mut json = Vec::new();
            write_json_string(text.as_bytes(), &mut json);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text.clone());
            let mut out = Vec::new();
            prop_assert!(unescape(&json[1..json.len() - 1], &mut out));
            prop_assert_eq!(out, text.into_bytes());
        }
    }
}
