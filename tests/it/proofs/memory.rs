//! Peak resident memory of the service: bounded by the number of uploads, never by their length.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future::join_all, stream};
use tokio::sync::Semaphore;

use super::{
    client::{Endless, Span},
    has_space, say,
    stage::Stage,
    until,
};

const MIB: u64 = 1024 * 1024;
/// Uploads at once.
const MANY: usize = 200;

/// The most memory that was ever resident, in KiB.
fn peak(stage: &Stage) -> u64 {
    field(stage, "VmHWM:")
}

pub(super) fn field(stage: &Stage, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.service.id())).expect("runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the field");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn two_gib_in_one_request() {
    const SIZE: u64 = 2048 * MIB;
    if !has_space("memory: 2 GiB in one request", SIZE + 256 * MIB) {
        return;
    }
    let stage = Stage::open(&[]).await;
    let (client, source, idle) = (stage.client(), Endless::new(3), peak(&stage));
    let span = Span { from: 0, length: SIZE, total: SIZE };
    let began = Instant::now();
    let answer = client.chunk(None, span, source.stream(SIZE)).await.expect("an answer").expect(200);
    let (took, peak) = (began.elapsed(), peak(&stage));
    assert_eq!(client.offset(&answer.id()).await, SIZE);
    say(&format!("memory: 2 GiB in one request: peak {peak} KiB (idle {idle} KiB), {took:.1?}"));
    stage.close().await;
    assert!(peak < 64 * 1024, "peak {peak} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn two_hundred_uploads_at_once() {
    const SIZE: u64 = 4 * MIB;
    if !has_space("memory: 200 uploads at once", MANY as u64 * SIZE + 256 * MIB) {
        return;
    }
    let stage = Stage::open(&[]).await;
    let (client, source, gate) = (stage.client(), Endless::new(4), Arc::new(Semaphore::new(0)));
    let span = Span { from: 0, length: SIZE, total: SIZE };
    let uploads = (0..MANY).map(|turn| client.chunk(None, span, held(&source, SIZE, turn, gate.clone())));
    let opened = async {
        until("all are in flight", Duration::from_secs(60), async || {
            (stage.partial_files().len() == MANY).then_some(())
        })
        .await;
        let resident = field(&stage, "VmRSS:");
        gate.add_permits(MANY);
        (resident, Instant::now())
    };
    let (answers, (waiting, released)) = tokio::join!(join_all(uploads), opened);
    for answer in answers {
        answer.expect("an answer").expect(200);
    }
    let took = released.elapsed();
    let (peak, threads) = (peak(&stage), field(&stage, "Threads:"));
    say(&format!(
        "memory: {MANY} uploads at once: peak {peak} KiB ({waiting} KiB while all wait), {threads} threads, {took:.1?}"
    ));
    stage.close().await;
    assert!(peak < 128 * 1024, "peak {peak} KiB");
}

/// A quarter of the bytes, then nothing until `gate` opens; then the rest. Every tenth is slow.
fn held(source: &Endless, length: u64, turn: usize, gate: Arc<Semaphore>) -> impl Stream<Item = Bytes> + Send + use<> {
    const PIECE: usize = 128 * 1024;
    let pause = if turn.is_multiple_of(10) { Duration::from_millis(50) } else { Duration::ZERO };
    let pieces = source.stream(length).flat_map(|block| {
        stream::iter(0..block.len() / PIECE).map(move |at| block.slice(at * PIECE..(at + 1) * PIECE))
    });
    let quarter = length as usize / PIECE / 4;
    pieces.enumerate().then(move |(at, piece)| {
        let gate = gate.clone();
        async move {
            if at == quarter {
                gate.acquire().await.expect("open").forget();
            }
            if at > quarter {
                tokio::time::sleep(pause).await;
            }
            piece
        }
    })
}
