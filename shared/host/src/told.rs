//! What is said of what a function did: a line for each upload, each table and each fault, and the numbers of the call.

use std::collections::BTreeMap;

use inlet_core::allowance::TOO_LITTLE_TIME;
use inlet_core::clock::{self, Micros};
use inlet_core::connect::{ConnectReport, StepStatus};
use inlet_core::delta::Lake;
use inlet_core::evolve::EvolveReport;
use inlet_core::maintain::{MaintainReport, TableMaintained};
use inlet_core::report::{Counts, ReleasedTable, Report, Status, UploadReport};
use inlet_core::upkeep::UpkeepReport;
use serde_json::{Value, json};

use crate::backfill::BackfillReport;
use crate::log::{Log, Metric, Unit};

/// What landing came to, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Landing {
    pub(crate) uploads: u64,
    pub(crate) counts: Counts,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    /// The last change of the oldest upload that landed.
    pub(crate) oldest: Option<Micros>,
}

impl Landing {
    /// Adds what a listing led to. Its uploads may be of any age, so nothing is said of how late they landed.
    pub(crate) fn add(&mut self, report: &Report) {
        for upload in report.uploads.iter().filter(|upload| is_news(upload)) {
            self.uploads += 1;
            self.counts.add(&upload.counts);
            self.failed += u64::from(upload.status == Status::Failed);
        }
        self.skipped += report.totals.skipped;
    }
}

/// Whether something became of an upload that a listing led to: what has landed is listed again and again, and so is what
/// there was no time for.
fn is_news(upload: &UploadReport) -> bool {
    let is_late = upload.fault.as_ref().is_some_and(|fault| fault.message == TOO_LITTLE_TIME);
    !is_late && !matches!(upload.status, Status::AlreadyLanded | Status::AlreadyStaged)
}

/// An upload: what became of it, and why.
pub(crate) fn upload(log: &Log, upload: &UploadReport, receives: Option<u32>) {
    let counts = &upload.counts;
    let mut more = json!({
        "upload": upload.upload, "upload_id": upload.upload_id, "status": upload.status,
        "events": counts.events, "rows": counts.rows, "duplicates": counts.duplicates,
        "filtered": counts.filtered, "rejected": counts.rejected, "rescued": counts.rescued,
        "held": counts.held,
    });
    if let (Value::Object(members), Some(receives)) = (&mut more, receives) {
        members.insert("receives".to_owned(), receives.into());
    }
    match &upload.fault {
        // It was put aside, and is accounted for.
        Some(fault) if upload.status == Status::Rejected => log.warn(&fault.message, more),
        Some(fault) => log.fault(fault, more),
        None => log.info(upload.status.name(), more),
    }
}

/// What became of uploads that a listing led to.
pub(crate) fn uploads(log: &Log, report: &Report) {
    report.uploads.iter().filter(|upload| is_news(upload)).for_each(|one| upload(log, one, None));
    released(log, &report.released);
    if let Some(fault) = &report.fault {
        log.fault(fault, json!({}));
    }
}

/// How far a backfill came.
pub(crate) fn backfilled(log: &Log, report: &BackfillReport) {
    log.info(
        "backfilled",
        json!({
            "listed": report.listed, "already_landed": report.already_landed, "unfinished": report.unfinished,
        }),
    );
}

/// What is no upload, by the reason.
pub(crate) fn skipped(log: &Log, skipped: &BTreeMap<&'static str, u64>) {
    if !skipped.is_empty() {
        log.info("skipped", json!({"reasons": skipped}));
    }
}

/// Tables whose held rows landed once their gate was open.
pub(crate) fn released(log: &Log, tables: &[ReleasedTable]) {
    for table in tables {
        let more = json!({"table": table.table, "rows": table.rows, "duplicates": table.duplicates});
        match &table.fault {
            Some(fault) => log.fault(fault, more),
            None => log.info("released", more),
        }
    }
}

