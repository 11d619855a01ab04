//! API keys and passwords that the identity server judges: a caller presents one, and somebody far away knows, does not
//! know, or cannot be asked.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chunkgate::{
    auth::{AuthError, Gate, Judge, Method, Presented, Settings, Throttle, identity, passwords, standing::LIFE},
    db::{self, Stores},
    domain::{
        principal::{Principal, Reach, Scopes},
        realms::Entrance,
    },
    worker::Tasks,
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{
    Answer, TestApp,
    identity::{MemoryAccounts, Mode, Scripted, StillClock},
};

const SECOND: Duration = Duration::from_secs(1);
const KINDS: [Method; 2] = [Method::ApiKey, Method::Basic];

/// A gate whose every question about keys and passwords goes to the identity server.
struct House {
    gate: Arc<Gate>,
    accounts: Arc<MemoryAccounts>,
    clock: Arc<StillClock>,
}

impl House {
    fn asking(url: &str) -> Self {
        let identity = identity::Settings {
            url: url.into(),
            token: "service-token".into(),
            try_timeout: 20 * SECOND,
            deadline: 30 * SECOND,
            connect_timeout: 10 * SECOND,
            ..identity::Settings::default()
        };
        let (accounts, clock) = (Arc::new(MemoryAccounts::default()), StillClock::at(1_700_000_000));
        let guesses = Arc::new(Throttle::new(clock.clone()));
        let gate =
            Gate::open(settings(), &identity, &guesses, accounts.clone(), clock.clone(), Tasks::new(), Arc::default());
        Self { gate: Arc::new(gate.expect("good settings, and no pepper is needed")), accounts, clock }
    }

    async fn admit(&self, presented: &Presented) -> Result<Principal, AuthError> {
        self.gate.admit(presented).await
    }

    async fn refusal(&self, presented: &Presented) -> AuthError {
        self.admit(presented).await.expect_err("not admitted")
    }
}

fn settings() -> Settings {
    Settings { methods: KINDS.to_vec(), api_key: Judge::Identity, basic: Judge::Identity, ..Settings::default() }
}

/// The header of a user with this key or password.
fn header(kind: Method, name: &str, secret: &str) -> String {
    match kind {
        Method::Basic => format!("Basic {}", BASE64.encode(format!("{name}:{secret}"))),
        _ => format!("ApiKey {name}:{secret}"),
    }
}

fn presented(kind: Method, name: &str, secret: &str) -> Presented {
    let mut presented =
        Presented { headers: vec![("authorization".into(), header(kind, name, secret))], ..Presented::default() };
    presented.request.client_ip = Some([10, 0, 0, 1].into());
    presented.request.path = "/api/v1/uploads".into();
    presented
}

fn ann(kind: Method) -> Presented {
    presented(kind, "ann", "a-secret:of-ann")
}

fn unavailable(error: &AuthError) -> bool {
    matches!(error, AuthError::Unavailable { .. })
}

fn too_many(error: &AuthError) -> bool {
    matches!(error, AuthError::RateLimited { .. })
}

#[tokio::test]
async fn a_right_proof_is_admitted_and_the_user_provisioned_once() {
    let fields = [
        (Method::ApiKey, json!({"type": "api_key", "username": "ann", "api_key": "a-secret"})),
        (Method::Basic, json!({"type": "basic", "username": "ann", "password": "a-secret"})),
    ];
    for (kind, credential) in fields {
        let server = Scripted::start(&[Mode::Ok]).await;
        let house = House::asking(&server.url());
        let presented = presented(kind, "ann", "a-secret");
        let principal = house.admit(&presented).await.expect("admitted");
        let user = principal.user.expect("a user");
        assert_eq!((user.realm.as_str(), user.username.as_str()), ("default", "ann"));
        assert_eq!((principal.reach, principal.may_create, principal.scopes), (Reach::Own, true, Scopes::ALL));
        assert_eq!(principal.limits.max_file_bytes, Some(1000));
        assert!(principal.binding.is_none(), "what has no window needs no binding");
        assert!(house.admit(&presented).await.is_ok());
        assert_eq!((server.calls(), house.accounts.count()), (1, 1));
        let question = server.asked()[0].question.clone();
        assert_eq!(question["credential"], credential);
        assert_eq!(question["request"]["client_ip"], "10.0.0.1");
        assert!(serde_json::from_value::<identity::Question>(question).is_ok());
    }
    let house = House::asking("http://127.0.0.1:9");
    let challenge = house.gate.challenge(Entrance::Common);
    assert!(challenge.starts_with("Chunkgate realm=\"default\", schemes=\"api-key basic\", Basic "), "{challenge}");
}

