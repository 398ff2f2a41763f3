//! The route of an upload, on one screen: open, read, for each table known columns and drift, append, report.
//!
//! Uploads of one schema are landed in groups: each is planned as if it landed alone, one after another in the order
//! of their keys, and a group shares one commit per table. `_loads` is committed last and says that an upload is done;
//! nothing is reported as landed before it.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use object_store::{ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;

use crate::allowance::{Allowance, too_little_time};
use crate::clock;
use crate::delta::{Lake, STATE};
use crate::fault::{Fault, FaultKind};
use crate::group::Group;
use crate::kept::KeptTables;
use crate::managed::Managed;
use crate::plan::Planner;
use crate::report::{FaultReport, PlanReport, ReleasedTable, Report, UploadReport};
use crate::schema::SchemaRun;
use crate::settings::Settings;
use crate::upload::Upload;

/// Stored bytes of the uploads in one group; a larger upload makes a group of its own.
const GROUP_BYTES: u64 = 256 << 20;
/// Uploads in one group.
const GROUP_UPLOADS: usize = 1_000;

/// How far this machine's clock may be from the store's.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// How often a group is read: each time somebody else landed part of it or changed a table under it, or an upload of
/// it failed.
const GROUP_ATTEMPTS: usize = GROUP_UPLOADS + 50;

/// Told how a run goes on; called from any thread.
pub trait Watch: Sync {
    /// Stored bytes of uploads were read.
    fn read(&self, _stored_bytes: u64) {}
    /// An upload is done, whatever became of it.
    fn finished(&self, _upload: &UploadReport) {}
}

/// A watch that looks away.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {}

/// What a run works with.
#[derive(Debug)]
pub struct Parts {
    /// Where the tables are; of managed ones the volume in which their rows wait.
    pub lake: Lake,
    /// The catalog that keeps the tables; none: they stand in the lake.
    pub managed: Option<Managed>,
    /// What the run was told.
    pub settings: Settings,
    /// Where we run: `terminal`, `lambda`, `azure`; stands in `_loads`.
    pub host: &'static str,
    /// How long the run may take; none: as long as it needs.
    pub allowance: Option<Allowance>,
    /// Tables that earlier runs of this process left, for later ones; none: every log is read anew.
    pub kept: Option<Arc<KeptTables>>,
}

/// Lands uploads, or stages them for managed tables, where the next evolve lands them. Never fails as a whole: what went
/// wrong stands in the report.
///
/// Synchronous: call it from a plain thread while the lake's runtime lives.
pub fn ingest(parts: &Parts, uploads: Vec<Upload>, watch: &dyn Watch) -> Report {
    let mut report = Report::new();
    let mut released = Vec::new();
    let skewed = if uploads.is_empty() { Ok(()) } else { check_clock(&parts.lake) };
    for (schema, uploads) in by_schema(uploads) {
        let mut finish = |upload: UploadReport| {
            watch.finished(&upload);
            report.push(upload);
        };
        let landed = match &skewed {
            Ok(()) => land_schema(parts, &schema, uploads, watch, &mut finish, &mut released),
            Err(ahead) => Err((skew_fault(*ahead), uploads)),
        };
        if let Err((fault, unfinished)) = landed {
            for upload in unfinished {
                finish(UploadReport::failed(&upload, &fault));
            }
            let graver = report.fault.as_ref().is_none_or(|known| known.kind.gravity() < fault.kind().gravity());
            if graver {
                report.fault = Some(FaultReport::from(&fault));
            }
        }
    }
    report.released = released;
    report
}

/// The kernel stamps and expires ids by this machine's clock: far from the store's, ids would be lost too early.
/// Answers by how many seconds the clock is ahead, when that is too much. A store that does not say is believed.
fn check_clock(lake: &Lake) -> Result<(), i64> {
    // The ids of staged uploads do not expire by the clock of whoever stages them.
    if lake.url().scheme() == "file" || lake.is_volume() {
        return Ok(());
    }
    let path = lake.root().clone().join(STATE).join("clock");
    let store = lake.store();
    let asked = lake.handle().block_on(async {
        store.put(&path, PutPayload::default()).await?;
        store.head(&path).await
    });
    let Ok(meta) = asked else { return Ok(()) };
    let ahead_seconds = clock::now() / 1_000_000 - meta.last_modified.timestamp();
    if ahead_seconds.abs() > CLOCK_SKEW_SECONDS { Err(ahead_seconds) } else { Ok(()) }
}

fn skew_fault(ahead_seconds: i64) -> Fault {
    let side = if ahead_seconds > 0 { "ahead of" } else { "behind" };
    let seconds = ahead_seconds.unsigned_abs();
    Fault::setup(format!("this machine's clock is {seconds} s {side} the lake's store"))
        .hint("set the clock (NTP): upload ids in the Delta log expire by it")
}

/// Where a plan looks for tables that are there.
#[derive(Clone, Copy, Debug)]
pub enum PlanOver<'a> {
    /// Nowhere: there are none.
    Nothing,
    /// In a lake.
    Lake(&'a Lake),
    /// In the catalog that keeps them; the runtime drives its questions.
    Catalog(&'a Managed, &'a Handle),
}

/// Says what uploads would become, and writes nothing.
pub fn plan(over: PlanOver<'_>, settings: &Settings, uploads: Vec<Upload>, watch: &dyn Watch) -> PlanReport {
    let mut planner = Planner::new(settings);
    for (schema, uploads) in by_schema(uploads) {
        planner.plan_schema(over, &schema, &uploads, watch);
    }
    planner.finish()
}

