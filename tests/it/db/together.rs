//! Changes that SQLite makes together, held against the same changes made one after the other.
//!
//! Those that one task asks for at once wait behind the first of them, and so are one group.

use std::pin::pin;

use chunkgate::{
    db::{Advance, StoreError},
    domain::{
        UploadId,
        digest::{Algorithm, Digest},
        limits::Allowance,
        principal::{Binding, Owner, ProofHash, Spend},
        upload::{KeptDigest, Upload},
    },
};
use futures_util::{
    future::{join, join_all},
    poll,
};
use proptest::prelude::*;
use tracing::Instrument as _;

use super::{Db, advance, at, md5, proof, upload};
use crate::support::watch::watch;

const UPLOADS: usize = 4;
const PROOFS: usize = 3;

/// Where uploads get to: more than what a double can count among them.
const PLACES: [u64; 4] = [0, 5, (1 << 53) + 1, i64::MAX as u64];

/// A change of one of a few uploads.
#[derive(Debug, Clone)]
enum Change {
    Insert { which: usize, binding: Option<(usize, bool)>, spend: Option<usize> },
    Advance { which: usize, from: u64, to: u64, sized: bool },
    CompleteWith { which: usize, from: u64, to: u64 },
    Complete { which: usize, at: u64, spend: Option<usize> },
}
use Change::{Complete, CompleteWith, Insert};

/// What the changes are about: the same in every database.
struct World {
    uploads: Vec<Upload>,
    proofs: Vec<ProofHash>,
}

type Answer = Result<bool, String>;

impl World {
    fn new() -> Self {
        Self { uploads: (0..UPLOADS).map(odd).collect(), proofs: (0..PROOFS).map(|_| proof(true).proof).collect() }
    }

    async fn make(&self, db: &Db, change: &Change) -> Answer {
        let facts = &db.stores.uploads;
        let id = |which: usize| self.uploads[which].id;
        let spent = |proof: Option<usize>| proof.map(|number| Spend { proof: self.proofs[number], until: at(9) });
        let answer = match *change {
            Insert { which, binding, spend } => {
                let binding = binding.map(|(number, exclusive)| Binding { proof: self.proofs[number], exclusive });
                let inserted = facts.insert(&self.uploads[which], binding, spent(spend), &Allowance::default()).await;
                inserted.map(|refusal| refusal.is_none())
            }
            Change::Advance { which, from, to, sized } => {
                let size = sized.then_some(PLACES[3]);
                facts.advance(id(which), &Advance { size, digest: Some(every_byte()), ..advance(from, to) }).await
            }
            CompleteWith { which, from, to } => {
                let last = Advance { size: Some(to), digest: Some(every_byte()), ..advance(from, to) };
                facts.complete_with(id(which), &last, Some(&sum())).await
            }
            Complete { which, at: offset, spend } => {
                facts.complete(id(which), offset, Some(&sum()), at(2), spent(spend)).await
            }
        };
        answer.map_err(|error| error.to_string())
    }

    /// What is there of all this.
    async fn found(&self, db: &Db) -> (Vec<Option<Upload>>, Vec<Vec<UploadId>>, Vec<bool>) {
        let (mut uploads, mut bound, mut unspent) = (Vec::new(), Vec::new(), Vec::new());
        for upload in &self.uploads {
            uploads.push(db.stores.uploads.find(upload.id, Owner::Nobody).await.expect("answers"));
        }
        for proof in &self.proofs {
            let mut of: Vec<_> = db.stores.accounts.bound(*proof).await.expect("answers").into_iter().collect();
            of.sort_unstable_by_key(|(id, _)| id.to_string());
            bound.push(of.into_iter().map(|(id, _)| id).collect());
            unspent.push(db.stores.accounts.spend(*proof, at(9)).await.expect("answers"));
        }
        (uploads, bound, unspent)
    }

    /// The answers to all changes, made behind another one.
    async fn together(&self, db: &Db, changes: &[Change]) -> Vec<Answer> {
        let first = advance(0, 1);
        let before = db.stores.uploads.advance(UploadId::new(), &first);
        let mut made = pin!(join(before, join_all(changes.iter().map(|change| self.make(db, change)))));
        // The first cannot be made before all wait behind it.
        assert!(db.without_writers(async { poll!(made.as_mut()) }).await.is_pending());
        made.await.1
    }

    async fn one_by_one(&self, db: &Db, changes: &[Change]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for change in changes {
            answers.push(self.make(db, change).await);
        }
        answers
    }
}

/// An upload with something to spell in every column that others fill.
fn odd(number: usize) -> Upload {
    Upload {
        filename: format!("{number} 'Été' \"ø\" \\u0041 $1 \u{1f4c4}\u{2028}\t\u{1}\u{7f}.mp4"),
        content_type: (number > 1).then(String::new),
        metadata: Some("filename YQ==,empty\0".into()),
        completes: number % 2 == 1,
        max_bytes: Some(PLACES[3]),
        digest: (number > 0).then(every_byte),
        ..upload(number.try_into().expect("a small number"))
    }
}

fn every_byte() -> KeptDigest {
    KeptDigest { algorithm: Algorithm::Md5, state: (0..=u8::MAX).collect() }
}

fn sum() -> Digest {
    md5(b"abc").finish()
}

