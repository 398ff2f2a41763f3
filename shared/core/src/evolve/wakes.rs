//! What waking the warehouse may cost: one wake per window, and so many wakes and seconds a day.
//!
//! Every wake is recorded in `_inlet/wakes/` before it begins, so that one that kills its run counts too. Days are the
//! last 24 hours, by this machine's clock.

use std::time::Duration;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Micros};
use crate::delta::Lake;
use crate::fault::Fault;
use crate::state::{Held, State};

const DAY: Micros = 24 * 60 * 60 * 1_000_000;
/// Records are kept this long, for whoever asks what woke the warehouse.
const KEPT: Micros = 30 * DAY;
/// Records that are looked at.
const RECORDS: usize = 10_000;

/// What may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At most one wake in this time; a wake after a longer quiet comes at once.
    pub window: Duration,
    /// Wakes in 24 hours.
    pub wakes_per_day: Option<u32>,
    /// Seconds in 24 hours in which statements ran or waited for a start.
    pub seconds_per_day: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { window: Duration::from_secs(15 * 60), wakes_per_day: None, seconds_per_day: None }
    }
}

/// One use of the warehouse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) at: Micros,
    /// Whether the warehouse had to be started.
    pub(crate) woke: bool,
    /// Why: the tables that had changed, the first of them.
    pub(crate) cause: Vec<String>,
    /// Until the last statement was done; unknown while it runs, and after a run that died.
    pub(crate) seconds: Option<f64>,
}

/// A use that is under way.
#[derive(Debug)]
pub(crate) struct Recorded {
    place: Path,
    used: Use,
}

/// Tables that a record names.
const CAUSES: usize = 20;

/// Why the warehouse stays asleep for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Postponed {
    /// The window since the last wake is not over.
    Window { for_seconds: u64 },
    /// So many wakes in 24 hours are enough.
    Wakes(u32),
    /// So many seconds in 24 hours are enough.
    Seconds(u64),
}

impl Postponed {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Window { for_seconds } => {
                Fault::again(format!("the warehouse was woken lately; the next window opens in {for_seconds} s"))
                    .hint("run `inlet evolve` by hand to go at once; the rows have landed, only the catalog waits")
            }
            Self::Wakes(wakes) => Fault::again(format!(
                "the warehouse was woken {wakes} times in 24 hours: `max_wakes_per_day` is reached"
            ))
            .hint("raise `max_wakes_per_day`, or wait; the rows have landed, only the catalog waits"),
            Self::Seconds(seconds) => Fault::again(format!(
                "the warehouse was used for {seconds} s in 24 hours: `max_warehouse_seconds_per_day` is reached"
            ))
            .hint("raise `max_warehouse_seconds_per_day`, or wait; the rows have landed, only the catalog waits"),
        }
    }
}

/// Whether the budget allows a wake now. Whoever asks by hand does not wait for the window.
///
/// # Errors
/// What the store answers.
pub(crate) fn may_wake(lake: &Lake, budget: &Budget, by_hand: bool) -> Result<Option<Postponed>, Fault> {
    let uses = uses(lake)?;
    Ok(postponed(&uses, budget, by_hand, clock::now()))
}

fn postponed(uses: &[Use], budget: &Budget, by_hand: bool, now: Micros) -> Option<Postponed> {
    let today = || uses.iter().filter(|one| one.at > now - DAY);
    let woke = || today().filter(|one| one.woke);
    let window = Micros::try_from(budget.window.as_micros()).unwrap_or(Micros::MAX);
    let last = woke().map(|one| one.at).max();
    let left = last.map_or(0, |last| last + window - now);
    if left > 0 && !by_hand {
        return Some(Postponed::Window { for_seconds: left.unsigned_abs().div_ceil(1_000_000) });
    }
    let wakes = u32::try_from(woke().count()).unwrap_or(u32::MAX);
    if budget.wakes_per_day.is_some_and(|most| wakes >= most) {
        return Some(Postponed::Wakes(wakes));
    }
    let seconds = today().filter_map(|one| one.seconds).sum::<f64>() as u64;
    if budget.seconds_per_day.is_some_and(|most| seconds >= most) {
        return Some(Postponed::Seconds(seconds));
    }
    None
}

