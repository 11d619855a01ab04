//! Bad signatures without end from one address: whoever uploads from behind the same address goes on, and the service's
//! memory does not grow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{task::JoinSet, time::interval};

use super::{
    client::{Client, Key, Span, pieces},
    gauged::Gauged,
    memory::field,
    say,
    stage::Stage,
};
use crate::support::{Answer, md5, noise};

/// Bad requests at once, when the service is to do what it can.
const MOST: usize = 192;
const MEASURE: Duration = Duration::from_secs(4);
const FLOOD: Duration = Duration::from_secs(20);
/// Between two requests of each good client.
const PACE: Duration = Duration::from_millis(100);
const CHUNK: usize = 16 * 1024;
const CHUNKS: usize = 200;
/// Most that the service may grow in the flood, in KiB.
const GROWTH: u64 = 16 * 1024;

/// What became of the flood.
#[derive(Default)]
struct Tally {
    refused: AtomicUsize,
    put_off: AtomicUsize,
}

/// A request under a key that nobody has.
async fn bad(client: Client, tally: Arc<Tally>) {
    let number = uuid::Uuid::new_v4().simple().to_string();
    let stranger = Key { api_key: format!("nobody-{number}"), secret: number };
    let answer = client.presenting(stranger.proof()).get("/api/v1/uploads").await.expect("an answer");
    match answer.status {
        401 => tally.refused.fetch_add(1, Ordering::Relaxed),
        503 => tally.put_off.fetch_add(1, Ordering::Relaxed),
        status => panic!("{status}: {}", answer.text),
    };
}

/// How many requests the service refuses in a second when it does nothing else.
async fn capacity(client: &Client) -> f64 {
    let (tally, began) = (Arc::new(Tally::default()), Instant::now());
    join_all((0..MOST).map(async |_| {
        while began.elapsed() < MEASURE {
            bad(client.clone(), tally.clone()).await;
        }
    }))
    .await;
    tally.refused.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// So many requests a second, whether or not they are answered.
async fn flood(client: &Client, per_second: f64) -> Arc<Tally> {
    let (tally, began) = (Arc::new(Tally::default()), Instant::now());
    let (mut requests, mut ticks, mut sent) = (JoinSet::new(), interval(Duration::from_millis(5)), 0.0);
    while began.elapsed() < FLOOD {
        ticks.tick().await;
        while sent < began.elapsed().as_secs_f64() * per_second {
            requests.spawn(bad(client.clone(), tally.clone()));
            sent += 1.0;
        }
        while let Some(ended) = requests.try_join_next() {
            ended.expect("no panic");
        }
    }
    requests.join_all().await;
    tally
}

/// Goes on with an upload, chunk by chunk, and completes it; every request must succeed.
async fn goes_on(client: Client, id: String, source: Bytes) -> Duration {
    let (mut slowest, mut ticks) = (Duration::ZERO, interval(PACE));
    for at in 1..CHUNKS {
        ticks.tick().await;
        let began = Instant::now();
        chunk(&client, Some(&id), &source, at).await.expect(200);
        slowest = slowest.max(began.elapsed());
    }
    client.complete(&id, &md5(&source)).await.expect("an answer").expect(200);
    slowest
}

async fn chunk(client: &Client, id: Option<&str>, source: &Bytes, at: usize) -> Answer {
    let (from, total) = (at * CHUNK, source.len() as u64);
    let span = Span { from: from as u64, length: CHUNK as u64, total };
    client.chunk(id, span, pieces(source.slice(from..from + CHUNK), Duration::ZERO)).await.expect("an answer")
}

/// Begins uploads, each under a new signature; how many were taken, and of how many.
async fn begins(client: &Client, key: impl Fn(usize) -> Key, pace: Duration) -> (usize, usize) {
    let (source, mut ticks, began) = (Bytes::from(noise(1, 2 * CHUNK)), interval(pace), Instant::now());
    let (mut taken, mut all) = (0, 0);
    while began.elapsed() < FLOOD {
        ticks.tick().await;
        let answer = chunk(&client.presenting(key(all).proof()), None, &source, 0).await;
        assert!(matches!(answer.status, 200 | 503), "{}: {}", answer.status, answer.text);
        taken += usize::from(answer.status == 200);
        all += 1;
    }
    (taken, all)
}

/// What was seen of those who upload behind the address that floods.
struct Seen {
    /// Uploads that a known key began, and of how many.
    known: (usize, usize),
    /// The same of keys that were never seen.
    new: (usize, usize),
    /// Requests of the flood that were not looked at.
    put_off: usize,
}

/// A flood of so many times what the service refuses in a second, at an identity server that takes so long.
async fn flooded(takes: Duration, times: f64) -> Seen {
    let mut stage = Stage::set_up(&[]).await;
    let identity = Gauged::start(&stage.key, takes).await;
    stage.set("IDENTITY__URL", &identity.url());
    stage.start().await;
    let client = stage.client();
    let source = Bytes::from(noise(2, CHUNK * CHUNKS));

    let capacity = capacity(&client).await;
    let by_triple = client.presenting(stage.key.proof());
    let first = chunk(&client, None, &source, 0).await.expect(200);
    let second = chunk(&by_triple, None, &source, 0).await.expect(200);
    let by_token = client.with_token_of(&first);

    let before = field(&stage, "VmRSS:");
    let stranger = |turn: usize| Key { api_key: format!("new-{turn}"), secret: stage.key.secret.clone() };
    let (tally, token, triple, known, new) = tokio::join!(
        flood(&client, capacity * times),
        goes_on(by_token, first.id(), source.clone()),
        goes_on(by_triple, second.id(), source.clone()),
        begins(&client, |_| stage.key.clone(), PACE),
        begins(&client, stranger, 10 * PACE),
    );
    let after = field(&stage, "VmRSS:");
    let (refused, put_off) = (tally.refused.load(Ordering::Relaxed), tally.put_off.load(Ordering::Relaxed));
    let rate = (refused + put_off) as f64 / FLOOD.as_secs_f64();
    say(&format!(
        "flood: answers take {takes:.0?}, capacity {capacity:.0} refusals/s; {rate:.0}/s for {FLOOD:.0?}: {refused} refused, \
         {put_off} put off; slowest chunk by token {token:.1?}, by triple {triple:.1?}; uploads begun by a known key {} of \
         {}, by new ones {} of {}; memory {before} KiB before, {after} KiB after; {} questions under way at most",
        known.0,
        known.1,
        new.0,
        new.1,
        identity.most()
    ));
    assert!(identity.most() <= 64, "{} questions under way", identity.most());
    assert!(after < before + GROWTH, "{before} KiB before, {after} KiB after");
    stage.close().await;
    Seen { known, new, put_off }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn at_half_of_what_the_service_can_refuse_nobody_notices() {
    let Seen { known, new, .. } = flooded(Duration::from_millis(20), 0.5).await;
    assert!(known.0 * 100 >= known.1 * 99, "{known:?} uploads began");
    assert!(new.0 * 10 >= new.1 * 9, "{new:?} new users were let in");
}

/// Here the seats are what is short, and the flood wants all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn at_twice_what_a_slow_identity_server_answers_known_keys_go_on() {
    let Seen { known, put_off, .. } = flooded(Duration::from_secs(1), 2.0).await;
    assert!(put_off > 0, "the flood was too small");
    assert!(known.0 * 100 >= known.1 * 99, "{known:?} uploads began");
}
