//! The gate as clients meet it: outages, refusals, places for credentials, and signatures that outlive their window.

use std::time::Duration;

use chunkgate::{auth::Reuse, domain::signing};
use serde_json::json;

use crate::support::{
    Answer, Caller, TestApp, form,
    identity::{Mode, Scripted},
    md5,
};

type Headers = Vec<(String, String)>;

/// A whole chunk under headers of one's own.
async fn chunk_as(caller: &Caller, proof: &Headers, upload: Option<&str>, range: &str, bytes: &[u8]) -> Answer {
    let fields: Vec<(&str, &str)> = upload.map(|id| ("upload_id", id)).into_iter().collect();
    chunk_with_fields(caller, proof, &fields, range, bytes).await
}

async fn chunk_with_fields(
    caller: &Caller,
    proof: &Headers,
    fields: &[(&str, &str)],
    range: &str,
    bytes: &[u8],
) -> Answer {
    let mut parts: Vec<form::Part> = fields.iter().map(|(name, value)| form::Part::field(name, value)).collect();
    parts.push(form::Part::file("file", "test.bin", None, bytes.to_vec()));
    let (content_type, body) = form::multipart(&parts);
    let mut headers = proof.clone();
    headers.push(("Content-Type".into(), content_type.expect("multipart")));
    headers.push(("Content-Range".into(), format!("bytes {range}")));
    caller.send_as_is("POST", "/chunked_upload/", &headers, body).await
}

fn named(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn an_identity_server_that_cannot_be_asked_costs_no_upload() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let url = identity.url();
    let app = TestApp::with(|config| {
        config.identity.url = url;
        config.identity.try_timeout = Duration::from_millis(500);
        config.identity.deadline = Duration::from_secs(1);
    })
    .await;
    let alice = app.user("alice");
    let id = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let outages = [
        Mode::Page(500),
        Mode::Page(401),
        Mode::Page(200),
        Mode::TooMany,
        Mode::SlowHead,
        Mode::SlowBody,
        Mode::HalfBody,
        Mode::NotJson,
        Mode::Oversized,
        Mode::Truncated,
        Mode::Redirect,
        Mode::OkBut(json!({"request_id": "another"})),
        Mode::OkBut(json!({"user": {"username": "ann"}})),
        Mode::OkBut(json!({"status": "perhaps"})),
    ];
    for outage in outages {
        // A proof of its own each time: what was proved before may be answered from memory.
        app.clock.advance(Duration::from_secs(1));
        identity.set(outage);
        let answer = alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(503);
        assert!(answer.header("retry-after").is_some(), "{}", answer.text);
        assert!(answer.json()["detail"].is_string());
        let answer = alice.get(&format!("/api/v1/uploads/{id}")).await.expect(503);
        assert_eq!(
            (&answer.json()["code"], answer.json()["retryable"].as_bool()),
            (&json!("auth_unavailable"), Some(true))
        );
    }
    identity.set(Mode::Ok);
    app.clock.advance(Duration::from_secs(1));
    alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200);
    alice.complete(&id, &md5(b"0123456789")).await.expect(200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_first_requests_with_one_signature_ask_once() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let url = identity.url();
    let app = TestApp::with(|config| config.identity.url = url).await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (alice, proof) = (alice.clone(), proof.clone());
            tokio::spawn(async move { chunk_as(&alice, &proof, None, "0-4/10", b"01234").await.status })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.expect("no panic"), 200);
    }
    assert_eq!(identity.calls(), 1);
    app.stop().await;
}

