//! The payload of a Lambda invocation: a batch of SQS, notifications of SNS, an HTTP request, or a message by itself.

use inlet_core::fault::Fault;
use serde_json::Value;

use super::content::quoted;
use super::{Answers, Content, Message, Trigger, content, http, text};

/// Reads a payload.
pub(super) fn read(payload: &Value) -> Trigger {
    if let Some(request) = http::of_function_url(payload) {
        return Trigger::http(request);
    }
    // An invocation by hand, without a payload.
    if payload.is_null() || payload.as_object().is_some_and(serde_json::Map::is_empty) {
        return Trigger::whole(Ok(Content::Tick));
    }
    let records = payload.get("Records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let first = records.first();
    if first.and_then(|record| text(record, "/eventSource")) == Some("aws:sqs") {
        Trigger { messages: records.iter().map(of_sqs).collect(), answers: Answers::Batch }
    } else if first.and_then(|record| text(record, "/EventSource")) == Some("aws:sns") {
        Trigger { messages: records.iter().map(of_sns).collect(), answers: Answers::Whole }
    } else {
        Trigger::whole(content::of(payload))
    }
}

fn of_sqs(record: &Value) -> Message {
    Message {
        id: text(record, "/messageId").map(str::to_owned),
        receives: content::receives(record.pointer("/attributes/ApproximateReceiveCount")),
        queue: text(record, "/eventSourceARN").map(str::to_owned),
        content: told(record, "/eventSource", "aws:sqs", "/body"),
    }
}

fn of_sns(record: &Value) -> Message {
    Message::new(told(record, "/EventSource", "aws:sns", "/Sns/Message"))
}

/// Every record is asked by itself where it comes from: one stranger fails alone.
fn told(record: &Value, source: &str, expected: &str, message: &str) -> Result<Content, Fault> {
    match text(record, source).unwrap_or_default() {
        source if source == expected => Content::of_text(super::needed(record, message)?),
        other => Err(Fault::rejected(format!("a record from {} among those of `{expected}`", quoted(other)))),
    }
}
