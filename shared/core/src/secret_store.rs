//! Secrets that stand in a store of the cloud: where, and what reads them. The stores themselves stand in the host, which
//! knows the clouds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::clock::{self, Deadline, Micros};
use crate::fault::Fault;
use crate::secret::Secret;

/// A store is asked again for a secret that was refused no sooner than this.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Endings of the hosts of Azure's vaults, in its public and its sovereign clouds.
const VAULT_HOSTS: [&str; 3] = [".vault.azure.net", ".vault.usgovcloudapi.net", ".vault.azure.cn"];

/// Where a secret stands in a store. No part of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretPlace {
    /// In AWS Secrets Manager.
    AwsSecret {
        /// Its name or ARN.
        id: String,
        /// The member of the JSON object that it holds; none: it is the secret itself.
        member: Option<String>,
    },
    /// In Parameter Store of AWS Systems Manager.
    AwsParameter {
        /// Its name or ARN; behind it may stand a version or label, `:3`.
        name: String,
    },
    /// In Azure Key Vault.
    KeyVault {
        /// The vault's host.
        host: String,
        /// The secret's name.
        name: String,
        /// One version of it; none: the current one.
        version: Option<String>,
    },
}

impl SecretPlace {
    /// How texts begin that name one.
    pub const PREFIXES: [&str; 3] = ["aws-secret:", "ssm:", "keyvault:"];

    /// The place that a text of the settings names; none: it names a place of another kind, or none at all.
    ///
    /// # Errors
    /// What is wrong with it, as what follows the key's name, and what to do.
    pub fn parse(text: &str) -> Option<Result<Self, (&'static str, &'static str)>> {
        if let Some(secret) = text.strip_prefix("aws-secret:") {
            let advice = "write it as \"aws-secret:NAME\", or \"aws-secret:NAME#member\" where it holds a JSON object";
            return Some(aws_secret(secret).ok_or(("names no secret behind `aws-secret:`", advice)));
        }
        if let Some(parameter) = text.strip_prefix("ssm:") {
            let advice = "write it as \"ssm:/PATH/NAME\", or as \"ssm:ARN\"";
            return Some(aws_parameter(parameter).ok_or(("names no parameter behind `ssm:`", advice)));
        }
        let secret = text.strip_prefix("keyvault:")?;
        let advice = "write it as \"keyvault:VAULT/NAME\", or \"keyvault:https://VAULT.vault.azure.net/secrets/NAME\"";
        Some(key_vault(secret).ok_or(("names no secret behind `keyvault:`", advice)))
    }
}

fn aws_secret(text: &str) -> Option<SecretPlace> {
    let (id, member) = text.split_once('#').map_or((text, None), |(id, member)| (id, Some(member)));
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@!:-".contains(&byte);
    let is_right = !id.is_empty() && id.bytes().all(legal) && member != Some("");
    is_right.then(|| SecretPlace::AwsSecret { id: id.to_owned(), member: member.map(str::to_owned) })
}

fn aws_parameter(name: &str) -> Option<SecretPlace> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.:-".contains(&byte);
    let is_right = !name.is_empty() && name.bytes().all(legal);
    is_right.then(|| SecretPlace::AwsParameter { name: name.to_owned() })
}

fn key_vault(text: &str) -> Option<SecretPlace> {
    let (host, path) = match text.strip_prefix("https://") {
        Some(url) => {
            let (host, path) = url.split_once('/')?;
            (host.to_ascii_lowercase(), path.strip_prefix("secrets/")?)
        }
        None => text.split_once('/').map(|(vault, path)| (format!("{vault}.vault.azure.net"), path))?,
    };
    let (name, version) = path
        .trim_end_matches('/')
        .split_once('/')
        .map_or((path, None), |(name, version)| (name, Some(version.to_owned())));
    let name = name.trim_end_matches('/');
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let vault = VAULT_HOSTS.iter().find_map(|suffix| host.strip_suffix(suffix))?;
    let is_right = [vault, name].into_iter().all(is_word) && version.as_deref().is_none_or(is_word);
    is_right.then(|| SecretPlace::KeyVault { host: host.clone(), name: name.to_owned(), version })
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwsSecret { id, member: None } => write!(f, "aws-secret:{id}"),
            Self::AwsSecret { id, member: Some(member) } => write!(f, "aws-secret:{id}#{member}"),
            Self::AwsParameter { name } => write!(f, "ssm:{name}"),
            Self::KeyVault { host, name, version } => {
                let version = version.as_ref().map(|version| format!("/{version}")).unwrap_or_default();
                write!(f, "keyvault:https://{host}/secrets/{name}{version}")
            }
        }
    }
}

