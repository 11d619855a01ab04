//! Digests of the whole content that a tus client names where it begins: told, and held against what arrived.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chunkgate::domain::content_digest;

use crate::{
    support::{TestApp, md5, noise},
    tus::{CHUNK, Tus},
};

/// The value of `checksum` in `Upload-Metadata`.
fn checksum(text: &str) -> String {
    format!("checksum {}", BASE64.encode(text))
}

#[tokio::test]
async fn a_client_that_wants_to_know_is_told_the_digest_once_complete() {
    let app = TestApp::start().await;
    let tus = Tus(app.user("alice"));
    let content = noise(1, 1000);
    let path = tus.create(&[("Upload-Length", "1000"), ("Want-Repr-Digest", "sha-256=3, unixsum=10")]).await;
    let first = tus.patch(&path, 0, &content[..600]).await.expect(204);
    assert_eq!(first.header("repr-digest"), None);
    let last = tus.patch(&path, 600, &content[600..]).await.expect(204);
    let digest = content_digest::of(&content);
    assert_eq!(last.header("repr-digest"), Some(&*digest));
    assert_eq!(tus.head(&path).await.expect(200).header("repr-digest"), Some(&*digest));
    assert_eq!(tus.0.get(&path).await.expect(200).header("repr-digest"), Some(&*digest));
    let native = tus.0.get(&path.replace("/files/", "/api/v1/uploads/")).await.expect(200).json();
    assert_eq!(native["digest"]["algorithm"], "sha256");
    app.stop().await;
}

#[tokio::test]
async fn content_of_the_announced_digest_is_complete_and_any_other_is_refused_for_good() {
    let app = TestApp::start().await;
    let tus = Tus(app.user("alice"));
    let content = noise(2, 1000);
    let (digest, other) = (content_digest::of(&content), content_digest::of(b"other"));
    let named = checksum("md5 ffffffffffffffffffffffffffffffff");
    let right = [("Upload-Length", "1000"), ("Repr-Digest", &*digest)];
    let wrong: [&[(&str, &str)]; 2] = [
        &[("Upload-Length", "1000"), ("Repr-Digest", &other), ("Want-Repr-Digest", "md5=10")],
        &[("Upload-Length", "1000"), ("Upload-Metadata", &named)],
    ];
    let path = tus.create(&right).await;
    tus.patch(&path, 0, &content[..1]).await.expect(204);
    let last = tus.patch(&path, 1, &content[1..]).await.expect(204);
    assert_eq!(last.header("repr-digest"), Some(&*digest));
    tus.send("POST", "/files/", &[&right[..], &[("Content-Type", CHUNK)]].concat(), &content).await.expect(201);

    for headers in wrong {
        let path = tus.create(headers).await;
        tus.patch(&path, 0, &content[..999]).await.expect(204);
        let refused = tus.patch(&path, 999, &content[999..]).await.expect(460);
        assert_eq!(refused.json()["code"], "wrong_digest");
        // Whoever lost that answer must not take an upload that has every byte for one that is complete.
        assert_eq!(tus.head(&path).await.expect(410).header("upload-offset"), None);
        tus.send("POST", "/files/", &[headers, &[("Content-Type", CHUNK)]].concat(), &content).await.expect(460);
    }
    assert_eq!(app.stored().len(), 2, "of what was refused nothing is left");
    app.stop().await;
}

#[tokio::test]
async fn what_was_announced_is_held_against_content_that_another_door_completes() {
    let app = TestApp::start().await;
    let tus = Tus(app.user("alice"));
    let other = content_digest::of(b"other");
    let path = tus.create(&[("Upload-Length", "10"), ("Repr-Digest", &other)]).await;
    let id = path.trim_start_matches("/files/").to_owned();
    tus.0.chunk(Some(&id), Some((0, 9, 10)), b"0123456789").await.expect(400);
    tus.head(&path).await.expect(410);
    app.stop().await;
}

#[tokio::test]
async fn what_is_joined_from_parts_is_held_against_it_as_a_whole() {
    let app = TestApp::start().await;
    let tus = Tus(app.user("alice"));
    let content = noise(3, 1000);
    let (right, wrong) = (content_digest::of(&content), content_digest::of(b"other"));
    for (digest, status) in [(&right, 201), (&wrong, 460)] {
        let mut parts = Vec::new();
        for half in content.chunks(500) {
            // A client that has one set of headers for all its requests sends them with each part.
            let path =
                tus.create(&[("Upload-Length", "500"), ("Upload-Concat", "partial"), ("Repr-Digest", digest)]).await;
            tus.patch(&path, 0, half).await.expect(204);
            parts.push(path);
        }
        let list = format!("final;{}", parts.join(" "));
        let made = tus.send("POST", "/files/", &[("Upload-Concat", &list), ("Repr-Digest", digest)], b"").await;
        let made = made.expect(status);
        if status == 201 {
            assert_eq!(made.header("repr-digest"), Some(&*right));
        }
    }
    let complete = tus.0.get("/api/v1/uploads?state=complete").await.expect(200).json();
    assert_eq!(complete["uploads"].as_array().expect("a list").len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn what_is_announced_before_the_parts_are_there_is_held_against_them() {
    let app = TestApp::start().await;
    let tus = Tus(app.user("alice"));
    for (content, status) in [(b"0123", 200), (b"0124", 410)] {
        let part = tus.create(&[("Upload-Length", "4"), ("Upload-Concat", "partial")]).await;
        let named = checksum(&format!("md5 {}", md5(b"0123")));
        let path = tus.create(&[("Upload-Concat", &format!("final;{part}")), ("Upload-Metadata", &named)]).await;
        tus.patch(&part, 0, content).await.expect(204);
        tus.head(&path).await.expect(status);
    }
    app.stop().await;
}

#[tokio::test]
async fn an_announcement_outlives_the_process() {
    let app = TestApp::start().await;
    let other = content_digest::of(b"other");
    let path = Tus(app.user("alice")).create(&[("Upload-Length", "10"), ("Repr-Digest", &other)]).await;
    Tus(app.user("alice")).patch(&path, 0, b"01234").await.expect(204);
    let app = app.restart(|_| ()).await;
    Tus(app.user("alice")).patch(&path, 5, b"56789").await.expect(460);
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_digest_is_refused_before_anything_begins() {
    let app = TestApp::start().await;
    let tus = Tus(app.user("alice"));
    for (name, value) in [
        ("Repr-Digest", "sha-256=abc"),
        ("Want-Repr-Digest", "sha-256=eleven"),
        ("Upload-Metadata", &*checksum("sha256 abc")),
    ] {
        let refused = tus.send("POST", "/files/", &[("Upload-Length", "1"), (name, value)], b"").await.expect(400);
        assert!(refused.json()["detail"].as_str().expect("a text").contains(name), "{}", refused.json());
    }
    // The words of others are theirs.
    tus.create(&[("Upload-Length", "1"), ("Upload-Metadata", &checksum("adler32 0a0b0c0d"))]).await;
    app.stop().await;
}
