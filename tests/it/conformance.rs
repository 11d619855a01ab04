//! `chunkgate identity check`: the reference server keeps the protocol, and a server that breaks one rule of it is told
//! exactly that. The broken ones are the reference server behind a door that spoils what passes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    process::{Command, Output},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{Html, IntoResponse as _, Redirect, Response},
};
use chunkgate::{
    auth::passwords,
    cli::{
        conformance::{self, CheckArgs, Outcome},
        identity::{Directory, Server},
    },
    domain::{Clock as _, SystemClock, signing},
};
use clap::Parser;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const USERS: &str = r#"
[[users]]
id = "u1"
username = "ann"
password = "{password}"
limits = { max_file_bytes = 10 }
[[users.keys]]
api_key = "ann-plain-key-0123"
[[users.keys]]
api_key = "ann-key"
secret = "ann-secret"
[[users.keys]]
api_key = "old-key"
secret = "old-secret"
disabled = true

[[users]]
id = "u2"
username = "bob"
disabled = true
[[users.keys]]
api_key = "bob-key"
secret = "bob-secret"
"#;
const TOKEN: &str = "service-token";

/// The reference server with [`USERS`], by the machine's clock; answers with its URL.
async fn reference(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("users.toml");
    // Slow on purpose, so made once.
    static PASSWORD: LazyLock<String> = LazyLock::new(|| passwords::hash("ann-password"));
    std::fs::write(&path, USERS.replace("{password}", &PASSWORD)).expect("a file");
    let server = Server::new(Directory::open(path).expect("well-formed"), TOKEN.into()).expect("a token");
    let (listener, address) = listener().await;
    tokio::spawn(server.serve(listener, std::future::pending()));
    format!("http://{address}")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: CheckArgs,
}

/// The arguments that [`USERS`] allow for, with more patience than a busy machine needs.
fn arguments(url: &str) -> Vec<String> {
    let given = format!(
        "--url {url} --token {TOKEN} --api-key ann-key --secret ann-secret --disabled-user bob-key:bob-secret \
         --disabled-key old-key:old-secret --plain-key ann:ann-plain-key-0123 --basic ann:ann-password --user-id u1 \
         --try-timeout 20s"
    );
    given.split(' ').map(str::to_owned).collect()
}

fn args(url: &str) -> CheckArgs {
    let words = [vec!["check".to_owned()], arguments(url)].concat();
    Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args
}

/// The names of the cases that this server fails.
async fn failed(args: &CheckArgs) -> Vec<&'static str> {
    conformance::check(args, |_| {}).await.expect("good arguments").names(Outcome::Failed)
}

#[tokio::test]
async fn the_reference_server_keeps_the_protocol() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = conformance::check(&args(&reference(&folder).await), |_| {}).await.expect("good arguments");
    let faults: String = report.findings.iter().filter(|f| f.outcome == Outcome::Failed).map(|f| f.text()).collect();
    assert!(report.passed() && report.count(Outcome::Skipped) == 0 && report.count(Outcome::Ok) > 40, "{faults}");
}

/// What a door in front of the reference server does to questions and answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    // With every question.
    CallsAllActive,
    SaysNothingBut200,
    ShowsALoginPage,
    IsElsewhere,
    IsDown,
    // With questions.
    TrustsAnyToken,
    TakesAnyMethod,
    TakesAnySignature,
    CutsSignatures,
    ForgetsTheWindow,
    LooksOnlyBack,
    TakesAnyVersion,
    ReadsForms,
    BreaksOnOddQuestions,
    BreaksOnUnknownKinds,
    RefusesNewFields,
    CountsUses,
    CountsUsesOncePerQuestion,
    DisablesUnproven,
    TakesAnyPlainKey,
    TakesAnyPassword,
    OffersNoIntrospection,
    SaysNowhereOfStrangers,
    // With answers.
    IsSlow,
    NamesAnotherQuestion,
    SaysAnotherVersion,
    SaysText,
    SaysCreated,
    SaysMuch,
    SaysNumbers,
    KeepsForADay,
    BlamesTheKey,
    BlamesTheKeyOfStrangers,
    InventsCodes,
    RenamesUsers,
    ForgetsWhoIsDisabled,
}

use Fault::*;

