//! The tables of one schema during a run: what stands in the lake, what the uploads planned so far add, and what the
//! upload at hand has landed before.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use hashbrown::{HashMap, HashSet};
use inlet_events::contract::{Contracts, OnDrift};
use inlet_events::order::{Tables, id_hash};
use inlet_events::selection::Selection;
use inlet_events::table::{RESCUED_DATA, TableKind, TablePlan, UPLOAD_ID, UUID_TS};
use inlet_events::{Call, ColumnType, KnownType, Limits, Rooms, Standing};

use crate::clock::Deadline;
use crate::delta::{Column, FileLayout, Lake, Table, add_columns_only};
use crate::evolve::notes;
use crate::fault::{Fault, FaultKind};
use crate::held::{Note, Pending};
use crate::kept::{self, KeptTables};
use crate::ledger::{LOADS, REJECTS};
use crate::managed::Shown;
use crate::report::NewColumn;
use crate::settings::Settings;
use crate::upload::app_id_of;

/// The files that an anti-join may read: beyond, an overwritten upload is not landed but reported.
const ANTI_JOIN_FILES: usize = 2_000;

/// How long it may take to add the columns that a table must have before its files.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// One table: in the lake, or about to be.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) plan: Arc<TablePlan>,
    /// None while the lake has no such table.
    pub(crate) table: Option<Table>,
    /// Why it takes no rows, or not the columns of its plan: its rows are held until it does.
    pub(crate) refused: Option<Fault>,
    layout: Option<(usize, Arc<FileLayout>)>,
}

impl Known {
    /// The columns that held rows want: those that the table lacks; all, when it may have to be made anew.
    pub(crate) fn columns_to_hold(&self) -> Vec<(String, ColumnType)> {
        if self.refused.is_some() { ours(&self.plan) } else { self.plan.new_columns() }
    }

    /// Whether the table takes no rows at all from Inlet; one that refused only columns takes others.
    pub(crate) fn takes_no_rows(&self) -> bool {
        self.refused.is_some() && self.table.as_ref().is_some_and(|table| table.may_append().is_err())
    }
}

/// What a registry may write besides the commits of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// It is a plan.
    Nothing,
    /// Columns of tables that want them before their files.
    Columns,
    /// And notes for the catalog that shows those tables.
    WithCatalog,
    /// Nothing: the warehouse changes tables.
    RowsOnly,
    /// Nothing: the warehouse writes the tables too, and only the catalog tells what they are.
    Staged,
}

/// What the upload at hand did before this run.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Its id; empty for a plan.
    upload_id: String,
    /// Ids of earlier uploads of the same key: only ids that those did not land are new.
    earlier_uploads: Vec<String>,
    before: Before,
    earlier_ids: HashMap<u32, HashSet<u128>>,
}

impl Past {
    pub(crate) fn new(upload_id: String, earlier_uploads: Vec<String>) -> Self {
        Self { upload_id, earlier_uploads, ..Self::default() }
    }
}

/// What became of an upload's rows before this run, by table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    /// Tables that have them already (an earlier run was killed before it was done).
    pub(crate) landed: HashSet<u32>,
    /// Tables that they are held for, by such a run.
    pub(crate) held: HashSet<u32>,
    /// Tables for which earlier uploads of the key are held: which ids those bring nobody knows yet.
    pub(crate) after: HashMap<u32, Vec<String>>,
}

impl Before {
    /// Whether rows for a table were written before.
    pub(crate) fn has_written(&self, table: u32) -> bool {
        self.landed.contains(&table) || self.held.contains(&table)
    }
}

/// The tables of one schema by number.
#[derive(Debug)]
pub(crate) struct Registry {
    /// None for a plan without a lake.
    lake: Option<Lake>,
    /// What earlier runs left.
    kept: Option<Arc<KeptTables>>,
    schema: String,
    limits: Limits,
    writes: Writes,
    selection: Selection,
    contracts: Contracts,
    pending: Pending,
    /// Folders of tables, and tables that rows are held for. A folder without a log becomes a table when it is opened;
    /// each counts towards the limit.
    in_lake: HashSet<String>,
    known: Vec<Known>,
    numbers: HashMap<String, u32>,
    past: Past,
    /// Managed tables: their columns. None while tables stand in the lake.
    shown: Option<Shown>,
}

