//! A scriptable identity server, and what a gate needs around it: accounts in memory and a clock that stands still.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
    routing::any,
};
use chunkgate::{
    db::{Account, Accounts, Profile, Standing, StoreError, Written},
    domain::{
        Clock, Timestamp, UploadId, UserId, after, before,
        principal::{ProofHash, User},
    },
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{
    net::TcpSocket,
    sync::{Notify, Semaphore},
    task::AbortHandle,
};

/// What the server does with a question.
#[derive(Clone)]
pub(crate) enum Mode {
    /// Calls the user `u1`, `ann` active.
    Ok,
    /// As [`Mode::Ok`], after a permit was added.
    Held(Arc<Semaphore>),
    /// As [`Mode::Ok`], with these fields of the answer replaced; null removes one.
    OkBut(Value),
    /// Denies with this code and these further fields, under this status.
    Deny(u16, &'static str, Value),
    /// This status and a page that some proxy might send.
    Page(u16),
    /// This status and not a byte more.
    Bare(u16),
    /// 429 with `Retry-After`.
    TooMany,
    /// Never answers.
    SlowHead,
    /// Sends the head and never the body.
    SlowBody,
    /// Half the body, then the connection breaks.
    HalfBody,
    /// A good answer under another content type.
    NotJson,
    /// A good answer, padded beyond what is read.
    Oversized,
    /// JSON that stops in the middle.
    Truncated,
    /// Elsewhere, where a good answer waits.
    Redirect,
}

/// A question as it arrived.
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) question: Value,
}

/// A running scriptable server; ends when dropped.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    /// Bound and not listening: every connection is refused, and nobody else gets the port.
    closed: Option<TcpSocket>,
    task: Option<AbortHandle>,
}

#[derive(Default)]
struct Script {
    /// Call n is answered by the n-th mode, further calls by the last.
    modes: Mutex<Vec<Mode>>,
    asked: Mutex<Vec<Asked>>,
    arrived: Notify,
}

impl Scripted {
    pub(crate) async fn start(modes: &[Mode]) -> Self {
        let mut server = Self::closed();
        *lock(&server.script.modes) = modes.to_vec();
        server.open();
        server
    }

    /// One that refuses connections until it is opened.
    pub(crate) fn closed() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = socket.local_addr().expect("bound");
        Self { address, script: Arc::default(), closed: Some(socket), task: None }
    }

    /// Listens from now on, if it did not yet.
    pub(crate) fn open(&mut self) {
        let Some(socket) = self.closed.take() else { return };
        let listener = socket.listen(1024).expect("listens");
        let app = Router::new().fallback(any(answer)).with_state(self.script.clone());
        self.task = Some(tokio::spawn(async move { axum::serve(listener, app).await }).abort_handle());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers every further question by `mode`.
    pub(crate) fn set(&self, mode: Mode) {
        *lock(&self.script.modes) = vec![mode];
    }

    pub(crate) fn calls(&self) -> usize {
        self.asked().len()
    }

    pub(crate) fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        lock(&self.script.asked)
    }

    /// Waits until so many questions have arrived.
    pub(crate) async fn has_been_asked(&self, times: usize) {
        loop {
            let arrived = self.script.arrived.notified();
            if self.calls() >= times {
                return;
            }
            arrived.await;
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn answer(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    let question: Value = serde_json::from_slice(&body).unwrap_or_default();
    let call = {
        let mut asked = lock(&script.asked);
        asked.push(Asked { headers, question: question.clone() });
        asked.len() - 1
    };
    script.arrived.notify_waiters();
    let mode = {
        let modes = lock(&script.modes);
        modes[call.min(modes.len() - 1)].clone()
    };
    respond(mode, &question).await
}

async fn respond(mode: Mode, question: &Value) -> Response {
    let active = active(question);
    let as_json = [(header::CONTENT_TYPE, "application/json")];
    match mode {
        Mode::Ok => Json(active).into_response(),
        Mode::Held(gate) => {
            gate.acquire().await.expect("open").forget();
            Json(active).into_response()
        }
        Mode::OkBut(changes) => Json(changed(active, &changes)).into_response(),
        Mode::Deny(status, code, more) => {
            let denied = json!({"status": "denied", "code": code, "user": null});
            let body = changed(changed(active, &denied), &more);
            (StatusCode::from_u16(status).expect("a status"), Json(body)).into_response()
        }
        Mode::Page(status) => (StatusCode::from_u16(status).expect("a status"), Html("<h1>proxy</h1>")).into_response(),
        Mode::Bare(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Mode::TooMany => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], Json(active)).into_response(),
        Mode::SlowHead => std::future::pending().await,
        Mode::SlowBody => (as_json, Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())).into_response(),
        Mode::HalfBody => {
            let text = active.to_string();
            let half = Ok(Bytes::from(text[..text.len() / 2].to_owned()));
            let broken = stream::iter([half, Err(std::io::Error::other("broken on purpose"))]).then(async |part| {
                // The half leaves before the connection breaks: the server flushes when the body is not ready.
                tokio::task::yield_now().await;
                part
            });
            (as_json, Body::from_stream(broken)).into_response()
        }
        Mode::NotJson => ([(header::CONTENT_TYPE, "text/json")], active.to_string()).into_response(),
        Mode::Oversized => Json(changed(active, &json!({"padding": "x".repeat(70_000)}))).into_response(),
        Mode::Truncated => {
            let text = active.to_string();
            (as_json, text[..text.len() - 1].to_owned()).into_response()
        }
        Mode::Redirect => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response(),
    }
}

fn active(question: &Value) -> Value {
    json!({
        "version": "1",
        "request_id": question["request_id"],
        "status": "active",
        "user": {"id": "u1", "username": "ann"},
        "limits": {"max_file_bytes": 1000},
    })
}

