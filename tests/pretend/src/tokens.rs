//! Access tokens: made, remembered, and looked up again.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::clock;
use crate::state::{State, uuid};

/// The Azure Databricks application: whom an Entra token for a workspace is for.
pub(crate) const DATABRICKS: &str = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d";

/// Who made a token. They are refused differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Issuer {
    Workspace,
    Entra,
}

/// A token that was handed out.
#[derive(Clone, Debug)]
pub(crate) struct IssuedToken {
    pub(crate) principal: String,
    pub(crate) issuer: Issuer,
    pub(crate) audience: String,
    pub(crate) expires: Instant,
}

impl State {
    /// Makes a token: a JWT that Azure's storage emulator takes too, if it is for storage. It checks issuer, audience
    /// and times, not the signature.
    pub(crate) fn issue(&mut self, principal: &str, issuer: Issuer, issuer_name: &str, audience: &str) -> String {
        let seconds = self.knobs.token_seconds;
        let now = clock::epoch_ms() / 1000;
        // A clock that is a little behind must not find the token too young.
        let begins = now.saturating_sub(300);
        let token = jwt(&json!({
            "iss": issuer_name, "aud": audience, "sub": principal, "appid": principal, "tid": self.setup.tenant,
            "iat": begins, "nbf": begins, "exp": now + seconds, "jti": uuid(),
        }));
        let expires = clock::now() + Duration::from_secs(seconds);
        let issued = IssuedToken { principal: principal.to_owned(), issuer, audience: audience.to_owned(), expires };
        self.tokens.insert(token.clone(), issued);
        token
    }
}

/// A JSON web token, HS256 with a key that nobody knows.
fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let signature = Hmac::<Sha256>::new_from_slice(uuid().as_bytes())
        .map(|mac| mac.chain_update(unsigned.as_bytes()).finalize().into_bytes())
        .map(|signature| URL_SAFE_NO_PAD.encode(signature))
        .unwrap_or_default();
    format!("{unsigned}.{signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_three_parts_and_says_whom_it_is_for() {
        let token = jwt(&json!({"aud": "https://storage.azure.com"}));
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(claims["aud"], "https://storage.azure.com");
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 32);
    }
}