/// Reads secrets where they stand, as whoever the place that we run in says we are.
#[async_trait]
pub trait SecretStore: fmt::Debug + Send + Sync {
    /// The secret as it is now.
    ///
    /// # Errors
    /// Setup when there is none, or we may not read it; Again when the store does not answer.
    async fn read(&self, place: &SecretPlace) -> Result<Secret, Fault>;
}

/// What came of the reading of the secrets that settings name.
pub type StoredSecrets = BTreeMap<SecretPlace, Result<Secret, Fault>>;

/// Reads secrets; each of them can be read anew when somebody has changed it.
///
/// # Errors
/// Again when a store does not answer. A Setup fault stands in the answer: the settings say whose it is.
pub async fn read_all(store: &Arc<dyn SecretStore>, places: Vec<SecretPlace>) -> Result<StoredSecrets, Fault> {
    let mut secrets = StoredSecrets::new();
    for place in places {
        if secrets.contains_key(&place) {
            continue;
        }
        let read = match store.read(&place).await {
            Ok(secret) => Ok(Secret::stored(secret.expose(), Arc::new(Stored::new(store, &place, &secret)))),
            Err(fault) if fault.kind() == crate::fault::FaultKind::Setup => Err(fault),
            Err(fault) => return Err(fault),
        };
        secrets.insert(place, read);
    }
    Ok(secrets)
}

/// A secret in its store, and what was last read there.
#[derive(Debug)]
pub(crate) struct Stored {
    store: Arc<dyn SecretStore>,
    place: SecretPlace,
    latest: RwLock<Secret>,
    asked_at: Mutex<Option<Micros>>,
}

impl Stored {
    fn new(store: &Arc<dyn SecretStore>, place: &SecretPlace, read: &Secret) -> Self {
        let (store, place, latest) = (Arc::clone(store), place.clone(), RwLock::new(read.clone()));
        Self { store, place, latest, asked_at: Mutex::default() }
    }

