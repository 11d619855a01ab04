//! Client of the external identity server: one question, and an answer or none.
//!
//! Promises: a question is bounded in time, and so is the answer in size; nothing follows a redirect, a proxy of the
//! environment or an address that a client named (server-side request forgery). Only a well-formed answer to this very
//! question is an answer. Everything else, a bare 401 page of some proxy included, is [`CannotCheck`], which says
//! nothing about the proof: a client that would read it as a refusal throws its half-done upload away.
//!
//! What is deliberately not done: remembering answers (see `verdicts`) and acting on them (see `desk`).

mod health;
mod line;
mod regulars;
mod room;
mod settings;
mod wire;

use std::{net::IpAddr, sync::Arc, time::Duration};

use reqwest::{StatusCode, Url, header};
use secrecy::ExposeSecret as _;
use tracing::Instrument as _;

use self::{
    health::Record,
    line::{Line, Turn, TurnedAway},
    regulars::Regulars,
    room::{Asker, Class},
};
use crate::{
    auth::meters::{Asked, Meters},
    domain::Clock,
};
pub use health::{Failure, Health};
pub use settings::{Settings, check_name};
pub use wire::{
    Answer, Cache, Introspection, Key, Limits, MAX_GROUPS, MAX_NAME_BYTES, Proof, Question, Request, Service, Status,
    User, VERSION, code,
};

/// Largest answer that is read, and largest question that the reference server reads.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Why there is no answer. For the log; clients learn only that there is none.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct CannotCheck {
    counts_as: Asked,
    why: String,
}

impl CannotCheck {
    fn status(status: StatusCode) -> Self {
        Self { counts_as: Asked::Status, why: format!("status {}", status.as_u16()) }
    }
}

/// Asks one identity server.
pub struct Client {
    http: reqwest::Client,
    verify: Url,
    introspect: Url,
    authorization: header::HeaderValue,
    realm: String,
    audience: String,
    node: String,
    try_timeout: Duration,
    deadline: Duration,
    regulars: Regulars,
    line: Line,
    record: Record,
    meters: Arc<Meters>,
}

