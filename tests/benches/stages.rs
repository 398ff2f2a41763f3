//! The stages of a landing, each in bytes of JSON a second: `cargo bench -p benches`. Stages are cut where the rings
//! have public entry points; each gets what the stage before made, ready in memory.

mod input;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use divan::Bencher;
use divan::counter::BytesCount;
use hashbrown::HashSet;
use inlet_core::delta::{Encoder, FileLayout, FileWriter, Lake};
use inlet_core::route::{self, Parts, Unwatched};
use inlet_core::settings::Settings;
use inlet_core::upload::{Place, Upload, UploadId};
use inlet_events::contract::Contracts;
use inlet_events::lines::Chunks;
use inlet_events::order::{Order, Tables};
use inlet_events::selection::Selection;
use inlet_events::table::{TableKind, TablePlan};
use inlet_events::unpack::unpack;
use inlet_events::{Batch, Chunk, Limits, Rooms, UploadContext, Worker};
use input::Input;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;

static INPUT: LazyLock<Input> = LazyLock::new(Input::new);
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

fn main() {
    divan::main();
}

fn json() -> BytesCount {
    BytesCount::new(INPUT.json.len())
}

#[divan::bench]
fn a_gunzip(bencher: Bencher<'_, '_>) {
    bencher.counter(json()).bench(|| {
        let mut unpacked = Vec::with_capacity(INPUT.json.len());
        unpack(INPUT.packed.as_slice()).expect("it is gzip").read_to_end(&mut unpacked).expect("it is whole");
        unpacked
    });
}

#[divan::bench]
fn b_lines(bencher: Bencher<'_, '_>) {
    bencher.counter(json()).bench(chunks);
}

/// Tape, judgement: what [`Batch::read`] does.
#[divan::bench]
fn c_tape(bencher: Bencher<'_, '_>) {
    let context = context();
    let read = |chunks: Vec<Chunk>| chunks.into_iter().map(|chunk| Batch::read(chunk, &context)).collect::<Vec<_>>();
    bencher.counter(json()).with_inputs(chunks).bench_values(read);
}

/// Ids, duplicates, tables.
#[divan::bench]
fn d_order(bencher: Bencher<'_, '_>) {
    let decide = |mut batches: Vec<Batch>| {
        let (mut order, mut schema) = (Order::default(), Schema::default());
        for batch in &mut batches {
            let Ok(()) = order.decide(batch, &context(), &mut schema, false);
        }
        batches
    };
    let read = || chunks().into_iter().map(|chunk| Batch::read(chunk, &context())).collect::<Vec<_>>();
    bencher.counter(json()).with_inputs(read).bench_values(decide);
}

/// Keys find their columns, values go into the builders.
#[divan::bench]
fn e_flatten_and_append(bencher: Bencher<'_, '_>) {
    let ready = Ready::new();
    bencher.counter(json()).with_inputs(|| ready.decided()).bench_values(|batches| ready.append(batches));
}

/// Rows become Parquet, in files of a local lake.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn f_parquet(bencher: Bencher<'_, '_>) {
    let ready = Ready::new();
    let mut worker = ready.append(ready.decided());
    let mut encoder = Encoder::new().expect("an encoder");
    bencher.counter(json()).with_inputs(Room::new).bench_local_refs(|room| {
        for (number, plan) in ready.plans.iter().enumerate() {
            let Some(rows) = worker.row_group(number as u32, plan) else { continue };
            let layout = FileLayout::of_new(&room.lake, "events", &plan.name, &plan.new_columns()).expect("a layout");
            let mut file = FileWriter::create(&room.lake, layout).expect("a file");
            file.write(&rows, &mut encoder).expect("the rows fit");
            file.finish().expect("the file is written");
        }
    });
}

