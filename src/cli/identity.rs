//! `chunkgate identity serve`: the reference identity server.
//!
//! It answers the question of `proto-docs/identity-server.md` from a file of users, for small installations, for tests
//! and as something to compare one's own server with. It keeps no state, remembers no proof as used and limits no rate;
//! passwords are hashed off the async threads, few at a time.

mod directory;

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;

pub use directory::Directory;

use crate::{
    auth::{
        identity::{self, Answer, Cache, Introspection, MAX_MESSAGE_BYTES, Proof, Question, Status, VERSION, code},
        passwords::{DUMMY, Hasher},
    },
    domain::{Clock, SystemClock, message_signature, signing},
};
use directory::{Key, User, Users};

/// How far a signed time may lie from the server's own, on either side.
const WINDOW: Duration = Duration::from_secs(300);
/// How long a service may repeat an answer about a right proof.
const TTL_SECONDS: u64 = 30;
/// How long a service may refuse everything under a key without asking.
const KEY_TTL_SECONDS: u64 = 10;
/// Signs in place of an unknown key, so that an unknown key takes as long as a wrong signature.
const NOBODYS_SECRET: &[u8] = b"the secret of a key that nobody has";

/// Arguments of `chunkgate identity serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// TOML file of users and keys; read again when it changes
    #[arg(long)]
    pub users: PathBuf,
    /// The token with which services must prove themselves
    #[arg(long, env = "CHUNKGATE_IDENTITY__TOKEN", hide_env_values = true, required_unless_present = "token_file")]
    pub token: Option<SecretString>,
    /// A file that holds the token instead
    #[arg(long, env = "CHUNKGATE_IDENTITY__TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Refuse questions for any other audience
    #[arg(long)]
    pub audience: Option<String>,
}

