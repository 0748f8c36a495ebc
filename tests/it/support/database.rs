//! The throwaway cluster and its databases.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::sync::OnceLock;

use pgteller::cli::throwaway::Cluster;
use pgteller::clock::Clock;
use pgteller::database::role::scram_verifier;
use pgteller::model::names::{InstallationId, RelationName};
use pgteller::profile::setup::{InstallationRoles, policies_on, script};
use tokio_postgres::{Client, NoTls};

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// The cluster of this run; its watchdog removes it when the test process ends.
pub fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| Cluster::start(&Clock::system(), &["log_statement=none"]).expect("a throwaway PostgreSQL"))
}

/// A cluster for one test alone, which may restart it; its watchdog removes it when the test process ends.
pub fn own_cluster(settings: &[&str]) -> &'static Cluster {
    Box::leak(Box::new(Cluster::start(&Clock::system(), settings).expect("a throwaway PostgreSQL")))
}

/// Stops a cluster of one's own (`fast`, or `immediate` as in a crash) and starts it again.
pub fn restart(cluster: &Cluster, mode: &str) {
    let data = cluster.directory().join("data");
    // The first word of what it was started with is the server itself.
    let options = std::fs::read_to_string(data.join("postmaster.opts")).unwrap();
    let pg_ctl = std::path::Path::new(options.split(' ').next().unwrap()).with_file_name("pg_ctl");
    let owner = std::fs::metadata(&data).unwrap();
    let mut command = std::process::Command::new(pg_ctl);
    command.args(["restart", "-w", "-s", "-t", "60", "-m", mode, "-D"]).arg(&data);
    command.arg("-l").arg(cluster.directory().join("log")).current_dir(cluster.directory());
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    if std::fs::metadata("/proc/self").unwrap().uid() != owner.uid() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    assert!(command.status().unwrap().success(), "restarting PostgreSQL ({mode})");
}

/// A connection through tokio-postgres.
pub async fn connect(dsn: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await.unwrap_or_else(|error| panic!("{dsn}: {error:?}"));
    tokio::spawn(connection);
    client
}

/// What a cluster of its own is started with: nothing moves by itself, and its log of changes can be read.
const ALONE: &[&str] = &["log_statement=none", "autovacuum=off", "wal_level=logical", "max_prepared_transactions=5"];

/// A database of one test.
pub struct TestDatabase {
    /// Where it is.
    pub cluster: &'static Cluster,
    /// Its name.
    pub name: String,
    /// The installation in it.
    pub installation: InstallationId,
    /// The gateway login's password.
    pub password: String,
    /// A superuser's connection.
    pub owner: Client,
}

impl TestDatabase {
    /// A fresh database with this SQL run in it, and nothing of ours.
    pub async fn bare(sql: &str) -> Self {
        Self::bare_on(cluster(), sql).await
    }

    async fn bare_on(cluster: &'static Cluster, sql: &str) -> Self {
        let database = Self::create(cluster, "template0").await;
        database.owner.batch_execute(sql).await.unwrap_or_else(|error| panic!("loading the database: {error:?}"));
        database
    }

    /// Two equal databases, down to what `now()` gave while loading.
    pub async fn two(sql: &str) -> (Self, Self) {
        let base = Self::bare(sql).await;
        let name = base.name.clone();
        drop(base);
        (Self::copy_of(&name).await, Self::copy_of(&name).await)
    }

    async fn copy_of(template: &str) -> Self {
        let copy = Self::create(cluster(), template).await;
        copy.owner.batch_execute("SELECT 1").await.unwrap();
        copy
    }

    /// An empty database in a cluster of its own, under a fixed name: two that are filled in the same way have the same object ids, too.
    pub async fn alone() -> Self {
        let database = Self::create_in(own_cluster(ALONE), "world".to_owned(), "template0").await;
        Self { installation: InstallationId("00c0ffee".to_owned()), ..database }
    }

    async fn create(cluster: &'static Cluster, template: &str) -> Self {
        Self::create_in(cluster, format!("t_{}", Clock::system().random_hex::<6>()), template).await
    }

    async fn create_in(cluster: &'static Cluster, name: String, template: &str) -> Self {
        let clock = Clock::system();
        let postgres = connect(&cluster.dsn("postgres")).await;
        // The template's last session may still be leaving: PostgreSQL waits for it.
        postgres.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        let owner = connect(&cluster.dsn(&name)).await;
        Self { name, installation: InstallationId(clock.random_hex::<4>()), password: clock.random_hex::<16>(), owner, cluster }
    }

    /// A fresh database, set up for pgteller, whose view owner may select from these schemas.
    pub async fn new(sql: &str, schemas: &[&str]) -> Self {
        Self::on(cluster(), sql, schemas).await
    }

    /// The same on a cluster of the test's own.
    pub async fn on(cluster: &'static Cluster, sql: &str, schemas: &[&str]) -> Self {
        let database = Self::bare_on(cluster, sql).await;
        database.set_up(schemas).await;
        database
    }

    /// Connects the superuser again, after a restart.
    pub async fn reconnect(&mut self) {
        self.owner = connect(&self.cluster.dsn(&self.name)).await;
    }

    /// Runs the set-up.
    pub async fn set_up(&self, schemas: &[&str]) {
        let verifier = scram_verifier(&self.password, &Clock::system().random::<16>());
        let schemas: Vec<String> = schemas.iter().map(|&schema| schema.to_owned()).collect();
        self.owner.batch_execute(&script(&self.installation, &verifier, &schemas)).await.expect("the set-up script");
    }

    /// Lets row filters on these tables be policies.
    pub async fn policies_on(&self, tables: &[&str]) {
        let tables: Vec<RelationName> = tables.iter().map(|name| RelationName::parse(name).unwrap()).collect();
        self.owner.batch_execute(&policies_on(&self.installation, &tables)).await.expect("the script of the policies");
    }

    /// The gateway's URL.
    pub fn url(&self) -> String {
        let login = InstallationRoles::of(&self.installation).login;
        format!("postgres://{login}@127.0.0.1:{}/{}", self.cluster.port(), self.name)
    }

    /// One text cell.
    pub async fn cell(&self, sql: &str) -> String {
        let rows = self.owner.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows.iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// Waits until a question is answered with true.
    pub async fn until(&self, sql: &str) {
        let since = std::time::Instant::now();
        while self.cell(sql).await != "t" {
            assert!(since.elapsed().as_secs() < 60, "never true: {sql}");
            tokio::task::yield_now().await;
        }
    }

    /// How many roles of this installation's tasks there are.
    pub async fn task_roles(&self) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_roles WHERE rolname ~ '^pgteller_{}_[0-9a-f]{{8}}_[0-9a-f]{{32}}$'",
            self.installation
        );
        self.cell(&sql).await.parse().unwrap()
    }

    /// How many profiles (roles and schemas) of this installation there are.
    pub async fn profile_objects(&self) -> usize {
        let sql = format!(
            "SELECT (SELECT count(*) FROM pg_roles WHERE rolname ~ '^pgteller_{0}_[po]_[0-9a-f]{{32}}$') + (SELECT count(*) FROM pg_namespace WHERE nspname ~ '^pgteller_{0}_')",
            self.installation
        );
        self.cell(&sql).await.parse().unwrap()
    }
}
