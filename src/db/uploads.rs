//! Facts about uploads, in SQL that both engines read.
//!
//! Every statement is a constant. What a statement promises is guarded in its own `WHERE`; the number of rows it changed
//! is the answer.

use async_trait::async_trait;

use super::{
    Advance, Page, StoreError, Uploads, accounts,
    changes::spend_within,
    deed::{Change, Deed, Done},
    dialect::Dialect,
    store::{Fields, Statement, Store},
    usage,
};
use crate::domain::{
    Timestamp, UploadId, UserId,
    concat::Role,
    digest::{Algorithm, Digest},
    limits::{Allowance, Kept, Remaining, Usage},
    principal::{Binding, Owner, Spend},
    upload::{KeptDigest, Placement, Refusal, State, Upload},
};

pub(super) const TABLE: &str = "uploads";

/// Selects whole uploads.
macro_rules! select {
    ($rest:literal) => {
        select!("", $rest)
    };
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT id, owner, filename, content_type, state, offset_bytes, size_bytes, digest_algorithm, ",
            "digest_state, sum_algorithm, sum_hex, placement, created, updated, expires, ended, tail_start, max_bytes, ",
            "max_total_bytes, max_chunk_bytes, requests_per_minute, ttl_seconds, metadata, completes, ",
            "remaining_bytes, remaining_as_of, expected_hex, is_part, part_of, parts_listed, part_count",
            $more,
            " FROM uploads ",
            $rest
        )
    };
}
pub(super) use select;

const FIND: &str = select!("WHERE id = $1 AND owner = $2");

const EXISTS: &str = "SELECT 1 FROM uploads WHERE id = $1";

const LIST: &str = select!(
    "WHERE owner = $1 AND (created, id) < ($2, $3) AND NOT is_part
       AND ($4 = '' OR $4 = CASE WHEN state = 'receiving' AND expires <= $5 THEN 'expired' ELSE state END)
     ORDER BY created DESC, id DESC LIMIT $6"
);

const NAMED: &str = select!(
    "WHERE owner = $1 AND filename = $2 AND ($3 < 0 OR size_bytes = $3) AND NOT is_part
     ORDER BY CASE WHEN state = 'receiving' THEN 0 ELSE 1 END, created DESC, id DESC LIMIT $4"
);

const END: &str = "
    UPDATE uploads SET state = $2, updated = $3, ended = $3
    WHERE id = $1
      AND ((state = 'receiving' AND $4 AND ($2 <> 'expired' OR expires <= $3))
        OR (state = 'complete' AND $5) OR (state = 'cancelled' AND $6) OR (state = 'expired' AND $7))";

const CONTENT_GONE: &str = "
    UPDATE uploads SET placement = NULL, digest_algorithm = NULL, digest_state = NULL
    WHERE id = $1 AND state IN ('cancelled', 'expired')";

const OUTLIVED: &str = select!(
    "WHERE (state = 'receiving' AND expires <= $1
            AND (part_of IS NULL OR NOT EXISTS (
                SELECT 1 FROM uploads AS joined WHERE joined.id = uploads.part_of AND joined.state = 'receiving'))
            AND (part_count IS NULL OR NOT EXISTS (
                SELECT 1 FROM uploads AS part
                WHERE part.part_of = uploads.id AND part.state = 'receiving' AND part.expires > $1)))
        OR (state = 'complete' AND ended < $2)
     ORDER BY expires, id LIMIT $3"
);

const TO_COLLECT: &str =
    select!("WHERE state IN ('cancelled', 'expired') AND placement IS NOT NULL ORDER BY ended LIMIT $1");

// The bindings go by their foreign key.
const FORGET: &str = "
    DELETE FROM uploads WHERE id IN (
        SELECT id FROM uploads WHERE state IN ('cancelled', 'expired') AND ended < $1 AND placement IS NULL LIMIT $2)";

#[async_trait]
impl<DB: Dialect> Uploads for Store<DB> {
    async fn insert(
        &self,
        upload: &Upload,
        binding: Option<Binding>,
        spend: Option<Spend>,
        allowance: &Allowance,
    ) -> Result<Option<Refusal>, StoreError> {
        Ok(match self.make(Deed::insert(upload, binding, spend, allowance)).await? {
            Done::Refused(refusal) => Some(refusal),
            Done::Made | Done::Elsewhere => None,
        })
    }

