//! Service: from what a request presents to a [`Principal`](crate::domain::principal::Principal).
//!
//! The gate collects credentials from every place they may stand, lets the one authenticator they belong to decide, and
//! keeps four answers apart: *not mine*, *granted*, *refused*, *cannot check*. Only a verified proof makes a principal.
//!
//! It deliberately knows no protocol: a door hands over plain pairs and renders an [`AuthError`] in its own dialect. It
//! deliberately has no switch that admits somebody while the identity server cannot be asked.

pub mod breaker;
pub mod credentials;
mod delegated;
mod desk;
pub mod events;
pub mod federated;
mod gate;
pub mod identity;
mod key;
pub mod keyring;
pub mod local;
pub mod meters;
pub mod operators;
pub mod passwords;
mod pool;
mod provisioning;
pub mod realm;
mod refused_keys;
mod revalidation;
pub mod standing;
pub mod sweeper;
mod throttle;
pub mod tokens;
pub mod verdicts;

use std::{fmt, net::IpAddr, time::Duration};

pub use gate::{Authenticator, Gate, Outcome};
use secrecy::{ExposeSecret as _, SecretString};
pub use throttle::Throttle;

use crate::domain::{Timestamp, keys, realms::Entrance};

/// What a request presents, as plain pairs: names and values exactly as sent, in order, repetitions included.
#[derive(Clone, Default)]
pub struct Presented {
    /// Header names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// Query parameters, decoded.
    pub query: Vec<(String, String)>,
    /// Form fields, decoded; of a multipart form those that precede the file part.
    pub form: Vec<(String, String)>,
    /// What the identity server may want to know about the request.
    pub request: Facts,
    /// How clients reach the service: `http` or `https`.
    pub scheme: String,
    /// The query as sent, without its question mark.
    pub raw_query: Option<String>,
    /// Whether a browser sends it for a page of another origin that was not granted its user's credentials.
    pub cross_site: bool,
    /// Where it came in: known from its target, whatever it presents.
    pub entrance: Entrance,
}

/// Counts only: names and values may be secrets.
impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("headers", &self.headers.len())
            .field("query", &self.query.len())
            .field("form", &self.form.len())
            .finish_non_exhaustive()
    }
}

/// Facts about a request, for the identity server's policy and audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Method.
    pub method: String,
    /// Path as received, without the query.
    pub path: String,
    /// Authority the client asked for.
    pub host: Option<String>,
    /// Address of the client.
    pub client_ip: Option<IpAddr>,
}

/// Why a request was not admitted. The doors render each in their own dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing was presented.
    #[error("no credentials were presented")]
    Missing,
    /// Two credentials, or the same one with two values.
    #[error("ambiguous credentials: {0}")]
    Ambiguous(String),
    /// The credential does not have the required form.
    #[error("malformed credentials: {0}")]
    Malformed(String),
    /// The signed time is outside the window.
    #[error("the timestamp is outside the accepted window")]
    Stale {
        /// The service's own time, so that the client can correct its clock.
        server_time: Timestamp,
    },
    /// The proof is wrong or the key unknown; which of the two is not told.
    #[error("the credentials are not valid")]
    Invalid,
    /// The upload token is ours, and no longer good: its time is over, or its user's rights were changed since.
    #[error("the upload token is no longer good")]
    TokenExpired,
    /// The proof was used where it may not be used again.
    #[error("the signature was already used")]
    Replayed,
    /// The signature is of a scheme weaker than the service or the key accepts.
    #[error("the signature is of a scheme that is not accepted")]
    SchemeNotAllowed,
    /// The proof is right, but the user or key is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// A browser added the user's password to what a page of another origin sends.
    #[error("a page of another origin may not act with the password that the browser knows")]
    CrossSite,
    /// Too many wrong proofs came from the client's address. Says nothing about this one.
    #[error("too many wrong credentials came from this address")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The identity server could not be asked or did not answer properly. Says nothing about the credential.
    #[error("authentication is unavailable")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Section `auth` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which kinds of credentials are accepted.
    pub methods: Vec<Method>,
    /// Whether requests without credentials may create uploads without an owner, reached by their unguessable id alone.
    pub anonymous: bool,
    /// Whether credentials may stand in the query string, where logs and proxies see them.
    pub query_credentials: bool,
    /// Under what the hashes of API keys are made. A secret of the service, at least 16 bytes; changing it makes every key
    /// invalid. Never printed.
    #[serde(serialize_with = "hidden")]
    pub pepper: SecretString,
    /// Who judges API keys.
    pub api_key: Judge,
    /// Who judges passwords.
    pub basic: Judge,
    /// About signatures.
    pub signature: SignatureSettings,
    /// About upload tokens.
    pub tokens: tokens::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            methods: vec![Method::Signature],
            anonymous: false,
            query_credentials: false,
            pepper: SecretString::default(),
            api_key: Judge::Local,
            basic: Judge::Local,
            signature: SignatureSettings::default(),
            tokens: tokens::Settings::default(),
        }
    }
}

