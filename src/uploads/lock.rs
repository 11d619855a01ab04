//! One lock per upload, in this process.
//!
//! Whoever wants to write, finish, cancel or collect an upload holds its lock. A newcomer to a held lock either asks the
//! holder to let go at once (the usual holder is the same client's half-dead connection) or waits, and asks only a
//! holder that stopped making progress. Waiting is bounded; what happens then is the caller's [`Contention`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::domain::UploadId;

/// How long a newcomer waits at most that asks only holders who stall.
const PATIENCE: Duration = Duration::from_secs(5);
/// A holder that took in nothing for so long may be asked to let go by anybody.
const STALLED: Duration = Duration::from_secs(2);
/// How long a streaming holder may take in nothing before its successor asks for the lock: longer than the gaps in a
/// body that flows, and nothing to a client that comes back to a dead connection.
const LULL: Duration = Duration::from_millis(50);
/// How long a reader waits at most for the holder's commit.
const PROMPT: Duration = Duration::from_secs(2);
/// How long a newcomer waits at most that asks every holder: each gets the time to commit what it has.
const GRACE: Duration = Duration::from_secs(10);

/// What a newcomer may do to the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contention {
    /// Wait; ask a holder to let go only when it no longer makes progress. For doors whose chunks are whole requests.
    Wait,
    /// Ask a holder to let go that takes in nothing for a moment. For doors that stream: the usual holder is the same
    /// client's dead connection, and of two requests that live the older one goes on.
    Succeed,
    /// Ask the holder to let go at once. For cancelling.
    TakeOver,
}

impl Contention {
    /// How long a holder may take in nothing before it is asked.
    fn lull(self) -> Duration {
        match self {
            Self::Wait => STALLED,
            Self::Succeed => LULL,
            Self::TakeOver => Duration::ZERO,
        }
    }

    fn patience(self) -> Duration {
        match self {
            Self::Wait => PATIENCE,
            Self::Succeed | Self::TakeOver => GRACE,
        }
    }
}

/// The locks of all uploads that are being worked on. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Locks {
    held: Arc<Mutex<HashMap<UploadId, Arc<Slot>>>>,
}

#[derive(Debug)]
struct Slot {
    let_go: CancellationToken,
    to_commit: Notify,
    committed: Notify,
    released: Notify,
    progress: Mutex<Instant>,
    is_at_work: AtomicBool,
}

/// A held lock. Dropping it releases the lock.
#[derive(Debug)]
pub(super) struct Guard {
    id: UploadId,
    slot: Arc<Slot>,
    locks: Locks,
}

impl Locks {
    /// The lock, if nobody holds it.
    pub(super) fn try_acquire(&self, id: UploadId) -> Option<Guard> {
        let mut held = self.table();
        if held.contains_key(&id) {
            return None;
        }
        let slot = Arc::new(Slot {
            let_go: CancellationToken::new(),
            to_commit: Notify::new(),
            committed: Notify::new(),
            released: Notify::new(),
            progress: Mutex::new(Instant::now()),
            is_at_work: AtomicBool::new(false),
        });
        held.insert(id, slot.clone());
        Some(Guard { id, slot, locks: self.clone() })
    }

    /// The lock, waiting for a holder as `contention` says; `None` if it did not let go in time.
    pub(super) async fn acquire(&self, id: UploadId, contention: Contention) -> Option<Guard> {
        let until = Instant::now() + contention.patience();
        loop {
            let Some(slot) = self.holder(id) else {
                match self.try_acquire(id) {
                    Some(guard) => return Some(guard),
                    None => continue,
                }
            };
            // Asked again and again where several wait: the one who let go may be followed by another.
            let asked = slot.quiet() >= contention.lull();
            if asked {
                slot.let_go.cancel();
            }
            let released = slot.released.notified();
            if !self.is_held_by(id, &slot) {
                continue;
            }
            let look_again = until.min(Instant::now() + if asked { STALLED } else { contention.lull() });
            if tokio::time::timeout_at(look_again, released).await.is_err() && Instant::now() >= until {
                return None;
            }
        }
    }

    /// Has the holder commit what arrived; `false`: nobody holds the lock. Takes no lock, and waits no longer than a
    /// sound disk needs.
    pub(super) async fn commit(&self, id: UploadId) -> bool {
        let Some(slot) = self.holder(id) else { return false };
        let mut committed = std::pin::pin!(slot.committed.notified());
        committed.as_mut().enable();
        slot.to_commit.notify_one();
        if self.is_held_by(id, &slot) {
            let _ = tokio::time::timeout(PROMPT, committed).await;
        }
        true
    }

    /// How many uploads are being worked on.
    pub(super) fn count(&self) -> usize {
        self.table().len()
    }

    /// Whether somebody works on the upload.
    pub(super) fn is_held(&self, id: UploadId) -> bool {
        self.holder(id).is_some()
    }

    fn holder(&self, id: UploadId) -> Option<Arc<Slot>> {
        self.table().get(&id).cloned()
    }

