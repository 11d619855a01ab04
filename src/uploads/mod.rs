//! Service: the one upload core.
//!
//! Creates, appends, tells the status, lists, finishes, cancels, reads. It knows no protocol: a door builds one command
//! and renders one answer. What may happen is decided by the pure rules of [`crate::domain::upload`]; this module holds
//! the upload's lock, moves the bytes and commits.
//!
//! Two promises: an acknowledged byte is never lost, and nobody acts on an upload that is not theirs. For the first,
//! content is durable before its row moves, and one statement moves the row. For the second, every lookup carries the
//! owner, so "not yours" and "not there" are one answer.

mod append;
mod commit;
mod concat;
mod drain;
mod finish;
mod lock;
pub mod meters;
mod once;
pub mod operators;
mod pace;
mod pump;
pub mod reaper;
mod recent;
mod replay;
mod settle;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use bytesize::ByteSize;
use futures_util::stream::BoxStream;

pub use self::{lock::Contention, pump::Keep, replay::Compared};
use self::{lock::Locks, meters::Meters, once::Births, pace::Pace, pump::Budget, recent::Recent};
use crate::{
    content::{ContentError, ContentStore},
    db::{self, Page, StoreError},
    domain::{
        Clock, Timestamp, UploadId,
        creation::CreationKey,
        digest::{Algorithm, Wanted},
        principal::{Nonce, Principal, Reach, Scope, Spend},
        upload::{self, Claim, Refusal, State, Upload},
    },
    worker::Tasks,
};

/// Uploads of one name that are looked at.
const MAX_NAMED: u32 = 16;

/// Section `uploads` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Largest file. The identity server may set a smaller limit for a user.
    pub max_bytes: Option<ByteSize>,
    /// How long an upload accepts bytes and its completion.
    #[serde(with = "crate::domain::units::duration")]
    pub expires_after: Duration,
    /// From when that time counts.
    pub expires_from: ExpiresFrom,
    /// How long a complete upload is kept; absent: for ever.
    #[serde(with = "crate::domain::units::optional_duration")]
    pub retain_completed: Option<Duration>,
    /// How long a cancelled or expired id still answers 410.
    #[serde(with = "crate::domain::units::duration")]
    pub tombstones: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_bytes: None,
            expires_after: Duration::from_secs(24 * 60 * 60),
            expires_from: ExpiresFrom::Creation,
            retain_completed: None,
            tombstones: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// From when the life of an upload counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiresFrom {
    /// From its creation: what a client was told at first stays true.
    Creation,
    /// From the last bytes that arrived.
    Activity,
}

/// Bytes of a request on their way into an upload.
pub type Body = BoxStream<'static, Result<Bytes, BodyError>>;

/// Why a body ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client went away.
    #[error("the client went away")]
    Disconnected,
    /// The client sent too slowly, or stalled.
    #[error("the client sent too slowly")]
    TooSlow,
    /// What carries the bytes is not well formed; the door says how.
    #[error("malformed body: {0}")]
    Malformed(String),
    /// It came whole, and is not what its client said of it.
    #[error("the body does not have the {} that was sent with it", algorithm.name())]
    WrongDigest {
        /// Of which digest.
        algorithm: Algorithm,
    },
}

/// Why a deed was not done. Each door renders each in its own dialect.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is no such upload, or it is not the principal's.
    #[error("no such upload")]
    NotFound,
    /// A rule says no.
    #[error(transparent)]
    Refused(Refusal),
    /// The proof already did the one deed it may do.
    #[error("the signature was already used")]
    Replayed,
    /// The proof is good for such a deed only with a nonce.
    #[error("the signature needs a nonce to create, complete or cancel an upload")]
    NonceRequired,
    /// The proof is not good for this kind of deed, whichever the upload.
    #[error("the credentials lack the scope {}", .scope.name())]
    OutOfScope {
        /// The kind.
        scope: Scope,
    },
    /// The proof may not create uploads.
    #[error("this proof may not create uploads")]
    Forbidden,
    /// The body ended before its end.
    #[error(transparent)]
    Body(BodyError),
    /// No space is left. What was acknowledged is untouched.
    #[error("no space left")]
    Full,
    /// Somebody else works on the upload and does not let go.
    #[error("the upload is busy")]
    Busy,
    /// A store cannot answer now; trying again may help.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A bug, or damage behind our back. The text is for logs only.
    #[error("internal: {0}")]
    Internal(String),
    /// The service stops.
    #[error("the service is stopping")]
    ShuttingDown,
}

