//! The identity server in every way in which it can fail. One row is one way: what a client hears, how often the server
//! was asked, what was counted, and, once the server has changed its mind, whether it is asked again about the same proof.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    metrics::{grew, moved},
    support::{
        Answer, TestApp,
        identity::{Mode, Scripted},
    },
};

/// The service's own patience is three seconds; the rest is for a busy machine.
const IN_TIME: Duration = Duration::from_secs(15);

/// What a client hears, and as what it is counted.
#[derive(Clone, Copy, PartialEq)]
struct Hears {
    status: u16,
    code: &'static str,
    result: &'static str,
}

const fn hears(status: u16, code: &'static str, result: &'static str) -> Hears {
    Hears { status, code, result }
}

const ADMITTED: Hears = hears(200, "", "granted");
const REFUSED: Hears = hears(401, "invalid_credentials", "invalid");
const DISABLED: Hears = hears(403, "account_disabled", "disabled");
const REPLAYED: Hears = hears(401, "replayed", "replayed");
const TOO_FAR: Hears = hears(401, "timestamp_out_of_window", "timestamp_out_of_window");
const TOO_WEAK: Hears = hears(401, "scheme_not_allowed", "scheme_not_allowed");
/// Nothing is said of the proof, and nothing is remembered.
const LATER: Hears = hears(503, "auth_unavailable", "unavailable");

impl Hears {
    #[track_caller]
    fn is(self, answer: &Answer, name: &str) {
        assert_eq!(answer.status, self.status, "{name}: {}", answer.text);
        if self != ADMITTED {
            assert_eq!(answer.json()["code"], self.code, "{name}");
        }
        assert_eq!(answer.header("retry-after").is_some(), self == LATER, "{name}: when to come again");
    }
}

/// Name, what the server does with each question (nothing at all: it refuses connections), how many questions arrive,
/// the `outcome` they are counted as, and what the client hears.
type Row = (&'static str, Vec<Mode>, usize, &'static str, Hears);

fn deny(status: u16, code: &'static str) -> Vec<Mode> {
    vec![Mode::Deny(status, code, json!({}))]
}

fn but(changes: Value) -> Vec<Mode> {
    vec![Mode::OkBut(changes)]
}

fn page(status: u16) -> Vec<Mode> {
    vec![Mode::Page(status)]
}

fn rows() -> Vec<Row> {
    let impostor = json!({"status": "active", "user": {"id": "u", "username": "n"}});
    vec![
        // Answers.
        ("ok", vec![Mode::Ok], 1, "active", ADMITTED),
        ("deny", deny(200, "invalid_signature"), 1, "denied", REFUSED),
        ("a key that nobody has", deny(200, "unknown_key"), 1, "denied", REFUSED),
        ("a code that nobody knows", deny(200, "some_new_code"), 1, "denied", REFUSED),
        ("401 with a body", deny(401, "invalid_signature"), 1, "denied", REFUSED),
        ("403 with a body", deny(403, "key_disabled"), 1, "disabled", DISABLED),
        ("a disabled user", deny(200, "user_disabled"), 1, "disabled", DISABLED),
        ("another audience", deny(403, "audience_mismatch"), 1, "audience_mismatch", REFUSED),
        ("seen before", deny(401, "replayed"), 1, "replayed", REPLAYED),
        ("too far off", deny(401, "timestamp_out_of_window"), 1, "timestamp_out_of_window", TOO_FAR),
        ("too weak", deny(200, "scheme_not_allowed"), 1, "denied", TOO_WEAK),
        ("not its business", but(json!({"status": "unsupported", "user": null})), 1, "unsupported", REFUSED),
        // Answers that say nothing of the proof.
        ("rate limited", deny(200, "rate_limited"), 1, "rate_limited", LATER),
        ("later", vec![Mode::Deny(200, "invalid_signature", json!({"retry_after": 3}))], 1, "denied", LATER),
        ("the service's own token refused", deny(401, "service_unauthorized"), 1, "service_unauthorized", LATER),
        // No answers: by their status,
        ("401 with a page", page(401), 1, "malformed", LATER),
        ("401 with nothing", vec![Mode::Bare(401)], 1, "malformed", LATER),
        ("403 with a page", page(403), 1, "malformed", LATER),
        ("403 with nothing", vec![Mode::Bare(403)], 1, "malformed", LATER),
        ("403 with an active user", vec![Mode::Deny(403, "", impostor)], 1, "malformed", LATER),
        ("404", page(404), 1, "status", LATER),
        ("429 with Retry-After", vec![Mode::TooMany], 1, "status", LATER),
        ("500", page(500), 1, "status", LATER),
        ("502", page(502), 2, "status", LATER),
        ("502, then well", vec![Mode::Page(502), Mode::Ok], 2, "active", ADMITTED),
        ("502, then a refusal", [page(502), deny(200, "invalid_signature")].concat(), 2, "denied", REFUSED),
        ("502, then 500", [page(502), page(500), vec![Mode::Ok]].concat(), 2, "status", LATER),
        ("a redirect", vec![Mode::Redirect], 1, "status", LATER),
        // by the way they come,
        ("connections refused", Vec::new(), 0, "connect", LATER),
        ("a head that does not come", vec![Mode::SlowHead], 1, "timeout", LATER),
        ("a body that does not come", vec![Mode::SlowBody], 1, "timeout", LATER),
        ("half a body, then a reset", vec![Mode::HalfBody], 1, "malformed", LATER),
        // or by what they say.
        ("a page under 200", page(200), 1, "malformed", LATER),
        ("nothing under 200", vec![Mode::Bare(200)], 1, "malformed", LATER),
        ("another content type", vec![Mode::NotJson], 1, "malformed", LATER),
        ("oversized", vec![Mode::Oversized], 1, "malformed", LATER),
        ("truncated", vec![Mode::Truncated], 1, "malformed", LATER),
        ("an unknown status", but(json!({"status": "perhaps"})), 1, "malformed", LATER),
        ("no user", but(json!({"user": null})), 1, "malformed", LATER),
        ("no subject", but(json!({"user": {"username": "ann"}})), 1, "malformed", LATER),
        ("an empty subject", but(json!({"user": {"id": "", "username": "ann"}})), 1, "malformed", LATER),
        ("no username", but(json!({"user": {"id": "u1"}})), 1, "malformed", LATER),
        ("no request id", but(json!({"request_id": null})), 1, "malformed", LATER),
        ("another request id", but(json!({"request_id": "another"})), 1, "malformed", LATER),
        ("another version", but(json!({"version": "2"})), 1, "malformed", LATER),
    ]
}

