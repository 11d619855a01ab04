//! Seam: where bytes live.
//!
//! The database holds the truth about offsets. A content store may hold more bytes than the database admits, never
//! fewer: bytes are made durable first, then the row moves. Writing twice at the same offset is harmless, and whatever
//! lies beyond the admitted offset is cut when the next chunk begins.
//!
//! Names in a store are made by the service. No part of a name comes from a client.

pub mod local;
pub mod metered;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::domain::{Timestamp, UploadId, concat::Slice, principal::User, upload::Placement};

/// A place for the bytes of uploads.
///
/// The caller holds the upload's lock while it writes, finishes or deletes. The store does not count, hash or check
/// lengths.
#[async_trait]
pub trait ContentStore: Send + Sync + 'static {
    /// Chooses where an upload will live, while it grows and when it is finished. Touches nothing.
    fn place(&self, id: UploadId, owner: Option<&User>, created: Timestamp) -> Placement;

    /// Makes an empty content; an earlier one at the same place is emptied.
    async fn create(&self, placement: &Placement) -> Result<Box<dyn Writer>, ContentError> {
        self.open(placement, Start::New).await
    }

    /// Opens a content for bytes from `at` on and cuts everything beyond.
    ///
    /// # Errors
    /// [`ContentError::Missing`] if the content is not there or is shorter than `at`.
    async fn append(&self, placement: &Placement, at: u64) -> Result<Box<dyn Writer>, ContentError> {
        self.open(placement, Start::At(at)).await
    }

    /// Copies pieces of growing contents to a growing one, from `at` on, makes them durable, and cuts what it had beyond;
    /// from 0 on it is made. The bytes stay within the store where that can be. The caller bounds how many they are. Of a
    /// copy that fails nothing stays, if it can be helped.
    async fn join(&self, placement: &Placement, at: u64, slices: &[Slice]) -> Result<(), ContentError>;

    /// Opens a content for writing where `start` says.
    ///
    /// # Errors
    /// [`ContentError::Missing`] as [`ContentStore::append`] does.
    async fn open(&self, placement: &Placement, start: Start) -> Result<Box<dyn Writer>, ContentError>;

    /// Opens a content as [`ContentStore::open`] does, writes the frames there and makes them durable, in one step: for a
    /// chunk that is all there. An error says nothing about how much of it was written.
    async fn put(&self, placement: &Placement, at: Start, frames: Vec<Bytes>) -> Result<(), ContentError>;

    /// Moves a content, cut to `size` bytes, to its finished place, atomically and durably. Repeating is harmless.
    async fn finish(&self, placement: &Placement, size: u64) -> Result<(), ContentError>;

    /// Reads `length` bytes from `from`, of a growing or a finished content.
    async fn read(
        &self,
        placement: &Placement,
        from: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ContentError>>, ContentError>;

    /// Removes a content, growing or finished. What is not there is removed already.
    async fn delete(&self, placement: &Placement) -> Result<(), ContentError>;

    /// The unfinished contents that lie in the store, whatever the database knows of them.
    async fn unfinished(&self) -> Result<Vec<(UploadId, Placement)>, ContentError>;

    /// Proves that the store can be written, by writing.
    async fn check(&self) -> Result<(), ContentError>;
}

/// Where the writing of a content starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At nothing: an empty content is made.
    New,
    /// At this offset of one that is there; everything beyond is cut.
    At(u64),
    /// The same, of one that may have been finished by a process that could not record it: then it grows again. Only for
    /// whoever has seen under the upload's lock that it is not complete.
    Again(u64),
}

impl Start {
    /// Where the first byte goes.
    pub fn offset(self) -> u64 {
        match self {
            Self::New => 0,
            Self::At(at) | Self::Again(at) => at,
        }
    }
}

/// One content opened for writing. Dropping it keeps what was written and promises nothing about it.
#[async_trait]
pub trait Writer: Send {
    /// Writes the frames, in order, after what was written before. Of frames that do not fit nothing stays, if it can be
    /// helped.
    async fn write(&mut self, frames: Vec<Bytes>) -> Result<(), ContentError>;

    /// Makes everything written durable, as far as the store's durability setting promises.
    async fn sync(&mut self) -> Result<(), ContentError>;
}

/// What went wrong in a content store.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// No space, or a quota of the file system is used up. What was acknowledged is untouched.
    #[error("no space left in the content store")]
    Full,
    /// The content is not there, or shorter than the database says.
    #[error("the content is missing: {0}")]
    Missing(String),
    /// Anything else.
    #[error("{doing}: {source}")]
    Failed {
        /// What was being done.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
}