impl Client {
    /// A client for the server that `settings` name. Connects to nothing yet.
    ///
    /// # Errors
    /// One sentence about the setting that cannot be used.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>, meters: Arc<Meters>) -> Result<Self, String> {
        settings.check()?;
        let endpoint = settings.endpoint()?;
        warn_if_open(&endpoint);
        let bearer = format!("Bearer {}", settings.secret()?.expose_secret());
        let mut authorization =
            header::HeaderValue::from_str(&bearer).map_err(|_| "identity.token cannot be sent in a header")?;
        authorization.set_sensitive(true);
        Ok(Self {
            http: connector(&endpoint, settings.connect_timeout)
                .build()
                .map_err(|error| format!("the client of the identity server cannot start: {}", innermost(&error)))?,
            verify: endpoint,
            introspect: settings.route("introspect")?,
            authorization,
            realm: settings.realm.clone(),
            audience: settings.audience.clone(),
            node: uuid::Uuid::new_v4().to_string(),
            try_timeout: settings.try_timeout,
            deadline: settings.deadline,
            regulars: Regulars::new(clock.clone()),
            record: Record::new(clock.clone()),
            line: Line::new(clock, meters.clone()),
            meters,
        })
    }

    /// Under which name the server's users are filed.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// For whom proofs are checked.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Asks about a proof that is presented from this address.
    ///
    /// # Errors
    /// [`CannotCheck`] unless a well-formed answer to this question came in time.
    pub async fn ask(&self, credential: Proof, request: Request, from: Option<IpAddr>) -> Result<Answer, CannotCheck> {
        let guest = self.regulars.guest(&credential, from);
        let question = self.question(credential, request);
        let letter = Letter::new(&self.verify, &question.request_id, &question);
        let answer = self.in_turn(self.regulars.asker(guest), &letter).await.map_err(Failed::reason);
        self.count(&answer);
        match &answer {
            Ok(answer) => self.regulars.heed(guest, answer),
            Err(reason) => letter.unanswered(&self.realm, reason),
        }
        answer
    }

    /// Asks whether a user may still act; `None`: the server has no such route.
    ///
    /// # Errors
    /// [`CannotCheck`] unless a well-formed answer to this question came in time.
    pub async fn introspect(&self, subject: &str) -> Result<Option<Answer>, CannotCheck> {
        let question = Introspection {
            version: VERSION.into(),
            request_id: uuid::Uuid::now_v7().to_string(),
            realm: self.realm.clone(),
            audience: self.audience.clone(),
            service: self.service(),
            user_id: subject.to_owned(),
        };
        let letter = Letter { optional: true, ..Letter::new(&self.introspect, &question.request_id, &question) };
        // Of somebody whose upload goes on.
        let known = Asker { network: None, class: Class::Regular };
        let answer = self.in_turn(known, &letter).await;
        let is_missing = matches!(answer, Err(Failed::NoRoute(_)));
        let answer = answer.map_err(Failed::reason);
        self.count(&answer);
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(_) if is_missing => Ok(None),
            Err(reason) => {
                letter.unanswered(&self.realm, &reason);
                Err(reason)
            }
        }
    }

    /// How the server is.
    pub fn health(&self) -> Health {
        let (under_way, waiting) = (self.meters.under_way.now(()), self.meters.waiting.now(()));
        let server = self.verify.origin().ascii_serialization();
        let (last_answer, last_failure) = self.record.last();
        let (realm, breaker) = (self.realm.clone(), self.line.phase());
        Health { realm, server, breaker, under_way, waiting, last_answer, last_failure }
    }

    fn count(&self, answer: &Result<Answer, CannotCheck>) {
        match answer {
            Ok(_) => self.record.answered(),
            // It was not asked.
            Err(CannotCheck { counts_as: Asked::BreakerOpen | Asked::Crowded, .. }) => {}
            Err(none) => self.record.failed(&none.why),
        }
        self.meters.asked.one(match answer {
            Ok(answer) => Asked::answered(answer.status, answer.code.as_deref()),
            Err(none) => none.counts_as,
        });
    }

    fn question(&self, credential: Proof, request: Request) -> Question {
        Question {
            version: VERSION.into(),
            request_id: uuid::Uuid::now_v7().to_string(),
            realm: self.realm.clone(),
            audience: self.audience.clone(),
            service: self.service(),
            credential,
            request,
            want: vec!["user".into(), "limits".into()],
        }
    }

    fn service(&self) -> Service {
        Service {
            id: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.clone(),
        }
    }

    /// Whatever is logged meanwhile says whose server it is about.
    async fn in_turn(&self, asker: Asker, letter: &Letter<'_>) -> Result<Answer, Failed> {
        self.wait_and_ask(asker, letter).instrument(tracing::info_span!("identity", realm = self.realm)).await
    }

    async fn wait_and_ask(&self, asker: Asker, letter: &Letter<'_>) -> Result<Answer, Failed> {
        let deadline = tokio::time::Instant::now() + self.deadline;
        let turn = self.line.turn(asker).await.map_err(|reason| Failed::Answer(reason.into()))?;
        let begun = tokio::time::Instant::now();
        let outcome = tokio::time::timeout_at(deadline, self.ask_twice(letter, &turn)).await;
        let late = CannotCheck { counts_as: Asked::Timeout, why: "no answer within the deadline".into() };
        let answer = outcome.unwrap_or(Err(Failed::Answer(late)));
        self.meters.asking.since((), begun);
        turn.settle(letter.is_settled_by(&answer));
        answer
    }

    /// A second try follows only a failure that came before any answer began, or that a proxy before the server reports;
    /// it carries the same request id, so that a server which counts uses of a proof knows it for the same question.
    async fn ask_twice(&self, letter: &Letter<'_>, turn: &Turn<'_>) -> Result<Answer, Failed> {
        match self.send(letter).await {
            Err(Failed::Passing(_)) if turn.may_retry() => {
                tokio::time::sleep(Duration::from_millis(rand::random_range(50..=200))).await;
                self.send(letter).await
            }
            settled => settled,
        }
    }

    async fn send(&self, letter: &Letter<'_>) -> Result<Answer, Failed> {
        let attempt = async {
            let response = self.post(letter).await?;
            match response.status() {
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                    Err(Failed::Passing(CannotCheck::status(response.status())))
                }
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                    Err(Failed::Question(CannotCheck::status(response.status())))
                }
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                    Err(Failed::NoRoute(CannotCheck::status(response.status())))
                }
                _ => read(response, letter.request_id).await.map_err(Failed::Answer),
            }
        };
        let late = || cannot(Asked::Timeout, "no answer within the time of one try").map_err(Failed::Answer);
        tokio::time::timeout(self.try_timeout, attempt).await.unwrap_or_else(|_| late())
    }

    async fn post(&self, letter: &Letter<'_>) -> Result<reqwest::Response, Failed> {
        let sent = self
            .http
            .post(letter.endpoint.clone())
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-request-id", letter.request_id)
            .header("idempotency-key", letter.request_id)
            .body(letter.body.clone())
            .send()
            .await;
        // Without an answer's head, the connection failed: refused, or closed while the question was on its way.
        sent.map_err(|error| {
            let why = format!("connection: {}", innermost(&error));
            Failed::Passing(CannotCheck { counts_as: Asked::Connect, why })
        })
    }
}