#[tokio::test]
async fn definite_refusals() {
    let deny = |code| Mode::Deny(200, code, json!({}));
    let user = json!({"user": {"id": "u1"}});
    for kind in KINDS {
        for (mode, expected) in [
            (deny("invalid_password"), AuthError::Invalid),
            (deny("unknown_key"), AuthError::Invalid),
            (deny("key_expired"), AuthError::Invalid),
            (deny("some_new_code"), AuthError::Invalid),
            // Of a signature these say more; here there is no time, and nothing to use up.
            (deny("timestamp_out_of_window"), AuthError::Invalid),
            (deny("replayed"), AuthError::Invalid),
            (Mode::Deny(401, "unknown_key", json!({})), AuthError::Invalid),
            (Mode::Deny(403, "key_disabled", json!({})), AuthError::Disabled),
            (Mode::Deny(200, "user_disabled", user.clone()), AuthError::Disabled),
            (Mode::OkBut(json!({"status": "unsupported", "user": null})), AuthError::Invalid),
        ] {
            let server = Scripted::start(&[mode]).await;
            let house = House::asking(&server.url());
            assert_eq!(house.refusal(&ann(kind)).await, expected);
            assert_eq!(house.refusal(&ann(kind)).await, expected);
            assert_eq!((server.calls(), house.accounts.count()), (1, 0), "{expected}: remembered, nobody provisioned");
            house.clock.advance(5 * SECOND);
            house.refusal(&ann(kind)).await;
            assert_eq!(server.calls(), 2, "{expected}: not for long");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_never_a_refusal_and_never_remembered() {
    for kind in KINDS {
        for (name, mode) in [
            ("rate limited", Mode::Deny(200, "rate_limited", json!({}))),
            ("later", Mode::Deny(200, "unknown_key", json!({"retry_after": 3}))),
            ("own token refused", Mode::Deny(401, "service_unauthorized", json!({}))),
            ("a bare 401", Mode::Page(401)),
            ("500", Mode::Page(500)),
            ("half a body", Mode::HalfBody),
            ("another content type", Mode::NotJson),
            ("truncated", Mode::Truncated),
            ("redirect", Mode::Redirect),
            ("unknown status", Mode::OkBut(json!({"status": "perhaps"}))),
            ("no user id", Mode::OkBut(json!({"user": {"username": "ann"}}))),
            ("another question's", Mode::OkBut(json!({"request_id": "00000000-0000-7000-8000-000000000000"}))),
        ] {
            let server = Scripted::start(&[mode]).await;
            let house = House::asking(&server.url());
            for asked in 1..=12 {
                let error = house.refusal(&ann(kind)).await;
                assert!(unavailable(&error), "{name}: {error}, and no outage counts as a guess");
                assert_eq!((server.calls(), house.accounts.count()), (asked, 0), "{name}");
            }
            server.set(Mode::Ok);
            assert!(house.admit(&ann(kind)).await.is_ok(), "{name}: recovered at once");
        }
    }
}

#[tokio::test]
async fn only_the_answer_says_how_long_it_is_good() {
    for kind in KINDS {
        for (cache, good_for) in [
            (json!({"cache": {"ttl_seconds": 10}}), 10),
            (json!({"cache": {"ttl_seconds": 100_000}}), 60),
            (json!({"cache": null}), 30),
            (json!({"cache": {"ttl_seconds": 50}, "key": {"expires_at": "2023-11-14T22:13:40Z"}}), 20),
        ] {
            let server = Scripted::start(&[Mode::OkBut(cache.clone())]).await;
            let house = House::asking(&server.url());
            house.admit(&ann(kind)).await.expect("admitted");
            // Less up to a tenth.
            house.clock.advance(good_for * 9 / 10 * SECOND - Duration::from_millis(1));
            house.admit(&ann(kind)).await.expect("admitted");
            assert_eq!(server.calls(), 1, "{cache}");
            house.clock.advance(good_for / 10 * SECOND + Duration::from_millis(1));
            house.admit(&ann(kind)).await.expect("admitted");
            assert_eq!(server.calls(), 2, "{cache}");
        }
        for never in [json!({"ttl_seconds": 0}), json!({"scope": "none"}), json!({"vary": ["path"]})] {
            let server = Scripted::start(&[Mode::OkBut(json!({"cache": never}))]).await;
            let house = House::asking(&server.url());
            for asked in 1..=3 {
                house.admit(&ann(kind)).await.expect("admitted");
                assert_eq!(server.calls(), asked, "{never}");
            }
        }
    }
}

#[tokio::test]
async fn another_name_secret_or_kind_is_another_proof() {
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::asking(&server.url());
    let proofs = [("ann", "secret"), ("ann", "secre"), ("anns", "ecret"), ("an", "nsecret"), ("bob", "secret")];
    for (asked, kind, (name, secret)) in
        KINDS.into_iter().flat_map(|kind| proofs.map(|proof| (kind, proof))).zip(1..).map(|((k, p), n)| (n, k, p))
    {
        house.admit(&presented(kind, name, secret)).await.expect("admitted");
        assert_eq!(server.calls(), asked, "{name} {secret}");
    }
    // A changed password: the old one is refused when it is asked about again, the new one admitted at once.
    server.set(Mode::Deny(200, "invalid_password", json!({})));
    house.admit(&presented(Method::Basic, "ann", "secret")).await.expect("remembered");
    house.clock.advance(30 * SECOND);
    assert_eq!(house.refusal(&presented(Method::Basic, "ann", "secret")).await, AuthError::Invalid);
    server.set(Mode::Ok);
    house.admit(&presented(Method::Basic, "ann", "another")).await.expect("admitted");
}

#[tokio::test]
async fn a_hundred_at_once_ask_once() {
    for kind in KINDS {
        let hold = Arc::new(Semaphore::new(0));
        let server = Scripted::start(&[Mode::Held(hold.clone())]).await;
        let house = House::asking(&server.url());
        let caller = |_| {
            let gate = house.gate.clone();
            tokio::spawn(async move { gate.admit(&ann(kind)).await.is_ok() })
        };
        let callers: Vec<_> = (0..100).map(caller).collect();
        server.has_been_asked(1).await;
        hold.add_permits(1);
        for caller in callers {
            assert!(caller.await.expect("no panic"));
        }
        assert_eq!(server.calls(), 1);
    }
}

#[tokio::test]
async fn one_right_proof_for_many_uploads_at_once_is_no_guessing() {
    let hold = Arc::new(Semaphore::new(0));
    let server = Scripted::start(&[Mode::Held(hold.clone())]).await;
    let house = House::asking(&server.url());
    let caller = |upload: u8| {
        let (gate, mut presented) = (house.gate.clone(), ann(Method::Basic));
        presented.request.path = format!("/api/v1/uploads/{upload}");
        tokio::spawn(async move { gate.admit(&presented).await.map(|_| ()) })
    };
    let callers: Vec<_> = (0..30).map(caller).collect();
    server.has_been_asked(30).await;
    hold.add_permits(30);
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), Ok(()));
    }
}

