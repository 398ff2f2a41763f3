//! A group of uploads: read one after another, committed together.

mod ahead;
mod commits;
mod holding;
mod reports;
mod staging;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashSet;
use inlet_events::{Reason, UploadContext};

use self::ahead::{Ahead, Taker};
pub(crate) use self::reports::{counts_of, rejected_report};
use crate::crew::{Crewman, Files, Yard, lock, together, worker_panicked};
use crate::delta::delete_files;
use crate::evolve::notes;
use crate::fault::Fault;
use crate::landing::{Landed, Work, land};
use crate::ledger::{LOADS, REJECTS};
use crate::registry::{Before, Past};
use crate::report::UploadReport;
use crate::route::Watch;
use crate::schema::SchemaRun;
use crate::settings::Settings;
use crate::source::{Opened, Refusal, Source};
use crate::underway::{leave, remove};
use crate::upload::{Place, Upload};

/// Uploads of a store that are opened at once and not taken: each waits for the store's answer.
const OPENED_OF_STORES: usize = 8;
/// The same of this machine: while one is read, the next is unpacked.
const OPENED_HERE: usize = 2;

/// What reading an upload came to.
#[derive(Debug)]
enum Entry {
    Landed { landed: Box<Landed>, before: Before },
    Rejected(Reason, Option<String>),
    Failed(Fault),
}

/// Uploads on their way into tables.
#[derive(Debug)]
pub(crate) struct Group<'r, 'a> {
    run: &'r mut SchemaRun<'a>,
    entries: Vec<Entry>,
    /// Tables whose rows of this group are held.
    held: HashSet<u32>,
    /// Whether they are staged: what is held of them is all there is.
    is_staged: bool,
}

impl<'r, 'a> Group<'r, 'a> {
    pub(crate) fn new(run: &'r mut SchemaRun<'a>) -> Self {
        Self { run, entries: Vec::new(), held: HashSet::new(), is_staged: false }
    }

    /// Reads uploads into the workers' files, while the next ones are being opened. Answers how many were taken: a
    /// giant, which streams and can fail at its end, shares no file and no commit with others.
    ///
    /// # Errors
    /// The place of an upload that failed after some of its rows were built, and why.
    pub(crate) fn read(&mut self, uploads: &[Upload], watch: &dyn Watch) -> Result<usize, (usize, Fault)> {
        let pasts = self.run.pasts(uploads).map_err(|fault| (0, fault))?;
        let limits = self.run.parts.settings.limits.clone();
        let handle = self.run.parts.lake.handle().clone();
        let buffers = Arc::clone(&self.run.buffers);
        let admits = self.run.admits();
        let is_stored = |upload: &Upload| matches!(upload.place, Place::Object { .. });
        let at_once = if uploads.iter().any(is_stored) { OPENED_OF_STORES } else { OPENED_HERE };
        let ahead = Ahead::new(uploads.len(), at_once, &buffers);
        std::thread::scope(|scope| {
            for _ in 0..at_once.min(uploads.len()) {
                scope.spawn(|| {
                    ahead.work(|at, go_on| {
                        let upload = &uploads[at];
                        let source = Source { upload, limits: &limits, admits, handle: &handle, buffers: &buffers };
                        source.open_while(go_on)
                    });
                });
            }
            self.read_opened(uploads, pasts, &ahead.taker(), watch)
        })
    }

