//! Uploads in Azure Blob Storage and ADLS Gen2, by Azure's own client.

mod account_key;

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{ClientOptions, Etag};
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobClientGetPropertiesOptions, BlobClientGetPropertiesResultHeaders,
    BlobContainerClientListBlobsOptions, ListBlobsResponse,
};
use azure_storage_blob::{BlobClient, BlobContainerClient, BlobContainerClientOptions};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use inlet_core::clock::Micros;
use inlet_core::fault::Fault;
use inlet_core::landing_store::{LandingStore, ListedObject, Listeners, ObjectBytes, ObjectForm, replaced};
use inlet_core::settings::Settings;
use object_store::azure::AzureConfigKey;
use url::Url;

use super::resumed::resumed;
use crate::cloud::azure::{self, Refusal, is_on, stated};
use account_key::AccountKey;

/// The account that Azurite is born with, and its published key.
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR: &str = "http://127.0.0.1:10000";

/// A container.
#[derive(Clone)]
pub(crate) struct Azure {
    account: String,
    container: String,
    client: Arc<BlobContainerClient>,
}

impl Azure {
    /// The container, as whoever we are in Azure; nothing is asked yet.
    ///
    /// # Errors
    /// Setup when the variables name no place, or nobody to be.
    pub(crate) fn open(account: &str, container: &str) -> Result<Self, Fault> {
        let is_emulator = is_on(&AzureConfigKey::UseEmulator);
        let endpoint = match stated(&AzureConfigKey::Endpoint) {
            Some(endpoint) if !is_emulator => endpoint,
            _ if is_emulator => {
                format!("{}/{account}", Settings::emulator_of_environment().unwrap_or_else(|| EMULATOR.to_owned()))
            }
            _ => format!("https://{account}.blob.core.windows.net"),
        };
        let unusable = || {
            Fault::setup(format!("`{endpoint}/{container}` is no address of a container"))
                .hint("check AZURE_STORAGE_ENDPOINT")
        };
        let mut url = Url::parse(&endpoint).map_err(|error| unusable().because(error))?;
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().push(container);

        let key = stated(&AzureConfigKey::AccessKey).or_else(|| is_emulator.then(|| EMULATOR_KEY.to_owned()));
        let signature = stated(&AzureConfigKey::SasKey);
        let (has_token, has_key) = (stated(&AzureConfigKey::Token).is_some(), key.is_some());
        let has_principal = stated(&AzureConfigKey::ClientId).is_some()
            && stated(&AzureConfigKey::AuthorityId).is_some()
            && (stated(&AzureConfigKey::ClientSecret).is_some()
                || stated(&AzureConfigKey::FederatedTokenFile).is_some());
        let mut options = azure::options();
        let mut credential = None;
        if is_on(&AzureConfigKey::SkipSignature) {
            // A container that everybody may read.
        } else if let Some(key) = key.filter(|_| !has_token) {
            options.per_try_policies.push(Arc::new(AccountKey::new(account, &key)?));
        } else if let Some(signature) = signature.filter(|_| !has_token && !has_key && !has_principal) {
            url.set_query(Some(signature.trim_start_matches('?')));
        } else {
            credential = Some(azure::ambient()?);
        }
        Self::with(account, container, url, credential, options)
    }

    fn with(
        account: &str,
        container: &str,
        url: Url,
        credential: Option<Arc<dyn azure_core::credentials::TokenCredential>>,
        options: ClientOptions,
    ) -> Result<Self, Fault> {
        let options = BlobContainerClientOptions { client_options: options, ..BlobContainerClientOptions::default() };
        let client = BlobContainerClient::new(url, credential, Some(options)).map_err(|error| {
            Fault::setup(format!("`{account}/{container}` cannot be asked"))
                .hint("tokens are sent over https only; check AZURE_STORAGE_ENDPOINT")
                .because(error)
        })?;
        Ok(Self { account: account.to_owned(), container: container.to_owned(), client: Arc::new(client) })
    }

    fn blob(&self, key: &str) -> Result<BlobClient, Fault> {
        // A URL cannot hold them: the client would ask for the container instead.
        if key.is_empty() || key == "." || key == ".." {
            return Err(Fault::setup(format!("`{}` has a name that no URL can hold", self.place(key))));
        }
        Ok(self.client.blob_client(key))
    }

    async fn body(&self, key: &str, form: &ObjectForm, from: u64) -> Result<ObjectBytes, Fault> {
        let size = |bytes: u64| usize::try_from(bytes).ok().and_then(NonZero::new);
        let options = BlobClientDownloadOptions {
            if_match: form.version.is_none().then(|| Etag::from(form.quoted_etag())),
            version_id: form.version.clone(),
            range: Some((from..form.size).into()),
            // One answer, as it comes: parts would be held in memory until the ones before are there.
            parallel: Some(NonZero::<usize>::MIN),
            partition_size: size(form.size - from),
            ..BlobClientDownloadOptions::default()
        };
        match azure::within(self.blob(key)?.download(Some(options))).await {
            Ok(answer) => {
                let key = key.to_owned();
                // In our own words: the client's repeat the URL, and so a signature.
                let broken =
                    move |error| Fault::again(format!("cannot read `{key}` to its end")).because(Refusal::from(error));
                Ok(answer.body.map_err(broken).boxed())
            }
            Err(refusal) if is_gone(&refusal) => Err(replaced(key)),
            Err(refusal) => Err(self.fault("read", key, refusal)),
        }
    }