#[tokio::test]
async fn wrong_proofs_are_refused_at_both_doors() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    // A known user is no proof of anything.
    let id = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let now = alice.proof()[1].1.clone();
    let signed = |secret: &str, timestamp: &str| signing::sign_v1(secret.as_bytes(), timestamp);
    let old = (now.parse::<i64>().expect("seconds") - 301).to_string();
    let proofs = [
        ("invalid_credentials", [("X-Api-Key", "nobody"), ("X-Timestamp", &now), ("X-Signature", &signed("x", &now))]),
        (
            "invalid_credentials",
            [("X-Api-Key", "alice-key"), ("X-Timestamp", &now), ("X-Signature", &signed("x", &now))],
        ),
        (
            "timestamp_out_of_window",
            [("X-Api-Key", "alice-key"), ("X-Timestamp", &old), ("X-Signature", &signed("alice-secret", &old))],
        ),
    ];
    for (code, proof) in proofs {
        let proof = named(&proof);
        let answer = chunk_as(&alice, &proof, Some(&id), "5-9/10", b"56789").await.expect(401);
        assert!(answer.header("www-authenticate").is_some_and(|ask| ask.starts_with("Chunkgate realm=")));
        let answer = alice.send_as_is("GET", &format!("/api/v1/uploads/{id}"), &proof, Vec::new()).await.expect(401);
        assert_eq!(answer.json()["code"], code);
        assert!(answer.header("www-authenticate").is_some_and(|ask| ask.starts_with("Chunkgate realm=")));
    }
    app.anonymous().get("/api/v1/uploads").await.expect(401);
    app.stop().await;
}

#[tokio::test]
async fn places_where_credentials_may_stand() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let [key, timestamp, signature] = [&proof[0].1, &proof[1].1, &proof[2].1].map(String::as_str);
    let fields = [("api_key", key), ("timestamp", timestamp), ("signature", signature)];

    let seed = named(&[("api_key", key), ("timestamp", timestamp), ("signature", signature)]);
    chunk_as(&alice, &seed, None, "0-4/5", b"01234").await.expect(200);
    chunk_with_fields(&alice, &Vec::new(), &fields, "0-4/5", b"01234").await.expect(200);
    chunk_with_fields(&alice, &proof, &fields, "0-4/5", b"01234").await.expect(200);

    let other = [("api_key", "bob-key"), ("timestamp", timestamp), ("signature", signature)];
    chunk_with_fields(&alice, &proof, &other, "0-4/5", b"01234").await.expect(400);
    let twice = [proof.clone(), vec![proof[0].clone()]].concat();
    chunk_as(&alice, &twice, None, "0-4/5", b"01234").await.expect(400);

    let query = format!("/api/v1/uploads?api_key={key}&timestamp={timestamp}&signature={signature}");
    alice.send_as_is("GET", &query, &[], Vec::new()).await.expect(400);
    let app = app.restart(|config| config.auth.query_credentials = true).await;
    app.anonymous().get(&query).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn credentials_behind_the_file_admit_nothing() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let parts = [
        form::Part::file("file", "test.bin", None, b"01234".to_vec()),
        form::Part::field("api_key", &proof[0].1),
        form::Part::field("timestamp", &proof[1].1),
        form::Part::field("signature", &proof[2].1),
    ];
    let (content_type, body) = form::multipart(&parts);
    let content_type = ("Content-Type".to_owned(), content_type.expect("multipart"));
    alice.send_as_is("POST", "/chunked_upload/", std::slice::from_ref(&content_type), body.clone()).await.expect(403);
    // Admitted by its headers, but not everything in it was looked at.
    alice.send("POST", "/chunked_upload/", &[content_type], body).await.expect(400);
    assert_eq!(app.stored(), []);
    app.stop().await;
}

#[tokio::test]
async fn a_signature_outlives_its_window_for_the_uploads_it_created() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let id = chunk_as(&alice, &proof, None, "0-4/10", b"01234").await.expect(200).id();
    app.clock.advance(Duration::from_secs(3600));
    let other = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let app = app.restart(|_| {}).await;
    let alice = app.user("alice");

    chunk_as(&alice, &proof, None, "0-4/10", b"01234").await.expect(401);
    chunk_as(&alice, &proof, Some(&other), "5-9/10", b"56789").await.expect(404);
    let mut tampered = proof.clone();
    tampered[2].1 = "0".repeat(64);
    chunk_as(&alice, &tampered, Some(&id), "5-9/10", b"56789").await.expect(401);
    chunk_as(&alice, &proof, Some(&id), "5-9/10", b"56789").await.expect(200);
    let listed = alice.send_as_is("GET", "/api/v1/uploads", &proof, Vec::new()).await.expect(200).json();
    assert_eq!(listed["uploads"].as_array().map(Vec::len), Some(1));
    app.stop().await;
}

