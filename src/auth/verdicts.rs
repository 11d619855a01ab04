//! Verdicts on proofs, remembered for a short while, and asked for once however many wait.
//!
//! Promises: a verdict is found again only under exactly the inputs it was given for; refusals live in a pool of their
//! own, so that a flood of bad proofs cannot push out good ones; "cannot check" is never remembered. A question runs in
//! a task of its own: callers who leave do not end it for the others, and a panic in it is "cannot check" for all.
//!
//! What is deliberately not remembered: permission. The window, the account's state and the rules of reuse are looked
//! at on every request (`desk`, `federated`).

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tracing::Instrument as _;

pub use super::key::Key;
pub(super) use super::key::length_prefixed;
use super::{
    identity,
    key::Keys,
    meters::{Judged, Kept, Meters, Source},
    pool::Pool,
};
use crate::{
    domain::{
        Clock, Timestamp,
        principal::{Limits, User},
    },
    worker::Tasks,
};

const POSITIVE_ENTRIES: u64 = 100_000;
const NEGATIVE_ENTRIES: u64 = 20_000;
/// Longest life of a positive verdict: how long a revoked key may go on.
pub const POSITIVE_LIFE: Duration = Duration::from_secs(60);
/// Life of a positive verdict if the answer does not say.
pub const POSITIVE_LIFE_UNSAID: Duration = Duration::from_secs(30);
/// Life of a refusal if the answer does not say.
pub const NEGATIVE_LIFE_UNSAID: Duration = Duration::from_secs(5);
/// Bounds of the life of a refusal that the answer says: short, because a key that was just made must soon work.
pub const NEGATIVE_LIFE: std::ops::RangeInclusive<u64> = 1..=30;

/// What is known of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Proven(Arc<Proven>),
    /// It does not admit.
    Refused(Refusal),
    /// Nothing.
    CannotCheck,
}

impl Verdict {
    /// Whether the proof was looked at and is not right. One of a disabled user is right.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Invalid | Refusal::Stale | Refusal::Replayed))
    }
}

/// Whose proof it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Proven {
    /// The local user, provisioned.
    pub user: User,
    /// What the identity server allows.
    pub limits: Limits,
    /// How many events the identity server had told when it was asked.
    pub as_of: u64,
}

/// Why a proof does not admit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong, unknown, expired: one public answer.
    Invalid,
    /// Right, but user or key is disabled.
    Disabled,
    /// The identity server finds the signed time too far off.
    Stale,
    /// The identity server has seen the proof before.
    Replayed,
    /// The key asks for a stronger signature scheme.
    SchemeNotAllowed,
    /// Too many wrong ones came before it; it was not judged.
    TooMany,
}

/// A verdict and how long it may be repeated; `None`: not at all.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The verdict.
    pub verdict: Verdict,
    /// Its life.
    pub life: Option<Duration>,
}

impl Settled {
    /// The verdict that is never remembered.
    pub fn cannot_check() -> Self {
        Self { verdict: Verdict::CannotCheck, life: None }
    }
}

type Flight = Shared<BoxFuture<'static, Verdict>>;

/// Remembers verdicts. See the module.
pub struct Verdicts {
    keys: Keys,
    tasks: Tasks,
    board: Arc<Board>,
}

struct Board {
    judged: Judged,
    meters: Arc<Meters>,
    positive: Pool<Verdict>,
    negative: Pool<Verdict>,
    flights: Mutex<HashMap<Key, Flight>>,
}

impl Verdicts {
    /// Remembers nothing yet.
    pub fn new(clock: Arc<dyn Clock>, tasks: Tasks, judged: Judged, meters: Arc<Meters>) -> Self {
        let board = Board {
            judged,
            meters,
            positive: Pool::new(POSITIVE_ENTRIES, clock.clone()),
            negative: Pool::new(NEGATIVE_ENTRIES, clock),
            flights: Mutex::default(),
        };
        Self { keys: Keys::new(), tasks, board: Arc::new(board) }
    }

    /// The name of these inputs. Every input that can change the verdict must be among them: one left out is a verdict
    /// given to somebody else (the CVE-2021-32701 class).
    pub fn key(&self, inputs: &[&str]) -> Key {
        self.keys.key(inputs)
    }

    /// The verdict under `key`: remembered, or found by `ask`, which runs at most once at a time for each `flight`.
    ///
    /// `flight` names, besides the proof, whatever else the question carries: an answer that must not be repeated must
    /// not be shared either with a request that it was not given for.
    pub fn settle(
        &self,
        key: Key,
        flight: Key,
        ask: impl Future<Output = Settled> + Send + 'static,
    ) -> impl Future<Output = Verdict> {
        // Most verdicts are remembered: nobody who looks for one should be as large as the question.
        let ask = ask.boxed();
        async move {
            if let Some(verdict) = self.remembered(key).await {
                return verdict;
            }
            let Board { judged, meters, .. } = &*self.board;
            let begun = tokio::time::Instant::now();
            meters.missed.one(*judged);
            let verdict = self.join(key, flight, ask).await;
            meters.gate.seconds.since(judged.source(), begun);
            verdict
        }
    }

