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
