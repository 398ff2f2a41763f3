//! One table as last read: its version, its columns, its ids.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use delta_kernel::schema::StructField;
use delta_kernel::table_features::ColumnMappingMode;
use delta_kernel::{KernelError, KernelResult, Snapshot, SnapshotRef};
use futures::TryStreamExt;
use hashbrown::HashSet;
use inlet_events::{ColumnType, KnownType};
use object_store::path::Path;
use url::Url;

use super::faults::{kernel_fault, store_fault, without_backtrace};
use super::features::unreadable;
use super::ids::Ids;
use super::lake::{LOG_FOLDER, Lake};
use super::landmark::Landmark;
use super::tail::read_tail;
use super::types::known_type;
use super::{gate, ids, read, removed};
use crate::clock::Micros;
use crate::fault::Fault;

/// A column of a table, in the table's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, as readers see it.
    pub name: String,
    /// Its type; anything but boolean, bigint, double, string and timestamp is foreign.
    pub column_type: KnownType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

impl Column {
    /// Its name and type.
    pub(crate) fn named(&self) -> (String, KnownType) {
        (self.name.clone(), self.column_type)
    }
}

/// A snapshot of a table with all its `txn` ids.
pub struct Table {
    pub(super) lake: Lake,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) snapshot: SnapshotRef,
    pub(super) columns: Vec<Column>,
    pub(super) ids: Ids,
    /// What the last commit tried, whatever became of it.
    pub(super) tries: Tries,
    /// By what the log is known again, oldest first.
    pub(super) landmarks: Vec<Landmark>,
}

/// What one commit tried.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// The files that it was about.
    pub(super) paths: Vec<String>,
    /// First and last version that was asked for.
    pub(super) versions: Option<(u64, u64)>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("url", &self.url().as_str())
            .field("version", &self.version())
            .field("columns", &self.columns.len())
            .field("ids", &self.ids.len())
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Reads a table; `None` when there is no log.
    ///
    /// # Errors
    /// What the store answers; Setup when the store's listing from an offset hides a log that is there.
    pub fn open(lake: &Lake, schema: &str, name: &str) -> Result<Option<Self>, Fault> {
        let url = lake.table_url(schema, name)?;
        let load = || load(lake, &url).map_err(|error| unreadable(schema, name, &url, error));
        let snapshot = match load()? {
            Some(snapshot) => snapshot,
            None if !has_log(lake, &url)? => return Ok(None),
            // Somebody may have made the table between the two looks; if not, the store lists wrongly.
            None => load()?.ok_or_else(|| hidden_log(&url))?,
        };
        let ids = Ids::read(lake.id_engine().as_ref(), &snapshot)
            .map_err(|error| kernel_fault("cannot read the ids of the table", &url, error))?;
        let table = Self { ids, ..Self::made(lake, schema, name, snapshot) };
        Ok(Some(table.with_listed_landmark()))
    }

    /// The columns of a table as its log has them now; `None` when there is no log. Its ids are not read.
    ///
    /// # Errors
    /// What the store answers.
    pub fn columns_in_log(lake: &Lake, schema: &str, name: &str) -> Result<Option<Vec<Column>>, Fault> {
        let url = lake.table_url(schema, name)?;
        let snapshot = load(lake, &url).map_err(|error| unreadable(schema, name, &url, error))?;
        Ok(snapshot.map(|snapshot| columns_of(&snapshot)))
    }

    /// A table that we have just made: its ids are known without a look.
    pub(super) fn made(lake: &Lake, schema: &str, name: &str, snapshot: SnapshotRef) -> Self {
        Self {
            lake: lake.clone(),
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: columns_of(&snapshot),
            snapshot,
            ids: Ids::default(),
            tries: Tries::default(),
            landmarks: Vec::new(),
        }
    }

    /// Reads what is new: one listing, and only the new commits. Says whether the version moved.
    ///
    /// # Errors
    /// What the store answers.
    pub fn refresh(&mut self) -> Result<bool, Fault> {
        let before = self.version();
        self.refresh_watching(&[])?;
        Ok(self.version() != before)
    }

    /// [`Table::refresh`] that also tells which of `watched` paths the new commits add, with the commits' versions.
    pub(super) fn refresh_watching(&mut self, watched: &[&str]) -> Result<Vec<(u64, String)>, Fault> {
        let engine = self.lake.engine();
        let fault = |error| kernel_fault("cannot read what is new in the table", self.snapshot.table_root(), error);
        let newer = Snapshot::builder_from(Arc::clone(&self.snapshot)).build(engine.as_ref()).map_err(fault)?;
        let from = self.version() + 1;
        let added = match read_tail(engine, &newer, from, watched) {
            Ok(tail) => {
                tail.app_ids.iter().for_each(|app_id| self.ids.insert(app_id));
                tail.added
            }
            // The commits between are gone (cleaned up behind a checkpoint): all ids are read anew.
            Err(_) if watched.is_empty() => {
                self.ids = Ids::read(self.lake.id_engine().as_ref(), &newer).map_err(fault)?;
                Vec::new()
            }
            Err(error) => return Err(fault(error)),
        };
        self.adopt(newer);
        Ok(added)
    }

    /// The version as last read.
    pub fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// Its schema.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// Its name, without its schema.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Commits behind the last checkpoint, as last read.
    pub(crate) fn commits_behind(&self) -> u64 {
        self.version() - ids::checkpoint_version(&self.snapshot).unwrap_or(0)
    }

    /// The columns, in the table's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The table's address; ends in `/`.
    pub fn url(&self) -> &Url {
        self.snapshot.table_root()
    }

    /// Whether this app id stands in the log, as last read.
    pub fn has(&self, app_id: &str) -> bool {
        self.ids.contains(app_id)
    }

    /// How many ids stand in the log, as last read.
    pub fn id_count(&self) -> usize {
        self.ids.len()
    }

    /// For how long the table keeps ids; `None` is for ever.
    pub fn id_retention(&self) -> Option<Duration> {
        self.snapshot.table_properties().set_transaction_retention_duration
    }

    /// Whether new columns must be committed before files that hold them are written ([`super::add_columns_only`]):
    /// under column mapping a new column's physical name is drawn by the transaction that adds it.
    pub fn needs_columns_first(&self) -> bool {
        let mode = self.snapshot.table_properties().column_mapping_mode;
        mode.is_some_and(|mode| mode != ColumnMappingMode::None)
    }

    /// The gate's first question: may we append?
    ///
    /// # Errors
    /// Setup, naming the feature that forbids it and the way out.
    pub fn may_append(&self) -> Result<(), Fault> {
        gate::may_append(self)
    }

    /// The gate's second question: may we add these columns?
    ///
    /// # Errors
    /// Setup, naming the feature that forbids it and the way out.
    pub fn may_add_columns(&self, columns: &[(String, ColumnType)]) -> Result<(), Fault> {
        gate::may_add_columns(self, columns)
    }

    /// Reads some columns, in batches. `only` keeps the rows whose string column has one of the values: exactly, and
    /// files that cannot hold any by their statistics are not read. Deleted rows (deletion vectors) are left out.
    ///
    /// # Errors
    /// Setup when more than `max_files` files would have to be read, saying how many; what the store or `each` answers.
    pub fn read(
        &self,
        columns: &[&str],
        only: Option<(&str, &[String])>,
        each: &mut dyn FnMut(&arrow_array::RecordBatch) -> Result<(), Fault>,
        max_files: usize,
    ) -> Result<(), Fault> {
        read::read(self, columns, only, each, max_files)
    }

    /// Where the files lie that make up the table now, as keys of the lake's store.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn data_files(&self) -> Result<HashSet<Path>, Fault> {
        read::data_files(self)
    }

    /// Where the files lie that were removed from it since then, and that readers of an earlier version may still read.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn removed_since(&self, since: Micros) -> Result<HashSet<Path>, Fault> {
        removed::removed_since(self, since)
    }

    /// For how long it wants files kept that were removed from it, if its properties say.
    pub(crate) fn removed_kept_for(&self) -> Option<Duration> {
        self.snapshot.table_properties().deleted_file_retention_duration
    }

    /// `schema.table`, for messages.
    pub(super) fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Takes over a newer snapshot of this table.
    pub(super) fn adopt(&mut self, newer: SnapshotRef) {
        if !Arc::ptr_eq(&self.snapshot, &newer) {
            self.columns = columns_of(&newer);
            self.snapshot = newer;
        }
    }

    /// Begins a commit of these files; none was tried yet.
    pub(super) fn begin_tries(&mut self, paths: &[&str]) {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.tries = Tries { paths, versions: None };
    }

    /// Remembers that this version is asked for: from here on the log may name the files.
    pub(super) fn note_try(&mut self, version: u64) {
        let first = self.tries.versions.map_or(version, |(first, _)| first.min(version));
        self.tries.versions = Some((first, version));
    }
}

