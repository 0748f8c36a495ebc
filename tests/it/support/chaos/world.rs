//! One cluster with two installations, and a server that stays up for each.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pgteller::cli::throwaway::Cluster;
use pgteller::clock::Clock;
use pgteller::server::House;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use super::Report;
use crate::support::database::{TestDatabase, own_cluster, restart};
use crate::support::server::{Configured, Served};

const SQL: &str = "CREATE SCHEMA app;
    DO $$ BEGIN FOR n IN 1..8 LOOP
      EXECUTE format('CREATE TABLE app.t%s(id int PRIMARY KEY, owner text NOT NULL, body text NOT NULL)', n);
      EXECUTE format('INSERT INTO app.t%s VALUES (1, ''ada'', ''first''), (2, ''bob'', ''second''), (3, ''ada'', ''third'')', n);
      EXECUTE format('COMMENT ON COLUMN app.t%s.body IS ''free text @label:text.free''', n);
    END LOOP; END $$;";

const POLICY: &str = "version: 1
unlabelled: clear
masks: {text.free: {mask: redact}}
grants:
  reader: {agents: [bot], purposes: [read], read: {allow: [app.*]}, limits: {seconds: 5}}
  writer: {agents: [bot], purposes: [write], read: {allow: [app.*]}, clear: [text.free], limits: {seconds: 5}}
";

/// Connections that the cluster has.
const CONNECTIONS: &str = "max_connections=60";

/// As a server keeps house, but quickly: what the loop waits for.
const HOUSE: House = House {
    every: Duration::from_millis(300),
    watch: Duration::from_millis(500),
    rounds_per_sweep: 3,
    profile_idle: Duration::from_secs(2),
};

/// Everything that lives as long as the run.
pub(super) struct World {
    pub(super) cluster: &'static Cluster,
    pub(super) sites: Vec<Site>,
    pub(super) report: Mutex<Report>,
    first_call: Mutex<Duration>,
}

/// An installation, with the server that stays up and the storage that all its processes share.
pub(super) struct Site {
    pub(super) database: TestDatabase,
    pub(super) control: Served,
    /// Ids of entries that somebody was told.
    pub(super) acknowledged: Mutex<Vec<String>>,
}

impl World {
    pub(super) async fn new() -> Self {
        let cluster = own_cluster(&["log_statement=none", CONNECTIONS]);
        let (one, two) = tokio::join!(Site::new(cluster), Site::new(cluster));
        Self { cluster, sites: vec![one, two], report: Mutex::default(), first_call: Mutex::new(Duration::from_millis(400)) }
    }

    pub(super) fn surprise(&self, what: String) {
        self.report.lock().unwrap().surprises.push(what);
    }

    /// How long a first call takes here, as far as we know.
    pub(super) fn first_call(&self) -> Duration {
        *self.first_call.lock().unwrap()
    }

    pub(super) fn first_call_took(&self, time: Duration) {
        let mut known = self.first_call.lock().unwrap();
        *known = (*known * 7 + time.min(Duration::from_secs(2)) * 3 / 2) / 8;
    }

    pub(super) async fn restart(&self, mode: &'static str) {
        let cluster = self.cluster;
        tokio::task::spawn_blocking(move || restart(cluster, mode)).await.unwrap();
    }

    /// Takes every connection there is, while the servers that stay have lost theirs; their calls must say so. Then lets go.
    pub(super) async fn exhaust(&self) {
        let mut taken = Vec::new();
        let mut killer = connect_patiently(self.cluster, "postgres").await;
        for round in 0..3 {
            while let Ok((client, connection)) = tokio_postgres::connect(&self.cluster.dsn("postgres"), NoTls).await {
                tokio::spawn(connection);
                taken.push(client);
            }
            if round < 2 {
                let ours = "SELECT count(pg_terminate_backend(pid, 500)) FROM pg_stat_activity WHERE usename ~ '^pgteller_'";
                if killer.query_one(ours, &[]).await.is_err() {
                    killer = connect_patiently(self.cluster, "postgres").await;
                }
            }
        }
        for site in &self.sites {
            let answer = site.control.query("select count(*) from t1").await;
            site.heard(self, "out of connections", &answer);
        }
    }

    /// Stops the servers that stayed, and looks once more.
    pub(super) async fn end(self) -> Report {
        let Self { sites, report, .. } = self;
        let mut report = report.into_inner().unwrap();
        for site in sites {
            super::left::end(site, &mut report).await;
        }
        report
    }
}

impl Site {
    async fn new(cluster: &'static Cluster) -> Self {
        let database = TestDatabase::on(cluster, SQL, &["app"]).await;
        let control = Served::keeping(&configured(&database), Clock::system(), HOUSE).await;
        assert!(control.query("select count(*) from t1").await.get("rows").is_some());
        Self { database, control, acknowledged: Mutex::default() }
    }

