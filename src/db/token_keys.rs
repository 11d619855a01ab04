//! The keys that sign upload tokens, in SQL that both engines read.

use async_trait::async_trait;

use super::{
    StoreError, TokenKeys,
    dialect::Dialect,
    store::{Fields, Store},
};
use crate::domain::{hex, ring::TokenKey, unhex};

// The id is spelled out because rows are reported by a text.
const RING: &str = "SELECT CAST(number AS TEXT) AS id, number, secret, signs_from FROM token_keys ORDER BY number";

const PUBLISH: &str = "
    INSERT INTO token_keys (number, secret, signs_from) VALUES ($1, $2, $3) ON CONFLICT (number) DO NOTHING";

const FORGET: &str = "DELETE FROM token_keys WHERE number < $1";

#[async_trait]
impl<DB: Dialect> TokenKeys for Store<DB> {
    async fn ring(&self) -> Result<Vec<TokenKey>, StoreError> {
        let rows = sqlx::query(RING).fetch_all(&self.read).await?;
        rows.iter().map(key::<DB>).collect()
    }

    async fn publish(&self, key: &TokenKey) -> Result<bool, StoreError> {
        let query = sqlx::query(PUBLISH)
            .bind(i64::from(key.number))
            .bind(hex(&key.secret))
            .bind(key.signs_from.as_microsecond());
        Ok(self.change(query).await? == 1)
    }

    async fn forget_below(&self, number: u32) -> Result<u64, StoreError> {
        self.change(sqlx::query(FORGET).bind(i64::from(number))).await
    }
}

fn key<DB: Dialect>(row: &DB::Row) -> Result<TokenKey, StoreError> {
    let row = Fields::<DB>::of(row, "token_keys", "id")?;
    let secret = unhex(&row.get::<String>("secret")?).and_then(|secret| secret.try_into().ok());
    Ok(TokenKey {
        number: u32::try_from(row.count("number")?).map_err(|_| row.corrupt("number"))?,
        secret: secret.ok_or_else(|| row.corrupt("secret"))?,
        signs_from: row.time("signs_from")?,
    })
}
