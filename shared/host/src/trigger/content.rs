//! What a message says, told by its form, when everything that wraps it has been taken off.

use std::borrow::Cow;
use std::slice;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inlet_core::fault::Fault;
use serde_json::{Map, Value};

use super::{Ask, Content, event_grid, s3, text};

/// Layers around a message, of any kind. The thickest that happens has four: JSON in a text in a text, of SNS, in SQS.
const LAYERS: usize = 6;

/// Members that a fault names, and letters of each.
const NAMED: (usize, usize) = (6, 40);

/// Reads a text: JSON, or base64 of it.
pub(super) fn of_text(text: &str) -> Result<Content, Fault> {
    of(&parsed(text)?)
}

/// Reads a value.
pub(super) fn of(value: &Value) -> Result<Content, Fault> {
    let value = unwrapped(value)?;
    match value.as_ref() {
        Value::Array(events) => event_grid::read(events),
        Value::Object(members) => of_object(&value, members),
        other => Err(unknown(other)),
    }
}

fn of_object(value: &Value, members: &Map<String, Value>) -> Result<Content, Fault> {
    if let Some(Value::Array(records)) = members.get("Records") {
        s3::notification(records)
    } else if text(value, "/Event") == Some("s3:TestEvent") {
        Ok(s3::test_event(value))
    } else if let Some(kind) = text(value, "/detail-type") {
        of_event_bridge(kind, value)
    } else if event_grid::is_event(value) {
        event_grid::read(slice::from_ref(value))
    } else if members.contains_key("action") {
        Ask::read(members).map(Content::Ask)
    } else if is_timer(members) {
        Ok(Content::Tick)
    } else {
        Err(unknown(value))
    }
}

/// A rule's schedule and EventBridge Scheduler say the same under two names.
fn of_event_bridge(kind: &str, event: &Value) -> Result<Content, Fault> {
    match text(event, "/source") {
        Some("aws.events" | "aws.scheduler") if kind == "Scheduled Event" => Ok(Content::Tick),
        Some("aws.s3") => s3::event_bridge(kind, event),
        source => {
            let source = source.map_or_else(|| "nobody".to_owned(), quoted);
            Err(Fault::rejected(format!("{} from {source} is no event that Inlet knows", quoted(kind)))
                .hint("the rule's pattern is to be {\"source\": [\"aws.s3\"], \"detail-type\": [\"Object Created\"]}"))
        }
    }
}

/// `TimerInfo` of Azure Functions; hosts differ in the case of its members.
fn is_timer(members: &Map<String, Value>) -> bool {
    ["IsPastDue", "isPastDue"].iter().any(|name| members.get(*name).is_some_and(Value::is_boolean))
}

/// Takes off what wraps a value: texts that hold JSON, or base64 of it, and the notifications of SNS.
fn unwrapped(value: &Value) -> Result<Cow<'_, Value>, Fault> {
    let mut value = Cow::Borrowed(value);
    for _ in 0..LAYERS {
        let inner = match value.as_ref() {
            Value::String(text) => parsed(text)?,
            Value::Object(members) => match message_of_sns(members) {
                Some(message) => parsed(message)?,
                None => return Ok(value),
            },
            _ => return Ok(value),
        };
        value = Cow::Owned(inner);
    }
    Err(Fault::rejected(format!("a message in more than {LAYERS} layers of text is not unwrapped")))
}

/// Deliveries as a queue counts them: a number, or a text of one. Without a count this is the first.
pub(super) fn receives(count: Option<&Value>) -> u32 {
    let count = count.and_then(|count| unwrapped(count).ok()?.as_u64()).unwrap_or(1);
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

/// SNS wraps what it delivers to a queue, unless the subscription asks for raw delivery.
fn message_of_sns(members: &Map<String, Value>) -> Option<&str> {
    let is_notification = members.get("Type").and_then(Value::as_str) == Some("Notification");
    members.get("Message").and_then(Value::as_str).filter(|_| is_notification && members.contains_key("TopicArn"))
}

fn parsed(text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).or_else(|error| {
        let bytes = STANDARD.decode(text.trim()).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| Fault::rejected("the message is neither JSON nor base64 of JSON").because(error))
    })
}

fn unknown(value: &Value) -> Fault {
    Fault::rejected(format!("{} is no message that Inlet knows", described(value))).hint(
        "send notifications of S3 (direct, or through SQS, SNS or EventBridge) or of Azure Event Grid, or \
         {\"action\": \"ingest\"}; whatever else sends to this queue or function should not",
    )
}

/// What kind of value it is, with the names of an object's members and never their values, which may be secret.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null => "`null`".to_owned(),
        Value::Bool(_) => "`true` or `false`".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(members) if members.is_empty() => "an empty object".to_owned(),
        Value::Object(members) => {
            let mut names: Vec<String> = members.keys().take(NAMED.0).map(|name| quoted(name)).collect();
            if members.len() > NAMED.0 {
                names.push("…".to_owned());
            }
            format!("an object with {}", names.join(", "))
        }
    }
}

/// A name from outside, as it may stand in a line of a log.
pub(super) fn quoted(name: &str) -> String {
    let mut shown: String = name.chars().take(NAMED.1).flat_map(char::escape_debug).collect();
    if name.chars().nth(NAMED.1).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_ask(content: &Result<Content, Fault>) -> bool {
        matches!(content, Ok(Content::Ask(Ask::Tidy { schema: None })))
    }

    #[test]
    fn a_message_is_the_same_in_any_layers_of_text() {
        let plain = json!({"action": "tidy"}).to_string();
        let quoted = Value::from(plain.as_str()).to_string();
        let encoded = STANDARD.encode(&plain);
        let encoded_twice = STANDARD.encode(&encoded);
        let notified = json!({"Type": "Notification", "TopicArn": "arn", "Message": quoted}).to_string();
        for text in [&plain, &quoted, &encoded, &notified, &Value::from(encoded.as_str()).to_string()] {
            assert!(is_ask(&of_text(text)), "{text}");
            assert!(is_ask(&of(&Value::from(text.as_str()))), "{text}");
        }
        assert!(of_text(&encoded_twice).is_err(), "base64 of base64 is no JSON");
    }

    #[test]
    fn layers_are_bounded() {
        let mut text = json!({"action": "tidy"}).to_string();
        for layer in 0..9 {
            assert_eq!(is_ask(&of_text(&text)), layer < 6, "{layer}");
            text = Value::from(text).to_string();
        }
    }

    #[test]
    fn a_foreign_message_is_named_by_its_members_and_never_by_its_values() {
        let fault = of(&json!({"password": "hunter2", "a\nb": 1})).unwrap_err();
        assert_eq!(fault.to_string(), "an object with `a\\nb`, `password` is no message that Inlet knows");
        assert!(fault.hint_text().unwrap().contains("Event Grid"));
        for (value, said) in [(json!(null), "`null`"), (json!("3"), "a number"), (json!({}), "an empty object")] {
            assert_eq!(of(&value).unwrap_err().to_string(), format!("{said} is no message that Inlet knows"));
        }
        let many: Value = (0..9).map(|number| (format!("{number}{}", "x".repeat(60)), Value::Null)).collect();
        assert!(of(&many).unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn other_events_of_event_bridge_are_refused_with_the_pattern() {
        for source in [json!("aws.ec2"), json!(null)] {
            let event = json!({"detail-type": "Scheduled Event", "source": source, "detail": {}});
            assert!(of(&event).unwrap_err().hint_text().unwrap().contains("Object Created"));
        }
    }
}
