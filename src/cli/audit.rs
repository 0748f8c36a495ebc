//! `pgteller audit`.

use std::path::PathBuf;

use clap::Subcommand;

use super::say;
use crate::audit::{show, verify};
use crate::config::Config;
use crate::model::names::RequestId;

/// Look at the audit log.
#[derive(Debug, clap::Args)]
pub struct AuditCommand {
    /// The configuration file; says where the log is.
    #[arg(long, short, env = "PGTELLER_CONFIG", default_value = "pgteller.toml", global = true)]
    config: PathBuf,
    /// The audit directory, instead of the configured one.
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the entry of one request.
    Show {
        /// The request id, as the answer gave it.
        request_id: RequestId,
    },
    /// Show the last entries, one line of JSON each.
    Tail {
        /// How many.
        #[arg(long, short = 'n', default_value_t = 10)]
        lines: usize,
    },
    /// Check every chain from its first entry to its last.
    Verify,
}

impl AuditCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        let directory = match self.dir {
            Some(directory) => directory,
            None => {
                let base = self.config.parent().map(PathBuf::from).unwrap_or_default();
                let storage = Config::read(&self.config)?.storage;
                base.join(storage.dir.unwrap_or_else(|| PathBuf::from("pgteller-data"))).join("audit")
            }
        };
        match self.command {
            What::Show { request_id } => match show::find(&directory, request_id)? {
                Some(entry) => say(serde_json::to_string_pretty(&entry)?),
                None => anyhow::bail!("there is no entry of the request {request_id} below {}", directory.display()),
            },
            What::Tail { lines } => {
                for entry in show::tail(&directory, lines)? {
                    say(serde_json::to_string(&entry)?)?;
                }
                Ok(())
            }
            What::Verify => check(&directory),
        }
    }
}

fn check(directory: &std::path::Path) -> anyhow::Result<()> {
    let mut broken = 0_usize;
    for chain in verify::chains(directory)? {
        let verified = verify::verify(&chain)?;
        let name = verified.chain.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match verified.broken {
            None => say(format_args!("{name}: ok, {} entries, head {}", verified.entries, verified.head))?,
            Some(why) => {
                broken = broken.saturating_add(1);
                say(format_args!("{name}: BROKEN after {} entries: {why}", verified.entries))?;
            }
        }
    }
    anyhow::ensure!(broken == 0, "{broken} chains do not hold");
    Ok(())
}
