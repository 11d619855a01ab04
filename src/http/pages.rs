//! Embedded files: the browser client and the demo page, in plain HTML, CSS and JavaScript, without a build step.
//!
//! A page that is served from here loads nothing from elsewhere; its policy forbids inline script and any other origin.
//! Every file has an `ETag` and is asked for anew each time: a browser never mixes modules of two versions.

mod client;
mod demo;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

pub use self::{client::routes as client, demo::routes as demo};
use super::headers::validators::none_match_names;
use crate::domain::digest::{Algorithm, Running};

/// What a page may do: load from and talk to this origin, show blobs it made itself, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TYPES: &str = "text/plain; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Path, content type and text of one file.
type File = (&'static str, &'static str, &'static str);

/// `files` at their paths, each answered by `answer`.
fn routes(files: &[File], answer: fn(&HeaderMap, &'static str, &'static str, &str) -> Response) -> Router {
    files.iter().fold(Router::new(), |router, &(path, content_type, text)| {
        let etag = etag(text);
        router.route(path, get(async move |asked: HeaderMap| answer(&asked, content_type, text, &etag)))
    })
}

/// The file, or 304 for whoever has it.
fn file(asked: &HeaderMap, content_type: &'static str, text: &'static str, etag: &str) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, etag),
    ];
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    match known.is_some_and(|tags| none_match_names(tags, etag)) {
        true => (StatusCode::NOT_MODIFIED, headers).into_response(),
        false => (headers, [(header::CONTENT_TYPE, content_type)], text).into_response(),
    }
}

fn etag(text: &str) -> String {
    let mut running = Running::new(Algorithm::Sha256);
    running.update(text.as_bytes());
    format!("\"{}\"", &running.finish().to_hex()[..32])
}
