//! Whoever holds an upload never hears a 4xx because something is away, crowded or too fast: clients take every 4xx for the
//! end of the upload and forget where it stood. At every door it is 503 with `Retry-After`, and the upload stands.

use std::{sync::Arc, time::Duration};

use chunkgate::config::Config;
use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::support::{
    Answer, Caller, TestApp,
    identity::{Mode, Scripted},
    md5,
};

const BYTES: &[u8] = b"0123456789";
const RAW: &str = "/chunked_uploads/upload/";
const SECOND: Duration = Duration::from_secs(1);

/// What may be done with an upload, door by door.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Deed {
    MultipartChunk,
    MultipartComplete,
    RawChunk,
    RawProbe,
    RawProbeHead,
    RawDone,
    RawDelete,
    Status,
    StatusHead,
    Cancel,
}

use Deed::*;

const DEEDS: [Deed; 10] = [
    MultipartChunk,
    MultipartComplete,
    RawChunk,
    RawProbe,
    RawProbeHead,
    RawDone,
    RawDelete,
    Status,
    StatusHead,
    Cancel,
];

impl Deed {
    fn is_raw(self) -> bool {
        matches!(self, RawChunk | RawProbe | RawProbeHead | RawDone | RawDelete)
    }

    /// What ends an upload needs all of its bytes.
    fn begins_with(self) -> usize {
        if matches!(self, MultipartComplete | RawDone) { BYTES.len() } else { 5 }
    }

    /// Whether it is held up where a user's requests come too fast.
    fn is_paced(self) -> bool {
        matches!(self, MultipartChunk | MultipartComplete | RawChunk | RawDone)
    }
}

/// An upload that has begun, for one deed.
struct Held {
    deed: Deed,
    name: String,
    id: String,
    token: String,
}

impl Held {
    async fn begin(app: &TestApp, deed: Deed, by: &str) -> Self {
        let (name, ann) = (format!("{deed:?}-{by}.bin"), app.user("ann"));
        let (to, total) = (deed.begins_with(), BYTES.len() as u64);
        let first = match deed.is_raw() {
            true => raw_chunk(&ann, &name, 0, &BYTES[..to]).await.expect(200),
            false => ann.chunk(None, Some((0, to as u64 - 1, total)), &BYTES[..to]).await.expect(200),
        };
        let id = match deed.is_raw() {
            true => first.json()[0]["upload_uuid"].as_str().expect("an id").to_owned(),
            false => first.id(),
        };
        Self { deed, name, id, token: first.header("upload-token").expect("a token").to_owned() }
    }

    async fn act(&self, caller: &Caller) -> Answer {
        let (id, status) = (&self.id, format!("/api/v1/uploads/{}", self.id));
        let bare = async |method: &str, path: &str| caller.send(method, path, &[], Vec::new()).await;
        match self.deed {
            MultipartChunk => caller.chunk(Some(id), Some((5, 9, 10)), &BYTES[5..]).await,
            MultipartComplete => caller.complete(id, &md5(BYTES)).await,
            RawChunk => raw_chunk(caller, &self.name, 5, &BYTES[5..]).await,
            RawProbe => bare("GET", RAW).await,
            RawProbeHead => bare("HEAD", RAW).await,
            RawDone => bare("POST", &format!("{RAW}done/{id}/")).await,
            RawDelete => bare("DELETE", &format!("/chunked_uploads/{id}/delete/")).await,
            Status => bare("GET", &status).await,
            StatusHead => bare("HEAD", &status).await,
            Cancel => bare("DELETE", &status).await,
        }
    }
}

async fn raw_chunk(caller: &Caller, name: &str, from: usize, bytes: &[u8]) -> Answer {
    let headers = [
        ("Content-Disposition", format!("attachment; filename=\"{name}\"")),
        ("Content-Range", format!("bytes {from}-{}/{}", from + bytes.len() - 1, BYTES.len())),
    ];
    caller.send("POST", RAW, &headers.map(|(name, value)| (name.to_owned(), value)), bytes.to_vec()).await
}

