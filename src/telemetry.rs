//! What the service tells its operator: the log, on stderr, and the metrics. Standard output belongs to commands and
//! their results.

pub mod metrics;

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Section `log` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is logged: a level, or a filter like `info,chunkgate::uploads=debug`.
    pub level: String,
    /// How it is written.
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Text }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// An object a line, for machines.
    Json,
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is neither a level nor a filter.
    #[error("log.level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// There is a log already.
    #[error("the log is set up twice")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

impl Settings {
    /// The filter that `level` spells.
    ///
    /// # Errors
    /// [`TelemetryError::Filter`].
    pub fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        Ok(EnvFilter::try_new(&self.level)?)
    }

    /// Sets up the log of the process.
    ///
    /// # Errors
    /// [`TelemetryError`].
    pub fn init(&self) -> Result<(), TelemetryError> {
        let registry = tracing_subscriber::registry().with(self.filter()?);
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
        match self.format {
            Format::Text => registry.with(lines).try_init()?,
            Format::Json => registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let read = |text| toml::from_str::<Settings>(text);
        assert_eq!(read("").ok(), Some(Settings::default()));
        assert_eq!(read("format = \"json\"").map(|it| it.format).ok(), Some(Format::Json));
        assert!(read("colour = true").is_err());
        let level = |level: &str| Settings { level: level.to_owned(), ..Settings::default() }.filter().is_ok();
        assert!(level("info") && level("warn,chunkgate::http=debug"));
        assert!(!level("chunkgate=loud"));
    }
}
