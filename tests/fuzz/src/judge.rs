//! What becomes of each line, read from the rules once more: the page of the events ring, in the order of its tables.

use inlet_events::{Call, Reason};

use crate::document::{self, Json};
use crate::landing::Setting;

/// What becomes of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Rejected(Reason),
    Filtered,
    /// Lands unless its id has landed; the id, unless the event came without one.
    Lands(Call, Option<Json>),
}

/// One event: its line, the place in its envelope, the offset of its line, its verdict.
pub(crate) type Judged = (u64, Option<u32>, u64, Verdict);

/// The verdicts about an upload's events in their order; nothing when the oracle cannot read some line.
pub(crate) fn verdicts(data: &[u8], setting: &Setting) -> Option<Vec<Judged>> {
    let mut judged = Vec::new();
    let mut offset = 0;
    for (at, line) in data.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = if at == 0 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
        for (item, verdict) in of_line(text, setting)? {
            judged.push((at as u64 + 1, item, offset, verdict));
        }
        offset += line.len() as u64;
    }
    Some(judged)
}

/// Whether a line is a JSON object; nothing when the oracle cannot read it.
pub(crate) fn is_object(line: &[u8], line_bytes: usize) -> Option<bool> {
    let line = trimmed(line);
    match std::str::from_utf8(line) {
        Ok(text) if document::is_comparable(text) => {
            let value = document::parse(&document::mended(text));
            Some(line.len() <= line_bytes && matches!(value, Some(Json::Object(_))))
        }
        Ok(_) => None,
        Err(_) => Some(false),
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r');
    let start = line.iter().position(is_text).unwrap_or(line.len());
    let end = line.iter().rposition(is_text).map_or(start, |at| at + 1);
    &line[start..end]
}

fn of_line(line: &[u8], setting: &Setting) -> Option<Vec<(Option<u32>, Verdict)>> {
    let line = trimmed(line);
    let rejected = |reason| Some(vec![(None, Verdict::Rejected(reason))]);
    if line.is_empty() {
        return Some(Vec::new());
    }
    if line.len() > setting.limits.line_bytes {
        return rejected(Reason::LineTooLong);
    }
    let Ok(text) = std::str::from_utf8(line) else { return rejected(Reason::InvalidUtf8) };
    if !document::is_comparable(text) {
        return None;
    }
    match document::parse(&document::mended(text)) {
        None => rejected(Reason::InvalidJson),
        Some(value @ Json::Object(_)) => Some(match value.get("batch") {
            Some(Json::Array(items)) if items.is_empty() => return rejected(Reason::EmptyBatch),
            Some(Json::Array(items)) => {
                let of_item = |(at, item)| (Some(at as u32), of_event(item, Some(&value), setting));
                items.iter().enumerate().map(of_item).collect()
            }
            _ => vec![(None, of_event(&value, None, setting))],
        }),
        Some(_) => rejected(Reason::NotAnObject),
    }
}

fn of_event(event: &Json, envelope: Option<&Json>, setting: &Setting) -> Verdict {
    match judged(event, envelope, setting) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Rejected(reason),
    }
}

fn judged(event: &Json, envelope: Option<&Json>, setting: &Setting) -> Result<Verdict, Reason> {
    let refuse = |bad: bool, reason: Reason| if bad { Err(reason) } else { Ok(()) };
    refuse(!matches!(event, Json::Object(_)), Reason::NotAnObject)?;
    let call = call_of(event).ok_or(Reason::UnknownType)?;
    let field = |key: &str| event.get(key).filter(|value| !matches!(value, Json::Null) && **value != Json::text(""));
    refuse(field("userId").is_none() && field("anonymousId").is_none(), Reason::NoUserAnonId)?;
    if call == Call::Track {
        refuse(field("event").is_none(), Reason::EventNotDefined)?;
        refuse(!matches!(field("event"), Some(Json::Text(_))), Reason::EventNotString)?;
    }
    let is_bag = |key: &str| matches!(field(key), None | Some(Json::Object(_)));
    refuse(!is_bag("properties"), Reason::PropertiesNotObject)?;
    refuse(!is_bag("traits"), Reason::TraitsNotObject)?;
    let objects = [Some(event), envelope].into_iter().flatten().filter_map(|object| object.get("integrations"));
    let warehouses = objects.filter(|value| matches!(value, Json::Object(_))).find_map(|value| value.get("Warehouses"));
    if warehouses.is_some_and(|warehouses| is_opted_out(warehouses, setting.warehouse_id.as_deref())) {
        return Ok(Verdict::Filtered);
    }
    Ok(Verdict::Lands(call, field("messageId").cloned()))
}

fn call_of(event: &Json) -> Option<Call> {
    let Some(Json::Text(name)) = event.get("type") else { return None };
    let names = ["track", "identify", "page", "screen", "group", "alias"];
    names.iter().position(|known| name.eq_ignore_ascii_case(known)).map(|at| Call::ALL[at])
}

fn is_opted_out(warehouses: &Json, own: Option<&str>) -> bool {
    let lists_others = match warehouses.get("warehouseIds") {
        Some(Json::Array(ids)) => !ids.iter().any(|id| own.is_some_and(|own| *id == Json::text(own))),
        _ => false,
    };
    warehouses.get("all") == Some(&Json::Boolean(false)) || lists_others
}
