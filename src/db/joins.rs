//! Facts about uploads that are joined from parts, in SQL that both engines read.

use async_trait::async_trait;
use sqlx::Transaction;

use super::{
    Joins, StoreError,
    changes::{insert_within, spend_within},
    dialect::Dialect,
    store::{Store, hold},
    uploads::{owner_text, select},
};
use crate::domain::{
    Timestamp, UploadId,
    concat::key,
    principal::{Binding, Owner, Spend},
    upload::Upload,
};

const NAME_LIST: &str = "UPDATE uploads SET parts_key = $2 WHERE id = $1";

const CLAIM: &str = "
    UPDATE uploads SET part_of = $3, part_number = $4
    WHERE id = $1 AND owner = $2 AND is_part AND part_of IS NULL AND state = 'receiving' AND expires > $5";

const JOINED: &str = select!("WHERE owner = $1 AND parts_key = $2");

const PARTS: &str = select!("WHERE part_of = $1 AND owner = $2 ORDER BY part_number");

// Those of which every part is there or nothing more can come, and those of which a part is over.
const TO_JOIN: &str = select!(
    "WHERE part_count IS NOT NULL AND state = 'receiving' AND (
         NOT EXISTS (
             SELECT 1 FROM uploads AS part
             WHERE part.part_of = uploads.id AND part.state = 'receiving' AND part.expires > $1
               AND (part.size_bytes IS NULL OR part.offset_bytes < part.size_bytes))
         OR EXISTS (SELECT 1 FROM uploads AS part WHERE part.part_of = uploads.id AND part.state <> 'receiving'))
     ORDER BY created LIMIT $2"
);

const LEFT_OVER: &str = select!(
    "WHERE part_of IS NOT NULL AND state = 'receiving' AND EXISTS (
         SELECT 1 FROM uploads AS joined
         WHERE joined.id = uploads.part_of AND joined.state <> 'receiving' AND joined.ended < $1)
     LIMIT $2"
);

#[async_trait]
impl<DB: Dialect> Joins for Store<DB> {
    async fn insert_joined(
        &self,
        joined: &Upload,
        parts: &[UploadId],
        binding: Option<Binding>,
        spend: Option<Spend>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // Two lists that share parts in another order would wait for each other's rows.
        hold(&mut tx, format!("parts of {}", owner_text(joined.owner()))).await?;
        spend_within(&mut tx, spend).await?;
        insert_within(&mut tx, joined, binding).await?;
        sqlx::query(NAME_LIST).bind(joined.id.to_string()).bind(key(parts)).execute(&mut *tx).await?;
        for (number, part) in (0..).zip(parts) {
            if !claim(&mut tx, joined, number, *part).await? {
                return Ok(false);
            }
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn joined(&self, owner: Owner, parts: &[UploadId]) -> Result<Option<Upload>, StoreError> {
        let query = sqlx::query(JOINED).bind(owner_text(owner)).bind(key(parts));
        Ok(self.uploads(query).await?.pop())
    }

    async fn parts(&self, joined: &Upload) -> Result<Vec<Upload>, StoreError> {
        let query = sqlx::query(PARTS).bind(joined.id.to_string()).bind(owner_text(joined.owner()));
        self.uploads(query).await
    }

    async fn to_join(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>, StoreError> {
        self.uploads(sqlx::query(TO_JOIN).bind(now.as_microsecond()).bind(i64::from(limit))).await
    }

    async fn left_over(&self, ended_before: Timestamp, limit: u32) -> Result<Vec<Upload>, StoreError> {
        self.uploads(sqlx::query(LEFT_OVER).bind(ended_before.as_microsecond()).bind(i64::from(limit))).await
    }
}

async fn claim<DB: Dialect>(
    tx: &mut Transaction<'static, DB>,
    joined: &Upload,
    number: i64,
    part: UploadId,
) -> Result<bool, StoreError> {
    let query = sqlx::query(CLAIM)
        .bind(part.to_string())
        .bind(owner_text(joined.owner()))
        .bind(joined.id.to_string())
        .bind(number)
        .bind(joined.created.as_microsecond());
    Ok(DB::changed(&query.execute(&mut **tx).await?) == 1)
}
