//! A realm at the gate: one identity server, and everything that relies on its word.
//!
//! Promises: what realms have of these, each has alone: the client with its line and breaker, verdicts, provisioning and
//! re-validation. So one server's outage is felt by its own users, and one server's word is never another's. Which
//! requests a realm has to do with is not its own affair (`domain::realms`).

use std::sync::Arc;

use super::{
    Judge, Method, Settings, Throttle,
    delegated::Delegated,
    desk::Desk,
    federated::Federated,
    gate::{Authenticator, Chain},
    identity::{self, Client, Health},
    meters::Meters,
    revalidation::Revalidation,
    standing::Standing,
};
use crate::{
    domain::{Clock, revalidation::Rule},
    worker::Tasks,
};

/// See the module.
pub struct Realm {
    pub(super) chain: Chain,
    /// Who asks again about users that were admitted.
    pub(super) again: Option<Revalidation>,
    client: Option<Arc<Client>>,
}

impl Realm {
    /// The realm of that identity server, with the authenticators that `settings` ask for and that rely on it.
    ///
    /// # Errors
    /// One sentence about the setting that cannot be used.
    pub fn open(
        settings: &Settings,
        identity: &identity::Settings,
        guesses: &Arc<Throttle>,
        standing: &Arc<Standing>,
        clock: &Arc<dyn Clock>,
        tasks: &Tasks,
        meters: &Arc<Meters>,
    ) -> Result<Self, String> {
        identity.check()?;
        let delegated: Vec<Method> = settings.judged_by(Judge::Identity).collect();
        if delegated.is_empty() {
            return Ok(Self::of(Vec::new()));
        }
        let client = Arc::new(Client::new(identity, clock.clone(), meters.clone())?);
        let rule = Rule { every: identity.revalidate_every, stale: identity.stale_if_error };
        let (asked, standing, clock, tasks) = (client.clone(), standing.clone(), clock.clone(), tasks.clone());
        let again =
            Revalidation::new(rule, asked.clone(), standing.clone(), clock.clone(), tasks.clone(), meters.clone());
        let desk = Arc::new(Desk::new(asked, rule, identity.sign_up, standing, clock.clone(), tasks, meters));
        let authenticator = |method| -> Box<dyn Authenticator> {
            match method {
                Method::Signature => Box::new(Federated::new(&settings.signature, desk.clone(), clock.clone())),
                Method::ApiKey | Method::Basic => Box::new(Delegated::new(method, desk.clone(), guesses.clone())),
            }
        };
        let chain = delegated.into_iter().map(authenticator).collect();
        Ok(Self { chain, again: Some(again), client: Some(client) })
    }

    /// A realm with these authenticators, and nobody to ask.
    pub(super) fn of(chain: Chain) -> Self {
        Self { chain, again: None, client: None }
    }

    /// How its identity server is, if one is asked.
    pub(super) fn health(&self) -> Option<Health> {
        self.client.as_ref().map(|client| client.health())
    }
}
