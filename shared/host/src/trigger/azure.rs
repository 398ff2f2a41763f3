//! A request of the Azure Functions host to its custom handler: `{"Data": {BINDING: VALUE}, "Metadata": {…}}`.
//!
//! The value is an object for HTTP and timers. A message of a queue is a text that holds JSON; hosts and senders differ
//! in how often it is quoted and whether it is base64. Of the metadata only `DequeueCount` is read: the host merges
//! the members of a message into them, over its own.

use inlet_core::fault::Fault;
use serde_json::Value;

use super::content::quoted;
use super::{Answers, Message, Trigger, content, http};

/// Reads a request's body.
pub(super) fn read(function: &str, body: &Value) -> Trigger {
    let value = match value(function, body) {
        Ok(value) => value,
        Err(fault) => return Trigger::whole(Err(fault)),
    };
    if let Some(request) = http::of_http_trigger(value) {
        return Trigger::http(request);
    }
    let receives = content::receives(body.pointer("/Metadata/DequeueCount"));
    let message = Message { receives, ..Message::new(content::of(value)) };
    Trigger { messages: vec![message], answers: Answers::Whole }
}

/// What the function's trigger was given: each of ours has one input.
fn value<'a>(function: &str, body: &'a Value) -> Result<&'a Value, Fault> {
    let inputs = body.get("Data").and_then(Value::as_object);
    let mut values = inputs.into_iter().flatten();
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Ok(value),
        (None, _) => Err(Fault::rejected(format!("the host calls {} without data", quoted(function)))
            .hint("set `enableForwardingHttpRequest` of host.json to false")),
        _ => Err(Fault::setup(format!("the host calls {} with more than one input", quoted(function)))
            .hint("keep one binding of the direction `in` in its function.json")),
    }
}

#[cfg(test)]
mod tests {
    use inlet_core::fault::FaultKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_delivery_is_counted_however_the_host_writes_the_count() {
        for (count, receives) in [
            (json!(3), 3),
            (json!("3"), 3),
            (json!("\"3\""), 3),
            (json!(null), 1),
            (json!(0), 1),
            (json!("many"), 1),
            (json!({"a": 1}), 1),
            (json!(1e30), 1),
            (json!(u64::MAX), u32::MAX),
        ] {
            let body = json!({"Data": {"msg": "\"{}\""}, "Metadata": {"DequeueCount": count}});
            assert_eq!(read("ingest", &body).messages[0].receives, receives, "{count}");
        }
    }

    #[test]
    fn a_call_without_one_input_fails_and_names_the_function() {
        for (body, kind) in [
            (json!({}), FaultKind::Rejected),
            (json!([1]), FaultKind::Rejected),
            (json!({"Data": {}}), FaultKind::Rejected),
            (json!({"Data": "x"}), FaultKind::Rejected),
            (json!({"Data": {"a": 1, "b": 2}}), FaultKind::Setup),
        ] {
            let trigger = read("ingest", &body);
            let fault = trigger.messages[0].content.as_ref().unwrap_err();
            assert_eq!(fault.kind(), kind, "{body}");
            assert!(fault.to_string().contains("`ingest`"), "{fault}");
        }
    }
}
