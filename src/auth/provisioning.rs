//! Local users, made and kept up to date from what the identity server says.
//!
//! The identity server is the authority on who exists; the local row gives uploads an owner and remembers who is
//! disabled. Users are found by (realm, id), never by a name or an address: names are recycled.

use std::sync::Arc;

use super::{
    identity,
    meters::{Meters, Provisioned},
};
use crate::{
    db::{Account, Accounts, Profile, StoreError, Written},
    domain::Clock,
};

/// Keeps the users of one realm.
pub(super) struct Provisioning {
    realm: String,
    /// Whether users become known here by their first right proof.
    sign_up: bool,
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
    meters: Arc<Meters>,
}

/// What is known here of a user whom the identity server calls active.
pub(super) enum Vouched {
    /// The local account, which may be disabled here.
    For(Account),
    /// Nobody knows the user here, and nobody may sign up.
    Stranger,
    /// An event that was told after the question concerns the user, and the answer may be older than that.
    Overtaken,
}

impl Provisioning {
    pub(super) fn new(
        realm: &str,
        sign_up: bool,
        accounts: Arc<dyn Accounts>,
        clock: Arc<dyn Clock>,
        meters: Arc<Meters>,
    ) -> Self {
        Self { realm: realm.to_owned(), sign_up, accounts, clock, meters }
    }

    /// What is known here of a user whom the identity server just called active; `as_of`: how many events it had told when
    /// it was asked.
    pub(super) async fn active(&self, user: identity::User, as_of: u64) -> Result<Vouched, StoreError> {
        if !self.sign_up && !self.accounts.knows(&self.realm, &user.id).await? {
            return Ok(Vouched::Stranger);
        }
        let now = self.clock.now();
        let subject = user.id.clone();
        let provisioned = self.accounts.provision(&self.profile(user), now).await;
        self.meters.provisioned.one(match &provisioned {
            Ok((_, Written::Created)) => Provisioned::Created,
            Ok((_, Written::Updated)) => Provisioned::Updated,
            Ok((_, Written::Unchanged)) => Provisioned::Unchanged,
            Err(_) => Provisioned::Failed,
        });
        let (account, _) = provisioned?;
        if account.standing.last_event > as_of {
            return Ok(Vouched::Overtaken);
        }
        if !account.disabled {
            return Ok(Vouched::For(account));
        }
        // It may have been the identity server that disabled the user, which it has now taken back. What an operator
        // disabled stays so.
        self.accounts.set_disabled(&self.realm, &subject, false, now).await?;
        Ok(Vouched::For(self.accounts.find(account.user.id).await?.unwrap_or(account)))
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
            version: user.profile_version,
        }
    }
}
