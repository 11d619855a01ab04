//! A service remembers the row of an upload that it has just moved. What it remembers admits nobody whom the row does not.

use std::time::Duration;

use chunkgate::{
    app,
    db::{self, Advance},
};

use crate::{
    support::{Answer, Caller, TestApp},
    tokens::second_node,
};

/// What another process may do to the upload meanwhile.
enum Meanwhile {
    Cancelled,
    Moved,
    Completed,
    Emptied,
}

async fn send(by: &Caller, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut all = vec![("Tus-Resumable".to_owned(), "1.0.0".to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    by.send(method, path, &all, body.to_vec()).await
}

async fn patch(by: &Caller, path: &str, offset: u64, bytes: &[u8]) -> Answer {
    let chunk = [("Upload-Offset", &*offset.to_string()), ("Content-Type", "application/offset+octet-stream")];
    send(by, "PATCH", path, &chunk, bytes).await
}

/// An upload of ten bytes, five of which are there; its path and its id. Its row is remembered.
async fn half(by: &Caller) -> (String, String) {
    let made = send(by, "POST", "/files/", &[("Upload-Length", "10")], b"").await.expect(201);
    let path = made.header("location").and_then(|url| url.strip_prefix(&by.base)).expect("a location").to_owned();
    patch(by, &path, 0, b"01234").await.expect(204);
    let id = path.rsplit('/').next().expect("an id").to_owned();
    (path, id)
}

async fn meanwhile(app: &TestApp, there: &Caller, id: &str, what: Meanwhile) {
    let stores = db::connect(&app.config.database, app.config.storage.local.durability).await.expect("connects");
    let (upload, owner) = (id.parse().expect("an id"), app.owner_of(&stores, "alice").await);
    let known = stores.uploads.find(upload, owner).await.expect("answers").expect("there");
    let to = |to| Advance {
        from: 5,
        to,
        tail_start: 5,
        size: Some(10),
        digest: None,
        expires: known.expires,
        within: None,
        now: known.updated,
    };
    match what {
        Meanwhile::Cancelled => {
            there.send("DELETE", &format!("/api/v1/uploads/{id}"), &[], Vec::new()).await.expect(204);
        }
        Meanwhile::Moved => assert!(stores.uploads.advance(upload, &to(7)).await.expect("answers")),
        Meanwhile::Completed => {
            assert!(stores.uploads.advance(upload, &to(10)).await.expect("answers"));
            assert!(stores.uploads.complete(upload, 10, None, known.updated, None).await.expect("answers"));
        }
        Meanwhile::Emptied => {
            there.send("DELETE", &format!("/api/v1/uploads/{id}"), &[], Vec::new()).await.expect(204);
            for (path, _) in app.stored().iter().filter(|(path, _)| path.to_string_lossy().contains(id)) {
                std::fs::remove_file(path).expect("removed");
            }
        }
    }
    stores.close().await;
}

async fn two() -> (TestApp, app::Running, Caller) {
    let app = TestApp::start().await;
    let (second, there) = second_node(&app, |_| {}).await;
    (app, second, there)
}

#[tokio::test]
async fn what_another_node_did_to_an_upload_holds_for_its_next_chunk() {
    let (app, second, there) = two().await;
    let alice = app.user("alice");
    for (what, status, offset) in [
        (Meanwhile::Cancelled, 410, None),
        (Meanwhile::Moved, 409, Some("7")),
        (Meanwhile::Completed, 409, Some("10")),
        (Meanwhile::Emptied, 410, None),
    ] {
        let (path, id) = half(&alice).await;
        meanwhile(&app, &there, &id, what).await;
        let refused = patch(&alice, &path, 5, b"56789").await;
        assert_eq!((refused.status, refused.header("upload-offset")), (status, offset), "{}", refused.text);
    }
    second.stop(std::future::pending()).await;
    app.stop().await;
}

#[tokio::test]
async fn what_is_remembered_of_an_upload_is_its_owners() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let (path, _) = half(&alice).await;
    patch(&bob, &path, 5, b"bob's").await.expect(404);
    patch(&alice, &path, 3, b"3").await.expect(409);
    patch(&alice, &path, 5, b"56789").await.expect(204);
    assert_eq!(send(&alice, "GET", &path, &[], b"").await.expect(200).bytes, b"0123456789");
    patch(&alice, &path, 10, b"").await.expect(409);
    app.stop().await;
}

#[tokio::test]
async fn what_is_remembered_ends_with_the_upload() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let (cancelled, _) = half(&alice).await;
    send(&alice, "DELETE", &cancelled, &[], b"").await.expect(204);
    patch(&alice, &cancelled, 5, b"56789").await.expect(410);
    let (late, _) = half(&alice).await;
    app.clock.advance(app.config.uploads.expires_after + Duration::from_secs(1));
    patch(&alice, &late, 5, b"56789").await.expect(410);
    app.stop().await;
}

/// A process may die between the file's last move and the row's: the file is whole and in its place, the row knows of half.
#[tokio::test]
async fn a_completion_that_its_row_never_heard_of_is_made_up() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let (other, whole) = half(&alice).await;
    patch(&alice, &other, 5, b"56789").await.expect(204);
    let place =
        |id: &str| app.stored().into_iter().find(|(path, _)| path.to_string_lossy().contains(id)).expect("a file").0;
    let (path, id) = half(&alice).await;
    let (growing, finished) = (place(&id), place(&whole).with_file_name(&id));
    std::fs::write(&growing, b"01234lost!").expect("written");
    std::fs::rename(&growing, &finished).expect("moved");
    let app = app.restart(|_| {}).await;
    let alice = app.user("alice");
    let told = send(&alice, "HEAD", &path, &[], b"").await.expect(200);
    assert_eq!(told.header("upload-offset"), Some("5"));
    // What is refused leaves it as it is for whoever comes next.
    patch(&alice, &path, 10, b"").await.expect(409);
    patch(&alice, &path, 5, b"567").await.expect(204);
    assert!(growing.exists() && !finished.exists(), "nobody takes half for the whole");
    patch(&alice, &path, 8, b"89").await.expect(204);
    assert_eq!(send(&alice, "GET", &path, &[], b"").await.expect(200).bytes, b"0123456789");
    assert!(!growing.exists() && finished.exists());
    app.stop().await;
}