/// Each fault, and the cases that it fails.
const FAULTS: &[(Fault, &[&str])] = &[
    (
        CallsAllActive,
        &[
            "wrong-signature",
            "signature-and-more",
            "other-spellings",
            "unknown-key",
            "tampered-time",
            "stale",
            "ahead",
            "no-time",
            "wrong-token",
            "unknown-kind",
            "other-kinds",
            "fields-missing",
            "wrong-types",
            "other-version",
            "too-large",
            "a-form",
            "other-methods",
            "at-once",
            "disabled-user",
            "disabled-user-unproven",
            "disabled-key",
            "plain-key-wrong",
            "basic-wrong",
            "introspect-unknown",
            "introspect-token",
        ],
    ),
    (SaysNothingBut200, &["answers"]),
    (ShowsALoginPage, &["answers"]),
    (IsElsewhere, &["answers"]),
    (IsDown, &["answers"]),
    (TrustsAnyToken, &["wrong-token", "introspect-token"]),
    (TakesAnyMethod, &["other-methods"]),
    (
        TakesAnySignature,
        &["wrong-signature", "signature-and-more", "other-spellings", "tampered-time", "fields-missing", "at-once"],
    ),
    (CutsSignatures, &["signature-and-more"]),
    (ForgetsTheWindow, &["stale", "ahead"]),
    (LooksOnlyBack, &["ahead"]),
    (TakesAnyVersion, &["other-version"]),
    (ReadsForms, &["a-form"]),
    (BreaksOnOddQuestions, &["fields-missing", "wrong-types", "a-form"]),
    (BreaksOnUnknownKinds, &["unknown-kind", "other-kinds", "plain-key", "plain-key-wrong", "basic", "basic-wrong"]),
    (RefusesNewFields, &["fields-of-tomorrow"]),
    (CountsUses, &["asked-again"]),
    (CountsUsesOncePerQuestion, &[]),
    (DisablesUnproven, &["disabled-user-unproven"]),
    (TakesAnyPlainKey, &["other-kinds", "plain-key-wrong"]),
    (TakesAnyPassword, &["other-kinds", "basic-wrong"]),
    (OffersNoIntrospection, &[]),
    (SaysNowhereOfStrangers, &["introspect-unknown"]),
    (IsSlow, &["in-time", "at-once"]),
    (NamesAnotherQuestion, &["request-id"]),
    (SaysAnotherVersion, &["request-id"]),
    (SaysText, &["content-type"]),
    (SaysCreated, &["status-line"]),
    (SaysMuch, &["answer-size"]),
    (SaysNumbers, &["answer-fields"]),
    (KeepsForADay, &["cache"]),
    (BlamesTheKey, &["cache", "lock-out"]),
    (BlamesTheKeyOfStrangers, &[]),
    (
        InventsCodes,
        &[
            "wrong-signature",
            "signature-and-more",
            "unknown-key",
            "tampered-time",
            "code",
            "disabled-user-unproven",
            "plain-key-wrong",
        ],
    ),
    (RenamesUsers, &["same-user", "asked-again", "introspect"]),
    (ForgetsWhoIsDisabled, &["disabled-user"]),
];

#[tokio::test]
async fn a_broken_rule_fails_the_cases_about_it_and_no_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = reference(&folder).await;
    // A few at a time: one of them is slow, and each takes connections by the dozen.
    let found = stream::iter(FAULTS).map(|(fault, expected)| told_apart(*fault, expected, &good)).buffer_unordered(4);
    let wrong: Vec<String> = found.filter_map(async |wrong| wrong).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the cases that this fault fails, if anything.
async fn told_apart(fault: Fault, expected: &[&str], good: &str) -> Option<String> {
    let mut args = args(&spoilt(fault, good).await);
    if fault == IsSlow {
        args.try_timeout = Duration::from_millis(20);
    }
    let failed = failed(&args).await;
    (failed != expected).then(|| format!("{fault:?} fails {failed:?} and not {expected:?}"))
}

/// A door with this fault, in front of the server at `good`; answers with its URL.
async fn spoilt(fault: Fault, good: &str) -> String {
    let (listener, address) = listener().await;
    if fault != IsDown {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let door = Door { fault, http, good: good.to_owned(), seen: Mutex::default() };
        let app = Router::new().fallback(pass).with_state(Arc::new(door));
        tokio::spawn(async move { axum::serve(listener, app).await });
    }
    format!("http://{address}")
}

struct Door {
    fault: Fault,
    http: reqwest::Client,
    good: String,
    /// Signatures, and the last question that brought each.
    seen: Mutex<HashMap<String, String>>,
}