fn hidden<S: serde::Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(if secret.expose_secret().is_empty() { "" } else { "…" })
}

impl Settings {
    /// The accepted kinds of credentials that this judge decides on.
    pub fn judged_by(&self, judge: Judge) -> impl Iterator<Item = Method> {
        let accepted = |method: &Method| self.methods.contains(method);
        Method::ALL.into_iter().filter(accepted).filter(move |method| self.judge_of(*method) == judge)
    }

    fn judge_of(&self, method: Method) -> Judge {
        match method {
            // The secrets that sign are with the identity server alone.
            Method::Signature => Judge::Identity,
            Method::ApiKey => self.api_key,
            Method::Basic => self.basic,
        }
    }

    /// Whether the service hashes API keys of its own.
    pub fn needs_pepper(&self) -> bool {
        self.judged_by(Judge::Local).any(|method| method == Method::ApiKey)
    }

    /// Whether API keys can be hashed with the pepper.
    ///
    /// # Errors
    /// What it must be.
    pub fn check_pepper(&self) -> Result<(), String> {
        match self.pepper.expose_secret().len() {
            keys::MIN_PEPPER_BYTES.. => Ok(()),
            _ => Err(format!("must be a secret of at least {} bytes, for API keys", keys::MIN_PEPPER_BYTES)),
        }
    }

    /// Whether the values make sense together.
    ///
    /// # Errors
    /// One sentence that names the setting and what it must be.
    pub fn check(&self) -> Result<(), String> {
        if self.methods.is_empty() && !self.anonymous {
            return Err("auth.methods is empty and auth.anonymous is off: nobody could be admitted".into());
        }
        if self.needs_pepper() {
            self.check_pepper().map_err(|reason| format!("auth.pepper {reason}"))?;
        }
        let accepted = Duration::from_secs(5)..=Duration::from_secs(900);
        if !accepted.contains(&self.signature.window) {
            return Err("auth.signature.window must lie between 5s and 900s".into());
        }
        Ok(())
    }
}

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `api_key`, `timestamp` and `signature`, judged by the identity server.
    Signature,
    /// `username` and `api_key`, or `Authorization: ApiKey`.
    ApiKey,
    /// `Authorization: Basic`.
    Basic,
}

impl Method {
    /// Every kind, in the order in which the challenge names them.
    pub const ALL: [Self; 3] = [Self::Signature, Self::ApiKey, Self::Basic];

    /// The name of its scheme in the challenge, whoever judges it.
    fn scheme(self) -> &'static str {
        match self {
            Self::Signature => "signature-v1",
            Self::ApiKey => "api-key",
            Self::Basic => "basic",
        }
    }
}

/// Who judges a kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judge {
    /// The service itself, by the users in its own database.
    Local,
    /// The identity server.
    Identity,
}

/// Section `auth.signature` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignatureSettings {
    /// How far a signed time may lie from the service's own, on either side.
    #[serde(with = "crate::domain::units::duration")]
    pub window: Duration,
    /// What a signature may be used for more than once.
    pub v1_reuse: Reuse,
    /// The weakest scheme that is accepted. The identity server may ask for a stronger one, key by key.
    pub min_scheme: Scheme,
    /// Whether a body under a v2 signature must come with its digest.
    pub content_digest: ContentDigest,
}

impl Default for SignatureSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            v1_reuse: Reuse::Window,
            min_scheme: Scheme::V1,
            content_digest: ContentDigest::Optional,
        }
    }
}

/// A signature scheme; the later ones are the stronger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// A signed timestamp ([`crate::domain::signing`]).
    V1,
    /// A signed request ([`crate::domain::message_signature`]).
    V2,
}

impl Scheme {
    /// Its public name.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    /// Whether it does where `least` is asked for. What nobody knows is stronger than all that is known.
    fn suffices(self, least: &str) -> bool {
        [Self::V1, Self::V2].into_iter().any(|known| known.name() == least && known <= self)
    }
}

/// Whether a body must come with its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentDigest {
    /// It may. One that is there is always checked.
    Optional,
    /// It must, and the signature must cover it.
    Required,
}

/// How often one v1 signature may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// For anything inside its window, and afterwards for the uploads it created.
    Window,
    /// For the first upload it creates, and for nothing else.
    Upload,
    /// For one request.
    Once,
}
