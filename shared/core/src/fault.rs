//! Why something did not happen, by what the caller can do about it.
//!
//! There are four kinds because there are four reactions: deliver again, change the set-up, put the input aside,
//! report a bug. `Display` says what happened and never prints its source; the hint says what to do. Each face
//! (terminal, Lambda, Azure) translates a kind into its own words once, where the fault is handled.

use std::error::Error;
use std::fmt;

/// What the reader of a fault can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Transient: nothing was acknowledged, deliver the same input again.
    Again,
    /// A person must change something; the hint is the line to run.
    Setup,
    /// This input can never land; it was put aside with its reason.
    Rejected,
    /// Ours: the message asks for a report.
    Bug,
}

impl FaultKind {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Setup => "setup",
            Self::Rejected => "rejected",
            Self::Bug => "bug",
        }
    }

    /// The exit code of a terminal run (sysexits: EX_TEMPFAIL, EX_CONFIG, EX_DATAERR, EX_SOFTWARE).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Again => 75,
            Self::Setup => 78,
            Self::Rejected => 65,
            Self::Bug => 70,
        }
    }

    /// Of several faults a run reports the gravest: bug, setup, again, rejected.
    pub fn gravity(self) -> u8 {
        match self {
            Self::Bug => 3,
            Self::Setup => 2,
            Self::Again => 1,
            Self::Rejected => 0,
        }
    }
}

/// One failure: what happened, what to do about it, and what caused it.
#[derive(Debug)]
pub struct Fault {
    kind: FaultKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A transient fault: the same input can be delivered again.
    pub fn again(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Again, message)
    }

    /// A fault that a person must mend; give it a hint.
    pub fn setup(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Setup, message)
    }

    /// An input that can never land.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Rejected, message)
    }

    /// A broken promise of our own code.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Bug, message)
    }

    fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what caused it; printed once, by the face that handles the fault.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A fault of the same kind and with the same hint, which happened in the course of something else.
    #[must_use]
    pub(crate) fn within(&self, message: impl Into<String>) -> Self {
        let message = format!("{}: {}", message.into(), self.chain());
        Self { kind: self.kind, message, hint: self.hint.clone(), source: None }
    }

    /// The same fault once more, for everything else that it stopped.
    #[must_use]
    pub(crate) fn repeated(&self) -> Self {
        Self { kind: self.kind, message: self.chain(), hint: self.hint.clone(), source: None }
    }

    /// What the reader can do.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// What to do, if we know.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message with its causes, outermost first, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let inner = Fault::again("connection reset");
        let outer = Fault::again("cannot read `a.gz`").because(inner);
        assert_eq!(outer.to_string(), "cannot read `a.gz`");
        assert_eq!(outer.chain(), "cannot read `a.gz`: connection reset");
    }

    #[test]
    fn the_gravest_kind_is_a_bug() {
        let mut kinds = [FaultKind::Rejected, FaultKind::Bug, FaultKind::Again, FaultKind::Setup];
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.gravity()));
        assert_eq!(kinds.map(FaultKind::exit_code), [70, 78, 75, 65]);
    }
}
