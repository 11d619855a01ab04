//! What becomes of uploads when connections do not end well, and of requests that contradict each other.
//!
//! tus only: the other protocols keep nothing of a request that did not arrive.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures_util::future::join;
use tokio::time::sleep;

use crate::{
    Fault,
    content::{Content, Range},
    figures::millis,
    peer::{Peer, Speech},
    table::{Aim, Bound, Cell, Table},
    tus::{self, Place},
    watch::Watch,
    wire::{Answer, Link, Request},
};

/// What `--scenarios` calls it.
pub(crate) const NAME: &str = "faults";
const MIB: u64 = 1 << 20;
/// What an upload has.
const WHOLE: u64 = 20 * MIB;
/// What of it arrives before its connection stalls.
const PART: u64 = 12 * MIB;
/// Long enough for what was sent to be received.
const SETTLED: Duration = Duration::from_millis(500);
/// So long a server may take to find out that its client left.
const GIVEN: Duration = Duration::from_secs(10);
/// Within how many milliseconds the first two are to be answered.
const WITHIN: [f64; 2] = [20.0, 100.0];

/// What came of it.
struct Outcome {
    told: String,
    /// After how many milliseconds, where that matters.
    took: Option<f64>,
}

impl From<String> for Outcome {
    fn from(told: String) -> Self {
        Self { told, took: None }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)?;
        self.took.map_or(Ok(()), |took| write!(f, ", {} ms", Cell::Number(took)))
    }
}

pub(crate) async fn table(peers: &mut [Peer], content: &mut Content) -> Result<Table, Fault> {
    let columns = [
        "HEAD beside a stalled PATCH",
        "PATCH beside a stalled PATCH",
        "kept of 12 MiB after a hang-up",
        "10 bytes into 5",
        "two PATCHes at offset 0",
    ];
    let title = "12 of 20 MiB arrive and no more; too many bytes; two at one place".to_owned();
    let mut table = Table::new(NAME, title, columns.map(str::to_owned).to_vec());
    let watch = Watch::start(peers)?;
    for peer in peers.iter_mut().filter(|peer| peer.speaks == Speech::Tus) {
        peer.warm(content).await?;
        let answers = [
            asked(peer, content).await,
            taken_over(peer, content).await,
            kept(peer, content).await,
            beyond(peer, content).await,
            doubled(peer, content).await,
        ];
        if peer.name.starts_with("chunkgate") {
            for ((column, within), answer) in columns.iter().zip(WITHIN).zip(&answers) {
                let figure = answer.as_ref().ok().and_then(|outcome| outcome.took);
                let what = format!("{}: {column}, ms", peer.name);
                table.aims.push(Aim { what, bound: Bound::Below(within), figure });
            }
        }
        let cell = |answer: Result<Outcome, Fault>| {
            Cell::Text(answer.map_or_else(|fault| format!("failed: {fault}"), |outcome| outcome.to_string()))
        };
        table.rows.push((peer.name, answers.map(cell).to_vec()));
    }
    // Here a refusal is an answer too; that nothing at all comes back is a fault of one's own only.
    let failed = |(peer, cells): &(&str, Vec<Cell>)| {
        let failed = cells.iter().find(|cell| cell.to_string().starts_with("failed"));
        failed.filter(|_| peer.starts_with("chunkgate")).map(|cell| format!("{peer}: {cell}"))
    };
    table.faults = table.rows.iter().filter_map(failed).collect();
    table.noise = watch.end(peers)?;
    Ok(table)
}

/// An upload, and the connection over which a part of it came and nothing more comes.
async fn stalled(peer: &Peer, content: &mut Content) -> Result<(Place, Link, u64), Fault> {
    let (place, seed) = made(peer, content, WHOLE).await?;
    let request = tus::addition(peer, &place, Range { seed, from: 0, bytes: WHOLE });
    let mut link = Link::to(peer.address);
    let part = Range { bytes: PART, ..request.body };
    link.send(content, &Request { body: part, ..request }).await?;
    sleep(SETTLED).await;
    Ok((place, link, seed))
}

async fn made(peer: &Peer, content: &mut Content, bytes: u64) -> Result<(Place, u64), Fault> {
    let seed = content.seeds(1);
    let nothing = Range { seed, from: 0, bytes: 0 };
    Ok((tus::create(peer, &mut Link::to(peer.address), content, bytes, nothing).await?, seed))
}

async fn asked(peer: &Peer, content: &mut Content) -> Result<Outcome, Fault> {
    let (place, holder, _) = stalled(peer, content).await?;
    let began = Instant::now();
    let answer = tus::status(peer, &mut Link::to(peer.address), content, &place).await?;
    let took = took(began);
    drop(holder);
    Ok(Outcome { told: told(&answer), took })
}

async fn taken_over(peer: &Peer, content: &mut Content) -> Result<Outcome, Fault> {
    let (place, holder, seed) = stalled(peer, content).await?;
    let rest = Range { seed, from: PART, bytes: WHOLE - PART };
    let began = Instant::now();
    let answer = tus::add(peer, &mut Link::to(peer.address), content, &place, rest).await;
    let took = took(began);
    drop(holder);
    Ok(Outcome { told: told(&answer?), took })
}

/// How much is there when the connection broke, as soon as it is all, or else at last.
async fn kept(peer: &Peer, content: &mut Content) -> Result<Outcome, Fault> {
    let (place, holder, _) = stalled(peer, content).await?;
    drop(holder);
    let began = Instant::now();
    loop {
        let answer = tus::status(peer, &mut Link::to(peer.address), content, &place).await?;
        if answer.number("upload-offset") == Some(PART) || began.elapsed() > GIVEN {
            return Ok(Outcome { told: told(&answer), took: took(began) });
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn beyond(peer: &Peer, content: &mut Content) -> Result<Outcome, Fault> {
    let (place, seed) = made(peer, content, 5).await?;
    let mut link = Link::to(peer.address);
    let answer = tus::add(peer, &mut link, content, &place, Range { seed, from: 0, bytes: 10 }).await?;
    let after = tus::status(peer, &mut Link::to(peer.address), content, &place).await?;
    Ok(format!("{}, then {}", answer.status, told(&after)).into())
}

/// Of two different contents at one place at most one may be acknowledged.
async fn doubled(peer: &Peer, content: &mut Content) -> Result<Outcome, Fault> {
    let (place, seed) = made(peer, content, 8 * MIB).await?;
    let (mut one, mut other) = (Link::to(peer.address), Link::to(peer.address));
    let range = |seed| Range { seed, from: 0, bytes: 4 * MIB };
    let (one, other) = join(
        tus::add(peer, &mut one, content, &place, range(seed)),
        tus::add(peer, &mut other, content, &place, range(content.unused())),
    )
    .await;
    let after = tus::status(peer, &mut Link::to(peer.address), content, &place).await?;
    let status =
        |answer: Result<Answer, Fault>| answer.map_or("cut off".to_owned(), |answer| answer.status.to_string());
    Ok(format!("{} + {}, then {}", status(one), status(other), told(&after)).into())
}

/// Status and offset of an answer.
fn told(answer: &Answer) -> String {
    let status = match answer.status {
        200 | 204 => String::new(),
        status => format!("{status} "),
    };
    match answer.number("upload-offset") {
        Some(offset) if offset >= MIB => format!("{status}{} MiB", Cell::Number(offset as f64 / MIB as f64)),
        Some(offset) => format!("{status}{offset} B"),
        None => format!("{status}no offset"),
    }
}

fn took(since: Instant) -> Option<f64> {
    Some(millis(since.elapsed()))
}
