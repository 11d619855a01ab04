//! The tus door: requests as tus clients send them, over real sockets.

mod concat;
mod idempotency;
mod limits;

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures_util::future::join_all;
use sha1::{Digest as _, Sha1};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Answer, Caller, TestApp, noise, until};

pub(crate) const CHUNK: &str = "application/offset+octet-stream";

/// A tus client.
pub(crate) struct Tus(pub(crate) Caller);

fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all = vec![("Tus-Resumable".to_owned(), "1.0.0".to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    all
}

impl Tus {
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.0.send(method, path, &pairs(headers), body.to_vec()).await
    }

    /// Makes an upload; its path.
    pub(crate) async fn create(&self, headers: &[(&str, &str)]) -> String {
        let made = self.send("POST", "/files/", headers, b"").await.expect(201);
        self.path(&made)
    }

    pub(crate) fn path(&self, made: &Answer) -> String {
        let location = made.header("location").expect("a location");
        location.strip_prefix(&self.0.base).expect("an absolute URL of the service").to_owned()
    }

    pub(crate) async fn patch(&self, path: &str, offset: usize, bytes: &[u8]) -> Answer {
        let at = offset.to_string();
        self.send("PATCH", path, &[("Upload-Offset", &at), ("Content-Type", CHUNK)], bytes).await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        self.send("HEAD", path, &[], b"").await
    }

    pub(crate) async fn assert_stands_at(&self, path: &str, offset: usize) {
        let told = self.head(path).await.expect(200);
        assert_eq!(told.header("upload-offset"), Some(&*offset.to_string()));
    }

    /// A PATCH whose body is `declared` bytes long, and of which only `bytes` are sent; the connection stays.
    pub(crate) async fn stalled(&self, path: &str, offset: usize, declared: usize, bytes: &[u8]) -> TcpStream {
        let signed: String =
            self.0.proof().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: a\r\n{signed}Tus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
             Content-Type: {CHUNK}\r\nContent-Length: {declared}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.0.base.trim_start_matches("http://")).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(bytes).await.expect("sent");
        stream
    }
}

async fn tus(app: &TestApp) -> Tus {
    Tus(app.user("alice"))
}

fn sha1(bytes: &[u8]) -> String {
    format!("sha1 {}", BASE64.encode(Sha1::digest(bytes)))
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let content = noise(1, 300_000);
    let metadata = "filename YSBmaWxlLmJpbg==,filetype aW1hZ2UvcG5n,is_confidential";
    let made = tus.send("POST", "/files/", &[("Upload-Length", "300000"), ("Upload-Metadata", metadata)], b"").await;
    let path = tus.path(&made.expect(201));
    let told = tus.head(&path).await.expect(200);
    let said = |name| told.header(name).map(str::to_owned);
    assert_eq!(said("upload-offset").as_deref(), Some("0"));
    assert_eq!(said("upload-length").as_deref(), Some("300000"));
    assert_eq!(said("upload-metadata").as_deref(), Some(metadata), "byte by byte");
    assert_eq!(said("cache-control").as_deref(), Some("no-store"));
    assert!(said("upload-expires").expect("a date").ends_with(" GMT"));

    let first = tus.patch(&path, 0, &content[..200_000]).await.expect(204);
    assert_eq!(first.header("upload-offset"), Some("200000"));
    assert!(first.header("upload-expires").is_some() && first.header("tus-resumable") == Some("1.0.0"));
    tus.send("GET", &path, &[], b"").await.expect(409);
    let last = tus.patch(&path, 200_000, &content[200_000..]).await.expect(204);
    assert_eq!((last.header("upload-offset"), last.header("upload-expires")), (Some("300000"), None));

    let whole = tus.0.get(&path).await.expect(200);
    assert!(whole.bytes == content);
    assert_eq!(whole.header("content-type"), Some("image/png"));
    let part = tus.send("GET", &path, &[("Range", "bytes=100-199")], b"").await.expect(206);
    assert!(part.bytes == content[100..200]);
    let native = tus.0.get(&path.replace("/files/", "/api/v1/uploads/")).await.expect(200).json();
    assert_eq!((&native["state"], &native["filename"]), (&"complete".into(), &"a file.bin".into()));
    tus.assert_stands_at(&path, 300_000).await;

    tus.send("DELETE", &path, &[], b"").await.expect(204);
    for method in ["HEAD", "DELETE", "GET"] {
        tus.send(method, &path, &[], b"").await.expect(410);
    }
    assert_eq!(app.stored(), []);
    app.stop().await;
}

