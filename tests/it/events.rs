//! What the identity server tells of its own accord: users disabled and enabled, keys revoked, realms flushed.

use std::{sync::Arc, time::Duration};

use chunkgate::{
    app,
    auth::standing::LIFE,
    domain::{Clock as _, Timestamp, after, before},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    metrics::{grew, moved},
    support::{
        Answer, Caller, TestApp,
        identity::{Mode, Scripted},
        md5,
    },
};

const ROUTE: &str = "/api/v1/identity/events";
const EVENTS_TOKEN: &str = "events-token-S3CR3T";
const SECOND: Duration = Duration::from_secs(1);

/// A service that listens to `identity`.
async fn listening(identity: &Scripted) -> TestApp {
    let url = identity.url();
    TestApp::with(|config| {
        config.identity.url = url;
        config.identity.events_token = EVENTS_TOKEN.into();
    })
    .await
}

fn event(app: &TestApp, id: &str, kind: &str, user: Option<&str>) -> Value {
    let mut event = json!({"id": id, "type": kind, "realm": "default", "at": app.clock.now()});
    if let Some(user) = user {
        event["user_id"] = user.into();
    }
    event
}

async fn send(app: &TestApp, authorization: Option<&str>, body: String) -> Answer {
    let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    headers.extend(authorization.map(|value| ("Authorization".to_owned(), value.to_owned())));
    app.anonymous().send_as_is("POST", ROUTE, &headers, body.into_bytes()).await
}

async fn tell(app: &TestApp, events: &[Value]) -> Answer {
    let body = json!({"version": "1", "events": events}).to_string();
    send(app, Some(&format!("Bearer {EVENTS_TOKEN}")), body).await
}

/// Tells one event of the user `u1`, who is `ann`.
async fn told(app: &TestApp, id: &str, kind: &str) {
    let outcome = tell(app, &[event(app, id, kind, Some("u1"))]).await.expect(200).json();
    assert_eq!(outcome["events"], json!([{"id": id, "outcome": "applied"}]));
}

fn token(answer: &Answer) -> String {
    answer.header("upload-token").expect("a token").to_owned()
}

async fn status(caller: &Caller, id: &str) -> Answer {
    caller.get(&format!("/api/v1/uploads/{id}")).await
}

#[tokio::test]
async fn a_disabled_user_is_refused_at_once_and_an_enabled_one_goes_on() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = listening(&identity).await;
    let ann = app.user("ann");
    let first = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200);
    let (id, bearer) = (first.id(), app.bearer(&token(&first)));

    // It says the same when it is asked, which it is about each new second's signature.
    identity.set(Mode::Deny(200, "user_disabled", json!({"user": {"id": "u1"}})));
    told(&app, "e1", "user.disabled").await;
    for caller in [&ann, &bearer] {
        assert_eq!(status(caller, &id).await.expect(403).json()["code"], "account_disabled");
        caller.chunk(Some(&id), Some((5, 9, 15)), b"56789").await.expect(403);
    }

    identity.set(Mode::Ok);
    told(&app, "e2", "user.enabled").await;
    app.clock.advance(6 * SECOND);
    assert_eq!(status(&bearer, &id).await.expect(401).json()["code"], "token_expired", "made before");
    let asked = identity.calls();
    let next = ann.chunk(Some(&id), Some((5, 9, 15)), b"56789").await.expect(200);
    assert_eq!(identity.calls(), asked + 1);
    app.bearer(&token(&next)).chunk(Some(&id), Some((10, 14, 15)), b"abcde").await.expect(200);
    ann.complete(&id, &md5(b"0123456789abcde")).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_revoked_key_ends_what_its_user_proved_so_far() {
    for user in [Some("u1"), None] {
        let identity = Scripted::start(&[Mode::Ok]).await;
        let app = listening(&identity).await;
        let ann = app.user("ann");
        let proof = ann.proof();
        let chunk = [vec![("Content-Range".into(), "bytes 0-3/8".into())], proof.clone()].concat();
        let named = [chunk, vec![("Content-Disposition".into(), "attachment; filename=\"a\"".into())]].concat();
        let path = "/chunked_uploads/upload/";
        let first = ann.send_as_is("POST", path, &named, b"0123".to_vec()).await.expect(200);
        let id = first.json()[0]["upload_uuid"].as_str().expect("an id").to_owned();
        let bearer = app.bearer(&token(&first));
        status(&bearer, &id).await.expect(200);

        let mut revoked = event(&app, "e1", "key.revoked", user);
        revoked["key_id"] = "of-no-meaning-here".into();
        tell(&app, &[revoked]).await.expect(200);
        identity.set(Mode::Deny(200, "unknown_key", json!({})));
        assert_eq!(status(&bearer, &id).await.expect(401).json()["code"], "token_expired");
        let refused = ann.send_as_is("GET", &format!("/api/v1/uploads/{id}"), &proof, Vec::new()).await.expect(401);
        assert_eq!(refused.json()["code"], "invalid_credentials", "remembered, and not believed");
        // The signature that began the upload reaches it no more after its window either.
        app.clock.advance(301 * SECOND);
        let late = ann.send_as_is("GET", &format!("/api/v1/uploads/{id}"), &proof, Vec::new()).await.expect(401);
        assert_eq!(late.json()["code"], "timestamp_out_of_window");

        identity.set(Mode::Ok);
        status(&ann, &id).await.expect(200);
        app.stop().await;
    }
}

