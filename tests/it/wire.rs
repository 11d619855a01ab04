//! The connection loop and the layers, over real sockets and bytes written by hand.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::Request,
    routing::{get, post},
};
use bytesize::ByteSize;
use chunkgate::{
    domain::upload::Refusal,
    http::{Settings, body, cors, layers, problem::Problem, server},
    worker::Tasks,
};
use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

/// Longer than anything here takes on a busy machine; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Service {
    address: SocketAddr,
    tasks: Tasks,
    /// Lets `/gate` answer.
    gate: Arc<Notify>,
    /// Told when `/gate` is reached.
    reached: Arc<Notify>,
}

impl Service {
    async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (tasks, gate, reached) = (Tasks::new(), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let origins = cors::Cors::new(&cors::Settings::default()).expect("defaults are valid");
        let router = layers::wrap(doors(&gate, &reached), &settings, origins, &tasks);
        let serving = tasks.clone();
        tasks.spawn(async move { server::serve(listener, router, &settings, &serving).await });
        Self { address, tasks, gate, reached }
    }

    async fn usual() -> Self {
        Self::start(Settings::default()).await
    }

    async fn impatient(min_rate: ByteSize) -> Self {
        Self::start(Settings { idle_timeout: Duration::from_millis(200), min_rate, ..Settings::default() }).await
    }

    async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.expect("listening"))
    }
}

fn doors(gate: &Arc<Notify>, reached: &Arc<Notify>) -> Router {
    let (gate, reached) = (Arc::clone(gate), Arc::clone(reached));
    let wait = async move || {
        reached.notify_one();
        gate.notified().await;
        "passed"
    };
    Router::new()
        .route("/", get(async |Extension(peer): Extension<server::PeerAddr>| peer.0.ip().to_string()))
        .route("/count", post(count))
        .route("/refuse", post(async || Problem::from(Refusal::WrongOffset { offset: 7 })))
        .route("/panic", get(panics))
        .route("/gate", get(wait))
}

async fn count(request: Request) -> Result<String, Problem> {
    let mut body = body::incoming(request.into_body());
    let mut bytes = 0;
    while let Some(frame) = body.next().await {
        bytes += frame?.len();
    }
    Ok(bytes.to_string())
}

async fn panics() -> axum::response::Response {
    panic!("a bug")
}

/// A client that writes what it is told to.
struct Client(TcpStream);

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        self.head.lines().find(|it| line(it)).and_then(|it| it.split_once(": ")).map(|(_, value)| value)
    }
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the server reads");
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        self.answer().await
    }

    /// The next answer, read byte by byte up to its end and no further.
    async fn answer(&mut self) -> Answer {
        timeout(PATIENCE, async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.expect("an answer"));
            }
            let head = String::from_utf8(head).expect("text");
            let status = head[9..12].parse().expect("a status");
            let mut answer = Answer { status, head, body: String::new() };
            let mut body = vec![0; answer.header("content-length").map_or(0, |it| it.parse().expect("a length"))];
            self.0.read_exact(&mut body).await.expect("a body");
            answer.body = String::from_utf8(body).expect("text");
            answer
        })
        .await
        .expect("an answer in time")
    }

    /// Whether the server closes without another byte.
    async fn is_closed(&mut self) -> bool {
        matches!(timeout(PATIENCE, self.0.read_u8()).await, Ok(Err(_)))
    }
}

fn posted(path: &str, length: usize, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{headers}\r\n")
}

#[tokio::test]
async fn whoever_sends_no_head_is_cut() {
    let service = Service::impatient(ByteSize::b(0)).await;
    // Nothing; what may still be HTTP/2; half a head; a head after an answered request; a bare HTTP/2 connection.
    let second = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for start in ["", "PR", "GET / HTTP/1.1\r\nHost:", second, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut client = service.client().await;
        client.send(start).await;
        let mut rest = Vec::new();
        let closed = timeout(PATIENCE, client.0.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{start:?}");
    }
}

#[tokio::test]
async fn a_stalled_body_is_cut_and_told_why() {
    let service = Service::impatient(ByteSize::b(0)).await;
    let mut client = service.client().await;
    client.send(posted("/count", 10, "") + "123").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (408, Some("too_slow")));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_trickling_body_is_cut_and_told_why() {
    let service = Service::impatient(ByteSize::mib(1)).await;
    let mut client = service.client().await;
    client.send(posted("/count", 1_000_000, "")).await;
    let (mut reading, mut writing) = client.0.into_split();
    let trickle = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while writing.write_all(b"x").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut start = [0; 12];
    timeout(PATIENCE, reading.read_exact(&mut start)).await.expect("in time").expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 408");
    trickle.abort();
}

#[tokio::test]
async fn who_writes_everything_first_still_reads_the_refusal() {
    let service = Service::usual().await;
    let mut client = service.client().await;
    let megabytes = 10 * 1024 * 1024;
    client.send(posted("/refuse", megabytes, "")).await;
    client.send(vec![b'x'; megabytes]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["offset"].as_u64()), (409, Some(7)));
    assert_eq!(client.get("/").await.body, "127.0.0.1");
}

