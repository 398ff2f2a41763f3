//! One at a time: a lease in the state folder that only one process holds, `_inlet/leases/<name>/<n>.json`.
//!
//! Whoever writes the next number holds it, and only one can: the file must not be there yet. The holder writes the
//! next number again and again while it works, and once more to say that it is done. A newest file that is older than
//! [`LEASE`] was left by a holder that died. Put-if-absent is all this asks of a store; ages are by the store's clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Deadline, Micros};
use crate::delta::Lake;
use crate::fault::Fault;
use crate::state::{Held, Listed, State};

/// A holder that has not renewed for this long is taken for dead.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// How often a holder renews.
const RENEW: Duration = Duration::from_secs(15);
/// Files of one lease: the newest counts, others are about to be removed.
const FILES: usize = 1_000;
/// How often the newest file is looked for when it is renewed meanwhile.
const LOOKS: usize = 10;

/// What one file of a lease says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) holder: String,
    pub(crate) released: bool,
    /// What its holder does, when others must know that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) errand: Option<Errand>,
}

/// What a lease is held for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Errand {
    /// In words.
    pub(crate) what: String,
    /// When it was begun, by whoever died over it first, by the store's clock.
    pub(crate) since: Micros,
    /// What was begun elsewhere goes on without its holder: until then, by the store's clock, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runs_until: Option<Micros>,
    /// By what name it can be asked for there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) statement_id: Option<String>,
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
    folder: Path,
    turn: Mutex<Turn>,
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
        Self::take_in(lake, State::of(lake).place(&["leases", name]), None)
    }

    /// Takes the lease of a folder, for an errand. What a dead holder may have left running is taken over with it.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn take_in(lake: &Lake, folder: Path, errand: Option<Errand>) -> Result<Option<Self>, Fault> {
        let state = State::of(lake);
        let newest = newest(&state, &folder)?;
        let mut turn = Turn { holder: uuid::Uuid::new_v4().to_string(), released: false, errand };
        if let Some((_, file)) = &newest {
            match state.read::<Turn>(file)? {
                Held::Read(before) if before.released => {}
                // Its holder renews just now.
                Held::Gone => return Ok(None),
                _ if !is_expired(store_time(&state)? - file.modified) => return Ok(None),
                Held::Read(Turn { errand: Some(left), .. }) => {
                    if let Some(errand) = &mut turn.errand {
                        *errand = Errand { what: std::mem::take(&mut errand.what), ..left };
                    }
                }
                Held::Read(_) | Held::Damaged(_) => {}
            }
        }
        let kept = Kept {
            lake: lake.clone(),
            folder,
            turn: Mutex::new(turn),
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

    /// The same, by a look at its files: a process that stood still has not heard of the one that took its place.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn confirm(&self) -> Result<bool, Fault> {
        // The renewal may just be writing the next number.
        let _turn = self.kept.turn();
        let newest = newest(&State::of(&self.kept.lake), &self.kept.folder)?;
        let is_ours = newest.is_some_and(|(number, _)| number == self.kept.number.load(Ordering::SeqCst));
        if !is_ours {
            self.kept.lost.store(true, Ordering::SeqCst);
        }
        Ok(is_ours && self.is_held())
    }

    /// Stops without letting it go: it expires, and whoever takes it next knows that something was left undone.
    pub(crate) fn leave(&self) {
        self.kept.lost.store(true, Ordering::SeqCst);
    }

    /// What its files say now.
    pub(crate) fn turn(&self) -> Turn {
        self.kept.turn().clone()
    }

    /// Says what is done under it from now on; false when somebody else holds it.
    ///
    /// # Errors
    /// What the store answers; it may have been said nevertheless.
    pub(crate) fn say(&self, errand: Errand) -> Result<bool, Fault> {
        self.kept.turn().errand = Some(errand);
        let said = self.kept.next(false)?;
        if !said {
            self.kept.lost.store(true, Ordering::SeqCst);
        }
        Ok(said)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.kept.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.kept.told.notify_all();
        if let Some(renewal) = self.renewal.take() {
            drop(renewal.join());
        }
        // What may still run elsewhere keeps it.
        let is_over = self.kept.turn().errand.as_ref().is_none_or(|errand| errand.runs_until.is_none());
        if is_over && self.is_held() {
            // Failing that, it expires.
            drop(self.kept.next(true));
        }
    }
}

