//! Local users, made and kept up to date from what the identity server says.
//!
//! The identity server is the authority on who exists; the local row gives uploads an owner and remembers who is
//! disabled. Users are found by (realm, id), never by a name or an address: names are recycled.

use std::sync::Arc;

use super::identity;
use crate::{
    db::{Account, Accounts, Profile, StoreError},
    domain::Clock,
};

/// Keeps the users of one realm.
pub(super) struct Provisioning {
    realm: String,
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
}

impl Provisioning {
    pub(super) fn new(realm: &str, accounts: Arc<dyn Accounts>, clock: Arc<dyn Clock>) -> Self {
        Self { realm: realm.to_owned(), accounts, clock }
    }

    /// The local account of a user whom the identity server just called active. `None`: an event that came after the
    /// `as_of`th concerns the user, and the answer may be older than that.
    pub(super) async fn active(&self, user: identity::User, as_of: u64) -> Result<Option<Account>, StoreError> {
        let now = self.clock.now();
        let subject = user.id.clone();
        let account = self.accounts.provision(&self.profile(user), now).await?;
        if account.standing.last_event > as_of {
            return Ok(None);
        }
        if !account.disabled {
            return Ok(Some(account));
        }
        // It may have been the identity server that disabled the user, which it has now taken back. What an operator
        // disabled stays so.
        self.accounts.set_disabled(&self.realm, &subject, false, now).await?;
        Ok(Some(self.accounts.find(account.user.id).await?.unwrap_or(account)))
    }

    /// Records that the identity server disabled a user, for the proofs that are good without asking again.
    pub(super) async fn disabled(&self, subject: &str) -> Result<(), StoreError> {
        self.accounts.set_disabled(&self.realm, subject, true, self.clock.now()).await
    }

    fn profile(&self, user: identity::User) -> Profile {
        Profile {
            realm: self.realm.clone(),
            subject: user.id,
            username: user.username,
            email: user.email,
            display_name: user.display_name,
            groups: user.groups,
        }
    }
}
