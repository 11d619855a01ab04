//! The gate, the client of the identity server and the reference server: a caller presents a triple, and somebody far
//! away knows, does not know, or cannot be asked.

mod crowds;
mod flood;
mod reference;
mod refused_keys;
mod reuse;
mod signed_requests;
mod window;

use std::{sync::Arc, time::Duration};

use chunkgate::{
    auth::{
        AuthError, Gate, Presented, Reuse, Settings, Throttle,
        credentials::{self, Credential},
        federated, identity,
    },
    domain::{
        Clock, Timestamp, UploadId,
        principal::{Principal, ProofHash, Reach},
        realms::Entrance,
        signing,
    },
    worker::Tasks,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Semaphore,
    task::JoinHandle,
};

use crate::support::identity::{MemoryAccounts, Mode, Scripted, StillClock};

const NOW: i64 = 1_700_000_000;
const SECOND: Duration = Duration::from_secs(1);
const MICRO: Duration = Duration::from_micros(1);

/// A gate with everything around it.
struct House {
    gate: Arc<Gate>,
    accounts: Arc<MemoryAccounts>,
    clock: Arc<StillClock>,
    tasks: Tasks,
}

impl House {
    fn asking(url: &str) -> Self {
        Self::with(url, Settings::default(), |_| {})
    }

    fn reusing(url: &str, v1_reuse: Reuse) -> Self {
        let mut settings = Settings::default();
        settings.signature.v1_reuse = v1_reuse;
        Self::with(url, settings, |_| {})
    }

    /// For servers that never answer.
    fn impatient(url: &str) -> Self {
        Self::with(url, Settings::default(), |identity| identity.try_timeout = Duration::from_millis(100))
    }

    fn with(url: &str, settings: Settings, change: impl FnOnce(&mut identity::Settings)) -> Self {
        let mut identity = identity::Settings {
            url: url.into(),
            token: "service-token".into(),
            try_timeout: 20 * SECOND,
            deadline: 30 * SECOND,
            connect_timeout: 10 * SECOND,
            ..identity::Settings::default()
        };
        change(&mut identity);
        let (accounts, clock, tasks) = (Arc::new(MemoryAccounts::default()), StillClock::at(NOW), Tasks::new());
        let guesses = Arc::new(Throttle::new(clock.clone()));
        let gate =
            Gate::open(settings, &identity, &guesses, accounts.clone(), clock.clone(), tasks.clone(), Arc::default());
        Self { gate: Arc::new(gate.expect("good settings")), accounts, clock, tasks }
    }

    async fn admit(&self, presented: &Presented) -> Result<Principal, AuthError> {
        self.gate.admit(presented).await
    }

    async fn refusal(&self, presented: &Presented) -> AuthError {
        self.admit(presented).await.expect_err("not admitted")
    }
}

