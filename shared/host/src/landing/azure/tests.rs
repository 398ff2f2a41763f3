//! What the container is asked, and what its answers mean.

use azure_core::http::{FixedRetryOptions, RetryOptions};
use azure_core::time::Duration;
use inlet_core::fault::FaultKind;
use tokio::runtime::Runtime;

use super::*;
use crate::cloud::testing::{Answer, Server, answer};

const SIGNATURE: &str = "sv=2026-01-01&sig=planted%2Bsignature";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn container(url: &str) -> Azure {
    let url = Url::parse(&format!("{url}/acme/landing?{SIGNATURE}")).unwrap();
    let fast = FixedRetryOptions { delay: Duration::milliseconds(1), max_retries: 1, ..FixedRetryOptions::default() };
    let options = ClientOptions { retry: RetryOptions::fixed(fast), ..azure::options() };
    Azure::with("acme", "landing", url, None, options).unwrap()
}

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code} it is</Message></Error>");
    let answer = answer(status, body).header("content-type: application/xml");
    answer.header(&format!("x-ms-error-code: {code}")).header("x-ms-request-id: 6d79dbfb")
}

fn object(body: &str) -> Answer {
    let answer = answer(206, body).header("etag: \"0x8D1\"").header("last-modified: Sun, 01 Mar 2026 10:00:00 GMT");
    answer.header(&format!("content-range: bytes 0-{}/7", body.len() - 1))
}

fn page(items: &[&str], next: &str) -> Answer {
    let items = items.iter().map(|name| {
        format!(
            "<Blob>{name}<Properties><Last-Modified>Sun, 01 Mar 2026 10:00:00 GMT</Last-Modified><Etag>0x8D1</Etag>\
             <Content-Length>7</Content-Length></Properties></Blob>"
        )
    });
    let items: String = items.collect();
    let body = format!(
        "<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"x\" ContainerName=\"landing\"><Blobs>{items}</Blobs>\
         <NextMarker>{next}</NextMarker></EnumerationResults>"
    );
    answer(200, body).header("content-type: application/xml")
}

fn form() -> ObjectForm {
    ObjectForm { etag: "0x8D1".to_owned(), size: 7, modified: 0, version: None }
}

fn listed(url: &str, prefix: &str) -> Result<Vec<ListedObject>, Fault> {
    let container = container(url);
    runtime().block_on(container.list(prefix).try_concat())
}

fn read(url: &str, key: &str, form: &ObjectForm) -> Result<String, Fault> {
    let container = container(url);
    runtime().block_on(async {
        let pieces: Vec<_> = container.get(key, form).await?.try_collect().await?;
        Ok(String::from_utf8(pieces.concat()).unwrap())
    })
}

#[test]
fn an_object_is_known_by_its_head_and_read_in_that_form_alone() {
    let head = answer(200, "").header("content-length: 7").header("etag: \"0x8D1\"");
    let head = head.header("last-modified: Sun, 01 Mar 2026 10:00:00 GMT");
    let server = Server::start(vec![head, object("{\"a\":1}"), object("{\"a\":1}")]);
    let found = runtime().block_on(container(&server.url).head("a.gz", None)).unwrap().unwrap();
    let modified = 1_772_359_200_000_000;
    assert_eq!(found, ObjectForm { etag: "\"0x8D1\"".to_owned(), size: 7, modified, version: None });
    assert_eq!(read(&server.url, "a.gz", &form()).unwrap(), "{\"a\":1}");
    let versioned = ObjectForm { version: Some("2026-03-01T10:00:00.1Z".to_owned()), ..form() };
    assert_eq!(read(&server.url, "a.gz", &versioned).unwrap(), "{\"a\":1}");
    let asked = server.asked();
    assert_eq!((asked[1].header("if-match"), asked[2].header("if-match")), (Some("\"0x8D1\""), None));
    assert!(asked[2].line.contains("versionid=2026-03-01T10"), "{}", asked[2].line);
}

