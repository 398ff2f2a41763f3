//! What waking the warehouse may cost: one wake per window, and so many wakes and seconds a day.
//!
//! Managed tables are loaded once per window, whether the warehouse sleeps or not: one that is kept busy never stops.
//! Every wake is recorded in `_inlet/wakes/` before it begins, so that one that kills its run counts too. Days are the
//! last 24 hours, by this machine's clock.

use std::fmt;
use std::time::Duration;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Micros};
use crate::delta::Lake;
use crate::fault::Fault;
use crate::settings::Hours;
use crate::state::{Held, State};

const DAY: Micros = 24 * 60 * 60 * 1_000_000;
/// Records are kept this long, for whoever asks what woke the warehouse.
const KEPT: Micros = 30 * DAY;
/// Records that are looked at.
const RECORDS: usize = 10_000;

/// What a window lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Between {
    /// Wakes: a warehouse that runs is used at any time.
    #[default]
    Wakes,
    /// Uses, also of a warehouse that others have woken.
    Uses,
}

/// What may be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At most one wake, or use, in this time; one after a longer quiet comes at once.
    pub window: Duration,
    /// Which of the two.
    pub between: Between,
    /// Hours in which only a person wakes, or uses, the warehouse.
    pub never_between: Vec<Hours>,
    /// Wakes in 24 hours.
    pub wakes_per_day: Option<u32>,
    /// Seconds in 24 hours in which statements ran or waited for a start.
    pub seconds_per_day: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(15 * 60),
            between: Between::default(),
            never_between: Vec::new(),
            wakes_per_day: None,
            seconds_per_day: None,
        }
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
    /// Whether it was only started, for the window that opens soon: it is over when that one begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ahead: bool,
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
    /// The window since the last wake, or use, is not over.
    Window { for_seconds: u64 },
    /// These are hours in which only a person uses it.
    Hours { for_seconds: u64 },
    /// So many wakes in 24 hours are enough.
    Wakes(u32),
    /// So many seconds in 24 hours are enough.
    Seconds(u64),
}

impl Postponed {
    pub(crate) fn fault(&self, between: Between) -> Fault {
        let waits = match between {
            Between::Wakes => "the rows have landed, only the catalog waits",
            Between::Uses => "the rows are staged, and wait",
        };
        let fault = Fault::again(self.to_string());
        match self {
            Self::Window { .. } | Self::Hours { .. } => {
                fault.hint(format!("run `inlet evolve` by hand to go at once; {waits}"))
            }
            Self::Wakes(_) => fault.hint(format!("raise `max_wakes_per_day`, or wait; {waits}")),
            Self::Seconds(_) => fault.hint(format!("raise `max_warehouse_seconds_per_day`, or wait; {waits}")),
        }
    }
}

impl fmt::Display for Postponed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window { for_seconds } => {
                write!(f, "the warehouse was woken lately; the next window opens in {for_seconds} s")
            }
            Self::Hours { for_seconds } => {
                write!(f, "`never_between` lets the warehouse be; the next window opens in {for_seconds} s")
            }
            Self::Wakes(wakes) => {
                write!(f, "the warehouse was woken {wakes} times in 24 hours: `max_wakes_per_day` is reached")
            }
            Self::Seconds(seconds) => write!(
                f,
                "the warehouse was used for {seconds} s in 24 hours: `max_warehouse_seconds_per_day` is reached"
            ),
        }
    }
}

/// Whether the budget allows a wake now. Whoever asks by hand does not wait for the window.
///
/// # Errors
/// What the store answers.
pub(crate) fn may_wake(lake: &Lake, budget: &Budget, by_hand: bool) -> Result<Option<Postponed>, Fault> {
    let (uses, now) = (uses(lake)?, clock::now());
    let waits = if by_hand { None } else { too_early(&uses, budget, now) };
    Ok(waits.or_else(|| overspent(&uses, budget, now)))
}

/// Whether the window is open, whatever a wake may cost.
///
/// # Errors
/// What the store answers.
pub(crate) fn may_begin(lake: &Lake, budget: &Budget) -> Result<Option<Postponed>, Fault> {
    Ok(too_early(&uses(lake)?, budget, clock::now()))
}

