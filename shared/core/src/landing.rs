//! One upload becomes rows in the workers' files.
//!
//! Workers take chunks in turn, pass through the upload's order one after another, and write rows. The first chunk
//! with a column that no plan knows stops the writing: from there to its end the upload is only observed, so that each
//! new column gets the least type that holds all its values; then the plans grow and the writing goes on where it
//! stopped. Columns that the limits forbid stay unknown, and their values are rescued.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use hashbrown::{HashMap, HashSet};
use inlet_events::lines::{Chunks, Position};
use inlet_events::order::{Order, TableCounts, UploadCounts};
use inlet_events::table::TablePlan;
use inlet_events::{Batch, ColumnType, Observed, ObservedColumn, Rooms, UploadContext};

use crate::clock::Deadline;
use crate::crew::{Crewman, Yard, bug, lock, worker_panicked};
use crate::registry::Registry;
use crate::report::NewColumn;
use crate::source::{Opened, Refusal, Source, Window};

/// An upload smaller than this is read by one worker: a thread costs more.
const SMALL_BYTES: usize = 512 << 10;

/// What one upload came to, before its group is committed.
#[derive(Debug, Default)]
pub(crate) struct Landed {
    pub(crate) counts: UploadCounts,
    /// Per table number: rescued values.
    pub(crate) rescued: Vec<TableCounts>,
    /// Per table number: columns that this upload brings.
    pub(crate) new_columns: HashMap<u32, Vec<NewColumn>>,
}

/// Why an upload did not become rows.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) refusal: Refusal,
    /// Whether some of its rows or columns stand in builders or plans already: then the group starts anew without it.
    pub(crate) left_traces: bool,
}

/// What landing one upload works with.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) registry: &'a Mutex<Registry>,
    /// None for a plan: nothing is written.
    pub(crate) yard: Option<Yard<'a>>,
    pub(crate) context: &'a UploadContext,
    /// Whether its rejections stand in `_rejects` already.
    pub(crate) rejects_landed: bool,
    pub(crate) deadline: Deadline,
}

/// What the workers of one upload share.
struct Shared<'a> {
    work: Work<'a>,
    chunks: Mutex<Chunks<'static>>,
    turn: Mutex<Turn>,
    next_turn: Condvar,
    /// A chunk with an unknown column was met.
    drift: AtomicBool,
    left_traces: AtomicBool,
    failure: Mutex<Option<Refusal>>,
    failed: AtomicBool,
}

struct Turn {
    next: usize,
    order: Order,
}

/// What workers do with the chunks they take.
#[derive(Clone, Copy)]
enum Pass<'a> {
    /// Write rows; a chunk with unknown columns is put back for later.
    Write {
        /// Unknown columns stay unknown: they were observed, or the limits forbid them.
        settled: bool,
    },
    /// Note the types of unknown columns, of all names or of those settled before.
    Observe { rooms: &'a Rooms, only: Option<&'a [HashSet<String>]> },
}

/// Lands an opened upload in the crew's builders.
pub(crate) fn land(
    work: Work<'_>,
    source: &Source<'_>,
    opened: Opened,
    crew: &mut [Crewman],
) -> Result<Landed, Stopped> {
    let line_bytes = work.context.line_bytes;
    let mut whole = None;
    let (chunks, is_small) = match opened {
        Opened::Whole(Window { buffer, length }) => {
            let chunks = Chunks::of_bytes(buffer.slice(..length), line_bytes);
            whole = Some(buffer);
            (chunks, length < SMALL_BYTES)
        }
        Opened::Stream(chunks) => (chunks, false),
    };
    let shared = Shared {
        work,
        chunks: Mutex::new(chunks),
        turn: Mutex::new(Turn { next: 0, order: Order::default() }),
        next_turn: Condvar::new(),
        drift: AtomicBool::new(false),
        left_traces: AtomicBool::new(false),
        failure: Mutex::new(None),
        failed: AtomicBool::new(false),
    };
    let crew = if is_small { &mut crew[..1] } else { crew };
    let mut landed = Landed::default();
    let done = shared.run(source, crew, &mut landed);
    let left_traces = shared.left_traces.load(Ordering::Relaxed);
    let Shared { chunks, turn, .. } = shared;
    drop(chunks);
    if let Some(buffer) = whole {
        source.buffers.give_back(buffer);
    }
    match done {
        Ok(()) => {
            landed.counts = turn.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).order.into_counts();
            Ok(landed)
        }
        Err(refusal) => Err(Stopped { refusal, left_traces }),
    }
}

