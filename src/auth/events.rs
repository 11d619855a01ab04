//! What the identity server tells of its own accord: users disabled, keys revoked.
//!
//! Promises: only who presents the token of this direction is listened to, and only about the realm that it is of; a list
//! with a flaw in it changes nothing at all; each event is one transaction, and told again it changes nothing. What one
//! node hears holds there from the next request on and at the others within a second, by the user's row that all of them
//! look at (`standing`).

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{
    AuthError, identity,
    meters::{Meters, Told},
    standing::Standing,
};
use crate::{
    db::{IdentityEvents, StoreError},
    domain::{Clock, events::Event},
};

/// Most events of one list.
pub const MOST_EVENTS: usize = 100;

/// Listens to the identity servers of the realms. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    realms: Arc<[Listened]>,
    store: Arc<dyn IdentityEvents>,
    standing: Arc<Standing>,
    clock: Arc<dyn Clock>,
}

/// A realm whose identity server may speak.
struct Listened {
    token: SecretString,
    realm: String,
    meters: Arc<Meters>,
}

/// Proof that the identity server of a realm speaks: the place of that realm.
pub struct Teller(usize);

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
    /// Listens to those of these realms that have a token for it, if any has.
    pub fn open<'a>(
        realms: impl IntoIterator<Item = (&'a identity::Settings, Arc<Meters>)>,
        store: Arc<dyn IdentityEvents>,
        standing: Arc<Standing>,
        clock: Arc<dyn Clock>,
    ) -> Option<Self> {
        let listened = |(settings, meters): (&identity::Settings, _)| {
            let (token, realm) = (settings.events_token.clone(), settings.realm.clone());
            (!token.expose_secret().is_empty()).then_some(Listened { token, realm, meters })
        };
        let realms: Arc<[_]> = realms.into_iter().filter_map(listened).collect();
        (!realms.is_empty()).then_some(Self { realms, store, standing, clock })
    }

    /// Whose token the value of `Authorization` is.
    ///
    /// # Errors
    /// [`AuthError::Missing`] or [`AuthError::Invalid`].
    pub fn admit(&self, authorization: Option<&str>) -> Result<Teller, AuthError> {
        let (scheme, token) = authorization.ok_or(AuthError::Missing)?.split_once(' ').ok_or(AuthError::Invalid)?;
        let is_of = |realm: &Listened| bool::from(token.as_bytes().ct_eq(realm.token.expose_secret().as_bytes()));
        // Each is compared, whichever is right.
        let later = |right, (at, realm)| if is_of(realm) { Some(at) } else { right };
        let right = self.realms.iter().enumerate().fold(None, later);
        right.filter(|_| scheme.eq_ignore_ascii_case("bearer")).map(Teller).ok_or(AuthError::Invalid)
    }

    /// Hears the events of the teller's realm in their order; for each, whether it is news.
    ///
    /// # Errors
    /// What is wrong with one of them, before anything is done; or that the database cannot be written.
    pub async fn hear(&self, teller: &Teller, events: &[Event]) -> Result<Vec<bool>, EventError> {
        let Listened { realm, meters, .. } = &self.realms[teller.0];
        self.judge(realm, events).inspect_err(|_| meters.events.one(Told::Refused))?;
        let mut news = Vec::with_capacity(events.len());
        for event in events {
            let heard = self.store.hear(realm, event, self.clock.now()).await;
            // Also where nobody knows how the transaction ended.
            self.standing.forget();
            let is_news = heard?;
            tracing::info!(
                event.id,
                event.realm,
                event.kind = event.kind.name(),
                event.user = event.subject,
                event.news = is_news,
                "the identity server told an event"
            );
            meters.events.one(if is_news { Told::Applied } else { Told::Repeated });
            news.push(is_news);
        }
        Ok(news)
    }

    fn judge(&self, realm: &str, events: &[Event]) -> Result<(), EventError> {
        if events.len() > MOST_EVENTS {
            return Err(EventError::TooMany);
        }
        let flaw = |event: &Event| event.flaw(realm, self.clock.now());
        match events.iter().zip(1..).find_map(|(event, number)| Some((number, flaw(event)?))) {
            Some((number, reason)) => Err(EventError::Flawed { number, reason: reason.to_owned() }),
            None => Ok(()),
        }
    }
}
