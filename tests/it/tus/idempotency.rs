//! A creation that is sent again under its key makes nothing: the answer tells of the upload that is there.

use std::time::Duration;

use chunkgate::auth::Reuse;
use futures_util::future::join_all;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{CHUNK, Tus, limits::limited, sha1, tus};
use crate::{
    support::{Answer, TestApp, until},
    tokens::second_node,
};

const KEY: &str = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";

impl Tus {
    /// A creation of `length` bytes under a key, with those.
    async fn begin(&self, key: &str, length: usize, bytes: &[u8]) -> Answer {
        self.begin_with(key, length, bytes, &[]).await
    }

    async fn begin_with(&self, key: &str, length: usize, bytes: &[u8], more: &[(&str, &str)]) -> Answer {
        let length = length.to_string();
        let mut said = vec![("Idempotency-Key", key), ("Upload-Length", &*length)];
        if !bytes.is_empty() {
            said.push(("Content-Type", CHUNK));
        }
        self.send("POST", "/files/", &[&said, more].concat(), bytes).await
    }

    /// The same creation, of which `bytes` are sent and no answer is read; the connection stays.
    async fn begin_unheard(&self, key: &str, length: usize, bytes: &[u8], more: &str) -> TcpStream {
        let signed: String =
            self.0.proof().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
        let head = format!(
            "POST /files/ HTTP/1.1\r\nHost: a\r\n{signed}Tus-Resumable: 1.0.0\r\nUpload-Length: {length}\r\n\
             Idempotency-Key: {key}\r\n{more}Content-Type: {CHUNK}\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.0.base.trim_start_matches("http://")).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(bytes).await.expect("sent");
        stream
    }

    /// The ids of the user's uploads.
    async fn uploads(&self, state: &str) -> Vec<String> {
        let list = self.0.get(&format!("/api/v1/uploads?state={state}")).await.expect(200).json();
        let uploads = list["uploads"].as_array().expect("a list").iter();
        uploads.map(|upload| upload["id"].as_str().expect("an id").to_owned()).collect()
    }
}

/// What a fresh creation is told, of an upload that stands at `offset`.
#[track_caller]
fn assert_made(answer: &Answer, offset: usize) {
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.header("upload-offset"), Some(&*offset.to_string()));
    assert!(answer.header("location").is_some() && answer.header("tus-resumable") == Some("1.0.0"));
}

#[track_caller]
fn assert_reused(answer: Answer) {
    assert_eq!(answer.expect(422).json()["code"], "key_reused");
}

#[tokio::test]
async fn whoever_lost_the_answer_asks_again_and_goes_on() {
    let (_identity, app, tus) = limited(json!({"max_total_bytes": 20, "max_concurrent_uploads": 2})).await;
    let lost = tus.begin_with(KEY, 16, b"0123456789", &[]).await;
    let again = tus.begin(KEY, 16, b"not the same").await;
    assert_made(&again, 10);
    for name in ["location", "upload-expires", "upload-limit"] {
        assert_eq!(again.header(name), lost.header(name), "{name}");
    }
    assert!(again.header("upload-token").is_some());
    assert_made(&tus.begin(KEY.trim_matches('"'), 16, b"").await, 10);
    // It counts once.
    tus.send("POST", "/files/", &[("Upload-Length", "5")], b"").await.expect(413);
    tus.create(&[("Upload-Length", "4")]).await;
    assert_made(&tus.begin(KEY, 16, b"").await, 10);
    let path = tus.path(&again);
    tus.patch(&path, 10, b"abcdef").await.expect(204);
    tus.assert_content(&path, b"0123456789abcdef").await;
    assert_made(&tus.begin(KEY, 16, b"0123456789abcdef").await, 16);
    app.stop().await;
}

#[tokio::test]
async fn whoever_left_before_the_answer_finds_every_byte() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    drop(tus.begin_unheard(KEY, 10, b"0123456789", "").await);
    // Whichever of the two was first, there is one.
    let made = tus.begin(KEY, 10, b"0123456789").await.expect(201);
    let path = tus.path(&made);
    until("the last byte", async || {
        (tus.head(&path).await.expect(200).header("upload-offset") == Some("10")).then_some(())
    })
    .await;
    tus.assert_content(&path, b"0123456789").await;
    assert_eq!((tus.uploads("").await.len(), app.stored().len()), (1, 1));
    app.stop().await;
}

#[tokio::test]
async fn what_a_broken_creation_brought_is_kept_for_its_key() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    drop(tus.begin_unheard(KEY, 10, b"0123", "").await);
    let there = async || tus.uploads("receiving").await.pop();
    until("what arrived", there).await;
    let again = tus.begin(KEY, 10, b"0123456789").await;
    assert_made(&again, 4);
    let app = app.restart(|_| {}).await;
    let tus = self::tus(&app).await;
    let last = tus.begin(KEY, 10, b"").await;
    assert_made(&last, 4);
    let path = tus.path(&last);
    assert!(again.header("location").is_some_and(|location| location.ends_with(&path)));
    tus.patch(&path, 4, b"456789").await.expect(204);
    tus.assert_content(&path, b"0123456789").await;
    let app = app.restart(|_| {}).await;
    assert_made(&self::tus(&app).await.begin(KEY, 10, b"").await, 10);
    app.stop().await;
}