/// Uploads for every deed: those that are gone on with by a new signature, and those by their token.
struct Table {
    signed: Vec<Held>,
    by_token: Vec<Held>,
}

/// Whom a condition holds up.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    /// Whoever has to be asked about.
    Signatures,
    /// Whatever [`Deed::is_paced`], and perhaps others.
    Paced,
}

impl Table {
    async fn begin(app: &TestApp) -> Self {
        let mut table = Self { signed: Vec::new(), by_token: Vec::new() };
        for deed in DEEDS {
            table.signed.push(Held::begin(app, deed, "signed").await);
            table.by_token.push(Held::begin(app, deed, "by-token").await);
        }
        table
    }

    /// Everything at once, while the condition lasts. What had to wait is left.
    async fn try_all(self, app: &TestApp, condition: &str, holds: Holds) -> Self {
        let ann = app.user("ann");
        let signed = async |held: Held| (held.act(&ann).await, held);
        let by_token = async |held: Held| (held.act(&app.bearer(&held.token)).await, held);
        let (signed, by_token) = tokio::join!(
            join_all(self.signed.into_iter().map(signed)),
            join_all(self.by_token.into_iter().map(by_token))
        );
        let waited = |what: &str, answers: Vec<(Answer, Held)>, must: &dyn Fn(Deed) -> bool| {
            let all = answers.into_iter().filter_map(|(answer, held)| {
                let told = format!("{condition}: {:?} by {what}: {}: {}", held.deed, answer.status, answer.text);
                if answer.status < 300 {
                    assert!(!must(held.deed), "{told}");
                    return None;
                }
                assert_eq!(answer.status, 503, "{told}");
                let after = answer.header("retry-after").and_then(|after| after.parse::<u64>().ok());
                assert!(after.is_some_and(|after| (1..=60).contains(&after)), "{told}: Retry-After {after:?}");
                Some(held)
            });
            all.collect::<Vec<_>>()
        };
        match holds {
            Holds::Signatures => {
                let signed = waited("a signature", signed, &|_| true);
                let by_token = waited("a token", by_token, &|_| false);
                assert!(by_token.is_empty(), "{condition}: a token needs nobody's answer");
                Self { signed, by_token }
            }
            Holds::Paced => Self {
                signed: waited("a signature", signed, &Deed::is_paced),
                by_token: waited("a token", by_token, &Deed::is_paced),
            },
        }
    }

    /// What had to wait stands as it stood, and goes on.
    async fn goes_on(self, app: &TestApp, condition: &str, pause: Duration) {
        let ann = app.user("ann");
        let by_token = self.by_token.iter().map(|held| (held, app.bearer(&held.token)));
        for (held, caller) in self.signed.iter().map(|held| (held, ann.clone())).chain(by_token) {
            app.clock.advance(pause);
            let stands = ann.get(&format!("/api/v1/uploads/{}", held.id)).await.expect(200).json();
            let as_it_stood = (json!("receiving"), json!(held.deed.begins_with()));
            assert_eq!(
                (stands["state"].clone(), stands["offset"].clone()),
                as_it_stood,
                "{condition}: {:?}",
                held.deed
            );
            let answer = held.act(&caller).await;
            assert!(answer.status < 300, "{condition}: {:?}: {}: {}", held.deed, answer.status, answer.text);
        }
    }
}

async fn house(identity: &Scripted, change: impl FnOnce(&mut Config)) -> TestApp {
    let url = identity.url();
    TestApp::with(|config| {
        config.identity.url = url;
        config.identity.try_timeout = 20 * SECOND;
        config.identity.deadline = 30 * SECOND;
        change(config);
    })
    .await
}

/// What was said of earlier signatures is forgotten.
fn forget(app: &TestApp) {
    app.clock.advance(61 * SECOND);
}

#[tokio::test]
async fn while_the_identity_server_is_dead() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = house(&identity, |_| {}).await;
    let table = Table::begin(&app).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let dead = format!("http://{}", nobody.local_addr().expect("bound"));
    drop(nobody);
    let app = app.restart(|config| config.identity.url = dead).await;
    let table = table.try_all(&app, "dead", Holds::Signatures).await;
    let app = app.restart(|config| config.identity.url = identity.url()).await;
    table.goes_on(&app, "dead", Duration::ZERO).await;
    app.stop().await;
}

