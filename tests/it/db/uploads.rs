//! Uploads and their bindings.

use std::collections::HashSet;

use chunkgate::{
    db::{Advance, Page, StoreError},
    domain::{
        UploadId, UserId,
        digest::Algorithm,
        limits::{Allowance, Kept, Remaining, Usage},
        principal::{Binding, Owner, Spend},
        upload::{KeptDigest, Refusal, State, Upload},
    },
};
use futures_util::future::join_all;

use super::{Db, advance, at, found, inserted, kept, md5, page, proof, race, upload};

contract!(
    an_upload_comes_back_as_it_was,
    an_id_is_taken_once,
    others_and_nobody_see_nothing,
    the_list_is_newest_first_and_pages,
    the_list_judges_expiry_itself,
    a_name_is_found_among_ones_own,
    one_of_many_advances_wins,
    an_advance_needs_state_offset_and_size,
    completion_keeps_the_sum_and_drops_the_state,
    the_last_move_and_the_completion_are_one,
    an_upload_ends_from_the_states_named,
    what_was_extended_does_not_expire,
    the_reaper_finds_collects_and_forgets,
    a_shared_proof_binds_many,
    an_exclusive_proof_binds_one,
    one_of_many_exclusive_bindings_wins,
    exclusive_and_shared_do_not_mix,
    a_deed_and_what_it_spends_are_one,
    one_of_many_deeds_spends,
    what_counts_is_what_grows_and_what_is_complete,
    one_of_many_beginnings_finds_the_only_place,
    many_beginnings_share_what_is_left,
    only_what_began_since_uses_up_what_was_left,
    growth_shares_what_is_left_too,
    of_many_changes_at_once_each_stands_or_falls_alone,
    who_leaves_before_its_turn_changes_nothing_for_others,
);

fn is_conflict<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Conflict))
}

async fn an_upload_comes_back_as_it_was(db: &Db) {
    let bare = inserted(db, upload(0)).await;
    assert_eq!(found(db, bare.id).await, bare);
    let owner = UserId::new();
    let full = Upload {
        owner: Some(owner),
        content_type: Some("video/mp4".to_owned()),
        state: State::Complete,
        offset: i64::MAX as u64,
        size: Some(i64::MAX as u64),
        digest: kept(b"abc"),
        sum: Some(md5(b"abc").finish()),
        ended: Some(at(5)),
        max_bytes: Some(i64::MAX as u64),
        metadata: Some("filename YQ==,empty".into()),
        completes: true,
        kept: Kept {
            max_total_bytes: Some(i64::MAX as u64),
            max_chunk_bytes: Some(1),
            requests_per_minute: Some(2),
            ttl_seconds: Some(3),
            remaining: Some(Remaining { bytes: i64::MAX as u64, as_of: at(-4) }),
        },
        ..upload(0)
    };
    let full = inserted(db, full).await;
    assert_eq!(db.stores.uploads.find(full.id, Owner::User(owner)).await.expect("answers"), Some(full));
}

async fn an_id_is_taken_once(db: &Db) {
    let first = inserted(db, upload(0)).await;
    assert!(db.stores.uploads.exists(first.id).await.expect("answers"));
    assert!(!db.stores.uploads.exists(UploadId::new()).await.expect("answers"));
    let again = Upload { owner: Some(UserId::new()), ..first.clone() };
    assert!(is_conflict(&db.stores.uploads.insert(&again, None, None, &Allowance::default()).await));
    assert_eq!(found(db, first.id).await, first);
}

async fn others_and_nobody_see_nothing(db: &Db) {
    let (mine, other) = (UserId::new(), UserId::new());
    let owned = inserted(db, Upload { owner: Some(mine), ..upload(0) }).await;
    let anonymous = inserted(db, upload(0)).await;
    let uploads = &db.stores.uploads;
    for (owner, id, seen) in [
        (Owner::User(mine), owned.id, true),
        (Owner::User(other), owned.id, false),
        (Owner::Nobody, owned.id, false),
        (Owner::User(mine), anonymous.id, false),
        (Owner::Nobody, anonymous.id, true),
    ] {
        assert_eq!(uploads.find(id, owner).await.expect("answers").is_some(), seen, "{owner:?}");
        let listed = uploads.list(owner, &page(None, 9)).await.expect("answers");
        assert_eq!(listed.iter().any(|upload| upload.id == id), seen, "{owner:?}");
    }
}

