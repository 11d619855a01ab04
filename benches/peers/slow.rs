//! Many slow uploads at once: what each costs in memory, and what another client feels of them.
//!
//! Each has sent 1 KiB of 1 MiB and goes on with a few bytes now and then. The other client makes small uploads, one
//! after another.

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt as _, time::sleep};

use crate::{
    Fault,
    content::{Content, Range},
    figures::millis,
    peer::{Peer, Speech},
    run::percentile,
    table::{Aim, Bound, Cell, Table},
    throughput::scaled,
    tus,
    upload::{Client, Cut},
    watch::Watch,
    wire::{Link, Request},
};

/// What `--scenarios` calls it.
pub(crate) const NAME: &str = "slow";
/// What each upload promises.
const WHOLE: u64 = 1 << 20;
/// What each has sent at first.
const BEGUN: u64 = 1 << 10;
/// What each sends now and then.
const DROP: &[u8; 16] = b"a drop in a sea.";
/// How many small uploads the other client makes.
const PROBES: u64 = 300;

pub(crate) async fn table(peers: &mut [Peer], content: &mut Content, scale: f64) -> Result<Table, Fault> {
    let [count, probes] = [2000, PROBES].map(|whole| scaled(whole, scale, 20));
    let columns = ["KiB each", "still open", "other's p50 ms", "other's p99 ms", "alone p99 ms"];
    let title = format!("{count} slow uploads, and another client's small ones meanwhile (both requests of each)");
    let mut table = Table::new(NAME, title, columns.map(str::to_owned).to_vec());
    let watch = Watch::start(peers)?;
    for peer in peers.iter_mut().filter(|peer| matches!(peer.speaks, Speech::Tus | Speech::Put)) {
        match slow(peer, content, count, probes).await {
            Ok(cells) => table.rows.push((peer.name, cells)),
            Err(fault) => table.faults.push(format!("{}: {fault}", peer.name)),
        }
    }
    for (column, bound) in [(columns[0], Bound::AtMost(16.0)), (columns[3], Bound::Below(3.0))] {
        let figure = table.number("chunkgate", column);
        table.aims.push(Aim { what: format!("chunkgate: {column}"), bound, figure });
    }
    table.noise = watch.end(peers)?;
    Ok(table)
}

async fn slow(peer: &mut Peer, content: &mut Content, count: u64, probes: u64) -> Result<Vec<Cell>, Fault> {
    peer.warm(content).await?;
    let alone = probe(peer, content, probes).await?;
    sleep(Duration::from_secs(1)).await;
    let before = peer.resident();
    let mut links = begin(peer, content, count).await?;
    for _ in 0..2 {
        drip(&mut links).await?;
        sleep(Duration::from_secs(1)).await;
    }
    let more = peer.resident() as f64 - before as f64;
    // The signature may have become old.
    peer.warm(content).await?;
    let spans = probe(peer, content, probes).await?;
    drip(&mut links).await?;
    let open = links.iter_mut().filter_map(Link::is_quiet).filter(|quiet| *quiet).count();
    drop(links);
    // Whoever finds out one after another that 2,000 left should not be asked for something meanwhile.
    sleep(Duration::from_secs(2)).await;
    peer.check()?;
    let [p50, p99, alone] = [(&spans, 50), (&spans, 99), (&alone, 99)].map(|(spans, at)| millis(percentile(spans, at)));
    Ok([more / 1024.0 / count as f64, open as f64, p50, p99, alone].map(Cell::Number).to_vec())
}

/// Small uploads one after another; how long each took, the shortest first.
async fn probe(peer: &Peer, content: &mut Content, count: u64) -> Result<Vec<Duration>, Fault> {
    let cut = Cut { bytes: 4096, chunk: 4096, with_creation: false };
    let first = content.seeds(count);
    let mut client = Client::new(peer, content);
    let mut spans = Vec::new();
    for seed in first..first + count {
        let began = Instant::now();
        client.upload(seed, cut).await?;
        spans.push(began.elapsed());
    }
    spans.sort_unstable();
    Ok(spans)
}

/// So many connections, each in the middle of a request.
async fn begin(peer: &Peer, content: &mut Content, count: u64) -> Result<Vec<Link>, Fault> {
    let first = content.seeds(count);
    let mut maker = Link::to(peer.address);
    let mut requests = Vec::new();
    for seed in first..first + count {
        let whole = Range { seed, from: 0, bytes: WHOLE };
        requests.push(match peer.speaks {
            Speech::Tus => {
                let nothing = Range { bytes: 0, ..whole };
                let place = tus::create(peer, &mut maker, content, WHOLE, nothing).await?;
                tus::addition(peer, &place, whole)
            }
            _ => Request::with(
                format!("{}content-length: {WHOLE}\r\n\r\n", peer.opening("PUT", &format!("/slow-{seed}"))),
                whole,
            ),
        });
    }
    let mut links = Vec::new();
    for request in requests {
        let mut link = Link::to(peer.address);
        let begun = Range { bytes: BEGUN, ..request.body };
        link.send(content, &Request { body: begun, ..request }).await?;
        links.push(link);
    }
    Ok(links)
}

async fn drip(links: &mut [Link]) -> Result<(), Fault> {
    for link in links {
        // Whoever was turned away is counted at the end.
        let _ = link.stream().await?.write_all(DROP).await;
    }
    Ok(())
}
