//! Slows those who try credentials.
//!
//! Two leaking buckets of failures: one per client address, which when full has further failures answered "too many";
//! one per user name, which when full makes every further failure wait. Neither ever refuses a right proof by its name:
//! whoever could fill another's bucket could lock the other out. Both are bounded in number; the least used is forgotten
//! first, which costs an attacker as many addresses as there are buckets.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::sync::Cache;

use super::{
    AuthError,
    meters::{Meters, Slowed},
    verdicts::{Key, Refusal, Settled, Verdict},
};
use crate::domain::{Clock, Timestamp};

/// Failures a minute from one address.
const PER_ADDRESS: f64 = 10.0;
/// Failures a minute under one name.
const PER_NAME: f64 = 30.0;
const BUCKETS: u64 = 20_000;
/// How long a failure under a full name waits for its answer.
const DELAY: Duration = Duration::from_secs(1);
/// After this time without a failure every bucket is empty.
const MINUTE: Duration = Duration::from_secs(60);

/// The failures of late.
pub struct Throttle {
    clock: Arc<dyn Clock>,
    addresses: Buckets<Option<IpAddr>>,
    names: Buckets<String>,
    under_way: Mutex<HashMap<GuessId, Judged>>,
    meters: Arc<Meters>,
}

/// One proof from one address.
type GuessId = (Key, Option<IpAddr>);

/// A guess that is being judged.
struct Judged {
    /// How many requests have it judged.
    requests: usize,
    wrong: bool,
    pace: Pace,
}

/// What becomes of the answer to a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    /// It is given.
    Free,
    /// It is given after this time.
    Slow(Duration),
}

impl Throttle {
    /// Nobody has failed yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (addresses, names) = (Buckets::new(PER_ADDRESS), Buckets::new(PER_NAME));
        Self { clock, addresses, names, under_way: Mutex::default(), meters: Arc::default() }
    }

    /// The same, counting there.
    #[must_use]
    pub fn counting(self, meters: Arc<Meters>) -> Self {
        Self { meters, ..self }
    }

    /// Has a guess judged at its pace; too many are not judged. It is counted before, and taken back unless it was wrong.
    pub(super) async fn judged(
        &self,
        proof: Key,
        from: Option<IpAddr>,
        name: &str,
        judging: impl Future<Output = Settled>,
    ) -> Settled {
        let Ok(mut guess) = self.begin((proof, from), name) else {
            return Settled { verdict: Verdict::Refused(Refusal::TooMany), life: None };
        };
        wait(guess.pace).await;
        let settled = judging.await;
        guess.wrong = settled.verdict.is_wrong();
        settled
    }

    /// The answer to a wrong proof that took no work to recognise.
    pub(super) async fn refuse(&self, from: Option<IpAddr>, name: &str) -> AuthError {
        if self.check(from).is_err() {
            return self.too_many(from);
        }
        wait(self.failed(from, name)).await;
        AuthError::Invalid
    }

    /// The answer to a guess that was not judged.
    pub(super) fn too_many(&self, from: Option<IpAddr>) -> AuthError {
        self.meters.gate.slowed.one(Slowed::Refused);
        AuthError::RateLimited { retry_after: self.check(from).err().unwrap_or(DELAY) }
    }

    /// Counts a guess, once however many requests bring it at the same time: a client that begins twenty uploads with
    /// one right password makes one guess.
    fn begin<'a>(&'a self, id: GuessId, name: &'a str) -> Result<Guess<'a>, Duration> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = match under_way.get_mut(&id) {
            Some(judged) => {
                judged.requests += 1;
                judged.pace
            }
            None => {
                let pace = self.reserve(id.1, name)?;
                under_way.insert(id, Judged { requests: 1, wrong: false, pace });
                pace
            }
        };
        Ok(Guess { throttle: self, id, name, pace, wrong: false })
    }

    fn end(&self, guess: &Guess<'_>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(judged) = under_way.get_mut(&guess.id) else { return };
        judged.requests -= 1;
        judged.wrong |= guess.wrong;
        if judged.requests > 0 {
            return;
        }
        if !judged.wrong {
            self.refund(guess.id.1, guess.name);
        }
        under_way.remove(&guess.id);
    }

    /// Whether more failures from this address are heard.
    ///
    /// # Errors
    /// When to come back.
    fn check(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        self.addresses.room(&address.map(network), self.clock.now())
    }

    /// Counts a failure.
    fn failed(&self, address: Option<IpAddr>, name: &str) -> Pace {
        let now = self.clock.now();
        self.addresses.fill(address.map(network), now);
        self.counted(name, now)
    }

    /// Counts a guess as failed before it is judged, so that many at once are no more than many in a row; how fast it may
    /// be judged.
    ///
    /// # Errors
    /// When there is room for another.
    fn reserve(&self, address: Option<IpAddr>, name: &str) -> Result<Pace, Duration> {
        let now = self.clock.now();
        self.addresses.take(address.map(network), now)?;
        Ok(self.counted(name, now))
    }

    /// Takes a counted guess back: it was right, or was not judged.
    fn refund(&self, address: Option<IpAddr>, name: &str) {
        let now = self.clock.now();
        self.addresses.give_back(&address.map(network), now);
        self.names.give_back(name, now);
    }

    /// Counts a failure under a name.
    fn counted(&self, name: &str, now: Timestamp) -> Pace {
        let pace = self.names.room(name, now).map_or(Pace::Slow(DELAY), |()| Pace::Free);
        self.names.fill(name.to_owned(), now);
        if pace != Pace::Free {
            self.meters.gate.slowed.one(Slowed::Delayed);
        }
        pace
    }
}

