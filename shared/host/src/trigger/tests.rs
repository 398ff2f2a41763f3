//! Every form as it is sent, read from files.

mod any;
mod published;

use super::*;

/// The key that the fixtures spell in every way.
const KEY: &str = "segment-logs/src 1+2/day=2026-01-02/Zoë 100%25 a%2Bb/0.json.gz";

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/trigger/fixtures/", $name, ".json"))
    };
}
use fixture;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn lambda(text: &str) -> Trigger {
    Trigger::of_lambda(&json(text))
}

fn azure(text: &str) -> Trigger {
    Trigger::of_custom_handler("ingest", &json(text))
}

/// The content of a call of one message.
fn only(trigger: Trigger) -> Result<Content, Fault> {
    let [message] = <[Message; 1]>::try_from(trigger.messages).unwrap();
    assert_eq!((message.id, message.queue), (None, None));
    message.content
}

fn objects(content: Result<Content, Fault>) -> (Vec<ObjectEvent>, Vec<Skipped>) {
    match content {
        Ok(Content::Objects { events, skipped, refused }) if refused.is_empty() => (events, skipped),
        other => panic!("{other:?}"),
    }
}

fn skips(skipped: &[Skipped]) -> Vec<(&str, &str)> {
    skipped.iter().map(|one| (one.reason.name(), one.key.as_str())).collect()
}

fn on_s3() -> ObjectEvent {
    ObjectEvent {
        store: "s3",
        account: None,
        container: "acme-landing".to_owned(),
        key: KEY.to_owned(),
        etag: Some("d41d8cd98f00b204e9800998ecf8427e".to_owned()),
        size: Some(1024),
        version: Some("096fKKXTRTtl3on89fVO.nfljtsv6qko".to_owned()),
        owner: None,
        region: Some("eu-west-1".to_owned()),
    }
}

fn on_azure() -> ObjectEvent {
    ObjectEvent {
        store: "azure",
        account: Some("acmelake".to_owned()),
        container: "landing".to_owned(),
        key: KEY.to_owned(),
        etag: Some("0x8D4BCC2E4835CD0".to_owned()),
        size: Some(1024),
        version: None,
        owner: None,
        region: None,
    }
}

fn by_event_bridge() -> ObjectEvent {
    ObjectEvent { owner: Some("111122223333".to_owned()), ..on_s3() }
}

#[test]
fn a_notification_of_s3_names_uploads_and_what_is_none() {
    let trigger = lambda(fixture!("s3_notification"));
    assert_eq!(trigger.answers, Answers::Whole);
    let (events, skipped) = objects(only(trigger));
    assert_eq!(events[0], on_s3());
    assert_eq!((events[1].key.as_str(), &events[1].version, events.len()), ("segment-logs/src1/1.gz", &None, 2));
    let expected = [
        ("placeholder", "segment-logs/src1/dummy-object.txt"),
        ("empty", "segment-logs/src1/empty.gz"),
        ("folder", "segment-logs/src1/"),
        ("deleted", "segment-logs/src1/old.gz"),
    ];
    assert_eq!(skips(&skipped), expected);
}

#[test]
fn a_batch_of_sqs_answers_message_by_message() {
    let trigger = lambda(fixture!("sqs"));
    assert_eq!(trigger.answers, Answers::Batch);
    let mut messages = trigger.messages.into_iter();
    for (place, expected) in [on_s3(), on_s3(), by_event_bridge()].into_iter().enumerate() {
        let message = messages.next().unwrap();
        assert_eq!(message.id.unwrap(), format!("059f36b4-87a3-44ab-83d2-66197583000{place}"));
        assert_eq!(message.receives as usize, place + 1);
        assert_eq!(message.queue.unwrap(), "arn:aws:sqs:eu-west-1:111122223333:ingest");
        assert_eq!(objects(message.content), (vec![expected], vec![]), "notification, SNS, EventBridge: {place}");
    }
    let contents: Vec<_> = messages.map(|message| message.content).collect();
    let [test, Ok(Content::Ask(ask)), Err(foreign), Err(no_json)] = <[_; 4]>::try_from(contents).unwrap() else {
        panic!("a test event, an ask, and two that nobody knows")
    };
    assert_eq!(skips(&objects(test).1), [("test_event", "acme-landing")]);
    assert_eq!(ask, Ask::Evolve { all: true, plan: false, retry: false });
    assert_eq!(foreign.to_string(), "an object with `hello` is no message that Inlet knows");
    assert_eq!(no_json.to_string(), "the message is neither JSON nor base64 of JSON");
}

#[test]
fn a_stranger_in_a_batch_fails_alone() {
    let mut batch = json(fixture!("sqs"));
    batch["Records"][1]["eventSource"] = Value::from("aws:kinesis");
    batch["Records"][2]["body"] = Value::Null;
    batch["Records"][3]["messageId"] = Value::Null;
    let trigger = Trigger::of_lambda(&batch);
    let [first, stranger, bare, nameless, ..] = trigger.messages.as_slice() else { panic!() };
    assert!(first.content.is_ok() && nameless.content.is_ok() && nameless.id.is_none());
    assert!(stranger.content.as_ref().unwrap_err().to_string().contains("`aws:kinesis`"));
    assert_eq!(bare.content.as_ref().unwrap_err().to_string(), "the event has no `body`");
    assert!(stranger.id.is_some() && bare.id.is_some());
}

