//! The scenarios that ask how much goes through, and how fast one request is.

use crate::{
    content::Content,
    figures::{Measure, Rounds, Wish},
    peer::{Peer, Speech},
    run::{Load, Sample, run},
    table::{Bound, Table},
    upload::Cut,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A load, who it is put on, and what is said of it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    what: &'static str,
    load: fn(f64) -> Load,
    speeches: &'static [Speech],
    measures: &'static [Measure],
    wishes: &'static [Wish],
}

const EVERYBODY: &[Speech] = &[Speech::Tus, Speech::Put, Speech::Django, Speech::Frames];

/// What is said of bytes in chunks.
const OF_CHUNKS: &[Measure] = &[
    Measure::Megabytes,
    Measure::P50,
    Measure::P99,
    Measure::CpuPerGib,
    Measure::Peak,
    Measure::Against("nginx"),
    Measure::Against("sink"),
    Measure::Against("sink-sync"),
];

/// What is said of a request that takes its time.
const OF_BYTES: &[Measure] = &[
    Measure::Megabytes,
    Measure::CpuPerGib,
    Measure::Peak,
    Measure::Against("nginx"),
    Measure::Against("sink"),
    Measure::Against("sink-sync"),
];

/// What is said of uploads.
const OF_UPLOADS: &[Measure] = &[Measure::Uploads, Measure::P50, Measure::P99, Measure::CpuOfUploads, Measure::Peak];

/// All of them.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "chunks",
        what: "one upload in chunks of 8 MiB",
        load: |scale| one(scaled(1 << 30, scale, 8 * MIB), 8 * MIB),
        speeches: EVERYBODY,
        measures: OF_CHUNKS,
        wishes: &[
            at_least("chunkgate", Measure::Against("nginx"), 0.9),
            at_most("chunkgate", Measure::CpuAgainst("nginx"), 1.15),
            at_least("chunkgate-disk", Measure::Against("sink-sync"), 0.85),
        ],
    },
    Scenario {
        name: "whole",
        what: "one upload in one request",
        load: |scale| {
            let bytes = scaled(1 << 30, scale, MIB);
            one(bytes, bytes)
        },
        speeches: EVERYBODY,
        measures: OF_BYTES,
        wishes: &[
            at_least("chunkgate", Measure::Against("nginx"), 0.9),
            at_most("chunkgate", Measure::CpuAgainst("nginx"), 1.15),
            at_least("chunkgate-disk", Measure::Against("sink-sync"), 0.85),
        ],
    },
    Scenario {
        name: "many",
        what: "16 uploads at once in chunks of 5 MiB",
        load: |scale| Load { count: 16, at_once: 16, ..one(scaled(64 * MIB, scale, 5 * MIB), 5 * MIB) },
        speeches: EVERYBODY,
        measures: OF_CHUNKS,
        wishes: &[],
    },
    Scenario {
        name: "tiny",
        what: "one upload in chunks of 64 KiB: the price of a request",
        load: |scale| one(scaled(256 * MIB, scale, 64 * KIB), 64 * KIB),
        speeches: EVERYBODY,
        measures: &[
            Measure::Requests,
            Measure::P50,
            Measure::P99,
            Measure::CpuOfRequests,
            Measure::Peak,
            Measure::Against("nginx"),
            Measure::Against("sink"),
            Measure::Against("sink-sync"),
        ],
        wishes: &[
            at_least("chunkgate", Measure::Requests, 3500.0),
            Wish { peer: "chunkgate", measure: Measure::P99, bound: Bound::Below(1.0) },
        ],
    },
    Scenario {
        name: "small",
        what: "uploads of 4 KiB, 32 at once: a request that makes them, a request with the bytes",
        load: |scale| small(scale, false),
        speeches: &[Speech::Tus, Speech::Django],
        measures: OF_UPLOADS,
        wishes: &[
            at_least("chunkgate", Measure::Uploads, 5000.0),
            at_least("chunkgate-disk", Measure::Uploads, 4000.0),
        ],
    },
    Scenario {
        name: "small-one",
        what: "uploads of 4 KiB, 32 at once, in one request each",
        load: |scale| small(scale, true),
        speeches: &[Speech::Tus, Speech::Put, Speech::Frames],
        measures: OF_UPLOADS,
        wishes: &[
            at_least("chunkgate", Measure::Uploads, 9000.0),
            at_least("chunkgate-disk", Measure::Uploads, 4000.0),
        ],
    },
];

const fn at_least(peer: &'static str, measure: Measure, wanted: f64) -> Wish {
    Wish { peer, measure, bound: Bound::AtLeast(wanted) }
}

const fn at_most(peer: &'static str, measure: Measure, wanted: f64) -> Wish {
    Wish { peer, measure, bound: Bound::AtMost(wanted) }
}

fn one(bytes: u64, chunk: u64) -> Load {
    Load { count: 1, at_once: 1, cut: Cut { bytes, chunk, with_creation: false } }
}

fn small(scale: f64, with_creation: bool) -> Load {
    let cut = Cut { bytes: 4 * KIB, chunk: 4 * KIB, with_creation };
    Load { count: scaled(5000, scale, 32), at_once: 32, cut }
}

/// A part of the whole, and at least so much.
pub(crate) fn scaled(whole: u64, scale: f64, least: u64) -> u64 {
    ((whole as f64 * scale) as u64).max(least)
}

impl Scenario {
    /// Puts the load on all peers, forward in one round and backward in the next.
    pub(crate) async fn table(&self, peers: &mut [Peer], content: &mut Content, scale: f64, rounds: u64) -> Table {
        let load = (self.load)(scale);
        let Load { count, cut, .. } = load;
        let title = format!("{}; {count} × {} KiB, rounds: {rounds}", self.what, cut.bytes / KIB);
        let mut table = Table::new(self.name, title, self.measures.iter().map(|measure| measure.head()).collect());
        let mut measured = Rounds::default();
        // The first round warms up, and is not counted.
        for number in 0..=rounds {
            eprintln!("  round {number} of {rounds}");
            let load = if number == 0 { load.shared(0.1) } else { load };
            let round = self.round(peers, content, load, number, &mut table).await;
            measured.0.extend((number > 0).then_some(round));
        }
        for peer in peers.iter().filter(|peer| measured.samples(peer.name).next().is_some()) {
            let cells = self.measures.iter().map(|measure| measured.cell(peer.name, *measure));
            table.rows.push((peer.name, cells.collect()));
        }
        table.aims = self.wishes.iter().map(|wish| measured.aim(*wish)).collect();
        measured.0.iter().flatten().for_each(|(_, sample)| table.noise.add(sample.other, sample.wall));
        table
    }

    async fn round(
        &self,
        peers: &mut [Peer],
        content: &mut Content,
        load: Load,
        number: u64,
        table: &mut Table,
    ) -> Vec<(&'static str, Sample)> {
        let mut order: Vec<_> = peers.iter_mut().filter(|peer| self.speeches.contains(&peer.speaks)).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        let mut round = Vec::new();
        for peer in order {
            let first = content.seeds(load.count);
            match run(peer, content, load, first).await {
                Ok(sample) => round.push((peer.name, sample)),
                Err(fault) => table.faults.push(format!("{}: {fault}", peer.name)),
            }
        }
        round
    }
}
