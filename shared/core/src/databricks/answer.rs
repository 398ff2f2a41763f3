//! What a server's answer says: the JSON that a call wants, or an error in one of the dialects that Databricks,
//! SCIM, OAuth and Entra speak.

use reqwest::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::error::{Error, Failure};
use super::http::{Reply, Request};

/// As much of a message as is kept.
const MESSAGE_MAX: usize = 1_000;

/// An error as the server told it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: Option<u16>,
    /// `error_code`, `error`, SCIM's `scimType`, or `AADSTS…`.
    pub(super) code: Option<String>,
    /// The class of an SQL error.
    pub(super) class: Option<String>,
    pub(super) sql_state: Option<String>,
    /// One line.
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    /// It came as a page for people.
    pub(super) is_page: bool,
}

/// What an error means: its code counts before its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The token, or the secret, is not accepted.
    Unauthenticated,
    /// A right is missing.
    Denied,
    /// The object is not there.
    Missing,
    /// The API has no such call: another host than a workspace.
    NoSuchCall,
    /// The object is there already.
    Exists,
    /// Too much at a time.
    Busy,
    /// The service is not well just now.
    Unwell,
    /// The request is not one that the server can serve.
    Invalid,
}

/// Passing troubles of Databricks that come with any status.
const PASSING: [&str; 8] = [
    "UnknownWorkerEnvironmentException",
    "does not have any associated worker environments",
    "There is no worker environment with id",
    "Unknown worker environment",
    "ClusterNotReadyException",
    "Please try again later or try a faster operation.",
    "RPC token bucket limit has been exceeded",
    "Unexpected error",
];

impl Said {
    /// What a failed statement says beside its status: class, SQLSTATE and denial stand in the message.
    pub(super) fn of_statement(code: Option<String>, message: &str, sql_state: Option<String>) -> Self {
        // What follows is the statement itself.
        let message = message.split("== SQL").next().unwrap_or_default();
        Self { code, sql_state, ..Self::default() }.with_message(message)
    }

    /// Our own words, where a server said nothing.
    pub(super) fn of(message: &str) -> Self {
        Self::default().with_message(message)
    }

    /// The same with a message, on one line, and with what can be read out of it.
    fn with_message(mut self, message: &str) -> Self {
        let mut line = String::new();
        for word in message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.class = self.class.or_else(|| class(&line));
        self.sql_state = self.sql_state.or_else(|| sql_state(&line));
        self.message = line;
        self
    }

    /// The same with a message of bounded length; after the mask, which must see secrets whole.
    pub(super) fn bounded(mut self) -> Self {
        if let Some((end, _)) = self.message.char_indices().find(|(at, _)| *at >= MESSAGE_MAX) {
            self.message.truncate(end);
            self.message.push_str(" …");
        }
        self
    }

    /// Each text through a mask.
    pub(super) fn masked(mut self, mask: impl Fn(String) -> String) -> Self {
        self.message = mask(self.message);
        self.code = self.code.map(&mask);
        self.class = self.class.map(&mask);
        self.sql_state = self.sql_state.map(&mask);
        self.request_id = self.request_id.map(&mask);
        self
    }