async fn the_list_is_newest_first_and_pages(db: &Db) {
    let owner = UserId::new();
    for seconds in [0, 3, 1, 1, 1, 2] {
        inserted(db, Upload { owner: Some(owner), ..upload(seconds) }).await;
    }
    let uploads = &db.stores.uploads;
    let all = uploads.list(Owner::User(owner), &page(None, 100)).await.expect("answers");
    let created: Vec<_> = all.iter().map(|upload| upload.created).collect();
    assert_eq!(created, [3, 2, 1, 1, 1, 0].map(at));
    let mut paged: Vec<Upload> = Vec::new();
    loop {
        let after = paged.last().map(|upload| (upload.created, upload.id));
        let next = Page { after, ..page(None, 2) };
        let next = uploads.list(Owner::User(owner), &next).await.expect("answers");
        if next.is_empty() {
            break;
        }
        paged.extend(next);
    }
    assert_eq!(paged, all);
}

async fn the_list_judges_expiry_itself(db: &Db) {
    let receiving = inserted(db, upload(0)).await;
    let overdue = inserted(db, Upload { expires: at(0), ..upload(-10) }).await;
    let expired = inserted(db, Upload { state: State::Expired, ended: Some(at(0)), ..upload(-20) }).await;
    let complete = inserted(db, Upload { state: State::Complete, expires: at(-1), ..upload(-30) }).await;
    for (state, ids) in [
        (None, vec![receiving.id, overdue.id, expired.id, complete.id]),
        (Some(State::Receiving), vec![receiving.id]),
        (Some(State::Expired), vec![overdue.id, expired.id]),
        (Some(State::Complete), vec![complete.id]),
        (Some(State::Cancelled), vec![]),
    ] {
        let listed = db.stores.uploads.list(Owner::Nobody, &page(state, 9)).await.expect("answers");
        assert_eq!(listed.iter().map(|upload| upload.id).collect::<Vec<_>>(), ids, "{state:?}");
    }
}

async fn a_name_is_found_among_ones_own(db: &Db) {
    let (mine, other) = (UserId::new(), UserId::new());
    let of = |seconds, owner, name: &str, size| Upload {
        owner: Some(owner),
        filename: name.to_owned(),
        size,
        ..upload(seconds)
    };
    let old = inserted(db, of(0, mine, "é.bin", Some(10))).await;
    let new = inserted(db, of(2, mine, "é.bin", Some(10))).await;
    let ended = Upload { state: State::Cancelled, ended: Some(at(9)), ..of(3, mine, "é.bin", Some(10)) };
    let ended = inserted(db, ended).await;
    let longer = inserted(db, of(4, mine, "é.bin", Some(11))).await;
    let unknown = inserted(db, of(5, mine, "é.bin", None)).await;
    inserted(db, of(6, mine, "É.bin", Some(10))).await;
    inserted(db, of(7, other, "é.bin", Some(10))).await;
    let uploads = &db.stores.uploads;
    let named = async |owner, size, limit| {
        let found = uploads.named(owner, "é.bin", size, limit).await.expect("answers");
        found.into_iter().map(|upload| upload.id).collect::<Vec<_>>()
    };
    let owner = Owner::User(mine);
    assert_eq!(named(owner, Some(10), 9).await, [new.id, old.id, ended.id]);
    assert_eq!(named(owner, Some(10), 1).await, [new.id]);
    assert_eq!(named(owner, None, 9).await, [unknown.id, longer.id, new.id, old.id, ended.id]);
    assert_eq!(named(owner, Some(u64::MAX), 9).await, []);
    assert_eq!(named(Owner::Nobody, None, 9).await, []);
}

