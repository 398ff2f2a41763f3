//! HTTP: the only module that opens a connection to Databricks, to Microsoft Entra or to an identity endpoint.
//!
//! Every request of ours may be sent twice: what it makes has a name of its own, or does no harm a second time. So a
//! lost answer is asked for again, a bounded number of times. What is never sent again is a POST that a server or a
//! gateway answered with 500, 502 or 504: its own retries are not ours to multiply.

use std::error::Error as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Client, Method, redirect};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::answer::{self, Meaning, Said};
use super::error::{Detail, Error, Failure, Subject, Whom};
use crate::clock::{self, Deadline};
use crate::secret::Secret;

/// How we introduce ourselves.
const USER_AGENT: &str = concat!("Inlet/", env!("CARGO_PKG_VERSION"));
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A statement is waited for up to 50 seconds on the server's side.
const ANSWER_WITHIN: Duration = Duration::from_secs(70);
/// As much of an answer as is read.
pub(super) const BODY_MAX: usize = 16 << 20;
/// What is said of a server that is silent.
pub(super) const NO_ANSWER: &str = "no answer in time";
/// The first wait before a request is sent again; each one after it is twice as long, up to 32 times this.
pub(super) const BACK_OFF: Duration = Duration::from_millis(200);
/// How often one request is sent at most.
const TRIES: u32 = 10;
/// How often it is sent again because nothing came back, or a gateway answered.
const LOST_MAX: u32 = 3;

/// One client: its connections are kept and used again.
pub(super) struct Http {
    over_tls: OnceLock<Client>,
    /// Plain HTTP stays on this machine: no proxy, no root certificates.
    here: OnceLock<Client>,
    back_off: Duration,
}

/// One request, as it is sent and sent again.
pub(super) struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    about: Subject,
    whom: Arc<Whom>,
    /// What must not come back in a message.
    secrets: Vec<String>,
}

/// One answer, whatever its status.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn new(method: Method, url: Url, about: Subject, whom: &Arc<Whom>) -> Self {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self { method, url, headers, body, about, whom: Arc::clone(whom), secrets: Vec::new() }
    }

    pub(super) fn get(url: Url, about: Subject, whom: &Arc<Whom>) -> Self {
        Self::new(Method::GET, url, about, whom)
    }

    pub(super) fn json(mut self, body: &Value) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = body.to_string().into();
        self
    }

    pub(super) fn bytes(mut self, content: Bytes) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.body = content;
        self
    }

    /// Asks for these bytes alone.
    pub(super) fn range(mut self, range: &Range<u64>) -> Self {
        let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        // Digits can always be a header.
        self.headers.extend(HeaderValue::from_str(&value).ok().map(|value| (RANGE, value)));
        self
    }

    pub(super) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into();
        self
    }

    /// Adds a header. Its value is not shown by the libraries below.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Result<Self, Error> {
        let Ok(mut value) = HeaderValue::from_str(value) else {
            let said = Said::of(&format!("the value of `{name}` holds a character that no header can hold"));
            return Err(self.error(Failure::Refused, Said { code: Some("UNAUTHENTICATED".to_owned()), ..said }));
        };
        value.set_sensitive(true);
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// Signs the request with a token.
    pub(super) fn bearer(self, token: &Secret) -> Result<Self, Error> {
        self.secret(token).header("authorization", &format!("Bearer {}", token.expose()))
    }

    /// Remembers what must not come back in a message, in each spelling that a server may echo.
    pub(super) fn secret(mut self, secret: &Secret) -> Self {
        let text = secret.expose();
        let encoded = form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let escaped = Value::from(text).to_string().trim_matches('"').to_owned();
        for spelling in [text.to_owned(), encoded, escaped] {
            if !spelling.is_empty() && !self.secrets.contains(&spelling) {
                self.secrets.push(spelling);
            }
        }
        self
    }

    /// The error of this request.
    pub(super) fn error(&self, failure: Failure, said: Said) -> Error {
        let said = said.masked(|text| self.masked(text)).bounded();
        let asked = format!("{} {}{}", self.method, shown(&self.url), self.url.path());
        let (about, whom) = (self.about.clone(), Arc::clone(&self.whom));
        Error(Box::new(Detail { failure, asked, about, whom, said }))
    }

    fn masked(&self, mut text: String) -> String {
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }

    /// What became of a request that got no answer.
    fn unanswered(&self, error: &reqwest::Error, deadline: Deadline) -> Error {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let causes = causes.join(": ");
        let failure = match () {
            () if deadline.is_over() => Failure::OutOfTime,
            () if !error.is_connect() => Failure::Lost,
            () if error.is_timeout() => Failure::NoConnection,
            () => no_connection(&causes),
        };
        let message = match () {
            () if error.is_timeout() => NO_ANSWER.to_owned(),
            () if causes.is_empty() => "no answer".to_owned(),
            () => causes,
        };
        self.error(failure, Said::of(&message))
    }
}

