//! Doors: what speaks HTTP. Everything that knows a status code, a header or axum is below this folder.

pub mod form;
pub mod headers;
pub mod problem;

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;

/// Section `server` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Scheme and authority under which clients reach the service, for absolute URLs; absent: those of the request.
    pub public_url: Option<String>,
    /// How long a client may send nothing in the middle of a head or a body.
    #[serde(with = "crate::domain::units::duration")]
    pub idle_timeout: Duration,
    /// Least mean rate of a body, in bytes per second, judged after `idle_timeout`; 0: any.
    pub min_rate: ByteSize,
    /// Largest head of a request, all header lines together.
    pub max_head: ByteSize,
    /// How long requests in flight may go on after a signal to stop.
    #[serde(with = "crate::domain::units::duration")]
    pub shutdown_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            idle_timeout: Duration::from_secs(30),
            min_rate: ByteSize::b(1024),
            max_head: ByteSize::kib(32),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}
