//! What the doors of the two Django apps share of a refusal: both say it as `{"detail": …}`, and what they say where the
//! originals said nothing is the same. Each keeps the words and statuses that its original had.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use super::Here;
use crate::{
    auth::AuthError,
    domain::upload::Refusal,
    uploads::{BodyError, UploadError},
};

/// Status, words, and the offset to go on from.
pub(super) type Answer = (StatusCode, String, Option<u64>);

/// Where a refusal comes from.
pub(super) enum Cause<'a> {
    /// The request itself.
    Request,
    /// The gate.
    Auth(&'a AuthError),
    /// The upload core.
    Upload(&'a UploadError),
}

impl Cause<'_> {
    /// What the log is told and the client is not.
    pub(super) fn hidden(&self) -> Option<&str> {
        match self {
            Self::Upload(UploadError::Unavailable(cause) | UploadError::Internal(cause)) => Some(cause),
            Self::Upload(_) | Self::Auth(_) | Self::Request => None,
        }
    }

    /// Puts in the headers that tell a client how to go on.
    pub(super) fn put_headers(&self, response: &mut Response, app: &Here, offset: Option<u64>) {
        let status = response.status();
        let headers = response.headers_mut();
        match self {
            Self::Auth(AuthError::Unavailable { retry_after } | AuthError::RateLimited { retry_after }) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
            }
            Self::Upload(UploadError::Refused(refusal)) => {
                if let Some(wait) = refusal.retry_after() {
                    headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
                }
            }
            Self::Upload(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
            }
            Self::Upload(_) | Self::Auth(_) | Self::Request => {}
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, app.challenge());
        }
        if let Some(offset) = offset {
            put_range(response, offset);
        }
    }
}

/// What is answered to an error of the core; `refusal`: what the door says of its rules.
pub(super) fn upload(error: &UploadError, refusal: impl FnOnce(&Refusal) -> Answer) -> Answer {
    let (status, detail) = match error {
        UploadError::Refused(rule) => return refusal(rule),
        UploadError::OutOfScope { .. } => return (StatusCode::FORBIDDEN, error.to_string(), None),
        UploadError::NotFound => (StatusCode::NOT_FOUND, "Not found"),
        UploadError::Replayed => (StatusCode::UNAUTHORIZED, "The signature was already used"),
        UploadError::NonceRequired => return (StatusCode::BAD_REQUEST, error.to_string(), None),
        UploadError::Forbidden => {
            (StatusCode::UNAUTHORIZED, "The timestamp is outside the accepted window for beginning an upload")
        }
        UploadError::Body(BodyError::TooSlow) => (StatusCode::REQUEST_TIMEOUT, "The request was sent too slowly"),
        UploadError::Body(BodyError::Disconnected) => (StatusCode::BAD_REQUEST, "The request was cut short"),
        UploadError::Body(BodyError::Malformed(detail)) => (StatusCode::BAD_REQUEST, detail.as_str()),
        UploadError::Body(error @ BodyError::WrongDigest { algorithm: _ }) => {
            return (StatusCode::BAD_REQUEST, error.to_string(), None);
        }
        UploadError::Full => (StatusCode::INSUFFICIENT_STORAGE, "No space left to store the chunk"),
        UploadError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Another request works on this upload"),
        UploadError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
        UploadError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "The service is restarting"),
        UploadError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
    };
    (status, detail.to_owned(), None)
}

/// jQuery-File-Upload takes its next offset from `Range: 0-N` on a 2xx. Nothing is said of an empty upload: `0-0` would
/// mean one byte.
pub(super) fn put_range(response: &mut Response, offset: u64) {
    if offset > 0
        && let Ok(value) = HeaderValue::try_from(format!("0-{}", offset - 1))
    {
        response.headers_mut().insert(header::RANGE, value);
    }
}
