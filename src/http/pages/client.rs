//! The browser client below `/client/`, for pages of every origin. The page is `proto-docs/browser-client.md`.

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};

use super::{File, HTML, SCRIPT, STYLE, TYPES, file};

/// The module that pages import is the first; it imports the others.
const FILES: [File; 19] = [
    ("/client/chunkgate.mjs", SCRIPT, include_str!("../../../assets/client/chunkgate.mjs")),
    ("/client/chunkgate.d.mts", TYPES, include_str!("../../../assets/client/chunkgate.d.mts")),
    ("/client/chunkgate.css", STYLE, include_str!("../../../assets/client/chunkgate.css")),
    ("/client/card.mjs", SCRIPT, include_str!("../../../assets/client/card.mjs")),
    ("/client/credentials.mjs", SCRIPT, include_str!("../../../assets/client/credentials.mjs")),
    ("/client/digest.mjs", SCRIPT, include_str!("../../../assets/client/digest.mjs")),
    ("/client/digest-worker.mjs", SCRIPT, include_str!("../../../assets/client/digest-worker.mjs")),
    ("/client/md5.mjs", SCRIPT, include_str!("../../../assets/client/md5.mjs")),
    ("/client/memory.mjs", SCRIPT, include_str!("../../../assets/client/memory.mjs")),
    ("/client/options.mjs", SCRIPT, include_str!("../../../assets/client/options.mjs")),
    ("/client/pace.mjs", SCRIPT, include_str!("../../../assets/client/pace.mjs")),
    ("/client/queue.mjs", SCRIPT, include_str!("../../../assets/client/queue.mjs")),
    ("/client/refusals.mjs", SCRIPT, include_str!("../../../assets/client/refusals.mjs")),
    ("/client/upload.mjs", SCRIPT, include_str!("../../../assets/client/upload.mjs")),
    ("/client/uploader.mjs", SCRIPT, include_str!("../../../assets/client/uploader.mjs")),
    ("/client/wire.mjs", SCRIPT, include_str!("../../../assets/client/wire.mjs")),
    ("/client/words.mjs", SCRIPT, include_str!("../../../assets/client/words.mjs")),
    ("/client/chunked_upload.html", HTML, include_str!("../../../assets/client/chunked_upload.html")),
    ("/client/chunked_upload.mjs", SCRIPT, include_str!("../../../assets/client/chunked_upload.mjs")),
];

/// The files of the client.
pub fn routes() -> Router {
    super::routes(&FILES, public)
}

/// A file that says nothing about anybody: a page of any origin may import it, also one that is isolated
/// (`Cross-Origin-Embedder-Policy: require-corp`).
fn public(asked: &HeaderMap, content_type: &'static str, text: &'static str, etag: &str) -> Response {
    let mut response = file(asked, content_type, text, etag);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    response
}
