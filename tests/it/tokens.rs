//! Upload tokens as clients meet them: what one opens, what it does not, and when it is over.

mod rotation;

use std::{sync::Arc, time::Duration};

use chunkgate::{
    app,
    auth::{Method, standing::LIFE},
    config::Config,
    db::{self, Change, Stores},
    domain::{
        Clock as _,
        events::{Event, Kind},
        principal::{Scope, Scopes},
        ring::TokenKey,
        token::Sealed,
    },
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    local,
    support::{
        Answer, Caller, TestApp,
        identity::{Mode, Scripted},
        md5, operate, until,
    },
};

const RAW: &str = "/chunked_uploads/upload/";
const MINUTE: Duration = Duration::from_secs(60);

/// The token of an answer, if it carries one.
fn given(answer: &Answer) -> Option<String> {
    answer.header("upload-token").map(str::to_owned)
}

#[track_caller]
fn token(answer: &Answer) -> String {
    given(answer).expect("a token")
}

fn raw_head(name: Option<&str>, (from, to, total): (u64, u64, u64)) -> Vec<(String, String)> {
    let name = name.map(|name| ("Content-Disposition".to_owned(), format!("attachment; filename=\"{name}\"")));
    let range = ("Content-Range".to_owned(), format!("bytes {from}-{to}/{total}"));
    name.into_iter().chain([range]).collect()
}

async fn raw_chunk(caller: &Caller, name: Option<&str>, range: (u64, u64, u64), bytes: &[u8]) -> Answer {
    caller.send("POST", RAW, &raw_head(name, range), bytes.to_vec()).await
}

fn raw_id(answer: &Answer) -> String {
    answer.json()[0]["upload_uuid"].as_str().expect("an id").to_owned()
}

async fn status(caller: &Caller, id: &str) -> Answer {
    caller.get(&format!("/api/v1/uploads/{id}")).await
}

async fn stores(app: &TestApp) -> Stores {
    db::connect(&app.config.database, app.config.storage.local.durability).await.expect("connects")
}

/// The identity server tells of it, at some node.
async fn revoke_a_key_of_alice(stores: &Stores, app: &TestApp) {
    let (realm, now) = ("default".to_owned(), app.clock.now());
    let subject = Some("subject-alice".to_owned());
    let event = Event { id: "e1".to_owned(), kind: Kind::KeyRevoked, realm, subject, at: now };
    assert!(stores.identity_events.hear("default", &event, now).await.expect("answers"));
}

#[tokio::test]
async fn an_upload_asks_the_identity_server_once_and_outlives_its_outage() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let url = identity.url();
    let app = TestApp::with(|config| config.identity.url = url).await;
    let first = app.user("ann").chunk(None, Some((0, 4, 15)), b"01234").await.expect(200);
    let (id, token) = (first.id(), token(&first));
    identity.set(Mode::Page(500));
    // Long after the signature's window, and after a restart.
    app.clock.advance(20 * MINUTE);
    let app = app.restart(|_| {}).await;
    let bearer = app.bearer(&token);
    assert_eq!(given(&bearer.chunk(Some(&id), Some((5, 9, 15)), b"56789").await.expect(200)), None, "no need yet");
    assert_eq!(status(&bearer, &id).await.expect(200).json()["offset"], 10);
    bearer.chunk(Some(&id), Some((10, 14, 15)), b"abcde").await.expect(200);
    assert_eq!(given(&bearer.complete(&id, &md5(b"0123456789abcde")).await.expect(200)), None);
    let content = bearer.get(&format!("/api/v1/uploads/{id}/content")).await.expect(200);
    assert_eq!(content.text, "0123456789abcde");
    bearer.cancel(&id).await.expect(204);
    assert_eq!(identity.calls(), 2, "about the proof; and in vain whether the user may still act");
    app.stop().await;
}

