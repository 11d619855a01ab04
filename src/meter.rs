//! Ground: what counts. Counters, gauges and histograms as plain atomics, without names.
//!
//! Each part of the house declares a struct of them beside itself, holds it behind an `Arc`, and counts by one atomic
//! addition. The roof gives them names and writes them out (`telemetry`), for one running service: nothing here belongs
//! to the process.
//!
//! A label is a [`Word`] of a closed list, an enum made by `words!`. So there is nothing to bound and
//! nothing to leak: no name, key or address can be one.

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// One word of a label's closed list.
pub trait Word: Copy + 'static {
    /// The label's name.
    const LABEL: &'static str;
    /// Every word, in the order of their places.
    const ALL: &'static [Self];

    /// As it is written.
    fn word(self) -> &'static str;

    /// Its place in the list.
    fn place(self) -> usize;
}

/// Defines the list of a label's words: `words! { /// Doc. pub enum Name as "label" { Variant = "word", … } }`.
macro_rules! words {
    ($(#[$doc:meta])* $public:vis enum $name:ident as $label:literal { $($variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $public enum $name { $(#[doc = concat!("`", $word, "`")] $variant,)* }

        impl $crate::meter::Word for $name {
            const LABEL: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            fn place(self) -> usize {
                self as usize
            }
        }

        impl $crate::meter::Labels for $name {
            const COUNT: usize = <Self as $crate::meter::Word>::ALL.len();

            fn place(self) -> usize {
                $crate::meter::Word::place(self)
            }

            fn at(place: usize) -> Vec<$crate::meter::Label> {
                $crate::meter::label::<Self>(place)
            }
        }
    };
}

pub(crate) use words;

/// A label's name and its word.
pub type Label = (&'static str, &'static str);

/// The label of the word at that place.
pub fn label<W: Word>(place: usize) -> Vec<Label> {
    vec![(W::LABEL, W::ALL[place].word())]
}

/// What one series differs by from the others of its meter: nothing, a word, or several.
pub trait Labels: Copy + 'static {
    /// How many series there are.
    const COUNT: usize;

    /// Which of them this is.
    fn place(self) -> usize;

    /// The labels of the series at that place.
    fn at(place: usize) -> Vec<Label>;
}

impl Labels for () {
    const COUNT: usize = 1;

    fn place(self) -> usize {
        0
    }

    fn at(_: usize) -> Vec<Label> {
        Vec::new()
    }
}

impl<A: Word, B: Labels> Labels for (A, B) {
    const COUNT: usize = A::ALL.len() * B::COUNT;

    fn place(self) -> usize {
        self.0.place() * B::COUNT + self.1.place()
    }

    fn at(place: usize) -> Vec<Label> {
        [label::<A>(place / B::COUNT), B::at(place % B::COUNT)].concat()
    }
}

/// One line of an account: what follows the meter's name, its labels, its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What follows the name.
    pub suffix: &'static str,
    /// What it differs by from the others.
    pub labels: Vec<(&'static str, String)>,
    /// How much.
    pub value: f64,
}

/// Anything that can give an account of itself.
pub trait Meter {
    /// What kind of numbers these are: `counter`, `gauge` or `histogram`.
    const KIND: &'static str;

    /// Every series as it stands.
    fn samples(&self) -> Vec<Sample>;
}

/// Only grows.
pub struct Counter<L: Labels = ()> {
    cells: Box<[AtomicU64]>,
    by: PhantomData<fn(L)>,
}

impl<L: Labels> Default for Counter<L> {
    fn default() -> Self {
        Self { cells: (0..L::COUNT).map(|_| AtomicU64::new(0)).collect(), by: PhantomData }
    }
}

impl<L: Labels> Counter<L> {
    /// Counts one.
    pub fn one(&self, of: L) {
        self.add(of, 1);
    }

    /// Counts so many.
    pub fn add(&self, of: L, many: u64) {
        self.cells[of.place()].fetch_add(many, Relaxed);
    }
}

impl<L: Labels> Meter for Counter<L> {
    const KIND: &'static str = "counter";

    fn samples(&self) -> Vec<Sample> {
        let sample = |(place, cell): (usize, &AtomicU64)| plain::<L>(place, cell.load(Relaxed) as f64);
        self.cells.iter().enumerate().map(sample).collect()
    }
}

/// Goes up and down.
pub struct Gauge<L: Labels = ()> {
    cells: Box<[AtomicI64]>,
    by: PhantomData<fn(L)>,
}

impl<L: Labels> Default for Gauge<L> {
    fn default() -> Self {
        Self { cells: (0..L::COUNT).map(|_| AtomicI64::new(0)).collect(), by: PhantomData }
    }
}

impl<L: Labels> Gauge<L> {
    /// It stands there now.
    pub fn set(&self, of: L, at: u64) {
        self.cells[of.place()].store(i64::try_from(at).unwrap_or(i64::MAX), Relaxed);
    }

    /// Where it stands.
    pub fn now(&self, of: L) -> u64 {
        u64::try_from(self.cells[of.place()].load(Relaxed)).unwrap_or_default()
    }

