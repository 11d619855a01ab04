//! Door: tus 1.0.
//!
//! An upload is made by a POST, grows by PATCHes at its offset, tells its offset to a HEAD, and is complete when its
//! length is reached. What arrived of a broken PATCH is kept, whoever comes back takes over from the dead connection.
//! The page is `proto-docs/tus.md`.

mod checksum;
mod concat;
mod digest;
mod idempotency;
mod wire;

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Path, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(super) use self::wire::own_status;
use self::{
    concat::Concat,
    wire::{TUS_RESUMABLE, TUS_VERSION, VERSION, Wire, put_standing, refused, tells_offset, told},
};
use super::{AppState, Here, body::incoming, delivery, digested::is_digested};
use crate::{
    domain::{
        UploadId,
        limits::smaller,
        principal::Principal,
        upload::{At, Claim, Refusal, State as UploadState, Upload},
    },
    uploads::{Append, Contention, Keep, Target, UploadError},
};

/// What is spoken beyond the core protocol.
const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,\
    termination,concatenation,concatenation-unfinished";

/// Section `tus` of the configuration.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Path under which the uploads lie.
    pub prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { prefix: "/files".into() }
    }
}

/// The collection and its uploads, each with and without a trailing slash: a POST is never redirected.
pub fn routes(settings: &Settings) -> Router<AppState> {
    let all = post(create).options(options);
    let one: MethodRouter<AppState> =
        get(content).head(head).patch(patch).delete(terminate).post(overridden).options(options);
    let prefix = &settings.prefix;
    Router::new()
        .route(prefix, all.clone())
        .route(&format!("{prefix}/"), all)
        .route(&format!("{prefix}/{{id}}"), one.clone())
        .route(&format!("{prefix}/{{id}}/"), one)
}

type Named = Result<Path<String>, axum::extract::rejection::PathRejection>;

// ---- handlers ------------------------------------------------------------------------------------------------------

/// What the service can do. Asked without credentials and without a version.
async fn options(app: Here) -> Response {
    let algorithms = checksum::ALGORITHMS.map(|algorithm| algorithm.name()).join(",");
    let mut response =
        ([("tus-extension", EXTENSIONS), ("tus-checksum-algorithm", &*algorithms)], StatusCode::OK).into_response();
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, VERSION);
    headers.insert(TUS_VERSION, VERSION);
    if let Some(most) = app.uploads.max_file_bytes() {
        headers.insert("tus-max-size", most.into());
        headers.extend(wire::limits(Some(most), None).map(|limits| (wire::UPLOAD_LIMIT, limits)));
    }
    response
}

async fn create(app: Here, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match created(&app, &parts, body).await {
        Ok((by, upload)) => {
            let mut response = answered(&app, StatusCode::CREATED, &by, &upload);
            let location = format!("{}{}/{}", app.base_url(&parts), app.tus.prefix, upload.id);
            if let Ok(location) = HeaderValue::try_from(location) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            response
        }
        Err(error) => refused(&app, error, None),
    }
}

async fn created(app: &Here, parts: &Parts, body: Body) -> Result<(Principal, Upload), Wire> {
    wire::version(&parts.headers)?;
    let by = app.admit(&app.presented(parts, Vec::new())).await?;
    let mut new = wire::described(&parts.headers)?;
    let key = idempotency::key(&parts.headers)?;
    let behind = format!("{}{}", app.prefix(), app.tus.prefix);
    match concat::concat(&parts.headers, &[&app.tus.prefix, &behind])? {
        Some(Concat::Joined { listed, parts: names }) => {
            wire::is_final(&parts.headers, &body)?;
            let names = names.ok_or(UploadError::NotFound)?;
            return Ok((by.clone(), app.uploads.join(&by, new, listed, names).await?));
        }
        // Clients repeat with each part what they say of the whole.
        Some(Concat::Part) => (new.is_part, new.completes, new.digest) = (true, false, None),
        None => {}
    }
    let size = wire::length_or_deferred(&parts.headers)?;
    if body.size_hint().exact() != Some(0) {
        wire::is_chunk(&parts.headers)?;
    }
    let target = match key {
        Some(key) => Target::Once(new, key),
        None => Target::New(new),
    };
    let chunk = Chunk { target, at: 0, size };
    let upload = append(app, &by, &parts.headers, chunk, body).await?;
    Ok((by, upload))
}

async fn patch(app: Here, id: Named, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let by = match admitted(&app, &parts).await {
        Ok(by) => by,
        Err(error) => return refused(&app, error, None),
    };
    match patched(&app, &by, id, &parts.headers, body).await {
        Ok(upload) => answered(&app, StatusCode::NO_CONTENT, &by, &upload),
        Err((error, id)) => {
            let stands = standing(&app, &by, &error, id).await;
            refused(&app, error, stands)
        }
    }
}

async fn patched(
    app: &Here,
    by: &Principal,
    id: Named,
    headers: &HeaderMap,
    body: Body,
) -> Result<Upload, (Wire, Option<UploadId>)> {
    let id = named(id).map_err(|error| (error, None))?;
    let outcome = async {
        wire::is_chunk(headers)?;
        let chunk = Chunk { target: Target::Known(id), at: wire::offset(headers)?, size: wire::length(headers)? };
        append(app, by, headers, chunk, body).await
    };
    outcome.await.map_err(|error| (error, Some(id)))
}

