//! The worker that collects what has outlived its time, in bounded steps.
//!
//! Uploads whose parts are all there are joined, if nobody else has done it, and the parts go. Expired uploads end and
//! lose their bytes; complete ones do when a retention is set; tombstones are forgotten after theirs; files that no row
//! knows (left by a process that died between content and commit) are removed. An upload that is being worked on is left
//! for the next round. What cannot be removed holds up nothing else: it is reported, passed over, and tried again after
//! the next search.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use async_trait::async_trait;

use super::{UploadError, Uploads};
use crate::{
    domain::{
        UploadId, before,
        upload::{Placement, State, Upload},
    },
    worker::{Step, Worker},
};

/// Most uploads touched by one part of a step.
const BATCH: u32 = 100;
/// Rest between two rounds.
const REST: Duration = Duration::from_secs(30);
/// How long parts stay that were joined: clients ask once more for what they have just sent.
const PARTS_STAY: Duration = Duration::from_secs(60);
/// Every so many rounds the content store is searched for files without a row.
const ROUNDS_PER_SEARCH: u32 = 120;

/// See the module's text.
pub struct Reaper {
    uploads: Uploads,
    rounds_to_search: u32,
    /// Unfinished contents that the last search found and nobody has looked at yet.
    found: VecDeque<(UploadId, Placement)>,
    /// Uploads that could not be ended or removed since the last search.
    stuck: HashSet<UploadId>,
    /// The last failure of this step.
    failure: Option<String>,
}

impl Reaper {
    /// A reaper for these uploads. It searches for files without a row in its first round.
    pub fn new(uploads: Uploads) -> Self {
        let (found, stuck) = (VecDeque::new(), HashSet::new());
        Self { uploads, rounds_to_search: 0, found, stuck, failure: None }
    }

    /// Ends what has outlived its time.
    async fn expire(&mut self) -> Result<usize, UploadError> {
        let parts = &self.uploads.parts;
        let now = parts.clock.now();
        let completed_before = parts.settings.retain_completed.map(|kept| before(now, kept));
        let outlived = parts.db.outlived(now, completed_before, self.reach()).await?;
        let end = async |uploads: Uploads, upload: Upload| {
            let waits = upload.state == State::Receiving && uploads.waits_for_late(&upload).await?;
            if waits { Ok(false) } else { uploads.end(&upload, State::Expired, None).await }
        };
        self.each(outlived, end).await
    }

    /// Joins what a crash, or a failure, kept from being joined; ends what can never be.
    async fn join(&mut self) -> Result<usize, UploadError> {
        let parts = &self.uploads.parts;
        let mut done = 0;
        for upload in parts.db.to_join(parts.clock.now(), self.reach()).await? {
            let id = upload.id;
            match self.uploads.gathered(upload).await {
                Ok(joined) => done += usize::from(joined.state != State::Receiving),
                Err(error) => {
                    self.stuck.insert(id);
                    self.failure = Some(format!("upload {id}: {error}"));
                }
            }
        }
        Ok(done)
    }

    /// Ends parts whose upload has their bytes, or will never want them.
    async fn drop_parts(&mut self) -> Result<usize, UploadError> {
        let parts = &self.uploads.parts;
        let left_over = parts.db.left_over(before(parts.clock.now(), PARTS_STAY), self.reach()).await?;
        self.each(left_over, async |uploads, part| uploads.end(&part, State::Cancelled, None).await).await
    }

    /// Removes the bytes of what ended when its process died in between.
    async fn collect(&mut self) -> Result<usize, UploadError> {
        let ended = self.uploads.parts.db.to_collect(self.reach()).await?;
        self.each(ended, async |uploads, upload| uploads.collect(&upload).await.map(|()| true)).await
    }

    /// Forgets tombstones.
    async fn forget(&mut self) -> Result<usize, UploadError> {
        let parts = &self.uploads.parts;
        let ended_before = before(parts.clock.now(), parts.settings.tombstones);
        Ok(parts.db.forget(ended_before, BATCH).await? as usize)
    }

    /// Lists the unfinished contents, now and then.
    async fn search(&mut self) -> Result<usize, UploadError> {
        if self.rounds_to_search > 0 {
            return Ok(0);
        }
        self.rounds_to_search = ROUNDS_PER_SEARCH;
        self.stuck.clear();
        self.found = self.uploads.parts.content.unfinished().await?.into();
        Ok(0)
    }

    /// Removes files that no row knows. Whoever makes a new upload holds its lock until its row is there, so the lock is
    /// looked at first.
    async fn sweep(&mut self) -> Result<usize, UploadError> {
        let parts = &self.uploads.parts;
        let batch: Vec<_> = self.found.drain(..self.found.len().min(BATCH as usize)).collect();
        let looked_at = batch.len();
        for (id, placement) in batch {
            let Some(_guard) = parts.locks.try_acquire(id) else { continue };
            if parts.db.exists(id).await? {
                continue;
            }
            tracing::info!(upload.id = %id, "removing bytes that no upload knows");
            if let Err(error) = parts.content.delete(&placement).await {
                self.failure = Some(format!("bytes of {id}: {error}"));
            }
        }
        Ok(looked_at)
    }

    /// Does `deed` to each upload whose lock is free; counts those it was done to.
    async fn each(
        &mut self,
        all: Vec<Upload>,
        deed: impl AsyncFn(Uploads, Upload) -> Result<bool, UploadError>,
    ) -> Result<usize, UploadError> {
        let mut done = 0;
        for upload in all {
            let id = upload.id;
            let Some(_guard) = self.uploads.parts.locks.try_acquire(id) else { continue };
            match deed(self.uploads.clone(), upload).await {
                Ok(changed) => done += usize::from(changed),
                Err(error) => {
                    self.stuck.insert(id);
                    self.failure = Some(format!("upload {id}: {error}"));
                }
            }
        }
        Ok(done)
    }

    /// How many rows to ask for, so that those which are passed over do not hide the others.
    fn reach(&self) -> u32 {
        let passed_over = self.stuck.len() + self.uploads.in_work();
        BATCH.saturating_add(u32::try_from(passed_over).unwrap_or(u32::MAX))
    }

    /// Notes a failure; the other parts of the step go on.
    fn note(&mut self, done: Result<usize, UploadError>) -> usize {
        done.unwrap_or_else(|error| {
            self.failure = Some(error.to_string());
            0
        })
    }
}

#[async_trait]
impl Worker for Reaper {
    fn name(&self) -> &'static str {
        "reaper"
    }

    fn rest(&self) -> Duration {
        REST
    }

    async fn step(&mut self) -> Result<Step, String> {
        self.rounds_to_search = self.rounds_to_search.saturating_sub(1);
        let mut done = 0;
        let searched = self.search().await;
        done += self.note(searched);
        let swept = self.sweep().await;
        done += self.note(swept);
        let joined = self.join().await;
        done += self.note(joined);
        let dropped = self.drop_parts().await;
        done += self.note(dropped);
        let expired = self.expire().await;
        done += self.note(expired);
        let collected = self.collect().await;
        done += self.note(collected);
        let forgotten = self.forget().await;
        done += self.note(forgotten);
        match self.failure.take() {
            Some(failure) if done == 0 => Err(failure),
            Some(failure) => {
                tracing::warn!(failure, "something could not be collected");
                Ok(Step::More)
            }
            None if done > 0 => Ok(Step::More),
            None => Ok(Step::Idle),
        }
    }
}
