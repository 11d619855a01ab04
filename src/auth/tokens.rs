//! Upload tokens: minted after a proof, good for one upload.
//!
//! A client that brings its upload's token needs no other credential for it: nobody is asked, and the upload outlives its
//! signature and an outage of the identity server. A token gives less than the proof it was minted after, never more: one
//! upload, no creation, and of the other deeds those that the proof was good for.
//!
//! What a token says is believed because this service signed it; what may have changed since is looked up,
//! once a second (`standing`): whether the user is disabled, and whether the user's epoch was raised. Whose the upload is now, the core asks as for
//! everybody.

use std::{sync::Arc, time::Duration};

use super::{AuthError, credentials::TokenProof, gate::Outcome, keyring::Keyring, standing::Standing};
use crate::{
    db::{Account, StoreError},
    domain::{
        Clock,
        principal::{Limits, Nonce, Owner, Principal, Reach, User},
        token::{Sealed, Token},
        upload::Upload,
    },
};

/// Section `auth.tokens` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a token is good for, at most as long as its upload. Used past half of that, it is followed by a fresh one.
    #[serde(with = "crate::domain::units::duration")]
    pub life: Duration,
    /// How long one key signs tokens before the next one does.
    #[serde(with = "crate::domain::units::duration")]
    pub rotate_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { life: Duration::from_secs(60 * 60), rotate_every: Duration::from_secs(24 * 60 * 60) }
    }
}

/// For whom a token is good, and the account if it is somebody's.
type Admitted = (Principal, Option<Account>);

/// Mints upload tokens and judges them.
pub struct Tokens {
    life: Duration,
    /// Whether tokens of uploads without an owner admit.
    anonymous: bool,
    ring: Arc<Keyring>,
    standing: Arc<Standing>,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// Tokens signed with the keys of `ring`.
    pub fn new(settings: &super::Settings, ring: Arc<Keyring>, standing: Arc<Standing>, clock: Arc<dyn Clock>) -> Self {
        Self { life: settings.tokens.life, anonymous: settings.anonymous, ring, standing, clock }
    }

    /// The token that goes with the answer to a write, if one is due.
    pub(super) fn mint(&self, by: &Principal, upload: &Upload) -> Option<String> {
        let token = Token::due(by, upload, self.life, self.clock.now())?;
        self.ring.signing().map(|key| token.seal(&key))
    }

    /// Judges a token, where users of some realms `may` come in. Whose may not is told nothing about it.
    pub(super) async fn judge(&self, proof: &TokenProof, may: impl Fn(Option<&User>) -> bool) -> Outcome {
        match self.admit(proof, may).await {
            Ok(Ok((principal, None))) => Outcome::granted(principal),
            Ok(Ok((principal, Some(account)))) => Outcome::recalled(principal, account),
            Ok(Err(error)) => Outcome::Refused(error),
            Err(error) => {
                tracing::error!(%error, "an upload token cannot be checked without the database");
                Outcome::Unavailable
            }
        }
    }

    async fn admit(
        &self,
        proof: &TokenProof,
        may: impl Fn(Option<&User>) -> bool,
    ) -> Result<Result<Admitted, AuthError>, StoreError> {
        let Some(token) = self.open(proof).await? else { return Ok(Err(AuthError::Invalid)) };
        let account = self.account(&token).await?;
        let user = account.as_ref().map(|account| account.user.clone());
        if (user.is_none() && token.owner != Owner::Nobody) || !may(user.as_ref()) {
            return Ok(Err(AuthError::Invalid));
        }
        Ok(self.is_good(&token, account.as_ref()).map(|()| (principal(user, token), account)))
    }

    /// What the text says, if one of our keys signed it.
    async fn open(&self, proof: &TokenProof) -> Result<Option<Token>, StoreError> {
        let Some(sealed) = Sealed::parse(&proof.text) else { return Ok(None) };
        Ok(self.ring.key(sealed.key()).await?.and_then(|key| sealed.open(&key)))
    }

    /// Whose the token is.
    async fn account(&self, token: &Token) -> Result<Option<Account>, StoreError> {
        match token.owner {
            Owner::User(id) => match self.standing.find(id).await? {
                // Of another epoch may also be one that was minted a moment ago.
                Some(account) if account.user.epoch != token.epoch => self.standing.look(id).await,
                account => Ok(account),
            },
            Owner::Nobody => Ok(None),
        }
    }

    /// Whether the token is good today.
    fn is_good(&self, token: &Token, account: Option<&Account>) -> Result<(), AuthError> {
        match account {
            _ if token.expires <= self.clock.now() => Err(AuthError::TokenExpired),
            None if self.anonymous => Ok(()),
            None => Err(AuthError::TokenExpired),
            Some(account) if account.disabled => Err(AuthError::Disabled),
            Some(account) if account.user.epoch != token.epoch => Err(AuthError::TokenExpired),
            Some(_) => Ok(()),
        }
    }
}

fn principal(user: Option<User>, token: Token) -> Principal {
    Principal {
        user,
        reach: Reach::Only(vec![token.upload]),
        may_create: false,
        scopes: token.scopes,
        // The upload's row knows the limit that it began under.
        limits: Limits::default(),
        binding: None,
        token: Some(token),
        nonce: Nonce::NotAsked,
    }
}
