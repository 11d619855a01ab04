//! A content store that counts what goes wrong in another one.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};

use super::{ContentError, ContentStore, Start, Writer};
use crate::{
    domain::{Timestamp, UploadId, concat::Slice, principal::User, upload::Placement},
    meter::{Counter, words},
};

words! {
    /// What went wrong.
    pub enum Fault as "error" {
        Full = "full",
        Missing = "missing",
        Failed = "failed",
    }
}

/// What is counted.
#[derive(Default)]
pub struct Meters {
    /// Deeds that failed.
    pub errors: Counter<Fault>,
}

/// Counts for `store`.
pub struct Metered<S> {
    store: S,
    meters: Arc<Meters>,
}

struct MeteredWriter {
    writer: Box<dyn Writer>,
    meters: Arc<Meters>,
}

impl Meters {
    fn note(&self, error: &ContentError) {
        self.errors.one(match error {
            ContentError::Full => Fault::Full,
            ContentError::Missing(_) => Fault::Missing,
            ContentError::Failed { .. } => Fault::Failed,
        });
    }

    fn noted<T>(&self, done: Result<T, ContentError>) -> Result<T, ContentError> {
        done.inspect_err(|error| self.note(error))
    }
}

impl<S> Metered<S> {
    /// `store`, counting there.
    pub fn new(store: S, meters: Arc<Meters>) -> Self {
        Self { store, meters }
    }
}

#[async_trait]
impl<S: ContentStore> ContentStore for Metered<S> {
    fn place(&self, id: UploadId, owner: Option<&User>, now: Timestamp) -> Placement {
        self.store.place(id, owner, now)
    }

    async fn open(&self, placement: &Placement, start: Start) -> Result<Box<dyn Writer>, ContentError> {
        let writer = self.meters.noted(self.store.open(placement, start).await)?;
        Ok(Box::new(MeteredWriter { writer, meters: self.meters.clone() }))
    }

    async fn join(&self, placement: &Placement, at: u64, slices: &[Slice]) -> Result<(), ContentError> {
        self.meters.noted(self.store.join(placement, at, slices).await)
    }

    async fn put(&self, placement: &Placement, at: Start, frames: Vec<Bytes>) -> Result<(), ContentError> {
        self.meters.noted(self.store.put(placement, at, frames).await)
    }

    async fn finish(&self, placement: &Placement, size: u64) -> Result<(), ContentError> {
        self.meters.noted(self.store.finish(placement, size).await)
    }

    async fn read(
        &self,
        placement: &Placement,
        from: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ContentError>>, ContentError> {
        let frames = self.meters.noted(self.store.read(placement, from, length).await)?;
        let meters = self.meters.clone();
        Ok(frames.map(move |frame| meters.noted(frame)).boxed())
    }

    async fn delete(&self, placement: &Placement) -> Result<(), ContentError> {
        self.meters.noted(self.store.delete(placement).await)
    }

    async fn unfinished(&self) -> Result<Vec<(UploadId, Placement)>, ContentError> {
        self.meters.noted(self.store.unfinished().await)
    }

    async fn check(&self) -> Result<(), ContentError> {
        self.meters.noted(self.store.check().await)
    }
}

#[async_trait]
impl Writer for MeteredWriter {
    async fn write(&mut self, frames: Vec<Bytes>) -> Result<(), ContentError> {
        self.meters.noted(self.writer.write(frames).await)
    }

    async fn sync(&mut self) -> Result<(), ContentError> {
        self.meters.noted(self.writer.sync().await)
    }
}
