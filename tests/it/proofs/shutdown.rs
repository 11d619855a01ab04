//! SIGTERM: a chunk in flight is finished or dropped whole, nothing acknowledged is lost, and nobody holds up the end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::{
    client::{Span, pieces},
    say,
    stage::Stage,
    until,
};
use crate::support::{md5, noise};

const MIB: usize = 1024 * 1024;

/// An upload of 3 MiB with its first MiB acknowledged; the second is about to be sent.
async fn begun(stage: &Stage) -> (Bytes, String) {
    let source: Bytes = noise(21, 3 * MIB).into();
    let first = pieces(source.slice(..MIB), Duration::ZERO);
    let answer = stage.client().chunk(None, span(0), first).await.expect("an answer").expect(200);
    (source, answer.id())
}

fn span(chunk: usize) -> Span {
    Span { from: (chunk * MIB) as u64, length: MIB as u64, total: 3 * MIB as u64 }
}

/// Waits until bytes of the second chunk are on disk: the chunk is in flight.
async fn in_flight(stage: &Stage, id: &str) {
    let path = stage.file(id).expect("a file");
    until("bytes of the chunk", Duration::from_secs(10), async || {
        (path.metadata().expect("a file").len() > MIB as u64).then_some(())
    })
    .await;
}

/// Sends what is missing and completes.
async fn finish(stage: &Stage, source: &Bytes, id: &str) {
    let client = stage.client();
    for chunk in client.offset(id).await as usize / MIB..3 {
        let bytes = source.slice(chunk * MIB..(chunk + 1) * MIB);
        client.chunk(Some(id), span(chunk), pieces(bytes, Duration::ZERO)).await.expect("an answer").expect(200);
    }
    client.complete(id, &md5(source)).await.expect("an answer").expect(200);
    let stored = std::fs::read(stage.file(id).expect("a file")).expect("readable");
    assert!(stored == *source, "the file differs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_chunk_in_flight_is_finished() {
    let mut stage = Stage::open(&[("SERVER__SHUTDOWN_GRACE", "10s")]).await;
    let (source, id) = begun(&stage).await;
    let client = stage.client();
    // 16 pieces, 1.5 seconds in all: SIGTERM comes long before the end.
    let slow = pieces(source.slice(MIB..2 * MIB), Duration::from_millis(100));
    let chunk = client.chunk(Some(&id), span(1), slow);
    let stop = async {
        in_flight(&stage, &id).await;
        stage.service.signal("TERM");
        Instant::now()
    };
    let (answer, told) = tokio::join!(chunk, stop);
    let answer = answer.expect("an answer").expect(200);
    assert_eq!(answer.json()["offset"], 2 * MIB);
    let status = stage.service.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{}", stage.service.log());
    say(&format!("shutdown: the chunk in flight got 200, exit 0 after {:.1?}", told.elapsed()));
    stage.start().await;
    assert_eq!(stage.client().offset(&id).await, 2 * MIB as u64);
    finish(&stage, &source, &id).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_stalled_client_does_not_hold_up_the_end() {
    let mut stage = Stage::open(&[("SERVER__SHUTDOWN_GRACE", "1s")]).await;
    let (source, id) = begun(&stage).await;
    let client = stage.client();
    let most = pieces(source.slice(MIB..2 * MIB - 1), Duration::ZERO).chain(stream::pending());
    let chunk = client.chunk(Some(&id), span(1), most);
    let stop = async {
        in_flight(&stage, &id).await;
        stage.service.signal("TERM");
        Instant::now()
    };
    let (answer, told) = tokio::join!(chunk, stop);
    if let Ok(answer) = answer {
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
    let status = stage.service.ended(Duration::from_secs(10)).await;
    let took = told.elapsed();
    assert_eq!(status.code(), Some(0), "{}", stage.service.log());
    assert!(took < Duration::from_secs(3), "{took:?} with a grace of 1s");
    say(&format!("shutdown: a stalled client, grace 1s: exit 0 after {took:.1?}"));
    stage.start().await;
    assert_eq!(stage.client().offset(&id).await, MIB as u64, "dropped whole");
    finish(&stage, &source, &id).await;
    stage.close().await;
}
