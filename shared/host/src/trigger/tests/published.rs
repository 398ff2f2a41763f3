//! Samples that AWS publishes with its types.

use super::*;

#[test]
fn notifications_of_s3_are_read() {
    for text in [fixture!("published/s3-event"), fixture!("published/s3-event-with-decoded")] {
        let expected = ObjectEvent {
            container: "sourcebucket".to_owned(),
            key: "Happy Face.jpg".to_owned(),
            version: Some("version".to_owned()),
            region: Some("us-east-1".to_owned()),
            ..on_s3()
        };
        assert_eq!(objects(only(lambda(text))), (vec![expected], vec![]));
    }
}

#[test]
fn messages_are_counted_and_their_greetings_refused() {
    let mut trigger = lambda(fixture!("published/sqs-event"));
    let message = trigger.messages.remove(0);
    assert_eq!((message.id.as_deref(), message.receives), (Some("MessageID_1"), 2));
    let notified = [fixture!("published/sns-event"), fixture!("published/sns-event-pascal-case")];
    for content in notified.map(|text| only(lambda(text))).into_iter().chain([message.content]) {
        assert_eq!(content.unwrap_err().to_string(), "the message is neither JSON nor base64 of JSON");
    }
}

#[test]
fn a_schedule_is_one() {
    assert!(matches!(only(lambda(fixture!("published/eventbridge-schedule"))), Ok(Content::Tick)));
}

#[test]
fn requests_are_read_whoever_authorised_them() {
    for (text, body) in [
        (fixture!("published/apigw-v2-request-iam"), "{\r\n\t\"a\": 1\r\n}"),
        (fixture!("published/apigw-v2-request-no-authorizer"), ""),
    ] {
        let Ok(Content::Http(request)) = only(lambda(text)) else { panic!("{text}") };
        assert_eq!(request.body.unwrap_or_default(), body);
        assert!(["/my/path", "/"].contains(&request.path.as_str()), "{}", request.path);
        assert!(request.method == "GET" || request.method == "POST", "{}", request.method);
    }
}
