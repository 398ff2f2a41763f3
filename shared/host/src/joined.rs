//! Calls in flight, joined: on Azure each message is a call of its own, and one commit for each would be a race of all
//! against all. Whoever comes while others land waits for the next turn; a turn lands all that wait, in one commit per
//! table.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use tokio::sync::oneshot;

use crate::delivery::{Delivered, Delivery};

/// How long the first of a turn waits for others: the Functions host hands over a batch of messages within this.
const MOMENT: Duration = Duration::from_millis(50);
/// Messages in one turn.
const TURN: usize = 256;

type Waiting = (Delivery, oneshot::Sender<Delivered>);

/// Calls that wait for their turn; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joined(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody takes turns; whoever comes now is taken along.
    is_served: bool,
}

impl Joined {
    /// Waits for a turn and lands in it. `land` is called, by the first who comes, for each turn until nobody waits; it
    /// answers in the order of what it is given. None: the turn stopped by a bug.
    pub(crate) async fn land(
        &self,
        delivery: Delivery,
        land: impl Fn(&[Delivery]) -> Vec<Delivered> + Send + 'static,
    ) -> Option<Delivered> {
        let (answer, answered) = oneshot::channel();
        let serves = {
            let mut queue = self.queue();
            queue.waiting.push((delivery, answer));
            !std::mem::replace(&mut queue.is_served, true)
        };
        if serves {
            let joined = self.clone();
            // Not on the caller's account: it may go away, and whoever else waits must not be left alone.
            tokio::spawn(async move {
                clock::pause(MOMENT, Deadline::after(MOMENT)).await;
                std::thread::spawn(move || joined.serve(land));
            });
        }
        answered.await.ok()
    }

    fn serve(&self, land: impl Fn(&[Delivery]) -> Vec<Delivered>) {
        while let Some(turn) = self.next() {
            let (deliveries, answers): (Vec<_>, Vec<_>) = turn.into_iter().unzip();
            // A turn that panics fails its own calls, whose messages come again, and leaves nobody waiting.
            let landed = catch_unwind(AssertUnwindSafe(|| land(&deliveries))).unwrap_or_default();
            for (answer, delivered) in answers.into_iter().zip(landed) {
                // A call that is gone was ended by the host, and its message comes again.
                drop(answer.send(delivered));
            }
        }
    }

    /// The next turn; none: nobody waits, and the next who comes serves.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            queue.is_served = false;
            return None;
        }
        let count = queue.waiting.len().min(TURN);
        Some(queue.waiting.drain(..count).collect())
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use inlet_core::report::Report;

    use super::*;
    use crate::log::Log;

    fn delivery(receives: u32) -> Delivery {
        let (ends, log) = (Deadline::after(MOMENT), Log::default());
        Delivery { events: Vec::new(), skipped: Vec::new(), refused: Vec::new(), receives, ends, log }
    }

    fn delivered(delivery: &Delivery) -> Delivered {
        let mut report = Report::new();
        report.totals.skipped = u64::from(delivery.receives);
        Delivered { report, ..Delivered::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_in_flight_land_in_one_turn_and_each_gets_its_own_answer() {
        let (joined, turns) = (Joined::default(), Arc::new(Mutex::new(Vec::new())));
        let calls = (0..40).map(|number| {
            let (joined, turns) = (joined.clone(), Arc::clone(&turns));
            tokio::spawn(async move {
                let land = move |all: &[Delivery]| {
                    turns.lock().unwrap().push(all.len());
                    all.iter().map(delivered).collect()
                };
                joined.land(delivery(number), land).await.map(|one| one.report.totals.skipped)
            })
        });
        for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), Some(number as u64));
        }
        let turns = turns.lock().unwrap();
        assert_eq!(turns.iter().sum::<usize>(), 40);
        assert!(turns.len() < 10, "{turns:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_turn_that_panics_fails_its_calls_and_the_next_lands() {
        let joined = Joined::default();
        let land = |all: &[Delivery]| -> Vec<Delivered> {
            assert_ne!(all[0].receives, 1, "a bug");
            all.iter().map(delivered).collect()
        };
        assert!(joined.land(delivery(1), land).await.is_none());
        let next = joined.land(delivery(2), land).await;
        assert_eq!(next.map(|one| one.report.totals.skipped), Some(2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_goes_away_leaves_nobody_waiting() {
        let joined = Joined::default();
        let land = |all: &[Delivery]| all.iter().map(delivered).collect();
        let mut first = Box::pin(joined.land(delivery(1), land));
        assert!(futures::poll!(&mut first).is_pending());
        drop(first);
        let next = tokio::time::timeout(Duration::from_secs(30), joined.land(delivery(2), land)).await.unwrap();
        assert_eq!(next.map(|one| one.report.totals.skipped), Some(2));
    }
}
