//! Names against a second writing of their rules, from the events ring's page.

use inlet_events::limits::NAME_BYTES;
use inlet_events::{column_name, schema_name, table_name};
use sha2::{Digest, Sha256};

const SYSTEM: [&str; 8] = ["tracks", "pages", "screens", "groups", "aliases", "accounts", "users", "identifies"];

/// The bytes are any text.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for (name_of, noun) in
        [(table_name as fn(&str) -> String, "event"), (column_name, "column"), (schema_name, "source")]
    {
        let name = name_of(&text);
        assert_eq!(name, expected(&text, noun), "{noun} {text:?}");
        assert_eq!(name_of(&name), name, "a name stays as it is");
        is_legal(&name, noun);
    }
}

fn is_legal(name: &str, noun: &str) {
    assert!((1..=NAME_BYTES).contains(&name.len()), "{name}");
    assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
    assert!(!name.contains("__") && !name.ends_with('_'), "{name}");
    if let Some(rest) = name.strip_prefix('_') {
        let is_system = noun == "event" && SYSTEM.contains(&rest);
        assert!(is_system || rest.starts_with(|first: char| first.is_ascii_digit()), "{name}");
    }
}

fn expected(text: &str, noun: &str) -> String {
    let name = words(text).join("_");
    let hash: String = Sha256::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    if noun == "event" && SYSTEM.contains(&name.as_str()) {
        return format!("_{name}");
    }
    if name.is_empty() {
        return format!("{noun}_{hash}");
    }
    let name = if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name };
    if name.len() <= NAME_BYTES { name } else { format!("{}_{hash}", name[..242].trim_end_matches('_')) }
}

/// Words are `[A-Z0-9]*[a-z0-9]*`; every other byte separates them.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut rest = run;
        while !rest.is_empty() {
            let small = rest.find(|c: char| c.is_ascii_lowercase()).unwrap_or(rest.len());
            let end = rest[small..].find(|c: char| c.is_ascii_uppercase()).map_or(rest.len(), |at| small + at);
            words.push(rest[..end].to_ascii_lowercase());
            rest = &rest[end..];
        }
    }
    words
}