#[tokio::test]
async fn a_flush_ends_everybodys_tokens_and_an_update_nobodys() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = listening(&identity).await;
    let ann = app.user("ann");
    let first = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200);
    let (id, bearer) = (first.id(), app.bearer(&token(&first)));
    let signed = ann.proof();
    let by_signature = async || ann.send_as_is("GET", &format!("/api/v1/uploads/{id}"), &signed, Vec::new()).await;
    by_signature().await.expect(200);
    let asked = identity.calls();
    for (number, kind, tokens_live) in [(1, "user.updated", true), (2, "realm.flush", false)] {
        told(&app, kind, kind).await;
        by_signature().await.expect(200);
        by_signature().await.expect(200);
        assert_eq!(identity.calls(), asked + number, "{kind}: asked again, and once");
        status(&bearer, &id).await.expect(if tokens_live { 200 } else { 401 });
    }
    app.stop().await;
}

#[tokio::test]
async fn what_one_service_hears_holds_at_the_other_a_second_later() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = listening(&identity).await;
    let mut config = app.config.clone();
    config.storage.local.path = app.files().with_file_name("files-of-the-second");
    let listener = TcpListener::bind(config.server.listen).await.expect("a free port");
    let second = app::start(config, listener, app.clock.clone(), axum::Router::new()).await.expect("starts");
    let there = format!("http://{}", second.address());
    let ann_there = app.user("ann").at(&there);
    let first = ann_there.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200);
    let (id, bearer_there) = (first.id(), app.bearer(&token(&first)).at(&there));
    let signed = ann_there.proof();
    let by_signature = async || ann_there.send_as_is("GET", &format!("/api/v1/uploads/{id}"), &signed, vec![]).await;
    by_signature().await.expect(200);

    told(&app, "e1", "user.disabled").await;
    app.clock.advance(LIFE);
    by_signature().await.expect(403);
    status(&bearer_there, &id).await.expect(403);
    told(&app, "e2", "user.enabled").await;
    by_signature().await.expect(200);
    told(&app, "e3", "session.revoked").await;
    app.clock.advance(LIFE);
    identity.set(Mode::Deny(200, "invalid_signature", json!({})));
    by_signature().await.expect(401);
    second.stop(std::future::pending()).await;
    app.stop().await;
}

#[tokio::test]
async fn an_answer_that_an_event_overtook_is_not_believed() {
    let hold = Arc::new(Semaphore::new(0));
    let disabled = Mode::Deny(200, "user_disabled", json!({}));
    let identity = Scripted::start(&[Mode::Ok, Mode::Held(hold.clone()), disabled]).await;
    let app = listening(&identity).await;
    let ann = app.user("ann");
    let id = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200).id();
    // Asked while the user was active; answered when the user is not any more.
    app.clock.advance(61 * SECOND);
    let proof = ann.proof();
    let path = format!("/api/v1/uploads/{id}");
    let asking = ann.send_as_is("GET", &path, &proof, Vec::new());
    let event = async {
        identity.has_been_asked(2).await;
        told(&app, "e1", "user.disabled").await;
        hold.add_permits(1);
    };
    let (answer, ()) = tokio::join!(asking, event);
    assert_eq!(answer.expect(503).json()["code"], "auth_unavailable");
    ann.send_as_is("GET", &path, &proof, Vec::new()).await.expect(403);
    assert_eq!(identity.calls(), 3, "and is remembered for nobody");
    app.stop().await;
}

