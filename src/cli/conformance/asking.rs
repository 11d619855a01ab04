//! The line to the server: one request, and what came of it, as plain values.
//!
//! The HTTP client is the service's own (no redirects, no proxies of the environment, its time to connect), and a
//! connection that fails before an answer began is tried once more, as the service does. It waits longer than the
//! service would, so that lateness can be told from silence.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, Response, Url, header};
use secrecy::ExposeSecret as _;

use crate::auth::identity::{self, MAX_MESSAGE_BYTES};

/// More of an answer than this is not read; enough to see that it is too large.
const MOST_READ_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// Silence for so long is no answer, however patient the service is.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);

/// How an [`Ask`] presents the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// With the token.
    Right,
    /// With another token.
    Wrong,
    /// With the token's beginning.
    Shorter,
    /// Without any.
    None,
    /// With the token, as the password of another scheme.
    OtherScheme,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// The last part of the path, `verify` for nearly all.
    pub(super) route: &'static str,
    /// After the path, with its question mark.
    pub(super) query: String,
    pub(super) token: Token,
    pub(super) content_type: &'static str,
    pub(super) request_id: String,
    pub(super) body: Vec<u8>,
    /// On a connection of its own.
    pub(super) afresh: bool,
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) location: Option<String>,
    /// At most [`MOST_READ_BYTES`] of it.
    pub(super) body: Vec<u8>,
    pub(super) took: Duration,
}

/// Why nothing came.
#[derive(Debug, Clone)]
pub(super) enum Silence {
    /// No connection, or one that broke.
    Broken(String),
    /// Nothing for so long.
    Late(Duration),
}

/// A request and what came of it.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) ask: Ask,
    pub(super) came: Result<Came, Silence>,
}

impl Exchange {
    /// Whether there is nobody at this route.
    pub(super) fn is_nowhere(&self) -> bool {
        self.came.as_ref().is_ok_and(|came| matches!(came.status, 404 | 405))
    }
}

/// The way to one server.
pub(super) struct Line {
    kept: reqwest::Client,
    fresh: reqwest::Client,
    endpoint: Url,
    token: String,
    try_timeout: Duration,
}

impl Line {
    /// A line to the server that `settings` name.
    pub(super) fn to(settings: &identity::Settings) -> Result<Self, String> {
        settings.check()?;
        let endpoint = settings.endpoint()?;
        let client = |keep: usize| {
            let builder = identity::connector(&endpoint, settings.connect_timeout).pool_max_idle_per_host(keep);
            builder.build().map_err(|error| format!("the HTTP client cannot start: {error}"))
        };
        let (kept, fresh) = (client(usize::MAX)?, client(0)?);
        let token = settings.secret()?.expose_secret().to_owned();
        Ok(Self { kept, fresh, endpoint, token, try_timeout: settings.try_timeout })
    }

    /// Where questions go.
    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// How long the service would wait for one answer.
    pub(super) fn try_timeout(&self) -> Duration {
        self.try_timeout
    }

    /// One after the other.
    pub(super) async fn in_turn(&self, asks: Vec<Ask>) -> Vec<Exchange> {
        let mut exchanges = Vec::with_capacity(asks.len());
        for ask in asks {
            exchanges.push(self.exchange(ask).await);
        }
        exchanges
    }

    /// All at the same time.
    pub(super) async fn at_once(&self, asks: Vec<Ask>) -> Vec<Exchange> {
        join_all(asks.into_iter().map(|ask| self.exchange(ask))).await
    }

    async fn exchange(&self, ask: Ask) -> Exchange {
        let patience = LEAST_PATIENCE.max(self.try_timeout * 5);
        let came = match tokio::time::timeout(patience, self.send(&ask)).await {
            // A kept connection may have been closed while nobody used it.
            Ok(Err(_)) => tokio::time::timeout(patience, self.send(&ask)).await,
            settled => settled,
        };
        let came = match came {
            Ok(came) => came.map_err(|error| Silence::Broken(identity::innermost(&error))),
            Err(_) => Err(Silence::Late(patience)),
        };
        Exchange { ask, came }
    }

    async fn send(&self, ask: &Ask) -> reqwest::Result<Came> {
        let mut url = self.endpoint.join(ask.route).unwrap_or_else(|_| self.endpoint.clone());
        url.set_query(Some(ask.query.as_str()).filter(|query| !query.is_empty()));
        let client = if ask.afresh { &self.fresh } else { &self.kept };
        let mut request = client
            .request(ask.method.clone(), url)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, ask.content_type)
            .header("x-request-id", &ask.request_id)
            .header("idempotency-key", &ask.request_id)
            .body(ask.body.clone());
        if let Some(value) = self.authorization(ask.token) {
            request = request.header(header::AUTHORIZATION, value);
        }
        let asked = Instant::now();
        let response = request.send().await?;
        received(response, asked).await
    }

    fn authorization(&self, token: Token) -> Option<String> {
        match token {
            Token::Right => Some(format!("Bearer {}", self.token)),
            Token::Wrong => Some(format!("Bearer {}", self.token.chars().rev().chain("x".chars()).collect::<String>())),
            Token::Shorter => Some(format!("Bearer {}", &self.token[..self.token.len() - 1])),
            Token::None => None,
            Token::OtherScheme => Some(format!("Basic {}", self.token)),
        }
    }
}

async fn received(mut response: Response, asked: Instant) -> reqwest::Result<Came> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (content_type, location) = (text(header::CONTENT_TYPE).unwrap_or_default(), text(header::LOCATION));
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_READ_BYTES {
            break;
        }
    }
    Ok(Came { status, content_type, location, body, took: asked.elapsed() })
}
