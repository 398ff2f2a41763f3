//! Stores that refuse, forget conditions or keep versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    Result,
};
use tokio::runtime::Runtime;

use super::*;
use crate::connect::{Ask, Parts};
use crate::fault::FaultKind;
use crate::settings::Settings;

/// A store with a fault.
#[derive(Debug, Default)]
struct Faulty {
    inner: InMemory,
    /// So many puts are refused.
    refused: AtomicU32,
    forgets_conditions: bool,
    keeps_versions: bool,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, place: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let refuse = |left: u32| left.checked_sub(1);
        if self.refused.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
            let source = "AuthorizationPermissionMismatch".into();
            return Err(Error::PermissionDenied { path: place.to_string(), source });
        }
        if self.forgets_conditions {
            options.mode = PutMode::Overwrite;
        }
        let put = self.inner.put_opts(place, payload, options).await?;
        Ok(PutResult { version: self.keeps_versions.then(|| "3HL4kqtJ".to_owned()), ..put })
    }

    async fn put_multipart_opts(&self, place: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(place, options).await
    }

    async fn get_opts(&self, place: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(place, options).await
    }

    fn delete_stream(&self, places: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(places)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const LAKE: &str = "abfss://events@acme.dfs.core.windows.net/bronze/";

/// Runs the steps of the store; answers what was found, and what was told.
fn tried(store: Faulty, url: &str, role_wait: Duration) -> (Vec<std::result::Result<Finding, Fault>>, Vec<String>) {
    let runtime = Runtime::new().unwrap();
    let url = Url::parse(url).unwrap();
    let lake = Lake::with_store(&url, Arc::new(store), runtime.handle().clone()).unwrap();
    let identity = StorageAccess::ManagedIdentity { client_id: Some("0a1b".to_owned()) };
    let settings = Settings { storage: identity, ..Settings::default() };
    let parts = Parts { settings, lake: Some(url), landing: Vec::new(), handle: runtime.handle().clone() };
    let said = std::sync::Mutex::new(Vec::new());
    let told = |text: &str| said.lock().unwrap().push(text.to_owned());
    let ask = Ask { role_wait, ..Ask::default() };
    let mut run = Run::new(&parts, ask, clock::Deadline::after(Duration::from_secs(60)), &told);
    run.lake = Some(lake);
    let found = vec![super::storage(&mut run), versioning(&mut run), state(&mut run)];
    drop(run);
    (found, said.into_inner().unwrap())
}

fn words(finding: &std::result::Result<Finding, Fault>) -> String {
    match finding {
        Ok(Finding::Passed(found)) => format!("passed {found}"),
        Ok(Finding::Warning(found, fault)) => format!("warning {found}: {}", fault.hint_text().unwrap_or_default()),
        Ok(_) => "other".to_owned(),
        Err(fault) => format!("failed {}: {}", fault.chain(), fault.hint_text().unwrap_or_default()),
    }
}

#[test]
fn a_good_store_passes_and_nothing_stays_there() {
    let (found, said) = tried(Faulty::default(), LAKE, Duration::ZERO);
    assert_eq!(words(&found[0]), "passed listed, written by one of two at once, read back, deleted");
    assert_eq!(words(&found[1]), "passed no versioning");
    assert_eq!(words(&found[2]), "passed written, read back, deleted");
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_role_that_does_not_act_yet_is_waited_for_and_said_so() {
    let fresh = Faulty { refused: AtomicU32::new(2), ..Faulty::default() };
    let (found, said) = tried(fresh, LAKE, Duration::from_secs(1));
    assert!(words(&found[0]).starts_with("passed"), "{}", words(&found[0]));
    assert!(said[0].contains("takes minutes to act"), "{said:?}");
}

#[test]
fn a_missing_role_is_granted_on_the_container() {
    let refusing = || Faulty { refused: AtomicU32::new(u32::MAX), ..Faulty::default() };
    let (found, _) = tried(refusing(), LAKE, Duration::ZERO);
    let fault = found.into_iter().next().unwrap().err().unwrap();
    assert_eq!(fault.kind(), FaultKind::Setup);
    assert!(fault.chain().contains("AuthorizationPermissionMismatch"), "{}", fault.chain());
    let hint = fault.hint_text().unwrap();
    assert!(
        hint.contains("--assignee 0a1b --role \"Storage Blob Data Contributor\"")
            && hint.contains("/containers/events"),
        "{hint}"
    );
    let (found, _) = tried(refusing(), "s3://acme-lake/bronze/", Duration::ZERO);
    assert!(words(&found[0]).contains("arn:aws:s3:::acme-lake/*"), "{}", words(&found[0]));
}

#[test]
fn a_store_that_lets_two_writers_win_is_refused() {
    let (found, _) = tried(Faulty { forgets_conditions: true, ..Faulty::default() }, LAKE, Duration::ZERO);
    assert!(words(&found[0]).contains("of two writers of one name both won"), "{}", words(&found[0]));
}

#[test]
fn a_versioned_bucket_is_warned_of_with_the_line_to_run() {
    let versioned = Faulty { keeps_versions: true, ..Faulty::default() };
    let (found, _) = tried(versioned, "s3://acme-lake/bronze/", Duration::ZERO);
    assert!(words(&found[1]).contains("put-bucket-lifecycle-configuration --bucket acme-lake"), "{}", words(&found[1]));
}
