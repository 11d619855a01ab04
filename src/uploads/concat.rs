//! Uploads that are joined from parts: how one begins, and how its parts become one file.
//!
//! It may begin before its parts are all there. Whoever brings the last byte of the last part joins it; where that failed
//! or the process died, whoever asks for it next does, or the reaper. The bytes are copied by the content store in steps,
//! each recorded when it is durable, so that what is begun again goes on where it was. The parts stay as they are, and
//! the reaper removes them when the upload is complete.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::{
    Contention, New, UploadError, Uploads,
    commit::keep_digest,
    drain::rehash,
    lock::Guard,
    meters::{Event, Outcome},
    placement_of,
};
use crate::{
    db::{Advance, StoreError},
    domain::{
        Timestamp, UploadId, after,
        concat::{self, Gathered, MOST_PARTS, Role},
        digest::Running,
        limits::{holdable, smaller},
        principal::{Owner, Principal, Spend},
        upload::{Refusal, State, Upload},
    },
};

/// Most bytes that are copied before they are recorded, and before somebody else may have the lock.
const STEP_BYTES: u64 = 64 * 1024 * 1024;
/// How long an upload waits, from one look to the next, for a part that comes late.
const LATE: Duration = Duration::from_secs(60);

impl Uploads {
    /// Makes an upload that is joined from these parts, in this order; `listed`: the list in its client's words. The same
    /// parts make one upload, however often it is asked for. Returns it as it stands: complete, if every part is there.
    ///
    /// # Errors
    /// [`UploadError::NotFound`] if a part is unknown, somebody else's or over; a [`Refusal`]; whatever keeps an upload from
    /// beginning, or a store's failure.
    pub async fn join(
        &self,
        by: &Principal,
        new: New,
        listed: String,
        parts: Vec<UploadId>,
    ) -> Result<Upload, UploadError> {
        let spend = self.may_create(by)?;
        if let Some(known) = self.parts.db.joined(by.owner(), &parts).await? {
            return self.joined_before(by, known, spend).await;
        }
        let joined = self.may_join(by, new, listed, &parts).await?;
        let guard = self.parts.locks.try_acquire(joined.id).ok_or(UploadError::Busy)?;
        let (core, by) = (self.clone(), by.clone());
        self.detached(async move {
            match core.parts.db.insert_joined(&joined, &parts, by.binding, spend).await {
                Ok(true) => core.parts.meters.events.one(Event::Created),
                Ok(false) => return Err(Refusal::NotAPart.into()),
                // Another request for the same was faster, or its proof was used before.
                Err(StoreError::Conflict) => {
                    let known = core.parts.db.joined(by.owner(), &parts).await?.ok_or(UploadError::Replayed)?;
                    return core.joined_before(&by, known, spend).await;
                }
                Err(error) => return Err(error.into()),
            }
            core.living(core.join_up(joined, &guard).await?)
        })
        .await
    }

    /// The rules for an upload that is to be joined.
    async fn may_join(
        &self,
        by: &Principal,
        new: New,
        listed: String,
        parts: &[UploadId],
    ) -> Result<Upload, UploadError> {
        if parts.is_empty() || parts.len() > MOST_PARTS {
            return Err(Refusal::NotAPart.into());
        }
        let mut upload = self.unborn(by, new);
        by.limits.admit_type(upload.content_type.as_deref())?;
        // Nobody says that it is complete.
        upload.completes = false;
        // What is left elsewhere was asked of the parts.
        upload.max_bytes = holdable(self.max_bytes(by));
        let (mut size, mut takes) = (Some(0u64), 0u64);
        for id in parts {
            let part = self.part(by, *id).await?;
            size = size.zip(part.size).map(|(sum, size)| sum.saturating_add(size));
            takes = takes.saturating_add(part.takes());
        }
        self.fits(&upload, takes)?;
        upload.size = size;
        upload.role = Some(Role::Joined { listed, parts: parts.len() as u64 });
        Ok(upload)
    }

