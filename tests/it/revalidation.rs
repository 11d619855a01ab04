//! Long uploads: their users are asked about again now and then, and an outage is outlived for a while.

use std::time::Duration;

use chunkgate::{app, auth::Method, db::Change};
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    local,
    metrics::{grew, moved},
    support::{
        Answer, Caller, TestApp,
        identity::{Mode, Scripted},
        operate,
    },
};

const MINUTE: Duration = Duration::from_secs(60);

async fn asking(identity: &Scripted) -> TestApp {
    let url = identity.url();
    TestApp::with(|config| config.identity.url = url).await
}

/// An upload that has begun, and a caller with its token.
async fn begun(app: &TestApp) -> (String, Caller) {
    let first = app.user("ann").chunk(None, Some((0, 0, 10)), b"0").await.expect(200);
    (first.id(), app.bearer(first.header("upload-token").expect("a token")))
}

async fn status(caller: &Caller, id: &str) -> Answer {
    caller.get(&format!("/api/v1/uploads/{id}")).await
}

#[tokio::test]
async fn a_user_is_asked_about_once_an_interval_by_all_services_together() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = asking(&identity).await;
    let mut config = app.config.clone();
    config.storage.local.path = app.files().with_file_name("files-of-the-second");
    let listener = TcpListener::bind(config.server.listen).await.expect("a free port");
    let second = app::start(config, listener, app.clock.clone(), axum::Router::new()).await.expect("starts");

    let first = app.user("ann").chunk(None, Some((0, 0, 10)), b"0").await.expect(200);
    let (id, token) = (first.id(), first.header("upload-token").expect("a token"));
    let bearer = app.bearer(token);
    app.clock.advance(14 * MINUTE);
    status(&bearer, &id).await.expect(200);
    assert_eq!(identity.calls(), 1, "the proof itself");
    app.clock.advance(2 * MINUTE);
    join_all((0..20).map(|_| status(&bearer, &id))).await.into_iter().for_each(|answer| drop(answer.expect(200)));
    let there = app.bearer(token).at(&format!("http://{}", second.address()));
    status(&there, &id).await.expect(200);
    assert_eq!(identity.calls(), 2);
    {
        let asked = identity.asked();
        let question = &asked[1].question;
        assert_eq!((&question["user_id"], &question["realm"]), (&json!("u1"), &json!("default")));
        assert_eq!(question["credential"], json!(null), "no proof is sent");
        assert_eq!(asked[1].headers["authorization"], format!("Bearer {}", crate::support::TOKEN).as_str());
    }
    second.stop(std::future::pending()).await;
    app.stop().await;
}

#[tokio::test]
async fn a_definite_no_ends_the_users_tokens_and_a_proof_brings_the_user_back() {
    for code in ["user_disabled", "unknown_user", "some_new_code"] {
        let identity = Scripted::start(&[Mode::Ok]).await;
        let app = asking(&identity).await;
        let (id, bearer) = begun(&app).await;
        identity.set(Mode::Deny(200, code, json!({})));
        app.clock.advance(16 * MINUTE);
        let refused = bearer.chunk(Some(&id), Some((1, 1, 10)), b"1").await.expect(403);
        assert!(refused.text.contains("disabled"), "{}", refused.text);
        assert_eq!(status(&bearer, &id).await.expect(403).json()["code"], "account_disabled");
        assert_eq!(identity.calls(), 2, "the row knows it");

        identity.set(Mode::Ok);
        let ann = app.user("ann");
        assert_eq!(status(&ann, &id).await.expect(200).json()["offset"], 1, "nothing was destroyed");
        assert_eq!(status(&bearer, &id).await.expect(401).json()["code"], "token_expired");
        ann.chunk(Some(&id), Some((1, 1, 10)), b"1").await.expect(200);
        app.stop().await;
    }
}

#[tokio::test]
async fn an_outage_is_outlived_for_a_while_and_never_a_refusal() {
    let other = Mode::OkBut(json!({"user": {"id": "u2", "username": "bob"}}));
    let late = Mode::Deny(200, "user_disabled", json!({"retry_after": 3}));
    for mode in [Mode::Page(500), Mode::Page(403), Mode::Redirect, Mode::Truncated, other, late] {
        let identity = Scripted::start(&[Mode::Ok]).await;
        let app = asking(&identity).await;
        let (id, bearer) = begun(&app).await;
        identity.set(mode);
        app.clock.advance(16 * MINUTE);
        let goes_on = async {
            bearer.chunk(Some(&id), Some((1, 1, 10)), b"1").await.expect(200);
            status(&bearer, &id).await.expect(200);
        };
        let ((), stale) = moved(&app, &["auth_stale"], goes_on).await;
        assert_eq!(stale, grew(&[("auth_stale_admitted_total{realm=\"default\"}", 2.0)]));
        assert_eq!(identity.calls(), 2, "asked in vain, and not again for each chunk");
        app.clock.advance(8 * MINUTE);
        bearer.chunk(Some(&id), Some((2, 2, 10)), b"2").await.expect(200);
        assert_eq!(identity.calls(), 3);
        app.clock.advance(MINUTE);
        let waits = async {
            for answer in [bearer.chunk(Some(&id), Some((3, 3, 10)), b"3").await, status(&bearer, &id).await] {
                assert!(answer.expect(503).header("retry-after").is_some());
            }
        };
        assert_eq!(moved(&app, &["auth_stale"], waits).await.1, []);
        identity.set(Mode::Ok);
        app.clock.advance(MINUTE);
        bearer.chunk(Some(&id), Some((3, 3, 10)), b"3").await.expect(200);
        app.stop().await;
    }
}

