//! The layers: each is read into leaves (key, value, origin); each leaf is judged alone, so that every wrong one is
//! reported with its own place; the right ones are laid over each other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    Config, Origin, Problem, Sources,
    schema::{Named, Schema, join, planned_value, realm_table, secret},
};

/// What every variable of ours begins with.
const PREFIX: &str = "CHUNKGATE_";

/// What the layers amount to.
pub(super) struct Gathered {
    pub(super) config: Config,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) problems: Vec<Problem>,
}

/// One value as it was given.
struct Leaf {
    key: String,
    given: Given,
    origin: Origin,
}

/// How it was given.
enum Given {
    /// With a type.
    Typed(toml::Value),
    /// As text; the setting decides what it means.
    Text(String),
}

/// Reads every layer.
pub(super) fn gather(sources: &Sources) -> Gathered {
    let mut pile = Pile { schema: Schema::new(), values: BTreeMap::new(), problems: Vec::new() };
    let text = |key: &str, value: &str, origin| Leaf { key: key.into(), given: Given::Text(value.into()), origin };
    pile.lay(sources.defaults.iter().map(|(key, value)| text(key, value, Origin::Builtin)).collect());
    let leaves = pile.read_file(sources);
    pile.lay(leaves);
    let leaves = pile.read_environment(sources);
    pile.lay(leaves);
    pile.lay(sources.flags.iter().map(|flag| text(&flag.key, &flag.value, Origin::Flag(flag.flag))).collect());
    pile.finish()
}

/// The layers so far.
struct Pile {
    schema: Schema,
    values: BTreeMap<String, (toml::Value, Origin)>,
    problems: Vec<Problem>,
}

impl Pile {
    fn problem(&mut self, origin: Origin, key: impl Into<String>, reason: impl Into<String>) {
        self.problems.push(Problem { origin, key: key.into(), reason: reason.into() });
    }

    /// Lays one layer over those before it. A secret and its file in one layer contradict each other; in different
    /// layers the later wins, as with every key.
    fn lay(&mut self, leaves: Vec<Leaf>) {
        let mut given: Vec<String> = Vec::new();
        for leaf in &leaves {
            let Some(secret) = secret(leaf.key.strip_suffix("_file").unwrap_or(&leaf.key)) else { continue };
            if given.contains(&secret) {
                let reason = format!("{secret} and {secret}_file are both given: keep one of them");
                self.problem(leaf.origin.clone(), &leaf.key, reason);
            }
            given.push(secret);
        }
        for leaf in leaves {
            self.put(leaf);
        }
    }

    fn put(&mut self, leaf: Leaf) {
        let Leaf { key, given, origin } = leaf;
        let settled = match self.schema.resolve(&key) {
            Named::Key => fit(&key, given).map(|value| (key.clone(), value)),
            Named::SecretFile(secret) => read_secret(given).map(|value| (secret, value)),
            Named::Section => Err(format!("is a section: its keys are written as {key}.KEY")),
            Named::Elsewhere(reason) => Err(reason.to_owned()),
            Named::Planned => Err("is not available in this version: remove it".to_owned()),
            Named::Unknown(Some(meant)) => Err(format!("unknown key; did you mean {}?", spelled_for(&origin, &meant))),
            Named::Unknown(None) => Err("unknown key; `chunkgate config example` lists every key".to_owned()),
        };
        match settled {
            Ok((key, value)) => drop(self.values.insert(key, (value, origin))),
            Err(reason) => self.problem(origin, key, reason),
        }
    }

