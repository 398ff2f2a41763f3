//! One schema during a run: its tables, its workers, and Inlet's own two tables.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use hashbrown::{HashMap, HashSet};
use inlet_events::Buffers;
use object_store::path::Path;

use crate::clock::{self, Deadline, Micros};
use crate::crew::{Crewman, lock};
use crate::delta::{Table, tidy};
use crate::fault::Fault;
use crate::held::{self, Committed, Pending};
use crate::kept;
use crate::ledger::{LOADS, REJECTS};
use crate::managed::{Managed, staged};
use crate::registry::{Past, Registry, Writes, bring_up_to_date};
use crate::report::{FaultReport, ReleasedTable, Status, UploadReport};
use crate::route::{Parts, Unfinished};
use crate::settings::SchemaChanges;
use crate::underway::{Underway, left_behind};
use crate::upload::{Upload, app_id_of};

/// Ids in the log expire after 30 days; an upload this old is looked up in the rows of `_loads` as well.
const IDS_ARE_SURE: Duration = Duration::from_secs(25 * 24 * 60 * 60);
/// Files of `_loads` that a look-up may read.
const LOADS_FILES: usize = 100_000;
/// What writing a checkpoint may use.
const CHECKPOINT_BYTES: u64 = 256 << 20;

/// One schema during a run.
#[derive(Debug)]
pub(crate) struct SchemaRun<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) schema: String,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) crew: Vec<Crewman>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) loads: Option<Table>,
    pub(crate) rejects: Option<Table>,
    /// Versions that this run committed, by upload id and table.
    pub(crate) versions: HashMap<(String, String), u64>,
    /// Uploads that other runs left, or have, between their tables and `_loads`.
    pub(crate) underway: Vec<Underway>,
    /// Notes of our own uploads under way.
    pub(crate) notes: Vec<Path>,
    /// When the run began; `uuid_ts` of its rows.
    pub(crate) started_at: Micros,
    /// Whether the tables are managed, and the lake is the volume where their rows wait.
    pub(crate) is_staged: bool,
}

impl<'a> SchemaRun<'a> {
    /// Asks the catalog for the schema's tables; nothing else is read.
    fn open_managed(parts: &'a Parts, managed: &Managed, schema: &str) -> Result<Self, Fault> {
        let shown = managed.columns(schema, parts.lake.handle())?;
        let registry = Registry::of_managed(Some(&parts.lake), schema, &parts.settings, shown);
        Ok(Self {
            underway: Vec::new(),
            notes: Vec::new(),
            parts,
            schema: schema.to_owned(),
            registry: Mutex::new(registry),
            crew: new_crew(parts),
            buffers: Arc::default(),
            loads: None,
            rejects: None,
            versions: HashMap::new(),
            started_at: clock::now(),
            is_staged: true,
        })
    }

    /// Lists the schema's tables and reads the logs of `_loads` and `_rejects`; of managed tables nothing but what the
    /// catalog shows. Rows that waited for a gate which is open now land before anything else; `released` hears of them.
    pub(crate) fn open(parts: &'a Parts, schema: &str, released: &mut Vec<ReleasedTable>) -> Result<Self, Fault> {
        if let Some(managed) = &parts.managed {
            return Self::open_managed(parts, managed, schema);
        }
        let loads = kept::open(parts.kept.as_deref(), &parts.lake, schema, LOADS)?;
        let rejects = kept::open(parts.kept.as_deref(), &parts.lake, schema, REJECTS)?;
        for own in [&loads, &rejects].into_iter().flatten() {
            own.may_append()?;
        }
        let is_done = |id: &str| loads.as_ref().is_some_and(|loads| loads.has(&app_id_of(id)));
        let underway = left_behind(&parts.lake, schema, is_done)?;
        let (has_catalog, changes) = (parts.settings.has_catalog(), parts.settings.evolution.schema_changes);
        let writes = match changes {
            _ if !has_catalog => Writes::Columns,
            SchemaChanges::Writer => Writes::WithCatalog,
            SchemaChanges::Warehouse => Writes::RowsOnly,
        };
        let may_hold = has_catalog || parts.lake.needs_gates();
        if parts.lake.needs_gates() {
            // What fails here stays held, and stops nothing else.
            let tables = held::release(&parts.lake, Some(schema), Deadline::after(parts.settings.patience))?;
            released.extend(tables.into_iter().map(|((schema, table), done)| told(&schema, &table, done)));
        }
        // Rows that were held stay so when the settings have changed since.
        let pending = if may_hold { Pending::read(&parts.lake, schema)? } else { Pending::default() };
        let registry = Registry::new(Some(&parts.lake), schema, &parts.settings, writes, pending)?;
        Ok(Self {
            underway,
            notes: Vec::new(),
            parts,
            schema: schema.to_owned(),
            registry: Mutex::new(registry.with_kept(parts.kept.clone())),
            crew: new_crew(parts),
            buffers: Arc::default(),
            loads,
            rejects,
            versions: HashMap::new(),
            started_at: clock::now(),
            is_staged: false,
        })
    }

