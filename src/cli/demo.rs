//! `pgteller demo`: the product on a throwaway shop, driven by a real MCP client.
//!
//! Takes nothing but a PostgreSQL server on the machine. Leaves nothing behind, however it ends: see `throwaway`.

mod shop;
mod story;

use anyhow::Context;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{say, serve};
use crate::clock::Clock;
use crate::secret::Secret;
use crate::server::Server;
use crate::settings::Settings;
use shop::Shop;

/// See it work on a throwaway database.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Keep the shop and a server up, and print how to connect an MCP client.
    #[arg(long)]
    serve: bool,
    /// With --serve: print one line of JSON instead, and stay up until stdin closes or SIGTERM.
    #[arg(long, requires = "serve")]
    json: bool,
}

impl Demo {
    /// Runs it.
    pub async fn run(self) -> anyhow::Result<()> {
        let clock = Clock::system();
        if self.serve { self.keep_up(&clock).await } else { story::tell(&clock).await }
    }

    async fn keep_up(&self, clock: &Clock) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        tokio::spawn(serve::signalled(stop.clone()));
        let shop = Shop::open(clock).await?;
        let server = Server::build(Settings::read(&shop.config)?, clock.clone()).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening on loopback")?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let token = clock.random_hex::<32>();
        if self.json {
            say(shop.as_json(&url, &token)?)?;
            tokio::spawn(until_stdin_closes(stop.clone()));
        } else {
            say(shop.how_to_connect(&url, &token)?)?;
        }
        server.serve_http(listener, Some(&Secret::from(token)), stop).await?;
        Ok(())
    }
}

async fn until_stdin_closes(stop: CancellationToken) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0_u8; 256];
    while matches!(stdin.read(&mut buffer).await, Ok(read) if read > 0) {}
    stop.cancel();
}
