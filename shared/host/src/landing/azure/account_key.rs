//! Signing with the key of a storage account, which Azure's client leaves to its users: a request in one canonical text,
//! and its HMAC.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::headers::Headers;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Method, Request, Url};
use azure_core::time::{OffsetDateTime, to_rfc7231};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use inlet_core::clock;
use inlet_core::fault::Fault;
use sha2::Sha256;

/// Headers whose values stand in the text, in this order, between `Content-Length` and the `x-ms-` ones.
const SIGNED: [&str; 8] = [
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Signs each try of a request.
pub(super) struct AccountKey {
    account: String,
    mac: Hmac<Sha256>,
}

impl AccountKey {
    /// The key as Azure shows it, in base64.
    pub(super) fn new(account: &str, key: &str) -> Result<Self, Fault> {
        let unusable = || {
            Fault::setup(format!("the key of the storage account `{account}` is no key: it is not base64"))
                .hint("az storage account keys list --account-name …; or sign in: az login")
        };
        let key = BASE64_STANDARD.decode(key.trim()).map_err(|_| unusable())?;
        let mac = Hmac::new_from_slice(&key).map_err(|_| unusable())?;
        Ok(Self { account: account.to_owned(), mac })
    }

    fn sign(&self, request: &mut Request, now: &OffsetDateTime) {
        request.insert_header("x-ms-date", to_rfc7231(now));
        let text = canonical(&self.account, request.method(), request.url(), request.headers());
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        request.insert_header("authorization", format!("SharedKey {}:{signature}", self.account));
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountKey({})", self.account)
    }
}

#[async_trait]
#[expect(elided_lifetimes_in_paths, reason = "the trait writes it so, and the two must agree")]
impl Policy for AccountKey {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let now = OffsetDateTime::from_unix_timestamp(clock::now() / 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        self.sign(request, &now);
        match next.split_first() {
            Some((policy, rest)) => policy.send(ctx, request, rest).await,
            None => Err(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Other,
                "nothing sends the request that was signed",
            )),
        }
    }
}

/// The text that is signed; requests that read have no body, and so no length.
fn canonical(account: &str, method: Method, url: &Url, headers: &Headers) -> String {
    let header = |name: &'static str| headers.get_optional_string(&name.into()).unwrap_or_default();
    let mut text = format!("{}\n{}\n{}\n\n", method.as_ref(), header("content-encoding"), header("content-language"));
    for name in SIGNED {
        text.push_str(&header(name));
        text.push('\n');
    }
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-"));
    let mut own: Vec<String> =
        own.map(|(name, value)| format!("{}:{}\n", name.as_str(), value.as_str().trim())).collect();
    own.sort_unstable();
    text.extend(own);
    text.push_str(&format!("/{account}{}", url.path()));
    let mut pairs: Vec<String> =
        url.query_pairs().map(|(name, value)| format!("\n{}:{value}", name.to_lowercase())).collect();
    pairs.sort_unstable();
    text.extend(pairs);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key that Azurite publishes.
    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    fn request(url: &str) -> Request {
        let mut request = Request::new(Url::parse(url).unwrap(), Method::Get);
        request.insert_header("x-ms-version", "2026-02-06");
        request.insert_header("if-match", "\"0x8D1\"");
        request.insert_header("range", "bytes=0-6");
        request.insert_header("accept", "application/xml");
        request
    }

    #[test]
    fn a_request_has_one_canonical_text() {
        let request =
            request("https://acme.blob.core.windows.net/landing/a%2F%2Fb?restype=container&prefix=p%2Fq&comp=list");
        let text = canonical("acme", request.method(), request.url(), request.headers());
        let signed = "GET\n\n\n\n\n\n\n\n\"0x8D1\"\n\n\nbytes=0-6\nx-ms-version:2026-02-06\n";
        let resource = "/acme/landing/a%2F%2Fb\ncomp:list\nprefix:p/q\nrestype:container";
        assert_eq!(text, format!("{signed}{resource}"));
    }

    #[test]
    fn the_signature_stands_behind_the_account() {
        let key = AccountKey::new("devstoreaccount1", KEY).unwrap();
        let mut request = request("http://127.0.0.1:10000/devstoreaccount1/landing/a");
        key.sign(&mut request, &OffsetDateTime::UNIX_EPOCH);
        let header = |name: &'static str| request.headers().get_optional_string(&name.into()).unwrap();
        assert_eq!(header("x-ms-date"), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(header("authorization"), "SharedKey devstoreaccount1:A1FNswonyykiVqFLZXWkSUFv97cMU0slXLx26RakEUg=");
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_repeating_it() {
        let fault = AccountKey::new("acme", "planted key!").unwrap_err();
        assert!(!format!("{fault:?}{}", fault.chain()).contains("planted"));
    }
}
