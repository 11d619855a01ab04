//! What is counted at the gate, and of each realm.

use std::sync::Arc;

use super::{AuthError, breaker::Phase, credentials::Credential, identity::Status, identity::code, verdicts::Verdict};
use crate::meter::{Counter, Gauge, Histogram, words};

words! {
    /// What was presented.
    pub enum Kind as "method" {
        Signature = "signature",
        ApiKey = "api_key",
        Basic = "basic",
        Token = "upload_token",
        Nothing = "none",
        Unsound = "unsound",
    }
}

words! {
    /// What became of a request at the gate.
    pub enum Admission as "result" {
        Granted = "granted",
        Missing = "missing",
        Ambiguous = "ambiguous",
        Malformed = "malformed",
        Stale = "timestamp_out_of_window",
        Invalid = "invalid",
        TokenExpired = "token_expired",
        SchemeNotAllowed = "scheme_not_allowed",
        Replayed = "replayed",
        Disabled = "disabled",
        CrossSite = "cross_site",
        RateLimited = "rate_limited",
        Unavailable = "unavailable",
    }
}

words! {
    /// Who knew whether a proof is right.
    pub enum Source as "source" {
        Token = "token",
        Local = "local",
        Cache = "cache",
        Identity = "identity",
    }
}

words! {
    /// What became of a question to the identity server.
    pub enum Asked as "outcome" {
        Active = "active",
        Denied = "denied",
        Disabled = "disabled",
        Stale = "timestamp_out_of_window",
        Replayed = "replayed",
        AudienceMismatch = "audience_mismatch",
        Unsupported = "unsupported",
        RateLimited = "rate_limited",
        ServiceUnauthorized = "service_unauthorized",
        Timeout = "timeout",
        Connect = "connect",
        Status = "status",
        Malformed = "malformed",
        BreakerOpen = "breaker_open",
        Crowded = "crowded",
    }
}

words! {
    /// A phase of the breaker.
    pub enum BreakerState as "state" {
        Closed = "closed",
        Open = "open",
        HalfOpen = "half_open",
    }
}

words! {
    /// Whose verdicts are remembered.
    pub enum Judged as "judge" {
        Identity = "identity",
        Again = "introspection",
        Local = "local",
    }
}

words! {
    /// Which verdicts are remembered; each kind has a pool of its own.
    pub enum Kept as "verdict" {
        Proven = "proven",
        Refused = "refused",
        Key = "refused_key",
    }
}

words! {
    /// Whether an event was news.
    pub enum Told as "result" {
        Applied = "applied",
        Repeated = "repeated",
        Refused = "refused",
    }
}

words! {
    /// What slowed a guess.
    pub enum Slowed as "how" {
        Delayed = "delayed",
        Refused = "refused",
    }
}

words! {
    /// What became of a local user whom the identity server vouches for.
    pub enum Provisioned as "result" {
        Created = "created",
        Updated = "updated",
        Unchanged = "unchanged",
        Failed = "failed",
    }
}

words! {
    /// Whether a second try was made.
    pub enum Retry as "result" {
        Made = "made",
        Exhausted = "budget_exhausted",
    }
}

/// What is counted at the gate, whoever judges.
#[derive(Default)]
pub struct AtGate {
    /// Requests.
    pub requests: Counter<(Kind, Admission)>,
    /// How long a verdict on a proof took.
    pub seconds: Histogram<Source>,
    /// Guesses that were slowed.
    pub slowed: Counter<Slowed>,
}

