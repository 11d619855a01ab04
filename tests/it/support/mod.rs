//! What the integration tests share: the whole service on a temporary folder, with a real identity server, a clock that
//! can be advanced, and callers as values.

pub(crate) mod form;
pub(crate) mod identity;
pub(crate) mod postgres;
pub(crate) mod watch;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chunkgate::{
    app::{self, Running},
    cli::identity::{Directory, Server},
    config::Config,
    db::{Change, Operations, StoreError},
    domain::{
        Clock, SystemClock, Timestamp,
        operators::{Deed, Entry, Object, Operator},
        principal::Owner,
        signing,
    },
};
use serde_json::Value;
use tokio::net::TcpListener;

use self::watch::Watch;

/// Users of the identity server in every test: `NAME` has the key `NAME-key` and the secret `NAME-secret`.
const USERS: &str = r#"
[[users]]
id = "subject-alice"
username = "alice"
email = "alice@example.org"
[[users.keys]]
api_key = "alice-key"
secret = "alice-secret"

[[users]]
id = "subject-bob"
username = "bob"
[[users.keys]]
api_key = "bob-key"
secret = "bob-secret"
"#;

/// The token between service and identity server.
pub(crate) const TOKEN: &str = "test-token-S3CR3T";

/// The real time, moved by what a test says.
#[derive(Default)]
pub(crate) struct ManualClock {
    ahead_micros: AtomicI64,
}

impl ManualClock {
    /// Moves the clock forward.
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead_micros.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }

    /// Sets the clock back, as an operator who mends its time would.
    pub(crate) fn set_back(&self, by: Duration) {
        self.ahead_micros.fetch_sub(by.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let micros = SystemClock.now().as_microsecond() + self.ahead_micros.load(Ordering::SeqCst);
        Timestamp::from_microsecond(micros).expect("near")
    }
}

/// The service, running.
pub(crate) struct TestApp {
    pub(crate) base: String,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: Config,
    pub(crate) users: std::path::PathBuf,
    folder: Arc<tempfile::TempDir>,
    running: Option<Running>,
    client: reqwest::Client,
    database: Option<String>,
}

