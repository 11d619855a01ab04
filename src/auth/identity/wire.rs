//! Question and answer, version 1, as they stand on the wire. Client and reference server share them.
//!
//! Fields that are not known are ignored, so that either side may learn new ones; values that are not known are not
//! (a status nobody understands is no answer).

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::domain::{
    Timestamp, limits,
    profile::{Told, Version},
};

/// The version both sides speak.
pub const VERSION: &str = "1";
/// Longest id or name of a user, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// Most groups of a user.
pub const MAX_GROUPS: usize = 200;

/// `POST {base}/v1/verify`: is this proof right, and whose is it?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// [`VERSION`].
    pub version: String,
    /// Names the question; the answer repeats it.
    pub request_id: String,
    /// Under which name the service files this identity server's users.
    #[serde(default)]
    pub realm: String,
    /// For whom the proof is checked.
    #[serde(default)]
    pub audience: String,
    /// Who asks.
    #[serde(default)]
    pub service: Service,
    /// The proof.
    pub credential: Proof,
    /// The request that presented it, for policy and audit.
    #[serde(default)]
    pub request: Request,
    /// Parts of the answer that the service uses.
    #[serde(default)]
    pub want: Vec<String>,
}

/// `POST {base}/v1/introspect`: may this user still act? The answer is the same as to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introspection {
    /// [`VERSION`].
    pub version: String,
    /// Names the question; the answer repeats it.
    pub request_id: String,
    /// Under which name the service files this identity server's users.
    #[serde(default)]
    pub realm: String,
    /// Which service the user would act at.
    #[serde(default)]
    pub audience: String,
    /// Who asks.
    #[serde(default)]
    pub service: Service,
    /// The user, by the identity server's id.
    pub user_id: String,
}

/// The service that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Which process of it asks.
    pub node: String,
}

/// A proof to check.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Proof {
    /// A signed timestamp.
    Signature {
        /// Which scheme: `v1` or `v2`.
        scheme: String,
        /// Names the key.
        #[serde(default)]
        api_key: String,
        /// The timestamp exactly as the client sent it; of v2, when the signature was made, in unix seconds.
        #[serde(default)]
        timestamp: String,
        /// The signature exactly as the client sent it; of v2, in base64.
        #[serde(default)]
        signature: String,
        /// How v2 signs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        algorithm: Option<String>,
        /// What a v2 signature carries to be good for one deed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<String>,
        /// What a v2 signature must have signed, rebuilt by the service from the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature_base: Option<String>,
    },
    /// A key that is shown as it is.
    ApiKey {
        /// Whose key it is said to be.
        #[serde(default)]
        username: String,
        /// The key exactly as the client sent it.
        #[serde(default)]
        api_key: String,
    },
    /// A password.
    Basic {
        /// Who it is said to be.
        #[serde(default)]
        username: String,
        /// The password.
        #[serde(default)]
        password: String,
    },
    /// A kind this version does not know.
    #[serde(other)]
    Unknown,
}

/// The kind only: the rest is good for somebody else.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature { scheme, .. } => {
                f.debug_struct("Signature").field("scheme", scheme).finish_non_exhaustive()
            }
            Self::ApiKey { .. } => f.debug_struct("ApiKey").finish_non_exhaustive(),
            Self::Basic { .. } => f.debug_struct("Basic").finish_non_exhaustive(),
            Self::Unknown => f.write_str("Unknown"),
        }
    }
}

/// The request that presented the proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Authority the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
}

/// What an identity server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`VERSION`].
    pub version: String,
    /// The question's.
    pub request_id: String,
    /// What the server found.
    pub status: Status,
    /// Whose proof it is: with [`Status::Active`], and with a refusal that comes after a right proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// The key that signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// What the user may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How long the answer may be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Why the proof was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For the service's log; never shown to a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The question may be asked again after so many seconds: the answer says nothing about the proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// What the server found. No other value is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The proof is right and the user may act.
    Active,
    /// Not so; see [`Answer::code`].
    Denied,
    /// The server does not judge this kind of proof.
    Unsupported,
}

