//! The worker that collects what has outlived its time, in bounded steps.
//!
//! Expired uploads end and lose their bytes; complete ones do when a retention is set; tombstones are forgotten after
//! theirs; files that no row knows (left by a process that died between content and commit) are removed. An upload that
//! is being worked on is left for the next round.

use std::time::Duration;

use async_trait::async_trait;

use super::{UploadError, Uploads};
use crate::{
    domain::{before, upload::State},
    worker::{Step, Worker},
};

/// Most uploads touched in one step.
const BATCH: u32 = 100;
/// Rest between two rounds.
const REST: Duration = Duration::from_secs(30);
/// Every so many rounds the content store is searched for files without a row.
const ROUNDS_PER_SEARCH: u32 = 120;

/// See the module's text.
pub struct Reaper {
    uploads: Uploads,
    rounds_to_search: u32,
}

impl Reaper {
    /// A reaper for these uploads. It searches for files without a row in its first round.
    pub fn new(uploads: Uploads) -> Self {
        Self { uploads, rounds_to_search: 0 }
    }

    /// Ends what has outlived its time.
    async fn expire(&self) -> Result<usize, UploadError> {
        let parts = &self.uploads.parts;
        let now = parts.clock.now();
        let completed_before = parts.settings.retain_completed.map(|kept| before(now, kept));
        let mut ended = 0;
        for upload in parts.db.outlived(now, completed_before, BATCH).await? {
            let Some(_guard) = parts.locks.try_acquire(upload.id) else { continue };
            ended += usize::from(self.uploads.end(&upload, State::Expired).await?);
        }
        Ok(ended)
    }

    /// Removes the bytes of what ended when its process died in between.
    async fn collect(&self) -> Result<usize, UploadError> {
        let parts = &self.uploads.parts;
        let mut collected = 0;
        for upload in parts.db.to_collect(BATCH).await? {
            let Some(_guard) = parts.locks.try_acquire(upload.id) else { continue };
            self.uploads.collect(&upload).await?;
            collected += 1;
        }
        Ok(collected)
    }

    /// Forgets tombstones.
    async fn forget(&self) -> Result<usize, UploadError> {
        let parts = &self.uploads.parts;
        let ended_before = before(parts.clock.now(), parts.settings.tombstones);
        Ok(parts.db.forget(ended_before, BATCH).await? as usize)
    }

    /// Removes files that no row knows. Whoever makes a new upload holds its lock until its row is there, so the lock is
    /// looked at first.
    async fn search(&self) -> Result<(), UploadError> {
        let parts = &self.uploads.parts;
        for (id, placement) in parts.content.unfinished().await? {
            let Some(_guard) = parts.locks.try_acquire(id) else { continue };
            if !parts.db.exists(id).await? {
                tracing::info!(upload.id = %id, "removing bytes that no upload knows");
                parts.content.delete(&placement).await?;
            }
        }
        Ok(())
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
        let round = async {
            if self.rounds_to_search == 0 {
                self.search().await?;
                self.rounds_to_search = ROUNDS_PER_SEARCH;
            }
            Ok::<_, UploadError>(self.expire().await? + self.collect().await? + self.forget().await?)
        };
        let done = round.await.map_err(|error| error.to_string())?;
        if done > 0 {
            return Ok(Step::More);
        }
        self.rounds_to_search -= 1;
        Ok(Step::Idle)
    }
}
