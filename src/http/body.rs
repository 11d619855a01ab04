//! The guarded body of every request.
//!
//! A client that stalls or trickles is cut: each wait for bytes is bounded, and so is the mean rate. Only the time in
//! which somebody waits for the client counts; a slow disk is not the client's fault. And a body that is dropped before
//! its end, as after an early refusal, is drained within bounds, because closing a connection with unread bytes resets
//! it, and the client would see the reset instead of the status.
//!
//! No bound on length here: the core counts bytes, and [`crate::http::form`] bounds what is held.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::{
    http::Settings,
    uploads::{self, BodyError},
    worker::Tasks,
};

/// How much of a refused body is read, at most, so that its sender gets to read the answer.
const DRAIN_BYTES: usize = 16 * 1024 * 1024;
/// How long, at most.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How patient a body is with its client.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest wait for the next bytes.
    pub idle: Duration,
    /// Least mean rate in bytes per second, judged once `idle` was spent waiting in all; 0: any.
    pub min_rate: u64,
}

/// What the guard of every body needs.
#[derive(Debug, Clone)]
pub struct Guard {
    patience: Patience,
    tasks: Tasks,
}

impl Guard {
    /// Bodies as `settings` say; refused ones are drained on `tasks`.
    pub fn new(settings: &Settings, tasks: &Tasks) -> Self {
        let patience = Patience { idle: settings.idle_timeout, min_rate: settings.min_rate.as_u64() };
        Self { patience, tasks: tasks.clone() }
    }
}

/// The layer: puts the request's body under guard.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let invited =
        !request.headers().get(header::EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    next.run(
        request.map(|body| if body.is_end_stream() { body } else { Body::new(Guarded::new(body, invited, guard)) }),
    )
    .await
}

/// A request's body as the upload core takes it: data alone, trailers are dropped.
pub fn incoming(body: Body) -> uploads::Body {
    body.into_data_stream().map(|frame| frame.map_err(|error| verdict(&error))).boxed()
}

/// A guarded body says itself what went wrong; everything else is the transport's.
fn verdict(error: &axum::Error) -> BodyError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(verdict) = error.downcast_ref::<BodyError>() {
            return verdict.clone();
        }
        cause = error.source();
    }
    BodyError::Disconnected
}

/// A body under guard.
struct Guarded {
    /// Absent once it ended, failed, or was handed over to be drained.
    body: Option<Body>,
    /// Whether the client sends without being asked, or was asked by a first read.
    invited: bool,
    pace: Pace,
    tasks: Tasks,
}

impl Guarded {
    fn new(body: Body, invited: bool, guard: Guard) -> Self {
        Self { body: Some(body), invited, pace: Pace::new(guard.patience), tasks: guard.tasks }
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.invited = true;
        let frame = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            // Every announced byte is there; what is awaited is not the client.
            Poll::Pending if body.is_end_stream() => return Poll::Pending,
            Poll::Pending => {
                ready!(this.pace.wait(cx));
                this.body = None;
                return Poll::Ready(Some(Err(BodyError::TooSlow)));
            }
        };
        match frame {
            Some(Ok(frame)) => {
                this.pace.arrived(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a request's body broke off");
                this.body = None;
                Poll::Ready(Some(Err(verdict(&error))))
            }
            None => {
                this.body = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Guarded {
    /// An unread body with `Expect: 100-continue` is not drained: that would invite it (RFC 9110 §10.1.1).
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        // Outside a runtime there is no connection to keep either.
        if self.invited && !body.is_end_stream() && tokio::runtime::Handle::try_current().is_ok() {
            let tasks = self.tasks.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    _ = timeout(DRAIN_TIME, drain(body)) => {}
                    () = tasks.letting_go() => {}
                }
            });
        }
    }
}

async fn drain(mut body: Body) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > DRAIN_BYTES {
            return;
        }
    }
}

