//! Door: django-chunked-upload.
//!
//! Chunks are multipart form POSTs with a `Content-Range`; completion is a second request with the md5. Statuses, keys,
//! messages, timestamp format and the spacing of the JSON are those of the original (2.0.0 on Django 4.2), so that its
//! clients (jQuery-File-Upload above all) go on working unchanged; where the original lost or corrupted data it is
//! refused. The page `proto-docs/multipart.md` lists every difference.
//!
//! A chunk is atomic: its bytes count when the form's end was seen and everything in it was in order.

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};

use super::{
    AppState, Here,
    body::incoming,
    detail::{self, Answer, Cause, put_range},
    form::{self, FilePart, Form, FormError, Prefix},
    headers::{
        dates::iso_millis,
        ranges::{ContentRange, ContentRangeError},
    },
    problem::log,
};
use crate::{
    auth::{AuthError, credentials},
    domain::{
        UploadId,
        digest::{Algorithm, Digest, Wanted},
        principal::Principal,
        upload::{At, Claim, Refusal, Upload},
    },
    uploads::{Append, Contention, Keep, New, Target, UploadError},
};

/// Section `multipart` of the configuration.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Path of the upload route; the completion route is the same with `_complete` appended.
    pub prefix: String,
    /// Name of the form field that carries the chunk.
    pub field_name: String,
    /// Header that carries the range of the chunk.
    pub content_range_header: String,
    /// Whether a request without that header is refused instead of taken as the whole file.
    pub require_content_range: bool,
    /// Whether completion asks for the md5 and compares it.
    pub require_md5: bool,
    /// Content type of the answers.
    pub content_type: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "/chunked_upload".into(),
            field_name: "file".into(),
            content_range_header: "Content-Range".into(),
            require_content_range: false,
            require_md5: true,
            content_type: "application/json".into(),
        }
    }
}

/// The two routes, each with and without a trailing slash: a POST is never redirected, its body would be lost.
pub fn routes(settings: &Settings) -> Router<AppState> {
    let chunk = post(upload).options(allowed).fallback(not_allowed);
    let done = post(complete).options(allowed).fallback(not_allowed);
    let prefix = &settings.prefix;
    Router::new()
        .route(prefix, chunk.clone())
        .route(&format!("{prefix}/"), chunk)
        .route(&format!("{prefix}_complete"), done.clone())
        .route(&format!("{prefix}_complete/"), done)
}

// ---- wire types ----------------------------------------------------------------------------------------------------

/// Answer to a chunk, keys in the original's order.
#[derive(Serialize)]
struct Accepted {
    upload_id: String,
    offset: u64,
    expires: String,
}

/// Answer to a refusal.
#[derive(Serialize)]
struct Detail {
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

/// What can go wrong at this door.
enum Wire {
    Auth(AuthError),
    Upload(UploadError),
    /// 400 with this text.
    Bad(String),
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
            FormError::NotAForm => Self::Bad("No chunk file was submitted".into()),
            FormError::Body(error) => Self::Upload(error.into()),
        }
    }
}

// ---- handlers ------------------------------------------------------------------------------------------------------

async fn upload(app: Here, request: Request) -> Response {
    let outcome = chunk(&app, request).await;
    match outcome {
        Ok((by, upload)) => {
            let mut response = accepted(&app.multipart, &upload);
            app.put_token(&mut response, &by, &upload);
            response
        }
        Err(error) => refused(&app, error),
    }
}

async fn chunk(app: &Here, request: Request) -> Result<(Principal, Upload), Wire> {
    let settings = &app.multipart;
    let (parts, body) = request.into_parts();
    let early = admit_by_head(app, &parts).await?;
    let range = content_range(&parts.headers, settings);
    if early.is_some() {
        // Known before a byte of the body is read.
        range.as_ref().map_err(|text| Wire::Bad(text.clone()))?;
    }
    let mut form = Form::open(content_type(&parts.headers), incoming(body)).ok();
    let Prefix { fields, file } = match &mut form {
        Some(form) => form.prefix(&settings.field_name).await?,
        None => Prefix { fields: Vec::new(), file: None },
    };
    let whole = app.presented(&parts, fields.clone());
    let principal = match early {
        // Judged once; what the form adds may repeat it and must not contradict it.
        Some(principal) => app.gate.presents(&whole).map(|_| principal)?,
        None => app.admit(&whole).await?,
    };
    let (Some(form), Some(file)) = (form, file) else { return Err(Wire::Bad("No chunk file was submitted".into())) };
    let claim = claim(range.map_err(Wire::Bad)?);
    let target = target(&fields, file, settings)?;
    let body = form.content(|name| name == "upload_id" || credentials::is_part(name));
    let append = Append { target, claim, keep: Keep::Whole, contention: Contention::Wait, body };
    let upload = app.uploads.append(&principal, append).await?;
    Ok((principal, upload))
}

async fn complete(app: Here, request: Request) -> Response {
    match finish(&app, request).await {
        Ok(upload) => {
            let mut response = json(&app.multipart, StatusCode::OK, &serde_json::json!({}));
            put_range(&mut response, upload.offset);
            response
        }
        Err(error) => refused(&app, error),
    }
}

