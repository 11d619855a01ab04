//! One lock per upload, in this process.
//!
//! Whoever wants to write, finish, cancel or collect an upload holds its lock. A newcomer to a held lock either asks the
//! holder to let go at once (the usual holder is the same client's half-dead connection) or waits, and asks only a
//! holder that stopped making progress. Waiting is bounded; what happens then is the caller's [`Contention`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::domain::UploadId;

/// How long a newcomer waits at most that asks only holders who stall.
const PATIENCE: Duration = Duration::from_secs(5);
/// A holder that took in nothing for so long may be asked to let go by anybody.
const STALLED: Duration = Duration::from_secs(2);
/// How long a newcomer waits at most that asks every holder: each gets the time to commit what it has.
const GRACE: Duration = Duration::from_secs(10);

/// What a newcomer may do to the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contention {
    /// Wait; ask a holder to let go only when it no longer makes progress. For doors whose chunks are whole requests.
    Wait,
    /// Ask the holder to let go at once. For doors that stream, and for cancelling.
    TakeOver,
}

/// The locks of all uploads that are being worked on. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Locks {
    held: Arc<Mutex<HashMap<UploadId, Arc<Slot>>>>,
}

#[derive(Debug)]
struct Slot {
    let_go: CancellationToken,
    released: Notify,
    progress: Mutex<Instant>,
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
            released: Notify::new(),
            progress: Mutex::new(Instant::now()),
        });
        held.insert(id, slot.clone());
        Some(Guard { id, slot, locks: self.clone() })
    }

    /// The lock, waiting for a holder as `contention` says; `None` if it did not let go in time.
    pub(super) async fn acquire(&self, id: UploadId, contention: Contention) -> Option<Guard> {
        let until = Instant::now()
            + match contention {
                Contention::Wait => PATIENCE,
                Contention::TakeOver => GRACE,
            };
        loop {
            let Some(slot) = self.holder(id) else {
                match self.try_acquire(id) {
                    Some(guard) => return Some(guard),
                    None => continue,
                }
            };
            // Asked again and again where several wait: the one who let go may be followed by another.
            if contention == Contention::TakeOver || slot.has_stalled() {
                slot.let_go.cancel();
            }
            let released = slot.released.notified();
            if !self.is_held_by(id, &slot) {
                continue;
            }
            let look_again = until.min(Instant::now() + STALLED);
            if tokio::time::timeout_at(look_again, released).await.is_err() && Instant::now() >= until {
                return None;
            }
        }
    }

    /// How many uploads are being worked on.
    pub(super) fn count(&self) -> usize {
        self.table().len()
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
    fn has_stalled(&self) -> bool {
        self.progress.lock().expect("an instant").elapsed() >= STALLED
    }
}

impl Guard {
    /// Resolves when a newcomer asks for the lock.
    pub(super) async fn asked_to_let_go(&self) {
        self.slot.let_go.cancelled().await;
    }

    /// Notes that bytes arrived.
    pub(super) fn progressed(&self) {
        *self.slot.progress.lock().expect("an instant") = Instant::now();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.locks.table().remove(&self.id);
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
