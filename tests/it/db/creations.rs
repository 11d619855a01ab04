//! Creations that happen once.

use chunkgate::{
    db::StoreError,
    domain::{
        UserId,
        creation::{Creation, CreationKey},
        limits::Allowance,
        principal::Spend,
        upload::{State, Upload},
    },
};

use super::{Db, at, proof, race, upload};

contract!(
    of_many_creations_under_a_key_one_happens,
    a_key_is_looked_up_with_its_owner,
    what_is_over_leaves_its_key,
    a_creation_that_comes_late_spends_and_binds_nothing,
);

fn creation(said: &str) -> Creation {
    Creation { key: CreationKey::new("a-key").expect("a key"), said: said.into() }
}

fn of(owner: UserId) -> Upload {
    Upload { owner: Some(owner), ..upload(0) }
}

async fn insert(db: &Db, upload: &Upload) -> Result<(), StoreError> {
    let none = Allowance::default();
    db.stores.uploads.insert_once(upload, &creation("this"), None, None, &none).await.map(|refusal| {
        assert_eq!(refusal, None);
    })
}

async fn created(db: &Db, owner: UserId) -> Option<(Upload, String)> {
    db.stores.uploads.created(owner, &creation("").key).await.expect("answers")
}

async fn of_many_creations_under_a_key_one_happens(db: &Db) {
    let owner = UserId::new();
    let answers = race(8, |_| {
        let uploads = db.stores.uploads.clone();
        async move { uploads.insert_once(&of(owner), &creation("this"), None, None, &Allowance::default()).await }
    })
    .await;
    let won = answers.iter().filter(|answer| matches!(answer, Ok(None))).count();
    let late = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Conflict))).count();
    assert_eq!((won, late), (1, 7), "{answers:?}");
}

async fn a_key_is_looked_up_with_its_owner(db: &Db) {
    let [one, other] = [of(UserId::new()), of(UserId::new())];
    insert(db, &one).await.expect("inserted");
    insert(db, &other).await.expect("inserted");
    for upload in [one, other] {
        let owner = upload.owner.expect("an owner");
        assert_eq!(created(db, owner).await, Some((upload, "this".to_owned())));
    }
    assert_eq!(created(db, UserId::new()).await, None);
}

async fn what_is_over_leaves_its_key(db: &Db) {
    let owner = UserId::new();
    let [first, second, third] = [of(owner), of(owner), of(owner)];
    insert(db, &first).await.expect("inserted");
    assert!(db.stores.uploads.complete(first.id, 0, None, at(1), None).await.expect("answers"));
    assert!(matches!(insert(db, &second).await, Err(StoreError::Conflict)), "also of what is complete");
    for (ends, from, state, next) in
        [(&first, State::Complete, State::Cancelled, &second), (&second, State::Receiving, State::Expired, &third)]
    {
        assert!(db.stores.uploads.end(ends.id, &[from], state, at(9000), None).await.expect("answers"));
        assert_eq!(created(db, owner).await, None);
        insert(db, next).await.expect("inserted");
        assert_eq!(created(db, owner).await.map(|(upload, _)| upload.id), Some(next.id));
    }
}

async fn a_creation_that_comes_late_spends_and_binds_nothing(db: &Db) {
    let owner = UserId::new();
    let [first, second] = [of(owner), of(owner)];
    insert(db, &first).await.expect("inserted");
    let (binding, spend) = (proof(true), Spend { proof: proof(true).proof, until: at(100) });
    let uploads = &db.stores.uploads;
    let none = Allowance::default();
    let late = uploads.insert_once(&second, &creation("this"), Some(binding), Some(spend), &none).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    assert!(!uploads.exists(second.id).await.expect("answers"));
    assert!(!uploads.created_by(binding.proof, second.id).await.expect("answers"));
    assert!(uploads.spend(spend).await.expect("answers"), "it was not spent");
    let other = of(UserId::new());
    uploads.insert_once(&other, &creation("this"), Some(binding), None, &none).await.expect("inserted");
    assert!(uploads.created_by(binding.proof, other.id).await.expect("answers"));
    assert!(!uploads.created_by(binding.proof, first.id).await.expect("answers"));
}
