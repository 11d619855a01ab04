//! Uploads that are joined from parts.

use chunkgate::{
    db::StoreError,
    domain::{
        UploadId, UserId,
        concat::Role,
        limits::Usage,
        principal::{Owner, Spend},
        upload::{State, Upload},
    },
};

use super::{Db, at, found, inserted, page, proof, race, upload};

contract!(
    a_joined_upload_claims_its_parts,
    what_cannot_be_claimed_changes_nothing,
    of_many_requests_for_one_list_one_makes_it,
    of_many_lists_with_a_part_one_claims_it,
    what_can_be_joined_is_found,
    parts_go_after_what_they_belong_to_and_not_before,
    parts_are_not_listed_and_count_once,
    a_joined_upload_and_what_it_spends_are_one,
);

fn part(offset: u64, size: u64) -> Upload {
    Upload { role: Some(Role::Part { of: None }), offset, size: Some(size), ..upload(0) }
}

fn joined(parts: u64) -> Upload {
    Upload { role: Some(Role::Joined { listed: "final;/a /b".into(), parts }), size: Some(9), ..upload(1) }
}

async fn two_parts(db: &Db) -> [UploadId; 2] {
    [inserted(db, part(4, 4)).await.id, inserted(db, part(2, 5)).await.id]
}

async fn joins(db: &Db, upload: &Upload, parts: &[UploadId]) -> bool {
    db.stores.uploads.insert_joined(upload, parts, None, None).await.expect("answers")
}

async fn a_joined_upload_claims_its_parts(db: &Db) {
    let [one, other] = two_parts(db).await;
    let whole = joined(2);
    assert!(joins(db, &whole, &[other, one]).await);
    assert_eq!(found(db, whole.id).await, whole);
    let parts = db.stores.uploads.parts(&whole).await.expect("answers");
    assert_eq!(parts.iter().map(|part| part.id).collect::<Vec<_>>(), [other, one], "in the order of the list");
    assert!(parts.iter().all(|part| part.role == Some(Role::Part { of: Some(whole.id) })));
    for (owner, list, known) in [
        (Owner::Nobody, [other, one], Some(whole.clone())),
        (Owner::Nobody, [one, other], None),
        (Owner::User(UserId::new()), [other, one], None),
    ] {
        assert_eq!(db.stores.uploads.joined(owner, &list).await.expect("answers"), known);
    }
    let foreign = Upload { owner: Some(UserId::new()), ..whole };
    assert_eq!(db.stores.uploads.parts(&foreign).await.expect("answers"), []);
}

async fn what_cannot_be_claimed_changes_nothing(db: &Db) {
    let [one, other] = two_parts(db).await;
    assert!(joins(db, &joined(1), &[one]).await);
    let plain = inserted(db, upload(0)).await.id;
    let foreign = inserted(db, Upload { owner: Some(UserId::new()), ..part(1, 1) }).await.id;
    let late = inserted(db, Upload { expires: at(1), ..part(1, 1) }).await.id;
    let over = inserted(db, Upload { state: State::Cancelled, ended: Some(at(0)), ..part(1, 1) }).await.id;
    for wrong in [one, other, plain, foreign, late, over, UploadId::new()] {
        let whole = joined(2);
        assert!(!joins(db, &whole, &[other, wrong]).await, "{wrong}");
        assert!(!db.stores.uploads.exists(whole.id).await.expect("answers"));
    }
    assert_eq!(found(db, other).await.role, Some(Role::Part { of: None }));
}

async fn of_many_requests_for_one_list_one_makes_it(db: &Db) {
    let parts = two_parts(db).await;
    let answers = race(8, |_| {
        let uploads = db.stores.uploads.clone();
        async move { uploads.insert_joined(&joined(2), &parts, None, None).await }
    })
    .await;
    let won = answers.iter().filter(|answer| matches!(answer, Ok(true))).count();
    let late = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Conflict))).count();
    assert_eq!((won, late), (1, 7), "{answers:?}");
}

async fn of_many_lists_with_a_part_one_claims_it(db: &Db) {
    let [one, other] = two_parts(db).await;
    let lists = [vec![one, other], vec![other, one], vec![one], vec![other]];
    let answers = race(4, |number| {
        let (uploads, list) = (db.stores.uploads.clone(), lists[number].clone());
        async move { uploads.insert_joined(&joined(list.len() as u64), &list, None, None).await.expect("answers") }
    })
    .await;
    let won: usize = (0..4).filter(|number| answers[*number]).map(|number| lists[number].len()).sum();
    assert!((1..=2).contains(&won), "{answers:?}");
}

