//! Embedded pages: the demo, in plain HTML, CSS and JavaScript, without a build step.
//!
//! Everything a page needs comes from here; its policy forbids inline script and any other origin.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

/// What a page may do: load from and talk to this origin, show blobs it made itself, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The demo page at `/`. Only the demo serves it: it holds the demo user's secret.
pub fn demo() -> Router {
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", include_str!("../../assets/demo.html"))))
        .route(
            "/demo/demo.js",
            get(async || asset("text/javascript; charset=utf-8", include_str!("../../assets/demo.js"))),
        )
        .route("/demo/demo.css", get(async || asset("text/css; charset=utf-8", include_str!("../../assets/demo.css"))))
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
