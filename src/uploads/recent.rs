//! Rows as this process committed them last, so that a chunk which follows another need not look for its upload.
//!
//! Promises: what stands here only ever admits. It is a candidate, which the commit's compare-and-set holds against the row;
//! whoever is refused is refused by the row as it is then. And nobody is admitted to an upload of somebody else's, because
//! the owner stands here too and never changes.
//!
//! What is deliberately not here: a way to keep it true. Another node may have moved, ended or forgotten the upload; then
//! the bytes of one chunk were received in vain.

use std::time::Duration;

use moka::sync::Cache;

use super::Uploads;
use crate::domain::{
    UploadId,
    principal::Principal,
    upload::{State, Upload},
};

/// How many are remembered; fewer, where they carry much metadata.
const ENTRIES: u64 = 4096;
/// For how long, unless another chunk follows.
const IDLE: Duration = Duration::from_secs(60);

/// See the module's text. Whoever changes it holds the upload's lock.
pub(super) struct Recent {
    rows: Cache<UploadId, Upload>,
}

impl Default for Recent {
    fn default() -> Self {
        // Metadata is what makes a row large.
        let weigh = |_: &UploadId, row: &Upload| 1 + row.metadata.as_ref().map_or(0, String::len) as u32 / 1024;
        Self { rows: Cache::builder().max_capacity(ENTRIES).weigher(weigh).time_to_idle(IDLE).build() }
    }
}

impl Recent {
    /// Remembers the row as it was just looked at or written, if a chunk may follow. Not of parts: what they belong to is
    /// made, and joined, without their lock.
    pub(super) fn remember(&self, row: &Upload) {
        match row.state == State::Receiving && row.size != Some(row.offset) && row.role.is_none() {
            true => self.rows.insert(row.id, row.clone()),
            false => self.forget(row.id),
        }
    }

    /// Carries what a commit has changed over to the row that is remembered, if it is.
    pub(super) fn moved(&self, to: &Upload) {
        let Some(row) = self.rows.get(&to.id) else { return };
        // Limits are not the commit's: with the chunk's come those of whoever sends it.
        self.remember(&Upload { kept: row.kept, ..to.clone() });
    }

    /// Forgets an upload that ends, or whose row is in doubt.
    pub(super) fn forget(&self, id: UploadId) {
        self.rows.invalidate(&id);
    }
}

impl Uploads {
    /// The upload as it was when this process committed it last, if it is the principal's.
    pub(super) fn recall(&self, by: &Principal, id: UploadId) -> Option<Upload> {
        let row = self.parts.recent.rows.get(&id)?;
        (by.reaches(id) && row.owner() == by.owner()).then_some(row)
    }
}