    fn place(&self, key: &str) -> String {
        format!("abfss://{}@{}.dfs.core.windows.net/{key}", self.container, self.account)
    }

    /// What a refusal means for who reads it.
    fn fault(&self, doing: &str, key: &str, refusal: Refusal) -> Fault {
        let place = self.place(key);
        let fault = if refusal.is(&["ContainerNotFound", "FilesystemNotFound", "ResourceNotFound"]) {
            Fault::setup(format!("no such container: `{place}`")).hint("check its name and that of the account")
        } else if refusal.without_credentials
            || matches!(refusal.status, Some(400 | 401 | 403))
                && refusal.is(&["AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"])
        {
            Fault::setup(format!("no valid credentials for `{place}`")).hint(azure::SIGN_IN)
        } else if refusal.is(&["BlobArchived"]) {
            Fault::setup(format!("cannot {doing} `{place}`: it lies in an archive")).hint("rehydrate it first")
        } else if refusal.is(&["AuthorizationFailure"]) {
            Fault::setup(format!("not allowed to {doing} `{place}`"))
                .hint("the account's firewall or a wrong signature; grant Storage Blob Data Reader on the container")
        } else if matches!(refusal.status, Some(401 | 403)) {
            Fault::setup(format!("not allowed to {doing} `{place}`"))
                .hint("grant Storage Blob Data Reader on the container")
        } else {
            Fault::again(format!("cannot {doing} `{place}`")).hint("is the store reachable?")
        };
        fault.because(refusal)
    }

    fn listed(&self, page: ListBlobsResponse) -> Result<Vec<ListedObject>, Fault> {
        let objects = page.blob_items.into_iter().map(|blob| {
            let key = blob.name.unwrap_or_default();
            let properties = blob.properties.unwrap_or_default();
            let etag = properties.etag.map(|etag| etag.to_string());
            let form = form(etag, properties.content_length, properties.last_modified, None);
            let form = form.ok_or_else(|| super::unnamed(&self.place(&key)))?;
            Ok(ListedObject { key, form })
        });
        objects.collect()
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Azure({}/{})", self.account, self.container)
    }
}

#[async_trait]
impl LandingStore for Azure {
    async fn head(&self, key: &str, version: Option<&str>) -> Result<Option<ObjectForm>, Fault> {
        let options = BlobClientGetPropertiesOptions {
            version_id: version.map(str::to_owned),
            ..BlobClientGetPropertiesOptions::default()
        };
        let answer = match azure::within(self.blob(key)?.get_properties(Some(options))).await {
            Ok(answer) => answer,
            // A container that is not there is told by the next listing.
            Err(refusal) if refusal.status == Some(404) => return Ok(None),
            Err(refusal) => return Err(self.fault("read", key, refusal)),
        };
        let read =
            || -> azure_core::Result<_> { Ok((answer.etag()?, answer.content_length()?, answer.last_modified()?)) };
        let unreadable = |error| Fault::again(format!("cannot read `{}`", self.place(key))).because(error);
        let (etag, size, modified) = read().map_err(unreadable)?;
        let form = form(etag.map(|etag| etag.to_string()), size, modified, version.map(str::to_owned));
        form.map(Some).ok_or_else(|| super::unnamed(&self.place(key)))
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Vec<ListedObject>, Fault>> {
        let refused = {
            let prefix = prefix.to_owned();
            move |refusal| self.fault("list", &prefix, refusal)
        };
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let pages = match self.client.list_blobs(Some(options)) {
            Ok(pager) => pager.into_pages(),
            Err(error) => return futures::stream::iter([Err(refused(error.into()))]).boxed(),
        };
        let listing = futures::stream::try_unfold((pages, refused), move |(mut pages, refused)| async move {
            let next = async { pages.next().await.transpose() };
            let Some(page) = azure::within(next).await.map_err(&refused)? else { return Ok(None) };
            let page = page.into_model().map_err(|error| refused(error.into()))?;
            Ok(Some((self.listed(page)?, (pages, refused))))
        });
        listing.boxed()
    }

    async fn get(&self, key: &str, form: &ObjectForm) -> Result<ObjectBytes, Fault> {
        if form.size == 0 {
            return Ok(futures::stream::empty().boxed());
        }
        let first = self.body(key, form, 0).await?;
        let (store, key, form) = (self.clone(), key.to_owned(), form.clone());
        let size = form.size;
        Ok(resumed(first, size, move |from| {
            let (store, key, form) = (store.clone(), key.clone(), form.clone());
            async move { store.body(&key, &form, from).await }
        }))
    }

    async fn listeners(&self, _prefix: &str) -> Result<Listeners, Fault> {
        Ok(Listeners::Unseen(
            "subscriptions of Event Grid are not the storage account's, and a role of the account shows none: \
             az eventgrid system-topic event-subscription list"
                .to_owned(),
        ))
    }
}

fn is_gone(refusal: &Refusal) -> bool {
    matches!(refusal.status, Some(412)) || refusal.is(&["BlobNotFound", "ConditionNotMet"])
}

/// None: without an ETag, a size and a time one form of an object could not be told from the next.
fn form(
    etag: Option<String>,
    size: Option<u64>,
    modified: Option<OffsetDateTime>,
    version: Option<String>,
) -> Option<ObjectForm> {
    Some(ObjectForm { etag: etag?, size: size?, modified: micros(modified?), version })
}

fn micros(time: OffsetDateTime) -> Micros {
    time.unix_timestamp().saturating_mul(1_000_000).saturating_add(i64::from(time.microsecond()))
}

#[cfg(test)]
mod tests;
