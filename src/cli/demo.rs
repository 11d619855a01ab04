//! `chunkgate demo`: everything in one process, for trying it out.
//!
//! The demo user's key and secret are the same everywhere and known to everybody, so the demo listens on loopback and
//! refuses anything else. Data stays in its folder between runs; the operator's key is a new one at every start.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use tokio::net::TcpListener;

use super::{
    Failure,
    identity::{self, Directory},
    serve,
};
use crate::{
    app::{self, Running},
    auth::{
        Method,
        operators::{NewKey, NewPerson, OperatorError},
    },
    config::{self, Config, Sources},
    domain::{SystemClock, keys::ApiKey, operators::Operator, principal::Scope},
    http,
    worker::Tasks,
};

/// Key of the demo user `demo`.
pub const API_KEY: &str = "demo-key";
/// Secret of that key.
pub const SECRET: &str = "demo-secret";

/// The demo's local user for the console.
const OPERATOR: &str = "operator";
/// What the operator's key is called.
const KEY_LABEL: &str = "demo console";
/// Keys are made and checked on one machine here, and are as good in the next run as in this one.
const PEPPER: &str = "the pepper of every demo";

/// Arguments of `chunkgate demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Where the service and its page listen; loopback only [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where the identity server listens; loopback only
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub identity_listen: SocketAddr,
    /// Folder for the database and the files [default: ./chunkgate-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Settings that differ from the demo's own [default: the file that CHUNKGATE_CONFIG names, if it is set]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// What is wrong with the configuration, an address that is not loopback, or why the demo could not start.
pub async fn run(args: &DemoArgs) -> Result<(), Failure> {
    loopback("--identity-listen", args.identity_listen)?;
    let identity = listen("--identity-listen", args.identity_listen).await?;
    let config = configure(args, address(&identity)?)?;
    loopback("--listen", config.server.listen)?;
    let service = listen("--listen", config.server.listen).await?;
    start(config, service, identity).await
}

/// The demo's settings: API keys for the console, query credentials for copy-paste links, its own identity server,
/// metrics on any free port, one folder for all data.
fn configure(args: &DemoArgs, identity: SocketAddr) -> Result<Config, Failure> {
    let mut sources = Sources::of_process(args.config.clone());
    for (key, value) in [
        ("auth.methods", "['signature', 'api_key']"),
        ("auth.pepper", PEPPER),
        ("auth.query_credentials", "true"),
        ("metrics.listen", "127.0.0.1:0"),
    ] {
        sources.defaults.push((key.into(), value.into()));
    }
    sources.flag("--listen", "server.listen", args.listen);
    sources.flag("--identity-listen", "identity.url", Some(format!("http://{identity}")));
    sources.flag("--identity-listen", "identity.token", Some(uuid::Uuid::new_v4().simple()));
    if let Some(folder) = &args.data {
        sources.flag("--data", "storage.local.path", Some(folder.join("files").display()));
        sources.flag("--data", "database.url", Some(database_in(folder)));
    }
    config::load(&sources).map(|loaded| loaded.config).map_err(|error| Failure::Failed(error.to_string()))
}

fn database_in(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("chunkgate.db").display())
}

fn loopback(flag: &str, address: SocketAddr) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{flag}: {address} can be reached by others, and the demo's secret is public; use a loopback address, or \
         `chunkgate serve` with users of your own"
    )))
}

async fn listen(flag: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::Failed(format!("{address} cannot be listened on ({error}); choose another {flag}")))
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::Failed(format!("the listener has no address: {error}")))
}

/// A fresh key for the console; those of earlier runs are good no more. None where the configuration has no console or
/// no keys.
async fn operator_key(running: &Running, config: &Config) -> Result<Option<ApiKey>, OperatorError> {
    if !config.admin.enabled || !config.auth.methods.contains(&Method::ApiKey) {
        return Ok(None);
    }
    let (operators, by) = (running.operators(), Operator::of_the_shell());
    let user = match operators.named(&by, OPERATOR).await {
        Err(OperatorError::NotFound) => {
            let new = NewPerson { username: OPERATOR.into(), ..NewPerson::default() };
            operators.add(&by, new).await?
        }
        known => known?,
    };
    for old in operators.keys(&by, user.user.id).await? {
        if old.label == KEY_LABEL && old.is_good(operators.now()) {
            operators.revoke_key(&by, old.id).await?;
        }
    }
    let new = NewKey { label: KEY_LABEL.into(), scopes: [Scope::Admin].into_iter().collect(), life: None };
    Ok(Some(operators.create_key(&by, user.user.id, new).await?.0))
}

fn welcome(running: &Running, identity: SocketAddr, files: &Path, key: Option<&ApiKey>) -> String {
    let (service, files) = (running.address(), files.display());
    let metrics = running.metrics_address();
    let metrics = metrics.map_or(String::new(), |at| format!("  metrics          http://{at}/metrics\n"));
    let console = key.map_or(String::new(), |key| {
        format!("  console          http://{service}/admin/  as {OPERATOR}\n  its key          {}\n", key.reveal())
    });
    format!(
        "chunkgate demo\n  page             http://{service}/\n  identity server  http://{identity}\n  \
         user demo        api_key {API_KEY}, secret {SECRET}  (public: for this machine only)\n{console}{metrics}\n\
         Upload a file from another terminal:\n  \
         chunkgate upload FILE --url http://{service} --api-key {API_KEY} --secret {SECRET}\n\n\
         Ctrl-C stops; what was uploaded stays in {files}.\n\n"
    )
}

/// Starts the identity server, then the service, and serves both until the process is told to stop.
async fn start(config: Config, service: TcpListener, identity: TcpListener) -> Result<(), Failure> {
    serve::log_to_stderr(&config.log)?;
    let identity_address = address(&identity)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let users = identity::serve(identity, Directory::demo(), config.identity.token.clone(), async {
        let _ = stopped.await;
    });
    let users = Tasks::new().spawn(users);
    let running = app::start(config.clone(), service, Arc::new(SystemClock), http::pages::demo()).await?;
    let key = operator_key(&running, &config).await.map_err(|error| Failure::Failed(error.to_string()))?;
    super::print(&welcome(&running, identity_address, &config.storage.local.path, key.as_ref()));
    serve::told_to_stop().await;
    // A second signal is impatient.
    running.stop(serve::told_to_stop()).await;
    let _ = stop.send(());
    users.await.map_err(|error| Failure::Failed(format!("the identity server ended early: {error}")))??;
    Ok(())
}