#[tokio::test]
async fn a_file_in_one_request_and_an_empty_one_come_with_a_token_too() {
    let app = TestApp::start().await;
    for bytes in [b"whole".as_slice(), b""] {
        let first = app.user("alice").chunk(None, None, bytes).await.expect(200);
        let bearer = app.bearer(&token(&first));
        bearer.complete(&first.id(), &md5(bytes)).await.expect(200);
    }
    app.stop().await;
}

#[tokio::test]
async fn the_raw_door_by_token_alone() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let first = raw_chunk(&alice, Some("a.bin"), (0, 3, 12), b"0123").await.expect(200);
    let other = raw_chunk(&alice, Some("b.bin"), (0, 3, 12), b"bbbb").await.expect(200);
    let (id, bearer) = (raw_id(&first), app.bearer(&token(&first)));
    // Neither name nor cookie; and a cookie that says otherwise.
    assert_eq!(raw_id(&raw_chunk(&bearer, None, (4, 7, 12), b"4567").await.expect(200)), id);
    let mut headers = raw_head(Some("a.bin"), (8, 9, 12));
    headers.push(("Cookie".into(), format!("chunkgate_session={}", raw_id(&other))));
    assert_eq!(raw_id(&bearer.send("POST", RAW, &headers, b"89".to_vec()).await.expect(200)), id);
    let again = raw_chunk(&bearer, Some("a.bin"), (4, 9, 12), b"456789").await.expect(200);
    assert_eq!(
        (raw_id(&again), &again.json()[0]["size"]),
        (id.clone(), &json!(10)),
        "what is stored may be sent again"
    );
    for (path, cookie) in [("", raw_id(&other)), ("?file=a.bin", raw_id(&other)), ("", "none".into())] {
        let headers = [("Cookie".to_owned(), format!("chunkgate_session={cookie}"))];
        let probe = bearer.send("GET", &format!("{RAW}{path}"), &headers, Vec::new()).await.expect(200).json();
        let shown = if path.is_empty() { &probe[0] } else { &probe["file"] };
        assert_eq!((&shown["upload_uuid"], &shown["size"]), (&json!(id), &json!(10)), "{path} {cookie}");
    }
    assert_eq!(bearer.get(&format!("{RAW}?file=b.bin")).await.expect(200).json(), json!({"file": null}));
    raw_chunk(&bearer, None, (10, 11, 12), b"ab").await.expect(200);
    let done = bearer.send("POST", &format!("{RAW}done/{id}/"), &[], Vec::new()).await.expect(200);
    assert_eq!(done.json()[0]["state"], "COMPLETE");
    raw_chunk(&bearer, None, (0, 3, 12), b"0123").await.expect(409);
    bearer.send("DELETE", &format!("/chunked_uploads/{id}/delete/"), &[], Vec::new()).await.expect(200);
    raw_chunk(&bearer, None, (0, 3, 12), b"0123").await.expect(410);
    app.stop().await;
}

#[tokio::test]
async fn a_raw_chunk_under_a_token_goes_nowhere_else() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let first = raw_chunk(&alice, Some("a.bin"), (0, 3, 8), b"0123").await.expect(200);
    let (id, bearer) = (raw_id(&first), app.bearer(&token(&first)));
    let twin = raw_id(&raw_chunk(&alice, Some("a.bin"), (0, 3, 8), b"twin").await.expect(200));
    for (name, range, bytes, expected) in [
        (Some("b.bin"), (4, 7, 8), b"4567", 403),
        (Some("b.bin"), (0, 3, 8), b"0123", 403),
        (Some("a.bin"), (4, 7, 9), b"4567", 400),
        (Some("a.bin"), (0, 3, 8), b"twin", 409),
        (None, (3, 6, 8), b"xxxx", 409),
    ] {
        raw_chunk(&bearer, name, range, bytes).await.expect(expected);
    }
    bearer.send("POST", &format!("{RAW}done/{twin}/"), &[], Vec::new()).await.expect(404);
    bearer.send("DELETE", &format!("/chunked_uploads/{twin}/delete/"), &[], Vec::new()).await.expect(404);
    for upload in [&id, &twin] {
        assert_eq!(status(&alice, upload).await.expect(200).json()["offset"], 4);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_token_reaches_its_upload_and_no_other() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let first = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
    let other = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200).id();
    let (id, bearer) = (first.id(), app.bearer(&token(&first)));
    bearer.chunk(Some(&other), Some((5, 9, 10)), b"56789").await.expect(404);
    bearer.complete(&other, &md5(b"01234")).await.expect(404);
    status(&bearer, &other).await.expect(404);
    bearer.get(&format!("/api/v1/uploads/{other}/content")).await.expect(404);
    bearer.cancel(&other).await.expect(404);
    bearer.chunk(None, Some((0, 4, 10)), b"01234").await.expect(403);
    bearer.chunk(None, None, b"01234").await.expect(403);
    let listed = bearer.get("/api/v1/uploads").await.expect(200).json();
    let ids: Vec<&Value> = listed["uploads"].as_array().expect("a list").iter().map(|upload| &upload["id"]).collect();
    assert_eq!(ids.iter().map(|id| id.as_str().expect("text").replace('-', "")).collect::<Vec<_>>(), [id]);
    assert_eq!(app.stored().len(), 2, "nothing was begun");
    app.stop().await;
}