#[tokio::test]
async fn a_signature_for_one_upload_begins_no_second() {
    let app = TestApp::with(|config| config.auth.signature.v1_reuse = Reuse::Upload).await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let id = chunk_as(&alice, &proof, None, "0-4/10", b"01234").await.expect(200).id();
    chunk_as(&alice, &proof, None, "0-4/10", b"01234").await.expect(401);
    chunk_as(&alice, &proof, Some(&id), "5-9/10", b"56789").await.expect(200);
    assert_eq!(app.stored().len(), 1, "nothing of the refused one is left");
    app.stop().await;
}

#[tokio::test]
async fn a_signature_for_one_request_is_spent_by_it() {
    let app = TestApp::with(|config| config.auth.signature.v1_reuse = Reuse::Once).await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let id = chunk_as(&alice, &proof, None, "0-4/10", b"01234").await.expect(200).id();
    chunk_as(&alice, &proof, Some(&id), "5-9/10", b"56789").await.expect(401);
    app.clock.advance(Duration::from_secs(1));
    alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_disabled_user_is_refused_also_with_an_old_signature() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let id = chunk_as(&alice, &proof, None, "0-4/10", b"01234").await.expect(200).id();
    let users = std::fs::read_to_string(&app.users).expect("users");
    std::fs::write(&app.users, users.replacen("username = \"alice\"", "username = \"alice\"\ndisabled = true", 1))
        .expect("written");
    app.clock.advance(Duration::from_secs(60));
    alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(403);
    chunk_as(&alice, &proof, Some(&id), "5-9/10", b"56789").await.expect(403);
    app.clock.advance(Duration::from_secs(3600));
    chunk_as(&alice, &proof, Some(&id), "5-9/10", b"56789").await.expect(403);

    std::fs::write(&app.users, users).expect("written");
    alice.chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_users_limit_from_the_identity_server_holds() {
    let identity = Scripted::start(&[Mode::OkBut(json!({"limits": {"max_file_bytes": 20}}))]).await;
    let url = identity.url();
    let app = TestApp::with(|config| config.identity.url = url).await;
    let alice = app.user("alice");
    let refused = alice.chunk(None, Some((0, 4, 21)), b"01234").await.expect(400);
    assert_eq!(refused.json()["detail"], "Size of file exceeds the limit (20 bytes)");
    alice.chunk(None, None, &[0; 21]).await.expect(400);
    alice.chunk(None, Some((0, 4, 20)), b"01234").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn nobody_is_told_the_ids_of_uploads_without_an_owner() {
    let app = TestApp::with(|config| config.auth.anonymous = true).await;
    let nobody = app.anonymous();
    let id = nobody.chunk(None, None, b"content").await.expect(200).id();
    nobody.complete(&id, &md5(b"content")).await.expect(200);
    assert_eq!(nobody.get("/api/v1/uploads").await.expect(200).json()["uploads"], json!([]));
    assert_eq!(nobody.get(&format!("/api/v1/uploads/{id}/content")).await.expect(200).text, "content");
    app.user("alice").get(&format!("/api/v1/uploads/{id}")).await.expect(404);
    app.stop().await;
}

#[tokio::test]
async fn a_proof_that_stands_in_two_places_of_one_request_is_spent_once() {
    let app = TestApp::with(|config| config.auth.signature.v1_reuse = Reuse::Once).await;
    let alice = app.user("alice");
    let proof = alice.proof();
    let fields = [("api_key", &*proof[0].1), ("timestamp", &proof[1].1), ("signature", &proof[2].1)];
    chunk_with_fields(&alice, &proof, &fields, "0-4/5", b"01234").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn where_nobody_may_sign_up_those_who_are_known_go_on() {
    let app = TestApp::start().await;
    let id = app.user("alice").chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let app = app.restart(|config| config.identity.sign_up = false).await;
    app.user("alice").chunk(Some(&id), Some((5, 9, 10)), b"56789").await.expect(200);
    app.user("bob").chunk(None, None, b"01234").await.expect(403);
    let app = app.restart(|config| config.identity.sign_up = true).await;
    app.user("bob").chunk(None, None, b"01234").await.expect(200);
    app.stop().await;
}
