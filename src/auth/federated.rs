//! The signature authenticator: checks window and reuse itself, and lets the identity server judge (`desk`).
//!
//! Promises: a principal is made only of a verdict on exactly this proof, or of a binding that such a verdict made
//! earlier, and never of "a user of that name exists". What cannot be checked (no answer, no database) is
//! [`Outcome::Unavailable`].
//!
//! A v1 signature covers only its timestamp, so whoever sees one can use it while its window is open. How often it may be
//! used is the operator's choice ([`Reuse`]); the clients of the original service send one triple with every chunk.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::{
    AuthError, Facts, Judge, Method, Reuse, Settings, SignatureSettings,
    credentials::{Credential, SignatureV1},
    delegated::Delegated,
    desk::Desk,
    gate::{Authenticator, Chain, Outcome, unavailable},
    identity::{self, Proof},
    revalidation::Revalidation,
    throttle::Throttle,
    verdicts::{Proven, Refusal, Verdict, length_prefixed},
};
use crate::{
    db::{Accounts, StoreError},
    domain::{
        Clock, UploadId, UserId, after,
        principal::{Binding, Limits, Principal, ProofHash, Reach, Scopes, User},
        revalidation::Rule,
        signing,
    },
    worker::Tasks,
};

/// How much longer than its window a spent proof is remembered: for nodes whose clocks differ.
const SPENT_SLACK: Duration = Duration::from_secs(60);
const SCHEME: &str = "v1";

/// The authenticators that `settings` ask for and that rely on the identity server, and who asks it again about the users
/// they admitted; all of them share one client.
///
/// # Errors
/// One sentence about the setting that cannot be used.
pub(super) fn authenticators(
    settings: &Settings,
    identity: &identity::Settings,
    guesses: &Arc<Throttle>,
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) -> Result<(Chain, Option<Revalidation>), String> {
    let delegated: Vec<Method> = settings.judged_by(Judge::Identity).collect();
    if delegated.is_empty() {
        return Ok((Vec::new(), None));
    }
    let client = Arc::new(identity::Client::new(identity, clock.clone())?);
    let rule = Rule { every: identity.revalidate_every, stale: identity.stale_if_error };
    let again = Revalidation::new(rule, client.clone(), accounts.clone(), clock.clone(), tasks.clone());
    let desk = Arc::new(Desk::new(client, rule, accounts.clone(), clock.clone(), tasks));
    let authenticator = |method| -> Box<dyn Authenticator> {
        match method {
            Method::Signature => {
                Box::new(Federated::new(&settings.signature, desk.clone(), accounts.clone(), clock.clone()))
            }
            Method::ApiKey | Method::Basic => Box::new(Delegated::new(method, desk.clone(), guesses.clone())),
        }
    };
    Ok((delegated.into_iter().map(authenticator).collect(), Some(again)))
}

/// Judges v1 signatures by asking the identity server.
struct Federated {
    window: Duration,
    reuse: Reuse,
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
    desk: Arc<Desk>,
}

impl Federated {
    fn new(settings: &SignatureSettings, desk: Arc<Desk>, accounts: Arc<dyn Accounts>, clock: Arc<dyn Clock>) -> Self {
        Self { window: settings.window, reuse: settings.v1_reuse, accounts, clock, desk }
    }

    /// A proof inside its window: judged, then held against the rule of reuse.
    async fn inside(&self, proof: &SignatureV1, facts: &Facts) -> Result<Outcome, StoreError> {
        let case = self.desk.case(asked(proof), after(proof.signed_at, self.window), facts);
        match self.desk.verdict(case, Desk::ask).await? {
            Verdict::Proven(proven) => self.reused(proof, &proven).await,
            Verdict::Refused(refusal) => Ok(Outcome::Refused(self.refused(refusal))),
            Verdict::CannotCheck => Ok(Outcome::Unavailable),
        }
    }

    async fn reused(&self, proof: &SignatureV1, proven: &Proven) -> Result<Outcome, StoreError> {
        let hash = proof_hash(self.desk.realm(), proof);
        let binding = |exclusive| Some(Binding { proof: hash, exclusive });
        let (reach, may_create, binding) = match self.reuse {
            Reuse::Window => (Reach::Own, true, binding(false)),
            Reuse::Upload => {
                let bound = of(&self.accounts.bound(hash).await?, &proven.user);
                let unused = bound.is_empty();
                (Reach::Only(bound), unused, binding(true))
            }
            Reuse::Once => {
                let until = after(after(proof.signed_at, self.window), SPENT_SLACK);
                if !self.accounts.spend(hash, until).await? {
                    return Ok(Outcome::Refused(AuthError::Replayed));
                }
                (Reach::Own, true, None)
            }
        };
        let (user, scopes, limits) = (Some(proven.user.clone()), Scopes::ALL, proven.limits);
        Ok(Outcome::Granted(Principal { user, reach, may_create, scopes, limits, binding, token: None }))
    }

