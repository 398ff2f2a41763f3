//! A bad line to a store: an HTTP proxy on loopback that counts requests and lets some of them go wrong. One request per
//! connection; what is asked and answered passes through byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;

/// No answer of the store behind takes longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// No request's head is longer.
const HEAD_BYTES: usize = 64 * 1024;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks before the store has it.
    Reset,
    /// The store does it; the answer is lost.
    DropAnswer,
    /// The store does it, but says that it failed: a client that asks again meets itself.
    AnswerAfter(u16),
    /// The store does not do it and says so, with `Retry-After: 1`.
    Answer(u16),
    /// The store does it; the answer comes late.
    Slow(Duration),
    /// The line is cut before the store has it: this request and all later ones.
    Cut,
    /// The line is cut after the store has done it.
    CutAfter,
}

/// Requests that a rule may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Any,
    /// Puts that must fail when the object exists: commits.
    ConditionalPut,
}

/// Requests number `from` … `to` - 1 of those that a rule is about meet its fault.
#[derive(Clone, Copy, Debug)]
struct Rule {
    fault: Fault,
    which: Which,
    from: usize,
    to: usize,
    seen: usize,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    requests: usize,
    conditional_puts: usize,
    struck: usize,
    cut: bool,
}

/// A running proxy; its threads end with the process.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// A proxy before a store that listens on a loopback port.
    pub(crate) fn before(store: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::of("no free port"))?;
        let address = listener.local_addr().map_err(Failure::of("no free port"))?;
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A broken connection is what this is for: whoever asked sees it.
                thread::spawn(move || drop(serve(client, store, &state)));
            }
        });
        Ok(Self { address, state })
    }

    /// `http://127.0.0.1:<port>`
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One request of these, by its number from 0, meets a fault.
    pub(crate) fn play(&self, fault: Fault, number: usize, which: Which) {
        self.play_burst(fault, number, number + 1, which);
    }

    /// Requests number `from` … `to` - 1 of these meet a fault.
    pub(crate) fn play_burst(&self, fault: Fault, from: usize, to: usize, which: Which) {
        lock(&self.state).rules.push(Rule { fault, which, from, to, seen: 0 });
    }

    /// Requests so far, and how many of them were conditional puts.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.requests, state.conditional_puts)
    }

    /// Requests that met a fault.
    pub(crate) fn struck(&self) -> usize {
        lock(&self.state).struck
    }

    /// Whether the line was cut.
    pub(crate) fn is_cut(&self) -> bool {
        lock(&self.state).cut
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of a request whose head is known.
fn judge(state: &Mutex<State>, head: &str) -> Option<Fault> {
    let mut state = lock(state);
    if state.cut {
        return Some(Fault::Cut);
    }
    let conditional = head.starts_with("PUT ") && head.to_ascii_lowercase().contains("\r\nif-none-match: *");
    state.requests += 1;
    state.conditional_puts += usize::from(conditional);
    let mut fault = None;
    for rule in state.rules.iter_mut().filter(|rule| rule.which == Which::Any || conditional) {
        if (rule.from..rule.to).contains(&rule.seen) {
            fault = fault.or(Some(rule.fault));
        }
        rule.seen += 1;
    }
    state.struck += usize::from(fault.is_some());
    state.cut = matches!(fault, Some(Fault::Cut));
    fault
}

fn serve(mut client: TcpStream, store: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    client.set_read_timeout(Some(ANSWERED_WITHIN))?;
    let (head, body) = request(&mut client)?;
    let answer = |status: u16| {
        format!("HTTP/1.1 {status} Bad Day\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    match judge(state, &head) {
        None => pass_on(&mut client, &forward(store, &head, &body)?),
        Some(Fault::Reset | Fault::Cut) => client.shutdown(Shutdown::Both),
        Some(Fault::DropAnswer) => forward(store, &head, &body).and_then(|_| client.shutdown(Shutdown::Both)),
        Some(Fault::CutAfter) => {
            let done = forward(store, &head, &body);
            lock(state).cut = true;
            done.and_then(|_| client.shutdown(Shutdown::Both))
        }
        Some(Fault::AnswerAfter(status)) => {
            forward(store, &head, &body)?;
            pass_on(&mut client, answer(status).as_bytes())
        }
        Some(Fault::Answer(status)) => pass_on(&mut client, answer(status).as_bytes()),
        Some(Fault::Slow(by)) => {
            let said = forward(store, &head, &body)?;
            thread::sleep(by);
            pass_on(&mut client, &said)
        }
    }
}

fn pass_on(client: &mut TcpStream, answer: &[u8]) -> std::io::Result<()> {
    client.write_all(answer)?;
    client.shutdown(Shutdown::Write)
}

/// A request's head, with the connection's end asked for, and its body. Clients of stores say how long a body is.
fn request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let odd = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let read = client.read(&mut piece)?;
        if read == 0 || bytes.len() > HEAD_BYTES {
            return Err(odd("no request"));
        }
        bytes.extend_from_slice(&piece[..read]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).map_err(|_| odd("a head that is no text"))?;
    let field =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let fields: Vec<(String, String)> = head.lines().filter_map(field).collect();
    if fields.iter().any(|(name, _)| name == "transfer-encoding") {
        return Err(odd("a body of unknown length"));
    }
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(Ok(0), |(_, value)| value.parse()).map_err(|_| odd("no length"))?;
    let mut body = bytes.split_off(end);
    let missing = length.checked_sub(body.len()).ok_or_else(|| odd("two requests in one"))?;
    let known = body.len();
    body.resize(known + missing, 0);
    client.read_exact(&mut body[known..])?;
    Ok((head.replacen("\r\n", "\r\nConnection: close\r\n", 1), body))
}

/// What the store answers, to the end of the connection.
fn forward(store: SocketAddr, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(store)?;
    upstream.set_read_timeout(Some(ANSWERED_WITHIN))?;
    upstream.write_all(head.as_bytes())?;
    upstream.write_all(body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}
