//! One load on one peer: measured, and compared with what was stored.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use crate::{
    Fault,
    content::Content,
    peer::{Peer, Speech},
    process::{cpu, machine},
    upload::{Client, Cut},
    warm::Warm,
};

/// Files of this size are removed after their run. Smaller ones are many, and where thousands were just removed, ext4
/// makes new files several times slower: those stay until the end.
const LARGE_BYTES: u64 = 1 << 20;

/// Uploads that are alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) count: u64,
    pub(crate) at_once: u64,
    pub(crate) cut: Cut,
}

/// What was measured of one load.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    pub(crate) bytes: u64,
    pub(crate) uploads: u64,
    /// How long each request took; the shortest first.
    pub(crate) spans: Vec<Duration>,
    /// What the peer computed.
    pub(crate) cpu: Duration,
    /// How much memory it had at most, in bytes.
    pub(crate) peak: u64,
    /// What others computed on the machine meanwhile.
    pub(crate) other: Duration,
}

impl Load {
    /// The part of the load that a slow peer gets: fewer uploads, or a smaller one.
    pub(crate) fn shared(self, share: f64) -> Self {
        let part = |whole: u64, least: u64| ((whole as f64 * share) as u64).max(least.min(whole));
        match self.count > self.at_once {
            true => Self { count: part(self.count, self.at_once), ..self },
            false => {
                let bytes = part(self.cut.bytes, self.cut.chunk.min(16 << 20));
                // In one request it stays.
                let chunk = if self.cut.chunk == self.cut.bytes { bytes } else { self.cut.chunk };
                Self { cut: Cut { bytes, chunk, ..self.cut }, ..self }
            }
        }
    }
}

impl Sample {
    pub(crate) fn percentile(&self, hundredths: usize) -> Duration {
        percentile(&self.spans, hundredths)
    }
}

/// The span that so many hundredths do not exceed. They are sorted.
pub(crate) fn percentile(spans: &[Duration], hundredths: usize) -> Duration {
    let at = (spans.len() * hundredths).div_ceil(100).max(1) - 1;
    spans.get(at).copied().unwrap_or_default()
}

/// Puts a load on a peer. No two runs of a bench have the same `first` seed.
pub(crate) async fn run(peer: &mut Peer, content: &mut Content, load: Load, first: u64) -> Result<Sample, Fault> {
    let load = load.shared(peer.share);
    if peer.speaks == Speech::Django {
        (first..first + load.count).for_each(|seed| content.prepare_md5(load.cut.whole(seed)));
    }
    // What earlier runs wrote goes to the disk now, and not while this one is measured.
    rustix::fs::sync();
    let warm = Warm::hold(load.count * load.cut.bytes.max(8192) * 9 / 8);
    peer.warm(content).await?;
    let sample = measured(peer, content, load, first).await?;
    drop(warm);
    peer.check()?;
    compare(peer, content, load, first)?;
    Ok(sample)
}

async fn measured(peer: &Peer, content: &Content, load: Load, first: u64) -> Result<Sample, Fault> {
    peer.forget_peak();
    let own = || cpu(std::process::id());
    let before = (peer.cpu(), own()?, machine()?);
    let began = Instant::now();
    let mut spans = send(peer, content, load, first).await?;
    let wall = began.elapsed();
    let (cpu, client, machine) = (peer.cpu() - before.0, own()? - before.1, machine()? - before.2);
    spans.sort_unstable();
    Ok(Sample {
        wall,
        bytes: load.count * load.cut.bytes,
        uploads: load.count,
        spans,
        cpu,
        peak: peer.peak(),
        other: machine.saturating_sub(cpu + client),
    })
}

/// So many clients at once, each of which takes the next upload when it has done one.
async fn send(peer: &Peer, content: &Content, load: Load, first: u64) -> Result<Vec<Duration>, Fault> {
    let next = Cell::new(first);
    let client = || async {
        let mut client = Client::new(peer, content);
        while next.get() < first + load.count {
            client.upload(next.replace(next.get() + 1), load.cut).await?;
        }
        Ok::<_, Fault>(client.spans)
    };
    Ok(try_join_all((0..load.at_once).map(|_| client())).await?.concat())
}

/// Every upload must lie below the peer's folder as it was sent.
pub(crate) fn compare(peer: &mut Peer, content: &mut Content, load: Load, first: u64) -> Result<(), Fault> {
    let mut wanted = Vec::new();
    for seed in first..first + load.count {
        match peer.speaks {
            Speech::Put => wanted.extend(load.cut.ranges(seed).map(|range| (range.bytes, content.sum(range)))),
            _ => wanted.push((load.cut.bytes, content.sum(load.cut.whole(seed)))),
        }
    }
    let found = peer.seen.find(&peer.files, &wanted)?;
    let large = wanted.iter().all(|(bytes, _)| *bytes >= LARGE_BYTES);
    if large { peer.seen.remove(&found) } else { Ok(()) }
}
