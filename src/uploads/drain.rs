//! The lower half of the pump: batches on their way into the content, and into the digest.
//!
//! Bytes that are all there go in one step ([`ContentStore::put`]); the content is opened for good only for the first batch
//! that another one follows. A batch is hashed off the async threads while it is written and the next one is gathered.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    UploadError,
    pump::{Batch, Received, Share, Then},
};
use crate::{
    content::{ContentError, ContentStore, Start, Writer},
    domain::{digest::Running, upload::Placement},
};

/// Takes in one batch at a time; one of them counts only if it was written.
pub(super) struct Drain {
    content: Arc<dyn ContentStore>,
    placement: Placement,
    /// Opened for the first batch that does not bring the end with it.
    writer: Option<Box<dyn Writer>>,
    start: Start,
    digest: Option<Running>,
    /// The same with the last batch that was written.
    hashing: Hashing,
    written: u64,
    synced: u64,
}

/// A digest on its way.
enum Hashing {
    /// There is none.
    Idle,
    UnderWay(JoinHandle<Running>),
    /// The hashing panicked: nothing that was written since can count.
    Lost,
}

impl Drain {
    /// Writes to a content, keeps up `digest`.
    pub(super) fn new(
        content: Arc<dyn ContentStore>,
        placement: Placement,
        start: Start,
        digest: Option<Running>,
    ) -> Self {
        Self { content, placement, writer: None, start, digest, hashing: Hashing::Idle, written: 0, synced: 0 }
    }

    /// Writes `batch`.
    pub(super) async fn write(&mut self, batch: Batch) -> Result<(), ContentError> {
        if batch.frames.is_empty() {
            return Ok(());
        }
        let Batch { frames, bytes, share, .. } = batch;
        let share = Arc::new(share);
        let hashing = self.hash(&frames, &share).await?;
        self.writer().await?.write(frames).await?;
        self.count(bytes, hashing);
        Ok(())
    }

    /// Writes the last batch and makes everything durable. A write that failed leaves what came before it.
    pub(super) async fn received(&mut self, batch: Batch, then: Then) -> Result<Received, UploadError> {
        let then = match &self.writer {
            None => {
                self.put(batch).await?;
                then
            }
            Some(_) => {
                let then = match (self.write(batch).await, then) {
                    (Err(error), Then::More | Then::End) => Then::CutShort(error.into()),
                    (_, then) => then,
                };
                self.keep().await?;
                then
            }
        };
        self.settle().await?;
        Ok(Received { bytes: self.written, digest: self.digest.clone(), then })
    }

    /// Takes in all that is here and makes it durable, in one step.
    async fn put(&mut self, batch: Batch) -> Result<(), ContentError> {
        let Batch { frames, bytes, share, .. } = batch;
        let share = Arc::new(share);
        let hashing = self.hash(&frames, &share).await?;
        self.content.put(&self.placement, self.start, frames).await?;
        self.count(bytes, hashing);
        (self.start, self.synced) = (Start::At(self.start.offset() + bytes as u64), self.written);
        Ok(())
    }

    fn count(&mut self, bytes: usize, hashing: Hashing) {
        self.hashing = hashing;
        self.written += bytes as u64;
    }

    async fn writer(&mut self) -> Result<&mut Box<dyn Writer>, ContentError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.content.open(&self.placement, self.start).await?,
        };
        Ok(self.writer.insert(writer))
    }

    /// Makes what was written durable.
    async fn keep(&mut self) -> Result<(), ContentError> {
        if let Some(writer) = self.writer.as_mut().filter(|_| self.written > self.synced) {
            writer.sync().await?;
        }
        self.synced = self.written;
        Ok(())
    }

    /// Begins to hash frames that are about to be written.
    async fn hash(&mut self, frames: &[Bytes], share: &Arc<Share>) -> Result<Hashing, ContentError> {
        self.settle().await?;
        let Some(digest) = self.digest.clone() else { return Ok(Hashing::Idle) };
        Ok(Hashing::UnderWay(hash(digest, frames.to_vec(), Some(share.clone()))))
    }

    /// Brings the digest up to what was written.
    async fn settle(&mut self) -> Result<(), ContentError> {
        match std::mem::replace(&mut self.hashing, Hashing::Lost) {
            Hashing::Idle => {}
            Hashing::UnderWay(hashing) => self.digest = Some(hashing.await.map_err(|_| lost())?),
            Hashing::Lost => return Err(lost()),
        }
        self.hashing = Hashing::Idle;
        Ok(())
    }
}

/// Hashes on another thread; the frames count against the budget until they were.
fn hash(mut digest: Running, frames: Vec<Bytes>, share: Option<Arc<Share>>) -> JoinHandle<Running> {
    spawn_blocking(move || {
        frames.iter().for_each(|frame| digest.update(frame));
        drop((frames, share));
        digest
    })
}

/// The hashing panicked.
fn lost() -> ContentError {
    ContentError::Failed { doing: "hashing a chunk".into(), source: std::io::Error::other("the digest is gone") }
}

/// Computes a digest anew from bytes that are already there; for a saved state that cannot be read.
pub(super) async fn rehash(
    content: &dyn ContentStore,
    placement: &Placement,
    mut digest: Running,
    length: u64,
) -> Result<Running, UploadError> {
    let mut bytes = content.read(placement, 0, length).await?;
    let mut seen = 0;
    while let Some(frame) = bytes.next().await {
        let frame = frame?;
        seen += frame.len() as u64;
        digest = hash(digest, vec![frame], None).await.map_err(|_| lost())?;
    }
    match seen == length {
        true => Ok(digest),
        false => Err(ContentError::Missing(format!("{seen} of {length} bytes are there")).into()),
    }
}
