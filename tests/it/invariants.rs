//! The two invariants, over HTTP: an acknowledged byte is never lost, and nobody acts on an upload that is not theirs.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use crate::support::{Answer, Caller, TestApp, form, md5, noise, until};

/// A chunk request that is sent up to and including `sent` bytes of its content, over a connection of its own.
fn begin_chunk(caller: &Caller, upload: Option<&str>, range: (u64, u64, u64), bytes: &[u8], sent: usize) -> TcpStream {
    let mut parts: Vec<form::Part> = upload.map(|id| form::Part::field("upload_id", id)).into_iter().collect();
    parts.push(form::Part::file("file", "test.bin", None, bytes.to_vec()));
    let (content_type, body) = form::multipart(&parts);
    let mut head = format!(
        "POST /chunked_upload/ HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\nContent-Type: {}\r\n\
         Content-Range: bytes {}-{}/{}\r\n",
        body.len(),
        content_type.expect("multipart"),
        range.0,
        range.1,
        range.2
    );
    for (name, value) in caller.proof() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let closing = body.len() - bytes.len();
    let mut stream = TcpStream::connect(caller.base.trim_start_matches("http://")).expect("connects");
    stream.write_all(head.as_bytes()).expect("sends the head");
    stream.write_all(&body[..closing.min(200) + sent]).expect("sends a part of the body");
    stream
}

fn status_line(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("set");
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer) {
        text.extend_from_slice(&buffer[..read]);
        if read == 0 || text.windows(4).any(|four| four == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

async fn offset(caller: &Caller, upload: &str) -> u64 {
    caller.get(&format!("/api/v1/uploads/{upload}")).await.expect(200).json()["offset"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_equal_chunks_one_wins_and_the_file_is_right() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let bytes = noise(1, 200_000);
    let first = alice.chunk(None, Some((0, 99_999, 200_000)), &bytes[..100_000]).await.expect(200);
    let id = first.id();
    let rivals: Vec<_> = (0..64)
        .map(|_| {
            let (alice, id, bytes) = (alice.clone(), id.clone(), bytes.clone());
            tokio::spawn(
                async move { alice.chunk(Some(&id), Some((100_000, 199_999, 200_000)), &bytes[100_000..]).await },
            )
        })
        .collect();
    let mut won = 0;
    for rival in rivals {
        let answer = rival.await.expect("no panic");
        match answer.status {
            200 => won += 1,
            _ => assert_eq!(answer.expect(400).json(), json!({"detail": "Offsets do not match", "offset": 200_000})),
        }
    }
    assert_eq!(won, 1);
    alice.complete(&id, &md5(&bytes)).await.expect(200);
    let content = alice.get(&format!("/api/v1/uploads/{id}/content")).await.expect(200);
    assert!(content.bytes == bytes);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_equal_first_chunks_each_begins_an_upload_of_its_own() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let rivals: Vec<_> = (0..64)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.chunk(None, Some((0, 9, 20)), b"0123456789").await.expect(200).id() })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for rival in rivals {
        ids.insert(rival.await.expect("no panic"));
    }
    assert_eq!((ids.len(), app.stored().len()), (64, 64));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_in_the_middle_of_a_chunk_leaves_nothing_and_a_late_chunk_does_not_resurrect_it() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let bytes = noise(2, 3_000_000);
    let id = alice.chunk(None, Some((0, 999_999, 3_000_000)), &bytes[..1_000_000]).await.expect(200).id();
    let half = begin_chunk(&alice, Some(&id), (1_000_000, 2_999_999, 3_000_000), &bytes[1_000_000..], 1_000_000);
    until("the chunk is under way", async || (app.running().uploads().in_work() == 1).then_some(())).await;

    alice.cancel(&id).await.expect(204);
    assert_eq!(app.stored(), []);
    assert!(status_line(half).contains("503"), "the chunk's client is told that it did not count");
    alice.chunk(Some(&id), Some((1_000_000, 1_000_009, 3_000_000)), b"0123456789").await.expect(410);
    alice.get(&format!("/api/v1/uploads/{id}")).await.expect(410);
    alice.cancel(&id).await.expect(410);
    alice.complete(&id, &md5(&bytes)).await.expect(410);
    assert_eq!(app.stored(), [], "nothing came back");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_reaches_through_a_queue_of_stalled_chunks() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let bytes = noise(6, 2_000_000);
    let id = alice.chunk(None, Some((0, 999_999, 2_000_000)), &bytes[..1_000_000]).await.expect(200).id();
    let stalled: Vec<_> = (0..4)
        .map(|_| begin_chunk(&alice, Some(&id), (1_000_000, 1_999_999, 2_000_000), &bytes[1_000_000..], 500_000))
        .collect();
    until("a chunk is under way", async || (app.running().uploads().in_work() == 1).then_some(())).await;
    let began = std::time::Instant::now();
    alice.cancel(&id).await.expect(204);
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    drop(stalled);
    until("all are let go", async || (app.running().uploads().in_work() == 0).then_some(())).await;
    assert_eq!(app.stored(), []);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refused_chunk_wrote_is_given_back() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let bytes = noise(7, 3_000_000);
    let id = alice.chunk(None, Some((0, 9, 3_000_000)), &bytes[..10]).await.expect(200).id();
    alice.chunk(Some(&id), Some((10, 2_999_999, 3_000_000)), &bytes[10..2_000_000]).await.expect(400);
    assert_eq!(app.stored().pop().expect("one file").1, 10);
    app.stop().await;
}

#[tokio::test]
async fn a_complete_upload_can_be_cancelled_too() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = alice.chunk(None, None, b"content").await.expect(200).id();
    alice.complete(&id, &md5(b"content")).await.expect(200);
    assert_eq!(app.stored().len(), 1);
    alice.cancel(&id).await.expect(204);
    assert_eq!(app.stored(), []);
    alice.get(&format!("/api/v1/uploads/{id}/content")).await.expect(410);
    app.stop().await;
}