/// The numbers of a call that landed uploads.
pub(crate) fn landed(log: &Log, landing: &Landing, lake: &Lake, began: Micros) {
    let counts = &landing.counts;
    let mut metrics = vec![
        ("Uploads", landing.uploads as f64, Unit::Count),
        ("Events", counts.events as f64, Unit::Count),
        ("Rows", counts.rows as f64, Unit::Count),
        ("Rejected", counts.rejected as f64, Unit::Count),
        ("Rescued", counts.rescued as f64, Unit::Count),
        ("Held", counts.held as f64, Unit::Count),
        ("Skipped", landing.skipped as f64, Unit::Count),
        ("Failed", landing.failed as f64, Unit::Count),
    ];
    // What did not land now was not late: a nought would hide what was.
    metrics.extend(landing.oldest.map(|oldest| ("Lag", (clock::now() - oldest) as f64 / 1e6, Unit::Seconds)));
    numbers(log, metrics, lake, began);
}

/// What an evolve came to.
pub(crate) fn evolved(log: &Log, report: &EvolveReport, lake: &Lake, began: Micros) {
    for warning in report.warnings.iter().chain(&report.notes.damaged) {
        log.warn(warning, json!({}));
    }
    for table in &report.tables {
        let rows = table.held.map_or(0, |held| held.rows);
        let more =
            json!({"table": table.table, "status": table.status, "new_columns": table.new_columns, "rows": rows});
        match &table.fault {
            Some(fault) => log.fault(fault, more),
            None => log.info("table", more),
        }
    }
    if let Some(postponed) = &report.postponed {
        log.info("staged rows wait", json!({"because": postponed}));
    }
    if let Some(fault) = &report.fault {
        log.fault(fault, json!({}));
    }
    let used = report.warehouse.as_ref();
    let failed = report.tables.iter().filter(|table| table.fault.is_some()).count();
    let rows: u64 = report.tables.iter().filter_map(|table| table.held).map(|held| held.rows).sum();
    let metrics = vec![
        ("Notes", report.notes.read as f64, Unit::Count),
        ("Statements", report.statements.len() as f64, Unit::Count),
        ("Rows", rows as f64, Unit::Count),
        ("Wakes", f64::from(u8::from(used.is_some_and(|used| used.woken))), Unit::Count),
        ("WarehouseSeconds", used.map_or(0.0, |used| used.seconds), Unit::Seconds),
        ("Failed", failed as f64, Unit::Count),
    ];
    numbers(log, metrics, lake, began);
}

/// What putting tables in order came to.
pub(crate) fn maintained(log: &Log, report: &MaintainReport, lake: &Lake, began: Micros) {
    for table in &report.tables {
        let compacted = &table.compacted;
        let more = json!({
            "table": table.table,
            "files": table.files,
            "from_files": compacted.from_files,
            "to_files": compacted.to_files,
            "removed_files": table.removed_files,
        });
        match (&table.fault, &table.skipped) {
            (Some(fault), _) => log.fault(fault, more),
            (None, Some(why)) if table.statement.is_none() => log.warn(&why.message, more),
            _ => log.info("table", more),
        }
    }
    for lost in &report.lost {
        log.warn("rows are lost", json!({"table": lost.table, "upload": lost.upload, "rows": lost.rows}));
    }
    if let Some(fault) = &report.fault {
        log.fault(fault, json!({}));
    }
    let sum = |count: fn(&TableMaintained) -> u64| report.tables.iter().map(count).sum::<u64>() as f64;
    let failed = report.tables.iter().filter(|table| table.fault.is_some()).count();
    let used = report.warehouse.as_ref();
    let metrics = vec![
        ("Compacted", sum(|table| table.compacted.from_files), Unit::Count),
        ("Removed", sum(|table| table.removed_files), Unit::Count),
        ("Wakes", f64::from(u8::from(used.is_some_and(|used| used.woken))), Unit::Count),
        ("WarehouseSeconds", used.map_or(0.0, |used| used.seconds), Unit::Seconds),
        ("Failed", failed as f64, Unit::Count),
    ];
    numbers(log, metrics, lake, began);
}

/// What the upkeep of logs came to.
pub(crate) fn tidied(log: &Log, report: &UpkeepReport) {
    for table in &report.tables {
        let more = json!({
            "table": table.table, "checkpoint": table.checkpoint, "removed_log_files": table.removed_log_files,
            "would_take_bytes": table.would_take_bytes,
        });
        match &table.fault {
            Some(fault) => log.fault(fault, more),
            None => log.info("table", more),
        }
    }
    log.info("tidy", json!({"looked_at": report.looked_at, "unfinished": report.unfinished}));
}