/// A database that has its connection: whoever comes first would wait for it, and those behind would be in one group with it.
async fn open() -> Db {
    let db = Db::sqlite().await.expect("opens");
    assert!(!db.stores.uploads.advance(UploadId::new(), &advance(0, 1)).await.expect("answers"));
    db
}

/// The answers to these changes, made together; the same, with the same left behind, as one by one.
async fn answers(changes: &[Change]) -> Vec<Answer> {
    let world = World::new();
    let (group, each) = (open().await, open().await);
    let (answers, expected) = (world.together(&group, changes).await, world.one_by_one(&each, changes).await);
    assert_eq!(answers, expected, "{changes:?}");
    assert_eq!(world.found(&group).await, world.found(&each).await, "{changes:?}");
    group.remove().await;
    each.remove().await;
    answers
}

/// Statements that a deed takes.
async fn statements<T>(deed: impl Future<Output = T>) -> (usize, T) {
    let (watch, name) = (watch(), UploadId::new().to_string());
    let made = deed.instrument(tracing::info_span!("deed", name)).await;
    let of = |kind| watch.lines(&[&name, &format!(" sqlx::query: summary=\"{kind} ")]);
    (["SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN"].map(of).iter().sum(), made)
}

fn bound(which: usize, proof: usize, exclusive: bool) -> Change {
    Insert { which, binding: Some((proof, exclusive)), spend: None }
}

fn grown(which: usize, from: u64, to: u64) -> Change {
    Change::Advance { which, from, to, sized: false }
}

/// Changes that can all be made.
fn possible() -> Vec<Change> {
    vec![
        Insert { which: 0, binding: None, spend: None },
        bound(1, 0, false),
        bound(2, 0, false),
        Insert { which: 3, binding: Some((1, true)), spend: Some(2) },
        grown(0, 0, 5),
        grown(0, 5, PLACES[2]),
        Change::Advance { which: 0, from: PLACES[2], to: PLACES[3], sized: true },
        CompleteWith { which: 1, from: 0, to: PLACES[2] },
        Complete { which: 2, at: 0, spend: Some(0) },
        Complete { which: 0, at: PLACES[3], spend: None },
    ]
}

#[tokio::test]
async fn what_can_be_made_together_is_one_statement() {
    let changes = possible();
    assert!(answers(&changes).await.iter().all(|answer| *answer == Ok(true)));
    let (db, world) = (open().await, World::new());
    let (count, _) = statements(world.together(&db, &changes)).await;
    assert_eq!(count, 2, "with the one before");
    db.remove().await;
}

#[tokio::test]
async fn a_beginning_and_what_stands_or_falls_with_it_are_one_statement() {
    let (db, world) = (open().await, World::new());
    for change in [bound(0, 0, true), Insert { which: 1, binding: Some((1, false)), spend: Some(2) }] {
        assert_eq!(statements(world.make(&db, &change)).await, (1, Ok(true)), "{change:?}");
    }
    db.remove().await;
}

#[tokio::test]
async fn of_two_that_exclude_each_other_the_first_is_made() {
    let conflict = || Err(StoreError::Conflict.to_string());
    let first = Insert { which: 0, binding: None, spend: None };
    for (one, other, refused) in [
        (bound(1, 0, true), bound(2, 0, true), conflict()),
        (bound(1, 0, true), bound(2, 0, false), conflict()),
        (bound(1, 0, false), bound(2, 0, true), conflict()),
        (bound(1, 0, false), bound(1, 1, false), conflict()),
        (
            Insert { which: 1, binding: None, spend: Some(0) },
            Insert { which: 2, binding: None, spend: Some(0) },
            conflict(),
        ),
        (grown(0, 0, 5), grown(0, 0, 5), Ok(false)),
        (grown(0, 0, 5), CompleteWith { which: 0, from: 0, to: 5 }, Ok(false)),
        (Complete { which: 0, at: 0, spend: None }, grown(0, 0, 5), Ok(false)),
    ] {
        let changes = [first.clone(), one, other, bound(3, 2, true)];
        assert_eq!(answers(&changes).await, [Ok(true), Ok(true), refused, Ok(true)], "{changes:?}");
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let which = || 0..UPLOADS;
    let place = || proptest::sample::select(&PLACES[..]);
    let proof = || proptest::option::weighted(0.3, 0..PROOFS);
    let binding = proptest::option::weighted(0.7, (0..PROOFS, proptest::bool::weighted(0.3)));
    let insert = (which(), binding, proof()).prop_map(|(which, binding, spend)| Insert { which, binding, spend });
    let advance = (which(), place(), place(), any::<bool>());
    let advance = advance.prop_map(|(which, from, to, sized)| Change::Advance { which, from, to, sized });
    let last = (which(), place(), place()).prop_map(|(which, from, to)| CompleteWith { which, from, to });
    let complete = (which(), place(), proof()).prop_map(|(which, at, spend)| Complete { which, at, spend });
    let some = prop_oneof![4 => insert, 4 => advance, 2 => last, 1 => complete];
    proptest::collection::vec(some, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Also behind changes that can all be made, of which some of them come too late.
    #[test]
    fn together_is_as_one_by_one(some in changes(), behind in 0..=possible().len()) {
        let changes = [&possible()[..behind], &some].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        runtime.block_on(answers(&changes));
    }
}
