//! Lines become rows in memory, in the steps of a landing, for tests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};

use crate::batch::tests::context_of_tests;
use crate::batch::{Batch, Chunk, UploadContext};
use crate::column::{Column, Values};
use crate::contract::{Contracts, OnDrift};
use crate::kind::{ColumnType, KnownType};
use crate::order::{Order, Tables, UploadCounts};
use crate::place::Standing;
use crate::selection::Selection;
use crate::table::{TableKind, TablePlan};
use crate::timestamp;
use crate::worker::{Rooms, Worker};

/// A table that is there: its kind, its name, its columns beside those that every table has.
pub(crate) type Existing = (TableKind, &'static str, Vec<(&'static str, ColumnType)>);

/// What lines meet: the settings, and tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    pub(crate) selection: Selection,
    pub(crate) contracts: Contracts,
    pub(crate) existing: Vec<Existing>,
    /// Columns of existing tables that no row may leave NULL.
    pub(crate) required: Vec<(&'static str, &'static str)>,
}

/// One row: columns that are not NULL, as text.
pub(crate) type Row = BTreeMap<String, String>;

/// All that became of the lines.
#[derive(Debug, Default)]
pub(crate) struct Landed {
    pub(crate) rows: BTreeMap<String, Vec<Row>>,
    /// Columns and types that were added, by table.
    pub(crate) added: BTreeMap<String, Vec<String>>,
    /// Reason and text of each rejection.
    pub(crate) rejects: Vec<(&'static str, String)>,
    pub(crate) counts: UploadCounts,
    pub(crate) rescued: u64,
}

impl Landed {
    /// The values of one column of a table; `-` for NULL.
    pub(crate) fn column(&self, table: &str, column: &str) -> Vec<&str> {
        let rows = self.rows.get(table).map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| row.get(column).map_or("-", String::as_str)).collect()
    }

    /// How many events landed.
    pub(crate) fn landed(&self) -> u64 {
        self.counts.events - self.counts.rejected - self.counts.filtered - self.counts.duplicates
    }
}

struct Lake<'a> {
    setting: &'a Setting,
    plans: Vec<Arc<TablePlan>>,
    numbers: HashMap<String, u32>,
}

impl Lake<'_> {
    fn frozen(&mut self, kind: TableKind, name: &str) -> Standing {
        if !self.setting.existing.iter().any(|(_, existing, _)| *existing == name) {
            return None;
        }
        let Ok(number) = self.find(kind, name);
        number.map(|number| (number, Arc::clone(&self.plans[number as usize])))
    }

    fn strict(&self, name: &str) -> Standing {
        let number = *self.numbers.get(name)?;
        let plan = &self.plans[number as usize];
        plan.is_strict().then(|| (number, Arc::clone(plan)))
    }
}

impl Tables for Lake<'_> {
    type Error = Infallible;

    fn find(&mut self, kind: TableKind, name: &str) -> Result<Option<u32>, Infallible> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(Some(number));
        }
        let Setting { selection, contracts, existing, required } = self.setting;
        let columns = existing.iter().find(|(_, existing, _)| *existing == name).map(|(.., columns)| columns);
        if columns.is_none() && kind == TableKind::Event && contracts.of(name).0 != OnDrift::Evolve {
            return Ok(None);
        }
        let number = self.plans.len() as u32;
        let system = columns.map(|_| kind.system_columns()).unwrap_or_default();
        let all = system.into_iter().chain(columns.into_iter().flatten().copied());
        let known: Vec<_> = all.map(|(name, column_type)| (name.to_owned(), KnownType::Ours(column_type))).collect();
        let mut plan = TablePlan::under(name, kind, &known, selection, contracts);
        required.iter().filter(|(table, _)| *table == name).for_each(|(_, column)| plan.require(column));
        self.plans.push(Arc::new(plan));
        self.numbers.insert(name.to_owned(), number);
        Ok(Some(number))
    }

    fn landed_before(&self, _: u32, _: u128) -> bool {
        false
    }
}

/// Lands lines with all limits as they are.
pub(crate) fn land(lines: &str, setting: &Setting) -> Landed {
    let context = UploadContext {
        line_bytes: 1 << 16,
        selection: setting.selection.clone(),
        contracts: setting.contracts.clone(),
        ..context_of_tests()
    };
    let mut lake = Lake { setting, plans: Vec::new(), numbers: HashMap::new() };
    let (mut worker, mut order) = (Worker::default(), Order::default());
    let mut read = |worker: &mut Worker, lake: &mut Lake<'_>| {
        let data = Bytes::copy_from_slice(lines.as_bytes());
        let mut batch = Batch::read(Chunk { index: 0, first_line: 1, offset: 0, data }, &context);
        let find = |kind, name: &str| Ok::<_, Infallible>(lake.frozen(kind, name));
        let Ok(()) = worker.reject_drift(&mut batch, &context, find);
        let Ok(()) = order.meet(&batch, &context, lake);
        worker.reject_nulls(&mut batch, &context, |name| lake.strict(name));
        let Ok(()) = order.decide(&mut batch, &context, lake, true);
        let known = worker.flatten(&mut batch, &lake.plans);
        (batch, known)
    };
    let (mut batch, known) = read(&mut worker, &mut lake);
    let mut landed = Landed::default();
    if !known {
        worker.observe(&batch, &lake.plans, &Rooms { known: Vec::new(), new_table: 300 }, None);
        for (table, observed) in worker.take_observed() {
            let mut plan = TablePlan::clone(&lake.plans[table as usize]);
            let added = landed.added.entry(plan.name.clone()).or_default();
            for column in observed.columns() {
                plan.add(&column.full_name(), column.column_type);
                added.push(format!("{} {}", column.full_name(), column.column_type.name()));
            }
            lake.plans[table as usize] = Arc::new(plan);
        }
        (batch, _) = read(&mut worker, &mut lake);
    }
    let mut counts = Vec::new();
    worker.append(&batch, &lake.plans, &context, &HashSet::new(), &mut counts);
    landed.rescued = counts.iter().map(|counts| counts.rescued).sum();
    for (number, plan) in lake.plans.iter().enumerate() {
        let Some(group) = worker.row_group(number as u32, plan) else { continue };
        let mut rows = vec![Row::new(); group.rows];
        for (name, column) in &group.columns {
            let values = texts(column);
            let filled = (0..group.rows).filter(|row| column.valid().get(*row));
            filled.zip(values).for_each(|(row, value)| drop(rows[row].insert((*name).to_owned(), value)));
        }
        landed.rows.insert(plan.name.clone(), rows);
    }
    let rejected = batch.rejects().iter();
    landed.rejects = rejected.map(|one| (one.reason.code(), batch.rejected_text(one, &context.selection))).collect();
    landed.counts = order.into_counts();
    landed
}

fn texts(column: &Column) -> Vec<String> {
    match column.values() {
        Values::Boolean(bits) => (0..bits.len()).map(|at| bits.get(at).to_string()).collect(),
        Values::BigInt(values) => values.iter().map(i64::to_string).collect(),
        Values::Double(values) => values.iter().map(f64::to_string).collect(),
        Values::Timestamp(values) => values.iter().map(|micros| timestamp::format(*micros)).collect(),
        Values::String(texts) => texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect(),
    }
}