    /// One more, for as long as the answer is held.
    #[must_use = "counts for as long as it is held"]
    pub fn hold(&self, of: L) -> Held<'_> {
        let cell = &self.cells[of.place()];
        cell.fetch_add(1, Relaxed);
        Held(cell)
    }
}

/// One of a [`Gauge`].
pub struct Held<'a>(&'a AtomicI64);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<L: Labels> Meter for Gauge<L> {
    const KIND: &'static str = "gauge";

    fn samples(&self) -> Vec<Sample> {
        let sample = |(place, cell): (usize, &AtomicI64)| plain::<L>(place, cell.load(Relaxed) as f64);
        self.cells.iter().enumerate().map(sample).collect()
    }
}

/// Upper bounds of the buckets of every histogram, in seconds: from a look into memory to an upload's chunk.
const BOUNDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

/// How long things took.
pub struct Histogram<L: Labels = ()> {
    series: Box<[Series]>,
    by: PhantomData<fn(L)>,
}

#[derive(Default)]
struct Series {
    /// Not cumulative; the last one has no bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl<L: Labels> Default for Histogram<L> {
    fn default() -> Self {
        Self { series: (0..L::COUNT).map(|_| Series::default()).collect(), by: PhantomData }
    }
}

impl<L: Labels> Histogram<L> {
    /// It took so long.
    pub fn took(&self, of: L, time: Duration) {
        let series = &self.series[of.place()];
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        series.buckets[bucket].fetch_add(1, Relaxed);
        series.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// It took from then until now.
    pub fn since(&self, of: L, begun: Instant) {
        self.took(of, begun.elapsed());
    }
}

impl<L: Labels> Meter for Histogram<L> {
    const KIND: &'static str = "histogram";

    fn samples(&self) -> Vec<Sample> {
        self.series.iter().enumerate().flat_map(|(place, series)| series.samples(&L::at(place))).collect()
    }
}

impl Series {
    fn samples(&self, labels: &[Label]) -> Vec<Sample> {
        let labels: Vec<_> = labels.iter().map(|(name, word)| (*name, (*word).to_owned())).collect();
        let mut seen = 0;
        let mut found = Vec::with_capacity(self.buckets.len() + 2);
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Relaxed);
            let bound = BOUNDS.get(at).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            let labels = [labels.clone(), vec![("le", bound)]].concat();
            found.push(Sample { suffix: "_bucket", labels, value: seen as f64 });
        }
        let sum = Duration::from_micros(self.micros.load(Relaxed)).as_secs_f64();
        found.push(Sample { suffix: "_sum", labels: labels.clone(), value: sum });
        found.push(Sample { suffix: "_count", labels, value: seen as f64 });
        found
    }
}

fn plain<L: Labels>(place: usize, value: f64) -> Sample {
    let labels = L::at(place).into_iter().map(|(name, word)| (name, word.to_owned())).collect();
    Sample { suffix: "", labels, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    words! { enum Colour as "colour" { Red = "red", Blue = "blue", } }
    words! { enum Size as "size" { Small = "small", Large = "large", Huge = "huge", } }

    fn worth(meter: &impl Meter) -> Vec<(String, f64)> {
        let text = |sample: Sample| {
            let labels: Vec<_> = sample.labels.iter().map(|(name, word)| format!("{name}={word}")).collect();
            (format!("{}{}", labels.join(","), sample.suffix), sample.value)
        };
        meter.samples().into_iter().map(text).filter(|(_, value)| *value != 0.0).collect()
    }

    #[test]
    fn every_series_counts_for_itself() {
        let counter = Counter::<(Colour, Size)>::default();
        assert_eq!(counter.samples().len(), 6);
        counter.one((Colour::Red, Size::Huge));
        counter.add((Colour::Blue, Size::Small), 3);
        let counted = [("colour=red,size=huge".to_owned(), 1.0), ("colour=blue,size=small".to_owned(), 3.0)];
        assert_eq!(worth(&counter), counted);
    }

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let gauge = Gauge::<()>::default();
        let held = (gauge.hold(()), gauge.hold(()));
        assert_eq!(worth(&gauge), [(String::new(), 2.0)]);
        drop(held);
        assert_eq!(worth(&gauge), []);
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_everything() {
        let histogram = Histogram::<Colour>::default();
        for millis in [1, 40, 1_000_000] {
            histogram.took(Colour::Blue, Duration::from_millis(millis));
        }
        let at = |bound: &str| {
            let is = |sample: &Sample| {
                sample.labels == [("colour", "blue".to_owned()), ("le", bound.to_owned())] && sample.suffix == "_bucket"
            };
            histogram.samples().into_iter().find(is).map(|sample| sample.value)
        };
        assert_eq!(
            [at("0.0005"), at("0.001"), at("0.05"), at("300"), at("+Inf")].map(Option::unwrap),
            [0.0, 1.0, 2.0, 2.0, 3.0]
        );
        let worth = worth(&histogram);
        assert!(
            worth.contains(&("colour=blue_sum".into(), 1000.041)) && worth.contains(&("colour=blue_count".into(), 3.0))
        );
    }
}
