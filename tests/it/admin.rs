//! The operators' API: who is admitted to it, what its deeds do, and what is written down of them.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chunkgate::{
    auth::{
        Method,
        operators::{NewKey, NewPerson},
    },
    config::Config,
    domain::{
        operators::Operator,
        principal::{Scope, Scopes},
    },
};
use serde_json::{Value, json};

use crate::{
    local::PEPPER,
    support::{Answer, TestApp, form},
};

const API: &str = "/api/v1/admin";
const FOREIGN: &str = "https://console.example.org";
const UNKNOWN: &str = "3672e70a94cc45dea8569c35b7a20339";

/// The service with an operator, `root`, and an ordinary local user, `ann`.
struct Office {
    app: TestApp,
    root: String,
    ann: String,
    ann_id: String,
}

impl Office {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let app = TestApp::with(|config| {
            config.auth.methods = vec![Method::Signature, Method::ApiKey, Method::Basic];
            config.auth.pepper = PEPPER.into();
            config.cors.allowed_origins = vec![FOREIGN.into()];
            change(config);
        })
        .await;
        let (_, root) = made(&app, "root", operating()).await;
        let (ann_id, ann) = made(&app, "ann", Scopes::ALL).await;
        Self { app, root, ann, ann_id }
    }

    /// Asks as the operator.
    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_as(&self.root, method, path, body, &[]).await
    }

    async fn ask_as(&self, who: &str, method: &str, path: &str, body: Value, more: &[(&str, &str)]) -> Answer {
        let mut headers: Vec<_> = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        if !who.is_empty() {
            headers.push(("Authorization".into(), who.into()));
        }
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.app.anonymous().send_as_is(method, &format!("{API}{path}"), &headers, body).await
    }

    async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, Value::Null).await.expect(200).json()
    }

    async fn post(&self, path: &str) -> Answer {
        self.ask("POST", path, Value::Null).await
    }

    /// Sends the first 5 of 10 bytes; the upload's id.
    async fn upload(&self, who: &str, filename: &str) -> Answer {
        let parts = [form::Part::file("file", filename, None, b"01234".to_vec())];
        let (content_type, body) = form::multipart(&parts);
        let headers = [
            ("Authorization".to_owned(), who.to_owned()),
            ("Content-Type".into(), content_type.expect("multipart")),
            ("Content-Range".into(), "bytes 0-4/10".into()),
        ];
        self.app.anonymous().send_as_is("POST", "/chunked_upload/", &headers, body).await
    }

    /// What the last lines of the trail say, newest first.
    async fn trail(&self, lines: usize) -> Vec<String> {
        let entries = self.get(&format!("/audit?limit={lines}")).await["entries"].clone();
        let text = |entry: &Value, at: &str| entry.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let line = |entry: &Value| {
            ["/operator", "/deed", "/object/kind", "/object/name", "/outcome"].map(|at| text(entry, at)).join(" ")
        };
        entries.as_array().expect("a list").iter().map(line).collect()
    }
}

/// A user of that name and the header that presents the user's key.
pub(crate) async fn made(app: &TestApp, name: &str, scopes: Scopes) -> (String, String) {
    let (operators, by) = (app.running().operators(), Operator::of_the_shell());
    let new = NewPerson { username: name.into(), ..NewPerson::default() };
    let user = operators.add(&by, new).await.expect("added").user.id;
    let key = NewKey { label: String::new(), scopes, life: None };
    let (key, _) = operators.create_key(&by, user, key).await.expect("made");
    (user.to_string(), format!("ApiKey {name}:{}", key.reveal()))
}

/// Whatever an operator may do.
pub(crate) fn operating() -> Scopes {
    Scopes::ALL.and(Scope::Admin)
}

/// Every route, with the status that an operator is answered for what is not there.
const ROUTES: [(&str, &str, u16); 16] = [
    ("GET", "/users", 200),
    ("POST", "/users", 400),
    ("GET", "/users/ID", 404),
    ("POST", "/users/ID/disable", 404),
    ("POST", "/users/ID/enable", 404),
    ("GET", "/users/ID/keys", 404),
    ("POST", "/users/ID/keys", 404),
    ("GET", "/keys/0123456789abcdef", 404),
    ("POST", "/keys/0123456789abcdef/rotate", 404),
    ("POST", "/keys/0123456789abcdef/revoke", 404),
    ("GET", "/uploads", 200),
    ("GET", "/uploads/ID", 404),
    ("POST", "/uploads/ID/cancel", 404),
    ("POST", "/uploads/ID/expire", 404),
    ("GET", "/realms", 200),
    ("GET", "/audit", 200),
];

