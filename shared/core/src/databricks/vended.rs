//! Credentials for storage that Unity Catalog vends: for a table, or for a place under an external location.

use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::Workspace;
use super::answer::Said;
use super::error::{Error, Failure, Subject};
use crate::clock::{Deadline, Micros};
use crate::secret::Secret;

/// Credentials with their place and their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vended {
    /// The place that they are for, without whatever may be secret in it.
    pub url: String,
    /// The credentials.
    pub credential: Credential,
    /// When they expire, in microseconds since 1970; about an hour from now.
    pub expires_at: Micros,
}

/// Credentials in the shape of a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Temporary keys for S3.
    Aws {
        /// The key's id.
        access_key_id: String,
        /// The key.
        secret_access_key: Secret,
        /// The session's token.
        session_token: Secret,
    },
    /// A shared access signature for Azure storage: the query, without `?`.
    AzureSas(Secret),
    /// A bearer token of Entra for Azure storage.
    AzureToken(Secret),
    /// A bearer token for Google Cloud Storage.
    Gcp(Secret),
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    url: String,
    expiration_time: Option<i64>,
    aws_temp_credentials: Option<RawAws>,
    azure_user_delegation_sas: Option<RawSas>,
    azure_aad: Option<RawAad>,
    gcp_oauth_token: Option<RawGcp>,
}

#[derive(Deserialize)]
struct RawAws {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
}

#[derive(Deserialize)]
struct RawSas {
    sas_token: String,
}

#[derive(Deserialize)]
struct RawAad {
    aad_token: String,
}

#[derive(Deserialize)]
struct RawGcp {
    oauth_token: String,
}

impl Workspace {
    /// Credentials to read and write under a URL that an external location covers.
    ///
    /// # Errors
    /// `EXTERNAL USE LOCATION` is missing, no external location covers the URL, or external access is switched off.
    pub async fn path_credentials(&self, url: &str, deadline: Deadline) -> Result<Vended, Error> {
        let body = json!({ "url": url, "operation": "PATH_READ_WRITE" });
        let about = Subject::PathCredentials(shown(url));
        let base = "api/2.0/unity-catalog/temporary-path-credentials";
        let raw = self.post(base, &[], &body, &about, deadline).await?;
        vended(raw, url).ok_or_else(|| self.failed(Failure::Unreadable, &about, Said::of("no credentials in it")))
    }

    /// Credentials to read and write a table's files.
    ///
    /// # Errors
    /// `EXTERNAL USE SCHEMA` is missing, the table is filtered or masked, or external access is switched off.
    pub async fn table_credentials(&self, table_id: &str, deadline: Deadline) -> Result<Vended, Error> {
        let body = json!({ "table_id": table_id, "operation": "READ_WRITE" });
        let about = Subject::TableCredentials(table_id.to_owned());
        let base = "api/2.0/unity-catalog/temporary-table-credentials";
        let raw = self.post(base, &[], &body, &about, deadline).await?;
        vended(raw, "").ok_or_else(|| self.failed(Failure::Unreadable, &about, Said::of("no credentials in it")))
    }
}

fn vended(raw: Raw, asked: &str) -> Option<Vended> {
    let credential = if let Some(aws) = raw.aws_temp_credentials {
        Credential::Aws {
            access_key_id: aws.access_key_id,
            secret_access_key: Secret::new(aws.secret_access_key),
            session_token: Secret::new(aws.session_token),
        }
    } else if let Some(azure) = raw.azure_user_delegation_sas {
        Credential::AzureSas(Secret::new(azure.sas_token.trim_start_matches('?')))
    } else if let Some(azure) = raw.azure_aad {
        Credential::AzureToken(Secret::new(azure.aad_token))
    } else {
        Credential::Gcp(Secret::new(raw.gcp_oauth_token?.oauth_token))
    };
    let url = if raw.url.is_empty() { asked } else { &raw.url };
    Some(Vended { url: shown(url), credential, expires_at: raw.expiration_time?.saturating_mul(1_000) })
}