    fn read_file(&mut self, sources: &Sources) -> Vec<Leaf> {
        let variable = || sources.environment.iter().find(|(name, _)| name == "CHUNKGATE_CONFIG");
        let named = variable().map(|(_, value)| value).filter(|value| !value.is_empty()).map(PathBuf::from);
        let Some(path) = sources.file.clone().or(named) else { return Vec::new() };
        let place = |text: &str, at: usize| place(&path, text, at);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                self.problem(place("", 0), "", format!("cannot be read: {error}"));
                return Vec::new();
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            self.problem(place(&text, at), "", format!("is not TOML: {}", error.message().replace('\n', ", ")));
        }
        let mut leaves = Vec::new();
        self.descend("", table.get_ref(), &|at| place(&text, at), &mut leaves);
        leaves
    }

    /// Collects the leaves of a table; what is no section of ours is one leaf, reported once.
    fn descend(&self, path: &str, table: &DeTable<'_>, place: &dyn Fn(usize) -> Origin, leaves: &mut Vec<Leaf>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let key = join(path, name.get_ref());
            match value.get_ref() {
                DeValue::Table(below) if self.is_section(&key, below) => {
                    self.descend(&key, below, place, leaves);
                }
                _ => {
                    let given = Given::Typed(typed(value));
                    leaves.push(Leaf { key, given, origin: place(name.span().start) });
                }
            }
        }
    }

    /// A realm with nothing in it would be lost: it is reported like a value that stands for a section.
    fn is_section(&self, key: &str, table: &DeTable<'_>) -> bool {
        let lost = table.is_empty() && realm_table(key).is_some_and(|(_, below)| below.is_empty());
        self.schema.resolve(key) == Named::Section && !lost
    }

    /// Variables `CHUNKGATE_SECTION__KEY`. Others that begin with `CHUNKGATE_` are not settings: the client's
    /// credentials, and what Kubernetes makes up for a service of that name (`CHUNKGATE_PORT_8080_TCP`). An empty
    /// variable counts as absent, because compose files cannot leave one out.
    fn read_environment(&mut self, sources: &Sources) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        for (name, value) in &sources.environment {
            let Some(rest) = name.strip_prefix(PREFIX).filter(|_| !value.is_empty()) else { continue };
            let origin = Origin::Variable(name.clone());
            let key = rest.to_lowercase();
            if key.starts_with("realms__") {
                self.problem(origin, "", "realms are set in the file alone: remove this variable");
            } else if key.contains("__") {
                let key = key.replace("__", ".");
                leaves.push(Leaf { key, given: Given::Text(value.clone()), origin });
            } else if let Some(meant) = self.schema.keys().iter().find(|meant| meant.replace('.', "_") == key) {
                let reason = format!("sections end with two underscores: {}", variable_of(meant));
                self.problem(origin, "", reason);
            }
        }
        leaves.sort_by(|a, b| a.key.cmp(&b.key));
        leaves
    }

    fn finish(mut self) -> Gathered {
        let tree = self.values.iter().fold(toml::Table::new(), |mut tree, (key, (value, _))| {
            nest(&mut tree, key, value.clone());
            tree
        });
        let config = Config::deserialize(toml::Value::Table(tree)).unwrap_or_else(|error| {
            self.problem(Origin::Builtin, "", error.message().to_owned());
            Config::default()
        });
        let origins = self.values.into_iter().map(|(key, (_, origin))| (key, origin)).collect();
        Gathered { config, origins, problems: self.problems }
    }
}

/// The value, if the setting accepts it. Text is taken as a string where a string is wanted, else in TOML's spelling.
fn fit(key: &str, given: Given) -> Result<toml::Value, String> {
    match given {
        Given::Typed(value) => accepted(key, value),
        Given::Text(text) => accepted(key, toml::Value::String(text.clone())).or_else(|as_string| {
            match format!("v = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("v")) {
                Some(value) => accepted(key, value),
                None => Err(as_string),
            }
        }),
    }
}

/// Tries the value alone in an otherwise default configuration: whatever fails is this key's fault.
fn accepted(key: &str, value: toml::Value) -> Result<toml::Value, String> {
    if let Some(word) = planned_value(key, &value) {
        return Err(format!("`{word}` is not available in this version"));
    }
    let mut tree = toml::Table::new();
    nest(&mut tree, key, value.clone());
    match Config::deserialize(toml::Value::Table(tree)) {
        Ok(_) => Ok(value),
        Err(_) if secret(key).is_some() => Err("must be a string".to_owned()),
        Err(error) => Err(error.message().replace('\n', ", ")),
    }
}

fn read_secret(given: Given) -> Result<toml::Value, String> {
    let path = match given {
        Given::Typed(toml::Value::String(path)) | Given::Text(path) => path,
        Given::Typed(_) => return Err("must be the path of a file".to_owned()),
    };
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    match text.trim() {
        "" => Err(format!("{path} is empty")),
        text => Ok(toml::Value::String(text.to_owned())),
    }
}

fn nest(tree: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => drop(tree.insert(key.to_owned(), value)),
        Some((section, rest)) => {
            let below = tree.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(below) = below {
                nest(below, rest, value);
            }
        }
    }
}

fn typed(value: &Spanned<DeValue<'_>>) -> toml::Value {
    let from = ValueDeserializer::from(value.clone());
    toml::Value::deserialize(from).unwrap_or_else(|_| toml::Value::String(String::new()))
}

fn place(path: &Path, text: &str, at: usize) -> Origin {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Origin::File { path: path.to_owned(), line, column }
}

/// A key as it is spelled where the user wrote.
fn spelled_for(origin: &Origin, key: &str) -> String {
    match origin {
        Origin::Variable(_) => variable_of(key),
        _ => key.to_owned(),
    }
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}
