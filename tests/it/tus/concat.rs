//! The extensions concatenation and concatenation-unfinished.

use std::{collections::BTreeMap, time::Duration};

use chunkgate::config::RealmSettings;
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{CHUNK, Tus, tus};
use crate::support::{
    Answer, TOKEN, TestApp,
    identity::{Mode, Scripted},
    md5, noise, until,
};

impl Tus {
    /// Makes a partial upload of that length, and sends these bytes; its path.
    pub(super) async fn part(&self, length: usize, bytes: &[u8]) -> String {
        let path = self.create(&[("Upload-Concat", "partial"), ("Upload-Length", &length.to_string())]).await;
        self.patch(&path, 0, bytes).await.expect(204);
        path
    }

    pub(super) async fn join(&self, parts: &[&str]) -> Answer {
        self.send("POST", "/files/", &[("Upload-Concat", &format!("final;{}", parts.join(" ")))], b"").await
    }

    pub(super) async fn assert_content(&self, path: &str, content: &[u8]) {
        assert!(self.0.get(path).await.expect(200).bytes == content, "the content differs");
    }
}

/// The reaper comes by now.
async fn reap(app: &TestApp, what: &str, done: impl AsyncFnMut() -> Option<()>) {
    let mut done = done;
    until(what, async || {
        app.running().workers().nudge();
        done().await
    })
    .await;
}

#[tokio::test]
async fn partial_uploads_become_one_file() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let content = noise(1, 700_001);
    let paths = join_all(content.chunks(300_000).map(|bytes| tus.part(bytes.len(), bytes))).await;
    let told = tus.head(&paths[0]).await.expect(200);
    assert_eq!(told.header("upload-concat"), Some("partial"));
    assert_eq!((told.header("upload-offset"), told.header("upload-length")), (Some("300000"), Some("300000")));

    // Absolute and relative; the host is somebody else's.
    let list = format!("final;{}{} http://elsewhere.example{} {}", app.base, paths[0], paths[1], paths[2]);
    let said = [("Upload-Concat", &*list), ("Upload-Metadata", "filename YQ==")];
    let made = tus.send("POST", "/files/", &said, b"").await.expect(201);
    let path = tus.path(&made);
    let told = tus.head(&path).await.expect(200);
    assert_eq!(told.header("upload-concat"), Some(&*list), "byte by byte");
    assert_eq!((told.header("upload-offset"), told.header("upload-length")), (Some("700001"), Some("700001")));
    assert_eq!((told.header("upload-metadata"), told.header("upload-expires")), (Some("filename YQ=="), None));
    tus.assert_content(&path, &content).await;
    let native = tus.0.get(&path.replace("/files/", "/api/v1/uploads/")).await.expect(200).json();
    assert_eq!(
        (&native["state"], &native["filename"], &native["size"]),
        (&json!("complete"), &json!("a"), &json!(700_001))
    );

    // In another order, and of nothing.
    let [one, other, none] = [tus.part(2, b"01").await, tus.part(3, b"234").await, tus.part(0, b"").await];
    tus.assert_content(&tus.path(&tus.join(&[&other, &none, &one]).await.expect(201)), b"23401").await;
    let none = tus.part(0, b"").await;
    tus.assert_content(&tus.path(&tus.join(&[&none]).await.expect(201)), b"").await;
    app.stop().await;
}

#[tokio::test]
async fn metadata_of_partial_uploads_is_not_that_of_the_final_one() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let said = [("Upload-Concat", "partial"), ("Upload-Length", "2"), ("Upload-Metadata", "filename YQ==")];
    let with_bytes = [&said[..], &[("Content-Type", CHUNK)]].concat();
    let part = tus.path(&tus.send("POST", "/files/", &with_bytes, b"01").await.expect(201));
    assert_eq!(tus.head(&part).await.expect(200).header("upload-metadata"), Some("filename YQ=="));
    let path = tus.path(&tus.join(&[&part]).await.expect(201));
    assert_eq!(tus.head(&path).await.expect(200).header("upload-metadata"), None);
    tus.assert_content(&path, b"01").await;
    app.stop().await;
}

#[tokio::test]
async fn a_final_upload_may_come_before_its_bytes() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let content = noise(2, 300_000);
    let first = tus.part(100_000, &content[..60_000]).await;
    let second = tus.create(&[("Upload-Concat", "partial"), ("Upload-Defer-Length", "1")]).await;
    let made = tus.join(&[&first, &second]).await.expect(201);
    assert_eq!(made.header("upload-offset"), None);
    let path = tus.path(&made);
    let told = tus.head(&path).await.expect(200);
    assert!(told.header("upload-concat").is_some() && told.header("upload-expires").is_some());
    for unknown in ["upload-offset", "upload-length", "upload-defer-length"] {
        assert_eq!(told.header(unknown), None, "{unknown}");
    }
    let named = [("Upload-Offset", "0"), ("Upload-Length", "200000"), ("Content-Type", CHUNK)];
    tus.send("PATCH", &second, &named, &content[100_000..200_000]).await.expect(204);
    let told = tus.head(&path).await.expect(200);
    assert_eq!((told.header("upload-offset"), told.header("upload-length")), (None, Some("300000")));
    tus.send("GET", &path, &[], b"").await.expect(409);

    // Whichever of them is last.
    let last = [tus.patch(&first, 60_000, &content[60_000..100_000]), tus.patch(&second, 100_000, &content[200_000..])];
    for answer in join_all(last).await {
        answer.expect(204);
    }
    let told = tus.head(&path).await.expect(200);
    assert_eq!((told.header("upload-offset"), told.header("upload-length")), (Some("300000"), Some("300000")));
    tus.assert_content(&path, &content).await;
    app.stop().await;
}