#[tokio::test]
async fn what_is_offered_is_told_without_credentials() {
    let app = TestApp::with(|config| config.uploads.max_bytes = Some("1000".parse().expect("a size"))).await;
    let told = app.anonymous().send("OPTIONS", "/files/", &[], vec![]).await.expect(200);
    assert_eq!(told.header("tus-version"), Some("1.0.0"));
    assert_eq!(told.header("tus-max-size"), Some("1000"));
    assert_eq!(told.header("tus-checksum-algorithm"), Some("sha1,md5,crc32,sha256,sha512"));
    let extensions = told.header("tus-extension").expect("extensions");
    assert!(extensions.ends_with("termination,concatenation,concatenation-unfinished"), "{extensions}");
    let tus = tus(&app).await;
    tus.send("POST", "/files/", &[("Upload-Length", "1001")], b"").await.expect(413);
    app.stop().await;
}

#[tokio::test]
async fn uploads_begin_with_bytes_without_any_and_without_a_length() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let with_bytes = [("Upload-Length", "10"), ("Content-Type", CHUNK)];
    let made = tus.send("POST", "/files", &with_bytes, b"01234").await.expect(201);
    assert_eq!(made.header("upload-offset"), Some("5"));
    let path = tus.path(&made);
    tus.patch(&path, 5, b"56789").await.expect(204);
    assert_eq!(tus.0.get(&path).await.expect(200).bytes, b"0123456789");
    tus.send("POST", "/files/", &[("Upload-Length", "10")], b"01234").await.expect(415);

    let empty = tus.create(&[("Upload-Length", "0")]).await;
    assert_eq!(tus.0.get(&empty).await.expect(200).bytes, b"");

    let later = tus.create(&[("Upload-Defer-Length", "1")]).await;
    tus.patch(&later, 0, b"012").await.expect(204);
    let told = tus.head(&later).await.expect(200);
    assert_eq!((told.header("upload-defer-length"), told.header("upload-length")), (Some("1"), None));
    let named = [("Upload-Offset", "3"), ("Upload-Length", "6"), ("Content-Type", CHUNK)];
    tus.send("PATCH", &later, &named, b"345").await.expect(204);
    let told = tus.head(&later).await.expect(200);
    assert_eq!((told.header("upload-defer-length"), told.header("upload-length")), (None, Some("6")));
    assert_eq!(tus.0.get(&later).await.expect(200).bytes, b"012345");
    app.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let length = ("Upload-Length", "10");
    for headers in [
        vec![],
        vec![("Upload-Length", "ten")],
        vec![("Upload-Length", "-1")],
        vec![("Upload-Length", "9223372036854775808")],
        vec![length, ("Upload-Defer-Length", "1")],
        vec![("Upload-Defer-Length", "2")],
        vec![length, ("Upload-Metadata", "filename !")],
        vec![length, ("Upload-Metadata", "a YQ==,a YQ==")],
    ] {
        tus.send("POST", "/files/", &headers, b"").await.expect(400);
    }
    for version in [vec![], vec![("Tus-Resumable".to_owned(), "0.2.2".to_owned())]] {
        let mut headers = version;
        headers.push(("Upload-Length".to_owned(), "1".to_owned()));
        let refused = tus.0.send("POST", "/files/", &headers, vec![]).await.expect(412);
        assert_eq!(refused.header("tus-version"), Some("1.0.0"));
    }
    assert_eq!(tus.0.get("/api/v1/uploads").await.json()["uploads"], serde_json::json!([]));

    let path = tus.create(&[length]).await;
    tus.patch(&path, 0, b"0123").await.expect(204);
    for (offset, bytes, status) in [(0, &b"0123"[..], 409), (5, b"x", 409), (4, b"4567890", 413)] {
        let refused = tus.patch(&path, offset, bytes).await.expect(status);
        assert_eq!(refused.header("upload-offset"), Some("4"), "{status}");
    }
    for (headers, status) in [
        (vec![("Upload-Offset", "4")], 415),
        (vec![("Upload-Offset", "4"), ("Content-Type", "text/plain")], 415),
        (vec![("Content-Type", CHUNK)], 400),
        (vec![("Upload-Offset", "four"), ("Content-Type", CHUNK)], 400),
        (vec![("Upload-Offset", "4"), ("Upload-Length", "11"), ("Content-Type", CHUNK)], 400),
    ] {
        tus.send("PATCH", &path, &headers, b"4").await.expect(status);
    }
    tus.assert_stands_at(&path, 4).await;
    let nothing = format!("/files/{}", uuid::Uuid::new_v4());
    for path in [&*nothing, "/files/x"] {
        tus.head(path).await.expect(404);
        tus.patch(path, 0, b"").await.expect(404);
    }
    Tus(app.user("bob")).head(&path).await.expect(404);
    app.anonymous().send("HEAD", &path, &pairs(&[]), vec![]).await.expect(401);
    app.stop().await;
}

