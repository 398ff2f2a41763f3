//! The workspace over HTTP, as a client meets it.

mod copy;
mod golden;
mod rights;
mod signing;
mod sql;
mod trouble;
mod volumes;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Knobs, Pretend, Setup, TOKEN, WAREHOUSE, clock};

/// A workspace over a folder, and a client that is signed in with [`TOKEN`].
struct Bench {
    pretend: Pretend,
    lake: TempDir,
}

/// One answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: String,
    body: Value,
}

impl Bench {
    fn new() -> Self {
        Self::with(|setup| setup)
    }

    /// Quick, with what `change` makes of the seeded setup.
    fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let lake = tempfile::tempdir().unwrap();
        let quick = |knobs: &mut Knobs| (knobs.start_ms, knobs.stop_ms) = (10, 5);
        let setup = change(Setup::seeded(&format!("file://{}", lake.path().display())).knobs(quick));
        Self { pretend: Pretend::start(setup).unwrap(), lake }
    }

    /// The address of a table in the lake.
    fn at(&self, path: &str) -> String {
        format!("file://{}/{path}", self.lake.path().display())
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let authorization = format!("authorization: Bearer {TOKEN}");
        self.send(method, path, &[&authorization], &body.to_string()).unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &json!({}))
    }

    /// Puts a file into a volume; the status.
    fn put(&self, path: &str, content: &[u8]) -> u16 {
        let authorization = format!("authorization: Bearer {TOKEN}");
        self.send_bytes("PUT", &format!("/api/2.0/fs/files{path}"), &[&authorization], content).unwrap().status
    }

    /// One request on a connection of its own; an error when the connection was cut.
    fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> std::io::Result<Answer> {
        self.send_bytes(method, path, headers, body.as_bytes())
    }

    fn send_bytes(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> std::io::Result<Answer> {
        let host = self.pretend.url().trim_start_matches("http://");
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: \
             {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Ok(Answer { status, headers: head.to_lowercase(), body })
    }

    /// Runs a statement to its end.
    fn run(&self, statement: &str) -> Value {
        let body = json!({"statement": statement, "warehouse_id": WAREHOUSE, "wait_timeout": "30s"});
        let answer = self.call("POST", "/api/2.0/sql/statements", &body);
        assert_eq!(answer.status, 200, "{statement}: {}", answer.body);
        answer.body
    }

    /// Runs statements that must succeed.
    fn done(&self, statements: &[&str]) {
        for statement in statements {
            let answer = self.run(statement);
            assert_eq!(answer["status"]["state"], "SUCCEEDED", "{statement}: {answer}");
        }
    }

    /// Runs a statement that must fail; its message.
    fn failed(&self, statement: &str) -> String {
        let answer = self.run(statement);
        assert_eq!(answer["status"]["state"], "FAILED", "{statement}: {answer}");
        answer["status"]["error"]["message"].as_str().unwrap().to_owned()
    }

    /// The text of a commit of a table.
    fn commit(&self, path: &str, version: u64) -> String {
        let file = self.lake.path().join(path).join(format!("_delta_log/{version:020}.json"));
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Waits until a statement has ended; the last answer.
    fn poll(&self, id: &str) -> Answer {
        let begin = clock::now();
        loop {
            let answer = self.get(&format!("/api/2.0/sql/statements/{id}"));
            let state = answer.body["status"]["state"].as_str().unwrap_or("SUCCEEDED");
            if !["PENDING", "RUNNING"].contains(&state) || begin.elapsed() > Duration::from_secs(30) {
                return answer;
            }
            std::thread::yield_now();
        }
    }
}
