//! Facts about creations that happen once, in SQL that both engines read.

use async_trait::async_trait;

use super::{
    StoreError,
    deed::{Deed, Done},
    dialect::Dialect,
    step::Step,
    store::{Fields, Store},
    uploads::{TABLE, owner_text, select, upload},
};
use crate::domain::{
    UploadId, UserId,
    creation::{Creation, CreationKey},
    hex,
    limits::Allowance,
    principal::{Binding, Owner, ProofHash, Spend},
    upload::{Refusal, Upload},
};

/// Creations that happen once. Keys belong to their owners; uploads of nobody have none.
#[async_trait]
pub trait Creations: Send + Sync + 'static {
    /// Records a new upload as [`super::Uploads::insert`] does, and with it under which key it was made.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] as there, and if the owner has an upload of that key which is not over.
    async fn insert_once(
        &self,
        upload: &Upload,
        creation: &Creation,
        binding: Option<Binding>,
        spend: Option<Spend>,
        allowance: &Allowance,
    ) -> Result<Option<Refusal>, StoreError>;

    /// The upload that `owner` made under the key, and what was said of it; none that was marked as over.
    async fn created(&self, owner: UserId, key: &CreationKey) -> Result<Option<(Upload, String)>, StoreError>;

    /// Whether the proof created the upload.
    async fn created_by(&self, proof: ProofHash, upload: UploadId) -> Result<bool, StoreError>;
}

pub(super) const NAME: &str = "UPDATE uploads SET creation_key = $2, creation_said = $3 WHERE id = $1";

// In the words of the index, or it is not used.
const CREATED: &str = select!(
    ", creation_said",
    "WHERE owner = $1 AND creation_key = $2 AND creation_key IS NOT NULL AND state IN ('receiving', 'complete')"
);

const CREATED_BY: &str = "SELECT 1 FROM bindings WHERE proof = $1 AND upload_id = $2";

#[async_trait]
impl<DB: Dialect> Creations for Store<DB> {
    async fn insert_once(
        &self,
        upload: &Upload,
        creation: &Creation,
        binding: Option<Binding>,
        spend: Option<Spend>,
        allowance: &Allowance,
    ) -> Result<Option<Refusal>, StoreError> {
        let creation = Some(creation.clone());
        match self.make(Deed { creation, ..Deed::insert(upload, binding, spend, allowance) }).await? {
            Done::Refused(refusal) => Ok(Some(refusal)),
            Done::Made | Done::Elsewhere => Ok(None),
        }
    }

    async fn created(&self, owner: UserId, key: &CreationKey) -> Result<Option<(Upload, String)>, StoreError> {
        let query = sqlx::query(CREATED).bind(owner_text(Owner::User(owner))).bind(key.as_str().to_owned());
        let Some(row) = query.fetch_optional(&self.read).await? else { return Ok(None) };
        let said = Fields::<DB>::of(&row, TABLE, "id")?.get("creation_said")?;
        Ok(Some((upload::<DB>(&row)?, said)))
    }

    async fn created_by(&self, proof: ProofHash, upload: UploadId) -> Result<bool, StoreError> {
        let query = sqlx::query(CREATED_BY).bind(hex(&proof.0)).bind(upload.to_string());
        Ok(query.fetch_optional(&self.read).await?.is_some())
    }
}

/// That the new upload was made under its key.
pub(super) fn named(upload: &Upload, creation: &Creation) -> Step {
    Step::new(NAME).bind(upload.id.to_string()).bind(creation.key.as_str().to_owned()).bind(creation.said.clone())
}
