//! Uploads in S3, by AWS's own client.
//!
//! A bucket in another region than ours says so in its first answer and is asked there from then on. With
//! `landing_owner` every request names the account that the bucket has to belong to.

mod listeners;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::config::{Builder, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::EncodingType;
use futures::stream::{BoxStream, StreamExt};
use inlet_core::clock::Micros;
use inlet_core::fault::Fault;
use inlet_core::landing_store::{LandingStore, ListedObject, Listeners, ObjectBytes, ObjectForm, replaced};
use object_store::aws::AmazonS3ConfigKey;
use percent_encoding::percent_decode_str;

use super::resumed::resumed;
use crate::cloud::aws::{self, Refusal, is_on, stated};

/// A bucket.
#[derive(Clone)]
pub(crate) struct S3 {
    bucket: String,
    /// The account that it has to belong to.
    owner: Option<String>,
    client: Arc<RwLock<Client>>,
}

impl S3 {
    /// The bucket, as whoever we are in AWS; nothing is asked yet.
    pub(crate) async fn open(bucket: &str, owner: Option<&str>) -> Self {
        // AWS's own client does not know all their names, and the lake's store does.
        let endpoint = stated(&AmazonS3ConfigKey::S3Endpoint).or_else(|| stated(&AmazonS3ConfigKey::Endpoint));
        Self::with(aws::ambient().await, endpoint, is_on(&AmazonS3ConfigKey::SkipSignature), bucket, owner)
    }

    fn with(config: &SdkConfig, endpoint: Option<String>, unsigned: bool, bucket: &str, owner: Option<&str>) -> Self {
        let mut builder = Builder::from(config).retry_classifier(TooManyRequests);
        if let Some(endpoint) = endpoint {
            // What stands in for S3 on an address of its own has no host name per bucket.
            builder = builder.endpoint_url(endpoint).force_path_style(true);
        }
        if unsigned {
            builder = builder.allow_no_auth();
        }
        let client = Arc::new(RwLock::new(Client::from_conf(builder.build())));
        Self { bucket: bucket.to_owned(), owner: owner.map(str::to_owned), client }
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks; once more where the bucket lies, if the answer says that it lies elsewhere.
    async fn ask<T, E, F>(&self, request: impl Fn(Client) -> F) -> Result<T, Refusal>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let client = self.client();
        let ours = client.config().region().map(ToString::to_string);
        let refusal = match request(client).await {
            Ok(answer) => return Ok(answer),
            Err(error) => Refusal::from(error),
        };
        let elsewhere = matches!(refusal.status, Some(301 | 307 | 400));
        match refusal.region.clone().filter(|region| elsewhere && Some(region) != ours.as_ref()) {
            Some(region) => Ok(request(self.moved_to(region)).await?),
            None => Err(refusal),
        }
    }

    fn moved_to(&self, region: String) -> Client {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        *client = Client::from_conf(client.config().to_builder().region(Region::new(region)).build());
        client.clone()
    }

    async fn page(&self, prefix: &str, token: Option<String>) -> Result<ListObjectsV2Output, Fault> {
        let page = self.ask(|client| {
            // Encoded, because XML cannot hold every key.
            let request = client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
            let request = request.encoding_type(EncodingType::Url).set_expected_bucket_owner(self.owner.clone());
            request.set_continuation_token(token.clone()).send()
        });
        page.await.map_err(|refusal| self.fault("list", prefix, refusal))
    }

    async fn body(&self, key: &str, form: &ObjectForm, from: u64) -> Result<ObjectBytes, Fault> {
        let object = self.ask(|client| {
            let request = client.get_object().bucket(&self.bucket).key(key);
            let request = match &form.version {
                Some(version) => request.version_id(version),
                None => request.if_match(form.quoted_etag()),
            };
            let range = (from > 0).then(|| format!("bytes={from}-"));
            request.set_range(range).set_expected_bucket_owner(self.owner.clone()).send()
        });
        match object.await {
            Ok(object) => Ok(stream(key, object.body)),
            Err(refusal) if is_gone(&refusal) => Err(replaced(key)),
            Err(refusal) => Err(self.fault("read", key, refusal)),
        }
    }

