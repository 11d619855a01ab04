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
    Facts,
    identity::{self, Answer, Proof, Status, code},
    provisioning::Provisioning,
    verdicts::{self, Key, Proven, Refusal, Settled, Verdict, Verdicts},
};
use crate::{
    db::{Account, Accounts, StoreError},
    domain::{Clock, Timestamp, before, principal::Limits, revalidation::Rule},
    worker::Tasks,
};

/// Asks one identity server, for all authenticators that rely on it.
pub(super) struct Desk {
    client: Arc<identity::Client>,
    rule: Rule,
    provisioning: Provisioning,
    accounts: Arc<dyn Accounts>,
    verdicts: Verdicts,
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
}

impl Case {
    /// Names the proof in this process.
    pub(super) fn key(&self) -> Key {
        self.key
    }
}

impl Desk {
    pub(super) fn new(
        client: Arc<identity::Client>,
        rule: Rule,
        accounts: Arc<dyn Accounts>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Self {
        let provisioning = Provisioning::new(client.realm(), accounts.clone(), clock.clone());
        Self { client, rule, provisioning, accounts, verdicts: Verdicts::new(clock.clone(), tasks), clock }
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
        Case { proof, good_until, request: request.clone(), key, flight }
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
        let verdict = self.verdicts.settle(key, flight, judge(self.clone(), case)).await;
        Ok(self.as_of_now(verdict).await?.unwrap_or(Verdict::CannotCheck))
    }

    /// The verdict as of now: it may be a minute old, the account's state and epoch may not. `None`: an event concerned
    /// the user, here or at another node, after the identity server was asked.
    async fn as_of_now(&self, verdict: Verdict) -> Result<Option<Verdict>, StoreError> {
        let Verdict::Proven(proven) = verdict else { return Ok(Some(verdict)) };
        Ok(match self.accounts.find(proven.user.id).await? {
            Some(account) if account.disabled => Some(Verdict::Refused(Refusal::Disabled)),
            Some(account) if account.standing.last_event > proven.as_of => None,
            Some(account) => {
                let (limits, as_of) = (proven.limits, proven.as_of);
                Some(Verdict::Proven(Arc::new(Proven { user: account.user, limits, as_of })))
            }
            None => Some(Verdict::CannotCheck),
        })
    }

    /// Asks, and provisions whom the answer calls active. Runs to its end whoever still waits for it.
    pub(super) async fn ask(self: Arc<Self>, case: Case) -> Settled {
        let request = identity::Request {
            method: case.request.method,
            path: case.request.path,
            host: case.request.host,
            client_ip: case.request.client_ip.map(|ip| ip.to_string()),
        };
        let settled = self.ask_about(case.proof, request, case.good_until).await;
        settled.unwrap_or_else(|error| {
            tracing::error!(%error, "an answer of the identity server could not be recorded");
            Settled::cannot_check()
        })
    }

    async fn ask_about(
        &self,
        proof: Proof,
        request: identity::Request,
        good_until: Timestamp,
    ) -> Result<Settled, StoreError> {
        // Before the question: whatever is told while it is under way may not be in its answer.
        let as_of = self.accounts.last_event(self.realm()).await?;
        let Ok(answer) = self.client.ask(proof, request).await else { return Ok(Settled::cannot_check()) };
        match answer.status {
            Status::Active => self.active(&answer, good_until, as_of).await,
            Status::Denied => self.denied(&answer).await,
            Status::Unsupported => {
                tracing::warn!("the identity server does not judge proofs of this kind: check auth.methods");
                Ok(refused(Refusal::Invalid, &answer))
            }
        }
    }

    async fn active(&self, answer: &Answer, good_until: Timestamp, as_of: u64) -> Result<Settled, StoreError> {
        let Some(user) = answer.user.clone() else { return Ok(Settled::cannot_check()) };
        let Some(account) = self.provisioning.active(user, as_of).await? else { return Ok(Settled::cannot_check()) };
        if account.disabled {
            return Ok(refused(Refusal::Disabled, answer));
        }
        let now = self.clock.now();
        self.note_active(&account, now).await?;
        let left = Duration::try_from(good_until.duration_since(now)).unwrap_or_default();
        let limits = Limits { max_file_bytes: answer.limits.and_then(|limits| limits.max_file_bytes) };
        let verdict = Verdict::Proven(Arc::new(Proven { user: account.user, limits, as_of }));
        Ok(Settled { verdict, life: verdicts::positive_life(answer, left, now, rand::random()) })
    }

    /// A right proof is as good as a re-validation. Most are not worth a write.
    async fn note_active(&self, account: &Account, now: Timestamp) -> Result<(), StoreError> {
        let worth = before(now, self.rule.every);
        match account.standing.revalidated {
            Some(last) if last > worth => Ok(()),
            _ => self.accounts.revalidated(account.user.id, now, worth).await,
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
        }
        let refusal = match said {
            code::USER_DISABLED | code::KEY_DISABLED => Refusal::Disabled,
            code::TIMESTAMP_OUT_OF_WINDOW => Refusal::Stale,
            code::REPLAYED => Refusal::Replayed,
            _ => Refusal::Invalid,
        };
        Ok(refused(refusal, answer))
    }
}

fn refused(refusal: Refusal, answer: &Answer) -> Settled {
    Settled { verdict: Verdict::Refused(refusal), life: verdicts::negative_life(answer) }
}

/// Everything in a proof that can change the verdict, its kind first, so that no two kinds are ever taken for each other.
fn parts(proof: &Proof) -> Vec<&str> {
    match proof {
        Proof::Signature { scheme, api_key, timestamp, signature } => {
            vec!["signature", scheme, api_key, timestamp, signature]
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
            0 => Proof::Signature { scheme: a, api_key: b, timestamp: c, signature: d },
            1 => Proof::ApiKey { username: a, api_key: b },
            _ => Proof::Basic { username: a, password: b },
        }
    }

    proptest! {
        #[test]
        fn any_change_of_a_proof_changes_its_key(
            (kind, other_kind) in (0u8..3, 0u8..3),
            parts_of in proptest::array::uniform4("[ab]{0,2}"),
            other_parts in proptest::array::uniform4("[ab]{0,2}"),
        ) {
            let verdicts = Verdicts::new(Arc::new(crate::domain::SystemClock), Tasks::new());
            let (one, other) = (proof(kind, parts_of), proof(other_kind, other_parts));
            prop_assert_eq!(verdicts.key(&parts(&one)) == verdicts.key(&parts(&other)), one == other);
        }
    }
}
