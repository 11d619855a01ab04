//! How the identity servers of the realms are, as this node finds them. Asking here asks none of them.

use axum::{Json, extract::State};
use serde::Serialize;

use super::{Desk, Operating};
use crate::{
    auth::{
        breaker::Phase,
        identity::{Failure, Health},
    },
    domain::Timestamp,
};

/// A realm's server.
#[derive(Serialize)]
struct Shown {
    name: String,
    server: String,
    breaker: &'static str,
    in_flight: u64,
    waiting: u64,
    last_answer: Option<Timestamp>,
    last_failure: Option<ShownFailure>,
}

#[derive(Serialize)]
struct ShownFailure {
    at: Timestamp,
    reason: String,
}

#[derive(Serialize)]
pub(super) struct Listed {
    realms: Vec<Shown>,
}

pub(super) async fn list(Operating(by): Operating, State(desk): State<Desk>) -> Json<Listed> {
    Json(Listed { realms: desk.app.gate.health(&by).into_iter().map(shown).collect() })
}

fn shown(health: Health) -> Shown {
    let failure = |Failure { at, reason }| ShownFailure { at, reason };
    Shown {
        name: health.realm,
        server: health.server,
        breaker: match health.breaker {
            Phase::Closed => "closed",
            Phase::Open => "open",
            Phase::HalfOpen => "half_open",
        },
        in_flight: health.under_way,
        waiting: health.waiting,
        last_answer: health.last_answer,
        last_failure: health.last_failure.map(failure),
    }
}
