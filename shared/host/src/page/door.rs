//! Who may come in: the browser that was given the link, and only by this page.
//!
//! The link's token opens once, for a cookie that no script reads and no other site sends. A name that somebody made lead
//! to this machine is told by `Host`, another page's request by `Origin` and `Sec-Fetch-Site`.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use uuid::Uuid;

/// A status, and what to say.
pub(super) type Refusal = (StatusCode, &'static str);

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The way in.
pub(super) struct Door {
    address: SocketAddr,
    /// Opens once.
    token: Mutex<Option<String>>,
    /// What the cookie holds.
    key: String,
}

impl Door {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, token: Mutex::new(Some(chance())), key: chance() }
    }

    /// What a person opens: the token stands behind `#`, which no request carries.
    pub(super) fn link(&self) -> String {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        format!("http://{}/#{}", self.address, token.as_deref().unwrap_or_default())
    }

    /// Why a request is none of the page's own.
    pub(super) fn refuses(&self, method: &Method, headers: &HeaderMap) -> Option<Refusal> {
        let is =
            |name: HeaderName, value: &str| headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes());
        if !is(header::HOST, &self.address.to_string()) {
            return Some((StatusCode::MISDIRECTED_REQUEST, "another host was asked for"));
        }
        if headers.contains_key(SITE) && !is(SITE, "same-origin") && !is(SITE, "none") {
            return Some((StatusCode::FORBIDDEN, "another page asks"));
        }
        if method == Method::GET {
            return None;
        }
        if !is(header::ORIGIN, &format!("http://{}", self.address)) {
            return Some((StatusCode::FORBIDDEN, "another page asks"));
        }
        // Other pages cannot send this type without asking first.
        if !is(header::CONTENT_TYPE, "application/json") {
            return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, "a request is JSON"));
        }
        None
    }

    /// Takes the token for a cookie, once.
    pub(super) fn exchange(&self, token: &str) -> Option<String> {
        let mut expected = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        expected.take_if(|expected| same(expected, token))?;
        Some(format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie(), self.key))
    }

    /// Whether a request comes from the browser that has the cookie.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == self.cookie() && same(value, &self.key))
    }

    /// Cookies do not tell ports apart; names do.
    fn cookie(&self) -> String {
        format!("inlet_{}", self.address.port())
    }
}

/// 244 bits of chance.
fn chance() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// Compares in a time that does not tell where texts differ.
fn same(one: &str, other: &str) -> bool {
    let difference = one.bytes().zip(other.bytes()).fold(0, |difference, (one, other)| difference | (one ^ other));
    one.len() == other.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door::new("127.0.0.1:4711".parse().unwrap())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    const OWN: [(&str, &str); 3] =
        [("host", "127.0.0.1:4711"), ("origin", "http://127.0.0.1:4711"), ("content-type", "application/json")];

    #[test]
    fn the_page_alone_may_ask() {
        assert_eq!(door().refuses(&Method::POST, &headers(&OWN)), None);
        assert_eq!(door().refuses(&Method::GET, &headers(&OWN[..1])), None);
        for (name, value) in [
            ("host", "inlet.evil.example:4711"),
            ("host", "127.0.0.1"),
            ("host", "localhost:4711"),
            ("origin", "https://evil.example"),
            ("origin", "http://127.0.0.1:4712"),
            ("origin", "null"),
            ("content-type", "text/plain"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let mut all = headers(&OWN);
            all.insert(HeaderName::from_static(name), value.parse().unwrap());
            assert!(door().refuses(&Method::POST, &all).is_some(), "{name}: {value}");
        }
        for missing in 0..OWN.len() {
            let mut some = OWN.to_vec();
            some.remove(missing);
            assert!(door().refuses(&Method::POST, &headers(&some)).is_some(), "{some:?}");
        }
        assert!(door().refuses(&Method::GET, &headers(&[])).is_some());
    }

    #[test]
    fn a_token_opens_once_and_the_cookie_from_then_on() {
        let door = door();
        let token = door.link().rsplit_once('#').unwrap().1.to_owned();
        assert_eq!(token.len(), 64);
        assert_eq!((door.exchange(""), door.exchange(&token[1..])), (None, None));
        let cookie = door.exchange(&token).unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
        assert_eq!(door.exchange(&token), None, "it has opened");
        let (pair, _) = cookie.split_once(';').unwrap();
        assert!(door.admits(&headers(&[("cookie", &format!("other=1; {pair}"))])));
        assert!(!door.admits(&headers(&[("cookie", &format!("{pair}0"))])));
        assert!(!door.admits(&headers(&[])));
        assert!(!pair.contains(&token));
    }
}
