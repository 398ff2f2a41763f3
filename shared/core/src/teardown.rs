//! What Inlet made, listed and removed: views, tables and schemas of the catalog, its own warehouse, and on request the
//! tables' files.
//!
//! Only what is certainly Inlet's goes: views and schemas that say so, tables in the catalog that lie in the lake,
//! warehouses with its tag, folders whose tables have its columns. Everything else is listed as kept, with the reason.
//! External tables are only entries: their files stay in the lake unless somebody asks for that too. Managed ones go with
//! their rows, and so when those are asked for.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use inlet_events::table::UPLOAD_ID;
use object_store::path::Path;
use serde::Serialize;

use crate::clock::Deadline;
use crate::databricks::{SchemaInfo, TableInfo, TableKind};
use crate::delta::{STATE, Table};
use crate::evolve::{Parts, is_made_by_inlet, is_within};
use crate::fault::{Fault, FaultKind};
use crate::held;
use crate::ledger::{LOADS, REJECTS};
use crate::managed::{SCHEMA, VOLUME, staged};
use crate::report::FaultReport;
use crate::settings::WarehouseChoice;

/// What is asked of a teardown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// Remove; else only list.
    pub remove: bool,
    /// The tables' files and Inlet's state in the lake too.
    pub data: bool,
    /// With `data`: also while rows are held, which no table has yet.
    pub held: bool,
}

/// One run of `teardown`.
#[derive(Debug, Serialize)]
pub struct TeardownReport {
    /// The function that reports: `teardown`.
    pub function: &'static str,
    /// Whether nothing was removed, only listed.
    pub plan: bool,
    /// What was found, in the order in which it goes.
    pub objects: Vec<Object>,
    /// What else is to be known before it is removed.
    pub warnings: Vec<String>,
    /// The fault that stopped the run, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

/// One thing that Inlet made, or that stands among them.
#[derive(Debug, Serialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its full name, id, or address.
    pub name: String,
    /// What became of it.
    pub status: ObjectStatus,
    /// Why it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Why it could not be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

/// Kinds of objects, in the order in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A view of the catalog.
    View,
    /// An entry of the catalog; the table's files are not touched.
    Table,
    /// A schema of the catalog.
    Schema,
    /// A SQL warehouse.
    Warehouse,
    /// The volume in which rows of managed tables wait, with notes, leases and records.
    Volume,
    /// A table's folder in the lake.
    Data,
    /// Inlet's notes, leases and records in the lake.
    State,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectStatus {
    /// A list: it would go.
    ToRemove,
    /// It is gone.
    Removed,
    /// It is not Inlet's, or was not asked for.
    Kept,
    /// It could not be removed.
    Failed,
}

impl TeardownReport {
    /// A report of nothing but a fault.
    pub fn failed(fault: &Fault) -> Self {
        let (objects, warnings) = (Vec::new(), Vec::new());
        Self { function: "teardown", plan: true, objects, warnings, fault: Some(FaultReport::from(fault)) }
    }

