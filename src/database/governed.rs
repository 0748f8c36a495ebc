//! One governed database, opened when it is first needed.
//!
//! Takes settings, gives a [`Governed`] whose set-up, preflight and snapshot were checked. Never lets a call through to a database that
//! preflight stopped, and tries a database that is down at most once a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, RwLock, Semaphore};

use super::admin::{Admin, AdminGuard};
use super::examination::Examination;
use super::posture::Posture;
use super::preflight::{Finding, Ours};
use super::role::{Kept, Swept};
use super::target::Target;
use super::{DatabaseError, SETUP_VERSION, role, snapshot};
use crate::clock::Clock;
use crate::model::names::{DatabaseName, InstallationId, InstanceId};
use crate::model::snapshot::Snapshot;
use crate::settings::DatabaseSettings;

/// How long a snapshot is trusted before one query asks whether the schema moved.
const SNAPSHOT_TRUST: Duration = Duration::from_secs(5);

/// How long a failure to open is remembered.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a database cannot be used now.
#[derive(Debug, Clone)]
pub enum Unready {
    /// It cannot be reached; the text is for the operator.
    Down(String),
    /// `pgteller setup` was not run here, or by another version.
    Setup(String),
    /// Preflight found something serious that is not acknowledged.
    Stopped(Vec<Finding>),
}

impl std::fmt::Display for Unready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Down(why) | Self::Setup(why) => f.write_str(why),
            Self::Stopped(findings) => {
                write!(f, "preflight stopped it:")?;
                for finding in findings {
                    write!(f, "\n  {}: {}\n    mend: {}", finding.id, finding.message, finding.fix)?;
                }
                write!(f, "\n  or acknowledge by id in `acknowledge` of this database; `pgteller doctor` shows everything")
            }
        }
    }
}

impl From<DatabaseError> for Unready {
    fn from(error: DatabaseError) -> Self {
        if let DatabaseError::Setup(why) = error {
            return Self::Setup(why);
        }
        Self::Down(crate::model::refusal::Fault::new("opening the database", error).chain())
    }
}

/// A configured database, opened or not.
#[derive(Debug)]
pub struct Database {
    settings: DatabaseSettings,
    labels: BTreeMap<String, Vec<String>>,
    expected: Vec<String>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Arc<Governed>),
    Failed(tokio::time::Instant, Unready),
}

/// An opened database.
#[derive(Debug)]
pub struct Governed {
    /// Its configured name.
    pub name: DatabaseName,
    /// What policies know it as.
    pub environment: String,
    /// Where it is.
    pub target: Target,
    /// What sessions set, if configured.
    pub timezone: Option<String>,
    /// The installation whose objects we use.
    pub installation: InstallationId,
    /// This process, as this database knows it.
    pub instance: InstanceId,
    /// The roles that this process uses.
    pub kept: Kept,
    /// The role that owns the views.
    pub view_owner: String,
    /// Findings that configuration acknowledges.
    pub acknowledged: Vec<String>,
    /// Sessions of tasks that may be open at once.
    pub places: Arc<Semaphore>,
    search_path: Option<Vec<String>>,
    labels: BTreeMap<String, Vec<String>>,
    admin: Admin,
    known: RwLock<Known>,
    announced: AtomicBool,
}

#[derive(Debug)]
struct Known {
    snapshot: Arc<Snapshot>,
    fingerprint: String,
    checked: tokio::time::Instant,
}

impl Database {
    /// Prepares a database; nothing is opened yet. `labels` are those of the policy document, `expected` the names that must be there.
    pub fn new(settings: DatabaseSettings, labels: BTreeMap<String, Vec<String>>, expected: Vec<String>, clock: Clock) -> Self {
        Self { settings, labels, expected, clock, state: Mutex::new(State::Closed) }
    }

    /// The configured name.
    pub fn name(&self) -> &DatabaseName {
        &self.settings.name
    }

    /// What policies know it as.
    pub fn environment(&self) -> &str {
        &self.settings.environment
    }

