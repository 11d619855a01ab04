//! The one HTTP client of the commands that talk to a service.
//!
//! It signs each request freshly, follows no redirect (a signature is for the host it was made for), and turns every
//! answer into plain values. It retries nothing: what is worth another try is known to the command.

use std::{
    error::Error as _,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use reqwest::{Method, RequestBuilder, Response, Url, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::Failure;
use crate::{
    auth,
    domain::{Clock as _, SystemClock, Timestamp, signing},
};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer to a request without a large body may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// More of an answer than this is not read.
const MOST_ANSWER_BYTES: usize = 4 << 20;

/// Which service to talk to, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// Base URL of the service: scheme, host, and a path if it lies below one
    #[arg(long, env = "CHUNKGATE_URL", value_name = "BASE")]
    pub url: String,
    /// A local user, whose API key admits by itself instead of signing
    #[arg(long, env = "CHUNKGATE_USERNAME", value_name = "NAME", requires = "api_key")]
    pub username: Option<String>,
    /// Names the key that signs the requests; with --username the API key itself
    #[arg(long, env = "CHUNKGATE_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<String>,
    /// The key's secret; better given in the environment or a file, where other users of the machine do not see it
    #[arg(long, env = "CHUNKGATE_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub secret: Option<SecretString>,
    /// A file with the secret
    #[arg(long, env = "CHUNKGATE_SECRET_FILE", value_name = "FILE", conflicts_with = "secret")]
    pub secret_file: Option<PathBuf>,
}

enum Credentials {
    /// Signs each request.
    Signing { api_key: String, secret: SecretString },
    /// Sends a local user's API key with each request.
    Key { username: String, api_key: String },
}

/// A client of one service.
pub struct Client {
    http: reqwest::Client,
    base: String,
    credentials: Option<Credentials>,
}

impl Client {
    /// A client that signs with the given credentials, or not at all if there are none.
    ///
    /// # Errors
    /// One sentence about the argument that cannot be used.
    pub fn new(connect: &Connect) -> Result<Self, Failure> {
        let url = base_url(&connect.url)?;
        Ok(Self {
            http: build(&url, is_loopback(&url))?,
            base: url.as_str().trim_end_matches('/').to_owned(),
            credentials: credentials(connect)?,
        })
    }

    /// A client without credentials that uses no proxy.
    ///
    /// # Errors
    /// One sentence about the URL.
    pub fn direct(url: &str) -> Result<Self, Failure> {
        let url = base_url(url)?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http: build(&url, true)?, base, credentials: None })
    }

    /// The base URL, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The key that signs, if one does.
    pub fn api_key(&self) -> Option<&str> {
        match &self.credentials {
            Some(Credentials::Signing { api_key, .. }) => Some(api_key),
            // Its text is secret; the user's name tells whose uploads these are as well.
            Some(Credentials::Key { username, .. }) => Some(username),
            None => None,
        }
    }

    /// Asks for a path below the base.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.answered(self.request(Method::GET, path).timeout(ANSWER_TIMEOUT)).await
    }

    /// Posts nothing but the request itself to a path below the base.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn post(&self, path: &str) -> Result<Answer, String> {
        self.answered(self.request(Method::POST, path).timeout(ANSWER_TIMEOUT)).await
    }

    /// Deletes a path below the base.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn delete(&self, path: &str) -> Result<Answer, String> {
        self.answered(self.request(Method::DELETE, path).timeout(ANSWER_TIMEOUT)).await
    }

    /// A signed request; the signature is made now.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request =
            self.http.request(method, format!("{}{path}", self.base)).header(header::ACCEPT, "application/json");
        match &self.credentials {
            None => request,
            Some(Credentials::Key { username, api_key }) => {
                request.header(header::AUTHORIZATION, format!("ApiKey {username}:{api_key}"))
            }
            Some(Credentials::Signing { api_key, secret }) => {
                let timestamp = SystemClock.now().as_second().to_string();
                let signature = signing::sign_v1(secret.expose_secret().as_bytes(), &timestamp);
                request.header("X-Api-Key", api_key).header("X-Timestamp", timestamp).header("X-Signature", signature)
            }
        }
    }

    /// Sends a request and reads the answer.
    pub(super) async fn answered(&self, request: RequestBuilder) -> Result<Answer, String> {
        let response = request.send().await.map_err(|error| cause(&error))?;
        Answer::read(response).await.map_err(|error| cause(&error))
    }
}

/// What the service answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// When to try again, if it said so.
    pub retry_after: Option<Duration>,
    /// Whether the body is `application/problem+json`.
    pub is_problem: bool,
    /// The body; null unless it is JSON.
    pub json: Value,
    location: Option<String>,
    date: Option<Timestamp>,
}

