//! Content going out, with ranges and validators (RFC 9110 §13, §14): one way at every door.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::TryStreamExt as _;

use super::{
    AppState,
    headers::{
        REPR_DIGEST,
        disposition::attachment,
        ranges::{Wanted, wanted},
        validators::{if_range_holds, none_match_names},
    },
    problem::{Code, Problem},
};
use crate::{
    domain::{content_digest, upload::Upload},
    uploads::UploadError,
};

/// The content of an upload that may be read, or the part of it that `asked` wants.
///
/// # Errors
/// A store's failure.
pub(super) async fn content(
    app: &AppState,
    upload: &Upload,
    method: &Method,
    asked: &HeaderMap,
) -> Result<Response, UploadError> {
    let etag = etag(upload);
    let ask = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    if ask(header::IF_NONE_MATCH).is_some_and(|tags| none_match_names(tags, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let ranged = ask(header::IF_RANGE).is_none_or(|tag| if_range_holds(tag, &etag));
    let range = match ask(header::RANGE).filter(|_| ranged && method == Method::GET) {
        Some(range) => wanted(range, upload.offset),
        None => Wanted::Whole,
    };
    deliver(app, upload, range, &etag, method == Method::HEAD).await
}

async fn deliver(
    app: &AppState,
    upload: &Upload,
    range: Wanted,
    etag: &str,
    head: bool,
) -> Result<Response, UploadError> {
    let size = upload.offset;
    let (status, bytes) = match range {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
        Wanted::Unsatisfiable => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            let problem = Problem::new(Code::RangeNotSatisfiable, format!("the content has {size} bytes"));
            return Ok((range, problem).into_response());
        }
    };
    let length = bytes.end - bytes.start;
    let body = match head {
        true => Body::empty(),
        false => Body::from_stream(app.uploads.read(upload, bytes.start, length).await?.map_err(std::io::Error::other)),
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    describe(headers, upload, etag);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::PARTIAL_CONTENT {
        put(headers, header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1));
    }
    Ok(response)
}

/// The headers of the whole content. A client's content type is repeated, and kept from doing anything in a browser.
fn describe(headers: &mut HeaderMap, upload: &Upload, etag: &str) {
    put(headers, header::CONTENT_TYPE, upload.content_type.as_deref().unwrap_or("application/octet-stream"));
    put(headers, header::ETAG, etag);
    put(headers, header::ACCEPT_RANGES, "bytes");
    put(headers, header::CACHE_CONTROL, "private, no-cache");
    put(headers, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    headers.insert(header::CONTENT_DISPOSITION, attachment(&upload.filename));
    if let Some(sum) = &upload.sum {
        put(headers, REPR_DIGEST, &content_digest::written(sum));
    }
}

/// Content of an upload never changes, so its id would do; the digest says more where there is one.
fn etag(upload: &Upload) -> String {
    match &upload.sum {
        Some(sum) => format!("\"{}-{}\"", sum.algorithm.name(), sum.to_hex()),
        None => format!("\"{}\"", upload.id.simple()),
    }
}

/// Sets a header; a value that cannot stand in one (a client's content type with odd bytes) is left out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
