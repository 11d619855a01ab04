//! Door: native JSON. List, status, cancel, content of one's own uploads.
//!
//! Refusals are `application/problem+json`. What is not the caller's is not there. The page is
//! `proto-docs/native-json.md`.

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, Query, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{
    AppState, delivery, paging,
    problem::{Code, Problem},
    shown::{Shown, show},
};
use crate::{
    domain::{UploadId, principal::Principal, upload::State as UploadState},
    uploads::Listing,
};

/// The routes, each with and without a trailing slash.
pub fn routes() -> Router<AppState> {
    let list = get(list);
    let one = get(status).delete(cancel);
    let content = get(content);
    Router::new()
        .route("/api/v1/uploads", list.clone())
        .route("/api/v1/uploads/", list)
        .route("/api/v1/uploads/{id}", one.clone())
        .route("/api/v1/uploads/{id}/", one)
        .route("/api/v1/uploads/{id}/content", content.clone())
        .route("/api/v1/uploads/{id}/content/", content)
}

// ---- wire types ----------------------------------------------------------------------------------------------------

/// A page of the list.
#[derive(Serialize)]
struct Listed {
    uploads: Vec<Shown>,
    next_cursor: Option<String>,
}

/// What the list may be asked for. Other parameters are none of its business: credentials, cache busters.
#[derive(Deserialize)]
struct Asked {
    state: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Proof that the request was admitted, and who asks.
struct Admitted(Principal);

impl FromRequestParts<AppState> for Admitted {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Response> {
        let app = app.here(parts);
        app.admit(&app.presented(parts, Vec::new())).await.map(Self).map_err(|error| {
            let mut response = Problem::from(error).into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, app.challenge());
            }
            response
        })
    }
}

/// The upload that the path names. What is not an id names none.
struct Named(UploadId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.ok().and_then(|Path(text)| text.parse().ok()).map(Self).ok_or_else(Problem::not_found)
    }
}

// ---- handlers ------------------------------------------------------------------------------------------------------

async fn list(
    Admitted(by): Admitted,
    State(app): State<AppState>,
    query: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = query.map_err(|error| bad(error.body_text()))?;
    let listing = listing(&asked)?;
    let mut found = app.uploads.list(&by, &Listing { limit: listing.limit + 1, ..listing }).await?;
    let next_cursor = paging::cut(&mut found, listing.limit, |upload| (upload.created, upload.id.simple()));
    let now = app.uploads.now();
    let listed = Listed { uploads: found.iter().map(|upload| show(upload, now)).collect(), next_cursor };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(listed)).into_response())
}

async fn status(Admitted(by): Admitted, State(app): State<AppState>, id: Named) -> Result<Response, Problem> {
    let upload = app.uploads.status(&by, id.0).await?;
    let now = app.uploads.now();
    match upload.state_at(now) {
        UploadState::Receiving | UploadState::Complete => {
            Ok(([(header::CACHE_CONTROL, "no-store")], Json(show(&upload, now))).into_response())
        }
        UploadState::Cancelled => Err(crate::domain::upload::Refusal::Cancelled.into()),
        UploadState::Expired => Err(crate::domain::upload::Refusal::Expired.into()),
    }
}

async fn cancel(Admitted(by): Admitted, State(app): State<AppState>, id: Named) -> Result<StatusCode, Problem> {
    app.uploads.cancel(&by, id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn content(
    Admitted(by): Admitted,
    State(app): State<AppState>,
    id: Named,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let upload = app.uploads.open(&by, id.0).await?;
    Ok(delivery::content(&app, &upload, &method, &asked).await?)
}

// ---- from and to the wire ------------------------------------------------------------------------------------------

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

fn listing(asked: &Asked) -> Result<Listing, Problem> {
    let state = asked.state.as_deref().filter(|name| !name.is_empty());
    let state = state.map(|name| {
        UploadState::named(name).ok_or_else(|| bad("state is one of receiving, complete, cancelled, expired"))
    });
    let (limit, after) = (paging::limit(asked.limit.as_deref())?, paging::after(asked.cursor.as_deref())?);
    Ok(Listing { state: state.transpose()?, after, limit })
}
