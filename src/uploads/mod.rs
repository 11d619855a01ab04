//! Service: the one upload core. Knows no protocol.

use std::time::Duration;

use bytesize::ByteSize;

/// Section `uploads` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Largest file. The identity server may set a smaller limit for a user.
    pub max_bytes: Option<ByteSize>,
    /// How long an upload accepts bytes and its completion.
    #[serde(with = "crate::domain::units::duration")]
    pub expires_after: Duration,
    /// From when that time counts.
    pub expires_from: ExpiresFrom,
    /// How long a complete upload is kept; absent: for ever.
    #[serde(with = "crate::domain::units::optional_duration")]
    pub retain_completed: Option<Duration>,
    /// How long a cancelled or expired id still answers 410.
    #[serde(with = "crate::domain::units::duration")]
    pub tombstones: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_bytes: None,
            expires_after: Duration::from_secs(24 * 60 * 60),
            expires_from: ExpiresFrom::Creation,
            retain_completed: None,
            tombstones: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// From when the life of an upload counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiresFrom {
    /// From its creation: what a client was told at first stays true.
    Creation,
    /// From the last bytes that arrived.
    Activity,
}

/// Bytes of a request on their way into an upload.
pub type Body = futures_util::stream::BoxStream<'static, Result<bytes::Bytes, BodyError>>;

/// Why a body ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client went away.
    #[error("the client went away")]
    Disconnected,
    /// The client sent too slowly, or stalled.
    #[error("the client sent too slowly")]
    TooSlow,
    /// What carries the bytes is not well formed; the door says how.
    #[error("malformed body: {0}")]
    Malformed(String),
}
