//! What the tests here share: a server that answers from a script, and a workspace that calls it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use url::Url;

use super::{Auth, Cloud, Connection, IdentityEndpoint, Pace, Workspace};
use crate::clock::Deadline;
use crate::fault::Fault;
use crate::secret::Secret;
use crate::secret_store::{SecretPlace, SecretStore, read_all};

pub(super) const PAT: &str = "dapi-of-the-tests";
pub(super) const CLIENT: &str = "0a1b2c3d-1111-2222-3333-444455556666";
pub(super) const SECRET: &str = "dose+of/truth=";

const BRIEF: Duration = Duration::from_millis(2);
const PACE: Pace =
    Pace { first: BRIEF, most: Duration::from_millis(8), grace: Duration::from_secs(30), back_off: BRIEF };

/// One exchange: the request line that has to come, and what it gets.
#[derive(Clone)]
pub(super) struct Step {
    line: String,
    answer: Answer,
    repeated: bool,
}

#[derive(Clone)]
enum Answer {
    Reply {
        status: u16,
        headers: Vec<String>,
        body: Vec<u8>,
    },
    /// The connection breaks without an answer.
    Nothing,
    /// The head of an answer, and never its body.
    Slow,
}

impl Step {
    /// As often as it is asked, until what comes next is.
    pub(super) fn repeated(self) -> Self {
        Self { repeated: true, ..self }
    }

    pub(super) fn header(mut self, line: &str) -> Self {
        if let Answer::Reply { headers, .. } = &mut self.answer {
            headers.push(line.to_owned());
        }
        self
    }
}

/// An answer; `{host}` in its text becomes the server's own address.
pub(super) fn reply(line: &str, status: u16, body: &str) -> Step {
    let kind = if body.trim_start().starts_with('<') { "text/html" } else { "application/json" };
    let headers = vec![format!("content-type: {kind}")];
    Step {
        line: line.to_owned(),
        answer: Answer::Reply { status, headers, body: body.as_bytes().to_vec() },
        repeated: false,
    }
}

pub(super) fn bytes(line: &str, body: Vec<u8>) -> Step {
    Step { line: line.to_owned(), answer: Answer::Reply { status: 200, headers: Vec::new(), body }, repeated: false }
}

pub(super) fn nothing(line: &str) -> Step {
    Step { line: line.to_owned(), answer: Answer::Nothing, repeated: false }
}

pub(super) fn slow(line: &str) -> Step {
    Step { line: line.to_owned(), answer: Answer::Slow, repeated: false }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// `name: value`, the name in lower case.
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A server on loopback that answers from a script, one connection per request.
pub(super) struct Server {
    pub(super) url: Url,
    script: Arc<Mutex<Script>>,
}

struct Script {
    steps: VecDeque<Step>,
    seen: Vec<Seen>,
    unexpected: Vec<String>,
}

impl Script {
    fn next(&mut self, line: String) -> Option<Step> {
        let step = self.steps.pop_front();
        match step {
            Some(step) if step.repeated && step.line == line => {
                self.steps.push_front(step.clone());
                Some(step)
            }
            Some(step) if step.repeated => self.next(line),
            Some(step) if step.line == line => Some(step),
            _ => {
                self.unexpected.push(line);
                None
            }
        }
    }
}

impl Server {
    pub(super) fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let script = Script { steps: steps.into(), seen: Vec::new(), unexpected: Vec::new() };
        let script = Arc::new(Mutex::new(script));
        let (shared, host) = (Arc::clone(&script), url.as_str().trim_end_matches('/').to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, host) = (Arc::clone(&shared), host.clone());
                thread::spawn(move || answer(stream, &script, &host));
            }
        });
        Self { url, script }
    }

    /// What came; everything that was expected, in that order, and nothing else.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let script = self.script.lock().unwrap();
        assert!(script.unexpected.is_empty(), "{:#?}", script.unexpected);
        let left: Vec<&str> =
            script.steps.iter().filter(|step| !step.repeated).map(|step| step.line.as_str()).collect();
        assert!(left.is_empty(), "never asked: {left:#?}");
        script.seen.clone()
    }
}

