//! A token, for as long as it lives: asked for by one caller at a time, renewed early, dropped when it is refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::answer;
use super::error::{Error, Failure};
use super::http::{Reply, Request};
use crate::clock::{self, Deadline};
use crate::secret::Secret;

/// A token is renewed when less than this, or than a quarter of its life, remains.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
/// Azure refuses tokens that have less than 30 seconds to live.
const USELESS_BEFORE: Duration = Duration::from_secs(40);
/// After a renewal that failed, the old token is used for so long before the next one.
const RENEWED_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A bearer token.
#[derive(Clone, Debug)]
pub struct Token {
    /// What stands behind `Bearer`.
    pub secret: Secret,
    /// From when on it should not be used.
    pub expires: Deadline,
    renewed: Deadline,
}

impl Token {
    /// A token that was asked for just now.
    pub(super) fn living(secret: Secret, life: Duration) -> Self {
        let (renewed, expires) = (renewed_after(life), life.saturating_sub(USELESS_BEFORE.min(life / 4)));
        Self { secret, expires: Deadline::after(expires), renewed: Deadline::after(renewed) }
    }

    /// The token in an answer of Databricks, Entra or an identity endpoint; each spells the expiry its own way.
    pub(super) fn read(request: &Request, reply: &Reply) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: Option<Value>,
            expires_on: Option<Value>,
        }
        let answer: Answer = answer::read(request, reply)?;
        if answer.access_token.is_empty() {
            return Err(request.error(Failure::Unreadable, reply.head()));
        }
        let seconds = |value: Value| match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let now = Duration::from_micros(u64::try_from(clock::now()).unwrap_or_default()).as_secs_f64();
        let until = || answer.expires_on.and_then(seconds).map(|at: f64| at - now);
        // A token that does not say how long it lives is taken for a short one. None lives longer than a day.
        let life = answer.expires_in.and_then(seconds).or_else(until).unwrap_or(RENEWED_BEFORE.as_secs_f64());
        let life = if life.is_finite() { life.clamp(0.0, 86_400.0) } else { 0.0 };
        Ok(Self::living(Secret::new(answer.access_token), Duration::from_secs_f64(life)))
    }
}

/// When a token of this life is renewed.
fn renewed_after(life: Duration) -> Duration {
    life.saturating_sub(RENEWED_BEFORE.min(life / 4))
}

/// The one token of one identity.
#[derive(Default)]
pub(super) struct Cache {
    /// How many times somebody went for a token and came back.
    rounds: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// What the last round failed with: those who waited for it share it, or each would fail anew in turn.
    failure: Option<Error>,
}

impl Cache {
    /// The token; `ask` brings a new one. While one caller asks, the others wait for what it brings.
    /// `late` is the error of who waits past the deadline.
    pub(super) async fn token<F>(
        &self,
        deadline: Deadline,
        late: impl FnOnce() -> Error,
        ask: impl FnOnce() -> F,
    ) -> Result<Token, Error>
    where
        F: Future<Output = Result<Token, Error>>,
    {
        let seen = self.rounds.load(Ordering::Acquire);
        let Some(mut state) = clock::within(deadline, self.state.lock()).await else { return Err(late()) };
        if let Some(token) = state.token.as_ref().filter(|token| !token.renewed.is_over()) {
            return Ok(token.clone());
        }
        if let Some(failure) = state.failure.as_ref().filter(|_| self.rounds.load(Ordering::Acquire) > seen) {
            return Err(failure.clone());
        }
        let asked = ask().await;
        self.rounds.fetch_add(1, Ordering::AcqRel);
        state.failure = None;
        match asked {
            Ok(token) => {
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(error) => {
                // A renewal comes early enough to fail a few times.
                if let Some(token) = state.token.as_mut().filter(|token| !token.expires.is_over()) {
                    token.renewed = Deadline::after(RENEWED_AGAIN_AFTER.min(token.expires.left()));
                    return Ok(token.clone());
                }
                // One caller's deadline is no other's.
                state.failure = Some(error.clone()).filter(|error| !error.is_out_of_time());
                Err(error)
            }
        }
    }

    /// Drops a token that was refused, unless another stands in its place already.
    pub(super) async fn forget(&self, refused: &Secret, deadline: Deadline) {
        if let Some(mut state) = clock::within(deadline, self.state.lock()).await
            && state.token.as_ref().is_some_and(|token| token.secret == *refused)
        {
            state.token = None;
        }
    }
}
