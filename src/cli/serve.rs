//! `chunkgate serve`: the service.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::Failure;
use crate::{
    app,
    config::{self, Config, Sources},
    domain::SystemClock,
    http, telemetry,
};

/// Arguments of `chunkgate serve`. Each is also a setting.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The configuration [default: the file that CHUNKGATE_CONFIG names, if it is set]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen (server.listen)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Scheme and host under which clients reach the service (server.public_url)
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Where the identity server is (identity.url)
    #[arg(long, value_name = "URL")]
    pub identity_url: Option<String>,
    /// What to log: off, error, warn, info, debug, trace, or by module (log.level)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// What is wrong with the configuration, or why the service could not start.
pub async fn run(args: &ServeArgs) -> Result<(), Failure> {
    let mut sources = Sources::of_process(args.config.clone());
    sources.flag("--listen", "server.listen", args.listen);
    sources.flag("--public-url", "server.public_url", args.public_url.as_ref());
    sources.flag("--identity-url", "identity.url", args.identity_url.as_ref());
    sources.flag("--log-level", "log.level", args.log_level.as_ref());
    let loaded = config::load(&sources).map_err(|error| error.to_string())?;
    start(loaded.config).await
}

/// Starts the service and serves until the process is told to stop.
async fn start(config: Config) -> Result<(), Failure> {
    log_to_stderr(&config.log)?;
    let address = config.server.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::Failed(format!("{address} cannot be listened on ({error}); choose another server.listen"))
    })?;
    let running = app::start(config, listener, Arc::new(SystemClock), http::pages::client()).await?;
    tracing::info!(server.address = %running.address(), "serving");
    told_to_stop().await;
    tracing::info!("stopping");
    // A second signal is impatient.
    running.stop(told_to_stop()).await;
    Ok(())
}

/// Begins to log. Commands that only ask and print do not.
pub(super) fn log_to_stderr(settings: &telemetry::Settings) -> Result<(), Failure> {
    settings.init().map_err(|error| Failure::Failed(error.to_string()))
}

/// Resolves on Ctrl-C or SIGTERM.
pub(super) async fn told_to_stop() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => {
                terminated.recv().await;
            }
            // Without it Ctrl-C still stops.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
