//! The lake's store, as Inlet itself uses it: credentials, and the few things that every commit needs of a store.

use std::time::Duration;

use bytes::Bytes;
use futures::{TryStreamExt, future};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult};
use url::Url;

use super::Run;
use super::report::Finding;
use crate::clock;
use crate::databricks::Auth;
use crate::delta::{LAKE_IDENTITY, Lake, STATE, is_denied, store_fault};
use crate::fault::Fault;
use crate::settings::StorageAccess;
use crate::storage::open_lake;

/// How often a role that does not act yet is tried again.
const ROLE_PAUSE: Duration = Duration::from_secs(5);

/// The lake opens: its store's credentials are there.
pub(super) fn credentials(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if let Some(because) = waits(run) {
        return Ok(Finding::Skipped(because));
    }
    let lake = opened(run)?;
    let found = match (&run.parts.settings.storage, lake.url().scheme()) {
        (_, "file") => "a local folder",
        (StorageAccess::Ambient, _) => "what this place gives, not yet shown to the store",
        (StorageAccess::Principal { .. }, _) => "a token of a service principal",
        (StorageAccess::ManagedIdentity { .. }, _) => "a token of a managed identity",
        (StorageAccess::Vended, _) => "lent by Unity Catalog",
    };
    Ok(Finding::Passed(found.to_owned()))
}

/// What credentials wait for, where they are the workspace's: a fault of signing in is said once.
fn waits(run: &Run<'_>) -> Option<String> {
    let settings = &run.parts.settings;
    let auth = settings.destination.as_ref().map(|destination| &destination.connection.auth);
    let waits_for = match (&settings.storage, auth) {
        (StorageAccess::Vended, _) => run.catalog.is_none().then_some("catalog"),
        (StorageAccess::Principal { tenant_id: None, .. }, _) => (!run.signed_in).then_some("sign_in"),
        (StorageAccess::Principal { client_id, .. }, Some(Auth::Entra { client_id: same, .. }))
            if client_id == same =>
        {
            (!run.signed_in).then_some("sign_in")
        }
        (StorageAccess::ManagedIdentity { .. }, Some(Auth::ManagedIdentity { .. })) => {
            (!run.signed_in).then_some("sign_in")
        }
        _ => None,
    };
    waits_for.map(|step| format!("waits for `{step}`"))
}

/// The lake, opened once.
pub(super) fn opened(run: &mut Run<'_>) -> Result<Lake, Fault> {
    if let Some(lake) = &run.lake {
        return Ok(lake.clone());
    }
    let Some(url) = &run.parts.lake else { return Err(Fault::setup("no lake is named")) };
    let lake = open_lake(url, &run.parts.settings, run.workspace.as_ref(), &run.parts.handle)?;
    run.lake = Some(lake.clone());
    Ok(lake)
}

/// List, put where nothing is, read back, delete: in the folder of this test.
pub(super) fn storage(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let lake = run.lake()?.clone();
    let tried = try_out(run, &lake, &lake.root().clone().join(run.scratch.name.as_str()).join("race"))?;
    run.is_versioned = tried.is_versioned;
    // Tables are only ever appended to: who may not delete there may land. The clean-up says what is left.
    let deleted = if tried.undeleted.is_none() { "deleted" } else { "not deleted" };
    Ok(tried.passed(&format!("listed, written by one of two at once, read back, {deleted}")))
}

/// The same in the folder of Inlet's own small files.
pub(super) fn state(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let lake = run.lake()?.clone();
    let place = lake.root().clone().join(STATE).join("connect").join(run.scratch.name.as_str()).join("race");
    let tried = try_out(run, &lake, &place)?;
    let passed = tried.passed("written, read back, deleted");
    // Notes and leases that cannot go stand for what is not so any more.
    tried.undeleted.map_or(Ok(passed), Err)
}

/// A store that keeps what is deleted keeps it for ever: `VACUUM` frees nothing there.
pub(super) fn versioning(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if !run.is_versioned {
        return Ok(Finding::Passed("no versioning".to_owned()));
    }
    let lake = run.lake()?.url();
    let hint = match lake.scheme() {
        "s3" | "s3a" => format!(
            "use a bucket without versioning, or let old versions expire: aws s3api put-bucket-lifecycle-configuration \
             --bucket {} --lifecycle-configuration '{{\"Rules\":[{{\"ID\":\"old-versions\",\"Status\":\"Enabled\",\
             \"Filter\":{{}},\"NoncurrentVersionExpiration\":{{\"NoncurrentDays\":7}}}}]}}'",
            lake.host_str().unwrap_or_default()
        ),
        _ => format!(
            "az storage account blob-service-properties update --account-name {} --enable-versioning false",
            account(lake)
        ),
    };
    let fault = Fault::setup("the lake's store keeps old versions: what is deleted or vacuumed stays, and is paid for");
    Ok(Finding::Warning("versioning is on".to_owned(), fault.hint(hint)))
}

/// What a store did.
#[derive(Debug)]
struct Tried {
    is_versioned: bool,
    /// For how long a role was waited for.
    waited: Duration,
    /// Why what was written could not be deleted.
    undeleted: Option<Fault>,
}

