//! What no event announced: objects that were there before the function was, and events that got lost.
//!
//! The landing places are listed, and what has not landed yet lands, by the same route as an announced upload: an object
//! that has landed costs its place in a listing and a look into a set, so a backfill may be run as often as one likes.
//! What has landed and is gone since (somebody deleted it, or restored a table) lands when it is asked for `again`.
//! When a call's time is over, the answer says where to go on; a schedule needs not: its next call finds in the
//! listing what is left.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt;
use inlet_core::allowance::TOO_LITTLE_TIME;
use inlet_core::clock::{self, Micros};
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::landing_store::{LandingStore, ListedObject};
use inlet_core::report::{FaultReport, Report, Status, UploadReport};
use inlet_core::settings::duration;
use inlet_core::upload::Upload;
use inlet_events::timestamp_micros;
use serde::Serialize;

use crate::address::StoreAddress;
use crate::installation::Open;
use crate::landing::schema::Schemas;
use crate::landing::{self, skip};
use crate::trigger::Backfill;

/// Uploads that are handed over at once: the tables' logs are read once for all of them.
const AT_ONCE: usize = 10_000;
/// Uploads that are reported one by one; a call's answer may have 6 MB.
const REPORTED: usize = 1_000;

/// What a backfill did.
#[derive(Debug, Serialize)]
pub(crate) struct BackfillReport {
    /// What this run landed, and what failed; not what had landed before.
    #[serde(flatten)]
    report: Report,
    /// Objects of the places and times that were asked for.
    pub(crate) listed: u64,
    /// Uploads that had landed, or were staged, before.
    pub(crate) already_landed: u64,
    /// Whether there is more to look at, which the next backfill does.
    pub(crate) unfinished: bool,
    /// Where that may go on, to save itself the listing: behind this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation: Option<String>,
}

impl BackfillReport {
    /// The gravest fault of what failed. An upload that can never land is accounted for.
    pub(crate) fn gravest(&self) -> Option<FaultReport> {
        let faults = self.report.uploads.iter().filter_map(|upload| upload.fault.as_ref()).chain(&self.report.fault);
        let fails = |fault: &&FaultReport| fault.kind != FaultKind::Rejected && fault.message != TOO_LITTLE_TIME;
        FaultReport::gravest(faults.filter(fails)).cloned()
    }

    /// What was listed and is no upload.
    pub(crate) fn skipped(&self) -> u64 {
        self.report.totals.skipped
    }
}

/// Lists the landing places and lands what has not landed, by `land`, which does what `ingest` does.
///
/// # Errors
/// Setup when what is asked makes no sense or a place may not be listed; Again when a store does not answer.
pub(crate) fn backfill(
    open: &Open,
    asked: &Backfill,
    land: &dyn Fn(Vec<Upload>) -> Report,
) -> Result<BackfillReport, Fault> {
    let mut run = Run::new(open, asked, land)?;
    let mut from = asked.continuation.as_deref();
    for place in places(open, asked.prefix.as_deref()) {
        // Places before the one that a continuation names were done before.
        let after = from.and_then(|from| from.strip_prefix(&place.upload_key("")));
        if from.is_some() && !after.is_some_and(|after| after.starts_with(&place.key)) {
            continue;
        }
        from = None;
        let store = open.store(&place)?;
        let mut pages = store.list(&place.key);
        while let Some(page) = open.lake.handle().block_on(pages.try_next())? {
            for object in page {
                let is_done = after.is_some_and(|after| object.key.as_bytes() <= after.as_bytes());
                if !is_done && !run.take(&place, &store, object)? {
                    return Ok(run.finish());
                }
            }
        }
    }
    match from {
        Some(from) => Err(Fault::setup(format!("`continuation` names `{from}`, which is in no landing place"))
            .hint("give back what the last backfill answered, with the same prefix")),
        None => Ok(run.finish()),
    }
}

/// A backfill as it goes.
struct Run<'a> {
    land: &'a dyn Fn(Vec<Upload>) -> Report,
    from: Micros,
    to: Micros,
    /// Objects that may still be looked at.
    left: u64,
    /// Which time it is that the uploads land.
    time: u64,
    schemas: Schemas<'a>,
    /// Uploads that wait to be landed, in the order of their listing.
    batch: Vec<Upload>,
    /// The last object that needs no other look.
    done_to: Option<String>,
    report: BackfillReport,
}

impl<'a> Run<'a> {
    fn new(open: &'a Open, asked: &Backfill, land: &'a dyn Fn(Vec<Upload>) -> Report) -> Result<Self, Fault> {
        let report = Report { function: "backfill", ..Report::new() };
        Ok(Self {
            land,
            from: moment("from", asked.from.as_deref())?.unwrap_or(Micros::MIN),
            to: moment("to", asked.to.as_deref())?.unwrap_or(Micros::MAX),
            left: asked.max_objects.unwrap_or(u64::MAX),
            time: asked.again.unwrap_or(1),
            schemas: Schemas::new(None, &open.settings.sources)?,
            batch: Vec::new(),
            done_to: asked.continuation.clone(),
            report: BackfillReport { report, listed: 0, already_landed: 0, unfinished: false, continuation: None },
        })
    }

