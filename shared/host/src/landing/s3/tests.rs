//! What the bucket is asked, and what its answers mean.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures::TryStreamExt;
use inlet_core::fault::FaultKind;
use tokio::runtime::Runtime;

use super::*;
use crate::cloud::testing::{Answer, Server, answer};

const OWNER: &str = "111122223333";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn bucket(server: &Server, owner: Option<&str>) -> S3 {
    let credentials = Credentials::new("key", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(aws::version())
        .region(Region::new("eu-west-1"))
        .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(1)))
        .credentials_provider(SharedCredentialsProvider::new(credentials));
    S3::with(&config.build(), Some(server.url.clone()), false, "landing", owner)
}

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code} it is</Message></Error>");
    answer(status, body).header("content-type: application/xml").header("x-amz-request-id: 4442587FB7D0A2F9")
}

fn object(body: &str) -> Answer {
    answer(200, body).header("etag: \"e1\"").header("last-modified: Sun, 01 Mar 2026 10:00:00 GMT")
}

fn page(body: &str) -> Answer {
    let body =
        format!("<?xml version=\"1.0\"?><ListBucketResult><EncodingType>url</EncodingType>{body}</ListBucketResult>");
    answer(200, body).header("content-type: application/xml")
}

fn item(key: &str) -> String {
    format!(
        "<Contents><Key>{key}</Key><LastModified>2026-03-01T10:00:00.250Z</LastModified><ETag>&quot;e1&quot;</ETag>\
         <Size>7</Size></Contents>"
    )
}

fn form() -> ObjectForm {
    ObjectForm { etag: "e1".to_owned(), size: 7, modified: 0, version: None }
}

fn listed(server: &Server, prefix: &str) -> Result<Vec<ListedObject>, Fault> {
    let bucket = bucket(server, None);
    runtime().block_on(bucket.list(prefix).try_concat())
}

fn read(server: &Server, key: &str, form: &ObjectForm) -> Result<String, Fault> {
    let bucket = bucket(server, None);
    runtime().block_on(async {
        let pieces: Vec<_> = bucket.get(key, form).await?.try_collect().await?;
        Ok(String::from_utf8(pieces.concat()).unwrap())
    })
}

#[test]
fn an_object_is_known_by_its_head_and_read_in_that_form_alone() {
    let head = object("").header("content-length: 7").header("x-amz-version-id: null");
    let server = Server::start(vec![head, object("{\"a\":1}"), object("{\"a\":1}")]);
    let found = runtime().block_on(bucket(&server, None).head("a.gz", None)).unwrap().unwrap();
    let modified = 1_772_359_200_000_000;
    assert_eq!(found, ObjectForm { etag: "\"e1\"".to_owned(), size: 7, modified, version: None });
    assert_eq!(read(&server, "a.gz", &form()).unwrap(), "{\"a\":1}");
    let versioned = ObjectForm { version: Some("v+1".to_owned()), ..form() };
    assert_eq!(read(&server, "a.gz", &versioned).unwrap(), "{\"a\":1}");
    let asked = server.asked();
    assert_eq!((asked[1].header("if-match"), asked[2].header("if-match")), (Some("\"e1\""), None));
    assert!(asked[2].line.contains("versionId=v%2B1"), "{}", asked[2].line);
}

#[test]
fn every_key_is_asked_for_as_it_is() {
    let keys = [
        ("a//b", "/landing/a//b"),
        ("/a", "/landing//a"),
        ("a b+c", "/landing/a%20b%2Bc"),
        ("100%/a%20b", "/landing/100%25/a%2520b"),
        ("Grüße", "/landing/Gr%C3%BC%C3%9Fe"),
        ("a/../b/./c", "/landing/a/../b/./c"),
        ("q?x=1&y#z", "/landing/q%3Fx%3D1%26y%23z"),
    ];
    for (key, path) in keys {
        let server = Server::start(vec![object("{\"a\":1}")]);
        read(&server, key, &form()).unwrap();
        assert_eq!(server.lines(), [format!("GET {path}?x-id=GetObject")], "{key}");
    }
}

#[test]
fn a_listing_is_read_to_its_last_page_and_its_keys_decoded() {
    let first = format!(
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t/1=</NextContinuationToken>{}{}",
        item("a+b%2Bc%0A"),
        item("%2Fa%2F%2Fb")
    );
    let server = Server::start(vec![page(&first), page(&item("Gr%C3%BC%C3%9Fe"))]);
    let found = listed(&server, "p/").unwrap();
    let keys: Vec<&str> = found.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["a b+c\n", "/a//b", "Grüße"]);
    assert_eq!((found[0].form.size, found[0].form.modified), (7, 1_772_359_200_250_000));
    let lines = server.lines();
    assert!(lines[0].contains("encoding-type=url") && lines[0].contains("prefix=p%2F"), "{lines:?}");
    assert!(lines[1].contains("continuation-token=t%2F1%3D"), "{lines:?}");
}

