//! From and to the wire of tus 1.0: its headers, and what each error is answered.

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    checksum::Unreadable,
    concat::{UPLOAD_CONCAT, said},
    digest,
};
use crate::{
    auth::AuthError,
    domain::{
        content_digest,
        upload::{Refusal, State, Upload},
    },
    http::{
        Here,
        headers::{REPR_DIGEST, dates::http_date, metadata::Metadata},
        problem::{Code, Problem},
    },
    uploads::{BodyError, New, UploadError},
};

/// The one version that is spoken.
pub(super) const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
/// Not of tus: the limits of the IETF draft (draft-ietf-httpbis-resumable-upload-11 §4.4), which tus has no word for.
pub(super) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
/// What the bytes of a chunk are sent as.
const CHUNK_TYPE: &str = "application/offset+octet-stream";

// ---- from the wire -------------------------------------------------------------------------------------------------

/// What can go wrong at this door.
#[derive(Debug)]
pub(super) enum Wire {
    /// To a request that would make an upload.
    Auth(AuthError),
    /// To a request about an upload that is there.
    Held(AuthError),
    Upload(UploadError),
    /// Another version of the protocol, or none.
    Version,
    /// The bytes are not sent as a chunk's.
    ContentType,
    Bad(&'static str),
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

impl From<Unreadable> for Wire {
    fn from(_: Unreadable) -> Self {
        Self::Bad("Upload-Checksum is an algorithm of Tus-Checksum-Algorithm and a value of its length in base64")
    }
}

/// Every request but OPTIONS says which version it speaks.
pub(super) fn version(headers: &HeaderMap) -> Result<(), Wire> {
    match headers.get(TUS_RESUMABLE) {
        Some(version) if version == VERSION => Ok(()),
        Some(_) | None => Err(Wire::Version),
    }
}

pub(super) fn is_chunk(headers: &HeaderMap) -> Result<(), Wire> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match sent.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(CHUNK_TYPE) {
        true => Ok(()),
        false => Err(Wire::ContentType),
    }
}

/// A header that stands once, or not at all.
pub(super) fn once<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    fault: &'static str,
) -> Result<Option<&'a str>, Wire> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value.trim())),
        (Some(_), _) => Err(Wire::Bad(fault)),
    }
}

/// A whole number of bytes; no file is longer than a signed number can say.
fn count(headers: &HeaderMap, name: &HeaderName, fault: &'static str) -> Result<Option<u64>, Wire> {
    let Some(text) = once(headers, name, fault)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number <= i64::MAX as u64);
    number.map(Some).ok_or(Wire::Bad(fault))
}

pub(super) fn offset(headers: &HeaderMap) -> Result<u64, Wire> {
    const FAULT: &str = "Upload-Offset must be there once, and a whole number";
    count(headers, &UPLOAD_OFFSET, FAULT)?.ok_or(Wire::Bad(FAULT))
}

/// The length, if it is told.
pub(super) fn length(headers: &HeaderMap) -> Result<Option<u64>, Wire> {
    count(headers, &UPLOAD_LENGTH, "Upload-Length must be one whole number")
}

/// The length of a new upload; `None` where it is to be told later.
pub(super) fn length_or_deferred(headers: &HeaderMap) -> Result<Option<u64>, Wire> {
    const DEFERRED: &str = "Upload-Defer-Length must be 1";
    match (length(headers)?, once(headers, &UPLOAD_DEFER_LENGTH, DEFERRED)?) {
        (Some(length), None) => Ok(Some(length)),
        (None, Some("1")) => Ok(None),
        (None, Some(_)) => Err(Wire::Bad(DEFERRED)),
        (None, None) => Err(Wire::Bad("Upload-Length or Upload-Defer-Length: 1 is needed")),
        (Some(_), Some(_)) => Err(Wire::Bad("Upload-Length and Upload-Defer-Length exclude each other")),
    }
}

/// A final upload has the bytes of its parts, and no others.
pub(super) fn is_final(headers: &HeaderMap, body: &Body) -> Result<(), Wire> {
    if headers.contains_key(UPLOAD_LENGTH) || headers.contains_key(UPLOAD_DEFER_LENGTH) {
        return Err(Wire::Bad("the length of a final upload is that of its parts, and not told"));
    }
    match body.is_end_stream() || body.size_hint().exact() == Some(0) {
        true => Ok(()),
        false => Err(Wire::Bad("a final upload has the bytes of its parts, and no body")),
    }
}

/// What the client says about a new upload. Names of keys as tus-js-client, Uppy and tuspy use them.
pub(super) fn described(headers: &HeaderMap) -> Result<New, Wire> {
    const FAULT: &str = "Upload-Metadata must be pairs of a key and a value in base64, each key once, 16 KiB at most";
    let sent = once(headers, &UPLOAD_METADATA, FAULT)?.filter(|text| !text.is_empty());
    let pairs = match sent {
        Some(text) => Metadata::parse(text).ok_or(Wire::Bad(FAULT))?,
        None => Metadata::default(),
    };
    Ok(New {
        filename: pairs.text(&["filename", "name"]).unwrap_or_default(),
        content_type: pairs.text(&["filetype", "type"]),
        digest: digest::wanted(headers, &pairs)?,
        metadata: sent.map(str::to_owned),
        completes: true,
        is_part: false,
    })
}

