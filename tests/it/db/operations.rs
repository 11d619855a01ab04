//! What operators change, and the trail beside it.

use chunkgate::{
    db::{Change, KeptKey, Person, Search, StoreError},
    domain::{
        EntryId, UploadId, UserId,
        keys::ApiKey,
        operators::{Deed, Entry, Object, Operator},
        principal::{Scopes, User},
        upload::State,
    },
};

use super::{Db, at, inserted, upload};
use crate::local;

contract!(
    a_change_and_its_line_are_one,
    what_does_not_apply_leaves_no_line,
    a_user_and_a_password_come_together,
    the_trail_goes_by_pages_and_is_searched,
    an_upload_ends_once_before_its_time,
);

fn by() -> Operator {
    Operator::of_the_shell()
}

fn entry(deed: Deed, time: i64) -> Entry {
    Entry::new(&by(), deed, Object::user(None, "someone"), at(time)).saying("a word")
}

fn person(name: &str) -> Person {
    Person { display_name: Some("A Name".into()), admin: true, ..local::person(name, at(1)) }
}

async fn added(db: &Db, name: &str) -> Person {
    let person = person(name);
    let made = db.stores.operations.apply(Change::AddUser(&person, None), &entry(Deed::UserAdd, 1)).await;
    assert!(made.expect("answers"));
    person
}

fn page<Id>(text: &str, limit: u32) -> Search<Id> {
    Search { text: text.into(), after: None, limit }
}

async fn lines(db: &Db) -> Vec<Entry> {
    db.stores.operations.entries(&by(), &page("", 100)).await.expect("answers")
}

fn key(of: UserId, number: u8) -> KeptKey {
    let key = ApiKey::new([number; 8], [7; 32]);
    KeptKey {
        id: key.id(),
        user: of,
        hash: key.hash(b"pepper"),
        label: String::new(),
        scopes: Scopes::ALL,
        created: at(2),
        expires: None,
        last_used: None,
        revoked: None,
        replaced_by: None,
        overlap_until: None,
    }
}

async fn a_change_and_its_line_are_one(db: &Db) {
    let ada = added(db, "ada").await;
    let id = ada.user.id;
    let (first, next) = (key(id, 1), key(id, 2));
    for (number, (change, deed)) in (2..).zip([
        (Change::SetDisabled(id, true), Deed::UserDisable),
        (Change::SetAdmin(id, false), Deed::UserDemote),
        (Change::SetPassword(id, "phc"), Deed::UserPassword),
        (Change::AddKey(&first), Deed::KeyCreate),
        (Change::RotateKey(first.id, &next, at(50)), Deed::KeyRotate),
        (Change::RevokeKey(next.id), Deed::KeyRevoke),
    ]) {
        let line = entry(deed, number);
        assert!(db.stores.operations.apply(change, &line).await.expect("answers"), "{change:?}");
        assert_eq!(lines(db).await[0], line);
    }
    let known = db.stores.operations.person(&by(), id).await.expect("answers").expect("there");
    // Disabling, another password and a revoked key each end the tokens from before.
    let user = User { epoch: 3, ..ada.user.clone() };
    assert_eq!(known, Person { user, admin: false, disabled_by_admin: true, has_password: true, ..ada });
    let keys = db.stores.credentials.keys(id).await.expect("answers");
    assert_eq!((keys[0].replaced_by, keys[1].revoked), (Some(next.id), Some(at(7))));
    assert_eq!(lines(db).await.len(), 7);
}

async fn what_does_not_apply_leaves_no_line(db: &Db) {
    let ada = added(db, "ada").await;
    let (id, first) = (ada.user.id, key(ada.user.id, 1));
    for change in [
        Change::SetDisabled(id, false),
        Change::SetDisabled(UserId::new(), true),
        Change::SetAdmin(id, true),
        Change::RotateKey(first.id, &key(id, 2), at(9)),
        Change::RevokeKey(first.id),
        Change::EndUpload(UploadId::new(), State::Receiving, State::Cancelled),
    ] {
        assert!(!db.stores.operations.apply(change, &entry(Deed::KeyRevoke, 2)).await.expect("answers"), "{change:?}");
    }
    let again =
        db.stores.operations.apply(Change::AddUser(&person("ada"), Some("phc")), &entry(Deed::UserAdd, 3)).await;
    assert!(matches!(again, Err(StoreError::Conflict)));
    assert_eq!(lines(db).await.len(), 1);
    assert_eq!(db.stores.credentials.keys(id).await.expect("answers"), vec![]);
}

async fn a_user_and_a_password_come_together(db: &Db) {
    let ada = person("ada");
    let made = db.stores.operations.apply(Change::AddUser(&ada, Some("phc")), &entry(Deed::UserAdd, 1)).await;
    assert!(made.expect("answers"));
    let known = db.stores.credentials.user("ada").await.expect("answers").expect("there");
    assert_eq!((known.phc.as_deref(), known.admin, known.account.user.id), (Some("phc"), true, ada.user.id));
    let people = db.stores.operations.people(&by(), &page("a NAME", 10)).await.expect("answers");
    assert_eq!(people, [Person { has_password: true, ..ada }]);
}

async fn the_trail_goes_by_pages_and_is_searched(db: &Db) {
    for time in 0..5 {
        db.stores.operations.note(&entry(Deed::UploadCancel, time / 2).refused("no")).await.expect("noted");
    }
    let mut seen: Vec<EntryId> = Vec::new();
    let mut after = None;
    loop {
        let page = Search { text: "SOME".into(), after, limit: 2 };
        let found = db.stores.operations.entries(&by(), &page).await.expect("answers");
        let Some(last) = found.last() else { break };
        after = Some((last.at, last.id));
        seen.extend(found.iter().map(|entry| entry.id));
    }
    let mut once = seen.clone();
    once.sort();
    once.dedup();
    assert_eq!((seen.len(), once.len()), (5, 5));
    let none = db.stores.operations.entries(&by(), &page("s%e", 9)).await.expect("answers");
    assert_eq!(none, vec![]);
}

async fn an_upload_ends_once_before_its_time(db: &Db) {
    let upload = inserted(db, upload(1)).await;
    let change = Change::EndUpload(upload.id, State::Receiving, State::Expired);
    for first in [true, false] {
        let line = entry(Deed::UploadExpire, 5);
        assert_eq!(db.stores.operations.apply(change, &line).await.expect("answers"), first);
    }
    let known = db.stores.operations.any_upload(&by(), upload.id).await.expect("answers").expect("there");
    assert_eq!((known.upload.state, known.upload.ended, &known.owner), (State::Expired, Some(at(5)), &None));
    let listed = db.stores.operations.all_uploads(&by(), &page("", 9), None, Some(State::Expired), at(6)).await;
    assert_eq!(listed.expect("answers"), [known]);
    assert_eq!(lines(db).await.len(), 1);
}
