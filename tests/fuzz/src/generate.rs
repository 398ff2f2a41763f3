//! NDJSON that is nearly events, from arbitrary bytes: names that meet, values of every kind, repeated ids and keys,
//! envelopes, white space, broken lines.

use arbitrary::{Result, Unstructured};

const TYPES: &[&str] = &["track", "identify", "page", "screen", "group", "alias", "Track", "batch", ""];
const EVENTS: &[&str] =
    &["Signed Up", "signed_up", "signedUp", "users", "Tracks", "tracks", "購入完了", "_", "2FA", "a\\u0041", "\\ud800"];
const IDS: &[&str] = &["1", "m-1", "m-2", "\\u006d-1", "", "x\\ud83d"];
const KEYS: &[&str] = &[
    "a",
    "A",
    "b",
    "a_b",
    "a b",
    "aB",
    "\\u0061",
    "",
    "_",
    "名",
    "id",
    "ID",
    "userId",
    "user_id",
    "event",
    "event_text",
    "name",
    "Name",
    "category",
    "context_ip",
    "ip",
    "_rescued_data",
    "_upload_id",
    "uuid_ts",
    "sent_at",
    "timestamp",
    "traits",
    "2",
    "a#2",
    "\\ud83d",
];
const TOP_KEYS: &[&str] = &[
    "messageId",
    "userId",
    "anonymousId",
    "event",
    "name",
    "category",
    "groupId",
    "previousId",
    "properties",
    "traits",
    "context",
    "integrations",
    "timestamp",
    "sentAt",
    "originalTimestamp",
    "receivedAt",
    "batch",
    "writeKey",
    "type",
];
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "9007199254740993",
    "9223372036854775808",
    "1.0",
    "1.5",
    "-1e400",
    "1e3",
    "\"\"",
    "\"12\"",
    "\"TRUE\"",
    "\"2026-01-15\"",
    "\"2026-01-15T10:00:00+02:00\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\u0000\"",
    "[]",
    "{}",
    "[1, \"\\/\"]",
    "{\"a\":{}}",
    "[{\"b\" : null}]",
];
const INTEGRATIONS: &[&str] = &[
    "{\"Warehouses\":{\"all\":false}}",
    "{\"Warehouses\":{\"warehouseIds\":[]}}",
    "{\"Warehouses\":{\"warehouseIds\":[\"w\",1]}}",
    "{\"Warehouses\":null}",
    "{\"All\":false}",
    "[]",
];
const LINES: &[&str] =
    &["", " \t\r", "[1]", "{}", "{\"batch\":[]}", "{\"type\":", "\u{feff}{}", "null", "{\"batch\":{}}"];

/// Lines until the bytes end.
pub(crate) fn lines(data: &[u8]) -> Vec<u8> {
    let mut bytes = Unstructured::new(data);
    let mut text = String::new();
    while !bytes.is_empty() && text.len() < 64 << 10 {
        if line(&mut bytes, &mut text).is_err() {
            break;
        }
        text.push('\n');
    }
    text.into_bytes()
}

fn line(bytes: &mut Unstructured<'_>, out: &mut String) -> Result<()> {
    match bytes.int_in_range(0..=15)? {
        0 => out.push_str(bytes.choose(LINES)?),
        1 | 2 => {
            out.push('{');
            for _ in 0..bytes.int_in_range(0..=3)? {
                top_field(bytes, out)?;
                out.push(',');
            }
            out.push_str("\"batch\":[");
            for at in 0..bytes.int_in_range(0..=3)? {
                out.push_str(if at == 0 { "" } else { "," });
                event(bytes, out)?;
            }
            out.push_str("]}");
        }
        _ => event(bytes, out)?,
    }
    Ok(())
}

fn event(bytes: &mut Unstructured<'_>, out: &mut String) -> Result<()> {
    let kind = bytes.choose(TYPES)?;
    out.push_str(&format!("{{\"type\":\"{kind}\",\"userId\":\"u\",\"event\":\"{}\"", bytes.choose(EVENTS)?));
    if bytes.ratio(2, 3)? {
        out.push_str(&format!(",\"messageId\":\"{}\"", bytes.choose(IDS)?));
    }
    for bag in ["properties", "traits", "context"] {
        if bytes.arbitrary()? {
            out.push_str(&format!(",\"{bag}\":"));
            object(bytes, out, 0)?;
        }
    }
    for _ in 0..bytes.int_in_range(0..=2)? {
        out.push(',');
        top_field(bytes, out)?;
    }
    out.push('}');
    Ok(())
}

fn top_field(bytes: &mut Unstructured<'_>, out: &mut String) -> Result<()> {
    let key = *bytes.choose(TOP_KEYS)?;
    out.push_str(&format!("\"{key}\" :"));
    match key {
        "integrations" => out.push_str(bytes.choose(INTEGRATIONS)?),
        "properties" | "traits" | "context" if bytes.ratio(3, 4)? => object(bytes, out, 0)?,
        _ => out.push_str(bytes.choose(VALUES)?),
    }
    Ok(())
}

fn object(bytes: &mut Unstructured<'_>, out: &mut String, depth: usize) -> Result<()> {
    out.push('{');
    for at in 0..bytes.int_in_range(0..=5)? {
        out.push_str(if at == 0 { "" } else { "," });
        out.push_str(&format!("\"{}\":", bytes.choose(KEYS)?));
        match bytes.int_in_range(0..=9)? {
            0 | 1 if depth < 20 => object(bytes, out, depth + 1)?,
            2 => out.push_str(&bytes.arbitrary::<i64>()?.to_string()),
            3 => out.push_str(&format!("{}.{}", bytes.arbitrary::<i16>()?, bytes.arbitrary::<u16>()?)),
            4 => out.push_str(&serde_json::Value::from(bytes.arbitrary::<&str>()?).to_string()),
            _ => out.push_str(bytes.choose(VALUES)?),
        }
    }
    out.push('}');
    Ok(())
}
