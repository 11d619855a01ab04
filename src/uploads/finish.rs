//! Finish and cancel: how an upload ends.

use super::{Contention, UploadError, Uploads, lock::Guard, meters::Outcome, placement_of, spent, to_spend, within};
use crate::domain::{
    Timestamp, UploadId,
    digest::{Digest, Running},
    limits::Allowance,
    principal::{Principal, Scope, Spend},
    upload::{Finish, Refusal, State, Upload},
};

impl Uploads {
    /// Completes an upload: every byte there, and the digest right if one is expected. Repeating answers the same and
    /// does nothing.
    ///
    /// # Errors
    /// A [`Refusal`], [`UploadError::Busy`], or a store's failure. The upload stays as it was.
    pub async fn finish(&self, by: &Principal, id: UploadId, expected: Option<Digest>) -> Result<Upload, UploadError> {
        let spend = to_spend(by)?;
        let refused = |error: &UploadError| self.parts.meters.completions.one(Outcome::refused(error));
        let (guard, upload) = self.may_finish(by, id, expected.as_ref()).await.inspect_err(refused)?;
        let core = self.clone();
        self.detached(async move {
            let finished = core.seal(upload, expected, spend, core.now()).await;
            drop(guard);
            core.parts.meters.completions.one(Outcome::of(&finished));
            finished
        })
        .await
    }

    /// The lock and the upload, if nothing speaks against its completion yet.
    async fn may_finish(
        &self,
        by: &Principal,
        id: UploadId,
        expected: Option<&Digest>,
    ) -> Result<(Guard, Upload), UploadError> {
        within(by, Scope::Write)?;
        self.gathered(self.find(by, id).await?).await?.may_finish(expected, self.now())?;
        let guard = self.parts.locks.acquire(id, Contention::Wait).await.ok_or(UploadError::Busy)?;
        let upload = self.find(by, id).await?;
        if upload.may_finish(expected, self.now())? == Finish::Now {
            self.pace_known(by, &upload)?;
            self.still_within(by, &upload).await?;
        }
        Ok((guard, upload))
    }

    /// Do the limits of today admit what arrived? Those may be lower than what it began under. A token brings none.
    pub(super) async fn still_within(&self, by: &Principal, upload: &Upload) -> Result<(), UploadError> {
        upload.admitted_by(&by.limits)?;
        // What is left by somebody else's count may have this upload in it already.
        let allowance = Allowance { max_total_bytes: by.limits.max_total_bytes, ..Allowance::default() };
        let Some(owner) = upload.owner.filter(|_| !allowance.is_boundless()) else { return Ok(()) };
        let beside = self.parts.db.usage(owner, upload.id, allowance.since(), self.now()).await?;
        Ok(allowance.hold(&beside, upload.takes())?)
    }

    pub(super) async fn seal(
        &self,
        mut upload: Upload,
        expected: Option<Digest>,
        spend: Option<Spend>,
        as_of: Timestamp,
    ) -> Result<Upload, UploadError> {
        let now = self.now();
        let finish = upload.may_finish(expected.as_ref(), as_of)?;
        let sum = match finish {
            Finish::Already => upload.sum.clone(),
            Finish::Now => self.running(&upload).await?.map(Running::finish),
        };
        self.verify(&upload, expected.as_ref(), sum.as_ref()).await?;
        if finish == Finish::Already {
            return match spend {
                Some(spend) if !self.parts.db.spend(spend).await? => Err(UploadError::Replayed),
                _ => Ok(upload),
            };
        }
        self.parts.content.finish(placement_of(&upload)?, upload.offset).await?;
        if !self.parts.db.complete(upload.id, upload.offset, sum.as_ref(), now, spend).await.map_err(spent)? {
            return Err(self.lost_race(&upload).await?);
        }
        self.parts.recent.forget(upload.id);
        self.parts.meters.ended(State::Complete);
        (upload.state, upload.sum, upload.digest) = (State::Complete, sum, None);
        (upload.ended, upload.updated) = (Some(now), now);
        Ok(upload)
    }

    /// Holds the content against what is expected of it now, and against what was at the beginning. If it is not what
    /// was said then it never will be, and the upload is over: nobody is to take it for one that has every byte.
    async fn verify(
        &self,
        upload: &Upload,
        expected: Option<&Digest>,
        sum: Option<&Digest>,
    ) -> Result<(), UploadError> {
        let is_over = !upload.is_as_said(sum);
        if is_over {
            self.end(upload, State::Cancelled, None).await?;
        }
        let differs = |expected: &&Digest| !sum.is_some_and(|sum| expected.matches(sum));
        let wrong = upload.expected.as_ref().filter(|_| is_over).or(expected.filter(differs));
        match wrong {
            Some(Digest { algorithm, .. }) => Err(Refusal::WrongDigest { algorithm: *algorithm }.into()),
            None => Ok(()),
        }
    }

    /// Ends an upload, growing or complete, and removes its bytes. Its id answers as cancelled from now on.
    ///
    /// # Errors
    /// A [`Refusal`], [`UploadError::Busy`], or a store's failure.
    pub async fn cancel(&self, by: &Principal, id: UploadId) -> Result<(), UploadError> {
        within(by, Scope::Delete)?;
        let spend = to_spend(by)?;
        self.find(by, id).await?.may_cancel(self.now())?;
        let guard = self.parts.locks.acquire(id, Contention::TakeOver).await.ok_or(UploadError::Busy)?;
        let upload = self.find(by, id).await?;
        upload.may_cancel(self.now())?;
        let core = self.clone();
        self.detached(async move {
            let ended = core.end(&upload, State::Cancelled, spend).await;
            drop(guard);
            ended
        })
        .await
        .map(|_| ())
    }

    /// Ends an upload whose lock is held: the row first, so that no chunk can follow; then the bytes; then the fact
    /// that they are gone. A crash in between is picked up by the reaper. `false`: the row had moved on.
    pub(super) async fn end(&self, upload: &Upload, state: State, spend: Option<Spend>) -> Result<bool, UploadError> {
        self.parts.recent.forget(upload.id);
        if !self.parts.db.end(upload.id, &[upload.state], state, self.now(), spend).await.map_err(spent)? {
            return Ok(false);
        }
        if !upload.is_part() {
            self.parts.meters.ended(state);
        }
        self.collect(upload).await?;
        Ok(true)
    }

    /// Removes the bytes of an ended upload, then records so.
    pub(super) async fn collect(&self, upload: &Upload) -> Result<(), UploadError> {
        self.parts.recent.forget(upload.id);
        if let Some(placement) = &upload.placement {
            self.parts.content.delete(placement).await?;
        }
        Ok(self.parts.db.content_gone(upload.id).await?)
    }
}