async fn what_can_be_joined_is_found(db: &Db) {
    let to_join = async |seconds| {
        let found = db.stores.uploads.to_join(at(seconds), 9).await.expect("answers");
        found.iter().map(|upload| upload.id).collect::<Vec<_>>()
    };
    let [one, other] = two_parts(db).await;
    let whole = joined(2);
    assert!(joins(db, &whole, &[one, other]).await);
    assert_eq!(to_join(5).await, []);
    assert_eq!(to_join(3600).await, [whole.id], "nothing more will come");
    let full = inserted(db, part(3, 3)).await.id;
    let ready = Upload { created: at(2), ..joined(1) };
    assert!(joins(db, &ready, &[full]).await);
    assert_eq!(to_join(5).await, [ready.id]);
    let cancelled = State::Cancelled;
    assert!(db.stores.uploads.end(other, &[State::Receiving], cancelled, at(3), None).await.expect("answers"));
    assert_eq!(to_join(5).await, [whole.id, ready.id]);
    assert!(db.stores.uploads.end(whole.id, &[State::Receiving], cancelled, at(3), None).await.expect("answers"));
    assert_eq!(to_join(5).await, [ready.id]);
}

async fn parts_go_after_what_they_belong_to_and_not_before(db: &Db) {
    let outlived = async |seconds| {
        let found = db.stores.uploads.outlived(at(seconds), None, 9).await.expect("answers");
        found.iter().map(|upload| upload.id).collect::<Vec<_>>()
    };
    let left_over = async |seconds| {
        let found = db.stores.uploads.left_over(at(seconds), 9).await.expect("answers");
        found.iter().map(|upload| upload.id).collect::<Vec<_>>()
    };
    let [one, alone] = two_parts(db).await;
    let late = inserted(db, Upload { expires: at(9000), ..part(1, 2) }).await.id;
    let whole = joined(2);
    assert!(joins(db, &whole, &[one, late]).await);
    assert_eq!(outlived(8000).await, [alone], "what waits for its last part, and its parts, stay");
    assert_eq!(outlived(9000).await, [alone, whole.id]);
    assert_eq!(left_over(9000).await, []);
    assert!(
        db.stores.uploads.end(whole.id, &[State::Receiving], State::Cancelled, at(10), None).await.expect("answers")
    );
    assert_eq!(left_over(10).await, []);
    let left = left_over(11).await;
    assert!(left.len() == 2 && left.contains(&one) && left.contains(&late));
    assert_eq!(outlived(8000).await.len(), 2);
}

async fn parts_are_not_listed_and_count_once(db: &Db) {
    let owner = UserId::new();
    let of = |upload: Upload| Upload { owner: Some(owner), ..upload };
    let one = inserted(db, of(part(4, 4))).await;
    let other = inserted(db, of(part(2, 5))).await;
    let usage = async || {
        let usage = db.stores.uploads.usage(owner, UploadId::new(), at(0), at(9)).await;
        usage.expect("answers")
    };
    let parts = Usage { bytes: 9, bytes_since: 9, receiving: 1 };
    assert_eq!(usage().await, parts);
    let whole = of(joined(2));
    assert!(joins(db, &whole, &[one.id, other.id]).await);
    assert_eq!(usage().await, parts, "what waits takes nothing");
    let listed = db.stores.uploads.list(Owner::User(owner), &page(None, 9)).await.expect("answers");
    assert_eq!(listed.iter().map(|upload| upload.id).collect::<Vec<_>>(), [whole.id]);
    let named = db.stores.uploads.named(Owner::User(owner), &one.filename, None, 9).await.expect("answers");
    assert_eq!(named.iter().map(|upload| upload.id).collect::<Vec<_>>(), [whole.id]);
    assert!(db.stores.uploads.complete(whole.id, 0, None, at(5), None).await.expect("answers"));
    assert_eq!(usage().await, Usage { bytes: 9, bytes_since: 9, receiving: 0 });
}

async fn a_joined_upload_and_what_it_spends_are_one(db: &Db) {
    let [one, other] = two_parts(db).await;
    let spend = Spend { proof: proof(true).proof, until: at(100) };
    let insert = async |parts: &[UploadId]| {
        db.stores.uploads.insert_joined(&joined(parts.len() as u64), parts, None, Some(spend)).await
    };
    assert!(!insert(&[UploadId::new()]).await.expect("answers"), "and nothing is spent");
    assert!(insert(&[one]).await.expect("answers"));
    assert!(matches!(insert(&[other]).await, Err(StoreError::Conflict)));
    assert_eq!(found(db, other).await.role, Some(Role::Part { of: None }));
}
