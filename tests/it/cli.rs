//! The command line as a user meets it: the real binary against a scripted multipart door.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use chunkgate::domain::{
    UploadId,
    digest::{Algorithm, Running},
    signing,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::watch::{Watch, watch};

/// What the door does wrong, once, with the next chunk.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing.
    None,
    /// Says 503 and takes nothing.
    Busy,
    /// Takes the chunk, then breaks the connection within the answer.
    LoseAnswer,
    /// Takes the chunk with a bit turned over.
    Corrupt,
}

#[derive(Default)]
struct Door {
    uploads: HashMap<String, (Vec<u8>, u64, bool)>,
    faults: VecDeque<Fault>,
    ranges: Vec<String>,
    deleted: Vec<String>,
}

type Shared = Arc<Mutex<Door>>;

fn md5(bytes: &[u8]) -> String {
    let mut md5 = Running::new(Algorithm::Md5);
    md5.update(bytes);
    md5.finish().to_hex()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The id and the content of a form: enough of a parser for one client.
fn form(headers: &HeaderMap, body: &[u8]) -> (Option<String>, Vec<u8>) {
    let kind = headers[header::CONTENT_TYPE].to_str().expect("text");
    let boundary = format!("--{}", kind.split_once("boundary=").expect("a boundary").1);
    let (mut id, mut rest, mut content) = (None, body, Vec::new());
    while let Some(start) = find(rest, b"\r\n\r\n") {
        let (head, after) = (String::from_utf8_lossy(&rest[..start]).into_owned(), &rest[start + 4..]);
        let end = find(after, format!("\r\n{boundary}").as_bytes()).expect("an end");
        match head.contains("name=\"upload_id\"") {
            true => id = Some(String::from_utf8(after[..end].to_vec()).expect("text")),
            false => content = after[..end].to_vec(),
        }
        rest = &after[end..];
    }
    (id, content)
}

fn signed(headers: &HeaderMap) {
    let text = |name: &str| headers[name].to_str().expect("text");
    assert_eq!(text("x-api-key"), "demo-key");
    assert!(signing::verify_v1(b"demo-secret", text("x-timestamp"), text("x-signature")));
}

async fn chunk(State(door): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    signed(&headers);
    let (id, mut content) = form(&headers, &body);
    let mut door = door.lock().expect("unpoisoned");
    let range = headers.get(header::CONTENT_RANGE).map(|range| range.to_str().expect("text").to_owned());
    door.ranges.push(range.clone().unwrap_or_default());
    let fault = door.faults.pop_front().unwrap_or(Fault::None);
    if fault == Fault::Busy {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "0")], "busy").into_response();
    }
    if fault == Fault::Corrupt {
        content[0] ^= 1;
    }
    let (start, total) = range.map_or((0, content.len() as u64), |range| {
        let numbers: Vec<u64> = range[6..].split(['-', '/']).map(|number| number.parse().expect("a number")).collect();
        (numbers[0], numbers[2])
    });
    let id = id.unwrap_or_else(|| UploadId::new().simple());
    let upload = door.uploads.entry(id.clone()).or_insert((Vec::new(), total, false));
    if upload.0.len() as u64 != start {
        let said = json!({"detail": "Offsets do not match", "offset": upload.0.len()});
        return (StatusCode::BAD_REQUEST, Json(said)).into_response();
    }
    upload.0.extend(content);
    if fault == Fault::LoseAnswer {
        let broken = futures_util::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("lost"))]);
        return Body::from_stream(broken).into_response();
    }
    Json(json!({"upload_id": id, "offset": upload.0.len(), "expires": "2026-11-23T10:11:32.581Z"})).into_response()
}

async fn complete(State(door): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    signed(&headers);
    let fields: HashMap<_, _> = form_urlencoded::parse(&body).into_owned().collect();
    let mut door = door.lock().expect("unpoisoned");
    let Some(upload) = door.uploads.get_mut(&fields["upload_id"]) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if md5(&upload.0) != fields["md5"] {
        let said = json!({"detail": "md5 checksum does not match"});
        return (StatusCode::BAD_REQUEST, Json(said)).into_response();
    }
    upload.2 = true;
    Json(json!({})).into_response()
}

fn shown(id: &str, (content, size, complete): &(Vec<u8>, u64, bool)) -> Value {
    let id = id.parse::<UploadId>().expect("an id");
    let digest = complete.then(|| format!("md5:{}", md5(content)));
    let state = if *complete { "complete" } else { "receiving" };
    let percent = if *size == 0 { 100.0 } else { content.len() as f64 * 100.0 / *size as f64 };
    json!({"id": id.to_string(), "filename": "a\u{1b}[2J.bin", "state": state, "offset": content.len(), "size": size,
        "percent": percent, "created": "2026-11-22T10:11:32Z", "expires": "2026-11-23T10:11:32Z", "digest": digest})
}

