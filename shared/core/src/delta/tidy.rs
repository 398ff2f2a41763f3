//! A table's log kept short: a checkpoint when many commits are behind the last one, then the clean-up of what has
//! expired behind an older one. Not the append's work: a checkpoint's memory grows with the table's files.

use std::time::Duration;

use futures::TryStreamExt;
use hashbrown::HashMap;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::faults::{kernel_fault, store_fault};
use super::ids::checkpoint_version;
use super::lake::{LOG_FOLDER, Lake};
use super::table::Table;
use crate::clock::{self, Micros};
use crate::fault::Fault;

/// A checkpoint is written when more commits than this are behind the last one.
pub const COMMITS_PER_CHECKPOINT: u64 = 100;
/// Delta's default for how long a log's history is kept.
const LOG_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Memory per byte of log that a checkpoint is made of. Measured: 2.3 with statistics on all columns (197 MB
/// checkpoint, 445 MB), 4.1 with statistics on five (33 MB, 135 MB).
const MEMORY_PER_LOG_BYTE: u64 = 4;
/// What a checkpoint takes at the least.
const MEMORY_AT_LEAST: u64 = 16 * 1024 * 1024;

/// What [`tidy`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Commits behind the last checkpoint, as found.
    pub commits_behind: u64,
    /// The version of the checkpoint that was written.
    pub checkpoint: Option<u64>,
    /// The memory that a due checkpoint would take, when that is more than was allowed: it was left out.
    pub would_take_bytes: Option<u64>,
    /// Files of the log that had expired and were removed.
    pub removed_log_files: usize,
}

/// Writes a checkpoint when more than [`COMMITS_PER_CHECKPOINT`] commits are behind the last one and the estimate of
/// its memory fits `memory_bytes`; then removes expired files of the log by the table's own
/// `delta.logRetentionDuration` (default 30 days) and `delta.enableExpiredLogCleanup`, up to the newest checkpoint
/// that is older than the cut, which stays. Nothing to do costs no request.
///
/// # Errors
/// The gate's refusal for a table that we may not write to; what the store answers.
pub fn tidy(lake: &Lake, table: &mut Table, memory_bytes: u64) -> Result<Tidied, Fault> {
    tidy_beyond(COMMITS_PER_CHECKPOINT, lake, table, memory_bytes)
}

/// [`tidy`] with another number of commits that may be behind the last checkpoint.
pub(crate) fn tidy_beyond(commits: u64, lake: &Lake, table: &mut Table, memory_bytes: u64) -> Result<Tidied, Fault> {
    let behind = table.commits_behind();
    let mut tidied = Tidied { commits_behind: behind, ..Tidied::default() };
    if behind <= commits {
        return Ok(tidied);
    }
    table.may_append()?;
    let log = list_log(lake, table)?;
    let needed = memory_needed(&log, checkpoint_version(&table.snapshot), table.version());
    if needed > memory_bytes {
        tidied.would_take_bytes = Some(needed);
        return Ok(tidied);
    }
    let written = table.snapshot.checkpoint(lake.engine().as_ref(), None);
    let (_, snapshot) = written.map_err(|error| kernel_fault("cannot write a checkpoint", table.url(), error))?;
    table.adopt(snapshot);
    tidied.checkpoint = Some(table.version());
    tidied.removed_log_files = remove_all(lake, table, expired(table, &log, clock::now()))?;
    Ok(tidied)
}

/// Removes what has expired of a log, as [`tidy`] does, whether a checkpoint is due or not; only counts it when `plan`.
/// Who appends may lack the right to delete.
///
/// # Errors
/// As [`tidy`].
pub(crate) fn clean_log(lake: &Lake, table: &Table, now: Micros, plan: bool) -> Result<usize, Fault> {
    table.may_append()?;
    let expired = expired(table, &list_log(lake, table)?, now);
    if plan { Ok(expired.len()) } else { remove_all(lake, table, expired) }
}

/// One file of a log.
struct LogFile {
    version: u64,
    kind: Kind,
    object: ObjectMeta,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commit,
    /// A checkpoint, or one of its so many parts.
    Checkpoint {
        parts: usize,
    },
    /// A checksum, or a range of commits made one.
    Other,
}