    /// Looks at one object of a listing. False: it was not looked at, there is no more to do in this run.
    fn take(
        &mut self,
        place: &StoreAddress,
        store: &Arc<dyn LandingStore>,
        object: ListedObject,
    ) -> Result<bool, Fault> {
        if !(self.from..self.to).contains(&object.form.modified) {
            return Ok(true);
        }
        if self.left == 0 {
            self.land();
            self.report.unfinished = true;
            return Ok(false);
        }
        self.left -= 1;
        self.report.listed += 1;
        let below = object.key.strip_prefix(&place.key).unwrap_or(&object.key).trim_start_matches('/');
        if object.form.size == 0 || skip::by_key(below) {
            self.report.report.totals.skipped += 1;
        } else if let Some(schema) = self.schemas.of(&[&object.key])? {
            let upload = landing::stored(place, Arc::clone(store), object, schema);
            self.batch.push(Upload { id: upload.id.for_the_time(self.time), ..upload });
        }
        Ok(self.batch.len() < AT_ONCE || self.land())
    }

    /// Lands what waits. False: time was over before all of it was begun.
    fn land(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return true;
        }
        let names: Vec<_> = batch.iter().map(|one| (one.name.clone(), one.key.clone())).collect();
        let landed = (self.land)(batch);
        let mut late = HashSet::new();
        self.report.report.fault = self.report.report.fault.take().or(landed.fault);
        for upload in landed.uploads {
            let fault = upload.fault.as_ref().filter(|_| upload.status == Status::Failed);
            if fault.is_some_and(|fault| fault.kind == FaultKind::Again) {
                late.insert(upload.upload.clone());
            }
            self.report.add(upload);
        }
        let begun = names.iter().take_while(|(name, _)| !late.contains(name));
        self.done_to = begun.last().and_then(|(_, key)| key.clone()).or(self.done_to.take());
        self.report.unfinished |= !late.is_empty();
        late.is_empty()
    }

    fn finish(mut self) -> BackfillReport {
        if !self.report.unfinished {
            self.land();
        }
        self.report.continuation = self.done_to.take().filter(|_| self.report.unfinished);
        for source in self.schemas.skipped() {
            self.report.report.totals.skipped += source.uploads;
            self.report.report.skipped.push(source);
        }
        self.report
    }
}

impl BackfillReport {
    fn add(&mut self, upload: UploadReport) {
        if matches!(upload.status, Status::AlreadyLanded | Status::AlreadyStaged) {
            self.already_landed += 1;
        } else if self.report.uploads.len() < REPORTED || upload.status == Status::Failed {
            self.report.push(upload);
        } else {
            self.report.totals.uploads += 1;
            self.report.totals.counts.add(&upload.counts);
        }
    }
}

/// The landing places, each narrowed to the keys under a prefix.
fn places(open: &Open, prefix: Option<&str>) -> Vec<StoreAddress> {
    let prefix = prefix.unwrap_or_default();
    let narrowed = |place: &StoreAddress| {
        let key = if place.key.starts_with(prefix) {
            place.key.clone()
        } else if prefix.starts_with(&place.key) {
            prefix.to_owned()
        } else {
            return None;
        };
        Some(StoreAddress { key, ..place.clone() })
    };
    open.landing.iter().filter_map(narrowed).collect()
}

/// A moment, as RFC 3339 writes it, or so long ago: `2d`.
fn moment(member: &str, text: Option<&str>) -> Result<Option<Micros>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let ago = || duration(text).map(|ago| clock::now() - ago.as_micros() as Micros);
    timestamp_micros(text.as_bytes()).or_else(ago).map(Some).ok_or_else(|| {
        Fault::setup(format!("`{member}` must be a time, not `{text}`"))
            .hint("write 2026-01-15T00:00:00Z, or so long ago: 12h, 2d")
    })
}

#[cfg(test)]
mod tests {
    use inlet_core::upload::UploadId;
    use serde_json::json;

    use super::*;
    use crate::installation::testing::Site;

    const EVENT: &str = "{\"type\":\"identify\",\"userId\":\"u\"}";

    fn site(count: usize) -> Site {
        let site = Site::new();
        for number in 0..count {
            site.landing.put(&format!("in/{number}.json"), &format!("{EVENT}\n{}", " ".repeat(number)));
        }
        site.landing.put("in/dummy-object.txt", "x");
        site.landing.put("elsewhere/a.json", EVENT);
        site
    }

    fn run(site: &Site, asked: &Backfill) -> BackfillReport {
        backfill(&site.open(), asked, &|uploads| site.ingest(uploads)).unwrap()
    }