async fn finish(app: &Here, request: Request) -> Result<Upload, Wire> {
    let (parts, body) = request.into_parts();
    let fields = form::small(Some(content_type(&parts.headers)), incoming(body)).await?;
    let principal = app.admit(&app.presented(&parts, fields.clone())).await?;
    let (id, md5) = (value(&fields, "upload_id")?, value(&fields, "md5")?);
    let expected = match (id, md5, app.multipart.require_md5) {
        (Some(_), Some(md5), true) => Some(expected_md5(md5)),
        (_, _, true) => return Err(Wire::Bad("Both 'upload_id' and 'md5' are required".into())),
        (Some(_), _, false) => None,
        (None, _, false) => return Err(Wire::Bad("'upload_id' is required".into())),
    };
    let id = parse_id(id.unwrap_or_default())?;
    Ok(app.uploads.finish(&principal, id, expected).await?)
}

async fn allowed() -> Response {
    (StatusCode::OK, [(header::ALLOW, "POST, OPTIONS"), (header::CONTENT_TYPE, "text/html; charset=utf-8")])
        .into_response()
}

async fn not_allowed() -> Response {
    let mut response = allowed().await;
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

// ---- from the wire -------------------------------------------------------------------------------------------------

/// The principal, if the head alone presents credentials; `None` if they, or the parts that the head lacks, may still
/// come as form fields. What is wrong in itself is found again when the fields are known.
async fn admit_by_head(app: &Here, parts: &Parts) -> Result<Option<Principal>, Wire> {
    let head = app.presented(parts, Vec::new());
    match app.gate.presents(&head) {
        Ok(true) => Ok(Some(app.admit(&head).await?)),
        Ok(false) | Err(AuthError::Malformed(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The chunk's range; `None` if the header is absent and may be. The error is the text of a 400.
fn content_range(headers: &HeaderMap, settings: &Settings) -> Result<Option<ContentRange>, String> {
    let mut values = headers.get_all(settings.content_range_header.as_str()).iter();
    let malformed = || "Error in request headers".to_owned();
    match (values.next(), values.next()) {
        (None, _) if settings.require_content_range => Err(malformed()),
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str().map_err(|_| ContentRangeError::Malformed).and_then(str::parse) {
            Ok(range) => Ok(Some(range)),
            Err(ContentRangeError::Malformed) => Err(malformed()),
            Err(error) => Err(error.to_string()),
        },
        (Some(_), Some(_)) => Err(malformed()),
    }
}

/// Without a range the part is the whole file, as jQuery-File-Upload sends a file that fits in one chunk.
fn claim(range: Option<ContentRange>) -> Claim {
    match range {
        Some(range) => {
            Claim { at: At::Exactly(range.start), length: Some(range.length()), size: Some(range.total), last: false }
        }
        None => Claim { at: At::Exactly(0), length: None, size: None, last: true },
    }
}

/// An absent or empty `upload_id` begins a new upload.
fn target(fields: &[(String, String)], file: FilePart, settings: &Settings) -> Result<Target, Wire> {
    match value(fields, "upload_id")? {
        Some(id) => Ok(Target::Known(parse_id(id)?)),
        None => Ok(Target::New(New {
            filename: file.filename,
            content_type: file.content_type,
            digest: settings.require_md5.then_some(Wanted::Told(Algorithm::Md5)),
            metadata: None,
            completes: false,
            is_part: false,
        })),
    }
}

/// The one non-empty value of a field. The original took the last of several; which upload was meant is not guessed.
fn value<'a>(fields: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, Wire> {
    let mut values = fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Wire::Bad(format!("'{name}' was given more than once"))),
        (first, None) => Ok(first.filter(|value| !value.is_empty())),
    }
}

/// What is not an id names no upload.
fn parse_id(text: &str) -> Result<UploadId, Wire> {
    text.parse().map_err(|_| Wire::Upload(UploadError::NotFound))
}

/// A value that is not an md5 matches no content; the upload is still looked up first, as in the original.
fn expected_md5(text: &str) -> Digest {
    Digest::from_hex(Algorithm::Md5, text).unwrap_or(Digest { algorithm: Algorithm::Md5, value: Vec::new() })
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

// ---- to the wire ---------------------------------------------------------------------------------------------------

fn accepted(settings: &Settings, upload: &Upload) -> Response {
    let answer = Accepted { upload_id: upload.id.simple(), offset: upload.offset, expires: iso_millis(upload.expires) };
    let mut response = json(settings, StatusCode::OK, &answer);
    put_range(&mut response, upload.offset);
    response
}

fn refused(app: &Here, error: Wire) -> Response {
    let (cause, (status, detail, offset)) = match &error {
        Wire::Bad(detail) => (Cause::Request, (StatusCode::BAD_REQUEST, detail.clone(), None)),
        Wire::Auth(error) => (Cause::Auth(error), auth_wire(error)),
        Wire::Upload(error) => (Cause::Upload(error), detail::upload(error, refusal_wire)),
    };
    log(status, "multipart", &detail, cause.hidden());
    let mut response = json(&app.multipart, status, &Detail { detail, offset });
    cause.put_headers(&mut response, app, offset);
    response
}

fn auth_wire(error: &AuthError) -> Answer {
    let (status, detail) = match error {
        AuthError::Missing => (StatusCode::FORBIDDEN, "Authentication credentials were not provided".to_owned()),
        AuthError::Ambiguous(_) | AuthError::Malformed(_) => (StatusCode::BAD_REQUEST, error.to_string()),
        AuthError::Stale { .. }
        | AuthError::Invalid
        | AuthError::TokenExpired
        | AuthError::Replayed
        | AuthError::SchemeNotAllowed => (StatusCode::UNAUTHORIZED, error.to_string()),
        AuthError::Disabled | AuthError::CrossSite => (StatusCode::FORBIDDEN, error.to_string()),
        AuthError::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, error.to_string()),
        AuthError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    (status, detail, None)
}

fn refusal_wire(refusal: &Refusal) -> Answer {
    let bad = StatusCode::BAD_REQUEST;
    match refusal {
        Refusal::Expired => (StatusCode::GONE, "Upload has expired".into(), None),
        Refusal::Cancelled => (StatusCode::GONE, "Upload has been cancelled".into(), None),
        Refusal::Complete => (bad, "Upload has already been marked as \"complete\"".into(), None),
        Refusal::Joined | Refusal::Part | Refusal::NotAPart | Refusal::KeyReused => (bad, refusal.to_string(), None),
        Refusal::Incomplete { offset } => (bad, "Upload is not complete".into(), Some(*offset)),
        Refusal::WrongOffset { offset } => (bad, "Offsets do not match".into(), Some(*offset)),
        Refusal::WrongSize { size } => {
            (bad, format!("Total size does not match the first chunk's ({size} bytes)"), None)
        }
        Refusal::BeyondSize { size } => (bad, format!("Chunk reaches beyond the total size ({size} bytes)"), None),
        Refusal::TooLarge { max_bytes } => (bad, format!("Size of file exceeds the limit ({max_bytes} bytes)"), None),
        // What follows has no model in the original.
        Refusal::ChunkTooLarge { max_bytes } => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("Size of chunk exceeds the limit ({max_bytes} bytes)"), None)
        }
        Refusal::OverQuota { .. } => (StatusCode::PAYLOAD_TOO_LARGE, refusal.to_string(), None),
        Refusal::TypeNotAllowed => (StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal.to_string(), None),
        Refusal::TooManyUploads { .. } | Refusal::TooManyRequests { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, refusal.to_string(), None)
        }
        Refusal::SlowDown { .. } => (StatusCode::SERVICE_UNAVAILABLE, refusal.to_string(), None),
        Refusal::WrongLength => (bad, "File size doesn't match headers".into(), None),
        Refusal::WrongDigest { algorithm } => (bad, format!("{} checksum does not match", algorithm.name()), None),
        Refusal::NoDigest { algorithm } => (bad, format!("No {} checksum was kept", algorithm.name()), None),
    }
}

