//! Client of the external identity server: one question, and an answer or none.
//!
//! Promises: a question is bounded in time, and so is the answer in size; nothing follows a redirect, a proxy of the
//! environment or an address that a client named (server-side request forgery). Only a well-formed answer to this very
//! question is an answer. Everything else, a bare 401 page of some proxy included, is [`CannotCheck`], which says
//! nothing about the proof: a client that would read it as a refusal throws its half-done upload away.
//!
//! What is deliberately not done: remembering answers (see `verdicts`) and deciding what they mean (see `federated`).

mod wire;

use std::{path::PathBuf, time::Duration};

use reqwest::{StatusCode, Url, header};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

pub use wire::{
    Answer, Cache, Key, Limits, MAX_GROUPS, MAX_NAME_BYTES, Proof, Question, Request, Service, Status, User, VERSION,
    code,
};

/// Largest answer that is read, and largest question that the reference server reads.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Questions in flight at most; more wait within their deadline.
const IN_FLIGHT: usize = 64;

/// Section `identity` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Base URL of the identity server; `/v1/verify` is appended. Use https unless the way to it is private.
    pub url: String,
    /// The service's own token, with which it proves itself to the identity server. Never printed.
    #[serde(serialize_with = "hidden")]
    pub token: SecretString,
    /// A file that holds the token instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The name under which the identity server knows this service.
    pub audience: String,
    /// The name under which this service files the identity server's users. Changing it makes them all strangers.
    pub realm: String,
    /// How long a connection may take.
    #[serde(with = "crate::domain::units::duration")]
    pub connect_timeout: Duration,
    /// How long one try may take, answer included.
    #[serde(with = "crate::domain::units::duration")]
    pub try_timeout: Duration,
    /// How long the whole question may take, waiting and a second try included.
    #[serde(with = "crate::domain::units::duration")]
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8081".into(),
            token: SecretString::default(),
            token_file: None,
            audience: "chunkgate".into(),
            realm: "default".into(),
            connect_timeout: Duration::from_millis(500),
            try_timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(3),
        }
    }
}

fn hidden<S: serde::Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(if secret.expose_secret().is_empty() { "" } else { "…" })
}

impl Settings {
    /// Whether the values can be used. Reads no file.
    ///
    /// # Errors
    /// One sentence that names the setting and what it must be.
    pub fn check(&self) -> Result<(), String> {
        self.endpoint()?;
        for (name, value) in [("realm", &self.realm), ("audience", &self.audience)] {
            let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
            if !plain || !(1..=wire::MAX_NAME_BYTES).contains(&value.len()) {
                return Err(format!("identity.{name} must be 1 to 255 visible ASCII characters without quotes"));
            }
        }
        let times = [("connect_timeout", self.connect_timeout), ("try_timeout", self.try_timeout)];
        for (name, time) in times.into_iter().chain([("deadline", self.deadline)]) {
            if time.is_zero() || time > Duration::from_secs(60) {
                return Err(format!("identity.{name} must be more than 0s and at most 60s"));
            }
        }
        Ok(())
    }

    /// Where questions are sent.
    fn endpoint(&self) -> Result<Url, String> {
        let wrong = || "identity.url must look like https://identity.example or http://127.0.0.1:8081".to_owned();
        let mut url = Url::parse(&self.url).map_err(|_| wrong())?;
        let plain = url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
            return Err(wrong());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("identity.url must not hold a password; use identity.token".into());
        }
        let path = format!("{}/v1/verify", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(url)
    }

    /// The token, from wherever it is given.
    fn secret(&self) -> Result<SecretString, String> {
        let token = match &self.token_file {
            None => self.token.clone(),
            Some(_) if !self.token.expose_secret().is_empty() => {
                return Err("identity.token and identity.token_file are both set; keep one".into());
            }
            Some(path) => std::fs::read_to_string(path)
                .map(|text| text.trim().into())
                .map_err(|error| format!("identity.token_file {}: {error}", path.display()))?,
        };
        let bytes = token.expose_secret().as_bytes();
        if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(
                "identity.token must be set, in visible ASCII characters, as the identity server expects it".into()
            );
        }
        Ok(token)
    }
}

/// Why there is no answer. For the log; clients learn only that there is none.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct CannotCheck(String);

/// Asks one identity server.
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    authorization: header::HeaderValue,
    realm: String,
    audience: String,
    node: String,
    try_timeout: Duration,
    deadline: Duration,
    seats: Semaphore,
}