    async fn usage(
        &self,
        owner: UserId,
        except: UploadId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Usage, StoreError> {
        usage::counted(self, owner, except, since, now).await
    }

    async fn find(&self, id: UploadId, owner: Owner) -> Result<Option<Upload>, StoreError> {
        let row = sqlx::query(FIND).bind(id.to_string()).bind(owner_text(owner)).fetch_optional(&self.read).await?;
        row.map(|row| upload::<DB>(&row)).transpose()
    }

    async fn exists(&self, id: UploadId) -> Result<bool, StoreError> {
        Ok(sqlx::query(EXISTS).bind(id.to_string()).fetch_optional(&self.read).await?.is_some())
    }

    async fn list(&self, owner: Owner, page: &Page) -> Result<Vec<Upload>, StoreError> {
        let (created, id) = match page.after {
            Some((created, id)) => (created.as_microsecond(), id.to_string()),
            None => (i64::MAX, String::new()),
        };
        let query = sqlx::query(LIST)
            .bind(owner_text(owner))
            .bind(created)
            .bind(id)
            .bind(page.state.map_or("", State::name).to_owned())
            .bind(page.now.as_microsecond())
            .bind(i64::from(page.limit));
        self.uploads(query).await
    }

    async fn named(
        &self,
        owner: Owner,
        filename: &str,
        size: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Upload>, StoreError> {
        // No upload is larger than the column holds.
        let size = match size.map(i64::try_from) {
            None => -1,
            Some(Ok(size)) => size,
            Some(Err(_)) => return Ok(Vec::new()),
        };
        let query =
            sqlx::query(NAMED).bind(owner_text(owner)).bind(filename.to_owned()).bind(size).bind(i64::from(limit));
        self.uploads(query).await
    }

    async fn advance(&self, id: UploadId, advance: &Advance) -> Result<bool, StoreError> {
        let deed = Deed { within: advance.within, ..Deed::plain(Change::Advance(id, advance.clone())) };
        Ok(self.make(deed).await? == Done::Made)
    }

    async fn complete_with(&self, id: UploadId, last: &Advance, sum: Option<&Digest>) -> Result<bool, StoreError> {
        let change = Change::CompleteWith(id, last.clone(), sum.cloned());
        Ok(self.make(Deed { within: last.within, ..Deed::plain(change) }).await? == Done::Made)
    }

    async fn complete(
        &self,
        id: UploadId,
        offset: u64,
        sum: Option<&Digest>,
        now: Timestamp,
        spend: Option<Spend>,
    ) -> Result<bool, StoreError> {
        let deed = Deed { spend, ..Deed::plain(Change::Complete { id, offset, sum: sum.cloned(), now }) };
        Ok(self.make(deed).await? == Done::Made)
    }

    async fn end(
        &self,
        id: UploadId,
        from: &[State],
        state: State,
        now: Timestamp,
        spend: Option<Spend>,
    ) -> Result<bool, StoreError> {
        debug_assert!(matches!(state, State::Cancelled | State::Expired), "{state:?} is not an end");
        let query = sqlx::query(END)
            .bind(id.to_string())
            .bind(state.name().to_owned())
            .bind(now.as_microsecond())
            .bind(from.contains(&State::Receiving))
            .bind(from.contains(&State::Complete))
            .bind(from.contains(&State::Cancelled))
            .bind(from.contains(&State::Expired));
        self.change_once(query, spend).await
    }

    async fn spend(&self, spend: Spend) -> Result<bool, StoreError> {
        Ok(self.change(accounts::spend(spend).statement()).await? == 1)
    }

    async fn content_gone(&self, id: UploadId) -> Result<(), StoreError> {
        self.change(sqlx::query(CONTENT_GONE).bind(id.to_string())).await.map(drop)
    }

    async fn outlived(
        &self,
        now: Timestamp,
        completed_before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<Upload>, StoreError> {
        let query = sqlx::query(OUTLIVED)
            .bind(now.as_microsecond())
            .bind(completed_before.map_or(i64::MIN, Timestamp::as_microsecond))
            .bind(i64::from(limit));
        self.uploads(query).await
    }

    async fn to_collect(&self, limit: u32) -> Result<Vec<Upload>, StoreError> {
        self.uploads(sqlx::query(TO_COLLECT).bind(i64::from(limit))).await
    }

    async fn forget(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.change(sqlx::query(FORGET).bind(ended_before.as_microsecond()).bind(i64::from(limit))).await
    }
}

impl<DB: Dialect> Store<DB> {
    /// Changes one row and spends, or does neither.
    async fn change_once(&self, query: Statement<'_, DB>, spend: Option<Spend>) -> Result<bool, StoreError> {
        if spend.is_none() {
            return Ok(self.change(query).await? == 1);
        }
        let mut tx = self.begin().await?;
        spend_within(&mut tx, spend).await?;
        if DB::changed(&query.execute(&mut *tx).await?) != 1 {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    pub(super) async fn uploads(&self, query: Statement<'_, DB>) -> Result<Vec<Upload>, StoreError> {
        query.fetch_all(&self.read).await?.iter().map(upload::<DB>).collect()
    }
}

pub(super) fn upload<DB: Dialect>(row: &DB::Row) -> Result<Upload, StoreError> {
    let row = Fields::<DB>::of(row, TABLE, "id")?;
    let owner = row.get::<String>("owner")?;
    Ok(Upload {
        id: row.parsed("id")?,
        owner: if owner.is_empty() { None } else { Some(row.parsed("owner")?) },
        filename: row.get("filename")?,
        content_type: row.get("content_type")?,
        metadata: row.get("metadata")?,
        completes: row.get("completes")?,
        role: role(&row)?,
        state: State::named(&row.get::<String>("state")?).ok_or_else(|| row.corrupt("state"))?,
        offset: row.count("offset_bytes")?,
        size: row.maybe_count("size_bytes")?,
        digest: kept_digest(&row)?,
        expected: value(&row, "digest_algorithm", "expected_hex")?,
        sum: value(&row, "sum_algorithm", "sum_hex")?,
        placement: row.get::<Option<String>>("placement")?.map(Placement),
        tail_start: row.count("tail_start")?,
        max_bytes: row.maybe_count("max_bytes")?,
        kept: kept(&row)?,
        created: row.time("created")?,
        updated: row.time("updated")?,
        expires: row.time("expires")?,
        ended: row.maybe_time("ended")?,
    })
}

fn role<DB: Dialect>(row: &Fields<'_, DB>) -> Result<Option<Role>, StoreError> {
    if let Some(parts) = row.maybe_count("part_count")? {
        return Ok(Some(Role::Joined { listed: row.get("parts_listed")?, parts }));
    }
    if !row.get::<bool>("is_part")? {
        return Ok(None);
    }
    let of = row.get::<Option<String>>("part_of")?;
    let of = of.map(|of| of.parse().map_err(|_| row.corrupt("part_of"))).transpose()?;
    Ok(Some(Role::Part { of }))
}

fn kept<DB: Dialect>(row: &Fields<'_, DB>) -> Result<Kept, StoreError> {
    Ok(Kept {
        max_total_bytes: row.maybe_count("max_total_bytes")?,
        max_chunk_bytes: row.maybe_count("max_chunk_bytes")?,
        requests_per_minute: row.maybe_count("requests_per_minute")?,
        ttl_seconds: row.maybe_count("ttl_seconds")?,
        remaining: remaining(row)?,
    })
}

fn remaining<DB: Dialect>(row: &Fields<'_, DB>) -> Result<Option<Remaining>, StoreError> {
    let (bytes, as_of) = (row.maybe_count("remaining_bytes")?, row.maybe_time("remaining_as_of")?);
    Ok(bytes.zip(as_of).map(|(bytes, as_of)| Remaining { bytes, as_of }))
}

/// Once the upload is complete only the algorithm is left, and the state is empty: a repeated completion still has to
/// know which digest it may name.
fn kept_digest<DB: Dialect>(row: &Fields<'_, DB>) -> Result<Option<KeptDigest>, StoreError> {
    let Some(algorithm) = algorithm(row, "digest_algorithm")? else { return Ok(None) };
    let state = row.get::<Option<Vec<u8>>>("digest_state")?.unwrap_or_default();
    Ok(Some(KeptDigest { algorithm, state }))
}

/// A finished value in a column of its own; none where nobody knows its algorithm any more.
fn value<DB: Dialect>(
    row: &Fields<'_, DB>,
    named: &'static str,
    column: &'static str,
) -> Result<Option<Digest>, StoreError> {
    let (algorithm, value) = (algorithm(row, named)?, row.get::<Option<String>>(column)?);
    let Some((algorithm, value)) = algorithm.zip(value) else { return Ok(None) };
    Digest::from_hex(algorithm, &value).map(Some).ok_or_else(|| row.corrupt(column))
}

fn algorithm<DB: Dialect>(row: &Fields<'_, DB>, column: &'static str) -> Result<Option<Algorithm>, StoreError> {
    let name = row.get::<Option<String>>(column)?;
    name.map(|name| Algorithm::named(&name).ok_or_else(|| row.corrupt(column))).transpose()
}

/// The owner as the table spells it: empty for nobody.
pub(super) fn owner_text(owner: Owner) -> String {
    owner.user_id().map(|id| id.to_string()).unwrap_or_default()
}
