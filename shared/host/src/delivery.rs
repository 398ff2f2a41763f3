//! Uploads that messages announce, landed together: as many messages as are there share one commit per table.
//!
//! A message that was delivered before is landed alone: whatever made the last call fail must not fail others again and
//! again. A message is acknowledged when all its uploads are accounted for, and not before.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use inlet_core::allowance::Allowance;
use inlet_core::clock::{self, Deadline, Micros};
use inlet_core::fault::Fault;
use inlet_core::report::{FaultReport, Report, SkippedSource, Status, UploadReport};
use inlet_core::route::{Parts, Unwatched};
use inlet_core::upload::Upload;
use serde_json::json;

use crate::announced::{self, Announced};
use crate::functions::Functions;
use crate::installation::{Installation, Open};
use crate::log::{Log, Metric, Unit};
use crate::trigger::{ObjectEvent, Skipped};

/// One message that announces objects.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Objects that may be uploads.
    pub(crate) events: Vec<ObjectEvent>,
    /// What is none.
    pub(crate) skipped: Vec<Skipped>,
    /// Deliveries of it so far, with this one.
    pub(crate) receives: u32,
    /// When the call that brought it is ended.
    pub(crate) ends: Deadline,
    /// The log of that call.
    pub(crate) log: Log,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// Its uploads, as a terminal would report them.
    pub(crate) report: Report,
    /// Why it must come again; none: it is acknowledged.
    pub(crate) fault: Option<FaultReport>,
}

/// What landing works with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dock<'a> {
    pub(crate) functions: &'a Functions,
    pub(crate) installation: &'a Installation,
    /// `lambda` or `azure`.
    pub(crate) host: &'static str,
    /// How long a call may take from its beginning.
    pub(crate) whole: Duration,
}

/// When things began that end with a landing.
#[derive(Clone, Copy)]
struct Times {
    /// The landing itself.
    began: Micros,
    /// The oldest upload, with its last change.
    oldest: Option<Micros>,
}

