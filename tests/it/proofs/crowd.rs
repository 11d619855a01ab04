//! The identity server is dead for a minute while two hundred uploads run: none is lost, none begins again, nobody gets in
//! without a proof, and the server is not overrun when it is back.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use chunkgate::domain::digest::{Algorithm, Running};
use futures_util::future::join_all;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    client::{Client, Key, Span, pieces},
    gauged::Gauged,
    say,
    stage::Stage,
};
use crate::support::{Answer, md5, noise};

const OUTAGE: Duration = Duration::from_secs(60);
/// What the identity server takes for an answer, and what it takes when it is back and has much to do.
const TAKES: Duration = Duration::from_millis(20);
const TAKES_THEN: Duration = Duration::from_millis(400);
/// Others who notice that it is back, all at the same moment.
const COME_BACK: usize = 150;
const UPLOADS: usize = 200;
/// Of them so many send a new signature with every request; the others are gone on with by token or by one triple.
const SIGN_ANEW: usize = 20;
const CHUNK: usize = 8 * 1024;
const CHUNKS: usize = 13;
/// Between two chunks of an upload that is not held up: it lasts as long as the outage.
const PACE: Duration = Duration::from_secs(5);
const STRANGERS: usize = 12;
/// Between two tries of a stranger.
const TRIES: Duration = Duration::from_millis(250);

/// What all of them share.
struct Scene {
    began: Semaphore,
    /// Requests that the identity server may be asked about.
    signed: AtomicUsize,
    /// Answers "not now".
    put_off: AtomicUsize,
    over: AtomicBool,
}

/// What an upload needs next.
#[derive(Clone, Copy)]
enum Deed {
    Chunk(usize),
    Complete,
}

/// One file, and who uploads it.
struct Upload {
    client: Client,
    signs: bool,
    source: Bytes,
    id: Option<String>,
    scene: Arc<Scene>,
}

impl Upload {
    fn new(stage: &Stage, number: usize, scene: Arc<Scene>) -> Self {
        let client = match number {
            ..SIGN_ANEW => stage.client(),
            _ => stage.client().presenting(stage.key.proof()),
        };
        Self { client, signs: true, source: noise(number as u64, CHUNK * CHUNKS).into(), id: None, scene }
    }

    /// Sends all of it and completes; answers with the id.
    async fn run(mut self, number: usize) -> (String, Bytes) {
        let first = self.until_taken(Deed::Chunk(0)).await;
        self.id = Some(first.id());
        if number >= SIGN_ANEW && number.is_multiple_of(2) {
            (self.client, self.signs) = (self.client.with_token_of(&first), false);
        }
        self.scene.began.add_permits(1);
        // Who had to wait makes up for it.
        let began = Instant::now() - PACE.mul_f64(number as f64 / UPLOADS as f64);
        for at in 1..CHUNKS {
            sleep_until((began + PACE * at as u32).into()).await;
            assert_eq!(self.until_taken(Deed::Chunk(at)).await.id(), first.id(), "one upload for one file");
        }
        self.until_taken(Deed::Complete).await;
        (first.id(), self.source)
    }

    async fn send(&self, deed: Deed) -> Answer {
        let answer = match (deed, &self.id) {
            (Deed::Complete, Some(id)) => self.client.complete(id, &md5(&self.source)).await,
            (Deed::Complete, None) => unreachable!("it has begun"),
            (Deed::Chunk(at), id) => {
                let from = at * CHUNK;
                let span = Span { from: from as u64, length: CHUNK as u64, total: self.source.len() as u64 };
                let bytes = pieces(self.source.slice(from..from + CHUNK), Duration::ZERO);
                self.client.chunk(id.as_deref(), span, bytes).await
            }
        };
        answer.expect("an answer")
    }

    /// Comes back as long as it is told to. Anything but "done" and "not now" is an upload that is lost.
    async fn until_taken(&self, deed: Deed) -> Answer {
        loop {
            self.scene.signed.fetch_add(usize::from(self.signs), Ordering::SeqCst);
            let answer = self.send(deed).await;
            if answer.status == 200 {
                return answer;
            }
            assert_eq!(answer.status, 503, "an upload is lost: {}", answer.text);
            assert!(self.signs, "a token needs nobody's answer: {}", answer.text);
            self.scene.put_off.fetch_add(1, Ordering::SeqCst);
            let after = answer.header("retry-after").and_then(|after| after.parse().ok()).expect("Retry-After");
            sleep(Duration::from_secs(after)).await;
        }
    }
}

