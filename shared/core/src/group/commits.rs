//! The commits of a group: event tables, `_rejects`, and last `_loads`, which says that uploads are done.

use std::sync::Mutex;

use hashbrown::HashMap;
use inlet_events::ColumnType;

use super::holding::Held;
use super::reports::{TablePart, table_parts};
use super::{Entry, Group, key_of};
use crate::clock::{self, Deadline};
use crate::crew::{Files, lock, no_encoder, own_layout};
use crate::delta::{Append, Appended, Comments, DataFile, Encoder, FileWriter, Lake, Table, commit, sweep_uncommitted};
use crate::fault::Fault;
use crate::landing::Landed;
use crate::ledger::{LOADS, LoadCounts, LoadRow, LoadRows, REJECTS, loads_columns, rejects_columns};
use crate::registry::{Known, Writes};
use crate::report::{Status, UploadReport};
use crate::upload::{Upload, UploadId};

/// Commits under way at once: each waits for its store.
const COMMITS_AT_ONCE: usize = 8;
/// What became of one table's commit.
enum Committed {
    At(u64),
    /// Its files do not fit it any more, or somebody else landed them.
    Anew,
    Gated,
}

/// Of an upload's name as much as a column's comment holds.
const COMMENT_CHARACTERS: usize = 200;

impl Group<'_, '_> {
    /// The `txn` ids of uploads with rows in a table that do not stand there yet.
    pub(super) fn app_ids(&self, uploads: &[Upload], table: usize) -> Vec<String> {
        let has_rows = |entry: &Entry| match entry {
            Entry::Landed { landed, before } => {
                !before.has_written(table as u32)
                    && landed.counts.tables.get(table).is_some_and(|counts| counts.rows > 0)
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

    /// What the log will say of a table's new columns: which upload brought them first.
    pub(super) fn first_seen(&self, uploads: &[Upload], table: usize) -> Comments {
        let mut comments = Comments::new();
        for (upload, entry) in uploads.iter().zip(&self.entries) {
            let Entry::Landed { landed, .. } = entry else { continue };
            for column in landed.new_columns.get(&(table as u32)).into_iter().flatten() {
                let upload: String = upload.name.chars().take(COMMENT_CHARACTERS).collect();
                comments.entry(column.name.clone()).or_insert_with(|| format!("first seen in {upload}"));
            }
        }
        comments
    }

    /// One commit per event table, several at once; false when some table must be written anew. Files of tables whose
    /// gate is closed are held.
    pub(super) fn commit_tables(
        &mut self,
        uploads: &[Upload],
        files: &mut Files,
        held: &mut Held,
    ) -> Result<bool, Fault> {
        let ids: Vec<_> = (0..files.tables.len()).map(|table| self.app_ids(uploads, table)).collect();
        let comments: Vec<_> = (0..files.tables.len()).map(|table| self.first_seen(uploads, table)).collect();
        let run = &mut *self.run;
        let (lake, schema, deadline) = (&run.parts.lake, run.schema.as_str(), run.deadline());
        let mut registry = lock(&run.registry);
        let rows_only = registry.writes() == Writes::RowsOnly;
        let jobs = registry.known_mut().iter_mut().zip(&files.tables).zip(ids.iter().zip(comments)).enumerate();
        let jobs = Mutex::new(jobs.filter(|(_, ((_, files), (ids, _)))| !files.is_empty() && !ids.is_empty()));
        let results = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..COMMITS_AT_ONCE.min(files.tables.len()) {
                scope.spawn(|| {
                    loop {
                        let Some((number, ((known, files), (app_ids, comments)))) = lock(&jobs).next() else { return };
                        // What the warehouse is to add, for held rows, is none of this commit's.
                        let columns = if rows_only { Vec::new() } else { known.plan.new_columns() };
                        let brought = Append { app_ids: app_ids.clone(), comments, files, ..Append::default() };
                        let result = commit_table(lake, schema, known, &columns, brought, deadline);
                        lock(&results).push((number, result));
                    }
                });
            }
        });
        let plans = registry.plans();
        let mut is_complete = true;
        let mut failed = None;
        let mut gated = Vec::new();
        for (number, result) in results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            match result {
                Ok(Committed::At(version)) => {
                    let name = &plans[number].name;
                    let uploads = uploads.iter().filter(|upload| ids[number].contains(&upload.id.app_id()));
                    run.versions.extend(uploads.map(|upload| ((upload.id.to_string(), name.clone()), version)));
                }
                Ok(Committed::Anew) => is_complete = false,
                Ok(Committed::Gated) => gated.push(number),
                Err(fault) => failed = Some(fault),
            }
        }
        drop(registry);
        for number in gated {
            self.held.insert(number as u32);
            held.behind_gate(number, std::mem::take(&mut files.tables[number]));
        }
        failed.map_or(Ok(is_complete), Err)
    }

    pub(super) fn commit_rejects(&mut self, uploads: &[Upload], files: &Files) -> Result<bool, Fault> {
        if files.rejects.is_empty() {
            return Ok(true);
        }
        let run = &mut *self.run;
        let is_new = |upload: &Upload| run.rejects.as_ref().is_none_or(|table| !table.has(&upload.id.app_id()));
        let rejects = |entry: &Entry| match entry {
            Entry::Landed { landed, .. } => landed.counts.rejected > 0,
            Entry::Rejected(..) => true,
            Entry::Failed(_) => false,
        };
        let named = uploads.iter().zip(&self.entries).filter(|(upload, entry)| rejects(entry) && is_new(upload));
        let app_ids = named.map(|(upload, _)| upload.id.app_id()).collect();
        let append = Append { app_ids, files: &files.rejects, ..Append::default() };
        let (lake, schema) = (&run.parts.lake, &run.schema);
        let deadline = Deadline::after(run.parts.settings.patience);
        let done = commit(lake, schema, REJECTS, &mut run.rejects, &rejects_columns(), &append, deadline)?;
        let is_committed = matches!(done, Appended::Committed { .. });
        if !is_committed && let Some(table) = &mut run.rejects {
            clean_up(lake, table, &files.rejects);
        }
        if let Appended::Gated(closed) = done {
            return Err(closed.fault(schema, REJECTS));
        }
        Ok(is_committed)
    }

