//! What a run may take on where it is ended after a while, as functions are: nothing is begun that could not be finished.
//!
//! How long an upload takes is known only once it has landed, so it is guessed from its size on the careful side. A guess
//! that was too good loses nothing: the call is ended, and the upload is delivered again, alone, to a fresh one.

use std::time::Duration;

use crate::clock::Deadline;
use crate::fault::Fault;
use crate::upload::Upload;

/// Decompressed bytes in a second, with one worker and the lake in a store: a fifth of what is measured on a laptop.
const BYTES_PER_SECOND: u64 = 20 << 20;
/// Decompressed bytes per stored byte, as gzip makes of events.
const EXPANSION: u64 = 10;
/// For the last commits, lost races among them, and the answer.
const RESERVE: Duration = Duration::from_secs(15);

/// The time of one call.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    ends: Deadline,
    whole: Duration,
}

impl Allowance {
    /// A call that is ended `left` from now; a fresh one has `whole`.
    pub fn new(left: Duration, whole: Duration) -> Self {
        Self { ends: Deadline::after(left), whole: whole.max(left) }
    }

    /// The moment by which the last commit must be done.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.ends.left().saturating_sub((RESERVE / 3).min(self.whole / 4)))
    }

    /// The largest upload, decompressed, that one fresh call can land.
    pub fn upload_bytes(&self) -> u64 {
        bytes_in(self.whole).max(1 << 20)
    }

    /// Stored bytes that can be landed in the time that is left.
    pub(crate) fn stored_bytes_left(&self) -> u64 {
        bytes_in(self.ends.left()) / EXPANSION
    }

    /// Whether there is time for so many stored bytes. A call that has just begun takes whatever one call may: another
    /// would have no more time.
    pub(crate) fn has_time_for(&self, stored_bytes: u64) -> bool {
        let left = self.ends.left();
        let is_fresh = left >= self.whole - self.whole / 10;
        is_fresh || left > RESERVE && stored_bytes <= self.stored_bytes_left()
    }
}

/// Decompressed bytes that are landed in a call of this length.
fn bytes_in(time: Duration) -> u64 {
    BYTES_PER_SECOND.saturating_mul(time.saturating_sub(RESERVE.min(time / 2)).as_millis() as u64) / 1_000
}

/// What is said of an upload that was given back.
pub const TOO_LITTLE_TIME: &str = "too little time was left in this call: it was not begun";

/// An upload was given back unstarted.
pub(crate) fn too_little_time() -> Fault {
    Fault::again(TOO_LITTLE_TIME).hint("it is delivered again")
}

/// An upload is larger than any call of this function could land.
pub(crate) fn too_large(upload: &Upload, bytes: u64, lake: &str) -> Fault {
    let place = upload.url().unwrap_or_else(|| upload.name.clone());
    Fault::setup(format!("larger than one call of this function can land ({} MiB decompressed)", bytes >> 20)).hint(
        format!(
            "land it from a terminal: inlet ingest '{place}' --lake '{lake}'; or give the function a longer timeout"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_largest_upload_fits_a_fresh_call() {
        let fresh = Allowance::new(300 * SECOND, 300 * SECOND);
        assert_eq!(fresh.upload_bytes(), 285 * (20 << 20));
        assert!(fresh.has_time_for(u64::MAX), "another call would have no more time");
        assert!(Allowance::new(2 * SECOND, 2 * SECOND).upload_bytes() > 1 << 20);
    }

    #[test]
    fn with_less_time_left_only_what_fits_is_begun() {
        let late = Allowance::new(65 * SECOND, 300 * SECOND);
        assert!(late.has_time_for(90 << 20));
        assert!(!late.has_time_for(110 << 20));
        assert_eq!(late.upload_bytes(), 285 * (20 << 20), "what is refused does not depend on when it comes");
        assert!(!Allowance::new(14 * SECOND, 300 * SECOND).has_time_for(1));
    }

    #[test]
    fn commits_end_before_the_call_does() {
        let left = Allowance::new(60 * SECOND, 300 * SECOND).deadline().left();
        assert!(left > 50 * SECOND && left <= 55 * SECOND, "{left:?}");
        assert!(!Allowance::new(SECOND, SECOND).deadline().is_over(), "a short call is used too");
        assert!(Allowance::new(4 * SECOND, 300 * SECOND).deadline().is_over());
    }
}