    pub(super) fn meaning(&self) -> Meaning {
        let code = self.code.as_deref().unwrap_or_default();
        match code {
            "PERMISSION_DENIED" | "PRIVATE_LINK_VALIDATION_ERROR" => return Meaning::Denied,
            "UNAUTHENTICATED" | "invalid_client" => return Meaning::Unauthenticated,
            "ENDPOINT_NOT_FOUND" => return Meaning::NoSuchCall,
            "NOT_FOUND" => return Meaning::Missing,
            "REQUEST_LIMIT_EXCEEDED" | "RESOURCE_EXHAUSTED" => return Meaning::Busy,
            "TEMPORARILY_UNAVAILABLE"
            | "SERVICE_UNDER_MAINTENANCE"
            | "WORKSPACE_TEMPORARILY_UNAVAILABLE"
            | "DEADLINE_EXCEEDED"
            | "CANCELLED"
            | "ABORTED"
            | "IO_ERROR"
            | "INTERNAL_ERROR" => return Meaning::Unwell,
            "INVALID_PARAMETER_VALUE" | "INVALID_STATE" | "BAD_REQUEST" | "MALFORMED_REQUEST" => {
                return Meaning::Invalid;
            }
            code if code.ends_with("DOES_NOT_EXIST") => return Meaning::Missing,
            code if code.ends_with("ALREADY_EXISTS") => return Meaning::Exists,
            _ => {}
        }
        let bad_target = self.message.starts_with("Bad Target") || self.message.starts_with("No API found");
        match self.status {
            Some(401) => Meaning::Unauthenticated,
            Some(403) if code == "403" || self.says("invalid access token") || self.says("invalid token") => {
                Meaning::Unauthenticated
            }
            Some(403) => Meaning::Denied,
            Some(404) if bad_target || self.is_page => Meaning::NoSuchCall,
            Some(404) => Meaning::Missing,
            Some(409) => Meaning::Exists,
            Some(429) => Meaning::Busy,
            Some(status) if status >= 500 && status != 501 => Meaning::Unwell,
            _ => Meaning::Invalid,
        }
    }

    /// Whether the same call may succeed later, with nothing changed by anybody.
    pub(super) fn is_passing(&self) -> bool {
        const CONFLICTS: [&str; 4] =
            ["DELTA_METADATA_CHANGED", "DELTA_PROTOCOL_CHANGED", "DELTA_CONCURRENT_APPEND", "DELTA_CONCURRENT_WRITE"];
        let conflict = |class: &str| CONFLICTS.iter().any(|known| class.starts_with(known));
        matches!(self.meaning(), Meaning::Busy | Meaning::Unwell)
            || self.class.as_deref().is_some_and(conflict)
            || PASSING.iter().any(|text| self.message.contains(text))
    }

    /// Whether the message holds these words, in lower case, in any case.
    pub(super) fn says(&self, words: &str) -> bool {
        self.message.to_ascii_lowercase().contains(words)
    }
}

/// The JSON of a good answer, or the error of any other.
pub(super) fn read<T: DeserializeOwned>(request: &Request, reply: &Reply) -> Result<T, Error> {
    accepted(request, reply)?;
    serde_json::from_slice(&reply.body).map(without_nulls).and_then(serde_json::from_value).map_err(|error| {
        // serde's own text quotes the value that it did not expect, which may be a token.
        let why = match error.classify() {
            Category::Data => "a field is missing, or of another type".to_owned(),
            _ => format!("no JSON from line {} column {} on", error.line(), error.column()),
        };
        request.error(Failure::Unreadable, reply.head().with_message(&why))
    })
}

/// A field that is null is one that is left out; in a list, null is a value.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        value => value,
    }
}

/// Nothing from a good answer, or the error of any other.
pub(super) fn accepted(request: &Request, reply: &Reply) -> Result<(), Error> {
    match reply.status {
        200..300 if !is_page(reply) => Ok(()),
        200..300 => Err(request.error(Failure::NotApi, reply.head().with_message("a web page"))),
        300..400 => Err(request.error(Failure::NotApi, redirect(reply))),
        _ => Err(request.error(Failure::Refused, said(reply))),
    }
}

/// Where a redirect leads, without its query: that may carry a token.
fn redirect(reply: &Reply) -> Said {
    let location = reply.location().unwrap_or_default();
    let path = location.split(['?', '#']).next().unwrap_or_default();
    let place = path.rsplit_once('@').map_or(path, |(_, behind)| behind);
    let mut said = reply.head();
    if location.contains("private-link-validation-error") {
        said.code = Some("PRIVATE_LINK_VALIDATION_ERROR".to_owned());
    }
    said.with_message(&format!("a redirect to {place}"))
}

fn is_page(reply: &Reply) -> bool {
    let declared = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.starts_with("text/html") || reply.body.trim_ascii_start().starts_with(b"<")
}

