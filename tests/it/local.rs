//! Local users as clients meet them: API keys and passwords, wherever they may stand, and who is refused.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chunkgate::{
    auth::{AuthError, Gate, Method, Presented, Settings, local, passwords},
    db::{self, Change, KeptKey, Person, Stores},
    domain::{
        Clock, Timestamp, UserId, after,
        keys::ApiKey,
        principal::{Principal, Scope, Scopes, User},
    },
    worker::Tasks,
};
use serde_json::json;

use crate::support::{Answer, ManualClock, TestApp, form, md5, operate, watch::watch};

pub(crate) const PEPPER: &str = "a pepper for the tests, S3CR3T";
const MINUTE: Duration = Duration::from_secs(60);

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// The service with local users, and its database from the side.
struct House {
    app: TestApp,
    stores: Stores,
}

impl House {
    async fn start() -> Self {
        let app = TestApp::with(|config| {
            config.auth.methods = vec![Method::Signature, Method::ApiKey, Method::Basic];
            config.auth.pepper = PEPPER.into();
            config.auth.query_credentials = true;
        })
        .await;
        let stores = db::connect(&app.config.database, app.config.storage.local.durability).await.expect("connects");
        Self { app, stores }
    }

    async fn stop(self) {
        self.stores.close().await;
        self.app.stop().await;
    }

    /// A user with a password, and the user's first key.
    async fn user(&self, name: &str) -> (UserId, String) {
        let id = add_user(&self.stores, name, &self.app.clock).await;
        (id, self.key(id, |_| {}).await.reveal().to_owned())
    }

    async fn key(&self, of: UserId, change: impl FnOnce(&mut KeptKey)) -> ApiKey {
        let (key, mut kept) = new_key(of, &*self.app.clock);
        change(&mut kept);
        keep_key(&self.stores, &kept).await;
        key
    }

    /// Changes something as an operator does; whether there was anything to change.
    async fn change(&self, change: Change<'_>) -> bool {
        operate(&self.stores.operations, change, self.app.clock.now()).await.expect("answers")
    }

    async fn get(&self, query: &str, headers: Pairs<'_>) -> Answer {
        let path = format!("/api/v1/uploads{query}");
        self.app.anonymous().send_as_is("GET", &path, &owned(headers), Vec::new()).await
    }

    async fn chunk(&self, headers: Pairs<'_>, fields: Pairs<'_>) -> Answer {
        let mut parts: Vec<form::Part> = fields.iter().map(|(name, value)| form::Part::field(name, value)).collect();
        parts.push(form::Part::file("file", "test.bin", None, b"01234".to_vec()));
        let (content_type, body) = form::multipart(&parts);
        let mut headers = owned(headers);
        headers.push(("Content-Type".into(), content_type.expect("multipart")));
        self.app.anonymous().send_as_is("POST", "/chunked_upload/", &headers, body).await
    }
}

fn owned(pairs: Pairs<'_>) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn new_key(of: UserId, clock: &dyn Clock) -> (ApiKey, KeptKey) {
    let key = ApiKey::new(rand::random(), rand::random());
    watch().keep("an API key", key.reveal().split('_').nth(2).expect("its secret"));
    let kept = KeptKey {
        id: key.id(),
        user: of,
        hash: key.hash(PEPPER.as_bytes()),
        label: "test".into(),
        scopes: Scopes::ALL,
        created: clock.now(),
        expires: None,
        last_used: None,
        revoked: None,
        replaced_by: None,
        overlap_until: None,
    };
    (key, kept)
}

pub(crate) async fn keep_key(stores: &Stores, kept: &KeptKey) {
    assert!(operate(&stores.operations, Change::AddKey(kept), kept.created).await.expect("kept"));
}

/// A local user to be made.
pub(crate) fn person(name: &str, created: Timestamp) -> Person {
    Person {
        user: User { id: UserId::new(), realm: "local".into(), username: name.into(), epoch: 0 },
        email: None,
        display_name: None,
        admin: false,
        disabled_by_idp: false,
        disabled_by_admin: false,
        has_password: false,
        created,
    }
}

pub(crate) async fn add_user(stores: &Stores, name: &str, clock: &ManualClock) -> UserId {
    let person = person(name, clock.now());
    let phc = passwords::hash(&format!("{name}: a p\u{e4}ssword, S3CR3T"));
    assert!(operate(&stores.operations, Change::AddUser(&person, Some(&phc)), clock.now()).await.expect("added"));
    person.user.id
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{name}:{password}")))
}

