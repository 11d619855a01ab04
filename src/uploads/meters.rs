//! What is counted in the upload core.

use super::{BodyError, UploadError};
use crate::{
    domain::upload::{Refusal, State},
    meter::{Counter, Gauge, Histogram, words},
};

words! {
    /// What happened to an upload.
    pub enum Event as "event" {
        Created = "created",
        Completed = "completed",
        Cancelled = "cancelled",
        Expired = "expired",
    }
}

words! {
    /// What became of a chunk, or of a call for completion.
    pub enum Outcome as "result" {
        Accepted = "accepted",
        NotFound = "not_found",
        WrongOffset = "wrong_offset",
        WrongSize = "wrong_size",
        BeyondSize = "beyond_size",
        TooLarge = "too_large",
        ChunkTooLarge = "chunk_too_large",
        OverQuota = "over_quota",
        TooManyUploads = "too_many_uploads",
        TypeNotAllowed = "type_not_allowed",
        TooFast = "too_fast",
        WrongLength = "wrong_length",
        WrongDigest = "wrong_digest",
        NoDigest = "no_digest",
        Incomplete = "incomplete",
        Complete = "complete",
        Joined = "joined",
        Part = "part",
        NotAPart = "not_a_part",
        KeyReused = "key_reused",
        Over = "over",
        Forbidden = "forbidden",
        Disconnected = "disconnected",
        TooSlow = "too_slow",
        Malformed = "malformed",
        Full = "disk_full",
        Busy = "busy",
        Stopping = "shutting_down",
        Unavailable = "unavailable",
        Internal = "internal",
    }
}

/// What is counted in the upload core.
#[derive(Default)]
pub struct Meters {
    /// What happened to uploads.
    pub events: Counter<Event>,
    /// Chunks, with the empty ones that begin an upload.
    pub chunks: Counter<Outcome>,
    /// Calls for completion.
    pub completions: Counter<Outcome>,
    /// Bytes that arrived.
    pub arrived: Counter,
    /// Bytes that were acknowledged.
    pub acknowledged: Counter,
    /// Chunks on their way in.
    pub receiving: Gauge,
    /// How long the commit of durable bytes took.
    pub commits: Histogram,
}

impl Event {
    /// How an upload ended; `None` of one that did not.
    pub(super) fn ended(state: State) -> Option<Self> {
        match state {
            State::Receiving => None,
            State::Complete => Some(Self::Completed),
            State::Cancelled => Some(Self::Cancelled),
            State::Expired => Some(Self::Expired),
        }
    }
}

impl Meters {
    /// Counts how an upload ended.
    pub(super) fn ended(&self, state: State) {
        if let Some(event) = Event::ended(state) {
            self.events.one(event);
        }
    }
}

impl Outcome {
    pub(super) fn of<T>(outcome: &Result<T, UploadError>) -> Self {
        outcome.as_ref().err().map_or(Self::Accepted, Self::refused)
    }

    pub(super) fn refused(error: &UploadError) -> Self {
        match error {
            UploadError::NotFound => Self::NotFound,
            UploadError::Refused(refusal) => Self::by_rule(refusal),
            UploadError::Replayed
            | UploadError::NonceRequired
            | UploadError::OutOfScope { .. }
            | UploadError::Forbidden => Self::Forbidden,
            UploadError::Body(BodyError::Disconnected) => Self::Disconnected,
            UploadError::Body(BodyError::TooSlow) => Self::TooSlow,
            UploadError::Body(BodyError::Malformed(_)) => Self::Malformed,
            UploadError::Body(BodyError::WrongDigest { .. }) => Self::WrongDigest,
            UploadError::Full => Self::Full,
            UploadError::Busy => Self::Busy,
            UploadError::Unavailable(_) => Self::Unavailable,
            UploadError::Internal(_) => Self::Internal,
            UploadError::ShuttingDown => Self::Stopping,
        }
    }

    fn by_rule(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Expired | Refusal::Cancelled => Self::Over,
            Refusal::Complete => Self::Complete,
            Refusal::Joined => Self::Joined,
            Refusal::Part => Self::Part,
            Refusal::NotAPart => Self::NotAPart,
            Refusal::KeyReused => Self::KeyReused,
            Refusal::Incomplete { .. } => Self::Incomplete,
            Refusal::WrongOffset { .. } => Self::WrongOffset,
            Refusal::WrongSize { .. } => Self::WrongSize,
            Refusal::BeyondSize { .. } => Self::BeyondSize,
            Refusal::TooLarge { .. } => Self::TooLarge,
            Refusal::ChunkTooLarge { .. } => Self::ChunkTooLarge,
            Refusal::OverQuota { .. } => Self::OverQuota,
            Refusal::TooManyUploads { .. } => Self::TooManyUploads,
            Refusal::TypeNotAllowed => Self::TypeNotAllowed,
            Refusal::TooManyRequests { .. } | Refusal::SlowDown { .. } => Self::TooFast,
            Refusal::WrongLength => Self::WrongLength,
            Refusal::WrongDigest { .. } => Self::WrongDigest,
            Refusal::NoDigest { .. } => Self::NoDigest,
        }
    }
}