/// What is counted of one realm.
#[derive(Default)]
pub struct Meters {
    /// What is counted of all of them together.
    pub gate: Arc<AtGate>,
    /// Questions to the identity server, with those that were not asked.
    pub asked: Counter<Asked>,
    /// How long a question took, both tries together.
    pub asking: Histogram,
    /// Questions under way.
    pub under_way: Gauge,
    /// Questions that wait for their turn.
    pub waiting: Gauge,
    /// Second tries.
    pub retries: Counter<Retry>,
    /// 1 where the breaker stands.
    pub breaker: Gauge<BreakerState>,
    /// Into which phases it changed.
    pub breaker_changes: Counter<BreakerState>,
    /// Verdicts that were found again.
    pub found: Counter<(Judged, Kept)>,
    /// Verdicts that had to be asked for, or waited for.
    pub missed: Counter<Judged>,
    /// Requests that waited for another's question.
    pub shared: Counter<Judged>,
    /// Verdicts that are remembered.
    pub kept: Gauge<(Judged, Kept)>,
    /// Local users written from answers.
    pub provisioned: Counter<Provisioned>,
    /// Requests that were admitted by an earlier verdict, while the identity server gave none.
    pub stale: Counter,
    /// Events that the identity server told.
    pub events: Counter<Told>,
}

impl Meters {
    /// The meters of another realm at the same gate.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { gate: self.gate.clone(), ..Self::default() }
    }
}

impl Kind {
    pub(super) fn of(credential: &Credential) -> Self {
        match credential {
            Credential::Signature(_) | Credential::SignatureV2(_) => Self::Signature,
            Credential::ApiKey(_) => Self::ApiKey,
            Credential::Basic(_) => Self::Basic,
            Credential::Token(_) => Self::Token,
        }
    }
}

impl Admission {
    pub(super) fn of<T>(outcome: &Result<T, AuthError>) -> Self {
        let Err(error) = outcome else { return Self::Granted };
        match error {
            AuthError::Missing => Self::Missing,
            AuthError::Ambiguous(_) => Self::Ambiguous,
            AuthError::Malformed(_) => Self::Malformed,
            AuthError::Stale { .. } => Self::Stale,
            AuthError::Invalid => Self::Invalid,
            AuthError::TokenExpired => Self::TokenExpired,
            AuthError::SchemeNotAllowed => Self::SchemeNotAllowed,
            AuthError::Replayed => Self::Replayed,
            AuthError::Disabled => Self::Disabled,
            AuthError::CrossSite => Self::CrossSite,
            AuthError::RateLimited { .. } => Self::RateLimited,
            AuthError::Unavailable { .. } => Self::Unavailable,
        }
    }
}

impl Asked {
    /// An answer's status and code. A code nobody knows is a plain denial: the server chooses its text.
    pub(super) fn answered(status: Status, said: Option<&str>) -> Self {
        match (status, said.unwrap_or_default()) {
            (Status::Active, _) => Self::Active,
            (Status::Unsupported, _) => Self::Unsupported,
            (Status::Denied, code::USER_DISABLED | code::KEY_DISABLED) => Self::Disabled,
            (Status::Denied, code::TIMESTAMP_OUT_OF_WINDOW) => Self::Stale,
            (Status::Denied, code::REPLAYED) => Self::Replayed,
            (Status::Denied, code::AUDIENCE_MISMATCH) => Self::AudienceMismatch,
            (Status::Denied, code::RATE_LIMITED) => Self::RateLimited,
            (Status::Denied, _) => Self::Denied,
        }
    }
}

impl BreakerState {
    pub(super) fn of(phase: Phase) -> Self {
        match phase {
            Phase::Closed => Self::Closed,
            Phase::Open => Self::Open,
            Phase::HalfOpen => Self::HalfOpen,
        }
    }
}

impl Kept {
    /// `None` of what is never remembered.
    pub(super) fn of(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Proven(_) => Some(Self::Proven),
            Verdict::Refused(_) => Some(Self::Refused),
            Verdict::CannotCheck => None,
        }
    }
}

impl Judged {
    /// Who is asked where nothing is remembered.
    pub(super) fn source(self) -> Source {
        match self {
            Self::Identity | Self::Again => Source::Identity,
            Self::Local => Source::Local,
        }
    }
}
