//! Lists in pages: `next_page_token` until it is absent, empty pages included.

use serde_json::{Map, Value};

use crate::request::Request;

/// A page of a list under `key`. Pages of `size` entries; 0: all at once. With pages, the first one is empty: clients
/// have to read on while there is a token.
pub(crate) fn page(key: &str, entries: Vec<Value>, size: usize, request: &Request) -> Value {
    let mut body = Map::new();
    if size == 0 {
        body.insert(key.to_owned(), Value::Array(entries));
        return Value::Object(body);
    }
    let from = request.parameter("page_token").and_then(|token| token.strip_prefix("from-")?.parse::<usize>().ok());
    let (mine, next) = match from {
        None => (Vec::new(), 0),
        Some(from) => (entries.iter().skip(from).take(size).cloned().collect(), from + size),
    };
    body.insert(key.to_owned(), Value::Array(mine));
    if next < entries.len() {
        body.insert("next_page_token".to_owned(), Value::String(format!("from-{next}")));
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_entry_stands_on_one_page_behind_an_empty_one() {
        let entries: Vec<Value> = (0..5).map(|n| json!(n)).collect();
        let (mut found, mut sizes, mut token) = (Vec::new(), Vec::new(), None::<String>);
        loop {
            let query = token.as_ref().map(|token| format!("page_token={token}"));
            let request = Request::new("GET", "/x", query.as_deref(), hyper::HeaderMap::new(), Bytes::new());
            let body = page("things", entries.clone(), 2, &request);
            let things = body["things"].as_array().unwrap().clone();
            sizes.push(things.len());
            found.extend(things);
            token = body["next_page_token"].as_str().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        assert_eq!((found, sizes), (entries, vec![0, 2, 2, 1]));
    }
}
