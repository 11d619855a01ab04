//! The table of cases: what is asked, what is expected, why it matters, what to do.
//!
//! A new kind of proof is a new row. A row whose key was not given on the command line makes no questions and is skipped.

use serde_json::{Value, json};

use super::{
    asking::{Ask, Token},
    caller::{Caller, basic, plain_key, posted, proof, signed},
    expect::Expect,
    questions::{
        changed, changed_digit, crowd, exposed, form, incomplete, off_by, other_methods, other_times, random,
        spellings, tampered, three_kinds, unknown, unknown_keys, with_more_fields, wrong_signatures,
    },
};
use crate::auth::identity::{MAX_MESSAGE_BYTES, code};

/// One case.
pub(super) struct Case {
    /// As it is called in the report.
    pub(super) name: &'static str,
    /// What is asked.
    pub(super) asks: &'static str,
    /// What is expected of the answers.
    pub(super) expect: Expect,
    /// What goes wrong otherwise.
    pub(super) why: &'static str,
    /// What to do about it.
    pub(super) remedy: &'static str,
    /// The questions; none if what they need was not given.
    pub(super) questions: fn(&Caller) -> Option<Vec<Ask>>,
    /// What to give.
    pub(super) needs: &'static str,
    /// Whether the questions are asked at the same time.
    pub(super) at_once: bool,
    /// Whether a server need not have the route that is asked.
    pub(super) optional: bool,
}

/// A refusal of somebody who has not signed.
const NOT_PROVEN: Expect = Expect::Denied(&[code::INVALID_SIGNATURE, code::UNKNOWN_KEY]);
const OUTSIDE: Expect = Expect::Denied(&[code::TIMESTAMP_OUT_OF_WINDOW]);
const NOT_KNOWN: Expect = Expect::Denied(&[code::INVALID_SIGNATURE, "invalid_password", code::UNKNOWN_KEY]);

/// A case that needs nothing but the good key.
const fn case(
    (name, asks): (&'static str, &'static str),
    expect: Expect,
    why: &'static str,
    remedy: &'static str,
    questions: fn(&Caller) -> Option<Vec<Ask>>,
) -> Case {
    Case { name, asks, expect, why, remedy, questions, needs: "", at_once: false, optional: false }
}

impl Case {
    const fn needing(self, needs: &'static str) -> Self {
        Self { needs, ..self }
    }

    const fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }

    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

