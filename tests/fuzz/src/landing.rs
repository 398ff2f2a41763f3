//! Lines become rows, through the ring's public entry points only, in the steps of a landing: write while every column
//! is known, else observe the rest, let the plans grow, go back and write on. Workers take chunks in turn, on one
//! thread: what they do does not depend on who is faster.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use hashbrown::HashSet;
use inlet_events::contract::Contracts;
use inlet_events::order::{Order, TableCounts, Tables, UploadCounts};
use inlet_events::selection::Selection;
use inlet_events::table::{TableKind, TablePlan};
use inlet_events::{
    Batch, Call, Chunk, Column, ColumnType, KnownType, Limits, Observed, ObservedColumn, Reason, Rooms, RowGroup,
    UploadContext, Values, Worker,
};

/// When the uploads arrived: 2026-03-15T12:00:00Z in microseconds.
pub(crate) const ARRIVED: i64 = 1_773_576_000_000_000;

/// What an upload meets: tables that are there, limits, the id that opt-outs name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    pub(crate) existing: HashMap<String, Vec<(String, KnownType)>>,
    pub(crate) limits: Limits,
    pub(crate) warehouse_id: Option<String>,
}

/// One value of a row; doubles by their bits, so that rows can be sorted and compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Boolean(bool),
    BigInt(i64),
    Double(u64),
    Text(String),
    Micros(i64),
}

/// A row by column; nulls are left out.
pub(crate) type Row = BTreeMap<String, Cell>;

/// One table after the landing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) kind: TableKind,
    pub(crate) columns: Vec<(String, KnownType)>,
    /// Columns that the upload brought.
    pub(crate) brought: Vec<(String, ColumnType)>,
    /// In no order: workers do not keep it.
    pub(crate) rows: Vec<Row>,
    pub(crate) counts: TableCounts,
}

/// One row of `_rejects`: line, item, offset of the line, reason, text.
pub(crate) type Rejection = (u64, Option<u32>, u64, Reason, Vec<u8>);

/// All that became of an upload.
#[derive(Debug)]
pub(crate) struct Landing {
    pub(crate) tables: BTreeMap<String, Landed>,
    pub(crate) rejects: Vec<Rejection>,
    pub(crate) counts: UploadCounts,
    /// Whether every column found room.
    pub(crate) had_room: bool,
}

/// The tables of a schema, in memory.
struct Schema<'a> {
    setting: &'a Setting,
    plans: Vec<Arc<TablePlan>>,
    numbers: HashMap<String, u32>,
}

impl Tables for Schema<'_> {
    type Error = Infallible;

    fn find(&mut self, kind: TableKind, name: &str) -> Result<Option<u32>, Infallible> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(Some(number));
        }
        let events = self.plans.iter().filter(|plan| plan.kind == TableKind::Event).count();
        if kind == TableKind::Event && events >= self.setting.limits.tables_per_schema {
            return Ok(None);
        }
        let existing = self.setting.existing.get(name).map(Vec::as_slice).unwrap_or_default();
        let number = self.plans.len() as u32;
        self.plans.push(Arc::new(TablePlan::new(name, kind, existing)));
        self.numbers.insert(name.to_owned(), number);
        Ok(Some(number))
    }

    fn landed_before(&self, _: u32, _: u128) -> bool {
        false
    }
}

impl Schema<'_> {
    fn rooms(&self) -> Rooms {
        let Limits { columns_per_table, new_columns_per_upload, .. } = self.setting.limits;
        let room = |plan: &TablePlan| plan.room(columns_per_table, new_columns_per_upload);
        Rooms {
            known: self.plans.iter().map(|plan| room(plan)).collect(),
            new_table: room(&TablePlan::new("", TableKind::Call(Call::Identify), &[])),
        }
    }
}

/// Chunks of whole lines: of how many is said by `sizes`, over and over; without sizes one chunk.
pub(crate) fn chunks_of(data: &[u8], sizes: &[usize]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let (mut start, mut line) = (0, 1);
    while start < data.len() {
        let count = sizes.next().copied().unwrap_or(usize::MAX);
        let lines: Vec<&[u8]> = data[start..].split_inclusive(|byte| *byte == b'\n').take(count).collect();
        let text = bytes::Bytes::from(lines.concat());
        let next = start + text.len();
        chunks.push(Chunk { index: chunks.len(), first_line: line, offset: start as u64, data: text });
        (start, line) = (next, line + lines.len() as u64);
    }
    chunks
}