async fn pass(
    State(door): State<Arc<Door>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut question: Value = serde_json::from_slice(&body).unwrap_or_default();
    match door.fault {
        CallsAllActive => return Json(active(&question)).into_response(),
        SaysNothingBut200 => return StatusCode::OK.into_response(),
        ShowsALoginPage => return (StatusCode::UNAUTHORIZED, Html("<h1>Log in</h1>")).into_response(),
        IsElsewhere => return Redirect::temporary("/login").into_response(),
        _ => {}
    }
    let early = match uri.path() {
        "/v1/introspect" => door.early_of_users(&question),
        _ => door.early(&question, &headers),
    };
    if let Some(answer) = early {
        return answer;
    }
    if door.fault == TakesAnyMethod && method != Method::POST && body.is_empty() {
        return Json(active(&question)).into_response();
    }
    let method = if door.fault == TakesAnyMethod { Method::POST } else { method };
    if door.fault == TrustsAnyToken {
        headers.insert(header::AUTHORIZATION, format!("Bearer {TOKEN}").parse().expect("a header"));
    }
    let known = door.spoil(&mut question);
    let body = if known { question.to_string().into() } else { body };
    let mut forward = door.http.request(method, format!("{}{}", door.good, uri.path())).body(body);
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        forward = forward.header(header::AUTHORIZATION, value);
    }
    // Of a question that is too large it may not have read the end.
    let Ok(response) = forward.send().await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let (status, bytes) = (response.status(), response.bytes().await.expect("an answer"));
    match serde_json::from_slice(&bytes) {
        Ok(answer) => door.answer(status, answer, &question).await,
        Err(_) => (status, bytes).into_response(),
    }
}

fn active(question: &Value) -> Value {
    let user = json!({"id": "u1", "username": "ann"});
    json!({"version": "1", "request_id": question["request_id"], "status": "active", "user": user})
}

