//! What is answered: a body with its status and headers, and the dialects in which Databricks says no.

use bytes::Bytes;
use serde_json::{Value, json};

/// One HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Reply {
    /// Without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// JSON.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    /// JSON, 200.
    pub(crate) fn ok(body: &Value) -> Self {
        Self::json(200, body)
    }

    /// Anything else.
    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::empty(status) }.header("content-type", content_type)
    }

    /// One more header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A no, in the shape of Unity Catalog and of most other APIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: Code,
    pub(crate) message: String,
    /// Where the details give another reason than the code.
    pub(crate) reason: Option<&'static str>,
}

/// `error_code` is a word, except where nobody is signed in: there it is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Word(&'static str),
    Number(u16),
    /// The body has no code at all.
    Missing,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: Code::Word(code), message: message.into(), reason: None }
    }

    /// 400: something in the request.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "INVALID_PARAMETER_VALUE", message)
    }

    /// 403: a right is missing.
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "PERMISSION_DENIED", message)
    }

    /// 404.
    pub(crate) fn missing(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(404, code, message)
    }

    /// Another reason in the details than the code.
    pub(crate) fn reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// 501: Databricks has it and we do not.
    pub(crate) fn not_implemented(thing: impl Into<String>) -> Self {
        Self::new(501, "NOT_IMPLEMENTED", format!("the pretend workspace has no {}", thing.into()))
    }

    /// As an HTTP answer; `request_id` stands in the details.
    pub(crate) fn into_reply(self, request_id: &str) -> Reply {
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": request_id, "serving_data": "",
        });
        match self.code {
            Code::Word(code) => {
                let mut details = vec![info];
                if self.status >= 400 {
                    details.insert(
                        0,
                        json!({
                            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": self.reason.unwrap_or(code),
                            "domain": "databricks.com", "metadata": {},
                        }),
                    );
                }
                // A sub-class stands in the details only.
                let code = code.split('.').next().unwrap_or(code);
                Reply::json(self.status, &json!({"error_code": code, "message": self.message, "details": details}))
            }
            Code::Number(code) => Reply::json(self.status, &json!({"error_code": code, "message": self.message}))
                .header("x-databricks-reason-phrase", self.message.clone()),
            Code::Missing => Reply::json(self.status, &json!({"message": self.message})),
        }
    }
}

/// What a handler answers.
pub(crate) type Answer = Result<Reply, Refusal>;