async fn one_of_many_advances_wins(db: &Db) {
    let id = inserted(db, upload(0)).await.id;
    for round in 0..5 {
        let answers = race(12, |_| {
            let uploads = db.stores.uploads.clone();
            async move { uploads.advance(id, &advance(round * 100, (round + 1) * 100)).await }
        })
        .await;
        let won = answers.into_iter().filter(|answer| *answer.as_ref().expect("no error")).count();
        assert_eq!(won, 1, "round {round}");
    }
    assert_eq!(found(db, id).await.offset, 500);
}

async fn an_advance_needs_state_offset_and_size(db: &Db) {
    let uploads = &db.stores.uploads;
    let fresh = inserted(db, upload(0)).await;
    let id = fresh.id;
    assert!(!uploads.advance(id, &advance(1, 2)).await.expect("answers"));
    assert!(!uploads.advance(UploadId::new(), &advance(0, 2)).await.expect("answers"));
    assert_eq!(found(db, id).await, fresh);

    let first = Advance { size: Some(5), digest: kept(b"ab"), tail_start: 1, ..advance(0, 2) };
    assert!(uploads.advance(id, &first).await.expect("answers"));
    let expected = Upload {
        offset: 2,
        size: Some(5),
        digest: kept(b"ab"),
        expires: first.expires,
        updated: first.now,
        tail_start: 1,
        ..fresh
    };
    assert_eq!(found(db, id).await, expected);

    for size in [None, Some(4), Some(6)] {
        let wrong = Advance { size, ..advance(2, 3) };
        assert!(!uploads.advance(id, &wrong).await.expect("answers"), "{size:?}");
    }
    assert_eq!(found(db, id).await, expected);
    let right = Advance { size: Some(5), ..advance(2, 5) };
    assert!(uploads.advance(id, &right).await.expect("answers"));
    for state in [State::Complete, State::Cancelled, State::Expired] {
        let ended = inserted(db, Upload { state, ..upload(0) }).await;
        assert!(!uploads.advance(ended.id, &advance(0, 1)).await.expect("answers"), "{state:?}");
    }
}

async fn completion_keeps_the_sum_and_drops_the_state(db: &Db) {
    let uploads = &db.stores.uploads;
    let whole = Upload { offset: 3, size: Some(3), digest: kept(b"abc"), ..upload(0) };
    let whole = inserted(db, whole).await;
    let sum = md5(b"abc").finish();
    assert!(!uploads.complete(whole.id, 2, Some(&sum), at(9), None).await.expect("answers"));
    assert_eq!(found(db, whole.id).await, whole);
    assert!(uploads.complete(whole.id, 3, Some(&sum), at(9), None).await.expect("answers"));
    assert!(!uploads.complete(whole.id, 3, Some(&sum), at(10), None).await.expect("answers"));
    let complete = found(db, whole.id).await;
    let digest = KeptDigest { algorithm: Algorithm::Md5, state: vec![] };
    let (state, ended) = (State::Complete, Some(at(9)));
    assert_eq!(
        complete,
        Upload { state, digest: Some(digest), sum: Some(sum.clone()), updated: at(9), ended, ..whole }
    );
    assert!(complete.may_finish(Some(&sum), at(10)).is_ok(), "a completion can be repeated with its digest");

    let plain = inserted(db, upload(0)).await;
    assert!(uploads.complete(plain.id, 0, None, at(9), None).await.expect("answers"));
    assert_eq!(found(db, plain.id).await.sum, None);
}

