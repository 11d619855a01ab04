//! Ground: every task of the service is spawned here, every recurring job has a name and can be asked how it is.
//!
//! Shutdown has two steps. *Soft*: nothing new is begun; what is under way may finish. *Hard*: what is under way lets
//! go at its next safe point. A process that waits for [`Tasks::finished`] after the soft step loses nothing that was
//! acknowledged, whatever the hard step cuts.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TrackedFuture},
};

use crate::domain::{Clock, Timestamp};

/// The one task tracker of a running service, with its two shutdown tokens. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Tasks {
    /// A tracker without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that [`Tasks::finished`] waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Runs `work` within the caller, and in a task of its own once the caller is dropped.
    pub fn outlasting<F>(&self, work: F) -> Outlasting<F>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Outlasting { work: Some(Box::pin(self.tracker.track_future(work))) }
    }

    /// Begins the soft step: nothing new is begun.
    pub fn wind_down(&self) {
        self.soft.cancel();
        self.tracker.close();
    }

    /// Begins the hard step: what is under way lets go.
    pub fn let_go(&self) {
        self.wind_down();
        self.hard.cancel();
    }

    /// Resolves when the soft step has begun.
    pub async fn winding_down(&self) {
        self.soft.cancelled().await;
    }

    /// Whether the soft step has begun.
    pub fn is_winding_down(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Resolves when the hard step has begun.
    pub async fn letting_go(&self) {
        self.hard.cancelled().await;
    }

    /// Resolves when the soft step has begun and every task has ended.
    pub async fn finished(&self) {
        self.tracker.wait().await;
    }
}

/// Work that goes on when whoever waits for it leaves. See [`Tasks::outlasting`].
pub struct Outlasting<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// None once it has ended.
    work: Option<Pin<Box<TrackedFuture<F>>>>,
}

impl<F> Future for Outlasting<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Work that panics is not there any more.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        self.work = polled.is_pending().then_some(work);
        polled
    }
}

impl<F> Drop for Outlasting<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

/// What a bounded step of work found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more: call again at once.
    More,
    /// Nothing left for now.
    Idle,
}

/// A recurring job made of bounded steps. A step is never interrupted; the wait between steps is.
#[async_trait]
pub trait Worker: Send + 'static {
    /// Its name in logs and reports.
    fn name(&self) -> &'static str;

    /// How long to rest when a step found nothing left.
    fn rest(&self) -> Duration;

    /// One bounded step.
    ///
    /// # Errors
    /// In one sentence what failed; the worker rests and tries again.
    async fn step(&mut self) -> Result<Step, String>;
}

/// How a worker is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Steps done since the start.
    pub steps: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// When the last one ended.
    pub last_step: Option<Timestamp>,
    /// The last failure, and when it happened.
    pub last_error: Option<(Timestamp, String)>,
}

/// All workers of the service by name.
#[derive(Debug, Default)]
pub struct Workers {
    health: Mutex<BTreeMap<&'static str, Health>>,
    nudge: Notify,
}

impl Workers {
    /// How each worker is.
    pub fn report(&self) -> BTreeMap<&'static str, Health> {
        self.health.lock().expect("no panic while reporting").clone()
    }

    /// Wakes every resting worker now.
    pub fn nudge(&self) {
        self.nudge.notify_waiters();
    }

    /// Runs `worker` until the soft step of the shutdown.
    pub async fn run(&self, mut worker: impl Worker, clock: &dyn Clock, tasks: &Tasks) {
        while !tasks.is_winding_down() {
            // A step that panics is a failed step: the worker must not be gone without a word.
            let outcome = AssertUnwindSafe(worker.step()).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err("the step panicked".into()));
            if let Err(error) = &outcome {
                tracing::warn!(worker.name = worker.name(), error, "worker step failed");
            }
            self.record(worker.name(), &outcome, clock.now());
            if outcome == Ok(Step::More) {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(worker.rest()) => {}
                () = self.nudge.notified() => {}
                () = tasks.winding_down() => {}
            }
        }
    }

    fn record(&self, name: &'static str, outcome: &Result<Step, String>, now: Timestamp) {
        let mut all = self.health.lock().expect("no panic while recording");
        let health = all.entry(name).or_default();
        health.steps += 1;
        health.last_step = Some(now);
        if let Err(error) = outcome {
            health.failures += 1;
            health.last_error = Some((now, error.clone()));
        }
    }
}
