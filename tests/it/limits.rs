//! What the identity server allows a user, as clients meet it: at every door, with a token too, and to the end.

use std::time::Duration;

use bytesize::ByteSize;
use chunkgate::{config::Config, uploads::ExpiresFrom};
use serde_json::{Value, json};

use crate::{
    support::{
        Answer, Caller, TestApp,
        identity::{Mode, Scripted},
        md5,
    },
    tus::Tus,
};

const RAW: &str = "/chunked_uploads/upload/";

/// A service whose identity server sets these limits.
async fn limited(limits: Value) -> (Scripted, TestApp) {
    limited_with(limits, |_| {}).await
}

async fn limited_with(limits: Value, change: impl FnOnce(&mut Config)) -> (Scripted, TestApp) {
    let identity = Scripted::start(&[allows(limits)]).await;
    let url = identity.url();
    let app = TestApp::with(|config| {
        config.identity.url = url;
        change(config);
    })
    .await;
    (identity, app)
}

fn allows(limits: Value) -> Mode {
    Mode::OkBut(json!({"limits": limits}))
}

async fn raw(caller: &Caller, name: &str, kind: &str, (from, to, total): (u64, u64, u64), bytes: &[u8]) -> Answer {
    let headers = [
        ("Content-Disposition", format!("attachment; filename=\"{name}\"")),
        ("Content-Range", format!("bytes {from}-{to}/{total}")),
        ("Content-Type", kind.to_owned()),
    ];
    caller.send("POST", RAW, &headers.map(|(name, value)| (name.to_owned(), value)), bytes.to_vec()).await
}

fn bearer(app: &TestApp, first: &Answer) -> Caller {
    app.bearer(first.header("upload-token").expect("a token"))
}

