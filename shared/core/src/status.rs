//! What a lake did lately: when it last landed something, how late, what was put aside, and what was left half done.
//!
//! Cheap: the rows of `_loads` in a few columns, the reasons in `_rejects` when something was rejected lately, and a
//! listing of the state folder. Event tables are not opened.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use inlet_events::timestamp_text;
use serde::Serialize;

use crate::clock::{self, Micros};
use crate::delta::{Lake, Table};
use crate::fault::Fault;
use crate::ledger::{LOADS, LoadCounts, REJECTS};
use crate::report::{Counts, FaultReport};
use crate::underway;
pub use crate::waiting::Staged;
use crate::waiting::{self, HeldLease, Waiting};

/// Lately is the last day.
const LATELY: Micros = 24 * 60 * 60 * 1_000_000;
/// When nothing landed lately, lag is that of so many last uploads.
const LAST_LOADS: usize = 100;
/// Reasons of rejection that are named.
const REASONS: usize = 5;
/// Files that one table's reading may take.
const FILES: usize = 100_000;

/// The state of a lake.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The function that reports: `status`.
    pub function: &'static str,
    /// Schemas that Inlet lands in, sorted by name.
    pub schemas: Vec<SchemaStatus>,
    /// Leases that somebody holds: who is at work.
    pub leases: Vec<HeldLease>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

impl Status {
    /// No answer.
    pub fn failed(fault: &Fault) -> Self {
        Self { function: "status", schemas: Vec::new(), leases: Vec::new(), fault: Some(FaultReport::from(fault)) }
    }
}

/// The state of one schema.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct SchemaStatus {
    /// Its name.
    pub schema: String,
    /// The upload that was done last.
    pub last: Option<LastLoad>,
    /// Uploads done in the last 24 hours.
    pub lately: Sums,
    /// All uploads.
    pub all: Sums,
    /// Seconds from an upload's last modification to its end, of those done lately, else of the last hundred.
    pub lag: Option<Lag>,
    /// Why events were rejected lately: the most frequent reasons first.
    pub reasons: Vec<ReasonCount>,
    /// Uploads between their tables and `_loads`: of runs at work, or killed.
    pub underway: Vec<UnderwayNote>,
    /// Rows that are held, and tables that the catalog may not show as they are.
    pub waiting: Waiting,
    /// Of managed tables: what waits for the warehouse. All else of them stands in `_loads`, which it alone can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
}

/// The upload that was done last.
#[derive(Debug, PartialEq, Serialize)]
pub struct LastLoad {
    /// Its key or path.
    pub upload: String,
    /// Its id.
    pub upload_id: String,
    /// When it was done, UTC.
    pub finished_at: String,
    /// How long ago that was.
    pub seconds_ago: i64,
}

/// Sums over uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Uploads that are done.
    pub uploads: u64,
    /// Sums of their counts, in the words of reports.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How late uploads were, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lag {
    /// Half were later, half were earlier.
    pub median: f64,
    /// The latest.
    pub greatest: f64,
}

/// A reason and how often it was met.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// The code in `_rejects`.
    pub reason: String,
    /// Rows that have it.
    pub count: u64,
}

/// A note of uploads that a run had, or has, under way.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct UnderwayNote {
    /// Their keys.
    pub uploads: Vec<String>,
    /// How old the note is.
    pub seconds: i64,
}

/// Says how schemas do; those that Inlet never landed in are left out.
///
/// # Errors
/// Setup or Again when the lake cannot be read.
pub fn status(lake: &Lake, schemas: &[String]) -> Result<Status, Fault> {
    let now = clock::now();
    let mut found = Vec::new();
    for schema in schemas {
        found.extend(schema_status(lake, schema, now)?);
    }
    Ok(Status { function: "status", schemas: found, leases: waiting::leases(lake, now)?, fault: None })
}

