//! Creations that happen once: whoever lost the answer sends the request again under the same key, and hears how far the
//! upload is that the first one made. What comes with the second request is not taken in; it makes nothing and counts
//! nowhere.
//!
//! The row has the key, and the database lets one living upload of an owner have it. While the first request's row is not
//! there yet, its place is kept in this process, so that the second finds out what the first has brought. A key names an
//! upload and proves nothing: a proof that does not reach the upload hears nothing of it, and what a proof may do once it
//! has done with the second request too. Uploads of nobody have no keys: everybody would share them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest as _, Sha256};

use super::{
    Append, Body, BodyError, Contention, Keep, New, Target, UploadError, Uploads, meters::Outcome, to_spend, within,
};
use crate::domain::{
    UploadId, UserId,
    concat::Role,
    creation::{Creation, CreationKey},
    digest::Wanted,
    hex,
    principal::{Binding, Principal, Reach, Scope, Spend},
    upload::{Claim, Refusal, State, Upload},
};

/// How often a request looks again for what others made of its key, at most.
const TURNS: u32 = 4;

/// Creations under a key whose rows are not there yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Births(Arc<Mutex<HashMap<(UserId, CreationKey), Birthing>>>);

/// What is known of an upload before its row.
#[derive(Debug, Clone)]
struct Birthing {
    id: UploadId,
    said: String,
    binding: Option<Binding>,
}

/// A creation, and its place among the others until it is dropped.
#[derive(Debug)]
pub(super) struct Once {
    pub(super) creation: Creation,
    owner: UserId,
    births: Births,
}

/// Who makes the upload of a key.
enum First {
    /// This request.
    This(Once),
    /// An earlier one.
    Earlier(Box<Upload>),
}