fn triple(api_key: &str, timestamp: &str, signature: &str) -> Presented {
    let headers = [("x-api-key", api_key), ("x-timestamp", timestamp), ("x-signature", signature)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Presented { headers, ..Presented::default() }
}

fn signed(api_key: &str, secret: &str, at: i64) -> Presented {
    triple(api_key, &at.to_string(), &signing::sign_v1(secret.as_bytes(), &at.to_string()))
}

fn ann() -> Presented {
    signed("key", "secret", NOW)
}

fn hash(presented: &Presented) -> ProofHash {
    match credentials::find(presented, &Settings::default()) {
        Ok(Some(Credential::Signature(proof))) => federated::proof_hash("default", &proof),
        other => panic!("no triple: {other:?}"),
    }
}

fn unavailable(error: &AuthError) -> bool {
    matches!(error, AuthError::Unavailable { retry_after } if (SECOND..=5 * SECOND).contains(retry_after))
}

#[tokio::test]
async fn a_right_proof_is_admitted_and_the_user_provisioned_once() {
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::asking(&server.url());
    let mut presented = ann();
    presented.request.method = "POST".into();
    presented.request.path = "/chunked_upload/".into();
    presented.request.client_ip = Some([127, 0, 0, 9].into());
    let principal = house.admit(&presented).await.expect("admitted");
    let user = principal.user.clone().expect("a user");
    assert_eq!((user.realm.as_str(), user.username.as_str()), ("default", "ann"));
    assert_eq!(
        (principal.reach, principal.may_create, principal.limits.max_file_bytes),
        (Reach::Own, true, Some(1000))
    );
    assert_eq!(principal.binding.map(|binding| (binding.proof, binding.exclusive)), Some((hash(&presented), false)));
    assert!(house.admit(&presented).await.is_ok());
    assert_eq!((server.calls(), house.accounts.count()), (1, 1));

    let asked = server.asked();
    let (headers, question) = (&asked[0].headers, &asked[0].question);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert_eq!(header("authorization"), "Bearer service-token");
    assert_eq!((header("content-type"), header("accept")), ("application/json".into(), "application/json".into()));
    assert_eq!(header("x-request-id"), header("idempotency-key"));
    assert_eq!(Value::from(header("x-request-id")), question["request_id"]);
    let at = |pointer| question.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    assert_eq!([at("/version"), at("/realm"), at("/audience")], ["1", "default", "chunkgate"]);
    assert_eq!(
        [at("/credential/type"), at("/credential/scheme"), at("/credential/api_key")],
        ["signature", "v1", "key"]
    );
    assert_eq!([at("/request/method"), at("/request/client_ip")], ["POST", "127.0.0.9"]);
    assert!(serde_json::from_value::<identity::Question>(question.clone()).is_ok());
}

#[tokio::test]
async fn nothing_presented() {
    let house = House::asking("http://127.0.0.1:9");
    assert_eq!(house.refusal(&Presented::default()).await, AuthError::Missing);
    assert_eq!(
        house.gate.challenge(Entrance::Common),
        "Chunkgate realm=\"default\", schemes=\"signature-v1 signature-v2\""
    );
    let server = Scripted::start(&[Mode::Deny(200, "invalid_signature", json!({}))]).await;
    let house = House::with(&server.url(), Settings { anonymous: true, ..Settings::default() }, |_| {});
    let nobody = house.admit(&Presented::default()).await.expect("admitted");
    assert!(nobody.user.is_none() && server.calls() == 0);
    // A credential that does not hold is never taken for none.
    assert_eq!(house.refusal(&ann()).await, AuthError::Invalid);
    assert!(matches!(house.refusal(&triple("", "", "")).await, AuthError::Malformed(_)));
}

#[tokio::test]
async fn definite_refusals() {
    let none = || json!({});
    let stale = AuthError::Stale { server_time: Timestamp::from_second(NOW).expect("a time") };
    for (mode, expected) in [
        (Mode::Deny(200, "invalid_signature", none()), AuthError::Invalid),
        (Mode::Deny(200, "unknown_key", none()), AuthError::Invalid),
        (Mode::Deny(200, "key_expired", none()), AuthError::Invalid),
        (Mode::Deny(200, "audience_mismatch", none()), AuthError::Invalid),
        (Mode::Deny(200, "some_new_code", none()), AuthError::Invalid),
        (Mode::Deny(401, "invalid_signature", none()), AuthError::Invalid),
        (Mode::Deny(403, "key_disabled", none()), AuthError::Disabled),
        (Mode::Deny(200, "user_disabled", none()), AuthError::Disabled),
        (Mode::Deny(200, "timestamp_out_of_window", none()), stale),
        (Mode::Deny(200, "replayed", none()), AuthError::Replayed),
        (Mode::OkBut(json!({"status": "unsupported", "user": null})), AuthError::Invalid),
    ] {
        let server = Scripted::start(&[mode]).await;
        let house = House::asking(&server.url());
        assert_eq!(house.refusal(&ann()).await, expected);
        assert_eq!(house.refusal(&ann()).await, expected);
        assert_eq!((server.calls(), house.accounts.count()), (1, 0), "{expected}: remembered, nobody provisioned");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time() {
    for mode in [Mode::SlowHead, Mode::SlowBody] {
        let server = Scripted::start(&[mode]).await;
        let house = House::impatient(&server.url());
        let begun = std::time::Instant::now();
        assert!(unavailable(&house.refusal(&ann()).await));
        assert_eq!(server.calls(), 1, "a slow answer is not asked for twice");
        assert!(begun.elapsed() < 10 * SECOND);
    }
    let server = Scripted::start(&[Mode::SlowHead]).await;
    let short = |identity: &mut identity::Settings| identity.deadline = Duration::from_millis(100);
    let house = House::with(&server.url(), Settings::default(), short);
    assert!(unavailable(&house.refusal(&ann()).await));
}

#[tokio::test]
async fn a_failed_connection_is_tried_once_more_as_the_same_question() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let house = House::asking(&format!("http://{}", listener.local_addr().expect("bound")));
    let serve = async {
        let mut heads = Vec::new();
        for answer in ["", "HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"] {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut head = vec![0; 16 * 1024];
            let read = connection.read(&mut head).await.expect("a question");
            heads.push(String::from_utf8_lossy(&head[..read]).into_owned());
            connection.write_all(answer.as_bytes()).await.expect("written");
        }
        heads
    };
    let presented = ann();
    let (heads, error) = tokio::join!(serve, house.refusal(&presented));
    assert!(unavailable(&error));
    let id = |head: &str, name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned).expect("the header")
    };
    assert_eq!(id(&heads[0], "x-request-id: "), id(&heads[1], "x-request-id: "));
    assert_eq!(id(&heads[0], "idempotency-key: "), id(&heads[1], "idempotency-key: "));
}

