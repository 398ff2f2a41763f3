//! The workspace that all connections share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::faults::Faults;
use crate::lake::Lakes;
use crate::log::Log;
use crate::state::State;

/// Everything that requests share. No lock is held across an await, and no two at once.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// `http://127.0.0.1:<port>`
    pub(crate) url: String,
    pub(crate) lakes: Lakes,
    /// A statement went on: whoever waits looks again.
    pub(crate) progress: Notify,
    /// One statement changes tables at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    log: Mutex<Log>,
    faults: Mutex<Faults>,
}

impl Workspace {
    pub(crate) fn new(url: String, state: State) -> Self {
        Self {
            url,
            lakes: Lakes::new(&state.setup.storage),
            progress: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
            log: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}
