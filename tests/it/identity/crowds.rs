//! Many questions at a server that takes its time: who sends them waits, and nobody else.

use std::net::IpAddr;

use chunkgate::auth::{Judge, Method};
use futures_util::future::join_all;

use super::*;

fn from(presented: Presented, address: [u8; 4]) -> Presented {
    let mut presented = presented;
    presented.request.client_ip = Some(IpAddr::from(address));
    presented
}

#[tokio::test]
async fn a_flood_of_bad_signatures_leaves_a_seat_for_whoever_is_known_behind_the_same_address() {
    let hold = Arc::new(Semaphore::new(0));
    let server = Scripted::start(&[Mode::Ok, Mode::Held(hold.clone())]).await;
    let house = House::asking(&server.url());
    assert!(house.admit(&from(ann(), [10, 0, 0, 1])).await.is_ok());

    let flood: Vec<_> = (0..150)
        .map(|n| {
            let (gate, bad) = (house.gate.clone(), from(signed(&format!("key-{n}"), "wrong", NOW), [10, 0, 0, 1]));
            tokio::spawn(async move { gate.admit(&bad).await })
        })
        .collect();
    server.has_been_asked(1 + 48).await;
    let known: Vec<_> = (1..=16)
        .map(|n| {
            let (gate, good) = (house.gate.clone(), from(signed("key", "secret", NOW - n), [10, 0, 0, 1]));
            tokio::spawn(async move { gate.admit(&good).await })
        })
        .collect();
    // All of them are under way while a hundred of the flood wait, and three quarters of the seats are the flood's.
    server.has_been_asked(1 + 48 + 16).await;
    let asked = server.asked().iter().skip(1).filter(|asked| asked.question["credential"]["api_key"] == "key").count();
    assert_eq!(asked, 16);
    hold.add_permits(1000);
    for admitted in join_all(known).await {
        assert!(admitted.expect("no panic").is_ok());
    }
    join_all(flood).await;
}

#[tokio::test]
async fn whoever_guesses_under_a_known_key_is_a_stranger() {
    let server = Scripted::start(&[Mode::Ok, Mode::Deny(200, "invalid_signature", json!({}))]).await;
    let house = House::asking(&server.url());
    assert!(house.admit(&from(ann(), [10, 0, 0, 1])).await.is_ok());
    for n in 1..=5 {
        house.refusal(&from(signed("key", "guess", NOW - n), [10, 0, 0, 1])).await;
    }
    let hold = Arc::new(Semaphore::new(0));
    server.set(Mode::Held(hold.clone()));
    let mut guesses = tokio::task::JoinSet::new();
    for n in 10..80 {
        let (gate, bad) = (house.gate.clone(), from(signed("key", "guess", NOW - n), [10, 0, 0, 1]));
        guesses.spawn(async move { gate.admit(&bad).await });
    }
    for _ in 48..70 {
        let turned_away = guesses.join_next().await.expect("one more").expect("no panic");
        assert!(unavailable(&turned_away.expect_err("it got no seat")));
    }
    assert_eq!(server.calls(), 6 + 48);
    hold.add_permits(1000);
    assert!(guesses.join_all().await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn whoever_guesses_keys_slows_no_signature_from_the_same_address() {
    let server = Scripted::start(&[Mode::Deny(200, "unknown_key", json!({}))]).await;
    let methods = vec![Method::Signature, Method::ApiKey];
    let house =
        House::with(&server.url(), Settings { methods, api_key: Judge::Identity, ..Settings::default() }, |_| {});
    let guess = |n: usize| {
        let headers = [("x-api-key", format!("guess-{n}")), ("username", "ann".to_owned())];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        from(Presented { headers, ..Presented::default() }, [10, 0, 0, 1])
    };
    for n in 0..10 {
        assert_eq!(house.refusal(&guess(n)).await, AuthError::Invalid);
    }
    assert!(matches!(house.refusal(&guess(10)).await, AuthError::RateLimited { .. }));
    server.set(Mode::Ok);
    assert!(house.admit(&from(ann(), [10, 0, 0, 1])).await.is_ok());
}
