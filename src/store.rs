//! What outlives a process: tasks, endings, our signing keys.
//!
//! Takes records, keeps them in a SQLite file or in PostgreSQL, where several replicas share it. The only module that names sqlx. Never on the
//! path of a statement: it is asked when a task opens or ends, and read again twice a second for what others ended.

mod keys;
mod tasks;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Row};

pub use keys::StoredKey;

use crate::clock::Instant;
use crate::secret::{ExposeSecret, Secret};
use crate::settings::StateSettings;

/// Connections to the store.
const CONNECTIONS: u32 = 4;
/// How long a connection may be waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What makes the tables of each version, oldest first. A step is never changed once it was released; a new one is added.
const STEPS: &[&[&str]] = &[&[
    "CREATE TABLE instance (id TEXT PRIMARY KEY, started_at BIGINT NOT NULL, seen_at BIGINT NOT NULL)",
    "CREATE TABLE task (id TEXT PRIMARY KEY, life TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, agent TEXT NOT NULL, \
     principal TEXT NOT NULL, db TEXT NOT NULL, purpose TEXT NOT NULL, ambient BIGINT NOT NULL, asserted BIGINT NOT NULL, external_id TEXT, \
     narrow TEXT NOT NULL, opened_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, ended_at BIGINT, statements BIGINT NOT NULL, \
     rows_out BIGINT NOT NULL, bytes_out BIGINT NOT NULL, instance TEXT NOT NULL)",
    "CREATE INDEX task_life ON task (life)",
    "CREATE TABLE ending (seq {serial}, id TEXT NOT NULL UNIQUE, life TEXT NOT NULL, task TEXT, issuer TEXT, subject TEXT, agent TEXT, external_id TEXT, db TEXT, \
     at BIGINT NOT NULL, until BIGINT NOT NULL, reason TEXT, by_whom TEXT)",
    "CREATE INDEX ending_of ON ending (task, external_id)",
    "CREATE TABLE signing_key (id TEXT PRIMARY KEY, created_at BIGINT NOT NULL, private_key TEXT NOT NULL, public_key TEXT NOT NULL)",
]];

/// Keeps two processes from making the tables at once; the bytes of "pgteller".
const LOCK: &str = "SELECT pg_advisory_xact_lock(8099005043268543858)";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("the state store `{place}` cannot be opened")]
    Open {
        /// Where it is, without a password.
        place: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// It cannot be written.
    #[error("the state store `{place}` cannot be written")]
    Unwritable {
        /// Where it is, without a password.
        place: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// It was made by a later version of this program.
    #[error(
        "the state store `{place}` is of version {found}, and this program knows {known}: use the version that made it, or a later one"
    )]
    Newer {
        /// Where it is, without a password.
        place: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A question failed.
    #[error("{doing}")]
    Query {
        /// What we were doing.
        doing: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// What cannot be written down.
    #[error("{0} cannot be written down")]
    Record(&'static str),
}

impl StoreError {
    fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { doing, source }
    }
}

/// The state store.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
}

impl Store {
    /// Opens it, makes or updates its tables, and proves that it can be written.
    pub async fn open(settings: &StateSettings) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (url, place, is_file) = match settings {
            StateSettings::File(path) => (file_url(path), path.display().to_string(), true),
            StateSettings::Postgres { url, place } => (url.clone(), place.clone(), false),
        };
        let open = |source| StoreError::Open { place: place.clone(), source };
        if let StateSettings::File(path) = settings {
            make_private(path).map_err(|error| open(sqlx::Error::Io(error)))?;
        }
        let options = AnyConnectOptions::from_str(url.expose_secret()).map_err(open)?;
        // Not through the pool, which would try a broken file again until its time is over.
        let mut connection = AnyConnection::connect_with(&options).await.map_err(open)?;
        prepare(&mut connection, is_file).await.map_err(open)?;
        update(&mut connection, &place, is_file).await?;
        connection.close().await.map_err(open)?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| Box::pin(prepare(connection, is_file)))
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Notes that a process lives.
    pub async fn seen(&self, instance: &str, now: Instant) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO instance (id, started_at, seen_at) VALUES ($1, $2, $2) \
             ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        )
        .bind(instance)
        .bind(now.0)
        .execute(&self.pool)
        .await
        .map_err(StoreError::query("noting that this process lives"))?;
        Ok(())
    }

    /// Ends the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// What holds for every connection.
async fn prepare(connection: &mut AnyConnection, is_file: bool) -> Result<(), sqlx::Error> {
    if is_file {
        connection.execute("PRAGMA busy_timeout = 5000").await?;
        connection.execute("PRAGMA journal_mode = WAL").await?;
        connection.execute("PRAGMA synchronous = FULL").await?;
    }
    Ok(())
}

/// Makes or updates the tables, and so proves that the store can be written.
async fn update(connection: &mut AnyConnection, place: &str, is_file: bool) -> Result<(), StoreError> {
    let unwritable = |source| StoreError::Unwritable { place: place.to_owned(), source };
    let begin = if is_file { "BEGIN IMMEDIATE" } else { "BEGIN" };
    let mut transaction = connection.begin_with(begin).await.map_err(unwritable)?;
    if !is_file {
        transaction.execute(LOCK).await.map_err(unwritable)?;
    }
    transaction.execute("CREATE TABLE IF NOT EXISTS pgteller_state (version BIGINT NOT NULL)").await.map_err(unwritable)?;
    let row = transaction.fetch_one("SELECT max(version) FROM pgteller_state").await.map_err(unwritable)?;
    let found = row.try_get::<Option<i64>, _>(0).map_err(unwritable)?.unwrap_or(0);
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { place: place.to_owned(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    for (version, step) in (1_i64..).zip(STEPS).skip(done) {
        for statement in *step {
            let statement =
                statement.replace("{serial}", if is_file { "INTEGER PRIMARY KEY AUTOINCREMENT" } else { "BIGSERIAL PRIMARY KEY" });
            transaction.execute(AssertSqlSafe(statement)).await.map_err(unwritable)?;
        }
        let note = sqlx::query("INSERT INTO pgteller_state (version) VALUES ($1)").bind(version);
        note.execute(&mut *transaction).await.map_err(unwritable)?;
    }
    transaction.execute("UPDATE pgteller_state SET version = version").await.map_err(unwritable)?;
    transaction.commit().await.map_err(unwritable)
}

fn file_url(path: &Path) -> Secret {
    let path = path.display().to_string();
    let escaped = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    Secret::from(format!("sqlite://{escaped}?mode=rwc"))
}

/// A file that only we can read: SQLite gives what it puts beside it the same permissions.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}
