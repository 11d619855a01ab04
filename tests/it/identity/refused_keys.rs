//! Keys of which the identity server said that they sign nothing: what that is held against, and what not.

use chunkgate::auth::{Judge, Method};

use super::*;

fn no_key(code: &'static str) -> Mode {
    Mode::Deny(200, code, json!({"cache": {"scope": "api_key"}}))
}

fn nth(api_key: &str, n: i64) -> Presented {
    signed(api_key, "secret", NOW - n)
}

#[tokio::test]
async fn signatures_under_a_key_that_nobody_has_are_one_question() {
    for code in ["unknown_key", "key_expired"] {
        let server = Scripted::start(&[no_key(code)]).await;
        let house = House::asking(&server.url());
        for n in 0..20 {
            assert_eq!(house.refusal(&nth("no-key", n)).await, AuthError::Invalid, "{code}");
        }
        assert_eq!(server.calls(), 1, "{code}");
        house.refusal(&nth("another", 0)).await;
        assert_eq!(server.calls(), 2, "{code}: another key is another question");
        house.clock.advance(9 * SECOND - MICRO);
        house.refusal(&nth("no-key", 30)).await;
        assert_eq!(server.calls(), 2, "{code}: ten seconds, less a tenth at most");
        server.set(Mode::Ok);
        house.clock.advance(SECOND + MICRO);
        assert!(house.admit(&nth("no-key", 31)).await.is_ok(), "{code}: a key that was just made soon works");
    }
}

#[tokio::test]
async fn a_wrong_signature_locks_nobody_out() {
    for denied in [no_key("invalid_signature"), no_key("user_disabled"), Mode::Deny(200, "unknown_key", json!({}))] {
        let server = Scripted::start(&[denied]).await;
        let house = House::asking(&server.url());
        for n in 0..10 {
            house.refusal(&nth("key", n)).await;
        }
        assert_eq!(server.calls(), 10);
        server.set(Mode::Ok);
        assert!(house.admit(&nth("key", 10)).await.is_ok());
    }
}

#[tokio::test]
async fn who_has_not_proven_to_hold_a_disabled_key_does_not_learn_that_it_is() {
    let server = Scripted::start(&[no_key("key_disabled")]).await;
    let house = House::asking(&server.url());
    assert_eq!(house.refusal(&nth("key", 0)).await, AuthError::Disabled);
    assert_eq!(house.refusal(&nth("key", 1)).await, AuthError::Invalid);
    assert_eq!(house.refusal(&nth("key", 0)).await, AuthError::Disabled, "the proof that was looked at");
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_proof_that_was_right_goes_on_by_its_own_verdict() {
    let server = Scripted::start(&[Mode::Ok, no_key("unknown_key")]).await;
    let house = House::asking(&server.url());
    assert!(house.admit(&nth("key", 0)).await.is_ok());
    house.refusal(&nth("key", 1)).await;
    assert!(house.admit(&nth("key", 0)).await.is_ok(), "as long as it is good");
}

#[tokio::test]
async fn a_later_word_ends_the_refusal() {
    let hold = Arc::new(Semaphore::new(0));
    let server = Scripted::start(&[Mode::Held(hold.clone()), no_key("unknown_key"), Mode::Ok]).await;
    let house = House::asking(&server.url());
    let gate = house.gate.clone();
    let first = tokio::spawn(async move { gate.admit(&nth("key", 0)).await });
    server.has_been_asked(1).await;
    house.refusal(&nth("key", 1)).await;
    hold.add_permits(1);
    assert!(first.await.expect("no panic").is_ok());
    assert!(house.admit(&nth("key", 2)).await.is_ok(), "an answer that calls the key's user active");

    server.set(no_key("unknown_key"));
    house.refusal(&nth("key", 3)).await;
    house.refusal(&nth("key", 4)).await;
    assert_eq!(server.calls(), 4);
    house.accounts.hear_an_event();
    server.set(Mode::Ok);
    assert!(house.admit(&nth("key", 5)).await.is_ok(), "an event of the realm, told here or elsewhere");
}

#[tokio::test]
async fn a_key_that_is_shown_says_nothing_about_one_that_signs() {
    let server = Scripted::start(&[no_key("unknown_key")]).await;
    let methods = vec![Method::Signature, Method::ApiKey];
    let settings = Settings { methods, api_key: Judge::Identity, ..Settings::default() };
    let house = House::with(&server.url(), settings, |_| {});
    let shown = [("username", "ann"), ("x-api-key", "key")];
    let headers = shown.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!(house.refusal(&Presented { headers, ..Presented::default() }).await, AuthError::Invalid);
    server.set(Mode::Ok);
    assert!(house.admit(&nth("key", 0)).await.is_ok());
}
