//! Door: django-chunked-uploads.
//!
//! A chunk is the bare body of a POST, with its place in `Content-Range` and the file's name in `Content-Disposition`;
//! `done` completes, a DELETE cancels, and a GET tells how far the file got. Keys and statuses are those of the original
//! (0.7 on Django 1.8). It knew uploads by a session cookie alone and put chunks together as they came; here a chunk
//! finds its upload by owner, name, total and place, and the cookie is a hint. The page `proto-docs/raw.md` lists every
//! difference.
//!
//! What arrived of a broken chunk is kept: the client asks how far it got.

mod cookie;
mod place;
mod unread;
mod wire;

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Path, Request},
    http::{HeaderMap, header, request::Parts},
    response::Response,
    routing::{delete, get},
};
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(super) use self::wire::{status_of_auth, status_of_upload};
use self::{
    cookie::Hint,
    place::Sent,
    unread::lend,
    wire::{Wire, empty, found, json, not_allowed, refused, show},
};
use super::{AppState, Here, body::incoming, form};
use crate::{
    domain::{
        UploadId,
        names::display_name,
        principal::Principal,
        upload::{Refusal, State as UploadState, Upload},
    },
    uploads::{Body as UploadBody, Listing, UploadError},
};

/// Methods of the upload route, as the original lists them.
const METHODS: &str = "GET, POST, DELETE, HEAD, OPTIONS";

/// Section `raw` of the configuration.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Path under which the three routes lie.
    pub prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { prefix: "/chunked_uploads".into() }
    }
}

/// The three routes, each with and without a trailing slash: a POST is never redirected, its body would be lost.
pub fn routes(settings: &Settings) -> Router<AppState> {
    let chunks = get(probe).post(upload).delete(nothing).options(empty).fallback(async || not_allowed(METHODS));
    // The original answers here whatever is asked, and looks nothing up.
    let done = get(empty).post(done).options(empty).fallback(async || not_allowed("GET, POST, HEAD, OPTIONS"));
    let cancel = delete(cancel).options(empty).fallback(async || not_allowed("DELETE, OPTIONS"));
    let prefix = &settings.prefix;
    Router::new()
        .route(&format!("{prefix}/upload"), chunks.clone())
        .route(&format!("{prefix}/upload/"), chunks)
        .route(&format!("{prefix}/upload/done/{{id}}"), done.clone())
        .route(&format!("{prefix}/upload/done/{{id}}/"), done)
        .route(&format!("{prefix}/{{id}}/delete"), cancel.clone())
        .route(&format!("{prefix}/{{id}}/delete/"), cancel)
}

// ---- handlers ------------------------------------------------------------------------------------------------------

async fn upload(app: Here, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match chunk(&app, &parts, body).await {
        Ok((by, upload)) => {
            let mut response = json(&[show(&app, &parts, &upload, upload.offset)]);
            app.put_token(&mut response, &by, &upload);
            cookie::remember(&mut response, &app, &parts.headers, upload.id);
            response
        }
        Err(error) => refused(&app, &error),
    }
}

async fn chunk(app: &Here, parts: &Parts, body: Body) -> Result<(Principal, Upload), Wire> {
    let by = app.admit(&app.presented(parts, Vec::new())).await?;
    let sent = Sent::parse(&parts.headers, body.size_hint().exact())?;
    let (body, unread) = lend(incoming(body));
    let outcome = placed(app, &by, parts, &sent, body).await;
    // Of equal chunks that arrive at the same moment one goes on. The others wait for it unread, and then are what any
    // chunk is that comes a moment later: bytes to be compared.
    let outcome = match (&outcome, unread.back()) {
        (Err(Wire::Upload(UploadError::Refused(Refusal::WrongOffset { .. }))), Some(body)) => {
            placed(app, &by, parts, &sent, body).await
        }
        _ => outcome,
    };
    Ok((by, outcome?))
}

async fn placed(app: &Here, by: &Principal, parts: &Parts, sent: &Sent, body: UploadBody) -> Result<Upload, Wire> {
    match by.only() {
        Some(id) => place::chunk_of(app, by, sent, id, body).await,
        None => {
            let hinted = hinted_for_chunk(app, by, &parts.headers).await?;
            place::chunk(app, by, sent, hinted, body).await
        }
    }
}

/// The resume probe: what is under way, for a page that comes back.
async fn probe(app: Here, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match under_way(&app, &parts).await {
        Ok(response) => response,
        Err(error) => refused(&app, &error),
    }
}

