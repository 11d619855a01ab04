//! When to stop asking a server that does not answer, and when to try again: two pure state machines over time.
//!
//! [`Breaker`] opens when at least half of the questions of the last ten seconds, and not too few of them, got no answer.
//! While it is open nobody asks: callers hear at once that nothing can be checked, and the server may recover. After a
//! pause, which doubles each time, a few probes go through; if all of them are answered it closes, and one that is not
//! opens it again. [`RetryBudget`] bounds how much load second tries may add (the retry storms of Kubernetes' and tusd's
//! hooks, which have none).
//!
//! Neither reads a clock, sleeps or locks: the caller says what time it is.

use std::time::Duration;

use crate::domain::{Timestamp, after};

/// What is looked at: the last ten seconds, one slot each.
const SLOTS: usize = 10;
/// A breaker judges nothing by fewer questions than these.
pub const LEAST_ASKED: u32 = 20;
/// The first pause.
pub const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How many questions go through after a pause; all of them have to be answered.
pub const PROBES: u32 = 3;

/// Stops and resumes asking. See the module.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    /// Grows with every change of state, so that an answer to a question of an earlier state changes nothing.
    era: u64,
}

#[derive(Debug)]
enum State {
    Closed(Counts),
    Open { until: Timestamp, pause: Duration },
    HalfOpen { unasked: u32, unanswered: u32, pause: Duration },
}

/// The phase of a [`Breaker`], for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Everybody asks.
    Closed,
    /// Nobody asks.
    Open,
    /// Probes ask.
    HalfOpen,
}

/// The right to ask one question. Goes back to [`Breaker::settle`] or [`Breaker::abandon`].
#[derive(Debug)]
#[must_use = "a probe that is never settled keeps the breaker half open"]
pub struct Permit {
    era: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed(Counts::default()), era: 0 }
    }
}

impl Breaker {
    /// May a question be asked now?
    ///
    /// # Errors
    /// For how long not, at least.
    pub fn permit(&mut self, now: Timestamp) -> Result<Permit, Duration> {
        if let State::Open { until, pause } = self.state {
            if now < until {
                return Err(left(until, now));
            }
            self.become_(State::HalfOpen { unasked: PROBES, unanswered: PROBES, pause });
        }
        match &mut self.state {
            State::HalfOpen { unasked: 0, pause, .. } => return Err(*pause),
            State::HalfOpen { unasked, .. } => *unasked -= 1,
            State::Closed(_) | State::Open { .. } => {}
        }
        Ok(Permit { era: self.era })
    }

    /// The question was answered, or got no answer.
    pub fn settle(&mut self, permit: Permit, now: Timestamp, answered: bool) {
        if permit.era != self.era {
            return;
        }
        match (&mut self.state, answered) {
            (State::Closed(counts), _) => {
                counts.add(now, answered);
                if counts.too_many(now) {
                    self.open(now, FIRST_PAUSE);
                }
            }
            (State::HalfOpen { unanswered, .. }, true) => {
                *unanswered -= 1;
                if *unanswered == 0 {
                    self.become_(State::Closed(Counts::default()));
                }
            }
            (State::HalfOpen { pause, .. }, false) => {
                let longer = (*pause * 2).min(LONGEST_PAUSE);
                self.open(now, longer);
            }
            (State::Open { .. }, _) => {}
        }
    }

    /// The question was not asked to its end, for a reason that says nothing about the server.
    pub fn abandon(&mut self, permit: Permit) {
        if let (State::HalfOpen { unasked, .. }, true) = (&mut self.state, permit.era == self.era) {
            *unasked += 1;
        }
    }

