//! Staged rows that cannot be copied as they were written: they are written anew, and their note says so first.

use super::{Window, too_slow};
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
    /// Rows that an earlier form of their upload's key landed are left out of its files, and `_loads` is told of them.
    /// The note says so before any file is copied.
    pub(super) fn leave_out(&self, job: &Job, notes: &mut [Left], speaker: &Speaker<'_>) -> Result<(), Fault> {
        let lake = &self.parts.lake;
        for &(number, at) in &job.parts {
            let left = &mut notes[number];
            if left.earlier.is_empty() || left.note.tables[at].left_out.is_some() || job.name.table == REJECTS {
                continue;
            }
            if !self.is_ours() {
                return Err(too_slow());
            }
            let mut old = Vec::new();
            if job.name.table == LOADS {
                let more = corrected(lake, &left.note)?;
                let table = &mut left.note.tables[at];
                (table.left_out, table.rows) = (Some(0), table.rows + more.iter().map(KeptFile::rows).sum::<u64>());
                table.files.extend(more);
            } else {
                let ids = lake.handle().block_on(job.ids(&left.earlier, speaker))?;
                let table = &mut left.note.tables[at];
                let before = table.rows;
                if !ids.is_empty() {
                    let anew = write_without(lake, (&job.name.schema, &job.name.table), &table.files, &ids)?;
                    (table.rows, old) =
                        (anew.iter().map(KeptFile::rows).sum(), std::mem::replace(&mut table.files, anew));
                }
                table.left_out = Some(before - table.rows);
            }
            let state = State::of(lake);
            state.put(&left.place, &left.note)?;
            old.iter().try_for_each(|file| state.remove(&file.key(lake)))?;
        }
        Ok(())
    }

    /// Rows whose types are not those of the columns that the table came to have are written anew; what no column takes
    /// goes to `_rescued_data`. The note names the new files before any of them is copied.
    pub(super) fn fit(&self, job: &Job, notes: &mut [Left]) -> Result<(), Fault> {
        let lake = &self.parts.lake;
        for &(number, at) in &job.parts {
            let left = &mut notes[number];
            let table = &left.note.tables[at];
            if table.files.iter().all(|file| fits(&job.columns, file)) {
                continue;
            }
            if !self.is_ours() {
                return Err(too_slow());
            }
            let anew = write_for(lake, (&job.name.schema, &job.name.table), &table.files, &job.columns)?;
            let old = std::mem::replace(&mut left.note.tables[at].files, anew);
            let state = State::of(lake);
            state.put(&left.place, &left.note)?;
            old.iter().try_for_each(|file| state.remove(&file.key(lake)))?;
        }
        Ok(())
    }
}