#[tokio::test]
async fn only_operators_come_in_and_no_other_page() {
    let office = Office::open().await;
    for (method, path, known) in ROUTES {
        let path = path.replace("ID", UNKNOWN);
        for path in [path.clone(), format!("{path}/")] {
            let ask =
                async |who: &str, more: &[(&str, &str)]| office.ask_as(who, method, &path, Value::Null, more).await;
            let nobody = ask("", &[]).await.expect(401);
            assert_eq!(nobody.json()["code"], "credentials_missing", "{path}");
            let challenge = nobody.header("www-authenticate").expect("a challenge");
            assert!(!challenge.contains("Basic"), "no browser asks for a password here: {challenge}");
            assert_eq!(ask(&office.ann, &[]).await.expect(403).json()["code"], "scope_denied", "{path}");
            let answer = ask(&office.root, &[]).await;
            assert_eq!(
                (answer.status, answer.header("cache-control")),
                (known, Some("no-store")),
                "{path}: {}",
                answer.text
            );
            for foreign in [("Origin", FOREIGN), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")] {
                let answer = ask(&office.root, &[foreign]).await.expect(403);
                assert_eq!(answer.json()["code"], "cross_site_request", "{path}");
                assert_eq!(answer.header("access-control-allow-origin"), None, "listed for uploads, not for this");
            }
            ask(&office.root, &[("Origin", &office.app.base), ("Sec-Fetch-Site", "same-origin")]).await.expect(known);
        }
        let preflight = [("Origin", FOREIGN), ("Access-Control-Request-Method", method)];
        let answer = office.ask_as("", "OPTIONS", &path, Value::Null, &preflight).await.expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    // The token of an operator's upload is for that upload.
    let token = office.upload(&office.root, "x").await.expect(200).header("upload-token").expect("a token").to_owned();
    let by_token = office.ask_as("", "GET", "/users", Value::Null, &[("Upload-Token", &token)]).await.expect(403);
    assert_eq!(by_token.json()["code"], "scope_denied");
    // A signature of the identity server never makes an operator, and what is no route is not told to strangers.
    let signed = office.app.user("alice").get(&format!("{API}/users")).await.expect(403);
    assert_eq!(signed.json()["code"], "scope_denied");
    office.ask_as("", "GET", "/nowhere", Value::Null, &[]).await.expect(401);
    office.ask("GET", "/nowhere", Value::Null).await.expect(404);
    for (method, path, known) in
        [("GET", "", 404), ("GET", "/", 404), ("DELETE", "/users", 405), ("PUT", "/audit/", 405)]
    {
        office.ask_as("", method, path, Value::Null, &[]).await.expect(401);
        office.ask_as(&office.ann, method, path, Value::Null, &[]).await.expect(403);
        let answer = office.ask(method, path, Value::Null).await.expect(known);
        assert_eq!(answer.header("allow").is_some(), known == 405, "{method} {path}");
    }
    office.app.stop().await;
}

#[tokio::test]
async fn anonymous_uploads_make_no_anonymous_operators() {
    let office = Office::with(|config| config.auth.anonymous = true).await;
    office.ask_as("", "GET", "/users", Value::Null, &[]).await.expect(401);
    office.app.stop().await;
}

#[tokio::test]
async fn a_password_operates_if_its_user_is_marked() {
    let office = Office::open().await;
    let made = async |name: &str, admin: bool| {
        let body = json!({"username": name, "admin": admin, "generate_password": true});
        let made = office.ask("POST", "/users", body).await.expect(201).json();
        let password = made["password"].as_str().expect("shown once").to_owned();
        (made, format!("Basic {}", BASE64.encode(format!("{name}:{password}"))))
    };
    let (eve, marked) = made("eve", true).await;
    let (_, plain) = made("bob", false).await;
    office.ask_as(&marked, "GET", "/uploads", Value::Null, &[]).await.expect(200);
    office.ask_as(&plain, "GET", "/uploads", Value::Null, &[]).await.expect(403);
    // A key that was not asked to operate does not, whoever owns it; nor is a marked user's upload anybody else's.
    let path = format!("/users/{}/keys", eve["id"].as_str().expect("an id"));
    let key = office.ask("POST", &path, Value::Null).await.expect(201).json();
    assert_eq!(key["scopes"], json!(["upload:create", "upload:read", "upload:write", "upload:delete"]));
    let header = format!("ApiKey eve:{}", key["api_key"].as_str().expect("shown once"));
    office.ask_as(&header, "GET", "/uploads", Value::Null, &[]).await.expect(403);
    office.upload(&header, "of eve").await.expect(200);
    let shown = office.get(&format!("/users/{}", eve["id"].as_str().expect("an id"))).await;
    assert_eq!((&shown["admin"], &shown["has_password"], shown.get("password")), (&json!(true), &json!(true), None));
    office.app.stop().await;
}

#[tokio::test]
async fn users_are_made_found_disabled_and_enabled() {
    let office = Office::open().await;
    let zoe = json!({"username": "zoe", "email": "zoe@example.org", "display_name": "Zo\u{eb} 100%_!"});
    let made = office.ask("POST", "/users", zoe.clone()).await.expect(201).json();
    assert_eq!((&made["realm"], &made["password"], &made["disabled"]), (&json!("local"), &json!(null), &json!(false)));
    assert_eq!(office.ask("POST", "/users", zoe).await.expect(409).json()["code"], "conflict");
    assert_eq!(office.trail(2).await, ["root user.add user zoe refused", "root user.add user zoe done"]);
    for (search, found) in [("ZOE", 1), ("100%25_!", 1), ("1%25%25", 0), ("zoe@", 1), ("nobody", 0), ("", 3)] {
        let users = office.get(&format!("/users?search={search}")).await;
        assert_eq!(users["users"].as_array().expect("a list").len(), found, "{search}");
    }
    let first = office.get("/users?limit=2").await;
    let rest = office.get(&format!("/users?limit=2&cursor={}", first["next_cursor"].as_str().expect("more"))).await;
    assert_eq!((rest["users"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &json!(null)));

    let ann = format!("/users/{}", office.ann_id);
    let disabled = office.post(&format!("{ann}/disable")).await.expect(200).json();
    assert_eq!((&disabled["disabled"], &disabled["disabled_by"]), (&json!(true), &json!(["operator"])));
    assert_eq!(office.upload(&office.ann, "x").await.expect(403).json()["detail"], "the account is disabled");
    office.post(&format!("{ann}/disable")).await.expect(200);
    office.post(&format!("{ann}/enable")).await.expect(200);
    office.upload(&office.ann, "x").await.expect(200);
    // What was so already leaves no line.
    assert_eq!(
        office.trail(3).await,
        ["root user.enable user ann done", "root user.disable user ann done", "root user.add user zoe refused"]
    );
    let root = office.get("/users?search=root").await["users"][0]["id"].clone();
    let refused = office.post(&format!("/users/{}/disable", root.as_str().expect("an id"))).await.expect(409).json();
    assert!(refused["detail"].as_str().expect("a sentence").contains("themselves"), "{refused}");

    // Users of the identity server are seen and disabled here too, and have no keys here.
    office.app.user("alice").chunk(None, None, b"x").await.expect(200);
    let alice = office.get("/users?search=alice").await["users"][0].clone();
    assert_eq!((&alice["realm"], &alice["email"]), (&json!("default"), &json!("alice@example.org")));
    let alice = format!("/users/{}", alice["id"].as_str().expect("an id"));
    office.post(&format!("{alice}/keys")).await.expect(409);
    office.post(&format!("{alice}/disable")).await.expect(200);
    office.app.user("alice").get("/api/v1/uploads").await.expect(403);
    office.app.stop().await;
}

#[tokio::test]
async fn keys_are_made_shown_once_rotated_and_revoked() {
    let office = Office::open().await;
    let keys = format!("/users/{}/keys", office.ann_id);
    let asked = json!({"label": "ci", "scopes": ["upload:create", "upload:read"], "expires_in": "90d"});
    let made = office.ask("POST", &keys, asked).await.expect(201).json();
    let (id, text) = (made["id"].as_str().expect("an id"), made["api_key"].as_str().expect("shown").to_owned());
    let header = |text: &str| format!("ApiKey ann:{text}");
    office.upload(&header(&text), "by ci").await.expect(200);
    let rotated = office.ask("POST", &format!("/keys/{id}/rotate"), json!({"overlap": "1h"})).await.expect(201).json();
    let next = rotated["api_key"].as_str().expect("shown").to_owned();
    assert_eq!((&rotated["scopes"], &rotated["label"]), (&made["scopes"], &json!("ci")));
    for text in [&text, &next] {
        office.upload(&header(text), "in the overlap").await.expect(200);
    }
    assert_eq!(office.post(&format!("/keys/{id}/rotate")).await.expect(409).json()["code"], "conflict");
    for _ in 0..2 {
        assert_eq!(office.post(&format!("/keys/{id}/revoke")).await.expect(200).json()["state"], "revoked");
    }
    office.upload(&header(&text), "too late").await.expect(401);
    office.upload(&header(&next), "goes on").await.expect(200);
    let listed = office.get(&keys).await;
    let states: Vec<_> = listed["keys"].as_array().expect("a list").iter().map(|key| key["state"].clone()).collect();
    assert_eq!(states, ["active", "revoked", "active"]);
    assert_eq!(
        office.trail(4).await,
        [
            "root key.revoke key ann done",
            "root key.rotate key ann refused",
            "root key.rotate key ann done",
            "root key.create key ann done"
        ]
    );
    // An overlap does not make a key live longer than it would have.
    let brief = office.ask("POST", &keys, json!({"expires_in": "1h"})).await.expect(201).json();
    let path = format!("/keys/{}/rotate", brief["id"].as_str().expect("an id"));
    assert_eq!(office.post(&path).await.expect(201).json()["old_good_until"], brief["expires"]);
    // The secret is in the one answer and nowhere else.
    let secret = text.split('_').nth(2).expect("a secret");
    for path in [&keys, "/audit", &format!("/keys/{id}")] {
        let shown = office.get(path).await.to_string();
        assert!(!shown.contains(secret) && !shown.contains("hash"), "{path}: {shown}");
    }
    office.app.stop().await;
}

#[tokio::test]
async fn uploads_of_everybody_are_found_and_ended() {
    let office = Office::open().await;
    let hostile = "<img src=x onerror=alert(1)>.bin";
    let mine = office.upload(&office.ann, hostile).await.expect(200).id();
    let theirs = office.app.user("alice").chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let all = office.get("/uploads").await["uploads"].clone();
    assert_eq!(all[0]["owner"]["username"], "alice", "newest first");
    assert_eq!((&all[1]["filename"], &all[1]["owner"]["username"]), (&json!(hostile), &json!("ann")));
    assert_eq!(
        (&all[1]["offset"], &all[1]["percent"], &all[1]["state"]),
        (&json!(5), &json!(50.0), &json!("receiving"))
    );
    let ann = &office.ann_id;
    for (query, found) in [
        ("search=ONERROR", 1),
        ("search=alice", 1),
        (&*format!("search={mine}"), 1),
        ("search=%25", 0),
        (&*format!("user={ann}"), 1),
        ("state=receiving", 2),
        ("state=complete", 0),
        ("limit=1", 1),
    ] {
        let uploads = office.get(&format!("/uploads?{query}")).await;
        assert_eq!(uploads["uploads"].as_array().expect("a list").len(), found, "{query}");
    }
    assert_eq!(office.app.stored().len(), 2);
    let cancelled = office.post(&format!("/uploads/{mine}/cancel")).await.expect(200).json();
    assert_eq!(cancelled["state"], "cancelled");
    let expired = office.post(&format!("/uploads/{theirs}/expire")).await.expect(200).json();
    assert_eq!(expired["state"], "expired");
    assert_eq!(office.app.stored(), vec![], "their bytes are gone");
    // Their owners hear why, and an operator still sees them.
    let gone = office.app.user("alice").get(&format!("/api/v1/uploads/{theirs}")).await.expect(410);
    assert_eq!(gone.json()["code"], "expired");
    let late = office.app.user("alice").chunk(Some(&theirs), Some((5, 9, 10)), b"56789").await;
    assert_eq!(late.status, 410, "{}", late.text);
    assert_eq!(office.get(&format!("/uploads/{mine}")).await["state"], "cancelled");
    assert_eq!(office.post(&format!("/uploads/{mine}/cancel")).await.expect(410).json()["code"], "cancelled");
    assert_eq!(
        office.trail(3).await,
        [
            format!("root upload.cancel upload {hostile} refused"),
            "root upload.expire upload test.bin done".to_owned(),
            format!("root upload.cancel upload {hostile} done"),
        ]
    );
    office.app.stop().await;
}

#[tokio::test]
async fn nonsense_is_a_400_that_says_so() {
    let office = Office::open().await;
    let long = "x".repeat(201);
    for query in ["limit=0", "limit=x", "cursor=1", "state=odd", "user=ann", "search=%00", &*format!("search={long}")] {
        office.ask("GET", &format!("/uploads?{query}"), Value::Null).await.expect(400);
    }
    let keys = format!("/users/{}/keys", office.ann_id);
    for (path, body, word) in [
        ("/users", json!({}), "username"),
        ("/users", json!({"username": ""}), "name"),
        ("/users", json!({"username": "a:b"}), "colon"),
        ("/users", json!({"username": "\u{202e}nimda"}), "direction"),
        ("/users", json!({"username": "admin "}), "blanks"),
        ("/users", json!({"username": "a", "email": "a\u{0}b"}), "email"),
        ("/users", json!({"username": "a", "display_name": long}), "display_name"),
        ("/users", json!({"username": "a", "admin": "yes"}), "admin"),
        ("/users", json!({"username": "a", "role": "x"}), "role"),
        ("/users", json!([]), "body"),
        ("/users", json!(["eve", null, null, true, true]), "object"),
        (&*keys, json!({"scopes": ["root"]}), "scopes"),
        (&*keys, json!({"scopes": []}), "scope"),
        (&*keys, json!({"label": "a\nb"}), "label"),
        (&*keys, json!({"expires_in": "soon"}), "expires_in"),
        (&*keys, json!({"expires_in": "0s"}), "life"),
        (&*keys, json!({"expires_in": "1000000years"}), "life"),
    ] {
        let answer = office.ask("POST", path, body.clone()).await;
        assert!(answer.status == 400 && answer.text.contains(word), "{body}: {} {}", answer.status, answer.text);
    }
    for path in ["/users/nobody", "/keys/nokey", "/uploads/..%2f", "/uploads/%00"] {
        office.ask("GET", path, Value::Null).await.expect(404);
    }
    let headers = [("Authorization".to_owned(), office.root.clone())];
    let broken = office.app.anonymous().send_as_is("POST", &format!("{API}/users"), &headers, b"{".to_vec()).await;
    broken.expect(400);
    office.app.stop().await;
}

#[tokio::test]
async fn operators_come_and_go_as_everybody_does() {
    let office = Office::open().await;
    let (eve_id, eve) = made(&office.app, "eve", [Scope::Admin].into_iter().collect()).await;
    let ask = async || office.ask_as(&eve, "GET", "/users", Value::Null, &[]).await;
    ask().await.expect(200);
    assert_eq!(office.upload(&eve, "x").await.expect(403).json()["detail"].as_str().map(str::is_empty), Some(false));
    office.post(&format!("/users/{eve_id}/disable")).await.expect(200);
    assert_eq!(ask().await.expect(403).json()["code"], "account_disabled");
    office.post(&format!("/users/{eve_id}/enable")).await.expect(200);
    let key = office.get(&format!("/users/{eve_id}/keys")).await["keys"][0]["id"].clone();
    office.post(&format!("/keys/{}/revoke", key.as_str().expect("an id"))).await.expect(200);
    assert_eq!(ask().await.expect(401).json()["code"], "invalid_credentials");
    office.app.stop().await;
}

/// The binary, on the database and at the address of the office.
fn chunkgate(office: &Office, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_chunkgate"));
    let url = secrecy::ExposeSecret::expose_secret(&office.app.config.database.url).to_owned();
    let key = office.root.strip_prefix("ApiKey root:").expect("a key");
    command
        .env_clear()
        .envs([("CHUNKGATE_DATABASE__URL", url.as_str()), ("CHUNKGATE_AUTH__PEPPER", PEPPER)])
        .envs([("CHUNKGATE_IDENTITY__TOKEN", "token"), ("CHUNKGATE_URL", &office.app.base)])
        .envs([("CHUNKGATE_USERNAME", "root"), ("CHUNKGATE_API_KEY", key)])
        .args(arguments);
    command
}

/// What it printed; it must have ended well.
async fn run(office: &Office, arguments: &[&str]) -> String {
    let mut command = chunkgate(office, arguments);
    let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ends");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn the_shell_does_the_same_and_leaves_the_same_trail() {
    let office = Office::open().await;
    let added: Value =
        serde_json::from_str(&run(&office, &["user", "add", "zoe", "--admin", "--json"]).await).expect("JSON");
    assert_eq!((&added["admin"], &added["password"]), (&json!(true), &json!(false)));
    let key = run(&office, &["key", "create", "zoe", "--scope", "admin", "--label", "shell"]).await;
    let header = format!("ApiKey zoe:{}", key.trim());
    office.ask_as(&header, "GET", "/audit", Value::Null, &[]).await.expect(200);
    let id = key.split('_').nth(1).expect("an id").to_owned();
    run(&office, &["key", "revoke", &id]).await;
    office.ask_as(&header, "GET", "/audit", Value::Null, &[]).await.expect(401);
    run(&office, &["user", "demote", "zoe"]).await;
    run(&office, &["user", "disable", "zoe"]).await;
    assert_eq!(
        office.trail(5).await,
        [
            "cli user.disable user zoe done",
            "cli user.demote user zoe done",
            "cli key.revoke key zoe done",
            "cli key.create key zoe done",
            "cli user.add user zoe done",
        ]
    );
    let listed = run(&office, &["user", "list"]).await;
    assert!(listed.lines().any(|line| line.starts_with("zoe ") && line.contains("disabled")), "{listed}");
    assert!(run(&office, &["key", "list", "zoe"]).await.contains("revoked"));
    office.app.stop().await;
}

#[tokio::test]
async fn an_operators_key_reaches_everybodys_uploads_from_the_shell() {
    let office = Office::open().await;
    let mut ids = Vec::new();
    for name in ["one.bin", "two.bin"] {
        let id = office.upload(&office.ann, name).await.expect(200).id();
        ids.push(id);
    }
    assert!(!run(&office, &["uploads", "list"]).await.contains("one.bin"), "root has none");
    let listed = run(&office, &["uploads", "list", "--all", "--search", "ONE"]).await;
    assert!(listed.contains("one.bin") && listed.contains("ann") && !listed.contains("two.bin"), "{listed}");
    let shown = run(&office, &["uploads", "show", "--all", &ids[0]]).await;
    assert!(shown.contains("receiving") && !shown.contains("/content"), "{shown}");
    run(&office, &["uploads", "cancel", "--all", &ids[0]]).await;
    run(&office, &["uploads", "expire", &ids[1]]).await;
    assert_eq!(
        office.trail(2).await,
        ["root upload.expire upload two.bin done", "root upload.cancel upload one.bin done"]
    );
    let again = chunkgate(&office, &["uploads", "expire", &ids[1]]);
    let again = tokio::task::spawn_blocking(move || {
        let mut again = again;
        again.output().expect("runs")
    });
    assert_eq!(again.await.expect("ends").status.code(), Some(1));
    office.app.stop().await;
}

#[tokio::test]
async fn without_a_console_there_is_nothing() {
    let office = Office::with(|config| config.admin.enabled = false).await;
    for path in ["/admin/", "/admin", "/admin/admin.css", "/api/v1/admin/users"] {
        office.app.anonymous().send_as_is("GET", path, &[], vec![]).await.expect(404);
    }
    office.app.stop().await;
}

#[tokio::test]
async fn the_page_is_public_and_its_policy_strict() {
    let office = Office::open().await;
    let nobody = office.app.anonymous();
    for path in ["/admin", "/admin/"] {
        let page = nobody.send_as_is("GET", path, &[], vec![]).await.expect(200);
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        let loaded = page.text.split(['"', '\'']).filter(|part| part.starts_with("/admin/"));
        let mut files = 0;
        for file in loaded {
            nobody.send_as_is("GET", file, &[], vec![]).await.expect(200);
            files += 1;
        }
        assert!(files >= 3, "style, script and icon");
        assert!(!page.text.contains("style=") && !page.text.contains("onclick"), "nothing inline");
    }
    office.app.stop().await;
}
