//! The desk where proofs of every kind are taken to the identity server: asked about once, remembered, and the user
//! provisioned whom the answer calls active.
//!
//! Promises: a verdict is found again only for exactly this proof, for this realm and this audience; an answer that must
//! not be repeated is given to no other request either. What cannot be recorded is "cannot check".
//!
//! What is deliberately not here: what a kind of proof demands beyond a right answer. A signature has a window and rules
//! of reuse (`federated`); keys and passwords can be guessed (`delegated`).

use std::{sync::Arc, time::Duration};

use super::{
    Facts, Scheme,
    identity::{self, Answer, Proof, Status, code},
    meters::{Judged, Meters},
    provisioning::{Provisioning, Vouched},
    refused_keys::RefusedKeys,
    standing::Standing,
    verdicts::{self, Key, Proven, Refusal, Settled, Verdict, Verdicts},
};
use crate::{
    db::{Account, StoreError},
    domain::{Clock, Timestamp, before, revalidation::Rule},
    worker::Tasks,
};

/// Most that the identity server is told of a request's method, path and host, in bytes each.
const MAX_TOLD_BYTES: usize = 2048;

/// Asks one identity server, for all authenticators that rely on it.
pub(super) struct Desk {
    client: Arc<identity::Client>,
    rule: Rule,
    provisioning: Provisioning,
    standing: Arc<Standing>,
    verdicts: Verdicts,
    refused_keys: RefusedKeys,
    clock: Arc<dyn Clock>,
}

/// A proof, and the request that presents it.
pub(super) struct Case {
    proof: Proof,
    /// No verdict on the proof is repeated beyond this time.
    good_until: Timestamp,
    request: Facts,
    key: Key,
    flight: Key,
    /// Names the key that signs, if the proof is a signature.
    signer: Option<Key>,
}

impl Case {
    /// Names the proof in this process.
    pub(super) fn key(&self) -> Key {
        self.key
    }
}

/// When a question was asked, and after how many events of the identity server.
#[derive(Clone, Copy)]
struct Asked {
    at: Timestamp,
    events: u64,
}

impl Desk {
    pub(super) fn new(
        client: Arc<identity::Client>,
        rule: Rule,
        sign_up: bool,
        standing: Arc<Standing>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        meters: &Arc<Meters>,
    ) -> Self {
        let accounts = standing.accounts().clone();
        let provisioning = Provisioning::new(client.realm(), sign_up, accounts, clock.clone(), meters.clone());
        let verdicts = Verdicts::new(clock.clone(), tasks, Judged::Identity, meters.clone());
        let refused_keys = RefusedKeys::new(clock.clone(), meters.clone());
        Self { client, rule, provisioning, standing, verdicts, refused_keys, clock }
    }

    /// Users as they stand.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Under which name the users are filed.
    pub(super) fn realm(&self) -> &str {
        self.client.realm()
    }

    pub(super) fn case(&self, proof: Proof, good_until: Timestamp, request: &Facts) -> Case {
        let mut inputs = vec![self.client.realm(), self.client.audience()];
        inputs.extend(parts(&proof));
        let client_ip = request.client_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let asked = [&*request.method, &request.path, request.host.as_deref().unwrap_or_default(), &client_ip];
        let (key, flight) = (self.verdicts.key(&inputs), self.verdicts.key(&[inputs.as_slice(), &asked].concat()));
        let signer = match &proof {
            Proof::Signature { api_key, .. } => Some(self.verdicts.key(&[self.client.realm(), api_key])),
            Proof::ApiKey { .. } | Proof::Basic { .. } | Proof::Unknown => None,
        };
        Case { proof, good_until, request: request.clone(), key, flight, signer }
    }

    /// The verdict that was given a moment ago.
    pub(super) async fn remembered(&self, case: &Case) -> Option<Verdict> {
        self.verdicts.remembered(case.key).await
    }

    /// The verdict on a case as of now: remembered, if nothing was heard of the user since, or what `judge` makes of it,
    /// once however many wait.
    pub(super) async fn verdict<F>(
        self: &Arc<Self>,
        case: Case,
        judge: impl FnOnce(Arc<Self>, Case) -> F,
    ) -> Result<Verdict, StoreError>
    where
        F: Future<Output = Settled> + Send + 'static,
    {
        let (key, flight) = (case.key, case.flight);
        if let Some(verdict) = self.remembered(&case).await {
            match self.as_of_now(verdict).await? {
                Some(verdict) => return Ok(verdict),
                None => self.verdicts.forget(key).await,
            }
        }
        if self.is_signed_in_vain(&case).await? {
            return Ok(Verdict::Refused(Refusal::Invalid));
        }
        let verdict = self.verdicts.settle(key, flight, judge(self.clone(), case)).await;
        Ok(self.as_of_now(verdict).await?.unwrap_or(Verdict::CannotCheck))
    }

