//! What of the tables is put in order, and when.

use super::given::Given;
use crate::maintain::{LARGE_FILE_BYTES, Rules};

/// Reads the keys of maintenance.
pub(super) fn rules(given: &mut Given<'_>) -> Rules {
    let usual = Rules::default();
    let small_file_bytes = given.number("maintain.small_file_bytes").unwrap_or(usual.small_file_bytes);
    if small_file_bytes > LARGE_FILE_BYTES {
        let what =
            format!("must be at most {LARGE_FILE_BYTES}, not `{small_file_bytes}`: no larger files are made of them");
        given.wrong("maintain.small_file_bytes", &what, "");
    }
    let compact_after = given.duration("maintain.compact_after").unwrap_or(usual.compact_after);
    Rules { small_file_bytes, compact_after, ..usual }
}