#[tokio::test]
async fn a_checksum_is_held_against_the_bytes() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let path = tus.create(&[("Upload-Length", "10")]).await;
    let patch = async |checksum: &str, offset: &str, bytes: &[u8]| {
        let headers = [("Upload-Offset", offset), ("Content-Type", CHUNK), ("Upload-Checksum", checksum)];
        tus.send("PATCH", &path, &headers, bytes).await
    };
    let refused = patch(&sha1(b"01235"), "0", b"01234").await.expect(460);
    assert_eq!(refused.header("upload-offset"), Some("0"));
    patch("crc32 qqNAsg==", "0", b"01234").await.expect(460);
    for unreadable in ["crc64 AAAA", "sha1", "sha1 AAAA", "sha1 !", "crc32 AAAA"] {
        patch(unreadable, "0", b"01234").await.expect(400);
    }
    tus.assert_stands_at(&path, 0).await;
    patch("crc32 z0EkNg==", "0", b"01").await.expect(204);
    patch(&sha1(b"234"), "2", b"234").await.expect(204);

    // In a trailer it comes after the bytes.
    for (checksum, status) in [(sha1(b"56780"), " 460 "), (String::new(), " 400 "), (sha1(b"56789"), " 204 ")] {
        let signed: Vec<String> = tus.0.proof().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let trailer = if checksum.is_empty() { String::new() } else { format!("Upload-Checksum: {checksum}\r\n") };
        let request = format!(
            "PATCH {path} HTTP/1.1\r\nHost: a\r\n{}Tus-Resumable: 1.0.0\r\nUpload-Offset: 5\r\nContent-Type: {CHUNK}\r\n\
             Transfer-Encoding: chunked\r\nTrailer: Upload-Checksum\r\nConnection: close\r\n\r\n\
             5\r\n56789\r\n0\r\n{trailer}\r\n",
            signed.concat()
        );
        let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        assert!(answer.lines().next().expect("a status").contains(status), "{answer}");
    }
    assert_eq!(tus.0.get(&path).await.expect(200).bytes, b"0123456789");
    app.stop().await;
}