impl Shared<'_> {
    fn run(&self, source: &Source<'_>, crew: &mut [Crewman], landed: &mut Landed) -> Result<(), Refusal> {
        let mut deferred: Vec<Option<Batch>> = crew.iter().map(|_| None).collect();
        self.pass(crew, &mut deferred, Pass::Write { settled: false }, landed)?;
        if !self.drift.load(Ordering::Relaxed) {
            return Ok(());
        }
        let resume = lock(&self.chunks).position();
        self.observe(source, crew, &mut deferred, resume, landed)?;
        self.go_back(source, resume)?;
        self.pass(crew, &mut deferred, Pass::Write { settled: true }, landed)
    }

    /// Reads the rest of the upload for the types of unknown columns, and lets the plans grow.
    fn observe(
        &self,
        source: &Source<'_>,
        crew: &mut [Crewman],
        deferred: &mut [Option<Batch>],
        resume: Position,
        landed: &mut Landed,
    ) -> Result<(), Refusal> {
        let mut only: Option<Vec<HashSet<String>>> = None;
        loop {
            let rooms = lock(self.work.registry).rooms();
            self.pass(crew, deferred, Pass::Observe { rooms: &rooms, only: only.as_deref() }, landed)?;
            // Tables that were met on the way have less room than was supposed.
            let rooms = lock(self.work.registry).rooms();
            let mut tables: HashMap<u32, Vec<Observed>> = HashMap::new();
            for man in crew.iter_mut() {
                for (table, observed) in man.worker.take_observed() {
                    tables.entry(table).or_default().push(observed);
                }
            }
            let overflow = only.is_none() && tables.values().flatten().any(|observed| observed.overflow);
            let mut settled = Vec::new();
            for (table, observed) in tables {
                settled.push((table, first_columns(&observed, rooms.of(table))));
            }
            if overflow {
                // More names than room: the first ones count, and only a second look at just those has all their types.
                let count = settled.iter().map(|(table, _)| *table as usize + 1).max().unwrap_or_default();
                let mut names = vec![HashSet::new(); count];
                for (table, columns) in &settled {
                    names[*table as usize] = columns.iter().map(|column| column.name.clone()).collect();
                }
                only = Some(names);
                self.go_back(source, resume)?;
                continue;
            }
            for (table, columns) in settled {
                let columns: Vec<(String, ColumnType)> =
                    columns.into_iter().map(|column| (column.name, column.column_type)).collect();
                let added = lock(self.work.registry).extend(table, &columns, self.work.deadline);
                // From here on a plan speaks of this upload: if it fails, the group starts anew without it.
                self.left_traces.store(true, Ordering::Relaxed);
                landed.new_columns.insert(table, added.map_err(Refusal::Fault)?);
            }
            return Ok(());
        }
    }

    fn go_back(&self, source: &Source<'_>, to: Position) -> Result<(), Refusal> {
        let mut chunks = lock(&self.chunks);
        if !chunks.rewind(to) {
            let mut again = source.reopen()?;
            again.skip_to(to).map_err(Refusal::of)?;
            *chunks = again;
        }
        lock(&self.turn).next = chunks.index();
        Ok(())
    }

    /// Runs every worker once over the chunks.
    fn pass(
        &self,
        crew: &mut [Crewman],
        deferred: &mut [Option<Batch>],
        pass: Pass<'_>,
        landed: &mut Landed,
    ) -> Result<(), Refusal> {
        if let [man] = crew {
            self.work_through(man, &mut deferred[0], pass, &mut landed.rescued);
        } else {
            let counts = std::thread::scope(|scope| {
                let threads: Vec<_> = crew
                    .iter_mut()
                    .zip(deferred)
                    .map(|(man, deferred)| {
                        scope.spawn(move || {
                            let mut rescued = Vec::new();
                            self.work_through(man, deferred, pass, &mut rescued);
                            rescued
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().ok()).collect::<Vec<_>>()
            });
            for rescued in counts {
                let Some(rescued) = rescued else { return Err(Refusal::Fault(worker_panicked())) };
                add_rescued(&mut landed.rescued, &rescued);
            }
        }
        match lock(&self.failure).take() {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// One worker's share of a pass; a failure is noted for all.
    fn work_through(
        &self,
        man: &mut Crewman,
        deferred: &mut Option<Batch>,
        pass: Pass<'_>,
        rescued: &mut Vec<TableCounts>,
    ) {
        // A panic must not leave the others waiting for their turn.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.try_work_through(man, deferred, pass, rescued)
        }));
        let outcome = outcome.unwrap_or_else(|_| Err(Refusal::Fault(worker_panicked())));
        if let Err(refusal) = outcome {
            lock(&self.failure).get_or_insert(refusal);
            self.failed.store(true, Ordering::SeqCst);
            drop(lock(&self.turn));
            self.next_turn.notify_all();
        }
    }

    fn try_work_through(
        &self,
        man: &mut Crewman,
        deferred: &mut Option<Batch>,
        pass: Pass<'_>,
        rescued: &mut Vec<TableCounts>,
    ) -> Result<(), Refusal> {
        let mut plans = lock(self.work.registry).plans();
        if let Some(mut batch) = deferred.take() {
            match pass {
                Pass::Write { .. } => {
                    man.worker.flatten(&mut batch, &plans);
                    self.write(man, &batch, &plans, rescued)?;
                }
                Pass::Observe { rooms, only } => {
                    man.worker.observe(&batch, &plans, rooms, only);
                    *deferred = Some(batch);
                }
            }
        }
        loop {
            let stop_for_drift = matches!(pass, Pass::Write { settled: false }) && self.drift.load(Ordering::SeqCst);
            if stop_for_drift || self.failed.load(Ordering::SeqCst) {
                return Ok(());
            }
            let chunk = lock(&self.chunks).next_chunk().map_err(|error: io::Error| Refusal::of(error))?;
            let Some(chunk) = chunk else { return Ok(()) };
            let index = chunk.index;
            let mut batch = Batch::read(chunk, self.work.context);
            let will_return = matches!(pass, Pass::Observe { .. });
            if !self.decide(index, &mut batch, will_return)? {
                return Ok(());
            }
            if lock(self.work.registry).len() != plans.len() {
                plans = lock(self.work.registry).plans();
            }
            let known = man.worker.flatten(&mut batch, &plans);
            match pass {
                Pass::Write { settled } if known || settled => self.write(man, &batch, &plans, rescued)?,
                Pass::Write { .. } => {
                    self.drift.store(true, Ordering::SeqCst);
                    *deferred = Some(batch);
                    return Ok(());
                }
                Pass::Observe { rooms, only } => man.worker.observe(&batch, &plans, rooms, only),
            }
        }
    }

    /// Waits for the chunk's turn and decides about its events; false when another worker failed. Decisions about
    /// chunks that will be read again are remembered.
    fn decide(&self, index: usize, batch: &mut Batch, will_return: bool) -> Result<bool, Refusal> {
        let mut turn = lock(&self.turn);
        while turn.next != index {
            if self.failed.load(Ordering::SeqCst) {
                return Ok(false);
            }
            turn = self.next_turn.wait(turn).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let decided = turn.order.decide(batch, self.work.context, &mut *lock(self.work.registry), will_return);
        turn.next = index + 1;
        drop(turn);
        self.next_turn.notify_all();
        decided.map(|()| true).map_err(Refusal::Fault)
    }

    fn write(
        &self,
        man: &mut Crewman,
        batch: &Batch,
        plans: &[Arc<TablePlan>],
        rescued: &mut Vec<TableCounts>,
    ) -> Result<(), Refusal> {
        self.left_traces.store(true, Ordering::Relaxed);
        let context = self.work.context;
        let landed = lock(self.work.registry).landed().clone();
        man.worker.append(batch, plans, context, &landed, rescued).map_err(|error| Refusal::Fault(bug(error)))?;
        if !self.work.rejects_landed {
            man.rejects.add(&context.name, &context.upload_id, batch, context.processed);
        }
        match self.work.yard {
            Some(yard) => man.relieve(yard, plans).map_err(Refusal::Fault),
            None => Ok(()),
        }
    }
}

fn add_rescued(sum: &mut Vec<TableCounts>, more: &[TableCounts]) {
    if sum.len() < more.len() {
        sum.resize(more.len(), TableCounts::default());
    }
    for (sum, more) in sum.iter_mut().zip(more) {
        sum.rescued += more.rescued;
    }
}

/// The columns that were seen first, as many as there is room for, with the join of the types that all workers saw.
fn first_columns(observed: &[Observed], room: usize) -> Vec<ObservedColumn> {
    let mut columns: HashMap<&str, ObservedColumn> = HashMap::new();
    for column in observed.iter().flat_map(Observed::columns) {
        columns
            .entry(&column.name)
            .and_modify(|known| {
                known.column_type = known.column_type.join(column.column_type);
                known.first = known.first.min(column.first);
            })
            .or_insert_with(|| column.clone());
    }
    let mut columns: Vec<_> = columns.into_values().collect();
    columns.sort_by_key(|column| column.first);
    columns.truncate(room);
    columns
}
