//! Door: what the identity server tells of its own accord.
//!
//! There is none unless `identity.events_token` is set. Refusals are `application/problem+json`. The page is
//! `proto-docs/identity-server.md`.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequestParts, State, rejection::BytesRejection},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use crate::{
    auth::{
        AuthError,
        events::{EventError, Events, Teller},
        identity::{MAX_MESSAGE_BYTES, VERSION},
    },
    domain::{
        Timestamp,
        events::{Event, Kind},
    },
};

const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"identity events\"");

/// The route, with and without a trailing slash.
pub fn routes(events: Events) -> Router {
    let hear = post(hear);
    Router::new()
        .route("/api/v1/identity/events", hear.clone())
        .route("/api/v1/identity/events/", hear)
        .layer(DefaultBodyLimit::max(MAX_MESSAGE_BYTES))
        .with_state(events)
}

// ---- wire types ----------------------------------------------------------------------------------------------------

/// A list of events. Fields that are not known are ignored, as in the other direction.
#[derive(Deserialize)]
struct Told {
    version: String,
    events: Vec<Written>,
}

/// An event as it is written. Which key or session is over is for the log of whoever wrote it.
#[derive(Deserialize)]
struct Written {
    id: String,
    r#type: String,
    realm: String,
    #[serde(default)]
    user_id: Option<String>,
    at: Timestamp,
}

/// The answer to a list.
#[derive(Serialize)]
struct Heard {
    events: Vec<Outcome>,
}

/// What became of an event.
#[derive(Serialize)]
struct Outcome {
    id: String,
    outcome: &'static str,
}

/// Proof that the identity server speaks.
struct Admitted(Teller);

impl FromRequestParts<Events> for Admitted {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, events: &Events) -> Result<Self, Response> {
        let mut sent = parts.headers.get_all(header::AUTHORIZATION).iter();
        let admitted = match (sent.next(), sent.next()) {
            (_, Some(_)) => Err(AuthError::Ambiguous("Authorization stands there twice".into())),
            (first, None) => events.admit(first.map(|value| value.to_str().unwrap_or_default())),
        };
        admitted.map(Self).map_err(|error| {
            let mut response = Problem::from(error).into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
            }
            response
        })
    }
}

// ---- handlers ------------------------------------------------------------------------------------------------------

async fn hear(
    Admitted(teller): Admitted,
    State(door): State<Events>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Heard>, Problem> {
    let events = parse(&body.map_err(unread)?)?;
    let news = door.hear(&teller, &events).await.map_err(failed)?;
    let outcome = |(event, is_news): (Event, bool)| Outcome {
        id: event.id,
        outcome: if is_news { "applied" } else { "repeated" },
    };
    Ok(Json(Heard { events: events.into_iter().zip(news).map(outcome).collect() }))
}

// ---- parsing -------------------------------------------------------------------------------------------------------

fn parse(body: &[u8]) -> Result<Vec<Event>, Problem> {
    let told: Told = serde_json::from_slice(body).map_err(|error| bad(format!("not a list of events: {error}")))?;
    if told.version != VERSION {
        return Err(bad(format!("this service speaks version {VERSION}")));
    }
    told.events.into_iter().zip(1..).map(|(written, number)| event(written, number)).collect()
}

fn event(written: Written, number: usize) -> Result<Event, Problem> {
    let Written { id, r#type, realm, user_id: subject, at } = written;
    let kind = Kind::named(&r#type).ok_or_else(|| bad(format!("event {number}: a type that is not known")))?;
    Ok(Event { id, kind, realm, subject, at })
}

// ---- rendering -----------------------------------------------------------------------------------------------------

fn bad(detail: String) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

fn unread(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, "a list of events has at most 64 KiB"),
        _ => Problem::new(Code::Disconnected, rejection.body_text()),
    }
}

fn failed(error: EventError) -> Problem {
    match error {
        EventError::TooMany | EventError::Flawed { .. } => bad(error.to_string()),
        EventError::Store(error) => {
            Problem::new(Code::Unavailable, "tell all of it again later").because(error.to_string())
        }
    }
}
