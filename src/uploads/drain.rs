//! The half of the pump that is off the async threads: batches on their way into the content, and into the digest.
//!
//! Bytes that are all there go in one step ([`ContentStore::put`]); the content is opened for good only for the first batch
//! that another one follows.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;

use super::{
    UploadError,
    lock::Guard,
    pump::{Batch, Received, Then},
};
use crate::{
    content::{ContentError, ContentStore, Start, Writer},
    domain::{digest::Running, upload::Placement},
    worker::Tasks,
};

/// Writes one batch at a time, in the background.
pub(super) struct Drain {
    sink: Option<Sink>,
    under_way: Option<JoinHandle<(Sink, Result<(), ContentError>)>>,
    pub(super) tasks: Tasks,
    /// Shared with the write under way: however the pump ends, the lock is not released before the write has.
    pub(super) guard: Arc<Guard>,
}

/// The half of the pump that is off the async threads: owns the writer and the digest.
pub(super) struct Sink {
    content: Arc<dyn ContentStore>,
    placement: Placement,
    /// Opened for the first batch that does not bring the end with it.
    writer: Option<Box<dyn Writer>>,
    start: Start,
    digest: Option<Running>,
    written: u64,
    synced: u64,
}

impl Drain {
    /// Writes to `sink`, holds `guard`.
    pub(super) fn new(sink: Sink, tasks: Tasks, guard: Arc<Guard>) -> Self {
        Self { sink: Some(sink), under_way: None, tasks, guard }
    }

    /// Begins to write `batch` once the one before it is written.
    pub(super) async fn write(&mut self, batch: Batch) -> Result<(), ContentError> {
        self.settle().await?;
        if batch.frames.is_empty() {
            return Ok(());
        }
        let Some(mut sink) = self.sink.take() else { return Err(lost()) };
        let guard = self.guard.clone();
        self.under_way = Some(self.tasks.spawn(async move {
            let outcome = sink.take_in(batch).await;
            drop(guard);
            (sink, outcome)
        }));
        Ok(())
    }

    /// Waits for the batch under way.
    pub(super) async fn settle(&mut self) -> Result<(), ContentError> {
        let Some(under_way) = self.under_way.take() else { return Ok(()) };
        let (sink, outcome) = under_way.await.map_err(|_| lost())?;
        self.sink = Some(sink);
        outcome
    }

    /// Writes the last batch and makes everything durable. A write that failed leaves what came before it.
    pub(super) async fn received(&mut self, batch: Batch, then: Then) -> Result<Received, UploadError> {
        if let Some(sink) = self.sink.as_mut().filter(|sink| sink.writer.is_none()) {
            sink.put(batch).await?;
            return Ok(sink.received(then));
        }
        let written = match self.write(batch).await {
            Ok(()) => self.settle().await,
            failed => failed,
        };
        let then = match (written, then) {
            (Err(error), Then::More | Then::End) => Then::CutShort(error.into()),
            (_, then) => then,
        };
        let sink = self.sink.as_mut().ok_or_else(lost)?;
        sink.keep().await?;
        Ok(sink.received(then))
    }
}

impl Sink {
    /// Writes to a content, keeps up `digest`.
    pub(super) fn new(
        content: Arc<dyn ContentStore>,
        placement: Placement,
        start: Start,
        digest: Option<Running>,
    ) -> Self {
        Self { content, placement, writer: None, start, digest, written: 0, synced: 0 }
    }

    /// Writes and hashes side by side; both count only if the write succeeded.
    async fn take_in(&mut self, batch: Batch) -> Result<(), ContentError> {
        let hashed = self.digest.clone().map(|digest| hash(digest, batch.frames.clone()));
        self.writer().await?.write(batch.frames).await?;
        self.count(batch.bytes, hashed).await
    }

    /// Takes in all that is here and makes it durable, in one step.
    async fn put(&mut self, batch: Batch) -> Result<(), ContentError> {
        let hashed = self.digest.clone().map(|digest| hash(digest, batch.frames.clone()));
        self.content.put(&self.placement, self.start, batch.frames).await?;
        self.count(batch.bytes, hashed).await?;
        (self.start, self.synced) = (Start::At(self.start.offset() + batch.bytes as u64), self.written);
        Ok(())
    }

    async fn count(&mut self, bytes: usize, hashed: Option<JoinHandle<Running>>) -> Result<(), ContentError> {
        if let Some(hashed) = hashed {
            self.digest = Some(hashed.await.map_err(|_| lost())?);
        }
        self.written += bytes as u64;
        Ok(())
    }

    async fn writer(&mut self) -> Result<&mut Box<dyn Writer>, ContentError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.content.open(&self.placement, self.start).await?,
        };
        Ok(self.writer.insert(writer))
    }

    /// Makes what was written durable. A writer that could not be opened leaves nothing, and a row may need a content.
    async fn keep(&mut self) -> Result<(), ContentError> {
        match &mut self.writer {
            None => self.content.put(&self.placement, self.start, Vec::new()).await?,
            Some(writer) if self.written > self.synced => writer.sync().await?,
            Some(_) => {}
        }
        self.synced = self.written;
        Ok(())
    }

    fn received(&self, then: Then) -> Received {
        Received { bytes: self.written, digest: self.digest.clone(), then }
    }
}

fn hash(mut digest: Running, frames: Vec<Bytes>) -> JoinHandle<Running> {
    tokio::task::spawn_blocking(move || {
        frames.iter().for_each(|frame| digest.update(frame));
        digest
    })
}

/// A task of the pump panicked, or an earlier failure took its writer along.
fn lost() -> ContentError {
    ContentError::Failed { doing: "writing a chunk".into(), source: std::io::Error::other("the writer is gone") }
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
        digest = hash(digest, vec![frame]).await.map_err(|_| lost())?;
    }
    match seen == length {
        true => Ok(digest),
        false => Err(ContentError::Missing(format!("{seen} of {length} bytes are there")).into()),
    }
}
