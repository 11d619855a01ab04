//! `kill -9` at fifty random points of uploads: what was acknowledged is there, what is reported is true, and the
//! client goes on to the same file.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio::sync::Notify;

use super::{
    client::{Client, Span, pieces},
    say, seed,
    stage::Stage,
    until,
};
use crate::support::{md5, noise};

const POINTS: usize = 50;

/// One file on its way, as its client knows it.
struct Transfer {
    source: Bytes,
    chunk: u64,
    pause: Duration,
    id: Option<String>,
    /// The last offset that was acknowledged.
    acknowledged: u64,
    completing: bool,
}

impl Transfer {
    fn new(chance: &mut StdRng) -> Self {
        let source = noise(chance.random(), chance.random_range(1..6 * 1024 * 1024)).into();
        let chunk = chance.random_range(64 * 1024..=2 * 1024 * 1024);
        let pause = if chance.random_bool(0.5) { Duration::ZERO } else { Duration::from_micros(500) };
        Self { source, chunk, pause, id: None, acknowledged: 0, completing: false }
    }

    fn size(&self) -> u64 {
        self.source.len() as u64
    }

    /// Sends chunk after chunk, then completes; an error is a broken connection.
    async fn go(&mut self, client: &Client, signs: &Arc<Signs>) -> reqwest::Result<()> {
        while self.acknowledged < self.size() {
            let from = self.acknowledged;
            let length = self.chunk.min(self.size() - from);
            let bytes = self.source.slice(from as usize..(from + length) as usize);
            let span = Span { from, length, total: self.size() };
            let signs = signs.clone();
            let sent = stream::once(async move {
                signs.chunk_sent.notify_waiters();
                Bytes::new()
            });
            let content = pieces(bytes, self.pause).chain(sent);
            let answer = client.chunk(self.id.as_deref(), span, content).await?.expect(200);
            self.id = Some(answer.id());
            self.acknowledged = answer.json()["offset"].as_u64().expect("an offset");
            assert_eq!(self.acknowledged, from + length);
        }
        self.completing = true;
        signs.completing.notify_waiters();
        let id = self.id.as_deref().expect("begun");
        client.complete(id, &md5(&self.source)).await?.expect(200);
        Ok(())
    }

    /// What the service says after its restart agrees with the client and with the disk.
    fn judge(&mut self, stage: &Stage, status: &Value) {
        let offset = status["offset"].as_u64().expect("an offset");
        assert_eq!(status["size"], self.size());
        let next = (self.acknowledged + self.chunk).min(self.size());
        assert!(offset == self.acknowledged || offset == next, "{offset}: neither {} nor {next}", self.acknowledged);
        match status["state"].as_str() {
            Some("receiving") => {}
            Some("complete") => assert!(self.completing, "nobody asked for completion"),
            state => panic!("{state:?}"),
        }
        let path = stage.file(self.id.as_deref().expect("known")).expect("a file");
        let stored = std::fs::read(path).expect("readable");
        assert!(stored.len() as u64 >= offset, "{} bytes on disk, {offset} reported", stored.len());
        assert!(stored[..offset as usize] == self.source[..offset as usize], "the content differs");
        self.acknowledged = offset;
    }
}

/// What uploads tell the one who kills.
#[derive(Default)]
struct Signs {
    chunk_sent: Notify,
    completing: Notify,
}

/// When the blow falls.
#[derive(Debug)]
enum Blow {
    /// Some time after the uploads went on.
    After(Duration),
    /// After the last byte of the n-th chunk left: around its commit and its answer.
    ChunkSent(usize, Duration),
    /// After a completion was asked for.
    Completing(Duration),
}

impl Blow {
    fn draw(chance: &mut StdRng) -> Self {
        let short = Duration::from_micros(chance.random_range(0..8_000));
        match chance.random_range(0..10) {
            0..3 => Self::Completing(short),
            3..6 => Self::ChunkSent(chance.random_range(1..4), short),
            _ => Self::After(Duration::from_micros(chance.random_range(0..200_000))),
        }
    }