/// A user as the identity server knows it. What is absent stays as it was, what is null is cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Stable, opaque and never given to somebody else.
    pub id: String,
    /// The name to show; required of an active user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Mail address.
    #[serde(default, skip_serializing_if = "Told::is_nothing")]
    pub email: Told<String>,
    /// Full name.
    #[serde(default, skip_serializing_if = "Told::is_nothing")]
    pub display_name: Told<String>,
    /// Groups, replaced as a whole.
    #[serde(default, skip_serializing_if = "Told::is_nothing")]
    pub groups: Told<Vec<String>>,
    /// Which of the user's profiles this is: a number that rises, or the time of the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_version: Option<Version>,
}

/// The key that signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Key {
    /// Its name, if it has one besides the api_key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The weakest signature scheme it may be used with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_scheme: Option<String>,
    /// When it stops being good; no answer is repeated beyond it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What the user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Largest file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file_bytes: Option<u64>,
    /// Most bytes of all uploads together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_bytes: Option<u64>,
    /// Bytes that are left at the time of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_bytes: Option<u64>,
    /// Most uploads that grow at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_uploads: Option<u64>,
    /// Most bytes that one request may add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chunk_bytes: Option<u64>,
    /// Most requests a minute that begin, add to or complete an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Types of content that may be uploaded: `image/png`, `image/*`, `*/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_content_types: Option<Vec<String>>,
    /// Longest life of an upload that is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_ttl_seconds: Option<u64>,
}

impl Limits {
    /// As the service holds them; `as_of` is when they were told.
    pub fn told(self, as_of: Timestamp) -> limits::Limits {
        limits::Limits {
            max_file_bytes: self.max_file_bytes,
            max_total_bytes: self.max_total_bytes,
            remaining: self.remaining_bytes.map(|bytes| limits::Remaining { bytes, as_of }),
            max_concurrent_uploads: self.max_concurrent_uploads,
            max_chunk_bytes: self.max_chunk_bytes,
            requests_per_minute: self.requests_per_minute,
            allowed_content_types: self.allowed_content_types,
            upload_ttl: self.upload_ttl_seconds.map(Duration::from_secs),
        }
    }
}

/// How long an answer may be repeated, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cache {
    /// Seconds; 0: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// `proof`; or `none`: not at all; or, of a denial, `api_key`: for every signature under the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Fields of [`Request`] that the answer depends on. An answer that names any is not repeated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vary: Vec<String>,
}

/// Codes of a refusal. A code that is not known here is a refusal like [`code::INVALID_SIGNATURE`].
pub mod code {
    /// The signature does not fit.
    pub const INVALID_SIGNATURE: &str = "invalid_signature";
    /// No such user, or another password.
    pub const INVALID_PASSWORD: &str = "invalid_password";
    /// No such key.
    pub const UNKNOWN_KEY: &str = "unknown_key";
    /// The key was good once.
    pub const KEY_EXPIRED: &str = "key_expired";
    /// The proof is right, the key disabled.
    pub const KEY_DISABLED: &str = "key_disabled";
    /// The proof is right, the user disabled.
    pub const USER_DISABLED: &str = "user_disabled";
    /// The signed time is too far from the server's.
    pub const TIMESTAMP_OUT_OF_WINDOW: &str = "timestamp_out_of_window";
    /// No such user.
    pub const UNKNOWN_USER: &str = "unknown_user";
    /// The proof was used before.
    pub const REPLAYED: &str = "replayed";
    /// The key asks for a stronger signature scheme.
    pub const SCHEME_NOT_ALLOWED: &str = "scheme_not_allowed";
    /// The proof is for another service.
    pub const AUDIENCE_MISMATCH: &str = "audience_mismatch";
    /// Too many questions: says nothing about the proof.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// The *service's* token is wrong: says nothing about the proof.
    pub const SERVICE_UNAUTHORIZED: &str = "service_unauthorized";
}

impl Answer {
    /// An answer to the question of that id with nothing but its status.
    pub fn to(request_id: &str, status: Status) -> Self {
        Self {
            version: VERSION.to_owned(),
            request_id: request_id.to_owned(),
            status,
            user: None,
            key: None,
            limits: None,
            cache: None,
            code: None,
            message: None,
            retry_after: None,
        }
    }

    /// What is wrong with this as an answer to the question of that id, if anything.
    pub fn flaw(&self, request_id: &str) -> Option<&'static str> {
        if self.version != VERSION {
            return Some("the answer is of another version");
        }
        if self.request_id != request_id {
            return Some("the answer belongs to another question");
        }
        match (self.status, &self.user) {
            (Status::Active, None) => Some("the answer names no user"),
            (Status::Active, Some(user)) => user.flaw(),
            (_, Some(user)) if !is_name(&user.id) => Some("user.id must be 1 to 255 bytes of text"),
            _ => None,
        }
    }
}