    /// A proof outside its window reaches the uploads that it created while it was open, and nothing else: long uploads
    /// outlive their signature. The proof is not asked about: the binding is
    /// the earlier verdict's own record.
    async fn outside(&self, proof: &SignatureV1) -> Result<Outcome, StoreError> {
        let stale = || Ok(Outcome::Refused(self.refused(Refusal::Stale)));
        if self.reuse == Reuse::Once {
            return stale();
        }
        let bound = self.accounts.bound(proof_hash(self.desk.realm(), proof)).await?;
        let Some((_, owner)) = bound.first().copied() else { return stale() };
        let Some(account) = self.accounts.find(owner).await? else { return stale() };
        if account.disabled {
            return Ok(Outcome::Refused(AuthError::Disabled));
        }
        let principal = Principal {
            reach: Reach::Only(of(&bound, &account.user)),
            user: Some(account.user.clone()),
            may_create: false,
            scopes: Scopes::ALL,
            limits: Limits::default(),
            binding: None,
            token: None,
        };
        Ok(Outcome::Recalled(principal, Box::new(account)))
    }

    fn refused(&self, refusal: Refusal) -> AuthError {
        match refusal {
            Refusal::Invalid => AuthError::Invalid,
            Refusal::Disabled => AuthError::Disabled,
            Refusal::Stale => AuthError::Stale { server_time: self.clock.now() },
            Refusal::Replayed => AuthError::Replayed,
            Refusal::TooMany => AuthError::RateLimited { retry_after: Duration::from_secs(1) },
        }
    }
}

#[async_trait]
impl Authenticator for Federated {
    fn scheme(&self) -> &'static str {
        Method::Signature.scheme()
    }

    async fn judge(&self, credential: &Credential, facts: &Facts) -> Outcome {
        let Credential::Signature(proof) = credential else { return Outcome::NotMine };
        let outcome = if signing::within(self.window, proof.signed_at, self.clock.now()) {
            self.inside(proof, facts).await
        } else {
            self.outside(proof).await
        };
        outcome.unwrap_or_else(|error| unavailable(&error))
    }
}

/// The proof as it is asked about.
fn asked(proof: &SignatureV1) -> Proof {
    let SignatureV1 { api_key, timestamp, signature, signed_at: _ } = proof.clone();
    Proof::Signature { scheme: SCHEME.into(), api_key, timestamp, signature }
}

/// The bound uploads that are this user's.
fn of(bound: &[(UploadId, UserId)], user: &User) -> Vec<UploadId> {
    bound.iter().filter(|(_, owner)| *owner == user.id).map(|(upload, _)| *upload).collect()
}

/// Names a proof in the database without keeping it.
///
/// One signature has several spellings (hexadecimal of either case, two alphabets of base64, padding or not), and a
/// verifier may accept them all. They must be one proof here, or a respelled signature could be used once more.
pub fn proof_hash(realm: &str, proof: &SignatureV1) -> ProofHash {
    let sent = &proof.signature;
    let hexadecimal = sent.len().is_multiple_of(2) && sent.bytes().all(|byte| byte.is_ascii_hexdigit());
    let signature = if hexadecimal {
        sent.to_ascii_lowercase()
    } else {
        sent.trim_end_matches('=').replace('-', "+").replace('_', "/")
    };
    let mut hash = Sha256::new();
    length_prefixed(&[realm, SCHEME, &proof.api_key, &proof.timestamp, &signature], |bytes| hash.update(bytes));
    ProofHash(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use proptest::prelude::*;

    fn hash(parts: &[String; 4]) -> ProofHash {
        let [realm, api_key, timestamp, signature] = parts.clone();
        proof_hash(&realm, &SignatureV1 { api_key, timestamp, signature, signed_at: Timestamp::UNIX_EPOCH })
    }

    #[test]
    fn spellings_of_one_signature_are_one_proof() {
        let of = |signature: &str| hash(&["r", "k", "t", signature].map(str::to_owned));
        assert_eq!(of("00AAbbccddeeff00"), of("00aabbccddeeff00"));
        assert_eq!(of("a+b/aaaaaaaaaaaaa=="), of("a-b_aaaaaaaaaaaaa"));
        assert_ne!(of("zzzzaaaaaaaaaaaa"), of("ZZZZaaaaaaaaaaaa"));
    }

    proptest! {
        #[test]
        fn any_changed_field_is_another_proof(parts: [String; 4], at in 0usize..3, to: String) {
            let mut changed = parts.clone();
            changed[at] = to;
            prop_assert_eq!(hash(&parts) == hash(&changed), parts == changed);
        }

        #[test]
        fn a_byte_moved_to_its_neighbour_is_another_proof(parts in proptest::array::uniform4("[0-9a-f]{2,8}"), at in 0usize..3) {
            let mut moved = parts.clone();
            let last = moved[at].pop().expect("not empty");
            moved[at + 1].insert(0, last);
            prop_assert_ne!(hash(&parts), hash(&moved));
        }
    }
}
