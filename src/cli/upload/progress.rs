//! What the user sees while files are on their way: bars on a terminal, a line now and then elsewhere, nothing if quiet.

use std::{
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::{print, uploads::bytes};

/// Without a terminal, a line about progress at most so often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The display of all files.
pub(super) struct Progress {
    bars: MultiProgress,
    quiet: bool,
    lines: bool,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bars = MultiProgress::with_draw_target(match quiet || !terminal {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        });
        Self { bars, quiet, lines: !quiet && !terminal }
    }

    /// The display of one file.
    pub(super) fn file(&self, name: &str, size: u64) -> Meter {
        let bar = ProgressBar::new(size).with_prefix(name.to_owned());
        let shape = "{prefix} [{bar:30}] {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style.progress_chars("=> "));
        }
        let heard = Arc::new(Mutex::new(Instant::now()));
        Meter { bar: self.bars.add(bar), lines: self.lines, heard, told: Arc::new(Mutex::new(Instant::now())) }
    }

    /// A result, to the output stream.
    pub(super) fn print(&self, line: &str) {
        self.bars.suspend(|| print(&format!("{line}\n")));
    }

    /// An error, to the error stream, even if quiet.
    pub(super) fn complain(&self, line: &str) {
        self.bars.suspend(|| eprintln!("{line}"));
    }

    /// News that are no error.
    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            self.complain(line);
        }
    }
}

/// The display of one file. Cheap to clone; clones show the same.
#[derive(Clone)]
pub(super) struct Meter {
    bar: ProgressBar,
    lines: bool,
    heard: Arc<Mutex<Instant>>,
    told: Arc<Mutex<Instant>>,
}

impl Meter {
    /// Bytes went out; the file stands at `at`.
    pub(super) fn at(&self, at: u64) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.bar.set_position(at);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lines && told.elapsed() >= LINE_EVERY {
            *told = Instant::now();
            let size = self.bar.length().unwrap_or_default();
            eprintln!("{}: {} of {}", self.bar.prefix(), bytes(at), bytes(size));
        }
    }

    /// The file stands at `at`, not by sending: after a resume or a loss. Rate and time left are reckoned from here.
    pub(super) fn jump(&self, at: u64) {
        self.at(at);
        self.bar.reset_eta();
    }

    /// How long ago the last bytes went out.
    pub(super) fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// What is being waited for; empty when nothing is.
    pub(super) fn waiting(&self, why: &str) {
        if self.lines && !why.is_empty() {
            eprintln!("{}: {why}", self.bar.prefix());
        }
        self.bar.set_message(why.to_owned());
    }

    /// News worth a line of its own.
    pub(super) fn say(&self, news: &str) {
        let line = format!("{}: {news}", self.bar.prefix());
        if self.lines {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the display of this file away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
