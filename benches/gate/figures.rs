//! Rounds, and the table of their medians.

use std::{fmt, time::Duration};

use crate::{block::Block, way::Way};

/// The blocks of all rounds, by way.
#[derive(Default)]
pub(crate) struct Figures(Vec<Vec<(Way, Block)>>);

impl Figures {
    pub(crate) fn add(&mut self, round: Vec<(Way, Block)>) {
        self.0.push(round);
    }

    /// The median over the rounds of what `figure` makes of this way's block and the first way's.
    fn median(&self, way: Way, figure: impl Fn(&Block, &Block) -> f64) -> f64 {
        let block = |round: &[(Way, Block)], wanted: Way| round.iter().position(|(way, _)| *way == wanted);
        let of_round = |round: &Vec<(Way, Block)>| {
            let (own, first) = (block(round, way)?, block(round, Way::ALL[0])?);
            Some(figure(&round[own].1, &round[first].1))
        };
        let mut values: Vec<_> = self.0.iter().filter_map(of_round).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Seconds for a thousand chunks, over all rounds: the account's ticks are too coarse for one.
    fn seconds(&self, way: Way, used: impl Fn(&Block) -> Duration) -> f64 {
        let blocks = || self.0.iter().flatten().filter(|(known, _)| *known == way).map(|(_, block)| block);
        let chunks: usize = blocks().map(|block| block.spans.len()).sum();
        blocks().map(used).sum::<Duration>().as_secs_f64() * 1000.0 / chunks as f64
    }
}

impl Block {
    fn rate(&self) -> f64 {
        self.spans.len() as f64 / self.wall.as_secs_f64()
    }

    /// The span that so many hundredths do not exceed, in microseconds.
    fn percentile(&self, hundredths: usize) -> f64 {
        let at = (self.spans.len() * hundredths).div_ceil(100).max(1) - 1;
        self.spans[at].as_secs_f64() * 1e6
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "                                       against anonymous     switches  CPU s / 1000 requests")?;
        writeln!(f, "way         requests/s  p50 µs  p99 µs  throughput   p50 µs  / request  service     identity")?;
        for way in Way::ALL {
            let name = way.name();
            let rate = self.median(way, |own, _| own.rate());
            let [p50, p99] = [50, 99].map(|hundredths| self.median(way, |own, _| own.percentile(hundredths)));
            write!(f, "{name:<10}  {rate:>10.0}  {p50:>6.0}  {p99:>6.0}  ")?;
            let ratio = self.median(way, |own, first| 100.0 * own.rate() / first.rate());
            let more = self.median(way, |own, first| own.percentile(50) - first.percentile(50));
            let switches = self.median(way, |own, _| own.switches as f64 / own.spans.len() as f64);
            write!(f, "{ratio:>8.1} %  {more:>+7.0}  {switches:>9.1}  ")?;
            let service = self.seconds(way, |block| block.service);
            let identity = self.seconds(way, |block| block.identity);
            writeln!(f, "{service:>7.3}  {identity:>11.3}")?;
        }
        Ok(())
    }
}