async fn the_last_move_and_the_completion_are_one(db: &Db) {
    let uploads = &db.stores.uploads;
    let sum = md5(b"whole").finish();
    let last = |from| Advance { size: Some(9), digest: kept(b"whole"), tail_start: 4, ..advance(from, 9) };
    let at_once = inserted(db, Upload { offset: 4, size: Some(9), digest: kept(b"half"), ..upload(0) }).await;
    let by_steps = inserted(db, Upload { id: UploadId::new(), placement: None, ..at_once.clone() }).await;
    assert!(!uploads.complete_with(at_once.id, &last(3), Some(&sum)).await.expect("answers"), "it stands elsewhere");
    let longer = Advance { size: Some(10), ..last(4) };
    assert!(!uploads.complete_with(at_once.id, &longer, Some(&sum)).await.expect("answers"), "its length is fixed");
    assert_eq!(found(db, at_once.id).await, at_once);
    assert!(uploads.complete_with(at_once.id, &last(4), Some(&sum)).await.expect("answers"));
    assert!(uploads.advance(by_steps.id, &last(4)).await.expect("answers"));
    assert!(uploads.complete(by_steps.id, 9, Some(&sum), last(4).now, None).await.expect("answers"));
    let twin = Upload { id: at_once.id, placement: at_once.placement, ..found(db, by_steps.id).await };
    assert_eq!(found(db, at_once.id).await, twin);
    assert!(!uploads.complete_with(at_once.id, &last(4), Some(&sum)).await.expect("answers"), "it is over");
}

async fn an_upload_ends_from_the_states_named(db: &Db) {
    const ALL: [State; 4] = [State::Receiving, State::Complete, State::Cancelled, State::Expired];
    for was in ALL {
        for named in ALL {
            let before = inserted(db, Upload { state: was, ..upload(0) }).await;
            let done =
                db.stores.uploads.end(before.id, &[named], State::Cancelled, at(9), None).await.expect("answers");
            assert_eq!(done, was == named, "{was:?} {named:?}");
            let after = match done {
                true => Upload { state: State::Cancelled, updated: at(9), ended: Some(at(9)), ..before.clone() },
                false => before.clone(),
            };
            assert_eq!(found(db, before.id).await, after);
        }
        let before = inserted(db, Upload { state: was, ..upload(0) }).await;
        assert!(!db.stores.uploads.end(before.id, &[], State::Cancelled, at(9), None).await.expect("answers"));
        assert!(db.stores.uploads.end(before.id, &ALL, State::Cancelled, at(9), None).await.expect("answers"));
    }
}

async fn what_was_extended_does_not_expire(db: &Db) {
    let id = inserted(db, upload(0)).await.id;
    let expire = |now| db.stores.uploads.end(id, &[State::Receiving], State::Expired, now, None);
    assert!(!expire(at(3599)).await.expect("answers"));
    assert!(expire(at(3600)).await.expect("answers"));
    let complete = inserted(db, Upload { state: State::Complete, ..upload(0) }).await;
    assert!(
        db.stores.uploads.end(complete.id, &[State::Complete], State::Expired, at(1), None).await.expect("answers")
    );
}

