//! Stores that refuse, forget conditions or keep versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    Result,
};
use tokio::runtime::Runtime;

use super::*;
use crate::connect::{Ask, ConnectReport, Parts, StepStatus};
use crate::fault::FaultKind;
use crate::settings::Settings;

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    List,
    Put,
    Get,
    Delete,
}

/// What is asked for, below a folder, is answered so for good.
#[derive(Clone, Debug)]
struct Answers {
    asked: Vec<Asked>,
    below: &'static str,
    error: fn() -> Error,
}

fn judge(answers: Option<&Answers>, asked: Asked, place: &Path) -> Result<()> {
    match answers {
        Some(answers) if answers.asked.contains(&asked) && place.as_ref().starts_with(answers.below) => {
            Err((answers.error)())
        }
        _ => Ok(()),
    }
}

/// A store with a fault.
#[derive(Debug, Default)]
struct Faulty {
    inner: InMemory,
    /// So many puts are refused.
    refused: AtomicU32,
    answers: Option<Answers>,
    forgets_conditions: bool,
    keeps_versions: bool,
}

impl Faulty {
    fn answering(asked: &[Asked], below: &'static str, error: fn() -> Error) -> Self {
        Self { answers: Some(Answers { asked: asked.to_vec(), below, error }), ..Self::default() }
    }

    fn judge(&self, asked: Asked, place: &Path) -> Result<()> {
        judge(self.answers.as_ref(), asked, place)
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, place: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.judge(Asked::Put, place)?;
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
        self.judge(Asked::Get, place)?;
        self.inner.get_opts(place, options).await
    }

