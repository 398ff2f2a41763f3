//! Files in a table's folder that nobody needs any more: what compactions and other engines removed, what runs left that
//! stopped before their commit.
//!
//! A file goes when it is older than the retention, and no one of these names it: the log as it is now, the log of a moment
//! within the retention, a note of held rows. The folder is listed first and the others are read behind it: a file is
//! written before it is named, so one that is being named now is younger than the retention or stands in a note already.

use futures::TryStreamExt;
use hashbrown::HashSet;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::Ask;
use super::report::TableMaintained;
use crate::clock::Micros;
use crate::delta::{Lake, Table, store_fault};
use crate::fault::Fault;
use crate::{gates, held};

/// Removes them, or only counts them for a plan.
///
/// # Errors
/// What the store answers. Tables that Inlet may not write to are left alone, and those behind a closed gate.
pub(super) fn remove(
    lake: &Lake,
    (schema, name): (&str, &str),
    table: &mut Table,
    ask: &Ask,
    done: &mut TableMaintained,
) -> Result<(), Fault> {
    if table.may_append().is_err() || gates::look(lake, schema, name, None)?.is_some() {
        return Ok(());
    }
    let kept_for = table.removed_kept_for().map_or(ask.rules.keep_removed, |own| own.max(ask.rules.keep_removed));
    let since = ask.ago(kept_for);
    let mut files = older_than(lake, table, since)?;
    if files.is_empty() {
        return Ok(());
    }
    let mut named: HashSet<Path> = HashSet::new();
    let held = held::gather(lake, Some(schema))?;
    if !held.damaged.is_empty() {
        // Nobody knows which files it names.
        return Ok(());
    }
    named.extend(held.notes.iter().flat_map(|left| &left.note.files).map(|file| file.key(lake)));
    table.refresh()?;
    named.extend(table.data_files()?);
    named.extend(table.removed_since(since)?);
    files.retain(|file| !named.contains(&file.location));
    done.removed_files = files.len() as u64;
    done.removed_bytes = files.iter().map(|file| file.size).sum();
    if ask.plan {
        return Ok(());
    }
    let removed = lake.remove(files.into_iter().map(|file| file.location).collect());
    removed.map_err(|error| store_fault("cannot remove files that nobody needs", table.url(), error))
}

/// The Parquet files of a table's folder that were written before then. Folders that begin with `_` or `.` hold no files
/// of the table's rows.
fn older_than(lake: &Lake, table: &Table, since: Micros) -> Result<Vec<ObjectMeta>, Fault> {
    let fault = |error| store_fault("cannot list the files of the table", table.url(), error);
    let folder = Path::from_url_path(table.url().path()).map_err(|error| fault(error.into()))?;
    let is_data = |file: &ObjectMeta| {
        let hidden = |part: &str| part.starts_with('_') || part.starts_with('.');
        let mut parts = file.location.prefix_match(&folder).into_iter().flatten();
        file.location.extension() == Some("parquet") && !parts.any(|part| hidden(part.as_ref()))
    };
    lake.wait(async {
        let mut files = Vec::new();
        let mut listed = lake.store().list(Some(&folder));
        while let Some(file) = listed.try_next().await? {
            if is_data(&file) && file.last_modified.timestamp_micros() < since {
                files.push(file);
            }
        }
        Ok(files)
    })
    .map_err(fault)
}