#[tokio::test]
async fn what_a_proxy_reports_for_a_moment_is_asked_once_more() {
    for status in [502, 503, 504] {
        let server = Scripted::start(&[Mode::Page(status), Mode::Ok]).await;
        assert!(House::asking(&server.url()).admit(&ann()).await.is_ok(), "{status}");
        assert_eq!(server.calls(), 2, "{status}");
        server.set(Mode::Page(status));
        assert!(unavailable(&House::asking(&server.url()).refusal(&ann()).await), "{status}");
        assert_eq!(server.calls(), 4, "{status}: once more, and no oftener");
    }
}

#[tokio::test]
async fn a_server_without_answers_is_left_alone_and_probed() {
    let server = Scripted::start(&[Mode::Page(500)]).await;
    let house = House::asking(&server.url());
    let asked = |n: i64| signed("key", "secret", NOW + n % 100);
    for n in 0..50 {
        assert!(unavailable(&house.refusal(&asked(n)).await));
    }
    assert_eq!(server.calls(), 20, "after twenty failures nobody asks");
    house.clock.advance(Duration::from_secs(5));
    assert!(unavailable(&house.refusal(&asked(0)).await));
    assert_eq!(server.calls(), 21, "one probe failed");
    server.set(Mode::Ok);
    assert!(unavailable(&house.refusal(&asked(0)).await));
    house.clock.advance(Duration::from_secs(10));
    for n in 0..10 {
        assert!(house.admit(&asked(n)).await.is_ok(), "three probes close it, and then everybody asks");
    }
    assert_eq!(server.calls(), 31);
}

#[tokio::test]
async fn a_question_that_is_not_taken_ends_the_asking_for_nobody() {
    for status in [400, 413, 422] {
        let server = Scripted::start(&[Mode::Page(status)]).await;
        let house = House::asking(&server.url());
        for n in 0..30 {
            assert!(unavailable(&house.refusal(&signed("key", "secret", NOW + n)).await), "{status}");
        }
        server.set(Mode::Ok);
        assert!(house.admit(&ann()).await.is_ok(), "{status}");
        assert_eq!(server.calls(), 31, "{status}");
    }
}

#[tokio::test]
async fn refusals_are_answers() {
    let server = Scripted::start(&[Mode::Deny(200, "invalid_signature", json!({}))]).await;
    let house = House::asking(&server.url());
    for n in 0..50 {
        assert!(matches!(house.refusal(&signed("key", "wrong", NOW + n)).await, AuthError::Invalid));
    }
    assert_eq!(server.calls(), 50, "whoever guesses closes the door to nobody");
}

/// A hundred callers with one proof; the first of them asks.
fn a_hundred(house: &House) -> Vec<JoinHandle<Result<Principal, AuthError>>> {
    let caller = |gate: Arc<Gate>| tokio::spawn(async move { gate.admit(&ann()).await });
    (0..100).map(|_| caller(house.gate.clone())).collect()
}

