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

    /// Waits while all chunks hold `limit` bytes or more, of which others than the caller, who holds `own`, hold some.
    pub fn wait_for_room(&self, limit: usize, own: usize) {
        let mut state = self.state();
        while state.lent >= limit && state.lent > own {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
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
    fn room_is_waited_for_unless_all_is_ones_own() {
        let buffers = Arc::new(Buffers::default());
        let bytes = buffers.lend(buffers.take(), 1);
        buffers.wait_for_room(1, 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| buffers.wait_for_room(1, 0));
            drop(bytes);
            waiting.join().unwrap();
        });
    }
}
