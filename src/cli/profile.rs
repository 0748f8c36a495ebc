//! `pgteller profile`: what exists in a database for tasks, and getting it out of a migration's way.

use std::time::Duration;

use clap::Subcommand;

use super::{ConfigPath, say};
use crate::database::admin::Admin;
use crate::database::{DatabaseError, installation};
use crate::profile::migration;
use crate::settings::{DatabaseSettings, Settings};

/// Look at the profiles of a database, or take them down for a migration.
#[derive(Debug, clap::Args)]
pub struct ProfileCommand {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, clap::Args)]
struct Where {
    #[command(flatten)]
    config: ConfigPath,
    /// Only this database; all of the configuration if left out.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Drop every profile's views, so that columns that they read can be dropped or retyped. Tasks stay open and get new ones.
    Drop {
        #[command(flatten)]
        at: Where,
        /// Also hold back new profiles for this many seconds, or until `profile release`.
        #[arg(long, value_name = "SECONDS")]
        hold: Option<u64>,
    },
    /// Let profiles be built again.
    Release(Where),
}

impl ProfileCommand {
    /// Runs it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            What::Drop { at, hold } => {
                for settings in at.databases()? {
                    let down = take_down(&settings, hold.map(Duration::from_secs)).await?;
                    say(format_args!("{}: {down} profiles taken down{}", settings.name, held(hold)))?;
                }
                Ok(())
            }
            What::Release(at) => {
                for settings in at.databases()? {
                    let admin = admin(&settings);
                    let mut guard = admin.lock().await?;
                    migration::hold(guard.client()?, None).await?;
                    say(format_args!("{}: profiles may be built again", settings.name))?;
                }
                Ok(())
            }
        }
    }
}

impl Where {
    fn databases(&self) -> anyhow::Result<Vec<DatabaseSettings>> {
        let all = Settings::read(&self.config.config)?.databases;
        let wanted = |settings: &DatabaseSettings| self.database.as_ref().is_none_or(|name| settings.name.as_str() == name);
        let chosen: Vec<DatabaseSettings> = all.into_iter().filter(wanted).collect();
        anyhow::ensure!(!chosen.is_empty(), "the configuration has no database of this name");
        Ok(chosen)
    }
}

fn admin(settings: &DatabaseSettings) -> Admin {
    Admin::new(settings.target.clone(), settings.login.clone(), settings.password.clone())
}

async fn take_down(settings: &DatabaseSettings, hold: Option<Duration>) -> Result<usize, DatabaseError> {
    let admin = admin(settings);
    let mut guard = admin.lock().await?;
    let client = guard.client()?;
    let (_, view_owner) = installation(client).await?;
    if hold.is_some() {
        migration::hold(client, hold).await?;
    }
    migration::take_down(client, &view_owner).await
}

fn held(hold: Option<u64>) -> String {
    hold.map_or_else(String::new, |seconds| format!("; none is built for {seconds} seconds, or until `pgteller profile release`"))
}
