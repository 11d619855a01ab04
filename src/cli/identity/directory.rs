//! Where the reference identity server finds users and keys: a TOML file, or the one fixed user of the demo.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    auth::{
        identity::{self, Limits, MAX_NAME_BYTES},
        passwords,
    },
    domain::signing,
};

/// Least length of a key that is shown as it is.
const MIN_SHOWN_BYTES: usize = 16;

const DEMO: &str = r#"
[[users]]
id = "demo"
username = "demo"
display_name = "Demo user"
[[users.keys]]
api_key = "demo-key"
secret = "demo-secret"
"#;

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsersFile {
    #[serde(default)]
    users: Vec<WrittenUser>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUser {
    id: String,
    username: String,
    email: Option<String>,
    display_name: Option<String>,
    groups: Option<Vec<String>>,
    #[serde(default)]
    disabled: bool,
    limits: Option<WrittenLimits>,
    /// A PHC string of argon2id.
    password: Option<SecretString>,
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimits {
    max_file_bytes: Option<u64>,
    max_total_bytes: Option<u64>,
    remaining_bytes: Option<u64>,
    max_concurrent_uploads: Option<u64>,
    max_chunk_bytes: Option<u64>,
    requests_per_minute: Option<u64>,
    allowed_content_types: Option<Vec<String>>,
    upload_ttl_seconds: Option<u64>,
}

impl From<WrittenLimits> for Limits {
    fn from(written: WrittenLimits) -> Self {
        Self {
            max_file_bytes: written.max_file_bytes,
            max_total_bytes: written.max_total_bytes,
            remaining_bytes: written.remaining_bytes,
            max_concurrent_uploads: written.max_concurrent_uploads,
            max_chunk_bytes: written.max_chunk_bytes,
            requests_per_minute: written.requests_per_minute,
            allowed_content_types: written.allowed_content_types,
            upload_ttl_seconds: written.upload_ttl_seconds,
        }
    }
}

/// A key of a user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    api_key: SecretString,
    /// With what the key signs; without one it is shown as it is.
    pub(super) secret: Option<SecretString>,
    /// The weakest signature scheme it may sign with: `v1` or `v2`.
    pub(super) min_scheme: Option<String>,
    #[serde(default)]
    pub(super) disabled: bool,
}

/// A user as it is answered.
pub(super) struct User {
    pub(super) profile: identity::User,
    pub(super) disabled: bool,
    pub(super) limits: Option<Limits>,
    /// The hash of the password, if there is one.
    pub(super) password: Option<SecretString>,
}

/// All users of one version of the file.
pub(super) struct Users {
    users: Vec<User>,
    names: HashMap<String, usize>,
    /// Under a hash, so that the time of a search tells nothing of the keys that are there.
    keys: HashMap<[u8; 32], (usize, Key)>,
}

impl Users {
    /// The key of that text, and whose it is.
    pub(super) fn key(&self, api_key: &str) -> Option<(&User, &Key)> {
        self.keys.get(&hash(api_key)).map(|(user, key)| (&self.users[*user], key))
    }

    /// The user of that name.
    pub(super) fn named(&self, username: &str) -> Option<&User> {
        self.names.get(username).map(|user| &self.users[*user])
    }

    /// The user of that id.
    pub(super) fn of_id(&self, id: &str) -> Option<&User> {
        self.users.iter().find(|user| user.profile.id == id)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: UsersFile = toml::from_str(text).map_err(|error| placed(text, &error))?;
        let mut all = Self { users: Vec::new(), names: HashMap::new(), keys: HashMap::new() };
        let (mut ids, mut usernames) = (HashSet::new(), HashSet::new());
        for written in file.users {
            for (what, name, taken) in [("id", &written.id, &mut ids), ("username", &written.username, &mut usernames)]
            {
                if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
                    return Err(format!("{what} {name:?} must be 1 to {MAX_NAME_BYTES} bytes of text"));
                }
                if !taken.insert(name.clone()) {
                    return Err(format!("{what} {name:?} is used twice"));
                }
            }
            all.add(written)?;
        }
        Ok(all)
    }

    fn add(&mut self, written: WrittenUser) -> Result<(), String> {
        let user = self.users.len();
        for key in written.keys {
            if let Some(flaw) = key.flaw() {
                return Err(format!("a key of user {:?} {flaw}", written.id));
            }
            if self.keys.insert(hash(key.api_key.expose_secret()), (user, key)).is_some() {
                return Err(format!("user {:?} has an api_key that is used twice", written.id));
            }
        }
        if written.password.as_ref().is_some_and(|phc| !passwords::is_hash(phc.expose_secret())) {
            return Err(format!("the password of user {:?} is not a hash of argon2id ($argon2id$v=19$…)", written.id));
        }
        self.names.insert(written.username.clone(), user);
        let profile = identity::User {
            id: written.id,
            username: written.username,
            email: written.email.into(),
            display_name: written.display_name.into(),
            groups: written.groups.into(),
            profile_version: None,
        };
        if let Some(flaw) = profile.flaw() {
            return Err(format!("user {:?}: {flaw}", profile.id));
        }
        let limits = written.limits.map(Limits::from);
        self.users.push(User { profile, disabled: written.disabled, limits, password: written.password });
        Ok(())
    }
}