#[tokio::test]
async fn while_the_identity_server_is_left_alone() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = house(&identity, |_| {}).await;
    let table = Table::begin(&app).await;
    forget(&app);
    identity.set(Mode::Page(500));
    let ann = app.user("ann");
    for _ in 0..25 {
        ann.get(&format!("/api/v1/uploads/{}", uuid::Uuid::new_v4())).await.expect(503);
    }
    let asked = identity.calls();
    let table = table.try_all(&app, "breaker open", Holds::Signatures).await;
    assert_eq!(identity.calls(), asked, "nobody is asked");
    identity.set(Mode::Ok);
    app.clock.advance(5 * SECOND);
    table.goes_on(&app, "breaker open", Duration::ZERO).await;
    app.stop().await;
}

#[tokio::test]
async fn while_the_identity_server_wants_fewer_questions() {
    for mode in [Mode::Deny(200, "rate_limited", json!({})), Mode::TooMany] {
        let identity = Scripted::start(&[Mode::Ok]).await;
        let app = house(&identity, |_| {}).await;
        let table = Table::begin(&app).await;
        forget(&app);
        identity.set(mode);
        let table = table.try_all(&app, "rate limited", Holds::Signatures).await;
        identity.set(Mode::Ok);
        table.goes_on(&app, "rate limited", Duration::ZERO).await;
        app.stop().await;
    }
}

#[tokio::test]
async fn while_the_line_is_crowded() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = house(&identity, |_| {}).await;
    let table = Table::begin(&app).await;
    forget(&app);
    let (hold, asked) = (Arc::new(Semaphore::new(0)), identity.calls());
    identity.set(Mode::Held(hold.clone()));
    let ann = app.user("ann");
    let crowd: Vec<_> = (0..64)
        .map(|_| {
            let (ann, elsewhere) = (ann.clone(), format!("/api/v1/uploads/{}", uuid::Uuid::new_v4()));
            tokio::spawn(async move { ann.get(&elsewhere).await.status })
        })
        .collect();
    identity.has_been_asked(asked + 64).await;
    let table = table.try_all(&app, "crowded", Holds::Signatures).await;
    identity.set(Mode::Ok);
    hold.add_permits(1000);
    for status in join_all(crowd).await {
        assert_eq!(status.expect("no panic"), 404);
    }
    table.goes_on(&app, "crowded", Duration::ZERO).await;
    app.stop().await;
}

#[tokio::test]
async fn while_requests_come_too_fast() {
    let begins = 2 * DEEDS.len() as u64;
    let identity = Scripted::start(&[Mode::OkBut(json!({"limits": {"requests_per_minute": begins}}))]).await;
    let app = house(&identity, |_| {}).await;
    let table = Table::begin(&app).await;
    // What became free while they began.
    let ann = app.user("ann");
    let mut spare = 0;
    while ann.chunk(None, Some((0, 4, 10)), &BYTES[..5]).await.status == 200 {
        spare += 1;
        assert!(spare < begins, "the pace is kept");
    }
    let table = table.try_all(&app, "too fast", Holds::Paced).await;
    table.goes_on(&app, "too fast", 60 * SECOND).await;
    app.stop().await;
}

/// Another process writes to the database for longer than the service waits.
#[tokio::test]
async fn while_the_database_is_busy() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = house(&identity, |_| {}).await;
    let url = app.config.database.url.expose_secret().to_owned();
    // PostgreSQL has no lock that a writer gives up waiting for; its rows are locked one by one.
    if url.starts_with("sqlite:") {
        let table = Table::begin(&app).await;
        let mut writer = SqliteConnection::connect(&url).await.expect("connects");
        writer.execute("BEGIN IMMEDIATE").await.expect("a lock");
        let table = table.try_all(&app, "busy", Holds::Paced).await;
        writer.execute("ROLLBACK").await.expect("unlocked");
        writer.close().await.expect("closed");
        table.goes_on(&app, "busy", Duration::ZERO).await;
    }
    app.stop().await;
}