#[tokio::test]
async fn the_uploads_of_a_user_share_what_is_allowed_together() {
    let (_identity, app) = limited(json!({"max_total_bytes": 20})).await;
    let ann = app.user("ann");
    let first = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200).id();
    let refused = ann.chunk(None, Some((0, 4, 6)), b"01234").await.expect(413);
    assert_eq!(refused.json()["detail"], "5 bytes are left to the user");
    raw(&ann, "b.bin", "video/mp4", (0, 4, 6), b"01234").await.expect(413);
    ann.chunk(None, None, b"whole!").await.expect(413);
    ann.chunk(None, None, b"whole").await.expect(200);
    ann.chunk(Some(&first), Some((5, 14, 15)), b"56789abcde").await.expect(200);
    ann.complete(&first, &md5(b"0123456789abcde")).await.expect(200);
    ann.chunk(None, None, b"x").await.expect(413);
    ann.cancel(&first).await.expect(204);
    ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn what_is_left_is_used_up_by_what_begins_after_the_answer() {
    let (identity, app) = limited(json!({"remaining_bytes": 10})).await;
    let ann = app.user("ann").signing_once();
    ann.chunk(None, None, b"0123456").await.expect(200);
    ann.chunk(None, None, b"0123").await.expect(413);
    ann.chunk(None, None, b"012").await.expect(200);
    // The identity server has counted them, and grants more.
    app.clock.advance(Duration::from_secs(120));
    identity.set(allows(json!({"remaining_bytes": 4})));
    app.user("ann").chunk(None, None, b"0123").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn what_is_left_bounds_uploads_of_unknown_length_together() {
    let (_identity, app) = limited(json!({"remaining_bytes": 10})).await;
    let ann = app.user("ann").signing_once();
    let fields = |more: &[(&str, &str)]| -> Vec<(String, String)> {
        let all = [&[("Tus-Resumable", "1.0.0")], more].concat();
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let mut paths = Vec::new();
    for _ in 0..2 {
        let made = ann.send("POST", "/files/", &fields(&[("Upload-Defer-Length", "1")]), vec![]).await.expect(201);
        paths.push(made.header("location").expect("a location").trim_start_matches(&app.base).to_owned());
    }
    let patch = async |path: &str, at: &str, bytes: &[u8]| {
        let chunk = fields(&[("Upload-Offset", at), ("Content-Type", "application/offset+octet-stream")]);
        ann.send("PATCH", path, &chunk, bytes.to_vec()).await
    };
    patch(&paths[0], "0", b"0123456").await.expect(204);
    patch(&paths[1], "0", b"0123").await.expect(413);
    patch(&paths[1], "0", b"012").await.expect(204);
    patch(&paths[0], "7", b"7").await.expect(413);
    app.stop().await;
}

#[tokio::test]
async fn as_many_uploads_grow_as_may() {
    let (_identity, app) = limited(json!({"max_concurrent_uploads": 1})).await;
    let ann = app.user("ann");
    let first = ann.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let refused = ann.chunk(None, Some((0, 4, 10)), b"01234").await.expect(429);
    assert_eq!(refused.header("retry-after"), Some("10"));
    raw(&ann, "b.bin", "video/mp4", (0, 4, 6), b"01234").await.expect(429);
    ann.chunk(Some(&first), Some((5, 9, 10)), b"56789").await.expect(200);
    ann.complete(&first, &md5(b"0123456789")).await.expect(200);
    let second = ann.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    ann.cancel(&second).await.expect(204);
    ann.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
    app.clock.advance(Duration::from_secs(25 * 60 * 60));
    ann.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_lost_takes_no_place_for_long() {
    for limits in [json!({"max_concurrent_uploads": 1}), json!({"max_total_bytes": 10})] {
        let (_identity, app) = limited(limits).await;
        let ann = Tus(app.user("ann"));
        let six = [("Upload-Length", "6")];
        ann.create(&six).await;
        let refused = ann.send("POST", "/files/", &six, b"").await;
        assert!([413, 429].contains(&refused.status));
        app.clock.advance(Duration::from_secs(15 * 60));
        let path = ann.create(&six).await;
        ann.patch(&path, 0, b"012345").await.expect(204);
        app.stop().await;
    }
}

#[tokio::test]
async fn limits_are_told_before_anybody_meets_them() {
    let limits = json!({"max_chunk_bytes": 5, "max_file_bytes": 20});
    let (_identity, app) = limited_with(limits, |config| config.uploads.max_bytes = Some(ByteSize::b(100))).await;
    let ann = Tus(app.user("ann"));
    assert_eq!(ann.send("OPTIONS", "/files/", &[], b"").await.header("upload-limit"), Some("max-size=100"));
    let made = ann.send("POST", "/files/", &[("Upload-Length", "8")], b"").await.expect(201);
    let path = ann.path(&made);
    let told = [made, ann.head(&path).await, ann.patch(&path, 0, b"01234").await];
    assert!(told.iter().all(|answer| answer.header("upload-limit") == Some("max-size=20, max-append-size=5")));
    ann.patch(&path, 5, b"56789a").await.expect(413);
    assert_eq!(ann.patch(&path, 5, b"567").await.expect(204).header("upload-limit"), None, "there is nothing to come");
    app.stop().await;
}

#[tokio::test]
async fn a_chunk_stays_within_its_limit_and_a_tokens_too() {
    let (_identity, app) = limited(json!({"max_chunk_bytes": 5})).await;
    let ann = app.user("ann");
    let refused = ann.chunk(None, Some((0, 5, 12)), b"012345").await.expect(413);
    assert_eq!(refused.json()["detail"], "Size of chunk exceeds the limit (5 bytes)");
    ann.chunk(None, None, b"012345").await.expect(413);
    raw(&ann, "b.bin", "video/mp4", (0, 5, 12), b"012345").await.expect(413);
    let first = ann.chunk(None, Some((0, 4, 12)), b"01234").await.expect(200);
    let by_token = bearer(&app, &first);
    by_token.chunk(Some(&first.id()), Some((5, 10, 12)), b"56789a").await.expect(413);
    by_token.chunk(Some(&first.id()), Some((5, 9, 12)), b"56789").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn only_content_of_an_allowed_type_begins() {
    let (identity, app) = limited(json!({"allowed_content_types": ["video/*"]})).await;
    let ann = app.user("ann");
    raw(&ann, "a.html", "text/html", (0, 4, 5), b"01234").await.expect(415);
    ann.chunk(None, Some((0, 4, 5)), b"01234").await.expect(415);
    raw(&ann, "a.mp4", "video/mp4", (0, 4, 5), b"01234").await.expect(200);
    identity.set(allows(json!({"allowed_content_types": ["application/octet-stream"]})));
    app.clock.advance(Duration::from_secs(120));
    let plain = ann.chunk(None, Some((0, 4, 5)), b"01234").await.expect(200).id();
    identity.set(allows(json!({"allowed_content_types": []})));
    app.clock.advance(Duration::from_secs(120));
    ann.complete(&plain, &md5(b"01234")).await.expect(415);
    identity.set(allows(json!({})));
    app.clock.advance(Duration::from_secs(120));
    ann.complete(&plain, &md5(b"01234")).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn limits_that_were_lowered_meanwhile_hold_at_the_end() {
    let (identity, app) = limited(json!({})).await;
    let ann = app.user("ann");
    let first = ann.chunk(None, None, b"0123456789").await.expect(200);
    for (lowered, status) in [(json!({"max_file_bytes": 9}), 400), (json!({"max_total_bytes": 9}), 413)] {
        identity.set(allows(lowered));
        app.clock.advance(Duration::from_secs(120));
        ann.complete(&first.id(), &md5(b"0123456789")).await.expect(status);
    }
    let by_token = bearer(&app, &first);
    by_token.complete(&first.id(), &md5(b"0123456789")).await.expect(200);
    ann.complete(&first.id(), &md5(b"0123456789")).await;
    app.stop().await;
}

#[tokio::test]
async fn requests_that_come_too_fast_wait_and_lose_nothing() {
    let (_identity, app) = limited(json!({"requests_per_minute": 2})).await;
    let ann = app.user("ann");
    let first = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200);
    let (id, by_token) = (first.id(), bearer(&app, &first));
    ann.chunk(Some(&id), Some((5, 9, 15)), b"56789").await.expect(200);
    let begins = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(429);
    assert_eq!(begins.header("retry-after"), Some("30"));
    for slowed in [&ann, &by_token] {
        let waits = slowed.chunk(Some(&id), Some((10, 14, 15)), b"abcde").await.expect(503);
        assert_eq!(waits.header("retry-after"), Some("30"));
        let status = slowed.get(&format!("/api/v1/uploads/{id}")).await.expect(200);
        assert_eq!(status.json()["offset"], 10, "looking is never held up");
    }
    raw(&ann, "b.bin", "video/mp4", (0, 4, 6), b"01234").await.expect(429);
    app.clock.advance(Duration::from_secs(30));
    by_token.chunk(Some(&id), Some((10, 14, 15)), b"abcde").await.expect(200);
    ann.complete(&id, &md5(b"0123456789abcde")).await.expect(503);
    app.clock.advance(Duration::from_secs(30));
    ann.complete(&id, &md5(b"0123456789abcde")).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_users_uploads_live_as_long_as_the_identity_server_says() {
    let hour = json!({"upload_ttl_seconds": 3600});
    let (_identity, app) = limited_with(hour, |config| config.uploads.expires_from = ExpiresFrom::Activity).await;
    let first = app.user("ann").chunk(None, Some((0, 4, 15)), b"01234").await.expect(200);
    let (id, by_token) = (first.id(), bearer(&app, &first));
    app.clock.advance(Duration::from_secs(3000));
    by_token.chunk(Some(&id), Some((5, 9, 15)), b"56789").await.expect(200);
    app.clock.advance(Duration::from_secs(3599));
    assert_eq!(app.user("ann").get(&format!("/api/v1/uploads/{id}")).await.expect(200).json()["state"], "receiving");
    app.clock.advance(Duration::from_secs(1));
    app.user("ann").chunk(Some(&id), Some((10, 14, 15)), b"abcde").await.expect(410);
    app.stop().await;
}
