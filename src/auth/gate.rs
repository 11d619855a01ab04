//! The gate itself: one credential, one authenticator that it belongs to, one answer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    AuthError, Facts, Presented, Settings, Throttle,
    credentials::{self, Credential},
    identity::{self, Health},
    meters::{Admission, AtGate, Kind, Meters, Source},
    realm::Realm,
    standing::Standing,
    tokens::Tokens,
};
use crate::{
    db::{Account, Accounts, LOCAL_REALM, StoreError},
    domain::{
        Clock,
        operators::Operator,
        principal::{Principal, User},
        realms::{Entrance, Realms},
        upload::Upload,
    },
    worker::Tasks,
};

/// What an authenticator says of a credential.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// This kind of credential belongs to another authenticator.
    NotMine,
    /// The proof is right.
    Granted(Box<Principal>),
    /// The proof is good on the strength of an earlier verdict about this account, unless that is too old.
    Recalled(Box<Principal>, Box<Account>),
    /// The proof does not admit; asking again changes nothing for now.
    Refused(AuthError),
    /// The proof could not be checked. Says nothing about it.
    Unavailable,
}

impl Outcome {
    pub(super) fn granted(principal: Principal) -> Self {
        Self::Granted(Box::new(principal))
    }

    pub(super) fn recalled(principal: Principal, account: Account) -> Self {
        Self::Recalled(Box::new(principal), Box::new(account))
    }
}

/// Judges one kind of credential.
///
/// An implementation answers [`Outcome::Granted`] only for a proof that it, or somebody it asked, verified; a failure to
/// ask is [`Outcome::Unavailable`], never a refusal.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The name of the scheme in the challenge.
    fn scheme(&self) -> &'static str;

    /// Judges the credential.
    async fn judge(&self, credential: &Credential, request: &Facts) -> Outcome;
}

/// Authenticators, in the order in which they are asked.
pub(super) type Chain = Vec<Box<dyn Authenticator>>;

/// Admits requests, or says why not.
pub struct Gate {
    settings: Settings,
    rule: Arc<Realms>,
    /// In their places in the rule.
    realms: Vec<Realm>,
    /// For users of the service's own.
    local: Chain,
    tokens: Option<Tokens>,
    meters: Arc<AtGate>,
}

impl Gate {
    /// A gate with one realm, and the authenticators that `settings` asks for and that rely on its identity server.
    ///
    /// # Errors
    /// One sentence about the setting that cannot be used.
    pub fn open(
        settings: Settings,
        identity: &identity::Settings,
        guesses: &Arc<Throttle>,
        accounts: Arc<dyn Accounts>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        meters: Arc<Meters>,
    ) -> Result<Self, String> {
        let standing = Arc::new(Standing::new(accounts, clock.clone()));
        let realm = Realm::open(&settings, identity, guesses, &standing, &clock, &tasks, &meters)?;
        Self::holding(settings, Realms::only(&identity.realm), vec![realm], meters.gate.clone())
    }

    /// A gate with these realms, in their places in `rule`.
    ///
    /// # Errors
    /// One sentence about the setting that cannot be used.
    pub fn holding(settings: Settings, rule: Realms, realms: Vec<Realm>, meters: Arc<AtGate>) -> Result<Self, String> {
        settings.check()?;
        Ok(Self { settings, rule: Arc::new(rule), realms, local: Vec::new(), tokens: None, meters })
    }

    /// A gate with these authenticators.
    pub fn new(settings: Settings, realm: &str, chain: Vec<Box<dyn Authenticator>>) -> Self {
        let (rule, realms) = (Arc::new(Realms::only(realm)), vec![Realm::of(chain)]);
        Self { settings, rule, realms, local: Vec::new(), tokens: None, meters: Arc::default() }
    }

    /// The same gate with authenticators of users of the service's own.
    #[must_use]
    pub fn joined_by(mut self, local: Vec<Box<dyn Authenticator>>) -> Self {
        self.local.extend(local);
        self
    }

    /// The same gate, giving and taking upload tokens.
    #[must_use]
    pub fn minting(self, tokens: Tokens) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// By what requests find their realm.
    pub fn rule(&self) -> Arc<Realms> {
        self.rule.clone()
    }

    /// How the identity servers are.
    pub fn health(&self, _: &Operator) -> Vec<Health> {
        self.realms.iter().filter_map(Realm::health).collect()
    }

    /// The upload token that goes with the answer to a write of `by` to `upload`, if one is due.
    pub fn mint(&self, by: &Principal, upload: &Upload) -> Option<String> {
        self.tokens.as_ref().and_then(|tokens| tokens.mint(by, upload))
    }

    /// Who is asking?
    ///
    /// Nobody in particular is admitted only if nothing at all was presented: a credential that is wrong, incomplete or
    /// of a kind that is not enabled is never taken for none.
    ///
    /// # Errors
    /// Why the request is not admitted.
    pub async fn admit(&self, presented: &Presented) -> Result<Principal, AuthError> {
        let (kind, outcome) = match credentials::find(presented, &self.settings) {
            Ok(Some(credential)) => (Kind::of(&credential), self.judge(&credential, presented).await),
            Ok(None) if self.is_open(presented.entrance) => (Kind::Nothing, Ok(Principal::anonymous())),
            Ok(None) => (Kind::Nothing, Err(AuthError::Missing)),
            Err(error) => (Kind::Unsound, Err(error)),
        };
        self.meters.requests.one((kind, Admission::of(&outcome)));
        outcome
    }