    /// What a refusal means for who reads it.
    fn fault(&self, doing: &str, key: &str, refusal: Refusal) -> Fault {
        let place = format!("s3://{}/{key}", self.bucket);
        let fault = if refusal.is(&["NoSuchBucket"]) {
            Fault::setup(format!("no such bucket: `{place}`")).hint("check its name")
        } else if refusal.is_of_credentials() {
            Fault::setup(format!("no valid credentials for `{place}`")).hint(aws::SIGN_IN)
        } else if refusal.is(&["InvalidObjectState"]) {
            Fault::setup(format!("cannot {doing} `{place}`: it lies in an archive")).hint("restore it first")
        } else if matches!(refusal.status, Some(401 | 403)) && !refusal.is(&["RequestTimeTooSkewed"]) {
            let owner = self.owner.as_deref();
            let owner = owner.map(|owner| format!("; or the bucket is not that of landing_owner {owner}"));
            Fault::setup(format!("not allowed to {doing} `{place}`")).hint(format!(
                "grant s3:ListBucket on the bucket and s3:GetObject on its objects{}",
                owner.unwrap_or_default()
            ))
        } else {
            Fault::again(format!("cannot {doing} `{place}`")).hint("is the store reachable, and is this its region?")
        };
        fault.because(refusal)
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({})", self.bucket)
    }
}

#[async_trait]
impl LandingStore for S3 {
    async fn head(&self, key: &str, version: Option<&str>) -> Result<Option<ObjectForm>, Fault> {
        let object = self.ask(|client| {
            let request = client.head_object().bucket(&self.bucket).key(key);
            request.set_version_id(version.map(str::to_owned)).set_expected_bucket_owner(self.owner.clone()).send()
        });
        let object = match object.await {
            Ok(object) => object,
            // The answer to HEAD has no body: a bucket that is not there is told by the next listing.
            Err(refusal) if refusal.status == Some(404) => return Ok(None),
            Err(refusal) => return Err(self.fault("read", key, refusal)),
        };
        let size = object.content_length.and_then(|size| u64::try_from(size).ok());
        let form = form(object.e_tag, size, object.last_modified, object.version_id);
        form.map(Some).ok_or_else(|| self.unnamed(key))
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Vec<ListedObject>, Fault>> {
        let prefix = prefix.to_owned();
        let pages = futures::stream::try_unfold(Some(None), move |next: Option<Option<String>>| {
            let prefix = prefix.clone();
            async move {
                let Some(token) = next else { return Ok(None) };
                let page = self.page(&prefix, token.clone()).await?;
                let objects = self.listed(&page)?;
                let next = page.next_continuation_token;
                if next.is_some() && next == token {
                    return Err(Fault::again(format!("the listing of `s3://{}/{prefix}` does not end", self.bucket)));
                }
                Ok(Some((objects, next.map(Some))))
            }
        });
        pages.boxed()
    }

    async fn get(&self, key: &str, form: &ObjectForm) -> Result<ObjectBytes, Fault> {
        let first = self.body(key, form, 0).await?;
        let (store, key, form) = (self.clone(), key.to_owned(), form.clone());
        let size = form.size;
        Ok(resumed(first, size, move |from| {
            let (store, key, form) = (store.clone(), key.clone(), form.clone());
            async move { store.body(&key, &form, from).await }
        }))
    }

    async fn listeners(&self, prefix: &str) -> Result<Listeners, Fault> {
        let told = self.ask(|client| {
            let request = client.get_bucket_notification_configuration().bucket(&self.bucket);
            request.set_expected_bucket_owner(self.owner.clone()).send()
        });
        match told.await {
            Ok(told) => Ok(Listeners::Known(listeners::of(&told, prefix))),
            Err(refusal) if refusal.status == Some(403) && !refusal.is_of_credentials() => {
                Ok(Listeners::Unseen("who is told of new objects may be seen with s3:GetBucketNotification".to_owned()))
            }
            // What stands in for S3 need not know of notifications, nor of how S3 says that there are none.
            Err(refusal) if matches!(refusal.status, Some(200 | 405 | 501)) => {
                Ok(Listeners::Unseen("the store knows of no notifications".to_owned()))
            }
            Err(refusal) => Err(self.fault("ask for the notifications of", "", refusal)),
        }
    }
}

impl S3 {
    fn listed(&self, page: &ListObjectsV2Output) -> Result<Vec<ListedObject>, Fault> {
        let objects = page.contents().iter().map(|object| {
            let written = object.key().unwrap_or_default();
            let key = decoded(written).ok_or_else(|| {
                Fault::setup(format!("`s3://{}/{written}` has a key that is no UTF-8", self.bucket))
                    .hint("rename the object")
            })?;
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let form = form(object.e_tag().map(str::to_owned), size, object.last_modified().copied(), None);
            let form = form.ok_or_else(|| self.unnamed(&key))?;
            Ok(ListedObject { key, form })
        });
        objects.collect()
    }

    fn unnamed(&self, key: &str) -> Fault {
        super::unnamed(&format!("s3://{}/{key}", self.bucket))
    }
}

/// S3 itself says "slow down" by 503, which its client asks again after; what stands in for it may say so by 429.
#[derive(Debug)]
struct TooManyRequests;

impl ClassifyRetry for TooManyRequests {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response().map(|answer| answer.status().as_u16()) {
            Some(429) => RetryAction::throttling_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "too many requests"
    }
}

fn is_gone(refusal: &Refusal) -> bool {
    matches!(refusal.status, Some(412)) || refusal.is(&["NoSuchKey", "NoSuchVersion"])
}

/// None: without an ETag, a size and a time one form of an object could not be told from the next.
fn form(
    etag: Option<String>,
    size: Option<u64>,
    modified: Option<DateTime>,
    version: Option<String>,
) -> Option<ObjectForm> {
    // Buckets that were never versioned call every version `null`.
    let version = version.filter(|version| version != "null");
    Some(ObjectForm { etag: etag?, size: size?, modified: micros(modified?), version })
}

fn micros(time: DateTime) -> Micros {
    time.secs().saturating_mul(1_000_000).saturating_add(i64::from(time.subsec_nanos() / 1_000))
}

/// A key as listings encode it: like a field of a form.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
}

fn stream(key: &str, body: ByteStream) -> ObjectBytes {
    let pieces = futures::stream::try_unfold((body, key.to_owned()), |(mut body, key)| async move {
        let broken = |error| Fault::again(format!("cannot read `{key}` to its end")).because(error);
        let piece = body.try_next().await.map_err(broken)?;
        Ok(piece.map(|bytes| (bytes, (body, key))))
    });
    pieces.boxed()
}

#[cfg(test)]
mod tests;
