//! A token, for as long as it lives: asked for by one caller at a time, renewed early, dropped when it is refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::answer;
use super::error::{Error, Failure};
use super::http::{Reply, Request};
use crate::clock::{self, Deadline, Micros};
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
    /// From when on it should not be used, in microseconds since 1970. By the clock on the wall: that of a function
    /// goes on while the function is frozen.
    pub expires_at: Micros,
    renewed_at: Micros,
}

impl Token {
    /// A token that was asked for just now.
    pub(super) fn living(secret: Secret, life: Duration) -> Self {
        let expires = life.saturating_sub(USELESS_BEFORE.min(life / 4));
        Self { secret, expires_at: clock::after(expires), renewed_at: clock::after(renewed_after(life)) }
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

/// Asks with a client secret; once more when it is refused and its store has another by now.
pub(super) async fn ask_with<F>(secret: &Secret, deadline: Deadline, ask: impl Fn(Secret) -> F) -> Result<Token, Error>
where
    F: Future<Output = Result<Token, Error>>,
{
    let latest = secret.latest();
    let refusal = match ask(latest.clone()).await {
        Err(error) if error.refuses_secret() => error,
        outcome => return outcome,
    };
    match secret.instead_of(&latest, deadline).await {
        Some(other) => ask(other).await,
        None => Err(refusal),
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
        if let Some(token) = state.token.as_ref().filter(|token| clock::now() < token.renewed_at) {
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
                if let Some(token) = state.token.as_mut().filter(|token| clock::now() < token.expires_at) {
                    token.renewed_at = token.expires_at.min(clock::after(RENEWED_AGAIN_AFTER));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use bytes::Bytes;
    use reqwest::header::HeaderMap;
    use url::Url;

    use super::*;
    use crate::databricks::Cloud;
    use crate::databricks::answer::Said;
    use crate::databricks::error::{Subject, Way, Whom};
    use crate::databricks::testing::{run, soon};

    fn whom() -> Arc<Whom> {
        let host = "https://h".to_owned();
        Arc::new(Whom { host, cloud: Cloud::Other, way: Way::Databricks, client_id: None })
    }

    fn error(failure: Failure) -> Error {
        Error::of(failure, Subject::SignIn, &whom(), Said::default())
    }

    fn read(body: &str) -> Result<Token, Error> {
        let request = Request::get(Url::parse("https://h/token").unwrap(), Subject::SignIn, &whom());
        let body = Bytes::from(body.to_owned());
        Token::read(&request, &Reply { status: 200, headers: HeaderMap::new(), body })
    }

    fn token(text: &str, life: u64) -> Token {
        Token::living(Secret::new(text), Duration::from_secs(life))
    }

    /// Asks the cache; counts how often it asks.
    async fn asked(
        cache: &Cache,
        times: &AtomicU32,
        answer: impl FnOnce() -> Result<Token, Error>,
    ) -> Result<String, Error> {
        let ask = || async {
            times.fetch_add(1, Ordering::Relaxed);
            clock::pause(Duration::from_millis(5), soon()).await;
            answer()
        };
        let token = cache.token(soon(), || error(Failure::OutOfTime), ask).await?;
        Ok(token.secret.expose().to_owned())
    }

    #[test]
    fn a_token_is_renewed_five_minutes_or_a_quarter_of_its_life_early() {
        let seconds = |life| renewed_after(Duration::from_secs(life)).as_secs();
        assert_eq!([seconds(3600), seconds(1200), seconds(400), seconds(0)], [3300, 900, 300, 0]);
    }

    #[test]
    fn each_spelling_of_the_expiry_is_read() {
        let useful = |expiry: &str, seconds: i64| {
            let token = read(&format!("{{\"access_token\":\"t\",{expiry}}}")).unwrap();
            let left = token.expires_at - clock::now();
            // Up to a second is lost to whole seconds, and some to a busy machine.
            let range = (seconds - 20) * 1_000_000..=seconds * 1_000_000;
            assert!(range.contains(&left), "{expiry}: {left} µs");
        };
        useful(r#""expires_in":3600"#, 3560);
        useful(r#""expires_in":"3600""#, 3560);
        useful(r#""expires_in":3600.5,"expires_on":"7""#, 3561);
        let at = clock::now() / 1_000_000 + 3600;
        useful(&format!(r#""expires_on":"{at}""#), 3560);
        useful(&format!(r#""expires_on":{at}"#), 3560);
        useful(r#""token_type":"Bearer""#, 260);
        for over in [r#""expires_in":-1"#, r#""expires_in":"0""#, r#""expires_on":"7""#] {
            useful(over, 0);
        }
        useful(r#""expires_in":1e300"#, 86_360);
        for none in ["{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#, "null"] {
            assert!(read(none).is_err(), "{none}");
        }
    }

    #[test]
    fn twenty_callers_ask_once() {
        let (cache, times) = (Cache::default(), AtomicU32::new(0));
        let callers = (0..20).map(|_| asked(&cache, &times, || Ok(token("a", 3600))));
        let tokens = run(futures::future::join_all(callers));
        assert!(tokens.iter().all(|token| token.as_deref().unwrap() == "a"));
        assert_eq!(times.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn twenty_callers_share_one_failure_and_the_next_asks_again() {
        let (cache, times) = (Cache::default(), AtomicU32::new(0));
        let callers = (0..20).map(|_| asked(&cache, &times, || Err(error(Failure::Refused))));
        assert!(run(futures::future::join_all(callers)).iter().all(Result::is_err));
        assert_eq!(times.load(Ordering::Relaxed), 1);
        assert_eq!(run(asked(&cache, &times, || Ok(token("b", 3600)))).unwrap(), "b");
    }

    #[test]
    fn one_callers_deadline_is_no_failure_of_the_others() {
        let (cache, times) = (Cache::default(), AtomicU32::new(0));
        let first = asked(&cache, &times, || Err(error(Failure::OutOfTime)));
        let second = asked(&cache, &times, || Ok(token("a", 3600)));
        let (first, second) = run(futures::future::join(first, second));
        assert!(first.unwrap_err().is_out_of_time());
        assert_eq!(second.unwrap(), "a");
    }

    #[test]
    fn a_token_that_cannot_be_renewed_is_used_while_it_lives() {
        let (cache, times) = (Cache::default(), AtomicU32::new(0));
        let mut old = token("old", 3600);
        old.renewed_at = clock::now();
        assert_eq!(run(asked(&cache, &times, || Ok(old.clone()))).unwrap(), "old");
        assert_eq!(run(asked(&cache, &times, || Err(error(Failure::Lost)))).unwrap(), "old");
        assert_eq!(run(asked(&cache, &times, || Ok(token("new", 3600)))).unwrap(), "old", "not asked for a minute");
        assert_eq!(times.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn only_the_token_that_was_refused_is_dropped() {
        let (cache, times) = (Cache::default(), AtomicU32::new(0));
        run(async {
            asked(&cache, &times, || Ok(token("a", 3600))).await.unwrap();
            cache.forget(&Secret::new("older"), soon()).await;
            assert_eq!(asked(&cache, &times, || Ok(token("b", 3600))).await.unwrap(), "a");
            cache.forget(&Secret::new("a"), soon()).await;
            assert_eq!(asked(&cache, &times, || Ok(token("b", 3600))).await.unwrap(), "b");
        });
    }

    #[test]
    fn nobody_waits_for_another_past_its_own_deadline() {
        let cache = Cache::default();
        let never = cache.token(soon(), || error(Failure::OutOfTime), std::future::pending);
        let brief = Deadline::after(Duration::from_millis(10));
        let late = async { cache.token(brief, || error(Failure::OutOfTime), || async { Ok(token("a", 9)) }).await };
        let outcome = run(futures::future::select(Box::pin(never), Box::pin(late)));
        let futures::future::Either::Right((outcome, _)) = outcome else { panic!("the first never ends") };
        assert!(outcome.unwrap_err().is_out_of_time());
    }
}