#[tokio::test]
async fn who_guesses_is_slowed_and_asks_no_more() {
    for kind in KINDS {
        let server = Scripted::start(&[Mode::Ok]).await;
        let house = House::asking(&server.url());
        house.admit(&ann(kind)).await.expect("admitted");
        server.set(Mode::Deny(200, "unknown_key", json!({})));
        for guess in 0..12 {
            let error = house.refusal(&presented(kind, "ann", &format!("guess-{guess}"))).await;
            assert_eq!(too_many(&error), guess >= 10, "{guess}: {error}");
        }
        assert_eq!(server.calls(), 11, "what comes too fast costs no question");
        server.set(Mode::Ok);
        house.admit(&ann(kind)).await.expect("proved a moment ago");
        let mut elsewhere = presented(kind, "ann", "another-secret");
        assert!(too_many(&house.refusal(&elsewhere).await));
        elsewhere.request.client_ip = Some([10, 0, 0, 2].into());
        house.admit(&elsewhere).await.expect("nobody is locked out");
        house.clock.advance(60 * SECOND);
        house.admit(&presented(kind, "ann", "a-third-secret")).await.expect("after a while");
    }
}

#[tokio::test]
async fn the_same_wrong_proof_counts_each_time_it_is_sent() {
    for kind in KINDS {
        let server = Scripted::start(&[Mode::Deny(200, "unknown_key", json!({}))]).await;
        let house = House::asking(&server.url());
        for sent in 0..12 {
            assert_eq!(too_many(&house.refusal(&ann(kind)).await), sent >= 10, "{sent}");
        }
        assert_eq!(server.calls(), 1);
        // A guess for the one kind counts for the other.
        let other = KINDS[usize::from(kind == KINDS[0])];
        assert!(too_many(&house.refusal(&ann(other)).await));
    }
}

