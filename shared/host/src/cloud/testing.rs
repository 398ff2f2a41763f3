//! A server on loopback that gives prepared answers in turn, one connection per request, and remembers what was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a request gets.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    /// So much of the body, then the line breaks.
    upto: usize,
}

/// An answer without headers of its own.
pub(crate) fn answer(status: u16, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref().to_vec();
    Answer { status, headers: Vec::new(), upto: body.len(), body }
}

impl Answer {
    /// Adds a header.
    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// The line breaks after so many bytes of the body.
    pub(crate) fn broken_after(self, upto: usize) -> Self {
        Self { upto, ..self }
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method and target.
    pub(crate) line: String,
    /// `name: value`, the name in lower case.
    headers: Vec<String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The server; the last answer is repeated.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let shared = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client may open a connection and ask nothing by it.
                let Some(request) = read(&stream) else { continue };
                let mut asked = shared.lock().unwrap();
                let answer = answers.get(asked.len()).or(answers.last()).expect("there is an answer");
                asked.push(request);
                drop(asked);
                write(&stream, answer);
            }
        });
        Self { url, asked }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The lines of what was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push(format!("{}: {}", name.to_ascii_lowercase(), value.trim()));
    }
    let mut asked =
        Asked { line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(), headers, body: String::new() };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_string(&mut asked.body).ok()?;
    Some(asked)
}

fn write(mut stream: &TcpStream, answer: &Answer) {
    let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", answer.status);
    if !answer.headers.iter().any(|line| line.starts_with("content-length")) {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    for line in &answer.headers {
        head.push_str(&format!("{line}\r\n"));
    }
    head.push_str("\r\n");
    // A client that has gone away is its own business.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body[..answer.upto])));
}