/// All cases, in the order they are asked. The first one is what the others build on.
pub(super) const CASES: &[Case] = &[
    case(
        ("answers", "anything at all"),
        Expect::Answer,
        "whatever is not an answer means \"cannot check\": every client hears 503",
        "POST /v1/verify below --url must answer by itself: no redirect, no login page; compare the token",
        |caller| Some(vec![caller.ask(caller.now())]),
    ),
    // What a right proof is.
    case(
        ("active", "a right proof"),
        Expect::Active,
        "nobody can upload",
        "compute HMAC-SHA256 over the text of the timestamp, keyed with the secret; compare the clocks of both machines",
        |caller| Some(vec![caller.ask(caller.now())]),
    ),
    case(
        ("same-user", "two right proofs of one key, on two connections"),
        Expect::SameUser,
        "the service knows a user by user.id alone: uploads are lost to a user whose id changes",
        "take user.id from what never changes, the primary key for instance",
        |caller| Some([caller.now(), caller.now()].map(|proof| Ask { afresh: true, ..caller.ask(proof) }).to_vec()),
    ),
    case(
        ("asked-again", "one question twice, with the same request_id"),
        Expect::SameUser,
        "after a broken connection the service sends the same question once more, and the client would be refused",
        "count a proof as used once per request_id, or do not count",
        |caller| Some(vec![caller.ask(caller.now()); 2]),
    ),
    case(
        ("spellings-of-time", "the time in milliseconds, and as RFC 3339"),
        Expect::Active,
        "clients may sign any of the three spellings",
        "sign the text byte for byte; read 10 digits as seconds, 13 as milliseconds, anything else as RFC 3339",
        |caller| Some(other_times(caller).iter().map(|time| caller.ask(caller.at(time))).collect()),
    ),
    case(
        ("edges-of-window", "times shortly inside the window, before and after now"),
        Expect::Active,
        "clients whose clocks are not exact are refused",
        "accept 300 s on either side (--window says another time); compare the clocks of both machines",
        |caller| Some(off_by(caller, caller.window_secs() - caller.margin())),
    ),
    case(
        ("fields-of-tomorrow", "a question with fields that nobody knows"),
        Expect::Active,
        "the day the service learns a new field, every client hears 503",
        "ignore fields that you do not know, at every level",
        |caller| Some(vec![posted(&with_more_fields(caller))]),
    ),
    case(
        ("fields-left-out", "a question without host and client_ip"),
        Expect::Active,
        "the service does not always know them",
        "treat both as optional",
        |caller| Some(vec![posted(&changed(caller, "/request", json!({"method": "POST", "path": "/"})))]),
    ),
    case(
        ("odd-path", "a path with quotes, a backslash and letters beyond ASCII"),
        Expect::Active,
        "a client's path could break the question about its proof",
        "read the body with a JSON parser, as UTF-8",
        |caller| Some(vec![posted(&changed(caller, "/request/path", "/f\u{fc}r \"\\' \u{1f980}".into()))]),
    ),
    // What a wrong proof is.
    case(
        ("wrong-signature", "signatures that do not fit: a digit changed, half of one, zeros, another secret's"),
        NOT_PROVEN,
        "whoever knows the name of a key is admitted",
        "decode the whole signature, compare it with all 32 bytes of the HMAC, in constant time",
        |caller| Some(wrong_signatures(caller)),
    ),
    case(
        ("signature-and-more", "the right signature with something after it"),
        NOT_PROVEN,
        "one proof has many spellings, and whoever counts its uses counts each anew",
        "refuse what is not 64 digits before decoding: many decoders stop at the first odd character",
        |caller| {
            let tails = ["00", "zz", "=="];
            Some(tails.map(|tail| caller.ask(caller.spoilt(|right| format!("{right}{tail}")))).to_vec())
        },
    ),
    case(
        ("other-spellings", "the right signature in capitals, and in base64, each twice"),
        Expect::OneSpelling,
        "one proof has many spellings, and whoever counts its uses counts each anew",
        "accept one spelling, or the two cases of hexadecimal",
        |caller| Some(spellings(caller)),
    ),
    case(
        ("unknown-key", "keys that nobody has"),
        NOT_PROVEN,
        "strangers are admitted, or a lookup that fails makes the client hear 503 instead of 401",
        "answer as to a wrong signature; look keys up with parameters, never inside a statement's text",
        |caller| Some(unknown_keys(caller)),
    ),
    case(
        ("tampered-time", "a right signature under another time"),
        NOT_PROVEN,
        "a signature that was seen once is good for ever",
        "sign the timestamp that came, byte for byte",
        |caller| Some(tampered(caller)),
    ),
    case(
        ("stale", "a right signature of a time before the window"),
        OUTSIDE,
        "a signature that was seen once is good for ever",
        "deny what is more than 300 s old (--window says another time)",
        |caller| Some(vec![off_by(caller, caller.window_secs() + caller.margin()).swap_remove(0)]),
    ),
    case(
        ("ahead", "a right signature of a time after the window"),
        OUTSIDE,
        "signatures can be made for years to come",
        "deny what is more than 300 s ahead: compare the distance, not only the age",
        |caller| Some(vec![off_by(caller, caller.window_secs() + caller.margin()).swap_remove(1)]),
    ),
    case(
        ("no-time", "a right signature of something that is no time"),
        Expect::Refused,
        "a text that cannot be read as a time passes for one, or is a fault of the server",
        "deny what cannot be read",
        |caller| {
            Some(["yesterday", "", "-1", "99999999999999999999", "NaN"].map(|t| caller.ask(caller.at(t))).to_vec())
        },
    ),
    // Who asks.
    case(
        ("wrong-token", "a right proof from a service with another token, a shorter one, none, another scheme"),
        Expect::ServiceUnauthorized,
        "anybody can try signatures here; and a service with a mistyped token must learn that it is not the client's fault",
        "compare the whole bearer token in constant time before anything else; answer 401 with that JSON",
        |caller| {
            let tokens = [Token::Wrong, Token::Shorter, Token::None, Token::OtherScheme];
            Some(tokens.map(|token| Ask { token, afresh: true, ..caller.ask(caller.now()) }).to_vec())
        },
    ),
    case(
        ("after-a-refusal", "a right proof on the connection of a refused question"),
        Expect::ActiveAtLast,
        "what is left of a question that was not read is taken for the next one",
        "read the body before refusing, or answer with Connection: close",
        |caller| Some(vec![Ask { token: Token::Wrong, ..caller.ask(caller.now()) }, caller.ask(caller.now())]),
    ),
    // What cannot be judged.
    case(
        ("unknown-kind", "a kind of proof, and a scheme, that nobody knows"),
        Expect::Unsupported,
        "the day the service learns a new kind of proof, its clients hear 503, or are admitted without a check",
        "look at credential.type and credential.scheme first",
        |caller| {
            let kind = json!({"type": "carrier-pigeon", "ring": "red"});
            let mut scheme = caller.now();
            scheme["scheme"] = "v0".into();
            Some([kind, scheme].map(|credential| caller.ask(credential)).to_vec())
        },
    ),
    case(
        ("other-kinds", "a plain key and a password that nobody has"),
        Expect::NotActive,
        "whoever presents one is admitted, or hears 503 instead of 401",
        "answer \"unsupported\", or judge them",
        |caller| {
            let kinds = [plain_key("nobody-at-all", &random()), basic("nobody-at-all", &random())];
            Some(kinds.map(|credential| caller.ask(credential)).to_vec())
        },
    ),
    case(
        ("fields-missing", "questions that lack what they need, or are none"),
        Expect::Refused,
        "half a question passes for a whole one, or is a fault of the server",
        "answer 400 to what is not a question",
        |caller| Some(incomplete(caller)),
    ),
    case(
        ("wrong-types", "a question whose texts are numbers, lists and null"),
        Expect::Refused,
        "a value of another type passes the comparison, or is a fault of the server",
        "check that texts are texts before using them",
        |caller| {
            let credential =
                json!({"type": "signature", "scheme": "v1", "api_key": 7, "timestamp": [], "signature": null});
            Some(vec![caller.ask(credential), posted(&changed(caller, "/credential", json!([])))])
        },
    ),
    case(
        ("other-version", "a right proof in a question of another version, and of none"),
        Expect::NoVerdict,
        "the question may mean something else by then",
        "answer 400 to every version but \"1\"",
        |caller| Some(["2".into(), Value::Null].map(|version| posted(&changed(caller, "/version", version))).to_vec()),
    ),
    case(
        ("too-large", "a right proof in a question of a megabyte"),
        Expect::TooLarge,
        "whoever reaches the server can fill its memory",
        "refuse a Content-Length of more than 64 KiB with 413 before reading, and stop reading beyond it",
        |caller| {
            let padding = "x".repeat(16 * MAX_MESSAGE_BYTES).into();
            Some(vec![Ask { afresh: true, ..posted(&changed(caller, "/padding", padding)) }])
        },
    ),
    case(
        ("a-form", "a right proof as a form"),
        Expect::NoVerdict,
        "a page of somebody else's can send forms",
        "read JSON and nothing else",
        |caller| {
            let body = form(&caller.now()).into_bytes();
            Some(vec![Ask { content_type: "application/x-www-form-urlencoded", body, ..caller.ask(caller.now()) }])
        },
    ),
    case(
        ("other-methods", "a right proof by GET, HEAD, PUT and DELETE"),
        Expect::NoSuccess,
        "a proof in an address ends in logs; caches answer GET",
        "route POST only",
        |caller| Some(other_methods(caller)),
    ),
    // The frame of an answer.
    case(
        ("status-line", "the HTTP status of an active, a denied and an unsupported answer"),
        Expect::StatusLine,
        "every other status means \"cannot check\": the client hears 503",
        "answer 200 to every question that was understood",
        three_kinds,
    ),
    case(
        ("content-type", "the type of an active, a denied and an unsupported answer"),
        Expect::ContentType,
        "another type means \"cannot check\": it may be a proxy's page",
        "set Content-Type: application/json",
        three_kinds,
    ),
    case(
        ("request-id", "the ids of an active, a denied and an unsupported answer"),
        Expect::SameQuestion,
        "an answer that belongs to another question could admit the wrong client, so it is not used",
        "copy request_id from the question, and say version \"1\"",
        three_kinds,
    ),
    case(
        ("answer-size", "the size of an active, a denied and an unsupported answer"),
        Expect::Size,
        "more is not read, and means \"cannot check\"",
        "leave out what the service does not use; at most 200 groups",
        three_kinds,
    ),
    case(
        ("answer-fields", "the fields of an active, a denied and an unsupported answer"),
        Expect::Fields,
        "a field of another type means \"cannot check\": the client hears 503",
        "compare with the table of fields; leave out what you do not know instead of sending an empty text",
        three_kinds,
    ),
    case(
        ("cache", "for how long an active and a denied answer may be repeated"),
        Expect::Cache,
        "whoever you disable goes on for as long; and the service keeps to less anyway",
        "say 30 for a right proof and 5 for a wrong one, or nothing",
        three_kinds,
    ),
    case(
        ("lock-out", "for what answers to wrong proofs under the good key are good: a wrong signature, a time outside"),
        Expect::NotOfKey,
        "whoever knows the name of a key locks its owner out",
        "say cache.scope \"api_key\" only of a key that is unknown, disabled or expired itself",
        |caller| Some([wrong_signatures(caller), off_by(caller, caller.window_secs() + caller.margin())].concat()),
    ),
    case(
        ("code", "the code of a denied answer"),
        Expect::KnownCode,
        "the service takes a code it does not know for a wrong signature",
        "use the codes of the protocol's page, letter by letter",
        three_kinds,
    ),
    // Time.
    case(
        ("in-time", "a right, a wrong and an unknown proof, one after the other"),
        Expect::InTime,
        "the service waits no longer; the client hears 503",
        "look at the slowest step: a password hash, a remote directory, a lookup without an index",
        |caller| {
            let wrong = caller.spoilt(changed_digit);
            Some([caller.now(), wrong, unknown(caller)].map(|credential| caller.ask(credential)).to_vec())
        },
    ),
    case(
        ("at-once", "32 questions at the same time, right and wrong by turns"),
        Expect::OwnVerdict,
        "when many clients come at once, they wait for each other, or get each other's verdicts",
        "serve connections side by side; keep nothing of a question outside its own handler",
        |caller| Some(crowd(caller)),
    )
    .at_once(),
    // Who may not act any more.
    case(
        ("disabled-user", "a right proof of a disabled user"),
        Expect::DeniedUser(code::USER_DISABLED),
        "without the code the user's client signs again and again; without the id the user's other proofs stay good",
        "after the signature was found right: denied, user_disabled, and user.id",
        |caller| Some(vec![caller.ask(signed(caller.disabled_user.as_ref()?, &caller.time(0)))]),
    )
    .needing("give --disabled-user KEY:SECRET"),
    case(
        ("disabled-user-unproven", "a wrong signature of a disabled user"),
        NOT_PROVEN,
        "anybody who knows a key's name learns that its user is disabled, and can have any user marked so",
        "look at the user's state only after the signature was found right",
        |caller| Some(vec![caller.ask(proof(&caller.disabled_user.as_ref()?.name, &caller.time(0), &random()))]),
    )
    .needing("give --disabled-user KEY:SECRET"),
    case(
        ("disabled-key", "a right proof by a disabled key"),
        Expect::Denied(&[code::KEY_DISABLED, "key_expired"]),
        "the key's user cannot tell why",
        "after the signature was found right: denied, key_disabled",
        |caller| Some(vec![caller.ask(signed(caller.disabled_key.as_ref()?, &caller.time(0)))]),
    )
    .needing("give --disabled-key KEY:SECRET"),
    // Proofs of other kinds.
    case(
        ("plain-key", "a key that is shown as it is"),
        Expect::Active,
        "the key's user cannot upload",
        "look the key up, compare the username",
        |caller| caller.plain_key.as_ref().map(|key| vec![caller.ask(plain_key(&key.name, exposed(&key.secret)))]),
    )
    .needing("give --plain-key USERNAME:KEY"),
    case(
        ("plain-key-wrong", "the same key with a letter more, and as somebody else's"),
        NOT_KNOWN,
        "keys can be guessed, or used under another name",
        "compare the whole key, or its hash, and the username",
        |caller| {
            let key = caller.plain_key.as_ref()?;
            let (longer, own) = (format!("{}x", exposed(&key.secret)), exposed(&key.secret));
            Some([plain_key(&key.name, &longer), plain_key("nobody-at-all", own)].map(|c| caller.ask(c)).to_vec())
        },
    )
    .needing("give --plain-key USERNAME:KEY"),
    case(
        ("basic", "a name and its password"),
        Expect::Active,
        "the user cannot upload",
        "verify the password against its hash",
        |caller| caller.basic.as_ref().map(|user| vec![caller.ask(basic(&user.name, exposed(&user.secret)))]),
    )
    .needing("give --basic USERNAME:PASSWORD"),
    case(
        ("basic-wrong", "the same name with another password, and with none"),
        NOT_KNOWN,
        "passwords can be guessed",
        "answer as to an unknown name, after as long a time",
        |caller| {
            let user = caller.basic.as_ref()?;
            Some(
                [format!("{}x", exposed(&user.secret)), String::new()]
                    .map(|p| caller.ask(basic(&user.name, &p)))
                    .to_vec(),
            )
        },
    )
    .needing("give --basic USERNAME:PASSWORD"),
    // Users, without a proof.
    case(
        ("introspect", "whether a user may still act, twice"),
        Expect::SameUser,
        "uploads that go on for long are stopped",
        "POST /v1/introspect: look the user up by user_id, answer as to a right proof",
        |caller| caller.user_id.as_ref().map(|id| vec![caller.introspect(id); 2]),
    )
    .needing("give --user-id ID")
    .optional(),
    case(
        ("introspect-unknown", "the same of somebody who is not there"),
        Expect::UnknownUserAtLast,
        "the uploads of a user who was removed go on; a 404 says that there is no such route",
        "answer 200: denied, unknown_user",
        |caller| {
            let known = caller.user_id.iter().map(|id| caller.introspect(id));
            Some(known.chain([caller.introspect(&format!("nobody-{}", random()))]).collect())
        },
    )
    .optional(),
    case(
        ("introspect-token", "the same from a service with another token"),
        Expect::ServiceUnauthorized,
        "anybody can find out who is known",
        "compare the token before anything else, as of /v1/verify",
        |caller| Some(vec![Ask { token: Token::Wrong, afresh: true, ..caller.introspect(&random()) }]),
    )
    .optional(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_explains_itself() {
        let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        assert!(names.iter().all(|name| name.len() < 24));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len(), "two cases of one name");
        for Case { name, asks, why, remedy, expect, .. } in CASES {
            let texts = [asks, why, remedy].map(|text| !text.is_empty() && !text.ends_with('.'));
            assert!(texts == [true; 3] && !expect.wants().is_empty(), "{name}");
        }
        assert_eq!(CASES[0].expect, Expect::Answer, "the others build on the first");
    }
}