/// What a connection test found: each step that is not right, and the whole in one line.
pub(crate) fn connected(log: &Log, report: &ConnectReport) {
    for step in &report.steps {
        match &step.fault {
            Some(fault) if step.status == StepStatus::Failed => log.fault(fault, json!({"step": step.step})),
            Some(fault) => log.warn(&fault.message, json!({"step": step.step, "hint": fault.hint})),
            None => {}
        }
    }
    let count = |status| report.steps.iter().filter(|step| step.status == status).count();
    let more = json!({
        "status": report.status,
        "milliseconds": report.steps.iter().map(|step| step.milliseconds).sum::<u64>(),
        "passed": count(StepStatus::Passed),
        "warnings": count(StepStatus::Warning),
        "failed": count(StepStatus::Failed),
        "skipped": count(StepStatus::Skipped),
        "left": report.left.len(),
        "wake": report.wake,
    });
    match report.status {
        StepStatus::Passed | StepStatus::Skipped => log.info("connect", more),
        StepStatus::Warning | StepStatus::Failed => log.warn("connect", more),
    }
}

/// The numbers of a call, with those that every call has.
fn numbers(log: &Log, mut metrics: Vec<Metric>, lake: &Lake, began: Micros) {
    let work = lake.take_work();
    metrics.extend([
        ("Commits", work.commits as f64, Unit::Count),
        ("LostRaces", work.lost_races as f64, Unit::Count),
        ("Duration", (clock::now() - began) as f64 / 1e3, Unit::Milliseconds),
    ]);
    metrics.extend(peak_megabytes().map(|megabytes| ("Memory", megabytes, Unit::Megabytes)));
    log.metrics(&metrics);
}

/// The most memory that this process ever held, as Linux tells it.
fn peak_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok().map(|kibibytes| kibibytes / 1_000.0)
}

#[cfg(test)]
mod tests {
    use inlet_core::evolve::{HeldRows, TableEvolved, TableStatus, WarehouseUse};
    use inlet_core::fault::Fault;
    use inlet_core::report::FaultReport;

    use super::*;
    use crate::installation::testing::Site;
    use crate::log::{self, Metrics};

    #[test]
    fn an_evolve_says_what_it_woke_and_what_it_landed() {
        let fault = FaultReport::from(&Fault::setup("no right").hint("GRANT"));
        let mut report = EvolveReport::failed(fault.clone());
        report.fault = None;
        let table = |table: &str, fault: Option<FaultReport>| {
            let held = Some(HeldRows { rows: 3, duplicates: 0, rescued: 0 });
            let (table, status, new_columns) = (table.to_owned(), TableStatus::Altered, Vec::new());
            TableEvolved { table, status, new_columns, held, loaded_because: None, fault }
        };
        report.tables = vec![table("web.tracks", None), table("web.pages", Some(fault))];
        report.warehouse = Some(WarehouseUse { id: "w".to_owned(), woken: true, seconds: 7.5 });
        report.warnings = vec!["large".to_owned()];
        let log = Log::new("evolve", "1", Metrics::Embedded);
        evolved(&log, &report, &Site::new().open().lake, clock::now());
        let said = log::testing::taken();
        let words: Vec<_> = said.iter().map(|line| (line["level"].as_str(), line["message"].as_str())).collect();
        let expected =
            [(Some("WARN"), Some("large")), (Some("INFO"), Some("table")), (Some("ERROR"), Some("no right"))];
        assert_eq!(words, [&expected[..], &[(None, None)]].concat());
        let numbers = [("Wakes", 1.0), ("WarehouseSeconds", 7.5), ("Rows", 6.0), ("Failed", 1.0), ("Commits", 0.0)];
        for (name, number) in numbers {
            assert_eq!(said[3][name], number, "{name}");
        }
        assert!(said[3]["_aws"].is_object() && said[3]["Memory"].as_f64().unwrap() > 0.0);
    }
}