impl From<Refusal> for UploadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            StoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
            StoreError::Conflict | StoreError::Corrupt { .. } | StoreError::Failed(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

impl From<ContentError> for UploadError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Full => Self::Full,
            ContentError::Missing(_) => Self::Internal(error.to_string()),
            ContentError::Failed { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

/// What a new upload is to be.
#[derive(Debug, Clone)]
pub struct New {
    /// The client's file name as sent; made harmless here.
    pub filename: String,
    /// The client's content type.
    pub content_type: Option<String>,
    /// Which digest to keep up.
    pub digest: Option<Wanted>,
    /// The client's own words, given back as they came.
    pub metadata: Option<String>,
    /// Whether it is complete as soon as its length is reached.
    pub completes: bool,
    /// Whether it is a part of another upload, and no file of its own.
    pub is_part: bool,
}

/// Which upload a chunk is for.
#[derive(Debug, Clone)]
pub enum Target {
    /// One that begins with this chunk: its row is made by the chunk's commit, so a chunk that is not admitted leaves
    /// nothing.
    New(New),
    /// As [`Target::New`], once: where the key's upload is there already, or about to be, nothing is taken in, and that one
    /// is answered as it stands. Keys of uploads of nobody are passed over.
    Once(New, CreationKey),
    /// One that exists.
    Known(UploadId),
}

/// One chunk.
pub struct Append {
    /// For which upload.
    pub target: Target,
    /// What the client claims about it.
    pub claim: Claim,
    /// What becomes of it if it does not arrive whole.
    pub keep: Keep,
    /// What it may do to whoever works on the upload.
    pub contention: Contention,
    /// The bytes.
    pub body: Body,
}

/// Which part of the principal's uploads is wanted.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those after this one in the list's order (newest first).
    pub after: Option<(Timestamp, UploadId)>,
    /// At most this many.
    pub limit: u32,
}

/// The upload core. Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    parts: Arc<Parts>,
}

struct Parts {
    db: Arc<dyn db::Uploads>,
    content: Arc<dyn ContentStore>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    locks: Locks,
    births: Births,
    budget: Budget,
    recent: Recent,
    meters: Arc<Meters>,
    pace: Pace,
    settings: Settings,
}

impl Uploads {
    /// A core over these stores.
    pub fn new(
        db: Arc<dyn db::Uploads>,
        content: Arc<dyn ContentStore>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        settings: Settings,
        meters: Arc<Meters>,
    ) -> Self {
        let (locks, budget, recent, pace) = (Locks::default(), Budget::default(), Recent::default(), Pace::default());
        let births = Births::default();
        Self {
            parts: Arc::new(Parts { db, content, clock, tasks, locks, births, budget, recent, meters, pace, settings }),
        }
    }

    /// The current time of the core.
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// How many uploads are being worked on.
    pub fn in_work(&self) -> usize {
        self.parts.locks.count()
    }

    /// The upload as it stands.
    ///
    /// # Errors
    /// [`UploadError::NotFound`], or a store's failure.
    pub async fn status(&self, by: &Principal, id: UploadId) -> Result<Upload, UploadError> {
        within(by, Scope::Read)?;
        self.find(by, id).await
    }

    /// The principal's uploads, newest first. Nobody in particular has none: an upload without an owner is reached by
    /// its id alone, and a list would give the ids away.
    ///
    /// # Errors
    /// A store's failure.
    pub async fn list(&self, by: &Principal, listing: &Listing) -> Result<Vec<Upload>, UploadError> {
        within(by, Scope::Read)?;
        let now = self.now();
        if by.user.is_none() {
            return Ok(Vec::new());
        }
        let Reach::Only(ids) = &by.reach else {
            let Listing { state, after, limit } = listing.clone();
            return Ok(self.parts.db.list(by.owner(), &Page { state, after, limit, now }).await?);
        };
        let mut found = Vec::new();
        for id in ids {
            found.extend(self.parts.db.find(*id, by.owner()).await?);
        }
        found.retain(|upload| !upload.is_part() && listing.state.is_none_or(|state| upload.state_at(now) == state));
        found.retain(|upload| listing.after.is_none_or(|after| (upload.created, upload.id) < after));
        found.sort_by_key(|upload| std::cmp::Reverse((upload.created, upload.id)));
        found.truncate(listing.limit as usize);
        Ok(found)
    }

