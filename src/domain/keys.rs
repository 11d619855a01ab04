//! API keys: what their text looks like, and what is kept of it.
//!
//! `cg_<id>_<secret>_<checksum>`, all in lower-case hexadecimal: 64 bits that name the key, 256 random bits that nobody
//! can guess, and 32 bits of checksum. The checksum proves nothing; it lets a mistyped or made-up key be refused without
//! asking the database, and secret scanners tell a key from noise. The database keeps the id, and an HMAC of the text
//! under a pepper that is not in the database: whoever reads it there can neither use it nor try it.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{NotAnId, hex, unhex};

/// With what the text of a key begins.
pub const PREFIX: &str = "cg_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;
/// Least length of a pepper, in bytes.
pub const MIN_PEPPER_BYTES: usize = 16;

/// Names an API key. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_DIGITS / 2]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// With or without the `cg_` that stands before it in the key.
impl FromStr for KeyId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = text.strip_prefix(PREFIX).unwrap_or(text);
        digits_of(digits, ID_DIGITS).and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(NotAnId)
    }
}

/// The text of an API key, its form and checksum right. Never printed but by [`ApiKey::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: KeyId,
    text: String,
}

/// The id only.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ApiKey {
    /// A key of these random bytes.
    pub fn new(id: [u8; ID_DIGITS / 2], secret: [u8; SECRET_DIGITS / 2]) -> Self {
        let body = format!("{PREFIX}{}_{}", hex(&id), hex(&secret));
        let text = format!("{body}_{}", checksum(&body));
        Self { id: KeyId(id), text }
    }

    /// Reads a key. `None`: it is none of ours, whatever the database holds.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, sum) = text.rsplit_once('_')?;
        let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
        let id = digits_of(id, ID_DIGITS)?.try_into().ok().map(KeyId)?;
        digits_of(secret, SECRET_DIGITS)?;
        (sum == checksum(body)).then(|| Self { id, text: text.to_owned() })
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key itself, for the one who is to use it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    pub fn hash(&self, pepper: &[u8]) -> KeyHash {
        let mac = Hmac::<Sha256>::new_from_slice(pepper).expect("HMAC takes a key of any length");
        KeyHash(mac.chain_update(self.text.as_bytes()).finalize().into_bytes().into())
    }
}

/// What is kept of an API key.
#[derive(Debug, Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// In constant time.
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for KeyHash {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        unhex(text).and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(NotAnId)
    }
}

/// Exactly so many lower-case hexadecimal digits: one key has one spelling.
fn digits_of(text: &str, digits: usize) -> Option<Vec<u8>> {
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(lower)).then(|| unhex(text)).flatten()
}

fn checksum(body: &str) -> String {
    hex(&Sha256::digest(body.as_bytes())[..CHECKSUM_DIGITS / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_known_key() {
        let key = ApiKey::new([1; 8], [2; 32]);
        let body = format!("cg_{}_{}", "01".repeat(8), "02".repeat(32));
        // printf %s "$body" | sha256sum
        assert!(key.reveal().starts_with(&body) && key.reveal().len() == body.len() + 9);
        assert_eq!(key.id().to_string().parse(), Ok(key.id()));
        assert_eq!(format!("cg_{}", key.id()).parse(), Ok(key.id()));
        assert!(!format!("{key:?}").contains("0202"));
    }

    #[test]
    fn what_is_no_key() {
        for text in ["", "cg_", "cg___", "demo-key", "cg_01_02_03", "é_é_é_é"] {
            assert_eq!(ApiKey::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(id: [u8; 8], secret: [u8; 32]) {
            let key = ApiKey::new(id, secret);
            prop_assert_eq!(ApiKey::parse(key.reveal()), Some(key.clone()));
            let hash = key.hash(b"pepper");
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            prop_assert!(hash != key.hash(b"salt"));
        }

        #[test]
        fn any_changed_character_is_refused(id: [u8; 8], secret: [u8; 32], at: prop::sample::Index, to in "[ -~]") {
            let key = ApiKey::new(id, secret);
            let mut text = key.reveal().to_owned();
            let at = at.index(text.len());
            text.replace_range(at..=at, &to);
            prop_assert_eq!(ApiKey::parse(&text).is_some(), text == key.reveal());
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,120}", shaped in "cg_[0-9a-f]{0,20}_[0-9a-f]{0,70}_[0-9a-f]{0,10}") {
            let _ = (ApiKey::parse(&text), text.parse::<KeyId>(), text.parse::<KeyHash>());
            prop_assert_eq!(ApiKey::parse(&shaped), None);
        }
    }
}
