//! Data files that no table names, and when they may be deleted.
//!
//! Before a first commit attempt: always. After it: only when the log was read to its end, every version that was
//! tried is taken, and no `add` names the file. An answer that got lost may still have been a yes.

use futures::StreamExt;

use super::data_file::DataFile;
use super::faults::kernel_fault;
use super::lake::Lake;
use super::table::Table;
use super::tail::read_tail;
use crate::fault::Fault;

/// Deletes files with which NO commit was attempted. Best effort: what stays is left to VACUUM.
pub fn delete_files(lake: &Lake, files: &[DataFile]) {
    let keys: Vec<_> = files.iter().map(|file| Ok(file.key.clone())).collect();
    let deleted = lake.store().delete_stream(futures::stream::iter(keys).boxed());
    lake.wait(deleted.for_each(|_| std::future::ready(())));
}

/// Deletes the files of a commit that did not happen, if that is certain; answers how many. What is not certain is
/// left to VACUUM. `table` is the one that the last [`super::commit`] was called with (or filled), and only files of
/// that commit are touched.
///
/// # Errors
/// The log could not be read to its end; nothing was deleted.
pub fn sweep_uncommitted(lake: &Lake, table: &mut Table, files: &[DataFile]) -> Result<usize, Fault> {
    table.refresh()?;
    let of_commit = |file: &&DataFile| table.tries.paths.iter().any(|path| path == file.path());
    let mut unnamed: Vec<DataFile> = files.iter().filter(of_commit).cloned().collect();
    if let Some((first, last)) = table.tries.versions {
        if last > table.version() {
            // A put that is still on its way could take a version beyond the log's end.
            return Ok(0);
        }
        let paths: Vec<&str> = unnamed.iter().map(DataFile::path).collect();
        let tail = read_tail(lake.engine(), &table.snapshot, first, &paths);
        let named = tail.map_err(|error| kernel_fault("cannot read the newest commits", table.url(), error))?.added;
        unnamed.retain(|file| !named.iter().any(|(_, path)| path == file.path()));
    }
    delete_files(lake, &unnamed);
    Ok(unnamed.len())
}