impl User {
    /// What keeps a service from accepting the user, if anything.
    pub fn flaw(&self) -> Option<&'static str> {
        let groups = self.groups.value();
        let names = [&self.email, &self.display_name].into_iter().filter_map(Told::value);
        let texts = names.chain(groups.into_iter().flatten());
        if !is_name(&self.id) {
            Some("user.id must be 1 to 255 bytes of text")
        } else if !is_name(&self.username) {
            Some("user.username must be 1 to 255 bytes of text")
        } else if groups.is_some_and(|groups| groups.len() > MAX_GROUPS) {
            Some("user.groups has more than 200 items")
        } else if texts.into_iter().any(|text| text.contains(char::is_control)) {
            // PostgreSQL cannot keep U+0000, and a log line must stay one line.
            Some("the user's texts hold control characters")
        } else {
            None
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Answer> {
        serde_json::from_str::<Answer>(json).ok().filter(|answer| answer.flaw("q").is_none())
    }

    #[test]
    fn only_a_whole_answer_is_an_answer() {
        let whole = r#"{"version":"1","request_id":"q","status":"active","user":{"id":"u","username":"n"},"new":1}"#;
        assert!(read(whole).is_some());
        assert!(read(r#"{"version":"1","request_id":"q","status":"denied","code":"unknown_key"}"#).is_some());
        for (from, to) in [
            ("\"1\"", "\"2\""),
            ("\"1\"", "1"),
            ("\"q\"", "\"r\""),
            ("active", "maybe"),
            ("\"u\"", "\"\""),
            ("\"u\"", "\" \""),
            ("\"u\"", "7"),
            ("\"u\"", "null"),
            ("\"n\"", "\"\""),
            ("\"n\"", "\"a\\u0000\""),
            (",\"username\":\"n\"", ""),
            ("\"user\":", "\"usr\":"),
            ("{\"version\"", "{\"version\":\"1\",\"version\""),
        ] {
            let broken = whole.replacen(from, to, 1);
            assert_ne!(broken, whole);
            assert_eq!(read(&broken), None, "{broken}");
        }
        assert_eq!(read(&whole.replace("\"u\"", &format!("\"{}\"", "u".repeat(256)))), None);
    }

    #[test]
    fn absent_and_null_are_two_things() {
        let user = |fields: &str| {
            let json = format!(
                r#"{{"version":"1","request_id":"q","status":"active","user":{{"id":"u","username":"n"{fields}}}}}"#
            );
            read(&json).and_then(|answer| answer.user)
        };
        let said = user(r#","email":null,"groups":[],"profile_version":7"#).expect("whole");
        assert_eq!((&said.email, &said.display_name), (&Told::Cleared, &Told::Nothing));
        assert_eq!((&said.groups, said.profile_version), (&Told::Is(Vec::new()), Some(Version(7))));
        assert_eq!(
            serde_json::to_value(&said).ok().and_then(|json| json.get("email").cloned()),
            Some(serde_json::Value::Null)
        );
        assert!(user(r#","profile_version":"2026-11-22T10:00:00Z""#).is_some());
        assert!(user(r#","profile_version":"newest""#).is_none());
    }

    #[test]
    fn a_question_hides_its_proof() {
        let text = str::to_owned;
        let signature = Proof::Signature {
            scheme: text("v1"),
            api_key: text("the-key"),
            timestamp: text("1700000000"),
            signature: text("the-secret"),
            algorithm: None,
            nonce: None,
            signature_base: Some(text("the-base")),
        };
        let api_key = Proof::ApiKey { username: text("the-name"), api_key: text("the-secret") };
        let basic = Proof::Basic { username: text("the-name"), password: text("the-secret") };
        for (kind, proof) in [("signature", signature), ("api_key", api_key), ("basic", basic)] {
            let printed = format!("{proof:?}");
            assert!(!printed.contains("the-"), "{printed}");
            let json = serde_json::to_value(&proof).expect("plain data");
            assert_eq!(json["type"], kind);
            assert_eq!(serde_json::from_value::<Proof>(json).ok(), Some(proof));
        }
        let other = serde_json::from_str::<Proof>(r#"{"type":"upload_token","token":"a"}"#);
        assert_eq!(other.ok(), Some(Proof::Unknown));
    }
}
