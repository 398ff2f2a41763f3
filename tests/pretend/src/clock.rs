//! The only place here that tells time or sleeps.
#![allow(clippy::disallowed_methods, reason = "this is the pretend workspace's own clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment to measure from.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970.
pub(crate) fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Waits.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The moment as HTTP headers write it.
pub(crate) fn http_date(epoch_ms: u64) -> String {
    let moment = i64::try_from(epoch_ms).ok().and_then(chrono::DateTime::from_timestamp_millis).unwrap_or_default();
    moment.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The moment as Databricks writes it in rows: `2026-11-22T13:42:46.000Z`.
pub(crate) fn iso(epoch_ms: u64) -> String {
    let moment = i64::try_from(epoch_ms).ok().and_then(chrono::DateTime::from_timestamp_millis).unwrap_or_default();
    moment.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
