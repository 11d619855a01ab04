//! A bounded memory in which everything has a life of its own.
//!
//! What must not push each other out is kept in pools of their own: who can fill one with refusals for nothing must not
//! cost others their good verdicts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, future::Cache};

use super::key::Key;
use crate::domain::{Clock, Timestamp, after};

/// See the module.
pub(super) struct Pool<V> {
    clock: Arc<dyn Clock>,
    cache: Cache<Key, Held<V>>,
}

/// A value with its end in the service's time. The cache drops it by its own clock as well, to give the memory back.
#[derive(Clone)]
struct Held<V> {
    value: V,
    fresh_until: Timestamp,
    life: Duration,
}

struct Life;

impl<V> Expiry<Key, Held<V>> for Life {
    fn expire_after_create(&self, _: &Key, held: &Held<V>, _: Instant) -> Option<Duration> {
        Some(held.life)
    }

    fn expire_after_update(&self, _: &Key, held: &Held<V>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(held.life)
    }
}

impl<V: Clone + Send + Sync + 'static> Pool<V> {
    /// Holds so many at most.
    pub(super) fn new(entries: u64, clock: Arc<dyn Clock>) -> Self {
        Self { clock, cache: Cache::builder().max_capacity(entries).expire_after(Life).build() }
    }

    /// What is kept under `key`, if it is still good.
    pub(super) async fn look(&self, key: &Key) -> Option<V> {
        let now = self.clock.now();
        self.cache.get(key).await.filter(|held| now < held.fresh_until).map(|held| held.value)
    }

    /// Keeps a value for as long; not at all if that is no time.
    pub(super) async fn keep(&self, key: Key, value: V, life: Duration) {
        if !life.is_zero() {
            let fresh_until = after(self.clock.now(), life);
            self.cache.insert(key, Held { value, fresh_until, life }).await;
        }
    }

    pub(super) async fn forget(&self, key: &Key) {
        self.cache.invalidate(key).await;
    }

    /// How many are held. A cache counts only what its housekeeping has seen, so that is done first.
    pub(super) async fn count(&self) -> u64 {
        self.cache.run_pending_tasks().await;
        self.cache.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::key::Keys, domain::SystemClock};

    #[tokio::test]
    async fn a_pool_never_holds_more_than_it_may() {
        let (pool, keys) = (Pool::new(100, Arc::new(SystemClock)), Keys::new());
        for number in 0..1000 {
            pool.keep(keys.key(&[&number.to_string()]), number, Duration::from_secs(60)).await;
            assert!(number % 100 != 0 || pool.count().await <= 100);
        }
        assert!(pool.count().await <= 100);
        pool.keep(keys.key(&["never"]), 0, Duration::ZERO).await;
        assert_eq!(pool.look(&keys.key(&["never"])).await, None);
    }
}