#[test]
fn a_listing_that_does_not_end_is_left() {
    let same = page("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>");
    let fault = listed(&Server::start(vec![same]), "p/").unwrap_err();
    assert!(fault.to_string().ends_with("does not end"), "{fault}");
}

#[test]
fn a_bucket_elsewhere_is_asked_where_it_lies() {
    let moved = error(301, "PermanentRedirect").header("x-amz-bucket-region: eu-central-1");
    let server = Server::start(vec![moved, page(&item("a")), object("")]);
    let bucket = bucket(&server, None);
    let runtime = runtime();
    assert_eq!(runtime.block_on(bucket.list("").try_concat()).unwrap().len(), 1);
    runtime.block_on(bucket.head("a", None)).unwrap();
    let asked = server.asked();
    let regions: Vec<bool> =
        asked.iter().map(|asked| asked.header("authorization").unwrap().contains("/eu-central-1/s3/")).collect();
    assert_eq!(regions, [false, true, true], "and from then on at once");
}

#[test]
fn a_bucket_that_always_lies_elsewhere_is_followed_once() {
    let moved = error(301, "PermanentRedirect").header("x-amz-bucket-region: eu-central-1");
    let server = Server::start(vec![moved]);
    assert_eq!(listed(&server, "").unwrap_err().kind(), FaultKind::Again);
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn every_request_names_the_owner_of_the_bucket() {
    let server = Server::start(vec![object(""), page(&item("a")), object("{\"a\":1}"), error(403, "AccessDenied")]);
    let (bucket, runtime) = (bucket(&server, Some(OWNER)), runtime());
    runtime.block_on(bucket.head("a", None)).unwrap();
    runtime.block_on(bucket.list("").try_concat()).unwrap();
    drop(runtime.block_on(bucket.get("a", &form())).unwrap());
    let fault = runtime.block_on(bucket.list("").try_concat()).unwrap_err();
    assert!(server.asked().iter().all(|asked| asked.header("x-amz-expected-bucket-owner") == Some(OWNER)));
    assert!(fault.hint_text().unwrap().contains(&format!("landing_owner {OWNER}")), "{fault:?}");
}

#[test]
fn a_refusal_says_who_can_mend_it_and_the_request_that_aws_asks_for() {
    let cases = [
        (403, "AccessDenied", FaultKind::Setup, "not allowed to list `s3://landing/p/`"),
        (403, "InvalidAccessKeyId", FaultKind::Setup, "no valid credentials for `s3://landing/p/`"),
        (400, "ExpiredToken", FaultKind::Setup, "no valid credentials for `s3://landing/p/`"),
        (404, "NoSuchBucket", FaultKind::Setup, "no such bucket: `s3://landing/p/`"),
        (503, "SlowDown", FaultKind::Again, "cannot list `s3://landing/p/`"),
        (500, "InternalError", FaultKind::Again, "cannot list `s3://landing/p/`"),
        (429, "TooManyRequests", FaultKind::Again, "cannot list `s3://landing/p/`"),
    ];
    for (status, code, kind, message) in cases {
        let server = Server::start(vec![error(status, code)]);
        let fault = listed(&server, "p/").unwrap_err();
        assert_eq!((fault.kind(), fault.to_string().as_str()), (kind, message));
        let because = format!("{code}: {code} it is, HTTP {status}, request 4442587FB7D0A2F9");
        assert_eq!(fault.chain(), format!("{message}: {because}"));
        let tries = if kind == FaultKind::Again { 2 } else { 1 };
        assert_eq!(server.lines().len(), tries, "{code}");
    }
}

#[test]
fn a_form_that_is_gone_is_replaced_and_an_archived_one_is_to_be_restored() {
    for (status, code) in [(404, "NoSuchKey"), (404, "NoSuchVersion"), (412, "PreconditionFailed")] {
        let fault = read(&Server::start(vec![error(status, code)]), "a", &form()).unwrap_err();
        assert_eq!(fault.kind(), FaultKind::Again);
        assert_eq!(fault.to_string(), "cannot read `a`: it was replaced or deleted since it was listed");
    }
    let fault = read(&Server::start(vec![error(403, "InvalidObjectState")]), "a", &form()).unwrap_err();
    assert_eq!((fault.kind(), fault.hint_text()), (FaultKind::Setup, Some("restore it first")));
    let missing = Server::start(vec![answer(404, "")]);
    assert!(runtime().block_on(bucket(&missing, None).head("a", None)).unwrap().is_none());
}

#[test]
fn a_body_that_breaks_is_read_on_where_it_broke() {
    let rest = answer(206, "\":1}").header("content-range: bytes 3-6/7").header("etag: \"e1\"");
    let server = Server::start(vec![object("{\"a\":1}").broken_after(3), rest]);
    assert_eq!(read(&server, "a", &form()).unwrap(), "{\"a\":1}");
    let asked = server.asked();
    assert_eq!((asked[1].header("range"), asked[1].header("if-match")), (Some("bytes=3-"), Some("\"e1\"")));
}

fn notifications(body: &str) -> Answer {
    let xml = "<?xml version=\"1.0\"?><NotificationConfiguration>";
    answer(200, format!("{xml}{body}</NotificationConfiguration>")).header("content-type: application/xml")
}

#[test]
fn who_hears_of_every_upload_below_a_prefix_is_told() {
    let queue = |name: &str, event: &str, filter: &str| {
        let rules = match filter {
            "" => String::new(),
            _ => format!(
                "<Filter><S3Key><FilterRule><Name>Prefix</Name><Value>{filter}</Value></FilterRule></S3Key></Filter>"
            ),
        };
        format!("<QueueConfiguration><Queue>{name}</Queue><Event>{event}</Event>{rules}</QueueConfiguration>")
    };
    let put = "s3:ObjectCreated:*";
    let body = [
        queue("all", put, ""),
        queue("above", "s3:ObjectCreated:Put", "in/"),
        queue("below", put, "in/shop/1/"),
        queue("beside", put, "out/"),
        queue("deleted", "s3:ObjectRemoved:*", ""),
    ];
    let topic = format!("<TopicConfiguration><Topic>topic</Topic><Event>{put}</Event></TopicConfiguration>");
    let function = format!(
        "<CloudFunctionConfiguration><CloudFunction>function</CloudFunction><Event>{put}</Event></CloudFunctionConfiguration>"
    );
    let bridge = "<EventBridgeConfiguration></EventBridgeConfiguration>";
    let cases = [
        (notifications(&body.concat()), vec!["all", "above"]),
        (notifications(&format!("{topic}{function}{bridge}")), vec!["function", "topic", "EventBridge"]),
        (notifications(""), vec![]),
    ];
    for (answer, wanted) in cases {
        let server = Server::start(vec![answer]);
        let told = runtime().block_on(bucket(&server, Some(OWNER)).listeners("in/shop/")).unwrap();
        assert_eq!(told, Listeners::Known(wanted.into_iter().map(str::to_owned).collect()));
        let asked = &server.asked()[0];
        assert!(
            asked.line.starts_with("GET /landing?notification") || asked.line.starts_with("GET /landing/?notification")
        );
        assert_eq!(asked.header("x-amz-expected-bucket-owner"), Some(OWNER));
    }
}

#[test]
fn who_hears_of_uploads_may_be_hidden_and_a_store_that_fails_is_no_answer() {
    for (status, code) in [(403, "AccessDenied"), (501, "NotImplemented"), (405, "MethodNotAllowed")] {
        let server = Server::start(vec![error(status, code)]);
        let told = runtime().block_on(bucket(&server, None).listeners("")).unwrap();
        assert!(matches!(told, Listeners::Unseen(_)), "{code}: {told:?}");
    }
    let empty = Server::start(vec![answer(200, "")]);
    let told = runtime().block_on(bucket(&empty, None).listeners("")).unwrap();
    assert!(matches!(told, Listeners::Unseen(_)), "{told:?}");
    let server = Server::start(vec![error(500, "InternalError")]);
    let fault = runtime().block_on(bucket(&server, None).listeners("")).unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Again);
}

#[test]
fn nobody_to_be_is_said_with_what_to_do() {
    let server = Server::start(vec![answer(500, "")]);
    let config = SdkConfig::builder().behavior_version(aws::version()).region(Region::new("eu-west-1"));
    let nobody = aws_config::environment::EnvironmentVariableCredentialsProvider::new();
    let config = config.credentials_provider(SharedCredentialsProvider::new(nobody)).build();
    let bucket = S3::with(&config, Some(server.url.clone()), false, "landing", None);
    let fault = runtime().block_on(bucket.head("a", None)).unwrap_err();
    assert_eq!((fault.kind(), fault.hint_text()), (FaultKind::Setup, Some(aws::SIGN_IN)));
    assert!(server.asked().is_empty());
}
