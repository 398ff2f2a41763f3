//! Why a test fails, in lines that can be read: what a test returns is printed by its `Debug`.

use std::fmt;
use std::io::Write;
use std::path::Path;

/// A failed test's words.
pub(crate) struct Failure(pub(crate) String);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    /// A file or process that cannot be used.
    pub(crate) fn of(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }

    /// The same for a path.
    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::of(path.display())
    }
}

/// Says something even when the test passes: the harness swallows `println!` then.
pub(crate) fn say(line: &str) {
    // A closed standard error is no reason to fail a test.
    drop(writeln!(std::io::stderr(), "{line}"));
}