/// A question of either kind, as it is sent.
struct Letter<'a> {
    endpoint: &'a Url,
    request_id: &'a str,
    body: Vec<u8>,
    /// Whether a server need not have the route.
    optional: bool,
}

impl<'a> Letter<'a> {
    fn new(endpoint: &'a Url, request_id: &'a str, question: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(question).expect("a question is plain data");
        Self { endpoint, request_id, body, optional: false }
    }

    /// Whether the server is there.
    fn is_settled_by(&self, answer: &Result<Answer, Failed>) -> bool {
        match answer {
            Ok(_) | Err(Failed::Question(_)) => true,
            Err(Failed::NoRoute(_)) => self.optional,
            Err(Failed::Passing(_) | Failed::Answer(_)) => false,
        }
    }

    fn unanswered(&self, realm: &str, reason: &CannotCheck) {
        let request_id = self.request_id;
        tracing::warn!(identity.realm = realm, identity.request_id = request_id, %reason, "the identity server gave no answer");
    }
}

enum Failed {
    /// Perhaps only for a moment.
    Passing(CannotCheck),
    Answer(CannotCheck),
    /// The server is there, and does not take this question. Whoever asks odd ones must not end the asking for others.
    Question(CannotCheck),
    /// There is no such route.
    NoRoute(CannotCheck),
}

impl Failed {
    fn reason(self) -> CannotCheck {
        let (Self::Passing(reason) | Self::Answer(reason) | Self::Question(reason) | Self::NoRoute(reason)) = self;
        reason
    }
}

fn cannot<T>(counts_as: Asked, why: impl Into<String>) -> Result<T, CannotCheck> {
    Err(CannotCheck { counts_as, why: why.into() })
}

impl From<TurnedAway> for CannotCheck {
    fn from(reason: TurnedAway) -> Self {
        let counts_as = match reason {
            TurnedAway::Open => Asked::BreakerOpen,
            TurnedAway::Crowded => Asked::Crowded,
        };
        Self { counts_as, why: reason.to_string() }
    }
}

/// The cause without the chain above it, which repeats the URL.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

async fn read(response: reqwest::Response, request_id: &str) -> Result<Answer, CannotCheck> {
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(CannotCheck::status(status));
    }
    if !is_json(&response) {
        return cannot(Asked::Malformed, format!("status {} without application/json", status.as_u16()));
    }
    decoded(status, &bounded(response).await?, request_id)
}

/// What the body says as an answer to the question of that id.
pub(crate) fn decoded(status: StatusCode, body: &[u8], request_id: &str) -> Result<Answer, CannotCheck> {
    if says_service_unauthorized(body) {
        tracing::error!("the identity server refuses this service's own token: check identity.token");
        return cannot(Asked::ServiceUnauthorized, code::SERVICE_UNAUTHORIZED);
    }
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(error) => return cannot(Asked::Malformed, format!("not an answer: {}", place(&error))),
    };
    if let Some(flaw) = answer.flaw(request_id) {
        return cannot(Asked::Malformed, flaw);
    }
    if status != StatusCode::OK && answer.status == Status::Active {
        return cannot(Asked::Malformed, "an active user under a refusing status");
    }
    Ok(answer)
}

fn is_json(response: &reqwest::Response) -> bool {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

async fn bounded(mut response: reqwest::Response) -> Result<Vec<u8>, CannotCheck> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_MESSAGE_BYTES => {
                return cannot(Asked::Malformed, "the answer is larger than 64 KiB");
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return cannot(Asked::Malformed, format!("the answer broke off: {}", innermost(&error))),
        }
    }
}

/// Read leniently: a server that does not trust the asker may not have read the question, and so cannot repeat its id.
fn says_service_unauthorized(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Coded {
        code: String,
    }
    serde_json::from_slice::<Coded>(body).is_ok_and(|answer| answer.code == code::SERVICE_UNAUTHORIZED)
}

/// Where reading stopped; the message itself may quote a value.
fn place(error: &serde_json::Error) -> String {
    format!("{:?} at line {} column {}", error.classify(), error.line(), error.column())
}

/// The beginning of every HTTP client that asks an identity server.
pub(crate) fn connector(endpoint: &Url, connect_timeout: Duration) -> reqwest::ClientBuilder {
    // The TLS library is built without a default provider. That somebody installed one before is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy();
    // A bare container has no certificates of authorities, and without TLS none are needed.
    if endpoint.scheme() == "http" { builder.tls_certs_only([]) } else { builder }
}

/// Plain http is usual inside a container network, where names are not loopback addresses: allowed, but never unnoticed.
fn warn_if_open(endpoint: &Url) {
    let host = endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if endpoint.scheme() == "http" && !loopback {
        tracing::warn!(
            identity.host = host,
            "identity.url is plain http: the service token and every signature cross the network readable"
        );
    }
}