/// One request's part in a guess. It ends with it, whatever becomes of the judging.
struct Guess<'a> {
    throttle: &'a Throttle,
    id: GuessId,
    name: &'a str,
    pace: Pace,
    wrong: bool,
}

impl Drop for Guess<'_> {
    fn drop(&mut self) {
        self.throttle.end(self);
    }
}

async fn wait(pace: Pace) {
    if let Pace::Slow(delay) = pace {
        tokio::time::sleep(delay).await;
    }
}

/// The network that one customer has: an address of IPv4, a /64 of IPv6.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Buckets that leak as many failures a minute as they hold.
pub(super) struct Buckets<K> {
    capacity: f64,
    levels: Cache<K, Arc<Mutex<Level>>>,
}

#[derive(Clone, Copy)]
struct Level {
    failures: f64,
    at: Timestamp,
}

impl<K: std::hash::Hash + Eq + Send + Sync + 'static> Buckets<K> {
    /// One failure more if there is room for it, looked at and filled in one step.
    fn take(&self, key: K, now: Timestamp) -> Result<(), Duration> {
        let level = self.levels.get_with(key, || Arc::new(Mutex::new(Level { failures: 0.0, at: now })));
        let mut level = level.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = self.leaked(*level, now);
        self.beside(failures)?;
        *level = Level { failures: failures + 1.0, at: now };
        Ok(())
    }

    /// Whether one more failure fits beside so many; else when it will.
    fn beside(&self, failures: f64) -> Result<(), Duration> {
        let excess = failures + 1.0 - self.capacity;
        if excess <= 0.0 { Ok(()) } else { Err(MINUTE.mul_f64((excess / self.capacity).min(1.0))) }
    }

    /// One failure less.
    fn give_back<Q>(&self, key: &Q, now: Timestamp)
    where
        Q: std::hash::Hash + Eq + ?Sized,
        K: std::borrow::Borrow<Q>,
    {
        let Some(level) = self.levels.get(key) else { return };
        let mut level = level.lock().unwrap_or_else(PoisonError::into_inner);
        *level = Level { failures: (self.leaked(*level, now) - 1.0).max(0.0), at: now };
    }

    pub(super) fn new(capacity: f64) -> Self {
        Self { capacity, levels: Cache::builder().max_capacity(BUCKETS).time_to_idle(2 * MINUTE).build() }
    }

    /// Whether there is room for one failure more; else when there will be.
    pub(super) fn room<Q>(&self, key: &Q, now: Timestamp) -> Result<(), Duration>
    where
        Q: std::hash::Hash + Eq + ?Sized,
        K: std::borrow::Borrow<Q>,
    {
        let Some(level) = self.levels.get(key) else { return Ok(()) };
        self.beside(self.leaked(*level.lock().unwrap_or_else(PoisonError::into_inner), now))
    }

    /// One failure more, whether or not there is room for it.
    pub(super) fn fill(&self, key: K, now: Timestamp) {
        let level = self.levels.get_with(key, || Arc::new(Mutex::new(Level { failures: 0.0, at: now })));
        let mut level = level.lock().unwrap_or_else(PoisonError::into_inner);
        *level = Level { failures: (self.leaked(*level, now) + 1.0).min(self.capacity), at: now };
    }

    fn leaked(&self, level: Level, now: Timestamp) -> f64 {
        let passed = now.duration_since(level.at).as_secs_f64().max(0.0);
        (level.failures - passed * self.capacity / MINUTE.as_secs_f64()).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct Still(AtomicI64);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.load(Ordering::SeqCst)).expect("near")
        }
    }

    fn throttle() -> (Throttle, Arc<Still>) {
        let clock = Arc::new(Still(AtomicI64::new(1_700_000_000)));
        (Throttle::new(clock.clone()), clock)
    }

    #[test]
    fn an_address_has_ten_failures_a_minute() {
        let (throttle, clock) = throttle();
        let (one, other) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        for _ in 0..10 {
            assert_eq!(throttle.check(one), Ok(()));
            throttle.failed(one, "ann");
        }
        assert_eq!(throttle.check(one), Err(Duration::from_secs(6)));
        assert_eq!(throttle.check(other), Ok(()));
        clock.0.fetch_add(6, Ordering::SeqCst);
        assert_eq!(throttle.check(one), Ok(()));
        throttle.failed(one, "ann");
        assert!(throttle.check(one).is_err());
        clock.0.fetch_add(60, Ordering::SeqCst);
        assert_eq!(throttle.check(one), Ok(()));
    }

    #[test]
    fn a_name_slows_after_thirty() {
        let (throttle, _) = throttle();
        let from = |at: u8| Some(IpAddr::from([10, 0, 0, at]));
        assert!((0..30).all(|at| throttle.failed(from(at), "ann") == Pace::Free));
        assert_eq!(throttle.failed(from(30), "ann"), Pace::Slow(DELAY));
        assert_eq!(throttle.reserve(from(31), "ann"), Ok(Pace::Slow(DELAY)));
        assert_eq!(throttle.reserve(from(31), "bob"), Ok(Pace::Free));
    }

    #[test]
    fn a_network_is_one_address() {
        let at = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(at("2001:db8:0:1::1"), at("2001:db8:0:1:ffff::2"));
        assert_ne!(at("2001:db8:0:1::1"), at("2001:db8:0:2::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }

    #[test]
    fn a_guess_is_counted_before_it_is_judged() {
        let (throttle, _) = throttle();
        let from = Some(IpAddr::from([10, 0, 0, 1]));
        assert!((0..10).all(|_| throttle.reserve(from, "ann").is_ok()));
        assert!(throttle.reserve(from, "bob").is_err(), "ten are under way");
        throttle.refund(from, "ann");
        assert!(throttle.reserve(from, "bob").is_ok());
    }
}