fn changed(mut answer: Value, changes: &Value) -> Value {
    let fields = answer.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    answer
}

/// A clock that moves only when told.
pub(crate) struct StillClock(Mutex<Timestamp>);

impl StillClock {
    pub(crate) fn at(second: i64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Timestamp::from_second(second).expect("a time"))))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut now = lock(&self.0);
        *now = after(*now, by);
    }

    pub(crate) fn back(&self, by: Duration) {
        let mut now = lock(&self.0);
        *now = before(*now, by);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        *lock(&self.0)
    }
}

/// Accounts in memory.
#[derive(Default)]
pub(crate) struct MemoryAccounts(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    accounts: Vec<Account>,
    disabled_by_operator: HashSet<UserId>,
    disabled_by_identity: HashSet<UserId>,
    bound: Vec<(ProofHash, UploadId, UserId)>,
    spent: HashMap<ProofHash, Timestamp>,
    events: u64,
    broken: bool,
    panics: bool,
}

impl MemoryAccounts {
    /// Whether every deed fails from now on.
    pub(crate) fn break_down(&self, broken: bool) {
        lock(&self.0).broken = broken;
    }

    /// Whoever is provisioned next, whoever asked for it panics.
    pub(crate) fn panic_once(&self) {
        lock(&self.0).panics = true;
    }

    /// The identity server tells something about a user who is not here.
    pub(crate) fn hear_an_event(&self) {
        lock(&self.0).events += 1;
    }

    pub(crate) fn bind(&self, proof: ProofHash, upload: UploadId, user: UserId) {
        lock(&self.0).bound.push((proof, upload, user));
    }

    pub(crate) fn disable_by_operator(&self, user: UserId) {
        lock(&self.0).disabled_by_operator.insert(user);
    }

    pub(crate) fn is_disabled_by_identity(&self, subject: &str) -> bool {
        let memory = lock(&self.0);
        memory.accounts.iter().any(|a| a.subject == subject && memory.disabled_by_identity.contains(&a.user.id))
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.0).accounts.len()
    }

    fn open(&self) -> Result<MutexGuard<'_, Memory>, StoreError> {
        let memory = lock(&self.0);
        if memory.broken { Err(StoreError::Unavailable("on purpose".into())) } else { Ok(memory) }
    }
}

impl Memory {
    fn account(&self, found: &Account) -> Account {
        let id = found.user.id;
        let disabled = self.disabled_by_operator.contains(&id) || self.disabled_by_identity.contains(&id);
        Account { disabled, ..found.clone() }
    }
}

#[async_trait]
impl Accounts for MemoryAccounts {
    async fn provision(&self, profile: &Profile, _: Timestamp) -> Result<(Account, Written), StoreError> {
        let mut memory = self.open()?;
        if std::mem::take(&mut memory.panics) {
            drop(memory);
            panic!("on purpose");
        }
        let known = |a: &&mut Account| a.user.realm == profile.realm && a.subject == profile.subject;
        if let Some(account) = memory.accounts.iter_mut().find(known) {
            account.user.username.clone_from(&profile.username);
            let account = account.clone();
            return Ok((memory.account(&account), Written::Updated));
        }
        let (realm, username) = (profile.realm.clone(), profile.username.clone());
        let user = User { id: UserId::new(), realm, username, epoch: 0 };
        let account =
            Account { user, subject: profile.subject.clone(), disabled: false, standing: Standing::default() };
        memory.accounts.push(account.clone());
        Ok((account, Written::Created))
    }

    async fn find(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        let memory = self.open()?;
        Ok(memory.accounts.iter().find(|account| account.user.id == id).map(|account| memory.account(account)))
    }

    async fn knows(&self, realm: &str, subject: &str) -> Result<bool, StoreError> {
        Ok(self.open()?.accounts.iter().any(|a| a.user.realm == realm && a.subject == subject))
    }

    async fn set_disabled(&self, realm: &str, subject: &str, disabled: bool, _: Timestamp) -> Result<(), StoreError> {
        let mut memory = self.open()?;
        let known = memory.accounts.iter().find(|a| a.user.realm == realm && a.subject == subject);
        let Some(id) = known.map(|account| account.user.id) else { return Ok(()) };
        if disabled {
            memory.disabled_by_identity.insert(id);
        } else {
            memory.disabled_by_identity.remove(&id);
        }
        Ok(())
    }

    async fn bound(&self, proof: ProofHash) -> Result<Vec<(UploadId, UserId)>, StoreError> {
        let memory = self.open()?;
        Ok(memory
            .bound
            .iter()
            .filter(|(bound, ..)| *bound == proof)
            .map(|(_, upload, user)| (*upload, *user))
            .collect())
    }

    async fn spend(&self, proof: ProofHash, until: Timestamp) -> Result<bool, StoreError> {
        Ok(self.open()?.spent.insert(proof, until).is_none())
    }

    async fn forget_spent(&self, now: Timestamp, _: u32) -> Result<u64, StoreError> {
        let mut memory = self.open()?;
        let before = memory.spent.len();
        memory.spent.retain(|_, until| *until > now);
        Ok((before - memory.spent.len()) as u64)
    }

    async fn last_event(&self, _: &str) -> Result<u64, StoreError> {
        self.open().map(|memory| memory.events)
    }

    async fn revalidated(&self, id: UserId, at: Timestamp, unless_after: Timestamp) -> Result<(), StoreError> {
        let mut memory = self.open()?;
        if let Some(account) = memory.accounts.iter_mut().find(|account| account.user.id == id) {
            let last = &mut account.standing.revalidated;
            *last = Some(last.filter(|last| *last > unless_after).unwrap_or(at));
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.open().map(drop)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while locked")
}