#[tokio::test]
async fn of_two_users_neither_reaches_the_others_upload() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let id = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let path = format!("/api/v1/uploads/{id}");
    bob.get(&path).await.expect(404);
    bob.get(&format!("{path}/content")).await.expect(404);
    bob.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(404);
    bob.complete(&id, &md5(b"01234")).await.expect(404);
    bob.cancel(&id).await.expect(404);
    assert_eq!(bob.get("/api/v1/uploads").await.expect(200).json()["uploads"], json!([]));

    alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200);
    alice.complete(&id, &md5(b"0123456789")).await.expect(200);
    bob.get(&format!("{path}/content")).await.expect(404);
    assert_eq!(alice.get(&format!("{path}/content")).await.expect(200).text, "0123456789");
    app.stop().await;
}

#[tokio::test]
async fn a_rejected_first_chunk_leaves_nothing() {
    let app = TestApp::with(|config| config.uploads.max_bytes = Some(bytesize::ByteSize::b(1000))).await;
    let alice = app.user("alice");
    let rejected: [(u16, Answer); 5] = [
        (400, alice.chunk(None, Some((5, 9, 10)), b"56789").await),
        (400, alice.chunk(None, Some((0, 9, 10)), b"01234").await),
        (400, alice.chunk(None, Some((0, 4, 10)), b"0123456789").await),
        (400, alice.chunk(None, Some((0, 9, 2000)), b"0123456789").await),
        (400, alice.chunk(None, None, &noise(1, 1001)).await),
    ];
    for (status, answer) in rejected {
        answer.expect(status);
    }
    assert_eq!(app.stored(), []);
    assert_eq!(alice.get("/api/v1/uploads").await.expect(200).json()["uploads"], json!([]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_of_a_chunk_leaves_the_offset() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let bytes = noise(3, 2_000_000);
    let id = alice.chunk(None, Some((0, 499_999, 2_000_000)), &bytes[..500_000]).await.expect(200).id();
    let half = begin_chunk(&alice, Some(&id), (500_000, 1_999_999, 2_000_000), &bytes[500_000..], 1_000_000);
    until("the chunk is under way", async || (app.running().uploads().in_work() == 1).then_some(())).await;
    drop(half);
    until("the upload is let go", async || (app.running().uploads().in_work() == 0).then_some(())).await;
    assert_eq!(offset(&alice, &id).await, 500_000);
    alice.chunk(Some(&id), Some((500_000, 1_999_999, 2_000_000)), &bytes[500_000..]).await.expect(200);
    alice.complete(&id, &md5(&bytes)).await.expect(200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_chunk_that_breaks_off_leaves_nothing() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let bytes = noise(4, 2_000_000);
    let half = begin_chunk(&alice, None, (0, 1_999_999, 2_000_000), &bytes, 1_000_000);
    until("the chunk is under way", async || (app.running().uploads().in_work() == 1).then_some(())).await;
    drop(half);
    until("nothing is left", async || app.stored().is_empty().then_some(())).await;
    assert_eq!(alice.get("/api/v1/uploads").await.expect(200).json()["uploads"], json!([]));
    app.stop().await;
}

#[tokio::test]
async fn what_a_crash_left_behind_the_offset_is_cut() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let (path, _) = app.stored().pop().expect("one file");
    std::fs::OpenOptions::new().append(true).open(path).expect("opens").write_all(&noise(5, 5000)).expect("written");
    alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200);
    alice.complete(&id, &md5(b"0123456789")).await.expect(200);
    assert_eq!(app.stored().pop().expect("one file").1, 10);
    app.stop().await;
}

#[tokio::test]
async fn an_unreadable_digest_state_is_computed_from_the_bytes() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    app.spoil_digest_state(&id).await;
    alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200);
    app.spoil_digest_state(&id).await;
    alice.complete(&id, &md5(b"01234-6789")).await.expect(400);
    alice.complete(&id, &md5(b"0123456789")).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_offset_digest_and_owner() {
    let app = TestApp::start().await;
    let id = app.user("alice").chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let app = app.restart(|_| {}).await;
    let alice = app.user("alice");
    assert_eq!(offset(&alice, &id).await, 5);
    app.user("bob").chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(404);
    alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200);
    alice.complete(&id, &md5(b"0123456789")).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn completing_twice_has_effect_once() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = alice.chunk(None, None, b"content").await.expect(200).id();
    let path = format!("/api/v1/uploads/{id}");
    alice.complete(&id, &md5(b"content").to_uppercase()).await.expect(200);
    let before = alice.get(&path).await.json();
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(alice.complete(&id, &md5(b"content")).await.expect(200).text, "{}");
    alice.complete(&id, &md5(b"other")).await.expect(400);
    assert_eq!(alice.get(&path).await.json(), before);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reaper_collects_what_expired_and_forgets_it_in_time() {
    let app = TestApp::with(|config| {
        config.uploads.expires_after = Duration::from_secs(100);
        config.uploads.tombstones = Duration::from_secs(200);
        config.uploads.retain_completed = Some(Duration::from_secs(1000));
    })
    .await;
    let alice = app.user("alice");
    let growing = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let complete = alice.chunk(None, None, b"content").await.expect(200).id();
    alice.complete(&complete, &md5(b"content")).await.expect(200);

    app.clock.advance(Duration::from_secs(100));
    app.running().workers().nudge();
    until("the growing file is gone", async || (app.stored().len() == 1).then_some(())).await;
    alice.get(&format!("/api/v1/uploads/{growing}")).await.expect(410);
    alice.get(&format!("/api/v1/uploads/{complete}/content")).await.expect(200);

    app.clock.advance(Duration::from_secs(950));
    app.running().workers().nudge();
    until("the complete file is gone", async || app.stored().is_empty().then_some(())).await;
    alice.get(&format!("/api/v1/uploads/{complete}")).await.expect(410);
    until("the older tombstone is gone", async || {
        app.running().workers().nudge();
        (alice.get(&format!("/api/v1/uploads/{growing}")).await.status == 404).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_no_upload_knows_are_collected_at_the_start() {
    let app = TestApp::start().await;
    let id = app.user("alice").chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let (known, _) = app.stored().pop().expect("one file");
    let orphan = known.with_file_name("6b1f2f0e-6f5c-4d3c-9c53-0d6a3a2f9d11.part");
    let stranger = known.with_file_name("notes.txt");
    std::fs::write(&orphan, b"left by a crash").expect("written");
    std::fs::write(&stranger, b"not ours").expect("written");
    let app = app.restart(|_| {}).await;
    until("the orphan is gone", async || (!orphan.exists()).then_some(())).await;
    assert!(known.exists() && stranger.exists());
    assert_eq!(offset(&app.user("alice"), &id).await, 5);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_removed_holds_up_nothing_else() {
    let app = TestApp::with(|config| {
        config.uploads.expires_after = Duration::from_secs(100);
        config.uploads.tombstones = Duration::ZERO;
    })
    .await;
    let alice = app.user("alice");
    let stuck = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let (file, _) = app.stored().pop().expect("one file");
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("something that is no file");
    let other = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    app.clock.advance(Duration::from_secs(101));
    until("the other one is forgotten", async || {
        app.running().workers().nudge();
        app.clock.advance(Duration::from_secs(1));
        (alice.get(&format!("/api/v1/uploads/{other}")).await.status == 404).then_some(())
    })
    .await;
    alice.get(&format!("/api/v1/uploads/{stuck}")).await.expect(410);
    until("it is told", async || {
        app.running().workers().nudge();
        let failure = app.running().workers().report()["reaper"].last_error.clone();
        failure.filter(|(_, failure)| failure.contains("removing"))
    })
    .await;
    std::fs::remove_dir(&file).expect("mended");
    app.stop().await;
}

#[tokio::test]
async fn a_crash_between_moving_the_file_and_recording_it_is_survived() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = alice.chunk(None, Some((0, 4, 5)), b"01234").await.expect(200).id();
    let other = alice.chunk(None, Some((0, 4, 5)), b"01234").await.expect(200).id();
    alice.complete(&other, &md5(b"01234")).await.expect(200);
    let stored = app.stored();
    let partial = &stored.iter().find(|(path, _)| path.extension().is_some()).expect("growing").0;
    let complete = &stored.iter().find(|(path, _)| path.extension().is_none()).expect("complete").0;
    let dashed = partial.file_stem().expect("a name");
    std::fs::rename(partial, complete.with_file_name(dashed)).expect("as the first half of a completion");

    alice.chunk(Some(&id), Some((5, 4, 5)), b"").await.expect(200);
    alice.complete(&id, &md5(b"01234")).await.expect(200);
    assert_eq!(alice.get(&format!("/api/v1/uploads/{id}/content")).await.expect(200).text, "01234");
    app.stop().await;
}

#[tokio::test]
async fn names_from_clients_are_for_display_only() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let long = format!("{}.bin", "x".repeat(7000));
    for (sent, shown) in [
        ("../../etc/passwd", "passwd".to_owned()),
        ("C:%5Cx\\..\\evil.exe", "evil.exe".to_owned()),
        ("tab\there.txt", "tabhere.txt".to_owned()),
        (long.as_str(), format!("{}.bin", "x".repeat(251))),
    ] {
        let (content_type, body) = form::multipart(&[form::Part::file("file", sent, None, b"x".to_vec())]);
        let headers = [("Content-Type".to_owned(), content_type.expect("multipart"))];
        let id = alice.send("POST", "/chunked_upload/", &headers, body).await.expect(200).id();
        let status = alice.get(&format!("/api/v1/uploads/{id}")).await.expect(200).json();
        assert_eq!(status["filename"], shown, "{sent}");
        let stored = app.stored();
        assert!(stored.iter().all(|(path, _)| path.starts_with(app.files().join("partial"))), "{stored:?}");
        alice.cancel(&id).await.expect(204);
    }
    app.stop().await;
}