/// The leases below a folder of the state that were not let go: their names, and when they were renewed last.
pub(crate) fn held(lake: &Lake, kind: &str) -> Result<Vec<(String, Micros)>, Fault> {
    let state = State::of(lake);
    let folder = state.place(&[kind]);
    let name_of = |file: &Listed| {
        let parts: Vec<_> = file.place.prefix_match(&folder)?.map(|part| part.as_ref().to_owned()).collect();
        parts.split_last().map(|(_, name)| name.to_vec())
    };
    let mut names: Vec<Vec<String>> = state.list(&folder, FILES)?.iter().filter_map(name_of).collect();
    names.dedup();
    let mut held = Vec::new();
    for name in names {
        let folder = name.iter().fold(folder.clone(), |folder, part| folder.join(part.as_str()));
        if let Some((_, file)) = newest(&state, &folder)?
            && !matches!(state.read::<Turn>(&file)?, Held::Read(Turn { released: true, .. }) | Held::Gone)
        {
            held.push((name.join("."), file.modified));
        }
    }
    Ok(held)
}

/// Who holds the lease of a folder now, and when that was renewed last; nobody who is taken for dead, unless something
/// may still run that they began.
///
/// # Errors
/// What the store answers.
pub(crate) fn holder(lake: &Lake, folder: &Path) -> Result<Option<(Turn, Micros)>, Fault> {
    let state = State::of(lake);
    for _ in 0..LOOKS {
        let Some((_, file)) = newest(&state, folder)? else { return Ok(None) };
        let turn = match state.read::<Turn>(&file)? {
            Held::Read(turn) if turn.released => return Ok(None),
            Held::Read(turn) => turn,
            // Its holder renews just now.
            Held::Gone => continue,
            Held::Damaged(_) => Turn { holder: "unknown".to_owned(), released: false, errand: None },
        };
        let now = store_time(&state)?;
        let runs = turn.errand.as_ref().and_then(|errand| errand.runs_until).is_some_and(|until| now < until);
        return Ok((runs || !is_expired(now - file.modified)).then_some((turn, file.modified)));
    }
    Err(Fault::again(format!("the files of `{folder}` changed at each of {LOOKS} looks")))
}

/// Whether a holder that renewed so long ago, in microseconds, is taken for dead.
pub(crate) fn is_expired(age: Micros) -> bool {
    age >= Micros::try_from(LEASE.as_micros()).unwrap_or(Micros::MAX)
}

impl Kept {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Writes the next number and removes those before it; false when somebody else was there.
    fn next(&self, released: bool) -> Result<bool, Fault> {
        let state = State::of(&self.lake);
        // One number after the other: whoever says something and the renewal are two threads.
        let said = self.turn();
        let turn = Turn { released, ..said.clone() };
        let next = self.number.load(Ordering::SeqCst) + 1;
        if !state.put_new(&place(&self.folder, next), &turn)? {
            return Ok(false);
        }
        self.number.store(next, Ordering::SeqCst);
        let files = numbered(&state, &self.folder)?;
        // A number may be free because it was removed already: then a higher one stands.
        if files.iter().any(|(number, _)| *number > next) {
            state.remove(&place(&self.folder, next))?;
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

fn place(folder: &Path, number: u64) -> Path {
    folder.clone().join(format!("{number:020}.json"))
}

/// The files of a lease with their numbers.
fn numbered(state: &State<'_>, folder: &Path) -> Result<Vec<(u64, Listed)>, Fault> {
    let files = state.list(folder, FILES)?;
    let number = |file: &Listed| file.name().strip_suffix(".json").and_then(|number| number.parse().ok());
    Ok(files.into_iter().filter_map(|file| Some((number(&file)?, file))).collect())
}

fn newest(state: &State<'_>, folder: &Path) -> Result<Option<(u64, Listed)>, Fault> {
    Ok(numbered(state, folder)?.into_iter().max_by_key(|(number, _)| *number))
}

/// What time it is by the store's clock; by ours, where the store does not say.
pub(crate) fn store_time(state: &State<'_>) -> Result<Micros, Fault> {
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
        let folder = state.place(&["leases", "evolve"]);
        assert_eq!(numbered(&state, &folder).unwrap().len(), 1, "used numbers are removed");
    }

    #[test]
    fn a_dead_holder_is_replaced_and_finds_out() {
        let test = TestLake::new();
        let state = State::of(&test.lake);
        let dead = Lease::take(&test.lake, "evolve").unwrap().unwrap();
        let (_, file) = newest(&state, &state.place(&["leases", "evolve"])).unwrap().unwrap();
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1);
        let path = std::path::Path::new("/").join(file.place.as_ref());
        std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        assert!(dead.confirm().unwrap());
        let next = Lease::take(&test.lake, "evolve").unwrap().unwrap();
        assert!(next.confirm().unwrap() && !dead.confirm().unwrap());
        assert!(!dead.kept.next(false).unwrap(), "its number is taken");
        dead.kept.lost.store(true, Ordering::SeqCst);
        drop(dead);
        assert!(next.is_held());
        assert!(Lease::take(&test.lake, "evolve").unwrap().is_none());
    }
}
