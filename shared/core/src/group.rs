//! A group of uploads: read one after another, committed together.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use hashbrown::{HashMap, HashSet};
use inlet_events::{Reason, UploadContext};

use crate::clock::{self, Deadline};
use crate::crew::{Crewman, Files, Yard, bug, lock, reject_layout};
use crate::delta::{Append, Appended, DataFile, FileLayout, FileWriter, Lake, commit, delete_files, sweep_uncommitted};
use crate::fault::Fault;
use crate::landing::{Landed, Work, land};
use crate::ledger::{LOADS, LoadRow, REJECTS, loads_batch, loads_columns, rejects_columns};
use crate::registry::{Known, Past};
use crate::report::{Counts, FaultReport, Status, TableReport, UploadReport};
use crate::route::Watch;
use crate::schema::SchemaRun;
use crate::source::{Opened, Refusal, Source};
use crate::upload::Upload;

/// Commits under way at once: each waits for its store.
const COMMITS_AT_ONCE: usize = 8;

/// What reading an upload came to.
#[derive(Debug)]
enum Entry {
    Landed {
        landed: Box<Landed>,
        /// Tables that held its rows before this run.
        before: HashSet<u32>,
    },
    Rejected(Reason, Option<String>),
    Failed(Fault),
}

/// Uploads on their way into tables.
#[derive(Debug)]
pub(crate) struct Group<'r, 'a> {
    run: &'r mut SchemaRun<'a>,
    entries: Vec<Entry>,
}

impl<'r, 'a> Group<'r, 'a> {
    pub(crate) fn new(run: &'r mut SchemaRun<'a>) -> Self {
        Self { run, entries: Vec::new() }
    }

