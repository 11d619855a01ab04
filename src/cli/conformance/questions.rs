//! What the cases ask: right questions, and the many ways in which one can be wrong.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    asking::Ask,
    caller::{Caller, posted, proof},
};
use crate::domain::{Timestamp, signing, unhex};

/// Questions that go at once.
const CROWD: i64 = 32;

/// A right proof, a wrong one, and one of a kind that nobody knows.
pub(super) fn three_kinds(caller: &Caller) -> Option<Vec<Ask>> {
    let kinds = [caller.now(), caller.spoilt(changed_digit), json!({"type": "carrier-pigeon"})];
    Some(kinds.map(|credential| caller.ask(credential)).to_vec())
}

pub(super) fn other_times(caller: &Caller) -> [String; 2] {
    let seconds = caller.time(0);
    let written = seconds.parse().ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or_default();
    [format!("{seconds}000"), written.to_string()]
}

/// Right proofs of times so many seconds before, and after, now.
pub(super) fn off_by(caller: &Caller, seconds: i64) -> Vec<Ask> {
    [-seconds, seconds].map(|from_now| caller.ask(caller.at(&caller.time(from_now)))).to_vec()
}

/// The question about a right proof, with one value put in at the pointer.
pub(super) fn changed(caller: &Caller, pointer: &str, value: Value) -> Value {
    let mut question = caller.question(caller.now());
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    if let Some(place) = question.pointer_mut(parent) {
        place[name] = value;
    }
    question
}

pub(super) fn with_more_fields(caller: &Caller) -> Value {
    let mut question = changed(caller, "/weather", json!({"sky": ["blue"], "degrees": 21.5}));
    for part in ["credential", "request", "service"] {
        question[part]["mood"] = json!({"of": part});
    }
    question
}

pub(super) fn changed_digit(right: &str) -> String {
    let last = if right.ends_with('0') { "1" } else { "0" };
    format!("{}{last}", &right[..right.len() - 1])
}

pub(super) fn wrong_signatures(caller: &Caller) -> Vec<Ask> {
    let first = |right: &str| changed_digit(&right.chars().rev().collect::<String>()).chars().rev().collect();
    let spoilt = [
        caller.spoilt(changed_digit),
        caller.spoilt(first),
        caller.spoilt(|right| right[..right.len() / 2].to_owned()),
        caller.spoilt(|right| "0".repeat(right.len())),
        caller.spoilt(|_| signing::sign_v1(b"another secret", &caller.time(0))),
        caller.spoilt(|_| "not-hexadecimal-at-all".into()),
    ];
    spoilt.map(|credential| caller.ask(credential)).to_vec()
}

/// Right signatures, two in capitals and two in base64.
pub(super) fn spellings(caller: &Caller) -> Vec<Ask> {
    let base64 = |right: &str| BASE64.encode(unhex(right).unwrap_or_default());
    let two = |spell: fn(&str) -> String| [caller.spoilt(spell), caller.spoilt(spell)];
    let credentials = [two(|right| right.to_uppercase()), two(base64)].concat();
    credentials.into_iter().map(|credential| Ask { afresh: true, ..caller.ask(credential) }).collect()
}

pub(super) fn unknown(caller: &Caller) -> Value {
    let time = caller.time(0);
    proof(&format!("nobody-{}", random()), &time, &signing::sign_v1(b"another secret", &time))
}

pub(super) fn unknown_keys(caller: &Caller) -> Vec<Ask> {
    let time = caller.time(0);
    let signature = signing::sign_v1(b"another secret", &time);
    let long = "k".repeat(signing::MAX_API_KEY_BYTES);
    let mut asks = vec![caller.ask(unknown(caller))];
    asks.extend(["'OR'1'='1", "__proto__", "*", &long].map(|key| caller.ask(proof(key, &time, &signature))));
    asks
}

/// The signature of one time under another nearby.
pub(super) fn tampered(caller: &Caller) -> Vec<Ask> {
    let moved = |by: i64| {
        let mut proof = caller.now();
        let signed_at: i64 = proof["timestamp"].as_str().and_then(|time| time.parse().ok()).unwrap_or_default();
        proof["timestamp"] = (signed_at + by).to_string().into();
        caller.ask(proof)
    };
    [-2, 2].map(moved).to_vec()
}

pub(super) fn incomplete(caller: &Caller) -> Vec<Ask> {
    let mut asks: Vec<Ask> = [json!({}), json!([]), json!(null), json!({"version": "1"})].iter().map(posted).collect();
    for field in ["api_key", "timestamp", "signature", "scheme", "type"] {
        let mut credential = caller.now();
        credential.as_object_mut().map(|fields| fields.remove(field));
        asks.push(caller.ask(credential));
    }
    for body in ["", "{", "version=1", "\u{0}"] {
        asks.push(Ask { body: body.into(), ..caller.ask(Value::Null) });
    }
    asks
}

pub(super) fn other_methods(caller: &Caller) -> Vec<Ask> {
    let by = |(method, query): (Method, String)| Ask { method, query, afresh: true, ..caller.ask(caller.now()) };
    let in_query = Ask { body: Vec::new(), ..by((Method::GET, form(&caller.now()))) };
    let mut asks = vec![in_query];
    asks.extend([Method::GET, Method::HEAD, Method::PUT, Method::DELETE].map(|method| by((method, String::new()))));
    asks
}

/// The credential's fields as a form spells them.
pub(super) fn form(credential: &Value) -> String {
    let fields = credential.as_object().into_iter().flatten();
    let texts = fields.filter_map(|(name, value)| Some((name, value.as_str()?)));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(texts).finish()
}

/// Many, right and wrong by turns.
pub(super) fn crowd(caller: &Caller) -> Vec<Ask> {
    let by_turns = |turn| if turn % 2 == 0 { caller.now() } else { caller.spoilt(changed_digit) };
    (0..CROWD).map(|turn| caller.ask(by_turns(turn))).collect()
}

/// 64 hexadecimal digits that nobody can know.
pub(super) fn random() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

pub(super) fn exposed(secret: &secrecy::SecretString) -> &str {
    secrecy::ExposeSecret::expose_secret(secret)
}
