//! Keys of which the identity server has just said that they sign nothing.
//!
//! Every signature under such a key is another proof, and each would be another question. The server says itself that its
//! refusal is about the key (`cache.scope`), and only of a key that is unknown, disabled or expired: a wrong signature
//! says nothing about its key, or whoever knows the name of a key could lock its owner out. What is remembered ends with
//! the next event that the server tells of its realm, here or at another node, and soon in any case.

use std::{sync::Arc, time::Duration};

use super::{
    identity::{Answer, Status, code},
    key::Key,
    meters::{Judged, Kept, Meters},
    pool::Pool,
    verdicts::{said, shortened},
};
use crate::{
    db::{Accounts, StoreError},
    domain::Clock,
};

const ENTRIES: u64 = 20_000;
/// The scope of a refusal that is about the key.
const SCOPE: &str = "api_key";
/// How long a key is refused if the answer does not say.
const LIFE_UNSAID: Duration = Duration::from_secs(10);
/// Bounds of what the answer may say, in seconds: a key that was just made must soon work.
const LIFE: std::ops::RangeInclusive<u64> = 1..=60;

/// See the module. Each is kept with the number of events that the server had told when it was asked.
pub(super) struct RefusedKeys {
    pool: Pool<u64>,
    meters: Arc<Meters>,
}

impl RefusedKeys {
    pub(super) fn new(clock: Arc<dyn Clock>, meters: Arc<Meters>) -> Self {
        Self { pool: Pool::new(ENTRIES, clock), meters }
    }

    /// Whether the key is one of them. The database is looked at only for those that seem to be.
    pub(super) async fn know(&self, key: Key, accounts: &dyn Accounts, realm: &str) -> Result<bool, StoreError> {
        let Some(as_of) = self.pool.look(&key).await else { return Ok(false) };
        if accounts.last_event(realm).await? > as_of {
            self.forget(key).await;
            return Ok(false);
        }
        self.meters.found.one((Judged::Identity, Kept::Key));
        Ok(true)
    }

    /// Heeds an answer that was asked for after so many events.
    pub(super) async fn heed(&self, key: Key, answer: &Answer, as_of: u64) {
        match life(answer, rand::random()) {
            Some(life) => {
                self.pool.keep(key, as_of, life).await;
                self.meters.kept.set((Judged::Identity, Kept::Key), self.pool.count().await);
            }
            None if answer.status == Status::Active => self.forget(key).await,
            None => {}
        }
    }

    async fn forget(&self, key: Key) {
        self.pool.forget(&key).await;
    }
}

/// For how long the answer refuses the key itself, if it does; `spread` shortens it as it does other lives.
fn life(answer: &Answer, spread: f64) -> Option<Duration> {
    let of_key = answer.cache.as_ref().is_some_and(|cache| cache.scope.as_deref() == Some(SCOPE));
    let about_key = matches!(answer.code.as_deref(), Some(code::UNKNOWN_KEY | code::KEY_DISABLED | code::KEY_EXPIRED));
    if answer.status != Status::Denied || !of_key || !about_key || answer.retry_after.is_some() {
        return None;
    }
    let bounded = |said: Duration| Duration::from_secs(said.as_secs().clamp(*LIFE.start(), *LIFE.end()));
    Some(shortened(said(answer)?.map_or(LIFE_UNSAID, bounded), spread))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::Cache;

    fn denied(code: &str, scope: Option<&str>, ttl_seconds: Option<u64>) -> Answer {
        let cache = Some(Cache { ttl_seconds, scope: scope.map(str::to_owned), vary: Vec::new() });
        Answer { code: Some(code.into()), cache, ..Answer::to("q", Status::Denied) }
    }

    #[test]
    fn only_what_the_server_says_of_the_key_is_held_against_it() {
        let secs = |answer: &Answer| life(answer, 0.0).map(|life| life.as_secs());
        for code in [code::UNKNOWN_KEY, code::KEY_DISABLED, code::KEY_EXPIRED] {
            let of_key = denied(code, Some("api_key"), None);
            assert_eq!(secs(&of_key), Some(10), "{code}");
            assert_eq!(life(&of_key, 1.0), Some(Duration::from_secs(9)), "{code}: spread");
            for (said, held) in [(0, None), (1, Some(1)), (60, Some(60)), (u64::MAX, Some(60))] {
                assert_eq!(secs(&denied(code, Some("api_key"), Some(said))), held, "{code}: {said} s");
            }
            for scope in [None, Some("proof"), Some("none"), Some("realm")] {
                assert_eq!(secs(&denied(code, scope, None)), None, "{code}: {scope:?}");
            }
            assert_eq!(secs(&Answer { retry_after: Some(1), ..of_key.clone() }), None, "{code}: not a denial");
            assert_eq!(secs(&Answer { status: Status::Active, ..of_key.clone() }), None, "{code}: active");
            let vary = Cache { vary: vec!["client_ip".into()], ..of_key.cache.clone().expect("set") };
            assert_eq!(secs(&Answer { cache: Some(vary), ..of_key }), None, "{code}: for one address");
        }
        for code in [code::INVALID_SIGNATURE, code::USER_DISABLED, code::REPLAYED, "some_new_code"] {
            assert_eq!(secs(&denied(code, Some("api_key"), None)), None, "{code}");
        }
    }
}
