//! One at a time: a lease in the state folder that only one process holds, `_inlet/leases/<name>/<n>.json`.
//!
//! Whoever writes the next number holds it, and only one can: the file must not be there yet. The holder writes the
//! next number again and again while it works, and once more to say that it is done. A newest file that is older than
//! [`LEASE`] was left by a holder that died. Put-if-absent is all this asks of a store; ages are by the store's clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{self, Deadline, Micros};
use crate::delta::Lake;
use crate::fault::Fault;
use crate::state::{Held, Listed, State};

/// A holder that has not renewed for this long is taken for dead.
const LEASE: Duration = Duration::from_secs(60);
/// How often a holder renews.
const RENEW: Duration = Duration::from_secs(15);
/// Files of one lease: the newest counts, others are about to be removed.
const FILES: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
struct Turn {
    holder: String,
    released: bool,
}

/// A lease that this process holds until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    kept: Arc<Kept>,
    renewal: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Kept {
    lake: Lake,
    name: String,
    holder: String,
    number: AtomicU64,
    lost: AtomicBool,
    over: Mutex<bool>,
    told: Condvar,
}

impl Lease {
    /// Takes the lease, if nobody holds it.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn take(lake: &Lake, name: &str) -> Result<Option<Self>, Fault> {
        let state = State::of(lake);
        let newest = newest(&state, name)?;
        if let Some((_, file)) = &newest
            && is_held(&state, file)?
        {
            return Ok(None);
        }
        let kept = Kept {
            lake: lake.clone(),
            name: name.to_owned(),
            holder: uuid::Uuid::new_v4().to_string(),
            number: AtomicU64::new(newest.map_or(0, |(number, _)| number)),
            lost: AtomicBool::new(false),
            over: Mutex::new(false),
            told: Condvar::new(),
        };
        if !kept.next(false)? {
            return Ok(None);
        }
        let kept = Arc::new(kept);
        let renewing = Arc::clone(&kept);
        let renewal = std::thread::Builder::new()
            .name("inlet-lease".to_owned())
            .spawn(move || renewing.renew())
            .map_err(|error| Fault::again("cannot start a thread").because(error))?;
        Ok(Some(Self { kept, renewal: Some(renewal) }))
    }

    /// Whether it is still held: somebody may have taken a holder for dead that could not reach its store.
    pub(crate) fn is_held(&self) -> bool {
        !self.kept.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.kept.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.kept.told.notify_all();
        if let Some(renewal) = self.renewal.take() {
            drop(renewal.join());
        }
        if self.is_held() {
            // Failing that, it expires.
            drop(self.kept.next(true));
        }
    }
}

/// The leases of a lake that were not let go: their names, and when they were renewed last.
pub(crate) fn held(lake: &Lake) -> Result<Vec<(String, Micros)>, Fault> {
    let state = State::of(lake);
    let folder = state.place(&["leases"]);
    let mut names: Vec<String> = state
        .list(&folder, FILES)?
        .iter()
        .filter_map(|file| Some(file.place.prefix_match(&folder)?.next()?.as_ref().to_owned()))
        .collect();
    names.dedup();
    let mut held = Vec::new();
    for name in names {
        if let Some((_, file)) = newest(&state, &name)?
            && !matches!(state.read::<Turn>(&file)?, Held::Read(Turn { released: true, .. }) | Held::Gone)
        {
            held.push((name, file.modified));
        }
    }
    Ok(held)
}

/// Whether a holder that renewed so long ago, in microseconds, is taken for dead.
pub(crate) fn is_expired(age: Micros) -> bool {
    age >= Micros::try_from(LEASE.as_micros()).unwrap_or(Micros::MAX)
}

impl Kept {
    /// Writes the next number and removes those before it; false when somebody else was there.
    fn next(&self, released: bool) -> Result<bool, Fault> {
        let state = State::of(&self.lake);
        let next = self.number.load(Ordering::SeqCst) + 1;
        let turn = Turn { holder: self.holder.clone(), released };
        if !state.put_new(&place(&state, &self.name, next), &turn)? {
            return Ok(false);
        }
        self.number.store(next, Ordering::SeqCst);
        let files = numbered(&state, &self.name)?;
        // A number may be free because it was removed already: then a higher one stands.
        if files.iter().any(|(number, _)| *number > next) {
            state.remove(&place(&state, &self.name, next))?;
            return Ok(false);
        }
        for (_, file) in files.iter().filter(|(number, _)| *number < next) {
            state.remove(&file.place)?;
        }
        Ok(true)
    }

