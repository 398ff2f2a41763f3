//! As whom the lake's store is read and written: what the environment gives, a service principal, a managed identity,
//! or credentials that Unity Catalog lends.
//!
//! Credentials are fetched once when a lake is opened, so that a wrong set-up is said at once and by its own hint, and
//! renewed before they expire: an upload may take longer than they live.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::AwsCredential;
use object_store::azure::AzureCredential;
use object_store::{CredentialProvider, Error as StoreError};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use crate::clock::{self, Deadline};
use crate::databricks::{Credential, StorageIdentity, Vended, Workspace};
use crate::delta::{Credentials, Lake};
use crate::evolve::spelled;
use crate::fault::Fault;
use crate::secret::Secret;
use crate::settings::{Settings, StorageAccess};

/// How long a fetch of credentials may take.
const FETCH_WITHIN: Duration = Duration::from_secs(60);
/// Lent credentials are renewed when they live no longer than this, or than a quarter of what they had.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Opens the lake at `url` as the settings say. `workspace` is the one that lends credentials and knows the tenant.
///
/// # Errors
/// Setup when the credentials cannot be had, with the step that is missing; what [`Lake::open`] refuses.
pub fn open_lake(
    url: &Url,
    settings: &Settings,
    workspace: Option<&Workspace>,
    handle: &Handle,
) -> Result<Lake, Fault> {
    let is_azure = matches!(url.scheme(), "abfss" | "abfs" | "az" | "azure");
    let source = match &settings.storage {
        StorageAccess::Ambient => return Lake::open(url, handle.clone()),
        _ if url.scheme() == "file" => return Lake::open(url, handle.clone()),
        StorageAccess::Vended => Source::Vended(needed(workspace)?, location(url)),
        _ if !is_azure => {
            return Err(Fault::setup(format!("`[storage]` names an identity of Azure, and the lake is at {url}"))
                .hint("[storage] method = \"ambient\" (a role) or \"vended\" (Unity Catalog lends credentials)"));
        }
        StorageAccess::Principal { tenant_id: None, .. } => Source::Workspace(needed(workspace)?),
        StorageAccess::Principal { tenant_id: Some(tenant_id), client_id, client_secret } => {
            let authority =
                settings.destination.as_ref().and_then(|destination| destination.connection.entra_authority.as_ref());
            Source::Identity(Box::new(StorageIdentity::principal(
                tenant_id,
                client_id,
                client_secret.clone(),
                authority,
            )))
        }
        StorageAccess::ManagedIdentity { client_id } => {
            Source::Identity(Box::new(StorageIdentity::managed(client_id.as_deref(), settings.identity_endpoint())))
        }
    };
    let lent = Lent { source, azure: Mutex::default(), aws: Mutex::default() };
    let lent = Arc::new(lent);
    let credentials = if is_azure {
        handle.block_on(lent.azure())?;
        Credentials::Azure(Arc::new(ForAzure(lent)))
    } else {
        handle.block_on(lent.aws())?;
        Credentials::Aws { provider: Arc::new(ForAws(lent)), region: None }
    };
    Lake::open_as(url, credentials, handle.clone())
}

fn needed(workspace: Option<&Workspace>) -> Result<Workspace, Fault> {
    workspace.cloned().ok_or_else(|| {
        Fault::setup("the lake's credentials come from a Databricks workspace, and the settings name none")
            .hint("give workspace_url, or [storage] method = \"ambient\"")
    })
}

/// A lake's place as Unity Catalog spells it.
fn location(url: &Url) -> String {
    spelled(url).replacen("s3a://", "s3://", 1)
}

/// Where credentials come from.
enum Source {
    /// The workspace's own identity, for storage.
    Workspace(Workspace),
    Identity(Box<StorageIdentity>),
    /// Lent by Unity Catalog, for this place.
    Vended(Workspace, String),
}

/// Credentials that are kept until shortly before they expire.
struct Lent {
    source: Source,
    azure: Mutex<Option<(Arc<AzureCredential>, Deadline)>>,
    aws: Mutex<Option<(Arc<AwsCredential>, Deadline)>>,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.source {
            Source::Workspace(_) => "Lent(the workspace's identity)",
            Source::Identity(_) => "Lent(an identity)",
            Source::Vended(..) => "Lent(Unity Catalog)",
        })
    }
}

