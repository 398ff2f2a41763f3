//! AWS: who we are there, and what its answers mean.
//!
//! Credentials come from wherever AWS's own tools find them: variables, profiles, single sign-on, web identity, the roles
//! of containers and machines.

mod lent;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use tokio::sync::OnceCell;

pub(crate) use lent::for_lake;

/// Tries of one request.
const ATTEMPTS: u32 = 6;
/// The longest wait between two.
const BACK_OFF: Duration = Duration::from_secs(2);
/// Opening a connection.
const CONNECT: Duration = Duration::from_secs(4);
/// One try, to the head of its answer.
const ATTEMPT: Duration = Duration::from_secs(15);
/// All tries of one request.
const OPERATION: Duration = Duration::from_secs(60);
/// Where a bucket is asked for that names its own region.
const REGION: Region = Region::from_static("us-east-1");

/// What to do without credentials.
pub(crate) const SIGN_IN: &str = "sign in (aws sso login), name a profile (AWS_PROFILE), give the function or machine a role, \
     or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN)";

/// Who we are, as the place that we run in says it: found once, when it is first needed.
pub(crate) async fn ambient() -> &'static SdkConfig {
    static AMBIENT: OnceCell<SdkConfig> = OnceCell::const_new();
    AMBIENT.get_or_init(|| bounded(aws_config::defaults(version())).load()).await
}

/// A variable, by any of the names that the lake's store knows it by.
pub(crate) fn stated(key: &AmazonS3ConfigKey) -> Option<String> {
    AmazonS3Builder::from_env().get_config_value(key).filter(|value| !value.is_empty())
}

/// Whether a variable says yes.
pub(crate) fn is_on(key: &AmazonS3ConfigKey) -> bool {
    stated(key).is_some_and(|value| super::is_yes(&value))
}

/// The behaviour that the clients are asked for.
pub(crate) fn version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Deadlines, tries and the region. A region that neither variables nor a profile name is not asked of the machine: a
/// bucket tells it.
fn bounded(loader: ConfigLoader) -> ConfigLoader {
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(REGION);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(ATTEMPT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION);
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_max_backoff(BACK_OFF);
    loader.region(region).timeout_config(timeouts.build()).retry_config(retries)
}

/// Why a request to AWS came to nothing.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// AWS's word for it, as `AccessDenied`; answers without a body have none.
    pub(crate) code: Option<String>,
    /// The status of the answer, if there was one.
    pub(crate) status: Option<u16>,
    /// Where the bucket lies, if the answer says it.
    pub(crate) region: Option<String>,
    /// Whether there are no credentials to ask with.
    pub(crate) without_credentials: bool,
    /// The words, and the request's id: what AWS's support asks for first.
    said: String,
}

impl<E: ProvideErrorMetadata + Error + 'static> From<SdkError<E, HttpResponse>> for Refusal {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let answer = error.raw_response();
        let header = |name: &str| answer.and_then(|answer| answer.headers().get(name)).map(str::to_owned);
        let status = answer.map(|answer| answer.status().as_u16());
        let id = header("x-amz-request-id").or_else(|| header("x-amzn-requestid"));
        let said = match status {
            None => chain(&error),
            Some(status) => {
                let words: Vec<&str> = [error.code(), error.message()].into_iter().flatten().collect();
                let id = id.map(|id| format!(", request {id}")).unwrap_or_default();
                format!("{}{}HTTP {status}{id}", words.join(": "), if words.is_empty() { "" } else { ", " })
            }
        };
        Self {
            code: error.code().map(str::to_owned),
            status,
            region: header("x-amz-bucket-region"),
            without_credentials: lacks_credentials(&error),
            said,
        }
    }
}

impl Refusal {
    /// Whether the code is one of these.
    pub(crate) fn is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// Whether the credentials themselves are wrong, whatever they were used for.
    pub(crate) fn is_of_credentials(&self) -> bool {
        self.without_credentials
            || self.is(&[
                "ExpiredToken",
                "ExpiredTokenException",
                "InvalidAccessKeyId",
                "InvalidClientTokenId",
                "InvalidToken",
                "SignatureDoesNotMatch",
                "UnrecognizedClientException",
            ])
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl Error for Refusal {}

fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|error| {
        let found = error.downcast_ref::<CredentialsError>();
        found.is_some_and(|error| !matches!(error, CredentialsError::ProviderTimedOut(_)))
    })
}

/// An error and all that caused it.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !said.ends_with(&words) {
            said.push_str(": ");
            said.push_str(&words);
        }
        cause = error.source();
    }
    said
}