#[tokio::test]
async fn a_disabled_user_is_refused_whatever_is_remembered() {
    for kind in KINDS {
        let server = Scripted::start(&[Mode::Ok]).await;
        let house = House::asking(&server.url());
        let user = house.admit(&ann(kind)).await.expect("admitted").user.expect("a user");
        house.accounts.disable_by_operator(user.id);
        house.clock.advance(LIFE);
        for _ in 0..12 {
            assert_eq!(house.refusal(&ann(kind)).await, AuthError::Disabled, "and no guess");
        }
        assert_eq!(server.calls(), 1);
    }
    // The identity server disables the user of one proof, and all other proofs end.
    let disabled = Mode::Deny(200, "user_disabled", json!({"user": {"id": "u1"}}));
    let server = Scripted::start(&[Mode::Ok, disabled]).await;
    let house = House::asking(&server.url());
    house.admit(&ann(Method::Basic)).await.expect("admitted");
    assert_eq!(house.refusal(&ann(Method::ApiKey)).await, AuthError::Disabled);
    assert!(house.accounts.is_disabled_by_identity("u1"));
    assert_eq!(house.refusal(&ann(Method::Basic)).await, AuthError::Disabled);
}

#[tokio::test]
async fn a_database_that_fails_refuses_nobody() {
    for kind in KINDS {
        let server = Scripted::start(&[Mode::Ok]).await;
        let house = House::asking(&server.url());
        house.accounts.break_down(true);
        for _ in 0..12 {
            let error = house.refusal(&ann(kind)).await;
            assert!(unavailable(&error), "{error:?}");
        }
        house.accounts.break_down(false);
        house.admit(&ann(kind)).await.expect("admitted");
    }
}

// ---- the whole service, with the reference identity server ----------------------------------------------------------

const CAROLS_KEY: &str = "carol-0f2e6c1b9a4d7e83";

async fn service() -> TestApp {
    let app = TestApp::with(|config| config.auth = settings()).await;
    let users = std::fs::read_to_string(&app.users).expect("users");
    std::fs::write(&app.users, users + &carol("carol's password")).expect("written");
    app
}

fn carol(password: &str) -> String {
    format!(
        "\n[[users]]\nid = \"subject-carol\"\nusername = \"carol\"\npassword = \"{}\"\nlimits = {{ max_file_bytes = 20 }}\n\
         [[users.keys]]\napi_key = \"{CAROLS_KEY}\"\n",
        passwords::hash(password)
    )
}

async fn list(app: &TestApp, kind: Method, name: &str, secret: &str) -> Answer {
    let headers = [("Authorization".to_owned(), header(kind, name, secret))];
    app.anonymous().send_as_is("GET", "/api/v1/uploads", &headers, Vec::new()).await
}

async fn stores(app: &TestApp) -> Stores {
    db::connect(&app.config.database, app.config.storage.local.durability).await.expect("connects")
}

#[tokio::test]
async fn a_key_and_a_password_are_the_same_user() {
    let app = service().await;
    let headers = [
        ("Authorization".to_owned(), header(Method::ApiKey, "carol", CAROLS_KEY)),
        ("Content-Range".to_owned(), "bytes 0-4/10".to_owned()),
        ("Content-Disposition".to_owned(), "attachment; filename=\"f\"".to_owned()),
    ];
    let chunk = async |headers: &[(String, String)]| {
        app.anonymous().send_as_is("POST", "/chunked_uploads/upload/", headers, b"01234".to_vec()).await
    };
    chunk(&headers).await.expect(200);
    let listed = list(&app, Method::Basic, "carol", "carol's password").await.expect(200).json();
    assert_eq!(listed["uploads"].as_array().map(Vec::len), Some(1));
    let mut larger = headers.clone();
    larger[1].1 = "bytes 0-4/21".into();
    larger[2].1 = "attachment; filename=\"larger\"".into();
    chunk(&larger).await.expect(413);

    // The user is the identity server's, and nobody of that name was made here.
    let stores = stores(&app).await;
    assert!(stores.credentials.user("carol").await.expect("answers").is_none());
    stores.close().await;
    app.stop().await;
}

