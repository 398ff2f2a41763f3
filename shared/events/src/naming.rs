//! Any text becomes a legal table, column or schema name: Segment's own snake case and the rules around it.
//!
//! The byte scan is that of Segment's `go-snakecase`, not a generic snake case: one word is `[A-Z0-9]*[a-z0-9]*`, so
//! `HTTPServer` is `httpserver`. Its result is `[a-z0-9_]` without a leading, trailing or double underscore, which
//! leaves names that begin with `_` or hold `__` to Inlet: only the prefixes added here begin with one.

use sha2::{Digest, Sha256};

use crate::limits::NAME_BYTES;

/// Hexadecimal digits of the hash that stands in for a name without a letter or digit, or for a cut tail.
const HASH_DIGITS: usize = 12;

/// Tables that Inlet's call tables and views own; an event of that name gets the prefix `_`.
const SYSTEM_TABLES: [&str; 8] = ["tracks", "pages", "screens", "groups", "aliases", "accounts", "users", "identifies"];

/// The table of a track event, from its name as written.
pub fn table_name(event: &str) -> String {
    let name = snake_case(event.as_bytes());
    if SYSTEM_TABLES.contains(&name.as_str()) {
        return format!("_{name}");
    }
    legal(name, "event", event)
}

/// The column of a property, trait or context field, from its path as written (segments joined with `_`).
pub fn column_name(path: &str) -> String {
    legal(snake_case(path.as_bytes()), "column", path)
}

/// The schema of a source, from its id or a name that a user chose.
pub fn schema_name(source: &str) -> String {
    legal(snake_case(source.as_bytes()), "source", source)
}

fn legal(name: String, noun: &str, original: &str) -> String {
    let name = match name.as_bytes().first() {
        None => return format!("{noun}_{}", hash(original)),
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        Some(_) => name,
    };
    if name.len() <= NAME_BYTES {
        return name;
    }
    // The cut may fall behind an underscore; a second one would make the name ours.
    let head = name[..NAME_BYTES - HASH_DIGITS - 1].trim_end_matches('_');
    format!("{head}_{}", hash(original))
}

