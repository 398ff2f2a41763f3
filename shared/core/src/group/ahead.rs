//! Uploads opened before they are read: several at once, taken in their order.
//!
//! A store takes its time to answer, and unpacking takes a core's; neither should keep the workers waiting. All uploads in
//! memory share one room, so that memory stays bounded. Nobody waits for ever: while the taker waits, the next upload does
//! not wait for room.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};

use inlet_events::Buffers;

use crate::crew::{lock, worker_panicked};
use crate::source::{Opened, Refusal};

/// Bytes of all uploads in memory from which on no more is unpacked.
///
/// One bound for all that are not read yet: then a chunk is unpacked for each that was read, and an unpacking thread never
/// has a core for itself for long. Where it had, the workers were moved together to the other one, and stayed there for
/// a while when it stopped.
const AHEAD_BYTES: usize = 48 << 20;

/// Uploads that are being opened, by their places.
///
/// Chunks are dropped without the lock: they go back to the buffers, whose own lock is the outer one.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    buffers: &'a Buffers,
    /// Uploads that are opened or being opened and not taken.
    at_once: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The place up to which uploads are opened.
    end: usize,
    /// The place of the first upload that nobody opens yet.
    unopened: usize,
    /// The place of the upload that is taken next.
    next: usize,
    /// Whether somebody waits for it.
    is_awaited: bool,
    opened: BTreeMap<usize, Result<Opened, Refusal>>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(uploads: usize, at_once: usize, buffers: &'a Buffers) -> Self {
        let state = State { end: uploads, unopened: 0, next: 0, is_awaited: false, opened: BTreeMap::new() };
        Self { buffers, at_once, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Opens one upload after another until all are opened, or nobody wants more. `open` is told the place, and what to
    /// ask before each chunk.
    pub(super) fn work(&self, open: impl Fn(usize, &dyn Fn() -> bool) -> Result<Opened, Refusal>) {
        while let Some(at) = self.begin() {
            // A panic must not leave the taker waiting.
            let opened = catch_unwind(AssertUnwindSafe(|| open(at, &|| self.may_go_on(at))));
            let opened = opened.unwrap_or_else(|_| Err(Refusal::Fault(worker_panicked())));
            let is_giant = matches!(&opened, Ok(opened) if !opened.is_whole);
            let mut state = lock(&self.state);
            let mut unwanted = BTreeMap::new();
            if at < state.end {
                state.opened.insert(at, opened);
                // What comes behind a giant is not of its group, and is opened again.
                if is_giant {
                    state.end = at + 1;
                    unwanted = state.opened.split_off(&(at + 1));
                }
            }
            drop(state);
            drop(unwanted);
            self.tell();
        }
    }

    /// Whoever takes the uploads; nobody else may.
    pub(super) fn taker(&self) -> Taker<'_> {
        Taker { ahead: self }
    }

    fn take(&self) -> Option<Result<Opened, Refusal>> {
        let mut state = lock(&self.state);
        state.is_awaited = true;
        drop(state);
        self.buffers.wake();
        state = lock(&self.state);
        let next = state.next;
        loop {
            if let Some(opened) = state.opened.remove(&next) {
                state.is_awaited = false;
                state.next += 1;
                drop(state);
                self.tell();
                return Some(opened);
            }
            if next >= state.end {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        let mut state = lock(&self.state);
        state.end = 0;
        let unwanted = std::mem::take(&mut state.opened);
        drop(state);
        drop(unwanted);
        self.tell();
    }

    fn begin(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        loop {
            let at = state.unopened;
            if at >= state.end {
                return None;
            }
            if at < state.next + self.at_once {
                state.unopened += 1;
                return Some(at);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for room; false when nobody will take the upload.
    fn may_go_on(&self, at: usize) -> bool {
        let mut is_wanted = true;
        self.buffers.wait_while(|lent| {
            let state = lock(&self.state);
            is_wanted = at < state.end;
            is_wanted && lent >= AHEAD_BYTES && !(at == state.next && state.is_awaited)
        });
        is_wanted
    }

    fn tell(&self) {
        self.changed.notify_all();
        self.buffers.wake();
    }
}

/// Takes uploads; when it is gone, no more are opened.
#[derive(Debug)]
pub(super) struct Taker<'a> {
    ahead: &'a Ahead<'a>,
}

impl Taker<'_> {
    /// The next upload, opened; none behind the last one, or behind a giant.
    pub(super) fn take(&self) -> Option<Result<Opened, Refusal>> {
        self.ahead.take()
    }
}

impl Drop for Taker<'_> {
    fn drop(&mut self) {
        self.ahead.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use inlet_events::limits::TYPING_WINDOW_BYTES;
    use inlet_events::lines::Chunks;

    use super::*;
    use crate::fault::Fault;

    const MIB: usize = 1 << 20;

    /// So many bytes of short lines, read ahead as `go_on` allows; whole when the window holds them.
    fn opened(bytes: usize, buffers: &Arc<Buffers>, go_on: &dyn Fn() -> bool) -> Result<Opened, Refusal> {
        let text = std::io::Cursor::new(b"{}      \n".repeat(bytes / 9));
        let mut chunks = Chunks::of_stream(Box::new(text), MIB, Arc::clone(buffers));
        let is_whole = chunks.read_ahead(TYPING_WINDOW_BYTES, go_on).map_err(Refusal::of)?;
        Ok(Opened { chunks, is_whole })
    }

    /// Opens uploads of these sizes on so many threads, and takes them; answers what each held, and the most bytes that
    /// all held at once.
    fn taken(sizes: &[usize], at_once: usize) -> (Vec<usize>, usize) {
        let buffers = Arc::new(Buffers::default());
        let ahead = Ahead::new(sizes.len(), at_once, &buffers);
        let most = AtomicUsize::new(0);
        let held = std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    ahead.work(|at, go_on| {
                        opened(sizes[at], &buffers, &|| {
                            most.fetch_max(buffers.lent(), Ordering::SeqCst);
                            go_on()
                        })
                    });
                });
            }
            let taker = ahead.taker();
            let held = |taken: Result<Opened, Refusal>| {
                taken.unwrap().chunks.held().map(|chunk| chunk.data.len()).sum::<usize>()
            };
            std::iter::from_fn(|| taker.take().map(held)).collect()
        });
        (held, most.into_inner())
    }

    #[test]
    fn uploads_come_in_their_order_however_large_they_are() {
        for sizes in [vec![], vec![9], vec![40 * MIB, 9, 40 * MIB, 18, 27, 3 * MIB], vec![30 * MIB; 5]] {
            for at_once in [1, 2, 8] {
                let (held, most) = taken(&sizes, at_once);
                let whole: Vec<usize> = sizes.iter().map(|bytes| bytes / 9 * 9).collect();
                assert_eq!(held, whole);
                assert!(most < TYPING_WINDOW_BYTES + AHEAD_BYTES + at_once * MIB, "{most} bytes at once");
            }
        }
    }

    #[test]
    fn what_comes_behind_a_giant_is_left() {
        for at_once in [1, 2, 8] {
            let (held, _) = taken(&[9, 70 * MIB, 9, 9, 30 * MIB, 9], at_once);
            assert_eq!(held.len(), 2, "{at_once}");
            assert!(held[1] > TYPING_WINDOW_BYTES);
        }
    }

    #[test]
    fn nobody_waits_for_a_taker_that_left_or_an_opener_that_panicked() {
        let buffers = Arc::new(Buffers::default());
        let ahead = Ahead::new(9, 2, &buffers);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    ahead.work(|at, go_on| match at {
                        0 => panic!("for a test"),
                        1 => Err(Refusal::Fault(Fault::again("not now"))),
                        _ => opened(40 * MIB, &buffers, go_on),
                    });
                });
            }
            let taker = ahead.taker();
            for wanted in ["a worker panicked", "not now"] {
                let Some(Err(Refusal::Fault(fault))) = taker.take() else { panic!("{wanted}") };
                assert_eq!(fault.to_string(), wanted);
            }
        });
        assert_eq!(buffers.lent(), 0);
    }
}