/// The error of an answer, whatever its dialect.
pub(super) fn said(reply: &Reply) -> Said {
    let text = String::from_utf8_lossy(&reply.body);
    let head = reply.head();
    if let Ok(Value::Object(body)) = serde_json::from_str::<Value>(&text) {
        return of_json(head, &Value::Object(body));
    }
    if is_page(reply) {
        return Said { is_page: true, ..head }.with_message(&of_page(&text));
    }
    // `CODE: message`; what is none of our codes stays a text.
    if let Some((code, message)) = text.split_once(": ").filter(|(code, _)| is_code(code)) {
        return Said { code: Some(code.to_owned()), ..head }.with_message(message);
    }
    if text.trim().is_empty() {
        let reason = reply.header("x-databricks-reason-phrase").unwrap_or_default().to_owned();
        return head.with_message(&reason);
    }
    head.with_message(&text)
}

fn of_json(head: Said, body: &Value) -> Said {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let field = |names: &[&str]| names.iter().find_map(|name| body.get(name).and_then(text).filter(|t| !t.is_empty()));
    let nested = body.get("error").filter(|error| error.is_object());
    let inner = |name: &str| nested.and_then(|error| error.get(name)).and_then(text);
    let entra = body.pointer("/error_codes/0").and_then(text).map(|code| format!("AADSTS{code}"));
    let explained = field(&["error_description", "message", "detail", "errorSummary"]).or_else(|| inner("message"));
    // Without a message beside it, `error` is the message, as the oldest calls have it.
    let error = field(&["error"]);
    let code = match (&explained, error) {
        (Some(_), Some(error)) => Some(error),
        _ => None,
    };
    let message = explained.or_else(|| field(&["error"])).unwrap_or_default();
    let entra = entra.or_else(|| aadsts(&message));
    let code = entra
        .or_else(|| field(&["error_code", "errorCode"]))
        .or(code)
        .or_else(|| inner("type"))
        .or_else(|| field(&["scimType"]))
        .or_else(|| field(&["error"]).filter(|error| error.starts_with("invalid_") || is_code(error)));
    let details = body.get("details").and_then(Value::as_array);
    let in_details = details.and_then(|details| details.iter().find_map(|one| one.get("request_id").and_then(text)));
    let request_id = head.request_id.clone().or(in_details).or_else(|| field(&["trace_id", "error_id"]));
    Said { code, request_id, ..head }.with_message(&message)
}

/// `AADSTS7000215` at the begin of Entra's description.
fn aadsts(message: &str) -> Option<String> {
    let rest = message.get(message.find("AADSTS")? + 6..)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| format!("AADSTS{digits}"))
}

/// What a page says: its `<pre>`, else its title, else its first heading, without tags.
fn of_page(text: &str) -> String {
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}"))?;
        let (_, rest) = rest.split_once('>')?;
        rest.split_once(&format!("</{tag}>")).map(|(inside, _)| inside.to_owned())
    };
    // Jetty's pages put the reason behind the path that failed.
    let reason = text.split_once("Reason:").map(|(_, rest)| rest.replace("<pre>", " "));
    let inside = reason.or_else(|| between("pre")).or_else(|| between("title")).or_else(|| between("h1"));
    let inside = inside.unwrap_or_else(|| "a web page".to_owned());
    inside.split('<').next().unwrap_or_default().to_owned()
}

/// `RESOURCE_DOES_NOT_EXIST`.
fn is_code(text: &str) -> bool {
    text.len() > 3 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `[PARSE_SYNTAX_ERROR] …`, or `[RequestId=… ErrorClass=INVALID_STATE] …`.
fn class(message: &str) -> Option<String> {
    let is_class = |text: &&str| {
        text.len() > 2
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_.".contains(&byte))
            && text.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
    };
    let named = message.split_once("ErrorClass=").and_then(|(_, rest)| rest.split([']', ' ']).next());
    let bracketed = || message.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(inside, _)| inside);
    let dotted = || message.split([' ', ':']).find(|word| word.contains('.') && is_class(word) && word.contains('_'));
    named.filter(is_class).or_else(|| bracketed().find(is_class)).or_else(dotted).map(str::to_owned)
}

fn sql_state(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("SQLSTATE: ")?;
    let state = rest.get(..5)?;
    state.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).then(|| state.to_owned())
}

#[cfg(test)]
mod tests;