    /// The principal's uploads with this display name and, if it is given, this size: first those that may still be
    /// receiving, newest first; not more than a few. Nobody in particular has none, as in [`Uploads::list`].
    ///
    /// # Errors
    /// A store's failure.
    pub async fn named(&self, by: &Principal, filename: &str, size: Option<u64>) -> Result<Vec<Upload>, UploadError> {
        within(by, Scope::Read)?;
        self.by_name(by, filename, size).await
    }

    /// The uploads that a chunk of this name and size may belong to, as [`Uploads::named`]; none for a proof that may not
    /// write.
    ///
    /// # Errors
    /// A store's failure.
    pub async fn candidates(&self, by: &Principal, filename: &str, size: u64) -> Result<Vec<Upload>, UploadError> {
        match by.scopes.contain(Scope::Write) {
            true => self.by_name(by, filename, Some(size)).await,
            false => Ok(Vec::new()),
        }
    }

    /// The upload of that id, for a chunk that may belong to it.
    ///
    /// # Errors
    /// [`UploadError::NotFound`], [`UploadError::OutOfScope`], or a store's failure.
    pub async fn candidate(&self, by: &Principal, id: UploadId) -> Result<Upload, UploadError> {
        within(by, Scope::Write)?;
        self.find(by, id).await
    }

    async fn by_name(&self, by: &Principal, filename: &str, size: Option<u64>) -> Result<Vec<Upload>, UploadError> {
        if by.user.is_none() {
            return Ok(Vec::new());
        }
        let mut found = self.parts.db.named(by.owner(), filename, size, MAX_NAMED).await?;
        found.retain(|upload| by.reaches(upload.id));
        Ok(found)
    }

    /// A complete upload, for reading with [`Uploads::read`].
    ///
    /// # Errors
    /// [`UploadError::NotFound`], or a [`Refusal`] if there is nothing to read.
    pub async fn open(&self, by: &Principal, id: UploadId) -> Result<Upload, UploadError> {
        within(by, Scope::Read)?;
        let upload = self.gathered(self.find(by, id).await?).await?;
        upload.may_read(self.now())?;
        Ok(upload)
    }

    /// Bytes of an upload that [`Uploads::open`] returned.
    ///
    /// # Errors
    /// A store's failure.
    pub async fn read(
        &self,
        upload: &Upload,
        from: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ContentError>>, UploadError> {
        Ok(self.parts.content.read(placement_of(upload)?, from, length).await?)
    }

    /// The one lookup: by id, owner and reach together.
    async fn find(&self, by: &Principal, id: UploadId) -> Result<Upload, UploadError> {
        if !by.reaches(id) {
            return Err(UploadError::NotFound);
        }
        self.parts.db.find(id, by.owner()).await?.ok_or(UploadError::NotFound)
    }

    /// Most bytes of a file, whoever uploads it.
    pub fn max_file_bytes(&self) -> Option<u64> {
        self.parts.settings.max_bytes.map(|size| size.as_u64())
    }

    fn max_bytes(&self, by: &Principal) -> Option<u64> {
        upload::max_bytes(self.max_file_bytes(), &by.limits)
    }

    /// Runs work that must not end with the request that asked for it.
    fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, UploadError>> + Send + 'static,
    ) -> impl Future<Output = Result<T, UploadError>> {
        self.parts.tasks.outlasting(tracing::Instrument::in_current_span(work))
    }
}

/// Whether the proof is good for such deeds at all. Asked before any lookup, so that it says nothing about an upload.
fn within(by: &Principal, scope: Scope) -> Result<(), UploadError> {
    if by.scopes.contain(scope) { Ok(()) } else { Err(UploadError::OutOfScope { scope }) }
}

/// What is to be spent on a deed that begins or ends an upload. Asked before anything is done.
fn to_spend(by: &Principal) -> Result<Option<Spend>, UploadError> {
    match by.nonce {
        Nonce::NotAsked => Ok(None),
        Nonce::Missing => Err(UploadError::NonceRequired),
        Nonce::Given(spend) => Ok(Some(spend)),
    }
}

/// What a deed failed with that spends: a conflict is that it was spent before.
fn spent(error: StoreError) -> UploadError {
    match error {
        StoreError::Conflict => UploadError::Replayed,
        error => error.into(),
    }
}

fn placement_of(upload: &Upload) -> Result<&upload::Placement, UploadError> {
    upload.placement.as_ref().ok_or_else(|| UploadError::Internal(format!("upload {} has no content", upload.id)))
}