/// The header of a user whom [`add_user`] made. The password has a colon and is not ASCII.
pub(crate) fn right(name: &str) -> String {
    basic(name, &format!("{name}: a p\u{e4}ssword, S3CR3T"))
}

#[tokio::test]
async fn places_where_an_api_key_may_stand() {
    let house = House::start().await;
    let (_, key) = house.user("ann").await;
    let (together, lower) = (format!("ApiKey ann:{key}"), format!("apikey   ann:{key}"));
    let cases: [(Pairs, &str, u16); 16] = [
        (&[("Authorization", &together)], "", 200),
        (&[("Authorization", &lower)], "", 200),
        (&[("username", "ann"), ("api_key", &key)], "", 200),
        (&[("X-Username", "ann"), ("X-Api-Key", &key)], "", 200),
        (&[("USERNAME", "ann"), ("api-key", &key)], "", 200),
        (&[], "?username=ann&api_key=KEY", 200),
        (&[("username", "ann")], "?api_key=KEY", 200),
        (&[("Authorization", &together)], "?username=ann&api_key=KEY", 200),
        (&[("Authorization", &together)], "?username=bob&api_key=KEY", 400),
        (&[("Authorization", &together), ("Authorization", &together)], "", 400),
        (&[("username", "ann"), ("api_key", &key), ("api-key", &key)], "", 400),
        (&[("username", "ann"), ("api_key", &key)], "?api_key=other", 400),
        (&[("username", "ann"), ("api_key", &key), ("Authorization", &right("ann"))], "", 400),
        (&[("Authorization", "ApiKey ann")], "", 400),
        (&[("Authorization", "ApiKey :key")], "", 400),
        (&[("api_key", &key)], "", 400),
    ];
    for (headers, query, status) in cases {
        let answer = house.get(&query.replace("KEY", &key), headers).await;
        assert_eq!(answer.status, status, "{headers:?} {query}: {}", answer.text);
        assert!(!answer.text.contains(&key));
    }
    house.chunk(&[], &[("username", "ann"), ("api_key", &key)]).await.expect(200);
    house.chunk(&[("Authorization", &together)], &[("username", "ann"), ("api_key", &key)]).await.expect(200);
    house.chunk(&[("Authorization", &together)], &[("username", "ann"), ("api_key", "other")]).await.expect(400);
    let id = house.chunk(&[("Authorization", &together)], &[]).await.expect(200).id();
    let (content_type, body) = form::urlencoded(&[
        form::Part::field("upload_id", &id),
        form::Part::field("md5", &md5(b"01234")),
        form::Part::field("username", "ann"),
        form::Part::field("api_key", &key),
    ]);
    let headers = [("Content-Type".to_owned(), content_type.expect("a form"))];
    house.app.anonymous().send_as_is("POST", "/chunked_upload_complete/", &headers, body).await.expect(200);
    house.app.user("alice").get(&format!("/api/v1/uploads/{id}")).await.expect(404);
    house.stop().await;
}