#[test]
fn what_comes_by_itself_answers_as_a_whole() {
    for (text, expected) in [(fixture!("sns"), on_s3()), (fixture!("event_bridge_object_created"), by_event_bridge())] {
        let trigger = lambda(text);
        assert_eq!(trigger.answers, Answers::Whole);
        assert_eq!(objects(only(trigger)), (vec![expected], vec![]));
    }
    let (events, skipped) = objects(only(lambda(fixture!("s3_test_event"))));
    assert_eq!((events, skips(&skipped)), (vec![], vec![("test_event", "acme-landing")]));
}

#[test]
fn schedules_and_asks_are_told_apart() {
    for text in [fixture!("event_bridge_schedule"), fixture!("scheduler")] {
        assert!(matches!(only(lambda(text)), Ok(Content::Tick)), "{text}");
    }
    let Ok(Content::Ask(Ask::Backfill(Backfill { prefix, max_objects, continuation, .. }))) =
        only(lambda(fixture!("action")))
    else {
        panic!("an ask to backfill")
    };
    assert_eq!((prefix.as_deref(), max_objects, continuation), (Some("segment-logs/src1/"), Some(50_000), None));
}

#[test]
fn a_request_is_the_same_through_a_function_url_api_gateway_and_azure() {
    for (trigger, path, query) in [
        (lambda(fixture!("function_url")), "/connect", "a b+c"),
        (lambda(fixture!("api_gateway")), "/connect", ""),
        (azure(fixture!("azure_http")), "/api/connect", "a b+c"),
    ] {
        assert_eq!(trigger.answers, Answers::Http);
        let Ok(Content::Http(request)) = only(trigger) else { panic!("a request") };
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", path));
        assert_eq!(request.query.get("name").map_or("", String::as_str), query);
        assert_eq!(request.headers["content-type"], "application/json");
        let content = Content::of_text(&request.body.unwrap());
        assert!(content.is_err(), "a body is told apart by the face, which knows the path");
    }
}

#[test]
fn a_message_of_a_storage_queue_is_the_same_in_every_encoding() {
    for text in [
        fixture!("azure_queue"),
        fixture!("azure_queue_once"),
        fixture!("azure_queue_base64"),
        fixture!("azure_queue_object"),
        fixture!("azure_queue_array"),
        fixture!("azure_queue_cloud_event"),
    ] {
        let trigger = azure(text);
        assert_eq!((trigger.answers, trigger.messages[0].receives), (Answers::Whole, 2), "{text}");
        assert_eq!(objects(only(trigger)), (vec![on_azure()], vec![]), "{text}");
    }
}

#[test]
fn event_grid_and_service_bus_bring_the_same_object() {
    for text in [fixture!("azure_event_grid"), fixture!("azure_event_grid_text"), fixture!("azure_service_bus")] {
        let trigger = azure(text);
        assert_eq!(trigger.messages[0].receives, 1, "only a storage queue's count is read");
        assert_eq!(objects(only(trigger)), (vec![on_azure()], vec![]), "{text}");
    }
    for text in [fixture!("cloud_event"), fixture!("event_grid")] {
        assert_eq!(objects(Content::of_text(text)).0[0], on_azure(), "{text}");
    }
}

#[test]
fn events_of_a_storage_account_name_uploads_and_what_is_none() {
    let (events, skipped) = objects(Content::of_text(fixture!("event_grid")));
    assert_eq!((events[1].key.as_str(), &events[1].etag, events.len()), ("final name/2.gz", &None, 2));
    let deleted = "/blobServices/default/containers/landing/blobs/old.gz";
    let expected =
        [("create_file", "a.gz"), ("empty", "empty.gz"), ("placeholder", "s/dummy-object.txt"), ("deleted", deleted)];
    assert_eq!(skips(&skipped), expected);
}

#[test]
fn azure_brings_schedules_asks_handshakes_and_strangers_too() {
    assert!(matches!(only(azure(fixture!("azure_timer"))), Ok(Content::Tick)));
    let Ok(Content::Ask(ask)) = only(azure(fixture!("azure_queue_action"))) else { panic!("an ask") };
    assert_eq!(ask, Ask::Evolve { all: true, plan: false, retry: false });
    let Ok(Content::Handshake { code }) = Content::of_text(fixture!("event_grid_handshake")) else { panic!() };
    assert_eq!(code, "512d38b6-c7b8-40c8-89fe-f46f9e9622b6");
    let stranger = azure(fixture!("azure_queue_unknown"));
    assert_eq!(stranger.messages[0].receives, 5);
    assert!(only(stranger).is_err());
}

#[test]
fn nothing_at_all_fails() {
    for text in ["null", "{}", "[]", "\"\"", "7", "{\"Records\": []}", "{\"Records\": [7]}", "{\"Records\": null}"] {
        // By hand a function is called without a payload.
        let is_by_hand = ["null", "{}"].contains(&text);
        assert_eq!(matches!(only(lambda(text)), Ok(Content::Tick)), is_by_hand, "{text}");
        assert_eq!(only(lambda(text)).is_err(), !is_by_hand, "{text}");
        assert!(only(azure(text)).is_err(), "{text}");
        assert!(Content::of_text(text).is_err(), "{text}");
    }
}
