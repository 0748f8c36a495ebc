//! The gateway's own connection.
//!
//! Takes a target and the gateway login's password, gives one connection that is opened when needed and opened again when it broke.
//! Never runs a statement of an agent. Whoever holds the guard has the connection to itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::Client;

use super::DatabaseError;
use super::target::{CONNECT_TIMEOUT, Host, Target};
use crate::secret::{ExposeSecret, Secret};

/// How long a caller waits for the connection, and a statement of ours may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET lock_timeout = '2s'; \
     SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET idle_in_transaction_session_timeout = '60s'; \
     SET standard_conforming_strings = on; SET jit = off";

/// Said at start-up: what the database or the role sets by itself (a millisecond, say) would end the statement that sets it.
const TIMEOUT: &str = "-c statement_timeout=15s";

/// The gateway's own connection to one database.
#[derive(Debug)]
pub struct Admin {
    target: Target,
    login: String,
    password: Secret,
    connection: Mutex<Option<Connection>>,
    /// Set when work on the connection was given up in the middle: it is opened anew.
    suspect: AtomicBool,
}

/// An open connection.
#[derive(Debug)]
struct Connection {
    client: Client,
    /// Whether this process is registered on it. Never assumed: a call may be dropped between connecting and registering.
    registered: bool,
}

/// The connection, to itself until dropped.
pub struct AdminGuard<'a> {
    slot: MutexGuard<'a, Option<Connection>>,
}

impl AdminGuard<'_> {
    /// The client.
    pub fn client(&mut self) -> Result<&mut Client, DatabaseError> {
        let open = self.slot.as_mut().map(|connection| &mut connection.client);
        open.ok_or_else(|| DatabaseError::Unexpected("the connection is gone".to_owned()))
    }

    /// Whether this process is registered on this connection.
    pub fn is_registered(&self) -> bool {
        self.slot.as_ref().is_some_and(|connection| connection.registered)
    }

    /// Notes that this process is registered on this connection.
    pub fn registered(&mut self) {
        if let Some(connection) = self.slot.as_mut() {
            connection.registered = true;
        }
    }
}

impl Admin {
    /// Prepares; connects later.
    pub fn new(target: Target, login: String, password: Secret) -> Self {
        Self { target, login, password, connection: Mutex::new(None), suspect: AtomicBool::new(false) }
    }

    /// The login's name.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The login's password, for the one check that needs it: that nothing weaker than SCRAM opens a session.
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// The connection, opened if there is none or the last one broke.
    pub async fn lock(&self) -> Result<AdminGuard<'_>, DatabaseError> {
        let mut slot =
            tokio::time::timeout(PATIENCE, self.connection.lock()).await.map_err(|_| DatabaseError::Slow(PATIENCE.as_secs()))?;
        let suspect = self.suspect.swap(false, Ordering::SeqCst);
        if suspect || slot.as_ref().is_none_or(|connection| connection.client.is_closed()) {
            *slot = None;
            *slot = Some(Connection { client: self.connect().await?, registered: false });
        }
        Ok(AdminGuard { slot })
    }

    /// Does some work on the connection within our patience. A server that accepts and never answers must not hold anybody.
    pub async fn bounded<T>(&self, work: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
            self.suspect.store(true, Ordering::SeqCst);
            Err(DatabaseError::Slow(PATIENCE.as_secs()))
        })
    }

    /// Closes the connection.
    pub async fn close(&self) {
        *self.connection.lock().await = None;
    }

    async fn connect(&self) -> Result<Client, DatabaseError> {
        connect(&self.target, &self.login, Some(&self.password)).await
    }
}

/// Opens a connection through tokio-postgres: for the gateway's login, and for a DBA who runs the set-up.
pub async fn connect(target: &Target, user: &str, password: Option<&Secret>) -> Result<Client, DatabaseError> {
    let mut config = tokio_postgres::Config::new();
    config.user(user).dbname(&target.database).port(target.port).connect_timeout(CONNECT_TIMEOUT).application_name("pgteller");
    config.options(TIMEOUT);
    match &target.host {
        Host::Tcp(host) => config.host(host),
        Host::Unix(directory) => config.host_path(directory),
    };
    if let Some(password) = password {
        config.password(password.expose_secret());
    }
    let client = match &target.tls {
        Some(tls) => {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls.as_ref().clone());
            let (client, connection) = config.connect(tls).await.map_err(connect_error)?;
            tokio::spawn(drive(connection));
            client
        }
        None => {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(connect_error)?;
            tokio::spawn(drive(connection));
            client
        }
    };
    client.batch_execute(SESSION).await.map_err(DatabaseError::admin("preparing the gateway's connection"))?;
    Ok(client)
}

fn connect_error(error: tokio_postgres::Error) -> DatabaseError {
    DatabaseError::AdminConnect(Box::new(error))
}

async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if let Err(error) = connection.await {
        tracing::debug!(%error, "the gateway's connection ended");
    }
}
