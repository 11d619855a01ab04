//! The signature authenticator: checks window and reuse itself, and lets the identity server judge (`desk`).
//!
//! Promises: a principal is made only of a verdict on exactly this proof, or of a binding that such a verdict made
//! earlier, and never of "a user of that name exists". What cannot be checked (no answer, no database) is
//! [`Outcome::Unavailable`].
//!
//! A v1 signature covers only its timestamp, so whoever sees one can use it while its window is open. How often it may be
//! used is the operator's choice ([`Reuse`]); the clients of the original service send one triple with every chunk.
//!
//! A v2 signature covers its request and is made anew for each. It is good for nothing outside its window, and its nonce
//! is spent together with the deed that begins or ends an upload, so that a second process refuses a replay as well.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::{
    AuthError, Facts, Reuse, Scheme, SignatureSettings,
    credentials::{Credential, SignatureV1},
    desk::Desk,
    gate::{Authenticator, Outcome, unavailable},
    identity::Proof,
    verdicts::{Proven, Refusal, Verdict, length_prefixed},
};
use crate::{
    db::StoreError,
    domain::{
        Clock, Timestamp, UploadId, UserId, after,
        message_signature::{ALGORITHM, Signed},
        principal::{Binding, Limits, Nonce, Principal, ProofHash, Reach, Scopes, Spend, User},
        signing,
    },
};

/// How much longer than its window a spent proof is remembered: for nodes whose clocks differ.
const SPENT_SLACK: Duration = Duration::from_secs(60);

/// Judges signatures by asking the identity server.
pub(super) struct Federated {
    window: Duration,
    reuse: Reuse,
    least: Scheme,
    clock: Arc<dyn Clock>,
    desk: Arc<Desk>,
}

impl Federated {
    pub(super) fn new(settings: &SignatureSettings, desk: Arc<Desk>, clock: Arc<dyn Clock>) -> Self {
        let SignatureSettings { window, v1_reuse: reuse, min_scheme: least, .. } = *settings;
        Self { window, reuse, least, clock, desk }
    }

    /// A proof inside its window: judged, then held against the rule of reuse.
    async fn inside(&self, proof: &SignatureV1, facts: &Facts) -> Result<Outcome, StoreError> {
        match self.verdict(asked(proof), after(proof.signed_at, self.window), facts).await? {
            Verdict::Proven(proven) => self.reused(proof, &proven).await,
            Verdict::Refused(refusal) => Ok(Outcome::Refused(self.refused(refusal))),
            Verdict::CannotCheck => Ok(Outcome::Unavailable),
        }
    }

    /// A signed request. Its nonce is not spent here: the deed it is for may be refused yet.
    async fn message(&self, signed: &Signed, facts: &Facts) -> Result<Outcome, StoreError> {
        let now = self.clock.now();
        if !signing::within(self.window, signed.created, now) || signed.expires.is_some_and(|end| end < now) {
            return Ok(Outcome::Refused(self.refused(Refusal::Stale)));
        }
        let end = after(signed.created, self.window);
        let good_until = signed.expires.map_or(end, |expires| end.min(expires));
        Ok(match self.verdict(asked_v2(signed), good_until, facts).await? {
            Verdict::Proven(proven) => Outcome::granted(Principal {
                nonce: self.nonce(signed, now),
                ..Principal::unbound(Some(proven.user.clone()), Scopes::ALL, proven.limits.clone())
            }),
            Verdict::Refused(refusal) => Outcome::Refused(self.refused(refusal)),
            Verdict::CannotCheck => Outcome::Unavailable,
        })
    }

    /// Remembered for as long as any signature that carries it could be accepted, by clocks that differ too.
    fn nonce(&self, signed: &Signed, now: Timestamp) -> Nonce {
        let Some(nonce) = &signed.nonce else { return Nonce::Missing };
        let proof = hashed(&[self.desk.realm(), "v2-nonce", &signed.keyid, nonce]);
        Nonce::Given(Spend { proof, until: after(now, self.window * 2 + SPENT_SLACK) })
    }

    async fn verdict(&self, proof: Proof, good_until: Timestamp, facts: &Facts) -> Result<Verdict, StoreError> {
        let case = self.desk.case(proof, good_until, facts);
        self.desk.verdict(case, Desk::ask).await
    }