/// A whole upload in an empty local lake, commits included.
#[divan::bench(args = [1, 2], sample_count = 20, sample_size = 1)]
fn g_ingest(bencher: Bencher<'_, '_>, workers: usize) {
    let bytes = Arc::new(INPUT.packed.clone());
    let settings = Settings { workers, patience: Duration::from_secs(60), ..Settings::default() };
    bencher.counter(json()).with_inputs(Room::new).bench_refs(|room| {
        let upload = Upload {
            name: "upload".to_owned(),
            id: UploadId::of_content(&Sha256::digest(bytes.as_slice()).into()),
            key: None,
            size: bytes.len() as u64,
            modified: 0,
            schema: "events".to_owned(),
            place: Place::Bytes(Arc::clone(&bytes)),
        };
        let parts = Parts {
            lake: room.lake.clone(),
            managed: None,
            settings: settings.clone(),
            host: "terminal",
            allowance: None,
            kept: None,
        };
        let report = route::ingest(&parts, vec![upload], &Unwatched);
        assert!(report.fault.is_none(), "{report:?}");
    });
}

/// A lake of its own, gone afterwards.
struct Room {
    lake: Lake,
    _folder: TempDir,
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = Url::from_directory_path(folder.path()).expect("a path is a URL");
        Self { lake: Lake::open(&url, RUNTIME.handle().clone()).expect("a lake"), _folder: folder }
    }
}

/// Tables by number, in memory.
#[derive(Clone, Default)]
struct Schema {
    plans: Vec<Arc<TablePlan>>,
    numbers: HashMap<String, u32>,
}

impl Tables for Schema {
    type Error = Infallible;

    fn find(&mut self, kind: TableKind, name: &str) -> Result<Option<u32>, Infallible> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(Some(number));
        }
        let number = self.plans.len() as u32;
        self.plans.push(Arc::new(TablePlan::new(name, kind, &[])));
        self.numbers.insert(name.to_owned(), number);
        Ok(Some(number))
    }

    fn landed_before(&self, _: u32, _: u128) -> bool {
        false
    }
}

/// Plans that know every column of the input.
struct Ready {
    plans: Vec<Arc<TablePlan>>,
}

impl Ready {
    fn new() -> Self {
        let (mut batches, mut schema) = decided();
        let mut worker = Worker::default();
        let rooms = Rooms { known: Vec::new(), new_table: usize::MAX };
        for batch in &mut batches {
            worker.flatten(batch, &schema.plans);
            worker.observe(batch, &schema.plans, &rooms, None);
        }
        for (table, observed) in worker.take_observed() {
            let mut plan = TablePlan::clone(&schema.plans[table as usize]);
            for column in observed.columns() {
                plan.add(&column.name, column.column_type);
            }
            schema.plans[table as usize] = Arc::new(plan);
        }
        Self { plans: schema.plans }
    }

    fn decided(&self) -> Vec<Batch> {
        decided().0
    }

    fn append(&self, batches: Vec<Batch>) -> Worker {
        let (mut worker, mut counts) = (Worker::default(), Vec::new());
        for mut batch in batches {
            assert!(worker.flatten(&mut batch, &self.plans), "every column is planned");
            worker.append(&batch, &self.plans, &context(), &HashSet::default(), &mut counts);
        }
        worker
    }
}

fn chunks() -> Vec<Chunk> {
    let mut source = Chunks::of_bytes(INPUT.json.clone(), Limits::default().line_bytes);
    std::iter::from_fn(|| source.next_chunk().expect("memory can be read")).collect()
}

fn decided() -> (Vec<Batch>, Schema) {
    let (mut order, mut schema) = (Order::default(), Schema::default());
    let mut batches: Vec<Batch> = chunks().into_iter().map(|chunk| Batch::read(chunk, &context())).collect();
    for batch in &mut batches {
        let Ok(()) = order.decide(batch, &context(), &mut schema, false);
    }
    (batches, schema)
}

fn context() -> UploadContext {
    UploadContext {
        name: "upload".to_owned(),
        upload_id: "0123456789abcdef0123456789abcdef".to_owned(),
        key: String::new(),
        arrived: 0,
        processed: 0,
        warehouse_id: None,
        line_bytes: Limits::default().line_bytes,
        selection: Selection::default(),
        contracts: Contracts::default(),
    }
}