#[tokio::test]
async fn a_token_slides_while_it_is_used_and_ends_when_it_is_not() {
    let app = TestApp::with(|config| config.uploads.expires_after = 150 * MINUTE).await;
    let first = app.user("alice").chunk(None, Some((0, 0, 10)), b"0").await.expect(200);
    let (id, old) = (first.id(), token(&first));
    app.clock.advance(29 * MINUTE);
    let bearer = app.bearer(&old);
    assert_eq!(given(&bearer.chunk(Some(&id), Some((1, 1, 10)), b"1").await.expect(200)), None);
    app.clock.advance(MINUTE);
    assert_eq!(given(&status(&bearer, &id).await.expect(200)), None, "only a write");
    let fresh = token(&bearer.chunk(Some(&id), Some((2, 2, 10)), b"2").await.expect(200));
    app.clock.advance(31 * MINUTE);
    for answer in [
        bearer.chunk(Some(&id), Some((3, 3, 10)), b"3").await.expect(401),
        raw_chunk(&bearer, None, (3, 3, 10), b"3").await.expect(401),
        status(&bearer, &id).await.expect(401),
    ] {
        assert!(answer.header("www-authenticate").is_some_and(|ask| ask.starts_with("Chunkgate")));
        assert!(answer.text.contains("no longer good"), "{}", answer.text);
    }
    assert_eq!(status(&bearer, &id).await.json()["code"], "token_expired");
    // The next one goes on, and so does the one after it, to the end of the upload and no further.
    app.clock.advance(20 * MINUTE);
    let last = token(&app.bearer(&fresh).chunk(Some(&id), Some((3, 3, 10)), b"3").await.expect(200));
    app.clock.advance(50 * MINUTE);
    let last = token(&app.bearer(&last).chunk(Some(&id), Some((4, 4, 10)), b"4").await.expect(200));
    let bearer = app.bearer(&last);
    app.clock.advance(15 * MINUTE);
    assert_eq!(
        given(&bearer.chunk(Some(&id), Some((5, 5, 10)), b"5").await.expect(200)),
        None,
        "it could not live longer"
    );
    app.clock.advance(5 * MINUTE);
    status(&bearer, &id).await.expect(401);
    status(&app.user("alice"), &id).await.expect(410);
    app.stop().await;
}

