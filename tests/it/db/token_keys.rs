//! The keys that sign upload tokens.

use chunkgate::{db::StoreError, domain::ring::TokenKey};

use super::{Db, at, race};

contract!(keys_come_back_in_order, a_number_is_given_once, old_keys_are_forgotten, a_damaged_key_is_corrupt,);

fn key(number: u32, fill: u8) -> TokenKey {
    TokenKey { number, secret: [fill; 32], signs_from: at(i64::from(number)) }
}

async fn keys_come_back_in_order(db: &Db) {
    let keys = &db.stores.token_keys;
    assert_eq!(keys.ring().await.expect("answers"), []);
    for number in [10, 2, u32::MAX, 1] {
        assert!(keys.publish(&key(number, 0xab)).await.expect("answers"));
    }
    let expected = [1, 2, 10, u32::MAX].map(|number| key(number, 0xab));
    assert_eq!(keys.ring().await.expect("answers"), expected);
}

async fn a_number_is_given_once(db: &Db) {
    let keys = &db.stores.token_keys;
    let answers = race(10, |fill| {
        let keys = keys.clone();
        async move { keys.publish(&key(1, fill as u8)).await.expect("answers").then_some(fill as u8) }
    })
    .await;
    let won: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(keys.ring().await.expect("answers"), [key(1, won[0])]);
    assert_eq!(won.len(), 1);
}

async fn old_keys_are_forgotten(db: &Db) {
    let keys = &db.stores.token_keys;
    for number in 1..=4 {
        keys.publish(&key(number, 1)).await.expect("answers");
    }
    assert_eq!(keys.forget_below(3).await.expect("answers"), 2);
    assert_eq!(keys.forget_below(3).await.expect("answers"), 0);
    assert_eq!(keys.ring().await.expect("answers"), [key(3, 1), key(4, 1)]);
}

async fn a_damaged_key_is_corrupt(db: &Db) {
    db.stores.token_keys.publish(&key(1, 1)).await.expect("answers");
    db.sql("UPDATE token_keys SET secret = 'abcd'").await;
    let answer = db.stores.token_keys.ring().await;
    assert!(matches!(answer, Err(StoreError::Corrupt { table: "token_keys", column: "secret", .. })), "{answer:?}");
}
