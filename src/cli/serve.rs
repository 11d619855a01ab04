//! `chunkgate serve`: the service.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::Failure;
use crate::config::{self, Config, Sources};

/// Arguments of `chunkgate serve`. Each is also a setting.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The configuration [default: built in; `chunkgate config example` prints it]
    #[arg(long, env = "CHUNKGATE_CONFIG", value_name = "FILE")]
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

/// The one call into the composition root.
async fn start(config: Config) -> Result<(), Failure> {
    Err(Failure::Failed(format!("the service on {} is not part of this build", config.server.listen)))
}