/// Whether a wake may be paid for, whatever the time.
///
/// # Errors
/// What the store answers.
pub(crate) fn may_spend(lake: &Lake, budget: &Budget) -> Result<Option<Postponed>, Fault> {
    Ok(overspent(&uses(lake)?, budget, clock::now()))
}

/// Schedules are never quite on time: so much of a window between uses may be left.
fn slack(budget: &Budget) -> Duration {
    match budget.between {
        Between::Wakes => Duration::ZERO,
        Between::Uses => (budget.window / 10).min(Duration::from_secs(60)),
    }
}

fn too_early(uses: &[Recorded], budget: &Budget, now: Micros) -> Option<Postponed> {
    let counts = |one: &&Recorded| !one.used.ahead && (one.used.woke || budget.between == Between::Uses);
    let micros = |duration: Duration| Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX);
    let last = uses.iter().filter(counts).map(|one| one.used.at).max();
    let left = last.map_or(0, |last| (last - now).saturating_add(micros(budget.window)));
    let for_seconds = left.max(0).unsigned_abs().div_ceil(1_000_000);
    let closed_for = |at: Micros| budget.never_between.iter().filter_map(|hours| hours.seconds_left(at)).max();
    if let Some(closed) = closed_for(now) {
        return Some(Postponed::Hours { for_seconds: closed.max(for_seconds) });
    }
    if left <= micros(slack(budget)) {
        return None;
    }
    // A window whose time comes in such hours opens after them.
    Some(match closed_for(now + left) {
        Some(closed) => Postponed::Hours { for_seconds: for_seconds + closed },
        None => Postponed::Window { for_seconds },
    })
}

