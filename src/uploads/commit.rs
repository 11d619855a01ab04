//! The commit: what makes durable bytes count. One compare-and-set moves offset, digest and, with the last byte, state.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    ExpiresFrom, UploadError, Uploads,
    append::{Birth, Chunk},
    drain::rehash,
    meters::{Event, Outcome},
    placement_of,
    pump::{Received, Then},
    settle::Whole,
};
use crate::{
    db::{Advance, StoreError},
    domain::{
        after,
        digest::Running,
        upload::{KeptDigest, Refusal, State, Upload},
    },
};

/// How long an upload lives at most of which no byte has come. Its client may have lost the
/// answer and begun another: what is announced counts against its user's account meanwhile, and no byte is lost with it.
const EMPTY_LIFE: Duration = Duration::from_secs(15 * 60);

impl Uploads {
    /// Records a first chunk together with its upload.
    pub(super) async fn bear(
        &self,
        upload: &mut Upload,
        birth: &mut Birth,
        received: &Received,
        size: Option<u64>,
    ) -> Result<(), UploadError> {
        upload.offset = received.bytes;
        upload.size = size;
        if upload.offset == 0 && upload.completes {
            upload.expires = upload.expires.min(after(upload.created, EMPTY_LIFE));
        }
        upload.digest = received.digest.as_ref().map(keep_digest);
        let begun = Instant::now();
        let Birth { binding, spend, allowance, once, .. } = &*birth;
        let inserted = match once {
            None => self.parts.db.insert(upload, *binding, *spend, allowance).await,
            Some(once) => self.parts.db.insert_once(upload, &once.creation, *binding, *spend, allowance).await,
        };
        self.parts.meters.commits.since((), begun);
        match inserted {
            Err(StoreError::Conflict) => Err(UploadError::Replayed),
            Err(error) => {
                birth.unsure = !matches!(error, StoreError::Full);
                Err(error.into())
            }
            Ok(Some(refusal)) => Err(refusal.into()),
            Ok(None) => {
                if !upload.is_part() {
                    self.parts.meters.events.one(Event::Created);
                }
                self.parts.meters.acknowledged.add((), received.bytes);
                self.parts.recent.remember(upload);
                Ok(())
            }
        }
    }

    /// Moves the row to where the durable bytes reach, and completes it with the last of them where that can be. Nothing to
    /// move, nothing written.
    pub(super) async fn commit(
        &self,
        upload: &mut Upload,
        chunk: &Chunk,
        received: &Received,
        size: Option<u64>,
    ) -> Result<(), UploadError> {
        let to = chunk.plan.from + received.bytes;
        if to == upload.offset && size == upload.size {
            return Ok(());
        }
        let now = self.now();
        let life = self.parts.settings.expires_after;
        let expires = match self.parts.settings.expires_from {
            ExpiresFrom::Activity => upload.kept.expires(now, life),
            // See [`EMPTY_LIFE`].
            ExpiresFrom::Creation if upload.completes && upload.offset == 0 && to > 0 => {
                upload.kept.expires(upload.created, life)
            }
            ExpiresFrom::Creation => upload.expires,
        };
        let digest = received.digest.as_ref().map(keep_digest);
        let (tail_start, from) = (chunk.plan.from, upload.offset);
        // What was counted when it began need not be counted again, unless it was over and did not count meanwhile.
        let grows = size.unwrap_or(to) > upload.takes() || upload.expires <= now;
        let allowance = upload.kept.allowance();
        let within = upload.owner.filter(|_| grows && !allowance.is_boundless()).map(|owner| (owner, allowance));
        let advance = Advance { from, to, tail_start, size, digest: digest.clone(), expires, within, now };
        let whole = match received.then {
            Then::End => self.whole(&chunk.by, upload, &advance, received.digest.as_ref()).await,
            Then::More | Then::CutShort(_) => None,
        };
        let begun = Instant::now();
        let advanced = self.advance(upload, &advance, whole.as_ref()).await;
        self.parts.meters.commits.since((), begun);
        advanced.inspect_err(|_| self.parts.recent.forget(upload.id))?;
        self.parts.meters.acknowledged.add((), to - from);
        (upload.offset, upload.size, upload.digest) = (to, size, digest);
        (upload.expires, upload.updated, upload.tail_start) = (expires, now, tail_start);
        if let Some(Whole { sum }) = whole {
            (upload.state, upload.sum, upload.digest, upload.ended) = (State::Complete, sum, None, Some(now));
            self.parts.meters.ended(State::Complete);
            self.parts.meters.completions.one(Outcome::Accepted);
        }
        self.parts.recent.moved(upload);
        Ok(())
    }