fn schema_status(lake: &Lake, schema: &str, now: Micros) -> Result<Option<SchemaStatus>, Fault> {
    let loads = Table::open(lake, schema, LOADS)?;
    let is_open = |upload: &&underway::Underway| {
        loads.as_ref().is_none_or(|loads| !loads.has(&crate::upload::app_id_of(&upload.upload_id)))
    };
    let mut underway = Vec::new();
    for note in underway::notes(lake, schema)? {
        let uploads: Vec<String> = note.uploads.iter().filter(is_open).map(|upload| upload.key.clone()).collect();
        if !uploads.is_empty() {
            underway.push(UnderwayNote { uploads, seconds: (now - note.left_at).max(0) / 1_000_000 });
        }
    }
    underway.sort_by_key(|note| std::cmp::Reverse(note.seconds));
    if loads.is_none() && underway.is_empty() {
        return Ok(None);
    }
    let mut seen = Seen { since: now - LATELY, ..Seen::default() };
    if let Some(loads) = &loads {
        let mut each = |batch: &RecordBatch| {
            seen.add(batch);
            Ok(())
        };
        loads.read(&COLUMNS, None, &mut each, FILES)?;
    }
    let (lately, all) = (seen.lately.sums(), seen.all.sums());
    let reasons = if lately.counts.rejected > 0 { reasons(lake, schema, seen.since)? } else { Vec::new() };
    let last = seen.last.take().map(|(finished_at, upload, upload_id)| LastLoad {
        upload,
        upload_id,
        finished_at: timestamp_text(finished_at),
        seconds_ago: (now - finished_at).max(0) / 1_000_000,
    });
    let lag = seen.lag();
    let waiting = waiting::of_schema(lake, schema, now)?;
    let schema = schema.to_owned();
    Ok(Some(SchemaStatus { schema, last, lately, all, lag, reasons, underway, waiting, staged: None }))
}

/// Says how the schemas of managed tables do, or one of them, without the warehouse: from the notes and markers in the
/// volume.
///
/// # Errors
/// Setup when there is no such schema; what the store answers.
pub fn staged_status(volume: &Lake, schema: Option<&str>) -> Result<Status, Fault> {
    let now = clock::now();
    let mut found = Vec::new();
    for (name, staged) in waiting::staged(volume, now)? {
        if schema.is_none_or(|schema| schema == name) {
            found.push(SchemaStatus { schema: name, staged: Some(staged), ..SchemaStatus::default() });
        }
    }
    Ok(Status { function: "status", schemas: found, leases: waiting::leases(volume, now)?, fault: None })
}

/// The columns of `_loads` that are read.
const COLUMNS: [&str; 12] = [
    "upload",
    "upload_id",
    "table_name",
    "events",
    "rows",
    "held",
    "duplicates",
    "filtered",
    "rejected",
    "rescued",
    "finished_at",
    "lag",
];

/// What the rows of `_loads` add up to.
#[derive(Debug, Default)]
struct Seen {
    since: Micros,
    lately: Running,
    all: Running,
    last: Option<(Micros, String, String)>,
    /// When each upload was done, and how late.
    lags: Vec<(Micros, f64)>,
}

impl Seen {
    fn add(&mut self, batch: &RecordBatch) {
        let text = |at: usize, row: usize| {
            let texts = batch.column(at).as_string_opt::<i32>().filter(|texts| texts.is_valid(row));
            texts.map(|texts| texts.value(row))
        };
        let number = |at: usize, row: usize| {
            let numbers = batch.column(at).as_primitive_opt::<Int64Type>().filter(|numbers| numbers.is_valid(row));
            numbers.map_or(0, |numbers| numbers.value(row))
        };
        let times = batch.column(10).as_primitive_opt::<TimestampMicrosecondType>();
        let lags = batch.column(11).as_primitive_opt::<Float64Type>();
        for row in 0..batch.num_rows() {
            let finished_at = times.filter(|times| times.is_valid(row)).map_or(0, |times| times.value(row));
            let sums = if text(2, row).is_some() {
                Running { counts: LoadCounts { rows: number(4, row), ..LoadCounts::default() }, ..Running::default() }
            } else {
                if self.last.as_ref().is_none_or(|(time, ..)| *time <= finished_at) {
                    let [upload, upload_id] = [0, 1].map(|at| text(at, row).unwrap_or_default().to_owned());
                    self.last = Some((finished_at, upload, upload_id));
                }
                if let Some(lags) = lags.filter(|lags| lags.is_valid(row)) {
                    self.lags.push((finished_at, lags.value(row)));
                }
                let counts = LoadCounts {
                    events: number(3, row),
                    rows: 0,
                    held: number(5, row),
                    duplicates: number(6, row),
                    filtered: number(7, row),
                    rejected: number(8, row),
                    rescued: number(9, row),
                };
                // Without events it tells of rows that an earlier one calls held.
                Running { uploads: u64::from(counts.events > 0), landed: number(4, row), counts }
            };
            self.all.add(&sums);
            if finished_at >= self.since {
                self.lately.add(&sums);
            }
        }
    }

