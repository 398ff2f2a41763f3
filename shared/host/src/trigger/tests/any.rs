//! Any value at all: it is read, or it is refused, and nothing is lost between the two.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Every fixture, to be damaged.
const FORMS: [&str; 14] = [
    fixture!("s3_notification"),
    fixture!("s3_test_event"),
    fixture!("sqs"),
    fixture!("sns"),
    fixture!("event_bridge_object_created"),
    fixture!("event_bridge_schedule"),
    fixture!("action"),
    fixture!("function_url"),
    fixture!("event_grid"),
    fixture!("event_grid_handshake"),
    fixture!("cloud_event"),
    fixture!("azure_queue"),
    fixture!("azure_timer"),
    fixture!("azure_http"),
];

/// Names and values that mean something, so that chance finds its way.
const WORDS: [&str; 24] = [
    "Records",
    "eventSource",
    "EventSource",
    "aws:sqs",
    "aws:s3",
    "aws:sns",
    "body",
    "Sns",
    "Message",
    "s3",
    "object",
    "bucket",
    "key",
    "eventName",
    "ObjectCreated:Put",
    "detail-type",
    "action",
    "ingest",
    "Data",
    "Metadata",
    "eventType",
    "data",
    "url",
    "%FF",
];

fn value() -> impl Strategy<Value = Value> {
    let word = || prop_oneof![select(&WORDS[..]).prop_map(str::to_owned), any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        select(&FORMS[..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(word(), inner.clone(), 0..6).prop_map(|map| map.into_iter().collect()),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

/// A fixture with one value, anywhere in it, put in place of another.
fn damaged() -> impl Strategy<Value = Value> {
    (select(&FORMS[..]), any::<prop::sample::Index>(), value()).prop_map(|(text, place, other)| {
        let mut form = json(text);
        let mut pointers = vec![];
        pointers_of(&form, String::new(), &mut pointers);
        let pointer: &String = place.get(&pointers);
        *form.pointer_mut(pointer).unwrap() = other;
        form
    })
}

fn pointers_of(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| pointers_of(item, format!("{pointer}/{at}"), found));
        }
        Value::Object(members) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            members.iter().for_each(|(name, one)| pointers_of(one, format!("{pointer}/{}", escaped(name)), found));
        }
        _ => {}
    }
    found.push(pointer);
}

/// What holds of everything that was read.
fn is_sound(trigger: &Trigger) {
    assert!(!trigger.messages.is_empty());
    assert!(trigger.answers == Answers::Batch || trigger.messages.iter().all(|message| message.id.is_none()));
    for message in &trigger.messages {
        assert!(message.receives >= 1);
        match &message.content {
            Err(fault) => assert!(!fault.to_string().contains('\n') && fault.to_string().len() < 1_000, "{fault}"),
            Ok(Content::Objects { events, skipped, .. }) => {
                assert!(!events.is_empty() || !skipped.is_empty());
                for event in events {
                    assert!(!event.key.is_empty() && !event.key.ends_with('/') && !event.container.is_empty());
                    assert_eq!(event.account.is_some(), event.store == "azure");
                    assert_ne!(event.size, Some(0));
                }
            }
            Ok(Content::Http(_)) => assert_eq!(trigger.answers, Answers::Http),
            Ok(Content::Ask(_) | Content::Tick | Content::Handshake { .. }) => {
                assert_ne!(trigger.answers, Answers::Http);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_value_is_read_or_refused(value in value()) {
        is_sound(&Trigger::of_lambda(&value));
        is_sound(&Trigger::of_custom_handler("ingest", &value));
    }

    #[test]
    fn a_damaged_call_is_read_or_refused(value in damaged()) {
        is_sound(&Trigger::of_lambda(&value));
        is_sound(&Trigger::of_custom_handler("ingest", &value));
    }

    #[test]
    fn any_key_arrives_as_it_was_written(key in "\\PC*[^/\\s]") {
        let mut event = json(fixture!("event_bridge_object_created"));
        event["detail"]["object"]["key"] = Value::from(key.as_str());
        let (events, skipped) = objects(only(Trigger::of_lambda(&event)));
        let arrived = events.iter().map(|event| &event.key).chain(skipped.iter().map(|one| &one.key));
        prop_assert_eq!(arrived.collect::<Vec<_>>(), vec![&key]);
    }
}