#[tokio::test]
async fn the_last_byte_joins_whoever_brings_it_and_by_whichever_door() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let part = tus.part(6, b"012").await;
    let path = tus.path(&tus.join(&[&part]).await.expect(201));
    let id = part.trim_start_matches("/files/");
    tus.0.complete(id, &md5(b"012")).await.expect(400);
    tus.0.chunk(Some(id), Some((3, 5, 6)), b"345").await.expect(200);
    tus.assert_content(&path, b"012345").await;
    for id in [id, path.trim_start_matches("/files/")] {
        tus.0.chunk(Some(id), Some((6, 6, 7)), b"6").await.expect(400);
    }
    tus.assert_content(&path, b"012345").await;
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_joined_is_refused_and_leaves_nothing() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let [part, other] = [tus.part(2, b"01").await, tus.part(2, b"23").await];
    let list = format!("final;{part}");
    for (headers, body) in [
        (vec![("Upload-Concat", &*list), ("Upload-Length", "2")], &b""[..]),
        (vec![("Upload-Concat", &*list), ("Upload-Defer-Length", "1")], b""),
        (vec![("Upload-Concat", &*list), ("Content-Type", CHUNK)], b"01"),
        (vec![("Upload-Concat", "final;")], b""),
        (vec![("Upload-Concat", "whole"), ("Upload-Length", "2")], b""),
        (vec![("Upload-Concat", &*list), ("Upload-Concat", &*list)], b""),
    ] {
        tus.send("POST", "/files/", &headers, body).await.expect(400);
    }
    let whole = tus.create(&[("Upload-Length", "2")]).await;
    let done = tus.create(&[("Upload-Length", "0")]).await;
    for listed in [&[&*part, &*part][..], &[&*whole], &[&*done]] {
        tus.join(listed).await.expect(400);
    }
    let foreign = Tus(app.user("bob")).part(2, b"01").await;
    let cancelled = tus.part(2, b"01").await;
    tus.send("DELETE", &cancelled, &[], b"").await.expect(204);
    let unknown = format!("/files/{}", uuid::Uuid::new_v4());
    for gone in [&*foreign, &cancelled, &unknown, "/files/x", "/other/", &part.replace("/files", "/else")] {
        tus.join(&[&part, gone]).await.expect(404);
    }
    assert_eq!(tus.0.get("/api/v1/uploads?state=complete").await.json()["uploads"].as_array().map(Vec::len), Some(1));

    let path = tus.path(&tus.join(&[&part]).await.expect(201));
    tus.join(&[&path, &other]).await.expect(400);
    tus.join(&[&part, &other]).await.expect(400);
    app.clock.advance(Duration::from_secs(25 * 60 * 60));
    tus.join(&[&other]).await.expect(404);
    app.stop().await;
}

#[tokio::test]
async fn nobody_adds_to_a_final_upload() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let part = tus.part(4, b"01").await;
    let path = tus.path(&tus.join(&[&part]).await.expect(201));
    for offset in [0, 2] {
        assert_eq!(tus.patch(&path, offset, b"23").await.expect(403).header("upload-offset"), None);
    }
    tus.assert_stands_at(&part, 2).await;
    tus.patch(&part, 2, b"23").await.expect(204);
    tus.patch(&path, 4, b"").await.expect(403);
    tus.assert_stands_at(&path, 4).await;
    tus.assert_stands_at(&part, 4).await;
    app.stop().await;
}

#[tokio::test]
async fn the_same_list_makes_one_upload_however_often_it_is_sent() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let [one, other] = [tus.part(2, b"01").await, tus.part(2, b"2").await];
    let absolute = format!("{}{one}", app.base);
    let made = join_all((0..8).map(|number| {
        let (one, tus, other) = (if number % 2 == 0 { &one } else { &absolute }, &tus, &other);
        async move { tus.path(&tus.join(&[one, other]).await.expect(201)) }
    }))
    .await;
    assert!(made.iter().all(|path| *path == made[0]), "{made:?}");
    tus.patch(&other, 1, b"3").await.expect(204);
    // Also when the answer that told so was lost, and when the partial uploads are gone.
    assert_eq!(tus.path(&tus.join(&[&one, &other]).await.expect(201)), made[0]);
    app.clock.advance(Duration::from_secs(120));
    reap(&app, "the partial uploads go", async || (app.stored().len() == 1).then_some(())).await;
    for gone in [&one, &other] {
        tus.head(gone).await.expect(410);
    }
    let again = tus.join(&[&one, &other]).await.expect(201);
    assert_eq!((tus.path(&again), again.header("upload-offset")), (made[0].clone(), Some("4")));
    tus.assert_content(&made[0], b"0123").await;
    let listed = tus.0.get("/api/v1/uploads").await.json();
    assert_eq!(listed["uploads"].as_array().map(Vec::len), Some(1), "parts are no files: {listed}");

    tus.send("DELETE", &made[0], &[], b"").await.expect(204);
    tus.join(&[&one, &other]).await.expect(410);
    assert_eq!(app.stored(), []);
    app.stop().await;
}

