//! Uploads that messages announce, landed together: as many messages as are there share one commit per table.
//!
//! A message that names an object which may not land fails, and its other objects land. One that was delivered before is
//! landed alone: whatever made the last call fail must not fail others again and again. A message is acknowledged when all
//! its uploads are accounted for, and not before.

use std::collections::{BTreeMap, HashMap, VecDeque};
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

use crate::announced::{self, Announced, Refused};
use crate::functions::Functions;
use crate::installation::{Installation, Open};
use crate::log::Log;
use crate::told::{self, Landing};
use crate::trigger::{ObjectEvent, SkipReason, Skipped};

/// One message that announces objects.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Objects that may be uploads.
    pub(crate) events: Vec<ObjectEvent>,
    /// What is none.
    pub(crate) skipped: Vec<Skipped>,
    /// Why other events of it cannot be understood.
    pub(crate) refused: Vec<FaultReport>,
    /// Deliveries of it so far, with this one.
    pub(crate) receives: u32,
    /// When the call that brought it is ended.
    pub(crate) ends: Deadline,
    /// The log of that call.
    pub(crate) log: Log,
}

/// What became of a message.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// Its uploads, as a terminal would report them.
    pub(crate) report: Report,
    /// Its objects that fail it, each by itself.
    pub(crate) refused: Vec<Refused>,
    /// What of it is no upload, by the reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
    /// The last change of the oldest of its uploads that landed now.
    pub(crate) oldest: Option<Micros>,
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
        let mut landed: Vec<Option<Delivered>> = deliveries.iter().map(|_| None).collect();
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (place, delivery) in deliveries.iter().enumerate() {
            let mut announced = announced::look(&delivery.events, &open);
            if let Ok(announced) = &mut announced {
                let unknown = delivery.refused.iter().cloned();
                announced.refused.extend(unknown.map(|fault| Refused { object: None, fault }));
            }
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
            delivery.skipped.iter().for_each(|skipped| one.skip(skipped.reason.name(), 1));
        }
        self.say(deliveries, &landed, &open, began);
        landed
    }

    fn land_group(&self, group: Vec<(usize, Announced)>, open: &Open, allowance: Allowance) -> Vec<(usize, Delivered)> {
        let mut shares = Vec::with_capacity(group.len());
        let mut uploads = Vec::new();
        for (place, announced) in group {
            let names: Vec<_> = announced.uploads.iter().map(|upload| (name_of(upload), upload.modified)).collect();
            uploads.extend(announced.uploads);
            shares.push((place, names, announced.skipped, announced.refused));
        }
        let report = self.ingest(uploads, open, allowance);
        let stopped = report.fault;
        // One object may be announced twice: each announcement takes one of its reports.
        let mut reports: HashMap<_, VecDeque<UploadReport>> = HashMap::new();
        for upload in report.uploads {
            reports.entry((upload.upload.clone(), upload.upload_id.clone())).or_default().push_back(upload);
        }
        let mut delivered = Vec::with_capacity(shares.len());
        // Of rows that landed since their gate is open again, the first message tells.
        let mut released = report.released;
        for (place, names, skipped, refused) in shares {
            let mut one = Delivered::refusing(refused);
            one.report.released = std::mem::take(&mut released);
            for (name, modified) in names {
                match reports.get_mut(&name).and_then(VecDeque::pop_front) {
                    Some(upload) => one.take(upload, modified),
                    None => one.fault = stopped.clone().or_else(|| Some(unreported())),
                }
            }
            for (reason, count) in skipped {
                one.skip(reason, count);
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
    fn say(&self, deliveries: &[Delivery], landed: &[Delivered], open: &Open, began: Micros) {
        let Some(log) = deliveries.first().map(|delivery| &delivery.log) else { return };
        for warning in &open.settings.warnings {
            log.warn(warning, json!({}));
        }
        let (mut landing, mut skipped) = (Landing::default(), BTreeMap::new());
        for (delivery, one) in deliveries.iter().zip(landed) {
            for upload in &one.report.uploads {
                told::upload(&delivery.log, upload, Some(delivery.receives));
                landing.failed += u64::from(upload.status == Status::Failed);
                landing.counts.add(&upload.counts);
                landing.uploads += 1;
            }
            for refused in &one.refused {
                let more = json!({"object": refused.object, "receives": delivery.receives});
                delivery.log.fault(&refused.fault, more);
                landing.failed += 1;
            }
            if let Some(fault) = one.fault.as_ref().filter(|_| !one.names_its_fault()) {
                delivery.log.fault(fault, json!({"receives": delivery.receives}));
                landing.failed += 1;
            }
            told::released(&delivery.log, &one.report.released);
            delivery.warn_of_renamed_folders(open);
            one.skipped.iter().for_each(|(reason, count)| *skipped.entry(*reason).or_default() += count);
            landing.skipped += one.report.totals.skipped;
            landing.oldest = landing.oldest.into_iter().chain(one.oldest).min();
        }
        told::skipped(log, &skipped);
        told::landed(log, &landing, &open.lake, began);
    }
}

impl Delivery {
    /// A renamed folder is announced once, and none of its files: a listing finds them.
    fn warn_of_renamed_folders(&self, open: &Open) {
        let renamed = self.skipped.iter().filter(|one| one.reason == SkipReason::FolderRenamed);
        for folder in renamed.filter(|folder| open.admits(&folder.key).is_ok()) {
            let ask = json!({"action": "ingest", "places": [folder.key]});
            let hint = format!("the next backfill lands them; to land them at once, ask for {ask}");
            self.log.warn(
                "a folder was renamed to a place that uploads come from: its files are not announced",
                json!({"object": folder.key, "hint": hint}),
            );
        }
    }
}

impl Delivered {
    fn failed(fault: FaultReport) -> Self {
        let report = Report { fault: Some(fault.clone()), ..Report::new() };
        Self { report, fault: Some(fault), ..Self::default() }
    }

    /// With objects that fail the message, as the gravest of them demands.
    fn refusing(refused: Vec<Refused>) -> Self {
        let fault = FaultReport::gravest(refused.iter().map(|one| &one.fault)).cloned();
        let report = Report { fault: fault.clone(), ..Report::new() };
        Self { report, refused, fault, ..Self::default() }
    }

    /// Whether the line of an upload or an object says why the message failed.
    fn names_its_fault(&self) -> bool {
        !self.refused.is_empty() || self.report.uploads.iter().any(|upload| upload.status == Status::Failed)
    }

    fn skip(&mut self, reason: &'static str, count: u64) {
        *self.skipped.entry(reason).or_default() += count;
        self.report.totals.skipped += count;
    }

    fn take(&mut self, upload: UploadReport, modified: Micros) {
        if matches!(upload.status, Status::Landed | Status::PartlyHeld | Status::Staged) {
            self.oldest = self.oldest.into_iter().chain([modified]).min();
        }
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

fn unreported() -> FaultReport {
    FaultReport::from(&Fault::bug("an upload was handed over and not reported"))
}

fn name_of(upload: &Upload) -> (String, String) {
    (upload.name.clone(), upload.id.to_string())
}