impl TestApp {
    /// With the defaults.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings of one's own.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        watch::watch();
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let clock = Arc::new(ManualClock::default());
        let (identity, users) = serve_identity(folder.path(), clock.clone()).await;
        let database = match std::env::var("CHUNKGATE_TEST_ENGINE").as_deref() {
            Ok("postgres") => Some(postgres::database().await.expect("PostgreSQL was asked for")),
            _ => None,
        };
        let mut config = Config::default();
        config.server.listen = ([127, 0, 0, 1], 0).into();
        config.database.url = match &database {
            Some(url) => url.as_str().into(),
            None => format!("sqlite:{}", folder.path().join("test.db").display()).into(),
        };
        config.storage.local.path = folder.path().join("files");
        config.identity.url = identity;
        config.identity.token = TOKEN.into();
        change(&mut config);
        Self::launch(config, axum::Router::new(), folder, clock, users, database).await
    }

    /// Starts again with pages beside the service's own routes.
    pub(crate) async fn restart_with_pages(mut self, pages: axum::Router) -> Self {
        let (config, folder) = (self.config.clone(), self.folder.clone());
        let (clock, users, database) = (self.clock.clone(), self.users.clone(), self.database.take());
        self.stop().await;
        Self::launch(config, pages, folder, clock, users, database).await
    }

    async fn launch(
        config: Config,
        pages: axum::Router,
        folder: Arc<tempfile::TempDir>,
        clock: Arc<ManualClock>,
        users: std::path::PathBuf,
        database: Option<String>,
    ) -> Self {
        let listener = TcpListener::bind(config.server.listen).await.expect("a free port");
        let running = app::start(config.clone(), listener, clock.clone(), pages).await.expect("starts");
        let base = format!("http://{}", running.address());
        // The service installs one where it asks an identity server.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { base, clock, config, users, folder, running: Some(running), client, database }
    }

    /// Stops and starts again on the same data; `change` may alter the settings in between.
    pub(crate) async fn restart(mut self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        let (folder, clock, users) = (self.folder.clone(), self.clock.clone(), self.users.clone());
        let database = self.database.take();
        self.stop().await;
        Self::launch(config, axum::Router::new(), folder, clock, users, database).await
    }

    /// Stops, and asserts that nothing is left in work and that no secret was written down.
    pub(crate) async fn stop(mut self) {
        let running = self.running.take().expect("runs");
        let uploads = running.uploads().clone();
        let metrics = running.metrics().clone();
        running.stop(std::future::pending()).await;
        assert_eq!(uploads.in_work(), 0, "an upload's lock is still held");
        let mut found = watch::watch().search_log();
        found.extend(watch::watch().search("the metrics", metrics.text().as_bytes()));
        found.extend(watch::watch().search_database(&self.config.database).await);
        Watch::assert_kept(&found);
        if let Some(database) = self.database.take() {
            postgres::remove(&database).await;
        }
    }

    /// The running service.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("runs")
    }

    /// A caller that signs as `name`.
    pub(crate) fn user(&self, name: &str) -> Caller {
        let key = (format!("{name}-key"), format!("{name}-secret"));
        let (base, clock, client) = (self.base.clone(), self.clock.clone(), self.client.clone());
        Caller { base, clock, client, key: Some(key), token: None, host: None, signs_at: None }
    }

    /// A caller that presents nothing.
    pub(crate) fn anonymous(&self) -> Caller {
        Caller { key: None, ..self.user("") }
    }

    /// A caller that presents an upload token and nothing else.
    pub(crate) fn bearer(&self, token: &str) -> Caller {
        Caller { token: Some(token.to_owned()), ..self.anonymous() }
    }

    /// Where contents live.
    pub(crate) fn files(&self) -> &Path {
        &self.config.storage.local.path
    }

    /// Makes the saved digest state of an upload unreadable, as another version of the service would have written it.
    pub(crate) async fn spoil_digest_state(&self, upload: &str) {
        use chunkgate::{
            db,
            domain::{digest::Algorithm, upload::KeptDigest},
        };
        let stores = db::connect(&self.config.database, self.config.storage.local.durability).await.expect("connects");
        let id = upload.parse().expect("an id");
        let owner = self.owner_of(&stores, "alice").await;
        let known = stores.uploads.find(id, owner).await.expect("answers").expect("there");
        let spoilt = db::Advance {
            from: known.offset,
            to: known.offset,
            tail_start: known.tail_start,
            size: known.size,
            digest: Some(KeptDigest { algorithm: Algorithm::Md5, state: b"of another version".to_vec() }),
            expires: known.expires,
            within: None,
            now: known.updated,
        };
        assert!(stores.uploads.advance(id, &spoilt).await.expect("answers"));
        stores.close().await;
    }

    pub(crate) async fn owner_of(&self, stores: &chunkgate::db::Stores, name: &str) -> Owner {
        use chunkgate::domain::profile::Told;
        let profile = chunkgate::db::Profile {
            realm: "default".into(),
            subject: format!("subject-{name}"),
            username: name.into(),
            email: Told::Nothing,
            display_name: Told::Nothing,
            groups: Told::Nothing,
            version: None,
        };
        let (account, _) = stores.accounts.provision(&profile, self.clock.now()).await.expect("known");
        Owner::User(account.user.id)
    }

    /// Every plain file below the contents' folder but the lock, with its length.
    pub(crate) fn stored(&self) -> Vec<(std::path::PathBuf, u64)> {
        let mut found = Vec::new();
        gather(self.files(), &mut found);
        found.sort();
        found
    }
}

fn gather(folder: &Path, found: &mut Vec<(std::path::PathBuf, u64)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => gather(&path, found),
            false if path.ends_with(".lock") => {}
            false => found.push((path.clone(), path.metadata().expect("a file").len())),
        }
    }
}

async fn serve_identity(folder: &Path, clock: Arc<ManualClock>) -> (String, std::path::PathBuf) {
    let users = folder.join("users.toml");
    std::fs::write(&users, USERS).expect("written");
    let mut server = Server::new(Directory::open(&users).expect("users"), TOKEN.into()).expect("a server");
    server.clock = clock;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
    (url, users)
}

/// Somebody who sends requests.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) base: String,
    clock: Arc<ManualClock>,
    client: reqwest::Client,
    key: Option<(String, String)>,
    token: Option<String>,
    host: Option<String>,
    /// When its signatures are made, if not as they are needed.
    signs_at: Option<Timestamp>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
}

impl Answer {
    /// A header's value, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The `upload_id` of the body.
    #[track_caller]
    pub(crate) fn id(&self) -> String {
        self.json()["upload_id"].as_str().expect("an id").to_owned()
    }
}

