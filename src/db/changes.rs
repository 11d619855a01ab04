//! The statements that a deed is made of, as steps, in SQL that both engines read.

use sqlx::Transaction;

use super::{
    Advance, StoreError, accounts,
    dialect::Dialect,
    step::Step,
    store::{corrupt, hold},
    uploads::{TABLE, owner_text},
};
use crate::domain::{
    Timestamp, UploadId,
    concat::Role,
    digest::Digest,
    hex,
    principal::{Binding, Owner, Spend},
    upload::Upload,
};

/// The slot of an exclusive binding; a shared one has the upload's id.
const ONLY: &str = "only";

pub(super) const INSERT: &str = "
    INSERT INTO uploads (id, owner, filename, content_type, state, offset_bytes, size_bytes, digest_algorithm,
        digest_state, sum_algorithm, sum_hex, placement, created, updated, expires, ended, tail_start, max_bytes,
        max_total_bytes, max_chunk_bytes, requests_per_minute, ttl_seconds, metadata, completes,
        remaining_bytes, remaining_as_of, expected_hex, is_part, parts_listed, part_count)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
        $24, $25, $26, $27, $28, $29, $30)";

// Two exclusive bindings of a proof meet in the primary key, an exclusive and a shared one in these conditions. Two of them,
// so that each looks at one row: a shared proof may have thousands.
pub(super) const BIND: &str = "
    INSERT INTO bindings (proof, slot, upload_id, user_id)
    SELECT $1, $2, $3, $4
    WHERE NOT EXISTS (SELECT 1 FROM bindings WHERE proof = $1 AND slot = 'only')
      AND ($2 <> 'only' OR NOT EXISTS (SELECT 1 FROM bindings WHERE proof = $1))";

pub(super) const ADVANCE: &str = "
    UPDATE uploads
    SET offset_bytes = $3, size_bytes = $4, digest_algorithm = $5, digest_state = $6, expires = $7, updated = $8,
        tail_start = $9
    WHERE id = $1 AND state = 'receiving' AND offset_bytes = $2 AND (size_bytes IS NULL OR size_bytes = $4)";

pub(super) const COMPLETE_WITH: &str = "
    UPDATE uploads
    SET offset_bytes = $3, size_bytes = $4, digest_algorithm = $5, digest_state = NULL, expires = $6, updated = $7,
        tail_start = $8, state = 'complete', sum_algorithm = $9, sum_hex = $10, ended = $7
    WHERE id = $1 AND state = 'receiving' AND offset_bytes = $2 AND (size_bytes IS NULL OR size_bytes = $4)";

pub(super) const COMPLETE: &str = "
    UPDATE uploads
    SET state = 'complete', sum_algorithm = $3, sum_hex = $4, digest_state = NULL, updated = $5, ended = $5
    WHERE id = $1 AND state = 'receiving' AND offset_bytes = $2";

/// A new upload.
pub(super) fn insert(upload: &Upload) -> Result<Step, StoreError> {
    let count = |column, value| count(upload.id, column, value);
    let listed = match &upload.role {
        Some(Role::Joined { listed, parts }) => Some((listed, parts)),
        Some(Role::Part { .. }) | None => None,
    };
    Ok(Step::new(INSERT)
        .bind(upload.id.to_string())
        .bind(owner_text(upload.owner.map_or(Owner::Nobody, Owner::User)))
        .bind(upload.filename.clone())
        .bind(upload.content_type.clone())
        .bind(upload.state.name().to_owned())
        .bind(count("offset_bytes", upload.offset)?)
        .bind(upload.size.map(|size| count("size_bytes", size)).transpose()?)
        .bind(upload.digest.as_ref().map(|digest| digest.algorithm.name().to_owned()))
        .bind(upload.digest.as_ref().map(|digest| digest.state.clone()))
        .bind(upload.sum.as_ref().map(|sum| sum.algorithm.name().to_owned()))
        .bind(upload.sum.as_ref().map(Digest::to_hex))
        .bind(upload.placement.as_ref().map(|placement| placement.0.clone()))
        .bind(upload.created.as_microsecond())
        .bind(upload.updated.as_microsecond())
        .bind(upload.expires.as_microsecond())
        .bind(upload.ended.map(Timestamp::as_microsecond))
        .bind(count("tail_start", upload.tail_start)?)
        .bind(upload.max_bytes.map(|limit| count("max_bytes", limit)).transpose()?)
        .bind(upload.kept.max_total_bytes.map(|limit| count("max_total_bytes", limit)).transpose()?)
        .bind(upload.kept.max_chunk_bytes.map(|limit| count("max_chunk_bytes", limit)).transpose()?)
        .bind(upload.kept.requests_per_minute.map(|limit| count("requests_per_minute", limit)).transpose()?)
        .bind(upload.kept.ttl_seconds.map(|limit| count("ttl_seconds", limit)).transpose()?)
        .bind(upload.metadata.clone())
        .bind(upload.completes)
        .bind(upload.kept.remaining.map(|rest| count("remaining_bytes", rest.bytes)).transpose()?)
        .bind(upload.kept.remaining.map(|rest| rest.as_of.as_microsecond()))
        .bind(upload.expected.as_ref().map(Digest::to_hex))
        .bind(upload.is_part())
        .bind(listed.map(|(listed, _)| listed.clone()))
        .bind(listed.map(|(_, parts)| count("part_count", *parts)).transpose()?))
}

