//! The line before the identity server: who may ask now, who waits, and who is turned away at once.
//!
//! A slow server must not collect waiting requests without end, and one that is gone must not cost every client its
//! whole deadline: so few questions are under way at once, not many wait, none waits long, and a [`Breaker`] ends the
//! asking while there are no answers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    auth::{
        breaker::{Breaker, Permit, Phase, RetryBudget},
        meters::{BreakerState, Meters, Retry},
    },
    domain::Clock,
    meter::Held,
};

/// Questions under way at most.
pub(super) const UNDER_WAY: usize = 64;
/// Questions that wait for their turn at most.
pub(super) const WAITING: usize = 256;
/// How long a question waits for its turn at most.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Line {
    clock: Arc<dyn Clock>,
    seats: Semaphore,
    waiting: Semaphore,
    rules: Mutex<Rules>,
    meters: Arc<Meters>,
}

struct Rules {
    breaker: Breaker,
    budget: RetryBudget,
    /// As it was told last.
    phase: Phase,
}

/// Why a question is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TurnedAway {
    #[error("the server did not answer of late, and is left alone for a while")]
    Open,
    #[error("too many questions are under way")]
    Crowded,
}

/// The right to ask one question. Dropped without [`Turn::settle`] it says nothing about the server.
pub(super) struct Turn<'a> {
    line: &'a Line,
    permit: Option<Permit>,
    _seat: SemaphorePermit<'a>,
    _under_way: Held<'a>,
}

impl Line {
    pub(super) fn new(clock: Arc<dyn Clock>, meters: Arc<Meters>) -> Self {
        let budget = RetryBudget::new(clock.now());
        let rules = Mutex::new(Rules { breaker: Breaker::default(), budget, phase: Phase::Closed });
        meters.breaker.set(BreakerState::Closed, 1);
        Self { clock, seats: Semaphore::new(UNDER_WAY), waiting: Semaphore::new(WAITING), rules, meters }
    }

    /// Waits for a turn, not long.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, TurnedAway> {
        let seat = self.seat().await.ok_or(TurnedAway::Crowded)?;
        let mut rules = self.rules();
        let now = self.clock.now();
        let permit = rules.breaker.permit(now).map_err(|_| TurnedAway::Open)?;
        let phase = rules.breaker.phase(now);
        rules.tell(phase, &self.meters);
        rules.budget.asked();
        Ok(Turn { line: self, permit: Some(permit), _seat: seat, _under_way: self.meters.under_way.hold(()) })
    }

    #[cfg(test)]
    fn phase(&self) -> Phase {
        self.rules().breaker.phase(self.clock.now())
    }

    async fn seat(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(seat) = self.seats.try_acquire() {
            return Some(seat);
        }
        let _waiting = (self.waiting.try_acquire().ok()?, self.meters.waiting.hold(()));
        tokio::time::timeout(LONGEST_WAIT, self.seats.acquire()).await.ok()?.ok()
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    /// Counts a change of phase.
    fn tell(&mut self, phase: Phase, meters: &Meters) {
        let before = std::mem::replace(&mut self.phase, phase);
        if before != phase {
            meters.breaker_changes.one(BreakerState::of(phase));
            meters.breaker.set(BreakerState::of(before), 0);
            meters.breaker.set(BreakerState::of(phase), 1);
        }
    }
}

impl Turn<'_> {
    /// Whether the question may be asked a second time.
    pub(super) fn may_retry(&self) -> bool {
        let may = self.line.rules().budget.spend(self.line.clock.now());
        self.line.meters.retries.one(if may { Retry::Made } else { Retry::Exhausted });
        may
    }

    /// The server answered, or did not.
    pub(super) fn settle(mut self, answered: bool) {
        let Some(permit) = self.permit.take() else { return };
        let now = self.line.clock.now();
        let mut rules = self.line.rules();
        let before = rules.breaker.phase(now);
        rules.breaker.settle(permit, now, answered);
        let phase = rules.breaker.phase(now);
        rules.tell(phase, &self.line.meters);
        drop(rules);
        match (before, phase) {
            (Phase::Closed | Phase::HalfOpen, Phase::Open) => {
                tracing::error!("the identity server does not answer; it is left alone for a while");
            }
            (Phase::HalfOpen, Phase::Closed) => tracing::info!("the identity server answers again"),
            _ => {}
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.line.rules().breaker.abandon(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::breaker::LEAST_ASKED, domain::SystemClock};

    fn line() -> Line {
        Line::new(Arc::new(SystemClock), Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_bounded_and_none_waits_long() {
        let line = line();
        let under_way: Vec<_> = futures_util::future::join_all((0..UNDER_WAY).map(|_| line.turn())).await;
        assert!(under_way.iter().all(Result::is_ok));
        let begun = tokio::time::Instant::now();
        let crowd = futures_util::future::join_all((0..WAITING + 10).map(|_| line.turn())).await;
        assert!(crowd.iter().all(|turn| matches!(turn, Err(TurnedAway::Crowded))));
        assert!(begun.elapsed() <= LONGEST_WAIT + Duration::from_millis(5));
        drop(under_way);
        assert!(line.turn().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_seat() {
        let line = line();
        let mut under_way: Vec<_> = futures_util::future::join_all((0..UNDER_WAY).map(|_| line.turn())).await;
        let leave = async {
            tokio::time::sleep(LONGEST_WAIT / 2).await;
            under_way.pop();
        };
        assert!(tokio::join!(line.turn(), leave).0.is_ok());
    }

    #[tokio::test]
    async fn without_answers_nobody_asks_and_turns_that_are_dropped_count_for_nothing() {
        let line = line();
        for _ in 0..LEAST_ASKED * 2 {
            drop(line.turn().await);
        }
        assert_eq!(line.phase(), Phase::Closed);
        for _ in 0..LEAST_ASKED {
            let Ok(turn) = line.turn().await else { panic!("turned away too early") };
            turn.settle(false);
        }
        assert_eq!(line.phase(), Phase::Open);
        assert!(matches!(line.turn().await, Err(TurnedAway::Open)));
    }
}