/// Serves until `shutdown` resolves.
///
/// # Errors
/// One sentence about what keeps the server from running.
pub async fn run(args: ServeArgs, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let token = match (args.token, args.token_file) {
        (Some(token), _) => token,
        (None, Some(path)) => std::fs::read_to_string(&path)
            .map(|text| text.trim().into())
            .map_err(|error| format!("--token-file {}: {error}", path.display()))?,
        (None, None) => SecretString::default(),
    };
    let mut server = Server::new(Directory::open(args.users)?, token)?;
    server.audience = args.audience;
    let cannot = |error: std::io::Error| format!("cannot listen on {}: {error}", args.listen);
    let listener = TcpListener::bind(args.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    println!("identity server listening on http://{address}");
    server.serve(listener, shutdown).await
}

/// Serves these users on `listener` until `shutdown` resolves.
///
/// # Errors
/// One sentence about what keeps the server from running.
pub async fn serve(
    listener: TcpListener,
    users: Directory,
    token: SecretString,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    Server::new(users, token)?.serve(listener, shutdown).await
}

/// The server, ready to be served.
pub struct Server {
    /// Where users and keys come from.
    users: Directory,
    token: SecretString,
    hasher: Hasher,
    /// The only audience that is answered, if one is set.
    pub audience: Option<String>,
    /// By which signed times are judged.
    pub clock: Arc<dyn Clock>,
}

impl Server {
    /// A server of these users for services that present `token`.
    ///
    /// # Errors
    /// If the token is empty.
    pub fn new(users: Directory, token: SecretString) -> Result<Self, String> {
        if token.expose_secret().is_empty() {
            return Err("the service token is empty; give --token, or set CHUNKGATE_IDENTITY__TOKEN".into());
        }
        Ok(Self { users, token, hasher: Hasher::default(), audience: None, clock: Arc::new(SystemClock) })
    }

    /// Serves on `listener` until `shutdown` resolves.
    ///
    /// # Errors
    /// One sentence about what keeps the server from running.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), String> {
        let served = axum::serve(listener, self.router()).with_graceful_shutdown(shutdown).await;
        served.map_err(|error| format!("the identity server stopped: {error}"))
    }

    fn router(self) -> Router {
        Router::new()
            .route("/v1/verify", post(verify))
            .route("/v1/introspect", post(introspect))
            .route("/v1/health", get(async || Json(json!({"status": "ok"}))))
            .layer(DefaultBodyLimit::max(MAX_MESSAGE_BYTES))
            .with_state(Arc::new(self))
    }

    fn trusts(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, token) = sent.split_once(' ').unwrap_or_default();
        let expected = self.token.expose_secret().as_bytes();
        scheme.eq_ignore_ascii_case("bearer") && bool::from(token.as_bytes().ct_eq(expected))
    }

    async fn answer(&self, question: &Question) -> Answer {
        if self.audience.as_ref().is_some_and(|audience| *audience != question.audience) {
            return denied(&question.request_id, &Denial::of(code::AUDIENCE_MISMATCH));
        }
        let users = self.users.current().await;
        let found = match &question.credential {
            Proof::Signature { scheme, api_key, timestamp, signature, .. } if scheme == "v1" => {
                self.signed(&users, api_key, timestamp, "v1", |secret| signing::verify_v1(secret, timestamp, signature))
            }
            Proof::Signature { scheme, api_key, timestamp, signature, signature_base: Some(base), .. }
                if scheme == "v2" =>
            {
                let right = |secret: &[u8]| message_signature::verify_text(secret, base, signature);
                self.signed(&users, api_key, timestamp, "v2", right)
            }
            Proof::ApiKey { username, api_key } => shown(&users, username, api_key),
            Proof::Basic { username, password } => self.typed(&users, username, password).await,
            Proof::Signature { .. } | Proof::Unknown => return Answer::to(&question.request_id, Status::Unsupported),
        };
        match found {
            Ok(user) => active(&question.request_id, user),
            Err(denial) => denied(&question.request_id, &denial),
        }
    }

    /// Whether a user may still act, without a proof.
    async fn still(&self, question: &Introspection) -> Answer {
        let users = self.users.current().await;
        let found = users.of_id(&question.user_id).ok_or(Denial::of(code::UNKNOWN_USER));
        match found.and_then(|user| enabled(user, None)) {
            Ok(user) => active(&question.request_id, user),
            Err(denial) => denied(&question.request_id, &denial),
        }
    }

    /// The order matters: who cannot sign learns neither whether a key exists nor whether it is disabled.
    fn signed<'a>(
        &self,
        users: &'a Users,
        api_key: &str,
        timestamp: &str,
        scheme: &str,
        verify: impl Fn(&[u8]) -> bool,
    ) -> Result<&'a User, Denial<'a>> {
        let entry = users.key(api_key).and_then(|(user, key)| Some((user, key, key.secret.as_ref()?)));
        let secret = entry.map_or(NOBODYS_SECRET, |(.., secret)| secret.expose_secret().as_bytes());
        let right = verify(secret);
        let Some((user, key, _)) = entry else {
            return Err(Denial { of_key: true, ..Denial::of(code::UNKNOWN_KEY) });
        };
        let signed_at = signing::parse_timestamp(timestamp);
        if !right {
            Err(Denial::of(code::INVALID_SIGNATURE))
        } else if !signed_at.is_some_and(|at| signing::within(WINDOW, at, self.clock.now())) {
            Err(Denial::of(code::TIMESTAMP_OUT_OF_WINDOW))
        } else if key.min_scheme.as_deref() == Some("v2") && scheme != "v2" {
            Err(Denial { user: Some(&user.profile.id), ..Denial::of(code::SCHEME_NOT_ALLOWED) })
        } else {
            enabled(user, Some(key))
        }
    }

    /// An unknown user costs a hash as a known one does.
    async fn typed<'a>(&self, users: &'a Users, username: &str, password: &str) -> Result<&'a User, Denial<'a>> {
        let user = users.named(username);
        let kept = user.and_then(|user| user.password.as_ref()).map(|phc| phc.expose_secret());
        let right = self.hasher.verify(password.to_owned(), kept.unwrap_or(DUMMY).to_owned()).await;
        match (right, user) {
            (Err(_), _) => Err(Denial::of(code::RATE_LIMITED)),
            (Ok(true), Some(user)) if kept.is_some() => enabled(user, None),
            (Ok(_), _) => Err(Denial::of(code::INVALID_PASSWORD)),
        }
    }
}