#[tokio::test]
async fn whoever_proves_it_again_gets_a_fresh_one() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let first = alice.chunk(None, Some((0, 4, 20)), b"01234").await.expect(200);
    let (id, old) = (first.id(), token(&first));
    app.clock.advance(61 * MINUTE);
    app.bearer(&old).chunk(Some(&id), Some((5, 9, 20)), b"56789").await.expect(401);
    let fresh = token(&alice.chunk(Some(&id), Some((5, 9, 20)), b"56789").await.expect(200));
    app.bearer(&fresh).chunk(Some(&id), Some((10, 14, 20)), b"abcde").await.expect(200);
    assert_eq!(given(&alice.chunk(Some(&id), Some((0, 4, 20)), b"01234").await.expect(400)), None);
    app.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_none_of_two_kinds_is_preferred() {
    let app = TestApp::with(|config| config.auth.anonymous = true).await;
    let alice = app.user("alice");
    let first = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
    let (path, good) = (format!("/api/v1/uploads/{}", first.id()), token(&first));
    let flipped = |at: usize| {
        let mut text = good.clone().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).expect("text")
    };
    for wrong in [flipped(8), flipped(40), flipped(100), flipped(128), good[..128].into(), String::new(), "x".into()] {
        let refused = app.bearer(&wrong).get(&path).await.expect(401);
        assert_eq!(refused.json()["code"], "invalid_credentials", "{wrong}");
    }
    let mut both = alice.proof();
    both.push(("Upload-Token".into(), good.clone()));
    let refused = alice.send_as_is("GET", &path, &both, Vec::new()).await.expect(400);
    assert_eq!(refused.json()["code"], "ambiguous_credentials");
    let twice = [("Upload-Token".to_owned(), good.clone()), ("Upload-Token".to_owned(), good)];
    alice.send_as_is("GET", &path, &twice, Vec::new()).await.expect(400);
    app.stop().await;
}

#[tokio::test]
async fn disabling_a_user_and_revoking_a_key_end_every_token_made_before() {
    let app = TestApp::start().await;
    let stores = stores(&app).await;
    let alice = app.user("alice");
    let first = alice.chunk(None, Some((0, 4, 20)), b"01234").await.expect(200);
    let (id, bearer) = (first.id(), app.bearer(&token(&first)));
    let disable = async |disabled| {
        let now = app.clock.now();
        stores.accounts.set_disabled("default", "subject-alice", disabled, now).await.expect("done");
    };
    disable(true).await;
    app.clock.advance(LIFE);
    bearer.chunk(Some(&id), Some((5, 9, 20)), b"56789").await.expect(403);
    disable(false).await;
    assert_eq!(status(&bearer, &id).await.expect(401).json()["code"], "token_expired");

    let bearer = app.bearer(&token(&alice.chunk(Some(&id), Some((5, 9, 20)), b"56789").await.expect(200)));
    bearer.chunk(Some(&id), Some((10, 14, 20)), b"abcde").await.expect(200);
    revoke_a_key_of_alice(&stores, &app).await;
    app.clock.advance(LIFE);
    bearer.chunk(Some(&id), Some((15, 19, 20)), b"fghij").await.expect(401);
    alice.chunk(Some(&id), Some((15, 19, 20)), b"fghij").await.expect(200);
    stores.close().await;
    app.stop().await;
}

#[tokio::test]
async fn a_token_is_for_no_more_than_the_key_was() {
    let app = TestApp::with(|config| {
        config.auth.methods = vec![Method::ApiKey];
        config.auth.pepper = local::PEPPER.into();
    })
    .await;
    let stores = stores(&app).await;
    let ann = local::add_user(&stores, "ann", &app.clock).await;
    let key = async |scopes: Scopes| {
        let (key, mut kept) = local::new_key(ann, &*app.clock);
        kept.scopes = scopes;
        local::keep_key(&stores, &kept).await;
        (kept.id, vec![("Authorization".to_owned(), format!("ApiKey ann:{}", key.reveal()))])
    };
    let begin = async |key: &[(String, String)], name: &str| {
        let headers = [raw_head(Some(name), (0, 3, 8)), key.to_vec()].concat();
        app.anonymous().send_as_is("POST", RAW, &headers, b"0123".to_vec()).await.expect(200)
    };
    let (_, create) = key([Scope::Create].into_iter().collect()).await;
    assert_eq!(given(&begin(&create, "a.bin").await), None, "it would be good for nothing");

    let (number, write) = key([Scope::Create, Scope::Write].into_iter().collect()).await;
    let first = begin(&write, "b.bin").await;
    let (id, bearer) = (raw_id(&first), app.bearer(&token(&first)));
    raw_chunk(&bearer, None, (4, 5, 8), b"45").await.expect(200);
    bearer.get(RAW).await.expect(403);
    assert_eq!(status(&bearer, &id).await.expect(403).json()["code"], "scope_denied");
    bearer.cancel(&id).await.expect(403);
    let revoked = operate(&stores.operations, Change::RevokeKey(number), app.clock.now()).await;
    assert!(revoked.expect("answers"));
    app.clock.advance(LIFE);
    raw_chunk(&bearer, None, (6, 7, 8), b"67").await.expect(401);
    stores.close().await;
    app.stop().await;
}

