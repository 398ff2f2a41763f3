//! Secrets in the clouds' own stores: read when the settings are, and again when a sign-in refuses one.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "aws")]
mod ssm;

use std::sync::Arc;

use async_trait::async_trait;
use inlet_core::fault::Fault;
use inlet_core::secret::Secret;
use inlet_core::secret_store::{SecretPlace, SecretStore, StoredSecrets, read_all};
use inlet_core::settings::{Form, Settings};

/// The settings of a file, if there is one (its name and text), and of variables, with the secrets that they name.
///
/// # Errors
/// As [`Settings::load`]; Again when a store of secrets does not answer.
pub(crate) async fn load(file: Option<(&str, &str)>) -> Result<Settings, Fault> {
    let stored = stored(Settings::secret_places(file)).await?;
    Settings::with_secrets(file, &stored)
}

/// The settings of a file's text (with its name) as somebody has filled it in, with the secrets that they name.
///
/// # Errors
/// As [`load`].
pub(crate) async fn filled(file: (&str, &str), form: &Form) -> Result<Settings, Fault> {
    let stored = stored(Settings::secret_places_filled(file, form)).await?;
    Settings::filled(file, form, &stored)
}

async fn stored(places: Vec<SecretPlace>) -> Result<StoredSecrets, Fault> {
    match places.is_empty() {
        true => Ok(StoredSecrets::new()),
        false => read_all(&(Arc::new(Clouds) as Arc<dyn SecretStore>), places).await,
    }
}

/// All stores that this build knows.
#[derive(Debug)]
struct Clouds;

#[async_trait]
impl SecretStore for Clouds {
    async fn read(&self, place: &SecretPlace) -> Result<Secret, Fault> {
        match place {
            #[cfg(feature = "aws")]
            SecretPlace::AwsSecret { id, member } => aws::read(id, member.as_deref()).await,
            #[cfg(feature = "aws")]
            SecretPlace::AwsParameter { name } => ssm::read(name).await,
            #[cfg(not(feature = "aws"))]
            SecretPlace::AwsSecret { .. } | SecretPlace::AwsParameter { .. } => {
                Err(crate::cloud::not_built("secrets in AWS", "aws"))
            }
            #[cfg(feature = "azure")]
            SecretPlace::KeyVault { host, name, version } => azure::read(host, name, version.as_deref()).await,
            #[cfg(not(feature = "azure"))]
            SecretPlace::KeyVault { .. } => Err(crate::cloud::not_built("secrets in Azure", "azure")),
        }
    }
}

/// The fault of a secret with nothing in it.
#[cfg(any(feature = "aws", feature = "azure"))]
fn empty() -> Fault {
    Fault::setup("the secret is empty").hint("write the service principal's secret into it")
}
