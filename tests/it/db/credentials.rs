//! Local users, passwords and API keys.

use chunkgate::{
    db::{Change, KeptKey, LocalUser, Person, StoreError},
    domain::{
        UserId,
        keys::ApiKey,
        principal::{Scope, Scopes},
    },
};

use super::{Db, at, profile, provisioned, race};
use crate::{local::person, support::operate};

contract!(
    a_name_is_given_once,
    a_user_is_disabled_by_an_operator,
    a_password_is_set_and_changed,
    a_key_is_kept_and_found,
    a_use_is_recorded_now_and_then,
    a_key_is_rotated_once,
    a_key_is_revoked_once,
    an_unknown_scope_is_corrupt,
);

fn new(username: &str) -> Person {
    Person { email: Some("a@example.org".into()), ..person(username, at(0)) }
}

async fn change(db: &Db, change: Change<'_>, seconds: i64) -> Result<bool, StoreError> {
    operate(&db.stores.operations, change, at(seconds)).await
}

async fn added(db: &Db, username: &str) -> LocalUser {
    assert!(change(db, Change::AddUser(&new(username), None), 0).await.expect("added"));
    db.stores.credentials.user(username).await.expect("answers").expect("is there")
}

fn key(of: UserId, number: u8) -> KeptKey {
    let key = ApiKey::new([number; 8], [7; 32]);
    KeptKey {
        id: key.id(),
        user: of,
        hash: key.hash(b"pepper"),
        label: "ci".into(),
        scopes: [Scope::Create, Scope::Write].into_iter().collect(),
        created: at(i64::from(number)),
        expires: Some(at(100)),
        last_used: None,
        revoked: None,
        replaced_by: None,
        overlap_until: None,
    }
}

async fn kept(db: &Db, of: UserId, number: u8) -> KeptKey {
    let key = key(of, number);
    assert!(change(db, Change::AddKey(&key), 0).await.expect("kept"));
    key
}

async fn read(db: &Db, key: &KeptKey) -> KeptKey {
    db.stores.credentials.key(key.id).await.expect("answers").expect("is there").0
}

async fn a_name_is_given_once(db: &Db) {
    // A user of another realm does not take it.
    provisioned(db, &profile("s1", "ada")).await;
    let credentials = &db.stores.credentials;
    let answers = race(5, |_| {
        let operations = db.stores.operations.clone();
        async move { operate(&operations, Change::AddUser(&new("ada"), None), at(0)).await }
    })
    .await;
    let refused = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Conflict))).count();
    assert_eq!((refused, answers.iter().filter(|answer| answer.is_ok()).count()), (4, 1));
    let ada = credentials.user("ada").await.expect("answers").expect("is there");
    assert_eq!(
        (ada.account.user.realm.as_str(), ada.email.as_deref(), ada.created),
        ("local", Some("a@example.org"), at(0))
    );
    assert_eq!(credentials.user("Ada").await.expect("answers"), None);
    let bob = added(db, "bob").await;
    assert_eq!(credentials.users().await.expect("answers"), [ada, bob]);
}

async fn a_user_is_disabled_by_an_operator(db: &Db) {
    let credentials = &db.stores.credentials;
    let ada = added(db, "ada").await.account;
    for disabled in [true, false] {
        assert!(change(db, Change::SetDisabled(ada.user.id, disabled), 1).await.expect("answers"));
        let known = credentials.user("ada").await.expect("answers").expect("is there");
        assert_eq!(known.account.disabled, disabled);
        let account = db.stores.accounts.find(ada.user.id).await.expect("answers").expect("is there");
        assert_eq!(account.disabled, disabled);
        assert_eq!((account.user.epoch, known.account.user.epoch), (1, 1), "raised by disabling, and by nothing else");
    }
    assert!(!change(db, Change::SetDisabled(UserId::new(), true), 1).await.expect("answers"));
}

