//! What the identity server told of its own accord, in SQL that both engines read.
//!
//! The number of an event is taken under its realm's row, so events of one realm wait for each other and are counted in
//! the order in which they are committed.

use async_trait::async_trait;
use sqlx::Transaction;

use super::{IdentityEvents, StoreError, dialect::Dialect, store::Store};
use crate::domain::{
    Timestamp,
    events::{Effect, Event},
};

const HEAR: &str = "
    INSERT INTO identity_events (realm, id, heard) VALUES ($1, $2, $3) ON CONFLICT (realm, id) DO NOTHING";

const COUNT: &str = "
    INSERT INTO identity_realms (realm, events, flushed) VALUES ($1, 1, 0)
    ON CONFLICT (realm) DO UPDATE SET events = identity_realms.events + 1";

const FLUSH: &str = "UPDATE identity_realms SET flushed = events WHERE realm = $1";

/// `$2` is the user, or '' for all.
const CHANGE_USERS: &str = "
    UPDATE users
    SET last_event = (SELECT events FROM identity_realms WHERE identity_realms.realm = $1),
        disabled_by_idp = CASE WHEN $3 THEN $4 ELSE disabled_by_idp END,
        token_epoch = token_epoch + CASE WHEN $5 THEN 1 ELSE 0 END,
        updated = $6
    WHERE realm = $1 AND (subject = $2 OR $2 = '')";

// The binding stays, so that a signature which may begin one upload begins no second one.
const END_BINDINGS: &str = "
    UPDATE bindings SET user_id = NULL
    WHERE user_id IN (SELECT id FROM users WHERE realm = $1 AND (subject = $2 OR $2 = ''))";

const FORGET: &str = "
    DELETE FROM identity_events
    WHERE heard < $1 AND id IN (SELECT id FROM identity_events WHERE heard < $1 LIMIT $2)";

#[async_trait]
impl<DB: Dialect> IdentityEvents for Store<DB> {
    async fn hear(&self, realm: &str, event: &Event, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let query = sqlx::query(HEAR).bind(realm.to_owned()).bind(event.id.clone()).bind(now.as_microsecond());
        if DB::changed(&query.execute(&mut *tx).await?) == 0 {
            return Ok(false);
        }
        follow(&mut tx, realm, event.effect(), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn forget_events(&self, heard_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.change(sqlx::query(FORGET).bind(heard_before.as_microsecond()).bind(i64::from(limit))).await
    }
}

async fn follow<DB: Dialect>(
    tx: &mut Transaction<'static, DB>,
    realm: &str,
    effect: Effect<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let subject = effect.subject.unwrap_or_default();
    sqlx::query(COUNT).bind(realm.to_owned()).execute(&mut **tx).await?;
    if effect.subject.is_none() {
        sqlx::query(FLUSH).bind(realm.to_owned()).execute(&mut **tx).await?;
    }
    sqlx::query(CHANGE_USERS)
        .bind(realm.to_owned())
        .bind(subject.to_owned())
        .bind(effect.disabled.is_some())
        .bind(effect.disabled.unwrap_or_default())
        .bind(effect.ends_tokens)
        .bind(now.as_microsecond())
        .execute(&mut **tx)
        .await?;
    if effect.ends_bindings {
        sqlx::query(END_BINDINGS).bind(realm.to_owned()).bind(subject.to_owned()).execute(&mut **tx).await?;
    }
    Ok(())
}
