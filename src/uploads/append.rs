//! Create and append: from one command to one chunk, durable and ready to be committed.

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{
    Append, Body, Contention, Keep, New, Target, UploadError, Uploads,
    commit::keep_digest,
    drain::Drain,
    lock::Guard,
    meters::Outcome,
    once::{self, Once},
    placement_of,
    pump::{Pump, Received, Then},
    to_spend, within,
};
use crate::{
    content::Start,
    domain::{
        UploadId,
        concat::Role,
        digest::{Running, Wanted},
        limits::{Allowance, holdable, smaller},
        names,
        principal::{Binding, Principal, Scope, Spend},
        upload::{self, Claim, Plan, State, Upload},
    },
};

/// What the first chunk's commit records besides the upload.
pub(super) struct Birth {
    pub(super) binding: Option<Binding>,
    pub(super) spend: Option<Spend>,
    /// What it may take beside its user's other uploads.
    pub(super) allowance: Allowance,
    /// Whether a commit was tried and nobody knows how it ended.
    pub(super) unsure: bool,
    /// Its key, if it begins once.
    pub(super) once: Option<Once>,
}

/// A chunk that the rules admit, and the upload that it is for.
pub(super) struct Admitted {
    guard: Guard,
    upload: Upload,
    plan: Plan,
    start: Start,
    born: Option<Birth>,
}

/// A chunk on its way in.
pub(super) struct Chunk {
    pub(super) by: Principal,
    pub(super) plan: Plan,
    start: Start,
    pub(super) keep: Keep,
    pub(super) guard: Guard,
}

impl Uploads {
    /// Makes an upload without bytes.
    ///
    /// # Errors
    /// A [`upload::Refusal`] of the size, [`UploadError::Forbidden`], [`UploadError::NonceRequired`], [`UploadError::Replayed`], or a
    /// store's failure.
    pub async fn create(&self, by: &Principal, new: New, size: Option<u64>) -> Result<Upload, UploadError> {
        let claim = Claim { at: upload::At::Exactly(0), length: Some(0), size, last: false };
        let body = Box::pin(futures_util::stream::empty());
        let append = Append { target: Target::New(new), claim, keep: Keep::Whole, contention: Contention::Wait, body };
        self.append(by, append).await
    }

    /// Takes in a chunk. Returns the upload as it stands afterwards.
    ///
    /// The work goes on if the caller is dropped. With [`Keep::Received`] an error may still have moved the offset.
    ///
    /// # Errors
    /// Every [`UploadError`].
    pub async fn append(&self, by: &Principal, append: Append) -> Result<Upload, UploadError> {
        let Append { target, claim, keep, contention, body } = append;
        let admitted = match target {
            Target::New(new) => match self.fresh(by, new) {
                Ok(fresh) => self.begin(by, fresh, &claim, None).await,
                Err(error) => Err(error),
            },
            Target::Once(new, key) => return self.append_once(by, new, key, &claim, keep, body).await,
            Target::Known(id) => self.resume(by, id, &claim, contention).await,
        };
        self.take(by, admitted, keep, body).await
    }

    /// Takes in an admitted chunk, whoever leaves meanwhile.
    pub(super) async fn take(
        &self,
        by: &Principal,
        admitted: Result<Admitted, UploadError>,
        keep: Keep,
        body: Body,
    ) -> Result<Upload, UploadError> {
        let refused = |error: &UploadError| self.parts.meters.chunks.one(Outcome::refused(error));
        let Admitted { guard, upload, plan, start, born } = admitted.inspect_err(refused)?;
        let chunk = Chunk { by: by.clone(), plan, start, keep, guard };
        let (core, admitted) = (self.clone(), self.now());
        self.detached(async move {
            let meters = &core.parts.meters;
            let _receiving = meters.receiving.hold(());
            let part = upload.is_part().then(|| (upload.id, upload.owner()));
            let outcome = core.pump(upload, &chunk, body, born).await;
            meters.chunks.one(Outcome::of(&outcome));
            let outcome = match outcome {
                Ok(upload) => core.complete_if_all_there(&chunk.by, upload, admitted, &chunk.guard).await,
                Err(error) => Err(error),
            };
            drop(chunk);
            if let Some((id, owner)) = part {
                core.join_with(id, owner).await;
            }
            outcome
        })
        .await
    }

    /// An upload that is not recorded yet, and its lock.
    pub(super) fn fresh(&self, by: &Principal, new: New) -> Result<(Upload, Guard), UploadError> {
        let upload = self.unborn(by, new);
        let guard = self.parts.locks.try_acquire(upload.id).ok_or(UploadError::Busy)?;
        Ok((upload, guard))
    }