/// How far it got. What a connection that broke has brought is in it.
async fn head(app: Here, id: Named, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let by = admitted(&app, &parts).await?;
        let upload = app.uploads.settled(&by, named(id)?).await?;
        let state = state(&app, &upload)?;
        let mut response = told(&upload, state);
        let headers = response.headers_mut();
        headers.insert(TUS_RESUMABLE, VERSION);
        put_limits(headers, &app, &upload);
        Ok(response)
    };
    outcome.await.unwrap_or_else(|error| refused(&app, error, None))
}

async fn terminate(app: Here, id: Named, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let by = admitted(&app, &parts).await?;
        app.uploads.cancel(&by, named(id)?).await?;
        Ok(([(TUS_RESUMABLE, VERSION)], StatusCode::NO_CONTENT).into_response())
    };
    outcome.await.unwrap_or_else(|error: Wire| refused(&app, error, None))
}

/// For environments that cannot send PATCH or DELETE. A GET is never made of a POST: browsers send their users' passwords
/// with one for any page, and what a GET may do is judged by its real method.
async fn overridden(app: Here, id: Named, request: Request) -> Response {
    let method = request.headers().get("x-http-method-override").and_then(|method| method.to_str().ok());
    match method {
        Some("PATCH") => patch(app, id, request).await,
        Some("DELETE") => terminate(app, id, request).await,
        Some("HEAD") => head(app, id, request).await,
        Some(_) | None => refused(&app, Wire::Bad("X-HTTP-Method-Override must be PATCH, DELETE or HEAD"), None),
    }
}

async fn content(app: Here, id: Named, method: Method, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let by = app.admit(&app.presented(&parts, Vec::new())).await.map_err(Wire::Held)?;
        let upload = app.uploads.open(&by, named(id)?).await?;
        delivery::content(&app, &upload, &method, &parts.headers).await.map_err(Wire::from)
    };
    outcome.await.unwrap_or_else(|error| refused(&app, error, None))
}

// ---- between the wire and the core ---------------------------------------------------------------------------------

struct Chunk {
    target: Target,
    at: u64,
    size: Option<u64>,
}

async fn append(app: &Here, by: &Principal, headers: &HeaderMap, chunk: Chunk, body: Body) -> Result<Upload, Wire> {
    let length = body.size_hint().exact();
    let (body, is_checked) = checksum::checked(headers, body)?;
    let claim = Claim { at: At::Exactly(chunk.at), length, size: chunk.size, last: false };
    // What is to be checked is admitted as a whole or not at all.
    let keep = if is_checked || is_digested(headers) { Keep::Whole } else { Keep::Received };
    let append = Append { target: chunk.target, claim, keep, contention: Contention::Succeed, body: incoming(body) };
    Ok(app.uploads.append(by, append).await?)
}

async fn admitted(app: &Here, parts: &Parts) -> Result<Principal, Wire> {
    wire::version(&parts.headers)?;
    app.admit(&app.presented(parts, Vec::new())).await.map_err(Wire::Held)
}

/// What is not an id names no upload.
fn named(id: Named) -> Result<UploadId, Wire> {
    let id = id.ok().and_then(|Path(text)| text.parse().ok());
    id.ok_or_else(|| UploadError::NotFound.into())
}

/// What ended is gone.
fn state(app: &Here, upload: &Upload) -> Result<UploadState, Wire> {
    match upload.state_at(app.uploads.now()) {
        UploadState::Cancelled => Err(UploadError::from(Refusal::Cancelled).into()),
        UploadState::Expired => Err(UploadError::from(Refusal::Expired).into()),
        state => Ok(state),
    }
}

/// Where the upload stands after a refusal, so that a client need not ask.
async fn standing(app: &Here, by: &Principal, error: &Wire, id: Option<UploadId>) -> Option<u64> {
    let tells = matches!(error, Wire::Upload(UploadError::Refused(_) | UploadError::Body(_) | UploadError::Full));
    let upload = app.uploads.settled(by, id.filter(|_| tells)?).await.ok()?;
    let state = state(app, &upload).ok()?;
    tells_offset(&upload, state).then_some(upload.offset)
}

/// How much it may become, and how much of it one request may bring.
fn put_limits(headers: &mut HeaderMap, app: &Here, upload: &Upload) {
    let most = smaller(upload.max_bytes, app.uploads.max_file_bytes());
    if upload.state == UploadState::Receiving
        && let Some(limits) = wire::limits(most, upload.kept.max_chunk_bytes)
    {
        headers.insert(wire::UPLOAD_LIMIT, limits);
    }
}

fn answered(app: &Here, status: StatusCode, by: &Principal, upload: &Upload) -> Response {
    let mut response = status.into_response();
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, VERSION);
    put_standing(headers, upload, upload.state);
    put_limits(headers, app, upload);
    app.put_token(&mut response, by, upload);
    response
}
