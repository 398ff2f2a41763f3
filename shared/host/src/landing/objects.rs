//! Objects in S3 or Azure Blob Storage: one by its key, or all under a prefix.

use std::sync::Arc;

use futures::TryStreamExt;
use inlet_core::fault::Fault;
use inlet_core::landing_store::{LandingStore, ListedObject};

use super::skip;
use crate::address::StoreAddress;

/// What stands in a store.
pub(crate) struct Listing {
    /// The objects that may hold events.
    pub(crate) objects: Vec<ListedObject>,
    /// How many don't.
    pub(crate) skipped: u64,
}

/// Opens the bucket or container of an address, as whoever the place that we run in says we are. `owner`: the AWS account
/// that a bucket has to belong to.
///
/// # Errors
/// Setup when this build does not know the cloud, or its variables name nobody to be.
pub(crate) async fn open(address: &StoreAddress, owner: Option<&str>) -> Result<Arc<dyn LandingStore>, Fault> {
    match &address.account {
        None => s3(&address.container, owner).await,
        Some(account) => azure(account, &address.container),
    }
}

#[cfg(feature = "aws")]
async fn s3(bucket: &str, owner: Option<&str>) -> Result<Arc<dyn LandingStore>, Fault> {
    Ok(Arc::new(super::s3::S3::open(bucket, owner).await))
}

#[cfg(not(feature = "aws"))]
async fn s3(_: &str, _: Option<&str>) -> Result<Arc<dyn LandingStore>, Fault> {
    Err(crate::cloud::not_built("uploads in S3", "aws"))
}

#[cfg(feature = "azure")]
fn azure(account: &str, container: &str) -> Result<Arc<dyn LandingStore>, Fault> {
    Ok(Arc::new(super::azure::Azure::open(account, container)?))
}

#[cfg(not(feature = "azure"))]
fn azure(_: &str, _: &str) -> Result<Arc<dyn LandingStore>, Fault> {
    Err(crate::cloud::not_built("uploads in Azure", "azure"))
}

/// Finds the object of that key, else all objects under the prefix.
pub(crate) async fn list(address: &StoreAddress, store: &dyn LandingStore) -> Result<Listing, Fault> {
    let key = &address.key;
    if !address.prefix
        && let Some(form) = store.head(key, None).await?
    {
        let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
        return Ok(sorted(vec![ListedObject { key: key.clone(), form }], folder));
    }
    // A prefix is whole parts between slashes: `a/b` has `a/b/c` below it and not `a/bc`.
    let prefix = if address.prefix { key.clone() } else { format!("{key}/") };
    let objects = store.list(&prefix).try_concat().await?;
    if objects.is_empty() {
        let fault = Fault::setup(format!("nothing at `{}`: no such object, and no object under it", address.url));
        return Err(fault.hint("a prefix is whole parts between slashes; check bucket, key and region"));
    }
    Ok(sorted(objects, &prefix))
}

fn sorted(objects: Vec<ListedObject>, prefix: &str) -> Listing {
    let all = objects.len();
    let below = |object: &ListedObject| object.key.strip_prefix(prefix).unwrap_or(&object.key).to_owned();
    let is_upload = |object: &ListedObject| object.form.size > 0 && !skip::by_key(&below(object));
    let mut objects: Vec<ListedObject> = objects.into_iter().filter(is_upload).collect();
    objects.sort_by(|left, right| left.key.as_bytes().cmp(right.key.as_bytes()));
    let skipped = (all - objects.len()) as u64;
    Listing { objects, skipped }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::address::Address;
    use crate::landing::testing::Held;

    fn listed(keys: &[&str], url: &str) -> Result<(Vec<String>, u64), Fault> {
        let Ok(Address::Store(address)) = Address::parse(OsStr::new(url)) else { panic!("{url}") };
        let store = Held::of(keys.iter().map(|key| (*key, if key.ends_with("empty") { "" } else { "{}" })));
        let listing = futures::executor::block_on(list(&address, &store))?;
        Ok((listing.objects.into_iter().map(|object| object.key).collect(), listing.skipped))
    }

    fn keys(keys: &[&str], url: &str) -> Vec<String> {
        listed(keys, url).unwrap().0
    }

    #[test]
    fn empty_and_hidden_objects_are_skipped_and_the_rest_sorted() {
        let found = listed(&["p/b", "p/a", "p/empty", "p/.x/c"], "s3://bucket/p").unwrap();
        assert_eq!(found, (vec!["p/a".to_owned(), "p/b".to_owned()], 2));
    }

    #[test]
    fn an_object_is_found_by_its_key_before_those_below_it() {
        assert_eq!(keys(&["a", "a/b", "ab"], "s3://bucket/a"), ["a"]);
        assert_eq!(keys(&["a", "a/b", "ab"], "s3://bucket/a/"), ["a/b"]);
        assert_eq!(keys(&["a/b", "ab"], "s3://bucket/a"), ["a/b"]);
        assert!(listed(&["ab"], "s3://bucket/a").unwrap_err().to_string().starts_with("nothing at `s3://bucket/a`"));
    }

    #[test]
    fn slashes_are_part_of_a_key_like_any_other_letter() {
        let all = ["/a", "a//b", "a/b", "a///b"];
        assert_eq!(keys(&all, "s3://bucket"), ["/a", "a///b", "a//b", "a/b"]);
        assert_eq!(keys(&all, "s3://bucket//a"), ["/a"]);
        assert_eq!(keys(&all, "s3://bucket/a//b"), ["a//b"]);
        assert_eq!(keys(&all, "s3://bucket/a//"), ["a///b", "a//b"]);
        assert_eq!(keys(&all, "s3://bucket//"), ["/a"]);
    }
}
