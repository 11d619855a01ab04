//! The worker that forgets spent proofs once their time window has passed, and ids of events after a day.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    db::{Accounts, IdentityEvents},
    domain::{Clock, before, events::REMEMBERED},
    worker::{Step, Worker},
};

/// Most proofs, and most events, forgotten in one step.
const BATCH: u32 = 1000;

/// See the module's text.
pub struct Sweeper {
    accounts: Arc<dyn Accounts>,
    events: Arc<dyn IdentityEvents>,
    clock: Arc<dyn Clock>,
}

impl Sweeper {
    /// A sweeper of these accounts' proofs and of these events.
    pub fn new(accounts: Arc<dyn Accounts>, events: Arc<dyn IdentityEvents>, clock: Arc<dyn Clock>) -> Self {
        Self { accounts, events, clock }
    }
}

#[async_trait]
impl Worker for Sweeper {
    fn name(&self) -> &'static str {
        "proof-sweeper"
    }

    fn rest(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn step(&mut self) -> Result<Step, String> {
        let now = self.clock.now();
        let proofs = self.accounts.forget_spent(now, BATCH).await.map_err(|error| error.to_string())?;
        let events = self.events.forget_events(before(now, REMEMBERED), BATCH).await;
        let most = proofs.max(events.map_err(|error| error.to_string())?);
        Ok(if most < u64::from(BATCH) { Step::Idle } else { Step::More })
    }
}
