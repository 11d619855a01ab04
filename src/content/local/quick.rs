//! File work where it is asked for, as long as that is quick.
//!
//! To hand a write to another thread and to be woken at its end takes longer than the write, while the page cache has room.
//! So work that should wait for nothing but memory is done by the async thread that asks for it. The disk may be slow all
//! the same: writers are held up when too much is unwritten, and the folder of a network may hang. Therefore
//!
//! - at least one async thread never does such work;
//! - where some of it was [`SLOW`], all is handed on until none was for [`CALM`];
//! - a thread watches. The async thread that works may be the one that should wait for sockets and timers, and tokio does
//!   not tell the others to do so (`enable_eager_driver_handoff` would, and is not stable). So one of them is woken as
//!   soon as work is slow, and waits in its place.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::spawn_blocking};

/// Work that took so long waited for something: a batch is in the page cache within a tenth of a millisecond.
const SLOW: Duration = Duration::from_millis(10);
/// For how long nothing may have been slow.
const CALM: Duration = Duration::from_secs(1);

/// Who does the quick work of a store.
#[derive(Debug)]
pub(super) struct Quick {
    /// How many async threads may do some at once.
    most: usize,
    /// How many do.
    busy: AtomicUsize,
    /// How often one began.
    begun: AtomicU64,
    /// When some was slow.
    slow: Mutex<Option<Instant>>,
    /// Who watches, and whether it must be woken.
    watch: Thread,
    is_asleep: AtomicBool,
}

/// An async thread at work, until dropped.
struct Seat<'a>(&'a Quick);

impl Quick {
    /// For work asked for on this runtime.
    ///
    /// # Errors
    /// There can be no thread that watches.
    pub(super) fn on(runtime: &Handle) -> io::Result<Arc<Self>> {
        let (give, take) = std::sync::mpsc::channel::<Weak<Self>>();
        let handle = runtime.clone();
        let watching = thread::Builder::new().name("quick-work".into());
        let watching = watching.spawn(move || take.recv().map(|quick| watch(&quick, &handle)))?;
        let quick = Arc::new(Self {
            most: runtime.metrics().num_workers().saturating_sub(1),
            busy: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            slow: Mutex::new(None),
            watch: watching.thread().clone(),
            is_asleep: AtomicBool::new(false),
        });
        // It is there: it waits for this.
        let _ = give.send(Arc::downgrade(&quick));
        Ok(quick)
    }

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
            self.was_slow();
        }
        done
    }

    fn was_slow(&self) {
        *self.slow.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn seat(&self) -> Option<Seat<'_>> {
        let slow = *self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if slow.is_some_and(|slow| slow.elapsed() < CALM) {
            return None;
        }
        let seated = |busy| (busy < self.most).then_some(busy + 1);
        let seat = self.busy.try_update(SeqCst, SeqCst, seated).ok().map(|_| Seat(self))?;
        self.begun.fetch_add(1, SeqCst);
        if self.is_asleep.swap(false, SeqCst) {
            self.watch.unpark();
        }
        Some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, SeqCst);
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        self.watch.unpark();
    }
}

/// Looks every now and then whether work has stood still since, and sleeps while there is none.
fn watch(quick: &Weak<Quick>, runtime: &Handle) {
    let mut seen = 0;
    while let Some(quick) = quick.upgrade() {
        let begun = quick.begun.load(SeqCst);
        let is_still = begun == seen;
        seen = begun;
        if is_still && quick.busy.load(SeqCst) > 0 {
            quick.was_slow();
            // Does nothing, but comes from outside: that wakes an async thread, and one that finds nothing to do waits for
            // sockets and timers if nobody else does.
            drop(runtime.spawn(async {}));
        }
        let is_idle = is_still && quick.busy.load(SeqCst) == 0;
        quick.is_asleep.store(is_idle, SeqCst);
        // Whoever began before it could see that is seen here.
        let sleeps = is_idle && quick.begun.load(SeqCst) == seen;
        drop(quick);
        match sleeps {
            true => thread::park(),
            false => thread::sleep(SLOW),
        }
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
        let quick = Quick::on(&Handle::current()).expect("a thread");
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
        let quick = Quick::on(&Handle::current()).expect("a thread");
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
        assert_eq!(quick.busy.load(SeqCst), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn while_work_hangs_others_hear_of_their_timers() {
        let quick = Quick::on(&Handle::current()).expect("a thread");
        let (release, released) = mpsc::channel::<()>();
        let hangs = Tasks::new().spawn(async move {
            // Whoever is woken by the timer has waited for all of them.
            tokio::time::sleep(Duration::from_millis(1)).await;
            quick.run(move || Ok(released.recv_timeout(Duration::from_secs(20)))).await
        });
        let hears = Tasks::new().spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(release);
        });
        let ended = hangs.await.expect("no panic").expect("done");
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
        hears.await.expect("no panic");
    }

    #[tokio::test]
    async fn the_only_async_thread_does_none() {
        assert!(!is_done_here(&Quick::on(&Handle::current()).expect("a thread")).await);
    }
}
