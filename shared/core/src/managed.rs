//! Managed tables: Unity Catalog keeps their files, and only a warehouse writes them.
//!
//! ```text
//!  ingest   rows -> Parquet in a volume (Files API) -> note, put-if-absent: the upload is staged     staged, group
//!  evolve   notes -> CREATE, ALTER -> COPY INTO, each path once -> counts -> marker -> note goes -> files go     load
//! ```
//!
//! The volume is a lake of its own, `/Volumes/<catalog>/_inlet/staging/`: files stand in `<schema>/<table>/`, notes and
//! markers in `_inlet/`. The note is the commit point: it names exactly one attempt's files. `ingest` asks neither the
//! warehouse nor the tables; the columns that tables have it is told by Unity Catalog, once per schema and run.

mod at_once;
mod copy;
mod corrected;
mod job;
mod load;
pub(crate) mod staged;
mod sweep;
mod volume;

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use inlet_events::{ColumnType, KnownType};
use tokio::runtime::Handle;
use url::Url;

pub(crate) use self::copy::{copies, fits};
pub(crate) use self::job::{Rows as ToCopy, Speaker, copy_rows};
pub(crate) use self::load::load;
use self::volume::Volumes;
use crate::clock::Deadline;
use crate::databricks::{TableInfo, TableKind, Workspace};
use crate::delta::Lake;
use crate::evolve::MADE_BY_INLET;
use crate::fault::Fault;
use crate::settings::Settings;

/// The schema of Inlet's own volume; sources have none of that name.
pub(crate) const SCHEMA: &str = "_inlet";
/// Its volume.
pub(crate) const VOLUME: &str = "staging";
/// How long a look into the catalog may take.
const LOOK_WITHIN: Duration = Duration::from_secs(60);

/// A catalog that keeps the tables.
#[derive(Clone, Debug)]
pub struct Managed {
    /// The workspace.
    pub workspace: Workspace,
    /// The catalog.
    pub catalog: String,
}

/// Columns of tables, by table.
pub(crate) type Shown = HashMap<String, Vec<(String, KnownType)>>;

impl Managed {
    /// What the settings say: none where tables stand in a lake.
    pub fn of(settings: &Settings, workspace: Option<&Workspace>) -> Option<Self> {
        let destination = settings.destination.as_ref().filter(|_| settings.has_managed_tables())?;
        Some(Self { workspace: workspace?.clone(), catalog: destination.catalog.clone() })
    }

    /// The volume in which rows wait, as a lake. It is made when it is not there, and its schema too: by REST, while
    /// the warehouse sleeps.
    ///
    /// # Errors
    /// Setup when a right is missing, or the catalog has no managed storage; what the workspace answers.
    pub fn volume(&self, handle: Handle) -> Result<Lake, Fault> {
        let deadline = Deadline::after(LOOK_WITHIN);
        let comment = format!("{MADE_BY_INLET}: rows on their way into tables");
        handle.block_on(async {
            if self.workspace.schema(&self.catalog, SCHEMA, deadline).await?.is_none() {
                self.workspace.create_schema(&self.catalog, SCHEMA, &comment, deadline).await?;
            }
            self.workspace.create_volume(&self.catalog, SCHEMA, VOLUME, &comment, deadline).await
        })?;
        self.standing_volume(handle)
    }

    /// The same without a request: one that is not there is empty.
    ///
    /// # Errors
    /// A bug, when its path is none.
    pub fn standing_volume(&self, handle: Handle) -> Result<Lake, Fault> {
        self.volume_in(SCHEMA, handle)
    }

    /// The volume of that name in another schema: a connection test has one of its own.
    ///
    /// # Errors
    /// As [`Managed::standing_volume`].
    pub(crate) fn volume_in(&self, schema: &str, handle: Handle) -> Result<Lake, Fault> {
        let no_url = || Fault::bug("the volume's path is no URL");
        let mut url = Url::parse("dbfs:/Volumes/").map_err(|error| no_url().because(error))?;
        let parts = [self.catalog.as_str(), schema, VOLUME, ""];
        url.path_segments_mut().map_err(|()| no_url())?.pop_if_empty().extend(parts);
        Lake::with_store(&url, Arc::new(Volumes(self.workspace.clone())), handle)
    }

    /// The columns of a schema's tables as Unity Catalog shows them, in one listing.
    ///
    /// # Errors
    /// What the workspace answers.
    pub(crate) fn columns(&self, schema: &str, handle: &Handle) -> Result<Shown, Fault> {
        let deadline = Deadline::after(LOOK_WITHIN);
        let tables = handle.block_on(self.workspace.tables(&self.catalog, schema, deadline))?;
        // Whatever else has a table's name, evolve refuses it.
        let tables = tables.into_iter().filter(|table| table.kind == TableKind::Managed);
        Ok(tables.map(|table| (table.name.clone(), columns_of(&table))).collect())
    }
}

fn columns_of(table: &TableInfo) -> Vec<(String, KnownType)> {
    let known = |text: &str| ColumnType::named(text).map_or(KnownType::Foreign, KnownType::Ours);
    table.columns.iter().map(|column| (column.name.clone(), known(&column.type_text))).collect()
}
