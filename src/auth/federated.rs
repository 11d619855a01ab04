//! The signature authenticator: checks form and window itself, lets the identity server judge, and maps its answer.
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
    AuthError, Facts, Reuse, SignatureSettings,
    credentials::{Credential, SignatureV1},
    gate::{Authenticator, Outcome},
    identity::{self, Answer, Proof, Status, code},
    provisioning::Provisioning,
    verdicts::{self, Proven, Refusal, Settled, Verdict, Verdicts, length_prefixed},
};
use crate::{
    db::{Accounts, StoreError},
    domain::{
        Clock, Timestamp, UploadId, UserId, after,
        principal::{Binding, Limits, Principal, ProofHash, Reach, Scopes, User},
        signing,
    },
    worker::Tasks,
};

/// How much longer than its window a spent proof is remembered: for nodes whose clocks differ.
const SPENT_SLACK: Duration = Duration::from_secs(60);
const SCHEME: &str = "v1";

/// Judges v1 signatures by asking the identity server.
pub struct Federated {
    window: Duration,
    reuse: Reuse,
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
    verdicts: Verdicts,
    desk: Arc<Desk>,
}

/// What a question needs that may outlive the request it came with.
struct Desk {
    window: Duration,
    client: identity::Client,
    provisioning: Provisioning,
    clock: Arc<dyn Clock>,
}

impl Federated {
    /// An authenticator that asks through `client`.
    pub fn new(
        settings: &SignatureSettings,
        client: identity::Client,
        accounts: Arc<dyn Accounts>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Self {
        let provisioning = Provisioning::new(client.realm(), accounts.clone(), clock.clone());
        Self {
            window: settings.window,
            reuse: settings.v1_reuse,
            accounts,
            clock: clock.clone(),
            verdicts: Verdicts::new(clock.clone(), tasks),
            desk: Arc::new(Desk { window: settings.window, client, provisioning, clock }),
        }
    }

    /// A proof inside its window: judged, then held against the rule of reuse.
    async fn inside(&self, proof: &SignatureV1, facts: &Facts) -> Result<Outcome, StoreError> {
        let proven = match self.verdict(proof, facts).await {
            Verdict::Proven(proven) => proven,
            Verdict::Refused(refusal) => return Ok(Outcome::Refused(self.refused(refusal))),
            Verdict::CannotCheck => return Ok(Outcome::Unavailable),
        };
        // A verdict may be a minute old, the account's state may not.
        match self.accounts.find(proven.user.id).await? {
            Some(account) if !account.disabled => self.reused(proof, &proven).await,
            Some(_) => Ok(Outcome::Refused(AuthError::Disabled)),
            None => Ok(Outcome::Unavailable),
        }
    }

    async fn verdict(&self, proof: &SignatureV1, facts: &Facts) -> Verdict {
        let (realm, audience) = (self.desk.client.realm(), self.desk.client.audience());
        let inputs = [realm, audience, SCHEME, &proof.api_key, &proof.timestamp, &proof.signature];
        let client_ip = facts.client_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let request = [&facts.method, &facts.path, facts.host.as_deref().unwrap_or_default(), &client_ip];
        let key = self.verdicts.key(&inputs);
        let flight = self.verdicts.key(&[inputs.as_slice(), &request].concat());
        let question = self.desk.clone().settle(proof.clone(), facts.clone());
        self.verdicts.settle(key, flight, question).await
    }

    async fn reused(&self, proof: &SignatureV1, proven: &Proven) -> Result<Outcome, StoreError> {
        let hash = proof_hash(self.desk.client.realm(), proof);
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
        let user = Some(proven.user.clone());
        Ok(Outcome::Granted(Principal { user, reach, may_create, scopes: Scopes::ALL, limits: proven.limits, binding }))
    }

    /// A proof outside its window reaches the uploads that it created while it was open, and nothing else: long uploads
    /// outlive their signature. Nobody is asked: the binding is the earlier verdict's own record.
    async fn outside(&self, proof: &SignatureV1) -> Result<Outcome, StoreError> {
        let stale = || Ok(Outcome::Refused(self.refused(Refusal::Stale)));
        if self.reuse == Reuse::Once {
            return stale();
        }
        let bound = self.accounts.bound(proof_hash(self.desk.client.realm(), proof)).await?;
        let Some((_, owner)) = bound.first().copied() else { return stale() };
        let Some(account) = self.accounts.find(owner).await? else { return stale() };
        if account.disabled {
            return Ok(Outcome::Refused(AuthError::Disabled));
        }
        Ok(Outcome::Granted(Principal {
            reach: Reach::Only(of(&bound, &account.user)),
            user: Some(account.user),
            may_create: false,
            scopes: Scopes::ALL,
            limits: Limits::default(),
            binding: None,
        }))
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
        "signature-v1"
    }

    async fn judge(&self, credential: &Credential, facts: &Facts) -> Outcome {
        let Credential::Signature(proof) = credential else { return Outcome::NotMine };
        let outcome = if signing::within(self.window, proof.signed_at, self.clock.now()) {
            self.inside(proof, facts).await
        } else {
            self.outside(proof).await
        };
        outcome.unwrap_or_else(|error| {
            tracing::error!(%error, "authentication cannot use the database");
            Outcome::Unavailable
        })
    }
}

impl Desk {
    /// Asks, and provisions whom the answer calls active. Runs to its end whoever still waits for it.
    async fn settle(self: Arc<Self>, proof: SignatureV1, facts: Facts) -> Settled {
        let credential = Proof::Signature {
            scheme: SCHEME.into(),
            api_key: proof.api_key,
            timestamp: proof.timestamp,
            signature: proof.signature,
        };
        let request = identity::Request {
            method: facts.method,
            path: facts.path,
            host: facts.host,
            client_ip: facts.client_ip.map(|ip| ip.to_string()),
        };
        let Ok(answer) = self.client.ask(credential, request).await else { return Settled::cannot_check() };
        let settled = match answer.status {
            Status::Active => self.active(&answer, after(proof.signed_at, self.window)).await,
            Status::Denied | Status::Unsupported => self.denied(&answer).await,
        };
        settled.unwrap_or_else(|error| {
            tracing::error!(%error, "an answer of the identity server could not be recorded");
            Settled::cannot_check()
        })
    }

