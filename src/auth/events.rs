//! What the identity server tells of its own accord: users disabled, keys revoked.
//!
//! Promises: only who presents the token of this direction is listened to; a list with a flaw in it changes nothing at
//! all; each event is one transaction, and told again it changes nothing. Nothing is kept here: every node reads the
//! user's row at each use of a proof, so that what one node hears holds at all of them from the next request on.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{
    AuthError, identity,
    meters::{Meters, Told},
};
use crate::{
    db::{IdentityEvents, StoreError},
    domain::{Clock, events::Event},
};

/// Most events of one list.
pub const MOST_EVENTS: usize = 100;

/// Listens to one identity server. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    token: SecretString,
    realm: Arc<str>,
    store: Arc<dyn IdentityEvents>,
    clock: Arc<dyn Clock>,
    meters: Arc<Meters>,
}

/// Proof that the identity server speaks.
pub struct Teller(());

/// Why events are not heard.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// More than [`MOST_EVENTS`].
    #[error("more than {MOST_EVENTS} events at once")]
    TooMany,
    /// One of them cannot be believed; nothing was done.
    #[error("event {number}: {reason}")]
    Flawed {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// The database cannot be written. Those before may have been heard; telling all again is harmless.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Events {
    /// Listens if there is a token for it.
    pub fn open(
        settings: &identity::Settings,
        store: Arc<dyn IdentityEvents>,
        clock: Arc<dyn Clock>,
        meters: Arc<Meters>,
    ) -> Option<Self> {
        let token = settings.events_token.clone();
        let set = !token.expose_secret().is_empty();
        set.then(|| Self { token, realm: settings.realm.as_str().into(), store, clock, meters })
    }

    /// Whether the value of `Authorization` is the identity server's.
    ///
    /// # Errors
    /// [`AuthError::Missing`] or [`AuthError::Invalid`].
    pub fn admit(&self, authorization: Option<&str>) -> Result<Teller, AuthError> {
        let (scheme, token) = authorization.ok_or(AuthError::Missing)?.split_once(' ').ok_or(AuthError::Invalid)?;
        let right: bool = token.as_bytes().ct_eq(self.token.expose_secret().as_bytes()).into();
        if right && scheme.eq_ignore_ascii_case("bearer") { Ok(Teller(())) } else { Err(AuthError::Invalid) }
    }

    /// Hears the events in their order; for each, whether it is news.
    ///
    /// # Errors
    /// What is wrong with one of them, before anything is done; or that the database cannot be written.
    pub async fn hear(&self, _: &Teller, events: &[Event]) -> Result<Vec<bool>, EventError> {
        self.judge(events).inspect_err(|_| self.meters.events.one(Told::Refused))?;
        let mut news = Vec::with_capacity(events.len());
        for event in events {
            let is_news = self.store.hear(&self.realm, event, self.clock.now()).await?;
            tracing::info!(
                event.id,
                event.kind = event.kind.name(),
                event.user = event.subject,
                event.news = is_news,
                "the identity server told an event"
            );
            self.meters.events.one(if is_news { Told::Applied } else { Told::Repeated });
            news.push(is_news);
        }
        Ok(news)
    }

    fn judge(&self, events: &[Event]) -> Result<(), EventError> {
        if events.len() > MOST_EVENTS {
            return Err(EventError::TooMany);
        }
        let flaw = |event: &Event| event.flaw(&self.realm, self.clock.now());
        match events.iter().zip(1..).find_map(|(event, number)| Some((number, flaw(event)?))) {
            Some((number, reason)) => Err(EventError::Flawed { number, reason: reason.to_owned() }),
            None => Ok(()),
        }
    }
}
