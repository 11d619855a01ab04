//! The line before the identity server: who may ask now, who waits, and who is turned away at once.
//!
//! A slow server must not collect waiting requests without end, and one that is gone must not cost every client its
//! whole deadline: so few questions are under way at once, not many wait, none waits long, and a [`Breaker`] ends the
//! asking while there are no answers. Who is next where many wait is decided in the [`Room`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::room::{Asker, Class, Room, Ticket};
use crate::{
    auth::{
        breaker::{Breaker, Permit, Phase, RetryBudget},
        meters::{BreakerState, Meters, Retry},
    },
    domain::Clock,
    meter::Held,
};

/// How long a question waits for its turn at most.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Line {
    clock: Arc<dyn Clock>,
    hall: Arc<Hall>,
    rules: Mutex<Rules>,
    meters: Arc<Meters>,
}

/// The room, where each who waits is called by being handed the seat.
#[derive(Default)]
struct Hall(Mutex<Room<oneshot::Sender<Seat>>>);

/// A seat, which goes to the next one when it is dropped.
struct Seat {
    hall: Arc<Hall>,
    class: Class,
}

/// A place in the room, which is given up when it is dropped.
struct Place<'a> {
    hall: &'a Hall,
    ticket: Ticket,
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
    _seat: Seat,
    _under_way: Held<'a>,
}

impl Line {
    pub(super) fn new(clock: Arc<dyn Clock>, meters: Arc<Meters>) -> Self {
        let budget = RetryBudget::new(clock.now());
        let rules = Mutex::new(Rules { breaker: Breaker::default(), budget, phase: Phase::Closed });
        meters.breaker.set(BreakerState::Closed, 1);
        Self { clock, hall: Arc::default(), rules, meters }
    }

    /// Waits for a turn, not long.
    pub(super) async fn turn(&self, asker: Asker) -> Result<Turn<'_>, TurnedAway> {
        let seat = self.seat(asker).await.ok_or(TurnedAway::Crowded)?;
        let mut rules = self.rules();
        let now = self.clock.now();
        let permit = rules.breaker.permit(now).map_err(|_| TurnedAway::Open)?;
        let phase = rules.breaker.phase(now);
        rules.tell(phase, &self.meters);
        rules.budget.asked();
        Ok(Turn { line: self, permit: Some(permit), _seat: seat, _under_way: self.meters.under_way.hold(()) })
    }

    /// How the server is taken to be.
    pub(super) fn phase(&self) -> Phase {
        self.rules().breaker.phase(self.clock.now())
    }

    async fn seat(&self, asker: Asker) -> Option<Seat> {
        let (ticket, called) = match self.hall.enter(asker)? {
            Entered::Sits(seat) => return Some(seat),
            Entered::Waits(ticket, called) => (ticket, called),
        };
        let _waiting = (Place { hall: &self.hall, ticket }, self.meters.waiting.hold(()));
        // Who is displaced is not called: the sender is gone.
        tokio::time::timeout(LONGEST_WAIT, called).await.ok()?.ok()
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of somebody who came.
enum Entered {
    Sits(Seat),
    Waits(Ticket, oneshot::Receiver<Seat>),
}

impl Hall {
    /// `None`: the room is full.
    fn enter(self: &Arc<Self>, asker: Asker) -> Option<Entered> {
        let mut room = self.room();
        if room.sit(asker.class) {
            return Some(Entered::Sits(Seat { hall: self.clone(), class: asker.class }));
        }
        let (call, called) = oneshot::channel();
        let (ticket, _displaced) = room.wait(asker, call).ok()?;
        Some(Entered::Waits(ticket, called))
    }

    fn room(&self) -> MutexGuard<'_, Room<oneshot::Sender<Seat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let next = self.hall.room().leave(self.class);
        if let Some((class, call)) = next {
            // Who gave up this very moment lets it drop, and it goes on from there.
            let _ = call.send(Self { hall: self.hall.clone(), class });
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.hall.room().give_up(self.ticket);
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
    use crate::{
        auth::{
            breaker::LEAST_ASKED,
            identity::room::{SEATS, WAITING},
        },
        domain::SystemClock,
    };

    const REGULAR: Asker = Asker { network: None, class: Class::Regular };

    fn line() -> Line {
        Line::new(Arc::new(SystemClock), Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_bounded_and_none_waits_long() {
        let line = line();
        let under_way: Vec<_> = futures_util::future::join_all((0..SEATS).map(|_| line.turn(REGULAR))).await;
        assert!(under_way.iter().all(Result::is_ok));
        let begun = tokio::time::Instant::now();
        let crowd = futures_util::future::join_all((0..WAITING + 10).map(|_| line.turn(REGULAR))).await;
        assert!(crowd.iter().all(|turn| matches!(turn, Err(TurnedAway::Crowded))));
        assert!(begun.elapsed() <= LONGEST_WAIT + Duration::from_millis(5));
        drop(under_way);
        assert!(line.turn(REGULAR).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_seat() {
        let line = line();
        let mut under_way: Vec<_> = futures_util::future::join_all((0..SEATS).map(|_| line.turn(REGULAR))).await;
        let leave = async {
            tokio::time::sleep(LONGEST_WAIT / 2).await;
            under_way.pop();
        };
        assert!(tokio::join!(line.turn(REGULAR), leave).0.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_leaves_no_trace_in_it() {
        let line = line();
        for _ in 0..3 {
            let under_way: Vec<_> = futures_util::future::join_all((0..SEATS).map(|_| line.turn(REGULAR))).await;
            let short = Duration::from_millis(10);
            let gone = (0..WAITING).map(|_| tokio::time::timeout(short, line.turn(REGULAR)));
            assert!(futures_util::future::join_all(gone).await.iter().all(Result::is_err));
            // Called and gone at the same moment: the seat goes on to the next.
            let (mut first, mut second) = (Box::pin(line.turn(REGULAR)), Box::pin(line.turn(REGULAR)));
            assert!(futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending());
            drop(under_way);
            drop(first);
            assert!(second.await.is_ok());
        }
        let all: Vec<_> = futures_util::future::join_all((0..SEATS).map(|_| line.turn(REGULAR))).await;
        assert!(all.iter().all(Result::is_ok), "no seat was lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_room_makes_place_at_once() {
        let line = line();
        let _under_way: Vec<_> = futures_util::future::join_all((0..SEATS).map(|_| line.turn(REGULAR))).await;
        let crowd = Asker { network: None, class: Class::Stranger };
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(line.turn(crowd))).collect();
        for turn in &mut waiting {
            assert!(futures_util::poll!(turn).is_pending());
        }
        let begun = tokio::time::Instant::now();
        assert!(matches!(line.turn(crowd).await, Err(TurnedAway::Crowded)));
        let mut elsewhere = Box::pin(line.turn(Asker { network: Some([10, 0, 0, 1].into()), class: Class::Stranger }));
        assert!(futures_util::poll!(&mut elsewhere).is_pending());
        assert!(matches!(waiting.pop().expect("the last").await, Err(TurnedAway::Crowded)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn without_answers_nobody_asks_and_turns_that_are_dropped_count_for_nothing() {
        let line = line();
        for _ in 0..LEAST_ASKED * 2 {
            drop(line.turn(REGULAR).await);
        }
        assert_eq!(line.phase(), Phase::Closed);
        for _ in 0..LEAST_ASKED {
            let Ok(turn) = line.turn(REGULAR).await else { panic!("turned away too early") };
            turn.settle(false);
        }
        assert_eq!(line.phase(), Phase::Open);
        assert!(matches!(line.turn(REGULAR).await, Err(TurnedAway::Open)));
    }
}