impl Lent {
    async fn azure(&self) -> Result<Arc<AzureCredential>, Fault> {
        // Whoever comes meanwhile waits here: one fetch serves all.
        let mut kept = self.azure.lock().await;
        if let Some((credential, fresh)) = &*kept
            && !fresh.is_over()
        {
            return Ok(Arc::clone(credential));
        }
        let deadline = Deadline::after(FETCH_WITHIN);
        let (credential, fresh) = match &self.source {
            // They keep their tokens themselves.
            Source::Workspace(workspace) => (bearer(&workspace.storage_token(deadline).await?.secret), Duration::ZERO),
            Source::Identity(identity) => (bearer(&identity.token(deadline).await?.secret), Duration::ZERO),
            Source::Vended(workspace, place) => {
                let vended = workspace.path_credentials(place, deadline).await?;
                let credential = match &vended.credential {
                    Credential::AzureSas(signature) => AzureCredential::SASToken(pairs(signature)),
                    Credential::AzureToken(token) => bearer(token),
                    other => return Err(other_cloud(other, place)),
                };
                (credential, fresh_for(&vended))
            }
        };
        let credential = Arc::new(credential);
        *kept = Some((Arc::clone(&credential), Deadline::after(fresh)));
        Ok(credential)
    }

    async fn aws(&self) -> Result<Arc<AwsCredential>, Fault> {
        let mut kept = self.aws.lock().await;
        if let Some((credential, fresh)) = &*kept
            && !fresh.is_over()
        {
            return Ok(Arc::clone(credential));
        }
        let Source::Vended(workspace, place) = &self.source else {
            return Err(Fault::bug("an identity of Azure was used for S3"));
        };
        let vended = workspace.path_credentials(place, Deadline::after(FETCH_WITHIN)).await?;
        let Credential::Aws { access_key_id, secret_access_key, session_token } = &vended.credential else {
            return Err(other_cloud(&vended.credential, place));
        };
        let credential = Arc::new(AwsCredential {
            key_id: access_key_id.clone(),
            secret_key: secret_access_key.expose().to_owned(),
            token: Some(session_token.expose().to_owned()).filter(|token| !token.is_empty()),
        });
        *kept = Some((Arc::clone(&credential), Deadline::after(fresh_for(&vended))));
        Ok(credential)
    }
}

/// How long lent credentials are used before they are fetched anew.
fn fresh_for(vended: &Vended) -> Duration {
    let left = u64::try_from(vended.expires_at - clock::now()).map_or(Duration::ZERO, Duration::from_micros);
    left.saturating_sub(RENEW_BEFORE.min(left / 4))
}

fn bearer(token: &Secret) -> AzureCredential {
    AzureCredential::BearerToken(token.expose().to_owned())
}

fn pairs(signature: &Secret) -> Vec<(String, String)> {
    form_urlencoded::parse(signature.expose().as_bytes()).into_owned().collect()
}

fn other_cloud(credential: &Credential, place: &str) -> Fault {
    let cloud = match credential {
        Credential::Aws { .. } => "S3",
        Credential::AzureSas(_) | Credential::AzureToken(_) => "Azure",
        Credential::Gcp(_) => "Google Cloud",
    };
    Fault::setup(format!("Unity Catalog lent credentials for {cloud}, and the lake is at {place}"))
        .hint("the external location over the lake must lie in the lake's own store")
}

/// `object_store` asks before every request; most are answered from what is kept.
#[derive(Debug)]
struct ForAzure(Arc<Lent>);

#[derive(Debug)]
struct ForAws(Arc<Lent>);

#[async_trait]
impl CredentialProvider for ForAzure {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        self.0.azure().await.map_err(store_error)
    }
}

#[async_trait]
impl CredentialProvider for ForAws {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.0.aws().await.map_err(store_error)
    }
}

fn store_error(fault: Fault) -> StoreError {
    StoreError::Generic { store: "lake", source: Box::new(fault) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vended(seconds: i64) -> Vended {
        let expires_at = clock::now() + seconds * 1_000_000;
        Vended { url: String::new(), credential: Credential::AzureSas(Secret::new("a=b")), expires_at }
    }

    #[test]
    fn lent_credentials_are_renewed_before_they_expire() {
        let fresh = |seconds| fresh_for(&vended(seconds)).as_secs_f64().round();
        assert_eq!((fresh(3_600), fresh(400), fresh(-5)), (3_300.0, 300.0, 0.0));
    }

    #[test]
    fn a_signature_is_taken_apart() {
        let signature = Secret::new("sv=2024-01-01&sig=a%2Bb%3D&se=2026");
        let expected = [("sv", "2024-01-01"), ("sig", "a+b="), ("se", "2026")];
        assert_eq!(pairs(&signature), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
