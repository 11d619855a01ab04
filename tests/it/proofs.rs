//! The long proofs: what the service promises, held against real processes that are killed, starved and filled up.
//!
//! Each starts `chunkgate identity serve` and `chunkgate serve` on loopback with all data in one folder. They take
//! seconds to minutes and gigabytes of disk, so they are ignored unless asked for, and run one at a time:
//!
//! ```text
//! cargo test --release --test it -- --ignored
//! ```
//!
//! Those of `nodes`, two services on one database, take seconds and run with every other test.
//!
//! `CHUNKGATE_TEST_ENGINE=postgres` runs them on PostgreSQL. `CHUNKGATE_TEST_BINARY` names another binary to prove, and
//! `CHUNKGATE_TEST_SEED` repeats a run. Figures go to the error stream, past the harness that would keep them.

mod client;
mod completion;
mod crowd;
mod disk_full;
mod flood;
mod gauged;
mod joining;
mod kill;
mod memory;
mod nodes;
mod outage;
mod resume;
mod secrets;
mod shutdown;
mod small_disk;
mod stage;
mod tus;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Says a line past the test harness.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Waits until `there` finds something, looking every few milliseconds.
async fn until<T>(what: &str, within: Duration, mut there: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = there().await {
            return found;
        }
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every plain file below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files_below(&path)),
            path => found.push(path),
        }
    }
    found
}

/// Whether a proof that needs `bytes` of disk can run. If not it says so, and fails where `CI=true`.
fn has_space(proof: &str, bytes: u64) -> bool {
    let disk = rustix::fs::statvfs(env!("CARGO_TARGET_TMPDIR")).expect("the disk answers");
    let free = disk.f_bavail * disk.f_frsize;
    if free < bytes {
        say(&format!("SKIPPED {proof}: needs {} MiB of disk, {} MiB are free", bytes >> 20, free >> 20));
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{proof} must run where CI=true");
    }
    free >= bytes
}

/// The seed of this run's chances: a new one each time, unless one is to be repeated.
fn seed(proof: &str) -> u64 {
    let given = std::env::var("CHUNKGATE_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("CHUNKGATE_TEST_SEED is a number"));
    say(&format!("{proof}: CHUNKGATE_TEST_SEED={seed}"));
    seed
}