/// Uploads by schema, in the order of the first upload of each; within a schema in the order of their keys, what has
/// none last, so that the same uploads give the same schema however they are named.
fn by_schema(uploads: Vec<Upload>) -> Vec<(String, Vec<Upload>)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut schemas: Vec<(String, Vec<Upload>)> = Vec::new();
    for upload in uploads {
        let place = *places.entry(upload.schema.clone()).or_insert_with(|| {
            schemas.push((upload.schema.clone(), Vec::new()));
            schemas.len() - 1
        });
        schemas[place].1.push(upload);
    }
    for (_, uploads) in &mut schemas {
        uploads.sort_by(|a, b| (a.key.is_none(), &a.key, &a.name).cmp(&(b.key.is_none(), &b.key, &b.name)));
    }
    schemas
}

/// A fault that stops a schema, and the uploads that did not land because of it.
pub(crate) type Unfinished = (Fault, Vec<Upload>);

fn land_schema(
    parts: &Parts,
    schema: &str,
    uploads: Vec<Upload>,
    watch: &dyn Watch,
    finish: &mut dyn FnMut(UploadReport),
    released: &mut Vec<ReleasedTable>,
) -> Result<(), Unfinished> {
    let mut run = match SchemaRun::open(parts, schema, released) {
        Ok(run) => run,
        Err(fault) => return Err((fault, uploads)),
    };
    let landed = land_queue(&mut run, VecDeque::from(uploads), watch, finish);
    match &landed {
        // After a bug nobody knows what tables in memory are worth.
        Err((fault, _)) if fault.kind() == FaultKind::Bug => {}
        _ => run.give_back(),
    }
    landed
}

fn land_queue(
    run: &mut SchemaRun<'_>,
    mut queue: VecDeque<Upload>,
    watch: &dyn Watch,
    finish: &mut dyn FnMut(UploadReport),
) -> Result<(), Unfinished> {
    let allowance = run.parts.allowance.as_ref();
    while let Some(first) = queue.front() {
        if allowance.is_some_and(|allowance| !allowance.has_time_for(first.size)) {
            let late = UploadReport::failed(first, &too_little_time());
            queue.pop_front();
            finish(late);
            continue;
        }
        let bytes = allowance.map_or(GROUP_BYTES, |allowance| allowance.stored_bytes_left().min(GROUP_BYTES));
        // The note of a staged upload names its files alone.
        let at_most = if run.is_staged { 1 } else { GROUP_UPLOADS };
        let group = next_group(&mut queue, bytes, at_most);
        let group = run.not_yet_landed(group, finish).map_err(|(fault, group)| unfinished(fault, group, &mut queue))?;
        if !group.is_empty() {
            land_group(run, group, &mut queue, watch, finish)?;
        }
    }
    run.tidy();
    Ok(())
}

/// The next uploads that together are small enough; never two of one id or key, since the later must see what the
/// earlier landed.
fn next_group(queue: &mut VecDeque<Upload>, group_bytes: u64, group_uploads: usize) -> Vec<Upload> {
    let mut group: Vec<Upload> = Vec::new();
    let mut seen = HashSet::new();
    let mut bytes = 0;
    while let Some(next) = queue.front() {
        bytes += next.size;
        let is_full = bytes > group_bytes || group.len() >= group_uploads;
        let is_new = seen.insert(next.id.to_string()) && next.key.clone().is_none_or(|key| seen.insert(key));
        if !group.is_empty() && (is_full || !is_new) {
            break;
        }
        group.extend(queue.pop_front());
    }
    group
}

/// Lands a group; and what is left of it again after a lost race that changed a table under its files, or without an
/// upload that failed after some of its rows were built.
fn land_group(
    run: &mut SchemaRun<'_>,
    mut uploads: Vec<Upload>,
    queue: &mut VecDeque<Upload>,
    watch: &dyn Watch,
    finish: &mut dyn FnMut(UploadReport),
) -> Result<(), Unfinished> {
    let mut attempts = 0;
    let is_staged = run.is_staged;
    while !uploads.is_empty() {
        attempts += 1;
        let mut group = Group::new(run);
        let outcome = match group.read(&uploads, watch) {
            Ok(taken) => {
                // What came behind a giant, or a giant behind others, waits for a group of its own.
                uploads.split_off(taken).into_iter().rev().for_each(|later| queue.push_front(later));
                match &uploads[..] {
                    [upload] if is_staged => group.stage(upload).map(|report| Some(vec![report])),
                    uploads => group.commit(uploads),
                }
            }
            Err((at, fault)) => {
                group.abandon();
                finish(UploadReport::failed(&uploads.remove(at), &fault));
                Ok(None)
            }
        };
        match outcome {
            Ok(Some(reports)) => {
                reports.into_iter().for_each(finish);
                return Ok(());
            }
            Ok(None) if attempts > GROUP_ATTEMPTS => {
                let fault = Fault::again("the tables kept changing while uploads were written to them");
                return Err(unfinished(
                    fault.hint("run the command again when fewer writers are at work"),
                    uploads,
                    queue,
                ));
            }
            Ok(None) => run.start_anew().map_err(|fault| unfinished(fault, std::mem::take(&mut uploads), queue))?,
            Err(fault) => return Err(unfinished(fault, uploads, queue)),
        }
    }
    Ok(())
}

fn unfinished(fault: Fault, mut uploads: Vec<Upload>, queue: &mut VecDeque<Upload>) -> Unfinished {
    uploads.extend(queue.drain(..));
    (fault, uploads)
}
