//! Whether users whose uploads go on without a question may still act.
//!
//! An upload token, and a signature after its window, are good on the strength of a verdict from before. The identity
//! server is asked now and then whether it still stands, for each user once however many uploads go on, and in the same
//! line as about proofs. The time of its last yes is in the user's row, so that nodes share it.
//!
//! Promises: a definite no ends the user's tokens; no answer at all is never a refusal, and carries for a while
//! ([`Rule`]). A server without the route is left in peace. Local users are not its business.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use moka::sync::Cache;

use super::{
    AuthError,
    gate::{Outcome, unavailable},
    identity::{self, Answer, Status, code},
    meters::{Judged, Meters},
    standing::Standing,
    verdicts::{Proven, Refusal, Settled, Verdict, Verdicts},
};
use crate::{
    db::{Account, StoreError},
    domain::{
        Clock, Timestamp, UserId, before,
        principal::{Limits, Principal},
        revalidation::{Due, PAUSE, Rule},
    },
    worker::Tasks,
};

/// Users whose questions in vain are remembered at most.
const ENTRIES: u64 = 100_000;
/// No time at all.
const NEVER: i64 = i64::MIN;

/// Asks one identity server about users again.
pub(super) struct Revalidation {
    asking: Arc<Asking>,
    /// For the one flight a user; nothing is remembered there.
    flights: Verdicts,
}

struct Asking {
    rule: Rule,
    client: Arc<identity::Client>,
    standing: Arc<Standing>,
    clock: Arc<dyn Clock>,
    meters: Arc<Meters>,
    in_vain: Cache<UserId, Timestamp>,
    /// When the server last said that it has no such route, in microseconds.
    not_offered: AtomicI64,
    /// Whether it ever answered there. Then a missing route is an outage, of a proxy before it for instance.
    offered: AtomicBool,
}

impl Revalidation {
    pub(super) fn new(
        rule: Rule,
        client: Arc<identity::Client>,
        standing: Arc<Standing>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        meters: Arc<Meters>,
    ) -> Self {
        let flights = Verdicts::new(clock.clone(), tasks, Judged::Again, meters.clone());
        let in_vain = Cache::builder().max_capacity(ENTRIES).time_to_live(2 * PAUSE).build();
        let asking =
            Asking { rule, client, standing, clock, meters, in_vain, not_offered: NEVER.into(), offered: false.into() };
        Self { asking: Arc::new(asking), flights }
    }

    /// Grants what an earlier verdict gave, if it still stands.
    pub(super) async fn confirm(&self, principal: Principal, account: Account) -> Outcome {
        let asking = &self.asking;
        if account.user.realm != asking.client.realm() {
            return Outcome::granted(principal);
        }
        let (id, active) = (account.user.id, account.standing.revalidated);
        let verdict = match asking.due(id, active) {
            Due::Not => return Outcome::granted(principal),
            Due::Pause => Verdict::CannotCheck,
            Due::Ask => {
                let key = self.flights.key(&[&id.to_string()]);
                self.flights.settle(key, key, asking.clone().ask(account)).await
            }
        };
        match verdict {
            Verdict::Proven(_) => Outcome::granted(principal),
            Verdict::Refused(_) => Outcome::Refused(AuthError::Disabled),
            Verdict::CannotCheck if asking.rule.carries(active, asking.clock.now()) => {
                tracing::warn!(user.id = %id, "an upload goes on by an earlier verdict: the identity server gives none");
                asking.meters.stale.one(());
                Outcome::granted(principal)
            }
            Verdict::CannotCheck => Outcome::Unavailable,
        }
    }
}

impl Asking {
    fn due(&self, id: UserId, active: Option<Timestamp>) -> Due {
        let now = self.clock.now();
        match self.rule.due(active, self.in_vain.get(&id), now) {
            Due::Ask | Due::Pause if self.was_not_offered_since(before(now, self.rule.every)) => Due::Not,
            due => due,
        }
    }

    async fn ask(self: Arc<Self>, account: Account) -> Settled {
        let verdict = self.verdict(&account).await.unwrap_or_else(|error| {
            let _ = unavailable(&error);
            Verdict::CannotCheck
        });
        if verdict == Verdict::CannotCheck {
            self.in_vain.insert(account.user.id, self.clock.now());
        }
        Settled { verdict, life: None }
    }

    async fn verdict(&self, account: &Account) -> Result<Verdict, StoreError> {
        // Somebody else may have asked since the row was read.
        let Some(account) = &self.standing.look(account.user.id).await? else { return Ok(Verdict::CannotCheck) };
        match self.due(account.user.id, account.standing.revalidated) {
            Due::Not => return Ok(proven(account)),
            Due::Pause => return Ok(Verdict::CannotCheck),
            Due::Ask => {}
        }
        let asked = self.clock.now();
        match self.client.introspect(&account.subject).await {
            Ok(Some(answer)) => {
                self.not_offered.store(NEVER, Ordering::Relaxed);
                self.heard(&answer, account, asked).await
            }
            Ok(None) => Ok(self.without_route(account)),
            // It never had the route, and now it is away: nothing is known that was known before.
            Err(_) if self.was_not_offered_since(Timestamp::MIN) => Ok(proven(account)),
            Err(_) => Ok(Verdict::CannotCheck),
        }
    }

    async fn heard(&self, answer: &Answer, account: &Account, asked: Timestamp) -> Result<Verdict, StoreError> {
        if answer.status != Status::Unsupported {
            self.offered.store(true, Ordering::Relaxed);
        }
        let said = answer.code.as_deref().unwrap_or_default();
        match answer.status {
            Status::Active if answer.user.as_ref().is_some_and(|user| user.id == account.subject) => {
                self.standing.revalidated(account.user.id, asked, before(asked, self.rule.every)).await?;
                Ok(proven(account))
            }
            Status::Active => Ok(Verdict::CannotCheck),
            Status::Denied if answer.retry_after.is_some() || said == code::RATE_LIMITED => Ok(Verdict::CannotCheck),
            Status::Denied => {
                tracing::info!(user.id = %account.user.id, identity.code = said, "the user may not go on");
                let (realm, now) = (&account.user.realm, self.clock.now());
                self.standing.accounts().set_disabled(realm, &account.subject, true, now).await?;
                self.standing.forget();
                Ok(Verdict::Refused(Refusal::Disabled))
            }
            Status::Unsupported => Ok(self.without_route(account)),
        }
    }

    fn without_route(&self, account: &Account) -> Verdict {
        if self.offered.load(Ordering::Relaxed) {
            return Verdict::CannotCheck;
        }
        self.note_not_offered();
        proven(account)
    }

    fn note_not_offered(&self) {
        let before = self.not_offered.swap(self.clock.now().as_microsecond(), Ordering::Relaxed);
        if before == NEVER {
            tracing::warn!(
                identity.realm = self.client.realm(),
                "the identity server does not offer /v1/introspect: users whose uploads go on are not asked about again"
            );
        }
    }

    fn was_not_offered_since(&self, since: Timestamp) -> bool {
        let last = self.not_offered.load(Ordering::Relaxed);
        last != NEVER && last > since.as_microsecond()
    }
}

fn proven(account: &Account) -> Verdict {
    let (user, as_of) = (account.user.clone(), account.standing.last_event);
    Verdict::Proven(Arc::new(Proven { user, limits: Limits::default(), as_of }))
}
