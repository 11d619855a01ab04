//! What a user is allowed, of files that come in parts.

use serde_json::{Value, json};

use super::{CHUNK, Tus};
use crate::support::{
    TestApp,
    identity::{Mode, Scripted},
};

pub(super) async fn limited(limits: Value) -> (Scripted, TestApp, Tus) {
    let identity = Scripted::start(&[Mode::OkBut(json!({ "limits": limits }))]).await;
    let url = identity.url();
    let app = TestApp::with(|config| config.identity.url = url).await;
    let tus = Tus(app.user("ann"));
    (identity, app, tus)
}

#[tokio::test]
async fn the_bytes_of_parts_count_once() {
    let (_identity, app, tus) = limited(json!({"max_total_bytes": 20})).await;
    let parts = [tus.part(8, b"01234567").await, tus.part(8, b"89abcde").await];
    let path = tus.path(&tus.join(&[&parts[0], &parts[1]]).await.expect(201));
    tus.send("POST", "/files/", &[("Upload-Length", "5")], b"").await.expect(413);
    tus.patch(&parts[1], 7, b"f").await.expect(204);
    tus.assert_content(&path, b"0123456789abcdef").await;
    tus.send("POST", "/files/", &[("Upload-Length", "5")], b"").await.expect(413);
    tus.create(&[("Upload-Length", "4")]).await;
    app.stop().await;
}

#[tokio::test]
async fn parts_that_are_all_there_do_not_grow() {
    let (_identity, app, tus) = limited(json!({"max_concurrent_uploads": 2})).await;
    let part = [("Upload-Concat", "partial"), ("Upload-Length", "2")];
    let [one, other] = [tus.create(&part).await, tus.create(&part).await];
    tus.send("POST", "/files/", &part, b"").await.expect(429);
    tus.patch(&one, 0, b"01").await.expect(204);
    let third = tus.create(&part).await;
    let path = tus.path(&tus.join(&[&one, &other, &third]).await.expect(201));
    tus.send("POST", "/files/", &part, b"").await.expect(429);
    tus.patch(&other, 0, b"23").await.expect(204);
    tus.patch(&third, 0, b"45").await.expect(204);
    tus.assert_content(&path, b"012345").await;
    app.stop().await;
}

#[tokio::test]
async fn a_file_is_as_long_as_its_parts_together() {
    let (_identity, app, tus) = limited(json!({"max_file_bytes": 10})).await;
    let parts = [tus.part(6, b"012345").await, tus.part(6, b"6789").await];
    tus.join(&[&parts[0], &parts[1]]).await.expect(413);
    // Nobody knew how long this one would be.
    let open = tus.create(&[("Upload-Concat", "partial"), ("Upload-Defer-Length", "1")]).await;
    let path = tus.path(&tus.join(&[&parts[0], &open]).await.expect(201));
    let named = [("Upload-Offset", "0"), ("Upload-Length", "5"), ("Content-Type", CHUNK)];
    tus.send("PATCH", &open, &named, b"6789a").await.expect(204);
    tus.head(&path).await.expect(410);
    // Lengths that no number can hold together are only too long.
    app.stop().await;
    let (_identity, app, tus) = limited(json!({})).await;
    let longest = i64::MAX.to_string();
    let long = [("Upload-Concat", "partial"), ("Upload-Length", &*longest)];
    let parts = [tus.create(&long).await, tus.create(&long).await, tus.create(&long).await];
    tus.join(&[&parts[0], &parts[1], &parts[2]]).await.expect(413);
    app.stop().await;
}

#[tokio::test]
async fn the_type_is_that_of_the_whole() {
    let (_identity, app, tus) = limited(json!({"allowed_content_types": ["video/*"]})).await;
    let part = tus.part(2, b"01").await;
    tus.join(&[&part]).await.expect(415);
    let said = [("Upload-Concat", &*format!("final;{part}")), ("Upload-Metadata", "filetype dmlkZW8vbXA0")];
    let path = tus.path(&tus.send("POST", "/files/", &said, b"").await.expect(201));
    assert_eq!(tus.0.get(&path).await.expect(200).header("content-type"), Some("video/mp4"));
    app.stop().await;
}
