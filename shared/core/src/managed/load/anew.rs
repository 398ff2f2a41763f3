//! Staged rows that cannot be copied as they were written: they are written anew, and their note says so first.
//!
//! Another window may do the same at the same time, since a lease ends by time alone. So what a file's rows become has a
//! name that follows from the file's, and nothing is removed before all is loaded.

use hashbrown::HashSet;

use super::Window;
use super::tables::is_inlets;
use crate::delta::KeptFile;
use crate::fault::Fault;
use crate::held::{Restaged, write_for, write_without};
use crate::ledger::{LOADS, REJECTS};
use crate::managed::copy::fits;
use crate::managed::corrected::corrected;
use crate::managed::job::{Job, Speaker, must_hold};
use crate::managed::staged::Left;
use crate::state::State;

impl Window<'_> {
    /// Writes anew what has to be.
    ///
    /// # Errors
    /// What the store or the warehouse answers.
    pub(super) fn write_anew(&self, job: &Job, notes: &mut [Left], speaker: &Speaker<'_>) -> Result<(), Fault> {
        for &(number, at) in &job.parts {
            let left = &mut notes[number];
            match job.name.table.as_str() {
                REJECTS => {}
                LOADS => self.correct(left, at)?,
                _ => self.leave_out(job, left, at, speaker)?,
            }
        }
        self.fit(job, notes, speaker)
    }

    /// Rows that an earlier form of their upload's key landed are left out.
    fn leave_out(&self, job: &Job, left: &mut Left, at: usize, speaker: &Speaker<'_>) -> Result<(), Fault> {
        let lake = &self.parts.lake;
        if left.earlier.is_empty() || left.note.tables[at].left_out.is_some() {
            return Ok(());
        }
        let ids = lake.handle().block_on(job.ids(&left.earlier, speaker))?;
        let table = &mut left.note.tables[at];
        let before = table.rows;
        if !ids.is_empty() {
            table.replace(write_without(lake, (&job.name.schema, &job.name.table), &table.files, &ids)?);
        }
        table.left_out = Some(before - table.rows);
        self.say(left)
    }

    /// `_loads` is told what became of rows in other tables.
    fn correct(&self, left: &mut Left, at: usize) -> Result<(), Fault> {
        if left.note.tables[at].left_out.is_some() {
            return Ok(());
        }
        let more = corrected(&self.parts.lake, &left.note, &left.note.tables[at].files)?;
        if more.is_empty() {
            return Ok(());
        }
        let table = &mut left.note.tables[at];
        table.left_out = Some(0);
        table.rows += more.iter().map(KeptFile::rows).sum::<u64>();
        table.files.extend(more);
        self.say(left)
    }

    /// Rows whose types are not those of the columns that the table came to have are written for these; what no column
    /// takes goes to `_rescued_data`. A window that died may have loaded them before somebody changed a column, and nobody
    /// has loaded the path that they get now: so the table is asked first.
    fn fit(&self, job: &Job, notes: &mut [Left], speaker: &Speaker<'_>) -> Result<(), Fault> {
        let is_due = |(number, at): &(usize, usize)| {
            let files = &notes[*number].note.tables[*at].files;
            !files.iter().all(|file| fits(&job.columns, file))
        };
        let due: Vec<(usize, usize)> = job.parts.iter().copied().filter(is_due).collect();
        if due.is_empty() {
            return Ok(());
        }
        let handle = self.parts.lake.handle();
        let uploads: Vec<String> = due.iter().map(|(number, _)| notes[*number].note.upload_id.clone()).collect();
        let any_stand = handle.block_on(job.count(&uploads, speaker))? > 0;
        for ((number, at), upload) in due.into_iter().zip(uploads) {
            let (left, upload) = (&mut notes[number], [upload]);
            match (any_stand, is_inlets(&job.name.table)) {
                (false, _) => self.fit_rows(job, left, at, &HashSet::new())?,
                (true, false) => {
                    let ids = handle.block_on(job.ids(&upload, speaker))?;
                    self.fit_rows(job, left, at, &ids)?;
                }
                (true, true) => match handle.block_on(job.count(&upload, speaker))? {
                    0 => self.fit_rows(job, left, at, &HashSet::new())?,
                    found => self.take_for_loaded(job, left, at, found)?,
                },
            }
        }
        Ok(())
    }

    /// Fits the rows of an upload but those that stand in the table, by their ids, hashed.
    fn fit_rows(&self, job: &Job, left: &mut Left, at: usize, standing: &HashSet<u128>) -> Result<(), Fault> {
        let (lake, name) = (&self.parts.lake, (job.name.schema.as_str(), job.name.table.as_str()));
        let table = &mut left.note.tables[at];
        let staged = table.rows + job.standing(table);
        table.replace(write_for(lake, name, &table.files, &job.columns, standing)?);
        table.standing = standing.len() as u64;
        must_hold(&job.name, staged - table.rows, table.standing)?;
        self.say(left)
    }

    /// Leaves nothing to copy: rows of Inlet's own tables have no id, and all of an upload stand there, or none.
    fn take_for_loaded(&self, job: &Job, left: &mut Left, at: usize, found: u64) -> Result<(), Fault> {
        let table = &mut left.note.tables[at];
        must_hold(&job.name, table.rows, found)?;
        table.replace(Restaged::default());
        table.standing = found;
        self.say(left)
    }

    /// Has the note name the files that are to be copied.
    fn say(&self, left: &Left) -> Result<(), Fault> {
        self.must_be_ours()?;
        State::of(&self.parts.lake).put(&left.place, &left.note)
    }
}