    /// As it was last read.
    pub(crate) fn latest(&self) -> Secret {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another secret than the one that was refused, if there is one by now. The store is asked at most once a minute; its
    /// own faults are none of the sign-in's, which has one already.
    pub(crate) async fn instead_of(&self, refused: &Secret, deadline: Deadline) -> Option<Secret> {
        // Whoever comes meanwhile waits here: one request serves all.
        let mut asked_at = clock::within(deadline, self.asked_at.lock()).await?;
        let again = |at: Micros| at + Micros::try_from(ASKED_AGAIN_AFTER.as_micros()).unwrap_or(Micros::MAX);
        if self.latest() == *refused && asked_at.is_none_or(|at| clock::now() >= again(at)) {
            *asked_at = Some(clock::now());
            let read = clock::within(deadline, self.store.read(&self.place)).await?.ok()?;
            *self.latest.write().unwrap_or_else(PoisonError::into_inner) = read;
        }
        Some(self.latest()).filter(|latest| latest != refused)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn parsed(text: &str) -> Option<String> {
        SecretPlace::parse(text).and_then(Result::ok).map(|place| place.to_string())
    }

    #[test]
    fn a_place_has_one_spelling() {
        let vault = "keyvault:https://shop.vault.azure.net/secrets/databricks";
        for (text, place) in [
            ("aws-secret:prod/inlet", "aws-secret:prod/inlet"),
            ("aws-secret:prod/inlet#client_secret", "aws-secret:prod/inlet#client_secret"),
            (
                "aws-secret:arn:aws:secretsmanager:eu-west-1:111122223333:secret:inlet-AbC",
                "aws-secret:arn:aws:secretsmanager:eu-west-1:111122223333:secret:inlet-AbC",
            ),
            ("ssm:/prod/inlet/client_secret:3", "ssm:/prod/inlet/client_secret:3"),
            (
                "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/prod/inlet",
                "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/prod/inlet",
            ),
            ("keyvault:shop/databricks", vault),
            ("keyvault:https://SHOP.vault.azure.net/secrets/databricks/", vault),
            ("keyvault:shop/databricks/0a1b", &format!("{vault}/0a1b")),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(place), "{text}");
        }
    }

    #[test]
    fn what_names_no_secret_of_a_store_is_none() {
        for text in [
            "aws-secret:",
            "aws-secret:#a",
            "aws-secret:a#",
            "aws-secret:a b",
            "ssm:",
            "ssm:/a b",
            "ssm:/a#b",
            "keyvault:shop",
            "keyvault:/x",
            "keyvault:shop/",
            "keyvault:shop/a b",
            "keyvault:https://shop.vault.azure.net/keys/a",
            "keyvault:https://vault.azure.net/secrets/a",
            "keyvault:https://evil.example/secrets/a",
            "keyvault:evil.example?/a",
            "keyvault:shop/a/b/c",
        ] {
            assert!(SecretPlace::parse(text).is_some_and(|place| place.is_err()), "{text}");
        }
        assert!(SecretPlace::parse("env:NAME").is_none() && SecretPlace::parse("dose-of-truth").is_none());
    }

    /// Gives another secret each time, up to a last one; or none.
    #[derive(Debug)]
    struct Rotated(AtomicU32, u32);

    #[async_trait]
    impl SecretStore for Rotated {
        async fn read(&self, place: &SecretPlace) -> Result<Secret, Fault> {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            match place {
                SecretPlace::AwsSecret { id, .. } if id == "missing" => Err(Fault::setup("no such secret")),
                SecretPlace::AwsSecret { id, .. } if id == "away" => Err(Fault::again("no answer")),
                _ => Ok(Secret::new(format!("dose-{}", number.min(self.1)))),
            }
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    fn place(id: &str) -> SecretPlace {
        SecretPlace::AwsSecret { id: id.to_owned(), member: None }
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[test]
    fn a_secret_that_two_keys_name_is_read_once_and_a_wrong_one_is_kept_for_its_key() {
        let rotated = Arc::new(Rotated(AtomicU32::new(0), 9));
        let store = Arc::clone(&rotated) as Arc<dyn SecretStore>;
        let read = run(read_all(&store, vec![place("a"), place("missing"), place("a")])).unwrap();
        assert_eq!(rotated.0.load(Ordering::Relaxed), 2);
        assert_eq!(read[&place("a")].as_ref().unwrap().expose(), "dose-0");
        assert!(read[&place("missing")].is_err());
        assert!(run(read_all(&store, vec![place("away")])).is_err());
    }

    #[test]
    fn a_refused_secret_is_read_anew_at_most_once_a_minute() {
        let rotated = Arc::new(Rotated(AtomicU32::new(0), 1));
        let store = Arc::clone(&rotated) as Arc<dyn SecretStore>;
        run(async {
            let read = read_all(&store, vec![place("a")]).await.unwrap();
            let first = read[&place("a")].as_ref().unwrap().clone();
            let second = first.instead_of(&first.latest(), soon()).await.unwrap();
            assert_eq!((second.expose(), first.latest().expose()), ("dose-1", "dose-1"));
            assert_eq!(first.instead_of(&second, soon()).await, None, "asked a moment ago");
            assert_eq!(first.instead_of(&Secret::new("dose-0"), soon()).await, Some(second), "known without asking");
            assert_eq!(Secret::new("plain").instead_of(&Secret::new("plain"), soon()).await, None);
        });
        assert_eq!(rotated.0.load(Ordering::Relaxed), 2);
    }
}