    /// `_loads` last: its ids say that uploads are done. Uploads that somebody else finished meanwhile are theirs.
    pub(super) fn commit_loads(&mut self, uploads: &[Upload], reports: &mut [UploadReport]) -> Result<(), Fault> {
        loop {
            let is_ours =
                |report: &UploadReport| matches!(report.status, Status::Landed | Status::PartlyHeld | Status::Rejected);
            let ours: Vec<_> = uploads.iter().zip(&*reports).filter(|(_, report)| is_ours(report)).collect();
            if ours.is_empty() {
                return Ok(());
            }
            let file = self.write_loads(uploads, &ours)?;
            let app_ids = ours.iter().map(|(upload, _)| upload.id.app_id()).collect();
            let marks = ours.iter().filter_map(|(upload, _)| upload.key_app_id()).collect();
            let files = [file];
            let append = Append { app_ids, marks, files: &files, ..Append::default() };
            let run = &mut *self.run;
            let (lake, schema, deadline) = (&run.parts.lake, &run.schema, Deadline::after(run.parts.settings.patience));
            match commit(lake, schema, LOADS, &mut run.loads, &loads_columns(), &append, deadline)? {
                Appended::Committed { .. } => return Ok(()),
                Appended::Landed { app_ids } => {
                    for (upload, report) in uploads.iter().zip(&mut *reports) {
                        if app_ids.contains(&upload.id.app_id()) {
                            *report = UploadReport::new(upload, Status::AlreadyLanded);
                        }
                    }
                }
                Appended::Gated(closed) => {
                    if let Some(table) = &mut run.loads {
                        clean_up(lake, table, &files);
                    }
                    return Err(closed.fault(schema, LOADS));
                }
                Appended::Moved => {
                    return Err(Fault::setup(format!("table `{schema}.{LOADS}` has other columns than Inlet gave it"))
                        .hint(format!("move `{LOADS}` away or choose another schema with --schema")));
                }
            }
            if let Some(table) = &mut run.loads {
                clean_up(lake, table, &files);
            }
        }
    }

    /// Writes the rows of `_loads`: one per upload and table, and one for the upload.
    pub(super) fn write_loads(&self, uploads: &[Upload], ours: &[(&Upload, &UploadReport)]) -> Result<DataFile, Fault> {
        let run = &*self.run;
        let finished_at = clock::now();
        let plans = lock(&run.registry).plans();
        let landed = uploads.iter().zip(&self.entries).filter_map(|(upload, entry)| match entry {
            Entry::Landed { landed, .. } => Some((upload.id, landed.as_ref())),
            Entry::Rejected(..) | Entry::Failed(_) => None,
        });
        let landed: HashMap<UploadId, &Landed> = landed.collect();
        let parts_of = |(upload, report): &(&Upload, &UploadReport)| {
            landed.get(&upload.id).map(|landed| table_parts(landed, &plans, report)).unwrap_or_default()
        };
        let parts: Vec<Vec<TablePart>> = ours.iter().map(parts_of).collect();
        let mut rows = LoadRows::new();
        for ((upload, report), parts) in ours.iter().zip(&parts) {
            let row = |table, status: Status, counts, version, new_columns, bytes| LoadRow {
                upload: key_of(upload),
                upload_id: report.upload_id.clone(),
                table,
                status: status.name(),
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
                let counts = LoadCounts::of_table(&part.counts);
                rows.push(&row(Some(&part.name), part.status, counts, part.version, &part.new_columns, None));
            }
            rows.push(&row(None, report.status, LoadCounts::of_upload(&report.counts), None, &[], Some(upload.size)));
        }
        let layout = own_layout(&run.parts.lake, &run.schema, LOADS, run.loads.as_ref(), &loads_columns())?;
        let mut writer = FileWriter::create(&run.parts.lake, layout)?;
        let mut encoder = Encoder::new().map_err(no_encoder)?;
        writer.write(&rows.row_group(), &mut encoder)?;
        writer.finish()
    }
}

/// Commits one event table, with these columns that it lacks.
fn commit_table(
    lake: &Lake,
    schema: &str,
    known: &mut Known,
    columns: &[(String, ColumnType)],
    append: Append<'_>,
    deadline: Deadline,
) -> Result<Committed, Fault> {
    let append = Append { new_columns: columns.to_vec(), ..append };
    match commit(lake, schema, &known.plan.name, &mut known.table, columns, &append, deadline)? {
        Appended::Committed { version } => Ok(Committed::At(version)),
        Appended::Gated(_) => Ok(Committed::Gated),
        Appended::Landed { .. } | Appended::Moved => {
            if let Some(table) = &mut known.table {
                clean_up(lake, table, append.files);
            }
            Ok(Committed::Anew)
        }
    }
}

/// Deletes files that no commit took. Their rows are in no table, so what fails here stops nothing: VACUUM takes it.
pub(super) fn clean_up(lake: &Lake, table: &mut Table, files: &[DataFile]) {
    drop(sweep_uncommitted(lake, table, files));
}
