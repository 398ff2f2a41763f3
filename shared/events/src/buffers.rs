//! Memory of chunks, used again: fresh pages cost more than decompressing into them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// About how large a chunk is: small enough for the cache, large enough that taking it costs nothing.
pub(crate) const BUFFER_BYTES: usize = 256 << 10;

/// Bytes of buffers that wait to be used again.
const SPARE_BYTES: usize = 8 << 20;

/// Buffers of one size, shared by all who read chunks.
#[derive(Debug, Default)]
pub struct Buffers {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    spare: Vec<Vec<u8>>,
    /// Bytes that chunks hold.
    lent: usize,
}

/// A buffer that goes back when its last reader is gone.
struct Lent {
    buffer: Vec<u8>,
    length: usize,
    owner: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.owner.give_back(std::mem::take(&mut self.buffer), self.length);
    }
}

impl Buffers {
    /// A buffer with whatever it held before.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.state().spare.pop().unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    /// The first bytes of a buffer, which comes back when nobody reads them any more.
    pub(crate) fn lend(self: &Arc<Self>, buffer: Vec<u8>, length: usize) -> Bytes {
        self.state().lent += length;
        Bytes::from_owner(Lent { buffer, length, owner: Arc::clone(self) })
    }

    fn give_back(&self, buffer: Vec<u8>, length: usize) {
        let mut state = self.state();
        state.lent -= length;
        if state.spare.len() < SPARE_BYTES / BUFFER_BYTES {
            state.spare.push(buffer);
        }
        drop(state);
        self.returned.notify_all();
    }

    /// Bytes that chunks hold.
    pub fn lent(&self) -> usize {
        self.state().lent
    }

    /// Waits as long as `must_wait` says so of the bytes that all chunks hold; asked again when some come back, and when
    /// woken.
    pub fn wait_while(&self, mut must_wait: impl FnMut(usize) -> bool) {
        let mut state = self.state();
        while must_wait(state.lent) {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has those who wait ask again.
    pub fn wake(&self) {
        // Whoever has asked and does not wait yet holds the state.
        drop(self.state());
        self.returned.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_reader_is_gone() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take();
        buffer[..3].copy_from_slice(b"one");
        let bytes = buffers.lend(buffer, 3);
        let reader = bytes.slice(1..);
        drop(bytes);
        assert_eq!((&reader[..], buffers.state().spare.len()), (&b"ne"[..], 0));
        drop(reader);
        let state = buffers.state();
        assert_eq!((state.spare.len(), state.lent), (1, 0));
    }

    #[test]
    fn who_waits_asks_again_when_bytes_come_back_and_when_woken() {
        let buffers = Arc::new(Buffers::default());
        let bytes = buffers.lend(buffers.take(), 1);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let returned = scope.spawn(|| buffers.wait_while(|lent| lent > 0));
            let woken = scope.spawn(|| buffers.wait_while(|_| !is_over.load(Ordering::SeqCst)));
            drop(bytes);
            returned.join().unwrap();
            is_over.store(true, Ordering::SeqCst);
            buffers.wake();
            woken.join().unwrap();
        });
    }
}
