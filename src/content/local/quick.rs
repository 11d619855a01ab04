//! File work where it is asked for, as long as that is quick.
//!
//! To hand a write to another thread and to be woken at its end takes longer than the write, while the page cache has room.
//! So work that should wait for nothing but memory is done by the async thread that asks for it. The disk may be slow all
//! the same: writers are held up when too much is unwritten, and the folder of a network may hang. Therefore at least one
//! async thread never does such work, and where some of it was [`SLOW`] all is handed on, until none was for [`CALM`].

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::spawn_blocking};

/// Work that took so long waited for something: a batch is in the page cache within a tenth of a millisecond.
const SLOW: Duration = Duration::from_millis(10);
/// For how long nothing may have been slow.
const CALM: Duration = Duration::from_secs(1);

/// Who does the quick work of a store.
#[derive(Debug, Default)]
pub(super) struct Quick {
    /// Async threads that do some now.
    busy: AtomicUsize,
    /// When some was slow.
    slow: Mutex<Option<Instant>>,
}

/// An async thread at work, until dropped.
struct Seat<'a>(&'a Quick);

impl Quick {
    /// Does `work` here, or elsewhere if it might hold up others.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if let Some(_seat) = self.seat() {
            return self.timed(work);
        }
        let quick = self.clone();
        spawn_blocking(move || quick.timed(work)).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }

    fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        if begun.elapsed() >= SLOW {
            *self.slow.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        done
    }

    fn seat(&self) -> Option<Seat<'_>> {
        let slow = *self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if slow.is_some_and(|slow| slow.elapsed() < CALM) {
            return None;
        }
        let most = Handle::current().metrics().num_workers().saturating_sub(1);
        let seated = |busy| (busy < most).then_some(busy + 1);
        self.busy.try_update(Ordering::Relaxed, Ordering::Relaxed, seated).ok().map(|_| Seat(self))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;
    use crate::worker::Tasks;

    /// Whether work is done by the async thread that asks for it.
    async fn is_done_here(quick: &Arc<Quick>) -> bool {
        let quick = quick.clone();
        let asked = Tasks::new().spawn(async move {
            let asks = thread::current().id();
            quick.run(move || Ok(thread::current().id() == asks)).await
        });
        asked.await.expect("no panic").expect("done")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_slow_work_all_is_handed_on_for_a_while() {
        let quick = Arc::<Quick>::default();
        assert!(is_done_here(&quick).await);
        quick
            .run(|| {
                thread::sleep(SLOW);
                Ok(())
            })
            .await
            .expect("done");
        assert!(!is_done_here(&quick).await);
        *quick.slow.lock().expect("unpoisoned") = Instant::now().checked_sub(CALM);
        assert!(is_done_here(&quick).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_that_hangs_leaves_an_async_thread_to_the_others() {
        let quick = Arc::<Quick>::default();
        let hang = || {
            let ((release, released), quick) = (mpsc::channel::<()>(), quick.clone());
            let hangs = Tasks::new().spawn(async move { quick.run(move || Ok(released.recv().is_err())).await });
            (release, hangs)
        };
        let (first, second) = (hang(), hang());
        Tasks::new().spawn(async {}).await.expect("an async thread is left");
        for (release, hangs) in [first, second] {
            drop(release);
            assert!(hangs.await.expect("no panic").expect("done"));
        }
        assert_eq!(quick.busy.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_only_async_thread_does_none() {
        assert!(!is_done_here(&Arc::default()).await);
    }
}