// ---- to the wire ---------------------------------------------------------------------------------------------------

/// What HEAD tells of an upload.
pub(super) fn told(upload: &Upload, state: State) -> Response {
    let mut response = ([(header::CACHE_CONTROL, "no-store")], ()).into_response();
    let headers = response.headers_mut();
    match upload.size {
        Some(size) => headers.insert(UPLOAD_LENGTH, size.into()),
        // That of a final upload follows from its parts.
        None if upload.is_joined() => None,
        None => headers.insert(UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    if let Some(sent) = upload.metadata.as_deref().and_then(|sent| HeaderValue::from_str(sent).ok()) {
        headers.insert(UPLOAD_METADATA, sent);
    }
    if let Some(said) = said(upload) {
        headers.insert(UPLOAD_CONCAT, said);
    }
    put_standing(headers, upload, state);
    response
}

/// Of a final upload nobody learns how far it is before it is complete: there is nothing to go on with.
pub(super) fn tells_offset(upload: &Upload, state: State) -> bool {
    !upload.is_joined() || state == State::Complete
}

/// Most bytes of the whole and of one request, if there is any limit.
pub(super) fn limits(whole: Option<u64>, request: Option<u64>) -> Option<HeaderValue> {
    let named = [("max-size", whole), ("max-append-size", request)];
    let limits: Vec<_> =
        named.iter().filter_map(|(name, limit)| limit.map(|limit| format!("{name}={limit}"))).collect();
    HeaderValue::try_from(limits.join(", ")).ok().filter(|value| !value.is_empty())
}

/// Where the upload stands, until when it may go on and, once complete, its digest if somebody wanted it.
pub(super) fn put_standing(headers: &mut HeaderMap, upload: &Upload, state: State) {
    if tells_offset(upload, state) {
        headers.insert(UPLOAD_OFFSET, upload.offset.into());
    }
    if state == State::Receiving
        && let Ok(expires) = HeaderValue::try_from(http_date(upload.expires))
    {
        headers.insert(UPLOAD_EXPIRES, expires);
    }
    if let Some(Ok(digest)) = upload.sum.as_ref().map(|sum| HeaderValue::try_from(content_digest::written(sum))) {
        headers.insert(REPR_DIGEST, digest);
    }
}

/// The answer to an error; `stands`: the offset of the upload, where it is known.
pub(super) fn refused(app: &Here, error: Wire, stands: Option<u64>) -> Response {
    let offset = match &error {
        Wire::Upload(UploadError::Refused(Refusal::WrongOffset { offset })) => stands.or(Some(*offset)),
        _ => stands,
    };
    let is_version = matches!(error, Wire::Version);
    let mut response = problem(error).into_response();
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, VERSION);
    if is_version {
        headers.insert(TUS_VERSION, VERSION);
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, app.challenge());
    }
    if let Some(offset) = offset {
        headers.insert(UPLOAD_OFFSET, offset.into());
    }
    response
}

fn problem(error: Wire) -> Problem {
    match error {
        Wire::Auth(error) => error.into(),
        // Whoever holds an upload would give it up on a 4xx; guesses of others behind the same address are no reason.
        Wire::Held(error @ AuthError::RateLimited { .. }) => {
            Problem::from(error).under(StatusCode::SERVICE_UNAVAILABLE)
        }
        Wire::Held(error) => error.into(),
        Wire::Upload(error) => {
            let own = own_status(&error);
            let problem = Problem::from(error);
            match own {
                Some(status) => problem.under(status),
                None => problem,
            }
        }
        Wire::Version => {
            Problem::new(Code::BadRequest, "Tus-Resumable: 1.0.0 is needed").under(StatusCode::PRECONDITION_FAILED)
        }
        Wire::ContentType => Problem::new(Code::BadRequest, format!("the Content-Type of a chunk is {CHUNK_TYPE}"))
            .under(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        Wire::Bad(detail) => Problem::new(Code::BadRequest, detail),
    }
}

/// What this protocol answers differently than a problem does by itself; also 413 to bytes beyond the length, 460 to a wrong
/// checksum (checksum extension), 403 to bytes for a final upload (concatenation), 423 to a lock that nobody gave up.
pub(in crate::http) fn own_status(error: &UploadError) -> Option<StatusCode> {
    match error {
        UploadError::Refused(Refusal::BeyondSize { .. }) => Some(StatusCode::PAYLOAD_TOO_LARGE),
        UploadError::Refused(Refusal::WrongDigest { .. }) | UploadError::Body(BodyError::WrongDigest { .. }) => {
            StatusCode::from_u16(460).ok()
        }
        // Concatenation: a final upload takes no PATCH.
        UploadError::Refused(Refusal::Joined) => Some(StatusCode::FORBIDDEN),
        UploadError::Busy => Some(StatusCode::LOCKED),
        // Clients give an upload up on 408, and what a stalled network brought is kept.
        UploadError::Body(BodyError::TooSlow) => Some(StatusCode::SERVICE_UNAVAILABLE),
        _ => None,
    }
}