impl Recorded {
    /// Notes a use that begins.
    pub(crate) fn begin(lake: &Lake, woke: bool, causes: &[String]) -> Result<Self, Fault> {
        let state = State::of(lake);
        let at = clock::now();
        let cause = causes.iter().take(CAUSES).cloned().collect();
        let place = folder(&state).join(format!("{at:020}-{}.json", uuid::Uuid::new_v4()));
        let used = Use { at, woke, cause, seconds: None };
        state.put(&place, &used)?;
        Ok(Self { place, used })
    }

    /// Notes how long it took; answers the seconds. A record that cannot be written is worth no failure.
    pub(crate) fn end(mut self, lake: &Lake) -> f64 {
        let seconds = (clock::now() - self.used.at) as f64 / 1e6;
        self.used.seconds = Some(seconds);
        drop(State::of(lake).put(&self.place, &self.used));
        seconds
    }
}

/// The uses of the last days; older records go.
fn uses(lake: &Lake) -> Result<Vec<Use>, Fault> {
    let state = State::of(lake);
    let now = clock::now();
    let mut uses = Vec::new();
    for file in state.list(&folder(&state), RECORDS)? {
        let at: Option<Micros> = file.name().split('-').next().and_then(|digits| digits.parse().ok());
        match at {
            Some(at) if at < now - KEPT => state.remove(&file.place)?,
            Some(at) if at < now - DAY => {}
            _ => {
                if let Held::Read(one) = state.read(&file)? {
                    uses.push(one);
                }
            }
        }
    }
    Ok(uses)
}

fn folder(state: &State<'_>) -> Path {
    state.place(&["wakes"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::TestLake;

    const SECOND: Micros = 1_000_000;

    fn woke(at: Micros, seconds: f64) -> Use {
        Use { at, woke: true, cause: Vec::new(), seconds: Some(seconds) }
    }

    #[test]
    fn one_wake_a_window_and_the_first_after_quiet_at_once() {
        let budget = Budget { window: Duration::from_secs(100), ..Budget::default() };
        let now = 10 * DAY;
        assert_eq!(postponed(&[], &budget, false, now), None);
        let uses = [woke(now - 200 * SECOND, 5.0), woke(now - 40 * SECOND, 5.0)];
        assert_eq!(postponed(&uses, &budget, false, now), Some(Postponed::Window { for_seconds: 60 }));
        assert_eq!(postponed(&uses, &budget, true, now), None, "who asks by hand goes at once");
        assert_eq!(postponed(&uses, &budget, false, now + 60 * SECOND), None);
        let mut joined = uses;
        joined[1].woke = false;
        assert_eq!(postponed(&joined, &budget, false, now), None, "a warehouse that was up is no wake");
    }

    #[test]
    fn a_day_has_its_bounds() {
        let now = 10 * DAY;
        let uses = [woke(now - DAY - SECOND, 900.0), woke(now - DAY / 2, 30.0), woke(now - DAY / 3, 31.5)];
        let wakes = |most| Budget { wakes_per_day: Some(most), ..Budget::default() };
        assert_eq!(postponed(&uses, &wakes(3), true, now), None);
        assert_eq!(postponed(&uses, &wakes(2), true, now), Some(Postponed::Wakes(2)));
        let seconds = |most| Budget { seconds_per_day: Some(most), ..Budget::default() };
        assert_eq!(postponed(&uses, &seconds(62), true, now), None);
        assert_eq!(postponed(&uses, &seconds(61), true, now), Some(Postponed::Seconds(61)));
    }

    #[test]
    fn a_use_counts_from_its_beginning() {
        let test = TestLake::new();
        let budget = Budget::default();
        assert_eq!(may_wake(&test.lake, &budget, false).unwrap(), None);
        let recorded = Recorded::begin(&test.lake, true, &["web.tracks".into()]).unwrap();
        assert!(matches!(may_wake(&test.lake, &budget, false).unwrap(), Some(Postponed::Window { .. })));
        assert!(recorded.end(&test.lake) < 60.0);
        let uses = uses(&test.lake).unwrap();
        assert_eq!(uses.len(), 1);
        assert_eq!(uses[0].cause, ["web.tracks"]);
        assert!(uses[0].seconds.is_some());
    }
}
