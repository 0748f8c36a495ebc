//! The command line.
//!
//! Takes arguments, starts and stops. Writes what a person asked for to stdout and everything else to stderr. Never prints a secret that it
//! was not asked to make.

mod audit;
mod config;
pub mod demo;
mod doctor;
mod profile;
mod serve;
mod setup;
mod status;
mod task;
pub mod throwaway;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;
use crate::telemetry::{self, LogFormat};

/// `EX_USAGE` of sysexits.h: the configuration is wrong.
const EXIT_USAGE: u8 = 64;

/// The governed door between AI agents and PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "pgteller", version, about)]
pub struct Arguments {
    /// How log lines on stderr look.
    #[arg(long, global = true, value_enum, default_value_t, env = "PGTELLER_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve MCP over stdio or streamable HTTP.
    Serve(serve::Serve),
    /// Look at the configuration.
    Config(config::ConfigCommand),
    /// Prepare a database, or print what would be run.
    Setup(setup::Setup),
    /// Look for what would let a task around its grants.
    Doctor(doctor::Doctor),
    /// Show how each database stands.
    Status(status::Status),
    /// Look at the audit log.
    Audit(audit::AuditCommand),
    /// See who is at work, and stop them.
    Task(task::TaskCommand),
    /// Take views out of a migration's way.
    Profile(profile::ProfileCommand),
    /// See it work on a throwaway database.
    Demo(demo::Demo),
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct ConfigPath {
    /// The configuration file.
    #[arg(long, short, env = "PGTELLER_CONFIG", default_value = "pgteller.toml")]
    config: PathBuf,
}

/// Runs a command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::start(arguments.log_format);
    match arguments.command {
        Command::Serve(serve) => Box::pin(serve.run()).await,
        Command::Config(config) => Box::pin(config.run()).await,
        Command::Setup(setup) => Box::pin(setup.run()).await,
        Command::Doctor(doctor) => Box::pin(doctor.run()).await,
        Command::Status(status) => Box::pin(status.run()).await,
        Command::Audit(audit) => audit.run(),
        Command::Task(task) => Box::pin(task.run()).await,
        Command::Profile(profile) => Box::pin(profile.run()).await,
        Command::Demo(demo) => Box::pin(demo.run()).await,
    }
}

/// Says why a command failed; the exit code tells a wrong configuration from other failures.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
    if error.downcast_ref::<ConfigError>().is_some() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}

/// One line of a command's answer.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
