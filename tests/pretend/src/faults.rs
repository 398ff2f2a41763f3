//! Faults to order: for a method, a path and the n-th such request, or for statements by their text.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reply::Reply;
use crate::statement::Failure;

/// What goes wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// This is answered instead, and nothing happens.
    Answer {
        /// The status.
        status: u16,
        /// The body; text is sent as it is, anything else as JSON.
        body: Value,
        /// More headers, as `retry-after`.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// It comes late, by this many milliseconds.
    Delay(u64),
    /// The connection is reset, and nothing happens.
    Reset,
    /// It happens, and the connection is reset before the answer.
    Lost,
    /// It happens, and the answer comes when the faults are taken back.
    Hold,
    /// 302 to this address.
    Redirect(String),
}

/// A fault to order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `GET`, …; `*`: any.
    pub method: String,
    /// The path; `*` is any run of characters.
    pub path: String,
    /// The first request that meets it, from 1.
    #[serde(default = "first")]
    pub nth: u64,
    /// How many requests meet it.
    #[serde(default = "first")]
    pub times: u64,
    /// What goes wrong.
    pub wrong: Wrong,
    #[serde(skip)]
    seen: u64,
}

/// A fault of statements whose text holds something.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementFault {
    /// Part of the text, without case.
    pub contains: String,
    /// The first such statement that meets it, from 1.
    #[serde(default = "first")]
    pub nth: u64,
    /// How many statements meet it.
    #[serde(default = "first")]
    pub times: u64,
    /// As `TEMPORARILY_UNAVAILABLE`.
    #[serde(default = "bad_request")]
    pub error_code: String,
    /// With its class in brackets.
    pub message: String,
    /// Whether the statement takes effect all the same.
    #[serde(default)]
    pub after_the_effect: bool,
}

fn first() -> u64 {
    1
}

fn bad_request() -> String {
    "BAD_REQUEST".to_owned()
}

impl Fault {
    /// A fault that the first such request meets.
    pub fn on(method: &str, path: &str, wrong: Wrong) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), nth: 1, times: 1, wrong, seen: 0 }
    }

    /// This answer instead.
    pub fn answer(method: &str, path: &str, status: u16, body: Value) -> Self {
        Self::on(method, path, Wrong::Answer { status, body, headers: Vec::new() })
    }

    /// The n-th such request is the first to meet it, from 1.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// So many requests meet it.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// One more header of the answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Wrong::Answer { headers, .. } = &mut self.wrong {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    fn meets(&mut self, method: &str, path: &str) -> bool {
        if (self.method != "*" && self.method != method) || !matches(&self.path, path) {
            return false;
        }
        self.seen += 1;
        self.seen >= self.nth && self.seen < self.nth.saturating_add(self.times)
    }
}

impl StatementFault {
    /// Statements with this in their text fail so, this once.
    pub fn new(contains: &str, message: &str) -> Self {
        Self {
            contains: contains.to_owned(),
            nth: 1,
            times: 1,
            error_code: bad_request(),
            message: message.to_owned(),
            after_the_effect: false,
        }
    }

    /// The n-th such statement is the first to meet it, from 1.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// It takes effect all the same.
    pub fn after_the_effect(mut self) -> Self {
        self.after_the_effect = true;
        self
    }

    /// So many statements meet it.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }
}

/// Faults that were ordered.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    requests: Vec<Fault>,
    statements: Vec<StatementFault>,
    /// How often they were taken back.
    cleared: u64,
    /// Answers that are held back.
    held: usize,
}

/// What happens to one request.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    pub(crate) instead: Option<Reply>,
    pub(crate) reset: bool,
    pub(crate) lost: bool,
    /// Until the faults are taken back once more than so often.
    pub(crate) held: Option<u64>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.requests.push(fault);
    }

    pub(crate) fn add_to_statements(&mut self, fault: StatementFault) {
        self.statements.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self { cleared: self.cleared + 1, held: self.held, ..Self::default() };
    }

    /// Counts an answer that is held back.
    pub(crate) fn hold(&mut self) {
        self.held += 1;
    }

    /// Counts one that is not held back any more.
    pub(crate) fn let_go(&mut self) {
        self.held -= 1;
    }

    /// How many are.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Whether an answer is to be held back that was begun after so many clearances.
    pub(crate) fn holds(&self, since: u64) -> bool {
        self.cleared == since
    }

    /// What is to happen to a request.
    pub(crate) fn judge(&mut self, method: &str, path: &str) -> Fate {
        let mut fate = Fate::default();
        for fault in &mut self.requests {
            if !fault.meets(method, path) {
                continue;
            }
            match &fault.wrong {
                Wrong::Delay(milliseconds) => fate.delay += Duration::from_millis(*milliseconds),
                Wrong::Reset => fate.reset = true,
                Wrong::Lost => fate.lost = true,
                Wrong::Hold => fate.held = Some(self.cleared),
                Wrong::Redirect(to) => fate.instead = Some(Reply::empty(302).header("location", to)),
                Wrong::Answer { status, body, headers } => {
                    let reply = match body {
                        Value::String(text) => Reply::text(*status, "text/plain", text.clone()),
                        other => Reply::json(*status, other),
                    };
                    fate.instead = Some(headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value)));
                }
            }
        }
        fate
    }

    /// The failure that a statement meets, and whether it takes effect before.
    pub(crate) fn judge_statement(&mut self, text: &str) -> Option<(Failure, bool)> {
        let text = text.to_lowercase();
        for fault in &mut self.statements {
            if fault.times == 0 || !text.contains(&fault.contains.to_lowercase()) {
                continue;
            }
            if fault.nth > 1 {
                fault.nth -= 1;
                continue;
            }
            fault.times -= 1;
            let (error_code, message) = (fault.error_code.clone(), fault.message.clone());
            return Some((Failure { error_code, message, sql_state: None }, fault.after_the_effect));
        }
        None
    }
}

/// Whether a path is what a pattern with `*` says.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, path, fits) in [
            ("/a/b", "/a/b", true),
            ("/a/*", "/a/b/c", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/d", false),
            ("*", "", true),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn only_the_ordered_requests_meet_a_fault() {
        let mut faults = Faults::default();
        faults.add(Fault::on("GET", "/x*", Wrong::Reset).nth(2).times(2));
        let met: Vec<bool> = (0..5).map(|_| faults.judge("GET", "/x/y").reset).collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert!(!faults.judge("POST", "/x/y").reset);
    }

    #[test]
    fn an_answer_is_held_back_until_the_faults_are_cleared() {
        let mut faults = Faults::default();
        faults.add(Fault::on("*", "*", Wrong::Hold));
        let (held, free) = (faults.judge("GET", "/").held.unwrap(), faults.judge("GET", "/").held);
        assert_eq!(free, None);
        faults.hold();
        assert_eq!((faults.holds(held), faults.held()), (true, 1));
        faults.clear();
        assert_eq!((faults.holds(held), faults.held()), (false, 1));
        faults.let_go();
        assert_eq!(faults.held(), 0);
    }

    #[test]
    fn statements_meet_faults_by_their_text() {
        let mut faults = Faults::default();
        faults.add_to_statements(StatementFault::new("alter table", "PERMISSION_DENIED: no").nth(2));
        let met = ["CREATE TABLE t", "ALTER TABLE t", "ALTER TABLE t", "ALTER TABLE t"];
        let met = met.map(|text| faults.judge_statement(text).is_some());
        assert_eq!(met, [false, false, true, false]);
    }
}
