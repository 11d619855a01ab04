//! The changes of uploads that come with every chunk, as values: so that several can be made in one transaction.

use sqlx::Transaction;

use super::{
    Advance, StoreError, accounts,
    changes::{bind_within, bound, complete, completed_with, insert, moved, spend_within},
    creations::named,
    dialect::Dialect,
    step::Step,
    usage,
};
use crate::domain::{
    Timestamp, UploadId, UserId,
    creation::Creation,
    digest::Digest,
    limits::Allowance,
    principal::{Binding, Spend},
    upload::{Refusal, Upload},
};

/// One change of one row, and what stands or falls with it.
#[derive(Debug)]
pub(super) struct Deed {
    pub(super) change: Change,
    pub(super) spend: Option<Spend>,
    /// The owner, and what its uploads may take together with this one.
    pub(super) within: Option<(UserId, Allowance)>,
    pub(super) binding: Option<Binding>,
    /// Under which key a new upload is made.
    pub(super) creation: Option<Creation>,
}

/// The row's part of a deed.
#[derive(Debug)]
pub(super) enum Change {
    Insert(Box<Upload>),
    Advance(UploadId, Advance),
    /// The last move, and with it the completion.
    CompleteWith(UploadId, Advance, Option<Digest>),
    Complete {
        id: UploadId,
        offset: u64,
        sum: Option<Digest>,
        now: Timestamp,
    },
}

/// What became of a deed. What is not made changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Made,
    /// The row is elsewhere.
    Elsewhere,
    /// The owner's uploads leave no room for it.
    Refused(Refusal),
}

impl Deed {
    /// A change with which nothing else stands or falls.
    pub(super) fn plain(change: Change) -> Self {
        Self { change, spend: None, within: None, binding: None, creation: None }
    }

    /// A new upload.
    pub(super) fn insert(
        upload: &Upload,
        binding: Option<Binding>,
        spend: Option<Spend>,
        allowance: &Allowance,
    ) -> Self {
        let within = upload.owner.filter(|_| !allowance.is_boundless()).map(|owner| (owner, *allowance));
        Self { spend, within, binding, ..Self::plain(Change::Insert(Box::new(upload.clone()))) }
    }

    /// Whether it is one statement, and so needs no transaction.
    pub(super) fn is_plain(&self) -> bool {
        self.spend.is_none() && self.within.is_none() && self.binding.is_none() && self.creation.is_none()
    }

    /// Everything it does. It is made if each of its steps is.
    pub(super) fn steps(&self) -> Result<impl Iterator<Item = Step>, StoreError> {
        let spent = self.spend.map(accounts::spend);
        let (bound, named) = match &self.change {
            Change::Insert(upload) => (
                self.binding.map(|binding| bound(upload, binding)),
                self.creation.as_ref().map(|creation| named(upload, creation)),
            ),
            Change::Advance(..) | Change::CompleteWith(..) | Change::Complete { .. } => (None, None),
        };
        Ok(spent.into_iter().chain([self.step()?]).chain(bound).chain(named))
    }

    /// The change itself.
    pub(super) fn step(&self) -> Result<Step, StoreError> {
        match &self.change {
            Change::Insert(upload) => insert(upload),
            Change::Advance(id, advance) => moved(*id, advance),
            Change::CompleteWith(id, last, sum) => completed_with(*id, last, sum.as_ref()),
            Change::Complete { id, offset, sum, now } => complete(*id, *offset, sum.as_ref(), *now),
        }
    }

    /// Does all of it. Unless it is done, and more than one statement, the transaction is to be undone.
    pub(super) async fn make<DB: Dialect>(&self, tx: &mut Transaction<'_, DB>) -> Result<Done, StoreError> {
        spend_within(tx, self.spend).await?;
        if let Some(refusal) = self.refused(tx).await? {
            return Ok(Done::Refused(refusal));
        }
        if !self.step()?.make::<DB>(tx).await? {
            return Ok(Done::Elsewhere);
        }
        if let (Some(binding), Change::Insert(upload)) = (self.binding, &self.change) {
            bind_within(tx, upload, binding).await?;
        }
        if let (Some(creation), Change::Insert(upload)) = (&self.creation, &self.change) {
            named(upload, creation).make::<DB>(tx).await?;
        }
        Ok(Done::Made)
    }

    async fn refused<DB: Dialect>(&self, tx: &mut Transaction<'_, DB>) -> Result<Option<Refusal>, StoreError> {
        let Some((owner, allowance)) = self.within else { return Ok(None) };
        let (id, now, takes) = match &self.change {
            Change::Insert(upload) => (upload.id, upload.created, upload.takes()),
            Change::Advance(id, advance) | Change::CompleteWith(id, advance, _) => {
                (*id, advance.now, advance.size.unwrap_or(advance.to))
            }
            Change::Complete { id, offset, now, .. } => (*id, *now, *offset),
        };
        let beside = usage::held(tx, owner, id, allowance.since(), now).await?;
        let admitted = match &self.change {
            Change::Insert(_) => allowance.admit(&beside, takes),
            Change::Advance(..) | Change::CompleteWith(..) | Change::Complete { .. } => allowance.hold(&beside, takes),
        };
        Ok(admitted.err())
    }
}