/// Tries all the time, with a key that nobody has or with a wrong secret for one that somebody has.
async fn stranger(client: Client, right: Key, number: usize, scene: Arc<Scene>) -> usize {
    let mut tries = 0;
    while !scene.over.load(Ordering::SeqCst) {
        let secret = format!("guess-{number}-{tries}");
        let api_key = if number.is_multiple_of(2) { right.api_key.clone() } else { format!("nobody-{number}-{tries}") };
        let caller = client.presenting(Key { api_key, secret }.proof());
        let span = Span { from: 0, length: 10, total: 10 };
        let answer = match tries % 3 {
            0 => caller.get("/api/v1/uploads").await,
            1 => caller.chunk(None, span, pieces(Bytes::from_static(b"0123456789"), Duration::ZERO)).await,
            _ => caller.complete(&uuid::Uuid::new_v4().to_string(), &md5(b"")).await,
        };
        let answer = answer.expect("an answer");
        assert!(matches!(answer.status, 401 | 503), "a stranger hears {}: {}", answer.status, answer.text);
        scene.signed.fetch_add(1, Ordering::SeqCst);
        tries += 1;
        sleep(TRIES).await;
    }
    tries
}

/// Many look at their uploads at once, again and again until it is plain that questions are asked again.
async fn come_back(client: Client, scene: Arc<Scene>) {
    while !scene.over.load(Ordering::SeqCst) {
        scene.signed.fetch_add(COME_BACK, Ordering::SeqCst);
        let answers = join_all((0..COME_BACK).map(|_| client.get("/api/v1/uploads?limit=1"))).await;
        let statuses: Vec<u16> = answers.into_iter().map(|answer| answer.expect("an answer").status).collect();
        assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
        // More than probes.
        if statuses.iter().filter(|status| **status == 200).count() > COME_BACK / 10 {
            return;
        }
        sleep(TRIES).await;
    }
}

/// The states of all uploads that are there.
async fn states(client: &Client) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            client.get(&format!("/api/v1/uploads?limit=150{cursor}")).await.expect("an answer").expect(200).json();
        let uploads = page["uploads"].as_array().expect("a list");
        found.extend(uploads.iter().map(|upload| upload["state"].as_str().expect("a state").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut running = Running::new(Algorithm::Sha256);
    running.update(bytes);
    running.finish().to_hex()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn two_hundred_uploads_outlive_a_minute_without_the_identity_server() {
    let mut stage = Stage::set_up(&[]).await;
    let mut identity = Gauged::start(&stage.key, TAKES).await;
    stage.set("IDENTITY__URL", &identity.url());
    stage.start().await;
    let whole = Instant::now();
    let (signed, put_off, over) = Default::default();
    let scene = Arc::new(Scene { began: Semaphore::new(0), signed, put_off, over });

    let mut uploads = JoinSet::new();
    for number in 0..UPLOADS {
        uploads.spawn(Upload::new(&stage, number, scene.clone()).run(number));
    }
    let mut strangers = JoinSet::new();
    for number in 0..STRANGERS {
        strangers.spawn(stranger(stage.client(), stage.key.clone(), number, scene.clone()));
    }
    scene.began.acquire_many(UPLOADS as u32).await.expect("open").forget();
    let begun = whole.elapsed();
    identity.kill();
    sleep(OUTAGE).await;
    let put_off_by_then = scene.put_off.load(Ordering::SeqCst);
    scene.signed.store(0, Ordering::SeqCst);
    identity.revive(TAKES_THEN).await;
    let back = Instant::now();
    let others = tokio::spawn(come_back(stage.client(), scene.clone()));

    let ended = uploads.join_all().await;
    let took = back.elapsed();
    scene.over.store(true, Ordering::SeqCst);
    others.await.expect("no panic");
    let tries: usize = strangers.join_all().await.into_iter().sum();

    let ids: HashSet<&String> = ended.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), UPLOADS);
    for (id, source) in &ended {
        let stored = std::fs::read(stage.file(id).expect("a file")).expect("readable");
        assert_eq!(sha256(&stored), sha256(source), "{id}");
    }
    assert_eq!(states(&stage.client()).await, vec!["complete"; UPLOADS], "one for each file");
    assert_eq!(stage.partial_files(), Vec::<PathBuf>::new());

    let (most, questions, signed) = (identity.most(), identity.questions(), scene.signed.load(Ordering::SeqCst));
    say(&format!(
        "crowd: {UPLOADS} uploads begun in {begun:.1?}, {OUTAGE:.0?} of outage: {put_off_by_then} requests put off, the last upload complete \
         {took:.1?} after the return, {:.1?} in all; {tries} tries of strangers; after the return {questions} questions \
         about {signed} signed requests, {most} under way at most",
        whole.elapsed()
    ));
    assert!(put_off_by_then > 0, "somebody had to wait");
    assert!(most <= 64, "{most} questions under way");
    // One for each request, second tries by their budget, and what was on its way when the server came back.
    assert!(questions <= signed + signed / 10 + 30 + 64, "{questions} questions about {signed} requests");
    stage.close().await;
}