    /// Resolves at its moment.
    async fn falls(&self, signs: &Signs) {
        let (Self::After(rest) | Self::ChunkSent(_, rest) | Self::Completing(rest)) = self;
        match self {
            Self::After(_) => {}
            Self::ChunkSent(chunks, _) => {
                for _ in 0..*chunks {
                    signs.chunk_sent.notified().await;
                }
            }
            Self::Completing(_) => signs.completing.notified().await,
        }
        tokio::time::sleep(*rest).await;
    }
}

/// The whole run.
struct Run {
    stage: Stage,
    chance: StdRng,
    transfer: Transfer,
    /// Completed, and not yet compared.
    done: Vec<(String, Bytes)>,
    starts: Vec<Duration>,
    finished: usize,
    /// Blows that fell into a completion; that fell between a chunk's commit and its answer.
    in_completions: usize,
    ahead: usize,
}

impl Run {
    async fn open() -> Self {
        let mut chance = StdRng::seed_from_u64(seed("kill"));
        let (stage, transfer) = (Stage::open(&[]).await, Transfer::new(&mut chance));
        let (done, starts) = (Vec::new(), Vec::new());
        Self { stage, chance, transfer, done, starts, finished: 0, in_completions: 0, ahead: 0 }
    }

    /// Uploads until the blow falls, in the middle of some request, and the connection breaks.
    async fn strike(&mut self) {
        let Self { stage, chance, transfer, done, .. } = self;
        let (client, signs, blow) = (stage.client(), Arc::new(Signs::default()), Blow::draw(chance));
        let uploads = async {
            while transfer.go(&client, &signs).await.is_ok() {
                let next = std::mem::replace(transfer, Transfer::new(chance));
                done.push((next.id.expect("complete"), next.source));
            }
        };
        let kill = async {
            blow.falls(&signs).await;
            stage.service.kill();
        };
        tokio::join!(uploads, kill);
        self.in_completions += usize::from(self.transfer.completing);
    }

    /// After the restart: everything agrees, and nothing is left over.
    async fn judge(&mut self) {
        let client = self.stage.client();
        let growing: Vec<String> = client.list("receiving").await.iter().map(id_of).collect();
        if self.transfer.id.is_none() {
            // A first chunk whose answer was lost; the client finds its upload in the list.
            self.transfer.id = growing.first().cloned();
        }
        if let Some(id) = &self.transfer.id {
            let (acknowledged, status) = (self.transfer.acknowledged, client.status(id).await);
            self.transfer.judge(&self.stage, &status);
            self.ahead += usize::from(self.transfer.acknowledged > acknowledged);
        }
        self.nothing_left_over(&growing).await;
        for (id, source) in self.done.drain(..) {
            let stored = std::fs::read(self.stage.file(&id).expect("a file")).expect("readable");
            assert!(stored == source, "a finished file differs");
            self.finished += 1;
        }
    }

    /// The reaper's first round removes growing files that no upload knows.
    async fn nothing_left_over(&self, growing: &[String]) {
        let known = |path: &Path| growing.iter().any(|id| path.ends_with(format!("{id}.part")));
        until("the reaper's first round", Duration::from_secs(5), async || {
            self.stage.partial_files().iter().all(|path| known(path)).then_some(())
        })
        .await;
    }

    /// The last upload goes on to its end.
    async fn end(&mut self) {
        let client = self.stage.client();
        self.transfer.go(&client, &Arc::default()).await.expect("nobody kills");
        let id = self.transfer.id.clone().expect("complete");
        self.done.push((id, self.transfer.source.clone()));
        self.judge().await;
        assert_eq!((client.list("receiving").await.len(), self.stage.partial_files().len()), (0, 0));
    }
}

fn id_of(upload: &Value) -> String {
    upload["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn fifty_kills_lose_nothing() {
    let mut run = Run::open().await;
    let began = Instant::now();
    for _ in 0..POINTS {
        run.strike().await;
        run.starts.push(run.stage.start().await);
        run.judge().await;
    }
    run.end().await;
    run.starts.sort();
    say(&format!(
        "kill: {POINTS} points in {:.1?}, {} within a completion, {} after a commit whose answer was lost; {} files \
         finished; start to ready: median {:.0?}, longest {:.0?}",
        began.elapsed(),
        run.in_completions,
        run.ahead,
        run.finished,
        run.starts[POINTS / 2],
        run.starts[POINTS - 1],
    ));
    run.stage.close().await;
}
