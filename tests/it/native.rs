//! The native JSON door: list, status, content.

use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, Caller, TestApp, md5};

const CONTENT: &[u8] = b"0123456789";

async fn complete(caller: &Caller) -> String {
    let id = caller.chunk(None, None, CONTENT).await.expect(200).id();
    caller.complete(&id, &md5(CONTENT)).await.expect(200);
    id
}

async fn content(caller: &Caller, id: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    caller.send("GET", &format!("/api/v1/uploads/{id}/content"), &headers, Vec::new()).await
}

#[tokio::test]
async fn an_upload_as_it_grows() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = alice.chunk(None, Some((0, 3, 10)), b"0123").await.expect(200).id();
    let path = format!("/api/v1/uploads/{id}");
    let shown = alice.get(&path).await.expect(200).json();
    let expected = json!({"filename": "test.bin", "state": "receiving", "offset": 4, "size": 10, "percent": 40.0});
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&shown[key], value, "{key}");
    }
    assert_eq!(shown["digest"], json!(null));
    for path in [&*path, "/api/v1/uploads"] {
        assert_eq!(alice.get(path).await.header("cache-control"), Some("no-store"), "{path}");
    }
    assert_eq!(
        shown["id"].as_str().map(|id| id.replace('-', "")),
        Some(id.clone()),
        "dashed here, not at the other door"
    );

    content(&alice, &id, &[]).await.expect(409);
    alice.chunk(Some(&id), Some((4, 9, 10)), b"456789").await.expect(200);
    alice.complete(&id, &md5(CONTENT)).await.expect(200);
    let shown = alice.get(&path).await.expect(200).json();
    assert_eq!((&shown["state"], &shown["percent"]), (&json!("complete"), &json!(100.0)));
    assert_eq!(shown["digest"], json!({"algorithm": "md5", "value": md5(CONTENT)}));
    app.stop().await;
}

#[tokio::test]
async fn a_list_in_pages() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, alice.chunk(None, Some((0, 3, 10)), b"0123").await.expect(200).id());
        app.clock.advance(Duration::from_millis(10));
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = alice.get(&format!("/api/v1/uploads?limit=2&_=1700000000{cursor}")).await.expect(200).json();
        let ids = page["uploads"].as_array().expect("a list");
        seen.extend(ids.iter().map(|upload| upload["id"].as_str().expect("an id").replace('-', "")));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, made, "newest first, each once");

    alice.cancel(&made[0]).await.expect(204);
    let with = async |state: &str| {
        let listed = alice.get(&format!("/api/v1/uploads?state={state}")).await.expect(200).json();
        listed["uploads"].as_array().map(Vec::len)
    };
    assert_eq!((with("receiving").await, with("cancelled").await, with("complete").await), (Some(4), Some(1), Some(0)));
    for wrong in ["state=lost", "limit=0", "limit=201", "limit=x", "cursor=x", "cursor=1-2-3"] {
        let refused = alice.get(&format!("/api/v1/uploads?{wrong}")).await.expect(400);
        assert_eq!(refused.json()["code"], "bad_request", "{wrong}");
    }
    app.stop().await;
}

#[tokio::test]
async fn content_in_parts() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = complete(&alice).await;
    let whole = content(&alice, &id, &[]).await.expect(200);
    let etag = whole.header("etag").expect("an entity tag").to_owned();
    assert_eq!(whole.text.as_bytes(), CONTENT);
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    assert!(whole.header("content-disposition").is_some_and(|value| value.starts_with("attachment")));
    assert!(whole.header("repr-digest").is_some_and(|value| value.starts_with("md5=:")));

    for (asked, range, text) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=5-100", "bytes 5-9/10", "56789"),
    ] {
        let part = content(&alice, &id, &[("Range", asked)]).await.expect(206);
        assert_eq!((part.header("content-range"), part.text.as_str()), (Some(range), text), "{asked}");
    }
    assert_eq!(content(&alice, &id, &[("Range", "bytes=0-1,3-4")]).await.expect(200).bytes, CONTENT);
    let beyond = content(&alice, &id, &[("Range", "bytes=10-")]).await.expect(416);
    assert_eq!(
        (beyond.header("content-range"), &beyond.json()["code"]),
        (Some("bytes */10"), &json!("range_not_satisfiable"))
    );

    assert_eq!(content(&alice, &id, &[("If-None-Match", &etag)]).await.expect(304).text, "");
    assert_eq!(content(&alice, &id, &[("Range", "bytes=2-4"), ("If-Range", &etag)]).await.expect(206).text, "234");
    content(&alice, &id, &[("Range", "bytes=2-4"), ("If-Range", "\"other\"")]).await.expect(200);
    let head = alice.send("HEAD", &format!("/api/v1/uploads/{id}/content"), &[], Vec::new()).await.expect(200);
    assert_eq!((head.header("content-length"), head.header("etag")), (Some("10"), Some(etag.as_str())));
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_upload() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    for path in ["x", "00000000-0000-0000-0000-000000000000", "%ff", "%00", "..%2f..%2fetc%2fpasswd"] {
        for tail in ["", "/", "/content", "/content/"] {
            let answer = alice.get(&format!("/api/v1/uploads/{path}{tail}")).await.expect(404);
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}{tail}");
        }
    }
    let answer = alice.send("PUT", "/api/v1/uploads", &[], Vec::new()).await.expect(405);
    assert_eq!(answer.json()["code"], "method_not_allowed");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_answers_a_crowd() {
    let app = TestApp::start().await;
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let nobody = app.anonymous();
            tokio::spawn(async move { nobody.get("/readyz").await.status })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.expect("no panic"), 200);
    }
    app.stop().await;
}