    /// The phase at `now`.
    pub fn phase(&self, now: Timestamp) -> Phase {
        match self.state {
            State::Closed(_) => Phase::Closed,
            State::Open { until, .. } if now < until => Phase::Open,
            State::Open { .. } | State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    fn open(&mut self, now: Timestamp, pause: Duration) {
        self.become_(State::Open { until: after(now, pause), pause });
    }

    fn become_(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

/// Questions and failures of the last [`SLOTS`] seconds.
#[derive(Debug, Default)]
struct Counts {
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: i64,
    asked: u32,
    failed: u32,
}

impl Counts {
    fn add(&mut self, now: Timestamp, answered: bool) {
        let second = now.as_second();
        let slot = &mut self.slots[second.rem_euclid(SLOTS as i64) as usize];
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        slot.asked += 1;
        slot.failed += u32::from(!answered);
    }

    /// Whether at least half of enough questions failed.
    fn too_many(&self, now: Timestamp) -> bool {
        let (asked, failed) = self.of_late(now);
        asked >= LEAST_ASKED && failed * 2 >= asked
    }

    fn of_late(&self, now: Timestamp) -> (u32, u32) {
        let late = now.as_second() - SLOTS as i64;
        let recent = self.slots.iter().filter(|slot| slot.second > late && slot.second <= now.as_second());
        recent.fold((0, 0), |(asked, failed), slot| (asked + slot.asked, failed + slot.failed))
    }
}

/// How many second tries there may be: a tenth of the questions, and three a second in any case.
#[derive(Debug)]
pub struct RetryBudget {
    /// In tenths of a retry.
    tenths: u32,
    filled: Timestamp,
}

/// A retry costs ten tenths, and a question brings one.
const RETRY: u32 = 10;
const LEAST_PER_SECOND: u32 = 3;
/// What can be saved up: ten seconds' worth of the least.
const MOST: u32 = RETRY * LEAST_PER_SECOND * 10;

impl RetryBudget {
    /// A budget that is full.
    pub fn new(now: Timestamp) -> Self {
        Self { tenths: MOST, filled: now }
    }

    /// A question is asked for the first time.
    pub fn asked(&mut self) {
        self.tenths = (self.tenths + 1).min(MOST);
    }

    /// May a question be asked a second time? Takes it from the budget.
    pub fn spend(&mut self, now: Timestamp) -> bool {
        let seconds = now.as_second().saturating_sub(self.filled.as_second()).clamp(0, 10) as u32;
        if seconds > 0 {
            self.filled = now;
            self.tenths = (self.tenths + seconds * LEAST_PER_SECOND * RETRY).min(MOST);
        }
        let enough = self.tenths >= RETRY;
        if enough {
            self.tenths -= RETRY;
        }
        enough
    }
}

fn left(until: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: f64) -> Timestamp {
        after(Timestamp::from_second(1_700_000_000).expect("valid"), Duration::from_secs_f64(seconds))
    }

    /// `count` questions, each asked and settled at `now`.
    fn ask(breaker: &mut Breaker, now: Timestamp, count: u32, answered: bool) {
        for _ in 0..count {
            if let Ok(permit) = breaker.permit(now) {
                breaker.settle(permit, now, answered);
            }
        }
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        ask(&mut breaker, at(0.0), LEAST_ASKED, false);
        assert_eq!(breaker.phase(at(0.0)), Phase::Open);
        breaker
    }

    #[test]
    fn opens_at_half_of_enough_questions_of_the_last_ten_seconds() {
        let mut breaker = Breaker::default();
        ask(&mut breaker, at(0.0), LEAST_ASKED - 1, false);
        assert_eq!(breaker.phase(at(0.0)), Phase::Closed, "too few to judge");
        ask(&mut breaker, at(10.0), 1, false);
        assert_eq!(breaker.phase(at(10.0)), Phase::Closed, "the others are ten seconds old");

        let mut breaker = Breaker::default();
        ask(&mut breaker, at(0.0), 11, true);
        ask(&mut breaker, at(9.0), 10, false);
        assert_eq!(breaker.phase(at(9.0)), Phase::Closed, "fewer than half");
        ask(&mut breaker, at(9.9), 1, false);
        assert_eq!(breaker.phase(at(9.9)), Phase::Open);
    }

    #[test]
    fn nobody_asks_while_it_is_open() {
        let mut breaker = opened();
        assert_eq!(breaker.permit(at(0.0)).err(), Some(FIRST_PAUSE));
        assert_eq!(breaker.permit(at(4.0)).err(), Some(Duration::from_secs(1)));
        assert!(breaker.permit(at(5.0)).is_ok());
        assert_eq!(breaker.phase(at(5.0)), Phase::HalfOpen);
    }

    #[test]
    fn closes_when_every_probe_is_answered_and_lets_no_more_through_meanwhile() {
        let mut breaker = opened();
        let probes: Vec<_> = (0..PROBES).map(|_| breaker.permit(at(5.0)).expect("a probe")).collect();
        assert!(breaker.permit(at(5.0)).is_err());
        for probe in probes {
            assert_eq!(breaker.phase(at(6.0)), Phase::HalfOpen);
            breaker.settle(probe, at(6.0), true);
        }
        assert_eq!(breaker.phase(at(6.0)), Phase::Closed);
        ask(&mut breaker, at(6.0), 1, false);
        assert_eq!(breaker.phase(at(6.0)), Phase::Closed, "what was before is forgotten");
    }

    #[test]
    fn one_probe_without_an_answer_doubles_the_pause_up_to_a_minute() {
        let mut breaker = opened();
        let mut now = 0.0;
        for pause in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
            now += pause;
            assert!(breaker.permit(at(now - 0.001)).is_err(), "{pause}");
            let (probe, late) = (breaker.permit(at(now)).expect("a probe"), breaker.permit(at(now)).expect("another"));
            breaker.settle(probe, at(now), false);
            breaker.settle(late, at(now), true);
            assert_eq!(breaker.phase(at(now)), Phase::Open, "an answer from before does not close it");
        }
    }

    #[test]
    fn a_probe_that_was_given_up_is_asked_again() {
        let mut breaker = opened();
        for _ in 0..10 {
            let probe = breaker.permit(at(5.0)).expect("a probe");
            breaker.abandon(probe);
        }
        ask(&mut breaker, at(5.0), PROBES, true);
        assert_eq!(breaker.phase(at(5.0)), Phase::Closed);
    }

    #[test]
    fn second_tries_are_a_tenth_or_three_a_second() {
        let mut budget = RetryBudget::new(at(0.0));
        let spent = |budget: &mut RetryBudget, now| (0..1000).filter(|_| budget.spend(now)).count();
        assert_eq!(spent(&mut budget, at(0.0)), 30);
        assert_eq!(spent(&mut budget, at(1.0)), 3);
        (0..100).for_each(|_| budget.asked());
        assert_eq!(spent(&mut budget, at(1.0)), 10);
        assert_eq!(spent(&mut budget, at(1000.0)), 30, "no more is saved up");
    }

    proptest! {
        /// Whatever happens, at most `PROBES` questions are under way after a pause, and a breaker is never stuck.
        #[test]
        fn never_stuck(deeds in proptest::collection::vec((0u8..4, 0u32..8), 1..200)) {
            let mut breaker = Breaker::default();
            let mut permits = Vec::new();
            let mut now = 0.0;
            for (deed, size) in deeds {
                match deed {
                    0 => permits.extend(breaker.permit(at(now))),
                    1 => now += f64::from(size),
                    2 if !permits.is_empty() => breaker.abandon(permits.remove(size as usize % permits.len())),
                    _ if !permits.is_empty() => {
                        let permit = permits.remove(size as usize % permits.len());
                        breaker.settle(permit, at(now), size % 3 == 0);
                    }
                    _ => {}
                }
            }
            permits.into_iter().for_each(|permit| breaker.abandon(permit));
            ask(&mut breaker, at(now + 60.0), PROBES, true);
            prop_assert_eq!(breaker.phase(at(now + 60.0)), Phase::Closed);
        }
    }
}