#[test]
fn every_key_is_asked_for_as_it_is() {
    let keys = [
        ("a//b", "a%2F%2Fb"),
        ("/a", "%2Fa"),
        ("a b+c", "a%20b+c"),
        ("100%/a%20b", "100%25%2Fa%2520b"),
        ("Grüße", "Gr%C3%BC%C3%9Fe"),
        ("a/../b", "a%2F..%2Fb"),
        ("q?x=1#z", "q%3Fx=1%23z"),
    ];
    for (key, path) in keys {
        let server = Server::start(vec![object("{\"a\":1}")]);
        read(&server.url, key, &form()).unwrap();
        assert_eq!(server.lines(), [format!("GET /acme/landing/{path}?{SIGNATURE}")], "{key}");
    }
    for key in ["", ".", ".."] {
        assert_eq!(read("http://127.0.0.1:1", key, &form()).unwrap_err().kind(), FaultKind::Setup, "{key}");
    }
}

#[test]
fn a_listing_is_read_to_its_last_page() {
    let first = ["<Name>/a//b</Name>", "<Name Encoded=\"true\">a%EF%BF%BEb</Name>"];
    let server = Server::start(vec![page(&first, "m/1"), page(&["<Name>Grüße &amp; a+b</Name>"], "")]);
    let found = listed(&server.url, "p/").unwrap();
    let keys: Vec<&str> = found.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["/a//b", "a\u{fffe}b", "Grüße & a+b"]);
    assert_eq!((found[0].form.size, found[0].form.modified), (7, 1_772_359_200_000_000));
    let lines = server.lines();
    assert!(lines[0].contains("prefix=p%2F") && lines[1].contains("marker=m%2F1"), "{lines:?}");
}

#[test]
fn a_refusal_says_who_can_mend_it_and_the_request_that_azure_asks_for() {
    let cases = [
        (403, "AuthorizationPermissionMismatch", FaultKind::Setup, "not allowed to list"),
        (403, "AuthorizationFailure", FaultKind::Setup, "not allowed to list"),
        (403, "AuthenticationFailed", FaultKind::Setup, "no valid credentials for"),
        (400, "InvalidAuthenticationInfo", FaultKind::Setup, "no valid credentials for"),
        (404, "ContainerNotFound", FaultKind::Setup, "no such container:"),
        (503, "ServerBusy", FaultKind::Again, "cannot list"),
    ];
    for (status, code, kind, doing) in cases {
        let server = Server::start(vec![error(status, code)]);
        let fault = listed(&server.url, "p/").unwrap_err();
        let message = format!("{doing} `abfss://landing@acme.dfs.core.windows.net/p/`");
        assert_eq!((fault.kind(), fault.to_string()), (kind, message.clone()));
        assert_eq!(fault.chain(), format!("{message}: {code}, HTTP {status}, request 6d79dbfb"));
        assert_eq!(server.lines().len(), if status == 503 { 2 } else { 1 }, "{code}");
    }
}

#[test]
fn a_form_that_is_gone_is_replaced() {
    for (status, code) in [(404, "BlobNotFound"), (412, "ConditionNotMet")] {
        let fault = read(&Server::start(vec![error(status, code)]).url, "a", &form()).unwrap_err();
        assert_eq!(fault.kind(), FaultKind::Again);
        assert_eq!(fault.to_string(), "cannot read `a`: it was replaced or deleted since it was listed");
    }
    let missing = Server::start(vec![answer(404, "").header("x-ms-error-code: BlobNotFound")]);
    assert!(runtime().block_on(container(&missing.url).head("a", None)).unwrap().is_none());
}

#[test]
fn a_body_that_breaks_is_read_on_where_it_broke() {
    let rest = answer(206, "\":1}").header("content-range: bytes 3-6/7").header("etag: \"0x8D1\"");
    let server = Server::start(vec![object("{\"a\":1}").broken_after(3), rest]);
    assert_eq!(read(&server.url, "a", &form()).unwrap(), "{\"a\":1}");
    let asked = server.asked();
    let range = asked[1].header("x-ms-range").or(asked[1].header("range"));
    assert_eq!((range, asked[1].header("if-match")), (Some("bytes=3-6"), Some("\"0x8D1\"")));
}

#[test]
fn no_fault_repeats_a_signature() {
    let broken = Server::start(vec![object("{\"a\":1}").broken_after(3)]);
    let faults = [
        listed("http://127.0.0.1:1", "p/").unwrap_err(),
        read("http://127.0.0.1:1", "a", &form()).unwrap_err(),
        read(&broken.url, "a", &form()).unwrap_err(),
        listed(&Server::start(vec![error(403, "AuthenticationFailed")]).url, "p/").unwrap_err(),
    ];
    for fault in faults {
        let said = format!("{} {fault:?}", fault.chain());
        assert!(!said.contains("planted"), "{said}");
    }
}
