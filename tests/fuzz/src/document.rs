//! JSON as `serde_json` reads it: keys in their order, repeated ones too, and numbers to the letter.

#[allow(dead_code, unused_imports, reason = "shared with the whole-path tests, which use all of it")]
#[path = "../../it/json.rs"]
mod as_written;

use serde::Deserialize;

pub(crate) use as_written::Json;

/// `serde_json` recurses; deeper texts are not compared.
const OPENERS: usize = 500;

/// Whether both readers can speak about a text: not too deep for the other one, and without the key by which that
/// hands out numbers.
pub(crate) fn is_comparable(text: &str) -> bool {
    text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() <= OPENERS && !text.contains("serde_json::private")
}

/// The value of a JSON text, RFC 8259.
pub(crate) fn parse(text: &str) -> Option<Json> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let value = Json::deserialize(&mut deserializer).ok()?;
    deserializer.end().ok().map(|()| value)
}

/// The text with U+FFFD in the place of each escape of a lone surrogate, which `serde_json` refuses and RFC 8259 allows.
pub(crate) fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = match (surrogate(rest), rest.get(6..).and_then(surrogate)) {
            (Some(0xD800..0xDC00), Some(0xDC00..)) => &rest[..12],
            (Some(_), _) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            (None, _) => rest.get(..2).unwrap_or(&rest[..1]),
        };
        out.push_str(escape);
        rest = &rest[escape.len()..];
    }
    out.push_str(rest);
    out
}

/// The surrogate whose escape begins a text.
fn surrogate(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits)?;
    u32::from_str_radix(digits, 16).ok().filter(|code| (0xD800..0xE000).contains(code))
}

/// Whether a number in it has an exponent, whose spelling `serde_json` does not keep.
pub(crate) fn has_exponent(value: &Json) -> bool {
    match value {
        Json::Number(number) => number.contains(['e', 'E']),
        Json::Array(items) => items.iter().any(has_exponent),
        Json::Object(entries) => entries.iter().any(|(_, value)| has_exponent(value)),
        _ => false,
    }
}

/// `null` and `{}` make no column and are never rescued.
pub(crate) fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Object(entries) => entries.is_empty(),
        _ => false,
    }
}
