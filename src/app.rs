//! Composition root: from a configuration to a running service.
//!
//! Stores first, then services over them, then doors, listener and workers. Whoever starts the service hands in the
//! listener and the clock, so that tests use a free port and a clock of their own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::net::TcpListener;

use crate::{
    auth::{
        self, Gate, Throttle,
        events::Events,
        identity,
        keyring::{Keeper, Keyring},
        meters::Meters,
        operators::Operators,
        realm::Realm,
        standing::Standing,
        sweeper::Sweeper,
        tokens::Tokens,
    },
    config::{self, Config},
    content::{ContentStore, local::LocalStore, metered::Metered},
    db,
    domain::Clock,
    http,
    telemetry::metrics::Metrics,
    uploads::{Uploads, operators::AllUploads, reaper::Reaper},
    worker::{Tasks, Worker, Workers},
};

/// How long what was told to let go may take to do so.
const LET_GO: Duration = Duration::from_secs(10);

/// A service that serves. Dropping it leaves the service running; [`Running::stop`] stops it.
pub struct Running {
    address: SocketAddr,
    metrics: Metrics,
    metrics_address: Option<SocketAddr>,
    grace: Duration,
    tasks: Tasks,
    workers: Arc<Workers>,
    uploads: Uploads,
    operators: Operators,
    stores: db::Stores,
}

/// Starts the service on `listener`; `pages` are served beside its own routes.
///
/// # Errors
/// One sentence about what keeps the service from starting, and what to do about it.
pub async fn start(
    config: Config,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    pages: Router,
) -> Result<Running, String> {
    let address = listener.local_addr().map_err(|error| format!("the listener has no address: {error}"))?;
    let cors = config.realms.values().try_fold(http::cors::Cors::new(&config.cors)?, |cors, realm| {
        cors.with_realm(&config.cors, realm.allowed_origins.as_deref())
    })?;
    let tasks = Tasks::new();
    let metrics = Metrics::new(clock.now(), &config.rule());
    let workers = metrics.workers.clone();
    let durability = config.storage.local.durability;
    let stores = db::connect(&config.database, durability).await.map_err(|error| error.to_string())?;
    let content: Arc<dyn ContentStore> =
        Arc::new(Metered::new(LocalStore::open(&config.storage.local).await?, metrics.content.clone()));
    content.check().await.map_err(|error| format!("the content store cannot be used: {error}"))?;
    let uploads = Uploads::new(
        stores.uploads.clone(),
        content.clone(),
        clock.clone(),
        tasks.clone(),
        config.uploads.clone(),
        metrics.uploads.clone(),
    );
    let ring = Keyring::open(stores.token_keys.clone(), clock.clone(), config.auth.tokens.rotate_every).await;
    let ring = Arc::new(ring.map_err(|error| error.to_string())?);
    let standing = Arc::new(Standing::new(stores.accounts.clone(), clock.clone()));
    let gate = gate(&config, &stores, &ring, &standing, &clock, &tasks, &metrics)?;
    let identities = config.identities();
    let listened = identities.iter().zip(metrics.realms.iter().map(|(_, meters)| meters.clone()));
    let events = Events::open(listened, stores.identity_events.clone(), standing.clone(), clock.clone());
    if config.auth.anonymous {
        tracing::warn!("auth.anonymous is on: whoever reaches this service may upload without credentials");
    }
    for origin in http::cors::insecure(config.every_origin()) {
        tracing::warn!(origin, "allowed_origins lists plain http: whoever is on the way can act as that page");
    }
    let readiness = readiness(&stores, content);
    let doors = http::DoorSettings { multipart: config.multipart, raw: config.raw, tus: config.tus };
    let state = http::AppState::new(gate, uploads.clone(), doors, &config.server, cors);
    let operators = Operators::new(
        stores.operations.clone(),
        stores.credentials.clone(),
        clock.clone(),
        config.auth.pepper.clone(),
    )
    .heeded_by(standing);
    let pages = match config.admin.enabled {
        true => {
            let all = AllUploads::new(uploads.clone(), stores.operations.clone());
            pages.merge(http::admin::routes(state.clone(), operators.clone(), all)).merge(http::console::routes())
        }
        false => pages,
    };
    let pages = events.into_iter().fold(pages, |pages, events| pages.merge(http::events::routes(events)));
    let router = http::router(state, readiness, pages, &config.server, metrics.http.clone(), &tasks);

    spawn_worker(&workers, Reaper::new(uploads.clone()), &clock, &tasks);
    spawn_worker(
        &workers,
        Sweeper::new(stores.accounts.clone(), stores.identity_events.clone(), clock.clone()),
        &clock,
        &tasks,
    );
    spawn_worker(&workers, Keeper::new(ring), &clock, &tasks);
    let metrics_address = watched(config.metrics.listen, &metrics, &config.server, &tasks).await?;
    let grace = config.server.shutdown_grace;
    tasks.spawn({
        let (settings, tasks) = (config.server, tasks.clone());
        async move { http::server::serve(listener, router, &settings, &tasks).await }
    });
    Ok(Running { address, metrics, metrics_address, grace, tasks, workers, uploads, operators, stores })
}