    /// The opened database, or why there is none.
    pub async fn ready(&self) -> Result<Arc<Governed>, Unready> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Open(governed) => return Ok(Arc::clone(governed)),
            State::Failed(at, why) if at.elapsed() < RETRY_AFTER => return Err(why.clone()),
            State::Failed(..) | State::Closed => {}
        }
        match self.open().await {
            Ok(governed) => {
                let governed = Arc::new(governed);
                *state = State::Open(Arc::clone(&governed));
                Ok(governed)
            }
            Err(why) => {
                tracing::error!(database = %self.settings.name, "the database cannot be used: {why}");
                *state = State::Failed(tokio::time::Instant::now(), why.clone());
                Err(why)
            }
        }
    }

    /// The opened database, if it was ever opened.
    pub async fn opened(&self) -> Option<Arc<Governed>> {
        match &*self.state.lock().await {
            State::Open(governed) => Some(Arc::clone(governed)),
            State::Closed | State::Failed(..) => None,
        }
    }

    /// Looks at the database without opening it: for `pgteller doctor`.
    pub async fn examination(&self) -> Result<Examination, Unready> {
        let admin = self.gateway();
        let mut guard = admin.lock().await?;
        self.examine(guard.client()?).await
    }

    /// The same, and what is going on in it: for `pgteller status`.
    pub async fn posture(&self) -> Result<Posture, Unready> {
        let admin = self.gateway();
        let mut guard = admin.lock().await?;
        let client = guard.client()?;
        let examination = self.examine(client).await?;
        Ok(Posture::read(client, examination).await?)
    }

    fn gateway(&self) -> Admin {
        let settings = &self.settings;
        Admin::new(settings.target.clone(), settings.login.clone(), settings.password.clone())
    }

    async fn examine(&self, client: &tokio_postgres::Client) -> Result<Examination, Unready> {
        // A name that no role has: a task's own login is what such a name looks like to pg_hba.conf.
        let stranger = format!("00000000_{}", self.clock.random_hex::<16>());
        Examination::read(client, &self.settings, &self.expected, &stranger).await
    }

    async fn open(&self) -> Result<Governed, Unready> {
        let settings = &self.settings;
        let admin = self.gateway();
        let mut guard = admin.lock().await?;
        let client = guard.client()?;
        let examination = self.examine(client).await?;
        examination.report();
        let stopping = examination.stopping();
        if !stopping.is_empty() {
            return Err(Unready::Stopped(stopping));
        }
        let instance = InstanceId(self.clock.random_hex::<4>());
        let kept = Kept::default();
        match role::sweep(client, &Swept { installation: &examination.installation, instance: &instance, kept: &kept }).await {
            Ok(0) => {}
            Ok(closed) => tracing::info!(database = %settings.name, closed, "tasks of dead processes were closed"),
            Err(error) => tracing::warn!(database = %settings.name, %error, "sweeping failed"),
        }
        drop(guard);
        Ok(Governed {
            name: settings.name.clone(),
            environment: settings.environment.clone(),
            target: settings.target.clone(),
            timezone: settings.timezone.clone(),
            installation: examination.installation,
            instance,
            kept,
            view_owner: examination.view_owner,
            acknowledged: settings.acknowledge.clone(),
            places: Arc::new(Semaphore::new(settings.max_sessions)),
            search_path: settings.search_path.clone(),
            labels: self.labels.clone(),
            admin,
            announced: AtomicBool::new(false),
            known: RwLock::new(Known {
                snapshot: Arc::new(examination.snapshot.labelled(&self.labels)),
                fingerprint: examination.fingerprint,
                checked: tokio::time::Instant::now(),
            }),
        })
    }
}

/// The installation in a database and its view owner, if this program can work with it.
pub async fn installation(client: &tokio_postgres::Client) -> Result<(InstallationId, String), DatabaseError> {
    let found = client.query_opt("SELECT id, version, view_owner::text FROM pgteller_api.installation", &[]).await;
    let missing =
        || DatabaseError::Setup("`pgteller setup` was not run in this database, or this login does not belong to it".to_owned());
    let row = match found {
        Ok(row) => row.ok_or_else(missing)?,
        Err(error) if error.code().is_some_and(|code| matches!(code.code(), "42P01" | "42501" | "3F000")) => return Err(missing()),
        Err(error) => return Err(DatabaseError::admin("looking for the set-up")(error)),
    };
    let version: i32 = row.get(1);
    if version != SETUP_VERSION {
        return Err(DatabaseError::Setup(format!(
            "the set-up in this database is of version {version}, this program needs {SETUP_VERSION}: remove it and run `pgteller setup` again"
        )));
    }
    Ok((InstallationId(row.get(0)), row.get(2)))
}