/// What an upload's events have in common.
pub(crate) fn context_of(setting: &Setting) -> UploadContext {
    UploadContext {
        name: "upload".to_owned(),
        upload_id: "0123456789abcdef0123456789abcdef".to_owned(),
        key: "key".to_owned(),
        arrived: ARRIVED,
        processed: ARRIVED,
        warehouse_id: setting.warehouse_id.clone(),
        line_bytes: setting.limits.line_bytes,
        selection: Selection::default(),
        contracts: Contracts::default(),
    }
}

/// Lands lines in one chunk, by one worker.
pub(crate) fn land_plainly(data: &[u8], setting: &Setting) -> Landing {
    land(&chunks_of(data, &[]), 1, setting)
}

/// Lands chunks; the n-th by worker n modulo `workers`.
pub(crate) fn land(chunks: &[Chunk], workers: usize, setting: &Setting) -> Landing {
    let mut run = Run {
        chunks,
        context: context_of(setting),
        schema: Schema { setting, plans: Vec::new(), numbers: HashMap::new() },
        crew: (0..workers).map(|_| Worker::default()).collect(),
        order: Order::default(),
        rejects: Vec::new(),
        rescued: Vec::new(),
        brought: HashMap::new(),
    };
    let had_room = run.all();
    run.finish(had_room)
}

struct Run<'a> {
    chunks: &'a [Chunk],
    context: UploadContext,
    schema: Schema<'a>,
    crew: Vec<Worker>,
    order: Order,
    rejects: Vec<Rejection>,
    rescued: Vec<TableCounts>,
    brought: HashMap<u32, Vec<(String, ColumnType)>>,
}

impl Run<'_> {
    /// Writes every chunk; whether every column found room.
    fn all(&mut self) -> bool {
        for at in 0..self.chunks.len() {
            let mut batch = self.read(at, false);
            if self.flatten(at, &mut batch) {
                self.write(at, &batch);
                continue;
            }
            let had_room = self.observe(at, &batch);
            self.write_settled(at, &mut batch, had_room);
            for at in at + 1..self.chunks.len() {
                let mut batch = self.read(at, false);
                self.write_settled(at, &mut batch, had_room);
            }
            return had_room;
        }
        true
    }

    fn write_settled(&mut self, at: usize, batch: &mut Batch, had_room: bool) {
        let known = self.flatten(at, batch);
        assert!(known || !had_room, "a column that was observed is not in the plan");
        self.write(at, batch);
    }

    fn read(&mut self, at: usize, will_return: bool) -> Batch {
        let mut batch = Batch::read(self.chunks[at].clone(), &self.context);
        let Ok(()) = self.order.decide(&mut batch, &self.context, &mut self.schema, will_return);
        batch
    }

    fn flatten(&mut self, at: usize, batch: &mut Batch) -> bool {
        let workers = self.crew.len();
        self.crew[at % workers].flatten(batch, &self.schema.plans)
    }

    /// Observes the chunks from `first` on and lets the plans grow; whether every column found room.
    fn observe(&mut self, first: usize, deferred: &Batch) -> bool {
        let workers = self.crew.len();
        let mut only: Option<Vec<HashSet<String>>> = None;
        loop {
            let rooms = self.schema.rooms();
            self.crew[first % workers].observe(deferred, &self.schema.plans, &rooms, only.as_deref());
            for at in first + 1..self.chunks.len() {
                let mut batch = self.read(at, true);
                self.flatten(at, &mut batch);
                self.crew[at % workers].observe(&batch, &self.schema.plans, &rooms, only.as_deref());
            }
            // Tables that were met on the way have less room than was supposed.
            let rooms = self.schema.rooms();
            let mut tables: BTreeMap<u32, Vec<Observed>> = BTreeMap::new();
            for (table, observed) in self.crew.iter_mut().flat_map(Worker::take_observed) {
                tables.entry(table).or_default().push(observed);
            }
            let overflow = tables.values().flatten().any(|observed| observed.overflow);
            let mut settled: BTreeMap<u32, Vec<ObservedColumn>> =
                tables.iter().map(|(table, observed)| (*table, columns_of(observed))).collect();
            let mut had_room = only.is_none();
            for (table, columns) in &mut settled {
                had_room &= columns.len() <= rooms.of(*table);
                columns.truncate(rooms.of(*table));
            }
            if overflow && only.is_none() {
                let mut names = vec![HashSet::new(); self.schema.plans.len()];
                for (table, columns) in &settled {
                    names[*table as usize] = columns.iter().map(|column| column.name.clone()).collect();
                }
                only = Some(names);
                continue;
            }
            for (table, columns) in settled {
                let mut plan = TablePlan::clone(&self.schema.plans[table as usize]);
                for column in &columns {
                    plan.add(&column.name, column.column_type);
                }
                self.schema.plans[table as usize] = Arc::new(plan);
                self.brought
                    .insert(table, columns.into_iter().map(|column| (column.name, column.column_type)).collect());
            }
            return had_room;
        }
    }

    fn write(&mut self, at: usize, batch: &Batch) {
        let workers = self.crew.len();
        let worker = &mut self.crew[at % workers];
        worker.append(batch, &self.schema.plans, &self.context, &HashSet::default(), &mut self.rescued);
        for reject in batch.rejects() {
            let raw = batch.rejected_bytes(reject).to_vec();
            self.rejects.push((reject.line, reject.item, reject.byte_offset, reject.reason, raw));
        }
    }

    fn finish(mut self, had_room: bool) -> Landing {
        let counts = self.order.into_counts();
        let mut tables = BTreeMap::new();
        for (number, plan) in self.schema.plans.iter().enumerate() {
            let mut rows = Vec::new();
            for worker in &mut self.crew {
                if let Some(group) = worker.row_group(number as u32, plan) {
                    rows.extend(rows_of(&group));
                }
            }
            rows.sort();
            let mut table_counts = counts.tables.get(number).copied().unwrap_or_default();
            table_counts.rescued = self.rescued.get(number).map_or(0, |counts| counts.rescued);
            let landed = Landed {
                kind: plan.kind,
                columns: plan.columns().to_vec(),
                brought: self.brought.remove(&(number as u32)).unwrap_or_default(),
                rows,
                counts: table_counts,
            };
            tables.insert(plan.name.clone(), landed);
        }
        Landing { tables, rejects: self.rejects, counts, had_room }
    }
}

