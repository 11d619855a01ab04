//! Who gets in where: every kind of credential, in every place where it may stand, at every route of every door.
//!
//! A test is a table of presentations, and each row is presented at every route that can carry it. What is admitted has
//! its effect; what is not is refused in the dialect of the door and changes nothing.

mod house;
mod routes;

use chunkgate::{auth::Method, domain::principal::Scope};

use self::{
    house::{House, Known, Owner},
    routes::{Door, ROUTES, Route, Stage},
};
use crate::{
    local::{keep_key, new_key},
    support::Answer,
};

/// Names and values. A word in braces stands for a credential of the moment.
type Pairs = &'static [(&'static str, &'static str)];

/// One way to present something: what it is, headers, query, form fields, and what is said to it.
struct Row(&'static str, Pairs, Pairs, Pairs, Says);

/// What a request hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Yes,
    Missing,
    Malformed,
    Ambiguous,
    Stale,
    Invalid,
    Disabled,
    /// Right, but not for this deed.
    Scope,
    /// Right, but another's: what names an upload names none of theirs.
    Foreign,
}

use Says::{Ambiguous, Disabled, Foreign, Invalid, Malformed, Missing, Stale, Yes};

impl Says {
    /// Code, and status at the native, the multipart and the raw door.
    fn refusal(self) -> Option<(&'static str, [u16; 3])> {
        Some(match self {
            Yes | Foreign => return None,
            Missing => ("credentials_missing", [401, 403, 401]),
            Malformed => ("credentials_malformed", [400, 400, 401]),
            Ambiguous => ("ambiguous_credentials", [400, 400, 400]),
            Stale => ("timestamp_out_of_window", [401, 401, 401]),
            Invalid => ("invalid_credentials", [401, 401, 401]),
            Disabled => ("account_disabled", [403, 403, 403]),
            Self::Scope => ("scope_denied", [403, 403, 403]),
        })
    }
}

/// The answer is what `says` says, as the door of the route says it.
#[track_caller]
fn check(row: &Row, route: &Route, says: Says, answer: &Answer) {
    let place = format!("{}, {}: {} {}", row.0, route.what, answer.status, answer.text);
    let Some((code, [native, multipart, raw])) = says.refusal() else {
        let (own, foreign) = route.answers;
        return assert_eq!(answer.status, if says == Yes { own } else { foreign }, "{place}");
    };
    let status = match route.door {
        Door::Native | Door::Tus => native,
        Door::Multipart => multipart,
        Door::Raw => raw,
    };
    assert_eq!(answer.status, status, "{place}");
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert_eq!(challenge.starts_with("Chunkgate realm="), status == 401, "{place}: {challenge}");
    if route.method == "HEAD" {
        return;
    }
    let (body, native) = (answer.json(), matches!(route.door, Door::Native | Door::Tus));
    assert_eq!(body["code"].as_str(), native.then_some(code), "{place}");
    assert!(body["detail"].is_string(), "{place}");
    assert_eq!(answer.header("content-type") == Some("application/problem+json"), native, "{place}");
}

// ---- the tables ----------------------------------------------------------------------------------------------------

const ALICE: Pairs = &[("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")];
const ALICES_FIELDS: Pairs = &[("api_key", "alice-key"), ("timestamp", "{time}"), ("signature", "{sig}")];

