//! The uploads of every owner, for operators.
//!
//! Each call takes the proof of an [`Operator`], and each deed that ends an upload leaves an entry in the trail, in the
//! transaction that marks the row. Operators end uploads; they neither read nor write what is in them.

use std::sync::Arc;

use super::{Contention, UploadError, Uploads};
pub use crate::db::{OwnedUpload, Search};
use crate::{
    db::{Change, Operations},
    domain::{
        Timestamp, UploadId, UserId,
        operators::{Deed, Entry, Object, Operator},
        upload::{State, Upload},
    },
};

/// How an operator ends an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As its owner would.
    Cancel,
    /// As its time would.
    Expire,
}

impl Ending {
    fn state(self) -> State {
        match self {
            Self::Cancel => State::Cancelled,
            Self::Expire => State::Expired,
        }
    }

    fn deed(self) -> Deed {
        match self {
            Self::Cancel => Deed::UploadCancel,
            Self::Expire => Deed::UploadExpire,
        }
    }
}

/// The uploads of every owner. Cheap to clone.
#[derive(Clone)]
pub struct AllUploads {
    core: Uploads,
    facts: Arc<dyn Operations>,
}

impl AllUploads {
    /// Those of this core, whose facts are there.
    pub fn new(core: Uploads, facts: Arc<dyn Operations>) -> Self {
        Self { core, facts }
    }

    /// The current time of the core.
    pub fn now(&self) -> Timestamp {
        self.core.now()
    }

    /// Uploads, newest first; `owner` and `state` narrow them.
    ///
    /// # Errors
    /// A store's failure.
    pub async fn list(
        &self,
        by: &Operator,
        page: &Search<UploadId>,
        owner: Option<UserId>,
        state: Option<State>,
    ) -> Result<Vec<OwnedUpload>, UploadError> {
        Ok(self.facts.all_uploads(by, page, owner, state, self.now()).await?)
    }

    /// The upload as it stands, whatever its state.
    ///
    /// # Errors
    /// [`UploadError::NotFound`], or a store's failure.
    pub async fn show(&self, by: &Operator, id: UploadId) -> Result<OwnedUpload, UploadError> {
        self.facts.any_upload(by, id).await?.ok_or(UploadError::NotFound)
    }

    /// Ends an upload, growing or complete, and removes its bytes.
    ///
    /// # Errors
    /// [`UploadError::NotFound`], a [`Refusal`](crate::domain::upload::Refusal) if it is over already,
    /// [`UploadError::Busy`], or a store's failure.
    pub async fn end(&self, by: &Operator, id: UploadId, how: Ending) -> Result<OwnedUpload, UploadError> {
        let upload = self.show(by, id).await?.upload;
        let object = Object::upload(id, &upload.filename);
        let entry = |at| Entry::new(by, how.deed(), object.clone(), at);
        match self.end_it(by, &upload, how, entry).await {
            Ok(()) => self.show(by, id).await,
            Err(error) => {
                if matches!(error, UploadError::Refused(_) | UploadError::Busy) {
                    self.facts.note(&entry(self.now()).refused(error.to_string())).await?;
                }
                Err(error)
            }
        }
    }

    async fn end_it(
        &self,
        by: &Operator,
        upload: &Upload,
        how: Ending,
        entry: impl Fn(Timestamp) -> Entry,
    ) -> Result<(), UploadError> {
        upload.may_cancel(self.now())?;
        let locks = &self.core.parts.locks;
        let guard = locks.acquire(upload.id, Contention::TakeOver).await.ok_or(UploadError::Busy)?;
        let upload = self.show(by, upload.id).await?.upload;
        upload.may_cancel(self.now())?;
        let (core, facts, entry) = (self.core.clone(), self.facts.clone(), entry(self.now()));
        let ending = async move {
            let change = Change::EndUpload(upload.id, upload.state, how.state());
            let ended = facts.apply(change, &entry).await?;
            if ended {
                core.parts.meters.ended(how.state());
                core.collect(&upload).await?;
            }
            drop(guard);
            // Whoever moved it without the lock has ended it: the reaper of another process.
            if ended { Ok(()) } else { Err(UploadError::Busy) }
        };
        self.core.detached(ending).await
    }
}
