//! Building the parts, in order, and ending them in the other one.
//!
//! Takes settings, gives a [`Server`] that serves one window. Owns shutdown: calls drain, tasks close, roles and unused profiles go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, AuditError};
use crate::clock::Clock;
use crate::database::Database;
use crate::enforcement::Enforcement;
use crate::export::Exports;
use crate::identity::{Identity, TaskTokens};
use crate::model::names::DatabaseName;
use crate::policy::{Policy, PolicyError};
use crate::profile;
use crate::secret::Secret;
use crate::settings::Settings;
use crate::store::{Store, StoreError};
use crate::task::{Callers, Parts, Tasks};
use crate::transport::mcp::Mcp;
use crate::transport::tools::{self, ToolsError};
use crate::transport::{Gate, http, metrics, stdio};

/// How long requests may take to end after the stop.
const DRAIN: Duration = Duration::from_secs(30);

/// Why a server does not start, or fails.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No policy.
    #[error("loading the policy")]
    Policy(#[source] PolicyError),
    /// No audit log.
    #[error("opening the audit log")]
    Audit(#[source] AuditError),
    /// No export directory.
    #[error("making the export directory `{path}`")]
    Exports {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No state store.
    #[error("opening the state store")]
    Store(#[source] StoreError),
    /// Our own declarations.
    #[error("reading the tool declarations")]
    Tools(#[source] ToolsError),
    /// Nobody could call.
    #[error("{0}")]
    Nobody(&'static str),
    /// No metrics.
    #[error("listening on `{address}` for metrics")]
    Metrics {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The window broke.
    #[error("serving")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A built server.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    enforcement: Arc<Enforcement>,
    store: Store,
    clock: Clock,
    house: House,
}

/// How a server keeps house while it serves.
#[derive(Debug, Clone, Copy)]
pub struct House {
    /// How often expired tasks are closed.
    pub every: Duration,
    /// How often the state store is asked what was ended elsewhere.
    pub watch: Duration,
    /// Such rounds between sweeps of what dead processes left.
    pub rounds_per_sweep: u64,
    /// How long a profile that no task uses is kept for the next one: building it costs more than keeping it.
    pub profile_idle: Duration,
}

impl Default for House {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            watch: Duration::from_millis(500),
            rounds_per_sweep: 6,
            profile_idle: Duration::from_secs(60 * 60),
        }
    }
}

impl Server {
    /// Builds every part. Databases are opened when first needed.
    pub async fn build(settings: Settings, clock: Clock) -> Result<Self, ServerError> {
        // One TLS stack for everything; a second call finds it in place.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let storage = &settings.storage;
        let policy = Policy::load(&settings.policy, Some(&cache_directory(&storage.dir))).await.map_err(ServerError::Policy)?;
        let policy = Arc::new(policy);
        let audit = Audit::open(&storage.dir.join("audit"), storage.durability, clock.clone()).map_err(ServerError::Audit)?;
        let exports = storage.dir.join("exports");
        let exports = Exports::open(exports.clone(), storage.keep_exports, clock.clone())
            .map_err(|source| ServerError::Exports { path: exports, source })?;
        sweep_exports(&exports);
        // With several databases nobody can tell which one a name of the document is meant for.
        let expected = if settings.databases.len() == 1 { policy.document().names() } else { Vec::new() };
        let databases: BTreeMap<DatabaseName, Database> = settings
            .databases
            .iter()
            .map(|one| {
                (one.name.clone(), Database::new(one.clone(), policy.document().labels().clone(), expected.clone(), clock.clone()))
            })
            .collect();
        let store = Store::open(&storage.state).await.map_err(ServerError::Store)?;
        let tasks = Tasks::new(Parts {
            policy: Arc::clone(&policy),
            clock: clock.clone(),
            ambient_purpose: settings.ambient_purpose.clone(),
            store: store.clone(),
            audit: audit.clone(),
            callers: Callers::new(settings.per_principal, settings.per_agent),
            databases: settings.databases.clone(),
        });
        tasks.register().await.map_err(ServerError::Store)?;
        tasks.watch().await;
        let own = settings.server.public_url.clone().filter(|_| settings.server.task_tokens);
        let task_tokens = own.map(|issuer| Arc::new(TaskTokens::new(issuer, store.clone(), clock.clone())));
        let scopes = settings.server.scopes.clone();
        let enforcement =
            Arc::new(Enforcement { audit, policy, tasks, exports, databases, scopes, task_tokens, clock: clock.clone() });
        Ok(Self { settings, enforcement, store, clock, house: House::default() })
    }

    /// The same, keeping house at another pace; for tests that wait for it.
    pub fn with_house(self, house: House) -> Self {
        Self { house, ..self }
    }

    /// The spine, for tests that look at tasks from inside.
    pub fn enforcement(&self) -> &Arc<Enforcement> {
        &self.enforcement
    }

    fn mcp(&self, dev_token: Option<&Secret>) -> Result<Mcp, ServerError> {
        let names: Vec<DatabaseName> = self.enforcement.databases.keys().cloned().collect();
        let tools = tools::list(&names).map_err(ServerError::Tools)?;
        let own = self.enforcement.task_tokens.clone();
        let identity = Identity::from_settings(&self.settings.issuers, own, self.clock.clone());
        let gate = Gate::new(identity, self.settings.dev.clone(), dev_token);
        Ok(Mcp::new(Arc::clone(&self.enforcement), Arc::new(gate), tools))
    }

    /// Serves stdio until stdin ends or `stop` is set; then drains and closes everything.
    pub async fn serve_stdio(&self, stop: CancellationToken) -> Result<(), ServerError> {
        let has_token = self.settings.issuers.iter().any(|issuer| issuer.token.is_some());
        if !has_token && self.settings.dev.is_none() {
            return Err(ServerError::Nobody("stdio needs a token (`token_env` or `token_file` of an issuer) or `[dev]`"));
        }
        let mcp = self.mcp(None)?;
        let house = self.keep_house(stop.clone());
        let pipes = stdio::Pipes {
            reader: tokio::io::stdin(),
            writer: tokio::io::stdout(),
            max_line: self.settings.server.max_request_bytes,
            stop: stop.clone(),
        };
        let served = tokio::select! {
            served = stdio::serve(mcp, pipes) => served.map_err(ServerError::Serve),
            () = drained(&stop) => Ok(()),
        };
        house.abort();
        self.close().await;
        served
    }

    /// Serves HTTP on a bound listener until `stop` is set; then drains and closes everything. `dev_token` opens the door for `[dev]`.
    pub async fn serve_http(
        &self,
        listener: TcpListener,
        dev_token: Option<&Secret>,
        stop: CancellationToken,
    ) -> Result<(), ServerError> {
        let local = listener.local_addr().map_err(|error| ServerError::Serve(error.into()))?;
        if dev_token.is_some() && !local.ip().is_loopback() {
            return Err(ServerError::Nobody("`[dev]` works on loopback only: remove it, or listen on 127.0.0.1"));
        }
        let requests = CancellationToken::new();
        if let Some(address) = self.settings.server.metrics {
            let listener = TcpListener::bind(address).await.map_err(|source| ServerError::Metrics { address, source })?;
            tokio::spawn(metrics::serve(listener, Arc::clone(&self.enforcement), requests.clone()));
        }
        let router = http::router(self.mcp(dev_token)?, &self.settings, requests.clone());
        let house = self.keep_house(stop.clone());
        let until = stop.clone();
        let serve = axum::serve(listener, router).with_graceful_shutdown(async move { until.cancelled().await }).into_future();
        let served = tokio::select! {
            served = serve => served.map_err(|error| ServerError::Serve(error.into())),
            () = drained(&stop) => Ok(()),
        };
        requests.cancel();
        house.abort();
        self.close().await;
        served
    }

    /// Closes expired tasks, and sweeps what dead processes left.
    fn keep_house(&self, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
        let (enforcement, house) = (Arc::clone(&self.enforcement), self.house);
        let watched = Arc::clone(&self.enforcement);
        let watching = async move {
            loop {
                tokio::time::sleep(house.watch).await;
                watched.tasks.watch().await;
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = watching => {}
                () = Self::keep(enforcement, house, stop) => {}
            }
        })
    }

    async fn keep(enforcement: Arc<Enforcement>, house: House, stop: CancellationToken) {
        let mut round = 0_u64;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(house.every) => {}
            }
            enforcement.tasks.close_expired().await;
            stay(&enforcement).await;
            round = round.wrapping_add(1);
            if round.is_multiple_of(house.rounds_per_sweep) {
                sweep(&enforcement, house).await;
            }
        }
    }

    /// Ends every task, tries again what could not be closed before, drops what is unused, and forgets this process in every database.
    pub async fn close(&self) {
        self.enforcement.tasks.close_all().await;
        for database in self.enforcement.databases.values() {
            let Some(governed) = database.opened().await else { continue };
            if let Err(error) = governed.sweep().await {
                tracing::warn!(database = %database.name(), %error, "what could not be closed stays until the next sweep");
            }
            if let Err(error) = profile::drop_unused(&governed, Duration::ZERO).await {
                tracing::warn!(database = %database.name(), %error, "unused profiles stay until the next process ends");
            }
            if let Err(error) = governed.leave().await {
                tracing::warn!(database = %database.name(), %error, "this process stays registered until the next sweep");
            }
        }
        self.store.close().await;
    }
}

/// The moment after the stop from which nobody is waited for.
async fn drained(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}

/// Keeps this process registered wherever it made roles.
async fn stay(enforcement: &Enforcement) {
    for database in enforcement.databases.values() {
        let Some(governed) = database.opened().await else { continue };
        if let Err(error) = governed.stay().await {
            tracing::debug!(database = %database.name(), %error, "this process looks dead to others until it connects again");
        }
    }
}

fn sweep_exports(exports: &Exports) {
    match exports.sweep() {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "exports that nobody finished or collected were removed"),
        Err(error) => tracing::warn!(%error, "old exports stay for now"),
    }
}

async fn sweep(enforcement: &Enforcement, house: House) {
    // Other calls move to another thread meanwhile.
    tokio::task::block_in_place(|| sweep_exports(&enforcement.exports));
    enforcement.tasks.tidy().await;
    for database in enforcement.databases.values() {
        let Some(governed) = database.opened().await else { continue };
        match governed.sweep().await {
            Ok(0) => {}
            Ok(closed) => tracing::info!(database = %database.name(), closed, "tasks of dead processes were closed"),
            Err(error) => tracing::warn!(database = %database.name(), %error, "sweeping failed"),
        }
        match profile::drop_unused(&governed, house.profile_idle).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(database = %database.name(), dropped, "profiles that nobody used were dropped"),
            Err(error) => tracing::warn!(database = %database.name(), %error, "unused profiles stay for now"),
        }
    }
}

/// Where compiled policies are kept: the user's own cache, else beside the audit log. Never a directory that others can write.
fn cache_directory(storage: &std::path::Path) -> PathBuf {
    let own = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let own = own.filter(|path| path.is_absolute()).map(|path| path.join("pgteller"));
    own.unwrap_or_else(|| std::path::absolute(storage).unwrap_or_else(|_| storage.to_owned()).join("cache"))
}