    #[test]
    fn what_stands_in_the_landing_places_lands_once() {
        let site = site(3);
        let first = run(&site, &Backfill::default());
        assert_eq!((first.listed, first.already_landed, first.report.totals.skipped), (4, 0, 1));
        assert_eq!((first.report.uploads.len(), first.report.totals.counts.landed), (3, 3));
        let again = run(&site, &Backfill::default());
        assert_eq!((again.listed, again.already_landed, again.report.uploads.len()), (4, 3, 0));
        assert!(!again.unfinished && again.continuation.is_none() && again.gravest().is_none());
    }

    #[test]
    fn what_is_gone_since_it_landed_lands_when_it_is_asked_for_again() {
        let site = Site::new();
        let page = "{\"type\":\"page\",\"messageId\":\"p\",\"userId\":\"u\"}";
        site.landing.put("in/a.json", &format!("{EVENT}\n{page}"));
        run(&site, &Backfill::default());
        let open = site.open();
        let table = std::path::Path::new(open.settings.lake.as_deref().unwrap()).join("events/identifies");
        std::fs::remove_dir_all(&table).unwrap();
        assert_eq!(run(&site, &Backfill::default()).already_landed, 1, "it was done");
        let again = Backfill { again: Some(2), ..Backfill::default() };
        let counts = run(&site, &again).report.totals.counts;
        assert_eq!((counts.events, counts.landed, counts.duplicates), (2, 1, 1), "the page still stands");
        assert!(table.exists());
        assert_eq!(run(&site, &again).already_landed, 1, "that time is over too");
        let third = run(&site, &Backfill { again: Some(3), ..Backfill::default() }).report.totals.counts;
        assert_eq!((third.landed, third.duplicates), (0, 2));
    }

    #[test]
    fn a_part_says_where_to_go_on() {
        let site = site(5);
        let mut asked = Backfill { max_objects: Some(2), ..Backfill::default() };
        let mut landed = 0;
        for _ in 0..2 {
            let part = run(&site, &asked);
            assert!(part.unfinished);
            landed += part.report.totals.counts.landed;
            asked.continuation = part.continuation;
        }
        assert_eq!(asked.continuation.as_deref(), Some("s3/acme-landing/in/3.json"));
        let last = run(&site, &asked);
        assert!(!last.unfinished, "one upload and what is none are left");
        assert_eq!(landed + last.report.totals.counts.landed, 5);
        asked.continuation = Some("s3/other/in/3.json".to_owned());
        let fault = backfill(&site.open(), &asked, &|_| Report::new()).unwrap_err();
        assert!(fault.to_string().contains("in no landing place"), "{fault}");
    }

    #[test]
    fn prefixes_and_times_narrow_it() {
        let site = site(3);
        let listed = |asked: Backfill| run(&site, &asked).listed;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(listed(Backfill { prefix: some("in/1"), ..Backfill::default() }), 1);
        assert_eq!(listed(Backfill { prefix: some("elsewhere/"), ..Backfill::default() }), 0, "not a landing place");
        assert_eq!(listed(Backfill { from: some("2d"), ..Backfill::default() }), 0, "they are of 1970");
        assert_eq!(listed(Backfill { to: some("1970-01-02T00:00:00Z"), ..Backfill::default() }), 4);
        let asked = Backfill { from: some("yesterday"), ..Backfill::default() };
        let fault = backfill(&site.open(), &asked, &|_| Report::new()).unwrap_err();
        assert!(fault.hint_text().unwrap().contains("2d"), "{fault}");
    }

    #[test]
    fn time_that_is_over_is_no_fault_and_any_other_is() {
        let late = |message: &str| {
            let site = site(2);
            let fault = FaultReport::from(&Fault::again(message));
            let land = |uploads: Vec<Upload>| {
                let mut report = Report::new();
                for upload in uploads {
                    let failed = UploadReport::failed(&upload, &Fault::again(message));
                    report.push(failed);
                }
                report
            };
            let done = backfill(&site.open(), &Backfill::default(), &land).unwrap();
            assert!(done.unfinished && done.continuation.is_none(), "nothing was begun");
            (done.gravest().map(|fault| fault.message), fault.message)
        };
        assert_eq!(late(TOO_LITTLE_TIME).0, None);
        let (said, other) = late("no answer");
        assert_eq!(said, Some(other));
    }

    #[test]
    fn an_id_is_the_same_whichever_way_an_upload_comes() {
        let site = site(1);
        let report = serde_json::to_value(run(&site, &Backfill::default())).unwrap();
        let form = futures::executor::block_on(site.landing.head("in/0.json", None)).unwrap().unwrap();
        let id = UploadId::of_object("s3", "acme-landing", "in/0.json", &form.etag).to_string();
        assert_eq!(report["uploads"][0]["upload_id"], json!(id));
        assert_eq!(report["function"], "backfill");
    }
}