#[tokio::test]
async fn a_hundred_at_once_ask_once() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Scripted::start(&[Mode::Held(gate.clone())]).await;
    let house = House::asking(&server.url());
    let callers = a_hundred(&house);
    server.has_been_asked(1).await;
    gate.add_permits(1);
    for caller in callers {
        assert!(caller.await.expect("no panic").is_ok());
    }
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn the_first_of_a_hundred_leaves_and_ends_nothing() {
    let hold = Arc::new(Semaphore::new(0));
    let server = Scripted::start(&[Mode::Held(hold.clone()), Mode::Page(500)]).await;
    let house = House::asking(&server.url());
    let mut callers = a_hundred(&house);
    server.has_been_asked(1).await;
    let first = callers.remove(0);
    first.abort();
    assert!(first.await.expect_err("aborted").is_cancelled());
    hold.add_permits(1);
    for other in callers {
        assert!(other.await.expect("no panic").is_ok());
    }
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_panic_in_the_flight_of_a_hundred_refuses_none_of_them_and_is_not_remembered() {
    let hold = Arc::new(Semaphore::new(0));
    let server = Scripted::start(&[Mode::Held(hold.clone()), Mode::Ok]).await;
    let house = House::asking(&server.url());
    house.accounts.panic_once();
    let callers = a_hundred(&house);
    server.has_been_asked(1).await;
    hold.add_permits(1);
    for caller in callers {
        assert!(unavailable(&caller.await.expect("the panic stays in the flight").expect_err("not admitted")));
    }
    assert_eq!((server.calls(), house.accounts.count()), (1, 0));
    assert!(house.admit(&ann()).await.is_ok(), "the next one asks anew");
    assert_eq!(server.calls(), 2);
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_kept() {
    let hold = Arc::new(Semaphore::new(0));
    let server = Scripted::start(&[Mode::Held(hold.clone()), Mode::Page(500)]).await;
    let house = House::asking(&server.url());
    let gate = house.gate.clone();
    let only = tokio::spawn(async move { gate.admit(&ann()).await });
    server.has_been_asked(1).await;
    only.abort();
    hold.add_permits(1);
    house.tasks.wind_down();
    house.tasks.finished().await;
    assert!(house.admit(&ann()).await.is_ok());
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn requests_that_differ_do_not_share_an_answer_that_must_not_be_repeated() {
    let private = Mode::OkBut(json!({"cache": {"ttl_seconds": 0}}));
    let server = Scripted::start(&[private]).await;
    let house = House::asking(&server.url());
    let mut other = ann();
    other.request.client_ip = Some([192, 0, 2, 1].into());
    let (here, mine) = (ann(), ann());
    let (a, b, c) = tokio::join!(house.admit(&here), house.admit(&mine), house.admit(&other));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(server.calls(), 2, "one question for each kind of request");
    assert!(house.admit(&ann()).await.is_ok());
    assert_eq!(server.calls(), 3, "and none remembered");
}

#[tokio::test]
async fn lives_of_answers() {
    let denied = Mode::Deny(200, "unknown_key", json!({}));
    let server = Scripted::start(&[denied, Mode::Ok, Mode::Deny(200, "unknown_key", json!({}))]).await;
    let house = House::asking(&server.url());
    assert_eq!(house.refusal(&ann()).await, AuthError::Invalid);
    house.clock.advance(Duration::from_millis(4500) - MICRO);
    assert_eq!((house.refusal(&ann()).await, server.calls()), (AuthError::Invalid, 1), "5 s less a tenth");
    house.clock.advance(Duration::from_millis(500) + MICRO);
    assert!(house.admit(&ann()).await.is_ok(), "a key that was just made works after five seconds");
    house.clock.advance(26 * SECOND);
    assert!(house.admit(&ann()).await.is_ok());
    assert_eq!(server.calls(), 2, "30 s less a tenth");
    house.clock.advance(4 * SECOND);
    assert_eq!((house.refusal(&ann()).await, server.calls()), (AuthError::Invalid, 3), "revoked");
}

#[tokio::test]
async fn logs_hold_no_secret() {
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let modes = [Mode::Page(500), Mode::Deny(401, "service_unauthorized", json!({})), Mode::Truncated, Mode::Ok];
    let server = Scripted::start(&modes).await;
    let house = House::asking(&server.url());
    let presented = signed("a-telling-key", "secret", NOW);
    for _ in &modes {
        let _ = house.admit(&presented).await;
    }
    let signature = signing::sign_v1(b"secret", &NOW.to_string());
    let written = String::from_utf8_lossy(&log.0.lock().expect("no panic")).into_owned();
    assert!(written.contains("gave no answer"), "{written}");
    for secret in ["a-telling-key", "service-token", &signature] {
        assert!(!written.contains(secret), "{secret} in {written}");
    }
}