#[tokio::test]
async fn who_comes_back_finds_every_byte_and_takes_over() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let content = noise(2, 6_000_000);
    let path = tus.create(&[("Upload-Length", "6000000")]).await;
    let dead = tus.stalled(&path, 0, 6_000_000, &content[..5_000_000]).await;
    // The network takes a moment to bring them; then the answer is exact at once.
    until("every byte that was sent", async || {
        let told = tus.head(&path).await.expect(200);
        (told.header("upload-offset") == Some("5000000")).then_some(())
    })
    .await;
    let asked = Instant::now();
    tus.assert_stands_at(&path, 5_000_000).await;
    let answered = asked.elapsed();
    let asked = Instant::now();
    tus.patch(&path, 5_000_000, &content[5_000_000..]).await.expect(204);
    let took_over = asked.elapsed();
    // Generous: a busy machine is no slow service. The bench measures.
    assert!(answered < Duration::from_secs(1) && took_over < Duration::from_secs(2), "{answered:?} {took_over:?}");
    assert!(tus.0.get(&path).await.expect(200).bytes == content);
    drop(dead);
    app.stop().await;
}

#[tokio::test]
async fn cancelling_ends_a_request_under_way() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let path = tus.create(&[("Upload-Length", "10")]).await;
    let mut dead = tus.stalled(&path, 0, 10, b"01234").await;
    tus.send("DELETE", &path, &[], b"").await.expect(204);
    let mut answer = vec![0; 64];
    let read = dead.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(app.stored(), []);
    app.stop().await;
}

#[tokio::test]
async fn of_requests_at_one_offset_one_wins() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    for round in 0..5 {
        let path = tus.create(&[("Upload-Length", "400000")]).await;
        let contents: Vec<_> = (0..4).map(|number| noise(round * 10 + number, 400_000)).collect();
        let answers = join_all(contents.iter().map(|content| tus.patch(&path, 0, content))).await;
        let won: Vec<_> = (0..4).filter(|number| answers[*number].status == 204).collect();
        let [winner] = won[..] else { panic!("{won:?}") };
        assert!(answers.iter().all(|answer| [204, 409, 423].contains(&answer.status)));
        assert!(tus.0.get(&path).await.expect(200).bytes == contents[winner]);
    }
    app.stop().await;
}

#[tokio::test]
async fn methods_can_be_named_in_a_header() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let path = tus.create(&[("Upload-Length", "3")]).await;
    let over = async |method: &str, more: &[(&str, &str)], body: &[u8]| {
        tus.send("POST", &path, &[&[("X-HTTP-Method-Override", method)], more].concat(), body).await
    };
    over("PATCH", &[("Upload-Offset", "0"), ("Content-Type", CHUNK)], b"012").await.expect(204);
    assert_eq!(over("HEAD", &[], b"").await.expect(200).header("upload-offset"), Some("3"));
    over("GET", &[], b"").await.expect(400);
    tus.send("POST", &path, &[], b"").await.expect(400);
    over("DELETE", &[], b"").await.expect(204);
    over("HEAD", &[], b"").await.expect(410);
    app.stop().await;
}

#[tokio::test]
async fn the_last_byte_completes_even_if_its_client_left() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let path = tus.create(&[("Upload-Length", "10")]).await;
    // Chunked, so that the end of the body never comes.
    let signed: Vec<String> = tus.0.proof().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nHost: a\r\n{}Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: {CHUNK}\r\n\
         Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n",
        signed.concat()
    );
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sent");
    drop(stream);
    until("every byte", async || {
        (tus.head(&path).await.expect(200).header("upload-offset") == Some("10")).then_some(())
    })
    .await;
    until("completion", async || {
        (tus.head(&path).await.status == 200 && tus.0.get(&path).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(tus.0.get(&path).await.expect(200).bytes, b"0123456789");
    app.stop().await;
}

#[tokio::test]
async fn what_is_over_is_gone() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let path = tus.create(&[("Upload-Length", "4")]).await;
    tus.patch(&path, 0, b"01").await.expect(204);
    app.clock.advance(Duration::from_secs(25 * 60 * 60));
    for answer in [tus.head(&path).await, tus.patch(&path, 2, b"23").await] {
        assert_eq!(answer.expect(410).header("upload-offset"), None);
    }
    app.stop().await;
}

#[tokio::test]
async fn what_never_got_a_byte_is_over_soon_and_what_got_one_lives_on() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let made = [tus.create(&[("Upload-Length", "4")]).await, tus.create(&[("Upload-Length", "4")]).await];
    tus.patch(&made[0], 0, b"0").await.expect(204);
    app.clock.advance(Duration::from_secs(15 * 60));
    tus.patch(&made[1], 0, b"0").await.expect(410);
    app.clock.advance(Duration::from_secs(23 * 60 * 60));
    tus.patch(&made[0], 1, b"123").await.expect(204);
    app.stop().await;
}