impl Registry {
    /// The tables that Unity Catalog keeps, as it shows them; the lake holds their rows while they wait. None: it is a
    /// plan.
    pub(crate) fn of_managed(lake: Option<&Lake>, schema: &str, settings: &Settings, shown: Shown) -> Self {
        Self {
            lake: lake.cloned(),
            schema: schema.to_owned(),
            limits: settings.limits.clone(),
            selection: settings.selection.clone(),
            contracts: settings.contracts.clone(),
            writes: if lake.is_some() { Writes::Staged } else { Writes::Nothing },
            pending: Pending::default(),
            in_lake: shown.keys().cloned().collect(),
            known: Vec::new(),
            numbers: HashMap::new(),
            past: Past::default(),
            shown: Some(shown),
            kept: None,
        }
    }

    /// Lists the schema's folders; opens no table yet.
    pub(crate) fn new(
        lake: Option<&Lake>,
        schema: &str,
        settings: &Settings,
        writes: Writes,
        pending: Pending,
    ) -> Result<Self, Fault> {
        let mut in_lake: HashSet<String> = match lake {
            Some(lake) => lake.table_folders(schema)?.into_iter().collect(),
            None => HashSet::new(),
        };
        in_lake.extend(pending.tables().map(str::to_owned));
        Ok(Self {
            lake: lake.cloned(),
            kept: None,
            schema: schema.to_owned(),
            limits: settings.limits.clone(),
            selection: settings.selection.clone(),
            contracts: settings.contracts.clone(),
            writes,
            pending,
            in_lake,
            known: Vec::new(),
            numbers: HashMap::new(),
            past: Past::default(),
            shown: None,
        })
    }

    /// The same, with the tables that earlier runs left.
    pub(crate) fn with_kept(self, kept: Option<Arc<KeptTables>>) -> Self {
        Self { kept, ..self }
    }

    /// The tables that the lake has, of those that were met.
    pub(crate) fn into_tables(self) -> impl Iterator<Item = Table> {
        self.known.into_iter().filter_map(|known| known.table)
    }

    /// Turns to the next upload.
    pub(crate) fn begin(&mut self, past: Past) -> Result<(), Fault> {
        self.past = past;
        for number in 0..self.known.len() {
            self.look_back(number as u32)?;
        }
        Ok(())
    }

    /// What became of the upload at hand before, as far as its tables were met.
    pub(crate) fn before(&self) -> &Before {
        &self.past.before
    }

    /// Tables that need no rows of the upload at hand again.
    pub(crate) fn written(&self) -> HashSet<u32> {
        self.past.before.landed.union(&self.past.before.held).copied().collect()
    }

    /// Takes up rows that this run holds.
    pub(crate) fn hold(&mut self, note: &Note) {
        self.in_lake.insert(note.table.clone());
        self.pending.add(note);
    }