async fn status(State(door): State<Shared>, Path(id): Path<String>) -> Response {
    let id: UploadId = id.parse().expect("an id");
    match door.lock().expect("unpoisoned").uploads.get(&id.simple()) {
        Some(upload) => Json(shown(&id.simple(), upload)).into_response(),
        None => {
            let kind = [(header::CONTENT_TYPE, "application/problem+json")];
            (StatusCode::NOT_FOUND, kind, json!({"detail": "no such upload"}).to_string()).into_response()
        }
    }
}

async fn delete(State(door): State<Shared>, Path(id): Path<String>) -> StatusCode {
    let id: UploadId = id.parse().expect("an id");
    let mut door = door.lock().expect("unpoisoned");
    door.deleted.push(id.simple());
    door.uploads.remove(&id.simple()).map_or(StatusCode::NOT_FOUND, |_| StatusCode::NO_CONTENT)
}

async fn list(State(door): State<Shared>) -> Json<Value> {
    let door = door.lock().expect("unpoisoned");
    let uploads: Vec<Value> = door.uploads.iter().map(|(id, upload)| shown(id, upload)).collect();
    Json(json!({"uploads": uploads, "next_cursor": null}))
}

/// A door, a file and a state folder.
struct Bench {
    door: Shared,
    address: SocketAddr,
    folder: TempDir,
    file: PathBuf,
}