    async fn active(&self, answer: &Answer, window_end: Timestamp) -> Result<Settled, StoreError> {
        let Some(user) = answer.user.clone() else { return Ok(Settled::cannot_check()) };
        let account = self.provisioning.active(user).await?;
        if account.disabled {
            let verdict = Verdict::Refused(Refusal::Disabled);
            return Ok(Settled { verdict, life: verdicts::negative_life(answer) });
        }
        let now = self.clock.now();
        let left = Duration::try_from(window_end.duration_since(now)).unwrap_or_default();
        let limits = Limits { max_file_bytes: answer.limits.and_then(|limits| limits.max_file_bytes) };
        let verdict = Verdict::Proven(Arc::new(Proven { user: account.user, limits }));
        Ok(Settled { verdict, life: verdicts::positive_life(answer, left, now, rand::random()) })
    }

    async fn denied(&self, answer: &Answer) -> Result<Settled, StoreError> {
        let said = answer.code.as_deref().unwrap_or_default();
        tracing::info!(identity.code = said, identity.message = answer.message, "the identity server refuses a proof");
        if answer.retry_after.is_some() || matches!(said, code::RATE_LIMITED | code::SERVICE_UNAUTHORIZED) {
            return Ok(Settled::cannot_check());
        }
        if let (code::USER_DISABLED, Some(user)) = (said, &answer.user) {
            self.provisioning.disabled(&user.id).await?;
        }
        let refusal = match said {
            code::USER_DISABLED | code::KEY_DISABLED => Refusal::Disabled,
            code::TIMESTAMP_OUT_OF_WINDOW => Refusal::Stale,
            code::REPLAYED => Refusal::Replayed,
            _ => Refusal::Invalid,
        };
        Ok(Settled { verdict: Verdict::Refused(refusal), life: verdicts::negative_life(answer) })
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
    let mut hash = Sha256::new();
    length_prefixed(&[realm, SCHEME, &proof.api_key, &proof.timestamp, &signature], |bytes| hash.update(bytes));
    ProofHash(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
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