#[tokio::test]
async fn a_token_of_nobody_admits_while_nobody_is_admitted() {
    let app = TestApp::with(|config| config.auth.anonymous = true).await;
    let first = app.anonymous().chunk(None, Some((0, 4, 15)), b"01234").await.expect(200);
    let (id, token) = (first.id(), token(&first));
    app.bearer(&token).chunk(Some(&id), Some((5, 9, 15)), b"56789").await.expect(200);
    assert_eq!(app.bearer(&token).get("/api/v1/uploads").await.expect(200).json()["uploads"], json!([]));
    let app = app.restart(|config| config.auth.anonymous = false).await;
    app.bearer(&token).chunk(Some(&id), Some((10, 14, 15)), b"abcde").await.expect(401);
    app.stop().await;
}

#[tokio::test]
async fn keys_come_and_go_and_no_token_notices() {
    let app = TestApp::with(|config| {
        config.uploads.expires_after = 30 * 24 * 60 * MINUTE;
        config.auth.tokens.life = 20 * 60 * MINUTE;
    })
    .await;
    let stores = stores(&app).await;
    let ring = async || {
        let keys = stores.token_keys.ring().await.expect("answers");
        keys.iter().map(|key| key.number).collect::<Vec<_>>()
    };
    let changed = async |expected: &[u32]| {
        until("the ring is tended", async || {
            app.running().workers().nudge();
            (ring().await == expected).then_some(())
        })
        .await;
    };
    let signed_with = |token: &str| Sealed::parse(token).expect("a token").key();
    let alice = app.user("alice");
    let first = alice.chunk(None, Some((0, 0, 10)), b"0").await.expect(200);
    let (id, old) = (first.id(), token(&first));
    assert_eq!((ring().await, signed_with(&old)), (vec![1], 1));

    app.clock.advance(24 * 60 * MINUTE - 9 * MINUTE);
    changed(&[1, 2]).await;
    let before = token(&alice.chunk(Some(&id), Some((1, 1, 10)), b"1").await.expect(200));
    assert_eq!(signed_with(&before), 1, "known, but its time has not come");
    app.clock.advance(11 * MINUTE);
    let bearer = app.bearer(&before);
    bearer.chunk(Some(&id), Some((2, 2, 10)), b"2").await.expect(200);
    app.clock.advance(10 * 60 * MINUTE);
    let fresh = token(&bearer.chunk(Some(&id), Some((3, 3, 10)), b"3").await.expect(200));
    assert_eq!(signed_with(&fresh), 2);

    app.clock.advance(14 * 60 * MINUTE);
    changed(&[1, 2, 3]).await;
    app.bearer(&fresh).chunk(Some(&id), Some((4, 4, 10)), b"4").await.expect(200);
    app.clock.advance(2 * 60 * MINUTE);
    changed(&[2, 3]).await;
    status(&app.bearer(&before), &id).await.expect(401);
    stores.close().await;
    app.stop().await;
}

/// A second service on the same database, with files of its own.
pub(crate) async fn second_node(app: &TestApp, change: impl FnOnce(&mut Config)) -> (app::Running, Caller) {
    let mut config = app.config.clone();
    config.storage.local.path = app.files().with_file_name("files-of-the-second");
    change(&mut config);
    let listener = TcpListener::bind(config.server.listen).await.expect("a free port");
    let running = app::start(config, listener, app.clock.clone(), axum::Router::new()).await.expect("starts");
    let caller = app.user("alice").at(&format!("http://{}", running.address()));
    (running, caller)
}