    fn is_held_by(&self, id: UploadId, slot: &Arc<Slot>) -> bool {
        self.table().get(&id).is_some_and(|holder| Arc::ptr_eq(holder, slot))
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Slot>>> {
        self.held.lock().expect("the table is never left half changed")
    }
}

impl Slot {
    /// For how long nothing arrived.
    fn quiet(&self) -> Duration {
        if self.is_at_work.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        self.progress.lock().expect("an instant").elapsed()
    }
}

impl Guard {
    /// Resolves when a newcomer asks for the lock.
    pub(super) async fn asked_to_let_go(&self) {
        self.slot.let_go.cancelled().await;
    }

    /// Resolves when a reader wants what arrived to be committed.
    pub(super) async fn asked_to_commit(&self) {
        self.slot.to_commit.notified().await;
    }

    /// Tells readers that nothing that arrived before is left to commit.
    pub(super) fn committed(&self) {
        self.slot.committed.notify_waiters();
    }

    /// Does work during which nothing can arrive: whoever waits for a slow disk is not quiet.
    pub(super) async fn at_work<T>(&self, work: impl Future<Output = T>) -> T {
        self.slot.is_at_work.store(true, Ordering::Relaxed);
        let done = work.await;
        self.slot.is_at_work.store(false, Ordering::Relaxed);
        self.progressed();
        done
    }

    /// Notes that bytes arrived.
    pub(super) fn progressed(&self) {
        *self.slot.progress.lock().expect("an instant") = Instant::now();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.locks.table().remove(&self.id);
        self.slot.committed.notify_waiters();
        self.slot.released.notify_waiters();
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test waits for its tasks itself")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_gets_a_released_lock() {
        let locks = Locks::default();
        let id = UploadId::new();
        let held = locks.try_acquire(id).expect("free");
        assert!(locks.try_acquire(id).is_none());
        let newcomer = tokio::spawn({
            let locks = locks.clone();
            async move { locks.acquire(id, Contention::Wait).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(newcomer.await.expect("no panic"));
        assert_eq!(locks.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_makes_progress_is_never_asked_by_one_who_waits() {
        let locks = Locks::default();
        let id = UploadId::new();
        let held = locks.try_acquire(id).expect("free");
        let busy = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                held.progressed();
            }
        };
        tokio::select! {
            () = busy => {}
            got = locks.acquire(id, Contention::Wait) => assert!(got.is_none()),
            () = held.asked_to_let_go() => panic!("asked to let go"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_holder_is_asked_by_anybody() {
        let locks = Locks::default();
        let id = UploadId::new();
        let held = locks.try_acquire(id).expect("free");
        let holder = async move {
            held.asked_to_let_go().await;
            drop(held);
        };
        let ((), got) = tokio::join!(holder, locks.acquire(id, Contention::Wait));
        assert!(got.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn taking_over_asks_whoever_comes_next() {
        let locks = Locks::default();
        let id = UploadId::new();
        let holders = (0..3).map(|_| async {
            let held = locks.acquire(id, Contention::Wait).await.expect("in turn");
            held.asked_to_let_go().await;
        });
        let began = Instant::now();
        let all = futures_util::future::join_all(holders);
        let (_, got) = tokio::join!(all, async {
            tokio::task::yield_now().await;
            locks.acquire(id, Contention::TakeOver).await.is_some()
        });
        assert!(got && began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_asks_a_holder_that_is_quiet_and_no_other() {
        let locks = Locks::default();
        let id = UploadId::new();
        let held = locks.try_acquire(id).expect("free");
        let began = Instant::now();
        let flowing = async {
            for _ in 0..100 {
                tokio::time::sleep(LULL / 2).await;
                held.progressed();
            }
            held.asked_to_let_go().await;
            drop(held);
        };
        let ((), got) = tokio::join!(flowing, locks.acquire(id, Contention::Succeed));
        let took = began.elapsed();
        assert!(got.is_some() && took >= LULL * 50 && took < LULL * 53, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_has_the_holder_commit_and_takes_nothing() {
        let locks = Locks::default();
        let id = UploadId::new();
        assert!(!locks.commit(id).await);
        let held = locks.try_acquire(id).expect("free");
        let began = Instant::now();
        let holder = async {
            held.asked_to_commit().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            held.committed();
        };
        let ((), asked) = tokio::join!(holder, locks.commit(id));
        assert!(asked && began.elapsed() < Duration::from_millis(10) && locks.count() == 1);
        let (asked, ()) = tokio::join!(locks.commit(id), async { drop(held) });
        assert!(asked && began.elapsed() < Duration::from_millis(10), "nobody waits for one who is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn taking_over_asks_at_once() {
        let locks = Locks::default();
        let id = UploadId::new();
        let held = locks.try_acquire(id).expect("free");
        let began = Instant::now();
        let holder = async move {
            held.asked_to_let_go().await;
            drop(held);
        };
        let ((), got) = tokio::join!(holder, locks.acquire(id, Contention::TakeOver));
        assert!(got.is_some() && began.elapsed() < Duration::from_millis(10));
    }
}
