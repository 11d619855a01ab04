//! Door: operators. Users and their keys, uploads of every owner, the realms' identity servers, and the trail of what
//! operators did.
//!
//! Whoever comes through has proved the scope `admin`: `Operating` is the first argument of every handler, and what a
//! handler calls takes it. Refusals are `application/problem+json`. For pages of this origin only (`same_origin`). The
//! page is `proto-docs/admin.md`.

mod ask;
mod keys;
mod realms;
mod trail;
mod uploads;
mod users;

use axum::{
    Json, Router,
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, request::Parts},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, any, get, post},
};
use serde::Serialize;

use super::{
    AppState,
    problem::{Code, Problem},
    same_origin::{API, same_origin},
};
use crate::{
    auth::operators::Operators,
    domain::{operators::Operator, principal::Scope},
    uploads::operators::AllUploads,
};

/// Section `admin` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether there are a console and its API.
    pub enabled: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// What this door needs.
#[derive(Clone)]
struct Desk {
    app: AppState,
    operators: Operators,
    uploads: AllUploads,
}

impl FromRef<Desk> for Operators {
    fn from_ref(desk: &Desk) -> Self {
        desk.operators.clone()
    }
}

impl FromRef<Desk> for AllUploads {
    fn from_ref(desk: &Desk) -> Self {
        desk.uploads.clone()
    }
}

/// The routes, each with and without a trailing slash.
pub fn routes(app: AppState, operators: Operators, uploads: AllUploads) -> Router {
    let routes: [(&str, MethodRouter<Desk>); 14] = [
        ("/users", get(users::list).post(users::add)),
        ("/users/{id}", get(users::show)),
        ("/users/{id}/disable", post(users::disable)),
        ("/users/{id}/enable", post(users::enable)),
        ("/users/{id}/keys", get(keys::list).post(keys::create)),
        ("/keys/{id}", get(keys::show)),
        ("/keys/{id}/rotate", post(keys::rotate)),
        ("/keys/{id}/revoke", post(keys::revoke)),
        ("/uploads", get(uploads::list)),
        ("/uploads/{id}", get(uploads::show)),
        ("/uploads/{id}/cancel", post(uploads::cancel)),
        ("/uploads/{id}/expire", post(uploads::expire)),
        ("/realms", get(realms::list)),
        ("/audit", get(trail::list)),
    ];
    // Whoever proves nothing is told that first, whatever the path and the method.
    let rest = [API, &format!("{API}/"), &format!("{API}/{{*rest}}")]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, any(nothing)));
    let router = routes.into_iter().fold(rest, |router, (path, deeds)| {
        router.route(&format!("{API}{path}"), deeds.clone()).route(&format!("{API}{path}/"), deeds)
    });
    let guarded = router.method_not_allowed_fallback(wrong_method).layer(from_fn_with_state(app.clone(), same_origin));
    guarded.with_state(Desk { app, operators, uploads })
}

/// Proof that the request was admitted, and that an operator asks.
struct Operating(Operator);

impl FromRequestParts<Desk> for Operating {
    type Rejection = Problem;

    /// A 401 does not ask for `Basic`, also where it is accepted: browsers would offer to remember a password here, and
    /// send it along by themselves.
    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Problem> {
        let here = desk.app.here(parts);
        let presented = here.presented(parts, Vec::new());
        let principal = match here.gate.presents(&presented)? {
            true => here.admit(&presented).await?,
            false => return Err(crate::auth::AuthError::Missing.into()),
        };
        let lacking = || format!("the credentials lack the scope {}", Scope::Admin.name());
        Operator::of(&principal).map(Self).ok_or_else(|| Problem::new(Code::ScopeDenied, lacking()))
    }
}

async fn nothing(_: Operating) -> Problem {
    Problem::not_found()
}

async fn wrong_method(_: Operating) -> Problem {
    Problem::new(Code::MethodNotAllowed, "see the Allow header")
}

/// An answer with a secret that is shown once.
fn made(body: impl Serialize) -> Response {
    (StatusCode::CREATED, Json(body)).into_response()
}
