//! The one extractor: at most one credential from everything that a request presents.

use std::collections::BTreeSet;

use axum::http::Request;

use super::{MARK, lines, pair, text};
use crate::{
    auth::{
        AuthError, ContentDigest, Method, Presented, Scheme, Settings,
        credentials::{Credential, find},
    },
    http::{entrance::Entered, extract},
};

/// Parts that count in headers, query and form.
const ANYWHERE: [&str; 4] = ["api-key", "timestamp", "signature", "username"];
/// Parts that count in headers alone.
const IN_HEADERS: [&str; 3] = ["authorization", "upload-token", "signature-input"];

type Pairs = Vec<(String, String)>;
type Outcome = Result<Option<Credential>, AuthError>;

/// Lines: `r METHOD TARGET`, headers `h name=value`, form fields `f name=value`. The first byte switches settings.
///
/// What is found was sent, is the only one of its kind and without another kind beside it; the order of names does not
/// matter; a part that comes twice or with a second value is refused, and never makes another credential.
pub fn credentials(data: &[u8]) {
    let Some((switches, rest)) = data.split_first() else { return };
    let settings = settings(*switches);
    let Some(presented) = presented(rest) else { return };
    let outcome = find(&presented, &settings);
    judge(&presented, &settings, &outcome);
    in_any_order(&presented, &settings, &outcome);
    doubled(&presented, &settings, &outcome);
}

fn settings(switches: u8) -> Settings {
    let on = |bit: u8| switches & 1 << bit != 0;
    let mut settings = Settings { query_credentials: on(0), methods: vec![Method::Signature], ..Settings::default() };
    if on(1) {
        settings.methods.extend([Method::ApiKey, Method::Basic]);
    }
    if on(2) {
        settings.signature.content_digest = ContentDigest::Required;
    }
    if on(3) {
        settings.signature.min_scheme = Scheme::V2;
    }
    settings
}

/// The request as the server's own types know it, so that only what can arrive is tried.
fn presented(data: &[u8]) -> Option<Presented> {
    let (mut request, mut form) = (Request::builder(), Vec::new());
    for (what, rest) in lines(data) {
        request = match (what, pair(rest)) {
            (b'r', _) => {
                let line = text(rest);
                let (method, target) = line.split_once(' ')?;
                request.method(method).uri(target)
            }
            (b'h', Some((name, value))) => request.header(name, value),
            (b'f', Some((name, value))) => {
                form.push((text(name), text(value)));
                request
            }
            _ => request,
        };
    }
    let (parts, ()) = request.body(()).ok()?.into_parts();
    Some(extract::presented(&parts, &Entered::of(&parts.extensions), form))
}

/// A name as the plainest rule has it: case, `_` and one `x-` before it make no difference.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.strip_prefix("x-").map(str::to_owned).unwrap_or(name)
}

/// Every value of a part, wherever it counts.
fn values<'a>(presented: &'a Presented, settings: &Settings, part: &str) -> BTreeSet<&'a str> {
    let mut places = vec![&presented.headers];
    if ANYWHERE.contains(&part) {
        places.push(&presented.form);
        places.extend(settings.query_credentials.then_some(&presented.query));
    }
    places.into_iter().flatten().filter(|(name, _)| plain(name) == part).map(|(_, value)| value.as_str()).collect()
}