#[tokio::test]
async fn a_refusal_does_not_invite_the_body() {
    let service = Service::usual().await;
    let mut client = service.client().await;
    client.send(posted("/refuse", 1_000_000, "Expect: 100-continue\r\n")).await;
    assert_eq!(client.answer().await.status, 409);
    assert!(client.is_closed().await);

    let mut client = service.client().await;
    client.send(posted("/count", 5, "Expect: 100-continue\r\n")).await;
    assert_eq!(client.answer().await.status, 100);
    client.send("12345").await;
    assert_eq!(client.answer().await.body, "5");
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_head_has_bounds() {
    let service = Service::start(Settings { max_head: ByteSize::kib(2), ..Settings::default() }).await;
    let mut client = service.client().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(3000))).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (431, Some("head_too_large")));
    assert_eq!(client.get(&format!("/?{}", "y".repeat(3000))).await.status, 431);
    assert_eq!(client.get("/").await.status, 200);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100))).await;
    assert_eq!(client.answer().await.status, 431);

    let mut client = service.client().await;
    // It may stop reading before the end; what counts is the answer.
    let _ = client.0.write_all(format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(300 * 1024)).as_bytes()).await;
    assert!(timeout(PATIENCE, client.0.read_u8()).await.is_ok());
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let service = Service::usual().await;
    let mut client = service.client().await;
    let answer = client.get("/panic").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("internal")));
    assert!(!answer.body.contains("a bug"));
    assert_eq!(answer.json()["request_id"].as_str(), answer.header("x-request-id"));
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_and_request_ids() {
    let service = Service::usual().await;
    let mut client = service.client().await;
    let answer = client.get("/nowhere").await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (404, Some("/errors#not_found")));
    let answer = client.get("/count").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(answer.json()["code"], "method_not_allowed");
    for (sent, kept) in [("my-id.7", true), ("with blank", false), (&*"x".repeat(65), false)] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {sent}\r\n\r\n")).await;
        let answer = client.answer().await;
        let id = answer.header("x-request-id").expect("always one");
        assert_eq!(id == sent, kept, "{sent}");
        assert!(kept || uuid::Uuid::try_parse(id).is_ok());
    }
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let service = Service::usual().await;
    let mut client = service.client().await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client
        .send(posted("/count", 500_000, "") + &"x".repeat(500_000) + get + &posted("/refuse", 3, "") + "abc" + get)
        .await;
    assert_eq!(client.answer().await.body, "500000");
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 409);
    assert_eq!(client.answer().await.status, 200);
    client
        .send("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.body, "3");
}

#[tokio::test]
async fn winding_down_finishes_what_is_in_flight() {
    let service = Service::usual().await;
    let (mut busy, mut idle) = (service.client().await, service.client().await);
    assert_eq!(idle.get("/").await.status, 200);
    busy.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    service.reached.notified().await;
    service.tasks.wind_down();
    assert!(idle.is_closed().await);
    service.gate.notify_one();
    assert_eq!(busy.answer().await.body, "passed");
    assert!(busy.is_closed().await);
    timeout(PATIENCE, service.tasks.finished()).await.expect("every connection ended");
    assert!(TcpStream::connect(service.address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn letting_go_drops_the_rest() {
    let service = Service::usual().await;
    let mut client = service.client().await;
    client.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    service.reached.notified().await;
    service.tasks.let_go();
    assert!(client.is_closed().await);
    timeout(PATIENCE, service.tasks.finished()).await.expect("every connection ended");
}

#[tokio::test]
async fn http_2_with_prior_knowledge() {
    let service = Service::usual().await;
    let mut client = service.client().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(b"\0\0\0\x04\0\0\0\0\0").await; // SETTINGS, empty
    // HEADERS on stream 1, END_STREAM and END_HEADERS: GET, http, /, authority "a" (RFC 7541, appendix A).
    client.send(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a").await;
    loop {
        let mut head = [0; 9];
        timeout(PATIENCE, client.0.read_exact(&mut head)).await.expect("in time").expect("a frame");
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        client.0.read_exact(&mut payload).await.expect("its payload");
        if head[3] == 1 {
            assert_eq!(payload[0], 0x88, "an indexed :status 200");
            return;
        }
    }
}
