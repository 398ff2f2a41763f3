//! What functions are called with, read with AWS's own types: the files that the reading of triggers is tested with are
//! true to them. Here, since these types bring features of common crates along, with which all else would be built anew.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::eventbridge::EventBridgeEvent;
use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlRequest;
use aws_lambda_events::s3::S3Event;
use aws_lambda_events::sns::{SnsEvent, SnsMessage};
use aws_lambda_events::sqs::SqsEvent;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../shared/host/src/trigger/fixtures/", $name, ".json"))
    };
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure(format!("{error}: {text}")))
}

/// The first object of a notification, as its type has it.
fn is_the_odd_key(notification: &str) -> Result<(), Failure> {
    let typed: S3Event = read(notification)?;
    let s3 = &typed.records[0].s3;
    assert_eq!(typed.records[0].event_source.as_deref(), Some("aws:s3"));
    assert_eq!(s3.bucket.name.as_deref(), Some("acme-landing"));
    assert_eq!(
        s3.object.key.as_deref(),
        Some("segment-logs/src+1%2B2/day%3D2026-01-02/Zo%C3%AB+100%2525+a%252Bb/0.json.gz")
    );
    assert_eq!((s3.object.size, s3.object.e_tag.as_deref()), (Some(1024), Some("d41d8cd98f00b204e9800998ecf8427e")));
    assert_eq!(s3.object.version_id.as_deref(), Some("096fKKXTRTtl3on89fVO.nfljtsv6qko"));
    Ok(())
}

#[test]
fn notifications_have_the_types_that_aws_gives_them() -> Result<(), Failure> {
    is_the_odd_key(fixture!("s3_notification"))?;

    let sqs: SqsEvent = read(fixture!("sqs"))?;
    let bodies: Vec<&str> = sqs.records.iter().filter_map(|message| message.body.as_deref()).collect();
    assert_eq!(sqs.records[1].attributes["ApproximateReceiveCount"], "2");
    assert_eq!(sqs.records[0].event_source_arn.as_deref(), Some("arn:aws:sqs:eu-west-1:111122223333:ingest"));
    is_the_odd_key(bodies[0])?;
    let notification: SnsMessage = read(bodies[1])?;
    is_the_odd_key(&notification.message)?;

    let sns: SnsEvent = read(fixture!("sns"))?;
    is_the_odd_key(&sns.records[0].sns.message)
}

#[test]
fn events_of_event_bridge_have_the_type_that_aws_gives_them() -> Result<(), Failure> {
    for text in [fixture!("event_bridge_schedule"), fixture!("scheduler")] {
        let typed: EventBridgeEvent = read(text)?;
        assert_eq!(typed.detail_type, "Scheduled Event");
    }
    let typed: EventBridgeEvent = read(fixture!("event_bridge_object_created"))?;
    assert_eq!((typed.source.as_str(), typed.detail_type.as_str()), ("aws.s3", "Object Created"));
    assert_eq!((typed.account.as_deref(), typed.region.as_deref()), (Some("111122223333"), Some("eu-west-1")));
    Ok(())
}

#[test]
fn http_requests_have_the_types_that_aws_gives_them() -> Result<(), Failure> {
    let typed: LambdaFunctionUrlRequest = read(fixture!("function_url"))?;
    assert_eq!((typed.request_context.http.path.as_deref(), typed.is_base64_encoded), (Some("/connect"), false));
    assert_eq!(typed.query_string_parameters["name"], "a b+c");
    let typed: ApiGatewayV2httpRequest = read(fixture!("api_gateway"))?;
    assert_eq!((typed.request_context.http.path.as_deref(), typed.is_base64_encoded), (Some("/connect"), true));
    Ok(())
}
