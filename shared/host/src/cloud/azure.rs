//! Azure: who we are there, and what its answers mean.
//!
//! The variables are those that the lake's store reads too, in the same order. Where none says who we are, it is the
//! managed identity of the function or machine, else whoever has signed in with `az login`.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{
    ClientOptions, ExponentialRetryOptions, HttpClient, HttpClientOptions, RetryOptions, Transport, new_http_client,
};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    AzureCliCredential, ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use inlet_core::clock::{self, Deadline};
use inlet_core::fault::Fault;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use tokio::sync::OnceCell;

/// Tries after the first of one request.
const RETRIES: u32 = 4;
/// All tries of one request; no new one begins later.
const RETRIED_WITHIN: azure_core::time::Duration = azure_core::time::Duration::seconds(20);
/// One request to the head of its answer, all tries.
pub(crate) const OPERATION: Duration = Duration::from_secs(60);
/// A machine's identity answers at once; elsewhere nobody answers at all.
const MACHINE_WITHIN: Duration = Duration::from_secs(1);

/// What to do without credentials for storage.
pub(crate) const SIGN_IN: &str = "sign in (az login), give the function or machine a managed identity, \
     or set AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID, or AZURE_STORAGE_ACCOUNT_KEY";
/// What to do without credentials for anything else.
pub(crate) const SIGN_IN_AS_SOMEBODY: &str = "sign in (az login), give the function or machine a managed identity, \
     or set AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID";

/// A variable, by any of the names that the lake's store knows it by.
pub(crate) fn stated(key: &AzureConfigKey) -> Option<String> {
    MicrosoftAzureBuilder::from_env().get_config_value(key).filter(|value| !value.is_empty())
}

/// Whether a variable is `true`.
pub(crate) fn is_on(key: &AzureConfigKey) -> bool {
    stated(key).is_some_and(|value| super::is_yes(&value))
}

/// How every client asks: over one pool of connections, a bounded number of times.
pub(crate) fn options() -> ClientOptions {
    static CONNECTIONS: OnceLock<Arc<dyn HttpClient>> = OnceLock::new();
    let connections =
        CONNECTIONS.get_or_init(|| new_http_client(Some(HttpClientOptions { automatic_decompression: false })));
    ClientOptions {
        retry: RetryOptions::exponential(ExponentialRetryOptions {
            max_retries: RETRIES,
            max_total_elapsed: RETRIED_WITHIN,
            ..ExponentialRetryOptions::default()
        }),
        transport: Some(Transport::new(Arc::clone(connections))),
        ..ClientOptions::default()
    }
}

/// Who we are for storage: whoever was given a token for it, else [`identity`].
///
/// # Errors
/// As [`identity`].
pub(crate) fn ambient() -> Result<Arc<dyn TokenCredential>, Fault> {
    ambient_of(&stated)
}

/// Who we are, as the variables or the place that we run in say it. A token that was given is one for storage: nothing
/// else takes it, and nobody else is shown it.
///
/// # Errors
/// Setup when the variables contradict themselves.
pub(crate) fn identity() -> Result<Arc<dyn TokenCredential>, Fault> {
    identity_of(&stated)
}

/// Where the values of variables come from.
type Stated<'a> = &'a dyn Fn(&AzureConfigKey) -> Option<String>;

fn ambient_of(stated: Stated<'_>) -> Result<Arc<dyn TokenCredential>, Fault> {
    match stated(&AzureConfigKey::Token) {
        Some(token) => Ok(Arc::new(Given(Secret::new(token)))),
        None => identity_of(stated),
    }
}

fn identity_of(stated: Stated<'_>) -> Result<Arc<dyn TokenCredential>, Fault> {
    let (client, tenant) = (stated(&AzureConfigKey::ClientId), stated(&AzureConfigKey::AuthorityId));
    let unusable =
        |error| Fault::setup("the variables of the identity in Azure are wrong").hint(SIGN_IN).because(error);
    if let (Some(client), Some(tenant), Some(file)) = (&client, &tenant, stated(&AzureConfigKey::FederatedTokenFile)) {
        let credential = WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
            client_id: Some(client.clone()),
            tenant_id: Some(tenant.clone()),
            token_file_path: Some(file.into()),
            credential_options: ClientAssertionCredentialOptions { client_options: options() },
        }));
        return Ok(credential.map_err(unusable)?);
    }
    if let (Some(client), Some(tenant), Some(secret)) = (&client, &tenant, stated(&AzureConfigKey::ClientSecret)) {
        let options = ClientSecretCredentialOptions { client_options: options() };
        let credential = ClientSecretCredential::new(tenant, client.clone(), Secret::new(secret), Some(options));
        return Ok(credential.map_err(unusable)?);
    }
    if stated(&AzureConfigKey::UseAzureCli).is_some_and(|value| super::is_yes(&value)) {
        return Ok(AzureCliCredential::new(None).map_err(unusable)?);
    }
    let managed = ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: client.map(UserAssignedId::ClientId),
        client_options: options(),
    }));
    let managed: Arc<dyn TokenCredential> = managed.map_err(unusable)?;
    if stated(&AzureConfigKey::MsiEndpoint).is_some() {
        return Ok(managed);
    }
    let person: Arc<dyn TokenCredential> = AzureCliCredential::new(None).map_err(unusable)?;
    Ok(Arc::new(MachineOrPerson { machine: managed, person, chosen: OnceCell::new() }))
}

