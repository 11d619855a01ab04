//! Doors: what speaks HTTP. Everything that knows a status code, a header or axum is below this folder.
//!
//! A door is a file with the same parts in the same order: routes, wire types, handlers (parse, one call to the core,
//! render), parsing, rendering. No door imports a door, and the core does not know which one called.

pub mod admin;
pub mod api;
pub mod body;
#[cfg(test)]
mod catalogue;
pub mod console;
pub mod cors;
mod cross_site;
mod delivery;
mod detail;
pub mod digested;
pub mod entrance;
pub mod events;
pub mod extract;
pub mod form;
pub mod headers;
pub mod layers;
pub mod meters;
pub mod metrics;
pub mod multipart;
pub mod pages;
pub mod paging;
pub mod problem;
pub mod proxies;
pub mod raw;
pub mod same_origin;
pub mod server;
pub mod shown;
pub mod site;
pub mod tus;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderName, HeaderValue},
    middleware::from_fn_with_state,
    response::Response,
};
use bytesize::ByteSize;

pub use self::entrance::Here;
use crate::{
    auth::Gate,
    domain::{principal::Principal, upload::Upload},
    uploads::Uploads,
    worker::Tasks,
};

const UPLOAD_TOKEN: HeaderName = HeaderName::from_static("upload-token");

/// What the doors need. Cheap to clone. What depends on where a request came in is with [`Here`].
#[derive(Clone)]
pub struct AppState {
    gate: Arc<Gate>,
    uploads: Uploads,
    multipart: Arc<multipart::Settings>,
    raw: Arc<raw::Settings>,
    tus: Arc<tus::Settings>,
    cors: cors::Cors,
    /// Scheme and authority under which clients reach the service, if they are set.
    public_url: Option<Arc<str>>,
}

/// What is set of the doors.
#[derive(Debug, Clone)]
pub struct DoorSettings {
    /// The multipart door.
    pub multipart: multipart::Settings,
    /// The raw door.
    pub raw: raw::Settings,
    /// The tus door.
    pub tus: tus::Settings,
}

impl AppState {
    /// The doors' state over these services.
    pub fn new(gate: Gate, uploads: Uploads, doors: DoorSettings, settings: &Settings, cors: cors::Cors) -> Self {
        let DoorSettings { multipart, raw, tus } = doors;
        let public_url = settings.public_url.as_deref().map(Arc::from);
        let (gate, multipart, raw, tus) = (Arc::new(gate), Arc::new(multipart), Arc::new(raw), Arc::new(tus));
        Self { gate, uploads, multipart, raw, tus, cors, public_url }
    }

    /// Puts the upload's token into the answer to a write, if one is due. Whether it is, the gate decides.
    fn put_token(&self, response: &mut Response, by: &Principal, upload: &Upload) {
        if let Some(token) = self.gate.mint(by, upload)
            && let Ok(mut value) = HeaderValue::try_from(token)
        {
            value.set_sensitive(true);
            response.headers_mut().insert(UPLOAD_TOKEN, value);
        }
    }
}

/// Every route of the service, `pages` among them, inside the layers.
pub fn router(
    state: AppState,
    readiness: site::Readiness,
    pages: Router,
    settings: &Settings,
    meters: Arc<meters::Meters>,
    tasks: &Tasks,
) -> Router {
    let cors = state.cors.clone();
    let doors = meters::Doors {
        meters,
        multipart: (&*state.multipart.prefix).into(),
        raw: (&*state.raw.prefix).into(),
        tus: (&*state.tus.prefix).into(),
    };
    let count = from_fn_with_state(doors, meters::count);
    let rule = state.gate.rule();
    let doors = multipart::routes(&state.multipart)
        .merge(raw::routes(&state.raw))
        .merge(tus::routes(&state.tus))
        .merge(api::routes())
        .with_state(state);
    let inside = layers::wrap(doors.merge(site::routes(readiness)).merge(pages), settings, cors, tasks).layer(count);
    entrance::around(inside, rule, settings.trusted_proxies.clone())
}

/// Section `server` of the configuration.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Scheme and authority under which clients reach the service; absent: those of the request, or what a trusted proxy
    /// says of it. The identity server is told this authority, whatever a proxy makes of `Host`.
    pub public_url: Option<String>,
    /// Proxies before the service that are believed about who sends a request, and what for.
    pub trusted_proxies: proxies::TrustedProxies,
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
            trusted_proxies: proxies::TrustedProxies::default(),
            idle_timeout: Duration::from_secs(30),
            min_rate: ByteSize::b(1024),
            max_head: ByteSize::kib(32),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}