impl LogFile {
    /// Reads a name: `<20 digits>.json`, `.checkpoint.parquet`, `.checkpoint.<part>.<parts>.parquet`,
    /// `.checkpoint.<uuid>.(json|parquet)`, `.crc`, `.<20 digits>.compacted.json`. Anything else is not ours to judge.
    fn of(object: ObjectMeta) -> Option<Self> {
        let name = object.location.filename()?;
        let (digits, rest) = name.split_once('.')?;
        let version = if digits.len() == 20 { digits.parse().ok()? } else { return None };
        let words: Vec<&str> = rest.split('.').collect();
        let kind = match words.as_slice() {
            ["json"] => Kind::Commit,
            ["checkpoint", "parquet"] | ["checkpoint", _, "json" | "parquet"] => Kind::Checkpoint { parts: 1 },
            ["checkpoint", _, parts, "parquet"] => Kind::Checkpoint { parts: parts.parse().ok()? },
            ["crc"] | [_, "compacted", "json"] => Kind::Other,
            _ => return None,
        };
        Some(Self { version, kind, object })
    }

    fn modified_ms(&self) -> i64 {
        self.object.last_modified.timestamp_millis()
    }
}

fn list_log(lake: &Lake, table: &Table) -> Result<Vec<LogFile>, Fault> {
    let fault = |error| store_fault("cannot list the log of the table", table.url(), error);
    let folder = Path::from_url_path(table.url().path()).map_err(|error| fault(error.into()))?.join(LOG_FOLDER);
    let depth = folder.parts().count() + 1;
    let listed: Vec<ObjectMeta> = lake.wait(lake.store().list(Some(&folder)).try_collect()).map_err(fault)?;
    // Folders below the log (sidecars, staged commits) hold files of the same names.
    Ok(listed.into_iter().filter(|file| file.location.parts().count() == depth).filter_map(LogFile::of).collect())
}

fn memory_needed(log: &[LogFile], checkpoint: Option<u64>, version: u64) -> u64 {
    let is_read = |file: &&LogFile| match file.kind {
        Kind::Commit => file.version <= version && checkpoint.is_none_or(|checkpoint| file.version > checkpoint),
        Kind::Checkpoint { .. } => Some(file.version) == checkpoint,
        Kind::Other => false,
    };
    let bytes: u64 = log.iter().filter(is_read).map(|file| file.object.size).sum();
    MEMORY_AT_LEAST + MEMORY_PER_LOG_BYTE * bytes
}

/// Files of the log from before the newest checkpoint that is older than the cut.
fn expired(table: &Table, log: &[LogFile], now: Micros) -> Vec<Path> {
    let properties = table.snapshot.table_properties();
    if properties.enable_expired_log_cleanup == Some(false) {
        return Vec::new();
    }
    let kept_for = properties.log_retention_duration.unwrap_or(LOG_RETENTION);
    let cut_ms = now / 1_000 - i64::try_from(kept_for.as_millis()).unwrap_or(i64::MAX);
    let Some(anchor) = newest_anchor(log, cut_ms) else { return Vec::new() };
    // Everything before the anchor, but nothing that is younger than the cut.
    let expired = log.iter().filter(|file| file.version < anchor && file.modified_ms() < cut_ms);
    expired.map(|file| file.object.location.clone()).collect()
}

fn remove_all(lake: &Lake, table: &Table, expired: Vec<Path>) -> Result<usize, Fault> {
    let count = expired.len();
    let removed = lake.remove(expired);
    removed.map_err(|error| store_fault("cannot remove expired files of the log", table.url(), error))?;
    Ok(count)
}

/// The newest complete checkpoint that is older than the cut: history begins there from now on.
fn newest_anchor(log: &[LogFile], cut_ms: i64) -> Option<u64> {
    let mut parts_found: HashMap<(u64, usize), usize> = HashMap::new();
    for file in log.iter().filter(|file| file.modified_ms() < cut_ms) {
        if let Kind::Checkpoint { parts } = file.kind {
            *parts_found.entry((file.version, parts)).or_default() += 1;
        }
    }
    let complete = parts_found.into_iter().filter(|((_, parts), found)| found >= parts);
    complete.map(|((version, _), _)| version).max()
}
