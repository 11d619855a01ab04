//! From rounds to figures: medians of rounds, ratios within a round.

use std::time::Duration;

use crate::{
    run::Sample,
    table::{Aim, Bound, Cell},
};

/// What can be said of a peer's samples.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// Content, in MB (10^6 bytes) a second.
    Megabytes,
    Requests,
    Uploads,
    /// How long a request takes.
    P50,
    P99,
    /// Seconds of processors for a GiB.
    CpuPerGib,
    /// Seconds of processors for 1,000 uploads.
    CpuOfUploads,
    /// Seconds of processors for 1,000 requests.
    CpuOfRequests,
    /// Memory at most, in MiB.
    Peak,
    /// How fast, as a ratio to another peer.
    Against(&'static str),
    /// Processors for a GiB, as a ratio to another peer.
    CpuAgainst(&'static str),
}

/// Something to reach in a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) peer: &'static str,
    pub(crate) measure: Measure,
    pub(crate) bound: Bound,
}

/// The samples of all rounds.
#[derive(Default)]
pub(crate) struct Rounds(pub(crate) Vec<Vec<(&'static str, Sample)>>);

impl Measure {
    pub(crate) fn head(self) -> String {
        match self {
            Self::Megabytes => "MB/s".to_owned(),
            Self::Requests => "requests/s".to_owned(),
            Self::Uploads => "uploads/s".to_owned(),
            Self::P50 => "p50 ms".to_owned(),
            Self::P99 => "p99 ms".to_owned(),
            Self::CpuPerGib => "CPU s/GiB".to_owned(),
            Self::CpuOfUploads | Self::CpuOfRequests => "CPU s/1000".to_owned(),
            Self::Peak => "peak MiB".to_owned(),
            Self::Against(peer) => format!("× {peer}"),
            Self::CpuAgainst(peer) => format!("CPU × {peer}"),
        }
    }
}

impl Sample {
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.wall.as_secs_f64()
    }

    fn gib(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 30)
    }
}

impl Rounds {
    /// A figure, if the peer has samples, and the other one too where there is another.
    pub(crate) fn figure(&self, peer: &str, measure: Measure) -> Option<f64> {
        let a_second = |count: fn(&Sample) -> u64| {
            self.median(peer, move |sample| count(sample) as f64 / sample.wall.as_secs_f64())
        };
        match measure {
            Measure::Megabytes => self.median(peer, |sample| sample.rate() / 1e6),
            Measure::Requests => a_second(|sample| sample.spans.len() as u64),
            Measure::Uploads => a_second(|sample| sample.uploads),
            Measure::P50 => self.median(peer, |sample| millis(sample.percentile(50))),
            Measure::P99 => self.median(peer, |sample| millis(sample.percentile(99))),
            Measure::CpuPerGib => self.cpu(peer, Sample::gib),
            Measure::CpuOfUploads => self.cpu(peer, |sample| sample.uploads as f64 / 1000.0),
            Measure::CpuOfRequests => self.cpu(peer, |sample| sample.spans.len() as f64 / 1000.0),
            Measure::Peak => {
                let peaks = self.samples(peer).map(|sample| sample.peak as f64 / f64::from(1 << 20));
                peaks.max_by(f64::total_cmp)
            }
            Measure::Against(other) => self.ratio(peer, other),
            Measure::CpuAgainst(other) => Some(self.cpu(peer, Sample::gib)? / self.cpu(other, Sample::gib)?),
        }
    }

    pub(crate) fn cell(&self, peer: &str, measure: Measure) -> Cell {
        Cell::of(self.figure(peer, measure))
    }

    pub(crate) fn aim(&self, wish: Wish) -> Aim {
        let what = format!("{}: {}", wish.peer, wish.measure.head());
        Aim { what, bound: wish.bound, figure: self.figure(wish.peer, wish.measure) }
    }

    pub(crate) fn samples(&self, peer: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().flatten().filter(move |(known, _)| *known == peer).map(|(_, sample)| sample)
    }

    fn median(&self, peer: &str, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples(peer).map(figure).collect())
    }

    /// Two rounds of a busy machine differ more than two peers of one round.
    fn ratio(&self, peer: &str, other: &str) -> Option<f64> {
        let of = |round: &[(&str, Sample)], wanted: &str| {
            round.iter().find(|(known, _)| *known == wanted).map(|(_, sample)| sample.rate())
        };
        median(self.0.iter().filter_map(|round| Some(of(round, peer)? / of(round, other)?)).collect())
    }

    /// Seconds of processors over all rounds: the account's ticks are too coarse for one.
    fn cpu(&self, peer: &str, amount: impl Fn(&Sample) -> f64) -> Option<f64> {
        let used: Duration = self.samples(peer).map(|sample| sample.cpu).sum();
        let amount: f64 = self.samples(peer).map(amount).sum();
        (amount > 0.0).then(|| used.as_secs_f64() / amount)
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    // Of an even number the two in the middle count alike.
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

pub(crate) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
