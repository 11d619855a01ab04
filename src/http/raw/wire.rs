//! What this door answers.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;

use crate::{
    auth::AuthError,
    domain::{
        content_digest,
        digest::{Algorithm, Digest},
        upload::{Refusal, Upload},
    },
    http::{
        Here,
        detail::{self, Answer, Cause},
        form::FormError,
        headers::REPR_DIGEST,
        problem::log,
    },
    uploads::UploadError,
};

/// An upload, keys in the original's order.
#[derive(Serialize)]
pub(super) struct Shown {
    name: String,
    total_size: u64,
    upload_uuid: String,
    url: String,
    delete_type: &'static str,
    delete_url: String,
    size: u64,
}

/// Answer to `done`.
#[derive(Serialize)]
struct Done {
    state: &'static str,
    video_url: String,
}

/// Answer to the probe of jQuery-File-Upload's own server.
#[derive(Serialize)]
struct Found {
    file: Option<Shown>,
}

/// Answer to a refusal.
#[derive(Serialize)]
struct Detail {
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

/// What can go wrong at this door.
pub(super) enum Wire {
    Auth(AuthError),
    Upload(UploadError),
    /// This status with this text.
    Bad(StatusCode, String),
}

impl From<AuthError> for Wire {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}

impl From<UploadError> for Wire {
    fn from(error: UploadError) -> Self {
        Self::Upload(error)
    }
}

impl From<FormError> for Wire {
    fn from(error: FormError) -> Self {
        match error {
            FormError::NotAForm => Self::Bad(StatusCode::BAD_REQUEST, error.to_string()),
            FormError::Body(error) => Self::Upload(error.into()),
        }
    }
}

/// The upload, of which the client is told that `size` bytes are there.
pub(super) fn show(app: &Here, parts: &Parts, upload: &Upload, size: u64) -> Shown {
    let base = app.base_url(parts);
    Shown {
        name: upload.filename.clone(),
        total_size: upload.size.unwrap_or(upload.offset),
        upload_uuid: upload.id.to_string(),
        url: content_url(&base, upload),
        delete_type: "DELETE",
        delete_url: format!("{base}{}/{}/delete/", app.raw.prefix, upload.id),
        size,
    }
}

fn content_url(base: &str, upload: &Upload) -> String {
    format!("{base}/api/v1/uploads/{}/content", upload.id)
}

pub(super) fn json(body: &impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

pub(super) fn found(file: Option<Shown>) -> Response {
    json(&Found { file })
}

/// The digest that the client expects of the whole file, if it names one that is known here: of several, the one that
/// this door keeps up.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<Digest>, Wire> {
    let bad = || Wire::Bad(StatusCode::BAD_REQUEST, "Repr-Digest is malformed".into());
    let mut values = headers.get_all(REPR_DIGEST).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let mut named = value.to_str().ok().and_then(content_digest::read).ok_or_else(bad)?;
            named.sort_by_key(|digest| digest.algorithm != Algorithm::Md5);
            Ok(named.into_iter().next())
        }
        (Some(_), Some(_)) => Err(bad()),
    }
}

pub(super) fn complete(app: &Here, parts: &Parts, upload: &Upload) -> Response {
    let mut response = json(&[Done { state: "COMPLETE", video_url: content_url(&app.base_url(parts), upload) }]);
    if let Some(Ok(digest)) = upload.sum.as_ref().map(|sum| HeaderValue::try_from(content_digest::written(sum))) {
        response.headers_mut().insert(REPR_DIGEST, digest);
    }
    response
}

pub(super) fn incomplete() -> Response {
    json(&[Done { state: "FAIL", video_url: String::new() }])
}

/// The original's body is empty, which jQuery since 1.9 takes for broken JSON where it asks for JSON: whoever names it
/// gets an empty object.
pub(super) fn cancelled(asked: &HeaderMap) -> Response {
    let accepts = asked.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match accepts.to_ascii_lowercase().contains("json") {
        true => json(&serde_json::json!({})),
        false => StatusCode::OK.into_response(),
    }
}

pub(super) async fn empty() -> Response {
    StatusCode::OK.into_response()
}

pub(super) fn not_allowed(methods: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, methods)]).into_response()
}

pub(super) fn refused(app: &Here, error: &Wire) -> Response {
    let (cause, (status, detail, offset)) = match error {
        Wire::Bad(status, detail) => (Cause::Request, (*status, detail.clone(), None)),
        Wire::Auth(error) => (Cause::Auth(error), auth_wire(error)),
        Wire::Upload(error) => (Cause::Upload(error), detail::upload(error, refusal_wire)),
    };
    log(status, "raw", &detail, cause.hidden());
    let mut response = (status, Json(Detail { detail, offset })).into_response();
    cause.put_headers(&mut response, app, offset);
    response
}

fn auth_wire(error: &AuthError) -> Answer {
    let status = match error {
        AuthError::Ambiguous(_) => StatusCode::BAD_REQUEST,
        // The original refuses whatever it cannot verify in one way, and its page knows only that one.
        AuthError::Missing
        | AuthError::Malformed(_)
        | AuthError::Stale { .. }
        | AuthError::Invalid
        | AuthError::TokenExpired
        | AuthError::Replayed
        | AuthError::SchemeNotAllowed => StatusCode::UNAUTHORIZED,
        AuthError::Disabled | AuthError::CrossSite => StatusCode::FORBIDDEN,
        AuthError::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        AuthError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string(), None)
}

fn refusal_wire(refusal: &Refusal) -> Answer {
    let (status, offset) = match refusal {
        Refusal::Expired | Refusal::Cancelled => (StatusCode::GONE, None),
        Refusal::Complete | Refusal::Joined | Refusal::Part => (StatusCode::CONFLICT, None),
        Refusal::Incomplete { offset } | Refusal::WrongOffset { offset } => (StatusCode::CONFLICT, Some(*offset)),
        Refusal::TooLarge { max_bytes: _ }
        | Refusal::ChunkTooLarge { max_bytes: _ }
        | Refusal::OverQuota { left_bytes: _ } => (StatusCode::PAYLOAD_TOO_LARGE, None),
        Refusal::TypeNotAllowed => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
        Refusal::TooManyUploads { max_uploads: _ } | Refusal::TooManyRequests { wait_seconds: _ } => {
            (StatusCode::TOO_MANY_REQUESTS, None)
        }
        Refusal::SlowDown { wait_seconds: _ } => (StatusCode::SERVICE_UNAVAILABLE, None),
        Refusal::WrongSize { size: _ }
        | Refusal::BeyondSize { size: _ }
        | Refusal::WrongLength
        | Refusal::WrongDigest { algorithm: _ }
        | Refusal::NoDigest { algorithm: _ }
        | Refusal::NotAPart => (StatusCode::BAD_REQUEST, None),
        Refusal::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, None),
    };
    (status, refusal.to_string(), offset)
}

/// The status of a refusal by the gate, for the catalogue.
#[cfg(test)]
pub(in crate::http) fn status_of_auth(error: &AuthError) -> StatusCode {
    auth_wire(error).0
}

/// The status of a refusal by the core, for the catalogue.
#[cfg(test)]
pub(in crate::http) fn status_of_upload(error: &UploadError) -> StatusCode {
    detail::upload(error, refusal_wire).0
}