#[tokio::test]
async fn a_creation_under_way_is_told_exactly_and_taken_over() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let stalled = tus.begin_unheard(KEY, 10, b"0123", "").await;
    until("the first request", async || (app.running().uploads().in_work() == 1).then_some(())).await;
    let path = until("the bytes that were sent", async || {
        let again = tus.begin(KEY, 10, b"0123456789").await.expect(201);
        (again.header("upload-offset") == Some("4")).then(|| tus.path(&again))
    })
    .await;
    tus.patch(&path, 4, b"456789").await.expect(204);
    tus.assert_content(&path, b"0123456789").await;
    assert_eq!(tus.uploads("").await.len(), 1);
    drop(stalled);
    app.stop().await;
}

#[tokio::test]
async fn a_creation_that_counts_as_a_whole_gives_way_when_nothing_comes() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let checksum = sha1(b"0123456789");
    let stalled = tus.begin_unheard(KEY, 10, b"0123", &format!("Upload-Checksum: {checksum}\r\n")).await;
    until("the first request", async || (app.running().uploads().in_work() == 1).then_some(())).await;
    let again = tus.begin_with(KEY, 10, b"0123456789", &[("Upload-Checksum", &checksum)]).await;
    assert_made(&again, 10);
    assert_eq!((tus.uploads("").await.len(), app.stored().len()), (1, 1));
    drop(stalled);
    app.stop().await;
}

#[tokio::test]
async fn of_equal_creations_at_one_moment_one_makes_the_upload() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let checksum = sha1(b"0123456789");
    let whole = [("Upload-Checksum", &*checksum)];
    for (key, more) in [("received", &[][..]), ("whole", &whole[..])] {
        let answers = join_all((0..8).map(|_| tus.begin_with(key, 10, b"0123456789", more))).await;
        let mut paths: Vec<_> = answers.into_iter().map(|answer| tus.path(&answer.expect(201))).collect();
        paths.dedup();
        assert_eq!(paths.len(), 1, "{paths:?}");
        tus.assert_content(&paths[0], b"0123456789").await;
    }
    assert_eq!((tus.uploads("").await.len(), app.stored().len()), (2, 2));
    app.stop().await;
}

#[tokio::test]
async fn of_two_nodes_one_makes_the_upload() {
    let app = TestApp::start().await;
    let (second, there) = second_node(&app, |_| {}).await;
    let [here, there] = [tus(&app).await, Tus(there)];
    for round in 0..4 {
        let key = format!("key-{round}");
        let both = join_all((0..8).map(|number| if number % 2 == 0 { &here } else { &there }).map(async |tus| {
            let answer = tus.begin(&key, 20, b"0123456789").await;
            assert_made(&answer, 10);
            tus.path(&answer)
        }));
        let mut paths = both.await;
        paths.dedup();
        assert_eq!(paths.len(), 1, "{paths:?}");
    }
    assert_eq!(here.uploads("").await.len(), 4);
    let beside = std::fs::read_dir(app.files().with_file_name("files-of-the-second")).is_ok();
    assert!(beside && app.stored().len() <= 4, "the losers left nothing");
    second.stop(std::future::pending()).await;
    app.stop().await;
}

#[tokio::test]
async fn a_key_is_its_owners() {
    let app = TestApp::start().await;
    let [alice, bob] = [tus(&app).await, Tus(app.user("bob"))];
    let path = alice.path(&alice.begin(KEY, 10, b"01234").await.expect(201));
    let other = bob.begin(KEY, 10, b"").await;
    assert_made(&other, 0);
    assert_ne!(bob.path(&other), path);
    bob.head(&path).await.expect(404);
    assert_eq!(alice.path(&alice.begin(KEY, 10, b"").await), path);
    app.stop().await;
}

#[tokio::test]
async fn nobody_in_particular_has_no_keys() {
    let app = TestApp::with(|config| config.auth.anonymous = true).await;
    let [one, other] = [Tus(app.anonymous()), Tus(app.anonymous())];
    let path = one.path(&one.begin(KEY, 10, b"01234").await.expect(201));
    let made = other.begin(KEY, 10, b"").await;
    assert_made(&made, 0);
    assert_ne!(other.path(&made), path);
    assert_ne!(tus(&app).await.begin(KEY, 10, b"").await.header("location"), made.header("location"));
    one.begin("a b", 10, b"").await.expect(400);
    app.stop().await;
}

