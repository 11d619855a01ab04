//! What can be set: the keys, which of them are secrets, and which belong to features that are not there yet.
//!
//! The keys are read off the settings themselves (a default [`Config`], serialized), so that there is no second list to
//! keep in step.

use serde_json::Value;

use super::{Config, RealmSettings};

/// Keys that hold secrets; each may be given as `KEY_file` instead. Those of `identity` are secrets of every realm.
const SECRETS: [&str; 4] = ["auth.pepper", "database.url", "identity.events_token", "identity.token"];

/// Sections and keys of planned features. Refused rather than ignored: who sets `server.tls` relies on it.
const PLANNED: [&str; 7] = ["hooks", "rufh", "server.tls", "storage.azure", "storage.gcs", "storage.s3", "webhooks"];

/// Values of planned features, for keys that exist.
const PLANNED_VALUES: [(&str, &[&str]); 2] =
    [("auth.methods", &["upload_token"]), ("storage.kind", &["s3", "gcs", "azure"])];

/// Every leaf of the configuration with its value; a section's own keys before its subsections. What is not set is
/// null.
pub(super) fn leaves(config: &Config) -> Vec<(String, Value)> {
    let mut found = leaves_of(config);
    found.retain(|(key, _)| realm_table(key).is_none_or(|(_, below)| below != NAMED_BY_TABLE));
    found
}

fn leaves_of(settings: &impl serde::Serialize) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    if let Ok(tree) = serde_json::to_value(settings) {
        descend(String::new(), tree, &mut found);
    }
    found
}

/// What a realm's own table already says.
const NAMED_BY_TABLE: &str = "identity.realm";

/// Of a key below a realm: the realm's table, and the key within it.
pub(super) fn realm_table(key: &str) -> Option<(&str, &str)> {
    let name = key.strip_prefix("realms.")?;
    let end = key.len() - name.len() + name.find('.').unwrap_or(name.len());
    Some((&key[..end], key[end..].trim_start_matches('.')))
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
    /// Within the table of any realm.
    realm_keys: Vec<String>,
}

/// What a name in a file or a variable stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A key.
    Key,
    /// `KEY_file` of the secret of that name.
    SecretFile(String),
    /// A section.
    Section,
    /// A feature that this version does not have.
    Planned,
    /// What is said elsewhere, for this reason.
    Elsewhere(&'static str),
    /// Nothing; perhaps this key was meant.
    Unknown(Option<String>),
}

impl Schema {
    pub(super) fn new() -> Self {
        let keys = |leaves: Vec<(String, Value)>| leaves.into_iter().map(|(key, _)| key).filter(|key| key != "realms");
        let realm_keys = keys(leaves_of(&RealmSettings::default())).filter(|key| key != NAMED_BY_TABLE).collect();
        Self { keys: keys(leaves(&Config::default())).collect(), realm_keys }
    }

    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    pub(super) fn resolve(&self, name: &str) -> Named {
        match realm_table(name) {
            _ if name == "realms" => Named::Section,
            Some((_, "")) => Named::Section,
            Some((_, NAMED_BY_TABLE)) => Named::Elsewhere("is the name of the realm's table already: remove it"),
            Some((table, below)) => within(table, resolve(&self.realm_keys, below)),
            None => resolve(&self.keys, name),
        }
    }
}

fn resolve(keys: &[String], name: &str) -> Named {
    if keys.iter().any(|key| key == name) {
        return Named::Key;
    }
    if let Some(secret) = name.strip_suffix("_file").and_then(secret).filter(|secret| keys.contains(secret)) {
        return Named::SecretFile(secret);
    }
    if keys.iter().any(|key| is_below(key, name)) {
        return Named::Section;
    }
    if PLANNED.iter().any(|planned| *planned == name || is_below(name, planned)) {
        return Named::Planned;
    }
    Named::Unknown(suggestion(keys, name))
}

/// The same, with the table before the names in it.
fn within(table: &str, named: Named) -> Named {
    match named {
        Named::SecretFile(secret) => Named::SecretFile(join(table, &secret)),
        Named::Unknown(Some(meant)) => Named::Unknown(Some(join(table, &meant))),
        named => named,
    }
}

/// The key or section that looks most like `name`, if one looks like it at all.
fn suggestion(keys: &[String], name: &str) -> Option<String> {
    let sections = keys.iter().filter_map(|key| key.rsplit_once('.')).map(|(section, _)| section.to_owned());
    let files = SECRETS.iter().filter(|secret| keys.iter().any(|key| key == *secret));
    let files = files.map(|secret| format!("{secret}_file"));
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    keys.iter()
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

/// The secret of that name.
pub(super) fn secret(name: &str) -> Option<String> {
    let below = realm_table(name).map_or(name, |(_, below)| below);
    SECRETS.contains(&below).then(|| name.to_owned())
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
