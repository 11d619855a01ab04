//! The configuration: gathers each part's settings from defaults, a TOML file, the environment and flags.
//!
//! Later layers win, key by key: built-in defaults, the file (`--config`, else `CHUNKGATE_CONFIG`; never one that merely
//! lies in the current folder), variables `CHUNKGATE_SECTION__KEY`, flags. Nothing is ignored: an unknown key is an
//! error with its place and the key that was probably meant, and so is a key whose feature this version does not have.
//! All problems are reported at once. Secrets may be given as `…_file`, and are never printed.
//!
//! Each part receives its own section and nobody the whole; nothing below this floor reads the environment.

mod layers;
mod realms;
mod rules;
mod schema;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::realms::{RealmSettings, of_realm};
use crate::{auth, content, db, http, telemetry, uploads};

/// The commented example: every key with its default.
pub const EXAMPLE: &str = include_str!("../assets/chunkgate.example.toml");

/// Everything that can be set, part by part.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listener and connections.
    pub server: http::Settings,
    /// Where facts live.
    pub database: db::Settings,
    /// Where bytes live.
    pub storage: StorageSettings,
    /// Life and limits of uploads.
    pub uploads: uploads::Settings,
    /// The gate.
    pub auth: auth::Settings,
    /// The identity server.
    pub identity: auth::identity::Settings,
    /// Realms beside the default one, by their names.
    pub realms: BTreeMap<String, RealmSettings>,
    /// The operators' console.
    pub admin: http::admin::Settings,
    /// Pages of other origins.
    pub cors: http::cors::Settings,
    /// The multipart door.
    pub multipart: http::multipart::Settings,
    /// The raw door.
    pub raw: http::raw::Settings,
    /// The tus door.
    pub tus: http::tus::Settings,
    /// The metrics.
    pub metrics: http::metrics::Settings,
    /// The log.
    pub log: telemetry::Settings,
}

/// Section `storage` of the configuration.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSettings {
    /// Which content store is used.
    pub kind: StorageKind,
    /// About files below a folder.
    pub local: content::local::Settings,
}

/// A kind of content store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    /// Files below a folder.
    #[default]
    Local,
}

/// Where settings come from, besides the built-in defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Values that replace built-in defaults and yield to everything else, as key and value.
    pub defaults: Vec<(String, String)>,
    /// The file that a flag names. Without one, the variable `CHUNKGATE_CONFIG` may name it.
    pub file: Option<PathBuf>,
    /// The environment. Only what begins with `CHUNKGATE_` is looked at.
    pub environment: Vec<(String, String)>,
    /// Flags of the command line.
    pub flags: Vec<FlagValue>,
}

impl Sources {
    /// The given file and the environment of this process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment, ..Self::default() }
    }

    /// Adds a flag's value for a key, if the flag was given.
    pub fn flag(&mut self, flag: &'static str, key: &str, value: Option<impl ToString>) {
        self.flags.extend(value.map(|value| FlagValue { flag, key: key.to_owned(), value: value.to_string() }));
    }
}

/// A setting given on the command line.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// The flag as typed, `--listen`.
    pub flag: &'static str,
    /// The key it sets, `server.listen`.
    pub key: String,
    /// The value as typed.
    pub value: String,
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: a default of the program or of its command.
    Builtin,
    /// In a file; line and column count from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// In an environment variable of that name.
    Variable(String),
    /// In a flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong: where, which key, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value was given.
    pub origin: Origin,
    /// The key; empty if the file as a whole is meant.
    pub key: String,
    /// Why, and what to do.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.reason),
            key => write!(f, "{}: {key}: {}", self.origin, self.reason),
        }
    }
}

/// Everything that is wrong with a configuration; at least one problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The problems, in the order of the layers.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(f, "the configuration is not valid: {problem}"),
            problems => {
                write!(f, "the configuration has {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// A valid configuration that remembers where each value was given.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

/// Reads all layers and judges the result.
///
/// # Errors
/// Every problem that was found, not only the first.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let layers::Gathered { config, origins, mut problems } = layers::gather(sources);
    let problem = |(key, reason): (String, String)| Problem { origin: origin_of(&origins, &key), key, reason };
    problems.extend(rules::check(&config).into_iter().map(problem));
    if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(ConfigError { problems }) }
}

/// Where a key was given, or the first one of the section that it names.
fn origin_of(origins: &BTreeMap<String, Origin>, key: &str) -> Origin {
    let below = format!("{key}.");
    let within = origins.range(below.clone()..).next().filter(|(first, _)| first.starts_with(&below));
    origins.get(key).or(within.map(|(_, origin)| origin)).cloned().unwrap_or(Origin::Builtin)
}

impl Loaded {
    /// Where the value of a key was given.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Builtin)
    }

    /// The effective settings as TOML with secrets hidden; what is not a default says where it was given.
    pub fn show(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        let leaves = schema::leaves(&self.config);
        for (key, value) in &leaves {
            let (parent, name) = key.rsplit_once('.').unwrap_or(("", key));
            if parent != section {
                let gap = if text.is_empty() { "" } else { "\n" };
                text += &format!("{gap}[{parent}]\n");
                section = parent;
            }
            text += &match value {
                serde_json::Value::Null => format!("# {name} is not set"),
                value => format!("{name} = {}", schema::toml_text(value)),
            };
            match self.origin(key) {
                Origin::Builtin => {}
                origin => text += &format!("  # {origin}"),
            }
            text.push('\n');
        }
        text
    }
}
