//! Users: everybody who was ever admitted, and those who are known here alone.

use axum::{Json, extract::State, response::Response};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::{
    Operating,
    ask::{Asked, Body, Named, Page},
    made,
};
use crate::{
    auth::operators::{NewPerson, Operators, Person, Search, random_password},
    domain::{Timestamp, UserId},
    http::{paging, problem::Problem},
};

/// A user as operators see one.
#[derive(Serialize)]
pub(super) struct Shown {
    id: String,
    realm: String,
    username: String,
    email: Option<String>,
    display_name: Option<String>,
    admin: bool,
    disabled: bool,
    disabled_by: Vec<&'static str>,
    has_password: bool,
    created: Timestamp,
}

#[derive(Serialize)]
pub(super) struct Listed {
    users: Vec<Shown>,
    next_cursor: Option<String>,
}

/// A user who was just made, with the password if one was.
#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    user: Shown,
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    username: String,
    email: Option<String>,
    display_name: Option<String>,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    generate_password: bool,
}

pub(super) async fn list(
    Operating(by): Operating,
    State(operators): State<Operators>,
    asked: Asked,
) -> Result<Json<Listed>, Problem> {
    let Page { text, after, limit } = asked.page::<UserId>()?;
    let mut found = operators.people(&by, &Search { text, after, limit: limit + 1 }).await?;
    let next_cursor = paging::cut(&mut found, limit, |person| (person.created, person.user.id.simple()));
    Ok(Json(Listed { users: found.into_iter().map(shown).collect(), next_cursor }))
}

pub(super) async fn show(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Named(id): Named<UserId>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(shown(operators.person(&by, id).await?)))
}

pub(super) async fn add(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Body(new): Body<New>,
) -> Result<Response, Problem> {
    let password = new.generate_password.then(random_password);
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let person = NewPerson {
        username: new.username,
        email: some(new.email),
        display_name: some(new.display_name),
        admin: new.admin,
        password: password.clone(),
    };
    let user = shown(operators.add(&by, person).await?);
    Ok(made(Made { user, password: password.map(|password| password.expose_secret().to_owned()) }))
}

pub(super) async fn disable(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Named(id): Named<UserId>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(shown(operators.set_disabled(&by, id, true).await?)))
}

pub(super) async fn enable(
    Operating(by): Operating,
    State(operators): State<Operators>,
    Named(id): Named<UserId>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(shown(operators.set_disabled(&by, id, false).await?)))
}

fn shown(person: Person) -> Shown {
    let by = [(person.disabled_by_admin, "operator"), (person.disabled_by_idp, "identity_server")];
    let disabled_by: Vec<_> = by.into_iter().filter(|(disabled, _)| *disabled).map(|(_, who)| who).collect();
    Shown {
        id: person.user.id.to_string(),
        realm: person.user.realm,
        username: person.user.username,
        email: person.email,
        display_name: person.display_name,
        admin: person.admin,
        disabled: !disabled_by.is_empty(),
        disabled_by,
        has_password: person.has_password,
        created: person.created,
    }
}