    async fn judge(&self, credential: &Credential, presented: &Presented) -> Result<Principal, AuthError> {
        match is_forged(credential, presented) {
            true => Err(AuthError::CrossSite),
            false => self.ask(credential, presented).await,
        }
    }

    /// Whether anything is presented. Judges nothing, so it may be asked as often as needed for one request.
    ///
    /// # Errors
    /// What is presented is malformed or contradicts itself.
    pub fn presents(&self, presented: &Presented) -> Result<bool, AuthError> {
        credentials::find(presented, &self.settings).map(|found| found.is_some())
    }

    /// Whether nobody in particular may come in: nobody is of a realm.
    fn is_open(&self, entrance: Entrance) -> bool {
        self.settings.anonymous && self.rule.admits(entrance, None)
    }

    /// The challenge that goes with a refusal (RFC 9110 §11.6.1). `Basic` is asked for only where it is accepted: browsers
    /// answer it with a prompt (RFC 7617 §2).
    pub fn challenge(&self, entrance: Entrance) -> String {
        let realm = self.rule.name(entrance).replace(['"', '\\'], "");
        let judges = self.rule.judging(entrance, None).into_iter().flat_map(|realm| self.judges(entrance, realm));
        let schemes: Vec<_> = judges.map(|authenticator| authenticator.scheme()).collect();
        let basic = match schemes.contains(&"basic") {
            true => format!(", Basic realm=\"{realm}\", charset=\"UTF-8\""),
            false => String::new(),
        };
        format!("Chunkgate realm=\"{realm}\", schemes=\"{}\"{basic}", schemes.join(" "))
    }

    async fn ask(&self, credential: &Credential, presented: &Presented) -> Result<Principal, AuthError> {
        let entrance = presented.entrance;
        let outcome = match (credential, &self.tokens) {
            (Credential::Token(proof), Some(tokens)) => {
                let begun = Instant::now();
                let outcome = tokens.judge(proof, |user| self.may_enter(entrance, user)).await;
                self.meters.seconds.since(Source::Token, begun);
                outcome
            }
            _ => self.judged(credential, presented).await,
        };
        match self.confirmed(self.within(entrance, outcome)).await {
            Outcome::NotMine => Err(credentials::not_enabled("this kind of credential")),
            Outcome::Granted(principal) | Outcome::Recalled(principal, _) => Ok(*principal),
            Outcome::Refused(error) => Err(error),
            Outcome::Unavailable => Err(AuthError::Unavailable { retry_after: retry_after() }),
        }
    }

    /// What the realm says whose business the credential is. One that is marked as another realm's is taken to nobody.
    async fn judged(&self, credential: &Credential, presented: &Presented) -> Outcome {
        let Some(realm) = self.rule.judging(presented.entrance, credential.key()) else {
            return Outcome::Refused(AuthError::Invalid);
        };
        let mut outcome = Outcome::NotMine;
        for authenticator in self.judges(presented.entrance, realm) {
            if matches!(outcome, Outcome::NotMine) {
                outcome = authenticator.judge(credential, &presented.request).await;
            }
        }
        outcome
    }

    /// Who judges for a realm at this entrance: its own authenticators, and those of local users where these come in.
    fn judges(&self, entrance: Entrance, realm: usize) -> impl Iterator<Item = &dyn Authenticator> {
        let local = if self.rule.admits(entrance, Some(LOCAL_REALM)) { &*self.local } else { &[] };
        self.realms[realm].chain.iter().chain(local).map(|authenticator| &**authenticator)
    }

    /// The last word on where somebody comes in: whoever proved it, and however long ago.
    fn within(&self, entrance: Entrance, outcome: Outcome) -> Outcome {
        match &outcome {
            Outcome::Granted(principal) | Outcome::Recalled(principal, _)
                if !self.may_enter(entrance, principal.user.as_ref()) =>
            {
                tracing::warn!("a proof of another realm was refused");
                Outcome::Refused(AuthError::Invalid)
            }
            _ => outcome,
        }
    }

    fn may_enter(&self, entrance: Entrance, user: Option<&User>) -> bool {
        self.rule.admits(entrance, user.map(|user| &*user.realm))
    }

    /// What is recalled is asked about again now and then, where there is somebody to ask.
    async fn confirmed(&self, outcome: Outcome) -> Outcome {
        let Outcome::Recalled(principal, account) = outcome else { return outcome };
        let realm = self.rule.all().iter().position(|realm| realm.name == account.user.realm);
        match realm.and_then(|at| self.realms[at].again.as_ref()) {
            Some(again) => again.confirm(*principal, *account).await,
            None => Outcome::Recalled(principal, account),
        }
    }
}

/// Whether the user's browser sends this without the user's knowing: a form or an image of somebody else's page (cross-site
/// request forgery). What only reads is let through: the page cannot read the answer.
fn is_forged(credential: &Credential, presented: &Presented) -> bool {
    let changes = !matches!(&*presented.request.method, "GET" | "HEAD" | "OPTIONS");
    changes && presented.cross_site && credential.is_sent_by_browsers()
}

/// The answer where the database cannot be asked.
pub(super) fn unavailable(error: &StoreError) -> Outcome {
    tracing::error!(%error, "authentication cannot use the database");
    Outcome::Unavailable
}

/// One to five seconds, spread so that clients that failed together do not come back together.
fn retry_after() -> Duration {
    Duration::from_secs(rand::random_range(1..=5))
}