    /// The verdict under `key`, if there is one that is still good.
    pub async fn remembered(&self, key: Key) -> Option<Verdict> {
        let Board { judged, meters, .. } = &*self.board;
        let begun = tokio::time::Instant::now();
        let verdict = self.board.look(&key).await?;
        if let Some(kept) = Kept::of(&verdict) {
            meters.found.one((*judged, kept));
        }
        meters.gate.seconds.since(Source::Cache, begun);
        Some(verdict)
    }

    /// Forgets the verdict under `key`.
    pub(super) async fn forget(&self, key: Key) {
        self.board.positive.forget(&key).await;
    }

    fn join<F>(&self, key: Key, flight: Key, ask: F) -> Flight
    where
        F: Future<Output = Settled> + Send + 'static,
    {
        let mut flights = self.board.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || {
            let task = self.tasks.spawn(fly(self.board.clone(), key, flight, ask).in_current_span());
            async move { task.await.unwrap_or(Verdict::CannotCheck) }.boxed().shared()
        };
        match flights.entry(flight) {
            Entry::Occupied(under_way) => {
                self.board.meters.shared.one(self.board.judged);
                under_way.get().clone()
            }
            Entry::Vacant(free) => free.insert(begin()).clone(),
        }
    }
}

async fn fly(board: Arc<Board>, key: Key, flight: Key, ask: impl Future<Output = Settled>) -> Verdict {
    // Made here and not by the caller: a runtime that shuts down drops a new task at once, under the caller's lock.
    let _landing = Landing { board: &board, flight };
    // Between a caller's look and this flight, another one may have landed.
    if let Some(verdict) = board.look(&key).await {
        return verdict;
    }
    let settled = ask.await;
    board.keep(key, &settled).await;
    settled.verdict
}

/// Takes the flight off the board, also when it ends in a panic.
struct Landing<'a> {
    board: &'a Board,
    flight: Key,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.board.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.flight);
    }
}

impl Board {
    async fn look(&self, key: &Key) -> Option<Verdict> {
        match self.positive.look(key).await {
            Some(verdict) => Some(verdict),
            None => self.negative.look(key).await,
        }
    }

    async fn keep(&self, key: Key, settled: &Settled) {
        let Some(life) = settled.life else { return };
        match settled.verdict {
            Verdict::Proven(_) => self.positive.keep(key, settled.verdict.clone(), life).await,
            Verdict::Refused(_) => self.negative.keep(key, settled.verdict.clone(), life).await,
            Verdict::CannotCheck => {}
        }
        // After a question, which cost far more.
        for (kept, pool) in [(Kept::Proven, &self.positive), (Kept::Refused, &self.negative)] {
            self.meters.kept.set((self.judged, kept), pool.count().await);
        }
    }
}

/// How long a positive verdict is repeated: at most what the answer says, what the key and the window have left, and
/// [`POSITIVE_LIFE`]; shortened by up to a tenth.
pub fn positive_life(answer: &identity::Answer, left: Duration, now: Timestamp, spread: f64) -> Option<Duration> {
    let said = said(answer)?.unwrap_or(POSITIVE_LIFE_UNSAID);
    let key_end = answer.key.as_ref().and_then(|key| key.expires_at).unwrap_or(Timestamp::MAX);
    let key_left = Duration::try_from(key_end.duration_since(now)).unwrap_or(Duration::ZERO);
    let life = shortened(said.min(POSITIVE_LIFE).min(left).min(key_left), spread);
    (!life.is_zero()).then_some(life)
}

/// How long a refusal is repeated; shortened by up to a tenth.
pub fn negative_life(answer: &identity::Answer, spread: f64) -> Option<Duration> {
    let bounded = |said: Duration| said.as_secs().clamp(*NEGATIVE_LIFE.start(), *NEGATIVE_LIFE.end());
    let life = said(answer)?.map_or(NEGATIVE_LIFE_UNSAID, |said| Duration::from_secs(bounded(said)));
    Some(shortened(life, spread))
}

/// `spread` of 0 to 1 shortens a life by up to a tenth, so that what came together does not end together.
pub(super) fn shortened(life: Duration, spread: f64) -> Duration {
    life.mul_f64(1.0 - spread.clamp(0.0, 1.0) / 10.0)
}

