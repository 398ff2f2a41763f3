//! Objects in S3 or Azure Blob Storage: one by its key, or all under a prefix.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use inlet_core::fault::Fault;
use inlet_core::upload::UploadId;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};

use super::skip;
use crate::address::StoreAddress;

/// What stands in a store.
pub(crate) struct Listing {
    /// The store that it was found in.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The objects that may hold events.
    pub(crate) objects: Vec<ObjectMeta>,
    /// Those that don't.
    pub(crate) skipped: u64,
}

/// Finds the object of that key, else all objects under the prefix.
pub(crate) async fn list(address: &StoreAddress, patience: Duration) -> Result<Listing, Fault> {
    let refused = |error: Error| explained(address, error);
    let store = opened(address, patience).map_err(refused)?;
    let path = Path::parse(&address.key).map_err(|error| refused(error.into()))?;
    if !address.prefix {
        match store.head(&path).await {
            Ok(object) => {
                let folder = address.key.rsplit_once('/').map_or("", |(folder, _)| folder);
                return Ok(sorted(store, vec![object], folder));
            }
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    let prefix = Some(path).filter(|path| !path.is_root());
    let objects: Vec<ObjectMeta> = store.list(prefix.as_ref()).try_collect().await.map_err(refused)?;
    if objects.is_empty() {
        let fault = Fault::setup(format!("nothing at `{}`: no such object, and no object under it", address.url));
        return Err(fault.hint("a prefix is whole parts between slashes; check bucket, key and region"));
    }
    Ok(sorted(store, objects, &address.key))
}

/// The id of an object; without an ETag a rewritten object could not be told from its earlier form.
pub(crate) fn id(address: &StoreAddress, object: &ObjectMeta) -> Result<UploadId, Fault> {
    let key = object.location.as_ref();
    match object.e_tag.as_deref() {
        Some(etag) => Ok(UploadId::of_object(address.store, &address.bucket(), key, etag)),
        None => Err(Fault::setup(format!("the store gives no ETag for `{key}`"))
            .hint("Inlet needs a store that names each form of an object; copy the uploads to a folder or a bucket")),
    }
}

fn sorted(store: Arc<dyn ObjectStore>, objects: Vec<ObjectMeta>, prefix: &str) -> Listing {
    let all = objects.len();
    let below = |object: &ObjectMeta| {
        let key = object.location.as_ref();
        key.strip_prefix(prefix).unwrap_or(key).trim_start_matches('/').to_owned()
    };
    let mut objects: Vec<ObjectMeta> =
        objects.into_iter().filter(|object| object.size > 0 && !skip::by_key(&below(object))).collect();
    objects.sort_by(|left, right| left.location.as_ref().as_bytes().cmp(right.location.as_ref().as_bytes()));
    let skipped = (all - objects.len()) as u64;
    Listing { store, objects, skipped }
}

/// Credentials, endpoint and region come from the variables that the store's own tools use; its builder reads them.
pub(crate) fn opened(address: &StoreAddress, patience: Duration) -> Result<Arc<dyn ObjectStore>, Error> {
    let retry = RetryConfig { retry_timeout: patience.min(Duration::from_secs(60)), ..RetryConfig::default() };
    Ok(match &address.account {
        None => Arc::new(AmazonS3Builder::from_env().with_bucket_name(&address.container).with_retry(retry).build()?),
        Some(account) => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_account(account)
                .with_container_name(&address.container)
                .with_retry(retry)
                .build()?,
        ),
    })
}

/// A store's error by what the reader can do.
pub(crate) fn explained(address: &StoreAddress, error: Error) -> Fault {
    let place = &address.url;
    let variables = match address.store {
        "s3" => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION",
        _ => "AZURE_STORAGE_ACCOUNT_KEY, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID",
    };
    let fault = match &error {
        Error::NotFound { .. } => Fault::setup(format!("no such bucket or container: `{place}`")),
        Error::PermissionDenied { .. } => Fault::setup(format!("not allowed to list and read `{place}`"))
            .hint("S3: s3:ListBucket and s3:GetObject; Azure: Storage Blob Data Reader"),
        Error::Unauthenticated { .. } => {
            Fault::setup(format!("no valid credentials for `{place}`")).hint(format!("set {variables}"))
        }
        Error::InvalidPath { .. } => Fault::setup(format!("`{place}` is no key that can be read")),
        _ => {
            Fault::again(format!("cannot list `{place}`")).hint(format!("is the store reachable? it reads {variables}"))
        }
    };
    fault.because(error)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn object(key: &str, size: u64) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(key),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size,
            e_tag: Some("\"1\"".to_owned()),
            version: None,
        }
    }

    #[test]
    fn empty_and_hidden_objects_are_skipped_and_the_rest_sorted() {
        let objects = vec![object("p/b", 1), object("p/a", 1), object("p/empty", 0), object("p/.x/c", 1)];
        let listing = sorted(Arc::new(InMemory::new()), objects, "p");
        let keys: Vec<&str> = listing.objects.iter().map(|object| object.location.as_ref()).collect();
        assert_eq!((keys, listing.skipped), (vec!["p/a", "p/b"], 2));
    }
}
