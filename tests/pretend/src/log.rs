//! What was asked: every request, to assert on.

use serde::Serialize;

/// As much of a body as is kept, bytes.
const BODY_KEPT: usize = 64 * 1024;

/// One request as it was answered.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// `GET`, `POST`, …
    pub method: String,
    /// Without the query, as it came.
    pub path: String,
    /// Behind `?`, decoded.
    pub query: Vec<(String, String)>,
    /// What was answered; 0 when the connection was cut instead, or no answer stands yet.
    pub status: u16,
    /// Who asked: application id or user name; none when nobody was signed in.
    pub principal: Option<String>,
    /// The request's body, its first 64 KiB; not UTF-8 is replaced.
    pub body: String,
    /// The header `user-agent`.
    pub user_agent: Option<String>,
    /// Milliseconds since 1970.
    pub at: u64,
}

/// All requests, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Log {
    seen: Vec<Seen>,
    /// How many were cleared away: numbers stay valid for requests under way.
    cleared: usize,
}

impl Log {
    /// Notes a request; answers its number.
    pub(crate) fn begin(&mut self, seen: Seen) -> usize {
        self.seen.push(seen);
        self.cleared + self.seen.len() - 1
    }

    /// Notes how it was answered.
    pub(crate) fn end(&mut self, number: usize, status: u16, principal: Option<String>) {
        if let Some(seen) = number.checked_sub(self.cleared).and_then(|number| self.seen.get_mut(number)) {
            seen.status = status;
            seen.principal = principal;
        }
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.clone()
    }

    pub(crate) fn clear(&mut self) {
        self.cleared += self.seen.len();
        self.seen.clear();
    }
}

/// The text that is kept of a body.
pub(crate) fn kept(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(BODY_KEPT)]).into_owned()
}
