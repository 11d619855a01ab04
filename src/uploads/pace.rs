//! The pace of each user's requests, where the identity server bounds it.
//!
//! Counted in this process alone: the limit keeps one user from crowding out the others here, and a count that nodes
//! share would cost every request a write. Looking and cancelling are never held up, so that a client that was slowed
//! can find out where its upload stands.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{UploadError, Uploads};
use crate::domain::{
    Timestamp, UserId, limits,
    principal::Principal,
    upload::{Refusal, Upload},
};

/// So many users are remembered before those are forgotten who are within their pace again.
const LOOK_AT: usize = 1024;

/// Until when each user's requests have used up their shares of a minute.
#[derive(Default)]
pub(super) struct Pace(Mutex<HashMap<UserId, Timestamp>>);

impl Pace {
    /// Lets one request of the user go on, or says how long it has to wait.
    fn take(&self, user: UserId, per_minute: u64, now: Timestamp) -> Result<(), Duration> {
        let mut paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = limits::pace(paid.get(&user).copied(), per_minute, now)?;
        if paid.len() >= LOOK_AT && paid.len() == paid.capacity() {
            paid.retain(|_, until| *until > now);
        }
        paid.insert(user, next);
        Ok(())
    }
}

impl Uploads {
    /// May a request that begins an upload go on?
    pub(super) fn pace_beginning(&self, by: &Principal) -> Result<(), UploadError> {
        self.pace(by, by.limits.requests_per_minute, |wait_seconds| Refusal::TooManyRequests { wait_seconds })
    }

    /// May a request that adds to an upload, or completes it, go on? Never answered as [`Refusal::TooManyRequests`]:
    /// clients of tus take every 4xx for the end of the upload and forget where it stood.
    pub(super) fn pace_known(&self, by: &Principal, upload: &Upload) -> Result<(), UploadError> {
        let per_minute = upload.kept.and(&by.limits).requests_per_minute;
        self.pace(by, per_minute, |wait_seconds| Refusal::SlowDown { wait_seconds })
    }

    fn pace(
        &self,
        by: &Principal,
        per_minute: Option<u64>,
        refusal: impl Fn(u64) -> Refusal,
    ) -> Result<(), UploadError> {
        let (Some(per_minute), Some(user)) = (per_minute, &by.user) else { return Ok(()) };
        let taken = self.parts.pace.take(user.id, per_minute, self.now());
        taken.map_err(|wait| refusal(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_who_are_within_their_pace_are_forgotten() {
        let pace = Pace::default();
        let (now, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(3600).expect("in range"));
        let remembered = || pace.0.lock().expect("no panic").len();
        for _ in 0..10 * LOOK_AT {
            assert!(pace.take(UserId::new(), 1, now).is_ok());
        }
        assert_eq!(remembered(), 10 * LOOK_AT, "none of them may go on yet");
        for _ in 0..10 * LOOK_AT {
            assert!(pace.take(UserId::new(), 1, later).is_ok());
        }
        assert!(remembered() < 20 * LOOK_AT);
    }
}
