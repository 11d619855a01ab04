//! The session cookie: which upload this browser sent last. A hint, never a proof.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use crate::{domain::UploadId, http::Here};

const NAME: &str = "chunkgate_session";
/// In place of an id: the upload this browser sent last is over, for it at least.
const ENDED: &str = "none";
/// Two weeks, as the original's session.
const MAX_AGE_SECONDS: u32 = 1_209_600;

/// What the cookie of a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// There is none.
    Absent,
    /// The upload it named is over.
    Ended,
    /// This upload.
    Upload(UploadId),
}

impl Hint {
    /// The first one counts if there are several: that of the longest path (RFC 6265 §5.4), so that of this entrance.
    /// Nonsense is none.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        match pairs.find(|(name, _)| *name == NAME) {
            None => Self::Absent,
            Some((_, ENDED)) => Self::Ended,
            Some((_, value)) => value.parse().map_or(Self::Absent, Self::Upload),
        }
    }
}

/// Names the upload from now on.
pub(super) fn remember(response: &mut Response, app: &Here, asked: &HeaderMap, id: UploadId) {
    if Hint::of(asked) != Hint::Upload(id) {
        put(response, app, asked, &id.to_string());
    }
}

/// Forgets the upload, if it is the one that is known.
pub(super) fn forget(response: &mut Response, app: &Here, asked: &HeaderMap, id: UploadId) {
    if Hint::of(asked) == Hint::Upload(id) {
        put(response, app, asked, ENDED);
    }
}

fn put(response: &mut Response, app: &Here, asked: &HeaderMap, value: &str) {
    let cross_site = asked.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    // A browser keeps `SameSite=None` only together with `Secure`, and that only over https.
    let scope = match (app.is_https(), cross_site) {
        (true, true) => "SameSite=None; Secure",
        (true, false) => "SameSite=Lax; Secure",
        (false, _) => "SameSite=Lax",
    };
    let path = app.prefix();
    let cookie = format!("{NAME}={value}; Path={path}/; Max-Age={MAX_AGE_SECONDS}; HttpOnly; {scope}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let id = UploadId::new();
        for (lines, hint) in [
            (vec![], Hint::Absent),
            (vec!["other=1".to_owned()], Hint::Absent),
            (vec!["chunkgate_session=none".to_owned()], Hint::Ended),
            (vec![format!("a=b; chunkgate_session={id}; c=d")], Hint::Upload(id)),
            (vec!["a=b".to_owned(), format!("chunkgate_session={}", id.simple())], Hint::Upload(id)),
            (vec!["chunkgate_session=../x".to_owned()], Hint::Absent),
            (vec![format!("chunkgate_session={id}; chunkgate_session=none")], Hint::Upload(id)),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(header::COOKIE, line.parse().expect("a value"));
            }
            assert_eq!(Hint::of(&headers), hint, "{lines:?}");
        }
    }
}
