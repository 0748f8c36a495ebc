//! A server of one test: the real one, on a free port of loopback.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgteller::clock::Clock;
use pgteller::secret::Secret;
use pgteller::server::{House, Server};
use pgteller::settings::Settings;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::TestDatabase;

/// A running server.
pub struct Served {
    /// Its directory: configuration, log, exports.
    pub directory: tempfile::TempDir,
    /// Where it listens.
    pub url: String,
    /// What `[dev]` accepts.
    pub token: String,
    server: Arc<Server>,
    stop: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
    http: reqwest::Client,
}

/// What a test configures.
pub struct Configured<'a> {
    /// The database.
    pub database: &'a TestDatabase,
    /// The policy document.
    pub policy: &'a str,
    /// The agent of `[dev]`.
    pub agent: &'a str,
    /// The purpose of `[dev]`; ambient if empty.
    pub purpose: &'a str,
    /// More TOML at the end of the file, for instance `[identity.x]`.
    pub more: &'a str,
    /// More keys of `[policy]`.
    pub policy_keys: &'a str,
    /// More keys of `[database.shop]`.
    pub database_keys: &'a str,
}

impl Configured<'_> {
    /// Writes configuration, policy and password; gives the configuration's path.
    pub fn write(&self, directory: &Path) -> PathBuf {
        self.write_at(directory, &self.database.url())
    }

    fn write_at(&self, directory: &Path, url: &str) -> PathBuf {
        std::fs::write(directory.join("policy.yaml"), self.policy).unwrap();
        std::fs::write(directory.join("password"), &self.database.password).unwrap();
        let purpose = if self.purpose.is_empty() { String::new() } else { format!("purpose = \"{}\"", self.purpose) };
        let dev = if self.agent.is_empty() {
            String::new()
        } else {
            format!(
                "[dev]\nsubject = \"tester\"\nagent = \"{}\"\ngroups = [\"finance\"]\nclaims = {{ tenant_id = 3 }}\n{purpose}\n",
                self.agent
            )
        };
        // Tests ask faster than anybody may; those that are about that say how fast.
        let limits = "[limits.principal]\nrequests_per_second = 100000\n[limits.agent]\nrequests_per_second = 100000\n";
        let limits = if self.more.contains("[limits") { "" } else { limits };
        let text = format!(
            "[policy]\ndata = \"policy.yaml\"\n{}\n[storage]\ndir = \"data\"\ndurability = \"process\"\n{dev}\n[database.shop]\nurl = \"{}\"\npassword_file = \"password\"\n{}\n{}\n{limits}",
            self.policy_keys, url, self.database_keys, self.more
        );
        let path = directory.join("pgteller.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a server over another URL than the shared cluster's.
    pub async fn serve_at(&self, url: &str) -> Served {
        let directory = tempfile::tempdir().unwrap();
        let config = self.write_at(directory.path(), url);
        Served::begin(directory, &config, Clock::system(), House::default()).await
    }

    /// Starts a server.
    pub async fn serve(&self) -> Served {
        Served::start(self, Clock::system()).await
    }
}

impl Served {
    /// Starts a server with this clock.
    pub async fn start(configured: &Configured<'_>, clock: Clock) -> Self {
        Self::keeping(configured, clock, House::default()).await
    }

    /// Starts a server that keeps house at this pace.
    pub async fn keeping(configured: &Configured<'_>, clock: Clock, house: House) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = configured.write(directory.path());
        Self::begin(directory, &config, clock, house).await
    }

    /// Starts a server over a directory that holds its configuration already.
    pub async fn over(directory: tempfile::TempDir, clock: Clock) -> Self {
        let config = directory.path().join("pgteller.toml");
        Self::begin(directory, &config, clock, House::default()).await
    }

    /// The spine of the running server.
    pub fn enforcement(&self) -> &pgteller::enforcement::Enforcement {
        self.server.enforcement()
    }

    async fn begin(directory: tempfile::TempDir, config: &Path, clock: Clock, house: House) -> Self {
        if std::env::var_os(pgteller::telemetry::FILTER_ENV).is_some() {
            pgteller::telemetry::start(pgteller::telemetry::LogFormat::Text);
        }
        let settings = Settings::read(config).expect("a valid configuration");
        let has_dev = settings.dev.is_some();
        let server = Arc::new(Server::build(settings, clock.clone()).await.expect("a server").with_house(house));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let token = clock.random_hex::<16>();
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (server, stop, token) = (Arc::clone(&server), stop.clone(), Secret::from(token.clone()));
            async move { server.serve_http(listener, has_dev.then_some(&token), stop).await.expect("serving") }
        });
        Self { directory, url, token, server, stop, running: Some(running), http: reqwest::Client::new() }
    }

    /// Calls a tool with `[dev]`'s token; gives the result's structured content, or the JSON-RPC error.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.call_as(&self.token, tool, arguments).await
    }

    /// Runs `query`.
    pub async fn query(&self, sql: &str) -> Value {
        self.call("query", json!({"sql": sql})).await
    }

    /// Calls a tool with a token.
    pub async fn call_as(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let response = self
            .post(
                Some(token),
                &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}),
            )
            .await;
        let status = response.status();
        let text = response.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
        body.pointer("/result/structuredContent").cloned().unwrap_or(body)
    }

    /// Posts one JSON-RPC message.
    pub async fn post(&self, token: Option<&str>, message: &Value) -> reqwest::Response {
        let mut request = self
            .http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .json(message);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    /// The audit directory.
    pub fn audit(&self) -> PathBuf {
        self.directory.path().join("data/audit")
    }

    /// The last entry.
    pub fn last_entry(&self) -> pgteller::model::entry::Entry {
        pgteller::audit::show::tail(&self.audit(), 1).unwrap().pop().expect("an entry")
    }

    /// Stops it and waits until everything is closed.
    pub async fn stop(mut self) -> tempfile::TempDir {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