impl Key {
    /// What keeps it from being used, if anything.
    fn flaw(&self) -> Option<&'static str> {
        let api_key = self.api_key.expose_secret();
        match &self.secret {
            _ if !signing::is_api_key(api_key) => Some("has an api_key that is not visible ASCII"),
            Some(secret) if secret.expose_secret().is_empty() => Some("has an empty secret"),
            _ if !matches!(self.min_scheme.as_deref(), None | Some("v1" | "v2")) => {
                Some("has a min_scheme that is neither v1 nor v2")
            }
            None if api_key.len() < MIN_SHOWN_BYTES => {
                Some("has no secret, so its api_key is one: it must be a random text of at least 16 characters")
            }
            _ => None,
        }
    }
}

fn hash(api_key: &str) -> [u8; 32] {
    Sha256::digest(api_key).into()
}

/// The message with its line, without the excerpt that TOML errors carry: that line may hold a secret.
fn placed(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else { return error.message().to_owned() };
    let before = text.get(..span.start).unwrap_or_default();
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {} column {column}: {}", before.matches('\n').count() + 1, error.message())
}

/// Where users and keys come from.
pub struct Directory(Arc<Source>);

struct Source {
    /// The file, if it is one.
    path: Option<PathBuf>,
    read: Mutex<Read>,
}

/// What was read last, and which version of the file was looked at last, good or bad.
struct Read {
    users: Arc<Users>,
    version: Option<Version>,
}

/// Tells versions of a file apart: when it was changed, and its length, for clocks that tick slowly.
type Version = (SystemTime, u64);

impl Directory {
    /// The fixed user of the demo: `demo` with `demo-key` and `demo-secret`. For loopback only.
    pub fn demo() -> Self {
        let users = Arc::new(Users::parse(DEMO).expect("the demo's own users are well-formed"));
        Self(Arc::new(Source { path: None, read: Mutex::new(Read { users, version: None }) }))
    }

    /// The users of a file.
    ///
    /// # Errors
    /// One sentence about what is wrong with the file, and where.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path = path.into();
        let version = version(&path).map_err(|error| sentence(&path, &error.to_string()))?;
        let users = load(&path)?;
        Ok(Self(Arc::new(Source { path: Some(path), read: Mutex::new(Read { users, version: Some(version) }) })))
    }

    /// The users as of now. The file is looked at, and read if it has changed, where waiting for a disk holds up nobody.
    pub(super) async fn current(&self) -> Arc<Users> {
        let source = self.0.clone();
        let look = tokio::task::spawn_blocking(move || source.look());
        look.await.unwrap_or_else(|_| self.0.known().users.clone())
    }
}

