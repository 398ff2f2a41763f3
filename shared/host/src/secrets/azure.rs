//! Azure Key Vault: one request of its REST API, which needs no client of its own.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::{ClientOptions, Method, Pipeline, Request, Url};
use inlet_core::fault::Fault;
use inlet_core::secret::Secret;
use serde_json::Value;

use crate::cloud::azure::{self, Refusal};

const API_VERSION: &str = "7.4";

/// A secret of a vault: its current version, or another.
pub(super) async fn read(host: &str, name: &str, version: Option<&str>) -> Result<Secret, Fault> {
    // A vault of another cloud takes the tokens of that cloud: `https://vault.azure.net` without the vault's own name.
    let cloud = host.split_once('.').map_or(host, |(_, cloud)| cloud);
    let scope = format!("https://{cloud}/.default");
    of(&format!("https://{host}"), &scope, name, version, azure::identity()?, azure::options()).await
}

async fn of(
    vault: &str,
    scope: &str,
    name: &str,
    version: Option<&str>,
    credential: Arc<dyn TokenCredential>,
    options: ClientOptions,
) -> Result<Secret, Fault> {
    let version = version.map(|version| format!("/{version}")).unwrap_or_default();
    let url = Url::parse(&format!("{vault}/secrets/{name}{version}?api-version={API_VERSION}"));
    let url = url.map_err(|error| Fault::setup("the vault has no address").because(error))?;
    let (product, release) = (option_env!("CARGO_PKG_NAME"), option_env!("CARGO_PKG_VERSION"));
    let pipeline = Pipeline::new(product, release, options, Vec::new(), Vec::new(), None);
    let mut request = Request::new(url, Method::Get);
    let answer = azure::within(async {
        let token = credential.get_token(&[scope], None).await?;
        request.insert_header("authorization", format!("Bearer {}", token.token.secret()));
        let answer = pipeline.send(&azure_core::http::Context::new(), &mut request, None).await?;
        // The secret's own words are never part of an error.
        let read = serde_json::from_slice::<Value>(answer.body().as_ref());
        read.map_err(|_| Error::with_message(ErrorKind::DataConversion, "the answer is no JSON"))
    });
    let answer = answer.await.map_err(fault)?;
    match answer.get("value").and_then(Value::as_str).map(str::trim) {
        Some(text) if !text.is_empty() => Ok(Secret::new(text)),
        _ => Err(super::empty()),
    }
}

fn fault(refusal: Refusal) -> Fault {
    let fault = if refusal.without_credentials || refusal.status == Some(401) {
        Fault::setup("no valid credentials for Azure Key Vault").hint(azure::SIGN_IN_AS_SOMEBODY)
    } else if refusal.status == Some(403) {
        Fault::setup("not allowed to read the secret").hint(
            "grant this identity the role Key Vault Secrets User on the vault, and let it through the vault's firewall",
        )
    } else if refusal.status == Some(404) {
        Fault::setup("no such secret").hint("check its name: az keyvault secret list --vault-name …")
    } else {
        Fault::again("Azure Key Vault does not answer").hint("is the vault's name right?")
    };
    fault.because(refusal)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use azure_core::credentials::{AccessToken, TokenRequestOptions};
    use azure_core::http::{FixedRetryOptions, RetryOptions};
    use azure_core::time::{Duration, OffsetDateTime};
    use inlet_core::fault::FaultKind;

    use super::*;
    use crate::cloud::testing::{Server, answer};

    const SCOPE: &str = "https://vault.azure.net/.default";

    /// The scope that was asked for is the token.
    #[derive(Debug)]
    struct Echo;

    #[async_trait]
    impl TokenCredential for Echo {
        async fn get_token(
            &self,
            scopes: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            Ok(AccessToken::new(scopes.join(" "), OffsetDateTime::now_utc() + Duration::hours(1)))
        }
    }

    fn read(url: &str, version: Option<&str>) -> Result<String, Fault> {
        let fast =
            FixedRetryOptions { delay: Duration::milliseconds(1), max_retries: 1, ..FixedRetryOptions::default() };
        let options = ClientOptions { retry: RetryOptions::fixed(fast), ..azure::options() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let secret = runtime.block_on(of(url, SCOPE, "databricks", version, Arc::new(Echo), options));
        secret.map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_secret_is_read_with_a_token_for_vaults() {
        let held = r#"{"value":"dose1\n","id":"https://shop.vault.azure.net/secrets/databricks/0a1b"}"#;
        let server = Server::start(vec![answer(200, held)]);
        assert_eq!(read(&server.url, None).unwrap(), "dose1");
        assert_eq!(read(&server.url, Some("0a1b")).unwrap(), "dose1");
        let lines = ["GET /secrets/databricks?api-version=7.4", "GET /secrets/databricks/0a1b?api-version=7.4"];
        assert_eq!(server.lines(), lines);
        assert_eq!(server.asked()[0].header("authorization"), Some(format!("Bearer {SCOPE}").as_str()));
    }

    #[test]
    fn a_refusal_says_what_to_grant() {
        for (status, body, kind, says) in [
            (401, r#"{"error":{"code":"Unauthorized","message":"m"}}"#, FaultKind::Setup, "no valid credentials"),
            (403, r#"{"error":{"code":"Forbidden","message":"m"}}"#, FaultKind::Setup, "not allowed to read"),
            (404, r#"{"error":{"code":"SecretNotFound","message":"m"}}"#, FaultKind::Setup, "no such secret"),
            (503, "", FaultKind::Again, "does not answer"),
            (200, "truth", FaultKind::Again, "does not answer"),
            (200, r#"{"value":""}"#, FaultKind::Setup, "is empty"),
        ] {
            let server = Server::start(vec![answer(status, body).header("x-ms-request-id: 6d79dbfb")]);
            let fault = read(&server.url, None).unwrap_err();
            assert_eq!(fault.kind(), kind, "{status} {body}");
            assert!(fault.to_string().contains(says), "{fault}");
            assert!(!format!("{fault:?}{}", fault.chain()).contains("truth"), "{fault:?}");
            assert!(status == 200 || fault.chain().contains("request 6d79dbfb"), "{}", fault.chain());
        }
    }
}
