//! The authenticators of API keys and passwords that the identity server judges.
//!
//! Promises: nothing that would admit somebody is kept, here or in the database; what was judged is remembered as
//! briefly as a signature's verdict (`verdicts`), under a keyed hash. Wrong proofs are counted like those of local users
//! (`throttle`), those too that are answered from memory; an address that has guessed too much costs the identity server
//! no question. A key of somebody else's making may be short, so it is paced as a password is.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    AuthError, Facts, Method,
    credentials::Credential,
    desk::Desk,
    gate::{Authenticator, Outcome, unavailable},
    identity::Proof,
    throttle::Throttle,
    verdicts::{Refusal, Verdict},
};
use crate::{
    db::StoreError,
    domain::{
        Timestamp,
        principal::{Principal, Scopes},
    },
};

/// Judges API keys, or passwords, by asking the identity server.
pub(super) struct Delegated {
    kind: Method,
    desk: Arc<Desk>,
    guesses: Arc<Throttle>,
}

impl Delegated {
    pub(super) fn new(kind: Method, desk: Arc<Desk>, guesses: Arc<Throttle>) -> Self {
        Self { kind, desk, guesses }
    }

    /// The name that is presented and the proof as it is asked about; `None` of a credential of another kind.
    fn proof<'a>(&self, credential: &'a Credential) -> Option<(&'a str, Proof)> {
        match (self.kind, credential) {
            (Method::ApiKey, Credential::ApiKey(proof)) => {
                let (username, api_key) = (proof.username.clone(), proof.api_key.clone());
                Some((&proof.username, Proof::ApiKey { username, api_key }))
            }
            (Method::Basic, Credential::Basic(proof)) => {
                let (username, password) = (proof.username.clone(), proof.password.clone());
                Some((&proof.username, Proof::Basic { username, password }))
            }
            _ => None,
        }
    }

    async fn weigh(&self, name: &str, proof: Proof, request: &Facts) -> Result<Outcome, StoreError> {
        let from = request.client_ip;
        // A name is one of its realm: no name has a colon.
        let name = format!("{}:{name}", self.desk.realm());
        // Such a proof has no window: only the answer says how long it is good.
        let case = self.desk.case(proof, Timestamp::MAX, request);
        let verdict = match self.desk.remembered(&case).await {
            Some(verdict) if verdict.is_wrong() => {
                return Ok(Outcome::Refused(self.guesses.refuse(from, &name).await));
            }
            _ => {
                let (guesses, name) = (self.guesses.clone(), name.clone());
                let paced = |desk: Arc<Desk>, case: super::desk::Case| async move {
                    guesses.judged(case.key(), from, &name, desk.ask(case)).await
                };
                self.desk.verdict(case, paced).await?
            }
        };
        Ok(match verdict {
            Verdict::Proven(proven) => {
                Outcome::granted(Principal::unbound(Some(proven.user.clone()), Scopes::ALL, proven.limits.clone()))
            }
            Verdict::CannotCheck => Outcome::Unavailable,
            Verdict::Refused(Refusal::Disabled) => Outcome::Refused(AuthError::Disabled),
            Verdict::Refused(Refusal::TooMany) => Outcome::Refused(self.guesses.too_many(from)),
            Verdict::Refused(Refusal::Invalid | Refusal::Stale | Refusal::Replayed | Refusal::SchemeNotAllowed) => {
                Outcome::Refused(AuthError::Invalid)
            }
        })
    }
}

#[async_trait]
impl Authenticator for Delegated {
    fn scheme(&self) -> &'static str {
        self.kind.scheme()
    }

    async fn judge(&self, credential: &Credential, request: &Facts) -> Outcome {
        let Some((name, proof)) = self.proof(credential) else { return Outcome::NotMine };
        self.weigh(name, proof, request).await.unwrap_or_else(|error| unavailable(&error))
    }
}