/// Why no connection came about, by the words of the libraries below: they have no kinds.
pub(super) fn no_connection(causes: &str) -> Failure {
    let says = |words: &[&str]| words.iter().any(|word| causes.contains(word));
    if says(&["Temporary failure in name resolution", "try again"]) {
        Failure::NoConnection
    } else if says(&["dns error", "failed to lookup address"]) {
        Failure::NoSuchHost
    } else if says(&["certificate", "InvalidContentType", "HandshakeFailure", "corrupt message", "InvalidMessage"]) {
        Failure::NotTrusted
    } else {
        Failure::NoConnection
    }
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn location(&self) -> Option<&str> {
        self.headers.get(LOCATION).and_then(|value| value.to_str().ok())
    }

    /// Whether it is the token that was refused, and not what was asked with it.
    pub(super) fn refuses_token(&self) -> bool {
        matches!(self.status, 401 | 403) && answer::said(self).meaning() == Meaning::Unauthenticated
    }

    /// Status and request id: how every error begins.
    pub(super) fn head(&self) -> Said {
        let request_id = ["x-request-id", "x-ms-request-id"].iter().find_map(|name| self.header(name));
        Said { status: Some(self.status), request_id: request_id.map(str::to_owned), ..Said::default() }
    }

    /// How long the server asks to wait; only whole seconds are honoured.
    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

impl Http {
    /// A client that is built when it is first needed.
    pub(super) fn new(back_off: Duration) -> Self {
        Self { over_tls: OnceLock::new(), here: OnceLock::new(), back_off }
    }

    /// Sends a request until it is answered, within bounds: 429 and 503 are waited out, lost answers asked for again.
    pub(super) async fn send(&self, request: &Request, deadline: Deadline) -> Result<Reply, Error> {
        let (mut sent, mut lost) = (0, 0);
        loop {
            if deadline.is_over() {
                return Err(request.error(Failure::OutOfTime, Said::default()));
            }
            let outcome = self.once(request, deadline).await;
            sent += 1;
            let wait = match &outcome {
                Ok(Reply { status: 429 | 503, .. }) => {
                    let asked = outcome.as_ref().ok().and_then(Reply::retry_after);
                    asked.map_or_else(|| self.wait(sent), |asked| asked.saturating_add(clock::jitter(3)))
                }
                Ok(Reply { status: 500 | 502 | 504, .. }) if request.method != Method::POST && lost < LOST_MAX => {
                    lost += 1;
                    self.wait(sent)
                }
                Err(error) if error.is_passing() && lost < LOST_MAX => {
                    lost += 1;
                    self.wait(sent)
                }
                _ => return outcome,
            };
            // Nobody waits for an answer that would come too late.
            if sent == TRIES || wait >= deadline.left() {
                return outcome;
            }
            clock::pause(wait, deadline).await;
        }
    }

    /// Signs a request by HTTP's basic authentication.
    pub(super) fn basic(&self, request: Request, id: &str, secret: &Secret) -> Result<Request, Error> {
        // The library knows how to spell it; a request is built for that alone.
        let call = self.client(&request)?.get(request.url.clone()).basic_auth(id, Some(secret.expose()));
        let built = call.build().map_err(|error| request.unanswered(&error, Deadline::after(ANSWER_WITHIN)))?;
        let spelled = built.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let encoded = Secret::new(spelled.trim_start_matches("Basic "));
        request.secret(secret).secret(&encoded).header("authorization", spelled)
    }

    /// How long to wait before a request is sent again, with some chance in it.
    fn wait(&self, sent: u32) -> Duration {
        self.back_off * (1 << (sent - 1).min(5)) + clock::jitter(sent)
    }

    async fn once(&self, request: &Request, deadline: Deadline) -> Result<Reply, Error> {
        let lost = |error: reqwest::Error| request.unanswered(&error, deadline);
        let call = self.client(request)?.request(request.method.clone(), request.url.clone());
        let call = call.headers(request.headers.clone()).timeout(ANSWER_WITHIN.min(deadline.left()));
        let mut response = call.body(request.body.clone()).send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > BODY_MAX {
                let said = Said::of(&format!("more than {} MiB", BODY_MAX >> 20));
                return Err(request.error(Failure::Unreadable, Said { status: Some(status), ..said }));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, headers, body: body.freeze() })
    }

    /// The client, built when it is first needed: reading the machine's root certificates takes milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this is the module that connects")]
    fn client(&self, request: &Request) -> Result<&Client, Error> {
        let over_tls = request.url.scheme() == "https";
        let client = if over_tls { &self.over_tls } else { &self.here };
        if let Some(client) = client.get() {
            return Ok(client);
        }
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .referer(false);
        if !over_tls {
            builder = builder.no_proxy().tls_built_in_root_certs(false);
        }
        let built = builder.build().map_err(|error| {
            let cause = error.source().map_or_else(String::new, ToString::to_string);
            request.error(Failure::NotTrusted, Said::of(&format!("no HTTP client can be made: {cause}")))
        })?;
        Ok(client.get_or_init(|| built))
    }
}

/// A URL's scheme, host and port: all of it that may be shown.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests;
