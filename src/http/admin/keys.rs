//! API keys of local users. A key is part of one answer in its life: the one to its making.

use axum::{Json, extract::State, response::Response};
use serde::{Deserialize, Serialize};

use super::{
    Operating,
    ask::{Body, Named, bad, duration},
    made,
};
use crate::{
    auth::operators::{KeptKey, NewKey, Operators},
    domain::{
        Timestamp, UserId,
        keys::{ApiKey, KeyId},
        principal::{Scope, Scopes},
    },
    http::problem::Problem,
};

/// How long a key that was followed stays good if nothing is said.
const OVERLAP: &str = "24h";

/// A key as it is shown, without what admits.
#[derive(Serialize)]
pub(super) struct Shown {
    id: String,
    username: String,
    label: String,
    scopes: Vec<&'static str>,
    state: &'static str,
    created: Timestamp,
    expires: Option<Timestamp>,
    last_used: Option<Timestamp>,
    revoked: Option<Timestamp>,
    replaced_by: Option<String>,
    overlap_until: Option<Timestamp>,
}

#[derive(Serialize)]
pub(super) struct Listed {
    keys: Vec<Shown>,
}

/// A key that was just made, with its text.
#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    key: Shown,
    api_key: String,
    /// Until when the one before is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_good_until: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    #[serde(default)]
    label: String,
    scopes: Option<Vec<String>>,
    expires_in: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    overlap: Option<String>,
}

pub(super) async fn list(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Named(of): Named<UserId>,
) -> Result<Json<Listed>, Problem> {
    let owner = operators.person(&by, of).await?.user.username;
    let (mut keys, now) = (operators.keys(&by, of).await?, operators.now());
    keys.reverse();
    Ok(Json(Listed { keys: keys.iter().map(|key| shown(key, &owner, now)).collect() }))
}

pub(super) async fn show(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Named(id): Named<KeyId>,
) -> Result<Json<Shown>, Problem> {
    let (key, owner) = operators.key(&by, id).await?;
    Ok(Json(shown(&key, &owner, operators.now())))
}

pub(super) async fn create(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Named(of): Named<UserId>,
    Body(new): Body<New>,
) -> Result<Response, Problem> {
    let scopes = new.scopes.as_deref().map_or(Ok(Scopes::ALL), scopes)?;
    let life = new.expires_in.filter(|text| !text.is_empty()).map(|text| duration("expires_in", &text)).transpose()?;
    let owner = operators.person(&by, of).await?.user.username;
    let (key, kept) = operators.create_key(&by, of, NewKey { label: new.label, scopes, life }).await?;
    Ok(revealed(&key, &kept, &owner, None))
}

pub(super) async fn rotate(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Named(id): Named<KeyId>,
    Body(asked): Body<Rotate>,
) -> Result<Response, Problem> {
    let overlap = duration("overlap", asked.overlap.as_deref().unwrap_or(OVERLAP))?;
    let (_, owner) = operators.key(&by, id).await?;
    let (key, kept, until) = operators.rotate_key(&by, id, overlap).await?;
    Ok(revealed(&key, &kept, &owner, Some(until)))
}

pub(super) async fn revoke(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Named(id): Named<KeyId>,
) -> Result<Json<Shown>, Problem> {
    let (key, owner) = operators.revoke_key(&by, id).await?;
    Ok(Json(shown(&key, &owner, operators.now())))
}

fn scopes(names: &[String]) -> Result<Scopes, Problem> {
    let known = || Scope::ALL.map(Scope::name).join(", ");
    names.iter().map(|name| Scope::named(name).ok_or_else(|| bad(format!("scopes are some of {}", known())))).collect()
}

fn revealed(key: &ApiKey, kept: &KeptKey, owner: &str, old_good_until: Option<Timestamp>) -> Response {
    made(Made { key: shown(kept, owner, kept.created), api_key: key.reveal().to_owned(), old_good_until })
}

fn shown(key: &KeptKey, owner: &str, now: Timestamp) -> Shown {
    Shown {
        id: key.id.to_string(),
        username: owner.to_owned(),
        label: key.label.clone(),
        scopes: key.scopes.names(),
        state: key.state(now),
        created: key.created,
        expires: key.expires,
        last_used: key.last_used,
        revoked: key.revoked,
        replaced_by: key.replaced_by.map(|id| id.to_string()),
        overlap_until: key.overlap_until,
    }
}
