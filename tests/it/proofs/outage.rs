//! The identity server dies, comes back, freezes, flaps, or does not know the service: 503 with Retry-After, never a 4xx
//! that makes a client throw its upload away.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    client::{Span, pieces},
    say,
    stage::Stage,
};
use crate::support::{Answer, md5, noise};

const CHUNK: usize = 100_000;
const CHUNKS: usize = 4;
/// The service's patience with the identity server, and what a busy machine may add.
const DEADLINE: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(2);

/// An upload whose every request brings a new proof.
struct Upload {
    source: Bytes,
    id: Option<String>,
    sent: usize,
}

impl Upload {
    fn new(seed: u64) -> Self {
        Self { source: noise(seed, CHUNK * CHUNKS).into(), id: None, sent: 0 }
    }

    /// Posts the next chunk; it counts if it was taken.
    async fn post(&mut self, stage: &Stage) -> Answer {
        let from = self.sent * CHUNK;
        let span = Span { from: from as u64, length: CHUNK as u64, total: (CHUNK * CHUNKS) as u64 };
        let bytes = pieces(self.source.slice(from..from + CHUNK), Duration::ZERO);
        let answer = stage.client().chunk(self.id.as_deref(), span, bytes).await.expect("an answer");
        if answer.status == 200 {
            self.id = Some(answer.id());
            self.sent += 1;
        }
        answer
    }

    /// The next chunk cannot be checked: 503 in time.
    async fn waits(&mut self, stage: &Stage) -> Duration {
        let began = Instant::now();
        let answer = self.post(stage).await.expect(503);
        let after = answer.header("retry-after").expect("Retry-After").parse::<u64>().expect("seconds");
        assert!((1..=60).contains(&after), "Retry-After: {after}");
        let took = began.elapsed();
        assert!(took < DEADLINE + SLACK, "{took:?}");
        took
    }

    async fn goes_on(&mut self, stage: &Stage) {
        self.post(stage).await.expect(200);
    }

    /// Sends the rest and completes.
    async fn ends(mut self, stage: &Stage) {
        while self.sent < CHUNKS {
            self.goes_on(stage).await;
        }
        let id = self.id.expect("begun");
        stage.client().complete(&id, &md5(&self.source)).await.expect("an answer").expect(200);
        let stored = std::fs::read(stage.file(&id).expect("a file")).expect("readable");
        assert!(stored == self.source, "the file differs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_dead_identity_server() {
    let mut stage = Stage::open(&[]).await;
    let mut upload = Upload::new(31);
    upload.goes_on(&stage).await;
    stage.identity.kill();
    let took = upload.waits(&stage).await;
    upload.waits(&stage).await;
    stage.start_identity().await;
    assert_eq!(stage.client().offset(upload.id.as_deref().expect("begun")).await, CHUNK as u64, "intact");
    upload.ends(&stage).await;
    say(&format!("outage: dead: 503 after {took:.1?}, went on when it was back"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_wrong_service_token() {
    let mut stage = Stage::open(&[]).await;
    let mut upload = Upload::new(32);
    upload.goes_on(&stage).await;
    let right = std::mem::replace(&mut stage.token, "not-the-token".to_owned());
    stage.service.kill();
    stage.start().await;
    upload.waits(&stage).await;
    stage.token = right;
    stage.service.kill();
    stage.start().await;
    upload.ends(&stage).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_frozen_and_a_flapping_identity_server() {
    let stage = Stage::open(&[]).await;
    let mut upload = Upload::new(33);
    upload.goes_on(&stage).await;
    stage.identity.freeze().await;
    let took = upload.waits(&stage).await;
    stage.identity.signal("CONT");
    upload.goes_on(&stage).await;
    say(&format!("outage: frozen: 503 after {took:.1?}"));
    upload.ends(&stage).await;
    let (mut taken, mut put_off) = (0, 0);
    for turn in 0..3 {
        let mut upload = Upload::new(40 + turn);
        for flap in 0..6 {
            let answer = flapping(&stage, &mut upload, Duration::from_millis(20 + 1200 * (flap % 3))).await;
            match answer.status {
                200 => taken += 1,
                503 => put_off += 1,
                status => panic!("{status}: {}", answer.text),
            }
            if upload.sent == CHUNKS {
                break;
            }
        }
        upload.ends(&stage).await;
    }
    say(&format!("outage: flapping: {taken} chunks taken, {put_off} put off"));
    stage.close().await;
}

/// One chunk while the identity server freezes and thaws after `frozen`.
async fn flapping(stage: &Stage, upload: &mut Upload, frozen: Duration) -> Answer {
    stage.identity.freeze().await;
    let thaw = async {
        tokio::time::sleep(frozen).await;
        stage.identity.signal("CONT");
    };
    let (answer, ()) = tokio::join!(upload.post(stage), thaw);
    answer
}
