//! The authenticators of local users: API keys and passwords, judged by what the database holds.
//!
//! Promises: wrong, unknown, expired and revoked are one answer, at about one cost; that a user is disabled is told only
//! after a right proof; guesses are slowed (`throttle`) without anybody being able to lock the owner out. An API key is looked up on every request, so a revoked one is refused at the next. A right password is
//! remembered for a minute under the hash it was right for, so a changed one is asked for at once, in every process.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::{
    AuthError, Facts, Judge, Method, Settings, Throttle,
    credentials::{Credential, KeyProof, PasswordProof},
    gate::{Authenticator, Outcome, unavailable},
    meters::{Judged, Meters, Source},
    passwords::{DUMMY, Hasher},
    verdicts::{POSITIVE_LIFE, Proven, Refusal, Settled, Verdict, Verdicts},
};
use crate::{
    db::{Credentials, StoreError},
    domain::{
        Clock, before,
        keys::ApiKey,
        principal::{Limits, Principal, Scope, Scopes, User},
    },
    worker::Tasks,
};

/// How old the record of a key's last use may become.
const TOUCH_EVERY: Duration = Duration::from_secs(5 * 60);

/// The authenticators of local users that `settings` ask for.
pub fn authenticators(
    settings: &Settings,
    guesses: &Arc<Throttle>,
    credentials: &Arc<dyn Credentials>,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    meters: &Arc<Meters>,
) -> Vec<Box<dyn Authenticator>> {
    let authenticator = |method| -> Option<Box<dyn Authenticator>> {
        let (credentials, clock, guesses) = (credentials.clone(), clock.clone(), guesses.clone());
        let meters = meters.clone();
        match method {
            Method::Signature => None,
            Method::ApiKey => {
                let pepper = settings.pepper.clone();
                Some(Box::new(ApiKeys { pepper, credentials, clock, guesses, meters }))
            }
            Method::Basic => {
                let hasher = Arc::new(Hasher::default());
                Some(Box::new(Passwords::sharing(guesses, hasher, credentials, clock, tasks.clone(), meters)))
            }
        }
    };
    settings.judged_by(Judge::Local).filter_map(authenticator).collect()
}

/// Judges API keys.
struct ApiKeys {
    pepper: SecretString,
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    guesses: Arc<Throttle>,
    meters: Arc<Meters>,
}

impl ApiKeys {
    /// The principal of a right key, or why there is none. A key is too long to be guessed, so one that is right is
    /// admitted however many wrong ones came before it from its address.
    async fn admit(&self, proof: &KeyProof) -> Result<Result<Principal, AuthError>, StoreError> {
        let Some(key) = ApiKey::parse(&proof.api_key) else { return Ok(Err(AuthError::Invalid)) };
        let Some((kept, owner)) = self.credentials.key(key.id()).await? else { return Ok(Err(AuthError::Invalid)) };
        let now = self.clock.now();
        let right = kept.hash == key.hash(self.pepper.expose_secret().as_bytes());
        if !right || owner.user.username != proof.username || !kept.is_good(now) {
            return Ok(Err(AuthError::Invalid));
        }
        if owner.disabled {
            return Ok(Err(AuthError::Disabled));
        }
        let since = before(now, TOUCH_EVERY);
        if kept.last_used.is_none_or(|last| last < since)
            && let Err(error) = self.credentials.touch_key(kept.id, now, since).await
        {
            tracing::warn!(%error, key.id = %kept.id, "the use of a key could not be recorded");
        }
        Ok(Ok(Principal::unbound(Some(owner.user), kept.scopes, Limits::default())))
    }
}

#[async_trait]
impl Authenticator for ApiKeys {
    fn scheme(&self) -> &'static str {
        Method::ApiKey.scheme()
    }

    async fn judge(&self, credential: &Credential, request: &Facts) -> Outcome {
        let Credential::ApiKey(proof) = credential else { return Outcome::NotMine };
        let begun = Instant::now();
        let admitted = self.admit(proof).await;
        self.meters.gate.seconds.since(Source::Local, begun);
        match admitted {
            Ok(Ok(principal)) => Outcome::granted(principal),
            Ok(Err(AuthError::Invalid)) => {
                Outcome::Refused(self.guesses.refuse(request.client_ip, &proof.username).await)
            }
            Ok(Err(error)) => Outcome::Refused(error),
            Err(error) => unavailable(&error),
        }
    }
}

