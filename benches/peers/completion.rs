//! How long a client waits from its last byte to the answer that the upload is complete, by the size of the upload.
//!
//! Who computes a digest, copies or assembles at the end shows it here. Everything but the last KiB is sent before the
//! clock starts. Where completion is a request of its own, that one is timed.

use std::time::{Duration, Instant};

use crate::{
    Fault,
    content::{Content, Range},
    figures::{median, millis},
    peer::{Peer, Speech},
    run::{Load, compare},
    table::{Aim, Bound, Cell, Table},
    throughput::scaled,
    tus,
    upload::{Client, Cut},
    watch::Watch,
    wire::Link,
};

/// What `--scenarios` calls it.
pub(crate) const NAME: &str = "completion";
const MIB: u64 = 1 << 20;
const CHUNK: u64 = 8 * MIB;
const LAST: u64 = 1 << 10;

pub(crate) async fn table(peers: &mut [Peer], content: &mut Content, scale: f64, rounds: u64) -> Result<Table, Fault> {
    // However small the run, the sizes differ.
    let sizes = [(1, 1), (64, 2), (512, 4)].map(|(mib, least)| scaled(mib, scale, least) * MIB);
    let columns: Vec<_> = sizes.iter().map(|bytes| format!("{} MiB, ms", bytes / MIB)).collect();
    let mut table = Table::new(NAME, format!("from the last byte to the answer; rounds: {rounds}"), columns.clone());
    let watch = Watch::start(peers)?;
    for peer in peers.iter_mut().filter(|peer| matches!(peer.speaks, Speech::Tus | Speech::Django)) {
        let mut cells = Vec::new();
        for bytes in sizes {
            let mut spans = Vec::new();
            for _ in 0..rounds {
                match complete(peer, content, bytes).await {
                    Ok(span) => spans.push(millis(span)),
                    Err(fault) => table.faults.push(format!("{}: {fault}", peer.name)),
                }
            }
            cells.push(Cell::of(median(spans)));
        }
        table.rows.push((peer.name, cells));
    }
    for name in ["chunkgate", "chunkgate-disk"] {
        let column = &columns[columns.len() - 1];
        let what = format!("{name}: {column}");
        table.aims.push(Aim { what, bound: Bound::Below(5.0), figure: table.number(name, column) });
    }
    table.noise = watch.end(peers)?;
    Ok(table)
}

/// One upload; how long its end took.
async fn complete(peer: &mut Peer, content: &mut Content, bytes: u64) -> Result<Duration, Fault> {
    let seed = content.seeds(1);
    let cut = Cut { bytes, chunk: CHUNK.min(bytes), with_creation: false };
    peer.warm(content).await?;
    let span = match peer.speaks {
        Speech::Tus => by_tus(peer, content, seed, cut).await?,
        _ => {
            content.prepare_md5(cut.whole(seed));
            let mut client = Client::new(peer, content);
            client.upload(seed, cut).await?;
            client.spans.pop().ok_or("an upload without requests")?
        }
    };
    compare(peer, content, Load { count: 1, at_once: 1, cut }, seed)?;
    Ok(span)
}

async fn by_tus(peer: &Peer, content: &Content, seed: u64, cut: Cut) -> Result<Duration, Fault> {
    let mut link = Link::to(peer.address);
    let nothing = Range { seed, from: 0, bytes: 0 };
    let place = tus::create(peer, &mut link, content, cut.bytes, nothing).await?;
    let most = Cut { bytes: cut.bytes - LAST, ..cut };
    for range in most.ranges(seed) {
        tus::append(peer, &mut link, content, &place, range).await?;
    }
    let began = Instant::now();
    tus::append(peer, &mut link, content, &place, Range { seed, from: most.bytes, bytes: LAST }).await?;
    Ok(began.elapsed())
}
