//! A run as it goes: a bar for people, a line per upload for programs.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use inlet_core::report::UploadReport;
use inlet_core::route::Watch;
use inlet_core::upload::Upload;

use super::output::Output;

/// Watches one run.
pub(crate) struct Watcher<'a> {
    bar: ProgressBar,
    uploads: usize,
    lines: Option<&'a Output>,
    /// Uploads that were said to be finished, by name and id.
    finished: Mutex<HashSet<(String, String)>>,
}

impl<'a> Watcher<'a> {
    /// Draws a bar when `progress`, writes a line per upload to `lines`.
    pub(crate) fn new(uploads: &[Upload], progress: bool, lines: Option<&'a Output>) -> Self {
        let bytes = uploads.iter().map(|upload| upload.size).sum();
        let target = if progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {msg}") {
            bar.set_style(style);
        }
        let watcher = Self { bar, uploads: uploads.len(), lines, finished: Mutex::default() };
        watcher.say(0);
        watcher
    }

    /// Takes the bar away, and writes the lines of uploads that nobody has reported yet.
    pub(crate) fn end(self, uploads: &[UploadReport]) {
        self.bar.finish_and_clear();
        for upload in uploads {
            self.finished(upload);
        }
    }

    fn say(&self, finished: usize) {
        self.bar.set_message(format!("{finished} of {} uploads", self.uploads));
    }
}

impl Watch for Watcher<'_> {
    fn read(&self, stored_bytes: u64) {
        self.bar.inc(stored_bytes);
    }

    fn finished(&self, upload: &UploadReport) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if !finished.insert((upload.upload.clone(), upload.upload_id.clone())) {
            return;
        }
        self.say(finished.len());
        if let (Some(lines), Ok(json)) = (self.lines, serde_json::to_string(upload)) {
            self.bar.suspend(|| lines.line(&json));
        }
    }
}