/// JSON with the spacing of Python's `json.dumps`.
fn json(settings: &Settings, status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = Vec::new();
    let mut out = serde_json::Serializer::with_formatter(&mut text, PythonSpacing);
    body.serialize(&mut out).expect("strings and numbers");
    let content_type: (HeaderName, &str) = (header::CONTENT_TYPE, &settings.content_type);
    (status, [content_type], Body::from(text)).into_response()
}

struct PythonSpacing;

impl serde_json::ser::Formatter for PythonSpacing {
    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// The status of a refusal by the gate, for the catalogue.
#[cfg(test)]
pub(super) fn status_of_auth(error: &AuthError) -> StatusCode {
    auth_wire(error).0
}

/// The status of a refusal by the core, for the catalogue.
#[cfg(test)]
pub(super) fn status_of_upload(error: &UploadError) -> StatusCode {
    detail::upload(error, refusal_wire).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_spelled_like_the_original() {
        let accepted = Accepted { upload_id: "ab".into(), offset: 10, expires: "2026-11-23T10:11:32.581Z".into() };
        let mut text = Vec::new();
        accepted.serialize(&mut serde_json::Serializer::with_formatter(&mut text, PythonSpacing)).expect("plain");
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"upload_id": "ab", "offset": 10, "expires": "2026-11-23T10:11:32.581Z"}"#
        );
    }

    #[test]
    fn a_repeated_field_is_refused_and_an_empty_one_is_none() {
        let fields =
            |values: &[&str]| values.iter().map(|v| ("upload_id".to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        assert!(matches!(value(&fields(&[]), "upload_id"), Ok(None)));
        assert!(matches!(value(&fields(&[""]), "upload_id"), Ok(None)));
        assert!(matches!(value(&fields(&["a"]), "upload_id"), Ok(Some("a"))));
        assert!(matches!(value(&fields(&["a", "a"]), "upload_id"), Err(Wire::Bad(_))));
    }
}