fn hash(original: &str) -> String {
    let digest = Sha256::digest(original.as_bytes());
    digest.iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// Segment's snake case, byte for byte: every byte that is no ASCII letter or digit separates words.
pub(crate) fn snake_case(input: &[u8]) -> String {
    let mut out = Vec::with_capacity(input.len() + 4);
    let mut at = 0;
    let (mut has_lower, mut has_underscore, mut lower_since_underscore) = (false, false, false);
    while let Some(&byte) = input.get(at) {
        match byte {
            b'a'..=b'z' => (has_lower, lower_since_underscore) = (true, true),
            b'0'..=b'9' => {}
            b'_' if at > 0 && input.get(at + 1).is_some_and(|next| matches!(next, b'a'..=b'z' | b'0'..=b'9')) => {
                (has_underscore, lower_since_underscore) = (true, false);
            }
            _ => break,
        }
        out.push(byte);
        at += 1;
    }
    // Capitals right behind a head without a lower-case letter belong to its last word: `5TEst` is `5test`.
    let glued = !has_lower || (has_underscore && !lower_since_underscore);
    if glued && input.get(at).is_some_and(u8::is_ascii_uppercase) {
        at = push_word(input, at, &mut out);
    }
    while let Some(&byte) = input.get(at) {
        if !byte.is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        if !out.is_empty() {
            out.push(b'_');
        }
        at = push_word(input, at, &mut out);
    }
    out.into_iter().map(char::from).collect()
}

/// Appends the word at `at` in lower case: a run of capitals and digits, then a run of small letters and digits.
fn push_word(input: &[u8], mut at: usize, out: &mut Vec<u8>) -> usize {
    while let Some(&byte) = input.get(at).filter(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
        out.push(byte.to_ascii_lowercase());
        at += 1;
    }
    while let Some(&byte) = input.get(at).filter(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        out.push(byte);
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Input and output pairs: go-snakecase's own samples, Segment's documentation, and the awkward ones.
    const SAMPLES: &[(&str, &str)] = &[
        ("Signed Up", "signed_up"),
        ("accountType", "account_type"),
        ("sample-text", "sample_text"),
        ("sample___text", "sample_text"),
        ("   $#$sample   2    Text   ", "sample_2_text"),
        ("SAMPLE 2 TEXT", "sample_2_text"),
        ("___$$Base64Encode", "base64_encode"),
        ("FOO:BAR$BAZ", "foo_bar_baz"),
        ("something.com", "something_com"),
        ("$something%", "something"),
        ("•¶§ƒ˚foo˙∆˚¬", "foo"),
        ("inviteYourCustomersAddInvites", "invite_your_customers_add_invites"),
        ("samPLE text", "sam_ple_text"),
        ("CStringRef", "cstring_ref"),
        ("THE5r", "the5r"),
        ("5test", "5test"),
        ("5TEst", "5test"),
        ("_5TEst", "5test"),
        ("@%#&5TEst", "5test"),
        ("edf_6N", "edf_6n"),
        ("f_pX9", "f_p_x9"),
        ("p_z9Rg", "p_z9_rg"),
        ("2FA Enabled", "2fa_enabled"),
        ("Enabled 2FA", "enabled_2fa"),
        ("lk0B@bFmjrLQ_Z6YL", "lk0_b_b_fmjr_lq_z6yl"),
        ("@49L0S145_¬fwHƒ0TSLNVp", "49l0s145_fw_h_0tslnvp"),
        ("userIDNumber", "user_idnumber"),
        ("HTTPServer", "httpserver"),
        ("XMLHttpRequest", "xmlhttp_request"),
        ("iOSVersion", "i_osversion"),
        ("LETTERSAeiouAreVowels", "lettersaeiou_are_vowels"),
        ("isISO8601", "is_iso8601"),
        ("MD5hash", "md5hash"),
        ("orderV2Completed", "order_v2completed"),
        ("fooBARbaz", "foo_barbaz"),
        ("CamelCase123Key", "camel_case123_key"),
        ("&4yasdfa(84224_fs9##_____*3q", "4yasdfa_84224_fs9_3q"),
        ("path to $1,00,000", "path_to_1_00_000"),
        ("abc123def456", "abc123def456"),
        ("_foo", "foo"),
        ("foo_", "foo"),
        ("foo__bar", "foo_bar"),
        ("Cízǔ", "c_z"),
        ("Café Visité", "caf_visit"),
        ("購入完了", ""),
        ("___", ""),
        ("I'm Here", "i_m_here"),
        ("context_userAgentData_uaFullVersion", "context_user_agent_data_ua_full_version"),
    ];

    #[test]
    fn names_are_segments_own() {
        for (input, expected) in SAMPLES {
            assert_eq!(snake_case(input.as_bytes()), *expected, "{input}");
        }
    }

    #[test]
    fn rules_around_the_scan() {
        assert_eq!(table_name("101 Account Update"), "_101_account_update");
        assert_eq!(table_name("Users"), "_users");
        assert_eq!(column_name("users"), "users");
        assert_eq!(schema_name("3doctors"), "_3doctors");
        assert_eq!(table_name("購入完了"), "event_7414f2eab481");
        assert_eq!(column_name("a".repeat(255).as_str()), "a".repeat(255));
        let long = column_name("a".repeat(256).as_str());
        assert_eq!((long.len(), &long[..242]), (255, "a".repeat(242).as_str()));
    }

    proptest! {
        #[test]
        fn every_name_is_legal_and_stable(text in "\\PC{0,300}") {
            for name in [table_name(&text), column_name(&text), schema_name(&text)] {
                prop_assert!(!name.is_empty() && name.len() <= NAME_BYTES);
                prop_assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')));
                prop_assert!(!name.contains("__") && !name.ends_with('_'));
                let ours = name.strip_prefix('_');
                prop_assert!(ours.is_none_or(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) || SYSTEM_TABLES.contains(&rest)));
            }
            prop_assert_eq!(snake_case(snake_case(text.as_bytes()).as_bytes()), snake_case(text.as_bytes()));
        }

        #[test]
        fn cut_and_empty_names_stay_distinct(a in "[あ-ん]{1,8}", b in "[あ-ん]{1,8}") {
            prop_assert_eq!(a == b, table_name(&a) == table_name(&b));
            let tail = "x".repeat(300);
            prop_assert_eq!(a == b, column_name(&format!("{tail}{a}")) == column_name(&format!("{tail}{b}")));
        }
    }
}