#[tokio::test]
async fn a_password_admits_and_its_form_is_checked() {
    let house = House::start().await;
    house.user("ann").await;
    let lower = right("ann").replacen("Basic ", "basic  ", 1);
    let latin = format!("Basic {}", BASE64.encode(b"ann:ann: a p\xe4ssword"));
    for (header, status) in [
        (right("ann").as_str(), 200),
        (&lower, 200),
        (&latin, 400),
        ("Basic", 400),
        ("Basic !!!", 400),
        (&format!("Basic {}", BASE64.encode("ann")), 400),
        (&basic("ann", ""), 400),
        (&basic("", "password"), 400),
        (&basic("ann", "ann: a password"), 401),
        (&basic("Ann", "ann: a p\u{e4}ssword, S3CR3T"), 401),
    ] {
        let answer = house.get("", &[("Authorization", header)]).await;
        assert_eq!(answer.status, status, "{header}: {}", answer.text);
    }
    house.chunk(&[("Authorization", &right("ann"))], &[]).await.expect(200);
    let answer = house.get("", &[]).await.expect(401);
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains(r#"schemes="signature-v1 signature-v2 api-key basic""#), "{challenge}");
    assert!(challenge.ends_with(r#"Basic realm="default", charset="UTF-8""#), "{challenge}");
    house.stop().await;
}

#[tokio::test]
async fn keys_that_do_not_admit() {
    let house = House::start().await;
    let (ann, key) = house.user("ann").await;
    house.user("bob").await;
    let clock = house.app.clock.clone();
    let now = clock.now();
    let expired = house.key(ann, |kept| kept.expires = Some(now)).await;
    let soon = house.key(ann, |kept| kept.expires = Some(after(now, MINUTE))).await;
    let revoked = house.key(ann, |_| {}).await;
    assert!(house.change(Change::RevokeKey(revoked.id())).await);
    let unknown = ApiKey::new([9; 8], [9; 32]);
    let forged = ApiKey::new([1; 8], [9; 32]);
    let (_, mut kept) = new_key(ann, &*clock);
    (kept.id, kept.hash) = (forged.id(), unknown.hash(PEPPER.as_bytes()));
    keep_key(&house.stores, &kept).await;
    let ask = async |name: &str, key: &str| house.get("", &[("username", name), ("api_key", key)]).await;
    ask("ann", soon.reveal()).await.expect(200);
    clock.advance(MINUTE);
    let cases = [
        ("ann", expired.reveal()),
        ("ann", soon.reveal()),
        ("ann", revoked.reveal()),
        ("ann", unknown.reveal()),
        ("ann", forged.reveal()),
        ("ann", "demo-key"),
        ("bob", &key),
        ("nobody", &key),
    ];
    for (name, key) in cases {
        let answer = ask(name, key).await.expect(401);
        assert_eq!(answer.json()["code"], "invalid_credentials");
    }
    clock.advance(2 * MINUTE);
    assert!(house.change(Change::SetDisabled(ann, true)).await);
    assert_eq!(ask("ann", &key).await.expect(403).json()["code"], "account_disabled");
    ask("ann", unknown.reveal()).await.expect(401);
    house.get("", &[("Authorization", &right("ann"))]).await.expect(403);
    house.get("", &[("Authorization", &basic("ann", "wrong"))]).await.expect(401);
    assert!(house.change(Change::SetDisabled(ann, false)).await);
    ask("ann", &key).await.expect(200);
    house.get("", &[("Authorization", &right("ann"))]).await.expect(200);
    house.stop().await;
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say() {
    let house = House::start().await;
    let (ann, all) = house.user("ann").await;
    let id = house.chunk(&[("username", "ann"), ("api_key", &all)], &[]).await.expect(200).id();
    let one = format!("/api/v1/uploads/{id}");
    for scope in Scope::ALL {
        let key = house.key(ann, |kept| kept.scopes = [scope].into_iter().collect()).await;
        let auth = ("Authorization", format!("ApiKey ann:{}", key.reveal()));
        let auth: Pairs = &[(auth.0, &auth.1)];
        let expect = |answer: Answer, good: bool, status: u16| {
            let answer = answer.expect(if good { status } else { 403 });
            assert!(good || answer.text.contains("scope"), "{}", answer.text);
        };
        expect(house.chunk(auth, &[]).await, scope == Scope::Create, 200);
        // Beyond what is there: refused by the rule, once it is asked.
        expect(house.chunk(auth, &[("upload_id", &id)]).await, scope == Scope::Write, 400);
        let caller = house.app.anonymous();
        expect(caller.send_as_is("GET", "/api/v1/uploads", &owned(auth), vec![]).await, scope == Scope::Read, 200);
        let status = caller.send_as_is("GET", &one, &owned(auth), vec![]).await;
        if scope != Scope::Read {
            assert_eq!(status.json()["code"], "scope_denied");
        }
        expect(status, scope == Scope::Read, 200);
        expect(
            caller.send_as_is("GET", &format!("{one}/content"), &owned(auth), vec![]).await,
            scope == Scope::Read,
            409,
        );
        expect(caller.send_as_is("DELETE", &one, &owned(auth), vec![]).await, scope == Scope::Delete, 204);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_rotated_key_is_good_for_a_while_and_uses_are_recorded() {
    let house = House::start().await;
    let (ann, _) = house.user("ann").await;
    let clock = house.app.clock.clone();
    let old = house.key(ann, |_| {}).await;
    let (new, kept) = new_key(ann, &*clock);
    let until = after(clock.now(), 10 * MINUTE);
    assert!(house.change(Change::RotateKey(old.id(), &kept, until)).await);
    let ask = async |key: &ApiKey| house.get("", &[("username", "ann"), ("api_key", key.reveal())]).await.status;
    assert_eq!((ask(&old).await, ask(&new).await), (200, 200));
    let used = async || house.stores.credentials.key(new.id()).await.expect("answers").expect("there").0.last_used;
    let first = used().await.expect("recorded");
    clock.advance(4 * MINUTE);
    assert_eq!((ask(&new).await, used().await), (200, Some(first)));
    clock.advance(6 * MINUTE);
    assert_eq!((ask(&old).await, ask(&new).await), (401, 200));
    assert!(used().await > Some(first));
    house.stop().await;
}

#[tokio::test]
async fn who_guesses_is_slowed_and_the_owner_not_locked_out() {
    let house = House::start().await;
    let (_, key) = house.user("ann").await;
    let wrong = basic("ann", "a wrong password");
    let ask = async |headers: Pairs<'_>| house.get("", headers).await;
    ask(&[("Authorization", &right("ann"))]).await.expect(200);
    for guess in 0..10 {
        match guess % 2 {
            0 => ask(&[("username", "ann"), ("api_key", "guess")]).await.expect(401),
            _ => ask(&[("Authorization", &wrong)]).await.expect(401),
        };
    }
    for headers in [&[("Authorization", wrong.as_str())][..], &[("username", "ann"), ("api_key", "guess")]] {
        let answer = ask(headers).await.expect(429);
        assert_eq!(
            (&answer.json()["code"], answer.json()["retryable"].as_bool()),
            (&json!("rate_limited"), Some(true))
        );
        let wait: u64 = answer.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
        assert!((1..=6).contains(&wait), "{wait}");
    }
    house.chunk(&[("Authorization", &wrong)], &[]).await.expect(429);
    // A right key is admitted all the same, and so is who proved a password a moment ago.
    ask(&[("username", "ann"), ("api_key", &key)]).await.expect(200);
    ask(&[("Authorization", &right("ann"))]).await.expect(200);
    house.app.clock.advance(MINUTE);
    ask(&[("Authorization", &wrong)]).await.expect(401);
    ask(&[("Authorization", &right("ann"))]).await.expect(200);
    house.stop().await;
}

/// A gate for passwords alone, whose work can be counted.
struct Desk {
    gate: Gate,
    hasher: Arc<passwords::Hasher>,
    stores: Stores,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl Desk {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("test.db").display());
        let settings = db::Settings { url: url.into(), max_connections: 2 };
        let stores = db::connect(&settings, chunkgate::domain::Durability::Os).await.expect("opens");
        let (clock, hasher) = (Arc::new(ManualClock::default()), Arc::new(passwords::Hasher::default()));
        let judge = local::Passwords::new(hasher.clone(), stores.credentials.clone(), clock.clone(), Tasks::new());
        let settings = Settings { methods: vec![Method::Basic], ..Settings::default() };
        let gate = Gate::new(settings, "test", vec![Box::new(judge)]);
        Self { gate, hasher, stores, clock, _folder: folder }
    }

    async fn admit(&self, header: &str) -> Result<Principal, AuthError> {
        self.admit_from(header, 1).await
    }

    async fn admit_from(&self, header: &str, address: u8) -> Result<Principal, AuthError> {
        let mut presented =
            Presented { headers: vec![("authorization".into(), header.into())], ..Presented::default() };
        presented.request.client_ip = Some([10, 0, 0, address].into());
        self.gate.admit(&presented).await
    }
}

#[tokio::test]
async fn an_unknown_user_costs_as_much_as_a_known_one() {
    let desk = Desk::open().await;
    add_user(&desk.stores, "ann", &desk.clock).await;
    let new = person("keys-only", desk.clock.now());
    assert!(operate(&desk.stores.operations, Change::AddUser(&new, None), new.created).await.expect("added"));
    for (work, name) in (1..).zip(["ann", "nobody", "keys-only"]) {
        let outcome = desk.admit(&basic(name, "a wrong password")).await;
        assert_eq!(outcome.expect_err("wrong"), AuthError::Invalid, "{name}");
        assert_eq!(desk.hasher.runs(), work, "{name}");
    }
    desk.stores.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_is_hashed_once_a_minute() {
    let desk = Arc::new(Desk::open().await);
    let ann = add_user(&desk.stores, "ann", &desk.clock).await;
    let many: Vec<_> = (0..20)
        .map(|_| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.admit(&right("ann")).await.map(|by| by.user.map(|user| user.id)) })
        })
        .collect();
    for one in many {
        assert_eq!(one.await.expect("no panic"), Ok(Some(ann)));
    }
    assert_eq!(desk.hasher.runs(), 1);
    desk.clock.advance(MINUTE);
    desk.admit(&right("ann")).await.expect("admitted");
    assert_eq!(desk.hasher.runs(), 2);

    // A changed password is asked for at once.
    let phc = passwords::hash("another one");
    let change = Change::SetPassword(ann, &phc);
    assert!(operate(&desk.stores.operations, change, desk.clock.now()).await.expect("set"));
    assert_eq!(desk.admit(&right("ann")).await.expect_err("changed"), AuthError::Invalid);
    desk.admit(&basic("ann", "another one")).await.expect("admitted");
    desk.stores.close().await;
}

#[tokio::test]
async fn an_address_that_guesses_too_much_costs_no_work() {
    let desk = Desk::open().await;
    add_user(&desk.stores, "ann", &desk.clock).await;
    for guess in 0..12 {
        let error = desk.admit(&basic("ann", &format!("guess {guess}"))).await.expect_err("wrong");
        assert_eq!(matches!(error, AuthError::RateLimited { .. }), guess >= 10, "{guess}: {error}");
    }
    assert_eq!(desk.hasher.runs(), 10);
    desk.admit_from(&right("ann"), 2).await.expect("the owner comes from elsewhere");
    desk.stores.close().await;
}

#[tokio::test]
async fn nothing_that_admits_is_in_the_database_or_printed() {
    let house = House::start().await;
    let (_, key) = house.user("ann").await;
    house.get("", &[("username", "ann"), ("api_key", &key)]).await.expect(200);
    house.get("", &[("Authorization", &right("ann"))]).await.expect(200);
    let secret = key.split('_').nth(2).expect("a secret");
    let parsed = ApiKey::parse(&key).expect("a key");
    let known = house.stores.credentials.key(parsed.id()).await.expect("answers").expect("there");
    let user = house.stores.credentials.user("ann").await.expect("answers").expect("there");
    let settings = house.app.config.auth.clone();
    let printed = format!("{parsed:?} {known:?} {user:?} {settings:?}");
    assert!(!printed.contains(secret) && !printed.contains("$argon2") && !printed.contains(PEPPER), "{printed}");
    let url = secrecy::ExposeSecret::expose_secret(&house.app.config.database.url).to_owned();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let files = [path.to_owned(), format!("{path}-wal")];
        let bytes: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds(&parsed.id().to_string()), "the files that hold the key were read");
        assert!(!holds(secret) && !holds("a p\u{e4}ssword") && !holds(PEPPER));
    }
    house.stop().await;
}

#[tokio::test]
async fn the_raw_door_knows_scopes_too() {
    let house = House::start().await;
    let ann = add_user(&house.stores, "ann", &house.app.clock).await;
    let only = async |scopes: &[Scope]| house.key(ann, |kept| kept.scopes = scopes.iter().copied().collect()).await;
    let chunk = async |key: &ApiKey, cookie: &str, range: &str, bytes: &str| {
        let headers = [
            ("Authorization", &*format!("ApiKey ann:{}", key.reveal())),
            ("Content-Disposition", "attachment; filename=\"f\""),
            ("Content-Range", range),
            ("Cookie", cookie),
        ];
        let nobody = house.app.anonymous();
        nobody.send_as_is("POST", "/chunked_uploads/upload/", &owned(&headers), bytes.into()).await
    };
    let writer = only(&[Scope::Create, Scope::Write]).await;
    let first = chunk(&writer, "a=b", "bytes 0-4/10", "01234").await.expect(200);
    let cookie = first.header("set-cookie").and_then(|line| line.split(';').next()).expect("a cookie").to_owned();
    chunk(&writer, &cookie, "bytes 0-4/10", "01234").await.expect(200);
    chunk(&only(&[Scope::Read]).await, &cookie, "bytes 0-4/10", "01234").await.expect(403);
    chunk(&only(&[Scope::Read]).await, &cookie, "bytes 5-9/10", "56789").await.expect(403);
    for query in ["", "?file=f"] {
        let proof = format!("ApiKey ann:{}", writer.reveal());
        let path = format!("/chunked_uploads/upload/{query}");
        let headers = owned(&[("Authorization", &proof)]);
        house.app.anonymous().send_as_is("GET", &path, &headers, vec![]).await.expect(403);
    }
    chunk(&writer, &cookie, "bytes 5-9/10", "56789").await.expect(200);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_guesses_at_once_are_no_more_than_many_in_a_row() {
    let house = House::start().await;
    house.user("ann").await;
    let guesses: Vec<_> = (0..40)
        .map(|at| {
            let (nobody, guess) = (house.app.anonymous(), basic("ann", &format!("guess {at}")));
            let headers = owned(&[("Authorization", &guess)]);
            tokio::spawn(async move { nobody.send_as_is("GET", "/api/v1/uploads", &headers, vec![]).await.status })
        })
        .collect();
    let mut judged = 0;
    for guess in guesses {
        judged += usize::from(guess.await.expect("no panic") == 401);
    }
    assert_eq!(judged, 10);
    house.stop().await;
}
