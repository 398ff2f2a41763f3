//! The only place that tells time or sleeps (the Delta kernel's own stamps aside).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// Now, in microseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Micros {
    micros(SystemTime::now())
}

/// The moment `after` from now, in microseconds since the epoch.
pub fn after(after: Duration) -> Micros {
    now().saturating_add(Micros::try_from(after.as_micros()).unwrap_or(Micros::MAX))
}

/// A file system's or a store's time in microseconds since the epoch; times before 1970 are negative.
pub fn micros(time: SystemTime) -> Micros {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

/// A moment after which nothing new is started.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `after` from now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn after(after: Duration) -> Self {
        Self(Instant::now() + after)
    }

    /// How much time is left; zero once it is over.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        self.left().is_zero()
    }
}

/// Sleeps on this thread: at most `at_most`, and never past the deadline.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn sleep(at_most: Duration, deadline: Deadline) {
    std::thread::sleep(at_most.min(deadline.left()));
}

/// Waits without holding a thread: at most `at_most`, and never past the deadline.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub async fn pause(at_most: Duration, deadline: Deadline) {
    tokio::time::sleep(at_most.min(deadline.left())).await;
}

/// What comes of `work` by the deadline; none: it was over first, and the work was dropped.
pub async fn within<T>(deadline: Deadline, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(deadline.left(), work).await.ok()
}

/// How long to wait before try number `attempt` (from 0) of a race: somewhere in 0 … 10 ms · 2^attempt, at most 2 s.
/// Chance comes from the standard library's own hash seed: no two calls agree, and no dependency is needed for it.
pub fn jitter(attempt: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let ceiling_ms = 10u64.saturating_mul(1u64 << attempt.min(10)).min(2_000);
    Duration::from_micros(RandomState::new().hash_one(attempt) % (ceiling_ms * 1_000))
}