    /// Whether the key that signs is known to sign nothing. Which of its reasons it is, nobody learns who has not proven
    /// to hold the key.
    async fn is_signed_in_vain(&self, case: &Case) -> Result<bool, StoreError> {
        let Some(signer) = case.signer else { return Ok(false) };
        self.refused_keys.know(signer, &**self.standing.accounts(), self.realm()).await
    }

    /// The verdict as of now: it may be a minute old, the account's state and epoch hardly a second. `None`: an event concerned
    /// the user, here or at another node, after the identity server was asked.
    async fn as_of_now(&self, verdict: Verdict) -> Result<Option<Verdict>, StoreError> {
        let Verdict::Proven(proven) = verdict else { return Ok(Some(verdict)) };
        let account = match self.standing.find(proven.user.id).await? {
            // The verdict is younger than what is remembered.
            Some(account) if account.user.epoch < proven.user.epoch => self.standing.look(proven.user.id).await?,
            account => account,
        };
        Ok(match account {
            Some(account) if account.disabled => Some(Verdict::Refused(Refusal::Disabled)),
            Some(account) if account.standing.last_event > proven.as_of => None,
            Some(account) => {
                let (limits, as_of) = (proven.limits.clone(), proven.as_of);
                Some(Verdict::Proven(Arc::new(Proven { user: account.user, limits, as_of })))
            }
            None => Some(Verdict::CannotCheck),
        })
    }

    /// Asks, and provisions whom the answer calls active. Runs to its end whoever still waits for it.
    pub(super) async fn ask(self: Arc<Self>, case: Case) -> Settled {
        let settled = self.ask_about(case).await;
        settled.unwrap_or_else(|error| {
            tracing::error!(%error, "an answer of the identity server could not be recorded");
            Settled::cannot_check()
        })
    }

    async fn ask_about(&self, case: Case) -> Result<Settled, StoreError> {
        let scheme = scheme(&case.proof);
        // Before the question: the answer was true at some time after this, and what is told meanwhile may not be in it.
        let asked = Asked { at: self.clock.now(), events: self.standing.accounts().last_event(self.realm()).await? };
        let from = case.request.client_ip;
        let Ok(answer) = self.client.ask(case.proof, told(case.request), from).await else {
            return Ok(Settled::cannot_check());
        };
        if let Some(signer) = case.signer {
            self.refused_keys.heed(signer, &answer, asked.events).await;
        }
        match answer.status {
            Status::Active if !is_strong_enough(scheme, &answer) => Ok(refused(Refusal::SchemeNotAllowed, &answer)),
            Status::Active => self.active(&answer, asked, case.good_until).await,
            Status::Denied => self.denied(&answer).await,
            Status::Unsupported => {
                tracing::warn!("the identity server does not judge proofs of this kind: check auth.methods");
                Ok(refused(Refusal::Invalid, &answer))
            }
        }
    }

    async fn active(&self, answer: &Answer, asked: Asked, good_until: Timestamp) -> Result<Settled, StoreError> {
        let Some(user) = answer.user.clone() else { return Ok(Settled::cannot_check()) };
        let account = match self.provisioning.active(user, asked.events).await? {
            Vouched::For(account) => account,
            Vouched::Overtaken => return Ok(Settled::cannot_check()),
            Vouched::Stranger => {
                tracing::info!("a user of the identity server is not known here, and identity.sign_up is off");
                return Ok(refused(Refusal::Disabled, answer));
            }
        };
        if account.disabled {
            return Ok(refused(Refusal::Disabled, answer));
        }
        let now = self.clock.now();
        self.note_active(&account, now).await?;
        let left = Duration::try_from(good_until.duration_since(now)).unwrap_or_default();
        let limits = answer.limits.clone().unwrap_or_default().told(asked.at);
        let verdict = Verdict::Proven(Arc::new(Proven { user: account.user, limits, as_of: asked.events }));
        Ok(Settled { verdict, life: verdicts::positive_life(answer, left, now, rand::random()) })
    }

    /// A right proof is as good as a re-validation. Most are not worth a write.
    async fn note_active(&self, account: &Account, now: Timestamp) -> Result<(), StoreError> {
        let worth = before(now, self.rule.every);
        match account.standing.revalidated {
            Some(last) if last > worth => Ok(()),
            _ => self.standing.revalidated(account.user.id, now, worth).await,
        }
    }