/// The columns that workers saw, the first ones first, with the join of the types that all of them saw.
fn columns_of(observed: &[Observed]) -> Vec<ObservedColumn> {
    let mut columns: BTreeMap<String, ObservedColumn> = BTreeMap::new();
    for column in observed.iter().flat_map(Observed::columns) {
        columns
            .entry(column.name.clone())
            .and_modify(|known| {
                known.column_type = known.column_type.join(column.column_type);
                known.first = known.first.min(column.first);
            })
            .or_insert_with(|| column.clone());
    }
    let mut columns: Vec<_> = columns.into_values().collect();
    columns.sort_by_key(|column| column.first);
    columns
}

fn rows_of(group: &RowGroup<'_>) -> Vec<Row> {
    let mut rows = vec![Row::default(); group.rows];
    for (name, column) in &group.columns {
        let cells = cells_of(column);
        assert_eq!(cells.len(), column.count(), "a value for each row that has one");
        let filled = (0..group.rows).filter(|&row| column.valid().get(row));
        for (row, cell) in filled.zip(cells) {
            rows[row].insert((*name).to_owned(), cell);
        }
    }
    rows
}

fn cells_of(column: &Column) -> Vec<Cell> {
    match column.values() {
        Values::Boolean(bits) => (0..bits.len()).map(|at| Cell::Boolean(bits.get(at))).collect(),
        Values::BigInt(values) => values.iter().map(|value| Cell::BigInt(*value)).collect(),
        Values::Double(values) => values.iter().map(|value| Cell::Double(value.to_bits())).collect(),
        Values::Timestamp(values) => values.iter().map(|value| Cell::Micros(*value)).collect(),
        Values::String(texts) => {
            let text = |text: &[u8]| String::from_utf8(text.to_vec()).expect("a STRING is UTF-8");
            texts.iter().map(|bytes| Cell::Text(text(bytes))).collect()
        }
    }
}

impl Landing {
    /// The rows of a table; none when it was not fed.
    pub(crate) fn rows(&self, table: &str) -> &[Row] {
        self.tables.get(table).map(|landed| landed.rows.as_slice()).unwrap_or_default()
    }

    /// Events that landed: rows of the call tables.
    pub(crate) fn landed(&self) -> u64 {
        Call::ALL.iter().map(|call| self.rows(call.table()).len() as u64).sum()
    }
}
