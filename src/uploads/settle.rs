//! How far an upload got, told exactly; and completion without anybody's call for it.
//!
//! Clients of streaming doors ask for the offset when a connection broke, and go on there. The request that broke may
//! not know it yet: what it took in is committed before the answer, without taking its lock.

use super::{UploadError, Uploads, lock::Guard, meters::Outcome, placement_of, within};
use crate::{
    db::Advance,
    domain::{
        Timestamp, UploadId,
        digest::{Digest, Running},
        principal::{Principal, Scope},
        upload::{Refusal, State, Upload},
    },
};

/// An upload whose last move completes it: its content is in its finished place.
pub(super) struct Whole {
    pub(super) sum: Option<Digest>,
}

impl Uploads {
    /// The upload as it stands when whoever works on it has committed what arrived. Who may write needs no right to
    /// read for it. An upload whose last byte is there is complete afterwards, if nobody is to say so.
    ///
    /// # Errors
    /// [`UploadError::NotFound`], [`UploadError::OutOfScope`], or a store's failure.
    pub async fn settled(&self, by: &Principal, id: UploadId) -> Result<Upload, UploadError> {
        within(by, Scope::Write).or_else(|_| within(by, Scope::Read))?;
        self.settle(by, id).await
    }

    /// As [`Uploads::settled`], whatever the proof is good for.
    pub(super) async fn settle(&self, by: &Principal, id: UploadId) -> Result<Upload, UploadError> {
        // Who ends between the look and the question has committed after the look.
        let was_held = self.parts.locks.is_held(id);
        let mut upload = self.find(by, id).await?;
        if upload.is_joined() {
            return Ok(self.gathered(upload.clone()).await.unwrap_or_else(|error| {
                tracing::warn!(upload.id = %id, %error, "its parts are joined later");
                upload
            }));
        }
        // Whoever brings its bytes may come late; what it took in counts.
        if upload.state == State::Receiving && (self.parts.locks.commit(id).await || was_held) {
            upload = self.find(by, id).await?;
        }
        if !upload.is_to_be_completed(self.now()) || within(by, Scope::Write).is_err() {
            return Ok(upload);
        }
        match self.make_up(by, &upload).await {
            // Whatever keeps it from being complete, this is how far it got.
            Err(UploadError::Refused(_)) => self.find(by, id).await,
            made_up => made_up,
        }
    }

    /// Completes what a crash, or a client that left with its last byte, kept from being completed.
    async fn make_up(&self, by: &Principal, upload: &Upload) -> Result<Upload, UploadError> {
        let id = upload.id;
        let Some(guard) = self.parts.locks.try_acquire(id) else { return Ok(upload.clone()) };
        let (core, by) = (self.clone(), by.clone());
        self.detached(async move {
            let upload = core.find(&by, id).await?;
            let now = core.now();
            core.complete_if_all_there(&by, upload, now, &guard).await
        })
        .await
    }

    /// Completes an upload whose last byte is there, if nobody is to say so. Whoever was admitted in time, at `as_of`, may
    /// be late with the last byte; what is late and not all is over.
    pub(super) async fn complete_if_all_there(
        &self,
        by: &Principal,
        upload: Upload,
        as_of: Timestamp,
        _held: &Guard,
    ) -> Result<Upload, UploadError> {
        if !upload.is_to_be_completed(as_of) {
            return match upload.state_at(self.now()) {
                // What it belongs to takes every byte that was acknowledged.
                State::Expired if !upload.is_full_part() => Err(Refusal::Expired.into()),
                _ => Ok(upload),
            };
        }
        let id = upload.id;
        let finished = match self.still_within(by, &upload).await {
            Ok(()) => self.seal(upload, None, None, as_of).await,
            Err(error) => Err(error),
        };
        // Another node was faster.
        let finished = match finished {
            Err(UploadError::Refused(Refusal::Complete)) => self.find(by, id).await,
            finished => finished,
        };
        self.parts.meters.completions.one(Outcome::of(&finished));
        finished
    }

    /// Puts the content in its finished place if the upload is complete with this move. Whatever speaks against it is said
    /// when the move is made: what arrived is kept first. Of a crash before the move nothing is left but a content that
    /// whoever finds the row receiving takes back ([`crate::content::Start::Again`]).
    pub(super) async fn whole(
        &self,
        by: &Principal,
        upload: &Upload,
        last: &Advance,
        digest: Option<&Running>,
    ) -> Option<Whole> {
        // Where the move itself may be refused for want of room, one step comes after the other.
        if !upload.completes || last.size != Some(last.to) || last.within.is_some() {
            return None;
        }
        let there = Upload { offset: last.to, size: last.size, ..upload.clone() };
        let sum = digest.cloned().map(Running::finish);
        if !there.is_as_said(sum.as_ref()) {
            return None;
        }
        self.still_within(by, &there).await.ok()?;
        self.parts.content.finish(placement_of(upload).ok()?, last.to).await.ok()?;
        Some(Whole { sum })
    }
}
