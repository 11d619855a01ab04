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

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Path, content type and text of everything the demo page consists of.
const DEMO: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("../../assets/demo.html")),
    ("/demo/demo.js", SCRIPT, include_str!("../../assets/demo.js")),
    ("/demo/card.mjs", SCRIPT, include_str!("../../assets/card.mjs")),
    ("/demo/md5.mjs", SCRIPT, include_str!("../../assets/md5.mjs")),
    ("/demo/wire.mjs", SCRIPT, include_str!("../../assets/wire.mjs")),
    ("/demo/demo.css", STYLE, include_str!("../../assets/demo.css")),
    ("/demo/icon.svg", IMAGE, include_str!("../../assets/icon.svg")),
];

/// The demo page at `/`. Only the demo serves it: it holds the demo user's secret.
pub fn demo() -> Router {
    DEMO.into_iter().fold(Router::new(), |router, (path, content_type, text)| {
        router.route(path, get(async move || asset(content_type, text)))
    })
}

/// No pages: what a service in production serves.
pub fn none() -> Router {
    Router::new()
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