async fn the_reaper_finds_collects_and_forgets(db: &Db) {
    let uploads = &db.stores.uploads;
    let ids = |found: Vec<Upload>| found.into_iter().map(|upload| upload.id).collect::<HashSet<_>>();
    let binding = proof(false);
    let overdue = Upload { expires: at(10), digest: kept(b""), owner: Some(UserId::new()), ..upload(0) };
    uploads.insert(&overdue, Some(binding), None, &Allowance::default()).await.expect("inserted");
    inserted(db, upload(0)).await;
    let old = inserted(db, Upload { state: State::Complete, ended: Some(at(5)), ..upload(0) }).await;
    inserted(db, Upload { state: State::Complete, ended: Some(at(6)), ..upload(0) }).await;

    assert_eq!(ids(uploads.outlived(at(9), None, 9).await.expect("answers")), HashSet::new());
    assert_eq!(ids(uploads.outlived(at(10), None, 9).await.expect("answers")), HashSet::from([overdue.id]));
    let both = uploads.outlived(at(10), Some(at(6)), 9).await.expect("answers");
    assert_eq!(ids(both), HashSet::from([overdue.id, old.id]));
    assert_eq!(uploads.outlived(at(10), Some(at(6)), 1).await.expect("answers").len(), 1);

    uploads.content_gone(overdue.id).await.expect("answers");
    assert!(uploads.end(overdue.id, &[State::Receiving], State::Expired, at(11), None).await.expect("answers"));
    assert!(uploads.end(old.id, &[State::Complete], State::Expired, at(12), None).await.expect("answers"));
    let left = uploads.to_collect(9).await.expect("answers");
    assert_eq!(left.iter().map(|upload| upload.id).collect::<Vec<_>>(), [overdue.id, old.id]);
    assert!(left.iter().all(|upload| upload.placement.is_some()), "what still receives keeps its place");
    assert_eq!(uploads.to_collect(1).await.expect("answers").len(), 1);
    assert_eq!(uploads.forget(at(100), 9).await.expect("answers"), 0, "the bytes are still there");

    uploads.content_gone(overdue.id).await.expect("answers");
    uploads.content_gone(old.id).await.expect("answers");
    assert!(uploads.to_collect(9).await.expect("answers").is_empty());
    let gone = uploads.find(overdue.id, Owner::User(overdue.owner.expect("owned"))).await.expect("answers");
    let gone = gone.expect("still remembered");
    assert_eq!((gone.placement, gone.digest, gone.ended), (None, None, Some(at(11))));
    assert_eq!(db.stores.accounts.bound(binding.proof).await.expect("answers").len(), 1);
    assert_eq!(uploads.forget(at(11), 9).await.expect("answers"), 0);
    assert_eq!(uploads.forget(at(12), 9).await.expect("answers"), 1);
    assert!(!uploads.exists(overdue.id).await.expect("answers"));
    assert_eq!(db.stores.accounts.bound(binding.proof).await.expect("answers"), []);
    assert_eq!(uploads.forget(at(100), 9).await.expect("answers"), 1);
}

async fn a_shared_proof_binds_many(db: &Db) {
    let (user, binding) = (UserId::new(), proof(false));
    let mut made = HashSet::new();
    for _ in 0..3 {
        let mine = Upload { owner: Some(user), ..upload(0) };
        db.stores.uploads.insert(&mine, Some(binding), None, &Allowance::default()).await.expect("inserted");
        made.insert((mine.id, user));
    }
    db.stores
        .uploads
        .insert(&upload(0), Some(binding), None, &Allowance::default())
        .await
        .expect("inserted, of nobody");
    let bound = db.stores.accounts.bound(binding.proof).await.expect("answers");
    assert_eq!(bound.into_iter().collect::<HashSet<_>>(), made);
    assert_eq!(db.stores.accounts.bound(proof(false).proof).await.expect("answers"), []);
}

async fn an_exclusive_proof_binds_one(db: &Db) {
    let (user, binding) = (UserId::new(), proof(true));
    let first = Upload { owner: Some(user), ..upload(0) };
    let second = Upload { owner: Some(user), ..upload(0) };
    db.stores.uploads.insert(&first, Some(binding), None, &Allowance::default()).await.expect("inserted");
    assert!(is_conflict(&db.stores.uploads.insert(&second, Some(binding), None, &Allowance::default()).await));
    assert!(!db.stores.uploads.exists(second.id).await.expect("answers"), "nothing of the second is kept");
    assert_eq!(db.stores.accounts.bound(binding.proof).await.expect("answers"), [(first.id, user)]);
}

async fn one_of_many_exclusive_bindings_wins(db: &Db) {
    let binding = proof(true);
    let answers = race(10, |_| {
        let uploads = db.stores.uploads.clone();
        async move { uploads.insert(&upload(0), Some(binding), None, &Allowance::default()).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| is_conflict(answer)).count(), 9);
    assert_eq!(db.stores.uploads.list(Owner::Nobody, &page(None, 99)).await.expect("answers").len(), 1);
}

async fn exclusive_and_shared_do_not_mix(db: &Db) {
    for first_exclusive in [true, false] {
        let first = proof(first_exclusive);
        let second = Binding { exclusive: !first_exclusive, ..first };
        db.stores.uploads.insert(&upload(0), Some(first), None, &Allowance::default()).await.expect("inserted");
        assert!(is_conflict(&db.stores.uploads.insert(&upload(0), Some(second), None, &Allowance::default()).await));
    }
    let one = proof(false).proof;
    let answers = race(10, |number| {
        let uploads = db.stores.uploads.clone();
        let exclusive = number % 2 == 0;
        async move {
            (
                exclusive,
                uploads.insert(&upload(0), Some(Binding { proof: one, exclusive }), None, &Allowance::default()).await,
            )
        }
    })
    .await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok() || is_conflict(answer)));
    let won: Vec<bool> = answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(exclusive, _)| *exclusive).collect();
    assert!(won == [true] || won == [false; 5], "{won:?}");
}

