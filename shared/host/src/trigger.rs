//! What a function was called with, told by its form alone: uploads that a store announces, through whatever queue or
//! topic the announcement came, what is asked of Inlet itself, schedules, and HTTP.
//!
//! ```text
//! SQS | SNS | direct | function URL                            of_lambda          aws
//! queue | Event Grid | Service Bus | timer | HTTP              of_custom_handler  azure
//!     |   messages; what wraps one is taken off                content
//!     v
//! S3 notification | EventBridge | Event Grid | ask | schedule  s3, event_grid, ask
//! ```
//!
//! Nothing is read here but the call. What a message says is not yet believed: whether the bucket, the account and the
//! queue are ours is for the face to judge. A form that nobody knows fails its message and no other.

mod ask;
mod aws;
mod azure;
mod content;
mod event_grid;
mod http;
mod key;
mod object;
mod s3;
#[cfg(test)]
mod tests;

use inlet_core::fault::Fault;
use serde_json::Value;

pub use ask::{Ask, Backfill};
pub use http::HttpRequest;
pub use object::{ObjectEvent, SkipReason, Skipped};

/// What a function was called with.
#[derive(Debug)]
pub struct Trigger {
    /// One or more; each succeeds or fails by itself.
    pub messages: Vec<Message>,
    /// How the answer tells which of them failed.
    pub answers: Answers,
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Failed messages are named one by one, and only those are delivered again (SQS).
    Batch,
    /// The call succeeds or fails as a whole.
    Whole,
    /// Whoever called waits for an HTTP answer.
    Http,
}

/// One message of a call.
#[derive(Debug)]
pub struct Message {
    /// The id by which its failure is reported: SQS alone has one. A failed message of a batch without an id fails the
    /// batch.
    pub id: Option<String>,
    /// Deliveries so far with this one, where the queue tells them (`ApproximateReceiveCount`, `DequeueCount`), else 1.
    pub receives: u32,
    /// The ARN of the SQS queue that it came from.
    pub queue: Option<String>,
    /// What it says, or why it cannot be understood: `Rejected` a form that is unknown or broken, `Setup` an ask that
    /// somebody wrote wrongly.
    pub content: Result<Content, Fault>,
}

/// What a message says.
#[derive(Debug)]
pub enum Content {
    /// Things happened to objects of a store.
    Objects {
        /// Objects that may hold events, in the order of the message.
        events: Vec<ObjectEvent>,
        /// What is no upload.
        skipped: Vec<Skipped>,
        /// Why others of its events cannot be understood: they fail the message.
        refused: Vec<Fault>,
    },
    /// Inlet is asked to do something.
    Ask(Ask),
    /// A schedule's time has come; which one is known by the function that was called.
    Tick,
    /// Event Grid asks whether this endpoint wants its events: the answer repeats the code (`validationResponse`).
    Handshake {
        /// The code to repeat.
        code: String,
    },
    /// An HTTP request, for the face to route.
    Http(HttpRequest),
}

impl Trigger {
    /// Reads the payload of a Lambda invocation (at most 6 MB).
    pub fn of_lambda(payload: &Value) -> Self {
        aws::read(payload)
    }

    /// Reads the body of a request of the Azure Functions host to its custom handler, `{"Data": …, "Metadata": …}`;
    /// `function` is the name in the request's path.
    pub fn of_custom_handler(function: &str, body: &Value) -> Self {
        azure::read(function, body)
    }

    fn whole(content: Result<Content, Fault>) -> Self {
        Self { messages: vec![Message::new(content)], answers: Answers::Whole }
    }

    fn http(request: Result<HttpRequest, Fault>) -> Self {
        Self { messages: vec![Message::new(request.map(Content::Http))], answers: Answers::Http }
    }
}

impl Message {
    fn new(content: Result<Content, Fault>) -> Self {
        Self { id: None, receives: 1, queue: None, content }
    }
}

impl Content {
    /// Reads a text that came by itself, such as the body of an HTTP request.
    ///
    /// # Errors
    /// `Rejected` a form that is unknown or broken, `Setup` an ask that somebody wrote wrongly.
    pub fn of_text(text: &str) -> Result<Self, Fault> {
        content::of_text(text)
    }
}

/// A text that is there and not empty, by its JSON pointer.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A text that an event has to have.
fn needed<'a>(event: &'a Value, pointer: &str) -> Result<&'a str, Fault> {
    let member = pointer.trim_start_matches('/').replace('/', ".");
    text(event, pointer).ok_or_else(|| Fault::rejected(format!("the event has no `{member}`")))
}
