//! What becomes of a PATCH whose connection, client, clock or service fails in the middle of it. No byte that arrived is
//! lost, what HEAD tells is true, and the upload goes on from there to the same content.
//!
//! Disks that are full and processes that are killed: `proofs`.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    support::{ManualClock, TestApp, noise, until},
    tus::{CHUNK, Tus},
};

const LENGTH: usize = 400_000;
/// What arrives before it breaks.
const ARRIVED: usize = 150_000;

/// An upload under way.
struct Broken {
    tus: Tus,
    path: String,
    content: Vec<u8>,
}

impl Broken {
    async fn begin(app: &TestApp) -> Self {
        let tus = Tus(app.user("alice"));
        let path = tus.create(&[("Upload-Length", &LENGTH.to_string())]).await;
        Self { tus, path, content: noise(7, LENGTH) }
    }

    /// A PATCH of the whole, of which a part has been sent.
    async fn sent(&self) -> TcpStream {
        self.tus.stalled(&self.path, 0, LENGTH, &self.content[..ARRIVED]).await
    }

    /// What arrived is there, soon, and no more than that.
    async fn stands_at(&self, offset: usize) {
        until("every byte that arrived is there", async || {
            let told = self.tus.head(&self.path).await.expect(200);
            let stands: usize = told.header("upload-offset").expect("an offset").parse().expect("a number");
            assert!(stands <= offset, "{stands}");
            (stands == offset).then_some(())
        })
        .await;
    }

    /// The rest is taken, and the content is right.
    async fn goes_on(&self, offset: usize) {
        self.stands_at(offset).await;
        self.tus.patch(&self.path, offset, &self.content[offset..]).await.expect(204);
        assert!(self.tus.0.get(&self.path).await.expect(200).bytes == self.content);
    }
}

/// The answer that stands on the line, as far as it fits.
async fn answered(line: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let read = line.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn a_client_that_falls_silent() {
    let app = TestApp::with(|config| config.server.idle_timeout = Duration::from_millis(300)).await;
    let broken = Broken::begin(&app).await;
    let mut line = broken.sent().await;
    let answer = answered(&mut line).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "no 4xx, on which clients give up: {answer}");
    assert!(answer.contains("retry-after: ") && answer.contains("upload-offset: 150000"), "{answer}");
    broken.goes_on(ARRIVED).await;
    app.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_closed_and_one_that_is_reset() {
    let app = TestApp::start().await;
    for resets in [false, true] {
        let broken = Broken::begin(&app).await;
        let line = broken.sent().await;
        // A reset throws away what the kernel still holds; this is about what the service does with what it got.
        broken.stands_at(ARRIVED).await;
        if resets {
            line.set_zero_linger().expect("a socket");
        }
        drop(line);
        broken.goes_on(ARRIVED).await;
    }
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_says_it_sends_no_more_in_the_middle() {
    let app = TestApp::start().await;
    let broken = Broken::begin(&app).await;
    let mut line = broken.sent().await;
    line.shutdown().await.expect("half closed");
    broken.goes_on(ARRIVED).await;
    app.stop().await;
}

#[tokio::test]
async fn a_byte_now_and_then() {
    // Slower than allowed: cut, with its bytes kept.
    let app = TestApp::with(|config| {
        config.server.idle_timeout = Duration::from_millis(400);
        config.server.min_rate = bytesize::ByteSize::mib(1);
    })
    .await;
    let broken = Broken::begin(&app).await;
    let mut line = broken.tus.stalled(&broken.path, 0, LENGTH, b"").await;
    let mut sent = 0;
    for byte in broken.content.chunks(1) {
        if line.write_all(byte).await.is_err() {
            break;
        }
        sent += 1;
        let answer = tokio::time::timeout(Duration::from_millis(20), line.readable()).await;
        if answer.is_ok() {
            break;
        }
    }
    let answer = answered(&mut line).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    // What it sent while it was being cut has not arrived.
    let kept = answer.lines().find_map(|line| line.strip_prefix("upload-offset: ")).expect("an offset");
    let kept = kept.parse().expect("a number");
    assert!((1..=sent).contains(&kept), "{kept} of {sent}");
    broken.goes_on(kept).await;
    app.stop().await;

    // Where that is allowed, each byte counts as it comes.
    let app = TestApp::with(|config| config.server.min_rate = bytesize::ByteSize::b(0)).await;
    let broken = Broken::begin(&app).await;
    let mut line = broken.tus.stalled(&broken.path, 0, LENGTH, b"").await;
    for (number, byte) in broken.content.chunks(1).take(5).enumerate() {
        line.write_all(byte).await.expect("sent");
        broken.stands_at(number + 1).await;
    }
    broken.goes_on(5).await;
    app.stop().await;
}

#[tokio::test]
async fn more_bytes_than_were_announced() {
    let app = TestApp::start().await;
    let tus = Tus(app.user("alice"));
    let path = tus.create(&[("Upload-Length", "10")]).await;
    // Announced: nothing is read. Not announced: taken up to the length, and the rest is refused.
    tus.patch(&path, 0, b"0123456789a").await.expect(413);
    tus.assert_stands_at(&path, 0).await;
    let proof = tus.0.proof();
    let signed: String = proof.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nHost: a\r\n{signed}Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: {CHUNK}\r\n\
         Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n"
    );
    let mut line = TcpStream::connect(app.base.trim_start_matches("http://")).await.expect("connects");
    line.write_all(request.as_bytes()).await.expect("sent");
    let answer = answered(&mut line).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("upload-offset: 10"), "{answer}");
    tus.assert_stands_at(&path, 10).await;
    app.stop().await;
}

#[tokio::test]
async fn a_service_that_is_stopped() {
    let app = TestApp::with(|config| config.server.shutdown_grace = Duration::from_millis(200)).await;
    let broken = Broken::begin(&app).await;
    let mut line = broken.sent().await;
    broken.stands_at(ARRIVED).await;
    let app = app.restart(|_| ()).await;
    let answer = answered(&mut line).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503"), "{answer}");
    let broken = Broken { tus: Tus(app.user("alice")), ..broken };
    broken.goes_on(ARRIVED).await;
    app.stop().await;
}

#[tokio::test]
async fn a_clock_that_jumps() {
    let jumps: [fn(&ManualClock, Duration); 2] = [ManualClock::advance, ManualClock::set_back];
    for jump in jumps {
        let app = TestApp::start().await;
        let broken = Broken::begin(&app).await;
        let line = broken.sent().await;
        broken.stands_at(ARRIVED).await;
        jump(&app.clock, Duration::from_secs(20 * 60 * 60));
        drop(line);
        broken.goes_on(ARRIVED).await;
        assert_eq!(app.stored().len(), 1);
        app.stop().await;
    }
}