    fn delete_stream(&self, places: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let answers = self.answers.clone();
        let judged = move |place: Result<Path>| {
            place.and_then(|place| judge(answers.as_ref(), Asked::Delete, &place).map(|()| place))
        };
        self.inner.delete_stream(places.map(judged).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.judge(Asked::List, prefix.unwrap_or(&Path::default())) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.judge(Asked::List, prefix.unwrap_or(&Path::default()))?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const LAKE: &str = "abfss://events@acme.dfs.core.windows.net/bronze/";

/// Runs the steps of the store; answers what was found, and what was told.
/// A test over this store, by a managed identity.
fn over<T>(
    store: Faulty,
    url: &str,
    role_wait: Duration,
    told: &(dyn Fn(&str) + Sync),
    act: impl FnOnce(Run<'_>) -> T,
) -> T {
    let runtime = Runtime::new().unwrap();
    let url = Url::parse(url).unwrap();
    let lake = Lake::with_store(&url, Arc::new(store), runtime.handle().clone()).unwrap();
    let identity = StorageAccess::ManagedIdentity { client_id: Some("0a1b".to_owned()) };
    let settings = Settings { storage: identity, ..Settings::default() };
    let parts =
        Parts { settings, lake: Some(url), landing: Vec::new(), on_function: false, handle: runtime.handle().clone() };
    let ask = Ask { role_wait, ..Ask::default() };
    let mut run = Run::new(&parts, ask, clock::Deadline::after(Duration::from_secs(60)), told);
    run.lake = Some(lake);
    act(run)
}

fn tried(store: Faulty, url: &str, role_wait: Duration) -> (Vec<std::result::Result<Finding, Fault>>, Vec<String>) {
    let said = std::sync::Mutex::new(Vec::new());
    let told = |text: &str| said.lock().unwrap().push(text.to_owned());
    let steps = |mut run: Run<'_>| vec![super::storage(&mut run), versioning(&mut run), state(&mut run)];
    let found = over(store, url, role_wait, &told, steps);
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

/// All steps, over a lake alone.
fn whole(store: Faulty, url: &str) -> ConnectReport {
    over(store, url, Duration::ZERO, &|_| {}, |run| run.all(&|_| {}))
}

/// Steps that are not as they should be.
fn blamed(report: &ConnectReport) -> Vec<(&'static str, StepStatus)> {
    let steps = report.steps.iter().filter(|step| step.status >= StepStatus::Warning);
    steps.map(|step| (step.step, step.status)).collect()
}

/// An answer of a store, in the shape that its client gives it.
fn said(status: &str, code: &str, message: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!(
        "Server returned non-2xx status code: {status}: <Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
    .into()
}

const EVERYTHING: [Asked; 4] = [Asked::List, Asked::Put, Asked::Get, Asked::Delete];
const S3_LAKE: &str = "s3://acme-lake/bronze/";

fn denied(code: &str) -> Error {
    Error::PermissionDenied { path: "bronze".to_owned(), source: said("403 Forbidden", code, "no") }
}

fn unauthenticated(message: &str) -> Error {
    let source = said("401 Unauthorized", "InvalidAuthenticationInfo", message);
    Error::Unauthenticated { path: "bronze".to_owned(), source }
}

fn generic(status: &str, code: &str, message: &str) -> Error {
    Error::Generic { store: "lake", source: said(status, code, message) }
}

/// Rows 32 to 35 of the preconditions, and their like on S3.
#[test]
fn what_a_store_refuses_is_blamed_on_the_store_alone_by_its_cause() {
    #[rustfmt::skip]
    type Row<'a> = (&'a str, &'a str, &'a [Asked], fn() -> Error, FaultKind, &'a str);
    let rows: [Row<'_>; 12] = [
        (
            "32",
            LAKE,
            &EVERYTHING,
            || denied("AuthorizationPermissionMismatch"),
            FaultKind::Setup,
            "--assignee 0a1b --role \"Storage Blob Data Contributor\"",
        ),
        (
            "32, a reader",
            LAKE,
            &[Asked::Put, Asked::Delete],
            || denied("AuthorizationPermissionMismatch"),
            FaultKind::Setup,
            "/storageAccounts/acme/blobServices/default/containers/events ",
        ),
        ("32, on S3", S3_LAKE, &[Asked::Put], || denied("AccessDenied"), FaultKind::Setup, "arn:aws:s3:::acme-lake/*"),
        (
            "32, listings on S3",
            S3_LAKE,
            &[Asked::List],
            || generic("403 Forbidden", "AccessDenied", "no"),
            FaultKind::Setup,
            "s3:ListBucket",
        ),
        ("32, reads on S3", S3_LAKE, &[Asked::Get], || denied("AccessDenied"), FaultKind::Setup, "s3:GetObject"),
        (
            "33",
            LAKE,
            &EVERYTHING,
            || denied("AuthorizationFailure"),
            FaultKind::Setup,
            "this machine's network into storage account `acme`",
        ),
        (
            "34",
            LAKE,
            &EVERYTHING,
            || generic("404 Not Found", "ContainerNotFound", "no"),
            FaultKind::Setup,
            "az storage container create --account-name acme --name events",
        ),
        (
            "34, on S3",
            S3_LAKE,
            &EVERYTHING,
            || generic("404 Not Found", "NoSuchBucket", "no"),
            FaultKind::Setup,
            "aws s3 mb s3://acme-lake",
        ),
        (
            "34, the account",
            LAKE,
            &EVERYTHING,
            || Error::Generic { store: "lake", source: "dns error: no name".into() },
            FaultKind::Again,
            "check the account",
        ),
        (
            "35, the tenant",
            LAKE,
            &EVERYTHING,
            || unauthenticated("Issuer validation failed."),
            FaultKind::Setup,
            "set `storage.tenant_id`",
        ),
        (
            "35, the audience",
            LAKE,
            &EVERYTHING,
            || unauthenticated("Audience validation failed."),
            FaultKind::Setup,
            "https://storage.azure.com/.default",
        ),
        (
            "35, on S3",
            S3_LAKE,
            &EVERYTHING,
            || denied("InvalidAccessKeyId"),
            FaultKind::Setup,
            "did not accept the credentials",
        ),
    ];
    for (row, lake, asked, error, kind, hint) in rows {
        let report = whole(Faulty::answering(asked, "", error), lake);
        assert_eq!(blamed(&report), [("storage", StepStatus::Failed)], "row {row}: {report:#?}");
        let fault = report.step("storage").and_then(|step| step.fault.as_ref()).unwrap();
        assert_eq!(fault.kind, kind, "row {row}: {fault:?}");
        assert!(fault.hint.as_deref().unwrap_or_default().contains(hint), "row {row}: {fault:?}");
        for waiting in ["versioning", "state"] {
            assert_eq!(report.step(waiting).unwrap().because.as_deref(), Some("waits for `storage`"), "row {row}");
        }
    }
}

#[test]
fn a_bucket_in_another_region_is_told_with_its_region() {
    let wrong = || {
        let message = "the region 'us-east-1' is wrong; expecting 'eu-west-1'";
        generic("400 Bad Request", "AuthorizationHeaderMalformed", message)
    };
    let report = whole(Faulty::answering(&EVERYTHING, "", wrong), S3_LAKE);
    assert_eq!(blamed(&report), [("storage", StepStatus::Failed)]);
    let hint = report.step("storage").and_then(|step| step.fault.clone()).and_then(|fault| fault.hint).unwrap();
    assert!(hint.ends_with("set AWS_REGION=eu-west-1"), "{hint}");
}

#[test]
fn who_may_not_delete_may_land_but_leaves_things_behind() {
    let refusing = |below| Faulty::answering(&[Asked::Delete], below, || denied("AccessDenied"));
    let (cleaned, state) = (("clean_up", StepStatus::Warning), ("state", StepStatus::Failed));
    let report = whole(refusing("bronze/inlet_connect_"), S3_LAKE);
    assert_eq!(blamed(&report), [cleaned], "tables are only appended to: {report:#?}");
    assert!(matches!(&report.left[..], [one] if one.starts_with("bronze/inlet_connect_")), "{:?}", report.left);
    let report = whole(refusing("bronze/_inlet/"), S3_LAKE);
    assert_eq!(blamed(&report), [state, cleaned], "notes and leases must go: {report:#?}");
    let hint = report.step("state").and_then(|step| step.fault.clone()).and_then(|fault| fault.hint).unwrap();
    assert!(hint.contains("s3:DeleteObject"), "{hint}");
}

#[test]
fn state_that_cannot_be_written_is_blamed_alone() {
    let report = whole(Faulty::answering(&[Asked::Put], "bronze/_inlet/", || denied("AccessDenied")), S3_LAKE);
    assert_eq!(blamed(&report), [("state", StepStatus::Failed)], "{report:#?}");
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