#[tokio::test]
async fn a_server_without_the_route_is_left_in_peace() {
    let unsupported = Mode::OkBut(json!({"status": "unsupported", "user": null}));
    for mode in [Mode::Page(404), Mode::Page(405), unsupported] {
        let identity = Scripted::start(&[Mode::Ok, mode]).await;
        let app = asking(&identity).await;
        let (id, bearer) = begun(&app).await;
        app.clock.advance(16 * MINUTE);
        for _ in 0..3 {
            status(&bearer, &id).await.expect(200);
        }
        assert_eq!(identity.calls(), 2);
        // It is away later on, and nobody notices.
        identity.set(Mode::Page(500));
        app.clock.advance(30 * MINUTE);
        status(&bearer, &id).await.expect(200);
        // It learns the route, and is heard.
        identity.set(Mode::Deny(200, "user_disabled", json!({})));
        app.clock.advance(MINUTE);
        status(&bearer, &id).await.expect(403);
        app.stop().await;
    }
}

#[tokio::test]
async fn a_signature_after_its_window_is_asked_about_too() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = asking(&identity).await;
    let ann = app.user("ann");
    let chunk = [
        vec![
            ("Content-Range".to_owned(), "bytes 0-3/8".to_owned()),
            ("Content-Disposition".to_owned(), "attachment; filename=\"a\"".to_owned()),
        ],
        ann.proof(),
    ]
    .concat();
    let first = ann.send_as_is("POST", "/chunked_uploads/upload/", &chunk, b"0123".to_vec()).await.expect(200);
    let path = format!("/api/v1/uploads/{}", first.json()[0]["upload_uuid"].as_str().expect("an id"));
    let proof = chunk[2..].to_vec();
    let look = async || ann.send_as_is("GET", &path, &proof, Vec::new()).await;
    app.clock.advance(6 * MINUTE);
    look().await.expect(200);
    assert_eq!(identity.calls(), 1);
    identity.set(Mode::Page(500));
    app.clock.advance(10 * MINUTE);
    look().await.expect(200);
    app.clock.advance(10 * MINUTE);
    look().await.expect(503);
    identity.set(Mode::Deny(200, "user_disabled", json!({})));
    app.clock.advance(MINUTE);
    look().await.expect(403);
    app.stop().await;
}

#[tokio::test]
async fn a_route_that_was_there_and_is_missing_is_an_outage() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = asking(&identity).await;
    let (id, bearer) = begun(&app).await;
    app.clock.advance(16 * MINUTE);
    status(&bearer, &id).await.expect(200);
    identity.set(Mode::Page(404));
    app.clock.advance(16 * MINUTE);
    status(&bearer, &id).await.expect(200);
    app.clock.advance(10 * MINUTE);
    status(&bearer, &id).await.expect(503);
    app.stop().await;
}

#[tokio::test]
async fn local_users_are_nobody_elses_business() {
    let identity = Scripted::start(&[Mode::Page(500)]).await;
    let url = identity.url();
    let app = TestApp::with(|config| {
        config.identity.url = url;
        config.auth.methods = vec![Method::Signature, Method::ApiKey];
        config.auth.pepper = local::PEPPER.into();
    })
    .await;
    let stores =
        chunkgate::db::connect(&app.config.database, app.config.storage.local.durability).await.expect("connects");
    let dora = local::add_user(&stores, "dora", &app.clock).await;
    let (key, kept) = local::new_key(dora, &*app.clock);
    assert!(operate(&stores.operations, Change::AddKey(&kept), kept.created).await.expect("kept"));
    let head = [
        ("Authorization".to_owned(), format!("ApiKey dora:{}", key.reveal())),
        ("Content-Range".to_owned(), "bytes 0-3/8".to_owned()),
        ("Content-Disposition".to_owned(), "attachment; filename=\"a\"".to_owned()),
    ];
    let first = app.anonymous().send_as_is("POST", "/chunked_uploads/upload/", &head, b"0123".to_vec()).await;
    let first = first.expect(200);
    let bearer = app.bearer(first.header("upload-token").expect("a token"));
    app.clock.advance(50 * MINUTE);
    status(&bearer, first.json()[0]["upload_uuid"].as_str().expect("an id")).await.expect(200);
    assert_eq!(identity.calls(), 0);
    stores.close().await;
    app.stop().await;
}

#[tokio::test]
async fn the_reference_server_knows_who_may_go_on() {
    let app = TestApp::start().await;
    let first = app.user("alice").chunk(None, Some((0, 0, 10)), b"0").await.expect(200);
    let (id, bearer) = (first.id(), app.bearer(first.header("upload-token").expect("a token")));
    app.clock.advance(16 * MINUTE);
    status(&bearer, &id).await.expect(200);
    let users = std::fs::read_to_string(&app.users).expect("users");
    let disabled = users.replacen("username = \"alice\"", "username = \"alice\"\ndisabled = true", 1);
    std::fs::write(&app.users, disabled).expect("written");
    status(&bearer, &id).await.expect(200);
    app.clock.advance(16 * MINUTE);
    status(&bearer, &id).await.expect(403);
    app.stop().await;
}