fn judge(presented: &Presented, settings: &Settings, outcome: &Outcome) {
    let of = |part: &str| values(presented, settings, part);
    let sole = |part: &str, value: &str| assert!(of(part).into_iter().eq([value]), "{part} is not what was sent");
    let absent = |parts: &[&str]| parts.iter().for_each(|part| assert!(of(part).is_empty(), "{part} was overlooked"));
    assert!(!format!("{outcome:?}").contains(MARK), "a secret is repeated: {outcome:?}");
    if outcome.is_err() {
        return;
    }
    for part in ANYWHERE.into_iter().chain(IN_HEADERS) {
        assert!(of(part).len() < 2, "{part} has two values");
    }
    let in_query = |(name, _): &(String, String)| ["api-key", "signature"].contains(&&*plain(name));
    assert!(settings.query_credentials || !presented.query.iter().any(in_query), "the query was overlooked");
    match outcome {
        Err(_) => {}
        Ok(None) => absent(&["api-key", "timestamp", "signature", "authorization", "upload-token", "signature-input"]),
        Ok(Some(Credential::Signature(found))) => {
            sole("api-key", &found.api_key);
            sole("timestamp", &found.timestamp);
            sole("signature", &found.signature);
            absent(&IN_HEADERS);
            assert!(settings.signature.min_scheme == Scheme::V1, "a scheme that is not accepted");
        }
        Ok(Some(Credential::SignatureV2(_))) => absent(&["authorization", "upload-token", "api-key", "timestamp"]),
        Ok(Some(Credential::Token(found))) => {
            sole("upload-token", &found.text);
            absent(&["authorization", "signature-input", "api-key", "timestamp", "signature"]);
        }
        Ok(Some(Credential::Basic(_))) => {
            assert_eq!(of("authorization").len(), 1);
            absent(&["upload-token", "signature-input", "api-key", "timestamp", "signature"]);
        }
        Ok(Some(Credential::ApiKey(found))) => {
            absent(&["upload-token", "signature-input", "timestamp", "signature"]);
            let together = format!("{}:{}", found.username, found.api_key);
            match of("authorization").first() {
                Some(sent) => assert!(sent.trim().ends_with(&together), "not the key that was sent"),
                None => (sole("username", &found.username), sole("api-key", &found.api_key)).0,
            }
        }
    }
}

/// Whether both say the same. What a message signature must have signed is made of other fields too, and may differ.
fn same(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Ok(Some(Credential::SignatureV2(one))), Ok(Some(Credential::SignatureV2(other)))) => {
            (&one.keyid, one.created, &one.nonce, &one.value)
                == (&other.keyid, other.created, &other.nonce, &other.value)
        }
        (Ok(one), Ok(other)) => one == other,
        (one, other) => one.is_err() && other.is_err(),
    }
}

fn in_any_order(presented: &Presented, settings: &Settings, outcome: &Outcome) {
    let mut sorted = presented.clone();
    for place in Place::ALL {
        // Stable: lines of one name are one value, in their order (RFC 9110 §5.3).
        place.of(&mut sorted).sort_by(|(one, _), (other, _)| other.cmp(one));
    }
    let again = find(&sorted, settings);
    assert!(same(outcome, &again), "the order matters: {outcome:?}, {again:?}");
}

#[derive(Clone, Copy)]
enum Place {
    Headers,
    Form,
    Query,
}

impl Place {
    const ALL: [Self; 3] = [Self::Headers, Self::Form, Self::Query];

    fn of(self, presented: &mut Presented) -> &mut Pairs {
        match self {
            Self::Headers => &mut presented.headers,
            Self::Form => &mut presented.form,
            Self::Query => &mut presented.query,
        }
    }
}

/// Adds a pair to each place in turn.
fn doubled(presented: &Presented, settings: &Settings, outcome: &Outcome) {
    for place in Place::ALL {
        for (name, value) in place.of(&mut presented.clone()) {
            let with = |name: &str, value: &str| {
                let mut more = presented.clone();
                place.of(&mut more).push((name.to_owned(), value.to_owned()));
                find(&more, settings)
            };
            let twice = with(name, value);
            if !counts(&plain(name), place, settings) {
                // Lines of another field may make a malformed one whole, or the other way round.
                assert!(outcome.is_err() || twice.is_err() || same(outcome, &twice), "another credential: {twice:?}");
                continue;
            }
            assert!(twice.is_err(), "{name} twice in one place: {twice:?}");
            for spelled in [name.clone(), format!("x-{}", plain(name)), plain(name).replace('-', "_")] {
                let second = with(&spelled, &format!("{value}0"));
                assert!(second.is_err(), "{spelled} with a second value: {second:?}");
            }
        }
    }
}

fn counts(part: &str, place: Place, settings: &Settings) -> bool {
    match place {
        Place::Headers => ANYWHERE.contains(&part) || IN_HEADERS.contains(&part),
        Place::Form => ANYWHERE.contains(&part),
        Place::Query => ANYWHERE.contains(&part) && settings.query_credentials,
    }
}
