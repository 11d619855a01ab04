//! Health and readiness. Neither needs a credential, and neither asks the identity server: its failure must not take a
//! healthy service out of rotation.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use serde_json::json;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// How long one probe may take.
const PROBE_TIME: Duration = Duration::from_secs(2);

type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// For how long an answer is repeated. Anybody may ask, and the probes write.
const FRESH_TIME: Duration = Duration::from_secs(1);

/// What must work before requests are welcome: probes by name.
#[derive(Default)]
pub struct Readiness {
    probes: Vec<(&'static str, Probe)>,
    /// When was asked last, and what failed then. Whoever asks meanwhile waits for that answer.
    last: Mutex<Option<(Instant, Vec<&'static str>)>>,
}

impl Readiness {
    /// Ready without conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also asks `probe`; the text of its failure reaches the log alone.
    #[must_use]
    pub fn probe<F>(mut self, name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.probes.push((name, Box::new(move || probe().boxed())));
        self
    }

    /// The names of the probes that fail, or failed a moment ago.
    async fn failing(&self) -> Vec<&'static str> {
        let mut last = self.last.lock().await;
        if let Some((asked, failing)) = &*last
            && asked.elapsed() < FRESH_TIME
        {
            return failing.clone();
        }
        let failing = self.ask().await;
        *last = Some((Instant::now(), failing.clone()));
        failing
    }

    async fn ask(&self) -> Vec<&'static str> {
        let asked = self.probes.iter().map(async |(name, probe)| {
            let failure = match timeout(PROBE_TIME, probe()).await {
                Ok(Ok(())) => return None,
                Ok(Err(failure)) => failure,
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::warn!(probe.name = name, failure, "not ready");
            Some(*name)
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

/// `/healthz` and `/readyz`.
pub fn routes(readiness: Readiness) -> Router {
    let (health, ready) = (get(healthz), get(readyz));
    Router::new()
        .route("/healthz", health.clone())
        .route("/healthz/", health)
        .route("/readyz", ready.clone())
        .route("/readyz/", ready)
        .with_state(Arc::new(readiness))
}

/// An answer about now is of no use later.
const FRESH: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

async fn healthz() -> Response {
    (FRESH, Json(json!({"status": "ok"}))).into_response()
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> Response {
    let failing = readiness.failing().await;
    if failing.is_empty() {
        return (FRESH, Json(json!({"status": "ready"}))).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, FRESH, Json(json!({"status": "unavailable", "failing": failing}))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt as _;

    use super::*;

    async fn asked(readiness: Readiness, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let Ok(answer) = routes(readiness).oneshot(request).await;
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.expect("a small body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_names_what_fails_and_nothing_more() {
        let readiness = || {
            Readiness::new()
                .probe("database", async || Err("password wrong".to_owned()))
                .probe("storage", std::future::pending)
                .probe("other", async || Ok(()))
        };
        let (status, body) = asked(readiness(), "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, r#"{"failing":["database","storage"],"status":"unavailable"}"#);
        assert_eq!(asked(readiness(), "/healthz").await, (StatusCode::OK, r#"{"status":"ok"}"#.to_owned()));
        assert_eq!(asked(Readiness::new(), "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_askers_probes_once() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let probed = Arc::new(AtomicUsize::new(0));
        let readiness = Readiness::new().probe("storage", {
            let probed = probed.clone();
            move || {
                probed.fetch_add(1, Ordering::SeqCst);
                async { Ok(()) }
            }
        });
        join_all((0..100).map(|_| readiness.failing())).await;
        assert_eq!(probed.load(Ordering::SeqCst), 1);
        tokio::time::advance(FRESH_TIME).await;
        readiness.failing().await;
        assert_eq!(probed.load(Ordering::SeqCst), 2);
    }
}
