//! The edges of the window, to the millisecond, for every spelling of a signed time; and what makes a proof another one.

use super::{signed_requests::request, *};

const MILLI: Duration = Duration::from_millis(1);

/// A v1 proof whose time is spelled as written.
fn spelled(timestamp: &str) -> Presented {
    triple("key", timestamp, &signing::sign_v1(b"secret", timestamp))
}

/// A proof that was signed at that second, in one of its spellings.
type Signs = fn(i64) -> Presented;

const SPELLINGS: [(&str, Signs); 4] = [
    ("v1 in seconds", |second| spelled(&second.to_string())),
    ("v1 in milliseconds", |second| spelled(&format!("{second}000"))),
    ("v1 as RFC 3339", |second| spelled(&Timestamp::from_second(second).expect("a time").to_string())),
    ("v2", |second| request("secret", second)),
];

#[tokio::test]
async fn three_hundred_seconds_are_in_time_and_a_millisecond_more_is_not() {
    for (spelling, signs) in SPELLINGS {
        let server = Scripted::start(&[Mode::Ok]).await;
        let house = House::asking(&server.url());
        for signed_at in [NOW - 300, NOW + 300] {
            assert!(house.admit(&signs(signed_at)).await.is_ok(), "{spelling} {signed_at}");
        }
        assert_eq!(server.calls(), 2, "{spelling}");
        house.clock.advance(MILLI);
        let stale = AuthError::Stale { server_time: house.clock.now() };
        assert_eq!(house.refusal(&signs(NOW - 300)).await, stale, "{spelling}: 300.001 s ago, and just found right");
        house.clock.back(2 * MILLI);
        let stale = AuthError::Stale { server_time: house.clock.now() };
        assert_eq!(house.refusal(&signs(NOW + 300)).await, stale, "{spelling}: 300.001 s ahead");
        assert_eq!(server.calls(), 2, "{spelling}: nobody is asked about a stale one");
    }
    // The client may be the one that is exact to the millisecond.
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::asking(&server.url());
    for (millis, open) in [(-300_000, true), (-300_001, false), (300_000, true), (300_001, false)] {
        let proof = spelled(&(NOW * 1000 + millis).to_string());
        assert_eq!(house.admit(&proof).await.is_ok(), open, "{millis} ms");
    }
}

#[tokio::test]
async fn whatever_is_part_of_a_proof_makes_it_another_one() {
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::asking(&server.url());
    let with = |change: fn(&mut Presented)| {
        let mut presented = request("secret", NOW);
        change(&mut presented);
        presented
    };
    let wrong = "0".repeat(64);
    let at = NOW.to_string();
    let proofs = [
        ann(),
        triple("key-2", &at, &signing::sign_v1(b"secret", &at)),
        triple("key", &at, &signing::sign_v1(b"other", &at)),
        triple("key", &at, &wrong),
        signed("key", "secret", NOW + 1),
        spelled(&format!("{NOW}000")),
        request("secret", NOW),
        request("other", NOW),
        request("secret", NOW + 1),
        with(|presented| presented.request.method = "HEAD".into()),
        with(|presented| presented.request.path = "/b".into()),
        with(|presented| presented.request.host = Some("other.example".into())),
        with(|presented| presented.raw_query = Some("b=2".into())),
        with(|presented| presented.headers[0].1 = presented.headers[0].1.replace("nonce-01", "nonce-02")),
        with(|presented| presented.headers[0].1 = presented.headers[0].1.replace("\"key\"", "\"key-2\"")),
    ];
    for (asked, proof) in proofs.iter().enumerate() {
        for _ in 0..2 {
            house.admit(proof).await.expect("this server says yes to everything");
            assert_eq!(server.calls(), asked + 1, "proof {asked}");
        }
    }
    // What a signature does not cover, and the answer does not depend on, is no part of it.
    let mut elsewhere = ann();
    elsewhere.request.path = "/elsewhere".into();
    elsewhere.request.client_ip = Some([192, 0, 2, 1].into());
    house.admit(&elsewhere).await.expect("admitted");
    assert_eq!(server.calls(), proofs.len());
}