#[tokio::test]
async fn what_the_reference_server_does_not_admit() {
    let app = service().await;
    for (kind, name, secret) in [
        (Method::Basic, "carol", "another password"),
        (Method::Basic, "nobody", "carol's password"),
        (Method::Basic, "alice", "alice-secret"),
        (Method::ApiKey, "carol", "carol-0f2e6c1b9a4d7e84"),
        (Method::ApiKey, "alice", CAROLS_KEY),
        // The name of a key that signs stands in every signature: showing it proves nothing.
        (Method::ApiKey, "alice", "alice-key"),
        (Method::ApiKey, "alice", "alice-secret"),
    ] {
        let answer = list(&app, kind, name, secret).await.expect(401);
        assert_eq!(answer.json()["code"], "invalid_credentials", "{name} {secret}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_changed_password_and_a_disabled_user() {
    let app = service().await;
    list(&app, Method::Basic, "carol", "carol's password").await.expect(200);
    let users = std::fs::read_to_string(&app.users).expect("users");
    let others = users.split("\n[[users]]\nid = \"subject-carol\"").next().expect("others").to_owned();
    std::fs::write(&app.users, format!("{others}{}", carol("a new password of hers"))).expect("written");
    list(&app, Method::Basic, "carol", "a new password of hers").await.expect(200);
    list(&app, Method::Basic, "carol", "carol's password").await.expect(200);
    app.clock.advance(30 * SECOND);
    list(&app, Method::Basic, "carol", "carol's password").await.expect(401);

    let disabled = carol("a new password of hers").replace("\nlimits", "\ndisabled = true\nlimits");
    std::fs::write(&app.users, format!("{others}{disabled}")).expect("written");
    app.clock.advance(30 * SECOND);
    for (kind, secret) in [(Method::Basic, "a new password of hers"), (Method::ApiKey, CAROLS_KEY)] {
        assert_eq!(list(&app, kind, "carol", secret).await.expect(403).json()["code"], "account_disabled");
    }
    app.stop().await;
}

#[tokio::test]
async fn local_keys_beside_passwords_of_the_identity_server() {
    let app = TestApp::with(|config| {
        config.auth = Settings { api_key: Judge::Local, ..settings() };
        config.auth.pepper = crate::local::PEPPER.into();
    })
    .await;
    let users = std::fs::read_to_string(&app.users).expect("users");
    std::fs::write(&app.users, users + &carol("carol's password")).expect("written");
    let stores = stores(&app).await;
    let carol = crate::local::add_user(&stores, "carol", &app.clock).await;
    let (key, kept) = crate::local::new_key(carol, &*app.clock);
    crate::local::keep_key(&stores, &kept).await;
    list(&app, Method::ApiKey, "carol", key.reveal()).await.expect(200);
    list(&app, Method::Basic, "carol", "carol's password").await.expect(200);
    list(&app, Method::ApiKey, "carol", CAROLS_KEY).await.expect(401);
    list(&app, Method::Basic, "carol", "carol: a p\u{e4}ssword").await.expect(401);
    stores.close().await;
    app.stop().await;
}

#[tokio::test]
async fn an_outage_is_503_at_every_door() {
    let identity = Scripted::start(&[Mode::Page(500)]).await;
    let url = identity.url();
    let app = TestApp::with(|config| {
        config.auth = settings();
        config.identity.url = url;
    })
    .await;
    for kind in KINDS {
        let headers = [("Authorization".to_owned(), header(kind, "carol", "a-secret-of-hers"))];
        for (method, path) in
            [("GET", "/api/v1/uploads"), ("POST", "/chunked_upload/"), ("POST", "/chunked_uploads/upload/")]
        {
            let answer = app.anonymous().send_as_is(method, path, &headers, Vec::new()).await.expect(503);
            assert!(answer.header("retry-after").is_some());
        }
    }
    assert_eq!(identity.calls(), 6);
    app.stop().await;
}

#[tokio::test]
async fn nothing_that_admits_is_kept() {
    let app = service().await;
    list(&app, Method::ApiKey, "carol", CAROLS_KEY).await.expect(200);
    list(&app, Method::Basic, "carol", "carol's password").await.expect(200);
    let url = secrecy::ExposeSecret::expose_secret(&app.config.database.url).to_owned();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let files = [path.to_owned(), format!("{path}-wal")];
        let bytes: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("subject-carol"), "the files that hold the user were read");
        assert!(!holds(CAROLS_KEY) && !holds("carol's password") && !holds("$argon2"));
    }
    app.stop().await;
}