#[tokio::test]
async fn each_way_to_fail_is_heard_counted_and_remembered_as_what_it_is() {
    // A few at a time: some of them take seconds to fail.
    stream::iter(rows()).for_each_concurrent(6, held).await;
}

async fn held((name, modes, calls, outcome, hears): Row) {
    let mut identity = if modes.is_empty() { Scripted::closed() } else { Scripted::start(&modes).await };
    let app = asking(&identity).await;
    let (ann, remembered) = (app.user("ann"), hears != LATER);
    let proof = ann.proof();
    let ask = async || ann.send_as_is("GET", "/api/v1/uploads", &proof, Vec::new()).await;

    let begun = Instant::now();
    let (answer, counted) = moved(&app, &COUNTED, ask()).await;
    assert!(begun.elapsed() < IN_TIME, "{name}: {:?}", begun.elapsed());
    hears.is(&answer, name);
    assert_eq!(identity.calls(), calls, "{name}");
    assert_eq!(counted, counts(calls, outcome, hears), "{name}");

    let refusal = Mode::Deny(200, "invalid_signature", json!({}));
    let (mind, then) = if hears == ADMITTED { (refusal, REFUSED) } else { (Mode::Ok, ADMITTED) };
    identity.set(mind);
    identity.open();
    if remembered {
        let (answer, counted) = moved(&app, &["identity_requests_total"], ask()).await;
        hears.is(&answer, name);
        assert_eq!((identity.calls(), counted), (calls, Vec::new()), "{name}: answered from memory");
        app.clock.advance(Duration::from_secs(61));
    }
    then.is(&ask().await, &format!("{name}, asked again"));
    assert_eq!(identity.calls(), calls + 1, "{name}: asked again");
    app.stop().await;
}

async fn asking(identity: &Scripted) -> TestApp {
    let url = identity.url();
    TestApp::with(|config| config.identity.url = url).await
}

const COUNTED: [&str; 6] = [
    "auth_requests_total",
    "auth_provisioned_total",
    "auth_verdicts_kept",
    "identity_requests_total",
    "identity_request_duration_seconds",
    "identity_retries_total",
];

/// What one request moves of them.
fn counts(calls: usize, outcome: &str, hears: Hears) -> Vec<(String, f64)> {
    let request = format!("auth_requests_total{{method=\"signature\",result=\"{}\"}}", hears.result);
    let asked = format!("identity_requests_total{{realm=\"default\",outcome=\"{outcome}\"}}");
    let mut counts =
        vec![(&*request, 1.0), (&*asked, 1.0), ("identity_request_duration_seconds_count{realm=\"default\"}", 1.0)];
    if calls != 1 {
        counts.push(("identity_retries_total{realm=\"default\",result=\"made\"}", 1.0));
    }
    match hears {
        ADMITTED => counts.extend([
            ("auth_provisioned_total{realm=\"default\",result=\"created\"}", 1.0),
            ("auth_verdicts_kept{realm=\"default\",judge=\"identity\",verdict=\"proven\"}", 1.0),
        ]),
        LATER => {}
        _ => counts.push(("auth_verdicts_kept{realm=\"default\",judge=\"identity\",verdict=\"refused\"}", 1.0)),
    }
    grew(&counts)
}

#[tokio::test]
async fn a_server_that_flaps_by_a_schedule_is_believed_whenever_it_answers() {
    let schedule = [
        (Mode::Ok, ADMITTED),
        (Mode::Page(500), LATER),
        (Mode::Ok, ADMITTED),
        (Mode::HalfBody, LATER),
        (Mode::Truncated, LATER),
        (Mode::Deny(200, "invalid_signature", json!({})), REFUSED),
        (Mode::TooMany, LATER),
        (Mode::Ok, ADMITTED),
    ];
    let identity = Scripted::start(&schedule.clone().map(|(mode, _)| mode)).await;
    let app = asking(&identity).await;
    let ann = app.user("ann");
    let first = ann.proof();
    for (turn, (_, hears)) in schedule.iter().enumerate() {
        hears.is(&ann.get("/api/v1/uploads").await, &format!("turn {turn}"));
        app.clock.advance(Duration::from_secs(2));
        let proven = ann.send_as_is("GET", "/api/v1/uploads", &first, Vec::new()).await;
        ADMITTED.is(&proven, &format!("turn {turn}: what was proven goes on"));
        assert_eq!(identity.calls(), turn + 1, "turn {turn}");
    }
    app.stop().await;
}