/// How fast a client sends, measured over the time in which it was waited for.
struct Pace {
    patience: Patience,
    alarm: Pin<Box<Sleep>>,
    /// Since when the client is waited for.
    since: Option<Instant>,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(patience: Patience) -> Self {
        Self { patience, alarm: Box::pin(sleep(patience.idle)), since: None, waited: Duration::ZERO, bytes: 0 }
    }

    /// Nothing is there yet; ready when the client has been too slow.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let since = *self.since.get_or_insert_with(|| {
            self.alarm.as_mut().reset(now + self.patience.idle);
            now
        });
        if self.is_below(self.waited + (now - since)) { Poll::Ready(()) } else { self.alarm.as_mut().poll(cx) }
    }

    fn arrived(&mut self, bytes: usize) {
        self.waited += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.bytes += bytes as u64;
    }

    fn is_below(&self, waited: Duration) -> bool {
        let due = waited.as_millis() * u128::from(self.patience.min_rate) / 1000;
        waited >= self.patience.idle && u128::from(self.bytes) < due
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use tokio::time::advance;

    use super::*;

    const PATIENCE: Patience = Patience { idle: Duration::from_secs(10), min_rate: 100 };

    /// A guarded body that is fed through a channel.
    fn fed(invited: bool) -> (tokio::sync::mpsc::UnboundedSender<Bytes>, Body, Tasks) {
        let (feed, frames) = tokio::sync::mpsc::unbounded_channel();
        let frames = stream::unfold(frames, |mut frames| async move {
            frames.recv().await.map(|frame: Bytes| (Ok::<_, std::io::Error>(frame), frames))
        });
        let tasks = Tasks::new();
        let guard = Guard { patience: PATIENCE, tasks: tasks.clone() };
        (feed, Body::new(Guarded::new(Body::from_stream(frames), invited, guard)), tasks)
    }

    fn bytes(length: usize) -> Bytes {
        vec![0; length].into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_client_is_cut_after_the_idle_time() {
        let (feed, body, _) = fed(true);
        let mut body = incoming(body);
        feed.send(bytes(1)).expect("open");
        assert_eq!(body.next().await, Some(Ok(bytes(1))));
        let before = Instant::now();
        assert_eq!(body.next().await, Some(Err(BodyError::TooSlow)));
        assert_eq!(before.elapsed(), PATIENCE.idle);
        assert!(feed.is_closed(), "neither kept nor drained");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_cut_once_the_idle_time_was_waited_in_all() {
        let (feed, body, _) = fed(true);
        let mut body = incoming(body);
        for _ in 0..5 {
            assert_eq!(body.next().now_or_never(), None);
            advance(Duration::from_secs(2)).await;
            feed.send(bytes(199)).expect("open");
            assert_eq!(body.next().await, Some(Ok(bytes(199))));
        }
        assert_eq!(body.next().now_or_never(), Some(Some(Err(BodyError::TooSlow))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_the_clients_fault() {
        let (feed, body, _) = fed(true);
        let mut body = incoming(body);
        for _ in 0..10 {
            feed.send(bytes(1)).expect("open");
            advance(Duration::from_secs(60)).await;
            assert_eq!(body.next().await, Some(Ok(bytes(1))));
        }
        drop(feed);
        assert_eq!(body.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_body_is_drained_within_bounds() {
        let (feed, body, tasks) = fed(true);
        drop(body);
        feed.send(bytes(DRAIN_BYTES)).expect("draining");
        tokio::task::yield_now().await;
        feed.send(bytes(1)).expect("still draining");
        tasks.wind_down();
        tasks.finished().await;
        assert!(feed.is_closed());

        let (feed, body, tasks) = fed(true);
        drop(body);
        tasks.wind_down();
        let before = Instant::now();
        tasks.finished().await;
        assert_eq!(before.elapsed(), DRAIN_TIME);
        assert!(feed.is_closed());
    }

    #[tokio::test]
    async fn a_body_that_waits_for_a_continue_is_not_invited() {
        let (feed, body, tasks) = fed(false);
        drop(body);
        assert!(feed.is_closed());
        tasks.wind_down();
        tasks.finished().await;
    }
}
