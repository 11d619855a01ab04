//! Users as they stood a moment ago, so that a chunk which follows another need not look at its user's row.
//!
//! Promises: whoever may not act is never remembered, so that a refusal is always one of now; nobody is remembered for
//! longer than [`LIFE`], by the service's clock and by one that nobody can set; and what this process does to a user, or
//! hears about one, it heeds at once. So a user who is disabled at another node or from the shell is refused here within
//! that time, and one who is disabled here with the next request.
//!
//! What is deliberately not here: proof. Who stands here has still to prove who they are with every request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;

use crate::{
    db::{Account, Accounts, StoreError},
    domain::{Clock, Timestamp, UserId, after},
};

/// For how long a user's row is taken for what it was.
pub const LIFE: Duration = Duration::from_secs(1);
const ENTRIES: u64 = 10_000;

/// See the module's text.
pub struct Standing {
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
    seen: Cache<UserId, (Timestamp, Account)>,
    /// How often something was heeded. What was asked before that is not remembered after it.
    heeded: AtomicU64,
}

impl Standing {
    /// Has seen nobody.
    pub fn new(accounts: Arc<dyn Accounts>, clock: Arc<dyn Clock>) -> Self {
        let seen = Cache::builder().max_capacity(ENTRIES).time_to_live(LIFE).build();
        Self { accounts, clock, seen, heeded: AtomicU64::new(0) }
    }

    /// The store of users.
    pub(super) fn accounts(&self) -> &Arc<dyn Accounts> {
        &self.accounts
    }

    /// The user of that id, if one who might act then as it stood up to [`LIFE`] ago.
    pub(super) async fn find(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        match self.recent(id) {
            Some(account) => Ok(Some(account)),
            None => self.look(id).await,
        }
    }

    fn recent(&self, id: UserId) -> Option<Account> {
        let (at, account) = self.seen.get(&id)?;
        let now = self.clock.now();
        (at <= now && now < after(at, LIFE)).then_some(account)
    }

    /// The user of that id as it stands now.
    pub(super) async fn look(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        // Before the question: what is remembered is never younger than it says.
        let (now, heeded) = (self.clock.now(), self.heeded.load(Ordering::SeqCst));
        let account = self.accounts.find(id).await?;
        match &account {
            Some(account) if !account.disabled => self.seen.insert(id, (now, account.clone())),
            _ => self.seen.invalidate(&id),
        }
        if self.heeded.load(Ordering::SeqCst) != heeded {
            self.seen.invalidate(&id);
        }
        Ok(account)
    }

    /// Notes that the user was active then, unless it is known of a time after `worth`.
    pub(super) async fn revalidated(&self, id: UserId, at: Timestamp, worth: Timestamp) -> Result<(), StoreError> {
        let noted = self.accounts.revalidated(id, at, worth).await;
        self.heeded.fetch_add(1, Ordering::SeqCst);
        self.seen.invalidate(&id);
        noted
    }

    /// Something was done to a user, or told of one: everybody is looked at again.
    pub fn forget(&self) {
        self.heeded.fetch_add(1, Ordering::SeqCst);
        self.seen.invalidate_all();
    }
}