    fn read_opened(
        &mut self,
        uploads: &[Upload],
        pasts: Vec<Past>,
        opened: &Taker<'_>,
        watch: &dyn Watch,
    ) -> Result<usize, (usize, Fault)> {
        for (at, (upload, past)) in uploads.iter().zip(pasts).enumerate() {
            let Some(next) = opened.take() else { return Err((at, Fault::bug("an upload was not opened"))) };
            let is_giant = matches!(&next, Ok(opened) if !opened.is_whole);
            if is_giant && at > 0 {
                return Ok(at);
            }
            watch.read(upload.size);
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
        let yard = Yard {
            lake: &run.parts.lake,
            schema: &run.schema,
            registry: &run.registry,
            rejects: run.rejects.as_ref(),
            buffers: &run.buffers,
            workers: settings.workers,
        };
        let context = upload_context(upload, run.started_at, settings);
        let work = Work {
            registry: &run.registry,
            yard: Some(yard),
            context: &context,
            rejects_landed: run.rejects.as_ref().is_some_and(|table| table.has(&upload.id.app_id())),
            deadline: run.deadline(),
        };
        let source = Source {
            upload,
            limits: &settings.limits,
            admits: run.admits(),
            handle: run.parts.lake.handle(),
            buffers: &run.buffers,
        };
        match land(work, &source, opened, &mut run.crew) {
            Ok(landed) => Ok(Entry::Landed { landed: Box::new(landed), before: lock(&run.registry).before().clone() }),
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

    /// Commits the group: event tables, then `_rejects`, then `_loads`. Rows that are held are noted before `_loads`.
    /// Nothing when a race was lost in a way that needs the uploads read again.
    ///
    /// # Errors
    /// When a store or a table refuses; what was committed is recognised by the next run.
    pub(crate) fn commit(mut self, uploads: &[Upload]) -> Result<Option<Vec<UploadReport>>, Fault> {
        let mut files = match self.finish_files(uploads) {
            Ok(files) => files,
            Err(fault) => {
                self.drop_rows();
                return Err(fault);
            }
        };
        let mut held = self.hold_back(&mut files);
        if let Err(fault) = self.leave_notes(uploads, &files) {
            delete_files(&self.run.parts.lake, &files.all());
            held.delete(&self.run.parts.lake);
            return Err(fault);
        }
        let committed = self.commit_tables(uploads, &mut files, &mut held);
        let committed = committed.and_then(|all| Ok(all && self.commit_rejects(uploads, &files)?));
        if !matches!(committed, Ok(true)) {
            self.drop_held(&held);
            return committed.map(|_| None);
        }
        self.note_held(uploads, &held)?;
        let mut reports = self.reports(uploads);
        self.commit_loads(uploads, &mut reports)?;
        remove(&self.run.parts.lake, &std::mem::take(&mut self.run.notes));
        self.run.committed()?;
        Ok(Some(reports))
    }

    /// Before the first commit: what is under way, and which tables the catalog will not know as they will be.
    fn leave_notes(&mut self, uploads: &[Upload], files: &Files) -> Result<(), Fault> {
        let (lake, schema) = (&self.run.parts.lake, &self.run.schema);
        let landing = uploads.iter().zip(&self.entries).filter(|(_, entry)| matches!(entry, Entry::Landed { .. }));
        let note = leave(lake, schema, landing.map(|(upload, _)| upload))?;
        self.run.notes.extend(note);
        if !self.run.parts.settings.has_catalog() {
            return Ok(());
        }
        let mut behind = BTreeMap::new();
        for (known, files) in lock(&self.run.registry).known_mut().iter().zip(&files.tables) {
            let new_columns = known.plan.new_columns();
            if !files.is_empty() && (known.table.is_none() || !new_columns.is_empty()) {
                let names = new_columns.into_iter().map(|(name, _)| name).collect();
                behind.insert(known.plan.name.clone(), names);
            }
        }
        if self.run.rejects.is_none() && !files.rejects.is_empty() {
            behind.insert(REJECTS.to_owned(), Vec::new());
        }
        if self.run.loads.is_none() {
            behind.insert(LOADS.to_owned(), Vec::new());
        }
        notes::leave(lake, schema, behind)
    }

    fn finish_files(&mut self, uploads: &[Upload]) -> Result<Files, Fault> {
        let run = &mut *self.run;
        for (upload, entry) in uploads.iter().zip(&self.entries) {
            let known = run.rejects.as_ref().is_some_and(|table| table.has(&upload.id.app_id()));
            if let (Entry::Rejected(reason, _), false, Some(man)) = (entry, known, run.crew.first_mut()) {
                man.rejects.add_whole(key_of(upload), &upload.id.to_string(), *reason, run.started_at);
            }
        }
        let plans = lock(&run.registry).plans();
        let yard = Yard {
            lake: &run.parts.lake,
            schema: &run.schema,
            registry: &run.registry,
            rejects: run.rejects.as_ref(),
            buffers: &run.buffers,
            workers: run.parts.settings.workers,
        };
        let finish = |man: &mut Crewman| {
            let mut files = Files::default();
            man.finish(yard, &plans, &mut files).map(|()| files)
        };
        let finished = together(&mut run.crew, finish).into_iter();
        let finished = finished.map(|done| done.unwrap_or_else(|| Err(worker_panicked())));
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
}

/// The context of an upload's events.
pub(crate) fn upload_context(upload: &Upload, processed: i64, settings: &Settings) -> UploadContext {
    UploadContext {
        name: key_of(upload).to_owned(),
        upload_id: upload.id.to_string(),
        key: upload.key.clone().unwrap_or_default(),
        arrived: upload.modified,
        processed,
        warehouse_id: settings.warehouse_id.clone(),
        line_bytes: settings.limits.line_bytes,
        selection: settings.selection.clone(),
        contracts: settings.contracts.clone(),
    }
}

/// What names an upload in `_loads` and `_rejects`: its key, by which its later forms look for it.
fn key_of(upload: &Upload) -> &str {
    upload.key.as_deref().unwrap_or(&upload.name)
}