impl Caller {
    /// The same caller at another service.
    pub(crate) fn at(self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self }
    }

    /// The same caller, who asks for another host.
    pub(crate) fn at_host(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
    }

    /// A caller with one signature, made now, for all its requests: the identity server is asked once, however many
    /// seconds they take.
    pub(crate) fn signing_once(self) -> Self {
        Self { signs_at: Some(self.clock.now()), ..self }
    }

    /// The signature headers of now, or the token; none for an anonymous caller.
    pub(crate) fn proof(&self) -> Vec<(String, String)> {
        if let Some(token) = &self.token {
            return vec![("Upload-Token".to_owned(), token.clone())];
        }
        let Some((key, secret)) = &self.key else { return Vec::new() };
        let timestamp = self.signs_at.unwrap_or_else(|| self.clock.now()).as_second().to_string();
        let signature = signing::sign_v1(secret.as_bytes(), &timestamp);
        watch::watch().keep("a signature", &signature);
        let named = |name: &str, value: String| (name.to_owned(), value);
        vec![named("X-Api-Key", key.clone()), named("X-Timestamp", timestamp), named("X-Signature", signature)]
    }

    /// Sends a request with the caller's proof.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(String, String)], body: Vec<u8>) -> Answer {
        let mut all = self.proof();
        all.extend_from_slice(headers);
        self.send_as_is(method, path, &all, body).await
    }

    /// Sends a request with these headers only.
    pub(crate) async fn send_as_is(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Answer {
        self.try_send(method, path, headers, body.into()).await.expect("an answer")
    }

    /// Sends a request whose connection may break.
    pub(crate) async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: reqwest::Body,
    ) -> reqwest::Result<Answer> {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(host) = &self.host {
            request = request.header("Host", host);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?.to_vec();
        if status >= 400 {
            Watch::assert_kept(&watch::watch().search("a refusal", &bytes));
        }
        Ok(Answer { status, headers, text: String::from_utf8_lossy(&bytes).into_owned(), bytes })
    }

    /// Posts a chunk to the multipart door: `range` is `(start, end, total)` with an inclusive end.
    pub(crate) async fn chunk(&self, upload: Option<&str>, range: Option<(u64, u64, u64)>, bytes: &[u8]) -> Answer {
        let mut parts: Vec<form::Part> = upload.map(|id| form::Part::field("upload_id", id)).into_iter().collect();
        parts.push(form::Part::file("file", "test.bin", Some("application/octet-stream"), bytes.to_vec()));
        let (content_type, body) = form::multipart(&parts);
        let mut headers = vec![("Content-Type".to_owned(), content_type.expect("multipart"))];
        headers.extend(range.map(|(from, to, total)| ("Content-Range".into(), format!("bytes {from}-{to}/{total}"))));
        self.send("POST", "/chunked_upload/", &headers, body).await
    }

    /// Completes an upload at the multipart door.
    pub(crate) async fn complete(&self, upload: &str, md5: &str) -> Answer {
        let fields = [form::Part::field("upload_id", upload), form::Part::field("md5", md5)];
        let (content_type, body) = form::urlencoded(&fields);
        let headers = [("Content-Type".to_owned(), content_type.expect("a form"))];
        self.send("POST", "/chunked_upload_complete/", &headers, body).await
    }

    /// Asks the native JSON door.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Vec::new()).await
    }

    /// Cancels at the native JSON door.
    pub(crate) async fn cancel(&self, upload: &str) -> Answer {
        self.send("DELETE", &format!("/api/v1/uploads/{upload}"), &[], Vec::new()).await
    }
}

/// `size` bytes from position `from` of `pattern`, repeated without end.
pub(crate) fn fill(pattern: &str, from: usize, size: usize) -> Vec<u8> {
    pattern.bytes().cycle().skip(from % pattern.len().max(1)).take(size).collect()
}

/// Bytes that differ at every position and from seed to seed.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The md5 of bytes, in hexadecimal.
pub(crate) fn md5(bytes: &[u8]) -> String {
    use chunkgate::domain::digest::{Algorithm, Running};
    let mut running = Running::new(Algorithm::Md5);
    running.update(bytes);
    running.finish().to_hex()
}

/// Changes users and keys beside the service, as an operator at the shell does. `false`: there was nothing to change.
pub(crate) async fn operate(
    operations: &Arc<dyn Operations>,
    change: Change<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let entry = Entry::new(&Operator::of_the_shell(), Deed::UserAdd, Object::user(None, "someone"), now);
    operations.apply(change, &entry).await
}

/// What a worker does on its own shows after a while.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = check().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen: {what}");
}
