//! `pgteller serve`.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ConfigPath;
use crate::clock::Clock;
use crate::secret::{ExposeSecret, Secret};
use crate::server::Server;
use crate::settings::Settings;

/// Serve MCP.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("window").required(true).args(["stdio", "http"])))]
pub struct Serve {
    #[command(flatten)]
    config: ConfigPath,
    /// Speak MCP on stdin and stdout.
    #[arg(long)]
    stdio: bool,
    /// Listen here for streamable HTTP, for instance 127.0.0.1:7433.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// A host name under which the HTTP door may be reached, besides loopback. May be given several times.
    #[arg(long = "allowed-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
}

impl Serve {
    /// Serves until the end of stdin, SIGTERM or SIGINT.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut settings = Settings::read(&self.config.config)?;
        settings.server.allowed_hosts.extend(self.allowed_hosts);
        if let Some(dev) = &settings.dev {
            let principal = &dev.principal;
            tracing::warn!(
                subject = principal.subject,
                agent = principal.agent,
                "[dev] is on: this principal is believed without a token"
            );
        }
        let has_dev = settings.dev.is_some();
        let clock = Clock::system();
        let server = Server::build(settings, clock.clone()).await?;
        let stop = CancellationToken::new();
        tokio::spawn(signalled(stop.clone()));
        match self.http {
            None => server.serve_stdio(stop).await?,
            Some(address) => {
                let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
                anyhow::ensure!(
                    !has_dev || address.ip().is_loopback(),
                    "`[dev]` works on loopback only: remove it, or listen on 127.0.0.1"
                );
                let token = has_dev.then(|| Secret::from(clock.random_hex::<32>()));
                announce(&listener, token.as_ref())?;
                server.serve_http(listener, token.as_ref(), stop).await?;
            }
        }
        Ok(())
    }
}

/// Says where the door is, and prints the token that `[dev]` needs.
fn announce(listener: &TcpListener, token: Option<&Secret>) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let mut stderr = std::io::stderr();
    writeln!(stderr, "pgteller listens on http://{address}/mcp")?;
    if let Some(token) = token {
        writeln!(stderr, "[dev] token for this run: {}", token.expose_secret())?;
    }
    Ok(())
}

/// Sets `stop` at SIGTERM or SIGINT.
pub async fn signalled(stop: CancellationToken) {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stop.cancel();
}