#[tokio::test]
async fn an_event_told_again_changes_nothing() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = listening(&identity).await;
    let ann = app.user("ann");
    let id = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200).id();
    let [off, on] = ["user.disabled", "user.enabled"].map(|kind| event(&app, kind, kind, Some("u1")));
    let both = tell(&app, &[off.clone(), on]).await.expect(200).json();
    assert_eq!(both["events"].as_array().map(Vec::len), Some(2));
    let again = tell(&app, &[off]).await.expect(200).json();
    assert_eq!(again["events"], json!([{"id": "user.disabled", "outcome": "repeated"}]));
    status(&ann, &id).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn what_is_told_is_counted() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = listening(&identity).await;
    let counted = async |events: &[Value]| {
        let (_, grown) = moved(&app, &["identity_events"], tell(&app, events)).await;
        grown
    };
    let [one, other] = ["e1", "e2"].map(|id| event(&app, id, "user.updated", Some("u1")));
    let by = |result: &str, count: f64| {
        grew(&[(&*format!("identity_events_total{{realm=\"default\",result=\"{result}\"}}"), count)])
    };
    assert_eq!(counted(&[one.clone(), other.clone()]).await, by("applied", 2.0));
    assert_eq!(counted(&[other]).await, by("repeated", 1.0));
    let mut flawed = one.clone();
    flawed["realm"] = "another".into();
    assert_eq!(counted(&[one, flawed]).await, by("refused", 1.0), "the list, and nothing in it");
    let guess = send(&app, Some("Bearer a-guess"), String::new());
    assert_eq!(moved(&app, &["identity_events"], guess).await.1, [], "nor who may not speak");
    app.stop().await;
}

#[tokio::test]
async fn who_may_not_speak_is_not_heard() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = listening(&identity).await;
    let body = || json!({"version": "1", "events": [event(&app, "e1", "user.disabled", Some("u1"))]}).to_string();
    let ann = app.user("ann");
    let id = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200).id();
    for (authorization, code) in [
        (None, "credentials_missing"),
        (Some(format!("Bearer {}", crate::support::TOKEN)), "invalid_credentials"),
        (Some(format!("Bearer {EVENTS_TOKEN}x")), "invalid_credentials"),
        (Some(format!("Basic {EVENTS_TOKEN}")), "invalid_credentials"),
        (Some(EVENTS_TOKEN.to_owned()), "invalid_credentials"),
        (Some(String::new()), "invalid_credentials"),
    ] {
        let refused = send(&app, authorization.as_deref(), body()).await.expect(401);
        assert_eq!(refused.json()["code"], code, "{authorization:?}");
        assert!(refused.header("www-authenticate").is_some_and(|ask| ask.starts_with("Bearer")));
    }
    status(&ann, &id).await.expect(200);
    let deaf = app.restart(|config| config.identity.events_token = "".into()).await;
    tell(&deaf, &[]).await.expect(404);
    deaf.stop().await;
}

#[tokio::test]
async fn a_list_with_a_flaw_in_it_changes_nothing() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let app = listening(&identity).await;
    let ann = app.user("ann");
    let id = ann.chunk(None, Some((0, 4, 15)), b"01234").await.expect(200).id();
    let good = event(&app, "e1", "user.disabled", Some("u1"));
    let but = |name: &str, value: Value| {
        let mut flawed = event(&app, "e2", "user.disabled", Some("u1"));
        flawed[name] = value;
        flawed
    };
    let now: Timestamp = app.clock.now();
    for flawed in [
        but("type", "user.vanished".into()),
        but("realm", "another".into()),
        but("user_id", Value::Null),
        but("user_id", "".into()),
        but("id", "".into()),
        but("id", "a\u{0}b".into()),
        but("id", 7.into()),
        but("at", json!(before(now, 310 * SECOND))),
        but("at", json!(after(now, 310 * SECOND))),
        but("at", "yesterday".into()),
        json!(null),
    ] {
        let refused = tell(&app, &[good.clone(), flawed.clone()]).await.expect(400);
        assert_eq!(refused.json()["code"], "bad_request", "{flawed}");
    }
    let many: Vec<_> = (0..101).map(|n| event(&app, &format!("m{n}"), "user.disabled", Some("u1"))).collect();
    tell(&app, &many).await.expect(400);
    let bearer = format!("Bearer {EVENTS_TOKEN}");
    for body in ["", "{}", "[]", "{\"version\":\"2\",\"events\":[]}", "\u{0}"] {
        send(&app, Some(&bearer), body.to_owned()).await.expect(400);
    }
    send(&app, Some(&bearer), " ".repeat(65 * 1024)).await.expect(413);
    status(&ann, &id).await.expect(200);
    // Nobody here: nothing to do, and no fault of who tells it.
    tell(&app, &[event(&app, "e3", "user.deleted", Some("stranger"))]).await.expect(200);
    app.stop().await;
}