    fn renew(&self) {
        let mut renewed = Deadline::after(LEASE);
        loop {
            let over = self.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (over, _) = self
                .told
                .wait_timeout_while(over, RENEW, |over| !*over)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if *over {
                return;
            }
            drop(over);
            match self.next(false) {
                Ok(true) => renewed = Deadline::after(LEASE),
                Err(_) if !renewed.is_over() => {}
                Ok(false) | Err(_) => {
                    self.lost.store(true, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}

fn place(state: &State<'_>, name: &str, number: u64) -> object_store::path::Path {
    state.place(&["leases", name, &format!("{number:020}.json")])
}

/// The files of a lease with their numbers.
fn numbered(state: &State<'_>, name: &str) -> Result<Vec<(u64, Listed)>, Fault> {
    let files = state.list(&state.place(&["leases", name]), FILES)?;
    let number = |file: &Listed| file.name().strip_suffix(".json").and_then(|number| number.parse().ok());
    Ok(files.into_iter().filter_map(|file| Some((number(&file)?, file))).collect())
}

fn newest(state: &State<'_>, name: &str) -> Result<Option<(u64, Listed)>, Fault> {
    Ok(numbered(state, name)?.into_iter().max_by_key(|(number, _)| *number))
}

fn is_held(state: &State<'_>, file: &Listed) -> Result<bool, Fault> {
    Ok(match state.read::<Turn>(file)? {
        Held::Read(turn) if turn.released => false,
        // Its holder renews just now.
        Held::Gone => true,
        Held::Read(_) | Held::Damaged(_) => !is_expired(store_time(state)? - file.modified),
    })
}

/// What time it is by the store's clock; by ours, where the store does not say.
fn store_time(state: &State<'_>) -> Result<Micros, Fault> {
    let probe = state.place(&["clock"]);
    state.put(&probe, &())?;
    Ok(state.look(&probe)?.map_or_else(clock::now, |file| file.modified))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::TestLake;

    #[test]
    fn one_holds_it_until_it_lets_go() {
        let test = TestLake::new();
        let first = Lease::take(&test.lake, "evolve").unwrap().unwrap();
        assert!(first.is_held());
        assert!(Lease::take(&test.lake, "evolve").unwrap().is_none());
        assert!(Lease::take(&test.lake, "other").unwrap().is_some());
        drop(first);
        assert!(Lease::take(&test.lake, "evolve").unwrap().is_some());
    }

    #[test]
    fn of_many_at_once_one_gets_it() {
        let test = TestLake::new();
        for _ in 0..5 {
            let taken: Vec<_> = std::thread::scope(|scope| {
                let lake = &test.lake;
                let threads: Vec<_> =
                    (0..8).map(|_| scope.spawn(move || Lease::take(lake, "evolve").unwrap())).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(taken.len(), 1);
        }
        let state = State::of(&test.lake);
        assert_eq!(numbered(&state, "evolve").unwrap().len(), 1, "used numbers are removed");
    }

    #[test]
    fn a_dead_holder_is_replaced_and_finds_out() {
        let test = TestLake::new();
        let state = State::of(&test.lake);
        let dead = Lease::take(&test.lake, "evolve").unwrap().unwrap();
        let (_, file) = newest(&state, "evolve").unwrap().unwrap();
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1);
        let path = std::path::Path::new("/").join(file.place.as_ref());
        std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        let next = Lease::take(&test.lake, "evolve").unwrap().unwrap();
        assert!(!dead.kept.next(false).unwrap(), "its number is taken");
        dead.kept.lost.store(true, Ordering::SeqCst);
        drop(dead);
        assert!(next.is_held());
        assert!(Lease::take(&test.lake, "evolve").unwrap().is_none());
    }
}
