//! What the uploads of a user take together: looked at, or counted inside the transaction that adds to it.

use sqlx::Transaction;

use super::{
    StoreError,
    dialect::Dialect,
    store::{Fields, Statement, Store, hold},
    uploads::{TABLE, owner_text},
};
use crate::domain::{Timestamp, UploadId, UserId, limits::Usage, principal::Owner};

// Bytes of parts count once: theirs until they are joined, then those of the upload that has them.
//
// Sums in floating point, cut to what a column holds: the sizes that clients claim may add up to more than 64 bits, which
// the engines answer with an error. Exact below 8 PiB.
const USAGE: &str = "
    SELECT $2 AS id,
        CAST(CASE WHEN total < 9e18 THEN total ELSE 9e18 END AS BIGINT) AS bytes,
        CAST(CASE WHEN recent < 9e18 THEN recent ELSE 9e18 END AS BIGINT) AS bytes_since,
        receiving
    FROM (
        SELECT COALESCE(SUM(takes), 0) AS total,
            COALESCE(SUM(CASE WHEN created >= $3 THEN takes ELSE 0 END), 0) AS recent,
            COALESCE(SUM(grows), 0) AS receiving
        FROM (
            SELECT created, CAST(COALESCE(size_bytes, offset_bytes) AS DOUBLE PRECISION) AS takes,
                CASE WHEN state = 'complete' OR (is_part AND offset_bytes = size_bytes) THEN 0 ELSE 1 END AS grows
            FROM uploads
            WHERE owner = $1 AND id <> $2 AND (state = 'complete' OR (state = 'receiving' AND expires > $4))
                AND (part_count IS NULL OR state = 'complete')
                AND (part_of IS NULL OR NOT EXISTS (
                    SELECT 1 FROM uploads AS joined WHERE joined.id = uploads.part_of AND joined.state = 'complete'))
            ) AS counted
        ) AS sums";

/// What they take at this moment; a moment later it may be more.
pub(super) async fn counted<DB: Dialect>(
    store: &Store<DB>,
    owner: UserId,
    except: UploadId,
    since: Timestamp,
    now: Timestamp,
) -> Result<Usage, StoreError> {
    let row = count::<DB>(owner, except, since, now).fetch_one(&store.read).await?;
    read::<DB>(&row)
}

fn count<DB: Dialect>(owner: UserId, except: UploadId, since: Timestamp, now: Timestamp) -> Statement<'static, DB> {
    sqlx::query(USAGE)
        .bind(owner_text(Owner::User(owner)))
        .bind(except.to_string())
        .bind(since.as_microsecond())
        .bind(now.as_microsecond())
}

fn read<DB: Dialect>(row: &DB::Row) -> Result<Usage, StoreError> {
    let row = Fields::<DB>::of(row, TABLE, "id")?;
    let (bytes, bytes_since) = (row.count("bytes")?, row.count("bytes_since")?);
    Ok(Usage { bytes, bytes_since, receiving: row.count("receiving")? })
}

/// What the uploads of a user take, and go on to take until the transaction ends: others that count wait.
pub(super) async fn held<DB: Dialect>(
    tx: &mut Transaction<'_, DB>,
    owner: UserId,
    except: UploadId,
    since: Timestamp,
    now: Timestamp,
) -> Result<Usage, StoreError> {
    hold(tx, format!("user {owner}")).await?;
    let row = count::<DB>(owner, except, since, now).fetch_one(&mut **tx).await?;
    read::<DB>(&row)
}
