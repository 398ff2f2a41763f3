//! What a group's uploads came to, in the report's words.

use std::sync::Arc;

use inlet_events::Reason;
use inlet_events::table::TablePlan;

use super::{Entry, Group};
use crate::crew::lock;
use crate::fault::Fault;
use crate::landing::Landed;
use crate::report::{Counts, FaultReport, NewColumn, Status, TableReport, UploadReport};
use crate::upload::Upload;

impl Group<'_, '_> {
    pub(super) fn reports(&self, uploads: &[Upload]) -> Vec<UploadReport> {
        let plans = lock(&self.run.registry).plans();
        let report = |(upload, entry): (&Upload, &Entry)| match entry {
            Entry::Failed(fault) => UploadReport::failed(upload, fault),
            Entry::Rejected(reason, what) => rejected_report(upload, *reason, what.as_deref()),
            Entry::Landed { landed, before } => {
                let mut report = UploadReport::new(upload, Status::Landed);
                report.counts = counts_of(landed);
                for (number, counts) in landed.counts.tables.iter().enumerate().filter(|(_, counts)| counts.rows > 0) {
                    let landed_now =
                        self.run.versions.get(&(report.upload_id.clone(), plans[number].name.clone())).copied();
                    let is_old = before.contains(&(number as u32)) && landed_now.is_none();
                    report.tables.push(TableReport {
                        table: format!("{}.{}", self.run.schema, plans[number].name),
                        status: if is_old { Status::AlreadyLanded } else { Status::Landed },
                        rows: counts.rows,
                        rescued: landed.rescued.get(number).map_or(0, |counts| counts.rescued),
                        version: landed_now,
                        new_columns: landed.new_columns.get(&(number as u32)).cloned().unwrap_or_default(),
                    });
                }
                report.tables.sort_by(|a, b| a.table.cmp(&b.table));
                report
            }
        };
        uploads.iter().zip(&self.entries).map(report).collect()
    }
}

/// Sums an upload's tables up: what landed are rows of call tables.
pub(crate) fn counts_of(landed: &Landed) -> Counts {
    let order = &landed.counts;
    let rows = order.tables.iter().map(|counts| counts.rows).sum();
    let rescued = landed.rescued.iter().map(|counts| counts.rescued).sum();
    let judged = order.events - order.rejected - order.filtered;
    let duplicates = order.duplicates;
    Counts {
        events: order.events,
        landed: judged - duplicates,
        rows,
        held: 0,
        duplicates,
        filtered: order.filtered,
        rejected: order.rejected,
        rescued,
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
#[derive(Default)]
pub(super) struct TablePart {
    pub(super) name: String,
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
        parts.push(TablePart {
            counts: Counts {
                events: counts.rows + counts.duplicates + opted_out,
                rows: counts.rows,
                duplicates: counts.duplicates,
                filtered: opted_out,
                rescued: landed.rescued.get(number).map_or(0, |counts| counts.rescued),
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
            counts: Counts { events: count, filtered: count, ..Counts::default() },
            ..TablePart::default()
        });
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    parts
}
