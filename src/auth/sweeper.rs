//! The worker that forgets spent proofs once their time window has passed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    db::Accounts,
    domain::Clock,
    worker::{Step, Worker},
};

/// Most proofs forgotten in one step.
const BATCH: u32 = 1000;

/// See the module's text.
pub struct Sweeper {
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
}

impl Sweeper {
    /// A sweeper of these accounts' proofs.
    pub fn new(accounts: Arc<dyn Accounts>, clock: Arc<dyn Clock>) -> Self {
        Self { accounts, clock }
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
        let forgotten = self.accounts.forget_spent(self.clock.now(), BATCH).await.map_err(|error| error.to_string())?;
        Ok(if forgotten < u64::from(BATCH) { Step::Idle } else { Step::More })
    }
}