impl Dock<'_> {
    /// Lands what messages announce; answers in their order.
    pub(crate) fn land(&self, deliveries: &[Delivery]) -> Vec<Delivered> {
        let open = match self.installation.current() {
            Ok(open) => open,
            Err(fault) => {
                let fault = FaultReport::from(&fault);
                deliveries.iter().for_each(|delivery| delivery.log.fault(&fault, json!({})));
                return deliveries.iter().map(|_| Delivered::failed(fault.clone())).collect();
            }
        };
        let began = clock::now();
        let mut oldest = None;
        let mut landed: Vec<Option<Delivered>> = deliveries.iter().map(|_| None).collect();
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (place, delivery) in deliveries.iter().enumerate() {
            let announced = announced::look(&delivery.events, &open);
            let modified = announced.iter().flat_map(|one| one.uploads.iter().map(|upload| upload.modified)).min();
            oldest = oldest.into_iter().chain(modified).min();
            match announced {
                Ok(announced) if delivery.receives > 1 => alone.push(vec![(place, announced)]),
                Ok(announced) => together.push((place, announced)),
                Err(fault) => landed[place] = Some(Delivered::failed(FaultReport::from(&fault))),
            }
        }
        // Joined calls end at different times: what must be done is done by the first of these.
        let left = deliveries.iter().map(|delivery| delivery.ends.left()).min().unwrap_or_default();
        let allowance = Allowance::new(left, self.whole);
        for group in std::iter::once(together).chain(alone) {
            for (place, one) in self.land_group(group, &open, allowance) {
                landed[place] = Some(one);
            }
        }
        let missing = || Delivered::failed(FaultReport::from(&Fault::bug("a message was not looked at")));
        let mut landed: Vec<Delivered> = landed.into_iter().map(|one| one.unwrap_or_else(missing)).collect();
        for (delivery, one) in deliveries.iter().zip(&mut landed) {
            one.report.totals.skipped += delivery.skipped.len() as u64;
        }
        self.say(deliveries, &landed, &open, Times { began, oldest });
        landed
    }

    fn land_group(&self, group: Vec<(usize, Announced)>, open: &Open, allowance: Allowance) -> Vec<(usize, Delivered)> {
        let mut shares = Vec::with_capacity(group.len());
        let mut uploads = Vec::new();
        for (place, announced) in group {
            let names: Vec<_> = announced.uploads.iter().map(name_of).collect();
            uploads.extend(announced.uploads);
            shares.push((place, names, announced.skipped));
        }
        let report = self.ingest(uploads, open, allowance);
        let stopped = report.fault;
        // One object may be announced twice: each announcement takes one of its reports.
        let mut reports: HashMap<_, VecDeque<UploadReport>> = HashMap::new();
        for upload in report.uploads {
            reports.entry((upload.upload.clone(), upload.upload_id.clone())).or_default().push_back(upload);
        }
        let mut delivered = Vec::with_capacity(shares.len());
        for (place, names, skipped) in shares {
            let mut one = Delivered { report: Report::new(), fault: None };
            for name in names {
                match reports.get_mut(&name).and_then(VecDeque::pop_front) {
                    Some(upload) => one.take(upload),
                    None => one.fault = stopped.clone().or_else(|| Some(unreported())),
                }
            }
            for (reason, count) in skipped {
                one.report.totals.skipped += count;
                if reason == "source_not_connected" {
                    one.report.skipped.push(SkippedSource::not_connected(None, count));
                }
            }
            delivered.push((place, one));
        }
        delivered
    }

    /// Lands uploads; a panic is a bug, and a bug is answered too.
    pub(crate) fn ingest(&self, uploads: Vec<Upload>, open: &Open, allowance: Allowance) -> Report {
        if uploads.is_empty() {
            return Report::new();
        }
        let parts = Parts {
            lake: open.lake.clone(),
            managed: open.home.managed(),
            settings: open.settings.clone(),
            host: self.host,
            allowance: Some(allowance),
            kept: Some(Arc::clone(&open.kept)),
        };
        let landed = catch_unwind(AssertUnwindSafe(|| (self.functions.ingest)(&parts, uploads, &Unwatched)));
        landed.unwrap_or_else(|_| {
            let bug = Fault::bug("ingest stopped by a bug of its own; nothing that was not reported is acknowledged");
            Report { fault: Some(FaultReport::from(&bug)), ..Report::new() }
        })
    }

    /// A line for each upload and each fault, and the numbers of the call.
    fn say(&self, deliveries: &[Delivery], landed: &[Delivered], open: &Open, times: Times) {
        let Some(log) = deliveries.first().map(|delivery| &delivery.log) else { return };
        for warning in &open.settings.warnings {
            log.warn(warning, json!({}));
        }
        let mut totals = Report::new();
        let (mut failed, mut skipped) = (0, 0);
        for (delivery, one) in deliveries.iter().zip(landed) {
            for upload in &one.report.uploads {
                let counts = &upload.counts;
                let more = json!({
                    "upload": upload.upload, "upload_id": upload.upload_id, "status": upload.status,
                    "events": counts.events, "rows": counts.rows, "duplicates": counts.duplicates,
                    "filtered": counts.filtered, "rejected": counts.rejected, "rescued": counts.rescued,
                    "held": counts.held, "receives": delivery.receives,
                });
                match &upload.fault {
                    // It was put aside, and is accounted for.
                    Some(fault) if upload.status == Status::Rejected => delivery.log.warn(&fault.message, more),
                    Some(fault) => delivery.log.fault(fault, more),
                    None => delivery.log.info(upload.status.name(), more),
                }
                failed += u64::from(upload.status == Status::Failed);
                totals.totals.counts.add(counts);
                totals.totals.uploads += 1;
            }
            if let Some(fault) = one.fault.as_ref().filter(|_| one.report.gravest().is_none()) {
                delivery.log.fault(fault, json!({"receives": delivery.receives}));
                failed += 1;
            }
            skipped += one.report.totals.skipped;
        }
        let counts = &totals.totals.counts;
        let (work, now) = (open.lake.take_work(), clock::now());
        let metrics: [Metric; 13] = [
            ("Uploads", totals.totals.uploads as f64, Unit::Count),
            ("Events", counts.events as f64, Unit::Count),
            ("Rows", counts.rows as f64, Unit::Count),
            ("Rejected", counts.rejected as f64, Unit::Count),
            ("Rescued", counts.rescued as f64, Unit::Count),
            ("Held", counts.held as f64, Unit::Count),
            ("Skipped", skipped as f64, Unit::Count),
            ("Failed", failed as f64, Unit::Count),
            ("Commits", work.commits as f64, Unit::Count),
            ("LostRaces", work.lost_races as f64, Unit::Count),
            ("Lag", times.oldest.map_or(0.0, |oldest| (now - oldest) as f64 / 1e6), Unit::Seconds),
            ("Duration", (now - times.began) as f64 / 1e3, Unit::Milliseconds),
            ("Memory", peak_megabytes().unwrap_or_default(), Unit::Megabytes),
        ];
        log.metrics(&metrics);
    }
}

impl Delivered {
    fn failed(fault: FaultReport) -> Self {
        let report = Report { fault: Some(fault.clone()), ..Report::new() };
        Self { report, fault: Some(fault) }
    }

    fn take(&mut self, upload: UploadReport) {
        if upload.status == Status::Failed {
            let fault = upload.fault.clone().unwrap_or_else(unreported);
            let graver = self.fault.as_ref().is_none_or(|known| known.kind.gravity() < fault.kind.gravity());
            if graver {
                self.fault = Some(fault);
            }
        }
        self.report.push(upload);
    }
}

/// The most memory that this process ever held, as Linux tells it.
fn peak_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok().map(|kibibytes| kibibytes / 1_000.0)
}

fn unreported() -> FaultReport {
    FaultReport::from(&Fault::bug("an upload was handed over and not reported"))
}

fn name_of(upload: &Upload) -> (String, String) {
    (upload.name.clone(), upload.id.to_string())
}