fn to_spend() -> Spend {
    Spend { proof: proof(false).proof, until: at(700) }
}

async fn a_deed_and_what_it_spends_are_one(db: &Db) {
    let uploads = &db.stores.uploads;
    let (begun, once) = (upload(0), to_spend());
    uploads.insert(&begun, None, Some(once), &Allowance::default()).await.expect("inserted");
    let second = upload(0);
    assert!(is_conflict(&uploads.insert(&second, Some(proof(false)), Some(once), &Allowance::default()).await));
    assert!(!uploads.exists(second.id).await.expect("answers"), "nothing of the second is kept");
    assert!(is_conflict(&uploads.complete(begun.id, 0, None, at(9), Some(once)).await));
    assert!(is_conflict(&uploads.end(begun.id, &[State::Receiving], State::Cancelled, at(9), Some(once)).await));
    assert_eq!(found(db, begun.id).await, begun);

    // A deed that is not done spends nothing.
    let other = to_spend();
    assert!(!uploads.complete(begun.id, 7, None, at(9), Some(other)).await.expect("answers"));
    assert!(!uploads.end(begun.id, &[State::Complete], State::Cancelled, at(9), Some(other)).await.expect("answers"));
    assert!(uploads.complete(begun.id, 0, None, at(9), Some(other)).await.expect("answers"));
    assert!(!uploads.spend(other).await.expect("answers"));
    assert!(uploads.spend(to_spend()).await.expect("answers"));
    assert_eq!(db.stores.accounts.forget_spent(at(700), 99).await.expect("answers"), 0);
    assert_eq!(db.stores.accounts.forget_spent(at(701), 2).await.expect("answers"), 2);
    assert_eq!(db.stores.accounts.forget_spent(at(701), 99).await.expect("answers"), 1);
    assert!(uploads.spend(once).await.expect("answers"));
}

