//! The signature scheme of the clients, version 2: a profile of HTTP Message Signatures (RFC 9421).
//!
//! A client signs with a library it already has; what the profile adds is what such a library leaves open (RFC 9421
//! §1.4): the tag is [`TAG`], the algorithm [`ALGORITHM`], `keyid` the api_key, and *we* own the list of what must be
//! covered ([`demanded`]). A signature that covers less is refused and never trimmed to what it does cover; one that
//! covers more of the request is fine. The service only rebuilds the [signature base](Signed::base); who holds the secret
//! verifies it. The command line client and the reference identity server use [`sign`] and [`verify`].
//!
//! Deliberately absent, and refused where a signature asks for it: parameters of a component (`sf`, `key`, `bs`, `tr`,
//! `req`, `name`), so that a field is covered whole and as it came; `@query-param`, because `@query` covers them all, and
//! `@status`, which a request does not have; any other algorithm; parameters of the signature that nobody here
//! understands, which may be meant as a restriction. Obsolete line folding never gets past the server.
//!
//! Written here, and not taken from the crate `httpsig` (0.0.26), for two reasons. That crate prints the parameters of a
//! signature in an order of its own, and drops those it does not know, before it verifies; RFC 9421 §2.3 has them in the
//! signer's order, and the usual libraries of other languages differ in it. And it brings thirty crates of elliptic
//! curves for algorithms that are refused here. Structured fields (RFC 8941) are parsed and printed by `sfv`.

mod base;
mod input;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::Mac as _;
use sfv::{FieldType as _, InnerList, Item, ListEntry};

pub use base::{Message, demanded};

use super::{Timestamp, signing};

/// The tag of our signatures; others in the same request are somebody else's.
pub const TAG: &str = "chunkgate";
/// The one algorithm, and what a signature means that does not name one: which algorithm a key is for follows from the
/// key (RFC 9421 §3.2, step 6), and ours are all for this one.
pub const ALGORITHM: &str = "hmac-sha256";
/// Accepted lengths of a nonce, in bytes.
pub const NONCE_BYTES: std::ops::RangeInclusive<usize> = 8..=128;
/// Longest signature base that is rebuilt, in bytes.
pub const MAX_BASE_BYTES: usize = 16 * 1024;
/// Most components of a signature.
pub const MAX_COMPONENTS: usize = 64;

/// Why a signature is not one of this profile. No message repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It does not have the required form, or does not cover what it must.
    #[error("{0}")]
    Malformed(String),
    /// Several could be meant.
    #[error("{0}")]
    Ambiguous(String),
}

fn malformed<T>(why: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw::Malformed(why.into()))
}

/// What is demanded of a signature besides what always is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demands {
    /// Whether a request with a body must carry `Content-Digest`, and so have it covered.
    pub content_digest: bool,
}

/// A signature of the profile, not verified, with what it is said to sign.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// Names the key: the api_key.
    pub keyid: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by its maker's will, if that is said.
    pub expires: Option<Timestamp>,
    /// Told once, if it may be used once.
    pub nonce: Option<String>,
    /// The signature itself: 32 bytes.
    pub value: Vec<u8>,
    /// What it must have signed: rebuilt from the request, never taken from the client.
    pub base: String,
}

/// The times only: the rest is good for somebody else while its window is open.
impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("created", &self.created).field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Signed {
    /// The signature as text: base64, as it stands in the field.
    pub fn value_text(&self) -> String {
        BASE64.encode(&self.value)
    }
}

/// Reads the one signature of the profile from the fields `Signature-Input` and `Signature`, and rebuilds what it signs.
///
/// # Errors
/// The first [`Flaw`] found.
pub fn read(message: &Message<'_>, input: &str, signature: &str, demands: Demands) -> Result<Signed, Flaw> {
    let (label, list) = input::ours(input)?;
    let parameters = input::parameters(&list)?;
    let components = input::components(&list)?;
    covers(&components, message, demands)?;
    Ok(Signed {
        keyid: parameters.keyid,
        created: parameters.created,
        expires: parameters.expires,
        nonce: parameters.nonce,
        value: input::value(signature, &label)?,
        base: base::base(message, &list, &components)?,
    })
}

fn covers(components: &[&str], message: &Message<'_>, demands: Demands) -> Result<(), Flaw> {
    let missing: Vec<_> =
        demanded(message, demands).into_iter().filter(|needed| !components.contains(needed)).collect();
    if !missing.is_empty() {
        return malformed(format!("the signature does not cover {}", missing.join(", ")));
    }
    match demands.content_digest && !message.is_digested() {
        true => malformed("Content-Digest must name a sha-256 or sha-512"),
        false => Ok(()),
    }
}

/// What a client chooses when it signs.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Names the key.
    pub keyid: String,
    /// When it is made; whole seconds are signed.
    pub created: Timestamp,
    /// Told once.
    pub nonce: Option<String>,
    /// Fields to cover besides those that must be.
    pub more: Vec<String>,
}

/// Signs as a client does: covers what is demanded, and [`Terms::more`]. Returns the values of `Signature-Input` and
/// `Signature`.
///
/// # Errors
/// What cannot be signed.
pub fn sign(secret: &[u8], message: &Message<'_>, terms: &Terms) -> Result<(String, String), Flaw> {
    let mut components = demanded(message, Demands::default());
    for more in terms.more.iter().map(String::as_str) {
        if !components.contains(&more) {
            components.push(more);
        }
    }
    let list = input::written(&components, terms)?;
    let base = base::base(message, &list, &input::components(&list)?)?;
    let value = mac(secret, &base).finalize().into_bytes().to_vec();
    let field = |entry: ListEntry| {
        let label = sfv::KeyRef::from_str(TAG).map(sfv::KeyRef::to_owned).ok()?;
        sfv::Dictionary::from_iter([(label, entry)]).serialize()
    };
    let fields = (field(list.into()), field(Item::new(value).into()));
    fields.0.zip(fields.1).ok_or_else(|| Flaw::Malformed("the signature cannot be written".into()))
}

/// Verifies in constant time.
pub fn verify(secret: &[u8], base: &str, value: &[u8]) -> bool {
    mac(secret, base).verify_slice(value).is_ok()
}

/// As [`verify`], for a signature in base64.
pub fn verify_text(secret: &[u8], base: &str, value: &str) -> bool {
    BASE64.decode(value).is_ok_and(|value| verify(secret, base, &value))
}

fn mac(secret: &[u8], base: &str) -> signing::HmacSha256 {
    signing::mac(secret, base)
}

/// The parameters as they stand in the base: the signer's, in the signer's order (RFC 9421 §2.5).
fn serialized(list: &InnerList) -> Result<String, Flaw> {
    let list = vec![ListEntry::InnerList(list.clone())];
    list.serialize().ok_or_else(|| Flaw::Malformed("Signature-Input is empty".into()))
}
