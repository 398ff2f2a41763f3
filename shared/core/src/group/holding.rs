//! Rows of a group that wait: for the warehouse to change their table, for a table that takes none as it is, for its gate
//! to open, or for earlier rows of their key that do.

use super::commits::clean_up;
use super::{Entry, Group, key_of};
use crate::clock;
use crate::crew::{Files, lock};
use crate::delta::{DataFile, Lake, delete_files};
use crate::fault::Fault;
use crate::held::{self, HeldUpload, Note, Refused, WaitsFor, Wanted, may_copy};
use crate::registry::{Known, Writes};
use crate::upload::Upload;

/// Files of tables whose rows are held, by the table's number.
#[derive(Debug)]
pub(super) struct Held {
    waiting: Vec<(usize, Vec<DataFile>)>,
    /// A commit of these may have been tried before the gate was found closed.
    gated: Vec<(usize, Vec<DataFile>)>,
}

impl Held {
    /// Adds files of a table whose gate is closed.
    pub(super) fn behind_gate(&mut self, table: usize, files: Vec<DataFile>) {
        self.gated.push((table, files));
    }

    /// Deletes the files, before any commit was tried.
    pub(super) fn delete(&self, lake: &Lake) {
        let files: Vec<DataFile> = self.waiting.iter().flat_map(|(_, files)| files).cloned().collect();
        delete_files(lake, &files);
    }
}

impl Group<'_, '_> {
    /// Takes the files of tables out that must not be committed now.
    pub(super) fn hold_back(&mut self, files: &mut Files) -> Held {
        let mut registry = lock(&self.run.registry);
        let rows_only = registry.writes() == Writes::RowsOnly;
        let mut held = Vec::new();
        for (number, known) in registry.known_mut().iter().enumerate() {
            let files = &mut files.tables[number];
            let waits = self.entries.iter().any(|entry| waits(entry, number as u32));
            let must_wait = known.refused.is_some() || rows_only && needs_change(known, files);
            if !files.is_empty() && (waits || must_wait) {
                self.held.insert(number as u32);
                held.push((number, std::mem::take(files)));
            }
        }
        Held { waiting: held, gated: Vec::new() }
    }

    /// Deletes the files, before any note names them, as far as no commit can have taken them.
    pub(super) fn drop_held(&self, held: &Held) {
        held.delete(&self.run.parts.lake);
        for (number, files) in &held.gated {
            if let Some(table) = &mut lock(&self.run.registry).known_mut()[*number].table {
                clean_up(&self.run.parts.lake, table, files);
            }
        }
    }

    /// What rows wait for that are held for a table. Where there are gates, the warehouse changes no table that takes
    /// rows from Inlet.
    pub(super) fn waits_for(&self, known: &Known) -> WaitsFor {
        let (lake, destination) = (&self.run.parts.lake, &self.run.parts.settings.destination);
        let is_copied = || destination.as_ref().is_some_and(|workspace| may_copy(&workspace.warehouse));
        match known.refused {
            None if lake.needs_gates() => WaitsFor::Gate,
            Some(_) if known.takes_no_rows() && is_copied() => WaitsFor::Load,
            _ => WaitsFor::Change,
        }
    }

    /// Notes what is held; from here on the files are the notes'.
    pub(super) fn note_held(&mut self, uploads: &[Upload], held: &Held) -> Result<(), Fault> {
        for (number, files) in held.waiting.iter().chain(&held.gated) {
            let app_ids = self.app_ids(uploads, *number);
            let comments = self.first_seen(uploads, *number);
            let mut registry = lock(&self.run.registry);
            let lake = &self.run.parts.lake;
            let known = &registry.known_mut()[*number];
            let wanted = |(name, column_type): (String, _)| {
                let comment = comments.get(&name).cloned();
                Wanted { name, column_type, comment }
            };
            let note = Note {
                schema: self.run.schema.clone(),
                table: known.plan.name.clone(),
                left_at: clock::now(),
                host: self.run.parts.host.to_owned(),
                waits_for: self.waits_for(known),
                columns: known.columns_to_hold().into_iter().map(wanted).collect(),
                refused: known.refused.as_ref().map(Refused::from),
                files: files.iter().map(|file| file.on_paper(lake)).collect(),
                uploads: uploads
                    .iter()
                    .zip(&self.entries)
                    .filter(|(upload, _)| app_ids.contains(&upload.id.app_id()))
                    .map(|(upload, entry)| held_upload(upload, entry, *number))
                    .collect(),
                to_copy: false,
            };
            held::leave(lake, &note)?;
            registry.hold(&note);
        }
        Ok(())
    }
}

/// Whether an upload brings rows for a table while earlier ones of its key are held for it.
fn waits(entry: &Entry, table: u32) -> bool {
    let Entry::Landed { landed, before } = entry else { return false };
    let has_rows = landed.counts.tables.get(table as usize).is_some_and(|counts| counts.rows > 0);
    has_rows && before.after.contains_key(&table) && !before.has_written(table)
}

/// Whether files cannot be the table's as it is.
fn needs_change(known: &Known, files: &[DataFile]) -> bool {
    let Some(table) = &known.table else { return true };
    let is_there = |name: &str| table.columns().iter().any(|column| column.name == name);
    files.iter().any(|file| !file.lies_in(table) || !file.columns().all(is_there))
}

fn held_upload(upload: &Upload, entry: &Entry, table: usize) -> HeldUpload {
    let (rows, after) = match entry {
        Entry::Landed { landed, before } => (
            landed.counts.tables.get(table).map_or(0, |counts| counts.rows),
            before.after.get(&(table as u32)).cloned().unwrap_or_default(),
        ),
        Entry::Rejected(..) | Entry::Failed(_) => (0, Vec::new()),
    };
    HeldUpload {
        upload: key_of(upload).to_owned(),
        upload_id: upload.id.to_string(),
        modified: upload.modified,
        rows,
        after,
    }
}