    /// One of the principal's parts. What is over is not told from what never was.
    async fn part(&self, by: &Principal, id: UploadId) -> Result<Upload, UploadError> {
        let part = self.find(by, id).await?;
        match part.state_at(self.now()) {
            State::Cancelled | State::Expired => Err(UploadError::NotFound),
            State::Receiving | State::Complete if part.is_part() => Ok(part),
            State::Receiving | State::Complete => Err(Refusal::NotAPart.into()),
        }
    }

    /// May it be so long? The user's limit is that of its beginning.
    fn fits(&self, upload: &Upload, size: u64) -> Result<(), Refusal> {
        let max_bytes = smaller(upload.max_bytes, self.max_file_bytes()).unwrap_or(i64::MAX as u64);
        if size > max_bytes { Err(Refusal::TooLarge { max_bytes }) } else { Ok(()) }
    }

    /// What a client hears that asks for the same again: what it would have heard at first.
    async fn joined_before(&self, by: &Principal, known: Upload, spend: Option<Spend>) -> Result<Upload, UploadError> {
        if let Some(spend) = spend
            && !self.parts.db.spend(spend).await?
        {
            return Err(UploadError::Replayed);
        }
        // Whoever is at it is let finish.
        drop(self.parts.locks.acquire(known.id, Contention::Wait).await);
        self.living(self.gathered(self.find(by, known.id).await?).await?)
    }

    /// An upload that is not over.
    pub(super) fn living(&self, upload: Upload) -> Result<Upload, UploadError> {
        match upload.state_at(self.now()) {
            State::Receiving | State::Complete => Ok(upload),
            State::Cancelled => Err(Refusal::Cancelled.into()),
            State::Expired => Err(Refusal::Expired.into()),
        }
    }

    /// The upload, joined if it is to be, and its parts are all there, and nobody else is at it. Others are as they were.
    pub(super) async fn gathered(&self, upload: Upload) -> Result<Upload, UploadError> {
        if !upload.is_joined() || upload.state != State::Receiving {
            return Ok(upload);
        }
        let Some(guard) = self.parts.locks.try_acquire(upload.id) else { return Ok(upload) };
        let core = self.clone();
        self.detached(async move { core.join_up(upload, &guard).await }).await
    }

    /// Joins the upload that waits for this part, if it was the last. What goes wrong is not the part's fault: it is done
    /// again when somebody asks for the upload, or by the reaper.
    pub(super) async fn join_with(&self, part: UploadId, owner: Owner) {
        if let Err(error) = self.join_around(part, owner).await {
            tracing::warn!(upload.id = %part, %error, "what this is a part of is joined later");
        }
    }

    async fn join_around(&self, part: UploadId, owner: Owner) -> Result<(), UploadError> {
        // What it is a part of may have been made while its last bytes came.
        let part = self.parts.db.find(part, owner).await?;
        let Some(id) = part.as_ref().and_then(Upload::fills) else { return Ok(()) };
        let Some(upload) = self.parts.db.find(id, owner).await? else { return Ok(()) };
        if upload.state != State::Receiving {
            return Ok(());
        }
        // Who holds the lock may have looked before this part was full.
        let guard = self.parts.locks.acquire(id, Contention::Wait).await.ok_or(UploadError::Busy)?;
        self.join_up(upload, &guard).await.map(drop)
    }

    /// Joins an upload whose lock is held, if its parts are all there.
    async fn join_up(&self, upload: Upload, guard: &Guard) -> Result<Upload, UploadError> {
        let upload = self.parts.db.find(upload.id, upload.owner()).await?.ok_or(UploadError::NotFound)?;
        let (State::Receiving, Some(Role::Joined { parts: expected, .. })) = (upload.state, &upload.role) else {
            return Ok(upload);
        };
        let parts = self.parts.db.parts(&upload).await?;
        let is_late = self.any_late(&parts);
        match concat::gathered(&parts, *expected, if is_late { upload.created } else { self.now() }) {
            Gathered::Waiting { size } if size.is_none_or(|size| self.fits(&upload, size).is_ok()) => {
                // As long as its parts may go on, it waits for them.
                let late = is_late.then(|| after(self.now(), LATE));
                let expires = parts.iter().map(|part| part.expires).chain(late).fold(upload.expires, Timestamp::max);
                Ok(Upload { size, expires, ..upload })
            }
            Gathered::Ready { size } if self.fits(&upload, size).is_ok() => {
                let copied = self.copy(upload.clone(), &parts, size, guard).await;
                // A part may have been cancelled meanwhile: its lock is not held.
                let joined = match copied {
                    Err(UploadError::Internal(_)) if self.is_broken(&upload, *expected).await? => {
                        return self.give_up(&upload).await;
                    }
                    copied => copied,
                };
                self.parts.meters.completions.one(Outcome::of(&joined));
                joined
            }
            Gathered::Waiting { .. } | Gathered::Ready { .. } | Gathered::Broken => self.give_up(&upload).await,
        }
    }

