//! `/metrics`, on a listener of its own: what it tells of the service's business is for whoever watches over it, and the
//! doors are reached by everybody.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, http::header, response::IntoResponse as _, routing::get};

/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Section `metrics` of the configuration.
#[derive(Debug, Clone, Default, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where `/metrics` is served; absent: nowhere. Whoever reaches it can read it.
    pub listen: Option<SocketAddr>,
}

/// `/metrics` with the text that `write` writes.
pub fn routes(write: impl Fn() -> String + Send + Sync + 'static) -> Router {
    let write = Arc::new(write);
    let answer =
        async move || ([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, "no-store")], write()).into_response();
    Router::new().route("/metrics", get(answer))
}