/// The move of an offset.
pub(super) fn moved(id: UploadId, advance: &Advance) -> Result<Step, StoreError> {
    let count = |column, value| count(id, column, value);
    Ok(Step::new(ADVANCE)
        .bind(id.to_string())
        .bind(count("offset_bytes", advance.from)?)
        .bind(count("offset_bytes", advance.to)?)
        .bind(advance.size.map(|size| count("size_bytes", size)).transpose()?)
        .bind(advance.digest.as_ref().map(|digest| digest.algorithm.name().to_owned()))
        .bind(advance.digest.as_ref().map(|digest| digest.state.clone()))
        .bind(advance.expires.as_microsecond())
        .bind(advance.now.as_microsecond())
        .bind(count("tail_start", advance.tail_start)?))
}

/// The last move of an offset, and the completion with it.
pub(super) fn completed_with(id: UploadId, last: &Advance, sum: Option<&Digest>) -> Result<Step, StoreError> {
    let count = |column, value| count(id, column, value);
    Ok(Step::new(COMPLETE_WITH)
        .bind(id.to_string())
        .bind(count("offset_bytes", last.from)?)
        .bind(count("offset_bytes", last.to)?)
        .bind(last.size.map(|size| count("size_bytes", size)).transpose()?)
        .bind(last.digest.as_ref().map(|digest| digest.algorithm.name().to_owned()))
        .bind(last.expires.as_microsecond())
        .bind(last.now.as_microsecond())
        .bind(count("tail_start", last.tail_start)?)
        .bind(sum.map(|sum| sum.algorithm.name().to_owned()))
        .bind(sum.map(Digest::to_hex)))
}

/// The completion of what stands at `offset`.
pub(super) fn complete(id: UploadId, offset: u64, sum: Option<&Digest>, now: Timestamp) -> Result<Step, StoreError> {
    Ok(Step::new(COMPLETE)
        .bind(id.to_string())
        .bind(count(id, "offset_bytes", offset)?)
        .bind(sum.map(|sum| sum.algorithm.name().to_owned()))
        .bind(sum.map(Digest::to_hex))
        .bind(now.as_microsecond()))
}

/// That the new upload was made with its proof. Exclusive and shared bindings of one proof never stand side by side.
pub(super) fn bound(upload: &Upload, binding: Binding) -> Step {
    Step::new(BIND)
        .bind(hex(&binding.proof.0))
        .bind(if binding.exclusive { ONLY.to_owned() } else { upload.id.to_string() })
        .bind(upload.id.to_string())
        .bind(upload.owner.map(|user| user.to_string()))
}

/// Records a new upload with its binding.
pub(super) async fn insert_within<DB: Dialect>(
    tx: &mut Transaction<'_, DB>,
    upload: &Upload,
    binding: Option<Binding>,
) -> Result<(), StoreError> {
    insert(upload)?.make::<DB>(tx).await?;
    match binding {
        Some(binding) => bind_within(tx, upload, binding).await,
        None => Ok(()),
    }
}

pub(super) async fn bind_within<DB: Dialect>(
    tx: &mut Transaction<'_, DB>,
    upload: &Upload,
    binding: Binding,
) -> Result<(), StoreError> {
    hold(tx, hex(&binding.proof.0)).await?;
    match bound(upload, binding).make::<DB>(tx).await? {
        true => Ok(()),
        false => Err(StoreError::Conflict),
    }
}

pub(super) async fn spend_within<DB: Dialect>(
    tx: &mut Transaction<'_, DB>,
    spend: Option<Spend>,
) -> Result<(), StoreError> {
    let Some(spend) = spend else { return Ok(()) };
    match accounts::spend(spend).make::<DB>(tx).await? {
        true => Ok(()),
        false => Err(StoreError::Conflict),
    }
}

/// A count as the table spells it.
fn count(id: UploadId, column: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| corrupt(TABLE, column, &id.to_string()))
}