impl Governed {
    /// The roles that preflight looks at.
    pub fn ours(&self) -> Ours<'_> {
        Ours { installation: &self.installation, view_owner: &self.view_owner }
    }

    /// The gateway's connection. A process that made roles stays registered on it.
    pub async fn admin(&self) -> Result<AdminGuard<'_>, DatabaseError> {
        let mut guard = self.admin.lock().await?;
        if self.announced.load(Ordering::SeqCst) && !guard.is_registered() {
            role::register(guard.client()?, &self.instance).await?;
            guard.registered();
        }
        Ok(guard)
    }

    /// The same, with this process registered: before the first role is made, so that others know whose it is.
    pub async fn announced(&self) -> Result<AdminGuard<'_>, DatabaseError> {
        // Said first: a registration that is given up in the middle is made up for by whoever comes next.
        self.announced.store(true, Ordering::SeqCst);
        self.admin().await
    }

    /// Stays registered: a process whose connection broke looks dead to the others until it has a new one.
    pub async fn stay(&self) -> Result<(), DatabaseError> {
        if !self.announced.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.bounded(async { self.admin().await.map(|_| ()) }).await
    }

    /// Does some work on the gateway's connection within our patience.
    pub async fn bounded<T>(&self, work: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
        self.admin.bounded(work).await
    }

    /// What we know of the schema, asked anew every few seconds.
    pub async fn snapshot(&self) -> Arc<Snapshot> {
        {
            let known = self.known.read().await;
            if known.checked.elapsed() < SNAPSHOT_TRUST {
                return Arc::clone(&known.snapshot);
            }
        }
        if let Err(error) = self.refresh().await {
            tracing::warn!(database = %self.name, %error, "the schema could not be read again; the last reading stays");
        }
        Arc::clone(&self.known.read().await.snapshot)
    }

    /// Reads the schema again if it changed; after errors that say it may have.
    pub async fn refresh(&self) -> Result<(), DatabaseError> {
        self.bounded(self.read_again()).await
    }

    async fn read_again(&self) -> Result<(), DatabaseError> {
        let mut known = self.known.write().await;
        known.checked = tokio::time::Instant::now();
        let mut guard = self.admin().await?;
        let client = guard.client()?;
        let fingerprint = snapshot::fingerprint(client).await?;
        if fingerprint != known.fingerprint {
            let snapshot = snapshot::read(client, &self.view_owner, self.search_path.as_deref()).await?;
            known.snapshot = Arc::new(snapshot.labelled(&self.labels));
            known.fingerprint = fingerprint;
        }
        Ok(())
    }

    /// Closes a task's role: at once for its next statement, and for good.
    pub async fn close_role(&self, name: &str) -> Result<(), DatabaseError> {
        self.bounded(async {
            let mut guard = self.admin().await?;
            role::close(guard.client()?, name).await
        })
        .await
    }

    /// Terminates one backend of a task's role.
    pub async fn end_session(&self, role: &str, pid: i32) -> Result<(), DatabaseError> {
        self.bounded(async {
            let mut guard = self.admin().await?;
            role::end_session(guard.client()?, role, pid).await
        })
        .await
    }

    /// What a sweep must know of this process.
    fn swept(&self) -> Swept<'_> {
        Swept { installation: &self.installation, instance: &self.instance, kept: &self.kept }
    }

    /// Closes what dead processes left, and what this one failed to close.
    pub async fn sweep(&self) -> Result<usize, DatabaseError> {
        self.bounded(async {
            let mut guard = self.admin().await?;
            role::sweep(guard.client()?, &self.swept()).await
        })
        .await
    }

    /// Forgets this process and closes the gateway's connection.
    pub async fn leave(&self) -> Result<(), DatabaseError> {
        self.bounded(async {
            let mut guard = self.admin().await?;
            role::unregister(guard.client()?, &self.instance).await
        })
        .await?;
        self.admin.close().await;
        Ok(())
    }
}