    async fn denied(&self, answer: &Answer) -> Result<Settled, StoreError> {
        let said = answer.code.as_deref().unwrap_or_default();
        tracing::info!(identity.code = said, identity.message = answer.message, "the identity server refuses a proof");
        if answer.retry_after.is_some() || matches!(said, code::RATE_LIMITED | code::SERVICE_UNAUTHORIZED) {
            return Ok(Settled::cannot_check());
        }
        if let (code::USER_DISABLED, Some(user)) = (said, &answer.user) {
            self.provisioning.disabled(&user.id).await?;
            self.standing.forget();
        }
        let refusal = match said {
            code::USER_DISABLED | code::KEY_DISABLED => Refusal::Disabled,
            code::TIMESTAMP_OUT_OF_WINDOW => Refusal::Stale,
            code::REPLAYED => Refusal::Replayed,
            code::SCHEME_NOT_ALLOWED => Refusal::SchemeNotAllowed,
            _ => Refusal::Invalid,
        };
        Ok(refused(refusal, answer))
    }
}

/// The request as the identity server is told of it. What its sender may write as long as a head is cut: a question that
/// is too large to be read gets no answer, and whoever could ask some of those would stop the asking for everybody.
fn told(request: Facts) -> identity::Request {
    let cut = |mut text: String| {
        text.truncate(text.floor_char_boundary(MAX_TOLD_BYTES));
        text
    };
    identity::Request {
        method: cut(request.method),
        path: cut(request.path),
        host: request.host.map(cut),
        client_ip: request.client_ip.map(|ip| ip.to_string()),
    }
}

fn refused(refusal: Refusal, answer: &Answer) -> Settled {
    Settled { verdict: Verdict::Refused(refusal), life: verdicts::negative_life(answer, rand::random()) }
}

/// The scheme of a signature.
fn scheme(proof: &Proof) -> Option<Scheme> {
    let Proof::Signature { signature_base, .. } = proof else { return None };
    Some(if signature_base.is_some() { Scheme::V2 } else { Scheme::V1 })
}

/// Whether the key may be used with this scheme.
fn is_strong_enough(scheme: Option<Scheme>, answer: &Answer) -> bool {
    let least = answer.key.as_ref().and_then(|key| key.min_scheme.as_deref());
    scheme.zip(least).is_none_or(|(scheme, least)| scheme.suffices(least))
}

/// Everything in a proof that can change the verdict, its kind first, so that no two kinds are ever taken for each other.
fn parts(proof: &Proof) -> Vec<&str> {
    match proof {
        // The base of a v2 signature holds its algorithm and its nonce.
        Proof::Signature { scheme, api_key, timestamp, signature, algorithm: _, nonce: _, signature_base } => {
            vec!["signature", scheme, api_key, timestamp, signature, signature_base.as_deref().unwrap_or_default()]
        }
        Proof::ApiKey { username, api_key } => vec!["api_key", username, api_key],
        Proof::Basic { username, password } => vec!["basic", username, password],
        Proof::Unknown => vec!["unknown"],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proof(kind: u8, [a, b, c, d]: [String; 4]) -> Proof {
        match kind {
            0 => Proof::Signature {
                scheme: "v2".into(),
                api_key: a,
                timestamp: b,
                signature: c,
                algorithm: None,
                nonce: None,
                signature_base: Some(d),
            },
            1 => Proof::ApiKey { username: a, api_key: b },
            _ => Proof::Basic { username: a, password: b },
        }
    }

    #[test]
    fn no_request_makes_a_question_that_is_too_large() {
        let long = "\"".repeat(32 * 1024);
        let request = Facts {
            method: long.clone(),
            path: long.clone(),
            host: Some(long.clone()),
            client_ip: Some([10, 0, 0, 1].into()),
        };
        let request = told(request);
        let json = serde_json::to_vec(&request).expect("JSON").len();
        assert!(long.starts_with(&request.path) && json < identity::MAX_MESSAGE_BYTES / 4, "{json}");
        let path = format!("/{}", "é".repeat(2048));
        assert_eq!(told(Facts { path, ..Facts::default() }).path.len(), MAX_TOLD_BYTES - 1);
    }

    proptest! {
        #[test]
        fn any_change_of_a_proof_changes_its_key(
            (kind, other_kind) in (0u8..3, 0u8..3),
            parts_of in proptest::array::uniform4("[ab]{0,2}"),
            other_parts in proptest::array::uniform4("[ab]{0,2}"),
        ) {
            let verdicts = Verdicts::new(Arc::new(crate::domain::SystemClock), Tasks::new(), Judged::Identity, Arc::default());
            let (one, other) = (proof(kind, parts_of), proof(other_kind, other_parts));
            prop_assert_eq!(verdicts.key(&parts(&one)) == verdicts.key(&parts(&other)), one == other);
        }
    }
}