impl Tried {
    fn passed(&self, found: &str) -> Finding {
        let waited = match self.waited.as_secs() {
            0 => String::new(),
            seconds => format!("; the role acts since a moment ago, after {seconds} s"),
        };
        Finding::Passed(format!("{found}{waited}"))
    }
}

/// Tries a store out at a place. A right that is missing is waited for: a role that was just given takes minutes to act.
fn try_out(run: &mut Run<'_>, lake: &Lake, place: &Path) -> Result<Tried, Fault> {
    let is_cloud = lake.url().scheme() != "file";
    let until = run.within(if is_cloud { run.ask.role_wait } else { Duration::ZERO });
    let whole = until.left();
    loop {
        let listed = listed(lake, place);
        run.scratch.has_files |= listed.is_ok();
        match listed.and_then(|()| once(lake, place)) {
            Ok(tried) => {
                let waited = whole.saturating_sub(until.left());
                return Ok(Tried { waited: Duration::from_secs(waited.as_secs()), ..tried });
            }
            Err(Failed::Denied(_)) if !until.is_over() => {
                (run.told)(&format!(
                    "the store refuses this identity; a role that was just given takes minutes to act: waiting, {} s left",
                    until.left().as_secs()
                ));
                clock::sleep(ROLE_PAUSE, until);
            }
            Err(failed) => return Err(failed.fault(lake, &run.parts.settings.storage)),
        }
    }
}

/// Why a store cannot be used.
enum Failed {
    Denied(Error),
    /// Two writers of one name both won.
    Unconditional,
    /// What was read is not what was written.
    Other(String),
    Store(&'static str, Error),
}

impl Failed {
    fn at(what: &'static str) -> impl Fn(Error) -> Self {
        move |error| if is_denied(&error) { Self::Denied(error) } else { Self::Store(what, error) }
    }

    fn fault(self, lake: &Lake, access: &StorageAccess) -> Fault {
        let url = lake.url();
        match self {
            Self::Denied(error) => named(store_fault("a right is missing", url, error), access),
            Self::Unconditional => Fault::setup(format!(
                "{url}: of two writers of one name both won, and one has lost its data"
            ))
            .hint("Inlet needs a store that writes only where nothing is (If-None-Match: *): S3, Azure, or MinIO"),
            Self::Other(what) => Fault::setup(format!("{url}: {what}"))
                .hint("see that nothing else writes to the lake's folder, and no cache stands before the store"),
            Self::Store(what, error) => store_fault(what, url, error),
        }
    }
}

/// A fault whose hint names the identity, where the settings do.
fn named(fault: Fault, access: &StorageAccess) -> Fault {
    match (fault.hint_text(), access) {
        (
            Some(hint),
            StorageAccess::Principal { client_id, .. } | StorageAccess::ManagedIdentity { client_id: Some(client_id) },
        ) => {
            let hint = hint.replace(LAKE_IDENTITY, client_id);
            fault.hint(hint)
        }
        _ => fault,
    }
}

/// Lists the folder of a place: the first that is asked of a store, before anything is written.
fn listed(lake: &Lake, place: &Path) -> Result<(), Failed> {
    let folder = place.parts().take(place.parts().count().saturating_sub(1)).collect::<Path>();
    let listed = lake.wait(lake.store().list(Some(&folder)).try_next());
    listed.map(drop).map_err(Failed::at("cannot list the folder of a test"))
}

fn once(lake: &Lake, place: &Path) -> Result<Tried, Failed> {
    let store = lake.store();
    let put = |text: &'static str| {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(place, PutPayload::from_static(text.as_bytes()), options)
    };
    let (one, other) = lake.wait(future::join(put("one"), put("other")));
    let is_versioned = |put: &Result<PutResult, Error>| {
        put.as_ref().is_ok_and(|put| put.version.as_deref().is_some_and(|version| version != "null"))
    };
    let is_versioned = is_versioned(&one) || is_versioned(&other);
    let wins = won(one)? + won(other)?;
    let read = lake.wait(async { store.get(place).await?.bytes().await });
    let read = read.map_err(Failed::at("cannot read what was written"))?;
    let deleted = lake.wait(store.delete(place));
    if wins > 1 {
        return Err(Failed::Unconditional);
    }
    if read != Bytes::from_static(b"one") && read != Bytes::from_static(b"other") {
        return Err(Failed::Other("what is read is not what was written".to_owned()));
    }
    let undeleted = match deleted {
        Ok(()) | Err(Error::NotFound { .. }) => None,
        Err(error) => Some(store_fault("cannot delete what a test wrote", lake.url(), error)),
    };
    Ok(Tried { is_versioned, waited: Duration::ZERO, undeleted })
}

/// Whether a put made the object. A client that asked twice may have lost against itself: nobody's win is no fault.
fn won(put: Result<PutResult, Error>) -> Result<u32, Failed> {
    match put {
        Ok(_) => Ok(1),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(0),
        Err(error) => Err(Failed::at("cannot write")(error)),
    }
}

/// The storage account in a lake's address.
pub(super) fn account(lake: &Url) -> &str {
    lake.host_str().and_then(|host| host.split('.').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
