//! What the service says about itself.

/// Section `log` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is logged: a level, or directives like `info,chunkgate=debug`.
    pub level: String,
    /// How a line is written.
    pub format: Format,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Text }
    }
}
