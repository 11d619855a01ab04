//! `chunkgate identity serve`: the reference identity server.
//!
//! It answers the question of `proto-docs/identity-server.md` from a file of users, for small installations, for tests
//! and as something to compare one's own server with. It keeps no state, remembers no proof as used and limits no rate.

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
    auth::identity::{Answer, Cache, MAX_MESSAGE_BYTES, Proof, Question, Status, User, VERSION, code},
    domain::{Clock, SystemClock, signing},
};
use directory::Entry;

/// How far a signed time may lie from the server's own, on either side.
const WINDOW: Duration = Duration::from_secs(300);
/// How long a service may repeat an answer about a right proof.
const TTL_SECONDS: u64 = 30;
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
        Ok(Self { users, token, audience: None, clock: Arc::new(SystemClock) })
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

    fn answer(&self, question: &Question) -> Answer {
        if self.audience.as_ref().is_some_and(|audience| *audience != question.audience) {
            return denied(question, code::AUDIENCE_MISMATCH, None);
        }
        match &question.credential {
            Proof::Signature { scheme, api_key, timestamp, signature } if scheme == "v1" => {
                let users = self.users.current();
                self.judge(question, users.find(api_key), timestamp, signature)
            }
            Proof::Signature { .. } | Proof::Unknown => Answer::to(question, Status::Unsupported),
        }
    }

    /// The order matters: who cannot sign learns neither whether a key exists nor whether it is disabled.
    fn judge(&self, question: &Question, entry: Option<Entry<'_>>, timestamp: &str, signature: &str) -> Answer {
        let secret = entry.as_ref().map_or(NOBODYS_SECRET, |entry| entry.key.secret.expose_secret().as_bytes());
        let right = signing::verify_v1(secret, timestamp, signature);
        let Some(Entry { user, key }) = entry else { return denied(question, code::UNKNOWN_KEY, None) };
        let signed_at = signing::parse_timestamp(timestamp);
        if !right {
            denied(question, code::INVALID_SIGNATURE, None)
        } else if !signed_at.is_some_and(|at| signing::within(WINDOW, at, self.clock.now())) {
            denied(question, code::TIMESTAMP_OUT_OF_WINDOW, None)
        } else if user.disabled {
            denied(question, code::USER_DISABLED, Some(&user.profile.id))
        } else if key.disabled {
            denied(question, code::KEY_DISABLED, Some(&user.profile.id))
        } else {
            let cache = Cache { ttl_seconds: Some(TTL_SECONDS), scope: Some("proof".into()), vary: Vec::new() };
            Answer {
                user: Some(user.profile.clone()),
                limits: user.limits,
                cache: Some(cache),
                ..Answer::to(question, Status::Active)
            }
        }
    }
}

fn denied(question: &Question, code: &str, user: Option<&str>) -> Answer {
    let user = user.map(|id| User { id: id.to_owned(), ..User::default() });
    Answer { code: Some(code.to_owned()), user, ..Answer::to(question, Status::Denied) }
}

async fn verify(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if !server.trusts(&headers) {
        return unanswered(StatusCode::UNAUTHORIZED, code::SERVICE_UNAUTHORIZED, "the service token is not right");
    }
    let question = match body {
        Ok(body) => serde_json::from_slice::<Question>(&body),
        Err(rejection) => return unanswered(rejection.status(), "malformed_question", "the question cannot be read"),
    };
    match question {
        Ok(question) if question.version == VERSION => Json(server.answer(&question)).into_response(),
        Ok(_) => unanswered(StatusCode::BAD_REQUEST, "unsupported_version", "this server speaks version 1"),
        Err(error) => {
            let place = format!("not a question: line {} column {}", error.line(), error.column());
            unanswered(StatusCode::BAD_REQUEST, "malformed_question", &place)
        }
    }
}

/// What is said when there is no question to answer. It has no `status`, so that nobody takes it for an answer.
fn unanswered(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({"version": VERSION, "code": code, "message": message}))).into_response()
}
