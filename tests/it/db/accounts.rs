//! Users and spent proofs.

use std::{collections::HashSet, time::Duration};

use chunkgate::{
    db::Profile,
    domain::{
        UserId,
        events::{Event, Kind},
        profile::{Told, Version},
    },
};

use super::{Db, at, profile, proof, provisioned, race};

contract!(
    a_proof_is_spent_once,
    a_user_is_made_once_and_found,
    an_unchanged_profile_writes_nothing,
    a_profile_changes_what_it_says,
    names_are_not_taken_over,
    an_older_profile_overwrites_nothing,
    what_is_cleared_goes,
    who_is_known,
    one_user_from_many_first_sights,
    one_name_for_many_users,
    a_user_is_disabled_and_enabled,
    an_epoch_is_raised_and_never_lowered,
);

async fn a_proof_is_spent_once(db: &Db) {
    let accounts = &db.stores.accounts;
    let once = proof(true).proof;
    let answers = race(10, |_| {
        let accounts = accounts.clone();
        async move { accounts.spend(once, at(10)).await.expect("answers") }
    })
    .await;
    assert_eq!(answers.into_iter().filter(|first| *first).count(), 1);
    assert_eq!(accounts.forget_spent(at(10), 9).await.expect("answers"), 0);
    assert!(!accounts.spend(once, at(10)).await.expect("answers"));
    assert!(accounts.spend(proof(true).proof, at(5)).await.expect("answers"));
    assert!(accounts.spend(proof(true).proof, at(20)).await.expect("answers"));
    assert_eq!(accounts.forget_spent(at(11), 1).await.expect("answers"), 1);
    assert_eq!(accounts.forget_spent(at(11), 9).await.expect("answers"), 1);
    assert!(accounts.spend(once, at(30)).await.expect("answers"));
}

async fn a_user_is_made_once_and_found(db: &Db) {
    let first = provisioned(db, &profile("s1", "ada")).await;
    assert_eq!(
        (&*first.user.realm, &*first.user.username, &*first.subject, first.disabled),
        ("idp", "ada", "s1", false)
    );
    assert_eq!(provisioned(db, &profile("s1", "ada")).await, first);
    assert_eq!(db.stores.accounts.find(first.user.id).await.expect("answers"), Some(first.clone()));
    assert_eq!(db.stores.accounts.find(UserId::new()).await.expect("answers"), None);
    let elsewhere = Profile { realm: "other".to_owned(), ..profile("s1", "ada") };
    let elsewhere = provisioned(db, &elsewhere).await;
    assert_ne!(elsewhere.user.id, first.user.id);
    assert_eq!(elsewhere.user.username, "ada", "names are of a realm");
}

async fn an_unchanged_profile_writes_nothing(db: &Db) {
    let groups = |names: &[&str]| Told::Is(names.iter().map(|name| (*name).to_owned()).collect());
    let full = Profile {
        email: Told::Is("ada@example.org".to_owned()),
        display_name: Told::Is("Ada".to_owned()),
        groups: groups(&["b", "a"]),
        ..profile("s1", "ada")
    };
    let ada = provisioned(db, &full).await;
    let namesake = provisioned(db, &profile("s2", "ada")).await;
    let look = async {
        assert_eq!(provisioned(db, &full).await, ada);
        assert_eq!(provisioned(db, &Profile { groups: groups(&["a", "b"]), ..full.clone() }).await, ada);
        assert_eq!(provisioned(db, &profile("s1", "ada")).await, ada, "what is not said does not change");
        assert_eq!(provisioned(db, &profile("s2", "ada")).await, namesake, "nor does a name that is taken");
    };
    let in_time = tokio::time::timeout(Duration::from_secs(4), db.without_writers(look)).await;
    in_time.expect("answers though nobody can write");
}

async fn a_profile_changes_what_it_says(db: &Db) {
    let first = provisioned(db, &profile("s1", "ada")).await;
    let email = Told::Is("ada@example.org".to_owned());
    let renamed = provisioned(db, &Profile { email, ..profile("s1", "lovelace") }).await;
    assert_eq!((renamed.user.id, &*renamed.user.username), (first.user.id, "lovelace"));
    assert_eq!(db.stores.accounts.find(first.user.id).await.expect("answers"), Some(renamed));
    let next = provisioned(db, &profile("s2", "ada")).await;
    assert_eq!(next.user.username, "ada", "a name that was given up is free");
}

async fn names_are_not_taken_over(db: &Db) {
    let ada = provisioned(db, &profile("s1", "ada")).await;
    let second = provisioned(db, &profile("s2", "ada")).await;
    assert_eq!(second.user.username, format!("ada~{}", &second.user.id.simple()[..8]));
    let bob = provisioned(db, &profile("s3", "bob")).await;
    let email = Told::Is("bob@example.org".to_owned());
    assert_eq!(provisioned(db, &Profile { email, ..profile("s3", "ada") }).await, bob, "a known user keeps its name");
    assert_eq!(db.stores.accounts.find(ada.user.id).await.expect("answers"), Some(ada));
}

