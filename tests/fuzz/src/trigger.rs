//! What a function is called with: what is read holds, and is the same through every road.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inlet_host::trigger::{Answers, Content, ObjectEvent, Trigger};
use serde_json::{Value, json};

/// The bytes are the payload of a Lambda invocation, the body of a call of a custom handler, and a message.
pub fn trigger(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(value) = serde_json::from_str(text) {
        is_sound(&Trigger::of_lambda(&value));
        is_sound(&Trigger::of_custom_handler("ingest", &value));
    }
    let Ok(content) = Content::of_text(text) else { return };
    says(&content);
    for (road, trigger) in roads(text) {
        is_sound(&trigger);
        let [message] = trigger.messages.as_slice() else { panic!("{road}: one message") };
        match &message.content {
            Ok(arrived) => assert_eq!(format!("{arrived:?}"), format!("{content:?}"), "{road}"),
            // The road's own layers may be one too many.
            Err(fault) => assert!(fault.to_string().contains("layers"), "{road}: {fault}"),
        }
    }
    if let Content::Objects { events, .. } = &content {
        events.iter().for_each(is_announced_alike);
    }
}

/// One message by every road that takes a text.
fn roads(text: &str) -> Vec<(&'static str, Trigger)> {
    let quoted = Value::from(text).to_string();
    let notification = json!({"Type": "Notification", "TopicArn": "arn", "Message": text}).to_string();
    let sqs = |body: &str| Trigger::of_lambda(&json!({"Records": [{"eventSource": "aws:sqs", "body": body}]}));
    let queue = |message: Value| Trigger::of_custom_handler("ingest", &json!({"Data": {"msg": message}}));
    vec![
        ("SQS", sqs(text)),
        ("SNS in SQS", sqs(&notification)),
        ("SNS", Trigger::of_lambda(&json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": text}}]}))),
        ("a queue", queue(Value::from(quoted))),
        ("a queue, once", queue(Value::from(text))),
        // Base64 of base64 is not taken off.
        ("a queue, base64", queue(Value::from(if is_json(text) { STANDARD.encode(text) } else { text.to_owned() }))),
    ]
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
}

fn is_sound(trigger: &Trigger) {
    assert!(!trigger.messages.is_empty());
    for message in &trigger.messages {
        assert!(message.receives >= 1);
        assert!(message.id.is_none() || trigger.answers == Answers::Batch);
        match &message.content {
            Ok(content) => {
                assert_eq!(matches!(content, Content::Http(_)), trigger.answers == Answers::Http);
                says(content);
            }
            Err(fault) => {
                let said = fault.to_string();
                assert!(!said.contains('\n') && said.len() < 2_000, "{said}");
            }
        }
    }
}

/// What holds of everything that was read.
fn says(content: &Content) {
    let Content::Objects { events, skipped, .. } = content else { return };
    assert!(!events.is_empty() || !skipped.is_empty());
    for event in events {
        assert!(!event.key.is_empty() && !event.key.ends_with('/') && !event.key.ends_with("/dummy-object.txt"));
        assert!(!event.container.is_empty() && event.size != Some(0));
        assert_eq!(event.account.is_some(), event.store == "azure");
    }
}

/// An object has the same key in every announcement, each spelt by its own rule.
fn is_announced_alike(event: &ObjectEvent) {
    let s3 = json!({"Records": [{
        "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": event.container}, "object": {"key": spelt(&event.key, '+')}},
    }]});
    let event_bridge = json!({
        "source": "aws.s3", "detail-type": "Object Created",
        "detail": {"bucket": {"name": event.container}, "object": {"key": event.key}},
    });
    let event_grid = json!({
        "eventType": "Microsoft.Storage.BlobCreated",
        "data": {"url": format!("https://acme.blob.core.windows.net/c/{}", spelt(&event.key, ' '))},
    });
    for announcement in [s3, event_bridge, event_grid] {
        let Ok(Content::Objects { events, .. }) = Content::of_text(&announcement.to_string()) else {
            panic!("{announcement}")
        };
        assert_eq!(events[0].key, event.key, "{announcement}");
    }
}

/// Percent-encoded, with that letter for a space if it is not one itself.
fn spelt(key: &str, space: char) -> String {
    let one = |byte: u8| match byte {
        b' ' if space != ' ' => space.to_string(),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    key.bytes().map(one).collect()
}