/// The gate with every realm and every authenticator. A guess counts for all of them, whoever judges it.
fn gate(
    config: &Config,
    stores: &db::Stores,
    ring: &Arc<Keyring>,
    standing: &Arc<Standing>,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    metrics: &Metrics,
) -> Result<Gate, String> {
    let (auth, local) = (&config.auth, &metrics.local);
    let guesses = Arc::new(Throttle::new(clock.clone()).counting(local.clone()));
    let realm = |(identity, (_, meters)): (&identity::Settings, &(_, Arc<Meters>))| {
        let opened = Realm::open(auth, identity, &guesses, standing, clock, tasks, meters);
        opened.map_err(|reason| config::of_realm(config, &identity.realm, reason))
    };
    let realms = config.identities().iter().zip(&metrics.realms).map(realm).collect::<Result<_, _>>()?;
    let local = auth::local::authenticators(auth, &guesses, &stores.credentials, clock, tasks, local);
    let tokens = Tokens::new(auth, ring.clone(), standing.clone(), clock.clone());
    let gate = Gate::holding(auth.clone(), config.rule(), realms, metrics.auth.clone())?;
    Ok(gate.joined_by(local).minting(tokens))
}

fn spawn_worker(workers: &Arc<Workers>, worker: impl Worker, clock: &Arc<dyn Clock>, tasks: &Tasks) {
    let (workers, clock, own) = (workers.clone(), clock.clone(), tasks.clone());
    tasks.spawn(async move { workers.run(worker, &*clock, &own).await });
}

/// Serves the metrics where they are wanted. The address is not among those of the service: whoever starts that need not
/// know of this one.
async fn watched(
    listen: Option<SocketAddr>,
    metrics: &Metrics,
    server: &http::Settings,
    tasks: &Tasks,
) -> Result<Option<SocketAddr>, String> {
    let Some(wanted) = listen else { return Ok(None) };
    let refused = |error| format!("{wanted} cannot be listened on ({error}); choose another metrics.listen");
    let listener = TcpListener::bind(wanted).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    if !address.ip().is_loopback() {
        tracing::warn!(metrics.address = %address, "metrics.listen is no loopback address: whoever reaches it can read it");
    }
    let metrics = metrics.clone();
    let router = http::metrics::routes(move || metrics.text());
    tasks.spawn({
        let (server, tasks) = (server.clone(), tasks.clone());
        async move { http::server::serve(listener, router, &server, &tasks).await }
    });
    Ok(Some(address))
}

/// What must work for the service to be ready. Never the identity server: an outage there must not take the service out
/// of rotation.
fn readiness(stores: &db::Stores, content: Arc<dyn ContentStore>) -> http::site::Readiness {
    let accounts = stores.accounts.clone();
    http::site::Readiness::new()
        .probe("database", move || {
            let accounts = accounts.clone();
            async move { accounts.check().await.map_err(|error| error.to_string()) }
        })
        .probe("storage", move || {
            let content = content.clone();
            async move { content.check().await.map_err(|error| error.to_string()) }
        })
}

impl Running {
    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where it serves its metrics, if it does.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The service's workers.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// The service's upload core.
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// What operators do to the service's users and keys.
    pub fn operators(&self) -> &Operators {
        &self.operators
    }

    /// Stops: nothing new is accepted, what is under way may finish within the grace, then lets go. What was
    /// acknowledged is kept; a chunk that was not is finished or dropped whole. `hurry` ends the grace early.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        self.tasks.wind_down();
        let in_time = tokio::select! {
            () = self.tasks.finished() => true,
            () = tokio::time::sleep(self.grace) => false,
            () = hurry => false,
        };
        if !in_time {
            tracing::warn!("requests are still under way; letting them go");
            self.tasks.let_go();
            if tokio::time::timeout(LET_GO, self.tasks.finished()).await.is_err() {
                tracing::error!("tasks did not let go");
            }
        }
        self.stores.close().await;
    }
}