impl Bench {
    async fn with(content: &[u8], faults: &[Fault]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("film é \"1\".mp4");
        fs::write(&file, content).expect("a file");
        let door = Shared::default();
        door.lock().expect("unpoisoned").faults = faults.iter().copied().collect();
        let router = Router::new()
            .route("/chunked_upload/", post(chunk))
            .route("/chunked_upload_complete/", post(complete))
            .route("/api/v1/uploads", get(list))
            .route("/api/v1/uploads/{id}", get(status).delete(delete))
            .route("/readyz", get(|| async { "ready" }))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&door));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { door, address, folder, file }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ends");
        Watch::assert_kept(&watch().search("the error stream", &output.stderr));
        output
    }

    /// Uploads the file in chunks of 10 bytes.
    async fn upload(&self, more: &[&str]) -> Output {
        let file = self.file.to_str().expect("text").to_owned();
        let mut arguments = vec!["upload", &file, "--chunk-size", "10", "--json"];
        arguments.extend(more);
        self.run(&arguments).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chunkgate"));
        command
            .env_clear()
            .env("CHUNKGATE_URL", format!("http://{}", self.address))
            .env("CHUNKGATE_API_KEY", "demo-key")
            .env("CHUNKGATE_SECRET", "demo-secret")
            .env("XDG_STATE_HOME", self.folder.path().join("state"));
        command
    }

    fn ranges(&self) -> Vec<String> {
        std::mem::take(&mut self.door.lock().expect("unpoisoned").ranges)
    }

    fn remembered(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.folder.path().join("state/chunkgate"));
        folder.into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect()
    }

    /// The report of a complete upload, compared with what the door holds.
    fn arrived(&self, output: &Output) -> Value {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let content = fs::read(&self.file).expect("the file");
        let id: UploadId = report["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        assert_eq!(self.door.lock().expect("unpoisoned").uploads[&id.simple()].0, content);
        let url = format!("http://{}/api/v1/uploads/{id}/content", self.address);
        let (size, digest) = (content.len(), format!("md5:{}", md5(&content)));
        let expected = json!({"id": id.to_string(), "url": url, "size": size, "offset": size, "state": "complete",
            "digest": digest});
        assert_eq!(report, expected);
        assert!(self.remembered().is_empty(), "memory is removed at completion");
        report
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const CONTENT: &[u8] = b"abcdefghijklmnopqrstuvwxy";

#[tokio::test]
async fn a_file_arrives_in_chunks() {
    let bench = Bench::with(CONTENT, &[]).await;
    bench.arrived(&bench.upload(&[]).await);
    assert_eq!(bench.ranges(), ["bytes 0-9/25", "bytes 10-19/25", "bytes 20-24/25"]);
}

#[tokio::test]
async fn an_empty_file_arrives() {
    let bench = Bench::with(b"", &[]).await;
    bench.arrived(&bench.upload(&[]).await);
    assert_eq!(bench.ranges(), [""]);
}

#[tokio::test]
async fn a_lost_answer_costs_nothing() {
    let bench = Bench::with(CONTENT, &[Fault::None, Fault::LoseAnswer]).await;
    bench.arrived(&bench.upload(&[]).await);
    assert_eq!(bench.ranges(), ["bytes 0-9/25", "bytes 10-19/25", "bytes 20-24/25"]);
}

#[tokio::test]
async fn a_busy_service_is_waited_for() {
    let bench = Bench::with(CONTENT, &[Fault::Busy, Fault::None, Fault::Busy]).await;
    let output = bench.upload(&[]).await;
    bench.arrived(&output);
    assert!(said(&output).contains("status 503; trying again in"), "{}", said(&output));
    assert_eq!(bench.ranges().len(), 5);
}

#[tokio::test]
async fn another_run_resumes() {
    let bench = Bench::with(CONTENT, &[Fault::None, Fault::None, Fault::Busy]).await;
    let output = bench.upload(&["--retry-for", "0s"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("the same command resumes"), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["offset"], &report["size"]), (&json!(20), &json!(25)));
    let [memory] = bench.remembered().try_into().expect("one file");
    assert_eq!(fs::metadata(&memory).expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&memory).expect("text").contains("demo-secret"));

    bench.ranges();
    let output = bench.upload(&[]).await;
    bench.arrived(&output);
    assert!(said(&output).contains("resuming at 20 B of 25 B"), "{}", said(&output));
    assert_eq!(bench.ranges(), ["bytes 20-24/25"]);
}

#[tokio::test]
async fn what_cannot_be_resumed_starts_anew() {
    let bench = Bench::with(CONTENT, &[Fault::None, Fault::Busy]).await;
    bench.upload(&["--retry-for", "0s"]).await;
    bench.door.lock().expect("unpoisoned").uploads.clear();
    let output = bench.upload(&[]).await;
    bench.arrived(&output);
    assert!(said(&output).contains("does not know the earlier upload any more; starting anew"), "{}", said(&output));

    let bench = Bench::with(CONTENT, &[Fault::None, Fault::Busy]).await;
    bench.upload(&["--retry-for", "0s"]).await;
    fs::write(&bench.file, b"something else").expect("a file");
    let output = bench.upload(&[]).await;
    bench.arrived(&output);
    assert!(said(&output).contains("changed since"), "{}", said(&output));
}

#[tokio::test]
async fn damage_is_found_and_not_resumed() {
    let bench = Bench::with(CONTENT, &[Fault::None, Fault::Corrupt]).await;
    let output = bench.upload(&[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("md5 checksum does not match"), "{}", said(&output));
    assert!(bench.remembered().is_empty());
    assert_eq!(bench.door.lock().expect("unpoisoned").deleted.len(), 1);
}

#[tokio::test]
async fn one_bad_file_does_not_stop_the_others() {
    let bench = Bench::with(CONTENT, &[]).await;
    let output = bench.upload(&["/nowhere/else", "--parallel", "2"]).await;
    assert_eq!(output.status.code(), Some(1));
    let reports: Vec<Value> =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!((&reports[0]["state"], &reports[1]["state"]), (&json!("complete"), &json!("failed")));
}

#[tokio::test]
async fn uploads_are_listed_shown_and_cancelled() {
    let bench = Bench::with(CONTENT, &[]).await;
    let report = bench.arrived(&bench.upload(&[]).await);
    let id = report["id"].as_str().expect("text");
    let listed = bench.run(&["uploads", "list"]).await;
    let text = String::from_utf8(listed.stdout).expect("text");
    assert!(text.contains(id) && text.contains("complete") && text.contains("25 B"), "{text}");
    assert!(!text.contains('\u{1b}'), "a file name cannot steer the terminal");
    let shown = bench.run(&["uploads", "show", id]).await;
    assert!(String::from_utf8_lossy(&shown.stdout).contains("/content"), "{shown:?}");
    assert!(bench.run(&["uploads", "cancel", id]).await.status.success());
    let again = bench.run(&["uploads", "cancel", id]).await;
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[tokio::test]
async fn health_and_usage_end_with_their_codes() {
    let bench = Bench::with(b"", &[]).await;
    let url = format!("http://{}", bench.address);
    assert_eq!(bench.run(&["health", "--url", &url]).await.status.code(), Some(0));
    assert_eq!(bench.run(&["health", "--url", "http://127.0.0.1:1"]).await.status.code(), Some(1));
    for wrong in [
        &["upload"][..],
        &["nonsense"],
        &["upload", "x", "--url", "ftp://x"],
        &["upload", "x", "--chunk-size", "0"],
        &["demo", "--identity-listen", "0.0.0.0:0"],
        &["uploads", "show", "no-id"],
    ] {
        assert_eq!(bench.run(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
    let example = bench.run(&["config", "example"]).await;
    let path = bench.folder.path().join("c.toml");
    fs::write(&path, &example.stdout).expect("a file");
    let path = path.to_str().expect("text");
    let checked = bench.run(&["config", "check", path]).await;
    assert!(checked.status.code() == Some(1) && said(&checked).contains("identity.token must be set"));
    let whole = String::from_utf8_lossy(&example.stdout).replacen("token = \"\"", "token = \"t0ken\"", 1);
    fs::write(path, whole).expect("a file");
    assert_eq!(bench.run(&["config", "check", path]).await.status.code(), Some(0));
    fs::write(path, "[server]\nlistn = 1\n").expect("a file");
    let checked = bench.run(&["config", "check", "--config", path]).await;
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        said(&checked).contains(":2:1: server.listn: unknown key; did you mean server.listen?"),
        "{}",
        said(&checked)
    );
}