impl Answer {
    async fn read(mut response: Response) -> Result<Self, reqwest::Error> {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let retry_after = text(header::RETRY_AFTER).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let date = text(header::DATE).and_then(|text| jiff::fmt::rfc2822::parse(&text).ok()).map(|at| at.timestamp());
        let is_problem = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/problem+json"));
        let location = text(header::LOCATION);
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await? {
            body.extend_from_slice(&part);
            if body.len() > MOST_ANSWER_BYTES {
                break;
            }
        }
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Self { status: response.status().as_u16(), retry_after, is_problem, json, location, date })
    }

    /// A number in the body.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.json.get(name)?.as_u64()
    }

    /// A text in the body.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.json.get(name)?.as_str()
    }

    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502..=504 | 507..=599)
    }

    /// The answer as part of a sentence: what the service said, and what to do where that is known.
    pub fn reason(&self) -> String {
        let said = ["detail", "title", "error"].iter().find_map(|name| self.text(name)).map(super::printable);
        let said = said.map_or_else(|| format!("status {}", self.status), |said| format!("{said} ({})", self.status));
        match (self.status, &self.location) {
            (300..=399, Some(to)) => format!("{said}: it redirects to {}; use that URL", super::printable(to)),
            (401, _) => format!("{said}{}", self.clock_hint()),
            _ => said,
        }
    }

    /// A refused signature is most often a clock that is wrong.
    fn clock_hint(&self) -> String {
        let server = self.text("server_time").and_then(|text| text.parse::<Timestamp>().ok()).or(self.date);
        let apart = server.map(|server| SystemClock.now().as_second() - server.as_second());
        match apart {
            Some(apart) if apart.abs() >= 60 => {
                let (life, way) = (humantime::format_duration(Duration::from_secs(apart.unsigned_abs())), apart > 0);
                format!(
                    "; this machine's clock is {life} {} the server's: set it right",
                    if way { "ahead of" } else { "behind" }
                )
            }
            _ if said_window(self) => "; compare this machine's clock with the server's".to_owned(),
            _ => "; check the API key and its secret".to_owned(),
        }
    }
}

fn said_window(answer: &Answer) -> bool {
    let said = answer.text("detail").unwrap_or_default().to_lowercase();
    ["timestamp", "window", "stale", "clock"].iter().any(|word| said.contains(word))
}

fn credentials(connect: &Connect) -> Result<Option<Credentials>, Failure> {
    let secret = match (&connect.secret, &connect.secret_file) {
        (Some(secret), _) => Some(secret.clone()),
        (None, Some(path)) => Some(secret_in(path)?),
        (None, None) => None,
    };
    if let (Some(username), Some(api_key)) = (connect.username.clone(), connect.api_key.clone()) {
        return match (secret, auth::credentials::is_username(&username) && signing::is_api_key(&api_key)) {
            (None, true) => Ok(Some(Credentials::Key { username, api_key })),
            (Some(_), _) => {
                Err(Failure::Usage("--username goes with an API key, and --secret with a signature".into()))
            }
            (None, false) => Err(Failure::Usage("--username or --api-key is not of the form of one".into())),
        };
    }
    match (connect.api_key.clone(), secret) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Failure::Usage("--api-key needs --secret (or CHUNKGATE_SECRET)".into())),
        (None, Some(_)) => Err(Failure::Usage("--secret needs --api-key (or CHUNKGATE_API_KEY)".into())),
        (Some(api_key), Some(_)) if !signing::is_api_key(&api_key) => {
            Err(Failure::Usage("--api-key must be 1 to 256 visible ASCII characters".into()))
        }
        (Some(_), Some(secret)) if secret.expose_secret().is_empty() => {
            Err(Failure::Usage("--secret is empty; give it, or set CHUNKGATE_SECRET".into()))
        }
        (Some(api_key), Some(secret)) => Ok(Some(Credentials::Signing { api_key, secret })),
    }
}

fn secret_in(path: &Path) -> Result<SecretString, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(text.trim().into())
}

fn base_url(text: &str) -> Result<Url, Failure> {
    let wrong = |reason: &str| Failure::Usage(format!("--url {text}: {reason}, as in https://upload.example.org"));
    let url = Url::parse(text).map_err(|_| wrong("must be an absolute URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("must be an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not contain credentials"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not have a query or a fragment"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn build(url: &Url, direct: bool) -> Result<reqwest::Client, Failure> {
    // Once in a process; a second try is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("chunkgate/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    if direct {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        // A small container without root certificates can still ask over plain HTTP.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| Failure::Failed(format!("no HTTP client: {}", cause(&error))))
}

/// The innermost cause: `Connection refused` says more than `error sending request`.
pub(super) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match error.source() {
        Some(_) => cause.to_string(),
        None => error.to_string(),
    }
}