/// A key that is shown as it is. One with a secret only signs: its name travels with every signature, so whoever saw one
/// could show it.
fn shown<'a>(users: &'a Users, username: &str, api_key: &str) -> Result<&'a User, Denial<'a>> {
    let right = |(user, key): &(&User, &Key)| key.secret.is_none() && user.profile.username == username;
    match users.key(api_key).filter(right) {
        Some((user, key)) => enabled(user, Some(key)),
        None => Err(Denial::of(code::UNKNOWN_KEY)),
    }
}

/// Only of a right proof.
fn enabled<'a>(user: &'a User, key: Option<&Key>) -> Result<&'a User, Denial<'a>> {
    let because = |code| Denial { user: Some(&user.profile.id), ..Denial::of(code) };
    if user.disabled {
        Err(because(code::USER_DISABLED))
    } else if key.is_some_and(|key| key.disabled) {
        Err(Denial { of_key: true, ..because(code::KEY_DISABLED) })
    } else {
        Ok(user)
    }
}

/// Why a proof is not good, and, if it was right, whose it is.
struct Denial<'a> {
    code: &'static str,
    user: Option<&'a str>,
    /// Whether any other signature under the key would hear the same.
    of_key: bool,
}

impl Denial<'_> {
    fn of(code: &'static str) -> Self {
        Self { code, user: None, of_key: false }
    }
}

fn active(request_id: &str, user: &User) -> Answer {
    let cache = Cache { ttl_seconds: Some(TTL_SECONDS), scope: Some("proof".into()), vary: Vec::new() };
    Answer {
        user: Some(user.profile.clone()),
        limits: user.limits.clone(),
        cache: Some(cache),
        ..Answer::to(request_id, Status::Active)
    }
}

fn denied(request_id: &str, denial: &Denial<'_>) -> Answer {
    let user = denial.user.map(|id| identity::User { id: id.to_owned(), ..identity::User::default() });
    let of_key = || Cache { ttl_seconds: Some(KEY_TTL_SECONDS), scope: Some("api_key".into()), vary: Vec::new() };
    let cache = denial.of_key.then(of_key);
    Answer { code: Some(denial.code.to_owned()), user, cache, ..Answer::to(request_id, Status::Denied) }
}

async fn verify(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match server.taken::<Question>(&headers, body, |question| &question.version) {
        Ok(question) => Json(server.answer(&question).await).into_response(),
        Err(refusal) => refusal,
    }
}

async fn introspect(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match server.taken::<Introspection>(&headers, body, |question| &question.version) {
        Ok(question) => Json(server.still(&question).await).into_response(),
        Err(refusal) => refusal,
    }
}

impl Server {
    /// The question, if it is one, of this version, and of somebody who may ask.
    fn taken<T: serde::de::DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
        version: impl Fn(&T) -> &str,
    ) -> Result<T, Response> {
        if !self.trusts(headers) {
            let detail = "the service token is not right";
            return Err(unanswered(StatusCode::UNAUTHORIZED, code::SERVICE_UNAUTHORIZED, detail));
        }
        let question = read::<T>(body)?;
        if version(&question) == VERSION { Ok(question) } else { Err(other_version()) }
    }
}

fn read<T: serde::de::DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Response> {
    let body =
        body.map_err(|refused| unanswered(refused.status(), "malformed_question", "the question cannot be read"))?;
    serde_json::from_slice(&body).map_err(|error| {
        let place = format!("not a question: line {} column {}", error.line(), error.column());
        unanswered(StatusCode::BAD_REQUEST, "malformed_question", &place)
    })
}

fn other_version() -> Response {
    unanswered(StatusCode::BAD_REQUEST, "unsupported_version", "this server speaks version 1")
}

/// What is said when there is no question to answer. It has no `status`, so that nobody takes it for an answer.
fn unanswered(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({"version": VERSION, "code": code, "message": message}))).into_response()
}
