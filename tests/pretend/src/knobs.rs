//! What a test turns to make the workspace slow, late, failing or unusual.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::warehouse::{Fate, Pace};

/// How the workspace behaves. Times are in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// From start to RUNNING.
    pub start_ms: u64,
    /// From stop to STOPPED.
    pub stop_ms: u64,
    /// How long a minute of `auto_stop_mins` is.
    pub minute_ms: u64,
    /// What becomes of a start, of every warehouse.
    pub fate: Fate,
    /// How many GETs after a start still say STOPPED.
    pub late_states: u32,
    /// How long a statement is RUNNING before it takes effect.
    pub statement_ms: u64,
    /// How long a statement is known after its end; then 404.
    pub statement_kept_ms: u64,
    /// Rows of a chunk of an answer.
    pub rows_per_chunk: usize,
    /// How long a token lives, seconds.
    pub token_seconds: u64,
    /// `"expires_in": "3600"` instead of a number.
    pub expires_in_as_text: bool,
    /// Entra's error for every token request, as 7000222.
    pub entra_error: Option<u32>,
    /// Entries on a page of a list; 0: all.
    pub page_size: usize,
    /// The metastore's `external_access_enabled`: whether it vends credentials at all.
    pub external_access: bool,
    /// What is vended.
    pub vended: Vended,
    /// How long vended credentials live, seconds.
    pub vended_seconds: u64,
    /// Statements commit as Databricks does on S3: with an unconditional PUT, having read the log this many commits
    /// ago. 0 overwrites nobody unless somebody commits in between; 1 overwrites the newest commit.
    pub unconditional_put: Option<u64>,
    /// How long a statement works between its reading of the log and its commit. Lowered meanwhile, it goes on at once.
    pub commit_ms: u64,
}

/// Credentials as they are handed out; nothing is made up for a store that knows its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Vended {
    /// None: what a `file://` lake needs.
    #[default]
    Nothing,
    /// For `s3://`.
    Aws {
        /// The key's id.
        access_key_id: String,
        /// The key.
        secret_access_key: String,
        /// Of the session.
        session_token: String,
    },
    /// For `abfss://`: a signature.
    AzureSas(String),
    /// For `abfss://`: a token of Entra.
    AzureAad(String),
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            start_ms: 50,
            stop_ms: 20,
            minute_ms: 60_000,
            fate: Fate::Runs,
            late_states: 0,
            statement_ms: 0,
            statement_kept_ms: 12 * 3_600_000,
            rows_per_chunk: 1_000,
            token_seconds: 3_600,
            expires_in_as_text: false,
            entra_error: None,
            page_size: 0,
            external_access: true,
            vended: Vended::Nothing,
            vended_seconds: 3_600,
            unconditional_put: None,
            commit_ms: 0,
        }
    }
}

impl Knobs {
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            start: Duration::from_millis(self.start_ms),
            stop: Duration::from_millis(self.stop_ms),
            minute: Duration::from_millis(self.minute_ms),
        }
    }
}
