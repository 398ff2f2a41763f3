//! What a group's uploads came to, in the report's words.

use std::sync::Arc;

use inlet_events::Reason;
use inlet_events::table::{TableKind, TablePlan};

use super::{Entry, Group};
use crate::crew::lock;
use crate::fault::Fault;
use crate::landing::Landed;
use crate::registry::Before;
use crate::report::{Counts, FaultReport, NewColumn, Status, TableReport, UploadReport};
use crate::upload::Upload;

impl Group<'_, '_> {
    pub(super) fn reports(&self, uploads: &[Upload]) -> Vec<UploadReport> {
        let plans = lock(&self.run.registry).plans();
        let report = |(upload, entry): (&Upload, &Entry)| match entry {
            Entry::Failed(fault) => UploadReport::failed(upload, fault),
            Entry::Rejected(reason, what) => rejected_report(upload, *reason, what.as_deref()),
            Entry::Landed { landed, before } => self.landed_report(upload, landed, before, &plans),
        };
        uploads.iter().zip(&self.entries).map(report).collect()
    }

    fn landed_report(
        &self,
        upload: &Upload,
        landed: &Landed,
        before: &Before,
        plans: &[Arc<TablePlan>],
    ) -> UploadReport {
        let is_held = |number: usize| self.is_held(before, number as u32);
        let refused =
            |number: usize| lock(&self.run.registry).known_mut()[number].refused.as_ref().map(FaultReport::from);
        let status = if self.is_staged { Status::Staged } else { Status::Landed };
        let mut report = UploadReport::new(upload, status);
        report.counts = counts_of(landed, plans, &is_held);
        for (number, counts) in landed.counts.tables.iter().enumerate().filter(|(_, counts)| counts.rows > 0) {
            let landed_now = self.run.versions.get(&(report.upload_id.clone(), plans[number].name.clone())).copied();
            let is_old = before.landed.contains(&(number as u32)) && landed_now.is_none();
            let status = match is_held(number) {
                true if self.is_staged => Status::Staged,
                true => Status::Held,
                false if is_old => Status::AlreadyLanded,
                false => Status::Landed,
            };
            if status == Status::Held {
                report.status = Status::PartlyHeld;
            }
            let rescued = landed.rescued.get(number).map_or(0, |counts| counts.rescued);
            let because = if status == Status::Held { refused(number) } else { None };
            let waits_for = match status {
                Status::Staged => Some("window"),
                Status::Held => Some(self.waits_for(&lock(&self.run.registry).known_mut()[number]).name()),
                _ => None,
            };
            report.tables.push(TableReport {
                table: format!("{}.{}", self.run.schema, plans[number].name),
                status,
                rows: counts.rows,
                rescued: if is_held(number) { 0 } else { rescued },
                version: landed_now,
                waits_for,
                new_columns: landed.new_columns.get(&(number as u32)).cloned().unwrap_or_default(),
                because,
            });
        }
        report.tables.sort_by(|a, b| a.table.cmp(&b.table));
        report
    }

    /// Whether an upload's rows for a table wait, by this run's doing or an earlier one's.
    fn is_held(&self, before: &Before, number: u32) -> bool {
        before.held.contains(&number) || self.held.contains(&number) && !before.landed.contains(&number)
    }
}

/// Sums an upload's tables up: what landed are rows of call tables, as far as they are not held. What held rows rescue
/// counts when they land.
pub(crate) fn counts_of(landed: &Landed, plans: &[Arc<TablePlan>], is_held: &dyn Fn(usize) -> bool) -> Counts {
    let order = &landed.counts;
    let (mut rows, mut held) = (0, 0);
    for (number, counts) in order.tables.iter().enumerate() {
        match is_held(number) {
            false => rows += counts.rows,
            true if matches!(plans[number].kind, TableKind::Call(_)) => held += counts.rows,
            true => {}
        }
    }
    let landed_rescued = landed.rescued.iter().enumerate().filter(|(number, _)| !is_held(*number));
    let judged = order.events - order.rejected - order.filtered;
    let duplicates = order.duplicates;
    Counts {
        events: order.events,
        landed: judged - duplicates - held,
        rows,
        held,
        duplicates,
        filtered: order.filtered,
        rejected: order.rejected,
        rescued: landed_rescued.map(|(_, counts)| counts.rescued).sum(),
    }
}

/// The report of an upload that is rejected whole: one event, one rejection.
pub(crate) fn rejected_report(upload: &Upload, reason: Reason, what: Option<&str>) -> UploadReport {
    let mut report = UploadReport::new(upload, Status::Rejected);
    (report.counts.events, report.counts.rejected) = (1, 1);
    let detail = what.map(|what| format!(" ({what})")).unwrap_or_default();
    let fault = match reason {
        Reason::NotNdjson => Fault::rejected(format!("no line of its first MiB is a JSON object{detail}"))
            .hint("uploads are lines of JSON, plain or packed with gzip or zstd; unpack archives first"),
        Reason::TooLarge => Fault::rejected(format!("it is larger than the limits allow{detail}"))
            .hint("if the upload is to be trusted, raise INLET_MAX_UPLOAD_BYTES or INLET_MAX_EXPANSION"),
        _ => Fault::rejected(format!("its bytes are damaged or cut short{detail}"))
            .hint("upload it again: a whole copy has another id and lands"),
    };
    report.fault = Some(FaultReport::from(&fault));
    report
}

/// An upload's part in one table, as `_loads` keeps it.
pub(super) struct TablePart {
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) counts: Counts,
    pub(super) version: Option<u64>,
    pub(super) new_columns: Vec<NewColumn>,
}

pub(super) fn table_parts(landed: &Landed, plans: &[Arc<TablePlan>], report: &UploadReport) -> Vec<TablePart> {
    let mut filtered = landed.counts.filtered_tables.clone();
    let mut parts = Vec::new();
    for (number, counts) in landed.counts.tables.iter().enumerate() {
        let name = plans[number].name.clone();
        let opted_out = filtered.remove(&name).unwrap_or_default();
        if counts.rows + counts.duplicates + opted_out == 0 {
            continue;
        }
        let reported =
            report.tables.iter().find(|table| table.table.split_once('.').is_some_and(|(_, table)| table == name));
        let is_held = reported.is_some_and(|table| table.status == Status::Held);
        let (rows, held) = if is_held { (0, counts.rows) } else { (counts.rows, 0) };
        parts.push(TablePart {
            status: if is_held { Status::Held } else { Status::Landed },
            counts: Counts {
                events: counts.rows + counts.duplicates + opted_out,
                rows,
                held,
                duplicates: counts.duplicates,
                filtered: opted_out,
                rescued: reported.map_or(0, |table| table.rescued),
                ..Counts::default()
            },
            version: reported.and_then(|table| table.version),
            new_columns: landed.new_columns.get(&(number as u32)).cloned().unwrap_or_default(),
            name,
        });
    }
    for (name, count) in filtered {
        parts.push(TablePart {
            name,
            status: Status::Landed,
            counts: Counts { events: count, filtered: count, ..Counts::default() },
            version: None,
            new_columns: Vec::new(),
        });
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    parts
}
