//! Replay: are bytes that come in again those that are stored already?
//!
//! A client that lost an answer sends its chunk once more. It may also be another file of the same name and size: so
//! the bytes are compared, never believed. What is below an upload's offset does not change, so no lock is needed.

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, stream};

use super::{Body, BodyError, UploadError, Uploads, placement_of};
use crate::{
    content::ContentError,
    domain::upload::{Refusal, State, Upload},
};

/// What comparing a body with stored bytes found.
pub enum Compared {
    /// They are the same; this is what follows them.
    Same(Body),
    /// They are not; this is the whole body again, from its beginning.
    Other(Body),
}

impl Uploads {
    /// Compares the beginning of `body` with the `length` bytes that `upload` has from `from` on.
    ///
    /// # Errors
    /// [`Refusal::WrongLength`] if the body is shorter, a [`Refusal`] if the upload ended meanwhile,
    /// [`UploadError::Body`], or a store's failure.
    pub async fn compare(
        &self,
        upload: &Upload,
        from: u64,
        length: u64,
        mut body: Body,
    ) -> Result<Compared, UploadError> {
        let mut stored = self.stored(upload, from, length).await?;
        let (mut compared, mut known) = (0, Bytes::new());
        while compared < length {
            let frame = body.next().await.ok_or(Refusal::WrongLength)?.map_err(UploadError::from)?;
            let (before, mut rest) = (compared, frame.clone());
            while compared < length && !rest.is_empty() {
                if known.is_empty() {
                    known = match stored.next().await {
                        Some(Ok(bytes)) => bytes,
                        Some(Err(error)) => return Err(self.unreadable(upload, error.into()).await),
                        None => return Err(UploadError::Internal(format!("upload {} is too short", upload.id))),
                    };
                }
                let common = rest.len().min(known.len());
                if rest[..common] != known[..common] {
                    let again = self.stored(upload, from, before).await?;
                    // A store that fails now ends the body early; its client asks how far it got.
                    let again = again.map(|bytes| bytes.map_err(|_| BodyError::Disconnected));
                    return Ok(Compared::Other(again.chain(stream::iter([Ok(frame)])).chain(body).boxed()));
                }
                rest.advance(common);
                known.advance(common);
                compared += common as u64;
            }
            if !rest.is_empty() {
                body = stream::iter([Ok(rest)]).chain(body).boxed();
            }
        }
        Ok(Compared::Same(body))
    }

    async fn stored(
        &self,
        upload: &Upload,
        from: u64,
        length: u64,
    ) -> Result<stream::BoxStream<'static, Result<Bytes, ContentError>>, UploadError> {
        if length == 0 {
            return Ok(stream::empty().boxed());
        }
        match self.parts.content.read(placement_of(upload)?, from, length).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(self.unreadable(upload, error.into()).await),
        }
    }

    /// Why bytes could not be read: the upload has ended, or the store fails.
    async fn unreadable(&self, upload: &Upload, error: UploadError) -> UploadError {
        match self.parts.db.find(upload.id, upload.owner()).await {
            Ok(Some(stands)) if stands.state == State::Receiving => error,
            Ok(_) => self.lost_race(upload).await.unwrap_or(error),
            Err(_) => error,
        }
    }
}