#[tokio::test]
async fn services_on_one_database_accept_each_others_tokens() {
    let app = TestApp::start().await;
    let stores = stores(&app).await;
    let (second, alice_there) = second_node(&app, |_| {}).await;
    let alice = app.user("alice");
    let at = |caller: &Caller, token: &str| app.bearer(token).at(&caller.base);

    let here = alice.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
    assert_eq!(status(&at(&alice_there, &token(&here)), &here.id()).await.expect(200).json()["offset"], 5);
    let there = alice_there.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
    assert_eq!(status(&at(&alice, &token(&there)), &there.id()).await.expect(200).json()["offset"], 5);

    // A key that only one of them has heard of.
    let next = TokenKey { number: 2, secret: [9; 32], signs_from: app.clock.now() };
    assert!(stores.token_keys.publish(&next).await.expect("answers"));
    let fresh = until("the second node reads the ring", async || {
        second.workers().nudge();
        let answer = alice_there.chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
        Some(answer).filter(|answer| Sealed::parse(&token(answer)).is_some_and(|sealed| sealed.key() == 2))
    })
    .await;
    status(&at(&alice, &token(&fresh)), &fresh.id()).await.expect(200);

    // What anybody hears of a user holds at both a moment later.
    revoke_a_key_of_alice(&stores, &app).await;
    app.clock.advance(LIFE);
    for caller in [&alice, &alice_there] {
        status(&at(caller, &token(&fresh)), &fresh.id()).await.expect(401);
    }
    second.stop(std::future::pending()).await;
    stores.close().await;
    app.stop().await;
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_and_send_tokens() {
    let app = TestApp::start().await;
    let origin = ("Origin".to_owned(), "http://localhost".to_owned());
    let headers = [raw_head(Some("a.bin"), (0, 3, 8)), vec![origin.clone()]].concat();
    let answer = app.user("alice").send("POST", RAW, &headers, b"0123".to_vec()).await.expect(200);
    assert!(given(&answer).is_some());
    assert!(answer.header("access-control-expose-headers").expect("exposed").contains("Upload-Token"));
    let ask = [origin, ("Access-Control-Request-Method".into(), "POST".into())];
    let preflight = app.anonymous().send("OPTIONS", RAW, &ask, Vec::new()).await;
    assert!(preflight.header("access-control-allow-headers").expect("allowed").contains("Upload-Token"));
    app.stop().await;
}

#[tokio::test]
async fn an_unreachable_database_says_nothing_about_a_token() {
    use chunkgate::auth::{AuthError, Gate, Presented, Settings, keyring::Keyring, standing::Standing, tokens::Tokens};

    use crate::support::identity::MemoryAccounts;
    let app = TestApp::start().await;
    let first = app.user("alice").chunk(None, Some((0, 4, 10)), b"01234").await.expect(200);
    let stores = stores(&app).await;
    let (settings, accounts) = (Settings::default(), Arc::new(MemoryAccounts::default()));
    let ring = Keyring::open(stores.token_keys.clone(), app.clock.clone(), settings.tokens.rotate_every).await;
    let ring = Arc::new(ring.expect("answers"));
    let standing = Arc::new(Standing::new(accounts.clone(), app.clock.clone()));
    let tokens = Tokens::new(&settings, ring, standing, app.clock.clone());
    let gate = Gate::new(settings, "default", Vec::new()).minting(tokens);
    let presented = Presented { headers: vec![("upload-token".into(), token(&first))], ..Presented::default() };
    assert_eq!(gate.admit(&presented).await.expect_err("nobody of that id"), AuthError::Invalid);
    accounts.break_down(true);
    assert!(matches!(gate.admit(&presented).await, Err(AuthError::Unavailable { .. })));
    stores.close().await;
    app.stop().await;
}