#[tokio::test]
async fn a_final_upload_goes_with_its_parts() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let [one, other, late] = [tus.part(2, b"01").await, tus.part(2, b"2").await, tus.part(2, b"4").await];
    let path = tus.path(&tus.join(&[&one, &other]).await.expect(201));
    tus.send("DELETE", &other, &[], b"").await.expect(204);
    tus.head(&path).await.expect(410);
    // Nobody wants the other one any more.
    app.clock.advance(Duration::from_secs(120));
    reap(&app, "the other part goes", async || (app.stored().len() == 1).then_some(())).await;

    let path = tus.path(&tus.join(&[&late]).await.expect(201));
    app.clock.advance(Duration::from_secs(25 * 60 * 60));
    tus.head(&path).await.expect(410);
    app.clock.advance(Duration::from_secs(120));
    reap(&app, "everything goes", async || app.stored().is_empty().then_some(())).await;
    app.stop().await;
}

#[tokio::test]
async fn parts_are_no_files_of_their_own() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let part = tus.part(3, b"012").await;
    let native = part.replace("/files/", "/api/v1/uploads/");
    assert_eq!(tus.0.get("/api/v1/uploads").await.json()["uploads"], json!([]));
    for path in [&part, &format!("{native}/content")] {
        tus.0.get(path).await.expect(409);
    }
    let done = format!("/chunked_uploads/upload/done/{}/", part.trim_start_matches("/files/"));
    assert_ne!(tus.0.send("POST", &done, &[], vec![]).await.status, 200);
    assert_eq!(tus.0.get(&native).await.expect(200).json()["state"], "receiving");
    let path = tus.path(&tus.join(&[&part]).await.expect(201));
    tus.assert_content(&path, b"012").await;
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_keep_its_upload_from_being_joined() {
    use tokio::{io::AsyncWriteExt as _, net::TcpStream};
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let part = tus.part(3, b"012").await;
    let signed: String =
        tus.0.proof().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
    let request = format!(
        "POST /files/ HTTP/1.1\r\nHost: a\r\n{signed}Tus-Resumable: 1.0.0\r\nUpload-Concat: final;{part}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sent");
    drop(stream);
    // Whether it was made or not: asked again, there is one.
    let path = tus.path(&tus.join(&[&part]).await.expect(201));
    tus.assert_content(&path, b"012").await;
    app.stop().await;
}

#[tokio::test]
async fn a_realms_prefix_stays_in_every_url() {
    let acme = Scripted::start(&[Mode::Ok]).await;
    let mut realm = RealmSettings { path_prefixes: vec!["/acme".into()], ..RealmSettings::default() };
    (realm.identity.url, realm.identity.token) = (acme.url(), TOKEN.into());
    let app = TestApp::with(|config| config.realms = BTreeMap::from([("acme".to_owned(), realm)])).await;
    let [here, there] = [Tus(app.user("ann").at(&format!("{}/acme", app.base))), tus(&app).await];
    let [one, two, three] = [here.part(1, b"0").await, here.part(1, b"1").await, here.part(1, b"2").await];
    let absolute = format!("{}/acme{three}", app.base);
    let list = [&*format!("/acme{one}"), &two, &absolute];
    there.join(&list[1..2]).await.expect(404);
    there.join(&list).await.expect(404);
    here.assert_content(&here.path(&here.join(&list).await.expect(201)), b"012").await;
    app.stop().await;
}

#[tokio::test]
async fn a_part_that_came_in_time_may_end_late_whoever_looks_meanwhile() {
    let app = TestApp::start().await;
    let tus = tus(&app).await;
    let part = tus.create(&[("Upload-Length", "10"), ("Upload-Concat", "partial")]).await;
    let path = tus.create(&[("Upload-Concat", &format!("final;{part}"))]).await;
    let mut late = tus.stalled(&part, 0, 10, b"0123").await;
    until("the first bytes", async || {
        (tus.head(&part).await.expect(200).header("upload-offset") == Some("4")).then_some(())
    })
    .await;
    app.clock.advance(Duration::from_secs(25 * 60 * 60));
    tus.head(&path).await.expect(200);
    tus.0.get(&path).await.expect(409);
    late.write_all(b"456789").await.expect("sent");
    let mut answer = [0; 64];
    let read = late.read(&mut answer).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer[..read]).contains("204"));
    assert_eq!(tus.0.get(&path).await.expect(200).bytes, b"0123456789");
    app.stop().await;
}