    pub(crate) fn writes(&self) -> Writes {
        self.writes
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn plan(&self, number: u32) -> &Arc<TablePlan> {
        &self.known[number as usize].plan
    }

    pub(crate) fn plans(&self) -> Vec<Arc<TablePlan>> {
        self.known.iter().map(|known| Arc::clone(&known.plan)).collect()
    }

    pub(crate) fn known_mut(&mut self) -> &mut [Known] {
        &mut self.known
    }

    pub(crate) fn exists(&self, number: u32) -> bool {
        let known = &self.known[number as usize];
        self.stands(&known.plan.name, known.table.as_ref())
    }

    /// Whether a table is there: in the lake, or as the catalog shows it.
    fn stands(&self, name: &str, table: Option<&Table>) -> bool {
        self.shown.as_ref().map_or(table.is_some(), |shown| shown.contains_key(name))
    }

    /// How many columns the upload at hand may add to each table; to one that it has not met yet at most what a table
    /// without columns could take.
    pub(crate) fn rooms(&self) -> Rooms {
        let Limits { columns_per_table, new_columns_per_upload, .. } = self.limits;
        let room = |plan: &TablePlan| plan.room(columns_per_table, new_columns_per_upload);
        let known = self.known.iter().map(|known| room(&known.plan)).collect();
        Rooms { known, new_table: columns_per_table.min(new_columns_per_upload) }
    }

    /// Adds columns to a table's plan; answers what was added.
    pub(crate) fn extend(
        &mut self,
        number: u32,
        columns: &[(String, ColumnType)],
        deadline: Deadline,
    ) -> Result<Vec<NewColumn>, Fault> {
        let known = &mut self.known[number as usize];
        let mut plan = TablePlan::clone(&known.plan);
        for (name, column_type) in columns {
            plan.add(name, *column_type);
        }
        known.plan = Arc::new(plan);
        self.settle_columns(number, deadline)?;
        let added =
            columns.iter().map(|(name, column_type)| NewColumn { name: name.clone(), column_type: column_type.name() });
        Ok(added.collect())
    }

    /// Asks the gate's second question when columns are missing. Under column mapping they are added at once: only a
    /// commit gives them the physical names that files need.
    fn settle_columns(&mut self, number: u32, deadline: Deadline) -> Result<(), Fault> {
        let writes = self.writes;
        let known = &mut self.known[number as usize];
        let missing = known.plan.new_columns();
        let (Some(lake), Some(table)) = (&self.lake, known.table.as_mut()) else { return Ok(()) };
        if missing.is_empty() || writes == Writes::RowsOnly || known.refused.is_some() {
            return Ok(());
        }
        known.refused = refused(writes, table.may_add_columns(&missing))?;
        if known.refused.is_some() {
            return Ok(());
        }
        if table.needs_columns_first() && self.writes != Writes::Nothing {
            if self.writes == Writes::WithCatalog {
                let names = missing.iter().map(|(name, _)| name.clone()).collect();
                notes::leave(lake, &self.schema, [(known.plan.name.clone(), names)].into())?;
            }
            add_columns_only(lake, table, &missing, deadline)?;
            let mut plan = TablePlan::clone(&known.plan);
            plan.committed();
            known.plan = Arc::new(plan);
        }
        Ok(())
    }

    /// What files of a table look like as its plan stands.
    pub(crate) fn layout(&mut self, number: u32) -> Result<Arc<FileLayout>, Fault> {
        let known = &mut self.known[number as usize];
        let columns = known.plan.columns().len();
        if let Some((laid_out, layout)) = &known.layout
            && *laid_out == columns
        {
            return Ok(Arc::clone(layout));
        }
        let Some(lake) = &self.lake else { return Err(Fault::bug("a plan writes no files")) };
        let new_columns = known.plan.new_columns();
        let layout = match &known.table {
            Some(_) if known.refused.is_some() => {
                FileLayout::of_aside(lake, &self.schema, &known.plan.name, &ours(&known.plan))?
            }
            Some(table) if self.writes != Writes::RowsOnly || may_take(table, &new_columns) => {
                FileLayout::of_existing(lake, table, &new_columns)?
            }
            None if self.writes == Writes::Staged => {
                FileLayout::of_new(lake, &self.schema, &known.plan.name, &ours(&known.plan))?
            }
            None if self.writes != Writes::RowsOnly => {
                FileLayout::of_new(lake, &self.schema, &known.plan.name, &new_columns)?
            }
            _ => FileLayout::of_aside(lake, &self.schema, &known.plan.name, &ours(&known.plan))?,
        };
        known.layout = Some((columns, Arc::clone(&layout)));
        Ok(layout)
    }

    /// Reads all known tables' logs again, after a commit that did not go as planned. Plans start anew from what is
    /// there; table numbers stay.
    pub(crate) fn reload(&mut self) -> Result<(), Fault> {
        for number in 0..self.known.len() {
            let name = self.known[number].plan.name.clone();
            let kind = self.known[number].plan.kind;
            if let (Some(lake), None) = (&self.lake, &self.shown) {
                bring_up_to_date(&mut self.known[number].table, lake, &self.schema, &name)?;
            }
            let table = self.known[number].table.as_ref();
            let refused = table.map_or(Ok(None), |table| refused(self.writes, table.may_append()))?;
            let plan = self.planned(&name, kind, table)?;
            let known = &mut self.known[number];
            // A table that takes rows again takes none of this run: the warehouse may have copied them in between.
            let refused = refused.or(known.refused.take());
            (known.plan, known.refused, known.layout) = (plan, refused, None);
            self.settle_unless_frozen(number as u32)?;
        }
        Ok(())
    }

    /// After a commit: what was planned stands in the lake. Answers whether some table has other columns than planned
    /// (somebody else added some): its plan starts anew, and rows must be built by that.
    pub(crate) fn committed(&mut self) -> Result<bool, Fault> {
        let mut replanned = false;
        for number in 0..self.known.len() {
            let known = &self.known[number];
            let Some(table) = &known.table else { continue };
            let (planned, there) = (known.plan.columns().len(), table.columns().len());
            let plan = if there == planned {
                let mut plan = TablePlan::clone(&known.plan);
                plan.committed();
                Arc::new(plan)
            } else if there + known.plan.new_columns().len() == planned
                && (self.writes == Writes::RowsOnly || known.refused.is_some())
            {
                // What the table lacks is held, and still to come.
                Arc::clone(&known.plan)
            } else {
                replanned = true;
                self.planned(&known.plan.name, known.plan.kind, Some(table))?
            };
            self.in_lake.insert(known.plan.name.clone());
            (self.known[number].plan, self.known[number].layout) = (plan, None);
        }
        Ok(replanned)
    }

    /// Tables of track events, in the lake and planned.
    fn event_tables(&self) -> usize {
        let is_call =
            |name: &str| Call::ALL.iter().any(|call| call.table() == name) || name == LOADS || name == REJECTS;
        let in_lake = self.in_lake.iter().filter(|name| !is_call(name)).count();
        let is_planned =
            |known: &&Known| known.plan.kind == TableKind::Event && !self.in_lake.contains(&known.plan.name);
        in_lake + self.known.iter().filter(is_planned).count()
    }

    /// Opens a table, or plans one that is not there; nothing when its contract forbids a new event table.
    fn open(&mut self, kind: TableKind, name: &str) -> Result<Option<u32>, Fault> {
        let table = match &self.lake {
            Some(lake) if self.shown.is_none() && self.in_lake.contains(name) => {
                kept::open(self.kept.as_deref(), lake, &self.schema, name)?
            }
            _ => None,
        };
        let on_drift = self.contracts.of(name).0;
        if !self.stands(name, table.as_ref()) && kind == TableKind::Event && on_drift != OnDrift::Evolve {
            return Ok(None);
        }
        let refused = table.as_ref().map_or(Ok(None), |table| refused(self.writes, table.may_append()))?;
        let number = self.known.len() as u32;
        let plan = self.planned(name, kind, table.as_ref())?;
        self.known.push(Known { plan, table, refused, layout: None });
        self.numbers.insert(name.to_owned(), number);
        self.settle_unless_frozen(number)?;
        self.look_back(number)?;
        Ok(Some(number))
    }

    /// Asks for the columns that a plan begins with; a frozen table gets none.
    fn settle_unless_frozen(&mut self, number: u32) -> Result<(), Fault> {
        match self.known[number as usize].plan.on_drift {
            OnDrift::Freeze => Ok(()),
            _ => self.settle_columns(number, Deadline::after(SETTLE_WITHIN)),
        }
    }

    /// A frozen table as it is; nothing when it is not there, or lacks what every table has.
    pub(crate) fn frozen(&mut self, kind: TableKind, name: &str) -> Result<Standing, Fault> {
        let number = match self.numbers.get(name) {
            Some(&number) => Some(number),
            None => self.open(kind, name)?,
        };
        let Some(number) = number else { return Ok(None) };
        let known = &self.known[number as usize];
        let is_whole = self.exists(number) && known.plan.new_columns().is_empty();
        Ok(is_whole.then(|| (number, Arc::clone(&known.plan))))
    }

    /// Whether some table that was met has columns that no row may leave NULL.
    pub(crate) fn has_strict(&self) -> bool {
        self.known.iter().any(|known| known.plan.is_strict())
    }

    /// A table with such columns.
    pub(crate) fn strict(&self, name: &str) -> Standing {
        let number = *self.numbers.get(name)?;
        let plan = self.plan(number);
        plan.is_strict().then(|| (number, Arc::clone(plan)))
    }

    /// A plan over a table as it is, and the columns that held rows want.
    fn planned(&self, name: &str, kind: TableKind, table: Option<&Table>) -> Result<Arc<TablePlan>, Fault> {
        let shown = self.shown.as_ref().and_then(|shown| shown.get(name)).cloned();
        let columns = checked(name, shown.unwrap_or_else(|| columns_of(table)))?;
        let mut plan = TablePlan::under(name, kind, &columns, &self.selection, &self.contracts);
        let required = table.into_iter().flat_map(Table::columns).filter(|column| !column.nullable);
        required.for_each(|column| plan.require(&column.name));
        for (column, column_type) in self.pending.columns(name) {
            plan.add(column, *column_type);
        }
        Ok(Arc::new(plan))
    }

    /// Notes whether the upload at hand has landed in a table, and which ids its earlier forms landed there.
    fn look_back(&mut self, number: u32) -> Result<(), Fault> {
        let Known { plan, table, .. } = &self.known[number as usize];
        let past = &mut self.past;
        if table.as_ref().is_some_and(|table| !past.upload_id.is_empty() && table.has(&app_id_of(&past.upload_id))) {
            past.before.landed.insert(number);
        } else if self.pending.has(&plan.name, &past.upload_id) {
            past.before.held.insert(number);
        }
        let is_held = |id: &&String| self.pending.has(&plan.name, id);
        let after: Vec<String> = past.earlier_uploads.iter().filter(is_held).cloned().collect();
        if !after.is_empty() {
            past.before.after.insert(number, after);
        }
        let Some(table) = table else { return Ok(()) };
        if self.past.earlier_uploads.is_empty() {
            return Ok(());
        }
        let has_lineage = table.columns().iter().any(|column| column.name == UPLOAD_ID);
        let mut ids = HashSet::new();
        if has_lineage {
            let only = Some((UPLOAD_ID, self.past.earlier_uploads.as_slice()));
            let mut each = |batch: &arrow_array::RecordBatch| {
                if let Some(column) = batch.column(0).as_string_opt::<i32>() {
                    ids.extend(column.iter().flatten().map(id_hash));
                    return Ok(());
                }
                Err(Fault::setup(format!(
                    "column `id` of table `{}` is no STRING",
                    self.known[number as usize].plan.name
                )))
            };
            table.read(&["id"], only, &mut each, ANTI_JOIN_FILES)?;
        }
        self.past.earlier_ids.insert(number, ids);
        Ok(())
    }
}

/// Reads a table's log on, or opens the table that was not there before.
pub(crate) fn bring_up_to_date(table: &mut Option<Table>, lake: &Lake, schema: &str, name: &str) -> Result<(), Fault> {
    match table {
        Some(table) => table.refresh().map(drop),
        None => Table::open(lake, schema, name).map(|opened| *table = opened),
    }
}

/// What the gate's refusal of a table means: where somebody lands held rows later, its rows are held; elsewhere it stops
/// the upload.
fn refused(writes: Writes, asked: Result<(), Fault>) -> Result<Option<Fault>, Fault> {
    let are_landed_later = matches!(writes, Writes::WithCatalog | Writes::RowsOnly);
    match asked {
        Err(fault) if are_landed_later && fault.kind() == FaultKind::Setup => Ok(Some(fault)),
        other => other.map(|()| None),
    }
}

/// Whether files can lie in a table's folder that hold columns which a warehouse is to add.
fn may_take(table: &Table, new_columns: &[(String, ColumnType)]) -> bool {
    new_columns.is_empty() || !table.needs_columns_first() && table.may_add_columns(new_columns).is_ok()
}

/// The columns of a plan that take values.
fn ours(plan: &TablePlan) -> Vec<(String, ColumnType)> {
    let ours = |(name, known): &(String, KnownType)| match known {
        KnownType::Ours(column_type) => Some((name.clone(), *column_type)),
        KnownType::Foreign => None,
    };
    plan.columns().iter().filter_map(ours).collect()
}

fn columns_of(table: Option<&Table>) -> Vec<(String, KnownType)> {
    table.into_iter().flat_map(Table::columns).map(Column::named).collect()
}

/// The columns of a table, among which Inlet's own must be its own.
fn checked(name: &str, columns: Vec<(String, KnownType)>) -> Result<Vec<(String, KnownType)>, Fault> {
    for (own, column_type) in
        [(RESCUED_DATA, ColumnType::String), (UPLOAD_ID, ColumnType::String), (UUID_TS, ColumnType::Timestamp)]
    {
        let taken = columns.iter().find(|(other, known)| other == own && *known != KnownType::Ours(column_type));
        if taken.is_some() {
            return Err(Fault::setup(format!(
                "column `{own}` of table `{name}` is no {}",
                column_type.name().to_uppercase()
            ))
            .hint(format!("rename or drop that column: Inlet needs `{own}` for itself")));
        }
    }
    Ok(columns)
}

impl Tables for Registry {
    type Error = Fault;

    fn find(&mut self, kind: TableKind, name: &str) -> Result<Option<u32>, Fault> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(Some(number));
        }
        if kind == TableKind::Event
            && !self.in_lake.contains(name)
            && self.event_tables() >= self.limits.tables_per_schema
        {
            return Ok(None);
        }
        self.open(kind, name)
    }

    fn landed_before(&self, table: u32, id: u128) -> bool {
        self.past.earlier_ids.get(&table).is_some_and(|ids| ids.contains(&id))
    }
}
