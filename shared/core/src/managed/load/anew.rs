//! Staged rows that cannot be copied as they were written: they are written anew, and their note says so first.
//!
//! Another window may do the same at the same time, since a lease ends by time alone. So what a file's rows become has a
//! name that follows from the file's, and nothing is removed before all is loaded.

use super::Window;
use crate::delta::KeptFile;
use crate::fault::Fault;
use crate::held::{write_for, write_without};
use crate::ledger::{LOADS, REJECTS};
use crate::managed::copy::fits;
use crate::managed::corrected::corrected;
use crate::managed::job::{Job, Speaker};
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
            self.fit(job, left, at)?;
        }
        Ok(())
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
    /// takes goes to `_rescued_data`.
    fn fit(&self, job: &Job, left: &mut Left, at: usize) -> Result<(), Fault> {
        let table = &mut left.note.tables[at];
        if table.files.iter().all(|file| fits(&job.columns, file)) {
            return Ok(());
        }
        let name = (job.name.schema.as_str(), job.name.table.as_str());
        table.replace(write_for(&self.parts.lake, name, &table.files, &job.columns)?);
        self.say(left)
    }

    /// Has the note name the files that are to be copied.
    fn say(&self, left: &Left) -> Result<(), Fault> {
        self.must_be_ours()?;
        State::of(&self.parts.lake).put(&left.place, &left.note)
    }
}