    /// When a group gives up.
    pub(crate) fn deadline(&self) -> Deadline {
        let patience = self.parts.settings.patience;
        let left = self.parts.allowance.map(|allowance| allowance.deadline().left());
        Deadline::after(left.map_or(patience, |left| left.min(patience)))
    }

    /// What one call of a function can land, decompressed, and the lake's name on a terminal.
    pub(crate) fn admits(&self) -> Option<(u64, &'a str)> {
        self.parts.allowance.map(|allowance| (allowance.upload_bytes(), self.parts.lake.url().as_str()))
    }

    /// Reports uploads that are done already, and answers the others.
    pub(crate) fn not_yet_landed(
        &self,
        uploads: Vec<Upload>,
        finish: &mut dyn FnMut(UploadReport),
    ) -> Result<Vec<Upload>, Unfinished> {
        if self.is_staged {
            return self.not_yet_staged(uploads, finish);
        }
        let Some(loads) = &self.loads else { return Ok(uploads) };
        let (done, mut open): (Vec<_>, Vec<_>) = uploads.into_iter().partition(|upload| loads.has(&upload.id.app_id()));
        let mut report = |upload: &Upload| finish(UploadReport::new(upload, Status::AlreadyLanded));
        done.iter().for_each(&mut report);
        let is_old = |upload: &&Upload| self.started_at - upload.modified > IDS_ARE_SURE.as_micros() as Micros;
        let old: Vec<String> = open.iter().filter(is_old).map(|upload| upload.id.to_string()).collect();
        if !old.is_empty() {
            let mut expired = HashSet::new();
            let mut each = |batch: &arrow_array::RecordBatch| {
                expired.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
                Ok(())
            };
            if let Err(fault) = loads.read(&["upload_id"], Some(("upload_id", &old)), &mut each, LOADS_FILES) {
                return Err((fault, open));
            }
            let (done, rest): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|upload| expired.contains(&upload.id.to_string()));
            done.iter().for_each(&mut report);
            open = rest;
        }
        Ok(open)
    }

    /// The same for managed tables: what is staged is done, and what is loaded.
    fn not_yet_staged(
        &self,
        uploads: Vec<Upload>,
        finish: &mut dyn FnMut(UploadReport),
    ) -> Result<Vec<Upload>, Unfinished> {
        let mut open = Vec::new();
        let mut uploads = uploads.into_iter();
        while let Some(upload) = uploads.next() {
            match staged::known(&self.parts.lake, &self.schema, &upload.id.to_string()) {
                Ok(Some(status)) => finish(UploadReport::new(&upload, status)),
                Ok(None) => open.push(upload),
                Err(fault) => {
                    open.push(upload);
                    open.extend(uploads);
                    return Err((fault, open));
                }
            }
        }
        Ok(open)
    }

    /// What uploads of a group did before: their own ids, and the ids of earlier uploads of the same key.
    pub(crate) fn pasts(&self, uploads: &[Upload]) -> Result<Vec<Past>, Fault> {
        let mut earlier: HashMap<String, Vec<String>> = HashMap::new();
        if let Some(loads) = &self.loads {
            let is_seen = |upload: &&Upload| upload.key_app_id().is_some_and(|id| loads.has(&id));
            let keys: Vec<String> = uploads.iter().filter(is_seen).filter_map(|upload| upload.key.clone()).collect();
            if !keys.is_empty() {
                let mut each = |batch: &arrow_array::RecordBatch| {
                    let (keys, ids) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
                    for row in 0..batch.num_rows() {
                        if keys.is_valid(row) && ids.is_valid(row) {
                            let known = earlier.entry(keys.value(row).to_owned()).or_default();
                            if !known.iter().any(|id| id == ids.value(row)) {
                                known.push(ids.value(row).to_owned());
                            }
                        }
                    }
                    Ok(())
                };
                loads.read(&["upload", "upload_id"], Some(("upload", &keys)), &mut each, LOADS_FILES)?;
            }
        }
        let past = |upload: &Upload| {
            let own = upload.id.to_string();
            let mut earlier_uploads = upload.key.as_ref().and_then(|key| earlier.get(key)).cloned().unwrap_or_default();
            let half_landed = self.underway.iter().filter(|other| Some(&other.key) == upload.key.as_ref());
            earlier_uploads.extend(half_landed.map(|other| other.upload_id.clone()));
            earlier_uploads.retain(|id| *id != own);
            earlier_uploads.sort_unstable();
            earlier_uploads.dedup();
            Past::new(own, earlier_uploads)
        };
        Ok(uploads.iter().map(past).collect())
    }

    /// Reads all logs again and forgets what the workers hold.
    pub(crate) fn start_anew(&mut self) -> Result<(), Fault> {
        self.crew = new_crew(self.parts);
        lock(&self.registry).reload()?;
        if self.is_staged {
            return Ok(());
        }
        for (own, name) in [(&mut self.loads, LOADS), (&mut self.rejects, REJECTS)] {
            bring_up_to_date(own, &self.parts.lake, &self.schema, name)?;
        }
        Ok(())
    }

    /// After a commit: plans are what the tables are. A table that somebody else changed too is planned anew.
    pub(crate) fn committed(&mut self) -> Result<(), Fault> {
        if lock(&self.registry).committed()? {
            self.crew = new_crew(self.parts);
        }
        Ok(())
    }

    /// Checkpoints and log clean-up. The rows have landed: what fails here is the next run's work.
    pub(crate) fn tidy(&mut self) {
        let mut registry = lock(&self.registry);
        let tables = registry.known_mut().iter_mut().filter_map(|known| known.table.as_mut());
        for table in tables.chain(&mut self.loads).chain(&mut self.rejects) {
            drop(tidy(&self.parts.lake, table, CHECKPOINT_BYTES));
        }
    }

    /// Leaves the tables to the next run of this process.
    pub(crate) fn give_back(self) {
        let deadline = self.deadline();
        let Some(kept) = &self.parts.kept else { return };
        let known = self.registry.into_inner().unwrap_or_else(PoisonError::into_inner).into_tables();
        kept.give_back(&self.parts.lake, known.chain(self.loads).chain(self.rejects), deadline);
    }
}

/// What came of the rows of a table whose gate has opened, as it is reported.
fn told(schema: &str, table: &str, done: Result<Committed, Fault>) -> ReleasedTable {
    let table = format!("{schema}.{table}");
    match done {
        Ok(Committed { rows, duplicates, rescued, fault, .. }) => {
            let fault = fault.as_ref().map(FaultReport::from);
            ReleasedTable { table, rows, duplicates, rescued, fault }
        }
        Err(fault) => {
            let fault = Some(FaultReport::from(&fault));
            ReleasedTable { table, rows: 0, duplicates: 0, rescued: 0, fault }
        }
    }
}

fn new_crew(parts: &Parts) -> Vec<Crewman> {
    (0..parts.settings.workers.max(1)).map(|_| Crewman::default()).collect()
}