/// A storage URL without its query, which may be a signature, and without a password. What stands before the `@` of
/// `abfss://container@account` is no user.
fn shown(url: &str) -> String {
    let cut = url.split(['?', '#']).next().unwrap_or_default();
    let Ok(mut parsed) = Url::parse(cut) else { return String::new() };
    let secret = parsed.password().is_some() || !(parsed.scheme().starts_with("abfs") || parsed.username().is_empty());
    if !secret {
        return cut.to_owned();
    }
    match parsed.set_username("").and(parsed.set_password(None)) {
        Ok(()) => parsed.into(),
        Err(()) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::databricks::testing::{Server, pat, reply, run, soon, workspace};

    const PATH: &str = "POST /api/2.0/unity-catalog/temporary-path-credentials";
    const TABLE: &str = "POST /api/2.0/unity-catalog/temporary-table-credentials";

    fn vended(body: &str) -> Vended {
        let server = Server::start(vec![reply(TABLE, 200, body)]);
        let vended = run(workspace(&server, pat()).table_credentials("t-1", soon())).unwrap();
        let sent: Value = serde_json::from_str(&server.seen()[0].body).unwrap();
        assert_eq!(sent, json!({ "table_id": "t-1", "operation": "READ_WRITE" }));
        assert!(!format!("{vended:?}").contains("planted"), "{vended:?}");
        vended
    }

    #[test]
    fn each_cloud_has_its_credentials() {
        let aws = vended(
            r#"{"expiration_time":1730000000000,"url":"s3://b/t","aws_temp_credentials":{"access_key_id":"AKIA",
                "secret_access_key":"planted1","session_token":"planted2"}}"#,
        );
        assert_eq!((aws.url.as_str(), aws.expires_at), ("s3://b/t", 1_730_000_000_000_000));
        let Credential::Aws { access_key_id, secret_access_key, session_token } = aws.credential else { panic!() };
        assert_eq!(
            [access_key_id.as_str(), secret_access_key.expose(), session_token.expose()],
            ["AKIA", "planted1", "planted2"]
        );
        let of = |part: &str| {
            let place = "abfss://c@a.dfs.core.windows.net/t";
            vended(&format!(r#"{{"expiration_time":1,"url":"{place}",{part}}}"#)).credential
        };
        assert_eq!(
            of(r#""azure_user_delegation_sas":{"sas_token":"?sv=2&sig=planted"}"#),
            Credential::AzureSas(Secret::new("sv=2&sig=planted"))
        );
        assert_eq!(of(r#""azure_aad":{"aad_token":"planted"}"#), Credential::AzureToken(Secret::new("planted")));
        assert_eq!(of(r#""gcp_oauth_token":{"oauth_token":"planted"}"#), Credential::Gcp(Secret::new("planted")));
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        assert_eq!(shown("abfss://c@a.dfs.core.windows.net/t?sv=1&sig=planted"), "abfss://c@a.dfs.core.windows.net/t");
        assert_eq!(shown("s3://key:planted@bucket/t"), "s3://bucket/t");
        assert_eq!(shown("https://planted@a.blob.core.windows.net/c"), "https://a.blob.core.windows.net/c");
        assert_eq!(shown("planted"), "");
    }

    #[test]
    fn a_place_is_asked_for_by_its_url() {
        let place = "abfss://c@a.dfs.core.windows.net/lake";
        let body = r#"{"expiration_time":1,"azure_user_delegation_sas":{"sas_token":"sig"}}"#;
        let server = Server::start(vec![reply(PATH, 200, body)]);
        let vended = run(workspace(&server, pat()).path_credentials(place, soon())).unwrap();
        assert_eq!(vended.url, place, "the one that was asked for");
        let sent: Value = serde_json::from_str(&server.seen()[0].body).unwrap();
        assert_eq!(sent, json!({ "url": place, "operation": "PATH_READ_WRITE" }));
    }

    #[test]
    fn an_answer_without_credentials_or_end_is_not_quoted() {
        for body in [
            r#"{"expiration_time":1,"r2_temp_credentials":{"x":"planted"}}"#,
            r#"{"url":"planted","azure_aad":{"aad_token":"planted"}}"#,
            r#"{"expiration_time":"planted","azure_aad":{"aad_token":"planted"}}"#,
        ] {
            let server = Server::start(vec![reply(TABLE, 200, body)]);
            let error = run(workspace(&server, pat()).table_credentials("t-1", soon())).unwrap_err();
            server.seen();
            assert!(!format!("{error} {error:?}").contains("planted"), "{error}");
        }
    }
}
