//! Files that lie in a table's folder and are not part of it: what they have of the rows that are gone.

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use hashbrown::{HashMap, HashSet};
use inlet_events::ColumnType;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::{AllGone, Gone};
use crate::clock::Micros;
use crate::delta::{KeptFile, LOG_FOLDER, Lake, Table, store_fault};
use crate::fault::Fault;
use crate::held::{self, Lineage, Origin, origin};

/// Files that one look reads.
const FILES: usize = 10_000;
/// How much earlier than its run a file may seem to be: clocks differ.
const CLOCKS_DIFFER: Micros = 10 * 60 * 1_000_000;

/// Files with rows of uploads that are gone.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each with the rows that are gone.
    files: Vec<(KeptFile, HashMap<Attempt, Keys>)>,
    /// The attempt whose rows land, by upload id.
    chosen: HashMap<String, Micros>,
}

/// Rows of one upload by one run: its id, and when the run began.
type Attempt = (String, Micros);

/// Which rows of it.
type Keys = HashSet<u128>;

impl Found {
    /// Looks through the files of a table's folder that its log and no note of held rows names.
    ///
    /// # Errors
    /// What the store answers; Setup when there are more files than can be read.
    pub(super) fn look(
        lake: &Lake,
        (schema, name): (&str, &str),
        table: &Table,
        lineage: Lineage,
        gone: &AllGone,
    ) -> Result<Self, Fault> {
        let since = gone.values().map(|one| one.started_at).min().unwrap_or_default() - CLOCKS_DIFFER;
        let mut named = table.data_files()?;
        let held = held::gather(lake, Some(schema))?.notes;
        named.extend(held.iter().flat_map(|left| &left.note.files).map(|file| file.key(lake)));
        let files = unnamed(lake, table, &named, since)?;
        if files.len() > FILES {
            return Err(Fault::setup(format!(
                "{} files lie in the folder of table `{schema}.{name}` and are no part of it; {FILES} can be looked \
                 through",
                files.len()
            ))
            .hint(format!("run: VACUUM {schema}.{name}, which keeps those of the last days, then mend again")));
        }
        let mut found = Self::default();
        let columns: Vec<&str> = [lineage.upload, lineage.written_at].iter().chain(lineage.key).copied().collect();
        let typed: Vec<(&str, ColumnType)> = columns.iter().map(|name| (*name, type_of(lineage, name))).collect();
        for file in files {
            let mut attempts: HashMap<Attempt, Keys> = HashMap::new();
            let mut each = |batch: &RecordBatch| {
                for row in 0..batch.num_rows() {
                    let Origin { upload, written_at, key, .. } = origin(lineage, &typed, batch, row);
                    if let (true, Some(written)) = (gone.contains_key(upload), written_at) {
                        attempts.entry((upload.to_owned(), written)).or_default().insert(key);
                    }
                }
                Ok(())
            };
            let kept = KeptFile::found(lake, &file.location, file.size, &columns, &mut each)?;
            if let (Some(kept), false) = (kept, attempts.is_empty()) {
                found.files.push((kept, attempts));
            }
        }
        Ok(found)
    }

    /// Chooses the run whose rows land, if one wrote as many as there were: the one that `_loads` tells of, else the
    /// last.
    pub(super) fn choose(&mut self, id: &str, gone: &Gone) -> bool {
        let attempts = self.attempts(id);
        let whole = attempts.iter().filter(|(_, keys)| keys.len() as u64 == gone.rows).map(|(written, _)| *written);
        match whole.max_by_key(|written| (*written == gone.started_at, *written)) {
            Some(written) => self.chosen.insert(id.to_owned(), written).is_none(),
            None => false,
        }
    }

    /// The most rows that a run wrote of an upload.
    pub(super) fn most(&self, id: &str) -> u64 {
        self.attempts(id).into_values().map(|keys| keys.len() as u64).max().unwrap_or_default()
    }

    /// Files with chosen rows.
    pub(super) fn chosen(&self) -> Vec<KeptFile> {
        let has_chosen = |attempts: &HashMap<Attempt, Keys>| {
            attempts.keys().any(|(upload, written)| self.is_chosen(upload, Some(*written)))
        };
        self.files.iter().filter(|(_, attempts)| has_chosen(attempts)).map(|(file, _)| file.clone()).collect()
    }

    /// Whether a row lands, by its upload and when its run began.
    pub(super) fn is_chosen(&self, upload: &str, written: Option<Micros>) -> bool {
        written.is_some() && self.chosen.get(upload).copied() == written
    }

    /// By run: which rows of an upload it wrote.
    fn attempts(&self, id: &str) -> HashMap<Micros, Keys> {
        let mut all: HashMap<Micros, Keys> = HashMap::new();
        for ((upload, written), keys) in self.files.iter().flat_map(|(_, attempts)| attempts) {
            if upload == id {
                all.entry(*written).or_default().extend(keys);
            }
        }
        all
    }
}

/// The type of a column that tells where a row came from.
fn type_of(lineage: Lineage, name: &str) -> ColumnType {
    match name {
        name if name == lineage.written_at => ColumnType::Timestamp,
        "line" | "item" | "byte_offset" => ColumnType::BigInt,
        _ => ColumnType::String,
    }
}

/// The Parquet files of a table's folder that nobody names, written since then.
fn unnamed(lake: &Lake, table: &Table, named: &HashSet<Path>, since: Micros) -> Result<Vec<ObjectMeta>, Fault> {
    let fault = |error| store_fault("cannot list the files of the table", table.url(), error);
    let folder = Path::from_url_path(table.url().path()).map_err(|error| fault(error.into()))?;
    let log = folder.clone().join(LOG_FOLDER);
    let is_unnamed = |file: &ObjectMeta| {
        file.location.extension() == Some("parquet")
            && file.last_modified.timestamp_micros() >= since
            && !file.location.prefix_matches(&log)
            && !named.contains(&file.location)
    };
    lake.wait(async {
        let mut files = Vec::new();
        let mut listed = lake.store().list(Some(&folder));
        while let Some(file) = listed.try_next().await? {
            files.extend(Some(file).filter(is_unnamed));
        }
        Ok(files)
    })
    .map_err(fault)
}