fn answer(stream: TcpStream, script: &Mutex<Script>, host: &str) {
    // A client that goes away is the client's matter: its test sees what it got.
    drop(exchange(stream, script, host));
}

fn exchange(mut stream: TcpStream, script: &Mutex<Script>, host: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // No HTTP: perhaps the begin of TLS.
            Err(_) => return stream.write_all(b"HTTP/1.1 400 \r\n\r\n"),
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let headers = lines.split_off(1);
    let lower = |line: &String| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.clone(),
    };
    let headers: Vec<String> = headers.iter().map(lower).collect();
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let line = lines.remove(0).trim_end_matches(" HTTP/1.1").to_owned();
    let step = {
        let mut script = script.lock().unwrap();
        script.seen.push(Seen { headers, body: String::from_utf8_lossy(&body).into_owned() });
        script.next(line)
    };
    match step.map(|step| step.answer) {
        None => stream.write_all(b"HTTP/1.1 418 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        Some(Answer::Nothing) => Ok(()),
        Some(Answer::Slow) => {
            stream.write_all(b"HTTP/1.1 200 \r\ncontent-length: 10\r\n\r\n{")?;
            // Until the client gives up.
            reader.read_to_end(&mut Vec::new()).map(drop)
        }
        Some(Answer::Reply { status, headers, body }) => {
            let body = match String::from_utf8(body) {
                Ok(text) => text.replace("{host}", host).into_bytes(),
                Err(error) => error.into_bytes(),
            };
            let mut head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
            for header in headers {
                head.push_str(&header.replace("{host}", host));
                head.push_str("\r\n");
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)
        }
    }
}

/// A workspace at the server, which looks often and waits shortly.
pub(super) fn workspace(server: &Server, auth: Auth) -> Workspace {
    at(connection(server, auth), IdentityEndpoint::default())
}

pub(super) fn at(connection: Connection, endpoint: IdentityEndpoint) -> Workspace {
    Workspace::at_pace(connection, endpoint, PACE).unwrap()
}

/// A workspace that takes a warehouse at its first word after a start.
pub(super) fn impatient(server: &Server) -> Workspace {
    let pace = Pace { grace: Duration::ZERO, ..PACE };
    Workspace::at_pace(connection(server, pat()), IdentityEndpoint::default(), pace).unwrap()
}

pub(super) fn connection(server: &Server, auth: Auth) -> Connection {
    let (url, entra_authority) = (server.url.clone(), Some(server.url.clone()));
    Connection { url, cloud: Cloud::Azure, workspace_id: None, auth, entra_authority }
}

pub(super) fn pat() -> Auth {
    Auth::Token(Secret::new(PAT))
}

pub(super) fn oauth() -> Auth {
    Auth::Databricks { client_id: CLIENT.to_owned(), client_secret: Secret::new(SECRET) }
}

pub(super) fn entra(tenant: Option<&str>) -> Auth {
    let tenant_id = tenant.map(str::to_owned);
    Auth::Entra { tenant_id, client_id: CLIENT.to_owned(), client_secret: Secret::new(SECRET) }
}

/// Longer than any test takes.
pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A secret that its store gave, and another that stands there by now.
pub(super) async fn rotated(old: &str, new: &str) -> Secret {
    #[derive(Debug)]
    struct Store(Mutex<Vec<Secret>>);

    #[async_trait::async_trait]
    impl SecretStore for Store {
        async fn read(&self, _: &SecretPlace) -> Result<Secret, Fault> {
            self.0.lock().unwrap().pop().ok_or_else(|| Fault::bug("read too often"))
        }
    }

    let store: Arc<dyn SecretStore> = Arc::new(Store(Mutex::new(vec![Secret::new(new), Secret::new(old)])));
    let place = SecretPlace::AwsSecret { id: "inlet".to_owned(), member: None };
    let mut read = read_all(&store, vec![place.clone()]).await.unwrap();
    read.remove(&place).unwrap().unwrap()
}
