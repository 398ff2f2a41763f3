//! A group on its way into managed tables: its files wait in the volume, and a note says so.

use super::{Entry, Group};
use crate::clock;
use crate::crew::{Files, lock};
use crate::delta::{DataFile, delete_files};
use crate::fault::Fault;
use crate::held::Wanted;
use crate::ledger::{LOADS, REJECTS, loads_columns, rejects_columns};
use crate::managed::staged::{Note, StagedTable, leave};
use crate::report::{Status, UploadReport};
use crate::upload::Upload;

impl Group<'_, '_> {
    /// Stages a group of one upload: its note, which nobody else has put, names just these files.
    ///
    /// # Errors
    /// What the store answers; then the upload is not staged, or its note stands there and the next delivery finds it.
    pub(crate) fn stage(mut self, upload: &Upload) -> Result<UploadReport, Fault> {
        let uploads = std::slice::from_ref(upload);
        if let Some(Entry::Failed(fault)) = self.entries.first() {
            let report = UploadReport::failed(upload, fault);
            self.drop_rows();
            return Ok(report);
        }
        let files = self.finish_files(uploads).inspect_err(|_| self.drop_rows())?;
        let mut all = files.all();
        let staged = self.write_note(upload, uploads, &files, &mut all);
        if !matches!(staged, Ok(true)) {
            // A note that was perhaps written names them: then they stay.
            if matches!(staged, Ok(false)) {
                delete_files(&self.run.parts.lake, &all);
            }
            return staged.map(|_| UploadReport::new(upload, Status::AlreadyStaged));
        }
        let with_rows = files.tables.iter().enumerate().filter(|(_, files)| !files.is_empty());
        self.held.extend(with_rows.map(|(number, _)| number as u32));
        self.is_staged = true;
        let report = self.reports(uploads).pop();
        self.run.committed()?;
        report.ok_or_else(|| Fault::bug("an upload has no report"))
    }

    /// Writes the rows of `_loads`, which say what will have landed when they can be read, and the note.
    fn write_note(
        &mut self,
        upload: &Upload,
        uploads: &[Upload],
        files: &Files,
        all: &mut Vec<DataFile>,
    ) -> Result<bool, Fault> {
        let reports = self.reports(uploads);
        let ours: Vec<_> = uploads.iter().zip(&reports).collect();
        let loads = self.write_loads(uploads, &ours)?;
        all.push(loads.clone());
        let mut tables = self.staged_tables(uploads, files);
        let own = |columns: Vec<(String, _)>| {
            columns.into_iter().map(|(name, column_type)| Wanted { name, column_type, comment: None }).collect()
        };
        if !files.rejects.is_empty() {
            tables.push(self.staged(REJECTS, own(rejects_columns()), &files.rejects));
        }
        tables.push(self.staged(LOADS, own(loads_columns()), &[loads]));
        let note = Note {
            schema: self.run.schema.clone(),
            key: upload.key.clone(),
            upload_id: upload.id.to_string(),
            modified: upload.modified,
            staged_at: clock::now(),
            host: self.run.parts.host.to_owned(),
            tables,
        };
        leave(&self.run.parts.lake, &note)
    }

    fn staged_tables(&self, uploads: &[Upload], files: &Files) -> Vec<StagedTable> {
        let plans = lock(&self.run.registry).plans();
        let with_rows = plans.iter().zip(&files.tables).enumerate().filter(|(_, (_, files))| !files.is_empty());
        let table = |(number, (plan, files)): (usize, (&std::sync::Arc<_>, &Vec<DataFile>))| {
            let plan: &inlet_events::table::TablePlan = plan;
            let comments = self.first_seen(uploads, number);
            let wanted = |(name, column_type): (String, _)| {
                let comment = comments.get(&name).cloned();
                Wanted { name, column_type, comment }
            };
            self.staged(&plan.name, plan.new_columns().into_iter().map(wanted).collect(), files)
        };
        with_rows.map(table).collect()
    }

    fn staged(&self, table: &str, columns: Vec<Wanted>, files: &[DataFile]) -> StagedTable {
        StagedTable {
            table: table.to_owned(),
            rows: files.iter().map(DataFile::rows).sum(),
            columns,
            files: files.iter().map(|file| file.on_paper(&self.run.parts.lake)).collect(),
            replaced: Vec::new(),
            rescued: 0,
            left_out: None,
            standing: 0,
        }
    }
}