fn denied(question: &Value, code: &str) -> Value {
    json!({"version": "1", "request_id": question["request_id"], "status": "denied", "code": code})
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Door {
    /// An answer that the reference server would not give.
    fn early(&self, question: &Value, headers: &HeaderMap) -> Option<Response> {
        let fault = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        let kind = (text(question, "/credential/type"), text(question, "/credential/scheme"));
        let broken = ["api_key", "timestamp", "signature"].iter().any(|name| !question["credential"][name].is_string());
        match self.fault {
            BreaksOnOddQuestions if kind.0 == "signature" && broken || !question["credential"].is_object() => {
                Some(fault)
            }
            BreaksOnUnknownKinds if kind.0 != "signature" && !kind.0.is_empty() || kind.1 == "v0" => Some(fault),
            RefusesNewFields if question.get("weather").is_some() => Some(StatusCode::BAD_REQUEST.into_response()),
            ReadsForms if headers[header::CONTENT_TYPE] != "application/json" => {
                Some(Json(active(question)).into_response())
            }
            DisablesUnproven if text(question, "/credential/api_key") == "bob-key" => {
                let user = json!({"id": "u2"});
                let mut answer = denied(question, "user_disabled");
                answer["user"] = user;
                Some(Json(answer).into_response())
            }
            TakesAnyPlainKey if kind.0 == "api_key" => Some(Json(active(question)).into_response()),
            TakesAnyPassword if kind.0 == "basic" => Some(Json(active(question)).into_response()),
            CountsUses | CountsUsesOncePerQuestion if kind.0 == "signature" && self.was_used(question) => {
                Some(Json(denied(question, "replayed")).into_response())
            }
            _ => None,
        }
    }

    /// The same of a question about a user.
    fn early_of_users(&self, question: &Value) -> Option<Response> {
        let stranger = text(question, "/user_id") != "u1";
        let nowhere = self.fault == OffersNoIntrospection || self.fault == SaysNowhereOfStrangers && stranger;
        nowhere.then(|| StatusCode::NOT_FOUND.into_response())
    }

    /// Whether this right signature came before, with another question if that matters.
    fn was_used(&self, question: &Value) -> bool {
        let (signature, id) = (text(question, "/credential/signature"), text(question, "/request_id"));
        if !signing::verify_v1(b"ann-secret", text(question, "/credential/timestamp"), signature) {
            return false;
        }
        let mut seen = self.seen.lock().expect("no panic");
        let first = seen.insert(signature.to_owned(), id.to_owned());
        first.is_some_and(|first| self.fault == CountsUses || first != id)
    }

    /// Makes a wrong question right; whether it did.
    fn spoil(&self, question: &mut Value) -> bool {
        let ann = text(question, "/credential/api_key") == "ann-key";
        let (timestamp, signature) = (text(question, "/credential/timestamp"), text(question, "/credential/signature"));
        let right = signing::verify_v1(b"ann-secret", timestamp, signature);
        let ahead = timestamp.parse::<i64>().is_ok_and(|at| at > SystemClock.now().as_second());
        let now = SystemClock.now().as_second().to_string();
        match self.fault {
            TakesAnySignature if ann => {
                question["credential"]["signature"] = signing::sign_v1(b"ann-secret", timestamp).into();
            }
            CutsSignatures if ann && signature.len() > 64 => {
                question["credential"]["signature"] = signature[..64].into();
            }
            ForgetsTheWindow | LooksOnlyBack
                if ann && right && timestamp.len() == 10 && (self.fault == ForgetsTheWindow || ahead) =>
            {
                question["credential"]["signature"] = signing::sign_v1(b"ann-secret", &now).into();
                question["credential"]["timestamp"] = now.into();
            }
            TakesAnyVersion if question.is_object() => question["version"] = "1".into(),
            _ => return false,
        }
        true
    }

    /// The answer of the reference server, spoilt.
    async fn answer(&self, status: StatusCode, mut answer: Value, question: &Value) -> Response {
        if answer.get("status").is_none() {
            return (status, Json(answer)).into_response();
        }
        let of_bob = text(question, "/credential/api_key") == "bob-key";
        match self.fault {
            // Longer than this test lets a try last.
            IsSlow => tokio::time::sleep(Duration::from_millis(30)).await,
            NamesAnotherQuestion => answer["request_id"] = "another".into(),
            SaysAnotherVersion => answer["version"] = 1.into(),
            SaysText => return (status, answer.to_string()).into_response(),
            SaysCreated => return (StatusCode::CREATED, Json(answer)).into_response(),
            SaysMuch => answer["padding"] = "x".repeat(70_000).into(),
            SaysNumbers => answer["limits"] = json!({"max_file_bytes": "10"}),
            KeepsForADay => answer["cache"] = json!({"ttl_seconds": 86_400}),
            BlamesTheKey if text(&answer, "/code") == "invalid_signature" => {
                answer["cache"] = json!({"scope": "api_key"});
            }
            BlamesTheKeyOfStrangers if text(&answer, "/code") == "unknown_key" => {
                answer["cache"] = json!({"scope": "api_key", "ttl_seconds": 60});
            }
            InventsCodes if text(&answer, "/code") == "invalid_signature" => answer["code"] = "wrong".into(),
            InventsCodes if text(&answer, "/code") == "unknown_key" => answer["code"] = "wrong".into(),
            RenamesUsers if answer["status"] == "active" => {
                answer["user"]["id"] = uuid::Uuid::new_v4().to_string().into()
            }
            ForgetsWhoIsDisabled if of_bob => answer["user"] = Value::Null,
            _ => {}
        }
        (status, Json(answer)).into_response()
    }
}

async fn run(arguments: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chunkgate"));
    command.env_clear().args(["identity", "check"]).args(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ends")
}

#[tokio::test]
async fn the_command_ends_with_its_codes_and_shows_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = reference(&folder).await;
    let output = run(&arguments(&good)).await;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("\nok      wrong-signature "), "{shown}");
    assert!(shown.contains("\nok      basic ") && shown.ends_with(" 0 failed, 0 skipped\n"), "{shown}");

    let without = spoilt(OffersNoIntrospection, &good).await;
    let patient = ["--try-timeout".to_owned(), "20s".to_owned()];
    let output = run(&[&arguments(&without)[..12], &patient].concat()).await;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.ends_with(" 0 failed, 7 skipped\n"), "{shown}");
    for told in [
        "basic                   give --basic",
        "introspect              give --user-id",
        "introspect-token        not offered",
    ] {
        assert!(shown.contains(&format!("\nskipped {told}")), "{told} in {shown}");
    }

    let bad = spoilt(KeepsForADay, &good).await;
    let output = run(&arguments(&bad)).await;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{shown}");
    for part in ["FAILED  cache ", "flaw    cache.ttl_seconds is 86400", "wanted  ", "why     ", "to do   ", "1 failed"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    for secret in [TOKEN, "ann-secret", "bob-secret", "old-secret", "ann-plain-key-0123", "ann-password"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }

    let output = run(&[arguments(&bad), vec!["--json".into()]].concat()).await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &report["failed"], &report["skipped"]), (Some(1), &json!(1), &json!(0)));
    let case = report["cases"].as_array().expect("a list").iter().find(|case| case["name"] == "cache").expect("there");
    assert_eq!((&case["outcome"], &case["flaw"]), (&json!("failed"), &json!("cache.ttl_seconds is 86400")));

    for wrong in [
        vec!["--url".to_owned(), "ftp://x".to_owned()],
        vec!["--disabled-key".into(), "no-colon".into()],
        vec!["--api-key".into(), "a b".into()],
        vec!["--try-timeout".into(), "soon".into()],
        vec![],
    ] {
        let mut given = arguments(&good);
        match wrong.first() {
            Some(option) => {
                let at = given.iter().position(|word| word == option);
                at.map(|at| given.drain(at..at + 2));
            }
            None => given.clear(),
        }
        let output = run(&[given, wrong.clone()].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