    /// One compare-and-set, tried again where the database did not say how it ended (a broken connection). The lock is
    /// held meanwhile, and whichever try succeeds makes the others fail, so that none can take effect after the lock is
    /// gone and a later chunk has begun.
    pub(super) async fn advance(
        &self,
        upload: &Upload,
        advance: &Advance,
        whole: Option<&Whole>,
    ) -> Result<(), UploadError> {
        let state = if whole.is_some() { State::Complete } else { State::Receiving };
        let mut unsure = None;
        for pause in [0, 100, 500, 2000] {
            // Even the shortest sleep lasts until the timer's next tick, a millisecond or two.
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            let moved = match whole {
                Some(Whole { sum }) => self.parts.db.complete_with(upload.id, advance, sum.as_ref()).await,
                None => self.parts.db.advance(upload.id, advance).await,
            };
            match moved {
                Ok(true) => return Ok(()),
                Ok(false) if unsure.is_some() && self.stands_at(upload, state, advance.to).await? => return Ok(()),
                Ok(false) => return Err(self.stopped(upload, advance).await?),
                Err(error @ StoreError::Unavailable(_)) => unsure = Some(error),
                // What this one says of itself says nothing of one before it.
                Err(error) => return Err(unsure.unwrap_or(error).into()),
            }
        }
        Err(unsure.map_or(UploadError::Busy, UploadError::from))
    }

    pub(super) async fn stands_at(&self, upload: &Upload, state: State, offset: u64) -> Result<bool, UploadError> {
        let stands = self.parts.db.find(upload.id, upload.owner()).await?;
        Ok(stands.is_some_and(|stands| stands.state == state && stands.offset == offset))
    }

    /// Why a move was not made: there is no room for it, or the row is elsewhere.
    async fn stopped(&self, upload: &Upload, advance: &Advance) -> Result<UploadError, UploadError> {
        if let Some((owner, allowance)) = advance.within
            && self.stands_at(upload, State::Receiving, advance.from).await?
        {
            let beside = self.parts.db.usage(owner, upload.id, allowance.since(), advance.now).await?;
            return Ok(Refusal::OverQuota { left_bytes: allowance.left(&beside).unwrap_or_default() }.into());
        }
        self.lost_race(upload).await
    }

    /// Why a compare-and-set found the row elsewhere.
    pub(super) async fn lost_race(&self, upload: &Upload) -> Result<UploadError, UploadError> {
        let Some(stands) = self.parts.db.find(upload.id, upload.owner()).await? else {
            return Ok(UploadError::NotFound);
        };
        Ok(UploadError::Refused(match stands.state_at(self.now()) {
            State::Receiving => Refusal::WrongOffset { offset: stands.offset },
            State::Complete => Refusal::Complete,
            State::Cancelled => Refusal::Cancelled,
            State::Expired => Refusal::Expired,
        }))
    }

    /// The digest up to the upload's offset: from the row, or once more from the bytes if the row's cannot be read.
    pub(super) async fn running(&self, upload: &Upload) -> Result<Option<Running>, UploadError> {
        let Some(kept) = &upload.digest else { return Ok(None) };
        if let Some(running) = Running::restore(kept.algorithm, &kept.state) {
            return Ok(Some(running));
        }
        tracing::warn!(upload.id = %upload.id, "digest state is unreadable, computing it from the bytes");
        let fresh = Running::new(kept.algorithm);
        rehash(&*self.parts.content, placement_of(upload)?, fresh, upload.offset).await.map(Some)
    }
}

pub(super) fn keep_digest(running: &Running) -> KeptDigest {
    KeptDigest { algorithm: running.algorithm(), state: running.save() }
}