/// What the answer says about its life. Outer `None`: it must not be repeated at all.
pub(super) fn said(answer: &identity::Answer) -> Option<Option<Duration>> {
    let Some(cache) = &answer.cache else { return Some(None) };
    let repeatable = cache.ttl_seconds != Some(0) && cache.scope.as_deref() != Some("none") && cache.vary.is_empty();
    repeatable.then(|| cache.ttl_seconds.map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::{Answer, Cache as Said, Key as SigningKey, Status, VERSION};
    use crate::domain::{SystemClock, after};
    use proptest::prelude::*;

    fn verdicts() -> Verdicts {
        Verdicts::new(Arc::new(SystemClock), Tasks::new(), Judged::Local, Arc::default())
    }

    fn answer(ttl_seconds: Option<u64>, scope: Option<&str>, expires_at: Option<Timestamp>) -> Answer {
        Answer {
            version: VERSION.into(),
            request_id: "q".into(),
            status: Status::Active,
            user: None,
            key: expires_at.map(|at| SigningKey { expires_at: Some(at), ..SigningKey::default() }),
            limits: None,
            cache: Some(Said { ttl_seconds, scope: scope.map(str::to_owned), vary: Vec::new() }),
            code: None,
            message: None,
            retry_after: None,
        }
    }

    #[test]
    fn lives() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |secs| Some(after(now, Duration::from_secs(secs)));
        let secs = |life: Option<Duration>| life.map(|life| life.as_secs());
        let long = Duration::from_secs(300);
        let positive = |answer: &Answer, left| secs(positive_life(answer, left, now, 0.0));
        assert_eq!(positive(&Answer { cache: None, ..answer(None, None, None) }, long), Some(30));
        assert_eq!(positive(&answer(None, Some("proof"), None), long), Some(30));
        assert_eq!(positive(&answer(Some(10), None, None), long), Some(10));
        assert_eq!(positive(&answer(Some(u64::MAX), None, None), long), Some(60));
        assert_eq!(positive(&answer(Some(50), None, None), Duration::from_secs(7)), Some(7));
        assert_eq!(positive(&answer(Some(50), None, at(3)), long), Some(3));
        assert_eq!(positive(&answer(Some(50), None, at(0)), long), None);
        assert_eq!(positive(&answer(Some(0), None, None), long), None);
        assert_eq!(positive(&answer(Some(9), Some("none"), None), long), None);
        assert_eq!(secs(positive_life(&answer(Some(50), None, None), long, now, 1.0)), Some(45));
        let negative = |ttl| secs(negative_life(&answer(ttl, None, None), 0.0));
        assert_eq!([negative(None), negative(Some(0)), negative(Some(1))], [Some(5), None, Some(1)]);
        assert_eq!(negative(Some(u64::MAX)), Some(30));
        assert_eq!(negative_life(&answer(Some(20), None, None), 1.0), Some(Duration::from_secs(18)));
    }

    #[tokio::test]
    async fn a_panic_is_no_verdict_and_ends_the_flight() {
        let verdicts = verdicts();
        let key = verdicts.key(&["a"]);
        let broken = verdicts.settle(key, key, async { panic!("on purpose") }).await;
        assert_eq!(broken, Verdict::CannotCheck);
        let refused = Settled { verdict: Verdict::Refused(Refusal::Invalid), life: Some(NEGATIVE_LIFE_UNSAID) };
        let settled = verdicts.settle(key, key, async { refused }).await;
        assert_eq!(settled, Verdict::Refused(Refusal::Invalid));
        assert_eq!(verdicts.settle(key, key, async { unreachable!("remembered") }).await, settled);
        assert!(verdicts.board.flights.lock().expect("no panic").is_empty());
    }

    #[tokio::test]
    async fn a_flood_of_refusals_costs_no_proof_its_verdict() {
        let verdicts = verdicts();
        let user = User { id: crate::domain::UserId::new(), realm: "r".into(), username: "ann".into(), epoch: 0 };
        let proven = Verdict::Proven(Arc::new(Proven { user, limits: Limits::default(), as_of: 0 }));
        let good = verdicts.key(&["good"]);
        let kept = Settled { verdict: proven.clone(), life: Some(POSITIVE_LIFE) };
        verdicts.settle(good, good, async { kept }).await;
        let refused = Settled { verdict: Verdict::Refused(Refusal::Invalid), life: Some(Duration::from_secs(30)) };
        for number in 0..NEGATIVE_ENTRIES + 1000 {
            verdicts
                .board
                .negative
                .keep(verdicts.key(&[&number.to_string()]), refused.verdict.clone(), POSITIVE_LIFE)
                .await;
        }
        verdicts.board.keep(verdicts.key(&["last"]), &refused).await;
        assert!(verdicts.board.negative.count().await <= NEGATIVE_ENTRIES);
        assert_eq!(verdicts.board.positive.count().await, 1);
        assert_eq!(verdicts.settle(good, good, async { unreachable!("remembered") }).await, proven);
    }

    proptest! {
        #[test]
        fn no_bound_is_ever_exceeded(ttl: u64, left in 0u64..400, key in 0u64..400, spread: f64) {
            let now = Timestamp::UNIX_EPOCH;
            let answer = answer(Some(ttl), None, Some(after(now, Duration::from_secs(key))));
            let bound = Duration::from_secs(ttl.min(60).min(left).min(key));
            let spread = if spread.is_nan() { 0.5 } else { spread };
            prop_assert!(positive_life(&answer, Duration::from_secs(left), now, spread).unwrap_or_default() <= bound);
        }
    }
}
