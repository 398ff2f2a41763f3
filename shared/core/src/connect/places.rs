//! Where uploads come from: apart from the lake, readable, and announced.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;

use super::report::Finding;
use super::{Run, STEP_WITHIN};
use crate::clock;
use crate::fault::Fault;
use crate::landing_store::{LandingStore, Listeners};
use crate::report::FaultReport;

/// A place that uploads come from.
#[derive(Debug)]
pub struct Landing {
    /// As people know it.
    pub name: String,
    /// Where it is; a fault when nobody can be found to read there.
    pub source: Result<LandingSource, FaultReport>,
    /// That it lies in the lake, or the lake in it.
    pub overlap: Option<FaultReport>,
}

/// Where uploads lie.
#[derive(Debug)]
pub enum LandingSource {
    /// In a folder.
    Folder(PathBuf),
    /// In a store, below a prefix.
    Store(Arc<dyn LandingStore>, String),
}

const NONE_NAMED: &str = "no place that uploads come from is named: `landing` in the settings, or inlet connect PLACE";

/// Neither lies in the other: what Inlet writes would be uploads, or uploads would lie among tables.
pub(super) fn apart(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if run.parts.landing.is_empty() {
        return Ok(Finding::Skipped(NONE_NAMED.to_owned()));
    }
    match run.parts.landing.iter().find_map(|landing| landing.overlap.clone()) {
        Some(overlap) => Ok(Finding::Failed(overlap)),
        None => Ok(Finding::Passed("each in a place of its own".to_owned())),
    }
}

/// Lists each place, and reads the beginning of the first upload.
pub(super) fn landing(run: &mut Run<'_>) -> Result<Finding, Fault> {
    if run.parts.landing.is_empty() {
        return Ok(Finding::Skipped(NONE_NAMED.to_owned()));
    }
    let mut found = Vec::new();
    for Landing { name, source, .. } in &run.parts.landing {
        let first = match source {
            Err(fault) => return Ok(Finding::Failed(fault.clone())),
            Ok(LandingSource::Folder(folder)) => first_file(folder).map_err(|error| unreadable(name, error))?,
            Ok(LandingSource::Store(store, prefix)) => {
                let read = run.wait(clock::within(run.within(STEP_WITHIN), first_object(store.as_ref(), prefix)));
                read.ok_or_else(|| silent(name))??
            }
        };
        let first = first.map_or_else(|| "nothing there yet".to_owned(), |first| format!("read `{first}`"));
        found.push(format!("{name}: {first}"));
    }
    Ok(Finding::Passed(found.join("; ")))
}

/// Whether somebody is told of new uploads: by that alone functions hear of them.
pub(super) fn events(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let mut told = Vec::new();
    for Landing { name, source, .. } in &run.parts.landing {
        let Ok(LandingSource::Store(store, prefix)) = source else { continue };
        let seen = run.wait(clock::within(run.within(STEP_WITHIN), store.listeners(prefix)));
        match seen.ok_or_else(|| silent(name))?? {
            Listeners::Unseen(because) => return Ok(Finding::Skipped(format!("{name}: {because}"))),
            Listeners::Known(listeners) if !listeners.is_empty() => {
                told.push(format!("{name}: {}", listeners.join(", ")));
            }
            Listeners::Known(_) if run.parts.on_function => {
                let found = format!("nobody is told of new uploads in {name}");
                let fault = Fault::setup(format!("{found}: they land by backfill alone"))
                    .hint("have the bucket send `s3:ObjectCreated:*` to the queue of `ingest`, as the template of infra/aws does");
                return Ok(Finding::Warning(found, fault));
            }
            Listeners::Known(_) => {
                let because = "nobody is told of new uploads there: they land when somebody names them";
                return Ok(Finding::Skipped(format!("{name}: {because}")));
            }
        }
    }
    match told.is_empty() {
        true => Ok(Finding::Skipped("folders announce nothing".to_owned())),
        false => Ok(Finding::Passed(told.join("; "))),
    }
}

