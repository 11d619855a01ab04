//! What operators ask for, read strictly: what is wrong is a 400 that says so.

use std::{str::FromStr, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::request::Parts,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::http::{
    paging,
    problem::{Code, Problem},
};

/// Longest text that is looked for, in characters.
const MAX_SEARCH_CHARS: usize = 200;
/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A 400.
pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

/// What a list may be asked for. Other parameters are none of its business.
#[derive(Deserialize)]
pub(super) struct Asked {
    search: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    pub(super) state: Option<String>,
    pub(super) user: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<Self>::from_request_parts(parts, state).await;
        query.map(|Query(asked)| asked).map_err(|error| bad(error.body_text()))
    }
}

/// A page as a list takes it: the text, where to go on, and how many rows.
pub(super) struct Page<Id> {
    pub(super) text: String,
    pub(super) after: Option<(crate::domain::Timestamp, Id)>,
    pub(super) limit: u32,
}

impl Asked {
    /// The page that is asked for.
    pub(super) fn page<Id: FromStr>(&self) -> Result<Page<Id>, Problem> {
        let text = self.search.as_deref().unwrap_or_default().trim();
        if text.chars().count() > MAX_SEARCH_CHARS || text.chars().any(char::is_control) {
            let most = MAX_SEARCH_CHARS;
            return Err(bad(format!("search has at most {most} characters, and no control characters")));
        }
        let limit = paging::limit(self.limit.as_deref())?;
        Ok(Page { text: text.to_owned(), after: paging::after(self.cursor.as_deref())?, limit })
    }
}

/// What the path names. What is not an id names nothing.
pub(super) struct Named<Id>(pub(super) Id);

impl<Id: FromStr + Send, S: Send + Sync> FromRequestParts<S> for Named<Id> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.ok().and_then(|Path(text)| text.parse().ok()).map(Self).ok_or_else(Problem::not_found)
    }
}

/// A body of JSON; nothing at all counts as `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| bad(error.body_text()))?;
        if bytes.len() > MAX_BODY_BYTES {
            return Err(bad(format!("the body has at most {MAX_BODY_BYTES} bytes")));
        }
        let text = if bytes.is_empty() { b"{}" } else { &*bytes };
        // An array of the members' values, in their order, would be read as well.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad("the body must be an object of JSON"));
        }
        let mut json = serde_json::Deserializer::from_slice(text);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let (at, why) = (error.path().to_string(), error.inner().to_string());
            bad(if at == "." { format!("the body: {why}") } else { format!("{at}: {why}") })
        })?;
        json.end().map_err(|error| bad(format!("the body: {error}")))?;
        Ok(Self(read))
    }
}

/// A duration as in `90d`.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, Problem> {
    humantime::parse_duration(text).map_err(|_| bad(format!("{name} is a duration such as 90d or 24h")))
}
