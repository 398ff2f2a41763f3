//! What a lake's commits came to, counted for whoever watches a function.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Commits that are in a log now.
    pub commits: u64,
    /// Tries that somebody else's commit came before.
    pub lost_races: u64,
}

/// The counters; commits of several tables run at once.
#[derive(Debug, Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    lost_races: AtomicU64,
}

impl Counters {
    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost_race(&self) {
        self.lost_races.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> Work {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Work { commits: take(&self.commits), lost_races: take(&self.lost_races) }
    }
}
