//! AWS credentials for the lake, whose store reads variables and asks machines, and knows neither profiles nor single
//! sign-on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use inlet_core::clock::{self, Deadline, Micros};
use inlet_core::delta::Credentials;
use inlet_core::fault::Fault;
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3ConfigKey, AwsCredential};
use tokio::sync::Mutex;

use super::{SIGN_IN, ambient, chain, is_on, stated};

/// How long a fetch may take: a person may have to be asked by a credential process.
const FETCH_WITHIN: Duration = Duration::from_secs(60);
/// Credentials are fetched anew when they live no longer than this.
const RENEW_BEFORE: Micros = 300 * 1_000_000;

/// Who we are in AWS, for the lake; none where variables say it, which its store reads itself.
///
/// # Errors
/// Setup when nothing says who we are.
pub(crate) async fn for_lake() -> Result<Option<Credentials>, Fault> {
    if stated(&AmazonS3ConfigKey::AccessKeyId).is_some() || is_on(&AmazonS3ConfigKey::SkipSignature) {
        return Ok(None);
    }
    of(ambient().await).await.map(Some)
}

async fn of(config: &SdkConfig) -> Result<Credentials, Fault> {
    let nobody = || Fault::setup("no credentials for the lake in S3").hint(SIGN_IN);
    let lent = Arc::new(Lent { provider: config.credentials_provider().ok_or_else(nobody)?, kept: Mutex::default() });
    // At once, so that it is said before anything is done.
    lent.current().await.map_err(|error| nobody().because(error))?;
    Ok(Credentials::Aws { provider: lent, region: config.region().map(ToString::to_string) })
}

/// Credentials that are kept until shortly before they expire.
struct Lent {
    provider: SharedCredentialsProvider,
    kept: Mutex<Option<(Arc<AwsCredential>, Micros)>>,
}

impl Lent {
    async fn current(&self) -> Result<Arc<AwsCredential>, String> {
        // Whoever comes meanwhile waits here: one fetch serves all.
        let mut kept = self.kept.lock().await;
        if let Some((credential, renew_at)) = &*kept
            && clock::now() < *renew_at
        {
            return Ok(Arc::clone(credential));
        }
        let fetched = clock::within(Deadline::after(FETCH_WITHIN), self.provider.provide_credentials()).await;
        let late = || format!("no answer within {} s", FETCH_WITHIN.as_secs());
        let fetched = fetched.ok_or_else(late)?.map_err(|error| chain(&error))?;
        let credential = Arc::new(AwsCredential {
            key_id: fetched.access_key_id().to_owned(),
            secret_key: fetched.secret_access_key().to_owned(),
            token: fetched.session_token().map(str::to_owned),
        });
        let renew_at = fetched.expiry().map_or(Micros::MAX, |at| clock::micros(at).saturating_sub(RENEW_BEFORE));
        *kept = Some((Arc::clone(&credential), renew_at));
        Ok(credential)
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent(AWS)")
    }
}

#[async_trait]
impl CredentialProvider for Lent {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.current().await.map_err(|error| {
            let fault = Fault::setup("no credentials for the lake in S3").hint(SIGN_IN).because(error);
            object_store::Error::Generic { store: "lake", source: Box::new(fault) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::SystemTime;

    use aws_credential_types::Credentials as Given;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future::ProvideCredentials as Answer;

    use super::*;

    /// Gives credentials of this life, and counts.
    #[derive(Debug)]
    struct Counted(Arc<AtomicU32>, Option<Duration>);

    impl ProvideCredentials for Counted {
        fn provide_credentials<'a>(&'a self) -> Answer<'a>
        where
            Self: 'a,
        {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            let expiry = self.1.map(|life| SystemTime::UNIX_EPOCH + Duration::from_micros(clock::after(life) as u64));
            Answer::ready(Ok(Given::new(format!("key-{number}"), "secret", Some("token".into()), expiry, "test")))
        }
    }

    #[derive(Debug)]
    struct Nobody;

    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> Answer<'a>
        where
            Self: 'a,
        {
            Answer::ready(Err(CredentialsError::not_loaded("the sign-on of `shop` is over")))
        }
    }

    fn config(provider: impl ProvideCredentials + 'static) -> SdkConfig {
        SdkConfig::builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
    }

    fn fetches(life: Option<Duration>) -> u32 {
        let times = Arc::new(AtomicU32::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let Credentials::Aws { provider, .. } = of(&config(Counted(Arc::clone(&times), life))).await.unwrap()
            else {
                panic!("they are for S3");
            };
            for _ in 0..3 {
                let credential = provider.get_credential().await.unwrap();
                assert_eq!((credential.secret_key.as_str(), credential.token.as_deref()), ("secret", Some("token")));
            }
        });
        times.load(Ordering::Relaxed)
    }

    #[test]
    fn credentials_are_kept_until_shortly_before_they_expire() {
        assert_eq!([fetches(None), fetches(Some(Duration::from_secs(3600)))], [1, 1]);
        assert_eq!(fetches(Some(Duration::from_secs(200))), 4, "asked for anew each time");
    }

    #[test]
    fn a_sign_on_that_is_over_is_said_when_the_lake_is_opened() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let fault = runtime.block_on(of(&config(Nobody))).unwrap_err();
        assert!(fault.chain().ends_with("the sign-on of `shop` is over"), "{}", fault.chain());
        assert!(fault.hint_text().unwrap().contains("aws sso login"));
    }
}
