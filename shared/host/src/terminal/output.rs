//! The streams of a terminal run. A reader that went away (`inlet … | head`) stops the words, never the work.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::{Mutex, PoisonError};

/// Where a run reads and writes; a test gives its own.
pub(crate) struct Streams {
    /// Standard input.
    pub(crate) input: Box<dyn Read>,
    /// The answer.
    pub(crate) out: Output,
    /// What is said besides.
    pub(crate) err: Output,
    /// Whether somebody watches: a progress bar is drawn.
    pub(crate) progress: bool,
    /// Whether input would come from a keyboard.
    pub(crate) keyboard: bool,
}

impl Streams {
    /// Those of the process.
    pub(crate) fn of_process() -> Self {
        Self {
            input: Box::new(io::stdin()),
            out: Output::new(Box::new(io::stdout())),
            err: Output::new(Box::new(io::stderr())),
            progress: io::stderr().is_terminal(),
            keyboard: io::stdin().is_terminal(),
        }
    }
}

/// A stream that several threads may write whole texts to.
pub(crate) struct Output(Mutex<Inner>);

struct Inner {
    to: Box<dyn Write + Send>,
    /// The first error: nothing is written after it.
    failed: Option<io::Error>,
}

impl Output {
    pub(crate) fn new(to: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(Inner { to, failed: None }))
    }

    /// Writes a text and flushes it: a reader downstream sees each upload as it lands.
    pub(crate) fn write(&self, text: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.failed.is_none() {
            let written = inner.to.write_all(text.as_bytes());
            inner.failed = written.and_then(|()| inner.to.flush()).err();
        }
    }

    /// Writes a line.
    pub(crate) fn line(&self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    /// Why the answer could not be written, unless nobody wanted it any more.
    pub(crate) fn failure(&self) -> Option<String> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = inner.failed.as_ref().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        failed.map(io::Error::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        for (kind, is_failure) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)] {
            let output = Output::new(Box::new(Broken(kind)));
            output.line("one");
            output.line("two");
            assert_eq!(output.failure().is_some(), is_failure);
        }
    }
}