#[tokio::test]
async fn what_comes_slowly_is_not_over_before_its_first_commit() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let path = tus.create(&[("Upload-Length", "10")]).await;
    let slow = tus.stalled(&path, 0, 10, b"0123").await;
    until("the bytes are there", async || {
        (app.running().metrics().text().contains("chunkgate_upload_received_bytes_total 4")).then_some(())
    })
    .await;
    app.clock.advance(Duration::from_secs(16 * 60));
    until("they count", async || {
        (tus.head(&path).await.expect(200).header("upload-offset") == Some("4")).then_some(())
    })
    .await;
    drop(slow);
    app.stop().await;
}

#[tokio::test]
async fn whoever_came_in_time_may_end_late_and_what_is_late_and_not_all_is_over() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    for (declared, status) in [(10, "204"), (7, "410")] {
        let path = tus.create(&[("Upload-Length", "10")]).await;
        let mut late = tus.stalled(&path, 0, declared, b"0123").await;
        until("the first bytes", async || {
            (tus.head(&path).await.expect(200).header("upload-offset") == Some("4")).then_some(())
        })
        .await;
        app.clock.advance(Duration::from_secs(25 * 60 * 60));
        late.write_all(&b"456789"[..declared - 4]).await.expect("sent");
        let mut answer = [0; 64];
        let read = late.read(&mut answer).await.expect("an answer");
        assert!(String::from_utf8_lossy(&answer[..read]).contains(status), "{declared}");
        assert_eq!(tus.0.get(&path).await.status, if declared == 10 { 200 } else { 410 });
    }
    app.stop().await;
}

#[tokio::test]
async fn an_upload_whose_beginning_was_refused_takes_no_place() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let signed: Vec<String> = tus.0.proof().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "POST /files/ HTTP/1.1\r\nHost: a\r\n{}Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nContent-Type: {CHUNK}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n6\r\n012345\r\n0\r\n\r\n",
        signed.concat()
    );
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(tus.0.get("/api/v1/uploads?state=receiving").await.json()["uploads"], serde_json::json!([]));
    assert_eq!(app.stored(), []);
    app.stop().await;
}

#[tokio::test]
async fn a_refusal_tells_where_the_upload_stands_with_what_the_older_request_brought() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let path = tus.create(&[("Upload-Length", "10")]).await;
    let _dead = tus.stalled(&path, 0, 10, b"01234").await;
    until("the first bytes", async || {
        let refused = tus.patch(&path, 3, b"x").await.expect(409);
        (refused.header("upload-offset") == Some("5")).then_some(())
    })
    .await;
    tus.patch(&path, 5, b"56789").await.expect(204);
    assert_eq!(tus.0.get(&path).await.expect(200).bytes, b"0123456789");
    app.stop().await;
}

#[tokio::test]
async fn a_token_is_enough_for_its_upload() {
    let app = TestApp::start().await;
    let made = tus(&app).await.send("POST", "/files/", &[("Upload-Length", "4")], b"").await.expect(201);
    let bearer = Tus(app.bearer(made.header("upload-token").expect("a token")));
    let path = bearer.path(&made);
    bearer.assert_stands_at(&path, 0).await;
    bearer.patch(&path, 0, b"0123").await.expect(204);
    bearer.send("POST", "/files/", &[("Upload-Length", "4")], b"").await.expect(403);
    app.stop().await;
}