    /// Of the uploads done lately, else of the last hundred.
    fn lag(&mut self) -> Option<Lag> {
        self.lags.sort_unstable_by_key(|(finished_at, _)| std::cmp::Reverse(*finished_at));
        let lately = self.lags.partition_point(|(finished_at, _)| *finished_at >= self.since);
        let count = if lately == 0 { LAST_LOADS } else { lately };
        let mut lags: Vec<f64> = self.lags.iter().take(count).map(|(_, lag)| *lag).collect();
        lags.sort_unstable_by(f64::total_cmp);
        Some(Lag { median: *lags.get(lags.len() / 2)?, greatest: *lags.last()? })
    }
}

/// Sums in the making: what was held yesterday may be told of today.
#[derive(Debug, Default)]
struct Running {
    uploads: u64,
    landed: i64,
    counts: LoadCounts,
}

impl Running {
    fn add(&mut self, other: &Self) {
        self.uploads += other.uploads;
        self.landed += other.landed;
        self.counts.add(other.counts);
    }

    fn sums(&self) -> Sums {
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        let counts = Counts {
            events: number(self.counts.events),
            landed: number(self.landed),
            rows: number(self.counts.rows),
            held: number(self.counts.held),
            duplicates: number(self.counts.duplicates),
            filtered: number(self.counts.filtered),
            rejected: number(self.counts.rejected),
            rescued: number(self.counts.rescued),
        };
        Sums { uploads: self.uploads, counts }
    }
}

/// The most frequent reasons of what was rejected since a moment.
fn reasons(lake: &Lake, schema: &str, since: Micros) -> Result<Vec<ReasonCount>, Fault> {
    let Some(rejects) = Table::open(lake, schema, REJECTS)? else { return Ok(Vec::new()) };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut each = |batch: &RecordBatch| {
        let reasons = batch.column(0).as_string_opt::<i32>();
        let times = batch.column(1).as_primitive_opt::<TimestampMicrosecondType>();
        if let (Some(reasons), Some(times)) = (reasons, times) {
            let is_late = |row: &usize| times.is_valid(*row) && times.value(*row) >= since && reasons.is_valid(*row);
            for row in (0..batch.num_rows()).filter(is_late) {
                *counts.entry(reasons.value(row).to_owned()).or_default() += 1;
            }
        }
        Ok(())
    };
    rejects.read(&["reason", "loaded_at"], None, &mut each, FILES)?;
    let mut reasons: Vec<_> = counts.into_iter().map(|(reason, count)| ReasonCount { reason, count }).collect();
    reasons.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
    reasons.truncate(REASONS);
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(since: Micros, lags: &[(Micros, f64)]) -> Option<Lag> {
        Seen { since, lags: lags.to_vec(), ..Seen::default() }.lag()
    }

    #[test]
    fn lag_is_that_of_the_last_day_or_else_of_the_last_loads() {
        let loads = [(10, 1.0), (40, 5.0), (30, 3.0), (20, 90.0)];
        assert_eq!(seen(25, &loads), Some(Lag { median: 5.0, greatest: 5.0 }));
        assert_eq!(seen(15, &loads), Some(Lag { median: 5.0, greatest: 90.0 }));
        assert_eq!(seen(50, &loads), Some(Lag { median: 5.0, greatest: 90.0 }));
        let many: Vec<_> = (0..LAST_LOADS as i64 + 50).map(|at| (at, if at < 50 { 1_000.0 } else { 1.0 })).collect();
        assert_eq!(seen(1_000, &many), Some(Lag { median: 1.0, greatest: 1.0 }));
        assert_eq!(seen(0, &[]), None);
    }
}