async fn one_user_from_many_first_sights(db: &Db) {
    let users = race(10, |_| {
        let accounts = db.stores.accounts.clone();
        async move { accounts.provision(&profile("s1", "ada"), at(0)).await.expect("never an error").0 }
    })
    .await;
    assert!(users.iter().all(|user| *user == users[0]));
}

async fn one_name_for_many_users(db: &Db) {
    let users = race(10, |number| {
        let accounts = db.stores.accounts.clone();
        async move { accounts.provision(&profile(&format!("s{number}"), "ada"), at(0)).await.expect("never an error").0 }
    })
    .await;
    assert_eq!(users.iter().filter(|user| user.user.username == "ada").count(), 1);
    assert_eq!(users.iter().map(|user| &user.user.username).collect::<HashSet<_>>().len(), 10);
}

async fn a_user_is_disabled_and_enabled(db: &Db) {
    let accounts = &db.stores.accounts;
    let ada = provisioned(db, &profile("s1", "ada")).await;
    accounts.set_disabled("idp", "nobody", true, at(1)).await.expect("ignored");
    accounts.set_disabled("other", "s1", true, at(1)).await.expect("ignored");
    assert!(!provisioned(db, &profile("s1", "ada")).await.disabled);
    accounts.set_disabled("idp", "s1", true, at(1)).await.expect("done");
    assert!(provisioned(db, &profile("s1", "ada")).await.disabled);
    accounts.set_disabled("idp", "s1", false, at(2)).await.expect("done");
    let enabled = accounts.find(ada.user.id).await.expect("answers").expect("is there");
    assert_eq!((enabled.disabled, enabled.user.epoch), (false, ada.user.epoch + 1), "what was given before stays over");
    db.sql("UPDATE users SET disabled_by_admin = TRUE").await;
    accounts.set_disabled("idp", "s1", false, at(3)).await.expect("done");
    assert!(provisioned(db, &profile("s1", "ada")).await.disabled, "an operator's word stands");
}

async fn an_epoch_is_raised_and_never_lowered(db: &Db) {
    let accounts = &db.stores.accounts;
    let ada = provisioned(db, &profile("s1", "ada")).await;
    let bob = provisioned(db, &profile("s2", "bob")).await;
    let revoked = |number: usize, subject: &str| Event {
        id: format!("{subject} {number}"),
        kind: Kind::KeyRevoked,
        realm: "idp".to_owned(),
        subject: Some(subject.to_owned()),
        at: at(1),
    };
    race(10, |number| {
        let (events, revoked) = (db.stores.identity_events.clone(), revoked(number, "s1"));
        async move { assert!(events.hear("idp", &revoked, at(1)).await.expect("answers")) }
    })
    .await;
    assert!(db.stores.identity_events.hear("idp", &revoked(0, "nobody"), at(1)).await.expect("answers"));
    for known in ["ada", "ada l."] {
        assert_eq!(provisioned(db, &profile("s1", known)).await.user.epoch, ada.user.epoch + 10, "{known}");
    }
    assert_eq!(accounts.find(bob.user.id).await.expect("answers"), Some(bob));
}

async fn an_older_profile_overwrites_nothing(db: &Db) {
    let told = |version, name: &str| Profile { version: Some(Version(version)), ..profile("s1", name) };
    let seen = race(10, |number| {
        let (accounts, told) = (db.stores.accounts.clone(), told(number as i64, &format!("ada {number}")));
        async move { accounts.provision(&told, at(0)).await.expect("never an error") }
    })
    .await;
    let ada = seen[0].0.user.id;
    let name = async || db.stores.accounts.find(ada).await.expect("answers").expect("there").user.username;
    assert_eq!(name().await, "ada 9", "whoever came last");
    for (version, said, holds) in [
        (9, "again", "ada 9"),
        (-1, "older", "ada 9"),
        (10, "newer", "newer"),
        (i64::MAX, "newest", "newest"),
        (11, "late", "newest"),
    ] {
        assert_eq!(provisioned(db, &told(version, said)).await.user.username, holds, "{version}");
    }
    assert_eq!(provisioned(db, &profile("s1", "uncounted")).await.user.username, "uncounted");
    assert_eq!(provisioned(db, &told(12, "old")).await.user.username, "uncounted", "the count goes on");
}

async fn what_is_cleared_goes(db: &Db) {
    let full = Profile {
        email: Told::Is("ada@example.org".to_owned()),
        groups: Told::Is(vec!["staff".to_owned()]),
        ..profile("s1", "ada")
    };
    let ada = provisioned(db, &full).await;
    provisioned(db, &Profile { email: Told::Cleared, groups: Told::Is(Vec::new()), ..profile("s1", "ada") }).await;
    db.sql("UPDATE users SET username = 'cleared' WHERE email IS NULL AND groups_json = '[]'").await;
    let found = db.stores.accounts.find(ada.user.id).await.expect("answers").expect("there");
    assert_eq!(found.user.username, "cleared");
}

async fn who_is_known(db: &Db) {
    provisioned(db, &profile("s1", "ada")).await;
    for (realm, subject, known) in [("idp", "s1", true), ("idp", "s2", false), ("other", "s1", false)] {
        assert_eq!(db.stores.accounts.knows(realm, subject).await.expect("answers"), known, "{realm} {subject}");
    }
}
