//! The shop in a throwaway PostgreSQL, set up for pgteller.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use crate::cli::throwaway::{Cluster, write_private};
use crate::clock::Clock;
use crate::database::admin;
use crate::database::role::scram_verifier;
use crate::model::names::InstallationId;
use crate::profile::setup::{InstallationRoles, script};
use crate::secret::Secret;
use crate::settings::{Host, Target};

const SHOP: &str = include_str!("../../../examples/shop/shop.sql");
const POLICY: &str = include_str!("../../../examples/shop/policy.yaml");

/// The superuser's view of the demo database, and the gateway's configuration beside it.
#[derive(Debug)]
pub struct Shop {
    /// The configuration file of a server over this shop.
    pub config: PathBuf,
    cluster: Cluster,
}

impl Shop {
    /// Starts PostgreSQL, loads the shop, runs the set-up and writes the configuration.
    pub async fn open(clock: &Clock) -> anyhow::Result<Self> {
        let cluster = Cluster::start(clock, &[])?;
        let postgres = connect(&cluster, "postgres").await?;
        postgres.batch_execute("CREATE DATABASE shop TEMPLATE template0").await.context("making the database")?;
        let client = connect(&cluster, "shop").await?;
        // The shop is loaded as a superuser who has not pinned anything.
        client.batch_execute("RESET ALL").await?;
        client.batch_execute(SHOP).await.context("loading the shop")?;
        let id = InstallationId(clock.random_hex::<4>());
        let password = clock.random_hex::<32>();
        let verifier = scram_verifier(&password, &clock.random::<16>());
        let schemas = ["sales".to_owned(), "hr".to_owned()];
        client.batch_execute(&script(&id, &verifier, &schemas)).await.context("running the set-up")?;
        let directory = cluster.directory().join("gateway");
        std::fs::create_dir(&directory)?;
        write_private(&directory.join("policy.yaml"), POLICY)?;
        write_private(&directory.join("password"), &password)?;
        let config = directory.join("pgteller.toml");
        write_private(&config, &configuration(&cluster, &id))?;
        Ok(Self { config, cluster })
    }

    /// A superuser's connection, to look from outside.
    pub async fn look(&self) -> anyhow::Result<tokio_postgres::Client> {
        connect(&self.cluster, "shop").await
    }

    /// How a client starts a server of its own.
    pub fn stdio(&self) -> anyhow::Result<Vec<String>> {
        let program = std::env::current_exe().context("finding our own program")?;
        let words =
            [program.display().to_string(), "serve".into(), "--config".into(), self.config.display().to_string(), "--stdio".into()];
        Ok(words.into())
    }

    /// What `--serve --json` prints.
    pub fn as_json(&self, url: &str, token: &str) -> anyhow::Result<String> {
        let facts = json!({"mcp_url": url, "token": token, "stdio": self.stdio()?, "admin_dsn": self.cluster.dsn("shop"), "config": self.config});
        Ok(facts.to_string())
    }

    /// What `--serve` prints.
    pub fn how_to_connect(&self, url: &str, token: &str) -> anyhow::Result<String> {
        let stdio = self.stdio()?;
        let (program, arguments) = stdio.split_first().context("our own program")?;
        let words = stdio.join(" ");
        let stdio_json = json!({"mcpServers": {"pgteller": {"command": program, "args": arguments}}});
        let http_json = json!({"mcpServers": {"pgteller": {"url": url, "headers": {"Authorization": format!("Bearer {token}")}}}});
        let vscode =
            json!({"servers": {"pgteller": {"type": "http", "url": url, "headers": {"Authorization": format!("Bearer {token}")}}}});
        Ok(format!(
            "The shop is open until Ctrl-C. Paste one of these into an MCP client:\n\n\
             Claude Code, stdio\n  claude mcp add --transport stdio pgteller -- {words}\n\n\
             Claude Code, HTTP\n  claude mcp add --transport http pgteller {url} --header \"Authorization: Bearer {token}\"\n\n\
             Cursor (.cursor/mcp.json), stdio\n  {stdio_json}\n\n\
             Cursor (.cursor/mcp.json), HTTP\n  {http_json}\n\n\
             VS Code (.vscode/mcp.json), HTTP\n  {vscode}\n\n\
             Then ask: \"Which of our customers placed the most orders, and how can we reach them?\"\n\n\
             PostgreSQL as its superuser: {}\nConfiguration: {}\nThe policy, to change and restart: {}\n",
            self.cluster.dsn("shop"),
            self.config.display(),
            self.config.with_file_name("policy.yaml").display()
        ))
    }
}

async fn connect(cluster: &Cluster, database: &str) -> anyhow::Result<tokio_postgres::Client> {
    let target = Target { host: Host::Tcp("127.0.0.1".to_owned()), port: cluster.port(), database: database.to_owned(), tls: None };
    let password = Secret::from(cluster.password().to_owned());
    Ok(admin::connect(&target, "postgres", Some(&password)).await?)
}

fn configuration(cluster: &Cluster, id: &InstallationId) -> String {
    let login = InstallationRoles::of(id).login;
    format!(
        "# The demo's configuration. `[dev]` believes in this principal without a token: never in production.\n\
         [policy]\ndata = \"policy.yaml\"\n\n\
         [storage]\ndir = \"data\"\n\n\
         [dev]\nsubject = \"maria@example.com\"\nagent = \"support-bot\"\npurpose = \"ticket/4711\"\n\n\
         [database.shop]\nurl = \"postgres://{login}@127.0.0.1:{}/shop\"\npassword_file = \"password\"\nenvironment = \"demo\"\nsearch_path = [\"sales\", \"hr\"]\n",
        cluster.port()
    )
}
