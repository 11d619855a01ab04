//! How settings spell sizes and durations: `8MiB`, `24h`. A bare number of bytes is accepted, a bare number of time not.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// A duration spelled like `500ms`, `30s`, `24h`, `7d`. For `#[serde(with = "duration")]`.
pub mod duration {
    use std::time::Duration;

    use super::*;

    /// Reads the spelling.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// Writes the spelling.
    pub fn serialize<S: Serializer>(life: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*life))
    }

    /// The duration, or a sentence that says how one is spelled.
    pub(super) fn parse(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text)
            .map_err(|error| format!("{error}: a duration is spelled like 500ms, 30s or 24h"))
    }
}

/// An optional duration. For `#[serde(default, with = "optional_duration")]`.
pub mod optional_duration {
    use std::time::Duration;

    use super::*;

    /// Reads the spelling.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(from)?.as_deref().map(duration::parse).transpose().map_err(D::Error::custom)
    }

    /// Writes the spelling.
    pub fn serialize<S: Serializer>(life: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match life {
            Some(life) => duration::serialize(life, to),
            None => to.serialize_none(),
        }
    }
}