fn columns_of(snapshot: &SnapshotRef) -> Vec<Column> {
    let column = |field: &StructField| Column {
        name: field.name().clone(),
        column_type: known_type(field.data_type()),
        nullable: field.is_nullable(),
    };
    snapshot.schema().fields().map(column).collect()
}

fn load(lake: &Lake, url: &Url) -> KernelResult<Option<SnapshotRef>> {
    // The kernel takes a local folder that is not there for a wrong address.
    if url.scheme() == "file" && url.to_file_path().is_ok_and(|folder| !folder.exists()) {
        return Ok(None);
    }
    match Snapshot::builder_for(url).build(lake.engine().as_ref()).map_err(without_backtrace) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(KernelError::EmptyLog) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether commits or checkpoints stand in the log folder, by a plain listing.
fn has_log(lake: &Lake, url: &Url) -> Result<bool, Fault> {
    let fault = |error| store_fault("cannot list the log of the table", url, error);
    let folder = Path::from_url_path(url.path()).map_err(|error| fault(error.into()))?.join(LOG_FOLDER);
    lake.wait(async {
        let mut files = lake.store().list(Some(&folder));
        while let Some(file) = files.try_next().await? {
            let name = file.location.filename().unwrap_or_default();
            if name.starts_with(|first: char| first.is_ascii_digit()) {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .map_err(fault)
}

fn hidden_log(url: &Url) -> Fault {
    Fault::setup(format!("{url} has a Delta log, but the store's listing from an offset does not show it"))
        .hint("this store cannot be a lake for Inlet (OneLake behaves so); use S3, ADLS Gen2 or a local folder")
}
