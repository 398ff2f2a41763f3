//! The same for many small files, several at once: each waits for the Files API.

use std::sync::Mutex;

use crate::crew::{lock, worker_panicked};
use crate::fault::Fault;

/// Requests under way at once.
const AT_ONCE: usize = 16;

/// Does one thing for each item; answers come in no order. After the first fault nothing more is begun.
///
/// # Errors
/// The first fault.
pub(super) fn at_once<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    one: impl Fn(T) -> Result<R, Fault> + Sync,
) -> Result<Vec<R>, Fault> {
    let items: Vec<T> = items.into_iter().collect();
    let threads = AT_ONCE.min(items.len());
    let items = Mutex::new(items.into_iter());
    let done: Vec<Result<Vec<R>, Fault>> = std::thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            loop {
                let Some(item) = lock(&items).next() else { return Ok(mine) };
                match one(item) {
                    Ok(answer) => mine.push(answer),
                    Err(fault) => {
                        lock(&items).by_ref().for_each(drop);
                        return Err(fault);
                    }
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(worker_panicked()))).collect()
    });
    let mut all = Vec::new();
    for part in done {
        all.extend(part?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_is_done_once_and_a_fault_ends_it() {
        let mut doubled = at_once(0..100, |n| Ok(n * 2)).unwrap();
        doubled.sort_unstable();
        assert_eq!(doubled, (0..100).map(|n| n * 2).collect::<Vec<_>>());
        let begun = AtomicUsize::new(0);
        let failed = at_once(0..10_000, |_| -> Result<(), Fault> {
            begun.fetch_add(1, Ordering::Relaxed);
            Err(Fault::again("no"))
        });
        assert!(failed.is_err());
        assert!(begun.into_inner() <= AT_ONCE, "each thread begins one at most");
        assert!(at_once(Vec::<u8>::new(), Ok).unwrap().is_empty());
    }
}
