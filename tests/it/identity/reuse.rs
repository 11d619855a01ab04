//! The window, what a proof may be used for again, and who may use it.

use chunkgate::auth::standing::LIFE;

use super::*;

#[tokio::test]
async fn the_edges_of_the_window() {
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::asking(&server.url());
    let presented = ann();
    house.clock.advance(300 * SECOND);
    assert!(house.admit(&presented).await.is_ok(), "the oldest that is accepted");
    house.clock.advance(MICRO);
    let error = house.refusal(&presented).await;
    assert_eq!(error, AuthError::Stale { server_time: house.clock.now() }, "also with a verdict just given");
    house.clock.back(600 * SECOND + MICRO);
    assert!(house.admit(&presented).await.is_ok(), "the newest that is accepted");
    house.clock.back(MICRO);
    assert!(matches!(house.refusal(&presented).await, AuthError::Stale { .. }));
    let calls = server.calls();
    assert!(matches!(house.refusal(&signed("key", "secret", NOW - 9000)).await, AuthError::Stale { .. }));
    assert_eq!(server.calls(), calls, "a stale proof is not asked about");
}

#[tokio::test]
async fn reuse_within_the_window_and_afterwards_for_what_was_created() {
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::reusing(&server.url(), Reuse::Window);
    let user = house.admit(&ann()).await.expect("admitted").user.expect("a user");
    let upload = UploadId::new();
    house.accounts.bind(hash(&ann()), upload, user.id);
    assert!(house.admit(&ann()).await.expect("admitted").may_create);
    house.clock.advance(1400 * SECOND);
    server.set(Mode::Page(500));
    let later = house.admit(&ann()).await.expect("the binding stands");
    assert_eq!((later.reach, later.may_create, later.binding), (Reach::Only(vec![upload]), false, None));
    assert_eq!((later.user, server.calls()), (Some(user.clone()), 2), "asked in vain whether the user may still act");
    let forged = triple("key", &NOW.to_string(), &"0".repeat(64));
    assert!(matches!(house.refusal(&forged).await, AuthError::Stale { .. }), "the binding is the whole proof's");
    house.accounts.disable_by_operator(user.id);
    house.clock.advance(LIFE);
    assert_eq!(house.refusal(&ann()).await, AuthError::Disabled);
}

#[tokio::test]
async fn reuse_for_the_first_upload_only() {
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::reusing(&server.url(), Reuse::Upload);
    let first = house.admit(&ann()).await.expect("admitted");
    assert_eq!((&first.reach, first.may_create), (&Reach::Only(vec![]), true));
    assert_eq!(first.binding.map(|binding| binding.exclusive), Some(true));
    let upload = UploadId::new();
    house.accounts.bind(hash(&ann()), upload, first.user.expect("a user").id);
    let again = house.admit(&ann()).await.expect("admitted");
    assert_eq!((again.reach, again.may_create), (Reach::Only(vec![upload]), false));
    house.clock.advance(9000 * SECOND);
    let later = house.admit(&ann()).await.expect("admitted");
    assert_eq!((later.reach, later.may_create), (Reach::Only(vec![upload]), false));
}

#[tokio::test]
async fn no_reuse() {
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::reusing(&server.url(), Reuse::Once);
    let once = house.admit(&ann()).await.expect("admitted");
    assert_eq!((once.reach, once.may_create, once.binding), (Reach::Own, true, None));
    assert_eq!(house.refusal(&ann()).await, AuthError::Replayed);
    let respelled = triple("key", &NOW.to_string(), &signing::sign_v1(b"secret", &NOW.to_string()).to_uppercase());
    assert_eq!(house.refusal(&respelled).await, AuthError::Replayed);
    house.clock.advance(301 * SECOND);
    assert!(matches!(house.refusal(&ann()).await, AuthError::Stale { .. }));
}

#[tokio::test]
async fn a_broken_database_refuses_nobody() {
    for reuse in [Reuse::Window, Reuse::Upload, Reuse::Once] {
        let server = Scripted::start(&[Mode::Ok]).await;
        let house = House::reusing(&server.url(), reuse);
        house.accounts.break_down(true);
        assert!(unavailable(&house.refusal(&ann()).await));
        house.accounts.break_down(false);
        assert!(house.admit(&ann()).await.is_ok());
        house.accounts.break_down(true);
        house.clock.advance(LIFE);
        assert!(unavailable(&house.refusal(&ann()).await));
    }
}

#[tokio::test]
async fn disabled_and_enabled_again() {
    let gone = Mode::Deny(200, "user_disabled", json!({"user": {"id": "u1"}}));
    let server = Scripted::start(&[Mode::Ok, gone, Mode::Ok]).await;
    let house = House::asking(&server.url());
    let at = |offset| signed("key", "secret", NOW + offset);
    let user = house.admit(&at(0)).await.expect("admitted").user.expect("a user");
    assert_eq!(house.refusal(&at(1)).await, AuthError::Disabled);
    assert!(house.accounts.is_disabled_by_identity("u1"));
    assert_eq!(house.refusal(&at(0)).await, AuthError::Disabled, "an older verdict does not outlive it");
    assert!(house.admit(&at(2)).await.is_ok());
    assert!(!house.accounts.is_disabled_by_identity("u1"));
    house.accounts.disable_by_operator(user.id);
    house.clock.advance(LIFE);
    assert_eq!(house.refusal(&at(2)).await, AuthError::Disabled);
    assert_eq!(house.refusal(&at(3)).await, AuthError::Disabled, "what an operator disabled stays so");
}

#[tokio::test]
async fn a_known_user_with_a_wrong_signature_is_nobody() {
    let server = Scripted::start(&[Mode::Ok, Mode::Deny(200, "invalid_signature", json!({}))]).await;
    let house = House::asking(&server.url());
    assert!(house.admit(&ann()).await.is_ok());
    assert_eq!(house.refusal(&signed("key", "wrong", NOW)).await, AuthError::Invalid);
    server.set(Mode::Page(500));
    assert!(unavailable(&house.refusal(&signed("key", "other", NOW)).await), "known or not, unproven");
}
