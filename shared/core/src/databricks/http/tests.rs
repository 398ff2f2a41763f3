use super::*;
use crate::databricks::error::Way;
use crate::databricks::testing::{SECRET, Server, Step, bytes, nothing, reply, run, slow, soon};
use crate::databricks::{Cloud, answer};

const BRIEF: Duration = Duration::from_millis(2);

fn whom() -> Arc<Whom> {
    let host = "https://dbc-1.cloud.databricks.com".to_owned();
    Arc::new(Whom { host, cloud: Cloud::Aws, way: Way::Token, client_id: None })
}

fn request(server: &Server, method: Method, path: &str) -> Request {
    Request::new(method, server.url.join(path).unwrap(), Subject::Workspace, &whom())
}

fn send(server: &Server, method: Method, deadline: Deadline) -> Result<Reply, Error> {
    run(Http::new(BRIEF).send(&request(server, method, "x"), deadline))
}

/// The status that comes of these answers, all of which must be asked for.
fn status(method: Method, steps: Vec<Step>) -> u16 {
    let server = Server::start(steps);
    let reply = send(&server, method, soon()).unwrap();
    server.seen();
    reply.status
}

#[test]
fn every_request_says_who_we_are() {
    let server = Server::start(vec![reply("GET /x", 200, "{}")]);
    send(&server, Method::GET, soon()).unwrap();
    assert_eq!(server.seen()[0].header("user-agent"), Some(concat!("Inlet/", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_busy_server_is_waited_for_as_long_as_it_asks() {
    let busy = || reply("POST /x", 429, "{}").header("retry-after: 1");
    let before = soon();
    assert_eq!(status(Method::POST, vec![busy(), reply("POST /x", 200, "{}")]), 200);
    assert!(before.left() < Duration::from_secs(29), "it waited a second");
}

#[test]
fn a_server_that_does_not_say_how_long_is_asked_again_soon() {
    let odd = reply("POST /x", 503, "").header("retry-after: Wed, 21 Oct 2026 07:28:00 GMT");
    let steps = vec![reply("POST /x", 503, ""), odd, reply("POST /x", 429, ""), reply("POST /x", 200, "{}")];
    assert_eq!(status(Method::POST, steps), 200);
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let busy = || reply("GET /x", 503, "").header("retry-after: 0");
    assert_eq!(status(Method::GET, (0..TRIES).map(|_| busy()).collect()), 503);
}

#[test]
fn nobody_waits_past_the_deadline() {
    for wait in ["3600", "18446744073709551615"] {
        let busy = reply("GET /x", 429, "{}").header(&format!("retry-after: {wait}"));
        assert_eq!(status(Method::GET, vec![busy]), 429, "the answer, at once");
    }
    let server = Server::start(vec![]);
    let error = send(&server, Method::GET, Deadline::after(Duration::ZERO)).err().unwrap();
    assert!(error.is_out_of_time());
    assert!(server.seen().is_empty(), "nothing is sent");
}

#[test]
fn a_lost_answer_is_asked_for_again_a_few_times() {
    assert_eq!(status(Method::POST, vec![nothing("POST /x"), nothing("POST /x"), reply("POST /x", 200, "{}")]), 200);
    let server = Server::start(vec![nothing("POST /x"); LOST_MAX as usize + 1]);
    let error = send(&server, Method::POST, soon()).err().unwrap();
    server.seen();
    assert!(error.is_passing() && error.to_string().contains("got no whole answer"), "{error}");
}

#[test]
fn what_a_gateway_answered_is_asked_again_unless_it_was_a_post() {
    for code in [500, 502, 504] {
        assert_eq!(status(Method::POST, vec![reply("POST /x", code, "")]), code);
        assert_eq!(status(Method::GET, vec![reply("GET /x", code, ""), reply("GET /x", 200, "{}")]), 200);
    }
}

#[test]
fn a_refused_connection_passes() {
    let nobody = Url::parse("http://127.0.0.1:1/").unwrap();
    let request = Request::get(nobody, Subject::Workspace, &whom());
    let error = run(Http::new(BRIEF).send(&request, soon())).err().unwrap();
    assert!(error.is_passing() && error.to_string().contains("got no connection"), "{error}");
}

#[test]
fn a_body_without_end_is_cut_off() {
    let server = Server::start(vec![bytes("GET /x", vec![b' '; BODY_MAX + 1])]);
    let error = send(&server, Method::GET, soon()).err().unwrap();
    assert!(error.to_string().contains("more than 16 MiB"), "{error}");
    let server = Server::start(vec![bytes("GET /x", vec![b' '; BODY_MAX])]);
    assert_eq!(send(&server, Method::GET, soon()).unwrap().body.len(), BODY_MAX);
}

#[test]
fn a_body_that_does_not_come_ends_at_the_deadline() {
    let server = Server::start(vec![slow("GET /x")]);
    let error = send(&server, Method::GET, Deadline::after(Duration::from_millis(100))).err().unwrap();
    assert!(error.is_out_of_time(), "{error}");
    server.seen();
}

#[test]
fn a_redirect_is_not_followed_and_not_quoted() {
    let to = "location: http://ann:hunter2@127.0.0.1:9/login.html?code=planted#x";
    let server = Server::start(vec![reply("GET /x", 302, "").header(to)]);
    let request = request(&server, Method::GET, "x");
    let reply = run(Http::new(BRIEF).send(&request, soon())).unwrap();
    let error = answer::accepted(&request, &reply).unwrap_err();
    assert!(error.to_string().contains("a redirect to 127.0.0.1:9/login.html"), "{error}");
    for planted in ["hunter2", "planted", "ann"] {
        assert!(!format!("{error} {error:?}").contains(planted), "{error}");
    }
}

#[test]
fn what_was_sent_as_a_secret_never_comes_back() {
    let secret = Secret::new(SECRET);
    let (http, url) = (Http::new(BRIEF), Url::parse("http://127.0.0.1/p?sig=planted").unwrap());
    let request = Request::get(url, Subject::Workspace, &whom());
    let request = http.basic(request, "client", &secret).unwrap();
    let header = request.headers.get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header, "Basic Y2xpZW50OmRvc2Urb2YvdHJ1dGg9");
    let encoded = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect::<String>();
    let echo = format!("you sent {header}, {SECRET} and {encoded}");
    for body in [format!("{{\"message\":\"{echo}\"}}"), format!("<pre>{echo}</pre>"), echo.clone()] {
        let reply = Reply { status: 400, headers: HeaderMap::new(), body: body.into() };
        let error = answer::accepted(&request, &reply).unwrap_err();
        assert_eq!(error.message(), "you sent Basic ***, *** and ***");
        let fault = crate::fault::Fault::from(error.clone());
        let texts = format!("{error} {error:?} {fault:?} {} {:?}", fault.chain(), fault.hint_text());
        for planted in [SECRET, &encoded, "Y2xpZW50", "planted"] {
            assert!(!texts.contains(planted), "{texts}");
        }
    }
}

#[test]
fn a_token_that_no_header_can_hold_is_told() {
    let url = Url::parse("http://127.0.0.1/").unwrap();
    let token = Secret::new("planted\n");
    let error = Request::get(url, Subject::Workspace, &whom()).bearer(&token).err().unwrap();
    let fault = crate::fault::Fault::from(error);
    assert!(fault.to_string().contains("no header can hold") && !fault.chain().contains("planted"), "{fault:?}");
}

#[test]
fn why_there_is_no_connection_is_told_apart() {
    let dns = "client error (Connect): dns error: failed to lookup address information: ";
    assert_eq!(no_connection(&format!("{dns}Name or service not known")), Failure::NoSuchHost);
    assert_eq!(no_connection(&format!("{dns}Temporary failure in name resolution")), Failure::NoConnection);
    assert_eq!(no_connection("invalid peer certificate: NotValidForName"), Failure::NotTrusted);
    assert_eq!(no_connection("tcp connect error: Connection refused (os error 111)"), Failure::NoConnection);
}

#[test]
fn a_server_without_tls_is_not_trusted() {
    let server = Server::start(vec![]);
    let mut url = server.url.clone();
    url.set_scheme("https").unwrap();
    let request = Request::get(url, Subject::Workspace, &whom());
    let error = run(Http::new(BRIEF).send(&request, soon())).err().unwrap();
    assert!(error.to_string().contains("not trusted"), "{error}");
}