    /// The configuration of a process with this purpose, over the storage of all.
    pub(super) fn config(&self, purpose: &str) -> PathBuf {
        let directory = self.control.directory.path();
        let mut policy = POLICY.to_owned();
        if let Some(tables) = purpose.strip_prefix("fresh-") {
            let tables: u8 = tables.rsplit('-').next().unwrap().parse().unwrap();
            let allow: Vec<String> = (0..8).filter(|bit| tables & (1 << bit) != 0).map(|bit| format!("app.t{}", bit + 1)).collect();
            policy.push_str(&format!(
                "  {purpose}: {{agents: [bot], purposes: [{purpose}], read: {{allow: [{}]}}}}\n",
                allow.join(", ")
            ));
        }
        let text = std::fs::read_to_string(directory.join("pgteller.toml")).unwrap();
        let text = text.replace("purpose = \"read\"", &format!("purpose = \"{purpose}\""));
        let text = text.replace("policy.yaml", &format!("policy-{purpose}.yaml"));
        // Another process may be reading the file of this name: it changes as a whole.
        let place = |name: String, text: String| {
            let path = directory.join(&name);
            let new = tempfile::NamedTempFile::new_in(directory).unwrap();
            std::fs::write(new.path(), text).unwrap();
            new.persist(&path).unwrap();
            path
        };
        place(format!("policy-{purpose}.yaml"), policy);
        place(format!("{purpose}.toml"), text)
    }

    /// Where processes write what operators would read.
    pub(super) fn noise_file(&self) -> std::fs::File {
        std::fs::OpenOptions::new().append(true).create(true).open(self.control.directory.path().join("noise")).unwrap()
    }

    pub(super) fn noise(&self) -> Stdio {
        Stdio::from(self.noise_file())
    }

    /// Takes note of an answer: its entry must be in the log, and it must be one that an agent can go on from.
    pub(super) fn heard(&self, world: &World, event: &str, answer: &Value) {
        let content = answer.pointer("/result/structuredContent").unwrap_or(answer);
        let kind = match content.pointer("/error/code") {
            Some(Value::String(code)) => code.clone(),
            Some(other) => format!("fault {other}"),
            None if content.get("rows").is_some() => "rows".to_owned(),
            None if content.get("request_id").is_some() => "another answer".to_owned(),
            None => "nothing".to_owned(),
        };
        let mut report = world.report.lock().unwrap();
        if let Some(id) = content.get("request_id").and_then(Value::as_str) {
            self.acknowledged.lock().unwrap().push(id.to_owned());
            report.acknowledged += 1;
        }
        let expected =
            ["rows", "another answer", "database-unavailable", "busy", "time-limit", "relation-not-granted", "cancelled"];
        if !expected.contains(&kind.as_str()) {
            report.surprises.push(format!("{event}: {kind}: {answer:.600}"));
        }
        *report.answers.entry(kind).or_default() += 1;
    }

    /// Asks the server that stayed until it gives rows.
    pub(super) async fn until_served(&self, world: &World) {
        let at = Instant::now();
        loop {
            let answer = self.control.query("select count(*) from t1").await;
            self.heard(world, "after trouble", &answer);
            if answer["rows"] == serde_json::json!([[3]]) {
                return;
            }
            if at.elapsed() > Duration::from_secs(60) {
                return world.surprise("a server that stayed does not serve again".to_owned());
            }
            tokio::task::yield_now().await;
        }
    }

    /// Ends some sessions of this installation, the gateway's own among them.
    pub(super) async fn terminate_backends(&self) {
        let client = self.superuser().await;
        let some = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename ~ '^pgteller_{}_' AND random() < 0.5",
            self.database.installation
        );
        let _ = client.query_one(&some, &[]).await;
    }

    pub(super) async fn superuser(&self) -> Client {
        connect_patiently(self.database.cluster, &self.database.name).await
    }
}

fn configured(database: &TestDatabase) -> Configured<'_> {
    Configured {
        database,
        policy: POLICY,
        agent: "bot",
        purpose: "read",
        policy_keys: "",
        more: "",
        database_keys: "search_path = [\"app\"]",
    }
}

/// A superuser's connection, as soon as there is one to have.
pub(super) async fn connect_patiently(cluster: &Cluster, database: &str) -> Client {
    loop {
        if let Ok((client, connection)) = tokio_postgres::connect(&cluster.dsn(database), NoTls).await {
            tokio::spawn(connection);
            return client;
        }
        tokio::task::yield_now().await;
    }
}
