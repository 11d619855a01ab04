//! The keys that sign upload tokens, as this node knows them.
//!
//! The ring lives in the database, for all nodes alike; the first node to start makes its first key. Here it is kept in
//! memory and read again every minute, and at once when a token names a key that is not in it. What is to be done about
//! the ring, and when, is decided by [`Ring`]; this module does it.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    db::{StoreError, TokenKeys},
    domain::{
        Clock,
        ring::{Ring, TokenKey},
    },
    worker::{Step, Worker},
};

/// See the module's text.
pub struct Keyring {
    keys: Arc<dyn TokenKeys>,
    clock: Arc<dyn Clock>,
    rotate_every: Duration,
    known: RwLock<Arc<Ring>>,
}

impl Keyring {
    /// The ring of this database; its first key is made if there is none.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn open(
        keys: Arc<dyn TokenKeys>,
        clock: Arc<dyn Clock>,
        rotate_every: Duration,
    ) -> Result<Self, StoreError> {
        let ring = Self { keys, clock, rotate_every, known: RwLock::default() };
        ring.tend().await?;
        Ok(ring)
    }

    /// The key that signs now.
    pub(super) fn signing(&self) -> Option<TokenKey> {
        self.known().signing(self.clock.now()).cloned()
    }

    /// The key of that number.
    pub(super) async fn key(&self, number: u32) -> Result<Option<TokenKey>, StoreError> {
        if let Some(key) = self.known().key(number) {
            return Ok(Some(key.clone()));
        }
        Ok(self.read().await?.key(number).cloned())
    }

    /// Makes the next key if it is due, forgets those that nothing needs any more, and reads the ring again.
    async fn tend(&self) -> Result<(), StoreError> {
        let (ring, now) = (self.read().await?, self.clock.now());
        let due = ring.due(now, self.rotate_every);
        if let Some(due) = due {
            let key = TokenKey { number: due.number, secret: rand::random(), signs_from: due.signs_from };
            if self.keys.publish(&key).await? {
                tracing::info!(key.number = key.number, key.signs_from = %key.signs_from, "a key for upload tokens");
            }
        }
        let outlived = ring.outlived(now);
        if let Some(number) = outlived {
            self.keys.forget_below(number).await?;
        }
        if due.is_some() || outlived.is_some() {
            self.read().await?;
        }
        Ok(())
    }

    async fn read(&self) -> Result<Arc<Ring>, StoreError> {
        let ring = Arc::new(Ring::new(self.keys.ring().await?));
        *self.known.write().expect("no panic while writing") = ring.clone();
        Ok(ring)
    }

    fn known(&self) -> Arc<Ring> {
        self.known.read().expect("no panic while writing").clone()
    }
}

/// The worker that tends the ring.
pub struct Keeper(Arc<Keyring>);

impl Keeper {
    /// A keeper of this ring.
    pub fn new(ring: Arc<Keyring>) -> Self {
        Self(ring)
    }
}

#[async_trait]
impl Worker for Keeper {
    fn name(&self) -> &'static str {
        "token-keys"
    }

    fn rest(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn step(&mut self) -> Result<Step, String> {
        self.0.tend().await.map(|()| Step::Idle).map_err(|error| error.to_string())
    }
}