#[rustfmt::skip]
const SIGNATURES: &[Row] = &[
    Row("as headers", ALICE, &[], &[], Yes),
    Row("as headers with _", ALICES_FIELDS, &[], &[], Yes),
    Row("as headers with -", &[("api-key", "alice-key"), ("timestamp", "{time}"), ("signature", "{sig}")], &[], &[], Yes),
    Row("as headers in any case", &[("Api_Key", "alice-key"), ("TIMESTAMP", "{time}"), ("sIGNATURE", "{sig}")], &[], &[], Yes),
    Row("as headers of mixed kinds", &[("X_API_KEY", "alice-key"), ("x-timestamp", "{time}"), ("Signature", "{sig}")], &[], &[], Yes),
    Row("in the query", &[], ALICES_FIELDS, &[], Yes),
    Row("in the query in any case", &[], &[("API-KEY", "alice-key"), ("X-Timestamp", "{time}"), ("Signature", "{sig}")], &[], Yes),
    Row("as fields", &[], &[], ALICES_FIELDS, Yes),
    Row("as fields in any case", &[], &[], &[("Api-Key", "alice-key"), ("TIMESTAMP", "{time}"), ("x-signature", "{sig}")], Yes),
    Row("one part in each place", &[("X-Api-Key", "alice-key")], &[("timestamp", "{time}")], &[("signature", "{sig}")], Yes),
    Row("half header, half query", &[("api-key", "alice-key")], &[("timestamp", "{time}"), ("signature", "{sig}")], &[], Yes),
    Row("the same in every place", ALICE, ALICES_FIELDS, ALICES_FIELDS, Yes),
    Row("the same header under two names", &[("X-Api-Key", "alice-key"), ("api_key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Yes),
    Row("at the edge of the window", &[("X-Api-Key", "alice-key"), ("X-Timestamp", "{edge-time}"), ("X-Signature", "{edge-sig}")], &[], &[], Yes),
    Row("the signature in upper case", &[("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{SIG}")], &[], &[], Yes),
    Row("a user's name beside it", &[("username", "somebody"), ("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Yes),
    Row("version 1 by name", &[("X-Signature-Version", "1"), ("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Yes),
    Row("another user's", &[("X-Api-Key", "bob-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{bob-sig}")], &[], &[], Foreign),

    Row("nothing", &[], &[], &[], Missing),
    Row("nothing but other fields", &[("X-Key", "alice-key")], &[("key", "alice-key")], &[("secret", "alice-key")], Missing),
    Row("a user's name alone", &[("username", "alice")], &[], &[], Missing),
    Row("a header twice", &[("X-Api-Key", "alice-key"), ("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Ambiguous),
    Row("a header with _ and with -", &[("api_key", "alice-key"), ("api-key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Ambiguous),
    Row("two keys as headers", &[("X-Api-Key", "alice-key"), ("api_key", "bob-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Ambiguous),
    Row("two times", ALICE, &[("timestamp", "{old-time}")], &[], Ambiguous),
    Row("two signatures", ALICE, &[], &[("signature", "{wrong-sig}")], Ambiguous),
    Row("a parameter twice", &[], &[("api_key", "alice-key"), ("Api-Key", "alice-key"), ("timestamp", "{time}"), ("signature", "{sig}")], &[], Ambiguous),
    Row("a field twice", &[], &[], &[("api_key", "alice-key"), ("api_key", "alice-key"), ("timestamp", "{time}"), ("signature", "{sig}")], Ambiguous),
    Row("another's key in the query", ALICE, &[("api_key", "bob-key")], &[], Ambiguous),
    Row("another's key as a field", ALICE, &[], &[("api_key", "bob-key")], Ambiguous),
    Row("and a password", &[("Authorization", "Basic {ann-basic}"), ("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Ambiguous),
    Row("and a key", &[("Authorization", "ApiKey ann:{ann-key}"), ("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Ambiguous),
    Row("and a bearer token", &[("Authorization", "Bearer x"), ("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Ambiguous),
    Row("without a signature", &[("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}")], &[], &[], Malformed),
    Row("without a time", &[("X-Api-Key", "alice-key"), ("X-Signature", "{sig}")], &[], &[], Malformed),
    Row("without a key", &[("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Malformed),
    Row("a key alone", &[], &[], &[("api_key", "alice-key")], Malformed),
    Row("an empty key", &[("X-Api-Key", ""), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Malformed),
    Row("a signature that is none", &[("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "let me in, please")], &[], &[], Malformed),
    Row("a time that is none", &[("X-Api-Key", "alice-key"), ("X-Timestamp", "now"), ("X-Signature", "{sig}")], &[], &[], Malformed),
    Row("marked for a newer version", &[("X-Signature-Version", "2"), ("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Malformed),
    Row("too old", &[("X-Api-Key", "alice-key"), ("X-Timestamp", "{old-time}"), ("X-Signature", "{old-sig}")], &[], &[], Stale),
    Row("from the future", &[], &[("api_key", "alice-key"), ("timestamp", "{early-time}"), ("signature", "{early-sig}")], &[], Stale),
    Row("a wrong signature", &[("X-Api-Key", "alice-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{wrong-sig}")], &[], &[], Invalid),
    Row("the signature of another time", &[("X-Api-Key", "alice-key"), ("X-Timestamp", "{edge-time}"), ("X-Signature", "{sig}")], &[], &[], Invalid),
    Row("the signature of another", &[], &[("api_key", "alice-key"), ("timestamp", "{time}"), ("signature", "{bob-sig}")], &[], Invalid),
    Row("an unknown key", &[], &[], &[("api_key", "no-such-key"), ("timestamp", "{time}"), ("signature", "{sig}")], Invalid),
    Row("a disabled user's", &[("X-Api-Key", "carol-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{carol-sig}")], &[], &[], Disabled),
    Row("a disabled user's, wrong", &[("X-Api-Key", "carol-key"), ("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[], &[], Invalid),
];

const ANN: Pairs = &[("username", "ann"), ("api_key", "{ann-key}")];

#[rustfmt::skip]
const API_KEYS: &[Row] = &[
    Row("in Authorization", &[("Authorization", "ApiKey ann:{ann-key}")], &[], &[], Yes),
    Row("in Authorization in any case", &[("AUTHORIZATION", "aPIkEY   ann:{ann-key}")], &[], &[], Yes),
    Row("as headers", ANN, &[], &[], Yes),
    Row("as headers with X-", &[("X-Username", "ann"), ("X-Api-Key", "{ann-key}")], &[], &[], Yes),
    Row("as headers with -", &[("username", "ann"), ("api-key", "{ann-key}")], &[], &[], Yes),
    Row("as headers in any case", &[("USERNAME", "ann"), ("Api_Key", "{ann-key}")], &[], &[], Yes),
    Row("in the query", &[], ANN, &[], Yes),
    Row("in the query in any case", &[], &[("Username", "ann"), ("API-KEY", "{ann-key}")], &[], Yes),
    Row("as fields", &[], &[], ANN, Yes),
    Row("as fields in any case", &[], &[], &[("USERNAME", "ann"), ("Api-Key", "{ann-key}")], Yes),
    Row("half header, half query", &[("username", "ann")], &[("api_key", "{ann-key}")], &[], Yes),
    Row("half header, half field", &[("api_key", "{ann-key}")], &[], &[("username", "ann")], Yes),
    Row("the same in every place", &[("Authorization", "ApiKey ann:{ann-key}"), ("username", "ann"), ("api_key", "{ann-key}")], ANN, ANN, Yes),
    Row("another user's", &[("Authorization", "ApiKey ben:{ben-key}")], &[], &[], Foreign),

    Row("a scheme twice", &[("Authorization", "ApiKey ann:{ann-key}"), ("Authorization", "ApiKey ann:{ann-key}")], &[], &[], Ambiguous),
    Row("a header with _ and with -", &[("username", "ann"), ("api_key", "{ann-key}"), ("api-key", "{ann-key}")], &[], &[], Ambiguous),
    Row("two keys", ANN, &[("api_key", "{ben-key}")], &[], Ambiguous),
    Row("two names", ANN, &[], &[("username", "ben")], Ambiguous),
    Row("another's in Authorization", &[("Authorization", "ApiKey ben:{ben-key}"), ("username", "ann"), ("api_key", "{ann-key}")], &[], &[], Ambiguous),
    Row("a field twice", &[], &[], &[("username", "ann"), ("api_key", "{ann-key}"), ("API_KEY", "{ann-key}")], Ambiguous),
    Row("and a password", &[("Authorization", "Basic {ann-basic}"), ("username", "ann"), ("api_key", "{ann-key}")], &[], &[], Ambiguous),
    Row("and a bearer token", &[("Authorization", "Bearer {ann-key}"), ("username", "ann"), ("api_key", "{ann-key}")], &[], &[], Ambiguous),
    Row("without a name", &[("api_key", "{ann-key}")], &[], &[], Malformed),
    Row("without a name in Authorization", &[("Authorization", "ApiKey {ann-key}")], &[], &[], Malformed),
    Row("an empty name", &[("Authorization", "ApiKey :{ann-key}")], &[], &[], Malformed),
    Row("an empty key", &[], &[("username", "ann"), ("api_key", "")], &[], Malformed),
    Row("as a bearer token", &[("Authorization", "Bearer {ann-key}")], &[], &[], Malformed),
    Row("under another's name", &[("Authorization", "ApiKey ben:{ann-key}")], &[], &[], Invalid),
    Row("under a name in another case", &[("Authorization", "ApiKey Ann:{ann-key}")], &[], &[], Invalid),
    Row("under nobody's name", &[], &[("username", "nobody"), ("api_key", "{ann-key}")], &[], Invalid),
    Row("unknown", &[("Authorization", "ApiKey ann:{unknown-key}")], &[], &[], Invalid),
    Row("no key of ours", &[("username", "ann"), ("api_key", "alice-key")], &[], &[], Invalid),
    Row("expired", &[], &[], &[("username", "ann"), ("api_key", "{expired-key}")], Invalid),
    Row("revoked", &[("Authorization", "ApiKey ann:{revoked-key}")], &[], &[], Invalid),
    Row("a disabled user's", &[("Authorization", "ApiKey dora:{dora-key}")], &[], &[], Disabled),
    Row("a disabled user's name, another's key", &[("Authorization", "ApiKey dora:{ann-key}")], &[], &[], Invalid),
];

#[rustfmt::skip]
const PASSWORDS: &[Row] = &[
    Row("in Authorization", &[("Authorization", "Basic {ann-basic}")], &[], &[], Yes),
    Row("in Authorization in any case", &[("authorization", "bAsIc   {ann-basic}")], &[], &[], Yes),
    Row("a user's name beside it", &[("Authorization", "Basic {ann-basic}"), ("username", "ann")], &[], &[], Yes),
    Row("another user's", &[("Authorization", "Basic {ben-basic}")], &[], &[], Foreign),

    Row("twice", &[("Authorization", "Basic {ann-basic}"), ("Authorization", "Basic {ann-basic}")], &[], &[], Ambiguous),
    Row("and a key as fields", &[("Authorization", "Basic {ann-basic}")], &[], ANN, Ambiguous),
    Row("and a key in the query", &[("Authorization", "Basic {ann-basic}")], ANN, &[], Ambiguous),
    Row("and a signature", &[("Authorization", "Basic {ann-basic}")], ALICES_FIELDS, &[], Ambiguous),
    Row("not base64", &[("Authorization", "Basic ann:password")], &[], &[], Malformed),
    Row("base64 of no pair", &[("Authorization", "Basic YW5u")], &[], &[], Malformed),
    Row("nothing behind the scheme", &[("Authorization", "Basic")], &[], &[], Malformed),
    Row("an empty header", &[("Authorization", "")], &[], &[], Malformed),
    Row("another scheme", &[("Authorization", "Negotiate {ann-basic}")], &[], &[], Malformed),
    Row("in the query, where none is looked for", &[], &[("authorization", "Basic {ann-basic}")], &[], Missing),
    Row("as a field, where none is looked for", &[], &[], &[("Authorization", "Basic {ann-basic}")], Missing),
    Row("a wrong password", &[("Authorization", "Basic YW5uOndyb25nLXBhc3N3b3Jk")], &[], &[], Invalid),
    Row("a disabled user's", &[("Authorization", "Basic {dora-basic}")], &[], &[], Disabled),
];

#[rustfmt::skip]
const TOKENS: &[Row] = &[
    Row("as a header", &[("Upload-Token", "{token}")], &[], &[], Yes),
    Row("as a header in any case", &[("UPLOAD-tOKEN", "{token}")], &[], &[], Yes),
    Row("as a header with _", &[("upload_token", "{token}")], &[], &[], Yes),
    Row("a user's name beside it", &[("Upload-Token", "{token}"), ("username", "somebody")], &[], &[], Yes),
    Row("another upload's", &[("Upload-Token", "{other-token}")], &[], &[], Foreign),
    Row("another user's", &[("Upload-Token", "{alices-token}")], &[], &[], Foreign),

    Row("a header twice", &[("Upload-Token", "{token}"), ("Upload-Token", "{token}")], &[], &[], Ambiguous),
    Row("a header with _ and with -", &[("Upload-Token", "{token}"), ("upload_token", "{token}")], &[], &[], Ambiguous),
    Row("and a key", &[("Upload-Token", "{token}"), ("Authorization", "ApiKey ann:{ann-key}")], &[], &[], Ambiguous),
    Row("and a key as fields", &[("Upload-Token", "{token}")], &[], ANN, Ambiguous),
    Row("and a password", &[("Upload-Token", "{token}"), ("Authorization", "Basic {ann-basic}")], &[], &[], Ambiguous),
    Row("and a signature in the query", &[("Upload-Token", "{token}")], ALICES_FIELDS, &[], Ambiguous),
    Row("as a bearer token", &[("Authorization", "Bearer {token}")], &[], &[], Malformed),
    Row("in the query, where none is looked for", &[], &[("Upload-Token", "{token}")], &[], Missing),
    Row("as a field, where none is looked for", &[], &[], &[("upload_token", "{token}")], Missing),
    Row("changed on the way", &[("Upload-Token", "{changed-token}")], &[], &[], Invalid),
    Row("none", &[("Upload-Token", "let me in")], &[], &[], Invalid),
    Row("empty", &[("Upload-Token", "")], &[], &[], Invalid),
];

/// What a token hears at a route: one that is right begins no upload, and at the raw door, whose chunks name nothing but
/// their file, the chunk of another file is the beginning of another upload.
fn of_token(says: Says, route: &Route) -> Says {
    match says {
        Yes | Foreign if route.begins() => Says::Scope,
        Foreign if route.what == "raw, next chunk" => Says::Scope,
        says => says,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_tokens_at_every_route() {
    let mut house = House::start(|_| {}).await;
    for (word, owner) in [("other-token", Owner::Ann), ("alices-token", Owner::Alice)] {
        let upload = house.prepare(owner, Stage::Half).await;
        house.keys.insert(word, upload.token);
    }
    assert!(house.judge_by(Owner::Ann, TOKENS, of_token).await > 150);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_in_every_place_at_every_route() {
    let house = House::start(|_| {}).await;
    assert!(house.judge(Owner::Alice, SIGNATURES).await > 500);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_keys_in_every_place_at_every_route() {
    let house = House::start(|_| {}).await;
    assert!(house.judge(Owner::Ann, API_KEYS).await > 350);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_in_every_place_at_every_route() {
    let house = House::start(|_| {}).await;
    assert!(house.judge(Owner::Ann, PASSWORDS).await > 150);
    house.stop().await;
}

#[rustfmt::skip]
const QUERY_OFF: &[Row] = &[
    Row("a signature in the query", &[], ALICES_FIELDS, &[], Malformed),
    Row("a key in the query", &[], ANN, &[], Malformed),
    Row("a part in the query, the rest as headers", &[("X-Timestamp", "{time}"), ("X-Signature", "{sig}")], &[("API-KEY", "alice-key")], &[], Malformed),
    Row("all as headers and in the query", ALICE, ALICES_FIELDS, &[], Malformed),
    Row("a time in the query, as pages get around caches", &[], &[("timestamp", "{time}")], &[], Missing),
    Row("that beside headers", ALICE, &[("timestamp", "{time}"), ("username", "somebody")], &[], Yes),
    Row("as fields", &[], &[], ALICES_FIELDS, Yes),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_the_query_where_it_is_off() {
    let house = House::start(|config| config.auth.query_credentials = false).await;
    house.judge(Owner::Alice, QUERY_OFF).await;
    house.stop().await;
}

#[rustfmt::skip]
const NOT_ENABLED: &[(Method, &[Row])] = &[
    (Method::Signature, &[
        Row("a key in Authorization", &[("Authorization", "ApiKey ann:{ann-key}")], &[], &[], Malformed),
        Row("a key as headers", ANN, &[], &[], Malformed),
        Row("a key as fields", &[], &[], ANN, Malformed),
        Row("a password", &[("Authorization", "Basic {ann-basic}")], &[], &[], Malformed),
        Row("what is enabled", ALICE, &[], &[], Yes),
    ]),
    (Method::ApiKey, &[
        Row("a signature as headers", ALICE, &[], &[], Malformed),
        Row("a signature as fields", &[], &[], ALICES_FIELDS, Malformed),
        Row("a password", &[("Authorization", "Basic {ann-basic}")], &[], &[], Malformed),
        Row("what is enabled", ANN, &[], &[], Yes),
    ]),
    (Method::Basic, &[
        Row("a signature in the query", &[], ALICES_FIELDS, &[], Malformed),
        Row("a key in Authorization", &[("Authorization", "ApiKey ann:{ann-key}")], &[], &[], Malformed),
        Row("what is enabled", &[("Authorization", "Basic {ann-basic}")], &[], &[], Yes),
    ]),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_enabled_is_refused_and_never_taken_for_nothing() {
    for (method, rows) in NOT_ENABLED {
        let house = House::start(|config| {
            config.auth.methods = vec![*method];
            // Where nobody in particular is welcome, a broken credential is still no absent one.
            config.auth.anonymous = true;
        })
        .await;
        for row in *rows {
            for route in ROUTES.iter().filter(|route| row.3.is_empty() || route.takes_fields()) {
                // Only "let in" and "refused" are told apart here: nobody's upload is asked about.
                let about =
                    Known { id: uuid::Uuid::new_v4().to_string(), file: house.fresh_name(), ..Known::default() };
                let answer = house.present(row, route, &about).await;
                match row.4 {
                    Yes => check(row, route, Foreign, &answer),
                    says => check(row, route, says, &answer),
                }
            }
        }
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reaches_what_its_scopes_name_and_no_further() {
    const KEY: Row = Row("a key of one scope", &[("Authorization", "ApiKey ann:{scoped-key}")], &[], &[], Yes);
    let mut house = House::start(|_| {}).await;
    let ann = house.stores.credentials.user("ann").await.expect("answers").expect("there").account.user.id;
    for scope in Scope::ALL {
        let (key, mut kept) = new_key(ann, &*house.app.clock);
        kept.scopes = [scope].into_iter().collect();
        keep_key(&house.stores, &kept).await;
        house.keys.insert("scoped-key", key.reveal().to_owned());
        for route in &ROUTES {
            let about = house.prepare(Owner::Ann, route.stage).await;
            let answer = house.present(&KEY, route, &about).await;
            // Who may write may ask where.
            let is_asked_by_writers = route.method == "HEAD" && scope == Scope::Write;
            let says =
                if is_asked_by_writers || route.scope.is_none_or(|needed| needed == scope) { Yes } else { Says::Scope };
            check(&Row(scope.name(), &[], &[], &[], says), route, says, &answer);
        }
    }
    house.stop().await;
}
