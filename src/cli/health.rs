//! `chunkgate health`: asks `/readyz`, for health checks of containers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;

use super::{Failure, client::Client, print};
use crate::config::{self, Sources};

/// A check that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(5);

/// Arguments of `chunkgate health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Where the service is [default: where the configuration makes it listen, http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The configuration to take the address from
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Succeeds if the service is ready.
///
/// # Errors
/// It is not, or did not say so in time.
pub async fn run(args: &HealthArgs) -> Result<(), Failure> {
    let url = args.url.clone().map_or_else(|| configured(args), Ok)?;
    let client = Client::direct(&url)?;
    let base = client.base().to_owned();
    let answer = tokio::time::timeout(DEADLINE, client.get("/readyz"))
        .await
        .map_err(|_| format!("{base} did not answer within {} s", DEADLINE.as_secs()))?
        .map_err(|error| format!("{base} cannot be reached: {error}"))?;
    match answer.status {
        200..=299 => {
            print(&format!("{base} is ready\n"));
            Ok(())
        }
        _ => Err(Failure::Failed(format!("{base} is not ready: {}", answer.reason()))),
    }
}

fn configured(args: &HealthArgs) -> Result<String, Failure> {
    let loaded = config::load(&Sources::of_process(args.config.clone()))
        .map_err(|error| format!("{error}\ngive --url to do without the configuration"))?;
    let mut address = loaded.config.server.listen;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(format!("http://{address}"))
}