fn overspent(uses: &[Recorded], budget: &Budget, now: Micros) -> Option<Postponed> {
    let today = || uses.iter().map(|one| &one.used).filter(|one| one.at > now - DAY);
    let wakes = u32::try_from(today().filter(|one| one.woke).count()).unwrap_or(u32::MAX);
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
    /// Notes a use that begins; a start ahead of it is over.
    pub(crate) fn begin(lake: &Lake, woke: bool, causes: &[String]) -> Result<Self, Fault> {
        for ahead in uses(lake)?.into_iter().filter(|one| one.used.ahead && one.used.seconds.is_none()) {
            ahead.end(lake);
        }
        Self::note(lake, Use { at: clock::now(), woke, cause: named(causes), seconds: None, ahead: false })
    }

    /// Notes a start ahead of a use.
    pub(crate) fn ahead(lake: &Lake) -> Result<Self, Fault> {
        Self::note(lake, Use { at: clock::now(), woke: true, cause: Vec::new(), seconds: None, ahead: true })
    }

    fn note(lake: &Lake, used: Use) -> Result<Self, Fault> {
        let state = State::of(lake);
        let at = used.at;
        let place = folder(&state).join(format!("{at:020}-{}.json", uuid::Uuid::new_v4()));
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

fn named(causes: &[String]) -> Vec<String> {
    causes.iter().take(CAUSES).cloned().collect()
}

/// The uses of the last days; older records go.
fn uses(lake: &Lake) -> Result<Vec<Recorded>, Fault> {
    let state = State::of(lake);
    let now = clock::now();
    let mut uses = Vec::new();
    for file in state.list(&folder(&state), RECORDS)? {
        let at: Option<Micros> = file.name().split('-').next().and_then(|digits| digits.parse().ok());
        match at {
            Some(at) if at < now - KEPT => state.remove(&file.place)?,
            Some(at) if at < now - DAY => {}
            _ => {
                if let Held::Read(used) = state.read(&file)? {
                    uses.push(Recorded { place: file.place, used });
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

    fn used(at: Micros, woke: bool, seconds: f64) -> Recorded {
        let used = Use { at, woke, cause: Vec::new(), seconds: Some(seconds), ahead: false };
        Recorded { place: Path::from("any"), used }
    }

    fn woke(at: Micros, seconds: f64) -> Recorded {
        used(at, true, seconds)
    }

    #[test]
    fn one_wake_a_window_and_the_first_after_quiet_at_once() {
        let budget = Budget { window: Duration::from_secs(100), ..Budget::default() };
        let now = 10 * DAY;
        assert_eq!(too_early(&[], &budget, now), None);
        let mut uses = [woke(now - 200 * SECOND, 5.0), woke(now - 40 * SECOND, 5.0)];
        assert_eq!(too_early(&uses, &budget, now), Some(Postponed::Window { for_seconds: 60 }));
        assert_eq!(too_early(&uses, &budget, now + 60 * SECOND), None);
        uses[1].used.woke = false;
        assert_eq!(too_early(&uses, &budget, now), None, "a warehouse that was up is no wake");
    }

    #[test]
    fn between_uses_a_running_warehouse_is_left_alone_too_and_schedules_may_be_early() {
        let budget = Budget { window: Duration::from_secs(100), between: Between::Uses, ..Budget::default() };
        let now = 10 * DAY;
        let mut uses = [used(now - 40 * SECOND, false, 5.0)];
        assert_eq!(too_early(&uses, &budget, now), Some(Postponed::Window { for_seconds: 60 }));
        assert_eq!(too_early(&uses, &budget, now + 51 * SECOND), None);
        uses[0].used.ahead = true;
        assert_eq!(too_early(&uses, &budget, now), None, "a start ahead is no use");
    }

    #[test]
    fn there_are_hours_for_people_alone() {
        let never_between = vec![Hours::parse("08:00-09:00").unwrap(), Hours::parse("23:00-01:00").unwrap()];
        let budget = Budget { never_between, ..Budget::default() };
        let at = |hour: i64| 10 * DAY + hour * 3_600 * SECOND;
        let waits = [0, 2, 8].map(|hour| too_early(&[], &budget, at(hour)));
        assert_eq!(
            waits,
            [Some(Postponed::Hours { for_seconds: 3_600 }), None, Some(Postponed::Hours { for_seconds: 3_600 })]
        );
        // Used at 7:50, with a window of 15 minutes: its time would come at 8:05.
        let uses = [woke(at(8) - 600 * SECOND, 5.0)];
        let waits = too_early(&uses, &budget, at(8) - 60 * SECOND);
        assert_eq!(waits, Some(Postponed::Hours { for_seconds: 6 * 60 + 55 * 60 }));
    }

    #[test]
    fn a_day_has_its_bounds() {
        let now = 10 * DAY;
        let uses = [woke(now - DAY - SECOND, 900.0), woke(now - DAY / 2, 30.0), woke(now - DAY / 3, 31.5)];
        let wakes = |most| Budget { wakes_per_day: Some(most), ..Budget::default() };
        assert_eq!(overspent(&uses, &wakes(3), now), None);
        assert_eq!(overspent(&uses, &wakes(2), now), Some(Postponed::Wakes(2)));
        let seconds = |most| Budget { seconds_per_day: Some(most), ..Budget::default() };
        assert_eq!(overspent(&uses, &seconds(62), now), None);
        assert_eq!(overspent(&uses, &seconds(61), now), Some(Postponed::Seconds(61)));
    }

    #[test]
    fn a_use_counts_from_its_beginning_and_ends_a_start_ahead_of_it() {
        let test = TestLake::new();
        let budget = Budget::default();
        assert_eq!(may_wake(&test.lake, &budget, false).unwrap(), None);
        drop(Recorded::ahead(&test.lake).unwrap());
        assert_eq!(may_wake(&test.lake, &budget, false).unwrap(), None);
        let recorded = Recorded::begin(&test.lake, true, &["web.tracks".into()]).unwrap();
        assert!(matches!(may_wake(&test.lake, &budget, false).unwrap(), Some(Postponed::Window { .. })));
        assert_eq!(may_wake(&test.lake, &budget, true).unwrap(), None, "who asks by hand goes at once");
        assert!(recorded.end(&test.lake) < 60.0);
        let uses = uses(&test.lake).unwrap();
        let causes: Vec<_> = uses.iter().map(|one| one.used.cause.len()).collect();
        assert_eq!(causes, [0, 1]);
        assert!(uses.iter().all(|one| one.used.seconds.is_some()));
    }
}