async fn first_object(store: &dyn LandingStore, prefix: &str) -> Result<Option<String>, Fault> {
    let mut pages = store.list(prefix);
    while let Some(page) = pages.try_next().await? {
        if let Some(object) = page.into_iter().find(|object| object.form.size > 0) {
            store.get(&object.key, &object.form).await?.try_next().await?;
            return Ok(Some(object.key));
        }
    }
    Ok(None)
}

fn first_file(folder: &Path) -> io::Result<Option<String>> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            io::copy(&mut File::open(entry.path())?.take(1), &mut io::sink())?;
            return Ok(Some(entry.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn unreadable(place: &str, error: io::Error) -> Fault {
    Fault::setup(format!("cannot read uploads in {place}"))
        .hint("make the folder readable for this user")
        .because(error)
}

fn silent(place: &str) -> Fault {
    Fault::again(format!("{place} does not answer"))
        .hint("run it again; if it stays so, let this network reach the store")
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::stream::{self, BoxStream, StreamExt};
    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::clock::Deadline;
    use crate::connect::{Ask, ConnectReport, Parts, StepStatus, connect};
    use crate::landing_store::{ListedObject, ObjectBytes, ObjectForm};
    use crate::settings::Settings;

    /// An empty bucket.
    #[derive(Debug)]
    struct Bucket(Listeners);

    #[async_trait]
    impl LandingStore for Bucket {
        async fn head(&self, _: &str, _: Option<&str>) -> Result<Option<ObjectForm>, Fault> {
            Ok(None)
        }

        fn list(&self, _: &str) -> BoxStream<'_, Result<Vec<ListedObject>, Fault>> {
            stream::empty().boxed()
        }

        async fn get(&self, key: &str, _: &ObjectForm) -> Result<ObjectBytes, Fault> {
            Err(Fault::bug(format!("`{key}` is not there")))
        }

        async fn listeners(&self, _: &str) -> Result<Listeners, Fault> {
            Ok(self.0.clone())
        }
    }

    fn tested(listeners: Listeners, on_function: bool, runtime: &Runtime) -> ConnectReport {
        let source = Ok(LandingSource::Store(Arc::new(Bucket(listeners)), String::new()));
        let landing = vec![Landing { name: "s3://landing/".to_owned(), source, overlap: None }];
        let (settings, handle) = (Settings::default(), runtime.handle().clone());
        let parts = Parts { settings, lake: None, landing, on_function, handle };
        connect(&parts, Ask::default(), Deadline::after(STEP_WITHIN), &|_| {})
    }

    #[test]
    fn a_function_that_nobody_tells_of_uploads_is_warned_and_a_terminal_needs_no_events() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let nobody = || Listeners::Known(Vec::new());
        let queue = Listeners::Known(vec!["arn:aws:sqs:eu-west-1:111122223333:uploads".to_owned()]);
        let unseen = Listeners::Unseen("it may not be seen".to_owned());
        let cases = [
            (queue, true, StepStatus::Passed, "s3://landing/: arn:aws:sqs:eu-west-1:111122223333:uploads"),
            (nobody(), true, StepStatus::Warning, "nobody is told of new uploads in s3://landing/"),
            (nobody(), false, StepStatus::Skipped, "s3://landing/: nobody is told of new uploads there"),
            (unseen, true, StepStatus::Skipped, "s3://landing/: it may not be seen"),
        ];
        for (listeners, on_function, status, said) in cases {
            let report = tested(listeners, on_function, &runtime);
            let step = report.step("events").unwrap();
            assert_eq!(step.status, status, "{step:?}");
            let words = step.found.as_deref().or(step.because.as_deref()).unwrap_or_default();
            assert!(words.starts_with(said), "{step:?}");
            let hint = step.fault.as_ref().and_then(|fault| fault.hint.as_deref()).unwrap_or_default();
            assert_eq!(hint.contains("s3:ObjectCreated:*"), status == StepStatus::Warning, "{step:?}");
        }
    }
}