    /// The gravest fault met, if any.
    pub fn gravest(&self) -> Option<FaultKind> {
        let faults = self.objects.iter().filter_map(|object| object.fault.as_ref()).chain(self.fault.as_ref());
        faults.map(|fault| fault.kind).max_by_key(|kind| kind.gravity())
    }
}

/// Lists what Inlet made, and removes it when that is asked. What cannot be removed stops nothing else.
pub fn teardown(parts: &Parts, ask: Ask, deadline: Deadline) -> TeardownReport {
    let (objects, warnings) = (Vec::new(), Vec::new());
    let mut report = TeardownReport { function: "teardown", plan: !ask.remove, objects, warnings, fault: None };
    if let Err(fault) = (Run { parts, ask, deadline, report: &mut report }).all() {
        report.fault = Some(FaultReport::from(&fault));
    }
    report
}

struct Run<'a> {
    parts: &'a Parts,
    ask: Ask,
    deadline: Deadline,
    report: &'a mut TeardownReport,
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), Fault> {
        if self.parts.lake.is_volume() {
            return self.all_managed();
        }
        self.held_rows()?;
        let schemas = self.parts.lake.schemas()?;
        for schema in &schemas {
            self.catalog_schema(schema)?;
        }
        self.warehouse()?;
        for schema in &schemas {
            for table in self.parts.lake.tables(schema)? {
                self.data(schema, &table)?;
            }
        }
        self.state()
    }

    /// Where the catalog keeps the tables: what Inlet made in it, and the volume in which rows wait.
    fn all_managed(&mut self) -> Result<(), Fault> {
        let Parts { lake, workspace, catalog, .. } = self.parts;
        self.staged_rows()?;
        let schemas = lake.handle().block_on(workspace.schemas(catalog, self.deadline))?;
        let ours = |schema: &&SchemaInfo| is_made_by_inlet(schema.comment.as_deref()) && schema.name != SCHEMA;
        for schema in schemas.iter().filter(ours) {
            self.catalog_schema(&schema.name)?;
        }
        self.warehouse()?;
        let own = schemas.iter().find(|schema| schema.name == SCHEMA);
        if own.is_some_and(|own| is_made_by_inlet(own.comment.as_deref())) {
            self.volume();
        }
        Ok(())
    }

    /// Rows that are staged stand in the volume alone, and their uploads are done.
    fn staged_rows(&mut self) -> Result<(), Fault> {
        let staged::Gathered { notes, damaged } = staged::gather(&self.parts.lake)?;
        let uploads = notes.len() + damaged.len();
        let what = format!("uploads that are staged, and that no table has yet: {uploads}");
        match (uploads, self.ask) {
            (0, _) => {}
            (_, Ask { remove: true, data: true, held: false }) => {
                return Err(Fault::setup(format!("{what}; nothing was removed"))
                    .hint("run `inlet evolve` to load them, or say --held to remove them too"));
            }
            (_, Ask { data: true, .. }) => {
                self.report.warnings.push(format!("{what}; they go with the volume unless `inlet evolve` loads them"));
            }
            _ => self.report.warnings.push(format!("{what}; they stay in the volume")),
        }
        Ok(())
    }

    fn volume(&mut self) {
        let Parts { lake, workspace, catalog, .. } = self.parts;
        let (handle, deadline) = (lake.handle().clone(), self.deadline);
        let kept = (!self.ask.data).then(|| "files go only with --data".to_owned());
        let remove = || handle.block_on(workspace.delete_volume(catalog, SCHEMA, VOLUME, deadline));
        let name = format!("{catalog}.{SCHEMA}.{VOLUME}");
        let is_gone = self.treat(ObjectKind::Volume, name, kept, || remove().map_err(Fault::from));
        let kept = (!is_gone).then(|| "1 of its objects stay".to_owned());
        let remove = || handle.block_on(workspace.delete_schema(catalog, SCHEMA, deadline)).map_err(Fault::from);
        self.treat(ObjectKind::Schema, format!("{catalog}.{SCHEMA}"), kept, remove);
    }

    /// Rows that are held stand in files and notes alone, and their uploads are done: nobody lands them again.
    fn held_rows(&mut self) -> Result<(), Fault> {
        let held::Gathered { notes, damaged } = held::gather(&self.parts.lake, None)?;
        if notes.is_empty() && damaged.is_empty() {
            return Ok(());
        }
        let rows: u64 = notes.iter().flat_map(|left| &left.note.uploads).map(|upload| upload.rows).sum();
        let tables = notes.iter().map(|left| format!("`{}.{}`", left.note.schema, left.note.table));
        let mut tables: Vec<String> = tables.collect::<BTreeSet<_>>().into_iter().collect();
        if !damaged.is_empty() {
            tables.push(format!("{} damaged notes", damaged.len()));
        }
        let what = format!("held rows that no table has yet: {rows}, of {}", tables.join(", "));
        let Ask { remove, data, held } = self.ask;
        if remove && data && !held {
            return Err(Fault::setup(format!("{what}; nothing was removed"))
                .hint("run `inlet evolve` to land them, or say --held to remove them too"));
        }
        let fate =
            if data { "go with Inlet's state unless `inlet evolve` lands them before" } else { "stay in the lake" };
        self.report.warnings.push(format!("{what}; they {fate}"));
        Ok(())
    }

    /// The entries of one schema: views first, then tables, then the schema itself if nothing is left in it.
    fn catalog_schema(&mut self, schema: &str) -> Result<(), Fault> {
        let Parts { lake, workspace, catalog, .. } = self.parts;
        let handle = lake.handle().clone();
        let deadline = self.deadline;
        let Some(there) = handle.block_on(workspace.schema(catalog, schema, deadline))? else { return Ok(()) };
        let mut tables = handle.block_on(workspace.tables(catalog, schema, deadline))?;
        tables.sort_by_key(|table| (table.kind != TableKind::View, table.name.clone()));
        let mut left = 0;
        for table in &tables {
            let kind = if table.kind == TableKind::View { ObjectKind::View } else { ObjectKind::Table };
            let name = format!("{catalog}.{schema}.{}", table.name);
            let kept = self.kept(table);
            let remove = || handle.block_on(workspace.delete_table(catalog, schema, &table.name, deadline));
            left += usize::from(!self.treat(kind, name, kept, || remove().map_err(Fault::from)));
        }
        let is_ours = is_made_by_inlet(there.comment.as_deref());
        let kept = match (is_ours, left) {
            (false, _) => Some("Inlet did not make it".to_owned()),
            (true, 0) => None,
            (true, left) => Some(format!("{left} of its objects stay")),
        };
        let remove = || handle.block_on(workspace.delete_schema(catalog, schema, deadline)).map_err(Fault::from);
        self.treat(ObjectKind::Schema, format!("{catalog}.{schema}"), kept, remove);
        Ok(())
    }

    fn kept(&self, table: &TableInfo) -> Option<String> {
        let lake = self.parts.lake.url().as_str();
        match table.kind {
            TableKind::View if is_made_by_inlet(table.comment.as_deref()) => None,
            TableKind::External if table.location.as_deref().is_some_and(|place| is_within(place, lake)) => None,
            // Its files go with it, so it is asked for as they are.
            TableKind::Managed if self.parts.lake.is_volume() && is_of_inlet(table) => {
                (!self.ask.data).then(|| "a managed table goes with its rows, and those only with --data".to_owned())
            }
            TableKind::View | TableKind::Managed | TableKind::Other(_) => Some("Inlet did not make it".to_owned()),
            TableKind::External => Some("it does not lie in the lake".to_owned()),
        }
    }

    fn warehouse(&mut self) -> Result<(), Fault> {
        let Parts { lake, workspace, warehouse: WarehouseChoice::Create(spec), .. } = self.parts else { return Ok(()) };
        let (handle, deadline) = (lake.handle().clone(), self.deadline);
        let Some(id) = handle.block_on(workspace.tagged_warehouse(spec, deadline))? else { return Ok(()) };
        let remove = || handle.block_on(workspace.delete_warehouse(&id, deadline)).map_err(Fault::from);
        self.treat(ObjectKind::Warehouse, format!("{} ({id})", spec.name), None, remove);
        Ok(())
    }

    fn data(&mut self, schema: &str, table: &str) -> Result<(), Fault> {
        let lake = &self.parts.lake;
        let url = lake.table_url(schema, table)?;
        let kept = if !self.ask.data {
            Some("files go only with --data".to_owned())
        } else {
            let opened = Table::open(lake, schema, table)?;
            let has_lineage = opened.is_some_and(|table| table.columns().iter().any(|one| one.name == UPLOAD_ID));
            let is_ours = has_lineage || table == LOADS || table == REJECTS;
            (!is_ours).then(|| format!("it has no column `{UPLOAD_ID}`: Inlet did not make it"))
        };
        let folder = lake.root().clone().join(schema).join(table);
        self.treat(ObjectKind::Data, url.to_string(), kept, || remove_folder(lake, &folder));
        Ok(())
    }

    fn state(&mut self) -> Result<(), Fault> {
        let lake = &self.parts.lake;
        let folder = lake.root().clone().join(STATE);
        let any = lake.wait(lake.store().list(Some(&folder)).try_next());
        let fault = |error| Fault::again(format!("cannot list `{folder}` of the lake")).because(error);
        if any.map_err(fault)?.is_none() {
            return Ok(());
        }
        let kept = (!self.ask.data).then(|| "files go only with --data".to_owned());
        self.treat(ObjectKind::State, format!("{}{STATE}/", lake.url()), kept, || remove_folder(lake, &folder));
        Ok(())
    }

    /// Lists an object, and removes it when it goes; says whether it is gone, or would be.
    fn treat(
        &mut self,
        kind: ObjectKind,
        name: String,
        kept: Option<String>,
        remove: impl FnOnce() -> Result<(), Fault>,
    ) -> bool {
        let (status, fault) = match (&kept, self.ask.remove) {
            (Some(_), _) => (ObjectStatus::Kept, None),
            (None, false) => (ObjectStatus::ToRemove, None),
            (None, true) => match remove() {
                Ok(()) => (ObjectStatus::Removed, None),
                Err(fault) => (ObjectStatus::Failed, Some(FaultReport::from(&fault))),
            },
        };
        self.report.objects.push(Object { kind, name, status, because: kept, fault });
        matches!(status, ObjectStatus::ToRemove | ObjectStatus::Removed)
    }
}

/// Whether a managed table is one that Inlet made: it says so, or has the columns of one.
fn is_of_inlet(table: &TableInfo) -> bool {
    let has_lineage = table.columns.iter().any(|column| column.name == UPLOAD_ID);
    is_made_by_inlet(table.comment.as_deref()) || has_lineage || table.name == LOADS || table.name == REJECTS
}

/// Removes all objects below a folder; the log goes last, so that a run that was stopped finds the rest.
fn remove_folder(lake: &crate::delta::Lake, folder: &Path) -> Result<(), Fault> {
    let fault = |error| Fault::again(format!("cannot remove `{folder}` of the lake")).because(error);
    let listed = lake.wait(lake.store().list(Some(folder)).try_collect::<Vec<_>>()).map_err(fault)?;
    let (log, files): (Vec<_>, Vec<_>) =
        listed.into_iter().map(|file| file.location).partition(|place| place.as_ref().contains("/_delta_log/"));
    lake.remove(files).and_then(|()| lake.remove(log)).map_err(fault)
}