impl Births {
    /// The place of the creation, or who has it.
    fn place(
        &self,
        owner: UserId,
        creation: &Creation,
        id: UploadId,
        binding: Option<Binding>,
    ) -> Result<Once, Birthing> {
        match self.table().entry((owner, creation.key.clone())) {
            Entry::Occupied(taken) => Err(taken.get().clone()),
            Entry::Vacant(free) => {
                free.insert(Birthing { id, said: creation.said.clone(), binding });
                Ok(Once { creation: creation.clone(), owner, births: self.clone() })
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<(UserId, CreationKey), Birthing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Birthing {
    /// Whether the proof will reach the upload: each that reaches what its user owns, and the one that makes it.
    fn reached(&self, by: &Principal) -> Result<(), UploadError> {
        let is_its_maker = by.binding.is_some() && by.binding == self.binding;
        if by.reach == Reach::Own || is_its_maker { Ok(()) } else { Err(UploadError::Forbidden) }
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        self.births.table().remove(&(self.owner, self.creation.key.clone()));
    }
}

impl Uploads {
    /// Takes in the chunk that makes the upload of `key`, or tells how far the upload is that has been made under it.
    pub(super) async fn append_once(
        &self,
        by: &Principal,
        new: New,
        key: CreationKey,
        claim: &Claim,
        keep: Keep,
        body: Body,
    ) -> Result<Upload, UploadError> {
        within(by, Scope::Create)?;
        let Some(owner) = by.owner().user_id() else {
            let append = Append { target: Target::New(new), claim: *claim, keep, contention: Contention::Wait, body };
            return Box::pin(self.append(by, append)).await;
        };
        let spend = to_spend(by)?;
        let creation = Creation { said: said(&new, claim.size), key };
        let fresh = self.fresh(by, new)?;
        let refused = |error: &UploadError| self.parts.meters.chunks.one(Outcome::refused(error));
        let once = match self.first(by, owner, &creation, fresh.0.id, spend).await.inspect_err(refused)? {
            First::This(once) => once,
            First::Earlier(upload) => return Ok(*upload),
        };
        let admitted = self.begin(by, fresh, claim, Some(once)).await;
        match self.take(by, admitted, keep, body).await {
            Err(error) if is_of_another(&error) => match self.parts.db.created(owner, &creation.key).await? {
                Some(known) => self.earlier(by, known, &creation, spend).await,
                None => Err(error),
            },
            outcome => outcome,
        }
    }

    /// Finds out whether an upload has been made under the key, or is being made.
    async fn first(
        &self,
        by: &Principal,
        owner: UserId,
        creation: &Creation,
        id: UploadId,
        spend: Option<Spend>,
    ) -> Result<First, UploadError> {
        for _ in 0..TURNS {
            let place = self.parts.births.place(owner, creation, id, by.binding);
            if let Err(other) = &place {
                other.reached(by)?;
                is_same(&other.said, creation)?;
                // Its row is there as soon as it has committed what arrived.
                self.parts.locks.commit(other.id).await;
            }
            if let Some(known) = self.parts.db.created(owner, &creation.key).await? {
                if known.0.state_at(self.now()) == State::Expired {
                    self.expire(&known.0).await?;
                    continue;
                }
                drop(place);
                return self.earlier(by, known, creation, spend).await.map(|upload| First::Earlier(Box::new(upload)));
            }
            match place {
                Ok(once) => return Ok(First::This(once)),
                // What counts as a whole or not at all is waited for, unless nothing comes any more.
                Err(other) => {
                    drop(self.parts.locks.acquire(other.id, Contention::Succeed).await.ok_or(UploadError::Busy)?);
                }
            }
        }
        Err(UploadError::Busy)
    }

    /// What a client hears that sends a creation again: what it would have heard at first, of the upload as it stands.
    async fn earlier(
        &self,
        by: &Principal,
        (upload, said): (Upload, String),
        creation: &Creation,
        spend: Option<Spend>,
    ) -> Result<Upload, UploadError> {
        let by = self.reaching(by, upload.id).await?;
        is_same(&said, creation)?;
        if let Some(spend) = spend
            && !self.parts.db.spend(spend).await?
        {
            return Err(UploadError::Replayed);
        }
        self.living(self.settle(&by, upload.id).await?)
    }

    /// The principal, if its proof reaches the upload. It may have created it since it was judged.
    async fn reaching(&self, by: &Principal, id: UploadId) -> Result<Principal, UploadError> {
        if by.reaches(id) {
            return Ok(by.clone());
        }
        match by.binding {
            Some(binding) if self.parts.db.created_by(binding.proof, id).await? => {
                Ok(Principal { reach: Reach::Only(vec![id]), ..by.clone() })
            }
            Some(_) | None => Err(UploadError::Forbidden),
        }
    }

    /// Ends an upload whose time is over, as the reaper would: its key is wanted.
    async fn expire(&self, upload: &Upload) -> Result<(), UploadError> {
        // What it belongs to may still want its bytes.
        if matches!(upload.role, Some(Role::Part { of: Some(_) })) {
            return Err(Refusal::Expired.into());
        }
        // Whoever came in time may end late.
        let guard = self.parts.locks.try_acquire(upload.id).ok_or(UploadError::Busy)?;
        let (core, upload) = (self.clone(), upload.clone());
        self.detached(async move {
            let ended = core.end(&upload, State::Expired, None).await;
            drop(guard);
            ended
        })
        .await
        .map(drop)
    }
}

/// One key, one upload.
fn is_same(said: &str, creation: &Creation) -> Result<(), Refusal> {
    if said == creation.said { Ok(()) } else { Err(Refusal::KeyReused) }
}

/// Whether an upload may not have begun because another request, at another node, was faster to make it.
fn is_of_another(error: &UploadError) -> bool {
    matches!(
        error,
        UploadError::Replayed | UploadError::Refused(Refusal::OverQuota { .. } | Refusal::TooManyUploads { .. })
    )
}

/// Whether an upload that began under a key ends with the error that its client hears. What only broke off goes on when the
/// client sends its request again.
pub(super) fn is_over(error: &UploadError) -> bool {
    match error {
        // Somebody else has moved it, or ended it.
        UploadError::Refused(
            Refusal::WrongOffset { .. } | Refusal::Complete | Refusal::Cancelled | Refusal::Expired,
        ) => false,
        UploadError::Refused(_) | UploadError::Body(BodyError::Malformed(_)) => true,
        _ => false,
    }
}

/// What is said of a new upload, as a hash.
fn said(new: &New, size: Option<u64>) -> String {
    let New { filename, content_type, digest, metadata, completes, is_part } = new;
    let digest = digest.as_ref().map(|wanted| match wanted {
        Wanted::Equal(digest) => format!("={} {}", digest.algorithm.name(), digest.to_hex()),
        Wanted::Told(algorithm) => algorithm.name().to_owned(),
    });
    let words = (filename, content_type, digest, metadata, completes, is_part, size);
    // Unambiguous, and the same in every version: texts are quoted.
    hex(&Sha256::digest(serde_json::to_vec(&words).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> New {
        New {
            filename: String::new(),
            content_type: None,
            digest: None,
            metadata: None,
            completes: true,
            is_part: false,
        }
    }

    #[test]
    fn a_key_has_one_place_until_it_is_left() {
        let (births, owner) = (Births::default(), UserId::new());
        let creation = Creation { key: CreationKey::new("a").expect("a key"), said: "this".into() };
        let id = UploadId::new();
        let once = births.place(owner, &creation, id, None).expect("free");
        assert_eq!(births.place(owner, &creation, UploadId::new(), None).expect_err("taken").id, id);
        assert!(births.place(UserId::new(), &creation, id, None).is_ok(), "somebody else's");
        drop(once);
        assert!(births.place(owner, &creation, id, None).is_ok());
        assert_eq!(births.table().len(), 0);
    }

    #[test]
    fn whatever_is_said_counts() {
        let words = [
            said(&new(), None),
            said(&new(), Some(1)),
            said(&New { is_part: true, ..new() }, None),
            said(&New { metadata: Some(String::new()), ..new() }, None),
            said(&New { metadata: Some("None".into()), ..new() }, None),
            said(&New { filename: "a".into(), ..new() }, None),
        ];
        assert_eq!(words.iter().collect::<std::collections::HashSet<_>>().len(), words.len());
        assert_eq!(words[0], said(&new(), None));
    }
}
