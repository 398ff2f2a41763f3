use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;
use url::Url;

use super::*;
use crate::databricks::Cloud;
use crate::databricks::error::{Subject, Way, Whom};

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: HeaderMap::new(), body: body.to_owned().into() }
}

fn told(status: u16, body: &str) -> (Option<String>, String, Meaning) {
    let said = said(&reply(status, body));
    let meaning = said.meaning();
    (said.code, said.message, meaning)
}

fn request() -> Request {
    let host = "https://h".to_owned();
    let whom = Arc::new(Whom { host, cloud: Cloud::Other, way: Way::Token, client_id: None });
    Request::get(Url::parse("https://h/p").unwrap(), Subject::Workspace, &whom)
}

#[test]
fn every_dialect_is_understood() {
    let of = |code: &str, message: &str, meaning| (Some(code.to_owned()), message.to_owned(), meaning);
    let uncoded = |message: &str, meaning| (None, message.to_owned(), meaning);
    use Meaning::{Denied, Invalid, Missing, NoSuchCall, Unauthenticated, Unwell};
    let cases = [
        (
            404,
            r#"{"error_code":"NOT_FOUND","message":"Volume 'c' does not exist."}"#,
            of("NOT_FOUND", "Volume 'c' does not exist.", Missing),
        ),
        (
            401,
            r#"{"error_code":401,"message":"Credential was not sent."}"#,
            of("401", "Credential was not sent.", Unauthenticated),
        ),
        (
            403,
            r#"{"error_code":403,"message":"Invalid access token."}"#,
            of("403", "Invalid access token.", Unauthenticated),
        ),
        (403, r#"{"message":"Invalid token"}"#, uncoded("Invalid token", Unauthenticated)),
        (
            403,
            r#"{"message":"You don't have permission to this resource."}"#,
            uncoded("You don't have permission to this resource.", Denied),
        ),
        (
            404,
            r#"{"error":"Bad Target: /api/2.2/sql/endpoints"}"#,
            uncoded("Bad Target: /api/2.2/sql/endpoints", NoSuchCall),
        ),
        (
            404,
            r#"{"error_code":"ENDPOINT_NOT_FOUND","message":"No API found"}"#,
            of("ENDPOINT_NOT_FOUND", "No API found", NoSuchCall),
        ),
        (
            404,
            r#"{"schemas":["urn:x:Error"],"detail":"User not found","status":"404","scimType":null}"#,
            uncoded("User not found", Missing),
        ),
        (409, r#"{"detail":"twice","scimType":"uniqueness"}"#, of("uniqueness", "twice", Meaning::Exists)),
        (
            401,
            r#"{"error":"invalid_client","error_id":"7","error_description":"Client authentication failed"}"#,
            of("invalid_client", "Client authentication failed", Unauthenticated),
        ),
        (401, r#"{"error":"invalid_client"}"#, of("invalid_client", "invalid_client", Unauthenticated)),
        (
            400,
            r#"{"errorCode":"E0001","errorSummary":"Api validation failed"}"#,
            of("E0001", "Api validation failed", Invalid),
        ),
        (
            409,
            r#"{"error":{"message":"reload","type":"CommitVersionConflictException","code":409}}"#,
            of("CommitVersionConflictException", "reload", Meaning::Exists),
        ),
        (400, "MALFORMED_REQUEST: page_size is no number", of("MALFORMED_REQUEST", "page_size is no number", Invalid)),
        (500, "upstream: timed out", uncoded("upstream: timed out", Unwell)),
        (
            403,
            "<html><head><title>Error 403 User not authorized.</title></head><body><p>Problem accessing /api/2.0/x. \
               Reason:<pre>    User not authorized.</pre></p></body></html>",
            uncoded("User not authorized.", Denied),
        ),
        (502, "<html><head><title>502 Bad Gateway</title></head></html>", uncoded("502 Bad Gateway", Unwell)),
        (502, "<html><body>ups</body></html>", uncoded("a web page", Unwell)),
        (404, "<pre>Not here</pre>", uncoded("Not here", NoSuchCall)),
        (503, "", uncoded("", Unwell)),
        (400, "[1,2]", uncoded("[1,2]", Invalid)),
        (400, "{", uncoded("{", Invalid)),
    ];
    for (status, body, expected) in cases {
        assert_eq!(told(status, body), expected, "{status} {body}");
    }
}

#[test]
fn the_code_counts_before_the_status() {
    let meaning = |status, code: &str| told(status, &json!({ "error_code": code, "message": "m" }).to_string()).2;
    assert_eq!(meaning(400, "TABLE_DOES_NOT_EXIST"), Meaning::Missing);
    assert_eq!(meaning(400, "SCHEMA_ALREADY_EXISTS"), Meaning::Exists);
    assert_eq!(meaning(404, "PERMISSION_DENIED"), Meaning::Denied);
    assert_eq!(meaning(400, "REQUEST_LIMIT_EXCEEDED"), Meaning::Busy);
    assert_eq!(meaning(400, "TEMPORARILY_UNAVAILABLE"), Meaning::Unwell);
    assert_eq!(meaning(500, "INVALID_STATE"), Meaning::Invalid);
    assert_eq!(meaning(418, "NEWER_THAN_US"), Meaning::Invalid);
}

#[test]
fn entra_is_known_by_its_number() {
    let description = "AADSTS7000215: Invalid client secret is provided.\r\nTrace ID: 1\r\nTimestamp: 2019";
    let body = json!({ "error": "invalid_client", "error_description": description, "error_codes": [7000215] });
    let line = "AADSTS7000215: Invalid client secret is provided. Trace ID: 1 Timestamp: 2019".to_owned();
    assert_eq!(told(401, &body.to_string()).0.as_deref(), Some("AADSTS7000215"));
    let body = json!({ "error": "invalid_client", "error_description": description });
    let (code, message, _) = told(401, &body.to_string());
    assert_eq!((code.as_deref(), message), (Some("AADSTS7000215"), line));
}

#[test]
fn an_empty_answer_is_explained_by_its_header() {
    let mut empty = reply(401, "");
    empty.headers.insert("x-databricks-reason-phrase", HeaderValue::from_static("Credential was not sent"));
    assert_eq!(said(&empty).message, "Credential was not sent");
}

#[test]
fn the_request_id_is_kept_wherever_it_stands() {
    let body = json!({ "error_code": "X_Y", "message": "m", "details": [
        { "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "r" },
        { "@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": "in-details" },
    ]});
    let mut answered = reply(400, &body.to_string());
    assert_eq!(said(&answered).request_id.as_deref(), Some("in-details"));
    answered.headers.insert("x-request-id", HeaderValue::from_static("in-header"));
    assert_eq!(said(&answered).request_id.as_deref(), Some("in-header"));
    let entra = reply(400, r#"{"error":"invalid_request","error_description":"d","trace_id":"in-body"}"#);
    assert_eq!(said(&entra).request_id.as_deref(), Some("in-body"));
}

#[test]
fn a_failed_statement_gives_class_state_and_denial() {
    let message = "\n[PARSE_SYNTAX_ERROR] Syntax error at or near 'INSER'. SQLSTATE: 42601 (line 1, pos 0)\n\n\
                   == SQL ==\nINSER INTO x\n^^^\n";
    let said = Said::of_statement(Some("BAD_REQUEST".to_owned()), message, None);
    assert_eq!(said.class.as_deref(), Some("PARSE_SYNTAX_ERROR"));
    assert_eq!(said.sql_state.as_deref(), Some("42601"));
    assert_eq!(said.message, "[PARSE_SYNTAX_ERROR] Syntax error at or near 'INSER'. SQLSTATE: 42601 (line 1, pos 0)");
    let class = |message: &str| Said::of_statement(None, message, None).class;
    assert_eq!(class("[RequestId=1-2 ErrorClass=INVALID_STATE] Metastore").as_deref(), Some("INVALID_STATE"));
    assert_eq!(
        class("Error: [DELTA_METADATA_CHANGED.WITH_HINT] x [OTHER]").as_deref(),
        Some("DELTA_METADATA_CHANGED.WITH_HINT")
    );
    assert_eq!(
        class("INVALID_PARAMETER_VALUE.LOCATION_OVERLAP: Input path url").as_deref(),
        Some("INVALID_PARAMETER_VALUE.LOCATION_OVERLAP")
    );
    for none in ["", "PERMISSION_DENIED: User", "array[1] of [a]", "[]", "[", "ErrorClass="] {
        assert_eq!(class(none), None, "{none}");
    }
    let given = Said::of_statement(None, "SQLSTATE: 4260", Some("42P01".to_owned()));
    assert_eq!(given.sql_state.as_deref(), Some("42P01"));
}

#[test]
fn a_message_is_one_line_of_bounded_length() {
    let said = Said::of("a\n\tb\u{1b}[31m  c\0d");
    assert_eq!(said.message, "a b [31m c d");
    let long = Said::of(&"é".repeat(10_000)).bounded().message;
    assert_eq!((long.len(), long.ends_with("é …")), (MESSAGE_MAX + " …".len(), true));
    let error = accepted(&request(), &reply(400, &"word ".repeat(10_000))).unwrap_err();
    assert!(error.message().len() < MESSAGE_MAX + 10, "{}", error.message().len());
}

#[test]
fn a_secret_at_the_bound_is_masked_whole() {
    let secret = crate::secret::Secret::new("s".repeat(100));
    let echo = format!("{}{}", "x".repeat(MESSAGE_MAX - 50), secret.expose());
    let error = accepted(&request().secret(&secret), &reply(400, &echo)).unwrap_err();
    assert!(error.message().ends_with("x***"), "{error}");
}

#[test]
fn null_means_left_out_and_in_a_list_it_is_a_value() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Wanted {
        #[serde(default)]
        name: String,
        rows: Vec<Option<u64>>,
    }
    let wanted = read::<Wanted>(&request(), &reply(200, r#"{"name":null,"rows":[null,7]}"#)).unwrap();
    assert_eq!(wanted, Wanted { name: String::new(), rows: vec![None, Some(7)] });
}

#[test]
fn a_page_with_a_good_status_is_no_answer() {
    let error = read::<Value>(&request(), &reply(200, "<!doctype html><title>Sign in</title>")).unwrap_err();
    assert!(error.to_string().contains("something else than the API's JSON"), "{error}");
    assert!(accepted(&request(), &reply(200, " <html>")).is_err());
    accepted(&request(), &reply(204, "")).unwrap();
}

#[test]
fn an_unreadable_answer_is_not_quoted() {
    #[derive(Debug, serde::Deserialize)]
    struct Wanted {
        #[expect(dead_code, reason = "it cannot be read")]
        token: u64,
    }
    let error = read::<Wanted>(&request(), &reply(200, r#"{"token":"planted"}"#)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("planted"), "{error}");
    assert_eq!(error.message(), "a field is missing, or of another type");
    let error = read::<Wanted>(&request(), &reply(200, r#"{"token":planted"#)).unwrap_err();
    assert_eq!(error.message(), "no JSON from line 1 column 10 on");
}
