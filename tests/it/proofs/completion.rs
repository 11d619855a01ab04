//! Completion takes as long for 4 GiB as for 1 MiB: the digest was computed on the way, and the file is renamed.

use std::time::{Duration, Instant};

use super::{
    client::{Client, Endless, Span},
    has_space, say,
    stage::Stage,
};

const MIB: u64 = 1024 * 1024;
const CHUNK: u64 = 64 * MIB;
/// Sizes, and how many files of each.
const FILES: [(u64, usize); 4] = [(MIB, 9), (64 * MIB, 5), (1024 * MIB, 3), (4096 * MIB, 1)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn completion_is_flat() {
    if !has_space("completion: 4 GiB", 4096 * MIB + 512 * MIB) {
        return;
    }
    let stage = Stage::open(&[]).await;
    let (client, source) = (stage.client(), Endless::new(5));
    let mut medians = Vec::new();
    for (size, count) in FILES {
        let md5 = source.md5(size);
        let mut times = Vec::new();
        for _ in 0..count {
            times.push(time(&client, &source, size, &md5).await);
        }
        times.sort();
        medians.push(times[count / 2]);
        say(&format!("completion: {} MiB: {:.2?} (of {count})", size / MIB, times[count / 2]));
    }
    stage.close().await;
    let (smallest, largest) = (medians[0], medians[FILES.len() - 1]);
    say(&format!(
        "completion: 4 GiB takes {:.1} times as long as 1 MiB",
        largest.as_secs_f64() / smallest.as_secs_f64()
    ));
    // Reading 4 GiB again takes seconds on any disk. A disk that syncs in no time makes the smallest time noise.
    assert!(largest < Duration::from_secs(1), "{largest:?}");
    assert!(largest < 10 * smallest.max(Duration::from_millis(25)), "{largest:?} against {smallest:?}");
}

/// Uploads a file in chunks; how long its completion took. Removes it.
async fn time(client: &Client, source: &Endless, size: u64, md5: &str) -> Duration {
    let mut id = None;
    for from in (0..size).step_by(CHUNK as usize) {
        let length = CHUNK.min(size - from);
        let span = Span { from, length, total: size };
        let answer = client.chunk(id.as_deref(), span, source.stream(length)).await.expect("an answer").expect(200);
        id = Some(answer.id());
    }
    let id = id.expect("begun");
    let began = Instant::now();
    client.complete(&id, md5).await.expect("an answer").expect(200);
    let took = began.elapsed();
    client.cancel(&id).await.expect("an answer").expect(204);
    took
}