impl Client {
    /// A client for the server that `settings` name. Connects to nothing yet.
    ///
    /// # Errors
    /// One sentence about the setting that cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        settings.check()?;
        let endpoint = settings.endpoint()?;
        warn_if_open(&endpoint);
        let bearer = format!("Bearer {}", settings.secret()?.expose_secret());
        let mut authorization =
            header::HeaderValue::from_str(&bearer).map_err(|_| "identity.token cannot be sent in a header")?;
        authorization.set_sensitive(true);
        Ok(Self {
            http: connector(&endpoint, settings.connect_timeout)?,
            endpoint,
            authorization,
            realm: settings.realm.clone(),
            audience: settings.audience.clone(),
            node: uuid::Uuid::new_v4().to_string(),
            try_timeout: settings.try_timeout,
            deadline: settings.deadline,
            seats: Semaphore::new(IN_FLIGHT),
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

    /// Asks about a proof.
    ///
    /// # Errors
    /// [`CannotCheck`] unless a well-formed answer to this question came in time.
    pub async fn ask(&self, credential: Proof, request: Request) -> Result<Answer, CannotCheck> {
        let question = self.question(credential, request);
        let outcome = tokio::time::timeout(self.deadline, self.ask_twice(&question)).await;
        let answer = outcome.unwrap_or_else(|_| cannot("no answer within the deadline"));
        if let Err(reason) = &answer {
            tracing::warn!(identity.request_id = question.request_id, %reason, "the identity server gave no answer");
        }
        answer
    }

    fn question(&self, credential: Proof, request: Request) -> Question {
        Question {
            version: VERSION.into(),
            request_id: uuid::Uuid::now_v7().to_string(),
            realm: self.realm.clone(),
            audience: self.audience.clone(),
            service: Service {
                id: env!("CARGO_PKG_NAME").into(),
                version: env!("CARGO_PKG_VERSION").into(),
                node: self.node.clone(),
            },
            credential,
            request,
            want: vec!["user".into(), "limits".into()],
        }
    }

    /// A second try follows only a connection that failed before any answer began; it carries the same request id, so
    /// that a server which counts uses of a proof knows it for the same question.
    async fn ask_twice(&self, question: &Question) -> Result<Answer, CannotCheck> {
        let _seat = self.seats.acquire().await.map_err(|_| CannotCheck("closed".into()))?;
        let response = match self.send(question).await {
            Err(Failed::Connection(_)) => {
                tokio::time::sleep(Duration::from_millis(rand::random_range(50..=200))).await;
                self.send(question).await
            }
            settled => settled,
        };
        match response {
            Ok(answer) => Ok(answer),
            Err(Failed::Connection(why) | Failed::Answer(why)) => Err(why),
        }
    }

    async fn send(&self, question: &Question) -> Result<Answer, Failed> {
        let attempt = async {
            let response = self.post(question).await?;
            read(response, &question.request_id).await.map_err(Failed::Answer)
        };
        let late = || Err(Failed::Answer(CannotCheck("no answer within the time of one try".into())));
        tokio::time::timeout(self.try_timeout, attempt).await.unwrap_or_else(|_| late())
    }

    async fn post(&self, question: &Question) -> Result<reqwest::Response, Failed> {
        let sent = self
            .http
            .post(self.endpoint.clone())
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, "application/json")
            .header("x-request-id", &question.request_id)
            .header("idempotency-key", &question.request_id)
            .json(question)
            .send()
            .await;
        // Without an answer's head, the connection failed: refused, or closed while the question was on its way.
        sent.map_err(|error| Failed::Connection(CannotCheck(format!("connection: {}", innermost(&error)))))
    }
}

enum Failed {
    Connection(CannotCheck),
    Answer(CannotCheck),
}

fn cannot<T>(why: impl Into<String>) -> Result<T, CannotCheck> {
    Err(CannotCheck(why.into()))
}

/// The cause without the chain above it, which repeats the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

async fn read(response: reqwest::Response, request_id: &str) -> Result<Answer, CannotCheck> {
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return cannot(format!("status {}", status.as_u16()));
    }
    if !is_json(&response) {
        return cannot(format!("status {} without application/json", status.as_u16()));
    }
    let body = bounded(response).await?;
    if says_service_unauthorized(&body) {
        tracing::error!("the identity server refuses this service's own token: check identity.token");
        return cannot(code::SERVICE_UNAUTHORIZED);
    }
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|error| CannotCheck(format!("not an answer: {}", place(&error))))?;
    if let Some(flaw) = answer.flaw(request_id) {
        return cannot(flaw);
    }
    if status != StatusCode::OK && answer.status == Status::Active {
        return cannot("an active user under a refusing status");
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
                return cannot("the answer is larger than 64 KiB");
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return cannot(format!("the answer broke off: {}", innermost(&error))),
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

fn connector(endpoint: &Url, connect_timeout: Duration) -> Result<reqwest::Client, String> {
    // The TLS library is built without a default provider. That somebody installed one before is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy();
    if endpoint.scheme() == "http" {
        // A bare container has no certificates of authorities, and without TLS none are needed.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| format!("the client of the identity server cannot start: {}", innermost(&error)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> Settings {
        Settings { url: url.into(), token: "t0ken".into(), ..Settings::default() }
    }

    #[test]
    fn urls() {
        for (url, endpoint) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081/v1/verify"),
            ("https://id.example/", "https://id.example/v1/verify"),
            ("https://id.example/base/", "https://id.example/base/v1/verify"),
        ] {
            assert_eq!(with_url(url).endpoint().map(String::from).as_deref(), Ok(endpoint));
        }
        for url in ["", "id.example", "ftp://id.example", "https://u:p@id.example", "http://a/?x", "http://a/#x"] {
            assert!(with_url(url).check().is_err(), "{url}");
        }
    }

    #[test]
    fn settings_that_cannot_be_used() {
        let good = with_url("http://localhost");
        assert_eq!(good.check(), Ok(()));
        assert!(Settings { realm: "a\"b".into(), ..good.clone() }.check().is_err());
        assert!(Settings { realm: String::new(), ..good.clone() }.check().is_err());
        assert!(Settings { deadline: Duration::ZERO, ..good.clone() }.check().is_err());
        assert!(Settings { token: "".into(), ..good.clone() }.secret().is_err());
        assert!(Settings { token: "a b".into(), ..good.clone() }.secret().is_err());
        assert!(Settings { token_file: Some("x".into()), ..good.clone() }.secret().is_err());
    }

    #[test]
    fn the_token_may_stand_in_a_file_and_is_never_printed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        std::fs::write(&path, "t0ken\n").expect("a file");
        let settings = Settings { token_file: Some(path), ..Settings::default() };
        assert_eq!(settings.secret().expect("read").expose_secret(), "t0ken");
        let printed = format!("{:?} {}", with_url("http://a"), toml::to_string(&with_url("http://a")).expect("TOML"));
        assert!(!printed.contains("t0ken"), "{printed}");
    }
}