async fn under_way(app: &Here, parts: &Parts) -> Result<Response, Wire> {
    let by = app.admit(&app.presented(parts, Vec::new())).await?;
    let hint = by.only().map_or_else(|| Hint::of(&parts.headers), Hint::Upload);
    let hinted = match by.only() {
        Some(id) => Some(app.uploads.status(&by, id).await?),
        None => hinted(app, &by, &parts.headers).await?,
    };
    let hinted = hinted.filter(|upload| is_open(app, upload));
    let query = form::urlencoded(parts.uri.query().unwrap_or_default().as_bytes());
    let shown = |upload: &Upload| show(app, parts, upload, resume_at(upload));
    if let Some((_, name)) = query.iter().find(|(key, _)| key == "file") {
        let name = display_name(name);
        let upload = match hinted.filter(|upload| upload.filename == name) {
            Some(upload) => Some(upload),
            None => app.uploads.named(&by, &name, None).await?.into_iter().find(|upload| is_open(app, upload)),
        };
        return Ok(found(upload.as_ref().map(shown)));
    }
    let upload = match hint {
        Hint::Absent => newest(app, &by).await?,
        Hint::Ended | Hint::Upload(_) => hinted,
    };
    Ok(json(&upload.iter().map(shown).collect::<Vec<_>>()))
}

async fn newest(app: &Here, by: &Principal) -> Result<Option<Upload>, Wire> {
    let listing = Listing { state: Some(UploadState::Receiving), after: None, limit: 1 };
    Ok(app.uploads.list(by, &listing).await?.into_iter().next())
}

async fn done(app: Here, id: Result<Path<String>, Rejection>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let outcome = async {
        let by = admit(&app, &parts, body).await?;
        let id = named(id)?;
        let expected = wire::expected(&parts.headers)?;
        match app.uploads.finish(&by, id, expected).await {
            Ok(upload) => Ok((id, wire::complete(&app, &parts, &upload))),
            // Nothing is destroyed, as it was there.
            Err(UploadError::Refused(Refusal::Incomplete { .. })) => Ok((id, wire::incomplete())),
            Err(error) => Err(error.into()),
        }
    };
    ended(&app, &parts.headers.clone(), outcome.await)
}

async fn cancel(app: Here, id: Result<Path<String>, Rejection>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let headers = parts.headers.clone();
    let outcome = async {
        let by = admit(&app, &parts, body).await?;
        let id = named(id)?;
        app.uploads.cancel(&by, id).await?;
        Ok((id, wire::cancelled(&parts.headers)))
    };
    ended(&app, &headers, outcome.await)
}

/// The answer, with which the session forgets the upload if that is the one it knows.
fn ended(app: &Here, headers: &HeaderMap, outcome: Result<(UploadId, Response), Wire>) -> Response {
    match outcome {
        Ok((id, mut response)) => {
            cookie::forget(&mut response, app, headers, id);
            response
        }
        Err(error) => refused(app, &error),
    }
}

/// DELETE names its upload in the path; here there is none.
async fn nothing(app: Here, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let error = match admit(&app, &parts, body).await {
        Ok(_) => UploadError::NotFound.into(),
        Err(error) => error,
    };
    refused(&app, &error)
}

// ---- from the wire -------------------------------------------------------------------------------------------------

type Rejection = axum::extract::rejection::PathRejection;

/// Credentials may also stand in a small form: the original's page sends them so with its DELETE.
async fn admit(app: &Here, parts: &Parts, body: Body) -> Result<Principal, Wire> {
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let fields = form::small(content_type, incoming(body)).await?;
    Ok(app.admit(&app.presented(parts, fields)).await?)
}

/// What is not an id names no upload.
fn named(id: Result<Path<String>, Rejection>) -> Result<UploadId, Wire> {
    let id = id.ok().and_then(|Path(text)| text.parse().ok());
    id.ok_or_else(|| UploadError::NotFound.into())
}

/// The upload that the cookie names, whatever its state, if it is the principal's.
async fn hinted(app: &Here, by: &Principal, headers: &HeaderMap) -> Result<Option<Upload>, Wire> {
    let Hint::Upload(id) = Hint::of(headers) else { return Ok(None) };
    taken(app.uploads.status(by, id).await)
}

/// The upload that the cookie names, for a chunk: a key that may write needs no right to read for it.
async fn hinted_for_chunk(app: &Here, by: &Principal, headers: &HeaderMap) -> Result<Option<Upload>, Wire> {
    let Hint::Upload(id) = Hint::of(headers) else { return Ok(None) };
    taken(app.uploads.candidate(by, id).await)
}

/// A hint that leads nowhere is none.
fn taken(hinted: Result<Upload, UploadError>) -> Result<Option<Upload>, Wire> {
    match hinted {
        Ok(upload) => Ok(Some(upload)),
        Err(UploadError::NotFound | UploadError::OutOfScope { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_open(app: &Here, upload: &Upload) -> bool {
    upload.state_at(app.uploads.now()) == UploadState::Receiving
}

/// Where a page goes on. If every byte is there and `done` was lost, it is told the start of the last chunk: the
/// original's page sends nothing and never calls `done` when it hears the total.
fn resume_at(upload: &Upload) -> u64 {
    if upload.size == Some(upload.offset) { upload.tail_start } else { upload.offset }
}
