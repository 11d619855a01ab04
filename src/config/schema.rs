//! What can be set: the keys, which of them are secrets, and which belong to features that are not there yet.
//!
//! The keys are read off the settings themselves (a default [`Config`], serialized), so that there is no second list to
//! keep in step.

use serde_json::Value;

use super::Config;

/// Keys that hold secrets; each may be given as `KEY_file` instead.
pub(super) const SECRETS: [&str; 4] = ["auth.pepper", "database.url", "identity.events_token", "identity.token"];

/// Sections and keys of planned features. Refused rather than ignored: who sets `server.tls` relies on it.
const PLANNED: [&str; 8] =
    ["hooks", "rufh", "server.trusted_proxies", "server.tls", "storage.azure", "storage.gcs", "storage.s3", "webhooks"];

/// Values of planned features, for keys that exist.
const PLANNED_VALUES: [(&str, &[&str]); 2] =
    [("auth.methods", &["upload_token"]), ("storage.kind", &["s3", "gcs", "azure"])];

/// Every leaf of the configuration with its value; a section's own keys before its subsections. What is not set is
/// null.
pub(super) fn leaves(config: &Config) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    if let Ok(tree) = serde_json::to_value(config) {
        descend(String::new(), tree, &mut found);
    }
    found
}

fn descend(path: String, value: Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(table) => {
            let (tables, plain): (Vec<_>, Vec<_>) = table.into_iter().partition(|(_, value)| value.is_object());
            for (name, value) in plain.into_iter().chain(tables) {
                descend(join(&path, &name), value, found);
            }
        }
        leaf => found.push((path, leaf)),
    }
}

/// `section.key`, or the key alone at the top.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A JSON value in TOML's spelling.
pub(super) fn toml_text(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}

/// The keys that exist.
pub(super) struct Schema {
    keys: Vec<String>,
}

/// What a name in a file or a variable stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A key.
    Key,
    /// `KEY_file` of the secret of that name.
    SecretFile(&'static str),
    /// A section.
    Section,
    /// A feature that this version does not have.
    Planned,
    /// Nothing; perhaps this key was meant.
    Unknown(Option<String>),
}

impl Schema {
    pub(super) fn new() -> Self {
        Self { keys: leaves(&Config::default()).into_iter().map(|(key, _)| key).collect() }
    }

    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    pub(super) fn resolve(&self, name: &str) -> Named {
        if self.keys.iter().any(|key| key == name) {
            return Named::Key;
        }
        if let Some(secret) = name.strip_suffix("_file").and_then(secret) {
            return Named::SecretFile(secret);
        }
        if self.keys.iter().any(|key| is_below(key, name)) {
            return Named::Section;
        }
        if PLANNED.iter().any(|planned| *planned == name || is_below(name, planned)) {
            return Named::Planned;
        }
        Named::Unknown(self.suggestion(name))
    }

    /// The key or section that looks most like `name`, if one looks like it at all.
    fn suggestion(&self, name: &str) -> Option<String> {
        let sections = self.keys.iter().filter_map(|key| key.rsplit_once('.')).map(|(section, _)| section.to_owned());
        let files = SECRETS.iter().map(|secret| format!("{secret}_file"));
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        self.keys
            .iter()
            .cloned()
            .chain(sections)
            .chain(files)
            .map(|key| {
                let moved = if last(&key) == last(name) { 0.86 } else { 0.0 };
                (strsim::jaro_winkler(&key, name).max(moved), key)
            })
            .filter(|(likeness, _)| *likeness > 0.85)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, key)| key)
    }
}

/// The secret of that name.
pub(super) fn secret(name: &str) -> Option<&'static str> {
    SECRETS.into_iter().find(|secret| *secret == name)
}

/// The first planned word in a value, if the key has such.
pub(super) fn planned_value(key: &str, value: &toml::Value) -> Option<String> {
    let (_, planned) = PLANNED_VALUES.iter().find(|(of, _)| *of == key)?;
    let words: Vec<&str> = match value {
        toml::Value::Array(items) => items.iter().filter_map(toml::Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    };
    words.into_iter().find(|word| planned.contains(word)).map(str::to_owned)
}

fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}
