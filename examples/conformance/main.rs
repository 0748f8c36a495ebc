//! The conformance suite's fixtures behind pgteller's own door: what `@modelcontextprotocol/conformance` expects of a server, and no database.
//!
//! Takes nothing; prints one line of JSON, and ends when stdin closes. `mcp_url` is served exactly as the product serves; `sessions_url` is the
//! same door with rmcp's sessions: before 2026-07-28 a tool can ask its client back only within one. Never part of the product.
#![expect(clippy::print_stdout, reason = "the line that the caller waits for")]

mod asking;
mod input_required;
mod prompts;
mod resources;
mod seal;
mod server;
mod tools;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use pgteller::audit::Audit;
use pgteller::clock::Clock;
use pgteller::config::Config;
use pgteller::identity::Identity;
use pgteller::secret::Secret;
use pgteller::settings::Settings;
use pgteller::transport::Gate;
use pgteller::transport::http::Door;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::server::Fixtures;

/// Only `[dev]` matters here; a configuration must name a policy and a database, and nobody asks them.
const CONFIG: &str = r#"
storage.durability = "process"
policy.data = "empty"
[dev]
subject = "conformance"
agent = "conformance"
[database.nowhere]
url = "postgres://nobody@127.0.0.1/nowhere"
password_file = "empty"
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path())?;
    let clock = Clock::system();
    let token = clock.random_hex::<32>();
    let audit = Audit::open(&settings.storage.dir.join("audit"), settings.storage.durability, clock.clone())?;
    let identity = Identity::from_settings(&settings.issuers, None, clock.clone());
    let gate = Arc::new(Gate::new(identity, settings.dev.clone(), Some(&Secret::from(token.clone()))));
    let door = Door::new(audit, gate, &settings);
    let fixtures = Fixtures::new(&clock);
    let within_sessions = fixtures.clone();
    let sessions = StreamableHttpService::new(
        move || Ok(within_sessions.clone()),
        Arc::new(LocalSessionManager::default()),
        door.bounds(CancellationToken::new()).with_legacy_session_mode(true),
    );
    let sessions_url = serve(door.clone().around(sessions)).await?;
    let mcp_url = serve(door.router(fixtures, CancellationToken::new())).await?;
    println!("{}", json!({"mcp_url": mcp_url, "sessions_url": sessions_url, "token": token}));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

fn settings(directory: &Path) -> anyhow::Result<Settings> {
    std::fs::write(directory.join("empty"), "")?;
    Ok(Settings::validate(Config::parse(CONFIG, Path::new("conformance"))?, directory)?)
}

/// Serves on a free port of this machine, until the process ends; gives the URL.
async fn serve(router: Router) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}/mcp"))
}
