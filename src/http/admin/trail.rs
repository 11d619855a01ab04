//! What operators did.

use axum::{Json, extract::State};
use serde::Serialize;

use super::{
    Operating,
    ask::{Asked, Page},
};
use crate::{
    auth::operators::{Operators, Search},
    domain::{EntryId, Timestamp, operators::Entry},
    http::{paging, problem::Problem},
};

/// One line of the trail.
#[derive(Serialize)]
pub(super) struct Shown {
    id: String,
    at: Timestamp,
    operator: String,
    operator_id: Option<String>,
    deed: &'static str,
    object: Object,
    outcome: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct Object {
    kind: String,
    id: String,
    name: String,
}

#[derive(Serialize)]
pub(super) struct Listed {
    entries: Vec<Shown>,
    next_cursor: Option<String>,
}

pub(super) async fn list(
    Operating(by): Operating,
    State(operators): State<Operators>,
    asked: Asked,
) -> Result<Json<Listed>, Problem> {
    let Page { text, after, limit } = asked.page::<EntryId>()?;
    let mut found = operators.trail(&by, &Search { text, after, limit: limit + 1 }).await?;
    let next_cursor = paging::cut(&mut found, limit, |entry| (entry.at, entry.id.simple()));
    Ok(Json(Listed { entries: found.into_iter().map(shown).collect(), next_cursor }))
}

fn shown(entry: Entry) -> Shown {
    Shown {
        id: entry.id.to_string(),
        at: entry.at,
        operator: entry.operator,
        operator_id: entry.operator_id.map(|id| id.to_string()),
        deed: entry.deed.name(),
        object: Object { kind: entry.object.kind, id: entry.object.id, name: entry.object.name },
        outcome: entry.outcome.name(),
        detail: entry.detail,
    }
}