async fn a_password_is_set_and_changed(db: &Db) {
    let credentials = &db.stores.credentials;
    let ada = added(db, "ada").await.account;
    for (epoch, phc) in [(1, "$one"), (2, "$two")] {
        assert!(change(db, Change::SetPassword(ada.user.id, phc), 1).await.expect("set"));
        let known = credentials.user("ada").await.expect("answers").expect("is there");
        assert_eq!((known.phc.as_deref(), known.account.user.epoch), (Some(phc), epoch));
        assert!(!format!("{known:?}").contains(phc));
    }
    assert!(change(db, Change::SetPassword(UserId::new(), "$"), 1).await.is_err(), "nobody's password");
}

async fn a_key_is_kept_and_found(db: &Db) {
    let credentials = &db.stores.credentials;
    let ada = added(db, "ada").await.account;
    let one = kept(db, ada.user.id, 1).await;
    let endless = KeptKey { expires: None, scopes: Scopes::ALL, ..key(ada.user.id, 2) };
    assert!(change(db, Change::AddKey(&endless), 0).await.expect("kept"));
    assert_eq!(credentials.key(one.id).await.expect("answers"), Some((one.clone(), ada.clone())));
    assert!(matches!(change(db, Change::AddKey(&one), 0).await, Err(StoreError::Conflict)));
    assert_eq!(credentials.keys(ada.user.id).await.expect("answers"), [one.clone(), endless]);
    assert_eq!(credentials.keys(UserId::new()).await.expect("answers"), []);
    assert_eq!(credentials.key(key(ada.user.id, 9).id).await.expect("answers"), None);
    assert!(one.is_good(at(99)) && !one.is_good(at(100)));
}

async fn a_use_is_recorded_now_and_then(db: &Db) {
    let ada = added(db, "ada").await.account;
    let one = kept(db, ada.user.id, 1).await;
    for (now, recorded) in [(10, 10), (300, 10), (309, 10), (311, 311)] {
        db.stores.credentials.touch_key(one.id, at(now), at(now - 300)).await.expect("answers");
        assert_eq!(read(db, &one).await.last_used, Some(at(recorded)), "{now}");
    }
}

async fn a_key_is_rotated_once(db: &Db) {
    let credentials = &db.stores.credentials;
    let ada = added(db, "ada").await.account;
    let one = kept(db, ada.user.id, 1).await;
    let next = |number| key(ada.user.id, number);
    let answers = race(5, |number| {
        let (operations, next) = (db.stores.operations.clone(), next(10 + number as u8));
        async move { operate(&operations, Change::RotateKey(one.id, &next, at(50)), at(1)).await.expect("answers") }
    })
    .await;
    assert_eq!(answers.into_iter().filter(|done| *done).count(), 1);
    let keys = credentials.keys(ada.user.id).await.expect("answers");
    assert_eq!(keys.len(), 2, "losers leave nothing");
    assert_eq!((keys[0].replaced_by, keys[0].overlap_until), (Some(keys[1].id), Some(at(50))));
    assert!(keys[0].is_good(at(49)) && !keys[0].is_good(at(50)) && keys[1].is_good(at(50)));
}

async fn a_key_is_revoked_once(db: &Db) {
    let credentials = &db.stores.credentials;
    let ada = added(db, "ada").await.account;
    let one = kept(db, ada.user.id, 1).await;
    assert!(change(db, Change::RevokeKey(one.id), 5).await.expect("answers"));
    assert!(!change(db, Change::RevokeKey(one.id), 6).await.expect("answers"));
    let owner = credentials.key(one.id).await.expect("answers").expect("is there").1;
    assert_eq!(owner.user.epoch, 1, "once");
    let read = read(db, &one).await;
    assert!(read.revoked == Some(at(5)) && !read.is_good(at(4)));
    let late = key(ada.user.id, 2);
    assert!(!change(db, Change::RotateKey(one.id, &late, at(50)), 6).await.expect("answers"));
    assert_eq!(credentials.keys(ada.user.id).await.expect("answers").len(), 1);
}

async fn an_unknown_scope_is_corrupt(db: &Db) {
    let ada = added(db, "ada").await.account;
    let one = kept(db, ada.user.id, 1).await;
    db.sql("UPDATE api_keys SET scopes_json = '[\"upload:everything\"]'").await;
    let answer = db.stores.credentials.key(one.id).await;
    assert!(matches!(answer, Err(StoreError::Corrupt { table: "api_keys", column: "scopes_json", .. })), "{answer:?}");
}