    /// Whether a request that came in time still brings bytes of a part whose time is over.
    fn any_late(&self, parts: &[Upload]) -> bool {
        let is_over = |part: &Upload| part.state == State::Receiving && part.state_at(self.now()) == State::Expired;
        parts.iter().any(|part| is_over(part) && self.parts.locks.is_held(part.id))
    }

    /// Whether the upload is joined from parts of which some still come, late.
    pub(super) async fn waits_for_late(&self, upload: &Upload) -> Result<bool, UploadError> {
        Ok(upload.is_joined() && self.any_late(&self.parts.db.parts(upload).await?))
    }

    async fn is_broken(&self, upload: &Upload, expected: u64) -> Result<bool, UploadError> {
        let parts = self.parts.db.parts(upload).await?;
        Ok(concat::gathered(&parts, expected, self.now()) == Gathered::Broken)
    }

    /// Cancels an upload that can never be joined.
    async fn give_up(&self, upload: &Upload) -> Result<Upload, UploadError> {
        tracing::info!(upload.id = %upload.id, "an upload that can never be joined is cancelled");
        self.end(upload, State::Cancelled, None).await?;
        self.parts.db.find(upload.id, upload.owner()).await?.ok_or(UploadError::NotFound)
    }

    /// Copies what is not joined yet, step by step, and completes the upload. Its time does not matter: every byte was
    /// acknowledged in time.
    async fn copy(
        &self,
        mut upload: Upload,
        parts: &[Upload],
        size: u64,
        guard: &Guard,
    ) -> Result<Upload, UploadError> {
        let placement = placement_of(&upload)?.clone();
        loop {
            if guard.asked_to_let_go().now_or_never().is_some() {
                return Err(UploadError::Busy);
            }
            if self.parts.tasks.letting_go().now_or_never().is_some() {
                return Err(UploadError::ShuttingDown);
            }
            let slices = concat::slices(parts, upload.offset, STEP_BYTES);
            self.parts.content.join(&placement, upload.offset, &slices).await?;
            let copied = slices.iter().map(|slice| slice.length).sum::<u64>();
            if let Err(error) = self.record(&mut upload, copied, size).await {
                return Err(self.uncommitted(&upload, error).await);
            }
            guard.progressed();
            if upload.offset == size {
                self.digest_once(&mut upload).await?;
                let as_of = upload.created;
                return self.seal(upload, None, None, as_of).await;
            }
            if copied == 0 {
                return Err(UploadError::Internal(format!("upload {} lacks bytes of its parts", upload.id)));
            }
        }
    }

    /// The digest that somebody wants of the whole, read from it once: those of the parts say nothing of it.
    async fn digest_once(&self, upload: &mut Upload) -> Result<(), UploadError> {
        let Some(kept) = &upload.digest else { return Ok(()) };
        let fresh = Running::new(kept.algorithm);
        let running = rehash(&*self.parts.content, placement_of(upload)?, fresh, upload.offset).await?;
        upload.digest = Some(keep_digest(&running));
        Ok(())
    }

    /// Records that so many bytes more are joined.
    async fn record(&self, upload: &mut Upload, copied: u64, size: u64) -> Result<(), UploadError> {
        let (from, to, now) = (upload.offset, upload.offset + copied, self.now());
        let (expires, size, digest) = (upload.expires, Some(size), upload.digest.clone());
        let advance = Advance { from, to, tail_start: from, size, digest, expires, within: None, now };
        self.advance(upload, &advance, None).await?;
        (upload.offset, upload.size, upload.tail_start, upload.updated) = (to, size, from, now);
        Ok(())
    }
}
