//! The connection loop, over hyper-util.
//!
//! Not `axum::serve`: that sets no timer, so hyper's header timeout never fires, bounds nothing, and leaves the read
//! buffer at its default, which costs a third of the throughput of large bodies.
//!
//! Promises: a connection on which nothing moves while no handler runs is closed after the idle time, whatever state
//! it is in; every connection is a task of the tracker; on winding down nothing new is accepted and requests in flight
//! are finished; on letting go the rest is dropped. TLS is not spoken here: a proxy or balancer ends it.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until},
};
use tower::ServiceExt as _;

use crate::{http::Settings, worker::Tasks};

/// Most a connection's read buffer grows to, and how much is written at once. hyper starts with 8 KiB and doubles while
/// reads fill it, so an idle connection stays small; one that was written before the next read is used again. With
/// 256 KiB, 200 uploads at once took the 128 MiB that are aimed at; with 128, a long body costs half as much again. It
/// bounds the unparsed head too, so it is never below twice the largest allowed.
const READ_BUFFER: usize = 160 * 1024;
/// Header lines of one request, at most.
const MAX_HEADERS: usize = 100;
/// Requests at once on one HTTP/2 connection.
const H2_STREAMS: u32 = 64;
/// Unread bytes that one HTTP/2 stream may hold.
const H2_STREAM_WINDOW: u32 = 512 * 1024;
/// Unread bytes that one HTTP/2 connection may hold.
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// First rest after a failed accept (out of file descriptors, mostly); doubled up to [`ACCEPT_REST_MAX`].
const ACCEPT_REST: Duration = Duration::from_millis(10);
/// Longest rest after a failed accept.
const ACCEPT_REST_MAX: Duration = Duration::from_secs(1);

/// Address of the peer of the connection, in every request's extensions. Behind a proxy it is the proxy's; whom that is
/// for, [`super::entrance`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Serves `router` on `listener` until `tasks` wind down; connections go on as tasks of theirs.
pub async fn serve(listener: TcpListener, router: Router, settings: &Settings, tasks: &Tasks) {
    let server =
        Arc::new(Server { builder: builder(settings), router, idle: settings.idle_timeout, tasks: tasks.clone() });
    let mut rest = ACCEPT_REST;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = tasks.winding_down() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                rest = ACCEPT_REST;
                tasks.spawn(Arc::clone(&server).connection(stream, peer));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                tokio::select! {
                    () = sleep(rest) => {}
                    () = tasks.winding_down() => return,
                }
                rest = (rest * 2).min(ACCEPT_REST_MAX);
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn builder(settings: &Settings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(read_buffer(settings));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(u32::try_from(settings.max_head.as_u64()).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW);
    builder
}

/// A head must fit in, with its line ends.
fn read_buffer(settings: &Settings) -> usize {
    let max_head = usize::try_from(settings.max_head.as_u64()).unwrap_or(usize::MAX);
    READ_BUFFER.max(max_head.saturating_mul(2))
}

struct Server {
    builder: Builder<TokioExecutor>,
    router: Router,
    idle: Duration,
    tasks: Tasks,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        // Answers are small and complete; waiting to fill a packet would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let activity = Arc::new(Activity::new());
        let io = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(PeerAddr(peer));
            let handling = Handling::begin(&activity);
            let router = self.router.clone();
            async move {
                let answer = router.oneshot(request).await;
                drop(handling);
                answer
            }
        });
        let mut serving = pin!(self.builder.serve_connection(io, service));
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = serving.as_mut() => return ended.unwrap_or_else(|error| log_end(&*error, peer)),
                () = activity.stalled(self.idle) => return tracing::debug!(%peer, "an idle connection was closed"),
                () = self.tasks.letting_go() => return,
                () = self.tasks.winding_down(), if !stopping => {
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// A connection that ends badly is the client's or the network's affair.
fn log_end(error: &(dyn std::error::Error + 'static), peer: SocketAddr) {
    tracing::debug!(error, %peer, "a connection ended");
}

/// What moves on a connection: bytes in either direction, and handlers at work.
struct Activity {
    last: Mutex<Instant>,
    handling: AtomicUsize,
}

impl Activity {
    fn new() -> Self {
        Self { last: Mutex::new(Instant::now()), handling: AtomicUsize::new(0) }
    }

    fn touch(&self) {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Resolves when nothing moved for `idle` and no handler is at work. hyper's own timer covers the reading of HTTP/1
    /// heads alone: not the first bytes that tell the version, not idle HTTP/2, not an answer that nobody reads.
    async fn stalled(&self, idle: Duration) {
        loop {
            let end = self.last() + idle;
            if Instant::now() < end {
                sleep_until(end).await;
            } else if self.handling.load(Ordering::Relaxed) > 0 {
                sleep(idle).await;
            } else {
                return;
            }
        }
    }
}

/// A handler at work, from the request's head to the head of its answer.
struct Handling(Arc<Activity>);

impl Handling {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.handling.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.touch();
        self.0.handling.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that notes when bytes move.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Watched {
    fn noted<T>(&self, moved: T) -> Poll<T> {
        self.activity.touch();
        Poll::Ready(moved)
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.noted(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
