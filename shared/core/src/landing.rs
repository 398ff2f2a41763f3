//! One upload becomes rows in the workers' files.
//!
//! Workers take chunks in turn, pass through the upload's order one after another, and write rows. The first chunk
//! with a column that no plan knows stops the writing: from there to its end the upload is only observed, so that each
//! new column gets the least type that holds all its values; then the plans grow and the writing goes on where it
//! stopped. Columns that the limits forbid stay unknown, and their values are rescued.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use hashbrown::{HashMap, HashSet};
use inlet_events::lines::{Chunks, Position};
use inlet_events::order::{Order, Recurring, Sieve, TableCounts, UploadCounts};
use inlet_events::table::{TableKind, TablePlan};
use inlet_events::{Batch, ColumnType, Observed, ObservedColumn, Rooms, UploadContext};

use crate::clock::Deadline;
use crate::crew::{Crewman, Yard, lock, together, worker_panicked};
use crate::registry::Registry;
use crate::report::NewColumn;
use crate::source::{Opened, Refusal, Source};

/// An upload smaller than this is read by one worker: a thread costs more.
const SMALL_BYTES: usize = 512 << 10;
/// With so few chunks left workers do not encode what they hold: it takes as long as reading a dozen chunks, and the next
/// upload begins when all are done with this one.
const LAST_CHUNKS: usize = 24;

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
    /// Only a stream can hold more ids than are remembered.
    is_whole: bool,
    /// Where there were too many ids to remember: from there on nothing is decided yet.
    full_at: Mutex<Option<Position>>,
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
    let Opened { chunks, is_whole } = opened;
    let held: usize = chunks.held().map(|chunk| chunk.data.len()).sum();
    let shared = Shared {
        work,
        chunks: Mutex::new(chunks),
        turn: Mutex::new(Turn { next: 0, order: Order::default() }),
        next_turn: Condvar::new(),
        drift: AtomicBool::new(false),
        is_whole,
        full_at: Mutex::new(None),
        left_traces: AtomicBool::new(false),
        failure: Mutex::new(None),
        failed: AtomicBool::new(false),
    };
    let crew = if is_whole && held < SMALL_BYTES { &mut crew[..1] } else { crew };
    let mut landed = Landed::default();
    let done = shared.run(source, crew, &mut landed);
    let left_traces = shared.left_traces.load(Ordering::Relaxed);
    let turn = shared.turn;
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
        self.pass(source, crew, &mut deferred, Pass::Write { settled: false }, landed)?;
        if !self.drift.load(Ordering::Relaxed) {
            return Ok(());
        }
        let resume = lock(&self.chunks).position();
        self.observe(source, crew, &mut deferred, resume, landed)?;
        self.go_back(source, resume)?;
        self.pass(source, crew, &mut deferred, Pass::Write { settled: true }, landed)
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
            self.pass(source, crew, deferred, Pass::Observe { rooms: &rooms, only: only.as_deref() }, landed)?;
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
                    columns.iter().map(|column| (column.full_name(), column.column_type)).collect();
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
        lock(&self.turn).next = to.index();
        Ok(())
    }

    /// Runs every worker over the chunks; when there are too many ids to remember, the rest is sifted and the pass goes on.
    fn pass(
        &self,
        source: &Source<'_>,
        crew: &mut [Crewman],
        deferred: &mut [Option<Batch>],
        pass: Pass<'_>,
        landed: &mut Landed,
    ) -> Result<(), Refusal> {
        lock(&self.chunks).keep(matches!(pass, Pass::Observe { .. }));
        loop {
            let mut crew: Vec<_> = crew.iter_mut().zip(&mut *deferred).collect();
            let counts = self.together(&mut crew, |(man, deferred)| {
                let mut rescued = Vec::new();
                self.work_through(man, deferred, pass, &mut rescued);
                rescued
            });
            for rescued in counts? {
                add_rescued(&mut landed.rescued, &rescued);
            }
            let Some(at) = lock(&self.full_at).take() else { return Ok(()) };
            self.sift(source, crew.len(), at)?;
            if matches!(pass, Pass::Write { settled: false }) && self.drift.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
    }

    /// Does work on as many threads as there are workers; fails when one of them noted a failure.
    fn together<W: Send, T: Send>(
        &self,
        workers: &mut [W],
        work: impl Fn(&mut W) -> T + Sync,
    ) -> Result<Vec<T>, Refusal> {
        let done: Option<Vec<T>> = together(workers, work).into_iter().collect();
        match (lock(&self.failure).take(), done) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(done)) => Ok(done),
            (None, None) => Err(Refusal::Fault(worker_panicked())),
        }
    }

    /// Reads the rest of a stream for its ids: which of them may come twice is remembered, all others are forgotten.
    fn sift(&self, source: &Source<'_>, workers: usize, from: Position) -> Result<(), Refusal> {
        self.go_back(source, from)?;
        let sieve = Sieve::new(source.upload.size);
        let sift = |recurring: &mut Recurring| -> Result<(), Refusal> {
            loop {
                let chunk = lock(&self.chunks).next_chunk().map_err(Refusal::of)?;
                let Some(chunk) = chunk else { return Ok(()) };
                let batch = Batch::read(chunk, self.work.context);
                lock(&self.turn).order.sift(&batch, &sieve, recurring);
            }
        };
        let mut found: Vec<Recurring> = (0..workers).map(|_| Recurring::default()).collect();
        let done = self.together(&mut found, |recurring| sift(recurring))?;
        done.into_iter().collect::<Result<(), Refusal>>()?;
        let mut recurring = Recurring::default();
        found.into_iter().for_each(|more| recurring.extend(more));
        lock(&self.turn).order.settle(recurring);
        self.go_back(source, from)
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
        let outcome = catch_unwind(AssertUnwindSafe(|| self.try_work_through(man, deferred, pass, rescued)));
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
        if matches!(pass, Pass::Write { .. }) {
            self.relieve(man, &plans)?;
        }
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
            let is_full = lock(&self.full_at).is_some();
            if stop_for_drift || is_full || self.failed.load(Ordering::SeqCst) {
                return Ok(());
            }
            let chunk = lock(&self.chunks).next_chunk().map_err(|error: io::Error| Refusal::of(error))?;
            let Some(chunk) = chunk else { return Ok(()) };
            let position = Position::of(&chunk);
            let mut batch = Batch::read(chunk, self.work.context);
            self.reject_drift(man, &mut batch)?;
            let will_return = matches!(pass, Pass::Observe { .. });
            if !self.decide(man, position, &mut batch, will_return)? {
                return Ok(());
            }
            if lock(self.work.registry).len() != plans.len() {
                plans = lock(self.work.registry).plans();
            }
            let known = man.worker.flatten(&mut batch, &plans);
            match pass {
                Pass::Write { settled } if known || settled => {
                    self.write(man, &batch, &plans, rescued)?;
                    if !self.ends_soon() {
                        self.relieve(man, &plans)?;
                    }
                }
                Pass::Write { .. } => {
                    self.drift.store(true, Ordering::SeqCst);
                    *deferred = Some(batch);
                    return Ok(());
                }
                Pass::Observe { rooms, only } => man.worker.observe(&batch, &plans, rooms, only),
            }
        }
    }

    /// Rejects events that frozen tables have no place for.
    fn reject_drift(&self, man: &mut Crewman, batch: &mut Batch) -> Result<(), Refusal> {
        if !self.work.context.contracts.can_freeze() {
            return Ok(());
        }
        let find = |kind: TableKind, name: &str| lock(self.work.registry).frozen(kind, name);
        man.worker.reject_drift(batch, self.work.context, find).map_err(Refusal::Fault)
    }

    /// Waits for the chunk's turn, rejects what its tables forbid, and decides about the other events; false when another
    /// worker failed, or when there are too many ids to remember. Decisions about chunks that will be read again are
    /// remembered.
    fn decide(&self, man: &mut Crewman, at: Position, batch: &mut Batch, will_return: bool) -> Result<bool, Refusal> {
        let mut turn = lock(&self.turn);
        while turn.next != at.index() {
            if self.failed.load(Ordering::SeqCst) || lock(&self.full_at).is_some() {
                return Ok(false);
            }
            turn = self.next_turn.wait(turn).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if !self.is_whole && turn.order.is_full(at.index()) {
            *lock(&self.full_at) = Some(at);
            drop(turn);
            self.next_turn.notify_all();
            return Ok(false);
        }
        let mut registry = lock(self.work.registry);
        let context = self.work.context;
        let met = turn.order.meet(batch, context, &mut *registry);
        if registry.has_strict() {
            man.worker.reject_nulls(batch, context, |name| registry.strict(name));
        }
        let decided = met.and_then(|()| turn.order.decide(batch, context, &mut *registry, will_return));
        drop(registry);
        turn.next = at.index() + 1;
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
        let written = lock(self.work.registry).written();
        man.worker.append(batch, plans, context, &written, rescued);
        if !self.work.rejects_landed {
            man.rejects.add(context, batch, context.processed);
        }
        Ok(())
    }

    /// Whether so little is left of the upload that nobody should begin to encode: the others would wait for him.
    fn ends_soon(&self) -> bool {
        lock(&self.chunks).left().is_some_and(|left| left <= LAST_CHUNKS)
    }

    fn relieve(&self, man: &mut Crewman, plans: &[Arc<TablePlan>]) -> Result<(), Refusal> {
        self.work.yard.map_or(Ok(()), |yard| man.relieve(yard, plans)).map_err(Refusal::Fault)
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