impl Source {
    fn known(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A changed file is read again, unless it is broken; then what was good stays.
    fn look(&self) -> Arc<Users> {
        let mut read = self.known();
        if let Some(path) = &self.path {
            refresh(path, &mut read);
        }
        read.users.clone()
    }
}

fn refresh(path: &Path, read: &mut Read) {
    let version = version(path).ok();
    if version == read.version {
        return;
    }
    read.version = version;
    match load(path) {
        Ok(users) => {
            tracing::info!(users.file = %path.display(), "users read again");
            read.users = users;
        }
        Err(error) => tracing::error!(error, "the changed users file is not used; the users read before stay"),
    }
}

fn version(path: &Path) -> std::io::Result<Version> {
    let found = std::fs::metadata(path)?;
    Ok((found.modified()?, found.len()))
}

fn load(path: &Path) -> Result<Arc<Users>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| sentence(path, &error.to_string()))?;
    Users::parse(&text).map(Arc::new).map_err(|error| sentence(path, &error))
}

fn sentence(path: &Path, error: &str) -> String {
    format!("users file {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[users]]
id = "u1"
username = "ann"
groups = ["staff"]
limits = { max_file_bytes = 10 }
password = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$Q2h1bmtnYXRlRHVtbXlTYQ"
[[users.keys]]
api_key = "k1"
secret = "s1"

[[users]]
id = "u2"
username = "bob"
disabled = true
"#;

    fn refusal(text: &str) -> String {
        Users::parse(text).err().unwrap_or_default()
    }

    #[test]
    fn a_whole_file() {
        let users = Users::parse(GOOD).expect("well-formed");
        let (user, key) = users.key("k1").expect("known");
        assert_eq!((user.profile.id.as_str(), key.disabled, key.secret.is_some()), ("u1", false, true));
        assert_eq!(user.limits.as_ref().and_then(|limits| limits.max_file_bytes), Some(10));
        assert!(users.key("k2").is_none() && users.named("bob").is_some_and(|bob| bob.disabled));
        assert!(users.named("ann").is_some_and(|ann| ann.password.is_some()) && users.named("u1").is_none());
        assert!(Users::parse("").is_ok());
    }

    #[test]
    fn refusals_name_the_place_and_no_secret() {
        for (from, to, part) in [
            ("\"u2\"", "\"u1\"", "id \"u1\" is used twice"),
            ("\"bob\"", "\"ann\"", "username \"ann\" is used twice"),
            ("\"bob\"", "\"\"", "username"),
            ("\"k1\"", "\"k 1\"", "api_key"),
            ("\"s1\"", "\"\"", "empty secret"),
            ("secret = \"s1\"", "secret = \"s1\"\nmin_scheme = \"v3\"", "min_scheme"),
            ("secret = \"s1\"", "", "at least 16 characters"),
            ("$argon2id$", "$argon2i$", "password of user \"u1\""),
            ("$Q2h1bmtnYXRlRHVtbXlTYQ", "", "password of user \"u1\""),
            ("disabled = true", "enabled = true", "line 15 column 1: unknown field `enabled`"),
            ("secret = ", "sekret = ", "line 10 column 1: unknown field `sekret`"),
            ("max_file_bytes", "max_bytes", "line 6"),
        ] {
            let why = refusal(&GOOD.replacen(from, to, 1));
            assert!(why.contains(part) && !why.contains("s1\""), "{to}: {why}");
        }
        let twice = format!("{GOOD}[[users.keys]]\napi_key = \"k1\"\nsecret = \"s2\"\n");
        assert!(refusal(&twice).contains("user \"u2\" has an api_key that is used twice"));
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("users.toml");
        std::fs::write(&path, GOOD).expect("a file");
        let directory = Directory::open(&path).expect("well-formed");
        std::fs::write(&path, "[[users]]").expect("a file");
        assert!(directory.0.look().key("k1").is_some());
        std::fs::remove_file(&path).expect("a file");
        assert!(directory.0.look().key("k1").is_some());
        std::fs::write(&path, GOOD.replace("\"k1\"", "\"key-2\"")).expect("a file");
        let users = directory.0.look();
        assert!(users.key("k1").is_none() && users.key("key-2").is_some());
        assert!(Directory::open(dir.path().join("none")).is_err());
    }
}