    async fn reused(&self, proof: &SignatureV1, proven: &Proven) -> Result<Outcome, StoreError> {
        let hash = proof_hash(self.desk.realm(), proof);
        let binding = |exclusive| Some(Binding { proof: hash, exclusive });
        let (reach, may_create, binding) = match self.reuse {
            Reuse::Window => (Reach::Own, true, binding(false)),
            Reuse::Upload => {
                let bound = of(&self.desk.standing().accounts().bound(hash).await?, &proven.user);
                let unused = bound.is_empty();
                (Reach::Only(bound), unused, binding(true))
            }
            Reuse::Once => {
                let until = after(after(proof.signed_at, self.window), SPENT_SLACK);
                if !self.desk.standing().accounts().spend(hash, until).await? {
                    return Ok(Outcome::Refused(AuthError::Replayed));
                }
                (Reach::Own, true, None)
            }
        };
        let (user, scopes, nonce) = (Some(proven.user.clone()), Scopes::ALL, Nonce::NotAsked);
        let (limits, token) = (proven.limits.clone(), None);
        Ok(Outcome::granted(Principal { user, reach, may_create, scopes, limits, binding, token, nonce }))
    }

    /// A proof outside its window reaches the uploads that it created while it was open, and nothing else: long uploads
    /// outlive their signature. The proof is not asked about: the binding is
    /// the earlier verdict's own record.
    async fn outside(&self, proof: &SignatureV1) -> Result<Outcome, StoreError> {
        let stale = || Ok(Outcome::Refused(self.refused(Refusal::Stale)));
        if self.reuse == Reuse::Once {
            return stale();
        }
        let bound = self.desk.standing().accounts().bound(proof_hash(self.desk.realm(), proof)).await?;
        let Some((_, owner)) = bound.first().copied() else { return stale() };
        let Some(account) = self.desk.standing().find(owner).await? else { return stale() };
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
            nonce: Nonce::NotAsked,
        };
        Ok(Outcome::recalled(principal, account))
    }

    fn refused(&self, refusal: Refusal) -> AuthError {
        match refusal {
            Refusal::Invalid => AuthError::Invalid,
            Refusal::Disabled => AuthError::Disabled,
            Refusal::Stale => AuthError::Stale { server_time: self.clock.now() },
            Refusal::Replayed => AuthError::Replayed,
            Refusal::SchemeNotAllowed => AuthError::SchemeNotAllowed,
            Refusal::TooMany => AuthError::RateLimited { retry_after: Duration::from_secs(1) },
        }
    }
}

#[async_trait]
impl Authenticator for Federated {
    fn scheme(&self) -> &'static str {
        match self.least {
            Scheme::V1 => "signature-v1 signature-v2",
            Scheme::V2 => "signature-v2",
        }
    }

    async fn judge(&self, credential: &Credential, facts: &Facts) -> Outcome {
        let outcome = match credential {
            Credential::Signature(proof) if signing::within(self.window, proof.signed_at, self.clock.now()) => {
                self.inside(proof, facts).await
            }
            Credential::Signature(proof) => self.outside(proof).await,
            Credential::SignatureV2(signed) => self.message(signed, facts).await,
            Credential::ApiKey(_) | Credential::Basic(_) | Credential::Token(_) => return Outcome::NotMine,
        };
        outcome.unwrap_or_else(|error| unavailable(&error))
    }
}

/// The proof as it is asked about.
fn asked(proof: &SignatureV1) -> Proof {
    let SignatureV1 { api_key, timestamp, signature, signed_at: _ } = proof.clone();
    let scheme = Scheme::V1.name().into();
    Proof::Signature { scheme, api_key, timestamp, signature, algorithm: None, nonce: None, signature_base: None }
}

/// The identity server verifies the base that was rebuilt here, never one that the client claims.
fn asked_v2(signed: &Signed) -> Proof {
    Proof::Signature {
        scheme: Scheme::V2.name().into(),
        api_key: signed.keyid.clone(),
        timestamp: signed.created.as_second().to_string(),
        signature: signed.value_text(),
        algorithm: Some(ALGORITHM.into()),
        nonce: signed.nonce.clone(),
        signature_base: Some(signed.base.clone()),
    }
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
    hashed(&[realm, Scheme::V1.name(), &proof.api_key, &proof.timestamp, &signature])
}

fn hashed(parts: &[&str]) -> ProofHash {
    let mut hash = Sha256::new();
    length_prefixed(parts, |bytes| hash.update(bytes));
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
