//! The ring of keys turns, and turns again, while uploads go on at two services of one database.

use std::collections::BTreeSet;

use chunkgate::domain::Durability;
use futures_util::future::join_all;
use tokio::sync::watch::{self, Receiver, Sender};

use super::*;

/// The shortest that may be set.
const ROTATED_EVERY: Duration = Duration::from_secs(60 * 60);
/// Shorter than a key is known before it signs.
const STEP: Duration = Duration::from_secs(9 * 60);
const STEPS: u64 = 30;
const BYTES: u64 = 1000;

/// Sends a byte to the one and asks the other how far it is, both by the upload's token, until `over`; answers with the
/// keys that signed its tokens. Every refusal is a failure.
async fn goes_on(
    app: &TestApp,
    first: &Answer,
    at: &Caller,
    other: &Caller,
    rounds: Sender<u64>,
    over: Receiver<bool>,
) -> BTreeSet<u32> {
    let (id, mut current, mut keys) = (first.id(), token(first), BTreeSet::new());
    for from in 1..BYTES {
        let bearer = app.bearer(&current);
        let answer = bearer.clone().at(&at.base).chunk(Some(&id), Some((from, from, BYTES)), b"x").await.expect(200);
        current = given(&answer).unwrap_or(current);
        keys.insert(Sealed::parse(&current).expect("a token").key());
        let seen = status(&app.bearer(&current).at(&other.base), &id).await.expect(200);
        assert_eq!(seen.json()["offset"], from + 1);
        status(&bearer.at(&other.base), &id).await.expect(200);
        rounds.send_replace(from);
        if *over.borrow() {
            return keys;
        }
    }
    panic!("too few bytes for so many rounds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_turn_under_load_and_no_token_is_refused_at_either_service() {
    let app = TestApp::with(|config| {
        config.uploads.expires_after = 7 * 24 * 60 * MINUTE;
        config.storage.local.durability = Durability::Os;
        config.auth.tokens.rotate_every = ROTATED_EVERY;
        config.auth.tokens.life = ROTATED_EVERY;
    })
    .await;
    let (second, there) = second_node(&app, |_| {}).await;
    let here = app.user("alice");
    let (over, is_over) = watch::channel(false);
    let (rounds, mut heard): (Vec<_>, Vec<_>) = (0..4).map(|_| watch::channel(0)).unzip();
    // Begun before time runs: a signature is good for minutes.
    let mut firsts = Vec::new();
    for at in [&here, &there, &here, &there] {
        firsts.push((at, at.chunk(None, Some((0, 0, BYTES)), b"x").await.expect(200)));
    }
    let uploads = join_all(firsts.iter().zip(rounds).map(|((at, first), rounds)| {
        let other = if at.base == here.base { &there } else { &here };
        goes_on(&app, first, at, other, rounds, is_over.clone())
    }));
    let time = async {
        for _ in 0..STEPS {
            app.clock.advance(STEP);
            app.running().workers().nudge();
            second.workers().nudge();
            for upload in &mut heard {
                let enough = *upload.borrow() + 2;
                upload.wait_for(|round| *round >= enough).await.expect("the upload goes on");
            }
        }
        over.send_replace(true);
    };
    let (keys, ()) = tokio::join!(uploads, time);
    for keys in &keys {
        assert!(keys.len() >= 4, "in four and a half hours: {keys:?}");
    }
    second.stop(std::future::pending()).await;
    app.stop().await;
}