    /// The rules for a first chunk.
    pub(super) async fn begin(
        &self,
        by: &Principal,
        (upload, guard): (Upload, Guard),
        claim: &Claim,
        once: Option<Once>,
    ) -> Result<Admitted, UploadError> {
        let spend = self.may_create(by)?;
        // A part says nothing about the file that it will be in.
        if !upload.is_part() {
            by.limits.admit_type(upload.content_type.as_deref())?;
        }
        let plan = upload::may_begin(claim, self.max_bytes(by))?.in_chunks_of(upload.kept.max_chunk_bytes)?;
        let birth = Birth { binding: by.binding, spend, allowance: by.limits.allowance(), unsure: false, once };
        // Asked again by the commit; here, so that nobody sends for nothing.
        let takes = plan.size.or(plan.exactly).unwrap_or_default();
        let plan = plan.with_room(self.room(&upload, &birth.allowance, takes).await?);
        Ok(Admitted { guard, upload, plan, start: Start::New, born: Some(birth) })
    }

    /// May an upload begin, whatever it is? What is to be spent on it.
    pub(super) fn may_create(&self, by: &Principal) -> Result<Option<Spend>, UploadError> {
        within(by, Scope::Create)?;
        if !by.may_create {
            return Err(UploadError::Forbidden);
        }
        self.pace_beginning(by)?;
        to_spend(by)
    }

    /// How many bytes are left to the user, if an upload that takes so many may begin.
    async fn room(&self, upload: &Upload, allowance: &Allowance, takes: u64) -> Result<Option<u64>, UploadError> {
        let Some(owner) = upload.owner.filter(|_| !allowance.is_boundless()) else { return Ok(None) };
        let beside = self.parts.db.usage(owner, upload.id, allowance.since(), self.now()).await?;
        allowance.admit(&beside, takes)?;
        Ok(allowance.left(&beside))
    }

    /// An upload that is not recorded yet.
    pub(super) fn unborn(&self, by: &Principal, new: New) -> Upload {
        let (id, now, kept) = (UploadId::new(), self.now(), by.limits.kept());
        Upload {
            id,
            owner: by.owner().user_id(),
            filename: names::display_name(&new.filename),
            content_type: new.content_type.as_deref().and_then(names::content_type),
            metadata: new.metadata,
            completes: new.completes,
            role: new.is_part.then_some(Role::Part { of: None }),
            state: State::Receiving,
            offset: 0,
            size: None,
            digest: new.digest.as_ref().map(|wanted| keep_digest(&Running::new(wanted.algorithm()))),
            expected: new.digest.and_then(Wanted::expected),
            sum: None,
            placement: Some(self.parts.content.place(id, by.user.as_ref(), now)),
            tail_start: 0,
            // An upload that goes on to grow may not outgrow what was left when it began.
            max_bytes: holdable(smaller(by.limits.max_file_bytes, by.limits.remaining.map(|rest| rest.bytes))),
            kept,
            created: now,
            updated: now,
            expires: kept.expires(now, self.parts.settings.expires_after),
            ended: None,
        }
    }

    /// The lock and the rules for a later chunk. A held lock is waited for only if the rules would admit the chunk.
    async fn resume(
        &self,
        by: &Principal,
        id: UploadId,
        claim: &Claim,
        contention: Contention,
    ) -> Result<Admitted, UploadError> {
        within(by, Scope::Write)?;
        let rule = |upload: Upload| {
            let plan = upload.may_append(claim, self.max_bytes(by), self.now())?;
            let plan = plan.in_chunks_of(upload.kept.and(&by.limits).max_chunk_bytes)?;
            Ok::<_, UploadError>((upload, plan))
        };
        let guard = match self.parts.locks.try_acquire(id) {
            Some(guard) => guard,
            None => {
                // Nobody is refused for where it stands before what the holder took in counts.
                if contention == Contention::Succeed {
                    self.parts.locks.commit(id).await;
                }
                rule(self.find(by, id).await?)?;
                self.parts.locks.acquire(id, contention).await.ok_or(UploadError::Busy)?
            }
        };
        let (mut upload, plan, start) = match self.recall(by, id).map(rule) {
            Some(Ok((upload, plan))) => (upload, plan, Start::At(plan.from)),
            // What was remembered refuses nobody.
            None | Some(Err(_)) => {
                let (upload, plan) = rule(self.find(by, id).await?)?;
                (upload, plan, Start::Again(plan.from))
            }
        };
        self.pace_known(by, &upload)?;
        // As it stands in the row: what the sender may is not the upload's.
        self.parts.recent.remember(&upload);
        upload.kept = upload.kept.and(&by.limits);
        Ok(Admitted { guard, upload, plan, start, born: None })
    }

