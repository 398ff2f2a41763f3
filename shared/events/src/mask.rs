//! Raw text as `_rejects` may keep it: write keys and credentials masked, bytes that are no UTF-8 as base64.

use crate::text::unescape;

const MASK: &[u8] = b"***";

/// JSON keys whose value is a secret; compared without case.
const SECRET_KEYS: [&[u8]; 9] = [
    b"writekey",
    b"authorization",
    b"password",
    b"client_secret",
    b"clientsecret",
    b"access_token",
    b"refresh_token",
    b"api_key",
    b"apikey",
];

/// A key longer than this, escapes included, is none of them.
const SECRET_KEY_BYTES: usize = 100;

/// Prefixes in text behind which a secret runs to the next byte that is no part of it; compared without case.
const SECRET_PREFIXES: [&[u8]; 9] = [
    b"bearer ",
    b"client_secret=",
    b"access_token=",
    b"writekey=",
    b"sig=",
    b"x-amz-signature=",
    b"x-amz-security-token=",
    b"dapi",
    b"dose",
];

/// The shortest run behind `dapi` or `dose` (Databricks' own token prefixes) that is taken for a token.
const TOKEN_DIGITS: usize = 32;

/// The text of a rejected line without its secrets.
pub fn mask(raw: &[u8]) -> String {
    let masked = mask_bytes(raw);
    match String::from_utf8(masked) {
        Ok(text) => text,
        Err(error) => format!("base64:{}", base64(error.as_bytes())),
    }
}

fn mask_bytes(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let rest = &raw[at..];
        if rest[0] == b'"'
            && let Some((start, end)) = secret_value(rest)
        {
            out.extend_from_slice(&rest[..start]);
            out.push(b'"');
            out.extend_from_slice(MASK);
            out.push(b'"');
            at += end;
        } else if let Some((start, end)) = secret_run(rest) {
            out.extend_from_slice(&rest[..start]);
            out.extend_from_slice(MASK);
            at += end;
        } else if let Some(length) = aws_key(rest) {
            out.extend_from_slice(MASK);
            at += length;
        } else {
            out.push(rest[0]);
            at += 1;
        }
    }
    out
}

/// At `"writeKey" : value`, the key in any spelling: where the value starts and ends. A value that is cut off ends with
/// the text.
fn secret_value(text: &[u8]) -> Option<(usize, usize)> {
    let skip = |mut at: usize| {
        while text.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let close = string_end(text, 1);
    let colon = skip(close + 1);
    if text.get(colon) != Some(&b':') || close > SECRET_KEY_BYTES {
        return None;
    }
    let mut key = Vec::new();
    unescape(&text[1..close], &mut key);
    if !SECRET_KEYS.iter().any(|secret| key.eq_ignore_ascii_case(secret)) {
        return None;
    }
    let start = skip(colon + 1);
    let mut end = start;
    if text.get(end) == Some(&b'"') {
        end = (string_end(text, end + 1) + 1).min(text.len());
    } else {
        while end < text.len() && !matches!(text[end], b',' | b'}' | b']') {
            end += 1;
        }
    }
    Some((start, end))
}

/// Where the string that is open at `at` ends: its quote, or the text's end.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at.min(text.len())
}

fn secret_run(text: &[u8]) -> Option<(usize, usize)> {
    let prefix = SECRET_PREFIXES.iter().find(|prefix| starts_with(text, prefix))?;
    let run = text[prefix.len()..]
        .iter()
        .take_while(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'%' | b'=')
        })
        .count();
    let is_token = !prefix.starts_with(b"d") || run >= TOKEN_DIGITS;
    (run > 0 && is_token).then_some((prefix.len(), prefix.len() + run))
}

/// An AWS access key id: `AKIA` or `ASIA` and sixteen capitals or digits.
fn aws_key(text: &[u8]) -> Option<usize> {
    let is_key = (text.starts_with(b"AKIA") || text.starts_with(b"ASIA"))
        && text.get(4..20)?.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_key.then_some(20)
}

fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let is_padding = digit > three.len();
            text.push(if is_padding { '=' } else { char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        for (raw, expected) in [
            (r#"{"writeKey":"abc","a":1}"#, r#"{"writeKey":"***","a":1}"#),
            (r#"{"WriteKey" : "a\"bc" }"#, r#"{"WriteKey" : "***" }"#),
            (r#"{"writeKey":"cut of"#, r#"{"writeKey":"***""#),
            (r#"{"writeK\u0065y":"abc"}"#, r#"{"writeK\u0065y":"***"}"#),
            (r#"{"password":12345,"b":2}"#, r#"{"password":"***","b":2}"#),
            ("Authorization: Bearer ey.J0-x y", "Authorization: Bearer *** y"),
            ("https://h/?sig=aB%2F&x=1", "https://h/?sig=***&x=1"),
            ("k AKIAABCDEFGHIJKLMNOP.", "k ***."),
            ("dapi0123456789abcdef0123456789abcdef", "dapi***"),
            ("a dose of", "a dose of"),
            (r#"{"writeKey"}"#, r#"{"writeKey"}"#),
        ] {
            assert_eq!(mask(raw.as_bytes()), expected);
        }
    }

    #[test]
    fn other_bytes_are_base64() {
        assert_eq!(mask(b"\xFF\xFE"), "base64://4=");
        assert_eq!(base64(b"Man"), "TWFu");
        assert_eq!(base64(b"M"), "TQ==");
    }
}
