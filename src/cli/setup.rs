//! `pgteller setup`: the DBA's one-time script, printed or run, and its removal.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio_postgres::Client;

use super::say;
use crate::clock::Clock;
use crate::config::Database;
use crate::database::admin;
use crate::database::role::scram_verifier;
use crate::model::names::{InstallationId, RelationName};
use crate::profile::setup::{InstallationRoles, policies_on, removal, script_with_policies};
use crate::secret::Secret;
use crate::settings::Target;

/// Prepare a database for pgteller.
#[derive(Debug, clap::Args)]
pub struct Setup {
    /// The database, as a superuser: postgres://postgres@HOST:PORT/DATABASE. The password comes from PGPASSWORD.
    #[arg(long, value_name = "URL", required_unless_present = "print")]
    admin_url: Option<String>,
    /// Schemas whose tables may ever be shown: the upper bound of every policy.
    #[arg(long, value_delimiter = ',', value_name = "SCHEMAS")]
    select: Vec<String>,
    /// Tables whose row filters may be policies (row-level security), which keep indexes. With an installation already there, only this is added.
    #[arg(long, value_delimiter = ',', value_name = "TABLES", conflicts_with = "remove", value_parser = table)]
    rls: Vec<RelationName>,
    /// Where the password of the gateway's login is written (made, not overwritten).
    #[arg(long, value_name = "FILE", default_value = "pgteller.password")]
    password_file: PathBuf,
    /// Print the script instead of running it.
    #[arg(long)]
    print: bool,
    /// Remove pgteller from the database instead.
    #[arg(long)]
    remove: bool,
}

impl Setup {
    /// Prints or runs it.
    pub async fn run(self) -> anyhow::Result<()> {
        let clock = Clock::system();
        if self.remove {
            return self.run_removal().await;
        }
        if !self.rls.is_empty() && self.admin_url.is_some() {
            let (_, client) = self.connect().await?;
            if let Some(id) = installed(&client).await? {
                return self.add_policies(&client, &id).await;
            }
        }
        let id = InstallationId(clock.random_hex::<4>());
        let password = clock.random_hex::<32>();
        let verifier = scram_verifier(&password, &clock.random::<16>());
        let sql = script_with_policies(&id, &verifier, &self.select, &self.rls);
        if self.print {
            write_password(&self.password_file, &password)?;
            return say(sql);
        }
        let (target, client) = self.connect().await?;
        anyhow::ensure!(installed(&client).await?.is_none(), "pgteller is already set up in this database; remove it first");
        write_password(&self.password_file, &password)?;
        if let Err(error) = client.batch_execute(&sql).await {
            // The script is one transaction: nothing of it is left, and neither is the password.
            std::fs::remove_file(&self.password_file)?;
            anyhow::bail!("running the set-up script: {}; nothing was changed", said(&error));
        }
        let login = InstallationRoles::of(&id).login;
        say(format_args!("installation {id} is ready. In pgteller.toml:\n"))?;
        say(configuration(&target, &login, &self.password_file))
    }

    async fn add_policies(&self, client: &Client, id: &InstallationId) -> anyhow::Result<()> {
        anyhow::ensure!(self.select.is_empty(), "pgteller is already set up in this database; `--select` is for a new set-up");
        let sql = policies_on(id, &self.rls);
        if self.print {
            return say(sql);
        }
        client.batch_execute(&sql).await.map_err(|error| anyhow::anyhow!("{}; nothing was changed", said(&error)))?;
        say(format_args!("installation {id}: row filters on {} tables are policies from now on", self.rls.len()))
    }

    async fn run_removal(&self) -> anyhow::Result<()> {
        if self.print && self.admin_url.is_none() {
            anyhow::bail!("the removal script needs to know the installation: give --admin-url");
        }
        let (_, client) = self.connect().await?;
        let id = installed(&client).await?.context("pgteller is not set up in this database")?;
        let sql = removal(&id);
        if self.print {
            return say(sql);
        }
        client.batch_execute(&sql).await.context("running the removal script")?;
        say(format_args!("installation {id} is removed"))
    }

    async fn connect(&self) -> anyhow::Result<(Target, Client)> {
        let url = self.admin_url.as_deref().context("give --admin-url")?;
        connect(url).await
    }
}

fn table(text: &str) -> Result<RelationName, String> {
    RelationName::parse(text).ok_or_else(|| "write SCHEMA.TABLE".to_owned())
}

fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// Connects as a DBA; the password comes from PGPASSWORD.
async fn connect(url: &str) -> anyhow::Result<(Target, Client)> {
    let written: Database = toml::from_str(&format!("url = {}", toml::Value::from(url)))?;
    let (target, user) = crate::settings::parse_target("setup", &written, Path::new(".")).map_err(|error| match error {
        crate::config::ConfigError::Invalid { why, .. } => {
            anyhow::anyhow!("--admin-url: {}", why.replace("use `password_file` or `password_env`", "set PGPASSWORD"))
        }
        other => other.into(),
    })?;
    let password = std::env::var("PGPASSWORD").ok().map(Secret::from);
    let client = admin::connect(&target, &user, password.as_ref()).await;
    let client = client.with_context(|| format!("connecting as `{user}` (the password comes from PGPASSWORD)"))?;
    Ok((target, client))
}

async fn installed(client: &Client) -> anyhow::Result<Option<InstallationId>> {
    let there = client.query_one("SELECT to_regclass('pgteller_api.installation') IS NOT NULL", &[]).await?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client.query_opt("SELECT id FROM pgteller_api.installation", &[]).await?;
    Ok(row.map(|row| InstallationId(row.get(0))))
}

fn write_password(path: &Path, password: &str) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("making the password file `{}`", path.display()))?;
    writeln!(file, "{password}")?;
    Ok(())
}

fn configuration(target: &Target, login: &str, password_file: &Path) -> String {
    let host = match &target.host {
        crate::settings::Host::Tcp(host) => format!("{host}:{}", target.port),
        crate::settings::Host::Unix(directory) => {
            format!("{}:{}", directory.display().to_string().replace('/', "%2F"), target.port)
        }
    };
    format!(
        "[database.{}]\nurl = \"postgres://{login}@{host}/{}\"\npassword_file = \"{}\"\n",
        target.database,
        target.database,
        password_file.display()
    )
}