#[tokio::test]
async fn a_key_stands_for_one_description() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let named = [("Upload-Metadata", "filename YQ==")];
    let path = tus.path(&tus.begin_with(KEY, 10, b"01234", &named).await.expect(201));
    assert_reused(tus.begin_with(KEY, 11, b"", &named).await);
    assert_reused(tus.begin(KEY, 10, b"").await);
    assert_reused(tus.begin_with(KEY, 10, b"", &[("Upload-Metadata", "filename Yg==")]).await);
    assert_reused(tus.begin_with(KEY, 10, b"", &[named[0], ("Upload-Concat", "partial")]).await);
    assert_reused(tus.begin_with(KEY, 10, b"", &[named[0], ("Want-Repr-Digest", "md5=1")]).await);
    let deferred = [("Idempotency-Key", KEY), ("Upload-Defer-Length", "1"), named[0]];
    assert_reused(tus.send("POST", "/files/", &deferred, b"").await);
    assert_eq!(tus.path(&tus.begin_with(KEY, 10, b"", &named).await.expect(201)), path);
    // A length that is told later is not said at the beginning.
    let open = [("Idempotency-Key", "open"), ("Upload-Defer-Length", "1")];
    let path = tus.create(&open).await;
    let told = [("Upload-Offset", "0"), ("Upload-Length", "5"), ("Content-Type", CHUNK)];
    tus.send("PATCH", &path, &told, b"012").await.expect(204);
    assert_made(&tus.send("POST", "/files/", &open, b"").await, 3);
    assert_eq!(tus.uploads("").await.len(), 2);
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_makes_nothing() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let long = "x".repeat(256);
    for key in ["", "\"\"", "a b", "\"a", "a, b", &long] {
        let refused = tus.begin(key, 10, b"01234").await.expect(400);
        assert!(refused.text.contains("Idempotency-Key"), "{key}: {}", refused.text);
    }
    tus.begin_with("a", 10, b"", &[("Idempotency-Key", "a")]).await.expect(400);
    assert_made(&tus.begin(&long[1..], 10, b"").await, 0);
    assert_eq!(tus.uploads("").await.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn what_is_over_leaves_its_key() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let first = tus.path(&tus.begin(KEY, 10, b"01234").await.expect(201));
    tus.send("DELETE", &first, &[], b"").await.expect(204);
    // Another description, too.
    let second = tus.path(&tus.begin(KEY, 11, b"").await.expect(201));
    assert_ne!(first, second);
    app.clock.advance(Duration::from_secs(16 * 60));
    let third = tus.begin(KEY, 11, b"0123").await;
    assert_made(&third, 4);
    assert_ne!(tus.path(&third), second);
    for over in [first, second] {
        tus.head(&over).await.expect(410);
    }
    assert_made(&tus.begin(KEY, 11, b"").await, 4);
    app.stop().await;
}

#[tokio::test]
async fn a_beginning_that_was_refused_leaves_its_key() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let wrong = sha1(b"another");
    tus.begin_with(KEY, 10, b"0123456789", &[("Upload-Checksum", &wrong)]).await.expect(460);
    tus.begin(KEY, 4, b"0123456789").await.expect(413);
    assert_eq!((tus.uploads("receiving").await, app.stored()), (vec![], vec![]));
    assert_made(&tus.begin(KEY, 10, b"0123456789").await, 10);
    app.stop().await;
}

#[tokio::test]
async fn asking_again_takes_no_place_and_no_pace() {
    let (_identity, app, tus) =
        limited(json!({"max_concurrent_uploads": 1, "requests_per_minute": 1, "max_total_bytes": 10})).await;
    let path = tus.path(&tus.begin(KEY, 10, b"01234").await.expect(201));
    for _ in 0..3 {
        assert_eq!(tus.path(&tus.begin(KEY, 10, b"01234").await.expect(201)), path);
    }
    tus.begin("another", 10, b"").await.expect(429);
    app.stop().await;
}

#[tokio::test]
async fn a_signature_for_one_upload_hears_of_that_one_alone() {
    let app = TestApp::with(|config| config.auth.signature.v1_reuse = Reuse::Upload).await;
    let first = Tus(app.user("alice").signing_once());
    let path = first.path(&first.begin(KEY, 10, b"01234").await.expect(201));
    let again = first.begin(KEY, 10, b"").await;
    assert_made(&again, 5);
    assert_eq!(first.path(&again), path);
    first.begin("another", 10, b"").await.expect(403);
    app.clock.advance(Duration::from_secs(2));
    let fresh = Tus(app.user("alice").signing_once());
    let refused = fresh.begin(KEY, 10, b"").await.expect(403);
    assert!(refused.header("location").is_none() && !refused.text.contains(&path));
    fresh.begin("another", 10, b"").await.expect(201);
    app.stop().await;
}

#[tokio::test]
async fn parts_have_keys_and_what_is_joined_needs_none() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let partial = [("Upload-Concat", "partial")];
    let part = tus.path(&tus.begin_with(KEY, 4, b"01", &partial).await.expect(201));
    let again = tus.begin_with(KEY, 4, b"01", &partial).await;
    assert_made(&again, 2);
    assert_eq!(tus.path(&again), part);
    tus.patch(&part, 2, b"23").await.expect(204);
    let list = format!("final;{part}");
    let whole = [("Upload-Concat", &*list), ("Idempotency-Key", KEY)];
    let path = tus.path(&tus.send("POST", "/files/", &whole, b"").await.expect(201));
    assert_ne!(path, part);
    assert_eq!(tus.create(&whole).await, path);
    tus.assert_content(&path, b"0123").await;
    app.stop().await;
}