/// Judges passwords.
pub struct Passwords {
    credentials: Arc<dyn Credentials>,
    guesses: Arc<Throttle>,
    verdicts: Verdicts,
    hasher: Arc<Hasher>,
}

impl Passwords {
    /// A judge who hashes with `hasher`.
    pub fn new(hasher: Arc<Hasher>, credentials: Arc<dyn Credentials>, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        Self::sharing(Arc::new(Throttle::new(clock.clone())), hasher, credentials, clock, tasks, Arc::default())
    }

    fn sharing(
        guesses: Arc<Throttle>,
        hasher: Arc<Hasher>,
        credentials: Arc<dyn Credentials>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        meters: Arc<Meters>,
    ) -> Self {
        Self { credentials, guesses, verdicts: Verdicts::new(clock, tasks, Judged::Local, meters), hasher }
    }

    async fn weigh(&self, proof: &PasswordProof, from: Option<IpAddr>) -> Result<Outcome, StoreError> {
        let known = self.credentials.user(&proof.username).await?;
        let scopes = match known.as_ref().is_some_and(|user| user.admin) {
            true => Scopes::ALL.and(Scope::Admin),
            false => Scopes::ALL,
        };
        let (phc, account) = known.map_or((None, None), |user| (user.phc, Some(user.account)));
        let provable = phc.is_some();
        let phc = phc.unwrap_or_else(|| DUMMY.to_owned());
        // The hash is among the inputs: a verdict ends with the password that it was given for.
        let key = self.verdicts.key(&["basic", &proof.username, &proof.password, &phc]);
        let verdict = match self.verdicts.remembered(key).await {
            Some(verdict) => verdict,
            None => {
                let user = account.as_ref().filter(|_| provable).map(|account| account.user.clone());
                let (hasher, guesses) = (self.hasher.clone(), self.guesses.clone());
                let PasswordProof { username, password } = proof.clone();
                // Counted inside the flight, which goes on when its caller leaves: hanging up hides no guess.
                let flight =
                    async move { guesses.judged(key, from, &username, settle(&hasher, password, phc, user)).await };
                self.verdicts.settle(key, key, flight).await
            }
        };
        Ok(match (verdict, account) {
            (Verdict::Proven(_), Some(account)) if account.disabled => Outcome::Refused(AuthError::Disabled),
            (Verdict::Proven(_), Some(account)) => {
                Outcome::granted(Principal::unbound(Some(account.user), scopes, Limits::default()))
            }
            (Verdict::CannotCheck, _) => Outcome::Unavailable,
            (Verdict::Refused(Refusal::TooMany), _) => Outcome::Refused(self.guesses.too_many(from)),
            (Verdict::Proven(_) | Verdict::Refused(_), _) => Outcome::Refused(AuthError::Invalid),
        })
    }
}

/// Compares a password with a hash; right only if there is a `user` whose hash it is.
async fn settle(hasher: &Hasher, password: String, phc: String, user: Option<User>) -> Settled {
    match (hasher.verify(password, phc).await, user) {
        (Err(_), _) => Settled::cannot_check(),
        (Ok(true), Some(user)) => {
            let verdict = Verdict::Proven(Arc::new(Proven { user, limits: Limits::default(), as_of: 0 }));
            Settled { verdict, life: Some(POSITIVE_LIFE) }
        }
        (Ok(_), _) => Settled { verdict: Verdict::Refused(Refusal::Invalid), life: None },
    }
}

#[async_trait]
impl Authenticator for Passwords {
    fn scheme(&self) -> &'static str {
        Method::Basic.scheme()
    }

    async fn judge(&self, credential: &Credential, request: &Facts) -> Outcome {
        let Credential::Basic(proof) = credential else { return Outcome::NotMine };
        self.weigh(proof, request.client_ip).await.unwrap_or_else(|error| unavailable(&error))
    }
}
