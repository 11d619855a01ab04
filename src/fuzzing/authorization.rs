//! `Authorization: Basic` and `Authorization: ApiKey`.

use axum::http::HeaderValue;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{MARK, text};
use crate::{
    auth::{
        AuthError, Method, Presented, Settings,
        credentials::{Credential, KeyProof, PasswordProof, find, is_username},
        passwords::MAX_PASSWORD_BYTES,
    },
    domain::signing,
};

/// `b` and two lines: a name and a password, written as `Basic`. `k` and two lines: a name and a key, written as `ApiKey`.
/// Anything else and the rest: the field as it is.
///
/// What is written is read; what is read is exactly what was sent, printed again.
pub fn authorization(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    let sent = text(rest);
    match (what, sent.split_once('\n')) {
        (b'b', Some((username, password))) => basic(username, password),
        (b'k', Some((username, key))) => api_key(username, key),
        _ => as_it_is(rest),
    }
}

fn read(headers: &[(&str, &str)]) -> Result<Option<Credential>, AuthError> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let methods = vec![Method::ApiKey, Method::Basic];
    let outcome = find(&Presented { headers, ..Presented::default() }, &Settings { methods, ..Settings::default() });
    assert!(!format!("{outcome:?}").contains(MARK), "a secret is repeated: {outcome:?}");
    outcome
}

fn basic(username: &str, password: &str) {
    // The first colon ends the name.
    if username.contains(':') {
        return;
    }
    let header = format!("bASIC  {}", BASE64.encode(format!("{username}:{password}")));
    let found = read(&[("authorization", &header)]);
    let proper = is_username(username)
        && (1..=MAX_PASSWORD_BYTES).contains(&password.len())
        && !password.chars().any(char::is_control);
    let (username, password) = (username.to_owned(), password.to_owned());
    match proper {
        true => assert_eq!(found, Ok(Some(Credential::Basic(PasswordProof { username, password })))),
        false => assert!(matches!(found, Err(AuthError::Malformed(_))), "{found:?}"),
    }
}

fn api_key(username: &str, key: &str) {
    // What surrounds a field's value is no part of it.
    let (username, key) = (username.trim(), key.trim());
    if username.contains(':') {
        return;
    }
    let together = format!("ApiKey {username}:{key}");
    let found = read(&[("authorization", &together)]);
    let expected = Credential::ApiKey(KeyProof { username: username.to_owned(), api_key: key.to_owned() });
    match is_username(username) && signing::is_api_key(key) {
        true => assert_eq!(found, Ok(Some(expected))),
        false => assert!(found.is_err(), "{found:?}"),
    }
    let apart = |key| read(&[("username", username), ("api_key", key), ("authorization", &together)]);
    assert_eq!(apart(key).ok(), found.ok(), "the same key in two places");
    assert!(apart(&format!("{key}0")).is_err(), "two keys");
}

fn as_it_is(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let value = text(value.as_bytes());
    let (scheme, rest) = value.trim().split_once([' ', '\t']).unwrap_or((&value, ""));
    match read(&[("authorization", &value)]) {
        Err(_) => {}
        Ok(Some(Credential::Basic(found))) => {
            assert!(scheme.eq_ignore_ascii_case("basic"));
            assert_eq!(BASE64.encode(format!("{}:{}", found.username, found.password)), rest.trim());
            assert!(!found.username.contains(':') && !found.password.is_empty());
        }
        Ok(Some(Credential::ApiKey(found))) => {
            assert!(scheme.eq_ignore_ascii_case("apikey"));
            assert_eq!(format!("{}:{}", found.username, found.api_key), rest.trim());
            assert!(!found.username.is_empty() && !found.username.contains(':') && !found.api_key.is_empty());
        }
        Ok(other) => panic!("{other:?} from the field Authorization"),
    }
}