/// A token that was given as it is.
#[derive(Debug)]
struct Given(Secret);

#[async_trait]
impl TokenCredential for Given {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let later = OffsetDateTime::now_utc() + azure_core::time::Duration::hours(1);
        Ok(AccessToken::new(self.0.clone(), later))
    }
}

/// The machine's identity where there is one, else who has signed in at this terminal.
#[derive(Debug)]
struct MachineOrPerson {
    machine: Arc<dyn TokenCredential>,
    person: Arc<dyn TokenCredential>,
    /// Whichever gave the first token gives all.
    chosen: OnceCell<Arc<dyn TokenCredential>>,
}

#[async_trait]
impl TokenCredential for MachineOrPerson {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some(chosen) = self.chosen.get() {
            return chosen.get_token(scopes, options).await;
        }
        let soon = Deadline::after(MACHINE_WITHIN);
        let by_machine = clock::within(soon, self.machine.get_token(scopes, options.clone())).await;
        let (token, chosen) = match by_machine {
            Some(Ok(token)) => (token, &self.machine),
            _ => (self.person.get_token(scopes, options).await?, &self.person),
        };
        // Somebody else may have been faster, with the same choice.
        self.chosen.get_or_init(|| async { Arc::clone(chosen) }).await;
        Ok(token)
    }
}

/// Why a request to Azure came to nothing.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Azure's word for it, as `AuthorizationPermissionMismatch`.
    pub(crate) code: Option<String>,
    /// The status of the answer, if there was one.
    pub(crate) status: Option<u16>,
    /// Whether no token could be had.
    pub(crate) without_credentials: bool,
    /// The words, and the request's id: what Azure's support asks for first.
    said: String,
}

impl From<azure_core::Error> for Refusal {
    fn from(error: azure_core::Error) -> Self {
        let ErrorKind::HttpResponse { status, error_code, raw_response } = error.kind() else {
            let without_credentials = matches!(error.kind(), ErrorKind::Credential) && !is_passing(&error);
            return Self { code: None, status: None, without_credentials, said: said(&error) };
        };
        let header = |name: &'static str| {
            raw_response.as_ref().and_then(|answer| answer.headers().get_optional_string(&name.into()))
        };
        let code = error_code.clone().or_else(|| header("x-ms-error-code"));
        let id = header("x-ms-request-id").map(|id| format!(", request {id}")).unwrap_or_default();
        let words = code.as_ref().map(|code| format!("{code}, ")).unwrap_or_default();
        let said = format!("{words}HTTP {}{id}", u16::from(*status));
        Self { code, status: Some(u16::from(*status)), without_credentials: false, said }
    }
}

impl Refusal {
    /// No answer came in time.
    pub(crate) fn late() -> Self {
        let said = format!("no answer within {} s", OPERATION.as_secs());
        Self { code: None, status: None, without_credentials: false, said }
    }

    /// Whether the code is one of these.
    pub(crate) fn is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }
}

/// The client's own words for an error and what caused it. Those of the connections below repeat the URL, and with it a
/// signature.
fn said(error: &azure_core::Error) -> String {
    let mut words: Vec<String> = own_causes(error).map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

/// Whether the line or a busy server is why no token could be had.
fn is_passing(error: &azure_core::Error) -> bool {
    own_causes(error).any(|error| match error.kind() {
        ErrorKind::Connection | ErrorKind::Io => true,
        ErrorKind::HttpResponse { status, .. } => matches!(u16::from(*status), 429 | 500..),
        _ => false,
    })
}

/// An error and what caused it, as far as the client itself says it.
fn own_causes(error: &azure_core::Error) -> impl Iterator<Item = &azure_core::Error> {
    let all = std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source());
    all.filter_map(|error| error.downcast_ref())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl Error for Refusal {}

/// What comes of a request by its deadline.
pub(crate) async fn within<T>(work: impl Future<Output = azure_core::Result<T>>) -> Result<T, Refusal> {
    match clock::within(Deadline::after(OPERATION), work).await {
        Some(answer) => answer.map_err(Refusal::from),
        None => Err(Refusal::late()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_for_storage_is_for_storage_alone() {
        let given = |key: &AzureConfigKey| (*key == AzureConfigKey::Token).then(|| "for storage".to_owned());
        let kind = |credential: Result<Arc<dyn TokenCredential>, Fault>| {
            let said = format!("{:?}", credential.unwrap());
            let name = said.split([' ', '(']).next().unwrap_or_default();
            name.rsplit("::").next().unwrap_or_default().to_owned()
        };
        assert_eq!(kind(ambient_of(&given)), "Given");
        assert_eq!(kind(identity_of(&given)), "MachineOrPerson");
        let principal = |key: &AzureConfigKey| match key {
            AzureConfigKey::ClientId | AzureConfigKey::AuthorityId => {
                Some("5b8a1b1e-0000-4000-8000-000000000000".into())
            }
            AzureConfigKey::ClientSecret => Some("secret".to_owned()),
            _ => given(key),
        };
        assert_eq!(kind(ambient_of(&principal)), "Given");
        assert_eq!(kind(identity_of(&principal)), "ClientSecretCredential");
    }
}