    /// Reads uploads into the workers' files, while the next one is being unpacked. Answers how many were taken: a
    /// giant, which streams and can fail at its end, shares no file and no commit with others.
    ///
    /// # Errors
    /// The place of an upload that failed after some of its rows were built, and why.
    pub(crate) fn read(&mut self, uploads: &[Upload], watch: &dyn Watch) -> Result<usize, (usize, Fault)> {
        let pasts = self.run.pasts(uploads).map_err(|fault| (0, fault))?;
        let limits = self.run.parts.settings.limits.clone();
        let handle = self.run.parts.lake.handle().clone();
        let buffers = Arc::clone(&self.run.buffers);
        let progress = |bytes| watch.read(bytes);
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(0);
            scope.spawn(|| {
                let send = send;
                for upload in uploads {
                    let opened = Source { upload, limits: &limits, handle: &handle, buffers: &buffers }.open(&progress);
                    // Nobody listens any more: the group is complete without this one.
                    if send.send(opened).is_err() {
                        return;
                    }
                }
            });
            let taken = self.read_opened(uploads, pasts, &receive);
            // The opener waits for somebody to take what it unpacked: nobody will.
            drop(receive);
            taken
        })
    }

    fn read_opened(
        &mut self,
        uploads: &[Upload],
        pasts: Vec<Past>,
        opened: &Receiver<Result<Opened, Refusal>>,
    ) -> Result<usize, (usize, Fault)> {
        for (at, (upload, past)) in uploads.iter().zip(pasts).enumerate() {
            let Ok(next) = opened.recv() else { return Err((at, Fault::bug("an upload was not opened"))) };
            let is_giant = matches!(next, Ok(Opened::Stream(_)));
            if is_giant && at > 0 {
                return Ok(at);
            }
            let entry = match next {
                Ok(opened) => self.land(upload, past, opened).map_err(|fault| (at, fault))?,
                Err(Refusal::Rejected(reason, what)) => Entry::Rejected(reason, what),
                Err(Refusal::Fault(fault)) => Entry::Failed(fault),
            };
            self.entries.push(entry);
            if is_giant {
                return Ok(at + 1);
            }
        }
        Ok(uploads.len())
    }

    fn land(&mut self, upload: &Upload, past: Past, opened: Opened) -> Result<Entry, Fault> {
        let run = &mut *self.run;
        let settings = &run.parts.settings;
        if let Err(fault) = lock(&run.registry).begin(past) {
            return Ok(Entry::Failed(fault));
        }
        let layout = reject_layout(&run.parts.lake, &run.schema, run.rejects.as_ref())?;
        let yard =
            Yard { lake: &run.parts.lake, registry: &run.registry, reject_layout: &layout, workers: settings.workers };
        let context = upload_context(upload, run.started_at, settings);
        let work = Work {
            registry: &run.registry,
            yard: Some(yard),
            context: &context,
            rejects_landed: run.rejects.as_ref().is_some_and(|table| table.has(&upload.id.app_id())),
            deadline: run.deadline(),
        };
        let source =
            Source { upload, limits: &settings.limits, handle: run.parts.lake.handle(), buffers: &run.buffers };
        match land(work, &source, opened, &mut run.crew) {
            Ok(landed) => Ok(Entry::Landed { landed: Box::new(landed), before: lock(&run.registry).landed().clone() }),
            Err(stopped) if !stopped.left_traces => Ok(match stopped.refusal {
                Refusal::Rejected(reason, what) => Entry::Rejected(reason, what),
                Refusal::Fault(fault) => Entry::Failed(fault),
            }),
            Err(stopped) => match stopped.refusal {
                // Only a giant is rejected after rows were built, and it is alone: its rows go, its rejection stays.
                Refusal::Rejected(reason, what) => {
                    self.drop_rows();
                    lock(&self.run.registry).reload()?;
                    Ok(Entry::Rejected(reason, what))
                }
                Refusal::Fault(fault) => Err(fault),
            },
        }
    }

    fn drop_rows(&mut self) {
        let files: Vec<_> = self.run.crew.iter_mut().flat_map(Crewman::abandon).collect();
        delete_files(&self.run.parts.lake, &files);
    }

    /// Gives the group up: nothing of it was committed.
    pub(crate) fn abandon(mut self) {
        self.drop_rows();
    }

    /// Commits the group: event tables, then `_rejects`, then `_loads`. Nothing when a race was lost in a way that
    /// needs the uploads read again.
    ///
    /// # Errors
    /// When a store or a table refuses; what was committed is recognised by the next run.
    pub(crate) fn commit(mut self, uploads: &[Upload]) -> Result<Option<Vec<UploadReport>>, Fault> {
        let files = match self.finish_files(uploads) {
            Ok(files) => files,
            Err(fault) => {
                self.drop_rows();
                return Err(fault);
            }
        };
        if !self.commit_tables(uploads, &files)? || !self.commit_rejects(uploads, &files)? {
            return Ok(None);
        }
        let mut reports = self.reports(uploads);
        self.commit_loads(uploads, &mut reports)?;
        self.run.committed()?;
        Ok(Some(reports))
    }

    fn finish_files(&mut self, uploads: &[Upload]) -> Result<Files, Fault> {
        let run = &mut *self.run;
        for (upload, entry) in uploads.iter().zip(&self.entries) {
            let known = run.rejects.as_ref().is_some_and(|table| table.has(&upload.id.app_id()));
            if let (Entry::Rejected(reason, _), false, Some(man)) = (entry, known, run.crew.first_mut()) {
                man.rejects.add_whole(key_of(upload), &upload.id.to_string(), *reason, run.started_at);
            }
        }
        let layout = reject_layout(&run.parts.lake, &run.schema, run.rejects.as_ref())?;
        let plans = lock(&run.registry).plans();
        let yard = Yard {
            lake: &run.parts.lake,
            registry: &run.registry,
            reject_layout: &layout,
            workers: run.parts.settings.workers,
        };
        let finish = |man: &mut Crewman| {
            let mut files = Files::default();
            man.finish(yard, &plans, &mut files).map(|()| files)
        };
        let finished: Vec<Result<Files, Fault>> = std::thread::scope(|scope| {
            let finish = &finish;
            let threads: Vec<_> = run.crew.iter_mut().map(|man| scope.spawn(move || finish(man))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(Fault::bug("a worker panicked"))))
                .collect()
        });
        let mut files = Files { tables: vec![Vec::new(); plans.len()], rejects: Vec::new() };
        let mut failed = None;
        for one in finished {
            match one {
                Ok(mut one) => {
                    files.rejects.append(&mut one.rejects);
                    files.tables.iter_mut().zip(one.tables).for_each(|(all, mut more)| all.append(&mut more));
                }
                Err(fault) => failed = Some(fault),
            }
        }
        match failed {
            Some(fault) => {
                delete_files(&run.parts.lake, &files.all());
                Err(fault)
            }
            None => Ok(files),
        }
    }

    /// The `txn` ids of uploads with rows in a table that do not stand there yet.
    fn app_ids(&self, uploads: &[Upload], table: usize) -> Vec<String> {
        let has_rows = |entry: &Entry| match entry {
            Entry::Landed { landed, before } => {
                !before.contains(&(table as u32))
                    && landed.order.tables.get(table).is_some_and(|counts| counts.rows > 0)
            }
            _ => false,
        };
        uploads
            .iter()
            .zip(&self.entries)
            .filter(|(_, entry)| has_rows(entry))
            .map(|(upload, _)| upload.id.app_id())
            .collect()
    }

    /// One commit per event table, several at once; false when some table must be written anew.
    fn commit_tables(&mut self, uploads: &[Upload], files: &Files) -> Result<bool, Fault> {
        let ids: Vec<_> = (0..files.tables.len()).map(|table| self.app_ids(uploads, table)).collect();
        let run = &mut *self.run;
        let (lake, schema, deadline) = (&run.parts.lake, run.schema.as_str(), run.deadline());
        let mut registry = lock(&run.registry);
        let jobs = registry.known_mut().iter_mut().zip(&files.tables).zip(&ids).enumerate();
        let jobs = Mutex::new(jobs.filter(|(_, ((_, files), ids))| !files.is_empty() && !ids.is_empty()));
        let results = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..COMMITS_AT_ONCE.min(files.tables.len()) {
                scope.spawn(|| {
                    loop {
                        let Some((number, ((known, files), app_ids))) = lock(&jobs).next() else { return };
                        let result = commit_table(lake, schema, known, files, app_ids.clone(), deadline);
                        lock(&results).push((number, result));
                    }
                });
            }
        });
        let plans = registry.plans();
        let mut is_complete = true;
        let mut failed = None;
        for (number, result) in results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            match result {
                Ok(Some(version)) => {
                    let name = &plans[number].name;
                    let uploads = uploads.iter().filter(|upload| ids[number].contains(&upload.id.app_id()));
                    run.versions.extend(uploads.map(|upload| ((upload.id.to_string(), name.clone()), version)));
                }
                Ok(None) => is_complete = false,
                Err(fault) => failed = Some(fault),
            }
        }
        failed.map_or(Ok(is_complete), Err)
    }

    fn commit_rejects(&mut self, uploads: &[Upload], files: &Files) -> Result<bool, Fault> {
        if files.rejects.is_empty() {
            return Ok(true);
        }
        let run = &mut *self.run;
        let is_new = |upload: &Upload| run.rejects.as_ref().is_none_or(|table| !table.has(&upload.id.app_id()));
        let rejects = |entry: &Entry| match entry {
            Entry::Landed { landed, .. } => landed.order.rejected > 0,
            Entry::Rejected(..) => true,
            Entry::Failed(_) => false,
        };
        let named = uploads.iter().zip(&self.entries).filter(|(upload, entry)| rejects(entry) && is_new(upload));
        let app_ids = named.map(|(upload, _)| upload.id.app_id()).collect();
        let append = Append { app_ids, marks: Vec::new(), new_columns: Vec::new(), files: &files.rejects };
        let (lake, schema) = (&run.parts.lake, &run.schema);
        let deadline = Deadline::after(run.parts.settings.patience);
        let done = commit(lake, schema, REJECTS, &mut run.rejects, &rejects_columns(), &append, deadline)?;
        let is_committed = matches!(done, Appended::Committed { .. });
        if !is_committed && let Some(table) = &mut run.rejects {
            sweep_uncommitted(lake, table, &files.rejects)?;
        }
        Ok(is_committed)
    }

    /// `_loads` last: its ids say that uploads are done. Uploads that somebody else finished meanwhile are theirs.
    fn commit_loads(&mut self, uploads: &[Upload], reports: &mut [UploadReport]) -> Result<(), Fault> {
        loop {
            let run = &mut *self.run;
            let (lake, schema) = (&run.parts.lake, &run.schema);
            let is_ours = |report: &UploadReport| matches!(report.status, Status::Landed | Status::Rejected);
            let ours: Vec<_> = uploads.iter().zip(&*reports).filter(|(_, report)| is_ours(report)).collect();
            if ours.is_empty() {
                return Ok(());
            }
            let finished_at = clock::now();
            let filtered = self.entries.iter().map(|entry| match entry {
                Entry::Landed { landed, .. } => Some(landed.as_ref()),
                _ => None,
            });
            let filtered: HashMap<String, &Landed> = uploads
                .iter()
                .zip(filtered)
                .filter_map(|(upload, landed)| Some((upload.id.to_string(), landed?)))
                .collect();
            let plans = lock(&run.registry).plans();
            let parts = ours.iter().map(|(_, report)| {
                filtered.get(&report.upload_id).map(|landed| table_parts(landed, &plans, report)).unwrap_or_default()
            });
            let parts: Vec<_> = parts.collect();
            let mut rows = Vec::new();
            for ((upload, report), parts) in ours.iter().zip(&parts) {
                let row = |table, counts, version, new_columns, bytes| LoadRow {
                    upload: key_of(upload),
                    upload_id: report.upload_id.clone(),
                    table,
                    status: report.status.name(),
                    counts,
                    bytes,
                    version,
                    new_columns,
                    started_at: run.started_at,
                    finished_at,
                    lag_seconds: (finished_at - upload.modified) as f64 / 1e6,
                    host: run.parts.host,
                };
                for part in parts {
                    rows.push(row(Some(&part.name), part.counts.clone(), part.version, &part.new_columns, None));
                }
                rows.push(row(None, report.counts.clone(), None, &[], Some(upload.size)));
            }
            let layout = match &run.loads {
                Some(table) => FileLayout::of_existing(lake, table, &[])?,
                None => FileLayout::of_new(lake, schema, LOADS, &loads_columns())?,
            };
            let mut writer = FileWriter::create(lake, layout)?;
            writer.write(&loads_batch(&rows).map_err(bug)?)?;
            let files = [writer.finish()?];
            let app_ids = ours.iter().map(|(upload, _)| upload.id.app_id()).collect();
            let marks = ours.iter().filter_map(|(upload, _)| upload.key_app_id()).collect();
            let append = Append { app_ids, marks, new_columns: Vec::new(), files: &files };
            let deadline = Deadline::after(run.parts.settings.patience);
            match commit(lake, schema, LOADS, &mut run.loads, &loads_columns(), &append, deadline)? {
                Appended::Committed { .. } => return Ok(()),
                Appended::Landed { app_ids } => {
                    for (upload, report) in uploads.iter().zip(&mut *reports) {
                        if app_ids.contains(&upload.id.app_id()) {
                            *report = UploadReport::new(upload, Status::AlreadyLanded);
                        }
                    }
                }
                Appended::Moved => {
                    return Err(Fault::setup(format!("table `{schema}.{LOADS}` has other columns than Inlet gave it"))
                        .hint(format!("move `{LOADS}` away or choose another schema with --schema")));
                }
            }
            if let Some(table) = &mut run.loads {
                sweep_uncommitted(lake, table, &files)?;
            }
        }
    }

    fn reports(&self, uploads: &[Upload]) -> Vec<UploadReport> {
        let plans = lock(&self.run.registry).plans();
        let report = |(upload, entry): (&Upload, &Entry)| match entry {
            Entry::Failed(fault) => UploadReport::failed(upload, fault),
            Entry::Rejected(reason, what) => rejected_report(upload, *reason, what.as_deref()),
            Entry::Landed { landed, before } => {
                let mut report = UploadReport::new(upload, Status::Landed);
                report.counts = counts_of(landed);
                for (number, counts) in landed.order.tables.iter().enumerate().filter(|(_, counts)| counts.rows > 0) {
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

/// The context of an upload's events.
pub(crate) fn upload_context(upload: &Upload, processed: i64, settings: &crate::settings::Settings) -> UploadContext {
    UploadContext {
        name: key_of(upload).to_owned(),
        upload_id: upload.id.to_string(),
        key: upload.key.clone().unwrap_or_default(),
        arrived: upload.modified,
        processed,
        warehouse_id: settings.warehouse_id.clone(),
        line_bytes: settings.limits.line_bytes,
    }
}

/// What names an upload in `_loads` and `_rejects`: its key, by which its later forms look for it.
fn key_of(upload: &Upload) -> &str {
    upload.key.as_deref().unwrap_or(&upload.name)
}

/// Sums an upload's tables up: what landed are rows of call tables.
pub(crate) fn counts_of(landed: &Landed) -> Counts {
    let order = &landed.order;
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
struct TablePart {
    name: String,
    counts: Counts,
    version: Option<u64>,
    new_columns: Vec<crate::report::NewColumn>,
}

fn table_parts(
    landed: &Landed,
    plans: &[Arc<inlet_events::table::TablePlan>],
    report: &UploadReport,
) -> Vec<TablePart> {
    let mut filtered = landed.order.filtered_tables.clone();
    let mut parts = Vec::new();
    for (number, counts) in landed.order.tables.iter().enumerate() {
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

/// Commits one event table; nothing when its files do not fit the table any more or were landed by somebody else.
fn commit_table(
    lake: &Lake,
    schema: &str,
    known: &mut Known,
    files: &[DataFile],
    app_ids: Vec<String>,
    deadline: Deadline,
) -> Result<Option<u64>, Fault> {
    let columns = known.plan.new_columns();
    let append = Append { app_ids, marks: Vec::new(), new_columns: columns.clone(), files };
    match commit(lake, schema, &known.plan.name, &mut known.table, &columns, &append, deadline)? {
        Appended::Committed { version } => Ok(Some(version)),
        Appended::Landed { .. } | Appended::Moved => {
            if let Some(table) = &mut known.table {
                sweep_uncommitted(lake, table, files)?;
            }
            Ok(None)
        }
    }
}
