//! An identity server that takes its time, counts what is under way, and can be dead: its port refuses, and what was
//! connected breaks. It has a runtime of its own, which ends with it as a process would.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::post};
use chunkgate::domain::signing;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};

use super::{client::Key, stage::free_port};

/// See the module.
pub(super) struct Gauged {
    port: u16,
    desk: Arc<Desk>,
    runtime: Option<Runtime>,
}

struct Desk {
    key: Key,
    takes: Duration,
    under_way: AtomicUsize,
    most: AtomicUsize,
    questions: AtomicUsize,
}

/// A question under way, until it is answered or its connection breaks.
struct Counted<'a>(&'a Desk);

impl Gauged {
    /// Knows this key, and under its secret every key whose name begins with `new-`, each as another user's.
    pub(super) async fn start(key: &Key, takes: Duration) -> Self {
        let mut server = Self { port: free_port(), desk: Desk::new(key, takes), runtime: None };
        server.serve().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Is there again, and takes so long; what was counted is forgotten.
    pub(super) async fn revive(&mut self, takes: Duration) {
        self.desk = Desk::new(&self.desk.key, takes);
        self.serve().await;
    }

    async fn serve(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let ((is_up, up), port) = (oneshot::channel(), self.port);
        let app = Router::new().route("/v1/verify", post(verify)).with_state(self.desk.clone());
        runtime.spawn(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
            is_up.send(()).expect("somebody waits");
            axum::serve(listener, app).await
        });
        up.await.expect("serves");
        self.runtime = Some(runtime);
    }

    /// The most questions that were ever under way.
    pub(super) fn most(&self) -> usize {
        self.desk.most.load(Ordering::SeqCst)
    }

    pub(super) fn questions(&self) -> usize {
        self.desk.questions.load(Ordering::SeqCst)
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Desk {
    fn new(key: &Key, takes: Duration) -> Arc<Self> {
        let (under_way, most, questions) = Default::default();
        Arc::new(Self { key: key.clone(), takes, under_way, most, questions })
    }
}

impl<'a> Counted<'a> {
    fn new(desk: &'a Desk) -> Self {
        desk.questions.fetch_add(1, Ordering::SeqCst);
        desk.most.fetch_max(desk.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(desk)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn verify(State(desk): State<Arc<Desk>>, Json(question): Json<Value>) -> Json<Value> {
    let _counted = Counted::new(&desk);
    tokio::time::sleep(desk.takes).await;
    let text = |name: &str| question["credential"][name].as_str().unwrap_or_default();
    let (api_key, secret) = (text("api_key"), desk.key.secret.as_bytes());
    let known = api_key == desk.key.api_key || api_key.starts_with("new-");
    let verdict = match (known, signing::verify_v1(secret, text("timestamp"), text("signature"))) {
        (true, true) => json!({"status": "active", "user": {"id": format!("subject-{api_key}"), "username": api_key}}),
        (true, false) => json!({"status": "denied", "code": "invalid_signature"}),
        (false, _) => json!({"status": "denied", "code": "unknown_key"}),
    };
    let mut answer = json!({"version": "1", "request_id": question["request_id"]});
    answer.as_object_mut().expect("an object").extend(verdict.as_object().expect("an object").clone());
    Json(answer)
}
