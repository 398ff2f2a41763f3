//! HTTP requests, as function URLs and API Gateway (payload 2.0) hand them over, and the Azure Functions host.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inlet_core::fault::Fault;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{needed, text};

/// A request, for the face to route.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// In upper case.
    pub method: String,
    /// As it was sent, with the slash that it begins with; on Azure with the `/api` that the host puts before routes.
    pub path: String,
    /// Decoded; the last of a name that comes more than once.
    pub query: BTreeMap<String, String>,
    /// By their names in lower case; values of one name are joined by `, ` or `,`.
    pub headers: BTreeMap<String, String>,
    /// The body, if there is one.
    pub body: Option<String>,
}

/// Headers, query and body may hold secrets.
impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The request in a Lambda invocation, if it is one.
pub(super) fn of_function_url(payload: &Value) -> Option<Result<HttpRequest, Fault>> {
    payload.pointer("/requestContext/http").filter(|http| http.is_object())?;
    Some(function_url(payload))
}

fn function_url(payload: &Value) -> Result<HttpRequest, Fault> {
    let is_base64 = payload.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or(false);
    Ok(HttpRequest {
        method: needed(payload, "/requestContext/http/method")?.to_ascii_uppercase(),
        path: needed(payload, "/requestContext/http/path")?.to_owned(),
        query: query(text(payload, "/rawQueryString").unwrap_or_default()),
        headers: headers(payload.get("headers")),
        body: body(payload.get("body"), is_base64)?,
    })
}

/// The request in the data of an Azure `httpTrigger`, if it is one.
pub(super) fn of_http_trigger(data: &Value) -> Option<Result<HttpRequest, Fault>> {
    (data.get("Url")?.is_string() && data.get("Method")?.is_string()).then(|| http_trigger(data))
}

fn http_trigger(data: &Value) -> Result<HttpRequest, Fault> {
    let url = Url::parse(needed(data, "/Url")?)
        .map_err(|error| Fault::rejected("the request's `Url` is no URL").because(error))?;
    let headers = headers(data.get("Headers"));
    // The host sends the bytes of these as base64, and everything else as text.
    let kind = headers.get("content-type").map(|kind| kind.trim().to_ascii_lowercase()).unwrap_or_default();
    let is_base64 = kind.starts_with("application/octet-stream") || kind.starts_with("multipart/");
    Ok(HttpRequest {
        method: needed(data, "/Method")?.to_ascii_uppercase(),
        path: url.path().to_owned(),
        query: query(url.query().unwrap_or_default()),
        headers,
        body: body(data.get("Body"), is_base64)?,
    })
}

fn query(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn headers(headers: Option<&Value>) -> BTreeMap<String, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(texts) => Some(texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        _ => None,
    };
    let headers = headers.and_then(Value::as_object).into_iter().flatten();
    headers.filter_map(|(name, value)| Some((name.to_ascii_lowercase(), one(value)?))).collect()
}

fn body(body: Option<&Value>, is_base64: bool) -> Result<Option<String>, Fault> {
    match body {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if is_base64 => {
            let bytes = STANDARD.decode(text).map_err(|error| unreadable("base64").because(error))?;
            String::from_utf8(bytes).map(Some).map_err(|error| unreadable("text").because(error))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Ok(Some(other.to_string())),
    }
}

fn unreadable(what: &str) -> Fault {
    Fault::rejected(format!("the request's body is no {what}")).hint("send JSON, as application/json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trigger(url: &str, headers: &Value, body: &Value) -> Result<HttpRequest, Fault> {
        of_http_trigger(&json!({"Url": url, "Method": "post", "Headers": headers, "Body": body})).unwrap()
    }

    #[test]
    fn a_query_is_decoded_and_its_last_value_counts() {
        let request =
            trigger("https://a.azurewebsites.net/api/x%20y?q=a+b%2B&q=c&e", &json!({}), &json!(null)).unwrap();
        let expected = [("e", ""), ("q", "c")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(request.query, BTreeMap::from(expected));
        assert_eq!((request.path.as_str(), request.method.as_str(), request.body), ("/api/x%20y", "POST", None));
        assert_eq!(
            query("q=a+b%2B&q2=%C3%A9"),
            BTreeMap::from([("q".into(), "a b+".into()), ("q2".into(), "é".into())])
        );
    }

    #[test]
    fn names_of_headers_are_in_lower_case_and_their_values_joined() {
        let request =
            trigger("http://a/", &json!({"X-One": ["1"], "Accept": ["a", "b"], "Odd": 1}), &json!("{}")).unwrap();
        let expected = [("accept", "a, b"), ("x-one", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(request.headers, BTreeMap::from(expected));
    }

    #[test]
    fn a_body_of_bytes_is_decoded_and_must_be_text() {
        let bytes = json!({"content-type": ["application/octet-stream"]});
        assert_eq!(trigger("http://a/", &bytes, &json!("e30=")).unwrap().body.unwrap(), "{}");
        assert_eq!(trigger("http://a/", &json!({}), &json!("e30=")).unwrap().body.unwrap(), "e30=");
        assert_eq!(trigger("http://a/", &json!({}), &json!({"a": 1.50})).unwrap().body.unwrap(), "{\"a\":1.5}");
        for broken in ["/w==", "***"] {
            assert!(trigger("http://a/", &bytes, &json!(broken)).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_request_shows_neither_its_headers_nor_its_body() {
        let request = trigger("http://a/p?code=secret", &json!({"x": ["secret"]}), &json!("secret")).unwrap();
        assert!(!format!("{request:?}").contains("secret"));
    }

    #[test]
    fn other_values_are_no_requests() {
        assert!(of_http_trigger(&json!({"Url": "http://a/"})).is_none());
        assert!(of_function_url(&json!({"requestContext": {"httpMethod": "GET"}})).is_none());
        assert!(of_function_url(&json!({"requestContext": {"http": {}}})).unwrap().is_err());
        assert!(trigger("no url", &json!({}), &json!(null)).is_err());
    }
}
