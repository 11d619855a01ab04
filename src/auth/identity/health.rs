//! How an identity server is, as those who ask it see it. Nobody asks it for the sake of this.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    auth::breaker::Phase,
    domain::{Clock, Timestamp},
};

/// How an identity server is.
#[derive(Debug, Clone)]
pub struct Health {
    /// The realm of its users.
    pub realm: String,
    /// Scheme, host and port.
    pub server: String,
    /// Whether it is asked.
    pub breaker: Phase,
    /// Questions under way.
    pub under_way: u64,
    /// Questions that wait for their turn.
    pub waiting: u64,
    /// When it last answered, whatever it answered.
    pub last_answer: Option<Timestamp>,
    /// When it last gave no answer to a question.
    pub last_failure: Option<Failure>,
}

/// A question without an answer.
#[derive(Debug, Clone)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Why, as in the log.
    pub reason: String,
}

/// What became of the last questions.
pub(super) struct Record {
    clock: Arc<dyn Clock>,
    last: Mutex<(Option<Timestamp>, Option<Failure>)>,
}

impl Record {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::default() }
    }

    pub(super) fn answered(&self) {
        self.lock().0 = Some(self.clock.now());
    }

    pub(super) fn failed(&self, reason: &str) {
        self.lock().1 = Some(Failure { at: self.clock.now(), reason: reason.to_owned() });
    }

    pub(super) fn last(&self) -> (Option<Timestamp>, Option<Failure>) {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Option<Timestamp>, Option<Failure>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