    async fn pump(
        &self,
        upload: Upload,
        chunk: &Chunk,
        body: Body,
        mut born: Option<Birth>,
    ) -> Result<Upload, UploadError> {
        let placement = placement_of(&upload)?.clone();
        // Its client never learns the id of an upload that it hears an error about, unless it can look for it by name or has
        // a key for it.
        let begun = (born.is_some() && (upload.completes || upload.is_part())).then(|| upload.clone());
        let is_known = born.as_ref().is_some_and(|birth| birth.once.is_some());
        let outcome = self.take_in(upload, chunk, body, &mut born).await;
        // No row knows these bytes. If the database did not say whether it made one, the reaper asks again before it
        // removes them.
        if born.as_ref().is_some_and(|birth| !birth.unsure)
            && let Err(error) = self.parts.content.delete(&placement).await
        {
            tracing::warn!(%error, "the bytes of a refused first chunk stay for the reaper");
        }
        let is_over = |error: &UploadError| !is_known || once::is_over(error);
        if let Some(upload) = begun.filter(|_| outcome.as_ref().is_err_and(is_over) && born.is_none())
            && let Err(error) = self.end(&upload, State::Cancelled, None).await
        {
            tracing::warn!(upload.id = %upload.id, %error, "an upload that nobody knows of stays until it expires");
        }
        outcome
    }

    async fn take_in(
        &self,
        mut upload: Upload,
        chunk: &Chunk,
        body: Body,
        born: &mut Option<Birth>,
    ) -> Result<Upload, UploadError> {
        let (parts, plan) = (&self.parts, &chunk.plan);
        let placement = placement_of(&upload)?;
        let digest = self.running(&upload).await?;
        let drain = Drain::new(parts.content.clone(), placement.clone(), chunk.start, digest);
        let meters = parts.meters.clone();
        let body = body.inspect_ok(move |frame| meters.arrived.add((), frame.len() as u64)).boxed();
        let mut pump = Pump::new(chunk, body, parts, drain);
        loop {
            let (received, size) = match pumped(&mut pump, plan).await {
                Ok(pumped) => pumped,
                Err(error) => {
                    // The next one opens it as whoever knows nothing does.
                    parts.recent.forget(upload.id);
                    return Err(if born.is_some() { error } else { self.given_up(&upload, error).await });
                }
            };
            match born {
                Some(birth) => {
                    self.bear(&mut upload, birth, &received, size).await?;
                    *born = None;
                }
                None => {
                    if let Err(error) = self.commit(&mut upload, chunk, &received, size).await {
                        return Err(self.uncommitted(&upload, error).await);
                    }
                }
            }
            match received.then {
                Then::More => chunk.guard.committed(),
                Then::End => return Ok(upload),
                Then::CutShort(error) => return Err(error),
            }
        }
    }

    /// Gives back the space of a chunk that was not admitted: on a full disk others need it before its client returns.
    /// Never after a commit whose end nobody knows: the row may stand further than this task knows.
    async fn give_back(&self, upload: &Upload, to: Start) {
        let Ok(placement) = placement_of(upload) else { return };
        // Opening cuts what was not acknowledged. If it fails, the next chunk's opening does it.
        if let Err(error) = self.parts.content.open(placement, to).await {
            tracing::debug!(upload.id = %upload.id, %error, "the rest of a refused chunk stays for now");
        }
    }

    /// Bytes that are durable and could not be committed, and why. Where content and database lie on one disk, it may be
    /// these bytes that leave no space for a commit: for nobody's, and not for the end of an upload either.
    pub(super) async fn uncommitted(&self, upload: &Upload, error: UploadError) -> UploadError {
        if matches!(error, UploadError::Full)
            && matches!(self.stands_at(upload, State::Receiving, upload.offset).await, Ok(true))
        {
            // With its last byte it lies in the finished place already.
            self.give_back(upload, Start::Again(upload.offset)).await;
        }
        error
    }

    /// A chunk that was not admitted, and why. Bytes that are missing are damage only if the row counts on them: another
    /// process may have ended the upload since this one looked.
    async fn given_up(&self, upload: &Upload, error: UploadError) -> UploadError {
        if !matches!(error, UploadError::Internal(_)) {
            self.give_back(upload, Start::At(upload.offset)).await;
            return error;
        }
        match self.stands_at(upload, State::Receiving, upload.offset).await {
            Ok(false) => self.lost_race(upload).await.unwrap_or(error),
            Ok(true) | Err(_) => error,
        }
    }
}

/// The next bytes that are durable, and the total length as known with them.
async fn pumped(pump: &mut Pump<'_>, plan: &Plan) -> Result<(Received, Option<u64>), UploadError> {
    let received = pump.run().await?;
    let size = match received.then {
        Then::End => plan.settle(received.bytes)?,
        Then::More | Then::CutShort(_) => plan.size,
    };
    Ok((received, size))
}