async fn one_of_many_deeds_spends(db: &Db) {
    let once = to_spend();
    let answers = race(10, |_| {
        let uploads = db.stores.uploads.clone();
        async move { uploads.insert(&upload(0), None, Some(once), &Allowance::default()).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| is_conflict(answer)).count(), 9);
    assert_eq!(db.stores.uploads.list(Owner::Nobody, &page(None, 99)).await.expect("answers").len(), 1);
}

const NONE: Allowance = Allowance { max_total_bytes: None, remaining: None, max_concurrent_uploads: None };

fn of(owner: UserId, seconds: i64, size: Option<u64>) -> Upload {
    Upload { owner: Some(owner), size, ..upload(seconds) }
}

async fn what_counts_is_what_grows_and_what_is_complete(db: &Db) {
    let (mine, other) = (UserId::new(), UserId::new());
    let ended = |state| Upload { state, ended: Some(at(0)), ..of(mine, 0, Some(1000)) };
    let asked = inserted(db, of(mine, 0, Some(5000))).await;
    for counted in [
        Upload { offset: 3, ..of(mine, 0, Some(10)) },
        Upload { offset: 20, ..of(mine, 5, None) },
        Upload { offset: 100, state: State::Complete, ended: Some(at(0)), expires: at(0), ..of(mine, 9, Some(100)) },
    ] {
        inserted(db, counted).await;
    }
    for passed_over in [
        ended(State::Cancelled),
        ended(State::Expired),
        Upload { expires: at(0), ..of(mine, -10, Some(1000)) },
        of(other, 0, Some(1000)),
        Upload { offset: 1000, ..upload(0) },
    ] {
        inserted(db, passed_over).await;
    }
    let usage = async |since| db.stores.uploads.usage(mine, asked.id, since, at(0)).await.expect("answers");
    assert_eq!(usage(at(100)).await, Usage { bytes: 130, bytes_since: 0, receiving: 2 });
    assert_eq!(usage(at(5)).await.bytes_since, 120);
    for _ in 0..3 {
        inserted(db, of(mine, 0, Some(i64::MAX as u64))).await;
    }
    assert!(usage(at(0)).await.bytes > 1 << 62, "claims that no number holds are no failure");
    let nobody = db.stores.uploads.usage(UserId::new(), asked.id, at(0), at(0)).await.expect("answers");
    assert_eq!(nobody, Usage::default());
}

async fn one_of_many_beginnings_finds_the_only_place(db: &Db) {
    let user = UserId::new();
    let one = Allowance { max_concurrent_uploads: Some(1), ..NONE };
    let answers = race(10, |_| {
        let (uploads, new) = (db.stores.uploads.clone(), of(user, 0, None));
        async move { uploads.insert(&new, Some(proof(false)), None, &one).await.expect("answers") }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 1);
    assert!(answers.into_iter().flatten().all(|refusal| refusal == Refusal::TooManyUploads { max_uploads: 1 }));
    let others = db.stores.uploads.insert(&of(UserId::new(), 0, None), None, None, &one).await;
    assert_eq!(others.expect("answers"), None, "another user has a place of its own");
    let mine = db.stores.uploads.list(Owner::User(user), &page(None, 9)).await.expect("answers");
    assert_eq!(mine.len(), 1);
    assert!(
        db.stores.uploads.end(mine[0].id, &[State::Receiving], State::Cancelled, at(1), None).await.expect("answers")
    );
    let next = db.stores.uploads.insert(&of(user, 0, None), None, None, &one).await;
    assert_eq!(next.expect("answers"), None, "the place is free again");
}

async fn many_beginnings_share_what_is_left(db: &Db) {
    let user = UserId::new();
    let hundred = Allowance { max_total_bytes: Some(100), ..NONE };
    let answers = race(10, |_| {
        let (uploads, new) = (db.stores.uploads.clone(), of(user, 0, Some(30)));
        async move { uploads.insert(&new, None, None, &hundred).await.expect("answers") }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 3);
    assert!(answers.into_iter().flatten().all(|refusal| refusal == Refusal::OverQuota { left_bytes: 10 }));
}

async fn only_what_began_since_uses_up_what_was_left(db: &Db) {
    let user = UserId::new();
    inserted(db, of(user, 0, Some(1000))).await;
    let rest = Allowance { remaining: Some(Remaining { bytes: 50, as_of: at(10) }), ..NONE };
    let begin = async |size| {
        let new = of(user, 11, Some(size));
        db.stores.uploads.insert(&new, None, None, &rest).await.expect("answers")
    };
    assert_eq!(begin(51).await, Some(Refusal::OverQuota { left_bytes: 50 }));
    assert_eq!(begin(40).await, None);
    assert_eq!(begin(11).await, Some(Refusal::OverQuota { left_bytes: 10 }));
    assert_eq!(begin(10).await, None);
}

async fn growth_shares_what_is_left_too(db: &Db) {
    let user = UserId::new();
    let mut growing = Vec::new();
    for _ in 0..10 {
        growing.push(inserted(db, of(user, 0, None)).await.id);
    }
    let rest = Remaining { bytes: 100, as_of: at(0) };
    let hundred = Allowance { remaining: Some(rest), ..NONE };
    let moved = race(10, |number| {
        let (uploads, id) = (db.stores.uploads.clone(), growing[number]);
        let advance = Advance { within: Some((user, hundred)), ..advance(0, 30) };
        async move { uploads.advance(id, &advance).await.expect("answers") }
    })
    .await;
    assert_eq!(moved.into_iter().filter(|moved| *moved).count(), 3);
}

/// What is done at once may be done in one transaction; what fails in it fails alone.
async fn of_many_changes_at_once_each_stands_or_falls_alone(db: &Db) {
    const EACH: usize = 12;
    const KINDS: usize = 6;
    let (taken, ended, exclusive) = (inserted(db, upload(0)).await, inserted(db, upload(0)).await, proof(true));
    let whole = join_all((0..EACH).map(|_| inserted(db, Upload { offset: 5, size: Some(5), ..upload(0) }))).await;
    let growing = join_all((0..EACH).map(|_| inserted(db, upload(0)))).await;
    assert!(
        db.stores.uploads.end(ended.id, &[State::Receiving], State::Cancelled, at(1), None).await.expect("answers")
    );
    let new: Vec<_> = (0..EACH * KINDS).map(|_| upload(0)).collect();
    let answers = race(EACH * KINDS, |number| {
        let (facts, turn) = (db.stores.uploads.clone(), number / KINDS);
        let (new, growing, whole) = (new[number].clone(), growing[turn].id, whole[turn].id);
        let (taken, ended) = (taken.clone(), ended.id);
        async move {
            let none = Allowance::default();
            match number % KINDS {
                0 => facts.insert(&new, Some(proof(false)), None, &none).await.map(|refusal| refusal.is_none()),
                1 => facts.insert(&taken, Some(proof(false)), None, &none).await.map(|refusal| refusal.is_none()),
                2 => facts.insert(&new, Some(exclusive), None, &none).await.map(|refusal| refusal.is_none()),
                3 => facts.advance(growing, &advance(0, 7)).await,
                4 => facts.advance(ended, &advance(0, 7)).await,
                _ => facts.complete(whole, 5, None, at(2), None).await,
            }
        }
    })
    .await;
    let of = |kind| answers.iter().skip(kind).step_by(KINDS);
    for kind in [0, 3, 5] {
        assert!(of(kind).all(|answer| matches!(answer, Ok(true))), "{kind}: {answers:?}");
    }
    assert!(of(1).all(is_conflict), "{answers:?}");
    assert_eq!(of(2).filter(|answer| matches!(answer, Ok(true))).count(), 1, "{answers:?}");
    assert_eq!(of(2).filter(|answer| is_conflict(answer)).count(), EACH - 1, "{answers:?}");
    assert!(of(4).all(|answer| matches!(answer, Ok(false))), "{answers:?}");
    // Each answer is what happened.
    for (number, answer) in answers.iter().enumerate().filter(|(number, _)| matches!(number % KINDS, 0 | 2)) {
        let there = db.stores.uploads.exists(new[number].id).await.expect("answers");
        assert_eq!(there, matches!(answer, Ok(true)), "{number}");
    }
    for upload in growing {
        assert_eq!(found(db, upload.id).await.offset, 7);
    }
    for upload in whole {
        assert_eq!(found(db, upload.id).await.state, State::Complete);
    }
}

/// A change that nobody waits for any more is not made by those who come later, or was made before.
async fn who_leaves_before_its_turn_changes_nothing_for_others(db: &Db) {
    for _ in 0..20 {
        let (left, stayed) = (inserted(db, upload(0)).await, inserted(db, upload(0)).await);
        let (leaving, staying) = (advance(0, 3), advance(0, 7));
        tokio::select! {
            biased;
            moved = db.stores.uploads.advance(left.id, &leaving) => assert!(moved.expect("answers")),
            () = tokio::task::yield_now() => {}
        }
        assert!(db.stores.uploads.advance(stayed.id, &staying).await.expect("answers"));
        let stands = found(db, left.id).await.offset;
        assert!(db.stores.uploads.advance(left.id, &advance(stands, 9)).await.expect("answers"));
        assert_eq!((found(db, left.id).await.offset, found(db, stayed.id).await.offset), (9, 7));
    }
}
